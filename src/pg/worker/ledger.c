/*
 * ledger.c: the ledger of applied entries (ledger.h).
 *
 * Insert-only (about 2 us a commit, any number of groups); an update in place would grow without bound under an old snapshot.
 * Invariant: the highest row of a group is never deleted, and a deletion is a later transaction than the insertion of a higher row: whatever prefix of
 * the commits a crash leaves, the highest row left is right.
 */
#include "ledger.h"

#include "../shmem.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static Relation
open_ledger(LOCKMODE mode)
{
	Oid			relid = get_relname_relid("ledger", nodedb_schema_oid());

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table nodedb.ledger does not exist"),
				 errhint("Is the extension nodedb installed in this database?")));
	return table_open(relid, mode);
}

void
ledger_insert(NdGroupId group, uint64 index)
{
	Relation	rel = open_ledger(RowExclusiveLock);
	Datum		values[2] = {Int32GetDatum((int32) group), Int64GetDatum((int64) index)};
	bool		nulls[2] = {false, false};
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);

	simple_heap_insert(rel, tuple);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
}

void
ledger_insert_tickets(uint64 first, uint32 n)
{
	uint32		n_groups = pg_atomic_read_u32(&nodedb_shared->n_groups);
	uint64	   *last = palloc0(sizeof(uint64) * n_groups);

	for (uint64 ticket = first; ticket < first + n; ticket++)
	{
		const NodedbTicket *t = &nodedb_tickets[ticket % TICKETS];

		for (uint32 i = 0; i < t->n_parts; i++)
			last[ticket_part(t, i)->group] = ticket_part(t, i)->index;
	}
	for (NdGroupId g = 1; g < n_groups; g++)
		if (last[g] != 0)
			ledger_insert(g, last[g]);
	pfree(last);
}

void
ledger_load(void)
{
	Relation	rel = open_ledger(AccessShareLock);
	TableScanDesc scan;
	HeapTuple	tuple;

	PushActiveSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		uint32		group = (uint32) DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
		uint64		index = (uint64) DatumGetInt64(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));

		if (group < nodedb_shared->max_groups && index > nodedb_watermark(group))
			pg_atomic_write_u64(&nodedb_groups[group].watermark, index);
	}
	table_endscan(scan);
	PopActiveSnapshot();
	table_close(rel, AccessShareLock);
}

uint64
ledger_prune(void)
{
	Relation	rel = open_ledger(RowExclusiveLock);
	uint64	   *highest = palloc0(sizeof(uint64) * nodedb_shared->max_groups);
	uint64		pruned = 0;

	PushActiveSnapshot(GetLatestSnapshot());
	for (int pass = 0; pass < 2; pass++)
	{
		TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
		HeapTuple	tuple;

		while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		{
			bool		isnull;
			uint32		group = (uint32) DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
			uint64		index = (uint64) DatumGetInt64(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));

			if (group >= nodedb_shared->max_groups)
				continue;
			if (pass == 0)
				highest[group] = Max(highest[group], index);
			else if (index < highest[group])
			{
				simple_heap_delete(rel, &tuple->t_self);
				pruned++;
			}
		}
		table_endscan(scan);
	}
	PopActiveSnapshot();
	table_close(rel, RowExclusiveLock);
	return pruned;
}
