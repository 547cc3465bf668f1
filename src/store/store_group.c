/*
 * store_group.c: what the store keeps in memory of one group: positions of its entries, term runs, configurations, recent payloads.
 *
 * Owns the references to cached payloads and encoded configurations, and keeps the live counts of segments right: a slot that enters
 * or leaves the index passes store__live_add() or store__live_drop().
 * Invariants: runs are ascending and cover first_index..last_index; the cache holds a suffix of the log; a chunk lies in the index only
 * while one of its indexes may be in first_index..last_index.
 */
#include "store_internal.h"

#include <string.h>

/* A gap that no lost segment can explain: the bytes are not what this store wrote. */
#define UNKNOWN_MAX (UINT64_C(1) << 28)

static uint64_t cache_charge(const NdBlob *payload)
{
	return sizeof(NdBlob *) + (payload ? sizeof(NdBlob) + payload->len : 0);
}

/* ---- table of groups ---- */

static uint32_t group_at(const Store *s, NdGroupId id)
{
	uint32_t	lo = 0;
	uint32_t	hi = s->n_groups;

	while (lo < hi)
	{
		uint32_t	mid = lo + (hi - lo) / 2;

		if (s->groups[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

StoreGroup *store__group_find(const Store *s, NdGroupId id)
{
	uint32_t	k = group_at(s, id);

	return k < s->n_groups && s->groups[k]->id == id ? s->groups[k] : NULL;
}

StoreGroup *store__group_new(NdGroupId id)
{
	StoreGroup *g = nd_zalloc(sizeof(StoreGroup));

	if (g == NULL)
		return NULL;
	g->id = id;
	g->first_index = 1;
	return g;
}

NdStatus store__group_table_reserve(Store *s)
{
	StoreGroup **grown;

	if (s->n_groups < s->cap_groups)
		return ND_OK;
	grown = nd_realloc(s->groups, (s->cap_groups + 16) * sizeof(StoreGroup *));
	if (grown == NULL)
		return ND_NOMEM;
	s->groups = grown;
	s->cap_groups += 16;
	return ND_OK;
}

void store__group_insert(Store *s, StoreGroup *g)
{
	uint32_t	k = group_at(s, g->id);

	memmove(s->groups + k + 1, s->groups + k, (s->n_groups - k) * sizeof(StoreGroup *));
	s->groups[k] = g;
	s->n_groups++;
}

static void chunks_free(Store *s, StoreGroup *g, uint64_t from, uint64_t to)
{
	for (uint64_t k = from; k < to; k++)
		if (g->chunks[k] != NULL)
		{
			nd_free(g->chunks[k]);
			s->index_bytes -= STORE_CHUNK * sizeof(StoreSlot);
		}
}

static void cache_pop_oldest(Store *s, StoreGroup *g)
{
	NdBlob	   *payload = g->cache[g->cache_head];

	g->cached_bytes -= cache_charge(payload);
	s->cached_bytes -= cache_charge(payload);
	nd_blob_unref(payload);
	g->cache_head = (g->cache_head + 1) & (g->cap_cache - 1);
	g->n_cached--;
}

static void cache_pop_newest(Store *s, StoreGroup *g)
{
	NdBlob	   *payload = g->cache[(g->cache_head + g->n_cached - 1) & (g->cap_cache - 1)];

	g->cached_bytes -= cache_charge(payload);
	s->cached_bytes -= cache_charge(payload);
	nd_blob_unref(payload);
	g->n_cached--;
}

void store__group_free(Store *s, StoreGroup *g)
{
	while (g->n_cached > 0)
		cache_pop_oldest(s, g);
	chunks_free(s, g, 0, g->n_chunks);
	for (uint32_t k = 0; k < g->n_configurations; k++)
		nd_blob_unref(g->configurations[k].encoded);
	nd_free(g->configurations);
	nd_free(g->chunks);
	nd_free(g->cache);
	nd_free(g->runs);
	nd_free(g);
}

/* ---- reservation ---- */

/* Chunks for lo..hi; positions below stay. An empty group begins its chunks at lo. */
static NdStatus chunks_reserve(Store *s, StoreGroup *g, uint64_t lo, uint64_t hi)
{
	uint64_t	need;

	if (g->n_chunks == 0)
		g->chunk_base = lo / STORE_CHUNK;
	need = hi / STORE_CHUNK - g->chunk_base + 1;
	if (need > g->cap_chunks)
	{
		uint64_t	cap = g->cap_chunks * 2 > need ? g->cap_chunks * 2 : need;
		StoreSlot **grown = nd_realloc(g->chunks, cap * sizeof(StoreSlot *));

		if (grown == NULL)
			return ND_NOMEM;
		g->chunks = grown;
		g->cap_chunks = cap;
	}
	while (g->n_chunks < need)
		g->chunks[g->n_chunks++] = NULL;
	for (uint64_t k = lo / STORE_CHUNK - g->chunk_base; k < need; k++)
		if (g->chunks[k] == NULL)
		{
			g->chunks[k] = nd_zalloc(STORE_CHUNK * sizeof(StoreSlot));
			if (g->chunks[k] == NULL)
				return ND_NOMEM;
			s->index_bytes += STORE_CHUNK * sizeof(StoreSlot);
		}
	return ND_OK;
}

static NdStatus runs_reserve(StoreGroup *g, uint32_t n)
{
	RaftTermRun *grown;
	uint32_t	cap;

	if (g->n_runs + n <= g->cap_runs)
		return ND_OK;
	cap = g->cap_runs * 2 > g->n_runs + n ? g->cap_runs * 2 : g->n_runs + n;
	grown = nd_realloc(g->runs, cap * sizeof(RaftTermRun));
	if (grown == NULL)
		return ND_NOMEM;
	g->runs = grown;
	g->cap_runs = cap;
	return ND_OK;
}

static NdStatus cache_reserve(StoreGroup *g, uint32_t n)
{
	uint32_t	cap = g->cap_cache ? g->cap_cache : 64;
	NdBlob	  **grown;

	while (cap < g->n_cached + n)
		cap *= 2;
	if (cap == g->cap_cache)
		return ND_OK;
	grown = nd_alloc(cap * sizeof(NdBlob *));
	if (grown == NULL)
		return ND_NOMEM;
	for (uint32_t k = 0; k < g->n_cached; k++)
		grown[k] = g->cache[(g->cache_head + k) & (g->cap_cache - 1)];
	nd_free(g->cache);
	g->cache = grown;
	g->cap_cache = cap;
	g->cache_head = 0;
	return ND_OK;
}

NdStatus store__group_reserve(Store *s, StoreGroup *g, uint64_t from, uint32_t n, uint32_t n_configurations)
{
	uint32_t	want = g->n_configurations + n_configurations;

	if (want > g->cap_configurations)
	{
		StoreConfigurationAt *grown = nd_realloc(g->configurations, (want + 4) * sizeof(StoreConfigurationAt));

		if (grown == NULL)
			return ND_NOMEM;
		g->configurations = grown;
		g->cap_configurations = want + 4;
	}
	if (n == 0)
		return ND_OK;
	if (runs_reserve(g, n) != ND_OK || cache_reserve(g, n) != ND_OK)
		return ND_NOMEM;
	return chunks_reserve(s, g, from, from + n - 1);
}

/* ---- positions and terms ---- */

static StoreSlot *slot_at(const StoreGroup *g, uint64_t index)
{
	uint64_t	k = index / STORE_CHUNK;

	if (k < g->chunk_base || k - g->chunk_base >= g->n_chunks || g->chunks[k - g->chunk_base] == NULL)
		return NULL;
	return &g->chunks[k - g->chunk_base][index % STORE_CHUNK];
}

const StoreSlot *store__group_slot(const StoreGroup *g, uint64_t index)
{
	const StoreSlot *slot;

	if (index < g->first_index || index > g->last_index)
		return NULL;
	slot = slot_at(g, index);
	return slot != NULL && slot->segment != 0 ? slot : NULL;
}

uint64_t store__group_term(const StoreGroup *g, uint64_t index)
{
	uint32_t	lo = 0;
	uint32_t	hi = g->n_runs;

	if (index == g->first_index - 1)
		return g->prev_term;
	if (index < g->first_index || index > g->last_index)
		return 0;
	while (hi - lo > 1)
	{
		uint32_t	mid = lo + (hi - lo) / 2;

		if (g->runs[mid].first_index <= index)
			lo = mid;
		else
			hi = mid;
	}
	return g->runs[lo].term;
}

/* ---- changes ---- */

void store__group_push(Store *s, StoreGroup *g, uint64_t index, uint64_t term, StoreSlot at, NdBlob *payload, bool cached)
{
	*slot_at(g, index) = at;
	store__live_add(s, &at, false);
	if (g->n_runs == 0 || g->runs[g->n_runs - 1].term != term)
		g->runs[g->n_runs++] = (RaftTermRun) {index, term};
	g->last_index = index;
	if (!cached)
		return;
	g->cache[(g->cache_head + g->n_cached++) & (g->cap_cache - 1)] = nd_blob_ref(payload);
	g->cached_bytes += cache_charge(payload);
	s->cached_bytes += cache_charge(payload);
}

void store__group_add_configuration(StoreGroup *g, uint64_t index, NdBlob *encoded)
{
	g->configurations[g->n_configurations++] = (StoreConfigurationAt) {index, encoded};
}

void store__group_set_configuration(StoreGroup *g, uint64_t index, NdBlob *encoded)
{
	for (uint32_t k = 0; k < g->n_configurations; k++)
		nd_blob_unref(g->configurations[k].encoded);
	g->n_configurations = 0;
	store__group_add_configuration(g, index, encoded);
}

/* Forget the positions of from..to, which are still in the index. */
static void drop_slots(Store *s, StoreGroup *g, uint64_t from, uint64_t to)
{
	uint64_t	index = from;

	while (index <= to)
	{
		StoreSlot  *slot = slot_at(g, index);

		if (slot == NULL)
		{
			index = (index / STORE_CHUNK + 1) * STORE_CHUNK;	/* a whole chunk is unknown */
			continue;
		}
		if (slot->segment != 0)
			store__live_drop(s, slot, false);
		slot->segment = 0;
		index++;
	}
}

/* Chunks stay: an append that overwrites has reserved its own before. */
void store__group_cut_suffix(Store *s, StoreGroup *g, uint64_t from)
{
	if (from > g->last_index)
		return;
	drop_slots(s, g, from, g->last_index);
	while (g->n_cached > 0 && g->last_index >= from)
	{
		cache_pop_newest(s, g);
		g->last_index--;
	}
	g->last_index = from - 1;
	while (g->n_runs > 0 && g->runs[g->n_runs - 1].first_index >= from)
		g->n_runs--;
	while (g->n_configurations > 1 && g->configurations[g->n_configurations - 1].index >= from)
		nd_blob_unref(g->configurations[--g->n_configurations].encoded);
}

void store__group_restart(Store *s, StoreGroup *g, uint64_t first, uint64_t prev_term)
{
	if (g->last_index >= g->first_index)
		drop_slots(s, g, g->first_index, g->last_index);
	while (g->n_cached > 0)
		cache_pop_oldest(s, g);
	chunks_free(s, g, 0, g->n_chunks);
	g->n_chunks = 0;
	g->n_runs = 0;
	g->first_index = first;
	g->last_index = first - 1;
	g->prev_term = prev_term;
}

void store__group_cut_prefix(Store *s, StoreGroup *g, uint64_t first, uint64_t prev_term)
{
	uint32_t	runs = 0;
	uint32_t	configurations = 0;
	uint64_t	chunks;

	if (first <= g->first_index)
		return;
	/* the newest configuration below first stays, as the base */
	while (configurations + 1 < g->n_configurations && g->configurations[configurations + 1].index < first)
		nd_blob_unref(g->configurations[configurations++].encoded);
	g->n_configurations -= configurations;
	memmove(g->configurations, g->configurations + configurations, g->n_configurations * sizeof(StoreConfigurationAt));
	if (first > g->last_index)
	{
		store__group_restart(s, g, first, prev_term);
		return;
	}
	drop_slots(s, g, g->first_index, first - 1);
	while (g->n_cached > g->last_index - first + 1)
		cache_pop_oldest(s, g);
	while (runs + 1 < g->n_runs && g->runs[runs + 1].first_index <= first)
		runs++;
	g->n_runs -= runs;
	memmove(g->runs, g->runs + runs, g->n_runs * sizeof(RaftTermRun));
	g->runs[0].first_index = first;
	chunks = first / STORE_CHUNK - g->chunk_base;
	chunks_free(s, g, 0, chunks);
	g->n_chunks -= chunks;
	g->chunk_base += chunks;
	memmove(g->chunks, g->chunks + chunks, g->n_chunks * sizeof(StoreSlot *));
	g->first_index = first;
	g->prev_term = prev_term;
}

void store__group_clear_checkpoint(Store *s, StoreGroup *g)
{
	if (g->has_checkpoint && g->checkpoint.segment != 0)
		store__live_drop(s, &g->checkpoint, true);
	g->has_checkpoint = false;
}

void store__group_set_checkpoint(Store *s, StoreGroup *g, uint64_t index, StoreSlot at)
{
	store__group_clear_checkpoint(s, g);
	g->has_checkpoint = true;
	g->checkpoint_index = index;
	g->checkpoint = at;
	if (at.segment != 0)
		store__live_add(s, &at, true);
}

NdStatus store__group_extend_unknown(StoreGroup *g, uint64_t last, uint64_t term)
{
	uint64_t	need;

	if (last <= g->last_index)
		return ND_OK;
	if (last - g->last_index > UNKNOWN_MAX)
		return ND_DAMAGED;
	if (runs_reserve(g, 1) != ND_OK)
		return ND_NOMEM;
	if (g->n_chunks == 0)
		g->chunk_base = (g->last_index + 1) / STORE_CHUNK;
	need = last / STORE_CHUNK - g->chunk_base + 1;
	if (need > g->cap_chunks)
	{
		StoreSlot **grown = nd_realloc(g->chunks, need * sizeof(StoreSlot *));

		if (grown == NULL)
			return ND_NOMEM;
		g->chunks = grown;
		g->cap_chunks = need;
	}
	while (g->n_chunks < need)
		g->chunks[g->n_chunks++] = NULL;
	if (g->n_runs == 0 || g->runs[g->n_runs - 1].term != term)
		g->runs[g->n_runs++] = (RaftTermRun) {g->last_index + 1, term};
	g->last_index = last;
	return ND_OK;
}

/* ---- cache ---- */

bool store__group_cached(const StoreGroup *g, uint64_t index, NdBlob **payload)
{
	uint64_t	back = g->last_index - index;

	if (index > g->last_index || back >= g->n_cached)
		return false;
	*payload = g->cache[(g->cache_head + g->n_cached - 1 - (uint32_t) back) & (g->cap_cache - 1)];
	return true;
}

/* Take from the group that holds most, oldest first: a busy group cannot push out the few entries of a quiet one. */
void store__cache_trim(Store *s)
{
	while (s->cached_bytes > s->cache_limit)
	{
		StoreGroup *most = NULL;
		uint64_t	leave;

		for (uint32_t k = 0; k < s->n_groups; k++)
			if (s->groups[k]->n_cached > 0 && (most == NULL || s->groups[k]->cached_bytes > most->cached_bytes))
				most = s->groups[k];
		if (most == NULL)
			return;
		leave = most->cached_bytes / 2;
		while (most->n_cached > 0 && most->cached_bytes > leave && s->cached_bytes > s->cache_limit)
			cache_pop_oldest(s, most);
	}
}
