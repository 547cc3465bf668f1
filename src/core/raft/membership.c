/*
 * membership.c: a leader changes who the members are (thesis, chapter 4).
 *
 * One voter more or less is one entry: any two majorities of before and after meet (4.1). Anything more goes through a joint configuration, in which
 * elections and commits need a majority of both, and which the leader leaves by itself with a second entry (4.3). Whoever leads then: a new leader
 * finds the joint configuration in its log and leaves it as well.
 *
 * Invariants:
 * 1. A change begins only when the one before is over, and on a leader that has committed in its own term: else a change of a deposed leader that is
 *    still somewhere could make two majorities that do not meet.
 * 2. A joint configuration is left only when it is committed: then every later leader has it, so no majority of the outgoing voters alone
 *    decides anything any more.
 * 3. A leader that is no voter any more leads until the configuration without it is committed, and then ends (4.2.2).
 */
#include "raft_internal.h"

static uint32_t voters_differing(const RaftConfiguration *a, const RaftConfiguration *b)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < a->n; i++)
	{
		const RaftMember *m = raft_configuration_find(b, a->members[i].node);

		n += a->members[i].role == RAFT_VOTER && (m == NULL || m->role != RAFT_VOTER);
	}
	return n;
}

/* Members of `now` that vote, and all of `next`, in one row by node. */
static NdStatus make_joint(const RaftConfiguration *now, const RaftConfiguration *next, RaftConfiguration *out)
{
	uint32_t	a = 0;
	uint32_t	b = 0;

	out->n = 0;
	out->joint = true;
	while (a < now->n || b < next->n)
	{
		const RaftMember *old = a < now->n && (b == next->n || now->members[a].node <= next->members[b].node) ? &now->members[a] : NULL;
		const RaftMember *new = b < next->n && (a == now->n || next->members[b].node <= now->members[a].node) ? &next->members[b] : NULL;
		RaftMember *m = &out->members[out->n];

		a += old != NULL;
		b += new != NULL;
		if (new == NULL && old->role != RAFT_VOTER)
			continue;			/* a learner may go at once */
		if (out->n == RAFT_MEMBERS_MAX)
			return ND_TOOBIG;
		*m = new != NULL ? *new : *old;
		m->role = new != NULL ? new->role : RAFT_LEAVING;
		m->in_old = old != NULL && old->role == RAFT_VOTER;
		out->n++;
	}
	return ND_OK;
}

/* Append a configuration and let it be in effect. */
static NdStatus append_configuration(Raft *r, RaftConfiguration *c)
{
	NdBuf		buf;
	NdBlob	   *payload;

	c->index = r->log.last + 1;
	nd_buf_init(&buf);
	payload = raft_configuration_encode(c, &buf) == ND_OK ? nd_blob_new(buf.data, (uint32_t) buf.len) : NULL;
	nd_buf_free(&buf);
	if (payload == NULL || !raft__log_reserve(&r->log, 1, 1) || !raft__members_reserve(r, c->n))
	{
		nd_blob_unref(payload);
		return ND_NOMEM;
	}
	raft__log_append(&r->log, r->term, RAFT_ENTRY_CONFIG, payload);
	nd_blob_unref(payload);
	raft__set_configuration(r, c);
	r->send_wanted = true;
	raft__count(r);				/* a smaller quorum may have it all */
	return ND_OK;
}

NdStatus raft_propose_configuration(Raft *r, const RaftConfiguration *next, uint64_t *index)
{
	RaftConfiguration c;
	uint32_t	n_voters = 0;
	NdStatus	status;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || next->joint || !raft__configuration_valid(next))
		return ND_INVALID;
	if (r->state != RAFT_LEADER)
		return ND_NOTLEADER;
	for (uint32_t i = 0; i < next->n; i++)
		n_voters += next->members[i].role == RAFT_VOTER;
	if (n_voters == 0)
		return ND_INVALID;
	if (r->transferee != 0 || r->config->joint || (r->config->index > r->commit && !MUTANT(RAFT_TWO_CONFIGS)) ||
		(r->commit < r->term_start && !MUTANT(RAFT_EARLY_CONFIG)))
		return ND_BUSY;

	if (voters_differing(r->config, next) + voters_differing(next, r->config) > 1 && !MUTANT(RAFT_NO_JOINT))
	{
		status = make_joint(r->config, next, &c);
		if (status != ND_OK)
			return status;
	}
	else
		raft_configuration_copy(&c, next);
	*index = r->log.last + 1;
	status = append_configuration(r, &c);
	return r->frozen != NULL ? ND_FROZEN : status;
}

void raft__leave_joint(Raft *r)
{
	RaftConfiguration c;

	if (r->state != RAFT_LEADER || !r->config->joint || r->transferee != 0 || r->commit < r->term_start ||
		(r->config->index > r->commit && !MUTANT(RAFT_JOINT_LEFT_EARLY)))
		return;
	raft_configuration_target(r->config, &c);
	(void) append_configuration(r, &c);	/* without memory: at the next tick */
}

/* A leader outside the configuration ends with that configuration's commit, and asks the best voter to follow it. */
static void leave_if_removed(Raft *r)
{
	const RaftPeer *best = NULL;

	if (r->self_voter || r->config->index > r->commit)
		return;
	r->tell_commit = true;
	raft__replicate(r);
	for (uint32_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].voter && (best == NULL || r->peers[i].match > best->match))
			best = &r->peers[i];
	if (best != NULL)
	{
		RaftMessage m = raft__message(r, RAFT_MSG_TIMEOUT_NOW, best->node);

		raft__send(r, &m);
	}
	raft__become_follower(r, r->term, 0);
}

void raft__configuration_committed(Raft *r)
{
	raft__leave_joint(r);
	if (r->state == RAFT_LEADER)
		leave_if_removed(r);
}
