/*
 * store_segment.c: the files: names, preparing ahead, recycling, dropping, handles for reading.
 *
 * Owns the segment table and the live counts. A file gets its final name NNNNNNNNNNNNNNNN.seg only when its size and header are durable,
 * so a .seg file with a bad header is always damage; whatever is called .tmp is garbage of a crash.
 * All here is blocking I/O, outside the path of a commit: one segment is prepared ahead, after a flush has finished.
 */
#include "store_internal.h"

#include "../core/base/mutant.h"

#include <stdio.h>
#include <string.h>

void store__segment_path(const char *dir, uint64_t number, const char *suffix, char out[STORE_PATH_MAX])
{
	snprintf(out, STORE_PATH_MAX, "%.980s/%016llx.%.8s", dir, (unsigned long long) number, suffix);
}

bool store__segment_number(const char *name, uint64_t *number)
{
	*number = 0;
	if (strlen(name) != 20 || strcmp(name + 16, ".seg") != 0)
		return false;
	for (int i = 0; i < 16; i++)
	{
		char		c = name[i];

		if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
			return false;
		*number = *number << 4 | (uint64_t) (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return true;
}

/* ---- the table ---- */

StoreSegment *store__segment_find(const Store *s, uint64_t number)
{
	uint32_t	lo = 0;
	uint32_t	hi = s->n_segments;

	while (lo < hi)
	{
		uint32_t	mid = lo + (hi - lo) / 2;

		if (s->segments[mid]->number < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->n_segments && s->segments[lo]->number == number ? s->segments[lo] : NULL;
}

NdStatus store__segment_table_reserve(Store *s)
{
	StoreSegment **grown;

	if (s->n_segments < s->cap_segments)
		return ND_OK;
	grown = nd_realloc(s->segments, (s->cap_segments * 2 + 16) * sizeof(StoreSegment *));
	if (grown == NULL)
		return ND_NOMEM;
	s->segments = grown;
	s->cap_segments = s->cap_segments * 2 + 16;
	return ND_OK;
}

StoreSegment *store__segment_add(Store *s, uint64_t number, uint64_t bytes)
{
	StoreSegment *segment;

	if (store__segment_table_reserve(s) != ND_OK || (segment = nd_zalloc(sizeof(StoreSegment))) == NULL)
		return NULL;
	segment->number = number;
	segment->bytes = bytes;
	s->segments[s->n_segments++] = segment;
	return segment;
}

static void segment_close(Store *s, StoreSegment *segment)
{
	if (segment->file == NULL)
		return;
	s->vfs->ops->close(s->vfs, segment->file);
	segment->file = NULL;
	s->n_open--;
}

/* The segment leaves the table; its file stays as it is. */
static void segment_forget(Store *s, uint32_t at)
{
	StoreSegment *segment = s->segments[at];

	segment_close(s, segment);
	memmove(s->segments + at, s->segments + at + 1, (s->n_segments - at - 1) * sizeof(StoreSegment *));
	s->n_segments--;
	if (at < s->current)
		s->current--;
	nd_free(segment);
}

void store__segments_free(Store *s)
{
	while (s->n_segments > 0)
		segment_forget(s, s->n_segments - 1);
	nd_free(s->segments);
}

uint32_t store__spares(const Store *s)
{
	return s->n_segments == 0 ? 0 : s->n_segments - 1 - s->current;
}

/* ---- handles ---- */

/* Written to now or soon: its handle must stay. */
static bool segment_busy(const Store *s, const StoreSegment *segment)
{
	for (uint32_t k = 0; k < s->flying.n; k++)
		if (s->flying.v[k].segment == segment)
			return true;
	return segment->number >= s->segments[s->current]->number;
}

NdStatus store__segment_open(Store *s, StoreSegment *segment, VfsFile **out)
{
	char		path[STORE_PATH_MAX];
	NdStatus	st;

	segment->used_at = ++s->read_clock;
	if (segment->file == NULL)
	{
		if (s->n_open >= STORE_OPEN_FILES_MAX)
		{
			StoreSegment *oldest = NULL;

			for (uint32_t k = 0; k < s->n_segments; k++)
				if (s->segments[k]->file != NULL && !segment_busy(s, s->segments[k]) &&
					(oldest == NULL || s->segments[k]->used_at < oldest->used_at))
					oldest = s->segments[k];
			if (oldest != NULL)
				segment_close(s, oldest);
		}
		store__segment_path(s->dir, segment->number, "seg", path);
		st = s->vfs->ops->open(s->vfs, path, false, &segment->file);
		if (st != ND_OK)
		{
			segment->file = NULL;
			return st == ND_NOTFOUND ? ND_DAMAGED : st;
		}
		s->n_open++;
	}
	*out = segment->file;
	return ND_OK;
}

/* ---- preparing ---- */

/* A file that cannot be made for lack of space or memory is no failure of the store; anything else is. */
static NdStatus prepare_failed(Store *s, NdStatus st)
{
	if (st == ND_FULL)
		s->disk_full = true;
	else if (st != ND_NOMEM)
		return store__fail(s, ND_IO);
	return st;
}

static NdStatus prepare_file(Store *s, uint64_t number, const char *tmp, bool fresh, VfsFile *f)
{
	const VfsOps *ops = s->vfs->ops;
	uint8_t		bytes[STORE_SEGMENT_HEADER];
	StoreSegmentHeader header = {.format = STORE_FORMAT, .node = s->node, .cluster_id = s->cluster_id, .number = number};
	char		path[STORE_PATH_MAX];
	NdStatus	st = fresh ? ops->allocate(s->vfs, f, s->segment_bytes) : ND_OK;

	store__segment_header_encode(&header, bytes);
	store__segment_path(s->dir, number, "seg", path);
	if (st == ND_OK)
		st = ops->write(s->vfs, f, 0, bytes, sizeof(bytes));
	/* a failed sync is never about space, whatever it says: nobody knows what is on the disk now */
	if (st == ND_OK && !MUTANT(STORE_NAME_FIRST) && ops->sync(s->vfs, f) != ND_OK)
		st = ND_IO;
	if (st == ND_OK)
		st = ops->rename(s->vfs, tmp, path);
	if (st == ND_OK && ops->sync_dir(s->vfs, s->dir) != ND_OK)
		st = ND_IO;
	return st;
}

NdStatus store__segment_prepare(Store *s, StoreSegment *recycle)
{
	const VfsOps *ops = s->vfs->ops;
	uint64_t	number = s->n_segments > 0 ? s->segments[s->n_segments - 1]->number + 1 : 1;
	char		tmp[STORE_PATH_MAX];
	char		old[STORE_PATH_MAX];
	StoreSegment *segment = NULL;
	VfsFile    *f = NULL;
	NdStatus	st = ND_OK;

	/* a slot has 32 bits for the number: 4 billion segments are 4 PB at the smallest size in use */
	if (number > UINT32_MAX)
		return prepare_failed(s, ND_FULL);
	if (store__segment_table_reserve(s) != ND_OK || (segment = nd_zalloc(sizeof(StoreSegment))) == NULL)
		return ND_NOMEM;
	store__segment_path(s->dir, number, "tmp", tmp);
	if (recycle != NULL)
	{
		store__segment_path(s->dir, recycle->number, "seg", old);
		for (uint32_t k = 0; k < s->n_segments; k++)
			if (s->segments[k] == recycle)
			{
				segment_forget(s, k);
				break;
			}
		/* the old name must be gone for good before the header says otherwise */
		if (ops->rename(s->vfs, old, tmp) != ND_OK || ops->sync_dir(s->vfs, s->dir) != ND_OK)
			st = ND_IO;
	}
	if (st == ND_OK)
		st = ops->open(s->vfs, tmp, true, &f);
	if (st == ND_OK)
		st = prepare_file(s, number, tmp, recycle == NULL, f);
	if (st != ND_OK)
	{
		if (f != NULL)
		{
			ops->close(s->vfs, f);
			ops->unlink(s->vfs, tmp);
		}
		nd_free(segment);
		return prepare_failed(s, st);
	}
	segment->number = number;
	segment->bytes = s->segment_bytes;
	segment->file = f;
	s->n_open++;
	s->segments[s->n_segments++] = segment;
	s->disk_full = false;
	return ND_OK;
}

NdStatus store__segment_grow(Store *s, StoreSegment *spare, uint64_t bytes)
{
	VfsFile    *f;
	NdStatus	st = store__segment_open(s, spare, &f);

	if (st == ND_OK)
		st = s->vfs->ops->allocate(s->vfs, f, bytes);
	if (st == ND_OK && s->vfs->ops->sync(s->vfs, f) != ND_OK)
		st = ND_IO;
	if (st != ND_OK)
		return prepare_failed(s, st);
	spare->bytes = bytes;
	s->disk_full = false;
	return ND_OK;
}

/* ---- live counts and dropping ---- */

void store__live_add(Store *s, const StoreSlot *at, bool checkpoint)
{
	StoreSegment *segment = store__segment_find(s, at->segment);

	segment->live++;
	if (checkpoint)
	{
		segment->checkpoints++;
		segment->checkpoint_bytes += at->len;
	}
}

void store__live_drop(Store *s, const StoreSlot *at, bool checkpoint)
{
	StoreSegment *segment = store__segment_find(s, at->segment);

	if (checkpoint)
	{
		segment->checkpoints--;
		segment->checkpoint_bytes -= at->len;
	}
	if (--segment->live == 0)
		segment->free_seq = s->gather_seq;
}

/*
 * Checkpoints that alone hold a segment move on, so that the segment may go. Only one segment at a time, and only when they are a small
 * part of it: a segment full of checkpoint would move for ever.
 */
static void move_checkpoints(Store *s)
{
	for (uint32_t k = 0; k < s->current; k++)
	{
		StoreSegment *segment = s->segments[k];

		if (segment->live == 0 || segment->live != segment->checkpoints || segment->checkpoint_bytes > segment->bytes / 4 ||
			segment->first_seq > s->durable_seq)
			continue;
		for (uint32_t j = 0; j < s->n_groups && s->failed == ND_OK; j++)
		{
			StoreGroup *g = s->groups[j];
			StoreRecord r;
			NdBlob	   *payload;

			if (!g->has_checkpoint || g->checkpoint.segment != segment->number ||
				store__read_record(s, &g->checkpoint, &r, &payload) != ND_OK)
				continue;
			store_checkpoint(s, g->id, g->checkpoint_index, payload->data, payload->len);
			nd_blob_unref(payload);
		}
		return;
	}
}

void store__segments_prepare(Store *s)
{
	while (s->failed == ND_OK && store__spares(s) < STORE_SPARES)
		if (store__segment_prepare(s, NULL) != ND_OK)
			break;
	if (store__spares(s) >= STORE_SPARES)
		s->disk_full = false;
}

void store__segment_maintain(Store *s)
{
	uint32_t	k = 0;

	while (k < s->current && s->failed == ND_OK)
	{
		StoreSegment *segment = s->segments[k];
		StoreSegment *next = s->segments[k + 1];

		/* invariant c */
		if ((segment->live > 0 && !MUTANT(STORE_RECYCLE_LIVE)) || (segment->free_seq > s->durable_seq && !MUTANT(STORE_FREE_EARLY)) ||
			(next->first_seq > s->durable_seq && !MUTANT(STORE_SUCCESSOR_UNDURABLE)) || segment_busy(s, segment))
			k++;
		else if (store__spares(s) < STORE_SPARES && segment->bytes == s->segment_bytes)
		{
			if (store__segment_prepare(s, segment) != ND_OK)
				return;
		}
		else
		{
			char		path[STORE_PATH_MAX];

			store__segment_path(s->dir, segment->number, "seg", path);
			segment_forget(s, k);
			if (s->vfs->ops->unlink(s->vfs, path) != ND_OK)
				store__fail(s, ND_IO);
		}
	}
	store__segments_prepare(s);
	if (s->failed == ND_OK)
		move_checkpoints(s);
}
