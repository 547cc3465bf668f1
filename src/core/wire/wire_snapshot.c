/*
 * wire_snapshot.c: the items of a frame that carry snapshots: offers, chunks, acknowledgements.
 *
 * Invariants:
 * 1. A malformed offer makes its frame malformed (wire__check_snapshots()): nothing is begun by half of a header.
 * 2. A chunk's checksum is for the receiver: one that does not fit is asked for again, and the frame around it counts.
 */
#include "wire_internal.h"

uint64_t wire_snapshot_checksum(const WireSnapshotChunk *c)
{
	uint64_t	place[4] = {c->group, c->id, c->offset, c->last};

	return nd_checksum(c->data, c->len, nd_checksum(place, sizeof(place), 0));
}

static uint64_t offer_checksum(const Nodedb__SnapshotOffer *o)
{
	uint64_t	fields[8] = {o->group, o->id, o->index, o->term, o->checkpoint, o->applied, o->checkpoint_bytes, o->configuration_index};

	return nd_checksum(o->configuration.data, o->configuration.len, nd_checksum(fields, sizeof(fields), 0));
}

void wire_put_snapshot_offer(NdBuf *buf, const WireSnapshotOffer *o)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__SnapshotOffer msg = NODEDB__SNAPSHOT_OFFER__INIT;
	Nodedb__SnapshotOffer *msgs = &msg;
	NdBuf		configuration;

	nd_buf_init(&configuration);
	if (raft_configuration_encode(o->configuration, &configuration) != ND_OK || configuration.failed)
		buf->failed = true;
	msg.group = o->group;
	msg.id = o->id;
	msg.index = o->index;
	msg.term = o->term;
	msg.checkpoint = o->checkpoint;
	msg.applied = o->applied;
	msg.checkpoint_bytes = o->checkpoint_bytes;
	msg.configuration.data = configuration.data;
	msg.configuration.len = configuration.len;
	msg.configuration_index = o->configuration->index;
	msg.checksum = offer_checksum(&msg);
	frame.n_snapshot_offers = 1;
	frame.snapshot_offers = &msgs;
	if (!buf->failed)
		wire__pack(buf, &frame.base);
	nd_buf_free(&configuration);
}

void wire_put_snapshot_chunk(NdBuf *buf, const WireSnapshotChunk *c)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__SnapshotChunk msg = NODEDB__SNAPSHOT_CHUNK__INIT;
	Nodedb__SnapshotChunk *msgs = &msg;

	msg.group = c->group;
	msg.id = c->id;
	msg.offset = c->offset;
	msg.data.data = (uint8_t *) c->data;
	msg.data.len = c->len;
	msg.last = c->last;
	msg.checksum = c->checksum;
	frame.n_snapshot_chunks = 1;
	frame.snapshot_chunks = &msgs;
	wire__pack(buf, &frame.base);
}

void wire_put_snapshot_ack(NdBuf *buf, const WireSnapshotAck *a)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__SnapshotAck msg = NODEDB__SNAPSHOT_ACK__INIT;
	Nodedb__SnapshotAck *msgs = &msg;

	msg.group = a->group;
	msg.id = a->id;
	msg.kind = a->kind;
	msg.offset = a->offset;
	frame.n_snapshot_acks = 1;
	frame.snapshot_acks = &msgs;
	wire__pack(buf, &frame.base);
}

static bool check_offer(const Nodedb__SnapshotOffer *o)
{
	return o->index > 0 && o->term > 0 && o->configuration_index <= o->index && o->index <= o->checkpoint && o->checkpoint <= o->applied &&
		o->applied < UINT64_MAX >> 2 && o->checkpoint_bytes > 0 && o->checkpoint_bytes <= WIRE_CHECKPOINT_BYTES_MAX &&
		o->configuration.len > 0 && o->checksum == offer_checksum(o);
}

NdStatus wire__check_snapshots(const Nodedb__Frame *f)
{
	NdStatus	status = ND_OK;

	for (size_t i = 0; i < f->n_snapshot_chunks; i++)
	{
		const Nodedb__SnapshotChunk *c = f->snapshot_chunks[i];

		if (c->data.len > WIRE_SNAPSHOT_CHUNK_MAX || (c->data.len == 0 && !c->last) || c->offset > UINT64_MAX - WIRE_SNAPSHOT_CHUNK_MAX)
			return ND_INVALID;
	}
	for (size_t i = 0; i < f->n_snapshot_acks; i++)
		if (f->snapshot_acks[i]->kind > WIRE_SNAPSHOT_REFUSED)
			return ND_INVALID;
	for (size_t i = 0; status == ND_OK && i < f->n_snapshot_offers; i++)
		status = check_offer(f->snapshot_offers[i]) ? wire__check_configuration(&f->snapshot_offers[i]->configuration) : ND_INVALID;
	return status;
}

static NdStatus hand_offer(const Nodedb__SnapshotOffer *o, const WireSink *sink)
{
	RaftConfiguration *c = nd_alloc(sizeof(*c));
	NdStatus	status = c != NULL ? raft_configuration_decode(o->configuration.data, o->configuration.len, c) : ND_NOMEM;

	if (status == ND_OK)
	{
		c->index = o->configuration_index;
		sink->snapshot_offer(sink->ctx, &(WireSnapshotOffer) {
			.group = o->group, .id = o->id, .index = o->index, .term = o->term, .checkpoint = o->checkpoint, .applied = o->applied,
			.checkpoint_bytes = o->checkpoint_bytes, .configuration = c,
		});
	}
	nd_free(c);
	return status;
}

NdStatus wire__hand_snapshots(const Nodedb__Frame *f, const WireSink *sink)
{
	NdStatus	status = ND_OK;

	for (size_t i = 0; status == ND_OK && sink->snapshot_offer != NULL && i < f->n_snapshot_offers; i++)
		status = hand_offer(f->snapshot_offers[i], sink);
	for (size_t i = 0; sink->snapshot_chunk != NULL && i < f->n_snapshot_chunks; i++)
	{
		const Nodedb__SnapshotChunk *c = f->snapshot_chunks[i];

		sink->snapshot_chunk(sink->ctx, &(WireSnapshotChunk) {c->group, c->id, c->offset, c->data.data, c->data.len, c->last, c->checksum});
	}
	for (size_t i = 0; sink->snapshot_ack != NULL && i < f->n_snapshot_acks; i++)
	{
		const Nodedb__SnapshotAck *a = f->snapshot_acks[i];

		sink->snapshot_ack(sink->ctx, &(WireSnapshotAck) {a->group, a->id, (WireSnapshotAckKind) a->kind, a->offset});
	}
	return status;
}
