/*
 * row.c: a sequence's row in nodedb.sequences, changed in the current transaction.
 *
 * The row says what PostgreSQL's sequence relation says, for the whole cluster: last_value and is_called, and nothing at or before them is free any
 * more. A lease moves it on; setval() and RESTART put it anywhere and raise `generation`, which ends the leases taken before.
 * Rows come to be at the first lease: until then the sequence stands where the local one stands.
 *
 * Invariants:
 * 1. The row goes through the log like any other, so of two nodes that lease at once one gets 40001: shares never overlap.
 * 2. A lease also holds a key for the sequence's name, which every DROP, ALTER and RENAME of it conflicts with: a lease under a name that
 *    is no more, or belongs to another sequence meanwhile, does not commit.
 * 3. Everything here runs as session_internal_begin() says, whoever calls nextval().
 */
#include "sequence_internal.h"

#include "session/session.h"
#include "tableam/writeset.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

Oid
row_table(void)
{
	Oid			schema = get_namespace_oid("nodedb", true);

	return OidIsValid(schema) ? get_relname_relid("sequences", schema) : InvalidOid;
}

/* ---- SQL ---- */

static uint64
run(const char *sql, int n, Oid *types, Datum *values)
{
	if (SPI_execute_with_args(sql, n, types, values, NULL, false, 0) < 0)
		elog(ERROR, "nodedb: a change of nodedb.sequences failed: %s", sql);
	return SPI_processed;
}

static Oid	row_types[] = {TEXTOID, TEXTOID, INT8OID, BOOLOID, INT8OID};

typedef struct Row
{
	bool		exists;
	int64		last;
	bool		called;
	int64		generation;
} Row;

static void
fetch(int column, int64 *number, bool *flag)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		elog(ERROR, "nodedb: null in nodedb.sequences");
	if (number != NULL)
		*number = DatumGetInt64(value);
	else
		*flag = DatumGetBool(value);
}

static void
read_row(const char *schema, const char *name, Row *row)
{
	Datum		values[] = {CStringGetTextDatum(schema), CStringGetTextDatum(name)};

	row->exists = run("SELECT last_value, is_called, generation FROM nodedb.sequences WHERE schema = $1 AND name = $2 FOR UPDATE", 2, row_types,
					  values) > 0;
	row->generation = 0;
	if (!row->exists)
		return;
	fetch(1, &row->last, NULL);
	fetch(2, NULL, &row->called);
	fetch(3, &row->generation, NULL);
}

static void
read_local(const SequenceInfo *info, int64 *value, bool *called)
{
	char	   *sql = psprintf("SELECT last_value, is_called FROM %s", quote_qualified_identifier(info->schema, info->name));

	if (run(sql, 0, NULL, NULL) != 1)
		elog(ERROR, "nodedb: sequence \"%s\" has no row", info->name);
	fetch(1, value, NULL);
	fetch(2, NULL, called);
}

static void
write_row(const SequenceInfo *info, const Row *row)
{
	Datum		values[] = {CStringGetTextDatum(info->schema), CStringGetTextDatum(info->name), Int64GetDatum(row->last),
	BoolGetDatum(row->called), Int64GetDatum(row->generation)};

	(void) run(row->exists ?
			   "UPDATE nodedb.sequences SET last_value = $3, is_called = $4, generation = $5 WHERE schema = $1 AND name = $2" :
			   "INSERT INTO nodedb.sequences (schema, name, last_value, is_called, generation) VALUES ($1, $2, $3, $4, $5)",
			   5, row_types, values);
	writeset_relation_lock_name(info->schema, info->name, AccessShareLock);
}

/* ---- what is done ---- */

static void pg_attribute_noreturn()
raise_exhausted(const SequenceInfo *info)
{
	if (info->increment > 0)
		ereport(ERROR,
				(errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
				 errmsg("nextval: reached maximum value of sequence \"%s\" (%lld)", info->name, (long long) info->max)));
	ereport(ERROR,
			(errcode(ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED),
			 errmsg("nextval: reached minimum value of sequence \"%s\" (%lld)", info->name, (long long) info->min)));
}

void
row_lease(const SequenceInfo *info, uint64 wanted, Lease *lease)
{
	SessionInternal caller;
	Row			row;
	int128		first;
	int128		room;

	if (info->cycle)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("sequence \"%s\" cannot be used on several nodes because it cycles", info->name),
				 errhint("Use ALTER SEQUENCE ... NO CYCLE.")));
	session_internal_begin(&caller);
	read_row(info->schema, info->name, &row);
	if (!row.exists)
		read_local(info, &row.last, &row.called);
	first = (int128) row.last + (row.called ? info->increment : 0);
	if (info->increment > 0)
		room = first > info->max ? 0 : (info->max - first) / info->increment + 1;
	else
		room = first < info->min ? 0 : (first - info->min) / -(int128) info->increment + 1;
	if (room <= 0)
		raise_exhausted(info);
	lease->next = (int64) first;
	lease->left = room < wanted ? (uint64) room : wanted;
	lease->increment = info->increment;
	lease->generation = row.generation;
	row.last = (int64) (first + (int128) (lease->left - 1) * info->increment);
	row.called = true;
	write_row(info, &row);
	session_internal_end(&caller);
	staged_add(info->oid, lease);
}

void
row_place(const SequenceInfo *info, int64 value, bool called)
{
	SessionInternal caller;
	Row			row;

	session_internal_begin(&caller);
	read_row(info->schema, info->name, &row);
	row.last = value;
	row.called = called;
	row.generation++;
	write_row(info, &row);
	session_internal_end(&caller);
	staged_add(info->oid, NULL);
}

void
row_local_position(const SequenceInfo *info, int64 *value, bool *called)
{
	SessionInternal caller;

	session_internal_begin(&caller);
	read_local(info, value, called);
	session_internal_end(&caller);
}

void
row_new_generation(const SequenceInfo *info)
{
	SessionInternal caller;
	Row			row;

	session_internal_begin(&caller);
	read_row(info->schema, info->name, &row);
	if (row.exists)
	{
		row.generation++;
		write_row(info, &row);
	}
	session_internal_end(&caller);
	staged_add(info->oid, NULL);
}

bool
row_adopt(const SequenceInfo *info)
{
	SessionInternal caller;
	Row			row;
	bool		adopted = false;

	session_internal_begin(&caller);
	read_row(info->schema, info->name, &row);
	if (!row.exists)
	{
		read_local(info, &row.last, &row.called);
		if (row.called || row.last != info->start)
		{
			write_row(info, &row);
			adopted = true;
		}
	}
	session_internal_end(&caller);
	return adopted;
}

void
row_delete(const char *schema, const char *name)
{
	SessionInternal caller;
	Datum		values[] = {CStringGetTextDatum(schema), CStringGetTextDatum(name)};

	session_internal_begin(&caller);
	(void) run("DELETE FROM nodedb.sequences WHERE schema = $1 AND name = $2", 2, row_types, values);
	session_internal_end(&caller);
}

void
row_rename(const char *schema, const char *name, const char *new_schema, const char *new_name)
{
	SessionInternal caller;
	static Oid	types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(schema), CStringGetTextDatum(name), CStringGetTextDatum(new_schema), CStringGetTextDatum(new_name)};

	session_internal_begin(&caller);
	/* A row of that name belongs to no sequence: this one could not have got the name otherwise. */
	(void) run("DELETE FROM nodedb.sequences WHERE schema = $1 AND name = $2", 2, types, values + 2);
	(void) run("UPDATE nodedb.sequences SET schema = $3, name = $4 WHERE schema = $1 AND name = $2", 4, types, values);
	writeset_relation_lock_name(schema, name, AccessExclusiveLock);
	writeset_relation_lock_name(new_schema, new_name, AccessExclusiveLock);
	session_internal_end(&caller);
}

void
row_rename_schema(const char *schema, const char *new_schema)
{
	SessionInternal caller;
	static Oid	types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(schema), CStringGetTextDatum(new_schema)};

	session_internal_begin(&caller);
	(void) run("DELETE FROM nodedb.sequences WHERE schema = $1", 1, types, values + 1);
	(void) run("UPDATE nodedb.sequences SET schema = $2 WHERE schema = $1", 2, types, values);
	/* Sequences without a row may get one by a lease on another node at this moment, under the old name. */
	(void) run("SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
			   " WHERE n.nspname = $2 AND c.relkind = 'S' AND c.relpersistence = 'p'", 2, types, values);
	for (uint64 i = 0; i < SPI_processed; i++)
		writeset_relation_lock_name(schema, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1), AccessExclusiveLock);
	session_internal_end(&caller);
}
