/*
 * apply_internal.h: what apply.c (records) and apply_tuple.c (rows) share.
 */
#ifndef NODEDB_APPLY_INTERNAL_H
#define NODEDB_APPLY_INTERNAL_H

#include "nodedb.h"

#include "access/genam.h"
#include "access/skey.h"
#include "executor/executor.h"
#include "tableam/apply.h"
#include "tableam/writeset_internal.h"

/* A column's value as it stands in the body; data points into the record. */
typedef struct WireValue
{
	ValueForm	form;
	const char *data;
	Size		len;
} WireValue;

typedef struct ValueReader ValueReader;

typedef struct ApplyColumn
{
	Column		column;
	ValueReader *reader;		/* VALUE_TEXT: made at the first value */
} ApplyColumn;

/* A row that a deferrable constraint let in, though it may have a duplicate. */
typedef struct ApplyRecheck
{
	Oid			index;
	Oid			file;			/* of the table, then */
	ItemPointerData tid;
} ApplyRecheck;

/* Of one body. */
typedef struct ApplyRechecks
{
	MemoryContext cx;
	ApplyRecheck *items;
	int64		n;
	int64		cap;
} ApplyRechecks;

/* A table of the body: announced by 'R', opened at its first row. */
typedef struct ApplyTable
{
	char	   *schema;
	char	   *name;
	uint64		n_columns;		/* as announced */
	ApplyRechecks *rechecks;	/* of the body */

	Relation	rel;			/* NULL: closed; the rest is valid only when open */
	MemoryContext cx;
	ResultRelInfo *result_rel;
	EState	   *estate;
	ApplyColumn *columns;
	TextSettings settings;
	bool		evaluates;		/* some index has expressions or a predicate */
	TupleTableSlot *found;		/* the row that a search has found */
	TupleTableSlot *changed;	/* its new version */
	bool		writable;		/* the table lock is one for changes, and its indexes are open */
	SnapshotData dirty;			/* the search sees rows of others that are still in doubt, to wait for them */

	Relation	index;			/* the next one, or else a unique index that leaves few rows to compare with an image; may be NULL */
	Relation	identity;		/* index by which rows are found; NULL: by their image */
	IndexScanDesc scan;			/* of `index` */
	int			n_keys;
	ScanKeyData keys[INDEX_MAX_KEYS];
	int			key_columns[INDEX_MAX_KEYS];	/* positions in columns */
	BlockNumber near;			/* where the next search without an index begins: the block of the row that the last one found */

	MemoryContext batch_cx;		/* values of the rows that wait for insertion */
	TupleTableSlot **batch;		/* cap: APPLY_BATCH_ROWS, created when needed */
	int			n_batch;
	int			n_batch_slots;
	Size		batch_bytes;
} ApplyTable;

#define APPLY_BATCH_ROWS	500
#define APPLY_BATCH_BYTES	(256 * 1024)

/*
 * Around what evaluates expressions of indexes: the origin's search path, as the body told it last. Values are read outside of it, under the pinned
 * one. Free when the body told none.
 */
extern int	apply_path_begin(void);
extern void apply_path_end(int level);

/*
 * What a table's owner has written into expressions and predicates of indexes runs as he would run it, with the origin's search path: the applier is a superuser. PostgreSQL evaluates them
 * as he, restricted likewise, wherever it does so on its own account. An error leaves it to the abort.
 */
typedef struct ApplyAs
{
	int			level;
	Oid			user;
	int			security;
} ApplyAs;
extern ApplyAs apply_as_owner(Relation rel);
extern void apply_as_end(const ApplyAs *as);

/* To change rows, or only to lock some; a table open for the second becomes open for the first. */
extern void apply_table_open(ApplyTable *table, bool writable);
extern void apply_table_close(ApplyTable *table);

/* Reads text of a type as its output function writes it, without the constraints of domains. Lives in cx, like what it looks up. */
extern ValueReader *value_reader(Oid typid, MemoryContext cx);
extern Datum value_read(ValueReader *reader, char *text);

/* Add a row to the waiting ones; true when it is time to apply_flush(). */
extern bool apply_insert(ApplyTable *table, const WireValue *tuple);
/* Insert the waiting rows. */
extern void apply_flush(ApplyTable *table);
/* Find the row by key columns or by its whole image and replace it. */
extern void apply_update(ApplyTable *table, const WireValue *search, bool by_image, const WireValue *tuple);
extern void apply_delete(ApplyTable *table, const WireValue *search, bool by_image);
/* Find the row and lock it to the end of the transaction, as its origin did. */
extern void apply_lock(ApplyTable *table, const WireValue *search, bool by_image, LockTupleMode mode);

/* Note what an index that was changed for the row at tid wants to see again at the end of the entry. */
extern void apply_recheck_add(ApplyRechecks *rechecks, Relation rel, ItemPointer tid, List *indexes);
/* Look at all of it; waits for rows in doubt, ereports a duplicate. All tables are closed. */
extern void apply_recheck(ApplyRechecks *rechecks);

/* The body does not fit this replica: ereports. */
extern void apply_damaged(const ApplyTable *table, const char *what) pg_attribute_noreturn();

#endif
