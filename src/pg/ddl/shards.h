/*
 * shards.h: a table becomes partitions by hash, or one table again, in place (shards.c): what its files share.
 */
#ifndef NODEDB_DDL_SHARDS_H
#define NODEDB_DDL_SHARDS_H

#include "ddl_internal.h"

#include "utils/rel.h"

/*
 * ---- shards_catalog.c: the catalogs of a table and its indexes ----
 * The caller holds ACCESS EXCLUSIVE on all tables, and has none of them open.
 */
/* The table becomes partitioned by hash of this column, without partitions yet. Its rows are in a table without name and indexes of its own, whose oid is returned. */
extern Oid	ddl_shards_to_partitioned(Oid relid, AttrNumber column);
/* An empty table for the rows of this one, without indexes, with the options of another. */
extern Oid	ddl_shards_make_heap(Oid relid, Oid options_of);
/* The options of a table or of its TOAST table, as pg_class has them; 0: none. */
extern Datum ddl_shards_options(Oid relid);
/* The reverse: a partitioned table without partitions takes over the rows of `heap`; its indexes are there and empty. */
extern void ddl_shards_to_plain(Oid relid, Oid heap);
/* Oids of a table's indexes. */
extern List *ddl_shards_indexes(Oid relid);
/* A table, or an index, gets the file of another, which gets its. */
extern void ddl_shards_exchange(Oid relid, Oid prepared);
/* The same with TOAST tables; the one that comes keeps the options that the table's had. */
extern void ddl_shards_exchange_toast(Oid relid, Oid prepared);
/* As PostgreSQL names it, when it has come from another table. */
extern void ddl_shards_rename_toast(Oid relid);

/* ---- shards_rows.c: the rows ---- */
/* All rows of `from`, which has the columns of `table`, into the partitions, by remainder. */
extern void ddl_shards_spread(Oid table, Oid from, const Oid *shards, int n_shards);
/* All rows of the partitions into `to`, which has the columns of `table`. */
extern void ddl_shards_gather(Oid table, const Oid *shards, int n_shards, Oid to);
/* Of a table that has got its rows: all its indexes are there already. */
extern void ddl_shards_build_indexes(Oid relid);

#endif
