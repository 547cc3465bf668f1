/*
 * store_recover.c: from the files to memory, once, at open.
 *
 * Three steps. Scan: walk the batches of all segments in order, collect the parts of a flush, apply their records when the last part is
 * there; whatever does not fit is either the torn last flush or damage (the argument stands in store_format.h). Judge: every live entry
 * and checkpoint must have a place. Settle: write the last flush once more; store_open() then ends the log with a flush of its own.
 * Writes nothing before the scan has shown that there is no damage. A crash at any point leaves files of which the same comes out.
 */
#include "store_internal.h"

#include "../core/base/mutant.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SCAN_BYTES (64 * 1024)	/* a multiple of the sector */

typedef struct Staged
{
	StoreSegment *segment;
	uint64_t	offset;			/* of the batch */
	uint8_t    *body;
	uint64_t	len;
} Staged;

typedef struct Scan
{
	Store	   *s;
	char	   *error;
	size_t		error_len;
	uint64_t	good_seq;		/* last complete flush */
	uint32_t	good_segment;	/* where it ends: index into the table */
	uint64_t	good_end;
	bool		any;
	Staged	   *staged;			/* parts of the flush good_seq + 1, or of a later one behind a hole */
	uint32_t	n_staged;
	uint32_t	cap_staged;
	uint64_t	staged_seq;
	uint32_t	next_part;
	bool		must_complete;	/* the staged flush began behind a hole, so it was durable once */
	/* Behind the last batch taken: what is called damaged if a later flush turns up in another segment. */
	StoreSegment *broken;
	uint64_t	broken_at;
	Staged	   *last;			/* parts of the last complete flush, without bodies */
	uint32_t	n_last;
	uint32_t	cap_last;
	uint8_t    *buffer;			/* SCAN_BYTES */
} Scan;

static NdStatus say(Scan *c, NdStatus st, const char *format, ...) __attribute__((format(printf, 3, 4)));

static NdStatus say(Scan *c, NdStatus st, const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	if (c->error_len > 0)
		vsnprintf(c->error, c->error_len, format, args);
	va_end(args);
	return st;
}

static NdStatus damaged(Scan *c, const StoreSegment *segment, uint64_t offset, const char *what)
{
	char		path[STORE_PATH_MAX];

	store__segment_path(c->s->dir, segment->number, "seg", path);
	return say(c, ND_DAMAGED, "%s: %s at offset %llu", path, what, (unsigned long long) offset);
}

static NdStatus cannot_read(Scan *c, const StoreSegment *segment, uint64_t offset, NdStatus st)
{
	char		path[STORE_PATH_MAX];

	store__segment_path(c->s->dir, segment->number, "seg", path);
	return say(c, st, "could not read %s at offset %llu: %s", path, (unsigned long long) offset, nd_status_text(st));
}

static NdStatus read_at(Scan *c, StoreSegment *segment, uint64_t offset, void *out, size_t len)
{
	VfsFile    *f;
	size_t		got = 0;
	NdStatus	st = store__segment_open(c->s, segment, &f);

	if (st == ND_OK)
		st = c->s->vfs->ops->read(c->s->vfs, f, offset, out, len, &got);
	if (st != ND_OK)
		return cannot_read(c, segment, offset, st);
	return got == len ? ND_OK : damaged(c, segment, offset, "the file ends");
}

/* ---- records ---- */

static NdStatus apply_state(Store *s, const StoreRecord *r, const uint8_t *payload)
{
	StoreGroup *g = store__group_find(s, r->group);
	StoreState	state;
	NdStatus	st;

	if (!store__state_decode(payload, r->payload_len, &state))
		return ND_DAMAGED;
	if (g == NULL)
	{
		if (store__group_table_reserve(s) != ND_OK || (g = store__group_new(r->group)) == NULL)
			return ND_NOMEM;
		store__group_insert(s, g);
		store__group_restart(s, g, state.first_index, state.prev_term);
	}
	if (state.first_index < g->first_index)
		store__group_restart(s, g, state.first_index, state.prev_term);
	store__group_cut_prefix(s, g, state.first_index, state.prev_term);
	g->prev_term = state.prev_term;
	store__group_cut_suffix(s, g, state.last_index + 1);
	st = store__group_extend_unknown(g, state.last_index, state.last_term);
	if (st != ND_OK)
		return st;
	g->hard = state.hard;
	if (!state.has_checkpoint)
		store__group_clear_checkpoint(s, g);
	else if (!g->has_checkpoint || g->checkpoint_index != state.checkpoint_index)
		store__group_set_checkpoint(s, g, state.checkpoint_index, (StoreSlot) {0});
	for (uint64_t k = 0; k < state.n_configurations; k++)
	{
		uint64_t	index = nd_read_u64(&state.configurations);
		uint64_t	len = nd_read_varint(&state.configurations);
		const uint8_t *bytes = len <= nd_reader_left(&state.configurations) ? nd_read_bytes(&state.configurations, (size_t) len) : NULL;
		NdBlob	   *encoded;

		if (bytes == NULL || state.configurations.failed)
			return ND_DAMAGED;
		encoded = nd_blob_new(bytes, (uint32_t) len);
		if (encoded == NULL || store__group_reserve(s, g, 0, 0, 1) != ND_OK)
		{
			nd_blob_unref(encoded);
			return ND_NOMEM;
		}
		if (k == 0)
			store__group_set_configuration(g, index, encoded);
		else
			store__group_add_configuration(g, index, encoded);
	}
	return ND_OK;
}

static NdStatus apply_group(Store *s, const StoreRecord *r, const uint8_t *payload)
{
	StoreGroup *g;
	NdBlob	   *encoded;

	if (store__group_find(s, r->group) != NULL)
		return ND_DAMAGED;
	encoded = nd_blob_new(payload, r->payload_len);
	g = store__group_new(r->group);
	if (encoded == NULL || g == NULL || store__group_table_reserve(s) != ND_OK || store__group_reserve(s, g, 0, 0, 1) != ND_OK)
	{
		nd_blob_unref(encoded);
		if (g != NULL)
			store__group_free(s, g);
		return ND_NOMEM;
	}
	store__group_set_configuration(g, r->index, encoded);
	store__group_insert(s, g);
	return ND_OK;
}

static NdStatus apply_entry(Store *s, StoreGroup *g, const StoreRecord *r, const uint8_t *payload, StoreSlot at)
{
	bool		configuration = r->aux == RAFT_ENTRY_CONFIG;
	NdBlob	   *encoded = NULL;

	if (r->index < g->first_index || r->index > g->last_index + 1 || r->term == 0)
		return ND_DAMAGED;
	if (store__group_reserve(s, g, r->index, 1, configuration) != ND_OK)
		return ND_NOMEM;
	if (configuration && (encoded = nd_blob_new(payload, r->payload_len)) == NULL)
		return ND_NOMEM;
	store__group_cut_suffix(s, g, r->index);
	store__group_push(s, g, r->index, r->term, at, NULL, false);
	if (configuration)
		store__group_add_configuration(g, r->index, encoded);
	return ND_OK;
}

static NdStatus apply_configuration(Store *s, StoreGroup *g, const StoreRecord *r, const uint8_t *payload)
{
	NdBlob	   *encoded = nd_blob_new(payload, r->payload_len);

	if (encoded == NULL || store__group_reserve(s, g, 0, 0, 1) != ND_OK)
	{
		nd_blob_unref(encoded);
		return ND_NOMEM;
	}
	store__group_set_configuration(g, r->index, encoded);
	return ND_OK;
}

static NdStatus apply_record(Store *s, const StoreRecord *r, const uint8_t *payload, StoreSlot at)
{
	StoreGroup *g = store__group_find(s, r->group);
	NdReader	reader;

	if (r->kind == STORE_STATE)
		return apply_state(s, r, payload);
	if (r->kind == STORE_GROUP)
		return apply_group(s, r, payload);
	if (r->kind == STORE_OPEN)
		return ND_OK;
	if (g == NULL)
		return ND_DAMAGED;
	switch (r->kind)
	{
		case STORE_ENTRY:
			return apply_entry(s, g, r, payload, at);
		case STORE_HARD:
			nd_reader_init(&reader, payload, r->payload_len);
			g->hard = (RaftHardState) {.term = r->term, .commit = r->index, .vote = nd_read_u32(&reader)};
			return reader.failed ? ND_DAMAGED : ND_OK;
		case STORE_PREFIX:
			if (r->index > g->last_index + 1)
				return ND_DAMAGED;
			store__group_cut_prefix(s, g, r->index, r->term);
			return ND_OK;
		case STORE_SUFFIX:
			if (r->index < g->first_index)
				return ND_DAMAGED;
			store__group_cut_suffix(s, g, r->index);
			return ND_OK;
		case STORE_CHECKPOINT:
			store__group_set_checkpoint(s, g, r->index, at);
			return ND_OK;
		case STORE_RESET:
			if (r->index >= STORE_INDEX_MAX)
				return ND_DAMAGED;
			store__group_restart(s, g, r->index + 1, r->term);
			return ND_OK;
		case STORE_CONFIGURATION:
			return apply_configuration(s, g, r, payload);
		default:
			return ND_DAMAGED;
	}
}

static NdStatus apply_part(Scan *c, const Staged *part)
{
	uint64_t	at = 0;

	while (at < part->len)
	{
		uint64_t	offset = part->offset + STORE_BATCH_HEADER + at;
		StoreRecord r;
		StoreSlot	slot;
		NdStatus	st;

		if (!store__record_peek(part->body + at, part->len - at, &r))
			return damaged(c, part->segment, offset, "a record that cannot be");
		slot.segment = (uint32_t) part->segment->number;
		slot.offset8 = (uint32_t) (offset / 8);
		slot.len = STORE_RECORD_HEADER + r.payload_len;
		slot.kind = r.aux;
		st = apply_record(c->s, &r, part->body + at + STORE_RECORD_HEADER, slot);
		if (st == ND_DAMAGED)
			return damaged(c, part->segment, offset, "a record that cannot be");
		if (st != ND_OK)
			return say(c, st, "could not recover the log: %s", nd_status_text(st));
		at += store__record_bytes(r.payload_len);
	}
	return ND_OK;
}

/* ---- flushes ---- */

static void staged_clear(Scan *c)
{
	for (uint32_t k = 0; k < c->n_staged; k++)
		nd_free(c->staged[k].body);
	c->n_staged = 0;
}

/* The staged flush is complete: apply it, and remember where its parts are. */
static NdStatus staged_apply(Scan *c)
{
	Staged	   *parts = c->staged;
	uint32_t	cap = c->cap_staged;

	for (uint32_t k = 0; k < c->n_staged; k++)
	{
		NdStatus	st = apply_part(c, &parts[k]);

		if (st != ND_OK)
			return st;
		nd_free(parts[k].body);
		parts[k].body = NULL;
	}
	c->good_seq = c->staged_seq;
	c->n_last = c->n_staged;
	c->n_staged = 0;
	c->staged = c->last;
	c->cap_staged = c->cap_last;
	c->last = parts;
	c->cap_last = cap;
	return ND_OK;
}

static NdStatus staged_add(Scan *c, StoreSegment *segment, uint64_t offset, uint8_t *body, uint64_t len)
{
	if (c->n_staged == c->cap_staged)
	{
		Staged	   *grown = nd_realloc(c->staged, (c->cap_staged + 8) * sizeof(Staged));

		if (grown == NULL)
			return say(c, ND_NOMEM, "could not recover the log: out of memory");
		c->staged = grown;
		c->cap_staged += 8;
	}
	c->staged[c->n_staged++] = (Staged) {segment, offset, body, len};
	return ND_OK;
}

/* The flush that a crash may have torn. */
static uint64_t torn_seq(const Scan *c)
{
	return c->n_staged > 0 ? c->staged_seq : c->good_seq + 1;
}

/* Does this header continue the chain? behind_hole: the segments before this one were dropped, so anything later does. */
static bool continues(const Scan *c, const StoreBatchHeader *h, bool behind_hole)
{
	if (MUTANT(STORE_STALE_RECORDS) && c->n_staged == 0 && h->part == 0)
		return true;
	if (c->n_staged > 0 && h->flush_seq == c->staged_seq && (h->part == c->next_part || (behind_hole && h->part > c->next_part)))
		return true;
	if (behind_hole)
		return h->flush_seq > torn_seq(c) - (c->n_staged == 0);
	return c->n_staged == 0 && h->flush_seq == c->good_seq + 1 && h->part == 0;
}

/* Headers of this segment at sector boundaries from offset on, where a batch cannot be read: is one of a flush later than the torn one? */
static NdStatus scan_rest(Scan *c, StoreSegment *segment, uint64_t offset)
{
	uint64_t	from = offset;

	for (; offset + STORE_BATCH_HEADER <= segment->bytes; offset += SCAN_BYTES)
	{
		size_t		len = segment->bytes - offset < SCAN_BYTES ? (size_t) (segment->bytes - offset) : SCAN_BYTES;
		NdStatus	st = read_at(c, segment, offset, c->buffer, len);

		if (st != ND_OK)
			return st;
		for (size_t at = 0; at + STORE_BATCH_HEADER <= len; at += STORE_SECTOR)
		{
			StoreBatchHeader h;

			if (store__batch_header_decode(c->buffer + at, segment->number, offset + at, &h) && h.flush_seq > torn_seq(c) &&
				!MUTANT(STORE_CUT_DAMAGE))
				return damaged(c, segment, from, "damaged batch");
		}
	}
	return ND_OK;
}

static NdStatus scan_segment(Scan *c, uint32_t k)
{
	StoreSegment *segment = c->s->segments[k];
	uint64_t	before = k > 0 ? c->s->segments[k - 1]->number : 0;
	bool		behind_hole = segment->number != before + 1;
	uint64_t	offset = STORE_SEGMENT_HEADER;
	NdStatus	st;

	while (offset + STORE_BATCH_HEADER <= segment->bytes)
	{
		uint8_t		bytes[STORE_BATCH_HEADER];
		StoreBatchHeader h;
		uint8_t    *body;

		st = read_at(c, segment, offset, bytes, sizeof(bytes));
		if (st != ND_OK)
			return st;
		if (!store__batch_header_decode(bytes, segment->number, offset, &h) || h.body_len == 0 ||
			h.body_len > segment->bytes - offset - STORE_BATCH_HEADER)
			break;
		if (!continues(c, &h, behind_hole))
		{
			if (h.flush_seq > torn_seq(c) && !MUTANT(STORE_CUT_DAMAGE))
				return damaged(c, c->broken ? c->broken : segment, c->broken ? c->broken_at : offset, "damaged batch");
			break;
		}
		body = nd_alloc(h.body_len);
		if (body == NULL)
			return say(c, ND_NOMEM, "could not recover the log: out of memory");
		st = read_at(c, segment, offset + STORE_BATCH_HEADER, body, h.body_len);
		if (st != ND_OK || (nd_checksum(body, h.body_len, h.flush_seq) != h.body_checksum && !MUTANT(STORE_BODY_UNCHECKED)))
		{
			nd_free(body);
			if (st != ND_OK)
				return st;
			break;
		}
		/* behind a hole, what was staged was once complete: a part of a flush goes only when the flush is durable */
		if (c->n_staged > 0 && h.flush_seq != c->staged_seq)
			st = staged_apply(c);
		if (st == ND_OK)
			st = staged_add(c, segment, offset, body, h.body_len);
		if (st != ND_OK)
		{
			nd_free(body);
			return st;
		}
		if (segment->first_seq == 0)
			segment->first_seq = h.flush_seq;
		c->must_complete = c->must_complete || behind_hole;
		behind_hole = false;
		c->staged_seq = h.flush_seq;
		c->next_part = h.part + 1u;
		offset = store__round_up(offset + STORE_BATCH_HEADER + h.body_len, STORE_SECTOR);
		segment->end = offset;
		c->broken = segment;
		c->broken_at = offset;
		if ((h.flags & STORE_BATCH_LAST) != 0)
		{
			st = staged_apply(c);
			if (st != ND_OK)
				return st;
			c->any = true;
			c->must_complete = false;
			c->good_segment = k;
			c->good_end = offset;
		}
	}
	/* a segment goes only when its successor has begun, so behind a hole there must be a batch */
	if (behind_hole)
		return damaged(c, segment, STORE_SEGMENT_HEADER, "damaged batch");
	return scan_rest(c, segment, offset);
}

/* ---- files ---- */

typedef struct Listing
{
	Store	   *s;
	uint64_t   *numbers;
	uint32_t	n;
	uint32_t	cap;
	char	  **garbage;
	uint32_t	n_garbage;
	bool		no_memory;
} Listing;

static void list_name(void *arg, const char *name)
{
	Listing    *l = arg;
	uint64_t	number;
	size_t		len = strlen(name);

	if (store__segment_number(name, &number))
	{
		if (l->n == l->cap)
		{
			uint64_t   *grown = nd_realloc(l->numbers, (l->cap * 2 + 16) * sizeof(uint64_t));

			if (grown == NULL)
			{
				l->no_memory = true;
				return;
			}
			l->numbers = grown;
			l->cap = l->cap * 2 + 16;
		}
		l->numbers[l->n++] = number;
	}
	else if (len == 20 && strcmp(name + 16, ".tmp") == 0)
	{
		char	  **grown = nd_realloc(l->garbage, (l->n_garbage + 1) * sizeof(char *));
		char	   *path = nd_alloc(STORE_PATH_MAX);

		if (grown != NULL)
			l->garbage = grown;
		if (grown == NULL || path == NULL)
		{
			nd_free(path);
			l->no_memory = true;
			return;
		}
		snprintf(path, STORE_PATH_MAX, "%.990s/%.20s", l->s->dir, name);
		l->garbage[l->n_garbage++] = path;
	}
}

static void sort_numbers(uint64_t *v, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
	{
		uint64_t	x = v[i];
		uint32_t	j = i;

		for (; j > 0 && v[j - 1] > x; j--)
			v[j] = v[j - 1];
		v[j] = x;
	}
}

/* Size and header of one segment file; into the table. */
static NdStatus take_file(Scan *c, uint64_t number)
{
	Store	   *s = c->s;
	StoreSegment *segment = store__segment_add(s, number, 0);
	StoreSegmentHeader h;
	uint8_t		bytes[STORE_SEGMENT_HEADER];
	char		path[STORE_PATH_MAX];
	VfsFile    *f;
	NdStatus	st;

	if (segment == NULL)
		return say(c, ND_NOMEM, "could not recover the log: out of memory");
	store__segment_path(s->dir, number, "seg", path);
	st = store__segment_open(s, segment, &f);
	if (st == ND_OK)
		st = s->vfs->ops->size(s->vfs, f, &segment->bytes);
	if (st != ND_OK)
		return cannot_read(c, segment, 0, st);
	if (segment->bytes < STORE_SEGMENT_HEADER || number == 0 || number > UINT32_MAX)
		return damaged(c, segment, 0, "no segment header");
	st = read_at(c, segment, 0, bytes, sizeof(bytes));
	if (st != ND_OK)
		return st;
	st = store__segment_header_decode(bytes, &h);
	if (st == ND_VERSION)
		return say(c, ND_VERSION, "%s has format %u, this program knows up to %u", path, h.format, STORE_FORMAT);
	if (st != ND_OK || h.number != number)
		return damaged(c, segment, 0, "damaged segment header");
	if ((h.cluster_id != s->cluster_id || h.node != s->node) && !MUTANT(STORE_ANY_NODE))
		return say(c, ND_WRONG_CLUSTER, "%s belongs to node %u of cluster %llx, not to node %u of cluster %llx", path, h.node,
				   (unsigned long long) h.cluster_id, s->node, (unsigned long long) s->cluster_id);
	return ND_OK;
}

static NdStatus take_files(Scan *c)
{
	Store	   *s = c->s;
	Listing		l = {.s = s};
	NdStatus	st = s->vfs->ops->list(s->vfs, s->dir, list_name, &l);

	if (st == ND_OK && l.no_memory)
		st = ND_NOMEM;
	for (uint32_t k = 0; k < l.n_garbage; k++)
	{
		if (st == ND_OK)
			st = s->vfs->ops->unlink(s->vfs, l.garbage[k]);
		nd_free(l.garbage[k]);
	}
	nd_free(l.garbage);
	if (st != ND_OK)
		say(c, st, "could not list directory %s: %s", s->dir, nd_status_text(st));
	sort_numbers(l.numbers, l.n);
	/* until the scan has found the current one, all handles may be closed for others */
	for (uint32_t k = 0; k < l.n && st == ND_OK; k++)
	{
		s->current = k;
		st = take_file(c, l.numbers[k]);
	}
	nd_free(l.numbers);
	return st;
}

/* ---- judging ---- */

static NdStatus judge(Scan *c)
{
	Store	   *s = c->s;

	for (uint32_t k = 0; k < s->n_groups; k++)
	{
		const StoreGroup *g = s->groups[k];

		for (uint64_t index = g->first_index; index <= g->last_index; index++)
			if (store__group_slot(g, index) == NULL)
				return say(c, ND_DAMAGED, "%s: entry %llu of group %u is missing: a segment file is lost", s->dir,
						   (unsigned long long) index, g->id);
		for (uint32_t j = 1; j < g->n_runs; j++)
			if (g->runs[j].term <= g->runs[j - 1].term)
				return say(c, ND_DAMAGED, "%s: terms of group %u go back at entry %llu", s->dir, g->id,
						   (unsigned long long) g->runs[j].first_index);
		if (g->has_checkpoint && g->checkpoint.segment == 0)
			return say(c, ND_DAMAGED, "%s: the checkpoint of group %u at %llu is missing: a segment file is lost", s->dir, g->id,
					   (unsigned long long) g->checkpoint_index);
	}
	return ND_OK;
}

/* ---- settling ---- */

/* Argument (e) of store_format.h: what the last flush wrote is readable; now it becomes durable, whatever happened before. */
static NdStatus rewrite_part(Scan *c, const Staged *part)
{
	Store	   *s = c->s;
	uint64_t	len = STORE_BATCH_HEADER + part->len;
	uint8_t    *bytes = nd_alloc(len);
	VfsFile    *f;
	NdStatus	st;

	if (bytes == NULL)
		return say(c, ND_NOMEM, "could not recover the log: out of memory");
	st = read_at(c, part->segment, part->offset, bytes, len);
	if (st == ND_OK)
		st = store__segment_open(s, part->segment, &f);
	if (st == ND_OK)
		st = s->vfs->ops->write(s->vfs, f, part->offset, bytes, len);
	if (st == ND_OK)
		st = s->vfs->ops->sync(s->vfs, f);
	nd_free(bytes);
	return st;
}

static NdStatus settle(Scan *c)
{
	Store	   *s = c->s;
	NdStatus	st = s->vfs->ops->sync_dir(s->vfs, s->dir);	/* names of files that were made just before the end */

	for (uint32_t k = 0; k < c->n_last && st == ND_OK && !MUTANT(STORE_NO_SETTLE); k++)
		st = rewrite_part(c, &c->last[k]);
	/* a spare one that was made larger: its size may not be durable, so it gets the usual size again */
	for (uint32_t k = s->current + 1; k < s->n_segments && st == ND_OK; k++)
	{
		StoreSegment *segment = s->segments[k];
		VfsFile    *f;

		segment->first_seq = segment->end = 0;
		if (segment->bytes <= s->segment_bytes)
			continue;
		st = store__segment_open(s, segment, &f);
		if (st == ND_OK)
			st = s->vfs->ops->truncate(s->vfs, f, s->segment_bytes);
		if (st == ND_OK)
			st = s->vfs->ops->sync(s->vfs, f);
		segment->bytes = s->segment_bytes;
	}
	return st == ND_OK ? ND_OK : say(c, st, "could not prepare the log in %s for writing: %s", s->dir, nd_status_text(st));
}

static NdStatus scan_all(Scan *c)
{
	Store	   *s = c->s;
	NdStatus	st = take_files(c);

	for (uint32_t k = 0; k < s->n_segments && st == ND_OK; k++)
	{
		s->current = k;
		st = scan_segment(c, k);
	}
	if (st == ND_OK && c->must_complete)
		st = damaged(c, c->broken, c->broken_at, "damaged batch");
	if (st == ND_OK)
		st = judge(c);
	if (st != ND_OK)
		return st;
	s->current = c->any ? c->good_segment : 0;
	s->end = c->any ? c->good_end : STORE_SEGMENT_HEADER;
	if (s->n_segments > 0)
		s->segments[s->current]->end = s->end;
	s->durable_seq = c->good_seq;
	s->gather_seq = c->good_seq + 1;
	return settle(c);
}

NdStatus store__recover(Store *s, char *error, size_t error_len)
{
	Scan		c = {.s = s, .error = error, .error_len = error_len};
	NdStatus	st;

	c.buffer = nd_alloc(SCAN_BYTES);
	if (c.buffer == NULL)
		return say(&c, ND_NOMEM, "could not recover the log: out of memory");
	st = scan_all(&c);
	if (st == ND_OK && s->n_segments == 0)
	{
		st = store__segment_prepare(s, NULL);
		s->current = 0;
		s->end = STORE_SEGMENT_HEADER;
		if (st != ND_OK)
			say(&c, st, "could not make the first segment in %s: %s", s->dir, nd_status_text(st));
	}
	staged_clear(&c);
	nd_free(c.staged);
	nd_free(c.last);
	nd_free(c.buffer);
	return st;
}
