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
 *   scan by a unique index that gives a value for every key column: the value is the read, there or not, and the row with it
 *   scan by a named index (ddl/named.c) that gives values for its first columns: these are the read, and the rows that it finds (tableam/readset.h)
 *   both: some values, as of an array, are each a read, up to COMBINATIONS_MAX; and by an index scan, an index-only scan or a bitmap of such alone
 *   the queries of foreign keys: they lock the row that they look for, and that lock is a key; what they must not see is protected by it
 *
 * How: a node's ExecProcNode is wrapped. Its scan keys hold the values looked for once it has run, so they are noted after its first call, and after the first one behind
 * each rescan, of which a callback of its expression context tells. All nodes of a type have one function to call, so wrapping needs no memory of each.
 *
 * Invariant: tableam_scan_cover names a table only inside a call of its node; a query nested there covers its own.
 */
#include "serial.h"

#include "../shmem.h"
#include "../tableam/apply.h"
#include "../tableam/readset.h"
#include "../tableam/tableam.h"

#include "access/genam.h"
#include "access/hash.h"
#include "access/nbtree.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

static ExecProcNodeMtd run_index_scan = NULL;
static ExecProcNodeMtd run_index_only_scan = NULL;
static ExecProcNodeMtd run_bitmap_scan = NULL;
static ExecProcNodeMtd run_seq_scan = NULL;

#define COMBINATIONS_MAX 1000	/* of values that one call of a node looks for */

/* An index scan's node, for what it looks for. */
typedef struct LookUp
{
	Relation	index;			/* NULL: the node is not ready, EXPLAIN for instance */
	ScanKey		keys;
	int			n_keys;
	const IndexArrayKeyInfo *arrays;
	int			n_arrays;
	bool		unique;			/* a value for each key column names all that it reads */
} LookUp;

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

/* What the scan keys say about one column of an index: equal to one of these. */
typedef struct Wanted
{
	int			n;				/* 0: the keys do not say it */
	Datum	   *values;
	bool		null;			/* n is 1: null, instead */
	Datum		one;
} Wanted;

/* Into the index's type; what none of its rows can have is left out. False: another type. */
static bool
take_value(Wanted *w, Datum value, Oid from, Oid to)
{
	if (from == InvalidOid || from == to)
		w->values[w->n++] = value;
	else if (from != INT2OID && from != INT4OID && from != INT8OID)
		return false;
	else if (integer_of(value, from, to, &w->values[w->n]))
		w->n++;
	else if (to != INT2OID && to != INT4OID && to != INT8OID)
		return false;
	return true;
}

static bool
take_elements(Wanted *w, const Datum *elements, const bool *nulls, int n, Oid from, Oid to)
{
	Wanted		all = {.values = palloc(Max(n, 1) * sizeof(Datum))};

	for (int i = 0; i < n; i++)
		if (!nulls[i] && !take_value(&all, elements[i], from, to))
			return false;
	*w = all;
	return true;
}

static bool
take_array(Wanted *w, Datum array, Oid from, Oid to)
{
	ArrayType  *a = DatumGetArrayTypeP(array);
	int16		len;
	bool		byval;
	char		align;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(ARR_ELEMTYPE(a), &len, &byval, &align);
	deconstruct_array(a, ARR_ELEMTYPE(a), len, byval, align, &elements, &nulls, &n);
	return take_elements(w, elements, nulls, n, from, to);
}

/* An array that the executor goes through by itself, one element after the other in the scan key; NULL: none. */
static const IndexArrayKeyInfo *
array_of(const LookUp *look, ScanKey key)
{
	for (int i = 0; i < look->n_arrays; i++)
		if (look->arrays[i].scan_key == key)
			return &look->arrays[i];
	return NULL;
}

/* For each column of the index. False: nothing is looked for, for some column is equal to none of no values. Arrays go to the current memory context. */
static bool
wanted_of(const LookUp *look, Wanted *wanted)
{
	StrategyNumber equal = look->index->rd_rel->relam == HASH_AM_OID ? HTEqualStrategyNumber : BTEqualStrategyNumber;

	for (int i = 0; i < look->n_keys; i++)
	{
		ScanKey		key = &look->keys[i];
		int			at = key->sk_attno - 1;
		Oid			type = look->index->rd_opcintype[at];
		const IndexArrayKeyInfo *array = array_of(look, key);
		Wanted		w = {.values = &w.one};
		bool		known;

		if (key->sk_flags & SK_SEARCHNULL)
		{
			if (wanted[at].n == 0)
				wanted[at] = (Wanted) {.n = 1, .null = true};
			continue;
		}
		if (key->sk_strategy != equal || (key->sk_flags & (SK_ROW_HEADER | SK_ROW_MEMBER | SK_SEARCHNOTNULL)))
			continue;
		if (array == NULL && (key->sk_flags & SK_ISNULL))
			return false;
		if (array != NULL)
			known = take_elements(&w, array->elem_values, array->elem_nulls, array->num_elems, key->sk_subtype, type);
		else if (key->sk_flags & SK_SEARCHARRAY)
			known = take_array(&w, key->sk_argument, key->sk_subtype, type);
		else
			known = take_value(&w, key->sk_argument, key->sk_subtype, type);
		if (!known)
			continue;
		if (w.n == 0)
			return false;
		if (wanted[at].n > 0 && wanted[at].n <= w.n)
			continue;			/* one of several conditions on the column is enough: that with the fewest values */
		wanted[at] = w;
		if (w.values == &w.one)
			wanted[at].values = &wanted[at].one;
	}
	return true;
}

/* Each combination of the first n columns' values. */
static void
note_combinations(Relation rel, Relation index, const Wanted *wanted, int n, bool unique)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	int			at[INDEX_MAX_KEYS] = {0};
	int			column;

	do
	{
		for (int i = 0; i < n; i++)
		{
			nulls[i] = wanted[i].null;
			values[i] = nulls[i] ? (Datum) 0 : wanted[i].values[at[i]];
		}
		if (!unique)
			readset_prefix(rel, RelationGetRelid(index), values, nulls, n);
		else if (!readset_value(rel, RelationGetRelid(index), values))
			readset_relation(rel);
		for (column = n - 1; column >= 0 && ++at[column] == wanted[column].n; column--)
			at[column] = 0;
	} while (column >= 0);
}

/* How many leading columns, n_max at most, does it give values for, not too many altogether? */
static int
n_wanted(const Wanted *wanted, int n_max, bool nulls)
{
	int64		combinations = 1;
	int			n = 0;

	while (n < n_max && wanted[n].n > 0 && (nulls || !wanted[n].null) && combinations * wanted[n].n <= COMBINATIONS_MAX)
		combinations *= wanted[n++].n;
	return n;
}

/* The values that it has looked for; false: it may have read more than rows with these. */
static bool
note_values(Relation rel, const LookUp *look)
{
	Wanted		wanted[INDEX_MAX_KEYS] = {0};
	int			n_columns = look->index->rd_index->indnkeyatts;
	int			n;

	if (!wanted_of(look, wanted))
		return true;
	if (look->unique && n_wanted(wanted, n_columns, false) == n_columns)
	{
		note_combinations(rel, look->index, wanted, n_columns, true);
		return true;
	}
	n = n_wanted(wanted, readset_named_columns(rel, RelationGetRelid(look->index)), true);
	if (n > 0)
		note_combinations(rel, look->index, wanted, n, false);
	return n > 0;
}

/* Do its keys name the rows that it shows, or are they found in the table itself, or shows the index nothing but its keys? */
static bool
unique_names_rows(Relation rel, Relation index, bool heap_is_read)
{
	return index->rd_index->indisunique && index->rd_rel->relam == BTREE_AM_OID &&
		(heap_is_read || readset_names_rows(rel, RelationGetRelid(index)) || index->rd_index->indnatts == index->rd_index->indnkeyatts);
}

static bool
can_note(Relation rel, const LookUp *look)
{
	return look->index != NULL && (look->unique || readset_named_columns(rel, RelationGetRelid(look->index)) > 0);
}

typedef bool (*LookUpVisit) (Relation rel, const LookUp *look);

/* False: the visit says so of a look-up, or there is something else. All of a bitmap's count, below AND too: a row comes into what both give by either. */
static bool
each_look_up(PlanState *node, Relation rel, LookUpVisit visit)
{
	LookUp		look = {0};
	bool		heap_is_read = !IsA(node, IndexOnlyScanState);
	PlanState **nodes = NULL;
	int			n = 0;

	switch (nodeTag(node))
	{
		case T_IndexScanState:
			look = (LookUp) {.index = ((IndexScanState *) node)->iss_RelationDesc, .keys = ((IndexScanState *) node)->iss_ScanKeys,
				.n_keys = ((IndexScanState *) node)->iss_NumScanKeys};
			break;
		case T_IndexOnlyScanState:
			look = (LookUp) {.index = ((IndexOnlyScanState *) node)->ioss_RelationDesc, .keys = ((IndexOnlyScanState *) node)->ioss_ScanKeys,
				.n_keys = ((IndexOnlyScanState *) node)->ioss_NumScanKeys};
			break;
		case T_BitmapIndexScanState:
			look = (LookUp) {.index = ((BitmapIndexScanState *) node)->biss_RelationDesc, .keys = ((BitmapIndexScanState *) node)->biss_ScanKeys,
				.n_keys = ((BitmapIndexScanState *) node)->biss_NumScanKeys, .arrays = ((BitmapIndexScanState *) node)->biss_ArrayKeys,
				.n_arrays = ((BitmapIndexScanState *) node)->biss_NumArrayKeys};
			break;
		case T_BitmapHeapScanState:
			return each_look_up(outerPlanState(node), rel, visit);
		case T_BitmapAndState:
			nodes = ((BitmapAndState *) node)->bitmapplans;
			n = ((BitmapAndState *) node)->nplans;
			break;
		case T_BitmapOrState:
			nodes = ((BitmapOrState *) node)->bitmapplans;
			n = ((BitmapOrState *) node)->nplans;
			break;
		default:
			return false;
	}
	if (nodes == NULL)
	{
		look.unique = look.index != NULL && unique_names_rows(rel, look.index, heap_is_read);
		return visit(rel, &look);
	}
	for (int i = 0; i < n; i++)
		if (!each_look_up(nodes[i], rel, visit))
			return false;
	return true;
}

/* ---- nodes ---- */

static ExecProcNodeMtd *
original_of(PlanState *node)
{
	switch (nodeTag(node))
	{
		case T_IndexScanState:
			return &run_index_scan;
		case T_IndexOnlyScanState:
			return &run_index_only_scan;
		case T_BitmapHeapScanState:
			return &run_bitmap_scan;
		default:
			return &run_seq_scan;
	}
}

static void
become(PlanState *node, ExecProcNodeMtd by)
{
	if (node->ExecProcNode == node->ExecProcNodeReal)
		node->ExecProcNode = by;	/* else it is measured, and calls the other one */
	node->ExecProcNodeReal = by;
}

static TupleTableSlot *
run_covered(PlanState *node, bool rows)
{
	ScanCover	outer = tableam_scan_cover;
	TupleTableSlot *slot;

	tableam_scan_cover = (ScanCover) {RelationGetRelid(((ScanState *) node)->ss_currentRelation), rows};
	slot = (*original_of(node)) (node);
	tableam_scan_cover = outer;
	return slot;
}

/* What it looks for is noted; what it finds is by the access method. */
static TupleTableSlot *
covered_scan(PlanState *node)
{
	return run_covered(node, true);
}

static TupleTableSlot *noted_scan(PlanState *node);

static void
begins_again(Datum node)
{
	become((PlanState *) DatumGetPointer(node), noted_scan);
}

/* The first call of an index scan's node, or of a bitmap's, after it was made or made to begin again. */
static TupleTableSlot *
noted_scan(PlanState *node)
{
	Relation	rel = ((ScanState *) node)->ss_currentRelation;
	bool		foreign_key = is_of_foreign_key(node->state);
	TupleTableSlot *slot;
	MemoryContext work;
	MemoryContext caller;

	if (!foreign_key && !each_look_up(node, rel, can_note))
	{
		readset_relation(rel);
		become(node, *original_of(node));
		return node->ExecProcNodeReal(node);
	}
	slot = run_covered(node, !foreign_key);
	if (foreign_key && (!TupIsNull(slot) || node->state->es_crosscheck_snapshot != InvalidSnapshot))
		return slot;
	work = AllocSetContextCreate(CurrentMemoryContext, "nodedb look-up", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(work);
	if (!each_look_up(node, rel, note_values))
		readset_relation(rel);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	become(node, covered_scan);
	RegisterExprContextCallback(node->ps_ExprContext, begins_again, PointerGetDatum(node));
	return slot;
}

/* Of a foreign key's query. */
static TupleTableSlot *
covered_seq_scan(PlanState *node)
{
	TupleTableSlot *slot = run_covered(node, false);

	if (TupIsNull(slot) && node->state->es_crosscheck_snapshot == InvalidSnapshot)
		readset_relation(((ScanState *) node)->ss_currentRelation);
	return slot;
}

static void
wrap(PlanState *node, ExecProcNodeMtd by)
{
	Relation	rel = ((ScanState *) node)->ss_currentRelation;

	if (node->ExecProcNodeReal == by || rel == NULL || !nodedb_is_distributed(rel) || !readset_wanted(rel))
		return;
	*original_of(node) = node->ExecProcNodeReal;
	node->ExecProcNodeReal = by;
}

static bool
visit(PlanState *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, IndexScanState) || IsA(node, IndexOnlyScanState) || IsA(node, BitmapHeapScanState))
		wrap(node, noted_scan);
	else if (IsA(node, SeqScanState) && is_of_foreign_key(node->state))
		wrap(node, covered_seq_scan);
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
