/*
 * node.c: life of a node, its groups, the loop, questions. See node.h for the contract and node_internal.h for who writes what.
 *
 * Invariants:
 * 1. The core gets no event between raft_take_update() and raft_update_done(): node__ready() is asked before every one.
 * 2. After node__fail() nothing is stored, sent or delivered any more.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node_internal.h"

#define CHECKPOINT_EVERY 4096
#define WORK_ROUNDS 8			/* of the loop, before other events get their turn */

NodeGroup *node__group(const Node *n, NdGroupId id)
{
	uint32_t	lo = 0;
	uint32_t	hi = n->n_groups;

	while (lo < hi)
	{
		uint32_t	mid = lo + (hi - lo) / 2;

		if (n->groups[mid]->id == id)
			return n->groups[mid];
		if (n->groups[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

bool node__ready(const NodeGroup *g)
{
	return g->node->failed == ND_OK && g->stopped == NULL && !g->taken && !node__resetting(g);
}

void node__log(Node *n, int level, const char *format, ...)
{
	char		text[512];
	va_list		args;

	if (n->callbacks.log == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	n->callbacks.log(n->callbacks.ctx, level, text);
}

void node__stop_group(NodeGroup *g, const char *format, ...)
{
	va_list		args;

	if (g->stopped != NULL)
		return;
	va_start(args, format);
	vsnprintf(g->text, sizeof(g->text), format, args);
	va_end(args);
	g->stopped = g->text;
	g->node->changed = true;
	node__log(g->node, 3, "group %u stopped on this node: %s", g->id, g->text);
}

void node__alarm(NodeGroup *g, const char *format, ...)
{
	va_list		args;

	if (g->stopped != NULL)
		return;
	va_start(args, format);
	vsnprintf(g->text, sizeof(g->text), format, args);
	va_end(args);
	g->alarm = g->text;
	g->node->changed = true;
	node__log(g->node, 3, "group %u: %s", g->id, g->text);
}

void node__activate(NodeGroup *g)
{
	Node	   *n = g->node;

	if (g->active)
		return;
	g->active = true;
	n->active[n->n_active++] = g;
}

void node__wake(NodeGroup *g)
{
	multiraft_wake(&g->sleep);
	node__activate(g);
}

void node__event(NodeGroup *g, NdStatus status)
{
	node__activate(g);
	/* A refusal changed nothing: looking for an update after each would keep the loop busy while there is no leader. */
	if (status == ND_OK || status == ND_NOMEM)
		g->dirty = true;
	if (status == ND_FROZEN && g->node->failed == ND_OK)
	{
		const char *reason = raft_frozen_reason(g->raft);

		node__stop_group(g, "%s", reason != NULL ? reason : "frozen");
	}
}

void node__fail(Node *n, NdStatus status, const char *what)
{
	StoreStatus s;

	if (n->failed != ND_OK)
		return;
	n->failed = status;
	n->changed = true;
	store_status(n->store, &s);
	if (status == ND_DAMAGED && s.damage != NULL)
		what = s.damage;
	node__log(n, 3, "%s: %s; every group of this node stops", what, nd_status_text(status));
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		node__fail_proposals(n->groups[i], status);
		node__fail_reads(n->groups[i], status);
	}
}

/* ---- life ---- */

static NdStatus read_log(void *ctx, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t out_cap, uint32_t *n)
{
	NodeGroup  *g = ctx;

	NdStatus	status = store_entries(g->node->store, g->id, lo, hi, bytes_max, out, out_cap, n);

	/* The core freezes this group by it; the other groups stand on the same log. */
	node__log_lost(g->node, status);
	return status;
}

static void free_group(NodeGroup *g)
{
	node__free_proposals(g);
	for (ReadWait *w = g->reads, *next; w != NULL; w = next)
	{
		next = w->next;
		nd_free(w);
	}
	for (int r = 0; r < NODE_READ_ROUNDS; r++)
		for (ReadWait *w = g->rounds[r].waits, *next; w != NULL; w = next)
		{
			next = w->next;
			nd_free(w);
		}
	if (g->taken)
		raft_update_done(g->raft);
	if (g->raft != NULL)
		raft_destroy(g->raft);
	if (g->certifier != NULL)
		certifier_destroy(g->certifier);
	nd_buf_free(&g->candidate);
	nd_free(g->peers);
	node__free_shipments(g);
	node__free_arrival(g);
	nd_free(g);
}

static NdStatus start_group(Node *n, NodeGroup *g, RaftRestore *restore, char *error, size_t error_len)
{
	NdGroupId	id = g->id;
	RaftConfig	config = {
		.group = id, .self = n->config.self,
		.election_ticks = n->config.election_ticks, .heartbeat_ticks = n->config.heartbeat_ticks,
		/* whoever leads a data group waits for all that the sequencer's log says */
		.frugal = id != ND_GROUP_SEQUENCER,
		.append_bytes_max = n->config.append_bytes_max, .inflight_max = n->config.inflight_max,
		.inflight_bytes_max = n->config.inflight_bytes_max, .uncommitted_bytes_max = n->config.uncommitted_bytes_max,
	};
	uint64_t	mix[3] = {n->config.seed, n->config.self, id};
	NdStatus	status;

	status = store_restore(n->store, id, restore);
	if (status != ND_OK)
	{
		snprintf(error, error_len, "group %u cannot be read from the log store: %s", id, nd_status_text(status));
		return status;
	}
	config.seed = nd_checksum(mix, sizeof(mix), n->config.incarnation);
	g->hard = restore->hard;
	g->durable = restore->last_index;
	g->commit = restore->hard.commit < restore->last_index ? restore->hard.commit : restore->last_index;
	if (id == ND_GROUP_META)
	{
		const RaftConfiguration *c = restore->configuration.index <= g->commit ? &restore->configuration : &restore->configuration_committed;

		/* A joint configuration that is committed is left for its target, whoever leads. */
		raft_configuration_target(c, &n->goal);
		if (c->n > 0)
			n->highest_seen = c->members[c->n - 1].node;
	}
	status = raft_create(&config, restore, &(RaftLog) {g, read_log}, &g->raft);
	if (status != ND_OK)
	{
		snprintf(error, error_len, "group %u cannot start from what its log holds: %s", id, nd_status_text(status));
		return status;
	}
	g->dirty = true;
	return node__restore_state(g, error, error_len);
}

NdStatus node__start_group(Node *n, NdGroupId id, uint64_t applied, NodeGroup **out, char *error, size_t error_len)
{
	NodeGroup  *g = nd_zalloc(sizeof(*g));
	RaftRestore *restore = nd_zalloc(sizeof(*restore));
	NdStatus	status = ND_NOMEM;

	if (g != NULL)
	{
		g->node = n;
		g->id = id;
		g->applied_start = g->applied_durable = applied;
		nd_buf_init(&g->candidate);
		if (restore != NULL)
			status = start_group(n, g, restore, error, error_len);
	}
	nd_free(restore);
	if (status == ND_OK)
		*out = g;
	else if (g != NULL)
		free_group(g);
	return status;
}

NdStatus node_create(const NodeConfig *config, Store *store, const NodeCallbacks *callbacks,
					 uint64_t (*applied)(void *ctx, NdGroupId group), Node **out, char *error, size_t error_len)
{
	Node	   *n = nd_zalloc(sizeof(*n));
	uint32_t	n_groups = store_groups(store, NULL, 0);
	NdGroupId  *ids = nd_alloc((n_groups + 1) * sizeof(*ids));
	NdStatus	status = ND_OK;

	*out = NULL;
	snprintf(error, error_len, "out of memory");
	if (n == NULL || ids == NULL ||
		(n->groups = nd_zalloc((n_groups + 1) * sizeof(NodeGroup *))) == NULL ||
		(n->active = nd_alloc((n_groups + 1) * sizeof(NodeGroup *))) == NULL ||
		(n->peers = nd_zalloc(2 * RAFT_MEMBERS_MAX * sizeof(NodePeer))) == NULL ||
		(n->pending = nd_zalloc(NODE_PENDING_BUCKETS * sizeof(Pending *))) == NULL ||
		(n->by_request = nd_zalloc(NODE_PENDING_BUCKETS * sizeof(Pending *))) == NULL)
		status = ND_NOMEM;
	else
	{
		n->config = *config;
		n->store = store;
		n->callbacks = *callbacks;
		n->has_snapshots = callbacks->snapshots != NULL;
		if (n->has_snapshots)
			n->snapshots = *callbacks->snapshots;
		n->callbacks.snapshots = NULL;
		if (n->config.snapshot_chunk_bytes == 0)
			n->config.snapshot_chunk_bytes = NODE_SNAPSHOT_CHUNK;
		if (n->config.snapshot_chunk_bytes > WIRE_SNAPSHOT_CHUNK_MAX)
			n->config.snapshot_chunk_bytes = WIRE_SNAPSHOT_CHUNK_MAX;
		if (n->config.snapshot_window_bytes == 0)
			n->config.snapshot_window_bytes = NODE_SNAPSHOT_WINDOW;
		if (n->config.undurable_bytes_max == 0)
			n->config.undurable_bytes_max = NODE_UNDURABLE_BYTES_MAX;
		if (n->config.checkpoint_every == 0)
			n->config.checkpoint_every = CHECKPOINT_EVERY;
		if (n->config.groups_max == 0 || n->config.groups_max > ENTRY_GROUPS_MAX)
			n->config.groups_max = ENTRY_GROUPS_MAX;
		if (n->config.entry_bytes_max == 0 || n->config.entry_bytes_max > WIRE_ENTRY_BYTES_MAX)
			n->config.entry_bytes_max = WIRE_ENTRY_BYTES_MAX;
		nd_random_seed(&n->random, config->seed ^ ((uint64_t) config->self << 32) ^ config->incarnation);
		store_groups(store, ids, n_groups);
		if (n_groups == 0 || ids[0] != ND_GROUP_META)
		{
			snprintf(error, error_len, "the log store holds no metadata group: this node was never founded and never joined");
			status = ND_NOTFOUND;
		}
	}
	for (uint32_t i = 0; status == ND_OK && i < n_groups; i++)
	{
		status = node__start_group(n, ids[i], applied != NULL && ids[i] != ND_GROUP_SEQUENCER ? applied(callbacks->ctx, ids[i]) : 0, &n->groups[i], error, error_len);
		if (status != ND_OK)
			break;
		n->n_groups++;
		node__activate(n->groups[i]);
		if (ids[i] == ND_GROUP_SEQUENCER)
			n->sequencer_group = n->groups[i];
		status = node__announce(n->groups[i]);
	}
	if (status == ND_OK)
		status = node__several_create(n);
	nd_free(ids);
	if (status != ND_OK)
	{
		if (n != NULL)
			node_destroy(n);
		return status;
	}
	if (error_len > 0)
		error[0] = '\0';
	*out = n;
	return ND_OK;
}

void node_destroy(Node *n)
{
	for (uint32_t i = 0; i < n->n_groups; i++)
		free_group(n->groups[i]);
	node__several_destroy(n);
	node__free_peers(n);
	nd_free(n->pending);
	nd_free(n->by_request);
	nd_free(n->groups);
	nd_free(n->active);
	nd_free(n->seeds);
	nd_free(n);
}

void node_set_transport(Node *n, Transport *t)
{
	n->transport = t;
	node__refresh_peers(n);
}

/* ---- the loop ---- */

/* Who was served last comes last: when the host has room for one more entry, it is another group's each time. */
static bool deliver_round(Node *n)
{
	uint32_t	count = n->n_active;
	uint32_t	first = 0;
	bool		more = false;

	while (first < count && n->active[first]->id != n->served_last)
		first++;
	for (uint32_t i = 0; i < n->n_active; i++)
	{
		/* those that woke meanwhile at the end */
		NodeGroup  *g = n->active[i < count ? (first + 1 + i) % count : i];

		if (!node__deliver(g))
			continue;
		n->served_last = g->id;
		more = true;
	}
	return more;
}

bool node_work(Node *n)
{
	bool		more = true;

	for (int round = 0; more && round < WORK_ROUNDS && n->failed == ND_OK; round++)
	{
		more = node__flush_poll(n);
		n->turn++;
		/* The list may grow meanwhile: what a callback asks of another group. */
		for (uint32_t i = 0; i < n->n_active; i++)
		{
			more |= node__propose_round(n->active[i]);
			more |= node__read_round(n->active[i]);
		}
		more |= node__several_round(n);
		for (uint32_t i = 0; i < n->n_active; i++)
			more |= node__gather(n->active[i]);
		n->promised = 0;
		for (uint32_t i = 0; i < n->n_active; i++)
		{
			more |= node__ship(n->active[i]);
			more |= node__install(n->active[i]);
		}
		node__release_clean(n);
		/* A leader's appends leave before its own flush: the followers' disks work at the same time (thesis, 10.2.1). */
		node__send_all(n);
		more |= node__flush_start(n);
		more |= deliver_round(n);
		for (uint32_t i = 0; i < n->n_active; i++)
			more |= n->active[i]->dirty && node__ready(n->active[i]);
	}
	if (n->changed)
	{
		n->changed = false;
		if (n->transport != NULL && n->failed == ND_OK)
			node__refresh_peers(n);
		if (n->callbacks.changed != NULL)
			n->callbacks.changed(n->callbacks.ctx);
	}
	return more && n->failed == ND_OK;
}

/* ---- questions ---- */

uint32_t node_group_count(const Node *n)
{
	return n->n_groups;
}

uint32_t node_active_groups(const Node *n)
{
	return n->n_active;
}

NdStatus node_group_status(const Node *n, uint32_t i, NodeGroupStatus *out)
{
	const NodeGroup *g;

	if (i >= n->n_groups)
		return ND_NOTFOUND;
	g = n->groups[i];
	memset(out, 0, sizeof(*out));
	out->group = g->id;
	raft_status(g->raft, &out->raft);
	out->n_replicas = raft_configuration(g->raft)->n;
	for (uint32_t k = 0; k < out->n_replicas; k++)
		out->replicas[k] = raft_configuration(g->raft)->members[k].node;
	out->delivered = g->delivered;
	if (g->n_sums > 0)
	{
		out->checksum_index = g->sums[(g->n_sums - 1) % NODE_SUMS].index;
		out->certifier_checksum = g->sums[(g->n_sums - 1) % NODE_SUMS].sum;
	}
	if (g->certifier != NULL)
		certifier_status(g->certifier, &out->certifier);
	out->frozen = g->stopped;
	out->alarm = g->stopped == NULL ? g->alarm : NULL;
	out->asleep = g->sleep.asleep;
	out->applied_durable = g->applied_durable;
	out->applied_start = g->applied_start;
	for (const Shipment *s = g->shipments; s != NULL; s = s->next)
		out->snapshots_out++;
	out->snapshot_in = g->arrival != NULL;
	return ND_OK;
}

bool node_failed(const Node *n, NdStatus *status)
{
	if (status != NULL)
		*status = n->failed;
	return n->failed != ND_OK;
}

uint64_t node_certifier_checksum(const Node *n, NdGroupId group)
{
	const NodeGroup *g = node__group(n, group);

	return g != NULL && g->certifier != NULL ? certifier_checksum(g->certifier) : 0;
}

bool node_reservation(const Node *n, NdGroupId group, uint64_t i, CertifierReservation *out)
{
	const NodeGroup *g = node__group(n, group);

	return g != NULL && g->certifier != NULL && certifier_reservation(g->certifier, i, out);
}

const Raft *node_raft(const Node *n, NdGroupId group)
{
	const NodeGroup *g = node__group(n, group);

	return g != NULL ? g->raft : NULL;
}

NdStatus node_entry_position(const Node *n, NdGroupId group, uint64_t index, StorePosition *position, uint64_t *term)
{
	NdStatus	status = store_position(n->store, group, index, position);

	*term = status == ND_OK ? store_term(n->store, group, index) : 0;
	return status;
}

bool node_chunks_open(const Node *n, NdGroupId group, TxnId txn)
{
	const NodeGroup *g = node__group(n, group);

	return g != NULL && g->certifier != NULL && certifier_chunks_open(g->certifier, txn);
}
