/*
 * readset.c: the read set of the running transaction. The contract and the invariants are in readset.h.
 *
 * Owns a hash of keys in TopTransactionContext.
 */
#include "writeset_internal.h"
#include "readset.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "ddl/ddl.h"
#include "tableam/apply.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct ReadKey
{
	EntryKey	key;			/* of the hash */
	KeySource	source;			/* of the first read */
	NdGroupId	group;
} ReadKey;

static HTAB *keys = NULL;		/* ReadKey; NULL: nothing was read */
static List *tables = NIL;		/* oids of those that were read, in TopTransactionContext */
static bool escalated = false;	/* whole tables only */
static MemoryContext scratch = NULL;	/* of one row */

bool readset_wanted(Relation rel)
{
	return IsolationIsSerializable() && !apply_active && !IsParallelWorker() && rel->rd_rel->relkind == RELKIND_RELATION &&
		rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT && !OidIsValid(rel->rd_rel->relrewrite);
}

static void add(uint64 hash, uint8 mode, NdGroupId group, const KeySource *source)
{
	EntryKey	key;
	ReadKey    *entry;
	bool		found;

	if (keys == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(EntryKey), .entrysize = sizeof(ReadKey), .hcxt = TopTransactionContext};

		keys = hash_create("nodedb reads", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&key, 0, sizeof(key));	/* with the padding: the hash is of bytes */
	key.hash = hash;
	key.mode = mode;
	entry = hash_search(keys, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->source = *source;
		entry->group = group;
	}
}

static void note_table(Oid relid)
{
	MemoryContext old;

	if (tables != NIL && llast_oid(tables) == relid)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	tables = list_append_unique_oid(tables, relid);
	MemoryContextSwitchTo(old);
}

void readset_relation_oid(Oid relid)
{
	KeySource	source = {.relid = relid};
	RelationEntry *entry = relation_entry(relid);

	note_table(relid);
	add(entry->hash, KEY_REL_SHARE, entry->group, &source);
}

void readset_relation(Relation rel)
{
	readset_relation_oid(RelationGetRelid(rel));
}

/* From now on a key means its whole table, as does each one noted before. */
void readset_escalate(void)
{
	ListCell   *cell;

	if (escalated || keys == NULL)
		return;
	escalated = true;
	hash_destroy(keys);
	keys = NULL;
	foreach(cell, tables)
		readset_relation_oid(lfirst_oid(cell));
}

static void add_key(Relation rel, RelationEntry *entry, uint64 hash, uint8 mode, const KeySource *source)
{
	KeySource	table = {.relid = entry->relid};

	if (!escalated && keys != NULL && hash_get_num_entries(keys) >= nodedb_bulk_keys)
		readset_escalate();
	if (escalated)
	{
		readset_relation(rel);
		return;
	}
	note_table(entry->relid);
	add(hash, mode, entry->group, source);
	add(entry->hash, KEY_REL_ROW_SHARE, entry->group, &table);
	if (mode == KEY_REL_SHARE)
		add(keys_any_value(entry), KEY_REL_SHARE, entry->group, &table);
}

static MemoryContext row_begin(void)
{
	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "nodedb read row", ALLOCSET_SMALL_SIZES);
	return MemoryContextSwitchTo(scratch);
}

static void row_end(MemoryContext caller)
{
	MemoryContextSwitchTo(caller);
	MemoryContextReset(scratch);
}

void readset_row(Relation rel, TupleTableSlot *slot)
{
	RelationEntry *entry = relation_entry_full(rel);
	RelationInfo *info = entry->info;
	KeySource	source = {.relid = entry->relid, .row = true, .tid = slot->tts_tid};
	MemoryContext caller;
	uint64		hash;

	slot_getallattrs(slot);
	caller = row_begin();
	/* Without a key that a hash expresses, changes take the relation key. */
	if (!keys_row(rel, entry, info, slot->tts_values, slot->tts_isnull, &hash))
		hash = entry->hash;
	row_end(caller);
	add_key(rel, entry, hash, KEY_ROW_SHARE, &source);
}

static KeyIndex *find_index(RelationInfo *info, Oid indexoid)
{
	if (info->identity != NULL && info->identity->indexoid == indexoid)
		return info->identity;
	for (int i = 0; i < info->n_uniques; i++)
		if (info->uniques[i]->indexoid == indexoid)
			return info->uniques[i];
	return NULL;
}

bool readset_value(Relation rel, Oid indexoid, Datum *values)
{
	RelationEntry *entry = relation_entry_full(rel);
	KeyIndex   *index = find_index(entry->info, indexoid);
	KeySource	source = {.relid = entry->relid, .row = true, .index = indexoid};
	MemoryContext caller;
	uint64		hash;

	if (index == NULL)
		return false;
	caller = row_begin();
	hash = keys_value(index, values);
	row_end(caller);
	add_key(rel, entry, hash, KEY_ROW_SHARE, &source);
	return true;
}

static ValueIndex *find_values(RelationInfo *info, Oid indexoid)
{
	for (int i = 0; i < info->n_values; i++)
		if (info->values[i]->indexoid == indexoid)
			return info->values[i];
	return NULL;
}

int readset_named_columns(Relation rel, Oid indexoid)
{
	ValueIndex *index = find_values(relation_entry_full(rel)->info, indexoid);

	if (index == NULL)
		return 0;
	if (!index->trust_known)
	{
		index->trusted = ddl_index_is_named(indexoid);
		index->trust_known = true;
	}
	return index->trusted ? index->n_columns : 0;
}

void readset_prefix(Relation rel, Oid indexoid, Datum *values, bool *nulls, int n)
{
	RelationEntry *entry = relation_entry_full(rel);
	ValueIndex *index = find_values(entry->info, indexoid);
	KeySource	source = {.relid = entry->relid, .row = true, .index = indexoid};
	MemoryContext caller;
	uint64		hash;

	if (index == NULL || n > index->n_columns)
	{
		readset_relation(rel);
		return;
	}
	caller = row_begin();
	hash = keys_prefix(index, values, nulls, n);
	row_end(caller);
	add_key(rel, entry, hash, KEY_REL_SHARE, &source);
}

bool readset_names_rows(Relation rel, Oid indexoid)
{
	RelationInfo *info = relation_entry_full(rel)->info;

	return info->identity != NULL && info->identity->indexoid == indexoid;
}

EntryKey *readset_keys(uint32 *n, NdGroupId **groups)
{
	HASH_SEQ_STATUS scan;
	ReadKey    *key;
	EntryKey   *out;

	*n = 0;
	*groups = NULL;
	if (keys == NULL)
		return NULL;
	out = MemoryContextAllocHuge(CurrentMemoryContext, hash_get_num_entries(keys) * sizeof(EntryKey));
	*groups = MemoryContextAllocHuge(CurrentMemoryContext, hash_get_num_entries(keys) * sizeof(NdGroupId));
	hash_seq_init(&scan, keys);
	while ((key = hash_seq_search(&scan)) != NULL)
	{
		(*groups)[*n] = key->group;
		out[(*n)++] = key->key;
	}
	return out;
}

bool readset_key_source(uint64 hash, KeySource *source)
{
	HASH_SEQ_STATUS scan;
	ReadKey    *key;

	if (keys == NULL)
		return false;
	hash_seq_init(&scan, keys);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->key.hash == hash)
		{
			*source = key->source;
			hash_seq_term(&scan);
			return true;
		}
	return false;
}

void readset_reset(void)
{
	keys = NULL;				/* both went with their memory context */
	tables = NIL;
	escalated = false;
	if (scratch != NULL)
		MemoryContextReset(scratch);
}
