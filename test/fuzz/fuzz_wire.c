/*
 * fuzz_wire.c: any bytes through the decoders of what other nodes send: frames, join requests and answers, the meta record. No read past the
 * end, and what a frame hands out can be encoded again.
 */
#include <stdlib.h>

#include "../../src/core/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_raft(void *ctx, const RaftMessage *m)
{
	wire_put_raft(ctx, m);
}

static void take_proposal(void *ctx, const WireProposal *p)
{
	wire_put_proposal(ctx, p);
}

static void take_answer(void *ctx, const WireAnswer *a)
{
	wire_put_answer(ctx, a);
}

static void take_gossip(void *ctx, const WireGossip *g)
{
	wire_put_gossip(ctx, g);
}

static void take_sleep(void *ctx, const WireSleep *s)
{
	wire_put_sleep(ctx, s);
}

static void take_members(void *ctx, const WireMembers *m)
{
	wire_put_members(ctx, m);
}

static void take_offer(void *ctx, const WireSnapshotOffer *o)
{
	wire_put_snapshot_offer(ctx, o);
}

static void take_chunk(void *ctx, const WireSnapshotChunk *c)
{
	wire_put_snapshot_chunk(ctx, c);
}

static void take_ack(void *ctx, const WireSnapshotAck *a)
{
	wire_put_snapshot_ack(ctx, a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static WireJoinRequest request;
	static WireJoinAnswer answer;
	WireMeta	meta;
	NdBuf		buf;
	WireSink	sink = {take_raft, take_proposal, take_answer, take_gossip, take_sleep, &buf, take_members, take_offer, take_chunk, take_ack};

	nd_buf_init(&buf);
	if (wire_decode(data, size, 2, 1, &sink) == ND_OK && buf.failed)
		abort();
	nd_buf_free(&buf);
	(void) wire_decode_join_request(data, size, &request);
	(void) wire_decode_join_answer(data, size, &answer);
	(void) wire_decode_meta(data, size, &meta);
	return 0;
}
