/*
 * shards_online.h: the rows of a table are spread beside its writers: each node prepares the files that its shards will have, and only their exchange takes the table (ACCESS EXCLUSIVE).
 *
 * On one node, of three kinds of processes:
 *   session   wants it: has the lease worker tell all nodes by rows of nodedb.shard_builds, waits until all that are worth waiting for are ready, issues the schema change (shards_wait.c)
 *   builder   a background worker of each node for itself: copies the rows, builds indexes, follows the writers, in one transaction (shards_builder.c, shards_copy.c)
 *   switcher  whoever runs the schema change, the session or the applier: gets the table's lock, has the builder finish, takes the files (shards_switch.c)
 *
 * Phases (who moves them):
 *   IDLE -> STARTING              lease worker, which then starts the process
 *   STARTING -> COPYING -> INDEXING -> FOLLOWING -> READY    builder
 *   READY -> YIELDED              builder, asked by a switcher: it has let go of its lock, and does not look at the table
 *   YIELDED -> DONE               builder, told that the switcher has the lock: the last changes are copied, its transaction is committed
 *   any -> FAILED                 builder: it has rolled back, and will not try again for this session
 *   any but DONE, FAILED -> IDLE  builder, when it ends; it is started again while the session waits
 *
 * Invariants:
 * 1. The copy is the builder's transaction, open from the first row to the switch: what ends the builder before (an error, a crash, a session that is gone) leaves nothing of it. Rows of the
 *    copy are younger than every snapshot that was taken before the last moment: to those the table is empty, as it is with PostgreSQL's own rewriting ALTER TABLE; a snapshot
 *    taken later sees all of them, and meanwhile nobody else can change the table.
 * 2. A copy is taken by a switcher only that has changed nothing in its transaction, so that what is committed is all that there is to see; by an applier only when the schema change is
 *    alone in its transaction and it is its turn (apply_alone), so that it is not begun again behind the builder's commit. All others copy the rows under the lock.
 * 3. Whether a node takes what it has prepared or copies under the lock, the same rows end in the same tables. No node needs another's copy.
 * 4. The builder holds ACCESS SHARE on the table and its shards until it yields: what it copies has the same columns and files all the time. It gives way to whoever waits for more.
 */
#ifndef NODEDB_DDL_SHARDS_ONLINE_H
#define NODEDB_DDL_SHARDS_ONLINE_H

#include "ddl_internal.h"

#include "storage/spin.h"
#include "utils/rel.h"

#define SHARDS_PREFIX "shard_build_"	/* of the names of the builder's tables, in schema nodedb */

typedef enum ShardsPhase
{
	SHARDS_IDLE = 0,
	SHARDS_STARTING,
	SHARDS_COPYING,
	SHARDS_INDEXING,
	SHARDS_FOLLOWING,
	SHARDS_READY,
	SHARDS_YIELDED,
	SHARDS_DONE,
	SHARDS_FAILED
} ShardsPhase;

typedef struct ShardsJob
{
	char		session[NAMEDATALEN];	/* node.incarnation.pid.number; empty: none */
	char		schema[NAMEDATALEN];
	char		table[NAMEDATALEN];
	char		column[NAMEDATALEN];	/* empty: one table */
	int			n_shards;		/* of the new ones; 1 for one table */
} ShardsJob;

typedef struct ShardsShared
{
	slock_t		lock;			/* all of it */

	/* session */
	int			want_pid;		/* 0: none */
	uint32		want_number;
	ShardsJob	want;

	/* lease worker, while there is no builder */
	ShardsJob	job;
	bool		unwanted;		/* lease worker, switcher: the builder ends */

	/* builder */
	int			pid;			/* 0: none */
	int			pgprocno;
	ShardsPhase phase;
	Oid			relid;
	int64		rows;			/* copied, by the first pass */
	int64		rows_estimated;
	int			passes;
	char		message[256];	/* FAILED: why */

	/* switcher */
	int			switcher_pid;	/* 0: none */
	int			switcher_pgprocno;
	LocalTransactionId switcher_lxid;
	TransactionId switcher_xid; /* it has the lock; it is over when this is */
} ShardsShared;

extern ShardsShared *shards_shared;

extern Size ddl_shards_shmem_size(void);
extern void ddl_shards_shmem_init(void *at, bool found);
/* The phase, and a word to the lease worker, which tells the other nodes. */
extern void ddl_shards_set_phase(ShardsPhase phase);
/* Of a builder's table, and of its index that stands for one of the table's. */
extern char *ddl_shards_hidden_name(int shard, Oid index);

/* ---- shards_wait.c: the session ---- */
/* Returns when all nodes are ready, or at once where that is not to be had: then the rows are copied under the lock. ereports what a node reports. */
extern void ddl_shards_prepare(Oid relid, const char *column, int n_shards);

/* ---- shards_switch.c ---- */
/* Before the table is locked: true: this node's builder has what is needed, and has let go of its lock. column NULL: one table. */
extern bool ddl_shards_yield(Oid relid, const char *column, int n_shards);
/* With the table locked: true: the builder's tables have all rows. */
extern bool ddl_shards_finish(void);
/* The shards, in order of remainders, take the builder's files, with indexes for those of `table`; or one table does. */
extern void ddl_shards_take(Oid table, const Oid *shards, int n_shards);

/* ---- shards_copy.c: the rows, in the builder's transaction ---- */
typedef struct ShardsCopy ShardsCopy;

/* Locks the table and its shards (ACCESS SHARE), and makes the hidden tables. Allocates in the current context. */
extern ShardsCopy *ddl_shards_copy_begin(const ShardsJob *job);
extern Oid	ddl_shards_copy_relid(const ShardsCopy *c);
extern double ddl_shards_copy_estimate(const ShardsCopy *c);
/* The rows that are committed now go into the hidden tables, or what has changed since the last pass does; returns how many. */
extern int64 ddl_shards_copy_pass(ShardsCopy *c);
/* After the first pass. */
extern void ddl_shards_copy_index(ShardsCopy *c);
/* ereports when somebody waits for a lock that ours stands in the way of; looks twice a second. */
extern void ddl_shards_copy_give_way(ShardsCopy *c);
extern void ddl_shards_copy_unlock(ShardsCopy *c);
/* ereports when the files are others than those that were copied. */
extern void ddl_shards_copy_check(ShardsCopy *c);
extern void ddl_shards_copy_end(ShardsCopy *c);

/* ---- shards_files.c: what a crash would leave ---- */
/* The builder has made these tables (their TOAST tables are listed as well), or indexes. */
extern void ddl_shards_files_add(const List *relids);
/* Its transaction is over, or PostgreSQL is about to roll it back. */
extern void ddl_shards_files_forget(void);
/* Was there a crash? */
extern bool ddl_shards_files_left(void);
/* Then drop what nobody owns; returns how many. In a transaction. */
extern int	ddl_shards_files_drop(void);

#endif
