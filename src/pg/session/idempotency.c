/*
 * idempotency.c: a transaction with an idempotency key puts a row with that key into nodedb.idempotency_keys before its first change.
 *
 * The table is replicated like any other, and its primary key does all the work: of two attempts on one node the second waits for the first, of two on
 * different nodes the log lets one pass, and an attempt that is committed leaves the row. So a key stands for exactly one committed transaction, for as long
 * as it is kept: keys live in a table rather than in the certifier's window, which forgets (failure scenario D5).
 *
 * The row comes first, so that a repeated transaction learns of its predecessor before it has changed or returned anything.
 *
 * Invariants:
 * 1. No change of a distributed table without the claim, in the same (sub)transaction or one around it.
 * 2. The claim reads no more than this node has applied: a predecessor that is not applied here yet makes the certifier refuse this one (40001), and the next
 *    attempt finds it.
 */
#include "idempotency.h"

#include "commit.h"
#include "../shmem.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define PRUNE_ROWS "1000"

static LocalTransactionId claimed_lxid = InvalidLocalTransactionId;
static char *claimed_key = NULL;	/* in TopTransactionContext of claimed_lxid */
static bool claiming = false;

static Oid
keys_owner(void)
{
	Oid			table = get_relname_relid("idempotency_keys", nodedb_schema_oid());
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table nodedb.idempotency_keys does not exist"),
				 errhint("Update the extension: ALTER EXTENSION nodedb UPDATE.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
raise_committed(void)
{
	char	   *id = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	char	   *when = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);

	ereport(ERROR,
			(errcode(ERRCODE_NODEDB_ALREADY_COMMITTED),
			 errmsg("a transaction with idempotency key \"%s\" is already committed", nodedb_idempotency_key),
			 errdetail("It is transaction %s, begun at %s.", id, when),
			 errhint("Its effects are there: do not run it again.")));
}

/* As the table's owner, connected to SPI. */
static void
insert_key(void)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID};
	char	   *id = commit_transaction_id();
	Datum		values[] = {
		CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false)), CStringGetTextDatum(nodedb_idempotency_key), CStringGetTextDatum(id)
	};

	if (SPI_execute_with_args("INSERT INTO nodedb.idempotency_keys VALUES ($1, $2, $3, pg_catalog.now()) ON CONFLICT DO NOTHING", 3, types, values, NULL,
							  false, 0) != SPI_OK_INSERT)
		elog(ERROR, "nodedb: could not claim an idempotency key");
	if (SPI_processed > 0)
		return;
	if (SPI_execute_with_args("SELECT transaction_id, began_at FROM nodedb.idempotency_keys WHERE role OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
							  2, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not look for an idempotency key");
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not claim idempotency key \"%s\": a concurrent transaction has it", nodedb_idempotency_key),
				 errhint("Retry the transaction.")));
	/* Our own, claimed before a subtransaction that was rolled back meanwhile. */
	if (strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), id) != 0)
		raise_committed();
}

static void
claim(void)
{
	int			consistency = nodedb_read_consistency;
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	claiming = true;
	nodedb_read_consistency = READ_LOCAL;	/* invariant 2 */
	SetUserIdAndSecContext(keys_owner(), context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "nodedb: SPI_connect failed");
		insert_key();
		SPI_finish();
	}
	PG_FINALLY();
	{
		claiming = false;
		nodedb_read_consistency = consistency;
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
}

void
idempotency_claim(void)
{
	if (likely(nodedb_idempotency_key[0] == '\0') || claiming ||
		(claimed_lxid == MyProc->lxid && strcmp(claimed_key, nodedb_idempotency_key) == 0))
		return;
	claim();
	claimed_key = MemoryContextStrdup(TopTransactionContext, nodedb_idempotency_key);
	claimed_lxid = MyProc->lxid;
}

void
idempotency_forget(void)
{
	claimed_lxid = InvalidLocalTransactionId;
}

bool
idempotency_prune(void *arg)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(nodedb_idempotency_keep)};
	bool		all;

	if (nodedb_groups[1].status.raft.leader != nodedb_shared->self)
		return true;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("DELETE FROM nodedb.idempotency_keys WHERE (role, key) IN (SELECT role, key FROM nodedb.idempotency_keys"
							  " WHERE began_at < now() - make_interval(mins => $1) ORDER BY began_at LIMIT " PRUNE_ROWS ")",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "nodedb: could not remove old idempotency keys");
	all = SPI_processed < atoi(PRUNE_ROWS);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return all;
}
