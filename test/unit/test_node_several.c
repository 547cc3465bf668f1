/*
 * test_node_several.c: transactions over several groups through the driver: real Raft groups, stores and certifiers of three nodes.
 */
#include "node_kit.h"
#include "nomem_kit.h"

#define NO NODE_NO_DEADLINE

static NdStatus propose(Kit *k, NdNodeId at, uint64_t counter, uint64_t base, uint64_t key, uint32_t deadline)
{
	return kit_propose_several(k, at, counter, base, key, deadline, 1, 2);
}

static void assert_committed_everywhere(Kit *k, NdNodeId origin, uint64_t counter)
{
	for (NdNodeId at = 1; at <= 3; at++)
	{
		uint32_t	parts;

		if (k->nodes[at].node == NULL)
			continue;
		assert_int_equal(kit_outcomes(k, at, origin, counter, VERDICT_COMMIT, &parts), 1);
		assert_int_equal(parts, 2);
	}
}

static const SeqLimits *sequencer_limits;	/* of the next ready(); NULL: the usual ones */

static Kit *ready(void)
{
	Kit		   *k = kit_sequencer_cluster(3, 2, sequencer_limits);

	for (NdGroupId g = 0; g <= 2; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	assert_int_not_equal(kit_leader(k, ND_GROUP_SEQUENCER), 0);
	return k;
}

static void committed_by_one_call_on_every_node(void **state)
{
	Kit		   *k = ready();
	uint32_t	parts;

	(void) state;
	for (NdNodeId at = 1; at <= 3; at++)
		assert_int_equal(propose(k, at, 1, 0, 100 + at, NO), ND_OK);
	kit_tick(k, 3 * KIT_ELECTION);
	for (NdNodeId at = 1; at <= 3; at++)
		assert_committed_everywhere(k, at, 1);
	/* the second one of two that meet aborts, on every node, in both groups: a base of 0 has not seen the first */
	assert_int_equal(propose(k, 1, 2, 0, 101, NO), ND_OK);
	kit_tick(k, 3 * KIT_ELECTION);
	for (NdNodeId at = 1; at <= 3; at++)
		assert_int_equal(kit_outcomes(k, at, 1, 2, VERDICT_ABORT_ELSEWHERE, &parts), 2);
	/* all is forgotten */
	for (NdNodeId at = 1; at <= 3; at++)
		assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[at].node)), 0);
	kit_assert_same(k);
	kit_free(k);
}

static void leaders_may_change_between_any_two_steps(void **state)
{
	(void) state;
	for (uint32_t when = 0; when < 12; when++)
		for (NdNodeId gone = 1; gone <= 3; gone++)
		{
			Kit		   *k = ready();
			NdNodeId	origin = 1 + gone % 3;

			for (uint64_t c = 1; c <= 5; c++)
				assert_int_equal(propose(k, origin, c, 0, c, NO), ND_OK);
			/* some steps, without settling */
			for (uint32_t step = 0; step < when; step++)
				for (NdNodeId id = 1; id <= 3; id++)
				{
					k->nodes[id].transport->ops->poll(k->nodes[id].transport);
					node_work(k->nodes[id].node);
				}
			kit_stop(k, gone, true);
			kit_tick(k, 12 * KIT_ELECTION);
			for (uint64_t c = 1; c <= 5; c++)
				assert_committed_everywhere(k, origin, c);
			kit_start(k, gone);
			kit_tick(k, 12 * KIT_ELECTION);
			for (uint64_t c = 1; c <= 5; c++)
				assert_committed_everywhere(k, origin, c);
			for (NdNodeId at = 1; at <= 3; at++)
				assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[at].node)), 0);
			kit_free(k);
		}
}

static void lead(Kit *k, NdGroupId group, NdNodeId node)
{
	if (kit_leader(k, group) != node)
		assert_int_equal(node_transfer(k->nodes[kit_leader(k, group)].node, group, node), ND_OK);
	for (int i = 0; i < 3 * KIT_ELECTION && kit_leader(k, group) != node; i++)
		kit_tick(k, 1);
	assert_int_equal(kit_leader(k, group), node);
}

static uint64_t flushes(const Kit *k, NdNodeId at)
{
	StoreStatus status;

	store_status(k->nodes[at].store, &status);
	return status.flushes;
}

static bool step(Kit *k, NdNodeId at)
{
	k->nodes[at].transport->ops->poll(k->nodes[at].transport);
	return node_work(k->nodes[at].node);
}

/* Node 3 gets the MARKER of group 1 from node 1, and then, or never, that of group 2 from node 2. */
static void a_flush_waits_for_the_other_part(void **state)
{
	(void) state;
	for (int comes = 0; comes < 2; comes++)
	{
		Kit		   *k = ready();
		uint64_t	before = 0;

		lead(k, 1, 1);
		lead(k, 2, 2);
		lead(k, ND_GROUP_SEQUENCER, 1);
		for (NdNodeId at = 1; at <= 3; at++)
			node_set_linger(k->nodes[at].node, at == 3);
		assert_int_equal(propose(k, 1, 1, 0, 7, NO), ND_OK);
		for (int i = 0; i < 50 && !node_lingers(k->nodes[3].node); i++)
		{
			before = flushes(k, 3);
			step(k, 1);
			step(k, 3);
		}
		assert_true(node_lingers(k->nodes[3].node));
		for (int i = 0; i < 10; i++)
			step(k, 3);
		assert_int_equal(flushes(k, 3), before);
		if (comes == 0)
			node_set_linger(k->nodes[3].node, false);
		for (int i = 0; i < 50 && flushes(k, 3) == before; i++)
		{
			for (NdNodeId at = 1; at <= 2 && comes == 1; at++)
				step(k, at);
			step(k, 3);
		}
		assert_false(node_lingers(k->nodes[3].node));
		assert_int_equal(flushes(k, 3), before + 1);
		/* it is a hint, nothing depends on it: the host's word ends it wherever it is */
		for (NdNodeId at = 1; at <= 3; at++)
			node_set_linger(k->nodes[at].node, false);
		kit_tick(k, 3 * KIT_ELECTION);
		assert_committed_everywhere(k, 1, 1);
		kit_free(k);
	}
}

static void no_step_waits_for_a_tick(void **state)
{
	Kit		   *k = ready();
	uint32_t	parts;

	(void) state;
	lead(k, 1, 2);
	lead(k, 2, 3);
	lead(k, ND_GROUP_SEQUENCER, 1);
	for (NdNodeId at = 1; at <= 3; at++)
	{
		assert_int_equal(propose(k, at, 1, 0, 100 + at, NO), ND_OK);
		for (int i = 0; i < 5; i++)	/* a frame may take longer than it waits for one */
			kit_settle(k);
		assert_int_equal(kit_outcomes(k, at, at, 1, VERDICT_COMMIT, &parts), 1);
	}
	/* but for the last acknowledgement: nobody waits for that */
	assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[1].node)), 1);
	kit_tick(k, KIT_ELECTION);
	assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[1].node)), 0);
	kit_free(k);
}

/* As many groups as a cluster may have: each is a part, as of a schema change. */
static void over_all_groups(void **state)
{
	Kit		   *k = kit_sequencer_cluster(3, ENTRY_GROUPS_MAX, NULL);
	EntryKey	keys[] = {{0, KEY_REL_ACCESS_EXCLUSIVE}};
	SeqPart		parts[ENTRY_GROUPS_MAX + 1];
	uint32_t	delivered;

	(void) state;
	assert_int_not_equal(kit_leader(k, ND_GROUP_SEQUENCER), 0);
	for (NdNodeId at = 1; at <= 3; at++)
	{
		TxnId		txn = {at, k->nodes[at].incarnation, 1};
		NdBuf		entry;
		NdBuf		buf;
		NdBlob	   *request;

		nd_buf_init(&entry);
		nd_buf_init(&buf);
		keys[0].hash = at;
		assert_int_equal(entry_encode_txn(&entry, 0, txn, 0, keys, 1, 0, NULL, 0, NULL, 0), ND_OK);
		for (uint32_t i = 0; i <= ENTRY_GROUPS_MAX; i++)
			parts[i] = (SeqPart) {i + 1, entry.data, (uint32_t) entry.len};
		assert_int_equal(seq_encode_request(&buf, txn, 0, parts, ENTRY_GROUPS_MAX + 1), ND_INVALID);
		nd_buf_reset(&buf);
		assert_int_equal(seq_encode_request(&buf, txn, 0, parts, ENTRY_GROUPS_MAX), ND_OK);
		request = nd_blob_new(buf.data, (uint32_t) buf.len);
		nd_buf_free(&entry);
		nd_buf_free(&buf);
		assert_int_equal(node_propose_several(k->nodes[at].node, request, NO), ND_OK);
		nd_blob_unref(request);
		kit_tick(k, 2 * KIT_ELECTION);
		for (NdNodeId id = 1; id <= 3; id++)
		{
			assert_int_equal(kit_outcomes(k, id, at, 1, VERDICT_COMMIT, &delivered), 1);
			assert_int_equal(delivered, ENTRY_GROUPS_MAX);
		}
	}
	kit_free(k);
}

static void without_a_sequencer(void **state)
{
	Kit		   *k = kit_cluster(3, 2);

	(void) state;
	assert_int_not_equal(kit_leader(k, 1), 0);
	assert_int_equal(propose(k, 1, 1, 0, 5, NO), ND_NOTFOUND);
	assert_null(node_sequencer(k->nodes[1].node));
	kit_free(k);
}

static void lost_requests_are_told(void **state)
{
	Kit		   *k = ready();
	NdBlob	   *entry = nd_blob_new("\1\7", 2);

	(void) state;
	assert_int_equal(node_propose_several(k->nodes[1].node, entry, NO), ND_INVALID);
	nd_blob_unref(entry);
	entry = nd_blob_new("\1\4\1\0\0\0\0\0\0\0", 10);	/* an ABORT entry is no request */
	assert_int_equal(node_propose_several(k->nodes[1].node, entry, NO), ND_INVALID);
	nd_blob_unref(entry);
	/* nobody leads: never sent */
	kit_stop(k, 2, false);
	kit_stop(k, 3, false);
	kit_tick(k, 4 * KIT_ELECTION);
	assert_int_equal(propose(k, 1, 7, 0, 5, 5), ND_OK);
	assert_int_equal(propose(k, 1, 7, 0, 5, 5), ND_INVALID);	/* its id waits already */
	kit_tick(k, 10);
	assert_int_equal(k->nodes[1].failures, 1);
	assert_int_equal(k->nodes[1].outcome, NODE_NOT_SENT);
	assert_int_equal(k->nodes[1].failed_txn.counter, 7);
	/* forgotten: no callback */
	assert_int_equal(propose(k, 1, 8, 0, 5, 5), ND_OK);
	node_forget(k->nodes[1].node, ND_GROUP_SEQUENCER, (TxnId) {1, k->nodes[1].incarnation, 8}, ENTRY_MARKER);
	kit_tick(k, 10);
	assert_int_equal(k->nodes[1].failures, 1);
	kit_free(k);
}

/* A request for more groups than the sequencer takes, of the leader's own node and of another one. */
static void refused_requests_are_told(void **state)
{
	SeqLimits	limits = SEQ_LIMITS_DEFAULT;
	NdNodeId	leader;
	Kit		   *k;

	(void) state;
	sequencer_limits = &limits;
	limits.request_bytes_max = 10;
	k = ready();
	leader = kit_leader(k, ND_GROUP_SEQUENCER);
	for (NdNodeId at = 1; at <= 3; at++)
	{
		assert_int_equal(propose(k, at, 1, 0, 5, NO), ND_OK);
		kit_settle(k);
		assert_int_equal(k->nodes[at].failures, 1);
		assert_int_equal(k->nodes[at].outcome, at == leader ? NODE_NOT_SENT : NODE_UNKNOWN);
		assert_int_equal(k->nodes[at].reason, at == leader ? ND_BUSY : ND_TOOBIG);
	}
	kit_free(k);
	limits = SEQ_LIMITS_DEFAULT;
	limits.role_requests_max = 0;
	k = ready();
	leader = kit_leader(k, ND_GROUP_SEQUENCER);
	assert_int_equal(propose(k, 1 + leader % 3, 1, 0, 5, NO), ND_OK);
	kit_settle(k);
	assert_int_equal(k->nodes[1 + leader % 3].failures, 1);
	assert_int_equal(k->nodes[1 + leader % 3].reason, ND_BUSY);
	kit_free(k);
	sequencer_limits = NULL;
}

/* Clients may not write the sequencer's word into a group's log. */
static void markers_are_nobodys_proposals(void **state)
{
	static const NdGroupId groups[] = {1, 2};
	Kit		   *k = ready();
	NdBuf		buf;
	NdBlob	   *entry;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(entry_encode_outcome(&buf, (TxnId) {1, 1, 1}, false, 1, 1, 0, groups, 2), ND_OK);
	entry = nd_blob_new(buf.data, (uint32_t) buf.len);
	assert_int_equal(node_propose(k->nodes[1].node, 1, entry, NO), ND_INVALID);
	assert_int_equal(node_propose(k->nodes[1].node, ND_GROUP_SEQUENCER, entry, NO), ND_NOTFOUND);
	nd_blob_unref(entry);
	nd_buf_free(&buf);
	kit_free(k);
}

/* So many data groups, the last of which has no majority: of its nodes only node 1 is there. */
static Kit *with_a_dead_group(NdGroupId n)
{
	Kit		   *k = kit_new(n);
	RaftConfiguration *c = calloc(1, sizeof(*c));
	RaftConfiguration *dead = calloc(1, sizeof(*dead));

	for (NdNodeId m = 1; m <= 3; m++)
	{
		NodeMember	member = kit_member(m);

		assert_int_equal(wire_member_to_raft(&member, &c->members[c->n++]), ND_OK);
		dead->members[dead->n++] = (RaftMember) {.node = m == 1 ? 1 : m + 10, .role = RAFT_VOTER};
	}
	k->config.vote_ticks = 2 * KIT_ELECTION;
	for (NdNodeId id = 1; id <= 3; id++)
	{
		kit_open(k, id);
		for (NdGroupId g = 0; g <= n; g++)
			assert_int_equal(store_create_group(k->nodes[id].store, g, g == n ? dead : c), ND_OK);
		assert_int_equal(store_create_group(k->nodes[id].store, ND_GROUP_SEQUENCER, c), ND_OK);
		kit_start(k, id);
	}
	free(c);
	free(dead);
	for (NdGroupId g = 0; g < n; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	assert_int_not_equal(kit_leader(k, ND_GROUP_SEQUENCER), 0);
	return k;
}

/* The disks of all but the sequencer's leader stand still for 64 election timeouts; they go on hearing it. */
static void assert_not_flooded(Kit *k, uint64_t entries_max)
{
	NdNodeId	leader = kit_leader(k, ND_GROUP_SEQUENCER);
	uint64_t	last;

	for (NdNodeId id = 1; id <= 3; id++)
		if (id != leader)
			memvfs_set_manual(k->nodes[id].disk, true);
	last = store_last_index(k->nodes[leader].store, ND_GROUP_SEQUENCER);
	kit_tick(k, 64 * KIT_ELECTION);
	assert_int_equal(kit_leader(k, ND_GROUP_SEQUENCER), leader);
	assert_in_range(store_last_index(k->nodes[leader].store, ND_GROUP_SEQUENCER) - last, 1, entries_max);
	for (NdNodeId id = 1; id <= 3; id++)
		memvfs_set_manual(k->nodes[id].disk, false);
	kit_tick(k, 4 * KIT_ELECTION);
}

/*
 * What is to be said to the sequencer while its log commits nothing must not make it longer and longer: one that commits little by little would else never come to its end
 * (simulator, seed 700506).
 */
static void a_slow_log_is_not_flooded(void **state)
{
	Kit		   *k = ready();
	NdNodeId	leader = kit_leader(k, ND_GROUP_SEQUENCER);
	uint32_t	parts;

	(void) state;
	assert_int_equal(propose(k, leader, 1, 0, 5, NO), ND_OK);
	for (int t = 0; t < KIT_ELECTION && kit_outcomes(k, leader, leader, 1, VERDICT_COMMIT, &parts) == 0; t++)
		kit_tick(k, 1);
	assert_int_equal(kit_outcomes(k, leader, leader, 1, VERDICT_COMMIT, &parts), 1);
	/* acknowledgements of two groups: behind 1, 2, 4, 8, 16, 16, ... timeouts */
	assert_not_flooded(k, 2 * 8);
	for (NdNodeId id = 1; id <= 3; id++)
		assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[id].node)), 0);
	kit_free(k);

	k = with_a_dead_group(2);
	leader = kit_leader(k, ND_GROUP_SEQUENCER);
	assert_int_equal(propose(k, leader, 1, 0, 5, NO), ND_OK);
	for (int t = 0; t < KIT_ELECTION && sequencer_unfinished(node_sequencer(k->nodes[leader].node)) == 0; t++)
		kit_tick(k, 1);
	/* votes of group 1, and one abort entry */
	assert_not_flooded(k, 8 + 1);
	assert_int_equal(kit_outcomes(k, leader, leader, 1, VERDICT_ABORT_ELSEWHERE, &parts), 1);
	kit_free(k);
}

/* Group 2 has no majority: scenario H5. The transaction aborts, and group 1 goes on. */
static void a_silent_group_is_not_waited_for(void **state)
{
	Kit		   *k = with_a_dead_group(2);
	uint32_t	parts;

	(void) state;
	assert_int_equal(propose(k, 1, 1, 0, 5, NO), ND_OK);
	kit_tick(k, KIT_ELECTION);
	/* its key is reserved in group 1 meanwhile */
	assert_int_equal(kit_propose(k, 2, 1, 50, 0, 5, NO), ND_OK);
	kit_tick(k, 8 * KIT_ELECTION);
	assert_int_equal(kit_count(k, 2, 2, 50, VERDICT_ABORT_RESERVED), 1);
	for (NdNodeId at = 1; at <= 3; at++)
		assert_int_equal(kit_outcomes(k, at, 1, 1, VERDICT_ABORT_ELSEWHERE, &parts), 1);
	assert_int_equal(kit_propose(k, 2, 1, 51, 0, 5, NO), ND_OK);
	kit_tick(k, KIT_ELECTION);
	assert_int_equal(kit_count(k, 2, 2, 51, VERDICT_COMMIT), 1);
	/* remembered until group 2 has it, too */
	assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[1].node)), 1);
	/* a client that waits no longer than its deadline; its outcome comes all the same */
	assert_int_equal(k->nodes[1].failures, 0);
	assert_int_equal(propose(k, 1, 2, 0, 6, 5), ND_OK);
	kit_tick(k, 6);
	assert_int_equal(k->nodes[1].failures, 1);
	assert_int_equal(k->nodes[1].outcome, NODE_UNKNOWN);
	kit_tick(k, 6 * KIT_ELECTION);
	assert_int_equal(kit_outcomes(k, 1, 1, 2, VERDICT_ABORT_ELSEWHERE, &parts), 1);
	assert_int_equal(k->nodes[1].failures, 1);
	/* and one whose node fails: told, though it has its position */
	assert_int_equal(propose(k, 3, 3, 0, 7, NO), ND_OK);
	kit_tick(k, 3);
	assert_int_equal(propose(k, 3, 3, 0, 7, NO), ND_INVALID);	/* it waits for its outcome */
	memvfs_fail(k->nodes[3].disk, MEMVFS_SYNC, 0, 1000, ND_IO);
	assert_int_equal(kit_propose(k, 3, 1, 52, 0, 9, NO), ND_OK);
	kit_tick(k, 3);
	assert_true(node_failed(k->nodes[3].node, NULL));
	assert_int_equal(k->nodes[3].failures, 2);
	assert_int_equal(k->nodes[3].outcome, NODE_UNKNOWN);
	kit_free(k);
}

static NdRandom loss;

static bool loses_some(Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len)
{
	(void) k;
	(void) to;
	(void) from;
	(void) data;
	(void) len;
	return nd_random_below(&loss, 6) > 0;
}

/* Frames are lost, nodes crash and come back, all of them at once; at the end all have the same, all or nothing. */
static void losses_and_crashes(void **state)
{
	uint32_t	commits = 0;

	(void) state;
	for (uint64_t seed = 1; seed <= 12; seed++)
	{
		Kit		   *k = ready();
		uint32_t	parts;
		uint32_t	incarnation[4] = {0};

		nd_random_seed(&loss, seed);
		k->filter = loses_some;
		k->config.vote_ticks = 6 * KIT_ELECTION;
		for (NdNodeId at = 1; at <= 3; at++)
			incarnation[at] = k->nodes[at].incarnation;
		for (uint64_t c = 1; c <= 6; c++)
		{
			for (NdNodeId at = 1; at <= 3; at++)
				if (k->nodes[at].incarnation == incarnation[at])
					assert_int_equal(propose(k, at, c, 0, 10 * c + at, NO), ND_OK);
			kit_tick(k, 1 + (uint32_t) nd_random_below(&loss, KIT_ELECTION));
			if (c == 3)
			{
				NdNodeId	gone = 1 + (NdNodeId) nd_random_below(&loss, 3);

				kit_stop(k, gone, true);
				kit_tick(k, 2 * KIT_ELECTION);
				kit_start(k, gone);
			}
		}
		k->filter = NULL;
		kit_tick(k, 20 * KIT_ELECTION);
		for (NdNodeId at = 1; at <= 3; at++)
			kit_stop(k, at, true);
		for (NdNodeId at = 1; at <= 3; at++)
			kit_start(k, at);
		kit_tick(k, 20 * KIT_ELECTION);
		for (NdNodeId origin = 1; origin <= 3; origin++)
			for (uint64_t c = 1; c <= 6; c++)
			{
				uint32_t	first = kit_outcomes(k, 1, origin, c, VERDICT_COMMIT, &parts);

				assert_in_range(first, 0, 1);
				assert_int_equal(parts, 2 * first);
				commits += first;
				for (NdNodeId at = 2; at <= 3; at++)
				{
					assert_int_equal(kit_outcomes(k, at, origin, c, VERDICT_COMMIT, &parts), first);
					assert_int_equal(parts, 2 * first);
				}
				/* whoever lives on was told: its request has an outcome */
				if (first == 0 && c <= 3)
					assert_int_equal(kit_outcomes(k, 1, origin, c, VERDICT_ABORT_ELSEWHERE, &parts) % 2, 0);
			}
		for (NdNodeId at = 1; at <= 3; at++)
			assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[at].node)), 0);
		kit_assert_same(k);
		kit_free(k);
	}
	assert_true(commits > 100);
}

/* Groups that sleep wake for a request, and sleep again when all is finished. */
static void groups_that_sleep(void **state)
{
	Kit		   *k = ready();

	(void) state;
	k->config.sleep_after_ticks = 5;
	for (NdNodeId id = 1; id <= 3; id++)
	{
		kit_stop(k, id, false);
		kit_start(k, id);
		kit_tick(k, 3 * KIT_ELECTION);
	}
	for (uint64_t c = 1; c <= 3; c++)
	{
		kit_tick(k, 10 * KIT_ELECTION);
		for (NdNodeId id = 1; id <= 3; id++)
			assert_int_equal(node_active_groups(k->nodes[id].node), 0);
		assert_int_equal(propose(k, (NdNodeId) c, c, 0, c, NO), ND_OK);
		kit_tick(k, 3 * KIT_ELECTION);
		assert_committed_everywhere(k, (NdNodeId) c, c);
	}
	kit_free(k);
}

/* Frames with a vote of group 2 are lost. */
static bool loses_votes(Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len)
{
	static const uint8_t votes[] = {SEQ_ENTRY_FORMAT, SEQ_VOTES, 2, 0, 0, 0};

	(void) k;
	(void) to;
	(void) from;
	return memmem(data, len, votes, sizeof(votes)) == NULL;
}

/* The log keeps an open marker, and the marker of an outcome that the tables do not durably hold yet: a restart applies the part from there. */
static void the_log_keeps_markers(void **state)
{
	Kit		   *k = ready();
	KitNode    *n;
	NdNodeId	leader = kit_leader(k, 2);
	uint64_t	marker = 0;
	uint64_t	outcome = 0;

	(void) state;
	assert_int_equal(node_transfer(k->nodes[kit_leader(k, ND_GROUP_SEQUENCER)].node, ND_GROUP_SEQUENCER, 1 + leader % 3), ND_OK);
	kit_tick(k, 3);
	assert_int_equal(kit_leader(k, ND_GROUP_SEQUENCER), 1 + leader % 3);
	assert_int_equal(kit_leader(k, 2), leader);
	n = &k->nodes[1];
	k->filter = loses_votes;
	assert_int_equal(propose(k, 1, 1, 0, 5, NO), ND_OK);
	for (uint64_t c = 1; c <= 60; c++)
	{
		assert_int_equal(kit_propose(k, 1, 1, 1000 + c, c, 100 + c, NO), ND_OK);
		kit_tick(k, 1);
	}
	for (uint32_t i = 0; i < n->n_seen; i++)
		if (n->seen[i].group == 1 && n->seen[i].entry_kind == ENTRY_MARKER)
			marker = n->seen[i].index;
	assert_int_not_equal(marker, 0);
	for (int i = 0; i < 3; i++)
	{
		node_applied_durable(n->node, 1, kit_status(k, 1, 1)->delivered, 0);
		kit_tick(k, 2);
	}
	assert_in_range(store_first_index(n->store, 1), 1, marker);
	k->filter = NULL;
	kit_tick(k, 4 * KIT_ELECTION);
	assert_committed_everywhere(k, 1, 1);
	for (uint32_t i = 0; i < n->n_seen; i++)
		for (uint32_t p = 0; p < n->seen[i].n_parts; p++)
			if (n->seen[i].parts[p].group == 1)
			{
				outcome = n->seen[i].parts[p].index;
				assert_int_equal(n->seen[i].parts[p].marker, marker);
			}
	assert_true(outcome > marker + 32);
	node_applied_durable(n->node, 1, outcome - 1, 0);
	kit_tick(k, 2);
	assert_in_range(store_first_index(n->store, 1), 1, marker);
	/* all of it is dispensable once the tables have the outcome */
	for (uint64_t c = 1; c <= 40; c++)
	{
		assert_int_equal(kit_propose(k, 1, 1, 2000 + c, outcome, 200 + c, NO), ND_OK);
		kit_tick(k, 1);
	}
	for (NdNodeId id = 1; id <= 3; id++)
		for (int i = 0; i < 3; i++)
		{
			node_applied_durable(k->nodes[id].node, 1, kit_status(k, id, 1)->delivered, 0);
			kit_tick(k, 2 * KIT_ELECTION);
		}
	for (int i = 0; i < 3; i++)
	{
		node_applied_durable(n->node, 1, kit_status(k, 1, 1)->delivered, 0);
		kit_tick(k, 2 * KIT_ELECTION);
	}
	assert_true(store_first_index(n->store, 1) > marker);
	kit_free(k);
}

/* ---- the sequencer's log is cut ---- */

static uint64_t first_kept(Kit *k, NdNodeId at)
{
	return store_first_index(k->nodes[at].store, ND_GROUP_SEQUENCER);
}

/* The hosts say that no log need be kept for its own sake. Their tables hold nothing durably: a restart delivers all of it again. */
static void keep_nothing(Kit *k)
{
	for (NdNodeId at = 1; at <= 3; at++)
		for (NdGroupId g = 1; k->nodes[at].node != NULL && g <= k->n_groups; g++)
			node_applied_durable(k->nodes[at].node, g, 0, 0);
	kit_tick(k, 3);
}

/* n transactions, one after the other, from node `at`. */
static void work(Kit *k, NdNodeId at, uint64_t *counter, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
	{
		++*counter;
		assert_int_equal(propose(k, at, *counter, 0, 1000 + *counter, NO), ND_OK);
		kit_tick(k, 6);
		keep_nothing(k);
	}
}

static void assert_same_sequencer(Kit *k)
{
	for (NdNodeId at = 2; at <= 3; at++)
	{
		assert_int_equal(kit_status(k, at, ND_GROUP_SEQUENCER)->delivered, kit_status(k, 1, ND_GROUP_SEQUENCER)->delivered);
		assert_int_equal(sequencer_checksum(node_sequencer(k->nodes[at].node)), sequencer_checksum(node_sequencer(k->nodes[1].node)));
	}
}

static void the_sequencers_log_is_cut(void **state)
{
	Kit		   *k = ready();
	uint64_t	counter = 0;
	uint64_t	first;

	(void) state;
	/* not before a host has said how much is kept */
	for (uint64_t c = 1; c <= 10; c++)
	{
		counter++;
		assert_int_equal(propose(k, 1, counter, 0, 1000 + counter, NO), ND_OK);
		kit_tick(k, 6);
	}
	assert_true(kit_status(k, 1, ND_GROUP_SEQUENCER)->delivered > 32);
	assert_int_equal(first_kept(k, 1), 1);
	work(k, 1, &counter, 10);
	kit_tick(k, 2 * KIT_ELECTION);
	for (NdNodeId at = 1; at <= 3; at++)
	{
		assert_true(first_kept(k, at) > 32);
		assert_int_equal(kit_status(k, at, ND_GROUP_SEQUENCER)->checksum_index, kit_status(k, 1, ND_GROUP_SEQUENCER)->checksum_index);
		assert_int_equal(kit_status(k, at, ND_GROUP_SEQUENCER)->certifier_checksum, kit_status(k, 1, ND_GROUP_SEQUENCER)->certifier_checksum);
	}
	assert_same_sequencer(k);
	/* what a host asks to be kept is kept */
	node_applied_durable(k->nodes[1].node, 1, 0, 1 << 20);
	first = first_kept(k, 1);
	for (uint64_t c = 1; c <= 10; c++)
	{
		counter++;
		assert_int_equal(propose(k, 1, counter, 0, 1000 + counter, NO), ND_OK);
		kit_tick(k, 6);
	}
	assert_int_equal(first_kept(k, 1), first);
	/* all start anew from their checkpoints, and go on */
	for (NdNodeId at = 1; at <= 3; at++)
		kit_stop(k, at, true);
	for (NdNodeId at = 1; at <= 3; at++)
		kit_start(k, at);
	assert_int_not_equal(kit_leader(k, ND_GROUP_SEQUENCER), 0);
	for (NdNodeId at = 1; at <= 3; at++)
		for (uint32_t i = 0; i < k->nodes[at].n_seen; i++)
			assert_true(k->nodes[at].seen[i].group != ND_GROUP_SEQUENCER || k->nodes[at].seen[i].index > 32);
	counter = 100;
	for (uint64_t c = 101; c <= 110; c++)
		work(k, 1 + c % 3, &counter, 1);
	kit_tick(k, 2 * KIT_ELECTION);
	for (uint64_t c = 101; c <= 110; c++)
		assert_committed_everywhere(k, 1 + c % 3, c);
	assert_true(first_kept(k, 1) > first);
	assert_same_sequencer(k);
	kit_assert_same(k);
	kit_free(k);
}

/* Groups 1 and 2 work, group 3 does not: what has a part there stays, and with it the EPOCH that holds the part. */
static void the_log_keeps_epochs(void **state)
{
	Kit		   *k = with_a_dead_group(3);
	uint64_t	counter = 100;
	uint64_t	epoch;
	uint32_t	parts;

	(void) state;
	work(k, 1, &counter, 10);
	assert_int_equal(kit_propose_several(k, 2, 1, 0, 5, NO, 1, 3), ND_OK);
	kit_tick(k, 3);
	epoch = sequencer_floor(node_sequencer(k->nodes[1].node));
	assert_true(epoch > 16);
	work(k, 1, &counter, 20);
	kit_tick(k, 8 * KIT_ELECTION);
	/* aborted in group 1, unfinished for ever */
	assert_int_equal(kit_outcomes(k, 1, 2, 1, VERDICT_ABORT_ELSEWHERE, &parts), 1);
	assert_int_equal(sequencer_unfinished(node_sequencer(k->nodes[1].node)), 1);
	for (NdNodeId at = 1; at <= 3; at++)
	{
		assert_true(kit_status(k, at, ND_GROUP_SEQUENCER)->delivered > epoch + 48);
		assert_in_range(first_kept(k, at), 2, epoch);
	}
	/* a restart finds it, and a member that is behind gets it: by a snapshot, with the log from the EPOCH on */
	kit_stop(k, 3, true);
	work(k, 1, &counter, 20);
	kit_start(k, 3);
	kit_tick(k, 8 * KIT_ELECTION);
	assert_int_equal(sequencer_floor(node_sequencer(k->nodes[3].node)), epoch);
	assert_in_range(first_kept(k, 3), 2, epoch);
	assert_same_sequencer(k);
	kit_free(k);
}

/* A member that was away for longer than the log is kept gets the state, whatever the host can ship: tables have no part in it. */
static void a_member_behind_gets_the_state(void **state)
{
	(void) state;
	for (NdNodeId away = 1; away <= 3; away++)
		for (uint32_t crash_at = 0; crash_at <= 12; crash_at++)
		{
			Kit		   *k = ready();
			NdNodeId	origin = 1 + away % 3;
			uint64_t	counter = 0;

			work(k, origin, &counter, 10);
			kit_stop(k, away, true);
			assert_int_not_equal(kit_leader(k, ND_GROUP_SEQUENCER), 0);
			work(k, origin, &counter, 20);
			kit_tick(k, 2 * KIT_ELECTION);
			assert_true(first_kept(k, origin) > 100);
			kit_start(k, away);
			/* it crashes somewhere while the state comes in, or takes its place */
			if (crash_at > 0)
			{
				for (uint32_t step = 0; step < 20 * crash_at; step++)
				{
					KitNode    *n = &k->nodes[1 + step % 3];

					if (step % 30 == 0)
						for (NdNodeId id = 1; id <= 3; id++)
							node_tick(k->nodes[id].node);
					n->transport->ops->poll(n->transport);
					node_work(n->node);
				}
				kit_stop(k, away, true);
				kit_start(k, away);
			}
			kit_tick(k, 8 * KIT_ELECTION);
			assert_true(first_kept(k, away) > 100);
			assert_same_sequencer(k);
			for (uint64_t c = 1; c <= counter; c++)
				assert_committed_everywhere(k, origin, c);
			/* it may lead, and what it says counts */
			assert_int_equal(node_transfer(k->nodes[kit_leader(k, ND_GROUP_SEQUENCER)].node, ND_GROUP_SEQUENCER, away), ND_OK);
			kit_tick(k, 3);
			work(k, origin, &counter, 10);
			kit_tick(k, 2 * KIT_ELECTION);
			assert_committed_everywhere(k, origin, counter);
			assert_same_sequencer(k);
			kit_assert_same(k);
			kit_free(k);
		}
}

/* ---- tables are shipped, too ---- */

/* A host whose tables are a number: the index that they hold. */
static NdStatus number_open(void *ctx, NdGroupId group, uint64_t at_least, uint64_t *handle, uint64_t *index)
{
	KitNode    *n = ctx;

	assert_true(group < 8 && n->applied[group] >= at_least);
	*handle = 0;
	*index = n->applied[group];
	return ND_OK;
}

static NdStatus number_read(void *ctx, uint64_t handle, uint64_t offset, uint8_t *out, uint32_t cap, uint32_t *len, bool *last)
{
	(void) ctx;
	(void) handle;
	assert_true(offset <= 1 && cap > 0);
	out[0] = 7;
	*len = offset == 0;
	*last = true;
	return ND_OK;
}

static void number_close(void *ctx, uint64_t handle)
{
	(void) ctx;
	(void) handle;
}

static uint64_t number_staged[KIT_NODES + 1][8];

static NdStatus number_begin(void *ctx, NdGroupId group, uint64_t index)
{
	number_staged[((KitNode *) ctx)->id][group] = index;
	return ND_OK;
}

static NdStatus number_write(void *ctx, NdGroupId group, uint64_t offset, const uint8_t *data, size_t len)
{
	(void) ctx;
	(void) group;
	(void) offset;
	(void) data;
	(void) len;
	return ND_OK;
}

static bool install_busy;

static NdStatus number_install(void *ctx, NdGroupId group)
{
	if (install_busy)
		return ND_BUSY;
	((KitNode *) ctx)->applied[group] = number_staged[((KitNode *) ctx)->id][group];
	return ND_OK;
}

static void number_abort(void *ctx, NdGroupId group)
{
	(void) ctx;
	(void) group;
}

static const NodeSnapshots numbers = {number_open, number_read, number_close, number_begin, number_write, number_install, number_abort, NULL};

static NdNodeId deaf;			/* hears nothing */

static bool all_but_deaf(Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len)
{
	(void) k;
	(void) from;
	(void) data;
	(void) len;
	return to->id != deaf;
}

static void apply_numbers(Kit *k)
{
	for (NdNodeId at = 1; at <= 3; at++)
		for (NdGroupId g = 1; g <= 2; g++)
			if (k->nodes[at].node != NULL && !kit_status(k, at, g)->snapshot_in && kit_status(k, at, g)->delivered > k->nodes[at].applied[g])
				k->nodes[at].applied[g] = kit_status(k, at, g)->delivered;
	for (NdNodeId at = 1; at <= 3; at++)
		for (NdGroupId g = 1; g <= 2; g++)
			node_applied_durable(k->nodes[at].node, g, k->nodes[at].applied[g], 0);
}

/*
 * Snapshots skip the outcome of a request whose node has not even heard that it has a position. Nobody will ever deliver it: its client is told that it is not
 * known. Were it sent again, it would get a second position, and an abort for an answer, though it is committed.
 */
static void a_request_whose_outcome_is_skipped(void **state)
{
	Kit		   *k = ready();
	uint64_t	counter = 1000;
	uint32_t	parts;
	NdNodeId	others;

	(void) state;
	for (NdNodeId at = 1; at <= 3; at++)
		kit_stop(k, at, false);
	k->snapshots = &numbers;
	for (NdNodeId at = 1; at <= 3; at++)
		kit_start(k, at);
	for (NdGroupId g = 0; g <= 2; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	deaf = 1 + kit_leader(k, ND_GROUP_SEQUENCER) % 3;
	others = 1 + deaf % 3;
	k->filter = all_but_deaf;
	assert_int_equal(propose(k, deaf, 1, 0, 5, NO), ND_OK);
	kit_settle(k);
	kit_tick(k, 12 * KIT_ELECTION);
	assert_int_equal(kit_outcomes(k, others, deaf, 1, VERDICT_COMMIT, &parts), 1);
	for (int i = 0; i < 30; i++)
	{
		counter++;
		assert_int_equal(propose(k, others, counter, 0, counter, NO), ND_OK);
		kit_tick(k, 6);
		apply_numbers(k);
	}
	kit_tick(k, 4 * KIT_ELECTION);
	apply_numbers(k);
	for (NdGroupId g = 1; g <= 2; g++)
		assert_true(store_first_index(k->nodes[others].store, g) > kit_status(k, deaf, g)->raft.last_index + 1);
	assert_true(first_kept(k, others) > kit_status(k, deaf, ND_GROUP_SEQUENCER)->raft.last_index + 1);
	assert_int_equal(k->nodes[deaf].failures, 0);
	k->filter = NULL;
	for (int i = 0; i < 40; i++)
	{
		kit_tick(k, 8);
		apply_numbers(k);
	}
	assert_same_sequencer(k);
	assert_int_equal(kit_outcomes(k, deaf, deaf, 1, VERDICT_COMMIT, &parts), 0);
	/* it was told so before an abort of a copy could answer it */
	assert_int_equal(k->nodes[deaf].failures, 1);
	assert_int_equal(k->nodes[deaf].outcome, NODE_UNKNOWN);
	assert_int_equal(k->nodes[deaf].reason, ND_COMPACTED);
	assert_int_equal(k->nodes[deaf].failed_txn.counter, 1);
	kit_free(k);
}

/*
 * A group that holds its outcome, for another one is not there yet, gets a snapshot with that outcome in it. While its tables are being replaced what it holds is void: the
 * other group must not take it along.
 */
static void an_outcome_that_a_snapshot_replaces(void **state)
{
	Kit		   *k = ready();
	KitNode    *n;
	uint64_t	counter = 1000;
	uint64_t	outcome = 0;
	uint32_t	parts;
	NdNodeId	origin;
	NdNodeId	leader;

	(void) state;
	for (NdNodeId at = 1; at <= 3; at++)
		kit_stop(k, at, false);
	k->snapshots = &numbers;
	for (NdNodeId at = 1; at <= 3; at++)
		kit_start(k, at);
	for (NdGroupId g = 0; g <= 2; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	leader = kit_leader(k, 2);
	deaf = 1 + leader % 3;
	origin = 1 + deaf % 3;
	n = &k->nodes[deaf];
	/* group 1 takes nothing on this node: group 2 waits at its outcome */
	n->busy_group = 1;
	assert_int_equal(propose(k, origin, 1, 0, 5, NO), ND_OK);
	kit_tick(k, 4 * KIT_ELECTION);
	assert_int_equal(kit_outcomes(k, origin, origin, 1, VERDICT_COMMIT, &parts), 1);
	for (uint32_t i = 0; i < k->nodes[origin].n_seen; i++)
		for (uint32_t p = 0; p < k->nodes[origin].seen[i].n_parts; p++)
			if (k->nodes[origin].seen[i].parts[p].group == 2)
				outcome = k->nodes[origin].seen[i].parts[p].index;
	assert_int_equal(kit_status(k, deaf, 2)->delivered + 1, outcome);
	k->filter = all_but_deaf;
	for (int i = 0; i < 80; i++)
	{
		counter++;
		assert_int_equal(kit_propose(k, origin, 2, counter, counter > 1020 ? kit_status(k, origin, 2)->delivered : 0, counter, NO), ND_OK);
		kit_tick(k, 4);
		if (k->nodes[deaf].n_seen == 0 || i % 4 == 0)
			apply_numbers(k);
	}
	kit_tick(k, 4 * KIT_ELECTION);
	apply_numbers(k);
	assert_true(store_first_index(k->nodes[leader].store, 2) > kit_status(k, deaf, 2)->raft.last_index + 1);
	k->filter = NULL;
	install_busy = true;
	for (int i = 0; i < 60 && !kit_status(k, deaf, 2)->snapshot_in; i++)
		kit_tick(k, 2);
	kit_tick(k, KIT_ELECTION);
	assert_true(kit_status(k, deaf, 2)->snapshot_in);
	n->busy_group = 0;
	kit_tick(k, 2 * KIT_ELECTION);
	assert_null(kit_status(k, deaf, 1)->frozen);
	assert_int_equal(kit_outcomes(k, deaf, origin, 1, VERDICT_COMMIT, &parts), 0);
	install_busy = false;
	kit_tick(k, 8 * KIT_ELECTION);
	assert_true(kit_status(k, deaf, 2)->delivered > outcome);
	assert_int_equal(kit_outcomes(k, deaf, origin, 1, VERDICT_COMMIT, &parts), 1);
	assert_int_equal(parts, 1);
	kit_free(k);
}

static void without_memory(void **state)
{
	Kit		   *k = ready();
	uint64_t	counter = 0;
	uint32_t	failures[4] = {0};

	(void) state;
	for (uint64_t n = 1; n <= 120; n++)
	{
		nomem_pause(true);
		counter++;
		assert_int_equal(propose(k, 1 + (NdNodeId) n % 3, counter, 0, 1000 + counter, NO), ND_OK);
		nomem_pause(false);
		nomem_fail(n, 1);
		kit_tick(k, KIT_ELECTION);
		nomem_fail(0, 0);
		kit_tick(k, 3 * KIT_ELECTION);
		/* no memory for what was forwarded is told like no room */
		if (k->nodes[1 + n % 3].failures == failures[1 + n % 3])
			assert_committed_everywhere(k, 1 + (NdNodeId) n % 3, counter);
		failures[1 + n % 3] = k->nodes[1 + n % 3].failures;
	}
	assert_true(failures[1] + failures[2] + failures[3] < 4);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(committed_by_one_call_on_every_node),
		cmocka_unit_test(a_flush_waits_for_the_other_part),
		cmocka_unit_test(no_step_waits_for_a_tick),
		cmocka_unit_test(over_all_groups),
		cmocka_unit_test(without_a_sequencer),
		cmocka_unit_test(lost_requests_are_told),
		cmocka_unit_test(refused_requests_are_told),
		cmocka_unit_test(markers_are_nobodys_proposals),
		cmocka_unit_test(a_slow_log_is_not_flooded),
		cmocka_unit_test(a_silent_group_is_not_waited_for),
		cmocka_unit_test(leaders_may_change_between_any_two_steps),
		cmocka_unit_test(losses_and_crashes),
		cmocka_unit_test(groups_that_sleep),
		cmocka_unit_test(the_log_keeps_markers),
		cmocka_unit_test(the_sequencers_log_is_cut),
		cmocka_unit_test(the_log_keeps_epochs),
		cmocka_unit_test(a_member_behind_gets_the_state),
		cmocka_unit_test(a_request_whose_outcome_is_skipped),
		cmocka_unit_test(an_outcome_that_a_snapshot_replaces),
		cmocka_unit_test(without_memory),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
