/*
 * grpc.c: transport.h over gRPC: create, destroy and what the driver's thread calls.
 *
 * Owns: the Net and all Peer objects, from create to destroy.
 *
 * Invariants:
 * 1. gRPC is started here, in the process that uses it, never before a fork.
 * 2. What the driver is told is in step with its callbacks: a peer is connected from peer_up to peer_down, and send() and connected() go by that.
 * 3. A frame is taken or refused at once; nothing here waits for the network but destroy.
 */
#include "grpc_internal.h"

#include <errno.h>
#include <grpc/support/time.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEEPALIVE_DEFAULT_MS 1000
#define SEND_QUEUE_DEFAULT_BYTES (64u << 20)
#define RECEIVE_QUEUE_DEFAULT_BYTES (64u << 20)

static Peer *find_peer(const Net *net, NdNodeId id)
{
	Peer	   *peer = net->driver_peers;

	while (peer != NULL && peer->id != id)
		peer = peer->next;
	return peer;
}

static Peer *peer_new(Net *net, NdNodeId id)
{
	Peer	   *peer = nd_zalloc(sizeof *peer);

	if (peer == NULL)
		return NULL;
	peer->id = id;
	atomic_init(&peer->in_bytes, 0);
	pthread_mutex_init(&peer->lock, NULL);
	peer->out_last = &peer->out_first;
	peer->next = net->driver_peers;
	net->driver_peers = peer;
	return peer;
}

static void command(Net *net, Item *item)
{
	transport__queue_push(&net->commands, item);
	transport__ring(net);
}

static NdStatus net_set_peer(Transport *t, NdNodeId id, const char *address)
{
	Net		   *net = (Net *) t;
	Peer	   *peer;
	Item	   *item;

	if (net->self == 0 || id == 0 || id == net->self || address == NULL || address[0] == '\0')
		return ND_INVALID;
	if (strlen(address) >= ADDRESS_BYTES_MAX)
		return ND_TOOBIG;
	item = transport__item_new(COMMAND_SET_PEER, strlen(address) + 1);
	if (item == NULL)
		return ND_NOMEM;
	peer = find_peer(net, id);
	if (peer == NULL)
		peer = peer_new(net, id);
	if (peer == NULL)
	{
		nd_free(item);
		return ND_NOMEM;
	}
	peer->member = true;
	item->peer = peer;
	memcpy(item->data, address, item->len);
	command(net, item);
	return ND_OK;
}

static NdStatus net_remove_peer(Transport *t, NdNodeId id)
{
	Net		   *net = (Net *) t;
	Peer	   *peer = find_peer(net, id);
	Item	   *item;

	if (peer == NULL || !peer->member)
		return ND_NOTFOUND;
	item = transport__item_new(COMMAND_REMOVE_PEER, 0);
	if (item == NULL)
		return ND_NOMEM;
	peer->member = false;
	item->peer = peer;
	command(net, item);
	return ND_OK;
}

static bool net_connected(Transport *t, NdNodeId id)
{
	Peer	   *peer = find_peer((Net *) t, id);

	return peer != NULL && peer->member && peer->up_told;
}

static NdStatus net_send(Transport *t, NdNodeId id, const uint8_t *data, size_t len)
{
	Net		   *net = (Net *) t;
	Peer	   *peer = find_peer(net, id);
	NdStatus	status = ND_OK;
	bool		ring = false;
	OutFrame   *frame;

	if (len > TRANSPORT_FRAME_BYTES_MAX)
		return ND_TOOBIG;
	if (peer == NULL || !peer->member || !peer->up_told)
		return ND_NOTFOUND;
	frame = nd_alloc(sizeof *frame + FRAME_HEADER_BYTES + len);
	if (frame == NULL)
		return ND_NOMEM;
	frame->next = NULL;
	frame->len = FRAME_HEADER_BYTES + len;
	for (unsigned i = 0; i < FRAME_HEADER_BYTES; i++)
		frame->data[i] = (uint8_t) (len >> (8 * i));
	if (len > 0)
		memcpy(frame->data + FRAME_HEADER_BYTES, data, len);
	pthread_mutex_lock(&peer->lock);
	if (!peer->open)
		status = ND_NOTFOUND;	/* it has broken, and poll() has not said so yet */
	else if (peer->out_bytes > 0 && peer->out_bytes + frame->len > net->send_queue_bytes_max)
		status = ND_BUSY;
	else
	{
		*peer->out_last = frame;
		peer->out_last = &frame->next;
		peer->out_bytes += frame->len;
		ring = !peer->draining;
	}
	pthread_mutex_unlock(&peer->lock);
	if (status != ND_OK)
		nd_free(frame);
	if (ring)
		transport__ring(net);
	return status;
}

static NdStatus net_request(Transport *t, const char *address, uint64_t request_id, const uint8_t *data, size_t len, uint32_t timeout_ms)
{
	Net		   *net = (Net *) t;
	size_t		address_len;
	Item	   *item;

	if (address == NULL || address[0] == '\0' || timeout_ms == 0)
		return ND_INVALID;
	address_len = strlen(address) + 1;
	if (len > REQUEST_BYTES_MAX || address_len > ADDRESS_BYTES_MAX)
		return ND_TOOBIG;
	if (net->asked_count >= REQUESTS_MAX)
		return ND_BUSY;
	item = transport__item_new(COMMAND_REQUEST, address_len + len);
	if (item == NULL)
		return ND_NOMEM;
	item->reserve = transport__item_new(EVENT_ANSWER, 0);
	if (item->reserve == NULL)
	{
		nd_free(item);
		return ND_NOMEM;
	}
	item->id = item->reserve->id = request_id;
	item->timeout_ms = timeout_ms;
	memcpy(item->data, address, address_len);
	if (len > 0)
		memcpy(item->data + address_len, data, len);
	net->asked_count++;
	command(net, item);
	return ND_OK;
}

/* Take this id off the list of requests that may be answered; false: it is not there. */
static bool served_forget(Net *net, uint64_t id)
{
	for (size_t i = 0; i < REQUESTS_MAX; i++)
		if (id != 0 && net->served_open[i] == id)
		{
			net->served_open[i] = 0;
			return true;
		}
	return false;
}

static NdStatus net_answer(Transport *t, uint64_t request_id, const uint8_t *data, size_t len)
{
	Net		   *net = (Net *) t;
	Item	   *item;

	if (len > REQUEST_BYTES_MAX)
		return ND_TOOBIG;
	item = transport__item_new(COMMAND_ANSWER, len);
	if (item == NULL)
		return ND_NOMEM;
	if (!served_forget(net, request_id))
	{
		nd_free(item);
		return ND_NOTFOUND;
	}
	item->id = request_id;
	if (len > 0)
		memcpy(item->data, data, len);
	command(net, item);
	return ND_OK;
}

static int net_fd(Transport *t)
{
	return ((Net *) t)->events.wake_fd;
}

/* ---- poll ---- */

static void run_message(Net *net, const Item *item)
{
	Peer	   *peer = item->peer;
	uint64_t	bytes = sizeof *item + item->len;
	uint64_t	half = net->receive_queue_bytes_max / 2;
	uint64_t	before;
	NdReader	r;

	nd_reader_init(&r, item->data, item->len);
	while (nd_reader_left(&r) > 0 && peer->member)
	{
		uint32_t	len = nd_read_u32(&r);
		const uint8_t *data = nd_read_bytes(&r, len);

		if (r.failed)
			break;
		if (net->callbacks.frame != NULL)
			net->callbacks.frame(net->callbacks.ctx, peer->id, data, len);
	}
	before = atomic_fetch_sub(&peer->in_bytes, bytes);
	if (before > half && before - bytes <= half)
		transport__ring(net);	/* the stream may be waiting for this */
}

static void run_event(Net *net, const Item *item)
{
	const TransportCallbacks *cb = &net->callbacks;
	const char *text = (const char *) item->data;

	switch (item->kind)
	{
		case EVENT_MESSAGE:
			run_message(net, item);
			break;
		case EVENT_UP:
			item->peer->up_told = true;
			if (cb->peer_up != NULL)
				cb->peer_up(cb->ctx, item->peer->id, (uint32_t) item->id);
			break;
		case EVENT_DOWN:
			item->peer->up_told = false;
			if (cb->peer_down != NULL)
				cb->peer_down(cb->ctx, item->peer->id);
			break;
		case EVENT_REFUSED:
			if (cb->refused != NULL)
				cb->refused(cb->ctx, text, text + strlen(text) + 1);
			break;
		case EVENT_LOG:
			if (item->ok)
				atomic_fetch_sub(&net->log_lines, 1);
			if (cb->log != NULL)
				cb->log(cb->ctx, (int) item->id, text);
			break;
		case EVENT_REQUEST:
			for (size_t i = 0; i < REQUESTS_MAX; i++)
				if (net->served_open[i] == 0)
				{
					net->served_open[i] = item->id;
					break;
				}
			if (cb->request != NULL)
				cb->request(cb->ctx, item->id, item->data, item->len);
			break;
		case EVENT_REQUEST_GONE:
			served_forget(net, item->id);
			break;
		case EVENT_ANSWER:
			net->asked_count--;
			if (cb->answer != NULL)
				cb->answer(cb->ctx, item->id, item->ok, item->data, item->len);
			break;
		default:
			break;
	}
}

static void net_poll(Transport *t)
{
	Net		   *net = (Net *) t;
	Item	   *item = transport__queue_take(&net->events);

	while (item != NULL)
	{
		Item	   *next = item->next;

		run_event(net, item);
		nd_free(item);
		item = next;
	}
}

/* ---- end ---- */

static void drain_cq(grpc_completion_queue *cq)
{
	grpc_completion_queue_shutdown(cq);
	while (grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type != GRPC_QUEUE_SHUTDOWN)
		;
}

/* Everything but the thread, which has ended or never began. Signals are blocked. */
static void release(Net *net, bool cq_drained)
{
	if (net->bell_call != NULL)
		grpc_call_unref(net->bell_call);
	if (net->bell_channel != NULL)
		grpc_channel_destroy(net->bell_channel);
	if (net->server != NULL)
	{
		if (!cq_drained)
		{
			/* A server that never started wants its shutdown all the same. */
			grpc_server_shutdown_and_notify(net->server, net->cq, &net->server_down_tag);
			while (grpc_completion_queue_next(net->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).tag != &net->server_down_tag)
				;
		}
		grpc_server_destroy(net->server);
	}
	if (net->cq != NULL)
	{
		if (!cq_drained)
			drain_cq(net->cq);
		grpc_completion_queue_destroy(net->cq);
	}
	if (net->channel_credentials != NULL)
		grpc_channel_credentials_release(net->channel_credentials);
	if (net->server_credentials != NULL)
		grpc_server_credentials_release(net->server_credentials);
	grpc_shutdown_blocking();
	transport__log_detach(net);
	transport__queue_close(&net->events);
	transport__queue_close(&net->commands);
	nd_free(net->stop);
	while (net->driver_peers != NULL)
	{
		Peer	   *peer = net->driver_peers;

		net->driver_peers = peer->next;
		while (peer->out_first != NULL)
		{
			OutFrame   *frame = peer->out_first;

			peer->out_first = frame->next;
			nd_free(frame);
		}
		pthread_mutex_destroy(&peer->lock);
		nd_free(peer);
	}
	nd_free(net);
}

static void block_signals(sigset_t *old)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

static void net_destroy(Transport *t)
{
	Net		   *net = (Net *) t;
	struct timespec until;
	sigset_t	old;

	block_signals(&old);
	command(net, net->stop);
	net->stop = NULL;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_MS / 1000;
	/* If gRPC holds on to a call for so long, the thread and all it can reach stay: the process is about to end anyway. */
	if (pthread_clockjoin_np(net->thread, NULL, CLOCK_MONOTONIC, &until) == 0)
		release(net, true);
	else
		transport__log_detach(net);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* ---- create ---- */

static const TransportOps net_ops = {
	.set_peer = net_set_peer,
	.remove_peer = net_remove_peer,
	.send = net_send,
	.connected = net_connected,
	.request = net_request,
	.answer = net_answer,
	.fd = net_fd,
	.poll = net_poll,
	.destroy = net_destroy,
};

/* gRPC only says that it could not bind; say why, by trying it. */
static void explain_listen(const char *where, bool tls, char *error, size_t error_len)
{
	char		host[ADDRESS_BYTES_MAX];
	char	   *port;
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found = NULL;
	const char *why = "host:port expected";

	snprintf(host, sizeof host, "%s", where);
	port = strrchr(host, ':');
	if (port != NULL)
	{
		char	   *name = host;
		int			rc;

		*port++ = '\0';
		if (name[0] == '[' && name[strlen(name) - 1] == ']')
		{
			name[strlen(name) - 1] = '\0';
			name++;
		}
		rc = getaddrinfo(name, port, &hints, &found);
		why = rc != 0 ? gai_strerror(rc) : tls ? "are the TLS files usable?" : "unknown reason";
	}
	for (struct addrinfo *a = found; a != NULL; a = a->ai_next)
	{
		int			fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		int			one = 1;

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 1) != 0)
			why = strerror(errno);
		close(fd);
	}
	if (found != NULL)
		freeaddrinfo(found);
	snprintf(error, error_len, "could not listen on \"%s\": %s", where, why);
}

static bool create_server(Net *net, const char *where, char *error, size_t error_len)
{
	grpc_arg	args[TRANSPORT_ARGS_MAX];
	grpc_channel_args list = {transport__common_args(net, args), args};

	/* A second server must not share the port in silence. */
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_ALLOW_REUSEPORT, 0);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, (int) (net->keepalive_ms / 2));
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_MS);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, 16);
	net->server = grpc_server_create(&list, NULL);
	grpc_server_register_completion_queue(net->server, net->cq, NULL);
	net->stream_method = grpc_server_register_method(net->server, transport__stream_method, NULL, GRPC_SRM_PAYLOAD_NONE, 0);
	net->request_method = grpc_server_register_method(net->server, transport__request_method, NULL,
													  GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
	if (grpc_server_add_http2_port(net->server, where, net->server_credentials) == 0)
	{
		explain_listen(where, net->tls, error, error_len);
		return false;
	}
	grpc_server_start(net->server);
	transport__stream_accept_next(net);
	transport__request_accept_next(net);
	return true;
}

/* With signals blocked: threads of gRPC begin in here and inherit that. */
static NdStatus start(Net *net, const TransportConfig *config, char *error, size_t error_len)
{
	int			rc;

	/* The only poller whose wake-ups were measured; read once, by the first grpc_init() of the process. */
	setenv("GRPC_POLL_STRATEGY", "epoll1", 0);
	/* Without it every message received sends a window update at once: a system call here, a wake-up of the peer. */
	setenv("GRPC_EXPERIMENTS", "flow_control_fixes", 0);
	transport__log_attach(net);
	grpc_init();
	if (!transport__credentials(config, &net->channel_credentials, &net->server_credentials, error, error_len))
		return ND_INVALID;
	net->cq = grpc_completion_queue_create_for_next(NULL);
	net->bell_channel = grpc_lame_client_channel_create("bell", GRPC_STATUS_UNAVAILABLE, "bell");
	net->bell_call = grpc_channel_create_call(net->bell_channel, NULL, GRPC_PROPAGATE_DEFAULTS, net->cq,
											  grpc_slice_from_static_string("/bell"), NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	if (config->listen != NULL && !create_server(net, config->listen, error, error_len))
		return ND_IO;
	rc = pthread_create(&net->thread, NULL, transport__thread_main, net);
	if (rc != 0)
	{
		snprintf(error, error_len, "could not start the network thread: %s", strerror(rc));
		return ND_NOMEM;
	}
	return ND_OK;
}

NdStatus transport_grpc_create(const TransportConfig *config, const TransportCallbacks *callbacks, Transport **out, char *error,
							   size_t error_len)
{
	Net		   *net = nd_zalloc(sizeof *net);
	sigset_t	old;
	NdStatus	status;

	if (net != NULL)
		net->stop = transport__item_new(COMMAND_STOP, 0);
	if (net == NULL || net->stop == NULL)
	{
		snprintf(error, error_len, "out of memory");
		nd_free(net);
		return ND_NOMEM;
	}
	if (!transport__queue_init(&net->events))
	{
		snprintf(error, error_len, "could not create an eventfd: %s", strerror(errno));
		nd_free(net->stop);
		nd_free(net);
		return ND_IO;
	}
	atomic_init(&net->commands.head, NULL);
	net->commands.wake_fd = -1;
	net->base.ops = &net_ops;
	net->callbacks = *callbacks;
	net->cluster_id = config->cluster_id;
	net->self = config->self;
	net->incarnation = config->incarnation;
	net->send_queue_bytes_max = config->send_queue_bytes_max > 0 ? config->send_queue_bytes_max : SEND_QUEUE_DEFAULT_BYTES;
	net->receive_queue_bytes_max = config->receive_queue_bytes_max > 0 ? config->receive_queue_bytes_max : RECEIVE_QUEUE_DEFAULT_BYTES;
	net->drain_ms = config->drain_ms > 0 ? config->drain_ms : DRAIN_DEFAULT_MS;
	net->keepalive_ms = config->keepalive_ms > 0 ? config->keepalive_ms : KEEPALIVE_DEFAULT_MS;
	net->tls = config->tls_cert_file != NULL;
	net->bell_tag = (Tag) {TAG_BELL, NULL};
	net->server_down_tag = (Tag) {TAG_SERVER_DOWN, NULL};
	net->accept_stream.tag = (Tag) {TAG_ACCEPT_STREAM, NULL};
	net->accept_request.tag = (Tag) {TAG_ACCEPT_REQUEST, NULL};
	block_signals(&old);
	status = start(net, config, error, error_len);
	if (status == ND_OK)
		*out = &net->base;
	else
		release(net, false);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return status;
}
