/*
 * world.c: the network, and what can happen next.
 *
 * What is left out, because it adds nothing that could break a rule of safety:
 * - A lost message is one that is never delivered; so is a cut network. Every state of a run in which it is lost is a state of a run in which it waits.
 * - A node that is down is one to which nothing happens; so a crash and its restart are one event.
 * - Messages that can have no effect in any later state are dropped (is_over()). Time is not measured: a timeout is an event that may happen at any time.
 *
 * The network is a bag: any message may be next. With doubles=any it is a set that only grows: what was sent may be delivered at any time, any number of times.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

/*
 * Can this message change anything, now or later? Terms on disk never fall, so what is below the receiver's is over for the answers to questions of then. Nor does
 * what a leader knows of a peer, or a ballot, in its term. (An answer that is ignored still shows that its sender lives: that counts at ticks.)
 */
static bool is_over(const XMessage *m, const XLocal *to)
{
	bool		same = m->term == to->hard_term && m->term == to->term;

	switch (m->type)
	{
		case RAFT_MSG_PREVOTE_REPLY:
			return m->reject ? m->term < to->hard_term : m->term <= to->hard_term;
		case RAFT_MSG_VOTE_REPLY:	/* nobody stands twice in one term */
			return m->term < to->hard_term || (same && (to->state != RAFT_CANDIDATE || to->ballot[m->from] != BALLOT_NONE));
		case RAFT_MSG_APPEND_REPLY:
			if (same && to->state == RAFT_LEADER && x_bound.ticks == 0 &&
				(m->reject ? m->index <= to->match[m->from] : m->index < to->match[m->from]))
				return true;
			/* fall through */
		case RAFT_MSG_HEARTBEAT_REPLY:	/* nor leads again in a term in which it follows */
			return m->term < to->hard_term || (same && (to->state == RAFT_FOLLOWER || to->state == RAFT_PRECANDIDATE));
		case RAFT_MSG_TIMEOUT_NOW:
			return m->term < to->hard_term;
		default:
			return false;
	}
}

/* The follower has all that this APPEND of its leader brings. */
static bool is_here(const XMessage *m, const XLocal *to)
{
	if (m->term != to->hard_term || m->term != to->term || to->state != RAFT_FOLLOWER || to->leader != m->from ||
		m->index + m->n_entries > to->matched || m->commit > to->commit || m->log_term != to->log[m->index].term)
		return false;
	return memcmp(m->entries, to->log + m->index + 1, m->n_entries * sizeof(XEntry)) == 0;
}

/*
 * Of several messages that can only do the same, now and later, one form, or none (false). What comes from a term that the receiver has left, on its disk, is
 * answered by the receiver's term, whatever else it says; no term is news to a sender in the last one. And when nobody crashes any more and
 * acknowledgements can be delivered any number of times, so is an APPEND whose entries and commit are here: until then it says no more than that its leader lives.
 */
static bool simplify(const XWorld *w, uint32_t *number)
{
	const XMessage *m = x_message(*number);
	const XLocal *to = x_local(w->local[m->to]);
	const XLocal *from = x_local(w->local[m->from]);
	XMessage	plain = {.to = m->to,.from = m->from,.type = m->type == RAFT_MSG_VOTE ? RAFT_MSG_VOTE : RAFT_MSG_APPEND,.term = 1};

	if (is_over(m, to))
		return false;
	if (m->type != RAFT_MSG_APPEND && m->type != RAFT_MSG_HEARTBEAT && m->type != RAFT_MSG_VOTE)
		return true;
	if (m->term < to->hard_term)
	{
		if (from->hard_term >= x_bound.terms && (m->type != RAFT_MSG_VOTE || from->state != RAFT_CANDIDATE))
			return false;
		*number = x_message_number(&plain);
	}
	else if (m->type == RAFT_MSG_APPEND && x_bound.doubles == X_ANY && w->left.crashes == 0 && is_here(m, to))
	{
		plain.term = m->term;
		*number = x_message_number(&plain);
	}
	return true;
}

static void post(XWorld *w, uint32_t number)
{
	uint32_t	at = w->n_bag;

	if (!simplify(w, &number))
		return;
	while (at > 0 && w->bag[at - 1] > number)
		at--;
	if (x_bound.doubles == X_ANY && at > 0 && w->bag[at - 1] == number)
		return;
	if (w->n_bag == X_BAG)
	{
		fprintf(stderr, "X_BAG is too small: the bound is too large\n");
		exit(2);
	}
	memmove(w->bag + at + 1, w->bag + at, (w->n_bag - at) * sizeof(w->bag[0]));
	w->bag[at] = number;
	w->n_bag++;
}

/* The messages to and from id (0: all) after something has changed there. */
static void look_again(XWorld *w, NdNodeId id)
{
	uint32_t	changed[X_BAG];
	uint32_t	n_changed = 0;
	uint32_t	n = 0;

	for (uint32_t i = 0; i < w->n_bag; i++)
	{
		const XMessage *m = x_message(w->bag[i]);
		uint32_t	number = w->bag[i];

		if (id != 0 && m->to != id && m->from != id)
			w->bag[n++] = number;
		else if (simplify(w, &number))
		{
			if (number == w->bag[i])
				w->bag[n++] = number;
			else
				changed[n_changed++] = number;
		}
	}
	w->n_bag = n;
	for (uint32_t i = 0; i < n_changed; i++)
		post(w, changed[i]);
}

static void drop_message(XWorld *w, uint32_t number)
{
	uint32_t	at = 0;

	while (w->bag[at] != number)
		at++;
	memmove(w->bag + at, w->bag + at + 1, (--w->n_bag - at) * sizeof(w->bag[0]));
}

void x_start(XWorld *w)
{
	memset(w, 0, sizeof(*w));
	x_broken = NULL;
	w->left = (XLeft) {.campaigns = x_bound.campaigns,.ticks = x_bound.ticks,.crashes = x_bound.crashes,.doubles = x_bound.doubles,.changes = x_bound.changes,
	.transfers = x_bound.transfers};
	w->entries = x_bound.entries;
	w->reads = x_bound.reads;
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
	{
		x_node_start(id);
		w->local[id] = x_local_here();
	}
}

bool x_out_of_bound(const XWorld *w)
{
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
	{
		const XLocal *l = x_local(w->local[id]);

		if (l->term > x_bound.terms || (x_bound.log > 0 && l->last > x_bound.log))
			return true;
	}
	return false;
}

/* ---- events ---- */

static uint8_t *left_for(XWorld *w, XKind kind)
{
	switch (kind)
	{
		case X_DOUBLE:
			return &w->left.doubles;
		case X_EXPIRE:
			return &w->left.campaigns;
		case X_TICK:
			return &w->left.ticks;
		case X_PROPOSE:
			return &w->entries;
		case X_CHANGE:
			return &w->left.changes;
		case X_TRANSFER:
			return &w->left.transfers;
		case X_READ:
			return &w->reads;
		case X_CRASH:
			return &w->left.crashes;
		default:
			return NULL;
	}
}

bool x_idle(const XWorld *w, const XEvent *e)
{
	const XEffect *f = x_effect(w->local[e->node], e);

	if (f->next != w->local[e->node] || f->broken != NULL || e->kind == X_READ)
		return false;
	for (uint32_t i = 0; i < f->n_shown; i++)
		if (f->shown[i].what != X_LEADS || w->leader_of[f->shown[i].term] != e->node)
			return false;
	for (uint32_t i = 0; i < f->n_sent; i++)
	{
		uint32_t	number = f->sent[i];
		uint32_t	k = 0;

		if (!simplify(w, &number))
			continue;
		while (k < w->n_bag && w->bag[k] != number)
			k++;
		if (k == w->n_bag || x_bound.doubles != X_ANY)
			return false;
	}
	return true;
}

void x_apply(XWorld *w, const XEvent *e)
{
	const XLocal *before = x_local(w->local[e->node]);
	const XEffect *f = x_effect(w->local[e->node], e);
	uint8_t    *left = left_for(w, e->kind);

	x_broken = f->broken;
	if (x_broken != NULL)
		return;
	if (left != NULL && f->used && *left != X_ANY)
		(*left)--;
	if (e->kind == X_READ && f->used)
		w->read_needs[e->arg] = w->n_committed;
	if ((e->kind == X_DELIVER || e->kind == X_DELIVER_LATE) && x_bound.doubles != X_ANY)
		drop_message(w, e->arg);
	w->local[e->node] = f->next;
	x_judge(w, e->node, before, f);
	look_again(w, e->kind == X_CRASH && w->left.crashes == 0 ? 0 : e->node);
	for (uint32_t i = 0; i < f->n_sent; i++)
		post(w, f->sent[i]);
}

static uint32_t add(XEvent *events, uint32_t n, XKind kind, NdNodeId node, uint32_t arg)
{
	events[n].kind = (uint8_t) kind;
	events[n].node = (uint8_t) node;
	events[n].arg = arg;
	return n + 1;
}

static bool can_be_late(const XMessage *m, const XLocal *to)
{
	return (m->type == RAFT_MSG_PREVOTE || (m->type == RAFT_MSG_VOTE && m->context == 0)) && to->hears && m->term > to->term;
}

uint32_t x_enabled(const XWorld *w, XEvent *events)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < w->n_bag; i++)
	{
		const XMessage *m = x_message(w->bag[i]);

		if (i > 0 && w->bag[i] == w->bag[i - 1])
			continue;
		n = add(events, n, X_DELIVER, m->to, w->bag[i]);
		if (can_be_late(m, x_local(w->local[m->to])))
			n = add(events, n, X_DELIVER_LATE, m->to, w->bag[i]);
		if (w->left.doubles > 0 && w->left.doubles != X_ANY)
			n = add(events, n, X_DOUBLE, m->to, w->bag[i]);
	}
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
	{
		const XLocal *l = x_local(w->local[id]);

		for (uint32_t i = 0; i < l->n_events; i++)
		{
			const XEvent *e = &l->events[i];
			const uint8_t *left = left_for((XWorld *) w, e->kind);

			if (left == NULL || *left > 0)
				n = add(events, n, e->kind, id, e->kind == X_PROPOSE ? x_bound.entries - w->entries + 1u :
						e->kind == X_READ ? x_bound.reads - w->reads + 1u : e->arg);
		}
	}
	return n;
}

bool x_possible(const XWorld *w, const XEvent *e)
{
	XEvent		events[X_WORLD_EVENTS];
	uint32_t	n = x_enabled(w, events);

	for (uint32_t i = 0; i < n; i++)
		if (events[i].kind == e->kind && events[i].node == e->node && events[i].arg == e->arg)
			return true;
	return false;
}
