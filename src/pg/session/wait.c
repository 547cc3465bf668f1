/*
 * wait.c: waiting for the turnstile and for watermarks (wait.h).
 */
#include "wait.h"

#include "../placement.h"

#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

void
wait_turn_passed(uint64 ticket)
{
	/* The common case is over in microseconds: look a few times before sleeping. */
	for (int i = 0; i < 1000; i++)
	{
		if (pg_atomic_read_u64(&nodedb_shared->turn) > ticket)
			return;
		pg_spin_delay();
	}
	ConditionVariablePrepareToSleep(&nodedb_shared->applied_cv);
	while (pg_atomic_read_u64(&nodedb_shared->turn) <= ticket)
	{
		NodedbTicket *t = &nodedb_tickets[ticket % TICKETS];

		/* Only for one that is committing: never wait for somebody who may wait for a lock of ours. */
		if (pg_atomic_read_u64(&nodedb_shared->applier_committing) != ticket &&
			(pg_atomic_read_u32(&t->owner) != TICKET_LOCAL ||
			 slot_state(pg_atomic_read_u64(&nodedb_slots[t->slot].word)) != SLOT_GRANTED))
			break;
		/* The ticket's owner may change without a word: look again. */
		(void) ConditionVariableTimedSleep(&nodedb_shared->applied_cv, 10, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

void
check_applying(void)
{
	MemberState state = (MemberState) pg_atomic_read_u32(&nodedb_shared->member_state);

	if (state == MEMBER_RUNNING || state == MEMBER_STARTING)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this node does not apply the replicated log any more"),
			 errhint("See nodedb.status().")));
}

/*
 * The applier moves the watermark in its COMMIT callback, which PostgreSQL calls before it sends the transaction's invalidations: whoever looks into
 * the catalogues in between finds a table of the entry missing, or one that it dropped. The rest of a commit takes microseconds.
 */
static void
wait_settled(void)
{
	uint64		committing = pg_atomic_read_u64(&nodedb_shared->applier_committing);

	if (committing == 0 || pg_atomic_read_u64(&nodedb_shared->turn) <= committing)
		return;
	while (pg_atomic_read_u64(&nodedb_shared->applier_committing) == committing)
	{
		check_applying();
		CHECK_FOR_INTERRUPTS();
		pg_usleep(20);
	}
}

static void wait_reached(NdGroupId group, uint64 index, int timeout_ms);

void
wait_watermark(NdGroupId group, uint64 index, int timeout_ms)
{
	if (nodedb_watermark(group) < index)
		wait_reached(group, index, timeout_ms);
	wait_settled();
}

static void
wait_reached(NdGroupId group, uint64 index, int timeout_ms)
{
	TimestampTz end = 0;

	end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	ConditionVariablePrepareToSleep(&nodedb_shared->applied_cv);
	while (nodedb_watermark(group) < index)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		check_applying();
		if (left <= 0)
		{
			ConditionVariableCancelSleep();
			ereport(ERROR,
					(errcode(ERRCODE_CANNOT_CONNECT_NOW),
					 errmsg("this node has not caught up with the cluster within %d ms", timeout_ms),
					 errdetail("Group %u is applied up to entry " UINT64_FORMAT ", entry " UINT64_FORMAT " is wanted.",
							   group, nodedb_watermark(group), index),
					 errhint("Wait, use another node, or set nodedb.read_consistency to \"local\" to read an older state.")));
		}
		(void) ConditionVariableTimedSleep(&nodedb_shared->applied_cv, Min(left, 1000), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Asks, without waiting: the answer is there when somebody looks again. */
static void
ask_shown(NdGroupId group, uint64 index)
{
	NodedbGroup *g = &nodedb_groups[group];
	uint64		wanted = pg_atomic_read_u64(&g->shown_wanted);

	while (wanted < index && !pg_atomic_compare_exchange_u64(&g->shown_wanted, &wanted, index))
		;
	nodedb_wake(&nodedb_shared->raft_latch);
}

bool
wait_shown(NdGroupId group, uint64 index, int timeout_ms)
{
	NodedbGroup *g = &nodedb_groups[group];
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool		shown;

	ask_shown(group, index);
	ConditionVariablePrepareToSleep(&nodedb_shared->applied_cv);
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		shown = pg_atomic_read_u64(&g->shown_by_all) >= index;
		if (shown || left <= 0)
			break;
		(void) ConditionVariableTimedSleep(&nodedb_shared->applied_cv, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return shown;
}

static int
place_in(WaitHeadway *w, const NodeMember *m)
{
	uint32		i = 0;

	while (i < w->n && w->members[i].node != m->node)
		i++;
	if (i < w->n)
		return i;
	if (w->n == RAFT_MEMBERS_MAX)
		return -1;				/* members come and go: it is waited for */
	w->members[i].node = m->node;
	w->members[i].shown = 0;
	w->members[i].since = GetCurrentTimestamp();
	w->members[i].still = false;
	strlcpy(w->members[i].name, m->name, ND_NAME_MAX);
	w->n++;
	return i;
}

void
wait_headway(WaitHeadway *w, int timeout_ms)
{
	NodedbShared *s = nodedb_shared;
	TimestampTz now = GetCurrentTimestamp();
	bool		reached = true;

	LWLockAcquire(s->status_lock, LW_SHARED);
	for (uint32 i = 0; i < s->n_members; i++)
	{
		int			at = s->members[i].node == s->self ? -1 : place_in(w, &s->members[i]);

		if (at < 0)
			continue;
		if (s->member_shown[i] > w->members[at].shown || s->member_shown[i] >= w->goal || !s->member_connected[i])
		{
			w->members[at].shown = s->member_shown[i];
			w->members[at].since = now;
		}
		w->members[at].still = TimestampDifferenceExceeds(w->members[at].since, now, timeout_ms);
		reached &= s->member_shown[i] >= w->goal || w->members[at].still || !s->member_connected[i];
	}
	LWLockRelease(s->status_lock);
	/* One goal at a time: who is told of later ones only would never reach any while others write. */
	if (reached)
	{
		w->goal = nodedb_watermark(PLACEMENT_DEFAULT);
		ask_shown(PLACEMENT_DEFAULT, w->goal);
	}
}

Datum
wait_headway_still(const WaitHeadway *w)
{
	Datum		nodes[RAFT_MEMBERS_MAX];
	int			n = 0;

	for (uint32 i = 0; i < w->n; i++)
		if (w->members[i].still)
			nodes[n++] = Int32GetDatum((int32) w->members[i].node);
	return PointerGetDatum(construct_array(nodes, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

void
wait_headway_warn(WaitHeadway *w, const char *later)
{
	uint32		still = 0;

	for (uint32 i = 0; i < w->n; i++)
		still += w->members[i].still;
	for (uint32 i = 0; still > w->told && i < w->n; i++)
		if (w->members[i].still)
			ereport(WARNING,
					(errmsg("node \"%s\" applies nothing: it is not waited for", w->members[i].name),
					 errdetail_internal("%s", later),
					 errhint("See nodedb.status() and the log there.")));
	w->told = still;
}

void
wait_prepared(NdGroupId group, uint64 index, int timeout_ms)
{
	NodedbGroup *g = &nodedb_groups[group];
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	uint64		wanted = pg_atomic_read_u64(&g->prepared_wanted);
	uint64		before = 0;

	while (wanted < index && !pg_atomic_compare_exchange_u64(&g->prepared_wanted, &wanted, index))
		;
	nodedb_wake(&nodedb_shared->raft_latch);
	ConditionVariablePrepareToSleep(&nodedb_shared->applied_cv);
	for (;;)
	{
		uint64		all = pg_atomic_read_u64(&g->prepared_by_all);
		TimestampTz now = GetCurrentTimestamp();

		if (all > before)
			end = TimestampTzPlusMilliseconds(now, timeout_ms);
		before = Max(before, all);
		if (all >= index || now >= end)
			break;
		check_applying();
		(void) ConditionVariableTimedSleep(&nodedb_shared->applied_cv, TimestampDifferenceMilliseconds(now, end), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}
