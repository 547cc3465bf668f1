/*
 * test_node_groups.c: many groups: idle ones cost nothing, the groups of a node that dies are spread over the others by few elections and few flushes, and
 * a node that comes back gets its share, gently.
 */
#include "count_kit.h"
#include "node_kit.h"

#define MANY 300
#define SLEEP 20

/* ---- helpers ---- */

/* A cluster as configured in k->config, which begins anew. */
static void restart_all(Kit *k)
{
	kit_settle(k);
	for (NdNodeId id = 1; id <= 3; id++)
		kit_stop(k, id, false);
	for (NdNodeId id = 1; id <= 3; id++)
		kit_start(k, id);
	for (NdGroupId g = 0; g <= k->n_groups; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
}

static uint32_t led_by(Kit *k, NdNodeId id)
{
	uint32_t	n = 0;

	for (NdGroupId g = 0; k->nodes[id].node != NULL && g <= k->n_groups; g++)
		n += raft_is_leader(node_raft(k->nodes[id].node, g));
	return n;
}

static void all_led_by(Kit *k, NdNodeId id)
{
	for (int round = 0; led_by(k, id) <= k->n_groups && round < 20; round++)
	{
		for (NdGroupId g = 0; g <= k->n_groups; g++)
			for (NdNodeId from = 1; from <= 3; from++)
				if (from != id && raft_is_leader(node_raft(k->nodes[from].node, g)))
					assert_int_equal(node_transfer(k->nodes[from].node, g, id), ND_OK);
		kit_tick(k, 5);
	}
	assert_int_equal(led_by(k, id), k->n_groups + 1);
	kit_tick(k, KIT_ELECTION);
}

static uint64_t terms(Kit *k, NdNodeId as_seen_by)
{
	uint64_t	sum = 0;

	for (NdGroupId g = 0; g <= k->n_groups; g++)
		sum += kit_status(k, as_seen_by, g)->raft.term;
	return sum;
}

/* ---- tests ---- */

static void test_idle_groups_cost_nothing(void **state)
{
	size_t		with[2];

	(void) state;
	count_install();
	for (int i = 0; i < 2; i++)
	{
		Kit		   *k = kit_cluster(3, i == 0 ? 10 : 60);

		k->config.sleep_after_ticks = SLEEP;
		restart_all(k);
		kit_tick(k, 6 * SLEEP);
		for (NdNodeId id = 1; id <= 3; id++)
			assert_int_equal(node_active_groups(k->nodes[id].node), 0);
		with[i] = count_bytes();
		assert_int_equal(kit_propose(k, 2, 7, 1, 0, 1, 100), ND_OK);
		kit_tick(k, 2);
		for (NdNodeId id = 1; id <= 3; id++)
		{
			assert_int_equal(node_active_groups(k->nodes[id].node), 1);
			assert_int_equal(kit_count(k, id, 2, 1, VERDICT_COMMIT), 1);
		}
		kit_tick(k, 6 * SLEEP);
		for (NdNodeId id = 1; id <= 3; id++)
			assert_int_equal(node_active_groups(k->nodes[id].node), 0);
		kit_free(k);
	}
	assert_int_equal(count_bytes(), 0);
	nd_set_allocator(NULL);
	/* A group of three costs some kilobytes on each node: room for 63 members would be 60. */
	assert_in_range((with[1] - with[0]) / 50 / 3, 1, 12000);
}

static void test_a_dead_nodes_groups_are_spread(void **state)
{
	Kit		   *k = kit_cluster(3, MANY);
	uint64_t	before;
	uint64_t	flushes[4];

	(void) state;
	k->config.fixed_leaders = true;
	restart_all(k);
	all_led_by(k, 1);
	before = terms(k, 2);
	for (NdNodeId id = 2; id <= 3; id++)
		flushes[id] = memvfs_count(k->nodes[id].disk, MEMVFS_SYNC);
	kit_stop(k, 1, true);
	/* Every group's first candidate asks at the next tick, and nobody else before it has won. */
	kit_tick(k, 3);
	assert_int_equal(led_by(k, 2) + led_by(k, 3), MANY + 1);
	for (NdNodeId id = 2; id <= 3; id++)
	{
		assert_true(led_by(k, id) >= MANY / 3);
		/* A vote and an entry of every group, in a handful of flushes. */
		assert_true(memvfs_count(k->nodes[id].disk, MEMVFS_SYNC) - flushes[id] <= 10);
	}
	assert_int_equal(terms(k, 2) - before, MANY + 1);	/* one election each */
	kit_free(k);
}

static void test_balance(void **state)
{
	Kit		   *k = kit_cluster(3, 29);
	uint32_t	before;

	(void) state;
	restart_all(k);
	all_led_by(k, 1);
	before = led_by(k, 1);
	for (int t = 0; t < 30; t++)
	{
		kit_tick(k, 2 * KIT_ELECTION + 1);
		assert_true(led_by(k, 1) + 1 >= before);	/* one at a time */
		assert_int_equal(led_by(k, 1) + led_by(k, 2) + led_by(k, 3), 30);
		before = led_by(k, 1);
	}
	assert_in_range(led_by(k, 1), 5, 11);
	/* It is over: nothing moves any more. */
	before = (uint32_t) terms(k, 1);
	kit_tick(k, 20 * KIT_ELECTION);
	assert_int_equal(terms(k, 1), before);
	/* A node that was away: its share comes back, but not before it has been there for a while. */
	kit_stop(k, 2, false);
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(led_by(k, 1) + led_by(k, 3), 30);
	kit_start(k, 2);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(led_by(k, 2), 0);
	kit_tick(k, 40 * KIT_ELECTION);
	assert_true(led_by(k, 2) >= 3);
	kit_free(k);
}

static void test_balance_leaves_alone(void **state)
{
	(void) state;
	/* One data group: both groups on one node are no burden. */
	for (NdNodeId id = 1; id <= 3; id++)
	{
		Kit		   *k = kit_cluster(3, 1);
		uint64_t	before;

		restart_all(k);
		all_led_by(k, id);
		before = terms(k, id);
		kit_tick(k, 20 * KIT_ELECTION);
		assert_int_equal(terms(k, id), before);
		kit_free(k);
	}
	/* Switched off. */
	{
		Kit		   *k = kit_cluster(3, 29);

		k->config.fixed_leaders = true;
		restart_all(k);
		all_led_by(k, 1);
		kit_tick(k, 20 * KIT_ELECTION);
		assert_int_equal(led_by(k, 1), 30);
		kit_free(k);
	}
}

/* A node that lags gets nothing: leadership goes only to who has the log. */
static void test_balance_needs_the_log(void **state)
{
	Kit		   *k = kit_cluster(3, 29);

	(void) state;
	restart_all(k);
	all_led_by(k, 1);
	memvfs_set_manual(k->nodes[2].disk, true);
	memvfs_set_manual(k->nodes[3].disk, false);
	for (NdGroupId g = 1; g <= 29; g++)
		for (uint64_t c = 1; c <= 70; c++)
			assert_int_equal(kit_propose(k, 1, g, c, 0, c, 1000), ND_OK);
	kit_tick(k, 30 * KIT_ELECTION);
	assert_int_equal(led_by(k, 2), 0);
	assert_true(led_by(k, 3) > 3);
	memvfs_complete(k->nodes[2].disk);
	memvfs_set_manual(k->nodes[2].disk, false);
	kit_tick(k, 30 * KIT_ELECTION);
	assert_true(led_by(k, 2) > 0);
	kit_free(k);
}

/* A host with room for one entry at a time: no group has to wait until another has nothing left. */
static void test_little_room(void **state)
{
	Kit		   *k = kit_cluster(1, 3);
	KitNode    *n = &k->nodes[1];
	uint32_t	seen;

	(void) state;
	for (NdGroupId g = 1; g <= 3; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	kit_settle(k);
	n->busy = true;
	seen = n->n_seen;
	for (NdGroupId g = 1; g <= 3; g++)
		for (uint64_t c = 1; c <= 5; c++)
			assert_int_equal(kit_propose(k, 1, g, 10 * g + c, 0, c, 1000), ND_OK);
	kit_settle(k);
	for (uint32_t i = 1; i <= 15; i++)
	{
		n->room = 1;
		n->busy = false;
		kit_settle(k);
		assert_int_equal(n->n_seen, seen + i);
		/* three in a row are three groups' */
		if (i % 3 == 0)
			assert_int_equal(1 << n->seen[seen + i - 3].group | 1 << n->seen[seen + i - 2].group | 1 << n->seen[seen + i - 1].group, 14);
	}
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_groups_cost_nothing),
		cmocka_unit_test(test_a_dead_nodes_groups_are_spread),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_balance_leaves_alone),
		cmocka_unit_test(test_balance_needs_the_log),
		cmocka_unit_test(test_little_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
