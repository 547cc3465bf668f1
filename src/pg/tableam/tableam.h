/*
 * tableam.h: what handler.c, modify.c, lock.c and scan.c share; and what the executor tells scan.c.
 */
#ifndef NODEDB_TABLEAM_H
#define NODEDB_TABLEAM_H

#include "nodedb.h"

#include "access/heapam.h"
#include "access/tableam.h"

/* Heap's own routine: storage, visibility and locking are all its work. Set by the handler. */
extern const TableAmRoutine *tableam_heap;

/*
 * Does this change go into the write set? Not when replaying, and not for what each node makes for itself: temporary and unlogged tables,
 * materialized views, the new file of a table that is being rewritten. Asks the session whether the transaction may write; ereports if not.
 */
extern bool tableam_captures(Relation rel);

extern void tableam_tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid, int options, BulkInsertState bistate);
extern void tableam_tuple_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid, int options, BulkInsertState bistate,
											 uint32 token);
extern void tableam_tuple_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token, bool succeeded);
extern void tableam_multi_insert(Relation rel, TupleTableSlot **slots, int n_slots, CommandId cid, int options, BulkInsertState bistate);
extern TM_Result tableam_tuple_delete(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot, Snapshot crosscheck, bool wait,
									  TM_FailureData *tmfd, bool changing_part);
extern TM_Result tableam_tuple_update(Relation rel, ItemPointer otid, TupleTableSlot *slot, CommandId cid, Snapshot snapshot,
									  Snapshot crosscheck, bool wait, TM_FailureData *tmfd, LockTupleMode *lockmode,
									  bool *update_indexes);
extern TM_Result tableam_tuple_lock(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot, CommandId cid,
									LockTupleMode mode, LockWaitPolicy wait_policy, uint8 flags, TM_FailureData *tmfd);
extern TableScanDesc tableam_scan_begin(Relation rel, Snapshot snapshot, int nkeys, struct ScanKeyData *key, ParallelTableScanDesc parallel,
										uint32 flags);
extern bool tableam_scan_bitmap_next_block(TableScanDesc scan, struct TBMIterateResult *page);
extern bool tableam_scan_bitmap_next_tuple(TableScanDesc scan, struct TBMIterateResult *page, TupleTableSlot *slot);
extern bool tableam_index_fetch_tuple(struct IndexFetchTableData *scan, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
									  bool *call_again, bool *all_dead);
extern bool tableam_tuple_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot);

/*
 * The executor's node that is reading at this moment, when what it reads is noted more exactly than by its whole table. The one who sets it restores
 * what was there.
 */
typedef struct ScanCover
{
	Oid			relid;			/* InvalidOid: none */
	bool		rows;			/* rows that are found must be noted */
} ScanCover;

extern ScanCover tableam_scan_cover;

#endif
