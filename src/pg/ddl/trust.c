/*
 * trust.c: on a replica, what the origin has checked is not checked again.
 *
 * ADD CONSTRAINT and VALIDATE CONSTRAINT, of a table or of a domain, look at rows. The origin has done so at this place of the log, with everything reserved that
 * could change them, and the rows are the same here. The expression need not be: what is not immutable could refuse here what passed there, and this node would
 * stop. So a replica takes these looks out of the statement, and marks as valid what is left without one. It is faster, too, and everybody waits for it.
 *
 * What is checked again can only come out as it did at the origin: NOT NULL, unique and EXCLUDE constraints, bounds of partitions are made of values and of
 * immutable functions. Rewrites that evaluate a check of a domain, or of a column whose type changes, send the rows themselves (rewrite.c).
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "parser/parse_type.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- before the statement runs ---- */

/* Of constraints that are added, alone or in columns. */
static void
trust_added(Node *element)
{
	ListCell   *lc;

	if (element != NULL && IsA(element, ColumnDef))
		foreach(lc, ((ColumnDef *) element)->constraints)
			trust_added(lfirst(lc));
	else if (element != NULL && IsA(element, Constraint))
	{
		Constraint *c = (Constraint *) element;

		if ((c->contype == CONSTR_CHECK || c->contype == CONSTR_FOREIGN) && !c->skip_validation)
		{
			c->skip_validation = true;
			c->initially_valid = true;
		}
	}
}

/* The name that PostgreSQL gives to a check that has none. */
static char *
generated_name(Oid domain)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(domain));
	Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);
	char	   *name = ChooseConstraintName(NameStr(form->typname), NULL, "check", form->typnamespace, NIL);

	ReleaseSysCache(tuple);
	return name;
}

static bool
is_column_somewhere(Oid relid, const char *name)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, AccessExclusiveLock, NULL))
		if (get_attnum(lfirst_oid(lc), name) != InvalidAttrNumber)
			return true;
	return false;
}

/*
 * PostgreSQL evaluates the default of a new column once, rows or not: not so that of a column that gets it behind that. (Below a table that has the column
 * the one is not the other.)
 */
static AlterTableCmd *
take_default(ColumnDef *column, Oid relid)
{
	AlterTableCmd *cmd;
	ListCell   *lc;

	foreach(lc, column->constraints)
	{
		Constraint *own = lfirst_node(Constraint, lc);

		if (own->contype != CONSTR_DEFAULT || own->raw_expr == NULL || !ddl_type_differs(typenameTypeId(NULL, column->typeName)) ||
			is_column_somewhere(relid, column->colname))
			continue;
		column->constraints = foreach_delete_current(column->constraints, lc);
		cmd = makeNode(AlterTableCmd);
		cmd->subtype = AT_ColumnDefault;
		cmd->name = column->colname;
		cmd->def = own->raw_expr;
		return cmd;
	}
	return NULL;
}

/* Is something left to run? */
static bool
begin_table(AlterTableStmt *stmt, DdlTrust *t)
{
	List	   *cmds = NIL;
	ListCell   *lc;

	t->relid = stmt->objtype != OBJECT_TABLE ? InvalidOid :
		RangeVarGetRelid(stmt->relation, AlterTableGetLockLevel(stmt->cmds), stmt->missing_ok);
	if (!OidIsValid(t->relid))
		return true;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		AlterTableCmd *set_default = cmd->subtype == AT_AddColumn ? take_default((ColumnDef *) cmd->def, t->relid) : NULL;

		trust_added(cmd->def);
		if (cmd->subtype == AT_ValidateConstraint)
			t->names = lappend(t->names, cmd->name);
		else
			cmds = lappend(cmds, cmd);
		if (set_default != NULL)
			cmds = lappend(cmds, set_default);
	}
	stmt->cmds = cmds;
	return cmds != NIL;
}

static bool
begin_domain(AlterDomainStmt *stmt, DdlTrust *t)
{
	Oid			type = typenameTypeId(NULL, makeTypeNameFromNameList(stmt->typeName));
	Constraint *c = (Constraint *) stmt->def;

	if (stmt->subtype == 'V')
	{
		t->domain = type;
		t->names = list_make1(stmt->name);
		return false;
	}
	if (stmt->subtype == 'C' && c->contype == CONSTR_CHECK && !c->skip_validation)
	{
		if (c->conname == NULL)
			c->conname = generated_name(type);
		c->skip_validation = true;
		t->domain = type;
		t->names = list_make1(c->conname);
	}
	return true;
}

bool
ddl_trust_begin(Node *stmt, DdlTrust *t)
{
	*t = (DdlTrust) {0};
	if (IsA(stmt, AlterTableStmt))
		return begin_table((AlterTableStmt *) stmt, t);
	if (IsA(stmt, AlterDomainStmt))
		return begin_domain((AlterDomainStmt *) stmt, t);
	return true;
}

/* ---- behind it ---- */

static void
mark_valid(Oid constraint)
{
	Relation	catalog = table_open(ConstraintRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

	if (!form->convalidated)
	{
		form->convalidated = true;
		CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
		if (OidIsValid(form->conrelid))
			CacheInvalidateRelcacheByRelid(form->conrelid);
	}
	heap_freetuple(tuple);
	table_close(catalog, RowExclusiveLock);
}

/* As PostgreSQL: a CHECK together with those that descend from it. */
static void
mark_table(Oid relid, const char *name)
{
	Oid			constraint = get_relation_constraint_oid(relid, name, false);
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
	bool		descends = form->contype == CONSTRAINT_CHECK && !form->connoinherit;
	List	   *relids = descends ? find_all_inheritors(relid, ShareUpdateExclusiveLock, NULL) : list_make1_oid(relid);
	ListCell   *lc;

	ReleaseSysCache(tuple);
	foreach(lc, relids)
		mark_valid(get_relation_constraint_oid(lfirst_oid(lc), name, false));
}

void
ddl_trust_finish(const DdlTrust *t)
{
	ListCell   *lc;

	foreach(lc, t->names)
	{
		if (OidIsValid(t->domain))
			mark_valid(get_domain_constraint_oid(t->domain, lfirst(lc), false));
		else if (OidIsValid(t->relid))
			mark_table(t->relid, lfirst(lc));
	}
}
