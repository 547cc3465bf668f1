/*
 * certifier.h: the pure function that gives every entry of a data group its verdict.
 *
 * State: for each key the highest committed index per mode, inside a window of the log; the transaction ids of the window with their
 * outcome; the highest incarnation seen per node; reservations. Sources: DESIGN.md, sections 2, 4, 5; failure scenarios D1 to D5.
 *
 * Invariants:
 * 1. A verdict depends only on the entries handed in so far, in order: no clock, no randomness, no iteration in hash or address order.
 * 2. The window is bounded by keys_max and ids_max in log order: eviction removes whole entries, oldest first, the same on every replica.
 *    So both limits are part of the group's identity: they are stored in the checkpoint and a restored state keeps its own.
 * 3. An entry whose base is older than the window aborts: nothing outside the window can be judged, and a late duplicate cannot pass.
 * 4. save() of equal histories gives equal bytes; certifier_checksum() is one of their fields: a chain over every entry, its verdict and
 *    the size of the state behind it, so it costs nothing to ask for, and replicas at the same last index compare it.
 * 5. certify() changes nothing when it answers ND_NOMEM.
 * 6. What a MARKER owns ends with its OUTCOME alone: no fence and no CANCEL frees it, for other groups may commit. Until then every entry that conflicts with one
 *    of its keys or reads aborts, whatever its base. So an OUTCOME needs no judgement, and the verdicts between do not depend on it (scenario D1).
 * 7. A MARKER counts only when its `previous` is the last position that counted here, an OUTCOME only when its `previous` is the last decision that did: exactly
 *    once and in order, whatever leaders propose again.
 *
 * 8. Everybody who waits for keys gets them when those before it have ended, in log order (queue.c): no deadlock among reservations, no starvation.
 *
 * Which id is remembered: every TXN, RESERVE and CANCEL judged with base >= window start. Below it an earlier verdict of the id may have
 * been forgotten, so an answer about it would be a guess: ABORT_OLD, and nothing is remembered (but a tombstone still stops a later TXN).
 */
#ifndef ND_CERTIFIER_H
#define ND_CERTIFIER_H

#include "../wire/entry.h"

typedef struct Certifier Certifier;

typedef struct CertifierLimits
{
	uint64_t	keys_max;		/* key records in the window; at least 16 */
	uint64_t	ids_max;		/* transaction ids in the window; at least 16 */
} CertifierLimits;

typedef enum VerdictKind
{
	VERDICT_NONE = 0,			/* nothing to decide: CHUNK, CANCEL. A CANCEL that came too late has by_index and first of the id's verdict;
								 * first VERDICT_NONE is the proof that the id never committed and never will */
	VERDICT_COMMIT,
	VERDICT_ABORT_CONFLICT,		/* key `key` was changed at `by_index` by `by_txn` */
	VERDICT_ABORT_RESERVED,		/* key `key` is reserved by `by_txn` */
	VERDICT_ABORT_OLD,			/* base below the window (or not below the entry), or a chunk that the log does not keep; of a CANCEL:
								 * a tombstone, but no proof about the past */
	VERDICT_ABORT_FENCED,		/* a newer incarnation of the origin has spoken (a CANCEL is never fenced: others may send it) */
	VERDICT_ABORT_CANCELLED,	/* a CANCEL of this id came first */
	VERDICT_DUPLICATE,			/* the id already has a verdict; `by_index` is where; this copy has no effect. A RESERVE: its number
								 * (flags) is not above the id's last one, or the id already has a verdict */
	VERDICT_PREPARED,			/* a MARKER: the group's vote is yes, its keys are owned until the OUTCOME. Every ABORT and DUPLICATE of a MARKER is a no */
	VERDICT_ABORT_ELSEWHERE,	/* an OUTCOME: abort. Another group voted no or was silent; or this one voted no, at the MARKER */
	VERDICT_REPEATED,			/* a MARKER or an OUTCOME that is not the next one of this group, or an OUTCOME without its MARKER: no effect */
	VERDICT_QUEUED				/* a RESERVE: it waits, behind `by_txn` among others, for `key` among others; certifier_granted() tells when its turn has come */
} VerdictKind;

typedef struct Verdict
{
	VerdictKind kind;
	uint64_t	key;
	uint64_t	by_index;		/* COMMIT of an OUTCOME: its MARKER, which has the part */
	TxnId		by_txn;
	VerdictKind first;			/* DUPLICATE: the verdict the id got at by_index; PREPARED while its MARKER, there, is open */
} Verdict;

NdStatus	certifier_create(CertifierLimits limits, Certifier **out);
void		certifier_destroy(Certifier *c);

/*
 * Judge the entry at `index` (greater than every earlier one; gaps are the log's no-op and configuration entries).
 * ND_OK with *verdict; ND_NOMEM: nothing changed, call again; ND_INVALID: a malformed header, nothing changed.
 * A RESERVE's verdict COMMIT means that the keys are owned from behind this entry on.
 */
NdStatus	certifier_certify(Certifier *c, uint64_t index, const EntryHeader *h, Verdict *verdict);
/*
 * Will a TXN, or a part of a REQUEST, with this header abort wherever it comes behind the last entry? True when something of its keys or reads was changed since its base: changes
 * are only added, and those that the window forgets take the base with them. What others have reserved says nothing: they may let go of it. *verdict: why.
 */
bool		certifier_is_lost(const Certifier *c, const EntryHeader *h, Verdict *verdict);
/*
 * The ids that waited, and own their keys from behind the last entry given on: how many, in the order of the queue. Each is told once, here; valid until the next entry. Not after
 * a restore: then certifier_reservation() tells what is.
 */
uint32_t	certifier_granted(const Certifier *c, const TxnId **ids);
/* Verdict of an id inside the window. false: not in the window. */
bool		certifier_lookup(const Certifier *c, TxnId txn, uint64_t *index, VerdictKind *kind);
/* Entries at or below this index can no longer be a base. */
uint64_t	certifier_window_start(const Certifier *c);
/* The last position and the last decision that counted here; whether the MARKER of a position is open: then the vote was yes. */
uint64_t	certifier_position(const Certifier *c);
uint64_t	certifier_decision(const Certifier *c);
bool		certifier_is_open(const Certifier *c, uint64_t position);
/* Lowest index of a CHUNK whose TXN or OUTCOME is still to come, or of an open MARKER; 0 = none: the log must not be truncated at or above it. */
uint64_t	certifier_open_chunk_floor(const Certifier *c);
/* Are chunks of this id kept for a TXN that is still to come? No longer once its TXN, a CANCEL or a fence was judged, and not for late copies. */
bool		certifier_chunks_open(const Certifier *c, TxnId txn);
/*
 * Ids that hold others up: they own keys or wait for them, or the log keeps their chunks. Not those of open MARKERs: nobody but the sequencer ends them. In log order, those that began behind `after`, at most cap of them; how
 * many. An id that has both comes twice.
 */
typedef struct CertifierOwner
{
	TxnId		txn;
	uint64_t	index;			/* of its first RESERVE or CHUNK */
} CertifierOwner;
uint32_t	certifier_owners(const Certifier *c, uint64_t after, CertifierOwner *out, uint32_t cap);
/* The i-th of those that own keys, and then of those that wait for them, in the order of the line. false: there are no more. Valid until the next entry. */
typedef struct CertifierReservation
{
	TxnId		txn;
	uint64_t	index;			/* of its first RESERVE, or its MARKER */
	uint64_t	since;			/* it owns from behind this entry on what it got last; 0: it waits */
	bool		marker;			/* an open MARKER's */
	const EntryKey *keys;
	uint64_t	n_keys;
} CertifierReservation;
bool		certifier_reservation(const Certifier *c, uint64_t i, CertifierReservation *out);
/* Would a RESERVE with these keys and this place in the line wait for `by`, because it owns one of them, or wants one and stands before it? */
bool		certifier_waits_for(const Certifier *c, uint64_t index, const EntryKey *keys, uint64_t n_keys, TxnId by);
uint64_t	certifier_last_index(const Certifier *c);
/* The newest TXN that committed, 0 = none: no entry behind it, up to the last one, has an effect on tables. */
uint64_t	certifier_last_commit(const Certifier *c);
uint64_t	certifier_checksum(const Certifier *c);

/* Checkpoint: versioned bytes with a checksum. restore: ND_DAMAGED, ND_VERSION, ND_NOMEM. */
NdStatus	certifier_save(const Certifier *c, NdBuf *out);
NdStatus	certifier_restore(const void *data, size_t len, Certifier **out);

typedef struct CertifierStatus
{
	uint64_t	keys;
	uint64_t	ids;
	uint64_t	reservations;	/* ids that own keys, by RESERVE or by an open MARKER */
	uint64_t	markers;		/* open MARKERs */
	uint64_t	waiting;		/* ids that wait for keys */
	uint64_t	bytes;			/* memory, about */
} CertifierStatus;
void		certifier_status(const Certifier *c, CertifierStatus *out);

#endif
