/*
 * readindex.c: linearizable reads without a log entry (thesis, 6.4).
 *
 * It owns the waiting reads, the answers and the heartbeat rounds.
 * A round is one heartbeat to every peer; its number is the context that comes back. A read waits for a round that began after it
 * arrived: a quorum that answers it shows that no newer leader had been elected by then, so our commit of that moment covers all that was
 * acknowledged before. Reads that arrive while a round is under way share the next one.
 *
 * A follower's question is itself such an answer, for its own reads: it had not moved to a newer term when it asked, so when leader and asker are a
 * quorum, no newer leader had been elected by then. No round is needed (three voters: one round trip instead of two).
 *
 * Invariants:
 * 1. Round numbers only grow in a process, and answers count in their own term only: no old answer confirms a new read.
 * 2. No round counts for reads before an entry of the own term is committed: until then commit may lag behind what is committed (6.4, step 1).
 * 3. reads is in order of arrival; rounds are ascending in it, those without a round come last.
 * 4. Every local read gets exactly one answer, an index or `lost`; room for it is reserved when the read is taken.
 */
#include "raft_internal.h"

#include <string.h>

static void answer(Raft *r, const RaftRead *read, bool lost)
{
	RaftMessage m;
	RaftPeer   *peer;

	if (read->from == r->cfg.self)
	{
		r->answers[r->n_answers++] = (RaftReadState) {read->context, lost ? 0 : read->index, lost};
		return;
	}
	m = raft__message(r, RAFT_MSG_READ_INDEX_REPLY, read->from);
	m.context = read->context;
	m.commit = read->index;
	m.reject = lost;
	raft__send(r, &m);
	if (!lost && (peer = raft__peer(r, read->from)) != NULL)
		raft__commit_wanted(r, peer, read->index);
}

static void forget_reads(Raft *r, uint32_t first, uint32_t n)
{
	if (n == 0)
		return;
	memmove(r->reads + first, r->reads + first + n, (r->n_reads - first - n) * sizeof(RaftRead));
	r->n_reads -= n;
}

static bool term_committed(const Raft *r)
{
	return r->commit >= r->term_start || MUTANT(RAFT_READ_BEFORE_COMMIT);
}

bool raft__round_due(const Raft *r)
{
	if (r->state != RAFT_LEADER)
		return false;
	return r->heartbeat_wanted ||
		(r->n_reads > 0 && r->reads[r->n_reads - 1].round == 0 && term_committed(r) && r->confirmed_round == r->round);
}

static uint64_t get_in_round(const RaftPeer *p)
{
	return p->in_round;
}

/* Just a quorum: those who answered last. If one of them is silent now, the next tick asks all. */
static void choose_peers(Raft *r)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
		r->peers[i].in_round = false;
	for (uint32_t n = 0; n < r->n_peers && raft__quorum_value(r, 1, get_in_round) == 0; n++)
	{
		RaftPeer   *best = NULL;

		for (uint32_t i = 0; i < r->n_peers; i++)
			if (r->peers[i].voter && !r->peers[i].in_round && (best == NULL || r->peers[i].acked_round > best->acked_round))
				best = &r->peers[i];
		if (best != NULL)
			best->in_round = true;
	}
}

void raft__begin_round(Raft *r)
{
	bool		all = r->heartbeat_wanted || !r->cfg.frugal;

	r->round++;
	if (all)
	{
		r->heartbeat_wanted = false;
		r->heartbeat_elapsed = 0;
	}
	else
		choose_peers(r);
	for (uint32_t i = 0; i < r->n_peers; i++)
	{
		RaftMessage m = raft__message(r, RAFT_MSG_HEARTBEAT, r->peers[i].node);

		if (!all && !r->peers[i].in_round)
			continue;
		m.commit = raft__min(r->commit, r->peers[i].match);
		m.context = r->round;
		raft__send(r, &m);		/* a lost one is healed by the next heartbeat, which confirms this round and tells the commit too */
		if (r->cfg.frugal)
			r->peers[i].told_commit = raft__max(r->peers[i].told_commit, m.commit);
	}
	for (uint32_t i = r->n_reads; i > 0 && r->reads[i - 1].round == 0 && term_committed(r); i--)
	{
		r->reads[i - 1].round = r->round;
		r->reads[i - 1].index = r->commit;
	}
	raft__confirm_reads(r);
}

static uint64_t get_acked_round(const RaftPeer *p)
{
	return p->acked_round;
}

void raft__confirm_reads(Raft *r)
{
	uint32_t	n = 0;

	r->confirmed_round = raft__max(r->confirmed_round, raft__quorum_value(r, r->round, get_acked_round));
	for (; n < r->n_reads && r->reads[n].round != 0 && r->reads[n].round <= r->confirmed_round; n++)
		answer(r, &r->reads[n], false);
	forget_reads(r, 0, n);
}

void raft__lose_reads(Raft *r)
{
	for (uint32_t i = 0; i < r->n_reads; i++)
		answer(r, &r->reads[i], true);
	r->n_reads = 0;
}

/* A read that waits for a round at a tick may have asked somebody who is gone: ask all. */
void raft__age_rounds(Raft *r)
{
	if (r->n_reads > 0 && r->reads[0].round != 0)
		r->heartbeat_wanted = true;
}

/* A forwarded read whose message or answer got lost must not wait for ever. */
void raft__age_reads(Raft *r)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < r->n_reads; i++)
		r->reads[i].age_ticks++;
	for (; n < r->n_reads && r->reads[n].age_ticks >= r->cfg.election_ticks; n++)
		answer(r, &r->reads[n], true);
	forget_reads(r, 0, n);
}

static NdStatus add_read(Raft *r, NdNodeId from, uint64_t context)
{
	if (r->n_reads >= RAFT_READS_MAX)
		return ND_BUSY;
	if (!raft__reserve((void **) &r->reads, &r->cap_reads, (uint64_t) r->n_reads + 1, sizeof(RaftRead)) ||
		!raft__reserve((void **) &r->answers, &r->cap_answers, (uint64_t) r->n_answers + r->n_reads + 1, sizeof(RaftReadState)))
		return ND_NOMEM;
	r->reads[r->n_reads++] = (RaftRead) {.context = context, .from = from};
	if (r->state == RAFT_LEADER && term_committed(r) && (MUTANT(RAFT_READ_WITHOUT_ROUND) || MUTANT(RAFT_READ_OLD_ROUND)))
	{
		r->reads[r->n_reads - 1].index = r->commit;
		r->reads[r->n_reads - 1].round = MUTANT(RAFT_READ_WITHOUT_ROUND) ? r->confirmed_round : r->round;
		raft__confirm_reads(r);
	}
	return ND_OK;
}

NdStatus raft_read_index(Raft *r, uint64_t context)
{
	NdStatus	status;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || context == 0)
		return ND_INVALID;
	if (r->leader == 0)
		return ND_NOLEADER;
	status = add_read(r, r->cfg.self, context);
	if (status == ND_OK && r->state != RAFT_LEADER)
	{
		RaftMessage m = raft__message(r, RAFT_MSG_READ_INDEX, r->leader);

		m.context = context;
		if (!raft__send(r, &m))
		{
			r->n_reads--;
			return ND_NOMEM;
		}
	}
	return status;
}

static bool is_quorum_with_us(Raft *r, NdNodeId asker)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
		r->peers[i].in_round = r->peers[i].node == asker;
	return raft__quorum_value(r, 1, get_in_round) > 0 || MUTANT(RAFT_READ_TRUST_ASKER);
}

void raft__handle_read_index(Raft *r, const RaftMessage *m)
{
	if (r->state == RAFT_LEADER && r->cfg.frugal && term_committed(r) && is_quorum_with_us(r, m->from))
	{
		answer(r, &(RaftRead) {.context = m->context, .from = m->from, .index = r->commit}, false);
		return;
	}
	if (r->state != RAFT_LEADER || add_read(r, m->from, m->context) != ND_OK)
		answer(r, &(RaftRead) {.context = m->context, .from = m->from}, true);
}

void raft__handle_read_index_reply(Raft *r, const RaftMessage *m)
{
	if (r->state != RAFT_FOLLOWER || m->from != r->leader)
		return;
	for (uint32_t i = 0; i < r->n_reads; i++)
		if (r->reads[i].context == m->context || MUTANT(RAFT_READ_ANY_ANSWER))
		{
			r->reads[i].index = m->commit;
			answer(r, &r->reads[i], m->reject);
			forget_reads(r, i, 1);
			return;
		}
}
