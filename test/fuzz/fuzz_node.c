/*
 * fuzz_node.c: one real node (driver, cores, certifiers, store on a memory disk), whose two peers are the input: frames of any bytes, well-formed
 * frames with any content, connections that come and go, a disk that is slow or full, clients, crashes between any two events. In three of four runs, by
 * the input's length, there is a host of snapshots (node_snapshots.h).
 *
 * What holds whatever the peers say: no memory error; a frame that cannot be decoded changes no group; what the node sends can be decoded; entries are
 * delivered once and in order; each core is consistent in itself or frozen with a reason; the store never fails, and opens again after every
 * crash. What does not hold: peers that are authenticated are believed, so lies of theirs may freeze or stop a group, or elect two leaders.
 */
#include "../../src/node/node.h"
#include "../sim/memvfs.h"

#include "fuzz.h"
#include "node_snapshots.h"

#define PEERS 2					/* nodes 2 and 3 */
#define GROUPS 3				/* group 0 and two data groups */
#define DISK_BYTES (4u << 20)
#define ROUNDS_MAX 100
#define EVENTS_MAX 1500

typedef struct World
{
	NdReader   *c;				/* the choices */
	MemVfs	   *disk;
	Store	   *store;
	Node	   *node;
	Transport	transport;
	uint32_t	incarnation;
	uint64_t	counter;
	uint64_t	delivered[GROUPS];	/* of this life */
	uint64_t	applied[GROUPS];
	bool		busy;
	bool		up[PEERS + 2];
	uint8_t		bytes[300];
	bool		has_snapshots;
	SnapshotHost host;
} World;

static World *world;			/* of the transport's functions */

static uint32_t pick(World *w, uint32_t n)
{
	return nd_read_u8(w->c) % n;
}

/* ---- what the node sends ---- */

static void see_raft(void *ctx, const RaftMessage *m)
{
	(void) ctx;
	MUST(m->group < GROUPS);
}

static void see_proposal(void *ctx, const WireProposal *p)
{
	EntryHeader h;

	(void) ctx;
	MUST(entry_decode(p->entry, p->len, &h) == ND_OK);
}

static void see_answer(void *ctx, const WireAnswer *a)
{
	(void) ctx;
	MUST(a->group < GROUPS);
}

static void see_gossip(void *ctx, const WireGossip *g)
{
	(void) ctx;
	MUST(g->group < GROUPS);
}

static void see_sleep(void *ctx, const WireSleep *s)
{
	(void) ctx;
	MUST(s->group < GROUPS);
}

static void see_members(void *ctx, const WireMembers *m)
{
	(void) ctx;
	MUST(m->configuration->n <= RAFT_MEMBERS_MAX);
}

static void see_offer(void *ctx, const WireSnapshotOffer *i)
{
	(void) ctx;
	MUST(i->group < GROUPS);
	world->host.sent = *i;
}

static void see_chunk(void *ctx, const WireSnapshotChunk *i)
{
	(void) ctx;
	MUST(i->group < GROUPS);
}

static void see_ack(void *ctx, const WireSnapshotAck *i)
{
	(void) ctx;
	MUST(i->group < GROUPS);
}

static const WireSink seeing = {see_raft, see_proposal, see_answer, see_gossip, see_sleep, NULL, see_members, see_offer, see_chunk, see_ack};

static NdStatus t_set_peer(Transport *t, NdNodeId peer, const char *address)
{
	(void) t;
	MUST(peer != 1 && address[0] != '\0');
	return ND_OK;
}

static NdStatus t_remove_peer(Transport *t, NdNodeId peer)
{
	(void) t;
	(void) peer;
	return ND_OK;
}

static bool t_connected(Transport *t, NdNodeId peer)
{
	(void) t;
	return peer >= 2 && peer <= PEERS + 1 && world->up[peer];
}

static NdStatus t_send(Transport *t, NdNodeId peer, const uint8_t *data, size_t len)
{
	MUST(len > 0 && len <= TRANSPORT_FRAME_BYTES_MAX);
	MUST(wire_decode(data, len, 1, peer, &seeing) == ND_OK);
	return t_connected(t, peer) ? ND_OK : ND_NOTFOUND;
}

static const TransportOps transport_ops = {.set_peer = t_set_peer, .remove_peer = t_remove_peer, .send = t_send, .connected = t_connected};

/* ---- what the node tells ---- */

static NdStatus on_deliver(void *ctx, const NodeDelivery *d)
{
	World	   *w = ctx;

	MUST(d->group < GROUPS);
	if (w->busy)
		return ND_BUSY;
	MUST(w->delivered[d->group] == 0 ? d->index <= w->applied[d->group] + 1 : d->index == w->delivered[d->group] + 1);
	MUST(!d->has_header || d->kind == RAFT_ENTRY_DATA);
	w->delivered[d->group] = d->index;
	return ND_OK;
}

static void on_failed(void *ctx, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason)
{
	(void) ctx;
	(void) group;
	(void) kind;
	(void) outcome;
	MUST(txn.node == 1 && reason != ND_OK);
}

static void on_read(void *ctx, NdGroupId group, uint64_t token, NdStatus status, uint64_t index)
{
	(void) ctx;
	(void) token;
	(void) index;
	MUST(group < GROUPS && (status == ND_OK || status == ND_NOLEADER || status == ND_FROZEN));
}

static void on_log(void *ctx, int level, const char *text)
{
	(void) ctx;
	if (getenv("FUZZ_LOG") != NULL)
		fprintf(stderr, "%d %s\n", level, text);
}

static uint64_t on_applied(void *ctx, NdGroupId group)
{
	return ((World *) ctx)->applied[group];
}

/* ---- life ---- */

static RaftConfiguration *members(World *w, uint32_t n)
{
	static RaftConfiguration c;

	(void) w;
	memset(&c, 0, sizeof(c));
	for (c.n = 0; c.n < n; c.n++)
	{
		WireMember	m = {.node = c.n + 1, .role = c.n < 3 ? RAFT_VOTER : RAFT_LEARNER, .host_id = c.n + 1};

		snprintf(m.name, sizeof(m.name), "node%u", m.node);
		snprintf(m.address, sizeof(m.address), "host%u:1", m.node);
		MUST(wire_member_to_raft(&m, &c.members[c.n]) == ND_OK);
	}
	return &c;
}

static void start(World *w)
{
	StoreConfig config = {.dir = "log", .cluster_id = 42, .node = 1, .segment_bytes = 64 << 10, .cache_bytes = 4096, .record_bytes_max = 8192};
	NodeConfig	node = {
		.self = 1, .incarnation = ++w->incarnation, .cluster_id = 42, .tick_ms = 10, .election_ticks = 5, .heartbeat_ticks = 1,
		.append_bytes_max = 1000, .inflight_max = 4, .inflight_bytes_max = 4000, .uncommitted_bytes_max = 4000,
		.certifier = {.keys_max = 20, .ids_max = 20}, .checkpoint_every = 4, .entry_bytes_max = 400, .sleep_after_ticks = 8,
		.orphan_ticks = 20, .snapshot_chunk_bytes = 40, .snapshot_window_bytes = 100, .seed = 1,
	};
	const NodeSnapshots snapshots = snapshot_host(&w->host);
	NodeCallbacks callbacks = {.deliver = on_deliver, .proposal_failed = on_failed, .read_done = on_read, .log = on_log, .ctx = w,
		.snapshots = w->has_snapshots ? &snapshots : NULL};
	NdGroupId	groups[GROUPS];
	char		error[400] = "";
	NdStatus	status = store_open(memvfs_vfs(w->disk), &config, &w->store, error, sizeof(error));

	if (status == ND_OK && store_groups(w->store, groups, GROUPS) == 0)
		for (NdGroupId g = 0; g < GROUPS; g++)
			MUST(store_create_group(w->store, g, members(w, 3)) == ND_OK);
	if (status == ND_OK)
		status = node_create(&node, w->store, &callbacks, on_applied, &w->node, error, sizeof(error));
	if (status != ND_OK)
		fprintf(stderr, "%s: %s\n", nd_status_text(status), error);
	MUST(status == ND_OK);
	w->transport.ops = &transport_ops;
	node_set_transport(w->node, &w->transport);
	memset(w->up, 0, sizeof(w->up));
	memset(w->delivered, 0, sizeof(w->delivered));
	w->host = (SnapshotHost) {.applied = w->applied, .delivered = w->delivered};
}

static void stop(World *w)
{
	node_destroy(w->node);
	store_close(w->store);
	w->node = NULL;
}

static void look(World *w)
{
	for (NdGroupId g = 0; g < GROUPS; g++)
	{
		const Raft *raft = node_raft(w->node, g);
		const char *broken = raft_check(raft);

		if (broken != NULL && broken != raft_frozen_reason(raft))
			fprintf(stderr, "group %u: %s\n", g, broken);
		MUST(broken == NULL || broken == raft_frozen_reason(raft));
	}
	MUST(!node_failed(w->node, NULL));
}

static void work(World *w)
{
	for (int i = 0; i < ROUNDS_MAX && node_work(w->node); i++)
		;
	look(w);
}

/* ---- what peers say ---- */

/* A number around `was`, now and then any. */
static uint64_t near(World *w, uint64_t was)
{
	uint8_t		how = nd_read_u8(w->c);

	if (how < 160)
		return was;
	if (how < 240)
		return was + how % 7 - 3;
	return how < 248 ? nd_read_u64(w->c) : how < 252 ? 0 : UINT64_MAX;
}

static size_t raw(World *w)
{
	size_t		len = nd_read_u8(w->c);
	const uint8_t *bytes;

	if (len > nd_reader_left(w->c))
		len = nd_reader_left(w->c);
	bytes = nd_read_bytes(w->c, len);
	if (bytes == NULL)
		return 0;
	memcpy(w->bytes, bytes, len);
	return len;
}

/* Bytes of an entry of a data group: well-formed, or any. */
static void put_entry(World *w, NdBuf *out, NdNodeId node, uint32_t incarnation)
{
	static const EntryKind kinds[] = {ENTRY_TXN, ENTRY_TXN, ENTRY_CHUNK, ENTRY_RESERVE, ENTRY_CANCEL};
	EntryKind	kind = kinds[pick(w, 5)];
	EntryKey	key = {pick(w, 8), KEY_ROW_UPDATE};
	uint64_t	chunk = 1 + pick(w, 40);
	uint64_t	base = near(w, node_raft(w->node, 1) == NULL ? 0 : w->delivered[1]);
	uint64_t	counter = pick(w, 4) > 0 ? ++w->counter : 1 + pick(w, 20);

	MUST(entry_encode_header(out, kind, 1, (TxnId) {node, incarnation, counter}, base, &key, kind == ENTRY_TXN || kind == ENTRY_RESERVE, &chunk,
							 kind == ENTRY_TXN && counter % 4 == 0) == ND_OK);
}

static void put_payload(World *w, NdGroupId group, RaftEntryKind kind, NdNodeId from, NdBuf *out)
{
	uint32_t	how = pick(w, 8);

	if (how == 0)
		nd_buf_bytes(out, w->bytes, raw(w));
	else if (kind == RAFT_ENTRY_CONFIG)
	{
		RaftConfiguration *c = members(w, 1 + pick(w, 5));

		for (uint32_t i = 0; i < c->n; i++)
			c->members[i].role = pick(w, 4) > 0 ? RAFT_VOTER : RAFT_LEARNER;
		MUST(raft_configuration_encode(c, out) == ND_OK);
	}
	else if (kind == RAFT_ENTRY_DATA && group == 0)
	{
		WireMeta	meta = {.highest_node = pick(w, 10), .n_data_groups = 2, .certifier_keys_max = 20, .certifier_ids_max = 20, .has_token = true};

		wire_token_hash("secret", 6, meta.token_hash);
		MUST(wire_encode_meta(&meta, out) == ND_OK);
	}
	else if (kind == RAFT_ENTRY_DATA)
		put_entry(w, out, pick(w, 3) == 0 ? 1 : from, 1 + pick(w, 3));
}

static void put_raft_message(World *w, NdNodeId from, NdBuf *frame)
{
	static const RaftMessageType likely[] = {RAFT_MSG_APPEND, RAFT_MSG_APPEND, RAFT_MSG_APPEND, RAFT_MSG_HEARTBEAT, RAFT_MSG_APPEND_REPLY,
		RAFT_MSG_APPEND_REPLY, RAFT_MSG_PREVOTE_REPLY, RAFT_MSG_VOTE_REPLY};
	NdGroupId	group = pick(w, GROUPS + 1);
	const Raft *raft = node_raft(w->node, group);
	uint32_t	type = pick(w, 32);
	uint32_t	n = pick(w, 4);
	RaftStatus	s = {0};
	RaftEntry	entries[4] = {{0}};
	RaftMessage m = {.type = type < 8 ? likely[type] : RAFT_MSG_PREVOTE + type % RAFT_MSG_READ_INDEX_REPLY, .group = group};

	if (raft != NULL)
		raft_status(raft, &s);
	m.term = near(w, s.term);
	m.index = near(w, s.last_index);
	m.log_term = near(w, raft == NULL ? 0 : raft_term_of(raft, m.index));
	m.commit = near(w, s.last_index);
	m.hint_index = near(w, s.last_index);
	m.hint_term = near(w, s.term);
	m.context = near(w, 1);
	m.reject = pick(w, 4) == 0 && type >= 8;
	if (m.type == RAFT_MSG_APPEND)
	{
		m.entries = entries;
		for (m.n_entries = 0; m.n_entries < n; m.n_entries++)
		{
			RaftEntry  *e = &entries[m.n_entries];
			uint32_t	kind = pick(w, 8);
			NdBuf		payload;

			nd_buf_init(&payload);
			e->kind = kind == 0 ? RAFT_ENTRY_NOOP : kind == 1 ? RAFT_ENTRY_CONFIG : RAFT_ENTRY_DATA;
			e->term = near(w, m.term);
			put_payload(w, group, e->kind, from, &payload);
			if (payload.len > 0)
				e->payload = nd_blob_new(payload.data, (uint32_t) payload.len);
			nd_buf_free(&payload);
		}
	}
	wire_put_raft(frame, &m);
	for (uint32_t i = 0; i < m.n_entries; i++)
		nd_blob_unref(entries[i].payload);
}

static void put_small(World *w, NdNodeId from, NdBuf *frame)
{
	NdGroupId	group = pick(w, GROUPS + 1);
	const Raft *raft = node_raft(w->node, group);
	RaftStatus	s = {0};
	NdBuf		entry;

	if (raft != NULL)
		raft_status(raft, &s);
	switch (pick(w, 5))
	{
		case 0:
			nd_buf_init(&entry);
			put_payload(w, 1, RAFT_ENTRY_DATA, from, &entry);
			if (entry.len > 0)
				wire_put_proposal(frame, &(WireProposal) {group, near(w, 1), entry.data, entry.len});
			nd_buf_free(&entry);
			break;
		case 1:
			wire_put_answer(frame, &(WireAnswer) {group, near(w, 1), pick(w, 4), pick(w, 5), near(w, s.last_index), near(w, s.term)});
			break;
		case 2:
			wire_put_gossip(frame, &(WireGossip) {group, near(w, s.last_index), near(w, s.last_index), 4 * pick(w, 8), near(w, 0), near(w, s.last_index),
				near(w, s.last_index), s.commit % 2 == 1, near(w, s.last_index), near(w, s.last_index), (uint32_t) (s.commit % 5)});
			break;
		case 3:
			wire_put_sleep(frame, &(WireSleep) {group, near(w, s.term), near(w, s.commit)});
			break;
		default:
			wire_put_members(frame, &(WireMembers) {near(w, 0), members(w, pick(w, 6))});
			break;
	}
}

static void ignore_raft(void *ctx, const RaftMessage *m)
{
	(void) ctx;
	(void) m;
}

static void ignore_proposal(void *ctx, const WireProposal *p)
{
	(void) ctx;
	(void) p;
}

static void ignore_answer(void *ctx, const WireAnswer *a)
{
	(void) ctx;
	(void) a;
}

static void ignore_gossip(void *ctx, const WireGossip *g)
{
	(void) ctx;
	(void) g;
}

static void ignore_sleep(void *ctx, const WireSleep *s)
{
	(void) ctx;
	(void) s;
}

static void any_frame(World *w, NdNodeId from)
{
	static const WireSink ignore = {.raft = ignore_raft, .proposal = ignore_proposal, .answer = ignore_answer, .gossip = ignore_gossip, .sleep = ignore_sleep};
	static NodeGroupStatus before[GROUPS];
	static NodeGroupStatus after;
	size_t		len = raw(w);
	bool		bad = wire_decode(w->bytes, len, from, 1, &ignore) != ND_OK;

	for (uint32_t g = 0; g < GROUPS; g++)
		MUST(node_group_status(w->node, g, &before[g]) == ND_OK);
	node_frame(w->node, from, w->bytes, len);
	for (uint32_t g = 0; bad && g < GROUPS; g++)
	{
		MUST(node_group_status(w->node, g, &after) == ND_OK);
		MUST(after.frozen == before[g].frozen && after.alarm == before[g].alarm && after.asleep == before[g].asleep);
		MUST(after.raft.state == before[g].raft.state && after.raft.term == before[g].raft.term && after.raft.commit == before[g].raft.commit &&
			 after.raft.last_index == before[g].raft.last_index && after.delivered == before[g].delivered);
	}
}

static void frame(World *w, NdNodeId from)
{
	uint32_t	items = 1 + pick(w, 3);
	NdBuf		buf;

	nd_buf_init(&buf);
	for (uint32_t i = 0; i < items; i++)
		if (pick(w, 4) > 0)
			put_raft_message(w, from, &buf);
		else
			put_small(w, from, &buf);
	if (!buf.failed)
		node_frame(w->node, from, buf.data, buf.len);
	nd_buf_free(&buf);
}

/* Of snapshots: an offer, the next pieces of the one that was offered, any piece, an answer to what the node offers. */
static void snapshot_frame(World *w, NdNodeId from)
{
	SnapshotHost *h = &w->host;
	uint32_t	what = pick(w, 8);
	RaftStatus	s = {0};
	NdBuf		buf;

	nd_buf_init(&buf);
	if (what < 2)
	{
		NdGroupId	group = pick(w, GROUPS);
		uint8_t		bytes[512];

		raft_status(node_raft(w->node, group), &s);
		h->offered = (WireSnapshotOffer) {.group = group, .id = ++w->counter, .index = near(w, s.commit + 2), .term = near(w, s.term > 0 ? s.term : 1),
		.configuration = members(w, 1 + pick(w, 5))};
		h->offered.checkpoint = h->offered.index + pick(w, 3);
		h->offered.applied = h->offered.checkpoint + pick(w, 3);
		h->offered.checkpoint_bytes = near(w, stream(h->offered.applied, bytes));
		h->offset = 0;
		wire_put_snapshot_offer(&buf, &h->offered);
	}
	else if (what < 5)
		for (uint32_t i = 0; i < 4; i++)
		{
			uint32_t	len = 1 + pick(w, 100);

			put_chunk(h, &buf, h->offset, len, false);
			h->offset += len;
		}
	else if (what < 6)
		put_chunk(h, &buf, near(w, h->offset), pick(w, 100), pick(w, 4) == 0);
	else
		wire_put_snapshot_ack(&buf, &(WireSnapshotAck) {.group = h->sent.group, .id = near(w, h->sent.id), .kind = WIRE_SNAPSHOT_NEXT + pick(w, 4),
			.offset = near(w, pick(w, 10) * 40)});
	if (!buf.failed && buf.len > 0)
		node_frame(w->node, from, buf.data, buf.len);
	nd_buf_free(&buf);
}

/* ---- everything else ---- */

static void join(World *w)
{
	WireJoinRequest r = {.host_id = pick(w, 8), .format_min = 1, .format_max = pick(w, 8) == 0 ? 9 : 1};
	NdBuf		request;
	NdBuf		answer;

	snprintf(r.token, sizeof(r.token), "%s", pick(w, 4) == 0 ? "wrong" : "secret");
	snprintf(r.name, sizeof(r.name), "node%u", pick(w, 8));
	snprintf(r.address, sizeof(r.address), "host%u:1", pick(w, 8));
	nd_buf_init(&request);
	nd_buf_init(&answer);
	MUST(wire_encode_join_request(&r, &request) == ND_OK);
	if (pick(w, 4) == 0)
		(void) node_handle_join(w->node, w->bytes, raw(w), &answer);
	else if (node_handle_join(w->node, request.data, request.len, &answer) == ND_OK)
	{
		static WireJoinAnswer a;

		MUST(wire_decode_join_answer(answer.data, answer.len, &a) == ND_OK);
	}
	nd_buf_free(&request);
	nd_buf_free(&answer);
}

static void client(World *w)
{
	NdGroupId	group = pick(w, GROUPS + 1);
	NdBuf		buf;
	NdBlob	   *blob;

	nd_buf_init(&buf);
	put_payload(w, 1, RAFT_ENTRY_DATA, 1, &buf);
	blob = nd_blob_new(buf.data, (uint32_t) buf.len);
	MUST(blob != NULL);
	(void) node_propose(w->node, group, blob, pick(w, 40));
	nd_blob_unref(blob);
	nd_buf_free(&buf);
	if (pick(w, 4) == 0)
		(void) node_read(w->node, group, ++w->counter, pick(w, 40));
	if (pick(w, 8) == 0)
		node_forget(w->node, group, (TxnId) {1, w->incarnation, w->counter}, ENTRY_TXN);
}

static void administrate(World *w)
{
	NodeMember	m = {.node = 1 + pick(w, 8), .role = RAFT_VOTER};

	snprintf(m.name, sizeof(m.name), "node%u", pick(w, 8));
	snprintf(m.address, sizeof(m.address), "host%u:1", pick(w, 8));
	switch (pick(w, 6))
	{
		case 0:
			(void) node_add_member(w->node, &m);
			break;
		case 1:
			(void) node_remove_member(w->node, m.node);
			break;
		case 2:
			(void) node_transfer(w->node, pick(w, GROUPS + 1), m.node);
			break;
		case 3:
			(void) node_set_token(w->node, "secret", 6);
			break;
		case 4:
			node_ask_shown(w->node, pick(w, GROUPS + 1), near(w, w->delivered[1]));
			(void) node_shown_by_all(w->node, 1);
			(void) node_shown(w->node, 1, w->delivered[1]);
			node_ask_prepared(w->node, pick(w, GROUPS + 1), near(w, w->delivered[1]));
			(void) node_prepared_by_all(w->node, 1);
			node_prepared(w->node, pick(w, GROUPS + 1), 1 + near(w, w->delivered[1]));
			break;
		default:
			(void) node_commit_untold(w->node);
			node_tell_commit(w->node);
			break;
	}
}

/* The tables of the group hold what was delivered to them, and say so. */
static void apply(World *w)
{
	NdGroupId	g = pick(w, GROUPS);

	if (w->delivered[g] > w->applied[g])
		w->applied[g] = w->delivered[g];
	node_applied_durable(w->node, g, w->applied[g], pick(w, 2) * 1000);
}

static void disk(World *w)
{
	uint32_t	what = pick(w, 8);

	memvfs_set_manual(w->disk, what < 3);
	memvfs_complete(w->disk);
	memvfs_set_space(w->disk, what == 3 ? 0 : DISK_BYTES);
}

static void event(World *w)
{
	uint32_t	what = pick(w, 64);
	NdNodeId	peer = 2 + pick(w, PEERS);

	if (what < 24)
		frame(w, peer);
	else if (what < 28)
		any_frame(w, peer);
	else if (what < 40)
		node_tick(w->node);
	else if (what < 46)
		client(w);
	else if (what < 49)
		apply(w);
	else if (what < 52)
		disk(w);
	else if (what < 55)
		administrate(w);
	else if (what < 57)
		join(w);
	else if (what < 61)
	{
		w->up[peer] = !w->up[peer];
		if (w->up[peer])
			node_peer_up(w->node, peer, 1 + pick(w, 3));
		else
			node_peer_down(w->node, peer);
	}
	else if (what < 62)
		w->busy = !w->busy;
	else if (what < 63)
	{
		stop(w);
		memvfs_crash(w->disk, nd_read_u8(w->c));
		memvfs_set_manual(w->disk, false);
		memvfs_set_space(w->disk, DISK_BYTES);
		start(w);
	}
	else if (pick(w, 4) > 0)
		for (uint32_t i = pick(w, 8); i > 0; i--)
			snapshot_frame(w, peer);
	else
		w->host.busy = !w->host.busy;
	work(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static World w;
	NdReader	choices;

	memset(&w, 0, sizeof(w));
	world = &w;
	w.c = &choices;
	w.has_snapshots = size % 4 != 0;
	nd_reader_init(&choices, data, size);
	w.disk = memvfs_create();
	memvfs_set_space(w.disk, DISK_BYTES);
	start(&w);
	for (int i = 0; i < EVENTS_MAX && !choices.failed; i++)
		event(&w);
	stop(&w);
	memvfs_destroy(w.disk);
	return 0;
}
