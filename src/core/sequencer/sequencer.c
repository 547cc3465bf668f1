/*
 * sequencer.c: what each entry of the sequencer's log does.
 *
 * Invariants:
 * 1. An entry that names what is not here any more (a vote, an ABORT, an ACK that came late or twice) has no effect: leaders repeat themselves.
 * 2. A transaction enters the list `decided` for good: decide() runs once per transaction.
 */
#include "../base/mutant.h"
#include "sequencer_int.h"

#include <string.h>

NdStatus sequencer_create(Sequencer **out)
{
	*out = nd_zalloc(sizeof(Sequencer));
	return *out != NULL ? ND_OK : ND_NOMEM;
}

void sequencer_destroy(Sequencer *s)
{
	if (s == NULL)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		nd_free(s->txns[i]);
	nd_free(s->txns);
	nd_free(s->by_id);
	nd_free(s->decided);
	nd_free(s->groups);
	nd_free(s);
}

static void decide(Sequencer *s, SeqTxn *t, SeqDecision decided, NdGroupId by)
{
	t->decision = ++s->decision;
	t->decided = decided;
	t->by = by;
	for (uint32_t i = 0; i < t->n_parts; i++)
	{
		SeqGroup   *g = sequencer__group(s, t->parts[i].group);

		t->parts[i].previous_decision = g->decision;
		g->decision = t->decision;
	}
	sequencer__decided(s, t);
}

/* ---- EPOCH ---- */

static SeqTxn *make_txn(const SeqEntry *request, uint64_t index, uint64_t epoch, uint32_t number)
{
	SeqTxn	   *t = nd_zalloc(sizeof(SeqTxn) + request->n * sizeof(SeqTxnPart));
	SeqWalk		walk = {0};
	SeqPart		part;

	if (t == NULL)
		return NULL;
	t->txn = request->txn;
	t->index = index;
	t->epoch = epoch;
	t->number = number;
	while (seq_part(request, &walk, &part))
		t->parts[t->n_parts++].group = part.group;
	return t;
}

static void give_position(Sequencer *s, SeqTxn *t)
{
	t->position = ++s->position;
	for (uint32_t i = 0; i < t->n_parts; i++)
	{
		SeqGroup   *g = sequencer__group_make(s, t->parts[i].group);

		t->parts[i].previous = g->position;
		g->position = t->position;
	}
	sequencer__add(s, t);
}

static bool known_before(SeqTxn *const *made, uint32_t n, TxnId txn)
{
	for (uint32_t i = 0; i < n; i++)
		if (txnid_compare(made[i]->txn, txn) == 0)
			return true;
	return false;
}

static NdStatus apply_epoch(Sequencer *s, uint64_t index, const SeqEntry *e)
{
	SeqWalk		walk = {0};
	SeqEntry	request;
	SeqTxn	  **made;
	uint32_t	n_made = 0;
	uint32_t	n_parts = 0;		/* at most SEQ_EPOCH_REQUESTS_MAX times ENTRY_GROUPS_MAX */
	const uint8_t *at;
	uint32_t	len;
	NdStatus	status = ND_OK;

	if ((e->epoch != s->epoch + 1 || e->time < s->time) && !MUTANT(SEQ_ANY_EPOCH))
		return ND_OK;
	made = nd_alloc(e->n * sizeof(*made));
	if (made == NULL)
		return ND_NOMEM;
	for (uint32_t i = 0; status == ND_OK && seq_request(e, &walk, &request, &at, &len); i++)
	{
		if ((sequencer__find(s, request.txn) != NULL || known_before(made, n_made, request.txn)) && !MUTANT(SEQ_REQUEST_TWICE))
			continue;
		made[n_made] = make_txn(&request, index, e->epoch, i);
		if (made[n_made] == NULL)
			status = ND_NOMEM;
		else
			n_parts += made[n_made++]->n_parts;
	}
	if (status == ND_OK)
		status = sequencer__reserve(s, n_made, n_parts);
	for (uint32_t i = 0; i < n_made; i++)
	{
		if (status == ND_OK)
			give_position(s, made[i]);
		else
			nd_free(made[i]);
	}
	nd_free(made);
	if (status != ND_OK)
		return status;
	s->epoch = e->epoch;
	s->time = e->time;
	return ND_OK;
}

/* ---- VOTES, ABORT, ACK ---- */

static void take_vote(Sequencer *s, NdGroupId group, SeqVote vote)
{
	SeqTxn	   *t = sequencer__at(s, vote.position);
	SeqTxnPart *part = t != NULL ? (SeqTxnPart *) sequencer_part(t, group) : NULL;
	uint32_t	yes = 0;

	if (part == NULL || t->decided != SEQ_OPEN || part->vote != SEQ_VOTE_NONE)
		return;
	part->vote = vote.yes ? SEQ_VOTE_YES : SEQ_VOTE_NO;
	if (!vote.yes)
	{
		decide(s, t, SEQ_ABORT_VOTE, group);
		return;
	}
	for (uint32_t i = 0; i < t->n_parts; i++)
		yes += t->parts[i].vote == SEQ_VOTE_YES;
	if (yes == t->n_parts || MUTANT(SEQ_COMMIT_EARLY))
		decide(s, t, SEQ_COMMIT, 0);
}

static bool finished(const Sequencer *s, const SeqTxn *t)
{
	for (uint32_t i = 0; i < t->n_parts; i++)
	{
		bool		acked = sequencer__group(s, t->parts[i].group)->acked >= t->decision;

		if (acked && MUTANT(SEQ_FORGET_EARLY))
			return true;
		if (!acked && !MUTANT(SEQ_FORGET_EARLY))
			return false;
	}
	return !MUTANT(SEQ_FORGET_EARLY);
}

static void take_ack(Sequencer *s, NdGroupId group, uint64_t decision)
{
	SeqGroup   *g = sequencer__group(s, group);
	uint64_t	before;

	/* above the group's last decision: nothing that this log has decided */
	if (g == NULL || decision <= g->acked || decision > g->decision)
		return;
	before = g->acked;
	g->acked = decision;
	for (uint32_t i = 0; i < s->n_decided && s->decided[i]->decision <= decision;)
	{
		SeqTxn	   *t = s->decided[i];

		if (t->decision > before && sequencer_part(t, group) != NULL && finished(s, t))
			sequencer__remove(s, t);
		else
			i++;
	}
}

NdStatus sequencer_apply(Sequencer *s, uint64_t index, const void *data, size_t len)
{
	SeqEntry	e;
	SeqWalk		walk = {0};
	SeqVote		vote;
	SeqTxn	   *t;
	NdStatus	status;

	if (index <= s->last_index)
		return ND_INVALID;
	status = seq_decode(data, len, &e);
	if (status != ND_OK)
		return status;
	switch (e.kind)
	{
		case SEQ_EPOCH:
			status = apply_epoch(s, index, &e);
			if (status != ND_OK)
				return status;
			break;
		case SEQ_VOTES:
			while (seq_vote(&e, &walk, &vote))
				take_vote(s, e.group, vote);
			break;
		case SEQ_ABORT:
			t = sequencer__at(s, e.position);
			if (t != NULL && t->decided == SEQ_OPEN)
				decide(s, t, SEQ_ABORT_SILENT, 0);
			else if (t != NULL && MUTANT(SEQ_ABORT_LATE))
				t->decided = SEQ_ABORT_SILENT;
			break;
		case SEQ_ACK:
			take_ack(s, e.group, e.decision);
			break;
		case SEQ_REQUEST:
			/* is no entry of the log */
			return ND_INVALID;
	}
	s->last_index = index;
	s->history = nd_checksum(data, len, s->history ^ index) ^ (s->position << 32) ^ s->decision ^ ((uint64_t) s->n << 48);
	return ND_OK;
}
