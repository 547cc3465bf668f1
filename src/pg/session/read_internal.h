/*
 * read_internal.h: what the read*.c files share.
 */
#ifndef NODEDB_READ_INTERNAL_H
#define NODEDB_READ_INTERNAL_H

#include "read.h"
#include "utils/portal.h"

/* ---- read_wait.c ---- */

/* Data groups that a statement reads from. */
typedef struct ReadGroups
{
	bool		all;
	Bitmapset  *some;			/* unless all; NULL: none */
} ReadGroups;

#define READ_ALL_GROUPS ((ReadGroups) {.all = true})

extern bool read_groups_within(const ReadGroups *part, const ReadGroups *whole);

/*
 * Per group: an index of its log, from 1 to read_groups() - 1; more of read_token. NULL before read_prepare(); they live as long as the process.
 *
 * read_seen    watermarks at the end of the last transaction: every snapshot of this one shows at least that
 * read_token   what this session asked to see by nodedb.use_session_token()
 * read_sampled  watermarks just before a SERIALIZABLE transaction took its snapshot anew
 */
extern uint64 *read_seen;
extern uint64 *read_token;
extern uint64 *read_sampled;

/* Make them; may fail for want of memory. */
extern void read_prepare(void);
extern uint32 read_groups(void);
/* Does nodedb.read_consistency ask for anything that the snapshots of this transaction might not show, of whatever group? Cheap. */
extern bool read_wanted(void);
typedef enum ReadWait
{
	READ_SEEN,					/* every snapshot of this transaction shows enough */
	READ_RENEW,					/* snapshots taken before the call may be older */
	READ_IN_THE_WAY				/* a lock of this transaction keeps the applier from getting there; only if asked for */
} ReadWait;

/*
 * Wait until this node shows what the setting asks for of these groups.
 *
 * lets_go  the caller can let go of its locks and come back; else READ_IN_THE_WAY is an error, 40001
 *
 * ereports 57P03: no majority, or not caught up, within nodedb.commit_timeout.
 */
extern ReadWait read_wait(const ReadGroups *groups, bool lets_go);
/* Sample the watermarks into read_sampled. True: beyond read_seen, so that a snapshot taken now shows more. */
extern bool read_sample(void);
/* Is the applier stopped at a lock while somebody waits for one of ours? */
extern bool read_in_the_way(void);
extern void read_raise_in_the_way(void) pg_attribute_noreturn();

#define READ_POLL_MS 10

/* ---- read_fence.c ---- */

/* Must a snapshot that reads from these groups stand at one place of the order of all groups? */
extern bool read_fences(const ReadGroups *groups);
/*
 * Like read_wait(), for a place in the order of all groups. READ_RENEW: this node stands there, and stays there until commit_fence_leave(): take the snapshot anew,
 * at once. Never READ_SEEN.
 */
extern ReadWait read_fence(bool lets_go);

/* ---- read.c ---- */

/* This transaction has waited for these groups: nothing in the same client message waits for them again. */
extern void read_mark_waited(const ReadGroups *groups);

/* ---- read_again.c ---- */

/* May this query, about to be started, be ended and planned again when it is to run? */
extern bool read_again_possible(QueryDesc *query);
extern void read_again_later(QueryDesc *query);
extern bool read_again_due(QueryDesc *query);
/* In ExecutorRun: let go, wait, plan and start again. */
extern void read_again(QueryDesc *query);

/* ---- read_snapshot.c ---- */

/*
 * READ COMMITTED: may this query's snapshot be exchanged? No when an outer query runs under it too. utility: portal of the utility statement around
 * it; harmless: references to the snapshot that no reader holds
 */
extern bool read_can_renew_statement(QueryDesc *query, Portal utility, uint32 harmless);
/* Exchange it for one taken now; only after read_can_renew_statement(). */
extern void read_renew_statement(QueryDesc *query);
/* REPEATABLE READ: take the transaction's snapshot anew. query is NULL before a utility statement. False when somebody else holds it. */
extern bool read_renew_transaction(QueryDesc *query);
/* READ COMMITTED: the snapshot that a utility statement of this portal scans under. */
extern void read_renew_portal(Portal portal);

#endif
