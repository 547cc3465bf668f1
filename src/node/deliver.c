/*
 * deliver.c: committed and locally durable entries -> certifier -> deliver(); checksums of the certifier, its checkpoints.
 *
 * Invariants:
 * 1. Order: one entry at a time per group; when deliver() says ND_BUSY the entry keeps its verdict (`held`) and nothing behind it is judged.
 *    Judging it again would find its own id in the window and call it a duplicate.
 * 2. Delivery stops at min(commit, durable): else a crash would leave the tables ahead of the log.
 * 3. A checkpoint is stored only when the tables durably hold everything up to it. A restart delivers from the checkpoint on, so whatever
 *    the tables have lost must come again with its verdict. Only committed TXNs change tables, so tables that hold the last of them at or below
 *    the checkpoint hold all that the checkpoint does, though what they keep may name a lower index.
 * 4. No delivery from the moment when the host may replace its tables by a snapshot's until the log and the certifier are the snapshot's too.
 * 5. Group 0 has no certifier and no checkpoint: it is never truncated, and read anew from its start. The sequencer group has its state in place of a certifier and
 *    no tables: its checkpoint may be stored as soon as its index is delivered.
 * 6. An OUTCOME that commits waits, held, until every other group of the transaction stands at its own here; one that is not made yet (grow.c) does not; then all are delivered by one
 *    call. Outcomes stand in the order of decisions everywhere, so of those that wait the lowest is never waited for in vain.
 */
#include <stdio.h>

#include "node_internal.h"

#define DELIVER_BATCH 32
#define DELIVER_BATCH_BYTES (1u << 20)

/* The state that a checkpoint holds. data NULL: there is none yet. */
static NdStatus restore_state(NodeGroup *g, const void *data, size_t len)
{
	NdBuf		buf;
	NdStatus	status;

	if (g->id == ND_GROUP_SEQUENCER)
		return node__sequencer_restore(g, data, len);
	if (data != NULL)
		return certifier_restore(data, len, &g->certifier);
	/* The limits of the window belong to the group from now on: a setting that changes later must not change verdicts. */
	nd_buf_init(&buf);
	status = certifier_create(node__certifier_limits(g->node), &g->certifier);
	if (status == ND_OK)
		status = certifier_save(g->certifier, &buf);
	if (status == ND_OK)
		status = buf.failed ? ND_NOMEM : store_checkpoint(g->node->store, g->id, 0, buf.data, buf.len);
	nd_buf_free(&buf);
	return status;
}

NdStatus node__restore_state(NodeGroup *g, char *error, size_t error_len)
{
	Store	   *store = g->node->store;
	NdBuf		buf;
	NdStatus	status;
	StorePosition at;

	g->cut = store_first_index(store, g->id);
	if (g->id == ND_GROUP_META)
		return ND_OK;
	nd_buf_init(&buf);
	status = store_read_checkpoint(store, g->id, &g->checkpoint, &buf);
	if (status == ND_OK)
		status = restore_state(g, buf.data, buf.len);
	else if (status == ND_NOTFOUND)
		status = restore_state(g, NULL, 0);
	nd_buf_free(&buf);
	if (status == ND_OK && g->applied_start < g->checkpoint && (g->certifier == NULL || g->applied_start >= certifier_last_commit(g->certifier)))
		g->applied_start = g->applied_durable = g->checkpoint;
	if (status == ND_OK && (g->checkpoint > g->applied_start || g->cut > g->checkpoint + 1))
		status = ND_DAMAGED;
	if (status != ND_OK)
	{
		snprintf(error, error_len, "group %u cannot go on from its checkpoint at %llu (tables at %llu, log from %llu): %s", g->id,
				 (unsigned long long) g->checkpoint, (unsigned long long) g->applied_start, (unsigned long long) g->cut, nd_status_text(status));
		return status;
	}
	g->delivered = g->checkpoint;
	g->counted = store_last_index(store, g->id) < g->delivered ? g->delivered + 1 : g->cut;
	for (uint64_t i = g->counted; i <= g->delivered; i++)
		if (store_position(store, g->id, i, &at) == ND_OK)
			g->kept_bytes += at.len;
	return ND_OK;
}

/* ---- checksums ---- */

static bool own_sum(const NodeGroup *g, uint64_t index, uint64_t *sum)
{
	uint32_t	n = g->n_sums < NODE_SUMS ? g->n_sums : NODE_SUMS;

	for (uint32_t i = 0; i < n; i++)
		if (g->sums[i].index == index && index > 0)
		{
			*sum = g->sums[i].sum;
			return true;
		}
	return false;
}

/*
 * Replicas that judged the same entries have the same state. When they differ nobody can say from two checksums who is wrong; when a majority
 * of the members agrees against this node, this node is.
 */
static void compare_sums(NodeGroup *g)
{
	uint32_t	members = raft_configuration(g->raft)->n;

	for (uint32_t i = 0; i < g->n_peers; i++)
	{
		uint32_t	against = 0;
		uint64_t	mine;

		if (!own_sum(g, g->peers[i].sum.index, &mine) || mine == g->peers[i].sum.sum)
			continue;
		for (uint32_t j = 0; j < g->n_peers; j++)
			against += g->peers[j].sum.index == g->peers[i].sum.index && g->peers[j].sum.sum == g->peers[i].sum.sum;
		if (against * 2 > members)
			node__stop_group(g, "its verdicts differ from those of most members at index %llu", (unsigned long long) g->peers[i].sum.index);
		else if (!g->diverged)
			node__alarm(g, "verdicts here and on node %u differ at index %llu", g->peers[i].node, (unsigned long long) g->peers[i].sum.index);
		g->diverged = true;
	}
}

void node__take_gossip(NodeGroup *g, NdNodeId from, const WireGossip *gossip)
{
	GroupPeer  *p = node__group_peer(g, from, true);
	NodePeer   *peer = node__peer(g->node, from);

	if (peer != NULL)
		peer->no_space = gossip->no_space;
	if (peer != NULL && gossip->groups_max > 0)
		peer->groups_max = gossip->groups_max;
	if (p == NULL)
		return;
	p->stored = gossip->stored;
	p->sum.index = gossip->checksum_index;
	p->sum.sum = gossip->checksum;
	node__take_shown(g, p, gossip);
	compare_sums(g);
}

void node__store_checkpoint(NodeGroup *g)
{
	NdStatus	status;

	if (g->candidate_index == 0 || (g->applied_durable < g->candidate_index && !MUTANT(NODE_CHECKPOINT_ABOVE_TABLES)) || g->node->failed != ND_OK)
		return;
	status = store_checkpoint(g->node->store, g->id, g->candidate_index, g->candidate.data, g->candidate.len);
	if (status == ND_IO || status == ND_DAMAGED)
		node__fail(g->node, status, "a checkpoint could not be written");
	if (status != ND_OK)
		return;
	g->gather.checkpoint = g->candidate_index;
	g->gather.epochs = g->candidate_epochs;
	node__activate(g);
	g->candidate_index = 0;
	nd_buf_free(&g->candidate);
	nd_buf_init(&g->candidate);
}

static void at_checkpoint(NodeGroup *g)
{
	NodeSum    *s = &g->sums[g->n_sums++ % NODE_SUMS];
	const Sequencer *sequencer = g->node->sequencer;

	s->index = g->delivered;
	s->sum = g->certifier != NULL ? certifier_checksum(g->certifier) : sequencer_checksum(sequencer);
	g->gossip_due = true;
	compare_sums(g);
	if (g->candidate_index > 0)
		return;
	if ((g->certifier != NULL ? certifier_save(g->certifier, &g->candidate) : sequencer_save(sequencer, &g->candidate)) == ND_OK && !g->candidate.failed)
	{
		g->candidate_index = g->delivered;
		g->candidate_epochs = node__sequencer_floor(g);
	}
	else
	{
		nd_buf_free(&g->candidate);
		nd_buf_init(&g->candidate);
	}
	node__store_checkpoint(g);
}

/* ---- delivery ---- */

/* ND_OK: d is complete; ND_NOMEM: later. Anything else stops the group. */
static NdStatus judge(NodeGroup *g, const RaftEntry *e, NodeDelivery *d)
{
	Node	   *n = g->node;
	NdStatus	status;

	if (g->id == ND_GROUP_META)
	{
		if (!g->held && e->kind == RAFT_ENTRY_CONFIG)
			node__take_goal(n, e);
		return !g->held && e->kind == RAFT_ENTRY_DATA ? node__take_meta(n, e) : ND_OK;
	}
	if (g->id == ND_GROUP_SEQUENCER)
		return g->held ? ND_OK : node__sequencer_apply(g, e);
	if (e->kind != RAFT_ENTRY_DATA || e->payload == NULL)
		return ND_OK;
	status = entry_decode(e->payload->data, e->payload->len, &d->header);
	/* Malformed bytes were committed: every replica sees the same and gives them no effect. */
	if (status == ND_INVALID)
		return ND_OK;
	if (status != ND_OK)
		return status;
	d->has_header = true;
	d->local = !d->replayed && d->header.txn.node == n->config.self && d->header.txn.incarnation == n->config.incarnation;
	if (g->held)
		d->verdict = g->held_verdict;
	else if (!(d->replayed && MUTANT(NODE_SKIP_REPLAYED_VERDICT)))
	{
		uint64_t	floor = certifier_open_chunk_floor(g->certifier);

		status = certifier_certify(g->certifier, e->index, &d->header, &d->verdict);
		g->held_judged = status == ND_OK;
		if (status == ND_INVALID)
		{
			d->has_header = false;
			status = ND_OK;
		}
		if (status == ND_OK && d->header.kind == ENTRY_TXN && d->verdict.kind == VERDICT_COMMIT)
			node__need_chunks(g, e->index, &d->header);
		/* the certifier lets go of the MARKER and of its chunks: none stands below where it held the log till now */
		if (status == ND_OK && d->header.kind == ENTRY_OUTCOME && d->verdict.kind == VERDICT_COMMIT && !MUTANT(NODE_MARKER_CUT))
			node__need_log(g, e->index, floor);
		/*
		 * It will be delivered, however late: from now on its deadline must not answer it a second time. CANCELs are proposed for ids of others
		 * and of earlier lives as well.
		 */
		if (status == ND_OK && (d->local || d->header.kind == ENTRY_CANCEL) && !MUTANT(NODE_ANSWER_TWICE))
		{
			g->held_owed = node__answered(g, &d->header);
			g->held_txn = d->header.txn;
			g->held_kind = d->header.kind;
		}
	}
	return status;
}

static void tell_granted(NodeGroup *g, TxnId txn)
{
	Node	   *n = g->node;

	if (n->callbacks.granted != NULL && txn.node == n->config.self && txn.incarnation == n->config.incarnation && !MUTANT(NODE_GRANT_UNTOLD))
		n->callbacks.granted(n->callbacks.ctx, g->id, g->delivered, txn);
}

/* What came into the certifier by a snapshot was told to nobody. */
void node__tell_owners(NodeGroup *g)
{
	CertifierReservation r;

	for (uint64_t i = 0; g->certifier != NULL && certifier_reservation(g->certifier, i, &r); i++)
		if (r.since != 0 && !r.marker)
			tell_granted(g, r.txn);
}

/* The entry that is held was delivered. */
static void pass(NodeGroup *g)
{
	const TxnId *granted = NULL;
	uint32_t	n_granted = g->held_judged ? certifier_granted(g->certifier, &granted) : 0;

	g->held = g->held_owed = g->held_judged = false;
	g->held_decision = 0;
	g->delivered++;
	for (uint32_t i = 0; i < n_granted; i++)
		tell_granted(g, granted[i]);
	g->kept_bytes += g->held_position.len;
	node__activate(g);
	if (g->id == ND_GROUP_SEQUENCER)
		g->applied_durable = g->delivered;
	if (g->id != ND_GROUP_META && g->delivered % g->node->config.checkpoint_every == 0)
		at_checkpoint(g);
}

static NdStatus deliver_one(NodeGroup *g, const RaftEntry *e)
{
	Node	   *n = g->node;
	NodePart	parts[ENTRY_GROUPS_MAX];
	NodeDelivery d = {
		.group = g->id, .index = e->index, .term = e->term, .kind = e->kind,
		.replayed = e->index <= g->applied_start,
	};
	NdStatus	status = store_position(n->store, g->id, e->index, &d.position);

	if (status == ND_OK)
		status = judge(g, e, &d);
	if (status != ND_OK)
		return status;
	g->held = true;
	g->held_verdict = d.verdict;
	g->held_decision = 0;
	if (d.has_header && d.header.kind == ENTRY_OUTCOME && d.verdict.kind == VERDICT_COMMIT && !d.replayed)
	{
		g->held_decision = d.header.decision;
		g->held_position = d.position;
		if (!node__parts_ready(g, &d.header, parts, &d.n_parts, &status))
			return status;
		d.parts = parts;
	}
	status = n->callbacks.deliver(n->callbacks.ctx, &d);
	if (status != ND_OK && !MUTANT(NODE_LOSE_BUSY))
		return ND_BUSY;
	if (d.has_header && d.header.kind == ENTRY_OUTCOME && d.verdict.kind != VERDICT_REPEATED && d.local)
		node__outcome(n, d.header.txn);
	for (uint32_t i = 0; i < d.n_parts; i++)
		if (parts[i].group != g->id)
			pass(node__group(n, parts[i].group));
	g->held_position = d.position;
	pass(g);
	return ND_OK;
}

bool node__deliver(NodeGroup *g)
{
	Node	   *n = g->node;
	uint64_t	limit = g->commit < g->durable || MUTANT(NODE_DELIVER_UNDURABLE) ? g->commit : g->durable;
	uint32_t	count = 0;
	NdStatus	status = ND_OK;

	if (g->stuck_tick > n->tick || node__installing(g))
		return false;
	while (status == ND_OK && n->failed == ND_OK && g->stopped == NULL && g->delivered < limit && count < NODE_DELIVER_MAX)
	{
		RaftEntry	batch[DELIVER_BATCH];
		uint64_t	hi = limit - g->delivered > DELIVER_BATCH ? g->delivered + DELIVER_BATCH : limit;
		uint32_t	got = 0;

		status = store_entries(n->store, g->id, g->delivered + 1, hi + 1, DELIVER_BATCH_BYTES, batch, DELIVER_BATCH, &got);
		if (status == ND_OK && got == 0)
			status = ND_DAMAGED;
		for (uint32_t i = 0; i < got; i++)
		{
			if (status == ND_OK && n->failed == ND_OK && g->stopped == NULL)
			{
				status = deliver_one(g, &batch[i]);
				count += status == ND_OK;
			}
			nd_blob_unref(batch[i].payload);
		}
	}
	if (status == ND_NOMEM)
		g->stuck_tick = n->tick + 1;
	else if (node__log_lost(n, status))
		return false;
	else if (status != ND_OK && status != ND_BUSY)
		node__stop_group(g, "entry %llu cannot be delivered: %s%s", (unsigned long long) g->delivered + 1, nd_status_text(status),
						 status == ND_VERSION ? ": install the version of nodedb that the other nodes have" : "");
	return count > 0;
}
