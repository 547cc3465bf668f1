/*
 * order.c: readers before the writers of what they read (order.h).
 *
 * Whoever's changes were read by the fewest of those that are left comes next; of several the one that came first. Where reads and writes go in a circle somebody
 * loses, whatever the order.
 */
#include "order.h"

#include <stdlib.h>
#include <string.h>

#include "../base/mutant.h"
#include "../wire/entry.h"

#define READS_MAX 1024			/* of a batch; above them nothing is ordered: the looks must stay short beside the writing */
#define KEYS_MAX 4096

typedef struct Read
{
	uint64_t	hash;
	uint16_t	entry;
	uint8_t		mode;
} Read;

typedef struct Order
{
	Read		reads[READS_MAX];	/* by hash */
	uint32_t	n_reads;
	uint32_t	n_keys;
	uint8_t		hurts[ORDER_ENTRIES_MAX][ORDER_ENTRIES_MAX / 8];	/* bit r of w: w changes what r has read */
	uint16_t	count[ORDER_ENTRIES_MAX];	/* of those that are left */
	bool		any;
} Order;

static int read_compare(const void *a, const void *b)
{
	const Read *x = a;
	const Read *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->entry != y->entry ? (x->entry < y->entry ? -1 : 1) : (x->mode > y->mode) - (x->mode < y->mode);
}

/* false: too many, or none. */
static bool take_reads(Order *o, NdBlob *const *entries, uint32_t from, uint32_t end)
{
	o->n_reads = 0;
	for (uint32_t e = from; e < end; e++)
	{
		EntryHeader h;

		if (!entry_has_reads(entries[e]->data, entries[e]->len))
			continue;
		if (entry_decode(entries[e]->data, entries[e]->len, &h) != ND_OK || h.n_reads > READS_MAX - o->n_reads)
			return false;
		for (uint32_t i = 0; i < h.n_reads; i++)
		{
			EntryKey	key = entry_read(&h, i);

			o->reads[o->n_reads++] = (Read) {.hash = key.hash, .mode = key.mode, .entry = (uint16_t) e};
		}
	}
	qsort(o->reads, o->n_reads, sizeof(Read), read_compare);
	return o->n_reads > 0;
}

static void take_key(Order *o, uint32_t writer, EntryKey key)
{
	uint32_t	low = 0;
	uint32_t	high = o->n_reads;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (o->reads[middle].hash < key.hash)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < o->n_reads && o->reads[low].hash == key.hash; low++)
	{
		uint16_t	reader = o->reads[low].entry;
		uint8_t	   *byte = &o->hurts[writer][reader / 8];

		if (reader == writer || !key_modes_conflict(key.mode, o->reads[low].mode) || (*byte & 1 << reader % 8) != 0)
			continue;
		*byte |= (uint8_t) (1 << reader % 8);
		o->count[writer]++;
		o->any = true;
	}
}

/* false: too many keys, or nobody reads what another changes. */
static bool take_keys(Order *o, NdBlob *const *entries, uint32_t from, uint32_t end)
{
	o->n_keys = 0;
	o->any = false;
	for (uint32_t e = from; e < end; e++)
	{
		EntryHeader h;

		memset(o->hurts[e], 0, sizeof(o->hurts[e]));
		o->count[e] = 0;
		if (entry_decode(entries[e]->data, entries[e]->len, &h) != ND_OK || h.n_keys > KEYS_MAX - o->n_keys)
			return false;
		o->n_keys += h.n_keys;
		for (uint32_t i = 0; i < h.n_keys; i++)
			take_key(o, e, entry_key(&h, i));
	}
	return o->any;
}

static void choose(Order *o, uint32_t from, uint32_t end, uint16_t *order)
{
	bool		placed[ORDER_ENTRIES_MAX] = {false};

	for (uint32_t at = from; at < end; at++)
	{
		uint32_t	best = end;

		for (uint32_t e = from; e < end; e++)
			if (!placed[e] && (best == end || (MUTANT(CERTIFIER_ORDER_WRITERS_FIRST) ? o->count[e] > o->count[best] : o->count[e] < o->count[best])))
				best = e;
		placed[best] = true;
		order[at] = (uint16_t) best;
		for (uint32_t e = from; e < end; e++)
			o->count[e] -= (o->hurts[e][best / 8] >> best % 8) & 1;
	}
}

static bool is_txn(const NdBlob *entry)
{
	EntryHeader h;

	return entry_peek(entry->data, entry->len, &h) == ND_OK && (h.kind == ENTRY_TXN || MUTANT(CERTIFIER_ORDER_MOVES_OTHERS));
}

bool certifier_order(NdBlob *const *entries, uint32_t n, uint16_t *order)
{
	bool		reads = false;
	bool		changed = false;
	Order		o;

	for (uint32_t i = 0; i < n; i++)
	{
		order[i] = (uint16_t) i;
		reads |= entry_has_reads(entries[i]->data, entries[i]->len);
	}
	if (!reads || n > ORDER_ENTRIES_MAX)
		return false;
	for (uint32_t from = 0, end; from < n; from = end + 1)
	{
		for (end = from; end < n && is_txn(entries[end]);)
			end++;
		if (end - from < 2 || !take_reads(&o, entries, from, end) || !take_keys(&o, entries, from, end))
			continue;
		choose(&o, from, end, order);
		for (uint32_t i = from; i < end; i++)
			changed |= order[i] != i;
	}
	return changed;
}
