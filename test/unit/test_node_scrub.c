/*
 * test_node_scrub.c: the driver reads its log again at the pace it was given; damage stops the node with a word about where, and only when something needed is
 * lost.
 */
#include "node_kit.h"

static void flip(KitNode *h, uint64_t segment, uint64_t offset)
{
	char		path[128];

	snprintf(path, sizeof(path), "log/%016llx.seg", (unsigned long long) segment);
	assert_true(memvfs_flip(h->disk, path, offset, 1));
}

static StoreStatus log_of(Kit *k, NdNodeId id)
{
	StoreStatus s;

	store_status(k->nodes[id].store, &s);
	return s;
}

static Kit *cluster(uint64_t rate)
{
	Kit		   *k = kit_cluster(3, 1);

	for (NdNodeId id = 1; id <= 3; id++)
		node_set_scrub_rate(k->nodes[id].node, rate);
	assert_true(kit_leader(k, 1) != 0);
	for (uint64_t i = 1; i <= 20; i++)
	{
		assert_int_equal(kit_propose(k, 1, 1, i, 0, i, NODE_NO_DEADLINE), ND_OK);
		kit_tick(k, 1);
	}
	return k;
}

static void test_pace(void **state)
{
	Kit		   *k = cluster(0);
	uint64_t	before;
	uint64_t	read;

	(void) state;
	kit_tick(k, 200);
	assert_int_equal(log_of(k, 1).scrub_bytes, 0);
	node_set_scrub_rate(k->nodes[1].node, 8192);
	kit_tick(k, 1);
	before = log_of(k, 1).scrub_bytes;
	kit_tick(k, 10000 / k->config.tick_ms);
	read = log_of(k, 1).scrub_bytes - before;
	/* a log as short as this one is read to its end with less than a step each time */
	assert_true(read > 0 && read <= 10 * 8192 + 8192);
	assert_true(log_of(k, 1).scrub_rounds > 0);
	kit_free(k);
}

static void test_damage_stops_the_node(void **state)
{
	Kit		   *k = cluster(1 << 20);
	StorePosition at;
	uint64_t	term;
	char		where[64];
	NdStatus	status;

	(void) state;
	kit_tick(k, 100);
	assert_false(node_failed(k->nodes[2].node, NULL));
	assert_int_equal(node_entry_position(k->nodes[2].node, 1, 8, &at, &term), ND_OK);
	flip(&k->nodes[2], at.segment, at.offset + at.len - 1);
	kit_tick(k, 400);
	assert_true(node_failed(k->nodes[2].node, &status));
	assert_int_equal(status, ND_DAMAGED);
	snprintf(where, sizeof(where), "log/%016llx.seg: damaged batch at offset", (unsigned long long) at.segment);
	assert_non_null(strstr(k->nodes[2].alarm, where));
	/* the others go on */
	assert_int_equal(kit_propose(k, 1, 1, 21, 0, 21, NODE_NO_DEADLINE), ND_OK);
	kit_tick(k, 100);
	assert_int_equal(kit_count(k, 3, 1, 21, 0), 1);
	kit_free(k);
}

/* A node that reads a damaged entry for a follower stops as a whole, not only that group. */
static void test_read_of_damage_stops_the_node(void **state)
{
	Kit		   *k = cluster(0);
	NdNodeId	leader;
	StorePosition at;
	uint64_t	term;
	NdStatus	status;

	(void) state;
	kit_stop(k, 3, false);
	assert_true(kit_leader(k, 1) != 0);
	for (uint64_t i = 21; i <= 30; i++)
	{
		assert_int_equal(kit_propose(k, 1, 1, i, 0, i, NODE_NO_DEADLINE), ND_OK);
		kit_tick(k, 2);
	}
	/* nothing is cached after a start */
	for (NdNodeId id = 1; id <= 2; id++)
	{
		kit_stop(k, id, false);
		kit_start(k, id);
		assert_true(kit_leader(k, 1) != 0);
	}
	leader = kit_leader(k, 1);
	assert_int_equal(node_entry_position(k->nodes[leader].node, 1, 25, &at, &term), ND_OK);
	flip(&k->nodes[leader], at.segment, at.offset + at.len - 1);
	kit_start(k, 3);
	kit_tick(k, 100);
	assert_true(node_failed(k->nodes[leader].node, &status));
	assert_int_equal(status, ND_DAMAGED);
	assert_non_null(strstr(k->nodes[leader].alarm, "damaged record at offset"));
	assert_true(log_of(k, 3).damages == 0);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_damage_stops_the_node),
		cmocka_unit_test(test_read_of_damage_stops_the_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
