/*
 * receive.c: frames from peers: each item goes to its group. What a stopped or waiting group cannot take is dropped, as if the network had lost it.
 */
#include "node_internal.h"

typedef struct Receiving
{
	Node	   *node;
	NdNodeId	from;
} Receiving;

static uint64_t entries_bytes(const RaftMessage *m)
{
	uint64_t	bytes = 0;

	for (uint32_t i = 0; i < m->n_entries; i++)
		bytes += NODE_ENTRY_OVERHEAD + (m->entries[i].payload != NULL ? m->entries[i].payload->len : 0);
	return bytes;
}

static void take_raft(void *ctx, const RaftMessage *m)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, m->group);

	if (g == NULL || !node__ready(g) || (m->n_entries > 0 && !node__room(r->node, entries_bytes(m))))
		return;
	/* A leader that is awake beats; its members' answers must not keep it awake for ever. */
	if (g->sleep.asleep || (m->type != RAFT_MSG_HEARTBEAT && m->type != RAFT_MSG_HEARTBEAT_REPLY))
		node__wake(g);
	node__event(g, raft_step(g->raft, m));
}

static void take_proposal(void *ctx, const WireProposal *p)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, p->group);

	if (g != NULL)
		node__take_proposal(g, r->from, p);
}

static void take_answer(void *ctx, const WireAnswer *a)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, a->group);

	if (g != NULL)
		node__take_answer(g, r->from, a);
}

static void take_gossip(void *ctx, const WireGossip *gossip)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, gossip->group);

	if (g != NULL && g->stopped == NULL)
		node__take_gossip(g, r->from, gossip);
}

static void take_sleep(void *ctx, const WireSleep *s)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, s->group);

	if (g == NULL || !node__ready(g) || r->node->config.sleep_after_ticks == 0)
		return;
	raft_status(g->raft, &r->node->scratch_status);
	multiraft_follow(&g->sleep, &r->node->scratch_status, r->from, s->term, s->commit);
}

static void take_members(void *ctx, const WireMembers *m)
{
	Receiving  *r = ctx;
	Node	   *n = r->node;

	if (m->index <= n->goal.index || m->index <= n->hint.index)
		return;
	n->hint = *m->configuration;
	n->hint.index = m->index;
	n->changed = true;
}

static void take_snapshot_offer(void *ctx, const WireSnapshotOffer *o)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, o->group);

	if (g != NULL)
		node__take_snapshot_offer(g, r->from, o);
}

static void take_snapshot_chunk(void *ctx, const WireSnapshotChunk *c)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, c->group);

	if (g != NULL)
		node__take_snapshot_chunk(g, r->from, c);
}

static void take_snapshot_ack(void *ctx, const WireSnapshotAck *a)
{
	Receiving  *r = ctx;
	NodeGroup  *g = node__group(r->node, a->group);

	if (g != NULL)
		node__take_snapshot_ack(g, r->from, a);
}

void node_frame(Node *n, NdNodeId from, const uint8_t *data, size_t len)
{
	NodePeer   *p = node__peer(n, from);
	Receiving	r = {n, from};
	WireSink	sink = {
		take_raft, take_proposal, take_answer, take_gossip, take_sleep, &r, take_members, take_snapshot_offer, take_snapshot_chunk, take_snapshot_ack,
	};
	NdStatus	status;

	if (p == NULL || n->failed != ND_OK)
		return;
	p->heard_tick = n->tick;
	status = wire_decode(data, len, from, n->config.self, &sink);
	if (status == ND_INVALID || status == ND_VERSION)
		node__log(n, 2, "node %u sent a frame of %zu bytes that cannot be read: dropped (%s)", from, len, nd_status_text(status));
}
