/*
 * marker.c: open markers: parts of transactions over several groups that voted yes and wait for their outcome (DESIGN.md, section 9).
 *
 * Invariants:
 * 1. Ascending by position and by index: markers count in the sequencer's order only.
 * 2. The owner of the same id (reservation.c) is open as long as the marker is, and holds its keys and its reads.
 * 3. Bounded from outside: the sequencer takes no more requests for a group than so many that are not finished.
 */
#include "certifier_int.h"

#include <string.h>

OpenMarker *certifier__marker_find(const Certifier *c, uint64_t position)
{
	uint64_t	low = 0;
	uint64_t	high = c->n_markers;

	while (low < high)
	{
		uint64_t	middle = low + (high - low) / 2;

		if (c->markers[middle].position < position)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->n_markers && c->markers[low].position == position ? &c->markers[low] : NULL;
}

const OpenMarker *certifier__marker_of(const Certifier *c, TxnId txn)
{
	const Owner *owner = c->n_markers > 0 ? certifier__reservations_find(&c->reservations, txn) : NULL;
	const OpenMarker *m = c->markers;

	if (owner == NULL || !owner->open)
		return NULL;
	/* there is one, by invariant 2 */
	while (txnid_compare(m->txn, txn) != 0)
		m++;
	return m;
}

NdStatus certifier__marker_reserve(Certifier *c, uint32_t n_keys)
{
	NdStatus	status = certifier__vector_reserve((void **) &c->markers, &c->markers_cap, c->n_markers, sizeof(OpenMarker));
	EntryKey   *keys;

	if (status != ND_OK)
		return status;
	keys = nd_alloc(((size_t) n_keys + 1) * sizeof(EntryKey));
	if (keys == NULL)
		return ND_NOMEM;
	c->markers[c->n_markers] = (OpenMarker) {.keys = keys};
	return ND_OK;
}

void certifier__marker_remove(Certifier *c, OpenMarker *m)
{
	nd_free(m->keys);
	memmove(m, m + 1, (size_t) (&c->markers[--c->n_markers] - m) * sizeof(*m));
}

void certifier__markers_free(Certifier *c)
{
	for (uint64_t i = 0; i < c->n_markers; i++)
		nd_free(c->markers[i].keys);
	nd_free(c->markers);
}
