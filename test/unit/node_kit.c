/*
 * node_kit.c: see node_kit.h.
 */
#include "node_kit.h"
#include "nomem_kit.h"

#define SETTLE_MAX 200

uint64_t	kit_segment_bytes = 1 << 20;

static KitNode *at(Kit *k, NdNodeId id)
{
	assert_in_range(id, 1, KIT_NODES);
	return &k->nodes[id];
}

/* ---- callbacks ---- */

static NdStatus on_deliver(void *ctx, const NodeDelivery *d)
{
	KitNode    *n = ctx;
	KitSeen    *s = &n->seen[n->n_seen];

	if (n->busy || (n->busy_group > 0 && d->group == n->busy_group) || (n->busy_meta && d->group == ND_GROUP_META))
		return ND_BUSY;
	n->busy = n->room > 0 && --n->room == 0;
	assert_true(n->n_seen < KIT_SEEN);
	*s = (KitSeen) {
		.group = d->group, .index = d->index, .term = d->term, .kind = d->kind, .replayed = d->replayed,
		.has_header = d->has_header, .local = d->local, .verdict = d->verdict.kind,
	};
	if (d->has_header)
	{
		s->txn = d->header.txn;
		s->entry_kind = d->header.kind;
	}
	s->n_parts = d->n_parts;
	for (uint32_t i = 0; i < d->n_parts && i < 4; i++)
		s->parts[i] = d->parts[i];
	n->n_seen++;
	return ND_OK;
}

static void on_granted(void *ctx, NdGroupId group, uint64_t index, TxnId txn)
{
	KitNode    *n = ctx;

	(void) group;
	n->turns++;
	n->turn_index = index;
	n->turn_txn = txn;
}

static void on_failed(void *ctx, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason)
{
	KitNode    *n = ctx;

	(void) group;
	(void) kind;
	n->failures++;
	n->outcome = outcome;
	n->reason = reason;
	n->failed_txn = txn;
}

static void on_read(void *ctx, NdGroupId group, uint64_t token, NdStatus status, uint64_t index)
{
	KitNode    *n = ctx;

	(void) group;
	n->reads++;
	n->read_status = status;
	n->read_index = index;
	n->read_token = token;
}

static void on_log(void *ctx, int level, const char *text)
{
	KitNode    *n = ctx;

	if (level == 3)
		snprintf(n->alarm, sizeof(n->alarm), "%s", text);
	if (getenv("KIT_LOG") != NULL)
		fprintf(stderr, "node %u: %d %s\n", n->id, level, text);
}

static uint64_t on_applied(void *ctx, NdGroupId group)
{
	KitNode    *n = ctx;

	return group < 8 ? n->applied[group] : 0;
}

static void on_frame(void *ctx, NdNodeId from, const uint8_t *data, size_t len)
{
	KitNode    *n = ctx;

	if (n->kit->filter == NULL || n->kit->filter(n->kit, n, from, data, len))
		node_frame(n->node, from, data, len);
}

static void on_up(void *ctx, NdNodeId peer, uint32_t incarnation)
{
	KitNode    *n = ctx;

	node_peer_up(n->node, peer, incarnation);
}

static void on_down(void *ctx, NdNodeId peer)
{
	KitNode    *n = ctx;

	node_peer_down(n->node, peer);
}

static void on_transport_log(void *ctx, int level, const char *text)
{
	on_log(ctx, level < 2 ? level : 1, text);
}

static void on_refused(void *ctx, const char *address, const char *text)
{
	(void) address;
	on_log(ctx, 1, text);
}

static void on_request(void *ctx, uint64_t id, const uint8_t *data, size_t len)
{
	(void) ctx;
	(void) id;
	(void) data;
	(void) len;
}

static void on_answer(void *ctx, uint64_t id, bool ok, const uint8_t *data, size_t len)
{
	(void) ok;
	on_request(ctx, id, data, len);
}

/* ---- life ---- */

Kit *kit_new(uint32_t n_data_groups)
{
	Kit		   *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	while ((k->hub = loopback_hub_create()) == NULL && nomem_failed())
		;
	assert_non_null(k->hub);
	k->n_groups = n_data_groups;
	k->config = (NodeConfig) {
		.cluster_id = 42, .tick_ms = 10, .election_ticks = KIT_ELECTION, .heartbeat_ticks = 2,
		.append_bytes_max = 1 << 20, .inflight_max = 16, .inflight_bytes_max = 4 << 20, .uncommitted_bytes_max = 16 << 20,
		.certifier = {.keys_max = 1000, .ids_max = 1000}, .checkpoint_every = 16, .seed = 1,
	};
	for (NdNodeId id = 1; id <= KIT_NODES; id++)
	{
		k->nodes[id].kit = k;
		k->nodes[id].id = id;
	}
	return k;
}

void kit_free(Kit *k)
{
	for (NdNodeId id = 1; id <= KIT_NODES; id++)
	{
		kit_stop(k, id, false);
		if (k->nodes[id].disk != NULL)
			memvfs_destroy(k->nodes[id].disk);
		free(k->nodes[id].seen);
	}
	loopback_hub_destroy(k->hub);
	free(k);
}

NodeMember kit_member(NdNodeId id)
{
	NodeMember	m = {.node = id, .role = RAFT_VOTER, .host_id = 1000 + id};

	snprintf(m.name, sizeof(m.name), "node%u", id);
	snprintf(m.address, sizeof(m.address), "host%u:1", id);
	return m;
}

void kit_open(Kit *k, NdNodeId id)
{
	KitNode    *n = at(k, id);
	StoreConfig config = {
		.dir = "log", .cluster_id = 42, .node = id, .segment_bytes = kit_segment_bytes, .cache_bytes = 1 << 20,
		.record_bytes_max = 9 << 20,
	};
	char		error[256] = "";
	NdStatus	status;

	if (n->store != NULL)
		return;
	if (n->disk == NULL)
		n->disk = memvfs_create();
	assert_non_null(n->disk);
	while ((status = store_open(memvfs_vfs(n->disk), &config, &n->store, error, sizeof(error))) == ND_NOMEM)
		assert_true(nomem_failed());
	if (status != ND_OK)
		fail_msg("store_open: %s", error);
}

void kit_start(Kit *k, NdNodeId id)
{
	KitNode    *n = at(k, id);
	NodeCallbacks callbacks = {.deliver = on_deliver, .granted = on_granted, .proposal_failed = on_failed, .read_done = on_read, .log = on_log, .ctx = n};
	TransportCallbacks calls = {
		.frame = on_frame, .peer_up = on_up, .peer_down = on_down, .refused = on_refused, .request = on_request, .answer = on_answer,
		.log = on_transport_log, .ctx = n,
	};
	NodeSnapshots snapshots;
	TransportConfig transport = {.cluster_id = 42, .self = id};
	NodeMember	self = kit_member(id);
	char		error[256] = "";
	NdStatus	status;

	assert_null(n->node);
	kit_open(k, id);
	free(n->seen);
	n->seen = calloc(KIT_SEEN, sizeof(*n->seen));
	assert_non_null(n->seen);
	n->n_seen = 0;
	n->incarnation++;
	if (k->snapshots != NULL)
	{
		snapshots = *k->snapshots;
		snapshots.ctx = n;
		callbacks.snapshots = &snapshots;
	}
	k->config.self = id;
	k->config.incarnation = n->incarnation;
	while ((status = node_create(&k->config, n->store, &callbacks, on_applied, &n->node, error, sizeof(error))) == ND_NOMEM)
		assert_true(nomem_failed());
	if (status != ND_OK)
		fail_msg("node_create: %s", error);
	transport.incarnation = n->incarnation;
	transport.listen = self.address;
	while ((status = loopback_create(k->hub, &transport, &calls, &n->transport)) == ND_NOMEM)
		assert_true(nomem_failed());
	assert_int_equal(status, ND_OK);
	node_set_transport(n->node, n->transport);
}

void kit_stop(Kit *k, NdNodeId id, bool crash)
{
	KitNode    *n = at(k, id);

	if (n->node != NULL)
	{
		node_destroy(n->node);
		n->transport->ops->destroy(n->transport);
		n->node = NULL;
		n->transport = NULL;
	}
	if (n->store != NULL)
		store_close(n->store);
	n->store = NULL;
	if (crash)
		memvfs_crash(n->disk, id);
}

static void create_group(KitNode *n, NdGroupId group, const RaftConfiguration *c)
{
	NdStatus	status;

	while ((status = store_create_group(n->store, group, c)) == ND_NOMEM)
		assert_true(nomem_failed());
	assert_int_equal(status, ND_OK);
}

static Kit *cluster(uint32_t n_nodes, uint32_t n_data_groups, bool sequencer, const SeqLimits *limits)
{
	Kit		   *k = kit_new(n_data_groups);
	RaftConfiguration *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	if (limits != NULL)
		k->config.sequencer = *limits;
	for (NdNodeId id = 1; id <= n_nodes; id++)
	{
		c->n = n_nodes;
		for (NdNodeId m = 1; m <= n_nodes; m++)
		{
			NodeMember	member = kit_member(m);

			assert_int_equal(wire_member_to_raft(&member, &c->members[m - 1]), ND_OK);
		}
		kit_open(k, id);
		for (uint32_t g = ND_GROUP_META; g <= n_data_groups; g++)
			create_group(&k->nodes[id], g, c);
		if (sequencer)
			create_group(&k->nodes[id], ND_GROUP_SEQUENCER, c);
		kit_start(k, id);
	}
	free(c);
	return k;
}

Kit *kit_cluster(uint32_t n_nodes, uint32_t n_data_groups)
{
	return cluster(n_nodes, n_data_groups, false, NULL);
}

Kit *kit_sequencer_cluster(uint32_t n_nodes, uint32_t n_data_groups, const SeqLimits *limits)
{
	return cluster(n_nodes, n_data_groups, true, limits);
}

/* ---- time ---- */

void kit_settle(Kit *k)
{
	/* One pass is not the end of it: what one node sends, a node before it in the list reads in the next pass. Three quiet passes are. */
	for (int pass = 0, quiet = 0; quiet < 4 && pass < SETTLE_MAX; pass++)
	{
		bool		more = false;

		for (NdNodeId id = 1; id <= KIT_NODES; id++)
		{
			KitNode    *n = &k->nodes[id];

			if (n->node == NULL || n->stopped)
				continue;
			n->transport->ops->poll(n->transport);
			more |= node_work(n->node);
			for (uint32_t i = 0; i < node_group_count(n->node); i++)
			{
				/* groups ascend: the data groups have their ids as places, the sequencer's is the last */
				const Raft *raft = node_raft(n->node, i);
				const char *broken = raft_check(raft != NULL ? raft : node_raft(n->node, ND_GROUP_SEQUENCER));

				if (broken != NULL && !node_failed(n->node, NULL))
					fail_msg("node %u group %u: %s", id, i, broken);
			}
		}
		quiet = more ? 0 : quiet + 1;
	}
}

void kit_tick(Kit *k, uint32_t ticks)
{
	for (uint32_t t = 0; t < ticks; t++)
	{
		for (NdNodeId id = 1; id <= KIT_NODES; id++)
			if (k->nodes[id].node != NULL && !k->nodes[id].stopped)
				node_tick(k->nodes[id].node);
		kit_settle(k);
	}
}

NdNodeId kit_leader(Kit *k, NdGroupId group)
{
	for (int t = 0; t < 20 * KIT_ELECTION; t++)
	{
		NdNodeId	leader = 0;
		bool		agreed = true;

		for (NdNodeId id = 1; id <= KIT_NODES; id++)
			if (k->nodes[id].node != NULL && kit_role(k, id, group, id) == RAFT_VOTER)
			{
				NdNodeId	l = raft_leader(node_raft(k->nodes[id].node, group));

				agreed = agreed && l != 0 && (leader == 0 || l == leader);
				leader = l;
			}
		if (agreed && leader != 0 && k->nodes[leader].node != NULL && raft_is_leader(node_raft(k->nodes[leader].node, group)) &&
			kit_status(k, leader, group)->raft.term_committed)
			return leader;
		kit_tick(k, 1);
	}
	return 0;
}

/* ---- clients ---- */

NdBlob *kit_entry(TxnId txn, uint64_t base, uint64_t key)
{
	EntryKey	keys[1] = {{key, KEY_ROW_UPDATE}};
	NdBuf		buf;
	NdBlob	   *blob;

	nomem_pause(true);
	nd_buf_init(&buf);
	assert_int_equal(entry_encode_header(&buf, ENTRY_TXN, 0, txn, base, keys, 1, NULL, 0), ND_OK);
	nd_buf_bytes(&buf, "body", 4);
	blob = nd_blob_new(buf.data, (uint32_t) buf.len);
	assert_non_null(blob);
	nd_buf_free(&buf);
	nomem_pause(false);
	return blob;
}

NdStatus kit_propose(Kit *k, NdNodeId id, NdGroupId group, uint64_t counter, uint64_t base, uint64_t key, uint32_t deadline)
{
	KitNode    *n = at(k, id);
	NdBlob	   *entry = kit_entry((TxnId) {id, n->incarnation, counter}, base, key);
	NdStatus	status = node_propose(n->node, group, entry, deadline);

	nd_blob_unref(entry);
	return status;
}

NdStatus kit_propose_several(Kit *k, NdNodeId at, uint64_t counter, uint64_t base, uint64_t key, uint32_t deadline, NdGroupId a, NdGroupId b)
{
	TxnId		txn = {at, k->nodes[at].incarnation, counter};
	EntryKey	keys[] = {{key, KEY_ROW_UPDATE}};
	SeqPart		parts[2];
	NdBuf		entry;
	NdBuf		buf;
	NdBlob	   *request;
	NdStatus	status;

	nd_buf_init(&entry);
	nd_buf_init(&buf);
	assert_int_equal(entry_encode_txn(&entry, 0, txn, base, keys, 1, 0, NULL, 0, NULL, 0), ND_OK);
	parts[0] = (SeqPart) {a, entry.data, (uint32_t) entry.len};
	parts[1] = (SeqPart) {b, entry.data, (uint32_t) entry.len};
	assert_int_equal(seq_encode_request(&buf, txn, 0, parts, 2), ND_OK);
	request = nd_blob_new(buf.data, (uint32_t) buf.len);
	nd_buf_free(&entry);
	nd_buf_free(&buf);
	status = node_propose_several(k->nodes[at].node, request, deadline);
	nd_blob_unref(request);
	return status;
}

uint32_t kit_count(Kit *k, NdNodeId id, NdNodeId origin, uint64_t counter, VerdictKind verdict)
{
	KitNode    *n = at(k, id);
	uint32_t	count = 0;

	for (uint32_t i = 0; i < n->n_seen; i++)
		count += n->seen[i].has_header && n->seen[i].txn.node == origin && n->seen[i].txn.incarnation == k->nodes[origin].incarnation &&
			n->seen[i].txn.counter == counter && (verdict == VERDICT_NONE || n->seen[i].verdict == verdict);
	return count;
}

uint32_t kit_outcomes(Kit *k, NdNodeId at, NdNodeId origin, uint64_t counter, VerdictKind verdict, uint32_t *parts)
{
	const KitNode *n = &k->nodes[at];
	uint32_t	count = 0;

	*parts = 0;
	for (uint32_t i = 0; i < n->n_seen; i++)
	{
		const KitSeen *s = &n->seen[i];

		if (s->has_header && !s->replayed && s->entry_kind == ENTRY_OUTCOME && s->txn.node == origin && s->txn.counter == counter && s->verdict == verdict)
		{
			count++;
			*parts += s->n_parts;
		}
	}
	return count;
}

NodeGroupStatus *kit_status(Kit *k, NdNodeId id, NdGroupId group)
{
	static NodeGroupStatus status;
	uint32_t	place = group == ND_GROUP_SEQUENCER ? node_group_count(at(k, id)->node) - 1 : group;

	assert_int_equal(node_group_status(at(k, id)->node, place, &status), ND_OK);
	return &status;
}

RaftRole kit_role(Kit *k, NdNodeId id, NdGroupId group, NdNodeId of)
{
	const RaftMember *m = raft_configuration_find(raft_configuration(node_raft(at(k, id)->node, group)), of);

	return m != NULL ? m->role : (RaftRole) -1;
}

static const KitSeen *seen_at(const KitNode *n, NdGroupId group, uint64_t index)
{
	for (uint32_t i = 0; i < n->n_seen; i++)
		if (n->seen[i].group == group && n->seen[i].index == index)
			return &n->seen[i];
	return NULL;
}

void kit_assert_same(Kit *k)
{
	for (NdNodeId a = 1; a <= KIT_NODES; a++)
		for (uint32_t i = 0; k->nodes[a].node != NULL && i < k->nodes[a].n_seen; i++)
		{
			const KitSeen *s = &k->nodes[a].seen[i];

			for (uint32_t j = 0; j < i; j++)
				assert_true(k->nodes[a].seen[j].group != s->group || k->nodes[a].seen[j].index < s->index);
			for (NdNodeId b = 1; b <= KIT_NODES; b++)
			{
				const KitSeen *t = k->nodes[b].node != NULL ? seen_at(&k->nodes[b], s->group, s->index) : NULL;

				if (t == NULL)
					continue;
				assert_int_equal(s->term, t->term);
				assert_int_equal(s->kind, t->kind);
				assert_int_equal(s->verdict, t->verdict);
			}
		}
}
