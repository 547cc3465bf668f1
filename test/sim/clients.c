/*
 * clients.c: the workload: transactions, in pieces or with reservations, cancels and strong reads, and what their clients were told.
 *
 * A client works at one host, one operation at a time. It reads rows of the host's table, writes new values (each value is written once in
 * a run), proposes, and waits. A commit counts as acknowledged when the host's applier has passed it, as in the real server.
 *
 * Invariants checked here:
 * 1. Every proposal is answered exactly once; within its deadline, measured in the host's own ticks.
 * 2. NODE_NOT_SENT means that no entry of the proposal is ever delivered (check_delivery() looks it up).
 * 3. Who was told that it has lost while it waited (node_is_lost()) commits nowhere.
 * 4. A read index is not below anything that any client was told before the read began.
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
					   const uint64_t *chunks, uint32_t n_chunks, const SimPair *pairs, uint32_t n_pairs, NdGroupId group, const SimReads *reads, uint32_t pad)
{
	NdBuf		buf;
	NdBlob	   *blob = NULL;
	EntryKey	read_keys[SIM_READS_MAX];
	uint32_t	n_reads = kind == ENTRY_TXN ? reads->n : 0;
	NdStatus	status;

	nd_buf_init(&buf);
	for (uint32_t i = 0; i < n_reads; i++)
		read_keys[i] = (EntryKey) {clients_key_hash(group, reads->rows[i].key), KEY_ROW_SHARE};
	if (kind == ENTRY_TXN)
		status = entry_encode_txn(&buf, flags, txn, base, keys, n_keys, reads->base, read_keys, n_reads, chunks, n_chunks);
	else
		status = entry_encode_header(&buf, kind, flags, txn, base, keys, n_keys, chunks, n_chunks);
	if (status == ND_OK)
	{
		/* Of a RESERVE: none (it does not wait), for ever, or for some entries. All copies of a proposal are the same bytes. */
		if (kind != ENTRY_RESERVE)
			nd_buf_varint(&buf, n_pairs);
		else if (txn.counter % 8 != 0)
			nd_buf_varint(&buf, txn.counter % 3 == 0 ? 1 + txn.counter % 100 : 0);
		if (kind == ENTRY_RESERVE && txn.counter % 8 == 0)
			pad = 0;
		for (uint32_t i = 0; i < n_pairs; i++)
		{
			nd_buf_varint(&buf, pairs[i].key);
			nd_buf_varint(&buf, pairs[i].was);
			nd_buf_varint(&buf, pairs[i].is);
		}
		if (kind != ENTRY_RESERVE)
			nd_buf_varint(&buf, n_reads);
		for (uint32_t i = 0; i < n_reads; i++)
		{
			nd_buf_varint(&buf, reads->rows[i].key);
			nd_buf_varint(&buf, reads->rows[i].was);
		}
		for (uint32_t i = 0; i < pad; i++)
			nd_buf_u8(&buf, (uint8_t) (txn.counter + i));
		if (!buf.failed)
			blob = nd_blob_new(buf.data, (uint32_t) buf.len);
	}
	nd_buf_free(&buf);
	return blob;
}

bool clients_decode_body(const uint8_t *body, size_t len, SimPair *pairs, uint32_t *n_pairs, SimReads *reads)
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
	n = nd_read_varint(&r);
	if (n > SIM_READS_MAX)
		return false;
	for (uint64_t i = 0; i < n; i++)
	{
		reads->rows[i].key = (uint32_t) nd_read_varint(&r);
		reads->rows[i].was = nd_read_varint(&r);
		if (reads->rows[i].key >= SIM_KEYS)
			return false;
	}
	reads->n = (uint32_t) n;
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

/* Whose transaction over several groups is it? */
static Client *find_several(Host *h, TxnId txn)
{
	for (uint32_t i = 0; i < h->sim->o.clients; i++)
	{
		Client	   *c = &h->sim->clients[i];

		if (c->n_parts > 0 && c->node == h->id && c->life == h->life && c->state == CLIENT_COMMITTING && txnid_compare(c->txn, txn) == 0)
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

	/* A second RESERVE leaves the queue, or asks for one key more. */
	if (kind == ENTRY_RESERVE && c->more)
		keys[n_keys++] = c->extra[c->n_extra - 1];
	else if (kind == ENTRY_TXN || (kind == ENTRY_RESERVE && c->reserves == 0))
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
	c->flags = (uint16_t) (kind == ENTRY_CHUNK ? c->n_chunks : kind == ENTRY_CANCEL ? c->cancels++ : kind == ENTRY_RESERVE ? ++c->reserves : 0);
	blob = clients_encode(kind, c->flags, c->txn, c->base, keys, n_keys, c->chunks, kind == ENTRY_TXN ? c->n_chunks : 0, pairs, n_pairs, c->group, &c->reads,
						  s->o.pad_bytes && !c->probe ? (uint32_t) nd_random_below(&s->client_rng, s->o.pad_bytes) : 0);
	if (blob == NULL)
	{
		sim_fail(s, "workload", "an entry cannot be encoded");
		return;
	}
	check_txn(s, c->group, c->txn, kind, c->flags, true);
	c->more = false;
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

static uint32_t any_row(Sim *s)
{
	return (uint32_t) nd_random_below(&s->client_rng, s->o.hot_keys < PROBE_KEY ? s->o.hot_keys : PROBE_KEY);
}

/* Rows that it does not write, as the host's tables show them now. */
static void read_rows(Sim *s, const Host *h, NdGroupId group, const SimPair *written, uint32_t n_written, SimReads *out)
{
	uint32_t	want = sim_chance(&s->client_rng, s->o.serializable) ? 1 + (uint32_t) nd_random_below(&s->client_rng, SIM_READS_MAX) : 0;

	*out = (SimReads) {.base = host_watermark(h, group)};
	while (want-- > 0)
	{
		uint32_t	row = any_row(s);
		bool		known = false;

		for (uint32_t i = 0; i < n_written; i++)
			known = known || written[i].key == row;
		for (uint32_t i = 0; i < out->n; i++)
			known = known || out->rows[i].key == row;
		if (!known)
			out->rows[out->n++] = (SimPair) {.key = row, .was = h->groups[group].table[row]};
	}
}

static void read_again(const Host *h, Client *c, bool reads_too)
{
	c->base = host_watermark(h, c->group);
	for (uint32_t i = 0; i < c->n_pairs; i++)
		c->pairs[i].was = h->groups[c->group].table[c->pairs[i].key];
	if (!reads_too)
		return;
	c->reads.base = c->base;
	for (uint32_t i = 0; i < c->reads.n; i++)
		c->reads.rows[i].was = h->groups[c->group].table[c->reads.rows[i].key];
}

static EntryKey any_lock(Sim *s, NdGroupId group)
{
	uint64_t	hash = clients_key_hash(group, any_row(s));

	return (EntryKey) {hash, (uint8_t) nd_random_below(&s->client_rng, KEY_ROW_NO_KEY_UPDATE + 1)};
}

/* ---- several groups ---- */

static NdBlob *encode_request(Sim *s, Client *c)
{
	SeqPart		parts[SIM_PARTS_MAX];
	NdBlob	   *entries[SIM_PARTS_MAX] = {NULL};
	NdBlob	   *request = NULL;
	NdBuf		buf;
	bool		good = true;

	nd_buf_init(&buf);
	for (uint32_t i = 0; i < c->n_parts; i++)
	{
		const ClientPart *p = &c->parts[i];
		EntryKey	keys[2];
		uint32_t	in_chunk = p->chunk > 0;

		for (uint32_t k = 0; k < p->n_pairs; k++)
			keys[k] = (EntryKey) {clients_key_hash(p->group, p->pairs[k].key), KEY_ROW_UPDATE};
		entries[i] = clients_encode(ENTRY_TXN, 0, c->txn, p->base, keys, p->n_pairs, &p->chunk, in_chunk, p->pairs + in_chunk, p->n_pairs - in_chunk, p->group, &p->reads,
									s->o.pad_bytes && !c->probe ? (uint32_t) nd_random_below(&s->client_rng, s->o.pad_bytes) : 0);
		good = good && entries[i] != NULL;
		if (good)
			parts[i] = (SeqPart) {p->group, entries[i]->data, entries[i]->len};
	}
	if (good && seq_encode_request(&buf, c->txn, (uint64_t) (c - s->clients) % 3, parts, c->n_parts) == ND_OK)
		request = nd_blob_new(buf.data, (uint32_t) buf.len);
	nd_buf_free(&buf);
	for (uint32_t i = 0; i < c->n_parts; i++)
		nd_blob_unref(entries[i]);
	return request;
}

static void propose_several(Sim *s, Client *c)
{
	Host	   *h = &s->hosts[c->node];
	uint32_t	ticks = 3 + (uint32_t) nd_random_below(&s->client_rng, 300);
	NdBlob	   *request = encode_request(s, c);
	NdStatus	status;
	uint64_t	op;

	if (request == NULL)
	{
		sim_fail(s, "workload", "a request cannot be encoded");
		return;
	}
	check_txn(s, c->group, c->txn, ENTRY_MARKER, 0, true);
	for (uint32_t i = 0; i < c->n_parts; i++)
		check_txn(s, c->parts[i].group, c->txn, ENTRY_MARKER, 0, true);
	c->state = CLIENT_COMMITTING;
	c->outstanding = true;
	c->answer_by_tick = h->ticks + ticks + ANSWER_SLACK_TICKS;
	op = ++c->op;
	status = node_propose_several(h->node, request, ticks);
	nd_blob_unref(request);
	sim_trace(s, T_PROPOSE, h->id, c->group, c->txn.counter, ENTRY_MARKER, c->n_parts, status);
	host_kick(h);
	if (status != ND_OK)
	{
		check_txn(s, c->group, c->txn, ENTRY_MARKER, 0, true)->not_sent = true;
		if (c->op == op)
			not_committed(s, c);
		return;
	}
	if (c->op != op)
		return;
	c->forget = sim_chance(&s->client_rng, s->o.forget) && !c->probe;
	wake(s, c, c->forget ? sim_spread(&s->client_rng, 20 * SIM_MS) : WATCH_US);
}

/* One row or two in two or three groups, as the host's tables show them in one moment. */
static void begin_several(Sim *s, Client *c, Host *h)
{
	NdRandom   *r = &s->client_rng;
	uint32_t	want = 2 + (uint32_t) nd_random_below(r, SIM_PARTS_MAX - 1);
	uint32_t	groups = node_data_groups(h->node);
	uint32_t	left = groups;

	c->group = s->o.data_groups + 1;
	c->txn = (TxnId) {h->id, h->incarnation, ++h->counter};
	if (want > groups)
		want = groups;
	for (NdGroupId g = 1; g <= groups && c->n_parts < want; g++, left--)
	{
		ClientPart *p = &c->parts[c->n_parts];

		if (nd_random_below(r, left) >= want - c->n_parts)
			continue;
		*p = (ClientPart) {.group = g, .base = host_watermark(h, g)};
		c->n_parts++;
		for (uint32_t n = 1 + (uint32_t) nd_random_below(r, 2); p->n_pairs < n;)
		{
			uint32_t	key = c->probe ? PROBE_KEY : any_row(s);

			if (p->n_pairs > 0 && (c->probe || p->pairs[0].key == key))
				break;
			p->pairs[p->n_pairs++] = (SimPair) {key, h->groups[g].table[key], ++s->value};
		}
		if (!c->probe)
			read_rows(s, h, g, p->pairs, p->n_pairs, &p->reads);
	}
	propose_several(s, c);
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

	for (*group = 1; *group < sim_places(s); ++*group)
		for (uint32_t i = 0; i < members->n; i++)
		{
			Host	   *h = &s->hosts[members->members[i].node];

			if (h->up && host_raft(h, *group) != NULL && !(s->probed[*group] & 1u << h->id) && (!sim_sequencer(s, *group) || node_data_groups(h->node) > 1))
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
	c->n_chunks = c->chunks_left = c->n_extra = c->n_pairs = c->cancels = c->reserves = c->n_parts = 0;
	c->give_up = c->forget = c->reserved = c->more = false;
	c->reads = (SimReads) {0};
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
	uint32_t	rows = 1 + (uint32_t) nd_random_below(r, 3);

	c->txn = (TxnId) {h->id, h->incarnation, ++h->counter};
	if (c->probe)
	{
		add_pair(s, c, h, PROBE_KEY);
		propose(s, c, CLIENT_COMMITTING, ENTRY_TXN);
		return;
	}
	for (uint32_t i = 0; i < rows; i++)
		add_pair(s, c, h, any_row(s));
	read_rows(s, h, c->group, c->pairs, c->n_pairs, &c->reads);
	while (c->n_extra < 2 && nd_random_below(r, 3) == 0)
		c->extra[c->n_extra++] = any_lock(s, c->group);
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
		group = h == NULL ? 0 : 1 + (NdGroupId) nd_random_below(&s->client_rng, node_data_groups(h->node));
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
	else if (c->probe ? sim_sequencer(s, group) : s->o.sequencer && sim_chance(&s->client_rng, s->o.several) && node_data_groups(h->node) > 1)
		begin_several(s, c, h);
	else
		begin_transaction(s, c, h);
}

/* Take the next step of a transaction whose last piece was accepted. */
static void go_on(Sim *s, Client *c)
{
	/* After a reservation the statement runs again and sees the rows as they are now; no one else can change them any more. */
	if (c->state == CLIENT_RESERVING || c->state == CLIENT_TURN)
	{
		read_again(&s->hosts[c->node], c, true);
		if (c->n_extra < 3 && nd_random_below(&s->client_rng, 6) == 0)
		{
			c->extra[c->n_extra++] = any_lock(s, c->group);
			c->more = true;
			propose(s, c, CLIENT_RESERVING, ENTRY_RESERVE);
			return;
		}
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
	Verdict		verdict;
	NdGroupId	by;

	if (c->n_parts > 0)
		kind = ENTRY_MARKER;
	if (c->state == CLIENT_COMMITTING && node_is_lost(h->node, sim_id(s, c->group), c->txn, kind, &verdict, &by))
	{
		TxnRecord  *t = check_txn(s, c->group, c->txn, kind, 0, true);

		t->told_abort = true;
		if (t->commit_index)
			sim_fail(s, "answer", "node %u group %u: proposal %" PRIu64 " is told that it has lost in group %u, and commits at %" PRIu64, h->id, c->group, c->txn.counter, by, t->commit_index);
	}
	sim_trace(s, T_FORGET, h->id, c->group, c->txn.counter, kind, 0, 0);
	node_forget(h->node, sim_id(s, c->group), c->txn, kind);
	host_kick(h);
	c->outstanding = false;
	c->forget = false;
	not_committed(s, c);
}

/*
 * Some lose patience while there are faults: by a CANCEL, or they leave the queue and try without. Behind that everybody's turn comes, unless nobody ends what a life that is
 * over has left (orphan.c), or a snapshot has passed the turn and its end by age: a session stops to wait by itself (queue_timed_out()).
 */
static void queued(Sim *s, Client *c)
{
	check_turn(&s->hosts[c->node], c->group, c->txn, c->read_index, false);
	if ((s->phase == PHASE_HEAL && s->o.node.orphan_ticks > 0 && !check_turn_over(s, c->group, c->txn)) || nd_random_below(&s->client_rng, 4) > 0)
		wake(s, c, WATCH_US);
	else if (nd_random_below(&s->client_rng, 2) > 0)
		propose(s, c, CLIENT_CANCELLING, ENTRY_CANCEL);
	else
		propose(s, c, CLIENT_RESERVING, ENTRY_RESERVE);
}

void clients_granted(Host *h, NdGroupId group, uint64_t index, TxnId txn)
{
	for (uint32_t i = 0; i < h->sim->o.clients; i++)
	{
		Client	   *c = &h->sim->clients[i];

		if (c->state != CLIENT_QUEUED || c->node != h->id || c->life != h->life || c->group != group || txnid_compare(c->txn, txn) != 0)
			continue;
		c->state = CLIENT_TURN;
		c->read_index = index;
		c->op++;
		wake(h->sim, c, host_watermark(h, group) >= index ? 0 : WATCH_US);
	}
}

void client_event(Sim *s, uint32_t i, uint64_t op)
{
	Client	   *c = &s->clients[i];

	if (op != c->op)
		return;
	if (c->state == CLIENT_IDLE)
		start(s, c);
	else if (c->state == CLIENT_LINGERING && s->hosts[c->node].paused_until <= s->now)
	{
		/* What it writes it reads last, as by a row's lock: its snapshot is older. */
		if (c->reads.n > 0)
			read_again(&s->hosts[c->node], c, false);
		begin_proposals(s, c);
	}
	else if (c->state == CLIENT_MUST_CANCEL && s->hosts[c->node].paused_until <= s->now)
		propose(s, c, CLIENT_CANCELLING, ENTRY_CANCEL);
	else if (c->state == CLIENT_QUEUED && s->hosts[c->node].paused_until <= s->now)
		queued(s, c);
	else if (c->state == CLIENT_TURN && s->hosts[c->node].paused_until <= s->now && host_watermark(&s->hosts[c->node], c->group) >= c->read_index)
		go_on(s, c);
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

/* The first outcome that counts is the answer. One that commits is acknowledged when it is applied. */
static void outcome_delivered(Host *h, const NodeDelivery *d)
{
	Sim		   *s = h->sim;
	Client	   *c = find_several(h, d->header.txn);
	TxnRecord  *t;

	if (c == NULL || !c->outstanding || d->verdict.kind == VERDICT_REPEATED)
		return;
	c->outstanding = c->forget = false;
	if (d->verdict.kind == VERDICT_COMMIT)
		return;
	t = check_txn(s, c->group, c->txn, ENTRY_MARKER, 0, true);
	t->told_abort = true;
	if (t->commit_index)
		sim_fail(s, "answer", "node %u: request %" PRIu64 " is answered by an abort, and commits by decision %" PRIu64, h->id, c->txn.counter, t->commit_index);
	finish(s, c);
}

void clients_committed(Host *h, const Ticket *t)
{
	Sim		   *s = h->sim;
	const Order *o = &s->orders[t->position];
	Client	   *c = find_several(h, t->txn);

	if (c == NULL || c->outstanding)
		return;
	for (uint32_t i = 0; i < o->n_groups; i++)
	{
		sim_trace(s, T_ACK, h->id, o->groups[i], t->txn.counter, o->outcomes[i], 0, 0);
		check_acked(h, o->groups[i], o->outcomes[i]);
	}
	if (c->probe)
		s->probed[c->group] |= 1u << h->id;
	finish(s, c);
}

void clients_delivered(Host *h, const NodeDelivery *d)
{
	Sim		   *s = h->sim;
	Client	   *c;

	if (d->header.kind == ENTRY_OUTCOME)
		outcome_delivered(h, d);
	if (d->header.kind >= ENTRY_MARKER)
		return;
	c = find(h, d->group, d->header.txn, d->header.kind);
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
			if (d->verdict.kind == VERDICT_QUEUED)
			{
				c->state = CLIENT_QUEUED;
				c->read_index = d->index;
				c->op++;
				wake(s, c, sim_spread(&s->client_rng, WATCH_US));
			}
			else if (d->verdict.kind != VERDICT_COMMIT && c->reserved)
				not_committed(s, c);	/* refused, but its turn may have come meanwhile, or it still stands in the queue */
			else if (d->verdict.kind != VERDICT_COMMIT)
				finish(s, c);
			c->reserved = c->reserved || d->verdict.kind == VERDICT_COMMIT || d->verdict.kind == VERDICT_QUEUED;
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
		else if (c->state == CLIENT_TURN && c->node == h->id && c->life == h->life && c->group == group && index >= c->read_index)
			go_on(s, c);
	}
	if (!local || !e->has_header || e->entry_kind >= ENTRY_MARKER)
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
	Client	   *c = kind == ENTRY_MARKER ? find_several(h, txn) : find(h, group, txn, kind);

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
	if (outcome == NODE_UNKNOWN && (kind == ENTRY_TXN || kind == ENTRY_MARKER) && !c->probe && nd_random_below(&s->client_rng, 2))
		c->reserved = true;
	if (kind == ENTRY_MARKER)
	{
		c->group = c->parts[0].group;
		c->base = c->parts[0].base;
		c->n_parts = 0;
	}
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
			const Client *c = &s->clients[i];
			const Ledger *l = &s->ledgers[c->group];
			uint32_t	n = (uint32_t) snprintf(why, why_len, "client %u at node %u still waits (state %d)", i, c->node, c->state);

			for (uint32_t j = 0; c->state == CLIENT_QUEUED && j < l->n_reservations && n < why_len; j++)
				n += (uint32_t) snprintf(why + n, why_len - n, "%s %u.%u.%" PRIu64 " at %" PRIu64, j > 0 ? "," : "; owners are", l->reservations[j].txn.node,
										 l->reservations[j].txn.incarnation, l->reservations[j].txn.counter, l->reservations[j].index);
			return false;
		}
	return true;
}
