/*
 * test_raft_members.c: membership, leader transfer and reads of the Raft core, one fact each.
 */
#include "raft_one.h"
#include "../../src/core/base/mutant.h"

static RaftConfiguration *c;

static int setup_members(void **state)
{
	c = h_alloc(sizeof(RaftConfiguration));
	return setup(state);
}

static int teardown_members(void **state)
{
	free(c);
	return teardown(state);
}

/* Propose the members given, e.g. "1v 2v 3l", at a node. */
static NdStatus change(NdNodeId at, const char *members, uint64_t *index)
{
	uint64_t	unused;
	NdStatus	status;

	memset(c, 0, sizeof(*c));
	for (; *members != '\0'; members += members[2] == ' ' ? 3 : 2)
		h_member(c, (NdNodeId) (members[0] - '0'), members[1] == 'v' ? RAFT_VOTER : RAFT_LEARNER);
	status = raft_propose_configuration(h->nodes[at].raft, c, index != NULL ? index : &unused);
	h_check(h, at);
	return status;
}

static RaftRole role_of(NdNodeId who, NdNodeId as_seen_by)
{
	const RaftMember *m = raft_configuration_find(raft_configuration(h->nodes[as_seen_by].raft), who);

	return m == NULL ? 99 : m->role;
}

static void test_learner_then_voter(void **state)
{
	(void) state;
	h_cluster(h, 1);
	h_run(h, 2);
	h_propose(h, 1, "x");
	h_pump(h);
	h_start(h, 2);
	assert_int_equal(change(1, "1v 2l", NULL), ND_OK);
	assert_int_equal(role_of(2, 1), RAFT_LEARNER);	/* in effect when appended */
	h_run(h, 3);
	assert_int_equal(h->nodes[2].commit, 3);
	assert_int_equal(role_of(2, 2), RAFT_LEARNER);
	h_isolate(h, 2, true);
	h_propose(h, 1, "a learner is not waited for");
	h_run(h, 40);
	assert_int_equal(status_of(1).commit, 4);
	assert_int_equal(status_of(2).state, RAFT_FOLLOWER);	/* and does not stand */
	h_isolate(h, 2, false);
	h_run(h, 3);
	assert_int_equal(change(1, "1v 2v", NULL), ND_OK);
	h_run(h, 3);
	assert_int_equal(status_of(1).commit, 5);
	h_isolate(h, 2, true);
	h_propose(h, 1, "a voter is");
	h_pump(h);
	assert_int_equal(status_of(1).commit, 5);
}

static void test_one_change_at_a_time(void **state)
{
	uint64_t	index;

	(void) state;
	h_cluster(h, 3);
	lead(1);
	assert_int_equal(change(2, "1v 2v", NULL), ND_NOTLEADER);
	assert_int_equal(change(1, "1l 2l 3l", NULL), ND_INVALID);	/* no voter */
	assert_int_equal(change(1, "1v 1v 2v 3v", NULL), ND_INVALID);
	assert_int_equal(change(1, "1v 2v 3v 4l 5l", &index), ND_OK);	/* learners do not count */
	assert_int_equal(index, 2);
	assert_int_equal(change(1, "1v 2v 3v 4l", NULL), ND_BUSY);
	h_pump(h);
	assert_int_equal(change(1, "1v 2v 3v 4l", NULL), ND_OK);
	h_pump(h);
	assert_int_equal(status_of(1).commit, 3);
}

static void test_removed_leader_steps_down(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	assert_int_equal(change(1, "2v 3v", NULL), ND_OK);
	h_settle(h);
	h_deliver(h, 1, 2);
	h_deliver(h, 2, 1);
	assert_int_equal(status_of(1).commit, 1);	/* itself no longer counts: one of two */
	assert_int_equal(status_of(1).state, RAFT_LEADER);
	h_deliver(h, 1, 3);
	h_deliver(h, 3, 1);
	assert_int_equal(status_of(1).commit, 2);
	assert_int_equal(status_of(1).state, RAFT_FOLLOWER);
	h_pump(h);					/* it asked the best one to follow it at once */
	assert_int_not_equal(h_leader(h), 0);
	assert_int_not_equal(h_leader(h), 1);
	h_run(h, 60);
	assert_int_equal(status_of(1).state, RAFT_FOLLOWER);
}

/* A pair whose leader removed itself: only the leader has the change, and the other must not be locked out by it. */
static void test_removed_leader_of_a_pair(void **state)
{
	(void) state;
	h_cluster(h, 2);
	lead(2);
	assert_int_equal(change(2, "1v", NULL), ND_OK);
	h_settle(h);
	h_drop(h, 0, 0);
	h_crash(h, 2);
	h_start(h, 2);
	h_run(h, 80);
	assert_int_equal(h_leader(h), 1);
	assert_int_equal(role_of(2, 1), 99);
	h_propose(h, 1, "x");
	h_run(h, 2);
	assert_int_equal(status_of(1).commit, status_of(1).last_index);
}

static void test_truncated_change_is_rolled_back(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_isolate(h, 1, true);
	assert_int_equal(change(1, "1v 2v 3v 4v", NULL), ND_OK);
	h_pump(h);
	assert_int_equal(role_of(4, 1), RAFT_VOTER);
	lead(2);
	h_isolate(h, 1, false);
	h_run(h, 3);
	assert_int_equal(role_of(4, 1), 99);
	assert_int_equal(raft_configuration(h->nodes[1].raft)->index, 0);
}

static void test_change_survives_a_restart(void **state)
{
	(void) state;
	h_cluster(h, 3);
	h_start(h, 4);
	lead(1);
	assert_int_equal(change(1, "1v 2v 3v 4v", NULL), ND_OK);
	h_run(h, 3);
	for (NdNodeId id = 1; id <= 4; id++)
	{
		h_crash(h, id);
		h_start(h, id);
		assert_int_equal(role_of(4, id), RAFT_VOTER);
	}
	h_run(h, 50);
	assert_int_not_equal(h_leader(h), 0);
}

static void test_context_is_carried(void **state)
{
	uint64_t	index;

	(void) state;
	h_cluster(h, 2);
	lead(1);
	h_member(c, 1, RAFT_VOTER);
	h_member(c, 2, RAFT_VOTER);
	c->members[1].context_len = 255;
	memset(c->members[1].context, 'z', 255);
	assert_int_equal(raft_propose_configuration(h->nodes[1].raft, c, &index), ND_OK);
	h_pump(h);
	assert_int_equal(raft_configuration(h->nodes[2].raft)->index, index);
	assert_memory_equal(raft_configuration(h->nodes[2].raft)->members[1].context, c->members[1].context, 255);
}

/* Golden bytes, and every way to be malformed. */
static void test_configuration_bytes(void **state)
{
	static const uint8_t golden[] = {1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 2, 'h', 'i'};
	RaftConfiguration *back = h_alloc(sizeof(RaftConfiguration));
	uint8_t		bytes[sizeof(golden) + 1];
	NdBuf		buf;

	(void) state;
	h_member(c, 1, RAFT_VOTER);
	h_member(c, 2, RAFT_LEARNER);
	c->index = 9;
	c->members[1].context_len = 2;
	memcpy(c->members[1].context, "hi", 2);
	nd_buf_init(&buf);
	assert_int_equal(raft_configuration_encode(c, &buf), ND_OK);
	assert_int_equal(buf.len, sizeof(golden));
	assert_memory_equal(buf.data, golden, sizeof(golden));
	assert_int_equal(raft_configuration_decode(buf.data, buf.len, back), ND_OK);
	assert_memory_equal(back, c, sizeof(*c));
	nd_buf_free(&buf);
	for (size_t len = 0; len < sizeof(golden); len++)
		assert_int_equal(raft_configuration_decode(golden, len, back), ND_INVALID);
#define BAD(at, value, status) do { memcpy(bytes, golden, sizeof(golden)); bytes[at] = value; \
	assert_int_equal(raft_configuration_decode(bytes, sizeof(golden), back), status); } while (0)
	BAD(0, 2, ND_VERSION);
	BAD(0, 0, ND_INVALID);
	BAD(1, 2, ND_VERSION);
	BAD(1, 1, ND_INVALID);		/* joint, without a voter of the outgoing configuration */
	BAD(15, 3, ND_INVALID);		/* of the outgoing one, but not joint */
	BAD(15, 4, ND_INVALID);		/* leaving likewise */
	BAD(15, 8, ND_INVALID);
	BAD(10, 64, ND_INVALID);
	BAD(10, 1, ND_INVALID);		/* bytes left over */
	BAD(11, 0, ND_INVALID);		/* no node 0 */
	BAD(11, 2, ND_INVALID);		/* not ascending */
	BAD(15, 2, ND_INVALID);		/* role */
	BAD(22, 3, ND_INVALID);
	memcpy(bytes, golden, sizeof(golden));
	assert_int_equal(raft_configuration_decode(bytes, sizeof(bytes), back), ND_INVALID);
	free(back);
}

/* A joint configuration and what it becomes. */
static void test_joint_bytes(void **state)
{
	static const uint8_t golden[] = {1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 6, 0, 2, 0, 0, 0, 3, 0, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 2, 0};
	RaftConfiguration *back = h_alloc(sizeof(RaftConfiguration));
	RaftConfiguration *target = h_alloc(sizeof(RaftConfiguration));
	uint8_t		bytes[sizeof(golden)];
	NdBuf		buf;

	(void) state;
	h_member(c, 1, RAFT_LEAVING);
	h_member(c, 2, RAFT_VOTER);
	h_member(c, 3, RAFT_VOTER);
	h_member(c, 4, RAFT_LEARNER);
	c->joint = c->members[0].in_old = c->members[1].in_old = c->members[3].in_old = true;
	c->index = 7;
	nd_buf_init(&buf);
	assert_int_equal(raft_configuration_encode(c, &buf), ND_OK);
	assert_int_equal(buf.len, sizeof(golden));
	assert_memory_equal(buf.data, golden, sizeof(golden));
	assert_int_equal(raft_configuration_decode(buf.data, buf.len, back), ND_OK);
	assert_memory_equal(back, c, sizeof(*c));
	nd_buf_free(&buf);
	BAD(15, 4, ND_INVALID);		/* leaving what it was not in */
	BAD(15, 7, ND_INVALID);		/* leaving and voter */
	BAD(15, 8, ND_INVALID);
	raft_configuration_target(c, target);
	assert_false(target->joint);
	assert_int_equal(target->n, 3);
	assert_int_equal(target->members[0].node, 2);
	assert_int_equal(target->members[2].role, RAFT_LEARNER);
	for (uint32_t i = 0; i < 3; i++)
		assert_false(target->members[i].in_old);
	raft_configuration_target(target, back);
	assert_memory_equal(target, back, offsetof(RaftConfiguration, members) + back->n * sizeof(RaftMember));
	free(back);
	free(target);
}

/* ---- transfer ---- */

static void test_transfer(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	assert_int_equal(raft_transfer(h->nodes[2].raft, 3), ND_NOTLEADER);
	assert_int_equal(raft_transfer(h->nodes[1].raft, 9), ND_NOTFOUND);
	h_propose(h, 1, "x");
	assert_int_equal(raft_transfer(h->nodes[1].raft, 3), ND_OK);
	h_settle(h);
	assert_null(h_find(h, RAFT_MSG_TIMEOUT_NOW, 1, 3));	/* its log is not there yet */
	assert_int_equal(h_propose(h, 1, "y"), ND_BUSY);
	h_pump(h);
	assert_int_equal(h_leader(h), 3);
	assert_int_equal(status_of(3).term, 2);
	h_run(h, 1);
	assert_int_equal(status_of(1).commit, 3);
}

static void test_transfer_is_given_up(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_isolate(h, 3, true);
	assert_int_equal(raft_transfer(h->nodes[1].raft, 3), ND_OK);
	h_run(h, 9);
	assert_int_equal(h_propose(h, 1, "y"), ND_BUSY);
	h_run(h, 1);
	assert_int_equal(h_propose(h, 1, "y"), ND_OK);
	assert_int_equal(status_of(1).state, RAFT_LEADER);
}

static void test_transfer_to_a_learner(void **state)
{
	(void) state;
	h_cluster(h, 2);
	h_start(h, 3);
	lead(1);
	assert_int_equal(change(1, "1v 2v 3l", NULL), ND_OK);
	h_run(h, 2);
	assert_int_equal(raft_transfer(h->nodes[1].raft, 3), ND_NOTFOUND);
}

/* ---- reads ---- */

static void read_is(NdNodeId id, uint64_t context, bool lost, uint64_t index)
{
	assert_int_equal(h->nodes[id].n_reads, 1);
	assert_int_equal(h->nodes[id].reads[0].context, context);
	assert_int_equal(h->nodes[id].reads[0].lost, lost);
	assert_int_equal(h->nodes[id].reads[0].index, index);
	h->nodes[id].n_reads = 0;
}

static void test_read_at_the_leader(void **state)
{
	(void) state;
	h_cluster(h, 3);
	assert_int_equal(raft_read_index(h->nodes[1].raft, 5), ND_NOLEADER);
	lead(1);
	assert_int_equal(raft_read_index(h->nodes[1].raft, 5), ND_OK);
	h_settle(h);
	assert_int_equal(h->nodes[1].n_reads, 0);	/* not without a round */
	h_deliver(h, 1, 2);
	h_deliver(h, 2, 1);
	read_is(1, 5, false, 1);
}

/* Reads that come while a round is under way wait for the next one: an answer to the old one proves nothing for them. */
static void test_read_during_a_round(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	raft_read_index(h->nodes[1].raft, 5);
	h_settle(h);
	h_deliver(h, 1, 2);
	raft_read_index(h->nodes[1].raft, 6);
	raft_read_index(h->nodes[1].raft, 7);
	h_settle(h);
	h_deliver(h, 2, 1);
	read_is(1, 5, false, 1);
	h_deliver(h, 1, 2);
	h_deliver(h, 2, 1);
	assert_int_equal(h->nodes[1].n_reads, 2);
	assert_int_equal(h->nodes[1].reads[0].context, 6);
	assert_int_equal(h->nodes[1].reads[1].context, 7);
}

static void test_read_waits_for_the_terms_commit(void **state)
{
	(void) state;
	h_cluster(h, 3);
	h_stand(h, 1);
	h_deliver(h, 1, 2);
	h_deliver(h, 2, 1);
	h_deliver(h, 1, 2);
	h_deliver(h, 2, 1);
	assert_int_equal(status_of(1).state, RAFT_LEADER);
	assert_int_equal(raft_read_index(h->nodes[1].raft, 5), ND_OK);
	h_drop(h, 1, 0);
	h_tick(h, 1, 1);
	h_settle(h);
	h_deliver(h, 1, 2);			/* a heartbeat round, but nothing of the term is committed */
	h_drop(h, 1, 2);
	h_deliver(h, 2, 1);
	assert_int_equal(h->nodes[1].n_reads, 0);
	h_run(h, 2);
	read_is(1, 5, false, 1);
}

static void test_read_at_a_follower(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_propose(h, 1, "x");
	h_pump(h);
	assert_int_equal(raft_read_index(h->nodes[2].raft, 8), ND_OK);
	h_pump(h);
	read_is(2, 8, false, 2);
}

static void test_read_is_lost_with_the_leader(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	raft_read_index(h->nodes[2].raft, 8);
	h_settle(h);
	h_drop(h, 0, 0);
	lead(3);
	read_is(2, 8, true, 0);
	raft_read_index(h->nodes[2].raft, 9);	/* the message is lost: an election timeout later, the read is */
	h_settle(h);
	h_drop(h, 2, 0);
	h_run(h, 9);
	assert_int_equal(h->nodes[2].n_reads, 0);
	h_run(h, 1);
	read_is(2, 9, true, 0);
}

static void test_deposed_leader_answers_no_read(void **state)
{
	(void) state;
	h_cluster(h, 3);
	lead(1);
	h_isolate(h, 1, true);
	lead(2);
	h_propose(h, 2, "x");
	h_pump(h);
	assert_int_equal(raft_read_index(h->nodes[1].raft, 5), ND_OK);
	h_run(h, 9);
	assert_int_equal(h->nodes[1].n_reads, 0);
	h_isolate(h, 1, false);
	h_run(h, 2);
	read_is(1, 5, true, 0);
}

static void test_read_of_a_lone_voter(void **state)
{
	(void) state;
	h_cluster(h, 1);
	h_run(h, 2);
	assert_int_equal(raft_read_index(h->nodes[1].raft, 3), ND_OK);
	h_settle(h);
	read_is(1, 3, false, 1);
	assert_int_equal(raft_read_index(h->nodes[1].raft, 0), ND_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_members, teardown_members)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_learner_then_voter), T(test_one_change_at_a_time), T(test_removed_leader_steps_down), T(test_removed_leader_of_a_pair),
		T(test_truncated_change_is_rolled_back), T(test_change_survives_a_restart), T(test_context_is_carried),
		T(test_configuration_bytes), T(test_transfer), T(test_transfer_is_given_up), T(test_transfer_to_a_learner),
		T(test_joint_bytes),
		T(test_read_at_the_leader), T(test_read_during_a_round), T(test_read_waits_for_the_terms_commit), T(test_read_at_a_follower),
		T(test_read_is_lost_with_the_leader), T(test_deposed_leader_answers_no_read), T(test_read_of_a_lone_voter),
	};

	if (argc > 1)
		nd_mutant = nd_mutant_by_name(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
