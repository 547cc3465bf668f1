/*
 * outbox.c: peers, and the bytes on their way to them.
 *
 * One frame per peer and round: the items of all groups are appended to one buffer (wire.h: bytes of frames in a row are one frame), so
 * heartbeats of many groups leave together. A buffer that grows large leaves earlier.
 *
 * Peers are the members of group 0's newest configuration, of the goal, the seeds of a joining node, and what peers tell of newer members: a node
 * that was away while another joined would refuse the newcomer's connections, and if that one leads group 0 by now it would never hear of it.
 * One that is in none of them any more is kept for two election timeouts, so that it can still be told of its removal.
 *
 * What does not fit or cannot be sent is dropped: Raft asks again.
 */
#include <string.h>

#include "node_internal.h"

NodePeer *node__peer(const Node *n, NdNodeId node)
{
	for (uint32_t i = 0; i < n->n_peers; i++)
		if (n->peers[i].node == node)
			return &n->peers[i];
	return NULL;
}

bool node__connected(const Node *n, NdNodeId node)
{
	return n->transport != NULL && node__peer(n, node) != NULL && n->transport->ops->connected(n->transport, node);
}

static void send_bytes(Node *n, NodePeer *p, const uint8_t *data, size_t len)
{
	if (n->transport != NULL && n->failed == ND_OK && len > 0)
	{
		n->transport->ops->send(n->transport, p->node, data, len);
		p->sent_tick = n->tick;
	}
}

static void send_buffer(Node *n, NodePeer *p, NdBuf *buf)
{
	send_bytes(n, p, buf->data, buf->len);
	nd_buf_reset(buf);
}

static void append(NdBuf *buf, void (*put) (NdBuf *buf, const void *item), const void *item)
{
	size_t		before = buf->len;

	put(buf, item);
	if (buf->failed)
	{
		/* Only this item is lost, not the ones before it. */
		buf->failed = false;
		buf->len = before;
	}
}

/* Append to what may leave now; what is too large for one frame leaves in parts. */
static void put_out(Node *n, NodePeer *p, void (*put) (NdBuf *buf, const void *item), const void *item)
{
	size_t		before = p->out.len;

	append(&p->out, put, item);
	if (p->out.len <= NODE_FRAME_BYTES)
		return;
	if (before > 0)
	{
		send_bytes(n, p, p->out.data, before);
		send_bytes(n, p, p->out.data + before, p->out.len - before);
		nd_buf_reset(&p->out);
	}
	else
		send_buffer(n, p, &p->out);
}

static void item_raft(NdBuf *buf, const void *item)
{
	wire_put_raft(buf, item);
}

void node__item_proposal(NdBuf *buf, const void *item)
{
	wire_put_proposal(buf, item);
}

void node__item_answer(NdBuf *buf, const void *item)
{
	wire_put_answer(buf, item);
}

void node__item_gossip(NdBuf *buf, const void *item)
{
	wire_put_gossip(buf, item);
}

void node__item_sleep(NdBuf *buf, const void *item)
{
	wire_put_sleep(buf, item);
}

void node__item_members(NdBuf *buf, const void *item)
{
	wire_put_members(buf, item);
}

void node__item_snapshot_offer(NdBuf *buf, const void *item)
{
	wire_put_snapshot_offer(buf, item);
}

void node__item_snapshot_chunk(NdBuf *buf, const void *item)
{
	wire_put_snapshot_chunk(buf, item);
}

void node__item_snapshot_ack(NdBuf *buf, const void *item)
{
	wire_put_snapshot_ack(buf, item);
}

void node__put_raft(Node *n, const RaftMessage *m, bool after)
{
	NodePeer   *p = node__peer(n, m->to);

	if (p == NULL)
		return;
	if (after && p->gather.len < NODE_WAITING_BYTES_MAX)
		append(&p->gather, item_raft, m);
	else if (after)
		return;
	else
		put_out(n, p, item_raft, m);
}

void node__put_item(Node *n, NdNodeId to, void (*put) (NdBuf *buf, const void *item), const void *item)
{
	NodePeer   *p = node__peer(n, to);

	if (p != NULL)
		put_out(n, p, put, item);
}

void node__broadcast(Node *n, void (*put) (NdBuf *buf, const void *item), const void *item)
{
	for (uint32_t i = 0; i < n->n_peers; i++)
		put_out(n, &n->peers[i], put, item);
}

void node__send_all(Node *n)
{
	for (uint32_t i = 0; i < n->n_peers; i++)
		if (n->peers[i].out.len > 0)
			send_buffer(n, &n->peers[i], &n->peers[i].out);
}

/* A flush is durable: what depended on it may leave, with the round's other bytes. */
void node__release_peers(Node *n, bool gather)
{
	for (uint32_t i = 0; i < n->n_peers; i++)
	{
		NodePeer   *p = &n->peers[i];
		NdBuf	   *buf = gather ? &p->gather : &p->flight;

		if (buf->len == 0)
			continue;
		if (p->out.len + buf->len > NODE_FRAME_BYTES)
			send_buffer(n, p, &p->out);
		nd_buf_bytes(&p->out, buf->data, buf->len);
		p->out.failed = false;
		nd_buf_reset(buf);
	}
}

/* A flush starts: what has gathered depends on it. `flight` is empty, for there is one flush at a time. */
void node__turn_peers(Node *n)
{
	for (uint32_t i = 0; i < n->n_peers; i++)
	{
		NdBuf		empty = n->peers[i].flight;

		n->peers[i].flight = n->peers[i].gather;
		n->peers[i].gather = empty;
	}
}

/* ---- who the peers are ---- */

static void want(Node *n, const WireMember *m)
{
	NodePeer   *p = node__peer(n, m->node);

	if (m->node == n->config.self || m->node == 0)
		return;
	if (p == NULL)
	{
		if (n->n_peers == 2 * RAFT_MEMBERS_MAX)
			return;
		p = &n->peers[n->n_peers++];
		memset(p, 0, sizeof(*p));
		p->node = m->node;
		p->heard_tick = n->tick;
		p->down_tick = n->tick;
	}
	p->wanted = true;
	p->drop_tick = 0;
	if (!p->told || strcmp(p->address, m->address) != 0)
	{
		memcpy(p->address, m->address, sizeof(p->address));
		p->told = n->transport->ops->set_peer(n->transport, p->node, p->address) == ND_OK;
	}
}

/* All members of c that are not in `newer`, whose addresses count more. */
static void want_others(Node *n, const RaftConfiguration *c, const RaftConfiguration *newer)
{
	WireMember	m;

	for (uint32_t i = 0; i < c->n; i++)
		if ((newer == NULL || raft_configuration_find(newer, c->members[i].node) == NULL) &&
			wire_member_from_raft(&c->members[i], &m) == ND_OK)
			want(n, &m);
}

void node__refresh_peers(Node *n)
{
	const RaftConfiguration *newest = raft_configuration(n->groups[0]->raft);

	for (uint32_t i = 0; i < n->n_peers; i++)
		n->peers[i].wanted = false;
	/* Oldest knowledge first: the newest address of a member counts. */
	if (raft_configuration_find(&n->goal, n->config.self) == NULL)
		for (uint32_t i = 0; i < n->n_seeds; i++)
			if (raft_configuration_find(&n->goal, n->seeds[i].node) == NULL)
				want(n, &n->seeds[i]);
	want_others(n, &n->goal, newest);
	if (n->hint.index > newest->index)
	{
		want_others(n, newest, &n->hint);
		want_others(n, &n->hint, NULL);
	}
	else
		want_others(n, newest, NULL);
	for (uint32_t i = 0; i < n->n_peers; i++)
		if (!n->peers[i].wanted && n->peers[i].drop_tick == 0)
			n->peers[i].drop_tick = n->tick + 2 * n->config.election_ticks;
}

static void free_peer(NodePeer *p)
{
	nd_buf_free(&p->out);
	nd_buf_free(&p->gather);
	nd_buf_free(&p->flight);
}

void node__sweep_peers(Node *n)
{
	for (uint32_t i = 0; i < n->n_peers;)
	{
		NodePeer   *p = &n->peers[i];

		if (p->wanted || n->tick < p->drop_tick)
		{
			i++;
			continue;
		}
		if (n->transport != NULL)
			n->transport->ops->remove_peer(n->transport, p->node);
		free_peer(p);
		*p = n->peers[--n->n_peers];
	}
}

void node__free_peers(Node *n)
{
	for (uint32_t i = 0; i < n->n_peers; i++)
		free_peer(&n->peers[i]);
	nd_free(n->peers);
}

NdStatus node_set_seed_peers(Node *n, const NodeMember *members, uint32_t n_members)
{
	NodeMember *seeds = nd_alloc((n_members + 1) * sizeof(*seeds));

	if (seeds == NULL)
		return ND_NOMEM;
	memcpy(seeds, members, n_members * sizeof(*seeds));
	nd_free(n->seeds);
	n->seeds = seeds;
	n->n_seeds = n_members;
	if (n->transport != NULL)
		node__refresh_peers(n);
	return ND_OK;
}
