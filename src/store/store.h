/*
 * store.h: the node's log store: entries, hard states and checkpoints of all groups in one sequence of segment files.
 *
 * What it owns: <dir>/NNNNNNNNNNNNNNNN.seg, preallocated and recycled, and <dir>/identity (cluster id, node id, incarnation, format).
 * All I/O goes through vfs.h, so that the simulator can crash, tear, lose and fail every write.
 *
 * Invariants:
 * 1. One write and one fdatasync per flush, whatever the number of groups. What a finished flush covered survives any crash.
 * 2. Records carry length, group, kind, index, term and an XXH3 checksum; a segment header carries format, cluster, node and its number.
 * 3. A torn tail (the last flush never finished) is cut at recovery. A bad checksum with good records behind it, or in any but the newest
 *    segment, is damage: ND_DAMAGED with a message that names file and offset; nothing is cut.
 * 4. After a failed write or fsync the store is failed for good: every later call says ND_IO. An fsync is never retried.
 *    So it is after damage in what is needed, whoever found it, a read or the scrub: every later call says ND_DAMAGED.
 * 5. A segment file is removed or recycled only when no live entry stands in it; hard states, prefix marks and checkpoints that still
 *    count are written anew before.
 * 6. Entries are readable from store_append() on; positions never move while an entry is live.
 */
#ifndef ND_STORE_H
#define ND_STORE_H

#include "../core/raft/raft.h"
#include "vfs.h"

typedef struct Store Store;

typedef struct StoreConfig
{
	const char *dir;
	uint64_t	cluster_id;
	NdNodeId	node;
	uint64_t	segment_bytes;		/* 1 MB to 1 GB; a larger record gets a segment of its own size */
	uint64_t	cache_bytes;		/* payloads kept in memory for followers and the applier, at most about this */
	uint32_t	record_bytes_max;	/* larger entries: ND_TOOBIG */
} StoreConfig;

/* Where a record stands in the files; other processes read it with store_read_position(). */
typedef struct StorePosition
{
	uint64_t	segment;		/* file number */
	uint64_t	offset;			/* bytes, of the record header */
	uint32_t	len;			/* bytes, header included */
} StorePosition;

typedef struct StoreIdentity
{
	uint64_t	cluster_id;
	NdNodeId	node;
	uint32_t	incarnation;
	uint64_t	host_id;		/* PostgreSQL's system identifier, or any number that a copy elsewhere would share; checked by pg/ */
	uint64_t	inode;			/* of the identity file itself: a copied directory has another (0: the vfs has none) */
} StoreIdentity;

/* Identity file: written atomically (new file, fsync, rename, fsync of the directory). */
NdStatus	store_identity_read(Vfs *vfs, const char *dir, StoreIdentity *out, uint64_t *inode_now);	/* ND_NOTFOUND, ND_DAMAGED, ND_VERSION */
NdStatus	store_identity_write(Vfs *vfs, const char *dir, const StoreIdentity *id);	/* fills inode itself */

/* Open and recover. error (error_len bytes) gets a sentence for people when the status is not ND_OK. */
NdStatus	store_open(Vfs *vfs, const StoreConfig *config, Store **out, char *error, size_t error_len);
void		store_close(Store *s);	/* flushes nothing */

/* ---- what recovery found ---- */
uint32_t	store_groups(const Store *s, NdGroupId *out, uint32_t cap);	/* ascending; returns how many there are */
/* Restore state of one group (runs stay valid until the next change of the group). ND_NOTFOUND. */
NdStatus	store_restore(Store *s, NdGroupId group, RaftRestore *out);

/* ---- writing: main thread; buffered until a flush ---- */
/* A new group begins with its bootstrap configuration (may be empty: n = 0, a learner to be told by its leader). */
NdStatus	store_create_group(Store *s, NdGroupId group, const RaftConfiguration *bootstrap);
NdStatus	store_truncate_suffix(Store *s, NdGroupId group, uint64_t from_index);
/* Entries must follow on the last one. All or nothing. ND_TOOBIG, ND_NOMEM, ND_FULL (no space could be preallocated), ND_IO. */
NdStatus	store_append(Store *s, NdGroupId group, const RaftEntry *entries, uint32_t n);
NdStatus	store_hard_state(Store *s, NdGroupId group, const RaftHardState *hard);
/* The state machine's (certifier's) checkpoint at index; the newest durable one is kept. */
NdStatus	store_checkpoint(Store *s, NdGroupId group, uint64_t index, const void *data, size_t len);
/* Entries below first_index may go (they are kept while a segment is shared with live ones). first_index - 1 <= last durable index. */
NdStatus	store_truncate_prefix(Store *s, NdGroupId group, uint64_t first_index);
/* A snapshot was installed: forget the group's entries, restart behind (index, term), with this configuration and checkpoint, which may be of a later index. */
NdStatus	store_reset_group(Store *s, NdGroupId group, uint64_t index, uint64_t term, const RaftConfiguration *c,
							  uint64_t checkpoint_index, const void *checkpoint, size_t checkpoint_len);

/* ---- space ---- */
/* The last preallocation failed: entries still go where room is left, StoreStatus.disk_full. */
bool		store_full(const Store *s);
/* Would entries of so many bytes in all be taken, as far as is known? Not known: yes. */
bool		store_room(const Store *s, uint64_t bytes);
/* Try again to prepare segments, when the disk was full; blocking. Done after every flush as well. */
void		store_find_space(Store *s);
/* Bytes in memory that no finished flush covers. */
uint64_t	store_undurable_bytes(const Store *s);

/* ---- flushing ---- */
/* Is there anything not handed to a flush yet? */
bool		store_dirty(const Store *s);
/* Start one asynchronous flush of all that is buffered; at most one is under way: ND_BUSY otherwise. *flush_seq ascends. */
NdStatus	store_flush_start(Store *s, uint64_t *flush_seq);
/* Called by the driver after the vfs said that I/O completed: how far flushes are durable. ND_IO / ND_FULL: the store failed. */
NdStatus	store_flush_poll(Store *s, uint64_t *durable_seq);

/* ---- reading ---- */
uint64_t	store_first_index(const Store *s, NdGroupId group);
uint64_t	store_last_index(const Store *s, NdGroupId group);
uint64_t	store_term(const Store *s, NdGroupId group, uint64_t index);	/* 0 unknown */
/* The configuration in effect at index: first index - 1 <= index <= last index. ND_NOTFOUND. */
NdStatus	store_configuration(const Store *s, NdGroupId group, uint64_t index, RaftConfiguration *out);
/* Same contract as RaftLog.entries; from the cache, else from the files (checksum verified). */
NdStatus	store_entries(Store *s, NdGroupId group, uint64_t lo, uint64_t hi, uint64_t bytes_max,
						  RaftEntry *out, uint32_t out_cap, uint32_t *n);
NdStatus	store_position(const Store *s, NdGroupId group, uint64_t index, StorePosition *out);
NdStatus	store_read_checkpoint(Store *s, NdGroupId group, uint64_t *index, NdBuf *out);	/* ND_NOTFOUND */
/* For other processes: no Store needed. Payload of the record at the position, checksum verified, group/index/term compared. */
NdStatus	store_read_position(Vfs *vfs, const char *dir, StorePosition at, NdGroupId group, uint64_t index, uint64_t term, NdBuf *payload);
/* The same for who reads one entry after another: the file of the last one stays open, till it is closed or another one is wanted. */
typedef struct StoreReader
{
	Vfs		   *vfs;
	const char *dir;			/* stays the caller's */
	VfsFile    *file;			/* NULL: none is open */
	uint64_t	segment;
} StoreReader;
NdStatus	store_reader_read(StoreReader *reader, StorePosition at, NdGroupId group, uint64_t index, uint64_t term, NdBuf *payload);
void		store_reader_close(StoreReader *reader);

/* ---- scrub: damage is found while the other nodes still have what is lost, not at the next start ---- */
/*
 * Verify up to about `bytes` more of what is durable: headers of segments and batches, checksums, flush numbers without a gap up to the place where this
 * process knows the log to end. The caller sets the pace; at most STORE_SCRUB_STEP a call. It begins anew with each process and goes
 * round for ever; what is removed or recycled meanwhile is left out. Never waits for the disk: ND_BUSY, the bytes are asked for, call again.
 *
 * ND_DAMAGED, ND_IO (the disk refuses to read): something needed is lost: a live entry or checkpoint, or small state that the next start would read.
 * The store has failed; StoreStatus.damage names file and offset. Damage where nothing live stands is no reason to stop: ND_OK, damages and
 * damage tell. (A restart would refuse such a segment as long as it is there: it goes with the next truncation that frees it.)
 */
#define STORE_SCRUB_STEP (64 * 1024)
NdStatus	store_scrub(Store *s, uint64_t bytes);

typedef struct StoreStatus
{
	uint64_t	bytes_live;			/* in segments that hold live entries */
	uint64_t	bytes_files;		/* of all files, spare ones included */
	uint64_t	segments;
	uint64_t	flushes;
	uint64_t	cache_bytes;
	uint64_t	index_bytes;		/* memory of the index */
	bool		failed;
	bool		disk_full;			/* the last preallocation failed; appends say ND_FULL until one succeeds */
	/* of this process */
	uint64_t	scrub_segment;		/* being verified; 0: between two rounds */
	uint64_t	scrub_offset;		/* in it */
	uint64_t	scrub_bytes;		/* verified */
	uint64_t	scrub_rounds;		/* finished */
	uint64_t	damages;			/* places found damaged, by the scrub or a read; each round counts anew what still stands */
	const char *damage;				/* the last one: file, offset, what; NULL: none. Until the store closes */
} StoreStatus;
void		store_status(const Store *s, StoreStatus *out);

#endif
