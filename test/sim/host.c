/*
 * host.c: one simulated server: disk, store, node driver, and the applier with its tables.
 *
 * Invariants:
 * 1. A life begins with host_start() and ends with host_crash(); nothing of one life reaches the next but the disk, and a prefix (in ticket
 *    order) of what the tables held: PostgreSQL commits asynchronously.
 * 2. Delivered entries queue as tickets in one order over all groups; the applier takes them in that order. A full queue says ND_BUSY.
 * 3. The node's code runs only inside host_event() and the clients' calls, never while the host is paused or down.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORK_ROUNDS_MAX 20000
#define LINGER_US 1000

void host_kick(Host *h)
{
	if (h->work_scheduled)
		return;
	h->work_scheduled = true;
	sim_post(h->sim, sim_spread(&h->sim->rng, 10), EV_WORK, h->id, 0, 0);
}

uint64_t host_watermark(const Host *h, NdGroupId group)
{
	return h->groups[group].applied;
}

const Raft *host_raft(const Host *h, uint32_t place)
{
	return node_raft(h->node, sim_id(h->sim, place));
}

bool host_leads(const Host *h, uint32_t place)
{
	return host_raft(h, place) != NULL && raft_is_leader(host_raft(h, place));
}

/* The driver has its groups in the order of their ids: the sequencer's is the last. */
NodeGroupStatus host_status(const Host *h, uint32_t place)
{
	NodeGroupStatus status;

	if (sim_sequencer(h->sim, place))
		place = node_group_count(h->node) - 1;
	if (node_group_status(h->node, place, &status) != ND_OK || (status.group == ND_GROUP_SEQUENCER && place <= node_data_groups(h->node)))
		memset(&status, 0, sizeof status);
	return status;
}

/* ---- tables ---- */

/* Rows carry what the transaction had read: a commit over another value is a lost update, whatever the certifier says. */
static void apply_pairs(Host *h, NdGroupId group, uint64_t index, uint64_t *table, const SimPair *pairs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		if (table[pairs[i].key] != pairs[i].was)
			sim_fail(h->sim, "lost update", "node %u group %u entry %" PRIu64 " changes key %u from %" PRIu64 ", but the row is %" PRIu64,
					 h->id, group, index, pairs[i].key, pairs[i].was, table[pairs[i].key]);
		table[pairs[i].key] = pairs[i].is;
	}
}

/* The applier reads a transaction's chunks from the log: truncation must not have taken them. */
static void check_chunk_readable(Host *h, NdGroupId group, uint64_t index, uint64_t chunk)
{
	RaftEntry	e;
	uint32_t	n = 0;
	NdStatus	status = store_entries(h->store, group, chunk, chunk + 1, UINT32_MAX, &e, 1, &n);

	if (status != ND_OK && disks_explain(h, status))
		return;
	if (status != ND_OK || n != 1)
	{
		sim_fail(h->sim, "chunk lost", "node %u group %u: entry %" PRIu64 " names chunk %" PRIu64 ", which the log no longer has: %s",
				 h->id, group, index, chunk, nd_status_text(status));
		return;
	}
	nd_blob_unref(e.payload);
}

static void apply_entry(Host *h, NdGroupId group, uint64_t index, uint64_t *table, bool running)
{
	Ledger	   *l = &h->sim->ledgers[group];
	LedgerEntry *e = &l->entries[index - 1];

	if (!e->has_header || (e->entry_kind != ENTRY_TXN && e->entry_kind != ENTRY_OUTCOME) || e->verdict.kind != VERDICT_COMMIT)
		return;
	if (e->entry_kind == ENTRY_OUTCOME)
	{
		if (running)
			check_chunk_readable(h, group, index, e->verdict.by_index);
		e = &l->entries[e->verdict.by_index - 1];
	}
	for (uint32_t i = 0; i < e->n_chunks; i++)
	{
		LedgerEntry *c = &l->entries[e->chunks[i] - 1];

		if (running)
			check_chunk_readable(h, group, index, e->chunks[i]);
		apply_pairs(h, group, index, table, c->pairs, c->n_pairs);
	}
	apply_pairs(h, group, index, table, e->pairs, e->n_pairs);
}

static void schedule_apply(Host *h)
{
	if (h->apply_scheduled || h->applied_tickets == h->n_tickets)
		return;
	h->apply_scheduled = true;
	sim_post(h->sim, sim_spread(&h->sim->rng, h->sim->o.apply_us), EV_APPLY, h->id, 0, 0);
}

static void apply_some(Host *h)
{
	uint32_t	n = 1 + (uint32_t) nd_random_below(&h->sim->rng, 8);

	while (n-- > 0 && h->applied_tickets < h->n_tickets && !h->sim->failed)
	{
		Ticket		t = h->tickets[h->applied_tickets++];

		for (uint32_t i = 0; i < t.n; i++)
		{
			TicketPart	p = t.parts[i];

			sim_trace(h->sim, T_APPLY, h->id, p.group, p.index, 0, 0, 0);
			apply_entry(h, p.group, p.index, h->groups[p.group].table, true);
			h->groups[p.group].applied = p.index;
		}
		if (t.position > 0)
			check_parts(h, &t);
		for (uint32_t i = 0; i < t.n; i++)
			clients_applied(h, t.parts[i].group, t.parts[i].index, t.local && t.position == 0);
		if (t.local && t.position > 0)
			clients_committed(h, &t);
	}
	schedule_apply(h);
	host_kick(h);
}

static void tables_durable(Host *h)
{
	uint64_t	keep;

	for (uint32_t g = 0; g < sim_places(h->sim); g++)
	{
		HostGroup  *hg = &h->groups[g];

		if (hg->durable == hg->applied)
			continue;
		hg->durable = hg->applied;
		memcpy(hg->durable_table, hg->table, sizeof hg->table);
		sim_trace(h->sim, T_DURABLE, h->id, g, hg->durable, 0, 0, 0);
	}
	if (h->torn)
		h->torn = !check_whole(h);
	/* Repeating the same index must be harmless. A member that joins needs the log from its beginning when it can have no snapshot. */
	keep = h->sim->o.truncate && (h->sim->founded || h->sim->o.snapshots) ? h->sim->o.keep_bytes : UINT64_MAX / 2;
	for (uint32_t g = 0; g <= h->sim->o.data_groups; g++)
		node_applied_durable(h->node, g, h->groups[g].durable, keep);
	if (h->applied_tickets > 0)
		memmove(h->tickets, h->tickets + h->applied_tickets, (h->n_tickets - h->applied_tickets) * sizeof *h->tickets);
	h->n_tickets -= h->applied_tickets;
	h->applied_tickets = 0;
	sim_post(h->sim, sim_spread(&h->sim->rng, h->sim->o.durable_us), EV_APPLIED_DURABLE, h->id, 0, 0);
	host_kick(h);
}

/*
 * A snapshot's rows take the place of the group's, in one step that no crash undoes. What was delivered and is not applied is among them: its clients hear of it
 * as if the applier had passed it.
 */
void host_replace_table(Host *h, NdGroupId group, uint64_t index, const uint64_t *table)
{
	HostGroup  *hg = &h->groups[group];
	uint32_t	kept = 0;
	uint32_t	n_passed = 0;
	uint32_t	cap = 0;
	Ticket	   *passed = sim_grow(NULL, &cap, h->n_tickets + 1, sizeof *passed);
	uint32_t	applied = h->applied_tickets;

	/* Of a transaction over several groups the parts of the others stay. */
	for (uint32_t i = 0; i < h->n_tickets; i++)
	{
		Ticket		t = h->tickets[i];
		uint32_t	left = 0;

		for (uint32_t p = 0; p < t.n; p++)
			if (t.parts[p].group != group)
				t.parts[left++] = t.parts[p];
		if (left > 0)
		{
			t.n = left;
			h->tickets[kept++] = t;
		}
		else if (i < applied)
			h->applied_tickets--;
		else
			passed[n_passed++] = t;
	}
	h->n_tickets = kept;
	memcpy(hg->table, table, sizeof hg->table);
	memcpy(hg->durable_table, table, sizeof hg->table);
	hg->applied = hg->durable = hg->applied_at_start = index;
	hg->delivered = 0;
	h->refused_index[group] = 0;
	h->torn = true;
	h->torn = !check_whole(h);
	for (uint32_t i = 0; i < n_passed; i++)
	{
		clients_applied(h, group, passed[i].parts[0].index, passed[i].local && passed[i].position == 0);
		if (passed[i].local && passed[i].position > 0)
			clients_committed(h, &passed[i]);
	}
	clients_applied(h, group, index, false);
	free(passed);
}

/* The server restarts with a prefix of its commits, somewhere between the last flush and the last commit. */
static void tables_crash(Host *h)
{
	uint32_t	kept = (uint32_t) nd_random_below(&h->sim->fault_rng, h->applied_tickets + 1);

	sim_trace(h->sim, T_CRASH, h->id, 0, kept, h->applied_tickets, 0, 0);
	for (uint32_t i = 0; i < kept; i++)
	{
		Ticket	   *t = &h->tickets[i];

		for (uint32_t p = 0; p < t->n; p++)
		{
			HostGroup  *hg = &h->groups[t->parts[p].group];

			apply_entry(h, t->parts[p].group, t->parts[p].index, hg->durable_table, false);
			hg->durable = t->parts[p].index;
		}
	}
	/* What was torn may be whole by what the crash has kept. */
	h->torn = !check_whole(h);
	for (uint32_t g = 0; g < sim_places(h->sim); g++)
	{
		HostGroup  *hg = &h->groups[g];

		hg->applied = hg->applied_at_start = hg->durable;
		memcpy(hg->table, hg->durable_table, sizeof hg->table);
		hg->delivered = hg->term = hg->commit = hg->leader_term = hg->last = hg->durable_log = 0;
		hg->audits_due = 0;
		hg->configuration = 0;
		h->refused_index[g] = 0;
	}
	h->n_tickets = h->applied_tickets = 0;
}

/* ---- the driver's callbacks ---- */

/* The delivery that another group's OUTCOME would be, had it come alone. *raw is held for it. */
static bool part_delivery(Host *h, const NodePart *p, NodeDelivery *out, RaftEntry *raw)
{
	uint32_t	n = 0;
	NdStatus	status;

	memvfs_look(h->disk, true);
	status = store_entries(h->store, p->group, p->index, p->index + 1, UINT32_MAX, raw, 1, &n);
	memvfs_look(h->disk, false);
	*out = (NodeDelivery) {.group = p->group, .index = p->index, .has_header = true};
	if (status == ND_OK && n == 1 && raw->payload != NULL && raw->kind == RAFT_ENTRY_DATA &&
		entry_decode(raw->payload->data, raw->payload->len, &out->header) == ND_OK && out->header.kind == ENTRY_OUTCOME &&
		store_position(h->store, p->group, p->index, &out->position) == ND_OK)
	{
		out->term = raw->term;
		out->kind = raw->kind;
		out->verdict = (Verdict) {.kind = VERDICT_COMMIT, .by_index = p->marker, .by_txn = out->header.txn};
		out->local = out->header.txn.node == h->id && out->header.txn.incarnation == h->incarnation;
		return true;
	}
	if (n == 1)
		nd_blob_unref(raw->payload);
	sim_fail(h->sim, "delivery", "node %u group %u entry %" PRIu64 " is no outcome that can be delivered with another: %s",
			 h->id, p->group, p->index, nd_status_text(status));
	return false;
}

static void take_one(Host *h, const NodeDelivery *d)
{
	Sim		   *s = h->sim;

	bool		skipped = sim_sequencer(s, d->group) && d->index == host_status(h, d->group).applied_start + 1;	/* a snapshot, of which the host hears nothing */

	if (h->refused_index[d->group] && h->refused_index[d->group] != d->index && !skipped)
		sim_fail(s, "delivery", "node %u group %u was busy at entry %" PRIu64 " and is offered entry %" PRIu64 " next",
				 h->id, d->group, h->refused_index[d->group], d->index);
	h->refused_index[d->group] = 0;
	sim_trace(s, T_DELIVER, h->id, d->group, d->index, d->term, d->verdict.kind, d->replayed);
	if (!s->failed)
		check_delivery(h, d);
	h->groups[d->group].delivered = d->index;
}

/* All that is delivered by one call becomes one ticket. */
static void take_parts(Host *h, const NodeDelivery *d, Ticket *t)
{
	bool		mine = false;

	t->txn = d->header.txn;
	t->position = d->header.position;
	for (uint32_t i = 0; i < d->n_parts && !h->sim->failed; i++)
	{
		const NodePart *p = &d->parts[i];
		NodeDelivery other;
		RaftEntry	raw;

		if (p->group == ND_GROUP_META || p->group > h->sim->o.data_groups || t->n == SIM_PARTS_MAX)
		{
			sim_fail(h->sim, "delivery", "node %u delivers entry %" PRIu64 " of group %u as a part", h->id, p->index, p->group);
			return;
		}
		if (p->group == d->group)
		{
			mine = p->index == d->index && p->marker == d->verdict.by_index;
			take_one(h, d);
		}
		else if (part_delivery(h, p, &other, &raw))
		{
			take_one(h, &other);
			nd_blob_unref(raw.payload);
		}
		t->parts[t->n++] = (TicketPart) {p->group, p->index};
	}
	if (!mine)
		sim_fail(h->sim, "delivery", "node %u group %u entry %" PRIu64 " is not among its own parts", h->id, d->group, d->index);
}

static NdStatus on_deliver(void *ctx, const NodeDelivery *given)
{
	Host	   *h = ctx;
	Sim		   *s = h->sim;
	NodeDelivery placed = *given;
	NodeDelivery *d = &placed;
	Ticket		t = {.local = d->local};

	d->group = sim_place(s, given->group);
	if (d->group >= sim_places(s))
	{
		sim_fail(s, "delivery", "node %u delivers entry %" PRIu64 " of group %u", h->id, d->index, d->group);
		return ND_OK;
	}
	if (h->n_tickets - h->applied_tickets >= s->o.apply_queue || sim_chance(&s->rng, s->o.busy))
	{
		h->refused_index[d->group] = d->index;
		sim_trace(s, T_REFUSE, h->id, d->group, d->index, 0, 0, 0);
		schedule_apply(h);
		if (h->applied_tickets == h->n_tickets)
			sim_post(s, sim_spread(&s->rng, 500), EV_APPLY, h->id, 0, 0);	/* room again, soon */
		return ND_BUSY;
	}
	if (d->n_parts > 0)
		take_parts(h, d, &t);
	else
	{
		if (!d->replayed && d->has_header && d->header.kind == ENTRY_OUTCOME && d->verdict.kind == VERDICT_COMMIT)
			sim_fail(s, "delivery", "node %u group %u entry %" PRIu64 ": an outcome that commits, without parts", h->id, d->group, d->index);
		take_one(h, d);
		t.parts[t.n++] = (TicketPart) {d->group, d->index};
	}
	if (s->failed)
		return ND_OK;
	if (!d->replayed)
	{
		h->tickets = sim_grow(h->tickets, &h->cap_tickets, h->n_tickets + 1, sizeof *h->tickets);
		h->tickets[h->n_tickets++] = t;
		schedule_apply(h);
	}
	if (d->local)
		clients_delivered(h, d);
	return ND_OK;
}

static void on_granted(void *ctx, NdGroupId group, uint64_t index, TxnId txn)
{
	Host	   *h = ctx;

	check_turn(h, group, txn, 0, true);
	clients_granted(h, group, index, txn);
}

static void on_proposal_failed(void *ctx, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason)
{
	Host	   *h = ctx;

	group = sim_place(h->sim, group);
	sim_trace(h->sim, T_PROPOSE_FAILED, h->id, group, txn.counter, kind, outcome, reason);
	clients_failed(h, group, txn, kind, outcome, reason);
}

static void on_read_done(void *ctx, NdGroupId group, uint64_t token, NdStatus status, uint64_t index)
{
	Host	   *h = ctx;

	sim_trace(h->sim, T_READ_DONE, h->id, group, token, status, index, 0);
	clients_read_done(h, group, token, status, index);
}

static void on_changed(void *ctx)
{
	(void) ctx;
}

static void on_log(void *ctx, int level, const char *text)
{
	Host	   *h = ctx;

	sim_trace(h->sim, T_LOG, h->id, (uint64_t) level, nd_checksum(text, strlen(text), 0), 0, 0, 0);
	if (h->sim->print)
		printf("                          n%-3u log: %s\n", h->id, text);
}

static uint64_t on_applied(void *ctx, NdGroupId group)
{
	Host	   *h = ctx;

	return group < SIM_GROUPS_MAX ? h->groups[group].applied : 0;
}

/* ---- life ---- */

NdNodeId host_new(Sim *s)
{
	Host	   *h;

	if (s->next_id >= SIM_NODES_MAX)
		return 0;
	h = &s->hosts[s->next_id];
	h->sim = s;
	h->id = s->next_id++;
	h->exists = true;
	h->disk = memvfs_create();
	if (h->disk == NULL)
	{
		sim_fail(s, "memory", "no memory for a disk");
		return 0;
	}
	memvfs_set_manual(h->disk, true);
	snprintf(h->dir, sizeof h->dir, "/node%u", h->id);
	return h->id;
}

static void member_of(const Host *h, NodeMember *m)
{
	memset(m, 0, sizeof *m);
	m->node = h->id;
	m->role = RAFT_VOTER;
	snprintf(m->name, sizeof m->name, "node%u", h->id);
	snprintf(m->address, sizeof m->address, "sim:%u", h->id);
}

static bool open_store(Host *h)
{
	Sim		   *s = h->sim;
	Vfs		   *vfs = memvfs_vfs(h->disk);
	StoreConfig config = s->o.store;
	StoreIdentity id;
	uint64_t	inode;
	char		error[256] = "";
	NdStatus	status;

	config.dir = h->dir;
	config.node = h->id;
	vfs->ops->mkdir(vfs, h->dir);
	status = store_identity_read(vfs, h->dir, &id, &inode);
	if (status != ND_OK && disks_explain(h, status))
		return false;
	if (status == ND_NOTFOUND && h->incarnation == 0)
		id = (StoreIdentity) {.cluster_id = config.cluster_id, .node = h->id};
	else if (status != ND_OK || id.incarnation != h->incarnation || id.node != h->id)
	{
		sim_fail(s, "identity", "node %u reads its identity: %s, incarnation %u after %u", h->id, nd_status_text(status), id.incarnation, h->incarnation);
		return false;
	}
	id.incarnation++;
	status = store_identity_write(vfs, h->dir, &id);
	if (status == ND_OK)
	{
		h->incarnation = id.incarnation;
		status = store_open(vfs, &config, &h->store, error, sizeof error);
	}
	if (status != ND_OK && !disks_explain(h, status))
		sim_fail(s, "recovery", "node %u cannot open its store: %s: %s", h->id, nd_status_text(status), error);
	return status == ND_OK;
}

static bool found_groups(Host *h)
{
	Sim		   *s = h->sim;
	NodeMember	self;
	NdStatus	status;

	if (store_groups(h->store, NULL, 0) > 0)
		return true;
	member_of(h, &self);
	if (h->founder)
		status = node_bootstrap(h->store, &self, s->o.founded_groups);
	else
		status = node_bootstrap_joining(h->store, s->o.founded_groups + (s->reached_groups > s->o.founded_groups ?
																		 (uint32_t) nd_random_below(&s->rng, s->reached_groups - s->o.founded_groups + 1) : 0));
	if (status == ND_OK && s->o.sequencer)
		status = node_bootstrap_sequencer(h->store, h->founder ? &self : NULL);
	if (status != ND_OK && !disks_explain(h, status))
		sim_fail(s, "founding", "node %u: %s", h->id, nd_status_text(status));
	return status == ND_OK;
}

/* It could not start for its disk: given up, or tried again soon. */
static void not_started(Host *h)
{
	store_close(h->store);
	h->store = NULL;
	h->up = false;
	if (h->unusable)
		h->dead = true;
	else if (!h->sim->failed)
		sim_post(h->sim, sim_spread(&h->sim->fault_rng, 100 * SIM_MS), EV_START, h->id, 0, 0);
}

void host_start(Host *h)
{
	Sim		   *s = h->sim;
	NodeConfig	config = s->o.node;
	NodeSnapshots snapshots;
	NodeCallbacks callbacks = {on_deliver, on_granted, on_proposal_failed, on_read_done, on_changed, on_log, h, s->o.snapshots ? &snapshots : NULL};
	NodeMember	seeds[SIM_NODES_MAX];
	uint32_t	n_seeds = 0;
	char		error[256] = "";
	NdStatus	status;

	if (!open_store(h) || !found_groups(h))
	{
		not_started(h);
		return;
	}
	disks_opened(h);
	h->up = true;
	h->paused_until = 0;
	h->ticks = 0;
	h->tick_us = s->o.node.tick_ms * SIM_MS;
	if (s->o.drift)
		h->tick_us = h->tick_us * 4 / 5 + nd_random_below(&s->fault_rng, h->tick_us * 2 / 5);
	h->clock_stands_until = 0;
	h->ticks_missed = 0;
	h->counter = 0;
	h->idle_rounds = 0;
	h->linger_end = 0;
	h->work_scheduled = h->disk_scheduled = h->apply_scheduled = false;
	memset(h->told, 0, sizeof h->told);
	sim_trace(s, T_START, h->id, h->incarnation, 0, 0, 0, 0);
	check_started(h);
	snapshots_init(h, &snapshots);
	config.self = h->id;
	config.incarnation = h->incarnation;
	config.seed = nd_random_next(&s->rng);
	status = node_create(&config, h->store, &callbacks, on_applied, &h->node, error, sizeof error);
	if (status != ND_OK)
	{
		if (!disks_explain(h, status))
			sim_fail(s, "recovery", "node %u cannot be created: %s: %s", h->id, nd_status_text(status), error);
		not_started(h);
		return;
	}
	net_init_transport(h);
	node_set_transport(h->node, &h->transport.base);
	for (NdNodeId id = 1; id < s->next_id; id++)
		if (id != h->id && s->hosts[id].exists)
			member_of(&s->hosts[id], &seeds[n_seeds++]);
	node_set_seed_peers(h->node, seeds, n_seeds);
	net_host_started(h);
	sim_post(s, sim_spread(&s->rng, 5 * SIM_MS), EV_TICK, h->id, 0, 0);
	sim_post(s, sim_spread(&s->rng, s->o.durable_us), EV_APPLIED_DURABLE, h->id, 0, 0);
	host_kick(h);
}

void host_crash(Host *h, bool silent)
{
	Sim		   *s = h->sim;

	if (!h->up)
		return;
	h->up = false;
	h->life++;
	h->disk_armed = false;
	s->crashes++;
	net_host_stopped(h, silent);
	clients_node_gone(s, h->id);
	node_destroy(h->node);
	store_close(h->store);
	h->node = NULL;
	h->store = NULL;
	snapshots_lose(h);
	memvfs_fail(h->disk, MEMVFS_SYNC, 0, 0, ND_OK);
	memvfs_fail(h->disk, MEMVFS_READ, 0, 0, ND_OK);
	h->read_armed = false;
	memvfs_crash(h->disk, nd_random_next(&s->fault_rng));
	tables_crash(h);
}

void host_lose(Host *h)
{
	h->dead = true;
	host_crash(h, false);
}

bool host_found(Sim *s)
{
	for (uint32_t i = 0; i < s->o.nodes; i++)
		if (host_new(s) == 0)
			return false;
	s->hosts[1].founder = true;
	s->wanted_groups = s->reached_groups = s->o.founded_groups;
	for (uint32_t g = 0; g < sim_places(s); g++)
	{
		Ledger	   *l = &s->ledgers[g];

		if (!sim_made(s, g))
			continue;
		l->configuration.n = 1;
		l->configuration.members[0] = (RaftMember) {.node = 1, .role = RAFT_VOTER};
		l->configurations = sim_grow(NULL, &l->cap_configurations, 1, sizeof *l->configurations);
		l->configurations[l->n_configurations++] = l->configuration;
	}
	for (uint32_t i = 1; i <= s->o.nodes; i++)
		sim_post(s, i * SIM_MS, EV_START, i, 0, 0);
	return true;
}

/* ---- events ---- */

static void peer_up(Host *h, NdNodeId peer, uint64_t session)
{
	if (!net_session(h->sim, h->id, peer, session))
		return;
	if (h->told[peer])
		node_peer_down(h->node, peer);
	h->told[peer] = session;
	sim_trace(h->sim, T_PEER_UP, h->id, peer, h->sim->hosts[peer].incarnation, 0, 0, 0);
	node_peer_up(h->node, peer, h->sim->hosts[peer].incarnation);
	host_kick(h);
}

static void peer_down(Host *h, NdNodeId peer, uint64_t session)
{
	if (h->told[peer] != session)
		return;
	h->told[peer] = 0;
	sim_trace(h->sim, T_PEER_DOWN, h->id, peer, 0, 0, 0, 0);
	node_peer_down(h->node, peer);
	host_kick(h);
}

static void work(Host *h)
{
	bool		more;

	h->work_scheduled = false;
	/* in every second run: a flush may wait for parts that are to come (node_set_linger()) */
	node_set_linger(h->node, h->sim->seed % 2 == 1 && (h->linger_end == 0 || h->sim->now < h->linger_end));
	more = node_work(h->node);
	if (!node_lingers(h->node))
		h->linger_end = 0;
	else if (h->linger_end == 0)
	{
		h->linger_end = h->sim->now + LINGER_US;
		sim_post(h->sim, LINGER_US, EV_WORK, h->id, 0, 0);
	}
	sim_trace(h->sim, T_WORK, h->id, more, 0, 0, 0, 0);
	h->idle_rounds = more ? h->idle_rounds + 1 : 0;
	if (h->idle_rounds > WORK_ROUNDS_MAX)
		sim_fail(h->sim, "livelock", "node %u: node_work() asked for more %u times", h->id, WORK_ROUNDS_MAX);
	if (more)
		host_kick(h);
}

static void look_at_configurations(Host *h)
{
	for (uint32_t g = 0; g < sim_places(h->sim) && h->sim->o.churn; g++)
	{
		const Raft *raft = host_raft(h, g);
		uint64_t	index = raft != NULL ? raft_configuration(raft)->index : 0;

		if (!host_leads(h, g) || index <= h->groups[g].configuration)
			continue;
		h->groups[g].configuration = index;
		faults_configuration(h->sim, h, g);
	}
}

/* A driver that stopped must have had a reason. Its server is restarted later, or its disk is given up. */
static void look_after(Host *h)
{
	Sim		   *s = h->sim;
	NdStatus	status = ND_OK;
	uint64_t	bytes;

	if (node_failed(h->node, &status))
	{
		sim_trace(s, T_NODE_FAILED, h->id, status, 0, 0, 0, 0);
		if (disks_explain(h, status))
		{
			/* below */
		}
		else if (!h->disk_armed)
			sim_fail(s, "node failed", "node %u stopped though its disk is well: %s", h->id, nd_status_text(status));
		if (h->unusable)
			host_lose(h);
		else if (!s->failed)
		{
			host_crash(h, false);
			sim_post(s, sim_spread(&s->fault_rng, 300 * SIM_MS), EV_START, h->id, 0, 0);
		}
		return;
	}
	if (h->unusable)
	{
		/* the applier met damage */
		host_lose(h);
		return;
	}
	check_host(h);
	disks_look(h);
	look_at_configurations(h);
	if (!h->disk_scheduled && memvfs_job(h->disk, &bytes))
	{
		uint64_t	delay = sim_spread(&s->rng, s->o.flush_us);

		if (sim_chance(&s->rng, s->o.flush_spike))
			delay += sim_spread(&s->rng, 300 * SIM_MS);
		if ((s->phase == PHASE_CHAOS || s->o.faults_from_start) && sim_chance(&s->rng, s->o.flush_stall))
			delay += sim_spread(&s->rng, 3 * SIM_S);
		h->disk_scheduled = true;
		sim_post(s, delay, EV_DISK, h->id, 0, 0);
	}
}

/* A clock that stands still makes up for it all at once, or not at all. */
static void tick(Host *h)
{
	if (h->clock_stands_until > h->sim->now)
	{
		h->ticks_missed++;
		return;
	}
	for (h->ticks_missed++; h->ticks_missed > 0; h->ticks_missed--)
	{
		h->ticks++;
		node_tick(h->node);
	}
}

void host_event(Host *h, const SimEvent *e)
{
	Sim		   *s = h->sim;

	if (!h->up)
		return;
	switch (e->kind)
	{
		case EV_TICK:
			sim_trace(s, T_TICK, h->id, 0, 0, 0, 0, 0);
			tick(h);
			sim_post(s, h->tick_us, EV_TICK, h->id, 0, 0);
			host_kick(h);
			break;
		case EV_WORK:
			work(h);
			break;
		case EV_DISK:
			sim_trace(s, T_DISK, h->id, 0, 0, 0, 0, 0);
			h->disk_scheduled = false;
			/* What a failed sync left behind nobody knows. One flush may have been under way when a segment's sync failed; a second one goes on. */
			if (h->disk_armed && memvfs_count(h->disk, MEMVFS_SYNC) > h->sync_fails_at && ++h->flushes_since_failure > 1)
				sim_fail(s, "failed sync", "node %u flushes again though a sync of its log failed", h->id);
			memvfs_complete(h->disk);
			host_kick(h);
			break;
		case EV_FRAME:
			if (!net_take_frame(s, e))
				break;
			sim_trace(s, T_FRAME, h->id, e->a, e->len, nd_checksum(e->data, e->len, 0), 0, 0);
			node_frame(h->node, (NdNodeId) e->a, e->data, e->len);
			host_kick(h);
			break;
		case EV_PEER_UP:
			peer_up(h, (NdNodeId) e->a, e->b);
			break;
		case EV_PEER_DOWN:
			peer_down(h, (NdNodeId) e->a, e->b);
			break;
		case EV_APPLY:
			h->apply_scheduled = false;
			apply_some(h);
			break;
		case EV_APPLIED_DURABLE:
			tables_durable(h);
			break;
		default:
			break;
	}
	look_after(h);
}
