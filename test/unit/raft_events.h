/*
 * raft_events.h: any event that may befall a small cluster of Raft groups, by choices of a generator or of a fuzzer: loss, doubling,
 * reordering, partitions, crashes between any two writes, membership changes, transfers, reads, truncation and snapshots. The harness looks at
 * every invariant after every event; read indexes are compared with what was committed when they were asked; r_heal() mends everything, and
 * all must agree again.
 */
#ifndef RAFT_EVENTS_H
#define RAFT_EVENTS_H

#include "raft_harness.h"

typedef struct Run
{
	Harness		h;
	NdRandom	random;
	NdReader   *choices;		/* not NULL: the choices come from here, and `random` is not asked */
	bool		changes;		/* membership changes, else durable majorities are counted */
	uint32_t	n;
	bool		churn;			/* leaders are cut off and followers stand again and again */
	uint32_t	flushes;		/* percent of the events that have the disk's turn: slow disks have few */
	uint64_t	asked_at[65536];	/* by context: what was committed when the read was asked */
	uint64_t	contexts;
} Run;

/* Where the choices come to an end all that follow are 0: see r->choices->failed. */
H_UNUSED uint32_t below(Run *r, uint32_t n)
{
	if (r->choices != NULL)
		return (n > 256 ? nd_read_u16(r->choices) : nd_read_u8(r->choices)) % n;
	return (uint32_t) nd_random_below(&r->random, n);
}

/* Any set of members of six, now and then a small change: several voters that come and go make a joint configuration. */
H_UNUSED void r_change_configuration(Run *r, NdNodeId id)
{
	RaftConfiguration *c = h_alloc(sizeof(RaftConfiguration));
	const RaftConfiguration *now = raft_configuration(r->h.nodes[id].raft);
	bool		large = below(r, 2) == 0;
	NdNodeId	who = 1 + below(r, 6);
	uint32_t	n_voters = 0;
	uint64_t	index;

	for (NdNodeId node = 1; node <= 6; node++)
	{
		const RaftMember *m = raft_configuration_find(now, node);
		uint32_t	what = m == NULL || m->role == RAFT_LEAVING ? 2 : m->role == RAFT_VOTER ? 0 : 1;

		if (large || node == who)
			what = below(r, 3);
		if (what == 2)
			continue;
		h_member(c, node, what == 0 ? RAFT_VOTER : RAFT_LEARNER);
		n_voters += what == 0;
		if (r->h.nodes[node].raft == NULL && r->h.nodes[node].lives == 0)
			h_start(&r->h, node);
	}
	if (n_voters >= 2)
		raft_propose_configuration(r->h.nodes[id].raft, c, &index);
	h_check(&r->h, id);
	free(c);
}

H_UNUSED void r_look_at_reads(Run *r, NdNodeId id)
{
	HNode	   *node = &r->h.nodes[id];

	for (uint32_t i = 0; i < node->n_reads; i++)
		if (!node->reads[i].lost && node->reads[i].index < r->asked_at[node->reads[i].context])
			h_fail(&r->h, id, "a read index below what was committed when it was asked");
	node->n_reads = 0;
}

H_UNUSED void r_client(Run *r, NdNodeId id)
{
	Harness    *h = &r->h;
	HNode	   *node = &h->nodes[id];
	char		text[64];

	switch (below(r, 8))
	{
		case 0:
		case 1:
		case 2:
		case 3:
			if (node->last < H_LOG - 64 && raft_is_leader(node->raft))
			{
				snprintf(text, sizeof(text), "%u-%u%.*s", id, below(r, 1u << 30), (int) below(r, 40),
						 "........................................");
				h_propose(h, id, text);
			}
			break;
		case 4:
		case 5:
			if (r->contexts < 65535)
			{
				r->asked_at[++r->contexts] = h->max_commit;
				raft_read_index(node->raft, r->contexts);
				h_check(h, id);
			}
			break;
		case 6:
			if (r->changes && raft_is_leader(node->raft))
				r_change_configuration(r, id);
			break;
		default:
			if (raft_is_leader(node->raft) && below(r, 4) == 0)
				raft_transfer(node->raft, 1 + below(r, r->n));
			else if (below(r, 20) == 0)
				raft_campaign(node->raft);
			h_check(h, id);
			break;
	}
}

H_UNUSED void r_event(Run *r)
{
	Harness    *h = &r->h;
	NdNodeId	id = 1 + below(r, r->changes ? 6 : r->n);
	HNode	   *node = &h->nodes[id];
	uint32_t	what = below(r, 100);

	if (node->raft == NULL)
	{
		if (node->lives > 0 && below(r, 8) == 0)
			h_start(h, id);
		return;
	}
	if (what < 40 && h->n_net > 0)
	{
		uint32_t	k = below(r, 3) == 0 ? below(r, h->n_net) : 0;
		RaftMessage m = h->net[k];
		uint32_t	fate = below(r, 100);

		if (fate >= 4)
			h_step(h, &m);
		if (fate < 96)
			h_take(h, k);
	}
	else if (what < 55)
		h_update(h, id);
	else if (what < 68)
	{
		if (below(r, 100) < r->flushes)
			h_flush_one(h, id);
		else if (r->churn && below(r, 10) == 0)
		{
			if (raft_is_leader(node->raft))
				h_isolate(h, id, true);
			raft_campaign(node->raft);
			h_check(h, id);
		}
	}
	else if (what < 78)
		h_tick(h, id, 1);
	else if (what < 92)
		r_client(r, id);
	else if (what == 92 && below(r, 6) == 0)
		h_crash(h, id);
	else if (what == 93 && below(r, 4) == 0)
		h_cut(h, id, 1 + below(r, 6), true);
	else if (what == 94)
	{
		if (below(r, 2) == 0)
			memset(h->cut, 0, sizeof(h->cut));
		else if (below(r, 4) == 0)
			h_isolate(h, id, true);
	}
	else if (what == 95 && below(r, 4) == 0)
		h_compact(h, id, node->commit > 3 ? node->commit - below(r, 3) : 1);
	else if (what == 96 && raft_is_leader(node->raft))
		h_snapshot(h, id);
	else if (what == 97)
		raft_peer_unreachable(node->raft, 1 + below(r, r->n));
	while (h->n_net > 200)
		h_take(h, 0);
	r_look_at_reads(r, id);
}

H_UNUSED void r_heal(Run *r)
{
	Harness    *h = &r->h;
	NdNodeId	leader;
	uint64_t	last;

	memset(h->cut, 0, sizeof(h->cut));
	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		h->nodes[id].autoflush = true;
		if (h->nodes[id].raft == NULL && h->nodes[id].lives > 0)
			h_start(h, id);
	}
	for (int i = 0; i < 30 && h->error[0] == '\0'; i++)
	{
		h_run(h, 10);
		for (NdNodeId id = 1; id < H_NODES; id++)
			for (int k = 1; k < H_NODES && h->nodes[id].raft != NULL; k++)
				if (h->nodes[id].snapshot_needed[k])
					h_snapshot(h, id);
	}
	if (h->error[0] != '\0')
		return;
	leader = h_leader(h);
	if (leader == 0)
	{
		h_fail(h, 0, "no leader after healing");
		return;
	}
	if (h_propose(h, leader, "last") != ND_OK)
		h_fail(h, leader, "no proposal after healing");
	h_run(h, 3);
	last = h->nodes[leader].last;
	for (uint32_t i = 0; i < raft_configuration(h->nodes[leader].raft)->n; i++)
	{
		NdNodeId	id = raft_configuration(h->nodes[leader].raft)->members[i].node;

		if (h->error[0] == '\0' && (h->nodes[id].commit != last || h->nodes[id].disk_last != last))
			h_fail(h, id, "behind after healing");
	}
}

/* Sizes, limits and temper of a run. */
H_UNUSED void r_init(Run *r, uint64_t seed)
{
	static const uint32_t sizes[] = {1, 2, 3, 3, 3, 4, 5, 5};

	h_init(&r->h);
	r->h.config.seed = seed + 1;
	r->h.config.append_bytes_max = 20 + below(r, 200);
	r->h.config.inflight_max = 1 + below(r, 6);
	r->h.config.inflight_bytes_max = 20 + below(r, 400);
	r->h.config.uncommitted_bytes_max = 200 + below(r, 1000);
	r->h.config.election_ticks = 3 + below(r, 8);
	r->churn = below(r, 2) == 0;
	r->h.hard_last = below(r, 2) == 0;
	r->flushes = 20 + below(r, 81);
	r->changes = below(r, 2) == 0;
	r->n = sizes[below(r, 8)];
	r->h.majority = r->changes ? 0 : r->n / 2 + 1;
	h_cluster(&r->h, r->n);
	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		r->h.nodes[id].autoflush = false;
		if (r->h.majority != 0 && id > r->n)
			r->h.nodes[id].first = H_LOG;	/* not there: its disk counts for nothing */
	}
	if (r->h.majority != 0)
		for (NdNodeId id = r->n + 1; id < H_NODES; id++)
			r->h.majority++;	/* h_disks_with() takes an absent disk for one that truncated everything */
}

#endif
