/*
 * install.c: the receiver's side of snapshots: an arrival, from its offer to the group's new log. The protocol stands in README.md.
 *
 * Three things are replaced, in this order: the content of the tables (the host's install()), the log with configuration and checkpoint (store_reset_group(),
 * one flush), the core's view of the log (raft_snapshot_installed()) with certifier and delivery. A crash between the first and the second leaves tables
 * ahead of the log, as after a restart with a lagging checkpoint: entries up to there are certified and marked replayed, be they sent or in a second
 * snapshot, whose content is then not wanted.
 *
 * Invariants:
 * 1. The stream is taken in order, each byte once: a chunk counts at `received` alone, and when its checksum fits.
 * 2. Before the host may replace the tables, the checkpoint was read and the log is closed (raft_set_install()): what the log would get meanwhile would be
 *    delivered to tables that hold it.
 * 3. From store_reset_group() until it is durable no event reaches the core (node__resetting()): its log is not the store's.
 * 4. Nothing is delivered while the log is closed, nor is a checkpoint stored: it would be of the old log.
 * 5. A proposal of this node that may stand in the log that is skipped is told NODE_UNKNOWN: nobody will ever deliver it here.
 */
#include <string.h>

#include "node_internal.h"

bool node__installing(const NodeGroup *g)
{
	return g->arrival != NULL && g->arrival->state == ARRIVAL_CLOSED && !MUTANT(NODE_SNAPSHOT_DELIVERS);
}

bool node__resetting(const NodeGroup *g)
{
	return g->arrival != NULL && g->arrival->log_given;
}

static void acknowledge(NodeGroup *g, NdNodeId to, uint64_t id, WireSnapshotAckKind kind, uint64_t offset)
{
	WireSnapshotAck a = {.group = g->id, .id = id, .kind = kind, .offset = offset};

	node__put_item(g->node, to, node__item_snapshot_ack, &a);
}

static void tell(NodeGroup *g, WireSnapshotAckKind kind)
{
	Arrival    *a = g->arrival;

	a->told_tick = g->node->tick;
	a->told = a->received - a->inbox.len;
	acknowledge(g, a->from, a->offer.id, kind == WIRE_SNAPSHOT_AGAIN ? WIRE_SNAPSHOT_NEXT : kind, a->told);
	if (kind == WIRE_SNAPSHOT_AGAIN)
		acknowledge(g, a->from, a->offer.id, kind, a->received);
}

/* Go on from where the stream stands; once for each place, for what was sent meanwhile arrives as well. */
static void ask_again(NodeGroup *g)
{
	if (g->arrival->asked_offset == g->arrival->received)
		return;
	g->arrival->asked_offset = g->arrival->received;
	tell(g, WIRE_SNAPSHOT_AGAIN);
}

void node__free_arrival(NodeGroup *g)
{
	Arrival    *a = g->arrival;

	if (a == NULL)
		return;
	nd_buf_free(&a->checkpoint);
	nd_buf_free(&a->inbox);
	if (a->certifier != NULL)
		certifier_destroy(a->certifier);
	sequencer_destroy(a->sequencer);
	nd_free(a);
	g->arrival = NULL;
}

static void forget(NodeGroup *g)
{
	Node	   *n = g->node;

	if (g->arrival->begun)
		n->snapshots.abort(n->snapshots.ctx, g->id);
	node__free_arrival(g);
}

/* The old replica stays as it is. Only when the core may have an event. */
static void drop(NodeGroup *g)
{
	forget(g);
	node__event(g, raft_set_install(g->raft, RAFT_INSTALL_NONE, 0, 0));
}

static void refuse(NodeGroup *g, const char *why)
{
	node__log(g->node, 2, "group %u: the snapshot of node %u is given up: %s", g->id, g->arrival->from, why);
	tell(g, WIRE_SNAPSHOT_REFUSED);
	drop(g);
}

static bool later(NdStatus status)
{
	return status == ND_BUSY || status == ND_NOMEM;
}

/* ---- frames ---- */

static bool begin(NodeGroup *g, NdNodeId from, const WireSnapshotOffer *o)
{
	Arrival    *a = nd_zalloc(sizeof(*a));

	if (a == NULL)
		return false;
	a->from = from;
	a->offer = *o;
	a->configuration = *o->configuration;
	a->offer.configuration = &a->configuration;
	a->content_wanted = g->certifier != NULL && o->applied > g->applied_durable;
	a->asked_offset = UINT64_MAX;
	nd_buf_init(&a->checkpoint);
	nd_buf_init(&a->inbox);
	g->arrival = a;
	return true;
}

void node__take_snapshot_offer(NodeGroup *g, NdNodeId from, const WireSnapshotOffer *o)
{
	Node	   *n = g->node;
	Arrival    *a = g->arrival;
	NdStatus	status;

	if (!node__ships(g) || g->stopped != NULL)
	{
		acknowledge(g, from, o->id, WIRE_SNAPSHOT_REFUSED, 0);
		return;
	}
	if (a != NULL && a->from == from && a->offer.id == o->id)
	{
		tell(g, a->ended ? WIRE_SNAPSHOT_NEXT : WIRE_SNAPSHOT_AGAIN);
		return;
	}
	if (g->arrived_from == from && g->arrived_id == o->id)
	{
		acknowledge(g, from, o->id, WIRE_SNAPSHOT_INSTALLED, 0);
		return;
	}
	/* Another one: the leader's counts more, and one that is being installed ends first. The offer comes again. */
	if (!node__ready(g) || (a != NULL && (a->state == ARRIVAL_CLOSED || (a->from == g->leader && from != g->leader))))
		return;
	status = raft_set_install(g->raft, RAFT_INSTALL_COMING, o->index, o->term);
	node__event(g, status);
	if (status == ND_INVALID && !raft_is_leader(g->raft))
		acknowledge(g, from, o->id, WIRE_SNAPSHOT_INSTALLED, 0);
	if (status != ND_OK)
		return;
	if (a != NULL)
		forget(g);
	node__wake(g);
	if (begin(g, from, o))
	{
		node__log(n, 1, "group %u: a snapshot comes in from node %u: rows as of entry %llu, log behind %llu", g->id, from,
				  (unsigned long long) o->applied, (unsigned long long) o->index);
		tell(g, WIRE_SNAPSHOT_AGAIN);
	}
	else
		node__event(g, raft_set_install(g->raft, RAFT_INSTALL_NONE, 0, 0));
}

/* Into the checkpoint as far as it belongs there, the rest for the host. */
static bool take_bytes(NodeGroup *g, const uint8_t *data, size_t len)
{
	Arrival    *a = g->arrival;
	size_t		head = 0;

	if (a->received < a->offer.checkpoint_bytes)
	{
		head = a->offer.checkpoint_bytes - a->received < len ? (size_t) (a->offer.checkpoint_bytes - a->received) : len;
		nd_buf_bytes(&a->checkpoint, data, head);
	}
	if (a->content_wanted && !a->checkpoint.failed)
		nd_buf_bytes(&a->inbox, data + head, len - head);
	if (a->checkpoint.failed || a->inbox.failed)
		return false;
	a->received += len;
	return true;
}

void node__take_snapshot_chunk(NodeGroup *g, NdNodeId from, const WireSnapshotChunk *c)
{
	Arrival    *a = g->arrival;
	size_t		checkpoint_len;
	size_t		inbox_len;

	if (a == NULL || a->from != from || a->offer.id != c->id || a->state != ARRIVAL_RECEIVING || a->ended || g->node->failed != ND_OK)
		return;
	if (c->checksum != wire_snapshot_checksum(c) && !MUTANT(NODE_SNAPSHOT_CHECKSUM))
	{
		node__log(g->node, 2, "group %u: a chunk of the snapshot of node %u is damaged: asked for again", g->id, from);
		ask_again(g);
		return;
	}
	if (c->offset < a->received && !MUTANT(NODE_SNAPSHOT_OFFSET))
		return;					/* doubled, or sent again though it was only late */
	if ((c->offset > a->received && !MUTANT(NODE_SNAPSHOT_OFFSET)) ||
		a->inbox.len + c->len > g->node->config.snapshot_window_bytes + (size_t) WIRE_SNAPSHOT_CHUNK_MAX)
	{
		ask_again(g);
		return;
	}
	checkpoint_len = a->checkpoint.len;
	inbox_len = a->inbox.len;
	if (!take_bytes(g, c->data, c->len))
	{
		/* No memory: as if it were lost. */
		a->checkpoint.failed = a->inbox.failed = false;
		a->checkpoint.len = checkpoint_len;
		a->inbox.len = inbox_len;
		return;
	}
	a->ended = c->last;
}

/* ---- what can be done now ---- */

/* Content to the host. True: something moved. */
static bool hand_over(NodeGroup *g)
{
	Node	   *n = g->node;
	Arrival    *a = g->arrival;
	NdStatus	status = ND_OK;
	uint64_t	offset;

	if (a->content_wanted && !a->begun)
	{
		status = n->snapshots.begin(n->snapshots.ctx, g->id, a->offer.applied);
		a->begun = status == ND_OK;
	}
	if (status == ND_OK && a->inbox.len > 0)
	{
		offset = a->received - a->inbox.len - a->offer.checkpoint_bytes;
		status = n->snapshots.write(n->snapshots.ctx, g->id, offset, a->inbox.data, a->inbox.len);
		if (status == ND_OK)
		{
			nd_buf_reset(&a->inbox);
			return true;
		}
	}
	if (status != ND_OK && !later(status))
		refuse(g, nd_status_text(status));
	return false;
}

/* Nothing in it may be of an entry behind its index. */
static NdStatus read_checkpoint(NodeGroup *g)
{
	Arrival    *a = g->arrival;
	NdStatus	status = ND_OK;

	if (g->id == ND_GROUP_SEQUENCER)
	{
		if (a->sequencer == NULL)
			status = sequencer_restore(a->checkpoint.data, a->checkpoint.len, &a->sequencer);
		if (status == ND_OK && (sequencer_last_index(a->sequencer) > a->offer.checkpoint ||
								(sequencer_floor(a->sequencer) > 0 && sequencer_floor(a->sequencer) <= a->offer.index)))
			status = ND_DAMAGED;
		return status;
	}
	if (a->certifier == NULL)
		status = certifier_restore(a->checkpoint.data, a->checkpoint.len, &a->certifier);
	if (status == ND_OK && certifier_last_index(a->certifier) > a->offer.checkpoint && !MUTANT(NODE_SNAPSHOT_ROWS_BEHIND))
		status = ND_DAMAGED;
	return status;
}

/* All bytes are here: is the checkpoint one, and may the log be closed? */
static bool close_log(NodeGroup *g)
{
	Arrival    *a = g->arrival;
	NdStatus	status;

	if (a->received < a->offer.checkpoint_bytes)
	{
		refuse(g, "it ends within its checkpoint");
		return false;
	}
	status = read_checkpoint(g);
	if (later(status))
		return false;
	if (status != ND_OK)
	{
		refuse(g, nd_status_text(status));
		return false;
	}
	/* What the core has decided must be in the store before its log is replaced. */
	if (!node__ready(g) || g->dirty)
		return false;
	status = raft_set_install(g->raft, RAFT_INSTALL_CLOSED, a->offer.index, a->offer.term);
	node__event(g, status);
	if (status == ND_INVALID)
	{
		tell(g, WIRE_SNAPSHOT_INSTALLED);
		drop(g);
	}
	if (status != ND_OK)
		return false;
	a->state = ARRIVAL_CLOSED;
	return true;
}

static void replace_tables(NodeGroup *g)
{
	Node	   *n = g->node;
	Arrival    *a = g->arrival;
	NdStatus	status = a->content_wanted ? n->snapshots.install(n->snapshots.ctx, g->id) : ND_OK;

	if (status == ND_OK)
	{
		a->content_in = true;
		if (a->offer.applied > g->applied_durable)
			g->applied_durable = a->offer.applied;
	}
	else if (!later(status))
		refuse(g, nd_status_text(status));
}

/* Configuration, checkpoint and log in one flush. */
static void replace_log(NodeGroup *g)
{
	Node	   *n = g->node;
	Arrival    *a = g->arrival;
	NdStatus	status;

	if (!node__ready(g) || g->dirty)
		return;
	if (MUTANT(NODE_SNAPSHOT_OLD_MEMBERS) && raft_configuration(g->raft)->n > 0)
	{
		raft_configuration_copy(&a->configuration, raft_configuration(g->raft));
		if (a->configuration.index > a->offer.index)
			a->configuration.index = a->offer.index;
	}
	status = store_reset_group(n->store, g->id, a->offer.index, a->offer.term, &a->configuration, a->offer.checkpoint, a->checkpoint.data,
							   a->checkpoint.len);
	if (node__log_lost(n, status) || status != ND_OK)
		return;
	a->log_given = true;
	g->durable = a->offer.index;
	g->gather.index = g->gather.term = g->flight.index = g->flight.term = g->owed.index = g->owed.term = 0;
	g->gather.reset = true;
	g->gather.checkpoint = a->offer.checkpoint;
	g->gather.epochs = a->sequencer != NULL ? sequencer_floor(a->sequencer) : 0;
	g->candidate_index = 0;
	nd_buf_reset(&g->candidate);
}

/* The group goes on behind the snapshot. */
static void finish(NodeGroup *g)
{
	Node	   *n = g->node;
	Arrival    *a = g->arrival;
	Sequencer  *sequencer;
	NdStatus	status;
	bool		held;

	status = raft_snapshot_installed(g->raft, a->offer.index, a->offer.term, &a->configuration);
	if (status == ND_NOMEM)
		return;					/* again in a later round: until then the log stays closed */
	a->log_given = false;
	node__event(g, status);
	if (status != ND_OK)
	{
		/* Invariant 2: the log was closed, and it lacked the entry. */
		node__stop_group(g, "a snapshot is in the store that the core does not take: %s", nd_status_text(status));
		return;
	}
	if (a->certifier != NULL)
	{
		certifier_destroy(g->certifier);
		g->certifier = a->certifier;
		a->certifier = NULL;
	}
	g->commit = a->offer.index;
	g->checkpoint = g->delivered = a->offer.checkpoint;
	if (a->offer.applied > g->applied_start)
		g->applied_start = a->offer.applied;
	if (g->applied_durable > g->applied_start)
		g->applied_start = g->applied_durable;
	held = g->held_owed;
	g->held = g->held_owed = g->held_judged = false;
	g->stuck_tick = 0;
	g->n_sums = 0;
	g->diverged = false;
	g->alarm = NULL;
	g->chunks_old = g->chunks_new = (ChunkNeed) {0};
	g->cut = a->offer.index + 1;
	g->counted = g->delivered + 1;
	g->kept_bytes = 0;
	g->gossip_due = true;
	g->arrived_from = a->from;
	g->arrived_id = a->offer.id;
	tell(g, WIRE_SNAPSHOT_INSTALLED);
	sequencer = a->sequencer;
	a->sequencer = NULL;
	node__free_arrival(g);
	node__tell_owners(g);
	n->changed = true;
	node__log(n, 1, "group %u: the snapshot is installed: tables at entry %llu, log behind %llu", g->id, (unsigned long long) g->applied_start,
			  (unsigned long long) g->commit);
	/* An entry that waited for room is skipped with the others. */
	if (held)
		n->callbacks.proposal_failed(n->callbacks.ctx, g->id, g->held_txn, g->held_kind, NODE_UNKNOWN, ND_COMPACTED);
	/* Outcomes come by the data groups' logs: what the sequencer's state has forgotten loses nobody's. */
	if (sequencer != NULL)
	{
		node__sequencer_installed(g, sequencer);
		return;
	}
	node__fail_sent(g, ND_COMPACTED);
	node__fail_skipped(g, ND_COMPACTED);
}

void node__install_log_durable(NodeGroup *g)
{
	g->arrival->log_in = true;
}

bool node__install(NodeGroup *g)
{
	Arrival    *a = g->arrival;
	bool		moved = false;

	if (a == NULL || g->node->failed != ND_OK || g->stopped != NULL || (!node__ready(g) && !a->log_given))
		return false;
	if (a->state == ARRIVAL_RECEIVING)
	{
		moved = hand_over(g);
		if (g->arrival == NULL)
			return false;
		if (a->received - a->inbox.len > a->told)
			tell(g, WIRE_SNAPSHOT_NEXT);
		if (!a->ended || a->inbox.len > 0 || (a->content_wanted && !a->begun) || !close_log(g))
			return moved;
	}
	if (!a->content_in)
		replace_tables(g);
	if (g->arrival == NULL || (!a->content_in && !MUTANT(NODE_SNAPSHOT_LOG_FIRST)))
		return false;
	if (!a->log_given)
		replace_log(g);
	if (!a->log_in || !a->content_in)
		return false;
	finish(g);
	return g->arrival == NULL;
}

void node__install_ticks(NodeGroup *g)
{
	Node	   *n = g->node;
	Arrival    *a = g->arrival;

	if (a == NULL || n->failed != ND_OK)
		return;
	/* Its log may have got there in another way. */
	if (a->state == ARRIVAL_RECEIVING && node__ready(g) &&
		(g->commit >= a->offer.index || raft_term_of(g->raft, a->offer.index) == a->offer.term))
	{
		tell(g, WIRE_SNAPSHOT_INSTALLED);
		drop(g);
		return;
	}
	/* The sender must not give up while the host is at work. */
	if ((a->state == ARRIVAL_CLOSED || a->inbox.len > 0 || a->ended) && n->tick - a->told_tick >= n->config.election_ticks / 2)
		tell(g, WIRE_SNAPSHOT_NEXT);
}
