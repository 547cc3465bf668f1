/*
 * named.c: named indexes: those whose values every writer of the table names in his keys, so that a SERIALIZABLE reader may be certified by a value that he looked
 * for (tableam/readset.h).
 *
 * Which indexes a node has is its own affair: some are being built (concurrent.c), some were made or are made anew on this node alone. So an index is named only when the
 * log says so. Let P be the place of the schema change that made it, or adopted what the nodes have built.
 *   before P   no reader uses its values. P's entry has the key that stands for all values of the table: a reader whose snapshot is older than P loses to it.
 *   behind P   the index is on every node, and is dropped by the log alone. A writer whose entry has a base at or above P captured all his changes with the index there, for
 *              whoever runs the change has excluded the writers of his node (ShareLock); one with a base below loses by the table's key.
 * A version that does not name values does not know the record, so it waits at P until it is updated, and has no base at or above P before.
 *
 * The mark is a dependency of the index on the access method: it goes with the index, REINDEX CONCURRENTLY hands it on to the one that takes the place, but to no other
 * copy, and no dump shows it. An index without it, of an older version for instance, is read by the whole table. CREATE INDEX IF NOT EXISTS marks nothing that was there, but as the
 * last step of CONCURRENTLY: other nodes may have another one of that name.
 *
 * Invariants:
 * 1. A marked index is valid or will be, and all nodes have it by the same definition: a replica that has another one under its name waits for its administrator.
 * 2. A mark is set under a lock that excludes writers, and sessions hear of it by an invalidation of the table.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "storage/lmgr.h"
#include "tableam/writeset.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

Oid			ddl_adopting = InvalidOid;

bool
ddl_index_is_named(Oid index)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	Oid			am = nodedb_am_oid();
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(index));
	scan = systable_beginscan(catalog, DependDependerIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		found = form->refclassid == AccessMethodRelationId && form->refobjid == am;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* Is there a value to be named that is no key anyhow? As in tableam/writeset_relation.c, but for types. */
static bool
has_values(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	FormData_pg_class class;
	Form_pg_index form;
	bool		has;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	has = nodedb_pg_class(index, &class) && (class.relam == BTREE_AM_OID || class.relam == HASH_AM_OID) && form->indkey.values[0] > 0 && (!form->indisunique || form->indnkeyatts > 1);
	ReleaseSysCache(tuple);
	return has;
}

static void
mark(Oid index)
{
	Oid			table = IndexGetRelation(index, false);
	ObjectAddress object;
	ObjectAddress am;

	LockRelationOid(table, ShareLock);	/* the command has it, or a stronger one */
	if (ddl_index_is_named(index))
		return;
	ObjectAddressSet(object, RelationRelationId, index);
	ObjectAddressSet(am, AccessMethodRelationId, nodedb_am_oid());
	recordDependencyOn(&object, &am, DEPENDENCY_NORMAL);
	CacheInvalidateRelcacheByRelid(table);
	CommandCounterIncrement();
}

/* ---- at the origin ---- */

static bool
can_be_named(Oid index)
{
	char		relkind = get_rel_relkind(index);
	Oid			table;

	if (relkind != RELKIND_INDEX && relkind != RELKIND_PARTITIONED_INDEX)
		return false;
	table = IndexGetRelation(index, true);
	relkind = OidIsValid(table) ? get_rel_relkind(table) : '\0';
	return (relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE) && ddl_relation_scope(table) == DDL_CLUSTER && has_values(index);
}

void
ddl_name_values(DdlCommand *c)
{
	List	   *indexes = NIL;
	List	   *schemas = NIL;
	List	   *names = NIL;
	ListCell   *lc;

	if (OidIsValid(c->adopted) && can_be_named(c->adopted))
		indexes = list_make1_oid(c->adopted);
	foreach(lc, c->created)
	{
		ObjectAddress *object = lfirst(lc);

		if (object->classId == RelationRelationId && object->objectSubId == 0 && can_be_named(object->objectId))
			indexes = list_append_unique_oid(indexes, object->objectId);
	}
	foreach(lc, indexes)
	{
		Oid			index = lfirst_oid(lc);
		Oid			table = IndexGetRelation(index, false);

		schemas = lappend(lappend(schemas, get_namespace_name(get_rel_namespace(index))), "");
		names = lappend(lappend(names, get_rel_name(index)), ddl_index_definition(index));
		mark(index);
		if (nodedb_relid_is_distributed(table))
			writeset_values_begin(table);
	}
	if (indexes != NIL)
		ddl_record_names(DDL_RECORD_NAMED, schemas, names);
}

/* ---- on a replica ---- */

void
ddl_named_apply(const DdlRecord *r)
{
	if (r->n_pairs % 2 != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("replicated command is malformed")));
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < r->n_pairs; i += 2)
	{
		Oid			schema = get_namespace_oid(r->keys[i], true);
		Oid			index = OidIsValid(schema) ? get_relname_relid(r->values[i], schema) : InvalidOid;
		char		relkind = OidIsValid(index) ? get_rel_relkind(index) : '\0';

		if ((relkind != RELKIND_INDEX && relkind != RELKIND_PARTITIONED_INDEX) || strcmp(ddl_index_definition(index), r->values[i + 1]) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("index \"%s.%s\" is another one here", r->keys[i], r->values[i]),
					 errdetail("On the other nodes it is: %s", r->values[i + 1])));
		mark(index);
	}
	PopActiveSnapshot();
}
