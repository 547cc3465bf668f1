/*
 * grpc_thread.c: the network thread: one loop over gRPC's completion queue, commands and timers.
 *
 * Owns: the loop, the doorbell, refusals of calls, the rate limit of refusal lines, gRPC's log.
 *
 * Invariants:
 * 1. Only this thread touches the fields of Net, Peer and Stream that are said to be its own.
 * 2. It never blocks but in grpc_completion_queue_next(), and that returns at the next timer at the latest.
 * 3. It ends only when gRPC has returned every batch and every pending accept: nothing of gRPC's points at our memory afterwards.
 */
#include "grpc_internal.h"

#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- small services for the other files ---- */

int64_t transport__now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void transport__ring(Net *net)
{
	if (!atomic_exchange(&net->bell_pending, true))
		grpc_call_start_batch(net->bell_call, NULL, 0, &net->bell_tag, NULL);
}

static bool log_text(Net *net, int level, bool of_grpc, const char *text)
{
	size_t		len = strlen(text) + 1;
	Item	   *item = transport__item_new(EVENT_LOG, len);

	if (item == NULL)
		return false;			/* a line of log is not worth more */
	item->id = (uint64_t) level;
	item->ok = of_grpc;
	memcpy(item->data, text, len);
	transport__queue_push(&net->events, item);
	return true;
}

void transport__log(Net *net, int level, const char *format, ...)
{
	char		text[2 * TEXT_BYTES_MAX];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	log_text(net, level, false, text);
}

bool transport__worth_saying(Net *net, const char *address, const char *text)
{
	uint64_t	hash = nd_checksum(text, strlen(text), nd_checksum(address, strlen(address), 0)) | 1;
	int64_t		now = transport__now_ms();
	RecentRefusal *oldest = &net->refusals[0];

	for (size_t i = 0; i < REFUSALS_KEPT; i++)
	{
		RecentRefusal *r = &net->refusals[i];

		if (r->hash == hash && now - r->at < REFUSAL_QUIET_MS)
			return false;
		if (r->hash == hash)
		{
			r->at = now;
			return true;
		}
		if (r->at < oldest->at)
			oldest = r;
	}
	oldest->hash = hash;
	oldest->at = now;
	return true;
}

void transport__refused(Net *net, const char *address, const char *text)
{
	size_t		address_len = strlen(address) + 1;
	size_t		text_len = strlen(text) + 1;
	Item	   *item;

	if (!transport__worth_saying(net, address, text))
		return;
	item = transport__item_new(EVENT_REFUSED, address_len + text_len);
	if (item == NULL)
		return;
	memcpy(item->data, address, address_len);
	memcpy(item->data + address_len, text, text_len);
	transport__queue_push(&net->events, item);
}

void transport__refuse_call(Net *net, grpc_call *call, grpc_status_code code, const char *text)
{
	Refusal    *r = nd_zalloc(sizeof *r);
	grpc_slice	details;
	grpc_op		ops[3];

	if (r == NULL)
	{
		grpc_call_cancel(call, NULL);
		grpc_call_unref(call);
		return;
	}
	r->call = call;
	r->tag = (Tag) {TAG_REFUSED, r};
	details = grpc_slice_from_copied_string(text);
	memset(ops, 0, sizeof ops);
	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[1].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
	ops[1].data.send_status_from_server.status = code;
	ops[1].data.send_status_from_server.status_details = &details;
	ops[2].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
	ops[2].data.recv_close_on_server.cancelled = &r->cancelled;
	if (grpc_call_start_batch(call, ops, 3, &r->tag, NULL) == GRPC_CALL_OK)
		net->refusals_open++;
	else
	{
		grpc_call_unref(call);
		nd_free(r);
	}
	grpc_slice_unref(details);
}

void transport__call_address(grpc_call *call, char *out, size_t out_len)
{
	char	   *peer = grpc_call_get_peer(call);
	char	   *colon;

	snprintf(out, out_len, "%s", peer != NULL ? peer : "unknown address");
	gpr_free(peer);
	colon = strrchr(out, ':');
	if (colon != NULL && colon != strchr(out, ':'))
		*colon = '\0';			/* "ipv4:192.0.2.1:43210" */
}

void transport__printable(grpc_slice from, char *out, size_t out_len)
{
	size_t		len = GRPC_SLICE_LENGTH(from);
	const uint8_t *p = GRPC_SLICE_START_PTR(from);

	if (len > out_len - 1)
		len = out_len - 1;
	for (size_t i = 0; i < len; i++)
		out[i] = p[i] >= 0x20 && p[i] < 0x7f ? (char) p[i] : '?';
	out[len] = '\0';
}

grpc_arg transport__integer_arg(const char *name, int value)
{
	return (grpc_arg) {.type = GRPC_ARG_INTEGER, .key = (char *) name, .value.integer = value};
}

size_t transport__common_args(const Net *net, grpc_arg *args)
{
	size_t		n = 0;

	args[n++] = transport__integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MESSAGE_BYTES_MAX);
	args[n++] = transport__integer_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, MESSAGE_BYTES_MAX);
	args[n++] = transport__integer_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
	args[n++] = transport__integer_arg(GRPC_ARG_KEEPALIVE_TIME_MS, (int) net->keepalive_ms);
	args[n++] = transport__integer_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, (int) net->keepalive_ms);
	args[n++] = transport__integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
	args[n++] = transport__integer_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
	args[n++] = transport__integer_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0);
	args[n++] = transport__integer_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4 << 20);
	args[n++] = transport__integer_arg(GRPC_ARG_ENABLE_CHANNELZ, 0);
	return n;
}

grpc_channel *transport__channel_new(Net *net, const char *address)
{
	grpc_arg	args[TRANSPORT_ARGS_MAX];
	grpc_channel_args list = {transport__common_args(net, args), args};

	args[list.num_args++] = transport__integer_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_ENABLE_RETRIES, 0);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, REDIAL_MIN_MS);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, REDIAL_CONNECT_MS);
	args[list.num_args++] = transport__integer_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, REDIAL_MAX_MS);
	if (net->tls)
		args[list.num_args++] = (grpc_arg) {.type = GRPC_ARG_STRING, .key = (char *) GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
			.value.string = (char *) transport__tls_name};
	return grpc_channel_create(address, net->channel_credentials, &list);
}

/* ---- gRPC's log: any thread ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static Net *log_net;

static void log_line(gpr_log_func_args *args)
{
	const char *file = strrchr(args->file, '/');
	char		text[2 * TEXT_BYTES_MAX];

	snprintf(text, sizeof text, "gRPC: %s (%s:%d)", args->message, file != NULL ? file + 1 : args->file, args->line);
	pthread_mutex_lock(&log_lock);
	/* Bounded: a port scanner can make it say a line per connection. */
	if (log_net != NULL &&
		(atomic_fetch_add(&log_net->log_lines, 1) >= LOG_LINES_MAX || !log_text(log_net, 1, true, text)))
		atomic_fetch_sub(&log_net->log_lines, 1);
	pthread_mutex_unlock(&log_lock);
}

void transport__log_attach(Net *net)
{
	pthread_mutex_lock(&log_lock);
	log_net = net;
	pthread_mutex_unlock(&log_lock);
	gpr_set_log_function(log_line);
	gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
}

void transport__log_detach(Net *net)
{
	pthread_mutex_lock(&log_lock);
	if (log_net == net)
		log_net = NULL;
	pthread_mutex_unlock(&log_lock);
}

/* ---- the loop ---- */

static void run_commands(Net *net)
{
	Item	   *item = transport__queue_take(&net->commands);

	while (item != NULL)
	{
		Item	   *next = item->next;

		switch (item->kind)
		{
			case COMMAND_SET_PEER:
				transport__peer_set(net, item->peer, (const char *) item->data);
				break;
			case COMMAND_REMOVE_PEER:
				transport__peer_remove(net, item->peer);
				break;
			case COMMAND_REQUEST:
				transport__request_ask(net, item);
				break;
			case COMMAND_ANSWER:
				transport__request_answer(net, item);
				break;
			default:
				net->stopping = true;
				net->stop_at = transport__now_ms() + net->drain_ms;
				break;
		}
		nd_free(item);
		item = next;
	}
}

static void handle(Net *net, const Tag *tag, bool ok)
{
	switch (tag->kind)
	{
		case TAG_BELL:
			/* Back first: who comes after this line rings again. */
			atomic_store(&net->bell_pending, false);
			run_commands(net);
			transport__peers_look(net);
			break;
		case TAG_SERVER_DOWN:
			net->server_down = true;
			break;
		case TAG_ACCEPT_STREAM:
			transport__stream_accepted(net, ok);
			break;
		case TAG_ACCEPT_REQUEST:
			transport__request_accepted(net, ok);
			break;
		case TAG_REFUSED:
			{
				Refusal    *r = tag->object;

				grpc_call_unref(r->call);
				nd_free(r);
				net->refusals_open--;
				break;
			}
		case TAG_STREAM_OPEN:
		case TAG_STREAM_READ:
		case TAG_STREAM_SENT:
		case TAG_STREAM_END:
		case TAG_STREAM_FINISHED:
			transport__stream_event(net, tag->object, tag->kind, ok);
			break;
		case TAG_ASKED_DONE:
			transport__request_asked_done(net, tag->object);
			break;
		case TAG_SERVED_CLOSED:
		case TAG_SERVED_SENT:
			transport__request_served_event(net, tag->object, tag->kind);
			break;
	}
}

static bool all_returned(const Net *net)
{
	if (net->streams != NULL || net->asked != NULL || net->refusals_open > 0 || !net->server_down || net->accept_stream.armed ||
		net->accept_request.armed || atomic_load(&net->bell_pending))
		return false;
	for (size_t i = 0; i < REQUESTS_MAX; i++)
		if (net->served[i].id != 0)
			return false;
	return true;
}

/* Let frames arrive for a moment, cancel, wait until everything has come back, close the queue. */
static void stop_step(Net *net, int64_t now, int64_t *next)
{
	if (!net->cancelled)
	{
		if (now < net->stop_at && !transport__streams_finished(net))
		{
			*next = net->stop_at;
			return;
		}
		net->cancelled = true;
		if (net->server != NULL)
			grpc_server_shutdown_and_notify(net->server, net->cq, &net->server_down_tag);
		else
			net->server_down = true;
		transport__streams_cancel(net);
		transport__requests_cancel(net);
		if (net->server != NULL)
			grpc_server_cancel_all_calls(net->server);
	}
	if (!net->cq_down && all_returned(net))
	{
		net->cq_down = true;
		grpc_completion_queue_shutdown(net->cq);
	}
}

void *transport__thread_main(void *arg)
{
	Net		   *net = arg;

	pthread_setname_np(pthread_self(), "nodedb net");
	for (;;)
	{
		int64_t		now = transport__now_ms();
		int64_t		next = INT64_MAX;
		gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
		grpc_event	event;

		if (net->stopping)
			stop_step(net, now, &next);
		else
		{
			transport__stream_timers(net, now, &next);
			transport__request_timers(net, now, &next);
		}
		if (next != INT64_MAX)
			deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(next - now + 1, GPR_TIMESPAN));
		event = grpc_completion_queue_next(net->cq, deadline, NULL);
		if (event.type == GRPC_QUEUE_SHUTDOWN)
			break;
		if (event.type == GRPC_OP_COMPLETE)
			handle(net, event.tag, event.success != 0);
	}
	return NULL;
}
