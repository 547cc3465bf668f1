/*
 * member.c: membership. Group 0's committed configuration is the goal; the leader of every group moves its own group towards it, on ticks, by all
 * that can be done at once: several changes of voters go through a joint configuration (core/raft/membership.c). No step is remembered, so any
 * leader goes on where another stopped.
 *
 * Steps: a member of the goal enters as learner (in group 0 by node_add_member()); a learner that is close to the end becomes a voter; a member
 * marked leaving goes.
 *
 * Invariants:
 * 1. Only a committed goal counts: an addition that is rolled back must not leave traces in other groups, for its id may be given again.
 * 2. A member leaves the data groups first and group 0 last. Its name, address and mark stand in group 0: they are needed until the last group has
 *    let go, by whatever leader. (The other way round a data group's leader could not tell a member that left from one it has not heard of.)
 * 3. A group's leader removes a node that is not in the goal only when the goal knows that id: a goal that lags must not undo a newer addition.
 * 4. No voter goes before a majority of those that will stay is heard. Else the leader could be the only one that has the change, unable to commit it, and with a
 *    log that is newer than that of every other: no majority of the old voters, though they all live, would ever elect one.
 * 5. An id leaves group 0 only after the meta record says that it was used (join.c): ids are never given twice.
 */
#include <string.h>

#include "node_internal.h"

/* ---- founding ---- */

NdStatus node_bootstrap(Store *store, const NodeMember *self, uint32_t n_data_groups)
{
	RaftConfiguration *c = nd_zalloc(sizeof(*c));
	NodeMember	voter = *self;
	NdStatus	status;

	if (c == NULL)
		return ND_NOMEM;
	voter.role = RAFT_VOTER;
	voter.leaving = false;
	c->n = 1;
	status = wire_member_to_raft(&voter, &c->members[0]);
	if (status == ND_OK)
		status = store_create_group(store, ND_GROUP_META, c);
	c->members[0].context_len = 0;
	memset(c->members[0].context, 0, sizeof(c->members[0].context));
	for (uint32_t g = 1; status == ND_OK && g <= n_data_groups; g++)
		status = store_create_group(store, g, c);
	nd_free(c);
	return status;
}

NdStatus node_bootstrap_joining(Store *store, uint32_t n_data_groups)
{
	RaftConfiguration *c = nd_zalloc(sizeof(*c));
	NdStatus	status = c != NULL ? ND_OK : ND_NOMEM;

	for (uint32_t g = 0; status == ND_OK && g <= n_data_groups; g++)
		status = store_create_group(store, g, c);
	nd_free(c);
	return status;
}

NdStatus node_bootstrap_sequencer(Store *store, const NodeMember *self)
{
	RaftConfiguration *c = nd_zalloc(sizeof(*c));
	NdStatus	status;

	if (c == NULL)
		return ND_NOMEM;
	if (self != NULL)
	{
		c->n = 1;
		c->members[0].node = self->node;
		c->members[0].role = RAFT_VOTER;
	}
	status = store_create_group(store, ND_GROUP_SEQUENCER, c);
	nd_free(c);
	return status;
}

/* ---- the goal ---- */

void node__take_goal(Node *n, const RaftEntry *e)
{
	NdStatus	status = e->payload == NULL ? ND_INVALID :
		raft_configuration_decode(e->payload->data, e->payload->len, &n->scratch_configuration);

	if (status != ND_OK)
	{
		node__log(n, 2, "the configuration at %llu of group 0 cannot be read: %s", (unsigned long long) e->index, nd_status_text(status));
		return;
	}
	raft_configuration_target(&n->scratch_configuration, &n->goal);
	n->goal.index = e->index;
	if (n->scratch_configuration.n > 0 && n->scratch_configuration.members[n->scratch_configuration.n - 1].node > n->highest_seen)
		n->highest_seen = n->scratch_configuration.members[n->scratch_configuration.n - 1].node;
	n->members_due = true;
	n->changed = true;
	/* Leaders that sleep take no steps. */
	for (uint32_t i = 0; i < n->n_groups; i++)
		node__wake(n->groups[i]);
}

static uint32_t voters(const RaftConfiguration *c)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		n += c->members[i].role == RAFT_VOTER;
	return n;
}

static bool is_leaving(const RaftMember *m)
{
	WireMember	w;

	return wire_member_from_raft(m, &w) == ND_OK && w.leaving;
}

uint32_t node_members(const Node *n, NodeMember *out, uint32_t cap)
{
	for (uint32_t i = 0; i < n->goal.n && i < cap; i++)
		if (wire_member_from_raft(&n->goal.members[i], &out[i]) != ND_OK)
			memset(&out[i], 0, sizeof(out[i]));
	return n->goal.n;
}

/* ---- changes of group 0 ---- */

static NdStatus propose(NodeGroup *g, const RaftConfiguration *next)
{
	uint64_t	index;
	NdStatus	status = raft_propose_configuration(g->raft, next, &index);

	node__wake(g);
	node__event(g, status);
	return status;
}

static void insert(RaftConfiguration *c, const RaftMember *m)
{
	uint32_t	at = c->n;

	while (at > 0 && c->members[at - 1].node > m->node)
	{
		c->members[at] = c->members[at - 1];
		at--;
	}
	c->members[at] = *m;
	c->n++;
}

static RaftMember *member_of(RaftConfiguration *c, NdNodeId node)
{
	return (RaftMember *) raft_configuration_find(c, node);
}

static NdStatus meta_leader(Node *n)
{
	if (n->failed != ND_OK)
		return n->failed;
	if (n->groups[0]->stopped != NULL)
		return ND_FROZEN;
	if (n->groups[0]->taken)
		return ND_BUSY;
	return raft_is_leader(n->groups[0]->raft) ? ND_OK : ND_NOTLEADER;
}

NdStatus node_add_member(Node *n, const NodeMember *m)
{
	RaftConfiguration *next = &n->scratch_configuration;
	NodeMember	learner = *m;
	RaftMember	added;
	WireMember	other;
	NdStatus	status = meta_leader(n);

	if (status != ND_OK)
		return status;
	learner.role = RAFT_LEARNER;
	learner.leaving = false;
	status = wire_member_to_raft(&learner, &added);
	if (status != ND_OK)
		return status;
	raft_configuration_copy(next, raft_configuration(n->groups[0]->raft));
	if (next->joint)
		return ND_BUSY;
	for (uint32_t i = 0; i < next->n; i++)
	{
		if (wire_member_from_raft(&next->members[i], &other) != ND_OK)
			continue;
		if (other.node == m->node && strcmp(other.name, m->name) == 0 && strcmp(other.address, m->address) == 0)
			return other.leaving ? ND_INVALID : ND_OK;
		if (other.node == m->node || strcmp(other.name, m->name) == 0 || strcmp(other.address, m->address) == 0)
			return ND_INVALID;
	}
	if ((m->node <= n->highest_seen && !MUTANT(NODE_REUSE_ID)) || (n->has_meta && m->node <= n->meta.highest_node))
		return ND_INVALID;
	if (next->n == RAFT_MEMBERS_MAX)
		return ND_TOOBIG;
	insert(next, &added);
	return propose(n->groups[0], next);
}

NdStatus node_remove_member(Node *n, NdNodeId node)
{
	RaftConfiguration *next = &n->scratch_configuration;
	RaftMember *m;
	WireMember	w;
	NdStatus	status = meta_leader(n);
	uint32_t	staying = 0;

	if (status != ND_OK)
		return status;
	raft_configuration_copy(next, raft_configuration(n->groups[0]->raft));
	if (next->joint)
		return ND_BUSY;
	m = member_of(next, node);
	if (m == NULL || wire_member_from_raft(m, &w) != ND_OK)
		return ND_NOTFOUND;
	if (w.leaving)
		return ND_OK;
	for (uint32_t i = 0; i < next->n; i++)
		staying += next->members[i].node != node && next->members[i].role == RAFT_VOTER && !is_leaving(&next->members[i]);
	if (staying == 0)
		return ND_INVALID;
	w.leaving = true;
	status = wire_member_to_raft(&w, m);
	return status == ND_OK ? propose(n->groups[0], next) : status;
}

NdStatus node_transfer(Node *n, NdGroupId group, NdNodeId to)
{
	NodeGroup  *g = node__group(n, group);
	NdStatus	status;

	if (g == NULL)
		return ND_NOTFOUND;
	if (!node__ready(g))
		return n->failed != ND_OK ? n->failed : g->stopped != NULL ? ND_FROZEN : ND_BUSY;
	node__wake(g);
	status = raft_transfer(g->raft, to);
	node__event(g, status);
	return status;
}

/* ---- steps towards the goal ---- */

static bool caught_up(const RaftStatus *s, NdNodeId node)
{
	for (uint32_t i = 0; i < s->n_peers; i++)
		if (s->peers[i].node == node)
			return s->peers[i].active && !s->peers[i].snapshotting && s->peers[i].match > 0 &&
				s->peers[i].match + NODE_CAUGHT_UP >= s->last_index;
	return false;
}

/*
 * Has every data group let go of the node, for good? Those that the meta records below its mark make are here when the mark is delivered, those of the records above
 * leave it out (grow.c).
 */
static bool gone_from_data_groups(const Node *n, NdNodeId node)
{
	const NodeGroup *meta = n->groups[0];

	if (meta->delivered < raft_configuration(meta->raft)->index || node__data_groups(n) < n->meta.n_data_groups)
		return false;
	for (uint32_t i = 1; i < n->n_groups; i++)
	{
		const NodeGroup *g = n->groups[i];
		const RaftConfiguration *c = raft_configuration(g->raft);

		if (c->n == 0 || c->index > g->commit || raft_configuration_find(c, node) != NULL)
			return false;
	}
	return true;
}

/* Will this member go from this group, now or later? */
static bool will_go(const NodeGroup *g, const RaftMember *m)
{
	const RaftMember *goal = raft_configuration_find(&g->node->goal, m->node);

	if (g->id == ND_GROUP_META)
		return is_leaving(m);
	return goal == NULL ? m->node <= g->node->highest_seen : is_leaving(goal);
}

/* Now? */
static bool must_go(const NodeGroup *g, const RaftMember *m)
{
	const Node *n = g->node;

	return will_go(g, m) &&
		(g->id != ND_GROUP_META || MUTANT(NODE_LEAVE_META_FIRST) || (n->has_meta && n->meta.highest_node >= m->node && gone_from_data_groups(n, m->node)));
}

/*
 * A leader that will go hands over first: the group then loses no election timeout. In group 0 it must: a node that was removed from a data
 * group may never hear that its removal was committed there, so it cannot tell when group 0 may let go of it.
 */
static bool hand_over(NodeGroup *g, const RaftStatus *s, const RaftConfiguration *c)
{
	NdNodeId	best = 0;
	uint64_t	match = 0;

	for (uint32_t i = 0; i < s->n_peers; i++)
	{
		const RaftMember *m = raft_configuration_find(c, s->peers[i].node);

		if (m != NULL && m->role == RAFT_VOTER && s->peers[i].active && s->peers[i].match >= match && !will_go(g, m))
		{
			best = m->node;
			match = s->peers[i].match;
		}
	}
	if (best == 0)
		return false;
	node__event(g, raft_transfer(g->raft, best));
	return true;
}

/* Can those voters of c that stay decide without those that go? */
static bool others_suffice(const NodeGroup *g, const RaftStatus *s, const RaftConfiguration *c)
{
	uint32_t	staying = 0;
	uint32_t	heard = 0;

	for (uint32_t i = 0; i < c->n; i++)
	{
		const RaftMember *m = &c->members[i];

		if (m->role != RAFT_VOTER || must_go(g, m))
			continue;
		staying++;
		heard += m->node == g->node->config.self;
		for (uint32_t k = 0; k < s->n_peers; k++)
			heard += s->peers[k].node == m->node && s->peers[k].active;
	}
	return 2 * heard > staying || MUTANT(NODE_REMOVE_UNHEARD);
}

/* Turn c, the configuration in effect, into what it should be as far as that can be said now; true when something changes. */
static bool take_steps(const NodeGroup *g, const RaftStatus *s, RaftConfiguration *c)
{
	const RaftConfiguration *goal = &g->node->goal;
	bool		changed = false;
	bool		may_go;
	uint32_t	kept = 0;
	uint32_t	n_voters;

	for (uint32_t i = 0; i < c->n; i++)
		if (c->members[i].role == RAFT_LEARNER && !will_go(g, &c->members[i]) && caught_up(s, c->members[i].node))
		{
			c->members[i].role = RAFT_VOTER;
			changed = true;
		}
	n_voters = voters(c);
	may_go = others_suffice(g, s, c);
	for (uint32_t i = 0; i < c->n; i++)
	{
		const RaftMember *m = &c->members[i];

		if (must_go(g, m) && (m->role != RAFT_VOTER || (n_voters > 1 && may_go)))
		{
			n_voters -= m->role == RAFT_VOTER;
			changed = true;
		}
		else
			c->members[kept++] = *m;
	}
	c->n = kept;
	for (uint32_t i = 0; i < goal->n && g->id != ND_GROUP_META; i++)
		if (raft_configuration_find(c, goal->members[i].node) == NULL && !is_leaving(&goal->members[i]) && c->n < RAFT_MEMBERS_MAX)
		{
			RaftMember	learner = {.node = goal->members[i].node, .role = RAFT_LEARNER};

			insert(c, &learner);
			changed = true;
		}
	return changed;
}

bool node__members_settled(const NodeGroup *g)
{
	const RaftConfiguration *goal = &g->node->goal;
	const RaftConfiguration *c = raft_configuration(g->raft);

	if (c->n != goal->n || c->joint)
		return false;
	for (uint32_t i = 0; i < goal->n; i++)
		if (goal->members[i].role != RAFT_VOTER || c->members[i].role != RAFT_VOTER || c->members[i].node != goal->members[i].node ||
			is_leaving(&goal->members[i]))
			return false;
	return true;
}

void node__reconcile(NodeGroup *g)
{
	Node	   *n = g->node;
	RaftStatus *s = &n->scratch_status;
	RaftConfiguration *next = &n->scratch_configuration;
	const RaftConfiguration *c = raft_configuration(g->raft);

	if (!node__ready(g) || !raft_is_leader(g->raft) || g->sleep.asleep || n->goal.n == 0)
		return;
	raft_status(g->raft, s);
	if (!s->term_committed || c->index > s->commit || c->joint)
		return;
	if (g->id == ND_GROUP_META)
		node__reconcile_meta(n);
	for (uint32_t i = 0; i < c->n; i++)
		if (c->members[i].node == n->config.self && will_go(g, &c->members[i]) && hand_over(g, s, c))
			return;
	raft_configuration_copy(next, c);
	if (take_steps(g, s, next))
		propose(g, next);
}
