/*
 * apply.c: reads the records of a body and hands them on, as its bytes come. Several bodies may be open at a time: the parts of a transaction over several groups,
 * which have no tables in common.
 *
 * Invariants:
 * 1. Records of a body take effect in their order. Insertions into one table may wait to be done together; anything else of this body makes them happen first.
 * 2. Each change sees all before it: the command counter moves behind every change, for heap refuses to touch a row of the same command.
 * 3. All tables are closed, and no snapshot is pushed, while a utility command runs: it may drop, rewrite or rename any of them.
 * 4. Bytes that do not parse are damage, never an assertion.
 */
#include "apply_internal.h"
#include "parts.h"

#include "access/xact.h"
#include "ddl/ddl.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define KEPT_BYTES (16 * 1024)

bool		apply_active = false;
bool		apply_ahead = false;
bool		apply_alone = false;
bool		apply_can_ask_alone = false;
bool		apply_asked_alone = false;
static char *path = NULL;		/* of the body that is being read */

typedef struct ApplyBody
{
	StringInfoData buf;			/* cursor: what is consumed */
	char	   *path;			/* of its last 'P', in its context; NULL: none */
	MemoryContext cx;			/* of the body */
	MemoryContext record_cx;	/* of a record */
	ApplyTable **tables;		/* by relno */
	int64		n_tables;
	int64		cap_tables;
	ApplyTable *inserting;		/* has rows that wait */
	ApplyTable *shown;			/* what nodedb_show_applying() was told */
	ApplyRechecks rechecks;
	uint64		rows;
} ApplyBody;

static void pg_attribute_noreturn() malformed(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("replicated changes are malformed: %s", what)));
}

static void pg_attribute_noreturn() not_ahead(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("%s cannot be replayed ahead", what)));
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

ApplyAs apply_as_owner(Relation rel)
{
	ApplyAs		as = {.level = NewGUCNestLevel()};

	(void) apply_path_begin();
	GetUserIdAndSecContext(&as.user, &as.security);
	SetUserIdAndSecContext(rel->rd_rel->relowner, as.security | SECURITY_RESTRICTED_OPERATION);
	return as;
}

void apply_as_end(const ApplyAs *as)
{
	SetUserIdAndSecContext(as->user, as->security);
	AtEOXact_GUC(false, as->level);
}

static char *read_string(NdReader *r)
{
	uint64		len = nd_read_varint(r);
	const uint8 *bytes = nd_read_bytes(r, len);

	if (bytes == NULL || len >= NAMEDATALEN)
		malformed("name");
	return pnstrdup((const char *) bytes, len);
}

static void show(ApplyBody *a, ApplyTable *table)
{
	if (a->shown == table || apply_ahead)
		return;
	a->shown = table;
	nodedb_show_applying(table != NULL ? table->schema : NULL, table != NULL ? table->name : NULL);
}

static void flush(ApplyBody *a)
{
	if (a->inserting != NULL)
	{
		show(a, a->inserting);
		apply_flush(a->inserting);
		a->inserting = NULL;
		CommandCounterIncrement();
	}
}

static void close_tables(ApplyBody *a)
{
	for (int64 i = 0; i < a->n_tables; i++)
		if (a->tables[i]->rel != NULL)
			apply_table_close(a->tables[i]);
}

static void read_relation(ApplyBody *a, NdReader *r)
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

static ApplyTable *read_table(ApplyBody *a, NdReader *r, bool writable)
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

static void read_insert(ApplyBody *a, NdReader *r)
{
	ApplyTable *table = read_table(a, r, true);
	WireValue  *tuple = read_tuple(table, r);

	if (a->inserting != table)
		flush(a);
	a->inserting = table;
	if (apply_insert(table, tuple))
		flush(a);
}

static void read_update(ApplyBody *a, NdReader *r)
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

static void read_delete(ApplyBody *a, NdReader *r)
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

static void read_path(ApplyBody *a, NdReader *r)
{
	uint64		len = nd_read_varint(r);
	const uint8 *bytes = nd_read_bytes(r, len);
	MemoryContext old;

	if (bytes == NULL || nd_reader_left(r) != 0)
		malformed("search path");
	flush(a);
	old = MemoryContextSwitchTo(a->cx);
	path = a->path = pnstrdup((const char *) bytes, len);
	MemoryContextSwitchTo(old);
}

/* Insertions into another table may go on waiting: they are not what is locked. One table may have several numbers. */
static void read_lock(ApplyBody *a, NdReader *r)
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
static void read_table_lock(ApplyBody *a, NdReader *r)
{
	ApplyTable *table = read_table(a, r, false);
	uint8		mode = nd_read_u8(r);

	if (mode > AccessExclusiveLock || mode <= RowExclusiveLock)
		malformed("mode of a table lock");
	LockRelationOid(RelationGetRelid(table->rel), Min(mode, ExclusiveLock));
}

static void run_utility(ApplyBody *a, NdReader *r)
{
	int			level;

	/* All of its transaction's body is in one part, whose base says nothing of tables in other groups. */
	if (apply_ahead && parts_groups() > 1)
		not_ahead("a schema change over several data groups");
	flush(a);
	show(a, NULL);
	close_tables(a);
	PopActiveSnapshot();
	level = apply_path_begin();	/* a command brings its own */
	ddl_apply((const char *) r->p, nd_reader_left(r));
	apply_path_end(level);
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
}

static void apply_record(ApplyBody *a, const char *data, Size len)
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

/* Replay the records that are there as a whole. */
static void apply_records(ApplyBody *a)
{
	StringInfo	buf = &a->buf;

	while (buf->len - buf->cursor >= (int) sizeof(uint32))
	{
		NdReader	r;
		uint32		len;
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		nd_reader_init(&r, buf->data + buf->cursor, sizeof(uint32));
		len = nd_read_u32(&r);
		if (len == 0 || len > MaxAllocSize)
			malformed("length of a record");
		if ((uint32) (buf->len - buf->cursor) - sizeof(uint32) < len)
			break;
		buf->cursor += sizeof(uint32);
		old = MemoryContextSwitchTo(a->record_cx);
		apply_record(a, buf->data + buf->cursor, len);
		MemoryContextSwitchTo(old);
		MemoryContextReset(a->record_cx);
		buf->cursor += len;
	}
	memmove(buf->data, buf->data + buf->cursor, buf->len - buf->cursor);
	buf->len -= buf->cursor;
	buf->cursor = 0;
}

void apply_ask_alone(void)
{
	apply_asked_alone = true;
	ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("this entry has to be replayed alone")));
}

/* Between two pieces a body keeps little: there may be many of them. */
static void shrink(ApplyBody *a)
{
	if (a->buf.maxlen <= KEPT_BYTES || a->buf.len >= KEPT_BYTES)
		return;
	a->buf.data = repalloc(a->buf.data, KEPT_BYTES);
	a->buf.maxlen = KEPT_BYTES;
}

ApplyBody *apply_begin(void)
{
	MemoryContext cx = AllocSetContextCreate(CurrentMemoryContext, "nodedb apply", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cx);
	ApplyBody  *a = palloc0(sizeof(ApplyBody));

	a->cx = cx;
	a->record_cx = AllocSetContextCreate(cx, "nodedb apply record", ALLOCSET_DEFAULT_SIZES);
	a->rechecks.cx = cx;
	initStringInfo(&a->buf);
	MemoryContextSwitchTo(old);
	return a;
}

/* fetch NULL: the body is whole. */
static void go_on(ApplyBody *a, ApplyFetch fetch, void *ctx)
{
	bool		was_active = apply_active;
	MemoryContext caller = MemoryContextSwitchTo(a->cx);

	apply_active = true;
	path = a->path;
	PG_TRY();
	{
		/* For TOAST and for functions in index expressions; rows are found under dirty snapshots. */
		PushActiveSnapshot(GetLatestSnapshot());
		while (fetch != NULL && fetch(ctx, &a->buf))
			apply_records(a);
		shrink(a);
		if (fetch == NULL)
		{
			flush(a);
			show(a, NULL);
			close_tables(a);
			apply_recheck(&a->rechecks);
		}
		PopActiveSnapshot();
	}
	PG_FINALLY();
	{
		apply_active = was_active;
		path = NULL;
		MemoryContextSwitchTo(caller);
	}
	PG_END_TRY();
}

void apply_feed(ApplyBody *a, ApplyFetch fetch, void *ctx)
{
	go_on(a, fetch, ctx);
}

uint64 apply_end(ApplyBody *a)
{
	uint64		rows;

	if (a->buf.len > 0)
		malformed("cut short");
	go_on(a, NULL, NULL);
	rows = a->rows;
	MemoryContextDelete(a->cx);
	return rows;
}
