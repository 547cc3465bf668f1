/*
 * lock.c: row locks: SELECT FOR ..., the lock that precedes an update after a wait, and the KEY SHARE lock of a foreign key check.
 *
 * Invariant: a row lock that was granted is a certification key of its mode, since a replayed change of that row would have to wait for it; and a record, so
 * that the applier takes it (writeset.h, invariant 2). It is no write: a transaction that only locks does not go through the log.
 */
#include "tableam.h"

#include "catalog/pg_class.h"
#include "tableam/apply.h"
#include "tableam/writeset.h"
#include "utils/rel.h"

TM_Result tableam_tuple_lock(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot, CommandId cid, LockTupleMode mode,
							 LockWaitPolicy wait_policy, uint8 flags, TM_FailureData *tmfd)
{
	TM_Result	result = tableam_heap->tuple_lock(rel, tid, snapshot, slot, cid, mode, wait_policy, flags, tmfd);

	if (result == TM_Ok && !apply_active && rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT)
		writeset_row_lock(rel, slot, mode);
	return result;
}
