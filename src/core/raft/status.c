/*
 * status.c: questions about a group, and raft_check(): every invariant that can be seen from inside. Nothing here changes anything.
 */
#include "raft_internal.h"

#include <string.h>

void raft_status(const Raft *r, RaftStatus *out)
{
	memset(out, 0, offsetof(RaftStatus, peers));
	out->state = r->state;
	out->term = r->term;
	out->vote = r->vote;
	out->leader = r->leader;
	out->first_index = r->log.first;
	out->last_index = r->log.last;
	out->durable_index = r->log.durable;
	out->commit = r->commit;
	out->uncommitted_bytes = r->uncommitted_bytes;
	out->term_committed = r->state == RAFT_LEADER && r->commit >= r->term_start;
	if (r->state != RAFT_LEADER)
		return;
	out->n_peers = r->n_peers;
	for (uint32_t i = 0; i < r->n_peers; i++)
	{
		const RaftPeer *p = &r->peers[i];

		out->peers[i] = (RaftPeerStatus) {p->node, p->match, p->next, p->active, p->state == PEER_SNAPSHOT};
	}
}

NdNodeId raft_leader(const Raft *r)
{
	return r->leader;
}

bool raft_is_leader(const Raft *r)
{
	return r->state == RAFT_LEADER;
}

uint64_t raft_term_of(const Raft *r, uint64_t index)
{
	return raft__term(&r->log, index);
}

const RaftConfiguration *raft_configuration(const Raft *r)
{
	return r->config;
}

const char *raft_frozen_reason(const Raft *r)
{
	return r->frozen;
}

/* ---- raft_check ---- */

static const char *check_log(const RaftMemLog *l, uint64_t term)
{
	uint64_t	last_term = l->prev_term;
	uint64_t	handed = raft__handed(l);

	if (l->first == 0 || l->last + 1 < l->first || l->n_pending > l->last + 1 - l->first)
		return "the log's bounds contradict each other";
	if (l->durable > handed || l->durable + 1 < l->first)
		return "durable lies outside of what was handed over";
	if ((l->n_runs == 0) != (l->last < l->first) || (l->n_runs > 0 && l->runs[0].first_index != l->first))
		return "the runs of terms do not begin with the log";
	for (uint32_t i = 0; i < l->n_runs; i++)
	{
		if (l->runs[i].first_index > l->last || (i > 0 && l->runs[i].first_index <= l->runs[i - 1].first_index))
			return "the runs of terms are out of order";
		if (l->runs[i].term < last_term || (i > 0 && l->runs[i].term == last_term))
			return "terms fall within the log";
		last_term = l->runs[i].term;
	}
	if (last_term > term)
		return "the log holds an entry of a later term";
	for (uint32_t i = 0; i < l->n_pending; i++)
		if (l->pending[i].index != handed + 1 + i || l->pending[i].term != raft__term(l, handed + 1 + i))
			return "the entries to hand over do not fit the log";
	return NULL;
}

static const char *check_peers(const Raft *r)
{
	uint32_t	voters = r->self_voter;

	for (uint32_t i = 0; i < r->n_peers; i++)
	{
		const RaftPeer *p = &r->peers[i];
		const RaftMember *m = raft_configuration_find(r->config, p->node);
		uint64_t	bytes = 0;

		voters += p->voter;
		if (m == NULL || p->in_new != (m->role == RAFT_VOTER) || p->in_old != m->in_old || p->voter != (p->in_new || p->in_old) || p->node == r->cfg.self)
			return "a peer does not fit the configuration";
		if (r->state != RAFT_LEADER)
			continue;
		if (p->match >= p->next || p->next > r->log.last + 1)
			return "a peer's progress lies outside of the log";
		if (p->node == r->transferee && !p->in_new)
			return "a transfer to a replica that is no voter";
		if (p->acked_round > r->round)
			return "a peer answered a round that never began";
		if (p->inflight_n > r->cfg.inflight_max)
			return "too much is in flight";
		for (uint32_t k = 0; k < p->inflight_n; k++)
			bytes += p->inflight[(p->inflight_first + k) % p->inflight_cap].bytes;
		if (bytes != p->inflight_bytes)
			return "the bytes in flight do not add up";
		/* the newest message left while there was room */
		if (p->inflight_n > 1 &&
			bytes - p->inflight[(p->inflight_first + p->inflight_n - 1) % p->inflight_cap].bytes >= r->cfg.inflight_bytes_max)
			return "more bytes are in flight than may be";
	}
	return voters == r->n_voters ? NULL : "the voters do not add up";
}

static const char *check_leader(const Raft *r)
{
	uint64_t	bytes = 0;

	if (r->n_batches > 1 && r->uncommitted_bytes > r->cfg.uncommitted_bytes_max)
		return "more bytes are uncommitted than may be";
	if (r->vote != r->cfg.self || r->leader != r->cfg.self || raft__hard_pending(r) || r->hard_durable_seq < r->hard_dep_seq)
		return "a leader without a durable vote for itself";
	if (raft__term(&r->log, r->term_start) != r->term && r->term_start >= r->log.first)
		return "a leader without an entry of its term";
	if (r->commit < r->term_start && r->config->index >= r->term_start)
		return "a configuration was proposed before an entry of the term was committed";
	/* Of those that it found in its log, the older one is committed, but a restart may have forgotten the commit. */
	if (r->config->index > r->commit && r->config_prev->index > r->commit && r->config->index >= r->term_start)
		return "two configurations are uncommitted";
	for (uint32_t i = 0; i < r->n_batches; i++)
	{
		bytes += r->batches[i].bytes;
		if (r->batches[i].last <= r->commit || r->batches[i].last > r->log.last)
			return "an uncommitted proposal is out of place";
	}
	return bytes == r->uncommitted_bytes ? NULL : "the uncommitted bytes do not add up";
}

static const char *check_reads(const Raft *r)
{
	uint64_t	local = 0;

	for (uint32_t i = 0; i < r->n_reads; i++)
	{
		local += r->reads[i].from == r->cfg.self;
		if (r->reads[i].round > r->round || (i > 0 && r->reads[i].round != 0 && r->reads[i].round < r->reads[i - 1].round) ||
			(i > 0 && r->reads[i].round != 0 && r->reads[i - 1].round == 0))
			return "the rounds of reads are out of order";
		if (r->reads[i].round != 0 && (r->state != RAFT_LEADER || r->commit < r->term_start))
			return "a read has a round on a leader without a commit in its term";
	}
	if (r->n_reads > 0 && r->state != RAFT_LEADER && (r->state != RAFT_FOLLOWER || r->leader == 0))
		return "a read waits for nobody";
	return r->n_answers + local <= r->cap_answers ? NULL : "no room for the answers of reads";
}

const char *raft_check(const Raft *r)
{
	const char *wrong;

	if (r->frozen != NULL)
		return r->frozen;
	wrong = check_log(&r->log, r->term);
	if (wrong != NULL)
		return wrong;
	if (r->commit > r->log.last || r->commit + 1 < r->log.first)
		return "commit lies outside of the log";
	if (r->commit < r->told_commit || r->term < r->told_term || r->term < r->emitted_term)
		return "commit or term fell";
	if (r->term == r->emitted_term && r->emitted_vote != 0 && r->vote != r->emitted_vote)
		return "a second vote in one term";
	if (r->matched > r->log.last || r->acked > raft__min(r->matched, r->log.durable))
		return "more was acknowledged than is matched and durable";
	if (r->config->index > r->log.last || r->config_prev->index > r->config->index)
		return "a configuration outlived its entry";
	if (r->state != RAFT_LEADER && r->transferee != 0)
		return "a transfer without a leader";
	if (r->state == RAFT_CANDIDATE && r->vote != r->cfg.self)
		return "a candidate that did not vote for itself";
	if ((r->state == RAFT_CANDIDATE || r->state == RAFT_PRECANDIDATE) && (r->leader != 0 || !raft__may_campaign(r)))
		return "a candidate that has a leader or no vote";
	if (r->install != RAFT_INSTALL_NONE && r->state != RAFT_FOLLOWER)
		return "a snapshot comes in at a replica that stands for election or leads";
	wrong = check_peers(r);
	if (wrong == NULL && r->state == RAFT_LEADER)
		wrong = check_leader(r);
	return wrong != NULL ? wrong : check_reads(r);
}
