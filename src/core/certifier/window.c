/*
 * window.c: which entries can still be judged against: first in, first out, in log order, with their keys and ids.
 *
 * Owns: the ring of entries, the ring of their keys, the index by transaction id, the key table derived from them, the window's start.
 *
 * Invariants:
 * 1. Entries ascend by index; all of them are above `start`, so "index > base" can be answered for every base >= start.
 * 2. The rings are the truth; the key table and the id index can be rebuilt from them (checkpoint.c does). An id's slot names its newest
 *    entry, a key's slot its newest index: evicting an older one leaves them alone.
 * 3. The newest entry is never evicted, even if it alone has more than keys_max keys: else the next entry would be judged without it.
 */
#include "certifier_int.h"

#include <string.h>

static WindowEntry *entry_number(const Window *w, uint64_t number)
{
	return &w->entries[number & (w->entries_cap - 1)];
}

static uint64_t id_home(const Window *w, TxnId txn)
{
	uint64_t	origin = (uint64_t) txn.node << 32 | txn.incarnation;

	return certifier__mix(txn.counter ^ certifier__mix(origin)) & (w->ids_cap - 1);
}

/* The slot of this id, or the empty one where it belongs. */
static uint64_t *id_slot(const Window *w, TxnId txn)
{
	uint64_t	at = id_home(w, txn);

	while (w->ids[at] != 0 && txnid_compare(entry_number(w, w->ids[at] - 1)->txn, txn) != 0)
		at = (at + 1) & (w->ids_cap - 1);
	return &w->ids[at];
}

/* As certifier__keys_evict(). */
static void id_remove(Window *w, TxnId txn, uint64_t number)
{
	uint64_t   *slot = id_slot(w, txn);
	uint64_t	mask = w->ids_cap - 1;
	uint64_t	hole;

	if (*slot != number + 1)
		return;
	hole = (uint64_t) (slot - w->ids);
	for (uint64_t at = (hole + 1) & mask; w->ids[at] != 0; at = (at + 1) & mask)
	{
		uint64_t	home = id_home(w, entry_number(w, w->ids[at] - 1)->txn);

		if (((at - home) & mask) < ((at - hole) & mask))
			continue;
		w->ids[hole] = w->ids[at];
		hole = at;
	}
	w->ids[hole] = 0;
	w->ids_used--;
}

void certifier__window_free(Window *w)
{
	nd_free(w->entries);
	nd_free(w->hashes);
	nd_free(w->modes);
	nd_free(w->ids);
	nd_free(w->table.slots);
	memset(w, 0, sizeof(*w));
}

static NdStatus entries_reserve(Window *w)
{
	uint64_t	cap = w->entries_cap > 0 ? w->entries_cap * 2 : 64;
	WindowEntry *entries;

	if (w->next - w->first < w->entries_cap)
		return ND_OK;
	entries = nd_alloc(cap * sizeof(WindowEntry));
	if (entries == NULL)
		return ND_NOMEM;
	for (uint64_t s = w->first; s < w->next; s++)
		entries[s & (cap - 1)] = *entry_number(w, s);
	nd_free(w->entries);
	w->entries = entries;
	w->entries_cap = cap;
	return ND_OK;
}

static NdStatus key_rings_reserve(Window *w, uint64_t more)
{
	uint64_t	cap = w->keys_cap > 0 ? w->keys_cap : 64;
	uint64_t	want = w->keys_next - w->keys_first + more;
	uint64_t   *hashes;
	uint8_t    *modes;

	if (want <= w->keys_cap)
		return ND_OK;
	while (cap < want)
		cap *= 2;
	hashes = nd_alloc(cap * sizeof(uint64_t));
	modes = nd_alloc(cap);
	if (hashes == NULL || modes == NULL)
	{
		nd_free(hashes);
		nd_free(modes);
		return ND_NOMEM;
	}
	for (uint64_t k = w->keys_first; k < w->keys_next; k++)
	{
		hashes[k & (cap - 1)] = w->hashes[k & (w->keys_cap - 1)];
		modes[k & (cap - 1)] = w->modes[k & (w->keys_cap - 1)];
	}
	nd_free(w->hashes);
	nd_free(w->modes);
	w->hashes = hashes;
	w->modes = modes;
	w->keys_cap = cap;
	return ND_OK;
}

static NdStatus ids_reserve(Window *w)
{
	uint64_t	cap = certifier__table_cap(w->ids_used + 1, w->ids_cap);
	uint64_t   *old = w->ids;
	uint64_t	old_cap = w->ids_cap;
	uint64_t   *ids;

	if (cap == w->ids_cap)
		return ND_OK;
	ids = nd_zalloc(cap * sizeof(uint64_t));
	if (ids == NULL)
		return ND_NOMEM;
	w->ids = ids;
	w->ids_cap = cap;
	for (uint64_t i = 0; i < old_cap; i++)
		if (old[i] != 0)
			*id_slot(w, entry_number(w, old[i] - 1)->txn) = old[i];
	nd_free(old);
	return ND_OK;
}

NdStatus certifier__window_reserve(Window *w, uint64_t more_keys)
{
	NdStatus	status = entries_reserve(w);

	if (status == ND_OK)
		status = ids_reserve(w);
	if (status == ND_OK)
		status = key_rings_reserve(w, more_keys);
	if (status == ND_OK && more_keys > 0)
		status = certifier__keys_reserve(&w->table, more_keys);
	return status;
}

const WindowEntry *certifier__window_find(const Window *w, TxnId txn)
{
	uint64_t	number;

	if (w->ids_used == 0)
		return NULL;
	number = *id_slot(w, txn);
	return number != 0 ? entry_number(w, number - 1) : NULL;
}

const WindowEntry *certifier__window_at(const Window *w, uint64_t index)
{
	uint64_t	low = w->first;
	uint64_t	high = w->next;

	while (low < high)
	{
		uint64_t	middle = low + (high - low) / 2;

		if (entry_number(w, middle)->index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low < w->next && entry_number(w, low)->index == index ? entry_number(w, low) : NULL;
}

void certifier__window_push(Window *w, const WindowEntry *entry)
{
	uint64_t   *slot = id_slot(w, entry->txn);

	if (*slot == 0)
		w->ids_used++;
	*slot = w->next + 1;
	*entry_number(w, w->next) = *entry;
	entry_number(w, w->next)->n_keys = 0;
	w->next++;
}

void certifier__window_push_key(Window *w, EntryKey key)
{
	WindowEntry *entry = entry_number(w, w->next - 1);
	uint64_t	at = w->keys_next++ & (w->keys_cap - 1);

	w->hashes[at] = key.hash;
	w->modes[at] = key.mode;
	entry->n_keys++;
	certifier__keys_put(&w->table, key, entry->index);
}

void certifier__window_evict(Window *w, uint64_t keys_max, uint64_t ids_max)
{
	while (w->next - w->first > 1 && (w->keys_next - w->keys_first > keys_max || w->next - w->first > ids_max))
	{
		WindowEntry *entry = entry_number(w, w->first);

		for (uint32_t i = 0; i < entry->n_keys; i++)
		{
			uint64_t	at = w->keys_first++ & (w->keys_cap - 1);

			certifier__keys_evict(&w->table, (EntryKey) {w->hashes[at], w->modes[at]}, entry->index);
		}
		id_remove(w, entry->txn, w->first);
		w->start = entry->index;
		w->first++;
	}
}
