/*
 * shards_builder.c: the background worker "nodedb shard builder": prepares, on this node, the files of a table's future shards, follows the writers, and hands over (shards_online.h).
 *
 * What can go wrong, and what is left then:
 *   an error, a schema change of the table that the guard or the builder itself makes way for   rolled back; it begins anew, up to TRIES times, then the session is told
 *   it is ended                                             rolled back by PostgreSQL; the lease worker starts it again while its row is there
 *   the server crashes                                      the files are left: the next start drops them (shards_files.c)
 *   its session gives up, dies, or its node does            the row is removed, the lease worker ends the builder: rolled back
 *   the switcher fails between YIELDED and the commit       the builder sees that the transaction is over: rolled back, it begins anew
 *   the switcher fails behind the builder's commit          the hidden tables are there, with names that say so: dropped when the switcher's transaction is over, by this builder or, after
 *                                                           a crash, by the next; the switcher, when it tries again, copies under the lock
 *   the node is away, or joins later                        it copies at the schema change's place in the log
 */
#include "shards.h"
#include "shards_online.h"

#include "sequence/sequence.h"
#include "shmem.h"
#include "stop_event.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define TRIES 5
#define FEW_CHANGES 1000		/* a pass that found no more is as near as it gets */
#define PASSES_MAX 20			/* ... or it does not get nearer */
#define PASS_EVERY_MS 500		/* while the others are waited for; and no more than a fifth of the time */
#define POLL_MS 50

PGDLLEXPORT void nodedb_shard_builder_main(Datum arg);

/* ---- shared state ---- */

ShardsShared *shards_shared = NULL;

Size
ddl_shards_shmem_size(void)
{
	return MAXALIGN(sizeof(ShardsShared));
}

void
ddl_shards_shmem_init(void *at, bool found)
{
	shards_shared = at;
	if (!found)
	{
		memset(shards_shared, 0, sizeof(ShardsShared));
		SpinLockInit(&shards_shared->lock);
	}
}

void
ddl_shards_set_phase(ShardsPhase phase)
{
	SpinLockAcquire(&shards_shared->lock);
	shards_shared->phase = phase;
	SpinLockRelease(&shards_shared->lock);
	pg_atomic_write_u32(&nodedb_shared->builds_changed, 1);
	sequence_wake_worker();
}

static bool
is_unwanted(void)
{
	bool		unwanted;

	SpinLockAcquire(&shards_shared->lock);
	unwanted = shards_shared->unwanted;
	SpinLockRelease(&shards_shared->lock);
	return unwanted;
}

static XLogRecPtr committed = InvalidXLogRecPtr;

/* A commit that a crash would undo leaves files that nobody knows as well. */
static void
forget_files(void)
{
	if (committed != InvalidXLogRecPtr)
		XLogFlush(committed);
	ddl_shards_files_forget();
}

static void
at_exit(int code, Datum arg)
{
	SpinLockAcquire(&shards_shared->lock);
	shards_shared->pid = 0;
	if (shards_shared->phase != SHARDS_FAILED && shards_shared->phase != SHARDS_DONE)
		shards_shared->phase = SHARDS_IDLE;
	SpinLockRelease(&shards_shared->lock);
	pg_atomic_write_u32(&nodedb_shared->builds_changed, 1);
	forget_files();
}

static void
sleep_ms(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* ---- what a switch left that failed behind the builder's commit, or a crash ---- */

static void
drop_leftovers(void)
{
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *found = NIL;
	int			files;
	ListCell   *lc;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	catalog = table_open(RelationRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(nodedb_schema_oid()));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind == RELKIND_RELATION && strncmp(NameStr(form->relname), SHARDS_PREFIX, strlen(SHARDS_PREFIX)) == 0)
			found = lappend_oid(found, form->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	foreach(lc, found)
	{
		ObjectAddress object;

		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
		ObjectAddressSet(object, RelationRelationId, lfirst_oid(lc));
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL | PERFORM_DELETION_QUIETLY);
	}
	files = ddl_shards_files_drop();
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (found != NIL || files > 0)
		ereport(LOG, (errmsg("nodedb: %d prepared shards that nobody has taken and %d files that a crash has left were dropped", list_length(found), files)));
}

/* ---- the switch ---- */

/* Is somebody there who asks for the table's lock, or has it? */
static bool
switcher_is_there(TransactionId *xid)
{
	int			pid;
	int			procno;
	LocalTransactionId lxid;
	PGPROC	   *proc;

	SpinLockAcquire(&shards_shared->lock);
	pid = shards_shared->switcher_pid;
	procno = shards_shared->switcher_pgprocno;
	lxid = shards_shared->switcher_lxid;
	*xid = shards_shared->switcher_xid;
	SpinLockRelease(&shards_shared->lock);
	if (pid == 0)
		return false;
	proc = &ProcGlobal->allProcs[procno];
	if (proc->pid == pid && *(volatile LocalTransactionId *) &proc->lxid == lxid)
		return true;
	SpinLockAcquire(&shards_shared->lock);
	if (shards_shared->switcher_pid == pid && shards_shared->switcher_lxid == lxid)
		shards_shared->switcher_pid = 0;
	SpinLockRelease(&shards_shared->lock);
	return false;
}

static void
wake_switcher(void)
{
	int			procno = -1;

	SpinLockAcquire(&shards_shared->lock);
	if (shards_shared->switcher_pid != 0)
		procno = shards_shared->switcher_pgprocno;
	SpinLockRelease(&shards_shared->lock);
	if (procno >= 0)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

/* Returns when the copy is committed and whoever wanted it is done. */
static void
hand_over(ShardsCopy *c)
{
	TransactionId xid;

	ddl_shards_copy_unlock(c);
	ddl_shards_set_phase(SHARDS_YIELDED);
	wake_switcher();
	do
	{
		if (!switcher_is_there(&xid))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the schema change that was to take the prepared shards has failed")));
		sleep_ms(TransactionIdIsValid(xid) ? 0 : POLL_MS);
	} while (!TransactionIdIsValid(xid));
	ddl_shards_copy_check(c);
	STOP_EVENT("shards-locked");
	(void) ddl_shards_copy_pass(c);
	ddl_shards_copy_end(c);
	CommitTransactionCommand();
	committed = XactLastCommitEnd;
	ddl_shards_set_phase(SHARDS_DONE);
	wake_switcher();
	StartTransactionCommand();
	XactLockTableWait(xid, NULL, NULL, XLTW_None);
	CommitTransactionCommand();
}

/* ---- building ---- */

static void
check_wanted(void)
{
	CHECK_FOR_INTERRUPTS();
	if (is_unwanted())
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the shards are not wanted any more")));
}

static void
follow(ShardsCopy *c)
{
	TimestampTz due = 0;
	TransactionId xid;

	for (int passes = 0; ddl_shards_copy_pass(c) > FEW_CHANGES && passes < PASSES_MAX; passes++)
	{
		check_wanted();
		shards_shared->passes = passes + 2;
	}
	XLogFlush(GetXLogWriteRecPtr());
	ddl_shards_set_phase(SHARDS_READY);
	while (!switcher_is_there(&xid))
	{
		check_wanted();
		if (due <= GetCurrentTimestamp())
		{
			TimestampTz began = GetCurrentTimestamp();

			(void) ddl_shards_copy_pass(c);
			due = GetCurrentTimestamp() + Max(PASS_EVERY_MS * INT64CONST(1000), 4 * (GetCurrentTimestamp() - began));
		}
		sleep_ms(POLL_MS);
	}
}

static void
build(const ShardsJob *job)
{
	ShardsCopy *c;
	int64		estimate;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	c = ddl_shards_copy_begin(job);
	estimate = (int64) ddl_shards_copy_estimate(c);
	PopActiveSnapshot();
	SpinLockAcquire(&shards_shared->lock);
	shards_shared->relid = ddl_shards_copy_relid(c);
	shards_shared->rows = 0;
	shards_shared->rows_estimated = estimate;
	shards_shared->passes = 0;
	SpinLockRelease(&shards_shared->lock);
	ddl_shards_set_phase(SHARDS_COPYING);
	shards_shared->rows = ddl_shards_copy_pass(c);
	shards_shared->passes = 1;
	ddl_shards_set_phase(SHARDS_INDEXING);
	STOP_EVENT("shards-copied");
	check_wanted();
	ddl_shards_copy_index(c);
	ddl_shards_set_phase(SHARDS_FOLLOWING);
	follow(c);
	hand_over(c);
}

/* False: once more may do. */
static bool
try_build(const ShardsJob *job, MemoryContext context, bool last)
{
	volatile bool done = true;

	PG_TRY();
	{
		build(job);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!is_unwanted())
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		forget_files();
		MemoryContextSwitchTo(context);
		SpinLockAcquire(&shards_shared->lock);
		done = shards_shared->unwanted || last || shards_shared->phase == SHARDS_DONE;
		if (shards_shared->phase != SHARDS_DONE)
			shards_shared->phase = last ? SHARDS_FAILED : SHARDS_STARTING;
		strlcpy(shards_shared->message, error->message, sizeof(shards_shared->message));
		shards_shared->relid = InvalidOid;
		SpinLockRelease(&shards_shared->lock);
		wake_switcher();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

void
nodedb_shard_builder_main(Datum arg)
{
	MemoryContext context;
	ShardsJob	job;
	bool		first;

	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);	/* the guard, and whoever does not want it any more */
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(nodedb_database, NULL, 0);
	SpinLockAcquire(&shards_shared->lock);
	first = shards_shared->pid == 0;
	if (first)
	{
		shards_shared->pid = MyProcPid;
		shards_shared->pgprocno = MyProc->pgprocno;
	}
	job = shards_shared->job;
	SpinLockRelease(&shards_shared->lock);
	if (!first)
		proc_exit(0);
	before_shmem_exit(at_exit, (Datum) 0);
	SetConfigOption("search_path", "pg_catalog", PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_tablespace", "", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("nodedb.replicate_ddl", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("nodedb.read_consistency", "local", PGC_SUSET, PGC_S_OVERRIDE);
	context = AllocSetContextCreate(TopMemoryContext, "nodedb shard builder", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	drop_leftovers();
	if (job.session[0] != '\0')
	{
		pgstat_report_activity(STATE_RUNNING, psprintf("preparing shards of table \"%s.%s\"", job.schema, job.table));
		for (int tries = 1; !try_build(&job, context, tries == TRIES); tries++)
		{
			MemoryContextReset(context);
			sleep_ms(100);
		}
		drop_leftovers();
	}
	proc_exit(0);
}
