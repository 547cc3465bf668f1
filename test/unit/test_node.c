/*
 * test_node.c: proposals, verdicts, reads and restarts of one, three and five nodes.
 */
#include "node_kit.h"

static void test_one_node_commits(void **state)
{
	Kit		   *k = kit_new(2);
	NodeMember	self = kit_member(1);

	(void) state;
	kit_open(k, 1);
	assert_int_equal(node_bootstrap(k->nodes[1].store, &self, 2), ND_OK);
	kit_start(k, 1);
	assert_int_equal(kit_leader(k, 0), 1);
	assert_int_equal(kit_leader(k, 1), 1);
	assert_int_equal(kit_leader(k, 2), 1);
	assert_int_equal(kit_propose(k, 1, 1, 1, 0, 7, 100), ND_OK);
	assert_int_equal(kit_propose(k, 1, 2, 1, 0, 7, 100), ND_OK);
	assert_int_equal(kit_propose(k, 1, 1, 2, 0, 7, 100), ND_OK);	/* the same key, the same base: must abort */
	kit_settle(k);
	assert_int_equal(kit_count(k, 1, 1, 1, VERDICT_COMMIT), 2);
	assert_int_equal(kit_count(k, 1, 1, 2, VERDICT_ABORT_CONFLICT), 1);
	assert_int_equal(k->nodes[1].failures, 0);
	kit_free(k);
}

static void test_three_nodes_agree(void **state)
{
	Kit		   *k = kit_cluster(3, 2);
	NdNodeId	leader = kit_leader(k, 1);

	(void) state;
	assert_int_not_equal(leader, 0);
	assert_int_not_equal(kit_leader(k, 2), 0);
	for (NdNodeId id = 1; id <= 3; id++)
		for (uint64_t c = 1; c <= 20; c++)
			assert_int_equal(kit_propose(k, id, 1 + c % 2, c, 0, c % 10, 200), ND_OK);
	kit_tick(k, 3);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(k->nodes[id].failures, 0);
		for (uint64_t c = 1; c <= 20; c++)
			assert_int_equal(kit_count(k, id, id, c, VERDICT_NONE), 1);
		assert_int_equal(node_certifier_checksum(k->nodes[id].node, 1), node_certifier_checksum(k->nodes[1].node, 1));
		assert_int_equal(kit_status(k, id, 1)->checksum_index, 16);
		assert_null(kit_status(k, id, 1)->alarm);
	}
	kit_assert_same(k);
	kit_free(k);
}

static void test_calls_out_of_contract(void **state)
{
	Kit		   *k = kit_cluster(1, 1);
	NdBlob	   *junk = nd_blob_new("\001junk", 5);
	NdBlob	   *big;

	(void) state;
	assert_int_equal(kit_leader(k, 1), 1);
	assert_int_equal(node_propose(k->nodes[1].node, 1, junk, 10), ND_INVALID);
	assert_int_equal(kit_propose(k, 1, 0, 1, 0, 1, 10), ND_NOTFOUND);
	assert_int_equal(kit_propose(k, 1, 9, 1, 0, 1, 10), ND_NOTFOUND);
	assert_int_equal(kit_propose(k, 1, 1, 1, 0, 1, 10), ND_OK);
	assert_int_equal(kit_propose(k, 1, 1, 1, 0, 1, 10), ND_INVALID);	/* the same id twice */
	big = nd_blob_new(NULL, WIRE_ENTRY_BYTES_MAX + 1);
	assert_int_equal(node_propose(k->nodes[1].node, 1, big, 10), ND_TOOBIG);
	nd_blob_unref(big);
	nd_blob_unref(junk);
	kit_settle(k);
	assert_int_equal(kit_count(k, 1, 1, 1, VERDICT_COMMIT), 1);
	kit_free(k);
}

/* A leader vanishes with a forwarded proposal: it is proposed again to the next one and takes effect once. */
static void test_leader_loss(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	origin = leader % 3 + 1;
	NdNodeId	next;

	(void) state;
	assert_int_not_equal(leader, 0);
	/* The frame leaves, the leader never reads it. */
	assert_int_equal(kit_propose(k, origin, 1, 1, 0, 1, 1000), ND_OK);
	node_work(k->nodes[origin].node);
	kit_stop(k, leader, true);
	next = kit_leader(k, 1);
	assert_int_not_equal(next, 0);
	assert_int_not_equal(next, leader);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(kit_count(k, origin, origin, 1, VERDICT_COMMIT), 1);
	assert_int_equal(k->nodes[origin].failures, 0);
	kit_start(k, leader);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(kit_count(k, leader, origin, 1, VERDICT_COMMIT), 1);
	kit_assert_same(k);
	kit_free(k);
}

/* The old leader has the entry in its log, committed or not, and the origin asks the new one too: one effect. */
static void test_proposed_twice_takes_effect_once(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	origin = leader % 3 + 1;
	NdNodeId	third = 6 - leader - origin;

	(void) state;
	/* The leader hears the origin; nobody hears the leader but the third, which so gets the entry. */
	assert_int_equal(kit_propose(k, origin, 1, 1, 0, 1, 1000), ND_OK);
	node_work(k->nodes[origin].node);
	k->nodes[leader].transport->ops->poll(k->nodes[leader].transport);
	node_work(k->nodes[leader].node);
	k->nodes[third].transport->ops->poll(k->nodes[third].transport);
	node_work(k->nodes[third].node);
	kit_stop(k, leader, true);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_tick(k, 3 * KIT_ELECTION);
	kit_start(k, leader);
	kit_tick(k, 3 * KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(kit_count(k, id, origin, 1, VERDICT_COMMIT), 1);
		assert_int_equal(kit_count(k, id, origin, 1, VERDICT_NONE), 1 + kit_count(k, id, origin, 1, VERDICT_DUPLICATE));
	}
	assert_int_equal(k->nodes[origin].failures, 0);
	kit_assert_same(k);
	kit_free(k);
}

static void test_not_sent(void **state)
{
	Kit		   *k = kit_cluster(3, 1);

	(void) state;
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_stop(k, 2, false);
	kit_stop(k, 3, false);
	kit_tick(k, 5 * KIT_ELECTION);	/* no leader any more */
	assert_int_equal(raft_leader(node_raft(k->nodes[1].node, 1)), 0);
	assert_int_equal(kit_propose(k, 1, 1, 1, 0, 1, 5), ND_OK);
	kit_tick(k, 4);
	assert_int_equal(k->nodes[1].failures, 0);
	kit_tick(k, 1);
	assert_int_equal(k->nodes[1].failures, 1);
	assert_int_equal(k->nodes[1].outcome, NODE_NOT_SENT);
	assert_int_equal(k->nodes[1].reason, ND_NOLEADER);
	kit_start(k, 2);
	kit_start(k, 3);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(kit_count(k, 1, 1, 1, VERDICT_NONE), 0);
	assert_int_equal(k->nodes[1].failures, 1);
	kit_free(k);
}

/* In an isolated leader's own log: it may commit later, so nobody may say that it has no effect. */
static void test_unknown(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);

	(void) state;
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != leader)
			assert_int_equal(loopback_cut(k->hub, leader, id, true), ND_OK);
	assert_int_equal(kit_propose(k, leader, 1, 1, 0, 1, 3), ND_OK);
	kit_tick(k, 3);
	assert_int_equal(k->nodes[leader].failures, 1);
	assert_int_equal(k->nodes[leader].outcome, NODE_UNKNOWN);
	assert_int_equal(k->nodes[leader].reason, ND_NOQUORUM);
	kit_free(k);
}

/* Whoever waits for a majority can be told of a conflict that is decided already; of one group, and of several. */
static void test_lost(void **state)
{
	Kit		   *k = kit_sequencer_cluster(3, 2, NULL);
	NdNodeId	leader = kit_leader(k, 2);
	Node	   *n = k->nodes[leader].node;
	Verdict		v;
	NdGroupId	by;

	(void) state;
	assert_int_not_equal(leader, 0);
	assert_int_equal(kit_propose(k, leader, 2, 1, 0, 7, 100), ND_OK);
	kit_tick(k, KIT_ELECTION);
	assert_int_equal(kit_count(k, leader, leader, 1, VERDICT_COMMIT), 1);
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != leader)
			assert_int_equal(loopback_cut(k->hub, leader, id, true), ND_OK);
	assert_int_equal(kit_propose(k, leader, 2, 2, 0, 7, 100), ND_OK);
	assert_int_equal(kit_propose(k, leader, 2, 3, 0, 8, 100), ND_OK);
	kit_tick(k, 2);
	assert_true(node_is_lost(n, 2, (TxnId) {leader, 1, 2}, ENTRY_TXN, &v, &by));
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.by_txn.counter, 1);
	assert_int_equal(by, 2);
	assert_false(node_is_lost(n, 2, (TxnId) {leader, 1, 3}, ENTRY_TXN, &v, &by));
	assert_false(node_is_lost(n, 2, (TxnId) {leader, 1, 1}, ENTRY_TXN, &v, &by));	/* has its answer */
	assert_int_equal(kit_propose_several(k, leader, 4, 0, 7, 100, 1, 2), ND_OK);
	assert_int_equal(kit_propose_several(k, leader, 5, 0, 9, 100, 1, 2), ND_OK);
	kit_tick(k, 1);
	assert_true(node_is_lost(n, ND_GROUP_SEQUENCER, (TxnId) {leader, 1, 4}, ENTRY_MARKER, &v, &by));
	assert_int_equal(by, 2);
	assert_false(node_is_lost(n, ND_GROUP_SEQUENCER, (TxnId) {leader, 1, 5}, ENTRY_MARKER, &v, &by));
	node_forget(n, 2, (TxnId) {leader, 1, 2}, ENTRY_TXN);
	assert_false(node_is_lost(n, 2, (TxnId) {leader, 1, 2}, ENTRY_TXN, &v, &by));
	kit_free(k);
}

static void test_forget(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	TxnId		txn = {1, 1, 1};

	(void) state;
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_stop(k, 2, false);
	kit_stop(k, 3, false);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(kit_propose(k, 1, 1, 1, 0, 1, 5), ND_OK);
	node_forget(k->nodes[1].node, 1, txn, ENTRY_TXN);
	kit_tick(k, 10);
	assert_int_equal(k->nodes[1].failures, 0);
	kit_free(k);
}

/* deliver() has no room: the entry comes again with the verdict it got (judged again it would be its own duplicate), and nothing overtakes it. */
static void test_busy(void **state)
{
	Kit		   *k = kit_cluster(3, 1);

	(void) state;
	assert_int_not_equal(kit_leader(k, 1), 0);
	k->nodes[2].busy = true;
	for (uint64_t c = 1; c <= 5; c++)
		assert_int_equal(kit_propose(k, 2, 1, c, 0, 1, 50), ND_OK);
	kit_tick(k, 5);
	assert_int_equal(kit_count(k, 2, 2, 1, VERDICT_NONE), 0);
	/* Certain to be delivered: the deadline passes without an answer of its own for the one that was offered. */
	kit_tick(k, 60);
	k->nodes[2].busy = false;
	kit_settle(k);
	assert_int_equal(kit_count(k, 2, 2, 1, VERDICT_COMMIT), 1);
	for (uint64_t c = 2; c <= 5; c++)
		assert_int_equal(kit_count(k, 2, 2, c, VERDICT_ABORT_CONFLICT), 1);
	kit_assert_same(k);
	kit_free(k);
}

static void test_reads(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);

	(void) state;
	assert_int_equal(kit_propose(k, leader, 1, 1, 0, 1, 100), ND_OK);
	kit_tick(k, 2);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(node_read(k->nodes[id].node, 1, 70 + id, 50), ND_OK);
		assert_int_equal(node_read(k->nodes[id].node, 1, 70 + id, 50), ND_OK);
	}
	kit_tick(k, 3);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(k->nodes[id].reads, 2);
		assert_int_equal(k->nodes[id].read_status, ND_OK);
		assert_int_equal(k->nodes[id].read_token, 70 + id);
		assert_true(k->nodes[id].read_index >= kit_status(k, leader, 1)->delivered);
	}
	/* Without a quorum there is no answer but the deadline's, whatever the leader believes. */
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != leader)
			kit_stop(k, id, false);
	assert_int_equal(node_read(k->nodes[leader].node, 1, 5, 30), ND_OK);
	kit_tick(k, 29);
	assert_int_equal(k->nodes[leader].reads, 2);
	kit_tick(k, 1);
	assert_int_equal(k->nodes[leader].reads, 3);
	assert_int_equal(k->nodes[leader].read_status, ND_NOLEADER);
	kit_free(k);
}

/* A read asked while its round's answers are lost is asked again. */
/* Who asks hears of an entry that all connected voters show; who lags or is gone is told apart. */
static void test_shown_by_all(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	asker = leader % 3 + 1;
	NdNodeId	third = asker % 3 + 1;
	uint64_t	index;

	(void) state;
	assert_int_equal(kit_propose(k, asker, 1, 1, 0, 1, 100), ND_OK);
	kit_settle(k);
	index = kit_status(k, asker, 1)->delivered;
	assert_true(node_shown_by_all(k->nodes[asker].node, 1) < index);
	node_ask_shown(k->nodes[asker].node, 1, index);
	kit_settle(k);
	/* Asked: they know the commit now, no tick went by. */
	assert_true(kit_status(k, third, 1)->delivered >= index);
	assert_true(node_shown(k->nodes[leader].node, 1, index - 1));
	assert_false(node_shown(k->nodes[leader].node, 1, index));
	assert_true(node_shown(k->nodes[third].node, 1, index - 1));
	kit_settle(k);
	assert_true(node_shown_by_all(k->nodes[asker].node, 1) < index);
	assert_true(node_shown_by(k->nodes[asker].node, 1, leader) >= index);
	assert_true(node_shown_by(k->nodes[asker].node, 1, third) < index);
	assert_false(node_shown(k->nodes[third].node, 1, index));
	kit_settle(k);
	assert_true(node_shown_by_all(k->nodes[asker].node, 1) >= index);
	assert_false(node_shown(k->nodes[third].node, 1, index));
	/* Who shows it already answers at once; who is gone is not waited for. */
	node_ask_shown(k->nodes[leader].node, 1, index);
	assert_false(node_shown(k->nodes[asker].node, 1, index));
	kit_settle(k);
	assert_true(node_shown_by_all(k->nodes[leader].node, 1) >= index);
	kit_stop(k, third, false);
	kit_stop(k, asker, false);
	kit_tick(k, 2);
	assert_true(node_shown_by_all(k->nodes[leader].node, 1) == UINT64_MAX);
	kit_free(k);
}

/* Who waits for a large transaction hears of each step, whoever asked when, and at last that all are there. */
static void test_prepared_by_all(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	asker = leader % 3 + 1;
	NdNodeId	third = asker % 3 + 1;
	uint64_t	index;

	(void) state;
	assert_int_equal(kit_propose(k, asker, 1, 1, 0, 1, 100), ND_OK);
	assert_int_equal(kit_propose(k, asker, 1, 2, 0, 2, 100), ND_OK);
	kit_settle(k);
	index = kit_status(k, asker, 1)->delivered;
	node_prepared(k->nodes[leader].node, 1, index - 1);
	node_ask_prepared(k->nodes[asker].node, 1, index);
	kit_settle(k);
	assert_true(kit_status(k, third, 1)->delivered >= index);
	assert_int_equal(node_prepared_by_all(k->nodes[asker].node, 1), 0);
	node_prepared(k->nodes[third].node, 1, UINT64_MAX);
	kit_settle(k);
	assert_int_equal(node_prepared_by_all(k->nodes[asker].node, 1), index - 2);
	node_prepared(k->nodes[leader].node, 1, index);
	kit_settle(k);
	assert_int_equal(node_prepared_by_all(k->nodes[asker].node, 1), index - 1);
	/* nothing that was told is taken back */
	node_prepared(k->nodes[leader].node, 1, 1);
	/* never above what was delivered */
	node_prepared(k->nodes[leader].node, 1, index + 100);
	kit_settle(k);
	assert_int_equal(node_prepared_by_all(k->nodes[asker].node, 1), index);
	/* Who is there already answers at once; who is gone is not waited for. */
	node_prepared(k->nodes[asker].node, 1, UINT64_MAX);
	node_ask_prepared(k->nodes[leader].node, 1, index);
	kit_settle(k);
	assert_int_equal(node_prepared_by_all(k->nodes[leader].node, 1), index);
	kit_stop(k, third, false);
	kit_stop(k, asker, false);
	kit_tick(k, 2);
	assert_true(node_prepared_by_all(k->nodes[leader].node, 1) == UINT64_MAX);
	kit_free(k);
}

static void test_read_lost(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	reader = leader % 3 + 1;

	(void) state;
	assert_int_equal(loopback_cut(k->hub, leader, reader, true), ND_OK);
	assert_int_equal(node_read(k->nodes[reader].node, 1, 1, 500), ND_OK);
	node_work(k->nodes[reader].node);
	assert_int_equal(loopback_cut(k->hub, leader, reader, false), ND_OK);
	kit_tick(k, 5 * KIT_ELECTION);
	assert_int_equal(k->nodes[reader].reads, 1);
	assert_int_equal(k->nodes[reader].read_status, ND_OK);
	kit_free(k);
}

/* After a restart the same entries come with the same verdicts; what the tables hold already is marked. */
static void test_restart(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	KitSeen    *before;
	uint32_t	n_before;
	uint32_t	compared = 0;

	(void) state;
	for (uint64_t c = 1; c <= 40; c++)
		assert_int_equal(kit_propose(k, leader, 1, c, 0, c % 7, 100), ND_OK);
	kit_tick(k, 5);
	n_before = k->nodes[2].n_seen;
	before = calloc(n_before, sizeof(*before));
	memcpy(before, k->nodes[2].seen, n_before * sizeof(*before));
	kit_stop(k, 2, true);
	k->nodes[2].applied[1] = 20;
	kit_start(k, 2);
	kit_tick(k, 2 * KIT_ELECTION);
	for (uint32_t i = 0; i < n_before; i++)
		for (uint32_t j = 0; j < k->nodes[2].n_seen; j++)
		{
			const KitSeen *s = &k->nodes[2].seen[j];

			if (s->group != 1 || before[i].group != 1 || s->index != before[i].index)
				continue;
			assert_int_equal(s->verdict, before[i].verdict);
			assert_int_equal(s->replayed, s->index <= 20);
			compared++;
		}
	assert_true(compared > 40);
	assert_int_equal(node_certifier_checksum(k->nodes[2].node, 1), node_certifier_checksum(k->nodes[1].node, 1));
	kit_assert_same(k);
	free(before);
	kit_free(k);
}

/* A lone node replays up to its commit hint or its own durable log: all alone, at once. */
static void test_checkpoint_and_truncation(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	uint64_t	first;

	(void) state;
	for (uint64_t c = 1; c <= 100; c++)
		assert_int_equal(kit_propose(k, leader, 1, c, c > 20 ? c - 20 : 0, c, 100), ND_OK);
	kit_tick(k, KIT_ELECTION);
	/* The tables lag: nothing is cut and no checkpoint passes them. */
	for (int round = 0; round < 3; round++)
	{
		for (NdNodeId id = 1; id <= 3; id++)
			node_applied_durable(k->nodes[id].node, 1, 10, 0);
		kit_tick(k, KIT_ELECTION);
	}
	assert_int_equal(store_first_index(k->nodes[leader].store, 1), 1);
	for (uint64_t c = 101; c <= 140; c++)
		assert_int_equal(kit_propose(k, leader, 1, c, c - 20, c, 100), ND_OK);
	kit_tick(k, KIT_ELECTION);
	for (int round = 0; round < 12; round++)
	{
		for (NdNodeId id = 1; id <= 3; id++)
		{
			node_applied_durable(k->nodes[id].node, 1, 90, 0);
			k->nodes[id].applied[1] = 90;
		}
		kit_tick(k, KIT_ELECTION);
	}
	first = store_first_index(k->nodes[leader].store, 1);
	assert_true(first > 1);
	assert_true(first <= 91);
	kit_stop(k, leader, true);
	kit_start(k, leader);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_tick(k, 2 * KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
		assert_int_equal(node_certifier_checksum(k->nodes[id].node, 1), node_certifier_checksum(k->nodes[1].node, 1));
	/* Delivery went on behind the checkpoint: the entries above 90 came again. */
	assert_int_equal(kit_count(k, leader, leader, 139, VERDICT_NONE), 0);	/* of this life: none */
	assert_true(k->nodes[leader].n_seen >= 50);
	kit_assert_same(k);
	kit_free(k);
}

/* A member that does not answer holds the log: there is no other way for it to get the entries. */
static void test_slow_member_holds_the_log(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	slow = leader % 3 + 1;

	(void) state;
	kit_stop(k, slow, false);
	for (uint64_t c = 1; c <= 100; c++)
		assert_int_equal(kit_propose(k, leader, 1, c, c > 20 ? c - 20 : 0, c, 100), ND_OK);
	kit_tick(k, KIT_ELECTION);
	for (int round = 0; round < 5; round++)
	{
		node_applied_durable(k->nodes[leader].node, 1, 100, 0);
		kit_tick(k, KIT_ELECTION);
	}
	assert_true(store_first_index(k->nodes[leader].store, 1) <= 10);
	kit_start(k, slow);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(kit_count(k, slow, leader, 100, VERDICT_COMMIT), 1);
	for (int round = 0; round < 5; round++)
	{
		node_applied_durable(k->nodes[leader].node, 1, 100, 0);
		kit_tick(k, KIT_ELECTION);
	}
	assert_true(store_first_index(k->nodes[leader].store, 1) > 10);
	kit_free(k);
}

static NdStatus nothing_delivered(void *ctx, const NodeDelivery *d)
{
	(void) ctx;
	(void) d;
	return ND_BUSY;
}

static uint64_t one_less(void *ctx, NdGroupId group)
{
	return ((KitNode *) ctx)->applied[group] - 1;
}

/*
 * The tables keep the index of the last transaction that changed them. A checkpoint that stands behind aborted and cancelled ones is not ahead of
 * such tables; one that stands behind a commit which they do not have is.
 */
static void test_checkpoint_behind_the_last_commit(void **state)
{
	Kit		   *k = kit_cluster(1, 1);
	KitNode    *n = &k->nodes[1];
	NodeConfig	config;
	Node	   *refused;
	char		error[256];
	uint64_t	checkpoint = 0;

	(void) state;
	assert_int_equal(kit_leader(k, 1), 1);
	for (uint64_t c = 1; c <= 3; c++)
		assert_int_equal(kit_propose(k, 1, 1, c, 0, c, 100), ND_OK);
	kit_settle(k);
	n->applied[1] = kit_status(k, 1, 1)->delivered;
	for (uint64_t c = 11; c <= 50; c++)
		assert_int_equal(kit_propose(k, 1, 1, c, 0, 1, 100), ND_OK);	/* all conflict with the first */
	kit_settle(k);
	assert_int_equal(kit_count(k, 1, 1, 50, VERDICT_ABORT_CONFLICT), 1);
	assert_true(kit_status(k, 1, 1)->delivered > 32);
	/* Whoever waits for the tables knows that aborts need none: they count as applied. */
	node_applied_durable(n->node, 1, kit_status(k, 1, 1)->delivered, 0);
	kit_tick(k, KIT_ELECTION);
	kit_stop(k, 1, true);

	kit_open(k, 1);
	config = k->config;
	config.self = 1;
	config.incarnation = n->incarnation + 1;
	assert_int_equal(node_create(&config, n->store, &(NodeCallbacks) {.deliver = nothing_delivered, .ctx = n}, one_less, &refused, error, sizeof(error)), ND_DAMAGED);

	kit_start(k, 1);
	checkpoint = kit_status(k, 1, 1)->applied_start;
	assert_true(checkpoint >= 16);
	assert_int_equal(kit_status(k, 1, 1)->applied_durable, checkpoint);
	assert_int_equal(kit_leader(k, 1), 1);
	for (uint32_t i = 0; i < n->n_seen; i++)
		assert_true(n->seen[i].group != 1 || (n->seen[i].index > checkpoint && !n->seen[i].replayed));
	assert_int_equal(kit_propose(k, 1, 1, 1, checkpoint, 1, 100), ND_OK);
	kit_settle(k);
	assert_int_equal(kit_count(k, 1, 1, 1, VERDICT_COMMIT), 1);
	kit_free(k);
}

static void test_failing_disk_stops_the_node(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdStatus	status;

	(void) state;
	memvfs_fail(k->nodes[leader].disk, MEMVFS_SYNC, 0, 1000, ND_IO);
	assert_int_equal(kit_propose(k, leader, 1, 1, 0, 1, 500), ND_OK);
	kit_settle(k);
	assert_true(node_failed(k->nodes[leader].node, &status));
	assert_int_equal(status, ND_IO);
	assert_int_equal(k->nodes[leader].failures, 1);
	assert_int_equal(k->nodes[leader].outcome, NODE_UNKNOWN);
	assert_int_equal(kit_propose(k, leader, 1, 2, 0, 1, 500), ND_IO);
	assert_int_equal(node_read(k->nodes[leader].node, 1, 1, 500), ND_IO);
	kit_tick(k, 3 * KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != leader)
		{
			assert_int_not_equal(raft_leader(node_raft(k->nodes[id].node, 1)), leader);
			assert_int_not_equal(raft_leader(node_raft(k->nodes[id].node, 1)), 0);
		}
	kit_free(k);
}

/* While the disk works nothing that depends on it leaves: a vote is not heard, a commit not delivered. */
static void test_nothing_before_the_disk(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);

	(void) state;
	for (NdNodeId id = 1; id <= 3; id++)
		memvfs_set_manual(k->nodes[id].disk, true);
	assert_int_equal(kit_propose(k, leader, 1, 1, 0, 1, 500), ND_OK);
	kit_settle(k);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		uint64_t	bytes;

		assert_true(memvfs_job(k->nodes[id].disk, &bytes));	/* the followers write before the leader has finished */
		assert_int_equal(kit_count(k, id, leader, 1, VERDICT_NONE), 0);
	}
	/* A quorum without the leader's own disk commits; the leader delivers only what it has itself. */
	for (NdNodeId id = 1; id <= 3; id++)
		if (id != leader)
			memvfs_complete(k->nodes[id].disk);
	kit_settle(k);
	assert_int_equal(kit_count(k, leader, leader, 1, VERDICT_NONE), 0);
	assert_true(kit_status(k, leader, 1)->raft.commit > kit_status(k, leader, 1)->delivered);
	memvfs_complete(k->nodes[leader].disk);
	kit_settle(k);
	assert_int_equal(kit_count(k, leader, leader, 1, VERDICT_COMMIT), 1);
	for (NdNodeId id = 1; id <= 3; id++)
		memvfs_set_manual(k->nodes[id].disk, false);
	kit_free(k);
}

/* A vote that is not on its voter's disk elects nobody. */
static void test_no_vote_before_the_disk(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	candidate = leader % 3 + 1;
	NdNodeId	voter = 6 - leader - candidate;

	(void) state;
	kit_stop(k, leader, false);
	memvfs_set_manual(k->nodes[voter].disk, true);
	for (int t = 0; t < 6 * KIT_ELECTION; t++)
	{
		kit_tick(k, 1);
		assert_false(raft_is_leader(node_raft(k->nodes[candidate].node, 1)));
		assert_false(raft_is_leader(node_raft(k->nodes[voter].node, 1)));
	}
	memvfs_complete(k->nodes[voter].disk);
	memvfs_set_manual(k->nodes[voter].disk, false);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_free(k);
}

/* A killed leader's connections break: the others do not wait for an election timeout. */
static void test_fast_fail_over(void **state)
{
	Kit		   *k = kit_cluster(5, 1);
	NdNodeId	leader = kit_leader(k, 1);
	uint32_t	ticks = 0;
	bool		led = false;

	(void) state;
	kit_stop(k, leader, true);
	for (; !led && ticks < KIT_ELECTION; ticks++)
	{
		kit_tick(k, 1);
		for (NdNodeId id = 1; id <= 5; id++)
			led |= id != leader && raft_is_leader(node_raft(k->nodes[id].node, 1));
	}
	assert_true(led);
	assert_true(ticks <= KIT_ELECTION / 2);
	kit_free(k);
}

static void test_large_entries(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	origin = leader % 3 + 1;

	(void) state;
	for (uint64_t c = 1; c <= 3; c++)
	{
		NdBlob	   *small = kit_entry((TxnId) {origin, 1, c}, 0, c);
		NdBlob	   *blob = nd_blob_new(NULL, 7 << 20);

		memset(blob->data, 'x', blob->len);
		memcpy(blob->data, small->data, small->len);
		assert_int_equal(node_propose(k->nodes[origin].node, 1, blob, 500), ND_OK);
		nd_blob_unref(blob);
		nd_blob_unref(small);
	}
	kit_tick(k, 2 * KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
		for (uint64_t c = 1; c <= 3; c++)
			assert_int_equal(kit_count(k, id, origin, c, VERDICT_COMMIT), 1);
	kit_free(k);
}

static void test_garbage_frames(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdRandom	random;
	uint8_t		junk[200];

	(void) state;
	assert_int_not_equal(kit_leader(k, 1), 0);
	nd_random_seed(&random, 3);
	for (int i = 0; i < 5000; i++)
	{
		size_t		len = nd_random_below(&random, sizeof(junk));

		for (size_t b = 0; b < len; b++)
			junk[b] = (uint8_t) nd_random_next(&random);
		node_frame(k->nodes[1].node, 2, junk, len);
	}
	kit_settle(k);
	assert_int_not_equal(kit_leader(k, 1), 0);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_node_commits),
		cmocka_unit_test(test_three_nodes_agree),
		cmocka_unit_test(test_calls_out_of_contract),
		cmocka_unit_test(test_leader_loss),
		cmocka_unit_test(test_proposed_twice_takes_effect_once),
		cmocka_unit_test(test_not_sent),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_shown_by_all),
		cmocka_unit_test(test_prepared_by_all),
		cmocka_unit_test(test_read_lost),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_checkpoint_and_truncation),
		cmocka_unit_test(test_checkpoint_behind_the_last_commit),
		cmocka_unit_test(test_slow_member_holds_the_log),
		cmocka_unit_test(test_failing_disk_stops_the_node),
		cmocka_unit_test(test_nothing_before_the_disk),
		cmocka_unit_test(test_no_vote_before_the_disk),
		cmocka_unit_test(test_fast_fail_over),
		cmocka_unit_test(test_large_entries),
		cmocka_unit_test(test_garbage_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
