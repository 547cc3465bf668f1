/*
 * certifier.c: the verdict. Optimistic certification by first committer wins (Kung, Robinson 1981: On Optimistic Methods for Concurrency
 * Control, section 4: backward validation), in the order of a replicated log (DESIGN.md, sections 2 and 5).
 *
 * Owns: the order of the rules, incarnations, open chunks, the history checksum.
 *
 * The rules of a TXN, first that fits:
 *   0. open        the id has an open MARKER (DUPLICATE): undecided, and no other verdict of it may be remembered
 *   1. fence       an older incarnation than the node's highest seen: its process is gone, whatever it proposed late
 *   2. identity    the id has a verdict (DUPLICATE) or a tombstone (CANCELLED)
 *   3. age         the base is below the window or not below the entry itself, or a chunk is not kept: cannot be judged
 *   4. keys        in ascending order: reserved by another id, else changed above the base
 *   5. reads       in ascending order: changed above the read base
 *
 * A RESERVE likewise by 0 to 3, then by others' keys only: those that are reserved, and those that stand before it in the line (queue.c). Where a TXN would abort, it waits, if its
 * id owns nothing yet and it may wait (entry.h). Who becomes an owner at an entry does so behind it: what the entry itself changed was not against the reservation.
 *
 * A MARKER that is the next one of its group is judged likewise, its reads also against reservations; what is a commit of a TXN is PREPARED. An OUTCOME that is the
 * next one ends its MARKER: with its keys changed at the OUTCOME, or without effect.
 *
 * Invariants:
 * 1. certifier_certify() judges first, reading only; then takes memory, which may fail; then changes state, which cannot fail.
 * 2. Only what was judged with base >= window start is remembered by id: below it an earlier verdict of the id may have been forgotten,
 *    and a new one would contradict it. Refusals for age or fence need no memory: they repeat for ever.
 * 3. KEY_REL_ACCESS_SHARE is checked, not recorded: an applier takes no lock for what another node only read.
 * 4. Reads are checked, not recorded, and reservations mean nothing to them: a SERIALIZABLE transaction takes its place at its entry, so it must have
 *    read what holds there; who changes it later comes later. With 1 and the keys this makes the log's order a serial one. (A MARKER takes its place later: its reads are
 *    owned till then.)
 */
#include "../base/mutant.h"
#include "certifier_int.h"

#include <string.h>

typedef struct Judgement
{
	Verdict		verdict;
	bool		fences;			/* a higher incarnation: older ones of the node end here */
	bool		remember;		/* add the entry to the window */
	bool		keep_chunk;
	uint8_t		recorded;		/* verdict kept with the entry */
	bool		leaves;			/* whatever the id waits for, it does no more */
	uint64_t	age;			/* of a RESERVE */
	bool		counts;			/* a MARKER or an OUTCOME that is the next one */
	OpenMarker *ends;			/* an OUTCOME: of this one */
} Judgement;

NdStatus certifier__vector_reserve(void **data, uint64_t *cap, uint64_t n, size_t element_bytes)
{
	uint64_t	more = *cap > 0 ? *cap * 2 : 8;
	void	   *grown;

	if (n < *cap)
		return ND_OK;
	grown = nd_realloc(*data, more * element_bytes);
	if (grown == NULL)
		return ND_NOMEM;
	*data = grown;
	*cap = more;
	return ND_OK;
}

NdStatus certifier_create(CertifierLimits limits, Certifier **out)
{
	Certifier  *c;

	if (limits.keys_max < CERTIFIER_LIMIT_MIN || limits.ids_max < CERTIFIER_LIMIT_MIN)
		return ND_INVALID;
	c = nd_zalloc(sizeof(Certifier));
	if (c == NULL)
		return ND_NOMEM;
	c->limits = limits;
	*out = c;
	return ND_OK;
}

void certifier_destroy(Certifier *c)
{
	if (c == NULL)
		return;
	certifier__window_free(&c->window);
	certifier__reservations_free(&c->reservations);
	nd_free(c->nodes);
	nd_free(c->chunks);
	certifier__markers_free(c);
	nd_free(c);
}

static uint64_t node_position(const Certifier *c, NdNodeId node)
{
	uint64_t	at = 0;

	while (at < c->n_nodes && c->nodes[at].node < node)
		at++;
	return at;
}

static bool node_known(const Certifier *c, uint64_t at, NdNodeId node)
{
	return at < c->n_nodes && c->nodes[at].node == node;
}

static const OpenChunks *chunks_find(const Certifier *c, TxnId txn)
{
	for (uint64_t i = 0; i < c->n_chunks; i++)
		if (txnid_compare(c->chunks[i].txn, txn) == 0)
			return &c->chunks[i];
	return NULL;
}

/* All that the TXN names must be in the log still: at or above the index from which its chunks are kept. */
static bool chunks_are_kept(const Certifier *c, uint64_t index, const EntryHeader *h)
{
	const OpenChunks *open = chunks_find(c, h->txn);
	NdReader	r;
	uint64_t	chunk = 0;

	if (h->n_chunks == 0)
		return true;
	if (open == NULL)
		return false;
	nd_reader_init(&r, h->chunks, (size_t) (h->body - h->chunks));
	for (uint32_t i = 0; i < h->n_chunks; i++)
	{
		chunk += nd_read_varint(&r);
		if (chunk < open->first || chunk >= index)
			return false;
	}
	return true;
}

static void conflict(const Certifier *c, EntryKey key, uint64_t base, Verdict *v)
{
	uint64_t	by_index = certifier__keys_conflict(&c->window.table, key, base);

	if (by_index != 0)
		*v = (Verdict) {.kind = VERDICT_ABORT_CONFLICT, .key = key.hash, .by_index = by_index,
			.by_txn = certifier__window_at(&c->window, by_index)->txn};
}

/* Another id owns what conflicts with the key. */
static bool owned(const Certifier *c, const EntryHeader *h, EntryKey key, Verdict *v)
{
	const Owner *owner = certifier__reservations_conflict(&c->reservations, key, h->txn);

	if (owner == NULL || MUTANT(CERTIFIER_RESERVATION_IGNORED) || (owner->open && MUTANT(CERTIFIER_MARKER_NOT_RESERVED)))
		return false;
	*v = (Verdict) {.kind = VERDICT_ABORT_RESERVED, .key = key.hash, .by_index = owner->index, .by_txn = owner->txn};
	return true;
}

/* Somebody who waits, and came before this id, wants what conflicts with the key. */
static bool wanted(const Certifier *c, const EntryHeader *h, EntryKey key, uint64_t before, Verdict *v)
{
	const Waiter *w = certifier__queue_conflict(&c->reservations, key, h->txn, before);

	if (w == NULL || MUTANT(CERTIFIER_QUEUE_OVERTAKES) || (h->kind == ENTRY_MARKER && MUTANT(CERTIFIER_QUEUE_MARKER_PASSES)))
		return false;
	*v = (Verdict) {.kind = VERDICT_ABORT_RESERVED, .key = key.hash, .by_index = w->index, .by_txn = w->txn};
	return true;
}

/* Rules 4 and 5. false: a key with an unknown mode. */
static bool judge_keys(const Certifier *c, const EntryHeader *h, Verdict *v)
{
	const Owner *self = c->reservations.n_waiting > 0 ? certifier__reservations_find(&c->reservations, h->txn) : NULL;
	uint64_t	before = self != NULL && !MUTANT(CERTIFIER_QUEUE_HOLDS_OWNER) ? self->index : UINT64_MAX;

	for (uint32_t i = 0; i < h->n_keys; i++)
	{
		EntryKey	key = entry_key(h, i);

		if (key.mode >= 1 << CERTIFIER_MODE_BITS)
			return false;
		if (v->kind != VERDICT_COMMIT)
			continue;
		if (owned(c, h, key, v) || (h->kind != ENTRY_TXN && wanted(c, h, key, before, v)))
			continue;
		/*
		 * A reservation is not judged by what was changed since its base: its owner reads nothing before the reservation is applied on its node,
		 * and what it does then is judged by the TXN's own base. Else a table that others write to could hardly ever be reserved.
		 */
		if (h->kind == ENTRY_RESERVE)
			continue;
		conflict(c, key, h->base, v);
	}
	for (uint32_t i = 0; i < h->n_reads && v->kind == VERDICT_COMMIT && !MUTANT(CERTIFIER_READS_IGNORED); i++)
	{
		/* A part takes its place at its outcome: nobody who may come before that may change what it read. */
		if (h->kind == ENTRY_MARKER && !MUTANT(CERTIFIER_MARKER_READS) && (owned(c, h, entry_read(h, i), v) || wanted(c, h, entry_read(h, i), before, v)))
			break;
		conflict(c, entry_read(h, i), MUTANT(CERTIFIER_READ_BASE) ? h->base : h->read_base, v);
	}
	return true;
}

static NdStatus judge_work(const Certifier *c, uint64_t index, const EntryHeader *h, bool fenced, const WindowEntry *earlier, Judgement *j)
{
	Verdict    *v = &j->verdict;
	bool		in_window = h->base + MUTANT(CERTIFIER_OLD_BASE) >= c->window.start;
	bool		reads_in_window = h->n_reads == 0 || h->read_base >= c->window.start || MUTANT(CERTIFIER_READ_OLD);
	const OpenMarker *open = certifier__marker_of(c, h->txn);
	bool		judged;

	v->kind = VERDICT_COMMIT;
	/* Undecided, whatever else comes under the id: no other verdict of it may be remembered. */
	if (open != NULL)
		*v = (Verdict) {.kind = VERDICT_DUPLICATE, .by_index = open->index, .by_txn = h->txn, .first = VERDICT_PREPARED};
	else if (fenced && !MUTANT(CERTIFIER_FENCE_IGNORED))
		v->kind = VERDICT_ABORT_FENCED;
	else if (earlier != NULL && earlier->kind == ENTRY_CANCEL && !MUTANT(CERTIFIER_TOMBSTONE_IGNORED))
		*v = (Verdict) {.kind = VERDICT_ABORT_CANCELLED, .by_index = earlier->index, .by_txn = h->txn};
	else if (earlier != NULL && !MUTANT(CERTIFIER_DUPLICATE_MISSED) &&
			 (earlier->kind == ENTRY_TXN || (h->kind == ENTRY_RESERVE && h->flags <= earlier->number)))
		*v = (Verdict) {.kind = VERDICT_DUPLICATE, .by_index = earlier->index, .by_txn = h->txn, .first = (VerdictKind) earlier->verdict};
	else if (!in_window || !reads_in_window || h->base >= index || !chunks_are_kept(c, index, h))
		*v = (Verdict) {.kind = VERDICT_ABORT_OLD, .by_index = c->window.start};
	judged = v->kind == VERDICT_COMMIT;
	if (!judge_keys(c, h, v))
		return ND_INVALID;
	j->leaves = (judged && !MUTANT(CERTIFIER_QUEUE_STAYS)) || h->kind != ENTRY_RESERVE;
	if (h->kind == ENTRY_RESERVE && entry_reserve_waits(h, &j->age) && v->kind == VERDICT_ABORT_RESERVED &&
		certifier__reservations_find(&c->reservations, h->txn) == NULL && certifier__queue_has_room(&c->reservations, h->n_keys))
		v->kind = VERDICT_QUEUED;

	j->recorded = (uint8_t) v->kind;
	j->remember = v->kind == VERDICT_COMMIT || (in_window && v->kind != VERDICT_DUPLICATE && (earlier == NULL || earlier->kind == ENTRY_RESERVE));
	return ND_OK;
}

bool certifier_is_lost(const Certifier *c, const EntryHeader *h, Verdict *verdict)
{
	const WindowEntry *earlier = certifier__window_find(&c->window, h->txn);

	*verdict = (Verdict) {.kind = VERDICT_COMMIT};
	if (h->base < c->window.start || (h->n_reads > 0 && h->read_base < c->window.start) || (earlier != NULL && earlier->kind != ENTRY_RESERVE) ||
		certifier__marker_of(c, h->txn) != NULL)
		return false;			/* another answer may be its own */
	for (uint32_t i = 0; i < h->n_keys && verdict->kind == VERDICT_COMMIT; i++)
	{
		EntryKey	key = entry_key(h, i);

		if (key.mode >= 1 << CERTIFIER_MODE_BITS)
			return false;
		if (!MUTANT(CERTIFIER_LOST_TO_RESERVED) || !owned(c, h, key, verdict))
			conflict(c, key, h->base, verdict);
	}
	for (uint32_t i = 0; i < h->n_reads && verdict->kind == VERDICT_COMMIT; i++)
		conflict(c, entry_read(h, i), MUTANT(CERTIFIER_LOST_READ_BASE) ? 0 : h->read_base, verdict);
	return verdict->kind != VERDICT_COMMIT;
}

static NdStatus judge_marker(const Certifier *c, uint64_t index, const EntryHeader *h, bool fenced, const WindowEntry *earlier, Judgement *j)
{
	NdStatus	status;

	if (h->previous != c->position && !(MUTANT(CERTIFIER_MARKER_TWICE) && certifier__marker_find(c, h->position) == NULL) &&
		!(MUTANT(CERTIFIER_MARKER_GAP) && h->position > c->position))
	{
		j->fences = false;
		j->verdict.kind = VERDICT_REPEATED;
		return ND_OK;
	}
	status = judge_work(c, index, h, fenced, earlier, j);
	j->counts = true;
	if (j->verdict.kind == VERDICT_COMMIT)
	{
		j->verdict.kind = VERDICT_PREPARED;
		j->remember = false;
	}
	return status;
}

static void judge_outcome(const Certifier *c, const EntryHeader *h, Judgement *j)
{
	Verdict    *v = &j->verdict;
	OpenMarker *m = certifier__marker_find(c, h->position);
	bool		commit = h->flags != 0;

	j->fences = false;
	v->kind = VERDICT_REPEATED;
	if ((h->previous != c->decision && !MUTANT(CERTIFIER_OUTCOME_ANY_ORDER)) || h->decision <= c->decision || h->position > c->position)
		return;
	if (m != NULL ? txnid_compare(m->txn, h->txn) != 0 : commit)
		return;
	*v = (Verdict) {.kind = commit ? VERDICT_COMMIT : VERDICT_ABORT_ELSEWHERE, .by_index = m != NULL ? m->index : 0, .by_txn = h->txn};
	j->counts = true;
	j->ends = m;
	j->remember = m != NULL;
	j->recorded = (uint8_t) v->kind;
}

static void judge_cancel(const Certifier *c, const EntryHeader *h, const WindowEntry *earlier, Judgement *j)
{
	Verdict    *v = &j->verdict;
	const OpenMarker *open = certifier__marker_of(c, h->txn);

	/* other groups may commit it: too late */
	if (open != NULL && !MUTANT(CERTIFIER_CANCEL_FREES_MARKER))
	{
		*v = (Verdict) {.kind = VERDICT_NONE, .by_index = open->index, .by_txn = h->txn, .first = VERDICT_PREPARED};
		return;
	}
	j->leaves = true;
	if (earlier != NULL && earlier->kind != ENTRY_RESERVE)
	{
		v->kind = earlier->kind == ENTRY_CANCEL && earlier->verdict == VERDICT_NONE ? VERDICT_ABORT_OLD : VERDICT_NONE;
		v->by_index = earlier->index;
		v->by_txn = h->txn;
		v->first = (VerdictKind) earlier->verdict;
		return;
	}
	/* A tombstone in any case; but a proof that the id never committed only if a verdict of it could not have been forgotten. */
	j->remember = true;
	if (earlier != NULL || h->base >= c->window.start || certifier__reservations_find(&c->reservations, h->txn) != NULL ||
		certifier__queue_find(&c->reservations, h->txn) != NULL)
		j->recorded = VERDICT_ABORT_CANCELLED;
	else
	{
		j->recorded = VERDICT_NONE;
		*v = (Verdict) {.kind = VERDICT_ABORT_OLD, .by_index = c->window.start};
	}
}

static NdStatus judge(const Certifier *c, uint64_t index, const EntryHeader *h, Judgement *j)
{
	uint64_t	at = node_position(c, h->txn.node);
	uint32_t	highest = node_known(c, at, h->txn.node) ? c->nodes[at].incarnation : 0;
	bool		fenced = h->txn.incarnation < highest;
	const WindowEntry *earlier = certifier__window_find(&c->window, h->txn);

	memset(j, 0, sizeof(*j));
	j->fences = h->txn.incarnation > highest || !node_known(c, at, h->txn.node);
	switch (h->kind)
	{
		case ENTRY_TXN:
		case ENTRY_RESERVE:
			return judge_work(c, index, h, fenced, earlier, j);
		case ENTRY_CANCEL:
			/* not fenced: others send it too, to learn the outcome of an id whose process is gone */
			judge_cancel(c, h, earlier, j);
			return ND_OK;
		case ENTRY_CHUNK:
			/* A late copy would keep the log for ever: nothing comes to end it. */
			j->keep_chunk = !fenced && certifier__marker_of(c, h->txn) == NULL && (earlier == NULL || earlier->kind == ENTRY_RESERVE) && h->base >= c->window.start &&
				chunks_find(c, h->txn) == NULL;
			j->verdict.kind = fenced ? VERDICT_ABORT_FENCED : VERDICT_NONE;
			return ND_OK;
		case ENTRY_MARKER:
			return judge_marker(c, index, h, fenced, earlier, j);
		case ENTRY_OUTCOME:
			judge_outcome(c, h, j);
			return ND_OK;
	}
	return ND_INVALID;
}

static bool takes_effect(const EntryHeader *h, const Judgement *j, EntryKind kind)
{
	return h->kind == kind && j->verdict.kind == VERDICT_COMMIT;
}

static NdStatus take_memory(Certifier *c, const EntryHeader *h, const Judgement *j)
{
	NdStatus	status = ND_OK;

	if (j->fences)
		status = certifier__vector_reserve((void **) &c->nodes, &c->nodes_cap, c->n_nodes, sizeof(NodeIncarnation));
	if (status == ND_OK && j->keep_chunk)
		status = certifier__vector_reserve((void **) &c->chunks, &c->chunks_cap, c->n_chunks, sizeof(OpenChunks));
	if (status == ND_OK && j->remember)
		status = certifier__window_reserve(&c->window, takes_effect(h, j, ENTRY_TXN) ? h->n_keys : takes_effect(h, j, ENTRY_OUTCOME) ? j->ends->n_keys : 0);
	if (status == ND_OK && takes_effect(h, j, ENTRY_RESERVE) && h->n_keys > 0)
		status = certifier__reservations_reserve(&c->reservations, h->txn, h->n_keys);
	if (status == ND_OK && j->verdict.kind == VERDICT_QUEUED)
		status = certifier__queue_reserve(&c->reservations, h->n_keys);
	if (status == ND_OK && j->verdict.kind == VERDICT_PREPARED)
	{
		status = certifier__marker_reserve(c, h->n_keys);
		if (status != ND_OK)
			return status;
		status = certifier__reservations_reserve(&c->reservations, h->txn, (uint64_t) h->n_keys + h->n_reads);
		if (status != ND_OK)
			nd_free(c->markers[c->n_markers].keys);
	}
	return status;
}

/* Keep what the predicate spares, in order. */
static void chunks_end(Certifier *c, TxnId txn, bool older_incarnations)
{
	uint64_t	kept = 0;

	for (uint64_t i = 0; i < c->n_chunks; i++)
	{
		TxnId		id = c->chunks[i].txn;
		bool		ends = older_incarnations ? id.node == txn.node && id.incarnation < txn.incarnation && certifier__marker_of(c, id) == NULL :
			txnid_compare(id, txn) == 0;

		if (!ends)
			c->chunks[kept++] = c->chunks[i];
	}
	c->n_chunks = kept;
}

static void fence(Certifier *c, TxnId txn)
{
	uint64_t	at = node_position(c, txn.node);

	if (!node_known(c, at, txn.node))
	{
		if (at < c->n_nodes)
			memmove(&c->nodes[at + 1], &c->nodes[at], (c->n_nodes - at) * sizeof(NodeIncarnation));
		c->n_nodes++;
		c->nodes[at].node = txn.node;
	}
	c->nodes[at].incarnation = txn.incarnation;
	certifier__reservations_fence(&c->reservations, txn.node, txn.incarnation);
	chunks_end(c, txn, true);
}

static void open_marker(Certifier *c, uint64_t index, const EntryHeader *h)
{
	OpenMarker *m = &c->markers[c->n_markers++];

	m->txn = h->txn;
	m->position = h->position;
	m->index = index;
	certifier__queue_before_gain(&c->reservations, h->txn);
	for (uint32_t i = 0; i < h->n_keys; i++)
	{
		EntryKey	key = entry_key(h, i);

		if (key.mode != KEY_REL_ACCESS_SHARE)
			m->keys[m->n_keys++] = key;
		certifier__reservations_add(&c->reservations, h->txn, index, key);
	}
	for (uint32_t i = 0; i < h->n_reads && !MUTANT(CERTIFIER_MARKER_READS); i++)
		certifier__reservations_add(&c->reservations, h->txn, index, entry_read(h, i));
	certifier__reservations_open(&c->reservations, h->txn, index);
	certifier__queue_after_gain(&c->reservations, h->txn);
}

static void reserve(Certifier *c, uint64_t index, const EntryHeader *h, const Judgement *j)
{
	Reservations *r = &c->reservations;

	if (j->verdict.kind == VERDICT_QUEUED)
	{
		for (uint32_t i = 0; i < h->n_keys; i++)
			r->next_keys[i] = entry_key(h, i);
		certifier__queue_push(r, h->txn, index, j->age, h->n_keys);
	}
	else if (j->verdict.kind == VERDICT_COMMIT && h->n_keys > 0)
	{
		certifier__queue_before_gain(r, h->txn);
		for (uint32_t i = 0; i < h->n_keys; i++)
			certifier__reservations_add(r, h->txn, index, entry_key(h, i));
		certifier__reservations_age(r, h->txn, index, j->age);
		certifier__queue_after_gain(r, h->txn);
	}
}

static void take_effect(Certifier *c, uint64_t index, const EntryHeader *h, const Judgement *j)
{
	bool		over = h->kind == ENTRY_TXN || h->kind == ENTRY_CANCEL || (h->kind == ENTRY_MARKER && j->counts && j->verdict.kind != VERDICT_PREPARED);

	if (j->fences)
		fence(c, h->txn);
	if (j->keep_chunk)
		c->chunks[c->n_chunks++] = (OpenChunks) {h->txn, index};
	if (j->leaves)
		certifier__queue_leave(&c->reservations, h->txn);
	if (j->verdict.kind == VERDICT_PREPARED)
		open_marker(c, index, h);
	/* what an open marker has stays until its outcome, whatever comes under its id */
	if (j->ends != NULL || (over && (certifier__marker_of(c, h->txn) == NULL || MUTANT(CERTIFIER_CANCEL_FREES_MARKER))))
	{
		chunks_end(c, h->txn, false);
		certifier__reservations_end(&c->reservations, h->txn);
	}
	if (j->remember)
	{
		/* the verdict of a part is one of a transaction */
		WindowEntry entry = {.index = index, .txn = h->txn, .number = h->kind == ENTRY_RESERVE ? h->flags : 0,
			.kind = h->kind >= ENTRY_MARKER ? ENTRY_TXN : (uint8_t) h->kind, .verdict = j->recorded};

		certifier__window_push(&c->window, &entry);
	}
	for (uint32_t i = 0; takes_effect(h, j, ENTRY_OUTCOME) && i < j->ends->n_keys; i++)
		certifier__window_push_key(&c->window, j->ends->keys[i]);
	for (uint32_t i = 0; takes_effect(h, j, ENTRY_TXN) && i < h->n_keys; i++)
	{
		EntryKey	key = entry_key(h, i);

		if (key.mode != KEY_REL_ACCESS_SHARE)
			certifier__window_push_key(&c->window, key);
	}
	if (h->kind == ENTRY_RESERVE)
		reserve(c, index, h, j);
	if (j->remember)
		certifier__window_evict(&c->window, c->limits.keys_max, c->limits.ids_max);
	if (j->ends != NULL)
		certifier__marker_remove(c, j->ends);
	if (j->counts && h->kind == ENTRY_MARKER)
		c->position = h->position;
	if (j->counts && h->kind == ENTRY_OUTCOME)
		c->decision = h->decision;
	if (takes_effect(h, j, ENTRY_TXN) || takes_effect(h, j, ENTRY_OUTCOME))
		c->last_commit = index;
	c->last_index = index;
	certifier__reservations_expire(&c->reservations, index);
	certifier__queue_grant(&c->reservations, index);
}

/*
 * Chain the entry, its verdict and the sizes of the state behind it. Replicas compare the result: whatever differs in what they were
 * handed, judged or evicted shows, at a cost that does not grow with the window.
 */
static void extend_history(Certifier *c, uint64_t index, const EntryHeader *h, const Verdict *v)
{
	const Reservations *r = &c->reservations;
	const uint64_t facts[] = {
		index, (uint64_t) h->kind, h->flags, h->txn.node, h->txn.incarnation, h->txn.counter, h->base, h->n_keys, h->n_chunks,
		(uint64_t) v->kind, v->key, v->by_index, v->by_txn.node, v->by_txn.incarnation, v->by_txn.counter, (uint64_t) v->first,
		c->window.start, c->window.next - c->window.first, c->window.keys_next - c->window.keys_first, c->window.table.used,
		c->reservations.n_owners, c->reservations.used, certifier_open_chunk_floor(c)
	};
	uint8_t		bytes[sizeof(facts)];

	for (size_t i = 0; i < sizeof(facts); i++)
		bytes[i] = (uint8_t) (facts[i / 8] >> (8 * (i % 8)));
	c->history = nd_checksum(bytes, sizeof(bytes), c->history);
	if (h->n_keys > 0)
		c->history = nd_checksum(h->keys, (size_t) h->n_keys * ENTRY_KEY_BYTES, c->history);
	if (h->kind >= ENTRY_MARKER)
	{
		const uint64_t place[] = {h->position, h->previous, h->decision, c->position, c->decision, c->n_markers};

		for (size_t i = 0; i < sizeof(place); i++)
			bytes[i] = (uint8_t) (place[i / 8] >> (8 * (i % 8)));
		c->history = nd_checksum(bytes, sizeof(place), c->history);
	}
	/* nothing of this for histories in which nobody waits: their sums are what they always were */
	if (r->n_waiting > 0 || r->n_granted > 0)
	{
		const uint64_t line[] = {r->n_waiting, r->waiting_keys, r->n_granted, r->n_waiting > 0 ? r->waiting[0].index : 0};

		for (size_t i = 0; i < sizeof(line); i++)
			bytes[i] = (uint8_t) (line[i / 8] >> (8 * (i % 8)));
		c->history = nd_checksum(bytes, sizeof(line), c->history);
	}
	if (h->n_reads > 0)
		c->history = nd_checksum(h->reads, (size_t) h->n_reads * ENTRY_KEY_BYTES, c->history ^ h->read_base);
}

NdStatus certifier_certify(Certifier *c, uint64_t index, const EntryHeader *h, Verdict *verdict)
{
	Judgement	j;
	NdStatus	status;

	if (index <= c->last_index || index > CERTIFIER_INDEX_MAX || h->txn.node == 0 || h->txn.counter == 0)
		return ND_INVALID;
	status = judge(c, index, h, &j);
	if (status == ND_OK)
		status = take_memory(c, h, &j);
	if (status != ND_OK)
		return status;
	take_effect(c, index, h, &j);
	extend_history(c, index, h, &j.verdict);
	*verdict = j.verdict;
	return ND_OK;
}

bool certifier_lookup(const Certifier *c, TxnId txn, uint64_t *index, VerdictKind *kind)
{
	const WindowEntry *entry = certifier__window_find(&c->window, txn);

	if (entry == NULL || entry->kind == ENTRY_RESERVE || entry->verdict == VERDICT_NONE)
		return false;
	*index = entry->index;
	*kind = (VerdictKind) entry->verdict;
	return true;
}

uint64_t certifier_window_start(const Certifier *c)
{
	return c->window.start;
}

uint64_t certifier_open_chunk_floor(const Certifier *c)
{
	uint64_t	chunk = c->n_chunks > 0 ? c->chunks[0].first : 0;
	uint64_t	marker = c->n_markers > 0 ? c->markers[0].index : 0;

	return chunk == 0 || (marker > 0 && marker < chunk) ? marker : chunk;
}

uint64_t certifier_position(const Certifier *c)
{
	return c->position;
}

uint64_t certifier_decision(const Certifier *c)
{
	return c->decision;
}

bool certifier_is_open(const Certifier *c, uint64_t position)
{
	return certifier__marker_find(c, position) != NULL;
}

bool certifier_chunks_open(const Certifier *c, TxnId txn)
{
	return chunks_find(c, txn) != NULL;
}

/* Into a list in log order that keeps the first `cap`. */
static uint32_t list_owner(CertifierOwner *out, uint32_t n, uint32_t cap, CertifierOwner owner)
{
	uint32_t	at = n;

	while (at > 0 && out[at - 1].index > owner.index)
		at--;
	if (at == cap)
		return n;
	if (n == cap)
		n--;
	memmove(&out[at + 1], &out[at], (n - at) * sizeof(*out));
	out[at] = owner;
	return n + 1;
}

uint32_t certifier_owners(const Certifier *c, uint64_t after, CertifierOwner *out, uint32_t cap)
{
	const Reservations *r = &c->reservations;
	uint32_t	n = 0;

	for (uint64_t i = 0; i < r->n_owners; i++)
		if (r->owners[i].index > after && !r->owners[i].open)
			n = list_owner(out, n, cap, (CertifierOwner) {r->owners[i].txn, r->owners[i].index});
	for (uint64_t i = 0; i < r->n_waiting; i++)
		if (r->waiting[i].index > after)
			n = list_owner(out, n, cap, (CertifierOwner) {r->waiting[i].txn, r->waiting[i].index});
	for (uint64_t i = 0; i < c->n_chunks; i++)
		if (c->chunks[i].first > after && certifier__marker_of(c, c->chunks[i].txn) == NULL)
			n = list_owner(out, n, cap, (CertifierOwner) {c->chunks[i].txn, c->chunks[i].first});
	return n;
}

uint32_t certifier_granted(const Certifier *c, const TxnId **ids)
{
	*ids = c->reservations.granted;
	return (uint32_t) c->reservations.n_granted;
}

bool certifier_reservation(const Certifier *c, uint64_t i, CertifierReservation *out)
{
	const Reservations *r = &c->reservations;

	if (i < r->n_owners)
	{
		const Owner *o = &r->owners[i];

		*out = (CertifierReservation) {.txn = o->txn, .index = o->index, .since = o->since, .marker = o->open, .keys = o->keys, .n_keys = o->n_keys};
		return true;
	}
	i -= r->n_owners;
	if (i >= r->n_waiting)
		return false;
	*out = (CertifierReservation) {.txn = r->waiting[i].txn, .index = r->waiting[i].index, .keys = r->waiting[i].keys, .n_keys = r->waiting[i].n_keys};
	return true;
}

bool certifier_waits_for(const Certifier *c, uint64_t index, const EntryKey *keys, uint64_t n_keys, TxnId by)
{
	return certifier__queue_waits_for(&c->reservations, index, keys, n_keys, by);
}

uint64_t certifier_last_index(const Certifier *c)
{
	return c->last_index;
}

uint64_t certifier_last_commit(const Certifier *c)
{
	return c->last_commit;
}

uint64_t certifier_checksum(const Certifier *c)
{
	return c->history;
}

void certifier_status(const Certifier *c, CertifierStatus *out)
{
	const Window *w = &c->window;
	const Reservations *r = &c->reservations;

	out->keys = w->keys_next - w->keys_first;
	out->ids = w->next - w->first;
	out->reservations = r->n_owners;
	out->markers = c->n_markers;
	out->waiting = r->n_waiting;
	out->bytes = sizeof(Certifier) + w->entries_cap * sizeof(WindowEntry) + w->keys_cap * (sizeof(uint64_t) + 1) +
		w->ids_cap * sizeof(uint64_t) + w->table.cap * sizeof(KeySlot) + r->cap * sizeof(ReservedSlot) +
		r->owners_cap * sizeof(Owner) + r->waiting_cap * sizeof(Waiter) + r->waiting_keys * sizeof(EntryKey) + r->granted_cap * sizeof(TxnId) + c->markers_cap * sizeof(OpenMarker) + c->nodes_cap * sizeof(NodeIncarnation) + c->chunks_cap * sizeof(OpenChunks);
	for (uint64_t i = 0; i < r->n_owners; i++)
		out->bytes += r->owners[i].keys_cap * sizeof(EntryKey);
	for (uint64_t i = 0; i < c->n_markers; i++)
		out->bytes += (c->markers[i].n_keys + 1) * sizeof(EntryKey);
}
