/*
 * test_store.c: the store without faults: what was written comes back, from memory, from files, after a restart; segments turn over and
 * space is given back; limits are refused. Faults: test_store_faults.c; random histories: test_store_random.c.
 */
#include "store_kit.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_empty(void **state)
{
	Kit			k;
	NdGroupId	id;
	RaftRestore r;

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	assert_int_equal(store_groups(k.s, &id, 1), 0);
	assert_int_equal(store_restore(k.s, 0, &r), ND_NOTFOUND);
	assert_false(store_dirty(k.s));
	kit_must_open(&k);
	kit_free(&k);
}

static void test_write_and_restart(void **state)
{
	Kit			k;
	NdGroupId	ids[4];
	RaftRestore r;
	RaftHardState hard = {.term = 2, .vote = 3, .commit = 1};

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 5);
	kit_group(&k, 0);
	kit_must_append(&k, 5, 1, 1, 3, 100);
	kit_must_append(&k, 5, 4, 2, 2, 0);
	assert_int_equal(store_hard_state(k.s, 5, &hard), ND_OK);
	for (uint64_t i = 1; i <= 5; i++)
		kit_check_entry(&k, 5, i, i <= 3 ? 1 : 2, false);
	assert_true(store_dirty(k.s));
	kit_flush(&k);
	assert_false(store_dirty(k.s));
	for (int again = 0; again < 2; again++)
	{
		assert_int_equal(store_groups(k.s, ids, 4), 2);
		assert_int_equal(ids[0], 0);
		assert_int_equal(ids[1], 5);
		assert_int_equal(store_restore(k.s, 5, &r), ND_OK);
		assert_int_equal(r.first_index, 1);
		assert_int_equal(r.last_index, 5);
		assert_int_equal(r.n_runs, 2);
		assert_int_equal(r.runs[1].first_index, 4);
		assert_int_equal(r.runs[1].term, 2);
		assert_int_equal(r.hard.term, 2);
		assert_int_equal(r.hard.vote, 3);
		assert_int_equal(r.hard.commit, 1);
		assert_int_equal(r.configuration.n, 3);
		assert_int_equal(r.configuration.index, 0);
		for (uint64_t i = 1; i <= 5; i++)
			kit_check_entry(&k, 5, i, i <= 3 ? 1 : 2, true);
		kit_must_open(&k);
	}
	kit_free(&k);
}

static void test_entries_limits(void **state)
{
	Kit			k;
	RaftEntry	out[10];
	uint32_t	n;

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 1);
	kit_must_append(&k, 1, 1, 1, 10, 100);
	assert_int_equal(store_entries(k.s, 1, 1, 11, 0, out, 10, &n), ND_OK);
	assert_int_equal(n, 1);		/* one at least */
	nd_blob_unref(out[0].payload);
	assert_int_equal(store_entries(k.s, 1, 1, 11, 250, out, 10, &n), ND_OK);
	assert_int_equal(n, 2);
	nd_blob_unref(out[0].payload);
	nd_blob_unref(out[1].payload);
	assert_int_equal(store_entries(k.s, 1, 5, 11, 10000, out, 3, &n), ND_OK);
	assert_int_equal(n, 3);
	for (uint32_t i = 0; i < 3; i++)
		nd_blob_unref(out[i].payload);
	assert_int_equal(store_entries(k.s, 1, 5, 12, 10000, out, 3, &n), ND_INVALID);
	assert_int_equal(store_entries(k.s, 2, 5, 12, 10000, out, 3, &n), ND_NOTFOUND);
	kit_flush(&k);
	assert_int_equal(store_truncate_prefix(k.s, 1, 4), ND_OK);
	assert_int_equal(store_entries(k.s, 1, 3, 5, 10000, out, 3, &n), ND_COMPACTED);
	assert_int_equal(store_term(k.s, 1, 3), 1);
	assert_int_equal(store_term(k.s, 1, 2), 0);
	assert_int_equal(store_term(k.s, 1, 11), 0);
	kit_free(&k);
}

static void test_refusals(void **state)
{
	Kit			k;
	RaftConfiguration c;

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 1);
	kit_configuration(&c, 0, 1);
	assert_int_equal(store_create_group(k.s, 1, &c), ND_INVALID);
	assert_int_equal(kit_append(&k, 2, 1, 1, 1, 1), ND_NOTFOUND);
	assert_int_equal(kit_append(&k, 1, 2, 1, 1, 1), ND_INVALID);	/* a gap */
	assert_int_equal(kit_append(&k, 1, 1, 1, 1, 8193), ND_TOOBIG);
	assert_int_equal(store_last_index(k.s, 1), 0);
	kit_must_append(&k, 1, 1, 2, 2, 8192);
	assert_int_equal(kit_append(&k, 1, 3, 1, 1, 1), ND_INVALID);	/* the term goes back */
	assert_int_equal(store_truncate_prefix(k.s, 1, 2), ND_INVALID);	/* not durable yet */
	kit_flush(&k);
	assert_int_equal(store_truncate_prefix(k.s, 1, 4), ND_INVALID);
	assert_int_equal(store_truncate_prefix(k.s, 1, 3), ND_OK);
	assert_int_equal(store_truncate_suffix(k.s, 1, 2), ND_INVALID);
	assert_int_equal(store_first_index(k.s, 1), 3);
	kit_free(&k);
}

/* A suffix goes by an explicit record or by an entry at a lower index; neither comes back. */
static void test_suffix(void **state)
{
	(void) state;
	for (int explicit = 0; explicit < 2; explicit++)
		for (int turn_over = 0; turn_over < 2; turn_over++)
		{
			Kit			k;

			kit_init(&k);
			kit_must_open(&k);
			kit_group(&k, 1);
			kit_must_append(&k, 1, 1, 1, 10, 200);
			kit_flush(&k);
			if (turn_over)
				kit_must_append(&k, 1, 11, 1, 2, 8000);
			if (explicit)
				assert_int_equal(store_truncate_suffix(k.s, 1, 5), ND_OK);
			else
				kit_must_append(&k, 1, 5, 2, 1, 50);
			kit_flush(&k);
			kit_must_open(&k);
			assert_int_equal(store_last_index(k.s, 1), explicit ? 4 : 5);
			kit_check_entry(&k, 1, 4, 1, true);
			kit_must_append(&k, 1, explicit ? 5 : 6, 3, 3, 50);
			kit_flush(&k);
			kit_must_open(&k);
			assert_int_equal(store_last_index(k.s, 1), explicit ? 7 : 8);
			kit_check_entry(&k, 1, 7, 3, true);
			kit_free(&k);
		}
}

static NdStatus append_configuration(Kit *k, uint64_t index, uint64_t term, uint32_t voters)
{
	RaftConfiguration c;
	RaftEntry	e = {.index = index, .term = term, .kind = RAFT_ENTRY_CONFIG};
	NdBuf		buf;
	NdStatus	st;

	kit_configuration(&c, index, voters);
	nd_buf_init(&buf);
	assert_int_equal(raft_configuration_encode(&c, &buf), ND_OK);
	e.payload = nd_blob_new(buf.data, (uint32_t) buf.len);
	st = store_append(k->s, 1, &e, 1);
	nd_blob_unref(e.payload);
	nd_buf_free(&buf);
	return st;
}

static void check_configurations(Kit *k, uint32_t newest, uint32_t committed)
{
	for (int again = 0; again < 2; again++)
	{
		RaftRestore r;

		assert_int_equal(store_restore(k->s, 1, &r), ND_OK);
		assert_int_equal(r.configuration.n, newest);
		assert_int_equal(r.configuration_committed.n, committed);
		kit_flush(k);
		kit_must_open(k);
	}
}

static void test_configurations(void **state)
{
	Kit			k;
	RaftHardState hard = {.term = 1, .commit = 2};

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 1);
	check_configurations(&k, 3, 3);
	kit_must_append(&k, 1, 1, 1, 1, 10);
	assert_int_equal(append_configuration(&k, 2, 1, 4), ND_OK);
	check_configurations(&k, 4, 3);
	assert_int_equal(store_hard_state(k.s, 1, &hard), ND_OK);
	check_configurations(&k, 4, 4);
	kit_must_append(&k, 1, 3, 1, 1, 10);
	assert_int_equal(append_configuration(&k, 4, 1, 5), ND_OK);
	check_configurations(&k, 5, 4);
	assert_int_equal(store_truncate_suffix(k.s, 1, 4), ND_OK);
	check_configurations(&k, 4, 4);
	kit_must_append(&k, 1, 4, 1, 5, 10);
	assert_int_equal(append_configuration(&k, 9, 1, 6), ND_OK);
	check_configurations(&k, 6, 4);
	/* the one before survives the truncation of its entry, and a change of segments */
	assert_int_equal(store_truncate_prefix(k.s, 1, 8), ND_OK);
	check_configurations(&k, 6, 4);
	kit_must_append(&k, 1, 10, 1, 4, 8000);
	check_configurations(&k, 6, 4);
	assert_int_equal(store_truncate_suffix(k.s, 1, 9), ND_OK);
	check_configurations(&k, 4, 4);
	kit_free(&k);
}

/* Endless appends with truncation need a bounded number of files; an idle group's state, entries and checkpoint come along. */
static void test_turn_over(void **state)
{
	Kit			k;
	StoreStatus status;
	NdBuf		buf;
	uint64_t	index;
	RaftRestore r;
	RaftHardState hard = {.term = 9, .vote = 2, .commit = 0};

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 0);
	kit_group(&k, 1);
	kit_group(&k, 2);
	kit_must_append(&k, 0, 1, 1, 3, 20);
	assert_int_equal(store_checkpoint(k.s, 2, 0, "idle", 4), ND_OK);
	assert_int_equal(store_hard_state(k.s, 2, &hard), ND_OK);
	for (uint64_t i = 0; i < 400; i++)
	{
		kit_must_append(&k, 1, 1 + i, 1, 1, 1000);
		kit_flush(&k);
		if (i >= 20)
			assert_int_equal(store_truncate_prefix(k.s, 1, i - 10), ND_OK);
		if (i % 16 == 0)
			assert_int_equal(store_checkpoint(k.s, 1, i, "abc", 3), ND_OK);
		if (i % 97 == 0)
			kit_must_open(&k);
	}
	kit_flush(&k);
	kit_flush(&k);
	store_status(k.s, &status);
	/* the oldest one with group 0, two or three with the tail of group 1, the spare ones */
	assert_in_range(status.segments, 3, 7);
	assert_true(status.index_bytes < 100000);
	kit_must_open(&k);
	assert_int_equal(store_last_index(k.s, 1), 400);
	kit_check_entry(&k, 1, 400, 1, true);
	kit_check_entry(&k, 0, 1, 1, true);
	nd_buf_init(&buf);
	assert_int_equal(store_read_checkpoint(k.s, 2, &index, &buf), ND_OK);
	assert_int_equal(index, 0);
	assert_int_equal(buf.len, 4);
	assert_memory_equal(buf.data, "idle", 4);
	assert_int_equal(store_read_checkpoint(k.s, 0, &index, &buf), ND_NOTFOUND);
	nd_buf_free(&buf);
	assert_int_equal(store_restore(k.s, 2, &r), ND_OK);
	assert_int_equal(r.hard.term, 9);
	assert_int_equal(r.hard.vote, 2);
	kit_free(&k);
}

/* Memory of the log itself: 16 bytes an entry, and little around it. */
static void test_index_is_small(void **state)
{
	Kit			k;
	StoreStatus status;

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 1);
	for (uint64_t i = 0; i < 6400; i += 64)
	{
		kit_must_append(&k, 1, 1 + i, 1, 64, 10);
		kit_flush(&k);
	}
	store_status(k.s, &status);
	assert_in_range(status.index_bytes, 16 * 6400, 16 * 6400 + 64 * 16);
	kit_free(&k);
}

/* A call larger than a segment, and what gathers while a flush is slow, get what room they need. */
static void test_large(void **state)
{
	Kit			k;
	NdBuf		buf;
	uint64_t	index;
	uint8_t    *big = malloc(200000);

	(void) state;
	memset(big, 7, 200000);
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 1);
	kit_must_append(&k, 1, 1, 1, 10, 8000);
	kit_must_append(&k, 1, 11, 1, 1, 10);
	for (uint64_t i = 0; i < 20; i++)
		kit_must_append(&k, 1, 12 + i, 1, 1, 8000);
	assert_int_equal(store_checkpoint(k.s, 1, 5, big, 200000), ND_OK);
	kit_must_append(&k, 1, 32, 1, 1, 8000);
	for (int again = 0; again < 2; again++)
	{
		for (uint64_t i = 1; i <= 32; i++)
			kit_check_entry(&k, 1, i, 1, again > 0);
		nd_buf_init(&buf);
		assert_int_equal(store_read_checkpoint(k.s, 1, &index, &buf), ND_OK);
		assert_int_equal(buf.len, 200000);
		assert_memory_equal(buf.data, big, 200000);
		nd_buf_free(&buf);
		kit_flush(&k);
		kit_must_open(&k);
	}
	free(big);
	kit_free(&k);
}

static void test_reset(void **state)
{
	Kit			k;
	RaftConfiguration c;
	RaftConfiguration at;
	RaftRestore r;
	NdBuf		buf;
	uint64_t	index;

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	kit_group(&k, 1);
	kit_must_append(&k, 1, 1, 1, 10, 100);
	kit_flush(&k);
	kit_configuration(&c, 40, 5);
	assert_int_equal(store_reset_group(k.s, 1, 1000, 7, &c, 1005, "snap", 4), ND_OK);
	assert_int_equal(store_configuration(k.s, 1, 1000, &at), ND_OK);
	assert_int_equal(at.index, c.index);
	assert_int_equal(store_configuration(k.s, 1, 999, &at), ND_NOTFOUND);
	assert_int_equal(store_configuration(k.s, 1, 1001, &at), ND_NOTFOUND);
	kit_must_append(&k, 1, 1001, 7, 2, 10);
	kit_flush(&k);
	kit_must_open(&k);
	assert_int_equal(store_restore(k.s, 1, &r), ND_OK);
	assert_int_equal(r.first_index, 1001);
	assert_int_equal(r.prev_term, 7);
	assert_int_equal(r.last_index, 1002);
	assert_int_equal(r.configuration.n, 5);
	assert_int_equal(r.configuration.index, 40);
	nd_buf_init(&buf);
	assert_int_equal(store_read_checkpoint(k.s, 1, &index, &buf), ND_OK);
	assert_int_equal(index, 1005);
	nd_buf_free(&buf);
	kit_check_entry(&k, 1, 1002, 7, true);
	kit_free(&k);
}

/* A flush under way: what is written meanwhile belongs to the next one, and everything can be read. */
static void test_flight(void **state)
{
	Kit			k;
	uint64_t	first;
	uint64_t	second;
	uint64_t	durable;

	(void) state;
	kit_init(&k);
	kit_must_open(&k);
	memvfs_set_manual(k.m, true);
	kit_group(&k, 1);
	kit_must_append(&k, 1, 1, 1, 1, 1000);
	assert_int_equal(store_flush_start(k.s, &first), ND_OK);
	kit_must_append(&k, 1, 2, 1, 30, 1000);
	assert_int_equal(store_flush_start(k.s, &second), ND_BUSY);
	assert_int_equal(store_flush_poll(k.s, &durable), ND_OK);
	assert_true(durable < first);
	kit_check_entry(&k, 1, 1, 1, false);
	kit_check_entry(&k, 1, 31, 1, false);
	memvfs_complete(k.m);
	assert_int_equal(store_flush_poll(k.s, &durable), ND_OK);
	assert_int_equal(durable, first);
	assert_int_equal(store_flush_start(k.s, &second), ND_OK);
	assert_true(second > first);
	/* the second never finishes: the first one's entry is there, the rest is not */
	store_close(k.s);
	k.s = NULL;
	memvfs_crash_keep(k.m, 0);
	kit_must_open(&k);
	assert_int_equal(store_last_index(k.s, 1), 1);
	kit_check_entry(&k, 1, 1, 1, true);
	kit_free(&k);
}

static void test_identity_memory(void **state)
{
	MemVfs	   *m = memvfs_create();
	Vfs		   *v = memvfs_vfs(m);
	StoreIdentity id = {.cluster_id = 5, .node = 2, .incarnation = 1, .host_id = 99};
	StoreIdentity got;
	uint64_t	inode;

	(void) state;
	assert_int_equal(store_identity_read(v, KIT_DIR, &got, &inode), ND_NOTFOUND);
	for (uint32_t i = 1; i < 20; i++)
	{
		id.incarnation = i;
		assert_int_equal(store_identity_write(v, KIT_DIR, &id), ND_OK);
		id.incarnation = i + 1;
		memvfs_fail(m, i % 2 ? MEMVFS_SYNC : MEMVFS_RENAME, 0, 1, ND_IO);
		assert_int_equal(store_identity_write(v, KIT_DIR, &id), ND_IO);
		memvfs_crash(m, i);
		assert_int_equal(store_identity_read(v, KIT_DIR, &got, &inode), ND_OK);
		assert_int_equal(got.incarnation, i);
		assert_int_equal(got.cluster_id, 5);
		assert_int_equal(got.node, 2);
		assert_int_equal(got.host_id, 99);
		assert_int_equal(got.inode, inode);
	}
	assert_true(memvfs_flip(m, KIT_DIR "/identity", 20, 1));
	assert_int_equal(store_identity_read(v, KIT_DIR, &got, &inode), ND_DAMAGED);
	memvfs_destroy(m);
}

/* ---- the real disk ---- */

static void remove_file(void *arg, const char *name)
{
	char		path[400];

	snprintf(path, sizeof(path), "%s/%s", (const char *) arg, name);
	unlink(path);
}

static void wait_flush(Vfs *v, Store *s)
{
	struct pollfd p = {.fd = vfs_posix_fd(v), .events = POLLIN};
	uint64_t	seq;
	uint64_t	durable = 0;

	assert_int_equal(store_flush_start(s, &seq), ND_OK);
	while (durable < seq)
	{
		assert_true(poll(&p, 1, -1) == 1);
		assert_int_equal(store_flush_poll(s, &durable), ND_OK);
	}
	p.revents = 0;
	assert_int_equal(poll(&p, 1, 0), 0);	/* the poll has cleared it */
}

static void test_posix(void **state)
{
	char		dir[] = "/tmp/nodedb-test-XXXXXX";
	char		log[100];
	StoreConfig config = {.cluster_id = 1, .node = 1, .segment_bytes = 1 << 20, .cache_bytes = 1000, .record_bytes_max = 100000};
	Kit			k = {0};
	Vfs		   *v;
	NdBuf		buf;
	StorePosition at;

	(void) state;
	assert_non_null(mkdtemp(dir));
	snprintf(log, sizeof(log), "%s/log", dir);
	config.dir = log;
	assert_int_equal(vfs_posix_create(&v), ND_OK);
	assert_int_equal(store_open(v, &config, &k.s, k.error, sizeof(k.error)), ND_OK);
	kit_group(&k, 1);
	for (uint64_t i = 0; i < 30; i++)
	{
		kit_must_append(&k, 1, 1 + i, 1, 1, 90000);
		wait_flush(v, k.s);
	}
	assert_int_equal(store_truncate_prefix(k.s, 1, 25), ND_OK);
	wait_flush(v, k.s);
	/* closing while a flush runs must wait for it */
	kit_must_append(&k, 1, 31, 1, 1, 90000);
	{
		uint64_t	seq;

		assert_int_equal(store_flush_start(k.s, &seq), ND_OK);
	}
	store_close(k.s);
	assert_int_equal(store_open(v, &config, &k.s, k.error, sizeof(k.error)), ND_OK);
	assert_int_equal(store_first_index(k.s, 1), 25);
	assert_int_equal(store_last_index(k.s, 1), 31);
	nd_buf_init(&buf);
	assert_int_equal(store_position(k.s, 1, 30, &at), ND_OK);
	assert_int_equal(store_read_position(v, log, at, 1, 30, 1, &buf), ND_OK);
	assert_int_equal(buf.len, 90000);
	assert_int_equal(store_read_position(v, log, at, 1, 29, 1, &buf), ND_DAMAGED);
	assert_int_equal(store_read_position(v, log, at, 2, 30, 1, &buf), ND_DAMAGED);
	assert_int_equal(store_read_position(v, log, at, 1, 30, 2, &buf), ND_DAMAGED);
	nd_buf_free(&buf);
	store_close(k.s);
	v->ops->list(v, log, remove_file, log);
	vfs_posix_destroy(v);
	rmdir(log);
	rmdir(dir);
}

/* A copied identity has another inode than the one that it names. */
static void remove_from_disk(void *arg, const char *name)
{
	Vfs		   *v = memvfs_vfs(arg);
	char		path[400];

	snprintf(path, sizeof(path), "%s/%s", KIT_DIR, name);
	v->ops->unlink(v, path);
}

/* A reader that keeps its file open: entry after entry over several segments; a file that is not the segment any more is not believed. */
static void test_reader(void **state)
{
	Kit			k;
	StoreReader reader;
	StorePosition at = {0};
	NdBuf		buf;
	uint64_t	first_segment = 0;
	uint64_t	at_last;

	(void) state;
	nd_buf_init(&buf);
	kit_init(&k);
	reader = (StoreReader) {.vfs = memvfs_vfs(k.m), .dir = KIT_DIR};
	kit_must_open(&k);
	kit_group(&k, 1);
	for (uint64_t i = 1; i <= 200; i++)
	{
		kit_must_append(&k, 1, i, 1, 1, 1000);
		kit_flush(&k);
		assert_int_equal(store_position(k.s, 1, i, &at), ND_OK);
		assert_int_equal(store_reader_read(&reader, at, 1, i, 1, &buf), ND_OK);
		assert_int_equal(buf.len, 1000);
		assert_int_equal(store_reader_read(&reader, at, 1, i, 2, &buf), ND_DAMAGED);
		if (i == 1)
			first_segment = at.segment;
	}
	at_last = at.segment;
	assert_true(at_last > first_segment + 1);
	assert_int_equal(store_position(k.s, 1, 1, &at), ND_OK);
	assert_int_equal(store_reader_read(&reader, at, 1, 1, 1, &buf), ND_OK);
	assert_int_equal(reader.segment, first_segment);
	/* the node is set up anew: another file has this number */
	store_close(k.s);
	k.s = NULL;
	for (uint64_t i = 0; i <= at_last; i++)			/* names move up while they are listed */
		memvfs_vfs(k.m)->ops->list(memvfs_vfs(k.m), KIT_DIR, remove_from_disk, k.m);
	kit_must_open(&k);
	kit_group(&k, 1);
	kit_must_append(&k, 1, 1, 3, 1, 500);
	kit_flush(&k);
	assert_int_equal(store_position(k.s, 1, 1, &at), ND_OK);
	assert_int_equal(at.segment, first_segment);
	assert_int_equal(store_reader_read(&reader, at, 1, 1, 3, &buf), ND_OK);
	assert_int_equal(buf.len, 500);
	store_reader_close(&reader);
	nd_buf_free(&buf);
	kit_free(&k);
}

static void test_identity_copied(void **state)
{
	char		dir[] = "/tmp/nodedb-test-XXXXXX";
	char		path[100];
	char		copy[100];
	StoreIdentity id = {.cluster_id = 5, .node = 2, .incarnation = 1};
	StoreIdentity got;
	uint64_t	inode;
	Vfs		   *v;
	char		bytes[64];
	int			fd;

	(void) state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(vfs_posix_create(&v), ND_OK);
	assert_int_equal(store_identity_write(v, dir, &id), ND_OK);
	assert_int_equal(store_identity_read(v, dir, &got, &inode), ND_OK);
	assert_int_equal(got.inode, inode);
	snprintf(path, sizeof(path), "%s/identity", dir);
	snprintf(copy, sizeof(copy), "%s/other", dir);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
	close(fd);
	fd = open(copy, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	close(fd);
	assert_int_equal(rename(copy, path), 0);
	assert_int_equal(store_identity_read(v, dir, &got, &inode), ND_OK);
	assert_int_not_equal(got.inode, inode);
	unlink(path);
	rmdir(dir);
	vfs_posix_destroy(v);
}

/* A process without free file handles says so: nothing is wrong with the log. */
static void test_posix_without_handles(void **state)
{
	char		path[] = "/tmp/nodedb-test-XXXXXX";
	int			fd = mkstemp(path);
	struct rlimit old;
	struct rlimit none;
	Vfs		   *v;
	VfsFile    *file;

	(void) state;
	assert_true(fd >= 0);
	assert_int_equal(vfs_posix_create(&v), ND_OK);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(v->ops->open(v, path, false, &file), ND_NOMEM);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(v->ops->open(v, path, false, &file), ND_OK);
	v->ops->close(v, file);
	vfs_posix_destroy(v);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_write_and_restart),
		cmocka_unit_test(test_entries_limits),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_suffix),
		cmocka_unit_test(test_configurations),
		cmocka_unit_test(test_turn_over),
		cmocka_unit_test(test_index_is_small),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_flight),
		cmocka_unit_test(test_identity_memory),
		cmocka_unit_test(test_posix),
		cmocka_unit_test(test_posix_without_handles),
		cmocka_unit_test(test_reader),
		cmocka_unit_test(test_identity_copied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
