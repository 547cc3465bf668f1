/*
 * reservation.c: keys owned by a transaction id until its outcome (DESIGN.md, section 9).
 *
 * Invariants:
 * 1. Keys of two owners never conflict with each other: a RESERVE is certified against the others before its keys are added.
 * 2. Owners ascend by id. Slots hold exactly the owners' keys, each (hash, mode, id) once; no answer depends on their order.
 * 3. All modes count, KEY_REL_ACCESS_SHARE too: an owner's TXN with these keys then cannot fail by a conflict.
 * 4. Nothing here is evicted: an end comes from the owner's TXN, its CANCEL or its incarnation's fence only, else a reservation would not
 *    protect the slow work it is for. That of a MARKER ends with its OUTCOME only: other groups may commit it.
 */
#include "../base/mutant.h"
#include "certifier_int.h"

#include <string.h>

static uint64_t home(const Reservations *r, uint64_t hash)
{
	return certifier__mix(hash) & (r->cap - 1);
}

static ReservedSlot *find_slot(const Reservations *r, EntryKey key, TxnId txn)
{
	uint64_t	at = home(r, key.hash);

	while (r->slots[at].txn.node != 0 &&
		   !(r->slots[at].hash == key.hash && r->slots[at].mode == key.mode && txnid_compare(r->slots[at].txn, txn) == 0))
		at = (at + 1) & (r->cap - 1);
	return &r->slots[at];
}

static void remove_slot(Reservations *r, EntryKey key, TxnId txn)
{
	ReservedSlot *s = find_slot(r, key, txn);
	uint64_t	mask = r->cap - 1;
	uint64_t	hole = (uint64_t) (s - r->slots);

	for (uint64_t at = (hole + 1) & mask; r->slots[at].txn.node != 0; at = (at + 1) & mask)
	{
		if (((at - home(r, r->slots[at].hash)) & mask) < ((at - hole) & mask))
			continue;
		r->slots[hole] = r->slots[at];
		hole = at;
	}
	memset(&r->slots[hole], 0, sizeof(ReservedSlot));
	r->used--;
}

/* Position of the owner, or where it would be inserted. */
static uint64_t owner_position(const Reservations *r, TxnId txn)
{
	uint64_t	low = 0;
	uint64_t	high = r->n_owners;

	while (low < high)
	{
		uint64_t	middle = low + (high - low) / 2;

		if (txnid_compare(r->owners[middle].txn, txn) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void remove_owners(Reservations *r, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
	{
		Owner	   *owner = &r->owners[i];

		for (uint64_t k = 0; k < owner->n_keys; k++)
			remove_slot(r, owner->keys[k], owner->txn);
		nd_free(owner->keys);
	}
	if (to > from)
		memmove(&r->owners[from], &r->owners[to], (r->n_owners - to) * sizeof(Owner));
	r->n_owners -= to - from;
}

void certifier__reservations_free(Reservations *r)
{
	for (uint64_t i = 0; i < r->n_owners; i++)
		nd_free(r->owners[i].keys);
	nd_free(r->owners);
	nd_free(r->slots);
	memset(r, 0, sizeof(*r));
}

const Owner *certifier__reservations_find(const Reservations *r, TxnId txn)
{
	uint64_t	at = owner_position(r, txn);

	return at < r->n_owners && txnid_compare(r->owners[at].txn, txn) == 0 ? &r->owners[at] : NULL;
}

static NdStatus slots_reserve(Reservations *r, uint64_t more)
{
	Reservations grown = *r;

	grown.cap = certifier__table_cap(r->used + more, r->cap);
	if (grown.cap == r->cap)
		return ND_OK;
	grown.slots = nd_zalloc(grown.cap * sizeof(ReservedSlot));
	if (grown.slots == NULL)
		return ND_NOMEM;
	for (uint64_t i = 0; i < r->cap; i++)
	{
		const ReservedSlot *s = &r->slots[i];

		if (s->txn.node != 0)
			*find_slot(&grown, (EntryKey) {s->hash, s->mode}, s->txn) = *s;
	}
	nd_free(r->slots);
	r->slots = grown.slots;
	r->cap = grown.cap;
	return ND_OK;
}

NdStatus certifier__reservations_reserve(Reservations *r, TxnId txn, uint64_t more)
{
	Owner	   *owner = (Owner *) certifier__reservations_find(r, txn);
	uint64_t	want = (owner != NULL ? owner->n_keys : 0) + more;
	EntryKey   *keys;
	uint64_t	at;

	if (slots_reserve(r, more) != ND_OK)
		return ND_NOMEM;
	if (owner != NULL)
	{
		if (want <= owner->keys_cap)
			return ND_OK;
		want = want > owner->keys_cap * 2 ? want : owner->keys_cap * 2;
		keys = nd_realloc(owner->keys, want * sizeof(EntryKey));
		if (keys == NULL)
			return ND_NOMEM;
		owner->keys = keys;
		owner->keys_cap = want;
		return ND_OK;
	}

	if (certifier__vector_reserve((void **) &r->owners, &r->owners_cap, r->n_owners, sizeof(Owner)) != ND_OK)
		return ND_NOMEM;
	/* a MARKER without keys is an owner all the same */
	keys = nd_alloc((want > 0 ? want : 1) * sizeof(EntryKey));
	if (keys == NULL)
		return ND_NOMEM;
	at = owner_position(r, txn);
	memmove(&r->owners[at + 1], &r->owners[at], (r->n_owners - at) * sizeof(Owner));
	r->owners[at] = (Owner) {.txn = txn, .keys = keys, .keys_cap = want};
	r->n_owners++;
	return ND_OK;
}

const Owner *certifier__reservations_conflict(const Reservations *r, EntryKey key, TxnId txn)
{
	const TxnId *lowest = NULL;

	if (r->used == 0)
		return NULL;
	for (uint64_t at = home(r, key.hash); r->slots[at].txn.node != 0; at = (at + 1) & (r->cap - 1))
	{
		const ReservedSlot *s = &r->slots[at];

		if (s->hash != key.hash || !key_modes_conflict(s->mode, key.mode) || txnid_compare(s->txn, txn) == 0)
			continue;
		/* this entry fences them, but for open markers */
		if (s->txn.node == txn.node && s->txn.incarnation < txn.incarnation && !certifier__reservations_find(r, s->txn)->open)
			continue;
		if (lowest == NULL || txnid_compare(s->txn, *lowest) < 0)
			lowest = &s->txn;
	}
	return lowest != NULL ? certifier__reservations_find(r, *lowest) : NULL;
}

void certifier__reservations_add(Reservations *r, TxnId txn, uint64_t index, EntryKey key)
{
	Owner	   *owner = (Owner *) certifier__reservations_find(r, txn);
	ReservedSlot *s = find_slot(r, key, txn);

	if (s->txn.node != 0)
		return;
	*s = (ReservedSlot) {.hash = key.hash, .txn = txn, .mode = key.mode};
	r->used++;
	if (owner->n_keys == 0)
		owner->index = index;
	owner->keys[owner->n_keys++] = key;
}

void certifier__reservations_open(Reservations *r, TxnId txn, uint64_t index)
{
	Owner	   *owner = (Owner *) certifier__reservations_find(r, txn);

	owner->open = true;
	if (owner->n_keys == 0)
		owner->index = index;
}

void certifier__reservations_end(Reservations *r, TxnId txn)
{
	uint64_t	at = owner_position(r, txn);

	if (at < r->n_owners && txnid_compare(r->owners[at].txn, txn) == 0)
		remove_owners(r, at, at + 1);
}

void certifier__reservations_fence(Reservations *r, NdNodeId node, uint32_t incarnation)
{
	uint64_t	at = owner_position(r, (TxnId) {node, 0, 0});

	while (at < r->n_owners && r->owners[at].txn.node == node && r->owners[at].txn.incarnation < incarnation)
	{
		if (r->owners[at].open && !MUTANT(CERTIFIER_FENCE_FREES_MARKER))
			at++;
		else
			remove_owners(r, at, at + 1);
	}
}
