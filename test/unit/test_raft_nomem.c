/*
 * test_raft_nomem.c: every allocation of a small history fails once: the group stays consistent, says ND_NOMEM or loses a message,
 * and goes on when there is memory again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nomem_kit.h"
#include "raft_harness.h"

/* Ask until it is taken, with ticks in between: what fails for want of memory must work later. */
static void eventually(Harness *h, NdStatus (*what) (Harness *h, NdNodeId leader))
{
	for (int i = 0; i < 100; i++)
	{
		NdNodeId	leader = h_leader(h);
		NdStatus	status = leader == 0 ? ND_NOLEADER : what(h, leader);

		if (leader != 0)
			h_check(h, leader);
		assert_string_equal(h->error, "");
		h_run(h, 2);
		if (status == ND_OK)
			return;
		assert_in_set(status, ((const LargestIntegralType[]) {ND_NOMEM, ND_BUSY, ND_NOLEADER, ND_NOTLEADER}), 4);
	}
	fail_msg("it never worked");
}

static NdStatus propose(Harness *h, NdNodeId leader)
{
	return h_propose(h, leader, "some bytes");
}

static NdStatus add_learner(Harness *h, NdNodeId leader)
{
	RaftConfiguration *c = h_alloc(sizeof(RaftConfiguration));
	uint64_t	index;
	NdStatus	status;

	raft_configuration_copy(c, raft_configuration(h->nodes[leader].raft));
	if (raft_configuration_find(c, 4) == NULL)
		h_member(c, 4, RAFT_LEARNER);
	status = raft_propose_configuration(h->nodes[leader].raft, c, &index);
	free(c);
	return status;
}

/* Many at once, so that every queue and array grows at its fullest. */
static NdStatus burst(Harness *h, NdNodeId leader)
{
	for (int i = 0; i < 16; i++)
		h_propose(h, leader, "one of many");
	return add_learner(h, leader);
}

static uint64_t context;

static NdStatus read_here(Harness *h, NdNodeId leader)
{
	return raft_read_index(h->nodes[leader].raft, ++context);
}

static NdStatus read_elsewhere(Harness *h, NdNodeId leader)
{
	return raft_read_index(h->nodes[leader % 3 + 1].raft, ++context);
}

static void start(Harness *h, NdNodeId id)
{
	NdStatus	status;

	do
		status = h_start(h, id);
	while (status == ND_NOMEM);
	assert_int_equal(status, ND_OK);
}

static void history(void *arg)
{
	Harness    *h = h_alloc(sizeof(Harness));
	RaftConfiguration *c = h_alloc(sizeof(RaftConfiguration));

	(void) arg;
	h_init(h);
	h->config.election_ticks = 4;
	h->config.append_bytes_max = 12;
	for (NdNodeId id = 1; id <= 3; id++)
		h_member(c, id, RAFT_VOTER);
	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		h->nodes[id].first = 1;
		h->nodes[id].autoflush = true;
		if (id <= 3)
			h->nodes[id].bootstrap = *c;
		if (id <= 4)
			start(h, id);
	}
	free(c);
	h_run(h, 20);
	for (int i = 0; i < 3; i++)
		eventually(h, propose);
	eventually(h, read_here);
	eventually(h, read_elsewhere);
	eventually(h, burst);
	h_isolate(h, h_leader(h) != 0 ? h_leader(h) : 1, true);
	h_run(h, 20);
	memset(h->cut, 0, sizeof(h->cut));
	h_run(h, 20);
	eventually(h, propose);
	h_crash(h, 2);
	start(h, 2);
	h_run(h, 20);
	eventually(h, propose);
	h_run(h, 10);
	assert_string_equal(h->error, "");
	for (NdNodeId id = 1; id <= 4; id++)
		assert_int_equal(h->nodes[id].commit, h->max_commit);
	h_free(h);
	free(h);
}

static void test_every_allocation_fails_once(void **state)
{
	(void) state;
	for (uint64_t count = 1; count <= 10; count += 3)
		assert_in_range(nomem_each(history, NULL, count), 50, 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_allocation_fails_once),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
