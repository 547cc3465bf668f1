/*
 * readset.h: what one SERIALIZABLE transaction read in distributed tables, as keys for the certifier (core/wire/entry.h, reads).
 *
 *   a whole table    the relation in SHARE mode: any change of its rows conflicts
 *   one row          its identity in SHARE mode
 *   a unique value   present or not, by a unique index: in SHARE mode, with the relation in ROW SHARE (bulk changes name no rows)
 *
 * Invariants:
 * 1. What was read in a subtransaction stays, also when it is rolled back: the transaction may have decided by it.
 * 2. Above nodedb.bulk_keys keys, all become those of whole tables.
 */
#ifndef NODEDB_READSET_H
#define NODEDB_READSET_H

#include "../nodedb.h"
#include "executor/tuptable.h"
#include "tableam/writeset.h"
#include "utils/rel.h"

/* Must reads of this table by this transaction be noted? Only tables whose changes are replicated, and not by the applier. */
extern bool readset_wanted(Relation rel);
extern void readset_relation(Relation rel);
extern void readset_relation_oid(Oid relid);
extern void readset_row(Relation rel, TupleTableSlot *slot);
/* All key columns of a unique index, none null. False: no hash expresses it, nothing was noted. */
extern bool readset_value(Relation rel, Oid indexoid, Datum *values);
/* Rows of this table found by the index are named by readset_value() already: it is the table's identity. */
extern bool readset_names_rows(Relation rel, Oid indexoid);
/* palloc'd; their number, 0: nothing was read. */
extern EntryKey *readset_keys(uint32 *n);
/* What a key of readset_keys() stands for, by its hash. False: none has it. */
extern bool readset_key_source(uint64 hash, KeySource *source);
extern void readset_reset(void);		/* end of transaction */

#endif
