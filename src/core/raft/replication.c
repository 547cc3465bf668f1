/*
 * replication.c: a leader's side: proposals, APPENDs, the progress of every peer, commit by counting (thesis, 3.5, 3.6.2, 10.2.1).
 *
 * It owns the peers' progress, term_start, the uncommitted batches and commit.
 * Invariants:
 * 1. Only an entry of the current term is committed by counting; the entries before it follow (thesis, 3.6.2, figure 3.7).
 * 2. APPENDs leave before the leader's own write; its own disk counts once raft_persisted() said so (thesis, 10.2.1).
 * 3. APPENDs are made when an update is taken, so that all that gathered since the last one shares a message.
 * 4. A message is complete before the progress that it causes is noted: without memory nothing was sent.
 * 5. What is in flight to a peer is bounded in messages and bytes, and one APPEND in bytes: a peer that lags gets no flood.
 */
#include "raft_internal.h"

#include <string.h>

/* ---- peers ---- */

/* Progress at the start of a term, or of a membership. */
void raft__peer_start(Raft *r, RaftPeer *p)
{
	p->state = PEER_PROBE;
	p->match = 0;
	p->next = r->log.last + 1;
	p->told_commit = 0;
	p->wanted_commit = 0;
	p->acked_round = 0;
	p->active = false;
	p->paused = false;
	p->probe = (RaftInflight) {0, 0};
	p->check = false;
	p->inflight_first = 0;
	p->inflight_n = 0;
	p->inflight_bytes = 0;
}

void raft__peer_clear(RaftPeer *p)
{
	nd_free(p->inflight);
	p->inflight = NULL;
	p->inflight_cap = 0;
}

static void enter(RaftPeer *p, RaftPeerState state)
{
	p->state = state;
	p->paused = false;
	p->check = false;
	p->inflight_first = 0;
	p->inflight_n = 0;
	p->inflight_bytes = 0;
	if (state == PEER_REPLICATE)
		p->next = p->match + 1;
}

static bool inflight_full(const Raft *r, const RaftPeer *p)
{
	return p->inflight_n >= r->cfg.inflight_max ||
		(p->inflight_n > 0 && p->inflight_bytes >= r->cfg.inflight_bytes_max && !MUTANT(RAFT_INFLIGHT_UNBOUNDED));
}

/* Room in the ring for one more. Most groups of many never have much in flight, so the ring begins small. */
static bool inflight_reserve(const Raft *r, RaftPeer *p)
{
	uint32_t	cap = p->inflight_cap > 0 ? 2 * p->inflight_cap : 4;
	RaftInflight *ring;

	if (p->inflight_n < p->inflight_cap)
		return true;
	if (cap > r->cfg.inflight_max)
		cap = r->cfg.inflight_max;
	ring = nd_alloc(cap * sizeof(RaftInflight));
	if (ring == NULL)
		return false;
	for (uint32_t i = 0; i < p->inflight_n; i++)
		ring[i] = p->inflight[(p->inflight_first + i) % p->inflight_cap];
	nd_free(p->inflight);
	p->inflight = ring;
	p->inflight_cap = cap;
	p->inflight_first = 0;
	return true;
}

static void note_inflight(RaftPeer *p, RaftInflight sent)
{
	p->inflight[(p->inflight_first + p->inflight_n) % p->inflight_cap] = sent;
	p->inflight_n++;
	p->inflight_bytes += sent.bytes;
	p->next = sent.last + 1;
}

static void inflight_free_to(RaftPeer *p, uint64_t index)
{
	while (p->inflight_n > 0 && p->inflight[p->inflight_first].last <= index)
	{
		p->inflight_bytes -= p->inflight[p->inflight_first].bytes;
		p->inflight_first = (p->inflight_first + 1) % p->inflight_cap;
		p->inflight_n--;
	}
}

/* ---- sending ---- */

static void free_entries(RaftEntry *entries, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		nd_blob_unref(entries[i].payload);
	nd_free(entries);
}

static uint32_t payload_bytes(const RaftEntry *e)
{
	return e->payload == NULL ? 0 : e->payload->len;
}

/* Entries from `lo` on for one APPEND: first what the driver has, then what it was not given yet. */
static bool gather(Raft *r, uint64_t lo, RaftEntry **out, uint32_t *n_out, uint64_t *bytes_out)
{
	uint64_t	handed = raft__handed(&r->log);
	uint32_t	cap = (uint32_t) raft__min(r->log.last + 1 - lo, RAFT_APPEND_ENTRIES_MAX);
	uint64_t	bytes = 0;
	uint32_t	n = 0;
	RaftEntry  *entries = nd_alloc(cap * sizeof(RaftEntry));

	if (entries == NULL)
	{
		r->send_retry = true;
		return false;
	}
	if (lo <= handed)
	{
		NdStatus	status = r->reader.entries(r->reader.ctx, lo, raft__min(handed, lo + cap - 1) + 1,
											   MUTANT(RAFT_APPEND_UNBOUNDED) ? UINT64_MAX : r->cfg.append_bytes_max,
											   entries, cap, &n);

		if (status != ND_OK)
		{
			nd_free(entries);
			if (status == ND_NOMEM || status == ND_BUSY)
				r->send_retry = true;
			else
				raft__freeze(r, "the log could not be read");
			return false;
		}
		for (uint32_t i = 0; i < n; i++)
		{
			bytes += payload_bytes(&entries[i]);
			if (entries[i].index != lo + i || entries[i].term != raft__term(&r->log, lo + i))
			{
				raft__freeze(r, "the log returned another entry than was appended");
				free_entries(entries, n);
				return false;
			}
		}
		if (n == 0)
		{
			nd_free(entries);
			raft__freeze(r, "the log returned no entry");
			return false;
		}
	}
	while (n < cap && lo + n > handed)
	{
		const RaftEntry *e = &r->log.pending[lo + n - handed - 1];

		if (n > 0 && bytes + payload_bytes(e) > r->cfg.append_bytes_max)
			break;
		bytes += payload_bytes(e);
		entries[n] = *e;
		nd_blob_ref(e->payload);
		n++;
	}
	*out = entries;
	*n_out = n;
	*bytes_out = bytes;
	return true;
}

/* One APPEND behind `prev`, with entries or none. */
static bool send_append(Raft *r, RaftPeer *p, uint64_t prev, bool with_entries)
{
	RaftMessage m = raft__message(r, RAFT_MSG_APPEND, p->node);
	uint64_t	bytes = 0;

	m.index = prev;
	m.log_term = raft__term(&r->log, prev);
	m.commit = r->commit;
	if (with_entries)
	{
		if (!inflight_reserve(r, p))
		{
			r->send_retry = true;
			return false;
		}
		if (!gather(r, prev + 1, &m.entries, &m.n_entries, &bytes))
			return false;
	}
	if (!raft__send(r, &m))
	{
		r->send_retry = true;
		return false;
	}
	p->told_commit = raft__min(r->commit, prev + m.n_entries);
	if (p->state == PEER_PROBE)
	{
		p->paused = true;
		p->probe = (RaftInflight) {prev + m.n_entries, bytes};
	}
	else if (m.n_entries > 0)
		note_inflight(p, (RaftInflight) {prev + m.n_entries, bytes});
	return true;
}

/* The entries that the peer needs are gone: announce a snapshot, one per update, and to peers that can hear it. */
static void send_snapshot(Raft *r, RaftPeer *p)
{
	RaftMessage m = raft__message(r, RAFT_MSG_SNAPSHOT, p->node);

	if (!p->active)
		return;
	if (r->snapshot_needed_index != 0)
	{
		r->send_wanted = true;
		return;
	}
	m.index = r->log.first - 1;
	m.log_term = r->log.prev_term;
	m.commit = r->commit;
	if (!raft__send(r, &m))
	{
		r->send_retry = true;
		return;
	}
	enter(p, PEER_SNAPSHOT);
	r->snapshot_needed_index = r->log.first - 1;
	r->snapshot_peer = p->node;
}

/*
 * Is an APPEND due that only tells of a commit? It costs a message, its answer and three wake-ups, and the next APPEND would say the same: so with
 * frugal only a peer that waits for an entry hears of it at once. The first commit of a term and configurations do not wait either: others act on them.
 */
static bool commit_due(const Raft *r, const RaftPeer *p)
{
	uint64_t	known = raft__min(r->commit, p->match);

	if (known <= p->told_commit || p->match + 1 < r->log.first)
		return false;
	return !r->cfg.frugal || r->tell_commit || p->told_commit < p->wanted_commit || p->told_commit < r->term_start ||
		(p->told_commit < r->config->index && r->config->index <= known);
}

void raft_commit_wanted(Raft *r, NdNodeId peer)
{
	RaftPeer   *p = raft__peer(r, peer);

	if (r->state == RAFT_LEADER && p != NULL)
		raft__commit_wanted(r, p, r->log.last);
}

void raft__commit_wanted(Raft *r, RaftPeer *p, uint64_t index)
{
	p->wanted_commit = raft__max(p->wanted_commit, index);
	r->send_wanted = r->send_wanted || commit_due(r, p);
}

bool raft_commit_untold(const Raft *r)
{
	for (uint32_t i = 0; r->state == RAFT_LEADER && r->frozen == NULL && i < r->n_peers; i++)
		if (r->peers[i].state != PEER_SNAPSHOT && raft__min(r->commit, r->peers[i].match) > r->peers[i].told_commit)
			return true;
	return false;
}

void raft_tell_commit(Raft *r)
{
	if (raft_commit_untold(r))
		r->tell_commit = r->send_wanted = true;
}

/* All that can go to the peers now. */
void raft__replicate(Raft *r)
{
	r->send_wanted = false;
	r->send_retry = false;
	for (uint32_t i = 0; i < r->n_peers && r->frozen == NULL; i++)
	{
		RaftPeer   *p = &r->peers[i];

		if (p->state == PEER_SNAPSHOT || (p->state == PEER_PROBE && p->paused))
			continue;
		if (p->next < r->log.first)
		{
			send_snapshot(r, p);
			continue;
		}
		if (p->state == PEER_PROBE)
		{
			send_append(r, p, p->next - 1, p->next <= r->log.last);
			continue;
		}
		while (p->next <= r->log.last && !inflight_full(r, p))
		{
			p->check = false;
			if (!send_append(r, p, p->next - 1, true))
				break;
		}
		if (r->frozen == NULL && p->check && send_append(r, p, p->next - 1, false))
			p->check = false;
		if (r->frozen == NULL && commit_due(r, p))
			send_append(r, p, p->match, false);
	}
	r->tell_commit = false;
}

/* ---- commit ---- */

void raft__clear_batches(Raft *r)
{
	r->n_batches = 0;
	r->uncommitted_bytes = 0;
}

void raft__advance_commit(Raft *r, uint64_t commit)
{
	uint32_t	done = 0;

	if (commit <= r->commit)
		return;
	r->commit = commit;
	for (; done < r->n_batches && r->batches[done].last <= commit; done++)
		r->uncommitted_bytes -= r->batches[done].bytes;
	if (done > 0)
	{
		memmove(r->batches, r->batches + done, (r->n_batches - done) * sizeof(RaftBatch));
		r->n_batches -= done;
	}
}

static uint64_t get_match(const RaftPeer *p)
{
	return p->match;
}

/* Commit what a quorum has durably. */
void raft__count(Raft *r)
{
	uint64_t	own = MUTANT(RAFT_COUNT_OWN_UNDURABLE) ? r->log.last : r->log.durable;
	uint64_t	index;

	if (r->state != RAFT_LEADER)
		return;
	index = raft__quorum_value(r, own, get_match);
	if (index <= r->commit || (raft__term(&r->log, index) != r->term && !MUTANT(RAFT_COUNT_OLD_TERMS)))
		return;
	raft__advance_commit(r, index);
	r->send_wanted = true;
	raft__configuration_committed(r);
}

/* ---- leading ---- */

bool raft__become_leader(Raft *r)
{
	if (!MUTANT(RAFT_NO_NOOP) && !raft__log_reserve(&r->log, 1, 1))
		return false;
	r->state = RAFT_LEADER;
	r->leader = r->cfg.self;
	r->election_elapsed = 0;
	r->heartbeat_elapsed = 0;
	r->confirmed_round = r->round;
	r->send_wanted = true;
	for (uint32_t i = 0; i < r->n_peers; i++)
		raft__peer_start(r, &r->peers[i]);
	r->term_start = r->log.last + 1;
	if (!MUTANT(RAFT_NO_NOOP))
		raft__log_append(&r->log, r->term, RAFT_ENTRY_NOOP, NULL);
	return true;
}

NdStatus raft_propose(Raft *r, NdBlob *const *payloads, uint32_t n, uint64_t *first_index, uint64_t *term)
{
	uint64_t	bytes = 0;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken || n == 0)
		return ND_INVALID;
	if (r->state != RAFT_LEADER)
		return ND_NOTLEADER;
	for (uint32_t i = 0; i < n; i++)
		bytes += payloads[i] == NULL ? 0 : payloads[i]->len;
	if (r->transferee != 0 || (r->uncommitted_bytes > 0 && r->uncommitted_bytes + bytes > r->cfg.uncommitted_bytes_max &&
							   !MUTANT(RAFT_UNCOMMITTED_UNBOUNDED)))
		return ND_BUSY;
	if (!raft__log_reserve(&r->log, n, 1) ||
		!raft__reserve((void **) &r->batches, &r->cap_batches, (uint64_t) r->n_batches + 1, sizeof(RaftBatch)))
		return ND_NOMEM;
	*first_index = r->log.last + 1;
	*term = r->term;
	for (uint32_t i = 0; i < n; i++)
		raft__log_append(&r->log, r->term, RAFT_ENTRY_DATA, payloads[i]);
	if (bytes > 0)
	{
		r->batches[r->n_batches++] = (RaftBatch) {r->log.last, bytes};
		r->uncommitted_bytes += bytes;
	}
	r->send_wanted = true;
	return ND_OK;
}

/* ---- leader transfer (thesis, 3.10) ---- */

static void hand_over_if_ready(Raft *r)
{
	const RaftPeer *p = r->transferee == 0 ? NULL : raft__peer(r, r->transferee);

	if (p != NULL && p->match == r->log.last)
	{
		RaftMessage m = raft__message(r, RAFT_MSG_TIMEOUT_NOW, p->node);

		raft__send(r, &m);
	}
}

NdStatus raft_transfer(Raft *r, NdNodeId to)
{
	const RaftPeer *p;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	if (r->state != RAFT_LEADER)
		return ND_NOTLEADER;
	if (to == r->cfg.self)
		return r->self_new ? ND_OK : ND_NOTFOUND;
	p = raft__peer(r, to);
	if (p == NULL || !p->in_new)
		return ND_NOTFOUND;
	r->transferee = to;
	r->transfer_elapsed = 0;
	r->send_wanted = true;
	hand_over_if_ready(r);
	return ND_OK;
}

/* ---- answers of peers; the caller has seen that their term is ours and that we lead ---- */

static void progressed(Raft *r, RaftPeer *p, uint64_t index)
{
	p->match = raft__max(p->match, index);
	p->next = raft__max(p->next, p->match + 1);
	inflight_free_to(p, p->match);
	r->send_wanted = true;
	raft__count(r);
	if (r->state == RAFT_LEADER && p->node == r->transferee)
		hand_over_if_ready(r);
}

static void rejected(Raft *r, RaftPeer *p, const RaftMessage *m)
{
	uint64_t	next;

	if (p->state == PEER_SNAPSHOT || m->index <= p->match || (p->state == PEER_PROBE && m->index != p->next - 1))
		return;					/* the answer to an older question */
	next = raft__find_by_term(&r->log, raft__min(m->hint_index, m->index - 1), m->hint_term) + 1;
	enter(p, PEER_PROBE);
	p->next = raft__max(next, p->match + 1);
	r->send_wanted = true;
}

void raft__handle_append_reply(Raft *r, RaftPeer *p, const RaftMessage *m)
{
	if (m->reject)
	{
		rejected(r, p, m);
		return;
	}
	if (m->index > r->log.last || m->index < p->match)
		return;
	if (p->state == PEER_PROBE || (p->state == PEER_SNAPSHOT && m->index + 1 >= r->log.first))
	{
		/* The probe matched. Its entries are on their way to the disk there: go on behind them, do not send them again. */
		bool		accepted = p->state == PEER_PROBE && p->paused && m->index + 1 >= p->next && p->probe.last > m->index;

		p->match = m->index;
		enter(p, PEER_REPLICATE);
		if (accepted && p->inflight != NULL)
			note_inflight(p, p->probe);
	}
	progressed(r, p, m->index);
}

void raft__handle_heartbeat_reply(Raft *r, RaftPeer *p, const RaftMessage *m)
{
	if (m->context <= r->round)
		p->acked_round = raft__max(p->acked_round, m->context);
	p->paused = false;
	p->check = p->state == PEER_REPLICATE && p->match < r->log.last;
	if (p->check || p->state == PEER_PROBE)
		r->send_wanted = true;
	if (r->transferee == p->node)
		hand_over_if_ready(r);	/* the first TIMEOUT_NOW may be lost */
	raft__confirm_reads(r);
}

/*
 * The peer installed a snapshot up to m->index: committed entries, so they match, whoever sent it and whatever we thought: the driver may have told us
 * before, or another leader began it. It was acknowledged in this term: the peer's log ends there.
 */
void raft__handle_snapshot_reply(Raft *r, RaftPeer *p, const RaftMessage *m)
{
	if (m->reject || m->index > r->log.last || m->index < p->match)
		return;
	if (p->state != PEER_REPLICATE)
	{
		p->match = m->index;
		enter(p, PEER_REPLICATE);
	}
	progressed(r, p, m->index);
}

NdStatus raft_peer_unreachable(Raft *r, NdNodeId peer)
{
	RaftPeer   *p;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	if (r->state == RAFT_FOLLOWER && r->leader == peer)
		r->leader_lost = true;
	p = raft__peer(r, peer);
	if (r->state != RAFT_LEADER || p == NULL || p->state != PEER_REPLICATE)
		return ND_OK;
	enter(p, PEER_PROBE);		/* what is in flight may be lost */
	p->next = p->match + 1;
	p->paused = true;			/* until a heartbeat gets through */
	return ND_OK;
}

NdStatus raft_snapshot_sent(Raft *r, NdNodeId peer, uint64_t index)
{
	RaftPeer   *p;

	if (r->frozen != NULL)
		return ND_FROZEN;
	if (r->taken)
		return ND_INVALID;
	p = raft__peer(r, peer);
	if (r->state != RAFT_LEADER || p == NULL || p->state != PEER_SNAPSHOT)
		return ND_OK;
	enter(p, PEER_PROBE);
	p->next = raft__max(p->match, raft__min(index, r->log.last)) + 1;
	p->paused = true;			/* its own word for it is on its way, and a failure is not tried again at once */
	return ND_OK;
}
