/*
 * shown.c: how far are all nodes? Is an entry visible on them: a schema change is over when it can be used everywhere. And have they prepared what they
 * replay of a large transaction ahead of its TXN: its owner proposes that when it holds nobody up.
 *
 * Who wants to know asks all members; each answers when it is there, and, for prepared, at each step on the way. Nothing here is remembered over a broken
 * connection and nothing is asked again: who waits does so for a bounded time, and periodic gossip says how far everybody is as well.
 */
#include <stddef.h>
#include <string.h>

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
	node__put_question(g, index, 0);
}

void node_ask_prepared(Node *n, NdGroupId group, uint64_t index)
{
	NodeGroup  *g = node__group(n, group);

	if (g == NULL || g->stopped != NULL || n->failed != ND_OK)
		return;
	tell_commit(g);
	node__put_question(g, 0, index);
}

void node__take_shown(NodeGroup *g, GroupPeer *p, const WireGossip *gossip)
{
	if (gossip->shown > p->shown)
	{
		p->shown = gossip->shown;
		g->node->changed = true;
	}
	if (gossip->prepared > p->prepared)
	{
		p->prepared = gossip->prepared;
		g->node->changed = true;
	}
	if (gossip->shown_wanted == 0 && gossip->prepared_wanted == 0)
		return;
	/* Nobody can show what he does not know to be committed. */
	tell_commit(g);
	if (gossip->shown_wanted > g->shown && gossip->shown_wanted > g->shown_wanted)
		g->shown_wanted = gossip->shown_wanted;
	if (gossip->prepared_wanted > g->prepared && gossip->prepared_wanted > g->prepared_wanted)
		g->prepared_wanted = gossip->prepared_wanted;
	/* For prepared an answer in any case: it tells who waits that somebody is at work. */
	if (gossip->prepared_wanted > 0 || gossip->shown_wanted <= g->shown)
		node__put_gossip(g);
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
	node__put_gossip(g);
	return false;
}

void node_prepared(Node *n, NdGroupId group, uint64_t until)
{
	NodeGroup  *g = node__group(n, group);
	uint64_t	index;

	if (g == NULL || g->stopped != NULL || n->failed != ND_OK)
		return;
	index = until > g->delivered ? g->delivered : until - (until > 0);
	if (index <= g->prepared)
		return;
	g->prepared = index;
	if (g->prepared_wanted == 0)
		return;
	if (index >= g->prepared_wanted)
		g->prepared_wanted = 0;
	node__put_gossip(g);
}

/* The least of the connected voters but this one. A learner is still catching up: nobody waits for that. */
static uint64_t least(const Node *n, NdGroupId group, size_t field)
{
	NodeGroup  *g = node__group(n, group);
	uint64_t	least = UINT64_MAX;

	for (uint32_t i = 0; g != NULL && i < n->goal.n; i++)
	{
		NdNodeId	id = n->goal.members[i].node;
		const GroupPeer *p = node__group_peer(g, id, false);
		uint64_t	index = 0;

		if (id == n->config.self || n->goal.members[i].role != RAFT_VOTER || !node__connected(n, id))
			continue;
		if (p != NULL)
			memcpy(&index, (const char *) p + field, sizeof(index));
		if (index < least)
			least = index;
	}
	return least;
}

uint64_t node_shown_by_all(const Node *n, NdGroupId group)
{
	return least(n, group, offsetof(GroupPeer, shown));
}

uint64_t node_shown_by(const Node *n, NdGroupId group, NdNodeId member)
{
	NodeGroup  *g = node__group(n, group);
	const GroupPeer *p = g == NULL ? NULL : node__group_peer(g, member, false);

	return p == NULL ? 0 : p->shown;
}

uint64_t node_prepared_by_all(const Node *n, NdGroupId group)
{
	return least(n, group, offsetof(GroupPeer, prepared));
}
