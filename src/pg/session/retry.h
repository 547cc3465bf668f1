/*
 * retry.h: a single statement that lost a conflict is run again by the server, where that is provably safe.
 */
#ifndef NODEDB_RETRY_H
#define NODEDB_RETRY_H

#include "session.h"

#include "nodes/plannodes.h"
#include "utils/timestamp.h"

/* Hooks around those of every other module: when all libraries are loaded (shmem_startup). */
extern void retry_init(void);
/* What a client that lost a conflict should do, and why the server did not do it for him. Static memory; looks nothing up. */
extern const char *retry_hint(void);

/* ---- retry_effects.c: what an attempt did that a rollback does not undo ---- */

extern bool retry_watching;		/* an attempt runs */
extern void retry_watch_begin(void);
extern void retry_watch_function(Oid function);
extern void retry_watch_plan(PlannedStmt *plan);
extern void retry_watch_utility(Node *statement);
/* In a transaction behind the attempt: what makes it unsafe to run it again, in words ("function x()"); NULL: nothing. */
extern const char *retry_watch_verdict(void);

/* ---- retry_budget.c: how much retrying is good ---- */

typedef struct RetryLimits RetryLimits;

extern Size retry_limits_size(void);
extern void retry_limits_init(void *at, bool found);
/* May this role run a statement again now? NULL: yes, and it is counted; else why not, a sentence. */
extern const char *retry_limits_take(Oid role, TimestampTz now);
/* What became of a statement that was run again. */
extern void retry_limits_outcome(bool committed, TimestampTz now);

#endif
