/*
 * net.c: the virtual network: one stream per pair of nodes, with latency, breaks, partitions and worse.
 *
 * Invariants:
 * 1. A stream lives for one session: a frame of an ended session never arrives, and both ends hear peer_down before the next peer_up.
 * 2. Inside a session frames keep their order unless the run's options reorder, double or lose them (transport.h promises that they don't;
 *    Raft is built for a network that does).
 * 3. A blocked direction swallows frames silently: nobody is told. A stream is only made when both directions are open.
 */
#include "sim.h"

#include <string.h>

static Link *link_of(Sim *s, NdNodeId a, NdNodeId b)
{
	return a < b ? &s->links[a][b] : &s->links[b][a];
}

static void schedule_attempt(Sim *s, NdNodeId a, NdNodeId b, uint64_t delay_us)
{
	Link	   *l = link_of(s, a, b);

	if (l->attempt_scheduled)
		return;
	l->attempt_scheduled = true;
	sim_post(s, delay_us, EV_LINK, 0, a < b ? a : b, a < b ? b : a);
}

/* ---- transport.h ---- */

static NdStatus set_peer(Transport *t, NdNodeId peer, const char *address)
{
	Host	   *h = ((SimTransport *) t)->host;

	(void) address;
	if (peer == 0 || peer >= SIM_NODES_MAX || peer == h->id)
		return ND_INVALID;
	h->transport.known[peer] = true;
	schedule_attempt(h->sim, h->id, peer, sim_spread(&h->sim->net_rng, 2 * SIM_MS));
	return ND_OK;
}

static NdStatus remove_peer(Transport *t, NdNodeId peer)
{
	Host	   *h = ((SimTransport *) t)->host;

	if (peer == 0 || peer >= SIM_NODES_MAX || !h->transport.known[peer])
		return ND_NOTFOUND;
	h->transport.known[peer] = false;
	return ND_OK;
}

/* Founding has a clean network, unless this run is to be hard from the start. */
static bool mischief(Sim *s, uint32_t per_mille)
{
	return (s->phase == PHASE_CHAOS || s->o.faults_from_start) && sim_chance(&s->net_rng, per_mille);
}

static void frame_post(Sim *s, Host *h, NdNodeId peer, const uint8_t *data, size_t len)
{
	Link	   *l = link_of(s, h->id, peer);
	uint32_t	direction = h->id > peer;
	uint64_t	at = s->now + sim_spread(&s->net_rng, s->o.latency_us);

	if (mischief(s, s->o.spike))
		at += sim_spread(&s->net_rng, s->o.spike_us);
	if (!mischief(s, s->o.reorder))
	{
		if (at < l->last[direction])
			at = l->last[direction];
		l->last[direction] = at;
	}
	l->queued[direction] += len;
	sim_trace(s, T_SEND, h->id, peer, len, nd_checksum(data, len, 0), at, 0);
	sim_post_data(s, at, EV_FRAME, peer, h->id, l->session, data, (uint32_t) len);
}

static NdStatus send_frame(Transport *t, NdNodeId peer, const uint8_t *data, size_t len)
{
	Host	   *h = ((SimTransport *) t)->host;
	Sim		   *s = h->sim;

	if (len > TRANSPORT_FRAME_BYTES_MAX)
	{
		sim_fail(s, "transport", "node %u sends a frame of %zu bytes", h->id, len);
		return ND_TOOBIG;
	}
	if (peer == 0 || peer >= SIM_NODES_MAX || peer == h->id)
	{
		sim_fail(s, "transport", "node %u sends to node %u", h->id, peer);
		return ND_NOTFOUND;
	}

	Link	   *l = link_of(s, h->id, peer);

	if (!l->connected)
		return ND_NOTFOUND;
	check_sent(h, peer, data, len);
	if (l->queued[h->id > peer] + len > s->o.queue_bytes && l->queued[h->id > peer] > 0)
		return ND_BUSY;
	if (!s->hosts[peer].up || s->blocked[h->id][peer] || mischief(s, s->o.loss))
	{
		sim_trace(s, T_DROP, h->id, peer, len, 0, 0, 0);
		return ND_OK;
	}
	frame_post(s, h, peer, data, len);
	if (mischief(s, s->o.duplicate))
		frame_post(s, h, peer, data, len);
	return ND_OK;
}

static bool connected(Transport *t, NdNodeId peer)
{
	Host	   *h = ((SimTransport *) t)->host;

	return peer > 0 && peer < SIM_NODES_MAX && peer != h->id && link_of(h->sim, h->id, peer)->connected;
}

static NdStatus request(Transport *t, const char *address, uint64_t request_id, const uint8_t *data, size_t len, uint32_t timeout_ms)
{
	(void) t, (void) address, (void) request_id, (void) data, (void) len, (void) timeout_ms;
	return ND_INVALID;			/* joining by request is pg's business; here the operator adds members */
}

static NdStatus answer(Transport *t, uint64_t request_id, const uint8_t *data, size_t len)
{
	(void) t, (void) request_id, (void) data, (void) len;
	return ND_INVALID;
}

static int no_fd(Transport *t)
{
	(void) t;
	return -1;
}

static void no_poll(Transport *t)
{
	(void) t;					/* frames come as events */
}

static void no_destroy(Transport *t)
{
	(void) t;					/* part of its host */
}

static const TransportOps sim_transport_ops = {set_peer, remove_peer, send_frame, connected, request, answer, no_fd, no_poll, no_destroy};

void net_init_transport(Host *h)
{
	memset(&h->transport, 0, sizeof h->transport);
	h->transport.base.ops = &sim_transport_ops;
	h->transport.host = h;
}

/* ---- streams ---- */

static void disconnect(Sim *s, NdNodeId a, NdNodeId b, uint64_t delay_us)
{
	Link	   *l = link_of(s, a, b);

	if (!l->connected)
		return;
	l->connected = false;
	l->queued[0] = l->queued[1] = 0;
	if (s->hosts[a].up)
		sim_post(s, delay_us, EV_PEER_DOWN, a, b, l->session);
	if (s->hosts[b].up)
		sim_post(s, delay_us, EV_PEER_DOWN, b, a, l->session);
}

void net_break(Sim *s, NdNodeId a, NdNodeId b)
{
	sim_trace(s, T_BREAK, 0, a, b, 0, 0, 0);
	disconnect(s, a, b, 10);
	schedule_attempt(s, a, b, sim_spread(&s->net_rng, 30 * SIM_MS));
}

void net_try(Sim *s, NdNodeId a, NdNodeId b)
{
	Host	   *ha = &s->hosts[a];
	Host	   *hb = &s->hosts[b];
	Link	   *l = link_of(s, a, b);

	if (l->connected || !ha->exists || !hb->exists)
		return;
	if (!ha->transport.known[b] && !hb->transport.known[a])
		return;
	if (!ha->up || !hb->up || s->blocked[a][b] || s->blocked[b][a] || ha->paused_until > s->now || hb->paused_until > s->now)
	{
		if (!ha->dead && !hb->dead)
			schedule_attempt(s, a, b, sim_spread(&s->net_rng, 40 * SIM_MS));
		return;
	}
	l->connected = true;
	l->session++;
	l->last[0] = l->last[1] = s->now;
	/* At once on both sides, so that no frame comes before it. */
	sim_post(s, 0, EV_PEER_UP, a, b, l->session);
	sim_post(s, 0, EV_PEER_UP, b, a, l->session);
}

void net_host_started(Host *h)
{
	for (NdNodeId id = 1; id < h->sim->next_id; id++)
		if (id != h->id && h->sim->hosts[id].exists)
			schedule_attempt(h->sim, h->id, id, sim_spread(&h->sim->net_rng, 10 * SIM_MS));
}

/* silent: power loss, the peers notice by keepalive; else the kernel closes the connections at once. */
void net_host_stopped(Host *h, bool silent)
{
	Sim		   *s = h->sim;

	for (NdNodeId id = 1; id < s->next_id; id++)
		if (id != h->id)
			disconnect(s, h->id, id, silent ? sim_spread(&s->net_rng, 500 * SIM_MS) : sim_spread(&s->net_rng, 1 * SIM_MS));
}

bool net_inject(Sim *s, NdNodeId from, NdNodeId to, const uint8_t *data, size_t len)
{
	Link	   *l = link_of(s, from, to);

	if (!l->connected)
		return false;
	l->queued[from > to] += len;
	sim_post_data(s, s->now, EV_FRAME, to, from, l->session, data, (uint32_t) len);
	return true;
}

bool net_session(Sim *s, NdNodeId a, NdNodeId b, uint64_t session)
{
	Link	   *l = link_of(s, a, b);

	return l->connected && l->session == session;
}

bool net_take_frame(Sim *s, const SimEvent *e)
{
	NdNodeId	from = (NdNodeId) e->a;
	Link	   *l = link_of(s, from, e->node);

	if (!net_session(s, from, e->node, e->b))
		return false;
	l->queued[from > e->node] -= e->len;
	return true;
}

void net_heal(Sim *s)
{
	memset(s->blocked, 0, sizeof s->blocked);
	for (NdNodeId a = 1; a < s->next_id; a++)
		for (NdNodeId b = a + 1; b < s->next_id; b++)
			schedule_attempt(s, a, b, sim_spread(&s->net_rng, 20 * SIM_MS));
}
