/*
 * test_raft_edges.c: what hardly ever happens to a group: bounds that are reached, memory that is missing at one place, rare orders of events.
 */
#include "nomem_kit.h"
#include "raft_one.h"
#include "../../src/core/raft/raft_internal.h"	/* how full the queue of messages is */

static int teardown_all(void **state)
{
	return teardown(state) != 0 || nomem_live() != 0;
}

/* An APPEND of node 1 to node 2, behind prev: n empty entries of `term`. */
static NdStatus append(uint64_t term, uint64_t prev, uint64_t prev_term, uint32_t n)
{
	RaftEntry	entries[8];
	RaftMessage m = {.type = RAFT_MSG_APPEND, .group = 7, .from = 1, .to = 2, .term = term, .index = prev, .log_term = prev_term,
	.n_entries = n, .entries = entries};
	NdStatus	status;

	for (uint32_t i = 0; i < n; i++)
		entries[i] = (RaftEntry) {prev + 1 + i, term, RAFT_ENTRY_DATA, NULL};
	status = raft_step(h->nodes[2].raft, &m);
	h_check(h, 2);
	return status;
}

/* Pre-votes that are refused, until the answers fill the queue: the next message needs memory. */
static void fill_queue(NdNodeId at, NdNodeId from)
{
	Raft	   *r = h->nodes[at].raft;
	RaftMessage m = {.type = RAFT_MSG_PREVOTE, .group = 7, .from = from, .to = at, .term = 1};

	do
		assert_int_equal(raft_step(r, &m), ND_OK);
	while (r->out.n < r->out.cap);
}

/* ---- restart ---- */

/* A crash between the entries and the hard state of their term: nobody has this term's vote, and the term is stored before anything leaves. */
static void test_entries_of_a_later_term(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_VOTE, .group = 7, .from = 3, .to = 2, .term = 5, .index = 9, .log_term = 5};
	RaftUpdate	u;
	Raft	   *r;

	(void) state;
	h_cluster(h, 3);
	h->nodes[2].autoflush = false;
	h_crash(h, 2);
	h->nodes[2].hard = (RaftHardState) {3, 1, 0};
	h->nodes[2].disk[1] = (RaftEntry) {1, 3, RAFT_ENTRY_NOOP, NULL};
	h->nodes[2].disk[2] = (RaftEntry) {2, 5, RAFT_ENTRY_NOOP, NULL};
	h->nodes[2].disk_last = 2;
	assert_int_equal(h_start(h, 2), ND_OK);
	r = h->nodes[2].raft;
	assert_int_equal(status_of(2).term, 5);
	assert_int_equal(status_of(2).vote, 0);
	assert_int_equal(raft_step(r, &m), ND_OK);
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	assert_true(u.hard_changed);
	assert_int_equal(u.hard.term, 5);
	assert_int_equal(u.hard.vote, 3);
	assert_int_equal(u.n_messages, 0);
	assert_int_equal(u.n_messages_after, 1);
	raft_update_done(r);
}

/* ---- cuts ---- */

/* Entries that the driver was never given are cut without a word to it. */
static void test_cut_of_entries_not_handed_over(void **state)
{
	RaftUpdate	u;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	assert_int_equal(append(1, 1, 1, 4), ND_OK);
	assert_int_equal(append(2, 3, 1, 1), ND_OK);
	assert_int_equal(status_of(2).last_index, 4);
	assert_int_equal(raft_term_of(h->nodes[2].raft, 3), 1);
	assert_int_equal(raft_term_of(h->nodes[2].raft, 4), 2);
	assert_int_equal(raft_take_update(h->nodes[2].raft, &u), ND_OK);
	assert_int_equal(u.truncate_from, 0);
	assert_int_equal(u.n_entries, 3);
	raft_update_done(h->nodes[2].raft);
}

/* Cut after cut while the disk does not finish: more fences than there is room for. What is durable is told later, never too early. */
static void test_more_cuts_than_fences(void **state)
{
	uint64_t	seq[3 * RAFT_FENCES];
	uint64_t	durable = 1;
	Raft	   *r;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	r = h->nodes[2].raft;
	for (uint32_t i = 0; i < 3 * RAFT_FENCES; i++)
	{
		RaftUpdate	u;

		/* each leader has one entry more than the one before, and none of its entries */
		assert_int_equal(append(2 + i, 1, 1, 1 + i % 8), ND_OK);
		assert_int_equal(raft_take_update(r, &u), ND_OK);
		assert_int_equal(u.truncate_from, i > 0 ? 2 : 0);
		assert_true(u.hard_changed);
		seq[i] = u.hard_seq;
		raft_update_done(r);
	}
	for (uint32_t i = 0; i < 3 * RAFT_FENCES; i++)
	{
		/* Completions of entries say nothing: the same index and term may have stood there before. */
		assert_int_equal(raft_persisted(r, 2, status_of(2).term), ND_OK);
		assert_int_equal(status_of(2).durable_index, durable);
		assert_int_equal(raft_hard_persisted(r, seq[i]), ND_OK);
		h_check(h, 2);
		if (i + 1 == 3 * RAFT_FENCES)
			durable = status_of(2).last_index;
		assert_int_equal(status_of(2).durable_index, durable);
	}
	assert_true(durable > 1);
}

/* ---- snapshots ---- */

/* What was appended and not handed over goes with the log that a snapshot replaces. */
static void test_snapshot_over_pending_entries(void **state)
{
	Raft	   *r;
	RaftUpdate	u;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	r = h->nodes[2].raft;
	assert_int_equal(append(1, 1, 1, 4), ND_OK);
	assert_int_equal(raft_set_install(r, RAFT_INSTALL_CLOSED, 9, 1), ND_OK);
	assert_int_equal(append(1, 5, 1, 1), ND_OK);	/* as if it were lost */
	assert_int_equal(status_of(2).last_index, 5);
	assert_int_equal(raft_snapshot_installed(r, 9, 1, raft_configuration(r)), ND_OK);
	h_check(h, 2);
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	assert_int_equal(u.n_entries, 0);
	assert_int_equal(u.commit, 9);
	raft_update_done(r);
	assert_int_equal(status_of(2).first_index, 10);
}

/* A snapshot comes in at a replica that asks for votes: it could not win, so it stops asking. */
static void test_snapshot_ends_a_campaign(void **state)
{
	(void) state;
	h_cluster(h, 3);
	for (int candidate = 0; candidate < 2; candidate++)
	{
		raft_campaign(h->nodes[2].raft);
		h_settle(h);
		if (candidate)
		{
			h_deliver(h, 2, 3);
			h_deliver(h, 3, 2);
		}
		assert_int_equal(status_of(2).state, candidate ? RAFT_CANDIDATE : RAFT_PRECANDIDATE);
		assert_int_equal(raft_set_install(h->nodes[2].raft, RAFT_INSTALL_COMING, 5, 1), ND_OK);
		h_check(h, 2);
		assert_int_equal(status_of(2).state, RAFT_FOLLOWER);
		h_pump(h);
		assert_int_equal(status_of(2).state, RAFT_FOLLOWER);	/* votes that still arrive make no leader */
		assert_int_equal(raft_set_install(h->nodes[2].raft, RAFT_INSTALL_NONE, 0, 0), ND_OK);
	}
}

/* Answers about snapshots that cannot be, or came late: the leader goes on with what it knows. */
static void test_odd_snapshot_replies(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_SNAPSHOT_REPLY, .group = 7, .from = 3, .to = 1, .term = 1};
	RaftPeerStatus before;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_propose(h, 1, "x");
	h_pump(h);
	before = status_of(1).peers[1];
	assert_int_equal(before.match, 2);
	for (int odd = 0; odd < 3; odd++)
	{
		m.index = odd == 0 ? 1 : odd == 1 ? 3 : 2;	/* below what it has acknowledged; beyond the log; refused */
		m.reject = odd == 2;
		assert_int_equal(raft_step(h->nodes[1].raft, &m), ND_OK);
		h_check(h, 1);
		assert_int_equal(status_of(1).peers[1].match, before.match);
		assert_int_equal(status_of(1).peers[1].next, before.next);
	}
}

/* A snapshot from someone who lies: this term's leader has shown us other entries in its place. Older ones may go. */
static void test_snapshot_against_what_matched(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_HEARTBEAT, .group = 7, .from = 3, .to = 2, .term = 9};
	Raft	   *r;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	for (int i = 0; i < 4; i++)
		h_propose(h, 1, "x");
	h_settle(h);
	h_deliver(h, 1, 2);
	r = h->nodes[2].raft;
	assert_int_equal(status_of(2).last_index, 5);
	assert_int_equal(status_of(2).commit, 1);
	assert_int_equal(raft_set_install(r, RAFT_INSTALL_COMING, 3, 1), ND_INVALID);	/* we have it */
	for (int lie = 0; lie < 2; lie++)
	{
		if (lie == 0)
		{
			/* in a new term nothing matched yet */
			assert_int_equal(raft_step(r, &m), ND_OK);
			assert_int_equal(raft_set_install(r, RAFT_INSTALL_COMING, 3, 8), ND_OK);
			assert_int_equal(raft_set_install(r, RAFT_INSTALL_NONE, 0, 0), ND_OK);
			m = (RaftMessage) {.type = RAFT_MSG_APPEND, .group = 7, .from = 3, .to = 2, .term = 9, .index = 5, .log_term = 1};
			assert_int_equal(raft_step(r, &m), ND_OK);
			h_check(h, 2);
		}
		assert_int_equal(lie == 0 ? raft_set_install(r, RAFT_INSTALL_COMING, 3, 8) : raft_snapshot_installed(r, 3, 8, raft_configuration(r)), ND_FROZEN);
	}
	assert_string_equal(raft_frozen_reason(r), "a snapshot contradicts entries that were matched in this term");
}

static RaftConfiguration *members;

static NdStatus install(void *arg)
{
	return raft_snapshot_installed(arg, 9, 1, members);
}

static void nothing_installed(void *arg)
{
	RaftStatus	s;

	raft_status(arg, &s);
	assert_int_equal(s.last_index, 0);
	assert_int_equal(raft_configuration(arg)->n, 0);
	assert_null(raft_check(arg));
}

static void test_install_without_memory(void **state)
{
	(void) state;
	h_cluster(h, 1);
	assert_int_equal(h_start(h, 2), ND_OK);	/* nobody told it who the members are */
	members = h_alloc(sizeof(RaftConfiguration));
	for (NdNodeId id = 1; id <= 7; id++)
		h_member(members, id, RAFT_VOTER);
	assert_int_equal(nomem_call(install, nothing_installed, h->nodes[2].raft), 3);
	h_check(h, 2);
	assert_int_equal(raft_configuration(h->nodes[2].raft)->n, 7);
	free(members);
}

/* No memory for the announcement: it is made at a later tick. */
static void test_announcement_without_memory(void **state)
{
	RaftUpdate	u;
	Raft	   *r;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_isolate(h, 3, true);
	for (int i = 0; i < 10; i++)
		h_propose(h, 1, "x");
	h_pump(h);
	h_compact(h, 1, 9);
	h_isolate(h, 3, false);
	h_tick(h, 1, 1);
	h_settle(h);
	h_deliver(h, 1, 3);
	h_deliver(h, 3, 1);
	h_deliver(h, 1, 3);			/* the probe */
	assert_non_null(h_find(h, RAFT_MSG_APPEND_REPLY, 3, 1));
	r = h->nodes[1].raft;
	assert_int_equal(raft_step(r, h_find(h, RAFT_MSG_APPEND_REPLY, 3, 1)), ND_OK);
	fill_queue(1, 2);
	nomem_fail(1, NOMEM_ALL);
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	assert_true(nomem_failed());
	nomem_fail(0, 0);
	assert_int_equal(u.snapshot_needed_index, 0);
	raft_update_done(r);
	h_check(h, 1);
	assert_false(h->nodes[1].snapshot_needed[3]);
	h_drop(h, 0, 0);
	h_tick(h, 1, 1);
	h_settle(h);
	assert_true(h->nodes[1].snapshot_needed[3]);
	assert_true(h_snapshot(h, 1));
	h_run(h, 2);
	assert_int_equal(h->nodes[3].commit, 11);
}

/* ---- reads ---- */

static void test_reads_are_bounded(void **state)
{
	RaftMessage m = {.type = RAFT_MSG_READ_INDEX, .group = 7, .from = 3, .to = 1, .term = 1, .context = 77};
	Raft	   *r;
	RaftUpdate	u;
	uint32_t	answered = 0;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	r = h->nodes[1].raft;
	for (uint64_t context = 1; context <= RAFT_READS_MAX; context++)
		assert_int_equal(raft_read_index(r, context), ND_OK);
	assert_int_equal(raft_read_index(r, RAFT_READS_MAX + 1), ND_BUSY);
	assert_int_equal(raft_step(r, &m), ND_OK);
	h_check(h, 1);
	assert_int_equal(raft_take_update(r, &u), ND_OK);
	for (uint32_t i = 0; i < u.n_messages; i++)
	{
		h_post(h, &u.messages[i]);
		answered += u.messages[i].type == RAFT_MSG_READ_INDEX_REPLY && u.messages[i].context == 77 && u.messages[i].reject;
	}
	raft_update_done(r);
	assert_int_equal(answered, 1);	/* it need not wait for one that comes never */
	h_deliver(h, 1, 2);
	h->nodes[1].n_reads = 0;
	h_deliver(h, 2, 1);
	assert_int_equal(raft_read_index(r, RAFT_READS_MAX + 1), ND_OK);
}

/* A question that cannot be sent is not asked. */
static void test_read_without_memory(void **state)
{
	Raft	   *r;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	r = h->nodes[2].raft;
	assert_int_equal(raft_read_index(r, 1), ND_OK);
	fill_queue(2, 3);
	nomem_fail(1, NOMEM_ALL);
	assert_int_equal(raft_read_index(r, 2), ND_NOMEM);
	nomem_fail(0, 0);
	h_check(h, 2);
	h_pump(h);
	assert_int_equal(h->nodes[2].n_reads, 1);
	assert_int_equal(h->nodes[2].reads[0].context, 1);
	assert_int_equal(raft_read_index(r, 2), ND_OK);
	h_run(h, 15);
	assert_int_equal(h->nodes[2].n_reads, 2);	/* one answer each */
	assert_false(h->nodes[2].reads[1].lost);
}

/* ---- sizes ---- */

static void test_too_many_members(void **state)
{
	RaftConfiguration *c = h_alloc(2 * sizeof(RaftConfiguration));	/* one more member than fits, without reading beyond */
	uint64_t	index;
	NdBuf		buf;

	(void) state;
	h_cluster(h, 1);
	lead(1);
	for (NdNodeId id = 2; id <= RAFT_MEMBERS_MAX + 1; id++)
		h_member(c, id, RAFT_VOTER);
	/* 63 that shall be and one that goes */
	assert_int_equal(raft_propose_configuration(h->nodes[1].raft, c, &index), ND_TOOBIG);
	h_check(h, 1);
	assert_int_equal(raft_configuration(h->nodes[1].raft)->n, 1);
	assert_int_equal(h_propose(h, 1, "no change is under way"), ND_OK);
	c->n = RAFT_MEMBERS_MAX + 1;
	assert_int_equal(raft_propose_configuration(h->nodes[1].raft, c, &index), ND_INVALID);
	nd_buf_init(&buf);
	assert_int_equal(raft_configuration_encode(c, &buf), ND_INVALID);
	assert_int_equal(buf.len, 0);
	c->n = RAFT_MEMBERS_MAX - 1;
	assert_int_equal(raft_propose_configuration(h->nodes[1].raft, c, &index), ND_OK);
	assert_int_equal(raft_configuration(h->nodes[1].raft)->n, RAFT_MEMBERS_MAX);
	nd_buf_free(&buf);
	free(c);
}

static void test_array_beyond_32_bits(void **state)
{
	void	   *array = NULL;
	uint32_t	cap = 0;

	(void) state;
	assert_false(raft__reserve(&array, &cap, (uint64_t) UINT32_MAX + 1, 1));
	assert_null(array);
	assert_int_equal(cap, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_entries_of_a_later_term), T(test_cut_of_entries_not_handed_over), T(test_more_cuts_than_fences),
		T(test_snapshot_over_pending_entries), T(test_snapshot_ends_a_campaign), T(test_odd_snapshot_replies), T(test_snapshot_against_what_matched), T(test_install_without_memory),
		T(test_announcement_without_memory), T(test_reads_are_bounded), T(test_read_without_memory), T(test_too_many_members),
		T(test_array_beyond_32_bits),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
