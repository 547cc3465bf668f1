/*
 * readset.h: what one SERIALIZABLE transaction read in distributed tables, as keys for the certifier (core/wire/entry.h, reads).
 *
 *   a whole table    the relation in SHARE mode: any change of its rows conflicts
 *   one row          its identity in SHARE mode
 *   a unique value   present or not, by a unique index: in SHARE mode, with the relation in ROW SHARE (bulk changes name no rows)
 *   a value          rows that have it, of leading columns of any other index: in the SHARE mode of relations, with the key for all values of the table in the
 *                    same (bulk changes name no values) and the relation in ROW SHARE. Rows that were found are named besides, each by itself
 *
 * Why a value is enough. Let the scan look for v in the first columns of index X, whatever it asks of the other ones. Another entry changes its answer if a row that X gives
 * under v comes, goes, or is given differently. If it changes a column of X, its key or what X includes, or one that X's predicate looks at, it names the row's old
 * and new values of X, and one of them is v. If it changes other columns, X gave the row before, so it was found and is named by its row; and if X alone was looked at,
 * these columns were not seen. That every entry names X's values is what ddl_index_is_named() says; entries from before that name all values of the table
 * by the schema change that began it, which is above the reader's base if its snapshot is older.
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
/* How many of the index's leading columns have values that all writers name; 0: none, or not all writers do. */
extern int	readset_named_columns(Relation rel, Oid indexoid);
/* Rows with these values of the first n of them. */
extern void readset_prefix(Relation rel, Oid indexoid, Datum *values, bool *nulls, int n);
/* Rows of this table found by the index are named by readset_value() already: it is the table's identity. */
extern bool readset_names_rows(Relation rel, Oid indexoid);
/* palloc'd, with the group of each; their number, 0: nothing was read. */
extern EntryKey *readset_keys(uint32 *n, NdGroupId **groups);
/* All become those of whole tables, as they do above nodedb.bulk_keys. */
extern void readset_escalate(void);
/* What a key of readset_keys() stands for, by its hash. False: none has it. */
extern bool readset_key_source(uint64 hash, KeySource *source);
extern void readset_reset(void);		/* end of transaction */

#endif
