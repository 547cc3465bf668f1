/*
 * orphan.c: what the transactions of a node that is gone have left behind in the certifiers: keys that they own, chunks for which the log is kept.
 * Their process cannot give them up any more, and until somebody does nobody else can have those keys (DESIGN.md, section 9).
 *
 * Two ends:
 *   - A node that starts again announces its new life to every data group, with a CANCEL of an id that no transaction has: the first entry of a
 *     higher incarnation fences the ones before (certifier.h). It is proposed until it is delivered; nothing of the old lives outlasts it.
 *   - A group's leader cancels the ids of nodes that it has not reached for orphan_ticks, or that are members no more.
 *
 * Invariants:
 * 1. Safe whatever the leader believes: a CANCEL is a tombstone. If the owner lives after all, the first of its TXN and the CANCEL in the log wins,
 *    and its client hears an abort at worst.
 * 2. The CANCEL's base is the entry at which the id began, which is below its TXN: so its verdict is a proof (entry.h).
 * 3. Bounded: at most one CANCEL per id is under way, and it lapses with the leader's reason for it.
 */
#include "node_internal.h"

#define PAGE 64

/* Counters of transactions begin at 1 and never come here. */
#define ANNOUNCED_COUNTER UINT64_MAX

/* At the start of a node. The first life of an id has nothing to end. */
NdStatus node__announce(NodeGroup *g)
{
	const NodeConfig *config = &g->node->config;
	TxnId		txn = {config->self, config->incarnation, ANNOUNCED_COUNTER};

	if (config->orphan_ticks == 0 || config->incarnation <= 1 || g->certifier == NULL)
		return ND_OK;
	return node__propose_cancel(g, txn, g->delivered, NODE_NO_DEADLINE);
}

static bool is_gone(const Node *n, NdNodeId node)
{
	const NodePeer *p = node__peer(n, node);

	if (node == n->config.self)
		return false;
	/* A goal that lags does not know the newest members: those are above all ids in it. */
	if (raft_configuration_find(&n->goal, node) == NULL)
		return node <= n->highest_seen;
	return p != NULL && !node__connected(n, node) && n->tick - p->down_tick >= n->config.orphan_ticks;
}

void node__cancel_orphans(NodeGroup *g)
{
	Node	   *n = g->node;
	CertifierOwner owners[PAGE];
	uint64_t	after = 0;
	uint32_t	count = PAGE;

	if (g->certifier == NULL || !node__ready(g))
		return;
	while (count == PAGE)
	{
		count = certifier_owners(g->certifier, after, owners, PAGE);
		for (uint32_t i = 0; i < count; i++)
		{
			after = owners[i].index;
			if (is_gone(n, owners[i].txn.node) &&
				node__propose_cancel(g, owners[i].txn, owners[i].index, n->config.orphan_ticks) == ND_OK)
				node__log(n, 1, "group %u: node %u is out of reach: its transaction %u.%llu, which holds up others since entry %llu, is cancelled", g->id,
						  owners[i].txn.node, owners[i].txn.incarnation, (unsigned long long) owners[i].txn.counter, (unsigned long long) after);
		}
	}
}
