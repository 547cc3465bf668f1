/*
 * several.c: transactions over several groups: the service of the sequencer's leader, and what leaders of data groups owe to it. The protocol and its argument stand in
 * core/sequencer/README.md; here is who is asked when.
 *
 * Every node applies the sequencer's log (deliver.c calls node__sequencer_apply()). The node that leads the sequencer group takes requests into its inbox, closes epochs,
 * and aborts what a group does not vote on. A node that leads a data group does its duties: markers and outcomes into that log, votes and acknowledgements into
 * the sequencer's, through its leader.
 *
 * Invariants:
 * 1. The inbox takes and gives nothing before the term's own no-op is applied here, and is emptied when the term ends. Whose request is lost with it asks again: its
 *    node proposes it to the next leader under the same id (propose.c).
 * 2. Votes and acknowledgements are sent and not waited for. What the sequencer's state does not show after a while is said again, and the more rarely the longer nothing of
 *    it shows: said at one pace they would fill a log that commits less than that in the same time, without end.
 * 3. Nothing here blocks a group: a marker that finds no room is proposed at a later round.
 * 4. A cluster without a sequencer group pays nothing; a transaction of one group never comes here.
 *
 * Nobody waits for an acknowledgement, and one is for all outcomes before: it goes with the group's next votes, or after a while. At once it would make a flush of its own, and what comes
 * just then, the next votes or outcomes, would have to wait for that.
 */
#include "node_internal.h"

#define DUTIES_MAX 64			/* of one group in one round: groups take turns */
#define VOTE_TIMEOUTS 20
#define SAY_AGAIN_TIMEOUTS 16	/* what may be lost is said that often at least; less than VOTE_TIMEOUTS */

NdStatus node__several_create(Node *n)
{
	const SeqLimits *limits = &n->config.sequencer;

	if (n->config.vote_ticks == 0)
		n->config.vote_ticks = VOTE_TIMEOUTS * n->config.election_ticks;
	if (n->sequencer_group == NULL)
		return ND_OK;
	return seq_inbox_create(limits->requests_max > 0 ? limits : &SEQ_LIMITS_DEFAULT, &n->inbox);
}

void node__several_destroy(Node *n)
{
	sequencer_destroy(n->sequencer);
	seq_inbox_destroy(n->inbox);
}

const Sequencer *node_sequencer(const Node *n)
{
	return n->sequencer;
}

/* ---- the sequencer's log ---- */

/* Data groups that this node leads have something to do. */
static void wake_leaders(Node *n)
{
	for (uint32_t i = 0; i < n->n_groups; i++)
		if (n->groups[i]->leads && n->groups[i]->certifier != NULL)
			node__wake(n->groups[i]);
}

NdStatus node__sequencer_restore(NodeGroup *g, const void *data, size_t len)
{
	Node	   *n = g->node;
	NdStatus	status = data != NULL ? sequencer_restore(data, len, &n->sequencer) : sequencer_create(&n->sequencer);

	if (status != ND_OK)
		return status;
	/* nothing is cut before the host has said how much is kept */
	g->keep_bytes = UINT64_MAX >> 1;
	g->epochs = sequencer_floor(n->sequencer);
	return g->epochs > 0 && g->epochs < g->cut ? ND_DAMAGED : ND_OK;
}

uint64_t node__sequencer_floor(const NodeGroup *g)
{
	return g->id == ND_GROUP_SEQUENCER ? sequencer_floor(g->node->sequencer) : 0;
}

void node__sequencer_installed(NodeGroup *g, Sequencer *s)
{
	Node	   *n = g->node;

	sequencer_destroy(n->sequencer);
	n->sequencer = s;
	g->epochs = sequencer_floor(s);
	node__ordered(g);
	wake_leaders(n);
}

NdStatus node__sequencer_apply(NodeGroup *g, const RaftEntry *e)
{
	Node	   *n = g->node;
	uint64_t	before = sequencer_position(n->sequencer);
	NdStatus	status = ND_OK;

	if (e->kind == RAFT_ENTRY_DATA && e->payload != NULL)
		status = sequencer_apply(n->sequencer, e->index, e->payload->data, e->payload->len);
	/* Malformed bytes were committed: every replica sees the same and gives them no effect. */
	if (status != ND_OK && status != ND_INVALID)
		return status;
	if (sequencer_position(n->sequencer) > before)
		node__ordered(g);
	if (g->leads && e->term == g->term && n->leads_term != g->term)
	{
		n->leads_term = g->term;
		n->time_base = sequencer_time(n->sequencer);
		n->time_tick = n->silent_tick = n->tick;
		n->silent_position = n->silent_said = 0;
		seq_inbox_reset(n->inbox);
	}
	wake_leaders(n);
	return ND_OK;
}

static bool sequencer_leads(Node *n)
{
	NodeGroup  *g = n->sequencer_group;
	bool		leads = g->leads && g->stopped == NULL && n->leads_term == g->term;

	if (!leads && seq_inbox_requests(n->inbox) > 0)
		seq_inbox_reset(n->inbox);
	return leads;
}

/* ---- the leader's service ---- */

SeqRefusal node__sequencer_offer(NodeGroup *g, NdBlob *request, bool *not_ready)
{
	Node	   *n = g->node;
	NdGroupId	last = 0;

	*not_ready = !sequencer_leads(n);
	if (*not_ready)
		return SEQ_REFUSED_FULL;
	for (uint32_t i = 0; i < n->n_groups; i++)
		if (n->groups[i]->certifier != NULL)
			last = n->groups[i]->id;
	return seq_inbox_offer(n->inbox, n->sequencer, request, last);
}

/* Takes the buffer's memory. ND_OK: it is in the log of a leader that is this node. */
static NdStatus propose(NodeGroup *g, NdBuf *buf)
{
	NdBlob	   *blob = buf->failed ? NULL : nd_blob_new(buf->data, (uint32_t) buf->len);
	uint64_t	first;
	uint64_t	term;
	NdStatus	status = ND_NOMEM;

	nd_buf_free(buf);
	if (blob == NULL)
		return ND_NOMEM;
	status = !node__ready(g) || !node__room(g->node, blob->len + NODE_ENTRY_OVERHEAD) ? ND_BUSY : raft_propose(g->raft, &blob, 1, &first, &term);
	if (status == ND_OK)
		node__event(g, status);
	nd_blob_unref(blob);
	return status;
}

static bool close_epochs(Node *n)
{
	NodeGroup  *g = n->sequencer_group;
	bool		any = false;
	uint64_t	now = n->time_base + (n->tick - n->time_tick) * n->config.tick_ms;

	for (;;)
	{
		NdBuf		buf;

		nd_buf_init(&buf);
		if (seq_inbox_close(n->inbox, n->sequencer, now, &buf) != ND_OK)
		{
			nd_buf_free(&buf);
			return any;
		}
		if (propose(g, &buf) != ND_OK)
			return any;
		seq_inbox_proposed(n->inbox);
		any = true;
	}
}

/*
 * What was open at the last look, and is still: abort entries, one each in a term. The look is no part of the decision: the entry is, wherever it stands in the log.
 */
static void abort_silent(Node *n)
{
	if (n->tick - n->silent_tick < n->config.vote_ticks || MUTANT(NODE_SILENT_FOREVER))
		return;
	for (const SeqTxn *t = sequencer_next(n->sequencer, 0, n->silent_said); t != NULL && t->position <= n->silent_position; t = sequencer_next(n->sequencer, 0, t->position))
	{
		NdBuf		buf;

		if (t->decided != SEQ_OPEN)
			continue;
		nd_buf_init(&buf);
		if (seq_encode_abort(&buf, t->position) != ND_OK)
		{
			nd_buf_free(&buf);
			break;
		}
		if (propose(n->sequencer_group, &buf) != ND_OK)
			break;
		n->silent_said = t->position;
		node__log(n, 1, "transaction %u.%u.%llu over several groups is aborted: a group does not vote", t->txn.node, t->txn.incarnation, (unsigned long long) t->txn.counter);
	}
	n->silent_tick = n->tick;
	n->silent_position = sequencer_position(n->sequencer);
}

/* ---- duties ---- */

/* The part of t for this group, as a MARKER. ND_OK, or why not now. */
static NdStatus make_marker(NodeGroup *g, const SeqDuty *duty, NdBuf *out)
{
	Node	   *n = g->node;
	RaftEntry	entry;
	uint32_t	got = 0;
	SeqEntry	epoch;
	SeqEntry	request;
	NdStatus	status = store_entries(n->store, ND_GROUP_SEQUENCER, duty->txn->index, duty->txn->index + 1, UINT32_MAX, &entry, 1, &got);

	if (node__log_lost(n, status))
		return status;
	if (status != ND_OK || got == 0)
		return status != ND_OK ? status : ND_NOTFOUND;
	status = ND_INVALID;
	if (seq_decode(entry.payload->data, entry.payload->len, &epoch) == ND_OK && seq_request_at(&epoch, duty->txn->number, &request))
		status = seq_participant_marker(duty, g->id, &request, out);
	nd_blob_unref(entry.payload);
	return status;
}

/* Into the sequencer's log, by its leader. ND_BUSY: none is known here. */
static NdStatus tell_sequencer(Node *n, NdBuf *buf)
{
	NodeGroup  *g = n->sequencer_group;
	WireProposal item = {.group = ND_GROUP_SEQUENCER, .entry = buf->data, .len = buf->len};
	NdStatus	status = ND_OK;

	if (buf->failed)
		status = ND_NOMEM;
	else if (g->leads)
		return propose(g, buf);
	else if (g->leader == 0 || !node__connected(n, g->leader))
		status = ND_BUSY;
	else
		node__put_item(n, g->leader, node__item_proposal, &item);
	nd_buf_free(buf);
	return status;
}

static NdStatus do_duty(NodeGroup *g, const SeqDuty *duty)
{
	Node	   *n = g->node;
	NdStatus	status = ND_OK;
	uint64_t	up_to = 0;
	NdBuf		buf;

	nd_buf_init(&buf);
	switch (duty->kind)
	{
		case SEQ_DUTY_NONE:
			return ND_NOTFOUND;
		case SEQ_DUTY_MARKER:
			status = make_marker(g, duty, &buf);
			break;
		case SEQ_DUTY_OUTCOME:
			status = seq_participant_outcome(duty, &buf);
			break;
		case SEQ_DUTY_VOTES:
			status = seq_participant_votes(&g->participant, n->sequencer, g->certifier, &buf, &up_to);
			break;
		case SEQ_DUTY_ACK:
			status = seq_encode_ack(&buf, g->id, duty->decision);
			break;
	}
	if (status != ND_OK)
	{
		nd_buf_free(&buf);
		return status;
	}
	status = duty->kind == SEQ_DUTY_MARKER || duty->kind == SEQ_DUTY_OUTCOME ? propose(g, &buf) : tell_sequencer(n, &buf);
	if (status == ND_OK && duty->kind == SEQ_DUTY_VOTES)
		seq_participant_voted(&g->participant, up_to);
	if (status == ND_OK && duty->kind == SEQ_DUTY_OUTCOME)
		raft_commit_wanted(g->raft, duty->txn->txn.node);	/* its client waits */
	if (status == ND_OK)
		seq_participant_done(&g->participant, duty);
	return status;
}

/* Has the acknowledgement that is due been due for a while? */
static bool ack_is_late(NodeGroup *g)
{
	if (g->ack_tick == 0)
		g->ack_tick = g->node->tick + g->node->config.election_ticks / 2;
	return g->node->tick >= g->ack_tick;
}

static bool do_duties(NodeGroup *g)
{
	Node	   *n = g->node;
	bool		any = false;
	bool		voted = false;

	if (g->certifier == NULL || !g->leads || g->stopped != NULL || n->failed != ND_OK)
		return false;
	if (g->participant_term != g->term)
	{
		g->participant_term = g->term;
		g->said_tick = n->tick;
		g->said_wait = n->config.election_ticks;
		seq_participant_lead(&g->participant, g->id, g->certifier);
	}
	for (int i = 0; i < DUTIES_MAX; i++)
	{
		SeqDuty		duty = seq_participant_next(&g->participant, n->sequencer, g->certifier);

		if (duty.kind == SEQ_DUTY_NONE || (duty.kind == SEQ_DUTY_ACK && !voted && !ack_is_late(g)) || do_duty(g, &duty) != ND_OK)
			break;
		voted |= duty.kind == SEQ_DUTY_VOTES;
		if (duty.kind == SEQ_DUTY_ACK)
			g->ack_tick = 0;
		any = true;
	}
	return any;
}

bool node__several_round(Node *n)
{
	bool		more = false;

	if (n->sequencer_group == NULL)
		return false;
	if (sequencer_leads(n))
		more |= close_epochs(n);
	for (uint32_t i = 0; i < n->n_active; i++)
		more |= do_duties(n->active[i]);
	return more;
}

/*
 * What does not show is said again after an election timeout, and then ever more rarely: it was lost, or it stands in a log that is slow. To another leader, or over a new
 * connection, as at first.
 */
static void say_again(NodeGroup *g)
{
	Node	   *n = g->node;
	const NodeGroup *to = n->sequencer_group;
	uint64_t	first = n->config.election_ticks;

	if (to->leader != g->said_to || to->term != g->said_term)
	{
		g->said_to = to->leader;
		g->said_term = to->term;
		g->said_wait = first;
	}
	if (n->tick - g->said_tick < g->said_wait)
		return;
	g->said_tick = n->tick;
	if (MUTANT(NODE_VOTE_ONCE))
		return;
	if (!seq_participant_again(&g->participant, n->sequencer, g->certifier) || MUTANT(NODE_SAY_FLOOD))
		g->said_wait = first;
	else if (g->said_wait < SAY_AGAIN_TIMEOUTS * first)
		g->said_wait *= 2;
}

void node__several_ticks(Node *n)
{
	if (n->sequencer_group == NULL)
		return;
	if (sequencer_leads(n))
		abort_silent(n);
	if (n->sequencer_group->active)
	{
		node__store_checkpoint(n->sequencer_group);
		node__truncate(n->sequencer_group);
	}
	for (uint32_t i = 0; i < n->n_active; i++)
		if (n->active[i]->leads && n->active[i]->certifier != NULL && n->active[i]->participant_term == n->active[i]->term)
			say_again(n->active[i]);
}

bool node__several_busy(const NodeGroup *g)
{
	const Node *n = g->node;

	if (n->sequencer == NULL)
		return false;
	return g->id == ND_GROUP_SEQUENCER ? sequencer_unfinished(n->sequencer) > 0 || seq_inbox_requests(n->inbox) > 0
		: sequencer_group_unfinished(n->sequencer, g->id) > 0;
}

/* ---- delivery ---- */

bool node__parts_ready(NodeGroup *g, const EntryHeader *h, NodePart *parts, uint32_t *n_parts, NdStatus *status)
{
	Node	   *n = g->node;
	NdGroupId	groups[ENTRY_GROUPS_MAX];

	entry_groups(h, groups);
	*n_parts = 0;
	*status = ND_BUSY;
	for (uint32_t i = 0; i < h->n_groups; i++)
	{
		NodeGroup  *other = node__group(n, groups[i]);
		NodePart   *part = &parts[*n_parts];

		/* Not made here yet (grow.c). The sequencer's leader takes no request for a group that no meta record makes, so it will be. */
		if (other == NULL && !MUTANT(NODE_PARTS_UNMADE))
			return false;
		if (other == NULL || other->certifier == NULL)
			continue;
		if (MUTANT(NODE_PARTS_ALONE) && other != g)
			continue;
		/* Its tables, or its log, are another's already: what it holds is void, or will be. */
		if (node__installing(other))
			return false;
		if (!(other->held && other->held_decision == h->decision))
		{
			/* behind it already: the tables had it at the start, or by a snapshot */
			if (certifier_decision(other->certifier) >= h->decision)
				continue;
			return false;
		}
		*part = (NodePart) {.group = other->id, .index = other->delivered + 1, .marker = other->held_verdict.by_index};
		*status = node_entry_position(n, other->id, part->marker, &part->position, &part->term);
		if (*status != ND_OK)
			return false;
		*status = ND_BUSY;
		(*n_parts)++;
	}
	*status = ND_OK;
	return true;
}
