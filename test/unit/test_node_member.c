/*
 * test_node_member.c: members come and go, over leader changes; joins; tokens; ids are never given twice.
 */
#include "node_kit.h"

/* Ticks until every running node sees `id` in this role in every group (-1: not at all). */
static bool reaches(Kit *k, NdNodeId id, int role, uint32_t ticks)
{
	for (uint32_t t = 0; t < ticks; t++)
	{
		bool		all = true;

		for (NdNodeId n = 1; n <= KIT_NODES; n++)
			for (NdGroupId g = 0; k->nodes[n].node != NULL && g <= k->n_groups; g++)
				if (n != id || role != -1)
					all = all && (int) kit_role(k, n, g, id) == role;
		if (all)
			return true;
		kit_tick(k, 1);
	}
	return false;
}

static void bring_up(Kit *k, NdNodeId id)
{
	NodeMember	seeds[KIT_NODES];
	uint32_t	n_seeds = 0;

	kit_open(k, id);
	assert_int_equal(node_bootstrap_joining(k->nodes[id].store, k->n_groups), ND_OK);
	kit_start(k, id);
	for (NdNodeId n = 1; n <= KIT_NODES; n++)
		if (n != id && k->nodes[n].node != NULL)
			seeds[n_seeds++] = kit_member(n);
	assert_int_equal(node_set_seed_peers(k->nodes[id].node, seeds, n_seeds), ND_OK);
}

/* At the leader of group 0, again while it is busy. */
static NdStatus add(Kit *k, NdNodeId id)
{
	NodeMember	m = kit_member(id);
	NdStatus	status = ND_BUSY;

	for (int t = 0; t < 50 && (status == ND_BUSY || status == ND_NOTLEADER); t++)
	{
		NdNodeId	leader = kit_leader(k, 0);

		assert_int_not_equal(leader, 0);
		status = node_add_member(k->nodes[leader].node, &m);
		kit_tick(k, 1);
	}
	return status;
}

static NdStatus removal(Kit *k, NdNodeId id)
{
	NdStatus	status = ND_BUSY;

	for (int t = 0; t < 50 && (status == ND_BUSY || status == ND_NOTLEADER); t++)
	{
		NdNodeId	leader = kit_leader(k, 0);

		assert_int_not_equal(leader, 0);
		status = node_remove_member(k->nodes[leader].node, id);
		kit_tick(k, 1);
	}
	return status;
}

static Kit *founded(uint32_t n_data_groups)
{
	Kit		   *k = kit_new(n_data_groups);
	NodeMember	self = kit_member(1);

	kit_open(k, 1);
	assert_int_equal(node_bootstrap(k->nodes[1].store, &self, n_data_groups), ND_OK);
	kit_start(k, 1);
	assert_int_equal(kit_leader(k, 0), 1);
	return k;
}

static void test_add_until_voter(void **state)
{
	Kit		   *k = founded(3);

	(void) state;
	for (uint64_t c = 1; c <= 200; c++)
		assert_int_equal(kit_propose(k, 1, 1 + c % 3, c, 0, c, 100), ND_OK);
	kit_tick(k, 5);
	assert_int_equal(add(k, 2), ND_OK);
	bring_up(k, 2);
	assert_true(reaches(k, 2, RAFT_VOTER, 300));
	assert_int_equal(add(k, 3), ND_OK);
	assert_int_equal(add(k, 3), ND_OK);	/* asked again: fine */
	bring_up(k, 3);
	assert_true(reaches(k, 3, RAFT_VOTER, 300));
	for (uint64_t c = 1; c <= 200; c++)
		assert_int_equal(kit_count(k, 3, 1, c, VERDICT_COMMIT), 1);
	assert_int_equal(kit_propose(k, 3, 1, 1, 0, 10000, 100), ND_OK);
	kit_tick(k, 5);
	assert_int_equal(kit_count(k, 2, 3, 1, VERDICT_COMMIT), 1);
	/* Three voters: one may go. */
	kit_stop(k, 1, true);
	assert_int_not_equal(kit_leader(k, 0), 0);
	assert_int_not_equal(kit_leader(k, 1), 0);
	assert_int_equal(kit_propose(k, 3, 1, 2, 0, 10001, 100), ND_OK);
	kit_tick(k, 5);
	assert_int_equal(kit_count(k, 2, 3, 2, VERDICT_COMMIT), 1);
	kit_assert_same(k);
	kit_free(k);
}

/* The leader of every group goes away in the middle of it: the next ones finish. */
static void test_add_over_leader_change(void **state)
{
	Kit		   *k = kit_cluster(3, 3);
	NdNodeId	leader = kit_leader(k, 0);

	(void) state;
	assert_int_equal(add(k, 4), ND_OK);
	kit_stop(k, leader, true);
	bring_up(k, 4);
	assert_true(reaches(k, 4, RAFT_VOTER, 600));
	kit_start(k, leader);
	assert_true(reaches(k, 4, RAFT_VOTER, 600));
	kit_assert_same(k);
	kit_free(k);
}

/* A node that was away while another joined and took the lead hears of it from the rest. */
static void test_newcomer_leads(void **state)
{
	Kit		   *k = kit_cluster(3, 1);

	(void) state;
	assert_int_not_equal(kit_leader(k, 0), 0);
	kit_stop(k, 1, false);
	assert_int_equal(add(k, 4), ND_OK);
	bring_up(k, 4);
	assert_true(reaches(k, 4, RAFT_VOTER, 600));
	for (int t = 0; t < 20 && kit_leader(k, 0) != 4; t++)
	{
		node_transfer(k->nodes[kit_leader(k, 0)].node, 0, 4);
		kit_tick(k, 3);
	}
	assert_int_equal(kit_leader(k, 0), 4);
	kit_start(k, 1);
	assert_true(reaches(k, 4, RAFT_VOTER, 20 * KIT_ELECTION));
	assert_int_equal(kit_leader(k, 0), 4);
	kit_free(k);
}

static void test_add_refused(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 0);
	NodeMember	m = kit_member(5);
	NodeMember	same_name = kit_member(6);
	NodeMember	same_address = kit_member(6);

	(void) state;
	memcpy(same_name.name, kit_member(1).name, sizeof(same_name.name));
	memcpy(same_address.address, kit_member(1).address, sizeof(same_address.address));
	assert_int_equal(node_add_member(k->nodes[leader % 3 + 1].node, &m), ND_NOTLEADER);
	assert_int_equal(node_add_member(k->nodes[leader].node, &same_name), ND_INVALID);
	assert_int_equal(node_add_member(k->nodes[leader].node, &same_address), ND_INVALID);
	assert_int_equal(add(k, 5), ND_OK);
	m = kit_member(4);		/* below the highest id */
	assert_int_equal(node_add_member(k->nodes[leader].node, &m), ND_INVALID);
	kit_free(k);
}

static void test_remove(void **state)
{
	Kit		   *k = kit_cluster(4, 2);
	NdNodeId	gone = kit_leader(k, 1) % 4 + 1;
	NodeMember	m = kit_member(gone);
	NodeMember	members[KIT_NODES];

	(void) state;
	assert_int_equal(removal(k, gone), ND_OK);
	assert_int_equal(removal(k, gone) == ND_OK || kit_role(k, kit_leader(k, 0), 0, gone) == (RaftRole) -1, 1);
	assert_true(reaches(k, gone, -1, 600));
	kit_tick(k, KIT_ELECTION);
	for (NdNodeId n = 1; n <= 4; n++)
		if (n != gone)
			assert_int_equal(node_members(k->nodes[n].node, members, KIT_NODES), 3);
	/* Its id is used up, also for the same node. */
	assert_int_equal(node_add_member(k->nodes[kit_leader(k, 0)].node, &m), ND_INVALID);
	kit_free(k);
}

/* The highest id goes: the meta record must cover it first, also for leaders that start later. */
static void test_ids_ascend(void **state)
{
	Kit		   *k = kit_cluster(4, 1);
	NdNodeId	leader;
	NodeMember	m = kit_member(4);

	(void) state;
	assert_int_equal(removal(k, 4), ND_OK);
	assert_true(reaches(k, 4, -1, 600));
	kit_stop(k, 4, false);
	for (NdNodeId n = 1; n <= 3; n++)
		kit_stop(k, n, true);
	for (NdNodeId n = 1; n <= 3; n++)
		kit_start(k, n);
	leader = kit_leader(k, 0);
	assert_int_not_equal(leader, 0);
	kit_tick(k, 5);
	assert_int_equal(node_add_member(k->nodes[kit_leader(k, 0)].node, &m), ND_INVALID);
	assert_int_equal(add(k, 5), ND_OK);
	kit_free(k);
}

static void test_remove_the_leader(void **state)
{
	Kit		   *k = kit_cluster(3, 2);
	NdNodeId	leader = kit_leader(k, 0);

	(void) state;
	assert_int_equal(removal(k, leader), ND_OK);
	assert_true(reaches(k, leader, -1, 600));
	kit_stop(k, leader, true);
	for (NdGroupId g = 0; g <= 2; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	kit_free(k);
}

/* A dead member is removed without its help. */
static void test_remove_the_dead(void **state)
{
	Kit		   *k = kit_cluster(3, 1);

	(void) state;
	assert_int_not_equal(kit_leader(k, 0), 0);
	kit_stop(k, 3, true);
	assert_int_not_equal(kit_leader(k, 0), 0);
	assert_int_equal(removal(k, 3), ND_OK);
	assert_true(reaches(k, 3, -1, 600));
	kit_free(k);
}

/*
 * One is dead when another is told to go: the last one could not commit a configuration without both, nor be outvoted, for its log would be the newest. So it
 * stays a voter until the dead one is back, and the group works meanwhile.
 */
static void test_remove_beside_the_dead(void **state)
{
	Kit		   *k = kit_cluster(3, 1);
	NdNodeId	leader = kit_leader(k, 1);
	NdNodeId	dead = kit_leader(k, 0) == leader % 3 + 1 ? (leader + 1) % 3 + 1 : leader % 3 + 1;	/* leads nothing */
	NdNodeId	goes = 6 - leader - dead;

	(void) state;
	kit_stop(k, dead, true);
	kit_tick(k, 2 * KIT_ELECTION);
	assert_int_equal(removal(k, goes), ND_OK);
	kit_tick(k, 10 * KIT_ELECTION);
	for (NdGroupId g = 0; g <= 1; g++)
	{
		assert_int_not_equal(kit_leader(k, g), 0);
		assert_int_equal(kit_role(k, leader, g, goes), RAFT_VOTER);
	}
	leader = kit_leader(k, 1);
	assert_int_equal(kit_propose(k, leader, 1, 1, 0, 1, 100), ND_OK);
	kit_tick(k, 5);
	assert_int_equal(kit_count(k, leader, leader, 1, VERDICT_COMMIT), 1);
	kit_start(k, dead);
	assert_true(reaches(k, goes, -1, 600));
	kit_free(k);
}

static void test_last_voter_stays(void **state)
{
	Kit		   *k = founded(1);

	(void) state;
	assert_int_equal(node_remove_member(k->nodes[1].node, 1), ND_INVALID);
	assert_int_equal(node_remove_member(k->nodes[1].node, 9), ND_NOTFOUND);
	kit_free(k);
}

/* ---- joins ---- */

static WireJoinAnswer *ask(Kit *k, NdNodeId at, const char *token, const char *name, const char *address, uint64_t host)
{
	static WireJoinAnswer answer;
	WireJoinRequest r = {.host_id = host, .format_min = ENTRY_FORMAT, .format_max = ENTRY_FORMAT};
	NdBuf		request;
	NdBuf		reply;
	NdStatus	status = ND_BUSY;

	snprintf(r.token, sizeof(r.token), "%s", token);
	snprintf(r.name, sizeof(r.name), "%s", name);
	snprintf(r.address, sizeof(r.address), "%s", address);
	nd_buf_init(&request);
	nd_buf_init(&reply);
	assert_int_equal(wire_encode_join_request(&r, &request), ND_OK);
	for (int t = 0; t < 100 && status == ND_BUSY; t++)
	{
		status = node_handle_join(k->nodes[at].node, request.data, request.len, &reply);
		kit_tick(k, 1);
	}
	assert_int_equal(status, ND_OK);
	assert_int_equal(wire_decode_join_answer(reply.data, reply.len, &answer), ND_OK);
	nd_buf_free(&request);
	nd_buf_free(&reply);
	return &answer;
}

static void set_token(Kit *k, const char *token)
{
	NdStatus	status = ND_BUSY;

	for (int t = 0; t < 50 && status == ND_BUSY; t++)
	{
		status = node_set_token(k->nodes[kit_leader(k, 0)].node, token, strlen(token));
		kit_tick(k, 1);
	}
	assert_int_equal(status, ND_OK);
}

static void test_join(void **state)
{
	Kit		   *k = founded(2);
	WireJoinAnswer *a;

	(void) state;
	a = ask(k, 1, "secret", "node2", "host2:1", 1002);
	assert_int_equal(a->kind, WIRE_JOIN_REFUSED);	/* no token was ever set */
	set_token(k, "secret");
	assert_int_equal(ask(k, 1, "wrong", "node2", "host2:1", 1002)->kind, WIRE_JOIN_REFUSED);
	a = ask(k, 1, "secret", "node2", "host2:1", 1002);
	assert_int_equal(a->kind, WIRE_JOIN_ACCEPTED);
	assert_int_equal(a->node, 2);
	assert_int_equal(a->cluster_id, 42);
	assert_int_equal(a->n_data_groups, 2);
	assert_false(a->has_sequencer);
	assert_int_equal(a->certifier_keys_max, 1000);
	assert_int_equal(a->n_members, 2);
	assert_string_equal(a->members[0].address, "host1:1");
	/* Asked again: the same id. Another node under its name, address or system identifier: refused. */
	assert_int_equal(ask(k, 1, "secret", "node2", "host2:1", 1002)->node, 2);
	assert_int_equal(ask(k, 1, "secret", "node2", "host9:1", 1002)->kind, WIRE_JOIN_REFUSED);
	assert_int_equal(ask(k, 1, "secret", "node2", "host2:1", 1009)->kind, WIRE_JOIN_REFUSED);
	assert_int_equal(ask(k, 1, "secret", "node9", "host2:1", 1009)->kind, WIRE_JOIN_REFUSED);
	assert_int_equal(ask(k, 1, "secret", "node9", "host9:1", 1002)->kind, WIRE_JOIN_REFUSED);
	bring_up(k, 2);
	assert_true(reaches(k, 2, RAFT_VOTER, 300));
	/* Who has voted or acknowledged and asks again has lost its log. */
	a = ask(k, kit_leader(k, 0), "secret", "node2", "host2:1", 1002);
	assert_int_equal(a->kind, WIRE_JOIN_REFUSED);
	assert_non_null(strstr(a->text, "nodedb.remove_node(2)"));
	/* One that does not lead names the leader. */
	a = ask(k, kit_leader(k, 0) == 1 ? 2 : 1, "secret", "node3", "host3:1", 1003);
	assert_int_equal(a->kind, WIRE_JOIN_ELSEWHERE);
	assert_string_equal(a->leader_address, kit_member(kit_leader(k, 0)).address);
	/* The token survives its leader. */
	kit_stop(k, 1, true);
	kit_start(k, 1);
	kit_tick(k, 2 * KIT_ELECTION);
	a = ask(k, kit_leader(k, 0), "secret", "node3", "host3:1", 1003);
	assert_int_equal(a->kind, WIRE_JOIN_ACCEPTED);
	assert_int_equal(a->node, 3);
	kit_free(k);
}

/* One that was founded with a sequencer group: a joiner hears of it, makes its own, and gets its log. */
static void test_join_with_sequencer(void **state)
{
	Kit		   *k = kit_new(2);
	NodeMember	self = kit_member(1);
	WireJoinAnswer *a;

	(void) state;
	kit_open(k, 1);
	assert_int_equal(node_bootstrap(k->nodes[1].store, &self, 2), ND_OK);
	assert_int_equal(node_bootstrap_sequencer(k->nodes[1].store, &self), ND_OK);
	kit_start(k, 1);
	assert_int_equal(kit_leader(k, ND_GROUP_SEQUENCER), 1);
	set_token(k, "secret");
	a = ask(k, 1, "secret", "node2", "host2:1", 1002);
	assert_int_equal(a->kind, WIRE_JOIN_ACCEPTED);
	assert_int_equal(a->n_data_groups, 2);
	assert_true(a->has_sequencer);
	kit_open(k, 2);
	assert_int_equal(node_bootstrap_joining(k->nodes[2].store, 2), ND_OK);
	assert_int_equal(node_bootstrap_sequencer(k->nodes[2].store, NULL), ND_OK);
	kit_start(k, 2);
	assert_int_equal(node_set_seed_peers(k->nodes[2].node, a->members, a->n_members), ND_OK);
	for (int t = 0; t < 300 && kit_role(k, 1, ND_GROUP_SEQUENCER, 2) != RAFT_VOTER; t++)
		kit_tick(k, 1);
	assert_int_equal(kit_role(k, 1, ND_GROUP_SEQUENCER, 2), RAFT_VOTER);
	assert_true(reaches(k, 2, RAFT_VOTER, 300));
	kit_free(k);
}

static void test_join_garbage(void **state)
{
	Kit		   *k = founded(1);
	NdBuf		reply;

	(void) state;
	nd_buf_init(&reply);
	assert_int_equal(node_handle_join(k->nodes[1].node, (const uint8_t *) "\377\377junk", 6, &reply), ND_OK);
	assert_int_equal(node_handle_join(k->nodes[1].node, NULL, 0, &reply), ND_OK);
	nd_buf_free(&reply);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add_until_voter),
		cmocka_unit_test(test_add_over_leader_change),
		cmocka_unit_test(test_newcomer_leads),
		cmocka_unit_test(test_add_refused),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_ids_ascend),
		cmocka_unit_test(test_remove_the_leader),
		cmocka_unit_test(test_remove_the_dead),
		cmocka_unit_test(test_remove_beside_the_dead),
		cmocka_unit_test(test_last_voter_stays),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_join_with_sequencer),
		cmocka_unit_test(test_join_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
