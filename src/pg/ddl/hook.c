/*
 * hook.c: utility commands at their origin: reserve, run, record.
 *
 * A replicated command goes through five steps:
 *   classify   whom it concerns, which tables it locks
 *   queue      behind the transactions of this node that it would only refuse (queue.c)
 *   reserve    one global key, so that schema changes are one after another in the whole cluster, and the keys of those tables, each in its group: from then on no
 *              other node's transaction on them commits, so the command cannot lose; what was committed before is applied here first. Nothing has run yet, so
 *              failing to get it and trying again is invisible.
 *   record     the command's text and all that it depends on enter the write set, before the rows that it may produce
 *   run        here, as PostgreSQL does; the names that came out are recorded as well
 * The reservation ends with the transaction.
 *
 * Invariants:
 * 1. A part of another command (PROCESS_UTILITY_SUBCOMMAND) is never looked at: its whole is. Commands run by functions are wholes of their own.
 * 2. A command that fails leaves no record: the (sub)transaction that it aborts cuts it from the write set.
 * 3. Commands of one node that write flush WAL at commit (session_note_local_write): no log would replay them.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "placement.h"
#include "session/session.h"
#include "shmem.h"
#include "tableam/apply.h"
#include "tableam/writeset.h"

#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define BACKOFF_FIRST_MS 5
#define BACKOFF_LAST_MS 500

static ProcessUtility_hook_type prev_process_utility = NULL;

typedef struct UtilityCall
{
	PlannedStmt *pstmt;
	const char *source;
	bool		read_only_tree;
	ProcessUtilityContext context;
	ParamListInfo params;
	QueryEnvironment *env;
	DestReceiver *dest;
	QueryCompletion *qc;
} UtilityCall;

static void
run(const UtilityCall *call)
{
	(prev_process_utility ? prev_process_utility : standard_ProcessUtility)
		(call->pstmt, call->source, call->read_only_tree, call->context, call->params, call->env, call->dest, call->qc);
}

uint64
ddl_global_key(void)
{
	static const char name[] = "nodedb: schema changes";

	return nd_checksum(name, sizeof(name) - 1, 0);
}

/* ---- when ---- */

static bool
in_replicated_database(void)
{
	static int	ours = -1;		/* a session never changes its database; renaming a database in use is refused by PostgreSQL */

	if (ours < 0)
	{
		char	   *name = get_database_name(MyDatabaseId);

		ours = name != NULL && strcmp(name, nodedb_database) == 0;
	}
	return ours;
}

static bool
is_active(const UtilityCall *call)
{
	return nodedb_shared != NULL && !apply_active && call->context != PROCESS_UTILITY_SUBCOMMAND && !IsParallelWorker() &&
		IsNormalProcessingMode() && !IsAbortedTransactionBlockState() && pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_NONE &&
		!creating_extension && in_replicated_database() && OidIsValid(nodedb_am_oid());
}

/* ---- reservation ---- */

/* A key in the log of one group. */
typedef struct GroupKey
{
	NdGroupId	group;
	EntryKey	key;
} GroupKey;

/* What this transaction has reserved. */
static struct
{
	LocalTransactionId lxid;
	GroupKey   *keys;			/* TopMemoryContext: kept over transactions */
	uint32		n;
	uint32		cap;
}			reserved;

static bool
is_reserved(NdGroupId group, uint64 hash, uint8 mode)
{
	for (uint32 i = 0; i < reserved.n; i++)
		if (reserved.keys[i].group == group && reserved.keys[i].key.hash == hash && reserved.keys[i].key.mode >= mode)
			return true;
	return false;
}

static void
remember_reserved(NdGroupId group, const EntryKey *keys, uint32 n)
{
	if (reserved.n + n > reserved.cap)
	{
		uint32		cap = Max(64, (reserved.n + n) * 2);

		reserved.keys = reserved.keys == NULL ? MemoryContextAlloc(TopMemoryContext, cap * sizeof(GroupKey)) :
			repalloc(reserved.keys, cap * sizeof(GroupKey));
		reserved.cap = cap;
	}
	for (uint32 i = 0; i < n; i++)
		reserved.keys[reserved.n++] = (GroupKey) {group, keys[i]};
}

typedef struct RelationKey
{
	Oid			relid;
	NdGroupId	group;			/* 0: in all groups */
	uint64		hash;
} RelationKey;

/*
 * A table's key is looked for in its own group's log alone; that of a relation without rows, a view for instance, goes along in whatever group its user writes to. Looked up once per
 * relation: there may be hundreds of groups, and a thousand shards.
 */
static RelationKey *
relation_keys(List *relations, uint32 *n)
{
	RelationKey *keys = palloc((list_length(relations) + 1) * sizeof(RelationKey));
	ListCell   *lc;

	*n = 0;
	foreach(lc, relations)
	{
		Oid			relid = lfirst_oid(lc);
		char	   *name = get_rel_name(relid);

		if (name != NULL)
			keys[(*n)++] = (RelationKey) {
				relid, nodedb_relid_is_distributed(relid) ? placement_group(relid) : 0,
				writeset_relation_hash(get_namespace_name(get_rel_namespace(relid)), name)
			};
	}
	return keys;
}

static void
forget_reserved(void)
{
	if (reserved.lxid != MyProc->lxid)
	{
		reserved.lxid = MyProc->lxid;
		reserved.n = 0;
	}
}

/* Keys that the command needs and the transaction has not got, by groups in ascending order; the tables among them. */
static GroupKey *
missing_keys(DdlCommand *c, uint32 *n, List **relids)
{
	uint32		groups = placement_groups();
	GroupKey   *keys = palloc((list_length(c->relations) * groups + 1) * sizeof(GroupKey));
	uint8		mode = KEY_REL_ACCESS_SHARE - AccessShareLock + ddl_lock_mode(c->stmt);
	RelationKey *relations;
	uint32		n_relations;

	forget_reserved();
	*n = 0;
	*relids = NIL;
	if (!is_reserved(PLACEMENT_DEFAULT, ddl_global_key(), DDL_GLOBAL_KEY_MODE))
		keys[(*n)++] = (GroupKey) {PLACEMENT_DEFAULT, {.hash = ddl_global_key(), .mode = DDL_GLOBAL_KEY_MODE}};
	if (!ddl_may_reserve(c))
		return keys;
	relations = relation_keys(c->relations, &n_relations);
	for (NdGroupId group = PLACEMENT_DEFAULT; group <= groups; group++)
		for (uint32 i = 0; i < n_relations; i++)
		{
			const RelationKey *r = &relations[i];

			if ((r->group != 0 && r->group != group) || is_reserved(group, r->hash, mode))
				continue;
			keys[(*n)++] = (GroupKey) {group, {.hash = r->hash, .mode = mode}};
			*relids = list_append_unique_oid(*relids, r->relid);
		}
	return keys;
}

/* What other groups have given stays reserved meanwhile: the next group is asked last by everybody, so nobody waits in a circle. */
static void
reserve_in(NdGroupId group, EntryKey *keys, uint32 n, TimestampTz began)
{
	long		wait_ms = BACKOFF_FIRST_MS;

	while (!session_reserve(group, keys, n, 0))
	{
		if (TimestampDifferenceExceeds(began, GetCurrentTimestamp(), nodedb_commit_timeout))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not reserve the tables of a schema change within %d ms", nodedb_commit_timeout),
					 errdetail("Another node is changing the schema, or keeps writing to these tables."),
					 errhint("Retry the transaction; nodedb.commit_timeout says how long to try.")));
		/* Two sessions that met once should not meet again. */
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait_ms + MyProcPid % wait_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		session_check_doomed();
		wait_ms = Min(BACKOFF_LAST_MS, wait_ms * 2);
	}
	remember_reserved(group, keys, n);
}

/* One RESERVE a group: the first in the default one, whose global key puts all schema changes of the cluster in line. */
static void
reserve(const GroupKey *keys, uint32 n)
{
	TimestampTz began = GetCurrentTimestamp();
	EntryKey   *part = palloc(n * sizeof(EntryKey));

	for (uint32 i = 0; i < n;)
	{
		NdGroupId	group = keys[i].group;
		uint32		m = 0;

		while (i < n && keys[i].group == group)
			part[m++] = keys[i++].key;
		reserve_in(group, part, m, began);
	}
	pfree(part);
}

void
ddl_reserve_schema(void)
{
	GroupKey	key = {PLACEMENT_DEFAULT, {.hash = ddl_global_key(), .mode = DDL_GLOBAL_KEY_MODE}};

	session_before_utility();
	forget_reserved();
	if (!is_reserved(key.group, key.key.hash, key.key.mode))
		reserve(&key, 1);
}

/* Classify on catalogs that are as new as the reservation, with everything reserved that the answer names. */
static void
classify_and_reserve(DdlCommand *c)
{
	ddl_classify(c);
	if (nodedb_replicate_ddl)
		while (c->scope == DDL_CLUSTER || c->retry_fresh)
		{
			uint32		n;
			GroupKey   *keys;
			List	   *relids;

			session_before_utility();
			keys = missing_keys(c, &n, &relids);
			if (n == 0 && c->fresh)
				break;
			if (n > 0)
			{
				ddl_queue(c, relids);
				reserve(keys, n);
			}
			AcceptInvalidationMessages();
			c->fresh = true;
			ddl_classify(c);
		}
}

/* ---- replicated ---- */

/* Changed copies of what the caller may have cached. */
static void
own_copy(UtilityCall *call)
{
	if (call->read_only_tree)
	{
		call->pstmt = copyObject(call->pstmt);
		call->read_only_tree = false;
	}
}

static bool
sets_password(Node *stmt)
{
	return IsA(stmt, CreateRoleStmt) || IsA(stmt, AlterRoleStmt);
}

static void
run_replicated(UtilityCall *call, DdlCommand *c)
{
	char	   *text = c->text;
	bool		own_snapshot = !IsolationUsesXactSnapshot() && ActiveSnapshotSet();

	if (text == NULL)
		text = ddl_source_text(call->pstmt, call->source);
	if (IsA(c->stmt, DropStmt) && ((DropStmt *) c->stmt)->concurrent)
	{
		/* Through the log it is short: an index in use elsewhere is waited for as in any schema change. */
		PreventInTransactionBlock(call->context == PROCESS_UTILITY_TOPLEVEL, "DROP INDEX CONCURRENTLY");
		own_copy(call);
		c->stmt = call->pstmt->utilityStmt;
		((DropStmt *) c->stmt)->concurrent = false;
	}
	if (sets_password(c->stmt))
	{
		own_copy(call);
		c->stmt = call->pstmt->utilityStmt;
		text = ddl_hash_password(c->stmt, text);
	}
	/* Queries of the command see what the reservation waited for. */
	if (own_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	ddl_rewrite_look(c);
	if (IsA(c->stmt, SecLabelStmt))
		ddl_placement_lock((SecLabelStmt *) c->stmt);
	if (ddl_is_extension(c->stmt))
		ddl_extension_check(c->stmt);
	writeset_key(ddl_global_key(), DDL_GLOBAL_KEY_MODE);
	if (ddl_places(c->stmt))
		writeset_key(placement_key(), KEY_REL_ACCESS_EXCLUSIVE);
	for (int i = 0; i < list_length(c->relations); i++)
		writeset_relation_lock(list_nth_oid(c->relations, i), ddl_lock_mode(c->stmt));
	if (c->rewritten != NIL)
	{
		own_copy(call);
		c->stmt = call->pstmt->utilityStmt;
		ddl_rewrite_begin(c);
	}
	if (OidIsValid(ddl_becoming_unique.index))
		ddl_unique_begin();
	c->adopted = ddl_adopting;
	ddl_adopting = InvalidOid;	/* the command of an event trigger is another one */
	ddl_record_command(text);
	if (!IsA(c->stmt, CallStmt))
		ddl_shards_give_way(c->relations);
	run(call);
	ddl_touched_finish(c);
	ddl_placement_of_new(c);
	if (c->rewritten != NIL)
		ddl_rewrite_finish(c);
	ddl_matview_rows(c);
	if (own_snapshot)
		PopActiveSnapshot();
}

/* ---- of this node ---- */

/*
 * The extension nodedb, and any with replicate_ddl off. One that is made on every node by hand is as good as replicated: no label, replicated objects may
 * use it.
 */
static bool
made_by_hand(Node *stmt)
{
	return IsA(stmt, CreateExtensionStmt) || IsA(stmt, AlterExtensionStmt) || IsA(stmt, AlterExtensionContentsStmt);
}

static void
run_local(UtilityCall *call, DdlCommand *c)
{
	int			level = 0;
	bool		by_hand = made_by_hand(c->stmt);
	ListCell   *lc;

	session_note_local_write();
	if (by_hand)
		ereport(NOTICE,
				(errmsg("%s takes effect on this node only", GetCommandTagName(CreateCommandTag(c->stmt))),
				 errhint("Do the same on every node, before replicated objects use it.")));
	if (c->relations != NIL && pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_RUNNING)
	{
		session_before_utility();
		foreach(lc, c->relations)
			writeset_relation_lock(lfirst_oid(lc), AccessExclusiveLock);
	}
	if (IsA(c->stmt, CreateExtensionStmt) || IsA(c->stmt, AlterExtensionStmt))
	{
		/* Made on this node alone: its tables are this node's. */
		level = NewGUCNestLevel();
		(void) set_config_option("default_table_access_method", "heap", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	run(call);
	if (level > 0)
		AtEOXact_GUC(true, level);
	if (!by_hand)
		ddl_touched_finish(c);
}

/* ---- commands that change no schema but matter ---- */

static void
note_lock(RangeVar *rel, LOCKMODE mode)
{
	Oid			relid = rel == NULL ? InvalidOid : RangeVarGetRelid(rel, NoLock, true);
	ListCell   *lc;

	if (!OidIsValid(relid) || pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_RUNNING)
		return;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
		if (nodedb_relid_is_distributed(lfirst_oid(lc)))
		{
			session_before_utility();
			writeset_relation_lock(lfirst_oid(lc), mode);
		}
}

/* The lock is held. What else excludes writers (REINDEX, CLUSTER, VACUUM) is an affair of the node. */
static void
ship_locks(LockStmt *stmt)
{
	ListCell   *lc;
	ListCell   *child;

	if (stmt->mode <= RowExclusiveLock || pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_RUNNING)
		return;
	foreach(lc, stmt->relations)
	{
		RangeVar   *name = lfirst_node(RangeVar, lc);
		Oid			relid = RangeVarGetRelid(name, NoLock, false);
		List	   *relids = name->inh ? find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid);

		foreach(child, relids)
			if (nodedb_relid_is_distributed(lfirst_oid(child)))
			{
				Relation	rel = table_open(lfirst_oid(child), AccessShareLock);

				writeset_table_lock(rel, stmt->mode);
				table_close(rel, NoLock);
			}
	}
}

static void
refuse_explained_ctas(ExplainStmt *stmt)
{
	Query	   *query = (Query *) stmt->query;
	CreateTableAsStmt *ctas;
	bool		analyze = false;
	ListCell   *lc;

	foreach(lc, stmt->options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "analyze") == 0)
			analyze = defGetBoolean(lfirst_node(DefElem, lc));
	if (!analyze || !IsA(query, Query) || query->commandType != CMD_UTILITY || !IsA(query->utilityStmt, CreateTableAsStmt))
		return;
	ctas = (CreateTableAsStmt *) query->utilityStmt;
	if (ctas->objtype == OBJECT_MATVIEW || ddl_create_scope(ctas->into->rel, ctas->into->accessMethod) == DDL_CLUSTER)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("EXPLAIN ANALYZE of a command that makes a replicated table is not supported"),
				 errhint("Explain the query alone.")));
}

static void
note_others(Node *stmt)
{
	ListCell   *lc;

	switch (nodeTag(stmt))
	{
		case T_LockStmt:
			foreach(lc, ((LockStmt *) stmt)->relations)
				note_lock(lfirst_node(RangeVar, lc), ((LockStmt *) stmt)->mode);
			break;
		case T_CopyStmt:
			{
				CopyStmt   *copy = (CopyStmt *) stmt;

				note_lock(copy->relation, copy->is_from ? RowExclusiveLock : AccessShareLock);
				if (copy->is_from)
					session_note_local_write();
				break;
			}
		case T_ReindexStmt:
			if (IsTransactionBlock())
				note_lock(((ReindexStmt *) stmt)->relation, AccessExclusiveLock);
			break;
		case T_ClusterStmt:
			if (IsTransactionBlock())
				note_lock(((ClusterStmt *) stmt)->relation, AccessExclusiveLock);
			break;
		case T_VacuumStmt:
			if (IsTransactionBlock())
				foreach(lc, ((VacuumStmt *) stmt)->rels)
					note_lock(lfirst_node(VacuumRelation, lc)->relation, ShareUpdateExclusiveLock);
			break;
		case T_ExplainStmt:
			refuse_explained_ctas((ExplainStmt *) stmt);
			break;
		default:
			break;
	}
}

/* ---- the hook ---- */

/* The block was rolled back under an idle client (session.c): COMMIT must not answer ROLLBACK. */
static void
run_transaction_command(UtilityCall *call)
{
	TransactionStmtKind kind = ((TransactionStmt *) call->pstmt->utilityStmt)->kind;
	bool		kicked = session_was_rolled_back_idle();

	run(call);
	if (!kicked || kind == TRANS_STMT_SAVEPOINT || kind == TRANS_STMT_RELEASE || kind == TRANS_STMT_ROLLBACK_TO)
		return;
	session_clear_rolled_back_idle();
	if (kind == TRANS_STMT_COMMIT || kind == TRANS_STMT_PREPARE)
		session_raise_kicked();
}

static void
run_schema_command(UtilityCall *call)
{
	DdlCommand *c;
	DdlCommand *outer;
	List	   *outer_rewriting = ddl_rewriting;

	if (ddl_is_concurrent_build(call->pstmt->utilityStmt))
	{
		ddl_build_concurrently((IndexStmt *) call->pstmt->utilityStmt, MemoryContextStrdup(PortalContext, ddl_source_text(call->pstmt, call->source)),
							   call->context == PROCESS_UTILITY_TOPLEVEL);
		return;
	}
	c = palloc0(sizeof(DdlCommand));
	c->stmt = call->pstmt->utilityStmt;
	c->source = call->source;
	classify_and_reserve(c);
	if (!nodedb_replicate_ddl)
	{
		ddl_refuse_alone(c);
		if (c->scope == DDL_CLUSTER)
			c->scope = DDL_NODE;
	}
	if (c->scope == DDL_PASS)
	{
		note_others(c->stmt);
		outer = ddl_touched_begin(NULL);
	}
	else
		outer = ddl_touched_begin(c);
	PG_TRY();
	{
		if (c->scope == DDL_PASS)
		{
			run(call);
			if (IsA(c->stmt, LockStmt))
				ship_locks((LockStmt *) c->stmt);
		}
		else if (c->scope == DDL_NODE)
			run_local(call, c);
		else
			run_replicated(call, c);
	}
	PG_FINALLY();
	{
		ddl_touched_end(outer);
		ddl_rewriting = outer_rewriting;
	}
	PG_END_TRY();
}

static void
process_utility(PlannedStmt *pstmt, const char *source, bool read_only_tree, ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	UtilityCall call = {pstmt, source, read_only_tree, context, params, env, dest, qc};

	if (nodedb_shared != NULL && !apply_active && IsA(pstmt->utilityStmt, TransactionStmt))
		run_transaction_command(&call);
	else if (is_active(&call))
		run_schema_command(&call);
	else
		run(&call);
}

void
ddl_run(const char *text)
{
	RawStmt    *raw = linitial_node(RawStmt, pg_parse_query(text));
	PlannedStmt *pstmt = makeNode(PlannedStmt);

	pstmt->commandType = CMD_UTILITY;
	pstmt->canSetTag = false;
	pstmt->utilityStmt = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(raw, text, NULL, 0, NULL))->utilityStmt;
	pstmt->stmt_len = strlen(text);
	ProcessUtility(pstmt, text, false, PROCESS_UTILITY_QUERY, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

void
ddl_init(void)
{
	ddl_scope_init();
	ddl_touched_init();
	ddl_concurrent_init();
	ddl_shards_init();
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
