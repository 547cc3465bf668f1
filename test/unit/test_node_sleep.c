/*
 * test_node_sleep.c: idle groups sleep and wake: by a proposal, a read, a peer that goes or falls silent.
 */
#include "node_kit.h"

#define SLEEP 20

static Kit *sleepy(void)
{
	Kit		   *k = kit_cluster(3, 4);

	kit_settle(k);
	for (NdNodeId id = 1; id <= 3; id++)
		kit_stop(k, id, false);
	k->config.sleep_after_ticks = SLEEP;
	for (NdNodeId id = 1; id <= 3; id++)
		kit_start(k, id);
	for (NdGroupId g = 0; g <= 4; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	return k;
}

static uint32_t asleep(Kit *k)
{
	uint32_t	n = 0;

	for (NdNodeId id = 1; id <= 3; id++)
		for (NdGroupId g = 0; k->nodes[id].node != NULL && g <= 4; g++)
			n += kit_status(k, id, g)->asleep;
	return n;
}

static void test_all_sleep_and_stay(void **state)
{
	Kit		   *k = sleepy();
	uint64_t	terms[5];

	(void) state;
	kit_tick(k, 4 * SLEEP);
	assert_int_equal(asleep(k), 15);
	for (NdGroupId g = 0; g <= 4; g++)
		terms[g] = kit_status(k, 1, g)->raft.term;
	kit_tick(k, 20 * KIT_ELECTION);
	assert_int_equal(asleep(k), 15);
	for (NdGroupId g = 0; g <= 4; g++)
		assert_int_equal(kit_status(k, 1, g)->raft.term, terms[g]);
	kit_free(k);
}

static void test_wake_for_work(void **state)
{
	Kit		   *k = sleepy();

	(void) state;
	kit_tick(k, 4 * SLEEP);
	assert_int_equal(asleep(k), 15);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(kit_propose(k, id, 1, 1, 0, id, 50), ND_OK);
		assert_int_equal(node_read(k->nodes[id].node, 2, 9, 50), ND_OK);
	}
	kit_tick(k, 3);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(kit_count(k, id, 1, 1, VERDICT_COMMIT), 1);
		assert_int_equal(kit_count(k, id, 3, 1, VERDICT_COMMIT), 1);
		assert_int_equal(k->nodes[id].read_status, ND_OK);
		assert_int_equal(k->nodes[id].reads, 1);
	}
	kit_tick(k, 4 * SLEEP);
	assert_int_equal(asleep(k), 15);
	kit_assert_same(k);
	kit_free(k);
}

static void test_dead_leader_is_replaced(void **state)
{
	Kit		   *k = sleepy();
	NdNodeId	leader = kit_leader(k, 1);

	(void) state;
	kit_tick(k, 4 * SLEEP);
	kit_stop(k, leader, true);
	for (NdGroupId g = 0; g <= 4; g++)
		assert_int_not_equal(kit_leader(k, g), leader);
	/* One member is dead: nobody waits for it awake. What it has missed it gets when it comes. */
	assert_int_equal(kit_propose(k, leader % 3 + 1, 2, 1, 0, 1, 100), ND_OK);
	kit_tick(k, 4 * SLEEP);
	assert_int_equal(asleep(k), 10);
	kit_start(k, leader);
	kit_tick(k, 2);
	assert_int_equal(asleep(k), 0);
	kit_tick(k, 6 * SLEEP);
	assert_int_equal(asleep(k), 15);
	assert_int_equal(kit_count(k, leader, leader % 3 + 1, 1, VERDICT_COMMIT), 1);
	kit_free(k);
}

/* A restarted leader has forgotten that it led; nobody's timer runs for it. Frames from it go on, so only its new incarnation tells. */
static void test_restarted_leader(void **state)
{
	Kit		   *k = sleepy();
	NdNodeId	leader = kit_leader(k, 1);

	(void) state;
	kit_tick(k, 4 * SLEEP);
	kit_stop(k, leader, true);
	kit_start(k, leader);
	kit_settle(k);
	for (NdGroupId g = 0; g <= 4; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	assert_int_equal(kit_propose(k, leader, 1, 1, 0, 1, 100), ND_OK);
	kit_tick(k, 5 * KIT_ELECTION);
	assert_int_equal(kit_count(k, leader, leader, 1, VERDICT_COMMIT), 1);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_sleep_and_stay),
		cmocka_unit_test(test_wake_for_work),
		cmocka_unit_test(test_dead_leader_is_replaced),
		cmocka_unit_test(test_restarted_leader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
