/*
 * vfs.h: the only way from the store to a disk.
 *
 * vfs_posix.c is the real one (a helper thread writes and fdatasyncs; its completion makes vfs_posix_fd() readable);
 * the simulator has its own, with a page cache that a crash loses, tears or reorders within what POSIX allows.
 * Paths are absolute or relative to the process; all calls from one thread.
 */
#ifndef ND_VFS_H
#define ND_VFS_H

#include "../core/base/base.h"

typedef struct Vfs Vfs;
typedef struct VfsWrite VfsWrite;
typedef struct VfsFile VfsFile;

typedef struct VfsOps
{
	/* Names in dir (no path), in any order, through cb. ND_NOTFOUND when dir is missing. */
	NdStatus	(*list)(Vfs *v, const char *dir, void (*cb)(void *arg, const char *name), void *arg);
	NdStatus	(*mkdir)(Vfs *v, const char *dir);		/* ND_OK when it exists */
	NdStatus	(*open)(Vfs *v, const char *path, bool create, VfsFile **out);	/* ND_NOTFOUND */
	void		(*close)(Vfs *v, VfsFile *f);
	NdStatus	(*size)(Vfs *v, VfsFile *f, uint64_t *bytes);
	uint64_t	(*inode)(Vfs *v, VfsFile *f);			/* 0: unknown */
	NdStatus	(*read)(Vfs *v, VfsFile *f, uint64_t offset, void *out, size_t len, size_t *got);	/* got < len at the end of the file */
	/* For the scrub. fetch: have the disk bring this part, without waiting; what caches hold of it is dropped where that can be done. Best effort. */
	void		(*fetch)(Vfs *v, VfsFile *f, uint64_t offset, size_t len);
	/* read(), but ND_BUSY where it would wait for the disk. */
	NdStatus	(*peek)(Vfs *v, VfsFile *f, uint64_t offset, void *out, size_t len, size_t *got);
	NdStatus	(*write)(Vfs *v, VfsFile *f, uint64_t offset, const void *data, size_t len);	/* ND_FULL, ND_IO */
	NdStatus	(*allocate)(Vfs *v, VfsFile *f, uint64_t bytes);	/* real blocks, zeroed; ND_FULL */
	NdStatus	(*truncate)(Vfs *v, VfsFile *f, uint64_t bytes);
	NdStatus	(*sync)(Vfs *v, VfsFile *f);			/* blocking fdatasync: open and recovery only */
	NdStatus	(*sync_dir)(Vfs *v, const char *dir);
	NdStatus	(*rename)(Vfs *v, const char *from, const char *to);
	NdStatus	(*unlink)(Vfs *v, const char *path);
	/* Asynchronous: n writes (data stay valid until completion), then fdatasync of every file named, in that order. One job at a time. */
	NdStatus	(*submit)(Vfs *v, const VfsWrite *writes, uint32_t n);
	/* Has the job finished? false: still running. *status: ND_OK, ND_IO, ND_FULL. */
	bool		(*poll)(Vfs *v, NdStatus *status);
	/* Wait for a running job, or give it up, and forget its result: afterwards its data may be freed. Only for closing. */
	void		(*drain)(Vfs *v);
} VfsOps;

struct VfsWrite
{
	VfsFile    *file;
	uint64_t	offset;
	const void *data;
	size_t		len;
};

struct Vfs
{
	const VfsOps *ops;
};

/* The real one. fd becomes readable when a submitted job has finished; poll() clears it. */
NdStatus	vfs_posix_create(Vfs **out);
int			vfs_posix_fd(Vfs *v);
uint64_t	vfs_posix_job_us(Vfs *v);	/* how long a job, writes and sync, takes of late: microseconds */
void		vfs_posix_destroy(Vfs *v);	/* waits for a running job */

#endif
