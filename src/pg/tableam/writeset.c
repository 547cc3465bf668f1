/*
 * writeset.c: the write set of the running transaction: its body, its keys, and the stack that undoes aborted subtransactions.
 *
 * Owns a buffer and a key array that outlive transactions (small ones are kept, to save allocations), and a temporary file for a long body.
 *
 * Invariants:
 * 1. Body offset = spilled bytes + offset in the buffer; what is in the file is never changed, only cut.
 * 2. Before anything is appended in a subtransaction, the lengths at its beginning are on the stack. A subtransaction that appends nothing
 *    costs nothing.
 * 3. A record is appended whole, or the (sub)transaction that tried aborts.
 * 4. A table is announced ('R') before its first record, and again after an aborted subtransaction or an invalidation, so after a utility
 *    command that changed its columns or name. A number never stands for two names, nor for two groups.
 */
#include "writeset_internal.h"

#include "placement.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define BUFFER_KEEP_BYTES	(64 * 1024)		/* an idle session keeps no more than these */
#define KEYS_KEEP			1024

/* What a subtransaction found when it first appended. */
typedef struct Mark
{
	int			level;			/* nesting level of the subtransaction */
	uint64		body_len;
	uint32		n_keys;
	uint32		n_row_keys;
	uint32		n_value_keys;
	int64		n_relations;
	uint64		n_ops;
	bool		escalated;
	bool		joined;
} Mark;

#define LOCKS_SEEN			256		/* a power of 2 */

/* A row lock that has its key and its record: the checks of many children lock the same parents again and again. */
typedef struct LockSeen
{
	uint64		epoch;
	Oid			relid;
	ItemPointerData tid;
	uint8		mode;
} LockSeen;

static struct
{
	uint64		serial;			/* of the transaction */
	uint64		epoch;			/* of what RelationEntry remembers for it */

	char	   *buf;			/* the body's tail */
	Size		len;
	Size		cap;
	Size		record;			/* offset of the record being written */
	uint64		spilled;		/* bytes in the file */
	File		file;			/* 0: none */
	int64		n_relations;	/* announced */
	NdGroupId  *relation_groups;	/* of each of them; in TopTransactionContext */
	int64		cap_relations;
	uint64		n_ops;			/* records that change something */

	/* The last record, when it is a row lock: a trigger or ON CONFLICT locks a row just before it is changed, and then the change is enough. */
	uint64		lock_begin;
	uint64		lock_end;		/* 0: none */
	SubTransactionId lock_subxact;
	LockSeen	lock;
	LockSeen	locks_seen[LOCKS_SEEN];

	WriteKey   *keys;
	uint32		n_keys;
	uint32		n_row_keys;
	uint32		n_value_keys;	/* until they are joined */
	uint32		cap_keys;
	bool		escalated;		/* row keys have become relation keys */
	bool		joined;			/* value keys have become one of their table */
	bool		has_utility;	/* or had, before a rollback to a savepoint */
	List	   *path;			/* schemas of the last 'P', in TopMemoryContext; of the epoch path_epoch */
	uint64		path_epoch;

	Mark	   *marks;			/* in TopTransactionContext */
	int			n_marks;
	int			cap_marks;
}			ws = {.serial = 1, .epoch = 1};

static MemoryContext scratch = NULL;	/* of one row: detoasted values, texts, index expressions */
static ItemPointerData row_tid;			/* of the row whose keys are being taken */

uint64 writeset_serial(void)
{
	return ws.serial;
}

/* ---- subtransactions ---- */

static void mark_level(void)
{
	int			level = GetCurrentTransactionNestLevel();
	Mark	   *mark;

	if (level <= 1 || (ws.n_marks > 0 && ws.marks[ws.n_marks - 1].level >= level))
		return;
	if (ws.n_marks == ws.cap_marks)
	{
		int			cap = Max(16, ws.cap_marks * 2);

		ws.marks = ws.marks == NULL ? MemoryContextAlloc(TopTransactionContext, cap * sizeof(Mark)) : repalloc(ws.marks, cap * sizeof(Mark));
		ws.cap_marks = cap;
	}
	mark = &ws.marks[ws.n_marks++];
	mark->level = level;
	mark->body_len = writeset_body_len();
	mark->n_keys = ws.n_keys;
	mark->n_row_keys = ws.n_row_keys;
	mark->n_value_keys = ws.n_value_keys;
	mark->n_relations = ws.n_relations;
	mark->n_ops = ws.n_ops;
	mark->escalated = ws.escalated;
	mark->joined = ws.joined;
}

static void cut_back(const Mark *mark)
{
	if (mark->body_len >= ws.spilled)
		ws.len = mark->body_len - ws.spilled;
	else
	{
		/* The bytes behind the cut stay in the file until they are overwritten: an abort must not fail, so it does no I/O. */
		ws.spilled = mark->body_len;
		ws.len = 0;
	}
	ws.n_keys = mark->n_keys;
	ws.n_row_keys = mark->n_row_keys;
	ws.n_value_keys = mark->n_value_keys;
	ws.n_relations = mark->n_relations;
	ws.n_ops = mark->n_ops;
	ws.lock_end = 0;
	ws.escalated = mark->escalated;
	ws.joined = mark->joined;
	ws.epoch++;
}

void writeset_subxact(SubXactEvent event)
{
	int			level = GetCurrentTransactionNestLevel();

	if (ws.n_marks == 0 || ws.marks[ws.n_marks - 1].level < level)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		cut_back(&ws.marks[--ws.n_marks]);
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/* What it wrote is now its parent's: undone with it, unless the parent has an older mark or is the transaction itself. */
		if (level == 2 || (ws.n_marks > 1 && ws.marks[ws.n_marks - 2].level == level - 1))
			ws.n_marks--;
		else
			ws.marks[ws.n_marks - 1].level = level - 1;
	}
}

void writeset_reset(void)
{
	if (ws.file != 0)
		FileClose(ws.file);
	ws.file = 0;
	ws.spilled = 0;
	ws.len = 0;
	ws.n_relations = 0;
	ws.relation_groups = NULL;	/* went with its memory context, or goes with it now */
	ws.cap_relations = 0;
	ws.n_ops = 0;
	ws.lock_end = 0;
	ws.has_utility = false;
	if (ws.cap > BUFFER_KEEP_BYTES)
	{
		pfree(ws.buf);
		ws.buf = NULL;
		ws.cap = 0;
	}
	ws.n_keys = 0;
	ws.n_row_keys = 0;
	ws.n_value_keys = 0;
	ws.escalated = false;
	ws.joined = false;
	if (ws.cap_keys > KEYS_KEEP)
	{
		pfree(ws.keys);
		ws.keys = NULL;
		ws.cap_keys = 0;
	}
	ws.marks = NULL;			/* went with its memory context, or goes with it now */
	ws.n_marks = 0;
	ws.cap_marks = 0;
	ws.serial++;
	ws.epoch++;
	if (scratch != NULL)
		MemoryContextReset(scratch);
	relation_sweep();
}

/* ---- body ---- */

bool writeset_has_utility(void)
{
	return ws.has_utility;
}

bool writeset_has_ops(void)
{
	return ws.n_ops > 0;
}

uint64 writeset_body_len(void)
{
	return ws.spilled + ws.len;
}

static void check_size(uint64 len)
{
	if (len > (uint64) nodedb_max_transaction_size * 1024 * 1024)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("transaction changes too much data to be replicated"),
						errdetail("The limit is %d MB of changed rows.", nodedb_max_transaction_size),
						errhint("Split the change into several transactions, or raise nodedb.max_transaction_size.")));
}

/* TopMemoryContext: the buffer is kept over transactions. */
static void grow(Size more)
{
	Size		cap = Max(ws.cap, 8192);

	check_size(ws.spilled + ws.len + more);
	while (cap < ws.len + more)
		cap *= 2;
	ws.buf = ws.buf == NULL ? MemoryContextAllocHuge(TopMemoryContext, cap) : repalloc_huge(ws.buf, cap);
	ws.cap = cap;
}

static void put(const void *data, Size len)
{
	if (unlikely(ws.len + len > ws.cap))
		grow(len);
	memcpy(ws.buf + ws.len, data, len);
	ws.len += len;
}

static void put_u8(uint8 v)
{
	put(&v, 1);
}

static void put_varint(uint64 v)
{
	uint8		bytes[10];
	int			n = 0;

	while (v >= 0x80)
	{
		bytes[n++] = (uint8) v | 0x80;
		v >>= 7;
	}
	bytes[n++] = (uint8) v;
	put(bytes, n);
}

static void put_bytes(const char *data, Size len)
{
	put_varint(len);
	put(data, len);
}

static void spill(void)
{
	Size		done = 0;

	if (ws.file == 0)
		ws.file = OpenTemporaryFile(true);	/* not a subtransaction's: writeset_reset() closes it */
	while (done < ws.len)
	{
		int			piece = Min(ws.len - done, 1024 * 1024);
		int			written = FileWrite(ws.file, ws.buf + done, piece, ws.spilled + done, WAIT_EVENT_BUFFILE_WRITE);

		if (written != piece)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not write the changes of the transaction to a temporary file: %m")));
		done += written;
	}
	ws.spilled += ws.len;
	ws.len = 0;
}

static void record_begin(char op)
{
	uint32		length = 0;

	mark_level();
	ws.record = ws.len;
	put(&length, sizeof(length));
	put_u8(op);
	ws.n_ops += strchr("RPLT", op) == NULL;
}

static void record_end(void)
{
	Size		len = ws.len - ws.record - sizeof(uint32);

	check_size(writeset_body_len());
	if (len > MaxAllocSize - 1024)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("changed row is too large to be replicated"),
						errdetail("It takes %zu bytes; the limit is %zu.", len, (Size) MaxAllocSize - 1024)));
	for (int i = 0; i < 4; i++)
		ws.buf[ws.record + i] = (char) (len >> (8 * i));
	if (ws.len > (Size) nodedb_writeset_memory * 1024)
		spill();
}

void writeset_read(uint64 offset, void *dst, Size len)
{
	char	   *out = dst;

	if (offset + len > writeset_body_len())
		elog(ERROR, "read past the end of the write set");
	while (len > 0 && offset < ws.spilled)
	{
		int			piece = Min(Min(len, ws.spilled - offset), 1024 * 1024);
		int			got = FileRead(ws.file, out, piece, offset, WAIT_EVENT_BUFFILE_READ);

		if (got <= 0)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not read the changes of the transaction from a temporary file: %m")));
		out += got;
		offset += got;
		len -= got;
	}
	memcpy(out, ws.buf + (offset - ws.spilled), len);
}

/* ---- keys ---- */

/* entry: NULL: of no table of this node. */
static WriteKey *append_key(uint64 hash, uint8 mode, const RelationEntry *entry, bool row, bool everywhere)
{
	WriteKey   *key;

	mark_level();
	if (ws.n_keys == ws.cap_keys)
	{
		uint32		cap = Max(64, ws.cap_keys * 2);

		ws.keys = ws.keys == NULL ? MemoryContextAllocHuge(TopMemoryContext, cap * sizeof(WriteKey)) :
			repalloc_huge(ws.keys, cap * sizeof(WriteKey));
		ws.cap_keys = cap;
	}
	key = &ws.keys[ws.n_keys++];
	key->hash = hash;
	key->mode = mode;
	key->row = row;
	key->value = false;
	key->everywhere = everywhere;
	key->relid = entry != NULL ? entry->relid : InvalidOid;
	key->group = entry != NULL ? entry->group : 0;
	if (row)
		key->tid = row_tid;
	ws.n_row_keys += row;
	return key;
}

void writeset_key(uint64 hash, uint8 mode)
{
	append_key(hash, mode, NULL, false, false);
}

static void entry_refresh(RelationEntry *entry)
{
	if (entry->epoch != ws.epoch)
	{
		entry->epoch = ws.epoch;
		entry->modes = 0;
		entry->relno = -1;
	}
}

void writeset_entry_lock(RelationEntry *entry, LOCKMODE mode)
{
	entry_refresh(entry);
	if (entry->modes & (1 << mode))
		return;
	append_key(entry->hash, KEY_REL_ACCESS_SHARE - AccessShareLock + mode, entry, false, false);
	entry->modes |= 1 << mode;
}

static void escalate_entry(RelationEntry *entry)
{
	if (entry->row_serial == ws.serial)
		writeset_entry_lock(entry, ExclusiveLock);
}

/*
 * The window of the certifier is bounded in keys: one huge entry would push all others out. EXCLUSIVE on the table stands for all its rows; it excludes
 * writers and row locks of others, not readers.
 */
void writeset_escalate(void)
{
	if (ws.escalated)
		return;
	writeset_join_values();		/* EXCLUSIVE stands for them, too, but not where no row has a key: insertions without an identity */
	mark_level();
	relation_each_entry(escalate_entry);
	ws.escalated = true;
}

static void any_value(RelationEntry *entry)
{
	entry_refresh(entry);
	if (entry->modes & (1 << NoLock))
		return;
	append_key(keys_any_value(entry), KEY_REL_ROW_EXCLUSIVE, entry, false, false);
	entry->modes |= 1 << NoLock;
}

static void join_entry(RelationEntry *entry)
{
	if (entry->value_serial == ws.serial)
		any_value(entry);
}

/* Values give way before rows do: without their keys nobody loses but SERIALIZABLE readers of the table. */
void writeset_join_values(void)
{
	if (ws.joined)
		return;
	mark_level();
	relation_each_entry(join_entry);
	ws.joined = true;
	ws.n_value_keys = 0;
}

void writeset_values_begin(Oid relid)
{
	any_value(relation_entry(relid));
}

bool writeset_wants_values(RelationEntry *entry)
{
	entry->value_serial = ws.serial;
	if (ws.joined)
		any_value(entry);
	return !ws.joined;
}

void writeset_value_key(RelationEntry *entry, uint64 hash)
{
	if (ws.n_row_keys + ws.n_value_keys >= nodedb_bulk_keys)
		writeset_join_values();
	if (!writeset_wants_values(entry))
		return;
	append_key(hash, KEY_REL_ROW_EXCLUSIVE, entry, false, false)->value = true;
	ws.n_value_keys++;
}

void writeset_row_key(RelationEntry *entry, uint64 hash, uint8 mode)
{
	entry->row_serial = ws.serial;
	if (ws.n_row_keys + ws.n_value_keys >= nodedb_bulk_keys)
		writeset_join_values();
	if (ws.n_row_keys >= nodedb_bulk_keys)
		writeset_escalate();
	if (ws.escalated)
		writeset_entry_lock(entry, ExclusiveLock);
	else
		append_key(hash, mode, entry, true, false);
}

const WriteKey *writeset_taken(uint32 *n)
{
	*n = ws.n_keys;
	return ws.keys;
}

bool writeset_key_counts(const WriteKey *key)
{
	return !(ws.escalated && key->row) && !(ws.joined && key->value);
}

const NdGroupId *writeset_relation_groups(int64 *n)
{
	*n = ws.n_relations;
	return ws.relation_groups;
}

bool writeset_key_source(uint64 hash, KeySource *source)
{
	WriteKey   *strongest = NULL;

	for (uint32 i = 0; i < ws.n_keys; i++)
	{
		WriteKey   *key = &ws.keys[i];

		if (key->hash == hash && writeset_key_counts(key) && (strongest == NULL || key->mode > strongest->mode))
			strongest = key;
	}
	if (strongest == NULL)
		return false;
	*source = (KeySource) {.relid = strongest->relid, .row = strongest->row, .mode = strongest->mode};
	if (strongest->row)
		source->tid = strongest->tid;
	return true;
}

uint64 writeset_relation_hash(const char *schema, const char *name)
{
	uint64		hash = nd_checksum(schema, strlen(schema), 0);

	/* Schema and name apart: "a.b"."c" and "a"."b.c" are two tables. */
	return nd_checksum(name, strlen(name), nd_checksum(".", 1, hash));
}

void writeset_relation_lock(Oid relid, LOCKMODE mode)
{
	writeset_entry_lock(relation_entry(relid), mode);
}

void writeset_relation_lock_name(const char *schema, const char *name, LOCKMODE mode)
{
	append_key(writeset_relation_hash(schema, name), KEY_REL_ACCESS_SHARE - AccessShareLock + mode, NULL, false, false);
}

/* ---- records ---- */

void writeset_utility(const char *data, Size len)
{
	record_begin('X');
	ws.has_utility = true;
	put(data, len);
	record_end();
}

/* The table's number in the body. */
static int64 announce(RelationEntry *entry, RelationInfo *info)
{
	entry_refresh(entry);
	if (entry->relno >= 0)
		return entry->relno;
	record_begin('R');
	put_varint(ws.n_relations);
	put_bytes(info->schema, strlen(info->schema));
	put_bytes(info->name, strlen(info->name));
	put_varint(info->n_columns);
	record_end();
	if (ws.n_relations == ws.cap_relations)
	{
		int64		cap = Max(16, ws.cap_relations * 2);

		ws.relation_groups = ws.relation_groups == NULL ? MemoryContextAlloc(TopTransactionContext, cap * sizeof(NdGroupId)) :
			repalloc_huge(ws.relation_groups, cap * sizeof(NdGroupId));
		ws.cap_relations = cap;
	}
	ws.relation_groups[ws.n_relations] = entry->group;
	return entry->relno = ws.n_relations++;
}

/* What functions in the expressions of its indexes see; a temporary schema they must not look into is left out. */
static void announce_path(RelationInfo *info)
{
	List	   *path;
	ListCell   *lc;
	StringInfoData text;
	MemoryContext old;

	if (!info->evaluates)
		return;
	path = fetch_search_path(false);
	if (ws.path_epoch == ws.epoch && equal(path, ws.path))
		return;
	initStringInfo(&text);
	foreach(lc, path)
	{
		char	   *name = isAnyTempNamespace(lfirst_oid(lc)) ? NULL : get_namespace_name(lfirst_oid(lc));

		if (name != NULL)
			appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", quote_identifier(name));
	}
	record_begin('P');
	put_bytes(text.data, text.len);
	record_end();
	old = MemoryContextSwitchTo(TopMemoryContext);
	list_free(ws.path);
	ws.path = NIL;
	ws.path = list_copy(path);
	ws.path_epoch = ws.epoch;
	MemoryContextSwitchTo(old);
}

typedef enum TupleKind
{
	TUPLE_WHOLE,
	TUPLE_IDENTITY				/* the columns by which the row is found; the others as null */
} TupleKind;

/* old_values: what the row had before, for columns that need not travel again; NULL when there is none. */
static void put_tuple(Relation rel, RelationInfo *info, Datum *values, bool *nulls, TupleKind kind, Datum *old_values, bool *old_nulls)
{
	put_varint(info->n_columns);
	for (int i = 0; i < info->n_columns; i++)
	{
		Column	   *column = &info->columns[i];
		int			at = column->attnum - 1;
		const char *data;
		Size		len;
		char		bytes[8];

		if (nulls[at] || (kind == TUPLE_IDENTITY && !column->in_identity))
		{
			put_u8(VALUE_NULL);
			continue;
		}
		if (old_values != NULL && !old_nulls[at] && !column->in_identity &&
			value_big_unchanged(TupleDescAttr(RelationGetDescr(rel), at), old_values[at], values[at]))
		{
			put_u8(VALUE_UNCHANGED);
			continue;
		}
		value_view(&column->type, values[at], bytes, &data, &len);
		put_u8(column->type.form);
		put_bytes(data, len);
	}
}

/* A row is worked on in a context of its own, reset behind it. */
static MemoryContext row_begin(void)
{
	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "nodedb captured row", ALLOCSET_DEFAULT_SIZES);
	return MemoryContextSwitchTo(scratch);
}

static void row_end(MemoryContext caller)
{
	MemoryContextSwitchTo(caller);
	MemoryContextReset(scratch);
}

static void deform(Relation rel, HeapTuple tuple, Datum **values, bool **nulls)
{
	int			natts = RelationGetDescr(rel)->natts;

	*values = palloc(natts * sizeof(Datum));
	*nulls = palloc(natts * sizeof(bool));
	heap_deform_tuple(tuple, RelationGetDescr(rel), *values, *nulls);
}

static bool identity_differs(Relation rel, RelationInfo *info, Datum *old_values, bool *old_nulls, Datum *values, bool *nulls)
{
	for (int i = 0; i < info->n_columns; i++)
	{
		int			at = info->columns[i].attnum - 1;

		if (info->columns[i].in_identity &&
			(old_nulls[at] != nulls[at] ||
			 (!nulls[at] && !value_same_image(TupleDescAttr(RelationGetDescr(rel), at), old_values[at], values[at]))))
			return true;
	}
	return false;
}

static bool lock_is(const LockSeen *seen, Relation rel, ItemPointer tid)
{
	return seen->epoch == ws.epoch && seen->relid == RelationGetRelid(rel) && ItemPointerEquals((ItemPointer) &seen->tid, tid);
}

/* A change of the row in the same or a stronger mode follows on the record of its lock. */
static void drop_last_lock(Relation rel, ItemPointer tid, uint8 mode)
{
	if (ws.lock_end == writeset_body_len() && ws.lock_end > 0 && ws.lock_begin >= ws.spilled && ws.lock_subxact == GetCurrentSubTransactionId() &&
		ws.lock.mode <= mode && lock_is(&ws.lock, rel, tid))
		ws.len = ws.lock_begin - ws.spilled;
}

static void record_insert(Relation rel, TupleTableSlot *slot, bool keys)
{
	RelationEntry *entry = relation_entry_full(rel);
	RelationInfo *info = entry->info;
	MemoryContext caller;
	int64		relno;
	int			level;

	slot_getallattrs(slot);
	caller = row_begin();
	row_tid = slot->tts_tid;
	if (keys)
		keys_insert(rel, entry, info, slot->tts_values, slot->tts_isnull);
	relno = announce(entry, info);
	announce_path(info);
	level = value_settings_begin(info->settings);
	record_begin('I');
	put_varint(relno);
	put_tuple(rel, info, slot->tts_values, slot->tts_isnull, TUPLE_WHOLE, NULL, NULL);
	record_end();
	value_settings_end(level);
	row_end(caller);
}

void writeset_insert(Relation rel, TupleTableSlot *slot)
{
	record_insert(rel, slot, true);
}

void writeset_rewritten(Relation rel, TupleTableSlot *slot)
{
	record_insert(rel, slot, false);
}

void writeset_emptied(Relation rel)
{
	announce_path(relation_entry_full(rel)->info);
}

void writeset_update(Relation rel, HeapTuple old, TupleTableSlot *slot, LockTupleMode mode)
{
	RelationEntry *entry = relation_entry_full(rel);
	RelationInfo *info = entry->info;
	MemoryContext caller;
	Datum	   *old_values;
	bool	   *old_nulls;
	bool		identity_changed;
	int64		relno;
	int			level;

	slot_getallattrs(slot);
	caller = row_begin();
	deform(rel, old, &old_values, &old_nulls);
	row_tid = old->t_self;
	drop_last_lock(rel, &old->t_self, (uint8) mode);
	identity_changed = identity_differs(rel, info, old_values, old_nulls, slot->tts_values, slot->tts_isnull);
	keys_update(rel, entry, info, old_values, old_nulls, slot->tts_values, slot->tts_isnull, identity_changed, (uint8) mode);
	relno = announce(entry, info);
	announce_path(info);
	level = value_settings_begin(info->settings);
	record_begin('U');
	put_varint(relno);
	put_u8(!info->has_identity ? 2 : identity_changed ? 1 : 0);
	if (!info->has_identity)
		put_tuple(rel, info, old_values, old_nulls, TUPLE_WHOLE, NULL, NULL);
	else if (identity_changed)
		put_tuple(rel, info, old_values, old_nulls, TUPLE_IDENTITY, NULL, NULL);
	put_tuple(rel, info, slot->tts_values, slot->tts_isnull, TUPLE_WHOLE, old_values, old_nulls);
	record_end();
	value_settings_end(level);
	row_end(caller);
}

void writeset_delete(Relation rel, HeapTuple old)
{
	RelationEntry *entry = relation_entry_full(rel);
	RelationInfo *info = entry->info;
	MemoryContext caller = row_begin();
	Datum	   *values;
	bool	   *nulls;
	int64		relno;
	int			level;

	deform(rel, old, &values, &nulls);
	row_tid = old->t_self;
	drop_last_lock(rel, &old->t_self, LockTupleExclusive);
	keys_delete(rel, entry, info, values, nulls);
	relno = announce(entry, info);
	announce_path(info);		/* the applier opens the indexes for any change */
	level = value_settings_begin(info->settings);
	record_begin('D');
	put_varint(relno);
	put_u8(info->has_identity ? 1 : 2);
	put_tuple(rel, info, values, nulls, info->has_identity ? TUPLE_IDENTITY : TUPLE_WHOLE, NULL, NULL);
	record_end();
	value_settings_end(level);
	row_end(caller);
}

static LockSeen *lock_place(Relation rel, ItemPointer tid)
{
	uint32		at = RelationGetRelid(rel) * 31 + ItemPointerGetBlockNumber(tid) * 7 + ItemPointerGetOffsetNumber(tid);

	return &ws.locks_seen[at & (LOCKS_SEEN - 1)];
}

void writeset_row_lock(Relation rel, TupleTableSlot *slot, LockTupleMode mode)
{
	LockSeen   *seen = lock_place(rel, &slot->tts_tid);
	RelationEntry *entry;
	RelationInfo *info;
	MemoryContext caller;
	int64		relno;
	int			level;

	if (lock_is(seen, rel, &slot->tts_tid) && seen->mode >= (uint8) mode)
		return;
	entry = relation_entry_full(rel);
	info = entry->info;
	slot_getallattrs(slot);
	caller = row_begin();
	row_tid = slot->tts_tid;
	keys_lock(rel, entry, info, slot->tts_values, slot->tts_isnull, (uint8) mode);
	relno = announce(entry, info);
	ws.lock_begin = writeset_body_len();
	level = value_settings_begin(info->settings);
	record_begin('L');
	put_varint(relno);
	put_u8((uint8) mode);
	put_u8(info->has_identity ? 1 : 2);
	put_tuple(rel, info, slot->tts_values, slot->tts_isnull, info->has_identity ? TUPLE_IDENTITY : TUPLE_WHOLE, NULL, NULL);
	record_end();
	value_settings_end(level);
	row_end(caller);
	*seen = (LockSeen) {.epoch = ws.epoch, .relid = RelationGetRelid(rel), .tid = slot->tts_tid, .mode = (uint8) mode};
	ws.lock = *seen;
	ws.lock_end = writeset_body_len();
	ws.lock_subxact = GetCurrentSubTransactionId();
}

void writeset_table_lock(Relation rel, LOCKMODE mode)
{
	RelationEntry *entry = relation_entry_full(rel);
	int64		relno;

	entry_refresh(entry);
	append_key(entry->hash, KEY_REL_ACCESS_SHARE - AccessShareLock + mode, entry, false, true);
	writeset_key(placement_key(), KEY_REL_ACCESS_SHARE);
	relno = announce(entry, entry->info);
	record_begin('T');
	put_varint(relno);
	put_u8((uint8) mode);
	record_end();
}
