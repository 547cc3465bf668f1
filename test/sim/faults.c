/*
 * faults.c: the nemesis: crashes, pauses, partitions, broken streams, failing disks, membership changes and leader transfers.
 *
 * Invariants:
 * 1. What is lost for good is a minority of every group's voters: a disk is only given up while no membership change is under way.
 * 2. A member is only removed when the voters that remain still have a live majority.
 * 3. Nothing is broken once the run heals; membership changes that were begun are still asked for until they are done.
 */
#include "sim.h"

#include "../../src/core/wire/wire.h"

#include <stdio.h>
#include <string.h>

#define MEMBERS_MAX 7

typedef enum Fault
{
	FAULT_CRASH,
	FAULT_PARTITION,
	FAULT_PAUSE,
	FAULT_BREAK,
	FAULT_FSYNC,
	FAULT_MEMBERSHIP,
	FAULT_TRANSFER,
	FAULT_ALL_CRASH,
	FAULT_LATE,
	FAULT_ROT,
	FAULT_FULL,
	FAULT_READ,
	FAULT_CLOCK,
	FAULT_GROW,
	FAULT_KINDS
} Fault;

static uint64_t mean_of(const Sim *s, Fault f)
{
	const uint64_t every[FAULT_KINDS] = {
		[FAULT_CRASH] = s->o.crash_every,
		[FAULT_PARTITION] = s->o.partition_every,
		[FAULT_PAUSE] = s->o.pause_every,
		[FAULT_BREAK] = s->o.break_every,
		[FAULT_FSYNC] = s->o.fsync_error_every,
		[FAULT_MEMBERSHIP] = s->o.membership_every,
		[FAULT_TRANSFER] = s->o.transfer_every,
		[FAULT_ALL_CRASH] = s->o.all_crash_every,
		[FAULT_LATE] = s->o.late_every,
		[FAULT_ROT] = s->o.rot_every,
		[FAULT_FULL] = s->o.full_every,
		[FAULT_READ] = s->o.read_error_every,
		[FAULT_CLOCK] = s->o.clock_every,
		[FAULT_GROW] = s->o.grow_every,
	};

	return every[f];
}

static uint64_t below(Sim *s, uint64_t n)
{
	return nd_random_below(&s->fault_rng, n);
}

void faults_init(Sim *s)
{
	for (Fault f = 0; f < FAULT_KINDS; f++)
		if (mean_of(s, f))
			sim_post(s, sim_spread(&s->fault_rng, mean_of(s, f)), EV_FAULT, 0, f, 0);
}

static Host *any_up(Sim *s)
{
	NdNodeId	up[SIM_NODES_MAX];
	uint32_t	n = 0;

	for (NdNodeId id = 1; id < s->next_id; id++)
		if (s->hosts[id].up)
			up[n++] = id;
	return n ? &s->hosts[up[below(s, n)]] : NULL;
}

/* Often the victim is a leader: that is where it hurts. */
static Host *victim(Sim *s)
{
	NdGroupId	group = (NdGroupId) below(s, sim_places(s));

	if (below(s, 2))
		for (NdNodeId id = 1; id < s->next_id; id++)
			if (s->hosts[id].up && host_leads(&s->hosts[id], group))
				return &s->hosts[id];
	return any_up(s);
}

/* ---- membership ---- */

static bool is_member(const RaftConfiguration *c, NdNodeId node)
{
	return raft_configuration_find(c, node) != NULL;
}

bool faults_stable(const Sim *s)
{
	const RaftConfiguration *goal = &s->ledgers[0].configuration;

	if (goal->n == 0)
		return false;
	for (NdNodeId id = 1; id < s->next_id; id++)
		if (is_member(goal, id) == s->hosts[id].leaving)
			return false;
	for (uint32_t g = 0; g < sim_places(s); g++)
	{
		const RaftConfiguration *c = &s->ledgers[g].configuration;

		if (!sim_made(s, g))
			continue;
		if (c->n != goal->n)
			return false;
		for (uint32_t i = 0; i < c->n; i++)
			if (c->members[i].node != goal->members[i].node || c->members[i].role != RAFT_VOTER)
				return false;
	}
	return true;
}

/* Injured disks are lost ones that may not know it yet. */
static bool lost(const Host *h)
{
	return h->dead || h->n_injuries > 0;
}

static uint32_t dead_members(const Sim *s)
{
	const RaftConfiguration *c = &s->ledgers[0].configuration;
	uint32_t	n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		n += lost(&s->hosts[c->members[i].node]);
	return n;
}

/* May one more disk be lost for good? */
static bool may_lose(const Sim *s, const Host *h)
{
	return lost(h) || (faults_stable(s) && 2 * (dead_members(s) + 1) < s->ledgers[0].configuration.n);
}

static void change_member(Sim *s, uint32_t *members, uint32_t *leaving, uint32_t *leaving_lost)
{
	const RaftConfiguration *c = &s->ledgers[0].configuration;
	uint32_t	dead = dead_members(s) - *leaving_lost;
	uint32_t	staying = c->n - *leaving;
	NdNodeId	id;

	if ((!s->o.truncate || s->o.snapshots) && *members < MEMBERS_MAX && (staying == 1 || below(s, 2)))
	{
		id = host_new(s);
		*members += id != 0;
		if (id)
			sim_post(s, sim_spread(&s->fault_rng, 20 * SIM_MS), EV_START, id, 0, 0);
		return;
	}
	id = c->members[below(s, c->n)].node;
	/* The dead leave first: they are the reason to change members at all. */
	for (uint32_t i = 0; dead > 0 && i < c->n; i++)
		if (lost(&s->hosts[c->members[i].node]) && !s->hosts[c->members[i].node].leaving)
			id = c->members[i].node;
	if (s->hosts[id].leaving)
		return;
	if (lost(&s->hosts[id]))
		dead--;
	if (staying > 1 && 2 * (staying - 1 - dead) > staying - 1)
	{
		s->hosts[id].leaving = true;
		++*leaving;
		*leaving_lost += lost(&s->hosts[id]);
	}
}

static void begin_membership_change(Sim *s)
{
	/* With churn several come and go at once, so that groups change several voters in one step. */
	uint32_t	n = s->o.churn ? 1 + (uint32_t) below(s, 4) : 1;
	uint32_t	members = s->ledgers[0].configuration.n;
	uint32_t	leaving = 0;
	uint32_t	leaving_lost = 0;

	if (!faults_stable(s))
		return;
	while (n-- > 0)
		change_member(s, &members, &leaving, &leaving_lost);
}

static void member_of(NdNodeId id, NodeMember *m)
{
	memset(m, 0, sizeof *m);
	m->node = id;
	m->role = RAFT_VOTER;
	snprintf(m->name, sizeof m->name, "node%u", id);
	snprintf(m->address, sizeof m->address, "sim:%u", id);
}

/* The operator asks again until it is done. */
static void ask(Sim *s, Host *leader, NdNodeId id)
{
	Host	   *h = &s->hosts[id];
	bool		member = is_member(&s->ledgers[0].configuration, id);
	NodeMember	m;

	if (!h->leaving && !member && !h->dead)
	{
		member_of(id, &m);
		sim_trace(s, T_ADD, id, leader->id, node_add_member(leader->node, &m), 0, 0, 0);
		host_kick(leader);
	}
	else if (h->leaving && member)
	{
		sim_trace(s, T_REMOVE, id, leader->id, node_remove_member(leader->node, id), 0, 0, 0);
		host_kick(leader);
	}
}

bool faults_grown(const Sim *s)
{
	/* whoever is lost for good and still a member cannot say that it has room */
	return s->wanted_groups <= s->reached_groups || dead_members(s) > 0;
}

/* Likewise, of any node. */
static void ask_for_groups(Sim *s)
{
	NodeGrowth	growth = {.n_data_groups = s->wanted_groups};
	Host	   *h;

	if (s->wanted_groups <= s->reached_groups || (h = any_up(s)) == NULL || h->paused_until > s->now)
		return;
	sim_trace(s, T_GROW, h->id, s->wanted_groups, node_add_groups(h->node, &growth), growth.sent, 0, 0);
	host_kick(h);
}

void membership_event(Sim *s)
{
	ask_for_groups(s);
	for (NdNodeId at = 1; at < s->next_id; at++)
	{
		Host	   *leader = &s->hosts[at];

		if (!leader->up || leader->paused_until > s->now || !raft_is_leader(node_raft(leader->node, ND_GROUP_META)))
			continue;
		for (NdNodeId id = 1; id < s->next_id; id++)
			ask(s, leader, id);
	}
	/* A server that has left is switched off, some time. */
	if (faults_stable(s))
		for (NdNodeId id = 1; id < s->next_id; id++)
			if (s->hosts[id].leaving && !s->hosts[id].dead && below(s, 10) == 0)
				host_lose(&s->hosts[id]);
	sim_post(s, sim_spread(&s->fault_rng, 25 * SIM_MS), EV_MEMBERSHIP, 0, 0, 0);
}

/* ---- the others ---- */

static void crash(Sim *s, Host *h)
{
	/* Now and then the disk is gone as well; else the server comes back, at once or late. */
	if (may_lose(s, h) && below(s, 8) == 0)
	{
		host_lose(h);
		return;
	}
	host_crash(h, below(s, 2));
	sim_post(s, sim_spread(&s->fault_rng, below(s, 3) ? 30 * SIM_MS : 700 * SIM_MS), EV_START, h->id, 0, 0);
}

static void block(Sim *s, NdNodeId from, NdNodeId to, uint64_t until)
{
	if (from == to || s->blocked[from][to])
		return;
	s->blocked[from][to] = true;
	sim_trace(s, T_BLOCK, 0, from, to, 0, 0, 0);
	sim_post(s, until - s->now, EV_UNBLOCK, 0, from, to);
}

static bool votes_in(const RaftConfiguration *c, NdNodeId node)
{
	const RaftMember *m = raft_configuration_find(c, node);

	return m != NULL && m->role == RAFT_VOTER;
}

/* The worst moment: those who come and those who go lose sight of each other while only the leader knows of the change. */
void faults_configuration(Sim *s, Host *leader, NdGroupId group)
{
	const RaftConfiguration *c = raft_configuration(host_raft(leader, group));
	const RaftConfiguration *old = &s->ledgers[group].configuration;
	bool		side[SIM_NODES_MAX] = {false};
	bool		noticed;
	uint64_t	until;

	if (!s->o.churn || !(s->phase == PHASE_CHAOS || (s->phase == PHASE_FOUND && s->o.faults_from_start)) || below(s, 1 + sim_places(s) / 2))
		return;
	noticed = below(s, 2);
	until = s->now + sim_spread(&s->fault_rng, 500 * SIM_MS);
	for (NdNodeId id = 1; id < s->next_id; id++)
		side[id] = id == leader->id || (votes_in(c, id) && (!votes_in(old, id) || below(s, 3) == 0));
	for (NdNodeId a = 1; a < s->next_id; a++)
		for (NdNodeId b = 1; b < s->next_id; b++)
			if (side[a] != side[b])
			{
				block(s, a, b, until);
				if (noticed && a < b)
					net_break(s, a, b);
			}
}

static void partition(Sim *s)
{
	uint64_t	until = s->now + sim_spread(&s->fault_rng, 400 * SIM_MS);
	uint64_t	side = nd_random_next(&s->fault_rng);
	bool		one_way = below(s, 3) == 0;
	bool		noticed = below(s, 2);
	Host	   *alone = below(s, 2) ? victim(s) : NULL;

	for (NdNodeId a = 1; a < s->next_id; a++)
		for (NdNodeId b = 1; b < s->next_id; b++)
		{
			bool		side_a = alone ? a == alone->id : side >> a & 1;
			bool		side_b = alone ? b == alone->id : side >> b & 1;

			if (side_a == side_b || (one_way && !side_a))
				continue;
			block(s, a, b, until);
			if (noticed)
				net_break(s, a, b);
		}
}

static void pause_host(Sim *s, Host *h)
{
	if (h->paused_until > s->now)
		return;
	h->paused_until = s->now + sim_spread(&s->fault_rng, 300 * SIM_MS);
	sim_trace(s, T_PAUSE, h->id, h->paused_until, 0, 0, 0, 0);
}

static void stop_clock(Sim *s, Host *h)
{
	if (h->clock_stands_until > s->now)
		return;
	h->clock_stands_until = s->now + sim_spread(&s->fault_rng, 1 * SIM_S);
	sim_trace(s, T_CLOCK, h->id, h->clock_stands_until, 0, 0, 0, 0);
	/* Some clocks do not make up for what they missed: then it was only slow. */
	h->ticks_missed = 0;
}

static void transfer(Sim *s)
{
	NdGroupId	group = (NdGroupId) below(s, sim_places(s));
	const RaftConfiguration *c = &s->ledgers[group].configuration;
	NdNodeId	to;

	if (c->n == 0)
		return;
	to = c->members[below(s, c->n)].node;
	for (NdNodeId id = 1; id < s->next_id; id++)
	{
		Host	   *h = &s->hosts[id];

		if (!h->up || h->paused_until > s->now || !host_leads(h, group))
			continue;
		sim_trace(s, T_TRANSFER, id, group, to, node_transfer(h->node, sim_id(s, group), to), 0, 0);
		host_kick(h);
	}
}

/* No log that was looked at holds it, yet. */
bool faults_unseen(Sim *s, const LateProposal *late)
{
	EntryHeader e;
	SeqEntry	request;
	TxnRecord  *t;

	if (late->entry == NULL)
		return false;
	if (late->group == ND_GROUP_SEQUENCER)
	{
		if (seq_decode(late->entry->data, late->entry->len, &request) != ND_OK || request.kind != SEQ_REQUEST)
			return false;
		e = (EntryHeader) {.kind = ENTRY_MARKER, .txn = request.txn};
	}
	else if (entry_decode(late->entry->data, late->entry->len, &e) != ND_OK)
		return false;
	t = check_txn(s, sim_place(s, late->group), e.txn, e.kind, e.flags, false);
	return t != NULL && t->seen_index == 0;
}

/*
 * A proposal that left its node long ago, perhaps in an earlier life, arrives at a leader again: failure scenario D4. Its request number is one
 * that no node gives out, so that the answer concerns nobody.
 */
static void late_proposal(Sim *s)
{
	LateProposal *late = &s->late[below(s, SIM_LATE_KEEP)];
	bool		any = below(s, 2);
	NdBuf		frame;

	/* Often one that no log holds yet: it may be the first copy of all, behind its own tombstone or its node's next incarnation. */
	for (uint32_t i = 0; i < SIM_LATE_KEEP && !any && !faults_unseen(s, late); i++)
		late = &s->late[((uint64_t) (late - s->late) + 1) % SIM_LATE_KEEP];
	if (late->entry == NULL)
		return;
	nd_buf_init(&frame);
	wire_put_proposal(&frame, &(WireProposal) {late->group, UINT64_MAX, late->entry->data, late->entry->len});
	for (NdNodeId id = 1; id < s->next_id; id++)
		if (id != late->from && s->hosts[id].up && host_leads(&s->hosts[id], sim_place(s, late->group)) &&
			net_inject(s, late->from, id, frame.data, frame.len))
			sim_trace(s, T_LATE, 0, late->from, id, late->group, nd_checksum(late->entry->data, late->entry->len, 0), 0);
	nd_buf_free(&frame);
}

static void fsync_error(Sim *s, Host *h)
{
	uint32_t	after = (uint32_t) below(s, 3);

	if (h->disk_armed)
		return;
	h->flushes_since_failure = 0;
	h->sync_fails_at = memvfs_count(h->disk, MEMVFS_SYNC) + after;
	h->disk_armed = true;
	memvfs_fail(h->disk, MEMVFS_SYNC, after, 1, ND_IO);
	sim_trace(s, T_FSYNC_ERROR, h->id, 0, 0, 0, 0, 0);
}

void fault_event(Sim *s, uint64_t which)
{
	Host	   *h;

	if (s->phase >= PHASE_HEAL)
		return;
	sim_post(s, sim_spread(&s->fault_rng, mean_of(s, (Fault) which)), EV_FAULT, 0, which, 0);
	if (which == FAULT_PARTITION)
		partition(s);
	else if (which == FAULT_MEMBERSHIP)
		begin_membership_change(s);
	else if (which == FAULT_GROW)
	{
		if (s->wanted_groups < s->o.data_groups)
			s->wanted_groups += 1 + (uint32_t) below(s, s->o.data_groups - s->wanted_groups);
	}
	else if (which == FAULT_LATE)
		late_proposal(s);
	else if (which == FAULT_TRANSFER)
		transfer(s);
	else if (which == FAULT_ALL_CRASH)
	{
		for (NdNodeId id = 1; id < s->next_id; id++)
			if (s->hosts[id].up)
			{
				host_crash(&s->hosts[id], true);
				sim_post(s, sim_spread(&s->fault_rng, 30 * SIM_MS), EV_START, id, 0, 0);
			}
	}
	else if (which == FAULT_BREAK)
	{
		Host	   *a = any_up(s);
		Host	   *b = any_up(s);

		if (a && b && a != b)
			net_break(s, a->id, b->id);
	}
	else if ((h = victim(s)) != NULL)
	{
		if (which == FAULT_CRASH)
			crash(s, h);
		else if (which == FAULT_PAUSE)
			pause_host(s, h);
		else if (which == FAULT_ROT)
		{
			if (may_lose(s, h))
				disks_injure(h);
		}
		else if (which == FAULT_FULL)
			disks_fill(h);
		else if (which == FAULT_READ)
			disks_read_error(h);
		else if (which == FAULT_CLOCK)
			stop_clock(s, h);
		else
			fsync_error(s, h);
	}
}
