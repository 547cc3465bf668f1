/*
 * store_walk.c: see store_walk.h; the argument about what is damage stands in store_format.h.
 *
 * How the end of a segment's data is told from damage: a batch that cannot be read, with a readable one of a later flush behind it in the same
 * segment, or in a later one, was durable once. Between segments the flush numbers go on without a gap, unless segments between them were
 * removed (their numbers are missing then).
 */
#include "store_walk.h"

#include "store_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALK_BYTES (64 * 1024)	/* a multiple of the sector */

struct StoreWalk
{
	Vfs		   *vfs;
	char		dir[STORE_PATH_MAX];
	uint64_t	first;
	uint64_t	last;
	uint64_t   *numbers;		/* ascending */
	uint32_t	n;
	uint32_t	cap;
	bool		failed;			/* listing: no memory */
	uint32_t	at;				/* segment being read */
	VfsFile    *file;			/* NULL: not opened yet */
	uint64_t	bytes;
	uint64_t	offset;			/* next batch */
	/* the batch being read */
	uint8_t    *body;
	uint64_t	body_len;
	uint64_t	body_at;
	uint64_t	body_offset;	/* of its first byte in the segment */
	/* the chain of flushes */
	bool		any;
	uint64_t	seq;			/* of the last good batch */
	uint16_t	part;
	bool		ended;			/* it was its flush's last part */
	uint64_t	seq_segment;
	/* what could not be read and may be a tail: damage if a later flush turns up */
	bool		doubt;
	uint64_t	doubt_segment;
	uint64_t	doubt_offset;
	bool		torn;			/* it has a header of a flush that was to come */
	uint8_t    *buffer;			/* WALK_BYTES */
};

static void take_name(void *arg, const char *name)
{
	StoreWalk  *w = arg;
	uint64_t	number;

	if (!store__segment_number(name, &number) || number < w->first || number > w->last)
		return;
	if (w->n == w->cap)
	{
		uint64_t   *grown = nd_realloc(w->numbers, (w->cap + 64) * sizeof(*grown));

		if (grown == NULL)
		{
			w->failed = true;
			return;
		}
		w->numbers = grown;
		w->cap += 64;
	}
	w->numbers[w->n++] = number;
}

static int compare(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

NdStatus store_walk_open(Vfs *vfs, const char *dir, uint64_t first, uint64_t last, StoreWalk **out)
{
	StoreWalk  *w = nd_zalloc(sizeof(*w));
	NdStatus	status;

	if (w == NULL)
		return ND_NOMEM;
	w->vfs = vfs;
	w->first = first;
	w->last = last;
	w->buffer = nd_alloc(WALK_BYTES);
	status = w->buffer == NULL ? ND_NOMEM : strlen(dir) >= sizeof(w->dir) - 32 ? ND_TOOBIG : ND_OK;
	if (status == ND_OK)
	{
		memcpy(w->dir, dir, strlen(dir) + 1);
		status = vfs->ops->list(vfs, dir, take_name, w);
	}
	if (status == ND_OK && w->failed)
		status = ND_NOMEM;
	if (status == ND_OK && w->n == 0)
		status = ND_NOTFOUND;
	if (status != ND_OK)
	{
		store_walk_close(w);
		return status;
	}
	qsort(w->numbers, w->n, sizeof(*w->numbers), compare);
	*out = w;
	return ND_OK;
}

void store_walk_close(StoreWalk *w)
{
	if (w->file != NULL)
		w->vfs->ops->close(w->vfs, w->file);
	nd_free(w->numbers);
	nd_free(w->body);
	nd_free(w->buffer);
	nd_free(w);
}

static NdStatus tell(StoreWalkItem *item, StoreWalkKind kind, uint64_t segment, uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

static NdStatus tell(StoreWalkItem *item, StoreWalkKind kind, uint64_t segment, uint64_t offset, const char *format, ...)
{
	va_list		args;

	item->kind = kind;
	item->segment = segment;
	item->offset = offset;
	va_start(args, format);
	vsnprintf(item->text, sizeof(item->text), format, args);
	va_end(args);
	return ND_OK;
}

static void end_segment(StoreWalk *w)
{
	w->vfs->ops->close(w->vfs, w->file);
	w->file = NULL;
	w->at++;
}

/* ND_NOTFOUND: the file vanished, as those of a running node may. */
static NdStatus begin_segment(StoreWalk *w, StoreWalkItem *item)
{
	char		path[STORE_PATH_MAX + 32];
	uint8_t		bytes[STORE_SEGMENT_HEADER];
	uint64_t	number = w->numbers[w->at];
	size_t		got = 0;
	NdStatus	status;

	store__segment_path(w->dir, number, "seg", path);
	status = w->vfs->ops->open(w->vfs, path, false, &w->file);
	if (status != ND_OK)
	{
		w->file = NULL;
		return status;
	}
	status = w->vfs->ops->size(w->vfs, w->file, &w->bytes);
	if (status == ND_OK)
		status = w->vfs->ops->read(w->vfs, w->file, 0, bytes, sizeof(bytes), &got);
	if (status != ND_OK)
	{
		w->vfs->ops->close(w->vfs, w->file);
		w->file = NULL;
		return status;
	}
	w->offset = STORE_SEGMENT_HEADER;
	status = got == sizeof(bytes) ? store__segment_header_decode(bytes, &item->header) : ND_DAMAGED;
	if (status != ND_OK || item->header.number != number)
	{
		end_segment(w);
		return tell(item, STORE_WALK_DAMAGE, number, 0, "%s", status == ND_VERSION ? "the segment was written by a newer version" :
					status != ND_OK ? "the segment's header is damaged" : "the segment's header names another segment: a misplaced file");
	}
	item->kind = STORE_WALK_SEGMENT;
	item->segment = number;
	item->offset = 0;
	item->bytes = w->bytes;
	return ND_OK;
}

/* The next sector boundary from `from` on where a batch of a flush later than the last good one begins; 0: none. */
static NdStatus find_later(StoreWalk *w, uint64_t from, uint64_t *found)
{
	*found = 0;
	for (uint64_t offset = from; offset + STORE_BATCH_HEADER <= w->bytes; offset += WALK_BYTES)
	{
		size_t		got = 0;
		NdStatus	status = w->vfs->ops->read(w->vfs, w->file, offset, w->buffer, WALK_BYTES, &got);

		if (status != ND_OK)
			return status;
		for (size_t at = 0; at + STORE_BATCH_HEADER <= got; at += STORE_SECTOR)
		{
			StoreBatchHeader h;

			if (store__batch_header_decode(w->buffer + at, w->numbers[w->at], offset + at, &h) && h.flush_seq > w->seq)
			{
				*found = offset + at;
				return ND_OK;
			}
		}
	}
	return ND_OK;
}

/* A batch that begins at w->offset, with good checksums: its body is read. torn: only its header is good. */
static NdStatus read_batch(StoreWalk *w, StoreBatchHeader *h, bool *good, bool *torn)
{
	uint8_t		bytes[STORE_BATCH_HEADER];
	size_t		got = 0;
	NdStatus	status;

	*good = *torn = false;
	if (w->offset + STORE_BATCH_HEADER > w->bytes)
		return ND_OK;
	status = w->vfs->ops->read(w->vfs, w->file, w->offset, bytes, sizeof(bytes), &got);
	if (status != ND_OK || got < sizeof(bytes) || !store__batch_header_decode(bytes, w->numbers[w->at], w->offset, h) || h->body_len == 0 ||
		h->body_len > w->bytes - w->offset - STORE_BATCH_HEADER)
		return status;
	/* What a recycled file holds of its former life has another segment number; what a torn flush left here has a number that has passed. */
	if (w->any && (h->flush_seq < w->seq || (h->flush_seq == w->seq && (w->ended || h->part != w->part + 1))))
		return ND_OK;
	nd_free(w->body);
	w->body = nd_alloc(h->body_len);
	if (w->body == NULL)
		return ND_NOMEM;
	status = w->vfs->ops->read(w->vfs, w->file, w->offset + STORE_BATCH_HEADER, w->body, h->body_len, &got);
	if (status != ND_OK)
		return status;
	*good = got == h->body_len && nd_checksum(w->body, h->body_len, h->flush_seq) == h->body_checksum;
	*torn = !*good;
	return ND_OK;
}

static NdStatus next_record(StoreWalk *w, StoreWalkItem *item)
{
	uint64_t	left = w->body_len - w->body_at;
	uint64_t	segment = w->numbers[w->at];
	uint64_t	offset = w->body_offset + w->body_at;

	if (!store__record_peek(w->body + w->body_at, left, &item->record) ||
		!store__record_verify(w->body + w->body_at, STORE_RECORD_HEADER + (uint64_t) item->record.payload_len, segment, offset, &item->record))
	{
		w->body_at = w->body_len;
		return tell(item, STORE_WALK_DAMAGE, segment, offset, "a record that cannot be, below good checksums of its batch");
	}
	item->kind = STORE_WALK_RECORD;
	item->segment = segment;
	item->offset = offset;
	item->payload = w->body + w->body_at + STORE_RECORD_HEADER;
	item->bytes = store__record_bytes(item->record.payload_len);
	w->body_at += item->bytes;
	return ND_OK;
}

/* Does this batch follow on what was seen? Else *item tells what is missing, once. */
static bool follows(StoreWalk *w, const StoreBatchHeader *h, StoreWalkItem *item)
{
	uint64_t	segment = w->numbers[w->at];
	bool		removed = segment > w->seq_segment + 1;	/* segments in between, without live entries */
	bool		missing;

	if (!w->any)
		missing = w->doubt && w->doubt_segment == segment;
	else
		missing = !removed && h->flush_seq > w->seq && (h->flush_seq > w->seq + 1 || h->part > 0 || !w->ended);
	if (!missing)
		return true;
	w->any = false;				/* said: the chain begins anew */
	tell(item, STORE_WALK_DAMAGE, w->doubt ? w->doubt_segment : segment, w->doubt ? w->doubt_offset : w->offset,
		 "damaged: what lies between flush %llu and flush %llu cannot be read", (unsigned long long) w->seq, (unsigned long long) h->flush_seq);
	w->doubt = false;
	return false;
}

static NdStatus next_batch(StoreWalk *w, StoreWalkItem *item)
{
	StoreBatchHeader h;
	uint64_t	later;
	bool		good;
	bool		torn;
	NdStatus	status = read_batch(w, &h, &good, &torn);

	if (status != ND_OK)
		return status;
	if (good)
	{
		if (!follows(w, &h, item))
			return ND_OK;
		w->any = true;
		w->doubt = false;
		w->seq = h.flush_seq;
		w->part = h.part;
		w->ended = h.flags & STORE_BATCH_LAST;
		w->seq_segment = w->numbers[w->at];
		item->kind = STORE_WALK_BATCH;
		item->segment = w->numbers[w->at];
		item->offset = w->offset;
		item->batch = h;
		item->bytes = store__round_up(STORE_BATCH_HEADER + h.body_len, STORE_SECTOR);
		w->body_len = h.body_len;
		w->body_at = 0;
		w->body_offset = w->offset + STORE_BATCH_HEADER;
		w->offset += item->bytes;
		return ND_OK;
	}
	status = find_later(w, w->offset, &later);
	if (status != ND_OK)
		return status;
	if (later == w->offset)
		/* The header is good and its body is not. */
		status = find_later(w, w->offset + STORE_SECTOR, &later);
	if (status != ND_OK)
		return status;
	/* The end of one segment's data is no damage by itself, but every segment begins with a batch. */
	if (!w->doubt || (w->offset == STORE_SEGMENT_HEADER && !w->torn))
	{
		w->doubt = true;
		w->doubt_segment = w->numbers[w->at];
		w->doubt_offset = w->offset;
		w->torn = torn;
	}
	if (later == 0)
		end_segment(w);
	else
		w->offset = later;
	item->kind = STORE_WALK_END;	/* nothing to tell yet */
	return ND_OK;
}

NdStatus store_walk_next(StoreWalk *w, StoreWalkItem *item)
{
	NdStatus	status;

	memset(item, 0, sizeof(*item));
	for (;;)
	{
		if (w->file != NULL && w->body_at < w->body_len)
			return next_record(w, item);
		if (w->at == w->n && w->doubt && w->torn)
		{
			w->doubt = false;
			return tell(item, STORE_WALK_TAIL, w->doubt_segment, w->doubt_offset, "the flush behind flush %llu was never finished: it counts for nothing",
						(unsigned long long) w->seq);
		}
		if (w->at == w->n)
			break;
		if (w->file == NULL)
		{
			status = begin_segment(w, item);
			if (status != ND_NOTFOUND)
				return status;
			w->at++;
			continue;
		}
		w->body_len = w->body_at = 0;
		status = next_batch(w, item);
		if (status != ND_OK || item->kind != STORE_WALK_END)
			return status;
	}
	item->kind = STORE_WALK_END;
	return ND_OK;
}
