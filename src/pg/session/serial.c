/*
 * serial.c: the executor's part of SERIALIZABLE: which reads are less than a read of the whole table.
 *
 * A SERIALIZABLE transaction takes its place in the serial order at its entry in the log. It may stand there if nothing that it read was changed by the
 * entries between its snapshot and that place (backward validation; Kung, Robinson 1981, section 4). One that changes nothing distributed has no
 * entry: its place is its snapshot, a prefix of the log. So the log's order is a serial one, and what PostgreSQL's own SSI, which sees one node,
 * refuses in addition is refused in vain but harmlessly.
 *
 * The access method notes every scan as a read of the whole table (tableam/scan.c), unless the node above vouches for something narrower:
 *
 *   index scan that gives one value for every key column of a unique index: the value is the read, there or not, and the row with it
 *   the queries of foreign keys: they lock the row that they look for, and that lock is a key; what they must not see is protected by it
 *
 * How: a node's ExecProcNode is wrapped. Its scan keys hold the values looked for once it has run, so they are noted after each call: each rescan
 * is followed by one. All nodes of a type have one function to call, so wrapping needs no memory of each.
 *
 * Invariant: tableam_scan_cover names a table only inside a call of its node; a query nested there covers its own.
 */
#include "serial.h"

#include "../shmem.h"
#include "../tableam/apply.h"
#include "../tableam/readset.h"
#include "../tableam/tableam.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "utils/snapmgr.h"

static ExecProcNodeMtd run_index_scan = NULL;
static ExecProcNodeMtd run_index_only_scan = NULL;
static ExecProcNodeMtd run_seq_scan = NULL;

void
serial_forget(void)
{
	tableam_scan_cover.relid = InvalidOid;
}

/*
 * Is this the check of a foreign key: SELECT 1 FROM ONLY referenced x WHERE key = $1 FOR KEY SHARE OF x (utils/adt/ri_triggers.c)? The row that it finds
 * is locked, and that is a key; when it finds none the transaction fails.
 */
static bool
is_key_check(EState *estate)
{
	PlannedStmt *plan = estate->es_plannedstmt;
	const char *text = estate->es_sourceText;
	const char *end = " FOR KEY SHARE OF x";
	size_t		length = text != NULL ? strlen(text) : 0;

	return list_length(plan->rowMarks) == 1 && linitial_node(PlanRowMark, plan->rowMarks)->strength == LCS_FORKEYSHARE &&
		estate->es_param_list_info != NULL && strncmp(text, "SELECT 1 FROM ", strlen("SELECT 1 FROM ")) == 0 && length > strlen(end) &&
		strcmp(text + length - strlen(end), end) == 0;
}

/* Queries of foreign keys that look for referencing rows bring a snapshot to compare with. */
static bool
is_of_foreign_key(EState *estate)
{
	return estate->es_crosscheck_snapshot != InvalidSnapshot || is_key_check(estate);
}

/* An integer as the index's type has it. False: another type, or out of its range, so no row has it. */
static bool
integer_of(Datum value, Oid from, Oid to, Datum *out)
{
	int64		v;

	if (from == INT2OID)
		v = DatumGetInt16(value);
	else if (from == INT4OID)
		v = DatumGetInt32(value);
	else if (from == INT8OID)
		v = DatumGetInt64(value);
	else
		return false;
	if (to == INT2OID && v == (int16) v)
		*out = Int16GetDatum((int16) v);
	else if (to == INT4OID && v == (int32) v)
		*out = Int32GetDatum((int32) v);
	else if (to == INT8OID)
		*out = Int64GetDatum(v);
	else
		return false;
	return true;
}

/* Do the scan keys say one value for every key column? 1: yes; 0: a null among them, nothing is looked for; -1: no. */
static int
values_of(Relation index, ScanKey keys, int n, Datum *values)
{
	int			n_columns = index->rd_index->indnkeyatts;
	Bitmapset  *given = NULL;

	for (int i = 0; i < n; i++)
	{
		ScanKey		key = &keys[i];
		int			at = key->sk_attno - 1;
		Oid			type = index->rd_opcintype[at];

		if (key->sk_strategy != BTEqualStrategyNumber || (key->sk_flags & (SK_ROW_HEADER | SK_ROW_MEMBER | SK_SEARCHARRAY | SK_SEARCHNULL | SK_SEARCHNOTNULL)))
			continue;
		if (key->sk_flags & SK_ISNULL)
			return 0;
		if (key->sk_subtype == InvalidOid || key->sk_subtype == type)
			values[at] = key->sk_argument;
		else if (!integer_of(key->sk_argument, key->sk_subtype, type, &values[at]))
			continue;
		given = bms_add_member(given, at);
	}
	return bms_num_members(given) == n_columns ? 1 : -1;
}

/* One call of an index scan's node. */
static TupleTableSlot *
run_noted(PlanState *node, ExecProcNodeMtd run, Relation index, ScanKey *keys, int *n_keys, bool heap_is_read)
{
	Relation	rel = ((ScanState *) node)->ss_currentRelation;
	ScanCover	outer = tableam_scan_cover;
	bool		foreign_key = is_of_foreign_key(node->state);
	TupleTableSlot *slot;
	Datum		values[INDEX_MAX_KEYS];
	int			known;

	if (index == NULL || (!foreign_key && !(index->rd_index->indisunique && index->rd_rel->relam == BTREE_AM_OID &&
											(heap_is_read || readset_names_rows(rel, RelationGetRelid(index)) ||
											 index->rd_index->indnatts == index->rd_index->indnkeyatts))))
	{
		readset_relation(rel);
		return run(node);
	}
	tableam_scan_cover.relid = RelationGetRelid(rel);
	tableam_scan_cover.rows = !foreign_key && !readset_names_rows(rel, RelationGetRelid(index));
	slot = run(node);
	tableam_scan_cover = outer;
	if (foreign_key && (!TupIsNull(slot) || node->state->es_crosscheck_snapshot != InvalidSnapshot))
		return slot;
	known = values_of(index, *keys, *n_keys, values);
	if (known < 0 || (known > 0 && !readset_value(rel, RelationGetRelid(index), values)))
		readset_relation(rel);
	return slot;
}

static TupleTableSlot *
noted_index_scan(PlanState *node)
{
	IndexScanState *s = castNode(IndexScanState, node);

	return run_noted(node, run_index_scan, s->iss_RelationDesc, &s->iss_ScanKeys, &s->iss_NumScanKeys, true);
}

static TupleTableSlot *
noted_index_only_scan(PlanState *node)
{
	IndexOnlyScanState *s = castNode(IndexOnlyScanState, node);

	return run_noted(node, run_index_only_scan, s->ioss_RelationDesc, &s->ioss_ScanKeys, &s->ioss_NumScanKeys, false);
}

/* Of a foreign key's query. */
static TupleTableSlot *
covered_seq_scan(PlanState *node)
{
	Relation	rel = ((ScanState *) node)->ss_currentRelation;
	ScanCover	outer = tableam_scan_cover;
	TupleTableSlot *slot;

	tableam_scan_cover = (ScanCover) {RelationGetRelid(rel), false};
	slot = run_seq_scan(node);
	tableam_scan_cover = outer;
	if (TupIsNull(slot) && node->state->es_crosscheck_snapshot == InvalidSnapshot)
		readset_relation(rel);
	return slot;
}

static void
wrap(PlanState *node, ExecProcNodeMtd *run, ExecProcNodeMtd by)
{
	Relation	rel = ((ScanState *) node)->ss_currentRelation;

	if (node->ExecProcNodeReal == by || rel == NULL || !nodedb_is_distributed(rel) || !readset_wanted(rel))
		return;
	*run = node->ExecProcNodeReal;
	node->ExecProcNodeReal = by;
}

static bool
visit(PlanState *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, IndexScanState))
		wrap(node, &run_index_scan, noted_index_scan);
	else if (IsA(node, IndexOnlyScanState))
		wrap(node, &run_index_only_scan, noted_index_only_scan);
	else if (IsA(node, SeqScanState) && is_of_foreign_key(node->state))
		wrap(node, &run_seq_scan, covered_seq_scan);
	return planstate_tree_walker(node, visit, arg);
}

void
serial_executor_started(QueryDesc *query, int eflags)
{
	ListCell   *lc;

	if (!IsolationIsSerializable() || apply_active || IsParallelWorker() || (eflags & EXEC_FLAG_EXPLAIN_ONLY) || query->planstate == NULL)
		return;
	/* What workers read is noted in none of them. */
	if (query->plannedstmt->parallelModeNeeded)
		foreach(lc, query->plannedstmt->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_RELATION && nodedb_relid_is_distributed(rte->relid))
				readset_relation_oid(rte->relid);
		}
	(void) visit(query->planstate, NULL);
	foreach(lc, query->estate->es_subplanstates)
		(void) visit((PlanState *) lfirst(lc), NULL);
}
