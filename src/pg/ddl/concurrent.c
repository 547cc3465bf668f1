/*
 * concurrent.c: CREATE INDEX CONCURRENTLY on a distributed table: built on each node beside its writers, then made a part of the schema by the log.
 *
 * An index that is not unique is only a way to rows: nodes may have it or not, no verdict depends on it, until 3 has named it (named.c). So building it needs no order:
 *   1. the session puts a row for every member into nodedb.index_builds, replicated, and waits without a transaction
 *   2. each node's builder, a background worker of its own, runs CREATE INDEX CONCURRENTLY there and notes in its row how it ended
 *   3. when all have it, the session runs CREATE INDEX IF NOT EXISTS of the same definition through the log, as any schema change: nothing to do where it was
 *      built, but a node that joins later, or was away, makes it at that place; and removes the rows
 *
 * A unique one is built as one that is not, and becomes unique in 3: unique.c has the argument.
 *
 * Where something fails, or the session goes away before 3, the rows become 'unwanted': each node's builder drops the index and removes its row.
 *
 * Nodes that are not connected are not waited for, nor those that are but have applied nothing for nodedb.commit_timeout though there was something (quarantined, or stuck
 * with an entry): they make the index at 3's place in the log. The session is warned of the latter.
 *
 * Invariants:
 * 1. Until 3 the index is each node's own: no verdict and no other command depends on it, and it goes with its table.
 * 2. Nobody waits for the builder: to the applier it is a reader, and is ended like one when it stands in the way of a schema change. It begins again.
 * 3. Behind 3 the index is there and valid on every node: a replica that meets one that is not valid, because its builder is not done, makes it anew (replay.c),
 *    and a builder whose row is gone leaves the index alone.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "sequence/sequence.h"
#include "session/session.h"
#include "session/wait.h"
#include "shmem.h"
#include "stop_event.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define POLL_MS 100
#define TRIES 5					/* of one node, when its builder was ended or met something that can pass */

PGDLLEXPORT void nodedb_index_builder_main(Datum arg);

/* An index that is being made; strings live until the end of the command. */
typedef struct Build
{
	char	   *schema;			/* of table and index */
	char	   *table;
	char	   *name;
	char	   *text;			/* the command, as the user gave it */
	char	   *search_path;
	bool		unique;			/* it is to become unique */
	/* answers of queries */
	MemoryContext context;
	int64		open;			/* nodes that are not done */
	char	   *failed;			/* "node: reason"; NULL: none */
	bool		gone;			/* the rows have been removed, or are unwanted */
	WaitHeadway headway;
} Build;

static bool row_applied = false;	/* in this transaction */

/* ---- waking the builders ---- */

void
ddl_build_row_applied(Relation rel)
{
	if (!row_applied && (strcmp(RelationGetRelationName(rel), "index_builds") == 0 || strcmp(RelationGetRelationName(rel), "shard_builds") == 0) &&
		RelationGetNamespace(rel) == nodedb_schema_oid())
		row_applied = true;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (row_applied && event == XACT_EVENT_COMMIT)
	{
		pg_atomic_write_u32(&nodedb_shared->builds_changed, 1);
		sequence_wake_worker();
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		row_applied = false;
}

bool
ddl_builds_changed(void)
{
	return pg_atomic_exchange_u32(&nodedb_shared->builds_changed, 0) != 0;
}

/* ---- the session that asks for it ---- */

bool
ddl_is_concurrent_build(Node *stmt)
{
	Oid			relid;

	if (!IsA(stmt, IndexStmt) || !((IndexStmt *) stmt)->concurrent || !nodedb_replicate_ddl)
		return false;
	relid = RangeVarGetRelid(((IndexStmt *) stmt)->relation, NoLock, true);
	return OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_RELATION && ddl_relation_scope(relid) == DDL_CLUSTER;
}

/* As PostgreSQL would name it: the table, its columns, included ones too, "idx". */
static char *
choose_name(IndexStmt *stmt, Oid schema)
{
	StringInfoData columns;
	ListCell   *lc;

	initStringInfo(&columns);
	foreach(lc, list_concat_copy(stmt->indexParams, stmt->indexIncludingParams))
	{
		IndexElem  *element = lfirst_node(IndexElem, lc);

		appendStringInfo(&columns, "%s%s", columns.len > 0 ? "_" : "", element->name ? element->name : "expr");
	}
	return ChooseRelationName(stmt->relation->relname, columns.data, "idx", schema, false);
}

static void
refuse(IndexStmt *stmt, Oid relid)
{
	if (!pg_class_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	/* The builders would find nothing wrong with it. Others are PostgreSQL's to name: a btree is what unique.c knows. */
	if (stmt->unique && strcmp(stmt->accessMethod, "btree") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"%s\" does not support unique indexes", stmt->accessMethod)));
}

/* Who asks: node.incarnation.pid */
static char *
session_name(int pid)
{
	return psprintf("%u.%u.%d", nodedb_shared->self, nodedb_shared->incarnation, pid);
}

static void
announce(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(b->schema), CStringGetTextDatum(b->name), CStringGetTextDatum(b->table), CStringGetTextDatum(b->text),
		CStringGetTextDatum(b->search_path), CStringGetTextDatum(session_name(MyProcPid))
	};

	if (SPI_execute_with_args("SELECT FROM nodedb.index_builds WHERE schema = $1 AND name = $2", 2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not read nodedb.index_builds");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("index \"%s\" is being built or removed by another session", b->name),
				 errhint("See nodedb.index_builds.")));
	if (SPI_execute_with_args("INSERT INTO nodedb.index_builds (schema, name, node_id, table_name, command, search_path, session, state)"
							  " SELECT $1, $2, node_id, $3, $4, $5, $6, 'waiting' FROM nodedb.nodes", 6, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "nodedb: could not announce an index");
	row_applied = true;
}

static void
look(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {TEXTOID, TEXTOID, INT4ARRAYOID};
	Datum		values[] = {CStringGetTextDatum(b->schema), CStringGetTextDatum(b->name), wait_headway_still(&b->headway)};
	bool		isnull;
	char	   *failed;

	if (SPI_execute_with_args("SELECT count(*) FILTER (WHERE b.state <> 'unwanted'), count(*) FILTER (WHERE b.state IN ('waiting', 'building') AND (n.connected AND b.node_id <> ALL ($3) OR n.is_self)),"
							  " min(coalesce(n.name, b.node_id::text) || ': ' || b.message) FILTER (WHERE b.state = 'failed')"
							  " FROM nodedb.index_builds b LEFT JOIN nodedb.nodes n ON n.node_id = b.node_id WHERE b.schema = $1 AND b.name = $2",
							  3, types, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "nodedb: could not read nodedb.index_builds");
	b->gone = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) == 0;
	b->open = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	failed = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	b->failed = failed == NULL ? NULL : MemoryContextStrdup(b->context, failed);
}

static void
remove_rows(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(b->schema), CStringGetTextDatum(b->name)};

	if (SPI_execute_with_args("DELETE FROM nodedb.index_builds WHERE schema = $1 AND name = $2", 2, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "nodedb: could not remove rows of nodedb.index_builds");
}

static void
begin(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
}

/* A query of ours in a transaction of its own; a conflict is tried again. */
static void
in_own_transaction(void (*run) (void *arg), Build *b)
{
	for (;;)
	{
		volatile bool done = true;

		PG_TRY();
		{
			begin();
			session_internal(run, b);
			commit();
		}
		PG_CATCH();
		{
			if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_TO_CATEGORY(ERRCODE_T_R_SERIALIZATION_FAILURE))
				PG_RE_THROW();
			FlushErrorState();
			AbortCurrentTransaction();
			done = false;
		}
		PG_END_TRY();
		MemoryContextSwitchTo(b->context);
		if (done)
			return;
		CHECK_FOR_INTERRUPTS();
	}
}

static void
make_unwanted(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(b->schema), CStringGetTextDatum(b->name)};

	if (SPI_execute_with_args("UPDATE nodedb.index_builds SET state = 'unwanted' WHERE schema = $1 AND name = $2", 2, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "nodedb: could not change nodedb.index_builds");
	row_applied = true;
}

/* The index as this node has it, valid or not; InvalidOid: none, or one of another table. */
static Oid
index_here(const Build *b)
{
	Oid			schema = get_namespace_oid(b->schema, true);
	Oid			index = OidIsValid(schema) ? get_relname_relid(b->name, schema) : InvalidOid;

	if (!OidIsValid(index) || get_rel_relkind(index) != RELKIND_INDEX || IndexGetRelation(index, true) != get_relname_relid(b->table, schema))
		return InvalidOid;
	return index;
}

static void
wait_for_all(Build *b)
{
	do
	{
		wait_headway(&b->headway, nodedb_commit_timeout);
		wait_headway_warn(&b->headway, "It makes the index when it goes on.");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		begin();
		session_internal(look, b);
		commit();
	} while (b->open > 0 && b->failed == NULL && !b->gone);
	if (b->failed != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" could not be built on every node", b->name),
				 errdetail("Node %s", b->failed),
				 errhint("It is dropped on all nodes. See that node's log, and try again.")));
	if (b->gone)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the construction of index \"%s\" was ended by somebody else", b->name)));
}

static void
look_for_rest(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {TEXTOID, TEXTOID, INT4ARRAYOID};
	Datum		values[] = {CStringGetTextDatum(b->schema), CStringGetTextDatum(b->name), wait_headway_still(&b->headway)};

	if (SPI_execute_with_args("SELECT FROM nodedb.index_builds b JOIN nodedb.nodes n ON n.node_id = b.node_id"
							  " WHERE b.schema = $1 AND b.name = $2 AND (n.connected AND b.node_id <> ALL ($3) OR n.is_self)", 3, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not read nodedb.index_builds");
	b->open = SPI_processed;
}

/* Behind the error: who hears of it finds no index left, and may try again at once. A builder may have to wait for old transactions: no longer than for a commit. */
static void
wait_until_dropped(Build *b)
{
	TimestampTz began = GetCurrentTimestamp();

	for (;;)
	{
		in_own_transaction(look_for_rest, b);
		if (b->open == 0 || QueryCancelPending || ProcDiePending || TimestampDifferenceExceeds(began, GetCurrentTimestamp(), nodedb_commit_timeout))
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* Tells early, beside writers, and with nothing reserved. */
static void
look_for_duplicates(Build *b)
{
	Oid			index;

	begin();
	index = index_here(b);
	if (OidIsValid(index))
		ddl_unique_look(index);
	commit();
	MemoryContextSwitchTo(b->context);
}

/* Now it is a part of the schema. */
static void
adopt(Build *b)
{
	const char *prefix = "CREATE INDEX ";
	Oid			index;
	char	   *definition;
	int			level;

	begin();
	index = index_here(b);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" was dropped while other nodes built it", b->name)));
	definition = ddl_index_definition(index);
	if (strncmp(definition, prefix, strlen(prefix)) != 0)
		elog(ERROR, "nodedb: unexpected definition of an index: %s", definition);
	session_internal(remove_rows, b);
	/* that it is there already is no news to the client */
	level = NewGUCNestLevel();
	(void) set_config_option("client_min_messages", "warning", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	ddl_becoming_unique = (DdlBecomingUnique) {b->unique ? index : InvalidOid, definition};
	ddl_adopting = index;
	ddl_run(psprintf("CREATE %sINDEX IF NOT EXISTS %s", b->unique ? "UNIQUE " : "", definition + strlen(prefix)));
	AtEOXact_GUC(true, level);
	/* as PostgreSQL's own leaves it: the portal has no snapshot to pop any more */
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
}

void
ddl_build_concurrently(IndexStmt *stmt, char *text, bool toplevel)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, false);
	Oid			schema = get_rel_namespace(relid);
	MemoryContext context = AllocSetContextCreate(PortalContext, "nodedb concurrent index", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Build		b = {.context = context};

	PreventInTransactionBlock(toplevel, "CREATE INDEX CONCURRENTLY");
	session_before_utility();
	refuse(stmt, relid);
	b.schema = get_namespace_name(schema);
	b.table = get_rel_name(relid);
	b.name = stmt->idxname ? pstrdup(stmt->idxname) : choose_name(stmt, schema);
	b.text = text;
	b.unique = stmt->unique;
	b.search_path = pstrdup(GetConfigOption("search_path", false, false));
	if (OidIsValid(get_relname_relid(b.name, schema)))
	{
		ereport(stmt->if_not_exists ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists%s", b.name, stmt->if_not_exists ? ", skipping" : "")));
		MemoryContextSwitchTo(old);
		return;
	}
	session_internal(announce, &b);
	commit();
	PG_TRY();
	{
		MemoryContextSwitchTo(context);
		wait_for_all(&b);
		MemoryContextSwitchTo(context);
		STOP_EVENT("index-built");
		if (b.unique)
			look_for_duplicates(&b);
		STOP_EVENT("index-looked");
		adopt(&b);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		ddl_becoming_unique.index = InvalidOid;
		ddl_adopting = InvalidOid;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		HOLD_INTERRUPTS();
		PG_TRY();
		{
			in_own_transaction(make_unwanted, &b);
			if (error->sqlerrcode != ERRCODE_QUERY_CANCELED && error->sqlerrcode != ERRCODE_ADMIN_SHUTDOWN)
				wait_until_dropped(&b);
		}
		PG_CATCH();
		{
			/* The lease worker sees to the rows of sessions that are gone. */
			EmitErrorReport();
			FlushErrorState();
			AbortCurrentTransaction();
		}
		PG_END_TRY();
		RESUME_INTERRUPTS();
		StartTransactionCommand();	/* whoever catches the error expects one */
		MemoryContextSwitchTo(context);
		ReThrowError(error);
	}
	PG_END_TRY();
}

/* ---- on a replica ---- */

void
ddl_drop_unfinished(IndexStmt *stmt)
{
	Oid			table = RangeVarGetRelid(stmt->relation, AccessExclusiveLock, true);	/* the builder gives way */
	Oid			index = OidIsValid(table) ? get_relname_relid(stmt->idxname, get_rel_namespace(table)) : InvalidOid;
	HeapTuple	tuple = OidIsValid(index) ? SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index)) : NULL;
	ObjectAddress object;
	bool		unfinished;

	if (!HeapTupleIsValid(tuple))
		return;
	unfinished = !((Form_pg_index) GETSTRUCT(tuple))->indisvalid && ((Form_pg_index) GETSTRUCT(tuple))->indrelid == table;
	ReleaseSysCache(tuple);
	if (!unfinished)
		return;
	ObjectAddressSet(object, RelationRelationId, index);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();
}

/* ---- the builder ---- */

static bool
is_valid_here(const Build *b)
{
	Oid			index = index_here(b);
	HeapTuple	tuple;
	bool		valid;

	if (!OidIsValid(index))
		return false;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return false;
	valid = ((Form_pg_index) GETSTRUCT(tuple))->indisvalid;
	ReleaseSysCache(tuple);
	return valid;
}

/* On this node alone. The command may end the transaction and begin others: what it allocates meanwhile must not go with one of them. */
static void
run_here(const Build *b, Node *stmt, const char *text)
{
	PlannedStmt *pstmt;

	MemoryContextSwitchTo(b->context);
	pstmt = makeNode(PlannedStmt);
	pstmt->commandType = CMD_UTILITY;
	pstmt->utilityStmt = stmt;
	pstmt->stmt_len = strlen(text);
	ProcessUtility(pstmt, text, false, PROCESS_UTILITY_TOPLEVEL, NULL, NULL, None_Receiver, NULL);
}

/*
 * Only when it is not valid, unless it is unwanted. The table's lock keeps the applier from making it meanwhile. CONCURRENTLY: whoever waits for ACCESS EXCLUSIVE
 * stands in the way of the applier, and waits for writers who wait for the applier.
 */
static void
drop_here(const Build *b, bool unwanted)
{
	char	   *text = psprintf("DROP INDEX CONCURRENTLY %s", quote_qualified_identifier(b->schema, b->name));
	Oid			schema;
	Oid			table;

	begin();
	schema = get_namespace_oid(b->schema, true);
	table = OidIsValid(schema) ? get_relname_relid(b->table, schema) : InvalidOid;
	if (OidIsValid(table))
		LockRelationOid(table, ShareUpdateExclusiveLock);
	if (OidIsValid(index_here(b)) && (unwanted || !is_valid_here(b)))
		run_here(b, linitial_node(RawStmt, pg_parse_query(text))->stmt, text);
	commit();
}

static void
build_here(const Build *b)
{
	IndexStmt  *stmt = castNode(IndexStmt, linitial_node(RawStmt, pg_parse_query(b->text))->stmt);

	stmt->idxname = b->name;
	stmt->unique = false;		/* not yet: unique.c */
	stmt->tableSpace = NULL;
	stmt->relation->schemaname = b->schema;
	stmt->relation->relname = b->table;
	SetConfigOption("search_path", b->search_path, PGC_SUSET, PGC_S_SESSION);
	begin();
	run_here(b, (Node *) stmt, b->text);	/* commits and begins by itself */
	commit();
	SetConfigOption("search_path", "pg_catalog", PGC_SUSET, PGC_S_SESSION);
}

static char *
column(const Build *b, int n)
{
	return MemoryContextStrdup(b->context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, n));
}

static void
take_next(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(nodedb_shared->self)};

	b->name = NULL;
	if (SPI_execute_with_args("UPDATE nodedb.index_builds SET state = CASE state WHEN 'unwanted' THEN state ELSE 'building' END"
							  " WHERE (schema, name, node_id) IN (SELECT schema, name, node_id FROM nodedb.index_builds"
							  " WHERE node_id = $1 AND state IN ('waiting', 'building', 'unwanted') ORDER BY schema, name LIMIT 1)"
							  " RETURNING schema, name, table_name, command, search_path, state", 1, types, values, NULL, false, 0) != SPI_OK_UPDATE_RETURNING)
		elog(ERROR, "nodedb: could not read nodedb.index_builds");
	if (SPI_processed == 0)
		return;
	b->schema = column(b, 1);
	b->name = column(b, 2);
	b->table = column(b, 3);
	b->text = column(b, 4);
	b->search_path = column(b, 5);
	b->gone = strcmp(column(b, 6), "unwanted") == 0;
}

static void
note_end(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(b->schema), CStringGetTextDatum(b->name), Int32GetDatum(nodedb_shared->self),
		b->failed ? CStringGetTextDatum(b->failed) : (Datum) 0
	};
	char		nulls[] = {' ', ' ', ' ', b->failed ? ' ' : 'n'};

	if (SPI_execute_with_args("UPDATE nodedb.index_builds SET state = CASE WHEN $4 IS NULL THEN 'valid' ELSE 'failed' END, message = $4"
							  " WHERE schema = $1 AND name = $2 AND node_id = $3 AND state = 'building'", 4, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "nodedb: could not note the end of an index's construction");
}

static void
remove_own_row(void *arg)
{
	Build	   *b = arg;
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		values[] = {CStringGetTextDatum(b->schema), CStringGetTextDatum(b->name), Int32GetDatum(nodedb_shared->self)};

	if (SPI_execute_with_args("DELETE FROM nodedb.index_builds WHERE schema = $1 AND name = $2 AND node_id = $3 AND state = 'unwanted'", 3, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "nodedb: could not change nodedb.index_builds");
}

/* Once; the reason in b->failed. */
static void
try_build(Build *b)
{
	b->failed = NULL;
	PG_TRY();
	{
		bool		valid;

		begin();
		valid = is_valid_here(b);
		commit();
		MemoryContextSwitchTo(b->context);
		if (!valid)
		{
			drop_here(b, false);
			MemoryContextSwitchTo(b->context);
			build_here(b);
		}
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(b->context);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(b->context);
		SetConfigOption("search_path", "pg_catalog", PGC_SUSET, PGC_S_SESSION);
		b->failed = pstrdup(error->message);
		drop_here(b, false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(b->context);
}

void
nodedb_index_builder_main(Datum arg)
{
	Build		b = {0};

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);	/* the guard, when a build is in the applier's way */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(nodedb_database, NULL, 0);
	SetConfigOption("search_path", "pg_catalog", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("nodedb.replicate_ddl", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("nodedb.read_consistency", "local", PGC_SUSET, PGC_S_OVERRIDE);
	b.context = AllocSetContextCreate(TopMemoryContext, "nodedb index builder", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		MemoryContextReset(b.context);
		MemoryContextSwitchTo(b.context);
		in_own_transaction(take_next, &b);
		if (b.name == NULL)
			break;
		pgstat_report_activity(STATE_RUNNING, b.text);
		if (b.gone)
		{
			drop_here(&b, true);
			MemoryContextSwitchTo(b.context);
			in_own_transaction(remove_own_row, &b);
			continue;
		}
		for (int tries = 0; tries == 0 || (b.failed != NULL && tries < TRIES); tries++)
			try_build(&b);
		in_own_transaction(note_end, &b);
	}
	proc_exit(0);
}

/* ---- starting it: the lease worker ---- */

static bool wanted = false;

static void
look_for_work(void *arg)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(nodedb_shared->self), CStringGetTextDatum(psprintf("%u.%u.", nodedb_shared->self, nodedb_shared->incarnation))};

	/* Sessions of this node that are gone, of this life or an earlier one; and those of nodes that left the cluster. And rows that nobody will see to. */
	if (SPI_execute_with_args("UPDATE nodedb.index_builds SET state = 'unwanted' WHERE state <> 'unwanted' AND"
							  " (split_part(session, '.', 1)::int NOT IN (SELECT node_id FROM nodedb.nodes) OR split_part(session, '.', 1)::int = $1 AND"
							  " session NOT IN (SELECT $2 || pid FROM pg_stat_activity))", 2, types, values, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_execute_with_args("DELETE FROM nodedb.index_builds WHERE node_id NOT IN (SELECT node_id FROM nodedb.nodes)", 0, NULL, NULL, NULL, false, 0) != SPI_OK_DELETE ||
		SPI_execute_with_args("SELECT FROM nodedb.index_builds WHERE node_id = $1 AND state IN ('waiting', 'building', 'unwanted')", 1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not read nodedb.index_builds");
	wanted = SPI_processed > 0;
}

/* In a transaction. True: there is none to be started, or it runs. */
bool
ddl_start_builder(void)
{
	static BackgroundWorkerHandle *running = NULL;
	BackgroundWorker worker;
	pid_t		pid;

	session_internal(look_for_work, NULL);
	if (!wanted)
		return true;
	if (running != NULL && GetBackgroundWorkerPid(running, &pid) != BGWH_STOPPED)
		return false;			/* it may have looked before this row came: look again */
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_name, "nodedb index builder", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "nodedb index builder", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "nodedb", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "nodedb_index_builder_main", BGW_MAXLEN);
	running = NULL;
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);	/* the handle is kept */
		bool		started = RegisterDynamicBackgroundWorker(&worker, &running);

		MemoryContextSwitchTo(old);
		if (!started)
			ereport(LOG,
					(errmsg("nodedb: no background worker is free to build an index"),
					 errhint("Raise max_worker_processes.")));
	}
	return false;
}

void
ddl_concurrent_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}
