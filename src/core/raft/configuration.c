/*
 * configuration.c: who is a member, the bytes of a configuration, and the peers that follow from the one in effect.
 *
 * A configuration takes effect when it is appended, not when it is committed (thesis, 4.1), and is rolled back when its entry is cut.
 * Invariants:
 * 1. At most the newest configuration is uncommitted: a leader proposes one only when the last one is committed, so a log that
 *    holds two above a follower's commit holds the older one committed. One step back is enough; a second one is a broken invariant.
 * 2. Progress of a member that stays survives the change.
 * 3. Changing the configuration needs no memory once raft__members_reserve() gave it: there is as much as members need, for groups are many. A peer's
 *    ring of messages in flight is made when first used.
 *
 * 4. A joint configuration holds the voters of both: `role` says what a member is in the incoming one, `in_old` who votes in the outgoing one. What is
 *    decided needs a majority of each (thesis, 4.3).
 *
 * Bytes: u8 format (1), u8 flags (1 = joint), u64 index, u8 n, n times { u32 node, u8 bits, u8 context_len, context };
 * bits: 1 voter, 2 in_old, 4 leaving. Versions that know no joint configurations refuse one by its flag.
 */
#include "raft_internal.h"

#include <string.h>

#define CONFIGURATION_FORMAT 1
#define CONFIGURATION_JOINT 1

#define BIT_VOTER 1
#define BIT_IN_OLD 2
#define BIT_LEAVING 4

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
		nd_buf_u8(out, (uint8_t) ((m->role == RAFT_VOTER ? BIT_VOTER : 0) | (m->in_old ? BIT_IN_OLD : 0) | (m->role == RAFT_LEAVING ? BIT_LEAVING : 0)));
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
	if ((flags & ~CONFIGURATION_JOINT) != 0)	/* what a newer version means */
		return rd.failed ? ND_INVALID : ND_VERSION;
	out->joint = flags & CONFIGURATION_JOINT;
	out->index = nd_read_u64(&rd);
	out->n = nd_read_u8(&rd);
	if (rd.failed || data[0] != CONFIGURATION_FORMAT || out->n > RAFT_MEMBERS_MAX)
		return ND_INVALID;
	for (uint32_t i = 0; i < out->n; i++)
	{
		RaftMember *m = &out->members[i];
		uint8_t		bits;
		const uint8_t *context;

		m->node = nd_read_u32(&rd);
		bits = nd_read_u8(&rd);
		m->context_len = nd_read_u8(&rd);
		context = nd_read_bytes(&rd, m->context_len);
		if (rd.failed || bits > (BIT_VOTER | BIT_IN_OLD | BIT_LEAVING) || ((bits & BIT_VOTER) && (bits & BIT_LEAVING)))
			return ND_INVALID;
		m->role = bits & BIT_LEAVING ? RAFT_LEAVING : bits & BIT_VOTER ? RAFT_VOTER : RAFT_LEARNER;
		m->in_old = bits & BIT_IN_OLD;
		if (m->context_len > 0)
			memcpy(m->context, context, m->context_len);
	}
	return nd_reader_left(&rd) == 0 && raft__configuration_valid(out) ? ND_OK : ND_INVALID;
}

void raft_configuration_copy(RaftConfiguration *out, const RaftConfiguration *c)
{
	memcpy(out, c, offsetof(RaftConfiguration, members) + c->n * sizeof(RaftMember));
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
	uint32_t	incoming = 0;
	uint32_t	outgoing = 0;

	if (c->n > RAFT_MEMBERS_MAX)
		return false;
	for (uint32_t i = 0; i < c->n; i++)
	{
		const RaftMember *m = &c->members[i];

		if (m->node == 0 || (i > 0 && m->node <= c->members[i - 1].node) || m->role > RAFT_LEAVING ||
			(m->in_old && !c->joint) || (m->role == RAFT_LEAVING && !m->in_old))
			return false;
		incoming += m->role == RAFT_VOTER;
		outgoing += m->in_old;
	}
	return !c->joint || (incoming > 0 && outgoing > 0);
}

void raft_configuration_target(const RaftConfiguration *c, RaftConfiguration *out)
{
	uint32_t	n = 0;

	if (out != c)
		raft_configuration_copy(out, c);
	for (uint32_t i = 0; i < out->n; i++)
		if (out->members[i].role != RAFT_LEAVING)
		{
			RaftMember	m = out->members[i];

			m.in_old = false;
			out->members[n++] = m;
		}
	out->n = n;
	out->joint = false;
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
	r->self_voter = r->self_new = r->self_old = false;
	for (uint32_t i = 0; i < r->config->n; i++)
	{
		const RaftMember *m = &r->config->members[i];
		RaftPeer   *p;

		r->n_voters += m->role == RAFT_VOTER || m->in_old;
		if (m->node == r->cfg.self)
		{
			r->self_new = m->role == RAFT_VOTER;
			r->self_old = m->in_old;
			r->self_voter = r->self_new || r->self_old;
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
		p->in_new = m->role == RAFT_VOTER;
		p->in_old = m->in_old;
		p->voter = p->in_new || p->in_old;
	}
	while (o < n_old)
		raft__peer_clear(&old[o++]);
}

bool raft__members_reserve(Raft *r, uint32_t n)
{
	size_t		bytes = offsetof(RaftConfiguration, members) + n * sizeof(RaftMember);
	void	   *p;

	if (n <= r->cap_members && r->config != NULL)
		return true;
	/* What has grown is no harm when the next one cannot. */
	if ((p = nd_realloc(r->config, bytes)) == NULL)
		return false;
	r->config = p;
	if ((p = nd_realloc(r->config_prev, bytes)) == NULL)
		return false;
	r->config_prev = p;
	if ((p = nd_realloc(r->peers, n * sizeof(RaftPeer))) == NULL)
		return false;
	r->peers = p;
	r->cap_members = n;
	return true;
}

void raft__install_configuration(Raft *r, const RaftConfiguration *c, const RaftConfiguration *before)
{
	raft_configuration_copy(r->config, c);
	raft_configuration_copy(r->config_prev, before);
	rebuild_peers(r);
}

void raft__set_configuration(Raft *r, const RaftConfiguration *c)
{
	RaftConfiguration *oldest = r->config_prev;

	r->config_prev = r->config;
	r->config = oldest;
	raft_configuration_copy(r->config, c);
	rebuild_peers(r);
}

void raft__roll_back_configuration(Raft *r, uint64_t truncated_from)
{
	if (r->config->index < truncated_from || r->config->index == 0 || MUTANT(RAFT_CONFIG_NOT_ROLLED_BACK))
		return;
	if (r->config_prev->index >= truncated_from)
	{
		raft__freeze(r, "two configurations were uncommitted at once");
		return;
	}
	raft_configuration_copy(r->config, r->config_prev);
	rebuild_peers(r);
}

RaftPeer *raft__peer(Raft *r, NdNodeId node)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].node == node)
			return &r->peers[i];
	return NULL;
}

/* The greatest value that a majority of one configuration's voters has reached. */
static uint64_t majority_value(const Raft *r, uint64_t own, uint64_t (*get) (const RaftPeer *p), bool old)
{
	uint64_t	values[RAFT_MEMBERS_MAX];	/* descending */
	uint32_t	n = 0;

	for (uint32_t i = 0; i <= r->n_peers; i++)
	{
		const RaftPeer *p = i < r->n_peers ? &r->peers[i] : NULL;
		uint64_t	value;
		uint32_t	at;

		if (!(p == NULL ? (old ? r->self_old : r->self_new) : (old ? p->in_old : p->in_new)) && !MUTANT(RAFT_COUNT_LEARNERS))
			continue;
		value = p == NULL ? own : get(p);
		for (at = n++; at > 0 && values[at - 1] < value; at--)
			values[at] = values[at - 1];
		values[at] = value;
	}
	return n > 0 ? values[n / 2] : 0;
}

uint64_t raft__quorum_value(const Raft *r, uint64_t own, uint64_t (*get) (const RaftPeer *p))
{
	uint64_t	value = majority_value(r, own, get, false);

	return r->config->joint && !MUTANT(RAFT_JOINT_ONE_MAJORITY) ? raft__min(value, majority_value(r, own, get, true)) : value;
}
