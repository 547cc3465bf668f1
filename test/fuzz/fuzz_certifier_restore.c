/*
 * fuzz_certifier_restore.c: any bytes, with their checksum made good, through certifier_restore(). What is accepted must save to the same
 * bytes, if it is of the newest version, and must judge: the tail of the input that is not a checkpoint is a list of entries for it.
 *
 * Input: u16 length of the checkpoint without its checksum, the checkpoint, then entries, each u8 length and its bytes.
 */
#include "../../src/core/certifier/certifier.h"

#include "fuzz.h"

static void judge(Certifier *c, NdReader *r)
{
	while (nd_reader_left(r) > 0)
	{
		size_t		len = nd_read_u8(r);
		const uint8_t *bytes = nd_read_bytes(r, len);
		EntryHeader h;
		Verdict		v;

		if (bytes != NULL && entry_decode(bytes, len, &h) == ND_OK)
			(void) certifier_certify(c, certifier_last_index(c) + 1, &h, &v);
	}
}

static void save(const Certifier *c, NdBuf *out)
{
	nd_buf_reset(out);
	MUST(certifier_save(c, out) == ND_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NdReader	r;
	NdBuf		in;
	NdBuf		out;
	const uint8_t *checkpoint;
	size_t		len;
	Certifier  *c;
	Certifier  *again;

	nd_reader_init(&r, data, size);
	len = nd_read_u16(&r);
	checkpoint = nd_read_bytes(&r, len);
	if (checkpoint == NULL)
		return 0;
	nd_buf_init(&in);
	nd_buf_init(&out);
	nd_buf_bytes(&in, checkpoint, len);
	nd_buf_u64(&in, nd_checksum(checkpoint, len, 0));
	if (certifier_restore(in.data, in.len, &c) == ND_OK)
	{
		save(c, &out);
		if (in.data[4] == out.data[4] && in.data[5] == out.data[5])
			MUST_EQUAL(out.data, out.len, in.data, in.len);
		judge(c, &r);
		/* wherever it went from there is a state as well */
		save(c, &out);
		MUST(certifier_restore(out.data, out.len, &again) == ND_OK);
		save(again, &in);
		MUST_EQUAL(out.data, out.len, in.data, in.len);
		certifier_destroy(again);
		certifier_destroy(c);
	}
	nd_buf_free(&in);
	nd_buf_free(&out);
	return 0;
}
