/*
 * inbox.h: the service of the sequencer group's leader: which requests are let in, and when an epoch is closed (DESIGN.md, section 9).
 *
 * Volatile: it is empty in each term of a leader. What stands here and not in the log is lost with the leader; its waiter is told, or asks again under the same id.
 *
 * Invariants:
 * 1. Bounded in requests, bytes and per role; a request beyond a bound is refused at once, never queued silently.
 * 2. First come, first served: no request waits behind one that came later.
 * 3. No epoch before the leader has applied its own term's no-op: only then it knows the last epoch (invariant 4 of sequencer.h would turn such an epoch down).
 * 4. Adaptive without a clock: an epoch closes as soon as fewer than epochs_max are under way, so at once when idle; while they are, requests gather for the next.
 * 5. A request leaves when it is packed into an epoch. Should that be lost with the leader, so is the request.
 */
#ifndef ND_SEQ_INBOX_H
#define ND_SEQ_INBOX_H

#include "sequencer.h"

typedef struct SeqLimits
{
	uint32_t	requests_max;	/* waiting */
	uint64_t	bytes_max;		/* waiting */
	uint32_t	role_requests_max;	/* waiting, of one role */
	uint32_t	request_bytes_max;	/* of one request */
	uint32_t	groups_max;		/* of one request */
	uint32_t	group_unfinished_max;	/* transactions with a part in a group that are not finished: a group without a majority must not collect more */
	uint32_t	epoch_requests_max;
	uint32_t	epoch_bytes_max;	/* a single larger request goes alone */
	uint32_t	epochs_max;		/* under way */
} SeqLimits;

#define SEQ_LIMITS_DEFAULT ((SeqLimits) {.requests_max = 10000, .bytes_max = UINT64_C(256) << 20, .role_requests_max = 5000, \
	.request_bytes_max = 1u << 20, .groups_max = ENTRY_GROUPS_MAX, .group_unfinished_max = 10000, .epoch_requests_max = 1024, .epoch_bytes_max = 1u << 20, .epochs_max = 2})

typedef enum SeqRefusal
{
	SEQ_TAKEN = 0,				/* it waits here; or it did already, or it is ordered already: nothing to be done */
	SEQ_REFUSED_MALFORMED,
	SEQ_REFUSED_GROUP,			/* names a group that does not exist */
	SEQ_REFUSED_GROUPS,			/* too many groups */
	SEQ_REFUSED_BYTES,			/* larger than a request may be */
	SEQ_REFUSED_FULL,			/* the inbox is full: later */
	SEQ_REFUSED_ROLE,			/* the role's share is used up: later */
	SEQ_REFUSED_BEHIND,			/* a group has too many that are not finished: later */
	SEQ_REFUSED_NOMEM
} SeqRefusal;

typedef struct SeqInbox SeqInbox;

NdStatus	seq_inbox_create(const SeqLimits *limits, SeqInbox **out);
void		seq_inbox_destroy(SeqInbox *in);
/* Leadership begins, or ended: what waited is gone. */
void		seq_inbox_reset(SeqInbox *in);
/* An encoded REQUEST. last_group: the highest data group there is. The inbox takes a reference of its own. */
SeqRefusal	seq_inbox_offer(SeqInbox *in, const Sequencer *s, NdBlob *request, NdGroupId last_group);
/*
 * s is as of the term's own no-op or later. Packs the next EPOCH into `out` (empty before) when one may be closed now. time: the leader's clock; the epoch's is never
 * below an earlier one's. ND_OK: to be proposed, then seq_inbox_proposed(); ND_NOTFOUND: nothing to do; ND_NOMEM.
 */
NdStatus	seq_inbox_close(SeqInbox *in, const Sequencer *s, uint64_t time, NdBuf *out);
/* Its requests leave the inbox. Not called: the next close() packs them again. */
void		seq_inbox_proposed(SeqInbox *in);
uint32_t	seq_inbox_requests(const SeqInbox *in);
uint64_t	seq_inbox_bytes(const SeqInbox *in);
/* A short English text for errors; never NULL. */
const char *seq_refusal_text(SeqRefusal refusal);

#endif
