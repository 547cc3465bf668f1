/*
 * shards_catalog.c: a table turns into a partitioned one in the catalogs, and back; its oid stays, and so does all that hangs on it.
 *
 * PostgreSQL has no command for that, and a new table under the old name would lose what refers to the old one: views, functions, foreign keys of others, privileges,
 * policies, triggers, comments, sequences. What differs between the two in the catalogs is little:
 *   pg_class            the kind; a partitioned table or index has no file, no TOAST table, no access method of tables and no options
 *   pg_constraint       a foreign key of a partitioned table is inherited
 *   pg_index            a partitioned index is never clustered
 *   pg_depend           no dependency on the access method; one on the key's operator class, collation and column
 *   pg_partitioned_table    the key
 *   pg_attribute        no values for rows from before ADD COLUMN
 * Everything that a partition has of its own (indexes, constraints, triggers of foreign keys) PostgreSQL makes itself, when the partition is made.
 *
 * Invariants:
 * 1. Between two looks at a table's relcache entry its catalog rows fit each other.
 * 2. A file belongs to exactly one row of pg_class at each moment; what no row names any more is dropped at commit.
 * 3. A file that this transaction has not made is written with WAL, one that it has made as PostgreSQL's relcache thinks (wal_level minimal).
 */
#include "shards.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opclass.h"
#include "catalog/storage.h"
#include "catalog/toasting.h"
#include "commands/cluster.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- rows of catalogs ---- */

static HeapTuple
class_row(Oid relid)
{
	HeapTuple	tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return tuple;
}

static void
set_options(HeapTuple *tuple, Relation catalog, Datum options)
{
	Datum		values[Natts_pg_class] = {0};
	bool		nulls[Natts_pg_class] = {false};
	bool		replace[Natts_pg_class] = {false};

	values[Anum_pg_class_reloptions - 1] = options;
	nulls[Anum_pg_class_reloptions - 1] = options == (Datum) 0;
	replace[Anum_pg_class_reloptions - 1] = true;
	*tuple = heap_modify_tuple(*tuple, RelationGetDescr(catalog), values, nulls, replace);
}

static void
move_toast(Oid toast, Oid from, Oid to)
{
	ObjectAddress object;
	ObjectAddress owner;

	if (!OidIsValid(toast))
		return;
	deleteDependencyRecordsForSpecific(RelationRelationId, toast, DEPENDENCY_INTERNAL, RelationRelationId, from);
	ObjectAddressSet(object, RelationRelationId, toast);
	ObjectAddressSet(owner, RelationRelationId, to);
	recordDependencyOn(&object, &owner, DEPENDENCY_INTERNAL);
}

static void
set_foreign_keys_inherited(Oid relid, bool inherited)
{
	Relation	catalog = table_open(ConstraintRelationId, RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		HeapTuple	copy;

		if (((Form_pg_constraint) GETSTRUCT(tuple))->contype != CONSTRAINT_FOREIGN)
			continue;
		copy = heap_copytuple(tuple);
		((Form_pg_constraint) GETSTRUCT(copy))->connoinherit = !inherited;
		CatalogTupleUpdate(catalog, &copy->t_self, copy);
	}
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}

List *
ddl_shards_indexes(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	List	   *indexes = RelationGetIndexList(rel);

	table_close(rel, NoLock);
	return indexes;
}

/* A file for a relation that has none, in the place of `tablespace`. */
static Oid
make_file(Oid tablespace)
{
	RelFileNode node = {.spcNode = OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace, .dbNode = MyDatabaseId};

	node.relNode = GetNewRelFileNode(tablespace, NULL, RELPERSISTENCE_PERMANENT);
	(void) RelationCreateStorage(node, RELPERSISTENCE_PERMANENT, true);
	return node.relNode;
}

/* ---- indexes ---- */

static void
index_to_partitioned(Oid indexoid)
{
	Relation	index = index_open(indexoid, AccessExclusiveLock);
	Relation	catalog;
	HeapTuple	tuple;

	RelationDropStorage(index);
	index_close(index, NoLock);

	catalog = table_open(RelationRelationId, RowExclusiveLock);
	tuple = class_row(indexoid);
	((Form_pg_class) GETSTRUCT(tuple))->relkind = RELKIND_PARTITIONED_INDEX;
	((Form_pg_class) GETSTRUCT(tuple))->relfilenode = InvalidOid;
	((Form_pg_class) GETSTRUCT(tuple))->relpages = 0;
	((Form_pg_class) GETSTRUCT(tuple))->reltuples = 0;
	((Form_pg_class) GETSTRUCT(tuple))->relallvisible = 0;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, RowExclusiveLock);

	catalog = table_open(IndexRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(indexoid));
	((Form_pg_index) GETSTRUCT(tuple))->indisclustered = false;
	((Form_pg_index) GETSTRUCT(tuple))->indcheckxmin = false;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, RowExclusiveLock);
}

static void
index_to_plain(Oid indexoid)
{
	Relation	catalog = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = class_row(indexoid);
	Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

	form->relkind = RELKIND_INDEX;
	form->relfilenode = make_file(form->reltablespace);
	form->relhassubclass = false;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, RowExclusiveLock);
}

/* ---- the table ---- */

static Oid
get_rel_toast(Oid relid)
{
	HeapTuple	tuple = class_row(relid);
	Oid			toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;

	heap_freetuple(tuple);
	return toast;
}

Datum
ddl_shards_options(Oid relid)
{
	HeapTuple	tuple = class_row(relid);
	bool		isnull;
	Datum		options = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_reloptions, &isnull);

	return isnull ? (Datum) 0 : options;
}

static Oid
make_heap(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			tablespace = rel->rd_rel->reltablespace;
	Oid			heap;

	table_close(rel, NoLock);
	heap = make_new_heap(relid, tablespace, nodedb_am_oid(), RELPERSISTENCE_PERMANENT, AccessExclusiveLock);
	CommandCounterIncrement();
	return heap;
}

Oid
ddl_shards_make_heap(Oid relid, Oid options_of)
{
	Oid			heap = make_heap(relid);
	Oid			toast = get_rel_toast(options_of);
	Relation	catalog = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	tuple = class_row(heap);

	set_options(&tuple, catalog, ddl_shards_options(options_of));
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	table_close(catalog, RowExclusiveLock);
	CommandCounterIncrement();
	/* a partitioned table has none, so its copy has not got one either */
	NewHeapCreateToastTable(heap, OidIsValid(toast) ? ddl_shards_options(toast) : (Datum) 0, AccessExclusiveLock, InvalidOid);
	CommandCounterIncrement();
	return heap;
}

/* `heap` gets the file with the table's rows, and the table none. */
static void
hand_rows_over(Oid relid, Oid heap)
{
	Relation	catalog = table_open(RelationRelationId, RowExclusiveLock);
	Relation	rel = table_open(heap, AccessExclusiveLock);
	HeapTuple	from = class_row(relid);
	HeapTuple	to = class_row(heap);
	Form_pg_class old = (Form_pg_class) GETSTRUCT(from);
	Form_pg_class new = (Form_pg_class) GETSTRUCT(to);
	Oid			toast = old->reltoastrelid;

	RelationDropStorage(rel);
	new->relfilenode = old->relfilenode;
	new->relpages = old->relpages;
	new->reltuples = old->reltuples;
	new->relallvisible = old->relallvisible;
	new->relfrozenxid = old->relfrozenxid;
	new->relminmxid = old->relminmxid;
	CatalogTupleUpdate(catalog, &to->t_self, to);
	/* invariant 3: it is not the file that this transaction has made */
	rel->rd_createSubid = rel->rd_newRelfilenodeSubid = rel->rd_firstRelfilenodeSubid = InvalidSubTransactionId;
	table_close(rel, NoLock);

	old->relkind = RELKIND_PARTITIONED_TABLE;
	old->relam = InvalidOid;
	old->relfilenode = InvalidOid;
	old->reltoastrelid = InvalidOid;
	old->relpages = 0;
	old->reltuples = -1;
	old->relallvisible = 0;
	old->relfrozenxid = InvalidTransactionId;
	old->relminmxid = InvalidMultiXactId;
	set_options(&from, catalog, (Datum) 0);
	CatalogTupleUpdate(catalog, &from->t_self, from);
	table_close(catalog, RowExclusiveLock);
	/* Big values name their TOAST table by its oid: it has to stay as long as the rows do. */
	move_toast(toast, relid, heap);
	(void) deleteDependencyRecordsForSpecific(RelationRelationId, relid, DEPENDENCY_NORMAL, AccessMethodRelationId, nodedb_am_oid());
}

Oid
ddl_shards_to_partitioned(Oid relid, AttrNumber column)
{
	List	   *indexes = ddl_shards_indexes(relid);
	Oid			heap = make_heap(relid);
	Relation	rel;
	Oid			opclass;
	Oid			collation;
	ListCell   *lc;

	foreach(lc, indexes)
		index_to_partitioned(lfirst_oid(lc));
	hand_rows_over(relid, heap);
	set_foreign_keys_inherited(relid, true);
	CommandCounterIncrement();

	rel = table_open(relid, AccessExclusiveLock);
	opclass = GetDefaultOpClass(TupleDescAttr(RelationGetDescr(rel), column - 1)->atttypid, HASH_AM_OID);
	collation = TupleDescAttr(RelationGetDescr(rel), column - 1)->attcollation;
	StorePartitionKey(rel, PARTITION_STRATEGY_HASH, 1, &column, NIL, &opclass, &collation);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return heap;
}

/* The table gets the file of `heap`, which gets an empty one. */
static void
take_rows_over(Oid relid, Oid heap)
{
	Relation	catalog = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	to = class_row(relid);
	HeapTuple	from = class_row(heap);
	Form_pg_class new = (Form_pg_class) GETSTRUCT(to);
	Form_pg_class old = (Form_pg_class) GETSTRUCT(from);
	Oid			toast = old->reltoastrelid;
	ObjectAddress table;
	ObjectAddress method;

	new->relkind = RELKIND_RELATION;
	new->relam = old->relam;
	new->relfilenode = old->relfilenode;
	new->reltablespace = old->reltablespace;
	new->reltoastrelid = toast;
	new->relfrozenxid = old->relfrozenxid;
	new->relminmxid = old->relminmxid;
	new->relhassubclass = false;
	set_options(&to, catalog, ddl_shards_options(heap));
	CatalogTupleUpdate(catalog, &to->t_self, to);
	old->relfilenode = make_file(old->reltablespace);
	old->reltoastrelid = InvalidOid;
	CatalogTupleUpdate(catalog, &from->t_self, from);
	table_close(catalog, RowExclusiveLock);
	move_toast(toast, heap, relid);
	ObjectAddressSet(table, RelationRelationId, relid);
	ObjectAddressSet(method, AccessMethodRelationId, nodedb_am_oid());
	recordDependencyOn(&table, &method, DEPENDENCY_NORMAL);
}

/* As PostgreSQL names TOAST tables: pg_toast_ and the table's oid. */
void
ddl_shards_rename_toast(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			toast = rel->rd_rel->reltoastrelid;
	Relation	toast_rel;
	Oid			index;

	table_close(rel, NoLock);
	if (!OidIsValid(toast))
		return;
	toast_rel = table_open(toast, AccessExclusiveLock);
	index = linitial_oid(RelationGetIndexList(toast_rel));
	table_close(toast_rel, NoLock);
	RenameRelationInternal(toast, psprintf("pg_toast_%u", relid), true, false);
	RenameRelationInternal(index, psprintf("pg_toast_%u_index", relid), true, true);
	CommandCounterIncrement();
}

/* Those of the table on what its key is made of (columns have dependencies of their own), and that of the column on the table. */
static void
forget_key(Oid relid)
{
	Relation	catalog = table_open(DependRelationId, RowExclusiveLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[2], Anum_pg_depend_objsubid, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(0));
	scan = systable_beginscan(catalog, DependDependerIndexId, true, NULL, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			on = ((Form_pg_depend) GETSTRUCT(tuple))->refclassid;

		if (on == OperatorClassRelationId || on == CollationRelationId)
			CatalogTupleDelete(catalog, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
	(void) deleteDependencyRecordsForSpecific(RelationRelationId, relid, DEPENDENCY_INTERNAL, RelationRelationId, relid);
	RemovePartitionKeyByRelId(relid);
}

void
ddl_shards_to_plain(Oid relid, Oid heap)
{
	List	   *indexes = ddl_shards_indexes(relid);
	Relation	rel;
	ListCell   *lc;

	forget_key(relid);
	foreach(lc, indexes)
		index_to_plain(lfirst_oid(lc));
	take_rows_over(relid, heap);
	set_foreign_keys_inherited(relid, false);
	CommandCounterIncrement();

	rel = table_open(relid, AccessExclusiveLock);
	RelationAssumeNewRelfilenode(rel);	/* invariant 3 */
	table_close(rel, NoLock);
	ddl_shards_rename_toast(relid);
}

/* ---- files that were prepared ---- */

void
ddl_shards_exchange(Oid relid, Oid prepared)
{
	Relation	catalog = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	one = class_row(relid);
	HeapTuple	other = class_row(prepared);
	Form_pg_class to = (Form_pg_class) GETSTRUCT(one);
	Form_pg_class from = (Form_pg_class) GETSTRUCT(other);
	FormData_pg_class old = *to;
	Relation	rel;
	Relation	gone;

	to->relfilenode = from->relfilenode;
	to->reltablespace = from->reltablespace;
	to->relpages = from->relpages;
	to->reltuples = from->reltuples;
	to->relallvisible = from->relallvisible;
	to->relfrozenxid = from->relfrozenxid;
	to->relminmxid = from->relminmxid;
	from->relfilenode = old.relfilenode;
	from->reltablespace = old.reltablespace;
	CatalogTupleUpdate(catalog, &one->t_self, one);
	CatalogTupleUpdate(catalog, &other->t_self, other);
	table_close(catalog, RowExclusiveLock);
	/* Invariant 3: which of the two files this transaction has made goes with the file. */
	rel = relation_open(relid, NoLock);
	gone = relation_open(prepared, AccessExclusiveLock);
	gone->rd_createSubid = rel->rd_createSubid;
	gone->rd_newRelfilenodeSubid = rel->rd_newRelfilenodeSubid;
	gone->rd_firstRelfilenodeSubid = rel->rd_firstRelfilenodeSubid;
	rel->rd_createSubid = rel->rd_newRelfilenodeSubid = rel->rd_firstRelfilenodeSubid = InvalidSubTransactionId;
	relation_close(gone, NoLock);
	relation_close(rel, NoLock);
}

void
ddl_shards_exchange_toast(Oid relid, Oid prepared)
{
	Relation	catalog = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	one = class_row(relid);
	HeapTuple	other = class_row(prepared);
	Oid			own = ((Form_pg_class) GETSTRUCT(one))->reltoastrelid;
	Oid			full = ((Form_pg_class) GETSTRUCT(other))->reltoastrelid;

	if (OidIsValid(own) != OidIsValid(full))
		elog(ERROR, "nodedb: only one of tables %u and %u has a TOAST table", relid, prepared);
	if (OidIsValid(own))
	{
		HeapTuple	row = class_row(full);

		set_options(&row, catalog, ddl_shards_options(own));
		CatalogTupleUpdate(catalog, &row->t_self, row);
		((Form_pg_class) GETSTRUCT(one))->reltoastrelid = full;
		((Form_pg_class) GETSTRUCT(other))->reltoastrelid = own;
		CatalogTupleUpdate(catalog, &one->t_self, one);
		CatalogTupleUpdate(catalog, &other->t_self, other);
		move_toast(own, relid, prepared);
		move_toast(full, prepared, relid);
	}
	table_close(catalog, RowExclusiveLock);
}
