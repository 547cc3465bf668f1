/*
 * participant.c: the duties of a group's leader. The contract stands in participant.h.
 */
#include "participant.h"

#include "../base/mutant.h"

#define VOTES_MAX 256

void seq_participant_lead(SeqParticipant *p, NdGroupId group, const Certifier *c)
{
	*p = (SeqParticipant) {.group = group, .position = certifier_position(c), .decision = certifier_decision(c)};
}

/* The transactions whose vote of this group the sequencer does not have, in order of position. NULL: no more. */
static const SeqTxn *next_vote(const SeqParticipant *p, const Sequencer *s, const Certifier *c, uint64_t after)
{
	const SeqTxn *t = sequencer_next(s, p->group, after);

	while (t != NULL && (t->position <= certifier_position(c) || MUTANT(SEQ_VOTE_EARLY)))
	{
		if (t->decided == SEQ_OPEN && sequencer_part(t, p->group)->vote == SEQ_VOTE_NONE)
			return t;
		t = sequencer_next(s, p->group, t->position);
	}
	return NULL;
}

bool seq_participant_again(SeqParticipant *p, const Sequencer *s, const Certifier *c)
{
	const SeqTxn *t = next_vote(p, s, c, 0);
	uint64_t	unseen = t != NULL ? t->position : 0;
	uint64_t	acked = sequencer_acked(s, p->group);
	bool		still = (unseen > 0 || certifier_decision(c) > acked) && unseen == p->still_voted && acked == p->still_acked;

	p->still_voted = unseen;
	p->still_acked = acked;
	p->voted = p->acked = 0;
	return still;
}

SeqDuty seq_participant_next(SeqParticipant *p, const Sequencer *s, const Certifier *c)
{
	const SeqTxn *t;
	uint64_t	acked = sequencer_acked(s, p->group);

	/* what was proposed by others, and certified here */
	if (p->position < certifier_position(c))
		p->position = certifier_position(c);
	if (p->decision < certifier_decision(c))
		p->decision = certifier_decision(c);

	t = sequencer_next(s, p->group, p->position);
	/* one between is forgotten: it is in the log, and this replica will see it */
	if (t != NULL && sequencer_part(t, p->group)->previous == p->position)
		return (SeqDuty) {.kind = SEQ_DUTY_MARKER, .txn = t, .previous = p->position};
	t = sequencer_next_decided(s, p->group, p->decision);
	if (t != NULL && MUTANT(SEQ_OUTCOME_UNORDERED) && sequencer_next_decided(s, p->group, t->decision) != NULL)
		t = sequencer_next_decided(s, p->group, t->decision);
	if (t != NULL && (sequencer_part(t, p->group)->previous_decision == p->decision || MUTANT(SEQ_OUTCOME_UNORDERED)) &&
		t->position <= certifier_position(c))
		return (SeqDuty) {.kind = SEQ_DUTY_OUTCOME, .txn = t, .previous = p->decision};
	if (next_vote(p, s, c, p->voted) != NULL)
		return (SeqDuty) {.kind = SEQ_DUTY_VOTES};
	if (certifier_decision(c) > acked && certifier_decision(c) > p->acked)
		return (SeqDuty) {.kind = SEQ_DUTY_ACK, .decision = certifier_decision(c)};
	return (SeqDuty) {0};
}

void seq_participant_done(SeqParticipant *p, const SeqDuty *duty)
{
	if (duty->kind == SEQ_DUTY_MARKER)
		p->position = duty->txn->position;
	if (duty->kind == SEQ_DUTY_OUTCOME)
		p->decision = duty->txn->decision;
	if (duty->kind == SEQ_DUTY_ACK)
		p->acked = duty->decision;
}

NdStatus seq_participant_votes(const SeqParticipant *p, const Sequencer *s, const Certifier *c, NdBuf *out, uint64_t *up_to)
{
	SeqVote		votes[VOTES_MAX];
	uint32_t	n = 0;
	const SeqTxn *t = next_vote(p, s, c, p->voted);

	for (; t != NULL && n < VOTES_MAX; t = next_vote(p, s, c, t->position))
		votes[n++] = (SeqVote) {t->position, certifier_is_open(c, t->position) || (MUTANT(SEQ_VOTE_EARLY) && t->position > certifier_position(c))};
	if (n == 0)
		return ND_NOTFOUND;
	*up_to = votes[n - 1].position;
	return seq_encode_votes(out, p->group, votes, n);
}

void seq_participant_voted(SeqParticipant *p, uint64_t up_to)
{
	p->voted = up_to;
}

static void groups_of(const SeqTxn *t, NdGroupId *out)
{
	for (uint32_t i = 0; i < t->n_parts; i++)
		out[i] = t->parts[i].group;
}

NdStatus seq_participant_marker(const SeqDuty *duty, NdGroupId group, const SeqEntry *request, NdBuf *out)
{
	NdGroupId	groups[ENTRY_GROUPS_MAX];
	SeqWalk		walk = {0};
	SeqPart		part;
	EntryHeader h;

	groups_of(duty->txn, groups);
	while (seq_part(request, &walk, &part))
		if (part.group == group && entry_decode(part.entry, part.len, &h) == ND_OK)
			return entry_encode_marker(out, &h, duty->txn->position, duty->previous, groups, duty->txn->n_parts);
	return ND_INVALID;
}

NdStatus seq_participant_outcome(const SeqDuty *duty, NdBuf *out)
{
	const SeqTxn *t = duty->txn;
	NdGroupId	groups[ENTRY_GROUPS_MAX];

	groups_of(t, groups);
	return entry_encode_outcome(out, t->txn, t->decided == SEQ_COMMIT, t->position, t->decision, duty->previous, groups, t->n_parts);
}
