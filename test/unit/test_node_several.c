/*
 * test_node_several.c: transactions over several groups through the driver: real Raft groups, stores and certifiers of three nodes.
 */
#include "node_kit.h"
#include "nomem_kit.h"

#define NO NODE_NO_DEADLINE

/* A transaction of groups 1 and 2 from node `at`, changing `key` in both. */
static NdStatus propose(Kit *k, NdNodeId at, uint64_t counter, uint64_t base, uint64_t key, uint32_t deadline)
{
	TxnId		txn = {at, k->nodes[at].incarnation, counter};
	EntryKey	keys[] = {{key, KEY_ROW_UPDATE}};
	SeqPart		parts[2];
	NdBuf		entry;
	NdBuf		buf;
	NdBlob	   *request;
	NdStatus	status;

	nd_buf_init(&entry);
	nd_buf_init(&buf);
	assert_int_equal(entry_encode_txn(&entry, 0, txn, base, keys, 1, 0, NULL, 0, NULL, 0), ND_OK);
	for (NdGroupId g = 1; g <= 2; g++)
		parts[g - 1] = (SeqPart) {g, entry.data, (uint32_t) entry.len};
	assert_int_equal(seq_encode_request(&buf, txn, 0, parts, 2), ND_OK);
	request = nd_blob_new(buf.data, (uint32_t) buf.len);
	nd_buf_free(&entry);
	nd_buf_free(&buf);
	status = node_propose_several(k->nodes[at].node, request, deadline);
	nd_blob_unref(request);
	return status;
}

/* How often an OUTCOME of it with this verdict was delivered at node `at`, not replayed; *parts: of all of those. */
static uint32_t outcomes(Kit *k, NdNodeId at, NdNodeId origin, uint64_t counter, VerdictKind verdict, uint32_t *parts)
{
	const KitNode *n = &k->nodes[at];
	uint32_t	count = 0;

	*parts = 0;
	for (uint32_t i = 0; i < n->n_seen; i++)
	{
		const KitSeen *s = &n->seen[i];

		if (s->has_header && !s->replayed && s->entry_kind == ENTRY_OUTCOME && s->txn.node == origin && s->txn.counter == counter && s->verdict == verdict)
		{
			count++;
			*parts += s->n_parts;
		}
	}
	return count;
}

static void assert_committed_everywhere(Kit *k, NdNodeId origin, uint64_t counter)
{
	for (NdNodeId at = 1; at <= 3; at++)
	{
		uint32_t	parts;

		if (k->nodes[at].node == NULL)
			continue;
		assert_int_equal(outcomes(k, at, origin, counter, VERDICT_COMMIT, &parts), 1);
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
		assert_int_equal(outcomes(k, at, 1, 2, VERDICT_ABORT_ELSEWHERE, &parts), 2);
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

/* Group 2 has no majority: scenario H5. The transaction aborts, and group 1 goes on. */
static void a_silent_group_is_not_waited_for(void **state)
{
	Kit		   *k = kit_new(2);
	RaftConfiguration *c = calloc(1, sizeof(*c));
	RaftConfiguration *dead = calloc(1, sizeof(*dead));
	uint32_t	parts;

	(void) state;
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
		assert_int_equal(store_create_group(k->nodes[id].store, ND_GROUP_META, c), ND_OK);
		assert_int_equal(store_create_group(k->nodes[id].store, 1, c), ND_OK);
		assert_int_equal(store_create_group(k->nodes[id].store, 2, dead), ND_OK);
		assert_int_equal(store_create_group(k->nodes[id].store, ND_GROUP_SEQUENCER, c), ND_OK);
		kit_start(k, id);
	}
	free(c);
	free(dead);
	assert_int_not_equal(kit_leader(k, 1), 0);
	assert_int_not_equal(kit_leader(k, ND_GROUP_SEQUENCER), 0);
	assert_int_equal(propose(k, 1, 1, 0, 5, NO), ND_OK);
	kit_tick(k, KIT_ELECTION);
	/* its key is reserved in group 1 meanwhile */
	assert_int_equal(kit_propose(k, 2, 1, 50, 0, 5, NO), ND_OK);
	kit_tick(k, 8 * KIT_ELECTION);
	assert_int_equal(kit_count(k, 2, 2, 50, VERDICT_ABORT_RESERVED), 1);
	for (NdNodeId at = 1; at <= 3; at++)
		assert_int_equal(outcomes(k, at, 1, 1, VERDICT_ABORT_ELSEWHERE, &parts), 1);
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
	assert_int_equal(outcomes(k, 1, 1, 2, VERDICT_ABORT_ELSEWHERE, &parts), 1);
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
				uint32_t	first = outcomes(k, 1, origin, c, VERDICT_COMMIT, &parts);

				assert_in_range(first, 0, 1);
				assert_int_equal(parts, 2 * first);
				commits += first;
				for (NdNodeId at = 2; at <= 3; at++)
				{
					assert_int_equal(outcomes(k, at, origin, c, VERDICT_COMMIT, &parts), first);
					assert_int_equal(parts, 2 * first);
				}
				/* whoever lives on was told: its request has an outcome */
				if (first == 0 && c <= 3)
					assert_int_equal(outcomes(k, 1, origin, c, VERDICT_ABORT_ELSEWHERE, &parts) % 2, 0);
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
		cmocka_unit_test(without_a_sequencer),
		cmocka_unit_test(lost_requests_are_told),
		cmocka_unit_test(refused_requests_are_told),
		cmocka_unit_test(markers_are_nobodys_proposals),
		cmocka_unit_test(a_silent_group_is_not_waited_for),
		cmocka_unit_test(leaders_may_change_between_any_two_steps),
		cmocka_unit_test(losses_and_crashes),
		cmocka_unit_test(groups_that_sleep),
		cmocka_unit_test(the_log_keeps_markers),
		cmocka_unit_test(without_memory),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
