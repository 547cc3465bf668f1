/*
 * raft_worker_orphans.h: what transactions of this server leave in the log though they are over.
 */
#ifndef NODEDB_RAFT_WORKER_ORPHANS_H
#define NODEDB_RAFT_WORKER_ORPHANS_H

#include "../shmem.h"

extern void orphans_work(void); /* in every round of the raft worker */
/* Something that `owner` has reserved stood in the way of a transaction, of whatever node. */
extern void orphans_suspect(NdGroupId group, TxnId owner);

#endif
