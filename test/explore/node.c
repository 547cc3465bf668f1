/*
 * node.c: one node: its driver, its disk, and what can happen to it.
 *
 * The driver is that of src/node: an update is taken and its messages that need not wait are sent at once (unless bound.lazy), entries and hard state become
 * durable in the order in which they were given, one write or all at a time, then raft_persisted() and raft_hard_persisted() follow, in this order.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

#define ELECTION_TICKS 2
#define TIMEOUT_TICKS 3			/* what is drawn from [2, 4): the explorer decides when it passes, not the draw */

#define N x_node

XNode		x_node;
XBound		x_bound;
const char *x_broken;

static XEffect *effect;

static const RaftConfig base_config = {.group = X_GROUP,.election_ticks = ELECTION_TICKS,.heartbeat_ticks = 1,.inflight_bytes_max = 1024,
.uncommitted_bytes_max = 1024,.seed = 1};

/* A leader that leaves asks the voter that has most of its log, and of equals the first. Here it asks all, so that no choice goes by names (digest.c). */
static void send_timeout_now(const XMessage *m)
{
	XMessage	other = *m;
	const Raft *r = N.raft;

	for (uint32_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].voter && r->peers[i].node != m->to)
		{
			other.to = x_byte(r->peers[i].node);
			effect->sent[effect->n_sent++] = x_message_number(&other);
		}
}

static void send_message(const XMessage *m)
{
	x_check_sent(m);
	if (m->to == 0 || m->to > x_bound.nodes || (x_bound.votes_only && m->type == RAFT_MSG_PREVOTE))
		return;
	if (effect->n_sent + X_NODES > X_SENT)
	{
		fprintf(stderr, "X_SENT is too small: the bound is too large\n");
		exit(2);
	}
	effect->sent[effect->n_sent++] = x_message_number(m);
	if (m->type == RAFT_MSG_TIMEOUT_NOW && N.raft->state != RAFT_LEADER)
		send_timeout_now(m);
}

/* ---- disk ---- */

static NdStatus read_log(void *ctx, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t cap, uint32_t *n)
{
	uint64_t	bytes = 0;

	(void) ctx;
	*n = 0;
	for (uint64_t i = lo; i < hi && *n < cap && i <= N.last; i++)
	{
		NdBlob	   *payload = x_payload_blob(N.log[i].payload);
		uint32_t	len = payload == NULL ? 0 : payload->len;

		if (*n > 0 && bytes + len > bytes_max)
			break;
		bytes += len;
		out[(*n)++] = (RaftEntry) {i, N.log[i].term, N.log[i].kind, nd_blob_ref(payload)};
	}
	return ND_OK;
}

/* The first `entries` entries of a write reach the disk, behind the cut that it begins with. */
static void write_entries(const XWrite *w, uint32_t entries)
{
	if (w->truncate_from != 0)
		N.disk_last = w->truncate_from - 1;
	for (uint32_t i = 0; i < entries; i++)
	{
		N.disk_last = (uint8_t) (w->first + i);
		N.disk[N.disk_last] = w->entries[i];
	}
	for (uint32_t i = N.disk_last + 1u; i < X_LOG; i++)
		N.disk[i] = (XEntry) {0};
}

static void flush(uint32_t n)
{
	uint64_t	index = 0;
	uint64_t	term = 0;
	uint64_t	hard_seq = 0;
	XMessage	after[X_WRITES * X_AFTER];
	uint32_t	n_after = 0;

	for (uint32_t k = 0; k < n; k++)
	{
		const XWrite *w = &N.writes[k];

		write_entries(w, w->n_entries);
		if (w->n_entries > 0)
		{
			index = w->first + w->n_entries - 1u;
			term = w->entries[w->n_entries - 1].term;
		}
		if (w->hard_changed)
		{
			N.hard_term = w->term;
			N.hard_vote = w->vote;
			N.hard_commit = w->commit;
			hard_seq = w->hard_seq;
		}
		for (uint32_t i = 0; i < w->n_after; i++)
			after[n_after++] = w->after[i];
	}
	N.n_writes -= (uint8_t) n;
	memmove(N.writes, N.writes + n, N.n_writes * sizeof(XWrite));
	for (uint32_t i = 0; i < n_after; i++)
		send_message(&after[i]);
	if (index > 0)
		raft_persisted(N.raft, index, term);
	x_check_node(effect);
	if (hard_seq > 0)
		raft_hard_persisted(N.raft, hard_seq);
	x_check_node(effect);
}

/* ---- driver ---- */

static void take_update(void)
{
	RaftUpdate	u;
	XWrite	   *w = &N.writes[N.n_writes];
	XMessage	m;

	if (N.n_writes == X_WRITES)
	{
		fprintf(stderr, "X_WRITES is too small: the bound is too large\n");
		exit(2);
	}
	if (raft_take_update(N.raft, &u) != ND_OK)
	{
		x_check_node(effect);
		return;
	}
	memset(w, 0, sizeof(*w));
	if (u.truncate_from != 0)
		N.last = x_byte(u.truncate_from - 1);
	if (u.n_entries > X_APPEND || u.n_messages_after > X_AFTER || N.last + u.n_entries >= X_LOG)
	{
		fprintf(stderr, "X_APPEND, X_AFTER or X_LOG is too small: the bound is too large\n");
		exit(2);
	}
	w->truncate_from = x_byte(u.truncate_from);
	w->n_entries = (uint8_t) u.n_entries;
	w->first = (uint8_t) (N.last + 1);
	for (uint32_t i = 0; i < u.n_entries; i++)
	{
		const RaftEntry *e = &u.entries[i];

		if (e->index != N.last + 1u)
			x_fail("entries to store do not follow on the last one");
		w->entries[i] = (XEntry) {x_byte(e->term), e->kind, x_payload(e->kind, e->payload)};
		N.log[++N.last] = w->entries[i];
	}
	for (uint32_t i = N.last + 1u; i < X_LOG; i++)
		N.log[i] = (XEntry) {0};
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
		N.n_writes++;
	for (uint32_t i = 0; i < u.n_messages; i++)
	{
		x_pack_message(&u.messages[i], &m);
		send_message(&m);
	}
	x_check_commit(effect, u.commit);
	x_check_reads(effect, u.reads, u.n_reads);
	raft_update_done(N.raft);
	x_check_node(effect);
}

/* Of equal messages that wait for the disk one is enough when it can be delivered any number of times. */
static void drop_equal(RaftQueue *q)
{
	XMessage	messages[X_BAG];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < q->n && n < X_BAG; i++)
	{
		uint32_t	k = 0;

		x_pack_message(&q->messages[i], &messages[n]);
		while (k < n && memcmp(&messages[k], &messages[n], sizeof(XMessage)) != 0)
			k++;
		if (k == n)
			q->messages[n++] = q->messages[i];
		else
			nd_free(q->messages[i].entries);
	}
	q->n = n;
}

/* What the driver does at once, behind every event at a node. */
static void settle(void)
{
	x_check_node(effect);
	for (int round = 0; x_broken == NULL; round++)
	{
		if (!x_bound.lazy && raft_has_update(N.raft))
			take_update();
		else if (!x_bound.slow_disk && N.n_writes > 0)
			flush(1);
		else
			break;
		if (round > 100)
			x_fail("updates without end");
	}
	if (x_bound.doubles == X_ANY)
	{
		drop_equal(&N.raft->after);
		drop_equal(&N.raft->held);
	}
	/* what the draws of the election timeout would be is not looked at: X_EXPIRE says when it passes */
	N.raft->election_timeout = TIMEOUT_TICKS;
	nd_random_seed(&N.raft->random, 1);
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

static void start(void)
{
	RaftConfig	config = base_config;
	RaftRestore restore;
	RaftTermRun runs[X_LOG];
	RaftLog		log = {NULL, read_log};

	config.self = N.id;
	config.append_bytes_max = x_bound.append_bytes;
	config.inflight_max = x_bound.inflight;
	config.frugal = x_bound.frugal;
	memset(&restore, 0, sizeof(restore));
	restore.hard = (RaftHardState) {N.hard_term, N.hard_vote, N.hard_commit};
	restore.first_index = 1;
	restore.last_index = N.disk_last;
	restore.runs = runs;
	make_members(&restore.configuration, x_bound.voters, x_bound.learners);
	restore.configuration_committed = restore.configuration;
	for (uint32_t i = 1; i <= N.disk_last; i++)
	{
		if (restore.n_runs == 0 || runs[restore.n_runs - 1].term != N.disk[i].term)
			runs[restore.n_runs++] = (RaftTermRun) {i, N.disk[i].term};
		if (N.disk[i].kind == RAFT_ENTRY_CONFIG)
		{
			const NdBlob *b = x_payload_blob(N.disk[i].payload);

			restore.configuration_committed = restore.configuration;
			raft_configuration_decode(b->data, b->len, &restore.configuration);
		}
	}
	memcpy(N.log, N.disk, sizeof(N.log));
	N.last = N.disk_last;
	N.commit = 0;
	if (raft_create(&config, &restore, &log, &N.raft) != ND_OK)
	{
		fprintf(stderr, "node %u does not start\n", N.id);
		exit(2);
	}
}

/* ---- events ---- */

static void crash(uint32_t records)
{
	if (records > 0 && N.n_writes > 0)
		write_entries(&N.writes[0], records - 1);
	N.n_writes = 0;
	raft_destroy(N.raft);
	start();
}

static bool propose(uint8_t number)
{
	NdBlob	   *b = nd_blob_new(&number, 1);
	uint64_t	index;
	uint64_t	term;
	bool		done = raft_propose(N.raft, &b, 1, &index, &term) == ND_OK;

	nd_blob_unref(b);
	return done;
}

static bool change(uint32_t target)
{
	RaftConfiguration c;
	uint64_t	index;

	make_members(&c, x_bound.targets[target], x_bound.target_learners[target]);
	return raft_propose_configuration(N.raft, &c, &index) == ND_OK;
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

static void deliver(const XMessage *message, bool late)
{
	RaftMessage m;
	RaftEntry	entries[X_APPEND];

	x_unpack_message(message, &m, entries);
	if (late)
		tick_until(N.raft, ELECTION_TICKS);
	if (raft_step(N.raft, &m) == ND_INVALID)
		x_fail("a message that a core sent is malformed");
}

static void begin(XEffect *out)
{
	static uint32_t sent[X_SENT];
	static XShown shown[X_SHOWN];

	*out = (XEffect) {.used = true,.sent = sent,.shown = shown};
	effect = out;
	x_broken = NULL;
	x_payload_renew();
}

void x_node_start(NdNodeId id)
{
	XEffect		nothing;

	memset(&N, 0, sizeof(N));
	nd_set_allocator(&x_allocator);
	N.id = (uint8_t) id;
	begin(&nothing);
	start();
	settle();
}

void x_node_apply(const XEvent *e, XEffect *out)
{
	begin(out);
	switch ((XKind) e->kind)
	{
		case X_DELIVER:
		case X_DOUBLE:
		case X_DELIVER_LATE:
			deliver(x_message(e->arg), e->kind == X_DELIVER_LATE);
			break;
		case X_FLUSH:
			flush(1);
			break;
		case X_FLUSH_ALL:
			flush(N.n_writes);
			break;
		case X_UPDATE:
			take_update();
			break;
		case X_EXPIRE:
			expire(N.raft);
			break;
		case X_TICK:
			raft_tick(N.raft);
			break;
		case X_PROPOSE:
			out->used = propose((uint8_t) e->arg);
			break;
		case X_CHANGE:
			out->used = change(e->arg);
			break;
		case X_TRANSFER:
			out->used = raft_transfer(N.raft, e->arg) == ND_OK;
			break;
		case X_READ:
			out->used = raft_read_index(N.raft, e->arg) == ND_OK;
			break;
		case X_CRASH:
			crash(e->arg);
			break;
	}
	settle();
	out->broken = x_broken;
}

static uint32_t add(XEvent *events, uint32_t n, XKind kind, uint32_t arg)
{
	if (n == X_EVENTS)
	{
		fprintf(stderr, "X_EVENTS is too small\n");
		exit(2);
	}
	events[n] = (XEvent) {kind, N.id, arg};
	return n + 1;
}

static uint32_t add_crashes(XEvent *events, uint32_t n)
{
	const XWrite *w = &N.writes[0];
	bool		torn = N.n_writes > 0 && (w->truncate_from != 0 || w->n_entries > 0);
	uint32_t	whole = w->hard_changed ? w->n_entries + 1u : w->n_entries;

	for (uint32_t records = 0; records <= (torn ? whole : 0); records++)
		if (records != 1 || w->truncate_from != 0)
			n = add(events, n, X_CRASH, records);
	return n;
}

uint32_t x_node_events(XEvent *events)
{
	const Raft *r = N.raft;
	uint32_t	n = 0;

	if (N.n_writes > 0)
		n = add(events, n, X_FLUSH, 0);
	if (N.n_writes > 1)
		n = add(events, n, X_FLUSH_ALL, 0);
	if (x_bound.lazy && raft_has_update(r))
		n = add(events, n, X_UPDATE, 0);
	if (r->state != RAFT_LEADER && raft__may_campaign(r) && r->term < x_bound.terms && !(r->state == RAFT_CANDIDATE && r->self_ballot == BALLOT_NONE))
		n = add(events, n, X_EXPIRE, 0);
	n = add_crashes(events, n);
	if (r->leader != 0)
		n = add(events, n, X_READ, 0);
	if (r->state != RAFT_LEADER)
		return n;
	n = add(events, n, X_TICK, 0);
	n = add(events, n, X_PROPOSE, 0);
	for (uint32_t t = 0; t < x_bound.n_targets; t++)
		n = add(events, n, X_CHANGE, t);
	for (NdNodeId to = 1; r->transferee == 0 && to <= x_bound.nodes; to++)
		if (to != N.id)
			n = add(events, n, X_TRANSFER, to);
	return n;
}
