/*
 * tick.c: time passes; peers come and go.
 *
 * Early campaigns: when the connection to a leader's node breaks, its groups need not wait for an election timeout. Each follower plans a
 * pre-vote within a quarter of it, at a random tick so that they do not all ask at once. Pre-votes make that harmless when only the
 * connection broke: those who still hear the leader refuse (thesis, 9.6). Nodes that lost the leader as well forget it when their own turn
 * comes, so one refused too early simply asks again, a few times.
 *
 * Sleeping groups (core/multiraft) rely on frames between the nodes: while any group sleeps, every pair exchanges a small frame per heartbeat
 * interval; a peer that is silent for an election timeout wakes the groups that it leads.
 */
#include "node_internal.h"

#define CAMPAIGNS 4
#define GOSSIP_ALL 16			/* every so many rounds of gossip all groups are told, not only changed ones */

void node__plan_campaign(NodeGroup *g, NdNodeId gone)
{
	Node	   *n = g->node;

	multiraft_wake(&g->sleep);
	g->campaign_against = gone;
	g->campaign_tick = n->tick + 1 + nd_random_below(&n->random, n->config.election_ticks / 4 + 1);
	g->campaigns_left = CAMPAIGNS;
}

void node_peer_up(Node *n, NdNodeId peer, uint32_t incarnation)
{
	NodePeer   *p = node__peer(n, peer);

	(void) incarnation;
	if (p != NULL)
	{
		p->up = true;
		p->heard_tick = n->tick;
	}
	/* It may have started anew and forgotten that it led. */
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		multiraft_wake(&n->groups[i].sleep);
		n->groups[i].gossip_due = true;
		node__ship_peer_up(&n->groups[i], peer);
	}
	n->members_due = true;
}

void node_peer_down(Node *n, NdNodeId peer)
{
	NodePeer   *p = node__peer(n, peer);

	if (p != NULL)
	{
		p->up = false;
		p->down_tick = n->tick;
	}
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		NodeGroup  *g = &n->groups[i];

		multiraft_wake(&g->sleep);
		if (g->leader == peer)
			node__plan_campaign(g, peer);
		if (g->leads && node__ready(g))
			node__event(g, raft_peer_unreachable(g->raft, peer));
	}
}

static void campaign(NodeGroup *g)
{
	Node	   *n = g->node;

	if (g->campaign_tick == 0 || n->tick < g->campaign_tick || !node__ready(g))
		return;
	g->campaign_tick = 0;
	if ((g->leader != 0 && g->leader != g->campaign_against) || node__connected(n, g->campaign_against))
		return;
	raft_status(g->raft, &n->scratch_status);
	if (n->scratch_status.state != RAFT_FOLLOWER && n->scratch_status.state != RAFT_PRECANDIDATE)
		return;
	node__event(g, raft_campaign(g->raft));
	if (--g->campaigns_left > 0)
		g->campaign_tick = n->tick + 1 + nd_random_below(&n->random, n->config.election_ticks / 4 + 1);
}

static void tick_group(NodeGroup *g)
{
	Node	   *n = g->node;

	if (!node__ready(g) || g->sleep.asleep)
		return;
	node__event(g, raft_tick(g->raft));
	if (n->config.sleep_after_ticks == 0 || !g->leads || !node__ready(g) ||
		g->queued.first != NULL || g->under_way.first != NULL || g->n_reads > 0)
		return;
	raft_status(g->raft, &n->scratch_status);
	if (multiraft_leader_tick(&g->sleep, n->config.sleep_after_ticks, &n->scratch_status))
	{
		WireSleep	s = {g->id, n->scratch_status.term, n->scratch_status.commit};

		node__broadcast(n, node__item_sleep, &s);
	}
}

void node__put_gossip(NodeGroup *g, uint64_t shown_wanted)
{
	WireGossip	w = {
		.group = g->id,
		.stored = g->commit < g->durable ? g->commit : g->durable,
		.applied = g->applied_durable,
		.shown = g->shown,
		.shown_wanted = shown_wanted,
	};

	if (g->n_sums > 0)
	{
		w.checksum_index = g->sums[(g->n_sums - 1) % NODE_SUMS].index;
		w.checksum = g->sums[(g->n_sums - 1) % NODE_SUMS].sum;
	}
	g->gossip_due = false;
	node__broadcast(g->node, node__item_gossip, &w);
}

static void gossip(Node *n)
{
	uint64_t	round = n->tick / n->config.election_ticks;

	if (n->tick % n->config.election_ticks != 0)
		return;
	for (uint32_t i = 0; i < n->n_groups; i++)
		if (n->groups[i].stopped == NULL && (n->groups[i].gossip_due || round % GOSSIP_ALL == 0))
			node__put_gossip(&n->groups[i], 0);
	if (n->goal.index > 0 && (n->members_due || round % GOSSIP_ALL == 0))
	{
		WireMembers w = {n->goal.index, &n->goal};

		n->members_due = false;
		node__broadcast(n, node__item_members, &w);
	}
}

/* Frames stand for the heartbeats of sleeping groups. */
static void keepalive(Node *n)
{
	bool		sleeping = false;

	for (uint32_t i = 0; i < n->n_groups; i++)
		sleeping |= n->groups[i].sleep.asleep;
	if (!sleeping)
		return;
	for (uint32_t i = 0; i < n->n_peers; i++)
	{
		NodePeer   *p = &n->peers[i];
		WireGossip	w = {.group = ND_GROUP_META, .stored = n->groups[0].commit < n->groups[0].durable ? n->groups[0].commit : n->groups[0].durable};

		if (n->tick - p->sent_tick >= n->config.heartbeat_ticks)
			node__put_item(n, p->node, node__item_gossip, &w);
		if (n->tick - p->heard_tick < n->config.election_ticks)
			continue;
		for (uint32_t j = 0; j < n->n_groups; j++)
			if (n->groups[j].sleep.asleep && n->groups[j].leader == p->node)
				node__plan_campaign(&n->groups[j], p->node);
	}
}

bool node_commit_untold(const Node *n)
{
	for (uint32_t i = 0; n->failed == ND_OK && i < n->n_groups; i++)
		if (n->groups[i].leads && node__ready(&n->groups[i]) && raft_commit_untold(n->groups[i].raft))
			return true;
	return false;
}

void node_tell_commit(Node *n)
{
	for (uint32_t i = 0; n->failed == ND_OK && i < n->n_groups; i++)
	{
		NodeGroup  *g = &n->groups[i];

		if (!g->leads || !node__ready(g))
			continue;
		raft_tell_commit(g->raft);
		node__event(g, ND_OK);
	}
}

void node_tick(Node *n)
{
	n->tick++;
	if (n->failed != ND_OK)
		return;
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		NodeGroup  *g = &n->groups[i];

		node__proposal_ticks(g);
		node__read_ticks(g);
		tick_group(g);
		campaign(g);
		node__ship_ticks(g);
		node__install_ticks(g);
		if (g->leads)
		{
			node__reconcile(g);
			node__cancel_orphans(g);
		}
	}
	gossip(n);
	keepalive(n);
	node__sweep_peers(n);
	node__scrub(n);
}
