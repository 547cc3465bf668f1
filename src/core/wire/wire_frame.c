/*
 * wire_frame.c: frames: every wire_put_*() appends one item, wire_decode() takes a frame apart.
 *
 * What it owns: nothing; bytes in, items out.
 *
 * Invariants:
 * 1. A frame is checked as a whole (check_frame) before the first item is handed out: a malformed item never follows good ones into the core.
 * 2. Entries of an APPEND are consecutive, so their indexes are not sent: the decoder counts from the message's index, and refuses an overflow.
 */
#include "wire_internal.h"

static void *pb_alloc(void *ctx, size_t bytes)
{
	WireMemory *m = ctx;
	void	   *p = nd_alloc(bytes);

	m->failed = m->failed || p == NULL;
	return p;
}

static void pb_free(void *ctx, void *p)
{
	(void) ctx;
	nd_free(p);
}

void wire__memory_init(WireMemory *m)
{
	m->base = (ProtobufCAllocator) {pb_alloc, pb_free, m};
	m->failed = false;
}

typedef struct PackBuffer
{
	ProtobufCBuffer base;
	NdBuf	   *out;
} PackBuffer;

static void pack_append(ProtobufCBuffer *base, size_t len, const uint8_t *data)
{
	nd_buf_bytes(((PackBuffer *) base)->out, data, len);
}

void wire__pack(NdBuf *out, const ProtobufCMessage *m)
{
	PackBuffer	buffer = {{pack_append}, out};

	protobuf_c_message_pack_to_buffer(m, &buffer.base);
}

/* ---- encoding ---- */

static void put_beat(NdBuf *buf, const RaftMessage *m)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__Beat beat = NODEDB__BEAT__INIT;
	Nodedb__Beat *beats = &beat;

	beat.group = m->group;
	beat.term = m->term;
	beat.commit = m->commit;
	beat.context = m->context;
	beat.index = m->index;
	beat.reject = m->reject;
	if (m->type == RAFT_MSG_HEARTBEAT)
	{
		frame.n_beats = 1;
		frame.beats = &beats;
	}
	else
	{
		frame.n_beat_replies = 1;
		frame.beat_replies = &beats;
	}
	wire__pack(buf, &frame.base);
}

static bool set_entries(Nodedb__RaftMsg *msg, const RaftMessage *m)
{
	Nodedb__Entry *entries = nd_alloc(m->n_entries * (sizeof(Nodedb__Entry) + sizeof(Nodedb__Entry *)));
	Nodedb__Entry **pointers;

	if (entries == NULL)
		return false;
	pointers = (Nodedb__Entry **) (entries + m->n_entries);
	for (uint32_t i = 0; i < m->n_entries; i++)
	{
		nodedb__entry__init(&entries[i]);
		entries[i].term = m->entries[i].term;
		entries[i].kind = m->entries[i].kind;
		if (m->entries[i].payload != NULL)
		{
			entries[i].payload.data = m->entries[i].payload->data;
			entries[i].payload.len = m->entries[i].payload->len;
		}
		pointers[i] = &entries[i];
	}
	msg->n_entries = m->n_entries;
	msg->entries = pointers;
	return true;
}

void wire_put_raft(NdBuf *buf, const RaftMessage *m)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__RaftMsg msg = NODEDB__RAFT_MSG__INIT;
	Nodedb__RaftMsg *msgs = &msg;

	if (m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_HEARTBEAT_REPLY)
	{
		put_beat(buf, m);
		return;
	}
	msg.type = m->type;
	msg.group = m->group;
	msg.term = m->term;
	msg.index = m->index;
	msg.log_term = m->log_term;
	msg.commit = m->commit;
	msg.hint_index = m->hint_index;
	msg.hint_term = m->hint_term;
	msg.context = m->context;
	msg.reject = m->reject;
	if (m->n_entries > 0 && !set_entries(&msg, m))
		buf->failed = true;
	frame.n_raft = 1;
	frame.raft = &msgs;
	if (!buf->failed)
		wire__pack(buf, &frame.base);
	if (msg.entries != NULL)
		nd_free(msg.entries[0]);
}

void wire_put_proposal(NdBuf *buf, const WireProposal *p)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__Proposal proposal = NODEDB__PROPOSAL__INIT;
	Nodedb__Proposal *proposals = &proposal;

	proposal.group = p->group;
	proposal.request = p->request;
	proposal.entry.data = (uint8_t *) p->entry;
	proposal.entry.len = p->len;
	frame.n_proposals = 1;
	frame.proposals = &proposals;
	wire__pack(buf, &frame.base);
}

void wire_put_answer(NdBuf *buf, const WireAnswer *a)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__Answer answer = NODEDB__ANSWER__INIT;
	Nodedb__Answer *answers = &answer;

	answer.group = a->group;
	answer.request = a->request;
	answer.kind = a->kind;
	answer.leader = a->leader;
	answer.index = a->index;
	answer.term = a->term;
	frame.n_answers = 1;
	frame.answers = &answers;
	wire__pack(buf, &frame.base);
}

void wire_put_gossip(NdBuf *buf, const WireGossip *g)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__Gossip gossip = NODEDB__GOSSIP__INIT;
	Nodedb__Gossip *gossips = &gossip;

	gossip.group = g->group;
	gossip.stored = g->stored;
	gossip.applied = g->applied;
	gossip.checksum_index = g->checksum_index;
	gossip.checksum = g->checksum;
	gossip.shown = g->shown;
	gossip.shown_wanted = g->shown_wanted;
	gossip.no_space = g->no_space;
	gossip.prepared = g->prepared;
	gossip.prepared_wanted = g->prepared_wanted;
	gossip.groups_max = g->groups_max;
	frame.n_gossip = 1;
	frame.gossip = &gossips;
	wire__pack(buf, &frame.base);
}

void wire_put_sleep(NdBuf *buf, const WireSleep *s)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__Sleep msg = NODEDB__SLEEP__INIT;
	Nodedb__Sleep *msgs = &msg;

	msg.group = s->group;
	msg.term = s->term;
	msg.commit = s->commit;
	frame.n_sleeps = 1;
	frame.sleeps = &msgs;
	wire__pack(buf, &frame.base);
}

void wire_put_members(NdBuf *buf, const WireMembers *m)
{
	Nodedb__Frame frame = NODEDB__FRAME__INIT;
	Nodedb__Members msg = NODEDB__MEMBERS__INIT;
	Nodedb__Members *msgs = &msg;
	NdBuf		configuration;

	nd_buf_init(&configuration);
	if (raft_configuration_encode(m->configuration, &configuration) != ND_OK || configuration.failed)
		buf->failed = true;
	msg.index = m->index;
	msg.configuration.data = configuration.data;
	msg.configuration.len = configuration.len;
	frame.n_members = 1;
	frame.members = &msgs;
	wire__pack(buf, &frame.base);
	nd_buf_free(&configuration);
}

/* ---- decoding ---- */

NdStatus wire__check_configuration(const ProtobufCBinaryData *bytes)
{
	RaftConfiguration c;

	return raft_configuration_decode(bytes->data, bytes->len, &c);
}

static NdStatus check_raft(const Nodedb__RaftMsg *m)
{
	if (m->type < RAFT_MSG_PREVOTE || m->type > RAFT_MSG_READ_INDEX_REPLY ||
		m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_HEARTBEAT_REPLY)
		return ND_INVALID;
	if (m->n_entries > 0 && (m->type != RAFT_MSG_APPEND || m->index > UINT64_MAX - m->n_entries))
		return ND_INVALID;
	for (size_t i = 0; i < m->n_entries; i++)
		if (m->entries[i]->kind > RAFT_ENTRY_CONFIG || m->entries[i]->payload.len > UINT32_MAX)
			return ND_INVALID;
	return ND_OK;
}

static NdStatus check_frame(const Nodedb__Frame *f)
{
	NdStatus	status = ND_OK;

	for (size_t i = 0; i < f->n_proposals; i++)
		if (f->proposals[i]->entry.len == 0)
			return ND_INVALID;
	for (size_t i = 0; i < f->n_answers; i++)
		if (f->answers[i]->kind > WIRE_REFUSED)
			return ND_INVALID;
	for (size_t i = 0; status == ND_OK && i < f->n_raft; i++)
		status = check_raft(f->raft[i]);
	for (size_t i = 0; status == ND_OK && i < f->n_members; i++)
		status = wire__check_configuration(&f->members[i]->configuration);
	return status == ND_OK ? wire__check_snapshots(f) : status;
}

static NdStatus hand_raft(const Nodedb__RaftMsg *msg, NdNodeId from, NdNodeId to, const WireSink *sink)
{
	RaftMessage m = {
		.type = (RaftMessageType) msg->type, .group = msg->group, .from = from, .to = to, .term = msg->term,
		.index = msg->index, .log_term = msg->log_term, .commit = msg->commit,
		.hint_index = msg->hint_index, .hint_term = msg->hint_term, .context = msg->context, .reject = msg->reject,
	};
	NdStatus	status = ND_OK;

	if (msg->n_entries > 0)
	{
		m.entries = nd_zalloc(msg->n_entries * sizeof(RaftEntry));
		if (m.entries == NULL)
			status = ND_NOMEM;
	}
	for (size_t i = 0; status == ND_OK && i < msg->n_entries; i++)
	{
		RaftEntry  *e = &m.entries[m.n_entries];

		e->index = msg->index + 1 + i;
		e->term = msg->entries[i]->term;
		e->kind = (RaftEntryKind) msg->entries[i]->kind;
		if (msg->entries[i]->payload.len > 0)
		{
			e->payload = nd_blob_new(msg->entries[i]->payload.data, (uint32_t) msg->entries[i]->payload.len);
			if (e->payload == NULL)
				status = ND_NOMEM;
		}
		m.n_entries++;
	}
	if (status == ND_OK)
		sink->raft(sink->ctx, &m);
	for (uint32_t i = 0; i < m.n_entries; i++)
		nd_blob_unref(m.entries[i].payload);
	nd_free(m.entries);
	return status;
}

static void hand_beat(const Nodedb__Beat *b, RaftMessageType type, NdNodeId from, NdNodeId to, const WireSink *sink)
{
	RaftMessage m = {
		.type = type, .group = b->group, .from = from, .to = to, .term = b->term, .commit = b->commit,
		.context = b->context, .index = b->index, .reject = b->reject,
	};

	sink->raft(sink->ctx, &m);
}

static NdStatus hand_members(const Nodedb__Members *msg, const WireSink *sink)
{
	RaftConfiguration *c;
	NdStatus	status;

	if (sink->members == NULL)
		return ND_OK;
	c = nd_alloc(sizeof(*c));
	if (c == NULL)
		return ND_NOMEM;
	status = raft_configuration_decode(msg->configuration.data, msg->configuration.len, c);
	if (status == ND_OK)
		sink->members(sink->ctx, &(WireMembers) {msg->index, c});
	nd_free(c);
	return status;
}

static void hand_small(const Nodedb__Frame *f, const WireSink *sink)
{
	for (size_t i = 0; i < f->n_answers; i++)
	{
		const Nodedb__Answer *a = f->answers[i];

		sink->answer(sink->ctx, &(WireAnswer) {a->group, a->request, (WireAnswerKind) a->kind, a->leader, a->index, a->term});
	}
	for (size_t i = 0; i < f->n_proposals; i++)
	{
		const Nodedb__Proposal *p = f->proposals[i];

		sink->proposal(sink->ctx, &(WireProposal) {p->group, p->request, p->entry.data, p->entry.len});
	}
	for (size_t i = 0; i < f->n_gossip; i++)
	{
		const Nodedb__Gossip *g = f->gossip[i];

		sink->gossip(sink->ctx, &(WireGossip) {g->group, g->stored, g->applied, g->checksum_index, g->checksum, g->shown, g->shown_wanted, g->no_space != 0,
		g->prepared, g->prepared_wanted, g->groups_max});
	}
	for (size_t i = 0; i < f->n_sleeps; i++)
	{
		const Nodedb__Sleep *s = f->sleeps[i];

		sink->sleep(sink->ctx, &(WireSleep) {s->group, s->term, s->commit});
	}
}

NdStatus wire_decode(const uint8_t *data, size_t len, NdNodeId from, NdNodeId to, const WireSink *sink)
{
	WireMemory	memory;
	Nodedb__Frame *f;
	NdStatus	status;

	wire__memory_init(&memory);
	f = nodedb__frame__unpack(&memory.base, len, data);
	if (f == NULL)
		return memory.failed ? ND_NOMEM : ND_INVALID;
	status = check_frame(f);
	if (status == ND_OK)
	{
		/* Raft messages first: a stream keeps the order in which a leader appends and then heartbeats with a higher commit. */
		for (size_t i = 0; status == ND_OK && i < f->n_raft; i++)
			status = hand_raft(f->raft[i], from, to, sink);
		for (size_t i = 0; i < f->n_beats; i++)
			hand_beat(f->beats[i], RAFT_MSG_HEARTBEAT, from, to, sink);
		for (size_t i = 0; i < f->n_beat_replies; i++)
			hand_beat(f->beat_replies[i], RAFT_MSG_HEARTBEAT_REPLY, from, to, sink);
		hand_small(f, sink);
		for (size_t i = 0; status == ND_OK && i < f->n_members; i++)
			status = hand_members(f->members[i], sink);
		if (status == ND_OK)
			status = wire__hand_snapshots(f, sink);
	}
	nodedb__frame__free_unpacked(f, &memory.base);
	return status;
}
