/*
 * utility.c: commands that make, change, restart, rename or drop sequences, and those whose expressions no planner sees.
 *
 * Stands inside the hook of src/pg/ddl, which has reserved and recorded the command before it runs. What changes in nodedb.sequences is a row
 * change of the same transaction, so it reaches the other nodes with the command, and is undone with it.
 *
 * Invariants:
 * 1. Nothing is done on replicas (the rows travel by themselves), nor with nodedb.replicate_ddl off: an object that is made by hand on
 *    every node, one after the other, must not set back the others.
 * 2. What the object access hook notes is worked off when the innermost command around it is over; a command that fails takes its notes with it.
 */
#include "sequence_internal.h"

#include "../shmem.h"
#include "tableam/apply.h"

#include "access/parallel.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "tcop/cmdtag.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static ProcessUtility_hook_type prev_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

typedef enum NoteKind
{
	NOTE_DROPPED,
	NOTE_ALTERED,				/* a sequence: is its name another one? */
	NOTE_SCHEMA_ALTERED,
	NOTE_TRUNCATED				/* a table, RESTART IDENTITY */
} NoteKind;

typedef struct Note
{
	NoteKind	kind;
	Oid			oid;
	char		schema[NAMEDATALEN];
	char		name[NAMEDATALEN];
} Note;

/* Of the innermost command. */
static List *notes = NIL;		/* in TopTransactionContext */
static bool noting = false;
static bool restarting = false;

/* ---- what commands touch ---- */

static void
note(NoteKind kind, Oid oid, const char *schema, const char *name)
{
	MemoryContext old;
	Note	   *n;
	ListCell   *lc;

	foreach(lc, notes)
		if (((Note *) lfirst(lc))->kind == kind && ((Note *) lfirst(lc))->oid == oid)
			return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	n = palloc0(sizeof(Note));
	n->kind = kind;
	n->oid = oid;
	strlcpy(n->schema, schema, NAMEDATALEN);
	strlcpy(n->name, name, NAMEDATALEN);
	notes = lappend(notes, n);
	MemoryContextSwitchTo(old);
}

static void
note_sequence(NoteKind kind, Oid oid)
{
	SequenceInfo *info = info_get(oid);

	/* The catalog's change is not visible yet: these are the names so far. */
	if (info != NULL && info->replicated)
		note(kind, oid, info->schema, info->name);
}

static void
object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class, object, sub, arg);
	if (nodedb_shared == NULL || sub != 0)
		return;
	if (access == OAT_DROP && class == RelationRelationId && get_rel_relkind(object) == RELKIND_SEQUENCE)
	{
		if (noting)
			note_sequence(NOTE_DROPPED, object);
		/* Also on replicas: another sequence may get this oid one day. */
		table_drop(object);
	}
	else if (!noting)
		return;
	else if (access == OAT_POST_ALTER && class == RelationRelationId && get_rel_relkind(object) == RELKIND_SEQUENCE)
		note_sequence(NOTE_ALTERED, object);
	else if (access == OAT_POST_ALTER && class == NamespaceRelationId)
		note(NOTE_SCHEMA_ALTERED, object, get_namespace_name(object), "");
	else if (access == OAT_TRUNCATE && restarting)
		note(NOTE_TRUNCATED, object, "", "");
}

/* ---- what follows ---- */

/* The cluster's sequence stands where the command has put the local one. */
static void
place_where_local(const SequenceInfo *info)
{
	int64		value;
	bool		called;

	row_local_position(info, &value, &called);
	row_place(info, value, called);
}

static void
finish_truncated(Oid table)
{
	ListCell   *lc;

	foreach(lc, getOwnedSequences(table))
	{
		SequenceInfo *info = info_get(lfirst_oid(lc));

		if (info != NULL && info->replicated)
			place_where_local(info);
	}
}

static void
finish_note(const Note *n)
{
	SequenceInfo *info;
	char	   *schema;

	switch (n->kind)
	{
		case NOTE_DROPPED:
			row_delete(n->schema, n->name);
			break;
		case NOTE_ALTERED:
			info = info_get(n->oid);
			if (info != NULL && (strcmp(info->schema, n->schema) != 0 || strcmp(info->name, n->name) != 0))
				row_rename(n->schema, n->name, info->schema, info->name);
			break;
		case NOTE_SCHEMA_ALTERED:
			schema = get_namespace_name(n->oid);
			if (schema != NULL && strcmp(schema, n->schema) != 0)
				row_rename_schema(n->schema, schema);
			break;
		case NOTE_TRUNCATED:
			finish_truncated(n->oid);
			break;
	}
}

static bool
has_option(List *options, const char *name, bool other_than)
{
	ListCell   *lc;

	foreach(lc, options)
		if ((strcmp(lfirst_node(DefElem, lc)->defname, name) == 0) != other_than)
			return true;
	return false;
}

static void
refuse_cycle(const SequenceInfo *info)
{
	if (info->cycle)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a replicated sequence cannot cycle"),
				 errdetail("Nodes draw from shares of their own; after the end was reached, they would draw the same values at the same time."),
				 errhint("Leave out CYCLE, or take the value modulo the length of the cycle.")));
}

static SequenceInfo *
replicated(RangeVar *name)
{
	Oid			sequence = RangeVarGetRelid(name, NoLock, true);
	SequenceInfo *info = OidIsValid(sequence) ? info_get(sequence) : NULL;

	return info != NULL && info->replicated ? info : NULL;
}

static void
finish_create(CreateSeqStmt *stmt)
{
	SequenceInfo *info = replicated(stmt->sequence);

	/* Whose the sequence of a column is, is not known yet: nextval() would refuse. */
	if (info != NULL && !stmt->for_identity)
		refuse_cycle(info);
}

static void
finish_alter(AlterSeqStmt *stmt)
{
	SequenceInfo *info = has_option(stmt->options, "owned_by", true) ? replicated(stmt->sequence) : NULL;

	if (info == NULL)
		return;
	if (has_option(stmt->options, "cycle", false))
		refuse_cycle(info);
	if (!noting)
		return;
	if (has_option(stmt->options, "restart", false))
		place_where_local(info);
	else
		row_new_generation(info);
}

static void
finish(Node *stmt)
{
	ListCell   *lc;

	if (notes != NIL || IsA(stmt, AlterSeqStmt) || IsA(stmt, CreateSeqStmt))
		CommandCounterIncrement();
	foreach(lc, notes)
		finish_note(lfirst(lc));
	if (IsA(stmt, CreateSeqStmt))
		finish_create((CreateSeqStmt *) stmt);
	else if (IsA(stmt, AlterSeqStmt))
		finish_alter((AlterSeqStmt *) stmt);
	else if (IsA(stmt, DiscardStmt) && (((DiscardStmt *) stmt)->target == DISCARD_ALL || ((DiscardStmt *) stmt)->target == DISCARD_SEQUENCES))
	{
		info_forget_drawn();
		draw_forget_last();
	}
}

/* ---- expressions without a planner ---- */

/* What is not analyzed yet: the names are changed. context: bool, set when there was one. */
static bool
rename_calls(Node *node, void *context)
{
	static const char *const names[] = {"nextval", "currval", "lastval", "setval"};

	if (node == NULL)
		return false;
	if (IsA(node, FuncCall))
	{
		FuncCall   *call = (FuncCall *) node;
		const char *name = strVal(llast(call->funcname));

		if (list_length(call->funcname) == 1 ||
			(list_length(call->funcname) == 2 && strcmp(strVal(linitial(call->funcname)), "pg_catalog") == 0))
			for (int i = 0; i < lengthof(names); i++)
				if (strcmp(name, names[i]) == 0)
				{
					call->funcname = list_make2(makeString("nodedb"), makeString(pstrdup(name)));
					*(bool *) context = true;
					break;
				}
	}
	return raw_expression_tree_walker(node, rename_calls, context);
}

bool
sequence_raw_calls(Node *expr)
{
	bool		found = false;

	if (OidIsValid(row_table()))
		(void) rename_calls(expr, &found);
	return found;
}

bool
sequence_draws_locally(Node *expr)
{
	return expr != NULL && rewrite_wanted(expr);
}

void
sequence_was_used_alone(Oid sequence)
{
	SequenceInfo *info = info_get(sequence);

	if (info != NULL && info->replicated)
		(void) row_adopt(info);
}

/* EXECUTE, alone or below EXPLAIN or CREATE TABLE AS. */
static ExecuteStmt *
find_execute(Node *stmt)
{
	Node	   *query;

	if (IsA(stmt, ExecuteStmt))
		return (ExecuteStmt *) stmt;
	if (IsA(stmt, CreateTableAsStmt))
		query = ((CreateTableAsStmt *) stmt)->query;
	else if (IsA(stmt, ExplainStmt))
		query = ((ExplainStmt *) stmt)->query;
	else
		return NULL;
	if (query == NULL || !IsA(query, Query) || ((Query *) query)->commandType != CMD_UTILITY)
		return NULL;
	return find_execute(((Query *) query)->utilityStmt);
}

static PlannedStmt *
with_our_calls(PlannedStmt *pstmt)
{
	Node	   *stmt = pstmt->utilityStmt;
	ExecuteStmt *execute = find_execute(stmt);

	if (execute != NULL && execute->params != NIL)
	{
		pstmt = copyObject(pstmt);
		(void) sequence_raw_calls((Node *) find_execute(pstmt->utilityStmt)->params);
	}
	else if (IsA(stmt, CallStmt) && ((CallStmt *) stmt)->funcexpr != NULL && rewrite_wanted((Node *) ((CallStmt *) stmt)->funcexpr))
	{
		pstmt = copyObject(pstmt);
		((CallStmt *) pstmt->utilityStmt)->funcexpr =
			castNode(FuncExpr, rewrite_expression((Node *) ((CallStmt *) pstmt->utilityStmt)->funcexpr));
	}
	return pstmt;
}

/* ---- the hook ---- */

static void
run(PlannedStmt *pstmt, const char *source, bool read_only_tree, ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *env,
	DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	uint64		processed;

	if (IsA(stmt, CopyStmt) && copy_with_leases(pstmt, source, env, &processed))
	{
		if (qc)
			SetQueryCompletion(qc, CMDTAG_COPY, processed);
		return;
	}
	(prev_utility ? prev_utility : standard_ProcessUtility) (pstmt, source, read_only_tree, context, params, env, dest, qc);
}

static bool
is_concerned(Node *stmt)
{
	return !IsA(stmt, TransactionStmt) && !IsAbortedTransactionBlockState() && !IsParallelWorker() && IsNormalProcessingMode() && sequences_active();
}

/* Run it, with what it touches noted down and worked off. */
static void
run_noted(PlannedStmt *pstmt, const char *source, bool read_only_tree, ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *env,
		  DestReceiver *dest, QueryCompletion *qc)
{
	List	   *outer_notes = notes;
	bool		outer_noting = noting;
	bool		outer_restarting = restarting;

	notes = NIL;
	noting = nodedb_replicate_ddl && pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_RUNNING && OidIsValid(row_table());
	restarting = IsA(pstmt->utilityStmt, TruncateStmt) && ((TruncateStmt *) pstmt->utilityStmt)->restart_seqs;
	PG_TRY();
	{
		run(pstmt, source, read_only_tree, context, params, env, dest, qc);
		/* CALL and DO may have ended the transaction; commands that concern sequences do not. */
		if (IsTransactionState())
			finish(pstmt->utilityStmt);
	}
	PG_FINALLY();
	{
		notes = outer_notes;
		noting = outer_noting;
		restarting = outer_restarting;
	}
	PG_END_TRY();
}

static void
utility(PlannedStmt *pstmt, const char *source, bool read_only_tree, ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *env,
		DestReceiver *dest, QueryCompletion *qc)
{
	if (is_concerned(pstmt->utilityStmt))
		run_noted(with_our_calls(pstmt), source, read_only_tree, context, params, env, dest, qc);
	else
		(prev_utility ? prev_utility : standard_ProcessUtility) (pstmt, source, read_only_tree, context, params, env, dest, qc);
}

void
utility_init(void)
{
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
