/*
 * fuzz_seq_state.c: a list of entries through a sequencer, and through a second one that is saved and restored wherever the input says so: both have the same bytes at
 * the end, and the lists of transactions agree with each other all the way.
 *
 * Input: steps: u8 what; 0: restore; 1 to 5: an entry made of small numbers; else u8 length and the entry's own bytes.
 */
#include "../../src/core/sequencer/sequencer.h"

#include "fuzz.h"

#define GROUPS 4
#define REQUESTS_MAX 3

static NdBlob *make_request(NdReader *r)
{
	uint8_t		who = nd_read_u8(r);
	uint8_t		mask = nd_read_u8(r);
	TxnId		txn = {1 + who % 3, 1, 1 + who / 3 % 16};
	SeqPart		parts[GROUPS];
	uint32_t	n = 0;
	NdBuf		entry;
	NdBuf		out;
	NdBlob	   *blob = NULL;

	nd_buf_init(&entry);
	nd_buf_init(&out);
	MUST(entry_encode_txn(&entry, 0, txn, 0, NULL, 0, 0, NULL, 0, NULL, 0) == ND_OK);
	for (uint32_t g = 0; g < GROUPS; g++)
		if (mask >> g & 1)
			parts[n++] = (SeqPart) {g + 1, entry.data, (uint32_t) entry.len};
	if (seq_encode_request(&out, txn, mask, parts, n) == ND_OK)
		blob = nd_blob_new(out.data, (uint32_t) out.len);
	nd_buf_free(&entry);
	nd_buf_free(&out);
	return blob;
}

static bool make_entry(NdReader *r, const Sequencer *s, uint8_t what, NdBuf *out)
{
	NdBlob	   *requests[REQUESTS_MAX];
	uint32_t	n = 0;
	uint8_t		a = nd_read_u8(r);
	uint8_t		b = nd_read_u8(r);
	uint64_t	position = sequencer_position(s) > a / 4u ? sequencer_position(s) - a / 4u : 1;
	NdStatus	status = ND_INVALID;

	nd_buf_reset(out);
	switch (what)
	{
		case 1:
			for (uint32_t i = 0; i <= a % REQUESTS_MAX; i++)
				if ((requests[n] = make_request(r)) != NULL)
					n++;
			status = seq_encode_epoch(out, sequencer_epoch(s) + (b % 8 == 7 ? b % 3 : 1), sequencer_time(s) + b % 4 - (b == 255), (const NdBlob *const *) requests, n);
			for (uint32_t i = 0; i < n; i++)
				nd_blob_unref(requests[i]);
			break;
		case 2:
		case 3:
			status = seq_encode_votes(out, 1 + a % GROUPS, (SeqVote[]) {{position, b % 4 > 0}, {position + 1, b % 4 > 1}}, 1 + b / 128);
			break;
		case 4:
			status = seq_encode_abort(out, position);
			break;
		case 5:
			status = seq_encode_ack(out, 1 + a % GROUPS, 1 + b % (sequencer_decision(s) + 2));
			break;
	}
	return !r->failed && status == ND_OK;
}

static void consistent(const Sequencer *s)
{
	uint32_t	n = 0;
	uint32_t	by_group[GROUPS + 1] = {0};

	for (const SeqTxn *t = sequencer_next(s, 0, 0); t != NULL; t = sequencer_next(s, 0, t->position), n++)
	{
		bool		acked = t->decision > 0;

		MUST(sequencer_at(s, t->position) == t && sequencer_find(s, t->txn) == t);
		MUST((t->decided == SEQ_OPEN) == (t->decision == 0));
		MUST(t->decision == 0 || sequencer_next_decided(s, 0, t->decision - 1) == t);
		for (uint32_t i = 0; i < t->n_parts; i++)
		{
			acked &= sequencer_acked(s, t->parts[i].group) >= t->decision;
			if (t->parts[i].group <= GROUPS)
				by_group[t->parts[i].group]++;
		}
		MUST(!acked);
	}
	MUST(n == sequencer_unfinished(s) && (n == 0) == (sequencer_floor(s) == 0));
	for (NdGroupId g = 1; g <= GROUPS; g++)
		MUST(by_group[g] == sequencer_group_unfinished(s, g));
}

static Sequencer *restored(Sequencer *s, NdBuf *bytes)
{
	Sequencer  *again;

	nd_buf_reset(bytes);
	MUST(sequencer_save(s, bytes) == ND_OK);
	MUST(sequencer_restore(bytes->data, bytes->len, &again) == ND_OK);
	sequencer_destroy(s);
	return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NdReader	r;
	NdBuf		made;
	NdBuf		a_bytes;
	NdBuf		b_bytes;
	Sequencer  *a;
	Sequencer  *b;
	uint64_t	index = 1;

	nd_reader_init(&r, data, size);
	MUST(sequencer_create(&a) == ND_OK && sequencer_create(&b) == ND_OK);
	nd_buf_init(&made);
	nd_buf_init(&a_bytes);
	nd_buf_init(&b_bytes);
	for (uint8_t what = nd_read_u8(&r); !r.failed; what = nd_read_u8(&r), index++)
	{
		const uint8_t *entry = NULL;
		size_t		len = 0;

		if (what == 0)
			b = restored(b, &b_bytes);
		else if (what > 5)
		{
			len = nd_read_u8(&r);
			entry = nd_read_bytes(&r, len);
		}
		else if (make_entry(&r, a, what, &made))
		{
			entry = made.data;
			len = made.len;
		}
		if (entry != NULL)
			MUST(sequencer_apply(a, index, entry, len) == sequencer_apply(b, index, entry, len));
		MUST(sequencer_checksum(a) == sequencer_checksum(b));
		consistent(b);
	}
	MUST(sequencer_save(a, &a_bytes) == ND_OK);
	nd_buf_reset(&b_bytes);
	MUST(sequencer_save(b, &b_bytes) == ND_OK);
	MUST_EQUAL(a_bytes.data, a_bytes.len, b_bytes.data, b_bytes.len);
	sequencer_destroy(a);
	sequencer_destroy(b);
	nd_buf_free(&made);
	nd_buf_free(&a_bytes);
	nd_buf_free(&b_bytes);
	return 0;
}
