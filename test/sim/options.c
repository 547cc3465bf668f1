/*
 * options.c: what a seed chooses for a whole run: size, limits, which faults at all and how often.
 *
 * Faults are swizzled: each is switched off in part of the runs, so that a combination of few faults at high rates occurs as well as all
 * of them at once. Limits are small in part of the runs, so that they are hit.
 */
#include "sim.h"

static uint64_t pick(NdRandom *r, const uint64_t *values, uint32_t n)
{
	return values[nd_random_below(r, n)];
}

#define SNAPSHOT_US (500 * SIM_MS)	/* of round trips, for one content: four groups and seven nodes need many of them to be founded */

#define PICK(r, ...) pick((r), (const uint64_t[]) {__VA_ARGS__}, (uint32_t) (sizeof((const uint64_t[]) {__VA_ARGS__}) / sizeof(uint64_t)))

/* A rate in half of the runs, never in the others. */
static uint64_t maybe(NdRandom *r, uint64_t low, uint64_t high)
{
	return nd_random_below(r, 2) ? low + nd_random_below(r, high - low + 1) : 0;
}

static void choose_network(SimOptions *o, NdRandom *r)
{
	o->latency_us = PICK(r, 50, 200, 1000, 5000);
	o->queue_bytes = PICK(r, 64 << 10, 1 << 20, 16 << 20);
	/* A stream loses frames only when it breaks (transport.h); Raft must stand worse, so half of the runs are worse. */
	if (nd_random_below(r, 2))
	{
		o->loss = (uint32_t) maybe(r, 1, 150);
		o->duplicate = (uint32_t) maybe(r, 1, 200);
		o->reorder = (uint32_t) maybe(r, 1, 300);
		o->spike = (uint32_t) maybe(r, 1, 50);
		o->spike_us = PICK(r, 100 * SIM_MS, 1000 * SIM_MS);
	}
}

static void choose_faults(SimOptions *o, NdRandom *r)
{
	o->faults_from_start = nd_random_below(r, 4) == 0;
	o->chaos_us = (2 + nd_random_below(r, 5)) * SIM_S;
	o->crash_every = maybe(r, 150 * SIM_MS, 2 * SIM_S);
	o->partition_every = maybe(r, 200 * SIM_MS, 2 * SIM_S);
	o->pause_every = maybe(r, 300 * SIM_MS, 3 * SIM_S);
	o->break_every = maybe(r, 100 * SIM_MS, 2 * SIM_S);
	o->fsync_error_every = maybe(r, 1 * SIM_S, 6 * SIM_S);
	o->membership_every = maybe(r, 300 * SIM_MS, 3 * SIM_S);
	o->transfer_every = maybe(r, 100 * SIM_MS, 1 * SIM_S);
	o->late_every = maybe(r, 10 * SIM_MS, 300 * SIM_MS);
	o->all_crash_every = nd_random_below(r, 4) == 0 ? 2 * SIM_S : 0;
	o->flush_us = PICK(r, 20, 500, 3000, 15000);
	o->flush_spike = (uint32_t) maybe(r, 1, 30);
}

static void choose_tables(SimOptions *o, NdRandom *r)
{
	o->busy = (uint32_t) maybe(r, 1, 200);
	o->apply_queue = (uint32_t) PICK(r, 1, 4, 64, 1000);
	o->apply_us = PICK(r, 10, 300, 3000);
	o->durable_us = PICK(r, 5 * SIM_MS, 50 * SIM_MS, 400 * SIM_MS);
	o->truncate = nd_random_below(r, 3) > 0;
	o->keep_bytes = PICK(r, 0, 0, 10000, 1 << 20);
}

static void choose_clients(SimOptions *o, NdRandom *r)
{
	o->clients = 1 + (uint32_t) nd_random_below(r, SIM_CLIENTS_MAX);
	o->think_us = PICK(r, 200, 2000, 20000);
	o->hot_keys = (uint32_t) PICK(r, 1, 4, 12, SIM_KEYS);
	o->pad_bytes = (uint32_t) PICK(r, 0, 0, 200, 4000, 30000);
	o->reserve = (uint32_t) PICK(r, 0, 20, 300, 900);
	o->chunks = (uint32_t) maybe(r, 20, 300);
	o->linger = (uint32_t) maybe(r, 10, 400);
	o->linger_us = PICK(r, 20 * SIM_MS, 300 * SIM_MS);
	o->forget = (uint32_t) maybe(r, 5, 50);
}

static void choose_driver(SimOptions *o, NdRandom *r)
{
	NodeConfig *n = &o->node;

	n->cluster_id = 1 + nd_random_below(r, UINT32_MAX);
	n->tick_ms = 10;
	n->election_ticks = 8 + (uint32_t) nd_random_below(r, 12);
	n->heartbeat_ticks = 1 + (uint32_t) nd_random_below(r, 3);
	n->append_bytes_max = (uint32_t) PICK(r, 1, 300, 5000, 1 << 20);
	n->inflight_max = (uint32_t) PICK(r, 1, 3, 16, 256);
	n->inflight_bytes_max = PICK(r, 1000, 100000, 16 << 20);
	n->uncommitted_bytes_max = PICK(r, 100000, 1 << 20, 16 << 20);
	n->certifier.keys_max = PICK(r, 16, 40, 200, 100000);
	n->certifier.ids_max = PICK(r, 16, 60, 300, 100000);
	n->checkpoint_every = PICK(r, 1, 7, 50, 1000);
	/* Short enough to cancel transactions of nodes that live; by what was drawn already, so that other choices stay as they were. */
	n->orphan_ticks = n->cluster_id % 2 == 0 ? 0 : 2 + n->election_ticks * (uint32_t) (n->cluster_id % 5);
	o->store.cluster_id = n->cluster_id;
	o->store.segment_bytes = 1 << 20;
	o->store.cache_bytes = PICK(r, 0, 3000, 100000, 16 << 20);
	o->store.record_bytes_max = 4 << 20;
}

/* From a generator of its own, so that the choices above stay what they were when something is added here. */
static void choose_more(SimOptions *o, uint64_t seed)
{
	NdRandom	r;

	nd_random_seed(&r, seed ^ UINT64_C(0x9e3779b97f4a7c15));
	if (nd_random_below(&r, 2))
		o->rot_every = maybe(&r, 200 * SIM_MS, 3 * SIM_S);
	o->full_every = maybe(&r, 300 * SIM_MS, 3 * SIM_S);
	o->read_error_every = nd_random_below(&r, 3) == 0 ? 500 * SIM_MS + nd_random_below(&r, 3 * SIM_S) : 0;
	o->clock_every = nd_random_below(&r, 3) == 0 ? 300 * SIM_MS + nd_random_below(&r, 3 * SIM_S) : 0;
	o->drift = nd_random_below(&r, 3) == 0;
	o->flush_stall = nd_random_below(&r, 4) == 0 ? 1 + (uint32_t) nd_random_below(&r, 5) : 0;
	o->node.scrub_bytes_per_s = PICK(&r, 0, 100000, 1 << 20, 10 << 20);
	o->churn = nd_random_below(&r, 6) == 0;
	if (o->churn)
	{
		o->truncate = false;
		o->membership_every = 100 * SIM_MS + nd_random_below(&r, 500 * SIM_MS);
		o->nodes = (uint32_t) PICK(&r, 3, 3, 4, 5, 6);
	}
	if (nd_random_below(&r, 30) == 0)
	{
		o->data_groups = 15 + (uint32_t) nd_random_below(&r, 49);
		o->chaos_us = 1 * SIM_S + nd_random_below(&r, 2 * SIM_S);
	}
	o->node.sleep_after_ticks = nd_random_below(&r, 2) ? o->node.election_ticks * (uint32_t) PICK(&r, 1, 2, 5) : 0;
	o->node.fixed_leaders = nd_random_below(&r, 4) == 0;
}

/* Out of a generator of their own: what else a seed chooses stays as it was. */
static void choose_snapshots(SimOptions *o, uint64_t seed)
{
	NdRandom	r;
	uint32_t	rounds;

	nd_random_seed(&r, ~seed);
	o->snapshots = nd_random_below(&r, 4) > 0;
	o->snapshot_pad = (uint32_t) PICK(&r, 0, 0, 500, 20000);
	o->snapshot_busy = (uint32_t) maybe(&r, 100, 700);
	o->snapshot_fails = (uint32_t) maybe(&r, 1, 50);
	o->snapshot_crash = (uint32_t) maybe(&r, 30, 300);
	o->snapshot_us = PICK(&r, 10, 5 * SIM_MS, 100 * SIM_MS);
	o->node.snapshot_chunk_bytes = (uint32_t) PICK(&r, 40, 300, 2000, 1 << 18);
	o->node.snapshot_window_bytes = o->node.snapshot_chunk_bytes * (uint32_t) PICK(&r, 1, 2, 5, 20);
	rounds = (uint32_t) (SNAPSHOT_US / (2 * o->latency_us));
	if (o->snapshot_pad / o->node.snapshot_window_bytes > rounds)
		o->snapshot_pad = rounds * o->node.snapshot_window_bytes;
	if (o->snapshots && o->churn)
		o->truncate = nd_random_below(&r, 2);
	if (o->snapshots && nd_random_below(&r, 2))
		o->keep_bytes = PICK(&r, 0, 0, 3000, 20000);
}

/* Half of the clusters have a sequencer group, and then some data groups. */
static void choose_several(SimOptions *o, uint64_t seed)
{
	NdRandom	r;
	SeqLimits  *l = &o->node.sequencer;

	nd_random_seed(&r, seed * UINT64_C(0x9e3779b97f4a7c15) + 1);
	o->sequencer = nd_random_below(&r, 2);
	if (!o->sequencer)
		return;
	if (o->data_groups == 1)
		o->data_groups = (uint32_t) PICK(&r, 2, 2, 3, 4);
	o->several = (uint32_t) PICK(&r, 100, 500, 800);
	o->node.vote_ticks = o->node.election_ticks * (uint32_t) PICK(&r, 0, 1, 3, 10);
	*l = SEQ_LIMITS_DEFAULT;
	if (nd_random_below(&r, 2))
	{
		l->requests_max = (uint32_t) PICK(&r, 1, 3, 1000);
		l->bytes_max = PICK(&r, 4000, 1 << 20);
		l->role_requests_max = (uint32_t) PICK(&r, 1, 1000);
		l->request_bytes_max = (uint32_t) PICK(&r, 2000, 1 << 20);
		l->groups_max = (uint32_t) PICK(&r, 2, SIM_PARTS_MAX);
		l->group_unfinished_max = (uint32_t) PICK(&r, 1, 3, 1000);
	}
	l->epoch_requests_max = (uint32_t) PICK(&r, 1, 2, 1024);
	l->epoch_bytes_max = (uint32_t) PICK(&r, 300, 1 << 20);
	l->epochs_max = (uint32_t) PICK(&r, 1, 2, 5);
}

/* Half of those with a sequencer are founded with fewer data groups than they have in the end. */
static void choose_growth(SimOptions *o, uint64_t seed)
{
	NdRandom	r;

	nd_random_seed(&r, seed * UINT64_C(0x9e3779b97f4a7c15) + 2);
	o->founded_groups = o->data_groups;
	if (!o->sequencer || nd_random_below(&r, 2))
		return;
	o->data_groups += (uint32_t) nd_random_below(&r, 4);
	if (o->data_groups > SIM_GROUPS_MAX - 2)
		o->data_groups = SIM_GROUPS_MAX - 2;
	o->founded_groups = 1 + (uint32_t) nd_random_below(&r, o->data_groups);
	o->grow_every = 100 * SIM_MS + nd_random_below(&r, 1 * SIM_S);
}

/* Out of a generator of their own, too. */
static void choose_reads(SimOptions *o, uint64_t seed)
{
	NdRandom	r;

	nd_random_seed(&r, seed * UINT64_C(0xd1342543de82ef95) + 1);
	o->serializable = (uint32_t) PICK(&r, 0, 100, 600);
}

void options_choose(SimOptions *o, uint64_t seed)
{
	NdRandom	r;

	nd_random_seed(&r, seed * 5);
	o->nodes = (uint32_t) PICK(&r, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7);
	o->data_groups = (uint32_t) PICK(&r, 1, 1, 1, 2, 2, 3, 4);
	choose_network(o, &r);
	choose_faults(o, &r);
	choose_tables(o, &r);
	choose_clients(o, &r);
	choose_driver(o, &r);
	choose_more(o, seed);
	choose_snapshots(o, seed);
	choose_several(o, seed);
	choose_growth(o, seed);
	choose_reads(o, seed);
}
