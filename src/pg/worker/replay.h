/*
 * replay.h: what the processes that replay entries have in common: their settings, and how they read an entry from the log.
 */
#ifndef NODEDB_REPLAY_H
#define NODEDB_REPLAY_H

#include "../nodedb.h"
#include "store/store.h"

/* Pin what replayed values listen to, capture nothing, find the log. Once per process, with a database connection; process life. */
extern void replay_init(void);

/* SQLSTATE of a log that could not be read: damage stays, anything else (memory, descriptors, a raft worker that is starting) may pass. */
extern int	replay_sqlstate(NdStatus status);

/* Read and decode an entry; header points into payload, which the caller frees. ereports, with payload freed. */
extern void replay_read(StorePosition at, NdGroupId group, uint64 index, uint64 term, NdBuf *payload, EntryHeader *header);

#endif
