/*
 * test_store_random.c: thousands of short random histories with crashes, against a model.
 *
 * Shows: after a crash at any point the store holds exactly what the last finished flush covered, or exactly what the flush under way
 * covered; ND_NOMEM and ND_FULL change nothing; a failed operation makes the store fail for good and loses nothing that was durable;
 * recovery may itself fail and crash, any number of times; nothing of this is ever called damage.
 */
#include "nomem_kit.h"
#include "store_kit.h"

#include <stdlib.h>

#define GROUPS 3
#define INDEX_MAX 1000
#define CONFIGURATIONS_MAX 200

typedef struct ModelGroup
{
	bool		exists;
	uint64_t	first;
	uint64_t	last;
	uint8_t		terms[INDEX_MAX];	/* of first - 1..last */
	RaftHardState hard;
	bool		has_checkpoint;
	uint64_t	checkpoint_index;
	uint32_t	checkpoint_len;
	uint8_t		checkpoint_tag;
	uint32_t	n_configurations;
	struct
	{
		uint64_t	index;
		uint32_t	n;
	}			configurations[CONFIGURATIONS_MAX];
} ModelGroup;

typedef struct Model
{
	ModelGroup	g[GROUPS];
} Model;

typedef struct Run
{
	Kit			k;
	NdRandom	r;
	Model		now;
	Model		flying;
	Model		durable;
	bool		in_flight;
	uint64_t	flying_seq;
	bool		failed;			/* the store said ND_IO */
	bool		limited;		/* space is short */
	uint64_t	seed;
	uint32_t	step;
	char		trouble[700];
} Run;

static Run *run;				/* for trouble() */

static void trouble(const char *what, uint64_t a, uint64_t b)
{
	if (run->trouble[0] == 0)
		snprintf(run->trouble, sizeof(run->trouble), "seed %llu step %u: %s (%llu, %llu) %s", (unsigned long long) run->seed, run->step, what,
				 (unsigned long long) a, (unsigned long long) b, run->k.error);
}

/* The allocation behind `n` more fails, once; -1: none. */
static void fail_after(int64_t n)
{
	nomem_fail(n < 0 ? 0 : (uint64_t) n + 1, 1);
}

static uint64_t below(uint64_t n)
{
	return nd_random_below(&run->r, n);
}

/* ---- comparing ---- */

static uint32_t entry_len(uint64_t index, uint64_t term)
{
	uint64_t	x = index * 2654435761u + term * 40503u;

	return x % 17 == 0 ? 5000 : x % 5 == 0 ? 0 : (uint32_t) (x % 900);
}

static bool compare_entry(ModelGroup *m, NdGroupId id, uint64_t index)
{
	RaftEntry	e;
	uint32_t	n;
	bool		same = true;
	NdStatus	st = store_entries(run->k.s, id, index, index + 1, 0, &e, 1, &n);

	if (st != ND_OK || n != 1 || e.index != index)
		return false;
	if (e.term != m->terms[index])
		same = false;
	else if (e.kind == RAFT_ENTRY_DATA)
	{
		NdBlob	   *want = kit_payload(id, index, e.term, entry_len(index, e.term));

		same = (e.payload ? e.payload->len : 0) == want->len && (want->len == 0 || memcmp(e.payload->data, want->data, want->len) == 0);
		nd_blob_unref(want);
	}
	nd_blob_unref(e.payload);
	return same;
}

/* Names what differs; NULL when all is the same. */
static const char *compare_group(ModelGroup *m, NdGroupId id)
{
	static RaftRestore r;
	uint32_t	newest;
	uint32_t	committed;
	NdBuf		buf;
	uint64_t	index;
	NdStatus	st = store_restore(run->k.s, id, &r);

	if (st != (m->exists ? ND_OK : ND_NOTFOUND))
		return "existence";
	if (!m->exists)
		return NULL;
	if (r.first_index != m->first || r.last_index != m->last)
		return "range";
	if (r.prev_term != m->terms[m->first - 1])
		return "term before";
	if (r.hard.term != m->hard.term || r.hard.vote != m->hard.vote || r.hard.commit != m->hard.commit)
		return "hard state";
	for (uint64_t i = m->first; i <= m->last; i++)
		if (!compare_entry(m, id, i))
			return "entry";
	newest = committed = m->n_configurations - 1;
	if (newest > 0 && m->configurations[newest].index >= m->first && m->configurations[newest].index > m->hard.commit)
		committed--;
	if (r.configuration.n != m->configurations[newest].n || r.configuration.index != m->configurations[newest].index)
		return "configuration";
	if (r.configuration_committed.n != m->configurations[committed].n)
		return "configuration before";
	nd_buf_init(&buf);
	st = store_read_checkpoint(run->k.s, id, &index, &buf);
	if (m->has_checkpoint ? st != ND_OK || index != m->checkpoint_index || buf.len != m->checkpoint_len : st != ND_NOTFOUND)
	{
		nd_buf_free(&buf);
		return "checkpoint";
	}
	for (size_t i = 0; m->has_checkpoint && i < buf.len; i++)
		if (buf.data[i] != m->checkpoint_tag)
		{
			nd_buf_free(&buf);
			return "checkpoint's bytes";
		}
	nd_buf_free(&buf);
	return NULL;
}

static const char *compare(Model *m)
{
	for (NdGroupId id = 0; id < GROUPS; id++)
	{
		const char *what = compare_group(&m->g[id], id);

		if (what != NULL)
			return what;
	}
	return NULL;
}

/* ---- operations ---- */

/* Did it happen? ND_NOMEM, ND_FULL: no. ND_IO: no, and the store is dead. */
static bool happened(NdStatus st)
{
	if (st == ND_IO)
	{
		run->failed = true;
		return false;
	}
	if (st == ND_FULL && !run->limited)
		trouble("full without need", st, 0);
	if (st != ND_OK && st != ND_NOMEM && st != ND_FULL)
		trouble("unexpected status", st, 0);
	return st == ND_OK;
}

static void cut_suffix(ModelGroup *m, uint64_t from)
{
	if (from > m->last)
		return;
	m->last = from - 1;
	while (m->n_configurations > 1 && m->configurations[m->n_configurations - 1].index >= from)
		m->n_configurations--;
}

static void op_create(ModelGroup *m, NdGroupId id)
{
	RaftConfiguration c;
	uint32_t	n = (uint32_t) below(4);

	kit_configuration(&c, 0, n);
	if (!happened(store_create_group(run->k.s, id, &c)))
		return;
	memset(m, 0, sizeof(*m));
	m->exists = true;
	m->first = 1;
	m->n_configurations = 1;
	m->configurations[0].n = n;
}

static void op_append(ModelGroup *m, NdGroupId id, int64_t countdown)
{
	RaftEntry	e[8];
	uint32_t	n = 1 + (uint32_t) below(8);
	uint64_t	from = m->last + 1;
	uint64_t	term;
	uint32_t	configuration = below(6) == 0 ? (uint32_t) below(n) : n;
	NdStatus	st;

	if (below(8) == 0 && m->last >= m->first)
		from = m->first + below(m->last - m->first + 1);
	if (from + n >= INDEX_MAX || m->n_configurations + 1 >= CONFIGURATIONS_MAX || m->terms[m->last] > 200)
		return;
	/* what overwrites has a higher term than what was there, as in Raft */
	term = m->terms[m->last] + (from <= m->last ? 1 : below(4) == 0);
	if (term == 0)
		term = 1;
	for (uint32_t i = 0; i < n; i++)
	{
		e[i] = (RaftEntry) {.index = from + i, .term = term, .kind = RAFT_ENTRY_DATA};
		if (i == configuration)
		{
			RaftConfiguration c;
			NdBuf		buf;

			kit_configuration(&c, from + i, (uint32_t) (from + i) % 9);
			nd_buf_init(&buf);
			raft_configuration_encode(&c, &buf);
			e[i].kind = RAFT_ENTRY_CONFIG;
			e[i].payload = nd_blob_new(buf.data, (uint32_t) buf.len);
			nd_buf_free(&buf);
		}
		else
			e[i].payload = kit_payload(id, from + i, term, entry_len(from + i, term));
	}
	fail_after(countdown);
	st = store_append(run->k.s, id, e, n);
	fail_after(-1);
	for (uint32_t i = 0; i < n; i++)
		nd_blob_unref(e[i].payload);
	if (!happened(st))
		return;
	cut_suffix(m, from);
	for (uint32_t i = 0; i < n; i++)
	{
		m->terms[from + i] = (uint8_t) term;
		if (i == configuration)
		{
			m->configurations[m->n_configurations].index = from + i;
			m->configurations[m->n_configurations++].n = (uint32_t) (from + i) % 9;
		}
	}
	m->last = from + n - 1;
}

static void op_prefix(ModelGroup *m, NdGroupId id)
{
	uint64_t	first = m->first + 1 + below(m->last - m->first + 1);
	NdStatus	st = store_truncate_prefix(run->k.s, id, first);
	uint32_t	drop = 0;

	if (st == ND_INVALID && (run->in_flight || store_dirty(run->k.s)))
		return;					/* not durable yet */
	if (!happened(st))
		return;
	while (drop + 1 < m->n_configurations && m->configurations[drop + 1].index < first)
		drop++;
	m->n_configurations -= drop;
	memmove(m->configurations, m->configurations + drop, m->n_configurations * sizeof(m->configurations[0]));
	m->first = first;
}

static void op_checkpoint(ModelGroup *m, NdGroupId id)
{
	uint8_t		data[20000];
	uint32_t	len = (uint32_t) below(below(4) == 0 ? sizeof(data) : 600);
	uint8_t		tag = (uint8_t) nd_random_next(&run->r);

	memset(data, tag, len);
	if (!happened(store_checkpoint(run->k.s, id, m->last, data, len)))
		return;
	m->has_checkpoint = true;
	m->checkpoint_index = m->last;
	m->checkpoint_len = len;
	m->checkpoint_tag = tag;
}

static void op_reset(ModelGroup *m, NdGroupId id)
{
	RaftConfiguration c;
	uint64_t	index = m->last + below(20);
	uint8_t		term = (uint8_t) (m->terms[m->last] + 1);
	uint8_t		data[3] = {id, id, id};

	if (index + 100 >= INDEX_MAX || term > 200)
		return;
	kit_configuration(&c, index / 2, 5);
	if (!happened(store_reset_group(run->k.s, id, index, term, &c, index, data, sizeof(data))))
		return;
	m->first = index + 1;
	m->last = index;
	m->terms[index] = term;
	m->n_configurations = 1;
	m->configurations[0].index = index / 2;
	m->configurations[0].n = 5;
	m->has_checkpoint = true;
	m->checkpoint_index = index;
	m->checkpoint_len = 3;
	m->checkpoint_tag = (uint8_t) id;
}

static void op_hard(ModelGroup *m, NdGroupId id)
{
	RaftHardState hard = {.term = m->hard.term + below(3), .vote = (NdNodeId) below(4), .commit = below(m->last + 1)};

	if (happened(store_hard_state(run->k.s, id, &hard)))
		m->hard = hard;
}

static void op_flush(void)
{
	uint64_t	seq;
	bool		dirty = store_dirty(run->k.s);
	NdStatus	st = store_flush_start(run->k.s, &seq);

	if (run->in_flight)
	{
		if (st != ND_BUSY && st != ND_IO)
			trouble("two flushes at once", st, 0);
		return;
	}
	if (happened(st) && dirty)
	{
		run->in_flight = true;
		run->flying_seq = seq;
		run->flying = run->now;
	}
}

/* What the store calls durable must survive from now on. */
static void op_poll(bool complete)
{
	uint64_t	durable;
	bool		done;

	if (complete)
		memvfs_complete(run->k.m);
	done = run->in_flight && !memvfs_job(run->k.m, NULL);
	if (store_flush_poll(run->k.s, &durable) != ND_OK)
		run->failed = true;
	else
	{
		if (run->in_flight && durable >= run->flying_seq)
			run->durable = run->flying;
		else if (done)
			trouble("a finished flush is not called durable", durable, run->flying_seq);
		if (done)
			run->in_flight = false;
	}
}

/* Open, with failures and crashes on the way; then the store must hold one of the two models. */
static void reopen(bool crash)
{
	Run		   *x = run;
	const char *what;

	store_close(x->k.s);
	x->k.s = NULL;
	memvfs_set_space(x->k.m, 0);
	x->limited = false;
	for (uint32_t op = 0; op < MEMVFS_OPS; op++)
		memvfs_fail(x->k.m, op, 0, 0, ND_OK);
	if (crash)
		memvfs_crash(x->k.m, nd_random_next(&x->r));
	while (below(3) == 0)
	{
		NdStatus	st;

		if (below(3) == 0)
			fail_after((int64_t) below(60));
		else
			memvfs_fail(x->k.m, (MemVfsOp) below(MEMVFS_OPS), (uint32_t) below(12), 1, ND_IO);
		st = kit_open(&x->k);
		fail_after(-1);
		for (uint32_t op = 0; op < MEMVFS_OPS; op++)
			memvfs_fail(x->k.m, op, 0, 0, ND_OK);
		if (st != ND_OK && st != ND_IO && st != ND_NOMEM)
			trouble("open with a fault", st, 0);
		if (x->trouble[0] != 0)
			return;
		store_close(x->k.s);
		x->k.s = NULL;
		memvfs_crash(x->k.m, nd_random_next(&x->r));
	}
	if (kit_open(&x->k) != ND_OK)
	{
		trouble("open", 0, 0);
		return;
	}
	what = compare(&x->durable);
	if (what != NULL && x->in_flight && compare(&x->flying) == NULL)
		x->durable = x->flying;
	else if (what != NULL)
		trouble(what, x->in_flight, crash);
	x->now = x->durable;
	x->in_flight = false;
	x->failed = false;
}

static void one_step(void)
{
	Run		   *x = run;
	NdGroupId	id = (NdGroupId) below(GROUPS);
	ModelGroup *m = &x->now.g[id];
	uint64_t	what = below(100);
	int64_t		countdown = below(10) == 0 ? (int64_t) below(8) : -1;
	StoreStatus status;

	if (x->failed)
	{
		uint64_t	seq;
		RaftHardState hard = {0};

		/* for good */
		if (store_flush_start(x->k.s, &seq) != ND_IO || store_flush_poll(x->k.s, &seq) != ND_IO ||
			store_hard_state(x->k.s, id, &hard) != ND_IO)
			trouble("a failed store goes on", 0, 0);
		reopen(below(4) != 0);
		return;
	}
	if (what >= 97)
	{
		reopen(what != 97);
		return;
	}
	if (what == 96)
	{
		memvfs_fail(x->k.m, (MemVfsOp) (MEMVFS_WRITE + below(MEMVFS_OPS - MEMVFS_WRITE)), (uint32_t) below(10), 1, below(2) ? ND_IO : ND_FULL);
		x->limited = true;
		return;
	}
	if (what == 95)
	{
		x->limited = true;
		memvfs_set_space(x->k.m, KIT_SEGMENT * (2 + below(6)));
		return;
	}
	if (what == 94)
	{
		memvfs_set_space(x->k.m, 0);
		return;
	}
	if (!m->exists)
	{
		fail_after(countdown);
		op_create(m, id);
	}
	else if (what < 40)
		op_append(m, id, countdown);
	else
	{
		fail_after(countdown);
		if (what < 44)
		{
			uint64_t	from = m->first + below(m->last - m->first + 2);

			if (happened(store_truncate_suffix(x->k.s, id, from)))
				cut_suffix(m, from);
		}
		else if (what < 52)
			op_hard(m, id);
		else if (what < 62 && m->last >= m->first)
			op_prefix(m, id);
		else if (what < 65)
			op_checkpoint(m, id);
		else if (what < 66)
			op_reset(m, id);
		else if (what < 80)
			op_flush();
		else if (what < 92)
			op_poll(below(4) != 0);
	}
	fail_after(-1);
	/* preparing a segment after a flush may fail: then the next call says so */
	store_status(x->k.s, &status);
	x->failed = x->failed || status.failed;
}

static void one_run(uint64_t seed, char *trouble_out, size_t len)
{
	static Run	x;
	uint32_t	steps;

	memset(&x, 0, sizeof(x));
	run = &x;
	x.seed = seed;
	nd_random_seed(&x.r, seed);
	kit_init(&x.k);
	x.k.config.cache_bytes = below(3) * 3000;
	memvfs_set_manual(x.k.m, true);
	kit_must_open(&x.k);
	steps = 20 + (uint32_t) below(100);
	if (seed % 50 == 0)
		steps += 1500;
	for (x.step = 0; x.step < steps && x.trouble[0] == 0; x.step++)
	{
		one_step();
		if (!x.failed && x.trouble[0] == 0 && below(20) == 0)
		{
			const char *what;

			/* reads of the check itself must not run into the fault that is waiting */
			memvfs_fail(x.k.m, MEMVFS_READ, 0, 0, ND_OK);
			what = compare(&x.now);
			if (what != NULL)
				trouble(what, 0, 0);
		}
	}
	if (x.trouble[0] == 0)
		reopen(true);
	snprintf(trouble_out, len, "%s", x.trouble);
	store_close(x.k.s);
	memvfs_destroy(x.k.m);
}

static void test_random(void **state)
{
	char		text[700];
	const char *only = getenv("SEED");
	uint64_t	runs = getenv("RUNS") ? strtoull(getenv("RUNS"), NULL, 10) : 3000;
	uint64_t	from = only ? strtoull(only, NULL, 10) : 1;

	(void) state;
	for (uint64_t seed = from; seed < (only ? from + 1 : runs + 1); seed++)
	{
		one_run(seed, text, sizeof(text));
		if (text[0] != 0)
			fail_msg("%s", text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
