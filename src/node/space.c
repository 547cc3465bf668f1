/*
 * space.c: disks that are full, and disks that lag: what may still come in, and who leads meanwhile.
 *
 * The store says early that its disk is full: the last preallocation failed, but the current segment has room, and more is kept back for votes, truncations
 * and the first entries of terms. Then
 *   - this node hands leadership over, of every group that another voter can lead whose disk is not full;
 *   - entries come in only while they fit: proposals wait (ND_FULL at their deadline, surely without effect), an APPEND that does not fit is dropped, as if
 *     the network had lost it. So no update gets stuck in front of the store, and the group goes on voting, acknowledging and truncating;
 *   - once per election timeout it is tried whether there is space again.
 *
 * The same bound serves a disk that does not finish: what is not durable stands in the store's buffers, and they must not grow for ever.
 */
#include "node_internal.h"

bool node__room(Node *n, uint64_t bytes)
{
	if (n->promised + store_undurable_bytes(n->store) > n->config.undurable_bytes_max || !store_room(n->store, n->promised + bytes))
		return false;
	n->promised += bytes;
	return true;
}

NdNodeId node__heir(NodeGroup *g)
{
	Node	   *n = g->node;
	const RaftConfiguration *c = raft_configuration(g->raft);
	RaftStatus *s = &n->scratch_status;
	NdNodeId	best = 0;
	uint64_t	match = 0;

	raft_status(g->raft, s);
	for (uint32_t i = 0; i < s->n_peers; i++)
	{
		const RaftMember *m = raft_configuration_find(c, s->peers[i].node);
		const NodePeer *p = node__peer(n, s->peers[i].node);

		if (m == NULL || m->role != RAFT_VOTER || p == NULL || p->no_space || !node__connected(n, p->node) || !s->peers[i].active ||
			s->peers[i].snapshotting || s->peers[i].match + NODE_CAUGHT_UP < s->last_index || (best != 0 && s->peers[i].match <= match))
			continue;
		best = p->node;
		match = s->peers[i].match;
	}
	return best;
}

static void hand_over(Node *n)
{
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		NodeGroup  *g = n->groups[i];
		NdNodeId	heir = g->leads && node__ready(g) ? node__heir(g) : 0;

		if (heir != 0 && node_transfer(n, g->id, heir) == ND_OK)
			node__log(n, 2, "the disk of the log is full: group %u is handed to node %u", g->id, heir);
	}
}

void node__space_ticks(Node *n)
{
	bool		full = store_full(n->store);
	bool		due = n->tick % (n->config.election_ticks + 1) == 0;	/* as in node__balance() */
	bool		news;

	if (full && due)
	{
		store_find_space(n->store);
		full = store_full(n->store);
	}
	news = full != n->no_space;
	n->no_space = full;
	if (news)
	{
		node__log(n, 2, full ? "the disk of the log is full" : "the disk of the log has space again");
		node__put_gossip(n->groups[0]);
	}
	if (full && (news || due))
		hand_over(n);
}
