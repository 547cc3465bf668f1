/*
 * read.c: which statements wait before they read, and when: the hooks.
 *
 * What waits, once nodedb.read_consistency asks for it:
 *   READ COMMITTED    a statement that reads a distributed or partitioned table, or calls a function that may read one under the statement's own
 *                     snapshot (not VOLATILE). Once per client message and transaction: queries nested in functions, triggers and foreign key
 *                     checks wait when nothing around them has, and share that wait.
 *   REPEATABLE READ   the transaction's first query: it fixes the snapshot of all. Outside a block only when it reads something distributed.
 *   SERIALIZABLE      the same; besides, the snapshot is taken anew whatever the setting says when this node has applied more meanwhile: its reads are
 *                     certified from the snapshot on, so an old one is an abort.
 * While it waits, a statement must not keep the applier from what it waits for: a lone SELECT lets go and is planned again (read_again.c), anything else
 * gets 40001.
 * SELECT 1, the plain INSERT of VALUES, and in READ COMMITTED catalogues and local tables wait for nothing.
 *
 * Hooks: session.c calls read_before_executor(); our own ExecutorStart hook runs inside of it and starts a plan once more when its functions,
 * known only then (OAT_FUNCTION_EXECUTE), turn out to read; the utility hook sees to COPY TO and to REPEATABLE READ.
 *
 * Invariant: a statement that had to wait and could not be given a newer snapshot raises 40001; it never reads on under the older one.
 */
#include "read_internal.h"

#include "commit.h"

#include "../shmem.h"
#include "../tableam/apply.h"
#include "../tableam/tableam.h"
#include "../tableam/writeset.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorRun_hook_type prev_executor_run = NULL;
static ProcessUtility_hook_type prev_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

/* READ COMMITTED: the client message that has waited, in this transaction, and for which groups (in TopTransactionContext). */
static TimestampTz waited_message = 0;
static LocalTransactionId waited_lxid = InvalidLocalTransactionId;
static ReadGroups waited_groups;
/* REPEATABLE READ: the transaction whose snapshot is settled: new enough, or chosen by the user. */
static LocalTransactionId settled_lxid = InvalidLocalTransactionId;
/* The transaction whose snapshot stands at one place of the order of all groups. */
static LocalTransactionId fenced_lxid = InvalidLocalTransactionId;
/* SERIALIZABLE: the transaction whose snapshot shows at least read_sampled; any other one shows read_seen. */
static LocalTransactionId sampled_lxid = InvalidLocalTransactionId;
static bool snapshot_imported = false;	/* by the transaction settled_lxid */

static int	utility_depth = 0;
static Portal utility_portal = NULL;	/* of the outermost utility statement */
static Snapshot nested_snapshot = NULL;	/* of a utility statement in a function, when it began */
static uint32 nested_registered = 0;	/* references to it then: of the statement itself, which reads nothing under it */
static bool reader_called = false;	/* a plan that is being started calls a function that may read */

/* ---- what a statement reads ---- */

typedef enum Reads
{
	READS_NOTHING,
	READS_LOCALLY,				/* some relation of this node only: a catalogue, a heap table */
	READS_DISTRIBUTED
} Reads;

/* A plain INSERT reads nothing of its target; ON CONFLICT does. */
static bool
only_inserted_into(PlannedStmt *plan, int rti)
{
	ModifyTable *top = (ModifyTable *) plan->planTree;

	return plan->commandType == CMD_INSERT && IsA(top, ModifyTable) && top->onConflictAction == ONCONFLICT_NONE &&
		list_member_int(top->resultRelations, rti);
}

/*
 * And the data groups that it reads from. The range table has all partitions that the plan reads; which of them an INSERT with ON CONFLICT comes to shows only when it runs.
 */
static Reads
plan_reads(PlannedStmt *plan, ReadGroups *groups)
{
	Reads		reads = READS_NOTHING;
	ListCell   *lc;

	*groups = (ReadGroups) {.all = read_groups() <= 2};
	foreach(lc, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind != RTE_RELATION)
			continue;
		if (reads == READS_NOTHING)
			reads = READS_LOCALLY;
		if (rte->relid >= FirstNormalObjectId && !only_inserted_into(plan, foreach_current_index(lc) + 1) &&
			(rte->relkind == RELKIND_PARTITIONED_TABLE || (rte->relkind == RELKIND_RELATION && nodedb_relid_is_distributed(rte->relid))))
		{
			reads = READS_DISTRIBUTED;
			if (rte->relkind == RELKIND_RELATION && !groups->all)
				groups->some = bms_add_member(groups->some, (int) writeset_group(rte->relid));
			else if (list_member_int(plan->resultRelations, foreach_current_index(lc) + 1))
				groups->all = true;
			if (groups->all)
				return reads;
		}
	}
	return reads;
}

/* Triggers, foreign key checks among them, read under the transaction's snapshot. */
static bool
fires_triggers(PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, plan->resultRelations)
	{
		RangeTblEntry *rte = list_nth_node(RangeTblEntry, plan->rtable, lfirst_int(lc) - 1);
		Relation	rel = RelationIdGetRelation(rte->relid);
		bool		fires;

		if (!RelationIsValid(rel))
			continue;
		fires = rel->trigdesc != NULL;
		RelationClose(rel);
		if (fires)
			return true;
	}
	return false;
}

/*
 * May this function read tables under the snapshot of the statement that calls it? A VOLATILE one takes snapshots of its own in READ COMMITTED,
 * and the queries inside wait for themselves; with one snapshot per transaction it is too late then.
 */
static bool
function_reads(Oid function)
{
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		reads;

	if (function < FirstNormalObjectId)
		switch (function)
		{
			case F_QUERY_TO_XML:
			case F_QUERY_TO_XMLSCHEMA:
			case F_QUERY_TO_XML_AND_XMLSCHEMA:
			case F_TABLE_TO_XML:
			case F_TABLE_TO_XML_AND_XMLSCHEMA:
			case F_SCHEMA_TO_XML:
			case F_SCHEMA_TO_XML_AND_XMLSCHEMA:
			case F_DATABASE_TO_XML:
			case F_DATABASE_TO_XML_AND_XMLSCHEMA:
			case F_TS_STAT_TEXT:
			case F_TS_STAT_TEXT_TEXT:
			case F_TS_REWRITE_TSQUERY_TEXT:
			case F_PG_EXPORT_SNAPSHOT:	/* whoever imports it reads under it */
				return true;
			default:
				return false;
		}
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	reads = (form->pronamespace != nodedb_schema_oid() || strcmp(NameStr(form->proname), "submit") == 0) && (IsolationUsesXactSnapshot() || form->provolatile != PROVOLATILE_VOLATILE) &&
		!(form->provolatile == PROVOLATILE_IMMUTABLE && (form->prolang == ClanguageId || form->prolang == INTERNALlanguageId));
	ReleaseSysCache(tuple);
	return reads;
}

/* ---- waiting, and what follows ---- */

/* Until the snapshot may be taken. */
static ReadWait
wait_for(const ReadGroups *groups, bool lets_go)
{
	if (!read_fences(groups))
	{
		ReadWait	result = read_wait(groups, lets_go);

		/* unless the second data group has come meanwhile */
		if (result == READ_IN_THE_WAY || !read_fences(groups))
			return result;
	}
	return read_fence(lets_go);
}

/* Is this process one whose reads can have to wait? In a transaction. */
static bool
concerned(void)
{
	return nodedb_shared != NULL && !apply_active && !IsParallelWorker() && IsNormalProcessingMode() && IsTransactionState() &&
		session_in_replicated_database() && OidIsValid(nodedb_am_oid());
}

static bool
message_has_waited(const ReadGroups *groups)
{
	return waited_lxid == MyProc->lxid && waited_message == GetCurrentStatementStartTimestamp() && read_groups_within(groups, &waited_groups);
}

void
read_mark_waited(const ReadGroups *groups)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	if (waited_lxid != MyProc->lxid)
		waited_groups.some = NULL;	/* went with its transaction */
	if (waited_message != GetCurrentStatementStartTimestamp() || waited_lxid != MyProc->lxid)
	{
		bms_free(waited_groups.some);
		waited_groups = (ReadGroups) {.all = false};
	}
	waited_groups.all |= groups->all;
	waited_groups.some = bms_add_members(waited_groups.some, groups->some);
	MemoryContextSwitchTo(old);
	waited_lxid = MyProc->lxid;
	waited_message = GetCurrentStatementStartTimestamp();
	if (IsolationUsesXactSnapshot())
		settled_lxid = MyProc->lxid;
}

static void
raise_old_snapshot(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access: the snapshot is older than nodedb.read_consistency allows"),
			 errdetail("Something was read under it before this statement, so it cannot be taken anew."),
			 errhint("Retry the transaction, and read a distributed table in its first statement.")));
}

static bool
may_let_go(QueryDesc *query)
{
	return utility_depth == 0 && read_again_possible(query);
}

static void
before_statement(QueryDesc *query, bool must_read)
{
	ReadGroups	groups = READ_ALL_GROUPS;	/* functions: whatever they look at */
	bool		renewable;

	if (message_has_waited(&groups) || !read_wanted() || (!must_read && plan_reads(query->plannedstmt, &groups) != READS_DISTRIBUTED) ||
		message_has_waited(&groups))
		return;
	renewable = read_can_renew_statement(query, utility_portal, query->snapshot == nested_snapshot ? nested_registered : 0);
	/* Nested under the snapshot of an outer query that has waited, in an earlier message (Bind, then Execute): it reads what that one reads. */
	if (!renewable && waited_lxid == MyProc->lxid)
		return;
	switch (wait_for(&groups, may_let_go(query)))
	{
		case READ_IN_THE_WAY:
			read_again_later(query);
			return;
		case READ_RENEW:
			if (!renewable)
				raise_old_snapshot();
			read_renew_statement(query);
			commit_fence_leave();
			break;
		case READ_SEEN:
			break;
	}
	read_mark_waited(&groups);
}

/* The level in force at the first query counts for the whole transaction: its snapshot does not move again. */
static void
settle_transaction(QueryDesc *query)
{
	const ReadGroups all = READ_ALL_GROUPS;
	bool		old = false;	/* older than the setting allows */
	bool		newer = false;	/* a new one would show more */

	if (read_wanted())
	{
		bool		lets_go = query != NULL && may_let_go(query);
		ReadWait	result = wait_for(&all, lets_go);

		if (result == READ_IN_THE_WAY)
		{
			read_again_later(query);
			return;
		}
		old = result == READ_RENEW;
	}
	if (IsolationIsSerializable())
		newer = read_sample();
	if (old || newer)
	{
		if (read_renew_transaction(query))
			sampled_lxid = MyProc->lxid;
		else if (old)
			raise_old_snapshot();
	}
	if (commit_fence_leave())
		fenced_lxid = MyProc->lxid;
	snapshot_imported = false;
	read_mark_waited(&all);
}

bool
read_needs_certifying(void)
{
	return IsolationIsSerializable() && !XactReadOnly && fenced_lxid != MyProc->lxid &&
		(nodedb_read_consistency == READ_STRONG || nodedb_read_consistency == READ_FENCED);
}

bool
read_serial_base(NdGroupId group, uint64 *index)
{
	if (snapshot_imported && settled_lxid == MyProc->lxid)
		return false;
	read_prepare();
	*index = IsolationIsSerializable() && sampled_lxid == MyProc->lxid ? read_sampled[group] : read_seen[group];
	return true;
}

static void
before_query_of_transaction(QueryDesc *query, bool must_read)
{
	ReadGroups	groups;
	Reads		reads;

	if (settled_lxid == MyProc->lxid)
		return;
	reads = plan_reads(query->plannedstmt, &groups);
	if (!must_read && reads != READS_DISTRIBUTED &&
		(IsTransactionBlock() ? reads == READS_NOTHING : !fires_triggers(query->plannedstmt)))
		return;
	settle_transaction(query);
}

static void
before_executor(QueryDesc *query, bool must_read)
{
	if (query->snapshot == NULL || !IsMVCCSnapshot(query->snapshot))
		return;
	if (IsolationUsesXactSnapshot())
		before_query_of_transaction(query, must_read);
	else
		before_statement(query, must_read);
}

void
read_before_executor(QueryDesc *query)
{
	before_executor(query, false);
}

/* ---- functions that read ---- */

static void
object_access(ObjectAccessType access, Oid class_id, Oid object, int sub, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object, sub, arg);
	if (access == OAT_FUNCTION_EXECUTE && !reader_called && concerned() && function_reads(object))
		reader_called = true;
}

static bool
must_wait_again(void)
{
	const ReadGroups all = READ_ALL_GROUPS;

	if (!concerned())
		return false;
	return IsolationUsesXactSnapshot() ? settled_lxid != MyProc->lxid : !message_has_waited(&all) && read_wanted();
}

static void
start_plan(QueryDesc *query, int eflags)
{
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
executor_start(QueryDesc *query, int eflags)
{
	bool		outer = reader_called;
	bool		calls;

	reader_called = false;
	start_plan(query, eflags);
	calls = reader_called;
	reader_called = outer;
	if (!calls || (eflags & EXEC_FLAG_EXPLAIN_ONLY) || !must_wait_again())
		return;
	/* Nothing was executed. End it without ExecutorFinish(), which would run data-modifying WITH queries; wait; start again. */
	if (!(query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS))
		AfterTriggerEndQuery(query->estate);
	query->estate->es_finished = true;
	standard_ExecutorEnd(query);
	before_executor(query, true);
	start_plan(query, eflags);
	reader_called = outer;
}

static void
executor_run(QueryDesc *query, ScanDirection direction, uint64 count, bool once)
{
	ScanCover	outer = tableam_scan_cover;

	if (read_again_due(query))
		read_again(query);
	tableam_scan_cover.relid = InvalidOid;
	if (prev_executor_run)
		prev_executor_run(query, direction, count, once);
	else
		standard_ExecutorRun(query, direction, count, once);
	tableam_scan_cover = outer;
}

/* ---- utility statements ---- */

static bool
copies_distributed(CopyStmt *copy, ReadGroups *groups)
{
	Oid			relid;

	if (copy->is_from || copy->relation == NULL)
		return false;			/* COPY (query) goes through the executor */
	relid = RangeVarGetRelid(copy->relation, NoLock, true);
	if (!OidIsValid(relid) || !nodedb_relid_is_distributed(relid))
		return false;
	*groups = (ReadGroups) {.some = bms_make_singleton((int) writeset_group(relid))};
	return true;
}

/* Does this statement run queries that it plans itself? */
static bool
runs_queries(Node *statement)
{
	ListCell   *lc;

	switch (nodeTag(statement))
	{
		case T_CopyStmt:
			return !((CopyStmt *) statement)->is_from;
		case T_DeclareCursorStmt:
		case T_ExecuteStmt:
		case T_CreateTableAsStmt:
		case T_RefreshMatViewStmt:
		case T_CallStmt:
		case T_DoStmt:
			return true;
		case T_ExplainStmt:
			foreach(lc, ((ExplainStmt *) statement)->options)
				if (strcmp(lfirst_node(DefElem, lc)->defname, "analyze") == 0)
					return true;
			return false;
		default:
			return false;
	}
}

static void
before_utility(PlannedStmt *plan, ProcessUtilityContext context)
{
	Node	   *statement = plan->utilityStmt;

	if (IsA(statement, VariableSetStmt))
	{
		VariableSetStmt *set = (VariableSetStmt *) statement;

		/* An imported snapshot is what the user wants to read under. */
		if (set->kind == VAR_SET_MULTI && strcmp(set->name, "TRANSACTION SNAPSHOT") == 0)
		{
			settled_lxid = MyProc->lxid;
			snapshot_imported = true;
		}
		return;
	}
	if (IsA(statement, TransactionStmt) || IsAbortedTransactionBlockState() || !concerned())
		return;
	if (!IsolationUsesXactSnapshot())
	{
		ReadGroups	groups;

		/* No executor there: the table is scanned under the portal's snapshot. Everything else waits in ExecutorStart. */
		if (!IsA(statement, CopyStmt) || !read_wanted() || !copies_distributed((CopyStmt *) statement, &groups) || message_has_waited(&groups))
			return;
		if (read_wait(&groups, false) == READ_RENEW)
		{
			if (context != PROCESS_UTILITY_TOPLEVEL)
				raise_old_snapshot();
			read_renew_portal(ActivePortal);
		}
		read_mark_waited(&groups);
	}
	else if (context == PROCESS_UTILITY_TOPLEVEL && settled_lxid != MyProc->lxid &&
			 (runs_queries(statement) || (IsTransactionBlock() && PlannedStmtRequiresSnapshot(plan))))
		settle_transaction(NULL);
}

static void
utility(PlannedStmt *plan, const char *text, bool read_only, ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
		DestReceiver *dest, QueryCompletion *completion)
{
	Snapshot	outer_snapshot = nested_snapshot;
	uint32		outer_registered = nested_registered;

	before_utility(plan, context);
	if (context == PROCESS_UTILITY_TOPLEVEL)
		utility_portal = ActivePortal;
	/* Never in a STABLE function, which shares its caller's snapshot: PostgreSQL refuses utility statements there. */
	nested_snapshot = context != PROCESS_UTILITY_TOPLEVEL && ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;
	nested_registered = nested_snapshot != NULL ? nested_snapshot->regd_count : 0;
	utility_depth++;
	PG_TRY();
	{
		if (prev_utility)
			prev_utility(plan, text, read_only, context, params, environment, dest, completion);
		else
			standard_ProcessUtility(plan, text, read_only, context, params, environment, dest, completion);
	}
	PG_FINALLY();
	{
		nested_snapshot = outer_snapshot;
		nested_registered = outer_registered;
		if (--utility_depth == 0)
			utility_portal = NULL;
	}
	PG_END_TRY();
}

/* An aborted transaction saw nothing that its successor could miss. */
static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT && nodedb_shared != NULL && !apply_active)
	{
		reader_called = false;
		read_end_of_transaction();
	}
}

void
read_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
