/*
 * test_certifier_random.c: random histories through the certifier and through an oracle that knows no tables, rings or indexes: it keeps
 * plain lists and answers every question by walking over all of them.
 *
 * Shown for each history: every field of every verdict, the window's start, the chunk floor and look-ups are the oracle's; a state saved
 * and restored at any point goes on alike, with the same checksum and the same bytes; a failed allocation changes nothing; who is lost at any moment never commits,
 * and whoever is not lost then could.
 *
 * Windows and domains are small, so that every rule meets every other one. A failure prints its seed.
 *
 * Arguments: none, or a first seed and a count. Built with -DND_MUTANTS, it also shows that each planted bug of the certifier is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/base/mutant.h"
#include "certifier_kit.h"
#include "nomem_kit.h"

#define ENTRIES 220				/* per history */
#define NODES 3
#define HELD 4					/* transactions whose entry is on its way */

static uint64_t first_seed = 1;
static uint64_t n_seeds = 5000;

/* ---- the oracle ---- */

typedef struct OracleEntry
{
	uint64_t	index;
	KitEntry	e;
	VerdictKind verdict;		/* as remembered */
	bool		has_keys;
} OracleEntry;

typedef struct OracleReserved
{
	TxnId		txn;
	EntryKey	key;
	uint64_t	index;			/* of the owner's first RESERVE with keys, or its MARKER */
	uint64_t	ends;			/* by age; 0: never */
} OracleReserved;

typedef struct OracleWaiter
{
	KitEntry	e;
	uint64_t	index;
} OracleWaiter;

typedef struct OracleMarker
{
	KitEntry	e;
	uint64_t	index;
} OracleMarker;

typedef struct OracleChunk
{
	TxnId		txn;
	uint64_t	index;
} OracleChunk;

typedef struct Oracle
{
	CertifierLimits limits;
	OracleEntry entries[ENTRIES];	/* all that were ever remembered; those before `first` are evicted */
	size_t		first;
	size_t		n;
	OracleReserved reserved[ENTRIES * 16];
	size_t		n_reserved;
	OracleWaiter waiting[ENTRIES];
	size_t		n_waiting;
	TxnId		granted[ENTRIES];	/* behind the last entry */
	size_t		n_granted;
	OracleChunk chunks[ENTRIES];
	size_t		n_chunks;
	OracleMarker open[ENTRIES];
	size_t		n_open;
	uint64_t	position;
	uint64_t	decision;
	int64_t		incarnation[NODES + 1];
	uint64_t	start;
} Oracle;

static bool same_id(TxnId a, TxnId b)
{
	return a.node == b.node && a.incarnation == b.incarnation && a.counter == b.counter;
}

static bool superseded(TxnId id, TxnId by)
{
	return id.node == by.node && id.incarnation < by.incarnation;
}

static OracleEntry *oracle_find(Oracle *o, TxnId id)
{
	OracleEntry *found = NULL;

	for (size_t i = o->first; i < o->n; i++)
		if (same_id(o->entries[i].e.txn, id))
			found = &o->entries[i];
	return found;
}

static const OracleMarker *oracle_open(const Oracle *o, TxnId id)
{
	for (size_t i = 0; i < o->n_open; i++)
		if (same_id(o->open[i].e.txn, id))
			return &o->open[i];
	return NULL;
}

/* What an open marker has is not fenced. */
static bool oracle_fenced(const Oracle *o, TxnId id, TxnId by)
{
	return superseded(id, by) && oracle_open(o, id) == NULL;
}

static void oracle_end_reservations(Oracle *o, TxnId txn, bool fence)
{
	size_t		kept = 0;

	for (size_t i = 0; i < o->n_reserved; i++)
		if (fence ? !oracle_fenced(o, o->reserved[i].txn, txn) : !same_id(o->reserved[i].txn, txn))
			o->reserved[kept++] = o->reserved[i];
	o->n_reserved = kept;
}

static void oracle_end_waiting(Oracle *o, TxnId txn, bool fence)
{
	size_t		kept = 0;

	for (size_t i = 0; i < o->n_waiting; i++)
		if (fence ? !superseded(o->waiting[i].e.txn, txn) : !same_id(o->waiting[i].e.txn, txn))
			o->waiting[kept++] = o->waiting[i];
	o->n_waiting = kept;
}

static bool oracle_waits_for(const KitEntry *e, EntryKey key)
{
	for (uint32_t k = 0; k < e->n_keys; k++)
		if (e->keys[k].hash == key.hash && key_modes_conflict(e->keys[k].mode, key.mode))
			return true;
	return false;
}

/* Its place in the line: before all who came later. */
static uint64_t oracle_place(const Oracle *o, TxnId txn)
{
	for (size_t i = 0; i < o->n_reserved; i++)
		if (same_id(o->reserved[i].txn, txn))
			return o->reserved[i].index;
	return UINT64_MAX;
}

static bool oracle_wanted(const Oracle *o, const KitEntry *e, EntryKey key, Verdict *v)
{
	for (size_t i = 0; i < o->n_waiting; i++)
	{
		const OracleWaiter *w = &o->waiting[i];

		if (same_id(w->e.txn, e->txn) || superseded(w->e.txn, e->txn) || w->index > oracle_place(o, e->txn) || !oracle_waits_for(&w->e, key))
			continue;
		*v = (Verdict) {.kind = VERDICT_ABORT_RESERVED, .key = key.hash, .by_index = w->index, .by_txn = w->e.txn};
		return true;
	}
	return false;
}

static void oracle_own(Oracle *o, const KitEntry *e, uint64_t index, uint64_t since, uint64_t age)
{
	uint64_t	place = oracle_place(o, e->txn);
	uint64_t	ends = age == 0 || oracle_open(o, e->txn) != NULL ? 0 : since + age;

	for (size_t i = 0; i < o->n_reserved; i++)
		if (same_id(o->reserved[i].txn, e->txn) && o->reserved[i].ends == 0)
			ends = 0;
	for (uint32_t k = 0; k < e->n_keys + e->n_reads; k++)
		o->reserved[o->n_reserved++] = (OracleReserved) {e->txn, k < e->n_keys ? e->keys[k] : e->reads[k - e->n_keys], place == UINT64_MAX ? index : place, 0};
	for (size_t i = 0; i < o->n_reserved; i++)
		if (same_id(o->reserved[i].txn, e->txn))
			o->reserved[i].ends = ends;
}

/* Behind the entry: what is too old ends, and whoever can have his keys gets them. */
static void oracle_turn(Oracle *o, uint64_t index)
{
	size_t		kept = 0;

	for (size_t i = 0; i < o->n_reserved; i++)
		if (o->reserved[i].ends == 0 || o->reserved[i].ends > index)
			o->reserved[kept++] = o->reserved[i];
	o->n_reserved = kept;
	o->n_granted = 0;
	for (size_t i = 0; i < o->n_waiting; i++)
	{
		OracleWaiter w = o->waiting[i];
		bool		blocked = false;

		for (size_t j = 0; j < o->n_reserved; j++)
			blocked |= oracle_waits_for(&w.e, o->reserved[j].key);
		for (size_t j = 0; j < i; j++)
			for (uint32_t k = 0; k < o->waiting[j].e.n_keys; k++)
				blocked |= oracle_waits_for(&w.e, o->waiting[j].e.keys[k]);
		if (blocked)
			continue;
		memmove(&o->waiting[i], &o->waiting[i + 1], (--o->n_waiting - i) * sizeof(w));
		i--;
		oracle_own(o, &w.e, w.index, index, w.e.age);
		o->granted[o->n_granted++] = w.e.txn;
	}
}

static void oracle_end_chunks(Oracle *o, TxnId txn, bool fence)
{
	size_t		kept = 0;

	for (size_t i = 0; i < o->n_chunks; i++)
		if (fence ? !oracle_fenced(o, o->chunks[i].txn, txn) : !same_id(o->chunks[i].txn, txn))
			o->chunks[kept++] = o->chunks[i];
	o->n_chunks = kept;
}

static uint64_t oracle_floor(const Oracle *o)
{
	uint64_t	floor = 0;

	for (size_t i = 0; i < o->n_chunks; i++)
		if (floor == 0 || o->chunks[i].index < floor)
			floor = o->chunks[i].index;
	for (size_t i = 0; i < o->n_open; i++)
		if (floor == 0 || o->open[i].index < floor)
			floor = o->open[i].index;
	return floor;
}

static bool oracle_changed(const Oracle *o, EntryKey key, uint64_t base, Verdict *v)
{
	for (size_t i = o->n; i-- > o->first;)
	{
		const OracleEntry *other = &o->entries[i];

		if (!other->has_keys || other->index <= base)
			continue;
		for (uint32_t m = 0; m < other->e.n_keys; m++)
			if (other->e.keys[m].hash == key.hash && other->e.keys[m].mode != KEY_REL_ACCESS_SHARE &&
				key_modes_conflict(other->e.keys[m].mode, key.mode))
			{
				*v = (Verdict) {.kind = VERDICT_ABORT_CONFLICT, .key = key.hash, .by_index = other->index, .by_txn = other->e.txn};
				return true;
			}
	}
	return false;
}

static bool oracle_owned(const Oracle *o, const KitEntry *e, EntryKey key, Verdict *v)
{
	const OracleReserved *lowest = NULL;

	for (size_t i = 0; i < o->n_reserved; i++)
	{
		const OracleReserved *r = &o->reserved[i];

		if (r->key.hash == key.hash && key_modes_conflict(r->key.mode, key.mode) && !same_id(r->txn, e->txn) &&
			!oracle_fenced(o, r->txn, e->txn) && (lowest == NULL || txnid_compare(r->txn, lowest->txn) < 0))
			lowest = r;
	}
	if (lowest != NULL)
		*v = (Verdict) {.kind = VERDICT_ABORT_RESERVED, .key = key.hash, .by_index = lowest->index, .by_txn = lowest->txn};
	return lowest != NULL;
}

static void oracle_keys(Oracle *o, const KitEntry *e, Verdict *v)
{
	for (uint32_t k = 0; k < e->n_keys; k++)
	{
		EntryKey	key = e->keys[k];

		if (oracle_owned(o, e, key, v) || (e->kind != ENTRY_TXN && oracle_wanted(o, e, key, v)))
			return;
		if (e->kind != ENTRY_RESERVE && oracle_changed(o, key, e->base, v))
			return;
	}
	for (uint32_t k = 0; k < e->n_reads; k++)
		if ((e->kind == ENTRY_MARKER && (oracle_owned(o, e, e->reads[k], v) || oracle_wanted(o, e, e->reads[k], v))) || oracle_changed(o, e->reads[k], e->read_base, v))
			return;
}

static bool oracle_chunks_kept(const Oracle *o, uint64_t index, const KitEntry *e)
{
	uint64_t	from = 0;

	for (size_t i = 0; i < o->n_chunks; i++)
		if (same_id(o->chunks[i].txn, e->txn))
			from = o->chunks[i].index;
	for (uint32_t i = 0; i < e->n_chunks; i++)
		if (from == 0 || e->chunks[i] < from || e->chunks[i] >= index)
			return false;
	return true;
}

static void oracle_remember(Oracle *o, uint64_t index, const KitEntry *e, VerdictKind verdict)
{
	o->entries[o->n++] = (OracleEntry) {index, *e, verdict, e->kind == ENTRY_TXN && verdict == VERDICT_COMMIT};
	if (e->kind == ENTRY_MARKER)
		o->entries[o->n - 1].e.kind = ENTRY_TXN;
	for (;;)
	{
		uint64_t	keys = 0;

		for (size_t i = o->first; i < o->n; i++)
			for (uint32_t k = 0; o->entries[i].has_keys && k < o->entries[i].e.n_keys; k++)
				keys += o->entries[i].e.keys[k].mode != KEY_REL_ACCESS_SHARE;
		if (o->n - o->first <= 1 || (keys <= o->limits.keys_max && o->n - o->first <= o->limits.ids_max))
			return;
		o->start = o->entries[o->first++].index;
	}
}

static Verdict oracle_outcome(Oracle *o, uint64_t index, const KitEntry *e)
{
	size_t		at = 0;
	OracleMarker m;

	while (at < o->n_open && o->open[at].e.position != e->position)
		at++;
	if (e->previous != o->decision || e->position > o->position ||
		(at == o->n_open ? e->flags != 0 : !same_id(o->open[at].e.txn, e->txn)))
		return (Verdict) {.kind = VERDICT_REPEATED};
	o->decision = e->decision;
	if (at == o->n_open)
		return (Verdict) {.kind = VERDICT_ABORT_ELSEWHERE, .by_txn = e->txn};
	m = o->open[at];
	memmove(&o->open[at], &o->open[at + 1], (--o->n_open - at) * sizeof(m));
	oracle_end_reservations(o, e->txn, false);
	oracle_end_chunks(o, e->txn, false);
	m.e.kind = ENTRY_TXN;
	oracle_remember(o, index, &m.e, e->flags ? VERDICT_COMMIT : VERDICT_ABORT_ELSEWHERE);
	return (Verdict) {.kind = e->flags ? VERDICT_COMMIT : VERDICT_ABORT_ELSEWHERE, .by_index = m.index, .by_txn = e->txn};
}

static Verdict oracle_judge(Oracle *o, uint64_t index, const KitEntry *e)
{
	Verdict		v = {0};
	const OracleMarker *open = oracle_open(o, e->txn);
	OracleEntry *earlier = oracle_find(o, e->txn);
	bool		decided = earlier != NULL && earlier->e.kind != ENTRY_RESERVE;
	bool		fenced = (int64_t) e->txn.incarnation < o->incarnation[e->txn.node];
	bool		owns = false;
	bool		waits = false;

	if (e->kind == ENTRY_OUTCOME)
		return oracle_outcome(o, index, e);
	if (e->kind == ENTRY_MARKER && e->previous != o->position)
		return (Verdict) {.kind = VERDICT_REPEATED};
	if (e->kind == ENTRY_MARKER)
		o->position = e->position;
	for (size_t i = 0; i < o->n_reserved; i++)
		owns |= same_id(o->reserved[i].txn, e->txn);
	for (size_t i = 0; i < o->n_waiting; i++)
		waits |= same_id(o->waiting[i].e.txn, e->txn);
	if (!fenced)
	{
		o->incarnation[e->txn.node] = e->txn.incarnation;
		oracle_end_reservations(o, e->txn, true);
		oracle_end_waiting(o, e->txn, true);
		oracle_end_chunks(o, e->txn, true);
	}

	if (e->kind == ENTRY_CHUNK)
	{
		bool		has = open != NULL;

		for (size_t i = 0; i < o->n_chunks; i++)
			has |= same_id(o->chunks[i].txn, e->txn);
		if (fenced)
			v.kind = VERDICT_ABORT_FENCED;
		else if (!decided && !has && e->base >= o->start)
			o->chunks[o->n_chunks++] = (OracleChunk) {e->txn, index};
		return v;
	}

	if (e->kind == ENTRY_CANCEL)
	{
		bool		proof = earlier != NULL || owns || waits || e->base >= o->start;

		if (open != NULL)
			return (Verdict) {.by_index = open->index, .by_txn = e->txn, .first = VERDICT_PREPARED};
		oracle_end_reservations(o, e->txn, false);
		oracle_end_waiting(o, e->txn, false);
		oracle_end_chunks(o, e->txn, false);
		if (decided)
		{
			v = (Verdict) {.by_index = earlier->index, .by_txn = e->txn, .first = earlier->verdict};
			if (earlier->verdict == VERDICT_NONE)
				v.kind = VERDICT_ABORT_OLD;
			return v;
		}
		if (!proof)
			v = (Verdict) {.kind = VERDICT_ABORT_OLD, .by_index = o->start};
		oracle_remember(o, index, e, proof ? VERDICT_ABORT_CANCELLED : VERDICT_NONE);
		return v;
	}

	v.kind = VERDICT_COMMIT;
	if (open != NULL)
		v = (Verdict) {.kind = VERDICT_DUPLICATE, .by_index = open->index, .by_txn = e->txn, .first = VERDICT_PREPARED};
	else if (fenced)
		v.kind = VERDICT_ABORT_FENCED;
	else if (decided && earlier->e.kind == ENTRY_CANCEL)
		v = (Verdict) {.kind = VERDICT_ABORT_CANCELLED, .by_index = earlier->index, .by_txn = e->txn};
	else if (decided || (earlier != NULL && e->kind == ENTRY_RESERVE && e->flags <= earlier->e.flags))
		v = (Verdict) {.kind = VERDICT_DUPLICATE, .by_index = earlier->index, .by_txn = e->txn, .first = earlier->verdict};
	else if (e->base < o->start || (e->n_reads > 0 && e->read_base < o->start) || e->base >= index || !oracle_chunks_kept(o, index, e))
		v = (Verdict) {.kind = VERDICT_ABORT_OLD, .by_index = o->start};
	else
	{
		oracle_keys(o, e, &v);
		if (e->kind == ENTRY_RESERVE)
			oracle_end_waiting(o, e->txn, false);
		if (v.kind == VERDICT_ABORT_RESERVED && e->waits && oracle_place(o, e->txn) == UINT64_MAX)
		{
			v.kind = VERDICT_QUEUED;
			o->waiting[o->n_waiting++] = (OracleWaiter) {*e, index};
		}
	}

	if (open != NULL)
		return v;
	if (e->kind != ENTRY_RESERVE)
		oracle_end_waiting(o, e->txn, false);
	if (e->kind == ENTRY_TXN || (e->kind == ENTRY_MARKER && v.kind != VERDICT_COMMIT))
	{
		oracle_end_reservations(o, e->txn, false);
		oracle_end_chunks(o, e->txn, false);
	}
	else if (v.kind == VERDICT_COMMIT && (e->kind == ENTRY_MARKER || e->n_keys > 0))
		oracle_own(o, e, index, index, e->kind == ENTRY_MARKER ? 0 : e->age);
	if (e->kind == ENTRY_MARKER && v.kind == VERDICT_COMMIT)
	{
		o->open[o->n_open++] = (OracleMarker) {*e, index};
		oracle_own(o, &(KitEntry) {.txn = e->txn}, index, index, 0);
		v.kind = VERDICT_PREPARED;
		return v;
	}
	if (!decided && v.kind != VERDICT_DUPLICATE && e->base >= o->start)
		oracle_remember(o, index, e, v.kind);
	return v;
}

static Verdict oracle_certify(Oracle *o, uint64_t index, const KitEntry *e)
{
	Verdict		v = oracle_judge(o, index, e);

	oracle_turn(o, index);
	return v;
}

/* ---- random histories ---- */

typedef struct History
{
	NdRandom	r;
	uint64_t	index;
	uint32_t	incarnation[NODES + 1];
	uint64_t	counter[NODES + 1];
	uint64_t	n_hashes;
	uint64_t	chunk_index;	/* of the last CHUNK */
	TxnId		chunk_txn;
	uint64_t	position;		/* of the last MARKER */
	uint64_t	decision;		/* of the last OUTCOME */
	KitEntry	markers[ENTRIES];	/* those that counted and have no outcome; flags: the vote was yes */
	size_t		n_markers;
} History;

static uint64_t below(History *h, uint64_t n)
{
	return nd_random_below(&h->r, n);
}

/* Of one of the open positions, mostly the next decision; sometimes of something else. */
static KitEntry random_outcome(History *h)
{
	KitEntry	e = {.kind = ENTRY_OUTCOME, .txn = {1, 0, 1}, .position = 1 + below(h, h->position + 2)};

	if (h->n_markers > 0 && below(h, 8) > 0)
	{
		const KitEntry *m = &h->markers[below(h, h->n_markers)];

		e.txn = m->txn;
		e.position = m->position;
		e.flags = m->flags ? (uint16_t) (below(h, 4) > 0) : (uint16_t) (below(h, 10) == 0);
	}
	e.previous = h->decision;
	e.decision = h->decision + 1 + below(h, 2);
	if (below(h, 8) == 0)
		e.previous = below(h, e.decision);
	return e;
}

/* What the entry has done to the order of markers and outcomes. */
static void history_note(History *h, const KitEntry *e, const Verdict *v)
{
	if (v->kind == VERDICT_REPEATED)
		return;
	if (e->kind == ENTRY_MARKER)
	{
		h->position = e->position;
		h->markers[h->n_markers] = *e;
		h->markers[h->n_markers++].flags = v->kind == VERDICT_PREPARED;
	}
	if (e->kind == ENTRY_OUTCOME)
	{
		size_t		kept = 0;

		h->decision = e->decision;
		for (size_t i = 0; i < h->n_markers; i++)
			if (h->markers[i].position != e->position)
				h->markers[kept++] = h->markers[i];
		h->n_markers = kept;
	}
}

static KitEntry random_entry(History *h)
{
	static const uint8_t modes[] = {0, 1, 2, 3, 3, 3, 17, 18, 19, 19, 20, 21, 22, 23, 24};
	KitEntry	e = {0};
	NdNodeId	node = (NdNodeId) (1 + below(h, NODES));
	uint64_t	back = below(h, 8) == 0 ? below(h, 60) : below(h, 12);
	uint64_t	roll = below(h, 100);

	h->index += 1 + (below(h, 4) == 0 ? below(h, 3) : 0);
	e.kind = roll < 46 ? ENTRY_TXN : roll < 58 ? ENTRY_RESERVE : roll < 66 ? ENTRY_CHUNK : roll < 73 ? ENTRY_CANCEL : roll < 87 ? ENTRY_MARKER : ENTRY_OUTCOME;
	if (e.kind == ENTRY_OUTCOME)
		return random_outcome(h);
	if (below(h, 60) == 0)
		h->incarnation[node]++;
	e.txn = (TxnId) {node, h->incarnation[node], 1};
	if (below(h, 12) == 0 && e.txn.incarnation > 0)
		e.txn.incarnation--;
	/* mostly new ids; else one of the last few, so that copies, later parts and outcomes of an id meet */
	if (below(h, 2) == 0)
		h->counter[node]++;
	e.txn.counter = 1 + h->counter[node] - below(h, h->counter[node] < 6 ? h->counter[node] + 1 : 6);
	e.base = h->index - 1 > back ? h->index - 1 - back : 0;
	if (below(h, 200) == 0)
		e.base = h->index + below(h, 3);
	if (e.kind == ENTRY_RESERVE)
	{
		e.flags = (uint16_t) below(h, 4);
		e.waits = below(h, 4) > 0;
		if (e.waits && below(h, 2) == 0)
			e.age = 1 + below(h, 30);
	}
	if (e.kind == ENTRY_MARKER)
	{
		e.previous = h->position;
		e.position = h->position + 1 + below(h, 3);
		/* one that is missing, or a copy of an old one */
		if (below(h, 8) == 0)
			e.previous = below(h, e.position);
		else if (below(h, 10) == 0 && h->n_markers > 0)
			return h->markers[below(h, h->n_markers)];
	}
	if (e.kind == ENTRY_TXN || e.kind == ENTRY_RESERVE || e.kind == ENTRY_MARKER)
	{
		uint32_t	n = (uint32_t) (below(h, 50) == 0 ? below(h, 40) : below(h, 5));

		for (uint32_t i = 0; i < n && i < KIT_KEYS_MAX; i++)
			e.keys[i] = (EntryKey) {below(h, h->n_hashes), modes[below(h, sizeof(modes))]};
		e.n_keys = n;
	}
	if ((e.kind == ENTRY_TXN || e.kind == ENTRY_MARKER) && below(h, 4) == 0)
	{
		e.n_reads = (uint32_t) (1 + below(h, 4));
		e.read_base = e.base > 30 ? e.base - below(h, 30) : below(h, e.base + 1);
		for (uint32_t i = 0; i < e.n_reads; i++)
			e.reads[i] = (EntryKey) {below(h, h->n_hashes), modes[below(h, sizeof(modes))]};
	}
	if (e.kind == ENTRY_RESERVE && e.n_keys > 6)
		e.n_keys = 6;
	if ((e.kind == ENTRY_TXN || e.kind == ENTRY_MARKER) && h->chunk_index != 0 && below(h, 4) == 0)
	{
		e.txn = h->chunk_txn;
		e.chunks[e.n_chunks++] = h->chunk_index - (below(h, 8) == 0 && h->chunk_index > 1);
		h->chunk_index = 0;
	}
	if (e.kind == ENTRY_CHUNK)
	{
		h->chunk_index = h->index;
		h->chunk_txn = e.txn;
	}
	return e;
}

static void history_start(History *h, uint64_t seed)
{
	memset(h, 0, sizeof(*h));
	nd_random_seed(&h->r, seed);
	h->n_hashes = 1 + below(h, 1 + below(h, 60));
}

static CertifierLimits random_limits(History *h)
{
	CertifierLimits limits = {16 + below(h, 40), 16 + below(h, 40)};

	return limits;
}

static bool same_verdict(const Verdict *a, const Verdict *b)
{
	return a->kind == b->kind && a->key == b->key && a->by_index == b->by_index && same_id(a->by_txn, b->by_txn) && a->first == b->first;
}

static bool same_bytes(const Certifier *a, const Certifier *b)
{
	NdBuf		x;
	NdBuf		y;
	bool		same;

	nd_buf_init(&x);
	nd_buf_init(&y);
	same = certifier_save(a, &x) == ND_OK && certifier_save(b, &y) == ND_OK && x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
	nd_buf_free(&x);
	nd_buf_free(&y);
	return same;
}

/* Save and restore; false: it failed. */
static bool reincarnate(Certifier **c)
{
	NdBuf		buf;
	Certifier  *restored;
	bool		ok;

	nd_buf_init(&buf);
	ok = certifier_save(*c, &buf) == ND_OK && certifier_restore(buf.data, buf.len, &restored) == ND_OK;
	nd_buf_free(&buf);
	if (ok)
	{
		certifier_destroy(*c);
		*c = restored;
	}
	return ok;
}

static bool same_lookup(const Certifier *c, Oracle *o, TxnId id)
{
	OracleEntry *e = oracle_find(o, id);
	bool		want = e != NULL && e->e.kind != ENTRY_RESERVE && e->verdict != VERDICT_NONE;
	uint64_t	index;
	VerdictKind kind;

	if (certifier_lookup(c, id, &index, &kind) != want)
		return false;
	return !want || (index == e->index && kind == e->verdict);
}

/* How many ascend from the first on. */
static uint32_t ascending(const EntryKey *keys, uint32_t n)
{
	uint32_t	i = n > 0;

	while (i < n && (keys[i].hash > keys[i - 1].hash || (keys[i].hash == keys[i - 1].hash && keys[i].mode > keys[i - 1].mode)))
		i++;
	return i;
}

/* Who became owner, and who owns and waits. */
static bool same_line(const Certifier *c, const Oracle *o)
{
	const TxnId *granted;
	CertifierReservation r;
	size_t		n = certifier_granted(c, &granted);
	uint64_t	at = 0;
	uint64_t	keys = 0;
	size_t		waiting = 0;

	if (n != o->n_granted)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!same_id(granted[i], o->granted[i]))
			return false;
	for (; certifier_reservation(c, at, &r); at++)
		if (r.since != 0)
			keys += r.marker || r.index != oracle_place(o, r.txn) ? 0 : r.n_keys;
		else if (waiting == o->n_waiting || !same_id(o->waiting[waiting].e.txn, r.txn) || o->waiting[waiting].index != r.index)
			return false;
		else
			waiting++;
	for (size_t i = 0; i < o->n_reserved; i++)
	{
		bool		again = oracle_open(o, o->reserved[i].txn) != NULL;

		for (size_t k = 0; k < i; k++)
			again |= same_id(o->reserved[i].txn, o->reserved[k].txn) && o->reserved[i].key.hash == o->reserved[k].key.hash &&
				o->reserved[i].key.mode == o->reserved[k].key.mode;
		keys -= !again;
	}
	return keys == 0 && waiting == o->n_waiting;
}

static bool oracle_is_open(const Oracle *o, uint64_t position)
{
	for (size_t i = 0; i < o->n_open; i++)
		if (o->open[i].e.position == position)
			return true;
	return false;
}

typedef struct Held
{
	KitEntry	e;				/* n_keys 0: none */
	bool		lost;			/* at some moment */
} Held;

static bool oracle_is_lost(Oracle *o, const KitEntry *e)
{
	const OracleEntry *earlier = oracle_find(o, e->txn);
	Verdict		v = {0};
	bool		lost = false;

	if (e->base < o->start || (e->n_reads > 0 && e->read_base < o->start) || (earlier != NULL && earlier->e.kind != ENTRY_RESERVE) || oracle_open(o, e->txn) != NULL)
		return false;
	for (uint32_t k = 0; k < e->n_keys; k++)
		lost |= oracle_changed(o, e->keys[k], e->base, &v);
	for (uint32_t k = 0; k < e->n_reads; k++)
		lost |= oracle_changed(o, e->reads[k], e->read_base, &v);
	return lost;
}

static bool same_losses(const Certifier *c, Oracle *o, Held *held)
{
	Verdict		v;

	for (int i = 0; i < HELD; i++)
		if (held[i].e.n_keys > 0)
		{
			bool		lost = kit_is_lost(c, &held[i].e, &v);

			if (lost != oracle_is_lost(o, &held[i].e))
				return false;
			held[i].lost |= lost;
		}
	return true;
}

/* The next entry: now and then one that was made long ago, and meanwhile others are made that will come later. *lost: the late one was, at some moment. */
static KitEntry next_entry(History *h, Held *held, bool *lost)
{
	Held	   *at = &held[below(h, HELD)];
	KitEntry	e = random_entry(h);

	*lost = false;
	if (e.n_keys == 0 || e.n_chunks > 0 || below(h, 4) > 0)
		return e;
	if (e.kind == ENTRY_RESERVE && at->e.n_keys > 0)
	{
		e = at->e;
		*lost = at->lost;
		at->e.n_keys = 0;
	}
	else if (e.kind == ENTRY_TXN)
	{
		*at = (Held) {.e = e};
		return random_entry(h);
	}
	return e;
}

/* What differed first; NULL: nothing. */
static const char *run_history(uint64_t seed)
{
	Oracle	   *o = calloc(1, sizeof(Oracle));
	Certifier  *c = NULL;		/* never restored */
	Certifier  *d = NULL;		/* restored now and then */
	Held		held[HELD] = {0};
	History		h;
	const char *wrong = NULL;

	history_start(&h, seed);
	o->limits = random_limits(&h);
	for (int node = 0; node <= NODES; node++)
		o->incarnation[node] = -1;
	if (certifier_create(o->limits, &c) != ND_OK || certifier_create(o->limits, &d) != ND_OK)
		wrong = "create";

	for (int i = 0; i < ENTRIES && wrong == NULL; i++)
	{
		bool		lost;
		KitEntry	e = next_entry(&h, held, &lost);
		Verdict		vc;
		Verdict		vd;
		Verdict		want;

		if (below(&h, 40) == 0 && !reincarnate(&d))
			wrong = "restore";
		else if (kit_certify(c, h.index, &e, &vc) != ND_OK || kit_certify(d, h.index, &e, &vd) != ND_OK)
			wrong = "status";
		else
		{
			/* keys are sorted and made unique by the encoding, in place */
			e.n_keys = ascending(e.keys, e.n_keys);
			e.n_reads = ascending(e.reads, e.n_reads);
			want = oracle_certify(o, h.index, &e);
			history_note(&h, &e, &vc);
			if (!same_verdict(&vc, &want))
				wrong = "verdict";
			else if (lost && (vc.kind == VERDICT_COMMIT || vc.kind == VERDICT_PREPARED))
				wrong = "commit of what was lost";
			else if (!same_losses(c, o, held))
				wrong = "who is lost";
			else if (!same_verdict(&vd, &want))
				wrong = "verdict after restore";
			else if (certifier_window_start(c) != o->start)
				wrong = "window start";
			else if (certifier_open_chunk_floor(c) != oracle_floor(o))
				wrong = "chunk floor";
			else if (!same_line(c, o) || !same_line(d, o))
				wrong = "owners and waiters";
			else if (certifier_position(c) != o->position || certifier_decision(d) != o->decision)
				wrong = "position or decision";
			else if (e.kind >= ENTRY_MARKER && certifier_is_open(d, e.position) != oracle_is_open(o, e.position))
				wrong = "open marker";
			else if (certifier_checksum(c) != certifier_checksum(d))
				wrong = "checksum";
			else if (!same_lookup(c, o, e.txn) || !same_lookup(d, o, (TxnId) {e.txn.node, e.txn.incarnation, 1 + below(&h, 30)}))
				wrong = "lookup";
			else if (below(&h, 20) == 0 && !same_bytes(c, d))
				wrong = "bytes";
		}
	}
	certifier_destroy(c);
	certifier_destroy(d);
	free(o);
	return wrong;
}

static void histories_against_the_oracle(void **state)
{
	(void) state;
	for (uint64_t seed = first_seed; seed < first_seed + n_seeds; seed++)
	{
		const char *wrong = run_history(seed);

		if (wrong != NULL)
			fail_msg("seed %llu: %s", (unsigned long long) seed, wrong);
	}
}

/* Every allocation of every entry fails once: the state's bytes are those before, and the entry can be given again. */
static void failed_allocations_change_nothing(void **state)
{
	long		failures = 0;

	(void) state;
	for (uint64_t seed = first_seed; seed < first_seed + n_seeds / 50 + 1; seed++)
	{
		Certifier  *c;
		Certifier  *d;
		History		h;
		CertifierLimits limits;

		history_start(&h, seed);
		limits = random_limits(&h);
		assert_int_equal(certifier_create(limits, &c), ND_OK);
		assert_int_equal(certifier_create(limits, &d), ND_OK);
		for (int i = 0; i < ENTRIES; i++)
		{
			KitEntry	e = random_entry(&h);
			Verdict		v;
			NdStatus	status;

			/* a restored state has tables of the smallest size: more of the steps must allocate */
			if (below(&h, 20) == 0)
				assert_true(reincarnate(&c));
			for (uint64_t n = 1;; n++)
			{
				KitEntry	copy = e;

				nomem_fail(n, NOMEM_ALL);
				status = kit_certify(c, h.index, &copy, &v);
				nomem_fail(0, 0);
				if (status == ND_OK)
					break;
				assert_int_equal(status, ND_NOMEM);
				assert_true(same_bytes(c, d));
				failures++;
			}
			assert_int_equal(kit_certify(d, h.index, &e, &v), ND_OK);
			history_note(&h, &e, &v);
			assert_true(certifier_checksum(c) == certifier_checksum(d));
		}
		certifier_destroy(c);
		certifier_destroy(d);
		assert_int_equal(nomem_live(), 0);
	}
	assert_true(failures > (long) (n_seeds / 50));
}

#ifdef ND_MUTANTS
static void planted_bugs_are_seen(void **state)
{
	int			tried = 0;

	(void) state;
	for (int mutant = 1; mutant < MUTANT_COUNT; mutant++)
	{
		uint64_t	seed = first_seed;

		if (strncmp(nd_mutant_name(mutant), "CERTIFIER_", strlen("CERTIFIER_")) != 0 || strncmp(nd_mutant_name(mutant), "CERTIFIER_ORDER_", strlen("CERTIFIER_ORDER_")) == 0)
			continue;
		tried++;
		nd_mutant = mutant;
		while (seed < first_seed + n_seeds && run_history(seed) == NULL)
			seed++;
		nd_mutant = MUTANT_NONE;
		if (seed == first_seed + n_seeds)
			fail_msg("%s was not seen", nd_mutant_name(mutant));
		print_message("%s: seed %llu\n", nd_mutant_name(mutant), (unsigned long long) seed);
	}
	assert_true(tried > 0);
}
#endif

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(histories_against_the_oracle),
		cmocka_unit_test(failed_allocations_change_nothing),
#ifdef ND_MUTANTS
		cmocka_unit_test(planted_bugs_are_seen),
#endif
	};

	if (argc > 1)
		first_seed = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		n_seeds = strtoull(argv[2], NULL, 10);
	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
