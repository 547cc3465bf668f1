/*
 * grow.c: data groups that are added to a running cluster.
 *
 * The newest meta record (join.c) says how many there are. Whoever wants more sends the new number to the leader of group 0, which proposes the next record;
 * every node that delivers it makes the groups that it has not got, in its store and here, and goes on. So it does at every start, for group 0 is read anew then. The
 * new groups' leaders are elected like any others'; what the record stands for is in force where it is delivered, at no common time.
 *
 * Invariants:
 * 1. The first configuration of a new group is the same wherever a voter makes it: the voters of group 0's configuration as of the record's index, without those that
 *    are marked as leaving there. Who is not among them makes an empty group, as a joining node does, and is added by the group's leader.
 *    Nothing of the goal as it is known now: it is another one on every node.
 * 2. Limits of the certifier come from the record too: a setting of the node must not count.
 * 3. A group is in the store before anything of it is in the log, sent or delivered; a vote waits for a flush that covers both. A crash takes the group, and all
 *    that was done with it here, or nothing; the record makes it again.
 * 4. The number never goes down: a record is written by a leader that has delivered all others (join.c, invariant 1).
 * 5. Nobody is asked for more groups than it has room for, as far as it can be known: a record is proposed when all members in the newest configuration of group 0 have
 *    said that they have room and know how to make them, since they were connected last. One that has less room when the record comes (its host was set up anew meanwhile) makes none, says so, and goes on as a
 *    member that is behind: what it would acknowledge in those groups it does not have, and a transaction that has a part in one of them waits here (several.c).
 * 6. A transaction over several groups that has a part in a group which is not made here waits for it: node__parts_ready(). Else the part would be lost for
 *    the tables: what is behind it would be applied alone.
 * 7. A member leaves group 0 only when it is in no data group (member.c): those that a record above its mark makes leave it out, and the leader of group 0 has made those
 *    of the records below before it looks.
 *
 * | what happens | what then |
 * |---|---|
 * | crash before the groups are durable, or between two of them | group 0 is read anew at the start: those that are missing are made |
 * | crash between group and first checkpoint | at the start the checkpoint is made with the limits of group 0's log (deliver.c) |
 * | no memory, no space for it | the record is not passed: group 0 waits here, and tries again at the next tick |
 * | leader of group 0 lost before the record is committed | the wish is said again to the next leader until the number is reached, or its time is over |
 * | a wish comes again, or late, or two come at once | the number is absolute: what is reached already changes nothing |
 * | others' messages of a group that is not made here yet | dropped, as if the network had lost them |
 * | a node is down meanwhile | it makes the groups when it is back; their other voters are a majority if group 0's are |
 * | a member joins meanwhile | the join answer has the number as of a record; what comes later it makes by itself. A learner as of the record makes an empty group |
 * | a member is removed meanwhile | invariant 7 |
 * | the process of a node before this one has proposed into a group that a crash took | fenced as at a start (orphan.c) |
 */
#include <string.h>

#include "node_internal.h"

/* ---- making ---- */

/* The first configuration of a group that the record at `index` makes. */
static NdStatus first_members(Node *n, uint64_t index, RaftConfiguration *out)
{
	RaftConfiguration *c = &n->scratch_configuration;
	NdStatus	status = store_configuration(n->store, ND_GROUP_META, index, c);
	WireMember	m;

	if (status != ND_OK)
		return status;
	raft_configuration_target(c, out);
	c->n = 0;
	for (uint32_t i = 0; i < out->n; i++)
		if (out->members[i].role == RAFT_VOTER && wire_member_from_raft(&out->members[i], &m) == ND_OK && !m.leaving)
			c->members[c->n++] = (RaftMember) {.node = m.node, .role = RAFT_VOTER};
	memset(out, 0, sizeof(*out));
	if (raft_configuration_find(c, n->config.self) == NULL)
		return ND_OK;
	if (MUTANT(NODE_GROW_ALONE))
	{
		c->n = 1;
		c->members[0].node = n->config.self;
	}
	out->n = c->n;
	memcpy(out->members, c->members, c->n * sizeof(c->members[0]));
	return ND_OK;
}

/* Places for one more in the two lists. */
static bool reserve(Node *n)
{
	NodeGroup **groups = nd_realloc(n->groups, (n->n_groups + 2) * sizeof(*groups));
	NodeGroup **active;

	if (groups == NULL)
		return false;
	n->groups = groups;
	active = nd_realloc(n->active, (n->n_groups + 2) * sizeof(*active));
	if (active == NULL)
		return false;
	n->active = active;
	return true;
}

static void insert(Node *n, NodeGroup *g)
{
	uint32_t	at = n->n_groups++;

	for (; at > 0 && n->groups[at - 1]->id > g->id; at--)
		n->groups[at] = n->groups[at - 1];
	n->groups[at] = g;
}

static NdStatus make(Node *n, NdGroupId id, const RaftConfiguration *c)
{
	char		error[256];
	NodeGroup  *g = NULL;
	NdStatus	status = reserve(n) ? ND_OK : ND_NOMEM;

	if (status == ND_OK && store_first_index(n->store, id) == 0)
		status = store_create_group(n->store, id, c);
	if (status == ND_OK)
		status = node__start_group(n, id, 0, &g, error, sizeof(error));
	if (status != ND_OK)
		return status;
	insert(n, g);
	node__activate(g);
	status = node__announce(g);
	if (status != ND_OK)
		node__log(n, 2, "group %u: earlier lives of this node are not fenced: %s", id, nd_status_text(status));
	if (c->n > 0)
		node__plan_campaign(g, 0);
	n->changed = true;
	return ND_OK;
}

NdStatus node__make_groups(Node *n, uint64_t index)
{
	RaftConfiguration *c;
	NdStatus	status;
	uint32_t	made = node__data_groups(n);

	if (made >= n->meta.n_data_groups)
		return ND_OK;
	if (n->meta.n_data_groups > n->config.groups_max)
	{
		node__alarm(n->groups[0], "the cluster has %u data groups, and there is room for %u on this node: it cannot follow until it has more",
					n->meta.n_data_groups, n->config.groups_max);
		return ND_OK;
	}
	c = nd_alloc(sizeof(*c));
	if (c == NULL)
		return ND_NOMEM;
	status = first_members(n, index, c);
	for (NdGroupId id = made + 1; status == ND_OK && id <= n->meta.n_data_groups; id++)
		status = make(n, id, c);
	nd_free(c);
	if (status == ND_OK)
		node__log(n, 1, "there are %u data groups from now on", n->meta.n_data_groups);
	/* Group 0 waits, and tries again at the next tick; only what is lost for good ends it. */
	return status == ND_FULL || status == ND_BUSY ? ND_NOMEM : status;
}

uint32_t node__data_groups(const Node *n)
{
	return n->n_groups - 1 - (n->sequencer_group != NULL);
}

/* ---- asking for more ---- */

static uint32_t room_of(const Node *n, NdNodeId node)
{
	const NodePeer *p = node__peer(n, node);

	if (node == n->config.self)
		return n->config.groups_max;
	return p != NULL ? p->groups_max : 0;
}

/* Has everybody room for so many? Else *who, and its room. Those that leave do not count. */
static bool have_room(const Node *n, const RaftConfiguration *c, uint32_t n_data_groups, NdNodeId *who, uint32_t *room)
{
	WireMember	m;

	*who = 0;
	for (uint32_t i = 0; i < c->n; i++)
	{
		uint32_t	has = room_of(n, c->members[i].node);

		if (has >= n_data_groups || (wire_member_from_raft(&c->members[i], &m) == ND_OK && m.leaving))
			continue;
		/* one that will never do tells more than one that has not said */
		if (*who != 0 && has == 0)
			continue;
		*who = c->members[i].node;
		*room = has;
		if (has > 0)
			return false;
	}
	return *who == 0;
}

/* At the leader of group 0. ND_OK: the record is in its log; else nothing was done. */
static NdStatus lead_growth(Node *n, uint32_t n_data_groups)
{
	NodeGroup  *g = n->groups[0];
	WireMeta	m;
	NdNodeId	who;
	uint32_t	room;

	if (!node__meta_settled(n) || !n->has_meta)
		return ND_BUSY;
	if (n_data_groups <= n->meta.n_data_groups || n_data_groups > ENTRY_GROUPS_MAX || n->sequencer_group == NULL)
		return ND_INVALID;
	/* what is proposed and not committed counts: it will be below the record */
	if (!have_room(n, raft_configuration(g->raft), n_data_groups, &who, &room))
		return ND_BUSY;
	m = n->meta;
	m.n_data_groups = n_data_groups;
	return node__propose_meta(n, &m);
}

void node__take_growth(Node *n, const WireProposal *p)
{
	uint32_t	n_data_groups;

	if (n->groups[0]->leads && wire_decode_growth(p->entry, p->len, &n_data_groups) == ND_OK)
		(void) lead_growth(n, n_data_groups);
}

static void send_growth(Node *n, NodeGrowth *growth)
{
	NdBuf		buf;

	nd_buf_init(&buf);
	if (wire_encode_growth(growth->n_data_groups, &buf) == ND_OK)
	{
		WireProposal item = {.group = ND_GROUP_META, .entry = buf.data, .len = buf.len};

		node__put_item(n, n->groups[0]->leader, node__item_proposal, &item);
		growth->sent = true;
		growth->again_tick = n->tick + n->config.election_ticks;
	}
	nd_buf_free(&buf);
}

/* This node has them, and knows who leads each. */
static bool is_grown(const Node *n, uint32_t n_data_groups)
{
	if (!n->has_meta || n->meta.n_data_groups < n_data_groups || node__data_groups(n) < n_data_groups)
		return false;
	for (NdGroupId id = 1; id <= n_data_groups; id++)
		if (node__group(n, id)->leader == 0)
			return false;
	return true;
}

NdStatus node_add_groups(Node *n, NodeGrowth *growth)
{
	NodeGroup  *g = n->groups[0];

	growth->node = 0;
	if (n->failed != ND_OK)
		return n->failed;
	if (g->stopped != NULL)
		return ND_FROZEN;
	if (is_grown(n, growth->n_data_groups))
		return ND_OK;
	if (n->has_meta && n->meta.n_data_groups >= growth->n_data_groups)
	{
		/* not made here for want of room */
		growth->node = n->meta.n_data_groups > n->config.groups_max ? n->config.self : 0;
		growth->room = n->config.groups_max;
		return growth->node != 0 ? ND_TOOBIG : ND_BUSY;
	}
	if (n->sequencer_group == NULL)
		return ND_NOTFOUND;
	if (growth->n_data_groups > ENTRY_GROUPS_MAX)
		return ND_INVALID;
	if (!have_room(n, &n->goal, growth->n_data_groups, &growth->node, &growth->room))
		return growth->room > 0 ? ND_TOOBIG : ND_BUSY;
	if (g->leads)
		growth->sent |= lead_growth(n, growth->n_data_groups) == ND_OK;
	else if (g->leader != 0 && node__connected(n, g->leader) && n->tick >= growth->again_tick)
		send_growth(n, growth);
	else
		node__wake(g);
	return ND_BUSY;
}

uint32_t node_data_groups(const Node *n)
{
	return node__data_groups(n);
}
