/*
 * update.c: what leaves the core: queues of messages, hard states, RaftUpdate.
 *
 * Invariants:
 * 1. A message that depends on term or vote waits until both are durable: in messages_after while they are part of the next update, in
 *    `held` while an earlier update that carries them is on its way to the disk.
 * 2. The commit in a hard state is a hint and never causes a write of its own: it rides along with entries.
 * 3. A message that cannot be queued for want of memory is lost, as the network may lose it; nothing else changes. So is one more than RAFT_HELD_MAX in
 *    `held`: heartbeats go on, and would fill it with answers while a disk does not finish.
 */
#include "raft_internal.h"

#include <string.h>

RaftMessage raft__message(const Raft *r, RaftMessageType type, NdNodeId to)
{
	RaftMessage m;

	memset(&m, 0, sizeof(m));
	m.type = type;
	m.group = r->cfg.group;
	m.from = r->cfg.self;
	m.to = to;
	m.term = r->term;
	return m;
}

static void message_free(RaftMessage *m)
{
	for (uint32_t i = 0; i < m->n_entries; i++)
		nd_blob_unref(m->entries[i].payload);
	nd_free(m->entries);
}

static void queue_clear(RaftQueue *q)
{
	for (uint32_t i = 0; i < q->n; i++)
		message_free(&q->messages[i]);
	q->n = 0;
}

void raft__queue_free(RaftQueue *q)
{
	queue_clear(q);
	nd_free(q->messages);
}

static bool queue_push(RaftQueue *q, RaftMessage *m)
{
	if (!raft__reserve((void **) &q->messages, &q->cap, (uint64_t) q->n + 1, sizeof(RaftMessage)))
	{
		message_free(m);
		return false;
	}
	q->messages[q->n++] = *m;
	return true;
}

bool raft__send(Raft *r, RaftMessage *m)
{
	return queue_push(&r->out, m);
}

bool raft__hard_pending(const Raft *r)
{
	return r->term != r->emitted_term || r->vote != r->emitted_vote;
}

bool raft__send_dependent(Raft *r, RaftMessage *m)
{
	if (MUTANT(RAFT_VOTE_BEFORE_DURABLE))
		return queue_push(&r->out, m);
	if (raft__hard_pending(r))
		return queue_push(&r->after, m);
	if (r->hard_durable_seq >= r->hard_dep_seq)
		return queue_push(&r->out, m);
	if (r->held.n < RAFT_HELD_MAX)
		return queue_push(&r->held, m);
	message_free(m);
	return false;
}

void raft__drop_dependent(Raft *r)
{
	queue_clear(&r->after);
	queue_clear(&r->held);
}

NdStatus raft_hard_persisted(Raft *r, uint64_t hard_seq)
{
	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || hard_seq > r->hard_seq)
		return ND_INVALID;
	if (hard_seq <= r->hard_durable_seq)
		return ND_OK;
	r->hard_durable_seq = hard_seq;
	raft__fence_durable(r);
	if (!raft__hard_pending(r) && hard_seq >= r->hard_dep_seq)
	{
		for (uint32_t i = 0; i < r->held.n; i++)
			queue_push(&r->out, &r->held.messages[i]);
		r->held.n = 0;
		raft__own_vote_durable(r);
	}
	return r->frozen != NULL ? ND_FROZEN : ND_OK;
}

static bool state_changed(const Raft *r)
{
	return r->state != r->told_state || r->term != r->told_term || r->leader != r->told_leader || r->config->index != r->told_config;
}

bool raft_has_update(const Raft *r)
{
	return r->frozen == NULL && !r->taken &&
		(r->out.n > 0 || r->after.n > 0 || r->log.n_pending > 0 || r->log.truncate_from != 0 || r->fence_wanted ||
		 raft__hard_pending(r) || r->n_answers > 0 || r->commit != r->told_commit || r->send_wanted || state_changed(r) ||
		 raft__round_due(r));
}

NdStatus raft_take_update(Raft *r, RaftUpdate *u)
{
	bool		term_or_vote;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	if (raft__round_due(r))
		raft__begin_round(r);
	if (r->state == RAFT_LEADER && r->send_wanted)
		raft__replicate(r);
	if (r->frozen != NULL)
		return ND_FROZEN;

	memset(u, 0, sizeof(*u));
	u->truncate_from = r->log.truncate_from;
	u->entries = r->log.pending;
	u->n_entries = r->log.n_pending;
	term_or_vote = raft__hard_pending(r);
	if (term_or_vote || r->fence_wanted || (u->n_entries > 0 && (r->commit != r->emitted_commit || r->fence_seq != 0)))
	{
		u->hard_changed = true;
		u->hard = (RaftHardState) {r->term, r->vote, r->commit};
		u->hard_seq = ++r->hard_seq;
		r->emitted_term = r->term;
		r->emitted_vote = r->vote;
		r->emitted_commit = r->commit;
		if (term_or_vote)
			r->hard_dep_seq = r->hard_seq;
		raft__fence_given(r);
	}
	u->messages = r->out.messages;
	u->n_messages = r->out.n;
	u->messages_after = r->after.messages;
	u->n_messages_after = r->after.n;
	u->commit = r->commit;
	u->reads = r->answers;
	u->n_reads = r->n_answers;
	u->state_changed = state_changed(r);
	u->snapshot_needed_index = r->snapshot_needed_index;
	u->snapshot_peer = r->snapshot_peer;
	r->told_state = r->state;
	r->told_term = r->term;
	r->told_leader = r->leader;
	r->told_config = r->config->index;
	r->told_commit = r->commit;
	r->taken = true;
	return ND_OK;
}

void raft_update_done(Raft *r)
{
	if (!r->taken)
		return;
	r->taken = false;
	queue_clear(&r->out);
	queue_clear(&r->after);
	r->n_answers = 0;
	r->snapshot_needed_index = 0;
	r->snapshot_peer = 0;
	raft__log_taken(&r->log);
}
