/*
 * linger.c: a flush may wait a moment for entries that are sure to come. The parts of a transaction over several groups are proposed by several leaders at once, and arrive here one
 * after another; a flush that begins with the first makes the others wait for two.
 *
 * Only where few transactions over several groups are under way: with many a flush is, too, and all gathers for the next one. And only a hint: the one transaction whose part was
 * stored last is watched. Whoever runs the node has the clock, and ends the waiting (node_set_linger()).
 *
 * Invariant: nothing waits once a flush is under way, nor for what came behind it.
 */
#include "node_internal.h"

#define TRANSACTIONS_MAX 4
#define VOTES UINT8_MAX			/* beside kinds of entries of data groups */

void node_set_linger(Node *n, bool may)
{
	n->linger.may = may;
}

bool node_lingers(const Node *n)
{
	return n->linger.may && n->linger.seen < n->linger.wanted;
}

static void watch(Linger *l, uint8_t kind, uint64_t number, uint32_t wanted)
{
	if (l->kind == kind && l->number == number)
		l->seen++;
	else
		*l = (Linger) {.may = l->may, .kind = kind, .number = number, .wanted = wanted, .seen = 1};
}

static void watch_votes(Node *n, const SeqEntry *e)
{
	SeqWalk		walk = {0};
	SeqVote		vote = {0};
	const SeqTxn *t;
	uint32_t	wanted = 0;

	/* one vote of those that it has: the watched one, or the last */
	while (seq_vote(e, &walk, &vote) && !(n->linger.kind == VOTES && n->linger.number == vote.position))
		;
	t = sequencer_at(n->sequencer, vote.position);
	for (uint32_t i = 0; t != NULL && i < t->n_parts; i++)
		wanted += t->parts[i].vote == SEQ_VOTE_NONE;
	watch(&n->linger, VOTES, vote.position, wanted);
}

void node__expect(NodeGroup *g, const RaftEntry *e)
{
	Node	   *n = g->node;
	EntryHeader h;
	SeqEntry	s;

	if (n->sequencer == NULL || !n->linger.may || sequencer_position(n->sequencer) - sequencer_decision(n->sequencer) > TRANSACTIONS_MAX || e->kind != RAFT_ENTRY_DATA || e->payload == NULL || g->id == ND_GROUP_META)
		return;
	if (g->id == ND_GROUP_SEQUENCER)
	{
		if (seq_decode(e->payload->data, e->payload->len, &s) == ND_OK && s.kind == SEQ_VOTES)
			watch_votes(n, &s);
	}
	else if (entry_peek(e->payload->data, e->payload->len, &h) == ND_OK && h.kind >= ENTRY_MARKER && entry_decode(e->payload->data, e->payload->len, &h) == ND_OK)
		watch(&n->linger, (uint8_t) h.kind, h.position, h.n_groups);
}

void node__expect_flushed(Node *n)
{
	n->linger.wanted = 0;
}
