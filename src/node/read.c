/*
 * read.c: read indexes for local clients.
 *
 * All that wait when a round starts share it, and nobody joins a round that has started: its index may be older than his question
 * (thesis, 6.4). A round that is lost, or silent for an election timeout, is asked again under a new context, until the deadlines.
 *
 * A context is unique over all lives of this node: a late answer to an earlier life must not answer a new question.
 */
#include "node_internal.h"

NdStatus node_read(Node *n, NdGroupId group, uint64_t token, uint32_t deadline_ticks)
{
	NodeGroup  *g = node__group(n, group);
	ReadWait   *w;

	if (g == NULL)
		return ND_NOTFOUND;
	if (n->failed != ND_OK)
		return n->failed;
	if (g->stopped != NULL)
		return ND_FROZEN;
	if (n->n_reads >= NODE_READS_MAX)
		return ND_BUSY;
	w = nd_alloc(sizeof(*w));
	if (w == NULL)
		return ND_NOMEM;
	w->token = token;
	w->deadline_tick = n->tick + deadline_ticks;
	w->next = g->reads;
	g->reads = w;
	g->n_reads++;
	n->n_reads++;
	node__wake(g);
	return ND_OK;
}

void node__read_finish(NodeGroup *g, ReadWait *waits, NdStatus status, uint64_t index)
{
	Node	   *n = g->node;

	while (waits != NULL)
	{
		ReadWait   *w = waits;

		waits = w->next;
		g->n_reads--;
		n->n_reads--;
		n->callbacks.read_done(n->callbacks.ctx, g->id, w->token, status, index);
		nd_free(w);
	}
}

static void ask_again(NodeGroup *g, ReadRound *round)
{
	while (round->waits != NULL)
	{
		ReadWait   *w = round->waits;

		round->waits = w->next;
		w->next = g->reads;
		g->reads = w;
	}
	round->context = 0;
}

bool node__read_round(NodeGroup *g)
{
	Node	   *n = g->node;

	if (g->reads == NULL || !node__ready(g))
		return false;
	if (MUTANT(NODE_READ_WITHOUT_ROUND))
	{
		ReadWait   *waits = g->reads;

		g->reads = NULL;
		node__read_finish(g, waits, ND_OK, g->commit);
		return true;
	}
	for (int i = 0; i < NODE_READ_ROUNDS; i++)
	{
		ReadRound  *round = &g->rounds[i];
		uint64_t	context;
		NdStatus	status;

		if (round->context != 0)
			continue;
		context = (uint64_t) n->config.incarnation << 40 | (++n->next_read & ((UINT64_C(1) << 40) - 1));
		status = raft_read_index(g->raft, context);
		node__event(g, status);
		if (status != ND_OK)
			return false;
		round->context = context;
		round->lost_tick = n->tick + n->config.election_ticks;
		round->waits = g->reads;
		g->reads = NULL;
		return true;
	}
	return false;
}

/* The waits of a finished round, to be told once the core may have events again; NULL: lost, or not ours. */
ReadWait *node__read_answer(NodeGroup *g, const RaftReadState *r)
{
	for (int i = 0; i < NODE_READ_ROUNDS; i++)
	{
		ReadRound  *round = &g->rounds[i];
		ReadWait   *waits = round->waits;

		if (round->context != r->context || r->context == 0)
			continue;
		if (r->lost)
		{
			ask_again(g, round);
			return NULL;
		}
		round->context = 0;
		round->waits = NULL;
		return waits;
	}
	return NULL;
}

/* Move those whose deadline has passed from a list to another. */
static void take_late(NodeGroup *g, ReadWait **list, ReadWait **late)
{
	while (*list != NULL)
	{
		ReadWait   *w = *list;

		if (w->deadline_tick > g->node->tick)
		{
			list = &w->next;
			continue;
		}
		*list = w->next;
		w->next = *late;
		*late = w;
	}
}

void node__read_ticks(NodeGroup *g)
{
	ReadWait   *late = NULL;

	if (g->n_reads == 0)
		return;
	take_late(g, &g->reads, &late);
	for (int i = 0; i < NODE_READ_ROUNDS; i++)
	{
		take_late(g, &g->rounds[i].waits, &late);
		if (g->rounds[i].context != 0 && g->rounds[i].lost_tick <= g->node->tick)
			ask_again(g, &g->rounds[i]);
	}
	node__read_finish(g, late, ND_NOLEADER, 0);
}

void node__fail_reads(NodeGroup *g, NdStatus reason)
{
	ReadWait   *waits;

	for (int i = 0; i < NODE_READ_ROUNDS; i++)
		ask_again(g, &g->rounds[i]);
	waits = g->reads;
	g->reads = NULL;
	node__read_finish(g, waits, reason, 0);
}
