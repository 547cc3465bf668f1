/*
 * world.c: virtual time: the event queue, the trace, one run from its seed to its verdict.
 *
 * Invariants: sim.h. Events of equal time run in the order in which they were posted. An event for an earlier life of a host is dropped;
 * one for a paused host waits until the pause ends and keeps its place.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 4000000ull	/* more is a livelock */
#define HEAL_US (60 * SIM_S)	/* after healing everything must have settled by then */

SimTotals	sim_totals;

/* ---- small tools ---- */

/* The simulator's own memory: running out of it is no subject of the test. */
void *sim_grow(void *array, uint32_t *cap, uint32_t need, size_t element_bytes)
{
	if (need <= *cap)
		return array;

	uint32_t	n = *cap ? *cap : 16;

	while (n < need)
		n *= 2;
	array = realloc(array, n * element_bytes);
	if (array == NULL)
	{
		fprintf(stderr, "sim: out of memory\n");
		exit(2);
	}
	memset((char *) array + *cap * element_bytes, 0, (n - *cap) * element_bytes);
	*cap = n;
	return array;
}

uint64_t sim_spread(NdRandom *r, uint64_t mean)
{
	return 1 + nd_random_below(r, 2 * mean + 1);
}

bool sim_chance(NdRandom *r, uint32_t per_mille)
{
	return per_mille > 0 && nd_random_below(r, 1000) < per_mille;
}

/* ---- trace ---- */

static const struct
{
	const char *name;
	const char *labels[5];
}			trace_ops[] = {
	[T_TICK] = {"tick", {0}},
	[T_WORK] = {"work", {"more"}},
	[T_SEND] = {"send", {"to", "bytes", "hash", "arrives"}},
	[T_DROP] = {"drop", {"to", "bytes"}},
	[T_FRAME] = {"frame", {"from", "bytes", "hash"}},
	[T_PEER_UP] = {"peer up", {"peer", "incarnation"}},
	[T_PEER_DOWN] = {"peer down", {"peer"}},
	[T_DISK] = {"flush done", {0}},
	[T_DELIVER] = {"deliver", {"group", "index", "term", "verdict", "replayed"}},
	[T_REFUSE] = {"busy", {"group", "index"}},
	[T_APPLY] = {"apply", {"group", "index"}},
	[T_DURABLE] = {"tables durable", {"group", "index"}},
	[T_START] = {"start", {"incarnation"}},
	[T_CRASH] = {"crash", {"silent", "tickets kept", "of"}},
	[T_PAUSE] = {"pause", {"until"}},
	[T_BLOCK] = {"block", {"from", "to"}},
	[T_UNBLOCK] = {"unblock", {"from", "to"}},
	[T_BREAK] = {"break", {"a", "b"}},
	[T_FSYNC_ERROR] = {"disk fault", {"kind"}},
	[T_PROPOSE] = {"propose", {"group", "counter", "kind", "base", "status"}},
	[T_PROPOSE_FAILED] = {"proposal failed", {"group", "counter", "kind", "outcome", "reason"}},
	[T_FORGET] = {"forget", {"group", "counter", "kind"}},
	[T_READ] = {"read", {"group", "token", "floor", "status"}},
	[T_READ_DONE] = {"read done", {"group", "token", "status", "index"}},
	[T_ACK] = {"ack", {"group", "counter", "index"}},
	[T_ADD] = {"add member", {"at", "status"}},
	[T_REMOVE] = {"remove member", {"at", "status"}},
	[T_TRANSFER] = {"transfer", {"group", "to", "status"}},
	[T_LATE] = {"late proposal", {"from", "to", "group", "hash"}},
	[T_LEADER] = {"leader", {"group", "term", "last", "commit"}},
	[T_NODE_FAILED] = {"node failed", {"status"}},
	[T_PHASE] = {"phase", {"phase"}},
	[T_LOG] = {"log", {"level", "hash"}},
	[T_INJURY] = {"injury", {"kind", "segment", "offset", "of batches"}},
	[T_GIVE_UP] = {"disk given up", {"status"}},
	[T_FULL] = {"disk full", {0}},
	[T_SPACE] = {"space again", {0}},
	[T_CLOCK] = {"clock stands", {"until"}},
	[T_SNAPSHOT_OPEN] = {"snapshot open", {"group", "index", "at least"}},
	[T_SNAPSHOT_BEGIN] = {"snapshot begin", {"group", "index"}},
	[T_SNAPSHOT_INSTALL] = {"snapshot install", {"group", "index"}},
	[T_SNAPSHOT_ABORT] = {"snapshot abort", {"group", "index"}},
	[T_GROW] = {"grow", {"groups", "status", "sent"}},
	[T_AUDIT] = {"audit", {"group", "index", "disks", "voters"}},
};

static void trace_print(const TraceRecord *t)
{
	printf("%10.3f ms #%-7" PRIu64 " ", (double) t->time / 1000.0, t->event);
	if (t->node)
		printf("n%-3u", t->node);
	else
		printf("    ");
	printf("%s", trace_ops[t->op].name);
	for (int i = 0; i < 5 && trace_ops[t->op].labels[i]; i++)
		printf(" %s=%" PRIu64, trace_ops[t->op].labels[i], t->v[i]);
	printf("\n");
}

void sim_trace(Sim *s, TraceOp op, NdNodeId node, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
	TraceRecord t;

	memset(&t, 0, sizeof t);	/* padding is hashed too */
	t.time = s->now;
	t.event = s->event;
	t.op = op;
	t.node = node;
	t.v[0] = a;
	t.v[1] = b;
	t.v[2] = c;
	t.v[3] = d;
	t.v[4] = e;
	s->trace_hash = nd_checksum(&t, sizeof t, s->trace_hash);
	s->trace[s->n_trace++ % SIM_TRACE_KEEP] = t;
	if (s->print)
		trace_print(&t);
}

void sim_fail(Sim *s, const char *checker, const char *format,...)
{
	va_list		args;

	if (s->failed)
		return;
	s->failed = true;
	snprintf(s->checker, sizeof s->checker, "%s", checker);
	va_start(args, format);
	vsnprintf(s->message, sizeof s->message, format, args);
	va_end(args);
}

/* ---- event queue: a binary heap ---- */

static bool earlier(const SimEvent *a, const SimEvent *b)
{
	return a->time != b->time ? a->time < b->time : a->seq < b->seq;
}

static void heap_push(Sim *s, const SimEvent *e)
{
	uint32_t	i = s->n_heap;

	s->heap = sim_grow(s->heap, &s->cap_heap, s->n_heap + 1, sizeof *s->heap);
	s->n_heap++;
	while (i > 0 && earlier(e, &s->heap[(i - 1) / 2]))
	{
		s->heap[i] = s->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	s->heap[i] = *e;
}

static SimEvent heap_pop(Sim *s)
{
	SimEvent	top = s->heap[0];
	SimEvent	last = s->heap[--s->n_heap];
	uint32_t	i = 0;

	for (;;)
	{
		uint32_t	child = 2 * i + 1;

		if (child >= s->n_heap)
			break;
		if (child + 1 < s->n_heap && earlier(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!earlier(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return top;
}

void sim_post_data(Sim *s, uint64_t at, SimEventKind kind, NdNodeId node, uint64_t a, uint64_t b, const void *data, uint32_t len)
{
	SimEvent	e = {.time = at, .seq = ++s->seq, .kind = kind, .node = node, .a = a, .b = b, .len = len};

	if (node)
		e.life = s->hosts[node].life;
	if (data)
	{
		uint32_t	cap = 0;

		e.data = sim_grow(NULL, &cap, len ? len : 1, 1);
		memcpy(e.data, data, len);
	}
	heap_push(s, &e);
}

void sim_post(Sim *s, uint64_t delay_us, SimEventKind kind, NdNodeId node, uint64_t a, uint64_t b)
{
	sim_post_data(s, s->now + delay_us, kind, node, a, b, NULL, 0);
}

/* ---- phases ---- */

static void phase_enter(Sim *s, SimPhase phase)
{
	s->phase = phase;
	sim_trace(s, T_PHASE, 0, phase, 0, 0, 0, 0);
	switch (phase)
	{
		case PHASE_FOUND:
			s->phase_end = s->now + 20 * SIM_S;
			break;
		case PHASE_CHAOS:
			s->phase_end = s->now + s->o.chaos_us;
			if (!s->o.faults_from_start)
				faults_init(s);
			break;
		case PHASE_HEAL:
			/* Everything works from now on: what is still wrong at the end stays wrong for ever. */
			s->phase_end = s->now + HEAL_US;
			s->o.loss = s->o.duplicate = s->o.reorder = s->o.spike = 0;
			s->o.flush_spike = s->o.flush_stall = 0;
			s->o.busy = 0;
			net_heal(s);
			disks_heal(s);
			clients_heal(s);
			for (NdNodeId id = 1; id < s->next_id; id++)
			{
				Host	   *h = &s->hosts[id];

				h->paused_until = h->clock_stands_until = 0;
				if (h->exists && !h->up && !h->dead)
					sim_post(s, sim_spread(&s->rng, 50 * SIM_MS), EV_START, id, 0, 0);
			}
			break;
		case PHASE_DONE:
			break;
	}
}

/* All first members are voters of every group, as far as the leaders of the groups say. */
static bool founded(Sim *s)
{
	for (uint32_t g = 0; g < sim_places(s); g++)
	{
		uint32_t	voters = 0;

		if (!sim_made(s, g))
			continue;
		for (uint32_t i = 0; i < s->ledgers[g].configuration.n; i++)
			voters += s->ledgers[g].configuration.members[i].role == RAFT_VOTER;
		if (voters < s->o.nodes)
			return false;
	}
	return true;
}

static void phase_event(Sim *s)
{
	char		why[256];

	s->founded = s->founded || founded(s);
	if (s->phase == PHASE_FOUND)
	{
		/* With faults from the start founding may take any time: then chaos is only a name for the longer part. */
		if (s->founded)
			phase_enter(s, PHASE_CHAOS);
		else if (s->now >= s->phase_end)
		{
			if (s->o.faults_from_start)
				phase_enter(s, PHASE_CHAOS);
			else
				sim_fail(s, "founding", "the first %u nodes are not all voters of every group after %.0f s", s->o.nodes, (double) s->now / SIM_S);
		}
	}
	else if (s->phase == PHASE_CHAOS)
	{
		check_logs(s);
		if (s->now >= s->phase_end)
			phase_enter(s, PHASE_HEAL);
	}
	else if (s->phase == PHASE_HEAL)
	{
		check_logs(s);
		if (check_converged(s, why, sizeof why))
			phase_enter(s, PHASE_DONE);
		else if (s->now >= s->phase_end)
			sim_fail(s, "liveness", "not settled %.0f s after healing: %s", (double) HEAL_US / SIM_S, why);
	}
	if (s->phase != PHASE_DONE)
		sim_post(s, 20 * SIM_MS, EV_PHASE, 0, 0, 0);
}

/* ---- the loop ---- */

static void dispatch(Sim *s, SimEvent *e)
{
	switch (e->kind)
	{
		case EV_LINK:
			s->links[e->a][e->b].attempt_scheduled = false;
			net_try(s, (NdNodeId) e->a, (NdNodeId) e->b);
			break;
		case EV_CLIENT:
			client_event(s, (uint32_t) e->a, e->b);
			break;
		case EV_START:
			if (!s->hosts[e->node].up && !s->hosts[e->node].dead)
				host_start(&s->hosts[e->node]);
			break;
		case EV_CRASH:
			if (s->hosts[e->node].up && s->phase < PHASE_HEAL)
			{
				host_crash(&s->hosts[e->node], true);
				sim_post(s, sim_spread(&s->fault_rng, 100 * SIM_MS), EV_START, e->node, 0, 0);
			}
			break;
		case EV_FAULT:
			fault_event(s, e->a);
			break;
		case EV_MEMBERSHIP:
			membership_event(s);
			break;
		case EV_UNBLOCK:
			if (s->blocked[e->a][e->b])
			{
				s->blocked[e->a][e->b] = false;
				sim_trace(s, T_UNBLOCK, 0, e->a, e->b, 0, 0, 0);
			}
			break;
		case EV_SPACE:
			disks_free(&s->hosts[e->a]);
			break;
		case EV_PHASE:
			phase_event(s);
			break;
		default:
			host_event(&s->hosts[e->node], e);
			break;
	}
}

static void loop(Sim *s)
{
	while (!s->failed && s->phase != PHASE_DONE && s->n_heap > 0)
	{
		SimEvent	e = heap_pop(s);
		Host	   *h = e.node ? &s->hosts[e.node] : NULL;

		if (h && e.life != h->life)
		{
			free(e.data);
			continue;
		}
		/* A stopped process sees nothing; its disk goes on. */
		if (h && h->paused_until > e.time && e.kind != EV_DISK && e.kind != EV_START)
		{
			e.time = h->paused_until;
			heap_push(s, &e);
			continue;
		}
		s->now = e.time;
		if (++s->event > EVENTS_MAX)
			sim_fail(s, "livelock", "%" PRIu64 " events and no end", s->event);
		else
			dispatch(s, &e);
		free(e.data);
	}
}

static void found(Sim *s)
{
	if (!host_found(s))
		return;
	clients_init(s);
	if (s->o.faults_from_start)
		faults_init(s);
	phase_enter(s, PHASE_FOUND);
	sim_post(s, 0, EV_PHASE, 0, 0, 0);
	sim_post(s, 5 * SIM_MS, EV_MEMBERSHIP, 0, 0, 0);
}

static void report(const Sim *s)
{
	uint64_t	first = s->n_trace > SIM_TRACE_KEEP ? s->n_trace - SIM_TRACE_KEEP : 0;

	if (!s->print)
		for (uint64_t i = first; i < s->n_trace; i++)
			trace_print(&s->trace[i % SIM_TRACE_KEEP]);
	printf("FAILED seed %" PRIu64 " at %.3f ms, event %" PRIu64 ": %s: %s\n", s->seed, (double) s->now / 1000.0, s->event, s->checker, s->message);
}

static void sum_up(const Sim *s)
{
	sim_totals.deliveries += s->deliveries;
	sim_totals.crashes += s->crashes;
	sim_totals.injuries += s->injuries;
	sim_totals.found += s->found;
	sim_totals.full += s->full;
	sim_totals.installs += s->installs;
	sim_totals.several += s->several;
	sim_totals.grown += s->reached_groups - s->o.founded_groups;
	for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++)
	{
		sim_totals.elections += s->ledgers[g].n_leaders;
		for (uint32_t i = 0; i < s->ledgers[g].n_configurations; i++)
			sim_totals.joint += s->ledgers[g].configurations[i].joint;
	}
}

static void dispose(Sim *s)
{
	s->print = false;
	for (NdNodeId id = 1; id < SIM_NODES_MAX; id++)
	{
		Host	   *h = &s->hosts[id];

		if (h->up)
			host_crash(h, true);
		if (h->disk)
			memvfs_destroy(h->disk);
		free(h->tickets);
	}
	for (uint32_t i = 0; i < s->n_heap; i++)
		free(s->heap[i].data);
	free(s->heap);
	for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++)
	{
		Ledger	   *l = &s->ledgers[g];

		for (uint64_t i = 0; i < l->n; i++)
		{
			free(l->entries[i].keys);
			free(l->entries[i].chunks);
		}
		free(l->entries);
		free(l->reservations);
		free(l->waiting);
		free(l->turns);
		free(l->leaders);
		free(l->configurations);
	}
	free(s->orders);
	free(s->decided);
	free(s->txns);
	for (uint32_t i = 0; i < SIM_LATE_KEEP; i++)
		nd_blob_unref(s->late[i].entry);
	free(s);
}

bool sim_run(uint64_t seed, bool print, uint64_t *trace_hash, char *checker, size_t checker_len)
{
	uint32_t	cap = 0;
	Sim		   *s = sim_grow(NULL, &cap, 1, sizeof *s);
	bool		good;

	s->seed = seed;
	s->print = print;
	s->next_id = 1;
	options_choose(&s->o, seed);
	nd_random_seed(&s->rng, seed * 5 + 1);
	nd_random_seed(&s->net_rng, seed * 5 + 2);
	nd_random_seed(&s->client_rng, seed * 5 + 3);
	nd_random_seed(&s->fault_rng, seed * 5 + 4);
	nd_random_seed(&s->check_rng, seed * 5 + 5);
	if (print)
		printf("seed %" PRIu64 ": %u nodes, %u to %u data groups%s, %u clients; loss %u dup %u reorder %u spike %u latency %" PRIu64 " flush %" PRIu64 " (spike %u) us; election %u heartbeat %u ticks\n",
			   seed, s->o.nodes, s->o.founded_groups, s->o.data_groups, s->o.sequencer ? " and a sequencer" : "", s->o.clients, s->o.loss, s->o.duplicate, s->o.reorder, s->o.spike, s->o.latency_us,
			   s->o.flush_us, s->o.flush_spike, s->o.node.election_ticks, s->o.node.heartbeat_ticks);
	found(s);
	loop(s);
	good = !s->failed && s->phase == PHASE_DONE;
	if (!good && !s->failed)
		sim_fail(s, "livelock", "the event queue ran dry");
	if (!good)
		report(s);
	*trace_hash = s->trace_hash;
	snprintf(checker, checker_len, "%s", s->checker);
	if (print)
	{
		uint64_t	commits = 0;
		uint64_t	aborts = 0;

		for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++)
		{
			commits += s->ledgers[g].commits;
			aborts += s->ledgers[g].aborts;
		}
		printf("seed %" PRIu64 ": %" PRIu64 " events, %.1f virtual s, %" PRIu64 " deliveries, %" PRIu64 " commits, %" PRIu64 " aborts, %" PRIu64
			   " reads, %" PRIu64 " crashes, %" PRIu64 " audits, %" PRIu64 " injuries (%" PRIu64 " found), %" PRIu64 " snapshots, %" PRIu64 " over several groups, trace %016" PRIx64 "\n",
			   s->seed, s->event, (double) s->now / SIM_S, s->deliveries, commits, aborts, s->reads, s->crashes, s->audits, s->injuries, s->found,
			   s->installs, s->several, s->trace_hash);
	}
	sum_up(s);
	dispose(s);
	return good;
}
