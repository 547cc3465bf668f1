/*
 * bench_groups.c: what many idle groups cost: three nodes with 1,000 groups in one process, loopback transport, memory disks. Virtual time: a second is
 * a hundred ticks of 10 ms, each followed by polling and working, as the raft worker does; the clock is the processor time of the process.
 *
 * One line per state of the cluster: per node and virtual second processor time, frames, bytes and flushes; and bytes of memory per group and node.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/node/node.h"
#include "../../src/transport/loopback.h"
#include "../sim/memvfs.h"
#include "../unit/count_kit.h"

#define NODES 3
#define TICKS_PER_SECOND 100
#define ELECTION 60				/* 600 ms: the default of nodedb.election_timeout */

typedef struct Host
{
	Node	   *node;
	Store	   *store;
	MemVfs	   *disk;
	Transport  *transport;
} Host;

static Host hosts[NODES];
static uint32_t alive = NODES;
static uint64_t frames;
static uint64_t bytes;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void check(NdStatus status)
{
	if (status == ND_OK)
		return;
	fprintf(stderr, "%s\n", nd_status_text(status));
	exit(1);
}

static NdStatus on_deliver(void *ctx, const NodeDelivery *d)
{
	(void) ctx, (void) d;
	return ND_OK;
}

static void on_frame(void *ctx, NdNodeId from, const uint8_t *data, size_t len)
{
	frames++;
	bytes += len;
	node_frame(((Host *) ctx)->node, from, data, len);
}

static void on_up(void *ctx, NdNodeId peer, uint32_t incarnation)
{
	node_peer_up(((Host *) ctx)->node, peer, incarnation);
}

static void on_down(void *ctx, NdNodeId peer)
{
	node_peer_down(((Host *) ctx)->node, peer);
}

static void work_all(void)
{
	for (int quiet = 0; quiet < 2; quiet++)
		for (uint32_t i = 0; i < alive; i++)
		{
			hosts[i].transport->ops->poll(hosts[i].transport);
			while (node_work(hosts[i].node))
				quiet = 0;
		}
}

static void run(uint32_t ticks)
{
	for (uint32_t t = 0; t < ticks; t++)
	{
		for (uint32_t i = 0; i < alive; i++)
			node_tick(hosts[i].node);
		work_all();
	}
}

static void measure(const char *what, uint32_t virtual_seconds)
{
	uint64_t	flushes = 0;
	StoreStatus s;
	double		start;
	double		took;

	frames = bytes = 0;
	for (uint32_t i = 0; i < alive; i++)
	{
		store_status(hosts[i].store, &s);
		flushes -= s.flushes;
	}
	start = seconds();
	run(virtual_seconds * TICKS_PER_SECOND);
	took = seconds() - start;
	for (uint32_t i = 0; i < alive; i++)
	{
		store_status(hosts[i].store, &s);
		flushes += s.flushes;
	}
	printf("%s: per node and second %.2f ms of processor time, %.0f frames, %.0f bytes, %.1f flushes\n", what, took * 1e3 / virtual_seconds / alive,
		   (double) frames / virtual_seconds / alive, (double) bytes / virtual_seconds / alive, (double) flushes / virtual_seconds / alive);
	fflush(stdout);
}

static void start(uint32_t groups, uint32_t sleep_after)
{
	static LoopbackHub *hub;
	RaftConfiguration *c = calloc(1, sizeof(*c));
	size_t		before;
	char		error[256];

	hub = loopback_hub_create();
	for (uint32_t i = 0; i < NODES; i++)
	{
		WireMember	m = {.node = i + 1, .role = RAFT_VOTER};

		snprintf(m.name, sizeof(m.name), "node%u", i + 1);
		snprintf(m.address, sizeof(m.address), "host%u:1", i + 1);
		check(wire_member_to_raft(&m, &c->members[c->n++]));
	}
	before = count_bytes();
	for (uint32_t i = 0; i < NODES; i++)
	{
		Host	   *h = &hosts[i];
		StoreConfig store = {.dir = "log", .cluster_id = 1, .node = i + 1, .segment_bytes = 16 << 20, .cache_bytes = 16 << 20, .record_bytes_max = 9 << 20};
		NodeConfig	config = {
			.self = i + 1, .incarnation = 1, .cluster_id = 1, .tick_ms = 1000 / TICKS_PER_SECOND, .election_ticks = ELECTION,
			.heartbeat_ticks = ELECTION / 8, .append_bytes_max = 1 << 20, .inflight_max = 256, .inflight_bytes_max = 16 << 20,
			.uncommitted_bytes_max = 64 << 20, .certifier = {.keys_max = 1000000, .ids_max = 1000000}, .sleep_after_ticks = sleep_after, .seed = i,
		};
		NodeCallbacks callbacks = {.deliver = on_deliver, .ctx = h};
		TransportConfig transport = {.cluster_id = 1, .self = i + 1, .incarnation = 1};
		TransportCallbacks calls = {.frame = on_frame, .peer_up = on_up, .peer_down = on_down, .ctx = h};

		h->disk = memvfs_create();
		check(store_open(memvfs_vfs(h->disk), &store, &h->store, error, sizeof(error)));
		check(store_create_group(h->store, ND_GROUP_META, c));
		for (uint32_t g = 1; g <= groups; g++)
		{
			for (uint32_t m = 0; m < NODES; m++)
				c->members[m].context_len = 0;
			check(store_create_group(h->store, g, c));
		}
		for (uint32_t m = 0; m < NODES; m++)
		{
			WireMember	w = {.node = m + 1, .role = RAFT_VOTER};

			snprintf(w.name, sizeof(w.name), "node%u", m + 1);
			snprintf(w.address, sizeof(w.address), "host%u:1", m + 1);
			check(wire_member_to_raft(&w, &c->members[m]));
		}
		check(node_create(&config, h->store, &callbacks, NULL, &h->node, error, sizeof(error)));
		check(loopback_create(hub, &transport, &calls, &h->transport));
		node_set_transport(h->node, h->transport);
	}
	run(20 * ELECTION);
	for (uint32_t g = 0; g <= groups; g++)
	{
		uint32_t	leaders = 0;

		for (uint32_t i = 0; i < NODES; i++)
			leaders += raft_is_leader(node_raft(hosts[i].node, g));
		if (leaders != 1)
			check(ND_NOLEADER);
	}
	printf("memory: %.0f bytes a group and node\n", (double) (count_bytes() - before) / NODES / (groups + 1));
	free(c);
}

static void stop(uint32_t i)
{
	node_destroy(hosts[i].node);
	hosts[i].transport->ops->destroy(hosts[i].transport);
	store_close(hosts[i].store);
	memvfs_destroy(hosts[i].disk);
}

int main(int argc, char **argv)
{
	uint32_t	groups = argc > 1 ? (uint32_t) atoi(argv[1]) : 1000;

	count_install();
	printf("three nodes, %u groups\n", groups);
	start(groups, 2 * ELECTION);
	measure("all asleep", 60);
	stop(2);
	alive = 2;
	run(20 * ELECTION);
	measure("one node away", 10);
	stop(0);
	stop(1);
	alive = NODES;
	start(groups, 0);
	measure("no sleep, all awake", 10);
	return 0;
}
