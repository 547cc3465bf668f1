/*
 * certifier_int.h: the parts of a certifier's state and who keeps them. Private to this folder.
 *
 *   keys.c          KeyTable: (hash, mode) -> last committed index
 *   window.c        Window: first-in first-out record of entries, their keys, and an index of it by transaction id
 *   reservation.c   Reservations: keys owned by transaction ids
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
	uint64_t	index;			/* of its first RESERVE, or its MARKER */
	EntryKey   *keys;			/* in the order in which they came */
	uint64_t	n_keys;
	uint64_t	keys_cap;
	bool		open;			/* by a MARKER: ends with its OUTCOME alone */
} Owner;

typedef struct Reservations
{
	Owner	   *owners;			/* ascending by id */
	uint64_t	n_owners;
	uint64_t	owners_cap;
	ReservedSlot *slots;
	uint64_t	cap;
	uint64_t	used;
} Reservations;

void		certifier__reservations_free(Reservations *r);
/* Room for `more` keys of txn. Makes the owner: so the last thing that may fail, and certifier__reservations_add() follows. */
NdStatus	certifier__reservations_reserve(Reservations *r, TxnId txn, uint64_t more);
const Owner *certifier__reservations_find(const Reservations *r, TxnId txn);
/* The owner with the lowest id whose key conflicts; NULL: none. Those of txn itself and of older incarnations of its node do not count. */
const Owner *certifier__reservations_conflict(const Reservations *r, EntryKey key, TxnId txn);
void		certifier__reservations_add(Reservations *r, TxnId txn, uint64_t index, EntryKey key);
/* Ends with the OUTCOME alone, from now on. */
void		certifier__reservations_open(Reservations *r, TxnId txn, uint64_t index);
void		certifier__reservations_end(Reservations *r, TxnId txn);
/* Those that are open stay. */
void		certifier__reservations_fence(Reservations *r, NdNodeId node, uint32_t incarnation);

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
