/*
 * memvfs.c: the memory disk of memvfs.h.
 *
 * A file is an inode with two byte arrays (cache: what reads see; platter: what is durable) and the ordered list of changes between them.
 * Names are two lists of the same kind. Invariant: platter + all pending changes that are not lost, in order, is what a full sync would leave.
 * Uses malloc directly, so that tests may make nd_alloc() fail without breaking the disk. Aborts only when malloc itself fails.
 */
#include "memvfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512

typedef struct Bytes
{
	uint8_t    *data;
	uint64_t	len;
	uint64_t	cap;
} Bytes;

typedef struct Change
{
	uint64_t	seq;			/* order over all files */
	bool		is_size;		/* the file's length becomes `offset`; else a write */
	bool		lost;			/* a sync of it failed: never durable any more */
	uint64_t	offset;
	uint64_t	len;
	uint8_t    *data;
} Change;

typedef struct Inode
{
	uint64_t	number;
	uint32_t	refs;			/* names of both lists, handles, pending name changes */
	Bytes		cache;
	Bytes		platter;
	Change	   *changes;
	uint32_t	n_changes;
	uint32_t	cap_changes;
	uint64_t	bad_from;		/* unreadable */
	uint64_t	bad_to;
	struct Inode *next;			/* of the disk's list */
} Inode;

typedef struct Name
{
	char	   *path;
	Inode	   *inode;
} Name;

typedef struct Names
{
	Name	   *v;
	uint32_t	n;
	uint32_t	cap;
} Names;

typedef struct NameChange
{
	char	   *from;			/* vanishes; NULL when nothing does */
	char	   *to;				/* appears; NULL when nothing does */
	Inode	   *inode;			/* what appears */
} NameChange;

typedef struct Fault
{
	uint64_t	from;			/* operation numbers from..to - 1 fail */
	uint64_t	to;
	NdStatus	status;
} Fault;

struct VfsFile
{
	Inode	   *inode;
	uint32_t	generation;		/* of the disk when opened: a crash makes the handle stale */
};

struct MemVfs
{
	Vfs			vfs;			/* first: the Vfs pointer is the MemVfs pointer */
	Inode	   *inodes;
	uint64_t	next_inode;
	uint64_t	next_seq;
	uint32_t	generation;
	Names		names;
	Names		durable;
	NameChange *name_changes;
	uint32_t	n_name_changes;
	uint32_t	cap_name_changes;
	char	  **dirs;
	uint32_t	n_dirs;
	bool		manual;
	bool		job;			/* submitted, poll() has not reported it yet */
	bool		job_done;
	NdStatus	job_status;
	uint64_t	job_bytes;
	Inode	  **job_files;
	uint32_t	n_job_files;
	Fault		faults[MEMVFS_OPS];
	uint64_t	counts[MEMVFS_OPS];
	bool		looking;
	uint64_t	space;			/* 0: unlimited */
};

static void *must(void *p)
{
	if (p == NULL)
	{
		fprintf(stderr, "memvfs: out of memory\n");
		abort();
	}
	return p;
}

static char *copy_text(const char *s)
{
	size_t		len = strlen(s) + 1;

	return memcpy(must(malloc(len)), s, len);
}

static void bytes_resize(Bytes *b, uint64_t len)
{
	if (len > b->cap)
	{
		uint64_t	cap = b->cap * 2 > len ? b->cap * 2 : len;

		b->data = must(realloc(b->data, cap));
		b->cap = cap;
	}
	if (len > b->len)
		memset(b->data + b->len, 0, len - b->len);
	b->len = len;
}

static void bytes_write(Bytes *b, uint64_t offset, const void *data, uint64_t len)
{
	if (len == 0)
		return;
	if (offset + len > b->len)
		bytes_resize(b, offset + len);
	memcpy(b->data + offset, data, len);
}

/* ---- inodes and changes ---- */

static Inode *inode_new(MemVfs *m)
{
	Inode	   *i = must(calloc(1, sizeof(Inode)));

	i->number = ++m->next_inode;
	i->next = m->inodes;
	m->inodes = i;
	return i;
}

static void changes_clear(Inode *i)
{
	for (uint32_t k = 0; k < i->n_changes; k++)
		free(i->changes[k].data);
	i->n_changes = 0;
}

static void inode_unref(MemVfs *m, Inode *i)
{
	Inode	  **at;

	if (--i->refs > 0)
		return;
	for (at = &m->inodes; *at != i; at = &(*at)->next)
		;
	*at = i->next;
	changes_clear(i);
	free(i->changes);
	free(i->cache.data);
	free(i->platter.data);
	free(i);
}

static void change_add(MemVfs *m, Inode *i, bool is_size, uint64_t offset, const void *data, uint64_t len)
{
	Change	   *c;

	if (i->n_changes == i->cap_changes)
	{
		i->cap_changes = i->cap_changes ? i->cap_changes * 2 : 8;
		i->changes = must(realloc(i->changes, i->cap_changes * sizeof(Change)));
	}
	c = &i->changes[i->n_changes++];
	memset(c, 0, sizeof(*c));
	c->seq = m->next_seq++;
	c->is_size = is_size;
	c->offset = offset;
	c->len = len;
	if (len > 0)
		c->data = memcpy(must(malloc(len)), data, len);
}

static void change_apply(Bytes *b, const Change *c, uint64_t from, uint64_t to)
{
	if (c->is_size)
		bytes_resize(b, c->offset);
	else
		bytes_write(b, c->offset + from, c->data + from, to - from);
}

static void inode_sync(Inode *i)
{
	uint32_t	kept = 0;

	for (uint32_t k = 0; k < i->n_changes; k++)
	{
		Change	   *c = &i->changes[k];

		if (c->lost)
		{
			i->changes[kept++] = *c;
			continue;
		}
		change_apply(&i->platter, c, 0, c->len);
		free(c->data);
	}
	i->n_changes = kept;
}

static void inode_lose(Inode *i)
{
	for (uint32_t k = 0; k < i->n_changes; k++)
		i->changes[k].lost = true;
}

/* ---- names ---- */

static int name_find(const Names *names, const char *path)
{
	for (uint32_t k = 0; k < names->n; k++)
		if (strcmp(names->v[k].path, path) == 0)
			return (int) k;
	return -1;
}

static void name_remove(MemVfs *m, Names *names, const char *path)
{
	int			k = name_find(names, path);
	Inode	   *inode;

	if (k < 0)
		return;
	inode = names->v[k].inode;
	free(names->v[k].path);
	names->v[k] = names->v[--names->n];
	inode_unref(m, inode);
}

static void name_set(MemVfs *m, Names *names, const char *path, Inode *inode)
{
	inode->refs++;
	name_remove(m, names, path);
	if (names->n == names->cap)
	{
		names->cap = names->cap ? names->cap * 2 : 8;
		names->v = must(realloc(names->v, names->cap * sizeof(Name)));
	}
	names->v[names->n].path = copy_text(path);
	names->v[names->n++].inode = inode;
}

static void names_clear(MemVfs *m, Names *names)
{
	while (names->n > 0)
		name_remove(m, names, names->v[0].path);
}

static void name_change_apply(MemVfs *m, Names *names, const NameChange *c)
{
	if (c->from != NULL)
		name_remove(m, names, c->from);
	if (c->to != NULL)
		name_set(m, names, c->to, c->inode);
}

static void name_change(MemVfs *m, const char *from, const char *to, Inode *inode)
{
	NameChange *c;

	if (m->n_name_changes == m->cap_name_changes)
	{
		m->cap_name_changes = m->cap_name_changes ? m->cap_name_changes * 2 : 8;
		m->name_changes = must(realloc(m->name_changes, m->cap_name_changes * sizeof(NameChange)));
	}
	c = &m->name_changes[m->n_name_changes++];
	c->from = from ? copy_text(from) : NULL;
	c->to = to ? copy_text(to) : NULL;
	c->inode = inode;
	if (inode != NULL)
		inode->refs++;
	name_change_apply(m, &m->names, c);
}

/* The first n pending name changes reach the platter, all are forgotten. */
static void name_changes_settle(MemVfs *m, uint32_t n)
{
	for (uint32_t k = 0; k < m->n_name_changes; k++)
	{
		NameChange *c = &m->name_changes[k];

		if (k < n)
			name_change_apply(m, &m->durable, c);
		free(c->from);
		free(c->to);
		if (c->inode != NULL)
			inode_unref(m, c->inode);
	}
	m->n_name_changes = 0;
}

/* ---- faults ---- */

static NdStatus fault(MemVfs *m, MemVfsOp op)
{
	uint64_t	number;

	if (m->looking)
		return ND_OK;
	number = m->counts[op]++;

	return number >= m->faults[op].from && number < m->faults[op].to ? m->faults[op].status : ND_OK;
}

uint64_t memvfs_used(const MemVfs *m)
{
	uint64_t	total = 0;

	for (const Inode *i = m->inodes; i != NULL; i = i->next)
		total += i->cache.len;
	return total;
}

static bool grow_allowed(const MemVfs *m, const Inode *inode, uint64_t len)
{
	return m->space == 0 || len <= inode->cache.len || memvfs_used(m) - inode->cache.len + len <= m->space;
}

static bool stale(const MemVfs *m, const VfsFile *f)
{
	return f->generation != m->generation;
}

/* ---- the operations ---- */

static NdStatus mem_list(Vfs *v, const char *dir, void (*cb) (void *arg, const char *name), void *arg)
{
	MemVfs	   *m = (MemVfs *) v;
	size_t		len = strlen(dir);
	bool		found = false;

	for (uint32_t k = 0; k < m->n_dirs; k++)
		found = found || strcmp(m->dirs[k], dir) == 0;
	if (!found)
		return ND_NOTFOUND;
	for (uint32_t k = 0; k < m->names.n; k++)
	{
		const char *path = m->names.v[k].path;

		if (strncmp(path, dir, len) == 0 && path[len] == '/' && strchr(path + len + 1, '/') == NULL)
			cb(arg, path + len + 1);
	}
	return ND_OK;
}

static NdStatus mem_mkdir(Vfs *v, const char *dir)
{
	MemVfs	   *m = (MemVfs *) v;

	for (uint32_t k = 0; k < m->n_dirs; k++)
		if (strcmp(m->dirs[k], dir) == 0)
			return ND_OK;
	m->dirs = must(realloc(m->dirs, (m->n_dirs + 1) * sizeof(char *)));
	m->dirs[m->n_dirs++] = copy_text(dir);
	return ND_OK;
}

static NdStatus mem_open(Vfs *v, const char *path, bool create, VfsFile **out)
{
	MemVfs	   *m = (MemVfs *) v;
	int			k = name_find(&m->names, path);
	Inode	   *inode;

	if (k < 0 && !create)
		return ND_NOTFOUND;
	if (k >= 0)
		inode = m->names.v[k].inode;
	else
	{
		inode = inode_new(m);
		name_change(m, NULL, path, inode);
	}
	*out = must(calloc(1, sizeof(VfsFile)));
	(*out)->inode = inode;
	(*out)->generation = m->generation;
	inode->refs++;
	return ND_OK;
}

static void mem_close(Vfs *v, VfsFile *f)
{
	inode_unref((MemVfs *) v, f->inode);
	free(f);
}

static NdStatus mem_size(Vfs *v, VfsFile *f, uint64_t *bytes)
{
	if (stale((MemVfs *) v, f))
		return ND_IO;
	*bytes = f->inode->cache.len;
	return ND_OK;
}

static uint64_t mem_inode(Vfs *v, VfsFile *f)
{
	(void) v;
	return f->inode->number;
}

static NdStatus mem_read(Vfs *v, VfsFile *f, uint64_t offset, void *out, size_t len, size_t *got)
{
	MemVfs	   *m = (MemVfs *) v;
	const Bytes *b = &f->inode->cache;
	NdStatus	st = fault(m, MEMVFS_READ);

	*got = 0;
	if (stale(m, f))
		return ND_IO;
	if (st != ND_OK)
		return st;
	if (offset < f->inode->bad_to && offset + len > f->inode->bad_from)
		return ND_IO;
	if (offset < b->len)
		*got = b->len - offset < len ? (size_t) (b->len - offset) : len;
	if (*got > 0)
		memcpy(out, b->data + offset, *got);
	return ND_OK;
}

static void mem_fetch(Vfs *v, VfsFile *f, uint64_t offset, size_t len)
{
	(void) v, (void) f, (void) offset, (void) len;
}

static NdStatus mem_write_inode(MemVfs *m, Inode *inode, uint64_t offset, const void *data, size_t len)
{
	NdStatus	st = fault(m, MEMVFS_WRITE);

	if (st != ND_OK)
		len /= 2;
	else if (!grow_allowed(m, inode, offset + len))
		return ND_FULL;
	bytes_write(&inode->cache, offset, data, len);
	change_add(m, inode, false, offset, data, len);
	return st;
}

static NdStatus mem_write(Vfs *v, VfsFile *f, uint64_t offset, const void *data, size_t len)
{
	if (stale((MemVfs *) v, f))
		return ND_IO;
	return mem_write_inode((MemVfs *) v, f->inode, offset, data, len);
}

static NdStatus mem_allocate(Vfs *v, VfsFile *f, uint64_t bytes)
{
	MemVfs	   *m = (MemVfs *) v;
	NdStatus	st = fault(m, MEMVFS_ALLOCATE);

	if (stale(m, f))
		return ND_IO;
	if (st != ND_OK)
		return st;
	if (!grow_allowed(m, f->inode, bytes))
		return ND_FULL;
	if (bytes > f->inode->cache.len)
	{
		bytes_resize(&f->inode->cache, bytes);
		change_add(m, f->inode, true, bytes, NULL, 0);
	}
	return ND_OK;
}

static NdStatus mem_truncate(Vfs *v, VfsFile *f, uint64_t bytes)
{
	MemVfs	   *m = (MemVfs *) v;

	if (stale(m, f))
		return ND_IO;
	if (!grow_allowed(m, f->inode, bytes))
		return ND_FULL;
	bytes_resize(&f->inode->cache, bytes);
	change_add(m, f->inode, true, bytes, NULL, 0);
	return ND_OK;
}

static NdStatus sync_inode(MemVfs *m, Inode *inode)
{
	NdStatus	st = fault(m, MEMVFS_SYNC);

	if (st == ND_OK)
		inode_sync(inode);
	else
		inode_lose(inode);
	return st;
}

static NdStatus mem_sync(Vfs *v, VfsFile *f)
{
	if (stale((MemVfs *) v, f))
		return ND_IO;
	return sync_inode((MemVfs *) v, f->inode);
}

static NdStatus mem_sync_dir(Vfs *v, const char *dir)
{
	MemVfs	   *m = (MemVfs *) v;
	NdStatus	st = fault(m, MEMVFS_SYNC_DIR);

	(void) dir;
	if (st == ND_OK)
		name_changes_settle(m, m->n_name_changes);
	return st;
}

static NdStatus mem_rename(Vfs *v, const char *from, const char *to)
{
	MemVfs	   *m = (MemVfs *) v;
	NdStatus	st = fault(m, MEMVFS_RENAME);
	int			k = name_find(&m->names, from);

	if (st != ND_OK)
		return st;
	if (k < 0)
		return ND_NOTFOUND;
	name_change(m, from, to, m->names.v[k].inode);
	return ND_OK;
}

static NdStatus mem_unlink(Vfs *v, const char *path)
{
	MemVfs	   *m = (MemVfs *) v;

	if (name_find(&m->names, path) < 0)
		return ND_NOTFOUND;
	name_change(m, path, NULL, NULL);
	return ND_OK;
}

static void job_forget(MemVfs *m)
{
	for (uint32_t k = 0; k < m->n_job_files; k++)
		inode_unref(m, m->job_files[k]);
	free(m->job_files);
	m->job_files = NULL;
	m->n_job_files = 0;
	m->job = m->job_done = false;
	m->job_bytes = 0;
}

static NdStatus mem_submit(Vfs *v, const VfsWrite *writes, uint32_t n)
{
	MemVfs	   *m = (MemVfs *) v;

	if (m->job)
		return ND_BUSY;
	m->job = true;
	m->job_status = ND_OK;
	m->job_files = must(calloc(n ? n : 1, sizeof(Inode *)));
	for (uint32_t k = 0; k < n; k++)
	{
		Inode	   *inode = writes[k].file->inode;

		if (m->job_status == ND_OK)
			m->job_status = stale(m, writes[k].file) ? ND_IO : mem_write_inode(m, inode, writes[k].offset, writes[k].data, writes[k].len);
		m->job_bytes += writes[k].len;
		inode->refs++;
		m->job_files[m->n_job_files++] = inode;
	}
	return ND_OK;
}

static bool mem_poll(Vfs *v, NdStatus *status)
{
	MemVfs	   *m = (MemVfs *) v;

	if (!m->job)
	{
		*status = ND_OK;
		return true;
	}
	if (!m->manual)
		memvfs_complete(m);
	if (!m->job_done)
		return false;
	*status = m->job_status;
	job_forget(m);
	return true;
}

static void mem_drain(Vfs *v)
{
	job_forget((MemVfs *) v);
}

static const VfsOps mem_ops = {
	.list = mem_list,
	.mkdir = mem_mkdir,
	.open = mem_open,
	.close = mem_close,
	.size = mem_size,
	.inode = mem_inode,
	.read = mem_read,
	.fetch = mem_fetch,
	.peek = mem_read,
	.write = mem_write,
	.allocate = mem_allocate,
	.truncate = mem_truncate,
	.sync = mem_sync,
	.sync_dir = mem_sync_dir,
	.rename = mem_rename,
	.unlink = mem_unlink,
	.submit = mem_submit,
	.poll = mem_poll,
	.drain = mem_drain,
};

/* ---- life ---- */

MemVfs *memvfs_create(void)
{
	MemVfs	   *m = must(calloc(1, sizeof(MemVfs)));

	m->vfs.ops = &mem_ops;
	return m;
}

void memvfs_destroy(MemVfs *m)
{
	if (m == NULL)
		return;
	job_forget(m);
	name_changes_settle(m, 0);
	names_clear(m, &m->names);
	names_clear(m, &m->durable);
	free(m->names.v);
	free(m->durable.v);
	free(m->name_changes);
	for (uint32_t k = 0; k < m->n_dirs; k++)
		free(m->dirs[k]);
	free(m->dirs);
	free(m);
}

Vfs *memvfs_vfs(MemVfs *m)
{
	return &m->vfs;
}

/* ---- crashes ---- */

/* After the platter was decided: caches and names begin anew from it. */
static void reboot(MemVfs *m)
{
	m->generation++;
	job_forget(m);
	names_clear(m, &m->names);
	for (uint32_t k = 0; k < m->durable.n; k++)
		name_set(m, &m->names, m->durable.v[k].path, m->durable.v[k].inode);
	for (Inode *i = m->inodes; i != NULL; i = i->next)
	{
		changes_clear(i);
		i->cache.len = 0;
		bytes_write(&i->cache, 0, i->platter.data, i->platter.len);
	}
}

/* Inodes in the order of their numbers, so that a seed means the same whatever the list's order is. */
static Inode *inode_after(const MemVfs *m, uint64_t number)
{
	Inode	   *best = NULL;

	for (Inode *i = m->inodes; i != NULL; i = i->next)
		if (i->number > number && (best == NULL || i->number < best->number))
			best = i;
	return best;
}

void memvfs_crash(MemVfs *m, uint64_t seed)
{
	static const uint32_t keep_percent[] = {0, 100, 50, 90, 10};
	NdRandom	r;
	uint32_t	keep;

	nd_random_seed(&r, seed);
	keep = keep_percent[nd_random_below(&r, 5)];
	for (Inode *i = inode_after(m, 0); i != NULL; i = inode_after(m, i->number))
		for (uint32_t k = 0; k < i->n_changes; k++)
		{
			Change	   *c = &i->changes[k];
			uint64_t	from = 0;

			if (c->lost)
				continue;
			if (c->is_size)
			{
				if (nd_random_below(&r, 100) < keep)
					change_apply(&i->platter, c, 0, 0);
				continue;
			}
			while (from < c->len)
			{
				uint64_t	to = from + SECTOR - (c->offset + from) % SECTOR;

				if (to > c->len)
					to = c->len;
				if (nd_random_below(&r, 100) < keep)
					change_apply(&i->platter, c, from, to);
				else if (keep != 0 && nd_random_below(&r, 8) == 0)
					change_apply(&i->platter, c, from, from + nd_random_below(&r, to - from));
				from = to;
			}
		}
	name_changes_settle(m, (uint32_t) nd_random_below(&r, (uint64_t) m->n_name_changes + 1));
	reboot(m);
}

/* The oldest change not lost with a sequence number of at least seq. */
static Change *change_from(const MemVfs *m, uint64_t seq, Inode **inode)
{
	Change	   *best = NULL;

	for (Inode *i = m->inodes; i != NULL; i = i->next)
		for (uint32_t k = 0; k < i->n_changes; k++)
		{
			Change	   *c = &i->changes[k];

			if (!c->lost && c->seq >= seq && (best == NULL || c->seq < best->seq))
			{
				best = c;
				*inode = i;
			}
		}
	return best;
}

void memvfs_crash_keep(MemVfs *m, uint64_t bytes)
{
	Inode	   *inode = NULL;
	Change	   *c;

	for (uint64_t seq = 0; (c = change_from(m, seq, &inode)) != NULL; seq = c->seq + 1)
	{
		uint64_t	n = c->len < bytes ? c->len : bytes;

		change_apply(&inode->platter, c, 0, n);
		bytes -= n;
		if (n < c->len)
			break;
	}
	name_changes_settle(m, m->n_name_changes);
	reboot(m);
}

uint64_t memvfs_unsynced_bytes(const MemVfs *m)
{
	uint64_t	sum = 0;

	for (const Inode *i = m->inodes; i != NULL; i = i->next)
		for (uint32_t k = 0; k < i->n_changes; k++)
			sum += i->changes[k].len;
	return sum;
}

MemVfs *memvfs_clone_durable(const MemVfs *m)
{
	MemVfs	   *c = memvfs_create();

	for (uint32_t k = 0; k < m->n_dirs; k++)
		mem_mkdir(&c->vfs, m->dirs[k]);
	for (uint32_t k = 0; k < m->durable.n; k++)
		memvfs_put(c, m->durable.v[k].path, m->durable.v[k].inode->platter.data, m->durable.v[k].inode->platter.len);
	return c;
}

/* ---- jobs ---- */

void memvfs_set_manual(MemVfs *m, bool manual)
{
	m->manual = manual;
}

bool memvfs_job(const MemVfs *m, uint64_t *bytes)
{
	if (bytes != NULL)
		*bytes = m->job_bytes;
	return m->job && !m->job_done;
}

void memvfs_complete(MemVfs *m)
{
	if (!m->job || m->job_done)
		return;
	for (uint32_t k = 0; k < m->n_job_files && m->job_status == ND_OK; k++)
		m->job_status = sync_inode(m, m->job_files[k]);
	m->job_done = true;
}

/* ---- faults ---- */

void memvfs_fail(MemVfs *m, MemVfsOp op, uint32_t after, uint32_t times, NdStatus status)
{
	m->faults[op].from = m->counts[op] + after;
	m->faults[op].to = m->faults[op].from + times;
	m->faults[op].status = status;
}

void memvfs_look(MemVfs *m, bool looking)
{
	m->looking = looking;
}

uint64_t memvfs_count(const MemVfs *m, MemVfsOp op)
{
	return m->counts[op];
}

void memvfs_set_space(MemVfs *m, uint64_t bytes)
{
	m->space = bytes;
}

bool memvfs_flip(MemVfs *m, const char *path, uint64_t offset, uint8_t mask)
{
	int			k = name_find(&m->names, path);
	Inode	   *i;

	if (k < 0)
		return false;
	i = m->names.v[k].inode;
	if (offset >= i->cache.len)
		return false;
	i->cache.data[offset] ^= mask;
	if (offset < i->platter.len)
		i->platter.data[offset] ^= mask;
	return true;
}

bool memvfs_unreadable(MemVfs *m, const char *path, uint64_t offset, uint64_t len)
{
	int			k = name_find(&m->names, path);

	if (k < 0)
		return false;
	m->names.v[k].inode->bad_from = offset;
	m->names.v[k].inode->bad_to = offset + len;
	return true;
}

void memvfs_mend(MemVfs *m, uint64_t inode)
{
	for (Inode *i = m->inodes; i != NULL; i = i->next)
		if (inode == 0 || i->number == inode)
			i->bad_from = i->bad_to = 0;
}

uint64_t memvfs_inode(const MemVfs *m, const char *path)
{
	int			k = name_find(&m->names, path);

	return k < 0 ? 0 : m->names.v[k].inode->number;
}

bool memvfs_gone(const MemVfs *m, const char *path)
{
	return name_find(&m->names, path) < 0 && name_find(&m->durable, path) < 0;
}

const uint8_t *memvfs_bytes(const MemVfs *m, const char *path, uint64_t *len)
{
	int			k = name_find(&m->names, path);

	if (k < 0)
		return NULL;
	*len = m->names.v[k].inode->cache.len;
	return m->names.v[k].inode->cache.data;
}

void memvfs_put(MemVfs *m, const char *path, const void *data, uint64_t len)
{
	const char *slash = strrchr(path, '/');
	Inode	   *inode = inode_new(m);

	if (slash != NULL)
	{
		char	   *dir = copy_text(path);

		dir[slash - path] = 0;
		mem_mkdir(&m->vfs, dir);
		free(dir);
	}
	bytes_write(&inode->cache, 0, data, len);
	bytes_write(&inode->platter, 0, data, len);
	name_set(m, &m->names, path, inode);
	name_set(m, &m->durable, path, inode);
}
