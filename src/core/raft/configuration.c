/*
 * configuration.c: who is a member, the bytes of a configuration, and the peers that follow from the one in effect.
 *
 * A configuration takes effect when it is appended, not when it is committed (thesis, 4.1), and is rolled back when its entry is cut.
 * Invariants:
 * 1. At most the newest configuration is uncommitted: a leader proposes one only when the last one is committed, so a log that
 *    holds two above a follower's commit holds the older one committed. One step back is enough; a second one is a broken invariant.
 * 2. Progress of a member that stays survives the change.
 * 3. Changing the configuration needs no memory: a peer's ring of messages in flight is made when first used.
 *
 * Bytes: u8 format (1), u8 flags (1 = joint), u64 index, u8 n, n times { u32 node, u8 role | in_old << 1, u8 context_len, context }.
 */
#include "raft_internal.h"

#include <string.h>

#define CONFIGURATION_FORMAT 1
#define CONFIGURATION_JOINT 1

NdStatus raft_configuration_encode(const RaftConfiguration *c, NdBuf *out)
{
	if (c->n > RAFT_MEMBERS_MAX)
		return ND_INVALID;
	nd_buf_u8(out, CONFIGURATION_FORMAT);
	nd_buf_u8(out, c->joint ? CONFIGURATION_JOINT : 0);
	nd_buf_u64(out, c->index);
	nd_buf_u8(out, (uint8_t) c->n);
	for (uint32_t i = 0; i < c->n; i++)
	{
		const RaftMember *m = &c->members[i];

		nd_buf_u32(out, m->node);
		nd_buf_u8(out, (uint8_t) ((m->role == RAFT_VOTER) | (m->in_old << 1)));
		nd_buf_u8(out, m->context_len);
		nd_buf_bytes(out, m->context, m->context_len);
	}
	return out->failed ? ND_NOMEM : ND_OK;
}

NdStatus raft_configuration_decode(const uint8_t *data, size_t len, RaftConfiguration *out)
{
	NdReader	rd;
	uint8_t		flags;

	memset(out, 0, sizeof(*out));
	nd_reader_init(&rd, data, len);
	if (nd_read_u8(&rd) > CONFIGURATION_FORMAT)
		return ND_VERSION;
	flags = nd_read_u8(&rd);
	if (flags != 0)				/* joint consensus, or what a newer version means */
		return rd.failed ? ND_INVALID : ND_VERSION;
	out->index = nd_read_u64(&rd);
	out->n = nd_read_u8(&rd);
	if (rd.failed || data[0] != CONFIGURATION_FORMAT || out->n > RAFT_MEMBERS_MAX)
		return ND_INVALID;
	for (uint32_t i = 0; i < out->n; i++)
	{
		RaftMember *m = &out->members[i];
		uint8_t		role;
		const uint8_t *context;

		m->node = nd_read_u32(&rd);
		role = nd_read_u8(&rd);
		m->context_len = nd_read_u8(&rd);
		context = nd_read_bytes(&rd, m->context_len);
		if (rd.failed || role > RAFT_VOTER)
			return ND_INVALID;
		m->role = role;
		if (m->context_len > 0)
			memcpy(m->context, context, m->context_len);
	}
	return nd_reader_left(&rd) == 0 && raft__configuration_valid(out) ? ND_OK : ND_INVALID;
}

const RaftMember *raft_configuration_find(const RaftConfiguration *c, NdNodeId node)
{
	for (uint32_t i = 0; i < c->n && i < RAFT_MEMBERS_MAX; i++)
		if (c->members[i].node == node)
			return &c->members[i];
	return NULL;
}

bool raft__configuration_valid(const RaftConfiguration *c)
{
	if (c->joint || c->n > RAFT_MEMBERS_MAX)
		return false;
	for (uint32_t i = 0; i < c->n; i++)
		if (c->members[i].node == 0 || c->members[i].in_old || (i > 0 && c->members[i].node <= c->members[i - 1].node) ||
			(c->members[i].role != RAFT_VOTER && c->members[i].role != RAFT_LEARNER))
			return false;
	return true;
}

/* Make peers fit config; what is known of those that stay is kept. */
static void rebuild_peers(Raft *r)
{
	RaftPeer	old[RAFT_MEMBERS_MAX];
	uint32_t	n_old = r->n_peers;
	uint32_t	o = 0;

	memcpy(old, r->peers, n_old * sizeof(RaftPeer));
	r->n_peers = 0;
	r->n_voters = 0;
	r->self_voter = false;
	for (uint32_t i = 0; i < r->config.n; i++)
	{
		const RaftMember *m = &r->config.members[i];
		RaftPeer   *p;

		r->n_voters += m->role == RAFT_VOTER;
		if (m->node == r->cfg.self)
		{
			r->self_voter = m->role == RAFT_VOTER;
			continue;
		}
		while (o < n_old && old[o].node < m->node)
			raft__peer_clear(&old[o++]);
		p = &r->peers[r->n_peers++];
		if (o < n_old && old[o].node == m->node)
			*p = old[o++];
		else
		{
			memset(p, 0, sizeof(*p));
			p->node = m->node;
			raft__peer_start(r, p);
			p->active = true;	/* it gets one interval before its silence counts against the leader */
		}
		p->voter = m->role == RAFT_VOTER;
	}
	while (o < n_old)
		raft__peer_clear(&old[o++]);
	if (r->transferee != 0 && (raft__peer(r, r->transferee) == NULL || !raft__peer(r, r->transferee)->voter))
		r->transferee = 0;
}

void raft__install_configuration(Raft *r, const RaftConfiguration *c, const RaftConfiguration *before)
{
	r->config = *c;
	r->config_prev = *before;
	rebuild_peers(r);
}

void raft__set_configuration(Raft *r, const RaftConfiguration *c)
{
	r->config_prev = r->config;
	r->config = *c;
	rebuild_peers(r);
}

void raft__roll_back_configuration(Raft *r, uint64_t truncated_from)
{
	if (r->config.index < truncated_from || r->config.index == 0 || MUTANT(RAFT_CONFIG_NOT_ROLLED_BACK))
		return;
	if (r->config_prev.index >= truncated_from)
	{
		raft__freeze(r, "two configurations were uncommitted at once");
		return;
	}
	r->config = r->config_prev;
	rebuild_peers(r);
}

RaftPeer *raft__peer(Raft *r, NdNodeId node)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].node == node)
			return &r->peers[i];
	return NULL;
}

/* Joint consensus would ask for a quorum of both configurations here and in raft__quorum_value(). */
uint32_t raft__quorum(const Raft *r)
{
	return r->n_voters / 2 + 1;
}

uint64_t raft__quorum_value(const Raft *r, uint64_t own, uint64_t (*get) (const RaftPeer *p))
{
	uint64_t	values[RAFT_MEMBERS_MAX];	/* descending */
	uint32_t	n = 0;

	for (uint32_t i = 0; i <= r->n_peers; i++)
	{
		bool		self = i == r->n_peers;
		uint64_t	value;
		uint32_t	at;

		if (!(self ? r->self_voter : r->peers[i].voter) && !MUTANT(RAFT_COUNT_LEARNERS))
			continue;
		value = self ? own : get(&r->peers[i]);
		for (at = n++; at > 0 && values[at - 1] < value; at--)
			values[at] = values[at - 1];
		values[at] = value;
	}
	return n >= raft__quorum(r) ? values[raft__quorum(r) - 1] : 0;
}
