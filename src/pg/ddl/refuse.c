/*
 * refuse.c: commands that are refused: what one node alone must not do to a distributed table, what is not replicated, and what would leave
 * different values on different nodes.
 *
 * Invariant: a rewrite may only evaluate what gives the same value everywhere: immutable expressions, and stable ones whose inputs travel (the
 * transaction's timestamp, role, settings, replicated tables).
 */
#include "ddl_internal.h"

#include "shmem.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "parser/parse_utilcmd.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

void
ddl_refuse_mixed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 what == NULL ? errmsg("cannot mix objects of this node with replicated objects in one command") :
			 errmsg("cannot connect distributed and local tables: \"%s\" is of the other kind", what),
			 errhint("Tables are distributed by the access method nodedb (see default_table_access_method) and local by any other. "
					 "Use separate commands, or tables of one kind.")));
}

static void pg_attribute_noreturn()
refuse(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s is not supported on distributed tables", what),
			 errhint("%s", hint)));
}

/* ---- ALTER TABLE ---- */

void
ddl_refuse_alter_table(DdlCommand *c, AlterTableStmt *stmt, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		ours;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		return;
	/* temporary and unlogged ones too, and sequences: they must not become distributed by a local command */
	ours = ((Form_pg_class) GETSTRUCT(tuple))->relam == nodedb_am_oid() || ((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_SEQUENCE;
	ReleaseSysCache(tuple);
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		switch (cmd->subtype)
		{
			case AT_SetAccessMethod:
				if (ours || (cmd->name != NULL && strcmp(cmd->name, "nodedb") == 0))
					refuse("SET ACCESS METHOD", "Make a new table with CREATE TABLE ... AS and rename it.");
				break;
			case AT_SetLogged:
			case AT_SetUnLogged:
				if (ours)
					refuse("SET LOGGED or UNLOGGED", "Make a new table with CREATE TABLE ... AS and rename it.");
				break;
			case AT_SetTableSpace:
				if (c->scope == DDL_CLUSTER && list_length(stmt->cmds) > 1)
					refuse("SET TABLESPACE together with other changes", "Use it alone: it then moves the table on this node only.");
				break;
			case AT_DetachPartition:
				if (c->scope == DDL_CLUSTER && ((PartitionCmd *) cmd->def)->concurrent)
					refuse("DETACH PARTITION CONCURRENTLY", "Use DETACH PARTITION.");
				break;
			case AT_DetachPartitionFinalize:
				if (c->scope == DDL_CLUSTER)
					refuse("DETACH PARTITION FINALIZE", "Use DETACH PARTITION.");
				break;
			default:
				break;
		}
	}
}

/* ---- nodedb.replicate_ddl = off ---- */

static bool
drops_unique_index(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList((List *) lfirst(lc)), NoLock, true);
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(relid));
		bool		unique;

		if (!HeapTupleIsValid(tuple))
			continue;
		unique = ((Form_pg_index) GETSTRUCT(tuple))->indisunique || ((Form_pg_index) GETSTRUCT(tuple))->indisexclusion;
		ReleaseSysCache(tuple);
		if (unique)
			return true;
	}
	return false;
}

void
ddl_refuse_alone(DdlCommand *c)
{
	bool		unsafe = false;

	/* A node that applies nothing any more is mended by hand. */
	if (c->scope != DDL_CLUSTER || pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_RUNNING)
		return;
	switch (nodeTag(c->stmt))
	{
		case T_CreateStmt:
		case T_TruncateStmt:
			unsafe = true;
			break;
		case T_CreateTableAsStmt:
			unsafe = ((CreateTableAsStmt *) c->stmt)->objtype == OBJECT_TABLE;
			break;
		case T_AlterTableStmt:
			unsafe = ((AlterTableStmt *) c->stmt)->objtype == OBJECT_TABLE;
			break;
		case T_RenameStmt:
		case T_AlterObjectSchemaStmt:
		case T_AlterEnumStmt:
		case T_AlterDomainStmt:
		case T_AlterTypeStmt:
		case T_DropOwnedStmt:
			unsafe = c->relations != NIL;
			break;
		case T_IndexStmt:
			unsafe = ((IndexStmt *) c->stmt)->unique || ((IndexStmt *) c->stmt)->excludeOpNames != NIL;
			break;
		case T_DropStmt:
			unsafe = ((DropStmt *) c->stmt)->removeType == OBJECT_INDEX ? drops_unique_index((DropStmt *) c->stmt) : c->relations != NIL;
			break;
		default:
			break;
	}
	if (unsafe)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this command would make distributed tables differ between nodes"),
				 errdetail("nodedb.replicate_ddl is off."),
				 errhint("Set nodedb.replicate_ddl = on.")));
}

/* ---- values that would differ ---- */

/* Stable functions of PostgreSQL that tell something about the session or the node. */
static const char *const node_functions[] = {
	"pg_backend_pid", "inet_client_addr", "inet_client_port", "inet_server_addr", "inet_server_port", "pg_postmaster_start_time", "pg_conf_load_time",
	"txid_current", "txid_current_if_assigned", "txid_current_snapshot", "pg_current_xact_id", "pg_current_xact_id_if_assigned",
	"pg_current_snapshot", "current_setting", "current_query", "session_user",
};

static bool
is_node_function(Oid function, void *context)
{
	const char *name;

	if (function >= FirstUnpinnedObjectId)
	{
		ObjectAddress object;

		/* made by this node for itself: it may be missing elsewhere */
		ObjectAddressSet(object, ProcedureRelationId, function);
		return ddl_object_scope(&object) == DDL_NODE;
	}
	name = get_func_name(function);
	for (int i = 0; name != NULL && i < lengthof(node_functions); i++)
		if (strcmp(name, node_functions[i]) == 0)
			return true;
	return false;
}

static bool
node_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction) && ((SQLValueFunction *) node)->op == SVFOP_SESSION_USER)
		return true;
	if (check_functions_in_node(node, is_node_function, context))
		return true;
	return expression_tree_walker(node, node_walker, context);
}

static bool
differs(Node *expr)
{
	return expr != NULL && (contain_volatile_functions(expr) || node_walker(expr, NULL));
}

/* Any row in the table or below it? */
static bool
has_rows(Oid relid)
{
	ListCell   *lc;
	bool		found = false;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		TableScanDesc scan;
		TupleTableSlot *slot;
		Snapshot	snapshot;

		if (rel->rd_rel->relkind == RELKIND_RELATION && !found)
		{
			snapshot = RegisterSnapshot(GetLatestSnapshot());
			slot = table_slot_create(rel, NULL);
			scan = table_beginscan(rel, snapshot, 0, NULL);
			found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
			table_endscan(scan);
			ExecDropSingleTupleTableSlot(slot);
			UnregisterSnapshot(snapshot);
		}
		table_close(rel, NoLock);
	}
	return found;
}

static bool
is_serial(ColumnDef *column)
{
	static const char *const serials[] = {"serial", "serial2", "serial4", "serial8", "smallserial", "bigserial"};
	ListCell   *lc;

	if (column->typeName != NULL && list_length(column->typeName->names) == 1)
		for (int i = 0; i < lengthof(serials); i++)
			if (strcmp(strVal(linitial(column->typeName->names)), serials[i]) == 0)
				return true;
	foreach(lc, column->constraints)
		if (lfirst_node(Constraint, lc)->contype == CONSTR_IDENTITY)
			return true;
	return column->identity != '\0';
}

static ParseState *
parse_state(Relation rel, const char *source)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source;
	addNSItemToQuery(pstate, addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, true), true, true, true);
	return pstate;
}

/* Does the new column get values that differ? */
static bool
new_column_differs(Relation rel, ColumnDef *column, const char *source)
{
	ListCell   *lc;
	bool		has_default = column->raw_default != NULL;
	Oid			type;
	int32		typmod;

	if (is_serial(column))
		return true;
	foreach(lc, column->constraints)
	{
		Constraint *constraint = lfirst_node(Constraint, lc);

		if (constraint->contype == CONSTR_DEFAULT && constraint->raw_expr != NULL)
		{
			typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
			if (differs(cookDefault(parse_state(rel, source), copyObject(constraint->raw_expr), type, typmod, column->colname, '\0')))
				return true;
			has_default = true;
		}
		if (constraint->contype == CONSTR_GENERATED)
			has_default = true;	/* PostgreSQL insists that it is immutable */
	}
	if (has_default)
		return false;
	typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
	return differs(get_typdefault(type));
}

static bool
conversion_differs(Relation rel, ColumnDef *column, const char *source)
{
	ParseState *pstate;

	if (column->raw_default == NULL)
		return false;
	pstate = parse_state(rel, source);
	return differs(transformExpr(pstate, copyObject(column->raw_default), EXPR_KIND_ALTER_COL_TRANSFORM));
}

void
ddl_refuse_volatile(DdlCommand *c)
{
	AlterTableStmt *stmt = (AlterTableStmt *) c->stmt;
	Oid			relid;
	Relation	rel = NULL;
	ListCell   *lc;

	if (!IsA(c->stmt, AlterTableStmt) || stmt->objtype != OBJECT_TABLE)
		return;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if ((cmd->subtype != AT_AddColumn && cmd->subtype != AT_AlterColumnType) || cmd->def == NULL)
			continue;
		if (rel == NULL)
		{
			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
			/* others' commands fail by themselves, without a lock */
			if (!OidIsValid(relid) || !pg_class_ownercheck(relid, GetUserId()))
				return;
			rel = table_open(relid, AccessExclusiveLock);
			(void) find_all_inheritors(relid, AccessExclusiveLock, NULL);
		}
		if ((cmd->subtype == AT_AddColumn ? new_column_differs : conversion_differs) (rel, (ColumnDef *) cmd->def, c->source) &&
			has_rows(RelationGetRelid(rel)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 cmd->subtype == AT_AddColumn ?
					 errmsg("cannot add a column whose value differs from node to node to distributed table \"%s\", which has rows",
							RelationGetRelationName(rel)) :
					 errmsg("cannot change a column of distributed table \"%s\" by an expression whose value differs from node to node",
							RelationGetRelationName(rel)),
					 errhint("Add the column without default, fill it with UPDATE, then set the default.")));
	}
	if (rel != NULL)
		table_close(rel, NoLock);
}
