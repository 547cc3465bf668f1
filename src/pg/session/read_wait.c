/*
 * read_wait.c: how far this node's tables must have come before a snapshot counts, and waiting for it.
 *
 * A strong read is one ReadIndex round that began after the read arrived (Ongaro's thesis, 6.4): a round that was confirmed earlier would be a
 * lease in disguise. All sessions that wait at that moment share it. It asks for the data groups that they read from, and for no others.
 *
 * Data groups may be added meanwhile (node_add_groups()). A round does not ask for those that this node made after it began, and what is applied when it is over may have placed tables there: who
 * reads from all groups then asks again. A table in a group is never seen before read_groups() counts the group (raft_worker_requests.c).
 *
 * Invariants:
 * 1. A round counts for a request only when it began after the request was made: read_done >= its number.
 * 2. What is compared with read_seen is a lower bound of every snapshot of the running transaction: sampled at the end of the one before, after
 *    its commit moved the turnstile; watermarks move after visibility.
 * 3. Nobody waits here while the applier, or a bulk applier in its turn, waits, directly or behind another waiter, for a lock of ours: PostgreSQL's deadlock detector does not
 *    see that this session waits for the applier.
 */
#include "read_internal.h"

#include "../shmem.h"
#include "../worker/bulk.h"
#include "wait.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

uint64	   *read_seen = NULL;
uint64	   *read_token = NULL;
uint64	   *read_sampled = NULL;

static uint64 *target = NULL;	/* of the wait under way */

void
read_prepare(void)
{
	uint64	   *all;

	if (read_seen != NULL)
		return;
	/* Process life: read_end_of_transaction() must not allocate. */
	all = MemoryContextAllocZero(TopMemoryContext, sizeof(uint64) * nodedb_shared->max_groups * 4);
	read_token = all + nodedb_shared->max_groups;
	read_sampled = read_token + nodedb_shared->max_groups;
	target = read_sampled + nodedb_shared->max_groups;
	read_seen = all;
}

uint32
read_groups(void)
{
	return pg_atomic_read_u32(&nodedb_shared->n_groups);
}

void
read_end_of_transaction(void)
{
	uint32		n;

	if (read_seen == NULL)
		return;
	n = read_groups();
	for (NdGroupId g = 1; g < n; g++)
		read_seen[g] = nodedb_watermark(g);
}

bool
read_groups_within(const ReadGroups *part, const ReadGroups *whole)
{
	return whole->all || (!part->all && bms_is_subset(part->some, whole->some));
}

static bool
reads_from(const ReadGroups *groups, NdGroupId group)
{
	return groups->all ? group != ND_GROUP_META : bms_is_member((int) group, groups->some);
}

static bool
beyond_seen(const uint64 *wanted)
{
	uint32		n = read_groups();

	for (NdGroupId g = 1; g < n; g++)
		if (wanted[g] > read_seen[g])
			return true;
	return false;
}

bool
read_sample(void)
{
	uint32		n = read_groups();

	read_prepare();
	for (NdGroupId g = 1; g < n; g++)
		read_sampled[g] = nodedb_watermark(g);
	return beyond_seen(read_sampled);
}

bool
read_wanted(void)
{
	if (nodedb_read_consistency == READ_LOCAL || pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_NONE)
		return false;
	read_prepare();
	return nodedb_read_consistency >= READ_STRONG || beyond_seen(read_token);
}

/* ---- who waits for us? ---- */

static bool
hold_against(const LOCKTAG *tag, LOCKMODE wanted)
{
	for (LOCKMODE mode = 1; mode <= MaxLockMode; mode++)
		if (DoLockModesConflict(mode, wanted) && LockHeldByMe(tag, mode))
			return true;
	return false;
}

static bool
stands_at_a_lock(PGPROC *proc)
{
	return proc != NULL && proc->waitLock != NULL;
}

/* The applier, or the bulk applier that has its turn. */
static bool
turn_stands_at_a_lock(void)
{
	int			applier = nodedb_shared->applier_pgprocno;

	if (applier >= 0 && stands_at_a_lock(&ProcGlobal->allProcs[applier]))
		return true;
	for (int i = 0; i < nodedb_bulk_appliers; i++)
		if (pg_atomic_read_u32(&nodedb_bulks[i].state) == BULK_TURN && stands_at_a_lock(BackendPidGetProc(nodedb_bulks[i].pid)))
			return true;
	return false;
}

/*
 * Is the applier stopped at a lock while somebody waits for one of ours? That somebody need not be the applier: it queues behind earlier waiters.
 * LockHasWaitersRelation() does not serve: it crashes on fast-path locks.
 */
bool
read_in_the_way(void)
{
	if (!turn_stands_at_a_lock())
		return false;
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		LOCK	   *lock = *(LOCK *volatile *) &proc->waitLock;
		LOCKTAG		tag;
		LOCKMODE	wanted;
		LWLock	   *partition;
		bool		waits;

		if (lock == NULL || proc == MyProc)
			continue;
		/* The lock may be gone by now and its memory in use for another: a guess, confirmed below. */
		tag = lock->tag;
		partition = LockHashPartitionLock(LockTagHashCode(&tag));
		LWLockAcquire(partition, LW_SHARED);
		waits = proc->waitLock == lock && memcmp(&lock->tag, &tag, sizeof(tag)) == 0;
		wanted = proc->waitLockMode;
		LWLockRelease(partition);
		if (waits && hold_against(&tag, wanted))
			return true;
	}
	return false;
}

void
read_raise_in_the_way(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to a concurrent change replicated from another node"),
			 errdetail("The statement waited for changes of another node, which wait for a lock of this transaction."),
			 errhint("Retry the transaction.")));
}

/* ---- waiting ---- */

static long
ms_left(TimestampTz end)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
}

static void
raise_no_majority(void)
{
	ConditionVariableCancelSleep();
	ereport(ERROR,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("could not confirm within %d ms that this node's data is up to date", nodedb_commit_timeout),
			 errdetail("No majority of the cluster's nodes has answered."),
			 errhint("Wait, use another node, or set nodedb.read_consistency to \"local\" to read an older state.")));
}

static uint64
ask(const ReadGroups *groups, uint32 n, int *worker)
{
	NodedbShared *s = nodedb_shared;
	uint64		number;

	if (s->raft_latch == NULL)
		ereport(ERROR, (errcode(ERRCODE_CANNOT_CONNECT_NOW), errmsg("nodedb's raft worker is not running")));
	*worker = s->raft_pid;
	SpinLockAcquire(&s->read_lock);
	number = ++s->read_requested;
	for (NdGroupId g = 0; g < n; g++)
		if (reads_from(groups, g))
			nodedb_groups[g].read_wanted = number;
	SpinLockRelease(&s->read_lock);
	SetLatch(s->raft_latch);
	return number;
}

/* One ReadIndex round over these groups of the first n; fills target. */
static void
confirm(const ReadGroups *groups, uint32 n, TimestampTz end)
{
	NodedbShared *s = nodedb_shared;
	int			worker;
	uint64		number = ask(groups, n, &worker);

	ConditionVariablePrepareToSleep(&s->read_cv);
	for (;;)
	{
		bool		done;
		bool		failed;
		long		left;

		SpinLockAcquire(&s->read_lock);
		done = s->read_done >= number;
		failed = !done && s->read_failed >= number;
		if (done)
			for (NdGroupId g = 0; g < n; g++)
				target[g] = reads_from(groups, g) ? nodedb_groups[g].read_index : 0;
		SpinLockRelease(&s->read_lock);
		if (done)
			break;
		check_applying();
		left = ms_left(end);
		if (left <= 0)
			raise_no_majority();
		if (ConditionVariableTimedSleep(&s->read_cv, Min(left, READ_POLL_MS), PG_WAIT_EXTENSION))
		{
			/* It failed before our own deadline, or the worker that had it is gone. Only after a sleep, so as not to spin. */
			if (failed || worker != s->raft_pid)
				number = ask(groups, n, &worker);
		}
	}
	ConditionVariableCancelSleep();
}

/* False when we are in the way. */
static bool
wait_applied(NdGroupId group, TimestampTz end)
{
	if (nodedb_watermark(group) >= target[group])
		return true;
	ConditionVariablePrepareToSleep(&nodedb_shared->applied_cv);
	while (nodedb_watermark(group) < target[group])
	{
		long		left = ms_left(end);

		check_applying();
		if (left <= 0)
		{
			ConditionVariableCancelSleep();
			ereport(ERROR,
					(errcode(ERRCODE_CANNOT_CONNECT_NOW),
					 errmsg("this node has not caught up with the cluster within %d ms", nodedb_commit_timeout),
					 errdetail("Group %u is applied up to entry " UINT64_FORMAT ", entry " UINT64_FORMAT " is wanted.",
							   group, nodedb_watermark(group), target[group]),
					 errhint("Wait, use another node, or set nodedb.read_consistency to \"local\" to read an older state.")));
		}
		if (ConditionVariableTimedSleep(&nodedb_shared->applied_cv, Min(left, READ_POLL_MS), PG_WAIT_EXTENSION) && read_in_the_way())
		{
			ConditionVariableCancelSleep();
			return false;
		}
	}
	ConditionVariableCancelSleep();
	return true;
}

ReadWait
read_wait(const ReadGroups *groups, bool lets_go)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), nodedb_commit_timeout);
	uint32		n;

	read_prepare();
	session_check_doomed();
	do
	{
		n = read_groups();
		if (nodedb_read_consistency >= READ_STRONG)
			confirm(groups, n, end);
		else
			for (NdGroupId g = 1; g < n; g++)
				target[g] = reads_from(groups, g) ? read_token[g] : 0;
		for (NdGroupId g = 1; g < n; g++)
			if (!wait_applied(g, end))
			{
				if (!lets_go)
					read_raise_in_the_way();
				return READ_IN_THE_WAY;
			}
	} while (groups->all && read_groups() > n);
	return beyond_seen(target) ? READ_RENEW : READ_SEEN;
}

void
read_know_groups(void)
{
	const ReadGroups meta = {.some = bms_make_singleton(ND_GROUP_META)};
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), nodedb_commit_timeout);

	read_prepare();
	confirm(&meta, 1, end);
	if (!wait_applied(ND_GROUP_META, end))
		read_raise_in_the_way();
}
