/*
 * apply_recheck.c: the second look at deferrable unique and exclusion constraints, at the end of an entry.
 *
 * Such an index lets a duplicate in and only reports that there may be one. The origin's constraint held at its commit, so among committed rows there
 * is none when the whole entry is in; but the other row may be that of a local transaction that is still open. Its own deferred check was not queued,
 * for nothing was in its way when it inserted, and its base will lie at or above this entry: neither check nor certifier would ever see the two
 * together. So the value is a key, and here is the lock that goes with it: the applier waits for that row, like heap does for a row that it changes
 * (DESIGN.md, section 2; the guard makes the wait end).
 *
 * Invariants:
 * 1. Nothing is looked at before the end of the entry: on the way it may swap values.
 * 2. It is looked at before the entry's transaction commits, and so before any base that covers the entry is sampled.
 * 3. A table that a utility command of the same entry rewrote has other tids and an index built anew, under a lock that no open transaction outlived.
 */
#include "apply_internal.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

void apply_recheck_add(ApplyRechecks *rechecks, Relation rel, ItemPointer tid, List *indexes)
{
	ListCell   *cell;

	foreach(cell, indexes)
	{
		if (rechecks->n == rechecks->cap)
		{
			rechecks->cap = Max(64, rechecks->cap * 2);
			rechecks->items = rechecks->items == NULL ? MemoryContextAllocHuge(rechecks->cx, rechecks->cap * sizeof(ApplyRecheck)) :
				repalloc_huge(rechecks->items, rechecks->cap * sizeof(ApplyRecheck));
		}
		rechecks->items[rechecks->n++] = (ApplyRecheck) {.index = lfirst_oid(cell), .file = rel->rd_node.relNode, .tid = *tid};
	}
}

static void recheck_row(Relation rel, Relation index, IndexInfo *info, EState *estate, TupleTableSlot *slot, const ApplyRecheck *item)
{
	IndexFetchTableData *fetch = table_index_fetch_begin(rel);
	ItemPointerData at = item->tid;
	bool		again = false;
	bool		alive = table_index_fetch_tuple(fetch, &at, SnapshotSelf, slot, &again, NULL);

	/* A later record of the entry may have removed or replaced the row: its new version was noted by itself if there was need. */
	if (alive)
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];
		GetPerTupleExprContext(estate)->ecxt_scantuple = slot;
		FormIndexDatum(info, slot, estate, values, nulls);
		/* The index entry names the root of a HOT chain, an exclusion constraint compares with the row itself. */
		if (info->ii_ExclusionOps == NULL)
		{
			ItemPointerData root = item->tid;

			index_insert(index, values, nulls, &root, rel, UNIQUE_CHECK_EXISTING, false, info);
		}
		else
			check_exclusion_constraint(rel, index, info, &at, values, nulls, estate, false);
	}
	table_index_fetch_end(fetch);
	ExecClearTuple(slot);
	ResetPerTupleExprContext(estate);
}

/* The run of items from `from` on that are of one index; returns its end. */
static int64 recheck_run(ApplyRechecks *rechecks, int64 from)
{
	Oid			oid = rechecks->items[from].index;
	Oid			relid = IndexGetRelation(oid, true);
	int64		end = from;
	Relation	rel;
	Relation	index;
	IndexInfo  *info;
	EState	   *estate;
	TupleTableSlot *slot;
	ApplyAs		as;

	while (end < rechecks->n && rechecks->items[end].index == oid)
		end++;
	if (!OidIsValid(relid))
		return end;				/* dropped by the entry itself */
	rel = table_open(relid, RowExclusiveLock);
	index = index_open(oid, RowExclusiveLock);
	as = apply_as_owner(rel);
	info = BuildIndexInfo(index);
	estate = CreateExecutorState();
	slot = table_slot_create(rel, NULL);
	for (int64 i = from; i < end; i++)
		if (rechecks->items[i].file == rel->rd_node.relNode)
			recheck_row(rel, index, info, estate, slot, &rechecks->items[i]);
	apply_as_end(&as);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	pfree(info);
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return end;
}

void apply_recheck(ApplyRechecks *rechecks)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "nodedb apply recheck", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(work);

	for (int64 i = 0; i < rechecks->n;)
	{
		i = recheck_run(rechecks, i);
		MemoryContextReset(work);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}
