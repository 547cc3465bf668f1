/*
 * apply.c: reads the records of one entry's body and hands them on.
 *
 * Invariants:
 * 1. Records take effect in their order. Insertions into one table may wait to be done together; anything else makes them happen first.
 * 2. Each change sees all before it: the command counter moves behind every change, for heap refuses to touch a row of the same command.
 * 3. All tables are closed, and no snapshot is pushed, while a utility command runs: it may drop, rewrite or rename any of them.
 * 4. Bytes that do not parse are damage, never an assertion.
 */
#include "apply_internal.h"

#include "access/xact.h"
#include "ddl/ddl.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

bool		apply_active = false;
bool		apply_ahead = false;
static char *path = NULL;		/* of the last 'P' of the body, in the body's context */

typedef struct Apply
{
	ApplyFetch	fetch;
	void	   *fetch_ctx;
	StringInfoData buf;			/* cursor: what is consumed */
	MemoryContext cx;			/* of the body */
	MemoryContext record_cx;	/* of a record */
	ApplyTable **tables;		/* by relno */
	int64		n_tables;
	int64		cap_tables;
	ApplyTable *inserting;		/* has rows that wait */
	ApplyTable *shown;			/* what nodedb_show_applying() was told */
	ApplyRechecks rechecks;
	uint64		rows;
} Apply;

static void pg_attribute_noreturn() malformed(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("replicated changes are malformed: %s", what)));
}

static void pg_attribute_noreturn() not_ahead(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s cannot be replayed ahead", what)));
}

/* Have n unread bytes in one piece; false at the end of the body. */
static bool need(Apply *a, Size n)
{
	while (a->buf.len - a->buf.cursor < n)
	{
		MemoryContext old;
		bool		more;

		if (a->buf.cursor > 0)
		{
			memmove(a->buf.data, a->buf.data + a->buf.cursor, a->buf.len - a->buf.cursor);
			a->buf.len -= a->buf.cursor;
			a->buf.cursor = 0;
		}
		old = MemoryContextSwitchTo(a->cx);
		more = a->fetch(a->fetch_ctx, &a->buf);
		MemoryContextSwitchTo(old);
		if (!more)
			return false;
	}
	return true;
}

int apply_path_begin(void)
{
	int			level;

	if (path == NULL)
		return 0;
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void apply_path_end(int level)
{
	if (level > 0)
		AtEOXact_GUC(true, level);
}

static char *read_string(NdReader *r)
{
	uint64		len = nd_read_varint(r);
	const uint8 *bytes = nd_read_bytes(r, len);

	if (bytes == NULL || len >= NAMEDATALEN)
		malformed("name");
	return pnstrdup((const char *) bytes, len);
}

static void show(Apply *a, ApplyTable *table)
{
	if (a->shown == table || apply_ahead)
		return;
	a->shown = table;
	nodedb_show_applying(table != NULL ? table->schema : NULL, table != NULL ? table->name : NULL);
}

static void flush(Apply *a)
{
	if (a->inserting != NULL)
	{
		show(a, a->inserting);
		apply_flush(a->inserting);
		a->inserting = NULL;
		CommandCounterIncrement();
	}
}

static void close_tables(Apply *a)
{
	for (int64 i = 0; i < a->n_tables; i++)
		if (a->tables[i]->rel != NULL)
			apply_table_close(a->tables[i]);
}

static void read_relation(Apply *a, NdReader *r)
{
	MemoryContext old = MemoryContextSwitchTo(a->cx);
	ApplyTable *table = palloc0(sizeof(ApplyTable));

	if (nd_read_varint(r) != a->n_tables)
		malformed("table number");
	table->schema = read_string(r);
	table->name = read_string(r);
	table->n_columns = nd_read_varint(r);
	table->rechecks = &a->rechecks;
	if (r->failed || nd_reader_left(r) != 0 || table->n_columns > MaxTupleAttributeNumber)
		malformed("table");
	/* Leases of sequences and builds of indexes listen to rows before they are committed. */
	if (apply_ahead && strcmp(table->schema, "nodedb") == 0 && strcmp(table->name, "idempotency_keys") != 0)
		not_ahead("a change of nodedb's own tables");
	if (a->n_tables == a->cap_tables)
	{
		a->cap_tables = Max(16, a->cap_tables * 2);
		a->tables = a->tables == NULL ? palloc(a->cap_tables * sizeof(ApplyTable *)) :
			repalloc(a->tables, a->cap_tables * sizeof(ApplyTable *));
	}
	a->tables[a->n_tables++] = table;
	MemoryContextSwitchTo(old);
}

static ApplyTable *read_table(Apply *a, NdReader *r, bool writable)
{
	uint64		relno = nd_read_varint(r);

	if (r->failed || relno >= a->n_tables)
		malformed("unknown table number");
	if (a->tables[relno]->rel == NULL || (writable && !a->tables[relno]->writable))
	{
		show(a, a->tables[relno]);
		apply_table_open(a->tables[relno], writable);
	}
	return a->tables[relno];
}

static WireValue *read_tuple(ApplyTable *table, NdReader *r)
{
	WireValue  *tuple = palloc(Max(table->n_columns, 1) * sizeof(WireValue));

	if (nd_read_varint(r) != table->n_columns)
		malformed("number of columns");
	for (uint64 i = 0; i < table->n_columns; i++)
	{
		WireValue  *value = &tuple[i];

		value->form = nd_read_u8(r);
		value->data = NULL;
		value->len = 0;
		if (value->form > VALUE_TEXT)
			malformed("form of a value");
		if (value->form == VALUE_RAW || value->form == VALUE_TEXT)
		{
			value->len = nd_read_varint(r);
			value->data = (const char *) nd_read_bytes(r, value->len);
		}
	}
	if (r->failed)
		malformed("row");
	return tuple;
}

static void read_insert(Apply *a, NdReader *r)
{
	ApplyTable *table = read_table(a, r, true);
	WireValue  *tuple = read_tuple(table, r);

	if (a->inserting != table)
		flush(a);
	a->inserting = table;
	if (apply_insert(table, tuple))
		flush(a);
}

static void read_update(Apply *a, NdReader *r)
{
	ApplyTable *table = read_table(a, r, true);
	uint8		old = nd_read_u8(r);
	WireValue  *search;
	WireValue  *tuple;

	if (old > 2)
		malformed("form of an update");
	search = old == 0 ? NULL : read_tuple(table, r);
	tuple = read_tuple(table, r);
	flush(a);
	show(a, table);
	apply_update(table, search == NULL ? tuple : search, old == 2, tuple);
	CommandCounterIncrement();
}

static void read_delete(Apply *a, NdReader *r)
{
	ApplyTable *table = read_table(a, r, true);
	uint8		old = nd_read_u8(r);
	WireValue  *search = read_tuple(table, r);

	if (old != 1 && old != 2)
		malformed("form of a deletion");
	flush(a);
	show(a, table);
	apply_delete(table, search, old == 2);
	CommandCounterIncrement();
}

static void read_path(Apply *a, NdReader *r)
{
	uint64		len = nd_read_varint(r);
	const uint8 *bytes = nd_read_bytes(r, len);
	MemoryContext old;

	if (bytes == NULL || nd_reader_left(r) != 0)
		malformed("search path");
	flush(a);
	old = MemoryContextSwitchTo(a->cx);
	path = pnstrdup((const char *) bytes, len);
	MemoryContextSwitchTo(old);
}

/* Insertions into another table may go on waiting: they are not what is locked. One table may have several numbers. */
static void read_lock(Apply *a, NdReader *r)
{
	ApplyTable *table = read_table(a, r, false);
	uint8		mode = nd_read_u8(r);
	uint8		old = nd_read_u8(r);
	WireValue  *search = read_tuple(table, r);

	if (mode > LockTupleExclusive || (old != 1 && old != 2))
		malformed("form of a row lock");
	if (a->inserting != NULL && RelationGetRelid(a->inserting->rel) == RelationGetRelid(table->rel))
		flush(a);
	apply_lock(table, search, old == 2, (LockTupleMode) mode);
}

/* Only readers are spared: what they have read stands before this entry. */
static void read_table_lock(Apply *a, NdReader *r)
{
	ApplyTable *table = read_table(a, r, false);
	uint8		mode = nd_read_u8(r);

	if (mode > AccessExclusiveLock || mode <= RowExclusiveLock)
		malformed("mode of a table lock");
	LockRelationOid(RelationGetRelid(table->rel), Min(mode, ExclusiveLock));
}

static void run_utility(Apply *a, NdReader *r)
{
	if (apply_ahead)
		not_ahead("a schema change");
	flush(a);
	show(a, NULL);
	close_tables(a);
	PopActiveSnapshot();
	ddl_apply((const char *) r->p, nd_reader_left(r));
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
}

static void apply_record(Apply *a, const char *data, Size len)
{
	NdReader	r;
	uint8		op;

	nd_reader_init(&r, data, len);
	op = nd_read_u8(&r);
	switch (op)
	{
		case 'R':
			read_relation(a, &r);
			return;
		case 'I':
			read_insert(a, &r);
			break;
		case 'U':
			read_update(a, &r);
			break;
		case 'D':
			read_delete(a, &r);
			break;
		case 'P':
			read_path(a, &r);
			return;
		case 'L':
			read_lock(a, &r);
			break;
		case 'T':
			read_table_lock(a, &r);
			break;
		case 'X':
			run_utility(a, &r);
			return;
		default:
			malformed("unknown record");
	}
	if (r.failed || nd_reader_left(&r) != 0)
		malformed("length of a record");
	a->rows += op != 'L' && op != 'T';
}

static void apply_records(Apply *a)
{
	while (need(a, sizeof(uint32)))
	{
		NdReader	r;
		uint32		len;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		nd_reader_init(&r, a->buf.data + a->buf.cursor, sizeof(uint32));
		len = nd_read_u32(&r);
		a->buf.cursor += sizeof(uint32);
		if (len == 0 || len > MaxAllocSize || !need(a, len))
			malformed("cut short");
		old = MemoryContextSwitchTo(a->record_cx);
		apply_record(a, a->buf.data + a->buf.cursor, len);
		MemoryContextSwitchTo(old);
		MemoryContextReset(a->record_cx);
		a->buf.cursor += len;
	}
	if (a->buf.len != a->buf.cursor)
		malformed("cut short");
	flush(a);
	show(a, NULL);
	close_tables(a);
	apply_recheck(&a->rechecks);
}

uint64 apply_body(ApplyFetch fetch, void *ctx)
{
	Apply		a = {.fetch = fetch, .fetch_ctx = ctx};
	bool		was_active = apply_active;
	MemoryContext caller = CurrentMemoryContext;

	a.cx = AllocSetContextCreate(caller, "nodedb apply", ALLOCSET_DEFAULT_SIZES);
	a.record_cx = AllocSetContextCreate(a.cx, "nodedb apply record", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(a.cx);
	initStringInfo(&a.buf);
	a.rechecks.cx = a.cx;
	apply_active = true;
	path = NULL;
	PG_TRY();
	{
		/* For TOAST and for functions in index expressions; rows are found under dirty snapshots. */
		PushActiveSnapshot(GetLatestSnapshot());
		apply_records(&a);
		PopActiveSnapshot();
	}
	PG_FINALLY();
	{
		apply_active = was_active;
		path = NULL;
		MemoryContextSwitchTo(caller);
	}
	PG_END_TRY();
	MemoryContextDelete(a.cx);
	return a.rows;
}
