/*
 * shards_wait.c: a table is about to be spread: all nodes are told to prepare it, and are waited for (shards_online.h).
 *
 * The session stands in a transaction, where nothing can be committed: the lease worker puts rows into nodedb.shard_builds for it, one for each member, and takes them out again when the session's
 * transaction is over, whichever way. It also writes down how far this node's builder is, and starts and ends it. One table at a time in the whole cluster, for a node prepares one;
 * sessions stand in line.
 *
 * Not waited for are nodes that are not connected or stand still (wait_headway()): they copy the rows at the schema change's place in the log. A node that reports that it cannot prepare the
 * table is an error, nothing has changed anywhere: at the schema change it would most likely fail as well, and stop applying.
 *
 * Not prepared, but copied under the lock: a small table (nodedb.shard_online_size); in a transaction block, in one that has changed something, or above READ COMMITTED, where the session could not look
 * how far the others are without keeping its snapshot, or the builders would not see what it has done.
 */
#include "ddl.h"
#include "shards.h"
#include "shards_online.h"

#include "sequence/sequence.h"
#include "session/session.h"
#include "session/wait.h"
#include "shmem.h"
#include "stop_event.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include <signal.h>

#define POLL_MS 100
#define PUBLISH_EVERY_MS 1000
#define OWNER_GONE_MS 30000

/* ---- the session ---- */

typedef struct Wait
{
	ShardsJob	job;
	WaitHeadway headway;
	MemoryContext context;
	/* answers */
	int64		rows;			/* of this session, in nodedb.shard_builds */
	int64		open;			/* nodes that are waited for */
	char	   *failed;			/* "node: reason"; NULL: none */
} Wait;

static bool wanting = false;	/* this transaction does */

static void
xact_callback(XactEvent event, void *arg)
{
	if (!wanting || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	wanting = false;
	SpinLockAcquire(&shards_shared->lock);
	if (shards_shared->want_pid == MyProcPid)
		shards_shared->want_pid = 0;
	SpinLockRelease(&shards_shared->lock);
	pg_atomic_write_u32(&nodedb_shared->builds_changed, 1);
	sequence_wake_worker();
}

/* To be copied. */
static uint64
bytes_of(Oid relid)
{
	List	   *relids = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ? find_inheritance_children(relid, NoLock) : list_make1_oid(relid);
	uint64		bytes = 0;
	ListCell   *lc;

	foreach(lc, relids)
	{
		Relation	rel = try_relation_open(lfirst_oid(lc), AccessShareLock);

		if (rel == NULL)
			continue;
		bytes += (uint64) RelationGetNumberOfBlocks(rel) * BLCKSZ;
		relation_close(rel, AccessShareLock);
	}
	return bytes;
}

/* False: another session of this node is in line before us. */
static bool
ask(Wait *w)
{
	bool		free;

	SpinLockAcquire(&shards_shared->lock);
	free = shards_shared->want_pid == 0;
	if (free)
	{
		shards_shared->want_pid = MyProcPid;
		snprintf(w->job.session, NAMEDATALEN, "%u.%u.%d.%u", nodedb_shared->self, nodedb_shared->incarnation, MyProcPid, ++shards_shared->want_number);
		shards_shared->want = w->job;
		wanting = true;
	}
	SpinLockRelease(&shards_shared->lock);
	if (free)
	{
		pg_atomic_write_u32(&nodedb_shared->builds_changed, 1);
		sequence_wake_worker();
	}
	return free;
}

static void
look(void *arg)
{
	Wait	   *w = arg;
	Oid			types[] = {TEXTOID, INT4ARRAYOID};
	Datum		values[] = {CStringGetTextDatum(w->job.session), wait_headway_still(&w->headway)};
	bool		isnull;
	char	   *failed;

	if (SPI_execute_with_args("SELECT count(*), count(*) FILTER (WHERE b.state NOT IN ('ready', 'failed') AND (n.connected AND b.node_id <> ALL ($2) OR n.is_self)),"
							  " min(coalesce(n.name, b.node_id::text) || ': ' || b.message) FILTER (WHERE b.state = 'failed')"
							  " FROM nodedb.shard_builds b LEFT JOIN nodedb.nodes n ON n.node_id = b.node_id WHERE b.session = $1",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "nodedb: could not read nodedb.shard_builds");
	w->rows = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	w->open = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	failed = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	w->failed = failed == NULL ? NULL : MemoryContextStrdup(w->context, failed);
}

static void
sleep_and_look(Wait *w)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	session_check_doomed();
	if (!wanting && !ask(w))
		return;
	wait_headway(&w->headway, nodedb_commit_timeout);
	wait_headway_warn(&w->headway, "It copies the rows when it goes on.");
	PushActiveSnapshot(GetTransactionSnapshot());
	session_internal(look, w);
	PopActiveSnapshot();
}

void
ddl_shards_prepare(Oid relid, const char *column, int n_shards)
{
	Wait	   *w;
	char	   *name;
	bool		announced = false;

	if (!nodedb_replicate_ddl || IsTransactionBlock() || IsolationUsesXactSnapshot() || TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
		bytes_of(relid) < (uint64) nodedb_shard_online_size * 1024)
		return;
	w = palloc0(sizeof(Wait));
	w->context = CurrentMemoryContext;
	name = get_rel_name(relid);
	if (name == NULL)
		return;					/* dropped since it was looked at; the caller looks again */
	strlcpy(w->job.table, name, NAMEDATALEN);
	strlcpy(w->job.schema, get_namespace_name(get_rel_namespace(relid)), NAMEDATALEN);
	strlcpy(w->job.column, column == NULL ? "" : column, NAMEDATALEN);
	w->job.n_shards = n_shards;
	do
	{
		sleep_and_look(w);
		if (announced && w->rows == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the preparation of table \"%s\" was ended by somebody else", w->job.table)));
		announced = w->rows > 0;
		if (w->failed != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" could not be prepared on every node", w->job.table),
					 errdetail("Node %s", w->failed),
					 errhint("Nothing has changed. See that node's log, and try again.")));
	} while (!announced || w->open > 0);
	STOP_EVENT("shards-ready");
}

/* ---- the lease worker ---- */

typedef struct Mind
{
	ShardsJob	mine;			/* what a session of this node wants; no session: none */
	ShardsJob	job;			/* what this node is to prepare */
	char		state[NAMEDATALEN]; /* as it has told */
	bool		owner_is_gone;	/* the session's node is not connected */
	bool		leftovers;
} Mind;

static char *
text_at(int column)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	return text == NULL ? "" : text;
}

static void
run(const char *sql, int n, Oid *types, Datum *values, int expected)
{
	if (SPI_execute_with_args(sql, n, types, values, NULL, false, 0) != expected)
		elog(ERROR, "nodedb: could not change nodedb.shard_builds");
}

static void
mind_rows(void *arg)
{
	Mind	   *m = arg;
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID};
	Datum		values[] = {Int32GetDatum(nodedb_shared->self), CStringGetTextDatum(m->mine.session), CStringGetTextDatum(m->mine.schema),
		CStringGetTextDatum(m->mine.table), CStringGetTextDatum(m->mine.column), Int32GetDatum(m->mine.n_shards)};

	run("DELETE FROM nodedb.shard_builds WHERE split_part(session, '.', 1)::int = $1 AND session <> $2", 2, types, values, SPI_OK_DELETE);
	if (m->mine.session[0] != '\0')
		run("INSERT INTO nodedb.shard_builds (node_id, schema, table_name, column_name, shards, session, state) SELECT node_id, $3, $4, nullif($5, ''), $6, $2, 'waiting' FROM nodedb.nodes"
			" WHERE NOT EXISTS (SELECT FROM nodedb.shard_builds)", 6, types, values, SPI_OK_INSERT);
	run("SELECT b.session, b.schema, b.table_name, coalesce(b.column_name, ''), b.shards, b.state, coalesce(n.connected, false) FROM nodedb.shard_builds b"
		" LEFT JOIN nodedb.nodes n ON n.node_id = split_part(b.session, '.', 1)::int WHERE b.node_id = $1", 1, types, values, SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		strlcpy(m->state, text_at(6), NAMEDATALEN);
		m->owner_is_gone = text_at(7)[0] == 'f';
		strlcpy(m->job.session, text_at(1), NAMEDATALEN);
		strlcpy(m->job.schema, text_at(2), NAMEDATALEN);
		strlcpy(m->job.table, text_at(3), NAMEDATALEN);
		strlcpy(m->job.column, text_at(4), NAMEDATALEN);
		m->job.n_shards = atoi(text_at(5));
	}
	run("SELECT FROM pg_class WHERE relnamespace = 'nodedb'::regnamespace AND relkind = 'r' AND relname LIKE 'shard\\_build\\_%'", 0, NULL, NULL, SPI_OK_SELECT);
	m->leftovers = SPI_processed > 0 || (shards_shared->pid == 0 && ddl_shards_files_left());
}

static const char *
state_text(ShardsPhase phase)
{
	switch (phase)
	{
		case SHARDS_IDLE:
		case SHARDS_STARTING:
			return "waiting";
		case SHARDS_COPYING:
			return "copying";
		case SHARDS_INDEXING:
			return "indexing";
		case SHARDS_FOLLOWING:
			return "following";
		case SHARDS_READY:
		case SHARDS_YIELDED:
		case SHARDS_DONE:
			return "ready";
		case SHARDS_FAILED:
			return "failed";
	}
	return "?";
}

static void
publish(void *arg)
{
	const ShardsShared *s = arg;
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(nodedb_shared->self), CStringGetTextDatum(s->job.session), CStringGetTextDatum(state_text(s->phase)), Int64GetDatum(s->rows),
	Int64GetDatum(s->rows_estimated), Int32GetDatum(s->passes), CStringGetTextDatum(s->phase == SHARDS_FAILED ? s->message : "")};

	run("UPDATE nodedb.shard_builds SET state = $3, rows_copied = $4, rows_estimated = $5, passes = $6, message = nullif($7, '') WHERE node_id = $1 AND session = $2"
		" AND (state, rows_copied, rows_estimated, passes, message) IS DISTINCT FROM ($3, $4, $5, $6, nullif($7, ''))", 7, types, values, SPI_OK_UPDATE);
}

static void
start(const ShardsJob *job, BackgroundWorkerHandle **running)
{
	BackgroundWorker worker;
	MemoryContext old;

	SpinLockAcquire(&shards_shared->lock);
	shards_shared->job = *job;
	shards_shared->unwanted = false;
	shards_shared->phase = job->session[0] == '\0' ? SHARDS_IDLE : SHARDS_STARTING;
	shards_shared->relid = InvalidOid;
	shards_shared->rows = shards_shared->rows_estimated = shards_shared->passes = 0;
	shards_shared->switcher_pid = 0;
	SpinLockRelease(&shards_shared->lock);
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_name, "nodedb shard builder", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "nodedb shard builder", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "nodedb", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "nodedb_shard_builder_main", BGW_MAXLEN);
	old = MemoryContextSwitchTo(TopMemoryContext);	/* the handle is kept */
	if (!RegisterDynamicBackgroundWorker(&worker, running))
	{
		*running = NULL;
		SpinLockAcquire(&shards_shared->lock);
		shards_shared->phase = SHARDS_FAILED;
		strlcpy(shards_shared->message, "no background worker is free to prepare shards", sizeof(shards_shared->message));
		SpinLockRelease(&shards_shared->lock);
		ereport(LOG,
				(errmsg("nodedb: no background worker is free to prepare shards"),
				 errhint("Raise max_worker_processes.")));
	}
	MemoryContextSwitchTo(old);
}

/* Nobody waits for it any more. */
static void
end(const ShardsJob *job)
{
	SpinLockAcquire(&shards_shared->lock);
	if (shards_shared->pid != 0 && strcmp(shards_shared->job.session, job->session) != 0 && shards_shared->phase != SHARDS_YIELDED && shards_shared->phase != SHARDS_DONE)
	{
		shards_shared->unwanted = true;
		kill(shards_shared->pid, SIGINT);
	}
	SpinLockRelease(&shards_shared->lock);
}

/* Its lease worker would remove the rows. Meanwhile no node could vacuum what its builder sees, and nobody else could spread a table. */
static void
forget_owner(void *arg)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(((Mind *) arg)->job.session)};

	run("DELETE FROM nodedb.shard_builds WHERE session = $1", 1, types, values, SPI_OK_DELETE);
}

static void
mind_owner(Mind *m)
{
	static char session[NAMEDATALEN];
	static TimestampTz seen = 0;

	if (!m->owner_is_gone || strcmp(session, m->job.session) != 0)
		seen = GetCurrentTimestamp();
	strlcpy(session, m->job.session, NAMEDATALEN);
	if (m->job.session[0] != '\0' && TimestampDifferenceExceeds(seen, GetCurrentTimestamp(), OWNER_GONE_MS))
		session_internal(forget_owner, m);
}

bool
ddl_mind_shards(void)
{
	static BackgroundWorkerHandle *running = NULL;
	static TimestampTz published = 0;
	Mind		m = {0};
	ShardsShared now;
	pid_t		pid;
	bool		over;

	if (pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_RUNNING)
	{
		end(&m.job);			/* its session would not hear of it */
		return true;
	}
	SpinLockAcquire(&shards_shared->lock);
	if (shards_shared->want_pid != 0)
		m.mine = shards_shared->want;
	now = *shards_shared;
	SpinLockRelease(&shards_shared->lock);
	session_internal(mind_rows, &m);
	if (m.job.session[0] == '\0' && m.mine.session[0] == '\0' && !m.leftovers && now.pid == 0)
		return true;
	mind_owner(&m);
	over = running == NULL || GetBackgroundWorkerPid(running, &pid) == BGWH_STOPPED;
	if (!over && strcmp(now.job.session, m.job.session) != 0)
		end(&m.job);
	else if (over && m.job.session[0] != '\0')
	{
		if (strcmp(now.job.session, m.job.session) != 0 || (now.phase != SHARDS_FAILED && now.phase != SHARDS_DONE))
			start(&m.job, &running);
	}
	else if (over && m.leftovers)
		start(&m.job, &running);
	/* A word of one node wakes the others: figures alone are told once in a while. */
	if (m.job.session[0] != '\0' && strcmp(now.job.session, m.job.session) == 0 &&
		(strcmp(m.state, state_text(now.phase)) != 0 || TimestampDifferenceExceeds(published, GetCurrentTimestamp(), PUBLISH_EVERY_MS)))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		session_internal(publish, &now);
		PopActiveSnapshot();
		published = GetCurrentTimestamp();
	}
	return false;
}

void
ddl_shards_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}
