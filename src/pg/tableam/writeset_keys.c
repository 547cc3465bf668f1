/*
 * writeset_keys.c: the certification keys of a row change.
 *
 * Two keys protect each other where PostgreSQL's locks would have made one session wait for the other, had both worked on one node:
 *   the row           by its identity, in the mode of heap's row lock; insert and delete in the strongest
 *   a unique value    when it appears or vanishes, per unique index; all such keys exclude each other
 *   the relation      in the lock mode of the statement
 * DESIGN.md, section 5, rule 2.
 *
 * One more protects what SERIALIZABLE readers have looked for (readset.h), and nothing else:
 *   a value           of an index's leading plain columns, that of a row which comes, goes or changes in a column of the index. In a mode of relations: writers
 *                     of one value do not exclude each other (ROW EXCLUSIVE), readers neither (SHARE), but they do the others.
 *
 * Invariants:
 * 1. Values that an index takes for equal give equal keys; different values may (then a transaction aborts in vain).
 * 2. What no hash expresses (exclusion constraints, types without hash) is expressed by the relation key in EXCLUSIVE mode.
 * 3. All indexes have their values named, whoever made them, valid or not: a reader needs an index that every writer has (ddl/named.c), so a writer may have more.
 * 4. A value's key depends on the table, its columns and the value, not on the index's name, nor on its predicate.
 * 5. A table without replica identity or primary key names a row by its whole image. Its insertions take no row key: nobody else can mean a row
 *    that he does not see.
 */
#include "writeset_internal.h"

#include "access/genam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "utils/memutils.h"

#define HASH_SEED		UINT64CONST(0x6e6f64656462)		/* "nodedb": any fixed value but 0, which some hash functions take for "32 bits" */
#define HASH_OF_NULL	UINT64CONST(0x9e3779b97f4a7c15)

/* ---- the executor's part: index expressions and predicates, prepared once per transaction ---- */

typedef struct Evaluator
{
	uint64		serial;			/* of the transaction that it was made in */
	EState	   *estate;
} Evaluator;

static Evaluator evaluator;

static EState *evaluator_state(void)
{
	if (evaluator.serial != writeset_serial() || evaluator.estate == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		evaluator.estate = CreateExecutorState();
		evaluator.serial = writeset_serial();
		MemoryContextSwitchTo(old);
	}
	return evaluator.estate;
}

static IndexInfo *evaluated_index_info(KeyIndex *key, TupleDesc desc)
{
	if (key->info == NULL || key->info_serial != writeset_serial())
	{
		MemoryContext old = MemoryContextSwitchTo(evaluator_state()->es_query_cxt);
		Relation	index = index_open(key->indexoid, AccessShareLock);

		key->info = BuildIndexInfo(index);
		/* A descriptor of its own: a counted reference would belong to a resource owner that a subtransaction may end. */
		key->row = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(desc), &TTSOpsVirtual);
		if (key->info->ii_Predicate != NIL)
			key->info->ii_PredicateState = ExecPrepareQual(key->info->ii_Predicate, evaluator_state());
		key->info_serial = writeset_serial();
		index_close(index, AccessShareLock);
		MemoryContextSwitchTo(old);
	}
	return key->info;
}

/* false: the row does not satisfy the predicate. */
static bool evaluate(KeyIndex *key, TupleDesc desc, Datum *row_values, bool *row_nulls, Datum *values, bool *nulls)
{
	IndexInfo  *info = evaluated_index_info(key, desc);
	EState	   *estate = evaluator_state();
	ExprContext *context = GetPerTupleExprContext(estate);
	TupleTableSlot *slot = key->row;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, row_values, desc->natts * sizeof(Datum));
	memcpy(slot->tts_isnull, row_nulls, desc->natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	context->ecxt_scantuple = slot;
	if (info->ii_PredicateState != NULL && !ExecQual(info->ii_PredicateState, context))
		return false;
	FormIndexDatum(info, slot, estate, values, nulls);
	return true;
}

/* ---- hashes ---- */

static uint64 hash_value(KeyColumn *column, Datum value)
{
	const char *text;
	Size		len;
	char		scratch[8];
	uint64		hash;
	int			level;

	switch (column->kind)
	{
		case HASH_EXTENDED:
			return DatumGetUInt64(FunctionCall2Coll(&column->hash, column->collation, value, UInt64GetDatum(HASH_SEED)));
		case HASH_STANDARD:
			return DatumGetUInt32(FunctionCall1Coll(&column->hash, column->collation, value));
		case HASH_TEXT:
			break;
	}
	level = value_settings_begin(column->text.settings);
	value_view(&column->text, value, scratch, &text, &len);
	hash = nd_checksum(text, len, HASH_SEED);
	value_settings_end(level);
	return hash;
}

/* false: this row has no entry in the index, or one that conflicts with nothing (a null). */
static bool index_hash(Relation rel, KeyIndex *key, Datum *row_values, bool *row_nulls, uint64 *hash)
{
	uint64		hashes[INDEX_MAX_KEYS];
	Datum		evaluated_values[INDEX_MAX_KEYS];
	bool		evaluated_nulls[INDEX_MAX_KEYS];
	bool		present = true;

	if (key->evaluated)
		present = evaluate(key, RelationGetDescr(rel), row_values, row_nulls, evaluated_values, evaluated_nulls);
	for (int i = 0; i < key->n_columns && present; i++)
	{
		int			at = key->columns[i].attnum - 1;
		Datum		value = key->evaluated ? evaluated_values[i] : row_values[at];
		bool		null = key->evaluated ? evaluated_nulls[i] : row_nulls[at];

		if (null && !key->nulls_not_distinct)
			present = false;
		else
			hashes[i] = null ? HASH_OF_NULL : hash_value(&key->columns[i], value);
	}
	if (key->evaluated)
		ResetPerTupleExprContext(evaluator_state());
	if (present)
		*hash = nd_checksum(hashes, key->n_columns * sizeof(uint64), key->seed);
	return present;
}

static uint64 image_hash(RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls)
{
	uint64		hash = nd_checksum("image", 5, entry->hash);
	int			level = value_settings_begin(info->settings);

	for (int i = 0; i < info->n_columns; i++)
	{
		Column	   *column = &info->columns[i];
		const char *data;
		Size		len;
		char		scratch[8];

		if (nulls[column->attnum - 1])
		{
			hash = nd_checksum(NULL, 0, hash ^ HASH_OF_NULL);
			continue;
		}
		value_view(&column->type, values[column->attnum - 1], scratch, &data, &len);
		hash = nd_checksum(data, len, hash);
	}
	value_settings_end(level);
	return hash;
}

/* ---- keys of a change ---- */

bool keys_row(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls, uint64 *hash)
{
	if (info->identity != NULL)
		return index_hash(rel, info->identity, values, nulls, hash);
	if (info->has_identity)
		return false;
	*hash = image_hash(entry, info, values, nulls);
	return true;
}

static bool index_gives(Relation rel, KeyIndex *key, Datum *row_values, bool *row_nulls, uint64 wanted, Datum *values, bool *nulls)
{
	uint64		hash;

	if (!index_hash(rel, key, row_values, row_nulls, &hash) || hash != wanted)
		return false;
	if (key->evaluated)
		return evaluate(key, RelationGetDescr(rel), row_values, row_nulls, values, nulls);
	for (int i = 0; i < key->n_columns; i++)
	{
		values[i] = row_values[key->columns[i].attnum - 1];
		nulls[i] = row_nulls[key->columns[i].attnum - 1];
	}
	return true;
}

Oid keys_index(RelationInfo *info, Relation rel, Datum *row_values, bool *row_nulls, uint64 hash, Datum *values, bool *nulls)
{
	if (info->identity != NULL && index_gives(rel, info->identity, row_values, row_nulls, hash, values, nulls))
		return info->identity->indexoid;
	for (int i = 0; i < info->n_uniques; i++)
		if (index_gives(rel, info->uniques[i], row_values, row_nulls, hash, values, nulls))
			return info->uniques[i]->indexoid;
	return InvalidOid;
}

uint64 keys_value(KeyIndex *key, Datum *values)
{
	uint64		hashes[INDEX_MAX_KEYS];

	for (int i = 0; i < key->n_columns; i++)
		hashes[i] = hash_value(&key->columns[i], values[i]);
	return nd_checksum(hashes, key->n_columns * sizeof(uint64), key->seed);
}

uint64 keys_any_value(const RelationEntry *entry)
{
	return nd_checksum("values", 6, entry->hash);
}

static uint64 longer_prefix(ValueIndex *index, int i, Datum value, bool null, uint64 hash)
{
	const uint64 column[] = {index->places[i], null ? HASH_OF_NULL : hash_value(&index->columns[i], value)};

	return nd_checksum(column, sizeof(column), hash);
}

void keys_prefixes(ValueIndex *index, Datum *values, bool *nulls, uint64 *hashes)
{
	for (int i = 0; i < index->n_columns; i++)
	{
		int			at = index->columns[i].attnum - 1;

		hashes[i] = longer_prefix(index, i, values[at], nulls[at], i > 0 ? hashes[i - 1] : index->seed);
	}
}

uint64 keys_prefix(ValueIndex *index, Datum *values, bool *nulls, int n)
{
	uint64		hash = index->seed;

	for (int i = 0; i < n; i++)
		hash = longer_prefix(index, i, values[i], nulls[i], hash);
	return hash;
}

static void row_key(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls, uint8 mode)
{
	uint64		hash;

	if (keys_row(rel, entry, info, values, nulls, &hash))
		writeset_row_key(entry, hash, mode);
}

static void unique_keys(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls)
{
	uint64		hash;

	for (int i = 0; i < info->n_uniques; i++)
		if (index_hash(rel, info->uniques[i], values, nulls, &hash))
			writeset_row_key(entry, hash, KEY_ROW_UPDATE);
}

/* Does one of these columns, by attribute number offset by FirstLowInvalidHeapAttributeNumber, hold something else? */
static bool atts_touched(Relation rel, Bitmapset *atts, Datum *old_values, bool *old_nulls, Datum *values, bool *nulls)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			x = -1;

	while ((x = bms_next_member(atts, x)) >= 0)
	{
		int			at = x + FirstLowInvalidHeapAttributeNumber - 1;

		if (at < 0 || old_nulls[at] != nulls[at] || (!nulls[at] && !value_same_image(TupleDescAttr(desc, at), old_values[at], values[at])))
			return true;		/* below 0: the whole row */
	}
	return false;
}

/* Of a row that comes or goes. */
static void value_keys(RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls)
{
	uint64		hashes[INDEX_MAX_KEYS];

	for (int i = 0; i < info->n_values && writeset_wants_values(entry); i++)
	{
		keys_prefixes(info->values[i], values, nulls, hashes);
		for (int k = 0; k < info->values[i]->n_columns; k++)
			writeset_value_key(entry, hashes[k]);
	}
}

/* The same value, too: what the row shows of it, or beside it, differs, and so does what an index scan finds under it. */
static void changed_value_keys(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *old_values, bool *old_nulls, Datum *values, bool *nulls)
{
	uint64		old_hashes[INDEX_MAX_KEYS];
	uint64		hashes[INDEX_MAX_KEYS];

	for (int i = 0; i < info->n_values; i++)
	{
		ValueIndex *index = info->values[i];

		if (!atts_touched(rel, index->atts, old_values, old_nulls, values, nulls) || !writeset_wants_values(entry))
			continue;
		keys_prefixes(index, old_values, old_nulls, old_hashes);
		keys_prefixes(index, values, nulls, hashes);
		for (int k = 0; k < index->n_columns; k++)
		{
			writeset_value_key(entry, old_hashes[k]);
			if (hashes[k] != old_hashes[k])
				writeset_value_key(entry, hashes[k]);
		}
	}
}

static void relation_keys(RelationEntry *entry, RelationInfo *info)
{
	writeset_entry_lock(entry, RowExclusiveLock);
	if (info->exclusive)
		writeset_entry_lock(entry, ExclusiveLock);
}

void keys_insert(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls)
{
	relation_keys(entry, info);
	if (info->has_identity)
		row_key(rel, entry, info, values, nulls, KEY_ROW_UPDATE);
	unique_keys(rel, entry, info, values, nulls);
	value_keys(entry, info, values, nulls);
}

void keys_delete(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls)
{
	relation_keys(entry, info);
	row_key(rel, entry, info, values, nulls, KEY_ROW_UPDATE);
	unique_keys(rel, entry, info, values, nulls);
	value_keys(entry, info, values, nulls);
}

void keys_update(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *old_values, bool *old_nulls, Datum *values, bool *nulls, bool identity_changed,
				 uint8 mode)
{
	relation_keys(entry, info);
	row_key(rel, entry, info, old_values, old_nulls, identity_changed ? KEY_ROW_UPDATE : mode);
	if (identity_changed)
		row_key(rel, entry, info, values, nulls, KEY_ROW_UPDATE);
	for (int i = 0; i < info->n_uniques; i++)
	{
		KeyIndex   *key = info->uniques[i];
		uint64		old_hash = 0;
		uint64		new_hash = 0;
		bool		had,
					has;

		if (!atts_touched(rel, key->atts, old_values, old_nulls, values, nulls))
			continue;
		had = index_hash(rel, key, old_values, old_nulls, &old_hash);
		has = index_hash(rel, key, values, nulls, &new_hash);
		if (had && has && old_hash == new_hash)
		{
			/* The same value stays in the index: whoever inserts it elsewhere sees it there. But a reader may have seen in the index alone how it is written. */
			writeset_row_key(entry, old_hash, KEY_ROW_NO_KEY_UPDATE);
			continue;
		}
		if (had)
			writeset_row_key(entry, old_hash, KEY_ROW_UPDATE);
		if (has)
			writeset_row_key(entry, new_hash, KEY_ROW_UPDATE);
	}
	changed_value_keys(rel, entry, info, old_values, old_nulls, values, nulls);
}

void keys_lock(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls, uint8 mode)
{
	writeset_entry_lock(entry, RowShareLock);
	if (info->has_identity && info->identity == NULL)
	{
		/* No key of its own: changes hold EXCLUSIVE, which the ROW SHARE above excludes; locks that exclude each other need more. */
		if (mode >= KEY_ROW_NO_KEY_UPDATE)
			writeset_entry_lock(entry, ExclusiveLock);
		return;
	}
	row_key(rel, entry, info, values, nulls, mode);
}
