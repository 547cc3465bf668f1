/*
 * participant.h: what the leader of a data group owes to the sequencer: markers, votes, outcomes, acknowledgements (DESIGN.md, section 9).
 *
 * Inputs: the sequencer's state as this node has applied it, and the group's certifier as of the entries committed and certified here. Both may lag behind; then the
 * duties come later, for what they follow from is never taken back.
 *
 * Invariants:
 * 1. Nothing here has to survive: a new leader begins from its certifier (last position, last decision, open markers) and the sequencer's state. What an earlier
 *    leader proposed and is not certified yet is proposed once more, and counts once (certifier.h, invariant 7).
 * 2. Markers are proposed in the order of positions, outcomes in the order of decisions, and an outcome only when its marker is certified here: so it stands behind.
 * 3. A vote says what the certifier's state says of a marker that counted: open is yes, not open is no. It is the same whoever votes, however often.
 * 4. An acknowledgement is of outcomes that are certified here, so committed.
 */
#ifndef ND_SEQ_PARTICIPANT_H
#define ND_SEQ_PARTICIPANT_H

#include "../certifier/certifier.h"
#include "sequencer.h"

typedef enum SeqDutyKind
{
	SEQ_DUTY_NONE = 0,
	SEQ_DUTY_MARKER,			/* into the group's log: entry_encode_marker() of t's part */
	SEQ_DUTY_OUTCOME,			/* into the group's log: seq_participant_outcome() */
	SEQ_DUTY_VOTES,				/* into the sequencer's log: seq_participant_votes() */
	SEQ_DUTY_ACK				/* into the sequencer's log: seq_encode_ack(decision) */
} SeqDutyKind;

typedef struct SeqDuty
{
	SeqDutyKind kind;
	const SeqTxn *txn;			/* MARKER, OUTCOME */
	uint64_t	previous;		/* MARKER: the position before; OUTCOME: the decision before */
	uint64_t	decision;		/* ACK */
} SeqDuty;

/* Of one group, as long as it leads. */
typedef struct SeqParticipant
{
	NdGroupId	group;
	uint64_t	position;		/* last marker proposed in this term, or certified */
	uint64_t	decision;		/* last outcome likewise */
	uint64_t	voted;			/* votes up to this position are on their way */
	uint64_t	acked;			/* this acknowledgement is on its way */
	uint64_t	still_voted;	/* as of the last again(): the first position whose vote does not show; the acknowledgement that does */
	uint64_t	still_acked;
} SeqParticipant;

/* Leadership begins. */
void		seq_participant_lead(SeqParticipant *p, NdGroupId group, const Certifier *c);
/*
 * Votes and acknowledgements may have got lost: say again what the sequencer's state does not show. Now and then, and when the sequencer's leader changes. True: nothing of it
 * shows that did not at the last call. Then it may as well stand in a log that is slow, and who says it as often as before makes that log longer than it can ever become short: wait longer.
 */
bool		seq_participant_again(SeqParticipant *p, const Sequencer *s, const Certifier *c);
/* What is to be done next; NONE: nothing now. Valid until the next apply(). */
SeqDuty		seq_participant_next(SeqParticipant *p, const Sequencer *s, const Certifier *c);
/* It was proposed, or sent. Not called: next() names it again. */
void		seq_participant_done(SeqParticipant *p, const SeqDuty *duty);
/* A VOTES entry with the votes that are due, the first 256; *up_to: the last position in it, for seq_participant_voted(). ND_NOMEM; ND_NOTFOUND: none is due. */
NdStatus	seq_participant_votes(const SeqParticipant *p, const Sequencer *s, const Certifier *c, NdBuf *out, uint64_t *up_to);
void		seq_participant_voted(SeqParticipant *p, uint64_t up_to);
/* The two entries for the group's log. request: the transaction's, decoded. ND_NOMEM; ND_INVALID: it has no part in this group. */
NdStatus	seq_participant_marker(const SeqDuty *duty, NdGroupId group, const SeqEntry *request, NdBuf *out);
NdStatus	seq_participant_outcome(const SeqDuty *duty, NdBuf *out);

#endif
