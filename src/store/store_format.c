/*
 * store_format.c: encoding and checking of segment headers, batch headers and records. See store_format.h for the layout and its proof.
 */
#include "store_format.h"

#include "../core/base/mutant.h"

#include <string.h>

#define SEGMENT_MAGIC UINT64_C(0x31676573626445)	/* "Edbseg1", little-endian */
#define BATCH_MAGIC UINT32_C(0x68637442)
#define SEED_SEGMENT UINT64_C(0x9e3779b97f4a7c15)
#define SEED_BODY UINT64_C(0xc2b2ae3d27d4eb4f)

static void put(uint8_t *at, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (uint8_t) (v >> (8 * i));
}

static uint64_t get(const uint8_t *at, int bytes)
{
	uint64_t	v = 0;

	for (int i = 0; i < bytes; i++)
		v |= (uint64_t) at[i] << (8 * i);
	return v;
}

/* Bytes count only at the place for which they were written. */
static uint64_t place_seed(uint64_t segment, uint64_t offset)
{
	return (MUTANT(STORE_STALE_RECORDS) ? 0 : segment * SEED_SEGMENT) ^ offset;
}

uint64_t store__round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) & ~(unit - 1);
}

uint64_t store__record_bytes(uint64_t payload_len)
{
	return store__round_up(STORE_RECORD_HEADER + payload_len, 8);
}

void store__segment_header_encode(const StoreSegmentHeader *h, uint8_t out[STORE_SEGMENT_HEADER])
{
	memset(out, 0, STORE_SEGMENT_HEADER);
	put(out, SEGMENT_MAGIC, 8);
	put(out + 8, h->format, 4);
	put(out + 12, h->node, 4);
	put(out + 16, h->cluster_id, 8);
	put(out + 24, h->number, 8);
	put(out + STORE_SEGMENT_HEADER - 8, nd_checksum(out, STORE_SEGMENT_HEADER - 8, SEED_SEGMENT), 8);
}

NdStatus store__segment_header_decode(const uint8_t in[STORE_SEGMENT_HEADER], StoreSegmentHeader *h)
{
	if (get(in, 8) != SEGMENT_MAGIC ||
		get(in + STORE_SEGMENT_HEADER - 8, 8) != nd_checksum(in, STORE_SEGMENT_HEADER - 8, SEED_SEGMENT))
		return ND_DAMAGED;
	h->format = (uint32_t) get(in + 8, 4);
	h->node = (uint32_t) get(in + 12, 4);
	h->cluster_id = get(in + 16, 8);
	h->number = get(in + 24, 8);
	if (h->format > STORE_FORMAT)
		return ND_VERSION;
	return h->format == 0 ? ND_DAMAGED : ND_OK;
}

/* magic 4, part 2, flags 2, segment 8, flush 8, body length 8, body checksum 8, header checksum 8 */
void store__batch_header_encode(const StoreBatchHeader *h, uint64_t segment, uint64_t offset, uint8_t out[STORE_BATCH_HEADER])
{
	put(out, BATCH_MAGIC, 4);
	put(out + 4, h->part, 2);
	put(out + 6, h->flags, 2);
	put(out + 8, segment, 8);
	put(out + 16, h->flush_seq, 8);
	put(out + 24, h->body_len, 8);
	put(out + 32, h->body_checksum, 8);
	put(out + 40, nd_checksum(out, 40, place_seed(segment, offset)), 8);
}

bool store__batch_header_decode(const uint8_t in[STORE_BATCH_HEADER], uint64_t segment, uint64_t offset, StoreBatchHeader *h)
{
	if (get(in, 4) != BATCH_MAGIC || (get(in + 8, 8) != segment && !MUTANT(STORE_STALE_RECORDS)) ||
		get(in + 40, 8) != nd_checksum(in, 40, place_seed(segment, offset)))
		return false;
	h->part = (uint16_t) get(in + 4, 2);
	h->flags = (uint16_t) get(in + 6, 2);
	h->flush_seq = get(in + 16, 8);
	h->body_len = get(in + 24, 8);
	h->body_checksum = get(in + 32, 8);
	return true;
}

/* checksum 8, payload length 4, kind 2, aux 2, group 4, zero 4, index 8, term 8; the checksum covers all behind it, payload included */
void store__record_encode(const StoreRecord *r, const void *payload, uint64_t segment, uint64_t offset, uint8_t *out)
{
	uint64_t	end = STORE_RECORD_HEADER + (uint64_t) r->payload_len;

	put(out + 8, r->payload_len, 4);
	put(out + 12, r->kind, 2);
	put(out + 14, r->aux, 2);
	put(out + 16, r->group, 4);
	put(out + 20, 0, 4);
	put(out + 24, r->index, 8);
	put(out + 32, r->term, 8);
	if (r->payload_len > 0)
		memcpy(out + STORE_RECORD_HEADER, payload, r->payload_len);
	memset(out + end, 0, store__round_up(end, 8) - end);
	put(out, nd_checksum(out + 8, end - 8, place_seed(segment, offset) ^ SEED_BODY), 8);
}

bool store__record_peek(const uint8_t *in, uint64_t left, StoreRecord *r)
{
	if (left < STORE_RECORD_HEADER)
		return false;
	r->payload_len = (uint32_t) get(in + 8, 4);
	r->kind = (StoreRecordKind) get(in + 12, 2);
	r->aux = (uint16_t) get(in + 14, 2);
	r->group = (NdGroupId) get(in + 16, 4);
	r->index = get(in + 24, 8);
	r->term = get(in + 32, 8);
	return store__record_bytes(r->payload_len) <= left;
}

bool store__record_verify(const uint8_t *in, uint64_t len, uint64_t segment, uint64_t offset, StoreRecord *r)
{
	if (!store__record_peek(in, store__round_up(len, 8), r) || STORE_RECORD_HEADER + (uint64_t) r->payload_len != len)
		return false;
	return get(in, 8) == nd_checksum(in + 8, len - 8, place_seed(segment, offset) ^ SEED_BODY);
}
