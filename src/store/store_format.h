/*
 * store_format.h: the bytes of a segment file. Nothing here does I/O or keeps state.
 *
 * A segment file:
 *
 *   offset 0     header, 512 bytes: magic, format, node, cluster, segment number, checksum. Durable before the file gets its final name.
 *   offset 512   batches, each beginning at a multiple of 512 bytes (padded with zeros)
 *
 * A batch is what one flush wrote to one segment: a header of 48 bytes, then records, each at a multiple of 8 bytes.
 * A flush that crosses segments has one batch in each: same flush number, parts 0, 1, 2 ..., the last one marked.
 *
 * A record: header of 40 bytes, payload, zeros up to a multiple of 8.
 *
 * Why recovery can tell a torn tail from damage, and old bytes from new ones:
 *
 * (a) At most one flush is under way, and the next one begins only when all before it are durable. So a crash can tear only the last
 *     flush: a valid batch header of flush k + 1 proves that flush k was finished once, and if it cannot be read now it is damaged.
 * (b) A batch header carries segment number, offset and flush number below its own checksum; the body has a checksum of its own in the
 *     header. So neither the old contents of a recycled file (another segment number) nor a batch at a wrong place are taken for new ones.
 * (c) Before it accepts writes, recovery ends the log with a complete and durable flush of its own (a STORE_OPEN record, one sector), at
 *     the place where the torn one began and with its number, k + 1. So whatever the torn flush left behind has a number that has passed, and can
 *     never be taken for a part of a later flush. A crash while this is done leaves a flush that is still torn, or the whole sector.
 * (d) A flush counts only when its last part is there: it is recovered whole or not at all.
 * (e) What can be read may still not be durable: the process, not the machine, died between write and fdatasync, or an fdatasync failed and
 *     the kernel dropped the dirty marks. By (a) that concerns the last flush only: recovery writes it once more, at the same place, and syncs.
 *
 * Integers are little-endian. The first 512 bytes keep their layout in all future formats.
 */
#ifndef ND_STORE_FORMAT_H
#define ND_STORE_FORMAT_H

#include "store.h"

#define STORE_FORMAT 1
#define STORE_SECTOR 512
#define STORE_SEGMENT_HEADER 512	/* bytes */
#define STORE_BATCH_HEADER 48
#define STORE_RECORD_HEADER 40
#define STORE_BATCH_LAST 1		/* flag: the flush ends with this part */

typedef struct StoreSegmentHeader
{
	uint32_t	format;
	NdNodeId	node;
	uint64_t	cluster_id;
	uint64_t	number;
} StoreSegmentHeader;

typedef struct StoreBatchHeader
{
	uint16_t	part;
	uint16_t	flags;
	uint64_t	flush_seq;
	uint64_t	body_len;		/* bytes behind the header, padding to the sector excluded */
	uint64_t	body_checksum;
} StoreBatchHeader;

typedef enum StoreRecordKind
{
	STORE_ENTRY = 1,			/* aux: RaftEntryKind; payload: the entry's */
	STORE_HARD = 2,				/* index: commit; term; payload: u32 vote */
	STORE_PREFIX = 3,			/* index: first index kept; term: of the one before it */
	STORE_GROUP = 4,			/* payload: encoded bootstrap configuration; index: of it */
	STORE_SUFFIX = 5,			/* index: entries from it on are gone */
	STORE_CHECKPOINT = 6,		/* index: of the checkpoint; payload: opaque */
	STORE_RESET = 7,			/* index, term: the log begins behind them; a CONFIGURATION and a CHECKPOINT follow */
	STORE_CONFIGURATION = 8,	/* payload: the encoded configuration in effect, index: of it; all others are forgotten */
	STORE_OPEN = 9,				/* a process began to write here */
	STORE_STATE = 10				/* all small state of a group, at the beginning of a segment (store_write.c) */
} StoreRecordKind;

typedef struct StoreRecord
{
	StoreRecordKind kind;
	uint16_t	aux;
	NdGroupId	group;
	uint64_t	index;
	uint64_t	term;
	uint32_t	payload_len;
} StoreRecord;

uint64_t	store__round_up(uint64_t n, uint64_t unit);		/* unit: a power of two */
uint64_t	store__record_bytes(uint64_t payload_len);		/* header and padding included */

void		store__segment_header_encode(const StoreSegmentHeader *h, uint8_t out[STORE_SEGMENT_HEADER]);
/* ND_DAMAGED (magic or checksum), ND_VERSION. */
NdStatus	store__segment_header_decode(const uint8_t in[STORE_SEGMENT_HEADER], StoreSegmentHeader *h);

void		store__batch_header_encode(const StoreBatchHeader *h, uint64_t segment, uint64_t offset, uint8_t out[STORE_BATCH_HEADER]);
/* False unless this is a header that was written for this segment and offset. */
bool		store__batch_header_decode(const uint8_t in[STORE_BATCH_HEADER], uint64_t segment, uint64_t offset, StoreBatchHeader *h);

/* The whole record, padded; out has store__record_bytes(). offset: of the record in its segment. */
void		store__record_encode(const StoreRecord *r, const void *payload, uint64_t segment, uint64_t offset, uint8_t *out);
/* Header only, no checksum: for bytes below a batch's checksum. False when the record would not fit into left bytes. */
bool		store__record_peek(const uint8_t *in, uint64_t left, StoreRecord *r);
/* Header and checksum; in has the header and payload_len bytes behind it. */
bool		store__record_verify(const uint8_t *in, uint64_t len, uint64_t segment, uint64_t offset, StoreRecord *r);

#endif
