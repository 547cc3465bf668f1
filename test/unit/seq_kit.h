/*
 * seq_kit.h: what the sequencer's test programs share: requests and entries by value.
 */
#ifndef SEQ_KIT_H
#define SEQ_KIT_H

#include "../../src/core/sequencer/inbox.h"
#include "../../src/core/sequencer/participant.h"

#define KIT_PARTS_MAX 8

typedef struct KitPart
{
	NdGroupId	group;
	uint64_t	base;
	uint64_t	key;			/* changed, in mode KEY_ROW_UPDATE; 0: none */
	uint64_t	read;			/* read by key, in mode KEY_ROW_SHARE, as of base; 0: none */
} KitPart;

/* Test failures by cmocka when memory lacks: paused meanwhile. The caller owns the blob. */
NdBlob	   *kit_request(TxnId txn, uint64_t role, const KitPart *parts, uint32_t n);
/* A request of groups 1 and 2 with one key each. */
NdBlob	   *kit_pair(TxnId txn, uint64_t role);
NdBlob	   *kit_epoch(uint64_t epoch, uint64_t time, NdBlob *const *requests, uint32_t n);
/* Apply one entry of each kind; the status of sequencer_apply(). */
NdStatus	kit_apply_epoch(Sequencer *s, uint64_t index, uint64_t epoch, uint64_t time, NdBlob *const *requests, uint32_t n);
NdStatus	kit_apply_vote(Sequencer *s, uint64_t index, NdGroupId group, uint64_t position, bool yes);
NdStatus	kit_apply_abort(Sequencer *s, uint64_t index, uint64_t position);
NdStatus	kit_apply_ack(Sequencer *s, uint64_t index, NdGroupId group, uint64_t decision);

#endif
