/*
 * copy.c: COPY FROM into tables whose omitted columns draw from replicated sequences.
 *
 * COPY evaluates the defaults of omitted columns without the planner, and identity columns besides, so the command is driven from here: the same steps,
 * between which the defaults' expressions are replaced.
 *
 * Invariant: who may copy what is decided as PostgreSQL decides it: roles for files and programs, INSERT on the columns, no row security.
 */
#include "sequence_internal.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"

/* Does an omitted column draw from a sequence? */
static bool
draws(Relation rel, List *given)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && att->attgenerated == '\0' && !list_member_int(given, i + 1) &&
			rewrite_wanted(build_column_default(rel, i + 1)))
			return true;
	}
	return false;
}

static void
check_source(const CopyStmt *stmt)
{
	Oid			role = stmt->is_program ? ROLE_PG_EXECUTE_SERVER_PROGRAM : ROLE_PG_READ_SERVER_FILES;

	if (stmt->filename != NULL && !has_privs_of_role(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 stmt->is_program ? errmsg("must be superuser or have privileges of the pg_execute_server_program role to COPY from a program") :
				 errmsg("must be superuser or have privileges of the pg_read_server_files role to COPY from a file"),
				 errhint("Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone.")));
}

static void
check_target(ParseState *pstate, ParseNamespaceItem *item, Relation rel, List *given)
{
	RangeTblEntry *rte = item->p_rte;
	ListCell   *lc;

	rte->requiredPerms = ACL_INSERT;
	foreach(lc, given)
		rte->insertedCols = bms_add_member(rte->insertedCols, lfirst_int(lc) - FirstLowInvalidHeapAttributeNumber);
	ExecCheckRTPerms(pstate->p_rtable, true);
	if (check_enable_rls(rte->relid, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY FROM not supported with row-level security"),
				 errhint("Use INSERT statements instead.")));
	if (!rel->rd_islocaltemp)
		PreventCommandIfReadOnly("COPY FROM");
}

static Node *
where_clause(ParseState *pstate, ParseNamespaceItem *item, Node *raw)
{
	Node	   *clause;

	if (raw == NULL)
		return NULL;
	addNSItemToQuery(pstate, item, false, true, true);
	clause = transformExpr(pstate, copyObject(raw), EXPR_KIND_COPY_WHERE);
	clause = coerce_to_boolean(pstate, clause, "WHERE");
	assign_expr_collations(pstate, clause);
	clause = eval_const_expressions(NULL, rewrite_expression(clause));
	clause = (Node *) canonicalize_qual((Expr *) clause, false);
	return (Node *) make_ands_implicit((Expr *) clause);
}

static void
replace_defaults(CopyFromState cstate, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(cstate->copycontext);

	for (int i = 0; i < cstate->num_defaults; i++)
	{
		Node	   *expression = build_column_default(rel, cstate->defmap[i] + 1);

		if (rewrite_wanted(expression))
			cstate->defexprs[i] = ExecInitExpr(expression_planner((Expr *) rewrite_expression(expression)), NULL);
	}
	MemoryContextSwitchTo(old);
}

bool
copy_with_leases(PlannedStmt *pstmt, const char *source, QueryEnvironment *env, uint64 *processed)
{
	CopyStmt   *stmt = castNode(CopyStmt, pstmt->utilityStmt);
	Relation	rel;
	List	   *given;
	ParseState *pstate;
	ParseNamespaceItem *item;
	CopyFromState cstate;
	Node	   *where;

	if (!stmt->is_from || stmt->relation == NULL)
		return false;
	check_source(stmt);
	rel = table_openrv(stmt->relation, RowExclusiveLock);
	given = CopyGetAttnums(RelationGetDescr(rel), rel, stmt->attlist);
	if (!draws(rel, given))
	{
		table_close(rel, NoLock);
		return false;
	}
	pstate = make_parsestate(NULL);
	pstate->p_sourcetext = source;
	pstate->p_queryEnv = env;
	item = addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL, false, false);
	check_target(pstate, item, rel, given);
	where = where_clause(pstate, item, stmt->whereClause);
	cstate = BeginCopyFrom(pstate, rel, where, stmt->filename, stmt->is_program, NULL, stmt->attlist, stmt->options);
	replace_defaults(cstate, rel);
	*processed = CopyFrom(cstate);
	EndCopyFrom(cstate);
	free_parsestate(pstate);
	table_close(rel, NoLock);
	return true;
}
