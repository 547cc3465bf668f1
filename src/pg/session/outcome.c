/*
 * outcome.c: transaction_id() and transaction_status(): what became of a transaction whose client did not hear.
 *
 * Asking proposes a CANCEL of the id. If the transaction is committed, the CANCEL's verdict tells so; else it is a tombstone: no TXN of that id can
 * commit behind it, so "aborted" is a proof and not a guess (DESIGN.md, section 4; failure scenarios, 10). The base inside the id says that whatever the id
 * proposed stands above it, so the certifier knows whether it could have forgotten a verdict.
 *
 * An id does not say in which data groups its transaction is, so each group is asked, with a base of its own in the id. Committed in one is committed. A tombstone proves
 * something only in a group of the transaction: when all groups have one, one of them was the right one; a transaction whose id was told has no part in a group that came
 * later (commit_pre_commit()). Where the transaction's marker stands and waits for its
 * outcome, nothing is decided, and the CANCEL too late: the outcome is waited for.
 *
 * Invariants:
 * 1. "committed" and "aborted" are final, and the same on every node.
 * 2. A transaction that runs on the node that is asked is told "in progress", and left alone.
 * 3. Ids cannot be guessed (commit.c), for who knows one can end its transaction.
 */
#include "commit.h"
#include "read.h"

#include "../shmem.h"
#include "../tableam/parts.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(nodedb_transaction_id);
PG_FUNCTION_INFO_V1(nodedb_transaction_status);

/* transaction_id() returns text */
Datum
nodedb_transaction_id(PG_FUNCTION_ARGS)
{
	session_check_node();
	PG_RETURN_TEXT_P(cstring_to_text(commit_transaction_id()));
}

/* Numbers separated by points, as many as there are, at most max. 0: malformed. */
static int
take_numbers(const char *text, uint64 *out, int max)
{
	for (int n = 1; n <= max; n++)
	{
		char	   *end;

		if (*text < '0' || *text > '9')
			return 0;
		errno = 0;
		out[n - 1] = strtou64(text, &end, 10);
		if (errno != 0 || (*end != '.' && *end != '\0'))
			return 0;
		if (*end == '\0')
			return n;
		text = end + 1;
	}
	return 0;
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

typedef enum Outcome
{
	OUTCOME_COMMITTED,
	OUTCOME_ABORTED,			/* the transaction has, or had, a part in the group: it is aborted */
	OUTCOME_NOT_HERE,			/* not committed in this group, now and for ever */
	OUTCOME_FORGOTTEN
} Outcome;

static void
raise_later(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_CANNOT_CONNECT_NOW),
			 errmsg("%s within %d ms", why, nodedb_commit_timeout),
			 errhint("Ask again later: nothing is decided by that.")));
}

static Outcome
ask_group(TxnId id, NdGroupId group, uint64 base)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), nodedb_commit_timeout);
	long		wait_ms = 10;
	Verdict		v;

	for (;;)
	{
		if (!commit_ask_outcome(id, group, base, &v))
			raise_later("could not ask a majority of the cluster's nodes");
		if (v.by_index == 0 || v.first != VERDICT_PREPARED)
			break;
		if (GetCurrentTimestamp() >= end)
			raise_later("the transaction's data groups did not come to a decision");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		wait_ms = Min(wait_ms * 2, 500);
	}
	if (v.kind == VERDICT_ABORT_OLD)
		return OUTCOME_FORGOTTEN;
	if (v.by_index == 0 || v.first == VERDICT_ABORT_CANCELLED)
		return OUTCOME_NOT_HERE;
	return v.first == VERDICT_COMMIT ? OUTCOME_COMMITTED : OUTCOME_ABORTED;
}

/* transaction_status(id text) returns text */
Datum
nodedb_transaction_status(PG_FUNCTION_ARGS)
{
	char	   *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint32		n_groups;
	uint64	   *numbers;
	int			n;
	TxnId		id;
	bool		forgotten = false;

	session_check_node();
	numbers = palloc0((3 + nodedb_shared->max_groups) * sizeof(uint64));
	n = take_numbers(given, numbers, 3 + nodedb_shared->max_groups);
	/* Data groups that this node has not heard of: its own process had. */
	if (n - 3 > (int) parts_groups())
		read_know_groups();
	n_groups = parts_groups();
	if (n < 4 || n - 3 > (int) n_groups || numbers[0] == 0 || numbers[0] > PG_UINT32_MAX || numbers[1] > PG_UINT32_MAX || numbers[2] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid transaction id: \"%s\"", given),
				 errhint("Use what nodedb.transaction_id() or the hint of an error gave.")));
	id = (TxnId) {.node = (NdNodeId) numbers[0], .incarnation = (uint32) numbers[1], .counter = numbers[2]};
	if (runs_here(id))
		PG_RETURN_TEXT_P(cstring_to_text("in progress"));
	/* The base of a group that came later is 0: it has nothing of this id, or has forgotten what it had of any. */
	for (NdGroupId g = 1; g <= n_groups; g++)
		switch (ask_group(id, g, numbers[2 + g]))
		{
			case OUTCOME_COMMITTED:
				PG_RETURN_TEXT_P(cstring_to_text("committed"));
			case OUTCOME_ABORTED:
				PG_RETURN_TEXT_P(cstring_to_text("aborted"));
			case OUTCOME_NOT_HERE:
				break;
			case OUTCOME_FORGOTTEN:
				forgotten = true;
				break;
		}
	if (forgotten)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text("aborted"));
}
