/*
 * truncate.c: how far the log may be cut.
 *
 * Kept is everything that
 *   - the tables do not hold durably, or that stands above the durable checkpoint (a restart needs it),
 *   - a TXN still to come names as its chunk, or one that is certified and not yet durable in the tables: a crash applies it again,
 *   - is an EPOCH of a transaction that the sequencer's durable checkpoint has unfinished: its parts stand there,
 *   - some member has not stored as committed, when the host has no snapshots (there is no other way for it to get it),
 *   - stands behind a snapshot that is under way to a member,
 *   - is among the newest keep_bytes.
 * Group 0 is never cut.
 */
#include <string.h>

#include "node_internal.h"

GroupPeer *node__group_peer(NodeGroup *g, NdNodeId node, bool create)
{
	GroupPeer  *place = NULL;

	for (uint32_t i = 0; i < g->n_peers; i++)
	{
		if (g->peers[i].node == node)
			return &g->peers[i];
		if (raft_configuration_find(raft_configuration(g->raft), g->peers[i].node) == NULL)
			place = &g->peers[i];
	}
	if (!create)
		return NULL;
	if (place == NULL && g->n_peers == g->cap_peers && g->n_peers < RAFT_MEMBERS_MAX)
	{
		uint32_t	cap = g->cap_peers > 0 ? 2 * g->cap_peers : 4;
		GroupPeer  *grown = nd_realloc(g->peers, cap * sizeof(*grown));

		if (grown != NULL)
		{
			g->peers = grown;
			g->cap_peers = cap;
		}
	}
	if (place == NULL && g->n_peers < g->cap_peers)
		place = &g->peers[g->n_peers++];
	if (place != NULL)
	{
		memset(place, 0, sizeof(*place));
		place->node = node;
	}
	return place;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void node__need_log(NodeGroup *g, uint64_t index, uint64_t floor)
{
	if (index <= g->applied_durable)
		return;
	if (g->chunks_new.floor == 0 || floor < g->chunks_new.floor)
		g->chunks_new.floor = floor;
	g->chunks_new.until = index;
}

/*
 * The certifier forgets a TXN's chunks with its verdict; the tables need them until they durably hold the TXN. Two spans instead of a list: the
 * older one ends when the tables have passed it, whatever comes meanwhile, so that steady traffic cannot keep the log for ever.
 */
void node__need_chunks(NodeGroup *g, uint64_t index, const EntryHeader *h)
{
	NdReader	r;

	if (h->n_chunks == 0)
		return;
	nd_reader_init(&r, h->chunks, (size_t) (h->body - h->chunks));
	node__need_log(g, index, nd_read_varint(&r));
}

static uint64_t chunks_certified(NodeGroup *g)
{
	for (int i = 0; i < 2 && (g->chunks_old.floor == 0 || g->applied_durable >= g->chunks_old.until); i++)
	{
		g->chunks_old = g->chunks_new;
		g->chunks_new = (ChunkNeed) {0};
	}
	if (g->chunks_new.floor > 0)
		return min64(g->chunks_old.floor, g->chunks_new.floor);
	return g->chunks_old.floor;
}

uint64_t node__chunk_floor(NodeGroup *g)
{
	uint64_t	open;
	uint64_t	certified;

	if (g->certifier == NULL)
		return MUTANT(NODE_EPOCH_CUT) ? 0 : g->epochs;
	open = certifier_open_chunk_floor(g->certifier);
	certified = chunks_certified(g);
	if (MUTANT(NODE_TRUNCATE_CHUNKS))
		return 0;
	return open > 0 && certified > 0 ? min64(open, certified) : open + certified;
}

/* What members still need: they can get it in no other way. */
static uint64_t members_have(NodeGroup *g, const RaftConfiguration *c)
{
	const Node *n = g->node;
	uint64_t	limit = UINT64_MAX;

	for (uint32_t i = 0; i < c->n; i++)
	{
		const GroupPeer *p = node__group_peer(g, c->members[i].node, false);

		if (c->members[i].node != n->config.self)
			limit = min64(limit, p != NULL ? p->stored : 0);
	}
	/* A leader whose member's last acknowledgement was lost would ask for the entry behind it, and find it cut. */
	if (g->leads)
	{
		RaftStatus *status = &g->node->scratch_status;

		raft_status(g->raft, status);
		for (uint32_t i = 0; i < status->n_peers; i++)
			limit = min64(limit, status->peers[i].match);
	}
	/* Members on their way into this group begin with its first entry. */
	for (uint32_t i = 0; i < n->goal.n; i++)
		if (raft_configuration_find(c, n->goal.members[i].node) == NULL)
			return 0;
	return limit;
}

/* The last entry that nobody needs; keep_bytes aside. */
static uint64_t dispensable(NodeGroup *g)
{
	const RaftConfiguration *c = raft_configuration(g->raft);
	uint64_t	limit = MUTANT(NODE_TRUNCATE_NEEDED) ? g->delivered : min64(min64(g->applied_durable, g->checkpoint), g->delivered);
	uint64_t	chunk = node__chunk_floor(g);

	if (chunk > 0)
		limit = min64(limit, chunk - 1);
	if (raft_configuration_find(c, g->node->config.self) == NULL)
		return 0;
	if (!MUTANT(NODE_SNAPSHOT_LOG_CUT))
		limit = min64(limit, node__ship_floor(g));
	return node__ships(g) ? limit : min64(limit, members_have(g, c));
}

void node__truncate(NodeGroup *g)
{
	Node	   *n = g->node;
	uint64_t	first = store_first_index(n->store, g->id);
	uint64_t	step = n->config.checkpoint_every / 4 + 1;
	uint64_t	limit;
	StorePosition at;
	NdStatus	status;

	if (g->id == ND_GROUP_META || !node__ready(g) || node__installing(g))
		return;
	limit = dispensable(g);
	while (g->cut <= limit && store_position(n->store, g->id, g->cut, &at) == ND_OK &&
		   (g->cut < g->counted || g->kept_bytes >= g->keep_bytes + at.len))
	{
		if (g->cut >= g->counted)
			g->kept_bytes -= at.len;
		g->cut++;
	}
	/* Each cut costs a record: not for single entries. */
	if (g->cut < first + step)
		return;
	/* The core first, which does not look below: it may have to wait for what the store has behind it already. */
	status = raft_compacted(g->raft, g->cut);
	if (status != ND_OK)
	{
		if (status != ND_INVALID)
			node__event(g, status);
		return;
	}
	status = store_truncate_prefix(n->store, g->id, g->cut);
	if (status == ND_IO || status == ND_DAMAGED)
		node__fail(n, status, "the log could not be truncated");
}

void node_applied_durable(Node *n, NdGroupId group, uint64_t index, uint64_t keep_bytes)
{
	NodeGroup  *g = node__group(n, group);

	if (g == NULL || n->failed != ND_OK)
		return;
	if (index > g->applied_durable && g->certifier != NULL)
	{
		g->applied_durable = index;
		g->gossip_due = true;
	}
	g->keep_bytes = keep_bytes;
	if (n->sequencer_group != NULL)
		n->sequencer_group->keep_bytes = keep_bytes;
	node__store_checkpoint(g);
	node__truncate(g);
}
