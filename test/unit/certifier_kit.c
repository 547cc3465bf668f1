/*
 * certifier_kit.c: see certifier_kit.h.
 */
#include "certifier_kit.h"

#include "nomem_kit.h"

bool kit_is_lost(const Certifier *c, KitEntry *e, Verdict *v)
{
	NdBuf		buf;
	EntryHeader h;
	bool		lost;

	nd_buf_init(&buf);
	lost = entry_encode_txn(&buf, e->flags, e->txn, e->base, e->keys, e->n_keys, e->read_base, e->reads, e->n_reads, e->chunks, e->n_chunks) == ND_OK &&
		entry_decode(buf.data, buf.len, &h) == ND_OK && certifier_is_lost(c, &h, v);
	nd_buf_free(&buf);
	return lost;
}

NdStatus kit_certify(Certifier *c, uint64_t index, KitEntry *e, Verdict *v)
{
	static const NdGroupId groups[] = {1, 2};
	NdBuf		buf;
	NdBuf		part;
	EntryHeader h;
	NdStatus	status;

	nomem_pause(true);
	nd_buf_init(&buf);
	nd_buf_init(&part);
	if (e->kind == ENTRY_MARKER)
	{
		status = entry_encode_txn(&part, e->flags, e->txn, e->base, e->keys, e->n_keys, e->read_base, e->reads, e->n_reads, e->chunks, e->n_chunks);
		if (status == ND_OK)
			status = entry_decode(part.data, part.len, &h);
		if (status == ND_OK)
			status = entry_encode_marker(&buf, &h, e->position, e->previous, groups, 2);
	}
	else if (e->kind == ENTRY_OUTCOME)
		status = entry_encode_outcome(&buf, e->txn, e->flags != 0, e->position, e->decision, e->previous, groups, 2);
	else if (e->kind == ENTRY_TXN)
		status = entry_encode_txn(&buf, e->flags, e->txn, e->base, e->keys, e->n_keys, e->read_base, e->reads, e->n_reads, e->chunks, e->n_chunks);
	else
		status = entry_encode_header(&buf, e->kind, e->flags, e->txn, e->base, e->keys, e->n_keys, e->chunks, e->n_chunks);
	if (status == ND_OK && e->waits)
		nd_buf_varint(&buf, e->age);
	if (status == ND_OK)
		status = entry_decode(buf.data, buf.len, &h);
	if (status == ND_OK)
	{
		nomem_pause(false);
		status = certifier_certify(c, index, &h, v);
		nomem_pause(true);
	}
	nd_buf_free(&buf);
	nd_buf_free(&part);
	nomem_pause(false);
	return status;
}
