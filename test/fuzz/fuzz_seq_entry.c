/*
 * fuzz_seq_entry.c: any bytes through seq_decode(). What is accepted encodes to the same bytes.
 */
#include "../../src/core/wire/seq_entry.h"

#include "fuzz.h"

static void again(const SeqEntry *e, NdBuf *out)
{
	SeqWalk		walk = {0};
	SeqPart    *parts = calloc((size_t) e->n + 1, sizeof(*parts));
	SeqVote    *votes = calloc((size_t) e->n + 1, sizeof(*votes));
	NdBlob	  **requests = calloc((size_t) e->n + 1, sizeof(*requests));
	uint32_t	n = 0;
	const uint8_t *at;
	uint32_t	len;
	SeqEntry	request;
	NdStatus	status = ND_INVALID;

	switch (e->kind)
	{
		case SEQ_REQUEST:
			while (seq_part(e, &walk, &parts[n]))
				n++;
			status = seq_encode_request(out, e->txn, e->role, parts, n);
			break;
		case SEQ_EPOCH:
			while (seq_request(e, &walk, &request, &at, &len))
			{
				SeqEntry	by_number;

				MUST(seq_request_at(e, n, &by_number) && by_number.items == request.items);
				requests[n++] = nd_blob_new(at, len);
			}
			status = seq_encode_epoch(out, e->epoch, e->time, (const NdBlob *const *) requests, n);
			break;
		case SEQ_VOTES:
			while (seq_vote(e, &walk, &votes[n]))
				n++;
			status = seq_encode_votes(out, e->group, votes, n);
			break;
		case SEQ_ABORT:
			status = seq_encode_abort(out, e->position);
			break;
		case SEQ_ACK:
			status = seq_encode_ack(out, e->group, e->decision);
			break;
	}
	MUST(status == ND_OK && n == e->n);
	for (uint32_t i = 0; i < n; i++)
		nd_blob_unref(requests[i]);
	free(parts);
	free(votes);
	free(requests);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SeqEntry	e;
	NdBuf		buf;

	if (seq_decode(data, size, &e) != ND_OK)
		return 0;
	nd_buf_init(&buf);
	again(&e, &buf);
	MUST_EQUAL(buf.data, buf.len, data, size);
	nd_buf_free(&buf);
	return 0;
}
