/*
 * ledger.h: which entries' effects this node's tables hold: rows (group, index) in nodedb.ledger, inserted by the very transaction that brings the
 * effects, pruned later. After a crash PostgreSQL recovers a prefix of the commits in ticket order, and the highest row of each group says
 * how far that is.
 */
#ifndef NODEDB_LEDGER_H
#define NODEDB_LEDGER_H

#include "../nodedb.h"

extern void ledger_insert(NdGroupId group, uint64 index);	/* inside the transaction */
/* A row for each group in which these tickets, which are open, have parts: at the highest index. */
extern void ledger_insert_tickets(uint64 first, uint32 n);
extern void ledger_load(void);		/* applier, in a transaction: sets the watermarks */
extern uint64 ledger_prune(void);	/* applier, in a transaction: removes all but each group's highest row */

#endif
