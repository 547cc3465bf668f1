/*
 * test_raft_traps.c: traps that real Raft code fell into, one script each: an acknowledgement of entries that were never matched,
 * figure 8 of the paper, a configuration change before the term's first commit, a storage completion of another entry (ABA), a commit
 * beyond what was matched. Each is red with its planted bug: test_raft_traps MUTANT, built with -DND_MUTANTS.
 */
#include "raft_one.h"
#include "../../src/core/base/mutant.h"

/*
 * S1 leads and has entries that nobody else has, is deposed; S2 leads, Y stands on its disk only. A message to S1 gets lost, a later one
 * matches before its stale entries. S1 must acknowledge what matched, not the stale entries at Y's index.
 */
static void test_unmatched_acknowledgement(void **state)
{
	RaftMessage probe = {.type = RAFT_MSG_APPEND,.group = 7,.from = 2,.to = 1,.term = 2,.index = 1,.log_term = 1,.commit = 1};
	const RaftMessage *ack;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_isolate(h, 1, true);
	h_propose(h, 1, "stale");
	h_propose(h, 1, "stale too");
	h_pump(h);
	assert_int_equal(h->nodes[1].disk_last, 3);

	h_stand(h, 2);
	h_deliver(h, 2, 3);
	h_deliver(h, 3, 2);
	assert_int_equal(status_of(2).state, RAFT_LEADER);
	h_propose(h, 2, "Y");
	h_settle(h);
	h_drop(h, 2, 0);
	assert_int_equal(h->nodes[2].disk_last, 3);

	h_isolate(h, 1, false);
	raft_step(h->nodes[1].raft, &probe);
	h_settle(h);
	ack = h_find(h, RAFT_MSG_APPEND_REPLY, 1, 2);
	assert_non_null(ack);
	assert_false(ack->reject);
	assert_int_equal(ack->index, 1);
	h_deliver(h, 1, 2);
	assert_int_equal(status_of(2).commit, 1);
	assert_string_equal(h->error, "");
}

/* Figure 8 of the paper: an entry of an old term on a majority is not committed by that. */
static void test_figure_8(void **state)
{
	(void) state;
	h->config.append_bytes_max = 4;	/* the old entry and the new term's no-op travel apart */
	h_cluster(h, 5);
	lead(1);
	h_propose(h, 1, "old entry");
	h_settle(h);
	h_deliver(h, 1, 2);			/* (a) on S1 and S2 only */
	h_drop(h, 0, 0);
	h_crash(h, 1);

	h_stand(h, 5);				/* (b) S5 leads with the votes of S3 and S4, and is gone with an entry of its own */
	h_drop(h, 5, 2);
	h_deliver(h, 5, 3);
	h_deliver(h, 5, 4);
	h_deliver(h, 3, 5);
	h_deliver(h, 4, 5);
	assert_int_equal(status_of(5).state, RAFT_LEADER);
	assert_int_equal(h->nodes[5].disk_last, 2);
	h_drop(h, 0, 0);
	h_crash(h, 5);

	h_start(h, 1);				/* (c) S1 leads again and brings the old entry to S3: three of five */
	for (NdNodeId id = 2; id <= 4; id++)
		h_tick(h, id, 10);
	h_settle(h);
	h_drop(h, 0, 0);
	for (int i = 0; i < 4 && status_of(1).state != RAFT_LEADER; i++)
	{
		h_stand(h, 1);
		for (int round = 0; round < 2; round++)
		{
			h_deliver(h, 1, 2);
			h_deliver(h, 1, 3);
			h_deliver(h, 2, 1);
			h_deliver(h, 3, 1);
		}
	}
	assert_int_equal(status_of(1).state, RAFT_LEADER);
	h_drop(h, 1, 4);
	for (int round = 0; round < 6 && h->nodes[3].disk_last < 2; round++)
	{
		h_deliver(h, 1, 2);
		h_deliver(h, 1, 3);
		h_deliver(h, 2, 1);
		if (h->nodes[3].disk_last < 2)
			h_deliver(h, 3, 1);
	}
	assert_int_equal(h->nodes[3].disk_last, 2);
	assert_int_equal(h->nodes[3].disk[2].term, 1);
	h_drop(h, 1, 0);			/* nobody has the no-op of the new term */
	h_deliver(h, 2, 1);
	h_deliver(h, 3, 1);
	assert_int_equal(status_of(1).commit, 1);
	h_drop(h, 0, 0);
	h_crash(h, 1);

	h_start(h, 5);				/* (d) so S5 may lead again and put its own entry there */
	for (NdNodeId id = 2; id <= 5; id++)
		h_tick(h, id, 10);
	for (int i = 0; i < 6 && h_leader(h) != 5; i++)
	{
		h_stand(h, 5);
		h_pump(h);
	}
	assert_int_equal(h_leader(h), 5);
	h_run(h, 3);
	assert_int_equal(h->nodes[3].log[2].term, h->nodes[5].log[2].term);
	assert_string_equal(h->error, "");
}

/*
 * A leader that has not committed in its own term must not change the configuration: S1's change of term 1 is somewhere, S2's would
 * need a majority that does not meet S1's.
 */
static void test_early_configuration_change(void **state)
{
	RaftConfiguration *d = h_alloc(sizeof(RaftConfiguration));
	RaftConfiguration *e = h_alloc(sizeof(RaftConfiguration));
	uint64_t	index;

	(void) state;
	h_cluster(h, 4);
	h_start(h, 5);
	lead(1);
	for (NdNodeId id = 1; id <= 5; id++)
		h_member(d, id, RAFT_VOTER);
	for (NdNodeId id = 2; id <= 4; id++)
		h_member(e, id, RAFT_VOTER);
	assert_int_equal(raft_propose_configuration(h->nodes[1].raft, d, &index), ND_OK);
	h_settle(h);
	h_drop(h, 0, 0);			/* on S1 only */

	h_isolate(h, 1, true);
	h_stand(h, 2);
	h_deliver(h, 2, 3);
	h_deliver(h, 2, 4);
	h_deliver(h, 3, 2);
	h_deliver(h, 4, 2);
	assert_int_equal(status_of(2).state, RAFT_LEADER);
	assert_false(status_of(2).term_committed);
	assert_int_equal(raft_propose_configuration(h->nodes[2].raft, e, &index), ND_BUSY);

	h_pump(h);					/* with the no-op committed it may, and S1 cannot win against it */
	h_run(h, 2);
	assert_true(status_of(2).term_committed);
	assert_int_equal(raft_propose_configuration(h->nodes[2].raft, e, &index), ND_OK);
	h_pump(h);
	assert_int_equal(status_of(2).commit, index);
	h_isolate(h, 1, false);
	h_run(h, 30);
	assert_int_not_equal(h_leader(h), 1);
	assert_string_equal(h->error, "");
	free(d);
	free(e);
}

static RaftMessage append(NdNodeId from, uint64_t term, uint64_t prev, uint64_t prev_term, RaftEntry *entries, uint32_t n)
{
	return (RaftMessage) {.type = RAFT_MSG_APPEND,.group = 7,.from = from,.to = 1,.term = term,.index = prev,.log_term = prev_term,
		.n_entries = n,.entries = entries};
}

/* Entry 2 of term 1 is being written, is cut by term 2, and comes back by term 3: the first write's completion says nothing of it. */
static void test_completion_of_another_entry(void **state)
{
	RaftEntry	first[] = {{1, 1, RAFT_ENTRY_NOOP, NULL}};
	RaftEntry	old[] = {{2, 1, RAFT_ENTRY_NOOP, NULL}, {3, 1, RAFT_ENTRY_NOOP, NULL}};
	RaftEntry	other[] = {{2, 2, RAFT_ENTRY_NOOP, NULL}};
	RaftMessage m;

	(void) state;
	h_cluster(h, 3);
	m = append(2, 1, 0, 0, first, 1);
	raft_step(h->nodes[1].raft, &m);
	h_settle(h);
	assert_int_equal(status_of(1).durable_index, 1);
	h->nodes[1].autoflush = false;
	m = append(2, 1, 1, 1, old, 2);
	raft_step(h->nodes[1].raft, &m);
	h_settle(h);
	m = append(3, 2, 1, 1, other, 1);
	raft_step(h->nodes[1].raft, &m);
	h_settle(h);
	raft_persisted(h->nodes[1].raft, 3, 1);	/* not in the log any more */
	assert_int_equal(status_of(1).durable_index, 1);
	m = append(2, 3, 1, 1, old, 2);
	raft_step(h->nodes[1].raft, &m);
	h_settle(h);
	assert_int_equal(status_of(1).last_index, 3);
	h_drop(h, 0, 0);
	h_flush_one(h, 1);			/* the first write of (3, 1) */
	assert_int_equal(status_of(1).durable_index, 1);
	assert_int_equal(h->n_net, 0);
	h_flush_one(h, 1);
	assert_int_equal(status_of(1).durable_index, 1);
	h_flush_one(h, 1);
	assert_int_equal(status_of(1).durable_index, 3);
	h_settle(h);
	assert_int_equal(h_find(h, RAFT_MSG_APPEND_REPLY, 1, 2)->index, 3);
	assert_string_equal(h->error, "");
}

/* The leader's commit may lie above what its message matched: stale entries behind that must not be taken for committed. */
static void test_commit_beyond_what_matched(void **state)
{
	RaftEntry	entries[] = {{1, 1, RAFT_ENTRY_NOOP, NULL}, {2, 1, RAFT_ENTRY_NOOP, NULL}, {3, 1, RAFT_ENTRY_NOOP, NULL}};
	RaftMessage m;

	(void) state;
	h_cluster(h, 3);
	m = append(2, 1, 0, 0, entries, 3);
	raft_step(h->nodes[1].raft, &m);
	m = append(3, 2, 1, 1, NULL, 0);
	m.commit = 3;
	raft_step(h->nodes[1].raft, &m);
	assert_int_equal(status_of(1).commit, 1);
}

/* A vote must be on the disk before it leaves: else a crash could make room for a second one in the term. */
static void test_vote_survives_a_crash(void **state)
{
	RaftMessage vote = {.type = RAFT_MSG_VOTE,.group = 7,.from = 2,.to = 1,.term = 1};

	(void) state;
	h_cluster(h, 3);
	h->nodes[1].autoflush = false;
	raft_step(h->nodes[1].raft, &vote);
	h_settle(h);
	assert_null(h_find(h, RAFT_MSG_VOTE_REPLY, 1, 2));
	h_flush_one(h, 1);
	assert_false(h_find(h, RAFT_MSG_VOTE_REPLY, 1, 2)->reject);
	h_crash(h, 1);
	h_start(h, 1);
	h->nodes[1].autoflush = true;
	vote.from = 3;
	raft_step(h->nodes[1].raft, &vote);
	h_settle(h);
	assert_true(h_find(h, RAFT_MSG_VOTE_REPLY, 1, 3)->reject);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unmatched_acknowledgement, setup, teardown),
		cmocka_unit_test_setup_teardown(test_figure_8, setup, teardown),
		cmocka_unit_test_setup_teardown(test_early_configuration_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_completion_of_another_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commit_beyond_what_matched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vote_survives_a_crash, setup, teardown),
	};

	if (argc > 1)
		nd_mutant = nd_mutant_by_name(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
