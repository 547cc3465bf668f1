/*
 * refuse.c: commands that are refused: what one node alone must not do to a distributed table, and what is not replicated.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "shmem.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "nodes/makefuncs.h"
#include "utils/syscache.h"

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
	FormData_pg_class form;
	bool		ours;
	ListCell   *lc;

	if (!nodedb_pg_class(relid, &form))
		return;
	/* temporary and unlogged ones too, and sequences: they must not become distributed by a local command */
	ours = form.relam == nodedb_am_oid() || form.relkind == RELKIND_SEQUENCE;
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

/* One that is unique, or whose values all writers name: not this node's alone. */
static bool
drops_common_index(DropStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList((List *) lfirst(lc)), NoLock, true);
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(relid));
		bool		common;

		if (!HeapTupleIsValid(tuple))
			continue;
		common = ((Form_pg_index) GETSTRUCT(tuple))->indisunique || ((Form_pg_index) GETSTRUCT(tuple))->indisexclusion || ddl_index_is_named(relid);
		ReleaseSysCache(tuple);
		if (common)
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
		case T_SecLabelStmt:
		case T_CallStmt:
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
			unsafe = ((DropStmt *) c->stmt)->removeType == OBJECT_INDEX ? drops_common_index((DropStmt *) c->stmt) : c->relations != NIL;
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
