/*
 * touched.c: what a running command touches, seen through PostgreSQL's object access hook, and what follows from it when the command is done.
 *
 * Invariants:
 * 1. Every distributed table that a replicated command locks has its relation key in the write set, by its old name and by its new one.
 * 2. A replicated object never depends on a local one: the command would fail, or mean something else, on other nodes.
 * 3. The names of new relations travel, so that a replica notices when PostgreSQL generated another one there.
 */
#include "ddl_internal.h"

#include "session/session.h"
#include "tableam/apply.h"
#include "tableam/writeset_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/syscache.h"

static object_access_hook_type prev_object_access = NULL;
static DdlCommand *current = NULL;

static void
lock_key(Oid relid)
{
	if (nodedb_relid_is_distributed(relid))
		writeset_relation_lock(relid, ddl_lock_mode(current->stmt));
}

static void
object_access(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objid, subid, arg);
	if (current == NULL || access == OAT_NAMESPACE_SEARCH || access == OAT_FUNCTION_EXECUTE)
		return;
	if (access == OAT_POST_CREATE)
	{
		/* Its row is not visible yet: looked at when the command is done. */
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(current));
		ObjectAddress *object = palloc(sizeof(ObjectAddress));

		ObjectAddressSubSet(*object, classid, objid, subid);
		current->created = lappend(current->created, object);
		MemoryContextSwitchTo(old);
	}
	else if (current->scope == DDL_CLUSTER)
	{
		ObjectAddress object;
		Oid			relid;

		ObjectAddressSet(object, classid, objid);
		relid = ddl_owning_table(&object);
		if (OidIsValid(relid))
			lock_key(relid);
	}
}

DdlCommand *
ddl_touched_begin(DdlCommand *c)
{
	DdlCommand *outer = current;

	current = c;
	return outer;
}

void
ddl_touched_end(DdlCommand *outer)
{
	current = outer;
}

bool
ddl_is_running(void)
{
	return current != NULL && current->scope == DDL_CLUSTER;
}

/* ---- when the command is done ---- */

static void pg_attribute_noreturn()
refuse_dependency(const ObjectAddress *object, const ObjectAddress *on)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("replicated object cannot depend on an object of this node alone"),
			 errdetail("%s depends on %s.", getObjectDescription(object, false), getObjectDescription(on, false)),
			 errhint("Use distributed tables (USING nodedb); or make it an object of this node too: SET nodedb.replicate_ddl = off.")));
}

static void
check_dependencies(const ObjectAddress *object)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object->classId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object->objectId));
	scan = systable_beginscan(catalog, DependDependerIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress on;

		ObjectAddressSubSet(on, form->refclassid, form->refobjid, form->refobjsubid);
		if (form->deptype != DEPENDENCY_EXTENSION && !IsPinnedObject(on.classId, on.objectId) && ddl_object_scope(&on) == DDL_NODE)
			refuse_dependency(object, &on);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* Rows would be in other partitions on other nodes, and nobody would find them there. */
static void
check_partition_key(Oid relid)
{
	Relation	rel;
	PartitionKey key;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return;
	rel = table_open(relid, AccessShareLock);
	key = RelationGetPartitionKey(rel);
	for (int i = 0; key->strategy == PARTITION_STRATEGY_HASH && i < key->partnatts; i++)
		if (value_holds_oids(getBaseType(key->parttypid[i])))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a replicated table cannot be partitioned by the hash of a value of type %s", format_type_be(key->parttypid[i])),
					 errdetail("Its hash differs from node to node."),
					 errhint("Partition by LIST, or by the hash of another type, for instance text.")));
	table_close(rel, NoLock);
}

/* A foreign key of a local table on a distributed one: changes of the one are not seen by the other's node. */
static void
check_local_constraint(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	Oid			referenced = InvalidOid;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	if (form->contype == CONSTRAINT_FOREIGN && ddl_relation_scope(form->confrelid) == DDL_CLUSTER)
		referenced = form->confrelid;
	ReleaseSysCache(tuple);
	if (OidIsValid(referenced))
		ddl_refuse_mixed(get_rel_name(referenced));
}

static bool
still_there(const ObjectAddress *object)
{
	return object->classId != RelationRelationId || SearchSysCacheExists1(RELOID, ObjectIdGetDatum(object->objectId));
}

static void
finish_node(DdlCommand *c)
{
	ListCell   *lc;

	foreach(lc, c->created)
	{
		ObjectAddress *object = lfirst(lc);
		char		relkind;

		if (!still_there(object))
			continue;
		if (object->classId == ConstraintRelationId)
			check_local_constraint(object->objectId);
		if (object->classId == RelationRelationId)
		{
			relkind = get_rel_relkind(object->objectId);
			if (object->objectSubId != 0 || get_rel_persistence(object->objectId) != RELPERSISTENCE_PERMANENT ||
				(relkind != RELKIND_VIEW && relkind != RELKIND_MATVIEW && relkind != RELKIND_SEQUENCE &&
				 relkind != RELKIND_PARTITIONED_TABLE && relkind != RELKIND_COMPOSITE_TYPE))
				continue;		/* tables say it by their access method */
		}
		else if (OidIsValid(ddl_owning_table(object)) || IsSharedRelation(object->classId))
			continue;
		/* sequences of a local table, its row type: they go with it */
		if (ddl_object_scope(object) == DDL_CLUSTER)
		{
			ddl_mark_local(object);
			CommandCounterIncrement();	/* one object may have been reported twice */
		}
	}
}

static void
finish_cluster(DdlCommand *c)
{
	List	   *schemas = NIL;
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, c->created)
	{
		ObjectAddress *object = lfirst(lc);
		Oid			schema;

		if (!still_there(object))
			continue;
		schema = object->classId == RelationRelationId ? get_rel_namespace(object->objectId) : InvalidOid;
		if (OidIsValid(schema) && IsToastNamespace(schema))
			continue;
		check_dependencies(object);
		if (object->classId == RelationRelationId && object->objectSubId == 0)
			check_partition_key(object->objectId);
		if (!OidIsValid(schema) || object->objectSubId != 0)
			continue;
		lock_key(object->objectId);
		schemas = lappend(schemas, get_namespace_name(schema));
		names = lappend(names, get_rel_name(object->objectId));
	}
	/* New names of what was there before. */
	foreach(lc, c->relations)
	{
		char	   *name = get_rel_name(lfirst_oid(lc));

		if (name != NULL)
			writeset_relation_lock_name(get_namespace_name(get_rel_namespace(lfirst_oid(lc))), name, AccessExclusiveLock);
	}
	/* An extension's script names what it makes. And where a node has made the extension by hand before, nothing is made. */
	if (ddl_is_extension(c->stmt))
		return;
	if (names != NIL)
		ddl_record_names(DDL_RECORD_NAMES, schemas, names);
	ddl_name_values(c);
}

/* PostgreSQL reports the creation of a default by its column. */
static void
name_defaults(DdlCommand *c)
{
	ListCell   *lc;

	foreach(lc, c->created)
	{
		ObjectAddress *object = lfirst(lc);

		if (object->classId != AttrDefaultRelationId)
			continue;
		ObjectAddressSet(*object, AttrDefaultRelationId, GetAttrDefaultOid(object->objectId, object->objectSubId));
		if (!OidIsValid(object->objectId))
			c->created = foreach_delete_current(c->created, lc);
	}
}

void
ddl_touched_finish(DdlCommand *c)
{
	CommandCounterIncrement();
	name_defaults(c);
	if (c->scope == DDL_NODE)
		finish_node(c);
	else
		finish_cluster(c);
}

void
ddl_touched_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
