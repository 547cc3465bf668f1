/*
 * raft_worker_bulk.c: gathers the chunks of other nodes' transactions, gives those of large ones to bulk appliers, and says when one has ended.
 *
 * Owns the list of transactions with chunks whose ticket is to come, and starts the bulk appliers' processes, one per place, at its first use.
 *
 * Invariants:
 * 1. Chunks of a group are taken in log order, from the first on, without a gap; of copies the first, which is the one that the origin names (bulk.c compares).
 * 2. A transaction leaves the list with its ticket, or is dropped with the first entry behind which the certifier of one of its groups keeps no chunks of it: a TXN, MARKER or OUTCOME
 *    that does not commit, a CANCEL, a fence. (A certifier keeps them up to the OUTCOME. One that commits ends them when it is judged, and is delivered when all groups
 *    have got to theirs; until then nothing is delivered in a group that has.)
 * 3. A process is started only where none is left.
 */
#include "raft_worker.h"
#include "raft_worker_bulk.h"

#include <signal.h>

#include "postmaster/bgworker.h"
#include "utils/memutils.h"

#define GATHERED_MAX 64			/* transactions; more are replayed in their turn */

typedef struct Gathered
{
	bool		used;
	bool		ignored;		/* replayed in its turn, whatever comes */
	TxnId		txn;
	uint32	   *n_of;			/* pieces by group, max_groups of them; stays for the next one in this place */
	uint32		n;				/* pieces */
	NodedbBulk *bulk;			/* NULL: none yet */
	BulkPiece	first[BULK_PIECES_MIN];
} Gathered;

static Gathered gathered[GATHERED_MAX];
static uint32 n_gathered = 0;
static BackgroundWorkerHandle *handles[BULK_APPLIERS_MAX];

static Gathered *
find(TxnId txn)
{
	for (int i = 0; n_gathered > 0 && i < GATHERED_MAX; i++)
		if (gathered[i].used && txnid_compare(gathered[i].txn, txn) == 0)
			return &gathered[i];
	return NULL;
}

static Gathered *
begin(const NodeDelivery *d)
{
	if (nodedb_bulk_appliers == 0 || d->header.flags != 0 || !node_chunks_open(rw.node, d->group, d->header.txn))
		return NULL;
	for (int i = 0; i < GATHERED_MAX; i++)
	{
		Gathered   *g = &gathered[i];

		if (g->used)
			continue;
		if (g->n_of == NULL)
			g->n_of = MemoryContextAlloc(TopMemoryContext, nodedb_shared->max_groups * sizeof(uint32));
		memset(g->n_of, 0, nodedb_shared->max_groups * sizeof(uint32));
		*g = (Gathered) {.used = true, .txn = d->header.txn, .n_of = g->n_of};
		n_gathered++;
		return g;
	}
	return NULL;
}

static void
forget(Gathered *g)
{
	g->used = false;
	n_gathered--;
}

static bool
has_process(int i)
{
	pid_t		pid;

	return handles[i] != NULL && GetBackgroundWorkerPid(handles[i], &pid) != BGWH_STOPPED;
}

/* Find a bulk applier for it; without one it is replayed in its turn. */
static void
open_bulk(Gathered *g)
{
	g->ignored = true;
	for (int i = 0; i < nodedb_bulk_appliers; i++)
	{
		NodedbBulk *b = &nodedb_bulks[i];

		if (pg_atomic_read_u32(&b->state) != BULK_FREE)
			continue;
		if (!has_process(i) && !raft_worker_start_helper("bulk applier", "nodedb_bulk_main", true, i, &handles[i]))
			return;
		b->txn = g->txn;
		b->ticket = 0;
		memcpy(b->pieces, g->first, sizeof(g->first));
		pg_atomic_write_u32(&b->n_pieces, g->n);
		pg_atomic_write_u32(&b->n_done, 0);
		pg_write_barrier();
		pg_atomic_write_u32(&b->state, BULK_OPEN);
		nodedb_wake(&b->latch);
		g->bulk = b;
		g->ignored = false;
		return;
	}
}

/* Whoever works on it shall stop: no ticket will name him. */
static void
let_go(Gathered *g)
{
	NodedbBulk *b = g->bulk;
	uint32		state = BULK_OPEN;

	g->bulk = NULL;
	if (b == NULL)
		return;
	if (pg_atomic_compare_exchange_u32(&b->state, &state, BULK_DROPPED))
	{
		int			pid = *(volatile int *) &b->pid;

		nodedb_wake(&b->latch);
		/* It may wait for a lock. */
		if (pid != 0)
			kill(pid, SIGINT);
	}
	else if (state == BULK_FAILED)
		pg_atomic_write_u32(&b->state, BULK_FREE);
}

static void
drop(Gathered *g)
{
	let_go(g);
	forget(g);
}

static void
take_piece(const NodeDelivery *d)
{
	Gathered   *g = find(d->header.txn);
	BulkPiece	piece = {.group = d->group, .base = d->header.base, .index = d->index, .term = d->term, .position = d->position};
	uint32		number = d->header.flags;

	if (g == NULL)
		g = begin(d);
	if (g == NULL || number < g->n_of[d->group])
		return;
	if (number > g->n_of[d->group] || g->n == BULK_PIECES_MAX)
	{
		g->ignored = true;
		let_go(g);
	}
	if (number == g->n_of[d->group])
		g->n_of[d->group]++;
	if (g->ignored)
		return;
	if (g->bulk == NULL)
	{
		g->first[g->n++] = piece;
		if (g->n == BULK_PIECES_MIN)
			open_bulk(g);
		return;
	}
	g->bulk->pieces[g->n++] = piece;
	pg_write_barrier();
	pg_atomic_write_u32(&g->bulk->n_pieces, g->n);
	nodedb_wake(&g->bulk->latch);
}

void
bulk_delivered(const NodeDelivery *d)
{
	if (d->header.kind == ENTRY_CHUNK && d->header.txn.node != nodedb_shared->self)
		take_piece(d);
	for (int i = 0; n_gathered > 0 && i < GATHERED_MAX; i++)
		if (gathered[i].used && gathered[i].n_of[d->group] > 0 && !node_chunks_open(rw.node, d->group, gathered[i].txn))
			drop(&gathered[i]);
}

uint32
bulk_of(const NodeDelivery *d)
{
	Gathered   *g = find(d->header.txn);
	NodedbBulk *b;

	if (g == NULL)
		return 0;
	b = g->bulk;
	forget(g);
	return b == NULL ? 0 : (uint32) (b - nodedb_bulks) + 1;
}

uint64
bulk_prepared(NdGroupId group)
{
	uint64		until = UINT64_MAX;

	for (int i = 0; n_gathered > 0 && i < GATHERED_MAX; i++)
	{
		const Gathered *g = &gathered[i];
		uint32		next;

		if (!g->used || g->n_of[group] == 0 || g->bulk == NULL || pg_atomic_read_u32(&g->bulk->state) != BULK_OPEN)
			continue;
		next = pg_atomic_read_u32(&g->bulk->n_done);
		while (next < g->n && g->bulk->pieces[next].group != group)
			next++;
		if (next < g->n)
			until = Min(until, g->bulk->pieces[next].index);
	}
	return until;
}

void
bulk_mind(void)
{
	for (int i = 0; i < nodedb_bulk_appliers; i++)
	{
		NodedbBulk *b = &nodedb_bulks[i];
		uint32		state = pg_atomic_read_u32(&b->state);

		if (state == BULK_FREE || state == BULK_FAILED || has_process(i))
			continue;
		/* It never came to life, or left just when it got work: nobody else changes this state but the applier, from OPEN to TURN. */
		while (state != BULK_FREE && state != BULK_FAILED &&
			   !pg_atomic_compare_exchange_u32(&b->state, &state, state == BULK_DROPPED ? BULK_FREE : BULK_FAILED))
			;
		nodedb_wake(&nodedb_shared->applier_latch);
	}
}
