/*
 * scan.c: reads: heap does them; what a SERIALIZABLE transaction read is noted (readset.h).
 *
 * Invariants:
 * 1. A scan that the executor does not vouch for (tableam_scan_cover) counts as a read of the whole table. One of a bitmap is begun when the executor makes its plan
 *    ready, so it counts from its first page on; what it found out from the bitmap alone is the executor's to note.
 * 2. Only reads under an MVCC snapshot count: the others (uniqueness checks, building an index) see what is there, committed or not, and are
 *    protected by what their caller locks. The one exception is the row that ON CONFLICT DO NOTHING found: it is looked at again here.
 */
#include "tableam.h"

#include "tableam/readset.h"
#include "utils/snapmgr.h"

ScanCover	tableam_scan_cover = {InvalidOid, false};

TableScanDesc tableam_scan_begin(Relation rel, Snapshot snapshot, int nkeys, struct ScanKeyData *key, ParallelTableScanDesc parallel, uint32 flags)
{
	if (unlikely(IsolationIsSerializable()) && !(flags & (SO_TYPE_ANALYZE | SO_TYPE_BITMAPSCAN)) && snapshot != NULL && IsMVCCSnapshot(snapshot) &&
		tableam_scan_cover.relid != RelationGetRelid(rel) && readset_wanted(rel))
		readset_relation(rel);
	return tableam_heap->scan_begin(rel, snapshot, nkeys, key, parallel, flags);
}

bool tableam_scan_bitmap_next_block(TableScanDesc scan, struct TBMIterateResult *page)
{
	if (unlikely(IsolationIsSerializable()) && scan->rs_snapshot != NULL && IsMVCCSnapshot(scan->rs_snapshot) &&
		tableam_scan_cover.relid != RelationGetRelid(scan->rs_rd) && readset_wanted(scan->rs_rd))
		readset_relation(scan->rs_rd);
	return tableam_heap->scan_bitmap_next_block(scan, page);
}

bool tableam_scan_bitmap_next_tuple(TableScanDesc scan, struct TBMIterateResult *page, TupleTableSlot *slot)
{
	bool		found = tableam_heap->scan_bitmap_next_tuple(scan, page, slot);

	if (unlikely(IsolationIsSerializable()) && found && tableam_scan_cover.rows && tableam_scan_cover.relid == RelationGetRelid(scan->rs_rd) &&
		readset_wanted(scan->rs_rd))
		readset_row(scan->rs_rd, slot);
	return found;
}

bool tableam_index_fetch_tuple(struct IndexFetchTableData *scan, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot, bool *call_again,
							   bool *all_dead)
{
	bool		found = tableam_heap->index_fetch_tuple(scan, tid, snapshot, slot, call_again, all_dead);

	if (unlikely(IsolationIsSerializable()) && IsMVCCSnapshot(snapshot) && readset_wanted(scan->rel))
	{
		if (tableam_scan_cover.relid != RelationGetRelid(scan->rel))
			readset_relation(scan->rel);
		else if (found && tableam_scan_cover.rows)
			readset_row(scan->rel, slot);
	}
	return found;
}

bool tableam_tuple_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	bool		found = tableam_heap->tuple_fetch_row_version(rel, tid, snapshot, slot);

	if (unlikely(IsolationIsSerializable()) && found && readset_wanted(rel))
		readset_row(rel, slot);
	return found;
}
