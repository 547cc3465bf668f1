/*
 * test_raft.c: elections, replication, durability and bounds of the Raft core, one fact each.
 */
#include "raft_one.h"
#include "../../src/core/base/mutant.h"

static void test_three_elect_one(void **state)
{
	(void) state;
	h_cluster(h, 3);
	h_run(h, 40);
	assert_int_not_equal(h_leader(h), 0);
	for (NdNodeId id = 1; id <= 3; id++)
	{
		assert_int_equal(raft_leader(h->nodes[id].raft), h_leader(h));
		assert_int_equal(h->nodes[id].commit, 1);	/* the no-op of the term */
		assert_int_equal(h->nodes[id].log[1].kind, RAFT_ENTRY_NOOP);
	}
}

static void test_replicates(void **state)
{
	char		text[16];

	(void) state;
	h_cluster(h, 3);
	lead(1);
	for (int i = 0; i < 50; i++)
	{
		snprintf(text, sizeof(text), "entry %d", i);
		assert_int_equal(h_propose(h, 1, text), ND_OK);
		if (i % 3 == 0)
			h_pump(h);
	}
	h_pump(h);
	for (NdNodeId id = 1; id <= 3; id++)
		assert_int_equal(h->nodes[id].commit, 51);
	assert_int_equal(h_propose(h, 2, "not here"), ND_NOTLEADER);
	assert_int_equal(status_of(1).uncommitted_bytes, 0);
}

/* A lone voter commits by its own disk, and not before. */
static void test_lone_voter(void **state)
{
	(void) state;
	h_cluster(h, 1);
	h->nodes[1].autoflush = false;
	h_tick(h, 1, 1);
	h_settle(h);
	assert_int_equal(status_of(1).state, RAFT_CANDIDATE);	/* its vote is not durable */
	h_tick(h, 1, 50);
	h_settle(h);
	assert_int_equal(status_of(1).term, 1);	/* waiting for the disk is no reason to stand again */
	h_flush_one(h, 1);
	assert_int_equal(status_of(1).state, RAFT_LEADER);
	h_settle(h);
	assert_int_equal(h_propose(h, 1, "x"), ND_OK);
	h_settle(h);
	assert_int_equal(status_of(1).commit, 0);
	h_flush_one(h, 1);
	assert_int_equal(status_of(1).commit, 1);
	h_flush_one(h, 1);
	assert_int_equal(status_of(1).commit, 2);
}

/* APPENDs leave before the leader's own flush; followers may commit without the leader's disk, one follower and no disk may not. */
static void test_leaders_disk(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h->nodes[1].autoflush = false;
	h_propose(h, 1, "x");
	h_settle(h);
	assert_non_null(h_find(h, RAFT_MSG_APPEND, 1, 2));
	assert_non_null(h_find(h, RAFT_MSG_APPEND, 1, 3));
	h_deliver(h, 1, 2);
	h_deliver(h, 2, 1);
	assert_int_equal(status_of(1).commit, 1);
	h_deliver(h, 1, 3);
	h_deliver(h, 3, 1);
	assert_int_equal(status_of(1).commit, 2);
	assert_int_equal(status_of(1).durable_index, 1);
}

static void test_acknowledges_only_durable(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h->nodes[2].autoflush = false;
	h_propose(h, 1, "x");
	h_settle(h);
	h_deliver(h, 1, 2);
	assert_null(h_find(h, RAFT_MSG_APPEND_REPLY, 2, 1));
	h_flush_one(h, 2);
	h_settle(h);
	assert_int_equal(h_find(h, RAFT_MSG_APPEND_REPLY, 2, 1)->index, 2);
}

/* A replica that was cut off does not raise its term, and deposes nobody when it comes back. */
static void test_pre_vote(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_isolate(h, 3, true);
	h_run(h, 100);
	assert_int_equal(status_of(3).term, 1);
	assert_int_equal(status_of(3).state, RAFT_PRECANDIDATE);
	h_propose(h, 1, "x");
	h_pump(h);
	h_isolate(h, 3, false);
	h_run(h, 20);
	assert_int_equal(status_of(1).state, RAFT_LEADER);
	assert_int_equal(status_of(1).term, 1);
	assert_int_equal(h->nodes[3].commit, 2);
}

static void test_check_quorum(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_run(h, 10);
	h_isolate(h, 1, true);
	h_run(h, 20);
	assert_int_equal(status_of(1).state, RAFT_FOLLOWER);
	assert_int_equal(raft_leader(h->nodes[1].raft), 0);
	h_run(h, 30);
	assert_int_not_equal(h_leader(h), 0);
	assert_int_not_equal(h_leader(h), 1);
}

/* While a leader is heard, neither a pre-vote nor a vote with a newer term gets anything, a transfer's does. */
static void test_refuses_while_it_hears_a_leader(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_PREVOTE,.group = 7,.from = 3,.to = 2,.term = 9,.index = 5,.log_term = 1};

	(void) state;
	h_cluster(h, 3);
	lead(1);
	raft_step(h->nodes[2].raft, &m);
	h_settle(h);
	assert_true(h_find(h, RAFT_MSG_PREVOTE_REPLY, 2, 3)->reject);
	m.type = RAFT_MSG_VOTE;
	raft_step(h->nodes[2].raft, &m);
	h_settle(h);
	assert_null(h_find(h, RAFT_MSG_VOTE_REPLY, 2, 3));
	assert_int_equal(status_of(2).term, 1);
	m.context = 1;
	raft_step(h->nodes[2].raft, &m);
	h_settle(h);
	assert_false(h_find(h, RAFT_MSG_VOTE_REPLY, 2, 3)->reject);
}

static void test_one_vote_per_term(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_VOTE,.group = 7,.from = 2,.to = 1,.term = 3};

	(void) state;
	h_cluster(h, 3);
	raft_step(h->nodes[1].raft, &m);
	h_settle(h);
	assert_false(h_find(h, RAFT_MSG_VOTE_REPLY, 1, 2)->reject);
	m.from = 3;
	m.context = 1;				/* not for a transfer either */
	raft_step(h->nodes[1].raft, &m);
	h_settle(h);
	assert_true(h_find(h, RAFT_MSG_VOTE_REPLY, 1, 3)->reject);
	m.from = 2;
	raft_step(h->nodes[1].raft, &m);	/* the same again: yes */
	h_settle(h);
	assert_false(h_find(h, RAFT_MSG_VOTE_REPLY, 1, 2)->reject);
}

static void test_old_log_gets_no_vote(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_VOTE,.group = 7,.from = 3,.to = 2,.term = 9,.index = 1,.log_term = 1,.context = 1};

	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_propose(h, 1, "x");
	h_pump(h);
	raft_step(h->nodes[2].raft, &m);
	h_settle(h);
	assert_true(h_find(h, RAFT_MSG_VOTE_REPLY, 2, 3)->reject);
}

/* Long logs that differ over several terms meet again after a few messages, not after one per entry. */
static void test_fast_back_up(void **state)
{
	uint32_t	rejections = 0;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	for (int i = 0; i < 5; i++)
	{
		h_propose(h, 1, "common");
		h_pump(h);
	}
	h_isolate(h, 1, true);
	for (int i = 0; i < 60; i++)
		h_propose(h, 1, "of the old leader");
	h_pump(h);
	lead(2);
	for (int i = 0; i < 60; i++)
	{
		h_propose(h, 2, "of the new leader");
		h_pump(h);
	}
	lead(3);
	h_isolate(h, 1, false);
	for (int i = 0; i < 20 && h->nodes[1].commit < h->nodes[3].commit; i++)
	{
		h_tick(h, 3, 1);
		h_settle(h);
		while (h->n_net > 0)
		{
			RaftMessage m = h_take(h, 0);

			rejections += m.type == RAFT_MSG_APPEND_REPLY && m.reject && m.term == 3;
			h_step(h, &m);
			h_settle(h);
		}
	}
	assert_int_equal(h->nodes[1].commit, h->nodes[3].commit);
	assert_in_range(rejections, 1, 3);
}

/* What is in flight is bounded in entries' bytes and messages. */
static void test_bounds_in_flight(void **state)
{
	uint32_t	appends = 0;
	uint64_t	bytes = 0;

	(void) state;
	h->config.append_bytes_max = 100;
	h->config.inflight_max = 4;
	h->config.inflight_bytes_max = 300;
	h_cluster(h, 2);
	lead(1);
	h_settle(h);
	for (int i = 0; i < 100; i++)
		h_propose(h, 1, "twenty bytes of text");
	h_settle(h);
	for (uint32_t i = 0; i < h->n_net; i++)
	{
		uint32_t	one = 0;

		for (uint32_t k = 0; k < h->net[i].n_entries; k++)
			one += h->net[i].entries[k].payload->len;
		assert_in_range(one, 0, 100);
		appends += h->net[i].type == RAFT_MSG_APPEND;
		bytes += one;
	}
	assert_int_equal(appends, 3);
	assert_int_equal(bytes, 300);
	h_pump(h);
	assert_int_equal(h->nodes[2].last, 101);
	assert_int_equal(h_propose(h, 1, "an entry above the limit of one message, which goes alone: 0123456789012345678901234567890123456789012345678901234567890"), ND_OK);
	h_pump(h);
	assert_int_equal(h->nodes[2].commit, 102);
}

static void test_uncommitted_bytes(void **state)
{
	(void) state;
	h->config.uncommitted_bytes_max = 10;
	h_cluster(h, 2);
	lead(1);
	assert_int_equal(h_propose(h, 1, "more than ten bytes"), ND_OK);	/* one is always let in */
	assert_int_equal(h_propose(h, 1, "x"), ND_BUSY);
	h_pump(h);
	assert_int_equal(h_propose(h, 1, "x"), ND_OK);
	assert_int_equal(status_of(1).uncommitted_bytes, 1);
}

/* Lost, doubled and reordered messages: all is there in the end, without a client's help. */
static void test_losses_heal(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	for (int i = 0; i < 20; i++)
	{
		h_propose(h, 1, "x");
		h_settle(h);
		if (i % 4 == 1)
			h_drop(h, 1, 2);
		if (i % 4 == 2)
			h_drop(h, 3, 1);
		if (i % 4 == 3)
			for (uint32_t k = h->n_net; k > 0; k--)
			{
				RaftMessage m = h->net[k - 1];

				h_step(h, &m);
				h_settle(h);
			}
	}
	h_run(h, 5);
	for (NdNodeId id = 1; id <= 3; id++)
		assert_int_equal(h->nodes[id].commit, 21);
}

static void test_snapshot_for_one_who_lags(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_isolate(h, 3, true);
	for (int i = 0; i < 20; i++)
	{
		h_propose(h, 1, "x");
		h_pump(h);
	}
	h_compact(h, 1, 15);
	assert_int_equal(raft_compacted(h->nodes[1].raft, 100), ND_INVALID);
	h_isolate(h, 3, false);
	h_run(h, 3);
	assert_true(h->nodes[1].snapshot_needed[3]);
	assert_int_equal(h->nodes[3].last, 1);
	raft_snapshot_sent(h->nodes[1].raft, 3, 0);	/* it failed: announced again */
	h->nodes[1].snapshot_needed[3] = false;
	h_run(h, 3);
	assert_true(h->nodes[1].snapshot_needed[3]);
	assert_true(h_snapshot(h, 1));
	h_run(h, 3);
	assert_int_equal(h->nodes[3].commit, 21);
	h_propose(h, 1, "y");
	h_pump(h);
	assert_int_equal(h->nodes[3].commit, 22);
	assert_int_equal(raft_snapshot_installed(h->nodes[3].raft, 22, 1, raft_configuration(h->nodes[3].raft)), ND_INVALID);
}

/* A peer whose acknowledgements got lost seems to lag; it has all that a snapshot would bring, says so, and needs none. */
static void test_no_snapshot_for_one_who_matches(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h->cut[3][1] = true;
	for (int i = 0; i < 3; i++)
	{
		h_propose(h, 1, "x");
		h_pump(h);
	}
	assert_int_equal(h->nodes[3].last, 4);
	h_compact(h, 1, 5);
	assert_int_equal(h->nodes[3].commit, 3);
	h->cut[3][1] = false;
	raft_peer_unreachable(h->nodes[1].raft, 3);
	h_run(h, 2);
	assert_true(h->nodes[1].snapshot_needed[3]);
	h_propose(h, 1, "y");
	h_run(h, 1);
	assert_int_equal(h->nodes[3].commit, 5);
}

static void test_restart(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	for (int i = 0; i < 10; i++)
		h_propose(h, 1, "x");
	h_pump(h);
	for (NdNodeId id = 1; id <= 3; id++)
		h_crash(h, id);
	for (NdNodeId id = 1; id <= 3; id++)
		assert_int_equal(h_start(h, id), ND_OK);
	h_run(h, 60);
	assert_int_not_equal(h_leader(h), 0);
	assert_int_equal(h->nodes[h_leader(h)].commit, 12);
	assert_true(status_of(h_leader(h)).term > 1);
}

static void test_priority_stands_earlier(void **state)
{
	uint32_t	won = 0;

	(void) state;
	h_cluster(h, 3);
	for (uint64_t seed = 1; seed <= 20; seed++)
		for (NdNodeId id = 1; id <= 2; id++)
		{
			RaftConfig	config = h->config;
			RaftRestore *restore = h_alloc(sizeof(RaftRestore));
			RaftLog		log = {&h->nodes[id], h_read};
			Raft	   *r;
			RaftStatus	s;
			uint32_t	ticks = 0;

			config.self = id;
			config.seed = seed;
			config.priority = id == 2 ? 4 : 0;
			restore->first_index = 1;
			restore->configuration = restore->configuration_committed = h->nodes[1].bootstrap;
			assert_int_equal(raft_create(&config, restore, &log, &r), ND_OK);
			do
			{
				raft_tick(r);
				raft_status(r, &s);
				ticks++;
			} while (s.state == RAFT_FOLLOWER);
			assert_in_range(ticks, 10, id == 2 ? 12 : 20);
			won += id == 1 && ticks > 12;
			raft_destroy(r);
			free(restore);
		}
	assert_in_range(won, 5, 20);
}

/* The log's reader that says "later" is asked again; one that fails freezes the group. */
static void test_reader_later_and_never(void **state)
{
	(void) state;
	h_cluster(h, 2);
	lead(1);
	for (int i = 0; i < 2; i++)
	{
		h_propose(h, 1, "x");
		h_settle(h);
		h_drop(h, 0, 0);
		raft_peer_unreachable(h->nodes[1].raft, 2);
		h_read_status = i == 0 ? ND_BUSY : ND_DAMAGED;
		h_run(h, 1);
		assert_int_equal(h->nodes[2].last, 1 + i);
		if (i == 0)
		{
			assert_null(raft_frozen_reason(h->nodes[1].raft));
			h_read_status = ND_OK;
			h_run(h, 2);
			assert_int_equal(h->nodes[2].last, 2);
		}
	}
	h_read_status = ND_OK;
	assert_string_equal(raft_frozen_reason(h->nodes[1].raft), "the log could not be read");
	assert_int_equal(raft_tick(h->nodes[1].raft), ND_FROZEN);
	assert_false(raft_has_update(h->nodes[1].raft));
	h->error[0] = '\0';
}

static void test_two_leaders_freeze(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_APPEND,.group = 7,.from = 2,.to = 1,.term = 1};

	(void) state;
	h_cluster(h, 3);
	lead(1);
	assert_int_equal(raft_step(h->nodes[1].raft, &m), ND_FROZEN);
	assert_string_equal(raft_frozen_reason(h->nodes[1].raft), "two leaders in one term");
}

static void test_missing_acknowledged_entries_freeze(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_HEARTBEAT,.group = 7,.from = 1,.to = 2,.term = 1,.commit = 5};

	(void) state;
	h_cluster(h, 3);
	lead(1);
	assert_int_equal(raft_step(h->nodes[2].raft, &m), ND_FROZEN);
	assert_non_null(raft_frozen_reason(h->nodes[2].raft));
	assert_int_equal(h_propose(h, 1, "the others go on"), ND_OK);
	h->error[0] = '\0';
}

static void test_malformed_messages(void **state)
{
	RaftEntry	e[2] = {{2, 1, RAFT_ENTRY_DATA, NULL}, {4, 1, RAFT_ENTRY_DATA, NULL}};
	RaftMessage good = {.type = RAFT_MSG_APPEND,.group = 7,.from = 1,.to = 2,.term = 1,.index = 1,.log_term = 1,.n_entries = 1,.entries = e};
	RaftMessage m;

	(void) state;
	h_cluster(h, 3);
	lead(1);
#define BAD(change) do { m = good; change; assert_int_equal(raft_step(h->nodes[2].raft, &m), ND_INVALID); h_check(h, 2); } while (0)
	BAD(m.group = 8);
	BAD(m.to = 3);
	BAD(m.from = 0);
	BAD(m.from = 2);
	BAD(m.term = 0);
	BAD(m.term = UINT64_MAX);
	BAD(m.index = UINT64_MAX);
	BAD(m.type = 99);
	BAD(m.n_entries = 2);		/* a gap */
	BAD(m.entries = NULL);
	BAD(m.type = RAFT_MSG_VOTE);	/* with entries */
	BAD(e[0].term = 0);
	BAD(e[0].term = 2);
	e[0].term = 1;
	BAD(e[0].kind = 7);
	BAD(e[0].kind = RAFT_ENTRY_CONFIG);	/* without a configuration */
	e[0].kind = RAFT_ENTRY_DATA;
	assert_int_equal(status_of(2).last_index, 1);
	assert_int_equal(raft_step(h->nodes[2].raft, &good), ND_OK);
	assert_int_equal(status_of(2).last_index, 2);
}

static void test_contradictory_restore(void **state)
{
	RaftConfig	config = h->config;
	RaftRestore *good = h_alloc(sizeof(RaftRestore));
	RaftRestore *bad = h_alloc(sizeof(RaftRestore));
	RaftTermRun runs[] = {{3, 1}, {6, 2}};
	RaftLog		log = {&h->nodes[1], h_read};
	Raft	   *r;

	(void) state;
	config.self = 1;
	good->hard = (RaftHardState) {2, 0, 5};
	good->first_index = 4;
	good->prev_term = 1;
	good->last_index = 7;
	good->runs = runs;
	good->n_runs = 2;
	assert_int_equal(raft_create(&config, good, &log, &r), ND_OK);
	assert_int_equal(raft_term_of(r, 3), 1);
	assert_int_equal(raft_term_of(r, 5), 1);
	assert_int_equal(raft_term_of(r, 6), 2);
	assert_int_equal(raft_term_of(r, 8), 0);
	assert_null(raft_check(r));
	raft_destroy(r);
#define REFUSED(change) do { *bad = *good; change; assert_int_equal(raft_create(&config, bad, &log, &r), ND_INVALID); } while (0)
	REFUSED(bad->first_index = 0);
	REFUSED(bad->last_index = 2);
	REFUSED(bad->n_runs = 0);
	REFUSED(bad->prev_term = 5);
	REFUSED(bad->hard.commit = 8);
	REFUSED(bad->configuration.index = 9);
	REFUSED(bad->configuration.n = 1);
	REFUSED(bad->configuration.joint = true);
	config.heartbeat_ticks = config.election_ticks;
	REFUSED((void) 0);
	free(good);
	free(bad);
}

/* Between taking an update and being done with it no event is taken. */
static void test_no_event_during_an_update(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_VOTE, .group = h->config.group, .from = 2, .to = 1, .term = 9};
	RaftUpdate	u;
	uint64_t	index;
	uint64_t	term;
	NdBlob	   *none = NULL;
	Raft	   *r;

	(void) state;
	h_cluster(h, 1);
	r = h->nodes[1].raft;
	raft_tick(r);
	assert_true(raft_has_update(r));
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	assert_true(u.hard_changed);
	assert_false(raft_has_update(r));
	assert_int_equal(raft_tick(r), ND_INVALID);
	assert_int_equal(raft_step(r, &m), ND_INVALID);
	assert_int_equal(raft_take_update(r, &u), ND_INVALID);
	assert_int_equal(raft_propose(r, &none, 1, &index, &term), ND_INVALID);
	assert_int_equal(raft_propose_configuration(r, raft_configuration(r), &index), ND_INVALID);
	assert_int_equal(raft_read_index(r, 1), ND_INVALID);
	assert_int_equal(raft_transfer(r, 1), ND_INVALID);
	assert_int_equal(raft_campaign(r), ND_INVALID);
	assert_int_equal(raft_peer_unreachable(r, 2), ND_INVALID);
	assert_int_equal(raft_snapshot_sent(r, 2, 0), ND_INVALID);
	assert_int_equal(raft_persisted(r, 1, 1), ND_INVALID);
	assert_int_equal(raft_hard_persisted(r, u.hard_seq), ND_INVALID);
	assert_int_equal(raft_compacted(r, 1), ND_INVALID);
	assert_int_equal(raft_set_install(r, RAFT_INSTALL_NONE, 0, 0), ND_INVALID);
	assert_int_equal(raft_snapshot_installed(r, 5, 1, raft_configuration(r)), ND_INVALID);
	raft_update_done(r);
	raft_update_done(r);		/* once more: nothing */
	assert_int_equal(raft_hard_persisted(r, u.hard_seq + 1), ND_INVALID);
	assert_int_equal(raft_hard_persisted(r, u.hard_seq), ND_OK);
	assert_true(raft_is_leader(r));
	assert_int_equal(raft_hard_persisted(r, u.hard_seq), ND_OK);	/* told twice */
}

/* A disk that does not finish a hard state: the answers to heartbeats, which never end, wait for it in bounded memory. */
static void test_held_answers_are_bounded(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_HEARTBEAT, .group = h->config.group, .from = 2, .to = 1, .term = 1};
	RaftUpdate	u;
	Raft	   *r;
	uint64_t	seq;

	(void) state;
	h_cluster(h, 3);
	r = h->nodes[1].raft;
	assert_int_equal(raft_step(r, &m), ND_OK);
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	assert_true(u.hard_changed);
	seq = u.hard_seq;
	raft_update_done(r);
	for (m.context = 1; m.context <= 10000; m.context++)
	{
		assert_int_equal(raft_step(r, &m), ND_OK);
		assert_int_equal(raft_take_update(r, &u), ND_OK);
		assert_int_equal(u.n_messages + u.n_messages_after, 0);
		raft_update_done(r);
	}
	assert_int_equal(raft_hard_persisted(r, seq), ND_OK);
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	assert_in_range(u.n_messages, 1, 300);
	raft_update_done(r);
	/* From now on they leave at once again. */
	assert_int_equal(raft_step(r, &m), ND_OK);
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	assert_int_equal(u.n_messages, 1);
	raft_update_done(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Every call on a frozen group says so and changes nothing; calls out of contract are told. */
static void test_frozen_says_so(void **state)
{
	Harness    *h = h_alloc(sizeof(Harness));
	NdBlob	   *blob = h_blob(&(NdBlob) {1, 0});
	RaftConfiguration *c = h_alloc(sizeof(RaftConfiguration));
	RaftMessage m = {.type = RAFT_MSG_HEARTBEAT, .group = 7, .from = 2, .to = 1, .term = 1};
	RaftUpdate	u;
	uint64_t	index;
	uint64_t	term;
	Raft	   *r;

	(void) state;
	h_init(h);
	h_cluster(h, 3);
	h_stand(h, 1);
	h_pump(h);
	r = h->nodes[1].raft;
	assert_true(raft_is_leader(r));
	assert_int_equal(raft_propose(r, &blob, 0, &index, &term), ND_INVALID);
	h_member(c, 1, RAFT_LEARNER);
	assert_int_equal(raft_propose_configuration(r, c, &index), ND_INVALID);
	assert_int_equal(raft_compacted(r, 1000), ND_INVALID);
	m.type = 99;
	assert_int_equal(raft_step(r, &m), ND_INVALID);
	/* a peer needs what only the log can give, and the log is damaged */
	h_isolate(h, 2, true);
	assert_int_equal(h_propose(h, 1, "far behind"), ND_OK);
	h_run(h, 3);
	h_isolate(h, 2, false);
	h_read_status = ND_DAMAGED;
	h_run(h, 3);
	h_read_status = ND_OK;
	assert_non_null(raft_frozen_reason(r));
	m.type = RAFT_MSG_HEARTBEAT;
	assert_int_equal(raft_tick(r), ND_FROZEN);
	assert_int_equal(raft_step(r, &m), ND_FROZEN);
	assert_int_equal(raft_propose(r, &blob, 1, &index, &term), ND_FROZEN);
	assert_int_equal(raft_propose_configuration(r, c, &index), ND_FROZEN);
	assert_int_equal(raft_read_index(r, 1), ND_FROZEN);
	assert_int_equal(raft_transfer(r, 2), ND_FROZEN);
	assert_int_equal(raft_campaign(r), ND_FROZEN);
	assert_int_equal(raft_peer_unreachable(r, 2), ND_FROZEN);
	assert_int_equal(raft_snapshot_sent(r, 2, true), ND_FROZEN);
	assert_int_equal(raft_persisted(r, 1, 1), ND_FROZEN);
	assert_int_equal(raft_hard_persisted(r, 1), ND_FROZEN);
	assert_int_equal(raft_compacted(r, 2), ND_FROZEN);
	assert_int_equal(raft_set_install(r, RAFT_INSTALL_NONE, 0, 0), ND_FROZEN);
	assert_int_equal(raft_snapshot_installed(r, 5, 1, c), ND_FROZEN);
	assert_int_equal(raft_take_update(r, &u), ND_FROZEN);
	h_free(h);
	free(h);
	free(blob);
	free(c);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_three_elect_one), T(test_replicates), T(test_lone_voter), T(test_leaders_disk), T(test_acknowledges_only_durable),
		T(test_pre_vote), T(test_check_quorum), T(test_refuses_while_it_hears_a_leader), T(test_one_vote_per_term),
		T(test_old_log_gets_no_vote), T(test_fast_back_up), T(test_bounds_in_flight), T(test_uncommitted_bytes), T(test_losses_heal),
		T(test_snapshot_for_one_who_lags), T(test_no_snapshot_for_one_who_matches), T(test_restart), T(test_priority_stands_earlier), T(test_reader_later_and_never),
		T(test_two_leaders_freeze),
		T(test_missing_acknowledged_entries_freeze), T(test_malformed_messages), T(test_contradictory_restore),
		T(test_no_event_during_an_update), T(test_frozen_says_so),
		T(test_held_answers_are_bounded),
	};

	if (argc > 1)
		nd_mutant = nd_mutant_by_name(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
