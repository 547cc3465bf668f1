/*
 * store_read.c: records back to the caller: from the cache, from parts that are not durable yet, else from the files.
 *
 * Bytes that come from a file are believed only after their checksum, and their group, index and term, were compared.
 */
#include "store_internal.h"

#include "../core/base/mutant.h"

#include <string.h>

uint64_t store_first_index(const Store *s, NdGroupId group)
{
	const StoreGroup *g = store__group_find(s, group);

	return g ? g->first_index : 0;
}

uint64_t store_last_index(const Store *s, NdGroupId group)
{
	const StoreGroup *g = store__group_find(s, group);

	return g ? g->last_index : 0;
}

uint64_t store_term(const Store *s, NdGroupId group, uint64_t index)
{
	const StoreGroup *g = store__group_find(s, group);

	return g ? store__group_term(g, index) : 0;
}

NdStatus store_position(const Store *s, NdGroupId group, uint64_t index, StorePosition *out)
{
	const StoreGroup *g = store__group_find(s, group);
	const StoreSlot *slot;

	if (g == NULL)
		return ND_NOTFOUND;
	if (index < g->first_index)
		return ND_COMPACTED;
	slot = store__group_slot(g, index);
	if (slot == NULL)
		return ND_NOTFOUND;
	out->segment = slot->segment;
	out->offset = (uint64_t) slot->offset8 * 8;
	out->len = slot->len;
	return ND_OK;
}

NdStatus store__read_record(Store *s, const StoreSlot *at, StoreRecord *r, NdBlob **payload)
{
	const uint8_t *bytes = store__buffered(s, at);
	uint64_t	offset = (uint64_t) at->offset8 * 8;
	StoreSegment *segment = store__segment_find(s, at->segment);
	NdStatus	st = ND_OK;
	VfsFile    *f;
	size_t		got;

	if (segment == NULL)
		return ND_DAMAGED;
	if (bytes == NULL)
	{
		nd_buf_reset(&s->scratch);
		if (s->scratch.cap < at->len)
		{
			uint8_t    *grown = nd_realloc(s->scratch.data, at->len);

			if (grown == NULL)
				return ND_NOMEM;
			s->scratch.data = grown;
			s->scratch.cap = at->len;
		}
		st = store__segment_open(s, segment, &f);
		if (st == ND_OK)
			st = s->vfs->ops->read(s->vfs, f, offset, s->scratch.data, at->len, &got);
		if (st == ND_DAMAGED)
			return store__damaged(s, at->segment, 0, st, "the file is gone");
		if (st == ND_NOMEM)
			return st;
		if (st != ND_OK)
			return store__damaged(s, at->segment, offset, ND_IO, "could not be read");
		if (got < at->len)
			return store__damaged(s, at->segment, offset, ND_DAMAGED, "the file ends");
		bytes = s->scratch.data;
	}
	if (MUTANT(STORE_READ_UNVERIFIED) ? !store__record_peek(bytes, at->len, r) : !store__record_verify(bytes, at->len, segment->number, offset, r))
		return store__damaged(s, at->segment, offset, ND_DAMAGED, "damaged record");
	*payload = nd_blob_new(bytes + STORE_RECORD_HEADER, r->payload_len);
	return *payload ? ND_OK : ND_NOMEM;
}

/* An entry with a reference to its payload for the caller. */
static NdStatus read_entry(Store *s, const StoreGroup *g, uint64_t index, RaftEntry *out)
{
	const StoreSlot *slot = store__group_slot(g, index);
	StoreRecord r;
	NdStatus	st;

	out->index = index;
	out->term = store__group_term(g, index);
	out->kind = (RaftEntryKind) slot->kind;
	if (store__group_cached(g, index, &out->payload))
	{
		nd_blob_ref(out->payload);
		return ND_OK;
	}
	if (slot->len == STORE_RECORD_HEADER)
	{
		out->payload = NULL;	/* empty, and its header was checked when it was recovered or written */
		return ND_OK;
	}
	st = store__read_record(s, slot, &r, &out->payload);
	if (st == ND_OK && (r.kind != STORE_ENTRY || r.group != g->id || r.index != index || r.term != out->term))
	{
		nd_blob_unref(out->payload);
		st = store__damaged(s, slot->segment, (uint64_t) slot->offset8 * 8, ND_DAMAGED, "another record than was written");
	}
	return st;
}

NdStatus store_entries(Store *s, NdGroupId group, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t out_cap, uint32_t *n)
{
	const StoreGroup *g = store__group_find(s, group);
	uint64_t	bytes = 0;

	*n = 0;
	if (s->failed != ND_OK)
		return s->failed;
	if (g == NULL)
		return ND_NOTFOUND;
	if (lo < g->first_index)
		return ND_COMPACTED;
	if (lo > hi || hi > g->last_index + 1)
		return ND_INVALID;
	for (uint64_t index = lo; index < hi && *n < out_cap; index++)
	{
		uint64_t	len = store__group_slot(g, index)->len - STORE_RECORD_HEADER;
		NdStatus	st;

		if (*n > 0 && bytes + len > bytes_max)
			break;
		st = read_entry(s, g, index, &out[*n]);
		if (st != ND_OK)
		{
			while (*n > 0)
				nd_blob_unref(out[--*n].payload);
			return st;
		}
		bytes += len;
		++*n;
	}
	return ND_OK;
}

NdStatus store_read_checkpoint(Store *s, NdGroupId group, uint64_t *index, NdBuf *out)
{
	const StoreGroup *g = store__group_find(s, group);
	StoreRecord r;
	NdBlob	   *payload;
	NdStatus	st;

	if (s->failed != ND_OK)
		return s->failed;
	if (g == NULL || !g->has_checkpoint)
		return ND_NOTFOUND;
	st = store__read_record(s, &g->checkpoint, &r, &payload);
	if (st != ND_OK)
		return st;
	if (r.kind != STORE_CHECKPOINT || r.group != group || r.index != g->checkpoint_index)
		st = store__damaged(s, g->checkpoint.segment, (uint64_t) g->checkpoint.offset8 * 8, ND_DAMAGED, "another record than was written");
	else
	{
		nd_buf_reset(out);
		nd_buf_bytes(out, payload->data, payload->len);
		*index = r.index;
		st = out->failed ? ND_NOMEM : ND_OK;
	}
	nd_blob_unref(payload);
	return st;
}

/* ---- other processes ---- */

static NdStatus reader_open(StoreReader *reader, uint64_t segment)
{
	char		path[STORE_PATH_MAX];
	NdStatus	st;

	if (reader->file != NULL && reader->segment == segment)
		return ND_OK;
	store_reader_close(reader);
	store__segment_path(reader->dir, segment, "seg", path);
	st = reader->vfs->ops->open(reader->vfs, path, false, &reader->file);
	if (st != ND_OK)
		reader->file = NULL;
	reader->segment = segment;
	return st;
}

/* One look at the place. ND_DAMAGED: something else is there. */
static NdStatus reader_look(StoreReader *reader, StorePosition at, NdGroupId group, uint64_t index, uint64_t term, uint8_t *bytes, StoreRecord *r)
{
	size_t		got;
	NdStatus	st = reader_open(reader, at.segment);

	if (st == ND_OK)
		st = reader->vfs->ops->read(reader->vfs, reader->file, at.offset, bytes, at.len, &got);
	if (st == ND_OK && (got < at.len || !store__record_verify(bytes, at.len, at.segment, at.offset, r) ||
						r->kind != STORE_ENTRY || r->group != group || r->index != index || r->term != term))
		st = ND_DAMAGED;
	return st;
}

NdStatus store_reader_read(StoreReader *reader, StorePosition at, NdGroupId group, uint64_t index, uint64_t term, NdBuf *payload)
{
	bool		was_open = reader->file != NULL;
	StoreRecord r;
	uint8_t    *bytes;
	NdStatus	st;

	if (at.len < STORE_RECORD_HEADER || strlen(reader->dir) + 32 > STORE_PATH_MAX)
		return ND_INVALID;
	bytes = nd_alloc(at.len);
	if (bytes == NULL)
		return ND_NOMEM;
	st = reader_look(reader, at, group, index, term, bytes, &r);
	if (st != ND_OK && st != ND_NOMEM && was_open)
	{
		/* The file that was open may not be the segment any more: it was recycled, and a member that was set up anew has another of this number. */
		store_reader_close(reader);
		st = reader_look(reader, at, group, index, term, bytes, &r);
	}
	if (st == ND_OK)
	{
		nd_buf_reset(payload);
		nd_buf_bytes(payload, bytes + STORE_RECORD_HEADER, r.payload_len);
		st = payload->failed ? ND_NOMEM : ND_OK;
	}
	nd_free(bytes);
	return st;
}

void store_reader_close(StoreReader *reader)
{
	if (reader->file != NULL)
		reader->vfs->ops->close(reader->vfs, reader->file);
	reader->file = NULL;
}

NdStatus store_read_position(Vfs *vfs, const char *dir, StorePosition at, NdGroupId group, uint64_t index, uint64_t term, NdBuf *payload)
{
	StoreReader reader = {.vfs = vfs, .dir = dir};
	NdStatus	st = store_reader_read(&reader, at, group, index, term, payload);

	store_reader_close(&reader);
	return st;
}
