/*
 * shards_copy.c: the rows of a table, as one snapshot after another sees them, in tables of this node alone that have the shape of its future shards.
 *
 * The first pass copies what a snapshot sees. Each later one makes of the last snapshot's rows those of a new one. Nothing is captured in the writers' way: the pages of the table say what
 * has changed. Let P(k) be the end of WAL before snapshot S(k) was taken.
 *   - As long as S(k) is registered, a row version that it sees is neither pruned nor vacuumed, and its line pointer is not given to another: a place (block, offset) means the same version in
 *     pass k and in pass k + 1. The map says where each such version's copy is. So on a page: in the map and not visible to S(k+1): the copy is deleted; visible and not in the
 *     map: copied; whatever else happened to it (frozen, locked, marked by SELECT FOR UPDATE, a multixact, a HOT chain that was pruned, updated by a transaction that is open or was
 *     rolled back) makes no difference.
 *   - A page may be left out when that cannot have changed: its LSN is not above P(k), and in pass k it had no version that was inserted or deleted by a transaction that S(k) saw as
 *     running ("undecided"). For then no record has touched it since P(k), so its versions are those that S(k) was asked about, each with a fate that was decided before S(k). A change in WAL
 *     up to P(k) was made under the page's lock, and pass k read the page after that. Hint bits have no record, and change no answer. The table's file has not been made by an
 *     open transaction (we hold a lock on it), so every change of it is in WAL, with wal_level minimal, too.
 *   - A page that has been looked at and that the visibility map calls all-visible need not even be read. VACUUM calls it so when no version on it was deleted and all were inserted before the
 *     oldest snapshot, which is not younger than S(k); whoever changes the page takes that back. So both snapshots see all that is there, and whatever S(k) saw is there.
 *   - Big values are read from the table's TOAST table, where chunks of a version that S(k) sees stay as the version does.
 *
 * Memory: 8 bytes for each page of the table. The map itself is in a temporary file, a run for each page.
 *
 * Each pass, the last one under the lock as well, reads the pages that are not all-visible: of a table that VACUUM keeps up with those that have changed.
 *
 * Invariants:
 * 1. Between passes the copy holds exactly what the last snapshot sees, and that snapshot is registered.
 * 2. Indexes of the copy are not unique, whatever those of the table are: a new version may come before the old one goes. Pages of a unique btree are the same (unique.c).
 * 3. A row keeps its values; it is formed anew (shards_rows.c).
 */
#include "shards.h"
#include "shards_online.h"

#include "access/attmap.h"
#include "access/heapam.h"
#include "access/hash.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/heap.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/toasting.h"
#include "commands/cluster.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/plancat.h"
#include "parser/parse_utilcmd.h"
#include "partitioning/partbounds.h"
#include "storage/buffile.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define GIVE_WAY_MS 500
#define SEGMENT ((uint64) 0x40000000)	/* what BufFile counts files by */
#define UNDECIDED ((uint64) 1 << 63)
#define NO_RUN (UNDECIDED - 1)	/* no version of the page has a copy */

/* Where the copy of a version is. */
typedef struct Copied
{
	OffsetNumber from;
	uint16		shard;
	OffsetNumber to;
	BlockNumber block;
} Copied;

/* A file of rows to copy. */
typedef struct Source
{
	Relation	rel;
	RelFileNode file;
	AttrMap    *columns;		/* of the hidden tables, in its rows */
	AttrNumber	hashed;
	BlockNumber n_pages;		/* that have been looked at */
	BlockNumber cap;
	uint64	   *pages;			/* where the page's run stands in the map, and whether it was undecided */
	Buffer		visible;		/* a page of the visibility map */
} Source;

typedef struct Hidden
{
	Relation	rel;
	BulkInsertState bulk;
	ResultRelInfo *indexes;		/* NULL: none yet */
} Hidden;

struct ShardsCopy
{
	Oid			relid;
	Oid			owner;
	FmgrInfo	hash;			/* by which rows are spread */
	Oid			collation;
	int			n_sources;
	Source	   *sources;
	int			n_hidden;
	Hidden	   *hidden;
	TupleDesc	desc;			/* of these */
	BufFile    *map;
	uint64		map_end;
	Snapshot	snapshot;		/* of the last pass, registered; NULL: none yet */
	XLogRecPtr	lsn;			/* of the last pass */
	int			passes;
	EState	   *estate;
	TupleTableSlot *slot;
	MemoryContext row_cx;
	BufferAccessStrategy strategy;
	bool		locked;
	TimestampTz looked;			/* whether somebody waits for our lock */
	PGAlignedBlock page;
};

/* ---- the map ---- */

static void
map_seek(ShardsCopy *c, uint64 at)
{
	if (BufFileSeek(c->map, (int) (at / SEGMENT), (off_t) (at % SEGMENT), SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not seek in a temporary file")));
}

static void
map_read(ShardsCopy *c, void *to, size_t size)
{
	if (BufFileRead(c->map, to, size) != size)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read from a temporary file")));
}

static int
map_get(ShardsCopy *c, uint64 run, Copied *copied)
{
	uint16		n;

	if ((run & ~UNDECIDED) == NO_RUN)
		return 0;
	map_seek(c, run & ~UNDECIDED);
	map_read(c, &n, sizeof(n));
	map_read(c, copied, n * sizeof(Copied));
	return n;
}

static uint64
map_put(ShardsCopy *c, const Copied *copied, int n)
{
	uint16		count = (uint16) n;
	uint64		at = c->map_end;

	if (n == 0)
		return NO_RUN;
	map_seek(c, at);
	BufFileWrite(c->map, &count, sizeof(count));
	BufFileWrite(c->map, (void *) copied, n * sizeof(Copied));
	c->map_end += sizeof(count) + n * sizeof(Copied);
	return at;
}

/* ---- hidden tables ---- */

char *
ddl_shards_hidden_name(int shard, Oid index)
{
	return OidIsValid(index) ? psprintf(SHARDS_PREFIX "%d_%u", shard, index) : psprintf(SHARDS_PREFIX "%d", shard);
}

/* As PostgreSQL makes a partition's columns: without those that were dropped. One table keeps its own. */
static TupleDesc
columns_of_shard(TupleDesc desc)
{
	int			n = 0;
	TupleDesc	result;

	for (int i = 0; i < desc->natts; i++)
		n += !TupleDescAttr(desc, i)->attisdropped;
	result = CreateTemplateTupleDesc(n);
	n = 0;
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			TupleDescCopyEntry(result, ++n, desc, i + 1);
	return result;
}

static void
make_hidden(ShardsCopy *c, int shard, Relation table, Datum options, Datum toast_options)
{
	Hidden	   *h = &c->hidden[shard];
	Oid			relid = heap_create_with_catalog(ddl_shards_hidden_name(shard, InvalidOid), nodedb_schema_oid(), table->rd_rel->reltablespace, InvalidOid, InvalidOid,
												 InvalidOid, c->owner, HEAP_TABLE_AM_OID, c->desc, NIL, RELKIND_RELATION, RELPERSISTENCE_PERMANENT, false, false,
												 ONCOMMIT_NOOP, options, false, true, true, InvalidOid, NULL);

	CommandCounterIncrement();
	NewHeapCreateToastTable(relid, toast_options, AccessExclusiveLock, InvalidOid);
	CommandCounterIncrement();
	h->rel = table_open(relid, AccessExclusiveLock);
	h->bulk = GetBulkInsertState();
	h->indexes = NULL;
}

/* For a crash: of the tables, or of their indexes. */
static void
list_files(const ShardsCopy *c, bool indexes)
{
	List	   *relids = NIL;

	for (int i = 0; i < c->n_hidden; i++)
		relids = indexes ? list_concat(relids, RelationGetIndexList(c->hidden[i].rel)) : lappend_oid(relids, RelationGetRelid(c->hidden[i].rel));
	ddl_shards_files_add(relids);
}

static void
open_source(ShardsCopy *c, Source *s, Oid relid, const char *column)
{
	s->rel = table_open(relid, NoLock);	/* it is locked already, and once: ddl_shards_copy_unlock() */
	if (s->rel->rd_rel->relkind != RELKIND_RELATION || !nodedb_is_distributed(s->rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a distributed table", RelationGetRelationName(s->rel))));
	s->file = s->rel->rd_node;
	s->columns = build_attrmap_by_name(RelationGetDescr(s->rel), c->desc);
	s->hashed = column[0] == '\0' ? 0 : get_attnum(relid, column);
	s->cap = Max(RelationGetNumberOfBlocks(s->rel), 64);
	s->pages = MemoryContextAllocHuge(CurrentMemoryContext, s->cap * sizeof(uint64));
}

/* As PostgreSQL hashes the column of a partitioned table (ddl_shards_to_partitioned()). */
static void
find_hash(ShardsCopy *c, Relation table, const char *column)
{
	AttrNumber	attnum = get_attnum(c->relid, column);
	Oid			opclass;
	Oid			family;
	Oid			type;
	Oid			function;

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", column, RelationGetRelationName(table))));
	opclass = GetDefaultOpClass(TupleDescAttr(RelationGetDescr(table), attnum - 1)->atttypid, HASH_AM_OID);
	if (!OidIsValid(opclass))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the type of column \"%s\" has no hash", column)));
	family = get_opclass_family(opclass);
	type = get_opclass_input_type(opclass);
	function = get_opfamily_proc(family, type, type, HASHEXTENDED_PROC);
	fmgr_info(function, &c->hash);
	c->collation = TupleDescAttr(RelationGetDescr(table), attnum - 1)->attcollation;
}

ShardsCopy *
ddl_shards_copy_begin(const ShardsJob *job)
{
	ShardsCopy *c = palloc0(sizeof(ShardsCopy));
	Relation	table;
	List	   *sources;
	Relation	first;
	Oid			toast;
	int			i = 0;
	ListCell   *lc;

	/* Nothing would be kept for our snapshots then. */
	if (OldSnapshotThresholdActive())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no table can be copied beside its writers with old_snapshot_threshold"),
				 errhint("In a transaction block it is copied under its lock.")));
	c->row_cx = AllocSetContextCreate(CurrentMemoryContext, "nodedb row of a shard", ALLOCSET_DEFAULT_SIZES);
	c->strategy = GetAccessStrategy(BAS_BULKREAD);
	table = table_openrv(makeRangeVar(pstrdup(job->schema), pstrdup(job->table), -1), AccessShareLock);
	c->locked = true;
	c->relid = RelationGetRelid(table);
	c->owner = table->rd_rel->relowner;
	c->desc = job->column[0] == '\0' ? CreateTupleDescCopy(RelationGetDescr(table)) : columns_of_shard(RelationGetDescr(table));
	if (job->column[0] != '\0')
		find_hash(c, table, job->column);
	sources = find_inheritance_children(c->relid, AccessShareLock);
	if (table->rd_rel->relkind == RELKIND_RELATION)
		sources = list_make1_oid(c->relid);
	if (sources == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("table \"%s\" has no partitions", job->table)));
	c->n_sources = list_length(sources);
	c->sources = palloc0(c->n_sources * sizeof(Source));
	foreach(lc, sources)
		open_source(c, &c->sources[i++], lfirst_oid(lc), job->column);

	first = c->sources[0].rel;
	toast = first->rd_rel->reltoastrelid;
	c->n_hidden = job->n_shards;
	c->hidden = palloc0(c->n_hidden * sizeof(Hidden));
	for (i = 0; i < c->n_hidden; i++)
	{
		CHECK_FOR_INTERRUPTS();
		make_hidden(c, i, table, ddl_shards_options(RelationGetRelid(first)), OidIsValid(toast) ? ddl_shards_options(toast) : (Datum) 0);
	}
	table_close(table, NoLock);
	list_files(c, false);
	c->map = BufFileCreateTemp(false);
	c->estate = CreateExecutorState();
	c->slot = MakeSingleTupleTableSlot(RelationGetDescr(c->hidden[0].rel), &TTSOpsHeapTuple);
	return c;
}

Oid
ddl_shards_copy_relid(const ShardsCopy *c)
{
	return c->relid;
}

double
ddl_shards_copy_estimate(const ShardsCopy *c)
{
	double		rows = 0;

	for (int i = 0; i < c->n_sources; i++)
	{
		BlockNumber pages;
		double		tuples;
		double		visible;

		estimate_rel_size(c->sources[i].rel, NULL, &pages, &tuples, &visible);
		rows += tuples;
	}
	return rows;
}

/* ---- rows ---- */

/* The tuple is a version of the source's page; its copy's place. */
static Copied
put(ShardsCopy *c, Source *s, HeapTuple from, CommandId command)
{
	TupleDesc	desc = RelationGetDescr(s->rel);
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	Datum	   *to = palloc(c->desc->natts * sizeof(Datum));
	bool	   *to_null = palloc(c->desc->natts * sizeof(bool));
	uint64		shard = 0;
	HeapTuple	tuple;
	Hidden	   *h;

	heap_deform_tuple(from, desc, values, nulls);
	if (s->hashed != 0)
		shard = compute_partition_hash_value(1, &c->hash, &c->collation, &values[s->hashed - 1], &nulls[s->hashed - 1]) % (uint64) c->n_hidden;
	for (int i = 0; i < c->desc->natts; i++)
	{
		AttrNumber	at = s->columns->attnums[i];

		to_null[i] = at == 0 || nulls[at - 1];
		to[i] = to_null[i] ? (Datum) 0 : values[at - 1];
	}
	h = &c->hidden[shard];
	tuple = heap_form_tuple(RelationGetDescr(h->rel), to, to_null);
	heap_insert(h->rel, tuple, command, TABLE_INSERT_SKIP_FSM, h->bulk);
	if (h->indexes != NULL)
	{
		ExecStoreHeapTuple(tuple, c->slot, false);
		c->slot->tts_tid = tuple->t_self;
		c->slot->tts_tableOid = RelationGetRelid(h->rel);
		(void) ExecInsertIndexTuples(h->indexes, c->slot, c->estate, false, false, NULL, NIL);
		ExecClearTuple(c->slot);
		ResetPerTupleExprContext(c->estate);
	}
	return (Copied) {.shard = (uint16) shard, .block = ItemPointerGetBlockNumber(&tuple->t_self), .to = ItemPointerGetOffsetNumber(&tuple->t_self)};
}

static void
take_out(ShardsCopy *c, const Copied *copied)
{
	ItemPointerData at;

	ItemPointerSet(&at, copied->block, copied->to);
	simple_heap_delete(c->hidden[copied->shard].rel, &at);
}

/* Was the transaction that inserted or deleted this version running when the snapshot was taken? */
static bool
is_undecided(HeapTupleHeader t, Snapshot snapshot)
{
	TransactionId xid;

	if (t->t_infomask & HEAP_MOVED)
		return true;			/* of a server before 9.0: no matter */
	if (!HeapTupleHeaderXminFrozen(t) && !HeapTupleHeaderXminInvalid(t))
	{
		xid = HeapTupleHeaderGetRawXmin(t);
		if (TransactionIdIsNormal(xid) && XidInMVCCSnapshot(xid, snapshot))
			return true;
	}
	if ((t->t_infomask & HEAP_XMAX_INVALID) || HEAP_XMAX_IS_LOCKED_ONLY(t->t_infomask))
		return false;
	xid = t->t_infomask & HEAP_XMAX_IS_MULTI ? HeapTupleGetUpdateXid(t) : HeapTupleHeaderGetRawXmax(t);
	return TransactionIdIsNormal(xid) && XidInMVCCSnapshot(xid, snapshot);
}

/* ---- one page ---- */

typedef struct Look
{
	bool		undecided;
	bool		visible[MaxHeapTuplesPerPage + 1];
	OffsetNumber max;
} Look;

/* False: nothing can have changed. Else c->page is the page as it is at one moment. */
static bool
look_at(ShardsCopy *c, Source *s, BlockNumber block, Snapshot snapshot, Look *look)
{
	Buffer		buffer;
	Page		page;

	if (block < s->n_pages && VM_ALL_VISIBLE(s->rel, block, &s->visible))
		return false;
	buffer = ReadBufferExtended(s->rel, MAIN_FORKNUM, block, RBM_NORMAL, c->strategy);
	page = BufferGetPage(buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if (block < s->n_pages && !(s->pages[block] & UNDECIDED) && BufferGetLSNAtomic(buffer) <= c->lsn)
	{
		UnlockReleaseBuffer(buffer);
		return false;
	}
	look->undecided = false;
	look->max = PageIsNew(page) ? 0 : PageGetMaxOffsetNumber(page);
	for (OffsetNumber at = FirstOffsetNumber; at <= look->max; at++)
	{
		ItemId		id = PageGetItemId(page, at);
		HeapTupleData tuple;

		look->visible[at] = false;
		if (!ItemIdIsNormal(id))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, id);
		tuple.t_len = ItemIdGetLength(id);
		tuple.t_tableOid = RelationGetRelid(s->rel);
		ItemPointerSet(&tuple.t_self, block, at);
		look->visible[at] = HeapTupleSatisfiesVisibility(&tuple, snapshot, buffer);
		look->undecided |= is_undecided(tuple.t_data, snapshot);
	}
	memcpy(c->page.data, page, BLCKSZ);
	UnlockReleaseBuffer(buffer);
	return true;
}

static void
remember(ShardsCopy *c, Source *s, BlockNumber block, uint64 run)
{
	while (block >= s->cap)
	{
		s->cap *= 2;
		s->pages = repalloc_huge(s->pages, s->cap * sizeof(uint64));
	}
	s->pages[block] = run;
	s->n_pages = Max(s->n_pages, block + 1);
}

static int64
do_page(ShardsCopy *c, Source *s, BlockNumber block, Look *look, CommandId command)
{
	bool		known = block < s->n_pages;
	Copied		copied[MaxHeapTuplesPerPage];
	Copied		now[MaxHeapTuplesPerPage];
	bool		has[MaxHeapTuplesPerPage + 1] = {false};
	int			n_copied = known ? map_get(c, s->pages[block], copied) : 0;
	int			n = 0;
	int64		changes = 0;
	MemoryContext caller = MemoryContextSwitchTo(c->row_cx);

	for (int i = 0; i < n_copied; i++)
	{
		if (copied[i].from <= look->max && look->visible[copied[i].from])
		{
			has[copied[i].from] = true;
			now[n++] = copied[i];
			continue;
		}
		take_out(c, &copied[i]);
		changes++;
	}
	for (OffsetNumber at = FirstOffsetNumber; at <= look->max; at++)
	{
		HeapTupleData tuple;
		ItemId		id = PageGetItemId((Page) c->page.data, at);

		if (!look->visible[at] || has[at])
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem((Page) c->page.data, id);
		tuple.t_len = ItemIdGetLength(id);
		tuple.t_tableOid = RelationGetRelid(s->rel);
		ItemPointerSet(&tuple.t_self, block, at);
		now[n] = put(c, s, &tuple, command);
		now[n++].from = at;
		changes++;
		MemoryContextReset(c->row_cx);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(c->row_cx);
	if (!known || changes > 0)
		remember(c, s, block, map_put(c, now, n));
	s->pages[block] = (s->pages[block] & ~UNDECIDED) | (look->undecided ? UNDECIDED : 0);
	return changes;
}

/* Of pages that the table has no more: what was copied is gone. */
static int64
do_missing_page(ShardsCopy *c, Source *s, BlockNumber block)
{
	Look		look = {.undecided = true};

	return do_page(c, s, block, &look, InvalidCommandId);
}

/* ---- passes ---- */

int64
ddl_shards_copy_pass(ShardsCopy *c)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();
	Snapshot	snapshot;
	CommandId	command;
	Look	   *look = palloc(sizeof(Look));
	int64		changes = 0;
	Oid			user;
	int			context;

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	CommandCounterIncrement();
	command = GetCurrentCommandId(true);
	/* For expressions of indexes, as PostgreSQL evaluates them. */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(c->owner, context | SECURITY_RESTRICTED_OPERATION);
	PushActiveSnapshot(snapshot);
	for (int i = 0; i < c->n_sources; i++)
	{
		Source	   *s = &c->sources[i];
		BlockNumber n = RelationGetNumberOfBlocks(s->rel);

		ddl_shards_copy_give_way(c);
		for (BlockNumber block = 0; block < n; block++)
		{
			CHECK_FOR_INTERRUPTS();
			if (look_at(c, s, block, snapshot, look))
				changes += do_page(c, s, block, look, command);
			if (block % 128 != 0)
				continue;
			ddl_shards_copy_give_way(c);
			if (c->passes == 0)
				shards_shared->rows = changes;	/* for people */
		}
		for (BlockNumber block = n; block < s->n_pages; block++)
			changes += do_missing_page(c, s, block);
		if (BufferIsValid(s->visible))
			ReleaseBuffer(s->visible);
		s->visible = InvalidBuffer;
	}
	PopActiveSnapshot();
	SetUserIdAndSecContext(user, context);
	if (c->snapshot != NULL)
		UnregisterSnapshot(c->snapshot);
	c->snapshot = snapshot;
	c->lsn = lsn;
	c->passes++;
	CommandCounterIncrement();
	pfree(look);
	return changes;
}

/* ---- indexes ---- */

static void
make_index(ShardsCopy *c, int shard, Relation index)
{
	Hidden	   *h = &c->hidden[shard];
	Relation	table = table_open(c->relid, NoLock);
	AttrMap    *columns = build_attrmap_by_name(RelationGetDescr(h->rel), RelationGetDescr(table));
	Oid			constraint;
	IndexStmt  *stmt;

	table_close(table, NoLock);
	stmt = generateClonedIndexStmt(NULL, index, columns, &constraint);
	stmt->idxname = ddl_shards_hidden_name(shard, RelationGetRelid(index));
	stmt->unique = stmt->primary = stmt->isconstraint = stmt->nulls_not_distinct = stmt->deferrable = stmt->initdeferred = false;
	stmt->idxcomment = NULL;
	(void) DefineIndex(RelationGetRelid(h->rel), stmt, InvalidOid, InvalidOid, InvalidOid, false, false, false, false, true);
	CommandCounterIncrement();
	free_attrmap(columns);
}

void
ddl_shards_copy_index(ShardsCopy *c)
{
	Relation	table = table_open(c->relid, NoLock);
	List	   *indexes = RelationGetIndexList(table);
	ListCell   *lc;

	table_close(table, NoLock);
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		for (int i = 0; i < c->n_hidden; i++)
		{
			CHECK_FOR_INTERRUPTS();
			ddl_shards_copy_give_way(c);
			make_index(c, i, index);
		}
		index_close(index, AccessShareLock);
	}
	PopActiveSnapshot();
	list_files(c, true);
	for (int i = 0; i < c->n_hidden; i++)
	{
		Hidden	   *h = &c->hidden[i];

		h->indexes = makeNode(ResultRelInfo);
		InitResultRelInfo(h->indexes, h->rel, 0, NULL, 0);
		ExecOpenIndices(h->indexes, false);
	}
}

/* ---- the table's lock ---- */

static bool
is_ours(const ShardsCopy *c, Oid relid)
{
	for (int i = 0; i < c->n_sources; i++)
		if (RelationGetRelid(c->sources[i].rel) == relid)
			return true;
	return relid == c->relid;
}

void
ddl_shards_copy_give_way(ShardsCopy *c)
{
	MemoryContext caller;
	LockData   *locks;
	bool		blocks = false;

	if (!c->locked || !TimestampDifferenceExceeds(c->looked, GetCurrentTimestamp(), GIVE_WAY_MS))
		return;
	c->looked = GetCurrentTimestamp();
	caller = MemoryContextSwitchTo(c->row_cx);
	locks = GetLockStatusData();

	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *l = &locks->locks[i];

		blocks |= l->waitLockMode == AccessExclusiveLock && l->locktag.locktag_type == LOCKTAG_RELATION && l->locktag.locktag_field1 == MyDatabaseId &&
			is_ours(c, l->locktag.locktag_field2);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(c->row_cx);
	if (blocks)
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("somebody waits for a lock on a table that is being distributed")));
}

void
ddl_shards_copy_unlock(ShardsCopy *c)
{
	for (int i = 0; i < c->n_sources; i++)
		if (RelationGetRelid(c->sources[i].rel) != c->relid)
			UnlockRelationOid(RelationGetRelid(c->sources[i].rel), AccessShareLock);
	UnlockRelationOid(c->relid, AccessShareLock);
	c->locked = false;
}

void
ddl_shards_copy_check(ShardsCopy *c)
{
	AcceptInvalidationMessages();
	for (int i = 0; i < c->n_sources; i++)
		if (!RelFileNodeEquals(c->sources[i].rel->rd_node, c->sources[i].file))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" has got another file while it was copied", RelationGetRelationName(c->sources[i].rel))));
}

/* The transaction is about to be committed: it holds all locks that are left. */
void
ddl_shards_copy_end(ShardsCopy *c)
{
	ExecDropSingleTupleTableSlot(c->slot);
	for (int i = 0; i < c->n_hidden; i++)
	{
		if (c->hidden[i].indexes != NULL)
			ExecCloseIndices(c->hidden[i].indexes);
		FreeBulkInsertState(c->hidden[i].bulk);
		table_close(c->hidden[i].rel, NoLock);
	}
	FreeExecutorState(c->estate);
	for (int i = 0; i < c->n_sources; i++)
		table_close(c->sources[i].rel, NoLock);
	BufFileClose(c->map);
	UnregisterSnapshot(c->snapshot);
}
