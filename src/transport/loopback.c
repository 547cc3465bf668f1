/*
 * loopback.c: a hub that connects transports of one process. See loopback.h.
 *
 * Owns: the hub's list of ports (one per transport), each port's list of peers and its inbox.
 *
 * Invariants:
 * 1. A connection has an epoch, the same on both sides, never used again; 0 is "not connected". A frame carries the epoch it was sent in
 *    and is delivered only in that epoch: frames of a broken connection are lost, never delivered in the next one.
 * 2. peer_up and peer_down alternate, and come out of poll() alone: they are found by comparing epochs, so they need no memory and cannot fail.
 * 3. Callbacks may call anything but destroy.
 */
#include "loopback.h"

#include <stdio.h>
#include <string.h>

typedef struct Port Port;

typedef enum ItemKind
{
	ITEM_FRAME,
	ITEM_REQUEST,
	ITEM_ANSWER
} ItemKind;

typedef struct Item
{
	struct Item *next;
	ItemKind	kind;
	NdNodeId	from;
	uint64_t	id;			/* FRAME: epoch; others: request id of the receiver of this item */
	bool		ok;
	size_t		len;
	uint8_t		data[];
} Item;

typedef struct PortPeer
{
	struct PortPeer *next;
	NdNodeId	id;
	bool		wanted;			/* set_peer() without remove_peer() */
	bool		refusal_told;
	uint64_t	epoch;			/* of the connection as it is */
	uint64_t	epoch_told;		/* as callbacks know it */
	uint32_t	incarnation_seen;
	uint64_t	sent_bytes;		/* frames of ours that the peer has not polled yet */
} PortPeer;

/* A request that was asked of this port and is not answered yet. */
typedef struct Asked
{
	struct Asked *next;
	uint64_t	id;				/* as the asked side knows it */
	Port	   *asker;
	Item	   *answer;			/* allocated with the request, so that failure can always be told */
} Asked;

struct Port
{
	Transport	base;
	Port	   *next;
	LoopbackHub *hub;
	TransportCallbacks callbacks;
	uint64_t	cluster_id;
	NdNodeId	self;
	uint32_t	incarnation;
	char		listen[160];
	uint64_t	send_queue_bytes_max;
	PortPeer   *peers;
	Asked	   *asked;
	Item	   *first;
	Item	  **last;
};

typedef struct Cut
{
	struct Cut *next;
	NdNodeId	a;
	NdNodeId	b;
	bool		cut;
} Cut;

struct LoopbackHub
{
	Port	   *ports;
	Cut		   *cuts;
	uint64_t	last_epoch;
	uint64_t	last_request;
};

static Item *item_new(ItemKind kind, const void *data, size_t len)
{
	Item	   *item = nd_alloc(sizeof *item + len);

	if (item == NULL)
		return NULL;
	memset(item, 0, sizeof *item);
	item->kind = kind;
	item->len = len;
	if (len > 0)
		memcpy(item->data, data, len);
	return item;
}

static void inbox_put(Port *port, Item *item)
{
	item->next = NULL;
	*port->last = item;
	port->last = &item->next;
}

static PortPeer *find_peer(const Port *port, NdNodeId id)
{
	PortPeer   *peer = port->peers;

	while (peer != NULL && peer->id != id)
		peer = peer->next;
	return peer;
}

static bool is_cut(const LoopbackHub *hub, NdNodeId a, NdNodeId b)
{
	for (const Cut *c = hub->cuts; c != NULL; c = c->next)
		if ((c->a == a && c->b == b) || (c->a == b && c->b == a))
			return c->cut;
	return false;
}

/* NULL, or why these two would not shake hands. */
static const char *refusal(const Port *p, const PortPeer *p_of_q, const Port *q, const PortPeer *q_of_p)
{
	if (p->cluster_id != q->cluster_id)
		return "it belongs to another cluster";
	if (q->incarnation < p_of_q->incarnation_seen || p->incarnation < q_of_p->incarnation_seen)
		return "an older incarnation; is this a copy of the data directory?";
	return NULL;
}

static void tell_refusal(Port *port, PortPeer *peer, const char *why)
{
	char		address[32];

	if (peer->refusal_told)
		return;
	peer->refusal_told = true;
	snprintf(address, sizeof address, "node %u", peer->id);
	if (port->callbacks.refused != NULL)
		port->callbacks.refused(port->callbacks.ctx, address, why);
}

/* The port that has this node id now: the one created last, as a restarted node takes over from a forgotten one. */
static Port *find_port(const LoopbackHub *hub, NdNodeId id)
{
	Port	   *port = hub->ports;

	while (port != NULL && port->self != id)
		port = port->next;
	return port;
}

/* Bring this port's connections up to date; told by epochs, both sides of a pair are written at once. */
static void refresh(Port *port)
{
	for (PortPeer *peer = port->peers; peer != NULL; peer = peer->next)
	{
		Port	   *other = find_port(port->hub, peer->id);
		PortPeer   *back = other != NULL ? find_peer(other, port->self) : NULL;
		bool		mine = find_port(port->hub, port->self) == port;	/* else a newer twin has the name now */
		bool		want = back != NULL && mine && peer->wanted && back->wanted && !is_cut(port->hub, port->self, peer->id);
		const char *why = want ? refusal(port, peer, other, back) : NULL;

		if (why != NULL)
		{
			tell_refusal(port, peer, why);
			want = false;
		}
		if (want && peer->epoch == 0)
		{
			/* Both notice a break before the next connection: an old epoch on either side is simply overwritten. */
			peer->epoch = back->epoch = ++port->hub->last_epoch;
			peer->sent_bytes = back->sent_bytes = 0;
			peer->incarnation_seen = other->incarnation;
			back->incarnation_seen = port->incarnation;
			peer->refusal_told = back->refusal_told = false;
		}
		else if (!want && peer->epoch != 0)
		{
			if (back != NULL && back->epoch == peer->epoch)
				back->epoch = 0;
			peer->epoch = 0;
		}
	}
}

static NdStatus loopback_set_peer(Transport *t, NdNodeId id, const char *address)
{
	Port	   *port = (Port *) t;
	PortPeer   *peer = find_peer(port, id);

	if (id == 0 || port->self == 0 || id == port->self || address == NULL)
		return ND_INVALID;
	if (peer == NULL)
	{
		PortPeer  **end = &port->peers;

		peer = nd_zalloc(sizeof *peer);
		if (peer == NULL)
			return ND_NOMEM;
		peer->id = id;
		while (*end != NULL)
			end = &(*end)->next;
		*end = peer;
	}
	peer->wanted = true;
	refresh(port);
	return ND_OK;
}

static NdStatus loopback_remove_peer(Transport *t, NdNodeId id)
{
	Port	   *port = (Port *) t;
	PortPeer   *peer = find_peer(port, id);

	if (peer == NULL || !peer->wanted)
		return ND_NOTFOUND;
	peer->wanted = false;
	refresh(port);
	return ND_OK;
}

static bool loopback_connected(Transport *t, NdNodeId id)
{
	PortPeer   *peer = find_peer((Port *) t, id);

	return peer != NULL && peer->epoch != 0 && peer->epoch == peer->epoch_told;
}

static NdStatus loopback_send(Transport *t, NdNodeId id, const uint8_t *data, size_t len)
{
	Port	   *port = (Port *) t;
	PortPeer   *peer = find_peer(port, id);
	Item	   *item;

	if (len > TRANSPORT_FRAME_BYTES_MAX)
		return ND_TOOBIG;
	if (!loopback_connected(t, id))
		return ND_NOTFOUND;
	if (port->send_queue_bytes_max > 0 && peer->sent_bytes > 0 && peer->sent_bytes + len > port->send_queue_bytes_max)
		return ND_BUSY;
	item = item_new(ITEM_FRAME, data, len);
	if (item == NULL)
		return ND_NOMEM;
	item->from = port->self;
	item->id = peer->epoch;
	peer->sent_bytes += len;
	inbox_put(find_port(port->hub, id), item);
	return ND_OK;
}

static NdStatus loopback_request(Transport *t, const char *address, uint64_t request_id, const uint8_t *data, size_t len, uint32_t timeout_ms)
{
	Port	   *port = (Port *) t;
	Port	   *other;
	Item	   *answer = item_new(ITEM_ANSWER, NULL, 0);
	Item	   *item;
	Asked	   *asked;

	(void) timeout_ms;
	if (answer == NULL)
		return ND_NOMEM;
	answer->id = request_id;
	for (other = port->hub->ports; other != NULL; other = other->next)
		if (other->listen[0] != '\0' && strcmp(other->listen, address) == 0)
			break;
	if (other == NULL)
	{
		inbox_put(port, answer);
		return ND_OK;
	}
	asked = nd_zalloc(sizeof *asked);
	item = item_new(ITEM_REQUEST, data, len);
	if (asked == NULL || item == NULL)
	{
		nd_free(asked);
		nd_free(item);
		nd_free(answer);
		return ND_NOMEM;
	}
	asked->id = item->id = ++port->hub->last_request;
	asked->asker = port;
	asked->answer = answer;
	asked->next = other->asked;
	other->asked = asked;
	inbox_put(other, item);
	return ND_OK;
}

static NdStatus loopback_answer(Transport *t, uint64_t request_id, const uint8_t *data, size_t len)
{
	Port	   *port = (Port *) t;

	for (Asked **p = &port->asked; *p != NULL; p = &(*p)->next)
	{
		Asked	   *asked = *p;
		Item	   *item;

		if (asked->id != request_id)
			continue;
		item = item_new(ITEM_ANSWER, data, len);
		if (item == NULL)
			return ND_NOMEM;
		item->id = asked->answer->id;
		item->ok = true;
		nd_free(asked->answer);
		inbox_put(asked->asker, item);
		*p = asked->next;
		nd_free(asked);
		return ND_OK;
	}
	return ND_NOTFOUND;
}

static int loopback_fd(Transport *t)
{
	(void) t;
	return -1;
}

static void tell_connections(Port *port)
{
	const TransportCallbacks *cb = &port->callbacks;

	for (PortPeer *peer = port->peers; peer != NULL; peer = peer->next)
	{
		uint64_t	epoch = peer->epoch;

		if (peer->epoch_told == epoch)
			continue;
		if (peer->epoch_told != 0)
		{
			peer->epoch_told = 0;
			if (cb->peer_down != NULL)
				cb->peer_down(cb->ctx, peer->id);
		}
		/* The callback may have changed the connections: what it did is told in the next poll. */
		if (epoch != 0 && peer->epoch == epoch)
		{
			peer->epoch_told = epoch;
			if (cb->peer_up != NULL)
				cb->peer_up(cb->ctx, peer->id, peer->incarnation_seen);
		}
	}
}

static void deliver(Port *port, const Item *item)
{
	const TransportCallbacks *cb = &port->callbacks;

	switch (item->kind)
	{
		case ITEM_FRAME:
			{
				PortPeer   *peer = find_peer(port, item->from);
				Port	   *sender = find_port(port->hub, item->from);
				PortPeer   *back = sender != NULL ? find_peer(sender, port->self) : NULL;

				if (peer == NULL || peer->epoch != item->id || peer->epoch_told != item->id)
					return;
				if (back != NULL && back->epoch == item->id)
					back->sent_bytes -= item->len;
				if (cb->frame != NULL)
					cb->frame(cb->ctx, item->from, item->data, item->len);
				return;
			}
		case ITEM_REQUEST:
			if (cb->request != NULL)
				cb->request(cb->ctx, item->id, item->data, item->len);
			return;
		case ITEM_ANSWER:
			if (cb->answer != NULL)
				cb->answer(cb->ctx, item->id, item->ok, item->data, item->len);
			return;
	}
}

static void loopback_poll(Transport *t)
{
	Port	   *port = (Port *) t;
	Item	   *item;

	refresh(port);
	tell_connections(port);
	item = port->first;
	port->first = NULL;
	port->last = &port->first;
	while (item != NULL)
	{
		Item	   *next = item->next;

		deliver(port, item);
		nd_free(item);
		item = next;
	}
}

/* Requests this port asked must not be answered into freed memory; those it was asked fail at their askers. */
static void drop_requests(Port *port)
{
	for (Port *p = port->hub->ports; p != NULL; p = p->next)
		for (Asked **a = &p->asked; *a != NULL;)
		{
			Asked	   *asked = *a;

			if (asked->asker != port && p != port)
			{
				a = &asked->next;
				continue;
			}
			if (asked->asker != port)
				inbox_put(asked->asker, asked->answer);
			else
				nd_free(asked->answer);
			*a = asked->next;
			nd_free(asked);
		}
}

static void loopback_destroy(Transport *t)
{
	Port	   *port = (Port *) t;

	drop_requests(port);
	for (PortPeer *peer = port->peers; peer != NULL; peer = peer->next)
		peer->wanted = false;
	refresh(port);
	for (Port **p = &port->hub->ports; *p != NULL; p = &(*p)->next)
		if (*p == port)
		{
			*p = port->next;
			break;
		}
	while (port->peers != NULL)
	{
		PortPeer   *peer = port->peers;

		port->peers = peer->next;
		nd_free(peer);
	}
	while (port->first != NULL)
	{
		Item	   *item = port->first;

		port->first = item->next;
		nd_free(item);
	}
	nd_free(port);
}

static const TransportOps loopback_ops = {
	.set_peer = loopback_set_peer,
	.remove_peer = loopback_remove_peer,
	.send = loopback_send,
	.connected = loopback_connected,
	.request = loopback_request,
	.answer = loopback_answer,
	.fd = loopback_fd,
	.poll = loopback_poll,
	.destroy = loopback_destroy,
};

LoopbackHub *loopback_hub_create(void)
{
	return nd_zalloc(sizeof(LoopbackHub));
}

void loopback_hub_destroy(LoopbackHub *hub)
{
	while (hub->cuts != NULL)
	{
		Cut		   *cut = hub->cuts;

		hub->cuts = cut->next;
		nd_free(cut);
	}
	nd_free(hub);
}

NdStatus loopback_create(LoopbackHub *hub, const TransportConfig *config, const TransportCallbacks *callbacks, Transport **out)
{
	Port	   *port = nd_zalloc(sizeof *port);

	if (port == NULL)
		return ND_NOMEM;
	port->base.ops = &loopback_ops;
	port->hub = hub;
	port->callbacks = *callbacks;
	port->cluster_id = config->cluster_id;
	port->self = config->self;
	port->incarnation = config->incarnation;
	snprintf(port->listen, sizeof port->listen, "%s", config->listen != NULL ? config->listen : "");
	port->send_queue_bytes_max = config->send_queue_bytes_max;
	port->last = &port->first;
	port->next = hub->ports;
	hub->ports = port;
	*out = &port->base;
	return ND_OK;
}

NdStatus loopback_cut(LoopbackHub *hub, NdNodeId a, NdNodeId b, bool cut)
{
	Cut		   *c = hub->cuts;

	while (c != NULL && !((c->a == a && c->b == b) || (c->a == b && c->b == a)))
		c = c->next;
	if (c == NULL)
	{
		c = nd_zalloc(sizeof *c);
		if (c == NULL)
			return ND_NOMEM;
		c->a = a;
		c->b = b;
		c->next = hub->cuts;
		hub->cuts = c;
	}
	c->cut = cut;
	for (Port *p = hub->ports; p != NULL; p = p->next)
		if (p->self == a || p->self == b)
			refresh(p);
	return ND_OK;
}
