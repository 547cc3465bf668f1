/*
 * unique.c: the last step of CREATE UNIQUE INDEX CONCURRENTLY: an index that the nodes have built becomes unique, at one place of the log.
 *
 * The long part, the build, is that of an index which is not unique (concurrent.c): it decides nothing, so no node waits for another's and duplicates
 * that come meanwhile, from any node, stop nobody. What is left is one schema change, which differs from CREATE UNIQUE INDEX in two things only: in
 * place of a build there is a look at the index of the origin, and a mark in the catalog.
 *
 * Why it is right. Let P be the place of that change in the log, and E its entry.
 *   before P   the table is reserved before the origin looks: no entry of another transaction that touches it comes between the reservation and P, and all
 *              before it are applied here; ShareLock keeps the sessions of this node out. So what the origin looks at is the table at P.
 *   at P       the content of the table at P is the same on all nodes. The origin finds no two live rows with one value: so there are none on any node, and
 *              no other node has to look: marking its index, or building a unique one where it has none, cannot fail there.
 *              The origin finds two: the change fails before anything of it is in the log, and the index is dropped everywhere.
 *   behind P   E has the table's key in ACCESS EXCLUSIVE mode: an entry with a base below P that touches the table aborts. One with a base at or above P comes from
 *              a session that saw the unique index: it was checked against all rows up to its base, and names its values as keys, which the certifier
 *              compares with those of all entries between. That is all that keeps any unique index.
 * No phase in which keys are captured and nothing is enforced is needed, for no entry is ever certified without its key and applied where the index is unique.
 *
 * What can fail, and what is left then:
 *   the session, or its node, before E is in the log: the rows of nodedb.index_builds become unwanted, each node drops its index (concurrent.c)
 *   the origin, when E is in the log: it replays E like everybody else
 *   a node that is away, joins later, has an index that its builder is not done with, or another one: it makes the index at P, as CREATE UNIQUE INDEX does;
 *   a relation of that name that is no index of the table: the node waits for its administrator
 *
 * A btree of unique values has the same pages whether it was built as a unique index or not; only who inserts asks. So the mark is a flag of pg_index.
 *
 * Invariants:
 * 1. An index is marked at P only, under a lock that excludes writers and whoever builds the index anew beside them (ShareUpdateExclusive), for what he makes
 *    would have the old flag.
 * 2. Replicas mark what the record names, and only when it has the definition that the origin's has. IF NOT EXISTS alone marks nothing.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

DdlBecomingUnique ddl_becoming_unique = {InvalidOid, NULL};

char *
ddl_index_definition(Oid index)
{
	int			level = NewGUCNestLevel();
	char	   *definition;

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	definition = text_to_cstring(DatumGetTextPP(DirectFunctionCall1(pg_get_indexdef, ObjectIdGetDatum(index))));
	AtEOXact_GUC(true, level);
	return definition;
}

/* ---- two live rows with one value? ---- */

typedef struct Look
{
	Relation	rel;
	Relation	index;
	Snapshot	snapshot;
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	MemoryContext work;			/* of one comparison */
	FmgrInfo   *compare[INDEX_MAX_KEYS];
	bool		nulls_not_distinct;
	int			n_keys;
	/* the last entry, its values in `entry` */
	IndexTuple	entry;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	ItemPointerData tid;		/* when nobody has looked yet whether its row is alive */
	bool		looked;
	bool		alive;			/* a row of this value is */
} Look;

static bool
is_alive(Look *l, ItemPointer tid)
{
	ItemPointerData at = *tid;
	bool		again = false;
	bool		alive;

	table_index_fetch_reset(l->fetch);
	alive = table_index_fetch_tuple(l->fetch, &at, l->snapshot, l->slot, &again, NULL);
	ExecClearTuple(l->slot);
	return alive;
}

/* As a unique index understands it: nulls are equal to nothing, or to each other. */
static bool
same_value(Look *l, Datum *values, bool *nulls)
{
	for (int i = 0; i < l->n_keys; i++)
	{
		if (nulls[i] || l->nulls[i])
		{
			if (!l->nulls_not_distinct || nulls[i] != l->nulls[i])
				return false;
		}
		else if (DatumGetInt32(FunctionCall2Coll(l->compare[i], l->index->rd_indcollation[i], l->values[i], values[i])) != 0)
			return false;
	}
	return true;
}

static void pg_attribute_noreturn()
raise_duplicate(Look *l)
{
	char	   *key = BuildIndexValueDescription(l->index, l->values, l->nulls);

	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("could not create unique index \"%s\"", RelationGetRelationName(l->index)),
			 key ? errdetail("Key %s is duplicated.", key) : errdetail("Duplicate keys exist."),
			 errtableconstraint(l->rel, RelationGetRelationName(l->index))));
}

static void
next_value(Look *l, IndexTuple entry, ItemPointer tid)
{
	if (l->entry != NULL)
		pfree(l->entry);
	l->entry = CopyIndexTuple(entry);
	index_deform_tuple(l->entry, RelationGetDescr(l->index), l->values, l->nulls);
	l->tid = *tid;
	l->looked = l->alive = false;
}

static void
look_at(Look *l, IndexTuple entry, ItemPointer tid)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];
	MemoryContext caller;
	bool		same;

	index_deform_tuple(entry, RelationGetDescr(l->index), values, nulls);
	caller = MemoryContextSwitchTo(l->work);
	same = l->entry != NULL && same_value(l, values, nulls);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(l->work);
	if (!same)
	{
		next_value(l, entry, tid);
		return;
	}
	/* Several entries: old versions of a row, or two rows. Only now does the table matter. */
	if (!l->looked)
		l->alive = is_alive(l, &l->tid);
	l->looked = true;
	if (!is_alive(l, tid))
		return;
	if (l->alive)
		raise_duplicate(l);
	l->alive = true;
}

/*
 * In the order of the index, from its pages alone where values differ: no sort, and hardly a look at the table. The table's lock is the caller's: without one that
 * excludes writers the answer is only an early one.
 */
void
ddl_unique_look(Oid indexoid)
{
	Look		l = {0};
	IndexScanDesc scan;
	ItemPointer tid;

	l.rel = table_open(IndexGetRelation(indexoid, false), AccessShareLock);
	l.index = index_open(indexoid, AccessShareLock);
	l.work = AllocSetContextCreate(CurrentMemoryContext, "nodedb look for duplicates", ALLOCSET_DEFAULT_SIZES);
	l.snapshot = RegisterSnapshot(GetLatestSnapshot());
	l.fetch = table_index_fetch_begin(l.rel);
	l.slot = table_slot_create(l.rel, NULL);
	l.nulls_not_distinct = l.index->rd_index->indnullsnotdistinct;
	l.n_keys = IndexRelationGetNumberOfKeyAttributes(l.index);
	for (int i = 0; i < l.n_keys; i++)
		l.compare[i] = index_getprocinfo(l.index, i + 1, BTORDER_PROC);
	scan = index_beginscan(l.rel, l.index, l.snapshot, 0, 0);
	scan->xs_want_itup = true;
	index_rescan(scan, NULL, 0, NULL, 0);
	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		look_at(&l, scan->xs_itup, tid);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(l.slot);
	table_index_fetch_end(l.fetch);
	UnregisterSnapshot(l.snapshot);
	MemoryContextDelete(l.work);
	index_close(l.index, AccessShareLock);
	table_close(l.rel, AccessShareLock);
}

/* ---- the mark ---- */

typedef struct Facts
{
	bool		valid;
	bool		unique;
	char	   *definition;		/* as it reads without being unique */
} Facts;

static Facts
facts_of(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Facts		facts;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	facts.valid = ((Form_pg_index) GETSTRUCT(tuple))->indisvalid;
	facts.unique = ((Form_pg_index) GETSTRUCT(tuple))->indisunique;
	ReleaseSysCache(tuple);
	facts.definition = ddl_index_definition(index);
	return facts;
}

static void
mark(Oid index)
{
	Relation	catalog = table_open(IndexRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(index));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	((Form_pg_index) GETSTRUCT(tuple))->indisunique = true;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	/* The table's own entry as well: the keys of its rows and the strength of their locks depend on its unique indexes. */
	CacheInvalidateRelcacheByRelid(((Form_pg_index) GETSTRUCT(tuple))->indrelid);
	heap_freetuple(tuple);
	table_close(catalog, RowExclusiveLock);
	CommandCounterIncrement();
}

void
ddl_unique_begin(void)
{
	Oid			index = ddl_becoming_unique.index;
	const char *expected = ddl_becoming_unique.definition;
	Oid			table = IndexGetRelation(index, true);
	Facts		facts = {0};
	char	   *schema;

	ddl_becoming_unique.index = InvalidOid;	/* the command of an event trigger is another one */
	if (OidIsValid(table))
	{
		LockRelationOid(table, ShareLock);
		if (IndexGetRelation(index, true) == table)
			facts = facts_of(index);
	}
	/* The text that replicas get was made before the table was reserved. */
	if (!facts.valid || strcmp(facts.definition, expected) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the index was dropped or changed while nodes built it")));
	ddl_unique_look(index);
	schema = get_namespace_name(get_rel_namespace(index));
	ddl_record_names(DDL_RECORD_UNIQUE, list_make3(schema, schema, ""), list_make3(get_rel_name(index), get_rel_name(table), facts.definition));
	mark(index);
}

/* ---- on a replica ---- */

void
ddl_unique_apply(const DdlRecord *r)
{
	Oid			schema;
	Oid			table;
	Oid			index;
	Facts		facts;
	ObjectAddress object;

	if (r->n_pairs != 3)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("replicated command is malformed")));
	schema = get_namespace_oid(r->keys[0], false);
	table = get_relname_relid(r->values[1], schema);
	if (OidIsValid(table))
		LockRelationOid(table, AccessExclusiveLock);	/* the builder gives way */
	index = get_relname_relid(r->values[0], schema);
	if (!OidIsValid(index))
		return;					/* the command makes it */
	if (get_rel_relkind(index) != RELKIND_INDEX || IndexGetRelation(index, true) != table)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", r->values[0])));
	PushActiveSnapshot(GetTransactionSnapshot());
	facts = facts_of(index);
	if (facts.valid && strcmp(facts.definition, r->values[2]) == 0)
		mark(index);
	else if (!facts.unique)
	{
		ObjectAddressSet(object, RelationRelationId, index);
		performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
		CommandCounterIncrement();
	}
	PopActiveSnapshot();
}
