/*
 * seq_kit.c: see seq_kit.h.
 */
#include "seq_kit.h"

#include <stdlib.h>

#include "nomem_kit.h"

static void must(bool ok)
{
	if (!ok)
		abort();
}

static NdBlob *blob_of(NdBuf *buf)
{
	NdBlob	   *blob = nd_blob_new(buf->data, (uint32_t) buf->len);

	must(blob != NULL);
	nd_buf_free(buf);
	return blob;
}

NdBlob *kit_request(TxnId txn, uint64_t role, const KitPart *parts, uint32_t n)
{
	SeqPart		encoded[KIT_PARTS_MAX];
	NdBuf		entries[KIT_PARTS_MAX];
	NdBuf		buf;
	NdBlob	   *blob;

	nomem_pause(true);
	for (uint32_t i = 0; i < n; i++)
	{
		EntryKey	keys[] = {{parts[i].key, KEY_ROW_UPDATE}};
		EntryKey	reads[] = {{parts[i].read, KEY_ROW_SHARE}};

		nd_buf_init(&entries[i]);
		must(entry_encode_txn(&entries[i], 0, txn, parts[i].base, keys, parts[i].key != 0, parts[i].base, reads, parts[i].read != 0, NULL, 0) == ND_OK);
		encoded[i] = (SeqPart) {parts[i].group, entries[i].data, (uint32_t) entries[i].len};
	}
	nd_buf_init(&buf);
	must(seq_encode_request(&buf, txn, role, encoded, n) == ND_OK);
	blob = blob_of(&buf);
	for (uint32_t i = 0; i < n; i++)
		nd_buf_free(&entries[i]);
	nomem_pause(false);
	return blob;
}

NdBlob *kit_pair(TxnId txn, uint64_t role)
{
	return kit_request(txn, role, (KitPart[]) {{1, 0, 7, 0}, {2, 0, 8, 0}}, 2);
}

NdBlob *kit_epoch(uint64_t epoch, uint64_t time, NdBlob *const *requests, uint32_t n)
{
	NdBuf		buf;
	NdBlob	   *blob;

	nomem_pause(true);
	nd_buf_init(&buf);
	must(seq_encode_epoch(&buf, epoch, time, (const NdBlob *const *) requests, n) == ND_OK);
	blob = blob_of(&buf);
	nomem_pause(false);
	return blob;
}

static NdStatus apply(Sequencer *s, uint64_t index, NdBuf *buf, NdStatus encoded)
{
	NdStatus	status;

	must(encoded == ND_OK);
	nomem_pause(false);
	status = sequencer_apply(s, index, buf->data, buf->len);
	nomem_pause(true);
	nd_buf_free(buf);
	nomem_pause(false);
	return status;
}

NdStatus kit_apply_epoch(Sequencer *s, uint64_t index, uint64_t epoch, uint64_t time, NdBlob *const *requests, uint32_t n)
{
	NdBuf		buf;

	nomem_pause(true);
	nd_buf_init(&buf);
	return apply(s, index, &buf, seq_encode_epoch(&buf, epoch, time, (const NdBlob *const *) requests, n));
}

NdStatus kit_apply_vote(Sequencer *s, uint64_t index, NdGroupId group, uint64_t position, bool yes)
{
	SeqVote		vote = {position, yes};
	NdBuf		buf;

	nomem_pause(true);
	nd_buf_init(&buf);
	return apply(s, index, &buf, seq_encode_votes(&buf, group, &vote, 1));
}

NdStatus kit_apply_abort(Sequencer *s, uint64_t index, uint64_t position)
{
	NdBuf		buf;

	nomem_pause(true);
	nd_buf_init(&buf);
	return apply(s, index, &buf, seq_encode_abort(&buf, position));
}

NdStatus kit_apply_ack(Sequencer *s, uint64_t index, NdGroupId group, uint64_t decision)
{
	NdBuf		buf;

	nomem_pause(true);
	nd_buf_init(&buf);
	return apply(s, index, &buf, seq_encode_ack(&buf, group, decision));
}
