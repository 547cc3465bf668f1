/*
 * test_entry.c: an entry header has fixed bytes; every malformed one is refused without reading past its end; the conflict tables are
 * PostgreSQL's, written out here a second time as text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/wire/entry.h"

static const uint8_t golden[] = {
	0x01, 0x01, 0x34, 0x12,							/* format, kind, flags */
	0x02, 0x00, 0x00, 0x00,							/* node */
	0x03, 0x00, 0x00, 0x00,							/* incarnation */
	0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* counter */
	0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* base */
	0x03,											/* keys: sorted, repeats gone */
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
	0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00,
	0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x13,
	0x02,											/* chunks */
	0x07, 0x80, 0x01,
	'b', 'o', 'd', 'y'
};
#define GOLDEN_KEYS_AT 28
#define GOLDEN_CHUNKS_AT 56
#define GOLDEN_HEADER_LEN (sizeof(golden) - 4)

static void encode_golden(NdBuf *buf)
{
	EntryKey	keys[] = {
		{UINT64_C(0x1122334455667788), KEY_REL_ROW_EXCLUSIVE},
		{UINT64_C(0x1122334455667788), KEY_ROW_SHARE_KEY},
		{1, KEY_ROW_UPDATE},
		{UINT64_C(0x1122334455667788), KEY_REL_ROW_EXCLUSIVE}
	};
	const uint64_t chunks[] = {7, 135};

	nd_buf_init(buf);
	assert_int_equal(entry_encode_header(buf, ENTRY_TXN, 0x1234, (TxnId) {2, 3, 4}, 5, keys, 4, chunks, 2), ND_OK);
	nd_buf_bytes(buf, "body", 4);
}

static void golden_bytes(void **state)
{
	NdBuf		buf;

	(void) state;
	encode_golden(&buf);
	assert_int_equal(buf.len, sizeof(golden));
	assert_memory_equal(buf.data, golden, sizeof(golden));
	nd_buf_free(&buf);
}

/* Format 2: the same with reads between keys and chunks. */
static const uint8_t golden_reads[] = {
	0x02, 0x01, 0x00, 0x00,
	0x02, 0x00, 0x00, 0x00,
	0x03, 0x00, 0x00, 0x00,
	0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x01,
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
	0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* read base */
	0x02,											/* reads: sorted, repeats gone */
	0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x15,
	0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
	0x01, 0x07
};

static void reads(void **state)
{
	EntryKey	keys[] = {{1, KEY_ROW_UPDATE}};
	EntryKey	read[] = {{8, KEY_ROW_SHARE}, {7, KEY_REL_SHARE}, {8, KEY_ROW_SHARE}};
	/* kind, read base above base, no reads, too many, order, mode */
	static const struct
	{
		size_t		at;
		uint8_t		byte;
	}			bad[] = {{1, 3}, {38, 6}, {46, 0}, {46, 0xff}, {47, 9}, {55, 16}};
	const uint64_t chunks[] = {7};
	EntryHeader h;
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(entry_encode_txn(&buf, 0, (TxnId) {2, 3, 4}, 5, keys, 1, 4, read, 3, chunks, 1), ND_OK);
	assert_int_equal(buf.len, sizeof(golden_reads));
	assert_memory_equal(buf.data, golden_reads, sizeof(golden_reads));
	for (size_t len = 0; len <= sizeof(golden_reads); len++)
	{
		uint8_t    *copy = malloc(len + (len == 0));

		memcpy(copy, golden_reads, len);
		assert_int_equal(entry_decode(copy, len, &h), len < sizeof(golden_reads) ? ND_INVALID : ND_OK);
		free(copy);
	}
	/* 28 bytes tell whose entry it is */
	assert_int_equal(entry_peek(golden_reads, 27, &h), ND_INVALID);
	assert_int_equal(entry_peek(golden_reads, 28, &h), ND_OK);
	assert_int_equal(txnid_compare(h.txn, (TxnId) {2, 3, 4}), 0);
	assert_int_equal(h.base, 5);
	assert_int_equal(entry_decode(golden_reads, sizeof(golden_reads), &h), ND_OK);
	assert_int_equal(h.read_base, 4);
	assert_int_equal(h.n_reads, 2);
	assert_int_equal(entry_read(&h, 0).hash, 7);
	assert_int_equal(entry_read(&h, 0).mode, KEY_REL_SHARE);
	assert_int_equal(entry_read(&h, 1).hash, 8);
	assert_int_equal(h.n_chunks, 1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		memcpy(buf.data, golden_reads, sizeof(golden_reads));
		buf.data[bad[i].at] = bad[i].byte;
		assert_int_equal(entry_decode(buf.data, sizeof(golden_reads), &h), ND_INVALID);
	}
	nd_buf_reset(&buf);
	assert_int_equal(entry_encode_txn(&buf, 0, (TxnId) {2, 3, 4}, 5, keys, 1, 6, read, 1, NULL, 0), ND_INVALID);
	nd_buf_reset(&buf);
	assert_int_equal(entry_encode_txn(&buf, 0, (TxnId) {2, 3, 4}, 5, keys, 1, 6, NULL, 0, NULL, 0), ND_OK);
	assert_int_equal(buf.data[0], 1);
	nd_buf_free(&buf);
}

static void golden_decodes(void **state)
{
	EntryHeader h;
	uint64_t	chunks[2];

	(void) state;
	assert_int_equal(entry_decode(golden, sizeof(golden), &h), ND_OK);
	assert_int_equal(h.kind, ENTRY_TXN);
	assert_int_equal(h.flags, 0x1234);
	assert_int_equal(txnid_compare(h.txn, (TxnId) {2, 3, 4}), 0);
	assert_int_equal(h.base, 5);
	assert_int_equal(h.n_keys, 3);
	assert_int_equal(entry_key(&h, 0).hash, 1);
	assert_int_equal(entry_key(&h, 0).mode, KEY_ROW_UPDATE);
	assert_int_equal(entry_key(&h, 2).mode, KEY_REL_ROW_EXCLUSIVE);
	assert_int_equal(h.n_chunks, 2);
	entry_chunks(&h, chunks);
	assert_int_equal(chunks[0], 7);
	assert_int_equal(chunks[1], 135);
	assert_int_equal(h.body_len, 4);
	assert_memory_equal(h.body, "body", 4);
}

/* Each cut is a copy of its own, so that the address sanitizer sees a read past the end. */
static void every_cut_of_the_header_is_invalid(void **state)
{
	(void) state;
	for (size_t len = 0; len <= sizeof(golden); len++)
	{
		uint8_t    *copy = malloc(len + (len == 0));
		EntryHeader h;

		memcpy(copy, golden, len);
		assert_int_equal(entry_decode(copy, len, &h), len < GOLDEN_HEADER_LEN ? ND_INVALID : ND_OK);
		free(copy);
	}
}

static NdStatus decode_with(size_t at, uint8_t byte)
{
	uint8_t		copy[sizeof(golden)];
	EntryHeader h;

	memcpy(copy, golden, sizeof(golden));
	copy[at] = byte;
	return entry_decode(copy, sizeof(copy), &h);
}

static void malformed(void **state)
{
	(void) state;
	assert_int_equal(decode_with(0, 0), ND_INVALID);
	assert_int_equal(decode_with(0, 2), ND_INVALID);	/* no reads there */
	assert_int_equal(decode_with(0, 3), ND_INVALID);	/* of MARKER and OUTCOME only */
	assert_int_equal(decode_with(0, 4), ND_VERSION);
	assert_int_equal(decode_with(1, 0), ND_INVALID);
	assert_int_equal(decode_with(1, ENTRY_MARKER), ND_INVALID);	/* not in format 1 */
	assert_int_equal(decode_with(1, ENTRY_OUTCOME), ND_INVALID);
	assert_int_equal(decode_with(1, ENTRY_OUTCOME + 1), ND_INVALID);
	assert_int_equal(decode_with(4, 0), ND_INVALID);	/* node 0 */
	assert_int_equal(decode_with(12, 0), ND_INVALID);	/* counter 0 */
	assert_int_equal(decode_with(GOLDEN_KEYS_AT, 0xff), ND_INVALID);	/* key count past the end */
	assert_int_equal(decode_with(GOLDEN_KEYS_AT + 9, 4), ND_INVALID);	/* no such mode */
	assert_int_equal(decode_with(GOLDEN_KEYS_AT + 9, 16), ND_INVALID);
	assert_int_equal(decode_with(GOLDEN_KEYS_AT + 9, 25), ND_INVALID);
	assert_int_equal(decode_with(GOLDEN_KEYS_AT + 8, 0xff), ND_INVALID);	/* hashes descend */
	assert_int_equal(decode_with(GOLDEN_KEYS_AT + 18, 0x13), ND_INVALID);	/* a key repeats */
	assert_int_equal(decode_with(GOLDEN_KEYS_AT + 18, 0x14), ND_INVALID);	/* modes descend */
	assert_int_equal(decode_with(GOLDEN_CHUNKS_AT, 0x7f), ND_INVALID);	/* chunk count past the end */
	assert_int_equal(decode_with(GOLDEN_CHUNKS_AT + 1, 0), ND_INVALID);	/* chunk index 0 */
	assert_int_equal(decode_with(GOLDEN_CHUNKS_AT + 3, 0), ND_INVALID);	/* overlong varint */
}

/* Format 3. */
static const uint8_t golden_marker[] = {
	0x03, 0x05, 0x07, 0x00,
	0x02, 0x00, 0x00, 0x00,
	0x03, 0x00, 0x00, 0x00,
	0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* position */
	0x06, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* previous */
	0x03, 0x01, 0x02, 0x80, 0x01,					/* groups 1, 3, 131 */
	0x01,
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
	0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* read base */
	0x01,
	0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x15,
	0x01, 0x07,
	'b', 'o', 'd', 'y'
};
static const uint8_t golden_outcome[] = {
	0x03, 0x06, 0x01, 0x00,
	0x02, 0x00, 0x00, 0x00,
	0x03, 0x00, 0x00, 0x00,
	0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* position */
	0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* decision before */
	0x02, 0x01, 0x02,
	0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00		/* decision */
};

static NdStatus decode_changed(const uint8_t *good, size_t len, size_t at, uint8_t byte)
{
	uint8_t		copy[128];
	EntryHeader h;

	memcpy(copy, good, len);
	copy[at] = byte;
	return entry_decode(copy, len, &h);
}

static void marker_and_outcome(void **state)
{
	const NdGroupId groups[] = {1, 3, 131};
	EntryKey	keys[] = {{1, KEY_ROW_UPDATE}};
	EntryKey	reads[] = {{7, KEY_REL_SHARE}};
	const uint64_t chunk = 7;
	NdGroupId	got[3];
	EntryHeader part;
	EntryHeader h;
	NdBuf		buf;
	NdBuf		marker;

	(void) state;
	nd_buf_init(&buf);
	nd_buf_init(&marker);
	assert_int_equal(entry_encode_txn(&buf, 7, (TxnId) {2, 3, 4}, 5, keys, 1, 4, reads, 1, &chunk, 1), ND_OK);
	nd_buf_bytes(&buf, "body", 4);
	assert_int_equal(entry_decode(buf.data, buf.len, &part), ND_OK);
	assert_int_equal(entry_encode_marker(&marker, &part, 9, 6, groups, 3), ND_OK);
	assert_int_equal(marker.len, sizeof(golden_marker));
	assert_memory_equal(marker.data, golden_marker, sizeof(golden_marker));
	assert_int_equal(entry_decode(marker.data, marker.len, &h), ND_OK);
	assert_int_equal(h.kind, ENTRY_MARKER);
	assert_int_equal(h.flags, 7);
	assert_int_equal(h.position, 9);
	assert_int_equal(h.previous, 6);
	assert_int_equal(h.decision, 0);
	assert_int_equal(h.n_groups, 3);
	entry_groups(&h, got);
	assert_memory_equal(got, groups, sizeof(got));
	assert_int_equal(h.n_keys, 1);
	assert_int_equal(h.n_reads, 1);
	assert_int_equal(h.n_chunks, 1);
	assert_int_equal(h.body_len, 4);
	nd_buf_reset(&marker);
	assert_int_equal(entry_encode_outcome(&marker, (TxnId) {2, 3, 4}, true, 9, 8, 7, groups, 2), ND_OK);
	assert_int_equal(marker.len, sizeof(golden_outcome));
	assert_memory_equal(marker.data, golden_outcome, sizeof(golden_outcome));
	assert_int_equal(entry_decode(marker.data, marker.len, &h), ND_OK);
	assert_int_equal(h.position, 9);
	assert_int_equal(h.previous, 7);
	assert_int_equal(h.decision, 8);
	assert_int_equal(h.flags, 1);
	entry_groups(&h, got);
	assert_int_equal(got[1], 3);

	/* a marker is made of a TXN, in order; groups ascend */
	assert_int_equal(entry_encode_marker(&marker, &h, 9, 6, groups, 3), ND_INVALID);
	assert_int_equal(entry_encode_marker(&marker, &part, 9, 9, groups, 3), ND_INVALID);
	assert_int_equal(entry_encode_marker(&marker, &part, 9, 6, groups, 0), ND_INVALID);
	assert_int_equal(entry_encode_marker(&marker, &part, 9, 6, groups, ENTRY_GROUPS_MAX + 1), ND_INVALID);
	assert_int_equal(entry_encode_marker(&marker, &part, 0, 0, groups, 3), ND_INVALID);
	assert_int_equal(entry_encode_outcome(&marker, part.txn, true, 9, 7, 7, groups, 2), ND_INVALID);
	assert_int_equal(entry_encode_outcome(&marker, part.txn, true, 9, 7, 6, (NdGroupId[]) {3, 3}, 2), ND_INVALID);
	assert_int_equal(entry_encode_outcome(&marker, part.txn, true, 9, 7, 6, (NdGroupId[]) {0, 3}, 2), ND_INVALID);

	for (size_t len = 0; len < sizeof(golden_marker) - 4; len++)
		assert_int_equal(entry_decode(golden_marker, len, &h), ND_INVALID);
	for (size_t len = 0; len < sizeof(golden_outcome); len++)
		assert_int_equal(entry_decode(golden_outcome, len, &h), ND_INVALID);
#define MARKER_WITH(at, byte) decode_changed(golden_marker, sizeof(golden_marker), at, byte)
#define OUTCOME_WITH(at, byte) decode_changed(golden_outcome, sizeof(golden_outcome), at, byte)
	assert_int_equal(MARKER_WITH(0, 2), ND_INVALID);
	assert_int_equal(MARKER_WITH(1, ENTRY_TXN), ND_INVALID);
	assert_int_equal(MARKER_WITH(28, 0), ND_INVALID);		/* position 0 */
	assert_int_equal(MARKER_WITH(36, 9), ND_INVALID);		/* previous not below it */
	assert_int_equal(MARKER_WITH(44, 0), ND_INVALID);		/* no groups */
	assert_int_equal(MARKER_WITH(46, 0), ND_INVALID);		/* a group twice */
	assert_int_equal(MARKER_WITH(59, 6), ND_INVALID);		/* read base above base */
	assert_int_equal(OUTCOME_WITH(2, 2), ND_INVALID);		/* neither commit nor abort */
	assert_int_equal(OUTCOME_WITH(20, 1), ND_INVALID);		/* base */
	assert_int_equal(OUTCOME_WITH(36, 8), ND_INVALID);
	nd_buf_reset(&marker);
	nd_buf_bytes(&marker, golden_outcome, sizeof(golden_outcome));
	nd_buf_u8(&marker, 0);
	assert_int_equal(entry_decode(marker.data, marker.len, &h), ND_INVALID);	/* something behind it */

	/* a read base without reads */
	nd_buf_reset(&buf);
	assert_int_equal(entry_encode_txn(&buf, 7, (TxnId) {2, 3, 4}, 5, keys, 1, 0, NULL, 0, NULL, 0), ND_OK);
	assert_int_equal(entry_decode(buf.data, buf.len, &part), ND_OK);
	nd_buf_reset(&marker);
	assert_int_equal(entry_encode_marker(&marker, &part, 9, 6, groups, 3), ND_OK);
	assert_int_equal(entry_decode(marker.data, marker.len, &h), ND_OK);
	marker.data[59] = 1;
	assert_int_equal(entry_decode(marker.data, marker.len, &h), ND_INVALID);
	/* more groups than there may be; ids above 32 bits */
	nd_buf_reset(&marker);
	nd_buf_bytes(&marker, golden_outcome, 44);
	nd_buf_varint(&marker, ENTRY_GROUPS_MAX + 1);
	assert_int_equal(entry_decode(marker.data, marker.len, &h), ND_INVALID);
	marker.len = 44;
	nd_buf_varint(&marker, 1);
	nd_buf_varint(&marker, UINT64_C(1) << 32);
	nd_buf_u64(&marker, 8);
	assert_int_equal(entry_decode(marker.data, marker.len, &h), ND_INVALID);
	nd_buf_free(&buf);
	nd_buf_free(&marker);
}

static void chunk_index_overflows(void **state)
{
	NdBuf		buf;
	EntryHeader h;

	(void) state;
	nd_buf_init(&buf);
	nd_buf_bytes(&buf, golden, GOLDEN_KEYS_AT);
	nd_buf_varint(&buf, 0);
	nd_buf_varint(&buf, 2);
	nd_buf_varint(&buf, UINT64_MAX);
	nd_buf_varint(&buf, 1);
	assert_int_equal(entry_decode(buf.data, buf.len, &h), ND_INVALID);
	nd_buf_free(&buf);
}

static void encode_refuses(void **state)
{
	EntryKey	bad_mode = {1, 16};
	const uint64_t zero[] = {0};
	const uint64_t twice[] = {3, 3};
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(entry_encode_header(&buf, ENTRY_TXN, 0, (TxnId) {1, 1, 1}, 0, &bad_mode, 1, NULL, 0), ND_INVALID);
	assert_int_equal(entry_encode_header(&buf, ENTRY_TXN, 0, (TxnId) {1, 1, 1}, 0, NULL, 0, zero, 1), ND_INVALID);
	assert_int_equal(entry_encode_header(&buf, ENTRY_TXN, 0, (TxnId) {1, 1, 1}, 0, NULL, 0, twice, 2), ND_INVALID);
	buf.failed = true;
	assert_int_equal(entry_encode_header(&buf, ENTRY_TXN, 0, (TxnId) {1, 1, 1}, 0, NULL, 0, NULL, 0), ND_NOMEM);
	nd_buf_free(&buf);
}

/* What decodes, encodes to the same bytes: there is one form per header. Single-byte damage over the whole golden entry. */
static void accepted_bytes_are_canonical(void **state)
{
	int			accepted = 0;

	(void) state;
	for (size_t at = 0; at < GOLDEN_HEADER_LEN; at++)
		for (int byte = 0; byte < 256; byte++)
		{
			uint8_t		copy[sizeof(golden)];
			EntryHeader h;
			EntryKey	keys[4];
			uint64_t	chunks[8];
			NdBuf		buf;

			memcpy(copy, golden, sizeof(golden));
			copy[at] = (uint8_t) byte;
			if (entry_decode(copy, sizeof(copy), &h) != ND_OK)
				continue;
			accepted++;
			assert_true(h.n_keys <= 4 && h.n_chunks <= 8);
			for (uint32_t i = 0; i < h.n_keys; i++)
				keys[i] = entry_key(&h, i);
			entry_chunks(&h, chunks);
			nd_buf_init(&buf);
			assert_int_equal(entry_encode_header(&buf, h.kind, h.flags, h.txn, h.base, keys, h.n_keys, chunks, h.n_chunks), ND_OK);
			nd_buf_bytes(&buf, h.body, h.body_len);
			assert_int_equal(buf.len, sizeof(copy));
			assert_memory_equal(buf.data, copy, sizeof(copy));
			nd_buf_free(&buf);
		}
	assert_true(accepted > 1000);
}

static void conflict_tables(void **state)
{
	/* rows and columns in the order of the modes; X: conflict */
	static const char *const row[4] = {
		"...X",
		"..XX",
		".XXX",
		"XXXX"
	};
	static const char *const relation[8] = {
		".......X",
		"......XX",
		"....XXXX",
		"...XXXXX",
		"..XX.XXX",
		"..XXXXXX",
		".XXXXXXX",
		"XXXXXXXX"
	};

	(void) state;
	for (uint8_t a = 0; a < 4; a++)
		for (uint8_t b = 0; b < 4; b++)
			assert_int_equal(key_modes_conflict(a, b), row[a][b] == 'X');
	for (uint8_t a = 0; a < 8; a++)
		for (uint8_t b = 0; b < 8; b++)
			assert_int_equal(key_modes_conflict(a + 17, b + 17), relation[a][b] == 'X');
	for (int a = 0; a < 256; a++)
		for (int b = 0; b < 256; b++)
		{
			bool		a_row = a < 4;
			bool		b_row = b < 4;
			bool		a_rel = a >= 17 && a <= 24;
			bool		b_rel = b >= 17 && b <= 24;

			if (!(a_row && b_row) && !(a_rel && b_rel))
				assert_false(key_modes_conflict((uint8_t) a, (uint8_t) b));
		}
}

static void txnid_order(void **state)
{
	(void) state;
	assert_int_equal(txnid_compare((TxnId) {1, 2, 3}, (TxnId) {1, 2, 3}), 0);
	assert_true(txnid_compare((TxnId) {1, 9, 9}, (TxnId) {2, 1, 1}) < 0);
	assert_true(txnid_compare((TxnId) {2, 1, 9}, (TxnId) {2, 2, 1}) < 0);
	assert_true(txnid_compare((TxnId) {2, 2, 2}, (TxnId) {2, 2, 1}) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(golden_decodes),
		cmocka_unit_test(reads),
		cmocka_unit_test(every_cut_of_the_header_is_invalid),
		cmocka_unit_test(marker_and_outcome),
		cmocka_unit_test(malformed),
		cmocka_unit_test(chunk_index_overflows),
		cmocka_unit_test(encode_refuses),
		cmocka_unit_test(accepted_bytes_are_canonical),
		cmocka_unit_test(conflict_tables),
		cmocka_unit_test(txnid_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
