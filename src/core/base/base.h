/*
 * base.h: what every module of the core shares: ids, status codes, memory, blobs, the bounded byte codec, a seeded generator.
 *
 * Pure C11. Invariants:
 * 1. No I/O, no clock, no randomness that is not seeded by the caller.
 * 2. All memory of core, store, transport and node comes from nd_alloc(), so that a test can make any allocation fail.
 * 3. A decoder never reads past its end and never trusts a length: on bad input NdReader.failed is set and stays set.
 * 4. Integers on disk and on the wire are little-endian.
 */
#ifndef ND_BASE_H
#define ND_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t NdNodeId;		/* 1..2^32-1, never reused; 0 is "none" */
typedef uint32_t NdGroupId;		/* 0 is the metadata group, data groups start at 1 */

typedef enum NdStatus
{
	ND_OK = 0,
	ND_NOMEM,					/* no memory: nothing changed, try again later */
	ND_BUSY,					/* a bounded queue is full: wait for progress, try again */
	ND_FULL,					/* no space on the disk */
	ND_IO,						/* a write or fsync failed: this replica must stop */
	ND_DAMAGED,					/* bytes that were once good are not any more: this replica must stop */
	ND_INVALID,					/* malformed input or a call out of contract */
	ND_NOTFOUND,				/* no such group, entry, node */
	ND_TOOBIG,					/* larger than a stated limit */
	ND_NOTLEADER,				/* ask the leader */
	ND_NOLEADER,				/* no leader is known */
	ND_NOQUORUM,				/* the leader took it, but no majority has confirmed it in time */
	ND_COMPACTED,				/* the wanted entry was truncated away */
	ND_FROZEN,					/* a broken invariant stopped this group */
	ND_VERSION,					/* a newer format or wire version */
	ND_WRONG_CLUSTER			/* cluster id, node id or incarnation does not fit */
} NdStatus;

/* A short English text of a status, for logs; never NULL. */
const char *nd_status_text(NdStatus status);

/* ---- memory ---- */

typedef struct NdAllocator
{
	void	   *(*alloc)(void *ctx, size_t bytes);				/* NULL when out of memory */
	void	   *(*realloc)(void *ctx, void *p, size_t bytes);
	void		(*free)(void *ctx, void *p);
	void	   *ctx;
} NdAllocator;

/* Replace the allocator (tests); NULL restores malloc. Only while nothing is allocated. */
void		nd_set_allocator(const NdAllocator *allocator);
void	   *nd_alloc(size_t bytes);			/* not cleared; NULL when out of memory */
void	   *nd_zalloc(size_t bytes);		/* cleared */
void	   *nd_realloc(void *p, size_t bytes);
void		nd_free(void *p);				/* NULL is fine */

/* ---- blobs: immutable bytes shared by reference inside one thread ---- */

typedef struct NdBlob
{
	uint32_t	refs;
	uint32_t	len;			/* bytes */
	uint8_t		data[];
} NdBlob;

NdBlob	   *nd_blob_new(const void *data, uint32_t len);	/* data NULL: uninitialised; NULL when out of memory; refs = 1 */
NdBlob	   *nd_blob_ref(NdBlob *blob);						/* NULL passes through */
void		nd_blob_unref(NdBlob *blob);					/* NULL is fine; frees at zero */

/* ---- growing byte buffer (writer) ---- */

typedef struct NdBuf
{
	uint8_t    *data;
	size_t		len;			/* bytes used */
	size_t		cap;			/* bytes allocated */
	bool		failed;			/* an allocation failed: contents are not to be used */
} NdBuf;

void		nd_buf_init(NdBuf *buf);
void		nd_buf_free(NdBuf *buf);
void		nd_buf_reset(NdBuf *buf);		/* keeps the memory */
void		nd_buf_bytes(NdBuf *buf, const void *data, size_t len);
void		nd_buf_u8(NdBuf *buf, uint8_t v);
void		nd_buf_u16(NdBuf *buf, uint16_t v);
void		nd_buf_u32(NdBuf *buf, uint32_t v);
void		nd_buf_u64(NdBuf *buf, uint64_t v);
void		nd_buf_varint(NdBuf *buf, uint64_t v);	/* LEB128, 1 to 10 bytes */

/* ---- bounded reader ---- */

typedef struct NdReader
{
	const uint8_t *p;
	const uint8_t *end;
	bool		failed;			/* sticky: a read went past the end or a varint was malformed */
} NdReader;

void		nd_reader_init(NdReader *r, const void *data, size_t len);
size_t		nd_reader_left(const NdReader *r);
uint8_t		nd_read_u8(NdReader *r);		/* 0 on failure, as all below */
uint16_t	nd_read_u16(NdReader *r);
uint32_t	nd_read_u32(NdReader *r);
uint64_t	nd_read_u64(NdReader *r);
uint64_t	nd_read_varint(NdReader *r);
const uint8_t *nd_read_bytes(NdReader *r, size_t len);	/* pointer into the input; NULL on failure */

/* ---- seeded generator (xoshiro256**) ---- */

typedef struct NdRandom
{
	uint64_t	s[4];
} NdRandom;

void		nd_random_seed(NdRandom *r, uint64_t seed);
uint64_t	nd_random_next(NdRandom *r);
uint64_t	nd_random_below(NdRandom *r, uint64_t n);	/* 0..n-1, unbiased; n > 0 */

/* ---- checksum: XXH3 64 bits ---- */
uint64_t	nd_checksum(const void *data, size_t len, uint64_t seed);

/* Sealed bytes: magic, version, content, checksum of all before. begin() says where they start; end() appends the checksum. */
size_t		nd_seal_begin(NdBuf *buf, uint32_t magic, uint16_t version);
void		nd_seal_end(NdBuf *buf, size_t start);
/* A reader of the content. ND_DAMAGED, or ND_VERSION: whole, but of another version. */
NdStatus	nd_seal_open(NdReader *r, const void *data, size_t len, uint32_t magic, uint16_t version);

/* The same in pieces: begin, any number of adds, end. */
typedef struct NdChecksum NdChecksum;
NdChecksum *nd_checksum_new(void);	/* NULL: no memory */
void		nd_checksum_free(NdChecksum *c);
void		nd_checksum_begin(NdChecksum *c, uint64_t seed);
void		nd_checksum_add(NdChecksum *c, const void *data, size_t len);
uint64_t	nd_checksum_end(const NdChecksum *c);

#endif
