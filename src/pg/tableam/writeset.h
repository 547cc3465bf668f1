/*
 * writeset.h: what one transaction changed in distributed tables: the body of its entry, and its certification keys.
 *
 * Body: records, each  u32 length (of what follows), u8 op, then
 *   'R' relation: varint relno (dense from 0, in order of first use), string schema, string name, varint natts
 *   'I' insert:   varint relno, tuple
 *   'U' update:   varint relno, u8 old (0: key unchanged, found by the key in the new tuple; 1: old key columns follow; 2: the whole old row follows), [tuple], tuple
 *   'D' delete:   varint relno, u8 old (1 or 2), tuple
 *   'P' path:     string search path under which the rows behind it were put into indexes with expressions or predicates: those may call
 *                 functions that look up others by unqualified names. Before the first such row, and when it changes.
 *   'L' row lock: varint relno, u8 mode (LockTupleMode), u8 old (1 or 2), tuple; means nothing without a record that changes something
 *   'T' table lock: varint relno, u8 mode (LOCKMODE); likewise
 *   'X' utility:  opaque here, src/pg/ddl
 * Strings are varint length + bytes. A tuple is varint natts, then per column u8 form: 0 null, 1 unchanged (big value that the update did not touch),
 * 2 raw (the datum's own bytes, for pinned types without OIDs inside: fixed length or flattened varlena payload), 3 text (the type's output
 * function under pinned settings: enums, composites, reg*, extension types), followed for 2 and 3 by varint length and bytes. Dropped and generated columns: generated ones travel as values.
 *
 * Invariants:
 * 1. Only changes of committed subtransactions remain: an aborted one cuts body, relations and keys back to its beginning.
 * 2. Every lock that can block an applier on another node has a key: rows (by heap's lock mode), unique-index values, relations (all modes).
 *    And every row key has a record that makes an applier take its lock, row locks without a change too: else a base that is sampled behind
 *    the entry would cover a parent's deletion whose check never saw the child (DESIGN.md, section 2).
 * 3. Names, never OIDs, identify relations: hash of "schema.name" is the relation key.
 * A transaction of several data groups has a body like this in each (parts.h).
 */
#ifndef NODEDB_WRITESET_H
#define NODEDB_WRITESET_H

#include "../nodedb.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "storage/lock.h"
#include "utils/rel.h"

extern bool writeset_has_utility(void);		/* a utility command is, or was, among them */
extern bool writeset_has_ops(void);			/* rows or utility commands: the transaction must go through the log */
extern uint64 writeset_body_len(void);		/* bytes */
/* Copy a range of the body (from memory or the spill file). */
extern void writeset_read(uint64 offset, void *dst, Size len);
/* The keys of rows become relation keys, as they do above nodedb.bulk_keys. */
extern void writeset_escalate(void);
/* The keys of values become one for each table, as they do when there are nodedb.bulk_keys of them and of rows. */
extern void writeset_join_values(void);
/* From its place in the log on, values of this table are named that were not before. */
extern void writeset_values_begin(Oid relid);
/* What a key stands for. */
typedef struct KeySource
{
	Oid			relid;			/* InvalidOid: nothing that is a table here */
	Oid			index;			/* a value that was looked for by this index; else InvalidOid */
	uint8		mode;			/* KeyMode */
	bool		row;			/* a row, or a value of a unique index; else the table */
	ItemPointerData tid;		/* row: of a version that has the key, or that was replaced by one */
} KeySource;
/* The strongest key with this hash. False: none has it. */
extern bool writeset_key_source(uint64 hash, KeySource *source);
extern void writeset_reset(void);			/* end of transaction */
extern void writeset_subxact(SubXactEvent event);

/* A lock on a distributed relation, taken by this transaction in any mode, reads included. Cheap when repeated. */
extern void writeset_relation_lock(Oid relid, LOCKMODE mode);
/* The same by name, for DDL (old and new names). */
extern void writeset_relation_lock_name(const char *schema, const char *name, LOCKMODE mode);
/* placement_group() of a distributed table, without looking into the catalog again. */
extern NdGroupId writeset_group(Oid relid);
extern uint64 writeset_relation_hash(const char *schema, const char *name);
extern void writeset_key(uint64 hash, uint8 mode);
/* Append a utility record ('X'). */
extern void writeset_utility(const char *data, Size len);

/* Row changes, called by the access method after heap has done its part. */
extern void writeset_insert(Relation rel, TupleTableSlot *slot);
extern void writeset_update(Relation rel, HeapTuple old, TupleTableSlot *slot, LockTupleMode mode);
extern void writeset_delete(Relation rel, HeapTuple old);
/* A row of a table whose ACCESS EXCLUSIVE key this transaction has (ddl/rewrite.c): an insertion, without keys of its own. */
extern void writeset_rewritten(Relation rel, TupleTableSlot *slot);
/* Before the record that empties it: what a replica needs to make its indexes anew. */
extern void writeset_emptied(Relation rel);
/* LOCK TABLE: others must not have changed the table meanwhile, nor change it before this transaction has taken effect. */
extern void writeset_table_lock(Relation rel, LOCKMODE mode);
extern void writeset_row_lock(Relation rel, TupleTableSlot *slot, LockTupleMode mode);

#endif
