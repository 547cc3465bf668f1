/*
 * worker.c: the background worker "nodedb leases": it takes leases, and sets sequences, on behalf of sessions, in transactions of its own.
 *
 * nextval() happens inside of user transactions and must outlive their rollback; a lease therefore needs a transaction beside them. One process does it
 * for the node, so that sessions that want the same sequence share one lease.
 *
 * It also keeps the local sequences in step: each one's last_value says what the cluster has leased, which is what pg_dump dumps and what an
 * administrator looks at; no value is drawn from it.
 *
 * Being the node's one process for transactions of its own, it also removes old idempotency keys (session/idempotency.c) and tells which extensions are
 * installed here (ddl/extension.c), about once a minute.
 *
 * Invariants:
 * 1. It waits for no lock of a sequence or its row, not even for an uncommitted row of the same key, longer than a moment: sessions that want
 *    other sequences would wait with it. It tries again.
 * 2. What can pass (a conflict, a lock, a kick-out) is tried again until nodedb.commit_timeout is over, counted from the question; taking a
 *    lease twice, or setting a sequence twice, does no harm.
 */
#include "sequence_internal.h"

#include "../ddl/ddl.h"
#include "../session/idempotency.h"
#include "../shmem.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#define ASKS_MAX 64
#define LOCK_TIMEOUT_MS "10"
#define MEMBER_POLL_MS 200
#define IDLE_MS 60000
#define RETRY_FIRST_MS 2
#define RETRY_LAST_MS 100
#define CHORE_RETRY_MS 1000

PGDLLEXPORT void nodedb_lease_worker_main(Datum arg);

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- questions ---- */

static void
do_ask(const Ask *ask)
{
	SequenceInfo *info;
	Lease		lease;

	/* The lock, and the invalidations that come with it, make the name the one that the row stands under. */
	LockRelationOid(ask->sequence, AccessShareLock);
	info = info_get(ask->sequence);
	if (info == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("sequence with OID %u does not exist", ask->sequence)));
	if (ask->kind == ASK_SET)
		row_place(info, ask->value, ask->called);
	else
		row_lease(info, ask->block, &lease);
}

static bool
can_pass(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_T_R_SERIALIZATION_FAILURE) ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_QUERY_CANCELED || sqlerrcode == ERRCODE_UNIQUE_VIOLATION;
}

/* false: still open, try again. */
static bool
answer(const Ask *ask, MemoryContext context)
{
	volatile bool done = true;

	PG_TRY();
	{
		begin_transaction();
		do_ask(ask);
		commit_transaction();
		table_answer(ask->sequence, ask->number, 0, NULL, NULL);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(context);
		if (can_pass(error->sqlerrcode) && !TimestampDifferenceExceeds(ask->asked_at, GetCurrentTimestamp(), nodedb_commit_timeout))
			done = false;
		else
			table_answer(ask->sequence, ask->number, error->sqlerrcode, error->message, error->hint);
	}
	PG_END_TRY();
	return done;
}

/* Run one of the chores below; false after an error, which is logged unless it is a lost conflict: try again later. */
static bool
chore(bool (*what) (void *), void *arg, MemoryContext context)
{
	volatile bool done = false;

	PG_TRY();
	{
		done = what(arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_TO_CATEGORY(ERRCODE_T_R_SERIALIZATION_FAILURE))
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

/* ---- local sequences follow ---- */

typedef struct Followed
{
	Oid			sequence;		/* hash key */
	int64		last;
	bool		called;
} Followed;

/* A row of nodedb.sequences that its local sequence does not say yet. */
typedef struct Behind
{
	Oid			sequence;
	int64		last;
	bool		called;
} Behind;

static HTAB *followed = NULL;

static Oid
sequence_named(const char *schema, const char *name)
{
	Oid			namespace = get_namespace_oid(schema, true);
	Oid			sequence = OidIsValid(namespace) ? get_relname_relid(name, namespace) : InvalidOid;

	return OidIsValid(sequence) && get_rel_relkind(sequence) == RELKIND_SEQUENCE ? sequence : InvalidOid;
}

static List *
find_behind(MemoryContext context)
{
	List	   *found = NIL;

	begin_transaction();
	if (OidIsValid(row_table()))
	{
		if (SPI_connect() != SPI_OK_CONNECT ||
			SPI_execute("SELECT schema, name, last_value, is_called FROM nodedb.sequences", false, 0) != SPI_OK_SELECT)
			elog(ERROR, "nodedb: could not read nodedb.sequences");
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		isnull;
			Behind		b = {.sequence = sequence_named(SPI_getvalue(row, desc, 1), SPI_getvalue(row, desc, 2)),
				.last = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull)),
			.called = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull))};
			Followed   *f = OidIsValid(b.sequence) ? hash_search(followed, &b.sequence, HASH_FIND, NULL) : NULL;

			if (OidIsValid(b.sequence) && (f == NULL || f->last != b.last || f->called != b.called))
			{
				MemoryContext old = MemoryContextSwitchTo(context);
				Behind	   *copy = palloc(sizeof(Behind));

				*copy = b;
				found = lappend(found, copy);
				MemoryContextSwitchTo(old);
			}
		}
		SPI_finish();
	}
	commit_transaction();
	return found;
}

/*
 * The row may have moved on, or the name may belong to another sequence, since it was read: then another round is due already. false: its lock is
 * not to be had at once.
 */
static bool
follow(void *arg)
{
	Behind	   *b = arg;
	SequenceInfo *info;
	Followed   *f;
	bool		found;
	bool		locked;

	(void) hash_search(followed, &b->sequence, HASH_REMOVE, NULL);
	begin_transaction();
	locked = ConditionalLockRelationOid(b->sequence, RowExclusiveLock);
	info = locked ? info_get(b->sequence) : NULL;
	if (info != NULL && info->replicated && b->last >= info->min && b->last <= info->max)
		DirectFunctionCall3(setval3_oid, ObjectIdGetDatum(b->sequence), Int64GetDatum(b->last), BoolGetDatum(b->called));
	commit_transaction();
	if (!locked)
		return false;
	f = hash_search(followed, &b->sequence, HASH_ENTER, &found);
	f->last = b->last;
	f->called = b->called;
	return true;
}

static bool
follow_all(void *arg)
{
	MemoryContext context = arg;
	bool		complete = true;
	ListCell   *lc;

	foreach(lc, find_behind(context))
		complete &= chore(follow, lfirst(lc), context);
	return complete;
}

/* ---- sequences that were used before there was a cluster ---- */

/*
 * Such a sequence stands at different places on different nodes, so whoever is first to lease it would decide where it goes on. The
 * node that has used it knows.
 */
static List *
used_without_row(MemoryContext context)
{
	List	   *found = NIL;

	begin_transaction();
	if (OidIsValid(row_table()))
	{
		if (SPI_connect() != SPI_OK_CONNECT ||
			SPI_execute("SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
						" WHERE CASE WHEN c.relkind = 'S' AND c.relpersistence = 'p' THEN pg_sequence_last_value(c.oid) IS NOT NULL ELSE false END"
						" AND NOT EXISTS (SELECT FROM nodedb.sequences s WHERE s.schema = n.nspname AND s.name = c.relname)"
						" ORDER BY n.nspname, c.relname", false, 0) != SPI_OK_SELECT)
			elog(ERROR, "nodedb: could not look for sequences");
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		sequence = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
			MemoryContext old = MemoryContextSwitchTo(context);

			found = lappend_oid(found, DatumGetObjectId(sequence));
			MemoryContextSwitchTo(old);
		}
		SPI_finish();
	}
	commit_transaction();
	MemoryContextSwitchTo(context);
	return found;
}

static void
adopt(Oid sequence)
{
	SequenceInfo *info;

	begin_transaction();
	LockRelationOid(sequence, AccessShareLock);
	info = info_get(sequence);
	if (info != NULL && info->replicated && row_adopt(info))
		ereport(LOG, (errmsg("nodedb: sequence \"%s.%s\" goes on where it stands on this node", info->schema, info->name)));
	commit_transaction();
}

static bool
adopt_all(void *arg)
{
	MemoryContext context = arg;
	ListCell   *lc;

	foreach(lc, used_without_row(context))
	{
		adopt(lfirst_oid(lc));
		MemoryContextSwitchTo(context);
	}
	return true;
}

/* ---- other chores ---- */

typedef bool (*Chore) (void);	/* in a transaction; false: not all is done, again soon */

static bool
in_transaction(void *arg)
{
	bool		done;

	begin_transaction();
	done = (*(Chore *) arg) ();
	commit_transaction();
	return done;
}

/* false: not all is done, or an error, which is logged. */
static bool
other_chore(Chore what, MemoryContext context)
{
	return chore(in_transaction, &what, context);
}

/* ---- life ---- */

static void
sleep_ms(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"synchronous_commit", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", LOCK_TIMEOUT_MS},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"session_replication_role", "origin"},
		{"search_path", "pg_catalog"},
		{"row_security", "off"},
		{"nodedb.read_consistency", "local"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

void
nodedb_lease_worker_main(Datum arg)
{
	MemoryContext context;
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Followed)};
	Ask		   *asks;
	bool		adopted = false;
	bool		behind = false;
	bool		kept = true;
	bool		builds = true;	/* what was begun before this start goes on */
	TimestampTz chores_due = 0;
	long		retry_ms = RETRY_FIRST_MS;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	while (nodedb_shared == NULL || pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_RUNNING)
		sleep_ms(MEMBER_POLL_MS);
	BackgroundWorkerInitializeConnection(nodedb_database, NULL, 0);
	pin_settings();
	table_attach_worker();
	context = AllocSetContextCreate(TopMemoryContext, "nodedb leases", ALLOCSET_DEFAULT_SIZES);
	asks = MemoryContextAlloc(TopMemoryContext, ASKS_MAX * sizeof(Ask));
	followed = hash_create("nodedb local sequences", 64, &ctl, HASH_ELEM | HASH_BLOBS);

	for (;;)
	{
		int			n;
		int			open = 0;
		bool		worked;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
		pgstat_report_activity(STATE_RUNNING, "leasing values of sequences");
		/* Before any lease: a lease would make the row. */
		if (!adopted)
			adopted = chore(adopt_all, context, context);
		n = adopted ? table_asks(asks, ASKS_MAX) : 0;
		for (int i = 0; i < n; i++)
			open += !answer(&asks[i], context);
		worked = n > open;
		if (table_take_rows_changed() || behind)
		{
			worked |= !behind;
			behind = !chore(follow_all, context, context);
		}
		builds |= ddl_builds_changed();
		if (chores_due <= GetCurrentTimestamp())
		{
			pgstat_report_activity(STATE_RUNNING, "removing old idempotency keys, telling of extensions");
			kept = other_chore(idempotency_prune, context);
			kept &= other_chore(ddl_publish_extensions, context);
			builds = true;		/* their sessions may be gone */
			chores_due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kept ? IDLE_MS : CHORE_RETRY_MS);
		}
		if (builds)
		{
			builds = !other_chore(ddl_start_builder, context);
			builds |= !other_chore(ddl_mind_shards, context);
		}
		(void) pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);

		retry_ms = open > 0 ? Min(RETRY_LAST_MS, retry_ms * 2) : RETRY_FIRST_MS;
		/*
		 * A commit waits on the same latch and may have taken the wake-up for a question that was asked meanwhile: sleep only after a round
		 * that had nothing to do.
		 */
		if (!worked)
			/* Nodes that met once should not meet again. */
			sleep_ms(open > 0 ? retry_ms + MyProcPid % retry_ms : !adopted || behind || !kept || builds ? CHORE_RETRY_MS : IDLE_MS);
	}
}

void
worker_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_name, "nodedb leases", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "nodedb leases", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "nodedb", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "nodedb_lease_worker_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
