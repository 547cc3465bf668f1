/*
 * check.c: the invariants, looked at after every event.
 *
 * What a node shows alone: raft_check() of the core; nothing is acknowledged or voted before it is durable. What only all together show (x_judge()):
 * election safety; log matching; leader completeness; state machine safety; nothing counted before a quorum has it on its disks; a read sees all that was committed when it
 * began.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

void x_fail(const char *what)
{
	if (x_broken == NULL)
		x_broken = what;
}

static bool same_entry(const XEntry *a, const XEntry *b)
{
	return a->term == b->term && a->kind == b->kind && a->payload == b->payload;
}

/* ---- of one node ---- */

static XShown *show(XEffect *out, XShown what)
{
	if (out->n_shown == X_SHOWN)
	{
		fprintf(stderr, "X_SHOWN is too small: the bound is too large\n");
		exit(2);
	}
	out->shown[out->n_shown] = what;
	return &out->shown[out->n_shown++];
}

void x_pack_configuration(const RaftConfiguration *c, XConfig *out)
{
	memset(out, 0, sizeof(*out));
	out->index = x_byte(c->index);
	out->joint = c->joint;
	out->n = (uint8_t) c->n;
	for (uint32_t i = 0; i < c->n; i++)
	{
		out->members[i].node = x_byte(c->members[i].node);
		out->members[i].role = (uint8_t) c->members[i].role;
		out->members[i].in_old = c->members[i].in_old;
	}
}

void x_check_node(XEffect *out)
{
	const Raft *r = x_node.raft;
	const char *wrong = raft_check(r);

	if (wrong != NULL)
	{
		x_fail(wrong);
		return;
	}
	if (r->state != RAFT_LEADER || r->term >= X_TERMS || (out->n_shown > 0 && out->shown[out->n_shown - 1].what == X_LEADS))
		return;
	show(out, (XShown) {.what = X_LEADS,.term = x_byte(r->term)});
}

/* A message leaves: what it tells must be on its sender's disk. */
void x_check_sent(const XMessage *m)
{
	const XNode *from = &x_node;

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

void x_check_commit(XEffect *out, uint64_t commit)
{
	XShown	   *s;

	if (commit > x_node.last)
		x_fail("a commit beyond the log");
	if (commit <= x_node.commit || x_broken != NULL)
		return;
	s = show(out, (XShown) {.what = X_COMMITS,.term = x_byte(x_node.raft->term),.first = (uint8_t) (x_node.commit + 1),.index = x_byte(commit),
	.disk_last = x_node.disk_last});
	x_pack_configuration(x_node.raft->config, &s->config);
	x_node.commit = x_byte(commit);
}

void x_check_reads(XEffect *out, const RaftReadState *reads, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!reads[i].lost && reads[i].context < X_READS)
			show(out, (XShown) {.what = X_READS_AT,.first = x_byte(reads[i].context),.index = x_byte(reads[i].index)});
}

/* ---- of all ---- */

/* If two logs hold an entry of one index and term, they are equal up to there. */
static void check_logs(const XLocal *a, const XLocal *b)
{
	uint32_t	i = a->last < b->last ? a->last : b->last;

	while (i > 0 && a->log[i].term != b->log[i].term)
		i--;
	for (; i > 0; i--)
		if (!same_entry(&a->log[i], &b->log[i]))
			x_fail("log matching: equal index and term, but the logs differ there or before");
}

static void check_completeness(const XWorld *w, const XLocal *leader)
{
	for (uint32_t i = 1; i <= w->n_committed; i++)
		if (w->committed_in[i] < leader->term && (leader->last < i || !same_entry(&leader->log[i], &w->committed[i])))
			x_fail("leader completeness: a leader without an entry that was committed in an earlier term");
}

/* `id` with its disk as it was then. */
static bool on_majority(const XWorld *w, const XConfig *c, bool old, uint32_t index, const XEntry *e, NdNodeId id, uint32_t disk_last)
{
	uint32_t	voters = 0;
	uint32_t	have = 0;

	for (uint32_t i = 0; i < c->n; i++)
	{
		const XLocal *l = x_local(w->local[c->members[i].node]);

		if (old ? !c->members[i].in_old : c->members[i].role != RAFT_VOTER)
			continue;
		voters++;
		have += (c->members[i].node == id ? disk_last : l->disk_last) >= index && same_entry(&l->disk[index], e);
	}
	return have * 2 > voters;
}

static bool on_quorum(const XWorld *w, const XConfig *c, uint32_t index, const XEntry *e, NdNodeId id, uint32_t disk_last)
{
	return on_majority(w, c, false, index, e, id, disk_last) && (!c->joint || on_majority(w, c, true, index, e, id, disk_last));
}

static void judge_commit(XWorld *w, NdNodeId id, const XLocal *before, const XLocal *after, const XShown *s)
{
	for (uint32_t i = s->first; i <= s->index; i++)
	{
		const XEntry *e = &after->log[i];
		const XConfig *was = &before->config;

		if (i <= w->n_committed)
		{
			if (!same_entry(e, &w->committed[i]))
				x_fail("state machine safety: different entries committed at one index");
			continue;
		}
		/*
		 * What counts is the configuration in effect when the event began, or the one that it made. The latter not for the joint configuration that
		 * was left thereby, and what lies before it: that had to be committed first.
		 */
		if (!on_quorum(w, was, i, e, id, s->disk_last) &&
			(s->config.index == was->index || (was->joint && i <= was->index) || !on_quorum(w, &s->config, i, e, id, s->disk_last)))
			x_fail("an entry is taken as committed that no quorum has on its disks");
		w->n_committed = (uint8_t) i;
		w->committed[i] = *e;
		w->committed_in[i] = s->term;
	}
	for (NdNodeId other = 1; other <= x_bound.nodes; other++)
		if (x_local(w->local[other])->state == RAFT_LEADER)
			check_completeness(w, x_local(w->local[other]));
}

void x_judge(XWorld *w, NdNodeId id, const XLocal *before, const XEffect *f)
{
	const XLocal *after = x_local(f->next);

	for (uint32_t i = 0; i < f->n_shown; i++)
	{
		const XShown *s = &f->shown[i];

		if (s->what == X_LEADS)
		{
			if (w->leader_of[s->term] != 0 && w->leader_of[s->term] != id)
				x_fail("election safety: two leaders in one term");
			w->leader_of[s->term] = (uint8_t) id;
			if (after->state == RAFT_LEADER)
				check_completeness(w, after);
		}
		else if (s->what == X_COMMITS)
			judge_commit(w, id, before, after, s);
		else if (s->index < w->read_needs[s->first])
			x_fail("a read does not see what was committed when it began");
	}
	if (after != before && (after->last != before->last || memcmp(after->log, before->log, sizeof(after->log)) != 0))
		for (NdNodeId other = 1; other <= x_bound.nodes; other++)
			check_logs(after, x_local(w->local[other]));
}
