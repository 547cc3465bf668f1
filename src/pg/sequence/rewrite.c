/*
 * rewrite.c: calls of nextval(), currval(), lastval() and setval(), and identity columns, become calls of nodedb's functions.
 *
 * PostgreSQL has no hook in these functions, and its own expressions name them by oid, so the expressions are changed on their way to the executor:
 *   queries      planner hook, before planning: columns' defaults are in the query by then, inserted by the rewriter
 *   defaults of functions' arguments   would be inserted by the planner: they are inserted here when they hold such a call
 *   SQL functions   would be inlined by the planner: refused for those whose body mentions one (needs_fmgr_hook); then the body is planned by itself
 *   CALL, EXECUTE, COPY FROM   have no planner: utility.c, copy.c
 *
 * Invariant: all of them are replaced or none: PostgreSQL's currval() after our nextval() finds nothing and says so.
 */
#include "sequence_internal.h"

#include "session/session.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static planner_hook_type prev_planner = NULL;
static needs_fmgr_hook_type prev_needs_fmgr = NULL;

static struct
{
	Oid			theirs;
	const char *name;
	int			n_args;
	Oid			args[3];
	Oid			ours;
}			functions[] = {
	{F_NEXTVAL, "nextval", 1, {REGCLASSOID}, InvalidOid},
	{F_CURRVAL, "currval", 1, {REGCLASSOID}, InvalidOid},
	{F_LASTVAL, "lastval", 0, {InvalidOid}, InvalidOid},
	{F_SETVAL_REGCLASS_INT8, "setval", 2, {REGCLASSOID, INT8OID}, InvalidOid},
	{F_SETVAL_REGCLASS_INT8_BOOL, "setval", 3, {REGCLASSOID, INT8OID, BOOLOID}, InvalidOid},
};

typedef struct BodyFact
{
	Oid			function;		/* hash key */
	bool		mentions;
} BodyFact;

static HTAB *bodies = NULL;
static bool known = false;		/* `ours` is looked up */
static bool available = false;	/* ... and all are there */

/* ---- our functions ---- */

static void
forget(Datum arg, int cacheid, uint32 hashvalue)
{
	known = false;
	if (bodies != NULL)
	{
		HASH_SEQ_STATUS scan;
		BodyFact   *fact;

		hash_seq_init(&scan, bodies);
		while ((fact = hash_seq_search(&scan)) != NULL)
			(void) hash_search(bodies, &fact->function, HASH_REMOVE, NULL);
	}
}

static void
look_up(void)
{
	static bool registered = false;
	Oid			schema;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(PROCOID, forget, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget, (Datum) 0);
		registered = true;
	}
	known = true;
	available = false;
	schema = get_namespace_oid("nodedb", true);
	if (!OidIsValid(schema))
		return;
	for (int i = 0; i < lengthof(functions); i++)
	{
		oidvector  *args = buildoidvector(functions[i].args, functions[i].n_args);

		functions[i].ours = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(functions[i].name), PointerGetDatum(args),
											ObjectIdGetDatum(schema));
		if (!OidIsValid(functions[i].ours))
			return;
	}
	available = true;
}

static bool
is_available(void)
{
	if (!session_in_replicated_database())
		return false;
	if (!known)
		look_up();
	return available;
}

static Oid
ours_of(Oid function)
{
	for (int i = 0; i < lengthof(functions); i++)
		if (functions[i].theirs == function)
			return functions[i].ours;
	return InvalidOid;
}

/* ---- expressions ---- */

static bool wanted(Node *node, void *context);

/* Is one of `all` such a call that was not given? Given ones are looked at by whoever walks the call. */
static bool
default_wanted(List *all, List *given)
{
	ListCell   *lc;
	ListCell   *g;

	foreach(lc, all)
	{
		bool		was_given = false;

		foreach(g, given)
			was_given |= lfirst(g) == lfirst(lc) || (IsA(lfirst(g), NamedArgExpr) && (void *) ((NamedArgExpr *) lfirst(g))->arg == lfirst(lc));
		if (!was_given && wanted(lfirst(lc), NULL))
			return true;
	}
	return false;
}

/* The arguments with defaults that hold such a call; NIL: as they are. */
static List *
arguments_with_defaults(FuncExpr *call)
{
	HeapTuple	tuple;
	List	   *all = NIL;

	if (call->funcid < FirstNormalObjectId)
		return NIL;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	if (list_length(call->args) < ((Form_pg_proc) GETSTRUCT(tuple))->pronargs)
	{
		all = expand_function_arguments(call->args, false, call->funcresulttype, tuple);
		if (!default_wanted(all, call->args))
			all = NIL;
	}
	ReleaseSysCache(tuple);
	return all;
}

static bool
wanted(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, NextValueExpr))
		return true;
	if (IsA(node, FuncExpr) && (OidIsValid(ours_of(((FuncExpr *) node)->funcid)) || arguments_with_defaults((FuncExpr *) node) != NIL))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, wanted, context, 0);
	return expression_tree_walker(node, wanted, context);
}

bool
rewrite_wanted(Node *node)
{
	return is_available() && wanted(node, NULL);
}

/* The marker that rewrite_is_identity() looks for: PostgreSQL's grammar gives it to functions of its own alone. */
static Node *
identity_call(NextValueExpr *identity)
{
	Const	   *sequence = makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(identity->seqid), false, true);
	FuncExpr   *call = makeFuncExpr(ours_of(F_NEXTVAL), INT8OID, list_make1(sequence), InvalidOid, InvalidOid, COERCE_SQL_SYNTAX);

	if (identity->typeId == INT8OID)
		return (Node *) call;
	return (Node *) makeFuncExpr(identity->typeId == INT2OID ? F_INT2_INT8 : F_INT4_INT8, identity->typeId, list_make1(call), InvalidOid,
								 InvalidOid, COERCE_IMPLICIT_CAST);
}

bool
rewrite_is_identity(Node *call)
{
	return call != NULL && IsA(call, FuncExpr) && ((FuncExpr *) call)->funcformat == COERCE_SQL_SYNTAX;
}

static Node *
mutate(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, NextValueExpr))
		return identity_call((NextValueExpr *) node);
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, mutate, context, 0);
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;
		Oid			ours = ours_of(call->funcid);
		List	   *all = arguments_with_defaults(call);

		if (OidIsValid(ours) || all != NIL)
		{
			FuncExpr   *copy = makeNode(FuncExpr);

			*copy = *call;
			if (OidIsValid(ours))
				copy->funcid = ours;
			if (all != NIL)
				copy->args = all;
			return expression_tree_mutator((Node *) copy, mutate, context);
		}
	}
	return expression_tree_mutator(node, mutate, context);
}

Node *
rewrite_expression(Node *node)
{
	return rewrite_wanted(node) ? mutate(node, NULL) : node;
}

static PlannedStmt *
plan_query(Query *query, const char *source, int options, ParamListInfo params)
{
	if (rewrite_wanted((Node *) query))
		query = query_tree_mutator(query, mutate, NULL, QTW_DONT_COPY_QUERY);
	return prev_planner ? prev_planner(query, source, options, params) : standard_planner(query, source, options, params);
}

/* ---- SQL functions ---- */

static bool
text_mentions(const char *text)
{
	static const char *const words[] = {"nextval", "setval", "currval", "lastval"};
	char	   *lower = pstrdup(text);
	bool		found = false;

	for (char *p = lower; *p != '\0'; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	for (int i = 0; i < lengthof(words) && !found; i++)
		found = strstr(lower, words[i]) != NULL;
	pfree(lower);
	return found;
}

static bool
look_at_body(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Datum		body;
	bool		isnull;
	bool		mentions = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == SQLlanguageId)
	{
		body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
		if (!isnull)
			mentions = wanted(stringToNode(TextDatumGetCString(body)), NULL);
		else
		{
			body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
			mentions = !isnull && text_mentions(TextDatumGetCString(body));
		}
	}
	ReleaseSysCache(tuple);
	return mentions;
}

static bool
needs_fmgr(Oid function)
{
	BodyFact   *fact;
	bool		found;
	bool		mentions;

	if (prev_needs_fmgr && prev_needs_fmgr(function))
		return true;
	if (function < FirstNormalObjectId || !IsTransactionState() || !is_available())
		return false;
	if (bodies == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(BodyFact), .hcxt = CacheMemoryContext};

		bodies = hash_create("nodedb SQL functions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	fact = hash_search(bodies, &function, HASH_FIND, NULL);
	if (fact != NULL)
		return fact->mentions;
	mentions = look_at_body(function);
	fact = hash_search(bodies, &function, HASH_ENTER, &found);
	fact->mentions = mentions;
	return mentions;
}

void
rewrite_init(void)
{
	prev_planner = planner_hook;
	planner_hook = plan_query;
	prev_needs_fmgr = needs_fmgr_hook;
	needs_fmgr_hook = needs_fmgr;
}
