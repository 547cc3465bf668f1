/*
 * storage.c: what the driver tells of its disk: entries durable, prefix truncated, snapshot installed.
 *
 * It moves RaftMemLog.durable. Invariants:
 * 1. A completion counts only for the entry that the log has at that index and term, and only when no cut of handed-over entries lies
 *    between its write and now (the fence, raft_internal.h): an entry may come back at the same place after another stood there.
 * 2. Every step is all or nothing; none of them needs memory but for the messages that follow.
 */
#include "raft_internal.h"

NdStatus raft_persisted(Raft *r, uint64_t index, uint64_t term)
{
	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	if (MUTANT(RAFT_STALE_PERSISTED))
		index = raft__min(index, raft__handed(&r->log));
	else if (index > raft__handed(&r->log) || raft__term(&r->log, index) != term || r->fence_wanted)
		return ND_OK;
	else if (r->fence_seq != 0)
	{
		r->claim_index = index;
		r->claim_term = term;
		return ND_OK;
	}
	if (index <= r->log.durable)
		return ND_OK;
	r->log.durable = index;
	raft__count(r);
	raft__acknowledge(r, false);
	return r->frozen != NULL ? ND_FROZEN : ND_OK;
}

NdStatus raft_compacted(Raft *r, uint64_t first_index)
{
	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || first_index > raft__min(r->commit, r->log.durable) + 1)
		return ND_INVALID;
	if (first_index > r->log.first)
		raft__log_compact(&r->log, first_index);
	return ND_OK;
}

NdStatus raft_snapshot_installed(Raft *r, uint64_t index, uint64_t term, const RaftConfiguration *c)
{
	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || r->state == RAFT_LEADER || index <= r->commit || index > RAFT_NUMBER_MAX || term == 0 ||
		term > RAFT_NUMBER_MAX || !raft__configuration_valid(c) || c->index > index)
		return ND_INVALID;
	if (index <= r->log.last && raft__term(&r->log, index) == term)
		return ND_INVALID;		/* the log has it, and what follows may be acknowledged */
	if (r->state != RAFT_FOLLOWER || term > r->term)
		raft__become_follower(r, raft__max(term, r->term), 0);
	raft__log_reset(&r->log, index, term);
	raft__install_configuration(r, c, c);
	raft__advance_commit(r, index);
	r->matched = raft__max(r->matched, index);	/* committed, so in the log of whoever leads */
	r->fence_wanted = true;
	if (r->leader != 0)
	{
		RaftMessage m = raft__message(r, RAFT_MSG_SNAPSHOT_REPLY, r->leader);

		m.index = index;
		if (raft__send_dependent(r, &m))
			r->acked = raft__max(r->acked, index);
	}
	return ND_OK;
}
