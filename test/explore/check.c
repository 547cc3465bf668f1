/*
 * check.c: the invariants, looked at after every event.
 *
 * raft_check() of the core; election safety; log matching; leader completeness; state machine safety; nothing is acknowledged, voted or counted before it is
 * durable; a read sees all that was committed when it began.
 */
#include "explore.h"

#include <string.h>

#define W x_world

void x_fail(const char *what)
{
	if (x_broken == NULL)
		x_broken = what;
}

static bool same_entry(const XEntry *a, const XEntry *b)
{
	return a->term == b->term && a->kind == b->kind && a->payload == b->payload;
}

void x_check_node(NdNodeId id)
{
	const XNode *node = &W.nodes[id];
	const Raft *r = node->raft;
	const char *wrong = raft_check(r);

	if (wrong != NULL)
	{
		x_fail(wrong);
		return;
	}
	if (r->state != RAFT_LEADER || r->term >= X_TERMS)
		return;
	if (W.leader_of[r->term] != 0 && W.leader_of[r->term] != id)
		x_fail("election safety: two leaders in one term");
	W.leader_of[r->term] = (uint8_t) id;
	for (uint32_t i = 1; i <= W.n_committed; i++)
		if (W.committed_in[i] < r->term && (node->last < i || !same_entry(&node->log[i], &W.committed[i])))
			x_fail("leader completeness: a leader without an entry that was committed in an earlier term");
}

/* If two logs hold an entry of one index and term, they are equal up to there. */
void x_check_logs(void)
{
	for (NdNodeId a = 1; a <= x_bound.nodes; a++)
		for (NdNodeId b = a + 1; b <= x_bound.nodes; b++)
		{
			const XNode *na = &W.nodes[a];
			const XNode *nb = &W.nodes[b];
			uint32_t	i = na->last < nb->last ? na->last : nb->last;

			while (i > 0 && na->log[i].term != nb->log[i].term)
				i--;
			for (; i > 0; i--)
				if (!same_entry(&na->log[i], &nb->log[i]))
				{
					x_fail("log matching: equal index and term, but the logs differ there or before");
					return;
				}
		}
}

/* A message leaves: what it tells must be on its sender's disk. */
void x_check_sent(const XMessage *m)
{
	const XNode *from = &W.nodes[m->from];

	switch (m->type)
	{
		case RAFT_MSG_VOTE:
			if (from->hard_term < m->term || (from->hard_term == m->term && from->hard_vote != m->from))
				x_fail("a candidate asks for votes before its own is durable");
			break;
		case RAFT_MSG_VOTE_REPLY:
			if (!m->reject && (from->hard_term < m->term || (from->hard_term == m->term && from->hard_vote != m->to)))
				x_fail("a vote leaves before it is durable");
			break;
		case RAFT_MSG_APPEND_REPLY:
			if (!m->reject && from->disk_last < m->index)
				x_fail("durable before acknowledged: a follower acknowledges entries that are not on its disk");
			/* fall through */
		case RAFT_MSG_APPEND:
		case RAFT_MSG_HEARTBEAT:
		case RAFT_MSG_HEARTBEAT_REPLY:
			if (from->hard_term < m->term)
				x_fail("a message leaves before its term is durable");
			break;
		default:
			break;
	}
}

static bool on_majority(const RaftConfiguration *c, bool old, uint32_t index, const XEntry *e)
{
	uint32_t	voters = 0;
	uint32_t	have = 0;

	for (uint32_t i = 0; i < c->n; i++)
	{
		const RaftMember *m = &c->members[i];
		const XNode *node = &W.nodes[m->node];

		if (old ? !m->in_old : m->role != RAFT_VOTER)
			continue;
		voters++;
		have += node->disk_last >= index && same_entry(&node->disk[index], e);
	}
	return have * 2 > voters;
}

static bool on_quorum(const RaftConfiguration *c, uint32_t index, const XEntry *e)
{
	return on_majority(c, false, index, e) && (!c->joint || on_majority(c, true, index, e));
}

void x_check_commit(NdNodeId id, uint64_t commit)
{
	XNode	   *node = &W.nodes[id];
	const Raft *r = node->raft;

	for (uint32_t i = node->commit + 1u; i <= commit && i <= node->last; i++)
	{
		const XEntry *e = &node->log[i];

		if (i <= W.n_committed)
		{
			if (!same_entry(e, &W.committed[i]))
				x_fail("state machine safety: different entries committed at one index");
			continue;
		}
		/*
		 * What counts is the configuration in effect when the event began, or the one that it made. The latter not for the joint configuration that
		 * was left thereby, and what lies before it: that had to be committed first.
		 */
		if (!on_quorum(&node->config, i, e) &&
			(r->config->index == node->config.index || (node->config.joint && i <= node->config.index) || !on_quorum(r->config, i, e)))
			x_fail("an entry is taken as committed that no quorum has on its disks");
		W.n_committed = (uint8_t) i;
		W.committed[i] = *e;
		W.committed_in[i] = x_byte(r->term);
	}
	if (commit > node->last)
		x_fail("a commit beyond the log");
	if (commit > node->commit)
		node->commit = x_byte(commit);
}

void x_check_reads(const RaftReadState *reads, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!reads[i].lost && reads[i].context < X_READS && reads[i].index < W.read_needs[reads[i].context])
			x_fail("a read does not see what was committed when it began");
}
