/*
 * bulk.c: the background workers that replay large transactions of other nodes ahead of their turn, so that nobody has to wait at the turnstile meanwhile.
 *
 * Each works on one transaction at a time: in a local transaction it replays the pieces that the raft worker shows it, as they come. The origin proposes the
 * TXN when the nodes have told that they are through (session/wait.c), at most a while later. When the TXN's ticket stands at the turnstile, the applier, whose
 * ticket it is, gives it the turn: it looks whether the TXN names these very pieces, writes the ledger row and commits. What it has done until then is
 * seen by nobody, and no transaction depends on it: whatever goes wrong, it rolls back, and the applier replays the entry as it does any other.
 *
 * A transaction over several groups has pieces in several logs, which do not wait for each other: they are replayed as they come, for between the parts there is no
 * order (tableam/parts.h). MARKERs stand for the TXN, each names the pieces of its group.
 *
 * Why the rows are the right ones. Let b be the base of a group's chunks, T the index of its TXN or MARKER. The origin sampled b when it held all locks of the transaction, and
 * no piece of the group is replayed before the group's watermark has reached b. So what an entry up to b did to rows, values and tables of this part is there. Behind b there
 * are no such entries if it commits: between b and the part's base one would have needed a lock that the origin held until it had proposed (DESIGN.md, 2), and
 * behind that base the certifier refuses; up to the OUTCOME it refuses them as well, for the MARKER owns its keys. Changes of local transactions that are not committed are waited for, as the applier does. They
 * roll back in the end, or commit with an entry behind b: then it is this transaction that does not commit.
 *
 * A schema change among it is replayed ahead as well. Its reservation stands below b (DESIGN.md, 9), and from there to its end no other schema change and no change of the tables that
 * it reserved commits: so the catalogs here at b, and those tables, are what it will find at its turn. What it locks without a reservation (CASCADE) is as any lock, below. Sessions of this
 * node wait for these tables from then on, as those of the origin do. Not where there are several data groups: all of its body is in one group's log (tableam/parts.h), so that the base of
 * its pieces says nothing about tables of the others.
 *
 * Why nobody waits for it for ever. It holds locks before its turn. An entry that needs one of them conflicts with it, so it will not commit: the guard
 * tells it to give way like any local transaction that is in the applier's way. A lock that is no certification conflict costs no more than the
 * work. Local transactions wait for it as they would for a local one, and it for them: PostgreSQL's deadlock check sees both. At its turn the guard takes
 * it for the applier and frees it. While it has the turn the applier holds no lock and waits for it alone.
 *
 * Invariants:
 * 1. It commits only in state TURN, with the ledger rows, and moves the turnstile itself; the applier touches the ticket again only when the state says that it is
 *    over. A FAILED that was told is true: its transaction was rolled back before.
 * 2. It commits only what the TXN, or the MARKERs, name: the same chunks in the same order, all of them.
 * 3. Rows whose arrival has effects before a commit (nodedb's own tables) are not replayed ahead, nor are schema changes where there are several data groups.
 * 4. A process that ends, however, leaves the slot as its transaction is: PostgreSQL restarts all of the server when one dies without a word.
 *
 * What if ... it is killed: as invariant 4. The applier ends while it has the turn: the next one finds the ticket, and waits for the same state. The node
 * restarts: pieces above what its tables hold are gathered again when the first of them is among these; else the applier replays all. Two large transactions
 * conflict: the second waits for the first's rows until that ends, and then its own TXN is refused. All bulk appliers are at work: a further
 * transaction is replayed in its turn. The log is damaged at a piece: it gives up, and the applier finds the same and says so.
 */
#include "bulk.h"
#include "ledger.h"
#include "replay.h"

#include "../stop_event.h"
#include "../tableam/apply.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

PGDLLEXPORT void nodedb_bulk_main(Datum arg);

NodedbBulk *nodedb_bulks = NULL;

static NodedbBulk *mine = NULL;

/* Of the local transaction that is to commit, or has. */
static struct
{
	bool		committing;
	bool		committed;
} now;

Size
bulk_shmem_size(void)
{
	return mul_size(nodedb_bulk_appliers, MAXALIGN(sizeof(NodedbBulk)));
}

void
bulk_shmem_init(void *at, bool found)
{
	nodedb_bulks = at;
	for (int i = 0; !found && i < nodedb_bulk_appliers; i++)
	{
		pg_atomic_init_u32(&nodedb_bulks[i].state, BULK_FREE);
		pg_atomic_init_u32(&nodedb_bulks[i].n_pieces, 0);
		pg_atomic_init_u32(&nodedb_bulks[i].n_done, 0);
	}
}

void
bulk_give_turn(NodedbBulk *b, uint64 ticket)
{
	uint32		open = BULK_OPEN;

	b->ticket = ticket;
	pg_write_barrier();
	pg_atomic_compare_exchange_u32(&b->state, &open, BULK_TURN);
	nodedb_wake(&b->latch);
}

/* ---- pieces ---- */

/* ereports when there is no use in going on. */
static BulkState
look(void)
{
	BulkState	state = (BulkState) pg_atomic_read_u32(&mine->state);

	pg_read_barrier();
	if (state == BULK_DROPPED)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the transaction does not commit")));
	if (pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_QUARANTINED)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("this node does not apply the replicated log any more")));
	return state;
}

static void
nap(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* At the turnstile everything below is there, though the watermark may stand lower. */
static void
wait_base(const BulkPiece *piece)
{
	while (look() != BULK_TURN && nodedb_watermark(piece->group) < piece->base)
		nap(10);
}

/* What is replayed of a group. */
typedef struct Part
{
	NdGroupId	group;
	ApplyBody  *body;
} Part;

typedef struct Parts
{
	uint32		n;
	uint32		cap;
	Part	   *parts;
} Parts;

static Part *
part_of(Parts *all, NdGroupId group)
{
	for (uint32 i = 0; i < all->n; i++)
		if (all->parts[i].group == group)
			return &all->parts[i];
	if (all->n == all->cap)
	{
		all->cap = Max(8, all->cap * 2);
		all->parts = all->parts == NULL ? palloc(all->cap * sizeof(Part)) : repalloc(all->parts, all->cap * sizeof(Part));
	}
	all->parts[all->n] = (Part) {.group = group, .body = apply_begin()};
	return &all->parts[all->n++];
}

/* An entry's body, once. */
typedef struct EntryReader
{
	NdGroupId	group;
	uint64		index;
	uint64		term;
	StorePosition position;
	bool		names;			/* the TXN or MARKER: it must name the pieces */
	bool		done;
} EntryReader;

/* Invariant 2. */
static bool
names_the_pieces(NdGroupId group, const EntryHeader *header)
{
	uint32		n = pg_atomic_read_u32(&mine->n_pieces);
	uint32		named = 0;
	uint64	   *chunks;
	bool		right = (header->kind == ENTRY_TXN || header->kind == ENTRY_MARKER) && txnid_compare(header->txn, mine->txn) == 0;

	chunks = palloc(sizeof(uint64) * Max(1, header->n_chunks));
	entry_chunks(header, chunks);
	for (uint32 i = 0; right && i < n; i++)
		if (mine->pieces[i].group == group)
			right = named < header->n_chunks && chunks[named++] == mine->pieces[i].index;
	pfree(chunks);
	return right && named == header->n_chunks;
}

static bool
fetch_entry(void *ctx, StringInfo buf)
{
	EntryReader *r = ctx;
	NdBuf		payload;
	EntryHeader header;
	bool		right;

	if (r->done)
		return false;
	r->done = true;
	replay_read(r->position, r->group, r->index, r->term, &payload, &header);
	right = !r->names || names_the_pieces(r->group, &header);
	if (right)
		appendBinaryStringInfo(buf, (const char *) header.body, header.body_len);
	nd_buf_free(&payload);
	if (!right)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the transaction names other pieces")));
	return true;
}

static void
replay_piece(Parts *all, const BulkPiece *piece)
{
	EntryReader reader = {.group = piece->group, .index = piece->index, .term = piece->term, .position = piece->position};
	Part	   *part = part_of(all, piece->group);

	wait_base(piece);
	if (piece == mine->pieces)
		STOP_EVENT("bulk-read");
	/* At its turn it is the applier: who is in its way can be told of which table. */
	apply_ahead = look() != BULK_TURN;
	apply_feed(part->body, fetch_entry, &reader);
}

/* Until it is our turn, and all pieces are replayed. */
static void
replay_pieces(Parts *all)
{
	uint32		next = 0;

	for (;;)
	{
		BulkState	state = look();

		/* But for a record that is cut in two, and rows that wait to be inserted together, all below is replayed. */
		pg_atomic_write_u32(&mine->n_done, next);
		nodedb_wake(&nodedb_shared->raft_latch);
		if (next < pg_atomic_read_u32(&mine->n_pieces))
		{
			pg_read_barrier();
			replay_piece(all, &mine->pieces[next++]);
			continue;
		}
		if (state == BULK_TURN)
			return;
		STOP_EVENT("bulk-waits");
		nap(1000);
	}
}

/* What the TXN itself carries, or the MARKERs. */
static void
replay_rest(Parts *all)
{
	const NodedbTicket *t = &nodedb_tickets[mine->ticket % TICKETS];

	apply_ahead = false;
	for (uint32 i = 0; i < t->n_parts; i++)
	{
		const NodedbPart *p = ticket_part(t, i);
		EntryReader reader = {.group = p->group, .index = p->entry, .term = p->term, .position = p->position, .names = true};
		Part	   *part = part_of(all, p->group);

		apply_feed(part->body, fetch_entry, &reader);
		(void) apply_end(part->body);
	}
	if (all->n != t->n_parts)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("the transaction has no part in a group that has pieces of it")));
}

/* ---- one transaction ---- */

static void
xact_callback(XactEvent event, void *arg)
{
	uint64		ticket = mine->ticket;

	if (event == XACT_EVENT_COMMIT && now.committing)
	{
		now.committed = true;
		pg_atomic_fetch_add_u64(&nodedb_shared->commits_applied, 1);
		pg_atomic_fetch_add_u64(&nodedb_shared->bulk_applied, 1);
		nodedb_advance(ticket, 1);
	}
	else if (event == XACT_EVENT_ABORT && now.committing)
		pg_atomic_compare_exchange_u64(&nodedb_shared->applier_committing, &ticket, 0);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		now.committing = false;
}

/* The local transaction is over: say how. */
static void
leave(void)
{
	uint32		state = pg_atomic_read_u32(&mine->state);

	if (now.committed)
		pg_atomic_write_u32(&mine->state, BULK_FREE);
	else
	{
		while (state != BULK_FREE && state != BULK_FAILED &&
			   !pg_atomic_compare_exchange_u32(&mine->state, &state, state == BULK_DROPPED ? BULK_FREE : BULK_FAILED))
			;
		pg_atomic_fetch_add_u64(&nodedb_shared->bulk_given_up, state != BULK_FREE && state != BULK_FAILED);
	}
	now.committed = false;
	nodedb_wake(&nodedb_shared->applier_latch);
	nodedb_wake(&nodedb_shared->raft_latch);
}

static void
replay(void)
{
	Parts		all = {0};
	uint64		ticket;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, psprintf("replaying a large transaction of node %u", mine->txn.node));
	replay_pieces(&all);
	replay_rest(&all);
	ticket = mine->ticket;
	ledger_insert_tickets(ticket, 1);
	STOP_EVENT("bulk-commit");
	now.committing = true;
	pg_atomic_write_u64(&nodedb_shared->applier_committing, ticket);
	CommitTransactionCommand();
	/* The applier may be at its next batch already. */
	pg_atomic_compare_exchange_u64(&nodedb_shared->applier_committing, &ticket, 0);
}

static void
replay_or_give_up(MemoryContext context)
{
	QueryCancelPending = false; /* it was for a transaction that is over */
	RESUME_CANCEL_INTERRUPTS();
	PG_TRY();
	{
		replay();
		HOLD_CANCEL_INTERRUPTS();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		HOLD_CANCEL_INTERRUPTS();	/* an error ends all of them */
		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(context);
		ereport(edata->sqlerrcode == ERRCODE_QUERY_CANCELED ? DEBUG1 : LOG,
				(errmsg("nodedb: a large transaction of node %u is not replayed ahead: %s", mine->txn.node, edata->message)));
	}
	PG_END_TRY();
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) pgstat_report_stat(true);
	leave();
}

/* ---- life ---- */

static void
at_exit(int code, Datum arg)
{
	/* Invariant 1: PostgreSQL would roll back only behind us. */
	AbortOutOfAnyTransaction();
	leave();
	mine->latch = NULL;
	mine->pid = 0;
}

void
nodedb_bulk_main(Datum arg)
{
	MemoryContext context;

	mine = &nodedb_bulks[DatumGetInt32(arg)];
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(nodedb_database, NULL, 0);
	before_shmem_exit(at_exit, (Datum) 0);
	(void) nodedb_my_slot();	/* so that the guard knows that nobody's last request stands there */
	replay_init();
	RegisterXactCallback(xact_callback, NULL);
	mine->pid = MyProcPid;
	mine->latch = MyLatch;
	context = AllocSetContextCreate(TopMemoryContext, "nodedb bulk applier", ALLOCSET_DEFAULT_SIZES);
	HOLD_CANCEL_INTERRUPTS();	/* a cancel is for a transaction; between two it would end the process */

	for (;;)
	{
		BulkState	state;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		state = (BulkState) pg_atomic_read_u32(&mine->state);
		pg_read_barrier();
		if (state == BULK_OPEN || state == BULK_TURN)
			replay_or_give_up(context);
		else if (state == BULK_DROPPED)
			leave();
		else
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
	}
}
