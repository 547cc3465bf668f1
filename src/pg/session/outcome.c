/*
 * outcome.c: transaction_id() and transaction_status(): what became of a transaction whose client did not hear.
 *
 * Asking proposes a CANCEL of the id. If the transaction is committed, the CANCEL's verdict tells so; else it is a tombstone: no TXN of that id can
 * commit behind it, so "aborted" is a proof and not a guess (DESIGN.md, section 4; failure scenarios, 10). The base inside the id says that whatever the id
 * proposed stands above it, so the certifier knows whether it could have forgotten a verdict.
 *
 * Invariants:
 * 1. "committed" and "aborted" are final, and the same on every node.
 * 2. A transaction that runs on the node that is asked is told "in progress", and left alone.
 * 3. Ids cannot be guessed (commit.c), for who knows one can end its transaction.
 */
#include "commit.h"

#include "../shmem.h"

#include "fmgr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(nodedb_transaction_id);
PG_FUNCTION_INFO_V1(nodedb_transaction_status);

/* transaction_id() returns text */
Datum
nodedb_transaction_id(PG_FUNCTION_ARGS)
{
	session_check_node();
	PG_RETURN_TEXT_P(cstring_to_text(commit_transaction_id()));
}

/* Numbers separated by points. False: malformed. */
static bool
take_numbers(const char *text, uint64 *out, int n)
{
	for (int i = 0; i < n; i++)
	{
		char	   *end;

		if (*text < '0' || *text > '9')
			return false;
		errno = 0;
		out[i] = strtou64(text, &end, 10);
		if (errno != 0 || *end != (i == n - 1 ? '\0' : '.'))
			return false;
		text = end + 1;
	}
	return true;
}

static bool
runs_here(TxnId id)
{
	if (id.node != nodedb_shared->self || id.incarnation != nodedb_shared->incarnation)
		return false;
	for (uint32 i = 0; i < nodedb_shared->n_slots; i++)
		if (nodedb_slots[i].counter == id.counter)
			return true;
	return false;
}

/* transaction_status(id text) returns text */
Datum
nodedb_transaction_status(PG_FUNCTION_ARGS)
{
	char	   *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint64		numbers[4];
	TxnId		id;
	Verdict		v;

	session_check_node();
	if (!take_numbers(given, numbers, 4) || numbers[0] == 0 || numbers[0] > PG_UINT32_MAX || numbers[1] > PG_UINT32_MAX || numbers[2] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid transaction id: \"%s\"", given),
				 errhint("Use what nodedb.transaction_id() or the hint of an error gave.")));
	id = (TxnId) {.node = (NdNodeId) numbers[0], .incarnation = (uint32) numbers[1], .counter = numbers[2]};
	if (runs_here(id))
		PG_RETURN_TEXT_P(cstring_to_text("in progress"));
	if (!commit_ask_outcome(id, numbers[3], &v))
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_CONNECT_NOW),
				 errmsg("could not ask a majority of the cluster's nodes within %d ms", nodedb_commit_timeout),
				 errhint("Ask again later: nothing is decided by that.")));
	if (v.kind == VERDICT_ABORT_OLD)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(v.by_index != 0 && v.first == VERDICT_COMMIT ? "committed" : "aborted"));
}
