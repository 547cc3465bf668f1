/*
 * read_again.c: a lone SELECT that stands in the applier's way lets go of its locks, waits, and is planned anew.
 *
 * A reader waits with AccessShareLock on its tables: the parser took it. When a TRUNCATE or ALTER TABLE of another node is among the entries that it
 * waits for, applier and reader wait for each other. In a block that costs the transaction its life (40001), but a SELECT outside of one has read
 * nothing and its client would not expect to retry it. So its plan is started without waiting and ended at once when it is to run; the transaction
 * is committed, as CALL would, and nothing is held while waiting; then the text is analyzed and planned again, under the new schema.
 *
 * Invariants:
 * 1. Only for the one statement of a transaction that did nothing else: no block, no pipeline, no function, utility statement or cursor around it.
 * 2. The rows keep the form that the client was told (extended protocol: before the query ran), else 40001.
 * 3. `waiting` is forgotten at the end of its transaction: the address of a QueryDesc is used again.
 */
#include "read_internal.h"

#include "commit.h"
#include "portal.h"

#include "access/tupdesc.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

static QueryDesc *waiting = NULL;
static LocalTransactionId waiting_lxid = InvalidLocalTransactionId;

bool
read_again_possible(QueryDesc *query)
{
	Portal		p = ActivePortal;

	return p != NULL && p->status == PORTAL_DEFINED && p->strategy == PORTAL_ONE_SELECT && p->name[0] == '\0' && list_length(p->stmts) == 1 &&
		linitial(p->stmts) == (void *) query->plannedstmt && !IsInTransactionBlock(true) &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny());
}

void
read_again_later(QueryDesc *query)
{
	waiting = query;
	waiting_lxid = MyProc->lxid;
}

bool
read_again_due(QueryDesc *query)
{
	return waiting == query && waiting_lxid == MyProc->lxid;
}

/* The next snapshot is taken at the fence, if one is wanted. */
static void
fence(void)
{
	const ReadGroups all = READ_ALL_GROUPS;

	if (read_fences(&all))
		(void) read_fence(false);
}

void
read_again(QueryDesc *query)
{
	Portal		p = ActivePortal;
	MemoryContext context = CurrentMemoryContext;
	const ReadGroups all = READ_ALL_GROUPS;	/* its plan is not known yet */
	PlannedStmt *plan;
	TupleDesc	told;
	char	   *text;

	waiting = NULL;
	if (p == NULL || p->queryDesc != query || IsInTransactionBlock(true) || !portal_is_last(p))
		read_raise_in_the_way();

	/* What must survive the transaction. */
	MemoryContextSwitchTo(p->portalContext);
	text = pstrdup(query->sourceText);
	told = CreateTupleDescCopy(query->tupDesc);
	MemoryContextSwitchTo(context);
	ExecutorFinish(query);
	ExecutorEnd(query);
	p->tupDesc = told;
	PopActiveSnapshot();		/* PortalRunSelect() pushed it, and pops one afterwards */
	UnregisterSnapshot(query->snapshot);
	query->snapshot = NULL;
	CommitTransactionCommand();

	StartTransactionCommand();
	p->resowner = ResourceOwnerCreate(TopTransactionResourceOwner, "Portal");
	CurrentResourceOwner = p->resowner;
	MemoryContextSwitchTo(p->portalContext);
	(void) read_wait(&all, false);
	read_mark_waited(&all);
	if (IsolationUsesXactSnapshot())
		fence();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) commit_fence_leave();
	plan = portal_plan_again(text, query->params, query->queryEnv);
	if (plan == NULL)
		read_raise_in_the_way();
	query->plannedstmt = plan;
	query->sourceText = text;
	PopActiveSnapshot();
	if (!IsolationUsesXactSnapshot())
		fence();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) commit_fence_leave();
	query->snapshot = RegisterSnapshot(GetActiveSnapshot());
	ExecutorStart(query, 0);
	if (!equalTupleDescs(query->tupDesc, told))
	{
		if (p->visible)
			read_raise_in_the_way();
		p->stmts = list_make1(query->plannedstmt);
		p->tupDesc = query->tupDesc;
		PortalSetResultFormat(p, 0, NULL);
	}
	query->already_executed = false;
	MemoryContextSwitchTo(context);
}
