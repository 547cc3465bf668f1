/*
 * keys.c: for each (hash, mode) the last committed index.
 *
 * Open addressing, linear probing. All modes of one hash share one probe sequence, so that a key's check is one walk over neighbouring
 * slots, whatever the number of modes that it conflicts with.
 *
 * Invariants:
 * 1. At most two thirds of the slots are used: every walk ends at an empty slot.
 * 2. No answer depends on the order of slots, for that depends on past growth, and a restored state has another one.
 * 3. Deletion shifts back what follows (Knuth, The Art of Computer Programming 3, section 6.4, algorithm R), so there are no markers
 *    that would make lookups slower with the age of the replica.
 */
#include "../base/mutant.h"
#include "certifier_int.h"

#include <string.h>

_Static_assert(KEY_REL_ACCESS_EXCLUSIVE < (1 << CERTIFIER_MODE_BITS), "modes fit beside the index");
_Static_assert(sizeof(KeySlot) == 16, "slots are packed");

/* The finalizer of splitmix64: keys are hashes already, but their low bits are the opclass's own. */
uint64_t certifier__mix(uint64_t v)
{
	v = (v ^ (v >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ (v >> 27)) * UINT64_C(0x94d049bb133111eb);
	return v ^ (v >> 31);
}

uint64_t certifier__table_cap(uint64_t n, uint64_t cap)
{
	if (cap == 0)
		cap = 64;
	while (n * 3 > cap * 2)
		cap *= 2;
	return cap;
}

static uint64_t home(const KeyTable *t, uint64_t hash)
{
	return certifier__mix(hash) & (t->cap - 1);
}

static uint8_t slot_mode(const KeySlot *s)
{
	return s->index_mode & ((1 << CERTIFIER_MODE_BITS) - 1);
}

static uint64_t slot_index(const KeySlot *s)
{
	return s->index_mode >> CERTIFIER_MODE_BITS;
}

/* The slot of this key, or the empty one where it belongs. */
static KeySlot *find(const KeyTable *t, EntryKey key)
{
	uint64_t	at = home(t, key.hash);

	while (t->slots[at].index_mode != 0 && !(t->slots[at].hash == key.hash && slot_mode(&t->slots[at]) == key.mode))
		at = (at + 1) & (t->cap - 1);
	return &t->slots[at];
}

NdStatus certifier__keys_reserve(KeyTable *t, uint64_t more)
{
	KeyTable	grown = *t;

	grown.cap = certifier__table_cap(t->used + more, t->cap);
	if (grown.cap == t->cap)
		return ND_OK;
	grown.slots = nd_zalloc(grown.cap * sizeof(KeySlot));
	if (grown.slots == NULL)
		return ND_NOMEM;
	for (uint64_t i = 0; i < t->cap; i++)
		if (t->slots[i].index_mode != 0)
			*find(&grown, (EntryKey) {t->slots[i].hash, slot_mode(&t->slots[i])}) = t->slots[i];
	nd_free(t->slots);
	*t = grown;
	return ND_OK;
}

uint64_t certifier__keys_conflict(const KeyTable *t, EntryKey key, uint64_t base)
{
	uint64_t	highest = 0;

	if (t->used == 0)
		return 0;
	for (uint64_t at = home(t, key.hash); t->slots[at].index_mode != 0; at = (at + 1) & (t->cap - 1))
	{
		const KeySlot *s = &t->slots[at];

		if (MUTANT(CERTIFIER_KEY_SHARE_MISSED) && (slot_mode(s) == KEY_ROW_SHARE_KEY || key.mode == KEY_ROW_SHARE_KEY))
			continue;
		if (s->hash == key.hash && slot_index(s) > base + MUTANT(CERTIFIER_BASE_OFF_BY_ONE) && slot_index(s) > highest &&
			key_modes_conflict(slot_mode(s), key.mode))
			highest = slot_index(s);
	}
	return highest;
}

void certifier__keys_put(KeyTable *t, EntryKey key, uint64_t index)
{
	KeySlot    *s = find(t, key);

	if (s->index_mode == 0)
		t->used++;
	s->hash = key.hash;
	s->index_mode = index << CERTIFIER_MODE_BITS | key.mode;
}

void certifier__keys_evict(KeyTable *t, EntryKey key, uint64_t index)
{
	KeySlot    *s = find(t, key);
	uint64_t	mask = t->cap - 1;
	uint64_t	hole;

	if (s->index_mode == 0 || (slot_index(s) != index && !MUTANT(CERTIFIER_EVICT_NEWER)))
		return;
	hole = (uint64_t) (s - t->slots);
	for (uint64_t at = (hole + 1) & mask; t->slots[at].index_mode != 0; at = (at + 1) & mask)
	{
		/* what is at home behind the hole must stay where it is */
		if (((at - home(t, t->slots[at].hash)) & mask) < ((at - hole) & mask))
			continue;
		t->slots[hole] = t->slots[at];
		hole = at;
	}
	memset(&t->slots[hole], 0, sizeof(KeySlot));
	t->used--;
}
