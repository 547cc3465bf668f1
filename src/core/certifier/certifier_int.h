/*
 * certifier_int.h: the parts of a certifier's state and who keeps them. Private to this folder.
 *
 *   keys.c          KeyTable: (hash, mode) -> last committed index
 *   window.c        Window: first-in first-out record of entries, their keys, and an index of it by transaction id
 *   reservation.c   Reservations: keys owned by transaction ids
 *   queue.c         RESERVEs that wait until they can own their keys
 *   marker.c        open markers of transactions over several groups
 *   certifier.c     the verdict: reads all of these, then changes them
 *   checkpoint.c    bytes of all of these
 *
 * Every part offers x_reserve(), which may fail and changes nothing visible, and changes, which cannot fail after it: this is how
 * certifier.h's invariant 5 holds.
 */
#ifndef ND_CERTIFIER_INT_H
#define ND_CERTIFIER_INT_H

#include "certifier.h"

/* An index shares a word with a mode (keys.c). At a million entries a second this lasts 18,000 years. */
#define CERTIFIER_MODE_BITS 5
#define CERTIFIER_INDEX_MAX (UINT64_MAX >> CERTIFIER_MODE_BITS)
#define CERTIFIER_LIMIT_MIN 16

/* Tables grow by one entry's keys, at most 2^32, above what memory holds already: no size of them overflows. */
_Static_assert(sizeof(size_t) == 8, "sizes of tables are counted in 64 bits");

/* ---- keys.c ---- */

typedef struct KeySlot
{
	uint64_t	hash;
	uint64_t	index_mode;		/* index << CERTIFIER_MODE_BITS | mode; 0 is an empty slot */
} KeySlot;

typedef struct KeyTable
{
	KeySlot    *slots;
	uint64_t	cap;			/* slots, power of two or 0 */
	uint64_t	used;
} KeyTable;

NdStatus	certifier__keys_reserve(KeyTable *t, uint64_t more);
/* Highest index above base under a mode that conflicts with the key's; 0: none. Not the first one found: slot order is not history. */
uint64_t	certifier__keys_conflict(const KeyTable *t, EntryKey key, uint64_t base);
void		certifier__keys_put(KeyTable *t, EntryKey key, uint64_t index);
/* Forget the record if it is still that of this index. */
void		certifier__keys_evict(KeyTable *t, EntryKey key, uint64_t index);
/* Smallest table that holds `n` with room to probe; 0: too many. */
uint64_t	certifier__table_cap(uint64_t n, uint64_t cap);
uint64_t	certifier__mix(uint64_t v);

/* ---- window.c ---- */

typedef struct WindowEntry
{
	uint64_t	index;
	TxnId		txn;
	uint32_t	n_keys;			/* recorded: 0 unless a committed TXN */
	uint16_t	number;			/* RESERVE: its number within the transaction */
	uint8_t		kind;			/* ENTRY_TXN, ENTRY_RESERVE or ENTRY_CANCEL */
	uint8_t		verdict;		/* of a CANCEL: VERDICT_ABORT_CANCELLED, or VERDICT_NONE when an earlier verdict may be forgotten */
} WindowEntry;

typedef struct Window
{
	WindowEntry *entries;		/* ring; entry number s stands at s & (entries_cap - 1) */
	uint64_t	entries_cap;
	uint64_t	first;			/* number of the oldest entry */
	uint64_t	next;
	uint64_t   *hashes;			/* rings of the entries' keys, numbered likewise */
	uint8_t    *modes;
	uint64_t	keys_cap;
	uint64_t	keys_first;
	uint64_t	keys_next;
	uint64_t   *ids;			/* open addressing: number + 1 of the newest entry of an id; 0 is empty */
	uint64_t	ids_cap;
	uint64_t	ids_used;
	KeyTable	table;			/* derived from the keys above */
	uint64_t	start;			/* index of the newest evicted entry */
} Window;

void		certifier__window_free(Window *w);
NdStatus	certifier__window_reserve(Window *w, uint64_t more_keys);	/* for one more entry */
const WindowEntry *certifier__window_find(const Window *w, TxnId txn);
const WindowEntry *certifier__window_at(const Window *w, uint64_t index);	/* NULL: not in the window */
/* Add an entry without keys; then its keys, each. */
void		certifier__window_push(Window *w, const WindowEntry *entry);
void		certifier__window_push_key(Window *w, EntryKey key);
void		certifier__window_evict(Window *w, uint64_t keys_max, uint64_t ids_max);

/* ---- reservation.c ---- */

typedef struct ReservedSlot
{
	uint64_t	hash;
	TxnId		txn;			/* node 0: empty */
	uint8_t		mode;
} ReservedSlot;

typedef struct Owner
{
	TxnId		txn;
	uint64_t	index;			/* of its first RESERVE, or its MARKER: its place in the line */
	uint64_t	since;			/* of the entry behind which it owns what it got last */
	uint64_t	age;			/* it ends behind the first entry at or above since + age; 0: not by age */
	EntryKey   *keys;			/* in the order in which they came */
	uint64_t	n_keys;
	uint64_t	keys_cap;
	uint64_t	seen_by;		/* scratch: the waiter that has counted it */
	bool		open;			/* by a MARKER: ends with its OUTCOME alone */
} Owner;

/* A RESERVE that waits (queue.c). */
typedef struct Waiter
{
	TxnId		txn;
	uint64_t	index;			/* of its RESERVE */
	uint64_t	age;			/* for the owner that it will be */
	EntryKey   *keys;			/* ascending by (hash, mode), no repeats */
	uint32_t	n_keys;
	uint32_t	blockers;		/* ids that it waits for; derived from the keys of owners and of earlier waiters */
	bool		seen;			/* scratch */
} Waiter;

typedef struct Reservations
{
	Owner	   *owners;			/* ascending by id */
	uint64_t	n_owners;
	uint64_t	owners_cap;		/* at least n_owners + n_waiting */
	ReservedSlot *slots;
	uint64_t	cap;			/* enough for used + waiting_keys */
	uint64_t	used;
	uint64_t	next_age;		/* no owner ends by age below this; 0: none does */
	Waiter	   *waiting;		/* ascending by index */
	uint64_t	n_waiting;
	uint64_t	waiting_cap;
	uint64_t	waiting_keys;
	EntryKey   *next_keys;		/* between reserve and push */
	TxnId	   *granted;		/* who became owner behind the last entry without being its id, in the order of the queue */
	uint64_t	n_granted;
	uint64_t	granted_cap;	/* at least n_waiting */
} Reservations;

void		certifier__reservations_free(Reservations *r);
/* Room for `more` keys of txn. Makes the owner: so the last thing that may fail, and certifier__reservations_add() follows. */
NdStatus	certifier__reservations_reserve(Reservations *r, TxnId txn, uint64_t more);
const Owner *certifier__reservations_find(const Reservations *r, TxnId txn);
/* The owner with the lowest id whose key conflicts; NULL: none. Those of txn itself and of older incarnations of its node do not count. */
const Owner *certifier__reservations_conflict(const Reservations *r, EntryKey key, TxnId txn);
void		certifier__reservations_add(Reservations *r, TxnId txn, uint64_t index, EntryKey key);
/* Its keys of the entry at index are all there: they end by age as well, when age is not 0. No effect on one that owns something for ever, or is open. */
void		certifier__reservations_age(Reservations *r, TxnId txn, uint64_t index, uint64_t age);
/* Ends with the OUTCOME alone, from now on. */
void		certifier__reservations_open(Reservations *r, TxnId txn, uint64_t index);
/* Does this id own what conflicts with the key? */
bool		certifier__reservations_owns(const Reservations *r, TxnId txn, EntryKey key);
/* Owners other than txn that conflict with the keys, each once. `mark`: not 0, another one for each question. */
uint32_t	certifier__reservations_count(Reservations *r, TxnId txn, const EntryKey *keys, uint32_t n, uint64_t mark);
/* Room for the owner that a waiter with n_keys keys will be, beside those of all others. */
NdStatus	certifier__reservations_expect(Reservations *r, uint32_t n_keys);
/* The waiter is an owner from behind `index` on. Takes its keys. */
void		certifier__reservations_take(Reservations *r, const Waiter *w, uint64_t index);
/* Ends what is too old behind the entry at `index`. */
void		certifier__reservations_expire(Reservations *r, uint64_t index);
void		certifier__reservations_end(Reservations *r, TxnId txn);
/* Those that are open stay. */
void		certifier__reservations_fence(Reservations *r, NdNodeId node, uint32_t incarnation);

/* ---- queue.c ---- */

/* So many ids, and so many keys of all of them together. Part of the rules: another number gives other verdicts. */
#define CERTIFIER_WAITERS_MAX 1024
#define CERTIFIER_WAITING_KEYS_MAX 65536

const Waiter *certifier__queue_find(const Reservations *r, TxnId txn);
/* The first in the line, before the place `before`, that conflicts; NULL: none. Those of txn itself and of older incarnations of its node do not count. */
const Waiter *certifier__queue_conflict(const Reservations *r, EntryKey key, TxnId txn, uint64_t before);
bool		certifier__queue_waits_for(const Reservations *r, uint64_t index, const EntryKey *keys, uint64_t n_keys, TxnId by);
bool		certifier__queue_has_room(const Reservations *r, uint32_t n_keys);
/* Room for one more: next_keys is made, for its keys. */
NdStatus	certifier__queue_reserve(Reservations *r, uint32_t n_keys);
/* Its keys, ascending, are in next_keys. */
void		certifier__queue_push(Reservations *r, TxnId txn, uint64_t index, uint64_t age, uint32_t n_keys);
void		certifier__queue_leave(Reservations *r, TxnId txn);
void		certifier__queue_fence(Reservations *r, NdNodeId node, uint32_t incarnation);
/* Before the keys of an owner go. */
void		certifier__queue_owner_ends(Reservations *r, const Owner *owner);
/* Around an id's getting more keys while others wait: an earlier one may go before them. */
void		certifier__queue_before_gain(Reservations *r, TxnId txn);
void		certifier__queue_after_gain(Reservations *r, TxnId txn);
/* Whoever waits for nobody any more owns its keys from behind `index` on. */
void		certifier__queue_grant(Reservations *r, uint64_t index);
void		certifier__queue_free(Reservations *r);

/* ---- marker.c ---- */

typedef struct OpenMarker OpenMarker;

OpenMarker *certifier__marker_find(const Certifier *c, uint64_t position);	/* NULL: not open */
const OpenMarker *certifier__marker_of(const Certifier *c, TxnId txn);
/* Room for one more with n_keys keys: its keys stand in the place behind the last one. */
NdStatus	certifier__marker_reserve(Certifier *c, uint32_t n_keys);
void		certifier__marker_remove(Certifier *c, OpenMarker *m);
void		certifier__markers_free(Certifier *c);

/* ---- certifier.c ---- */

typedef struct NodeIncarnation
{
	NdNodeId	node;
	uint32_t	incarnation;	/* highest seen */
} NodeIncarnation;

typedef struct OpenChunks
{
	TxnId		txn;
	uint64_t	first;			/* index of the first CHUNK */
} OpenChunks;

/* A MARKER that counted, voted yes, and waits for its OUTCOME. Its owner has the same id. */
typedef struct OpenMarker
{
	TxnId		txn;
	uint64_t	position;
	uint64_t	index;
	EntryKey   *keys;			/* what it changes, if it commits: the MARKER's keys without those that are not recorded */
	uint32_t	n_keys;
} OpenMarker;

struct Certifier
{
	CertifierLimits limits;
	uint64_t	last_index;
	uint64_t	last_commit;	/* index of the newest committed TXN; not above last_index, perhaps evicted from the window */
	uint64_t	history;		/* chained checksum over all entries and their verdicts */
	Window		window;
	Reservations reservations;
	NodeIncarnation *nodes;		/* ascending by node */
	uint64_t	n_nodes;
	uint64_t	nodes_cap;
	OpenChunks *chunks;			/* ascending by first */
	uint64_t	n_chunks;
	uint64_t	chunks_cap;
	OpenMarker *markers;		/* ascending by position, and by index */
	uint64_t	n_markers;
	uint64_t	markers_cap;
	uint64_t	position;		/* last MARKER that counted */
	uint64_t	decision;		/* last OUTCOME that counted */
};

/* Make room for one more element in a vector. */
NdStatus	certifier__vector_reserve(void **data, uint64_t *cap, uint64_t n, size_t element_bytes);

#endif
