/*
 * sequencer.h: the order of transactions over several groups: a pure function of the sequencer group's log (DESIGN.md, section 9).
 *
 * State: the last epoch and its time; for every transaction that is not finished its position, its parts, their votes, its decision; for every
 * group its last position, its last decision, and which of its outcome entries are committed.
 *
 * Invariants:
 * 1. Pure: equal logs give equal states, and equal bytes of them. Every replica applies every entry, whoever leads.
 * 2. Positions ascend in the order of the log, decisions in the order in which they fall. Both are consecutive and never given twice.
 * 3. Per group, a transaction names the position before its own and the decision before its own: so that a group's log takes each marker and each outcome exactly
 *    once and in order (certifier.h, invariant 7), whatever leaders propose.
 * 4. An EPOCH counts when its number is the last one's plus one and its time not below the last one's, else it has no effect: what a leader made of an
 *    old state orders nothing. Its requests come again, under their ids.
 * 5. A request whose id is here already gets no second position. A late copy that comes when the id is forgotten is ordered and aborts, for every group remembers the
 *    id, or is so far on that its base is too old (certifier.h).
 * 6. Decided once: by the first no, the last yes, or an ABORT entry, whichever comes first in the log. What comes later changes nothing.
 * 7. Forgotten when the outcome entries of all its groups are committed (ACK entries say so): from then on the groups' own logs tell everything.
 * 8. apply() changes nothing when it says ND_NOMEM.
 */
#ifndef ND_SEQUENCER_H
#define ND_SEQUENCER_H

#include "../wire/seq_entry.h"

typedef struct Sequencer Sequencer;

typedef enum SeqDecision
{
	SEQ_OPEN = 0,				/* next: each of the others */
	SEQ_COMMIT,					/* all groups voted yes */
	SEQ_ABORT_VOTE,				/* group `by` voted no */
	SEQ_ABORT_SILENT			/* an ABORT entry came first */
} SeqDecision;

typedef enum SeqVoteKind
{
	SEQ_VOTE_NONE = 0,
	SEQ_VOTE_YES,
	SEQ_VOTE_NO
} SeqVoteKind;

typedef struct SeqTxnPart
{
	NdGroupId	group;
	uint8_t		vote;			/* SeqVoteKind */
	uint64_t	previous;		/* position before in this group; 0: none */
	uint64_t	previous_decision;	/* decision before in this group; once decided */
} SeqTxnPart;

/* A transaction that is not forgotten. Valid until the next apply(). */
typedef struct SeqTxn
{
	TxnId		txn;
	uint64_t	position;
	uint64_t	epoch;
	uint64_t	index;			/* of the EPOCH entry that has its parts */
	uint32_t	number;			/* of its request in there, from 0 */
	uint64_t	decision;		/* its number; 0: open */
	SeqDecision decided;
	NdGroupId	by;				/* SEQ_ABORT_VOTE */
	uint32_t	n_parts;
	SeqTxnPart	parts[];		/* ascending by group */
} SeqTxn;

NdStatus	sequencer_create(Sequencer **out);
void		sequencer_destroy(Sequencer *s);

/*
 * Apply the DATA entry at `index`, which is greater than every earlier one. ND_OK: applied, or without effect (a copy, an old epoch, a vote too late). ND_NOMEM:
 * nothing changed, call again. ND_INVALID, ND_VERSION: malformed, or of a newer format; nothing changed, the same on every replica.
 */
NdStatus	sequencer_apply(Sequencer *s, uint64_t index, const void *data, size_t len);

/* ---- questions ---- */
uint64_t	sequencer_last_index(const Sequencer *s);
uint64_t	sequencer_epoch(const Sequencer *s);
uint64_t	sequencer_time(const Sequencer *s);
uint64_t	sequencer_position(const Sequencer *s);		/* last one given */
uint64_t	sequencer_decision(const Sequencer *s);
uint64_t	sequencer_checksum(const Sequencer *s);		/* a chain over all entries and what they did: replicas at the same index compare it */
uint32_t	sequencer_unfinished(const Sequencer *s);	/* transactions that are not forgotten */
uint32_t	sequencer_group_unfinished(const Sequencer *s, NdGroupId group);
/* NULL: not here (never, or forgotten). */
const SeqTxn *sequencer_find(const Sequencer *s, TxnId txn);
const SeqTxn *sequencer_at(const Sequencer *s, uint64_t position);
/* The first one behind `after` that has a part in `group` (0: any group); by position, by decision. NULL: none. */
const SeqTxn *sequencer_next(const Sequencer *s, NdGroupId group, uint64_t after);
const SeqTxn *sequencer_next_decided(const Sequencer *s, NdGroupId group, uint64_t after);
const SeqTxnPart *sequencer_part(const SeqTxn *t, NdGroupId group);	/* NULL: it has none there */
uint64_t	sequencer_acked(const Sequencer *s, NdGroupId group);	/* the highest decision whose outcome is known to be committed in the group */
/* Index of the oldest EPOCH entry whose parts may be needed, 0 = none: the log must not be truncated at or above it. */
uint64_t	sequencer_floor(const Sequencer *s);

/* Checkpoint: versioned bytes with a checksum. restore: ND_DAMAGED, ND_VERSION, ND_NOMEM. */
NdStatus	sequencer_save(const Sequencer *s, NdBuf *out);
NdStatus	sequencer_restore(const void *data, size_t len, Sequencer **out);

#endif
