/*
 * commit_internal.h: what commit.c and commit_several.c share: requests of the transaction that is being committed.
 */
#ifndef NODEDB_COMMIT_INTERNAL_H
#define NODEDB_COMMIT_INTERNAL_H

#include "commit.h"

#include "../shmem.h"
#include "../tableam/parts.h"

#define CHUNK_BYTES (1024 * 1024)

/* ---- commit.c ---- */

extern TxnId commit_txn_id(void);
/* Which part of the group's log this transaction has surely seen (invariant 1 of commit.c). */
extern uint64 commit_base(NdGroupId group);
/*
 * Put a piece of the body into the group's log, as its number'th; returns its index. head: bytes of the body; then len bytes of the captured one from offset on.
 * base: of the group, sampled before the first of them.
 */
extern uint64 commit_chunk(NdGroupId group, uint32 number, uint64 base, const char *head, Size head_len, uint64 offset, Size len);
/*
 * Submit the TXN, or for ND_GROUP_SEQUENCER the REQUEST, and await the answer. From here on errors are 40003. Frees header.
 */
extern SlotState commit_submit(EntryKind kind, NdGroupId group, NdBuf *header, uint64 offset, Size len);
/* Where the SERIALIZABLE transaction's reads of the group are judged from; ereports when that is not known. */
extern uint64 commit_read_base(NdGroupId group);
extern void commit_check(NdBuf *buf);

/* ---- commit_several.c ---- */

/* The way of a transaction over several groups, as far as the answer to its request. May escalate the parts' keys. */
extern SlotState commit_several(TxnPart **parts, uint32 *n);
/* The REQUEST of a fence: a part without keys in every data group. */
extern void commit_several_fence(TxnId id, NdBuf *request);

#endif
