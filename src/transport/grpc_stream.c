/*
 * grpc_stream.c: the one stream between two nodes: dial or accept, handshake, send, receive, break.
 *
 * Owns: Peer's part of the network thread and all Stream objects. Everything here runs in the network thread.
 *
 * A message of the stream is a row of frames, each behind its length. The lower node id dials. The dialler's first message may be empty:
 * it says that the hello of the other side was found good, and with it the handshake is complete both ways.
 *
 * Invariants:
 * 1. A peer has at most one UP stream. EVENT_UP is pushed when a stream becomes UP, EVENT_DOWN when it closes: in turns, once each.
 * 2. One send and one read at a time per stream. A read is started only while the driver keeps up (receive_queue_bytes_max).
 * 3. A frame is given to one stream only; frames queued or under way when it closes are dropped.
 * 4. A Stream is freed when it is CLOSED and gRPC has returned all of its batches.
 * 5. incarnation_seen never falls: a node that comes back with a lower one is a copy of an old state.
 */
#include "grpc_internal.h"

#include <stdio.h>
#include <string.h>

const char	transport__stream_method[] = "/nodedb.Transport/Stream";

/* ---- sending ---- */

static void out_drop(Peer *peer)
{
	OutFrame   *frame;

	pthread_mutex_lock(&peer->lock);
	frame = peer->out_first;
	peer->out_first = NULL;
	peer->out_last = &peer->out_first;
	peer->out_bytes = 0;
	peer->open = false;
	peer->draining = false;
	pthread_mutex_unlock(&peer->lock);
	while (frame != NULL)
	{
		OutFrame   *next = frame->next;

		nd_free(frame);
		frame = next;
	}
}

/* The oldest frames, up to BATCH_BYTES_MAX but at least one; NULL when there are none. */
static OutFrame *out_take(Peer *peer, size_t *bytes)
{
	OutFrame   *first;
	OutFrame  **end;

	*bytes = 0;
	pthread_mutex_lock(&peer->lock);
	first = peer->out_first;
	end = &peer->out_first;
	while (*end != NULL && (*bytes == 0 || *bytes + (*end)->len <= BATCH_BYTES_MAX))
	{
		*bytes += (*end)->len;
		end = &(*end)->next;
	}
	if (first != NULL)
	{
		peer->out_first = *end;
		if (peer->out_first == NULL)
			peer->out_last = &peer->out_first;
		*end = NULL;
	}
	peer->draining = first != NULL;
	pthread_mutex_unlock(&peer->lock);
	return first;
}

static void free_frame(void *frame)
{
	nd_free(frame);
}

/* One slice of these frames; takes them. Many small ones are copied together, a large one is not. */
static grpc_slice frames_slice(OutFrame *frame, size_t bytes)
{
	grpc_slice	slice;
	uint8_t    *p;

	if (frame->next == NULL && frame->len > BATCH_BYTES_MAX / 4)
		return grpc_slice_new_with_user_data(frame->data, frame->len, free_frame, frame);
	slice = grpc_slice_malloc(bytes);
	p = GRPC_SLICE_START_PTR(slice);
	while (frame != NULL)
	{
		OutFrame   *next = frame->next;

		memcpy(p, frame->data, frame->len);
		p += frame->len;
		nd_free(frame);
		frame = next;
	}
	return slice;
}

static void start(Stream *s, const grpc_op *ops, size_t count, Tag *tag)
{
	/* It fails only for a batch that breaks gRPC's rules (two reads at once ...), which the states here exclude. */
	if (grpc_call_start_batch(s->call, ops, count, tag, NULL) == GRPC_CALL_OK)
		s->ops++;
}

static void stream_send(Stream *s)
{
	grpc_op		op;
	grpc_byte_buffer *buffer;
	OutFrame   *frames;
	size_t		bytes;

	if (s->state != STREAM_UP || s->sending || s->finishing)
		return;
	frames = out_take(s->peer, &bytes);
	if (frames == NULL && !s->greet)
		return;
	s->greet = false;
	if (frames != NULL)
	{
		grpc_slice	slice = frames_slice(frames, bytes);

		buffer = grpc_raw_byte_buffer_create(&slice, 1);
		grpc_slice_unref(slice);
	}
	else
		buffer = grpc_raw_byte_buffer_create(NULL, 0);
	memset(&op, 0, sizeof op);
	op.op = GRPC_OP_SEND_MESSAGE;
	op.data.send_message.send_message = buffer;
	s->sending = true;
	s->sending_bytes = bytes;
	start(s, &op, 1, &s->tag_sent);
	grpc_byte_buffer_destroy(buffer);
}

/* ---- receiving ---- */

static void stream_read(Stream *s)
{
	grpc_op		op;

	memset(&op, 0, sizeof op);
	op.op = GRPC_OP_RECV_MESSAGE;
	op.data.recv_message.recv_message = &s->in;
	start(s, &op, 1, &s->tag_read);
}

/* Is this exactly a row of frames? */
static bool message_fits(const uint8_t *data, size_t len)
{
	NdReader	r;

	nd_reader_init(&r, data, len);
	while (nd_reader_left(&r) > 0)
	{
		uint32_t	frame_len = nd_read_u32(&r);

		if (r.failed || frame_len > TRANSPORT_FRAME_BYTES_MAX || nd_reader_left(&r) < frame_len)
			return false;
		nd_read_bytes(&r, frame_len);
	}
	return !r.failed;
}

/* Hand the message to the driver. NULL, or why the stream has to end. */
static const char *stream_received(Net *net, Stream *s)
{
	size_t		len = grpc_byte_buffer_length(s->in);
	size_t		at = 0;
	grpc_byte_buffer_reader reader;
	grpc_slice	slice;
	Item	   *item;

	if (s->in->type != GRPC_BB_RAW || s->in->data.raw.compression != GRPC_COMPRESS_NONE || len > MESSAGE_BYTES_MAX)
		return "it sent a message of an unknown form";
	if (len == 0)
		return NULL;
	item = transport__item_new(EVENT_MESSAGE, len);
	if (item == NULL)
		return "out of memory";	/* a frame may be missing only at the end of a stream */
	if (!grpc_byte_buffer_reader_init(&reader, s->in))
	{
		nd_free(item);
		return "it sent a message of an unknown form";
	}
	while (at < len && grpc_byte_buffer_reader_next(&reader, &slice))
	{
		size_t		n = GRPC_SLICE_LENGTH(slice);

		n = n < len - at ? n : len - at;
		memcpy(item->data + at, GRPC_SLICE_START_PTR(slice), n);
		at += n;
		grpc_slice_unref(slice);
	}
	grpc_byte_buffer_reader_destroy(&reader);
	if (at != len || !message_fits(item->data, len))
	{
		nd_free(item);
		return "it sent a malformed message";
	}
	item->peer = s->peer;
	atomic_fetch_add(&s->peer->in_bytes, sizeof *item + len);
	transport__queue_push(&net->events, item);
	return NULL;
}

/* ---- life of a stream ---- */

static Stream *stream_new(Net *net, Peer *peer, bool dialled)
{
	Stream	   *s = nd_zalloc(sizeof *s);

	if (s == NULL)
		return NULL;
	s->up = transport__item_new(EVENT_UP, 0);
	s->down = transport__item_new(EVENT_DOWN, 0);
	if (s->up == NULL || s->down == NULL)
	{
		nd_free(s->up);
		nd_free(s->down);
		nd_free(s);
		return NULL;
	}
	s->up->peer = s->down->peer = peer;
	s->peer = peer;
	s->dialled = dialled;
	s->state = STREAM_OPENING;
	s->details = grpc_empty_slice();
	grpc_metadata_array_init(&s->initial);
	grpc_metadata_array_init(&s->trailing);
	s->tag_open = (Tag) {TAG_STREAM_OPEN, s};
	s->tag_read = (Tag) {TAG_STREAM_READ, s};
	s->tag_sent = (Tag) {TAG_STREAM_SENT, s};
	s->tag_end = (Tag) {TAG_STREAM_END, s};
	s->tag_finished = (Tag) {TAG_STREAM_FINISHED, s};
	s->next = net->streams;
	s->link = &net->streams;
	if (s->next != NULL)
		s->next->link = &s->next;
	net->streams = s;
	peer->opening = s;
	return s;
}

static void stream_free(Stream *s)
{
	*s->link = s->next;
	if (s->next != NULL)
		s->next->link = s->link;
	if (s->in != NULL)
		grpc_byte_buffer_destroy(s->in);
	grpc_metadata_array_destroy(&s->initial);
	grpc_metadata_array_destroy(&s->trailing);
	grpc_slice_unref(s->details);
	if (s->call != NULL)
		grpc_call_unref(s->call);
	nd_free(s->up);
	nd_free(s->down);
	nd_free(s);
}

static void stream_up(Net *net, Stream *s)
{
	Peer	   *peer = s->peer;

	s->state = STREAM_UP;
	peer->opening = NULL;
	peer->active = s;
	if (s->incarnation > peer->incarnation_seen)
		peer->incarnation_seen = s->incarnation;
	peer->redial_ms = 0;
	pthread_mutex_lock(&peer->lock);
	peer->open = true;
	pthread_mutex_unlock(&peer->lock);
	s->up->id = s->incarnation;
	transport__queue_push(&net->events, s->up);
	s->up = NULL;
	s->greet = s->dialled;
	stream_send(s);
}

/* Forget the stream and cancel its call; its memory goes with its last completion. */
static void stream_close(Net *net, Stream *s, const char *why)
{
	Peer	   *peer = s->peer;

	if (s->state == STREAM_CLOSED)
		return;
	if (s->state == STREAM_UP)
	{
		out_drop(peer);
		transport__queue_push(&net->events, s->down);
		s->down = NULL;
		transport__log(net, 1, "connection to node %u ended: %s", peer->id, why);
	}
	s->state = STREAM_CLOSED;
	if (peer->active == s)
		peer->active = NULL;
	if (peer->opening == s)
		peer->opening = NULL;
	if (s->dialled)
	{
		peer->redial_ms = peer->redial_ms == 0 ? REDIAL_MIN_MS : peer->redial_ms * 2;
		if (peer->redial_ms > REDIAL_MAX_MS)
			peer->redial_ms = REDIAL_MAX_MS;
		peer->redial_at = transport__now_ms() + peer->redial_ms;
	}
	grpc_call_cancel(s->call, NULL);
}

static void dial(Net *net, Peer *peer)
{
	Stream	   *s = stream_new(net, peer, true);
	Hello		hello;
	grpc_metadata md;
	grpc_op		ops[2];

	if (s == NULL)
	{
		peer->redial_at = transport__now_ms() + REDIAL_MAX_MS;
		return;
	}
	s->call = grpc_channel_create_call(peer->channel, NULL, GRPC_PROPAGATE_DEFAULTS, net->cq,
									   grpc_slice_from_static_string(transport__stream_method), NULL,
									   gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	transport__hello_own(net, &hello);
	md = transport__hello_metadata(&hello);
	memset(ops, 0, sizeof ops);
	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	/* The channel goes on trying for ever; the call waits inside. */
	ops[0].flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY;
	ops[0].data.send_initial_metadata.count = 1;
	ops[0].data.send_initial_metadata.metadata = &md;
	ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[1].data.recv_initial_metadata.recv_initial_metadata = &s->initial;
	start(s, ops, 2, &s->tag_open);
	memset(ops, 0, sizeof ops);
	ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[0].data.recv_status_on_client.trailing_metadata = &s->trailing;
	ops[0].data.recv_status_on_client.status = &s->status;
	ops[0].data.recv_status_on_client.status_details = &s->details;
	start(s, ops, 1, &s->tag_end);
	grpc_slice_unref(md.value);
}

/* NULL, or why this incarnation of this peer is not to be talked with. */
static const char *incarnation_refusal(const Peer *peer, const Hello *theirs, char *why, size_t why_len)
{
	if (theirs->incarnation >= peer->incarnation_seen)
		return NULL;
	snprintf(why, why_len, "an older incarnation of node %u: %u after %u; is this a copy of the data directory?", peer->id,
			 theirs->incarnation, peer->incarnation_seen);
	return why;
}

/* The dialled side has answered, or the call is over without an answer: then its end will tell. */
static void dialled_open(Net *net, Stream *s, bool ok)
{
	Hello		ours;
	Hello		theirs;
	char		why[TEXT_BYTES_MAX];

	if (!ok || s->state != STREAM_OPENING || s->initial.count == 0)
		return;
	transport__hello_own(net, &ours);
	/* A refused call may end without a hello of the other side; the status has the reason. A hello that is there must be good. */
	if (!transport__hello_read(&s->initial, &theirs))
		return;
	if (!transport__hello_fits(&ours, &theirs, false, why, sizeof why))
		;
	else if (theirs.node != s->peer->id)
		snprintf(why, sizeof why, "node %u answers where node %u was expected", theirs.node, s->peer->id);
	else if (incarnation_refusal(s->peer, &theirs, why, sizeof why) != NULL)
		;
	else if (!transport__certificate_fits(net, s->call))
		snprintf(why, sizeof why, "its certificate does not bear the name \"%s\"", transport__tls_name);
	else
	{
		s->incarnation = theirs.incarnation;
		stream_up(net, s);
		stream_read(s);
		return;
	}
	transport__refused(net, s->peer->address, why);
	stream_close(net, s, why);
}

static void stream_ended(Net *net, Stream *s)
{
	char		text[TEXT_BYTES_MAX];
	char		line[TEXT_BYTES_MAX + 32];

	if (!s->dialled)
	{
		stream_close(net, s, "closed by the other side");
		return;
	}
	transport__printable(s->details, text, sizeof text);
	if (s->state == STREAM_OPENING)
	{
		if (s->status == GRPC_STATUS_FAILED_PRECONDITION)
		{
			snprintf(line, sizeof line, "refused by the other side: %s", text);
			transport__refused(net, s->peer->address, line);
		}
		else if (transport__worth_saying(net, s->peer->address, text))
			transport__log(net, 1, "could not connect to node %u at %s: %s", s->peer->id, s->peer->address, text);
	}
	stream_close(net, s, text[0] != '\0' ? text : "closed by the other side");
}

static void stream_has_read(Net *net, Stream *s, bool ok)
{
	const char *why = NULL;

	if (s->state == STREAM_CLOSED)
		return;
	if (!ok || s->in == NULL)
	{
		/* A dialled call gets its status next, with the reason in it. */
		if (!s->dialled)
			stream_close(net, s, "closed by the other side");
		return;
	}
	if (s->state == STREAM_OPENING)
	{
		/* The newest stream wins: the older one is a connection whose end has not been noticed yet. */
		if (s->peer->active != NULL)
			stream_close(net, s->peer->active, "replaced by a newer connection");
		stream_up(net, s);
	}
	why = stream_received(net, s);
	grpc_byte_buffer_destroy(s->in);
	s->in = NULL;
	if (why != NULL)
		stream_close(net, s, why);
	else if (atomic_load(&s->peer->in_bytes) > net->receive_queue_bytes_max)
		s->paused = true;
	else
		stream_read(s);
}

static void stream_has_sent(Stream *s, bool ok)
{
	s->sending = false;
	if (s->state != STREAM_UP)
		return;
	pthread_mutex_lock(&s->peer->lock);
	s->peer->out_bytes -= s->sending_bytes;
	pthread_mutex_unlock(&s->peer->lock);
	if (ok)
		stream_send(s);
}

void transport__stream_event(Net *net, Stream *s, TagKind kind, bool ok)
{
	s->ops--;
	switch (kind)
	{
		case TAG_STREAM_OPEN:
			if (s->dialled)
				dialled_open(net, s, ok);
			break;
		case TAG_STREAM_READ:
			stream_has_read(net, s, ok);
			break;
		case TAG_STREAM_SENT:
			stream_has_sent(s, ok);
			break;
		case TAG_STREAM_FINISHED:
			break;
		default:
			stream_ended(net, s);
			break;
	}
	if (s->state == STREAM_CLOSED && s->ops == 0)
		stream_free(s);
}

/* ---- accepting ---- */

void transport__stream_accept_next(Net *net)
{
	Accept	   *a = &net->accept_stream;

	a->call = NULL;
	grpc_metadata_array_init(&a->metadata);
	a->armed = grpc_server_request_registered_call(net->server, net->stream_method, &a->call, &a->deadline, &a->metadata, NULL, net->cq,
												   net->cq, &a->tag) == GRPC_CALL_OK;
}

static Peer *find_peer(Net *net, NdNodeId id)
{
	Peer	   *peer = net->peers;

	while (peer != NULL && peer->id != id)
		peer = peer->net_next;
	return peer;
}

/* The peer that this call comes from, or NULL and `why`. */
static Peer *accept_peer(Net *net, grpc_call *call, bool hello_good, const Hello *theirs, char *why, size_t why_len)
{
	Hello		ours;
	Peer	   *peer;

	transport__hello_own(net, &ours);
	if (!hello_good)
		snprintf(why, why_len, "its greeting is missing or malformed");
	else if (!transport__certificate_fits(net, call))
		snprintf(why, why_len, "its certificate does not bear the name \"%s\"", transport__tls_name);
	else if (!transport__hello_fits(&ours, theirs, false, why, why_len))
		;
	else if ((peer = find_peer(net, theirs->node)) == NULL || !peer->wanted)
		snprintf(why, why_len, "node %u is not known as a member at node %u", theirs->node, ours.node);
	else if (theirs->node > ours.node)
		snprintf(why, why_len, "node %u waits to be called by node %u, which has the lower id", theirs->node, ours.node);
	else if (incarnation_refusal(peer, theirs, why, why_len) == NULL)
		return peer;
	return NULL;
}

void transport__stream_accepted(Net *net, bool ok)
{
	Accept	   *a = &net->accept_stream;
	grpc_call  *call = a->call;
	Hello		ours;
	Hello		theirs;
	bool		hello_good = ok && transport__hello_read(&a->metadata, &theirs);
	char		why[TEXT_BYTES_MAX];
	char		address[ADDRESS_BYTES_MAX];
	Peer	   *peer;
	Stream	   *s;
	grpc_metadata md;
	grpc_op		op;

	a->armed = false;
	grpc_metadata_array_destroy(&a->metadata);
	if (!ok)
		return;					/* the server goes down */
	transport__stream_accept_next(net);
	peer = accept_peer(net, call, hello_good, &theirs, why, sizeof why);
	if (peer == NULL)
	{
		transport__call_address(call, address, sizeof address);
		transport__refused(net, address, why);
		transport__refuse_call(net, call, GRPC_STATUS_FAILED_PRECONDITION, why);
		return;
	}
	if (peer->opening != NULL)
		stream_close(net, peer->opening, "replaced by a newer connection");
	s = stream_new(net, peer, false);
	if (s == NULL)
	{
		transport__refuse_call(net, call, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	s->call = call;
	s->incarnation = theirs.incarnation;
	s->deadline = transport__now_ms() + HANDSHAKE_MS;
	memset(&op, 0, sizeof op);
	op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
	op.data.recv_close_on_server.cancelled = &s->cancelled;
	start(s, &op, 1, &s->tag_end);
	transport__hello_own(net, &ours);
	md = transport__hello_metadata(&ours);
	memset(&op, 0, sizeof op);
	op.op = GRPC_OP_SEND_INITIAL_METADATA;
	op.data.send_initial_metadata.count = 1;
	op.data.send_initial_metadata.metadata = &md;
	start(s, &op, 1, &s->tag_open);
	grpc_slice_unref(md.value);
	stream_read(s);
}

/* ---- commands, doorbell, timers, end ---- */

void transport__peer_set(Net *net, Peer *peer, const char *address)
{
	bool		moved = strcmp(peer->address, address) != 0;

	if (!peer->known)
	{
		peer->known = true;
		peer->net_next = net->peers;
		net->peers = peer;
	}
	if (peer->wanted && !moved)
		return;
	peer->wanted = true;
	snprintf(peer->address, sizeof peer->address, "%s", address);
	if (net->self > peer->id)
		return;					/* the peer calls; where it is said to live does not matter */
	if (peer->active != NULL)
		stream_close(net, peer->active, "its address has changed");
	if (peer->opening != NULL)
		stream_close(net, peer->opening, "its address has changed");
	if (peer->channel != NULL)
		grpc_channel_destroy(peer->channel);
	peer->channel = transport__channel_new(net, address);
	peer->redial_at = 0;
	peer->redial_ms = 0;
}

void transport__peer_remove(Net *net, Peer *peer)
{
	if (!peer->wanted)
		return;
	peer->wanted = false;
	if (peer->active != NULL)
		stream_close(net, peer->active, "it was removed");
	if (peer->opening != NULL)
		stream_close(net, peer->opening, "it was removed");
	if (peer->channel != NULL)
		grpc_channel_destroy(peer->channel);
	peer->channel = NULL;
}

void transport__peers_look(Net *net)
{
	for (Peer *peer = net->peers; peer != NULL; peer = peer->net_next)
	{
		Stream	   *s = peer->active;

		if (s == NULL)
			continue;
		stream_send(s);
		if (s->paused && atomic_load(&peer->in_bytes) <= net->receive_queue_bytes_max / 2)
		{
			s->paused = false;
			stream_read(s);
		}
	}
}

/*
 * Say that nothing more comes. Unlike a cancelled call, one that ends like this delivers first what is on its way; the other side then ends it, and
 * ours with it.
 */
static void stream_finish(Stream *s)
{
	grpc_op		op;
	bool		idle;

	pthread_mutex_lock(&s->peer->lock);
	idle = s->peer->out_bytes == 0;
	pthread_mutex_unlock(&s->peer->lock);
	if (s->finishing || !idle || s->sending)
		return;
	s->finishing = true;
	memset(&op, 0, sizeof op);
	op.op = s->dialled ? GRPC_OP_SEND_CLOSE_FROM_CLIENT : GRPC_OP_SEND_STATUS_FROM_SERVER;
	start(s, &op, 1, &s->tag_finished);
}

bool transport__streams_finished(Net *net)
{
	bool		finished = true;

	for (Peer *peer = net->peers; peer != NULL; peer = peer->net_next)
		if (peer->active != NULL)
		{
			stream_finish(peer->active);
			finished = false;
		}
	return finished;
}

void transport__stream_timers(Net *net, int64_t now, int64_t *next)
{
	for (Peer *peer = net->peers; peer != NULL; peer = peer->net_next)
	{
		int64_t		at;

		if (peer->opening != NULL && !peer->opening->dialled)
		{
			at = peer->opening->deadline;
			if (at <= now)
			{
				stream_close(net, peer->opening, "no handshake in time");
				continue;
			}
		}
		else if (peer->channel != NULL && peer->active == NULL && peer->opening == NULL)
		{
			at = peer->redial_at;
			if (at <= now)
			{
				dial(net, peer);
				continue;
			}
		}
		else
			continue;
		if (at < *next)
			*next = at;
	}
}

void transport__streams_cancel(Net *net)
{
	for (Peer *peer = net->peers; peer != NULL; peer = peer->net_next)
		transport__peer_remove(net, peer);
}
