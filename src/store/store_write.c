/*
 * store_write.c: records into batches, batches into flushes; the public calls that write.
 *
 * Owns the gathering and the flying parts. Every call here goes: check, reserve memory and file space, then emit and change memory, which
 * cannot fail (invariant a of store_internal.h). At most one flush flies; what is written meanwhile gathers for the next one.
 */
#include "store_internal.h"

#include "../core/base/mutant.h"

#include <string.h>

#define CHECKPOINT_BYTES_MAX (UINT32_C(1) << 30)
#define BUFFER_KEPT_MAX (UINT64_C(4) << 20)	/* a part's buffer above this is given back after its flush */
/* While no segment is ready behind the current one, entries leave this much of it to small records. */
#define SMALL_RESERVE_MAX (UINT64_C(64) << 10)

NdStatus store__fail(Store *s, NdStatus why)
{
	if (s->failed == ND_OK)
		s->failed = ND_IO;
	return why;
}

/* ---- parts ---- */

static NdStatus part_room(StorePart *part, uint64_t bytes)
{
	uint64_t	need = store__round_up(part->len + bytes, STORE_SECTOR);	/* the flush pads to a sector */
	uint8_t    *grown;

	if (need <= part->cap)
		return ND_OK;
	if (need < part->cap * 2)
		need = part->cap * 2;
	grown = nd_realloc(part->data, need);
	if (grown == NULL)
		return ND_NOMEM;
	part->data = grown;
	part->cap = need;
	return ND_OK;
}

/* One more part, with room for bytes behind its header. It counts only when the caller raises n. */
static StorePart *part_prepare(StoreParts *parts, StoreSegment *segment, uint64_t offset, uint64_t bytes)
{
	StorePart  *part;

	if (parts->n == parts->cap)
	{
		StorePart  *grown = nd_realloc(parts->v, (parts->cap + 4) * sizeof(StorePart));

		if (grown == NULL)
			return NULL;
		memset(grown + parts->cap, 0, 4 * sizeof(StorePart));
		parts->v = grown;
		parts->cap += 4;
	}
	part = &parts->v[parts->n];
	part->segment = segment;
	part->offset = offset;
	part->len = STORE_BATCH_HEADER;
	return part_room(part, bytes) == ND_OK ? part : NULL;
}

static StorePart *part_current(const Store *s)
{
	StorePart  *last = s->gathering.n > 0 ? &s->gathering.v[s->gathering.n - 1] : NULL;

	return last != NULL && last->segment == s->segments[s->current] ? last : NULL;
}

const uint8_t *store__buffered(const Store *s, const StoreSlot *at)
{
	const StoreParts *both[2] = {&s->gathering, &s->flying};
	uint64_t	offset = (uint64_t) at->offset8 * 8;

	for (int k = 0; k < 2; k++)
		for (uint32_t j = 0; j < both[k]->n; j++)
		{
			const StorePart *part = &both[k]->v[j];

			if (part->segment->number == at->segment && offset >= part->offset && offset - part->offset + at->len <= part->len)
				return part->data + (offset - part->offset);
		}
	return NULL;
}

/* Is the record part of a flush that is not durable yet? */
static bool undurable(const Store *s, const StoreSlot *at)
{
	return store__buffered(s, at) != NULL;
}

/* ---- the small state of all groups, at the beginning of a segment ---- */

/*
 * Payload of a STATE record: u64 first index, term before it, last index, its term, hard term, hard commit; u32 vote; u8 has checkpoint;
 * u64 checkpoint's index; varint n, then n configurations { u64 index, varint length, bytes }.
 */
static void state_encode(const StoreGroup *g, NdBuf *out)
{
	nd_buf_u64(out, g->first_index);
	nd_buf_u64(out, g->prev_term);
	nd_buf_u64(out, g->last_index);
	nd_buf_u64(out, store__group_term(g, g->last_index));
	nd_buf_u64(out, g->hard.term);
	nd_buf_u64(out, g->hard.commit);
	nd_buf_u32(out, g->hard.vote);
	nd_buf_u8(out, g->has_checkpoint);
	nd_buf_u64(out, g->checkpoint_index);
	nd_buf_varint(out, g->n_configurations);
	for (uint32_t k = 0; k < g->n_configurations; k++)
	{
		nd_buf_u64(out, g->configurations[k].index);
		nd_buf_varint(out, g->configurations[k].encoded->len);
		nd_buf_bytes(out, g->configurations[k].encoded->data, g->configurations[k].encoded->len);
	}
}

bool store__state_decode(const uint8_t *data, size_t len, StoreState *out)
{
	NdReader	r;

	nd_reader_init(&r, data, len);
	out->first_index = nd_read_u64(&r);
	out->prev_term = nd_read_u64(&r);
	out->last_index = nd_read_u64(&r);
	out->last_term = nd_read_u64(&r);
	out->hard.term = nd_read_u64(&r);
	out->hard.commit = nd_read_u64(&r);
	out->hard.vote = nd_read_u32(&r);
	out->has_checkpoint = nd_read_u8(&r) != 0;
	out->checkpoint_index = nd_read_u64(&r);
	out->n_configurations = nd_read_varint(&r);
	out->configurations = r;
	return !r.failed && out->first_index > 0 && out->last_index >= out->first_index - 1 && out->last_index < STORE_INDEX_MAX &&
		out->n_configurations > 0;
}

/* All groups' states, each preceded by its length, into scratch. *bytes: as records. */
static NdStatus states_encode(Store *s, uint64_t *bytes)
{
	nd_buf_reset(&s->scratch);
	*bytes = 0;
	for (uint32_t k = 0; k < s->n_groups; k++)
	{
		size_t		at = s->scratch.len;
		uint32_t	len;

		nd_buf_u32(&s->scratch, 0);
		state_encode(s->groups[k], &s->scratch);
		if (s->scratch.failed)
			return ND_NOMEM;
		len = (uint32_t) (s->scratch.len - at - 4);
		memcpy(s->scratch.data + at, &len, 4);
		*bytes += store__record_bytes(len);
	}
	return ND_OK;
}

static void states_emit(Store *s)
{
	const uint8_t *p = s->scratch.data;

	for (uint32_t k = 0; k < s->n_groups; k++)
	{
		StoreRecord r = {.kind = STORE_STATE, .group = s->groups[k]->id};

		memcpy(&r.payload_len, p, 4);
		if (MUTANT(STORE_DROP_HARD_STATE))
			memset(s->scratch.data + (p - s->scratch.data) + 4 + 32, 0, 20);
		if (!MUTANT(STORE_STATE_NOT_REWRITTEN))
			store__emit(s, &r, p + 4);
		p += 4 + r.payload_len;
	}
}

/* ---- reserving ---- */

static NdStatus next_segment(Store *s, uint64_t bytes, bool small)
{
	StoreSegment *spare;
	uint64_t	states;
	uint64_t	need;
	NdStatus	st;

	if (states_encode(s, &states) != ND_OK)
		return ND_NOMEM;
	while (store__spares(s) < (small ? 1 : 2))
	{
		st = store__segment_prepare(s, NULL);
		if (st != ND_OK)
			return st;
	}
	spare = s->segments[s->current + 1];
	need = store__round_up(STORE_SEGMENT_HEADER + STORE_BATCH_HEADER + states + bytes, STORE_SECTOR);
	if (need > spare->bytes)
	{
		st = store__segment_grow(s, spare, need);
		if (st != ND_OK)
			return st;
	}
	if (part_prepare(&s->gathering, spare, STORE_SEGMENT_HEADER, states + bytes) == NULL)
		return ND_NOMEM;
	s->gathering.n++;
	s->current++;
	spare->first_seq = s->gather_seq;
	states_emit(s);
	return ND_OK;
}

/* Does it fit into the current segment? */
static bool fits(const Store *s, uint64_t bytes, bool small)
{
	const StoreSegment *segment = s->segments[s->current];
	const StorePart *part = part_current(s);
	uint64_t	from = part != NULL ? part->offset + part->len : s->end + STORE_BATCH_HEADER;
	uint64_t	limit = segment->bytes;

	if (!small && store__spares(s) == 0)
		limit -= segment->bytes / 8 < SMALL_RESERVE_MAX ? segment->bytes / 8 : SMALL_RESERVE_MAX;
	return store__round_up(from + bytes, STORE_SECTOR) <= limit;
}

NdStatus store__reserve(Store *s, uint64_t bytes, bool small)
{
	StoreSegment *segment = s->segments[s->current];
	StorePart  *part = part_current(s);
	NdStatus	st = ND_OK;

	if (!fits(s, bytes, small))
		st = next_segment(s, bytes, small);
	else if (part != NULL)
		st = part_room(part, bytes);
	else if (part_prepare(&s->gathering, segment, s->end, bytes) == NULL)
		st = ND_NOMEM;
	else
	{
		s->gathering.n++;
		if (segment->first_seq == 0)
			segment->first_seq = s->gather_seq;
	}
	return st;
}

StoreSlot store__emit(Store *s, const StoreRecord *r, const void *payload)
{
	StorePart  *part = part_current(s);
	uint64_t	offset = part->offset + part->len;
	StoreSlot	at = {.segment = (uint32_t) part->segment->number, .offset8 = (uint32_t) (offset / 8), .kind = r->aux};

	at.len = STORE_RECORD_HEADER + r->payload_len;
	store__record_encode(r, payload, part->segment->number, offset, part->data + part->len);
	part->len += store__record_bytes(r->payload_len);
	return at;
}

/* ---- public: writing ---- */

static NdStatus group_for_write(Store *s, NdGroupId group, StoreGroup **g)
{
	if (s->failed != ND_OK)
		return s->failed;
	*g = store__group_find(s, group);
	return *g != NULL ? ND_OK : ND_NOTFOUND;
}

static NdStatus configuration_blob(const RaftConfiguration *c, NdBlob **out)
{
	NdBuf		buf;
	NdStatus	st;

	nd_buf_init(&buf);
	st = raft_configuration_encode(c, &buf);
	if (st == ND_OK && buf.failed)
		st = ND_NOMEM;
	if (st == ND_OK && (*out = nd_blob_new(buf.data, (uint32_t) buf.len)) == NULL)
		st = ND_NOMEM;
	nd_buf_free(&buf);
	return st;
}

NdStatus store_create_group(Store *s, NdGroupId group, const RaftConfiguration *bootstrap)
{
	StoreRecord r = {.kind = STORE_GROUP, .group = group, .index = bootstrap->index};
	StoreGroup *g;
	NdBlob	   *encoded = NULL;
	NdStatus	st;

	if (s->failed != ND_OK)
		return s->failed;
	if (store__group_find(s, group) != NULL)
		return ND_INVALID;
	st = configuration_blob(bootstrap, &encoded);
	if (st != ND_OK)
		return st;
	g = store__group_new(group);
	if (g == NULL || store__group_table_reserve(s) != ND_OK || store__group_reserve(s, g, 0, 0, 1) != ND_OK)
		st = ND_NOMEM;
	if (st == ND_OK)
		st = store__reserve(s, store__record_bytes(encoded->len), false);
	if (st != ND_OK)
	{
		nd_blob_unref(encoded);
		if (g != NULL)
			store__group_free(s, g);
		return st;
	}
	r.payload_len = encoded->len;
	store__emit(s, &r, encoded->data);
	store__group_set_configuration(g, bootstrap->index, encoded);
	store__group_insert(s, g);
	return ND_OK;
}

NdStatus store_truncate_suffix(Store *s, NdGroupId group, uint64_t from_index)
{
	StoreRecord r = {.kind = STORE_SUFFIX, .group = group, .index = from_index};
	StoreGroup *g;
	NdStatus	st = group_for_write(s, group, &g);

	if (st != ND_OK)
		return st;
	if (from_index > g->last_index)
		return ND_OK;
	if (from_index < g->first_index)
		return ND_INVALID;
	st = store__reserve(s, store__record_bytes(0), true);
	if (st != ND_OK)
		return st;
	if (!MUTANT(STORE_FORGET_SUFFIX))
		store__emit(s, &r, NULL);
	store__group_cut_suffix(s, g, from_index);
	return ND_OK;
}

/* Sizes, order, terms; what they need in all. */
static NdStatus entries_check(const Store *s, const StoreGroup *g, const RaftEntry *entries, uint32_t n, uint64_t *bytes,
							  uint32_t *n_configurations)
{
	uint64_t	term;

	if (entries[0].index < g->first_index || entries[0].index > g->last_index + 1)
		return ND_INVALID;
	term = store__group_term(g, entries[0].index - 1);
	*bytes = 0;
	*n_configurations = 0;
	for (uint32_t k = 0; k < n; k++)
	{
		uint32_t	len = entries[k].payload ? entries[k].payload->len : 0;

		if (entries[k].index != entries[0].index + k || entries[k].term < term || entries[k].term == 0)
			return ND_INVALID;
		if (len > s->record_bytes_max)
			return ND_TOOBIG;
		term = entries[k].term;
		*bytes += store__record_bytes(len);
		if (entries[k].kind == RAFT_ENTRY_CONFIG)
		{
			if (entries[k].payload == NULL)
				return ND_INVALID;
			++*n_configurations;
		}
	}
	return ND_OK;
}

NdStatus store_append(Store *s, NdGroupId group, const RaftEntry *entries, uint32_t n)
{
	StoreGroup *g;
	uint64_t	bytes;
	uint32_t	n_configurations;
	NdStatus	st = group_for_write(s, group, &g);

	if (st != ND_OK || n == 0)
		return st;
	st = entries_check(s, g, entries, n, &bytes, &n_configurations);
	if (st != ND_OK)
		return st;
	st = store__group_reserve(s, g, entries[0].index, n, n_configurations);
	/* The first entry of a term has no payload: elections need no more than votes do. */
	if (st == ND_OK)
		st = store__reserve(s, bytes, bytes == n * store__record_bytes(0));
	if (st != ND_OK)
		return st;
	/* an entry at or below the last index implies the truncation: recovery reads it the same way */
	store__group_cut_suffix(s, g, entries[0].index);
	for (uint32_t k = 0; k < n; k++)
	{
		const RaftEntry *e = &entries[k];
		StoreRecord r = {.kind = STORE_ENTRY, .aux = (uint16_t) e->kind, .group = group, .index = e->index, .term = e->term};
		StoreSlot	at;

		r.payload_len = e->payload ? e->payload->len : 0;
		at = store__emit(s, &r, e->payload ? e->payload->data : NULL);
		store__group_push(s, g, e->index, e->term, at, e->payload, true);
		if (e->kind == RAFT_ENTRY_CONFIG)
			store__group_add_configuration(g, e->index, nd_blob_ref(e->payload));
	}
	store__cache_trim(s);
	return ND_OK;
}

NdStatus store_hard_state(Store *s, NdGroupId group, const RaftHardState *hard)
{
	StoreRecord r = {.kind = STORE_HARD, .group = group, .index = hard->commit, .term = hard->term, .payload_len = 4};
	uint8_t		vote[4];
	StoreGroup *g;
	NdStatus	st = group_for_write(s, group, &g);

	if (st == ND_OK)
		st = store__reserve(s, store__record_bytes(4), true);
	if (st != ND_OK)
		return st;
	for (int i = 0; i < 4; i++)
		vote[i] = (uint8_t) (hard->vote >> (8 * i));
	store__emit(s, &r, vote);
	g->hard = *hard;
	return ND_OK;
}

NdStatus store_checkpoint(Store *s, NdGroupId group, uint64_t index, const void *data, size_t len)
{
	StoreRecord r = {.kind = STORE_CHECKPOINT, .group = group, .index = index, .payload_len = (uint32_t) len};
	StoreGroup *g;
	NdStatus	st = group_for_write(s, group, &g);

	if (st == ND_OK && len > CHECKPOINT_BYTES_MAX)
		st = ND_TOOBIG;
	if (st == ND_OK)
		st = store__reserve(s, store__record_bytes(len), false);
	if (st != ND_OK)
		return st;
	store__group_set_checkpoint(s, g, index, store__emit(s, &r, data));
	return ND_OK;
}

NdStatus store_truncate_prefix(Store *s, NdGroupId group, uint64_t first_index)
{
	StoreRecord r = {.kind = STORE_PREFIX, .group = group, .index = first_index};
	StoreGroup *g;
	const StoreSlot *last;
	NdStatus	st = group_for_write(s, group, &g);

	if (st != ND_OK)
		return st;
	if (first_index <= g->first_index)
		return ND_OK;
	if (first_index > g->last_index + 1)
		return ND_INVALID;
	last = store__group_slot(g, first_index - 1);
	if (last == NULL || undurable(s, last))
		return ND_INVALID;
	st = store__reserve(s, store__record_bytes(0), true);
	if (st != ND_OK)
		return st;
	r.term = store__group_term(g, first_index - 1);
	store__emit(s, &r, NULL);
	store__group_cut_prefix(s, g, first_index, r.term);
	return ND_OK;
}

NdStatus store_reset_group(Store *s, NdGroupId group, uint64_t index, uint64_t term, const RaftConfiguration *c,
						   uint64_t checkpoint_index, const void *checkpoint, size_t checkpoint_len)
{
	StoreRecord reset = {.kind = STORE_RESET, .group = group, .index = index, .term = term};
	StoreRecord mark = {.kind = STORE_CHECKPOINT, .group = group, .index = checkpoint_index, .payload_len = (uint32_t) checkpoint_len};
	StoreRecord configuration = {.kind = STORE_CONFIGURATION, .group = group, .index = c->index};
	StoreGroup *g;
	NdBlob	   *encoded;
	NdStatus	st = group_for_write(s, group, &g);

	if (st != ND_OK)
		return st;
	if (index >= STORE_INDEX_MAX || checkpoint_index < index)
		return ND_INVALID;
	if (checkpoint_len > CHECKPOINT_BYTES_MAX)
		return ND_TOOBIG;
	st = configuration_blob(c, &encoded);
	if (st != ND_OK)
		return st;
	st = store__reserve(s, store__record_bytes(0) + store__record_bytes(encoded->len) + store__record_bytes(checkpoint_len), false);
	if (st != ND_OK)
	{
		nd_blob_unref(encoded);
		return st;
	}
	configuration.payload_len = encoded->len;
	store__emit(s, &reset, NULL);
	store__emit(s, &configuration, encoded->data);
	store__group_restart(s, g, index + 1, term);
	store__group_set_configuration(g, c->index, encoded);
	store__group_set_checkpoint(s, g, checkpoint_index, store__emit(s, &mark, checkpoint));
	return ND_OK;
}

/* ---- public: space ---- */

bool store_full(const Store *s)
{
	return s->disk_full;
}

bool store_room(const Store *s, uint64_t bytes)
{
	return !s->disk_full || store__spares(s) >= STORE_SPARES || fits(s, bytes, false);
}

void store_find_space(Store *s)
{
	if (s->disk_full)
		store__segments_prepare(s);
}

uint64_t store_undurable_bytes(const Store *s)
{
	uint64_t	bytes = 0;

	for (uint32_t k = 0; k < s->gathering.n; k++)
		bytes += s->gathering.v[k].len;
	for (uint32_t k = 0; k < s->flying.n; k++)
		bytes += s->flying.v[k].len;
	return bytes;
}

/* ---- public: flushing ---- */

bool store_dirty(const Store *s)
{
	return s->gathering.n > 0;
}

static void part_seal(const StorePart *part, uint32_t number, bool last, uint64_t flush_seq)
{
	StoreBatchHeader h = {.part = (uint16_t) number, .flags = last ? STORE_BATCH_LAST : 0, .flush_seq = flush_seq};

	h.body_len = part->len - STORE_BATCH_HEADER;
	h.body_checksum = nd_checksum(part->data + STORE_BATCH_HEADER, h.body_len, flush_seq);
	store__batch_header_encode(&h, part->segment->number, part->offset, part->data);
	memset(part->data + part->len, 0, store__round_up(part->len, STORE_SECTOR) - part->len);
}

static NdStatus writes_reserve(Store *s, uint32_t n)
{
	VfsWrite   *grown;

	if (n <= s->cap_writes)
		return ND_OK;
	grown = nd_realloc(s->writes, n * sizeof(VfsWrite));
	if (grown == NULL)
		return ND_NOMEM;
	s->writes = grown;
	s->cap_writes = n;
	return ND_OK;
}

NdStatus store_flush_start(Store *s, uint64_t *flush_seq)
{
	StoreParts	swap;
	StorePart  *last;
	NdStatus	st;

	if (s->failed != ND_OK)
		return s->failed;
	if (s->in_flight)
		return ND_BUSY;
	*flush_seq = s->gather_seq - 1;
	if (s->gathering.n == 0)
		return ND_OK;
	if (writes_reserve(s, s->gathering.n) != ND_OK)
		return ND_NOMEM;
	for (uint32_t k = 0; k < s->gathering.n; k++)
	{
		StorePart  *part = &s->gathering.v[k];
		VfsWrite   *w = &s->writes[k];

		st = store__segment_open(s, part->segment, &w->file);
		if (st != ND_OK)
			return st == ND_NOMEM ? st : store__fail(s, ND_IO);
		part_seal(part, k, k + 1 == s->gathering.n, s->gather_seq);
		w->offset = part->offset;
		w->data = part->data;
		w->len = store__round_up(part->len, STORE_SECTOR);
	}
	st = s->vfs->ops->submit(s->vfs, s->writes, s->gathering.n);
	if (st != ND_OK)
		return st == ND_BUSY || st == ND_NOMEM ? st : store__fail(s, st);
	last = &s->gathering.v[s->gathering.n - 1];
	s->end = store__round_up(last->offset + last->len, STORE_SECTOR);
	swap = s->flying;
	s->flying = s->gathering;
	s->gathering = swap;
	s->in_flight = true;
	*flush_seq = s->gather_seq++;
	return ND_OK;
}

NdStatus store__begin(Store *s)
{
	StoreRecord r = {.kind = STORE_OPEN};
	StorePart  *part;
	VfsFile    *f;
	NdStatus	st = store__reserve(s, store__record_bytes(0), true);

	if (st != ND_OK)
		return st;
	store__emit(s, &r, NULL);
	part = &s->gathering.v[0];
	part_seal(part, 0, true, s->gather_seq);
	st = store__segment_open(s, part->segment, &f);
	if (st == ND_OK && !MUTANT(STORE_NO_BEGIN))
		st = s->vfs->ops->write(s->vfs, f, part->offset, part->data, store__round_up(part->len, STORE_SECTOR));
	if (st == ND_OK)
		st = s->vfs->ops->sync(s->vfs, f);
	if (st != ND_OK)
		return store__fail(s, st);
	s->end = store__round_up(part->offset + part->len, STORE_SECTOR);
	part->segment->end = s->end;
	s->gathering.n = 0;
	s->durable_seq = s->gather_seq++;
	return ND_OK;
}

NdStatus store_flush_poll(Store *s, uint64_t *durable_seq)
{
	NdStatus	st;

	if (s->failed != ND_OK)
		return s->failed;
	if (MUTANT(STORE_ACK_BEFORE_SYNC))
		s->durable_seq = s->gather_seq - 1;
	*durable_seq = s->durable_seq;
	if (!s->in_flight || !s->vfs->ops->poll(s->vfs, &st))
		return ND_OK;
	if (st != ND_OK && MUTANT(STORE_RETRY_SYNC))
		return s->vfs->ops->submit(s->vfs, s->writes, s->flying.n);
	s->in_flight = false;
	/* what a failed write or fsync left on the disk nobody knows: never again (rule 9 of DESIGN.md, section 5) */
	if (st != ND_OK)
		return store__fail(s, st);
	for (uint32_t k = 0; k < s->flying.n; k++)
	{
		StorePart  *part = &s->flying.v[k];

		part->segment->end = store__round_up(part->offset + part->len, STORE_SECTOR);
		if (part->cap > BUFFER_KEPT_MAX)
		{
			nd_free(part->data);
			part->data = NULL;
			part->cap = 0;
		}
	}
	s->flying.n = 0;
	s->flushes++;
	s->durable_seq = s->gather_seq - 1;
	*durable_seq = s->durable_seq;
	store__segment_maintain(s);
	return ND_OK;
}
