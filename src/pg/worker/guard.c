/*
 * guard.c: the background worker that keeps the applier free and follows durability. It has shared memory only, no database.
 *
 * Kick-out (DESIGN.md, section 5, rule 8): while the applier, or the bulk applier that has its turn, waits for a lock, whoever holds it is looked at every few milliseconds:
 *   holder of an earlier ticket            left alone: it commits in its turn; demoted when a ticket still earlier was handed over to the applier
 *   certified, with a later ticket         demoted at once, and logged: a gap in "certified entries never block each other"
 *   proposed, no verdict yet               most likely it has lost, for this very conflict: after JUDGE_MS the raft worker looks, and tells it so without waiting for the log
 *                                          (requests_judge()); else given DEMOTE_MS, then demoted
 *   not proposed, has touched a distributed table   doomed: 40001; told again until the lock is gone; after TERMINATE_MS its connection is ended
 *   only reads (blocks a schema change)    given READER_GRACE_MS, then the same
 *   waits for the same lock, ahead in the queue, in a mode that the applier's must wait for   given READER_GRACE_MS, then the same: whom it waits for
 *                                          may itself wait for its turn behind the applier, a ring that no deadlock check sees
 *   still there ALARM_MS after that        nothing can be done from here: the log says so every ALARM_MS, until somebody ends the process
 *
 * Durability: effects up to a watermark are durable once WAL is flushed up to a position taken after the watermark was read.
 */
#include "bulk.h"

#include "../shmem.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "storage/procsignal.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define POLL_MS 5
#define IDLE_MS 100
#define ATTENTIVE_POLLS 20		/* after the applier's last work seen: being woken for each entry would cost more than looking */
#define JUDGE_MS 20
#define DEMOTE_MS 1000
#define READER_GRACE_MS 2000
#define TERMINATE_MS 2000
#define FORCE_FLUSH_MS 5000
#define ALARM_MS 5000

PGDLLEXPORT void nodedb_guard_main(Datum arg);

/* ---- kick-out ---- */

/* Say that a process survives everything, once per ALARM_MS. */
static void
alarm_about(int pid, LocalTransactionId lxid, long unheard_ms)
{
	static int	told_pid = 0;
	static LocalTransactionId told_lxid = InvalidLocalTransactionId;
	static long told_ms = 0;

	if (told_pid != pid || told_lxid != lxid)
	{
		told_pid = pid;
		told_lxid = lxid;
		told_ms = 0;
	}
	if (unheard_ms < told_ms + ALARM_MS)
		return;
	told_ms = unheard_ms;
	ereport(LOG,
			(errmsg("nodedb: process %d reacts to nothing and keeps this node from applying the log", pid),
			 errdetail("It holds a lock that committed changes of another node need, and was told to end %ld ms ago.", unheard_ms),
			 errhint("The other nodes go on. End the process; SIGKILL restarts this server, which loses nothing.")));
}

/* For the error that the doomed transaction ends with: what the applier waits to change, which its lock is on. */
static void
note_table(NodedbSlot *slot)
{
	SpinLockAcquire(&nodedb_shared->applying_lock);
	strlcpy(slot->kicked_schema, nodedb_shared->applying_schema, NAMEDATALEN);
	strlcpy(slot->kicked_table, nodedb_shared->applying_table, NAMEDATALEN);
	SpinLockRelease(&nodedb_shared->applying_lock);
}

/*
 * Was a ticket before the applier's handed over to it? Then it has to come first, but the applier waits for a lock of somebody whose ticket lies between,
 * who waits for the turnstile: nobody but us can end that (test/spin, BUG_ORPHAN_WAITS).
 */
static bool
orphan_at_turn(void)
{
	NodedbShared *s = nodedb_shared;
	uint64		turn = pg_atomic_read_u64(&s->turn);

	return turn < pg_atomic_read_u64(&s->applier_ticket) && turn < pg_atomic_read_u64(&s->tickets_end) &&
		pg_atomic_read_u32(&nodedb_tickets[turn % TICKETS].owner) == TICKET_APPLIER;
}

static void
kick(int pid, int backend_id, Oid database, bool holds_write_lock)
{
	NodedbSlot *slot = &nodedb_slots[backend_id - 1];
	PGPROC	   *proc = BackendPidGetProc(pid);
	TimestampTz now = GetCurrentTimestamp();
	uint64		word = pg_atomic_read_u64(&slot->word);
	SlotState	state = slot_state(word);
	LocalTransactionId lxid;
	long		since;
	bool		first;
	bool		judge = false;
	bool		demote = false;
	bool		told = false;
	bool		newly_told = false;
	SharedInvalidationMessage message;

	if (proc == NULL || (lxid = proc->lxid) == InvalidLocalTransactionId)
		return;

	if (slot->pid == pid && state == SLOT_GRANTED && (slot->kind == ENTRY_TXN || slot->kind == ENTRY_MARKER))
	{
		if (slot->ticket < pg_atomic_read_u64(&nodedb_shared->turn) + 1)
			return;
		if (slot->demoted_request != word >> 8 &&
			(slot->ticket > pg_atomic_read_u64(&nodedb_shared->applier_ticket) || orphan_at_turn()))
		{
			bool		later = slot->ticket > pg_atomic_read_u64(&nodedb_shared->applier_ticket);

			slot->demoted_request = word >> 8;
			pg_atomic_fetch_add_u64(&nodedb_shared->demoted, 1);
			if (later && slot->committing)	/* a fence changes nothing, but its backend may hold what it likes */
				ereport(LOG,
						(errmsg("nodedb: process %d, certified with ticket " UINT64_FORMAT ", blocks ticket " UINT64_FORMAT " and is demoted",
								pid, slot->ticket, pg_atomic_read_u64(&nodedb_shared->turn)),
						 errdetail("Certified transactions should never block each other; this one held a lock that is no certification key."),
						 errhint("Please report this.")));
			SetLatch(&proc->procLatch);
		}
		return;
	}

	SpinLockAcquire(&slot->kick_lock);
	/* It has ended since: what is told now would meet the next transaction, which may be the same statement once more. */
	if (*(volatile LocalTransactionId *) &proc->lxid != lxid)
	{
		SpinLockRelease(&slot->kick_lock);
		return;
	}
	/* Time begins anew when it proposes: however long it stood in the way before, its verdict is on its way now. */
	first = slot->kicked_pid != pid || slot->kicks == 0 || slot->kicked_lxid != lxid || slot->kicked_committing != slot->committing;
	if (first)
	{
		slot->kicked_at = now;
		slot->kicked_committing = slot->committing;
		slot->kicked_pid = pid;
		slot->told = false;
		slot->judge_after = JUDGE_MS;
		slot->kicked_lxid = lxid;
	}
	slot->kicks = first ? 1 : slot->kicks + 1;
	since = TimestampDifferenceMilliseconds(slot->kicked_at, now);
	if (slot->pid == pid && slot->committing)
	{
		judge = since >= slot->judge_after;
		demote = since >= DEMOTE_MS;
	}
	else if (!first && (holds_write_lock || since >= READER_GRACE_MS))
	{
		/* Not at first sight: the list of blockers may be older than this transaction, whose predecessor in the backend it then names. */
		if (slot->pid == pid && slot->lxid == lxid)
		{
			if (slot->doomed_lxid != lxid)
				note_table(slot);
			slot->doomed_lxid = lxid;
		}
		/* Under the lock: session_enter_commit() relies on no signal coming later. */
		kill(pid, since >= TERMINATE_MS + (holds_write_lock ? 0 : READER_GRACE_MS) ? SIGTERM : SIGINT);
		told = true;
		newly_told = !slot->told;
		slot->told = true;
	}
	SpinLockRelease(&slot->kick_lock);

	if (judge && !demote && state == SLOT_TAKEN)
	{
		slot->judge_request = word >> 8;
		slot->judge_after *= 2;	/* it decodes all of the entry's keys */
		pg_write_barrier();
		pg_atomic_write_u32(&nodedb_shared->judge, 1);
		nodedb_wake(&nodedb_shared->raft_latch);
	}
	if (demote && slot->demoted_request != word >> 8 && (state == SLOT_SUBMITTED || state == SLOT_TAKEN))
	{
		slot->demoted_request = word >> 8;
		pg_atomic_fetch_add_u64(&nodedb_shared->demoted, 1);
		SetLatch(&proc->procLatch);
	}
	if (!told)
		return;
	if (newly_told)
		pg_atomic_fetch_add_u64(&nodedb_shared->kicked, 1);
	alarm_about(pid, lxid, since - TERMINATE_MS - (holds_write_lock ? 0 : READER_GRACE_MS));
	/* Idle in transaction: SIGINT is ignored there; make it process invalidations, which runs our callback. */
	memset(&message, 0, sizeof(message));
	message.rc.id = SHAREDINVALRELCACHE_ID;
	message.rc.dbId = database;
	message.rc.relId = 1;		/* no such relation */
	SendSharedInvalidMessages(&message, 1);
	(void) SendProcSignal(pid, PROCSIG_CATCHUP_INTERRUPT, proc->backendId);
}

/* Does pid stand in the queue ahead of the blocked process? */
static bool
waits_ahead(const BlockedProcsData *blocked, const BlockedProcData *b, int pid)
{
	for (int i = 0; i < b->num_waiters; i++)
		if (blocked->waiter_pids[b->first_waiter + i] == pid)
			return true;
	return false;
}

/* Is the applier, or whoever has its turn, waiting for a lock, and whose, or behind whom? */
static void
free_applier(int applier)
{
	PGPROC	   *proc = applier ? BackendPidGetProc(applier) : NULL;
	BlockedProcsData *blocked;

	if (proc == NULL || proc->waitLock == NULL)
		return;
	blocked = GetBlockerStatusData(applier);
	for (int i = 0; i < blocked->nprocs; i++)
	{
		BlockedProcData *b = &blocked->procs[i];
		LockInstanceData *wanted = NULL;

		for (int j = 0; j < b->num_locks; j++)
		{
			LockInstanceData *l = &blocked->locks[b->first_lock + j];

			if (l->pid == b->pid && l->waitLockMode != NoLock)
				wanted = l;
		}
		/* Held while a page is added, by certified backends too when they write their ledger row: it ends before its transaction, by itself. */
		if (wanted != NULL && wanted->locktag.locktag_type == LOCKTAG_RELATION_EXTEND)
			continue;
		for (int j = 0; wanted != NULL && j < b->num_locks; j++)
		{
			LockInstanceData *l = &blocked->locks[b->first_lock + j];
			PGPROC	   *other;
			bool		holds = false;
			bool		ahead;

			if (l->pid == b->pid)
				continue;
			for (LOCKMODE m = 1; m <= MaxLockMode; m++)
				if ((l->holdMask & LOCKBIT_ON(m)) && DoLockModesConflict(m, wanted->waitLockMode))
					holds = true;
			ahead = l->waitLockMode != NoLock && DoLockModesConflict(l->waitLockMode, wanted->waitLockMode) && waits_ahead(blocked, b, l->pid);
			other = holds || ahead ? BackendPidGetProc(l->pid) : NULL;
			if (other == NULL || other->backendId == InvalidBackendId)
				continue;
			kick(l->pid, other->backendId, other->databaseId,
				 holds && (l->locktag.locktag_type != LOCKTAG_RELATION || (l->holdMask & ~(LOCKBIT_ON(AccessShareLock) | LOCKBIT_ON(RowShareLock))) != 0));
		}
	}
}

/* ---- durability ---- */

static struct
{
	bool		waiting;
	XLogRecPtr	lsn;
	TimestampTz since;
	uint64	   *watermarks;
} durable;

static void
follow_durability(void)
{
	uint32		n = pg_atomic_read_u32(&nodedb_shared->n_groups);

	if (durable.waiting)
	{
		if (GetFlushRecPtr(NULL) < durable.lsn)
		{
			if (!TimestampDifferenceExceeds(durable.since, GetCurrentTimestamp(), FORCE_FLUSH_MS))
				return;
			XLogFlush(durable.lsn);
		}
		for (uint32 g = 0; g < n; g++)
			pg_atomic_write_u64(&nodedb_groups[g].durable, durable.watermarks[g]);
		durable.waiting = false;
	}
	for (uint32 g = 0; g < n; g++)
	{
		durable.watermarks[g] = nodedb_watermark(g);
		if (durable.watermarks[g] != pg_atomic_read_u64(&nodedb_groups[g].durable))
			durable.waiting = true;
	}
	if (durable.waiting)
	{
		/* Sampled after the watermarks: every commit that moved them has its record before this position. */
		pg_memory_barrier();
		durable.lsn = GetXLogInsertRecPtr();
		/* Behind a page's last record it points behind the next page's header, which is not there to be flushed yet. */
		if (durable.lsn % XLOG_BLCKSZ <= SizeOfXLogLongPHD)
			durable.lsn -= durable.lsn % XLOG_BLCKSZ;
		durable.since = GetCurrentTimestamp();
	}
}

static void
at_exit(int code, Datum arg)
{
	nodedb_shared->guard_latch = NULL;
	pg_atomic_write_u32(&nodedb_shared->guard_asleep, 0);
	worker_leave(&nodedb_shared->guard_pid);
}

void
nodedb_guard_main(Datum arg)
{
	MemoryContext context;
	int			attentive = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	if (!worker_claim(&nodedb_shared->guard_pid))
		proc_exit(0);
	before_shmem_exit(at_exit, (Datum) 0);
	nodedb_shared->guard_latch = MyLatch;
	/* Process life. */
	durable.watermarks = MemoryContextAllocZero(TopMemoryContext, sizeof(uint64) * nodedb_shared->max_groups);
	context = AllocSetContextCreate(TopMemoryContext, "nodedb guard", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);

	while (!ShutdownRequestPending)
	{
		bool		sleep;
		bool		busy = pg_atomic_read_u64(&nodedb_shared->applier_ticket) != 0;

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(context);
		if (busy)
		{
			free_applier(nodedb_shared->applier_pid);
			for (int i = 0; i < nodedb_bulk_appliers; i++)
				if (pg_atomic_read_u32(&nodedb_bulks[i].state) == BULK_TURN)
					free_applier(nodedb_bulks[i].pid);
			attentive = ATTENTIVE_POLLS;
		}
		follow_durability();
		sleep = attentive == 0;
		if (sleep)
		{
			pg_atomic_write_u32(&nodedb_shared->guard_asleep, 1);
			pg_memory_barrier();
			sleep = pg_atomic_read_u64(&nodedb_shared->applier_ticket) == 0;
		}
		else
			attentive--;
		if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, sleep ? IDLE_MS : POLL_MS, PG_WAIT_EXTENSION) & WL_LATCH_SET)
			attentive = ATTENTIVE_POLLS;
		ResetLatch(MyLatch);
		pg_atomic_write_u32(&nodedb_shared->guard_asleep, 0);
		CHECK_FOR_INTERRUPTS();
	}
	proc_exit(0);
}
