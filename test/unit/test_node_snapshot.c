/*
 * test_node_snapshot.c: snapshots of a group, from the leader that has cut its log to the member that needs what was cut: the two sides, and what may happen
 * between any two steps (src/node/README.md).
 *
 * The host here is a toy: the content of group 1's tables as of an entry is a function of its index, so that whatever is installed can be compared.
 */
#include "node_kit.h"

#define CONTENT_BYTES 3000
#define CHUNK 300

typedef struct Toy
{
	uint8_t		staged[CONTENT_BYTES];
	uint64_t	index;			/* begun for it; 0: none */
	uint64_t	written;
	uint32_t	begins;
	uint32_t	installs;
	uint32_t	aborts;
	uint32_t	opens;
	uint32_t	closes;
	uint64_t	opened_at;
	NdStatus	open_status;	/* what the calls say */
	NdStatus	read_status;
	NdStatus	write_status;
	NdStatus	install_status;
	bool		open_low;		/* opens below what was asked for */
} Toy;

static Toy	toys[KIT_NODES + 1];

static uint8_t content(uint64_t index, uint64_t offset)
{
	return (uint8_t) nd_checksum(&offset, sizeof(offset), index);
}

static Toy *toy_of(void *ctx)
{
	return &toys[((KitNode *) ctx)->id];
}

static NdStatus toy_open(void *ctx, NdGroupId group, uint64_t at_least, uint64_t *handle, uint64_t *index)
{
	KitNode    *n = ctx;
	Toy		   *t = toy_of(ctx);

	if (t->open_status != ND_OK)
		return t->open_status;
	assert_int_equal(group, 1);
	assert_true(n->applied[1] >= at_least);
	t->opens++;
	*index = *handle = t->opened_at = t->open_low ? at_least - 1 : n->applied[1];
	return ND_OK;
}

static NdStatus toy_read(void *ctx, uint64_t handle, uint64_t offset, uint8_t *out, uint32_t cap, uint32_t *len, bool *last)
{
	Toy		   *t = toy_of(ctx);

	if (t->read_status != ND_OK)
		return t->read_status;
	assert_true(offset <= CONTENT_BYTES);
	*len = CONTENT_BYTES - offset < cap ? (uint32_t) (CONTENT_BYTES - offset) : cap;
	*last = offset + *len == CONTENT_BYTES;
	for (uint32_t i = 0; i < *len; i++)
		out[i] = content(handle, offset + i);
	return ND_OK;
}

static void toy_close(void *ctx, uint64_t handle)
{
	(void) handle;
	toy_of(ctx)->closes++;
}

static NdStatus toy_begin(void *ctx, NdGroupId group, uint64_t index)
{
	Toy		   *t = toy_of(ctx);

	assert_int_equal(group, 1);
	t->index = index;
	t->written = 0;
	t->begins++;
	return ND_OK;
}

static NdStatus toy_write(void *ctx, NdGroupId group, uint64_t offset, const uint8_t *data, size_t len)
{
	Toy		   *t = toy_of(ctx);

	if (t->write_status != ND_OK)
		return t->write_status;
	assert_int_equal(group, 1);
	assert_int_equal(offset, t->written);
	assert_true(offset + len <= CONTENT_BYTES);
	memcpy(t->staged + offset, data, len);
	t->written += len;
	return ND_OK;
}

static NdStatus toy_install(void *ctx, NdGroupId group)
{
	KitNode    *n = ctx;
	Toy		   *t = toy_of(ctx);

	if (t->install_status != ND_OK)
		return t->install_status;
	assert_int_equal(t->written, CONTENT_BYTES);
	for (uint64_t i = 0; i < CONTENT_BYTES; i++)
		assert_int_equal(t->staged[i], content(t->index, i));
	assert_true(t->index > n->applied[group]);
	n->applied[group] = t->index;
	t->installs++;
	return ND_OK;
}

static void toy_abort(void *ctx, NdGroupId group)
{
	(void) group;
	toy_of(ctx)->aborts++;
	toy_of(ctx)->index = 0;
}

static const NodeSnapshots toy_snapshots = {toy_open, toy_read, toy_close, toy_begin, toy_write, toy_install, toy_abort, NULL};

/* ---- steps that most tests share ---- */

static NdNodeId leader;
static NdNodeId slow;
static NdNodeId other;

/* The tables of all nodes that run hold what was delivered, durably; the log may go. */
static void apply_once(Kit *k)
{
	for (NdNodeId id = 1; id <= KIT_NODES; id++)
		if (k->nodes[id].node != NULL && !kit_status(k, id, 1)->snapshot_in)
		{
			uint64_t	delivered = kit_status(k, id, 1)->delivered;

			if (delivered > k->nodes[id].applied[1])
				k->nodes[id].applied[1] = delivered;
			node_applied_durable(k->nodes[id].node, 1, k->nodes[id].applied[1], 0);
		}
}

static void apply(Kit *k)
{
	for (int round = 0; round < 3; round++)
	{
		apply_once(k);
		kit_tick(k, KIT_ELECTION);
	}
}

static uint64_t counter;

static void work(Kit *k, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		counter++;
		assert_int_equal(kit_propose(k, leader, 1, counter, counter > 20 ? counter - 20 : 0, counter, 100), ND_OK);
		if (i % 10 == 9)
		{
			kit_tick(k, 1);
			apply_once(k);
		}
	}
	kit_tick(k, 2);
}

static Kit *cluster_of(uint32_t nodes)
{
	Kit		   *k = kit_new(1);
	RaftConfiguration *c = calloc(1, sizeof(*c));

	memset(toys, 0, sizeof(toys));
	k->snapshots = &toy_snapshots;
	k->config.snapshot_chunk_bytes = CHUNK;
	k->config.snapshot_window_bytes = 4 * CHUNK;
	assert_non_null(c);
	c->n = nodes;
	for (NdNodeId m = 1; m <= nodes; m++)
	{
		NodeMember	member = kit_member(m);

		assert_int_equal(wire_member_to_raft(&member, &c->members[m - 1]), ND_OK);
	}
	for (NdNodeId id = 1; id <= nodes; id++)
	{
		kit_open(k, id);
		assert_int_equal(store_create_group(k->nodes[id].store, ND_GROUP_META, c), ND_OK);
		assert_int_equal(store_create_group(k->nodes[id].store, 1, c), ND_OK);
		kit_start(k, id);
	}
	free(c);
	counter = 0;
	leader = kit_leader(k, 1);
	assert_int_not_equal(leader, 0);
	return k;
}

/* Three nodes; `slow` is down and what it needs next is cut. */
static Kit *one_behind(void)
{
	Kit		   *k;

	k = cluster_of(3);
	slow = leader % 3 + 1;
	other = slow % 3 + 1;
	work(k, 20);
	apply(k);
	kit_stop(k, slow, false);
	work(k, 100);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > 60);
	return k;
}

static void assert_caught_up(Kit *k, NdNodeId id)
{
	assert_false(kit_status(k, id, 1)->snapshot_in);
	assert_int_equal(kit_status(k, leader, 1)->snapshots_out, 0);
	assert_int_equal(kit_status(k, id, 1)->delivered, kit_status(k, leader, 1)->delivered);
	assert_int_equal(node_certifier_checksum(k->nodes[id].node, 1), node_certifier_checksum(k->nodes[leader].node, 1));
	assert_int_equal(toys[leader].opens, toys[leader].closes);
	kit_assert_same(k);
}

/* Ticks until the receiver stands where the test wants it. */
static void until(Kit *k, bool (*there) (Kit *k))
{
	for (int t = 0; t < 60 * KIT_ELECTION; t++)
	{
		if (there(k))
			return;
		kit_tick(k, 1);
	}
	fail_msg("not reached");
}

static bool comes_in(Kit *k)
{
	return kit_status(k, slow, 1)->snapshot_in;
}

static bool is_over(Kit *k)
{
	return !kit_status(k, slow, 1)->snapshot_in && kit_status(k, leader, 1)->snapshots_out == 0 &&
		kit_status(k, slow, 1)->raft.commit == kit_status(k, leader, 1)->raft.commit;
}

static bool all_written(Kit *k)
{
	(void) k;
	return toys[slow].written == CONTENT_BYTES;
}

/* ---- the way it should go ---- */

static void test_slow_follower(void **state)
{
	Kit		   *k = one_behind();
	KitNode    *n = &k->nodes[slow];
	uint64_t	first;

	(void) state;
	kit_start(k, slow);
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(toys[slow].begins, 1);
	assert_int_equal(n->applied[1], toys[leader].opened_at);
	/* Delivery goes on behind the checkpoint; what the rows hold already comes marked. */
	assert_true(n->n_seen > 0);
	first = UINT64_MAX;
	for (uint32_t i = 0; i < n->n_seen; i++)
		if (n->seen[i].group == 1 && n->seen[i].index > 40)
		{
			if (first == UINT64_MAX)
				first = n->seen[i].index;
			assert_int_equal(n->seen[i].replayed, n->seen[i].index <= n->applied[1]);
			assert_false(n->seen[i].local);
		}
	assert_true(first > 60);
	work(k, 30);
	apply(k);
	assert_caught_up(k, slow);
	/* It is all there after a restart. */
	kit_stop(k, slow, true);
	kit_start(k, slow);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_caught_up(k, slow);
	assert_int_equal(toys[slow].installs, 1);
	kit_free(k);
}

/* A log that was cut above a member with no snapshots to give would leave it behind for ever. */
static void test_without_snapshots_nothing_is_cut(void **state)
{
	Kit		   *k;

	(void) state;
	k = cluster_of(3);
	slow = leader % 3 + 1;
	for (NdNodeId id = 1; id <= 3; id++)
		kit_stop(k, id, false);
	k->snapshots = NULL;
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != slow)
			kit_start(k, id);
	leader = kit_leader(k, 1);
	work(k, 100);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) <= 5);
	kit_free(k);
}

/*
 * The tables and the checkpoint are durable, the commit index that the log's hard state has is older: it rides along with other writes. A restart knows less to be
 * committed than it has applied, and may be told at once that the log need not be kept: it is cut where the core agrees, else nowhere yet.
 */
static void test_cut_after_a_restart_that_knows_less(void **state)
{
	Kit		   *k;
	bool		met = false;

	(void) state;
	k = cluster_of(3);
	for (uint32_t i = 1; i <= 100; i++)
		assert_int_equal(kit_propose(k, leader, 1, i, 0, i, 100), ND_OK);
	kit_tick(k, KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		k->nodes[id].applied[1] = kit_status(k, id, 1)->delivered;
		node_applied_durable(k->nodes[id].node, 1, k->nodes[id].applied[1], 1 << 20);
	}
	kit_tick(k, KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
		kit_stop(k, id, true);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		kit_start(k, id);
		met |= kit_status(k, id, 1)->raft.commit + 1 < kit_status(k, id, 1)->delivered;
		node_applied_durable(k->nodes[id].node, 1, k->nodes[id].applied[1], 0);
		assert_in_range(store_first_index(k->nodes[id].store, 1), 1, kit_status(k, id, 1)->raft.commit + 1);
	}
	assert_true(met);
	leader = kit_leader(k, 1);
	assert_int_not_equal(leader, 0);
	counter = 200;
	work(k, 30);
	apply(k);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_null(kit_status(k, id, 1)->frozen);
		assert_true(store_first_index(k->nodes[id].store, 1) > 90);
	}
	kit_assert_same(k);
	kit_free(k);
}

static void join(Kit *k, NdNodeId id)
{
	NodeMember	m = kit_member(id);
	NodeMember	members[KIT_NODES];
	NdNodeId	meta = kit_leader(k, 0);
	uint32_t	n = node_members(k->nodes[leader].node, members, KIT_NODES);

	kit_open(k, id);
	assert_int_equal(node_bootstrap_joining(k->nodes[id].store, 1), ND_OK);
	kit_start(k, id);
	for (uint32_t i = 0; n == 0 && i < 3; i++)
		members[i] = kit_member(i + 1);
	assert_int_equal(node_set_seed_peers(k->nodes[id].node, members, n == 0 ? 3 : n), ND_OK);
	assert_int_equal(node_add_member(k->nodes[meta].node, &m), ND_OK);
}

static void test_joiner_behind_a_cut_log(void **state)
{
	Kit		   *k;

	(void) state;
	k = cluster_of(3);
	work(k, 120);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > 60);
	slow = 4;
	join(k, 4);
	for (int t = 0; t < 60 && kit_role(k, 4, 1, 4) != RAFT_VOTER; t++)
		kit_tick(k, KIT_ELECTION);
	assert_int_equal(kit_role(k, 4, 1, 4), RAFT_VOTER);
	assert_int_equal(kit_role(k, 4, 0, 4), RAFT_VOTER);
	assert_int_equal(toys[4].installs, 1);
	leader = kit_leader(k, 1);
	work(k, 30);
	apply(k);
	assert_caught_up(k, 4);
	kit_free(k);
}

/* At the leader: a chunk of the transaction, or, with that chunk, its TXN. Returns where it stands. */
static uint64_t propose_chunked(Kit *k, TxnId txn, const uint64_t *chunk)
{
	NdBuf		buf;
	NdBlob	   *blob;

	nd_buf_init(&buf);
	assert_int_equal(entry_encode_header(&buf, chunk == NULL ? ENTRY_CHUNK : ENTRY_TXN, 0, txn, chunk == NULL ? 0 : *chunk, NULL, 0, chunk, chunk != NULL), ND_OK);
	if (chunk == NULL)
		nd_buf_bytes(&buf, "rows", 4);
	blob = nd_blob_new(buf.data, (uint32_t) buf.len);
	assert_int_equal(node_propose(k->nodes[leader].node, 1, blob, 100), ND_OK);
	nd_blob_unref(blob);
	nd_buf_free(&buf);
	kit_tick(k, 2);
	return kit_status(k, leader, 1)->delivered;
}

/* The log that is shipped begins below the checkpoint when a chunk there waits for its transaction. */
static void test_open_chunk_below_the_checkpoint(void **state)
{
	Kit		   *k;
	TxnId		txn;
	uint64_t	chunk;
	StorePosition position;
	uint64_t	term;

	(void) state;
	k = cluster_of(3);
	slow = leader % 3 + 1;
	kit_stop(k, slow, false);
	work(k, 40);
	txn = (TxnId) {leader, k->nodes[leader].incarnation, 100000};
	chunk = propose_chunked(k, txn, NULL);
	work(k, 80);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > 20);
	assert_true(store_first_index(k->nodes[leader].store, 1) <= chunk);
	kit_start(k, slow);
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(node_entry_position(k->nodes[slow].node, 1, chunk, &position, &term), ND_OK);
	/* Its transaction comes: it commits everywhere, and the chunk is still there for the tables. */
	(void) propose_chunked(k, txn, &chunk);
	assert_int_equal(kit_count(k, slow, leader, 100000, VERDICT_COMMIT), 1);
	assert_int_equal(node_entry_position(k->nodes[slow].node, 1, chunk, &position, &term), ND_OK);
	work(k, 60);
	apply(k);
	assert_true(store_first_index(k->nodes[slow].store, 1) > chunk);
	assert_caught_up(k, slow);
	kit_free(k);
}

static bool installed(Kit *k)
{
	(void) k;
	return toys[slow].installs > 0;
}

/*
 * A leader that has just started, and must have the slow member to learn how far its log is committed: its checkpoint calls a chunk open whose transaction the tables
 * hold durably, so that the log is cut above the chunk. The member needs neither.
 */
static void test_open_chunk_below_the_cut(void **state)
{
	Kit		   *k;
	TxnId		txn;
	uint64_t	chunk;
	uint64_t	checkpoint = 0;
	uint64_t	last;

	(void) state;
	k = cluster_of(3);
	slow = leader % 3 + 1;
	other = slow % 3 + 1;
	kit_stop(k, slow, false);
	work(k, 40);
	txn = (TxnId) {leader, k->nodes[leader].incarnation, 100000};
	chunk = propose_chunked(k, txn, NULL);
	for (int i = 0; i < 400 && checkpoint < chunk; i++)
	{
		NdBuf		bytes;

		work(k, 1);
		apply_once(k);
		kit_tick(k, 1);
		nd_buf_init(&bytes);
		(void) store_read_checkpoint(k->nodes[leader].store, 1, &checkpoint, &bytes);
		nd_buf_free(&bytes);
	}
	assert_true(checkpoint >= chunk);
	last = propose_chunked(k, txn, &chunk);
	apply_once(k);
	kit_tick(k, 1);
	assert_true(store_first_index(k->nodes[leader].store, 1) > chunk);
	kit_stop(k, other, false);
	kit_stop(k, leader, true);
	kit_start(k, leader);
	assert_true(kit_status(k, leader, 1)->raft.commit < last);
	kit_start(k, slow);
	assert_int_equal(kit_leader(k, 1), leader);
	until(k, installed);
	until(k, is_over);
	work(k, 30);
	apply(k);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* ---- the stream ---- */

typedef struct Look
{
	uint32_t	chunks;
	uint32_t	offers;
	uint32_t	acks;
	WireSnapshotAckKind ack;
	uint64_t	id;
	bool		damage;
	NdBuf		frame;			/* the chunks of one frame, perhaps damaged */
} Look;

static void look_raft(void *ctx, const RaftMessage *m)
{
	(void) ctx;
	(void) m;
}

static void look_proposal(void *ctx, const WireProposal *p)
{
	(void) ctx;
	(void) p;
}

static void look_answer(void *ctx, const WireAnswer *a)
{
	(void) ctx;
	(void) a;
}

static void look_gossip(void *ctx, const WireGossip *g)
{
	(void) ctx;
	(void) g;
}

static void look_sleep(void *ctx, const WireSleep *s)
{
	(void) ctx;
	(void) s;
}

static void look_offer(void *ctx, const WireSnapshotOffer *o)
{
	Look	   *l = ctx;

	l->offers++;
	l->id = o->id;
}

static void look_chunk(void *ctx, const WireSnapshotChunk *c)
{
	Look	   *l = ctx;
	WireSnapshotChunk copy = *c;
	uint8_t		bytes[CHUNK];

	l->chunks++;
	if (l->damage && c->len > 0 && c->len <= CHUNK)
	{
		memcpy(bytes, c->data, c->len);
		bytes[c->len / 2] ^= 4;
		copy.data = bytes;
	}
	wire_put_snapshot_chunk(&l->frame, &copy);
}

static void look_ack(void *ctx, const WireSnapshotAck *a)
{
	Look	   *l = ctx;

	l->acks++;
	l->ack = a->kind;
	l->id = a->id;
}

static void look(Look *l, const uint8_t *data, size_t len)
{
	WireSink	sink = {look_raft, look_proposal, look_answer, look_gossip, look_sleep, l, NULL, look_offer, look_chunk, look_ack};

	nd_buf_init(&l->frame);
	assert_int_equal(wire_decode(data, len, 1, 2, &sink), ND_OK);
}

static NdRandom stream_random;
static NdBuf late[8];

/* Chunks and acknowledgements are lost, doubled, damaged, and come again long after. */
static bool bad_stream(Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len)
{
	Look		l = {.damage = nd_random_below(&stream_random, 6) == 0};
	bool		pass = true;
	NdBuf	   *old = &late[nd_random_below(&stream_random, 8)];

	(void) k;
	look(&l, data, len);
	if (l.chunks + l.offers + l.acks > 0)
	{
		pass = nd_random_below(&stream_random, 4) > 0;
		if (l.damage && l.chunks > 0 && l.offers + l.acks == 0)
		{
			node_frame(to->node, from, l.frame.data, l.frame.len);
			pass = false;
		}
		else if (pass && nd_random_below(&stream_random, 4) == 0)
			node_frame(to->node, from, data, len);
		if (to->id == slow && nd_random_below(&stream_random, 2) == 0)
		{
			nd_buf_reset(old);
			nd_buf_bytes(old, data, len);
		}
		else if (to->id == slow && old->len > 0)
			node_frame(to->node, from, old->data, old->len);
	}
	nd_buf_free(&l.frame);
	return pass;
}

static void test_bad_stream(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 12; seed++)
	{
		Kit		   *k = one_behind();

		nd_random_seed(&stream_random, seed);
		kit_start(k, slow);
		k->filter = bad_stream;
		until(k, is_over);
		k->filter = NULL;
		assert_true(toys[slow].installs >= 1);
		work(k, 20);
		apply(k);
		assert_caught_up(k, slow);
		kit_free(k);
		for (int i = 0; i < 8; i++)
			nd_buf_free(&late[i]);
	}
}

/* A connection that breaks half-way: the receiver says where to go on, nothing is written twice. */
static void test_resumed(void **state)
{
	Kit		   *k = one_behind();

	(void) state;
	toys[slow].write_status = ND_BUSY;
	kit_start(k, slow);
	until(k, comes_in);
	toys[slow].write_status = ND_OK;
	for (int i = 0; i < 6; i++)
	{
		loopback_cut(k->hub, leader, slow, true);
		kit_tick(k, 3 * KIT_ELECTION);
		loopback_cut(k->hub, leader, slow, false);
		toys[slow].write_status = i % 2 == 0 ? ND_BUSY : ND_OK;
		kit_settle(k);
	}
	toys[slow].write_status = ND_OK;
	until(k, is_over);
	leader = kit_leader(k, 1);
	assert_int_equal(toys[slow].begins, 1);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(toys[leader].opens, 1);
	assert_caught_up(k, slow);
	kit_free(k);
}

static uint64_t most_under_way;

static bool no_acks(Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len)
{
	Look		l = {0};

	(void) k;
	(void) from;
	look(&l, data, len);
	if (to->id == slow)
		most_under_way += l.chunks * (uint64_t) CHUNK;
	nd_buf_free(&l.frame);
	return !(to->id == leader && l.acks > 0 && l.ack == WIRE_SNAPSHOT_NEXT);
}

static void test_window(void **state)
{
	Kit		   *k = one_behind();

	(void) state;
	most_under_way = 0;
	k->filter = no_acks;
	toys[slow].write_status = ND_BUSY;
	kit_start(k, slow);
	until(k, comes_in);
	kit_tick(k, KIT_ELECTION / 2);
	assert_true(most_under_way > 0);
	assert_true(most_under_way <= 5 * CHUNK + CHUNK);
	k->filter = NULL;
	toys[slow].write_status = ND_OK;
	until(k, is_over);
	kit_free(k);
}

/* ---- a receiver that crashes ---- */

static void test_crash_while_receiving(void **state)
{
	Kit		   *k = one_behind();
	uint64_t	before = k->nodes[slow].applied[1];

	(void) state;
	toys[leader].read_status = ND_OK;
	kit_start(k, slow);
	k->filter = no_acks;		/* stands still after a window */
	until(k, comes_in);
	kit_tick(k, 2);
	kit_stop(k, slow, true);
	assert_int_equal(k->nodes[slow].applied[1], before);
	k->filter = NULL;
	kit_start(k, slow);
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* The host is not done when the node dies: the old replica is there again, and asks again. */
static void test_crash_before_content(void **state)
{
	Kit		   *k = one_behind();
	uint64_t	before = k->nodes[slow].applied[1];
	uint64_t	last = 0;

	(void) state;
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	kit_tick(k, 10 * KIT_ELECTION);
	assert_true(kit_status(k, slow, 1)->snapshot_in);
	last = kit_status(k, slow, 1)->raft.last_index;
	kit_stop(k, slow, true);
	toys[slow].install_status = ND_OK;
	toys[slow].written = 0;
	k->snapshots = NULL;		/* to look at it before anything comes in */
	kit_start(k, slow);
	assert_int_equal(kit_status(k, slow, 1)->raft.last_index, last);
	assert_int_equal(k->nodes[slow].applied[1], before);
	kit_stop(k, slow, false);
	k->snapshots = &toy_snapshots;
	kit_start(k, slow);
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_caught_up(k, slow);
	kit_free(k);
}

static bool content_in(Kit *k)
{
	(void) k;
	return toys[slow].installs > 0;
}

/* The host is done, the log waits for its flush. */
static void until_content_is_in(Kit *k)
{
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	memvfs_set_manual(k->nodes[slow].disk, true);
	toys[slow].install_status = ND_OK;
	until(k, content_in);
}

/* Tables ahead of the log: entries up to there come marked, by whatever way; a second snapshot brings log and certifier alone. */
static void test_crash_between_content_and_log(void **state)
{
	Kit		   *k = one_behind();
	uint64_t	applied;
	uint64_t	last;

	(void) state;
	until_content_is_in(k);
	applied = k->nodes[slow].applied[1];
	assert_true(kit_status(k, slow, 1)->snapshot_in);
	kit_stop(k, slow, true);
	memvfs_set_manual(k->nodes[slow].disk, false);
	kit_open(k, slow);
	last = store_last_index(k->nodes[slow].store, 1);
	assert_true(last < applied);
	kit_start(k, slow);
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(toys[slow].begins, 1);
	assert_int_equal(k->nodes[slow].applied[1], applied);
	for (uint32_t i = 0; i < k->nodes[slow].n_seen; i++)
		if (k->nodes[slow].seen[i].group == 1)
			assert_int_equal(k->nodes[slow].seen[i].replayed, k->nodes[slow].seen[i].index <= applied);
	work(k, 20);
	apply(k);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* The log is durable, the core has not heard of it: the new replica is there at the next start. */
static void test_crash_after_log(void **state)
{
	Kit		   *k = one_behind();
	uint64_t	applied;

	(void) state;
	until_content_is_in(k);
	applied = k->nodes[slow].applied[1];
	kit_tick(k, 2);
	memvfs_complete(k->nodes[slow].disk);
	kit_stop(k, slow, true);
	memvfs_set_manual(k->nodes[slow].disk, false);
	kit_open(k, slow);
	assert_true(store_first_index(k->nodes[slow].store, 1) > 60);
	kit_start(k, slow);
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(toys[slow].begins, 1);
	assert_int_equal(k->nodes[slow].applied[1], applied);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* No event reaches the core while its log is not the store's; the rest of the cluster goes on. */
static void test_traffic_while_the_log_is_replaced(void **state)
{
	Kit		   *k = one_behind();
	uint64_t	last;

	(void) state;
	until_content_is_in(k);
	last = kit_status(k, slow, 1)->raft.last_index;
	work(k, 20);
	assert_int_equal(kit_status(k, slow, 1)->raft.last_index, last);
	assert_int_equal(node_read(k->nodes[slow].node, 1, 77, 200), ND_OK);
	for (int i = 0; i < 50; i++)
	{
		memvfs_complete(k->nodes[slow].disk);
		kit_tick(k, 1);
	}
	memvfs_set_manual(k->nodes[slow].disk, false);
	memvfs_complete(k->nodes[slow].disk);
	until(k, is_over);
	assert_int_equal(k->nodes[slow].reads, 1);
	assert_int_equal(k->nodes[slow].read_status, ND_OK);
	apply(k);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* What the tables were not given before the host installs is never given: the host may hold the snapshot's rows already. */
static void test_no_delivery_while_installing(void **state)
{
	Kit		   *k = one_behind();
	KitNode    *n = &k->nodes[slow];
	uint32_t	seen = 0;

	(void) state;
	toys[slow].install_status = ND_BUSY;
	n->busy = true;
	kit_start(k, slow);
	until(k, all_written);
	assert_true(kit_status(k, slow, 1)->delivered < kit_status(k, slow, 1)->raft.commit);
	n->busy = false;
	kit_tick(k, 3);
	for (uint32_t i = 0; i < n->n_seen; i++)
		seen += n->seen[i].group == 1;
	assert_int_equal(seen, 0);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	for (uint32_t i = 0; i < n->n_seen; i++)
		assert_true(n->seen[i].group != 1 || n->seen[i].index > 60);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* ---- leaders ---- */

static void test_leader_dies_in_the_middle(void **state)
{
	Kit		   *k = one_behind();
	NdNodeId	old = leader;

	(void) state;
	toys[slow].write_status = ND_BUSY;
	kit_start(k, slow);
	until(k, comes_in);
	kit_tick(k, 3);
	kit_stop(k, old, true);
	leader = other;
	toys[slow].write_status = ND_OK;
	until(k, is_over);
	assert_int_equal(toys[slow].begins, 2);
	assert_int_equal(toys[slow].aborts, 1);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(toys[leader].opens, 1);
	kit_start(k, old);
	kit_tick(k, 3 * KIT_ELECTION);
	leader = kit_leader(k, 1);
	assert_int_equal(node_certifier_checksum(k->nodes[slow].node, 1), node_certifier_checksum(k->nodes[leader].node, 1));
	kit_assert_same(k);
	kit_free(k);
}

/* A deposed leader lets go: of its tables and of the log. */
static void test_leader_is_replaced_in_the_middle(void **state)
{
	Kit		   *k = one_behind();
	NdNodeId	old = leader;

	(void) state;
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	assert_int_equal(node_transfer(k->nodes[old].node, 1, other), ND_OK);
	kit_tick(k, KIT_ELECTION);
	leader = kit_leader(k, 1);
	assert_int_equal(leader, other);
	assert_int_equal(kit_status(k, old, 1)->snapshots_out, 0);
	assert_int_equal(toys[old].opens, toys[old].closes);
	/* What is being installed is installed, whoever leads now: it is committed. */
	kit_tick(k, 5 * KIT_ELECTION);
	assert_int_equal(toys[slow].begins, 1);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(toys[slow].begins, 1);
	assert_int_equal(toys[slow].aborts, 0);
	assert_caught_up(k, slow);
	kit_free(k);
}

static void test_no_campaign_meanwhile(void **state)
{
	Kit		   *k = one_behind();

	(void) state;
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	loopback_cut(k->hub, slow, leader, true);
	loopback_cut(k->hub, slow, other, true);
	kit_tick(k, 5 * KIT_ELECTION);
	assert_int_equal(kit_status(k, slow, 1)->raft.state, RAFT_FOLLOWER);
	assert_int_not_equal(kit_status(k, slow, 0)->raft.state, RAFT_FOLLOWER);
	loopback_cut(k->hub, slow, leader, false);
	loopback_cut(k->hub, slow, other, false);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	kit_free(k);
}

/* ---- the log meanwhile ---- */

static void test_log_is_held(void **state)
{
	Kit		   *k = one_behind();
	uint64_t	first = 0;

	(void) state;
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	first = store_first_index(k->nodes[leader].store, 1);
	work(k, 100);
	apply(k);
	assert_in_range(store_first_index(k->nodes[leader].store, 1), first, toys[leader].opened_at);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	assert_int_equal(toys[leader].opens, 1);
	work(k, 40);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > toys[leader].opened_at);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* A receiver that is gone does not hold it for ever. */
static void test_log_is_let_go(void **state)
{
	Kit		   *k = one_behind();

	(void) state;
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	kit_stop(k, slow, true);
	kit_tick(k, 40 * KIT_ELECTION);
	assert_int_equal(toys[leader].opens, toys[leader].closes);
	work(k, 100);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > toys[leader].opened_at);
	toys[slow].install_status = ND_OK;
	toys[slow].written = 0;
	kit_start(k, slow);
	until(k, is_over);
	assert_int_equal(toys[leader].opens, 2);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* The members that the receiver knew are not those of the snapshot. */
static void test_members_changed_below_the_snapshot(void **state)
{
	Kit		   *k;

	(void) state;
	k = cluster_of(3);
	slow = leader % 3 + 1;
	work(k, 20);
	kit_stop(k, slow, false);
	join(k, 4);
	for (int t = 0; t < 60 && kit_role(k, leader, 1, 4) != RAFT_VOTER; t++)
		kit_tick(k, KIT_ELECTION);
	assert_int_equal(kit_role(k, leader, 1, 4), RAFT_VOTER);
	work(k, 100);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > 60);
	kit_start(k, slow);
	assert_int_equal(kit_role(k, slow, 1, 4), (RaftRole) -1);
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(kit_role(k, slow, 1, 4), RAFT_VOTER);
	kit_stop(k, slow, true);
	kit_start(k, slow);
	assert_int_equal(kit_role(k, slow, 1, 4), RAFT_VOTER);
	kit_free(k);
}

/* ... and change again while it is on its way. */
static void test_members_change_meanwhile(void **state)
{
	Kit		   *k = one_behind();

	(void) state;
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	join(k, 4);
	kit_tick(k, 10 * KIT_ELECTION);
	assert_int_equal(kit_role(k, leader, 1, 4), RAFT_VOTER);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	assert_int_equal(kit_role(k, slow, 1, 4), RAFT_VOTER);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* ---- hosts that fail ---- */

static void test_host_failures(void **state)
{
	Kit		   *k = one_behind();

	(void) state;
	toys[leader].open_status = ND_IO;
	kit_start(k, slow);
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(toys[leader].opens, 0);
	toys[leader].open_status = ND_BUSY;
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(toys[slow].begins, 0);
	toys[leader].open_status = ND_OK;
	toys[leader].open_low = true;	/* rows below the certifier's checkpoint: never */
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(toys[slow].begins, 0);
	toys[leader].open_low = false;
	toys[leader].read_status = ND_DAMAGED;
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(toys[slow].installs, 0);
	toys[leader].read_status = ND_OK;
	toys[slow].write_status = ND_FULL;
	kit_tick(k, 12 * KIT_ELECTION);
	assert_true(toys[slow].aborts > 0);
	toys[slow].write_status = ND_OK;
	toys[slow].install_status = ND_DAMAGED;
	kit_tick(k, 12 * KIT_ELECTION);
	assert_int_equal(toys[slow].installs, 0);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(toys[leader].opens, toys[leader].closes);
	assert_caught_up(k, slow);
	kit_free(k);
}

static uint32_t refusals;

static bool count_refusals(Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len)
{
	Look		l = {0};

	(void) k;
	(void) from;
	look(&l, data, len);
	refusals += to->id == leader && l.acks > 0 && l.ack == WIRE_SNAPSHOT_REFUSED;
	nd_buf_free(&l.frame);
	return true;
}

/* A receiver without snapshots says so; it is asked again after a pause, not at once. */
static void test_refused(void **state)
{
	Kit		   *k = one_behind();

	(void) state;
	k->snapshots = NULL;
	refusals = 0;
	k->filter = count_refusals;
	kit_start(k, slow);
	kit_tick(k, 20 * KIT_ELECTION);
	assert_in_range(refusals, 2, 11);
	kit_free(k);
}

/* A second snapshot, of another sender, while the host installs the first: the first ends. */
static void test_second_offer_while_installing(void **state)
{
	Kit		   *k = one_behind();
	RaftConfiguration *c = calloc(1, sizeof(*c));
	WireSnapshotOffer o = {.group = 1, .id = 99, .index = 500, .term = 1, .checkpoint = 500, .applied = 500, .checkpoint_bytes = 10, .configuration = c};
	NdBuf		frame;

	(void) state;
	raft_configuration_copy(c, raft_configuration(node_raft(k->nodes[leader].node, 1)));
	nd_buf_init(&frame);
	wire_put_snapshot_offer(&frame, &o);
	toys[slow].install_status = ND_BUSY;
	kit_start(k, slow);
	until(k, all_written);
	node_frame(k->nodes[slow].node, other, frame.data, frame.len);
	node_frame(k->nodes[slow].node, leader, frame.data, frame.len);
	kit_tick(k, 2);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	assert_int_equal(toys[slow].begins, 1);
	assert_int_equal(toys[slow].installs, 1);
	assert_caught_up(k, slow);
	nd_buf_free(&frame);
	free(c);
	kit_free(k);
}

/* While one is received, an offer of somebody who does not lead does not end it. */
static void test_second_offer_while_receiving(void **state)
{
	Kit		   *k = one_behind();
	RaftConfiguration *c = calloc(1, sizeof(*c));
	WireSnapshotOffer o = {.group = 1, .id = 99, .index = 500, .term = 1, .checkpoint = 500, .applied = 500, .checkpoint_bytes = 10, .configuration = c};
	NdBuf		frame;

	(void) state;
	raft_configuration_copy(c, raft_configuration(node_raft(k->nodes[leader].node, 1)));
	nd_buf_init(&frame);
	wire_put_snapshot_offer(&frame, &o);
	toys[slow].write_status = ND_BUSY;
	kit_start(k, slow);
	until(k, comes_in);
	kit_tick(k, 2);
	node_frame(k->nodes[slow].node, other, frame.data, frame.len);
	toys[slow].write_status = ND_OK;
	until(k, is_over);
	assert_int_equal(toys[slow].begins, 1);
	assert_int_equal(toys[slow].aborts, 0);
	assert_caught_up(k, slow);
	nd_buf_free(&frame);
	free(c);
	kit_free(k);
}

/* ---- clients of the receiver ---- */

/* A proposal that may stand in the log that is skipped: nobody will deliver it here, and nobody knows. One that was never sent is sent. */
static void test_pending_proposals(void **state)
{
	Kit		   *k;
	KitNode    *n;

	(void) state;
	k = cluster_of(3);
	slow = leader % 3 + 1;
	n = &k->nodes[slow];
	work(k, 20);
	apply(k);
	assert_int_equal(kit_propose(k, slow, 1, 1, 0, 900000, 10000), ND_OK);
	node_work(n->node);
	loopback_cut(k->hub, slow, leader, true);
	loopback_cut(k->hub, slow, slow % 3 + 1, true);
	work(k, 100);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > 60);
	assert_int_equal(kit_propose(k, slow, 1, 2, 0, 900001, 10000), ND_OK);
	loopback_cut(k->hub, slow, leader, false);
	loopback_cut(k->hub, slow, slow % 3 + 1, false);
	toys[slow].install_status = ND_BUSY;
	until(k, all_written);
	toys[slow].install_status = ND_OK;
	until(k, is_over);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_true(n->failures >= 1);
	assert_int_equal(n->outcome, NODE_UNKNOWN);
	assert_int_equal(n->reason, ND_COMPACTED);
	leader = kit_leader(k, 1);
	assert_caught_up(k, slow);
	kit_free(k);
}

/* Its entry was judged and waits for room in the host when a snapshot takes it away: the client hears of it once. */
static void test_held_proposal(void **state)
{
	Kit		   *k = cluster_of(3);
	KitNode    *n;

	(void) state;
	slow = leader % 3 + 1;
	n = &k->nodes[slow];
	work(k, 20);
	n->busy = true;
	assert_int_equal(kit_propose(k, slow, 1, 1, 0, 900000, 10000), ND_OK);
	kit_tick(k, KIT_ELECTION);
	assert_int_equal(n->failures, 0);
	loopback_cut(k->hub, slow, leader, true);
	loopback_cut(k->hub, slow, slow % 3 + 1, true);
	work(k, 100);
	apply(k);
	assert_true(store_first_index(k->nodes[leader].store, 1) > 60);
	loopback_cut(k->hub, slow, leader, false);
	loopback_cut(k->hub, slow, slow % 3 + 1, false);
	until(k, is_over);
	n->busy = false;
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(toys[slow].installs, 1);
	assert_int_equal(n->failures, 1);
	assert_int_equal(n->outcome, NODE_UNKNOWN);
	assert_int_equal(n->failed_txn.counter, 1);
	kit_free(k);
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(test_slow_follower), T(test_without_snapshots_nothing_is_cut), T(test_cut_after_a_restart_that_knows_less), T(test_joiner_behind_a_cut_log), T(test_open_chunk_below_the_checkpoint), T(test_open_chunk_below_the_cut),
		T(test_bad_stream), T(test_resumed), T(test_window), T(test_crash_while_receiving), T(test_crash_before_content),
		T(test_crash_between_content_and_log), T(test_crash_after_log), T(test_traffic_while_the_log_is_replaced), T(test_no_delivery_while_installing),
		T(test_leader_dies_in_the_middle), T(test_leader_is_replaced_in_the_middle), T(test_no_campaign_meanwhile),
		T(test_log_is_held), T(test_log_is_let_go), T(test_members_changed_below_the_snapshot), T(test_members_change_meanwhile),
		T(test_host_failures), T(test_refused), T(test_second_offer_while_installing), T(test_second_offer_while_receiving),
		T(test_pending_proposals), T(test_held_proposal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
