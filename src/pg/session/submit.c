/*
 * submit.c: nodedb.submit(function, args...): a call of a function that the server runs again until it is committed (OLLP; Thomson et al. 2012,
 * section 3.2.1: run, learn the keys, certify, run again; from nodedb.reserve_after failures on with the keys reserved).
 *
 * retry.c runs the statement, as it does with a single INSERT or UPDATE. What is different: a function's changes are not known before it has run, so the
 * client has to ask for it, and the statement must be alone, which is checked and not guessed: a call that could not be run again fails before it has run.
 *
 * Invariant: the function is called only by the attempt that retry.c has announced (submit_expect()), once.
 */
#include "submit.h"

#include "../nodedb.h"
#include "session.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/regproc.h"

PG_FUNCTION_INFO_V1(nodedb_submit);

static bool expected = false;

bool
submit_is(const PlannedStmt *plan)
{
	const Result *top = (const Result *) plan->planTree;
	const FuncExpr *call;

	if (plan->commandType != CMD_SELECT || !IsA(top, Result) || top->plan.lefttree != NULL || top->resconstantqual != NULL ||
		list_length(top->plan.targetlist) != 1)
		return false;
	call = (const FuncExpr *) linitial_node(TargetEntry, top->plan.targetlist)->expr;
	return IsA(call, FuncExpr) && call->funcid >= FirstNormalObjectId && get_func_namespace(call->funcid) == nodedb_schema_oid() &&
		strcmp(get_func_name(call->funcid), "submit") == 0;
}

void
submit_expect(bool next)
{
	expected = next;
}

void
submit_refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("nodedb.submit() must be alone in its transaction"),
			 errdetail("It commits, and begins again after a conflict, which would change what was done before it."),
			 errhint("Run SELECT nodedb.submit(...), and nothing around it, outside of transaction blocks, functions, cursors and pipelines. "
					 "Drivers that begin a transaction by themselves need autocommit.")));
}

/* "SELECT name($1, 'literal')": literals without a type stay what they are, so that the function's own types count. */
static char *
query_text(const char *name, int n, const Oid *types, const Datum *args, const bool *nulls)
{
	StringInfoData text;
	int			parameter = 0;
	ListCell   *lc;

	initStringInfo(&text);
	appendStringInfoString(&text, "SELECT ");
	foreach(lc, stringToQualifiedNameList(name))
		appendStringInfo(&text, "%s%s", foreach_current_index(lc) > 0 ? "." : "", quote_identifier(strVal(lfirst(lc))));
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(&text, i == 0 ? "(" : ", ");
		if (types[i] != UNKNOWNOID)
			appendStringInfo(&text, "$%d", ++parameter);
		else
			appendStringInfoString(&text, nulls[i] ? "NULL" : quote_literal_cstr(DatumGetCString(args[i])));
	}
	appendStringInfoString(&text, n == 0 ? "()" : ")");
	return text.data;
}

/* What the query gives: one value, not a set of them. */
static Oid
result_type(SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	if (linitial_node(Query, source->query_list)->hasTargetSRFs)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("nodedb.submit() cannot call a function that returns a set"),
				 errhint("Return an array, or jsonb.")));
	return TupleDescAttr(source->resultDesc, 0)->atttypid;
}

static Datum
as_jsonb(Datum value, Oid type)
{
	FmgrInfo	function;

	fmgr_info(F_TO_JSONB, &function);
	function.fn_expr = (Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(makeNullConst(type, -1, InvalidOid)), InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL);
	return FunctionCall1(&function, value);
}

/* submit(function text, VARIADIC args "any") returns jsonb */
Datum
nodedb_submit(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Datum	   *args = NULL;
	Oid		   *types = NULL;
	bool	   *nulls = NULL;
	int			n = PG_NARGS() > 1 ? extract_variadic_args(fcinfo, 1, false, &args, &types, &nulls) : 0;
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	Oid		   *value_types = palloc(sizeof(Oid) * Max(n, 1));
	char	   *value_nulls = palloc(Max(n, 1));
	int			n_values = 0;
	char	   *sql;
	SPIPlanPtr	plan;
	Oid			type;
	Datum		result = (Datum) 0;
	bool		null = true;
	int			rc;

	if (!expected)
		submit_refuse();
	expected = false;
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("nodedb.submit() needs the name of a function")));
	n = Max(n, 0);				/* VARIADIC NULL: no arguments */
	sql = query_text(text_to_cstring(PG_GETARG_TEXT_PP(0)), n, types, args, nulls);
	for (int i = 0; i < n; i++)
		if (types[i] != UNKNOWNOID)
		{
			values[n_values] = args[i];
			value_types[n_values] = types[i];
			value_nulls[n_values++] = nulls[i] ? 'n' : ' ';
		}

	SPI_connect();
	plan = SPI_prepare(sql, n_values, value_types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	type = result_type(plan);
	rc = SPI_execute_plan(plan, values, value_nulls, false, 0);
	if (rc != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "SPI_execute_plan: %s", SPI_result_code_string(rc));
	if (type != VOIDOID)
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	if (!null)
	{
		MemoryContext old;

		result = as_jsonb(result, type);
		old = MemoryContextSwitchTo(context);
		result = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	if (null)
		PG_RETURN_NULL();
	return result;
}
