/*
 * raft_worker_bulk.h: the raft worker's part in replaying large transactions ahead of their turn (bulk.c).
 */
#ifndef NODEDB_RAFT_WORKER_BULK_H
#define NODEDB_RAFT_WORKER_BULK_H

#include "bulk.h"
#include "node/node.h"

/* An entry was delivered, and is not one of those whose effects the tables hold since before the start: take a piece, drop what has ended without a ticket. */
extern void bulk_delivered(const NodeDelivery *d);
/* This entry commits: the bulk applier that works on it, + 1; 0: none does. It is the applier's from now on. */
extern uint32 bulk_of(const NodeDelivery *d);
/* For node_prepared(). */
extern uint64 bulk_prepared(NdGroupId group);
/* Now and then: processes that are gone. */
extern void bulk_mind(void);

#endif
