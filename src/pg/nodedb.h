/*
 * nodedb.h: what all of src/pg shares: settings, small helpers, the one place that maps a status to an SQLSTATE.
 */
#ifndef NODEDB_H
#define NODEDB_H

#include "postgres.h"
#include "catalog/pg_class.h"
#include "utils/relcache.h"

#include "core/base/base.h"
#include "core/wire/entry.h"

/* ---- settings (guc.c; each documented there with unit, range and when to change it) ---- */
typedef enum ReadConsistency
{
	READ_LOCAL = 0,
	READ_SESSION,
	READ_STRONG,				/* and what comes behind it: by asking a majority */
	READ_FENCED
} ReadConsistency;

extern char *nodedb_listen;				/* host:port of the node port */
extern char *nodedb_database;			/* the one replicated database */
extern char *nodedb_directory;			/* log directory; empty: <data directory>/nodedb */
extern char *nodedb_tls_cert_file;
extern char *nodedb_tls_key_file;
extern char *nodedb_tls_ca_file;
extern int	nodedb_commit_timeout;		/* ms */
extern int	nodedb_schema_wait;			/* ms; 0: not at all */
extern int	nodedb_read_consistency;	/* ReadConsistency */
extern int	nodedb_election_timeout;	/* ms */
extern int	nodedb_segment_size;		/* MB */
extern int	nodedb_log_keep;			/* MB */
extern int	nodedb_log_cache;			/* MB */
extern int	nodedb_scrub_rate;			/* kB per second; 0: off */
extern int	nodedb_writeset_memory;		/* kB, per session, before it spills */
extern int	nodedb_max_transaction_size;	/* MB */
extern int	nodedb_statement_retries;	/* 0: off */
extern int	nodedb_reserve_after;	/* failures of a statement; 0: never */
extern int	nodedb_retry_budget;	/* per role and second; 0: no limit */
extern int	nodedb_bulk_keys;			/* keys of one transaction before they become relation keys */
extern bool nodedb_replicate_ddl;
extern int	nodedb_shard_online_size;	/* kB; smaller tables are spread under their lock */
extern int	nodedb_default_data_group;	/* of new tables; 0: one by the hash of its name */
extern int	nodedb_sequence_block;		/* values of the smallest lease */
extern int	nodedb_max_leased_sequences;
extern char *nodedb_idempotency_key;		/* empty: none */
extern int	nodedb_idempotency_keep;	/* minutes */
#define BULK_APPLIERS_MAX 16
extern int	nodedb_bulk_appliers;	/* how many large transactions of other nodes are replayed ahead at a time */
extern int	nodedb_bulk_wait;		/* ms without headway; 0: not at all */
extern int	nodedb_apply_batch;			/* entries per local transaction of the applier */

extern void nodedb_guc_init(void);

/* ---- errors.c ---- */
/* Of its own class, for nobody may take it for a reason to run the transaction again: its idempotency key stands for a committed one. */
#define ERRCODE_NODEDB_ALREADY_COMMITTED MAKE_SQLSTATE('N', 'D', '0', '0', '1')
/* SQLSTATE of a status, for ereport(). */
extern int	nodedb_sqlstate(NdStatus status);

/* ---- shmem.c ---- */
/* Applier: it changes this table from now on, and who is in its way can be told; NULL: none. */
extern void nodedb_show_applying(const char *schema, const char *table);

/* ---- identity of objects ---- */
/* Is this table's access method nodedb? Cheap: looks at rd_rel->relam. */
extern Oid	nodedb_am_oid(void);		/* InvalidOid when the extension is not in this database */
extern bool nodedb_is_distributed(Relation rel);	/* AM nodedb, permanent */
extern bool nodedb_relid_is_distributed(Oid relid);
/* A copy of the relation's row of pg_class, as the caches have it (without the fields of variable length). false: there is none. */
extern bool nodedb_pg_class(Oid relid, FormData_pg_class *form);
/* Oid of the schema `nodedb` of the extension; error when missing. */
extern Oid	nodedb_schema_oid(void);

#endif
