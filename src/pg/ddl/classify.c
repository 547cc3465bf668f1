/*
 * classify.c: whom a utility command concerns, and which replicated relations it locks.
 *
 * One function per shape of command, one table that says which shape a command has. A command that names objects concerns whom they concern; one that
 * names none, or makes a new one, concerns every node unless it is a matter of the node: extensions, languages, foreign data, tablespaces, databases,
 * publications and subscriptions, maintenance.
 *
 * Invariants:
 * 1. Nothing here raises for a missing object: PostgreSQL does that better, and the catalogs may only lag behind (retry_fresh).
 * 2. A command never concerns both: objects of one node and of all nodes are not mixed.
 * 3. Every replicated relation on which the command takes a lock that excludes writers is in `relations`, where it can be known beforehand; the others
 *    get their key when they are touched (touched.c).
 */
#include "ddl_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "nodes/makefuncs.h"
#include "parser/analyze.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- what is found ---- */

static void
found(DdlCommand *c, DdlScope scope)
{
	c->found_node |= scope == DDL_NODE;
	c->found_cluster |= scope == DDL_CLUSTER;
	if (c->found_node && c->found_cluster)
		ddl_refuse_mixed(NULL);
}

/* The table and all below it: partitions and children. */
static void
add_relation(DdlCommand *c, Oid relid)
{
	DdlScope	scope = ddl_relation_scope(relid);
	char		relkind = get_rel_relkind(relid);
	ListCell   *lc;

	found(c, scope);
	if (scope != DDL_CLUSTER)
		return;
	if (relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX)
	{
		ObjectAddress index;

		ObjectAddressSet(index, RelationRelationId, relid);
		relid = ddl_owning_table(&index);
		relkind = get_rel_relkind(relid);
	}
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
	{
		c->relations = list_append_unique_oid(c->relations, relid);
		return;
	}
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
		if (ddl_relation_scope(lfirst_oid(lc)) == DDL_CLUSTER)
			c->relations = list_append_unique_oid(c->relations, lfirst_oid(lc));
}

/* false: there is no such relation here (yet). */
static bool
add_range(DdlCommand *c, RangeVar *rel)
{
	Oid			relid = rel == NULL ? InvalidOid : RangeVarGetRelid(rel, NoLock, true);

	if (!OidIsValid(relid))
	{
		c->retry_fresh = true;
		return false;
	}
	add_relation(c, relid);
	return true;
}

static void
add_object(DdlCommand *c, ObjectType type, Node *object)
{
	ObjectAddress address;
	Relation	rel = NULL;
	Oid			relid;

	/* The locks go at once: a command that waits for its reservation must not block the one that holds it. */
	address = get_object_address(type, object, &rel, AccessShareLock, true);
	if (OidIsValid(address.objectId) && address.classId != RelationRelationId)
	{
		if (IsSharedRelation(address.classId))
			UnlockSharedObject(address.classId, address.objectId, 0, AccessShareLock);
		else
			UnlockDatabaseObject(address.classId, address.objectId, 0, AccessShareLock);
	}
	if (rel != NULL)
		relation_close(rel, AccessShareLock);
	if (!OidIsValid(address.objectId))
	{
		c->retry_fresh = true;
		return;
	}
	relid = ddl_owning_table(&address);
	if (OidIsValid(relid))
		add_relation(c, relid);
	else
		found(c, ddl_object_scope(&address));
}

/* Distributed tables of a schema, or of the whole database (InvalidOid). */
static void
add_tables_of(DdlCommand *c, Oid schema)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if ((!OidIsValid(schema) || form->relnamespace == schema) && nodedb_relid_is_distributed(form->oid))
			c->relations = list_append_unique_oid(c->relations, form->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* The objects that depend on this one in that way (0: in any), as ObjectAddress *. */
static List *
dependents(Oid classid, Oid objid, char deptype)
{
	List	   *found = NIL;
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(classid));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objid));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress *object;

		if (deptype != 0 && form->deptype != deptype)
			continue;
		object = palloc(sizeof(ObjectAddress));
		ObjectAddressSet(*object, form->classid, form->objid);
		found = lappend(found, object);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* Distributed tables with a column of this type: changing it checks or rewrites them. */
static void
add_tables_with(DdlCommand *c, Oid type)
{
	ListCell   *lc;

	foreach(lc, dependents(TypeRelationId, type, 0))
	{
		ObjectAddress *object = lfirst(lc);

		if (object->classId == RelationRelationId && nodedb_relid_is_distributed(object->objectId))
			c->relations = list_append_unique_oid(c->relations, object->objectId);
	}
}

static void
add_type(DdlCommand *c, List *names)
{
	Oid			type = LookupTypeNameOid(NULL, makeTypeNameFromNameList(names), true);
	ObjectAddress address;

	if (!OidIsValid(type))
	{
		c->retry_fresh = true;
		return;
	}
	ObjectAddressSet(address, TypeRelationId, type);
	found(c, ddl_object_scope(&address));
	add_tables_with(c, type);
}

/* A command on existing objects: whom do they concern? */
static void
by_found(DdlCommand *c)
{
	c->scope = c->found_cluster ? DDL_CLUSTER : c->found_node ? DDL_NODE : DDL_PASS;
}

/* ---- making tables ---- */

static bool
is_temporary(RangeVar *rel)
{
	Oid			schema;
	List	   *path;

	if (rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return true;
	if (rel->schemaname != NULL)
	{
		schema = get_namespace_oid(rel->schemaname, true);
		return strcmp(rel->schemaname, "pg_temp") == 0 || (OidIsValid(schema) && isAnyTempNamespace(schema));
	}
	/* without the implicit ones: where a new object would go */
	path = fetch_search_path(false);
	return path != NIL && isAnyTempNamespace(linitial_oid(path));
}

DdlScope
ddl_create_scope(RangeVar *rel, const char *access_method)
{
	if (access_method == NULL)
		access_method = default_table_access_method;
	return is_temporary(rel) || strcmp(access_method, "nodedb") != 0 ? DDL_NODE : DDL_CLUSTER;
}

/* IF NOT EXISTS of something that is there: nothing happens here, so nothing may happen elsewhere. */
static bool
exists_already(DdlCommand *c, RangeVar *rel, bool if_not_exists)
{
	if (!if_not_exists || !OidIsValid(RangeVarGetRelid(rel, NoLock, true)))
		return false;
	c->scope = DDL_PASS;
	c->retry_fresh = true;
	return true;
}

static void
check_parent(RangeVar *parent, DdlScope child)
{
	Oid			relid = RangeVarGetRelid(parent, NoLock, true);

	if (OidIsValid(relid) && ddl_relation_scope(relid) != child)
		ddl_refuse_mixed(parent->relname);
}

/* LIKE leaves no dependency behind that would tell (touched.c). */
static void
check_template(RangeVar *template)
{
	Oid			relid = RangeVarGetRelid(template, NoLock, true);

	if (OidIsValid(relid) && !IsCatalogRelationOid(relid) && ddl_relation_scope(relid) == DDL_NODE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a replicated table cannot be made LIKE a table of this node: \"%s\"", template->relname),
				 errhint("Name the columns, or use CREATE TABLE ... AS TABLE ... WITH NO DATA.")));
}

static void
add_referenced(DdlCommand *c, Node *element)
{
	List	   *constraints = IsA(element, ColumnDef) ? ((ColumnDef *) element)->constraints : list_make1(element);
	ListCell   *lc;

	foreach(lc, constraints)
		if (IsA(lfirst(lc), Constraint) && lfirst_node(Constraint, lc)->contype == CONSTR_FOREIGN)
		{
			Oid			relid = RangeVarGetRelid(lfirst_node(Constraint, lc)->pktable, NoLock, true);

			/* a table may refer to itself before it is there; mixing is found afterwards (touched.c) */
			if (OidIsValid(relid) && ddl_relation_scope(relid) == DDL_CLUSTER)
				add_relation(c, relid);
		}
}

static void
classify_create_table(DdlCommand *c)
{
	CreateStmt *stmt = castNode(CreateStmt, c->stmt);
	ListCell   *lc;

	c->scope = ddl_create_scope(stmt->relation, stmt->accessMethod);
	if (c->scope != DDL_CLUSTER)
	{
		foreach(lc, stmt->inhRelations)
			check_parent(lfirst_node(RangeVar, lc), DDL_NODE);
		return;
	}
	if (exists_already(c, stmt->relation, stmt->if_not_exists))
		return;
	foreach(lc, stmt->inhRelations)
	{
		check_parent(lfirst_node(RangeVar, lc), DDL_CLUSTER);
		(void) add_range(c, lfirst_node(RangeVar, lc));
	}
	foreach(lc, stmt->tableElts)
	{
		if (IsA(lfirst(lc), TableLikeClause))
			check_template(((TableLikeClause *) lfirst(lc))->relation);
		add_referenced(c, lfirst(lc));
	}
	foreach(lc, stmt->constraints)
		add_referenced(c, lfirst(lc));
}

static void
classify_ctas(DdlCommand *c)
{
	CreateTableAsStmt *stmt = castNode(CreateTableAsStmt, c->stmt);

	if (stmt->objtype == OBJECT_MATVIEW)
		c->scope = DDL_CLUSTER;	/* a temporary or unlogged one does not exist */
	else
		c->scope = ddl_create_scope(stmt->into->rel, stmt->into->accessMethod);
	if (c->scope != DDL_CLUSTER || exists_already(c, stmt->into->rel, stmt->if_not_exists))
		return;
	if (stmt->objtype == OBJECT_TABLE && c->fresh)
		c->text = ddl_ctas_text(stmt);
}

static void
classify_view(DdlCommand *c)
{
	ViewStmt   *stmt = castNode(ViewStmt, c->stmt);
	Oid			existing;
	RawStmt    *raw;

	c->scope = is_temporary(stmt->view) ? DDL_NODE : DDL_CLUSTER;
	if (c->scope != DDL_CLUSTER)
		return;
	existing = RangeVarGetRelid(stmt->view, NoLock, true);
	if (stmt->replace && OidIsValid(existing))
	{
		add_relation(c, existing);
		by_found(c);
		return;
	}
	if (!c->fresh)
		return;
	/* A view of a temporary table becomes temporary by itself. */
	raw = makeNode(RawStmt);
	raw->stmt = copyObject(stmt->query);
	raw->stmt_location = 0;
	if (isQueryUsingTempRelation(parse_analyze_fixedparams(raw, c->source, NULL, 0, NULL)))
		c->scope = DDL_NODE;
}

static void
classify_sequence(DdlCommand *c)
{
	CreateSeqStmt *stmt = castNode(CreateSeqStmt, c->stmt);

	c->scope = is_temporary(stmt->sequence) ? DDL_NODE : DDL_CLUSTER;
	if (c->scope == DDL_CLUSTER)
		(void) exists_already(c, stmt->sequence, stmt->if_not_exists);
}

/* The row type of a temporary table, for instance. */
static bool
is_temporary_type(TypeName *name)
{
	/* %TYPE is told to the client by a NOTICE, once is enough */
	Oid			type = name == NULL || name->pct_type ? InvalidOid : LookupTypeNameOid(NULL, name, true);
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool		temporary;

	if (!HeapTupleIsValid(tuple))
		return false;
	temporary = isAnyTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	return temporary;
}

/* New objects that are no relations: the session's own when they are made in its schema, or of its types. */
static void
classify_new_object(DdlCommand *c)
{
	List	   *names = NIL;
	bool		temporary = false;
	ListCell   *lc;

	switch (nodeTag(c->stmt))
	{
		case T_CreateFunctionStmt:
			names = ((CreateFunctionStmt *) c->stmt)->funcname;
			temporary = is_temporary_type(((CreateFunctionStmt *) c->stmt)->returnType);
			foreach(lc, ((CreateFunctionStmt *) c->stmt)->parameters)
				temporary |= is_temporary_type(lfirst_node(FunctionParameter, lc)->argType);
			break;
		case T_CreateDomainStmt:
			names = ((CreateDomainStmt *) c->stmt)->domainname;
			temporary = is_temporary_type(((CreateDomainStmt *) c->stmt)->typeName);
			break;
		case T_DefineStmt:
			names = ((DefineStmt *) c->stmt)->defnames;
			break;
		case T_CompositeTypeStmt:
			temporary = is_temporary(((CompositeTypeStmt *) c->stmt)->typevar);
			foreach(lc, ((CompositeTypeStmt *) c->stmt)->coldeflist)
				temporary |= is_temporary_type(lfirst_node(ColumnDef, lc)->typeName);
			break;
		case T_CreateEnumStmt:
			names = ((CreateEnumStmt *) c->stmt)->typeName;
			break;
		case T_CreateRangeStmt:
			names = ((CreateRangeStmt *) c->stmt)->typeName;
			break;
		case T_CreateOpClassStmt:
			names = ((CreateOpClassStmt *) c->stmt)->opclassname;
			break;
		case T_CreateOpFamilyStmt:
			names = ((CreateOpFamilyStmt *) c->stmt)->opfamilyname;
			break;
		case T_CreateConversionStmt:
			names = ((CreateConversionStmt *) c->stmt)->conversion_name;
			break;
		default:
			elog(ERROR, "nodedb: command %d makes no object", (int) nodeTag(c->stmt));
	}
	if (names != NIL)
		temporary |= is_temporary(makeRangeVarFromNameList(names));
	c->scope = temporary ? DDL_NODE : DDL_CLUSTER;
}

/* ---- commands on one relation ---- */

static void
classify_alter_table(DdlCommand *c)
{
	AlterTableStmt *stmt = castNode(AlterTableStmt, c->stmt);
	Oid			relid;
	bool		only_place = true;
	ListCell   *lc;

	if (!add_range(c, stmt->relation))
		return;
	by_found(c);
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		only_place &= cmd->subtype == AT_SetTableSpace;
		if (cmd->def == NULL)
			continue;
		if (cmd->subtype == AT_AddConstraint || cmd->subtype == AT_AddColumn)
			add_referenced(c, cmd->def);
		else if (cmd->subtype == AT_AttachPartition || cmd->subtype == AT_DetachPartition)
		{
			check_parent(((PartitionCmd *) cmd->def)->name, c->scope);
			(void) add_range(c, ((PartitionCmd *) cmd->def)->name);
		}
		else if (cmd->subtype == AT_AddInherit || cmd->subtype == AT_DropInherit)
		{
			check_parent((RangeVar *) cmd->def, c->scope);
			(void) add_range(c, (RangeVar *) cmd->def);
		}
	}
	if (stmt->objtype == OBJECT_TYPE && OidIsValid(get_rel_type_id(relid)))
		add_tables_with(c, get_rel_type_id(relid));	/* CASCADE: tables of that type */
	ddl_refuse_alter_table(c, stmt, relid);
	/* Where the file lies is a matter of the node. */
	if (only_place && c->scope == DDL_CLUSTER)
		c->scope = DDL_NODE;
}

static void
classify_index(DdlCommand *c)
{
	IndexStmt  *stmt = castNode(IndexStmt, c->stmt);

	if (!add_range(c, stmt->relation))
		return;
	by_found(c);
}

static void
classify_trigger(DdlCommand *c)
{
	CreateTrigStmt *stmt = castNode(CreateTrigStmt, c->stmt);

	(void) add_range(c, stmt->relation);
	if (stmt->constrrel != NULL)
		(void) add_range(c, stmt->constrrel);
	by_found(c);
}

static void
classify_relation(DdlCommand *c)
{
	RangeVar   *rel = NULL;

	switch (nodeTag(c->stmt))
	{
		case T_RuleStmt:
			rel = ((RuleStmt *) c->stmt)->relation;
			break;
		case T_CreatePolicyStmt:
			rel = ((CreatePolicyStmt *) c->stmt)->table;
			break;
		case T_AlterPolicyStmt:
			rel = ((AlterPolicyStmt *) c->stmt)->table;
			break;
		case T_AlterSeqStmt:
			rel = ((AlterSeqStmt *) c->stmt)->sequence;
			break;
		case T_RefreshMatViewStmt:
			rel = ((RefreshMatViewStmt *) c->stmt)->relation;
			break;
		default:
			elog(ERROR, "nodedb: command %d names no relation", (int) nodeTag(c->stmt));
	}
	(void) add_range(c, rel);
	by_found(c);
}

static void
classify_statistics(DdlCommand *c)
{
	ListCell   *lc;

	foreach(lc, castNode(CreateStatsStmt, c->stmt)->relations)
		if (IsA(lfirst(lc), RangeVar))
			(void) add_range(c, lfirst(lc));
	by_found(c);
	if (castNode(CreateStatsStmt, c->stmt)->defnames != NIL && is_temporary(makeRangeVarFromNameList(castNode(CreateStatsStmt, c->stmt)->defnames)))
		c->scope = DDL_NODE;
}

static void
classify_truncate(DdlCommand *c)
{
	ListCell   *lc;

	foreach(lc, castNode(TruncateStmt, c->stmt)->relations)
		(void) add_range(c, lfirst_node(RangeVar, lc));
	by_found(c);
}

/* ---- commands on objects of any kind ---- */

/* Objects that are a matter of the node. */
static bool
is_node_kind(ObjectType type)
{
	switch (type)
	{
		case OBJECT_DATABASE:
		case OBJECT_FDW:
		case OBJECT_FOREIGN_SERVER:
		case OBJECT_FOREIGN_TABLE:
		case OBJECT_LARGEOBJECT:
		case OBJECT_PUBLICATION:
		case OBJECT_PUBLICATION_NAMESPACE:
		case OBJECT_PUBLICATION_REL:
		case OBJECT_SUBSCRIPTION:
		case OBJECT_TABLESPACE:
		case OBJECT_USER_MAPPING:
			return true;
		default:
			return false;
	}
}

/* The replicated database itself, whose owner and privileges count when a replica runs a command as its role. */
static bool
is_this_database(ObjectType type, Node *object)
{
	return type == OBJECT_DATABASE && object != NULL && strcmp(strVal(object), nodedb_database) == 0;
}

static bool
is_relation_kind(ObjectType type)
{
	switch (type)
	{
		case OBJECT_TABLE:
		case OBJECT_INDEX:
		case OBJECT_SEQUENCE:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
			return true;
		default:
			return false;
	}
}

/* What hangs on an extension: its own tables, and those with columns of its types. */
static void
add_tables_of_extension(DdlCommand *c, Oid extension)
{
	ListCell   *lc;

	foreach(lc, dependents(ExtensionRelationId, extension, DEPENDENCY_EXTENSION))
	{
		ObjectAddress *member = lfirst(lc);

		if (member->classId == RelationRelationId && ddl_relation_scope(member->objectId) == DDL_CLUSTER)
			c->relations = list_append_unique_oid(c->relations, member->objectId);
		else if (member->classId == TypeRelationId)
			add_tables_with(c, member->objectId);
	}
}

static void
classify_drop(DdlCommand *c)
{
	DropStmt   *stmt = castNode(DropStmt, c->stmt);
	ListCell   *lc;

	c->scope = DDL_NODE;
	if (is_node_kind(stmt->removeType))
		return;
	foreach(lc, stmt->objects)
	{
		Node	   *object = lfirst(lc);

		if (is_relation_kind(stmt->removeType))
			(void) add_range(c, makeRangeVarFromNameList((List *) object));
		else
			add_object(c, stmt->removeType, object);
		if (stmt->removeType == OBJECT_EXTENSION && OidIsValid(get_extension_oid(strVal(object), true)))
			add_tables_of_extension(c, get_extension_oid(strVal(object), true));
		if (stmt->removeType == OBJECT_SCHEMA && OidIsValid(get_namespace_oid(strVal(object), true)))
			add_tables_of(c, get_namespace_oid(strVal(object), true));
		if (stmt->removeType == OBJECT_TYPE || stmt->removeType == OBJECT_DOMAIN)
		{
			Oid			type = LookupTypeNameOid(NULL, castNode(TypeName, object), true);

			if (OidIsValid(type))
				add_tables_with(c, type);
		}
	}
	by_found(c);
}

static void
classify_target(DdlCommand *c, ObjectType type, RangeVar *rel, Node *object)
{
	if (is_node_kind(type))
	{
		c->scope = is_this_database(type, object) ? DDL_CLUSTER : DDL_NODE;
		return;
	}
	/* no catalogue of objects that could be marked: */
	if (type == OBJECT_ROLE || type == OBJECT_DEFACL)
	{
		c->scope = DDL_CLUSTER;
		return;
	}
	if (rel != NULL)
		(void) add_range(c, rel);
	else if (object != NULL && IsA(object, List) && IsA(linitial((List *) object), String) &&
			 (type == OBJECT_TYPE || type == OBJECT_DOMAIN || type == OBJECT_DOMCONSTRAINT))
		add_type(c, (List *) object);	/* the grammar gives their bare name, no TypeName, and for RENAME CONSTRAINT the domain's */
	else if (object != NULL)
		add_object(c, type, object);
	by_found(c);
}

static void
classify_rename(DdlCommand *c)
{
	RenameStmt *stmt = castNode(RenameStmt, c->stmt);
	Oid			schema;

	if (stmt->renameType == OBJECT_SCHEMA)
	{
		/* here, unlike elsewhere, the name stands in subname */
		schema = get_namespace_oid(stmt->subname, true);
		if (!OidIsValid(schema))
		{
			c->retry_fresh = true;
			return;
		}
		add_object(c, OBJECT_SCHEMA, (Node *) makeString(stmt->subname));
		add_tables_of(c, schema);
		by_found(c);
		return;
	}
	classify_target(c, stmt->renameType, stmt->relation, stmt->object);
}

static void
classify_alter_object(DdlCommand *c)
{
	switch (nodeTag(c->stmt))
	{
		case T_AlterObjectSchemaStmt:
			{
				AlterObjectSchemaStmt *stmt = (AlterObjectSchemaStmt *) c->stmt;

				classify_target(c, stmt->objectType, stmt->relation, stmt->object);
				break;
			}
		case T_AlterOwnerStmt:
			{
				AlterOwnerStmt *stmt = (AlterOwnerStmt *) c->stmt;

				classify_target(c, stmt->objectType, stmt->relation, stmt->object);
				break;
			}
		case T_CommentStmt:
			{
				CommentStmt *stmt = (CommentStmt *) c->stmt;

				classify_target(c, stmt->objtype, NULL, stmt->object);
				break;
			}
		case T_AlterFunctionStmt:
			{
				AlterFunctionStmt *stmt = (AlterFunctionStmt *) c->stmt;

				classify_target(c, stmt->objtype, NULL, (Node *) stmt->func);
				break;
			}
		case T_AlterOperatorStmt:
			classify_target(c, OBJECT_OPERATOR, NULL, (Node *) ((AlterOperatorStmt *) c->stmt)->opername);
			break;
		case T_AlterStatsStmt:
			classify_target(c, OBJECT_STATISTIC_EXT, NULL, (Node *) ((AlterStatsStmt *) c->stmt)->defnames);
			break;
		case T_AlterTSDictionaryStmt:
			classify_target(c, OBJECT_TSDICTIONARY, NULL, (Node *) ((AlterTSDictionaryStmt *) c->stmt)->dictname);
			break;
		case T_AlterTSConfigurationStmt:
			classify_target(c, OBJECT_TSCONFIGURATION, NULL, (Node *) ((AlterTSConfigurationStmt *) c->stmt)->cfgname);
			break;
		case T_AlterCollationStmt:
			classify_target(c, OBJECT_COLLATION, NULL, (Node *) ((AlterCollationStmt *) c->stmt)->collname);
			break;
		default:
			elog(ERROR, "nodedb: command %d names no object", (int) nodeTag(c->stmt));
	}
}

static void
classify_alter_type(DdlCommand *c)
{
	switch (nodeTag(c->stmt))
	{
		case T_AlterDomainStmt:
			add_type(c, ((AlterDomainStmt *) c->stmt)->typeName);
			break;
		case T_AlterEnumStmt:
			add_type(c, ((AlterEnumStmt *) c->stmt)->typeName);
			break;
		case T_AlterTypeStmt:
			add_type(c, ((AlterTypeStmt *) c->stmt)->typeName);
			break;
		default:
			elog(ERROR, "nodedb: command %d names no type", (int) nodeTag(c->stmt));
	}
	by_found(c);
}

static void
classify_grant(DdlCommand *c)
{
	GrantStmt  *stmt = castNode(GrantStmt, c->stmt);
	ListCell   *lc;

	c->scope = is_node_kind(stmt->objtype) && !(list_length(stmt->objects) == 1 && is_this_database(stmt->objtype, linitial(stmt->objects))) ?
		DDL_NODE : DDL_CLUSTER;
	if (c->scope == DDL_NODE || stmt->targtype != ACL_TARGET_OBJECT || stmt->objtype == OBJECT_DATABASE || stmt->objtype == OBJECT_PARAMETER_ACL)
		return;
	foreach(lc, stmt->objects)
	{
		Node	   *object = lfirst(lc);
		Oid			relid;

		if (!IsA(object, RangeVar))
			add_object(c, stmt->objtype, stmt->objtype == OBJECT_TYPE || stmt->objtype == OBJECT_DOMAIN ?
					   (Node *) makeTypeNameFromNameList((List *) object) : object);
		else if (OidIsValid(relid = RangeVarGetRelid((RangeVar *) object, NoLock, true)))
			found(c, ddl_relation_scope(relid));	/* no lock on the table */
		else
			c->retry_fresh = true;
	}
	by_found(c);
}

/* Tables may go, or change hands, wherever they are. */
static void
classify_owned(DdlCommand *c)
{
	c->scope = DDL_CLUSTER;
	add_tables_of(c, InvalidOid);
}

static void
classify_extension(DdlCommand *c)
{
	const char *name = ddl_extension_name(c->stmt);
	Oid			extension = get_extension_oid(name, true);

	if (strcmp(name, "nodedb") == 0)
	{
		c->scope = DDL_NODE;
		return;
	}
	c->scope = DDL_CLUSTER;
	if (OidIsValid(extension))
		add_tables_of_extension(c, extension);
	c->text = ddl_extension_text(c->stmt);
}

static void
classify_cluster(DdlCommand *c)
{
	c->scope = DDL_CLUSTER;
}

static void
classify_node(DdlCommand *c)
{
	c->scope = DDL_NODE;
}

/* Labels are a matter of the node, but for those that give a table its data group. */
static void
classify_label(DdlCommand *c)
{
	SecLabelStmt *stmt = castNode(SecLabelStmt, c->stmt);

	c->scope = DDL_NODE;
	if (ddl_is_placement(stmt) && add_range(c, makeRangeVarFromNameList((List *) stmt->object)))
		by_found(c);
}

/* No schema change, but for the one that distributes a table. */
static void
classify_call(DdlCommand *c)
{
	CallStmt   *stmt = castNode(CallStmt, c->stmt);
	List	   *tables;
	ListCell   *lc;

	if (!ddl_is_sharding(stmt))
		return;
	tables = ddl_sharding_tables(stmt);
	foreach(lc, tables)
		add_relation(c, lfirst_oid(lc));
	c->retry_fresh = tables == NIL;
	by_found(c);
}

/* ---- the table ---- */

static const struct
{
	NodeTag		tag;
	void		(*classify) (DdlCommand *c);
}			shapes[] = {
	{T_CreateStmt, classify_create_table},
	{T_CreateTableAsStmt, classify_ctas},
	{T_ViewStmt, classify_view},
	{T_CreateSeqStmt, classify_sequence},
	{T_CreateSchemaStmt, classify_cluster},
	{T_CreateFunctionStmt, classify_new_object},
	{T_AlterTableStmt, classify_alter_table},
	{T_IndexStmt, classify_index},
	{T_CreateTrigStmt, classify_trigger},
	{T_RuleStmt, classify_relation},
	{T_CreatePolicyStmt, classify_relation},
	{T_AlterPolicyStmt, classify_relation},
	{T_AlterSeqStmt, classify_relation},
	{T_RefreshMatViewStmt, classify_relation},
	{T_CreateStatsStmt, classify_statistics},
	{T_TruncateStmt, classify_truncate},
	{T_DropStmt, classify_drop},
	{T_RenameStmt, classify_rename},
	{T_AlterObjectSchemaStmt, classify_alter_object},
	{T_AlterOwnerStmt, classify_alter_object},
	{T_CommentStmt, classify_alter_object},
	{T_AlterFunctionStmt, classify_alter_object},
	{T_AlterOperatorStmt, classify_alter_object},
	{T_AlterStatsStmt, classify_alter_object},
	{T_AlterTSDictionaryStmt, classify_alter_object},
	{T_AlterTSConfigurationStmt, classify_alter_object},
	{T_AlterCollationStmt, classify_alter_object},
	{T_AlterDomainStmt, classify_alter_type},
	{T_AlterEnumStmt, classify_alter_type},
	{T_AlterTypeStmt, classify_alter_type},
	{T_GrantStmt, classify_grant},
	{T_DropOwnedStmt, classify_owned},
	{T_ReassignOwnedStmt, classify_owned},
	{T_DefineStmt, classify_new_object},
	{T_CompositeTypeStmt, classify_new_object},
	{T_CreateEnumStmt, classify_new_object},
	{T_CreateRangeStmt, classify_new_object},
	{T_CreateDomainStmt, classify_new_object},
	{T_CreateOpClassStmt, classify_new_object},
	{T_CreateOpFamilyStmt, classify_new_object},
	{T_AlterOpFamilyStmt, classify_cluster},
	{T_CreateCastStmt, classify_cluster},
	{T_CreateConversionStmt, classify_new_object},
	{T_CreateRoleStmt, classify_cluster},
	{T_AlterRoleStmt, classify_cluster},
	{T_AlterRoleSetStmt, classify_cluster},
	{T_DropRoleStmt, classify_cluster},
	{T_GrantRoleStmt, classify_cluster},
	{T_AlterDefaultPrivilegesStmt, classify_cluster},
	{T_CreateEventTrigStmt, classify_cluster},
	{T_AlterEventTrigStmt, classify_cluster},
	{T_CreatePLangStmt, classify_cluster},
	{T_CreateAmStmt, classify_cluster},
	{T_CreateTransformStmt, classify_cluster},
	{T_CreateExtensionStmt, classify_extension},
	{T_AlterExtensionStmt, classify_extension},
	{T_AlterExtensionContentsStmt, classify_extension},
	{T_AlterObjectDependsStmt, classify_node},
	{T_SecLabelStmt, classify_label},
	{T_CallStmt, classify_call},
	{T_CreateFdwStmt, classify_node},
	{T_AlterFdwStmt, classify_node},
	{T_CreateForeignServerStmt, classify_node},
	{T_AlterForeignServerStmt, classify_node},
	{T_CreateForeignTableStmt, classify_node},
	{T_ImportForeignSchemaStmt, classify_node},
	{T_CreateUserMappingStmt, classify_node},
	{T_AlterUserMappingStmt, classify_node},
	{T_DropUserMappingStmt, classify_node},
	{T_CreatePublicationStmt, classify_node},
	{T_AlterPublicationStmt, classify_node},
	{T_CreateSubscriptionStmt, classify_node},
	{T_AlterSubscriptionStmt, classify_node},
	{T_DropSubscriptionStmt, classify_node},
	{T_AlterTableMoveAllStmt, classify_node},
	{T_AlterTableSpaceOptionsStmt, classify_node},
};

void
ddl_classify(DdlCommand *c)
{
	c->scope = DDL_PASS;
	c->retry_fresh = false;
	c->relations = NIL;
	c->found_node = c->found_cluster = false;
	for (int i = 0; i < lengthof(shapes); i++)
		if (shapes[i].tag == nodeTag(c->stmt))
		{
			shapes[i].classify(c);
			return;
		}
}
