/*
 * handler.c: the table access method `nodedb`: heap's routine with the row callbacks, and what depends on heap's identity, replaced.
 *
 * Wiring only. Storage, visibility, vacuum, scans and locks are heap's; modify.c, lock.c and scan.c record what they did.
 *
 * Invariants:
 * 1. The two index scans run with the relation's routine swapped for heap's own, for heap_getnext() refuses any other. A relcache rebuild in
 *    the middle of the scan (another session's GRANT is enough) puts ours back, so a relcache callback swaps again.
 * 2. TOAST tables are plain heap: what they hold travels inside the rows that own it.
 */
#include "tableam.h"

#include "catalog/pg_am_d.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/inval.h"
#include "utils/rel.h"

const TableAmRoutine *tableam_heap;

PG_FUNCTION_INFO_V1(nodedb_tableam_handler);

static TableAmRoutine routine;

/* Relations whose routine is swapped at the moment, innermost first: index expressions may themselves build indexes. */
typedef struct SwappedRelation
{
	Relation	rel;
	struct SwappedRelation *outer;
} SwappedRelation;

static SwappedRelation *swapped = NULL;

static void swap_again(Datum arg, Oid relid)
{
	for (SwappedRelation *s = swapped; s != NULL; s = s->outer)
		s->rel->rd_tableam = tableam_heap;
}

static Oid relation_toast_am(Relation rel)
{
	return HEAP_TABLE_AM_OID;
}

static double index_build_range_scan(Relation table_rel, Relation index_rel, IndexInfo *index_info, bool allow_sync, bool anyvisible,
									 bool progress, BlockNumber start_blockno, BlockNumber numblocks, IndexBuildCallback callback,
									 void *callback_state, TableScanDesc scan)
{
	SwappedRelation self = {table_rel, swapped};
	double		tuples = 0;

	swapped = &self;
	table_rel->rd_tableam = tableam_heap;
	PG_TRY();
	{
		tuples = tableam_heap->index_build_range_scan(table_rel, index_rel, index_info, allow_sync, anyvisible, progress, start_blockno,
													  numblocks, callback, callback_state, scan);
	}
	PG_FINALLY();
	{
		swapped = self.outer;
		table_rel->rd_tableam = &routine;
	}
	PG_END_TRY();
	return tuples;
}

static void index_validate_scan(Relation table_rel, Relation index_rel, IndexInfo *index_info, Snapshot snapshot,
								struct ValidateIndexState *state)
{
	SwappedRelation self = {table_rel, swapped};

	swapped = &self;
	table_rel->rd_tableam = tableam_heap;
	PG_TRY();
	{
		tableam_heap->index_validate_scan(table_rel, index_rel, index_info, snapshot, state);
	}
	PG_FINALLY();
	{
		swapped = self.outer;
		table_rel->rd_tableam = &routine;
	}
	PG_END_TRY();
}

Datum nodedb_tableam_handler(PG_FUNCTION_ARGS)
{
	if (tableam_heap == NULL)
	{
		const TableAmRoutine *heap = GetHeapamTableAmRoutine();

		routine = *heap;
		routine.tuple_insert = tableam_tuple_insert;
		routine.tuple_insert_speculative = tableam_tuple_insert_speculative;
		routine.tuple_complete_speculative = tableam_tuple_complete_speculative;
		routine.multi_insert = tableam_multi_insert;
		routine.tuple_delete = tableam_tuple_delete;
		routine.tuple_update = tableam_tuple_update;
		routine.tuple_lock = tableam_tuple_lock;
		routine.scan_begin = tableam_scan_begin;
		routine.scan_bitmap_next_block = tableam_scan_bitmap_next_block;
		routine.scan_bitmap_next_tuple = tableam_scan_bitmap_next_tuple;
		routine.index_fetch_tuple = tableam_index_fetch_tuple;
		routine.tuple_fetch_row_version = tableam_tuple_fetch_row_version;
		routine.relation_toast_am = relation_toast_am;
		routine.index_build_range_scan = index_build_range_scan;
		routine.index_validate_scan = index_validate_scan;
		CacheRegisterRelcacheCallback(swap_again, (Datum) 0);
		tableam_heap = heap;
	}
	PG_RETURN_POINTER(&routine);
}
