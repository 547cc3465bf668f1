/*
 * retry.c: a single statement that lost a conflict is run again by the server, where that is provably safe.
 *
 * The verdict comes at commit, behind the executor and every hook. So a statement that may be run again is given a stand-in when it is started; when it
 * is to run, the real query is started, run and ended inside, and its transaction is committed there, as CALL could. After 40001 or a deadlock (40P01)
 * the transaction is rolled back, the text is planned again, and run in a new one. Our callers find an empty transaction in its place.
 *
 * What may be run again: INSERT, UPDATE, DELETE, MERGE, and SELECT with one of them inside, on a distributed table, alone in its transaction and in its
 * portal: no block, no other statement in the same query string, no pipeline, no function, cursor or utility statement around it; that called nothing
 * whose effects a rollback leaves (retry_effects.c). As often as nodedb.statement_retries says, as long as retry_budget.c agrees.
 *
 * SELECT nodedb.submit(...) (submit.c) is run in the same way, only that it must be alone: what its function does is known only while it runs.
 *
 * After nodedb.reserve_after failures the statement does not rely on luck any more: the keys of its last attempt are reserved in the log before it runs,
 * so that nobody else can change them (OLLP; Thomson et al. 2012, section 3.2.1); at once, when it lost against a reservation: then others stand in line, and the end of the
 * line is the only place from which it gets anywhere. If even that fails (rows that it came to only now), the tables.
 *
 * A session whose last reservation had to wait for others, and that is given the same statement with the same parameters again, lines up before the first attempt: that one would
 * be lost, and hold the row's lock meanwhile against the one of this node whose turn it is. When it need not wait, the next one tries its luck again.
 *
 * Invariants:
 * 1. Nothing is run again but after an error that says that nothing happened: errors behind the proposal are 40003, unless the log's answer was definite.
 * 2. Rows for the client (RETURNING) are kept until the commit.
 * 3. Between the commit and the end of the message no cancel makes an error of it.
 * 4. Our hooks are the outermost: what other modules see are real queries. If a later module is outside, nothing is run again.
 * 5. While attempts run, the portal of a SELECT does not know its query: the rollback of an attempt would end it.
 * 6. `managed` is forgotten however the statement ends: the address of a QueryDesc is used again.
 */
#include "retry.h"

#include "../shmem.h"
#include "../stop_event.h"
#include "../tableam/apply.h"
#include "../tableam/parts.h"
#include "../tableam/readset.h"
#include "../tableam/writeset.h"
#include "conflict.h"
#include "portal.h"
#include "submit.h"
#include "wait.h"

#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/portalcmds.h"
#include "common/pg_prng.h"
#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#define BACKOFF_FIRST_MS 1
#define BACKOFF_LAST_MS 100
#define REMEMBERED_KEYS_MAX 32
#define RESERVED_ENTRIES 65536	/* for so many entries of the log at most, from the one on at which its turn came */
#define RESERVED_KEYS_MAX 1000	/* more are reserved as tables */

static ExecutorStart_hook_type prev_start = NULL;
static ExecutorRun_hook_type prev_run = NULL;
static ExecutorFinish_hook_type prev_finish = NULL;
static ExecutorEnd_hook_type prev_end = NULL;
static ProcessUtility_hook_type prev_utility = NULL;
static object_access_hook_type prev_object_access = NULL;

static QueryDesc *managed = NULL;	/* has a stand-in */
static bool managed_alone = false;	/* nothing ran before it in its transaction */
static uint64 started = 0;			/* statements of this session */
static uint64 managed_started = 0;
static bool cancel_held = false;	/* until the end of the empty transaction behind a commit */
static LocalTransactionId used_lxid = InvalidLocalTransactionId;	/* a transaction that has run something */

static LocalTransactionId hint_lxid = InvalidLocalTransactionId;	/* whose reason is this? */
static char hint[300];

/* ---- hints ---- */

const char *
retry_hint(void)
{
	if (MyProc != NULL && hint_lxid == MyProc->lxid && hint_lxid != InvalidLocalTransactionId)
		return hint;
	return "Retry the transaction. The server by itself retries only an INSERT, UPDATE, DELETE or MERGE that is alone in its transaction.";
}

static void
set_hint(const char *why)
{
	snprintf(hint, sizeof(hint), "Retry the transaction. %s", why);
	hint_lxid = MyProc->lxid;
}

/* ---- which statements ---- */

static bool
changes_distributed(PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, plan->resultRelations)
	{
		RangeTblEntry *rte = list_nth_node(RangeTblEntry, plan->rtable, lfirst_int(lc) - 1);

		if (rte->relkind == RELKIND_PARTITIONED_TABLE || (rte->relkind == RELKIND_RELATION && nodedb_relid_is_distributed(rte->relid)))
			return true;
	}
	return false;
}

static void retry_start(QueryDesc *query, int eflags);
static void retry_run(QueryDesc *query, ScanDirection direction, uint64 count, bool once);
static void retry_finish(QueryDesc *query);
static void retry_end(QueryDesc *query);

static bool
outermost(void)
{
	return ExecutorStart_hook == retry_start && ExecutorRun_hook == retry_run && ExecutorFinish_hook == retry_finish && ExecutorEnd_hook == retry_end;
}

/* Whether it is alone is looked at when it runs: in the extended protocol that is a message later. */
static bool
eligible_submit(QueryDesc *query, int eflags)
{
	Portal		p = ActivePortal;

	return managed == NULL && eflags == 0 && nodedb_shared != NULL && !apply_active && !IsParallelWorker() && p != NULL && p->name[0] == '\0' &&
		p->status == PORTAL_DEFINED && p->strategy == PORTAL_ONE_SELECT && list_length(p->stmts) == 1 &&
		linitial(p->stmts) == (void *) query->plannedstmt && submit_is(query->plannedstmt) && outermost();
}

static bool
eligible(QueryDesc *query, int eflags, bool fresh)
{
	PlannedStmt *plan = query->plannedstmt;
	Portal		p = ActivePortal;

	if (plan->resultRelations == NIL || eflags != 0 || managed != NULL || nodedb_shared == NULL || apply_active || IsParallelWorker() ||
		p == NULL || p->status != PORTAL_ACTIVE || p->name[0] != '\0' || list_length(p->stmts) != 1 || linitial(p->stmts) != (void *) plan ||
		(p->strategy != PORTAL_MULTI_QUERY && p->strategy != PORTAL_ONE_RETURNING && p->strategy != PORTAL_ONE_MOD_WITH) ||
		pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_RUNNING || !session_in_replicated_database() || !changes_distributed(plan))
		return false;
	if (IsInTransactionBlock(true) || !fresh || !portal_is_last(p))
		return false;			/* retry_hint() tells by itself */
	if (nodedb_statement_retries == 0)
		set_hint("nodedb.statement_retries is 0 here, so the server does not do it by itself.");
	else if (!outermost())
		set_hint("The server does not do it by itself, for another module was loaded behind nodedb's hooks.");
	else
		return true;
	return false;
}

/* ---- one attempt ---- */

typedef struct Statement
{
	QueryDesc  *query;			/* the stand-in */
	Portal		portal;
	char	   *text;
	DestReceiver *dest;
	bool		returning;
	bool		submit;
	uint64		processed;
	bool		committed;
	MemoryContext context;		/* the portal's: outlives transactions */
	TxnPart    *parts;			/* of the last attempt: their keys are to be reserved */
	uint32		n_parts;		/* 0: none */
	uint64		hash;			/* of its text and parameters */
	bool		waited;			/* it stood in line for what it has reserved */
	bool		waited_in_vain; /* the last attempt, for nodedb.commit_timeout */
} Statement;

/* The last statement of this session that stood in line, and its keys. */
static struct
{
	uint64		statement;		/* hash of text and parameters; 0: none */
	NdGroupId	group;
	uint32		n_keys;
	EntryKey	keys[REMEMBERED_KEYS_MAX];
}			contended;

static void
execute(Statement *s, PlannedStmt *plan)
{
	QueryDesc  *outer = s->query;
	QueryDesc  *query = CreateQueryDesc(plan, s->text, GetActiveSnapshot(), InvalidSnapshot, s->dest, outer->params, outer->queryEnv,
										outer->instrument_options);

	retry_watch_plan(plan);
	prev_start ? prev_start(query, 0) : standard_ExecutorStart(query, 0);
	prev_run ? prev_run(query, ForwardScanDirection, 0, true) : standard_ExecutorRun(query, ForwardScanDirection, 0, true);
	prev_finish ? prev_finish(query) : standard_ExecutorFinish(query);
	s->processed = query->estate->es_processed;
	prev_end ? prev_end(query) : standard_ExecutorEnd(query);
	FreeQueryDesc(query);
	PopActiveSnapshot();
	CommitTransactionCommand();
	s->committed = true;
}

/* The statement under today's schema; NULL when its client would not understand the answer. */
static PlannedStmt *
plan_again(Statement *s)
{
	PlannedStmt *plan;

	PushActiveSnapshot(GetTransactionSnapshot());
	plan = portal_plan_again(s->text, s->query->params, s->query->queryEnv);
	PopActiveSnapshot();
	if (plan == NULL || (s->submit ? !submit_is(plan) : plan->resultRelations == NIL) || s->returning != (plan->hasReturning || plan->commandType == CMD_SELECT))
		return NULL;
	if (s->returning && !equalTupleDescs(ExecCleanTypeFromTL(plan->planTree->targetlist), s->portal->tupDesc))
		return NULL;
	return plan;
}

/* ---- between two attempts ---- */

static void
pause_ms(double ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	long		left;

	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	CHECK_FOR_INTERRUPTS();
}

/* Doubled each time; two that met once should not meet again. */
static void
back_off(int failures)
{
	double		ms = failures > 7 ? BACKOFF_LAST_MS : Min(BACKOFF_FIRST_MS << (failures - 1), BACKOFF_LAST_MS);

	pause_ms(ms * (0.5 + pg_prng_double(&pg_global_prng_state)));
}

/* The relations instead of their rows: nobody else changes them then. */
static void
keep_tables(TxnPart *part)
{
	uint32		n = 0;

	for (uint32 i = 0; i < part->n_keys; i++)
		if (part->keys[i].mode >= KEY_REL_ROW_EXCLUSIVE)
			part->keys[n++] = (EntryKey) {.hash = part->keys[i].hash, .mode = Max(part->keys[i].mode, KEY_REL_EXCLUSIVE)};
	part->n_keys = n;
}

/* How many keys they have; those of reads are among the others. */
static uint64
take_parts(Statement *s)
{
	uint64		n = 0;

	s->parts = parts_make(&s->n_parts);
	for (uint32 i = 0; i < s->n_parts; i++)
	{
		TxnPart    *part = &s->parts[i];

		part->keys = repalloc_huge(part->keys, ((Size) part->n_keys + part->n_reads + 1) * sizeof(EntryKey));
		if (part->n_reads > 0)
			memcpy(part->keys + part->n_keys, part->reads, part->n_reads * sizeof(EntryKey));
		part->n_keys += part->n_reads;
		n += part->n_keys;
	}
	return n;
}

/*
 * What the failed attempt changed, locked and, if SERIALIZABLE, read, as far as it came. Its transaction is not yet rolled back. Values that it changed are one key of their
 * table: they mean something only to those who have reserved what they read.
 */
static void
keep_keys(Statement *s, int failures)
{
	bool		many;

	writeset_join_values();
	many = take_parts(s) > RESERVED_KEYS_MAX;
	if (many)
	{
		readset_escalate();
		(void) take_parts(s);
	}
	for (uint32 i = 0; i < s->n_parts && (failures > nodedb_reserve_after + 1 || many); i++)
		keep_tables(&s->parts[i]);
}

/* Ends with the transaction. When others hold what is wanted for too long, the statement tries its luck without; lost against a reservation, that is its last attempt. Groups ascend: nobody waits in a circle. */
static void
reserve(Statement *s)
{
	TimestampTz began = GetCurrentTimestamp();
	double		ms = 1;

	s->waited = s->waited_in_vain = false;
	for (uint32 i = 0; i < s->n_parts;)
	{
		TxnPart    *part = &s->parts[i];

		if (part->n_keys == 0 || session_reserve(part->group, part->keys, part->n_keys, RESERVED_ENTRIES))
		{
			s->waited = s->waited || (part->n_keys > 0 && session_reserve_waited());
			i++;
			continue;
		}
		if (TimestampDifferenceExceeds(began, GetCurrentTimestamp(), nodedb_commit_timeout))
		{
			s->waited_in_vain = true;
			return;
		}
		pause_ms(ms * (0.5 + pg_prng_double(&pg_global_prng_state)));
		ms = Min(ms * 2, 50);
	}
	pg_atomic_fetch_add_u64(&nodedb_shared->retry_reservations, 1);
}

static bool
is_conflict(const ErrorData *e)
{
	return e->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE || e->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

static int
retries_of(const Statement *s)
{
	return s->submit ? Max(nodedb_statement_retries, SUBMIT_RETRIES) : nodedb_statement_retries;
}

/* 0: it cannot be told from others. */
static uint64
statement_hash(const Statement *s)
{
	ParamListInfo params = s->query->params;
	uint64		hash = nd_checksum(s->text, strlen(s->text), GetUserId());

	if (params != NULL && params->paramFetch != NULL)
		return 0;
	for (int i = 0; params != NULL && i < params->numParams; i++)
	{
		const ParamExternData *p = &params->params[i];
		uint64		type = (uint64) p->ptype << 1 | p->isnull;
		int16		len;
		bool		by_value;

		hash = nd_checksum(&type, sizeof(type), hash);
		if (p->isnull || !OidIsValid(p->ptype))
			continue;
		get_typlenbyval(p->ptype, &len, &by_value);
		if (by_value)
			hash = nd_checksum(&p->value, sizeof(Datum), hash);
		else
			hash = nd_checksum(DatumGetPointer(p->value), datumGetSize(p->value, by_value, len), hash);
	}
	return hash;
}

/* Before the first attempt: nothing has happened yet that the rollback could undo. */
static void
line_up_early(Statement *s)
{
	if (s->hash == 0 || s->hash != contended.statement || nodedb_reserve_after == 0)
		return;
	s->n_parts = 1;
	s->parts = MemoryContextAllocZero(s->context, sizeof(TxnPart));
	s->parts->group = contended.group;
	s->parts->n_keys = contended.n_keys;
	s->parts->keys = MemoryContextAlloc(s->context, sizeof(contended.keys));
	memcpy(s->parts->keys, contended.keys, sizeof(contended.keys));
	retry_watch_begin();		/* our rollback, not our callers' */
	AbortCurrentTransaction();
	StartTransactionCommand();
	retry_watching = false;
	MemoryContextSwitchTo(s->context);
}

static void
note_contention(const Statement *s)
{
	if (s->waited && s->hash != 0 && s->n_parts == 1 && s->parts->n_keys <= REMEMBERED_KEYS_MAX)
	{
		contended.statement = s->hash;
		contended.group = s->parts->group;
		contended.n_keys = s->parts->n_keys;
		memcpy(contended.keys, s->parts->keys, s->parts->n_keys * sizeof(EntryKey));
	}
	else if (contended.statement == s->hash)
		contended.statement = 0;
}

/* May it run again? In the transaction of the next attempt; else the error's hint says why not. */
static bool
may_run_again(Statement *s, int failures, ErrorData *e)
{
	const char *effect;
	const char *why = NULL;

	if (!is_conflict(e))
		return false;
	if (failures > retries_of(s))
		why = psprintf("The server did so %d times (nodedb.statement_retries).", retries_of(s));
	else if (s->waited_in_vain && conflict_was_reserved())
		why = psprintf("It has waited for %d ms (nodedb.commit_timeout); nodedb.reservations shows for whom.", nodedb_commit_timeout);
	else if ((effect = retry_watch_verdict()) != NULL)
		why = psprintf("The server does not do it by itself, for the statement used %s, whose effects a rollback may not undo.", effect);
	else
		why = retry_limits_take(GetUserId(), GetCurrentTimestamp());
	if (why == NULL)
		return true;
	MemoryContextSwitchTo(s->context);
	e->hint = psprintf("Retry the transaction. %s", why);
	return false;
}

/*
 * Behind an error: roll back, and begin the transaction of the next attempt, or the one in which the error is told. Returns the error.
 */
static ErrorData *
clean_up(Statement *s, int failures)
{
	ErrorData  *e;
	bool		kicked;

	MemoryContextSwitchTo(s->context);
	e = CopyErrorData();
	FlushErrorState();
	kicked = session_take_kick(e);
	if (s->committed)
		e->sqlerrcode = ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN;
	else if (is_conflict(e) && nodedb_reserve_after > 0 && (failures >= nodedb_reserve_after || conflict_was_reserved()) && failures <= retries_of(s))
		keep_keys(s, failures);
	AbortCurrentTransaction();
	jit_reset_after_error();
	/* The guard signals again and again until the transaction is gone: none of that is meant for the next one. */
	if (kicked)
		QueryCancelPending = false;
	StartTransactionCommand();
	MemoryContextSwitchTo(s->context);
	return e;
}

static void
attempt(Statement *s, int failures, NdGroupId group, uint64 behind, ErrorData *last)
{
	PlannedStmt *plan = s->query->plannedstmt;

	retry_watch_begin();
	if (failures > 0 || s->n_parts > 0)
	{
		/* In line nobody meets anybody again. */
		if (s->n_parts == 0)
			back_off(failures);
		STOP_EVENT("before-retry");
		/* With nodedb.read_consistency = local nobody else waits until what won is here. */
		if (behind != 0)
			wait_watermark(group, behind, nodedb_commit_timeout);
		if (s->n_parts > 0)
			reserve(s);
		plan = plan_again(s);
		if (plan == NULL && last == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to a concurrent schema change")));
		if (plan == NULL)
			ReThrowError(last);
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	submit_expect(s->submit);
	execute(s, plan);
	/* What our callers expect to find. */
	StartTransactionCommand();
}

static void
run_attempts(Statement *s)
{
	ErrorData  *volatile last = NULL;
	volatile int failures = 0;

	line_up_early(s);
	for (;;)
	{
		volatile bool done = false;
		NdGroupId	group;
		uint64		behind = conflict_take_index(&group);
		MemoryContext context = AllocSetContextCreate(s->context, "nodedb attempt", ALLOCSET_DEFAULT_SIZES);

		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			attempt(s, failures, group, behind, last);
			done = true;
		}
		PG_CATCH();
		{
			failures++;
			last = clean_up(s, failures);
		}
		PG_END_TRY();
		retry_watching = false;
		submit_expect(false);
		MemoryContextSwitchTo(s->context);
		MemoryContextDelete(context);
		if (failures > (done ? 0 : 1))
			retry_limits_outcome(done, GetCurrentTimestamp());
		if (done)
			break;
		if (!may_run_again(s, failures, last))
			ReThrowError(last);
		pg_atomic_fetch_add_u64(&nodedb_shared->retries, 1);
		if (s->returning)
			tuplestore_clear(s->portal->holdStore);
	}
	if (failures > 0)
		pg_atomic_fetch_add_u64(&nodedb_shared->retried, 1);
	note_contention(s);
}

/* The rows of a SELECT, which its portal has not kept for others. */
static void
send_rows(Statement *s)
{
	DestReceiver *client = s->query->dest;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(s->query->tupDesc, &TTSOpsMinimalTuple);

	client->rStartup(client, CMD_SELECT, s->query->tupDesc);
	while (tuplestore_gettupleslot(s->portal->holdStore, true, false, slot))
		(void) client->receiveSlot(slot, client);
	client->rShutdown(client);
	ExecDropSingleTupleTableSlot(slot);
}

static void
run_managed(QueryDesc *query)
{
	NdGroupId	group;
	Statement	s = {.query = query, .portal = ActivePortal, .dest = query->dest, .context = CurrentMemoryContext};

	s.text = pstrdup(query->sourceText);	/* a cached plan may go away with the transaction */
	s.hash = statement_hash(&s);
	s.returning = s.portal->strategy != PORTAL_MULTI_QUERY;
	s.submit = s.portal->strategy == PORTAL_ONE_SELECT;
	if (s.submit)
	{
		if (!managed_alone || started != managed_started || IsInTransactionBlock(true) || !portal_is_last(s.portal))
			submit_refuse();
		PortalCreateHoldStore(s.portal);
		s.dest = CreateDestReceiver(DestTuplestore);
		s.portal->queryDesc = NULL;
	}
	/* Rows outlive their transaction: they must not point to values elsewhere. */
	if (s.returning)
		SetTuplestoreDestReceiverParams(s.dest, s.portal->holdStore, s.portal->holdContext, true, NULL, NULL);
	/* The active snapshot is the caller's, and becomes the attempt's. */
	UnregisterSnapshot(query->snapshot);
	query->snapshot = NULL;
	(void) conflict_take_index(&group);
	run_attempts(&s);

	HOLD_CANCEL_INTERRUPTS();
	cancel_held = true;
	s.portal->resowner = ResourceOwnerCreate(TopTransactionResourceOwner, "Portal");
	CurrentResourceOwner = s.portal->resowner;
	PushActiveSnapshot(GetTransactionSnapshot());	/* PortalRunMulti() pops one */
	query->estate->es_processed = s.processed;
	if (s.submit)
	{
		s.portal->queryDesc = query;
		s.portal->cleanup = PortalCleanup;	/* which a rollback takes away */
		send_rows(&s);
	}
}

/* ---- hooks ---- */

static void
retry_start(QueryDesc *query, int eflags)
{
	bool		fresh = true;

	if (ActivePortal != NULL && MyProc != NULL)
	{
		fresh = used_lxid != MyProc->lxid;
		used_lxid = MyProc->lxid;
		if (!retry_watching)
			started++;
	}
	if (retry_watching)
		retry_watch_plan(query->plannedstmt);
	else if (eligible(query, eflags, fresh) || eligible_submit(query, eflags))
	{
		managed = query;
		managed_alone = fresh;
		managed_started = started;
		query->estate = CreateExecutorState();	/* the caller looks at es_processed only */
		if (ActivePortal->strategy == PORTAL_ONE_SELECT)
			query->tupDesc = ExecCleanTypeFromTL(query->plannedstmt->planTree->targetlist);
		return;
	}
	prev_start ? prev_start(query, eflags) : standard_ExecutorStart(query, eflags);
}

static void
retry_run(QueryDesc *query, ScanDirection direction, uint64 count, bool once)
{
	if (query != managed)
	{
		prev_run ? prev_run(query, direction, count, once) : standard_ExecutorRun(query, direction, count, once);
		return;
	}
	PG_TRY();
	{
		run_managed(query);
	}
	PG_CATCH();
	{
		managed = NULL;
		retry_watching = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
retry_finish(QueryDesc *query)
{
	if (query != managed)
		prev_finish ? prev_finish(query) : standard_ExecutorFinish(query);
}

static void
retry_end(QueryDesc *query)
{
	if (query != managed)
	{
		prev_end ? prev_end(query) : standard_ExecutorEnd(query);
		return;
	}
	FreeExecutorState(query->estate);
	query->estate = NULL;
	managed = NULL;
}

static void
retry_utility(PlannedStmt *plan, const char *text, bool read_only, ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			  DestReceiver *dest, QueryCompletion *completion)
{
	if (retry_watching)
		retry_watch_utility(plan->utilityStmt);
	if (MyProc != NULL)
		used_lxid = MyProc->lxid;
	if (!retry_watching)
		started++;
	(prev_utility ? prev_utility : standard_ProcessUtility) (plan, text, read_only, context, params, environment, dest, completion);
}

static void
retry_object_access(ObjectAccessType access, Oid class_id, Oid object, int sub, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, class_id, object, sub, arg);
	if (retry_watching && access == OAT_FUNCTION_EXECUTE)
		retry_watch_function(object);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		cancel_held = false;	/* an error takes back every hold */
	else if (event == XACT_EVENT_COMMIT && cancel_held)
	{
		cancel_held = false;
		RESUME_CANCEL_INTERRUPTS();
		QueryCancelPending = false; /* it was for the statement, which is committed */
	}
	if (event == XACT_EVENT_ABORT && !retry_watching)
		managed = NULL;
}

void
retry_init(void)
{
	static bool installed = false;

	/* Shared memory is made anew when a backend has crashed. */
	if (installed)
		return;
	installed = true;
	RegisterXactCallback(xact_callback, NULL);
	prev_start = ExecutorStart_hook;
	ExecutorStart_hook = retry_start;
	prev_run = ExecutorRun_hook;
	ExecutorRun_hook = retry_run;
	prev_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = retry_finish;
	prev_end = ExecutorEnd_hook;
	ExecutorEnd_hook = retry_end;
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = retry_utility;
	prev_object_access = object_access_hook;
	object_access_hook = retry_object_access;
}
