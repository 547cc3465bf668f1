/*
 * test_wire.c: frames and payloads between nodes keep their bytes, come back as they went, and bad input never hands anything out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../src/core/wire/wire.h"
#include "nomem_kit.h"

typedef struct Seen
{
	uint32_t	raft;
	uint32_t	proposals;
	uint32_t	answers;
	uint32_t	gossip;
	uint32_t	sleeps;
	char		text[1024];
} Seen;

static void note(Seen *s, const char *format, ...)
{
	size_t		len = strlen(s->text);
	va_list		args;

	va_start(args, format);
	vsnprintf(s->text + len, sizeof(s->text) - len, format, args);
	va_end(args);
}

static void see_raft(void *ctx, const RaftMessage *m)
{
	Seen	   *s = ctx;

	s->raft++;
	note(s, "%d g%u %u>%u t%d i%d/%d c%d h%d/%d x%d r%d", m->type, m->group, m->from, m->to, (int) m->term, (int) m->index, (int) m->log_term,
		 (int) m->commit, (int) m->hint_index, (int) m->hint_term, (int) m->context, m->reject);
	for (uint32_t i = 0; i < m->n_entries; i++)
		note(s, " [%d t%d k%d %.*s]", (int) m->entries[i].index, (int) m->entries[i].term, m->entries[i].kind,
			 m->entries[i].payload != NULL ? (int) m->entries[i].payload->len : 0,
			 m->entries[i].payload != NULL ? (const char *) m->entries[i].payload->data : "");
	note(s, "\n");
}

static void see_proposal(void *ctx, const WireProposal *p)
{
	Seen	   *s = ctx;

	s->proposals++;
	note(s, "proposal g%u #%d %.*s\n", p->group, (int) p->request, (int) p->len, (const char *) p->entry);
}

static void see_answer(void *ctx, const WireAnswer *a)
{
	Seen	   *s = ctx;

	s->answers++;
	note(s, "answer g%u #%d %d leader %u at %d/%d\n", a->group, (int) a->request, a->kind, a->leader, (int) a->index, (int) a->term);
}

static void see_gossip(void *ctx, const WireGossip *g)
{
	Seen	   *s = ctx;

	s->gossip++;
	note(s, "gossip g%u %d %d %d %llx %d %d %d %d %d %u\n", g->group, (int) g->stored, (int) g->applied, (int) g->checksum_index, (unsigned long long) g->checksum,
		 (int) g->shown, (int) g->shown_wanted, g->no_space, (int) g->prepared, (int) g->prepared_wanted, g->groups_max);
}

static void see_sleep(void *ctx, const WireSleep *z)
{
	Seen	   *s = ctx;

	s->sleeps++;
	note(s, "sleep g%u t%d c%d\n", z->group, (int) z->term, (int) z->commit);
}

static void see_members(void *ctx, const WireMembers *m)
{
	note(ctx, "members @%d n%u\n", (int) m->index, m->configuration->n);
}

static void see_offer(void *ctx, const WireSnapshotOffer *o)
{
	note(ctx, "offer g%u #%llx behind %d/%d checkpoint %d of %d bytes applied %d n%u @%d\n", o->group, (unsigned long long) o->id, (int) o->index, (int) o->term,
		 (int) o->checkpoint, (int) o->checkpoint_bytes, (int) o->applied, o->configuration->n, (int) o->configuration->index);
}

static void see_chunk(void *ctx, const WireSnapshotChunk *c)
{
	note(ctx, "chunk g%u #%d at %d %.*s%s%s\n", c->group, (int) c->id, (int) c->offset, (int) c->len, (const char *) c->data, c->last ? " last" : "",
		 c->checksum == wire_snapshot_checksum(c) ? "" : " damaged");
}

static void see_ack(void *ctx, const WireSnapshotAck *a)
{
	note(ctx, "ack g%u #%d %d %d\n", a->group, (int) a->id, a->kind, (int) a->offset);
}

static NdStatus decode(const uint8_t *data, size_t len, Seen *s)
{
	WireSink	sink = {see_raft, see_proposal, see_answer, see_gossip, see_sleep, s, see_members, see_offer, see_chunk, see_ack};

	memset(s, 0, sizeof(*s));
	return wire_decode(data, len, 2, 1, &sink);
}

/* Every kind of item once, in one frame. */
static void fill(NdBuf *buf)
{
	NdBlob	   *payload = nd_blob_new("abc", 3);
	RaftEntry	entries[2] = {{.index = 8, .term = 2, .kind = RAFT_ENTRY_NOOP}, {.index = 9, .term = 3, .kind = RAFT_ENTRY_DATA, .payload = payload}};
	RaftMessage append = {.type = RAFT_MSG_APPEND, .group = 1, .term = 3, .index = 7, .log_term = 2, .commit = 6, .n_entries = 2, .entries = entries};
	RaftMessage beat = {.type = RAFT_MSG_HEARTBEAT, .group = 2, .term = 3, .commit = 5, .context = 9};
	RaftMessage reply = {.type = RAFT_MSG_APPEND_REPLY, .group = 3, .term = 4, .index = 5, .reject = true, .hint_index = 3, .hint_term = 1};
	WireProposal proposal = {.group = 1, .request = 17, .entry = (const uint8_t *) "entry", .len = 5};
	WireAnswer	answer = {.group = 1, .request = 17, .kind = WIRE_NOT_LEADER, .leader = 3};
	WireGossip	gossip = {.group = 1, .stored = 100, .applied = 90, .checksum_index = 64, .checksum = 0xfeedULL, .shown = 95, .shown_wanted = 97, .no_space = true,
		.prepared = 93, .prepared_wanted = 99, .groups_max = 31};
	WireSleep	sleep = {.group = 4, .term = 5, .commit = 6};
	RaftConfiguration *c = nd_zalloc(sizeof(*c));
	WireSnapshotOffer offer = {.group = 1, .id = 0x100000002, .index = 7, .term = 2, .checkpoint = 8, .applied = 9, .checkpoint_bytes = 20, .configuration = c};
	WireSnapshotChunk chunk = {.group = 1, .id = 5, .offset = 20, .data = (const uint8_t *) "rows", .len = 4, .last = true};
	WireSnapshotAck ack = {.group = 1, .id = 5, .kind = WIRE_SNAPSHOT_AGAIN, .offset = 20};

	wire_put_raft(buf, &append);
	wire_put_raft(buf, &beat);
	wire_put_raft(buf, &reply);
	wire_put_proposal(buf, &proposal);
	wire_put_answer(buf, &answer);
	wire_put_gossip(buf, &gossip);
	wire_put_sleep(buf, &sleep);
	c->n = 1;
	c->index = 3;
	c->members[0] = (RaftMember) {.node = 3, .role = RAFT_VOTER};
	wire_put_snapshot_offer(buf, &offer);
	chunk.checksum = wire_snapshot_checksum(&chunk);
	wire_put_snapshot_chunk(buf, &chunk);
	wire_put_snapshot_ack(buf, &ack);
	nd_free(c);
	assert_false(buf->failed);
	nd_blob_unref(payload);
}

static const char *const FILLED =
	"5 g1 2>1 t3 i7/2 c6 h0/0 x0 r0 [8 t2 k0 ] [9 t3 k1 abc]\n"
	"6 g3 2>1 t4 i5/0 c0 h3/1 x0 r1\n"
	"7 g2 2>1 t3 i0/0 c5 h0/0 x9 r0\n"
	"answer g1 #17 1 leader 3 at 0/0\n"
	"proposal g1 #17 entry\n"
	"gossip g1 100 90 64 feed 95 97 1 93 99 31\n"
	"sleep g4 t5 c6\n"
	"offer g1 #100000002 behind 7/2 checkpoint 8 of 20 bytes applied 9 n1 @3\n"
	"chunk g1 #5 at 20 rows last\n"
	"ack g1 #5 1 20\n";

static void test_round_trip(void **state)
{
	NdBuf		buf;
	Seen		s;

	(void) state;
	nd_buf_init(&buf);
	fill(&buf);
	assert_int_equal(decode(buf.data, buf.len, &s), ND_OK);
	assert_string_equal(s.text, FILLED);
	nd_buf_free(&buf);
}

static void test_golden_bytes(void **state)
{
	static const uint8_t golden[] = {
		0x0a, 0x1b, 0x08, 0x05, 0x10, 0x01, 0x18, 0x03, 0x20, 0x07, 0x28, 0x02, 0x30, 0x06,
		0x5a, 0x02, 0x08, 0x02, 0x5a, 0x09, 0x08, 0x03, 0x10, 0x01, 0x1a, 0x03, 'a', 'b', 'c',
	};
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	fill(&buf);
	assert_memory_equal(buf.data, golden, sizeof(golden));
	assert_int_equal(buf.data[sizeof(golden)], 0x12);	/* Frame.beats */
	nd_buf_free(&buf);
}

static void test_two_frames_in_a_row_are_one(void **state)
{
	NdBuf		buf;
	Seen		s;

	(void) state;
	nd_buf_init(&buf);
	fill(&buf);
	fill(&buf);
	assert_int_equal(decode(buf.data, buf.len, &s), ND_OK);
	assert_int_equal(s.raft, 6);
	assert_int_equal(s.proposals, 2);
	assert_int_equal(s.sleeps, 2);
	nd_buf_free(&buf);
}

/* The checksum covers data, place and end: a chunk that was changed, or moved, does not pass for another. */
static void test_snapshot_chunk(void **state)
{
	static const uint8_t golden[] = {
		0x52, 0x17, 0x08, 0x01, 0x10, 0x05, 0x18, 0x14, 0x22, 0x04, 'r', 'o', 'w', 's', 0x28, 0x01,
		0x31, 0x54, 0xad, 0x68, 0x70, 0xfb, 0x92, 0xfc, 0xf6,
	};
	WireSnapshotChunk c = {.group = 1, .id = 5, .offset = 20, .data = (const uint8_t *) "rows", .len = 4, .last = true};
	WireSnapshotChunk others[] = {
		{2, 5, 20, (const uint8_t *) "rows", 4, true, 0}, {1, 6, 20, (const uint8_t *) "rows", 4, true, 0}, {1, 5, 21, (const uint8_t *) "rows", 4, true, 0},
		{1, 5, 20, (const uint8_t *) "rowz", 4, true, 0}, {1, 5, 20, (const uint8_t *) "rows", 3, true, 0}, {1, 5, 20, (const uint8_t *) "rows", 4, false, 0},
	};
	NdBuf		buf;
	Seen		s;

	(void) state;
	c.checksum = wire_snapshot_checksum(&c);
	nd_buf_init(&buf);
	wire_put_snapshot_chunk(&buf, &c);
	assert_int_equal(buf.len, sizeof(golden));
	assert_memory_equal(buf.data, golden, sizeof(golden));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_true(wire_snapshot_checksum(&others[i]) != c.checksum);
	buf.data[11] ^= 1;
	assert_int_equal(decode(buf.data, buf.len, &s), ND_OK);
	assert_string_equal(s.text, "chunk g1 #5 at 20 rnws last damaged\n");
	nd_buf_free(&buf);
}

static void test_bad_snapshots(void **state)
{
	static const uint8_t golden_ack[] = {0x5a, 0x08, 0x08, 0x01, 0x10, 0x03, 0x18, 0x01, 0x20, 0x09};
	static const uint8_t golden_offer[] = {
		0x4a, 0x2c, 0x08, 0x01, 0x10, 0x03, 0x18, 0x07, 0x20, 0x02, 0x28, 0x08, 0x30, 0x09, 0x38, 0x14, 0x42, 0x11, 0x01, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x48, 0x07, 0x51, 0x34, 0xfb, 0xd8, 0x81, 0xef, 0x66, 0x6a, 0x3d,
	};
	RaftConfiguration *c = nd_zalloc(sizeof(*c));
	const WireSnapshotOffer good = {.group = 1, .id = 3, .index = 7, .term = 2, .checkpoint = 8, .applied = 9, .checkpoint_bytes = 20, .configuration = c};
	WireSnapshotOffer bad[8];
	uint8_t    *data = nd_zalloc(WIRE_SNAPSHOT_CHUNK_MAX + 1);
	WireSnapshotChunk chunks[] = {
		{.group = 1, .data = data, .len = 0}, {.group = 1, .data = data, .len = WIRE_SNAPSHOT_CHUNK_MAX + 1},
		{.group = 1, .data = data, .len = 1, .offset = UINT64_MAX - 1000},
	};
	NdBuf		buf;
	Seen		s;

	(void) state;
	c->n = 1;
	c->index = 7;
	c->members[0] = (RaftMember) {.node = 3, .role = RAFT_VOTER};
	for (int i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].index = 6;			/* its configuration is above it */
	bad[1].term = 0;
	bad[2].checkpoint = 6;
	bad[3].applied = 7;
	bad[4].checkpoint_bytes = 0;
	bad[5].checkpoint_bytes = (uint64_t) WIRE_CHECKPOINT_BYTES_MAX + 1;
	bad[6].applied = UINT64_MAX;
	nd_buf_init(&buf);
	wire_put_snapshot_ack(&buf, &(WireSnapshotAck) {.group = 1, .id = 3, .kind = WIRE_SNAPSHOT_AGAIN, .offset = 9});
	assert_int_equal(buf.len, sizeof(golden_ack));
	assert_memory_equal(buf.data, golden_ack, sizeof(golden_ack));
	nd_buf_reset(&buf);
	wire_put_snapshot_offer(&buf, &good);
	assert_int_equal(buf.len, sizeof(golden_offer));
	assert_memory_equal(buf.data, golden_offer, sizeof(golden_offer));
	assert_int_equal(decode(buf.data, buf.len, &s), ND_OK);
	for (size_t at = 2; at < buf.len; at++)	/* every byte of it is covered: none can change unseen */
	{
		buf.data[at] ^= 1;
		if (decode(buf.data, buf.len, &s) == ND_OK)
			assert_string_equal(s.text, "");
		buf.data[at] ^= 1;
	}
	for (int i = 0; i < 7; i++)
	{
		nd_buf_reset(&buf);
		fill(&buf);
		wire_put_snapshot_offer(&buf, &bad[i]);
		assert_int_equal(decode(buf.data, buf.len, &s), ND_INVALID);
		assert_string_equal(s.text, "");
	}
	for (int i = 0; i < 3; i++)
	{
		nd_buf_reset(&buf);
		wire_put_snapshot_chunk(&buf, &chunks[i]);
		assert_int_equal(decode(buf.data, buf.len, &s), ND_INVALID);
	}
	nd_buf_reset(&buf);
	wire_put_snapshot_ack(&buf, &(WireSnapshotAck) {.group = 1, .kind = (WireSnapshotAckKind) 4});
	assert_int_equal(decode(buf.data, buf.len, &s), ND_INVALID);
	nd_buf_free(&buf);
	nd_free(data);
	nd_free(c);
}

static void test_members(void **state)
{
	WireSink	sink = {.raft = see_raft};
	RaftConfiguration *c = nd_zalloc(sizeof(*c));
	NdBuf		buf;
	Seen		s;

	(void) state;
	c->n = 1;
	c->members[0] = (RaftMember) {.node = 3, .role = RAFT_VOTER};
	nd_buf_init(&buf);
	wire_put_members(&buf, &(WireMembers) {12, c});
	assert_int_equal(decode(buf.data, buf.len, &s), ND_OK);
	assert_string_equal(s.text, "members @12 n1\n");
	/* who does not want them is not given them */
	sink.ctx = &s;
	s.text[0] = '\0';
	assert_int_equal(wire_decode(buf.data, buf.len, 2, 1, &sink), ND_OK);
	assert_string_equal(s.text, "");
	nd_buf_free(&buf);
	nd_free(c);
}

/* One bad item among good ones: nothing of the frame is handed out. */
static void test_bad_items(void **state)
{
	NdBlob	   *payload = nd_blob_new("x", 1);
	RaftEntry	entry = {.index = 1, .term = 1, .kind = (RaftEntryKind) 9, .payload = payload};
	RaftConfiguration *nobody = nd_zalloc(sizeof(*nobody));	/* a member without an id */
	RaftMessage bad[] = {
		{.type = (RaftMessageType) 99},
		{.type = (RaftMessageType) 0},
		{.type = RAFT_MSG_VOTE, .n_entries = 1, .entries = &entry},
		{.type = RAFT_MSG_APPEND, .n_entries = 1, .entries = &entry},
		{.type = RAFT_MSG_APPEND, .index = UINT64_MAX, .n_entries = 1, .entries = &entry},
	};
	WireProposal empty = {.group = 1};
	WireAnswer	odd = {.kind = (WireAnswerKind) 77};
	NdBuf		buf;
	Seen		s;

	(void) state;
	nd_buf_init(&buf);
	nobody->n = 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) + 4; i++)
	{
		nd_buf_reset(&buf);
		fill(&buf);
		if (i < sizeof(bad) / sizeof(bad[0]))
			wire_put_raft(&buf, &bad[i]);
		else if (i == sizeof(bad) / sizeof(bad[0]))
			wire_put_proposal(&buf, &empty);
		else if (i == sizeof(bad) / sizeof(bad[0]) + 1)
			wire_put_members(&buf, &(WireMembers) {.index = 1, .configuration = nobody});
		else if (i == sizeof(bad) / sizeof(bad[0]) + 2)
			wire_put_snapshot_offer(&buf, &(WireSnapshotOffer) {1, 2, 5, 3, 6, 7, 100, nobody});
		else
			wire_put_answer(&buf, &odd);
		assert_int_equal(decode(buf.data, buf.len, &s), ND_INVALID);
		assert_string_equal(s.text, "");
	}
	nd_buf_free(&buf);
	nd_blob_unref(payload);
	nd_free(nobody);
}

static void test_garbage(void **state)
{
	NdRandom	random;
	NdBuf		buf;
	Seen		s;

	(void) state;
	nd_random_seed(&random, 7);
	nd_buf_init(&buf);
	fill(&buf);
	for (size_t len = 0; len < buf.len; len++)
		(void) decode(buf.data, len, &s);
	for (int i = 0; i < 20000; i++)
	{
		size_t		at = nd_random_below(&random, buf.len);
		uint8_t		was = buf.data[at];

		buf.data[at] = (uint8_t) nd_random_next(&random);
		(void) decode(buf.data, buf.len, &s);
		buf.data[at] = was;
	}
	assert_int_equal(decode(buf.data, buf.len, &s), ND_OK);
	assert_string_equal(s.text, FILLED);
	nd_buf_free(&buf);
}

typedef struct Decoding
{
	NdBuf		buf;
	Seen		seen;
	WireJoinRequest request;
	WireJoinAnswer answer;
} Decoding;

static NdStatus decode_frame(void *arg)
{
	Decoding   *d = arg;

	return decode(d->buf.data, d->buf.len, &d->seen);
}

static NdStatus decode_request(void *arg)
{
	Decoding   *d = arg;

	return wire_decode_join_request(d->buf.data, d->buf.len, &d->request);
}

static NdStatus decode_answer(void *arg)
{
	Decoding   *d = arg;

	return wire_decode_join_answer(d->buf.data, d->buf.len, &d->answer);
}

/* Whatever allocation fails, a decoder says so, and does not take it for bad bytes: a node that asks to join would be refused for good. */
static void test_no_memory(void **state)
{
	static Decoding d;
	WireMember	m = {.node = 3, .role = RAFT_VOTER, .name = "c", .address = "c:1"};
	RaftConfiguration *c = nd_zalloc(sizeof(*c));

	(void) state;
	c->n = 1;
	assert_int_equal(wire_member_to_raft(&m, &c->members[0]), ND_OK);
	nd_buf_init(&d.buf);
	fill(&d.buf);
	assert_true(nomem_call(decode_frame, NULL, &d) > 10);
	assert_string_equal(d.seen.text, FILLED);
	wire_put_members(&d.buf, &(WireMembers) {.index = 1, .configuration = c});
	wire_put_snapshot_offer(&d.buf, &(WireSnapshotOffer) {1, 2, 5, 3, 6, 7, 100, c});
	assert_true(nomem_call(decode_frame, NULL, &d) > 15);

	nd_buf_reset(&d.buf);
	d.request = (WireJoinRequest) {.token = "secret", .name = "b", .address = "b:1"};
	assert_int_equal(wire_encode_join_request(&d.request, &d.buf), ND_OK);
	assert_true(nomem_call(decode_request, NULL, &d) >= 3);
	nd_buf_reset(&d.buf);
	d.answer = (WireJoinAnswer) {.kind = WIRE_JOIN_LATER, .text = "wait", .n_members = 1, .members = {m}};
	assert_int_equal(wire_encode_join_answer(&d.answer, &d.buf), ND_OK);
	assert_true(nomem_call(decode_answer, NULL, &d) >= 4);
	nd_buf_free(&d.buf);
	nd_free(c);
	assert_int_equal(nomem_live(), 0);
}

/* Every item in a fresh buffer, so that each must allocate: the buffer says so, and takes them all when there is memory again. */
static void fill_fresh(void *arg)
{
	NdBuf		buf;
	RaftConfiguration c = {.n = 1, .members = {{.node = 1, .role = RAFT_VOTER}}};
	RaftEntry	entry = {.index = 1, .term = 1, .kind = RAFT_ENTRY_NOOP};
	RaftMessage append = {.type = RAFT_MSG_APPEND, .n_entries = 1, .entries = &entry};

	(void) arg;
	for (int item = 0; item < 3; item++)
	{
		nd_buf_init(&buf);
		for (int again = 0; again < 2; again++)
		{
			if (item == 0)
				wire_put_raft(&buf, &append);
			else if (item == 1)
				wire_put_members(&buf, &(WireMembers) {.index = 1, .configuration = &c});
			else
				wire_put_snapshot_offer(&buf, &(WireSnapshotOffer) {1, 2, 5, 3, 6, 7, 100, &c});
			if (!buf.failed)
				break;
			assert_true(nomem_failed() && again == 0);
			nd_buf_free(&buf);
			nd_buf_init(&buf);
		}
		nd_buf_free(&buf);
	}
}

static void test_encoding_without_memory(void **state)
{
	(void) state;
	assert_true(nomem_each(fill_fresh, NULL, 1) >= 6);
}

static void test_join(void **state)
{
	WireJoinRequest r = {.token = "secret", .name = "b", .address = "b:1", .host_id = 77, .format_min = 1, .format_max = 2};
	WireJoinRequest r2;
	WireJoinAnswer *a = nd_zalloc(2 * sizeof(*a));
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(wire_encode_join_request(&r, &buf), ND_OK);
	assert_int_equal(wire_decode_join_request(buf.data, buf.len, &r2), ND_OK);
	assert_string_equal(r2.token, "secret");
	assert_string_equal(r2.name, "b");
	assert_string_equal(r2.address, "b:1");
	assert_int_equal(r2.host_id, 77);
	assert_int_equal(r2.format_max, 2);
	for (size_t len = 0; len < buf.len; len++)
		(void) wire_decode_join_request(buf.data, len, &r2);
	assert_int_equal(wire_decode_join_request(buf.data, 0, &r2), ND_INVALID);	/* no name */

	a[0] = (WireJoinAnswer) {.kind = WIRE_JOIN_ACCEPTED, .cluster_id = 0x1122334455667788ULL, .node = 3, .n_data_groups = 2, .n_members = 1,
		.certifier_keys_max = 100, .certifier_ids_max = 50,
		.members = {{.node = 1, .role = RAFT_VOTER, .name = "a", .address = "a:1", .host_id = 5, .leaving = true}}};
	strcpy(a[0].text, "welcome");
	nd_buf_reset(&buf);
	assert_int_equal(wire_encode_join_answer(&a[0], &buf), ND_OK);
	assert_int_equal(wire_decode_join_answer(buf.data, buf.len, &a[1]), ND_OK);
	assert_string_equal(a[1].text, "welcome");
	assert_int_equal(a[1].node, 3);
	assert_int_equal(a[1].certifier_ids_max, 50);
	assert_int_equal(a[1].n_members, 1);
	assert_string_equal(a[1].members[0].address, "a:1");
	assert_true(a[1].members[0].leaving);
	assert_false(a[1].has_sequencer);	/* as a version that did not know the field would say */
	a[0].has_sequencer = true;
	nd_buf_reset(&buf);
	assert_int_equal(wire_encode_join_answer(&a[0], &buf), ND_OK);
	assert_int_equal(buf.data[buf.len - 2], 10 << 3);
	assert_int_equal(wire_decode_join_answer(buf.data, buf.len, &a[1]), ND_OK);
	assert_true(a[1].has_sequencer);
	for (size_t len = 0; len < buf.len; len++)
		(void) wire_decode_join_answer(buf.data, len, &a[1]);
	a[0].kind = (WireJoinKind) 9;
	nd_buf_reset(&buf);
	assert_int_equal(wire_encode_join_answer(&a[0], &buf), ND_OK);
	assert_int_equal(wire_decode_join_answer(buf.data, buf.len, &a[1]), ND_INVALID);
	/* more members than a group can have */
	a[0].kind = WIRE_JOIN_ACCEPTED;
	a[0].n_members = RAFT_MEMBERS_MAX + 1;
	nd_buf_reset(&buf);
	assert_int_equal(wire_encode_join_answer(&a[0], &buf), ND_INVALID);
	assert_int_equal(buf.len, 0);
	nd_buf_free(&buf);
	nd_free(a);
}

static void test_member_context(void **state)
{
	WireMember	m = {.node = 9, .role = RAFT_VOTER, .host_id = 0x0102030405060708ULL, .leaving = true};
	WireMember	back;
	RaftMember	raft;
	static const uint8_t golden[] = {1, 1, 8, 7, 6, 5, 4, 3, 2, 1, 2, 'n', '1', 3, 'h', ':', '1'};

	(void) state;
	strcpy(m.name, "n1");
	strcpy(m.address, "h:1");
	assert_int_equal(wire_member_to_raft(&m, &raft), ND_OK);
	assert_int_equal(raft.context_len, sizeof(golden));
	assert_memory_equal(raft.context, golden, sizeof(golden));
	assert_int_equal(wire_member_from_raft(&raft, &back), ND_OK);
	assert_string_equal(back.name, "n1");
	assert_string_equal(back.address, "h:1");
	assert_true(back.leaving);
	raft.context[0] = 2;
	assert_int_equal(wire_member_from_raft(&raft, &back), ND_VERSION);
	raft.context[0] = 1;
	for (raft.context_len = 0; raft.context_len < sizeof(golden); raft.context_len++)
		assert_int_equal(wire_member_from_raft(&raft, &back), ND_INVALID);
	memset(m.name, 'x', sizeof(m.name));	/* no terminating zero */
	assert_int_equal(wire_member_to_raft(&m, &raft), ND_INVALID);
}

static void test_meta(void **state)
{
	WireMeta	m = {.highest_node = 7, .n_data_groups = 3, .certifier_keys_max = 11, .certifier_ids_max = 12, .has_token = true};
	WireMeta	back;
	NdBuf		buf;

	(void) state;
	m.token_hash[31] = 0xee;
	nd_buf_init(&buf);
	assert_int_equal(wire_encode_meta(&m, &buf), ND_OK);
	assert_int_equal(buf.len, 59);
	assert_int_equal(wire_decode_meta(buf.data, buf.len, &back), ND_OK);
	assert_int_equal(back.highest_node, 7);
	assert_int_equal(back.certifier_ids_max, 12);
	assert_true(wire_token_equal(back.token_hash, m.token_hash));
	back.token_hash[0] ^= 1;
	assert_false(wire_token_equal(back.token_hash, m.token_hash));
	for (size_t len = 0; len < buf.len; len++)
		assert_int_equal(wire_decode_meta(buf.data, len, &back), ND_INVALID);
	buf.data[0] = 2;
	assert_int_equal(wire_decode_meta(buf.data, buf.len, &back), ND_INVALID);
	buf.data[0] = 3;
	assert_int_equal(wire_decode_meta(buf.data, buf.len, &back), ND_VERSION);
	nd_buf_free(&buf);
	m.replication_factor = 5;
	nd_buf_init(&buf);
	assert_int_equal(wire_encode_meta(&m, &buf), ND_OK);
	assert_int_equal(buf.len, 63);
	assert_int_equal(buf.data[0], 2);
	assert_int_equal(wire_decode_meta(buf.data, buf.len, &back), ND_OK);
	assert_int_equal(back.replication_factor, 5);
	for (size_t len = 0; len < buf.len; len++)
		assert_int_equal(wire_decode_meta(buf.data, len, &back), ND_INVALID);
	memset(buf.data + 59, 0, 4);
	assert_int_equal(wire_decode_meta(buf.data, buf.len, &back), ND_INVALID);
	nd_buf_free(&buf);
}

static void test_growth(void **state)
{
	static const uint8_t golden[] = {1, 2, 9, 0, 0, 0};
	uint32_t	n;
	WireMeta	meta;
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(wire_encode_growth(9, &buf), ND_OK);
	assert_int_equal(buf.len, sizeof(golden));
	assert_memory_equal(buf.data, golden, sizeof(golden));
	assert_int_equal(wire_decode_growth(buf.data, buf.len, &n), ND_OK);
	assert_int_equal(n, 9);
	for (size_t len = 0; len < buf.len; len++)
		assert_int_equal(wire_decode_growth(buf.data, len, &n), ND_INVALID);
	/* it is no record, and a record is none */
	assert_int_equal(wire_decode_meta(buf.data, buf.len, &meta), ND_VERSION);
	buf.data[1] = 1;
	assert_int_equal(wire_decode_growth(buf.data, buf.len, &n), ND_INVALID);
	buf.data[1] = 3;
	assert_int_equal(wire_decode_growth(buf.data, buf.len, &n), ND_VERSION);
	buf.data[0] = 2;
	assert_int_equal(wire_decode_growth(buf.data, buf.len, &n), ND_VERSION);
	nd_buf_free(&buf);
	nomem_fail(1, NOMEM_ALL);
	nd_buf_init(&buf);
	assert_int_equal(wire_encode_growth(9, &buf), ND_NOMEM);
	nomem_fail(0, 0);
	nd_buf_free(&buf);
}

/* FIPS 180-4's examples: one block, two blocks; and the empty text. */
static void test_token_hash(void **state)
{
	static const struct
	{
		const char *text;
		const char *hex;
	}			cases[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		uint8_t		hash[WIRE_TOKEN_HASH_BYTES];
		char		hex[2 * WIRE_TOKEN_HASH_BYTES + 1];

		wire_token_hash(cases[i].text, strlen(cases[i].text), hash);
		for (int b = 0; b < WIRE_TOKEN_HASH_BYTES; b++)
			snprintf(hex + 2 * b, 3, "%02x", hash[b]);
		assert_string_equal(hex, cases[i].hex);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_two_frames_in_a_row_are_one),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_snapshot_chunk),
		cmocka_unit_test(test_bad_snapshots),
		cmocka_unit_test(test_bad_items),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_encoding_without_memory),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_member_context),
		cmocka_unit_test(test_meta),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_token_hash),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
