/*
 * test_store_each_fault.c: every single operation on the disk fails once, in a small life of a store: opening, writing over several segments, checkpoints,
 * truncation, snapshot, reading, scrubbing, and a start from what a crash left. Whatever fails: no call claims what is not so, a store that failed takes
 * nothing more, and the next start, after a crash, finds all that was acknowledged as durable.
 */
#include "store_kit.h"

#include "../../src/store/store_walk.h"

#define GROUP 1
#define LEN 600

/* ---- a disk whose n-th operation fails ---- */

typedef struct Faulty
{
	Vfs			base;
	Vfs		   *real;
	uint32_t	count;
	uint32_t	fails_at;		/* 0: none */
	NdStatus	status;
	const char *failed;			/* which one did */
} Faulty;

static Faulty disk;

static bool fails(const char *what)
{
	if (++disk.count != disk.fails_at)
		return false;
	disk.failed = what;
	return true;
}

#define PASS(name, ...) (fails(#name) ? disk.status : disk.real->ops->name(disk.real, __VA_ARGS__))

static NdStatus f_list(Vfs *v, const char *dir, void (*cb)(void *arg, const char *name), void *arg)
{
	(void) v;
	return PASS(list, dir, cb, arg);
}

static NdStatus f_mkdir(Vfs *v, const char *dir)
{
	(void) v;
	return PASS(mkdir, dir);
}

static NdStatus f_open(Vfs *v, const char *path, bool create, VfsFile **out)
{
	(void) v;
	return PASS(open, path, create, out);
}

static void f_close(Vfs *v, VfsFile *f)
{
	(void) v;
	disk.real->ops->close(disk.real, f);
}

static NdStatus f_size(Vfs *v, VfsFile *f, uint64_t *bytes)
{
	(void) v;
	return PASS(size, f, bytes);
}

static uint64_t f_inode(Vfs *v, VfsFile *f)
{
	(void) v;
	return disk.real->ops->inode(disk.real, f);
}

static NdStatus f_read(Vfs *v, VfsFile *f, uint64_t offset, void *out, size_t len, size_t *got)
{
	(void) v;
	return PASS(read, f, offset, out, len, got);
}

static void f_fetch(Vfs *v, VfsFile *f, uint64_t offset, size_t len)
{
	(void) v;
	disk.real->ops->fetch(disk.real, f, offset, len);
}

static NdStatus f_peek(Vfs *v, VfsFile *f, uint64_t offset, void *out, size_t len, size_t *got)
{
	(void) v;
	return PASS(peek, f, offset, out, len, got);
}

static NdStatus f_write(Vfs *v, VfsFile *f, uint64_t offset, const void *data, size_t len)
{
	(void) v;
	return PASS(write, f, offset, data, len);
}

static NdStatus f_allocate(Vfs *v, VfsFile *f, uint64_t bytes)
{
	(void) v;
	return PASS(allocate, f, bytes);
}

static NdStatus f_truncate(Vfs *v, VfsFile *f, uint64_t bytes)
{
	(void) v;
	return PASS(truncate, f, bytes);
}

static NdStatus f_sync(Vfs *v, VfsFile *f)
{
	(void) v;
	return PASS(sync, f);
}

static NdStatus f_sync_dir(Vfs *v, const char *dir)
{
	(void) v;
	return PASS(sync_dir, dir);
}

static NdStatus f_rename(Vfs *v, const char *from, const char *to)
{
	(void) v;
	return PASS(rename, from, to);
}

static NdStatus f_unlink(Vfs *v, const char *path)
{
	(void) v;
	return PASS(unlink, path);
}

static NdStatus f_submit(Vfs *v, const VfsWrite *writes, uint32_t n)
{
	(void) v;
	return PASS(submit, writes, n);
}

/* A job that fails may have reached the disk all the same. */
static bool f_poll(Vfs *v, NdStatus *status)
{
	(void) v;
	if (!disk.real->ops->poll(disk.real, status))
		return false;
	if (fails("poll"))
		*status = disk.status;
	return true;
}

static void f_drain(Vfs *v)
{
	(void) v;
	disk.real->ops->drain(disk.real);
}

static const VfsOps ops = {f_list, f_mkdir, f_open, f_close, f_size, f_inode, f_read, f_fetch, f_peek, f_write, f_allocate, f_truncate, f_sync, f_sync_dir,
f_rename, f_unlink, f_submit, f_poll, f_drain};

/* ---- a life ---- */

typedef struct Life
{
	Kit			k;
	/* acknowledged: durable, as the store said */
	uint64_t	first;
	uint64_t	last;
	uint64_t	changed_at;		/* entries from here on are of term 2 */
	uint64_t	checkpoint;
	RaftHardState hard;
	/* said, and not known to be durable: a start finds this or the above */
	uint64_t	first_told;
	uint64_t	checkpoint_told;
	bool		identity;
} Life;

static uint64_t term_of(const Life *l, uint64_t index)
{
	return l->changed_at > 0 && index >= l->changed_at ? 2 : 1;
}

/* The end of the life when the call fails; only the fault may make it. */
#define DO(call) \
	do \
	{ \
		NdStatus	st = (call); \
		\
		if (st != ND_OK) \
		{ \
			if (disk.failed == NULL) \
				fail_msg("%s: %s without a fault", #call, nd_status_text(st)); \
			return; \
		} \
	} while (0)

static NdStatus flush(Life *l)
{
	uint64_t	seq;
	uint64_t	durable = 0;
	NdStatus	st = store_flush_start(l->k.s, &seq);

	if (st == ND_OK)
	{
		memvfs_complete(l->k.m);
		st = store_flush_poll(l->k.s, &durable);
	}
	return st == ND_OK && durable < seq ? ND_BUSY : st;
}

static NdStatus append(Life *l, uint64_t index, uint32_t n)
{
	return kit_append(&l->k, GROUP, index, term_of(l, index), n, LEN);
}

/* A round, or more. */
static NdStatus scrub(Life *l)
{
	NdStatus	st = ND_OK;

	for (int i = 0; i < 40 && (st == ND_OK || st == ND_BUSY); i++)
		st = store_scrub(l->k.s, STORE_SCRUB_STEP);
	return st == ND_BUSY ? ND_OK : st;
}

static void write_life(Life *l)
{
	RaftConfiguration c;
	RaftHardState hard = {.term = 1, .vote = 1, .commit = 0};
	const StoreIdentity id = {.cluster_id = 7, .node = 1, .incarnation = 3};

	DO(store_identity_write(&disk.base, KIT_DIR, &id));
	l->identity = true;
	DO(store_open(&disk.base, &l->k.config, &l->k.s, l->k.error, sizeof(l->k.error)));
	kit_configuration(&c, 0, 3);
	DO(store_create_group(l->k.s, GROUP, &c));
	DO(store_hard_state(l->k.s, GROUP, &hard));
	DO(append(l, 1, 8));
	DO(flush(l));
	l->first = l->first_told = 1;
	l->last = 8;
	l->hard = hard;
	/* what was not acknowledged is cut, and other entries come to stand there */
	DO(append(l, 9, 4));
	DO(store_truncate_suffix(l->k.s, GROUP, 9));
	l->changed_at = 9;
	hard.term = 2;
	DO(store_hard_state(l->k.s, GROUP, &hard));
	for (uint64_t i = 9; i < 81; i += 8)
	{
		DO(append(l, i, 8));
		DO(store_checkpoint(l->k.s, GROUP, i, "checkpoint", 10));
		l->checkpoint_told = i;
		DO(flush(l));
		l->hard = hard;
		l->last = i + 7;
		l->first = l->first_told;
		l->checkpoint = l->checkpoint_told;
		if (i > 30)
		{
			DO(store_truncate_prefix(l->k.s, GROUP, i - 16));
			l->first_told = i - 16;
		}
	}
	DO(scrub(l));
	for (uint64_t i = l->first_told; i <= l->last; i++)
	{
		RaftEntry	e;
		uint32_t	n;

		DO(store_entries(l->k.s, GROUP, i, i + 1, 0, &e, 1, &n));
		assert_int_equal(n, 1);
		assert_int_equal(e.term, term_of(l, i));
		nd_blob_unref(e.payload);
	}
}

/* What is on the disk, by those who only read. */
static void read_life(Life *l)
{
	StoreIdentity id;
	uint64_t	inode;
	StorePosition at;
	StoreWalk  *w;
	StoreWalkItem *item;
	NdBuf		buf;
	NdStatus	st;

	DO(store_identity_read(&disk.base, KIT_DIR, &id, &inode));
	assert_int_equal(id.incarnation, 3);
	nd_buf_init(&buf);
	assert_int_equal(store_position(l->k.s, GROUP, l->last, &at), ND_OK);
	st = store_read_position(&disk.base, KIT_DIR, at, GROUP, l->last, 2, &buf);
	assert_true(st == ND_OK ? buf.len == LEN : disk.failed != NULL);
	nd_buf_free(&buf);
	DO(store_walk_open(&disk.base, KIT_DIR, 0, UINT64_MAX, &w));
	item = nd_zalloc(sizeof(*item));
	do
		st = store_walk_next(w, item);
	while (st == ND_OK && item->kind != STORE_WALK_END);
	assert_true(st == ND_OK || disk.failed != NULL);
	nd_free(item);
	store_walk_close(w);
}

/* A store that failed says so, whatever is asked of it but what its memory knows. */
static void assert_takes_nothing(Life *l)
{
	RaftConfiguration c;
	RaftHardState hard = {.term = 9};
	StoreStatus status;
	RaftRestore *restore = nd_zalloc(sizeof(*restore));
	uint64_t	number;
	NdBuf		buf;

	store_status(l->k.s, &status);
	if (status.failed)
	{
		kit_configuration(&c, 500, 2);
		nd_buf_init(&buf);
		assert_int_not_equal(kit_append(&l->k, GROUP, store_last_index(l->k.s, GROUP) + 1, 9, 1, LEN), ND_OK);
		assert_int_not_equal(store_hard_state(l->k.s, GROUP, &hard), ND_OK);
		assert_int_not_equal(store_create_group(l->k.s, 2, &c), ND_OK);
		assert_int_not_equal(store_checkpoint(l->k.s, GROUP, 1, "x", 1), ND_OK);
		assert_int_not_equal(store_truncate_suffix(l->k.s, GROUP, 3), ND_OK);
		assert_int_not_equal(store_truncate_prefix(l->k.s, GROUP, 2), ND_OK);
		assert_int_not_equal(store_reset_group(l->k.s, GROUP, 500, 9, &c, 500, "x", 1), ND_OK);
		assert_int_not_equal(store_flush_start(l->k.s, &number), ND_OK);
		assert_int_not_equal(store_flush_poll(l->k.s, &number), ND_OK);
		assert_int_not_equal(store_read_checkpoint(l->k.s, GROUP, &number, &buf), ND_OK);
		assert_int_not_equal(store_scrub(l->k.s, STORE_SCRUB_STEP), ND_OK);
		assert_int_not_equal(store_restore(l->k.s, GROUP, restore), ND_OK);
		nd_buf_free(&buf);
	}
	nd_free(restore);
}

/* After the crash, on a disk that works: all that was acknowledged is there. */
static void assert_kept(Life *l)
{
	RaftRestore *restore = nd_zalloc(sizeof(*restore));
	StoreIdentity id;
	uint64_t	inode;
	uint64_t	checkpoint;
	NdBuf		buf;

	kit_must_open(&l->k);
	if (l->identity)
	{
		assert_int_equal(store_identity_read(memvfs_vfs(l->k.m), KIT_DIR, &id, &inode), ND_OK);
		assert_int_equal(id.incarnation, 3);
	}
	if (l->last > 0)
	{
		assert_int_equal(store_restore(l->k.s, GROUP, restore), ND_OK);
		assert_true(restore->first_index == l->first || restore->first_index == l->first_told);
		assert_true(restore->last_index >= l->last);
		assert_true(restore->hard.term >= l->hard.term);
		for (uint64_t i = restore->first_index; i <= l->last; i++)
			kit_check_entry(&l->k, GROUP, i, term_of(l, i), true);
	}
	if (l->checkpoint > 0)
	{
		nd_buf_init(&buf);
		assert_int_equal(store_read_checkpoint(l->k.s, GROUP, &checkpoint, &buf), ND_OK);
		assert_true(checkpoint == l->checkpoint || checkpoint == l->checkpoint_told);
		assert_memory_equal(buf.data, "checkpoint", 10);
		nd_buf_free(&buf);
	}
	nd_free(restore);
}

/* The operation number n fails, in the first life or, `again`, at the start of the second. False: there is none any more. */
static bool live(uint32_t n, NdStatus status, bool again, uint64_t seed)
{
	Life		l;

	memset(&l, 0, sizeof(l));
	kit_init(&l.k);
	l.k.config.cache_bytes = 2000;	/* most reads come from the files */
	disk = (Faulty) {.base = {&ops}, .real = memvfs_vfs(l.k.m), .fails_at = again ? 0 : n, .status = status};
	write_life(&l);
	if (l.k.s != NULL && l.last >= 80)
		read_life(&l);
	if (l.k.s != NULL)
		assert_takes_nothing(&l);
	kit_crash(&l.k, seed);
	if (again)
	{
		disk.count = 0;
		disk.fails_at = n;
		if (store_open(&disk.base, &l.k.config, &l.k.s, l.k.error, sizeof(l.k.error)) != ND_OK)
		{
			assert_non_null(disk.failed);
			assert_null(l.k.s);
			assert_true(l.k.error[0] != '\0');
		}
		kit_crash(&l.k, seed + 1);
	}
	assert_kept(&l);
	kit_free(&l.k);
	return disk.failed != NULL;
}

static uint32_t each(NdStatus status, bool again)
{
	uint32_t	n = 1;

	for (uint64_t seed = 1; live(n, status, again, seed); seed++)
		n++;
	return n - 1;
}

static void test_first_life(void **state)
{
	(void) state;
	assert_in_range(each(ND_IO, false), 100, 5000);
	assert_in_range(each(ND_FULL, false), 100, 5000);
}

static void test_second_start(void **state)
{
	(void) state;
	assert_in_range(each(ND_IO, true), 20, 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_life),
		cmocka_unit_test(test_second_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
