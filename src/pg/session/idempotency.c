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

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define PRUNE_ROWS "1000"

static LocalTransactionId claimed_lxid = InvalidLocalTransactionId;
static char *claimed_key = NULL;	/* in TopTransactionContext of claimed_lxid */
static bool claiming = false;

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

static void
insert_key(void *arg)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID};
	char	   *id = commit_transaction_id();
	Datum		values[] = {
		CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false)), CStringGetTextDatum(nodedb_idempotency_key), CStringGetTextDatum(id)
	};

	if (SPI_execute_with_args("INSERT INTO nodedb.idempotency_keys VALUES ($1, $2, $3, now()) ON CONFLICT DO NOTHING", 3, types, values, NULL,
							  false, 0) != SPI_OK_INSERT)
		elog(ERROR, "nodedb: could not claim an idempotency key");
	if (SPI_processed > 0)
		return;
	if (SPI_execute_with_args("SELECT transaction_id, began_at FROM nodedb.idempotency_keys WHERE role = $1 AND key = $2",
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

void
idempotency_claim(void)
{
	if (likely(nodedb_idempotency_key[0] == '\0') || claiming ||
		(claimed_lxid == MyProc->lxid && strcmp(claimed_key, nodedb_idempotency_key) == 0))
		return;
	claiming = true;
	PG_TRY();
	{
		session_internal(insert_key, NULL);
	}
	PG_FINALLY();
	{
		claiming = false;
	}
	PG_END_TRY();
	claimed_key = MemoryContextStrdup(TopTransactionContext, nodedb_idempotency_key);
	claimed_lxid = MyProc->lxid;
}

void
idempotency_forget(void)
{
	claimed_lxid = InvalidLocalTransactionId;
}

bool
idempotency_prune(void)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(nodedb_idempotency_keep)};
	bool		all;

	if (nodedb_groups[1].status.raft.leader != nodedb_shared->self)
		return true;
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("DELETE FROM nodedb.idempotency_keys WHERE (role, key) IN (SELECT role, key FROM nodedb.idempotency_keys"
							  " WHERE began_at < now() - make_interval(mins => $1) ORDER BY began_at LIMIT " PRUNE_ROWS ")",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "nodedb: could not remove old idempotency keys");
	all = SPI_processed < atoi(PRUNE_ROWS);
	SPI_finish();
	return all;
}
