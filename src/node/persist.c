/*
 * persist.c: RaftUpdate -> store -> flush -> raft_persisted(); and what may leave when.
 *
 * Everything that depends on durability belongs to one of two generations: `gather` (stored, in no flush yet) and `flight` (in the flush
 * under way; there is at most one). While a flush runs, further updates gather: that is the group commit.
 *
 * Invariants:
 * 1. A generation is released when its flush is durable. When no flush is under way and the store has nothing buffered, all is durable:
 *    then `gather` is released as well. So a message that depends on nothing new never waits for a flush that never comes.
 * 2. An update that the store cannot take now (no space, no memory) stays taken: no event reaches the core and nothing of it leaves, until it is
 *    stored. A leader whose disk is full falls silent and is replaced; nothing is half done.
 * 3. `durable` counts only entries that the log still has: a completion whose (index, term) is gone says nothing (ABA).
 */
#include "node_internal.h"

enum
{
	STAGE_TRUNCATE,
	STAGE_APPEND,
	STAGE_HARD,
	STAGE_STORED
};

/* Hand to the core what became durable while its update was taken. */
static void pay(NodeGroup *g)
{
	if (!node__ready(g))
		return;
	if (g->owed.index > 0)
		node__event(g, raft_persisted(g->raft, g->owed.index, g->owed.term));
	if (g->owed.hard_seq > 0 && node__ready(g))
		node__event(g, raft_hard_persisted(g->raft, g->owed.hard_seq));
	g->owed = (FlushMark) {0};
}

static void release_mark(NodeGroup *g, FlushMark *mark)
{
	if (mark->index > 0)
	{
		if (mark->index > g->durable && store_term(g->node->store, g->id, mark->index) == mark->term)
			g->durable = mark->index;
		g->owed.index = mark->index;
		g->owed.term = mark->term;
	}
	if (mark->hard_seq > 0)
		g->owed.hard_seq = mark->hard_seq;
	if (mark->checkpoint > g->checkpoint)
	{
		g->checkpoint = mark->checkpoint;
		g->epochs = mark->epochs;
	}
	if (mark->reset)
		node__install_log_durable(g);
	if (mark->index > 0 || mark->hard_seq > 0 || mark->reset)
		pay(g);
	*mark = (FlushMark) {0};
}

bool node__flush_poll(Node *n)
{
	uint64_t	durable;
	NdStatus	status;

	if (!n->flushing)
		return false;
	status = store_flush_poll(n->store, &durable);
	if (status != ND_OK)
	{
		node__fail(n, status, "the log could not be written");
		return false;
	}
	if (durable < n->flush_seq)
		return false;
	n->flushing = false;
	for (uint32_t i = 0; i < n->n_active; i++)
	{
		release_mark(n->active[i], &n->active[i]->flight);
		if (MUTANT(NODE_RELEASE_GATHER))
			release_mark(n->active[i], &n->active[i]->gather);
	}
	node__release_peers(n, false);
	return true;
}

void node__release_clean(Node *n)
{
	if (n->flushing || store_dirty(n->store) || n->failed != ND_OK)
		return;
	for (uint32_t i = 0; i < n->n_active; i++)
		release_mark(n->active[i], &n->active[i]->gather);
	node__release_peers(n, true);
}

bool node__flush_start(Node *n)
{
	NdStatus	status;

	if (n->flushing || n->failed != ND_OK || !store_dirty(n->store) || node_lingers(n))
		return false;
	status = store_flush_start(n->store, &n->flush_seq);
	if (status == ND_BUSY || status == ND_NOMEM || status == ND_FULL)
		return false;
	if (status != ND_OK)
	{
		node__fail(n, status, "the log could not be written");
		return false;
	}
	n->flushing = true;
	node__expect_flushed(n);
	for (uint32_t i = 0; i < n->n_active; i++)
	{
		n->active[i]->flight = n->active[i]->gather;
		n->active[i]->gather = (FlushMark) {0};
	}
	node__turn_peers(n);
	return true;
}

/* Put an update into the store, from the stage that it has reached. ND_NOMEM, ND_BUSY, ND_FULL: later, again. */
static NdStatus persist(NodeGroup *g)
{
	RaftUpdate *u = &g->update;
	Store	   *store = g->node->store;
	NdStatus	status;

	if (g->stage == STAGE_TRUNCATE)
	{
		if (u->truncate_from > 0)
		{
			status = store_truncate_suffix(store, g->id, u->truncate_from);
			if (status != ND_OK)
				return status;
			if (g->durable >= u->truncate_from)
				g->durable = u->truncate_from - 1;
			/* Also the flush under way: entries that are cut and come back with the same index and term are durable with their own flush only. */
			if (g->gather.index >= u->truncate_from)
				g->gather.index = g->gather.term = 0;
			if (g->flight.index >= u->truncate_from)
				g->flight.index = g->flight.term = 0;
			if (g->owed.index >= u->truncate_from)
				g->owed.index = g->owed.term = 0;
		}
		g->stage = STAGE_APPEND;
	}
	if (g->stage == STAGE_APPEND)
	{
		if (u->n_entries > 0)
		{
			status = store_append(store, g->id, u->entries, u->n_entries);
			if (status != ND_OK)
				return status;
			g->gather.index = u->entries[u->n_entries - 1].index;
			g->gather.term = u->entries[u->n_entries - 1].term;
			for (uint32_t i = 0; i < u->n_entries; i++)
				node__expect(g, &u->entries[i]);
		}
		g->stage = STAGE_HARD;
	}
	if (g->stage == STAGE_HARD)
	{
		/* The commit alone is a hint: it rides along with what is written anyway, and never costs a flush of its own. */
		if (u->hard_changed &&
			(u->hard.term != g->hard.term || u->hard.vote != g->hard.vote || u->n_entries > 0 || u->truncate_from > 0))
		{
			status = store_hard_state(store, g->id, &u->hard);
			if (status != ND_OK)
				return status;
			g->hard = u->hard;
		}
		if (u->hard_changed)
			g->gather.hard_seq = u->hard_seq;
		g->stage = STAGE_STORED;
	}
	return ND_OK;
}

static void send_messages(NodeGroup *g)
{
	RaftUpdate *u = &g->update;
	Node	   *n = g->node;

	for (uint32_t i = 0; i < u->n_messages; i++)
		node__put_raft(n, &u->messages[i], false);
	for (uint32_t i = 0; i < u->n_messages_after; i++)
		node__put_raft(n, &u->messages_after[i], !MUTANT(NODE_SEND_BEFORE_FLUSH));
}

static void take_state(NodeGroup *g)
{
	NdNodeId	leader = raft_leader(g->raft);
	RaftStatus *status = &g->node->scratch_status;

	raft_status(g->raft, status);
	if (leader != g->leader || status->term != g->term)
	{
		g->leader = leader;
		g->term = status->term;
		if (leader != 0)
			g->campaign_tick = 0;
		g->told_snapshot = false;
		node__requeue(g);
	}
	g->leads = raft_is_leader(g->raft);
	g->node->changed = true;
}

/* A peer needs entries that were cut, and the host has no snapshots: say so and let the core probe again. */
static void refuse_snapshot(NodeGroup *g, NdNodeId peer)
{
	if (!g->told_snapshot)
		node__alarm(g, "node %u needs entries of the log that were truncated here; it must be removed and join anew with a copy of the tables", peer);
	g->told_snapshot = true;
	if (node__ready(g))
		node__event(g, raft_snapshot_sent(g->raft, peer, 0));
}

/* Everything after the store has it. The update ends here; callbacks come after that, for they may cause events. */
static void finish(NodeGroup *g)
{
	RaftUpdate *u = &g->update;
	NdNodeId	snapshot_peer = u->snapshot_needed_index > 0 ? u->snapshot_peer : 0;
	bool		state_changed = u->state_changed;
	struct
	{
		ReadWait   *waits;
		uint64_t	index;
	}			done[NODE_READ_ROUNDS];
	uint32_t	n_done = 0;

	send_messages(g);
	g->commit = u->commit;
	for (uint32_t i = 0; i < u->n_reads; i++)
	{
		ReadWait   *waits = node__read_answer(g, &u->reads[i]);

		/* There are no more rounds than places, and an answered one is free: so this never runs over. */
		if (waits != NULL && n_done < NODE_READ_ROUNDS)
		{
			done[n_done].waits = waits;
			done[n_done++].index = u->reads[i].index;
		}
	}
	raft_update_done(g->raft);
	g->taken = false;
	if (state_changed)
		take_state(g);
	pay(g);
	if (snapshot_peer != 0 && node__ships(g))
		node__ship_wanted(g, snapshot_peer);
	else if (snapshot_peer != 0)
		refuse_snapshot(g, snapshot_peer);
	for (uint32_t i = 0; i < n_done; i++)
		node__read_finish(g, done[i].waits, ND_OK, done[i].index);
}

bool node__gather(NodeGroup *g)
{
	Node	   *n = g->node;
	NdStatus	status;

	if (n->failed != ND_OK || g->stopped != NULL)
		return false;
	if (!g->taken)
	{
		if (!g->dirty || node__resetting(g))
			return false;
		status = raft_take_update(g->raft, &g->update);
		if (status != ND_OK)
		{
			if (status == ND_FROZEN)
				node__event(g, status);
			return false;
		}
		g->dirty = false;
		g->taken = true;
		g->stage = STAGE_TRUNCATE;
	}
	status = persist(g);
	if (status == ND_NOMEM || status == ND_BUSY || status == ND_FULL)
	{
		if (!g->told_stall)
			node__log(n, 2, "group %u waits: its log could not be written: %s", g->id, nd_status_text(status));
		g->told_stall = true;
		return false;
	}
	if (status == ND_TOOBIG || status == ND_INVALID)
	{
		node__stop_group(g, "the log store refused an entry: %s", nd_status_text(status));
		return false;
	}
	if (status != ND_OK)
	{
		node__fail(n, status, "the log could not be written");
		return false;
	}
	g->told_stall = false;
	finish(g);
	if (MUTANT(NODE_FLUSH_EACH) && node__flush_start(n))
		node__flush_poll(n);
	return true;
}
