/*
 * test_node_grow.c: data groups are added to nodes that run: by whom, with which members and limits, over crashes, for nodes that are away, join or leave; and what
 * a transaction over a new group waits for.
 */
#include "node_kit.h"
#include "nomem_kit.h"

#define NO NODE_NO_DEADLINE

static uint64_t counter;

static Kit *ready(uint32_t n_nodes)
{
	Kit		   *k = kit_sequencer_cluster(n_nodes, 2, NULL);

	for (NdGroupId g = 0; g <= 2; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	assert_int_not_equal(kit_leader(k, ND_GROUP_SEQUENCER), 0);
	/* the first meta record, and what all have said of their room */
	kit_tick(k, 3 * KIT_ELECTION);
	return k;
}

/* Asked at this node, until it is done or refused. */
static NdStatus grow(Kit *k, NdNodeId at, uint32_t n_data_groups)
{
	NodeGrowth	growth = {.n_data_groups = n_data_groups};
	NdStatus	status = ND_BUSY;

	for (int t = 0; status == ND_BUSY && t < 20 * KIT_ELECTION; t++)
	{
		status = node_add_groups(k->nodes[at].node, &growth);
		if (status == ND_BUSY)
			kit_tick(k, 1);
	}
	return status;
}

static bool all_have(Kit *k, uint32_t n_data_groups)
{
	for (NdNodeId id = 1; id <= KIT_NODES; id++)
		if (k->nodes[id].node != NULL && node_data_groups(k->nodes[id].node) != n_data_groups)
			return false;
	return true;
}

static void assert_all_have(Kit *k, uint32_t n_data_groups)
{
	for (int t = 0; t < 20 * KIT_ELECTION && !all_have(k, n_data_groups); t++)
		kit_tick(k, 1);
	assert_true(all_have(k, n_data_groups));
	for (NdGroupId g = 0; g <= n_data_groups; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
}

/* From every node that runs, over groups a and b: it commits on all, by one call. */
static void assert_works(Kit *k, NdGroupId a, NdGroupId b)
{
	for (NdNodeId from = 1; from <= KIT_NODES; from++)
	{
		uint32_t	parts;

		if (k->nodes[from].node == NULL)
			continue;
		counter++;
		assert_int_equal(kit_propose_several(k, from, counter, 0, 1000 + counter, NO, a, b), ND_OK);
		kit_tick(k, 4 * KIT_ELECTION);
		for (NdNodeId at = 1; at <= KIT_NODES; at++)
			if (k->nodes[at].node != NULL)
			{
				assert_int_equal(kit_outcomes(k, at, from, counter, VERDICT_COMMIT, &parts), 1);
				assert_int_equal(parts, 2);
			}
	}
	kit_assert_same(k);
}

static void from_any_node(void **state)
{
	(void) state;
	for (NdNodeId at = 1; at <= 3; at++)
	{
		Kit		   *k = ready(3);

		assert_int_equal(grow(k, at, 5), ND_OK);
		assert_all_have(k, 5);
		for (NdNodeId id = 1; id <= 3; id++)
			for (NdNodeId of = 1; of <= 3; of++)
				assert_int_equal(kit_role(k, id, 5, of), RAFT_VOTER);
		assert_works(k, 1, 5);
		assert_works(k, 4, 5);
		/* again, less, and more */
		assert_int_equal(grow(k, at, 5), ND_OK);
		assert_int_equal(grow(k, at, 1), ND_OK);
		assert_true(all_have(k, 5));
		assert_int_equal(grow(k, 1 + at % 3, 7), ND_OK);
		assert_all_have(k, 7);
		assert_works(k, 2, 7);
		/* and at the next start they are there */
		for (NdNodeId id = 1; id <= 3; id++)
			kit_stop(k, id, true);
		for (NdNodeId id = 1; id <= 3; id++)
			kit_start(k, id);
		assert_all_have(k, 7);
		assert_works(k, 6, 7);
		kit_free(k);
	}
}

static void refusals_change_nothing(void **state)
{
	Kit		   *k = kit_cluster(3, 2);
	NodeGrowth	growth = {.n_data_groups = 4};

	(void) state;
	assert_int_not_equal(kit_leader(k, 0), 0);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(grow(k, 1, 4), ND_NOTFOUND);
	kit_free(k);

	k = ready(3);
	assert_int_equal(grow(k, 1, ENTRY_GROUPS_MAX + 1), ND_INVALID);
	/* node 3 has room for three */
	kit_stop(k, 3, false);
	k->config.groups_max = 3;
	kit_start(k, 3);
	kit_settle(k);
	/* what it said in its life before is void */
	growth = (NodeGrowth) {.n_data_groups = 4};
	assert_int_equal(node_add_groups(k->nodes[1].node, &growth), ND_BUSY);
	assert_int_equal(growth.node, 3);
	assert_false(growth.sent);
	kit_tick(k, 3 * KIT_ELECTION);
	for (NdNodeId at = 1; at <= 3; at++)
	{
		growth = (NodeGrowth) {.n_data_groups = 4};
		assert_int_equal(node_add_groups(k->nodes[at].node, &growth), ND_TOOBIG);
		assert_int_equal(growth.node, 3);
		assert_int_equal(growth.room, 3);
		assert_false(growth.sent);
	}
	kit_tick(k, 3 * KIT_ELECTION);
	assert_true(all_have(k, 2));
	assert_int_equal(grow(k, 1, 3), ND_OK);
	assert_all_have(k, 3);
	kit_free(k);
}

/* Who has not been heard since this node's start may have no room, or be of an old version. */
static void who_is_away_is_waited_for(void **state)
{
	Kit		   *k = ready(3);
	NodeGrowth	growth = {.n_data_groups = 4};

	(void) state;
	kit_stop(k, 3, false);
	kit_stop(k, 1, false);
	kit_start(k, 1);
	kit_tick(k, 6 * KIT_ELECTION);
	for (int t = 0; t < 6 * KIT_ELECTION; t++)
	{
		assert_int_equal(node_add_groups(k->nodes[1].node, &growth), ND_BUSY);
		kit_tick(k, 1);
	}
	assert_int_equal(growth.node, 3);
	assert_int_equal(growth.room, 0);
	assert_false(growth.sent);
	assert_true(all_have(k, 2));
	kit_start(k, 3);
	assert_int_equal(grow(k, 1, 4), ND_OK);
	/* one that has said it and went is not */
	kit_stop(k, 3, false);
	assert_int_equal(grow(k, 1, 5), ND_OK);
	assert_works(k, 1, 5);
	kit_start(k, 3);
	assert_all_have(k, 5);
	assert_works(k, 1, 5);
	/* no majority: nobody is asked */
	kit_stop(k, 2, false);
	kit_stop(k, 3, false);
	kit_tick(k, 6 * KIT_ELECTION);
	growth = (NodeGrowth) {.n_data_groups = 6};
	for (int t = 0; t < 6 * KIT_ELECTION; t++)
	{
		assert_int_equal(node_add_groups(k->nodes[1].node, &growth), ND_BUSY);
		kit_tick(k, 1);
	}
	assert_false(growth.sent);
	assert_true(all_have(k, 5));
	kit_free(k);
}

/* It has less room when the record comes than it said: it is behind, says so, and follows when it has more. */
static void without_room_it_is_behind(void **state)
{
	Kit		   *k = ready(3);
	uint32_t	parts;

	(void) state;
	kit_stop(k, 3, false);
	assert_int_equal(grow(k, 1, 4), ND_OK);
	k->config.groups_max = 3;
	kit_start(k, 3);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(node_data_groups(k->nodes[3].node), 2);
	assert_non_null(kit_status(k, 3, ND_GROUP_META)->alarm);
	assert_non_null(strstr(k->nodes[3].alarm, "room for 3"));
	assert_int_equal(node_add_groups(k->nodes[3].node, &(NodeGrowth) {.n_data_groups = 4}), ND_TOOBIG);
	assert_int_equal(kit_propose_several(k, 1, 1, 0, 5, NO, 1, 4), ND_OK);
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(kit_outcomes(k, 1, 1, 1, VERDICT_COMMIT, &parts), 1);
	assert_int_equal(kit_outcomes(k, 3, 1, 1, VERDICT_COMMIT, &parts), 0);
	kit_stop(k, 3, true);
	k->config.groups_max = 0;
	kit_start(k, 3);
	assert_all_have(k, 4);
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(kit_outcomes(k, 3, 1, 1, VERDICT_COMMIT, &parts), 1);
	assert_int_equal(parts, 2);
	assert_works(k, 1, 4);
	kit_free(k);
}

/* A node has the OUTCOME in group 1 and has not made group 3 yet: its tables must not show the one part alone. */
static void parts_wait_for_a_group_that_is_not_made(void **state)
{
	Kit		   *k = ready(3);
	NdNodeId	leader = kit_leader(k, ND_GROUP_META);
	NdNodeId	late = leader % 3 + 1;
	uint32_t	parts;

	(void) state;
	/* the sequencer's leader is another one */
	if (late == kit_leader(k, ND_GROUP_SEQUENCER))
		late = late % 3 + 1;
	/* group 0 stands still there at an entry before the record */
	k->nodes[late].busy_meta = true;
	for (int t = 0; node_set_token(k->nodes[leader].node, "secret", 6) != ND_OK; t++)
	{
		assert_true(t < 5 * KIT_ELECTION);
		kit_tick(k, 1);
	}
	assert_int_equal(grow(k, leader, 3), ND_OK);
	assert_int_equal(node_data_groups(k->nodes[late].node), 2);
	assert_int_equal(kit_propose_several(k, leader, 1, 0, 5, NO, 1, 3), ND_OK);
	assert_int_equal(kit_propose_several(k, leader, 2, 0, 6, NO, 1, 2), ND_OK);
	kit_tick(k, 4 * KIT_ELECTION);
	assert_int_equal(kit_outcomes(k, leader, leader, 1, VERDICT_COMMIT, &parts), 1);
	assert_int_equal(parts, 2);
	assert_int_equal(kit_outcomes(k, late, leader, 1, VERDICT_COMMIT, &parts), 0);
	assert_int_equal(kit_outcomes(k, late, leader, 2, VERDICT_COMMIT, &parts), 0);
	k->nodes[late].busy_meta = false;
	kit_tick(k, 6 * KIT_ELECTION);
	for (uint64_t c = 1; c <= 2; c++)
	{
		assert_int_equal(kit_outcomes(k, late, leader, c, VERDICT_COMMIT, &parts), 1);
		assert_int_equal(parts, 2);
	}
	kit_assert_same(k);
	kit_free(k);
}

/* The sequencer's leader has not made the group either: who asks is not refused for good. */
static void a_sequencer_that_is_late(void **state)
{
	Kit		   *k = ready(3);
	NdNodeId	leader = kit_leader(k, ND_GROUP_META);
	NdNodeId	late = kit_leader(k, ND_GROUP_SEQUENCER);
	NdNodeId	origin;
	uint32_t	parts;

	(void) state;
	if (late == leader)
	{
		late = leader % 3 + 1;
		assert_int_equal(node_transfer(k->nodes[leader].node, ND_GROUP_SEQUENCER, late), ND_OK);
		kit_tick(k, KIT_ELECTION);
		assert_int_equal(kit_leader(k, ND_GROUP_SEQUENCER), late);
	}
	origin = 6 - leader - late;
	k->nodes[late].busy_meta = true;
	for (int t = 0; node_set_token(k->nodes[leader].node, "secret", 6) != ND_OK && t < 5 * KIT_ELECTION; t++)
		kit_tick(k, 1);
	assert_int_equal(grow(k, origin, 3), ND_OK);
	assert_int_equal(node_data_groups(k->nodes[late].node), 2);
	assert_int_equal(kit_propose_several(k, origin, 1, 0, 5, NO, 1, 3), ND_OK);
	kit_tick(k, 4 * KIT_ELECTION);
	assert_int_equal(k->nodes[origin].failures, 0);
	k->nodes[late].busy_meta = false;
	kit_tick(k, 6 * KIT_ELECTION);
	for (NdNodeId at = 1; at <= 3; at++)
	{
		assert_int_equal(kit_outcomes(k, at, origin, 1, VERDICT_COMMIT, &parts), 1);
		assert_int_equal(parts, 2);
	}
	kit_free(k);
}

/* After any number of steps one node crashes, or all; every time the groups come, and with what they had acknowledged. */
static void crashes_at_every_step(void **state)
{
	(void) state;
	for (uint32_t when = 0; when < 14; when++)
		for (NdNodeId gone = 0; gone <= 3; gone++)
		{
			Kit		   *k = ready(3);
			NdNodeId	leader = kit_leader(k, ND_GROUP_META);
			NodeGrowth	growth = {.n_data_groups = 4};

			assert_int_equal(node_add_groups(k->nodes[leader].node, &growth), ND_BUSY);
			assert_true(growth.sent);
			/* some steps, without settling */
			for (uint32_t step = 0; step < when; step++)
				for (NdNodeId id = 1; id <= 3; id++)
				{
					k->nodes[id].transport->ops->poll(k->nodes[id].transport);
					node_work(k->nodes[id].node);
				}
			for (NdNodeId id = 1; id <= 3; id++)
				if (gone == id || gone == 0)
					kit_stop(k, id, true);
			if (gone > 0)
				kit_tick(k, 4 * KIT_ELECTION);
			for (NdNodeId id = 1; id <= 3; id++)
				if (gone == id || gone == 0)
					kit_start(k, id);
			kit_tick(k, 4 * KIT_ELECTION);
			assert_int_equal(grow(k, 1 + leader % 3, 4), ND_OK);
			assert_all_have(k, 4);
			assert_works(k, 1, 4);
			kit_free(k);
		}
}

/* What a new group is certified by comes from the record, on whatever node and at whatever start its first checkpoint is made. */
static void limits_are_the_clusters(void **state)
{
	Kit		   *k = ready(3);
	RaftConfiguration *c = calloc(1, sizeof(*c));
	NdBuf		checkpoints[4];

	(void) state;
	for (NdNodeId id = 1; id <= 3; id++)
	{
		kit_stop(k, id, false);
		k->config.certifier = (CertifierLimits) {.keys_max = 10 * id, .ids_max = 10 * id};
		if (id == 3)
		{
			/* as a crash between the two leaves it */
			kit_open(k, 3);
			c->n = 3;
			for (NdNodeId m = 1; m <= 3; m++)
				c->members[m - 1] = (RaftMember) {.node = m, .role = RAFT_VOTER};
			assert_int_equal(store_create_group(k->nodes[3].store, 3, c), ND_OK);
		}
		kit_start(k, id);
	}
	assert_int_equal(grow(k, 1, 3), ND_OK);
	assert_all_have(k, 3);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		uint64_t	index;

		nd_buf_init(&checkpoints[id]);
		assert_int_equal(store_read_checkpoint(k->nodes[id].store, 3, &index, &checkpoints[id]), ND_OK);
		assert_int_equal(index, 0);
		assert_int_equal(checkpoints[id].len, checkpoints[1].len);
		assert_memory_equal(checkpoints[id].data, checkpoints[1].data, checkpoints[1].len);
	}
	for (NdNodeId id = 1; id <= 3; id++)
		nd_buf_free(&checkpoints[id]);
	free(c);
	assert_works(k, 1, 3);
	kit_free(k);
}

/* A member that leaves is no voter of a group that is made meanwhile, which could not live without it once it is gone. */
static void who_leaves_is_left_out(void **state)
{
	Kit		   *k = ready(2);
	NdNodeId	leader = kit_leader(k, ND_GROUP_META);
	NdNodeId	leaving = 3 - leader;
	NodeGrowth	growth = {.n_data_groups = 4};

	(void) state;
	assert_int_equal(node_remove_member(k->nodes[leader].node, leaving), ND_OK);
	/* above the mark in the log, below the removal */
	while (!growth.sent)
	{
		assert_int_equal(node_add_groups(k->nodes[leader].node, &growth), ND_BUSY);
		for (NdNodeId id = 1; id <= 2 && !growth.sent; id++)
		{
			k->nodes[id].transport->ops->poll(k->nodes[id].transport);
			node_work(k->nodes[id].node);
		}
	}
	kit_tick(k, 8 * KIT_ELECTION);
	kit_stop(k, leaving, true);
	kit_tick(k, 8 * KIT_ELECTION);
	assert_int_equal(node_members(k->nodes[leader].node, NULL, 0), 1);
	assert_all_have(k, 4);
	for (NdGroupId g = 0; g <= 4; g++)
		assert_int_equal((int) kit_role(k, leader, g, leaving), -1);
	assert_works(k, 1, 4);
	kit_free(k);
}

/* Behind one that was made for all: it is in no group before it is out of group 0. */
static void who_leaves_afterwards(void **state)
{
	Kit		   *k = ready(3);
	NdNodeId	leader = kit_leader(k, ND_GROUP_META);
	NdNodeId	leaving = leader % 3 + 1;
	NodeGrowth	growth = {.n_data_groups = 6};

	(void) state;
	assert_int_equal(node_add_groups(k->nodes[leader].node, &growth), ND_BUSY);
	assert_true(growth.sent);
	kit_stop(k, leaving, true);	/* it never makes them */
	assert_int_equal(node_remove_member(k->nodes[leader].node, leaving), ND_OK);
	for (int t = 0; t < 30 * KIT_ELECTION && node_members(k->nodes[leader].node, NULL, 0) == 3; t++)
	{
		bool		gone = true;

		kit_tick(k, 1);
		for (NdGroupId g = 1; g <= 6 && node_members(k->nodes[leader].node, NULL, 0) == 2; g++)
			gone &= node_raft(k->nodes[leader].node, g) != NULL && (int) kit_role(k, leader, g, leaving) == -1;
		assert_true(gone);
	}
	assert_int_equal(node_members(k->nodes[leader].node, NULL, 0), 2);
	assert_all_have(k, 6);
	assert_works(k, 1, 6);
	kit_free(k);
}

/* A node joins, with the number of groups that the join answer said, while more are added. */
static void while_one_joins(void **state)
{
	Kit		   *k = ready(3);
	NodeMember	m = kit_member(4);
	NodeMember	seeds[3] = {kit_member(1), kit_member(2), kit_member(3)};

	(void) state;
	for (int t = 0; t < 50 && node_add_member(k->nodes[kit_leader(k, ND_GROUP_META)].node, &m) != ND_OK; t++)
		kit_tick(k, 1);
	kit_tick(k, 2);
	kit_open(k, 4);
	assert_int_equal(node_bootstrap_joining(k->nodes[4].store, 2), ND_OK);
	assert_int_equal(node_bootstrap_sequencer(k->nodes[4].store, NULL), ND_OK);
	kit_start(k, 4);
	assert_int_equal(node_set_seed_peers(k->nodes[4].node, seeds, 3), ND_OK);
	/* it has said nothing yet */
	assert_int_equal(grow(k, 1, 5), ND_OK);
	assert_all_have(k, 5);
	for (int t = 0; t < 20 * KIT_ELECTION && kit_role(k, 1, 5, 4) != RAFT_VOTER; t++)
		kit_tick(k, 1);
	for (NdGroupId g = 0; g <= 5; g++)
		assert_int_equal(kit_role(k, 1, g, 4), RAFT_VOTER);
	assert_works(k, 2, 5);
	kit_free(k);
}

/* An entry of an earlier life that a crash took the group from does not commit once the next life has spoken. */
static void an_earlier_life_is_fenced(void **state)
{
	Kit		   *k;
	uint32_t	fences = 0;

	(void) state;
	k = ready(3);
	k->config.orphan_ticks = 1000;
	kit_stop(k, 2, false);
	kit_start(k, 2);
	kit_tick(k, 3 * KIT_ELECTION);
	assert_int_equal(grow(k, 1, 3), ND_OK);
	kit_tick(k, 3 * KIT_ELECTION);
	for (uint32_t i = 0; i < k->nodes[1].n_seen; i++)
		fences += k->nodes[1].seen[i].group == 3 && k->nodes[1].seen[i].entry_kind == ENTRY_CANCEL && k->nodes[1].seen[i].txn.node == 2 &&
			k->nodes[1].seen[i].txn.incarnation == 2;
	assert_int_equal(fences, 1);
	kit_free(k);
}

static void garbage_is_no_wish(void **state)
{
	Kit		   *k = ready(3);
	NdBuf		frame;

	(void) state;
	nd_buf_init(&frame);
	for (uint32_t len = 0; len <= 7; len++)
		wire_put_proposal(&frame, &(WireProposal) {.group = ND_GROUP_META, .entry = (const uint8_t *) "\1\2\377\377\377\377\0", .len = len});
	for (NdNodeId id = 1; id <= 3; id++)
		node_frame(k->nodes[id].node, id % 3 + 1, frame.data, frame.len);
	nd_buf_free(&frame);
	kit_tick(k, KIT_ELECTION);
	assert_true(all_have(k, 2));
	kit_free(k);
}

/* A record of group 0 by a newer version: the group stops where it stands, says so, and nothing is written above it. The others go on. */
static void a_newer_record_stops_group_0(void **state)
{
	static const uint8_t newer[] = {9, 1, 'w', 'h', 'o', ' ', 'k', 'n', 'o', 'w', 's'};
	Kit		   *k = ready(3);
	uint64_t	last = 0;

	(void) state;
	for (NdNodeId id = 1; id <= 3; id++)
		kit_stop(k, id, false);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		Store	   *store;
		RaftEntry	e = {.kind = RAFT_ENTRY_DATA, .payload = nd_blob_new(newer, sizeof(newer))};
		uint64_t	flush;
		uint64_t	durable = 0;

		kit_open(k, id);
		store = k->nodes[id].store;
		last = store_last_index(store, ND_GROUP_META) + 1;
		e.index = last;
		e.term = store_term(store, ND_GROUP_META, last - 1);
		assert_int_equal(store_append(store, ND_GROUP_META, &e, 1), ND_OK);
		nd_blob_unref(e.payload);
		assert_int_equal(store_flush_start(store, &flush), ND_OK);
		while (durable < flush)
			assert_int_equal(store_flush_poll(store, &durable), ND_OK);
		kit_start(k, id);
	}
	kit_tick(k, 6 * KIT_ELECTION);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_non_null(kit_status(k, id, ND_GROUP_META)->frozen);
		assert_non_null(strstr(kit_status(k, id, ND_GROUP_META)->frozen, "newer version: install the version"));
		assert_int_equal(kit_status(k, id, ND_GROUP_META)->delivered, last - 1);
		assert_int_not_equal(node_add_groups(k->nodes[id].node, &(NodeGrowth) {.n_data_groups = 3}), ND_OK);
		assert_int_not_equal(node_set_token(k->nodes[id].node, "secret", 6), ND_OK);
		assert_int_not_equal(kit_leader(k, 1), 0);
	}
	assert_works(k, 1, 2);
	kit_free(k);
}

static void life(void *arg)
{
	Kit		   *k = arg;

	for (int t = 0; t < 20 * KIT_ELECTION && !all_have(k, 4); t++)
	{
		NodeGrowth	growth = {.n_data_groups = 4};

		(void) node_add_groups(k->nodes[1].node, &growth);
		kit_tick(k, 1);
	}
	assert_true(all_have(k, 4));
}

/* Every allocation on the way fails once. */
static void without_memory(void **state)
{
	bool		failed = true;

	(void) state;
	for (uint64_t at = 1; failed; at++)
	{
		Kit		   *k = ready(3);

		nomem_fail(at, 1);
		life(k);
		failed = nomem_failed();
		nomem_fail(0, 0);
		for (NdNodeId id = 1; id <= 3; id++)
			for (NdGroupId g = 0; g <= 4; g++)
				assert_null(kit_status(k, id, g)->frozen);
		assert_works(k, 1, 4);
		kit_free(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_any_node),
		cmocka_unit_test(refusals_change_nothing),
		cmocka_unit_test(who_is_away_is_waited_for),
		cmocka_unit_test(without_room_it_is_behind),
		cmocka_unit_test(parts_wait_for_a_group_that_is_not_made),
		cmocka_unit_test(a_sequencer_that_is_late),
		cmocka_unit_test(crashes_at_every_step),
		cmocka_unit_test(limits_are_the_clusters),
		cmocka_unit_test(who_leaves_is_left_out),
		cmocka_unit_test(who_leaves_afterwards),
		cmocka_unit_test(while_one_joins),
		cmocka_unit_test(an_earlier_life_is_fenced),
		cmocka_unit_test(garbage_is_no_wish),
		cmocka_unit_test(a_newer_record_stops_group_0),
		cmocka_unit_test(without_memory),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
