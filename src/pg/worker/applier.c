/*
 * applier.c: the background worker that carries committed entries of other nodes, and entries whose backend is gone, into local tables.
 *
 * It takes the first ticket at or behind the turnstile that it owns, and consecutive ones with it, replays them in one local transaction, waits for its
 * turn and commits. It may begin before its turn: earlier tickets then belong to local backends that are about to commit; whatever it needs
 * of theirs it finds by waiting for their row locks.
 *
 * Invariants:
 * 1. A batch is consecutive tickets; it commits only when the turnstile stands at its first.
 * 2. An error while an earlier ticket is open says nothing (its effects may be missing): roll back, begin again at the turnstile. The same when an
 *    earlier ticket is handed over meanwhile.
 * 3. An error at the turnstile, in a batch of one: what can pass is tried again, for ever, with back-off; anything else is damage: the node is
 *    quarantined, nothing is skipped, the other nodes go on.
 * 4. Nothing is replayed twice: the ledger rows stand in the same transaction. All parts of a ticket do, too.
 * 5. A ticket that has asked for it is replayed alone, and from its turn on.
 * 6. Nothing behind a ticket that a bulk applier works on is begun before it is over: it may lack locks that what comes behind takes.
 */
#include "bulk.h"
#include "ledger.h"
#include "replay.h"

#include "../shmem.h"
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
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define PRUNE_EVERY_MS 5000
#define UNCLEAR_TRIES 5

PGDLLEXPORT void nodedb_applier_main(Datum arg);

/* The batch that the current local transaction carries; 0 tickets = none. */
static struct
{
	uint64		first;
	uint32		n;
} batch;

/* The part that was being replayed last, for what is said about an error. */
static NodedbPart at_part;

/* ---- reading entries ---- */

typedef struct BodyReader
{
	NdGroupId	group;
	EntryHeader header;
	uint64	   *chunks;
	uint32		next_chunk;
	bool		own_done;
} BodyReader;

/* Ask the raft worker where an entry stands. */
static void
find_entry(NdGroupId group, uint64 index, StorePosition *position, uint64 *term)
{
	NodedbShared *s = nodedb_shared;

	s->find_group = group;
	s->find_index = index;
	pg_write_barrier();
	pg_atomic_write_u32(&s->find_state, 1);
	nodedb_wake(&s->raft_latch);
	while (pg_atomic_read_u32(&s->find_state) != 2)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	pg_read_barrier();
	pg_atomic_write_u32(&s->find_state, 0);
	if (s->find_status != ND_OK)
		ereport(ERROR,
				(errcode(replay_sqlstate(s->find_status)),
				 errmsg("entry " UINT64_FORMAT " of group %u, a piece of a large transaction, is not in the log: %s",
						index, group, nd_status_text(s->find_status))));
	*position = s->find_position;
	*term = s->find_term;
}

static bool
fetch_body(void *ctx, StringInfo buf)
{
	BodyReader *r = ctx;

	if (r->next_chunk < r->header.n_chunks)
	{
		StorePosition position;
		uint64		term;
		NdBuf		payload;
		EntryHeader header;

		find_entry(r->group, r->chunks[r->next_chunk], &position, &term);
		replay_read(position, r->group, r->chunks[r->next_chunk], term, &payload, &header);
		if (header.kind != ENTRY_CHUNK || txnid_compare(header.txn, r->header.txn) != 0)
		{
			nd_buf_free(&payload);
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("entry " UINT64_FORMAT " of group %u is no piece of the transaction that names it", r->chunks[r->next_chunk], r->group)));
		}
		appendBinaryStringInfo(buf, (const char *) header.body, header.body_len);
		nd_buf_free(&payload);
		r->next_chunk++;
		return true;
	}
	if (r->own_done)
		return false;
	r->own_done = true;
	appendBinaryStringInfo(buf, (const char *) r->header.body, r->header.body_len);
	return true;
}

static void
apply_part(const NodedbPart *part)
{
	BodyReader	reader;
	ApplyBody  *body;
	NdBuf		payload;

	at_part = *part;
	memset(&reader, 0, sizeof(reader));
	replay_read(part->position, part->group, part->entry, part->term, &payload, &reader.header);
	PG_TRY();
	{
		reader.group = part->group;
		reader.chunks = palloc(sizeof(uint64) * Max(1, reader.header.n_chunks));
		entry_chunks(&reader.header, reader.chunks);
		body = apply_begin();
		apply_feed(body, fetch_body, &reader);
		(void) apply_end(body);
	}
	PG_FINALLY();
	{
		nd_buf_free(&payload);
	}
	PG_END_TRY();
}

/* ---- one batch ---- */

/* Wait until the turnstile stands at our first ticket; false: an earlier one has become ours. */
static bool
wait_turn(uint64 first)
{
	for (;;)
	{
		uint64		turn = pg_atomic_read_u64(&nodedb_shared->turn);

		if (turn == first)
			return true;
		if (pg_atomic_read_u32(&nodedb_tickets[turn % TICKETS].owner) == TICKET_APPLIER)
			return false;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static void
forget_batch(void)
{
	/* Only when it is ours: a bulk applier may be committing. */
	if (batch.n > 0)
		pg_atomic_write_u64(&nodedb_shared->applier_committing, 0);
	batch.n = 0;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && batch.n > 0)
	{
		uint64		first = batch.first;
		uint32		n = batch.n;

		batch.n = 0;
		pg_atomic_fetch_add_u64(&nodedb_shared->commits_applied, n);
		nodedb_advance(first, n);
	}
	else if (event == XACT_EVENT_ABORT)
		forget_batch();
}

/* What asked to be replayed alone (apply_ask_alone()); 0: nothing. */
static uint64 alone_ticket = 0;
static uint64 at_ticket;		/* being replayed */

/* How many of these n tickets can be replayed in one transaction. */
static uint32
until_alone(uint64 first, uint32 n)
{
	if (alone_ticket < first || alone_ticket >= first + n)
		return n;
	return alone_ticket == first ? 1 : (uint32) (alone_ticket - first);
}

static void
apply_batch(uint64 first, uint32 n)
{
	apply_alone = first == alone_ticket;
	if (apply_alone && !wait_turn(first))
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, psprintf("applying tickets " UINT64_FORMAT " to " UINT64_FORMAT, first, first + n - 1));
	batch.first = first;
	STOP_EVENT("apply-read");
	for (uint32 i = 0; i < n; i++)
	{
		const NodedbTicket *t = &nodedb_tickets[(first + i) % TICKETS];

		at_ticket = first + i;
		for (uint32 j = 0; j < t->n_parts; j++)
		{
			if (i > 0 || j > 0)
				CommandCounterIncrement();
			apply_part(ticket_part(t, j));
		}
	}
	ledger_insert_tickets(first, n);
	if (!wait_turn(first))
	{
		AbortCurrentTransaction();
		return;
	}
	STOP_EVENT("apply-commit");
	batch.n = n;
	pg_atomic_write_u64(&nodedb_shared->applier_committing, first);
	/* From here to the advance of the turnstile nothing may be cancelled half-way: the commit itself decides. */
	CommitTransactionCommand();
	/* Now its catalogue changes have been announced, too: the COMMIT callback comes before that. */
	pg_atomic_write_u64(&nodedb_shared->applier_committing, 0);
}

/* Can an error like this pass without anybody's help or with an operator's (space, memory), or is it damage? */
static bool
can_pass(int sqlerrcode)
{
	if (sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)	/* of a table's owner, to a function of an index: until somebody grants it here */
		return true;
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:	/* 53: disk full, out of memory, lock table full */
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:	/* 54: transaction ids exhausted until somebody vacuums */
		case ERRCODE_T_R_SERIALIZATION_FAILURE & 0xFFF: /* 40 */
		case ERRCODE_OPERATOR_INTERVENTION:	/* 57: cancelled, shutting down */
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE & 0xFFF:	/* 55: lock not available, object in use */
		case ERRCODE_SYSTEM_ERROR:	/* 58 */
			return true;
	}
	return false;
}

static void
quarantine(const ErrorData *edata)
{
	LWLockAcquire(nodedb_shared->status_lock, LW_EXCLUSIVE);
	snprintf(nodedb_shared->state_text, sizeof(nodedb_shared->state_text), "entry " UINT64_FORMAT " of group %u could not be applied: %s",
			 at_part.entry, at_part.group, edata->message);
	LWLockRelease(nodedb_shared->status_lock);
	pg_atomic_write_u32(&nodedb_shared->member_state, MEMBER_QUARANTINED);
	ConditionVariableBroadcast(&nodedb_shared->applied_cv);
	ereport(LOG,
			(errmsg("nodedb: entry " UINT64_FORMAT " of group %u could not be applied: this node is quarantined", at_part.entry, at_part.group),
			 errdetail("%s%s%s", edata->message, edata->detail ? " " : "", edata->detail ? edata->detail : ""),
			 errhint("Nothing is applied here any more; the other nodes go on. Compare this node's objects with another's, "
					 "mend the cause and restart the server, or remove the node and let it join anew.")));
}

static void
backoff(int tries)
{
	long		ms = Min(1000, 5L << Min(tries, 8));

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* What the last failure left: how often the same ticket failed, and whether to go on one by one. */
static struct
{
	int			tries;
	bool		single;
} retry;

static void
recover(const ErrorData *edata, uint64 first, uint32 n)
{
	if (apply_asked_alone)
	{
		apply_asked_alone = false;
		alone_ticket = at_ticket;
		return;
	}
	pg_atomic_fetch_add_u64(&nodedb_shared->apply_retries, 1);
	if (pg_atomic_read_u64(&nodedb_shared->turn) != first)
	{
		backoff(0);				/* invariant 2 */
		return;
	}
	retry.single = true;
	if (n > 1)
		return;
	retry.tries++;
	if (!can_pass(edata->sqlerrcode) && retry.tries >= UNCLEAR_TRIES)
		quarantine(edata);
	else
		ereport(retry.tries < 3 ? DEBUG1 : LOG,
				(errmsg("nodedb: applying entry " UINT64_FORMAT " of group %u failed, will try again: %s", at_part.entry, at_part.group,
						edata->message)));
	backoff(retry.tries);
}

static void
apply_or_recover(uint64 first, uint32 n, MemoryContext context)
{
	PG_TRY();
	{
		apply_batch(first, n);
		retry.tries = 0;
		retry.single = false;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		HOLD_INTERRUPTS();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
		MemoryContextSwitchTo(context);
		recover(edata, first, n);
	}
	PG_END_TRY();
}

/* ---- a ticket that a bulk applier works on (bulk.c) ---- */

/*
 * At the turnstile, the bulk applier gets the turn: it finishes and commits, or says that it has given up, and then the ticket is as any other. No
 * transaction is open here meanwhile: nothing of what it may need to wait for is ours.
 */
static void
apply_by_bulk(uint64 first)
{
	NodedbTicket *t = &nodedb_tickets[first % TICKETS];
	NodedbBulk *b = &nodedb_bulks[t->bulk - 1];

	pgstat_report_activity(STATE_RUNNING, psprintf("ticket " UINT64_FORMAT " is a bulk applier's", first));
	if (!wait_turn(first))
		return;
	bulk_give_turn(b, first);
	while (pg_atomic_read_u32(&b->state) == BULK_TURN)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	if (pg_atomic_read_u64(&nodedb_shared->turn) != first)
		return;
	t->bulk = 0;
	pg_atomic_write_u32(&b->state, BULK_FREE);
}

/* ---- life ---- */

static void
prune(void)
{
	StartTransactionCommand();
	(void) ledger_prune();
	CommitTransactionCommand();
}

static void
at_exit(int code, Datum arg)
{
	nodedb_shared->applier_latch = NULL;
	nodedb_shared->applier_pgprocno = -1;
	worker_leave(&nodedb_shared->applier_pid);
	pg_atomic_write_u64(&nodedb_shared->applier_ticket, 0);
	forget_batch();
}

/* First ticket of ours at or behind the turnstile; how many consecutive ones, of at most max entries but for the first; 0 = none. */
static uint32
next_batch(uint64 *first, uint32 max)
{
	uint32		entries = 0;
	uint64		end = pg_atomic_read_u64(&nodedb_shared->tickets_end);
	uint64		t = pg_atomic_read_u64(&nodedb_shared->turn);
	uint32		n = 0;

	pg_read_barrier();
	while (t < end && pg_atomic_read_u32(&nodedb_tickets[t % TICKETS].owner) != TICKET_APPLIER)
		t++;
	*first = t;
	while (n < max && t + n < end && pg_atomic_read_u32(&nodedb_tickets[(t + n) % TICKETS].owner) == TICKET_APPLIER)
	{
		if (nodedb_tickets[(t + n) % TICKETS].bulk != 0)
			return Max(n, 1);	/* alone */
		entries += nodedb_tickets[(t + n) % TICKETS].n_parts;
		if (n > 0 && entries > max)
			break;
		n++;
	}
	return n;
}

void
nodedb_applier_main(Datum arg)
{
	NodedbShared *s = nodedb_shared;
	MemoryContext loop_context;
	TimestampTz pruned = GetCurrentTimestamp();
	uint64		pruned_at_turn = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(nodedb_database, NULL, 0);
	if (!worker_claim(&s->applier_pid))
		proc_exit(0);
	before_shmem_exit(at_exit, (Datum) 0);
	replay_init();
	apply_can_ask_alone = true;
	RegisterXactCallback(xact_callback, NULL);

	if (!s->ledger_ready)
	{
		StartTransactionCommand();
		ledger_load();
		CommitTransactionCommand();
		s->ledger_ready = true;
		nodedb_wake(&s->raft_latch);
	}
	s->applier_pgprocno = MyProc->pgprocno;
	s->applier_latch = MyLatch;
	loop_context = AllocSetContextCreate(TopMemoryContext, "nodedb applier", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		uint64		first;
		uint32		n;

		MemoryContextSwitchTo(loop_context);
		MemoryContextReset(loop_context);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		(void) pgstat_report_stat(false);	/* autovacuum lives on it */
		n = pg_atomic_read_u32(&s->member_state) == MEMBER_QUARANTINED ? 0 : next_batch(&first, retry.single ? 1 : nodedb_apply_batch);
		if (n == 0)
		{
			uint64		turn = pg_atomic_read_u64(&s->turn);

			pg_atomic_write_u64(&s->applier_ticket, 0);
			pgstat_report_activity(STATE_IDLE, NULL);
			if (turn != pruned_at_turn && TimestampDifferenceExceeds(pruned, GetCurrentTimestamp(), PRUNE_EVERY_MS))
			{
				prune();
				pruned = GetCurrentTimestamp();
				pruned_at_turn = turn;
				continue;
			}
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PRUNE_EVERY_MS, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			continue;
		}
		pg_atomic_write_u64(&s->applier_ticket, first);
		pg_memory_barrier();	/* the guard says that it sleeps before it looks at the ticket for the last time */
		if (pg_atomic_read_u32(&s->guard_asleep) != 0)
			nodedb_wake(&s->guard_latch);

		if (nodedb_tickets[first % TICKETS].bulk != 0)
			apply_by_bulk(first);
		else
			apply_or_recover(first, until_alone(first, n), loop_context);
		if (TimestampDifferenceExceeds(pruned, GetCurrentTimestamp(), PRUNE_EVERY_MS * 4))
		{
			prune();
			pruned = GetCurrentTimestamp();
			pruned_at_turn = pg_atomic_read_u64(&s->turn);
		}
	}
}
