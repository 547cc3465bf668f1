/*
 * election.c: terms, votes and who leads (thesis, 3.4 and 9.6; leader transfer: 3.10).
 *
 * It owns term, vote, state, leader and the ballots.
 *
 * States, and who moves them:
 *   FOLLOWER      -> PRECANDIDATE  election timeout, raft_campaign()
 *   PRECANDIDATE  -> CANDIDATE     a quorum would vote for it; -> FOLLOWER when it hears a leader or a quorum cannot be had
 *   CANDIDATE     -> LEADER        a quorum voted for it; -> FOLLOWER likewise, or by a higher term
 *   LEADER        -> FOLLOWER      a higher term, no quorum heard within an election timeout, removed from the configuration
 *   FOLLOWER      -> CANDIDATE     TIMEOUT_NOW of its leader
 *
 * Invariants:
 * 1. Log comparison uses the durable log on both sides: what a crash can take back must not win or refuse an election.
 * 2. A vote, and the candidate's own, counts only once term and vote are durable.
 * 3. While a replica hears a live leader it neither grants (pre-)votes nor takes a higher term from a candidate, so that a replica
 *    that was cut off cannot depose a leader who does well (thesis, 4.2.3). A transfer is exempt: the leader wished it.
 * 4. A new term drops messages that wait for the old one's hard state: nothing of an old term leaves under a newer one.
 */
#include "raft_internal.h"

void raft__reset_timeout(Raft *r)
{
	uint64_t	spread = raft__max(1, r->cfg.election_ticks / (1 + (uint64_t) (MUTANT(RAFT_NO_PRIORITY) ? 0 : r->cfg.priority)));

	r->election_elapsed = 0;
	r->election_timeout = r->cfg.election_ticks + (uint32_t) nd_random_below(&r->random, spread);
}

static void set_term(Raft *r, uint64_t term)
{
	r->term = term;
	r->vote = 0;
	r->matched = 0;
	r->acked = 0;
	raft__drop_dependent(r);
}

/* What ends with a state, whichever follows. */
static void leave_state(Raft *r)
{
	raft__lose_reads(r);
	r->transferee = 0;
	r->heartbeat_wanted = false;
	r->send_wanted = false;
	r->send_retry = false;
	raft__clear_batches(r);
	r->self_ballot = BALLOT_NONE;
	for (uint32_t i = 0; i < r->n_peers; i++)
		r->peers[i].ballot = BALLOT_NONE;
}

void raft__become_follower(Raft *r, uint64_t term, NdNodeId leader)
{
	bool		same = r->state == RAFT_FOLLOWER && term == r->term && leader == r->leader;

	if (!same)
		leave_state(r);
	if (term > r->term)
		set_term(r, term);
	r->state = RAFT_FOLLOWER;
	r->leader = leader;
	r->leader_lost = false;
	if (!same)
		raft__reset_timeout(r);
	else if (leader != 0)
		r->election_elapsed = 0;
}

bool raft__hears_leader(const Raft *r)
{
	return r->leader != 0 && !r->leader_lost && r->election_elapsed < r->cfg.election_ticks;
}

static void ask_for_votes(Raft *r, RaftMessageType type, uint64_t term, bool transfer)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
	{
		RaftMessage m;

		if (!r->peers[i].voter)
			continue;
		m = raft__message(r, type, r->peers[i].node);
		m.term = term;
		m.index = MUTANT(RAFT_CAMPAIGN_UNDURABLE) ? r->log.last : r->log.durable;
		m.log_term = raft__term(&r->log, m.index);
		m.context = transfer;
		if (type == RAFT_MSG_PREVOTE)
			raft__send(r, &m);
		else
			raft__send_dependent(r, &m);
	}
}

static void tally(Raft *r);

static void become_candidate(Raft *r, bool transfer)
{
	leave_state(r);
	set_term(r, r->term + 1);
	r->vote = r->cfg.self;
	r->state = RAFT_CANDIDATE;
	r->leader = 0;
	raft__reset_timeout(r);
	ask_for_votes(r, RAFT_MSG_VOTE, r->term, transfer);
	if (MUTANT(RAFT_OWN_VOTE_UNDURABLE))
	{
		r->self_ballot = BALLOT_GRANTED;
		tally(r);
	}
}

/*
 * A voter of the configuration in effect, or of the one before while the newest is uncommitted: the leader that removes itself from a
 * pair may hold the only copy of that change, and the other could not win against its log (thesis, 4.2.2). Its own vote counts only
 * when it is a voter of the newest.
 */
bool raft__may_campaign(const Raft *r)
{
	const RaftMember *before = raft_configuration_find(r->config_prev, r->cfg.self);

	return r->self_voter || (r->config->index > r->commit && before != NULL && (before->role == RAFT_VOTER || before->in_old));
}

void raft__campaign(Raft *r, bool transfer)
{
	if (!raft__may_campaign(r) || r->term >= RAFT_NUMBER_MAX)
		return;
	if (r->install != RAFT_INSTALL_NONE && !MUTANT(RAFT_CAMPAIGN_INSTALLING))
		return;					/* it could not win, and the log may be about to be replaced */
	if (transfer)
	{
		become_candidate(r, true);
		return;
	}
	leave_state(r);
	r->state = RAFT_PRECANDIDATE;
	r->leader = 0;
	raft__reset_timeout(r);
	r->self_ballot = BALLOT_GRANTED;	/* promises nothing, so nothing need be durable */
	ask_for_votes(r, RAFT_MSG_PREVOTE, r->term + 1, false);
	tally(r);
}

static uint64_t get_granted(const RaftPeer *p)
{
	return p->ballot == BALLOT_GRANTED;
}

static uint64_t get_not_refused(const RaftPeer *p)
{
	return p->ballot != BALLOT_REFUSED;
}

/* Count the ballots of the voters; move on when the outcome is certain. */
static void tally(Raft *r)
{
	if (raft__quorum_value(r, r->self_ballot == BALLOT_GRANTED, get_granted) > 0)
	{
		if (r->state == RAFT_PRECANDIDATE)
			become_candidate(r, false);
		else
		{
			leave_state(r);
			if (!raft__become_leader(r))
				raft__become_follower(r, r->term, 0);	/* no memory for the no-op: stand again later */
		}
	}
	else if (raft__quorum_value(r, 1, get_not_refused) == 0)
		raft__become_follower(r, r->term, 0);
}

void raft__own_vote_durable(Raft *r)
{
	if (r->state != RAFT_CANDIDATE || r->self_ballot != BALLOT_NONE)
		return;
	r->self_ballot = BALLOT_GRANTED;
	tally(r);
}

/* Election restriction (thesis, 3.6.1): only a log at least as new as ours may lead us. */
static bool log_is_new_enough(const Raft *r, const RaftMessage *m)
{
	uint64_t	own_term = raft__term(&r->log, r->log.durable);

	return m->log_term > own_term || (m->log_term == own_term && m->index >= r->log.durable) || MUTANT(RAFT_VOTE_OLD_LOG);
}

void raft__handle_prevote(Raft *r, const RaftMessage *m)
{
	RaftMessage reply = raft__message(r, RAFT_MSG_PREVOTE_REPLY, m->from);

	reply.reject = m->term <= r->term || (raft__hears_leader(r) && !MUTANT(RAFT_PREVOTE_DISTURBS)) || !log_is_new_enough(r, m);
	if (reply.reject)
		raft__send_dependent(r, &reply);	/* its term tells a candidate that it is behind */
	else
	{
		reply.term = m->term;
		raft__send(r, &reply);
	}
}

/* m->term is ours: a newer one was taken over before. */
void raft__handle_vote(Raft *r, const RaftMessage *m)
{
	RaftMessage reply = raft__message(r, RAFT_MSG_VOTE_REPLY, m->from);
	bool		free_vote = r->vote == m->from || (r->vote == 0 && r->leader == 0) || MUTANT(RAFT_VOTE_TWICE) || (MUTANT(RAFT_TRANSFER_SECOND_VOTE) && m->context != 0);

	reply.reject = m->term < r->term || !free_vote || !log_is_new_enough(r, m);
	if (!reply.reject)
	{
		r->vote = m->from;
		raft__reset_timeout(r);
	}
	raft__send_dependent(r, &reply);
}

/* PREVOTE_REPLY and VOTE_REPLY. */
void raft__handle_vote_reply(Raft *r, const RaftMessage *m)
{
	RaftPeer   *p = raft__peer(r, m->from);
	bool		pre = m->type == RAFT_MSG_PREVOTE_REPLY;

	if (r->state != (pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE) || p == NULL || p->ballot != BALLOT_NONE)
		return;
	if (m->term != (pre && !m->reject ? r->term + 1 : r->term))
		return;
	p->ballot = m->reject ? BALLOT_REFUSED : BALLOT_GRANTED;
	tally(r);
}

void raft__handle_timeout_now(Raft *r, const RaftMessage *m)
{
	if (r->state == RAFT_FOLLOWER && m->term == r->term && m->from == r->leader)
		raft__campaign(r, true);
}

static uint64_t get_active(const RaftPeer *p)
{
	return p->active;
}

/* A leader that no quorum hears may have been replaced already: it steps down so that its clients look elsewhere (thesis, 6.2). */
void raft__check_quorum(Raft *r)
{
	bool		heard = raft__quorum_value(r, 1, get_active) > 0;

	for (uint32_t i = 0; i < r->n_peers; i++)
		r->peers[i].active = false;
	r->election_elapsed = 0;
	if (!heard && !MUTANT(RAFT_NO_CHECK_QUORUM))
		raft__become_follower(r, r->term, 0);
}
