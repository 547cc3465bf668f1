/*
 * shards.c: nodedb.create_distributed_table() and its like: a table's rows are spread over data groups, as PostgreSQL's own partitions by hash.
 *
 * The command that travels is CALL nodedb.shard_table('schema.table', 'column', '{groups, one a shard}'); with nulls the table is one again. It goes through the log
 * as any schema change, and each node runs it on its own rows, at the same place of the log:
 *   1. checks: what partitions cannot keep is refused
 *   2. is it partitioned already: its rows are gathered in a table, the partitions are detached and dropped, the catalogs say that it is a plain table again
 *   3. the catalogs say that it is partitioned (shards_catalog.c); PostgreSQL makes the partitions, with indexes, constraints and triggers
 *   4. the rows are spread over them (shards_rows.c)
 * The table keeps its oid, and all that hangs on it. Where this node has prepared the files of the result (shards_online.h), these are taken instead, and no row moves.
 *
 * That rows move on each node instead of travelling from the origin costs the log nothing, and needs no more than what all replication rests on: that the nodes have
 * the same rows at one place of the log, and that PostgreSQL's hash functions give the same everywhere (as they do for the certification keys).
 *
 * Nothing is written down about shards but PostgreSQL's partitions and the groups of these (placement.h): a table that is partitioned by hash by other means is
 * as good, and a dump restores it.
 *
 * As with PostgreSQL's own rewriting forms of ALTER TABLE, a transaction whose snapshot is older finds the table empty.
 */
#include "ddl.h"
#include "shards.h"
#include "shards_online.h"

#include "placement.h"
#include "session/session.h"
#include "shmem.h"
#include "stop_event.h"
#include "tableam/apply.h"
#include "tableam/writeset_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/seclabel.h"
#include "commands/tablecmds.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#define SHARDS_MAX 1024
#define SHARDS_A_GROUP 4		/* by default: groups that come later get some, too */
#define SHARDS_DEFAULT_MIN 8
#define LOCK_TRIES 100			/* then as PostgreSQL does it */
#define LOCK_WAIT_MS "200"

PG_FUNCTION_INFO_V1(nodedb_create_distributed_table);
PG_FUNCTION_INFO_V1(nodedb_undistribute_table);
PG_FUNCTION_INFO_V1(nodedb_change_shard_count);
PG_FUNCTION_INFO_V1(nodedb_shard_table);

/* What a table is to become: partitions by the hash of a column, one for each of `groups`; no groups: one table. */
typedef struct Sharding
{
	Oid			relid;
	char	   *column;			/* NULL: one table */
	AttrNumber	attnum;
	int			n_shards;
	NdGroupId  *groups;
} Sharding;

/* ---- the shards that a table has ---- */

/* Oids of its partitions by remainder, when it is partitioned by the hash of one column into partitions of one modulus that are all distributed tables; else NULL. */
static Oid *
shards_of(Oid relid, int *n, AttrNumber *column)
{
	Relation	rel = table_open(relid, AccessShareLock);
	PartitionKey key;
	PartitionDesc desc;
	Oid		   *shards = NULL;

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		key = RelationGetPartitionKey(rel);
		desc = RelationGetPartitionDesc(rel, true);
		*n = desc->nparts;
		/* as many partitions as the largest modulus says: they have all remainders of this one modulus */
		if (key->strategy == PARTITION_STRATEGY_HASH && key->partnatts == 1 && key->partattrs[0] > 0 && desc->nparts > 0 &&
			get_hash_partition_greatest_modulus(desc->boundinfo) == desc->nparts)
		{
			*column = key->partattrs[0];
			shards = palloc(desc->nparts * sizeof(Oid));
			for (int i = 0; shards != NULL && i < desc->nparts; i++)
			{
				shards[i] = desc->oids[desc->boundinfo->indexes[i]];
				if (!nodedb_relid_is_distributed(shards[i]))
					shards = NULL;
			}
		}
	}
	table_close(rel, NoLock);
	return shards;
}

static Oid *
shards_required(Oid relid, int *n, AttrNumber *column)
{
	Oid		   *shards = shards_of(relid, n, column);

	if (shards == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is not distributed over shards", get_rel_name(relid)),
				 errdetail("Shards are partitions by the hash of one column, of one modulus, that are distributed tables."),
				 errhint("See nodedb.shards and nodedb.create_distributed_table().")));
	return shards;
}

/* ---- what partitions cannot keep ---- */

static void pg_attribute_noreturn()
refuse(Oid relid, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table \"%s\" cannot be distributed over shards", get_rel_name(relid)),
			 errdetail_internal("%s", detail),
			 hint == NULL ? 0 : errhint("%s", hint)));
}

static void
check_relation(const Sharding *p)
{
	FormData_pg_class form;

	if (!nodedb_pg_class(p->relid, &form))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", p->relid)));
	if (!pg_class_ownercheck(p->relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, NameStr(form.relname));
	if ((form.relkind != RELKIND_RELATION && form.relkind != RELKIND_PARTITIONED_TABLE) || ddl_relation_scope(p->relid) != DDL_CLUSTER)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of the access method nodedb", NameStr(form.relname)),
				 errhint("Make a new one with CREATE TABLE ... USING nodedb AS TABLE ...")));
	if (form.relnamespace == nodedb_schema_oid() || OidIsValid(getExtensionOfObject(RelationRelationId, p->relid)))
		refuse(p->relid, "It belongs to an extension.", NULL);
	if (form.relispartition)
		refuse(p->relid, "It is a partition itself.", "Distribute the table that it is a partition of, or detach it.");
	if (form.relkind == RELKIND_RELATION && (has_superclass(p->relid) || has_subclass(p->relid)))
		refuse(p->relid, "Tables inherit from it, or it inherits from one.", "Partitions take the place of inheritance.");
}

static void
check_column(Sharding *p)
{
	HeapTuple	tuple = SearchSysCacheAttName(p->relid, p->column);
	FormData_pg_attribute att;

	if (!HeapTupleIsValid(tuple) || ((Form_pg_attribute) GETSTRUCT(tuple))->attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", p->column, get_rel_name(p->relid))));
	att = *(Form_pg_attribute) GETSTRUCT(tuple);
	ReleaseSysCache(tuple);
	p->attnum = att.attnum;
	if (att.attgenerated != '\0')
		refuse(p->relid, psprintf("Column \"%s\" is a generated one.", p->column), NULL);
	if (!OidIsValid(GetDefaultOpClass(att.atttypid, HASH_AM_OID)))
		refuse(p->relid, psprintf("Type %s of column \"%s\" has no hash.", format_type_be(att.atttypid), p->column), NULL);
	if (value_holds_oids(getBaseType(att.atttypid)))
		refuse(p->relid, psprintf("The hash of a value of type %s, of column \"%s\", differs from node to node.", format_type_be(att.atttypid), p->column),
			   "Use a column of another type, for instance text.");
	if (OidIsValid(att.attcollation) && !get_collation_isdeterministic(att.attcollation))
		refuse(p->relid, psprintf("The collation of column \"%s\" is not deterministic.", p->column), NULL);
}

static bool
index_has_column(Form_pg_index index, AttrNumber column)
{
	for (int i = 0; i < index->indnkeyatts; i++)
		if (index->indkey.values[i] == column)
			return true;
	return false;
}

static void
check_indexes(const Sharding *p)
{
	Relation	rel = table_open(p->relid, AccessShareLock);
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, lfirst_oid(lc));
		Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
		char	   *name = get_rel_name(lfirst_oid(lc));

		if (index->indisexclusion)
			refuse(p->relid, psprintf("Constraint \"%s\" is an exclusion constraint.", name), NULL);
		if (index->indisunique && !index_has_column(index, p->attnum))
			refuse(p->relid, psprintf("Unique index \"%s\" does not contain column \"%s\": it could not be unique over all shards.", name, p->column),
				   "Distribute by a column that is in every primary key and unique index, or make it a part of them.");
		if (!index->indisvalid)
			refuse(p->relid, psprintf("Index \"%s\" is not valid.", name), "Drop it, or build it anew.");
		ReleaseSysCache(tuple);
	}
	table_close(rel, NoLock);
}

static void
check_constraints(const Sharding *p)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(p->relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype == CONSTRAINT_CHECK && form->connoinherit)
			refuse(p->relid, psprintf("Constraint \"%s\" is one with NO INHERIT.", NameStr(form->conname)), "Drop it and add it again without NO INHERIT.");
		if (form->contype == CONSTRAINT_FOREIGN && !form->convalidated)
			refuse(p->relid, psprintf("Foreign key \"%s\" is not valid.", NameStr(form->conname)), "Run ALTER TABLE ... VALIDATE CONSTRAINT before.");
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static void
check_triggers(const Sharding *p)
{
	Relation	rel = table_open(p->relid, AccessShareLock);

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) && (trigger->tgoldtable != NULL || trigger->tgnewtable != NULL))
			refuse(p->relid, psprintf("Trigger \"%s\" is a row trigger with a transition table.", trigger->tgname), "Make it a statement trigger.");
	}
	table_close(rel, NoLock);
}

/* A node may have the index, as one of its own, and others not yet. */
static void
check_builds(void *arg)
{
	const Sharding *p = arg;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(get_namespace_name(get_rel_namespace(p->relid))), CStringGetTextDatum(get_rel_name(p->relid))};

	if (SPI_execute_with_args("SELECT FROM nodedb.index_builds WHERE schema = $1 AND table_name = $2", 2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not read nodedb.index_builds");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("an index of table \"%s\" is being built or removed", get_rel_name(p->relid)),
				 errhint("See nodedb.index_builds.")));
}

static char *
shard_name(Oid relid, int shard)
{
	return makeObjectName(get_rel_name(relid), psprintf("%d", shard), NULL);
}

/* But for those that the table has now. */
static void
check_names(const Sharding *p)
{
	Oid			schema = get_rel_namespace(p->relid);

	for (int i = 0; i < p->n_shards; i++)
	{
		char	   *name = shard_name(p->relid, i);
		Oid			there = get_relname_relid(name, schema);

		if (OidIsValid(there) && !(get_rel_relispartition(there) && get_partition_parent(there, true) == p->relid))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("relation \"%s\" already exists", name),
					 errdetail("A shard of table \"%s\" would have this name.", get_rel_name(p->relid))));
	}
}

/* Raises what is wrong with it; fills in what the names mean. */
static void
check(Sharding *p)
{
	AttrNumber	column;
	int			n;

	check_relation(p);
	if (p->column == NULL || get_rel_relkind(p->relid) == RELKIND_PARTITIONED_TABLE)
		(void) shards_required(p->relid, &n, &column);
	if (p->column == NULL)
		return;
	if (p->n_shards < 1 || p->n_shards > SHARDS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of shards must be between 1 and %d", SHARDS_MAX)));
	for (int i = 0; i < p->n_shards && !apply_active; i++)
		if (p->groups[i] < 1 || p->groups[i] > placement_groups())
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("there is no data group %u in this cluster", p->groups[i]),
					 errhint("See nodedb.groups.")));
	check_column(p);
	check_indexes(p);
	check_constraints(p);
	check_triggers(p);
	if (!apply_active)
		session_internal(check_builds, p);
	check_names(p);
}

/* ---- making the partitions ---- */

/* A command of this one's own, that nobody sees as one. */
static void
run_part(const char *text)
{
	List	   *queries = pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, pg_parse_query(text)), text, NULL, 0, NULL);
	PlannedStmt *pstmt = linitial_node(PlannedStmt, pg_plan_queries(queries, text, 0, NULL));

	ProcessUtility(pstmt, text, false, PROCESS_UTILITY_SUBCOMMAND, NULL, NULL, None_Receiver, NULL);
	CommandCounterIncrement();
}

static const char *
qualified(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

static void
append_options(StringInfo out, const char *namespace, Datum options)
{
	ListCell   *lc;

	if (options == (Datum) 0)
		return;
	foreach(lc, untransformRelOptions(options))
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		appendStringInfo(out, "%s%s%s", out->len > 0 ? ", " : "", namespace, quote_identifier(option->defname));
		if (option->arg != NULL)
			appendStringInfo(out, " = %s", quote_literal_cstr(defGetString(option)));
	}
}

/* WITH of the partitions: a partitioned table has no options itself. */
static char *
options_of(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			toast = rel->rd_rel->reltoastrelid;
	StringInfoData out;

	table_close(rel, NoLock);
	initStringInfo(&out);
	append_options(&out, "", ddl_shards_options(relid));
	if (OidIsValid(toast))
		append_options(&out, "toast.", ddl_shards_options(toast));
	return out.len == 0 ? "" : psprintf(" WITH (%s)", out.data);
}

/* Partitions do not take over what tells the planner how much to look at: PostgreSQL hands it down when it is set. */
static void
hand_statistics_down(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(rel));

	table_close(rel, NoLock);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped && TupleDescAttr(desc, i)->attstattarget >= 0)
			run_part(psprintf("ALTER TABLE %s ALTER COLUMN %s SET STATISTICS %d", qualified(relid), quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)),
							  TupleDescAttr(desc, i)->attstattarget));
}

/* By which its rows are found, when it has no primary key. */
static void
hand_identity_down(Oid relid, Oid shard)
{
	Relation	rel = table_open(relid, NoLock);
	Relation	part;
	Oid			index = rel->rd_rel->relreplident == REPLICA_IDENTITY_INDEX ? RelationGetReplicaIndex(rel) : InvalidOid;

	table_close(rel, NoLock);
	if (!OidIsValid(index))
		return;
	part = table_open(shard, NoLock);
	index = index_get_partition(part, index);
	table_close(part, NoLock);
	run_part(psprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", qualified(shard), quote_identifier(get_rel_name(index))));
}

static Oid *
make_partitions(const Sharding *p, const char *options)
{
	Oid			schema = get_rel_namespace(p->relid);
	Oid		   *shards = palloc(p->n_shards * sizeof(Oid));
	FormData_pg_class form;

	if (!nodedb_pg_class(p->relid, &form))
		elog(ERROR, "cache lookup failed for relation %u", p->relid);
	for (int i = 0; i < p->n_shards; i++)
	{
		char	   *name = shard_name(p->relid, i);
		ObjectAddress object;

		CHECK_FOR_INTERRUPTS();
		run_part(psprintf("CREATE TABLE %s PARTITION OF %s FOR VALUES WITH (MODULUS %d, REMAINDER %d) USING nodedb%s",
						  quote_qualified_identifier(get_namespace_name(schema), name), qualified(p->relid), p->n_shards, i, options));
		shards[i] = get_relname_relid(name, schema);
		ATExecChangeOwner(shards[i], form.relowner, true, AccessExclusiveLock);
		ObjectAddressSet(object, RelationRelationId, shards[i]);
		if (p->groups[i] != PLACEMENT_DEFAULT)
			SetSecurityLabel(&object, PLACEMENT_PROVIDER, placement_label(p->groups[i]));
		CommandCounterIncrement();
		hand_identity_down(p->relid, shards[i]);
	}
	return shards;
}

static void
drop(Oid relid)
{
	ObjectAddress object;

	ObjectAddressSet(object, RelationRelationId, relid);
	performDeletion(&object, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();
}

/* Where the rows are taken from. */
typedef enum Rows
{
	ROWS_HERE,					/* the table has them */
	ROWS_PREPARED,				/* the builder's tables do */
	ROWS_LEFT					/* nowhere: the next step takes those of the builder */
} Rows;

static void
distribute(const Sharding *p, Rows rows)
{
	char	   *options = options_of(p->relid);
	Oid			heap = ddl_shards_to_partitioned(p->relid, p->attnum);
	Oid		   *shards = make_partitions(p, options);
	Relation	rel;

	hand_statistics_down(p->relid);
	if (rows == ROWS_PREPARED)
		ddl_shards_take(p->relid, shards, p->n_shards);
	else
		ddl_shards_spread(p->relid, heap, shards, p->n_shards);
	drop(heap);
	RemoveStatistics(p->relid, 0);
	rel = table_open(p->relid, NoLock);
	RelationClearMissing(rel);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static void
undistribute(Oid relid, Rows rows)
{
	int			n;
	AttrNumber	column;
	Oid		   *shards = shards_required(relid, &n, &column);
	Oid			heap = ddl_shards_make_heap(relid, shards[0]);

	if (rows == ROWS_HERE)
		ddl_shards_gather(relid, shards, n, heap);
	for (int i = 0; i < n; i++)
	{
		/* Foreign keys of other tables refer to the shard as well: PostgreSQL's DETACH unties them, when none of its rows is referred to. */
		ddl_empty_table(shards[i]);
		run_part(psprintf("ALTER TABLE %s DETACH PARTITION %s", qualified(relid), qualified(shards[i])));
		drop(shards[i]);
	}
	ddl_shards_to_plain(relid, heap);
	drop(heap);
	if (rows == ROWS_PREPARED)
		ddl_shards_take(relid, &relid, 1);
	else if (rows == ROWS_HERE)
		ddl_shards_build_indexes(relid);
	RemoveStatistics(relid, 0);
	CommandCounterIncrement();
}

/* ---- the command that travels ---- */

bool
ddl_is_sharding(CallStmt *stmt)
{
	return stmt->funcexpr != NULL && get_func_namespace(stmt->funcexpr->funcid) == nodedb_schema_oid() &&
		strcmp(get_func_name(stmt->funcexpr->funcid), "shard_table") == 0;
}

/* The table, and what foreign keys of its partitions lock: both tables of each; those that refer to it before it, as their writers lock them. */
static List *
tables_locked(Oid relid)
{
	List	   *tables = list_make1_oid(relid);
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype == CONSTRAINT_FOREIGN && form->conrelid == relid)
			tables = list_append_unique_oid(tables, form->confrelid);
		else if (form->contype == CONSTRAINT_FOREIGN && form->confrelid == relid)
			tables = list_member_oid(tables, form->conrelid) ? tables : lcons_oid(form->conrelid, tables);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return tables;
}

List *
ddl_sharding_tables(CallStmt *stmt)
{
	Const	   *name = linitial(stmt->funcexpr->args);
	Oid			relid;
	ListCell   *lc;

	foreach(lc, stmt->funcexpr->args)
		if (!IsA(lfirst(lc), Const))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("nodedb.shard_table() takes constants"),
					 errhint("Use nodedb.create_distributed_table().")));
	relid = name->constisnull ? InvalidOid : RangeVarGetRelid(makeRangeVarFromNameList(textToQualifiedNameList(DatumGetTextPP(name->constvalue))), NoLock, true);
	return OidIsValid(relid) ? tables_locked(relid) : NIL;
}

/* keep: its locks stay, too. False: it has failed with this SQLSTATE; other errors are raised again. */
static bool
in_subtransaction(void (*run) (void *arg), void *arg, bool keep, int can_fail)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		run(arg);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL && error->sqlerrcode != can_fail)
		ReThrowError(error);
	return error == NULL;
}

typedef struct Locks
{
	Oid			relid;
	List	   *tables;
	LOCKMODE	mode;			/* of the others */
} Locks;

static LOCKMODE
mode_of(const Locks *l, Oid relid)
{
	return relid == l->relid ? AccessExclusiveLock : l->mode;
}

/* Each within LOCK_WAIT_MS. */
static void
lock_all(void *arg)
{
	const Locks *l = arg;
	int			level = NewGUCNestLevel();
	ListCell   *lc;

	(void) set_config_option("lock_timeout", LOCK_WAIT_MS, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	foreach(lc, l->tables)
		LockRelationOid(lfirst_oid(lc), mode_of(l, lfirst_oid(lc)));
	AtEOXact_GUC(true, level);
}

/*
 * Writers lock a table and then, for a foreign key, the other, in either direction. Whoever waits for one while he holds the other makes some of them hear of a deadlock, unless he gives up before
 * they look for one (deadlock_timeout). Of writers of this node only: an applier has the guard.
 */
static void
lock_without_deadlock(Oid relid)
{
	Locks		l = {relid, tables_locked(relid), get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ? AccessExclusiveLock : ShareRowExclusiveLock};
	ListCell   *lc;

	if (list_length(l.tables) == 1)
		return;
	for (int tries = 0; tries < LOCK_TRIES && !in_subtransaction(lock_all, &l, true, ERRCODE_LOCK_NOT_AVAILABLE); tries++)
		foreach(lc, l.tables)
			ddl_wait_for_holders(lfirst_oid(lc), mode_of(&l, lfirst_oid(lc)));
}

static void
read_groups(Sharding *p, ArrayType *array)
{
	Datum	   *groups;
	bool	   *nulls;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &groups, &nulls, &p->n_shards);
	p->groups = palloc(Max(p->n_shards, 1) * sizeof(NdGroupId));
	for (int i = 0; i < p->n_shards; i++)
		p->groups[i] = nulls[i] || DatumGetInt32(groups[i]) < 0 ? 0 : (NdGroupId) DatumGetInt32(groups[i]);
}

/* CALL nodedb.shard_table(table, column, groups): here, on this node; the hook sees to the others. */
Datum
nodedb_shard_table(PG_FUNCTION_ARGS)
{
	Sharding	p = {0};
	RangeVar   *name;
	Relation	rel;
	Oid			user;
	int			context;
	int			level;
	bool		prepared;
	TimestampTz locked;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) != PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("table, column and groups must not be null")));
	name = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	if (!PG_ARGISNULL(1))
	{
		p.column = NameStr(*PG_GETARG_NAME(1));
		read_groups(&p, PG_GETARG_ARRAYTYPE_P(2));
	}
	p.relid = RangeVarGetRelidExtended(name, NoLock, 0, RangeVarCallbackOwnsRelation, NULL);
	prepared = ddl_shards_yield(p.relid, p.column, p.column == NULL ? 1 : p.n_shards);
	if (!apply_active)
		lock_without_deadlock(p.relid);
	p.relid = RangeVarGetRelidExtended(name, AccessExclusiveLock, 0, RangeVarCallbackOwnsRelation, NULL);
	locked = GetCurrentTimestamp();
	if (!apply_active && !ddl_is_running())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("shards exist only in the replicated database of a cluster's node, and are changed on all nodes")));
	check(&p);
	rel = table_open(p.relid, NoLock);
	CheckTableNotInUse(rel, "nodedb.shard_table()");
	table_close(rel, NoLock);
	(void) find_all_inheritors(p.relid, AccessExclusiveLock, NULL);
	prepared = prepared && ddl_shards_finish();
	STOP_EVENT("shards-taken");

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("default_tablespace", "", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (get_rel_relkind(p.relid) == RELKIND_PARTITIONED_TABLE)
		undistribute(p.relid, !prepared ? ROWS_HERE : p.column == NULL ? ROWS_PREPARED : ROWS_LEFT);
	if (p.column != NULL)
		distribute(&p, prepared ? ROWS_PREPARED : ROWS_HERE);
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(user, context);
	ereport(LOG,
			(errmsg("nodedb: table \"%s\" has %s, %ld ms after it was locked", get_rel_name(p.relid),
					prepared ? "taken the files that were prepared" : "been copied under its lock", TimestampDifferenceMilliseconds(locked, GetCurrentTimestamp())),
			 errhidestmt(true)));
	PG_RETURN_NULL();
}

/* ---- what users call ---- */

static void
issue(const Sharding *p)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "CALL nodedb.shard_table(%s, ", quote_literal_cstr(qualified(p->relid)));
	if (p->column == NULL)
		appendStringInfoString(&text, "NULL, NULL)");
	else
	{
		appendStringInfo(&text, "%s, '{", quote_literal_cstr(p->column));
		for (int i = 0; i < p->n_shards; i++)
			appendStringInfo(&text, "%s%u", i > 0 ? "," : "", p->groups[i]);
		appendStringInfoString(&text, "}')");
	}
	ddl_run(text.data);
	if (p->column != NULL)
		ereport(NOTICE,
				(errmsg("table \"%s\" is distributed over %d shards by column \"%s\"", get_rel_name(p->relid), p->n_shards, p->column),
				 errhint("Run ANALYZE on it, on every node: autovacuum looks at shards only. For joins of colocated tables by this column set enable_partitionwise_join, "
						 "for GROUP BY of it enable_partitionwise_aggregate.")));
}

/* One after another, from the first group on: tables of as many shards, by columns of one type, have equal values in one group. */
static void
choose_groups(Sharding *p, int n_shards)
{
	uint32		groups = Max(placement_groups(), 1);

	p->n_shards = n_shards > 0 ? n_shards : Min(Max(SHARDS_A_GROUP * (int) groups, SHARDS_DEFAULT_MIN), SHARDS_MAX);
	p->groups = palloc(Max(p->n_shards, 1) * sizeof(NdGroupId));
	for (int i = 0; i < p->n_shards; i++)
		p->groups[i] = 1 + i % groups;
}

/* As another table has them. */
static void
copy_groups(Sharding *p, Oid other, bool given, int n_shards)
{
	AttrNumber	attnum;
	Oid		   *shards = shards_required(other, &p->n_shards, &attnum);
	AttrNumber	own = get_attnum(p->relid, p->column);
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			own_collation;

	if (given && n_shards != p->n_shards)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" has %d shards, and so has a table that is colocated with it", get_rel_name(other), p->n_shards)));
	get_atttypetypmodcoll(other, attnum, &type, &typmod, &collation);
	if (own > 0)
	{
		Oid			own_type;

		get_atttypetypmodcoll(p->relid, own, &own_type, &typmod, &own_collation);
		if (getBaseType(own_type) != getBaseType(type) || own_collation != collation)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("table \"%s\" is distributed by a column of type %s, so no column of type %s can be colocated with it", get_rel_name(other),
							format_type_be(type), format_type_be(own_type))));
	}
	p->groups = palloc(p->n_shards * sizeof(NdGroupId));
	for (int i = 0; i < p->n_shards; i++)
		p->groups[i] = placement_group(shards[i]);
}

typedef struct Asked
{
	FunctionCallInfo fcinfo;	/* of the function that was called */
	Sharding	p;
} Asked;

static void
ask_create(void *arg)
{
	Sharding   *p = &((Asked *) arg)->p;
	FunctionCallInfo fcinfo = ((Asked *) arg)->fcinfo;

	p->relid = PG_GETARG_OID(0);
	p->column = NameStr(*PG_GETARG_NAME(1));
	if (get_rel_relkind(p->relid) == RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is partitioned already", get_rel_name(p->relid)),
				 errhint("nodedb.place_table() gives its partitions a group, nodedb.change_shard_count() a distributed table another number of shards.")));
	if (!PG_ARGISNULL(2) && (PG_GETARG_INT32(2) < 1 || PG_GETARG_INT32(2) > SHARDS_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of shards must be between 1 and %d", SHARDS_MAX)));
	if (PG_ARGISNULL(3))
		choose_groups(p, PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2));
	else
		copy_groups(p, PG_GETARG_OID(3), !PG_ARGISNULL(2), PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2));
	check(p);
}

static void
ask_undistribute(void *arg)
{
	Sharding   *p = &((Asked *) arg)->p;
	FunctionCallInfo fcinfo = ((Asked *) arg)->fcinfo;

	p->relid = PG_GETARG_OID(0);
	check(p);
}

static void
ask_change(void *arg)
{
	Sharding   *p = &((Asked *) arg)->p;
	FunctionCallInfo fcinfo = ((Asked *) arg)->fcinfo;
	AttrNumber	column;
	int			n;

	p->relid = PG_GETARG_OID(0);
	check(p);
	if (PG_GETARG_INT32(1) < 1 || PG_GETARG_INT32(1) > SHARDS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of shards must be between 1 and %d", SHARDS_MAX)));
	(void) shards_required(p->relid, &n, &column);
	p->column = get_attname(p->relid, column, false);
	choose_groups(p, PG_GETARG_INT32(1));
	check(p);
}

/* What is asked for is looked at in a subtransaction that is undone: while nodes prepare, which may take long, this session holds no lock on any of the tables. */
static void
do_asked(FunctionCallInfo fcinfo, void (*ask) (void *arg))
{
	Asked		a = {.fcinfo = fcinfo};

	session_check_node();
	(void) in_subtransaction(ask, &a, false, 0);
	ddl_shards_prepare(a.p.relid, a.p.column, a.p.column == NULL ? 1 : a.p.n_shards);
	AcceptInvalidationMessages();	/* it may have been dropped or renamed */
	check_relation(&a.p);
	issue(&a.p);
}

Datum
nodedb_create_distributed_table(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("table and column must not be null")));
	do_asked(fcinfo, ask_create);
	PG_RETURN_VOID();
}

Datum
nodedb_undistribute_table(PG_FUNCTION_ARGS)
{
	do_asked(fcinfo, ask_undistribute);
	PG_RETURN_VOID();
}

Datum
nodedb_change_shard_count(PG_FUNCTION_ARGS)
{
	do_asked(fcinfo, ask_change);
	PG_RETURN_VOID();
}
