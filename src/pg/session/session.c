/*
 * session.c: what a backend does around its transactions: checks before the first write, transaction callbacks, kick-out, relation locks of statements.
 *
 * Kick-out (DESIGN.md, section 5, rule 8): the guard marks a transaction doomed (slot->doomed_lxid) and signals its backend.
 *   running               SIGINT; the query-cancel error leaves as 40001 (emit_log hook, which sees every error before the client does)
 *   idle in transaction   SIGINT is ignored there: a catch-up interrupt runs our relcache callback, which rolls back at once; the connection stays,
 *                         later statements get 40001, and COMMIT fails rather than answering ROLLBACK
 *   proposed              never: the guard demotes instead (commit.c)
 *
 * Invariant: the slot's lxid is set before the first lock on a distributed table that this transaction takes through us, and cleared at its end.
 */
#include "session.h"

#include "../shmem.h"
#include "commit.h"
#include "conflict.h"
#include "idempotency.h"
#include "read.h"
#include "serial.h"
#include "../tableam/apply.h"
#include "../tableam/readset.h"
#include "../tableam/tableam.h"
#include "../tableam/writeset.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

static emit_log_hook_type prev_emit_log = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;

static bool rolled_back_idle = false;	/* this block was rolled back under an idle client */
static bool touched = false;			/* this transaction has announced itself in its slot */
static int	database_is_ours = -1;		/* -1 unknown */

/* ---- checks ---- */

bool
session_in_replicated_database(void)
{
	if (database_is_ours < 0)
	{
		char	   *name;

		if (!IsTransactionState())
			return false;
		name = get_database_name(MyDatabaseId);
		database_is_ours = name != NULL && strcmp(name, nodedb_database) == 0;
	}
	return database_is_ours;
}

void
session_check_node(void)
{
	if (nodedb_shared == NULL || !session_in_replicated_database() || pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this is not the replicated database of a cluster's node")));
}

static inline bool
is_doomed(void)
{
	return touched && nodedb_my_slot()->doomed_lxid != 0 && nodedb_my_slot()->doomed_lxid == MyProc->lxid;
}

void
session_check_doomed(void)
{
	if (is_doomed())
		conflict_raise_kicked();
}

static void
announce(void)
{
	NodedbSlot *slot;

	if (touched)
		return;
	slot = nodedb_my_slot();
	SpinLockAcquire(&slot->kick_lock);
	slot->lxid = MyProc->lxid;
	slot->doomed_lxid = 0;
	slot->kicks = 0;
	SpinLockRelease(&slot->kick_lock);
	touched = true;
}

/*
 * The last moment for a kick: from here on the guard does not signal this transaction any more. The signal is sent under the same lock, so none
 * can arrive later.
 */
void
session_enter_commit(void)
{
	NodedbSlot *slot = nodedb_my_slot();

	announce();
	SpinLockAcquire(&slot->kick_lock);
	if (slot->doomed_lxid != slot->lxid)
		slot->committing = true;
	SpinLockRelease(&slot->kick_lock);
	session_check_doomed();
}

static void
check_member(void)
{
	MemberState state;

	if (nodedb_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nodedb must be loaded at server start"),
				 errhint("Add nodedb to shared_preload_libraries and restart the server.")));
	if (!session_in_replicated_database())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("distributed tables exist only in the replicated database \"%s\"", nodedb_database),
				 errhint("Connect to that database, or use the access method heap.")));
	state = (MemberState) pg_atomic_read_u32(&nodedb_shared->member_state);
	if (state == MEMBER_RUNNING)
		return;
	if (state == MEMBER_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server is not a node of a cluster yet"),
				 errhint("Call nodedb.init_cluster() on the first node, nodedb.join_cluster() on the others.")));
	if (state == MEMBER_STARTING)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_CONNECT_NOW),
				 errmsg("this node is starting: its replicated log is not ready yet"),
				 errhint("Try again in a moment.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this node has stopped applying the replicated log"),
			 errhint("See nodedb.status(); use another node meanwhile.")));
}

void
session_before_utility(void)
{
	check_member();
	announce();
	session_check_doomed();
	idempotency_claim();
}

void
session_before_write(Relation rel)
{
	/* The full check once per transaction: a member that stops later makes the commit fail. */
	if (!touched || pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_RUNNING)
		session_before_utility();
	else
	{
		session_check_doomed();
		idempotency_claim();
	}
	if (IsParallelWorker())
		elog(ERROR, "nodedb: write to \"%s\" in a parallel worker", RelationGetRelationName(rel));
}

/* ---- statements: relation locks, local writes, strong reads ---- */

/* True: it changes a distributed table, or would. */
static bool
note_relations(QueryDesc *query)
{
	PlannedStmt *plan = query->plannedstmt;
	ListCell   *lc;
	bool		any = false;
	bool		claims = false;

	foreach(lc, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind != RTE_RELATION || rte->relid < FirstNormalObjectId)
			continue;
		/* Views and partitioned parents hold no rows, but a schema change of theirs waits for these locks as well. */
		if (rte->relkind == RELKIND_VIEW || rte->relkind == RELKIND_PARTITIONED_TABLE)
		{
			announce();
			writeset_relation_lock(rte->relid, rte->rellockmode);
			continue;
		}
		if ((rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_MATVIEW) || !nodedb_relid_is_distributed(rte->relid))
			continue;
		any = true;
		announce();
		writeset_relation_lock(rte->relid, rte->rellockmode);
	}
	if (any)
		session_check_doomed();
	foreach(lc, plan->resultRelations)
	{
		RangeTblEntry *rte = list_nth_node(RangeTblEntry, plan->rtable, lfirst_int(lc) - 1);

		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION)
			continue;
		/* Though it may find no row to change: the repetition of a DELETE must not look like another outcome. */
		if (nodedb_relid_is_distributed(rte->relid))
			claims = true;
		else if (get_rel_persistence(rte->relid) == RELPERSISTENCE_PERMANENT)
			session_note_local_write();
	}
	return claims;
}

static void
executor_start(QueryDesc *query, int eflags)
{
	bool		ours = nodedb_shared != NULL && !apply_active && !IsParallelWorker() && IsNormalProcessingMode() && session_in_replicated_database();
	ScanCover	outer = tableam_scan_cover;

	tableam_scan_cover.relid = InvalidOid;
	if (ours)
	{
		bool		changes = note_relations(query);	/* EXPLAIN holds its locks, too */

		if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		{
			read_before_executor(query);
			/* Behind it: the claim reads only what is applied here, and must not be what settles the snapshot. */
			if (changes)
				idempotency_claim();
		}
	}
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (ours)
		serial_executor_started(query, eflags);
	tableam_scan_cover = outer;
}

/* ---- kick-out ---- */

/* Is this error how the guard's signal shows? */
static bool
is_kick(const ErrorData *edata)
{
	return is_doomed() && (edata->sqlerrcode == ERRCODE_QUERY_CANCELED || edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN) && !commit_outcome_open();
}

bool
session_take_kick(ErrorData *edata)
{
	if (!is_doomed())
		return false;
	/* The time for the statement is over all the same. */
	if (is_kick(edata) && !(StatementTimeout > 0 && !get_timeout_active(STATEMENT_TIMEOUT)))
		conflict_turn_into_kicked(edata);
	return true;
}

static void
emit_log(ErrorData *edata)
{
	if (prev_emit_log)
		prev_emit_log(edata);
	if (edata->elevel < ERROR || nodedb_shared == NULL || IsBackgroundWorker || MyProc == NULL)
		return;
	/* Its savepoints are gone as well: to go back to one is what many clients do first. */
	if (is_kick(edata) || (rolled_back_idle && (edata->sqlerrcode == ERRCODE_IN_FAILED_SQL_TRANSACTION || edata->sqlerrcode == ERRCODE_S_E_INVALID_SPECIFICATION)))
		conflict_turn_into_kicked(edata);
}

/* Runs inside sinval processing; with debug_query_string NULL the client is idle. */
static void
relcache_callback(Datum arg, Oid relid)
{
	MemoryContext old;

	/* Idle as PostgreSQL reports it: Describe and fast-path calls run without debug_query_string. With track_activities off nobody is idle. */
	if (!touched || MyProc == NULL || MyBEEntry == NULL || MyBEEntry->st_state != STATE_IDLEINTRANSACTION || debug_query_string != NULL || !is_doomed() || commit_outcome_open() || !IsTransactionBlock() ||
		IsAbortedTransactionBlockState() || InterruptHoldoffCount > 0 || CritSectionCount > 0)
		return;
	old = CurrentMemoryContext;
	while (GetCurrentTransactionNestLevel() > 1)
		RollbackAndReleaseCurrentSubTransaction();
	AbortCurrentTransaction();
	MemoryContextSwitchTo(old);
	rolled_back_idle = true;
}

bool
session_was_rolled_back_idle(void)
{
	return rolled_back_idle;
}

void
session_clear_rolled_back_idle(void)
{
	rolled_back_idle = false;
}

void
session_raise_kicked(void)
{
	conflict_raise_kicked();
}

/* ---- transaction callbacks ---- */

static void
end_of_transaction(void)
{
	if (touched)
	{
		NodedbSlot *slot = nodedb_my_slot();

		SpinLockAcquire(&slot->kick_lock);
		slot->lxid = 0;
		slot->committing = false;
		SpinLockRelease(&slot->kick_lock);
		touched = false;
	}
	writeset_reset();
	readset_reset();
	serial_forget();
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (nodedb_shared == NULL || apply_active)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			session_check_doomed();
			commit_pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (touched || writeset_has_ops())
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("PREPARE TRANSACTION is not supported for transactions that used distributed tables"),
						 errhint("Use COMMIT: a commit is atomic over all nodes.")));
			break;
		case XACT_EVENT_COMMIT:
			commit_done();
			read_end_of_transaction();
			end_of_transaction();
			break;
		case XACT_EVENT_ABORT:
			commit_aborted();
			end_of_transaction();
			break;
		case XACT_EVENT_PREPARE:
			commit_prepared();
			end_of_transaction();
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (nodedb_shared == NULL || apply_active)
		return;
	writeset_subxact(event);
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		serial_forget();
		idempotency_forget();
	}
}

void
session_init(void)
{
	read_init();
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	CacheRegisterRelcacheCallback(relcache_callback, (Datum) 0);
	prev_emit_log = emit_log_hook;
	emit_log_hook = emit_log;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
}
