/*
 * conflict.c: the errors of a transaction that lost against another one (40001), in words that name what it lost.
 *
 * A verdict names a key by its hash. The write set remembers with each key the table and a version of the row; hashing that row again tells which index
 * gave the key, and the index's columns are shown. The read set remembers the same, or the index by which a value was looked for.
 *
 * Invariants:
 * 1. Nothing is told that the user could not read: a key only if BuildIndexValueDescription() gives it, a table's name only with a right to select from it.
 *    A table that the guard names was locked by the transaction itself.
 * 2. Whatever goes wrong while the words are sought, the error that is raised is the conflict.
 * 3. Nothing here waits for a lock.
 */
#include "conflict.h"

#include "retry.h"

#include "../tableam/readset.h"
#include "../tableam/writeset.h"
#include "../tableam/writeset_internal.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define KICKED_MESSAGE "could not serialize access due to a conflicting transaction replicated from another node"
#define KICKED_DETAIL "It changed table \"%s\", where a lock of this transaction was in its way."
#define VERSIONS_MAX 8			/* of one row, changed again and again by this transaction */

/* What a key of this transaction stands for, in words: they fit behind "changed or locked ... first". */
typedef struct Subject
{
	char	   *text;
	bool		read;			/* it was only read */
	char	   *schema;			/* NULL: not to be told */
	char	   *table;
	char	   *constraint;		/* of a unique value */
} Subject;

static uint64 last_index = 0;	/* of the entry that won, or of the reservation */
static bool last_reserved = false;	/* it was a reservation */
static NdGroupId last_group = 0;

uint64
conflict_take_index(NdGroupId *group)
{
	uint64		index = last_index;

	*group = last_group;
	last_index = 0;
	last_reserved = false;
	return index;
}

bool
conflict_was_reserved(void)
{
	return last_reserved;
}

/* ---- which row ---- */

/* The values by which `index` knows the row that gave the key; InvalidOid: no version of it does any more. */
static Oid
find_index(Relation rel, const KeySource *source, uint64 hash, Datum *values, bool *nulls)
{
	RelationInfo *info = relation_entry_full(rel)->info;
	ItemPointerData tid = source->tid;
	Oid			found = InvalidOid;

	for (int i = 0; i < VERSIONS_MAX && !OidIsValid(found) && ItemPointerIsValid(&tid); i++)
	{
		HeapTupleData tuple;
		HeapTuple	copy;
		Buffer		buffer;
		Datum	   *row_values = palloc(RelationGetDescr(rel)->natts * sizeof(Datum));
		bool	   *row_nulls = palloc(RelationGetDescr(rel)->natts * sizeof(bool));

		tuple.t_self = tid;
		if (!heap_fetch(rel, SnapshotAny, &tuple, &buffer, false))
			break;
		copy = heap_copytuple(&tuple);
		ReleaseBuffer(buffer);
		heap_deform_tuple(copy, RelationGetDescr(rel), row_values, row_nulls);
		found = keys_index(info, rel, row_values, row_nulls, hash, values, nulls);
		if (ItemPointerEquals(&copy->t_data->t_ctid, &tid) || ItemPointerIndicatesMovedPartitions(&copy->t_data->t_ctid))
			break;
		tid = copy->t_data->t_ctid;
	}
	return found;
}

/* With a lock that is held already, or one that can be had at once: behind somebody who waits for the table there is none, whatever is held. */
static bool
lock_at_once(Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	for (LOCKMODE mode = AccessShareLock; mode <= MaxLockMode; mode++)
		if (LockHeldByMe(&tag, mode))
			return true;
	return ConditionalLockRelationOid(relid, AccessShareLock);
}

static bool
may_name(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK;
}

static void
describe_row(Relation rel, const KeySource *source, uint64 hash, Subject *subject)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	Oid			oid = OidIsValid(source->index) ? source->index : find_index(rel, source, hash, values, nulls);
	bool		is_row = !OidIsValid(oid) || oid == relation_identity_index(rel);
	Relation	index = OidIsValid(oid) && lock_at_once(oid) ? index_open(oid, NoLock) : NULL;
	char	   *key = index != NULL && !OidIsValid(source->index) ? BuildIndexValueDescription(index, values, nulls) : NULL;

	if (is_row || index == NULL)
		subject->text = key != NULL ? psprintf("row %s of table \"%s\"", key, RelationGetRelationName(rel)) :
			psprintf("a row of table \"%s\"", RelationGetRelationName(rel));
	else if (!index->rd_index->indisunique)
		subject->text = psprintf("a value of index \"%s\" of table \"%s\"", RelationGetRelationName(index), RelationGetRelationName(rel));
	else
	{
		subject->constraint = pstrdup(RelationGetRelationName(index));
		subject->text = key != NULL ? psprintf("value %s of unique index \"%s\" of table \"%s\"", key, subject->constraint, RelationGetRelationName(rel)) :
			psprintf("a value of unique index \"%s\" of table \"%s\"", subject->constraint, RelationGetRelationName(rel));
	}
	if (index != NULL)
		index_close(index, NoLock);
}

static void
describe(uint64 hash, Subject *subject)
{
	KeySource	source = {0};
	Relation	rel;

	/*
	 * Who reads a table locks it, too, but against schema changes only: what it met is most likely a change of rows. Likewise who changes rows of a table, or values, that
	 * it has read.
	 */
	if (!writeset_key_source(hash, &source) || (!source.row && source.mode <= KEY_REL_ROW_EXCLUSIVE))
		subject->read = readset_key_source(hash, &source);
	/* The lock of a subtransaction that was rolled back is gone, and then somebody else may have one that excludes ours. */
	if (!OidIsValid(source.relid) || !may_name(source.relid) || !lock_at_once(source.relid))
		return;
	rel = try_relation_open(source.relid, NoLock);
	if (rel == NULL)
		return;
	if (source.row)
		describe_row(rel, &source, hash, subject);
	else
		subject->text = psprintf("table \"%s\"", RelationGetRelationName(rel));
	subject->schema = get_namespace_name(RelationGetNamespace(rel));
	subject->table = pstrdup(RelationGetRelationName(rel));
	relation_close(rel, NoLock);
}

static Subject
subject_of(uint64 hash)
{
	volatile Subject subject = {0};
	MemoryContext context = CurrentMemoryContext;

	/* The transaction is about to be aborted: whatever an error leaves behind goes with it. */
	PG_TRY();
	{
		Subject		found = {0};

		PushActiveSnapshot(GetTransactionSnapshot());
		describe(hash, &found);
		PopActiveSnapshot();
		subject = found;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return subject;
}

/* ---- refused by the log ---- */

static const char *
node_name(NdNodeId node)
{
	const char *name = NULL;

	LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
	for (uint32 i = 0; i < nodedb_shared->n_members; i++)
		if (nodedb_shared->members[i].node == node)
			name = pstrdup(nodedb_shared->members[i].name);
	LWLockRelease(nodedb_shared->status_lock);
	return name ? name : psprintf("%u", node);
}

static void
err_subject(const Subject *subject)
{
	if (subject->table != NULL)
	{
		err_generic_string(PG_DIAG_SCHEMA_NAME, subject->schema);
		err_generic_string(PG_DIAG_TABLE_NAME, subject->table);
	}
	if (subject->constraint != NULL)
		err_generic_string(PG_DIAG_CONSTRAINT_NAME, subject->constraint);
}

static void
detail_conflict(const Verdict *v, NdGroupId group, const Subject *subject)
{
	const char *node = v->by_txn.node != 0 ? node_name(v->by_txn.node) : "?";

	if (subject->text == NULL)
		errdetail("Entry " UINT64_FORMAT " of group %u, from node \"%s\", changed or locked the same row, unique value or table first, or changed what was read.",
				  v->by_index, group, node);
	else if (subject->read)
		errdetail("Entry " UINT64_FORMAT " of group %u, from node \"%s\", changed %s, which this SERIALIZABLE transaction had read.", v->by_index, group, node, subject->text);
	else
		errdetail("Entry " UINT64_FORMAT " of group %u, from node \"%s\", changed or locked %s first.", v->by_index, group, node, subject->text);
}

static void
detail_reserved(const Verdict *v, NdGroupId group, const Subject *subject)
{
	errdetail("Entry " UINT64_FORMAT " of group %u, from node \"%s\", has reserved %s until its transaction ends.", v->by_index, group,
			  v->by_txn.node != 0 ? node_name(v->by_txn.node) : "?", subject->text != NULL ? subject->text : "what this transaction changed or locked");
}

static void
detail_elsewhere(NdGroupId group)
{
	if (group == 0)
		errdetail("One of its groups voted against it, or did not vote in time.");
	else
		errdetail("Group %u voted against it, or did not vote in time.", group);
}

void
conflict_raise_refused(const Verdict *v, NdGroupId group)
{
	int			code = ERRCODE_T_R_SERIALIZATION_FAILURE;
	Verdict		verdict = *v;	/* what stands in the slot is overwritten by the next request */
	Subject		subject = {0};

	pg_atomic_fetch_add_u64(&nodedb_shared->aborts_conflict, 1);
	last_index = 0;
	last_reserved = verdict.kind == VERDICT_ABORT_RESERVED;
	if (verdict.kind == VERDICT_ABORT_CONFLICT || verdict.kind == VERDICT_ABORT_RESERVED)
	{
		last_index = verdict.by_index;
		last_group = group;
		subject = subject_of(verdict.key);
	}
	switch (verdict.kind)
	{
		case VERDICT_ABORT_CONFLICT:
			ereport(ERROR,
					(errcode(code),
					 verdict.by_txn.node == nodedb_shared->self ? errmsg("could not serialize access due to a concurrent change by another transaction") :
					 errmsg("could not serialize access due to a concurrent change on another node"),
					 detail_conflict(&verdict, group, &subject),
					 err_subject(&subject),
					 errhint("%s", retry_hint())));
			break;
		case VERDICT_ABORT_RESERVED:
			ereport(ERROR,
					(errcode(code),
					 errmsg("could not serialize access due to a reservation of another transaction"),
					 detail_reserved(&verdict, group, &subject),
					 err_subject(&subject),
					 errhint("%s", retry_hint())));
			break;
		case VERDICT_ABORT_OLD:
			ereport(ERROR,
					(errcode(code),
					 errmsg("could not serialize access because this node lags too far behind"),
					 errdetail("The transaction was based on a state that is older than what is remembered for conflict detection."),
					 errhint("%s", retry_hint())));
			break;
		case VERDICT_ABORT_ELSEWHERE:
			ereport(ERROR,
					(errcode(code),
					 errmsg("could not serialize access because not all data groups agreed to the transaction"),
					 detail_elsewhere(group),
					 errhint("%s If it happens again, a data group may be without a leader: see nodedb.groups.", retry_hint())));
			break;
		case VERDICT_ABORT_CANCELLED:
			ereport(ERROR,
					(errcode(code),
					 errmsg("could not serialize access because the transaction was ended by another node"),
					 errdetail("Its reservation and a schema change's waited for each other, or its outcome was asked for before it had one."),
					 errhint("%s", retry_hint())));
			break;
		case VERDICT_ABORT_FENCED:
			ereport(ERROR,
					(errcode(code),
					 errmsg("could not commit because a newer start of this node has taken over"),
					 errhint("Is there a copy of this server's data directory running? Retry the transaction there.")));
			break;
		default:
			ereport(ERROR,
					(errcode(code),
					 errmsg("could not commit: the log refused the transaction (verdict %d)", (int) verdict.kind),
					 errhint("%s", retry_hint())));
	}
	pg_unreachable();
}

/* ---- kicked out by the guard ---- */

void
conflict_turn_into_kicked(ErrorData *edata)
{
	MemoryContext context = edata->assoc_context;
	NodedbSlot *slot = nodedb_my_slot();

	edata->sqlerrcode = ERRCODE_T_R_SERIALIZATION_FAILURE;
	edata->message = MemoryContextStrdup(context, KICKED_MESSAGE);
	edata->hint = MemoryContextStrdup(context, retry_hint());
	if (slot->kicked_table[0] == '\0')
		return;
	edata->schema_name = MemoryContextStrdup(context, slot->kicked_schema);
	edata->table_name = MemoryContextStrdup(context, slot->kicked_table);
	edata->detail = MemoryContextAlloc(context, sizeof(KICKED_DETAIL) + NAMEDATALEN);
	snprintf(edata->detail, sizeof(KICKED_DETAIL) + NAMEDATALEN, KICKED_DETAIL, slot->kicked_table);
}

static void
detail_kicked(NodedbSlot *slot)
{
	if (slot->kicked_table[0] == '\0')
		return;
	errdetail(KICKED_DETAIL, slot->kicked_table);
	err_generic_string(PG_DIAG_SCHEMA_NAME, slot->kicked_schema);
	err_generic_string(PG_DIAG_TABLE_NAME, slot->kicked_table);
}

void
conflict_raise_kicked(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg(KICKED_MESSAGE),
			 detail_kicked(nodedb_my_slot()),
			 errhint("%s", retry_hint())));
	pg_unreachable();
}
