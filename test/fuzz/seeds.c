/*
 * seeds.c: bytes for the fuzz targets to begin with, valid ones for decoders: seeds FOLDER writes FOLDER/<target>/seed-*.
 */
#include <sys/stat.h>

#include "../../src/core/certifier/certifier.h"
#include "../../src/core/sequencer/sequencer.h"
#include "../../src/core/wire/wire.h"
#include "../../src/store/store.h"
#include "../sim/memvfs.h"
#include "fuzz.h"

static const char *folder;

static void put(const char *target, const char *name, const void *data, size_t len)
{
	char		path[1000];
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/%s", folder, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/seed-%s", folder, target, name);
	file = fopen(path, "wb");
	MUST(file != NULL && fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

static void put_buf(const char *target, const char *name, NdBuf *buf)
{
	MUST(!buf->failed);
	put(target, name, buf->data, buf->len);
	nd_buf_reset(buf);
}

static WireMember member(NdNodeId node)
{
	WireMember	m = {.node = node, .role = node < 4 ? RAFT_VOTER : RAFT_LEARNER, .host_id = 1000 + node, .leaving = node == 2};

	snprintf(m.name, sizeof(m.name), "node%u", node);
	snprintf(m.address, sizeof(m.address), "host%u:1", node);
	return m;
}

static RaftConfiguration *configuration(bool joint)
{
	static RaftConfiguration c;

	memset(&c, 0, sizeof(c));
	c.index = 3;
	c.joint = joint;
	for (c.n = 0; c.n < 5; c.n++)
	{
		WireMember	m = member(c.n + 1);

		MUST(wire_member_to_raft(&m, &c.members[c.n]) == ND_OK);
		c.members[c.n].in_old = joint && c.n < 3;
		if (joint && c.n == 0)
			c.members[c.n].role = RAFT_LEAVING;
	}
	return &c;
}

static void frames(NdBuf *buf)
{
	NdBlob	   *payload = nd_blob_new("payload", 7);
	RaftEntry	entries[2] = {{6, 2, RAFT_ENTRY_DATA, payload}, {7, 3, RAFT_ENTRY_NOOP, NULL}};

	for (int type = RAFT_MSG_PREVOTE; type <= RAFT_MSG_READ_INDEX_REPLY; type++)
	{
		RaftMessage m = {.type = type, .group = 1, .from = 2, .to = 1, .term = 3, .index = 5, .log_term = 2, .commit = 4, .hint_index = 3,
			.hint_term = 1, .context = 9, .reject = type % 2 == 0};
		char		name[16];

		if (type == RAFT_MSG_APPEND)
		{
			m.entries = entries;
			m.n_entries = 2;
		}
		wire_put_raft(buf, &m);
		snprintf(name, sizeof(name), "raft%d", type);
		put_buf("fuzz_wire", name, buf);
	}
	wire_put_proposal(buf, &(WireProposal) {1, 2, (const uint8_t *) "entry", 5});
	wire_put_answer(buf, &(WireAnswer) {1, 2, WIRE_NOT_LEADER, 3, 4, 5});
	put_buf("fuzz_wire", "proposal", buf);
	wire_put_gossip(buf, &(WireGossip) {1, 2, 3, 4, 5, 6, 7, true, 8, 9, 10});
	wire_put_sleep(buf, &(WireSleep) {1, 2, 3});
	put_buf("fuzz_wire", "gossip", buf);
	wire_put_members(buf, &(WireMembers) {9, configuration(false)});
	put_buf("fuzz_wire", "members", buf);
	wire_put_snapshot_offer(buf, &(WireSnapshotOffer) {1, 2, 5, 3, 6, 7, 100, configuration(false)});
	put_buf("fuzz_wire", "offer", buf);
	wire_put_snapshot_chunk(buf, &(WireSnapshotChunk) {1, 2, 3, (const uint8_t *) "data", 4, true, 5});
	wire_put_snapshot_ack(buf, &(WireSnapshotAck) {1, 2, WIRE_SNAPSHOT_AGAIN, 3});
	put_buf("fuzz_wire", "chunk", buf);
	nd_blob_unref(payload);
}

static void joins(NdBuf *buf)
{
	static WireJoinAnswer a = {.kind = WIRE_JOIN_ACCEPTED, .text = "welcome", .leader_address = "host1:1", .cluster_id = 42, .node = 5,
		.n_data_groups = 2, .certifier_keys_max = 1000, .certifier_ids_max = 1000, .n_members = 3};
	WireJoinRequest r = {.token = "secret", .name = "node5", .address = "host5:1", .host_id = 7, .format_min = 1, .format_max = 1};

	for (uint32_t i = 0; i < a.n_members; i++)
		a.members[i] = member(i + 1);
	MUST(wire_encode_join_request(&r, buf) == ND_OK);
	put_buf("fuzz_join", "request", buf);
	MUST(wire_encode_join_answer(&a, buf) == ND_OK);
	put_buf("fuzz_join", "answer", buf);
}

static void metas(NdBuf *buf)
{
	WireMeta	meta = {.highest_node = 5, .n_data_groups = 2, .certifier_keys_max = 1000, .certifier_ids_max = 1000, .has_token = true};

	for (int joint = 0; joint < 2; joint++)
	{
		MUST(raft_configuration_encode(configuration(joint), buf) == ND_OK);
		put_buf("fuzz_meta", joint ? "joint" : "configuration", buf);
	}
	put("fuzz_meta", "member", configuration(false)->members[0].context, configuration(false)->members[0].context_len);
	MUST(wire_encode_meta(&meta, buf) == ND_OK);
	put_buf("fuzz_meta", "meta", buf);
	MUST(wire_encode_growth(5, buf) == ND_OK);
	put_buf("fuzz_meta", "growth", buf);
}

static void entry(NdBuf *buf, EntryKind kind, uint64_t counter)
{
	EntryKey	keys[3] = {{5, KEY_ROW_UPDATE}, {5, KEY_REL_ROW_EXCLUSIVE}, {counter, KEY_ROW_SHARE}};
	uint64_t	chunks[2] = {1, 300};
	bool		txn = kind == ENTRY_TXN;

	MUST(entry_encode_header(buf, kind, 1, (TxnId) {1, 1, counter}, 0, keys, kind == ENTRY_TXN || kind == ENTRY_RESERVE ? 3 : 0, chunks,
							 txn && counter == 9 ? 2 : 0) == ND_OK);
}

static void entries(NdBuf *buf)
{
	static const char *const names[] = {"", "txn", "chunk", "reserve", "cancel"};

	EntryKey	keys[2] = {{5, KEY_ROW_UPDATE}, {6, KEY_ROW_SHARE}};
	EntryKey	reads[2] = {{7, KEY_ROW_SHARE_KEY}, {8, KEY_REL_ACCESS_SHARE}};

	MUST(entry_encode_txn(buf, 0, (TxnId) {1, 1, 9}, 8, keys, 2, 7, reads, 2, NULL, 0) == ND_OK);
	put_buf("fuzz_entry", "reads", buf);
	for (EntryKind kind = ENTRY_TXN; kind <= ENTRY_CANCEL; kind++)
	{
		entry(buf, kind, 9);
		nd_buf_bytes(buf, "body", 4);
		put_buf("fuzz_entry", names[kind], buf);
	}
}

static void checkpoints(NdBuf *buf)
{
	static const EntryKind kinds[] = {ENTRY_TXN, ENTRY_CHUNK, ENTRY_RESERVE, ENTRY_CANCEL};
	NdBuf		saved;
	NdBuf		one;
	Certifier  *c;

	nd_buf_init(&saved);
	nd_buf_init(&one);
	MUST(certifier_create((CertifierLimits) {16, 16}, &c) == ND_OK);
	for (uint64_t i = 1; i < 30; i++)
	{
		EntryHeader h;
		Verdict		v;

		nd_buf_reset(&one);
		entry(&one, kinds[i / 8], 100 + i);
		MUST(entry_decode(one.data, one.len, &h) == ND_OK && certifier_certify(c, i, &h, &v) == ND_OK);
	}
	MUST(certifier_save(c, &saved) == ND_OK);
	nd_buf_u16(buf, (uint16_t) (saved.len - 8));
	nd_buf_bytes(buf, saved.data, saved.len - 8);
	nd_buf_u8(buf, (uint8_t) one.len);
	nd_buf_bytes(buf, one.data, one.len);
	put_buf("fuzz_certifier_restore", "checkpoint", buf);
	certifier_destroy(c);
	nd_buf_free(&saved);
	nd_buf_free(&one);
}

static void files(NdBuf *buf)
{
	StoreIdentity id = {.cluster_id = 42, .node = 3, .incarnation = 7, .host_id = 9};
	MemVfs	   *m = memvfs_create();
	const uint8_t *bytes;
	uint64_t	len;

	MUST(store_identity_write(memvfs_vfs(m), "log", &id) == ND_OK);
	bytes = memvfs_bytes(m, "log/identity", &len);
	nd_buf_u8(buf, 1);
	nd_buf_bytes(buf, bytes, len);
	put_buf("fuzz_store_identity", "identity", buf);
	memvfs_destroy(m);
}

static void put_seq(const char *name, Sequencer *s, uint64_t index, NdBuf *buf)
{
	MUST(sequencer_apply(s, index, buf->data, buf->len) == ND_OK);
	put_buf("fuzz_seq_entry", name, buf);
}

/* Entries of several groups and of the sequencer, and its checkpoint. */
static void sequencer(NdBuf *buf)
{
	const NdGroupId groups[] = {1, 300};
	const TxnId id = {1, 2, 3};
	const SeqVote votes[] = {{1, true}, {2, false}};
	EntryKey	keys[] = {{1, KEY_ROW_UPDATE}, {2, KEY_REL_ROW_EXCLUSIVE}};
	EntryKey	reads[] = {{5, KEY_ROW_SHARE}};
	const uint64_t chunk = 2;
	EntryHeader part;
	SeqPart		parts[2] = {{.group = 1}, {.group = 300}};
	Sequencer  *s;
	NdBlob	   *request;
	NdBuf		entry;

	nd_buf_init(&entry);
	MUST(sequencer_create(&s) == ND_OK);
	MUST(entry_encode_txn(&entry, 0, id, 4, keys, 2, 3, reads, 1, &chunk, 1) == ND_OK);
	nd_buf_bytes(&entry, "body", 4);
	MUST(entry_decode(entry.data, entry.len, &part) == ND_OK);
	MUST(entry_encode_marker(buf, &part, 9, 7, groups, 2) == ND_OK);
	put_buf("fuzz_entry", "marker", buf);
	MUST(entry_encode_outcome(buf, id, true, 9, 8, 6, groups, 2) == ND_OK);
	put_buf("fuzz_entry", "outcome", buf);

	parts[0].entry = parts[1].entry = entry.data;
	parts[0].len = parts[1].len = (uint32_t) entry.len;
	MUST(seq_encode_request(buf, id, 7, parts, 2) == ND_OK);
	request = nd_blob_new(buf->data, (uint32_t) buf->len);
	put_buf("fuzz_seq_entry", "request", buf);
	MUST(seq_encode_epoch(buf, 1, 5, (const NdBlob *const *) &request, 1) == ND_OK);
	put_seq("epoch", s, 1, buf);
	request->data[10]++;		/* another id, in its parts too */
	for (uint32_t i = 28; i + 20 < request->len; i++)
		if (request->data[i] == 1 && request->data[i + 4] == 2 && request->data[i + 8] == 3)
			request->data[i + 8]++;
	MUST(seq_encode_epoch(buf, 2, 6, (const NdBlob *const *) &request, 1) == ND_OK);
	put_seq("epoch2", s, 2, buf);
	MUST(seq_encode_votes(buf, 300, votes, 2) == ND_OK);
	put_seq("votes", s, 3, buf);
	MUST(seq_encode_ack(buf, 300, 1) == ND_OK);
	put_seq("ack", s, 4, buf);
	nd_buf_reset(&entry);
	MUST(sequencer_save(s, &entry) == ND_OK);
	nd_buf_u16(buf, (uint16_t) (entry.len - 8));
	nd_buf_bytes(buf, entry.data, entry.len - 8);
	put_buf("fuzz_seq_restore", "checkpoint", buf);
	MUST(seq_encode_abort(buf, 1) == ND_OK);
	put_seq("abort", s, 5, buf);
	nd_blob_unref(request);
	sequencer_destroy(s);
	nd_buf_free(&entry);
}

/* Bytes of src/pg/tableam/writeset.h, written down here: that header needs PostgreSQL's. */
static void bodies(NdBuf *buf)
{
	static const uint8_t relation[] = "R\0\6public\5table\0";
	static const uint8_t insert[] = "I\0\3\0\1\3\4abcd";
	static const uint8_t update[] = "U\0\1\1\2\2xy\1\2\1z";
	static const uint8_t command[] = "X\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\1a\1b\4DROP";
	const struct
	{
		const uint8_t *data;
		size_t		len;
	}			records[] = {{relation, sizeof(relation) - 1}, {insert, sizeof(insert) - 1}, {update, sizeof(update) - 1}, {command, sizeof(command) - 1}};

	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
	{
		nd_buf_u32(buf, (uint32_t) records[i].len);
		nd_buf_bytes(buf, records[i].data, records[i].len);
	}
	put_buf("fuzz_logdump_body", "body", buf);
	put("fuzz_hello", "hello", "1 00000000000000010 2 3 1 1 l", 29);
}

/* For the targets that read choices: whatever comes is a history. */
static void histories(NdBuf *buf)
{
	static const char *const targets[] = {"fuzz_raft", "fuzz_certifier", "fuzz_node", "fuzz_seq_state"};
	NdRandom	random;

	nd_random_seed(&random, 1);
	for (size_t t = 0; t < sizeof(targets) / sizeof(targets[0]); t++)
		for (int i = 0; i < 8; i++)
		{
			char		name[16];

			nd_buf_u8(buf, (uint8_t) i);
			for (int k = 0; k < 3500; k++)
				nd_buf_u8(buf, (uint8_t) nd_random_next(&random));
			snprintf(name, sizeof(name), "history%d", i);
			put_buf(targets[t], name, buf);
		}
}

int main(int argc, char **argv)
{
	NdBuf		buf;

	if (argc != 2)
		return 2;
	folder = argv[1];
	mkdir(folder, 0777);
	nd_buf_init(&buf);
	frames(&buf);
	joins(&buf);
	metas(&buf);
	entries(&buf);
	checkpoints(&buf);
	files(&buf);
	bodies(&buf);
	sequencer(&buf);
	histories(&buf);
	nd_buf_free(&buf);
	return 0;
}
