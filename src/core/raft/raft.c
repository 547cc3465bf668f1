/*
 * raft.c: life of a group, ticks, and the gate through which every message passes.
 *
 * Invariants:
 * 1. No event does anything once the group is frozen, nor between raft_take_update() and raft_update_done().
 * 2. What a message says is looked at as a whole before anything changes: malformed ones are ND_INVALID without effect.
 * 3. Terms are compared here and nowhere else: a handler sees messages of its own term (votes, pre-votes and reads excepted).
 */
#include "raft_internal.h"

#include <string.h>

void raft__freeze(Raft *r, const char *reason)
{
	if (r->frozen == NULL)
		r->frozen = reason;
}

bool raft__reserve(void **array, uint32_t *cap, uint64_t want, size_t size)
{
	uint64_t	grown = raft__max(want, raft__max(8, (uint64_t) *cap * 2));
	void	   *p;

	if (want <= *cap)
		return true;
	if (grown > UINT32_MAX || grown > SIZE_MAX / size)
		return false;
	p = nd_realloc(*array, grown * size);
	if (p == NULL)
		return false;
	*array = p;
	*cap = (uint32_t) grown;
	return true;
}

/* ---- life ---- */

NdStatus raft_create(const RaftConfig *config, const RaftRestore *restore, const RaftLog *log, Raft **out)
{
	Raft	   *r;
	NdStatus	status;
	uint64_t	last_term;

	if (config->self == 0 || config->election_ticks < 2 || config->heartbeat_ticks == 0 ||
		config->heartbeat_ticks >= config->election_ticks || config->inflight_max == 0 || log == NULL || log->entries == NULL)
		return ND_INVALID;
	if (!raft__configuration_valid(&restore->configuration) || !raft__configuration_valid(&restore->configuration_committed) ||
		restore->configuration.index > restore->last_index ||
		restore->configuration_committed.index > restore->configuration.index ||
		restore->hard.commit > restore->last_index || restore->hard.term > RAFT_NUMBER_MAX)
		return ND_INVALID;
	r = nd_zalloc(sizeof(*r));
	if (r == NULL)
		return ND_NOMEM;
	status = raft__members_reserve(r, restore->configuration.n > restore->configuration_committed.n ?
								   restore->configuration.n : restore->configuration_committed.n) ? ND_OK : ND_NOMEM;
	if (status != ND_OK || !raft__log_restore(&r->log, restore, &status))
	{
		raft_destroy(r);
		return status;
	}
	r->cfg = *config;
	r->reader = *log;
	nd_random_seed(&r->random, config->seed);
	r->commit = raft__max(restore->hard.commit, restore->first_index - 1);
	r->term = restore->hard.term;
	r->vote = restore->hard.vote;

	/* Entries are stored before the hard state of their term: a crash in between leaves them under an older one. No vote had left. */
	last_term = raft__term(&r->log, r->log.last);
	if (last_term > r->term)
	{
		r->term = last_term;
		r->vote = 0;
	}
	r->emitted_term = restore->hard.term;
	r->emitted_vote = restore->hard.vote;
	r->emitted_commit = restore->hard.commit;
	r->told_term = r->term;
	r->told_commit = restore->hard.commit;
	r->told_config = restore->configuration.index;
	raft__install_configuration(r, &restore->configuration, &restore->configuration_committed);
	raft__reset_timeout(r);
	*out = r;
	return ND_OK;
}

void raft_destroy(Raft *r)
{
	if (r == NULL)
		return;
	for (uint32_t i = 0; i < r->n_peers; i++)
		raft__peer_clear(&r->peers[i]);
	raft__queue_free(&r->out);
	raft__queue_free(&r->after);
	raft__queue_free(&r->held);
	raft__log_free(&r->log);
	nd_free(r->config);
	nd_free(r->config_prev);
	nd_free(r->peers);
	nd_free(r->batches);
	nd_free(r->reads);
	nd_free(r->answers);
	nd_free(r);
}

/* ---- time ---- */

static void tick_leader(Raft *r)
{
	if (++r->heartbeat_elapsed >= r->cfg.heartbeat_ticks && r->n_peers > 0)
		r->heartbeat_wanted = true;
	if (r->send_retry)
		r->send_wanted = true;
	raft_tell_commit(r);
	raft__age_rounds(r);
	raft__leave_joint(r);
	if (r->transferee != 0 && ++r->transfer_elapsed >= r->cfg.election_ticks)
		r->transferee = 0;
	if (++r->election_elapsed >= r->cfg.election_ticks)
		raft__check_quorum(r);
}

NdStatus raft_tick(Raft *r)
{
	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	if (r->state == RAFT_LEADER)
		tick_leader(r);
	else
	{
		raft__age_reads(r);
		r->election_elapsed++;
		/* A lone voter has nobody to wait for. A candidate whose vote is not on its disk yet has asked nobody: it does not ask again. */
		if ((r->election_elapsed >= r->election_timeout || (r->self_voter && r->n_voters == 1 && r->state == RAFT_FOLLOWER)) &&
			!(r->state == RAFT_CANDIDATE && r->self_ballot == BALLOT_NONE))
			raft__campaign(r, false);
	}
	return r->frozen != NULL ? ND_FROZEN : ND_OK;
}

NdStatus raft_campaign(Raft *r)
{
	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	if (r->state == RAFT_FOLLOWER)
		raft__campaign(r, false);
	return ND_OK;
}

/* ---- messages ---- */

static bool well_formed(const Raft *r, const RaftMessage *m)
{
	uint64_t	term = m->log_term;

	if (m->from == 0 || m->from == r->cfg.self || m->to != r->cfg.self || m->group != r->cfg.group || m->term == 0 ||
		m->term > RAFT_NUMBER_MAX || m->index > RAFT_NUMBER_MAX || m->commit > RAFT_NUMBER_MAX || m->log_term > m->term)
		return false;
	if (m->n_entries > 0 && (m->type != RAFT_MSG_APPEND || m->entries == NULL))
		return false;
	for (uint32_t i = 0; i < m->n_entries; i++)
	{
		const RaftEntry *e = &m->entries[i];

		if (e->index != m->index + 1 + i || e->term < term || e->term == 0 || e->term > m->term ||
			(e->kind != RAFT_ENTRY_NOOP && e->kind != RAFT_ENTRY_DATA && e->kind != RAFT_ENTRY_CONFIG))
			return false;
		term = e->term;
	}
	return true;
}

static bool from_leader(const RaftMessage *m)
{
	return m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_SNAPSHOT;
}

/* A newer term than ours. False: the message ends here. */
static bool take_newer_term(Raft *r, const RaftMessage *m)
{
	if (from_leader(m))
		raft__become_follower(r, m->term, m->from);
	else if (m->type == RAFT_MSG_PREVOTE || (m->type == RAFT_MSG_PREVOTE_REPLY && !m->reject))
		return true;			/* a term that nobody is in yet */
	else if (m->type == RAFT_MSG_VOTE)
	{
		if (raft__hears_leader(r) && m->context == 0)
			return false;
		raft__become_follower(r, m->term, 0);
	}
	else if (raft__peer(r, m->from) != NULL)
		raft__become_follower(r, m->term, 0);
	else
		return false;			/* a stranger's answer, e.g. of a removed member */
	return true;
}

static void step_leader(Raft *r, const RaftMessage *m)
{
	RaftPeer   *p = raft__peer(r, m->from);

	if (p == NULL)
		return;
	p->active = true;
	switch (m->type)
	{
		case RAFT_MSG_APPEND_REPLY:
			raft__handle_append_reply(r, p, m);
			break;
		case RAFT_MSG_HEARTBEAT_REPLY:
			raft__handle_heartbeat_reply(r, p, m);
			break;
		default:
			raft__handle_snapshot_reply(r, p, m);
			break;
	}
}

static NdStatus step_from_leader(Raft *r, const RaftMessage *m)
{
	if (m->term < r->term)
	{
		raft__refuse_old_leader(r, m);
		return ND_OK;
	}
	if (r->state == RAFT_LEADER || (r->leader != 0 && r->leader != m->from))
	{
		raft__freeze(r, "two leaders in one term");
		return ND_FROZEN;
	}
	raft__become_follower(r, r->term, m->from);
	if (r->install == RAFT_INSTALL_CLOSED && m->type != RAFT_MSG_HEARTBEAT)
		return ND_OK;			/* as if it were lost: the log is about to be replaced */
	if (m->type == RAFT_MSG_APPEND)
		return raft__handle_append(r, m);
	if (m->type == RAFT_MSG_HEARTBEAT)
		raft__handle_heartbeat(r, m);
	else
		raft__handle_snapshot(r, m);
	return ND_OK;
}

NdStatus raft_step(Raft *r, const RaftMessage *m)
{
	NdStatus	status = ND_OK;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || !well_formed(r, m))
		return ND_INVALID;
	if (m->term > r->term && !take_newer_term(r, m))
		return ND_OK;
	switch (m->type)
	{
		case RAFT_MSG_PREVOTE:
			raft__handle_prevote(r, m);
			break;
		case RAFT_MSG_VOTE:
			raft__handle_vote(r, m);
			break;
		case RAFT_MSG_PREVOTE_REPLY:
		case RAFT_MSG_VOTE_REPLY:
			raft__handle_vote_reply(r, m);
			break;
		case RAFT_MSG_APPEND:
		case RAFT_MSG_HEARTBEAT:
		case RAFT_MSG_SNAPSHOT:
			status = step_from_leader(r, m);
			break;
		case RAFT_MSG_APPEND_REPLY:
		case RAFT_MSG_HEARTBEAT_REPLY:
		case RAFT_MSG_SNAPSHOT_REPLY:
			if (r->state == RAFT_LEADER && (m->term == r->term || MUTANT(RAFT_OLD_TERM_REPLY)))
				step_leader(r, m);
			break;
		case RAFT_MSG_TIMEOUT_NOW:
			raft__handle_timeout_now(r, m);
			break;
		case RAFT_MSG_READ_INDEX:
			raft__handle_read_index(r, m);
			break;
		case RAFT_MSG_READ_INDEX_REPLY:
			raft__handle_read_index_reply(r, m);
			break;
		default:
			return ND_INVALID;
	}
	return r->frozen != NULL ? ND_FROZEN : status;
}
