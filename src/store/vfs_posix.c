/*
 * vfs_posix.c: the real disk.
 *
 * Owns one helper thread, started by the first submit() (a process that only reads never gets one), and an eventfd that becomes readable
 * when the job has finished. The thread touches nothing but the job: it calls pwrite and fdatasync, no allocator, no PostgreSQL. All
 * signals are blocked in it, so that PostgreSQL's handlers run in the main thread only.
 * The job's fields are the main thread's until `running` is set under the mutex, and again once `running` is clear.
 *
 * A disk that syncs faster than two threads can be woken gets its jobs on the caller's thread: the smoothed time of recent jobs decides, and one
 * slow job counts more than many fast ones, so that a disk which stalls holds up the caller once.
 */
#include "vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ZERO_BYTES (64 * 1024)
#define INLINE_US 100			/* about what the way to the helper thread and back costs when processors are busy */
#define SMOOTHING 16

struct VfsFile
{
	int			fd;
};

typedef struct PosixVfs
{
	Vfs			vfs;			/* first */
	int			event_fd;
	pthread_t	thread;
	bool		has_thread;
	bool		pending;		/* main thread: submitted, poll() has not reported it yet */
	/* under the mutex */
	pthread_mutex_t mutex;
	pthread_cond_t work;
	bool		running;
	bool		stop;
	/* the job */
	const VfsWrite *writes;
	uint32_t	n_writes;
	NdStatus	status;
	uint64_t	took_us;		/* the last one */
	uint64_t	smooth_us;		/* main thread: of recent jobs, times SMOOTHING */
} PosixVfs;

static NdStatus status_of(int error)
{
	switch (error)
	{
		case ENOENT:
			return ND_NOTFOUND;
		case ENOSPC:
		case EDQUOT:
			return ND_FULL;
		case ENOMEM:
		case EMFILE:			/* it passes as want of memory does; the log is well */
		case ENFILE:
			return ND_NOMEM;
		default:
			return ND_IO;
	}
}

static NdStatus write_all(int fd, uint64_t offset, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0)
	{
		ssize_t		n = pwrite(fd, p, len, (off_t) offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? status_of(errno) : ND_IO;
		p += n;
		offset += (uint64_t) n;
		len -= (size_t) n;
	}
	return ND_OK;
}

/* ---- the helper thread ---- */

static NdStatus run_job(const VfsWrite *writes, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++)
	{
		NdStatus	st = write_all(writes[k].file->fd, writes[k].offset, writes[k].data, writes[k].len);

		if (st != ND_OK)
			return st;
	}
	for (uint32_t k = 0; k < n; k++)
	{
		bool		done = false;

		for (uint32_t j = 0; j < k && !done; j++)
			done = writes[j].file == writes[k].file;
		/* never retried, not even after EINTR: what a failed sync lost stays lost */
		if (!done && fdatasync(writes[k].file->fd) != 0)
			return ND_IO;
	}
	return ND_OK;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static void run_timed(PosixVfs *p)
{
	uint64_t	began = now_us();

	p->status = run_job(p->writes, p->n_writes);
	p->took_us = now_us() - began;
}

static void report(PosixVfs *p)
{
	uint64_t	one = 1;

	/* cannot block: poll() empties the counter before the next job */
	if (write(p->event_fd, &one, sizeof(one)) != sizeof(one))
		p->status = ND_IO;
}

static void *helper_main(void *arg)
{
	PosixVfs   *p = arg;

	pthread_mutex_lock(&p->mutex);
	for (;;)
	{
		while (!p->running && !p->stop)
			pthread_cond_wait(&p->work, &p->mutex);
		if (!p->running)
			break;
		pthread_mutex_unlock(&p->mutex);
		run_timed(p);
		pthread_mutex_lock(&p->mutex);
		p->running = false;
		pthread_cond_broadcast(&p->work);
		report(p);
	}
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

static NdStatus helper_start(PosixVfs *p)
{
	sigset_t	all;
	sigset_t	old;
	int			error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&p->thread, NULL, helper_main, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->has_thread = error == 0;
	return error == 0 ? ND_OK : ND_NOMEM;
}

/* ---- operations ---- */

static NdStatus posix_list(Vfs *v, const char *dir, void (*cb) (void *arg, const char *name), void *arg)
{
	DIR		   *d = opendir(dir);
	struct dirent *entry;
	NdStatus	st;

	(void) v;
	if (d == NULL)
		return status_of(errno);
	while (errno = 0, (entry = readdir(d)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			cb(arg, entry->d_name);
	st = errno == 0 ? ND_OK : status_of(errno);
	closedir(d);
	return st;
}

static NdStatus posix_mkdir(Vfs *v, const char *dir)
{
	(void) v;
	return mkdir(dir, 0700) == 0 || errno == EEXIST ? ND_OK : status_of(errno);
}

static NdStatus posix_open(Vfs *v, const char *path, bool create, VfsFile **out)
{
	VfsFile    *f = nd_alloc(sizeof(VfsFile));

	(void) v;
	if (f == NULL)
		return ND_NOMEM;
	f->fd = open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0600);
	if (f->fd < 0)
	{
		NdStatus	st = status_of(errno);

		nd_free(f);
		return st;
	}
	*out = f;
	return ND_OK;
}

static void posix_close(Vfs *v, VfsFile *f)
{
	(void) v;
	close(f->fd);
	nd_free(f);
}

static NdStatus posix_size(Vfs *v, VfsFile *f, uint64_t *bytes)
{
	struct stat st;

	(void) v;
	if (fstat(f->fd, &st) != 0)
		return status_of(errno);
	*bytes = (uint64_t) st.st_size;
	return ND_OK;
}

static uint64_t posix_inode(Vfs *v, VfsFile *f)
{
	struct stat st;

	(void) v;
	return fstat(f->fd, &st) == 0 ? (uint64_t) st.st_ino : 0;
}

static NdStatus posix_read(Vfs *v, VfsFile *f, uint64_t offset, void *out, size_t len, size_t *got)
{
	(void) v;
	*got = 0;
	while (*got < len)
	{
		ssize_t		n = pread(f->fd, (char *) out + *got, len - *got, (off_t) (offset + *got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return status_of(errno);
		if (n == 0)
			break;
		*got += (size_t) n;
	}
	return ND_OK;
}

/* Dirty pages stay: the kernel drops only what the disk has. */
static void posix_fetch(Vfs *v, VfsFile *f, uint64_t offset, size_t len)
{
	(void) v;
	posix_fadvise(f->fd, (off_t) offset, (off_t) len, POSIX_FADV_DONTNEED);
	posix_fadvise(f->fd, (off_t) offset, (off_t) len, POSIX_FADV_WILLNEED);
}

static NdStatus posix_peek(Vfs *v, VfsFile *f, uint64_t offset, void *out, size_t len, size_t *got)
{
	*got = 0;
	while (*got < len)
	{
		struct iovec part = {(char *) out + *got, len - *got};
		ssize_t		n = preadv2(f->fd, &part, 1, (off_t) (offset + *got), RWF_NOWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return ND_BUSY;
		if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))	/* not every file system can say */
			return posix_read(v, f, offset, out, len, got);
		if (n < 0)
			return status_of(errno);
		if (n == 0)
			break;
		*got += (size_t) n;
	}
	return ND_OK;
}

static NdStatus posix_write(Vfs *v, VfsFile *f, uint64_t offset, const void *data, size_t len)
{
	(void) v;
	return write_all(f->fd, offset, data, len);
}

/*
 * Space first, so that a full disk is noticed before anything is written; then zeros: a write into blocks that were only reserved would
 * make every later fdatasync wait for the file system's journal.
 */
static NdStatus posix_allocate(Vfs *v, VfsFile *f, uint64_t bytes)
{
	static const char zeros[ZERO_BYTES];
	uint64_t	at;
	int			error;

	(void) v;
	if (posix_size(v, f, &at) != ND_OK)
		return ND_IO;
	if (at >= bytes)
		return ND_OK;
	do
		error = posix_fallocate(f->fd, (off_t) at, (off_t) (bytes - at));
	while (error == EINTR);
	if (error != 0)
		return status_of(error);
	while (at < bytes)
	{
		size_t		len = bytes - at < ZERO_BYTES ? (size_t) (bytes - at) : ZERO_BYTES;
		NdStatus	st = write_all(f->fd, at, zeros, len);

		if (st != ND_OK)
			return st;
		at += len;
	}
	return ND_OK;
}

static NdStatus posix_truncate(Vfs *v, VfsFile *f, uint64_t bytes)
{
	(void) v;
	return ftruncate(f->fd, (off_t) bytes) == 0 ? ND_OK : status_of(errno);
}

static NdStatus posix_sync(Vfs *v, VfsFile *f)
{
	(void) v;
	return fdatasync(f->fd) == 0 ? ND_OK : ND_IO;
}

static NdStatus posix_sync_dir(Vfs *v, const char *dir)
{
	int			fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NdStatus	st;

	(void) v;
	if (fd < 0)
		return status_of(errno);
	st = fsync(fd) == 0 ? ND_OK : ND_IO;
	close(fd);
	return st;
}

static NdStatus posix_rename(Vfs *v, const char *from, const char *to)
{
	(void) v;
	return rename(from, to) == 0 ? ND_OK : status_of(errno);
}

static NdStatus posix_unlink(Vfs *v, const char *path)
{
	(void) v;
	return unlink(path) == 0 ? ND_OK : status_of(errno);
}

static NdStatus posix_submit(Vfs *v, const VfsWrite *writes, uint32_t n)
{
	PosixVfs   *p = (PosixVfs *) v;

	if (p->pending)
		return ND_BUSY;
	if (!p->has_thread && helper_start(p) != ND_OK)
		return ND_NOMEM;
	p->writes = writes;
	p->n_writes = n;
	p->pending = true;
	if (p->smooth_us < INLINE_US * SMOOTHING)
	{
		run_timed(p);
		report(p);
		return ND_OK;
	}
	pthread_mutex_lock(&p->mutex);
	p->running = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->mutex);
	return ND_OK;
}

static bool posix_poll(Vfs *v, NdStatus *status)
{
	PosixVfs   *p = (PosixVfs *) v;
	uint64_t	count;
	bool		running;

	*status = ND_OK;
	if (!p->pending)
		return true;
	pthread_mutex_lock(&p->mutex);
	running = p->running;
	pthread_mutex_unlock(&p->mutex);
	if (running)
		return false;
	*status = p->status;
	p->pending = false;
	p->smooth_us = p->smooth_us - p->smooth_us / SMOOTHING + p->took_us;
	if (read(p->event_fd, &count, sizeof(count)) != sizeof(count))
		*status = ND_IO;
	return true;
}

static void posix_drain(Vfs *v)
{
	PosixVfs   *p = (PosixVfs *) v;
	NdStatus	ignored;

	pthread_mutex_lock(&p->mutex);
	while (p->running)
		pthread_cond_wait(&p->work, &p->mutex);
	pthread_mutex_unlock(&p->mutex);
	posix_poll(v, &ignored);
}

static const VfsOps posix_ops = {
	.list = posix_list,
	.mkdir = posix_mkdir,
	.open = posix_open,
	.close = posix_close,
	.size = posix_size,
	.inode = posix_inode,
	.read = posix_read,
	.fetch = posix_fetch,
	.peek = posix_peek,
	.write = posix_write,
	.allocate = posix_allocate,
	.truncate = posix_truncate,
	.sync = posix_sync,
	.sync_dir = posix_sync_dir,
	.rename = posix_rename,
	.unlink = posix_unlink,
	.submit = posix_submit,
	.poll = posix_poll,
	.drain = posix_drain,
};

/* ---- life ---- */

NdStatus vfs_posix_create(Vfs **out)
{
	PosixVfs   *p = nd_zalloc(sizeof(PosixVfs));

	if (p == NULL)
		return ND_NOMEM;
	p->vfs.ops = &posix_ops;
	p->smooth_us = INLINE_US * SMOOTHING;	/* no job yet: the helper's */
	p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->event_fd < 0)
	{
		nd_free(p);
		return ND_IO;
	}
	pthread_mutex_init(&p->mutex, NULL);
	pthread_cond_init(&p->work, NULL);
	*out = &p->vfs;
	return ND_OK;
}

int vfs_posix_fd(Vfs *v)
{
	return ((PosixVfs *) v)->event_fd;
}

uint64_t vfs_posix_job_us(Vfs *v)
{
	return ((PosixVfs *) v)->smooth_us / SMOOTHING;
}

void vfs_posix_destroy(Vfs *v)
{
	PosixVfs   *p = (PosixVfs *) v;

	if (p == NULL)
		return;
	if (p->has_thread)
	{
		pthread_mutex_lock(&p->mutex);
		p->stop = true;
		pthread_cond_broadcast(&p->work);
		pthread_mutex_unlock(&p->mutex);
		pthread_join(p->thread, NULL);
	}
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->mutex);
	close(p->event_fd);
	nd_free(p);
}
