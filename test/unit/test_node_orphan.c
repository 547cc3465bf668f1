/*
 * test_node_orphan.c: what a node's transactions reserved, or wait for, ends with the node: by its next life, by a leader that does not reach it, by its removal;
 * and a CANCEL is proposed until it is delivered.
 */
#include "node_kit.h"

#define ORPHAN 40
#define RESERVED_KEY 77

/* Three nodes in their second life, so that all have announced themselves. */
static Kit *cluster(uint32_t orphan_ticks)
{
	Kit		   *k = kit_cluster(3, 2);

	kit_settle(k);
	for (NdNodeId id = 1; id <= 3; id++)
		kit_stop(k, id, false);
	k->config.orphan_ticks = orphan_ticks;
	for (NdNodeId id = 1; id <= 3; id++)
		kit_start(k, id);
	for (NdGroupId g = 0; g <= 2; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	kit_tick(k, KIT_ELECTION);
	return k;
}

static NdStatus propose(Kit *k, NdNodeId id, EntryKind kind, uint64_t counter, uint64_t base, uint64_t hash, uint32_t deadline)
{
	EntryKey	keys[1] = {{hash, KEY_ROW_UPDATE}};
	TxnId		txn = {id, k->nodes[id].incarnation, counter};
	NdBuf		buf;
	NdBlob	   *blob;
	NdStatus	status;

	nd_buf_init(&buf);
	assert_int_equal(entry_encode_header(&buf, kind, kind == ENTRY_RESERVE, txn, base, keys, hash != 0, NULL, 0), ND_OK);
	if (kind == ENTRY_RESERVE)
		nd_buf_varint(&buf, 0);		/* it waits */
	blob = nd_blob_new(buf.data, (uint32_t) buf.len);
	nd_buf_free(&buf);
	status = node_propose(k->nodes[id].node, 1, blob, deadline);
	nd_blob_unref(blob);
	return status;
}

static uint64_t delivered(Kit *k, NdNodeId id)
{
	return kit_status(k, id, 1)->delivered;
}

/* A transaction of node `id` that needs the reserved key: its verdict. */
static VerdictKind try_key(Kit *k, NdNodeId id, uint64_t counter)
{
	KitNode    *n = &k->nodes[id];

	assert_int_equal(kit_propose(k, id, 1, counter, delivered(k, id), RESERVED_KEY, 100), ND_OK);
	kit_settle(k);
	for (uint32_t i = n->n_seen; i-- > 0;)
		if (n->seen[i].has_header && n->seen[i].txn.node == id && n->seen[i].txn.counter == counter && n->seen[i].txn.incarnation == n->incarnation)
			return n->seen[i].verdict;
	return VERDICT_NONE;
}

static uint32_t cancels(Kit *k, NdNodeId at, NdGroupId group, NdNodeId of)
{
	const KitNode *n = &k->nodes[at];
	uint32_t	count = 0;

	for (uint32_t i = 0; i < n->n_seen; i++)
		count += n->seen[i].has_header && n->seen[i].group == group && n->seen[i].entry_kind == ENTRY_CANCEL && n->seen[i].txn.node == of;
	return count;
}

static void reserve(Kit *k, NdNodeId id, uint64_t counter)
{
	assert_int_equal(propose(k, id, ENTRY_RESERVE, counter, delivered(k, id), RESERVED_KEY, 100), ND_OK);
	kit_settle(k);
	assert_int_equal(kit_count(k, id, id, counter, VERDICT_COMMIT), 1);
}

/* Nobody writes at the node that is back: its start alone frees what its last life owned. */
static void test_next_life(void **state)
{
	Kit		   *k = cluster(1000000);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	owner = leader % 3 + 1;

	(void) state;
	/* each announced once, in each data group */
	for (NdNodeId id = 1; id <= 3; id++)
		for (NdGroupId g = 1; g <= 2; g++)
			assert_int_equal(cancels(k, leader, g, id), 1);
	reserve(k, owner, 5);
	assert_int_equal(propose(k, owner, ENTRY_CHUNK, 6, delivered(k, owner), 0, 100), ND_OK);
	kit_settle(k);
	kit_stop(k, owner, true);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(try_key(k, leader, 1), VERDICT_ABORT_RESERVED);
	assert_int_equal(kit_status(k, leader, 1)->certifier.reservations, 1);
	kit_start(k, owner);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(kit_status(k, leader, 1)->certifier.reservations, 0);
	assert_int_equal(try_key(k, leader, 2), VERDICT_COMMIT);
	kit_tick(k, 20 * KIT_ELECTION);
	assert_int_equal(cancels(k, leader, 1, owner), 2);
	assert_int_equal(k->nodes[owner].failures, 0);
	kit_assert_same(k);
	kit_free(k);
}

/* A node that stays away loses what it owns; who is in reach keeps it for ever. */
static void test_out_of_reach(void **state)
{
	Kit		   *k = cluster(ORPHAN);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	owner = leader % 3 + 1;
	NdNodeId	other = 6 - leader - owner;

	(void) state;
	reserve(k, owner, 5);
	kit_tick(k, 5 * ORPHAN);
	assert_int_equal(try_key(k, other, 1), VERDICT_ABORT_RESERVED);
	kit_stop(k, owner, true);
	kit_tick(k, ORPHAN / 2);
	assert_int_equal(try_key(k, other, 2), VERDICT_ABORT_RESERVED);
	for (int t = 0; t < ORPHAN && cancels(k, other, 1, owner) < 2; t++)	/* its announcement and the leader's */
		kit_tick(k, 1);
	assert_int_equal(try_key(k, other, 3), VERDICT_COMMIT);
	/* It is over with its delivery: a new leader gets no copy. */
	assert_int_equal(node_transfer(k->nodes[leader].node, 1, other), ND_OK);
	kit_tick(k, KIT_ELECTION);
	assert_int_equal(kit_leader(k, 1), other);
	kit_tick(k, 5 * ORPHAN);
	assert_int_equal(cancels(k, other, 1, owner), 2);
	kit_assert_same(k);
	kit_free(k);
}

/* The owner lived after all: its transaction cannot commit any more, on either side. */
static void test_tombstone(void **state)
{
	Kit		   *k = cluster(ORPHAN);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	owner = leader % 3 + 1;
	NdNodeId	other = 6 - leader - owner;

	(void) state;
	reserve(k, owner, 5);
	assert_int_equal(propose(k, owner, ENTRY_CHUNK, 6, delivered(k, owner), 0, 100), ND_OK);
	kit_settle(k);
	assert_int_equal(loopback_cut(k->hub, owner, leader, true), ND_OK);
	assert_int_equal(loopback_cut(k->hub, owner, other, true), ND_OK);
	kit_tick(k, 2 * ORPHAN);
	assert_int_equal(try_key(k, other, 1), VERDICT_COMMIT);
	assert_int_equal(loopback_cut(k->hub, owner, leader, false), ND_OK);
	assert_int_equal(loopback_cut(k->hub, owner, other, false), ND_OK);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(try_key(k, owner, 5), VERDICT_ABORT_CANCELLED);
	assert_int_equal(try_key(k, owner, 6), VERDICT_ABORT_CANCELLED);
	assert_int_equal(try_key(k, owner, 7), VERDICT_COMMIT);
	assert_int_equal(k->nodes[leader].failures + k->nodes[other].failures, 0);
	kit_assert_same(k);
	kit_free(k);
}

/* A leader that is alone cancels in vain. It is its own affair: no client hears of it. */
static void test_lapses(void **state)
{
	Kit		   *k = cluster(KIT_ELECTION / 2);
	NdNodeId	leader = kit_leader(k, 1);

	(void) state;
	reserve(k, leader % 3 + 1, 5);
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != leader)
			kit_stop(k, id, true);
	kit_tick(k, 5 * KIT_ELECTION);
	assert_int_equal(k->nodes[leader].failures, 0);
	kit_free(k);
}

/* The leader itself dies with a reservation: its successor counts from when it lost it. */
static void test_leader_owns(void **state)
{
	Kit		   *k = cluster(ORPHAN);
	NdNodeId	owner = kit_leader(k, 1);
	NdNodeId	leader;

	(void) state;
	reserve(k, owner, 5);
	kit_stop(k, owner, true);
	leader = kit_leader(k, 1);
	assert_int_not_equal(leader, 0);
	assert_int_equal(try_key(k, leader, 1), VERDICT_ABORT_RESERVED);
	kit_tick(k, 2 * ORPHAN);
	assert_int_equal(try_key(k, leader, 2), VERDICT_COMMIT);
	kit_free(k);
}

/* Who is no member any more owns nothing, in reach or not. */
static void test_removed(void **state)
{
	Kit		   *k = cluster(1000000);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	owner = leader % 3 + 1;
	bool		gone = false;

	(void) state;
	reserve(k, owner, 5);
	kit_stop(k, owner, true);
	for (int t = 0; t < 40 * KIT_ELECTION && !gone; t++)
	{
		NodeMember	members[KIT_NODES];
		NdNodeId	meta = kit_leader(k, 0);
		uint32_t	n;

		(void) node_remove_member(k->nodes[meta].node, owner);
		kit_tick(k, 1);
		n = node_members(k->nodes[meta].node, members, KIT_NODES);
		gone = n == 2;
	}
	assert_true(gone);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(try_key(k, kit_leader(k, 1), 1), VERDICT_COMMIT);
	kit_free(k);
}

/* Without a majority for longer than any deadline: a CANCEL waits. */
static void test_cancel_until_delivered(void **state)
{
	Kit		   *k = cluster(0);
	NdNodeId	origin = kit_leader(k, 1) % 3 + 1;

	(void) state;
	reserve(k, origin, 5);
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != origin)
			kit_stop(k, id, true);
	assert_int_equal(propose(k, origin, ENTRY_CANCEL, 5, 1, 0, NODE_NO_DEADLINE), ND_OK);
	assert_int_equal(propose(k, origin, ENTRY_CANCEL, 5, 1, 0, NODE_NO_DEADLINE), ND_INVALID);	/* one is enough */
	kit_tick(k, 500);
	assert_int_equal(k->nodes[origin].failures, 0);
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != origin)
			kit_start(k, id);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(k->nodes[origin].failures, 0);
	assert_int_equal(cancels(k, origin, 1, origin), 1);
	assert_int_equal(try_key(k, origin, 9), VERDICT_COMMIT);
	kit_free(k);
}

/* The turn comes by what frees the keys, and its node is told, once, behind that entry; nobody else is. Who waits ends with its node, too. */
static void test_turns(void **state)
{
	Kit		   *k = cluster(ORPHAN);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	owner = leader % 3 + 1;
	NdNodeId	other = 6 - leader - owner;
	const KitNode *n = &k->nodes[other];

	(void) state;
	reserve(k, owner, 5);
	/* the owner's node waits as well, and will be gone when its turn comes */
	assert_int_equal(propose(k, owner, ENTRY_RESERVE, 6, delivered(k, owner), RESERVED_KEY, 5), ND_OK);
	kit_settle(k);
	assert_int_equal(propose(k, other, ENTRY_RESERVE, 7, delivered(k, other), RESERVED_KEY, 5), ND_OK);
	kit_settle(k);
	assert_int_equal(kit_count(k, other, other, 7, VERDICT_QUEUED), 1);
	assert_int_equal(kit_status(k, other, 1)->certifier.waiting, 2);
	/* no deadline of the driver counts any more */
	kit_tick(k, ORPHAN / 2);
	assert_int_equal(n->failures, 0);
	kit_stop(k, owner, true);
	kit_tick(k, 2 * ORPHAN);
	assert_int_equal(n->turns, 1);
	assert_int_equal(txnid_compare(n->turn_txn, (TxnId) {other, n->incarnation, 7}), 0);
	assert_true(n->turn_index <= delivered(k, other));
	assert_int_equal(k->nodes[leader].turns, 0);
	assert_int_equal(cancels(k, other, 1, owner), 3);	/* its announcement, and its two ids */
	assert_int_equal(try_key(k, leader, 1), VERDICT_ABORT_RESERVED);
	/* a host that has no room hears of the turn when the entry has been delivered, not before */
	assert_int_equal(propose(k, leader, ENTRY_RESERVE, 8, delivered(k, leader), RESERVED_KEY, 5), ND_OK);
	kit_settle(k);
	k->nodes[leader].busy = true;
	assert_int_equal(propose(k, other, ENTRY_CANCEL, 7, delivered(k, other), 0, 100), ND_OK);
	kit_settle(k);
	assert_int_equal(k->nodes[leader].turns, 0);
	k->nodes[leader].busy = false;
	kit_tick(k, 2);
	assert_int_equal(k->nodes[leader].turns, 1);
	assert_int_equal(k->nodes[leader].turn_index, delivered(k, leader));
	kit_start(k, owner);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(k->nodes[owner].turns, 0);
	kit_assert_same(k);
	kit_free(k);
}

/* The table of proposals is full of transactions that nobody can decide: a CANCEL still finds room. */
static void test_room_for_cancels(void **state)
{
	Kit		   *k = cluster(0);
	NdNodeId	origin = 1;
	uint64_t	c = 100;

	(void) state;
	kit_stop(k, 2, false);
	kit_stop(k, 3, false);
	while (kit_propose(k, origin, 1, c, 1, c, 1000) == ND_OK)
		c++;
	assert_int_equal(kit_propose(k, origin, 1, c, 1, c, 1000), ND_BUSY);
	assert_int_equal(propose(k, origin, ENTRY_CANCEL, 5, 1, 0, NODE_NO_DEADLINE), ND_OK);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next_life),
		cmocka_unit_test(test_out_of_reach),
		cmocka_unit_test(test_tombstone),
		cmocka_unit_test(test_lapses),
		cmocka_unit_test(test_leader_owns),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_cancel_until_delivered),
		cmocka_unit_test(test_room_for_cancels),
		cmocka_unit_test(test_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
