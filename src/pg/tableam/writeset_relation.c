/*
 * writeset_relation.c: what the write set must know of a table, looked up once and kept until its relcache entry changes.
 *
 * Owns a hash by oid, in CacheMemoryContext, and one memory context per table below it.
 *
 * Invariants:
 * 1. An invalidation marks and never frees: it may come while a caller uses the facts. What it replaced is freed at the end of the transaction.
 * 2. Columns are counted without dropped ones, so that a table restored on another node, without the holes, means the same.
 * 3. A renamed table or schema has a new hash and is announced again in the body.
 */
#include "writeset_internal.h"
#include "placement.h"

#include "access/genam.h"
#include "access/hash.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static HTAB *entries = NULL;
static RelationEntry *last_entry = NULL;	/* of the last look-up: rows come in runs */
static RelationInfo *retired = NULL;

static void forget_entry(RelationEntry *entry)
{
	if (entry->info != NULL)
	{
		entry->info->next_retired = retired;
		retired = entry->info;
		entry->info = NULL;
	}
	entry->changes++;
	entry->hash_known = false;
	entry->relno = -1;
	entry->modes = 0;
}

static void forget_relation(Datum arg, Oid relid)
{
	if (OidIsValid(relid))
	{
		RelationEntry *entry = hash_search(entries, &relid, HASH_FIND, NULL);

		if (entry != NULL)
			forget_entry(entry);
	}
	else
		relation_each_entry(forget_entry);
}

/* ALTER SCHEMA RENAME touches no relcache entry. */
static void forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	relation_each_entry(forget_entry);
}

static void create_table(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(RelationEntry), .hcxt = CacheMemoryContext};

	entries = hash_create("nodedb tables", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
}

void relation_each_entry(void (*visit) (RelationEntry *entry))
{
	HASH_SEQ_STATUS scan;
	RelationEntry *entry;

	if (entries == NULL)
		return;
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		visit(entry);
}

void relation_sweep(void)
{
	while (retired != NULL)
	{
		RelationInfo *info = retired;

		retired = info->next_retired;
		MemoryContextDelete(info->cx);
	}
}

Oid relation_identity_index(Relation rel)
{
	Oid			index = RelationGetReplicaIndex(rel);

	/* REPLICA IDENTITY FULL or NOTHING speaks to logical decoding; rows with a primary key are found by it all the same. */
	return OidIsValid(index) ? index : rel->rd_pkindex;
}

RelationEntry *relation_entry(Oid relid)
{
	RelationEntry *entry = last_entry;
	bool		found;

	if (entry != NULL && entry->relid == relid && entry->hash_known)
		return entry;
	if (entries == NULL)
		create_table();
	entry = hash_search(entries, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset(entry, 0, sizeof(*entry));
		entry->relid = relid;
		entry->relno = -1;
	}
	while (!entry->hash_known)
	{
		uint64		before = entry->changes;
		char	   *schema = get_namespace_name(get_rel_namespace(relid));
		char	   *name = get_rel_name(relid);

		if (schema == NULL || name == NULL)
			elog(ERROR, "cache lookup failed for relation %u", relid);
		entry->hash = writeset_relation_hash(schema, name);
		entry->group = placement_group(relid);
		entry->hash_known = before == entry->changes;
		pfree(schema);
		pfree(name);
	}
	last_entry = entry;
	return entry;
}

/*
 * The hash function that agrees with an equality operator: for every opfamily of hash that has the operator, its function of the left type.
 * Equal values must hash alike by the index's notion of equality, else a duplicate could pass the certifier.
 */
static bool find_hash_function(Oid equality, Oid *function, HashKind *kind)
{
	CatCList   *list = SearchSysCacheList1(AMOPOPID, ObjectIdGetDatum(equality));
	Oid			extended = InvalidOid;
	Oid			standard = InvalidOid;

	for (int i = 0; i < list->n_members && !OidIsValid(extended); i++)
	{
		Form_pg_amop amop = (Form_pg_amop) GETSTRUCT(&list->members[i]->tuple);

		if (amop->amopmethod != HASH_AM_OID || amop->amopstrategy != HTEqualStrategyNumber)
			continue;
		extended = get_opfamily_proc(amop->amopfamily, amop->amoplefttype, amop->amoplefttype, HASHEXTENDED_PROC);
		if (!OidIsValid(standard))
			standard = get_opfamily_proc(amop->amopfamily, amop->amoplefttype, amop->amoplefttype, HASHSTANDARD_PROC);
	}
	ReleaseSysCacheList(list);
	*function = OidIsValid(extended) ? extended : standard;
	*kind = OidIsValid(extended) ? HASH_EXTENDED : HASH_STANDARD;
	return OidIsValid(*function);
}

/* false: no hash agrees with this column's equality on every node. */
static bool key_column_init(KeyColumn *column, Relation index, int i, Oid typid, MemoryContext cx)
{
	Oid			base = getBaseType(typid);
	Oid			opcintype = index->rd_opcintype[i];
	Oid			equality = get_opfamily_member(index->rd_opfamily[i], opcintype, opcintype,
											   index->rd_rel->relam == HASH_AM_OID ? HTEqualStrategyNumber : BTEqualStrategyNumber);
	Oid			function;

	column->collation = index->rd_indcollation[i];
	if (!OidIsValid(equality) || !find_hash_function(equality, &function, &column->kind))
		return false;
	if (value_holds_oids(base))
	{
		Oid			element = get_element_type(base);
		char		typtype = get_typtype(OidIsValid(element) ? getBaseType(element) : base);

		/* Equal enums, reg* and arrays of them have equal texts. Composites may hold numerics beside, whose texts tell 1.0 from 1.00. */
		if (typtype != TYPTYPE_ENUM && typtype != TYPTYPE_BASE)
			return false;
		column->kind = HASH_TEXT;
		value_type_init(&column->text, base, cx);
		return true;
	}
	/* The functions of arrays, ranges and records raise an error when a type inside has no hash: ask before. */
	if (IsPolymorphicType(opcintype) || opcintype == RECORDOID)
	{
		TypeCacheEntry *cached = lookup_type_cache(base, TYPECACHE_HASH_EXTENDED_PROC);

		if (!OidIsValid(cached->hash_extended_proc))
			return false;
	}
	fmgr_info_cxt(function, &column->hash, cx);
	return true;
}

static uint64 index_seed(uint64 relation_hash, const char *kind, const char *name)
{
	uint64		seed = nd_checksum(kind, strlen(kind), relation_hash);

	return name == NULL ? seed : nd_checksum(name, strlen(name), seed);
}

/* What its first columns, its expressions and its predicate look at, offset by FirstLowInvalidHeapAttributeNumber. */
static Bitmapset *index_atts(Relation index, int n_columns)
{
	Bitmapset  *atts = NULL;

	for (int i = 0; i < n_columns; i++)
		if (index->rd_index->indkey.values[i] != 0)
			atts = bms_add_member(atts, index->rd_index->indkey.values[i] - FirstLowInvalidHeapAttributeNumber);
	pull_varattnos((Node *) RelationGetIndexExpressions(index), 1, &atts);
	pull_varattnos((Node *) RelationGetIndexPredicate(index), 1, &atts);
	return atts;
}

/*
 * NULL: no hash expresses it. A value's key is named by the table and the index, whose name is equal everywhere (generated names travel with
 * DDL, and a rename is a barrier); a row's by the table alone.
 *
 * A deferrable constraint has the same keys as any other. An entry that brings the value after this transaction did waits for it when it is
 * applied (apply_recheck.c); one that brought it before was seen by the insertion, and so by the check at commit; any other lies above the base and
 * is a conflict.
 */
static KeyIndex *key_index_create(Relation rel, Relation index, uint64 relation_hash, bool identity, MemoryContext cx)
{
	Form_pg_index form = index->rd_index;
	KeyIndex   *key;
	List	   *expressions = RelationGetIndexExpressions(index);
	ListCell   *next_expression = list_head(expressions);
	Bitmapset  *atts;
	MemoryContext before;

	if (index->rd_rel->relam != BTREE_AM_OID)
		return NULL;
	key = MemoryContextAllocZero(cx, sizeof(KeyIndex));
	key->indexoid = RelationGetRelid(index);
	key->seed = index_seed(relation_hash, identity ? "row" : "unique", identity ? NULL : RelationGetRelationName(index));
	key->nulls_not_distinct = form->indnullsnotdistinct;
	key->evaluated = expressions != NIL || RelationGetIndexPredicate(index) != NIL;
	key->n_columns = form->indnkeyatts;
	for (int i = 0; i < key->n_columns; i++)
	{
		AttrNumber	attnum = form->indkey.values[i];
		Oid			typid;

		key->columns[i].attnum = attnum;
		if (attnum != 0)
			typid = TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid;
		else
		{
			typid = exprType((Node *) lfirst(next_expression));
			next_expression = lnext(expressions, next_expression);
		}
		if (!key_column_init(&key->columns[i], index, i, typid, cx))
			return NULL;
	}
	atts = index_atts(index, key->n_columns);
	before = MemoryContextSwitchTo(cx);
	key->atts = bms_copy(atts);
	MemoryContextSwitchTo(before);
	return key;
}

static int place_of(const RelationInfo *info, AttrNumber attnum)
{
	int			place = 0;

	while (info->columns[place].attnum != attnum)
		place++;
	return place;
}

/* Whether a predicate holds is not looked at: a row outside is named in vain. Expressions end what is named: they need not give for an old row what they gave. */
static void add_values(RelationInfo *info, Relation rel, Relation index, uint64 relation_hash)
{
	Form_pg_index form = index->rd_index;
	int			n_max = form->indnkeyatts - (form->indisunique ? 1 : 0);
	MemoryContext before = MemoryContextSwitchTo(info->cx);
	ValueIndex *v = palloc0(sizeof(ValueIndex));

	v->indexoid = RelationGetRelid(index);
	v->seed = index_seed(relation_hash, "value", NULL);
	v->columns = palloc0(sizeof(KeyColumn) * form->indnkeyatts);
	v->places = palloc0(sizeof(int) * form->indnkeyatts);
	while (v->n_columns < n_max)
	{
		int			i = v->n_columns;
		AttrNumber	attnum = form->indkey.values[i];

		if (attnum <= 0 || !key_column_init(&v->columns[i], index, i, TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid, info->cx))
			break;
		v->columns[i].attnum = attnum;
		v->places[i] = place_of(info, attnum);
		v->n_columns++;
	}
	if (v->n_columns > 0)
	{
		v->atts = index_atts(index, form->indnatts);	/* what it shows, too */
		info->values[info->n_values++] = v;
	}
	MemoryContextSwitchTo(before);
}

static void add_indexes(RelationInfo *info, Relation rel, uint64 relation_hash)
{
	List	   *indexes = RelationGetIndexList(rel);
	Oid			identity = relation_identity_index(rel);
	ListCell   *cell;

	info->uniques = MemoryContextAlloc(info->cx, sizeof(KeyIndex *) * Max(list_length(indexes), 1));
	info->values = MemoryContextAlloc(info->cx, sizeof(ValueIndex *) * Max(list_length(indexes), 1));
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (RelationGetIndexExpressions(index) != NIL || RelationGetIndexPredicate(index) != NIL)
			info->evaluates = true;
		if (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID)
			add_values(info, rel, index, relation_hash);
		if (index->rd_index->indisunique || index->rd_index->indisexclusion)
		{
			bool		is_identity = RelationGetRelid(index) == identity;
			KeyIndex   *key = index->rd_index->indisexclusion ? NULL : key_index_create(rel, index, relation_hash, is_identity, info->cx);

			if (key == NULL)
				info->exclusive = true;
			else if (!is_identity)
				info->uniques[info->n_uniques++] = key;
			if (is_identity)
			{
				info->has_identity = true;
				info->identity = key;
				for (int i = 0; i < info->n_columns; i++)
					for (int j = 0; j < index->rd_index->indnkeyatts; j++)
						if (index->rd_index->indkey.values[j] == info->columns[i].attnum)
							info->columns[i].in_identity = true;
			}
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
}

static RelationInfo *info_create(Relation rel, uint64 relation_hash, MemoryContext cx)
{
	TupleDesc	desc = RelationGetDescr(rel);
	RelationInfo *info = MemoryContextAllocZero(cx, sizeof(RelationInfo));
	char	   *schema = get_namespace_name(RelationGetNamespace(rel));

	info->cx = cx;
	info->schema = MemoryContextStrdup(cx, schema);
	info->name = MemoryContextStrdup(cx, RelationGetRelationName(rel));
	info->columns = MemoryContextAllocZero(cx, sizeof(Column) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Column	   *column = &info->columns[info->n_columns];

		if (att->attisdropped)
			continue;
		column->attnum = att->attnum;
		value_type_init(&column->type, att->atttypid, cx);
		info->settings = Max(info->settings, column->type.settings);
		info->n_columns++;
	}
	add_indexes(info, rel, relation_hash);
	return info;
}

NdGroupId writeset_group(Oid relid)
{
	return relation_entry(relid)->group;
}

RelationEntry *relation_entry_full(Relation rel)
{
	RelationEntry *entry = relation_entry(RelationGetRelid(rel));

	/* Looking things up may itself run into an invalidation of this table: what was read then is thrown away. */
	while (entry->info == NULL)
	{
		uint64		before = entry->changes;
		MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "nodedb table look-up", ALLOCSET_SMALL_SIZES);
		MemoryContext cx = AllocSetContextCreate(work, "nodedb table", ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(work);
		RelationInfo *info = info_create(rel, relation_entry(RelationGetRelid(rel))->hash, cx);

		MemoryContextSwitchTo(old);
		if (before == entry->changes && entry->hash_known)
		{
			MemoryContextSetParent(cx, CacheMemoryContext);
			entry->info = info;
		}
		MemoryContextDelete(work);
	}
	return entry;
}
