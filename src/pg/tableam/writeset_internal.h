/*
 * writeset_internal.h: what the files of the write set and of its replay share: columns as they travel, keys of indexes, cached facts of a table.
 */
#ifndef NODEDB_WRITESET_INTERNAL_H
#define NODEDB_WRITESET_INTERNAL_H

#include "nodedb.h"

#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"
#include "storage/lock.h"
#include "tableam/writeset.h"
#include "utils/rel.h"

/* ---- writeset_value.c: one column value on the wire ---- */

typedef enum ValueForm
{
	VALUE_NULL = 0,
	VALUE_UNCHANGED = 1,
	VALUE_RAW = 2,
	VALUE_TEXT = 3
} ValueForm;

/* Which settings the output function of a type may listen to. */
typedef enum TextSettings
{
	TEXT_PLAIN = 0,				/* none */
	TEXT_STYLES,				/* the styles of dates, intervals, floats, bytea, XML and nulls in arrays */
	TEXT_ALL					/* these, the search path, the time zone and the locale of money */
} TextSettings;

typedef struct ValueType
{
	ValueForm	form;			/* VALUE_RAW or VALUE_TEXT */
	Oid			base;			/* domains flattened */
	int16		len;
	bool		byval;
	TextSettings settings;		/* VALUE_TEXT */
	FmgrInfo	output;			/* VALUE_TEXT */
} ValueType;

typedef struct Column
{
	AttrNumber	attnum;
	bool		in_identity;
	ValueType	type;
} Column;

/* cx keeps what the function look-up allocates. */
extern void value_type_init(ValueType *type, Oid typid, MemoryContext cx);
/* Does a datum of this type hold oids of this node: enum, reg*, aclitem, and whatever contains such or has a composite type's oid in it? */
extern bool value_holds_oids(Oid typid);
/*
 * The bytes of a datum as they travel. *data points into the datum, into scratch (8 bytes, for by-value types) or into the current memory
 * context. Text forms need value_settings_begin().
 */
extern void value_view(ValueType *type, Datum value, char *scratch, const char **data, Size *len);
/* Do both hold the same bytes? false for equal values stored in different ways is allowed. */
extern bool value_same_image(Form_pg_attribute att, Datum a, Datum b);
/* Is it a big value that the update did not touch, so that it need not travel? */
extern bool value_big_unchanged(Form_pg_attribute att, Datum old_value, Datum new_value);
/* Pin what output functions listen to; returns what value_settings_end() wants. Free when nothing has to be changed. */
extern int	value_settings_begin(TextSettings settings);
extern void value_settings_end(int level);

/* ---- writeset_relation.c: facts of a table, kept until its relcache entry changes ---- */

typedef enum HashKind
{
	HASH_EXTENDED,				/* the 64-bit hash function that belongs to the index's equality operator */
	HASH_STANDARD,				/* the same, 32 bits: an operator class without an extended one */
	HASH_TEXT					/* enums and reg*: the text, for the datum differs from node to node */
} HashKind;

typedef struct KeyColumn
{
	AttrNumber	attnum;			/* 0: an expression */
	HashKind	kind;
	Oid			collation;
	FmgrInfo	hash;			/* HASH_EXTENDED, HASH_STANDARD */
	ValueType	text;			/* HASH_TEXT */
} KeyColumn;

typedef struct KeyIndex
{
	Oid			indexoid;
	uint64		seed;
	bool		nulls_not_distinct;
	bool		evaluated;		/* expressions or a predicate: needs the executor */
	Bitmapset  *atts;			/* what its columns, expressions and predicate look at, offset by FirstLowInvalidHeapAttributeNumber */
	IndexInfo  *info;			/* of the transaction `info_serial`, when evaluated; the same holds for row */
	TupleTableSlot *row;
	uint64		info_serial;
	int			n_columns;
	KeyColumn	columns[INDEX_MAX_KEYS];
} KeyIndex;

/*
 * Values by which a SERIALIZABLE reader may have looked for rows: of the leading plain columns of an index, the first one alone, the first two, and so on; of a
 * unique index without all of them, for that is a key of its own (writeset_keys.c).
 */
typedef struct ValueIndex
{
	Oid			indexoid;
	uint64		seed;			/* of the table alone: nodes may call the index what they like */
	int			n_columns;		/* at least 1 */
	KeyColumn  *columns;
	int		   *places;			/* of each column in its table, without dropped ones */
	Bitmapset  *atts;			/* all columns on which an index scan's answer depends, offset by FirstLowInvalidHeapAttributeNumber */
	bool		trust_known;
	bool		trusted;		/* trust_known: ddl_index_is_named() */
} ValueIndex;

typedef struct RelationInfo
{
	MemoryContext cx;
	char	   *schema;
	char	   *name;
	int			n_columns;		/* live ones */
	Column	   *columns;
	TextSettings settings;		/* the most that any column asks for */
	bool		has_identity;	/* rows are found by an index: replica identity or primary key */
	KeyIndex   *identity;		/* NULL: none, or one that no hash expresses */
	int			n_uniques;
	KeyIndex  **uniques;		/* all other unique indexes */
	int			n_values;
	ValueIndex **values;
	bool		exclusive;		/* a constraint that no hash expresses: every change takes the relation key alone */
	bool		evaluates;		/* some index has expressions or a predicate */
	struct RelationInfo *next_retired;
} RelationInfo;

/* One table in the eyes of this session; the part below is of the transaction whose serial and epoch it carries. */
typedef struct RelationEntry
{
	Oid			relid;
	bool		hash_known;
	uint64		hash;			/* writeset_relation_hash() of its name */
	NdGroupId	group;			/* with the hash: whose log its changes go through */
	RelationInfo *info;			/* NULL: not known yet, or out of date */
	uint64		changes;		/* invalidations so far */
	uint64		epoch;			/* of modes and relno */
	uint32		modes;			/* bit per lock mode that has its key; 1 << NoLock: the key that stands for all its values */
	int64		relno;			/* in the body, -1: not announced */
	uint64		row_serial;		/* the transaction that last took row keys here */
	uint64		value_serial;	/* the same of value keys */
} RelationEntry;

extern RelationEntry *relation_entry(Oid relid);		/* with the hash */
extern RelationEntry *relation_entry_full(Relation rel);	/* with info as well */
extern void relation_each_entry(void (*visit) (RelationEntry *entry));
/* End of the transaction: free what was replaced meanwhile. */
extern void relation_sweep(void);
/* The index by which rows are found: replica identity, or else the primary key; InvalidOid when there is none. */
extern Oid	relation_identity_index(Relation rel);

/* ---- writeset_keys.c ---- */

/* info is handed in: an index expression may run into an invalidation that takes it out of the entry. */
extern void keys_insert(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls);
extern void keys_delete(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls);
extern void keys_update(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *old_values, bool *old_nulls, Datum *values,
						bool *nulls, bool identity_changed, uint8 mode);
/* Hash of the row's identity. False: its changes take the relation key instead. */
extern bool keys_row(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls, uint64 *hash);
/* Hash of a value of a unique index, from the values of its key columns, none null. */
extern uint64 keys_value(KeyIndex *key, Datum *values);
/* Hashes of the first column's value, of the first two columns', and so on, n of them. The row's values, not the index's: by attribute number. */
extern void keys_prefixes(ValueIndex *index, Datum *values, bool *nulls, uint64 *hashes);
/* Hash of the first n columns' values, in the order of the index. */
extern uint64 keys_prefix(ValueIndex *index, Datum *values, bool *nulls, int n);
/* What stands for all values of the table: in the keys of a writer who does not name his, and of every reader by values. */
extern uint64 keys_any_value(const RelationEntry *entry);
/*
 * Which of the table's indexes gives this row this key? Fills the values of the index (INDEX_MAX_KEYS of each); they live as long as the row and the
 * transaction. InvalidOid: none.
 */
extern Oid	keys_index(RelationInfo *info, Relation rel, Datum *row_values, bool *row_nulls, uint64 hash, Datum *values, bool *nulls);
extern void keys_lock(Relation rel, RelationEntry *entry, RelationInfo *info, Datum *values, bool *nulls, uint8 mode);

/* ---- writeset.c ---- */

typedef struct WriteKey
{
	uint64		hash;
	uint8		mode;
	bool		row;			/* of a table that the session may escalate */
	bool		value;			/* of a value that somebody may look for: stands for itself until there are too many */
	bool		everywhere;		/* LOCK TABLE: other groups must know of it, too (parts.c) */
	ItemPointerData tid;		/* row: of the version that gave the key, or that was replaced by it */
	Oid			relid;			/* InvalidOid: of no table of this node */
	NdGroupId	group;			/* of the table; 0: of no table of this node */
} WriteKey;

/* All keys, also those that count no more. */
extern const WriteKey *writeset_taken(uint32 *n);
/* Not if it is of a row, or of a value, and the table stands for them. */
extern bool writeset_key_counts(const WriteKey *key);
/* The group of each announced table, by its number in the body. */
extern const NdGroupId *writeset_relation_groups(int64 *n);

/* Identifies the transaction: grows with every writeset_reset(). */
extern uint64 writeset_serial(void);
/* Take the relation key of a lock mode, once. */
extern void writeset_entry_lock(RelationEntry *entry, LOCKMODE mode);
/* A row key or unique value key of this table; becomes the relation's when there are too many. */
extern void writeset_row_key(RelationEntry *entry, uint64 hash, uint8 mode);
/* Are values of this table's rows still to be named? If not, the key that stands for all of them is there. */
extern bool writeset_wants_values(RelationEntry *entry);
extern void writeset_value_key(RelationEntry *entry, uint64 hash);

#endif
