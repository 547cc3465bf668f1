/*
 * fuzz_seq_restore.c: any bytes, with their checksum made good, through sequencer_restore(). What is accepted must save to the same bytes, and must go on: the tail of
 * the input that is not a checkpoint is a list of entries for it.
 *
 * Input: u16 length of the checkpoint without its checksum, the checkpoint, then entries, each u8 length and its bytes.
 */
#include "../../src/core/sequencer/sequencer.h"

#include "fuzz.h"

static void apply(Sequencer *s, NdReader *r)
{
	while (nd_reader_left(r) > 0)
	{
		size_t		len = nd_read_u8(r);
		const uint8_t *bytes = nd_read_bytes(r, len);

		if (bytes != NULL && sequencer_last_index(s) < UINT64_MAX)
			(void) sequencer_apply(s, sequencer_last_index(s) + 1, bytes, len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NdReader	r;
	NdBuf		in;
	NdBuf		out;
	const uint8_t *checkpoint;
	size_t		len;
	Sequencer  *s;

	nd_reader_init(&r, data, size);
	len = nd_read_u16(&r);
	checkpoint = nd_read_bytes(&r, len);
	if (checkpoint == NULL)
		return 0;
	nd_buf_init(&in);
	nd_buf_init(&out);
	nd_buf_bytes(&in, checkpoint, len);
	nd_buf_u64(&in, nd_checksum(checkpoint, len, 0));
	if (sequencer_restore(in.data, in.len, &s) == ND_OK)
	{
		MUST(sequencer_save(s, &out) == ND_OK);
		MUST_EQUAL(out.data, out.len, in.data, in.len);
		apply(s, &r);
		sequencer_destroy(s);
	}
	nd_buf_free(&in);
	nd_buf_free(&out);
	return 0;
}
