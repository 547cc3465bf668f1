/*
 * test_store_faults.c: one fault at a time: a tail torn at every byte, a bit flipped anywhere, a full disk, failing writes and syncs, a
 * newer format, a strange cluster, lost files. What a crash may do is survived; what it cannot do is called damage and nothing is cut.
 */
#include "store_kit.h"

#include <stdlib.h>

/* ---- torn tails ---- */

/* Two flushes; of the second, which ends in the middle of a segment or crosses segments, only the first `keep` bytes reach the disk. */
static void torn_at(uint64_t keep, bool crosses, uint64_t *total)
{
	Kit			k;
	RaftHardState hard = {.term = 1, .vote = 1, .commit = 0};
	uint64_t	seq;
	uint64_t	last;

	kit_init(&k);
	kit_must_open(&k);
	memvfs_set_manual(k.m, true);
	kit_group(&k, 1);
	kit_must_append(&k, 1, 1, 1, 3, 300);
	if (crosses)
		kit_must_append(&k, 1, 4, 1, 1, 8000);
	store_hard_state(k.s, 1, &hard);
	kit_flush(&k);
	last = store_last_index(k.s, 1);
	kit_must_append(&k, 1, last + 1, 1, 3, 300);
	if (crosses)
	{
		kit_must_append(&k, 1, last + 4, 1, 1, 6000);
		kit_must_append(&k, 1, last + 5, 1, 2, 300);
	}
	hard.term = 2;
	store_hard_state(k.s, 1, &hard);
	assert_int_equal(store_flush_start(k.s, &seq), ND_OK);
	*total = memvfs_unsynced_bytes(k.m);
	store_close(k.s);
	k.s = NULL;
	memvfs_crash_keep(k.m, keep);
	for (int again = 0; again < 2; again++)
	{
		RaftRestore r;
		bool		whole = store_open(memvfs_vfs(k.m), &k.config, &k.s, k.error, sizeof(k.error)) == ND_OK && store_last_index(k.s, 1) > last;

		if (k.s == NULL)
			fail_msg("torn at %llu: %s", (unsigned long long) keep, k.error);
		assert_int_equal(store_restore(k.s, 1, &r), ND_OK);
		/* all of the flush or nothing: the padding behind its end is no part of it */
		if (keep + KIT_SECTOR < *total)
			assert_false(whole);
		if (keep >= *total)
			assert_true(whole);
		assert_int_equal(r.hard.term, whole ? 2 : 1);
		assert_int_equal(r.last_index, whole ? last + (crosses ? 6 : 3) : last);
		for (uint64_t i = 1; i <= r.last_index; i++)
			kit_check_entry(&k, 1, i, 1, true);
		store_close(k.s);
		k.s = NULL;
	}
	/* the place of the torn flush is good for the next one */
	kit_must_open(&k);
	last = store_last_index(k.s, 1);
	kit_must_append(&k, 1, last + 1, 3, 5, 700);
	kit_flush(&k);
	kit_crash(&k, keep);
	kit_must_open(&k);
	assert_int_equal(store_last_index(k.s, 1), last + 5);
	kit_check_entry(&k, 1, last + 5, 3, true);
	kit_free(&k);
}

static void test_torn_tail(void **state)
{
	uint64_t	total = 1;

	(void) state;
	for (uint64_t keep = 0; keep <= total; keep++)
		torn_at(keep, false, &total);
}

static void test_torn_tail_crossing(void **state)
{
	uint64_t	total = 1;

	(void) state;
	for (uint64_t keep = 0; keep <= total; keep += keep % 512 < 60 || keep % 512 > 500 ? 3 : 41)
		torn_at(keep, true, &total);
}

/* ---- flipped bits ---- */

static void build_history(Kit *k)
{
	kit_init(k);
	kit_must_open(k);
	kit_group(k, 1);
	for (uint64_t i = 0; i < 20; i++)
	{
		kit_must_append(k, 1, 1 + i, 1, 1, 1500);
		kit_flush(k);
	}
	store_close(k->s);
	k->s = NULL;
}

/* The byte stands before the last flush and in use: damage, named, and the files stay as they are. */
static void test_flip_is_damage(void **state)
{
	Kit			k;
	uint32_t	flips = 0;

	(void) state;
	build_history(&k);
	for (uint64_t segment = 1; segment <= 2; segment++)
		for (uint64_t offset = 0; offset < 14000; offset += 7)
		{
			char		path[64];
			uint64_t	len;
			uint8_t    *before;
			NdStatus	st;

			kit_path(segment, path);
			before = malloc(KIT_SEGMENT);
			memcpy(before, memvfs_bytes(k.m, path, &len), KIT_SEGMENT);
			assert_int_equal(len, KIT_SEGMENT);
			memvfs_flip(k.m, path, offset, (uint8_t) (1 << offset % 8));
			st = kit_open(&k);
			if (st == ND_OK)
			{
				/* padding between batches: nothing depends on it */
				assert_int_equal(store_last_index(k.s, 1), 20);
				for (uint64_t i = 1; i <= 20; i++)
					kit_check_entry(&k, 1, i, 1, true);
				store_close(k.s);
				k.s = NULL;
			}
			else
			{
				flips++;
				assert_int_equal(st, ND_DAMAGED);
				assert_non_null(strstr(k.error, path));
				assert_non_null(strstr(k.error, "offset"));
				memvfs_flip(k.m, path, offset, (uint8_t) (1 << offset % 8));
				assert_memory_equal(before, memvfs_bytes(k.m, path, &len), KIT_SEGMENT);
			}
			free(before);
			memvfs_destroy(k.m);
			build_history(&k);
		}
	assert_true(flips > 3000);
	kit_free(&k);
}

/* A bit that flips while the store is open is found by whoever reads the entry; the store stops. */
static void test_flip_while_open(void **state)
{
	Kit			k;
	StorePosition at;
	RaftEntry	e;
	uint32_t	n;
	NdBuf		buf;
	char		path[64];

	(void) state;
	kit_init(&k);
	k.config.cache_bytes = 0;
	kit_must_open(&k);
	kit_group(&k, 1);
	kit_must_append(&k, 1, 1, 1, 3, 500);
	kit_flush(&k);
	assert_int_equal(store_position(k.s, 1, 2, &at), ND_OK);
	kit_path(at.segment, path);
	for (uint64_t i = 0; i < at.len; i++)
	{
		nd_buf_init(&buf);
		assert_true(memvfs_flip(k.m, path, at.offset + i, 0x10));
		assert_int_equal(store_entries(k.s, 1, 1, 4, 10000, &e, 1, &n), ND_OK);
		nd_blob_unref(e.payload);
		assert_int_equal(store_entries(k.s, 1, 2, 4, 10000, &e, 1, &n), ND_DAMAGED);
		assert_int_equal(store_entries(k.s, 1, 1, 4, 10000, &e, 1, &n), ND_DAMAGED);
		assert_int_equal(store_read_position(memvfs_vfs(k.m), KIT_DIR, at, 1, 2, 1, &buf), ND_DAMAGED);
		assert_true(memvfs_flip(k.m, path, at.offset + i, 0x10));
		kit_must_open(&k);
		nd_buf_free(&buf);
	}
	kit_check_entry(&k, 1, 2, 1, true);
	kit_free(&k);
}

/* A file that is gone, though entries in it are live. */
static void test_lost_file(void **state)
{
	(void) state;
	for (uint64_t segment = 1; segment <= 2; segment++)
	{
		Kit			k;
		Vfs		   *v;
		char		path[64];

		build_history(&k);
		v = memvfs_vfs(k.m);
		kit_path(segment, path);
		assert_int_equal(v->ops->unlink(v, path), ND_OK);
		assert_int_equal(kit_open(&k), ND_DAMAGED);
		assert_non_null(strstr(k.error, "missing"));
		kit_free(&k);
	}
}

/* ---- strangers ---- */

static void test_strange_cluster(void **state)
{
	Kit			k;

	(void) state;
	build_history(&k);
	k.config.cluster_id = 78;
	assert_int_equal(kit_open(&k), ND_WRONG_CLUSTER);
	assert_true(k.error[0] != 0);
	k.config.cluster_id = 77;
	k.config.node = 4;
	assert_int_equal(kit_open(&k), ND_WRONG_CLUSTER);
	k.config.node = 3;
	kit_must_open(&k);
	kit_free(&k);
}

static void test_newer_format(void **state)
{
	Kit			k;
	char		path[64];
	uint8_t    *bytes = malloc(KIT_SEGMENT);
	uint64_t	len;
	uint64_t	sum;

	(void) state;
	build_history(&k);
	kit_path(2, path);
	memcpy(bytes, memvfs_bytes(k.m, path, &len), KIT_SEGMENT);
	bytes[8] = 2;
	sum = nd_checksum(bytes, 504, UINT64_C(0x9e3779b97f4a7c15));
	for (int i = 0; i < 8; i++)
		bytes[504 + i] = (uint8_t) (sum >> (8 * i));
	memvfs_put(k.m, path, bytes, KIT_SEGMENT);
	assert_int_equal(kit_open(&k), ND_VERSION);
	assert_non_null(strstr(k.error, "format 2"));
	free(bytes);
	kit_free(&k);
}

/* ---- failing operations ---- */

static void test_failed_flush(void **state)
{
	(void) state;
	for (int op = MEMVFS_WRITE; op <= MEMVFS_SYNC; op++)
	{
		Kit			k;
		RaftEntry	e;
		RaftHardState hard = {.term = 5};
		uint64_t	seq;
		uint64_t	durable;
		uint32_t	n;
		StoreStatus status;
		StorePosition at;

		kit_init(&k);
		kit_must_open(&k);
		kit_group(&k, 1);
		kit_must_append(&k, 1, 1, 1, 1, 100);
		kit_flush(&k);
		kit_must_append(&k, 1, 2, 1, 1, 100);
		memvfs_fail(k.m, (MemVfsOp) op, 0, 1, ND_IO);
		assert_int_equal(store_flush_start(k.s, &seq), ND_OK);
		assert_int_equal(store_flush_poll(k.s, &durable), ND_IO);
		/* for good, although the disk would work again */
		assert_int_equal(store_flush_poll(k.s, &durable), ND_IO);
		assert_int_equal(store_flush_start(k.s, &seq), ND_IO);
		assert_int_equal(kit_append(&k, 1, 3, 1, 1, 10), ND_IO);
		assert_int_equal(store_hard_state(k.s, 1, &hard), ND_IO);
		assert_int_equal(store_truncate_prefix(k.s, 1, 2), ND_IO);
		assert_int_equal(store_truncate_suffix(k.s, 1, 2), ND_IO);
		assert_int_equal(store_checkpoint(k.s, 1, 1, "x", 1), ND_IO);
		assert_int_equal(store_entries(k.s, 1, 1, 2, 100, &e, 1, &n), ND_IO);
		assert_int_equal(store_position(k.s, 1, 1, &at), ND_OK);
		store_status(k.s, &status);
		assert_true(status.failed);
		/* nobody heard that entry 2 was durable; entry 1 was */
		kit_crash(&k, 1);
		kit_must_open(&k);
		assert_in_range(store_last_index(k.s, 1), 1, 2);
		kit_check_entry(&k, 1, 1, 1, true);
		kit_free(&k);
	}
}

/* Readable is not durable: what a failed sync left in the cache must not be believed after a restart without settling it. */
static void test_failed_sync_restart_crash(void **state)
{
	Kit			k;
	RaftHardState hard = {.term = 8, .vote = 2};
	RaftRestore r;
	uint64_t	seq;
	uint64_t	durable;

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 1);
	kit_flush(&k);
	assert_int_equal(store_hard_state(k.s, 1, &hard), ND_OK);
	memvfs_fail(k.m, MEMVFS_SYNC, 0, 1, ND_IO);
	assert_int_equal(store_flush_start(k.s, &seq), ND_OK);
	assert_int_equal(store_flush_poll(k.s, &durable), ND_IO);
	kit_must_open(&k);			/* the process restarts: the vote can be read, so it counts */
	assert_int_equal(store_restore(k.s, 1, &r), ND_OK);
	assert_int_equal(r.hard.vote, 2);
	store_close(k.s);
	k.s = NULL;
	memvfs_crash_keep(k.m, 0);	/* then the machine: it must still count */
	kit_must_open(&k);
	assert_int_equal(store_restore(k.s, 1, &r), ND_OK);
	assert_int_equal(r.hard.vote, 2);
	kit_free(&k);
}

static void test_disk_full(void **state)
{
	Kit			k;
	StoreStatus status;
	RaftHardState hard = {.term = 1};
	NdStatus	st = ND_OK;
	uint64_t	last;

	(void) state;
	kit_init(&k);
	memvfs_set_space(k.m, KIT_SEGMENT * 5);
	kit_must_open(&k);
	kit_group(&k, 1);
	for (uint64_t i = 1; i < 1000 && st == ND_OK; i++)
	{
		st = kit_append(&k, 1, i, 1, 1, 700);
		kit_flush(&k);
	}
	assert_int_equal(st, ND_FULL);
	last = store_last_index(k.s, 1);
	store_status(k.s, &status);
	assert_true(status.disk_full);
	assert_false(status.failed);
	assert_int_equal(kit_append(&k, 1, last + 1, 1, 1, 700), ND_FULL);
	assert_int_equal(store_checkpoint(k.s, 1, 1, "x", 1), ND_OK);	/* small enough for what is left of the segment */
	/* votes go on for long */
	for (uint64_t i = 2; i < 30; i++)
	{
		hard.term = i;
		assert_int_equal(store_hard_state(k.s, 1, &hard), ND_OK);
		kit_flush(&k);
	}
	assert_int_equal(kit_append(&k, 1, last + 1, 1, 1, 700), ND_FULL);
	/* space can be freed by the log itself */
	assert_int_equal(store_truncate_prefix(k.s, 1, last - 2), ND_OK);
	kit_flush(&k);
	kit_flush(&k);
	kit_must_append(&k, 1, last + 1, 1, 1, 700);
	kit_flush(&k);
	store_status(k.s, &status);
	assert_false(status.disk_full);
	kit_must_open(&k);
	assert_int_equal(store_last_index(k.s, 1), last + 1);
	/* or by others */
	for (uint64_t i = last + 2; (st = kit_append(&k, 1, i, 1, 1, 700)) == ND_OK; i++)
		kit_flush(&k);
	assert_int_equal(st, ND_FULL);
	memvfs_set_space(k.m, 0);
	last = store_last_index(k.s, 1);
	kit_must_append(&k, 1, last + 1, 1, 1, 700);
	store_status(k.s, &status);
	assert_false(status.disk_full);
	kit_flush(&k);
	kit_free(&k);
}

/* Where not even a byte of payload fits the first entry of a term still does; store_room() says all that before. */
static void test_full_for_payloads_only(void **state)
{
	Kit			k;
	RaftEntry	noop = {.term = 2, .kind = RAFT_ENTRY_NOOP};
	uint64_t	i = 1;

	(void) state;
	kit_init(&k);
	memvfs_set_space(k.m, KIT_SEGMENT * 5);
	kit_must_open(&k);
	kit_group(&k, 1);
	assert_true(store_room(k.s, 700));
	for (; kit_append(&k, 1, i, 1, 1, 1) == ND_OK; i++)
		kit_flush(&k);
	assert_true(store_full(k.s));
	assert_false(store_room(k.s, 512));
	noop.index = i;
	assert_int_equal(store_append(k.s, 1, &noop, 1), ND_OK);
	kit_flush(&k);
	memvfs_set_space(k.m, 0);
	store_find_space(k.s);
	assert_false(store_full(k.s));
	assert_true(store_room(k.s, 512));
	kit_must_append(&k, 1, i + 1, 2, 1, 700);
	kit_free(&k);
}

/* A new store on a full disk does not open, and leaves nothing that hurts the next try. */
static void test_open_on_full_disk(void **state)
{
	Kit			k;

	(void) state;
	kit_init(&k);
	memvfs_set_space(k.m, 1000);
	assert_int_equal(kit_open(&k), ND_FULL);
	assert_true(k.error[0] != 0);
	memvfs_set_space(k.m, 0);
	kit_must_open(&k);
	kit_free(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_torn_tail),
		cmocka_unit_test(test_torn_tail_crossing),
		cmocka_unit_test(test_flip_is_damage),
		cmocka_unit_test(test_flip_while_open),
		cmocka_unit_test(test_lost_file),
		cmocka_unit_test(test_strange_cluster),
		cmocka_unit_test(test_newer_format),
		cmocka_unit_test(test_failed_flush),
		cmocka_unit_test(test_failed_sync_restart_crash),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_full_for_payloads_only),
		cmocka_unit_test(test_open_on_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
