/*
 * propose.c: entries of local clients, and of other nodes' clients when this node leads.
 *
 * A local proposal lives in the pending table, keyed by what its entry says of itself (group, id, kind, flags), from node_propose() to its one
 * answer. It stands in one of its group's two lists: `queued` (must be proposed) or `under_way`.
 *
 * Invariants:
 * 1. Re-proposals carry the same bytes: whatever reaches the log twice is judged once (certifier: DUPLICATE).
 * 2. NODE_NOT_SENT only while ever_sent is false: no raft_propose() accepted it and no frame held it.
 * 3. What is proposed at once may be appended in another order than it came (core/certifier/order.h): nobody has been told anything of it.
 * 4. Forwarded proposals are bounded per node; they are answered in the round after they came, and never kept for later: their origin asks again.
 */
#include <string.h>

#include "node_internal.h"

#include "../core/certifier/order.h"

_Static_assert(NODE_BATCH_MAX <= ORDER_ENTRIES_MAX, "a batch can be ordered");

/* ---- the table ---- */

static uint32_t bucket_of(NdGroupId group, TxnId txn, EntryKind kind, uint16_t flags)
{
	uint64_t	key[4] = {(uint64_t) group << 32 | txn.node, (uint64_t) txn.incarnation << 32 | flags, txn.counter, kind};

	return (uint32_t) (nd_checksum(key, sizeof(key), 0) % NODE_PENDING_BUCKETS);
}

static Pending **find(Node *n, NdGroupId group, TxnId txn, EntryKind kind, uint16_t flags)
{
	Pending   **at = &n->pending[bucket_of(group, txn, kind, flags)];

	while (*at != NULL && !((*at)->group->id == group && txnid_compare((*at)->txn, txn) == 0 && (*at)->kind == kind && (*at)->flags == flags))
		at = &(*at)->hash_next;
	return at;
}

static PendingList *list_of(Pending *p)
{
	return p->state == PENDING_QUEUED ? &p->group->queued : &p->group->under_way;
}

static void unlink_pending(PendingList *list, Pending *p)
{
	*(p->prev != NULL ? &p->prev->next : &list->first) = p->next;
	*(p->next != NULL ? &p->next->prev : &list->last) = p->prev;
	p->next = p->prev = NULL;
}

static void append_pending(PendingList *list, Pending *p)
{
	p->prev = list->last;
	p->next = NULL;
	*(list->last != NULL ? &list->last->next : &list->first) = p;
	list->last = p;
}

static void move(Pending *p, PendingState state)
{
	unlink_pending(list_of(p), p);
	p->state = state;
	append_pending(list_of(p), p);
}

static void drop_request(Node *n, Pending *p)
{
	if (n->by_request[p->request % NODE_PENDING_BUCKETS] == p)
		n->by_request[p->request % NODE_PENDING_BUCKETS] = NULL;
}

/* A proposal that is forwarded again gives its old number up: a slot that still named it would outlive it. */
static void set_request(Node *n, Pending *p)
{
	drop_request(n, p);
	p->request = ++n->next_request;
	n->by_request[p->request % NODE_PENDING_BUCKETS] = p;
}

/* Out of the table and its list; the caller owns it. */
static void detach(Pending *p)
{
	Node	   *n = p->group->node;
	Pending   **at = find(n, p->group->id, p->txn, p->kind, p->flags);

	*at = p->hash_next;
	drop_request(n, p);
	unlink_pending(list_of(p), p);
	n->n_pending--;
	n->pending_bytes -= p->entry->len;
}

static void free_pending(Pending *p)
{
	nd_blob_unref(p->entry);
	nd_free(p);
}

/* Answer a chain of detached proposals (linked by next). Callbacks may propose again: nothing of ours is being walked. */
static void fail_chain(Pending *p, NdStatus reason)
{
	while (p != NULL)
	{
		Pending    *next = p->next;
		Node	   *n = p->group->node;

		if (!p->internal)
			n->callbacks.proposal_failed(n->callbacks.ctx, p->group->id, p->txn, p->kind, p->ever_sent && !MUTANT(NODE_LATE_NOT_SENT) ? NODE_UNKNOWN : NODE_NOT_SENT, reason);
		free_pending(p);
		p = next;
	}
}

/* ---- local clients ---- */

/* A request stands in the table like a proposal: as a MARKER of the sequencer group. */
static NdStatus decode_request(const NdBlob *request, EntryHeader *h)
{
	SeqEntry	e;
	NdStatus	status = seq_decode(request->data, request->len, &e);

	if (status == ND_OK && e.kind != SEQ_REQUEST)
		status = ND_INVALID;
	if (status == ND_OK)
		*h = (EntryHeader) {.kind = ENTRY_MARKER, .txn = e.txn};
	return status;
}

static NdStatus accept(NodeGroup *g, NdBlob *entry, uint32_t deadline_ticks, bool internal)
{
	Node	   *n = g->node;
	EntryHeader h;
	NdStatus	status;
	Pending   **at;
	Pending    *p;

	if (n->failed != ND_OK)
		return n->failed;
	if (g->stopped != NULL)
		return ND_FROZEN;
	if (entry->len > n->config.entry_bytes_max)
		return ND_TOOBIG;
	status = g->id == ND_GROUP_SEQUENCER ? decode_request(entry, &h) : entry_decode(entry->data, entry->len, &h);
	if (status != ND_OK)
		return status;
	if (h.kind == ENTRY_CANCEL ? n->n_pending >= NODE_CANCELS_MAX :
		n->n_pending >= NODE_PENDING_MAX || n->pending_bytes + entry->len > NODE_PENDING_BYTES_MAX)
		return ND_BUSY;
	at = find(n, g->id, h.txn, h.kind, h.flags);
	if (*at != NULL)
		return ND_INVALID;
	p = nd_zalloc(sizeof(*p));
	if (p == NULL)
		return ND_NOMEM;
	p->group = g;
	p->txn = h.txn;
	p->kind = h.kind;
	p->flags = h.flags;
	p->entry = nd_blob_ref(entry);
	p->internal = internal;
	p->deadline_tick = deadline_ticks == NODE_NO_DEADLINE ? UINT64_MAX : n->tick + deadline_ticks;
	*at = p;
	append_pending(&g->queued, p);
	n->n_pending++;
	n->pending_bytes += entry->len;
	node__wake(g);
	return ND_OK;
}

NdStatus node_propose(Node *n, NdGroupId group, NdBlob *entry, uint32_t deadline_ticks)
{
	NodeGroup  *g = node__group(n, group);
	EntryHeader h;

	if (g == NULL || g->certifier == NULL)
		return ND_NOTFOUND;
	/* markers and outcomes are the sequencer's word */
	if (entry_peek(entry->data, entry->len, &h) == ND_OK && h.kind >= ENTRY_MARKER)
		return ND_INVALID;
	return accept(g, entry, deadline_ticks, false);
}

NdStatus node_propose_several(Node *n, NdBlob *request, uint32_t deadline_ticks)
{
	return n->sequencer_group != NULL ? accept(n->sequencer_group, request, deadline_ticks, false) : ND_NOTFOUND;
}

/* Those that have their position are proposed no more, whatever leaders come: they wait for their outcome. */
void node__ordered(NodeGroup *g)
{
	PendingList *lists[2] = {&g->queued, &g->under_way};

	for (int l = 0; l < 2; l++)
		for (Pending *p = lists[l]->first, *next; p != NULL; p = next)
		{
			next = p->next;
			if (p->state != PENDING_ORDERED && sequencer_find(g->node->sequencer, p->txn) != NULL)
			{
				p->ever_sent = true;
				move(p, PENDING_ORDERED);
			}
		}
}

void node__outcome(Node *n, TxnId txn)
{
	Pending    *p = n->sequencer_group != NULL ? *find(n, ND_GROUP_SEQUENCER, txn, ENTRY_MARKER, 0) : NULL;

	if (p == NULL)
		return;
	detach(p);
	free_pending(p);
}

static bool has_part(const Pending *request, NdGroupId group)
{
	SeqEntry	e;
	SeqWalk		walk = {0};
	SeqPart		part;

	if (seq_decode(request->entry->data, request->entry->len, &e) != ND_OK)
		return false;
	while (seq_part(&e, &walk, &part))
		if (part.group == group)
			return true;
	return false;
}

void node__fail_skipped(NodeGroup *g, NdStatus reason)
{
	NodeGroup  *s = g->node->sequencer_group;
	Pending    *chain = NULL;

	if (s == NULL)
		return;
	for (int l = 0; l < 2; l++)
		for (Pending *p = l == 0 ? s->queued.first : s->under_way.first, *next; p != NULL; p = next)
		{
			next = p->next;
			if (!p->ever_sent || !has_part(p, g->id))
				continue;
			detach(p);
			p->next = chain;
			chain = p;
		}
	fail_chain(chain, reason);
}

/* A CANCEL of the driver's own. ND_INVALID: there is one of this id already. */
NdStatus node__propose_cancel(NodeGroup *g, TxnId txn, uint64_t base, uint32_t deadline_ticks)
{
	NdBuf		buf;
	NdBlob	   *entry = NULL;
	NdStatus	status;

	nd_buf_init(&buf);
	status = entry_encode_header(&buf, ENTRY_CANCEL, NODE_CANCEL_FLAGS, txn, base, NULL, 0, NULL, 0);
	if (status == ND_OK)
		entry = buf.failed ? NULL : nd_blob_new(buf.data, (uint32_t) buf.len);
	nd_buf_free(&buf);
	if (status != ND_OK)
		return status;
	if (entry == NULL)
		return ND_NOMEM;
	status = accept(g, entry, deadline_ticks, true);
	nd_blob_unref(entry);
	return status;
}

static bool is_lost(const Node *n, NdGroupId group, const uint8_t *entry, uint32_t len, Verdict *verdict)
{
	const NodeGroup *g = node__group(n, group);
	EntryHeader h;

	return g != NULL && g->certifier != NULL && g->stopped == NULL && entry_decode(entry, len, &h) == ND_OK && certifier_is_lost(g->certifier, &h, verdict);
}

bool node_is_lost(Node *n, NdGroupId group, TxnId txn, EntryKind kind, Verdict *verdict, NdGroupId *by)
{
	const Pending *p = *find(n, group, txn, kind, 0);
	SeqEntry	e;
	SeqWalk		walk = {0};
	SeqPart		part;

	*by = group;
	if (p == NULL || group != ND_GROUP_SEQUENCER)
		return p != NULL && is_lost(n, group, p->entry->data, p->entry->len, verdict);
	if (seq_decode(p->entry->data, p->entry->len, &e) != ND_OK)
		return false;
	while (seq_part(&e, &walk, &part))
		if (is_lost(n, part.group, part.entry, part.len, verdict))
		{
			*by = part.group;
			return true;
		}
	return false;
}

static void forget_in(PendingList *list, TxnId txn, EntryKind kind)
{
	for (Pending *p = list->first, *next; p != NULL; p = next)
	{
		next = p->next;
		if (txnid_compare(p->txn, txn) == 0 && p->kind == kind)
		{
			detach(p);
			free_pending(p);
		}
	}
}

void node_forget(Node *n, NdGroupId group, TxnId txn, EntryKind kind)
{
	NodeGroup  *g = node__group(n, group);

	if (g == NULL)
		return;
	forget_in(&g->queued, txn, kind);
	forget_in(&g->under_way, txn, kind);
	if (g->held_kind == kind && txnid_compare(g->held_txn, txn) == 0)
		g->held_owed = false;
}

bool node__answered(NodeGroup *g, const EntryHeader *h)
{
	Pending    *p = *find(g->node, g->id, h->txn, h->kind, h->flags);

	bool		internal;

	if (p == NULL)
		return false;
	internal = p->internal;
	detach(p);
	free_pending(p);
	return !internal;
}

/* Older ones go to the front. */
static void requeue(NodeGroup *g, bool ordered)
{
	for (Pending *p = g->under_way.last, *prev; p != NULL; p = prev)
	{
		prev = p->prev;
		if (p->state == PENDING_ORDERED && !ordered)
			continue;
		unlink_pending(&g->under_way, p);
		p->state = PENDING_QUEUED;
		p->retry_tick = 0;
		p->next = g->queued.first;
		*(p->next != NULL ? &p->next->prev : &g->queued.last) = p;
		g->queued.first = p;
	}
}

/* The leader or the term changed: what was under way may be lost. */
void node__requeue(NodeGroup *g)
{
	requeue(g, false);
}

void node__proposal_ticks(NodeGroup *g)
{
	Node	   *n = g->node;
	Pending    *late[2] = {NULL, NULL};
	PendingList *lists[2] = {&g->queued, &g->under_way};
	bool		full = g->leads && store_full(n->store);

	for (int l = 0; l < 2; l++)
		for (Pending *p = lists[l]->first, *next; p != NULL; p = next)
		{
			next = p->next;
			if (p->deadline_tick <= n->tick)
			{
				detach(p);
				p->next = late[l];
				late[l] = p;
			}
			else if (p->state == PENDING_SENT && p->retry_tick <= n->tick)
			{
				move(p, PENDING_QUEUED);
				p->retry_tick = 0;
			}
		}
	fail_chain(late[0], g->leader == 0 ? ND_NOLEADER : full ? ND_FULL : ND_BUSY);
	fail_chain(late[1], g->leader == 0 ? ND_NOLEADER : full ? ND_FULL : ND_NOQUORUM);
}

void node__fail_proposals(NodeGroup *g, NdStatus reason)
{
	Pending    *chain = NULL;

	requeue(g, true);
	while (g->queued.last != NULL)
	{
		Pending    *p = g->queued.last;

		detach(p);
		p->next = chain;
		chain = p;
	}
	fail_chain(chain, reason);
}

void node__fail_sent(NodeGroup *g, NdStatus reason)
{
	Pending    *chain = NULL;
	PendingList *lists[2] = {&g->queued, &g->under_way};

	for (int l = 0; l < 2; l++)
		for (Pending *p = lists[l]->first, *next; p != NULL; p = next)
		{
			next = p->next;
			if (!p->ever_sent || p->internal)
				continue;
			detach(p);
			p->next = chain;
			chain = p;
		}
	node__requeue(g);
	fail_chain(chain, reason);
}

static void drop_forwarded(NodeGroup *g, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		g->node->forwarded_bytes -= g->forwarded[i].entry->len;
		nd_blob_unref(g->forwarded[i].entry);
	}
	g->n_forwarded -= count;
	g->node->n_forwarded -= count;
	if (g->n_forwarded > 0)
		memmove(g->forwarded, g->forwarded + count, g->n_forwarded * sizeof(Forwarded));
}

void node__free_proposals(NodeGroup *g)
{
	requeue(g, true);
	while (g->queued.first != NULL)
	{
		Pending    *p = g->queued.first;

		detach(p);
		free_pending(p);
	}
	drop_forwarded(g, g->n_forwarded);
	nd_free(g->forwarded);
}

/* ---- other nodes' clients ---- */

static void answer(NodeGroup *g, NdNodeId to, uint64_t request, WireAnswerKind kind, uint64_t index, uint64_t term)
{
	WireAnswer	a = {.group = g->id, .request = request, .kind = kind, .leader = g->leader, .index = index, .term = term};

	node__put_item(g->node, to, node__item_answer, &a);
}

static bool proposal_valid(const NodeGroup *g, const WireProposal *p)
{
	EntryHeader h;
	SeqEntry	e;

	/* epochs and abort entries are the leader's own */
	if (g->id == ND_GROUP_SEQUENCER)
		return seq_decode(p->entry, p->len, &e) == ND_OK && (e.kind == SEQ_REQUEST || e.kind == SEQ_VOTES || e.kind == SEQ_ACK);
	return entry_decode(p->entry, p->len, &h) == ND_OK && h.kind < ENTRY_MARKER;
}

void node__take_proposal(NodeGroup *g, NdNodeId from, const WireProposal *p)
{
	Node	   *n = g->node;
	NdBlob	   *entry;

	if (g->id == ND_GROUP_META)
	{
		/* not answered: who wants it says it again until it is there */
		node__take_growth(n, p);
		return;
	}
	if (!g->leads || g->stopped != NULL)
	{
		answer(g, from, p->request, WIRE_NOT_LEADER, 0, 0);
		return;
	}
	if (p->len > n->config.entry_bytes_max || !proposal_valid(g, p))
	{
		answer(g, from, p->request, WIRE_REFUSED, 0, 0);
		return;
	}
	if (g->n_forwarded == g->cap_forwarded)
	{
		uint32_t	cap = g->cap_forwarded > 0 ? 2 * g->cap_forwarded : 64;
		Forwarded  *grown = nd_realloc(g->forwarded, cap * sizeof(*grown));

		if (grown != NULL)
		{
			g->forwarded = grown;
			g->cap_forwarded = cap;
		}
	}
	if (n->n_forwarded >= NODE_FORWARDED_MAX || n->forwarded_bytes + p->len > NODE_FORWARDED_BYTES_MAX ||
		g->n_forwarded == g->cap_forwarded || (entry = nd_blob_new(p->entry, (uint32_t) p->len)) == NULL)
	{
		answer(g, from, p->request, WIRE_BUSY, 0, 0);
		return;
	}
	g->forwarded[g->n_forwarded++] = (Forwarded) {from, p->request, entry};
	n->n_forwarded++;
	n->forwarded_bytes += p->len;
	node__wake(g);
}

void node__take_answer(NodeGroup *g, NdNodeId from, const WireAnswer *a)
{
	Node	   *n = g->node;
	Pending    *p = n->by_request[a->request % NODE_PENDING_BUCKETS];

	if (p == NULL || p->request != a->request || p->group != g || p->state != PENDING_SENT)
		return;
	if (a->kind == WIRE_ACCEPTED)
	{
		/* It is in a leader's log. A new leader makes us ask again at once; the long wait only covers an answer from a past leader. */
		p->retry_tick = n->tick + 8 * n->config.election_ticks;
		return;
	}
	if (a->kind == WIRE_REFUSED)
	{
		node__log(n, 2, "node %u refused a proposal for group %u as malformed or too big", from, g->id);
		detach(p);
		fail_chain(p, ND_TOOBIG);
		return;
	}
	/* The sequencer has no room: its client hears so at once. A copy may be under way, so nobody can say that it has no effect. */
	if (a->kind == WIRE_BUSY && g->id == ND_GROUP_SEQUENCER)
	{
		detach(p);
		fail_chain(p, ND_BUSY);
		return;
	}
	move(p, PENDING_QUEUED);
	p->retry_tick = n->tick + 1;
}

/* ---- rounds ---- */

/* raft_propose() of as many as the leader takes; how many. Too many at once for the bound: fewer. */
static uint32_t propose_some(NodeGroup *g, NdBlob *const *blobs, uint32_t n, uint64_t *first, uint64_t *term, NdStatus *status)
{
	while (n > 0)
	{
		uint64_t	bytes = 0;

		for (uint32_t i = 0; i < n; i++)
			bytes += NODE_ENTRY_OVERHEAD + blobs[i]->len;
		*status = node__room(g->node, bytes) ? ND_OK : ND_BUSY;
		if (*status == ND_OK)
		{
			*status = raft_propose(g->raft, blobs, n, first, term);
			node__event(g, *status);
		}
		if (*status == ND_OK)
			return n;
		if (*status != ND_BUSY)
			return 0;
		n /= 2;
	}
	return 0;
}

/* A copy under another id, as a broken driver would make it. */
static NdBlob *planted_copy(NdBlob *entry)
{
	NdBlob	   *copy = nd_blob_new(entry->data, entry->len);

	if (copy != NULL && copy->len > 17)
		copy->data[17] ^= 0x40;
	return copy;
}

static bool propose_own(NodeGroup *g)
{
	Node	   *n = g->node;
	NdBlob	   *blobs[NODE_BATCH_MAX];
	Pending    *queued[NODE_BATCH_MAX];
	Pending    *from[NODE_BATCH_MAX];
	uint16_t	order[NODE_BATCH_MAX];
	uint32_t	count = 0;
	uint32_t	taken;
	size_t		bytes = 0;
	uint64_t	first;
	uint64_t	term;
	NdStatus	status = ND_OK;

	for (Pending *p = g->queued.first; p != NULL && count < NODE_BATCH_MAX && bytes < NODE_BATCH_BYTES; p = p->next)
	{
		if (p->retry_tick > n->tick)
			continue;
		if (p->ever_sent && MUTANT(NODE_NEW_ID))
		{
			NdBlob	   *copy = planted_copy(p->entry);

			if (copy != NULL)
			{
				nd_blob_unref(p->entry);
				p->entry = copy;
			}
		}
		bytes += p->entry->len;
		queued[count] = p;
		blobs[count++] = p->entry;
	}
	if (count == 0)
		return false;
	(void) certifier_order(blobs, count, order);
	for (uint32_t i = 0; i < count; i++)
	{
		from[i] = queued[order[i]];
		blobs[i] = from[i]->entry;
	}
	taken = propose_some(g, blobs, count, &first, &term, &status);
	for (uint32_t i = 0; i < taken; i++)
	{
		from[i]->ever_sent = true;
		move(from[i], PENDING_OWN);
	}
	return taken > 0;
}

static bool propose_forwarded(NodeGroup *g)
{
	NdBlob	   *blobs[NODE_BATCH_MAX];
	Forwarded	came[NODE_BATCH_MAX];
	uint16_t	order[NODE_BATCH_MAX];
	uint32_t	count = 0;
	uint32_t	taken;
	size_t		bytes = 0;
	uint64_t	first = 0;
	uint64_t	term = 0;
	NdStatus	status = ND_OK;

	while (count < g->n_forwarded && count < NODE_BATCH_MAX && bytes < NODE_BATCH_BYTES)
	{
		came[count] = g->forwarded[count];
		blobs[count] = came[count].entry;
		bytes += blobs[count++]->len;
	}
	if (count == 0)
		return false;
	(void) certifier_order(blobs, count, order);
	for (uint32_t i = 0; i < count; i++)
	{
		g->forwarded[i] = came[order[i]];
		blobs[i] = g->forwarded[i].entry;
	}
	taken = propose_some(g, blobs, count, &first, &term, &status);
	for (uint32_t i = 0; i < taken; i++)
	{
		answer(g, g->forwarded[i].from, g->forwarded[i].request, WIRE_ACCEPTED, first + i, term);
		raft_commit_wanted(g->raft, g->forwarded[i].from);
	}
	drop_forwarded(g, taken);
	if (taken == 0 && g->n_forwarded > 0)
	{
		for (uint32_t i = 0; i < g->n_forwarded; i++)
			answer(g, g->forwarded[i].from, g->forwarded[i].request, status == ND_NOTLEADER ? WIRE_NOT_LEADER : WIRE_BUSY, 0, 0);
		drop_forwarded(g, g->n_forwarded);
	}
	return taken > 0;
}

static bool forward(NodeGroup *g)
{
	Node	   *n = g->node;
	bool		any = false;

	if (g->queued.first == NULL || g->leader == 0 || g->leader == n->config.self || !node__connected(n, g->leader))
		return false;
	for (Pending *p = g->queued.first, *next; p != NULL; p = next)
	{
		WireProposal item = {.group = g->id, .entry = p->entry->data, .len = p->entry->len};

		next = p->next;
		if (p->retry_tick > n->tick)
			continue;
		set_request(n, p);
		item.request = p->request;
		p->ever_sent = true;
		p->retry_tick = n->tick + n->config.election_ticks;
		move(p, PENDING_SENT);
		node__put_item(n, g->leader, node__item_proposal, &item);
		any = true;
	}
	return any;
}

/* ---- the sequencer's leader ---- */

static bool offer_own(NodeGroup *g)
{
	Node	   *n = g->node;
	Pending    *refused = NULL;
	bool		any = false;

	for (Pending *p = g->queued.first, *next; p != NULL; p = next)
	{
		bool		not_ready;
		SeqRefusal	refusal;

		next = p->next;
		if (p->retry_tick > n->tick)
			continue;
		refusal = node__sequencer_offer(g, p->entry, &not_ready);
		if (not_ready)
			break;
		any = true;
		if (refusal == SEQ_TAKEN)
		{
			p->ever_sent = true;
			move(p, PENDING_OWN);
			continue;
		}
		if (refusal == SEQ_REFUSED_NOMEM || refusal == SEQ_REFUSED_GROUP)
		{
			p->retry_tick = n->tick + 1;
			continue;
		}
		detach(p);
		p->next = refused;
		refused = p;
	}
	fail_chain(refused, ND_BUSY);
	return any;
}

static WireAnswerKind answer_of(SeqRefusal refusal, bool not_ready)
{
	switch (not_ready ? SEQ_REFUSED_NOMEM : refusal)
	{
		case SEQ_TAKEN:
			return WIRE_ACCEPTED;
		case SEQ_REFUSED_MALFORMED:
		case SEQ_REFUSED_GROUPS:
		case SEQ_REFUSED_BYTES:
			return WIRE_REFUSED;
		case SEQ_REFUSED_FULL:
		case SEQ_REFUSED_ROLE:
		case SEQ_REFUSED_BEHIND:
			return WIRE_BUSY;
		case SEQ_REFUSED_GROUP:	/* not made here yet: the origin knows of it */
		case SEQ_REFUSED_NOMEM:
			break;
	}
	/* it asks again at its next tick */
	return WIRE_NOT_LEADER;
}

static bool offer_forwarded(NodeGroup *g)
{
	NdBlob	   *blobs[NODE_BATCH_MAX];
	uint32_t	count = 0;
	uint32_t	done = 0;
	uint64_t	first;
	uint64_t	term;
	NdStatus	status;

	for (; done < g->n_forwarded && count < NODE_BATCH_MAX; done++)
	{
		Forwarded  *f = &g->forwarded[done];
		bool		not_ready;
		SeqRefusal	refusal;

		if (f->entry->data[1] != SEQ_REQUEST)
		{
			blobs[count++] = f->entry;
			continue;
		}
		refusal = node__sequencer_offer(g, f->entry, &not_ready);
		answer(g, f->from, f->request, answer_of(refusal, not_ready), 0, 0);
	}
	/* those that find no room are said again */
	if (count > 0)
		(void) propose_some(g, blobs, count, &first, &term, &status);
	drop_forwarded(g, done);
	return done > 0;
}

bool node__propose_round(NodeGroup *g)
{
	bool		more = false;

	if ((g->queued.first == NULL && g->n_forwarded == 0) || !node__ready(g))
		return false;
	if (!g->leads)
	{
		for (uint32_t i = 0; i < g->n_forwarded; i++)
			answer(g, g->forwarded[i].from, g->forwarded[i].request, WIRE_NOT_LEADER, 0, 0);
		drop_forwarded(g, g->n_forwarded);
		return forward(g);
	}
	if (g->id == ND_GROUP_SEQUENCER)
	{
		more |= offer_forwarded(g);
		return offer_own(g) || more;
	}
	/* Nobody's clients are always first. */
	if (g->node->turn & 1)
		more |= propose_forwarded(g);
	more |= propose_own(g);
	if (!(g->node->turn & 1))
		more |= propose_forwarded(g);
	return more;
}
