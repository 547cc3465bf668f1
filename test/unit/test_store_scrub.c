/*
 * test_store_scrub.c: the scrub finds every kind of damage in what is durable, names it, and never cries over a log that is well; what it finds where
 * nothing live stands stops nothing.
 */
#include "store_kit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../src/store/store_walk.h"

typedef struct Place
{
	uint64_t	segment;
	uint64_t	offset;
	uint64_t	bytes;			/* header and body */
	uint64_t	seq;
} Place;

static Place places[512];
static uint32_t n_places;

static void find_places(Kit *k)
{
	StoreWalk  *w;
	StoreWalkItem item = {0};

	n_places = 0;
	assert_int_equal(store_walk_open(memvfs_vfs(k->m), KIT_DIR, 0, UINT64_MAX, &w), ND_OK);
	while (store_walk_next(w, &item) == ND_OK && item.kind != STORE_WALK_END)
		if (item.kind == STORE_WALK_BATCH)
		{
			assert_true(n_places < 512);
			places[n_places++] = (Place) {item.segment, item.offset, STORE_BATCH_HEADER + item.batch.body_len, item.batch.flush_seq};
		}
	store_walk_close(w);
}

/* n flushes of one entry of 700 bytes each: some segments. */
static void fill(Kit *k, uint32_t n)
{
	kit_init(k);
	kit_must_open(k);
	kit_group(k, 1);
	kit_flush(k);
	for (uint32_t i = 1; i <= n; i++)
	{
		kit_must_append(k, 1, i, 1, 1, 700);
		kit_flush(k);
	}
	find_places(k);
}

static StoreStatus status_of(Kit *k)
{
	StoreStatus s;

	store_status(k->s, &s);
	return s;
}

/* Until `rounds` more are finished or something is wrong. */
static NdStatus scrub(Kit *k, uint64_t rounds, uint64_t step)
{
	uint64_t	until = status_of(k).scrub_rounds + rounds;
	NdStatus	st = ND_OK;

	for (int i = 0; i < 100000 && (st == ND_OK || st == ND_BUSY) && status_of(k).scrub_rounds < until; i++)
		st = store_scrub(k->s, step);
	if (st == ND_OK)
		assert_true(status_of(k).scrub_rounds == until);
	return st;
}

static void must_be_named(Kit *k, const Place *p, uint64_t offset)
{
	StoreStatus s = status_of(k);
	char		expected[64];

	assert_non_null(s.damage);
	snprintf(expected, sizeof(expected), "%016llx.seg: damaged", (unsigned long long) p->segment);
	assert_non_null(strstr(s.damage, expected));
	snprintf(expected, sizeof(expected), "at offset %llu", (unsigned long long) offset);
	assert_non_null(strstr(s.damage, expected));
}

/* While the log grows, is cut and its files are used anew, in steps of any size: rounds end, and nothing is called damaged. */
static void test_well(void **state)
{
	Kit			k;
	uint64_t	first = 1;
	NdRandom	r;

	(void) state;
	nd_random_seed(&r, 7);
	fill(&k, 5);
	for (uint32_t i = 6; i <= 600; i++)
	{
		uint64_t	seq;
		uint64_t	durable;

		kit_must_append(&k, 1, i, 1 + i / 50, 1, 100 + (uint32_t) nd_random_below(&r, 1500));
		assert_int_equal(store_flush_start(k.s, &seq), ND_OK);
		for (uint64_t n = nd_random_below(&r, 12); n > 0; n--)
			assert_true(store_scrub(k.s, 1 + nd_random_below(&r, 20000)) != ND_DAMAGED);
		memvfs_complete(k.m);
		assert_int_equal(store_flush_poll(k.s, &durable), ND_OK);
		if (nd_random_below(&r, 10) == 0)
		{
			first += nd_random_below(&r, i - first + 1);
			assert_int_equal(store_truncate_prefix(k.s, 1, first), ND_OK);
		}
		if (nd_random_below(&r, 60) == 0)
		{
			kit_flush(&k);
			kit_crash(&k, i);
			kit_must_open(&k);
		}
	}
	assert_int_equal(scrub(&k, 3, 4096), ND_OK);
	assert_null(status_of(&k).damage);
	assert_true(status_of(&k).scrub_bytes > 10000);
	kit_free(&k);
}

/* A bit anywhere in a batch or a segment's header, the last batch included. */
static void test_bit(void **state)
{
	Kit			k;
	char		path[64];
	NdRandom	r;

	(void) state;
	nd_random_seed(&r, 3);
	for (uint32_t i = 0; i < 400; i++)
	{
		const Place *p;
		bool		header = i % 20 == 0;
		uint64_t	at;

		fill(&k, 40);
		p = &places[2 + i % (n_places - 2)];	/* the first two hold small state, which later segments repeat */
		at = header ? nd_random_below(&r, 40) : p->offset + (i % 3 ? nd_random_below(&r, p->bytes) : nd_random_below(&r, STORE_BATCH_HEADER));
		kit_path(p->segment, path);
		assert_true(memvfs_flip(k.m, path, at, (uint8_t) (1 << nd_random_below(&r, 8))));
		assert_int_equal(scrub(&k, 2, 1 + nd_random_below(&r, 70000)), ND_DAMAGED);
		must_be_named(&k, p, header ? 0 : p->offset);
		/* and it stays so */
		assert_int_equal(kit_append(&k, 1, 41, 1, 1, 10), ND_DAMAGED);
		assert_int_equal(store_scrub(k.s, 1), ND_DAMAGED);
		kit_free(&k);
	}
}

static void overwrite(Kit *k, const Place *p, const uint8_t *with, uint64_t len)
{
	char		path[64];
	const uint8_t *old;
	uint64_t	size;

	kit_path(p->segment, path);
	old = memvfs_bytes(k->m, path, &size);
	for (uint64_t i = 0; i < len; i++)
		if (old[p->offset + i] != (with ? with[i] : 0))
			assert_true(memvfs_flip(k->m, path, p->offset + i, old[p->offset + i] ^ (with ? with[i] : 0)));
}

/* A write that was acknowledged and never reached the disk. The last one too, which no start could tell from one that a crash has torn. */
static void test_lost_write(void **state)
{
	Kit			k;

	(void) state;
	for (int last = 0; last < 2; last++)
	{
		fill(&k, 40);
		overwrite(&k, &places[last ? n_places - 1 : 20], NULL, places[20].bytes);
		assert_int_equal(scrub(&k, 2, 5000), ND_DAMAGED);
		must_be_named(&k, &places[last ? n_places - 1 : 20], places[last ? n_places - 1 : 20].offset);
		/* what a start without the scrub makes of it */
		assert_int_equal(kit_open(&k), last ? ND_OK : ND_DAMAGED);
		if (last)
			assert_int_equal(store_last_index(k.s, 1), 39);
		kit_free(&k);
	}
}

/* A write that went to the place of another one: of the same file, of another file. */
static void test_misdirected_write(void **state)
{
	Kit			k;
	uint8_t		copy[4096];
	char		path[64];
	uint64_t	size;

	(void) state;
	for (uint32_t from = 1; from < 40; from += 13)
	{
		fill(&k, 40);
		assert_true(places[from].bytes < sizeof(copy));
		kit_path(places[from].segment, path);
		memcpy(copy, memvfs_bytes(k.m, path, &size) + places[from].offset, places[from].bytes);
		overwrite(&k, &places[from + 2], copy, places[from].bytes);
		assert_int_equal(scrub(&k, 2, 5000), ND_DAMAGED);
		must_be_named(&k, &places[from + 2], places[from + 2].offset);
		kit_free(&k);
	}
}

/* An older write of the same place comes back: everything in it is right but its flush number. */
static void test_stale_write(void **state)
{
	Kit			k;
	uint8_t		copy[4096];
	char		path[64];
	uint64_t	size;
	uint64_t	seq;
	Place		torn;

	(void) state;
	fill(&k, 10);
	memvfs_set_manual(k.m, true);
	/* a flush that a crash kept whole, written again by a start, then overwritten: its first bytes are remembered */
	kit_must_append(&k, 1, 11, 1, 1, 700);
	assert_int_equal(store_flush_start(k.s, &seq), ND_OK);
	find_places(&k);
	torn = places[n_places - 1];
	kit_path(torn.segment, path);
	memcpy(copy, memvfs_bytes(k.m, path, &size) + torn.offset, torn.bytes);
	store_close(k.s);
	k.s = NULL;
	memvfs_crash_keep(k.m, 0);
	memvfs_set_manual(k.m, false);
	kit_must_open(&k);
	kit_must_append(&k, 1, 11, 2, 1, 700);
	kit_flush(&k);
	kit_must_append(&k, 1, 12, 2, 1, 700);
	kit_flush(&k);
	assert_int_equal(scrub(&k, 2, 5000), ND_OK);
	overwrite(&k, &torn, copy, torn.bytes);
	assert_int_equal(scrub(&k, 2, 5000), ND_DAMAGED);
	kit_free(&k);
}

/* Damage where every entry was truncated: told, and no more. Live entries beside it are still there. */
static void test_dead(void **state)
{
	Kit			k;
	char		path[64];
	const Place *p = &places[3];

	(void) state;
	fill(&k, 60);
	assert_true(p->segment < places[n_places - 1].segment);
	assert_int_equal(store_truncate_prefix(k.s, 1, 12), ND_OK);
	kit_flush(&k);
	kit_path(p->segment, path);
	assert_true(memvfs_flip(k.m, path, p->offset + 100, 1));
	assert_int_equal(scrub(&k, 2, 3000), ND_OK);
	assert_true(status_of(&k).damages > 0);
	must_be_named(&k, p, p->offset);
	kit_must_append(&k, 1, 61, 1, 1, 10);
	kit_flush(&k);
	kit_check_entry(&k, 1, 12, 1, true);
	/* in a header: the scrub loses its place, and finds it again behind */
	assert_true(memvfs_flip(k.m, path, places[5].offset + 3, 1));
	assert_int_equal(scrub(&k, 2, 3000), ND_OK);
	/* a live one in the same file */
	assert_true(places[14].segment == p->segment);
	assert_true(memvfs_flip(k.m, path, places[14].offset + 100, 1));
	assert_int_equal(scrub(&k, 2, 3000), ND_DAMAGED);
	must_be_named(&k, &places[14], places[14].offset);
	kit_free(&k);
}

static void test_refused_read(void **state)
{
	Kit			k;

	(void) state;
	fill(&k, 40);
	memvfs_fail(k.m, MEMVFS_READ, 3, 1, ND_IO);
	assert_int_equal(scrub(&k, 2, 4096), ND_IO);
	assert_non_null(strstr(status_of(&k).damage, "could not be read at offset"));
	assert_int_equal(kit_append(&k, 1, 41, 1, 1, 10), ND_IO);
	kit_free(&k);
}

/* A disk that does not answer now: nobody waits for it, and nothing is left out. */
static void test_busy_disk(void **state)
{
	Kit			k;
	uint64_t	reads;

	(void) state;
	fill(&k, 40);
	memvfs_fail(k.m, MEMVFS_READ, 0, 500, ND_BUSY);
	reads = memvfs_count(k.m, MEMVFS_READ);
	for (int i = 0; i < 400; i++)
		assert_int_equal(store_scrub(k.s, 4096), ND_BUSY);
	assert_true(memvfs_count(k.m, MEMVFS_READ) > reads + 300);
	assert_int_equal(status_of(&k).scrub_bytes, 0);
	memvfs_fail(k.m, MEMVFS_READ, 0, 0, ND_OK);
	assert_int_equal(scrub(&k, 1, 4096), ND_OK);
	assert_true(status_of(&k).scrub_bytes >= 40 * 700);
	kit_free(&k);
}

/* The store itself reads a damaged entry: it fails with the place. */
static void test_read_names_place(void **state)
{
	Kit			k;
	char		path[64];
	RaftEntry	e;
	uint32_t	n;

	(void) state;
	fill(&k, 40);
	kit_path(places[2].segment, path);
	assert_true(memvfs_flip(k.m, path, places[2].offset + 200, 4));
	assert_int_equal(store_entries(k.s, 1, 1, 2, UINT32_MAX, &e, 1, &n), ND_DAMAGED);
	assert_non_null(strstr(status_of(&k).damage, ".seg: damaged record at offset"));
	assert_int_equal(kit_append(&k, 1, 41, 1, 1, 10), ND_DAMAGED);
	kit_free(&k);
}

/* Real files: what was asked for comes in the end, whole rounds of it, and damage below the cache's feet is seen. */
static void test_real_files(void **state)
{
	char		dir[] = "/tmp/test_store_scrub.XXXXXX";
	char		path[256];
	char		error[300];
	StoreConfig config = {.dir = dir, .cluster_id = 77, .node = 3, .segment_bytes = KIT_SEGMENT, .cache_bytes = 4096, .record_bytes_max = 8192};
	RaftConfiguration c;
	StoreStatus status;
	Vfs		   *vfs;
	Store	   *s;
	NdStatus	st = ND_OK;
	uint8_t		byte;
	int			fd;

	(void) state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(vfs_posix_create(&vfs), ND_OK);
	assert_int_equal(store_open(vfs, &config, &s, error, sizeof(error)), ND_OK);
	kit_configuration(&c, 0, 3);
	assert_int_equal(store_create_group(s, 1, &c), ND_OK);
	for (uint64_t i = 1; i <= 100; i++)
	{
		RaftEntry	e = {.index = i, .term = 1, .kind = RAFT_ENTRY_DATA, .payload = kit_payload(1, i, 1, 700)};
		uint64_t	seq;
		uint64_t	durable = 0;

		assert_int_equal(store_append(s, 1, &e, 1), ND_OK);
		nd_blob_unref(e.payload);
		assert_int_equal(store_flush_start(s, &seq), ND_OK);
		while (durable < seq)
			assert_int_equal(store_flush_poll(s, &durable), ND_OK);
	}
	for (uint64_t n = 0; n < 20000000 && (st == ND_OK || st == ND_BUSY); n++)
	{
		st = store_scrub(s, 4096);
		store_status(s, &status);
		if (status.scrub_rounds == 2)
			break;
	}
	assert_int_equal(status.scrub_rounds, 2);
	assert_int_equal(status.damages, 0);
	assert_true(status.scrub_bytes > 2 * 70000);
	snprintf(path, sizeof(path), "%s/0000000000000002.seg", dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 3000), 1);
	byte ^= 16;
	assert_int_equal(pwrite(fd, &byte, 1, 3000), 1);
	close(fd);
	for (uint64_t n = 0; n < 20000000 && (st == ND_OK || st == ND_BUSY); n++)
		st = store_scrub(s, 4096);
	assert_int_equal(st, ND_DAMAGED);
	store_close(s);
	vfs_posix_destroy(vfs);
	for (int i = 1; i < 40; i++)
	{
		snprintf(path, sizeof(path), "%s/%016x.seg", dir, i);
		unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_well),
		cmocka_unit_test(test_bit),
		cmocka_unit_test(test_lost_write),
		cmocka_unit_test(test_misdirected_write),
		cmocka_unit_test(test_stale_write),
		cmocka_unit_test(test_dead),
		cmocka_unit_test(test_refused_read),
		cmocka_unit_test(test_busy_disk),
		cmocka_unit_test(test_read_names_place),
		cmocka_unit_test(test_real_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
