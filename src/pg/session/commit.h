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
/* Text of this transaction's id, palloc'd: node.incarnation.counter, and .base for each data group. Gives it one if it has none. */
extern char *commit_transaction_id(void);
/*
 * What became of the transaction `id` in this group? Puts a CANCEL of it into its log: the first of that and the TXN or MARKER there wins, so afterwards the answer
 * stands, for this group. base: of the group, applied before the id's TXN can have been proposed. False: no majority within nodedb.commit_timeout.
 */
extern bool commit_ask_outcome(TxnId id, NdGroupId group, uint64 base, Verdict *verdict);

/*
 * A fence (read_fence.c): a transaction of its own, with a part in every data group, that changes nothing. Its ticket is this backend's until commit_fence_leave(), then the
 * applier's, like that of a transaction whose backend is gone.
 */
typedef enum FenceState
{
	FENCE_OPEN,
	FENCE_TURN,					/* at the turnstile: what this node shows is what stands before the fence, in all groups */
	FENCE_DEMOTED				/* the applier needs a lock of ours first */
} FenceState;

extern void commit_fence_propose(void);
extern FenceState commit_fence_state(void);	/* ereports when there is none: refused, or no majority */
extern bool commit_fence_leave(void);	/* there was one */

#endif
