/*
 * balance.c: which node should lead a group, so that groups are spread over the nodes.
 *
 * Each group has an order of preference over its voters, which follows from its id and theirs: the same on all nodes, without talking. Consecutive groups
 * run through all orders, so each node is the first of as many as the others, and of those whose first one dies each survivor is the next of as many. (A
 * hash does it too, but with a spread that shows when groups are some dozens.) Elections follow it by waiting (tick.c). A node that leads too much hands over, to the first of that order only: so no
 * group goes to and fro. One at a time, at a pace: when a node comes back, or a new one joins, clients hardly notice.
 *
 * Invariant: nothing is moved unless this node leads at least two groups more than its share. One data group and the metadata group stay where they are.
 */
#include "node_internal.h"

#define EVERY 2					/* election timeouts between two moves; a transfer is given up after one */
#define SETTLED 4				/* election timeouts for which a node must have been connected */

static uint32_t order_of(const NodeGroup *g, NdNodeId out[RAFT_MEMBERS_MAX])
{
	const RaftConfiguration *c = raft_configuration(g->raft);
	uint64_t	k = g->id;
	uint32_t	n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		if (c->members[i].role == RAFT_VOTER)
			out[n++] = c->members[i].node;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	pick = i + (uint32_t) (k % (n - i));
		NdNodeId	node = out[pick];

		k /= n - i;
		for (; pick > i; pick--)
			out[pick] = out[pick - 1];
		out[i] = node;
	}
	return n;
}

uint32_t node__rank(const NodeGroup *g, NdNodeId gone)
{
	const Node *n = g->node;
	NdNodeId	order[RAFT_MEMBERS_MAX];
	uint32_t	voters = order_of(g, order);
	uint32_t	before = 0;

	for (uint32_t i = 0; i < voters && order[i] != n->config.self; i++)
		before += order[i] != gone && node__connected(n, order[i]) && !node__peer(n, order[i])->no_space;
	return before;
}

/* The first one of the order, if it can lead now: another node, connected for a while, with all that the log holds. */
static NdNodeId preferred(NodeGroup *g)
{
	Node	   *n = g->node;
	const RaftConfiguration *c = raft_configuration(g->raft);
	RaftStatus *s = &n->scratch_status;
	NdNodeId	order[RAFT_MEMBERS_MAX];
	NdNodeId	best = order_of(g, order) > 0 ? order[0] : 0;
	const NodePeer *p = node__peer(n, best);

	if (p == NULL || !node__connected(n, best) || p->no_space || n->tick - p->up_tick < SETTLED * n->config.election_ticks)
		return 0;
	raft_status(g->raft, s);
	if (!s->term_committed || c->joint || c->index > s->commit)
		return 0;
	for (uint32_t i = 0; i < s->n_peers; i++)
		if (s->peers[i].node == best)
			return s->peers[i].active && !s->peers[i].snapshotting && s->peers[i].match + NODE_CAUGHT_UP >= s->last_index ? best : 0;
	return 0;
}

void node__balance(Node *n)
{
	uint32_t	leads = 0;
	uint32_t	nodes = 0;

	/* One tick more than a multiple: right after a quorum check nobody counts as active, and that comes at the same place of every timeout. */
	if (n->config.fixed_leaders || n->tick % (EVERY * n->config.election_ticks + 1) != 0)
		return;
	for (uint32_t i = 0; i < n->goal.n; i++)
		nodes += n->goal.members[i].role == RAFT_VOTER && (n->goal.members[i].node == n->config.self || node__connected(n, n->goal.members[i].node));
	for (uint32_t i = 0; i < n->n_groups; i++)
		leads += n->groups[i]->leads && n->groups[i]->stopped == NULL;
	if (nodes == 0 || leads < (n->n_groups + nodes - 1) / nodes + 2)
		return;
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		uint32_t	at = (n->balanced + 1 + i) % n->n_groups;
		NodeGroup  *g = n->groups[at];
		NdNodeId	to = g->leads && node__ready(g) ? preferred(g) : 0;

		if (to == 0 || node_transfer(n, g->id, to) != ND_OK)
			continue;
		n->balanced = at;
		node__log(n, 1, "this node leads %u of %u groups: group %u is handed to node %u", leads, n->n_groups, g->id, to);
		return;
	}
}
