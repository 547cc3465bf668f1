/*
 * seen.c: which states were entered, so that a state that can do no more than one of those is left out.
 *
 * A state is what all nodes are (its key: 128 bits of hash) and what it has: the messages under way and what is left of the bound. More of these only adds
 * events: whatever a state can do, one with the same key and at least as much of everything can do too, and no invariant looks at what is left. (Events
 * with numbers, proposals and reads, are a part of the key.) So of each key only the states that have most are kept, none of them more than another.
 *
 * bits is a set of the messages' numbers modulo 64: it rules most comparisons out.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

typedef struct Record
{
	struct Record *next;		/* of the same key; free: of the same n */
	uint64_t	left;			/* XDigest.left, as it lies */
	uint64_t	bits;
	uint32_t	n;
	uint32_t	messages[];		/* ascending */
} Record;

typedef struct Slot
{
	uint64_t	key[2];
	Record	   *first;			/* NULL: free */
} Slot;

#define CHUNK ((size_t) 4 << 20)

static struct
{
	Slot	   *slots;
	uint64_t	mask;
	uint64_t	keys;
	size_t		bytes;			/* of everything */
	uint8_t    *chunk;
	size_t		chunk_left;
	uint8_t   **chunks;
	uint32_t	n_chunks;
	Record	   *unused[X_BAG + 1];
}			seen;

static Record *new_record(const XDigest *d, uint64_t bits)
{
	size_t		bytes = (sizeof(Record) + d->n * sizeof(uint32_t) + 7) & ~(size_t) 7;
	Record	   *r = seen.unused[d->n];

	if (r != NULL)
		seen.unused[d->n] = r->next;
	else
	{
		if (seen.chunk_left < bytes)
		{
			seen.chunks = x_need(realloc(seen.chunks, (seen.n_chunks + 1) * sizeof(*seen.chunks)));
			seen.chunks[seen.n_chunks++] = seen.chunk = x_need(malloc(CHUNK));
			seen.chunk_left = CHUNK;
			seen.bytes += CHUNK;
		}
		r = (Record *) seen.chunk;
		seen.chunk += bytes;
		seen.chunk_left -= bytes;
	}
	memcpy(&r->left, &d->left, sizeof(r->left));
	r->bits = bits;
	r->n = d->n;
	memcpy(r->messages, d->messages, d->n * sizeof(uint32_t));
	return r;
}

/* Every byte of a is at most that of b; all are below 128. */
static bool at_most(uint64_t a, uint64_t b)
{
	const uint64_t high = UINT64_C(0x8080808080808080);

	return (((b | high) - a) & high) == high;
}

static bool within(const uint32_t *a, uint32_t n_a, const uint32_t *b, uint32_t n_b)
{
	uint32_t	k = 0;

	for (uint32_t i = 0; i < n_a; i++, k++)
	{
		while (k < n_b && b[k] < a[i])
			k++;
		if (k == n_b || b[k] != a[i])
			return false;
	}
	return true;
}

static Slot *slot_of(const uint64_t key[2])
{
	uint64_t	at = key[0] & seen.mask;

	while (seen.slots[at].first != NULL && (seen.slots[at].key[0] != key[0] || seen.slots[at].key[1] != key[1]))
		at = (at + 1) & seen.mask;
	return &seen.slots[at];
}

static void grow(void)
{
	Slot	   *old = seen.slots;
	uint64_t	n = seen.slots != NULL ? seen.mask + 1 : 0;

	seen.mask = (n > 0 ? n * 2 : 1024) - 1;
	seen.slots = x_need(calloc(seen.mask + 1, sizeof(Slot)));
	seen.bytes += (seen.mask + 1 - n) * sizeof(Slot);
	for (uint64_t i = 0; i < n; i++)
		if (old[i].first != NULL)
			*slot_of(old[i].key) = old[i];
	free(old);
}

bool x_enter(const XDigest *d)
{
	uint64_t	bits = 0;
	uint64_t	left;
	Slot	   *slot;
	Record	   *r;

	if (seen.slots == NULL || seen.keys >= seen.mask / 4 * 3)
		grow();
	memcpy(&left, &d->left, sizeof(left));
	for (uint32_t i = 0; i < d->n; i++)
		bits |= UINT64_C(1) << (d->messages[i] & 63);
	slot = slot_of(d->key);
	for (r = slot->first; r != NULL; r = r->next)
		if ((bits & ~r->bits) == 0 && d->n <= r->n && at_most(left, r->left) && within(d->messages, d->n, r->messages, r->n))
			return false;
	if (slot->first == NULL)
	{
		seen.keys++;
		memcpy(slot->key, d->key, sizeof(slot->key));
	}
	for (Record **at = &slot->first; (r = *at) != NULL;)
		if ((r->bits & ~bits) == 0 && r->n <= d->n && at_most(r->left, left) && within(r->messages, r->n, d->messages, d->n))
		{
			*at = r->next;
			r->next = seen.unused[r->n];
			seen.unused[r->n] = r;
		}
		else
			at = &r->next;
	r = new_record(d, bits);
	r->next = slot->first;
	slot->first = r;
	return true;
}

size_t x_seen_bytes(void)
{
	return seen.bytes;
}

uint64_t x_seen_keys(void)
{
	return seen.keys;
}

void x_forget(void)
{
	for (uint32_t i = 0; i < seen.n_chunks; i++)
		free(seen.chunks[i]);
	free(seen.chunks);
	free(seen.slots);
	memset(&seen, 0, sizeof(seen));
}
