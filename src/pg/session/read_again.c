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

#include "access/tupdesc.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

/* Of libpq/libpq.h, which wants headers of GSSAPI that need not be installed. */
extern bool pq_buffer_has_data(void);
extern int	pq_peekbyte(void);
extern void pq_startmsgread(void);
extern void pq_endmsgread(void);

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

/* Extended protocol: nothing follows in this transaction when Sync is the next message. The simple protocol hides its portals. */
static bool
last_of_transaction(Portal p)
{
	bool		sync;

	if (!p->visible)
		return true;
	if (!pq_buffer_has_data())
		return false;
	pq_startmsgread();
	sync = pq_peekbyte() == 'S';
	pq_endmsgread();
	return sync;
}

static PlannedStmt *
plan_again(QueryDesc *query, const char *text)
{
	List	   *raw = pg_parse_query(text);
	ParamListInfo params = query->params;
	int			n = params != NULL ? params->numParams : 0;
	Oid		   *types = palloc(sizeof(Oid) * Max(n, 1));
	List	   *plans = NIL;

	for (int i = 0; i < n; i++)
		types[i] = params->params[i].ptype;
	if (list_length(raw) == 1)
		plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, raw), text, types, n, query->queryEnv),
								text, CURSOR_OPT_PARALLEL_OK, params);
	if (list_length(plans) != 1 || linitial_node(PlannedStmt, plans)->utilityStmt != NULL)
		read_raise_in_the_way();
	return linitial_node(PlannedStmt, plans);
}

void
read_again(QueryDesc *query)
{
	Portal		p = ActivePortal;
	MemoryContext context = CurrentMemoryContext;
	TupleDesc	told;
	char	   *text;

	waiting = NULL;
	if (p == NULL || p->queryDesc != query || IsInTransactionBlock(true) || !last_of_transaction(p))
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
	(void) read_wait(false);
	read_mark_waited();
	PushActiveSnapshot(GetTransactionSnapshot());
	query->plannedstmt = plan_again(query, text);
	query->sourceText = text;
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
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
