/*
 * replay.c: a command of another node, in the applier's transaction.
 *
 * Invariants:
 * 1. The command runs as its role, with its settings and its time, and leaves the applier's own as they were (an error leaves it to the abort).
 * 2. It runs as a part of a command: event triggers do not fire, whatever their mode; what they did at the origin travels by itself.
 * 3. What is a matter of the node is not taken over: tablespaces, CONCURRENTLY, checks of function bodies.
 * 4. An error that this node's own objects may cause (a name that is taken, a missing extension) waits for an administrator: class 55, which the
 *    applier tries again, for ever. The other nodes go on meanwhile.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* ---- as it was there ---- */

static Oid
role_here(const char *name)
{
	static char missing[NAMEDATALEN];
	Oid			role = name[0] == '\0' ? BOOTSTRAP_SUPERUSERID : get_role_oid(name, true);

	if (OidIsValid(role))
		return role;
	if (strncmp(missing, name, NAMEDATALEN - 1) != 0)
	{
		strlcpy(missing, name, sizeof(missing));
		ereport(LOG,
				(errmsg("nodedb: role \"%s\" of a replicated command does not exist here: the superuser owns what it makes", name),
				 errhint("Create roles in the replicated database, so that they exist on every node.")));
	}
	return BOOTSTRAP_SUPERUSERID;
}

static void
set_times(TimestampTz xact, TimestampTz statement)
{
	int			worker = ParallelWorkerNumber;

	/* PostgreSQL lets only parallel workers take over another process's timestamps. */
	ParallelWorkerNumber = 0;
	SetParallelStartTimestamps(xact, statement);
	ParallelWorkerNumber = worker;
}

static void
set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* ---- the statement ---- */

/* Of constraints, alone or in columns: where their index lies. */
static void
make_constraints_local(List *elements)
{
	ListCell   *lc;

	foreach(lc, elements)
	{
		Node	   *element = lfirst(lc);

		if (element != NULL && IsA(element, Constraint))
			((Constraint *) element)->indexspace = NULL;
		else if (element != NULL && IsA(element, ColumnDef))
			make_constraints_local(((ColumnDef *) element)->constraints);
	}
}

/* What is a matter of the node; and a thing to be dropped that is not here is as good as dropped. */
static void
make_local(Node *stmt)
{
	ListCell   *lc;

	switch (nodeTag(stmt))
	{
		case T_CreateSchemaStmt:
			foreach(lc, ((CreateSchemaStmt *) stmt)->schemaElts)
				make_local(lfirst(lc));
			break;
		case T_CreateStmt:
			((CreateStmt *) stmt)->tablespacename = NULL;
			make_constraints_local(((CreateStmt *) stmt)->tableElts);
			make_constraints_local(((CreateStmt *) stmt)->constraints);
			break;
		case T_AlterTableStmt:
			foreach(lc, ((AlterTableStmt *) stmt)->cmds)
				make_constraints_local(list_make1(lfirst_node(AlterTableCmd, lc)->def));
			break;
		case T_IndexStmt:
			((IndexStmt *) stmt)->tableSpace = NULL;
			if (((IndexStmt *) stmt)->if_not_exists)
				ddl_drop_unfinished((IndexStmt *) stmt);
			break;
		case T_CreateTableAsStmt:
			((CreateTableAsStmt *) stmt)->into->tableSpaceName = NULL;
			break;
		case T_RefreshMatViewStmt:
			((RefreshMatViewStmt *) stmt)->concurrent = false;
			break;
		case T_DropStmt:
			((DropStmt *) stmt)->missing_ok = true;
			((DropStmt *) stmt)->concurrent = false;
			break;
		case T_SecLabelStmt:
			ddl_placement_lock((SecLabelStmt *) stmt);
			break;
		case T_DropRoleStmt:
			((DropRoleStmt *) stmt)->missing_ok = true;
			break;
		default:
			break;
	}
}

static void
run_text(const char *text)
{
	List	   *parsed = pg_parse_query(text);
	List	   *queries;
	PlannedStmt *pstmt;
	DdlTrust	trust;
	bool		has_rows;

	if (list_length(parsed) != 1)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("replicated command is not one statement")));
	PushActiveSnapshot(GetTransactionSnapshot());
	queries = pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, parsed), text, NULL, 0, NULL);
	PopActiveSnapshot();
	if (list_length(queries) != 1 || linitial_node(Query, queries)->commandType != CMD_UTILITY)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("replicated command is not a utility command")));
	make_local(linitial_node(Query, queries)->utilityStmt);
	pstmt = linitial_node(PlannedStmt, pg_plan_queries(queries, text, 0, NULL));

	PushActiveSnapshot(GetTransactionSnapshot());
	has_rows = ddl_matview_begin(pstmt->utilityStmt);
	if (ddl_trust_begin(pstmt->utilityStmt, &trust))
		ProcessUtility(pstmt, text, false, PROCESS_UTILITY_SUBCOMMAND, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
	ddl_trust_finish(&trust);
	if (has_rows)
		ddl_matview_finish(pstmt->utilityStmt);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommandCounterIncrement();
}

static void
apply_command(const DdlRecord *r)
{
	Oid			user;
	Oid			session_user = GetSessionUserId();
	Oid			session_role = role_here(r->session_role);
	Oid			role = role_here(r->role);
	int			context;
	int			level = NewGUCNestLevel();
	bool		session_is_superuser = superuser_arg(session_user);
	bool		role_is_superuser = superuser_arg(session_role);
	TimestampTz xact_time = GetCurrentTransactionStartTimestamp();
	TimestampTz statement_time = GetCurrentStatementStartTimestamp();

	GetUserIdAndSecContext(&user, &context);
	for (int i = 0; i < r->n_pairs; i++)
		set(r->keys[i], r->values[i]);
	set("default_tablespace", "");
	set("check_function_bodies", "off");
	PG_TRY();
	{
		set_times(r->xact_time, r->statement_time);
		SetSessionAuthorization(session_role, role_is_superuser);
		SetUserIdAndSecContext(role, context);
		run_text(r->text);
	}
	PG_FINALLY();
	{
		SetSessionAuthorization(session_user, session_is_superuser);	/* no look-ups here: there may have been an error */
		SetUserIdAndSecContext(user, context);
		set_times(xact_time, statement_time);
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);
}

/* A relation of that name is not enough: it must be this transaction that made it. */
static bool
was_made_now(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		now;

	if (!HeapTupleIsValid(tuple))
		return false;
	now = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
	ReleaseSysCache(tuple);
	return now;
}

static void
check_names(const DdlRecord *r)
{
	for (int i = 0; i < r->n_pairs; i++)
	{
		Oid			schema = get_namespace_oid(r->keys[i], true);

		if (!OidIsValid(schema) || !was_made_now(get_relname_relid(r->values[i], schema)))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("replicated command did not make \"%s.%s\" here", r->keys[i], r->values[i]),
					 errdetail("PostgreSQL chose another name, since an object of this node has this one.")));
	}
}

/* ---- errors ---- */

/* Can it be this node's own objects that stand in the way? */
static bool
can_be_mended(int code)
{
	int			category = ERRCODE_TO_CATEGORY(code);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) ||	/* missing, there already, not allowed */
		category == ERRCODE_TO_CATEGORY(ERRCODE_DEPENDENT_PRIVILEGE_DESCRIPTORS_STILL_EXIST) ||	/* objects of this node depend on it */
		category == ERRCODE_TO_CATEGORY(ERRCODE_INVALID_SCHEMA_NAME) ||
		code == ERRCODE_UNDEFINED_FILE ||	/* the library of a C function */
		category == ERRCODE_TO_CATEGORY(ERRCODE_FEATURE_NOT_SUPPORTED);	/* missing extensions, languages */
}

void
ddl_apply(const char *data, Size len)
{
	MemoryContext caller = CurrentMemoryContext;
	DdlRecord	r;

	ddl_record_decode(data, len, &r);
	PG_TRY();
	{
		if (r.kind == DDL_RECORD_COMMAND)
			apply_command(&r);
		else if (r.kind == DDL_RECORD_EMPTIED)
			ddl_rewrite_empty(&r);
		else if (r.kind == DDL_RECORD_UNIQUE)
			ddl_unique_apply(&r);
		else if (r.kind == DDL_RECORD_NAMED)
			ddl_named_apply(&r);
		else
			check_names(&r);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		if (!can_be_mended(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		/* in one line, for the applier logs no more than that */
				 errmsg("a replicated schema change does not fit this node's own objects: %s%s%s%s%s", error->message,
						error->detail ? ": " : "", error->detail ? error->detail : "", r.kind == DDL_RECORD_COMMAND ? ": " : "",
						r.kind == DDL_RECORD_COMMAND ? r.text : ""),
				 errhint("Rename, drop or create what stands in the way on this node (nodedb.replicate_ddl = off); the applier keeps trying.")));
	}
	PG_END_TRY();
}
