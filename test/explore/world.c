/*
 * world.c: the nodes' drivers, disks and network, and what can happen next.
 *
 * What is left out, because it adds nothing that could break a rule of safety:
 * - A lost message is one that is never delivered; so is a cut network. Every state of a run in which it is lost is a state of a run in which it waits.
 * - A node that is down is one to which nothing happens; so a crash and its restart are one event.
 * - Messages that can have no effect in any later state are dropped (is_over()). Time is not measured: a timeout is an event that may happen at any time.
 *
 * The network is a bag: any message may be next. The driver is that of src/node: an update is taken and its messages that need not wait are sent at once
 * (unless bound.lazy), entries and hard state become durable in the order in which they were given, one write or all at a time, then
 * raft_persisted() and raft_hard_persisted() follow, in this order.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

#define ELECTION_TICKS 2
#define TIMEOUT_TICKS 3			/* what is drawn from [2, 4): the explorer decides when it passes, not the draw */

XWorld		x_world;
XBound		x_bound;
const char *x_broken;

#define W x_world

static const RaftConfig base_config = {.group = X_GROUP,.election_ticks = ELECTION_TICKS,.heartbeat_ticks = 1,.inflight_bytes_max = 1024,
.uncommitted_bytes_max = 1024,.seed = 1};

/* ---- network ---- */

/* Can this message change anything, now or later? Terms on disk never fall, so what is below the receiver's is over for the answers to questions of then. */
static bool is_over(const XMessage *m)
{
	const XNode *to = &W.nodes[m->to];
	const Raft *r = to->raft;

	switch (m->type)
	{
		case RAFT_MSG_PREVOTE_REPLY:
			return m->reject ? m->term < to->hard_term : m->term <= to->hard_term;
		case RAFT_MSG_VOTE_REPLY:	/* nobody stands twice in one term */
			return m->term < to->hard_term || (m->term == to->hard_term && r->term == m->term && r->state != RAFT_CANDIDATE);
		case RAFT_MSG_APPEND_REPLY:
		case RAFT_MSG_HEARTBEAT_REPLY:	/* nor leads again in a term in which it follows */
			return m->term < to->hard_term ||
				(m->term == to->hard_term && r->term == m->term && (r->state == RAFT_FOLLOWER || r->state == RAFT_PRECANDIDATE));
		case RAFT_MSG_TIMEOUT_NOW:
			return m->term < to->hard_term;
		default:
			return false;
	}
}

static void drop_message(uint32_t at)
{
	memmove(W.bag + at, W.bag + at + 1, (--W.n_bag - at) * sizeof(XMessage));
}

static void drop_over(NdNodeId id)
{
	for (uint32_t i = 0; i < W.n_bag;)
		if (W.bag[i].to == id && is_over(&W.bag[i]))
			drop_message(i);
		else
			i++;
}

static void post(const XMessage *m)
{
	uint32_t	at = W.n_bag;

	x_check_sent(m);
	if (m->to == 0 || m->to > x_bound.nodes || is_over(m) || (x_bound.votes_only && m->type == RAFT_MSG_PREVOTE))
		return;
	if (W.n_bag == X_BAG)
	{
		fprintf(stderr, "X_BAG is too small: the bound is too large\n");
		exit(2);
	}
	while (at > 0 && memcmp(&W.bag[at - 1], m, sizeof(*m)) > 0)
		at--;
	memmove(W.bag + at + 1, W.bag + at, (W.n_bag - at) * sizeof(XMessage));
	W.bag[at] = *m;
	W.n_bag++;
}

/* ---- disk ---- */

static NdStatus read_log(void *ctx, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t cap, uint32_t *n)
{
	const XNode *node = ctx;
	uint64_t	bytes = 0;

	*n = 0;
	for (uint64_t i = lo; i < hi && *n < cap && i <= node->last; i++)
	{
		NdBlob	   *payload = x_payload_blob(node->log[i].payload);
		uint32_t	len = payload == NULL ? 0 : payload->len;

		if (*n > 0 && bytes + len > bytes_max)
			break;
		bytes += len;
		out[(*n)++] = (RaftEntry) {i, node->log[i].term, node->log[i].kind, nd_blob_ref(payload)};
	}
	return ND_OK;
}

/* The first `entries` entries of a write reach the disk, behind the cut that it begins with. */
static void write_entries(XNode *node, const XWrite *w, uint32_t entries)
{
	if (w->truncate_from != 0)
		node->disk_last = w->truncate_from - 1;
	for (uint32_t i = 0; i < entries; i++)
	{
		node->disk_last = (uint8_t) (w->first + i);
		node->disk[node->disk_last] = w->entries[i];
	}
	for (uint32_t i = node->disk_last + 1u; i < X_LOG; i++)
		node->disk[i] = (XEntry) {0};
}

static void flush(NdNodeId id, uint32_t n)
{
	XNode	   *node = &W.nodes[id];
	uint64_t	index = 0;
	uint64_t	term = 0;
	uint64_t	hard_seq = 0;
	XMessage	after[X_WRITES * X_AFTER];
	uint32_t	n_after = 0;

	for (uint32_t k = 0; k < n; k++)
	{
		const XWrite *w = &node->writes[k];

		write_entries(node, w, w->n_entries);
		if (w->n_entries > 0)
		{
			index = w->first + w->n_entries - 1u;
			term = w->entries[w->n_entries - 1].term;
		}
		if (w->hard_changed)
		{
			node->hard_term = w->term;
			node->hard_vote = w->vote;
			node->hard_commit = w->commit;
			hard_seq = w->hard_seq;
		}
		for (uint32_t i = 0; i < w->n_after; i++)
			after[n_after++] = w->after[i];
	}
	node->n_writes -= (uint8_t) n;
	memmove(node->writes, node->writes + n, node->n_writes * sizeof(XWrite));
	for (uint32_t i = 0; i < n_after; i++)
		post(&after[i]);
	if (index > 0)
		raft_persisted(node->raft, index, term);
	x_check_node(id);
	if (hard_seq > 0)
		raft_hard_persisted(node->raft, hard_seq);
	x_check_node(id);
}

/* ---- driver ---- */

static void take_update(NdNodeId id)
{
	XNode	   *node = &W.nodes[id];
	RaftUpdate	u;
	XWrite	   *w = &node->writes[node->n_writes];
	XMessage	m;

	if (node->n_writes == X_WRITES)
	{
		fprintf(stderr, "X_WRITES is too small: the bound is too large\n");
		exit(2);
	}
	if (raft_take_update(node->raft, &u) != ND_OK)
	{
		x_check_node(id);
		return;
	}
	memset(w, 0, sizeof(*w));
	if (u.truncate_from != 0)
		node->last = x_byte(u.truncate_from - 1);
	if (u.n_entries > X_APPEND || u.n_messages_after > X_AFTER || node->last + u.n_entries >= X_LOG)
	{
		fprintf(stderr, "X_APPEND, X_AFTER or X_LOG is too small: the bound is too large\n");
		exit(2);
	}
	w->truncate_from = x_byte(u.truncate_from);
	w->n_entries = (uint8_t) u.n_entries;
	w->first = (uint8_t) (node->last + 1);
	for (uint32_t i = 0; i < u.n_entries; i++)
	{
		const RaftEntry *e = &u.entries[i];

		if (e->index != node->last + 1u)
			x_fail("entries to store do not follow on the last one");
		w->entries[i] = (XEntry) {x_byte(e->term), e->kind, x_payload(e->kind, e->payload)};
		node->log[++node->last] = w->entries[i];
	}
	for (uint32_t i = node->last + 1u; i < X_LOG; i++)
		node->log[i] = (XEntry) {0};
	if (u.hard_changed)
	{
		w->hard_changed = 1;
		w->term = x_byte(u.hard.term);
		w->vote = x_byte(u.hard.vote);
		w->commit = x_byte(u.hard.commit);
		w->hard_seq = (uint16_t) u.hard_seq;
	}
	w->n_after = (uint8_t) u.n_messages_after;
	for (uint32_t i = 0; i < u.n_messages_after; i++)
		x_pack_message(&u.messages_after[i], &w->after[i]);
	if (w->truncate_from != 0 || w->n_entries > 0 || w->hard_changed || w->n_after > 0)
		node->n_writes++;
	for (uint32_t i = 0; i < u.n_messages; i++)
	{
		x_pack_message(&u.messages[i], &m);
		post(&m);
	}
	x_check_commit(id, u.commit);
	x_check_reads(u.reads, u.n_reads);
	raft_update_done(node->raft);
	x_check_node(id);
}

/* What the driver does at once, behind every event at a node. */
static void settle(NdNodeId id)
{
	XNode	   *node = &W.nodes[id];

	x_check_node(id);
	for (int round = 0; x_broken == NULL; round++)
	{
		if (!x_bound.lazy && raft_has_update(node->raft))
			take_update(id);
		else if (!x_bound.slow_disk && node->n_writes > 0)
			flush(id, 1);
		else
			break;
		if (round > 100)
			x_fail("updates without end");
	}
	/* what the draws of the election timeout would be is not looked at: X_EXPIRE says when it passes */
	raft_configuration_copy(&node->config, node->raft->config);
	node->raft->election_timeout = TIMEOUT_TICKS;
	nd_random_seed(&node->raft->random, 1);
	drop_over(id);
	x_check_logs();
}

/* ---- life ---- */

static void add_member(RaftConfiguration *c, NdNodeId id, RaftRole role)
{
	c->members[c->n++] = (RaftMember) {.node = id,.role = role};
}

static void make_members(RaftConfiguration *c, uint8_t voters, uint8_t learners)
{
	memset(c, 0, sizeof(*c));
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
		if (voters >> id & 1)
			add_member(c, id, RAFT_VOTER);
		else if (learners >> id & 1)
			add_member(c, id, RAFT_LEARNER);
}

static void start_node(NdNodeId id)
{
	XNode	   *node = &W.nodes[id];
	RaftConfig	config = base_config;
	RaftRestore restore;
	RaftTermRun runs[X_LOG];
	RaftLog		log = {node, read_log};

	config.self = id;
	config.append_bytes_max = x_bound.append_bytes;
	config.inflight_max = x_bound.inflight;
	config.frugal = x_bound.frugal;
	memset(&restore, 0, sizeof(restore));
	restore.hard = (RaftHardState) {node->hard_term, node->hard_vote, node->hard_commit};
	restore.first_index = 1;
	restore.last_index = node->disk_last;
	restore.runs = runs;
	make_members(&restore.configuration, x_bound.voters, x_bound.learners);
	restore.configuration_committed = restore.configuration;
	for (uint32_t i = 1; i <= node->disk_last; i++)
	{
		if (restore.n_runs == 0 || runs[restore.n_runs - 1].term != node->disk[i].term)
			runs[restore.n_runs++] = (RaftTermRun) {i, node->disk[i].term};
		if (node->disk[i].kind == RAFT_ENTRY_CONFIG)
		{
			const NdBlob *b = x_payload_blob(node->disk[i].payload);

			restore.configuration_committed = restore.configuration;
			raft_configuration_decode(b->data, b->len, &restore.configuration);
		}
	}
	memcpy(node->log, node->disk, sizeof(node->log));
	node->last = node->disk_last;
	node->commit = 0;
	if (raft_create(&config, &restore, &log, &node->raft) != ND_OK)
	{
		fprintf(stderr, "node %u does not start\n", id);
		exit(2);
	}
}

void x_start(void)
{
	memset(&W, 0, sizeof(W));
	x_broken = NULL;
	nd_set_allocator(&x_allocator);
	W.campaigns = x_bound.campaigns;
	W.entries = x_bound.entries;
	W.ticks = x_bound.ticks;
	W.crashes = x_bound.crashes;
	W.doubles = x_bound.doubles;
	W.changes = x_bound.changes;
	W.transfers = x_bound.transfers;
	W.reads = x_bound.reads;
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
		start_node(id);
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
		settle(id);
}

size_t x_world_bytes(void)
{
	return offsetof(XWorld, heap) + W.heap_used;
}

void x_restored(void)
{
	x_broken = NULL;
	x_payload_renew();
}

bool x_out_of_bound(void)
{
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
		if (W.nodes[id].raft->term > x_bound.terms)
			return true;
	return false;
}

/* ---- events ---- */

static void crash(NdNodeId id, uint32_t records)
{
	XNode	   *node = &W.nodes[id];

	if (records > 0 && node->n_writes > 0)
		write_entries(node, &node->writes[0], records - 1);
	node->n_writes = 0;
	raft_destroy(node->raft);
	start_node(id);
}

static void propose(NdNodeId id)
{
	uint8_t		number = (uint8_t) (x_bound.entries - W.entries + 1);
	NdBlob	   *b = nd_blob_new(&number, 1);
	uint64_t	index;
	uint64_t	term;

	if (raft_propose(W.nodes[id].raft, &b, 1, &index, &term) == ND_OK)
		W.entries--;
	nd_blob_unref(b);
}

static void change(NdNodeId id, uint32_t target)
{
	RaftConfiguration c;
	uint64_t	index;

	make_members(&c, x_bound.targets[target], x_bound.target_learners[target]);
	if (raft_propose_configuration(W.nodes[id].raft, &c, &index) == ND_OK)
		W.changes--;
}

static void start_read(NdNodeId id)
{
	uint8_t		context = (uint8_t) (x_bound.reads - W.reads + 1);

	if (raft_read_index(W.nodes[id].raft, context) != ND_OK)
		return;
	W.read_needs[context] = W.n_committed;
	W.reads--;
}

static void tick_until(Raft *r, uint32_t elapsed)
{
	RaftState	state = r->state;
	uint64_t	term = r->term;

	for (int i = 0; i < TIMEOUT_TICKS && r->election_elapsed < elapsed && r->state == state && r->term == term; i++)
		raft_tick(r);
}

static void expire(Raft *r)
{
	tick_until(r, TIMEOUT_TICKS);
	for (uint32_t i = 0; x_bound.votes_only && r->state == RAFT_PRECANDIDATE && i < r->n_peers; i++)
	{
		RaftMessage m = {.type = RAFT_MSG_PREVOTE_REPLY,.group = X_GROUP,.from = r->peers[i].node,.to = r->cfg.self,.term = r->term + 1};

		raft_step(r, &m);
	}
}

static void deliver(XEvent *e)
{
	RaftMessage m;
	RaftEntry	entries[X_APPEND];

	e->message = W.bag[e->arg];
	x_unpack_message(&e->message, &m, entries);
	if (e->kind == X_DOUBLE)
		W.doubles--;
	else
		drop_message(e->arg);
	if (e->kind == X_DELIVER_LATE)
		tick_until(W.nodes[e->node].raft, ELECTION_TICKS);
	if (raft_step(W.nodes[e->node].raft, &m) == ND_INVALID)
		x_fail("a message that a core sent is malformed");
}

void x_apply(XEvent *e)
{
	XNode	   *node = &W.nodes[e->node];

	switch ((XKind) e->kind)
	{
		case X_DELIVER:
		case X_DOUBLE:
		case X_DELIVER_LATE:
			deliver(e);
			break;
		case X_FLUSH:
			flush(e->node, 1);
			break;
		case X_FLUSH_ALL:
			flush(e->node, node->n_writes);
			break;
		case X_UPDATE:
			take_update(e->node);
			break;
		case X_EXPIRE:
			W.campaigns--;
			expire(node->raft);
			break;
		case X_TICK:
			W.ticks--;
			raft_tick(node->raft);
			break;
		case X_PROPOSE:
			propose(e->node);
			break;
		case X_CHANGE:
			change(e->node, e->arg);
			break;
		case X_TRANSFER:
			if (raft_transfer(node->raft, e->arg) == ND_OK)
				W.transfers--;
			break;
		case X_READ:
			start_read(e->node);
			break;
		case X_CRASH:
			W.crashes--;
			crash(e->node, e->arg);
			break;
	}
	settle(e->node);
}

static uint32_t add(XEvent *events, uint32_t n, XKind kind, NdNodeId node, uint32_t arg)
{
	if (n == X_EVENTS)
	{
		fprintf(stderr, "X_EVENTS is too small\n");
		exit(2);
	}
	events[n].kind = kind;
	events[n].node = (uint8_t) node;
	events[n].arg = (uint8_t) arg;
	return n + 1;
}

static bool can_be_late(const XMessage *m)
{
	const Raft *r = W.nodes[m->to].raft;

	return (m->type == RAFT_MSG_PREVOTE || (m->type == RAFT_MSG_VOTE && m->context == 0)) && r->state == RAFT_FOLLOWER && raft__hears_leader(r);
}

static uint32_t enabled_at(XEvent *events, uint32_t n, NdNodeId id)
{
	const XNode *node = &W.nodes[id];
	const Raft *r = node->raft;

	if (node->n_writes > 0)
		n = add(events, n, X_FLUSH, id, 0);
	if (node->n_writes > 1)
		n = add(events, n, X_FLUSH_ALL, id, 0);
	if (x_bound.lazy && raft_has_update(r))
		n = add(events, n, X_UPDATE, id, 0);
	if (W.campaigns > 0 && r->state != RAFT_LEADER && raft__may_campaign(r) && r->term < x_bound.terms &&
		!(r->state == RAFT_CANDIDATE && r->self_ballot == BALLOT_NONE))
		n = add(events, n, X_EXPIRE, id, 0);
	if (W.crashes > 0)
	{
		const XWrite *w = &node->writes[0];
		bool		torn = node->n_writes > 0 && (w->truncate_from != 0 || w->n_entries > 0);
		uint32_t	whole = w->hard_changed ? w->n_entries + 1u : w->n_entries;

		for (uint32_t records = 0; records <= (torn ? whole : 0); records++)
			if (records != 1 || w->truncate_from != 0)
				n = add(events, n, X_CRASH, id, records);
	}
	if (W.reads > 0 && r->leader != 0)
		n = add(events, n, X_READ, id, 0);
	if (r->state != RAFT_LEADER)
		return n;
	if (W.ticks > 0)
		n = add(events, n, X_TICK, id, 0);
	if (W.entries > 0)
		n = add(events, n, X_PROPOSE, id, 0);
	for (uint32_t t = 0; W.changes > 0 && t < x_bound.n_targets; t++)
		n = add(events, n, X_CHANGE, id, t);
	for (NdNodeId to = 1; W.transfers > 0 && r->transferee == 0 && to <= x_bound.nodes; to++)
		if (to != id)
			n = add(events, n, X_TRANSFER, id, to);
	return n;
}

uint32_t x_enabled(XEvent *events)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < W.n_bag; i++)
	{
		if (i > 0 && memcmp(&W.bag[i], &W.bag[i - 1], sizeof(XMessage)) == 0)
			continue;
		n = add(events, n, X_DELIVER, W.bag[i].to, i);
		if (can_be_late(&W.bag[i]))
			n = add(events, n, X_DELIVER_LATE, W.bag[i].to, i);
		if (W.doubles > 0)
			n = add(events, n, X_DOUBLE, W.bag[i].to, i);
	}
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
		n = enabled_at(events, n, id);
	return n;
}

bool x_locate(XEvent *e)
{
	XEvent		events[X_EVENTS];
	uint32_t	n = x_enabled(events);

	for (uint32_t i = 0; i < n; i++)
	{
		bool		message = e->kind == X_DELIVER || e->kind == X_DOUBLE || e->kind == X_DELIVER_LATE;

		if (events[i].kind != e->kind || events[i].node != e->node)
			continue;
		if (message ? memcmp(&W.bag[events[i].arg], &e->message, sizeof(XMessage)) == 0 : events[i].arg == e->arg)
		{
			e->arg = events[i].arg;
			return true;
		}
	}
	return false;
}
