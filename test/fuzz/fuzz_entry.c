/*
 * fuzz_entry.c: any bytes through entry_decode(): no read past the end, and what is accepted encodes to the same bytes.
 */
#include "../../src/core/wire/entry.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	EntryHeader h;
	EntryKey   *keys;
	EntryKey   *reads;
	NdStatus	status;
	uint64_t   *chunks;
	NdBuf		buf;

	if (entry_decode(data, size, &h) != ND_OK)
		return 0;
	keys = calloc((size_t) h.n_keys + 1, sizeof(EntryKey));
	chunks = calloc((size_t) h.n_chunks + 1, sizeof(uint64_t));
	for (uint32_t i = 0; i < h.n_keys; i++)
		keys[i] = entry_key(&h, i);
	reads = calloc((size_t) h.n_reads + 1, sizeof(EntryKey));
	for (uint32_t i = 0; i < h.n_reads; i++)
		reads[i] = entry_read(&h, i);
	entry_chunks(&h, chunks);
	nd_buf_init(&buf);
	if (h.kind >= ENTRY_MARKER)
	{
		NdGroupId	groups[ENTRY_GROUPS_MAX];
		EntryHeader part = h;

		entry_groups(&h, groups);
		part.kind = ENTRY_TXN;
		status = h.kind == ENTRY_MARKER ? entry_encode_marker(&buf, &part, h.position, h.previous, groups, h.n_groups)
			: entry_encode_outcome(&buf, h.txn, h.flags != 0, h.position, h.decision, h.previous, groups, h.n_groups);
		MUST(status == ND_OK);
		MUST_EQUAL(buf.data, buf.len, data, size);
		nd_buf_free(&buf);
		free(keys);
		free(reads);
		free(chunks);
		return 0;
	}
	status = h.n_reads > 0
		? entry_encode_txn(&buf, h.flags, h.txn, h.base, keys, h.n_keys, h.read_base, reads, h.n_reads, chunks, h.n_chunks)
		: entry_encode_header(&buf, h.kind, h.flags, h.txn, h.base, keys, h.n_keys, chunks, h.n_chunks);
	MUST(status == ND_OK);
	nd_buf_bytes(&buf, h.body, h.body_len);
	MUST_EQUAL(buf.data, buf.len, data, size);
	nd_buf_free(&buf);
	free(keys);
	free(reads);
	free(chunks);
	return 0;
}
