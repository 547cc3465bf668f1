/*
 * clients.c: the workload: transactions, in pieces or with reservations, cancels and strong reads, and what their clients were told.
 *
 * A client works at one host, one operation at a time. It reads rows of the host's table, writes new values (each value is written once in
 * a run), proposes, and waits. A commit counts as acknowledged when the host's applier has passed it, as in the real server.
 *
 * Invariants checked here:
 * 1. Every proposal is answered exactly once; within its deadline, measured in the host's own ticks.
 * 2. NODE_NOT_SENT means that no entry of the proposal is ever delivered (check_delivery() looks it up).
 * 3. A read index is not below anything that any client was told before the read began.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_KEY (SIM_KEYS - 1)	/* never reserved by a transaction that may be abandoned */
#define ANSWER_SLACK_TICKS 3
#define WATCH_US (500 * SIM_MS)
#define OPERATIONS_FAST 1200
#define THINK_SLOW_US (200 * SIM_MS)

/* ---- bodies ---- */

uint64_t clients_key_hash(NdGroupId group, uint32_t key)
{
	uint32_t	name[2] = {group, key};

	return nd_checksum(name, sizeof name, 0);
}

NdBlob *clients_encode(EntryKind kind, uint16_t flags, TxnId txn, uint64_t base, EntryKey *keys, uint32_t n_keys,
					   const uint64_t *chunks, uint32_t n_chunks, const SimPair *pairs, uint32_t n_pairs, uint32_t pad)
{
	NdBuf		buf;
	NdBlob	   *blob = NULL;

	nd_buf_init(&buf);
	if (entry_encode_header(&buf, kind, flags, txn, base, keys, n_keys, chunks, n_chunks) == ND_OK)
	{
		nd_buf_varint(&buf, n_pairs);
		for (uint32_t i = 0; i < n_pairs; i++)
		{
			nd_buf_varint(&buf, pairs[i].key);
			nd_buf_varint(&buf, pairs[i].was);
			nd_buf_varint(&buf, pairs[i].is);
		}
		for (uint32_t i = 0; i < pad; i++)
			nd_buf_u8(&buf, (uint8_t) (txn.counter + i));
		if (!buf.failed)
			blob = nd_blob_new(buf.data, (uint32_t) buf.len);
	}
	nd_buf_free(&buf);
	return blob;
}

bool clients_decode_body(const uint8_t *body, size_t len, SimPair *pairs, uint32_t *n_pairs)
{
	NdReader	r;
	uint64_t	n;

	nd_reader_init(&r, body, len);
	n = nd_read_varint(&r);
	if (n > SIM_PAIRS_MAX)
		return false;
	for (uint64_t i = 0; i < n; i++)
	{
		pairs[i].key = (uint32_t) nd_read_varint(&r);
		pairs[i].was = nd_read_varint(&r);
		pairs[i].is = nd_read_varint(&r);
		if (pairs[i].key >= SIM_KEYS)
			return false;
	}
	*n_pairs = (uint32_t) n;
	return !r.failed;
}

/* ---- tools ---- */

static Client *find(Host *h, NdGroupId group, TxnId txn, EntryKind kind)
{
	static const ClientState state_of[] = {
		[ENTRY_TXN] = CLIENT_COMMITTING,
		[ENTRY_CHUNK] = CLIENT_CHUNKING,
		[ENTRY_RESERVE] = CLIENT_RESERVING,
		[ENTRY_CANCEL] = CLIENT_CANCELLING,
	};

	for (uint32_t i = 0; i < h->sim->o.clients; i++)
	{
		Client	   *c = &h->sim->clients[i];

		if (c->node == h->id && c->life == h->life && c->group == group && c->state == state_of[kind] && txnid_compare(c->txn, txn) == 0)
			return c;
	}
	return NULL;
}

static void wake(Sim *s, Client *c, uint64_t delay_us)
{
	sim_post(s, delay_us, EV_CLIENT, 0, (uint64_t) (c - s->clients), c->op);
}

static void finish(Sim *s, Client *c)
{
	c->state = CLIENT_IDLE;
	c->outstanding = false;
	c->op++;
	wake(s, c, sim_spread(&s->client_rng, s->operations < OPERATIONS_FAST ? s->o.think_us : THINK_SLOW_US));
}

/* An aborted or unknown transaction with a reservation is over in the log only by its CANCEL, its TXN or its incarnation's fence. */
static void not_committed(Sim *s, Client *c)
{
	if (!c->reserved && c->state != CLIENT_RESERVING)
	{
		finish(s, c);
		return;
	}
	c->reserved = true;
	c->state = CLIENT_MUST_CANCEL;
	c->outstanding = false;
	c->op++;
	wake(s, c, sim_spread(&s->client_rng, s->o.think_us));
}

static void propose(Sim *s, Client *c, ClientState state, EntryKind kind)
{
	Host	   *h = &s->hosts[c->node];
	EntryKey	keys[SIM_PAIRS_MAX + 3];
	uint32_t	n_keys = 0;
	const SimPair *pairs = c->pairs;
	uint32_t	n_pairs = 0;
	uint32_t	ticks = 3 + (uint32_t) nd_random_below(&s->client_rng, 300);
	NdBlob	   *blob;
	NdStatus	status;
	uint64_t	op;

	if (kind == ENTRY_TXN || kind == ENTRY_RESERVE)
	{
		for (uint32_t i = 0; i < c->n_pairs; i++)
			keys[n_keys++] = (EntryKey) {clients_key_hash(c->group, c->pairs[i].key), KEY_ROW_UPDATE};
		for (uint32_t i = 0; i < c->n_extra; i++)
			keys[n_keys++] = c->extra[i];
	}
	/* Each chunk carries one row, in order; the transaction itself the rest. */
	if (kind == ENTRY_CHUNK)
	{
		pairs += c->n_chunks;
		n_pairs = 1;
	}
	else if (kind == ENTRY_TXN)
	{
		pairs += c->n_chunks;
		n_pairs = c->n_pairs - c->n_chunks;
	}
	/* One proposal, one (id, kind, flags): another attempt to cancel is another proposal. */
	c->flags = (uint16_t) (kind == ENTRY_CHUNK ? c->n_chunks : kind == ENTRY_CANCEL ? c->cancels++ : 0);
	blob = clients_encode(kind, c->flags, c->txn, c->base, keys, n_keys, c->chunks, kind == ENTRY_TXN ? c->n_chunks : 0, pairs, n_pairs,
						  s->o.pad_bytes && !c->probe ? (uint32_t) nd_random_below(&s->client_rng, s->o.pad_bytes) : 0);
	if (blob == NULL)
	{
		sim_fail(s, "workload", "an entry cannot be encoded");
		return;
	}
	check_txn(s, c->group, c->txn, kind, c->flags, true);
	c->state = state;
	c->outstanding = true;
	c->answer_by_tick = h->ticks + ticks + ANSWER_SLACK_TICKS;
	op = ++c->op;
	status = node_propose(h->node, c->group, blob, ticks);
	nd_blob_unref(blob);
	sim_trace(s, T_PROPOSE, h->id, c->group, c->txn.counter, kind, c->base, status);
	host_kick(h);
	if (status != ND_OK)
	{
		/* Not accepted: nothing will come. */
		check_txn(s, c->group, c->txn, kind, c->flags, true)->not_sent = true;
		if (c->op == op)
			not_committed(s, c);
		return;
	}
	if (c->op != op)
		return;					/* answered already */
	c->forget = sim_chance(&s->client_rng, s->o.forget) && !c->probe;
	wake(s, c, c->forget ? sim_spread(&s->client_rng, 20 * SIM_MS) : WATCH_US);
}

/* ---- choosing ---- */

static Host *choose_host(Sim *s)
{
	NdNodeId	up[SIM_NODES_MAX];
	uint32_t	n = 0;

	for (NdNodeId id = 1; id < s->next_id; id++)
		if (s->hosts[id].up && s->hosts[id].paused_until <= s->now)
			up[n++] = id;
	return n ? &s->hosts[up[nd_random_below(&s->client_rng, n)]] : NULL;
}

/* The next member and group that have not proved to work since healing. */
static Host *choose_probe(Sim *s, NdGroupId *group)
{
	const RaftConfiguration *members = &s->ledgers[0].configuration;

	for (*group = 1; *group <= s->o.data_groups; ++*group)
		for (uint32_t i = 0; i < members->n; i++)
		{
			Host	   *h = &s->hosts[members->members[i].node];

			if (h->up && !(s->probed[*group] & 1u << h->id))
				return h;
		}
	return NULL;
}

static void begin(Client *c, Host *h, NdGroupId group)
{
	c->node = h->id;
	c->life = h->life;
	c->group = group;
	c->base = host_watermark(h, group);
	c->n_chunks = c->chunks_left = c->n_extra = c->n_pairs = c->cancels = 0;
	c->give_up = c->forget = c->reserved = false;
}

static void begin_read(Sim *s, Client *c, Host *h)
{
	uint32_t	ticks = 3 + (uint32_t) nd_random_below(&s->client_rng, 200);
	NdStatus	status;
	uint64_t	op;

	c->state = CLIENT_READING;
	c->outstanding = true;
	c->token = ++s->next_token;
	c->floor = s->ledgers[c->group].read_floor;
	c->answer_by_tick = h->ticks + ticks + ANSWER_SLACK_TICKS;
	op = ++c->op;
	status = node_read(h->node, c->group, c->token, ticks);
	sim_trace(s, T_READ, h->id, c->group, c->token, c->floor, status, 0);
	host_kick(h);
	if (c->op != op)
		return;
	if (status != ND_OK)
		finish(s, c);
	else
		wake(s, c, WATCH_US);
}

static void add_pair(Sim *s, Client *c, Host *h, uint32_t key)
{
	for (uint32_t i = 0; i < c->n_pairs; i++)
		if (c->pairs[i].key == key)
			return;
	c->pairs[c->n_pairs++] = (SimPair) {key, h->groups[c->group].table[key], ++s->value};
}

static void begin_proposals(Sim *s, Client *c);

static void begin_transaction(Sim *s, Client *c, Host *h)
{
	NdRandom   *r = &s->client_rng;
	uint32_t	hot = s->o.hot_keys < PROBE_KEY ? s->o.hot_keys : PROBE_KEY;
	uint32_t	rows = 1 + (uint32_t) nd_random_below(r, 3);

	c->txn = (TxnId) {h->id, h->incarnation, ++h->counter};
	if (c->probe)
	{
		add_pair(s, c, h, PROBE_KEY);
		propose(s, c, CLIENT_COMMITTING, ENTRY_TXN);
		return;
	}
	for (uint32_t i = 0; i < rows; i++)
		add_pair(s, c, h, (uint32_t) nd_random_below(r, hot));
	while (c->n_extra < 2 && nd_random_below(r, 3) == 0)
		c->extra[c->n_extra++] = (EntryKey) {clients_key_hash(c->group, (uint32_t) nd_random_below(r, hot)),
											 (uint8_t) nd_random_below(r, KEY_ROW_NO_KEY_UPDATE + 1)};
	if (sim_chance(r, s->o.chunks))
		c->chunks_left = 1 + (uint32_t) nd_random_below(r, c->n_pairs > 1 ? 2 : 1);
	c->give_up = nd_random_below(r, 12) == 0;
	if (sim_chance(r, s->o.linger))
	{
		c->state = CLIENT_LINGERING;
		c->op++;
		wake(s, c, sim_spread(r, s->o.linger_us / 2));
	}
	else
		begin_proposals(s, c);
}

static void begin_proposals(Sim *s, Client *c)
{
	NdRandom   *r = &s->client_rng;

	if (sim_chance(r, s->o.reserve))
		propose(s, c, CLIENT_RESERVING, ENTRY_RESERVE);
	else if (c->chunks_left)
		propose(s, c, CLIENT_CHUNKING, ENTRY_CHUNK);
	else
		propose(s, c, CLIENT_COMMITTING, ENTRY_TXN);
}

static void start(Sim *s, Client *c)
{
	Host	   *h;
	NdGroupId	group = 0;

	c->probe = s->phase == PHASE_HEAL;
	if (c->probe)
		h = c == s->clients ? choose_probe(s, &group) : NULL;
	else
	{
		h = choose_host(s);
		group = 1 + (NdGroupId) nd_random_below(&s->client_rng, s->o.data_groups);
	}
	if (h == NULL)
	{
		if (!c->probe || c == s->clients)
			wake(s, c, 20 * SIM_MS);
		return;
	}
	s->operations++;
	begin(c, h, group);
	if (!c->probe && nd_random_below(&s->client_rng, 5) == 0)
		begin_read(s, c, h);
	else
		begin_transaction(s, c, h);
}

/* Take the next step of a transaction whose last piece was accepted. */
static void go_on(Sim *s, Client *c)
{
	/* After a reservation the statement runs again and sees the rows as they are now; no one else can change them any more. */
	if (c->state == CLIENT_RESERVING)
	{
		Host	   *h = &s->hosts[c->node];

		c->base = host_watermark(h, c->group);
		for (uint32_t i = 0; i < c->n_pairs; i++)
			c->pairs[i].was = h->groups[c->group].table[c->pairs[i].key];
	}
	if (c->give_up)
		propose(s, c, CLIENT_CANCELLING, ENTRY_CANCEL);
	else if (c->chunks_left)
		propose(s, c, CLIENT_CHUNKING, ENTRY_CHUNK);
	else
		propose(s, c, CLIENT_COMMITTING, ENTRY_TXN);
}

/* ---- events ---- */

static void check_answer_due(Sim *s, Client *c)
{
	Host	   *h = &s->hosts[c->node];

	if (c->outstanding && h->up && h->life == c->life && h->paused_until <= s->now && h->ticks > c->answer_by_tick)
		sim_fail(s, "answer", "node %u group %u: %s %" PRIu64 " has no answer %" PRIu64 " ticks after its deadline", c->node, c->group,
				 c->state == CLIENT_READING ? "read" : "proposal", c->state == CLIENT_READING ? c->token : c->txn.counter,
				 h->ticks - c->answer_by_tick + ANSWER_SLACK_TICKS);
}

static void forget(Sim *s, Client *c)
{
	static const EntryKind kind_of[] = {
		[CLIENT_RESERVING] = ENTRY_RESERVE,
		[CLIENT_CHUNKING] = ENTRY_CHUNK,
		[CLIENT_COMMITTING] = ENTRY_TXN,
		[CLIENT_CANCELLING] = ENTRY_CANCEL,
	};
	Host	   *h = &s->hosts[c->node];
	EntryKind	kind = kind_of[c->state];

	sim_trace(s, T_FORGET, h->id, c->group, c->txn.counter, kind, 0, 0);
	node_forget(h->node, c->group, c->txn, kind);
	host_kick(h);
	c->outstanding = false;
	c->forget = false;
	not_committed(s, c);
}

void client_event(Sim *s, uint32_t i, uint64_t op)
{
	Client	   *c = &s->clients[i];

	if (op != c->op)
		return;
	if (c->state == CLIENT_IDLE)
		start(s, c);
	else if (c->state == CLIENT_LINGERING && s->hosts[c->node].paused_until <= s->now)
		begin_proposals(s, c);
	else if (c->state == CLIENT_MUST_CANCEL && s->hosts[c->node].paused_until <= s->now)
		propose(s, c, CLIENT_CANCELLING, ENTRY_CANCEL);
	else if (c->outstanding && c->forget && s->hosts[c->node].paused_until <= s->now)
		forget(s, c);
	else
	{
		check_answer_due(s, c);
		wake(s, c, WATCH_US);
	}
}

void clients_node_gone(Sim *s, NdNodeId node)
{
	for (uint32_t i = 0; i < s->o.clients; i++)
		if (s->clients[i].state != CLIENT_IDLE && s->clients[i].node == node)
			finish(s, &s->clients[i]);
}

void clients_delivered(Host *h, const NodeDelivery *d)
{
	Sim		   *s = h->sim;
	Client	   *c = find(h, d->group, d->header.txn, d->header.kind);

	if (c == NULL || !c->outstanding || c->flags != d->header.flags)
		return;
	if (d->verdict.kind == VERDICT_DUPLICATE)
	{
		sim_fail(s, "answer", "node %u group %u: proposal %" PRIu64 " is answered by a duplicate at %" PRIu64 "; the first copy at %" PRIu64 " was not",
				 h->id, d->group, d->header.txn.counter, d->index, d->verdict.by_index);
		return;
	}
	c->outstanding = false;
	c->forget = false;
	switch (d->header.kind)
	{
		case ENTRY_RESERVE:
			c->reserved = d->verdict.kind == VERDICT_COMMIT;
			if (!c->reserved)
				finish(s, c);
			break;
		case ENTRY_CHUNK:
			c->chunks[c->n_chunks++] = d->index;
			c->chunks_left--;
			break;
		case ENTRY_TXN:
			if (d->verdict.kind != VERDICT_COMMIT)
				finish(s, c);
			break;
		case ENTRY_CANCEL:
			finish(s, c);
			break;
		case ENTRY_MARKER:
		case ENTRY_OUTCOME:
			/* no client proposes one */
			break;
	}
}

/* The applier has passed an entry: here clients go on, for a base must be a watermark. */
void clients_applied(Host *h, NdGroupId group, uint64_t index, bool local)
{
	Sim		   *s = h->sim;
	LedgerEntry *e = &s->ledgers[group].entries[index - 1];

	for (uint32_t i = 0; i < s->o.clients; i++)
	{
		Client	   *c = &s->clients[i];

		if (c->state == CLIENT_WAITING && c->node == h->id && c->life == h->life && c->group == group && index >= c->read_index)
		{
			/* It saw the table as it is now: so must everybody after it. */
			if (s->ledgers[group].read_floor < index)
				s->ledgers[group].read_floor = index;
			s->reads++;
			finish(s, c);
		}
	}
	if (!local || !e->has_header)
		return;

	Client	   *c = find(h, group, e->txn, e->entry_kind);

	if (c == NULL || c->outstanding)
		return;
	if (e->entry_kind == ENTRY_TXN && e->verdict.kind == VERDICT_COMMIT)
	{
		sim_trace(s, T_ACK, h->id, group, e->txn.counter, index, 0, 0);
		check_acked(h, group, index);
		if (c->probe)
			s->probed[group] |= 1u << h->id;
		finish(s, c);
	}
	else if ((e->entry_kind == ENTRY_CHUNK || e->entry_kind == ENTRY_RESERVE) && e->verdict.kind != VERDICT_DUPLICATE)
		go_on(s, c);
}

void clients_failed(Host *h, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason)
{
	Sim		   *s = h->sim;
	Client	   *c = find(h, group, txn, kind);

	if (c == NULL || !c->outstanding)
	{
		sim_fail(s, "answer", "node %u group %u: proposal %" PRIu64 " failed (%s), but no one waits for it", h->id, group, txn.counter, nd_status_text(reason));
		return;
	}
	if (outcome == NODE_NOT_SENT)
	{
		TxnRecord  *t = check_txn(s, group, txn, kind, c->flags, true);

		t->not_sent = true;
		if (t->seen_index)
			sim_fail(s, "not sent", "node %u group %u: proposal %" PRIu64 " was surely not sent, but is delivered at %" PRIu64,
					 h->id, group, txn.counter, t->seen_index);
	}
	c->outstanding = false;
	/* Now and then somebody wants to know for sure: a tombstone in the log settles it. */
	if (outcome == NODE_UNKNOWN && kind == ENTRY_TXN && !c->probe && nd_random_below(&s->client_rng, 2))
		c->reserved = true;
	not_committed(s, c);
}

void clients_read_done(Host *h, NdGroupId group, uint64_t token, NdStatus status, uint64_t index)
{
	Sim		   *s = h->sim;

	for (uint32_t i = 0; i < s->o.clients; i++)
	{
		Client	   *c = &s->clients[i];

		if (c->state != CLIENT_READING || !c->outstanding || c->token != token || c->group != group || c->node != h->id)
			continue;
		c->outstanding = false;
		if (status != ND_OK)
		{
			finish(s, c);
			return;
		}
		if (index < c->floor)
			sim_fail(s, "linearizable reads", "node %u group %u: read %" PRIu64 " may answer at %" PRIu64 ", but %" PRIu64 " was acknowledged before it began",
					 h->id, group, token, index, c->floor);
		c->read_index = index;
		c->state = CLIENT_WAITING;
		if (host_watermark(h, group) >= index)
		{
			if (s->ledgers[group].read_floor < host_watermark(h, group))
				s->ledgers[group].read_floor = host_watermark(h, group);
			s->reads++;
			finish(s, c);
		}
		return;
	}
	sim_fail(s, "answer", "node %u group %u: read %" PRIu64 " is answered, but no one waits for it", h->id, group, token);
}

/* ---- phases ---- */

void clients_init(Sim *s)
{
	for (uint32_t i = 0; i < s->o.clients; i++)
		wake(s, &s->clients[i], sim_spread(&s->client_rng, s->o.think_us + 100 * SIM_MS));
}

void clients_heal(Sim *s)
{
	s->o.forget = 0;
	memset(s->probed, 0, sizeof s->probed);
}

bool clients_settled(const Sim *s, char *why, size_t why_len)
{
	NdGroupId	group;
	Host	   *h = choose_probe((Sim *) s, &group);

	if (h != NULL)
	{
		snprintf(why, why_len, "no transaction on node %u in group %u committed since", h->id, group);
		return false;
	}
	for (uint32_t i = 0; i < s->o.clients; i++)
		if (s->clients[i].state != CLIENT_IDLE)
		{
			snprintf(why, why_len, "client %u at node %u still waits (state %d)", i, s->clients[i].node, s->clients[i].state);
			return false;
		}
	return true;
}
