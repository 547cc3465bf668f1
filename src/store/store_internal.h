/*
 * store_internal.h: the store's own structures, shared by its files and by nobody else.
 *
 * store_segment.c   files: names, preparing, recycling, dropping, open handles
 * store_group.c     memory of one group: positions, term runs, configurations, cache
 * store_write.c     records, batches, flushes, and the public writing calls
 * store_recover.c   from files to memory
 * store_read.c      from files or memory to the caller
 * store_scrub.c     what is durable, read again and again; damage
 * store.c           life and status
 *
 * Invariants (beside those of store.h):
 * a. Every mutating call reserves all memory and file space first; after that it cannot fail. So ND_NOMEM and ND_FULL change nothing.
 * b. A segment begins with a STATE record of every group. So a segment without live entries may go, whichever its place.
 * c. A segment goes only when the flush that killed its last live entry is durable, and the first flush of its successor too (its STATE
 *    records stand for all small records of the segment that goes).
 * d. Small records (hard states, truncations, entries without payload) may use the last prepared segment; entries and checkpoints may not, unless another one is
 *    ready behind it. So a node whose disk is full still votes, and truncation can free space.
 */
#ifndef ND_STORE_INTERNAL_H
#define ND_STORE_INTERNAL_H

#include "store_format.h"

#define STORE_PATH_MAX 1024
#define STORE_INDEX_MAX (UINT64_C(1) << 62)	/* of an entry: what is above cannot be true, and index + 1 never wraps */
#define STORE_CHUNK 64				/* slots in one chunk of the position index */
#define STORE_SPARES 2				/* prepared ahead: one for entries, one kept back for small records */
#define STORE_OPEN_FILES_MAX 16		/* handles kept for reading */

/* Where a record stands, in 16 bytes. segment 0: unknown (only during recovery: a segment that is not there any more). */
typedef struct StoreSlot
{
	uint32_t	segment;		/* number */
	uint32_t	offset8;		/* in units of 8 bytes */
	uint32_t	len;			/* bytes, header included, padding excluded */
	uint32_t	kind;			/* RaftEntryKind */
} StoreSlot;

_Static_assert(sizeof(StoreSlot) == 16, "16 bytes an entry");

typedef struct StoreSegment
{
	uint64_t	number;
	uint64_t	bytes;			/* size of the file */
	VfsFile    *file;			/* NULL while closed */
	uint64_t	used_at;		/* of the read clock, to choose whom to close */
	uint64_t	live;			/* entries and checkpoints that count */
	uint64_t	checkpoints;	/* of these */
	uint64_t	checkpoint_bytes;
	uint64_t	first_seq;		/* flush of its first batch; 0: spare */
	uint64_t	free_seq;		/* live fell to 0 by a record of this flush */
	uint64_t	end;			/* behind its last durable batch; 0: none */
} StoreSegment;

/* What a flush writes to one segment: batch header and records, growing. */
typedef struct StorePart
{
	StoreSegment *segment;
	uint64_t	offset;			/* of the batch in its segment */
	uint8_t    *data;
	size_t		len;
	size_t		cap;
} StorePart;

typedef struct StoreParts
{
	StorePart  *v;				/* parts n..cap - 1 may keep buffers for later use */
	uint32_t	n;
	uint32_t	cap;
} StoreParts;

typedef struct StoreConfigurationAt
{
	uint64_t	index;
	NdBlob	   *encoded;
} StoreConfigurationAt;

typedef struct StoreGroup
{
	NdGroupId	id;
	RaftHardState hard;
	uint64_t	first_index;
	uint64_t	prev_term;		/* of first_index - 1 */
	uint64_t	last_index;
	RaftTermRun *runs;			/* cover first_index..last_index */
	uint32_t	n_runs;
	uint32_t	cap_runs;
	/* The newest one below first_index (or the bootstrap one), then all from first_index on. Never empty. */
	StoreConfigurationAt *configurations;
	uint32_t	n_configurations;
	uint32_t	cap_configurations;
	bool		has_checkpoint;
	uint64_t	checkpoint_index;
	StoreSlot	checkpoint;
	/* positions: chunks[k] holds indexes (chunk_base + k) * STORE_CHUNK and up; NULL: unknown */
	StoreSlot **chunks;
	uint64_t	chunk_base;
	uint64_t	n_chunks;
	uint64_t	cap_chunks;
	/* cache: payloads of the n_cached last entries, a ring */
	NdBlob	  **cache;
	uint32_t	cache_head;
	uint32_t	n_cached;
	uint32_t	cap_cache;		/* a power of two, or 0 */
	uint64_t	cached_bytes;
} StoreGroup;

/* The scrub reads a segment's sectors in order. */
typedef struct StoreScrub
{
	uint8_t    *buffer;			/* STORE_SCRUB_STEP; with the first call */
	NdChecksum *sum;
	uint64_t	segment;		/* number; 0: a round begins */
	uint64_t	offset;			/* next byte, a multiple of the sector */
	uint64_t	fetched;		/* bytes from there on that the disk was asked for */
	uint32_t	waits;			/* calls since then */
	StoreBatchHeader batch;		/* whose body is being read */
	uint64_t	batch_at;		/* its offset; 0: none */
	uint64_t	body_left;
	uint64_t	last_seq;		/* of the batch before, in this segment; 0: none */
	bool		seeking;		/* behind damage: for a batch header */
	uint64_t	lost_from;		/* what is not told yet of it; 0: all is */
	uint64_t	bytes;
	uint64_t	rounds;
} StoreScrub;

struct Store
{
	Vfs		   *vfs;
	char		dir[STORE_PATH_MAX];
	uint64_t	cluster_id;
	NdNodeId	node;
	uint64_t	segment_bytes;
	uint64_t	cache_limit;
	uint32_t	record_bytes_max;

	StoreSegment **segments;	/* ascending by number; those behind `current` are spare */
	uint32_t	n_segments;
	uint32_t	cap_segments;
	uint32_t	current;		/* where records go */
	uint64_t	end;			/* offset in the current segment where the next batch would begin */
	uint64_t	read_clock;
	uint32_t	n_open;

	StoreGroup **groups;		/* ascending by id */
	uint32_t	n_groups;
	uint32_t	cap_groups;

	StoreParts	gathering;
	StoreParts	flying;
	VfsWrite   *writes;			/* of the flying flush */
	uint32_t	cap_writes;
	uint64_t	gather_seq;		/* flush number of what gathers now */
	uint64_t	durable_seq;
	bool		in_flight;		/* gather_seq - 1 is under way */
	NdBuf		scratch;

	uint64_t	flushes;
	uint64_t	cached_bytes;
	uint64_t	index_bytes;
	NdStatus	failed;			/* ND_OK, or why the store failed for good */
	bool		disk_full;
	StoreScrub	scrub;
	uint64_t	damages;
	char		damage[STORE_PATH_MAX + 100];
};

/* ---- store_segment.c ---- */
void		store__segment_path(const char *dir, uint64_t number, const char *suffix, char out[STORE_PATH_MAX]);
bool		store__segment_number(const char *name, uint64_t *number);	/* of NNNNNNNNNNNNNNNN.seg */
StoreSegment *store__segment_find(const Store *s, uint64_t number);
/* Room for one more in the table; then adding cannot fail. */
NdStatus	store__segment_table_reserve(Store *s);
StoreSegment *store__segment_add(Store *s, uint64_t number, uint64_t bytes);	/* NULL: no memory; must be the highest number */
NdStatus	store__segment_open(Store *s, StoreSegment *segment, VfsFile **out);
/* One more spare one, from an old file when recycle is not NULL (which leaves the table). Sets disk_full; a failed write fails the store. */
NdStatus	store__segment_prepare(Store *s, StoreSegment *recycle);
void		store__segments_prepare(Store *s);	/* ahead, as many as there should be */
NdStatus	store__segment_grow(Store *s, StoreSegment *spare, uint64_t bytes);
uint32_t	store__spares(const Store *s);
void		store__live_add(Store *s, const StoreSlot *at, bool checkpoint);
void		store__live_drop(Store *s, const StoreSlot *at, bool checkpoint);
/* After a flush became durable: drop what is dead, prepare ahead. A failure makes the store fail; a full disk does not. */
void		store__segment_maintain(Store *s);
void		store__segments_free(Store *s);

/* ---- store_group.c ---- */
StoreGroup *store__group_find(const Store *s, NdGroupId id);
StoreGroup *store__group_new(NdGroupId id);
NdStatus	store__group_table_reserve(Store *s);
void		store__group_insert(Store *s, StoreGroup *g);		/* after the reservation */
void		store__group_free(Store *s, StoreGroup *g);
/* Memory for n entries of which n_configurations are configurations, behind `from` - 1. */
NdStatus	store__group_reserve(Store *s, StoreGroup *g, uint64_t from, uint32_t n, uint32_t n_configurations);
/* The rest cannot fail, once reserved. cached: keep the payload; recovery does not, and may not begin to between cached ones. */
void		store__group_push(Store *s, StoreGroup *g, uint64_t index, uint64_t term, StoreSlot at, NdBlob *payload, bool cached);
void		store__group_add_configuration(StoreGroup *g, uint64_t index, NdBlob *encoded);	/* takes the reference */
void		store__group_set_configuration(StoreGroup *g, uint64_t index, NdBlob *encoded);	/* the only one; takes the reference */
void		store__group_cut_suffix(Store *s, StoreGroup *g, uint64_t from);
void		store__group_cut_prefix(Store *s, StoreGroup *g, uint64_t first, uint64_t prev_term);
void		store__group_restart(Store *s, StoreGroup *g, uint64_t first, uint64_t prev_term);	/* no entries any more */
void		store__group_set_checkpoint(Store *s, StoreGroup *g, uint64_t index, StoreSlot at);
void		store__group_clear_checkpoint(Store *s, StoreGroup *g);
/* Recovery: indexes up to last exist, somewhere. ND_DAMAGED when that cannot be true. */
NdStatus	store__group_extend_unknown(StoreGroup *g, uint64_t last, uint64_t term);
const StoreSlot *store__group_slot(const StoreGroup *g, uint64_t index);	/* NULL: unknown */
uint64_t	store__group_term(const StoreGroup *g, uint64_t index);
bool		store__group_cached(const StoreGroup *g, uint64_t index, NdBlob **payload);
void		store__cache_trim(Store *s);

/* ---- store_write.c ---- */
/* Room for records of `bytes` in all (store__record_bytes() each) in one segment. small: may use the last spare. */
NdStatus	store__reserve(Store *s, uint64_t bytes, bool small);
/* After store__reserve(). Returns where the record stands. */
StoreSlot	store__emit(Store *s, const StoreRecord *r, const void *payload);
const uint8_t *store__buffered(const Store *s, const StoreSlot *at);	/* bytes of a record not durable yet, or NULL */
NdStatus	store__fail(Store *s, NdStatus why);
/* After recovery: the flush with which this process begins, blocking (argument (c) of store_format.h). */
NdStatus	store__begin(Store *s);

typedef struct StoreState
{
	uint64_t	first_index;
	uint64_t	prev_term;
	uint64_t	last_index;
	uint64_t	last_term;
	RaftHardState hard;
	bool		has_checkpoint;
	uint64_t	checkpoint_index;
	uint64_t	n_configurations;
	NdReader	configurations;		/* n times: u64 index, varint length, bytes */
} StoreState;
bool		store__state_decode(const uint8_t *data, size_t len, StoreState *out);

/* ---- store_read.c ---- */
/* Record at a place, from memory or from its file, checksum verified; out gets the payload. */
NdStatus	store__read_record(Store *s, const StoreSlot *at, StoreRecord *r, NdBlob **payload);

/* ---- store_scrub.c ---- */
/* What is needed at this place is lost, ND_DAMAGED or ND_IO: the store fails. Returns why. */
NdStatus	store__damaged(Store *s, uint64_t segment, uint64_t offset, NdStatus why, const char *what);
void		store__scrub_free(Store *s);

/* ---- store_recover.c ---- */
NdStatus	store__recover(Store *s, char *error, size_t error_len);

#endif
