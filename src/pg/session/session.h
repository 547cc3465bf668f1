/*
 * session.h: the way of a transaction through its backend: touch, capture, propose, await the verdict, commit in turn.
 */
#ifndef NODEDB_SESSION_H
#define NODEDB_SESSION_H

#include "../nodedb.h"
#include "utils/rel.h"

extern void session_init(void);			/* _PG_init: transaction callbacks and hooks */
extern void start_init(void);			/* _PG_init: who is let in while this server has not caught up since its start */
/* Is this the replicated database? False outside of a transaction until it is known. */
extern bool session_in_replicated_database(void);
/* For functions that need a cluster: ereports unless this is the replicated database of a node. */
extern void session_check_node(void);
/*
 * Before the first change of a distributed table in a transaction, and cheaply before each later one: is this node a working member, is this the
 * replicated database, is the isolation level supported, has the transaction been kicked out? ereports if not.
 */
extern void session_before_write(Relation rel);
/* The same without a relation, for DDL. */
extern void session_before_utility(void);
/* Has the applier asked this transaction to die (40001)? Raises it when it is safe. */
extern void session_check_doomed(void);
/* Before the TXN is proposed: raises 40001 if doomed; afterwards the transaction can only be demoted. */
extern void session_enter_commit(void);
/* This transaction wrote something local (heap): its commit must flush WAL. */
extern void session_note_local_write(void);
/*
 * Put a RESERVE entry for these keys into the group's log, and wait until they are this transaction's and everything before is applied here. Others that hold them, or asked
 * before, are waited for, first come, first served. false: not its turn within nodedb.commit_timeout; or, at once, the queue is full, or this transaction has reserved something in
 * the group before and asks for more that others hold (try again later). ereports when there is no quorum, and after lock_timeout. The reservation ends with the
 * transaction; or, when age is not 0, after so many entries, which takes the protection and nothing else. Who reserves in several groups does so in ascending order: then nobody waits
 * in a circle.
 */
extern bool session_reserve(NdGroupId group, EntryKey *keys, uint32 n, uint64 age);
/* Did the last one that succeeded have to wait for others? */
extern bool session_reserve_waited(void);

/*
 * Run queries of nodedb's own, connected to SPI, with a superuser's rights, reading what is applied here (internal.c). What is kept beyond the end
 * is allocated elsewhere.
 */
typedef struct SessionInternal
{
	Oid			role;			/* of the caller */
	int			security;
	int			guc_level;
} SessionInternal;

extern void session_internal_begin(SessionInternal *caller);
extern void session_internal_end(const SessionInternal *caller);
extern void session_internal(void (*run) (void *arg), void *arg);

/* The transaction block was rolled back under an idle client: for the utility hook, so that COMMIT fails instead of answering ROLLBACK. */
extern bool session_was_rolled_back_idle(void);
extern void session_clear_rolled_back_idle(void);
/* Inside the transaction that failed: was it doomed by the guard? If that is what the error is about, it becomes 40001. */
extern bool session_take_kick(ErrorData *edata);
extern void session_raise_kicked(void) pg_attribute_noreturn();

#endif
