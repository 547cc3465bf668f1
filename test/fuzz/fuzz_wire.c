/*
 * fuzz_wire.c: any bytes as a frame of another node. A malformed frame hands out nothing, what is handed out can be encoded again, and
 * that frame means the same: it hands out what encodes to the same bytes.
 */
#include "../../src/core/wire/wire.h"

#include "fuzz.h"

typedef struct Again
{
	NdBuf		buf;
	uint32_t	items;
} Again;

static void take_raft(void *ctx, const RaftMessage *m)
{
	Again	   *a = ctx;

	for (uint32_t i = 0; i < m->n_entries; i++)
		MUST(m->entries[i].index == m->index + 1 + i);
	a->items++;
	wire_put_raft(&a->buf, m);
}

static void take_proposal(void *ctx, const WireProposal *p)
{
	((Again *) ctx)->items++;
	wire_put_proposal(&((Again *) ctx)->buf, p);
}

static void take_answer(void *ctx, const WireAnswer *a)
{
	((Again *) ctx)->items++;
	wire_put_answer(&((Again *) ctx)->buf, a);
}

static void take_gossip(void *ctx, const WireGossip *g)
{
	((Again *) ctx)->items++;
	wire_put_gossip(&((Again *) ctx)->buf, g);
}

static void take_sleep(void *ctx, const WireSleep *s)
{
	((Again *) ctx)->items++;
	wire_put_sleep(&((Again *) ctx)->buf, s);
}

static void take_members(void *ctx, const WireMembers *m)
{
	((Again *) ctx)->items++;
	wire_put_members(&((Again *) ctx)->buf, m);
}

static void take_offer(void *ctx, const WireSnapshotOffer *i)
{
	((Again *) ctx)->items++;
	wire_put_snapshot_offer(&((Again *) ctx)->buf, i);
}

static void take_chunk(void *ctx, const WireSnapshotChunk *i)
{
	((Again *) ctx)->items++;
	wire_put_snapshot_chunk(&((Again *) ctx)->buf, i);
}

static void take_ack(void *ctx, const WireSnapshotAck *i)
{
	((Again *) ctx)->items++;
	wire_put_snapshot_ack(&((Again *) ctx)->buf, i);
}

static NdStatus decode(const uint8_t *data, size_t size, Again *a)
{
	WireSink	sink = {take_raft, take_proposal, take_answer, take_gossip, take_sleep, a, take_members, take_offer, take_chunk, take_ack};

	nd_buf_init(&a->buf);
	a->items = 0;
	return wire_decode(data, size, 2, 1, &sink);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Again		once;
	Again		twice;
	NdStatus	status = decode(data, size, &once);

	MUST(status != ND_NOMEM && !once.buf.failed);
	MUST(status == ND_OK || once.items == 0);
	if (status == ND_OK)
	{
		MUST(decode(once.buf.data, once.buf.len, &twice) == ND_OK);
		MUST(once.items == twice.items);
		MUST_EQUAL(once.buf.data, once.buf.len, twice.buf.data, twice.buf.len);
		nd_buf_free(&twice.buf);
	}
	nd_buf_free(&once.buf);
	return 0;
}
