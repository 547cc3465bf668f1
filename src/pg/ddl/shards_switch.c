/*
 * shards_switch.c: whoever runs the schema change takes the files that this node's builder has prepared (shards_online.h).
 *
 * The exchange is that of CLUSTER: the shard and the builder's table swap the file of their rows, the TOAST table, and the files of their indexes; what the shard had, all of it empty, goes
 * with the builder's table. Big values name their TOAST table by its oid, so that one moves, rather than its file.
 *
 * Invariants: those of shards_catalog.c; what the shard takes over was made by a transaction that is committed, so WAL is written for it.
 */
#include "shards.h"
#include "shards_online.h"

#include "stop_event.h"
#include "tableam/apply.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include <signal.h>

#define POLL_MS 50

/* ---- the builder ---- */

static ShardsPhase
phase(bool *alive)
{
	ShardsPhase now;

	SpinLockAcquire(&shards_shared->lock);
	now = shards_shared->phase;
	*alive = shards_shared->pid != 0;
	SpinLockRelease(&shards_shared->lock);
	return now;
}

static void
wake_builder(void)
{
	int			procno = -1;

	SpinLockAcquire(&shards_shared->lock);
	if (shards_shared->pid != 0)
		procno = shards_shared->pgprocno;
	SpinLockRelease(&shards_shared->lock);
	if (procno >= 0)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

/* True: it has come there. */
static bool
wait_for(ShardsPhase from, ShardsPhase wanted)
{
	for (;;)
	{
		bool		alive;
		ShardsPhase now = phase(&alive);

		if (now == wanted)
			return true;
		if (!alive || now != from)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* The builder has this table in hand; is it what is wanted now, and ready? What is not would only stand in the way. */
static bool
is_ready(Oid relid, const char *column, int n_shards, bool usable)
{
	bool		ready = false;

	SpinLockAcquire(&shards_shared->lock);
	if (shards_shared->pid != 0 && shards_shared->relid == relid)
	{
		ready = usable && shards_shared->phase == SHARDS_READY && !shards_shared->unwanted && shards_shared->job.n_shards == n_shards &&
			strcmp(shards_shared->job.column, column) == 0;
		if (!ready && shards_shared->phase != SHARDS_DONE)
		{
			shards_shared->unwanted = true;
			kill(shards_shared->pid, SIGINT);
		}
	}
	SpinLockRelease(&shards_shared->lock);
	return ready;
}

bool
ddl_shards_yield(Oid relid, const char *column, int n_shards)
{
	/* Invariant 2 of shards_online.h. */
	bool		again = apply_active && !apply_alone && apply_can_ask_alone;
	bool		usable = again || ((!apply_active || apply_alone) && !TransactionIdIsValid(GetTopTransactionIdIfAny()));

	if (!is_ready(relid, column == NULL ? "" : column, n_shards, usable))
		return false;
	if (again)
		apply_ask_alone();
	SpinLockAcquire(&shards_shared->lock);
	shards_shared->switcher_pid = MyProcPid;
	shards_shared->switcher_pgprocno = MyProc->pgprocno;
	shards_shared->switcher_lxid = MyProc->lxid;
	shards_shared->switcher_xid = InvalidTransactionId;
	SpinLockRelease(&shards_shared->lock);
	wake_builder();
	return wait_for(SHARDS_READY, SHARDS_YIELDED);
}

bool
ddl_shards_finish(void)
{
	TransactionId xid = GetTopTransactionId();

	SpinLockAcquire(&shards_shared->lock);
	shards_shared->switcher_xid = xid;
	SpinLockRelease(&shards_shared->lock);
	wake_builder();
	if (!wait_for(SHARDS_YIELDED, SHARDS_DONE))
		return false;
	AcceptInvalidationMessages();
	return true;
}

void
ddl_shards_give_way(List *relids)
{
	Oid			relid;
	ListCell   *lc;

	SpinLockAcquire(&shards_shared->lock);
	relid = shards_shared->pid != 0 && shards_shared->phase <= SHARDS_READY ? shards_shared->relid : InvalidOid;
	SpinLockRelease(&shards_shared->lock);
	foreach(lc, relids)
		if (OidIsValid(relid) && (lfirst_oid(lc) == relid || (get_rel_relispartition(lfirst_oid(lc)) && get_partition_parent(lfirst_oid(lc), true) == relid)))
		{
			SpinLockAcquire(&shards_shared->lock);
			if (shards_shared->pid != 0 && shards_shared->relid == relid)
				kill(shards_shared->pid, SIGINT);
			SpinLockRelease(&shards_shared->lock);
			return;
		}
}

/* ---- the files ---- */

static Oid
hidden(int shard, Oid index)
{
	return get_relname_relid(ddl_shards_hidden_name(shard, index), nodedb_schema_oid());
}

static void
take_indexes(Oid table, Oid shard, int number)
{
	ListCell   *lc;

	foreach(lc, ddl_shards_indexes(table))
	{
		Relation	rel = table_open(shard, NoLock);
		Oid			own = shard == table ? lfirst_oid(lc) : index_get_partition(rel, lfirst_oid(lc));
		Oid			prepared = hidden(number, lfirst_oid(lc));

		table_close(rel, NoLock);
		if (OidIsValid(prepared))
			ddl_shards_exchange(own, prepared);
		else
			reindex_index(own, false, RELPERSISTENCE_PERMANENT, &(ReindexParams) {0});	/* made since */
	}
}

/* Nobody has inserted anything: without a word autovacuum would not look at it, and it would have no statistics. */
static void
count_rows(Oid shard)
{
	Relation	rel = table_open(shard, NoLock);
	BlockNumber pages;
	double		rows;
	double		visible;

	estimate_rel_size(rel, NULL, &pages, &rows, &visible);
	pgstat_count_heap_insert(rel, (PgStat_Counter) rows);
	table_close(rel, NoLock);
}

void
ddl_shards_take(Oid table, const Oid *shards, int n_shards)
{
	for (int i = 0; i < n_shards; i++)
	{
		Oid			prepared = hidden(i, InvalidOid);
		ObjectAddress object;

		CHECK_FOR_INTERRUPTS();
		if (!OidIsValid(prepared))
			elog(ERROR, "nodedb: prepared shard %d of table %u is missing", i, table);
		LockRelationOid(prepared, AccessExclusiveLock);
		ddl_shards_exchange(shards[i], prepared);
		CommandCounterIncrement();
		ddl_shards_exchange_toast(shards[i], prepared);
		CommandCounterIncrement();
		take_indexes(table, shards[i], i);
		CommandCounterIncrement();
		ObjectAddressSet(object, RelationRelationId, prepared);
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
		CommandCounterIncrement();
		ddl_shards_rename_toast(shards[i]);
		count_rows(shards[i]);
	}
}
