/*
 * reservation.c: keys owned by a transaction id until its outcome (DESIGN.md, section 9).
 *
 * Invariants:
 * 1. Keys of two owners never conflict with each other: a RESERVE is certified against the others before its keys are added.
 * 2. Owners ascend by id. Slots hold exactly the owners' keys, each (hash, mode, id) once; no answer depends on their order.
 * 3. All modes count, KEY_REL_ACCESS_SHARE too: an owner's TXN with these keys then cannot fail by a conflict.
 * 4. An end comes from the owner's TXN, its CANCEL or its incarnation's fence, else a reservation would not protect the slow work it is for; and, if its RESERVE
 *    says so, from a number of entries since the one behind which it owns. That of a MARKER ends with its OUTCOME only: other groups may commit it.
 * 5. An end by age loses nothing: a reservation is protection, not a promise of the certifier. The id's TXN is judged as any other.
 * 6. Memory for the owners that waiters will be is there (queue.c): to own what was waited for cannot fail.
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

static void insert_owner(Reservations *r, Owner owner)
{
	uint64_t	at = owner_position(r, owner.txn);

	memmove(&r->owners[at + 1], &r->owners[at], (r->n_owners - at) * sizeof(Owner));
	r->owners[at] = owner;
	r->n_owners++;
}

static void remove_owners(Reservations *r, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
	{
		Owner	   *owner = &r->owners[i];

		certifier__queue_owner_ends(r, owner);
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
	certifier__queue_free(r);
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

	grown.cap = certifier__table_cap(r->used + r->waiting_keys + more, r->cap);
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

	if (certifier__vector_reserve((void **) &r->owners, &r->owners_cap, r->n_owners + r->n_waiting, sizeof(Owner)) != ND_OK)
		return ND_NOMEM;
	/* a MARKER without keys is an owner all the same */
	keys = nd_alloc((want > 0 ? want : 1) * sizeof(EntryKey));
	if (keys == NULL)
		return ND_NOMEM;
	insert_owner(r, (Owner) {.txn = txn, .keys = keys, .keys_cap = want});
	return ND_OK;
}

NdStatus certifier__reservations_expect(Reservations *r, uint32_t n_keys)
{
	if (slots_reserve(r, n_keys) != ND_OK)
		return ND_NOMEM;
	return certifier__vector_reserve((void **) &r->owners, &r->owners_cap, r->n_owners + r->n_waiting, sizeof(Owner));
}

static void add_slot(Reservations *r, TxnId txn, EntryKey key)
{
	*find_slot(r, key, txn) = (ReservedSlot) {.hash = key.hash, .txn = txn, .mode = key.mode};
	r->used++;
}

static void note_age(Reservations *r, const Owner *owner)
{
	if (owner->age != 0 && (r->next_age == 0 || owner->since + owner->age < r->next_age))
		r->next_age = owner->since + owner->age;
}

void certifier__reservations_take(Reservations *r, const Waiter *w, uint64_t index)
{
	const Owner owner = {.txn = w->txn, .index = w->index, .since = MUTANT(CERTIFIER_AGE_OF_RESERVE) ? w->index : index, .age = w->age, .keys = w->keys, .n_keys = w->n_keys, .keys_cap = w->n_keys};

	insert_owner(r, owner);
	for (uint32_t i = 0; i < w->n_keys; i++)
		add_slot(r, w->txn, w->keys[i]);
	note_age(r, &owner);
}

bool certifier__reservations_owns(const Reservations *r, TxnId txn, EntryKey key)
{
	if (r->used == 0)
		return false;
	for (uint64_t at = home(r, key.hash); r->slots[at].txn.node != 0; at = (at + 1) & (r->cap - 1))
		if (r->slots[at].hash == key.hash && key_modes_conflict(r->slots[at].mode, key.mode) && txnid_compare(r->slots[at].txn, txn) == 0)
			return true;
	return false;
}

uint32_t certifier__reservations_count(Reservations *r, TxnId txn, const EntryKey *keys, uint32_t n, uint64_t mark)
{
	uint32_t	count = 0;

	for (uint32_t i = 0; i < n && r->used > 0; i++)
		for (uint64_t at = home(r, keys[i].hash); r->slots[at].txn.node != 0; at = (at + 1) & (r->cap - 1))
		{
			const ReservedSlot *s = &r->slots[at];
			Owner	   *owner;

			if (s->hash != keys[i].hash || !key_modes_conflict(s->mode, keys[i].mode) || txnid_compare(s->txn, txn) == 0)
				continue;
			owner = (Owner *) certifier__reservations_find(r, s->txn);
			count += owner->seen_by != mark;
			owner->seen_by = mark;
		}
	return count;
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
	add_slot(r, txn, key);
	if (owner->n_keys == 0)
		owner->index = index;
	owner->keys[owner->n_keys++] = key;
}

void certifier__reservations_age(Reservations *r, TxnId txn, uint64_t index, uint64_t age)
{
	Owner	   *owner = (Owner *) certifier__reservations_find(r, txn);
	bool		for_ever = owner->since != 0 && owner->age == 0;

	owner->since = index;
	owner->age = for_ever || owner->open ? 0 : age;
	note_age(r, owner);
}

void certifier__reservations_open(Reservations *r, TxnId txn, uint64_t index)
{
	Owner	   *owner = (Owner *) certifier__reservations_find(r, txn);

	owner->open = true;
	owner->since = index;
	owner->age = 0;
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
	certifier__queue_fence(r, node, incarnation);
}

void certifier__reservations_expire(Reservations *r, uint64_t index)
{
	uint64_t	at = 0;

	if (r->next_age == 0 || index < r->next_age || MUTANT(CERTIFIER_AGE_IGNORED))
		return;
	r->next_age = 0;
	while (at < r->n_owners)
	{
		Owner	   *owner = &r->owners[at];

		if (owner->age != 0 && owner->since + owner->age <= index)
			remove_owners(r, at, at + 1);
		else
		{
			note_age(r, owner);
			at++;
		}
	}
}
