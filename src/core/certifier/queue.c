/*
 * queue.c: RESERVEs that wait: first come, first served (DESIGN.md, section 9).
 *
 * A RESERVE that may wait (entry.h) and cannot have its keys stands in one line, in log order. Behind the entry that frees the last thing that it waits for it owns all its
 * keys; the host is told whose turn has come (certifier_granted()).
 *
 * It waits for: the owners of keys that conflict with its own, and whoever stands before it in the line and conflicts.
 *
 * Invariants:
 * 1. Who waits owns nothing, and gets all its keys at once. An id that owns something does not wait: what it asks for more it gets or is refused.
 * 2. No overtaking: a RESERVE or MARKER that conflicts with somebody in the line waits too, or is refused. With one exception: an id whose own place (Owner.index) is before
 *    the waiter's gets more keys all the same. Else a waiter that waits for that id could hold it up, until one of them gave up.
 * 3. So everybody waits for ids with earlier places only, and owners wait for nobody: no deadlock, whatever is asked. And as the ids with earlier places only become fewer, and
 *    each of them ends (reservation.c), every waiter's turn comes: no starvation.
 * 4. A waiter is nothing to a TXN: that takes its place at its entry and holds nothing behind it, so it holds up no waiter; and the waiter has read nothing yet that could have
 *    changed. Refusing it would help nobody. To a MARKER a waiter is as good as an owner: it would hold its keys until its outcome, and one marker after another, each with
 *    some of the keys, could keep a waiter for ever.
 * 5. A waiter ends by its id's TXN, CANCEL or MARKER, its incarnation's fence, or a later RESERVE of the id, which begins anew (one without keys just leaves).
 * 6. `blockers` counts ids, each once, whatever it has in common with the waiter; it changes when such an id ends, or one with an earlier place gets more keys. That an id turns from waiter to
 *    owner changes nothing.
 */
#include "../base/mutant.h"
#include "certifier_int.h"

#include <string.h>

static bool key_in(const Waiter *w, EntryKey key)
{
	uint32_t	low = 0;
	uint32_t	high = w->n_keys;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (w->keys[middle].hash < key.hash)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < w->n_keys && w->keys[low].hash == key.hash; low++)
		if (key_modes_conflict(w->keys[low].mode, key.mode))
			return true;
	return false;
}

/* The shorter list is walked. */
static bool waiters_conflict(const Waiter *a, const Waiter *b)
{
	if (a->n_keys > b->n_keys)
		return waiters_conflict(b, a);
	for (uint32_t i = 0; i < a->n_keys; i++)
		if (key_in(b, a->keys[i]))
			return true;
	return false;
}

static bool waits_for_owner(const Reservations *r, const Waiter *w, TxnId owner)
{
	for (uint32_t i = 0; i < w->n_keys; i++)
		if (certifier__reservations_owns(r, owner, w->keys[i]))
			return true;
	return false;
}

const Waiter *certifier__queue_find(const Reservations *r, TxnId txn)
{
	for (uint64_t i = 0; i < r->n_waiting; i++)
		if (txnid_compare(r->waiting[i].txn, txn) == 0)
			return &r->waiting[i];
	return NULL;
}

const Waiter *certifier__queue_conflict(const Reservations *r, EntryKey key, TxnId txn, uint64_t before)
{
	for (uint64_t i = 0; i < r->n_waiting && r->waiting[i].index < before; i++)
	{
		const Waiter *w = &r->waiting[i];

		if (txnid_compare(w->txn, txn) == 0 || (w->txn.node == txn.node && w->txn.incarnation < txn.incarnation))
			continue;
		if (key_in(w, key))
			return w;
	}
	return NULL;
}

bool certifier__queue_waits_for(const Reservations *r, uint64_t index, const EntryKey *keys, uint64_t n_keys, TxnId by)
{
	const Waiter *w = certifier__queue_find(r, by);

	for (uint64_t i = 0; i < n_keys; i++)
		if (certifier__reservations_owns(r, by, keys[i]) || (w != NULL && w->index < index && key_in(w, keys[i])))
			return true;
	return false;
}

bool certifier__queue_has_room(const Reservations *r, uint32_t n_keys)
{
	return r->n_waiting < CERTIFIER_WAITERS_MAX && n_keys <= CERTIFIER_WAITING_KEYS_MAX - r->waiting_keys;
}

NdStatus certifier__queue_reserve(Reservations *r, uint32_t n_keys)
{
	NdStatus	status = certifier__reservations_expect(r, n_keys);

	if (status == ND_OK)
		status = certifier__vector_reserve((void **) &r->waiting, &r->waiting_cap, r->n_waiting, sizeof(Waiter));
	if (status == ND_OK)
		status = certifier__vector_reserve((void **) &r->granted, &r->granted_cap, r->n_waiting, sizeof(TxnId));
	if (status != ND_OK)
		return status;
	r->next_keys = nd_alloc((size_t) n_keys * sizeof(EntryKey));
	return r->next_keys != NULL ? ND_OK : ND_NOMEM;
}

void certifier__queue_push(Reservations *r, TxnId txn, uint64_t index, uint64_t age, uint32_t n_keys)
{
	Waiter	   *w = &r->waiting[r->n_waiting];

	*w = (Waiter) {.txn = txn, .index = index, .age = age, .keys = r->next_keys, .n_keys = n_keys};
	r->next_keys = NULL;
	w->blockers = certifier__reservations_count(r, txn, w->keys, n_keys, index);
	for (uint64_t i = 0; i < r->n_waiting && !MUTANT(CERTIFIER_QUEUE_OVERTAKES); i++)
		w->blockers += waiters_conflict(&r->waiting[i], w);
	r->n_waiting++;
	r->waiting_keys += n_keys;
}

static void leaves(Reservations *r, uint64_t at)
{
	Waiter	   *w = &r->waiting[at];

	for (uint64_t i = at + 1; i < r->n_waiting; i++)
		if (waiters_conflict(w, &r->waiting[i]))
			r->waiting[i].blockers--;
	r->waiting_keys -= w->n_keys;
	nd_free(w->keys);
	memmove(w, w + 1, (r->n_waiting - at - 1) * sizeof(Waiter));
	r->n_waiting--;
}

void certifier__queue_leave(Reservations *r, TxnId txn)
{
	const Waiter *w = certifier__queue_find(r, txn);

	if (w != NULL)
		leaves(r, (uint64_t) (w - r->waiting));
}

void certifier__queue_fence(Reservations *r, NdNodeId node, uint32_t incarnation)
{
	uint64_t	at = 0;

	while (at < r->n_waiting && !MUTANT(CERTIFIER_QUEUE_LOST))
		if (r->waiting[at].txn.node == node && r->waiting[at].txn.incarnation < incarnation)
			leaves(r, at);
		else
			at++;
}

void certifier__queue_owner_ends(Reservations *r, const Owner *owner)
{
	for (uint64_t i = 0; i < r->n_waiting; i++)
		if (waits_for_owner(r, &r->waiting[i], owner->txn))
			r->waiting[i].blockers--;
}

void certifier__queue_before_gain(Reservations *r, TxnId txn)
{
	for (uint64_t i = 0; i < r->n_waiting; i++)
		r->waiting[i].seen = waits_for_owner(r, &r->waiting[i], txn);
}

void certifier__queue_after_gain(Reservations *r, TxnId txn)
{
	for (uint64_t i = 0; i < r->n_waiting; i++)
		if (!r->waiting[i].seen && waits_for_owner(r, &r->waiting[i], txn) && !MUTANT(CERTIFIER_QUEUE_GAIN_UNSEEN))
			r->waiting[i].blockers++;
}

void certifier__queue_grant(Reservations *r, uint64_t index)
{
	uint64_t	kept = 0;

	r->n_granted = 0;
	for (uint64_t i = 0; i < r->n_waiting; i++)
	{
		Waiter		w = r->waiting[i];

		if (w.blockers == 0 || MUTANT(CERTIFIER_QUEUE_EARLY))
		{
			r->waiting_keys -= w.n_keys;
			certifier__reservations_take(r, &w, index);
			r->granted[r->n_granted++] = w.txn;
		}
		else
			r->waiting[kept++] = w;
	}
	r->n_waiting = kept;
}

void certifier__queue_free(Reservations *r)
{
	for (uint64_t i = 0; i < r->n_waiting; i++)
		nd_free(r->waiting[i].keys);
	nd_free(r->waiting);
	nd_free(r->granted);
}
