/*
 * retry_effects.c: what an attempt did that a rollback does not undo.
 *
 * While an attempt runs, the functions that it calls, the tables that it may write to (for their triggers) and its utility statements are noted; only when
 * it has failed they are looked at. Functions become known when an expression is prepared (OAT_FUNCTION_EXECUTE), triggers are called without that.
 *
 * What is safe, and why that is enough:
 *   not VOLATILE                 says itself that it has no effects
 *   SQL and trusted languages    reach the outside only by functions and statements, which are noted themselves
 *   VOLATILE of PostgreSQL's own, in a list: no effect, or one that the abort undoes, or values that are lost anyhow (sequences)
 *   triggers of PostgreSQL's own (foreign keys, ...)
 *   SET, LOCK, NOTIFY inside of functions
 * Everything else is not: C and untrusted languages (dblink), COPY, session-level advisory locks, setval().
 *
 * Invariant: what is not known to be safe is not; when too much was called to be noted, neither.
 */
#include "retry.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/trigger.h"
#include "nodes/nodes.h"
#include "nodes/plannodes.h"
#include "storage/lockdefs.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define NOTED_MAX 256

typedef struct Noted
{
	Oid			oids[NOTED_MAX];
	int			n;
	bool		overflow;
} Noted;

bool		retry_watching = false;

static uint64 pinned[FirstNormalObjectId / 64];	/* a bit for each of PostgreSQL's own functions */
static Noted functions;			/* the others */
static Noted relations;
static const char *utility;		/* the first that is not safe */

void
retry_watch_begin(void)
{
	memset(pinned, 0, sizeof(pinned));
	functions.n = relations.n = 0;
	functions.overflow = relations.overflow = false;
	utility = NULL;
	retry_watching = true;
}

static void
note(Noted *noted, Oid oid)
{
	for (int i = noted->n; i-- > 0;)
		if (noted->oids[i] == oid)
			return;
	if (noted->n == NOTED_MAX)
		noted->overflow = true;
	else
		noted->oids[noted->n++] = oid;
}

void
retry_watch_function(Oid function)
{
	if (function < FirstNormalObjectId)
		pinned[function / 64] |= UINT64CONST(1) << function % 64;
	else
		note(&functions, function);
}

void
retry_watch_plan(PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && rte->rellockmode >= RowExclusiveLock)
			note(&relations, rte->relid);
	}
}

void
retry_watch_utility(Node *statement)
{
	if (utility == NULL && !IsA(statement, VariableSetStmt) && !IsA(statement, NotifyStmt) && !IsA(statement, LockStmt))
		utility = GetCommandTagName(CreateCommandTag(statement));
}

static bool
pinned_is_safe(Oid function)
{
	switch (function)
	{
		case F_RANDOM:
		case F_SETSEED:
		case F_GEN_RANDOM_UUID:
		case F_CLOCK_TIMESTAMP:
		case F_TIMEOFDAY:
		case F_PG_SLEEP:
		case F_PG_SLEEP_FOR:
		case F_PG_SLEEP_UNTIL:
		case F_NEXTVAL:
		case F_CURRVAL:
		case F_LASTVAL:
		case F_PG_NOTIFY:
		case F_SET_CONFIG:
		case F_PG_ADVISORY_XACT_LOCK_INT8:
		case F_PG_ADVISORY_XACT_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_XACT_LOCK_INT4_INT4:
		case F_PG_ADVISORY_XACT_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_XACT_LOCK_INT8:
		case F_PG_TRY_ADVISORY_XACT_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_XACT_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_XACT_LOCK_SHARED_INT4_INT4:
			return true;
		default:
			return func_volatile(function) != PROVOLATILE_VOLATILE;
	}
}

static bool
language_is_trusted(Oid language)
{
	HeapTuple	tuple = SearchSysCache1(LANGOID, ObjectIdGetDatum(language));
	bool		trusted = HeapTupleIsValid(tuple) && ((Form_pg_language) GETSTRUCT(tuple))->lanpltrusted;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return trusted && language != INTERNALlanguageId && language != ClanguageId;
}

/* nodedb's own that stand for PostgreSQL's (sequence/rewrite.c), or tell something. */
static bool
ours_is_safe(const char *name)
{
	return strcmp(name, "nextval") == 0 || strcmp(name, "currval") == 0 || strcmp(name, "lastval") == 0 || strcmp(name, "transaction_id") == 0 ||
		strcmp(name, "submit") == 0;
}

static bool
function_is_safe(Oid function, bool trigger)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		safe;

	if (!HeapTupleIsValid(tuple))
		return false;			/* dropped meanwhile: nobody knows any more */
	form = (Form_pg_proc) GETSTRUCT(tuple);
	safe = (!trigger && form->provolatile != PROVOLATILE_VOLATILE) || language_is_trusted(form->prolang) ||
		(form->pronamespace == nodedb_schema_oid() && ours_is_safe(NameStr(form->proname)));
	ReleaseSysCache(tuple);
	return safe;
}

static const char *
called(Oid function)
{
	char	   *name = get_func_name(function);

	return name != NULL ? psprintf("function %s()", name) : "a function that is dropped";
}

static const char *
triggers_verdict(Oid relid)
{
	Relation	rel = RelationIdGetRelation(relid);
	const char *verdict = NULL;

	if (!RelationIsValid(rel))
		return "a table that is dropped";
	/* Its server may have committed already when the log refuses. */
	if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
		verdict = "a foreign table";
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers && verdict == NULL; i++)
	{
		Oid			function = rel->trigdesc->triggers[i].tgfoid;

		if (function >= FirstNormalObjectId && !function_is_safe(function, true))
			verdict = called(function);
	}
	RelationClose(rel);
	return verdict;
}

const char *
retry_watch_verdict(void)
{
	const char *verdict = NULL;
	ListCell   *lc;

	if (utility != NULL)
		return utility;
	if (functions.overflow || relations.overflow)
		return "too much to be looked through";
	for (int i = 0; i < functions.n; i++)
		if (!function_is_safe(functions.oids[i], false))
			return called(functions.oids[i]);
	for (Oid function = 1; function < FirstNormalObjectId; function++)
		if ((pinned[function / 64] >> function % 64 & 1) != 0 && !pinned_is_safe(function))
			return called(function);
	/* A row may go to any partition, whose triggers are its own. */
	for (int i = 0; i < relations.n; i++)
		foreach(lc, find_all_inheritors(relations.oids[i], NoLock, NULL))
			if ((verdict = triggers_verdict(lfirst_oid(lc))) != NULL)
				return verdict;
	return NULL;
}
