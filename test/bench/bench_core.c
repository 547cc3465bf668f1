/*
 * bench_core.c: entries that three replicas commit per second on one core, by the core alone (raft.h: no driver, no bytes, a log of references as disk),
 * and with everything around it but PostgreSQL and the network: driver, certifier, store on a memory disk, frames encoded and decoded.
 *
 * Every entry is proposed, sent to two followers, "written" by three, committed and taken note of by three. Batches: so many are proposed at once, and the
 * next ones when all three have committed them. Payloads of 128 bytes, made while the clock runs. The best of some runs: others use the machine as well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/node/node.h"
#include "../../src/transport/loopback.h"
#include "../sim/memvfs.h"

#define NODES 3
#define PAYLOAD 128
#define RING 65536				/* entries that a replica keeps */
#define RUNS 3

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

/* ---- the core alone ---- */

typedef struct Replica
{
	Raft	   *raft;
	RaftEntry	log[RING];		/* entry i at i % RING */
	uint64_t	first;
	uint64_t	last;
	uint64_t	commit;
} Replica;

static Replica replicas[NODES];

static NdStatus read_entries(void *ctx, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t out_cap, uint32_t *n)
{
	Replica    *r = ctx;
	uint64_t	bytes = 0;

	for (*n = 0; lo < hi && *n < out_cap; lo++)
	{
		const RaftEntry *e = &r->log[lo % RING];

		bytes += e->payload != NULL ? e->payload->len : 0;
		if (*n > 0 && bytes > bytes_max)
			break;
		out[*n] = *e;
		nd_blob_ref(e->payload);
		++*n;
	}
	return ND_OK;
}

/* One update: written at once, its messages handed to their receivers as they are. True when there was something. */
static bool pump(Replica *r)
{
	RaftUpdate	u;
	uint64_t	term = 0;

	if (!raft_has_update(r->raft))
		return false;
	check(raft_take_update(r->raft, &u));
	for (uint32_t i = 0; i < u.n_entries; i++)
	{
		RaftEntry  *e = &r->log[u.entries[i].index % RING];

		nd_blob_unref(e->payload);
		*e = u.entries[i];
		nd_blob_ref(e->payload);
		r->last = e->index;
		term = e->term;
	}
	r->commit = u.commit;
	for (uint32_t i = 0; i < u.n_messages; i++)
		check(raft_step(replicas[u.messages[i].to - 1].raft, &u.messages[i]));
	for (uint32_t i = 0; i < u.n_messages_after; i++)
		check(raft_step(replicas[u.messages_after[i].to - 1].raft, &u.messages_after[i]));
	raft_update_done(r->raft);
	if (term > 0)
		check(raft_persisted(r->raft, r->last, term));
	if (u.hard_changed)
		check(raft_hard_persisted(r->raft, u.hard_seq));
	if (r->commit > r->first + RING / 2)
		check(raft_compacted(r->raft, r->first = r->commit - RING / 4));
	return true;
}

static void settle(void)
{
	for (bool more = true; more;)
	{
		more = false;
		for (int i = 0; i < NODES; i++)
			more |= pump(&replicas[i]);
	}
}

static double run_core(uint32_t batch, uint64_t n)
{
	RaftRestore *restore = calloc(1, sizeof(*restore));
	NdBlob	   *blobs[256];
	uint8_t		payload[PAYLOAD] = {1};
	double		start;
	double		took;

	memset(replicas, 0, sizeof(replicas));
	restore->first_index = 1;
	restore->configuration.n = NODES;
	for (uint32_t i = 0; i < NODES; i++)
		restore->configuration.members[i] = (RaftMember) {.node = i + 1, .role = RAFT_VOTER};
	restore->configuration_committed = restore->configuration;
	for (uint32_t i = 0; i < NODES; i++)
	{
		RaftConfig	config = {
			.group = 1, .self = i + 1, .election_ticks = 10, .heartbeat_ticks = 2, .append_bytes_max = 1 << 20, .inflight_max = 256,
			.inflight_bytes_max = 16 << 20, .uncommitted_bytes_max = 64 << 20, .frugal = true, .seed = i + 1,
		};

		check(raft_create(&config, restore, &(RaftLog) {&replicas[i], read_entries}, &replicas[i].raft));
		replicas[i].first = 1;
	}
	check(raft_campaign(replicas[0].raft));
	settle();
	start = seconds();
	for (uint64_t done = 0; done < n; done += batch)
	{
		uint64_t	index;
		uint64_t	term;

		for (uint32_t i = 0; i < batch; i++)
			blobs[i] = nd_blob_new(payload, PAYLOAD);
		check(raft_propose(replicas[0].raft, blobs, batch, &index, &term));
		for (uint32_t i = 0; i < batch; i++)
			nd_blob_unref(blobs[i]);
		settle();
	}
	raft_tell_commit(replicas[0].raft);
	settle();
	took = seconds() - start;
	for (int i = 0; i < NODES; i++)
	{
		if (replicas[i].commit != n + 1)
		{
			fprintf(stderr, "replica %d committed %llu entries of %llu\n", i + 1, (unsigned long long) replicas[i].commit, (unsigned long long) n + 1);
			exit(1);
		}
		raft_destroy(replicas[i].raft);
		for (uint32_t k = 0; k < RING; k++)
			nd_blob_unref(replicas[i].log[k].payload);
	}
	free(restore);
	return (double) n / took;
}

/* ---- with driver, certifier and store ---- */

typedef struct Host
{
	Node	   *node;
	Store	   *store;
	MemVfs	   *disk;
	Transport  *transport;
	uint64_t	delivered;		/* transactions */
	uint64_t	index;
} Host;

static Host hosts[NODES];

static NdStatus on_deliver(void *ctx, const NodeDelivery *d)
{
	Host	   *h = ctx;

	h->delivered += d->has_header;
	h->index = d->group == 1 ? d->index : h->index;
	return ND_OK;
}

static void on_failed(void *ctx, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason)
{
	(void) ctx, (void) group, (void) txn, (void) kind, (void) outcome;
	check(reason);
}

static void on_frame(void *ctx, NdNodeId from, const uint8_t *data, size_t len)
{
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
		for (int i = 0; i < NODES; i++)
		{
			hosts[i].transport->ops->poll(hosts[i].transport);
			if (node_work(hosts[i].node))
				quiet = 0;
		}
}

static Host *leader_host(void)
{
	for (int t = 0; t < 1000; t++)
	{
		for (int i = 0; i < NODES; i++)
			if (raft_is_leader(node_raft(hosts[i].node, 1)) && hosts[i].index > 0)
				return &hosts[i];
		for (int i = 0; i < NODES; i++)
			node_tick(hosts[i].node);
		work_all();
	}
	check(ND_NOLEADER);
	return NULL;
}

static double run_node(uint32_t batch, uint64_t n)
{
	LoopbackHub *hub = loopback_hub_create();
	RaftConfiguration *c = calloc(1, sizeof(*c));
	char		error[256];
	Host	   *leader;
	double		start;
	double		took;

	memset(hosts, 0, sizeof(hosts));
	for (uint32_t i = 0; i < NODES; i++)
	{
		WireMember	m = {.node = i + 1, .role = RAFT_VOTER};

		snprintf(m.name, sizeof(m.name), "node%u", i + 1);
		snprintf(m.address, sizeof(m.address), "host%u:1", i + 1);
		check(wire_member_to_raft(&m, &c->members[c->n++]));
	}
	for (uint32_t i = 0; i < NODES; i++)
	{
		Host	   *h = &hosts[i];
		StoreConfig store = {.dir = "log", .cluster_id = 1, .node = i + 1, .segment_bytes = 16 << 20, .cache_bytes = 16 << 20, .record_bytes_max = 9 << 20};
		NodeConfig	config = {
			.self = i + 1, .incarnation = 1, .cluster_id = 1, .tick_ms = 10, .election_ticks = 10, .heartbeat_ticks = 2, .append_bytes_max = 1 << 20,
			.inflight_max = 256, .inflight_bytes_max = 16 << 20, .uncommitted_bytes_max = 64 << 20,
			.certifier = {.keys_max = 100000, .ids_max = 100000}, .seed = i,
		};
		NodeCallbacks callbacks = {.deliver = on_deliver, .proposal_failed = on_failed, .ctx = h};
		TransportConfig transport = {.cluster_id = 1, .self = i + 1, .incarnation = 1};
		TransportCallbacks calls = {.frame = on_frame, .peer_up = on_up, .peer_down = on_down, .ctx = h};

		h->disk = memvfs_create();
		check(store_open(memvfs_vfs(h->disk), &store, &h->store, error, sizeof(error)));
		check(store_create_group(h->store, ND_GROUP_META, c));
		check(store_create_group(h->store, 1, c));
		check(node_create(&config, h->store, &callbacks, NULL, &h->node, error, sizeof(error)));
		check(loopback_create(hub, &transport, &calls, &h->transport));
		node_set_transport(h->node, h->transport);
	}
	leader = leader_host();
	start = seconds();
	for (uint64_t done = 0; done < n; done += batch)
	{
		for (uint32_t i = 0; i < batch; i++)
		{
			uint64_t	counter = done + i + 1;
			EntryKey	key = {counter * UINT64_C(0x9e3779b97f4a7c15), KEY_ROW_UPDATE};
			NdBuf		buf;
			NdBlob	   *entry;

			nd_buf_init(&buf);
			check(entry_encode_header(&buf, ENTRY_TXN, 0, (TxnId) {1 + (uint32_t) (leader - hosts), 1, counter}, leader->index, &key, 1, NULL, 0));
			entry = nd_blob_new(NULL, PAYLOAD);
			memset(entry->data, 0, PAYLOAD);
			memcpy(entry->data, buf.data, buf.len);
			nd_buf_free(&buf);
			check(node_propose(leader->node, 1, entry, 1000000));
			nd_blob_unref(entry);
		}
		while (leader->delivered < done + batch)
			work_all();
		if (done % 8192 == 0)
			for (int i = 0; i < NODES; i++)
			{
				node_applied_durable(hosts[i].node, 1, hosts[i].index, 1 << 20);
				node_tick(hosts[i].node);
			}
	}
	node_tell_commit(leader->node);
	work_all();
	took = seconds() - start;
	for (int i = 0; i < NODES; i++)
	{
		if (hosts[i].delivered != n)
			check(ND_DAMAGED);
		node_destroy(hosts[i].node);
		hosts[i].transport->ops->destroy(hosts[i].transport);
		store_close(hosts[i].store);
		memvfs_destroy(hosts[i].disk);
	}
	loopback_hub_destroy(hub);
	free(c);
	return (double) n / took;
}

static void best(const char *what, double (*run) (uint32_t batch, uint64_t n), uint32_t batch, uint64_t n)
{
	double		most = 0;

	for (int i = 0; i < RUNS; i++)
	{
		double		now = run(batch, n);

		most = now > most ? now : most;
	}
	printf("%s, batches of %2u: %.3f million entries/s\n", what, batch, most / 1e6);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	/* For a profiler: one run of one kind. */
	if (argc == 4)
	{
		printf("%.3f\n", (strcmp(argv[1], "core") == 0 ? run_core : run_node) ((uint32_t) atoi(argv[2]), (uint64_t) atoll(argv[3])) / 1e6);
		return 0;
	}
	best("core alone, three replicas", run_core, 1, 640000);
	best("core alone, three replicas", run_core, 64, 6400000);
	best("with driver, certifier and store, three nodes", run_node, 1, 64000);
	best("with driver, certifier and store, three nodes", run_node, 64, 640000);
	return 0;
}
