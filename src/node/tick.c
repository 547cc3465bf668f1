/*
 * tick.c: time passes; peers come and go.
 *
 * Early campaigns: when the connection to a leader's node breaks, its groups need not wait for an election timeout. The survivor that a group prefers
 * (balance.c) asks for votes at once, the next one a quarter of the timeout later, and so on. Pre-votes make that harmless when only the connection
 * broke: those who still hear the leader refuse (thesis, 9.6). Who lost it as well does not count as hearing it (raft_peer_unreachable()), so the first
 * one is elected; one that was refused because another noticed later asks again, a few times.
 *
 * Ticks and rounds cost only for groups in Node.active. One that sleeps and waits for nothing leaves it here, and comes back with whatever happens to it.
 *
 * Sleeping groups (core/multiraft) rely on frames between the nodes: while any group sleeps, every pair exchanges a small frame per heartbeat
 * interval; a peer that is silent for an election timeout wakes the groups that it leads.
 */
#include "node_internal.h"

#define CAMPAIGNS 4
#define RANKS 3					/* beyond it all wait about as long */
#define GOSSIP_ALL 16			/* every so many rounds of gossip all groups are told, not only changed ones */

/*
 * Later by rank, so that survivors do not ask at the same moment and split the votes, and so that each gets its share of the groups that a node led. Groups
 * whose turn is the same tick share frames and flushes.
 */
void node__plan_campaign(NodeGroup *g, NdNodeId gone)
{
	Node	   *n = g->node;
	uint32_t	step = n->config.election_ticks / 4 + 1;
	uint32_t	rank = node__rank(g, gone);

	node__wake(g);
	g->campaign_against = gone;
	g->campaign_tick = n->tick + 1 + (rank < RANKS ? rank * step : RANKS * step + nd_random_below(&n->random, step));
	g->campaigns_left = CAMPAIGNS;
}

void node_peer_up(Node *n, NdNodeId peer, uint32_t incarnation)
{
	NodePeer   *p = node__peer(n, peer);

	(void) incarnation;
	if (p != NULL)
	{
		p->up = true;
		p->up_tick = n->tick;
		p->groups_max = 0;		/* it may have less room than in its life before: it says so soon */
		p->heard_tick = n->tick;
	}
	/* It may have started anew and forgotten that it led. */
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		node__wake(n->groups[i]);
		n->groups[i]->gossip_due = true;
		node__ship_peer_up(n->groups[i], peer);
		if (n->groups[i]->said_to == peer)
			n->groups[i]->said_to = 0;		/* what was said may be lost */
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
		NodeGroup  *g = n->groups[i];

		node__wake(g);
		if (g->leader == peer)
			node__plan_campaign(g, peer);
		if ((g->leads || g->leader == peer) && node__ready(g))
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

/* What is not connected cannot be waited for: when it comes, all groups wake. */
static void leave_out_absent(const Node *n, RaftStatus *s)
{
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < s->n_peers; i++)
		if (node__connected(n, s->peers[i].node))
			s->peers[kept++] = s->peers[i];
	s->n_peers = kept;
}

static void tick_group(NodeGroup *g)
{
	Node	   *n = g->node;

	if (!node__ready(g) || g->sleep.asleep)
		return;
	node__event(g, raft_tick(g->raft));
	if (n->config.sleep_after_ticks == 0 || !g->leads || !node__ready(g) ||
		g->queued.first != NULL || g->under_way.first != NULL || g->n_reads > 0 || !node__members_settled(g) || node__several_busy(g))
		return;
	raft_status(g->raft, &n->scratch_status);
	leave_out_absent(n, &n->scratch_status);
	if (multiraft_leader_tick(&g->sleep, n->config.sleep_after_ticks, &n->scratch_status))
	{
		WireSleep	s = {g->id, n->scratch_status.term, n->scratch_status.commit};

		node__broadcast(n, node__item_sleep, &s);
	}
}

void node__put_gossip(NodeGroup *g)
{
	node__put_question(g, 0, 0);
}

void node__put_question(NodeGroup *g, uint64_t shown_wanted, uint64_t prepared_wanted)
{
	WireGossip	w = {
		.group = g->id,
		.stored = g->commit < g->durable ? g->commit : g->durable,
		.applied = g->applied_durable,
		.shown = g->shown,
		.shown_wanted = shown_wanted,
		.no_space = g->node->no_space,
		.prepared = g->prepared,
		.prepared_wanted = prepared_wanted,
		.groups_max = g->id == ND_GROUP_META ? g->node->config.groups_max : 0,
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
		if (n->groups[i]->stopped == NULL && (n->groups[i]->gossip_due || round % GOSSIP_ALL == 0))
			node__put_gossip(n->groups[i]);
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
	bool		sleeping = n->n_active < n->n_groups;

	for (uint32_t i = 0; i < n->n_active; i++)
		sleeping |= n->active[i]->sleep.asleep;
	if (!sleeping)
		return;
	for (uint32_t i = 0; i < n->n_peers; i++)
	{
		NodePeer   *p = &n->peers[i];
		WireGossip	w = {.group = ND_GROUP_META, .stored = n->groups[0]->commit < n->groups[0]->durable ? n->groups[0]->commit : n->groups[0]->durable,
			.no_space = n->no_space};

		if (n->tick - p->sent_tick >= n->config.heartbeat_ticks)
			node__put_item(n, p->node, node__item_gossip, &w);
		if (n->tick - p->heard_tick < n->config.election_ticks || (n->tick - p->heard_tick) % n->config.election_ticks != 0)
			continue;
		for (uint32_t j = 0; j < n->n_groups; j++)
			if (n->groups[j]->sleep.asleep && n->groups[j]->leader == p->node)
				node__plan_campaign(n->groups[j], p->node);
	}
}

bool node_commit_untold(const Node *n)
{
	for (uint32_t i = 0; n->failed == ND_OK && i < n->n_active; i++)
		if (n->active[i]->leads && node__ready(n->active[i]) && raft_commit_untold(n->active[i]->raft))
			return true;
	return false;
}

void node_tell_commit(Node *n)
{
	for (uint32_t i = 0; n->failed == ND_OK && i < n->n_active; i++)
	{
		NodeGroup  *g = n->active[i];

		if (!g->leads || !node__ready(g))
			continue;
		raft_tell_commit(g->raft);
		node__event(g, ND_OK);
	}
}

/* Does it sleep, and wait for nothing that a tick or a round would bring? */
static bool is_quiet(const NodeGroup *g)
{
	const FlushMark *marks[3] = {&g->gather, &g->flight, &g->owed};

	if (!(g->sleep.asleep || g->stopped != NULL) || g->taken || (g->dirty && g->stopped == NULL) || g->queued.first != NULL ||
		g->under_way.first != NULL || g->n_forwarded > 0 || g->n_reads > 0 || g->campaign_tick != 0 || g->shipments != NULL || g->arrival != NULL)
		return false;
	for (int i = 0; i < 3; i++)
		if (marks[i]->index > 0 || marks[i]->hard_seq > 0 || marks[i]->checkpoint > 0 || marks[i]->reset)
			return false;
	for (int i = 0; i < NODE_READ_ROUNDS; i++)
		if (g->rounds[i].context != 0)
			return false;
	return g->stopped != NULL || (g->delivered >= g->commit && !g->held);
}

static void retire(Node *n)
{
	uint32_t	kept = 0;

	for (uint32_t i = 0; i < n->n_active; i++)
	{
		NodeGroup  *g = n->active[i];

		if (is_quiet(g))
			g->active = false;
		else
			n->active[kept++] = g;
	}
	n->n_active = kept;
}

void node_tick(Node *n)
{
	n->tick++;
	if (n->failed != ND_OK)
		return;
	for (uint32_t i = 0; i < n->n_active; i++)
	{
		NodeGroup  *g = n->active[i];

		node__proposal_ticks(g);
		node__read_ticks(g);
		tick_group(g);
		campaign(g);
		node__ship_ticks(g);
		node__install_ticks(g);
		if (g->leads)
			node__reconcile(g);
	}
	/* Of groups that sleep as well: a reason that lasts for orphan_ticks need not be looked for at every tick. */
	for (uint32_t i = 0; n->config.orphan_ticks > 0 && n->tick % n->config.election_ticks == 0 && i < n->n_groups; i++)
		if (n->groups[i]->leads)
			node__cancel_orphans(n->groups[i]);
	node__several_ticks(n);
	gossip(n);
	keepalive(n);
	node__sweep_peers(n);
	node__scrub(n);
	node__space_ticks(n);
	node__balance(n);
	retire(n);
}
