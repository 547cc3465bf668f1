/*
 * test_node_space.c: full disks and disks that do not finish. Leadership leaves a node whose disk is full without an election timeout, the others go on, it
 * votes all the same and recovers without a restart. While a leader's disk stalls its followers commit without it. And the bounds of what waits: for a
 * disk, for a peer that reads nothing, for an applier that takes nothing (README.md, "What is bounded").
 */
#include "node_kit.h"

#define SEGMENT (1u << 20)

static uint64_t counter;

static NdStatus propose(Kit *k, NdNodeId at, uint32_t bytes, uint32_t deadline)
{
	TxnId		txn = {at, k->nodes[at].incarnation, ++counter};
	NdBlob	   *small = kit_entry(txn, 0, counter);
	NdBlob	   *entry = nd_blob_new(NULL, bytes);
	NdStatus	status;

	memset(entry->data, 'x', bytes);
	memcpy(entry->data, small->data, small->len);
	status = node_propose(k->nodes[at].node, 1, entry, deadline);
	nd_blob_unref(entry);
	nd_blob_unref(small);
	return status;
}

static bool is_full(Kit *k, NdNodeId id)
{
	return store_full(k->nodes[id].store);
}

/* The files of this node may not grow any more; its log grows until the store sees it. */
static void fill(Kit *k, NdNodeId id, NdNodeId client)
{
	memvfs_set_space(k->nodes[id].disk, 1);
	for (int i = 0; i < 60 && !is_full(k, id); i++)
	{
		assert_int_equal(propose(k, client, 100000, 1000), ND_OK);
		kit_settle(k);
	}
	assert_true(is_full(k, id));
}

static Kit *cluster(NdNodeId *leader)
{
	Kit		   *k = kit_cluster(3, 1);

	*leader = kit_leader(k, 1);
	assert_int_not_equal(*leader, 0);
	assert_int_not_equal(kit_leader(k, 0), 0);
	counter = 0;
	return k;
}

/* Proposals of all nodes go on, and no election timeout is lost. */
static void test_full_leader_hands_over(void **state)
{
	NdNodeId	leader;
	Kit		   *k = cluster(&leader);
	NdNodeId	heir;
	uint64_t	term;

	(void) state;
	term = kit_status(k, leader, 1)->raft.term;
	fill(k, leader, leader);
	kit_tick(k, 3);
	heir = kit_leader(k, 1);
	assert_int_not_equal(heir, leader);
	assert_int_equal(kit_status(k, heir, 1)->raft.term, term + 1);
	assert_int_not_equal(kit_leader(k, 0), leader);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(propose(k, id, 100, 100), ND_OK);
		kit_tick(k, 2);
		assert_int_equal(kit_count(k, id, id, counter, VERDICT_COMMIT), 1);
	}
	/* It does not get it back while it is full. */
	kit_tick(k, 10 * KIT_ELECTION);
	assert_int_equal(kit_leader(k, 1), heir);
	assert_int_equal(k->nodes[leader].failures, 0);
	kit_assert_same(k);
	kit_free(k);
}

/* A follower without space: the group goes on; it votes for the other one when the leader dies; it catches up when there is space, by itself. */
static void test_full_follower(void **state)
{
	NdNodeId	leader;
	Kit		   *k = cluster(&leader);
	NdNodeId	full = leader % 3 + 1;
	NdNodeId	other = full % 3 + 1;
	uint64_t	behind;

	(void) state;
	fill(k, full, leader);
	/* More than whatever is left there. */
	for (int i = 0; i < 60; i++)
	{
		assert_int_equal(propose(k, leader, 100000, 1000), ND_OK);
		kit_tick(k, 1);
		assert_int_equal(kit_count(k, other, leader, counter, VERDICT_COMMIT) + kit_count(k, leader, leader, counter, VERDICT_COMMIT) > 0, 1);
	}
	behind = store_last_index(k->nodes[full].store, 1);
	assert_true(behind + 20 < store_last_index(k->nodes[leader].store, 1));
	kit_tick(k, 3);
	kit_stop(k, leader, true);
	kit_tick(k, KIT_ELECTION);
	assert_true(raft_is_leader(node_raft(k->nodes[other].node, 1)));
	assert_int_equal(kit_status(k, full, 1)->raft.leader, other);
	/* Without a second disk nothing commits; with it everything does. */
	assert_int_equal(propose(k, other, 100000, 1000), ND_OK);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(kit_count(k, other, other, counter, VERDICT_COMMIT), 0);
	memvfs_set_space(k->nodes[full].disk, 0);
	kit_tick(k, 4 * KIT_ELECTION);
	assert_int_equal(kit_count(k, other, other, counter, VERDICT_COMMIT), 1);
	assert_int_equal(kit_count(k, full, other, counter, VERDICT_COMMIT), 1);
	assert_false(is_full(k, full));
	kit_assert_same(k);
	kit_free(k);
}

/* All are full: nothing is proposed that does not fit, the client hears so at the deadline, and space alone mends it. */
static void test_all_full(void **state)
{
	NdNodeId	leader;
	Kit		   *k = cluster(&leader);
	uint64_t	refused;

	(void) state;
	for (NdNodeId id = 1; id <= 3; id++)
		memvfs_set_space(k->nodes[id].disk, 1);
	for (int i = 0; i < 100 && k->nodes[leader].failures == 0; i++)
	{
		assert_int_equal(propose(k, leader, 100000, 20), ND_OK);
		kit_tick(k, 1);
	}
	leader = kit_leader(k, 1);
	assert_int_not_equal(leader, 0);
	kit_tick(k, 50);
	k->nodes[leader].failures = 0;
	assert_int_equal(propose(k, leader, 100000, 20), ND_OK);
	refused = counter;
	kit_tick(k, 20);
	assert_int_equal(k->nodes[leader].failures, 1);
	assert_int_equal(k->nodes[leader].outcome, NODE_NOT_SENT);
	assert_int_equal(k->nodes[leader].reason, ND_FULL);
	/* A node may still be elected: the first entry of a term takes no more than a vote does. */
	kit_stop(k, leader, true);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_start(k, leader);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_not_equal(kit_leader(k, 1), 0);
	for (NdNodeId id = 1; id <= 3; id++)
		memvfs_set_space(k->nodes[id].disk, 0);
	kit_tick(k, 3 * KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_false(is_full(k, id));
		assert_int_equal(kit_count(k, id, leader, refused, VERDICT_NONE), 0);
		assert_int_equal(propose(k, id, 100000, 100), ND_OK);
		kit_tick(k, 3);
		assert_int_equal(kit_count(k, id, id, counter, VERDICT_COMMIT), 1);
	}
	kit_assert_same(k);
	kit_free(k);
}

/* The leader's own disk is one vote, once durable: while it stalls, followers commit, deliver and answer their clients; the leader itself waits. */
static void test_leaders_disk_stalls(void **state)
{
	NdNodeId	leader;
	Kit		   *k = cluster(&leader);
	NdNodeId	client = leader % 3 + 1;
	NdNodeId	third = client % 3 + 1;
	uint64_t	delivered = kit_status(k, leader, 1)->delivered;

	(void) state;
	memvfs_set_manual(k->nodes[leader].disk, true);
	for (int i = 0; i < 20; i++)
	{
		assert_int_equal(propose(k, client, 100, 100), ND_OK);
		kit_tick(k, 2);
		assert_int_equal(kit_count(k, client, client, counter, VERDICT_COMMIT), 1);
		kit_tick(k, 3);
		assert_int_equal(kit_count(k, third, client, counter, VERDICT_COMMIT), 1);
		assert_int_equal(kit_status(k, leader, 1)->delivered, delivered);
	}
	assert_int_equal(kit_leader(k, 1), leader);	/* heartbeats do not wait for the disk */
	memvfs_complete(k->nodes[leader].disk);
	memvfs_set_manual(k->nodes[leader].disk, false);
	kit_tick(k, 2);
	assert_int_equal(kit_count(k, leader, client, counter, VERDICT_COMMIT), 1);
	kit_assert_same(k);
	kit_free(k);
}

/* ---- bounds ---- */

/* A disk that never finishes: what gathers in front of it stays bounded, on a leader and on a follower. */
static void test_undurable_is_bounded(void **state)
{
	(void) state;
	for (int follower = 0; follower < 2; follower++)
	{
		NdNodeId	leader;
		Kit		   *k = cluster(&leader);
		NdNodeId	slow;

		kit_settle(k);
		for (NdNodeId id = 1; id <= 3; id++)
			kit_stop(k, id, false);
		k->config.undurable_bytes_max = 500000;
		for (NdNodeId id = 1; id <= 3; id++)
			kit_start(k, id);
		leader = kit_leader(k, 1);
		slow = follower ? leader % 3 + 1 : leader;
		memvfs_set_manual(k->nodes[slow].disk, true);
		for (int i = 0; i < 40; i++)
		{
			assert_int_equal(propose(k, leader, 50000, 1000), ND_OK);
			kit_tick(k, 1);
			assert_true(store_undurable_bytes(k->nodes[slow].store) < 700000);
		}
		if (follower)
			assert_int_equal(kit_count(k, leader, leader, counter, VERDICT_COMMIT), 1);
		memvfs_complete(k->nodes[slow].disk);
		memvfs_set_manual(k->nodes[slow].disk, false);
		kit_tick(k, 3 * KIT_ELECTION);
		for (NdNodeId id = 1; id <= 3; id++)
			assert_int_equal(kit_count(k, id, leader, counter, VERDICT_COMMIT), 1);
		assert_int_equal(k->nodes[leader].failures, 0);
		kit_free(k);
	}
}

static uint64_t heard_bytes;

static bool count_frames(Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len)
{
	(void) k, (void) from, (void) data;
	heard_bytes += to->stopped ? len : 0;
	return !to->stopped;
}

/* A peer whose connection stays, but which reads nothing: the leader sends what may be in flight, and nothing behind it. */
static void test_deaf_peer(void **state)
{
	NdNodeId	leader;
	Kit		   *k = cluster(&leader);
	NdNodeId	deaf = leader % 3 + 1;

	(void) state;
	k->nodes[deaf].stopped = true;
	heard_bytes = 0;
	for (int i = 0; i < 200; i++)
	{
		assert_int_equal(propose(k, leader, 50000, 1000), ND_OK);
		kit_settle(k);
	}
	kit_tick(k, 10 * KIT_ELECTION);
	k->filter = count_frames;
	k->nodes[deaf].transport->ops->poll(k->nodes[deaf].transport);
	assert_true(heard_bytes > 500000);
	assert_true(heard_bytes < (k->config.inflight_max + 1) * 51000);
	k->nodes[deaf].stopped = false;
	kit_tick(k, 5 * KIT_ELECTION);
	assert_int_equal(kit_count(k, deaf, leader, counter, VERDICT_COMMIT), 1);
	kit_free(k);
}

/* An applier that takes nothing: entries wait in the log alone, memory is the cache and 16 bytes an entry. */
static void test_stuck_applier(void **state)
{
	NdNodeId	leader;
	Kit		   *k = cluster(&leader);
	NdNodeId	stuck = leader % 3 + 1;
	StoreStatus s;

	(void) state;
	k->nodes[stuck].busy = true;
	for (int i = 0; i < 100; i++)
	{
		assert_int_equal(propose(k, leader, 50000, 1000), ND_OK);
		kit_tick(k, 1);
	}
	store_status(k->nodes[stuck].store, &s);
	assert_true(s.cache_bytes <= 1 << 20);
	assert_true(s.index_bytes <= 16 * (store_last_index(k->nodes[stuck].store, 0) + store_last_index(k->nodes[stuck].store, 1)) + 4096);
	assert_true(store_last_index(k->nodes[stuck].store, 1) > 100);
	k->nodes[stuck].busy = false;
	kit_settle(k);
	assert_int_equal(kit_count(k, stuck, leader, counter, VERDICT_COMMIT), 1);
	kit_free(k);
}

/* Reads over all groups, and proposals, when nobody answers. */
static void test_clients_are_bounded(void **state)
{
	Kit		   *k = kit_cluster(3, 2);
	NdStatus	status = ND_OK;
	uint32_t	reads = 0;
	uint32_t	proposals = 0;

	(void) state;
	counter = 0;
	kit_stop(k, 2, false);
	kit_stop(k, 3, false);
	kit_tick(k, 4 * KIT_ELECTION);
	for (; status == ND_OK && reads < 100000; reads += status == ND_OK)
		status = node_read(k->nodes[1].node, 1 + reads % 2, reads, 5);
	assert_int_equal(status, ND_BUSY);
	assert_int_equal(reads, 65536);
	for (status = ND_OK; status == ND_OK && proposals < 100; proposals += status == ND_OK)
		status = propose(k, 1, 7 << 20, 5);
	assert_int_equal(status, ND_BUSY);
	assert_true(proposals <= 256 / 7 + 1);
	kit_tick(k, 5);
	assert_int_equal(k->nodes[1].reads, 65536);
	assert_int_equal(k->nodes[1].failures, proposals);
	assert_int_equal(node_read(k->nodes[1].node, 1, 1, 5), ND_OK);
	assert_int_equal(propose(k, 1, 100, 5), ND_OK);
	kit_free(k);
}

/* Other nodes' proposals, when the leader's own core takes none: the rest is refused at once, and its origin keeps it. */
static void test_forwarded_are_bounded(void **state)
{
	NdNodeId	leader;
	Kit		   *k = cluster(&leader);
	NdNodeId	origin = leader % 3 + 1;

	(void) state;
	for (int i = 0; i < 20; i++)
		assert_int_equal(propose(k, origin, 7 << 20, 1000), ND_OK);
	node_work(k->nodes[origin].node);
	k->nodes[leader].transport->ops->poll(k->nodes[leader].transport);	/* 140 MB in one go; it keeps 64 MB, and answers BUSY to the rest */
	kit_tick(k, 6 * KIT_ELECTION);
	for (uint64_t c = 1; c <= 20; c++)
		assert_int_equal(kit_count(k, origin, origin, c, VERDICT_COMMIT), 1);
	assert_int_equal(k->nodes[origin].failures, 0);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_leader_hands_over),
		cmocka_unit_test(test_full_follower),
		cmocka_unit_test(test_all_full),
		cmocka_unit_test(test_leaders_disk_stalls),
		cmocka_unit_test(test_undurable_is_bounded),
		cmocka_unit_test(test_deaf_peer),
		cmocka_unit_test(test_stuck_applier),
		cmocka_unit_test(test_clients_are_bounded),
		cmocka_unit_test(test_forwarded_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
