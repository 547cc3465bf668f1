/*
 * memvfs.h: a disk in memory, with a page cache that a crash loses or tears, and with faults on demand. For the simulator and the tests.
 *
 * Everything is decided by the caller and by seeds: no clock, no threads.
 * Model: a write reaches the cache at once (reads see it) and the platter at the next sync of its file. A crash keeps any part of what was
 * not synced, sector by sector (512 bytes), with one sector torn at any byte; names (create, rename, unlink) keep a prefix of what was done
 * since the last sync_dir. A failed sync leaves the data readable but never durable, and a later sync says "fine" all the same, as Linux does.
 */
#ifndef ND_MEMVFS_H
#define ND_MEMVFS_H

#include "../../src/store/vfs.h"

typedef struct MemVfs MemVfs;

MemVfs	   *memvfs_create(void);
void		memvfs_destroy(MemVfs *m);
Vfs		   *memvfs_vfs(MemVfs *m);

/* ---- crashes: close the store before or after, both work; handles opened before are dead (ND_IO) afterwards ---- */
void		memvfs_crash(MemVfs *m, uint64_t seed);
/* Of the writes not synced, the first `bytes` bytes in the order they were made survive, nothing else. Names: all survive. */
void		memvfs_crash_keep(MemVfs *m, uint64_t bytes);
uint64_t	memvfs_unsynced_bytes(const MemVfs *m);
/* Another disk that holds what would survive a crash losing all that was not synced: "what is durable now". */
MemVfs	   *memvfs_clone_durable(const MemVfs *m);

/* ---- asynchronous jobs ---- */
/* manual: a submitted job stays under way until memvfs_complete(); else the first poll completes it. Default: not manual. */
void		memvfs_set_manual(MemVfs *m, bool manual);
bool		memvfs_job(const MemVfs *m, uint64_t *bytes);	/* is one under way and not completed? */
void		memvfs_complete(MemVfs *m);						/* sync what it named; the next poll reports it */

/* ---- faults ---- */
typedef enum MemVfsOp
{
	MEMVFS_READ,
	MEMVFS_WRITE,				/* a failing write stores a prefix of its bytes */
	MEMVFS_SYNC,
	MEMVFS_ALLOCATE,
	MEMVFS_RENAME,
	MEMVFS_SYNC_DIR,
	MEMVFS_OPS
} MemVfsOp;

/* The operation number `after` (0 = the next one) of this kind, and the `times` - 1 behind it, fail with status. times = 0 ends the fault. */
void		memvfs_fail(MemVfs *m, MemVfsOp op, uint32_t after, uint32_t times, NdStatus status);
/* Faults wait, and operations are not counted, so that a checker can look without changing what happens. */
void		memvfs_look(MemVfs *m, bool looking);
uint64_t	memvfs_count(const MemVfs *m, MemVfsOp op);		/* operations so far */
/* No file may grow when all files together would exceed this: ND_FULL. */
void		memvfs_set_space(MemVfs *m, uint64_t bytes);
/* Xor one byte, in the cache and on the platter. False when there is no such byte. */
bool		memvfs_flip(MemVfs *m, const char *path, uint64_t offset, uint8_t mask);
/* Reads of any of these bytes fail with ND_IO, until the file is removed or memvfs_mend(). False when there is no such file. */
bool		memvfs_unreadable(MemVfs *m, const char *path, uint64_t offset, uint64_t len);
void		memvfs_mend(MemVfs *m, uint64_t inode);	/* of memvfs_inode(); 0: all files */
uint64_t	memvfs_inode(const MemVfs *m, const char *path);	/* 0: no such file */
bool		memvfs_gone(const MemVfs *m, const char *path);	/* and no crash brings it back */
uint64_t	memvfs_used(const MemVfs *m);	/* bytes of all files */
/* Contents of a file as reads see it; NULL when missing. Valid until the next change. */
const uint8_t *memvfs_bytes(const MemVfs *m, const char *path, uint64_t *len);
/* Make a file with these bytes, durably (tests of recovery, fuzzing). */
void		memvfs_put(MemVfs *m, const char *path, const void *data, uint64_t len);

#endif
