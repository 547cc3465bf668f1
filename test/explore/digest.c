/*
 * digest.c: the hash by which equal states are known.
 *
 * Everything that can have an influence on what happens later is written down in one order and form, and hashed. A field that is left out makes the search
 * blind for what depends on it, so whoever adds a field to struct Raft adds it here, or says here why not:
 * - election_elapsed of a follower: only whether the shortest timeout has passed; of a candidate: nothing. X_EXPIRE and X_DELIVER_LATE say when it passes.
 * - random, election_timeout: set anew after every event.
 * - a peer's progress, batches, rounds: of a leader only; they begin anew with its term (raft__become_leader()).
 * - numbers of hard states: they are compared with each other and no more, so their distances are what counts.
 * - in_round, scratch: written before they are read.
 * - capacities, and where memory lies. The heap of the world is followed, not hashed.
 *
 * Nodes of equal rights are interchangeable: when all vote and no configuration changes, and nothing chooses between peers by their order, states that
 * differ only in the names of the nodes count as one. The nodes are put into an order by what can be seen of them without names; where that does not
 * decide, all orders are tried, and the smallest hash is taken.
 */
#include "explore.h"

#include <string.h>

#define W x_world

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

static void put_queue(Out *o, const RaftQueue *q)
{
	put(o, q->n);
	for (uint32_t i = 0; i < q->n; i++)
	{
		XMessage	m;

		x_pack_message(&q->messages[i], &m);
		put_message(o, &m);
	}
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
	put(o, p->active + 2 * p->paused + 4 * p->check);
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

static void put_world_node(Out *o, const XNode *node)
{
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

static void put_bag(Out *o, bool renamed)
{
	XMessage	bag[X_BAG];

	put(o, W.n_bag);
	if (!renamed)
	{
		for (uint32_t i = 0; i < W.n_bag; i++)
			put_message(o, &W.bag[i]);
		return;
	}
	for (uint32_t i = 0; i < W.n_bag; i++)
	{
		XMessage	m = W.bag[i];
		uint32_t	at = i;

		name_message(o, &m);
		for (; at > 0 && memcmp(&bag[at - 1], &m, sizeof(m)) > 0; at--)
			bag[at] = bag[at - 1];
		bag[at] = m;
	}
	for (uint32_t i = 0; i < W.n_bag; i++)
		put_bytes(o, &bag[i], offsetof(XMessage, entries) + bag[i].n_entries * sizeof(XEntry));
}

static uint64_t digest_as(Out *o, bool renamed)
{
	o->n = 0;
	for (uint32_t k = 1; k <= x_bound.nodes; k++)
		put_world_node(o, &W.nodes[o->at[k]]);
	put_bag(o, renamed);
	put(o, W.campaigns);
	put(o, W.entries);
	put(o, W.ticks);
	put(o, W.crashes);
	put(o, W.doubles);
	put(o, W.changes);
	put(o, W.transfers);
	put(o, W.reads);
	for (uint32_t t = 1; t <= x_bound.terms; t++)
		put_node(o, W.leader_of[t]);
	put_entries(o, W.committed + 1, W.n_committed);
	put_bytes(o, W.committed_in + 1, W.n_committed);
	put_bytes(o, W.read_needs, X_READS);
	return nd_checksum(o->b, o->n, 0);
}

/* What can be seen of a node without names. */
static uint64_t looks(NdNodeId id)
{
	const XNode *node = &W.nodes[id];
	const Raft *r = node->raft;
	uint8_t		b[128];
	uint32_t	n = 0;
	uint8_t		types[2][16] = {{0}, {0}};

	b[n++] = (uint8_t) r->term;
	b[n++] = (uint8_t) r->state;
	b[n++] = (uint8_t) (r->vote == 0 ? 0 : r->vote == id ? 1 : 2);
	b[n++] = (uint8_t) (r->leader == 0 ? 0 : r->leader == id ? 1 : 2);
	b[n++] = (uint8_t) r->commit;
	b[n++] = (uint8_t) r->log.durable;
	b[n++] = (uint8_t) r->matched;
	b[n++] = node->hard_term;
	b[n++] = (uint8_t) (node->hard_vote == 0 ? 0 : node->hard_vote == id ? 1 : 2);
	b[n++] = node->n_writes;
	memcpy(b + n, node->log, sizeof(node->log));
	n += sizeof(node->log);
	for (uint32_t i = 0; i < W.n_bag; i++)
	{
		types[0][W.bag[i].type] += W.bag[i].to == id;
		types[1][W.bag[i].type] += W.bag[i].from == id;
	}
	memcpy(b + n, types, sizeof(types));
	n += sizeof(types);
	return nd_checksum(b, n, 0);
}

static bool interchangeable(void)
{
	return x_bound.changes == 0 && !x_bound.frugal && x_bound.learners == 0 && x_bound.voters == (1u << (x_bound.nodes + 1)) - 2;
}

/* All orders of the names from k on among nodes that look alike; at[] is ascending by looks. */
static uint64_t smallest(Out *o, const uint64_t *look, uint32_t k)
{
	uint64_t	best = UINT64_MAX;

	if (k >= x_bound.nodes)
	{
		for (uint32_t i = 1; i <= x_bound.nodes; i++)
			o->name[o->at[i]] = (uint8_t) i;
		return digest_as(o, true);
	}
	for (uint32_t other = k; other <= x_bound.nodes && look[o->at[other]] == look[o->at[k]]; other++)
	{
		uint8_t		first = o->at[k];
		uint64_t	h;

		o->at[k] = o->at[other];
		o->at[other] = first;
		h = smallest(o, look, k + 1);
		best = h < best ? h : best;
		o->at[other] = o->at[k];
		o->at[k] = first;
	}
	return best;
}

uint64_t x_digest(void)
{
	static Out	o;
	uint64_t	look[X_NODES + 1];

	for (uint32_t i = 0; i <= X_NODES; i++)
		o.name[i] = o.at[i] = (uint8_t) i;
	if (!interchangeable())
		return digest_as(&o, false);
	for (NdNodeId id = 1; id <= x_bound.nodes; id++)
	{
		uint32_t	at = id;

		look[id] = looks(id);
		for (; at > 1 && look[o.at[at - 1]] > look[id]; at--)
			o.at[at] = o.at[at - 1];
		o.at[at] = (uint8_t) id;
	}
	return smallest(&o, look, 1);
}
