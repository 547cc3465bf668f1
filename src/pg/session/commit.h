/*
 * commit.h: the callbacks of commit.c, called by session.c in the order of a transaction's life.
 */
#ifndef NODEDB_COMMIT_H
#define NODEDB_COMMIT_H

#include "core/certifier/certifier.h"
#include "session.h"

extern void commit_pre_commit(void);	/* XACT_EVENT_PRE_COMMIT: may raise */
extern void commit_done(void);			/* XACT_EVENT_COMMIT: after visibility, before locks are released; never raises */
extern void commit_prepared(void);		/* XACT_EVENT_PREPARE */
extern void commit_aborted(void);		/* XACT_EVENT_ABORT: never raises */
extern bool commit_granted(void);		/* certified, waiting for its turn or committing */
extern bool commit_outcome_open(void);	/* proposed, no definite answer yet */
/* Text of this transaction's id, palloc'd: node.incarnation.counter.base. Gives it one if it has none. */
extern char *commit_transaction_id(void);
/*
 * What became of the transaction `id`? Puts a CANCEL of it into the log: the first of that and the TXN there wins, so afterwards the answer stands.
 * base: applied before the id's TXN can have been proposed. False: no majority within nodedb.commit_timeout.
 */
extern bool commit_ask_outcome(TxnId id, uint64 base, Verdict *verdict);

#endif
