/*
 * test_node_nomem.c: every allocation in a small life of three nodes fails once: proposals, reads, a new member and a restart come to their end all the same, no
 * group stops, and all nodes deliver the same.
 */
#include "node_kit.h"
#include "nomem_kit.h"

#define ALL 3

static uint64_t counter;

/* ND_OK in the end; meanwhile time passes. */
#define EVENTUALLY(k, call) \
	do \
	{ \
		int			tries = 0; \
		\
		while ((call) != ND_OK) \
		{ \
			assert_true(tries++ < 10 * KIT_ELECTION); \
			kit_tick(k, 1); \
		} \
	} while (0)

static void proposed_everywhere(Kit *k, uint32_t n_nodes)
{
	for (NdNodeId id = 1; id <= n_nodes; id++)
	{
		uint64_t	mine = ++counter;

		EVENTUALLY(k, kit_propose(k, id, 1, mine, 0, 100 + mine, NODE_NO_DEADLINE));
		for (int t = 0; kit_count(k, id, id, mine, VERDICT_NONE) == 0; t++)
		{
			assert_true(t < 20 * KIT_ELECTION);
			kit_tick(k, 1);
		}
	}
}

static void read_everywhere(Kit *k, uint32_t n_nodes)
{
	for (NdNodeId id = 1; id <= n_nodes; id++)
	{
		uint32_t	reads = k->nodes[id].reads;

		EVENTUALLY(k, node_read(k->nodes[id].node, 1, ++counter, 20 * KIT_ELECTION));
		for (int t = 0; k->nodes[id].reads == reads; t++)
		{
			assert_true(t < 30 * KIT_ELECTION);
			kit_tick(k, 1);
		}
		assert_int_equal(k->nodes[id].read_status, ND_OK);
	}
}

static NdStatus ask_to_join(Kit *k, const NdBuf *request, WireJoinAnswer *a)
{
	NdNodeId	leader = kit_leader(k, ND_GROUP_META);
	NdBuf		answer;
	NdStatus	status;

	nd_buf_init(&answer);
	status = node_handle_join(k->nodes[leader].node, request->data, request->len, &answer);
	if (status == ND_OK)
	{
		nomem_pause(true);
		assert_int_equal(wire_decode_join_answer(answer.data, answer.len, a), ND_OK);
		nomem_pause(false);
		status = a->kind == WIRE_JOIN_ACCEPTED ? ND_OK : ND_BUSY;
		/* a refusal would be for good */
		assert_int_not_equal(a->kind, WIRE_JOIN_REFUSED);
	}
	else
		assert_int_equal(status, ND_BUSY);
	nd_buf_free(&answer);
	return status;
}

static void join(Kit *k)
{
	static WireJoinAnswer a;
	WireJoinRequest r = {.token = "secret", .name = "node4", .address = "host4:1", .host_id = 1004, .format_min = 1, .format_max = ENTRY_FORMAT};
	NdBuf		request;

	nomem_pause(true);
	nd_buf_init(&request);
	assert_int_equal(wire_encode_join_request(&r, &request), ND_OK);
	nomem_pause(false);
	EVENTUALLY(k, node_set_token(k->nodes[kit_leader(k, ND_GROUP_META)].node, "secret", 6));
	EVENTUALLY(k, ask_to_join(k, &request, &a));
	assert_int_equal(a.node, 4);
	nd_buf_free(&request);
}

static void life(void *arg)
{
	Kit		   *k = kit_cluster(ALL, 1);

	(void) arg;
	counter = 0;
	proposed_everywhere(k, ALL);
	read_everywhere(k, ALL);
	join(k);
	kit_stop(k, 2, true);
	kit_start(k, 2);
	proposed_everywhere(k, ALL);
	for (NdNodeId id = 1; id <= ALL; id++)
	{
		assert_false(node_failed(k->nodes[id].node, NULL));
		for (NdGroupId g = 0; g < 2; g++)
			assert_null(kit_status(k, id, g)->frozen);
	}
	kit_assert_same(k);
	kit_free(k);
}

static void test_every_allocation_fails(void **state)
{
	(void) state;
	kit_segment_bytes = 64 << 10;	/* disks that are made in no time */
	assert_true(nomem_each(life, NULL, 1) > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_allocation_fails),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
