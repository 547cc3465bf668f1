/*
 * ship.c: the sender's side of snapshots: a leader's members that need entries which were cut. The protocol stands in README.md.
 *
 * A shipment begins when the core announces (raft: SNAPSHOT) and ends with raft_snapshot_sent(), or when the core has found another way: the peer acknowledged
 * after all, this node leads no more, the peer is no member.
 *
 * Invariants:
 * 1. What is shipped is fixed before the host opens its tables: a checkpoint at C, the log's beginning L <= C and the configuration as of L. The rows are as of
 *    an S >= C. L is below every chunk that a TXN above S may name: chunks below C that are open, or certified and not durable in the tables, now; but for those that the
 *    sender's own log has lost: they were over, and durable in its tables, which S is not below.
 * 2. From then on the log is kept from behind L until the peer has what was in the log when it said INSTALLED, or is given up.
 * 3. At most `window` bytes are under way; nothing is before the peer has answered the offer.
 * 4. An offset goes back only on the peer's word: it alone knows what it has. Silence makes us ask, not send again.
 */
#include <string.h>

#include "node_internal.h"

#define PATIENCE 32				/* election timeouts of silence, then the shipment is given up and the log let go */
#define PAUSE 2					/* election timeouts after a failure */
#define CHUNKS_PER_ROUND 4

bool node__ships(const NodeGroup *g)
{
	return g->certifier != NULL ? g->node->has_snapshots : g->id == ND_GROUP_SEQUENCER;
}

static void let_go(NodeGroup *g, Shipment *s)
{
	if (s->opened)
		g->node->snapshots.close(g->node->snapshots.ctx, s->handle);
	s->opened = false;
	nd_buf_free(&s->checkpoint);
	nd_buf_init(&s->checkpoint);
}

static void end(NodeGroup *g, Shipment **at)
{
	Shipment   *s = *at;

	*at = s->next;
	let_go(g, s);
	nd_free(s);
}

static void fail(NodeGroup *g, Shipment *s, const char *why)
{
	Node	   *n = g->node;

	node__log(n, 2, "group %u: the snapshot for node %u failed: %s", g->id, s->to, why);
	let_go(g, s);
	s->state = SHIP_FAILED;
	s->until_tick = n->tick + PAUSE * n->config.election_ticks;
}

static void restart(Shipment *s)
{
	Shipment	fresh = {.next = s->next, .to = s->to, .state = SHIP_WAITING};

	*s = fresh;
	nd_buf_init(&s->checkpoint);
}

void node__ship_wanted(NodeGroup *g, NdNodeId peer)
{
	Shipment   *s = g->shipments;

	while (s != NULL && s->to != peer)
		s = s->next;
	if (s == NULL && (s = nd_zalloc(sizeof(*s))) != NULL)
	{
		s->to = peer;
		s->next = g->shipments;
		g->shipments = s;
		restart(s);
	}
	else if (s == NULL)
	{
		if (node__ready(g))
			node__event(g, raft_snapshot_sent(g->raft, peer, 0));
	}
	else if (s->state == SHIP_BEHIND || s->state == SHIP_DONE)
	{
		let_go(g, s);
		restart(s);
	}
	node__wake(g);
}

static uint32_t opened(const Node *n)
{
	uint32_t	count = 0;

	for (uint32_t i = 0; i < n->n_groups; i++)
		for (const Shipment *s = n->groups[i]->shipments; s != NULL; s = s->next)
			count += s->state == SHIP_OPENING || s->state == SHIP_SENDING;
	return count;
}

/* Invariant 1. ND_OK, or later. */
static NdStatus prepare(NodeGroup *g, Shipment *s)
{
	Node	   *n = g->node;
	WireSnapshotOffer *o = &s->offer;
	uint64_t	chunk = node__chunk_floor(g);
	NdStatus	status;

	*o = (WireSnapshotOffer) {.group = g->id};
	if (MUTANT(NODE_SNAPSHOT_ROWS_BEHIND) && g->certifier != NULL)
	{
		o->checkpoint = g->delivered;
		status = certifier_save(g->certifier, &s->checkpoint);
	}
	else
		status = store_read_checkpoint(n->store, g->id, &o->checkpoint, &s->checkpoint);
	if (status != ND_OK || s->checkpoint.failed)
		return status != ND_OK ? status : ND_NOMEM;
	/* After a restart a checkpoint may call open what was over. A leader that must have this member to learn how far its log is committed could else send it nothing. */
	if (chunk > 0 && chunk < store_first_index(n->store, g->id))
		chunk = store_first_index(n->store, g->id);
	o->index = chunk > 0 && chunk - 1 < o->checkpoint ? chunk - 1 : o->checkpoint;
	o->term = store_term(n->store, g->id, o->index);
	status = store_configuration(n->store, g->id, o->index, &s->configuration);
	if (status != ND_OK || o->term == 0)
		return status != ND_OK ? status : ND_COMPACTED;
	o->configuration = &s->configuration;
	o->checkpoint_bytes = s->checkpoint.len;
	o->id = (uint64_t) n->config.incarnation << 32 | ++n->next_shipment;
	s->at_least = o->checkpoint > g->applied_durable && !MUTANT(NODE_SNAPSHOT_ROWS_BEHIND) ? o->checkpoint : g->applied_durable;
	return ND_OK;
}

static void take_turn(NodeGroup *g, Shipment *s)
{
	NdStatus	status;

	if (opened(g->node) >= NODE_SHIPMENTS_MAX || !node__ready(g))
		return;
	status = prepare(g, s);
	if (status == ND_OK)
		s->state = SHIP_OPENING;
	else
	{
		nd_buf_free(&s->checkpoint);
		nd_buf_init(&s->checkpoint);
		if (!node__log_lost(g->node, status) && status != ND_NOMEM && status != ND_BUSY)
			fail(g, s, nd_status_text(status));
	}
}

static void open_tables(NodeGroup *g, Shipment *s)
{
	Node	   *n = g->node;
	uint64_t	index = s->at_least;
	NdStatus	status = ND_OK;

	if (g->certifier != NULL)
	{
		status = n->snapshots.open(n->snapshots.ctx, g->id, s->at_least, &s->handle, &index);
		if (status == ND_BUSY || status == ND_NOMEM)
			return;
		s->opened = status == ND_OK;
	}
	if (status == ND_OK && index < s->at_least)
		status = ND_INVALID;
	if (status != ND_OK)
	{
		fail(g, s, nd_status_text(status));
		return;
	}
	s->offer.applied = index > s->offer.checkpoint && g->certifier != NULL ? index : s->offer.checkpoint;
	s->state = SHIP_SENDING;
	s->offer_due = true;
	s->heard_tick = n->tick;
	node__log(n, 1, "group %u: node %u gets a snapshot: rows as of entry %llu, certifier as of %llu, log behind %llu", g->id, s->to,
			  (unsigned long long) s->offer.applied, (unsigned long long) s->offer.checkpoint, (unsigned long long) s->offer.index);
}

static void send_offer(NodeGroup *g, Shipment *s)
{
	s->offer_due = false;
	s->asked_tick = g->node->tick;
	node__put_item(g->node, s->to, node__item_snapshot_offer, &s->offer);
}

/* One chunk from s->sent on. ND_BUSY: the host has none now. */
static NdStatus send_chunk(NodeGroup *g, Shipment *s)
{
	Node	   *n = g->node;
	uint32_t	cap = n->config.snapshot_chunk_bytes;
	WireSnapshotChunk c = {.group = g->id, .id = s->offer.id, .offset = s->sent};
	uint8_t    *bytes = NULL;
	uint32_t	len = 0;
	NdStatus	status = ND_OK;

	/* The sequencer's has no tables: at its end, which a late answer may name again, an empty chunk says so once more. */
	if (s->sent < s->checkpoint.len || g->certifier == NULL)
	{
		c.data = s->checkpoint.data + s->sent;
		c.len = s->checkpoint.len - s->sent < cap ? s->checkpoint.len - s->sent : cap;
		c.last = g->certifier == NULL && s->sent + c.len == s->checkpoint.len;
	}
	else
	{
		bytes = nd_alloc(cap);
		if (bytes == NULL)
			return ND_NOMEM;
		status = n->snapshots.read(n->snapshots.ctx, s->handle, s->sent - s->checkpoint.len, bytes, cap, &len, &c.last);
		c.data = bytes;
		c.len = len;
		if (status == ND_OK && len > cap)
			status = ND_INVALID;
		if (status == ND_OK && len == 0 && !c.last)
			status = ND_BUSY;
	}
	if (status == ND_OK)
	{
		c.checksum = wire_snapshot_checksum(&c);
		node__put_item(n, s->to, node__item_snapshot_chunk, &c);
		s->sent += c.len;
		s->ended = c.last;
	}
	nd_free(bytes);
	return status;
}

/* True: there is more to send at once. */
static bool send(NodeGroup *g, Shipment *s)
{
	Node	   *n = g->node;

	if (s->offer_due)
		send_offer(g, s);
	for (int i = 0; s->accepted && !s->ended && s->sent - s->acked < n->config.snapshot_window_bytes; i++)
	{
		NdStatus	status = i < CHUNKS_PER_ROUND ? send_chunk(g, s) : ND_OK;

		if (i == CHUNKS_PER_ROUND)
			return true;
		if (status == ND_BUSY || status == ND_NOMEM)
			return false;
		if (status != ND_OK)
		{
			fail(g, s, nd_status_text(status));
			return false;
		}
	}
	return false;
}

bool node__ship(NodeGroup *g)
{
	Node	   *n = g->node;
	bool		more = false;

	if (n->failed != ND_OK)
		return false;
	while (g->shipments != NULL && (!g->leads || g->stopped != NULL))
		end(g, &g->shipments);
	for (Shipment *s = g->shipments; s != NULL; s = s->next)
	{
		if (s->state == SHIP_WAITING)
			take_turn(g, s);
		if (s->state == SHIP_OPENING)
			open_tables(g, s);
		if (s->state == SHIP_SENDING)
			more |= send(g, s);
		if (s->state == SHIP_DONE && node__ready(g))
		{
			node__event(g, raft_snapshot_sent(g->raft, s->to, s->offer.index));
			s->state = SHIP_BEHIND;
			s->target = store_last_index(n->store, g->id);
			s->heard_tick = n->tick;
			more = true;
		}
	}
	return more;
}

/* ---- time ---- */

/* Is the shipment over, for whatever reason? */
static bool is_over(NodeGroup *g, Shipment *s, const RaftStatus *status)
{
	Node	   *n = g->node;
	const RaftPeerStatus *p = NULL;

	for (uint32_t i = 0; i < status->n_peers; i++)
		if (status->peers[i].node == s->to)
			p = &status->peers[i];
	if (p == NULL)
		return true;
	if (node__connected(n, s->to) && s->state == SHIP_BEHIND)
		s->heard_tick = n->tick;
	if (s->state == SHIP_BEHIND)
		return p->match >= s->target || n->tick - s->heard_tick >= PATIENCE * n->config.election_ticks;
	if (s->state == SHIP_FAILED && n->tick >= s->until_tick)
	{
		node__event(g, raft_snapshot_sent(g->raft, s->to, 0));
		return true;
	}
	return !p->snapshotting && s->state != SHIP_DONE;
}

void node__ship_ticks(NodeGroup *g)
{
	Node	   *n = g->node;
	RaftStatus *status = &n->scratch_status;

	if (g->shipments == NULL || !g->leads || !node__ready(g))
		return;
	for (Shipment **at = &g->shipments; *at != NULL;)
	{
		Shipment   *s = *at;

		raft_status(g->raft, status);
		if (is_over(g, s, status))
		{
			end(g, at);
			continue;
		}
		if (s->state == SHIP_SENDING && n->tick - s->heard_tick >= PATIENCE * n->config.election_ticks)
			fail(g, s, "it does not answer");
		else if (s->state == SHIP_SENDING && n->tick - s->heard_tick >= n->config.election_ticks &&
				 n->tick - s->asked_tick >= n->config.election_ticks)
			s->offer_due = true;
		at = &s->next;
	}
}

void node__ship_peer_up(NodeGroup *g, NdNodeId peer)
{
	for (Shipment *s = g->shipments; s != NULL; s = s->next)
		if (s->to == peer && s->state == SHIP_SENDING)
			s->offer_due = true;
}

uint64_t node__ship_floor(const NodeGroup *g)
{
	uint64_t	floor = UINT64_MAX;

	for (const Shipment *s = g->shipments; s != NULL; s = s->next)
		if (s->state != SHIP_WAITING && s->state != SHIP_FAILED && s->offer.index < floor)
			floor = s->offer.index;
	return floor;
}

/* ---- the peer's answers ---- */

void node__take_snapshot_ack(NodeGroup *g, NdNodeId from, const WireSnapshotAck *a)
{
	Shipment   *s = g->shipments;

	while (s != NULL && (s->to != from || s->state != SHIP_SENDING || s->offer.id != a->id))
		s = s->next;
	if (s == NULL)
		return;
	s->heard_tick = g->node->tick;
	s->accepted = true;
	switch (a->kind)
	{
		case WIRE_SNAPSHOT_NEXT:
			s->acked = a->offset;
			/* It has more than we knew to have sent: it asked for a part again that was only late. */
			if (s->sent < a->offset)
			{
				s->sent = a->offset;
				s->ended = false;
			}
			break;
		case WIRE_SNAPSHOT_AGAIN:
			s->ended = false;
			s->sent = a->offset;
			if (s->acked > a->offset)
				s->acked = a->offset;
			break;
		case WIRE_SNAPSHOT_INSTALLED:
			let_go(g, s);
			s->state = SHIP_DONE;
			break;
		case WIRE_SNAPSHOT_REFUSED:
			fail(g, s, "it refused");
			break;
	}
}

/* At the end of the node's life: the host is not called any more. */
void node__free_shipments(NodeGroup *g)
{
	for (Shipment *s = g->shipments, *next; s != NULL; s = next)
	{
		next = s->next;
		nd_buf_free(&s->checkpoint);
		nd_free(s);
	}
	g->shipments = NULL;
}
