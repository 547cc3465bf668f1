/*
 * test_store_nomem.c: every allocation of a small life of a store fails once: each call that says ND_NOMEM has changed nothing and works when it is made
 * again, and what was written is what is recovered.
 */
#include "nomem_kit.h"
#include "store_kit.h"

#include "../../src/store/store_walk.h"

#define GROUP 1
#define LEN 600

/* What a caller can see of a group. */
typedef struct View
{
	uint64_t	first;
	uint64_t	last;
	uint64_t	last_term;
	uint64_t	checkpoint;
	RaftHardState hard;
	bool		failed;
	bool		dirty;
} View;

static Kit	k;

static View view(void)
{
	static RaftRestore restore;
	StoreStatus status;
	NdBuf		buf;
	View		v;

	memset(&v, 0, sizeof(v));
	nomem_pause(true);
	nd_buf_init(&buf);
	v.first = store_first_index(k.s, GROUP);
	v.last = store_last_index(k.s, GROUP);
	v.last_term = store_term(k.s, GROUP, v.last);
	(void) store_read_checkpoint(k.s, GROUP, &v.checkpoint, &buf);
	store_status(k.s, &status);
	v.failed = status.failed;
	v.dirty = store_dirty(k.s);
	if (store_restore(k.s, GROUP, &restore) == ND_OK)
		v.hard = restore.hard;
	nd_buf_free(&buf);
	nomem_pause(false);
	return v;
}

/* Until it works: at most as often as allocations fail. */
#define AGAIN(call) \
	do \
	{ \
		View		before = view(); \
		NdStatus	st = (call); \
		\
		for (int tries = 0; st == ND_NOMEM; tries++) \
		{ \
			View		now = view(); \
			\
			assert_true(nomem_failed() && tries < 10); \
			assert_memory_equal(&before, &now, sizeof(now)); \
			st = (call); \
		} \
		assert_int_equal(st, ND_OK); \
	} while (0)

static NdStatus append(uint64_t index, uint64_t term, uint32_t n)
{
	RaftEntry	entries[32];
	NdStatus	st;

	nomem_pause(true);
	for (uint32_t i = 0; i < n; i++)
		entries[i] = (RaftEntry) {.index = index + i, .term = term, .kind = RAFT_ENTRY_DATA, .payload = kit_payload(GROUP, index + i, term, LEN)};
	nomem_pause(false);
	st = store_append(k.s, GROUP, entries, n);
	for (uint32_t i = 0; i < n; i++)
		nd_blob_unref(entries[i].payload);
	return st;
}

static void flush(void)
{
	uint64_t	seq = 0;
	uint64_t	durable = 0;

	AGAIN(store_flush_start(k.s, &seq));
	memvfs_complete(k.m);
	/* what is prepared behind a flush may want memory; the flush itself is done */
	AGAIN(store_flush_poll(k.s, &durable));
	assert_true(durable >= seq);
}

static NdStatus read_one(uint64_t index, uint64_t term)
{
	RaftEntry	e;
	uint32_t	n;
	NdStatus	st = store_entries(k.s, GROUP, index, index + 1, 0, &e, 1, &n);

	if (st != ND_OK)
		return st;
	assert_int_equal(n, 1);
	assert_int_equal(e.term, term);
	nd_blob_unref(e.payload);
	return ND_OK;
}

static NdStatus read_elsewhere(uint64_t index, uint64_t term, NdBuf *buf)
{
	StorePosition at;
	NdStatus	st;

	assert_int_equal(store_position(k.s, GROUP, index, &at), ND_OK);
	nd_buf_free(buf);
	nd_buf_init(buf);
	st = store_read_position(memvfs_vfs(k.m), KIT_DIR, at, GROUP, index, term, buf);
	return st;
}

static NdStatus open_store(void)
{
	NdStatus	st = kit_open(&k);

	if (st != ND_OK)
		assert_null(k.s);
	return st;
}

static void must_open(void)
{
	NdStatus	st = open_store();

	for (int tries = 0; st == ND_NOMEM; tries++)
	{
		assert_true(nomem_failed() && tries < 10);
		st = open_store();
	}
	assert_int_equal(st, ND_OK);
}

static void walk(void)
{
	static StoreWalkItem item;
	StoreWalk  *w;
	uint32_t	records = 0;

	AGAIN(store_walk_open(memvfs_vfs(k.m), KIT_DIR, 0, UINT64_MAX, &w));
	do
	{
		AGAIN(store_walk_next(w, &item));
		assert_int_not_equal(item.kind, STORE_WALK_DAMAGE);
		records += item.kind == STORE_WALK_RECORD;
	} while (item.kind != STORE_WALK_END);
	assert_true(records > 10);
	store_walk_close(w);
}

static void life(void *arg)
{
	RaftConfiguration c;
	RaftHardState hard = {.term = 2, .vote = 1, .commit = 3};
	static RaftRestore restore;
	uint64_t	index;
	NdBuf		buf;

	(void) arg;
	nd_buf_init(&buf);
	kit_init(&k);
	k.config.cache_bytes = 2000;	/* some reads come from the files */
	must_open();
	kit_configuration(&c, 0, 3);
	AGAIN(store_create_group(k.s, GROUP, &c));
	AGAIN(store_hard_state(k.s, GROUP, &hard));
	AGAIN(append(1, 1, 8));
	flush();
	AGAIN(append(9, 2, 8));
	AGAIN(store_truncate_suffix(k.s, GROUP, 15));
	flush();
	AGAIN(append(14, 3, 20));	/* cuts entry 14 of term 2, and is larger than all before */
	flush();
	hard.commit = 4;
	AGAIN(store_hard_state(k.s, GROUP, &hard));
	AGAIN(store_checkpoint(k.s, GROUP, 10, "checkpoint", 10));
	flush();
	for (uint64_t i = 1; i <= 33; i++)
		AGAIN(read_one(i, i <= 8 ? 1 : i <= 13 ? 2 : 3));
	AGAIN(read_elsewhere(9, 2, &buf));
	AGAIN(store_truncate_prefix(k.s, GROUP, 5));
	/* segments are left, recycled and dropped */
	for (uint64_t i = 34; i < 74; i += 8)
	{
		AGAIN(append(i, 3, 8));
		AGAIN(store_truncate_prefix(k.s, GROUP, i - 8));
		AGAIN(store_checkpoint(k.s, GROUP, i, "another one", 11));
		flush();
	}
	walk();
	store_close(k.s);
	k.s = NULL;
	memvfs_crash_keep(k.m, 0);

	must_open();
	AGAIN(store_restore(k.s, GROUP, &restore));
	assert_int_equal(restore.hard.term, 2);
	assert_int_equal(restore.first_index, 58);
	assert_int_equal(restore.last_index, 73);
	for (uint64_t i = 58; i <= 73; i++)
		AGAIN(read_one(i, 3));
	nd_buf_free(&buf);
	nd_buf_init(&buf);
	for (NdStatus st = ND_NOMEM; st != ND_OK;)
	{
		st = store_read_checkpoint(k.s, GROUP, &index, &buf);
		if (st == ND_NOMEM)
		{
			assert_true(nomem_failed());
			nd_buf_free(&buf);
			nd_buf_init(&buf);
		}
		else
			assert_int_equal(st, ND_OK);
	}
	assert_int_equal(index, 66);
	assert_memory_equal(buf.data, "another one", 11);
	kit_configuration(&c, 80, 2);
	AGAIN(store_reset_group(k.s, GROUP, 80, 4, &c, 80, "third", 5));
	AGAIN(append(81, 4, 1));
	flush();
	must_open();
	assert_int_equal(store_first_index(k.s, GROUP), 81);
	AGAIN(read_one(81, 4));
	nd_buf_free(&buf);
	kit_free(&k);
}

static void test_every_allocation_fails(void **state)
{
	(void) state;
	assert_true(nomem_each(life, NULL, 1) > 50);
	assert_true(nomem_each(life, NULL, 3) > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_allocation_fails),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
