/*
 * parts.h: the running transaction as the data groups see it: a part for each group that it changed, locked or, if SERIALIZABLE, read something in.
 *
 * Where its keys go:
 *   rows, unique values, reads        into the part of their table's group
 *   a table that it changed           likewise, in the mode of its lock
 *   a relation that it only locked    weak locks (a partition that was pruned late, a partitioned parent, a view, a table that was only read) make no part. Only a
 *                                     schema change minds them, and it has its keys in all groups: they go into the first part, as ACCESS SHARE
 *   all relations of a schema change  into all groups of the cluster, each of which gets a part: whatever a transaction of one group locked, its group's log has
 *                                     the schema change's key
 *   LOCK TABLE                        likewise, but in other groups as ACCESS EXCLUSIVE: what they have for it is ACCESS SHARE. Groups that its node does not know yet: placement_key()
 *
 * Invariants:
 * 1. Every lock that can block an applier has its key in the group of its table, or conflicts with a key that stands in all groups.
 * 2. A schema change never loses to a weak lock: ACCESS SHARE is remembered by no certifier.
 * 3. In a cluster of one data group there is one part, with all keys as they are.
 */
#ifndef NODEDB_PARTS_H
#define NODEDB_PARTS_H

#include "../nodedb.h"

typedef struct TxnPart
{
	NdGroupId	group;
	EntryKey   *keys;
	uint32		n_keys;
	EntryKey   *reads;
	uint32		n_reads;
} TxnPart;

/* How many data groups transactions can have: 1 without a sequencer. */
extern uint32 parts_groups(void);
/* Ascending by group, one or more; palloc'd. Looks nothing up: a transaction that failed may ask, too. */
extern TxnPart *parts_make(uint32 *n);

/* Bytes of a part's body, in order. */
typedef void (*PartSink) (void *ctx, uint32 part, const char *data, Size len);

/*
 * Hand out the body of a transaction of several parts. Records go to the part of their table's group, where tables are numbered anew; in each their order stays, and
 * between tables there is none. With a utility command all of it goes to the first part: rows before and behind a command are of different tables.
 */
extern void parts_route(const TxnPart *parts, uint32 n, PartSink sink, void *ctx);

#endif
