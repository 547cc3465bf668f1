/*
 * queue.c: schema changes of one node stand in line, behind the writers that were there before them.
 *
 * A reservation refuses whoever comes to its commit behind it. Between nodes there is no other way; among the sessions of one node PostgreSQL's locks can do
 * better, and that is what its users know: a schema change waits for the transactions that have written to its tables, and one schema change waits for
 * another that is open. So a reservation is asked for only when both are over here. What still loses is a writer that begins in between.
 *
 * Invariants:
 * 1. No lock on a table is held or queued for while it waits: an applier never stands behind a schema change that has not reserved anything.
 * 2. Every wait is for a heavyweight lock: lock_timeout, the deadlock detector and the guard's kick-out end it, pg_locks shows it.
 * 3. The lock of the line is held from before the reservation to the transaction's end, whatever savepoints are rolled back: so does the reservation.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/sinvaladt.h"
#include "utils/acl.h"
#include "utils/resowner.h"

/* Beside those of pg_advisory_lock(), whose last field is 1 or 2. */
#define LINE_FIELD4 3

static LocalTransactionId in_line = InvalidLocalTransactionId;	/* the transaction that holds the line's lock */

/* Commands that PostgreSQL runs beside writers, and that lock nothing but the table itself and its children. */
static bool
beside_writers(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
		switch (lfirst_node(AlterTableCmd, lc)->subtype)
		{
			case AT_ValidateConstraint:
			case AT_SetStatistics:
			case AT_SetOptions:
			case AT_ResetOptions:
			case AT_ClusterOn:
			case AT_DropCluster:
				break;
			default:
				return false;
		}
	return AlterTableGetLockLevel(stmt->cmds) <= ShareUpdateExclusiveLock;
}

bool
ddl_may_reserve(DdlCommand *c)
{
	ListCell   *lc;

	foreach(lc, c->relations)
		if (pg_class_ownercheck(lfirst_oid(lc), GetUserId()) ||
			pg_class_aclmask(lfirst_oid(lc), GetUserId(), IsA(c->stmt, TruncateStmt) ? ACL_TRUNCATE : ACL_ALL_RIGHTS_RELATION, ACLMASK_ANY) != 0)
			return true;
	return false;
}

LOCKMODE
ddl_lock_mode(Node *stmt)
{
	return IsA(stmt, AlterTableStmt) && beside_writers((AlterTableStmt *) stmt) ? ShareUpdateExclusiveLock : AccessExclusiveLock;
}

/* PostgreSQL's locks on the parent are weak, those on partitions and on what foreign keys refer to are not. */
static bool
moves_partitions(AlterTableStmt *stmt)
{
	AlterTableType first = linitial_node(AlterTableCmd, stmt->cmds)->subtype;

	return first == AT_AttachPartition || first == AT_DetachPartition;
}

/* Who holds a lock that conflicts with this one is waited for: writers at least, where the reservation would refuse them. */
static LOCKMODE
waits_for(Node *stmt)
{
	if (ddl_lock_mode(stmt) == ShareUpdateExclusiveLock)
		return ShareUpdateExclusiveLock;
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
			return Max(moves_partitions((AlterTableStmt *) stmt) ? ExclusiveLock : ShareLock, AlterTableGetLockLevel(((AlterTableStmt *) stmt)->cmds));
		case T_DropStmt:
		case T_RenameStmt:
		case T_TruncateStmt:
		case T_SecLabelStmt:
		case T_CallStmt:
			return AccessExclusiveLock;
		default:
			return ShareLock;
	}
}

/* Not for background workers: the applier does not lose, and an index build (concurrent.c) is waited for by nobody. */
void
ddl_wait_for_holders(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	for (VirtualTransactionId *holder = GetLockConflicts(&tag, mode, NULL); VirtualTransactionIdIsValid(*holder); holder++)
	{
		PGPROC	   *proc = BackendIdGetProc(holder->backendId);

		if (proc == NULL || !proc->isBackgroundWorker)
			(void) VirtualXactLock(*holder, true);
	}
}

static void
wait_for_earlier(Node *stmt, List *relids)
{
	ListCell   *lc;

	foreach(lc, relids)
		ddl_wait_for_holders(lfirst_oid(lc), waits_for(stmt));
}

void
ddl_queue(DdlCommand *c, List *relids)
{
	LOCKTAG		line;
	ResourceOwner owner = CurrentResourceOwner;
	LockAcquireResult result;

	wait_for_earlier(c->stmt, relids);
	if (in_line == MyProc->lxid)
		return;
	SET_LOCKTAG_ADVISORY(line, MyDatabaseId, 0, 0, LINE_FIELD4);
	CurrentResourceOwner = TopTransactionResourceOwner;
	PG_TRY();
	{
		result = LockAcquire(&line, ExclusiveLock, false, true);
		if (result == LOCKACQUIRE_NOT_AVAIL)
			(void) LockAcquire(&line, ExclusiveLock, false, false);
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	in_line = MyProc->lxid;
	/* Standing in line takes as long as others' transactions do: new writers may have come. */
	if (result == LOCKACQUIRE_NOT_AVAIL)
		wait_for_earlier(c->stmt, relids);
}
