/*
 * read_fence.c: fenced reads: a snapshot at one place of the common order of all data groups.
 *
 * A snapshot shows a prefix of each group's log, but which prefixes go together is each node's own: two unrelated transactions of different groups may become visible in
 * either order, so of two readers on two nodes one may see the first without the second, the other the second without the first (a long fork). A fenced read
 * proposes a transaction that has a part in every data group and changes nothing. Its outcomes stand in all groups in the order in which the sequencer decided them. A
 * node gives its ticket when everything before them has one, and what stands behind them in any group comes later: when it is at the turnstile, this node shows exactly what
 * is before the fence in every group. The snapshot is taken there. Of two fences one is before the other in all groups: what one reader sees, the other sees, too.
 *
 * Whatever was acknowledged before the fence was proposed stands before it, so a fenced read needs no read index. One group has one order anyhow: there it is a strong read.
 *
 * Invariants:
 * 1. The fence's ticket is ours only until the snapshot is taken, or until we give up; then it is the applier's, which writes its ledger row.
 * 2. As in read_wait.c, nobody waits here while the applier waits for a lock of ours.
 *
 * Reads of a SERIALIZABLE transaction that has not said that it will change nothing are certified at its end instead, if they are of several groups
 * (commit_pre_commit()).
 */
#include "read_internal.h"

#include "../shmem.h"
#include "../tableam/parts.h"
#include "commit.h"
#include "wait.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

bool
read_fences(const ReadGroups *groups)
{
	/* What is read from one group in one statement stands in that group's order. */
	if (parts_groups() == 1 || (!groups->all && bms_membership(groups->some) != BMS_MULTIPLE))
		return false;
	/* A SERIALIZABLE transaction that is declared READ ONLY will have no entry that would be judged. */
	return nodedb_read_consistency == READ_FENCED || (nodedb_read_consistency == READ_STRONG && IsolationIsSerializable() && XactReadOnly);
}

ReadWait
read_fence(bool lets_go)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), nodedb_commit_timeout);
	uint32		n = parts_groups();

	session_check_doomed();
	commit_fence_propose();
	for (;;)
	{
		FenceState	state = commit_fence_state();

		if (state == FENCE_TURN && parts_groups() == n)
			return READ_RENEW;
		if (state == FENCE_TURN)
		{
			/* Data groups were added since, where the fence has no part. What is shown here by now may have placed tables there. */
			(void) commit_fence_leave();
			n = parts_groups();
			commit_fence_propose();
			continue;
		}
		check_applying();
		if (state == FENCE_DEMOTED || read_in_the_way())
		{
			commit_fence_leave();
			if (!lets_go)
				read_raise_in_the_way();
			return READ_IN_THE_WAY;
		}
		if (GetCurrentTimestamp() >= end)
			ereport(ERROR,
					(errcode(ERRCODE_CANNOT_CONNECT_NOW),
					 errmsg("this node has not caught up with the cluster within %d ms", nodedb_commit_timeout),
					 errhint("Wait, or use another node: nodedb.groups shows how far this one is.")));
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, READ_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
