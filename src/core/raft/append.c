/*
 * append.c: a follower's side of replication: APPEND, HEARTBEAT and SNAPSHOT of the leader of its term (thesis, 3.5).
 *
 * It owns matched and acked. Invariants:
 * 1. matched: our log equals the leader's up to here, shown by an APPEND of this very term. An acknowledgement is min(matched, durable),
 *    never "last stored": entries of a deposed leader may still stand behind what was matched.
 * 2. commit <= what the message matched.
 * 3. Entries at or below commit are never cut; entries matched in this term are never cut in this term.
 * 4. All memory is reserved and every configuration is decoded before the first change.
 */
#include "raft_internal.h"

/* Tell the leader how far we are. Unless `always`, only when it is news. */
void raft__acknowledge(Raft *r, bool always)
{
	uint64_t	index = raft__min(r->matched, r->log.durable);
	RaftMessage m;

	if (MUTANT(RAFT_ACK_UNMATCHED))
		index = r->log.durable;
	if (MUTANT(RAFT_ACK_BEFORE_DURABLE))
		index = r->matched;
	if (r->state != RAFT_FOLLOWER || r->leader == 0 || (index <= r->acked && !always))
		return;
	m = raft__message(r, RAFT_MSG_APPEND_REPLY, r->leader);
	m.index = index;
	if (raft__send_dependent(r, &m))
		r->acked = raft__max(r->acked, index);
}

/* The sender leads an older term: our term makes it step down, or else it and we could wait for each other for ever. */
void raft__refuse_old_leader(Raft *r, const RaftMessage *m)
{
	RaftMessage reply = raft__message(r, RAFT_MSG_APPEND_REPLY, m->from);

	/*
	 * It only tells the newer term. Not the index: the refused leader may lead that very term by now, and would take this for a refusal of
	 * its probe there, with a hint that sends it below its log.
	 */
	reply.reject = true;
	reply.index = 0;
	raft__send_dependent(r, &reply);
}

static void reject(Raft *r, uint64_t prev, uint64_t prev_term)
{
	RaftMessage m = raft__message(r, RAFT_MSG_APPEND_REPLY, r->leader);

	m.reject = true;
	m.index = prev;
	m.hint_index = raft__max(raft__find_by_term(&r->log, prev, prev_term), r->commit);	/* what is committed matches */
	m.hint_term = raft__term(&r->log, m.hint_index);
	raft__send_dependent(r, &m);
}

/* A configuration among the leader's entries: can it be read, and is there room for it? */
static NdStatus prepare_configuration(Raft *r, const RaftEntry *e)
{
	RaftConfiguration c;
	NdStatus	status = ND_INVALID;

	if (e->payload != NULL)
		status = raft_configuration_decode(e->payload->data, e->payload->len, &c);
	if (status == ND_OK && !raft__members_reserve(r, c.n))
		status = ND_NOMEM;
	return status;
}

static void take_configuration(Raft *r, const RaftEntry *e)
{
	RaftConfiguration c;

	raft_configuration_decode(e->payload->data, e->payload->len, &c);
	c.index = e->index;
	raft__set_configuration(r, &c);
}

/* Memory for n entries behind last_term, and a look at every configuration among them. */
static NdStatus prepare(Raft *r, const RaftEntry *entries, uint32_t n, uint64_t last_term)
{
	uint32_t	n_runs = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		const RaftEntry *e = &entries[i];

		n_runs += i == 0 || e->term != last_term;
		last_term = e->term;
		if (e->kind == RAFT_ENTRY_CONFIG)
		{
			NdStatus	status = prepare_configuration(r, e);

			if (status != ND_OK)
				return status;
		}
	}
	return raft__log_reserve(&r->log, n, n_runs) ? ND_OK : ND_NOMEM;
}

static void store(Raft *r, const RaftEntry *entries, uint32_t n)
{
	uint64_t	from = entries[0].index;

	if (from <= r->log.last)
	{
		if (raft__log_truncate(&r->log, from))
			raft__fence(r, from);
		raft__roll_back_configuration(r, from);
	}
	for (uint32_t i = 0; i < n; i++)
	{
		const RaftEntry *e = &entries[i];

		raft__log_append(&r->log, e->term, e->kind, e->payload);
		if (e->kind == RAFT_ENTRY_CONFIG)
			take_configuration(r, e);
	}
}

NdStatus raft__handle_append(Raft *r, const RaftMessage *m)
{
	const RaftEntry *entries = m->entries;
	uint32_t	n = m->n_entries;
	uint64_t	prev = m->index;
	uint64_t	prev_term = m->log_term;
	uint32_t	known = 0;
	NdStatus	status;

	/* What is committed here is in every later leader's log (thesis, 3.6.3, Leader Completeness): step over it, do not compare. */
	if (prev < r->commit)
	{
		r->matched = raft__max(r->matched, r->commit);
		for (; n > 0 && prev < r->commit; n--, entries++, prev++)
			if (entries->index >= r->log.first && raft__term(&r->log, entries->index) != entries->term)
			{
				raft__freeze(r, "the leader has another entry where one is committed here");
				return ND_FROZEN;
			}
		if (prev < r->commit)
		{
			raft__acknowledge(r, true);
			return ND_OK;
		}
		prev_term = raft__term(&r->log, prev);
	}
	if (prev > r->log.last || (raft__term(&r->log, prev) != prev_term && !MUTANT(RAFT_NO_LOG_MATCHING)))
	{
		if (prev <= r->matched)
		{
			raft__freeze(r, "the leader changed an entry that was matched in its term");
			return ND_FROZEN;
		}
		reject(r, prev, prev_term);
		return ND_OK;
	}
	while (known < n && entries[known].index <= r->log.last && raft__term(&r->log, entries[known].index) == entries[known].term)
		known++;
	if (known < n)
	{
		if (entries[known].index <= r->matched)
		{
			raft__freeze(r, "the leader changed an entry that was matched in its term");
			return ND_FROZEN;
		}
		status = prepare(r, entries + known, n - known, raft__term(&r->log, entries[known].index - 1));
		if (status != ND_OK)
			return status;
		store(r, entries + known, n - known);
	}
	r->matched = raft__max(r->matched, prev + n);
	raft__advance_commit(r, MUTANT(RAFT_COMMIT_UNMATCHED) ? raft__min(m->commit, r->log.last) : raft__min(m->commit, prev + n));

	/* New entries are acknowledged when durable; anything else is a question that wants its answer now. */
	raft__acknowledge(r, known == n);
	return ND_OK;
}

/* The leader names no commit above what we acknowledged to it. */
void raft__handle_heartbeat(Raft *r, const RaftMessage *m)
{
	RaftMessage reply = raft__message(r, RAFT_MSG_HEARTBEAT_REPLY, m->from);

	if (m->commit > r->log.last)
	{
		raft__freeze(r, "entries that this replica acknowledged are missing here");
		return;
	}
	raft__advance_commit(r, m->commit);
	reply.context = m->context;
	raft__send_dependent(r, &reply);
}

/*
 * An announcement: the driver fetches the data and says raft_snapshot_installed(). What it would cover is committed and in the leader's
 * log, so when our log has its last entry we match up to there and need no snapshot: an acknowledgement that got lost made it look so.
 */
void raft__handle_snapshot(Raft *r, const RaftMessage *m)
{
	if (m->index > r->log.last || (m->index > r->commit && raft__term(&r->log, m->index) != m->log_term))
		return;
	raft__advance_commit(r, m->index);
	r->matched = raft__max(r->matched, r->commit);
	raft__acknowledge(r, true);
}
