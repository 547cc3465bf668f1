/*
 * storage.c: what the driver tells of its disk: entries durable, prefix truncated, snapshot installed.
 *
 * It moves RaftMemLog.durable. Invariants:
 * 1. A completion counts only for the entry that the log has at that index and term, and only when no cut of handed-over entries lies
 *    between its write and now (the fence, raft_internal.h): an entry may come back at the same place after another stood there.
 * 2. Every step is all or nothing; none of them needs memory but for the messages that follow.
 */
#include "raft_internal.h"

static void durable_to(Raft *r, uint64_t index)
{
	if (index <= r->log.durable)
		return;
	r->log.durable = index;
	raft__count(r);
	raft__acknowledge(r, false);
}

void raft__fence(Raft *r, uint64_t truncated_from)
{
	r->fence_wanted = true;
	for (uint32_t i = 0; i < r->n_fences; i++)
		r->fences[i].last = raft__min(r->fences[i].last, truncated_from - 1);
}

void raft__fence_given(Raft *r)
{
	if (r->fence_wanted)
		r->fence_seq = r->hard_seq;
	r->fence_wanted = false;
	if (r->fence_seq == 0)
		return;
	if (r->n_fences == RAFT_FENCES)
		r->n_fences--;
	r->fences[r->n_fences++] = (RaftFence) {r->hard_seq, r->log.last};
}

void raft__fence_durable(Raft *r)
{
	uint64_t	last = 0;
	uint32_t	done = 0;

	for (; done < r->n_fences && r->fences[done].seq <= r->hard_durable_seq; done++)
		last = r->fences[done].last;
	for (uint32_t i = done; i < r->n_fences; i++)
		r->fences[i - done] = r->fences[i];
	r->n_fences -= done;
	if (!r->fence_wanted && r->fence_seq <= r->hard_durable_seq)
	{
		r->fence_seq = 0;
		r->n_fences = 0;
	}
	durable_to(r, last);
}

NdStatus raft_persisted(Raft *r, uint64_t index, uint64_t term)
{
	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	if (MUTANT(RAFT_STALE_PERSISTED))
		index = raft__min(index, raft__handed(&r->log));
	else if (index > raft__handed(&r->log) || raft__term(&r->log, index) != term || r->fence_wanted || r->fence_seq != 0)
		return ND_OK;
	durable_to(r, index);
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

/* Only a follower whose log lacks the entry needs it. When the log has it, what follows may be acknowledged. */
static bool is_needed(const Raft *r, uint64_t index, uint64_t term)
{
	return r->state != RAFT_LEADER && index > r->commit && index <= RAFT_NUMBER_MAX && term != 0 && term <= RAFT_NUMBER_MAX &&
		!(index <= r->log.last && raft__term(&r->log, index) == term);
}

/*
 * May the log be replaced by a snapshot behind (index, term)? Who sends one has been answered by us in its own term, so what it sends was committed in our
 * term or before, and stands in the log of whoever leads our term. What we matched against that log therefore never contradicts it.
 */
static NdStatus check_snapshot(Raft *r, uint64_t index, uint64_t term)
{
	if (!is_needed(r, index, term))
		return ND_INVALID;
	if (index <= r->matched && term <= r->term)	/* in a newer term nothing is matched yet */
	{
		raft__freeze(r, "a snapshot contradicts entries that were matched in this term");
		return ND_FROZEN;
	}
	return ND_OK;
}

NdStatus raft_set_install(Raft *r, RaftInstall install, uint64_t index, uint64_t term)
{
	NdStatus	status;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	status = install != RAFT_INSTALL_NONE ? check_snapshot(r, index, term) : ND_OK;
	if (status != ND_OK)
		return status;
	if (install != RAFT_INSTALL_NONE && (r->state == RAFT_CANDIDATE || r->state == RAFT_PRECANDIDATE))
		raft__become_follower(r, r->term, 0);
	r->install = install;
	return ND_OK;
}

NdStatus raft_snapshot_installed(Raft *r, uint64_t index, uint64_t term, const RaftConfiguration *c)
{
	NdStatus	status;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || !raft__configuration_valid(c) || c->index > index)
		return ND_INVALID;
	status = check_snapshot(r, index, term);
	if (status != ND_OK)
		return status;
	if (!raft__members_reserve(r, c->n))
		return ND_NOMEM;
	if (r->state != RAFT_FOLLOWER || term > r->term)
		raft__become_follower(r, raft__max(term, r->term), 0);
	r->install = RAFT_INSTALL_NONE;
	raft__log_reset(&r->log, index, term);
	if (!MUTANT(RAFT_SNAPSHOT_KEEPS_CONFIG))
		raft__install_configuration(r, c, c);
	raft__advance_commit(r, index);
	r->matched = index;			/* committed, so in the log of whoever leads */
	r->n_fences = 0;
	r->fence_wanted = true;
	if (r->leader != 0)
	{
		RaftMessage m = raft__message(r, RAFT_MSG_SNAPSHOT_REPLY, r->leader);

		m.index = index;
		if (raft__send_dependent(r, &m))
			r->acked = index;
	}
	return ND_OK;
}
