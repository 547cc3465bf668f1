/*
 * shards_rows.c: the rows of a table that becomes partitions, or one table again, move from file to file on this node.
 *
 * Every node has the same rows at this place of the log, so none of them travel: each node moves its own. Which partition a row belongs to follows from its value alone:
 * PostgreSQL's hash of a type is the same on all nodes of one version, architecture and ICU; a type whose hash is not (enums: it is that of an oid) is refused
 * before (shards.c).
 *
 * pg_stat_progress_cluster shows how far it is, as VACUUM FULL of the table, on each node.
 *
 * Invariants:
 * 1. A row keeps its values. Columns that were dropped, and values for rows from before ADD COLUMN, are left behind: every row is formed anew.
 * 2. Nothing is captured, no trigger fires and no constraint is checked: the rows have been in the table before. Indexes are built behind them.
 */
#include "shards.h"

#include "access/attmap.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Where rows go. */
typedef struct Target
{
	Relation	rel;
	AttrMap    *columns;		/* of the target, in the row at hand */
	BulkInsertState bulk;
	int64		rows;
} Target;

typedef struct Move
{
	CommandId	command;
	MemoryContext row_cx;
	int64		rows;
	int64		blocks;			/* of the sources before this one */
} Move;

static void
target_open(Target *t, Oid relid, TupleDesc from)
{
	t->rel = table_open(relid, AccessExclusiveLock);
	t->columns = build_attrmap_by_name(from, RelationGetDescr(t->rel));
	t->bulk = GetBulkInsertState();
	t->rows = 0;
}

static void
target_close(Target *t)
{
	FreeBulkInsertState(t->bulk);
	free_attrmap(t->columns);
	table_close(t->rel, NoLock);
}

static void
put(Target *t, Move *m, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(t->rel);
	Datum	   *values;
	bool	   *nulls;

	values = palloc(desc->natts * sizeof(Datum));
	nulls = palloc(desc->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
	{
		AttrNumber	at = t->columns->attnums[i];

		nulls[i] = at == 0 || slot->tts_isnull[at - 1];
		values[i] = nulls[i] ? (Datum) 0 : slot->tts_values[at - 1];
	}
	heap_insert(t->rel, heap_form_tuple(desc, values, nulls), m->command, TABLE_INSERT_SKIP_FSM, t->bulk);
	t->rows++;
}

/* ---- one source, some targets ---- */

typedef int (*Choose) (void *context, TupleTableSlot *slot);

/* desc: as the rows of `from` are to be understood. */
static void
move_rows(Move *m, Relation from, TupleDesc desc, Target *targets, Choose choose, void *context)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsBufferHeapTuple);
	TableScanDesc scan = table_beginscan_strat(from, snapshot, 0, NULL, true, false);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(m->row_cx);

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		put(&targets[choose == NULL ? 0 : choose(context, slot)], m, slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(m->row_cx);
		m->rows++;
		if (m->rows % 1000 == 0)
		{
			pgstat_progress_update_param(PROGRESS_CLUSTER_HEAP_TUPLES_WRITTEN, m->rows);
			pgstat_progress_update_param(PROGRESS_CLUSTER_HEAP_BLKS_SCANNED, m->blocks + ((HeapScanDesc) scan)->rs_cblock + 1);
		}
	}
	m->blocks += ((HeapScanDesc) scan)->rs_nblocks;
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

static void
begin(Move *m, Oid table, int64 blocks)
{
	m->command = GetCurrentCommandId(true);
	m->row_cx = AllocSetContextCreate(CurrentMemoryContext, "nodedb row of a shard", ALLOCSET_DEFAULT_SIZES);
	m->rows = m->blocks = 0;
	pgstat_progress_start_command(PROGRESS_COMMAND_CLUSTER, table);
	pgstat_progress_update_param(PROGRESS_CLUSTER_COMMAND, PROGRESS_CLUSTER_COMMAND_VACUUM_FULL);
	pgstat_progress_update_param(PROGRESS_CLUSTER_PHASE, PROGRESS_CLUSTER_PHASE_SEQ_SCAN_HEAP);
	pgstat_progress_update_param(PROGRESS_CLUSTER_TOTAL_HEAP_BLKS, blocks);
}

void
ddl_shards_build_indexes(Oid relid)
{
	ReindexParams params = {0};

	CommandCounterIncrement();
	(void) reindex_relation(relid, 0, &params);
	CommandCounterIncrement();
}

static void
end(Move *m)
{
	pgstat_progress_end_command();
	MemoryContextDelete(m->row_cx);
}

/* ---- a table becomes shards ---- */

typedef struct ByHash
{
	PartitionKey key;
	int			n;
} ByHash;

static int
remainder_of(void *context, TupleTableSlot *slot)
{
	ByHash	   *h = context;
	AttrNumber	at = h->key->partattrs[0] - 1;

	return (int) (compute_partition_hash_value(1, h->key->partsupfunc, h->key->partcollation, &slot->tts_values[at], &slot->tts_isnull[at]) % (uint64) h->n);
}

void
ddl_shards_spread(Oid table, Oid from, const Oid *shards, int n_shards)
{
	Relation	rel = table_open(table, NoLock);
	Relation	source = table_open(from, NoLock);
	Target	   *targets = palloc(n_shards * sizeof(Target));
	ByHash		hash = {RelationGetPartitionKey(rel), n_shards};
	Move		m;

	begin(&m, table, RelationGetNumberOfBlocks(source));
	for (int i = 0; i < n_shards; i++)
		target_open(&targets[i], shards[i], RelationGetDescr(rel));
	/* By the columns of the table, not of its copy: rows from before an ADD COLUMN have the values that the table's catalog has for them. */
	move_rows(&m, source, RelationGetDescr(rel), targets, remainder_of, &hash);
	for (int i = 0; i < n_shards; i++)
		target_close(&targets[i]);
	table_close(source, NoLock);
	table_close(rel, NoLock);
	pgstat_progress_update_param(PROGRESS_CLUSTER_PHASE, PROGRESS_CLUSTER_PHASE_REBUILD_INDEX);
	for (int i = 0; i < n_shards; i++)
	{
		if (targets[i].rows > 0)
			ddl_shards_build_indexes(shards[i]);
		pgstat_progress_update_param(PROGRESS_CLUSTER_INDEX_REBUILD_COUNT, i + 1);
	}
	end(&m);
}

/* ---- and back ---- */

void
ddl_shards_gather(Oid table, const Oid *shards, int n_shards, Oid to)
{
	int64		blocks = 0;
	Move		m;

	for (int i = 0; i < n_shards; i++)
	{
		Relation	source = table_open(shards[i], NoLock);

		blocks += RelationGetNumberOfBlocks(source);
		table_close(source, NoLock);
	}
	begin(&m, table, blocks);
	for (int i = 0; i < n_shards; i++)
	{
		Relation	source = table_open(shards[i], NoLock);
		Target		target;

		target_open(&target, to, RelationGetDescr(source));
		move_rows(&m, source, RelationGetDescr(source), &target, NULL, NULL);
		target_close(&target);
		table_close(source, NoLock);
	}
	CommandCounterIncrement();
	end(&m);
}
