/*
 * raft_worker_requests.c: what backends and the applier ask of the raft worker, and what it answers: proposals, tickets, read rounds, look-ups.
 *
 * Invariants:
 * 1. A request is answered at most once, and only its own slot's fields are written: the answer is a compare-and-swap of the slot's word from TAKEN, and
 *    without TAKEN no field is touched (a newer request may have its answer there); an abandoned request's entry gets a
 *    ticket that belongs to the applier.
 * 2. A ticket's fields and its owner are complete before tickets_end shows it; the owner's latch is set after that.
 * 3. Tickets follow each group's log: they are handed out inside deliver(), which comes in index order per group.
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
	uint32		slot;
	uint64		request;
} Pending;

#define READ_ROUNDS 4

typedef struct ReadRound
{
	uint64		token;			/* requests up to this number; 0 = free */
	uint32		waiting;		/* groups still to answer */
	bool		failed;
} ReadRound;

static HTAB *pending = NULL;
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

static void
forget_pending(Pending *p)
{
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
	/* node_propose() looks at the rest */
	if (blob == NULL || entry_peek(blob->data, blob->len, &header) != ND_OK)
	{
		nd_blob_unref(blob);
		answer_failed(number, request, ND_NOMEM, false);
		return;
	}
	key = pending_key(header.txn, kind, header.flags);
	p = hash_search(pending, &key, HASH_ENTER, &found);
	p->slot = number;
	p->request = request;
	status = rw.node == NULL ? ND_NOLEADER : node_propose(rw.node, group, blob, ticks);
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

static NdStatus
deliver_commit(const NodeDelivery *d)
{
	NodedbShared *s = nodedb_shared;
	NodedbGroup *g = &nodedb_groups[d->group];
	uint64		ticket = pg_atomic_read_u64(&s->tickets_end);
	NodedbTicket *t = &nodedb_tickets[ticket % TICKETS];
	Pending    *p = NULL;
	uint32		owner_slot = 0;

	if (ticket - pg_atomic_read_u64(&s->turn) >= TICKETS - 1)
	{
		rw.ring_full = true;
		return ND_BUSY;
	}
	if (d->local)
		p = find_pending(&d->header);

	t->group = d->group;
	t->index = d->index;
	t->term = d->term;
	t->position = d->position;
	t->slot = p ? p->slot : 0;
	t->bulk = bulk_of(d);
	pg_atomic_write_u32(&t->owner, p ? TICKET_LOCAL : TICKET_APPLIER);
	SpinLockAcquire(&g->lock);
	g->last_ticket = ticket;
	SpinLockRelease(&g->lock);

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

NdStatus
requests_deliver(void *ctx, const NodeDelivery *d)
{
	if (d->group >= nodedb_shared->max_groups)
		return ND_BUSY;			/* raft_worker_start_node() refuses this before */
	if (d->has_header && !d->replayed)
	{
		bool		good = d->verdict.kind == VERDICT_COMMIT || d->verdict.kind == VERDICT_NONE;

		if (d->header.kind == ENTRY_TXN && d->verdict.kind == VERDICT_COMMIT)
		{
			if (deliver_commit(d) != ND_OK)
				return ND_BUSY;
			bulk_delivered(d);
			return ND_OK;
		}
		if (d->verdict.kind == VERDICT_ABORT_RESERVED)
			orphans_suspect(d->group, d->verdict.by_txn);
		if ((d->local || d->header.kind == ENTRY_CANCEL) && d->verdict.kind != VERDICT_DUPLICATE)
		{
			Pending    *p = find_pending(&d->header);

			if (p != NULL)
			{
				NodedbSlot *slot = &nodedb_slots[p->slot];

				if (awaits(p->slot, p->request))
				{
					slot->index = d->index;
					slot->term = d->term;
					slot->verdict = d->verdict;
					if (answer(p->slot, p->request, good ? SLOT_GRANTED : SLOT_REFUSED))
						wake(p->slot);
				}
				forget_pending(p);
			}
		}
	}
	if (d->has_header && !d->replayed)
		bulk_delivered(d);
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

/* Start a round for the reads that came since the last one; a round covers only requests made before it began. */
void
requests_reads(void)
{
	NodedbShared *s = nodedb_shared;
	uint64		token;
	ReadRound  *round = NULL;
	uint32		n = rw.node ? node_group_count(rw.node) : 0;

	SpinLockAcquire(&s->read_lock);
	token = s->read_requested;
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
	for (NdGroupId g = 1; g < n; g++)
	{
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
		else if (group != 0)
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

static uint64 start_round = 0;	/* our own request; 0 = none under way */
static bool start_known = false;

/*
 * What was acknowledged before this server's start, schema changes above all, is at or below a read index asked for after it. A joiner knows its data
 * groups only from the metadata group: without one nothing is known.
 */
void
requests_catch_up(void)
{
	NodedbShared *s = nodedb_shared;
	uint32		n = rw.node ? node_group_count(rw.node) : 0;
	bool		failed;

	if (pg_atomic_read_u32(&s->caught_up) || n < 2)
		return;
	if (!start_known)
	{
		SpinLockAcquire(&s->read_lock);
		if (start_round == 0)
			start_round = ++s->read_requested;
		start_known = s->read_done >= start_round;
		failed = !start_known && s->read_failed >= start_round;
		if (start_known)
			for (NdGroupId g = 1; g < n; g++)
				nodedb_groups[g].start_index = nodedb_groups[g].read_index;
		SpinLockRelease(&s->read_lock);
		if (failed)
			start_round = 0;
		if (!start_known)
			return;
	}
	for (NdGroupId g = 1; g < n; g++)
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
