/*
 * raft_worker_requests.c: what backends and the applier ask of the raft worker, and what it answers: proposals, tickets, read rounds, look-ups.
 *
 * Invariants:
 * 1. A request is answered at most once, and only its own slot's fields are written: the answer is a compare-and-swap of the slot's word from TAKEN, and
 *    without TAKEN no field is touched (a newer request may have its answer there); an abandoned request's entry gets a
 *    ticket that belongs to the applier.
 * 2. A ticket's fields and its owner are complete before tickets_end shows it; the owner's latch is set after that.
 * 3. Tickets follow each group's log: they are handed out inside deliver(), which comes in index order per group.
 * 4. A transaction over several groups has one request and one answer: a ticket with all its parts, or why one group refused it.
 * 5. A RESERVE that waits has its answer when its turn comes (`waiting`), or when its id ends: a TXN, a CANCEL by whomever. Its backend may have gone on without.
 */
#include "raft_worker.h"
#include "raft_worker_bulk.h"
#include "raft_worker_orphans.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct PendingKey
{
	TxnId		txn;			/* of this life; of a CANCEL any that somebody asked for (session/outcome.c) */
	uint32		kind;
	uint32		flags;
} PendingKey;

typedef struct Pending
{
	PendingKey	key;
	NdGroupId	group;			/* ND_GROUP_SEQUENCER: a MARKER */
	uint32		slot;
	uint64		request;
	/* MARKER */
	Verdict		verdict;		/* of the first MARKER that voted no; VERDICT_NONE: none was delivered here */
	NdGroupId	verdict_group;
	uint64		verdict_index;
	uint32		aborts;			/* OUTCOMEs that abort, delivered here */
	uint64		until_tick;		/* it is aborted, and answered at this tick though no reason is known; 0: not aborted */
} Pending;

#define REASON_TICKS (1000 / TICK_MS)	/* how long an abort is not told because the MARKER that says why may be on its way */

#define CIRCLE_TICKS (100 / TICK_MS)	/* how often those who wait for reservations look whether they wait in a circle */

typedef struct WaitingKey
{
	TxnId		txn;
	NdGroupId	group;
	uint32		zero;
} WaitingKey;

/* A RESERVE of this life that stands in the queue of a group's certifier. */
typedef struct Waiting
{
	WaitingKey	key;
	uint32		slot;
	uint64		request;
} Waiting;

#define READ_ROUNDS 4

typedef struct ReadRound
{
	uint64		token;			/* requests up to this number; 0 = free */
	uint32		waiting;		/* groups still to answer */
	bool		failed;
} ReadRound;

static HTAB *pending = NULL;
static uint64 tick = 0;
static uint32 n_unexplained = 0;	/* Pendings with until_tick */
static uint64 parts_end = 0;	/* first part not handed out */
static HTAB *waiting = NULL;
static ReadRound rounds[READ_ROUNDS];

void
requests_init(void)
{
	HASHCTL		ctl;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(PendingKey);
	ctl.entrysize = sizeof(Pending);
	/* Process life: the pending requests of all backends. */
	ctl.hcxt = TopMemoryContext;
	pending = hash_create("nodedb pending requests", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.keysize = sizeof(WaitingKey);
	ctl.entrysize = sizeof(Waiting);
	waiting = hash_create("nodedb waiting reservations", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	memset(rounds, 0, sizeof(rounds));
}

static void
wake(uint32 slot)
{
	SetLatch(&ProcGlobal->allProcs[nodedb_slots[slot].pgprocno].procLatch);
}

/*
 * Does the slot still wait for the answer to this request? Asked before the answer's fields are written: an abandoned request's slot may carry a newer one that
 * has its answer already, and its backend reads the same fields (another ticket there would let the turnstile stand for ever). When the
 * request is abandoned in between, no harm: a newer one gets its answer from this process, later, and over these fields.
 */
static bool
awaits(uint32 slot, uint64 request)
{
	return pg_atomic_read_u64(&nodedb_slots[slot].word) == slot_word(request, SLOT_TAKEN);
}

/* Show an answer whose fields are written; false when the request was abandoned. */
static bool
answer(uint32 slot, uint64 request, SlotState state)
{
	uint64		expected = slot_word(request, SLOT_TAKEN);

	pg_write_barrier();
	return pg_atomic_compare_exchange_u64(&nodedb_slots[slot].word, &expected, slot_word(request, state));
}

static void
answer_failed(uint32 slot, uint64 request, NdStatus reason, bool unknown)
{
	if (!awaits(slot, request))
		return;
	nodedb_slots[slot].failure = reason;
	nodedb_slots[slot].outcome_unknown = unknown;
	if (answer(slot, request, SLOT_FAILED))
		wake(slot);
}

static PendingKey
pending_key(TxnId txn, EntryKind kind, uint16 flags)
{
	PendingKey	key;

	memset(&key, 0, sizeof(key));
	key.txn = txn;
	key.kind = kind;
	key.flags = kind == ENTRY_TXN ? 0 : flags;
	return key;
}

static Pending *
find_pending(const EntryHeader *h)
{
	PendingKey	key = pending_key(h->txn, h->kind, h->flags);

	return hash_search(pending, &key, HASH_FIND, NULL);
}

/* A MARKER or an OUTCOME of a transaction over several groups that a backend here waits for. */
static Pending *
find_several(TxnId txn)
{
	PendingKey	key = pending_key(txn, ENTRY_MARKER, 0);

	return hash_search(pending, &key, HASH_FIND, NULL);
}

static void
forget_pending(Pending *p)
{
	n_unexplained -= p->until_tick != 0;
	hash_search(pending, &p->key, HASH_REMOVE, NULL);
}

/* ---- taking requests ---- */

static void
copy_request(NodedbSlot *slot, NdBlob **copy)
{
	if (slot->segment == DSM_HANDLE_INVALID)
	{
		*copy = nd_blob_new(slot->bytes, slot->len);
		return;
	}
	PG_TRY();
	{
		/* The backend may have gone and taken its segment with it: then nobody waits for this request. */
		dsm_segment *segment = dsm_attach(slot->segment);

		if (segment != NULL)
		{
			if (slot->len <= dsm_segment_map_length(segment))
				*copy = nd_blob_new(dsm_segment_address(segment), slot->len);
			dsm_detach(segment);
		}
	}
	PG_CATCH();
	{
		/* No memory or descriptors to map it: the backend is told so. */
		FlushErrorState();
	}
	PG_END_TRY();
}

/* What a request is about; node_propose() and node_propose_several() look at the rest. */
static NdStatus
peek_request(const NdBlob *blob, EntryKind kind, EntryHeader *header)
{
	SeqEntry	entry;
	NdStatus	status;

	if (kind != ENTRY_MARKER)
		return entry_peek(blob->data, blob->len, header);
	status = seq_decode(blob->data, blob->len, &entry);
	if (status == ND_OK && entry.kind != SEQ_REQUEST)
		status = ND_INVALID;
	if (status == ND_OK)
		*header = (EntryHeader) {.kind = ENTRY_MARKER, .txn = entry.txn};
	return status;
}

static void
take(uint32 number)
{
	NodedbSlot *slot = &nodedb_slots[number];
	uint64		word = pg_atomic_read_u64(&slot->word);
	uint64		request = word >> 8;
	uint64		expected = slot_word(request, SLOT_SUBMITTED);
	EntryKind	kind = slot->kind;
	NdGroupId	group = slot->group;
	uint32		ticks = Max(1, slot->timeout_ms / TICK_MS);
	NdBlob	   *blob = NULL;
	EntryHeader header;
	PendingKey	key;
	Pending    *p;
	bool		found;
	NdStatus	status;

	if (slot_state(word) == SLOT_SUBMITTED || kind == ENTRY_CANCEL)
		copy_request(slot, &blob);
	pg_memory_barrier();
	pg_atomic_write_u32(&slot->queued, 0);	/* the buffer is the backend's again */

	if (kind == ENTRY_CANCEL && slot_state(word) != SLOT_SUBMITTED)
	{
		if (blob != NULL && rw.node != NULL)
			(void) node_propose(rw.node, group, blob, NODE_NO_DEADLINE);	/* nobody waits; others wait for what it ends */
		nd_blob_unref(blob);
		return;
	}
	if (!pg_atomic_compare_exchange_u64(&slot->word, &expected, slot_word(request, SLOT_TAKEN)))
	{
		nd_blob_unref(blob);
		return;
	}
	if (blob == NULL || peek_request(blob, kind, &header) != ND_OK)
	{
		nd_blob_unref(blob);
		answer_failed(number, request, ND_NOMEM, false);
		return;
	}
	if (kind == ENTRY_RESERVE && rw.node != NULL && entry_decode(blob->data, blob->len, &header) == ND_OK)
		node_end_circle(rw.node, group, header.txn, &header);
	key = pending_key(header.txn, kind, header.flags);
	p = hash_search(pending, &key, HASH_ENTER, &found);
	memset((char *) p + sizeof(key), 0, sizeof(*p) - sizeof(key));
	p->group = kind == ENTRY_MARKER ? ND_GROUP_SEQUENCER : group;
	p->slot = number;
	p->request = request;
	slot->lost_early = false;
	if (rw.node == NULL)
		status = ND_NOLEADER;
	else
		status = kind == ENTRY_MARKER ? node_propose_several(rw.node, blob, ticks) : node_propose(rw.node, group, blob, ticks);
	nd_blob_unref(blob);
	if (status != ND_OK)
	{
		hash_search(pending, &key, HASH_REMOVE, NULL);
		answer_failed(number, request, status, false);
	}
}

void
requests_take(void)
{
	uint32		head = pg_atomic_exchange_u32(&nodedb_shared->queue_head, 0);
	uint32		reversed = 0;

	orphans_work();
	/* The list is newest first: turn it round, so that requests enter the log in the order of their submission. */
	while (head != 0)
	{
		uint32		next = nodedb_slots[head - 1].next_queued;

		nodedb_slots[head - 1].next_queued = reversed;
		reversed = head;
		head = next;
	}
	while (reversed != 0)
	{
		uint32		number = reversed - 1;

		reversed = nodedb_slots[number].next_queued;
		take(number);
	}
}

/* ---- delivery ---- */

/* Is there room for one more ticket, with so many parts? */
static bool
room_for(uint64 ticket, uint32 n_parts)
{
	uint64		turn = pg_atomic_read_u64(&nodedb_shared->turn);
	uint64		parts_begin = turn == ticket ? parts_end : nodedb_tickets[turn % TICKETS].first_part;

	return ticket - turn < TICKETS - 1 && parts_end - parts_begin + n_parts <= PARTS;
}

/* Its parts, as they stand in the delivery: of a TXN itself. */
static NodedbPart
part_of(const NodeDelivery *d, uint32 i)
{
	if (d->n_parts == 0)
		return (NodedbPart) {.group = d->group, .index = d->index, .entry = d->index, .term = d->term, .position = d->position};
	return (NodedbPart) {.group = d->parts[i].group, .index = d->parts[i].index, .entry = d->parts[i].marker, .term = d->parts[i].term,
		.position = d->parts[i].position};
}

/* A TXN that commits, or the OUTCOMEs of all parts of a transaction over several groups. */
static NdStatus
deliver_commit(const NodeDelivery *d)
{
	NodedbShared *s = nodedb_shared;
	uint64		ticket = pg_atomic_read_u64(&s->tickets_end);
	NodedbTicket *t = &nodedb_tickets[ticket % TICKETS];
	uint32		n_parts = Max(d->n_parts, 1);
	Pending    *p = NULL;
	uint32		owner_slot = 0;

	if (!room_for(ticket, n_parts))
	{
		rw.ring_full = true;
		return ND_BUSY;
	}
	if (d->local)
		p = d->header.kind == ENTRY_OUTCOME ? find_several(d->header.txn) : find_pending(&d->header);

	/* Before the ring's places are written: who moved the turnstile past them has let go of this lock. */
	SpinLockAcquire(&s->watermark_lock);
	for (uint32 i = 0; i < n_parts; i++)
		nodedb_groups[part_of(d, i).group].last_ticket = ticket;
	SpinLockRelease(&s->watermark_lock);
	t->n_parts = n_parts;
	t->first_part = parts_end;
	for (uint32 i = 0; i < n_parts; i++)
		nodedb_parts[(parts_end + i) % PARTS] = part_of(d, i);
	parts_end += n_parts;
	t->slot = p ? p->slot : 0;
	t->bulk = bulk_of(d);
	pg_atomic_write_u32(&t->owner, p ? TICKET_LOCAL : TICKET_APPLIER);

	if (p != NULL)
	{
		NodedbSlot *slot = &nodedb_slots[p->slot];

		owner_slot = p->slot;
		if (awaits(p->slot, p->request))
		{
			slot->index = d->index;
			slot->term = d->term;
			slot->ticket = ticket;
		}
		if (!answer(p->slot, p->request, SLOT_GRANTED))
			pg_atomic_write_u32(&t->owner, TICKET_APPLIER);
		forget_pending(p);
	}
	pg_memory_barrier();
	pg_atomic_write_u64(&s->tickets_end, ticket + 1);
	pg_memory_barrier();
	/* By the owner as it is now: the backend may have handed the ticket over before tickets_end showed it. */
	if (pg_atomic_read_u32(&t->owner) == TICKET_LOCAL)
		wake(owner_slot);
	else
		nodedb_wake(&s->applier_latch);
	return ND_OK;
}

/* An entry that has a verdict and is no commit: whoever waits for it hears of it. */
static void
answer_verdict(Pending *p, SlotState state, uint64 index, uint64 term, const Verdict *verdict, NdGroupId group)
{
	NodedbSlot *slot = &nodedb_slots[p->slot];

	if (awaits(p->slot, p->request))
	{
		slot->index = index;
		slot->term = term;
		slot->verdict = *verdict;
		slot->verdict_group = group;
		if (answer(p->slot, p->request, state))
			wake(p->slot);
	}
	forget_pending(p);
}

/* Who did not vote, or voted no for a reason that is not known here. 0: not known any more. */
static NdGroupId
who_refused(TxnId txn)
{
	const SeqTxn *t = sequencer_find(node_sequencer(rw.node), txn);

	if (t == NULL || t->decided == SEQ_ABORT_VOTE)
		return t == NULL ? 0 : t->by;
	for (uint32 i = 0; i < t->n_parts; i++)
		if (t->parts[i].vote == SEQ_VOTE_NONE)
			return t->parts[i].group;
	return 0;
}

static void
answer_aborted(Pending *p)
{
	Verdict		elsewhere = {.kind = VERDICT_ABORT_ELSEWHERE};

	if (p->verdict.kind != VERDICT_NONE)
		answer_verdict(p, SLOT_REFUSED, p->verdict_index, 0, &p->verdict, p->verdict_group);
	else
		answer_verdict(p, SLOT_REFUSED, 0, 0, &elsewhere, who_refused(p->key.txn));
}

/*
 * The guard asks: the applier waits for locks of transactions that wait here. One that has lost already, for what the applier is about to apply or by the vote of one of its groups, needs no
 * majority to hear so: it would wait for a leader, and hold up what was committed. Its entry may still come, and aborts.
 */
void
requests_judge(void)
{
	NodedbShared *s = nodedb_shared;
	HASH_SEQ_STATUS scan;
	Pending    *p;

	if (pg_atomic_read_u32(&s->judge) == 0)
		return;
	pg_atomic_write_u32(&s->judge, 0);
	pg_memory_barrier();
	if (rw.node == NULL)
		return;
	hash_seq_init(&scan, pending);
	while ((p = hash_seq_search(&scan)) != NULL)
	{
		NodedbSlot *slot = &nodedb_slots[p->slot];
		Verdict		verdict = p->verdict;
		NdGroupId	by = p->verdict_group;

		if ((p->key.kind != ENTRY_TXN && p->key.kind != ENTRY_MARKER) || slot->judge_request != p->request || !awaits(p->slot, p->request))
			continue;
		if (p->until_tick != 0)
			answer_aborted(p);
		else if ((verdict.kind != VERDICT_NONE && verdict.kind != VERDICT_DUPLICATE) || node_is_lost(rw.node, p->group, p->key.txn, p->key.kind, &verdict, &by))
		{
			node_forget(rw.node, p->group, p->key.txn, p->key.kind);
			slot->lost_early = true;
			pg_atomic_fetch_add_u64(&s->lost_early, 1);
			answer_verdict(p, SLOT_REFUSED, 0, 0, &verdict, by);
		}
	}
}

/*
 * The decision to abort may come here before the MARKER that says why: the groups' logs do not wait for each other. Then the answer waits for it a moment, unless
 * no group voted no, but one not at all.
 */
static void
deliver_several(const NodeDelivery *d)
{
	Pending    *p = find_several(d->header.txn);

	if (p == NULL || d->verdict.kind == VERDICT_REPEATED || d->verdict.kind == VERDICT_PREPARED)
		return;
	if (d->header.kind == ENTRY_OUTCOME)
	{
		const SeqTxn *t = sequencer_find(node_sequencer(rw.node), d->header.txn);

		n_unexplained += p->until_tick == 0;
		p->until_tick = tick + REASON_TICKS;
		p->aborts++;
		if (p->verdict.kind != VERDICT_NONE || p->aborts == d->header.n_groups || (t != NULL && t->decided == SEQ_ABORT_SILENT))
			answer_aborted(p);
	}
	else if (p->verdict.kind == VERDICT_NONE)
	{
		p->verdict = d->verdict;
		p->verdict_group = d->group;
		p->verdict_index = d->index;
		if (p->until_tick != 0)
			answer_aborted(p);
	}
}

/* Circles that were closed by those who came later. */
static void
end_circles(void)
{
	HASH_SEQ_STATUS scan;
	Waiting    *w;

	hash_seq_init(&scan, waiting);
	while ((w = hash_seq_search(&scan)) != NULL)
		node_end_circle(rw.node, w->key.group, w->key.txn, NULL);
}

void
requests_tick(void)
{
	HASH_SEQ_STATUS scan;
	Pending    *p;

	tick++;
	if (tick % CIRCLE_TICKS == 0 && hash_get_num_entries(waiting) > 0)
		end_circles();
	if (n_unexplained == 0)
		return;
	hash_seq_init(&scan, pending);
	while ((p = hash_seq_search(&scan)) != NULL)
		if (p->until_tick != 0 && p->until_tick <= tick)
			answer_aborted(p);
}

/* ---- reservations that wait ---- */

static Waiting *
find_waiting(NdGroupId group, TxnId txn, HASHACTION action)
{
	WaitingKey	key;

	memset(&key, 0, sizeof(key));
	key.txn = txn;
	key.group = group;
	return hash_search(waiting, &key, action, NULL);
}

static void
deliver_queued(const NodeDelivery *d)
{
	Pending    *p = find_pending(&d->header);
	Waiting    *w;

	if (p == NULL)
		return;
	w = find_waiting(d->group, d->header.txn, HASH_ENTER);
	w->slot = p->slot;
	w->request = p->request;
	pg_atomic_write_u64(&nodedb_slots[p->slot].queued_request, p->request);
	wake(p->slot);
	forget_pending(p);
}

/* Whatever its id comes with, it waits no more. */
static void
end_waiting(const NodeDelivery *d)
{
	Waiting    *w = hash_get_num_entries(waiting) > 0 ? find_waiting(d->group, d->header.txn, HASH_FIND) : NULL;
	NodedbSlot *slot;

	if (w == NULL || d->header.kind == ENTRY_CHUNK || (d->header.kind == ENTRY_RESERVE && d->verdict.kind == VERDICT_DUPLICATE))
		return;
	slot = &nodedb_slots[w->slot];
	if (awaits(w->slot, w->request))
	{
		/* its own backend does nothing while it waits: somebody has cancelled it */
		slot->verdict = (Verdict) {.kind = VERDICT_ABORT_CANCELLED, .by_index = d->index, .by_txn = d->header.txn};
		slot->verdict_group = d->group;
		if (answer(w->slot, w->request, SLOT_REFUSED))
			wake(w->slot);
	}
	(void) find_waiting(d->group, d->header.txn, HASH_REMOVE);
}

void
requests_granted(void *ctx, NdGroupId group, uint64_t index, TxnId txn)
{
	Waiting    *w = find_waiting(group, txn, HASH_FIND);

	if (w == NULL || !awaits(w->slot, w->request))
		orphans_suspect(group, txn);	/* its backend has gone on, or is gone */
	else
	{
		nodedb_slots[w->slot].index = index;
		if (answer(w->slot, w->request, SLOT_GRANTED))
			wake(w->slot);
	}
	if (w != NULL)
		(void) find_waiting(group, txn, HASH_REMOVE);
}

NdStatus
requests_deliver(void *ctx, const NodeDelivery *d)
{
	if (d->group == ND_GROUP_SEQUENCER)
		return ND_OK;			/* nothing in tables, no watermark */
	if (d->group >= nodedb_shared->max_groups)
		return ND_BUSY;			/* raft_worker_start_node() refuses this before, and the node makes no more than groups_max */
	/* Before anybody can see a ticket with a part in it, or the watermark of the record that made it. */
	if (d->group == ND_GROUP_META || d->group >= pg_atomic_read_u32(&nodedb_shared->n_groups))
		raft_worker_count_groups();
	if (d->has_header && !d->replayed)
	{
		EntryKind	kind = d->header.kind;
		bool		good = d->verdict.kind == VERDICT_COMMIT || d->verdict.kind == VERDICT_NONE;

		end_waiting(d);

		if ((kind == ENTRY_TXN || kind == ENTRY_OUTCOME) && d->verdict.kind == VERDICT_COMMIT)
		{
			if (deliver_commit(d) != ND_OK)
				return ND_BUSY;
			bulk_delivered(d);
			return ND_OK;
		}
		if (d->verdict.kind == VERDICT_ABORT_RESERVED || d->verdict.kind == VERDICT_QUEUED)
			orphans_suspect(d->group, d->verdict.by_txn);
		if (kind == ENTRY_MARKER || kind == ENTRY_OUTCOME)
		{
			if (d->local)
				deliver_several(d);
		}
		else if (d->verdict.kind == VERDICT_QUEUED)
		{
			if (d->local)
				deliver_queued(d);
		}
		else if ((d->local || kind == ENTRY_CANCEL) && d->verdict.kind != VERDICT_DUPLICATE)
		{
			Pending    *p = find_pending(&d->header);

			if (p != NULL)
				answer_verdict(p, good ? SLOT_GRANTED : SLOT_REFUSED, d->index, d->term, &d->verdict, d->group);
		}
		bulk_delivered(d);
	}
	nodedb_entry_passed(d->group, d->index);
	return ND_OK;
}

void
requests_failed(void *ctx, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason)
{
	HASH_SEQ_STATUS scan;
	Pending    *p;

	/* A transaction has one request under way: its kind is enough, but chunks and reservations are told apart by their number. */
	hash_seq_init(&scan, pending);
	while ((p = hash_seq_search(&scan)) != NULL)
	{
		if (txnid_compare(p->key.txn, txn) != 0 || p->key.kind != (uint32) kind)
			continue;
		answer_failed(p->slot, p->request, reason, outcome == NODE_UNKNOWN);
		forget_pending(p);
		hash_seq_term(&scan);
		break;
	}
}

/* ---- reads ---- */

static void
publish_reads(uint64 done, uint64 failed)
{
	NodedbShared *s = nodedb_shared;

	SpinLockAcquire(&s->read_lock);
	if (done > s->read_done)
		s->read_done = done;
	if (failed > s->read_failed)
		s->read_failed = failed;
	SpinLockRelease(&s->read_lock);
	ConditionVariableBroadcast(&s->read_cv);
}

/*
 * Start a round for the reads that came since the last one; a round covers only requests made before it began, and with them all earlier ones: it asks for every
 * group that somebody whose request is not answered yet reads from.
 */
void
requests_reads(void)
{
	NodedbShared *s = nodedb_shared;
	uint64		token;
	uint64		done;
	ReadRound  *round = NULL;
	uint32		n = raft_worker_groups();

	SpinLockAcquire(&s->read_lock);
	token = s->read_requested;
	done = s->read_done;
	SpinLockRelease(&s->read_lock);
	if (token <= s->read_started)
		return;
	for (int i = 0; i < READ_ROUNDS; i++)
		if (rounds[i].token == 0)
			round = &rounds[i];
	if (round == NULL)
		return;					/* these wait for the next free round */
	s->read_started = token;
	if (n == 0)
	{
		publish_reads(0, token);
		return;
	}
	round->token = token;
	round->failed = false;
	round->waiting = 1;			/* so that an answer inside node_read() does not finish the round early */
	for (NdGroupId g = 0; g < n; g++)
	{
		bool		wanted;

		SpinLockAcquire(&s->read_lock);
		wanted = nodedb_groups[g].read_wanted > done;
		SpinLockRelease(&s->read_lock);
		if (!wanted)
			continue;
		round->waiting++;
		if (node_read(rw.node, g, token, Max(1, nodedb_commit_timeout / TICK_MS)) != ND_OK)
		{
			round->waiting--;
			round->failed = true;
		}
	}
	requests_read_done(NULL, 0, token, ND_OK, 0);
}

void
requests_read_done(void *ctx, NdGroupId group, uint64_t token, NdStatus status, uint64_t index)
{
	for (int i = 0; i < READ_ROUNDS; i++)
	{
		ReadRound  *round = &rounds[i];

		if (round->token != token)
			continue;
		if (status != ND_OK)
			round->failed = true;
		else
		{
			SpinLockAcquire(&nodedb_shared->read_lock);
			nodedb_groups[group].read_index = Max(nodedb_groups[group].read_index, index);
			SpinLockRelease(&nodedb_shared->read_lock);
		}
		if (--round->waiting == 0)
		{
			round->token = 0;
			publish_reads(round->failed ? 0 : token, round->failed ? token : 0);
		}
		return;
	}
}

/* A request of our own for groups 0 to n - 1. */
static uint64
ask_round(uint32 n)
{
	NodedbShared *s = nodedb_shared;
	uint64		number;

	SpinLockAcquire(&s->read_lock);
	number = ++s->read_requested;
	for (NdGroupId g = 0; g < n; g++)
		nodedb_groups[g].read_wanted = number;
	SpinLockRelease(&s->read_lock);
	return number;
}

/* *number 0: it failed. */
static bool
round_done(uint64 *number)
{
	NodedbShared *s = nodedb_shared;
	bool		done;

	SpinLockAcquire(&s->read_lock);
	done = s->read_done >= *number;
	if (!done && s->read_failed >= *number)
		*number = 0;
	SpinLockRelease(&s->read_lock);
	return done;
}

static uint64 start_round = 0;	/* our own request; 0 = none under way */
static uint32 start_groups = 0; /* it asks for those below */
static bool start_known = false;

/*
 * What was acknowledged before this server's start, schema changes above all, is at or below a read index asked for after it; in group 0, too, which says what data groups
 * there are: those that it makes meanwhile are asked for then. A joiner knows its data groups only from the metadata group: without one nothing is known.
 */
void
requests_catch_up(void)
{
	NodedbShared *s = nodedb_shared;
	uint32		n = raft_worker_groups();

	if (pg_atomic_read_u32(&s->caught_up) || n < 2)
		return;
	if (start_known && n > start_groups)
	{
		start_known = false;
		start_round = 0;
	}
	if (!start_known)
	{
		if (start_round == 0)
		{
			start_groups = n;
			start_round = ask_round(n);
		}
		start_known = round_done(&start_round);
		if (!start_known)
			return;
		SpinLockAcquire(&s->read_lock);
		for (NdGroupId g = 0; g < start_groups; g++)
			nodedb_groups[g].start_index = nodedb_groups[g].read_index;
		SpinLockRelease(&s->read_lock);
	}
	for (NdGroupId g = 0; g < n; g++)
		if (nodedb_watermark(g) < nodedb_groups[g].start_index)
			return;
	pg_atomic_write_u32(&s->caught_up, 1);
	ConditionVariableBroadcast(&s->applied_cv);
}

/* ---- where is an entry? ---- */

void
requests_finds(void)
{
	NodedbShared *s = nodedb_shared;

	if (pg_atomic_read_u32(&s->find_state) != 1)
		return;
	pg_read_barrier();
	s->find_status = rw.node == NULL ? ND_NOTFOUND :
		node_entry_position(rw.node, s->find_group, s->find_index, &s->find_position, &s->find_term);
	pg_write_barrier();
	pg_atomic_write_u32(&s->find_state, 2);
	nodedb_wake(&s->applier_latch);
}
