/*
 * scope.c: whom an object concerns: every node, or this one alone.
 *
 * Tables say it by their access method. For everything else a security label of provider "nodedb" with the value "local" says that this node made
 * the object for itself: PostgreSQL keeps labels for every kind of object and drops them with it, they show in pg_seclabels, and an administrator can
 * set them (SECURITY LABEL FOR nodedb ON VIEW v IS 'local').
 *
 * Invariants:
 * 1. Indexes, triggers, rules, policies, constraints and owned sequences go with their table.
 * 2. No label means replicated: replicated objects look alike on all nodes, dumps included.
 */
#include "ddl_internal.h"
#include "placement.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/seclabel.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define LABEL_LOCAL "local"

static bool
is_marked_local(Oid classid, Oid objid)
{
	ObjectAddress object;
	char	   *label;

	ObjectAddressSet(object, classid, objid);
	label = GetSecurityLabel(&object, PLACEMENT_PROVIDER);
	return label != NULL && strcmp(label, LABEL_LOCAL) == 0;
}

DdlScope
ddl_relation_scope(Oid relid)
{
	FormData_pg_class form;
	Oid			owner;
	int32		column;

	if (!nodedb_pg_class(relid, &form))
		return DDL_PASS;
	if (form.relpersistence != RELPERSISTENCE_PERMANENT || IsCatalogRelationOid(relid) || IsToastNamespace(form.relnamespace))
		return DDL_NODE;
	switch (form.relkind)
	{
		case RELKIND_RELATION:
			return form.relam == nodedb_am_oid() ? DDL_CLUSTER : DDL_NODE;
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			return ddl_relation_scope(IndexGetRelation(relid, false));
		case RELKIND_SEQUENCE:
			if (sequenceIsOwned(relid, DEPENDENCY_AUTO, &owner, &column) || sequenceIsOwned(relid, DEPENDENCY_INTERNAL, &owner, &column))
				return ddl_relation_scope(owner);
			break;
		case RELKIND_FOREIGN_TABLE:
			return DDL_NODE;
		default:
			break;
	}
	return is_marked_local(RelationRelationId, relid) ? DDL_NODE : DDL_CLUSTER;
}

/* Catalogs whose rows belong to a table, and the column that says which. */
static const struct
{
	Oid			classid;
	AttrNumber	relid;
}			parts[] = {
	{ConstraintRelationId, Anum_pg_constraint_conrelid},
	{TriggerRelationId, Anum_pg_trigger_tgrelid},
	{RewriteRelationId, Anum_pg_rewrite_ev_class},
	{PolicyRelationId, Anum_pg_policy_polrelid},
	{StatisticExtRelationId, Anum_pg_statistic_ext_stxrelid},
};

/* The table that an object is a part of; InvalidOid when it stands alone. */
Oid
ddl_owning_table(const ObjectAddress *object)
{
	if (object->classId == RelationRelationId)
	{
		char		relkind = get_rel_relkind(object->objectId);

		return relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX ? IndexGetRelation(object->objectId, true) : object->objectId;
	}
	if (object->classId == AttrDefaultRelationId)
		return GetAttrDefaultColumnAddress(object->objectId).objectId;
	for (int i = 0; i < lengthof(parts); i++)
		if (parts[i].classid == object->classId)
		{
			Relation	catalog = table_open(object->classId, AccessShareLock);
			HeapTuple	tuple = get_catalog_object_by_oid(catalog, get_object_attnum_oid(object->classId), object->objectId);
			bool		isnull;
			Oid			relid = InvalidOid;

			if (HeapTupleIsValid(tuple))
				relid = DatumGetObjectId(heap_getattr(tuple, parts[i].relid, RelationGetDescr(catalog), &isnull));
			table_close(catalog, AccessShareLock);
			return relid;
		}
	return InvalidOid;
}

DdlScope
ddl_object_scope(const ObjectAddress *object)
{
	Oid			relid;

	if (object->classId == ExtensionRelationId && object->objectId == get_extension_oid("nodedb", true))
		return DDL_NODE;		/* each node has its own, before there is a cluster */
	if (object->classId == ForeignServerRelationId || object->classId == ForeignDataWrapperRelationId)
		return DDL_NODE;
	relid = ddl_owning_table(object);
	if (OidIsValid(relid))
		return ddl_relation_scope(relid);
	if (object->classId == TypeRelationId)
	{
		Oid			element = get_element_type(object->objectId);

		/* the row type of a table goes with the table, an array with its elements */
		relid = get_typ_typrelid(OidIsValid(element) ? element : object->objectId);
		if (OidIsValid(relid))
			return ddl_relation_scope(relid);
		if (OidIsValid(element))
			return is_marked_local(TypeRelationId, element) ? DDL_NODE : DDL_CLUSTER;
	}
	return is_marked_local(object->classId, object->objectId) ? DDL_NODE : DDL_CLUSTER;
}

void
ddl_mark_local(const ObjectAddress *object)
{
	SetSecurityLabel(object, PLACEMENT_PROVIDER, LABEL_LOCAL);
}

static void
check_label(const ObjectAddress *object, const char *label)
{
	ddl_placement_check(object, label);
	if (label != NULL && strcmp(label, LABEL_LOCAL) != 0 && placement_of_label(label) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("security label \"%s\" is not valid for provider \"%s\"", label, PLACEMENT_PROVIDER),
				 errhint("'local' marks an object of this node alone; NULL makes it a replicated one, which must then exist on every node.")));
}

void
ddl_scope_init(void)
{
	register_label_provider(PLACEMENT_PROVIDER, check_label);
}
