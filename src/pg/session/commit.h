/*
 * commit.h: the callbacks of commit.c, called by session.c in the order of a transaction's life.
 */
#ifndef NODEDB_COMMIT_H
#define NODEDB_COMMIT_H

#include "session.h"

extern void commit_pre_commit(void);	/* XACT_EVENT_PRE_COMMIT: may raise */
extern void commit_done(void);			/* XACT_EVENT_COMMIT: after visibility, before locks are released; never raises */
extern void commit_prepared(void);		/* XACT_EVENT_PREPARE */
extern void commit_aborted(void);		/* XACT_EVENT_ABORT: never raises */
extern bool commit_granted(void);		/* certified, waiting for its turn or committing */
extern bool commit_outcome_open(void);	/* proposed, no definite answer yet */

#endif
