/*
 * modify.c: row changes: heap does them, then they are written down.
 *
 * Invariants:
 * 1. Heap first: only what heap reported as done enters the write set. An error in between aborts the (sub)transaction, which cuts both.
 * 2. A speculative insertion is written down when it is confirmed.
 * 3. The key of an updated row gets the lock mode that heap found, since that is what the other sessions of this node compete with.
 */
#include "tableam.h"

#include "access/parallel.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "ddl/ddl.h"
#include "session/session.h"
#include "storage/bufmgr.h"
#include "tableam/apply.h"
#include "tableam/writeset.h"

bool tableam_captures(Relation rel)
{
	/* The script of an extension runs on every node. */
	if (apply_active || creating_extension || rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT || rel->rd_rel->relkind != RELKIND_RELATION ||
		OidIsValid(rel->rd_rel->relrewrite))
		return false;
	/* The write set is memory of the leader. PostgreSQL plans no such writes; a function wrongly marked parallel safe could. */
	if (IsParallelWorker())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("cannot write to distributed table \"%s\" in a parallel worker", RelationGetRelationName(rel))));
	session_before_write(rel);
	if (unlikely(ddl_rewriting != NIL))
		ddl_rewrite_check(RelationGetRelid(rel));
	return true;
}

/*
 * The version that this transaction has just replaced or deleted. It cannot be pruned before the transaction ends; the pin keeps it in place.
 */
static void fetch_old(Relation rel, ItemPointer tid, HeapTuple tuple, Buffer *buffer)
{
	tuple->t_self = *tid;
	if (!heap_fetch(rel, SnapshotAny, tuple, buffer, false))
		elog(ERROR, "old version (%u,%u) of a row of \"%s\" vanished", ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid),
			 RelationGetRelationName(rel));
}

void tableam_tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid, int options, BulkInsertState bistate)
{
	bool		captures = tableam_captures(rel);

	tableam_heap->tuple_insert(rel, slot, cid, options, bistate);
	if (captures)
		writeset_insert(rel, slot);
}

void tableam_tuple_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid, int options, BulkInsertState bistate,
									  uint32 token)
{
	(void) tableam_captures(rel);
	tableam_heap->tuple_insert_speculative(rel, slot, cid, options, bistate, token);
}

void tableam_tuple_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token, bool succeeded)
{
	tableam_heap->tuple_complete_speculative(rel, slot, token, succeeded);
	if (succeeded && tableam_captures(rel))
		writeset_insert(rel, slot);
}

void tableam_multi_insert(Relation rel, TupleTableSlot **slots, int n_slots, CommandId cid, int options, BulkInsertState bistate)
{
	bool		captures = tableam_captures(rel);

	tableam_heap->multi_insert(rel, slots, n_slots, cid, options, bistate);
	if (captures)
		for (int i = 0; i < n_slots; i++)
			writeset_insert(rel, slots[i]);
}

TM_Result tableam_tuple_delete(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot, Snapshot crosscheck, bool wait,
							   TM_FailureData *tmfd, bool changing_part)
{
	bool		captures = tableam_captures(rel);
	TM_Result	result = tableam_heap->tuple_delete(rel, tid, cid, snapshot, crosscheck, wait, tmfd, changing_part);

	if (captures && result == TM_Ok)
	{
		HeapTupleData old;
		Buffer		buffer;

		fetch_old(rel, tid, &old, &buffer);
		writeset_delete(rel, &old);
		ReleaseBuffer(buffer);
	}
	return result;
}

TM_Result tableam_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot, CommandId cid, Snapshot snapshot,
							   Snapshot crosscheck, bool wait, TM_FailureData *tmfd, LockTupleMode *lockmode, bool *update_indexes)
{
	bool		captures = tableam_captures(rel);
	ItemPointerData old_tid = *otid;	/* the caller's pointer may be the slot's own, which heap moves to the new version */
	TM_Result	result = tableam_heap->tuple_update(rel, otid, slot, cid, snapshot, crosscheck, wait, tmfd, lockmode, update_indexes);

	if (captures && result == TM_Ok)
	{
		HeapTupleData old;
		Buffer		buffer;

		fetch_old(rel, &old_tid, &old, &buffer);
		writeset_update(rel, &old, slot, *lockmode);
		ReleaseBuffer(buffer);
	}
	return result;
}
