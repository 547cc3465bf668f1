/*
 * place.c: SECURITY LABEL FOR nodedb ON TABLE ... IS 'group 3' as the schema change that gives a table another data group; nodedb.place_table() issues it, and
 * behind CREATE TABLE nodedb.default_data_group does.
 *
 * It is a command of PostgreSQL's own, so it travels, is recorded and replayed like any other, and pg_dump writes it: what is restored has its place again. Other
 * labels of the provider are a matter of the node (scope.c).
 *
 * Invariants:
 * 1. At the origin and on replicas the table is locked ACCESS EXCLUSIVE before the label is set: whoever has changed, locked or read it has ended by then, and has gone
 *    through the old group's log, or has lost; whoever comes behind finds the new group.
 * 2. Sessions hear of a new group by an invalidation of the table.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "placement.h"
#include "session/session.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/seclabel.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tableam/apply.h"
#include "tableam/writeset.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(nodedb_place_table);
PG_FUNCTION_INFO_V1(nodedb_table_group);

bool
ddl_is_placement(SecLabelStmt *stmt)
{
	Oid			relid;

	if (stmt->objtype != OBJECT_TABLE || (stmt->provider != NULL && strcmp(stmt->provider, PLACEMENT_PROVIDER) != 0))
		return false;
	if (stmt->label != NULL)
		return placement_of_label(stmt->label) != 0;
	/* without a label: back in the default group */
	relid = RangeVarGetRelid(makeRangeVarFromNameList((List *) stmt->object), NoLock, true);
	return OidIsValid(relid) && ddl_relation_scope(relid) == DDL_CLUSTER;
}

bool
ddl_places(Node *stmt)
{
	if (IsA(stmt, CreateStmt) || IsA(stmt, CreateTableAsStmt))
		return nodedb_default_data_group != PLACEMENT_DEFAULT;
	return (IsA(stmt, SecLabelStmt) && ddl_is_placement((SecLabelStmt *) stmt)) || (IsA(stmt, CallStmt) && ddl_is_sharding((CallStmt *) stmt));
}

/* PostgreSQL's own lock for a label is a weaker one. */
void
ddl_placement_lock(SecLabelStmt *stmt)
{
	if (ddl_is_placement(stmt))
		(void) RangeVarGetRelidExtended(makeRangeVarFromNameList((List *) stmt->object), AccessExclusiveLock, 0, RangeVarCallbackOwnsRelation, NULL);
}

void
ddl_placement_check(const ObjectAddress *object, const char *label)
{
	NdGroupId	group = placement_of_label(label);

	if (object->classId != RelationRelationId || object->objectSubId != 0 || !nodedb_relid_is_distributed(object->objectId))
	{
		if (group != 0)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("only a distributed table has a data group"),
					 errhint("Of a partitioned table nodedb.place_table() places all partitions.")));
		return;
	}
	if (label != NULL && group == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("security label \"%s\" is not valid for a distributed table", label),
				 errhint("'group 2' gives it a data group, NULL the default one; see nodedb.place_table().")));
	if (get_rel_namespace(object->objectId) == nodedb_schema_oid())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("nodedb's own tables stay in group %d", PLACEMENT_DEFAULT)));
	if (group > placement_groups() && !apply_active)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no data group %u in this cluster", group),
				 errdetail("It has groups 1 to %u.", placement_groups()),
				 errhint("See nodedb.groups. To restore a dump into a cluster of fewer groups, leave the labels out (pg_restore --no-security-labels).")));
	CacheInvalidateRelcacheByRelid(object->objectId);
}

static char *
command(Oid relid, NdGroupId group)
{
	return psprintf("SECURITY LABEL FOR " PLACEMENT_PROVIDER " ON TABLE %s IS %s",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)), quote_literal_cstr(placement_label(group)));
}

/* ---- tables that are made ---- */

static NdGroupId
group_of_new(Oid relid)
{
	uint32		groups = Max(placement_groups(), 1);

	if (nodedb_default_data_group == 0)
		return (NdGroupId) (1 + writeset_relation_hash(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)) % groups);
	if (nodedb_default_data_group > groups)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no data group %d in this cluster", nodedb_default_data_group),
				 errhint("nodedb.default_data_group names the group of new tables.")));
	return (NdGroupId) nodedb_default_data_group;
}

void
ddl_placement_of_new(DdlCommand *c)
{
	ListCell   *lc;

	if (nodedb_default_data_group == PLACEMENT_DEFAULT || (!IsA(c->stmt, CreateStmt) && !IsA(c->stmt, CreateTableAsStmt)))
		return;
	foreach(lc, c->created)
	{
		ObjectAddress *object = lfirst(lc);
		NdGroupId	group;

		/* An event trigger may have given it away: then it is the new owner's affair. */
		if (object->classId != RelationRelationId || object->objectSubId != 0 || !nodedb_relid_is_distributed(object->objectId) ||
			!pg_class_ownercheck(object->objectId, GetUserId()))
			continue;
		group = group_of_new(object->objectId);
		if (group == PLACEMENT_DEFAULT)
			continue;
		ddl_record_command(command(object->objectId, group));
		ddl_placement_check(object, placement_label(group));
		SetSecurityLabel(object, PLACEMENT_PROVIDER, placement_label(group));
		CommandCounterIncrement();
	}
}

/* ---- nodedb.place_table() ---- */

Datum
nodedb_place_table(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	int			group = PG_GETARG_INT32(1);
	char		relkind = get_rel_relkind(relid);
	ListCell   *lc;

	session_check_node();
	if (group < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data groups are counted from 1")));
	if (ddl_relation_scope(relid) != DDL_CLUSTER || (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a distributed table", OidIsValid(relid) && get_rel_name(relid) ? get_rel_name(relid) : "-")));
	if (relkind == RELKIND_RELATION)
		ddl_run(command(relid, group));
	else
	{
		if (!pg_class_ownercheck(relid, GetUserId()))
			aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
			if (nodedb_relid_is_distributed(lfirst_oid(lc)))
				ddl_run(command(lfirst_oid(lc), group));
	}
	PG_RETURN_VOID();
}

Datum
nodedb_table_group(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);

	if (!nodedb_relid_is_distributed(relid))
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) placement_group(relid));
}
