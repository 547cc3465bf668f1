/*
 * sequence_internal.h: what the files of sequence/ share: a sequence's facts, a lease, the table of leases, the cluster's row.
 */
#ifndef NODEDB_SEQUENCE_INTERNAL_H
#define NODEDB_SEQUENCE_INTERNAL_H

#include "sequence.h"

#include "access/xact.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "utils/queryenvironment.h"
#include "utils/timestamp.h"

/* Consecutive values: next, next + increment, ... `left` of them. */
typedef struct Lease
{
	int64		next;
	uint64		left;
	int64		increment;
	int64		generation;		/* of the row that it was taken from */
} Lease;

/* ---- info.c: what the catalogs say of a sequence, cached per session ---- */
typedef struct SequenceInfo
{
	Oid			oid;			/* hash key */
	bool		valid;
	Oid			owner_table;	/* InvalidOid: owned by no column */
	bool		replicated;		/* its values are the cluster's */
	bool		mine;			/* made, altered, moved or restarted by this transaction: its row may be locked by it */
	char		schema[NAMEDATALEN];
	char		name[NAMEDATALEN];
	int64		start;
	int64		increment;
	int64		min;
	int64		max;
	bool		cycle;

	/* what currval() answers: survives invalidations */
	bool		drawn;
	int64		last;
} SequenceInfo;

/* NULL: no such sequence. The pointer lasts as long as the session; its facts until the next invalidation. */
extern SequenceInfo *info_get(Oid sequence);
extern void info_end_of_transaction(void);
extern void info_forget_drawn(void);	/* DISCARD SEQUENCES */
/* Are sequences of this database leased here and now? Not before there is a cluster, and not in the applier. */
extern bool sequences_active(void);

/* ---- table.c: the leases of this node, in shared memory ---- */
typedef enum AskKind
{
	ASK_LEASE = 0,
	ASK_SET
} AskKind;

/* What the worker is asked for. */
typedef struct Ask
{
	Oid			sequence;
	uint64		number;
	AskKind		kind;
	int64		value;			/* ASK_SET */
	bool		called;
	uint64		block;			/* ASK_LEASE: values wanted */
	TimestampTz asked_at;
} Ask;

extern void table_init(void);	/* _PG_init */
extern bool table_draw(Oid sequence, int64 *value);
/* Ask the worker and wait; ereports what went wrong. After ASK_LEASE draw again: others may have been faster. */
extern void table_ask(Oid sequence, AskKind kind, int64 value, bool called);
/* COMMIT callbacks: never raise. Publishing replaces what was there, or adds to what it continues; no room means that the values are lost. */
extern void table_publish(Oid sequence, const Lease *lease);
extern void table_drop(Oid sequence);
extern void table_drop_other_generation(Oid sequence, int64 generation);
extern void table_rows_changed(void);	/* local sequences should be brought up to date */
/* Worker. */
extern void table_attach_worker(void);
extern int	table_asks(Ask *asks, int max);	/* unanswered ones */
extern void table_answer(Oid sequence, uint64 number, int sqlstate, const char *message, const char *hint);
extern bool table_take_rows_changed(void);

/* ---- row.c: a sequence's row in nodedb.sequences, changed in the current transaction ---- */
extern Oid	row_table(void);	/* InvalidOid: the extension is older, or not here */
/* Lease up to `wanted` values. */
extern void row_lease(const SequenceInfo *info, uint64 wanted, Lease *lease);
/* setval() and RESTART: the next value is `value`, or the one behind it when called. */
extern void row_place(const SequenceInfo *info, int64 value, bool called);
/* Where the local sequence stands, as the current transaction sees it. */
extern void row_local_position(const SequenceInfo *info, int64 *value, bool *called);
/* Leases on every node end; the position stays. */
extern void row_new_generation(const SequenceInfo *info);
extern void row_delete(const char *schema, const char *name);
extern void row_rename(const char *schema, const char *name, const char *new_schema, const char *new_name);
extern void row_rename_schema(const char *schema, const char *new_schema);
/* Give a sequence that has moved but has no row its row; true when it was done. */
extern bool row_adopt(const SequenceInfo *info);

/* ---- staged.c: leases that take effect at the end of the transaction ---- */
extern void staged_init(void);
/* Of the newest lease that this (sub)transaction has taken of a sequence; NULL when none. */
extern Lease *staged_lease(Oid sequence);
extern void staged_add(Oid sequence, const Lease *lease);	/* NULL: nothing is left, leases in the table end */
/* Local sequences should follow when this transaction has committed. */
extern void staged_rows_changed(void);

/* ---- rewrite.c: calls of PostgreSQL's own functions become calls of ours ---- */
extern void rewrite_init(void);
extern bool rewrite_wanted(Node *node);
extern Node *rewrite_expression(Node *node);
extern bool rewrite_is_identity(Node *call);	/* of nodedb.nextval(): made from an identity column, whose owner needs no right on the sequence */

/* ---- copy.c ---- */
/* Run COPY FROM when omitted columns draw from replicated sequences; false: PostgreSQL's own way is right. */
extern bool copy_with_leases(PlannedStmt *pstmt, const char *source, QueryEnvironment *env, uint64 *processed);

/* ---- draw.c ---- */
extern void draw_forget_last(void);

/* ---- utility.c, worker.c ---- */
extern void utility_init(void);
extern void worker_register(void);

#endif
