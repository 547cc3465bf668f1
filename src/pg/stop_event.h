/*
 * stop_event.h: named places where a developer can make a process wait, so that tests arrange interleavings instead of sleeping.
 *
 * A process stops at the events that its nodedb.stop_at lists, shows itself in nodedb.stop_events and goes on after nodedb.continue_from(). With the
 * setting empty, as it is outside tests, an event costs one branch.
 *
 *   backend   reserved           a schema change owns what it will lock, and has not run
 *             index-built        CREATE INDEX CONCURRENTLY: every node has it, and it is no part of the schema yet
 *             index-looked       ... and the early look for duplicates, of a unique one, is over
 *             shards-ready       a table is about to be distributed: every node has its rows prepared, nothing is reserved
 *             shards-taken       ... the builder has committed what this transaction takes, which is locked and not changed yet; the applier as well
 *             before-retry       a statement that lost a conflict is about to run again, in a new transaction
 *             before-propose     the write set is encoded, nothing is in the log
 *             proposed           the raft worker has the request; the verdict is open
 *             granted            the verdict is "commit": the ticket is ours, no ledger row yet
 *             before-turn        the ledger row is inserted
 *             in-turn            the turnstile is ours: last moment before the commit
 *             before-advance     committed and visible, the turnstile not moved; no interrupt is served here
 *   builder   shards-copied      of a table that is being distributed: the rows of the first pass are copied
 *             shards-locked      ... and it is locked: last moment before the last pass
 *   applier   apply-read         about to replay a batch
 *             apply-commit       replayed, in turn: last moment before the commit
 *   bulk      bulk-read          about to replay a large transaction ahead of its turn
 *   applier   bulk-waits         all pieces that are there are replayed, its turn has not come
 *             bulk-commit        replayed, in turn: last moment before the commit
 */
#ifndef NODEDB_STOP_EVENT_H
#define NODEDB_STOP_EVENT_H

#include "postgres.h"

extern char *nodedb_stop_at;

extern Size stop_event_shmem_size(void);
extern void stop_event_shmem_init(void *at, bool found);
extern void stop_event_guc_init(void);
extern void stop_event_wait(const char *name);

#define STOP_EVENT(name) \
	do { \
		if (unlikely(nodedb_stop_at[0] != '\0')) \
			stop_event_wait(name); \
	} while (0)

#endif
