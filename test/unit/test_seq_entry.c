/*
 * test_seq_entry.c: the sequencer's entries have fixed bytes; every malformed one is refused without reading past its end; encoders refuse what decoders would.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "nomem_kit.h"
#include "seq_kit.h"

static const uint8_t golden_votes[] = {0x01, 0x03, 0x02, 0x00, 0x00, 0x00, 0x02, 0x05, 0x01, 0x80, 0x01, 0x00};
static const uint8_t golden_abort[] = {0x01, 0x04, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
static const uint8_t golden_ack[] = {0x01, 0x05, 0x02, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
static const uint8_t golden_request_head[] = {
	0x01, 0x01,
	0x02, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* role */
	0x02,											/* parts */
	0x01, 0x27										/* group 1, 39 bytes */
};
static const uint8_t golden_epoch_head[] = {
	0x01, 0x02,
	0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* epoch */
	0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,	/* time */
	0x01
};

/* All lengths below are refused, and the golden bytes with one byte changed. Copies stand at the end of their memory, for the sanitizers. */
static NdStatus decode_copy(const uint8_t *good, size_t len, size_t at, uint8_t byte)
{
	uint8_t    *copy = malloc(len > 0 ? len : 1);
	SeqEntry	e;
	NdStatus	status;

	memcpy(copy, good, len);
	if (at < len)
		copy[at] = byte;
	status = seq_decode(copy, len, &e);
	free(copy);
	return status;
}
#define WITH(good, at, byte) decode_copy(good, sizeof(good), at, byte)

static void shorter_is_refused(const uint8_t *good, size_t len)
{
	for (size_t n = 0; n < len; n++)
		assert_int_equal(decode_copy(good, n, n, 0), ND_INVALID);
	assert_int_equal(decode_copy(good, len, len, 0), ND_OK);
}

static void votes(void **state)
{
	const SeqVote given[] = {{5, true}, {133, false}};
	SeqWalk		walk = {0};
	SeqVote		vote;
	SeqEntry	e;
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(seq_encode_votes(&buf, 2, given, 2), ND_OK);
	assert_int_equal(buf.len, sizeof(golden_votes));
	assert_memory_equal(buf.data, golden_votes, sizeof(golden_votes));
	assert_int_equal(seq_decode(buf.data, buf.len, &e), ND_OK);
	assert_int_equal(e.kind, SEQ_VOTES);
	assert_int_equal(e.group, 2);
	assert_true(seq_vote(&e, &walk, &vote) && vote.position == 5 && vote.yes);
	assert_true(seq_vote(&e, &walk, &vote) && vote.position == 133 && !vote.yes);
	assert_false(seq_vote(&e, &walk, &vote));
	shorter_is_refused(golden_votes, sizeof(golden_votes));
	assert_int_equal(WITH(golden_votes, 0, 0), ND_INVALID);
	assert_int_equal(WITH(golden_votes, 0, 2), ND_VERSION);
	assert_int_equal(WITH(golden_votes, 1, 0), ND_INVALID);
	assert_int_equal(WITH(golden_votes, 1, 6), ND_INVALID);
	assert_int_equal(WITH(golden_votes, 2, 0), ND_INVALID);		/* group 0 */
	assert_int_equal(WITH(golden_votes, 6, 0), ND_INVALID);
	assert_int_equal(WITH(golden_votes, 6, 1), ND_INVALID);		/* something behind the last one */
	assert_int_equal(WITH(golden_votes, 6, 3), ND_INVALID);
	assert_int_equal(WITH(golden_votes, 7, 0), ND_INVALID);		/* position 0 */
	assert_int_equal(WITH(golden_votes, 8, 2), ND_INVALID);
	assert_int_equal(seq_encode_votes(&buf, 0, given, 2), ND_INVALID);
	assert_int_equal(seq_encode_votes(&buf, 2, given, 0), ND_INVALID);
	assert_int_equal(seq_encode_votes(&buf, 2, (SeqVote[]) {{5, true}, {5, false}}, 2), ND_INVALID);
	/* positions beyond 64 bits */
	nd_buf_reset(&buf);
	nd_buf_bytes(&buf, golden_votes, 7);
	nd_buf_varint(&buf, UINT64_MAX);
	nd_buf_u8(&buf, 1);
	nd_buf_varint(&buf, 1);
	nd_buf_u8(&buf, 1);
	assert_int_equal(seq_decode(buf.data, buf.len, &e), ND_INVALID);
	nd_buf_free(&buf);
}

static void abort_and_ack(void **state)
{
	SeqEntry	e;
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(seq_encode_abort(&buf, 9), ND_OK);
	assert_int_equal(buf.len, sizeof(golden_abort));
	assert_memory_equal(buf.data, golden_abort, sizeof(golden_abort));
	assert_int_equal(seq_decode(buf.data, buf.len, &e), ND_OK);
	assert_int_equal(e.position, 9);
	shorter_is_refused(golden_abort, sizeof(golden_abort));
	assert_int_equal(WITH(golden_abort, 2, 0), ND_INVALID);
	nd_buf_reset(&buf);
	assert_int_equal(seq_encode_ack(&buf, 2, 9), ND_OK);
	assert_int_equal(buf.len, sizeof(golden_ack));
	assert_memory_equal(buf.data, golden_ack, sizeof(golden_ack));
	assert_int_equal(seq_decode(buf.data, buf.len, &e), ND_OK);
	assert_int_equal(e.group, 2);
	assert_int_equal(e.decision, 9);
	shorter_is_refused(golden_ack, sizeof(golden_ack));
	assert_int_equal(WITH(golden_ack, 2, 0), ND_INVALID);
	assert_int_equal(WITH(golden_ack, 6, 0), ND_INVALID);
	nd_buf_u8(&buf, 0);
	assert_int_equal(seq_decode(buf.data, buf.len, &e), ND_INVALID);
	assert_int_equal(seq_encode_abort(&buf, 0), ND_INVALID);
	assert_int_equal(seq_encode_ack(&buf, 0, 1), ND_INVALID);
	assert_int_equal(seq_encode_ack(&buf, 1, 0), ND_INVALID);
	nd_buf_free(&buf);
}

static void request_and_epoch(void **state)
{
	const TxnId id = {2, 3, 4};
	NdBlob	   *request = kit_request(id, 42, (KitPart[]) {{1, 5, 7, 0}, {131, 6, 8, 9}}, 2);
	NdBlob	   *epoch = kit_epoch(7, 8, &request, 1);
	SeqWalk		walk = {0};
	SeqEntry	e;
	SeqEntry	inner;
	SeqPart		parts[3];
	EntryHeader h;
	const uint8_t *at;
	uint32_t	len;
	NdBuf		buf;

	(void) state;
	assert_memory_equal(request->data, golden_request_head, sizeof(golden_request_head));
	shorter_is_refused(request->data, request->len);
	assert_int_equal(seq_decode(request->data, request->len, &e), ND_OK);
	assert_int_equal(txnid_compare(e.txn, id), 0);
	assert_int_equal(e.role, 42);
	assert_true(seq_part(&e, &walk, &parts[0]) && seq_part(&e, &walk, &parts[1]));
	assert_false(seq_part(&e, &walk, &parts[2]));
	assert_int_equal(parts[0].group, 1);
	assert_int_equal(parts[1].group, 131);
	assert_int_equal(entry_decode(parts[1].entry, parts[1].len, &h), ND_OK);
	assert_int_equal(h.base, 6);

	assert_memory_equal(epoch->data, golden_epoch_head, sizeof(golden_epoch_head));
	shorter_is_refused(epoch->data, epoch->len);
	assert_int_equal(seq_decode(epoch->data, epoch->len, &e), ND_OK);
	assert_int_equal(e.epoch, 7);
	assert_int_equal(e.time, 8);
	walk = (SeqWalk) {0};
	assert_true(seq_request(&e, &walk, &inner, &at, &len));
	assert_int_equal(len, request->len);
	assert_memory_equal(at, request->data, len);
	assert_false(seq_request(&e, &walk, &inner, &at, &len));

	/* a part of another transaction, or no TXN; groups that do not ascend; too few and too many parts */
	assert_int_equal(decode_copy(request->data, request->len, 2, 9), ND_INVALID);
	assert_int_equal(decode_copy(request->data, request->len, sizeof(golden_request_head) + 1, ENTRY_CHUNK), ND_INVALID);
	assert_int_equal(decode_copy(request->data, request->len, 26, 1), ND_INVALID);
	assert_int_equal(decode_copy(request->data, request->len, 26, 0x7f), ND_INVALID);
	assert_int_equal(decode_copy(request->data, request->len, 27, 0), ND_INVALID);
	nd_buf_init(&buf);
	assert_int_equal(seq_encode_request(&buf, id, 0, parts, 1), ND_INVALID);
	assert_int_equal(seq_encode_request(&buf, id, 0, parts, ENTRY_GROUPS_MAX + 1), ND_INVALID);
	parts[2] = parts[0];
	assert_int_equal(seq_encode_request(&buf, id, 0, parts + 1, 2), ND_INVALID);
	assert_int_equal(seq_encode_request(&buf, (TxnId) {2, 3, 5}, 0, parts, 2), ND_INVALID);
	/* epoch 0, without requests, with an epoch in it */
	assert_int_equal(decode_copy(epoch->data, epoch->len, 2, 0), ND_INVALID);
	assert_int_equal(decode_copy(epoch->data, epoch->len, 18, 0), ND_INVALID);
	assert_int_equal(decode_copy(epoch->data, epoch->len, 19, 0), ND_INVALID);
	assert_int_equal(decode_copy(epoch->data, epoch->len, 21, SEQ_EPOCH), ND_INVALID);
	assert_int_equal(seq_encode_epoch(&buf, 0, 1, (const NdBlob *const *) &request, 1), ND_INVALID);
	assert_int_equal(seq_encode_epoch(&buf, 1, 1, (const NdBlob *const *) &request, 0), ND_INVALID);
	assert_int_equal(seq_encode_epoch(&buf, 1, 1, (const NdBlob *const *) &request, SEQ_EPOCH_REQUESTS_MAX + 1), ND_INVALID);
	nd_buf_free(&buf);
	nd_blob_unref(request);
	nd_blob_unref(epoch);
}

static void without_memory(void **state)
{
	const SeqVote vote = {1, true};
	NdBlob	   *request = kit_pair((TxnId) {1, 1, 1}, 0);
	SeqEntry	e;
	SeqWalk		walk = {0};
	SeqPart		parts[2];
	NdBuf		buf;

	(void) state;
	assert_int_equal(seq_decode(request->data, request->len, &e), ND_OK);
	assert_true(seq_part(&e, &walk, &parts[0]) && seq_part(&e, &walk, &parts[1]));
	nd_buf_init(&buf);
	nomem_fail(1, NOMEM_ALL);
	assert_int_equal(seq_encode_request(&buf, e.txn, 0, parts, 2), ND_NOMEM);
	assert_int_equal(seq_encode_epoch(&buf, 1, 1, (const NdBlob *const *) &request, 1), ND_NOMEM);
	assert_int_equal(seq_encode_votes(&buf, 1, &vote, 1), ND_NOMEM);
	assert_int_equal(seq_encode_abort(&buf, 1), ND_NOMEM);
	assert_int_equal(seq_encode_ack(&buf, 1, 1), ND_NOMEM);
	nomem_fail(0, 0);
	nd_buf_free(&buf);
	nd_blob_unref(request);
	assert_int_equal(nomem_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(votes),
		cmocka_unit_test(abort_and_ack),
		cmocka_unit_test(request_and_epoch),
		cmocka_unit_test(without_memory),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
