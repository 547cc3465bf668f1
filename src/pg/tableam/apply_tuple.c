/*
 * apply_tuple.c: puts the rows of a body into a table: converts values, finds old versions, changes heap and indexes.
 *
 * Invariants:
 * 1. Heap's own routine and the index access methods are called directly: no trigger, CHECK, domain, rule or policy is looked at. The origin did.
 * 2. A unique index is checked all the same (the index does it itself): a duplicate here means that the replicas differ. What a deferrable one
 *    puts off is looked at when the entry ends (apply_recheck.c).
 * 3. A row still in doubt, of a local transaction that must lose, is waited for. DESIGN.md, section 5, rule 8, makes the wait end.
 * 4. Exactly one row is found, by an index or byte for byte; none is damage.
 */
#include "apply_internal.h"

#include "sequence/sequence.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "ddl/ddl.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Not the table's routine, which is ours: nothing is captured here, whatever the table's access method is. */
static const TableAmRoutine *heap;

void apply_damaged(const ApplyTable *table, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("could not apply replicated changes to table \"%s.%s\": %s", table->schema, table->name, what)));
}

/* ---- open and close ---- */

/* Has it an entry for every row, under the values of plain columns? Its predicate is not evaluated, for it may need the origin's search path. */
static bool narrows(Relation index)
{
	if (!index->rd_index->indisunique || !index->rd_index->indisvalid || !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		if (index->rd_index->indkey.values[i] <= 0)
			return false;
	return true;
}

/* The index that rows are found by; else one that leaves few rows to compare with an image, or NULL. */
static Relation search_index(ApplyTable *table)
{
	/* The list of indexes is what finds the primary key. */
	List	   *indexes = RelationGetIndexList(table->rel);
	Oid			identity = relation_identity_index(table->rel);
	Relation	found = NULL;
	ListCell   *lc;

	if (OidIsValid(identity))
		found = table->identity = index_open(identity, RowExclusiveLock);
	else
		foreach(lc, indexes)
		{
			found = index_open(lfirst_oid(lc), RowExclusiveLock);
			if (narrows(found))
				break;
			index_close(found, NoLock);
			found = NULL;
		}
	list_free(indexes);
	return found;
}

static void open_search(ApplyTable *table)
{
	Relation	index = table->index = search_index(table);

	if (index == NULL)
		return;
	table->n_keys = IndexRelationGetNumberOfKeyAttributes(index);
	for (int i = 0; i < table->n_keys; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		Oid			type = index->rd_opcintype[i];
		Oid			equality = get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);

		if (!OidIsValid(equality))
			elog(ERROR, "missing equality operator of index \"%s\"", RelationGetRelationName(index));
		ScanKeyInit(&table->keys[i], i + 1, BTEqualStrategyNumber, get_opcode(equality), (Datum) 0);
		table->keys[i].sk_collation = index->rd_indcollation[i];
		for (int c = 0; c < table->n_columns; c++)
			if (table->columns[c].column.attnum == attnum)
				table->key_columns[i] = c;
	}
	table->scan = index_beginscan(table->rel, index, &table->dirty, table->n_keys, 0);
}

static void open_columns(ApplyTable *table)
{
	TupleDesc	desc = RelationGetDescr(table->rel);
	uint64		n = 0;

	table->columns = palloc0(Max(table->n_columns, 1) * sizeof(ApplyColumn));
	table->settings = TEXT_PLAIN;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (n < table->n_columns)
		{
			table->columns[n].column.attnum = att->attnum;
			value_type_init(&table->columns[n].column.type, att->atttypid, table->cx);
			table->settings = Max(table->settings, table->columns[n].column.type.settings);
		}
		n++;
	}
	if (n != table->n_columns)
		apply_damaged(table, psprintf("it has " UINT64_FORMAT " columns, " UINT64_FORMAT " are expected", n, table->n_columns));
}

/* PostgreSQL looks into functions of expressions when it reads them, and inlines what it finds there. */
static void open_indexes(ApplyTable *table)
{
	ApplyAs		as = apply_as_owner(table->rel);

	ExecOpenIndices(table->result_rel, false);
	apply_as_end(&as);
	for (int i = 0; i < table->result_rel->ri_NumIndices; i++)
		table->evaluates |= table->result_rel->ri_IndexRelationInfo[i]->ii_Expressions != NIL ||
			table->result_rel->ri_IndexRelationInfo[i]->ii_Predicate != NIL;
	table->writable = true;
}

static void open_for_changes(ApplyTable *table)
{
	MemoryContext old = MemoryContextSwitchTo(table->cx);

	LockRelationOid(RelationGetRelid(table->rel), RowExclusiveLock);
	open_indexes(table);
	MemoryContextSwitchTo(old);
}

void apply_table_open(ApplyTable *table, bool writable)
{
	Oid			schema;
	Oid			relid;
	Relation	rel;
	MemoryContext old;

	if (table->rel != NULL)
	{
		open_for_changes(table);
		return;
	}
	schema = get_namespace_oid(table->schema, true);
	relid = OidIsValid(schema) ? get_relname_relid(table->name, schema) : InvalidOid;
	rel = OidIsValid(relid) ? try_relation_open(relid, writable ? RowExclusiveLock : RowShareLock) : NULL;
	if (rel == NULL)
		apply_damaged(table, "it does not exist");
	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_MATVIEW)
		apply_damaged(table, "it is no ordinary table");
	table->cx = AllocSetContextCreate(CurrentMemoryContext, "nodedb apply table", ALLOCSET_SMALL_SIZES);
	MemoryContextSetParent(table->cx, GetMemoryChunkContext(table));
	old = MemoryContextSwitchTo(table->cx);
	heap = GetHeapamTableAmRoutine();
	table->rel = rel;
	table->evaluates = false;
	table->near = 0;			/* a command of the entry may have made it shorter; while it is open, nobody can */
	InitDirtySnapshot(table->dirty);
	open_columns(table);
	table->estate = CreateExecutorState();
	table->result_rel = makeNode(ResultRelInfo);
	InitResultRelInfo(table->result_rel, rel, 0, NULL, 0);
	if (writable)
		open_indexes(table);
	table->found = table_slot_create(rel, &table->estate->es_tupleTable);
	table->changed = table_slot_create(rel, &table->estate->es_tupleTable);
	open_search(table);
	table->batch_cx = AllocSetContextCreate(table->cx, "nodedb apply batch", ALLOCSET_DEFAULT_SIZES);
	table->batch = palloc(APPLY_BATCH_ROWS * sizeof(TupleTableSlot *));
	table->n_batch = 0;
	table->n_batch_slots = 0;
	table->batch_bytes = 0;
	MemoryContextSwitchTo(old);
}

void apply_table_close(ApplyTable *table)
{
	if (table->scan != NULL)
		index_endscan(table->scan);
	if (table->index != NULL)
		index_close(table->index, NoLock);
	ExecResetTupleTable(table->estate->es_tupleTable, false);
	if (table->writable)
		ExecCloseIndices(table->result_rel);
	FreeExecutorState(table->estate);
	table_close(table->rel, NoLock);
	MemoryContextDelete(table->cx);
	table->rel = NULL;
	table->index = NULL;
	table->identity = NULL;
	table->scan = NULL;
}

/* ---- values ---- */

static Datum text_datum(ApplyTable *table, ApplyColumn *column, const WireValue *value)
{
	char	   *text = pnstrdup(value->data, value->len);

	if (column->reader == NULL)
		column->reader = value_reader(column->column.type.base, table->cx);
	return value_read(column->reader, text);
}

static Datum raw_datum(ApplyTable *table, ApplyColumn *column, const WireValue *value)
{
	ValueType  *type = &column->column.type;
	char	   *copy;

	if (type->len > 0 && value->len != type->len)
		apply_damaged(table, psprintf("a value of column %d has a wrong length", column->column.attnum));
	if (type->byval)
	{
		union
		{
			char		bytes[sizeof(Datum)];
			Datum		align;
		}			aligned;

		memcpy(aligned.bytes, value->data, Min(value->len, sizeof(aligned)));
		return fetch_att(aligned.bytes, true, type->len);
	}
	if (type->len > 0)
	{
		copy = palloc(type->len);
		memcpy(copy, value->data, type->len);
	}
	else
	{
		copy = palloc(value->len + VARHDRSZ);
		SET_VARSIZE(copy, value->len + VARHDRSZ);
		memcpy(VARDATA(copy), value->data, value->len);
	}
	return PointerGetDatum(copy);
}

static Datum wire_datum(ApplyTable *table, ApplyColumn *column, const WireValue *value)
{
	if (value->form != column->column.type.form)
		apply_damaged(table, psprintf("column %d has another type", column->column.attnum));
	return value->form == VALUE_RAW ? raw_datum(table, column, value) : text_datum(table, column, value);
}

/* base: the row that unchanged values are taken from; NULL when there may be none. */
static void fill_slot(ApplyTable *table, TupleTableSlot *slot, const WireValue *tuple, TupleTableSlot *base)
{
	int			level = value_settings_begin(table->settings);

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, RelationGetDescr(table->rel)->natts * sizeof(bool));
	for (uint64 i = 0; i < table->n_columns; i++)
	{
		int			at = table->columns[i].column.attnum - 1;

		if (tuple[i].form == VALUE_UNCHANGED)
		{
			if (base == NULL)
				apply_damaged(table, "a value is missing");
			slot->tts_values[at] = base->tts_values[at];
			slot->tts_isnull[at] = base->tts_isnull[at];
		}
		else if (tuple[i].form != VALUE_NULL)
		{
			slot->tts_values[at] = wire_datum(table, &table->columns[i], &tuple[i]);
			slot->tts_isnull[at] = false;
		}
	}
	ExecStoreVirtualTuple(slot);
	value_settings_end(level);
}

/* ---- insertion ---- */

static void insert_index_entries(ApplyTable *table, TupleTableSlot *slot, bool update)
{
	List	   *doubtful;
	ApplyAs		as;

	if (table->result_rel->ri_NumIndices == 0)
		return;
	slot->tts_tableOid = RelationGetRelid(table->rel);
	if (table->evaluates)
		as = apply_as_owner(table->rel);
	doubtful = ExecInsertIndexTuples(table->result_rel, slot, table->estate, update, false, NULL, NIL);
	if (table->evaluates)
		apply_as_end(&as);
	apply_recheck_add(table->rechecks, table->rel, &slot->tts_tid, doubtful);
	list_free(doubtful);
	ResetPerTupleExprContext(table->estate);
}

bool apply_insert(ApplyTable *table, const WireValue *tuple)
{
	MemoryContext old;

	if (table->n_batch == table->n_batch_slots)
	{
		old = MemoryContextSwitchTo(table->cx);
		table->batch[table->n_batch_slots++] = table_slot_create(table->rel, &table->estate->es_tupleTable);
		MemoryContextSwitchTo(old);
	}
	old = MemoryContextSwitchTo(table->batch_cx);
	fill_slot(table, table->batch[table->n_batch++], tuple, NULL);
	MemoryContextSwitchTo(old);
	for (uint64 i = 0; i < table->n_columns; i++)
		table->batch_bytes += tuple[i].len;
	return table->n_batch == APPLY_BATCH_ROWS || table->batch_bytes >= APPLY_BATCH_BYTES;
}

void apply_flush(ApplyTable *table)
{
	CommandId	cid = GetCurrentCommandId(true);
	MemoryContext old = MemoryContextSwitchTo(table->batch_cx);

	if (table->n_batch == 1)
		heap->tuple_insert(table->rel, table->batch[0], cid, 0, NULL);
	else
		heap->multi_insert(table->rel, table->batch, table->n_batch, cid, 0, NULL);
	for (int i = 0; i < table->n_batch; i++)
	{
		insert_index_entries(table, table->batch[i], false);
		sequence_row_applied(table->rel, table->batch[i]);
		ddl_build_row_applied(table->rel);
		ExecClearTuple(table->batch[i]);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(table->batch_cx);
	table->n_batch = 0;
	table->batch_bytes = 0;
}

/* ---- search ---- */

/* The transaction that makes the row found last doubtful. */
static TransactionId doubtful_because(ApplyTable *table)
{
	return TransactionIdIsValid(table->dirty.xmin) ? table->dirty.xmin : table->dirty.xmax;
}

/* Values for the index scan. Only an image may hold nulls; equal bytes are equal for the index as well. */
static void set_keys(ApplyTable *table, const WireValue *search)
{
	for (int i = 0; i < table->n_keys; i++)
	{
		int			c = table->key_columns[i];
		ScanKey		key = &table->keys[i];

		if (search[c].form == VALUE_NULL && table->identity == NULL)
		{
			key->sk_flags |= SK_ISNULL | SK_SEARCHNULL;
			key->sk_argument = (Datum) 0;
			continue;
		}
		if (search[c].form != VALUE_RAW && search[c].form != VALUE_TEXT)
			apply_damaged(table, "a key value is missing");
		key->sk_flags &= ~(SK_ISNULL | SK_SEARCHNULL);
		key->sk_argument = wire_datum(table, &table->columns[c], &search[c]);
	}
}

/*
 * to_lock: a version that a transaction in doubt is changing is good enough, and better than the one that it makes: whether lock and change exclude each
 * other is heap's to say.
 */
static bool find_by_index(ApplyTable *table, const WireValue *search, bool to_lock)
{
	int			level = value_settings_begin(table->settings);

	set_keys(table, search);
	value_settings_end(level);
	for (;;)
	{
		bool		found;
		TransactionId doubt = InvalidTransactionId;
		MemoryContext old;

		/* The scan keeps what it allocates on the way (btree's killedItems): in the table's context, for the caller's is reset at every record. */
		old = MemoryContextSwitchTo(table->cx);
		index_rescan(table->scan, table->keys, table->n_keys, NULL, 0);
		while ((found = index_getnext_slot(table->scan, ForwardScanDirection, table->found)))
		{
			if (!to_lock)
				doubt = doubtful_because(table);
			else if (TransactionIdIsValid(table->dirty.xmin))
			{
				doubt = table->dirty.xmin;
				continue;
			}
			else
				doubt = InvalidTransactionId;
			break;
		}
		MemoryContextSwitchTo(old);
		if (!TransactionIdIsValid(doubt))
			return found;
		XactLockTableWait(doubt, NULL, NULL, XLTW_None);
		ExecClearTuple(table->found);
	}
}

static bool image_matches(ApplyTable *table, const WireValue *search)
{
	for (uint64 i = 0; i < table->n_columns; i++)
	{
		Column	   *column = &table->columns[i].column;
		int			at = column->attnum - 1;
		char		scratch[8];
		const char *data;
		Size		len;

		if (table->found->tts_isnull[at] != (search[i].form == VALUE_NULL))
			return false;
		if (table->found->tts_isnull[at])
			continue;
		if (search[i].form != column->type.form)
			apply_damaged(table, psprintf("column %d has another type", column->attnum));
		value_view(&column->type, table->found->tts_values[at], scratch, &data, &len);
		if (len != search[i].len || memcmp(data, search[i].data, len) != 0)
			return false;
	}
	return true;
}

/* Would a change of the found row wait for a transaction that locks it without changing it? */
static bool found_is_locked(ApplyTable *table)
{
	HeapTupleHeader row = ExecFetchSlotHeapTuple(table->found, false, NULL)->t_data;
	TransactionId xmax = HeapTupleHeaderGetRawXmax(row);

	if ((row->t_infomask & HEAP_XMAX_INVALID) || !HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask))
		return false;
	if (row->t_infomask & HEAP_XMAX_IS_MULTI)
		return MultiXactIdIsRunning(xmax, true);
	return !TransactionIdIsCurrentTransactionId(xmax) && TransactionIdIsInProgress(xmax);
}

/* A scan of all rows that may equal an image: by an index that narrows it, where there is one; then `rows` is NULL. */
static void start_image_scan(ApplyTable *table, TableScanDesc rows)
{
	/* What a btree scan allocates on the way must live as long as the scan. */
	MemoryContext old = MemoryContextSwitchTo(table->cx);

	if (rows != NULL)
		table_rescan(rows, NULL);
	else
		index_rescan(table->scan, table->keys, table->n_keys, NULL, 0);
	MemoryContextSwitchTo(old);
}

static bool next_of_image_scan(ApplyTable *table, TableScanDesc rows)
{
	MemoryContext old = MemoryContextSwitchTo(table->cx);
	bool		found = rows != NULL ? table_scan_getnextslot(rows, ForwardScanDirection, table->found) :
		index_getnext_slot(table->scan, ForwardScanDirection, table->found);

	MemoryContextSwitchTo(old);
	return found;
}

/* One pass. *doubt: a transaction that makes an equal row doubtful; *locked: an equal row that others lock was left alone. */
static bool search_image(ApplyTable *table, TableScanDesc scan, MemoryContext work, const WireValue *search, bool take_locked, TransactionId *doubt,
						 bool *locked)
{
	*doubt = InvalidTransactionId;
	*locked = false;
	while (next_of_image_scan(table, scan))
	{
		TransactionId in_doubt = doubtful_because(table);
		MemoryContext caller = MemoryContextSwitchTo(work);
		bool		matches;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(table->found);
		matches = image_matches(table, search);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(work);
		if (!matches)
			continue;
		if (TransactionIdIsValid(in_doubt))
			*doubt = in_doubt;
		else if (!take_locked && found_is_locked(table))
			*locked = true;
		else
			return true;
	}
	return false;
}

/*
 * Begins where the last row was found and goes once around the table: a statement that changes many rows mostly does so in the order in which they stand, here
 * as at its origin, and from the first block each search would pass all that were changed before.
 */
static TableScanDesc begin_rows(ApplyTable *table)
{
	TableScanDesc scan = table_beginscan_strat(table->rel, &table->dirty, 0, NULL, true, false);

	heap_setscanlimits(scan, table->near, InvalidBlockNumber);
	return scan;
}

/*
 * Byte for byte, not by the types' equality: of numeric 1.0 and 1.00 every replica must take the same (failure scenario D10). Of rows equal in
 * all bytes any will do, for what is left is the same: one that nobody holds, or else one that is only locked; what is in doubt is waited for when
 * there is no other. A wait makes the guard end the holder's transaction, which has nothing to do with this entry when another row is free.
 */
static bool find_by_image(ApplyTable *table, const WireValue *search)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "nodedb apply search", ALLOCSET_SMALL_SIZES);
	TableScanDesc scan = table->index != NULL ? NULL : begin_rows(table);
	int			level = value_settings_begin(table->settings);
	TransactionId doubt;
	bool		locked = false;
	bool		found;

	if (scan == NULL)
	{
		set_keys(table, search);
		start_image_scan(table, scan);
	}
	while (!(found = search_image(table, scan, work, search, locked, &doubt, &locked)) && (locked || TransactionIdIsValid(doubt)))
	{
		if (!locked)
			XactLockTableWait(doubt, NULL, NULL, XLTW_None);
		start_image_scan(table, scan);
	}
	value_settings_end(level);
	if (scan != NULL)
	{
		table_endscan(scan);
		if (found)
			table->near = ItemPointerGetBlockNumber(&table->found->tts_tid);
	}
	MemoryContextDelete(work);
	return found;
}

/*
 * Nothing found is damage only where the caller says so: a scan under a dirty snapshot overlooks a row whose old version dies, by a commit, after
 * its new version went to a place that the scan has passed. At the turnstile no such commit is possible: what changed this row under an earlier
 * ticket is visible, and what changes it under a later one has to wait, in doubt, and is waited for. So an attempt that began there sees the
 * row, and worker/applier.c believes none that began before.
 */
static void find(ApplyTable *table, const WireValue *search, bool by_image, bool to_lock, const char *op)
{
	if (by_image ? find_by_image(table, search) : table->identity != NULL && find_by_index(table, search, to_lock))
		return;
	apply_damaged(table, psprintf("row of %s not found", op));
}

/* ---- update, delete, lock ---- */

/* false: a local transaction changed the row between search and change: search again. */
static bool changed_here(ApplyTable *table, TM_Result result, const char *op)
{
	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_Updated:
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "unexpected state %d of a row of \"%s\" at %s", result, table->name, op);
	}
}

void apply_update(ApplyTable *table, const WireValue *search, bool by_image, const WireValue *tuple)
{
	TM_FailureData failure;
	LockTupleMode mode;
	bool		update_indexes;
	TM_Result	result;

	do
	{
		find(table, search, by_image, false, "update");
		slot_getallattrs(table->found);
		fill_slot(table, table->changed, tuple, table->found);
		result = heap->tuple_update(table->rel, &table->found->tts_tid, table->changed, GetCurrentCommandId(true),
											InvalidSnapshot, InvalidSnapshot, true, &failure, &mode, &update_indexes);
	} while (!changed_here(table, result, "update"));
	if (update_indexes)
		insert_index_entries(table, table->changed, true);
	sequence_row_applied(table->rel, table->changed);
	ddl_build_row_applied(table->rel);
	ExecClearTuple(table->changed);
	ExecClearTuple(table->found);
}

void apply_delete(ApplyTable *table, const WireValue *search, bool by_image)
{
	TM_FailureData failure;
	TM_Result	result;

	do
	{
		find(table, search, by_image, false, "delete");
		result = heap->tuple_delete(table->rel, &table->found->tts_tid, GetCurrentCommandId(true), InvalidSnapshot,
											InvalidSnapshot, true, &failure, false);
	} while (!changed_here(table, result, "delete"));
	ExecClearTuple(table->found);
}

/*
 * Nobody on this node waits for the lock of a session on another one; so those who hold what excludes it are made to lose, here as everywhere. A version that
 * another transaction is just making is locked as well: it may go on to delete it.
 */
void apply_lock(ApplyTable *table, const WireValue *search, bool by_image, LockTupleMode mode)
{
	TM_FailureData failure;
	TM_Result	result;

	do
	{
		find(table, search, by_image, true, "row lock");
		result = heap->tuple_lock(table->rel, &table->found->tts_tid, InvalidSnapshot, table->changed, GetCurrentCommandId(false), mode,
								  LockWaitBlock, TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS, &failure);
	} while (!changed_here(table, result, "row lock"));
	ExecClearTuple(table->changed);
	ExecClearTuple(table->found);
}
