/*
 * grpc_request.c: one question, one answer, to an address: how a node that is no member yet asks to join.
 *
 * Owns: AskedRequest objects and the table of ServedRequest. Everything here runs in the network thread.
 *
 * Invariants:
 * 1. Every COMMAND_REQUEST gives exactly one EVENT_ANSWER; its memory comes with the command.
 * 2. Every EVENT_REQUEST ends by one COMMAND_ANSWER or one EVENT_REQUEST_GONE, so the driver's list of open requests stays within
 *    REQUESTS_MAX, as the table here does.
 * 3. A request, as an answer, has at most REQUEST_BYTES_MAX bytes, whoever sent it.
 */
#include "grpc_internal.h"

#include <stdio.h>
#include <string.h>

const char	transport__request_method[] = "/nodedb.Transport/Request";

/* The bytes of a message as an item of this kind; NULL: too long, of an unknown form, or no memory. */
static Item *item_of_message(ItemKind kind, grpc_byte_buffer *buffer)
{
	grpc_byte_buffer_reader reader;
	grpc_slice	all;
	Item	   *item;

	if (buffer == NULL || buffer->type != GRPC_BB_RAW || buffer->data.raw.compression != GRPC_COMPRESS_NONE ||
		grpc_byte_buffer_length(buffer) > REQUEST_BYTES_MAX || !grpc_byte_buffer_reader_init(&reader, buffer))
		return NULL;
	all = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	item = transport__item_new(kind, GRPC_SLICE_LENGTH(all));
	if (item != NULL)
		memcpy(item->data, GRPC_SLICE_START_PTR(all), item->len);
	grpc_slice_unref(all);
	return item;
}

static grpc_byte_buffer *message_of(const uint8_t *data, size_t len)
{
	grpc_slice	slice = grpc_slice_from_copied_buffer((const char *) data, len);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	return buffer;
}

/* ---- ours ---- */

static void asked_free(AskedRequest *r)
{
	*r->link = r->next;
	if (r->next != NULL)
		r->next->link = r->link;
	if (r->in != NULL)
		grpc_byte_buffer_destroy(r->in);
	grpc_metadata_array_destroy(&r->initial);
	grpc_metadata_array_destroy(&r->trailing);
	grpc_slice_unref(r->details);
	grpc_call_unref(r->call);
	grpc_channel_destroy(r->channel);
	nd_free(r->failed);
	nd_free(r);
}

void transport__request_ask(Net *net, Item *command)
{
	AskedRequest *r = nd_zalloc(sizeof *r);
	const char *address = (const char *) command->data;
	size_t		address_len = strlen(address) + 1;
	Hello		hello;
	grpc_metadata md;
	grpc_byte_buffer *message;
	grpc_op		ops[6];

	if (r == NULL)
	{
		transport__queue_push(&net->events, command->reserve);
		command->reserve = NULL;
		return;
	}
	r->id = command->id;
	r->failed = command->reserve;
	command->reserve = NULL;
	r->tag = (Tag) {TAG_ASKED_DONE, r};
	r->details = grpc_empty_slice();
	snprintf(r->address, sizeof r->address, "%s", address);
	grpc_metadata_array_init(&r->initial);
	grpc_metadata_array_init(&r->trailing);
	r->channel = transport__channel_new(net, address);
	r->call = grpc_channel_create_call(r->channel, NULL, GRPC_PROPAGATE_DEFAULTS, net->cq,
									   grpc_slice_from_static_string(transport__request_method), NULL,
									   gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(command->timeout_ms, GPR_TIMESPAN)),
									   NULL);
	transport__hello_own(net, &hello);
	md = transport__hello_metadata(&hello);
	message = message_of(command->data + address_len, command->len - address_len);
	memset(ops, 0, sizeof ops);
	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[0].data.send_initial_metadata.count = 1;
	ops[0].data.send_initial_metadata.metadata = &md;
	ops[1].op = GRPC_OP_SEND_MESSAGE;
	ops[1].data.send_message.send_message = message;
	ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &r->initial;
	ops[4].op = GRPC_OP_RECV_MESSAGE;
	ops[4].data.recv_message.recv_message = &r->in;
	ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[5].data.recv_status_on_client.trailing_metadata = &r->trailing;
	ops[5].data.recv_status_on_client.status = &r->status;
	ops[5].data.recv_status_on_client.status_details = &r->details;
	grpc_call_start_batch(r->call, ops, 6, &r->tag, NULL);
	grpc_byte_buffer_destroy(message);
	grpc_slice_unref(md.value);
	r->next = net->asked;
	r->link = &net->asked;
	if (r->next != NULL)
		r->next->link = &r->next;
	net->asked = r;
}

void transport__request_asked_done(Net *net, AskedRequest *r)
{
	Item	   *answer = NULL;
	char		text[TEXT_BYTES_MAX];
	char		line[TEXT_BYTES_MAX + 32];

	if (r->status == GRPC_STATUS_OK)
		answer = item_of_message(EVENT_ANSWER, r->in);
	if (answer != NULL)
	{
		answer->ok = true;
		answer->id = r->id;
	}
	else
	{
		transport__printable(r->details, text, sizeof text);
		if (r->status == GRPC_STATUS_FAILED_PRECONDITION)
		{
			snprintf(line, sizeof line, "refused by the other side: %s", text);
			transport__refused(net, r->address, line);
		}
		else
			transport__log(net, 1, "request to %s failed: %s", r->address, text);
		answer = r->failed;
		r->failed = NULL;
	}
	transport__queue_push(&net->events, answer);
	asked_free(r);
}

/* ---- of somebody else ---- */

void transport__request_accept_next(Net *net)
{
	Accept	   *a = &net->accept_request;

	a->call = NULL;
	a->payload = NULL;
	grpc_metadata_array_init(&a->metadata);
	a->armed = grpc_server_request_registered_call(net->server, net->request_method, &a->call, &a->deadline, &a->metadata, &a->payload,
												   net->cq, net->cq, &a->tag) == GRPC_CALL_OK;
}

static void serve(Net *net, grpc_call *call, grpc_byte_buffer *payload)
{
	ServedRequest *r = NULL;
	Item	   *item;
	Item	   *gone;
	grpc_op		op;

	for (size_t i = 0; i < REQUESTS_MAX && r == NULL; i++)
		if (net->served[i].id == 0)
			r = &net->served[i];
	if (r == NULL)
	{
		transport__refuse_call(net, call, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many open requests");
		return;
	}
	item = item_of_message(EVENT_REQUEST, payload);
	gone = transport__item_new(EVENT_REQUEST_GONE, 0);
	if (item == NULL || gone == NULL)
	{
		nd_free(item);
		nd_free(gone);
		transport__refuse_call(net, call, GRPC_STATUS_RESOURCE_EXHAUSTED, "the request is too long, of an unknown form, or there is no memory");
		return;
	}
	memset(r, 0, sizeof *r);
	r->id = item->id = gone->id = ++net->last_served;
	r->gone = gone;
	r->call = call;
	r->deadline = transport__now_ms() + REQUEST_AGE_MAX_MS;
	r->tag_closed = (Tag) {TAG_SERVED_CLOSED, r};
	r->tag_sent = (Tag) {TAG_SERVED_SENT, r};
	memset(&op, 0, sizeof op);
	op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
	op.data.recv_close_on_server.cancelled = &r->cancelled;
	if (grpc_call_start_batch(call, &op, 1, &r->tag_closed, NULL) == GRPC_CALL_OK)
		r->ops++;
	transport__queue_push(&net->events, item);
}

void transport__request_accepted(Net *net, bool ok)
{
	Accept	   *a = &net->accept_request;
	grpc_call  *call = a->call;
	grpc_byte_buffer *payload = a->payload;
	Hello		ours;
	Hello		theirs;
	bool		hello_good = ok && transport__hello_read(&a->metadata, &theirs);
	bool		fits = false;
	char		why[TEXT_BYTES_MAX];
	char		address[ADDRESS_BYTES_MAX];

	a->armed = false;
	grpc_metadata_array_destroy(&a->metadata);
	if (!ok)
		return;
	transport__request_accept_next(net);
	transport__hello_own(net, &ours);
	if (!hello_good)
		snprintf(why, sizeof why, "its greeting is missing or malformed");
	else if (!transport__certificate_fits(net, call))
		snprintf(why, sizeof why, "its certificate does not bear the name \"%s\"", transport__tls_name);
	else
		fits = transport__hello_fits(&ours, &theirs, true, why, sizeof why);
	if (fits)
		serve(net, call, payload);
	else
	{
		transport__call_address(call, address, sizeof address);
		transport__refused(net, address, why);
		transport__refuse_call(net, call, GRPC_STATUS_FAILED_PRECONDITION, why);
	}
	if (payload != NULL)
		grpc_byte_buffer_destroy(payload);
}

void transport__request_answer(Net *net, const Item *command)
{
	for (size_t i = 0; i < REQUESTS_MAX; i++)
	{
		ServedRequest *r = &net->served[i];
		grpc_byte_buffer *message;
		grpc_op		ops[3];

		if (r->id != command->id || r->answered || r->closed)
			continue;
		r->answered = true;
		message = message_of(command->data, command->len);
		memset(ops, 0, sizeof ops);
		ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
		ops[1].op = GRPC_OP_SEND_MESSAGE;
		ops[1].data.send_message.send_message = message;
		ops[2].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
		ops[2].data.send_status_from_server.status = GRPC_STATUS_OK;
		if (grpc_call_start_batch(r->call, ops, 3, &r->tag_sent, NULL) == GRPC_CALL_OK)
			r->ops++;
		grpc_byte_buffer_destroy(message);
		return;
	}
}

void transport__request_served_event(Net *net, ServedRequest *r, TagKind kind)
{
	r->ops--;
	if (kind == TAG_SERVED_CLOSED)
	{
		r->closed = true;
		if (!r->answered)
		{
			transport__queue_push(&net->events, r->gone);
			r->gone = NULL;
		}
	}
	if (r->ops > 0)
		return;
	grpc_call_unref(r->call);
	nd_free(r->gone);
	r->id = 0;
}

void transport__request_timers(Net *net, int64_t now, int64_t *next)
{
	for (size_t i = 0; i < REQUESTS_MAX; i++)
	{
		ServedRequest *r = &net->served[i];

		if (r->id == 0 || r->answered || r->closed)
			continue;
		if (r->deadline <= now)
		{
			/* Its close comes next, as if who asked had gone; a second cancel does no harm. */
			grpc_call_cancel_with_status(r->call, GRPC_STATUS_DEADLINE_EXCEEDED, "no answer in time", NULL);
			r->deadline = now + REQUEST_AGE_MAX_MS;
		}
		if (r->deadline < *next)
			*next = r->deadline;
	}
}

void transport__requests_cancel(Net *net)
{
	for (AskedRequest *r = net->asked; r != NULL; r = r->next)
		grpc_call_cancel(r->call, NULL);
	for (size_t i = 0; i < REQUESTS_MAX; i++)
		if (net->served[i].id != 0)
			grpc_call_cancel(net->served[i].call, NULL);
}
