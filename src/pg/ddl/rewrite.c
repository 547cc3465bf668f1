/*
 * rewrite.c: ALTER TABLE that gives rows values which differ from node to node: the origin evaluates, and the rows travel.
 *
 * random(), nextval(), clock_timestamp(), serial and identity columns, what tells something about the session: a replica that evaluated them would get
 * others. So the command travels between two things, in one transaction, under the reservation of all these tables:
 *   1. a record that empties the tables on a replica: new files, no trigger, no look at foreign keys
 *   2. the command: on empty tables it evaluates nothing and checks nothing, so all that is left of it is the schema
 *   3. every row of these tables as the command left it at the origin, as ordinary insertions
 * It costs the log what a COPY of the tables would, whatever part of a row is new.
 *
 * Invariants:
 * 1. All rows of a table that 1 empties travel, whether the command wrote them anew or not: a child may have had the column before, and a default
 *    that is only stable PostgreSQL keeps in the catalog.
 * 2. Nobody else changes rows of these tables between 1 and 3: no other session, by the reservation and ACCESS EXCLUSIVE; no function or event trigger of the
 *    command itself: refused, for its rows would be there twice.
 * 3. What the origin checked holds everywhere, for the rows are the same; unique indexes see to it by themselves. Foreign keys of other tables that
 *    the command would check again meet an empty table on a replica: refused before anything happens.
 * 4. Values of a sequence are the cluster's: those of a sequence that is there already are drawn from its leases; one that the command itself makes is
 *    PostgreSQL's own until it ends, and its row for the cluster travels with the command.
 * 5. Rows take no keys: the tables' own, ACCESS EXCLUSIVE, stand for them.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "sequence/sequence.h"
#include "tableam/writeset.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/catalog.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

List	   *ddl_rewriting = NIL;

/* A default that was made to draw from the cluster's sequence while the command runs. */
typedef struct OwnDefault
{
	char	   *column;
	Node	   *raw;			/* as the user wrote it */
} OwnDefault;

/* ---- does an expression give other values on other nodes? ---- */

/* Stable functions of PostgreSQL that tell something about the session or the node. */
static const char *const node_functions[] = {
	"pg_backend_pid", "inet_client_addr", "inet_client_port", "inet_server_addr", "inet_server_port", "pg_postmaster_start_time", "pg_conf_load_time",
	"txid_current", "txid_current_if_assigned", "txid_current_snapshot", "pg_current_xact_id", "pg_current_xact_id_if_assigned",
	"pg_current_snapshot", "current_setting", "current_query", "session_user",
};

static bool
is_node_function(Oid function, void *context)
{
	const char *name = function >= FirstUnpinnedObjectId ? NULL : get_func_name(function);

	for (int i = 0; name != NULL && i < lengthof(node_functions); i++)
		if (strcmp(name, node_functions[i]) == 0)
			return true;
	return false;
}

/* Does a value of that type have to pass a check that could say something else elsewhere? */
bool
ddl_type_differs(Oid type)
{
	Oid			element = get_element_type(type);
	DomainConstraintRef *checks;
	TupleDesc	row;
	bool		found = false;
	ListCell   *lc;

	if (OidIsValid(element))
		return ddl_type_differs(element);
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			/* those that it inherits, too; the context's end has a use for it */
			checks = palloc(sizeof(*checks));
			InitDomainConstraintRef(type, checks, CurrentMemoryContext, false);
			foreach(lc, checks->constraints)
				found |= contain_mutable_functions((Node *) ((DomainConstraintState *) lfirst(lc))->check_expr);
			return found || ddl_type_differs(getBaseType(type));
		case TYPTYPE_RANGE:
			return ddl_type_differs(get_range_subtype(type));
		case TYPTYPE_MULTIRANGE:
			return ddl_type_differs(get_multirange_range(type));
		case TYPTYPE_COMPOSITE:
			row = lookup_rowtype_tupdesc(type, -1);
			for (int i = 0; !found && i < row->natts; i++)
				found = !TupleDescAttr(row, i)->attisdropped && ddl_type_differs(TupleDescAttr(row, i)->atttypid);
			ReleaseTupleDesc(row);
			return found;
		default:
			return false;
	}
}

static bool
node_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) || IsA(node, CoerceViaIO) || IsA(node, ArrayCoerceExpr))
		if (ddl_type_differs(exprType(node)))
			return true;
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

/* A check of these tables that stands on a column whose type changes: PostgreSQL looks again. */
static bool
checks_differ(List *relids, const char *column)
{
	ListCell   *lc;

	foreach(lc, relids)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		TupleConstr *constr = RelationGetDescr(rel)->constr;
		int			attribute = get_attnum(lfirst_oid(lc), column) - FirstLowInvalidHeapAttributeNumber;
		bool		found = false;

		for (int i = 0; constr != NULL && i < constr->num_check && !found; i++)
		{
			Node	   *check = stringToNode(constr->check[i].ccbin);
			Bitmapset  *columns = NULL;

			pull_varattnos(check, 1, &columns);
			found = constr->check[i].ccvalid && contain_mutable_functions(check) &&
				(bms_is_member(attribute, columns) || bms_is_member(-FirstLowInvalidHeapAttributeNumber, columns));
		}
		table_close(rel, NoLock);
		if (found)
			return true;
	}
	return false;
}

/* ---- does it need an object of this node? ---- */

static void
refuse_if_local(Oid classid, Oid objid)
{
	ObjectAddress object;

	ObjectAddressSet(object, classid, objid);
	if (!OidIsValid(objid) || IsPinnedObject(classid, objid) || ddl_object_scope(&object) != DDL_NODE)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a replicated command cannot use an object of this node alone"),
			 errdetail("An expression uses %s.", getObjectDescription(&object, false)),
			 errhint("Make it on every node, with nodedb.replicate_ddl = on; or change the values with UPDATE.")));
}

static bool
refuse_local_function(Oid function, void *context)
{
	refuse_if_local(ProcedureRelationId, function);
	return false;
}

static void
refuse_local_constant(Const *value)
{
	if (value->constisnull)
		return;
	switch (value->consttype)
	{
		case REGCLASSOID:
			refuse_if_local(RelationRelationId, DatumGetObjectId(value->constvalue));
			break;
		case REGPROCOID:
		case REGPROCEDUREOID:
			refuse_if_local(ProcedureRelationId, DatumGetObjectId(value->constvalue));
			break;
		case REGTYPEOID:
			refuse_if_local(TypeRelationId, DatumGetObjectId(value->constvalue));
			break;
		default:
			break;
	}
}

/* A default's dependencies are looked at when it is there (touched.c); those of a conversion are written down nowhere. */
static bool
local_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, List))
		return expression_tree_walker(node, local_walker, context);
	(void) check_functions_in_node(node, refuse_local_function, NULL);
	if (IsA(node, OpExpr) || IsA(node, DistinctExpr) || IsA(node, NullIfExpr))
		refuse_if_local(OperatorRelationId, ((OpExpr *) node)->opno);
	else if (IsA(node, ScalarArrayOpExpr))
		refuse_if_local(OperatorRelationId, ((ScalarArrayOpExpr *) node)->opno);
	else if (IsA(node, Const))
		refuse_local_constant((Const *) node);
	refuse_if_local(TypeRelationId, exprType(node));
	refuse_if_local(CollationRelationId, exprCollation(node));
	return expression_tree_walker(node, local_walker, context);
}

/* ---- what a subcommand evaluates ---- */

static ParseState *
parse_state(Relation rel, const char *source)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source;
	addNSItemToQuery(pstate, addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, true), true, true, true);
	return pstate;
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

/* The constraint that holds the column's own default; NULL: none. */
static Constraint *
default_of(ColumnDef *column)
{
	ListCell   *lc;

	foreach(lc, column->constraints)
		if (lfirst_node(Constraint, lc)->contype == CONSTR_DEFAULT && lfirst_node(Constraint, lc)->raw_expr != NULL)
			return lfirst_node(Constraint, lc);
	return NULL;
}

static bool
is_generated(ColumnDef *column)
{
	ListCell   *lc;

	foreach(lc, column->constraints)
		if (lfirst_node(Constraint, lc)->contype == CONSTR_GENERATED)
			return true;		/* PostgreSQL insists that it is immutable */
	return false;
}

static Node *
new_column_value(Relation rel, ColumnDef *column, const char *source)
{
	Constraint *own = default_of(column);
	Oid			type;
	int32		typmod;

	if (is_serial(column) || is_generated(column))
		return NULL;
	typenameTypeIdAndMod(NULL, column->typeName, &type, &typmod);
	if (own == NULL)
		return get_typdefault(type);
	return cookDefault(parse_state(rel, source), copyObject(own->raw_expr), type, typmod, column->colname, '\0');
}

static Node *
converted_value(Relation rel, const char *name, ColumnDef *column, const char *source)
{
	ParseState *pstate = parse_state(rel, source);
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	Oid			type;
	int32		typmod;
	Node	   *value;

	if (attnum <= 0)
		return NULL;			/* PostgreSQL says it */
	if (column->raw_default != NULL)
		value = transformExpr(pstate, copyObject(column->raw_default), EXPR_KIND_ALTER_COL_TRANSFORM);
	else
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

		value = (Node *) makeVar(1, attnum, att->atttypid, att->atttypmod, att->attcollation, 0);
	}
	typenameTypeIdAndMod(pstate, column->typeName, &type, &typmod);
	return coerce_to_target_type(pstate, value, exprType(value), type, typmod, COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
}

/* Is it one that may give the rows a new value? */
static bool
gives_values(AlterTableCmd *cmd)
{
	return cmd->def != NULL && (cmd->subtype == AT_AddColumn || cmd->subtype == AT_AlterColumnType);
}

/* IF NOT EXISTS, and it exists. */
static bool
does_nothing(Relation rel, AlterTableCmd *cmd)
{
	return cmd->subtype == AT_AddColumn && cmd->missing_ok && get_attnum(RelationGetRelid(rel), ((ColumnDef *) cmd->def)->colname) != InvalidAttrNumber;
}

static Node *
value_of(Relation rel, AlterTableCmd *cmd, const char *source)
{
	if (cmd->subtype == AT_AddColumn)
		return new_column_value(rel, (ColumnDef *) cmd->def, source);
	return converted_value(rel, cmd->name, (ColumnDef *) cmd->def, source);
}

/* ---- which tables' rows travel ---- */

static bool
has_rows(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	bool		found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return found;
}

/* Tables of a type, which ALTER TYPE with CASCADE changes; classify.c has found them. */
static List *
tables_of_type(DdlCommand *c, Oid relid)
{
	Oid			type = get_rel_type_id(relid);
	List	   *tables = NIL;
	FormData_pg_class form;
	ListCell   *lc;

	foreach(lc, c->relations)
		if (nodedb_pg_class(lfirst_oid(lc), &form) && form.reloftype == type)
			tables = list_concat_unique_oid(tables, find_all_inheritors(lfirst_oid(lc), AccessExclusiveLock, NULL));
	return tables;
}

/* Those of them, if any of them holds a row. */
static List *
tables_with_rows(List *all)
{
	List	   *tables = NIL;
	bool		any = false;
	ListCell   *lc;

	foreach(lc, all)
		if (nodedb_relid_is_distributed(lfirst_oid(lc)))
		{
			tables = lappend_oid(tables, lfirst_oid(lc));
			any = any || has_rows(lfirst_oid(lc));
		}
	return any ? tables : NIL;
}

/* A foreign key of another table on a column whose type changes would be checked again, against a table that is empty on replicas. */
static void
refuse_referenced(List *tables, const char *column)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
		AttrNumber	referenced[INDEX_MAX_KEYS];
		AttrNumber	referencing[INDEX_MAX_KEYS];
		Oid			operators[INDEX_MAX_KEYS];
		int			n;

		if (form->contype != CONSTRAINT_FOREIGN || !list_member_oid(tables, form->confrelid) || list_member_oid(tables, form->conrelid))
			continue;
		DeconstructFkConstraintRow(tuple, &n, referencing, referenced, operators, NULL, NULL, NULL, NULL);
		for (int i = 0; i < n; i++)
			if (strcmp(get_attname(form->confrelid, referenced[i], false), column) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot change the type of a column that foreign keys refer to in a command whose values differ from node to node"),
						 errdetail("Column \"%s\" is referred to by foreign key \"%s\" of table \"%s\".", column, NameStr(form->conname), get_rel_name(form->conrelid)),
						 errhint("Change the type by an expression that is not volatile, in a command of its own; or drop the foreign key before and add it again.")));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* All whose rows the command may give values. */
static List *
tables_of(DdlCommand *c, Oid relid)
{
	AlterTableStmt *stmt = castNode(AlterTableStmt, c->stmt);

	if (stmt->objtype == OBJECT_TYPE)
		return tables_of_type(c, relid);
	return stmt->relation->inh ? find_all_inheritors(relid, AccessExclusiveLock, NULL) : list_make1_oid(relid);
}

/* ... beside the value itself. */
static bool
command_differs(DdlCommand *c, Relation rel, AlterTableCmd *cmd, ColumnDef *column)
{
	if (cmd->subtype == AT_AddColumn && is_serial(column))
		return true;
	if (cmd->subtype == AT_AlterColumnType && checks_differ(tables_of(c, RelationGetRelid(rel)), cmd->name))
		return true;
	return ddl_type_differs(typenameTypeId(NULL, column->typeName));
}

void
ddl_rewrite_look(DdlCommand *c)
{
	AlterTableStmt *stmt = (AlterTableStmt *) c->stmt;
	Oid			relid;
	Relation	rel = NULL;
	bool		differ = false;
	ListCell   *lc;

	if (!IsA(c->stmt, AlterTableStmt) || (stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_TYPE))
		return;
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		Node	   *value;

		if (!gives_values(cmd))
			continue;
		if (rel == NULL)
		{
			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
			/* others' commands fail by themselves, without a lock */
			if (!OidIsValid(relid) || !pg_class_ownercheck(relid, GetUserId()))
				return;
			rel = relation_open(relid, AccessExclusiveLock);
		}
		if (does_nothing(rel, cmd))
			continue;
		value = value_of(rel, cmd, c->source);
		(void) local_walker(value, NULL);
		differ |= differs(value) || command_differs(c, rel, cmd, (ColumnDef *) cmd->def);
	}
	if (differ)
		c->rewritten = tables_with_rows(tables_of(c, RelationGetRelid(rel)));
	foreach(lc, c->rewritten)
		ddl_rewrite_check(lfirst_oid(lc));
	if (c->rewritten != NIL)
		foreach(lc, stmt->cmds)
			if (lfirst_node(AlterTableCmd, lc)->subtype == AT_AlterColumnType)
				refuse_referenced(c->rewritten, lfirst_node(AlterTableCmd, lc)->name);
	if (rel != NULL)
		relation_close(rel, NoLock);
}

/* ---- before it runs ---- */

/* PostgreSQL's rewrite calls its own nextval(): the command gets calls of ours, in place of those that its text holds. */
static void
draw_from_the_cluster(DdlCommand *c)
{
	AlterTableStmt *stmt = castNode(AlterTableStmt, c->stmt);
	Relation	rel = relation_openrv(stmt->relation, AccessExclusiveLock);
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		ColumnDef  *column;
		Constraint *own;

		if (!gives_values(cmd) || does_nothing(rel, cmd))
			continue;
		column = (ColumnDef *) cmd->def;
		own = cmd->subtype == AT_AddColumn ? default_of(column) : NULL;
		if (own != NULL)
		{
			OwnDefault *as_written = palloc(sizeof(OwnDefault));

			as_written->column = column->colname;
			as_written->raw = copyObject(own->raw_expr);
			if (sequence_raw_calls(own->raw_expr))
				c->own_defaults = lappend(c->own_defaults, as_written);
		}
		else if (cmd->subtype == AT_AlterColumnType && column->raw_default != NULL)
			(void) sequence_raw_calls(column->raw_default);
		if (sequence_draws_locally(value_of(rel, cmd, c->source)))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot draw from a sequence for the rows of distributed table \"%s\" by a default that is not the column's own",
							RelationGetRelationName(rel)),
					 errhint("Write nextval() into the default of the column; or add the column without default, fill it with UPDATE, then set the default.")));
	}
	relation_close(rel, NoLock);
}

static void
add_name(Oid relid, List **schemas, List **names)
{
	*schemas = lappend(*schemas, get_namespace_name(get_rel_namespace(relid)));
	*names = lappend(*names, get_rel_name(relid));
}

void
ddl_rewrite_begin(DdlCommand *c)
{
	List	   *schemas = NIL;
	List	   *names = NIL;
	ListCell   *lc;

	draw_from_the_cluster(c);
	foreach(lc, c->rewritten)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);

		writeset_emptied(rel);
		add_name(lfirst_oid(lc), &schemas, &names);
		table_close(rel, NoLock);
	}
	ddl_record_names(DDL_RECORD_EMPTIED, schemas, names);
	ddl_rewriting = list_concat_copy(ddl_rewriting, c->rewritten);
}

void
ddl_rewrite_check(Oid relid)
{
	if (list_member_oid(ddl_rewriting, relid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot change table \"%s\" from within the command that rewrites it", get_rel_name(relid)),
				 errdetail("The command gives its rows values that differ from node to node, so they travel as a whole."),
				 errhint("Change them behind the command.")));
}

/* ---- behind it ---- */

static void
set_default_as_written(DdlCommand *c, ObjectAddress of)
{
	char	   *column = OidIsValid(of.objectId) ? get_attname(of.objectId, of.objectSubId, true) : NULL;
	ListCell   *lc;

	foreach(lc, c->own_defaults)
	{
		OwnDefault *own = lfirst(lc);
		AlterTableCmd *cmd;

		if (column == NULL || strcmp(own->column, column) != 0)
			continue;
		cmd = makeNode(AlterTableCmd);
		cmd->subtype = AT_ColumnDefault;
		cmd->name = column;
		cmd->def = copyObject(own->raw);
		AlterTableInternal(of.objectId, list_make1(cmd), false);
		CommandCounterIncrement();
	}
}

static void
finish_created(DdlCommand *c)
{
	List	   *created = list_copy(c->created);	/* setting a default makes one */
	ListCell   *lc;

	EventTriggerInhibitCommandCollection();
	foreach(lc, created)
	{
		ObjectAddress *object = lfirst(lc);

		if (object->classId == AttrDefaultRelationId)
			set_default_as_written(c, GetAttrDefaultColumnAddress(object->objectId));
		else if (object->classId == RelationRelationId && object->objectSubId == 0 && get_rel_relkind(object->objectId) == RELKIND_SEQUENCE)
			sequence_was_used_alone(object->objectId);
	}
	EventTriggerUndoInhibitCommandCollection();
}

void
ddl_ship_rows(Oid relid)
{
	Relation	rel = try_table_open(relid, NoLock);	/* an event trigger may have dropped it */
	Snapshot	snapshot;
	TupleTableSlot *slot;
	TableScanDesc scan;
	Oid			user;
	int			security;
	int			level;

	if (rel == NULL)
		return;
	/* Whoever runs the command may have more rights than the owner, whose functions in indexes are looked into, and evaluated where their arguments are constants. */
	level = NewGUCNestLevel();
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(rel->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(rel, NULL);
	scan = table_beginscan_strat(rel, snapshot, 0, NULL, true, false);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		writeset_rewritten(rel, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	SetUserIdAndSecContext(user, security);
	AtEOXact_GUC(false, level);
}

void
ddl_rewrite_finish(DdlCommand *c)
{
	ListCell   *lc;

	finish_created(c);
	CommandCounterIncrement();
	foreach(lc, c->rewritten)
		ddl_ship_rows(lfirst_oid(lc));
}

/* ---- on a replica ---- */

void
ddl_empty_table(Oid relid)
{
	ReindexParams params = {0};
	Relation	rel = table_open(relid, AccessExclusiveLock);

	RelationSetNewRelfilenode(rel, rel->rd_rel->relpersistence);
	if (OidIsValid(rel->rd_rel->reltoastrelid))
	{
		Relation	toast = table_open(rel->rd_rel->reltoastrelid, AccessExclusiveLock);

		RelationSetNewRelfilenode(toast, toast->rd_rel->relpersistence);
		table_close(toast, NoLock);
	}
	pgstat_count_truncate(rel);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	(void) reindex_relation(relid, REINDEX_REL_PROCESS_TOAST, &params);
	CommandCounterIncrement();
}

void
ddl_rewrite_empty(const DdlRecord *r)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < r->n_pairs; i++)
	{
		Oid			relid = get_relname_relid(r->values[i], get_namespace_oid(r->keys[i], false));

		if (!nodedb_relid_is_distributed(relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("distributed table \"%s.%s\" does not exist", r->keys[i], r->values[i])));
		ddl_empty_table(relid);
	}
	PopActiveSnapshot();
}
