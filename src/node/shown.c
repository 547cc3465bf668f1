/*
 * shown.c: is an entry visible on all nodes? A schema change is over when it can be used everywhere.
 *
 * Who wants to know asks all members; each answers when its tables show the entry. Nothing here is remembered over a broken connection and nothing is
 * asked again: who waits does so for a bounded time, and periodic gossip says how far everybody is as well.
 */
#include "node_internal.h"

static void tell_commit(NodeGroup *g)
{
	if (!g->leads || !node__ready(g))
		return;
	raft_tell_commit(g->raft);
	node__event(g, ND_OK);
}

void node_ask_shown(Node *n, NdGroupId group, uint64_t index)
{
	NodeGroup  *g = node__group(n, group);

	if (g == NULL || g->stopped != NULL || n->failed != ND_OK)
		return;
	tell_commit(g);
	node__put_gossip(g, index);
}

void node__take_shown(NodeGroup *g, GroupPeer *p, const WireGossip *gossip)
{
	if (gossip->shown > p->shown)
	{
		p->shown = gossip->shown;
		g->node->changed = true;
	}
	if (gossip->shown_wanted == 0)
		return;
	/* Nobody can show what he does not know to be committed. */
	tell_commit(g);
	if (gossip->shown_wanted <= g->shown)
		node__put_gossip(g, 0);
	else if (gossip->shown_wanted > g->shown_wanted)
		g->shown_wanted = gossip->shown_wanted;
}

bool node_shown(Node *n, NdGroupId group, uint64_t index)
{
	NodeGroup  *g = node__group(n, group);

	if (g == NULL || g->stopped != NULL || n->failed != ND_OK)
		return false;
	if (index > g->shown)
		g->shown = index;
	if (g->shown_wanted == 0)
		return false;
	if (g->shown < g->shown_wanted)
		return true;
	g->shown_wanted = 0;
	node__put_gossip(g, 0);
	return false;
}

uint64_t node_shown_by_all(const Node *n, NdGroupId group)
{
	NodeGroup  *g = node__group(n, group);
	uint64_t	least = UINT64_MAX;

	for (uint32_t i = 0; g != NULL && i < n->goal.n; i++)
	{
		NdNodeId	id = n->goal.members[i].node;
		const GroupPeer *p = node__group_peer(g, id, false);

		/* A learner is still catching up: nobody waits for that. */
		if (id == n->config.self || n->goal.members[i].role != RAFT_VOTER || !node__connected(n, id))
			continue;
		if (p == NULL || p->shown < least)
			least = p == NULL ? 0 : p->shown;
	}
	return least;
}
