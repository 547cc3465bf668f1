/*
 * store_scrub.c: the scrub (store.h), and what happens when something needed is lost.
 *
 * Unlike recovery the scrub need not guess where the data of a segment end: this process wrote or recovered every batch up to StoreSegment.end. So each
 * sector up to there must belong to a batch, the first one of flush first_seq, the others of one flush more each: a write that was lost, torn
 * or went to another place shows, whatever stands there instead. Spare segments have a header only.
 *
 * What damage means is asked only when some is found: needed() walks the index. Reading goes on behind it, from the next header that can be read.
 */
#include "store_internal.h"

#include "../core/base/mutant.h"

#include <stdio.h>
#include <string.h>

#define FETCH_BYTES (16 * STORE_SCRUB_STEP)	/* the disk is asked ahead for so much */
#define WAITS_MAX 200			/* calls until the disk is asked again: what it brought may have been dropped before it was read */

static void say(Store *s, uint64_t segment, uint64_t offset, const char *what)
{
	char		path[STORE_PATH_MAX];

	store__segment_path(s->dir, segment, "seg", path);
	snprintf(s->damage, sizeof(s->damage), "%s: %s at offset %llu", path, what, (unsigned long long) offset);
	s->damages++;
}

NdStatus store__damaged(Store *s, uint64_t segment, uint64_t offset, NdStatus why, const char *what)
{
	say(s, segment, offset, what);
	if (s->failed == ND_OK)
		s->failed = why;
	return why;
}

void store__scrub_free(Store *s)
{
	nd_free(s->scrub.buffer);
	nd_checksum_free(s->scrub.sum);
}

static bool lies_in(const StoreSlot *at, uint64_t segment, uint64_t from, uint64_t to)
{
	uint64_t	offset = (uint64_t) at->offset8 * 8;

	return at->segment == segment && offset >= from && offset < to;
}

/* Would something be missing, now or at the next start, if this part of the segment was lost? */
static bool needed(const Store *s, const StoreSegment *segment, uint64_t from, uint64_t to)
{
	uint32_t	k = 0;

	while (s->segments[k] != segment)
		k++;
	/* The current one holds the small state of all groups, the spare ones a header that will be needed; the one before until its successor counts. */
	if (k >= s->current || s->segments[k + 1]->end == 0)
		return true;
	if (segment->live == 0)
		return false;
	for (uint32_t j = 0; j < s->n_groups; j++)
	{
		const StoreGroup *g = s->groups[j];

		if (g->has_checkpoint && lies_in(&g->checkpoint, segment->number, from, to))
			return true;
		for (uint64_t index = g->first_index; index <= g->last_index; index++)
			if (lies_in(store__group_slot(g, index), segment->number, from, to))
				return true;
	}
	return false;
}

static NdStatus lost(Store *s, const StoreSegment *segment, uint64_t from, uint64_t to, NdStatus why, const char *what)
{
	if (needed(s, segment, from, to) && !MUTANT(STORE_SCRUB_SHRUGS))
		return store__damaged(s, segment->number, from, why, what);
	say(s, segment->number, from, what);
	return ND_OK;
}

/* ---- where it is ---- */

static void begin_segment(StoreScrub *c, uint64_t number)
{
	c->segment = number;
	c->offset = c->fetched = c->batch_at = c->last_seq = c->lost_from = 0;
	c->seeking = false;
}

/* The segment that it is in, or the next one when that is gone. NULL: the round is over. */
static StoreSegment *place(Store *s)
{
	StoreScrub *c = &s->scrub;

	for (uint32_t k = 0; k < s->n_segments; k++)
		if (s->segments[k]->number >= c->segment)
		{
			if (s->segments[k]->number != c->segment)
				begin_segment(c, s->segments[k]->number);
			return s->segments[k];
		}
	begin_segment(c, 0);
	c->rounds++;
	return NULL;
}

static uint64_t segment_end(const StoreSegment *segment)
{
	return segment->end > 0 ? segment->end : STORE_SEGMENT_HEADER;
}

/* ---- verifying ---- */

static NdStatus end_of_damage(Store *s, const StoreSegment *segment)
{
	StoreScrub *c = &s->scrub;
	uint64_t	from = c->lost_from;

	c->seeking = false;
	c->lost_from = 0;
	return from > 0 ? lost(s, segment, from, c->offset, ND_DAMAGED, "damaged batch") : ND_OK;
}

/* A header, whose sector is at p, that can be the next one of this segment. */
static bool next_header(const StoreScrub *c, const StoreSegment *segment, const uint8_t *p, StoreBatchHeader *h)
{
	if (!store__batch_header_decode(p, segment->number, c->offset, h) || h->body_len == 0 ||
		h->body_len > segment->end - c->offset - STORE_BATCH_HEADER)
		return false;
	if (c->seeking)
		return h->flush_seq > c->last_seq && h->flush_seq >= segment->first_seq;
	return h->flush_seq == (c->last_seq > 0 ? c->last_seq + 1 : segment->first_seq);
}

static NdStatus verify_header(Store *s, const StoreSegment *segment, const uint8_t *p)
{
	StoreSegmentHeader h;

	if (store__segment_header_decode(p, &h) == ND_OK && h.number == segment->number && h.node == s->node && h.cluster_id == s->cluster_id)
		return ND_OK;
	return lost(s, segment, 0, UINT64_MAX, ND_DAMAGED, "damaged segment header");
}

/* One sector behind the segment's header. */
static NdStatus verify_sector(Store *s, const StoreSegment *segment, const uint8_t *p)
{
	StoreScrub *c = &s->scrub;
	size_t		skip = 0;
	size_t		n;

	if (c->batch_at == 0)
	{
		NdStatus	st;

		if (!next_header(c, segment, p, &c->batch))
		{
			if (!c->seeking && !MUTANT(STORE_SCRUB_STOPS))
				c->lost_from = c->offset;
			c->seeking = true;
			return ND_OK;
		}
		st = end_of_damage(s, segment);
		if (st != ND_OK)
			return st;
		c->batch_at = c->offset;
		c->body_left = c->batch.body_len;
		c->last_seq = c->batch.flush_seq;
		nd_checksum_begin(c->sum, c->batch.flush_seq);
		skip = STORE_BATCH_HEADER;
	}
	n = c->body_left < STORE_SECTOR - skip ? (size_t) c->body_left : STORE_SECTOR - skip;
	nd_checksum_add(c->sum, p + skip, n);
	c->body_left -= n;
	if (c->body_left > 0)
		return ND_OK;
	n = c->batch_at;
	c->batch_at = 0;
	if (nd_checksum_end(c->sum) == c->batch.body_checksum || MUTANT(STORE_SCRUB_NO_SUM))
		return ND_OK;
	return lost(s, segment, n, c->offset + STORE_SECTOR, ND_DAMAGED, "damaged batch");
}

static NdStatus verify(Store *s, const StoreSegment *segment, const uint8_t *p, size_t len)
{
	StoreScrub *c = &s->scrub;

	for (; len > 0; p += STORE_SECTOR, len -= STORE_SECTOR)
	{
		NdStatus	st = c->offset == 0 ? verify_header(s, segment, p) : verify_sector(s, segment, p);

		if (st != ND_OK)
			return st;
		c->offset += STORE_SECTOR;
		c->bytes += STORE_SECTOR;
	}
	return ND_OK;
}

/* What the disk refuses to read is lost. */
static NdStatus refused(Store *s, const StoreSegment *segment, size_t len, NdStatus st, const char *what)
{
	StoreScrub *c = &s->scrub;
	uint64_t	from = c->batch_at > 0 ? c->batch_at : c->lost_from > 0 ? c->lost_from : c->offset;

	c->batch_at = c->lost_from = 0;
	c->seeking = true;
	st = lost(s, segment, from, c->offset == 0 ? UINT64_MAX : c->offset + len, st, what);
	c->offset += len;
	c->fetched = 0;
	return st;
}

static NdStatus prepare(StoreScrub *c)
{
	if (c->buffer == NULL)
		c->buffer = nd_alloc(STORE_SCRUB_STEP);
	if (c->sum == NULL)
		c->sum = nd_checksum_new();
	return c->buffer != NULL && c->sum != NULL ? ND_OK : ND_NOMEM;
}

NdStatus store_scrub(Store *s, uint64_t bytes)
{
	StoreScrub *c = &s->scrub;
	StoreSegment *segment;
	VfsFile    *f;
	size_t		len;
	size_t		got = 0;
	NdStatus	st = s->failed != ND_OK ? s->failed : prepare(c);

	if (st != ND_OK)
		return st;
	segment = place(s);
	if (segment == NULL)
		return ND_OK;
	if (c->offset >= segment_end(segment))
	{
		/* damage up to the end of the segment */
		st = end_of_damage(s, segment);
		begin_segment(c, segment->number + 1);
		return st;
	}
	if (bytes > STORE_SCRUB_STEP)
		bytes = STORE_SCRUB_STEP;
	len = (size_t) store__round_up(bytes > 0 ? bytes : 1, STORE_SECTOR);
	if (len > segment_end(segment) - c->offset)
		len = (size_t) (segment_end(segment) - c->offset);
	st = store__segment_open(s, segment, &f);
	if (st == ND_NOMEM)
		return st;
	if (st != ND_OK)
		return refused(s, segment, len, st == ND_DAMAGED ? st : ND_IO, "the file cannot be opened");
	/* what is appended to just now is in the caches for good reason */
	if (c->fetched < len && segment->number < s->segments[s->current]->number)
	{
		c->fetched = segment_end(segment) - c->offset < FETCH_BYTES ? segment_end(segment) - c->offset : FETCH_BYTES;
		c->waits = 0;
		s->vfs->ops->fetch(s->vfs, f, c->offset, (size_t) c->fetched);
		return ND_BUSY;
	}
	st = s->vfs->ops->peek(s->vfs, f, c->offset, c->buffer, len, &got);
	if (st == ND_BUSY)
	{
		if (++c->waits >= WAITS_MAX)
			c->fetched = c->waits = 0;
		return st;
	}
	if (st == ND_NOMEM)
		return st;
	if (st != ND_OK)
		return refused(s, segment, len, ND_IO, "could not be read");
	if (got < len)
		return refused(s, segment, len, ND_DAMAGED, "the file ends");
	c->fetched -= c->fetched < len ? c->fetched : len;
	return verify(s, segment, c->buffer, len);
}
