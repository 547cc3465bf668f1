/*
 * test_raft_far_behind.c: a follower 100,000 entries behind gets no flood: what is under way to it is bounded in messages and bytes at every moment, slow as
 * it may be, while the leader goes on with the others, and the leader's memory is bounded as well.
 *
 * One real leader (node 1); node 2, far behind, and node 3, which has everything, are played by the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nomem_kit.h"
#include "raft_harness.h"
#include "../../src/core/base/mutant.h"

#define BEHIND 100000
#define ENTRY_BYTES 128
#define APPEND_BYTES 4096
#define MESSAGES 16
#define BYTES 40000
#define TO_COME 1024

typedef struct Sent
{
	uint64_t	prev;
	uint32_t	n;
	uint64_t	bytes;
} Sent;

typedef struct Leader
{
	Raft	   *raft;
	uint64_t	last;			/* handed over */
	NdBlob	   *payload;		/* of every entry */
	uint64_t	largest_read;	/* bytes */
	/* to node 2, not delivered yet */
	Sent		sent[TO_COME];
	uint32_t	n_sent;
	uint64_t	have;			/* the last entry that node 2 has */
	uint32_t	appends;		/* to node 2, ever */
	uint32_t	beats;
} Leader;

static NdStatus read_log(void *ctx, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t cap, uint32_t *n)
{
	Leader	   *l = ctx;
	uint64_t	bytes = 0;

	for (*n = 0; lo + *n < hi && *n < cap && (*n == 0 || bytes + ENTRY_BYTES <= bytes_max); bytes += ENTRY_BYTES)
	{
		out[*n] = (RaftEntry) {lo + *n, lo + *n <= BEHIND ? 1 : 2, RAFT_ENTRY_DATA, nd_blob_ref(l->payload)};
		(*n)++;
	}
	if (bytes > l->largest_read)
		l->largest_read = bytes;
	return ND_OK;
}

static void step(Leader *l, RaftMessageType type, NdNodeId from, uint64_t index, uint64_t context, bool reject)
{
	RaftMessage m = {.type = type, .group = 7, .from = from, .to = 1, .term = 2, .index = index, .context = context, .reject = reject};

	if (reject)
		m.hint_index = l->have;
	m.hint_term = reject;
	assert_int_equal(raft_step(l->raft, &m), ND_OK);
	assert_null(raft_check(l->raft));
}

static void note(Leader *l, const RaftMessage *m)
{
	Sent	   *s = &l->sent[l->n_sent++];

	assert_true(l->n_sent < TO_COME);
	*s = (Sent) {m->index, m->n_entries, 0};
	for (uint32_t i = 0; i < m->n_entries; i++)
		s->bytes += m->entries[i].payload == NULL ? 0 : m->entries[i].payload->len;
	assert_true(s->bytes <= APPEND_BYTES);
	l->appends++;
}

/* Take all updates; the leader's disk and node 3 are fast. */
static void settle(Leader *l)
{
	while (raft_has_update(l->raft))
	{
		RaftUpdate	u;
		uint64_t	acknowledged = 0;
		uint64_t	round = 0;

		assert_int_equal(raft_take_update(l->raft, &u), ND_OK);
		l->last += u.n_entries;
		for (uint32_t i = 0; i < u.n_messages; i++)
		{
			const RaftMessage *m = &u.messages[i];

			if (m->to == 2 && m->type == RAFT_MSG_APPEND)
				note(l, m);
			else if (m->to == 2 && m->type == RAFT_MSG_HEARTBEAT)
				l->beats++;
			else if (m->type == RAFT_MSG_APPEND)
				acknowledged = m->index + m->n_entries;
			else if (m->type == RAFT_MSG_HEARTBEAT)
				round = m->context;
		}
		raft_update_done(l->raft);
		if (u.hard_changed)
			assert_int_equal(raft_hard_persisted(l->raft, u.hard_seq), ND_OK);
		assert_int_equal(raft_persisted(l->raft, l->last, 2), ND_OK);
		if (acknowledged > 0)
			step(l, RAFT_MSG_APPEND_REPLY, 3, acknowledged, 0, false);
		if (round > 0)
			step(l, RAFT_MSG_HEARTBEAT_REPLY, 3, 0, round, false);
	}
}

/* The oldest message arrives at node 2, and its answer at the leader. */
static void arrive(Leader *l)
{
	Sent		s = l->sent[0];

	memmove(l->sent, l->sent + 1, --l->n_sent * sizeof(Sent));
	if (s.prev > l->have)
		step(l, RAFT_MSG_APPEND_REPLY, 2, s.prev, 0, true);
	else
	{
		if (s.prev + s.n > l->have)
			l->have = s.prev + s.n;
		step(l, RAFT_MSG_APPEND_REPLY, 2, s.prev + s.n, 0, false);
	}
	settle(l);
}

static void assert_no_flood(const Leader *l)
{
	uint64_t	bytes = 0;

	for (uint32_t i = 0; i < l->n_sent; i++)
		bytes += l->sent[i].bytes;
	/* one APPEND may tell of a commit, and one look for losses, beside those with entries */
	assert_true(l->n_sent <= MESSAGES + 2);
	assert_true(bytes < BYTES + APPEND_BYTES);
	assert_true(l->largest_read <= APPEND_BYTES);
}

static void propose(Leader *l)
{
	uint64_t	index;
	uint64_t	term;

	assert_int_equal(raft_propose(l->raft, &l->payload, 1, &index, &term), ND_OK);
	settle(l);
}

static Leader *lead(void)
{
	const RaftConfig config = {.group = 7, .self = 1, .election_ticks = 10, .heartbeat_ticks = 1, .append_bytes_max = APPEND_BYTES,
	.inflight_max = MESSAGES, .inflight_bytes_max = BYTES, .uncommitted_bytes_max = 1 << 20, .seed = 1};
	const RaftTermRun run = {1, 1};
	RaftRestore *restore = h_alloc(sizeof(RaftRestore));
	Leader	   *l = h_alloc(sizeof(Leader));
	RaftLog		log = {l, read_log};
	RaftStatus	s;

	l->payload = nd_blob_new(NULL, ENTRY_BYTES);
	memset(l->payload->data, 'x', ENTRY_BYTES);
	l->last = BEHIND;
	restore->hard = (RaftHardState) {1, 0, BEHIND};
	restore->first_index = 1;
	restore->last_index = BEHIND;
	restore->runs = &run;
	restore->n_runs = 1;
	for (NdNodeId id = 1; id <= 3; id++)
		h_member(&restore->configuration, id, RAFT_VOTER);
	restore->configuration_committed = restore->configuration;
	assert_int_equal(raft_create(&config, restore, &log, &l->raft), ND_OK);
	free(restore);
	raft_campaign(l->raft);
	settle(l);
	step(l, RAFT_MSG_PREVOTE_REPLY, 3, 0, 0, false);
	settle(l);
	step(l, RAFT_MSG_VOTE_REPLY, 3, 0, 0, false);
	settle(l);
	raft_status(l->raft, &s);
	assert_int_equal(s.state, RAFT_LEADER);
	assert_int_equal(s.commit, BEHIND + 1);
	return l;
}

static void let_go(Leader *l)
{
	raft_destroy(l->raft);
	nd_blob_unref(l->payload);
	free(l);
	assert_int_equal(nomem_live(), 0);
}

/* It takes a message now and then. */
static void test_slow(void **state)
{
	Leader	   *l = lead();
	long		blocks = nomem_live();
	uint32_t	fullest = 0;

	(void) state;
	for (uint32_t i = 0; l->have < l->last; i++)
	{
		if (i < 4000)
			propose(l);
		if (i % 4 == 3 && l->n_sent > 0)
			arrive(l);
		if (l->n_sent == 0)
		{
			raft_tick(l->raft);
			settle(l);
			step(l, RAFT_MSG_HEARTBEAT_REPLY, 2, 0, 0, false);
			settle(l);
		}
		assert_no_flood(l);
		fullest = l->n_sent > fullest ? l->n_sent : fullest;
		assert_true(nomem_live() <= blocks + 16);
	}
	assert_int_equal(l->have, BEHIND + 1 + 4000);
	assert_in_range(fullest, BYTES / APPEND_BYTES, MESSAGES + 2);	/* and it is not starved either */
	assert_in_range(l->appends, l->have / (APPEND_BYTES / ENTRY_BYTES), 2 * l->have / (APPEND_BYTES / ENTRY_BYTES));
	let_go(l);
}

/* It answers heartbeats, but no APPEND ever comes back: one small question for each heartbeat. */
static void test_deaf(void **state)
{
	Leader	   *l = lead();

	(void) state;
	arrive(l);					/* refused: the leader knows where it stands */
	for (uint32_t i = 0; i < 1000; i++)
	{
		uint32_t	before = l->appends;

		propose(l);
		raft_tick(l->raft);
		settle(l);
		step(l, RAFT_MSG_HEARTBEAT_REPLY, 2, 0, 0, false);
		settle(l);
		assert_true(l->appends <= before + 1);
		l->n_sent = 0;
	}
	assert_true(l->beats >= 1000);
	assert_true(l->largest_read <= APPEND_BYTES);
	let_go(l);
}

/* It is silent: nothing but heartbeats. */
static void test_silent(void **state)
{
	Leader	   *l = lead();

	(void) state;
	for (uint32_t i = 0; i < 1000; i++)
	{
		propose(l);
		raft_tick(l->raft);
		settle(l);
	}
	assert_int_equal(l->appends, 1);	/* the first probe */
	let_go(l);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_silent),
	};

	if (argc > 1)
		nd_mutant = nd_mutant_by_name(argv[1]);
	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
