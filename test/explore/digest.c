/*
 * digest.c: the hash by which equal states are known.
 *
 * Everything that can have an influence on what happens later is written down in one order and form, and hashed. A field that is left out makes the search
 * blind for what depends on it, so whoever adds a field to struct Raft adds it here, or says here why not:
 * - election_elapsed of a follower: only whether the shortest timeout has passed; of a candidate: nothing. X_EXPIRE and X_DELIVER_LATE say when it passes.
 * - random, election_timeout: set anew after every event.
 * - a peer's progress, batches, rounds: of a leader only; they begin anew with its term (raft__become_leader()).
 * - numbers of hard states: they are compared with each other and no more, so their distances are what counts.
 * - whether a peer is active: looked at only at ticks (and before a snapshot).
 * - in_round, scratch: written before they are read.
 * - what was seen of terms that all nodes have left, on their disks: nobody leads there any more.
 * - capacities, and where memory lies. The heap of the node is followed, not hashed.
 *
 * Nodes of equal rights are interchangeable: when voters, learners and what changes may ask for are the same in other names, and nothing chooses between peers by
 * their order, states that differ only in these names count as one: all such orders of the names are tried, and the smallest hash is taken.
 */
#include "explore.h"

#include <string.h>

uint32_t	x_orders;
uint8_t		x_order[X_ORDERS][X_NODES + 1];

typedef struct Out
{
	uint8_t		b[8192];
	uint32_t	n;
	uint8_t		name[X_NODES + 1];	/* what a node is called */
	uint8_t		at[X_NODES + 1];	/* the node with a name */
} Out;

static inline void put(Out *o, uint64_t v)
{
	o->b[o->n++] = x_byte(v);
}

static inline void put_node(Out *o, NdNodeId id)
{
	put(o, id <= X_NODES ? o->name[id] : id);
}

static void put_bytes(Out *o, const void *p, size_t n)
{
	memcpy(o->b + o->n, p, n);
	o->n += (uint32_t) n;
}

static void name_message(const Out *o, XMessage *m)
{
	m->to = o->name[m->to];
	m->from = o->name[m->from];
}

static void put_message(Out *o, const XMessage *m)
{
	XMessage	named = *m;

	name_message(o, &named);
	put_bytes(o, &named, offsetof(XMessage, entries) + m->n_entries * sizeof(XEntry));
}

/* The network may turn their order round, so it says nothing. */
static void put_queue(Out *o, const RaftQueue *q)
{
	XMessage	messages[X_BAG];
	uint32_t	n = q->n < X_BAG ? q->n : X_BAG;

	put(o, q->n);
	for (uint32_t i = 0; i < n; i++)
	{
		XMessage	m;
		uint32_t	at = i;

		x_pack_message(&q->messages[i], &m);
		name_message(o, &m);
		for (; at > 0 && memcmp(&messages[at - 1], &m, sizeof(m)) > 0; at--)
			messages[at] = messages[at - 1];
		messages[at] = m;
	}
	put_bytes(o, messages, n * sizeof(XMessage));
}

static void put_configuration(Out *o, const RaftConfiguration *c)
{
	put(o, c->index);
	put(o, c->joint);
	put(o, c->n);
	for (uint32_t k = 1; k <= x_bound.nodes; k++)
	{
		const RaftMember *m = raft_configuration_find(c, o->at[k]);

		put(o, m == NULL ? 9 : (uint64_t) m->role * 2 + m->in_old);
	}
}

static void put_log(Out *o, const RaftMemLog *l)
{
	put(o, l->first);
	put(o, l->prev_term);
	put(o, l->last);
	for (uint64_t i = l->first; i <= l->last; i++)
		put(o, raft__term(l, i));
	put(o, l->n_pending);
	for (uint32_t i = 0; i < l->n_pending; i++)
	{
		put(o, l->pending[i].kind);
		put(o, x_payload(l->pending[i].kind, l->pending[i].payload));
	}
	put(o, l->truncate_from);
	put(o, l->durable);
}

static void put_progress(Out *o, const RaftPeer *p)
{
	put(o, p->state);
	put(o, p->match);
	put(o, p->next);
	put(o, p->told_commit);
	put(o, p->wanted_commit);
	put(o, p->acked_round);
	put(o, (p->active && x_bound.ticks > 0) + 2 * p->paused + 4 * p->check);
	put(o, p->probe.last);
	put(o, p->probe.bytes);
	put(o, p->inflight_n);
	for (uint32_t k = 0; k < p->inflight_n; k++)
	{
		const RaftInflight *f = &p->inflight[(p->inflight_first + k) % p->inflight_cap];

		put(o, f->last);
		put(o, f->bytes);
	}
}

static void put_peers(Out *o, const Raft *r)
{
	for (uint32_t k = 1; k <= x_bound.nodes; k++)
	{
		const RaftPeer *p = raft__peer((Raft *) r, o->at[k]);

		if (p == NULL)
			continue;
		put(o, p->ballot);
		if (r->state == RAFT_LEADER)
			put_progress(o, p);
	}
}

static void put_leader(Out *o, const Raft *r)
{
	put(o, r->term_start);
	put(o, r->election_elapsed);
	put(o, r->heartbeat_elapsed);
	put(o, r->confirmed_round);
	put_node(o, r->transferee);
	put(o, r->transferee != 0 ? r->transfer_elapsed : 0);
	put(o, r->uncommitted_bytes);
	put(o, r->n_batches);
	for (uint32_t i = 0; i < r->n_batches; i++)
	{
		put(o, r->batches[i].last);
		put(o, r->batches[i].bytes);
	}
}

static void put_reads(Out *o, const Raft *r)
{
	put(o, r->n_reads);
	for (uint32_t i = 0; i < r->n_reads; i++)
	{
		put(o, r->reads[i].context);
		put_node(o, r->reads[i].from);
		put(o, r->reads[i].round);
		put(o, r->reads[i].index);
		put(o, r->reads[i].age_ticks);
	}
	put(o, r->n_answers);
	for (uint32_t i = 0; i < r->n_answers; i++)
	{
		put(o, r->answers[i].context);
		put(o, r->answers[i].index);
		put(o, r->answers[i].lost);
	}
}

static uint64_t since(const Raft *r, uint64_t seq)
{
	return seq > r->hard_durable_seq ? seq - r->hard_durable_seq : 0;
}

static void put_hard(Out *o, const Raft *r)
{
	put(o, r->emitted_term);
	put_node(o, r->emitted_vote);
	put(o, r->emitted_commit);
	put(o, since(r, r->hard_seq));
	put(o, since(r, r->hard_dep_seq));
	put(o, r->fence_wanted);
	put(o, r->fence_seq != 0 ? 1 + since(r, r->fence_seq) : 0);
	put(o, r->n_fences);
	for (uint32_t i = 0; i < r->n_fences; i++)
	{
		put(o, since(r, r->fences[i].seq));
		put(o, r->fences[i].last);
	}
}

static void put_raft(Out *o, const Raft *r)
{
	put_log(o, &r->log);
	put(o, r->commit);
	put_configuration(o, r->config);
	put_configuration(o, r->config_prev);
	put_peers(o, r);
	put(o, r->term);
	put_node(o, r->vote);
	put(o, r->state);
	put_node(o, r->leader);
	put(o, r->self_ballot);
	put(o, r->state == RAFT_FOLLOWER && raft__hears_leader(r));
	put(o, r->matched);
	put(o, r->acked);
	put(o, r->heartbeat_wanted + 2 * r->tell_commit + 4 * r->send_wanted + 8 * r->send_retry);
	if (r->state == RAFT_LEADER)
		put_leader(o, r);
	put(o, r->round);
	put_reads(o, r);
	put_hard(o, r);
	put_queue(o, &r->out);
	put_queue(o, &r->after);
	put_queue(o, &r->held);
	put(o, r->snapshot_needed_index);
	put(o, r->told_state);
	put(o, r->told_term);
	put_node(o, r->told_leader);
	put(o, r->told_config);
	put(o, r->told_commit);
	put(o, r->install);
}

static void put_entries(Out *o, const XEntry *entries, uint32_t n)
{
	put(o, n);
	put_bytes(o, entries, n * sizeof(XEntry));
}

static void put_here(Out *o)
{
	const XNode *node = &x_node;
	const Raft *r = node->raft;

	put_entries(o, node->log + 1, node->last);
	put_entries(o, node->disk + 1, node->disk_last);
	put(o, node->hard_term);
	put_node(o, node->hard_vote);
	put(o, node->hard_commit);
	put(o, node->commit);
	put(o, node->n_writes);
	for (uint32_t k = 0; k < node->n_writes; k++)
	{
		const XWrite *w = &node->writes[k];

		put(o, w->truncate_from);
		put(o, w->first);
		put_entries(o, w->entries, w->n_entries);
		put(o, w->hard_changed);
		put(o, w->term);
		put_node(o, w->vote);
		put(o, w->commit);
		put(o, w->hard_changed ? w->hard_seq - r->hard_durable_seq : 0);
		put(o, w->n_after);
		for (uint32_t i = 0; i < w->n_after; i++)
			put_message(o, &w->after[i]);
	}
	put_raft(o, r);
}

static uint8_t renamed(uint8_t mask, const uint8_t *order)
{
	uint8_t		m = 0;

	for (uint32_t i = 1; i <= x_bound.nodes; i++)
		if (mask >> i & 1)
			m |= (uint8_t) (1 << order[i]);
	return m;
}

/* Do these names make the same bound of it? */
static bool interchangeable(const uint8_t *order)
{
	bool		same = !x_bound.frugal && renamed(x_bound.voters, order) == x_bound.voters && renamed(x_bound.learners, order) == x_bound.learners;

	for (uint32_t t = 0; x_bound.changes > 0 && t < x_bound.n_targets; t++)
		same = same && renamed(x_bound.targets[t], order) == x_bound.targets[t] && renamed(x_bound.target_learners[t], order) == x_bound.target_learners[t];
	return same;
}

static void name_from(uint8_t *order, uint32_t k)
{
	if (k > x_bound.nodes)
	{
		if (x_orders == 0 || interchangeable(order))
			memcpy(x_order[x_orders++], order, X_NODES + 1);
		return;
	}
	for (uint32_t other = k; other <= x_bound.nodes; other++)
	{
		uint8_t		name = order[k];

		order[k] = order[other];
		order[other] = name;
		name_from(order, k + 1);
		order[other] = order[k];
		order[k] = name;
	}
}

void x_name_nodes(void)
{
	uint8_t		order[X_NODES + 1];

	for (uint32_t i = 0; i <= X_NODES; i++)
		order[i] = (uint8_t) i;
	x_orders = 0;
	name_from(order, 1);
}

void x_digest_node(uint32_t order, uint64_t hash[2])
{
	static Out	o;

	o.n = 0;
	for (uint32_t i = 0; i <= X_NODES; i++)
	{
		o.name[i] = x_order[order][i];
		o.at[o.name[i]] = (uint8_t) i;
	}
	put(&o, o.name[x_node.id]);
	put_here(&o);
	hash[0] = nd_checksum(o.b, o.n, 0);
	hash[1] = nd_checksum(o.b, o.n, 1);
}

/* ---- the world ---- */

typedef struct WorldOut
{
	uint64_t	nodes[X_NODES][2];
	XEntry		committed[X_LOG];
	uint8_t		entries;
	uint8_t		reads;
	uint8_t		n_committed;
	uint8_t		leader_of[X_TERMS];
	uint8_t		committed_in[X_LOG];
	uint8_t		read_needs[X_READS];
} WorldOut;

static void number_bag(const XWorld *w, uint32_t order, XDigest *d)
{
	d->n = w->n_bag;
	if (order == 0)
	{
		memcpy(d->messages, w->bag, w->n_bag * sizeof(w->bag[0]));
		return;
	}
	for (uint32_t i = 0; i < w->n_bag; i++)
	{
		uint32_t	number = x_message_named(w->bag[i], order);
		uint32_t	at = i;

		for (; at > 0 && d->messages[at - 1] > number; at--)
			d->messages[at] = d->messages[at - 1];
		d->messages[at] = number;
	}
}

/* In these names, if that is smaller. */
static void take(const XWorld *w, const WorldOut *o, uint32_t order, XDigest *d)
{
	uint64_t	key = nd_checksum(o, sizeof(*o), 0);
	XDigest		other;

	if (order > 0 && key > d->key[0])
		return;
	if (order > 0 && key == d->key[0])
	{
		number_bag(w, order, &other);
		if (memcmp(other.messages, d->messages, d->n * sizeof(d->messages[0])) < 0)
			memcpy(d->messages, other.messages, d->n * sizeof(d->messages[0]));
		return;
	}
	d->key[0] = key;
	d->key[1] = nd_checksum(o, sizeof(*o), 1);
	number_bag(w, order, d);
}

void x_digest(const XWorld *w, XDigest *d)
{
	WorldOut	o;
	uint8_t		lowest = UINT8_MAX;	/* term that a node may be in, now or later */

	d->left = w->left;
	memset(&o, 0, sizeof(o));
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
	{
		const XLocal *l = x_local(w->local[id]);

		lowest = l->hard_term < lowest ? l->hard_term : lowest;
	}
	memcpy(o.committed, w->committed, sizeof(o.committed));
	o.entries = w->entries;
	o.reads = w->reads;
	o.n_committed = w->n_committed;
	for (uint32_t i = 1; i <= w->n_committed; i++)
		o.committed_in[i] = w->committed_in[i] < lowest ? 0 : w->committed_in[i];
	memcpy(o.read_needs, w->read_needs, sizeof(o.read_needs));
	for (uint32_t k = 0; k < x_orders; k++)
	{
		for (NdNodeId id = 1; id <= x_bound.nodes; id++)
			memcpy(o.nodes[x_order[k][id] - 1], x_local(w->local[id])->named[k], sizeof(o.nodes[0]));
		for (uint32_t t = lowest; t < X_TERMS; t++)
			o.leader_of[t] = x_order[k][w->leader_of[t]];
		take(w, &o, k, d);
	}
}
