/*
 * test_store_walk.c: reading segments as they stand: whole ones, torn tails, every kind of damage, and never a word about damage where there is none.
 */
#include "store_kit.h"

#include "../../src/store/store_walk.h"

typedef struct Seen
{
	uint32_t	segments;
	uint32_t	batches;
	uint32_t	entries;
	uint32_t	damages;
	uint32_t	tails;
	uint64_t	last_index;
	/* places of batches */
	uint64_t	segment[512];
	uint64_t	offset[512];
	uint64_t	bytes[512];
	uint64_t	damage_segment;
	uint64_t	damage_offset;
} Seen;

static Seen seen;

static void walk(Kit *k)
{
	StoreWalk  *w;
	StoreWalkItem item;

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(store_walk_open(memvfs_vfs(k->m), KIT_DIR, 0, UINT64_MAX, &w), ND_OK);
	for (;;)
	{
		assert_int_equal(store_walk_next(w, &item), ND_OK);
		if (item.kind == STORE_WALK_END)
			break;
		switch (item.kind)
		{
			case STORE_WALK_SEGMENT:
				seen.segments++;
				assert_int_equal(item.header.node, 3);
				break;
			case STORE_WALK_BATCH:
				assert_true(seen.batches < 512);
				seen.segment[seen.batches] = item.segment;
				seen.offset[seen.batches] = item.offset;
				seen.bytes[seen.batches++] = item.bytes;
				break;
			case STORE_WALK_RECORD:
				if (item.record.kind == STORE_ENTRY)
				{
					seen.entries++;
					seen.last_index = item.record.index;
				}
				break;
			case STORE_WALK_DAMAGE:
				if (seen.damages++ == 0)
				{
					seen.damage_segment = item.segment;
					seen.damage_offset = item.offset;
				}
				break;
			case STORE_WALK_TAIL:
				seen.tails++;
				break;
			default:
				break;
		}
	}
	store_walk_close(w);
}

/* Some segments full of entries of one group, one flush each. */
static void fill(Kit *k, uint32_t n)
{
	kit_init(k);
	kit_must_open(k);
	kit_group(k, 1);
	for (uint32_t i = 1; i <= n; i++)
	{
		kit_must_append(k, 1, i, 1, 1, 3000);
		kit_flush(k);
	}
}

static void test_whole_log(void **state)
{
	Kit			k;

	(void) state;
	fill(&k, 100);
	walk(&k);
	assert_true(seen.segments >= 3);
	assert_int_equal(seen.entries, 100);
	assert_int_equal(seen.last_index, 100);
	assert_int_equal(seen.damages + seen.tails, 0);
	/* A part of it. */
	{
		StoreWalk  *w;
		StoreWalkItem item;

		assert_int_equal(store_walk_open(memvfs_vfs(k.m), KIT_DIR, seen.segment[seen.batches - 1], UINT64_MAX, &w), ND_OK);
		assert_int_equal(store_walk_next(w, &item), ND_OK);
		assert_int_equal(item.kind, STORE_WALK_SEGMENT);
		assert_int_equal(item.segment, seen.segment[seen.batches - 1]);
		store_walk_close(w);
		assert_int_equal(store_walk_open(memvfs_vfs(k.m), KIT_DIR, UINT64_MAX, UINT64_MAX, &w), ND_NOTFOUND);
		assert_int_equal(store_walk_open(memvfs_vfs(k.m), "elsewhere", 0, UINT64_MAX, &w), ND_NOTFOUND);
	}
	kit_free(&k);
}

/* Each byte of a batch that counts, header or body, wherever it is but in the last flush: one damage, at that batch; the rest is still read. */
static void test_every_flip_is_found(void **state)
{
	Kit			k;
	Seen		whole;

	(void) state;
	fill(&k, 60);
	walk(&k);
	whole = seen;
	for (uint32_t b = 0; b + 1 < whole.batches; b++)
	{
		static const uint32_t at[] = {0, 17, STORE_BATCH_HEADER - 1, STORE_BATCH_HEADER, STORE_BATCH_HEADER + 39};

		for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		{
			char		path[64];

			if (at[i] >= whole.bytes[b])
				continue;
			kit_path(whole.segment[b], path);
			assert_true(memvfs_flip(k.m, path, whole.offset[b] + at[i], 0x10));
			walk(&k);
			if (seen.damages != 1)
				fail_msg("batch %u of %u, byte %u: %u damages told", b, whole.batches, at[i], seen.damages);
			assert_int_equal(seen.damage_segment, whole.segment[b]);
			assert_int_equal(seen.damage_offset, whole.offset[b]);
			assert_int_equal(seen.batches, whole.batches - 1);
			assert_true(memvfs_flip(k.m, path, whole.offset[b] + at[i], 0x10));
		}
	}
	walk(&k);
	assert_int_equal(seen.damages, 0);
	kit_free(&k);
}

/* The last flush may have been torn: that is no damage. After recovery nothing of it is left to be seen. */
static void test_torn_tail(void **state)
{
	Kit			k;
	char		path[64];

	(void) state;
	fill(&k, 60);
	walk(&k);
	kit_path(seen.segment[seen.batches - 1], path);
	assert_true(memvfs_flip(k.m, path, seen.offset[seen.batches - 1] + STORE_BATCH_HEADER + 50, 1));
	walk(&k);
	assert_int_equal(seen.damages, 0);
	assert_int_equal(seen.tails, 1);
	assert_int_equal(seen.last_index, 59);
	kit_must_open(&k);
	kit_must_append(&k, 1, 60, 2, 1, 10);
	kit_flush(&k);
	walk(&k);
	assert_int_equal(seen.damages + seen.tails, 0);
	assert_int_equal(seen.last_index, 60);
	kit_free(&k);
}

/* Crashes at any moment, prefixes cut, segments used again: what recovery accepts has no damage for the walk either. */
static void test_no_false_alarm(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 60; seed++)
	{
		NdRandom	random;
		Kit			k;
		uint64_t	last = 0;
		uint64_t	seq;

		nd_random_seed(&random, seed);
		kit_init(&k);
		kit_must_open(&k);
		kit_group(&k, 1);
		kit_flush(&k);
		for (uint32_t step = 0; step < 40; step++)
		{
			uint32_t	n = 1 + (uint32_t) nd_random_below(&random, 8);

			kit_must_append(&k, 1, last + 1, 1, n, 1 + (uint32_t) nd_random_below(&random, 5000));
			if (nd_random_below(&random, 8) == 0)
			{
				assert_int_equal(store_flush_start(k.s, &seq), ND_OK);
				kit_crash(&k, seed * 1000 + step);
				kit_must_open(&k);
				last = store_last_index(k.s, 1);
			}
			else
			{
				kit_flush(&k);
				last += n;
				if (last > 20 && nd_random_below(&random, 3) == 0)
				{
					assert_int_equal(store_truncate_prefix(k.s, 1, last - 10), ND_OK);
					kit_flush(&k);
				}
			}
			walk(&k);
			if (seen.damages != 0)
				fail_msg("seed %d, step %d: a false alarm", (int) seed, (int) step);
		}
		kit_free(&k);
	}
}

/* A segment in the middle is gone, or stands in another's place. */
static void test_misplaced_segments(void **state)
{
	Kit			k;
	char		from[64];
	char		to[64];
	uint64_t	len;
	const uint8_t *bytes;

	(void) state;
	fill(&k, 100);
	walk(&k);
	kit_path(seen.segment[0], from);
	kit_path(seen.segment[seen.batches - 1], to);
	bytes = memvfs_bytes(k.m, from, &len);
	memvfs_put(k.m, to, bytes, len);
	walk(&k);
	assert_int_equal(seen.damages, 1);
	assert_int_equal(seen.damage_offset, 0);
	kit_free(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_log),
		cmocka_unit_test(test_every_flip_is_found),
		cmocka_unit_test(test_torn_tail),
		cmocka_unit_test(test_no_false_alarm),
		cmocka_unit_test(test_misplaced_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
