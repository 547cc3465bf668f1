/*
 * test_transport_grpc.c: several transports of one process, connected over 127.0.0.1: frames arrive in order, connections come back,
 * strangers stay outside, queues are bounded, garbage disturbs nobody.
 *
 * Nothing here sleeps or measures: a test waits for a fact by poll(2) on the transports' descriptors. Only when the fact does not come
 * within PATIENCE_MS the test fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../src/transport/transport.h"

#define PATIENCE_MS 20000
#define NODES_MAX 4
#define CLUSTER UINT64_C(0x1234abcd5678ef00)

typedef struct TestNode
{
	Transport  *t;
	TransportConfig config;
	char		address[64];
	uint64_t	frames;
	uint64_t	bytes;
	uint64_t	out_of_order;
	uint64_t	next_number;	/* expected in the next numbered frame */
	uint32_t	ups;
	uint32_t	downs;
	uint32_t	incarnation;	/* of the last peer_up */
	uint32_t	refusals;
	char		refusal[1024];
	uint64_t	request_id;
	size_t		request_len;
	uint32_t	requests;
	uint32_t	answers;
	bool		answer_ok;
	char		answer[64];
	bool		echo;			/* answer each request at once with the same bytes */
	NdNodeId	reply_to_frames;	/* send each frame back */
} TestNode;

static TestNode nodes[NODES_MAX];
static uint16_t ports[NODES_MAX];

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint16_t free_port(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof sin;
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *) &sin, sizeof sin), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &sin, &len), 0);
	close(fd);
	return ntohs(sin.sin_port);
}

/* ---- callbacks ---- */

static void on_frame(void *ctx, NdNodeId from, const uint8_t *data, size_t len)
{
	TestNode   *n = ctx;

	n->frames++;
	n->bytes += len;
	if (len >= 8)
	{
		uint64_t	number;

		memcpy(&number, data, sizeof number);
		if (number != n->next_number)
			n->out_of_order++;
		n->next_number = number + 1;
	}
	if (n->reply_to_frames != 0)
		assert_int_equal(n->t->ops->send(n->t, from, data, len), ND_OK);
}

static void on_up(void *ctx, NdNodeId peer, uint32_t incarnation)
{
	TestNode   *n = ctx;

	n->ups++;
	n->incarnation = incarnation;
	assert_true(n->t->ops->connected(n->t, peer));
}

static void on_down(void *ctx, NdNodeId peer)
{
	TestNode   *n = ctx;

	n->downs++;
	assert_true(n->downs <= n->ups);
	assert_false(n->t->ops->connected(n->t, peer));
}

static void on_refused(void *ctx, const char *address, const char *text)
{
	TestNode   *n = ctx;

	n->refusals++;
	snprintf(n->refusal, sizeof n->refusal, "%s: %s", address, text);
}

static void on_request(void *ctx, uint64_t id, const uint8_t *data, size_t len)
{
	TestNode   *n = ctx;

	n->requests++;
	n->request_id = id;
	n->request_len = len;
	if (n->echo)
		assert_int_equal(n->t->ops->answer(n->t, id, data, len), ND_OK);
}

static void on_answer(void *ctx, uint64_t id, bool ok, const uint8_t *data, size_t len)
{
	TestNode   *n = ctx;

	(void) id;
	n->answers++;
	n->answer_ok = ok;
	if (!ok)
		assert_int_equal(len, 0);
	snprintf(n->answer, sizeof n->answer, "%.*s", (int) len, (const char *) data);
}

static void on_log(void *ctx, int level, const char *text)
{
	if (getenv("TEST_VERBOSE") != NULL)
		fprintf(stderr, "[node %u] %d %s\n", ((TestNode *) ctx)->config.self, level, text);
}

/* ---- nodes ---- */

static void reset_nodes(void)
{
	memset(nodes, 0, sizeof nodes);
	for (unsigned i = 0; i < NODES_MAX; i++)
	{
		ports[i] = free_port();
		snprintf(nodes[i].address, sizeof nodes[i].address, "127.0.0.1:%u", ports[i]);
		nodes[i].config = (TransportConfig) {.cluster_id = CLUSTER, .self = i + 1, .incarnation = 1, .listen = nodes[i].address,
			.send_queue_bytes_max = 8u << 20, .receive_queue_bytes_max = 8u << 20, .keepalive_ms = 1000, .drain_ms = PATIENCE_MS};
	}
}

static void start_node(unsigned i)
{
	TestNode   *n = &nodes[i];
	TransportCallbacks callbacks = {on_frame, on_up, on_down, on_refused, on_request, on_answer, on_log, n};
	char		error[256] = "";
	NdStatus	status = transport_grpc_create(&n->config, &callbacks, &n->t, error, sizeof error);

	if (status != ND_OK)
		fail_msg("transport_grpc_create: %s", error);
}

static void stop_node(unsigned i)
{
	if (nodes[i].t != NULL)
		nodes[i].t->ops->destroy(nodes[i].t);
	nodes[i].t = NULL;
}

static void knows(unsigned i, unsigned j)
{
	assert_int_equal(nodes[i].t->ops->set_peer(nodes[i].t, j + 1, nodes[j].address), ND_OK);
}

static bool is_connected(unsigned i, unsigned j)
{
	return nodes[i].t->ops->connected(nodes[i].t, j + 1);
}

/* Wait for something to come and hand it out; false when the patience is over. */
static bool step(int64_t deadline)
{
	struct pollfd fds[NODES_MAX];
	nfds_t		count = 0;
	int64_t		left = deadline - now_ms();

	if (left <= 0)
		return false;
	for (unsigned i = 0; i < NODES_MAX; i++)
		if (nodes[i].t != NULL)
			fds[count++] = (struct pollfd) {.fd = nodes[i].t->ops->fd(nodes[i].t), .events = POLLIN};
	poll(fds, count, (int) left);
	for (unsigned i = 0; i < NODES_MAX; i++)
		if (nodes[i].t != NULL)
			nodes[i].t->ops->poll(nodes[i].t);
	return true;
}

#define WAIT_FOR(condition) \
	do { \
		int64_t		deadline_ = now_ms() + PATIENCE_MS; \
		while (!(condition)) \
			if (!step(deadline_)) \
				fail_msg("did not come: %s", #condition); \
	} while (0)

static void start_pair(void)
{
	start_node(0);
	start_node(1);
	knows(0, 1);
	knows(1, 0);
	WAIT_FOR(is_connected(0, 1) && is_connected(1, 0));
}

static int setup(void **state)
{
	(void) state;
	reset_nodes();
	return 0;
}

static int teardown(void **state)
{
	(void) state;
	for (unsigned i = 0; i < NODES_MAX; i++)
		stop_node(i);
	return 0;
}

static NdStatus send_number(unsigned from, unsigned to, uint64_t number, size_t len)
{
	static uint8_t frame[TRANSPORT_FRAME_BYTES_MAX + 1];

	memcpy(frame, &number, sizeof number);
	return nodes[from].t->ops->send(nodes[from].t, to + 1, frame, len);
}

/* ---- frames ---- */

static void test_frames_in_order(void **state)
{
	const uint64_t total = 100000;
	uint64_t	sent[2] = {0, 0};
	int64_t		began;

	(void) state;
	start_pair();
	began = now_ms();
	while (nodes[0].frames < total || nodes[1].frames < total)
	{
		for (unsigned i = 0; i < 2; i++)
			while (sent[i] < total)
			{
				NdStatus	status = send_number(i, 1 - i, sent[i], 8 + sent[i] % 120);

				if (status == ND_BUSY)
					break;
				assert_int_equal(status, ND_OK);
				sent[i]++;
			}
		assert_true(step(began + PATIENCE_MS));
	}
	print_message("%llu frames each way in %lld ms\n", (unsigned long long) total, (long long) (now_ms() - began));
	for (unsigned i = 0; i < 2; i++)
	{
		assert_int_equal(nodes[i].frames, total);
		assert_int_equal(nodes[i].out_of_order, 0);
		assert_int_equal(nodes[i].ups, 1);
		assert_int_equal(nodes[i].downs, 0);
	}
}

static void test_large_and_too_large(void **state)
{
	uint8_t    *frame = calloc(1, TRANSPORT_FRAME_BYTES_MAX + 1);

	(void) state;
	start_pair();
	assert_int_equal(nodes[0].t->ops->send(nodes[0].t, 2, frame, TRANSPORT_FRAME_BYTES_MAX + 1), ND_TOOBIG);
	/* Larger than the bound of the queue, but the queue is empty: it must pass, or it never would. */
	assert_int_equal(nodes[0].t->ops->send(nodes[0].t, 2, frame, TRANSPORT_FRAME_BYTES_MAX), ND_OK);
	assert_int_equal(nodes[0].t->ops->send(nodes[0].t, 2, frame, 100), ND_BUSY);
	assert_int_equal(nodes[1].t->ops->send(nodes[1].t, 1, frame, 0), ND_OK);
	WAIT_FOR(nodes[1].frames == 1 && nodes[0].frames == 1);
	assert_int_equal(nodes[1].bytes, TRANSPORT_FRAME_BYTES_MAX);
	assert_int_equal(nodes[0].bytes, 0);
	assert_int_equal(nodes[0].downs + nodes[1].downs, 0);
	free(frame);
}

/*
 * The receiver does not poll: the sender must be told, memory must stay bounded on both sides, and nothing may be missing afterwards. Half a
 * second is time enough for far more than 64 MB to go through where a bound is missing; where none is, the outcome does not depend on it.
 */
static void test_busy(void **state)
{
	const size_t len = 10000;
	const uint64_t enough = 6400;
	uint64_t	sent = 0;
	bool		busy = false;
	int64_t		deadline;

	(void) state;
	nodes[0].config.send_queue_bytes_max = 1u << 20;
	nodes[1].config.receive_queue_bytes_max = 1u << 20;
	start_pair();
	deadline = now_ms() + 500;
	while (now_ms() < deadline && sent < enough)
	{
		NdStatus	status = send_number(0, 1, sent, len);

		if (status == ND_OK)
			sent++;
		else
		{
			assert_int_equal(status, ND_BUSY);
			busy = true;
			sched_yield();
		}
	}
	assert_true(busy);
	assert_true(sent < enough);
	print_message("busy after %llu frames of %zu bytes\n", (unsigned long long) sent, len);
	WAIT_FOR(nodes[1].frames == sent);
	assert_int_equal(nodes[1].out_of_order, 0);
	/* And it goes on. */
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(send_number(0, 1, sent++, len), ND_OK);
	WAIT_FOR(nodes[1].frames == sent);
	assert_int_equal(nodes[1].out_of_order, 0);
	assert_int_equal(nodes[1].downs, 0);
}

static void test_round_trips(void **state)
{
	const uint64_t total = 2000;
	int64_t		began;

	(void) state;
	start_pair();
	nodes[1].reply_to_frames = 1;
	began = now_ms();
	for (uint64_t i = 0; i < total; i++)
	{
		assert_int_equal(send_number(0, 1, i, 64), ND_OK);
		WAIT_FOR(nodes[0].frames == i + 1);
	}
	print_message("round trip of 64 bytes: %.0f us\n", (double) (now_ms() - began) * 1000 / (double) total);
	assert_int_equal(nodes[0].out_of_order, 0);
}

static void test_throughput(void **state)
{
	const size_t len = 64 << 10;
	const uint64_t total = 4000;
	uint64_t	sent = 0;
	int64_t		began;

	(void) state;
	start_pair();
	began = now_ms();
	while (nodes[1].frames < total)
	{
		while (sent < total && send_number(0, 1, sent, len) == ND_OK)
			sent++;
		assert_true(step(began + PATIENCE_MS));
	}
	print_message("%.0f MB/s in frames of 64 KB\n", (double) total * (double) len / 1e3 / (double) (now_ms() - began + 1));
	assert_int_equal(nodes[1].out_of_order, 0);
}

/* ---- connections ---- */

static void test_not_connected(void **state)
{
	(void) state;
	start_node(0);
	assert_int_equal(send_number(0, 1, 0, 8), ND_NOTFOUND);
	assert_int_equal(nodes[0].t->ops->set_peer(nodes[0].t, 1, nodes[1].address), ND_INVALID);
	assert_int_equal(nodes[0].t->ops->set_peer(nodes[0].t, 0, nodes[1].address), ND_INVALID);
	assert_int_equal(nodes[0].t->ops->set_peer(nodes[0].t, 2, ""), ND_INVALID);
	assert_int_equal(nodes[0].t->ops->remove_peer(nodes[0].t, 2), ND_NOTFOUND);
	knows(0, 1);
	assert_int_equal(send_number(0, 1, 0, 8), ND_NOTFOUND);
	assert_false(is_connected(0, 1));
}

/* Either side restarts, the one that dials and the one that is called; up and down alternate at the one that stays. */
static void test_restart(void **state)
{
	(void) state;
	start_pair();
	for (unsigned round = 0; round < 4; round++)
	{
		unsigned	dead = round % 2;
		unsigned	alive = 1 - dead;
		uint32_t	ups = nodes[alive].ups;

		/* What was sent right before an orderly end still arrives. */
		nodes[alive].frames = nodes[alive].next_number = nodes[alive].out_of_order = 0;
		for (uint64_t i = 0; i < 10; i++)
			assert_int_equal(send_number(dead, alive, i, 100), ND_OK);
		stop_node(dead);
		WAIT_FOR(nodes[alive].downs == ups);
		assert_int_equal(nodes[alive].frames, 10);
		assert_int_equal(nodes[alive].out_of_order, 0);
		assert_int_equal(send_number(alive, dead, 0, 8), ND_NOTFOUND);
		nodes[dead].config.incarnation++;
		start_node(dead);
		nodes[dead].ups = nodes[dead].downs = 0;
		knows(dead, alive);
		WAIT_FOR(is_connected(0, 1) && is_connected(1, 0));
		assert_int_equal(nodes[alive].ups, ups + 1);
		assert_int_equal(nodes[alive].incarnation, nodes[dead].config.incarnation);
		nodes[alive].next_number = nodes[alive].frames = nodes[alive].out_of_order = 0;
		for (uint64_t i = 0; i < 100; i++)
			assert_int_equal(send_number(dead, alive, i, 100), ND_OK);
		WAIT_FOR(nodes[alive].frames == 100);
		assert_int_equal(nodes[alive].out_of_order, 0);
	}
}

static void test_three_nodes_and_removal(void **state)
{
	(void) state;
	for (unsigned i = 0; i < 3; i++)
		start_node(i);
	for (unsigned i = 0; i < 3; i++)
		for (unsigned j = 0; j < 3; j++)
			if (i != j)
				knows(i, j);
	WAIT_FOR(nodes[0].ups == 2 && nodes[1].ups == 2 && nodes[2].ups == 2);
	assert_int_equal(nodes[0].t->ops->remove_peer(nodes[0].t, 3), ND_OK);
	assert_false(is_connected(0, 2));
	assert_int_equal(send_number(0, 2, 0, 8), ND_NOTFOUND);
	WAIT_FOR(nodes[0].downs == 1 && nodes[2].downs == 1);
	assert_true(is_connected(0, 1) && is_connected(2, 1));
	assert_int_equal(nodes[1].downs, 0);
	/* And once more a member: it connects by itself. */
	knows(0, 2);
	WAIT_FOR(is_connected(0, 2) && is_connected(2, 0));
	assert_int_equal(nodes[0].ups, 3);
}

/* Destroy with full queues and a peer that does not poll. */
static void test_destroy_busy(void **state)
{
	int64_t		began;

	(void) state;
	nodes[1].config.receive_queue_bytes_max = 1u << 20;
	nodes[0].config.drain_ms = 100;
	start_pair();
	for (uint64_t i = 0; send_number(0, 1, i, 100000) == ND_OK; i++)
		;
	began = now_ms();
	stop_node(0);
	print_message("destroy with full queues: %lld ms\n", (long long) (now_ms() - began));
	WAIT_FOR(nodes[1].downs == 1);
	began = now_ms();
	stop_node(1);
	print_message("destroy when idle: %lld ms\n", (long long) (now_ms() - began));
}

static void test_moved(void **state)
{
	char		wrong[64];

	(void) state;
	start_node(0);
	start_node(1);
	snprintf(wrong, sizeof wrong, "127.0.0.1:%u", ports[3]);
	assert_int_equal(nodes[0].t->ops->set_peer(nodes[0].t, 2, wrong), ND_OK);
	knows(1, 0);
	knows(0, 1);
	WAIT_FOR(is_connected(0, 1) && is_connected(1, 0));
}

static void test_port_in_use(void **state)
{
	TransportCallbacks callbacks = {.ctx = &nodes[1]};
	char		error[256] = "";

	(void) state;
	start_node(0);
	nodes[1].config.listen = nodes[0].address;
	assert_int_equal(transport_grpc_create(&nodes[1].config, &callbacks, &nodes[1].t, error, sizeof error), ND_IO);
	assert_non_null(strstr(error, "Address already in use"));
	nodes[1].t = NULL;
}

/* PostgreSQL's latches come by signals: no thread of ours or gRPC's may take one. */
static void test_signals_blocked(void **state)
{
	char		line[256];
	char		path[64];
	unsigned	threads = 0;
	DIR		   *list;
	struct dirent *entry;

	(void) state;
	start_pair();
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(send_number(0, 1, i, 1000), ND_OK);
	WAIT_FOR(nodes[1].frames == 1000);
	list = opendir("/proc/self/task");
	assert_non_null(list);
	while ((entry = readdir(list)) != NULL)
	{
		int			tid = atoi(entry->d_name);
		FILE	   *status;

		if (tid == 0 || tid == (int) getpid())
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
		status = fopen(path, "r");
		if (status == NULL)
			continue;			/* it has ended meanwhile */
		while (fgets(line, sizeof line, status) != NULL)
			if (strncmp(line, "SigBlk:", 7) == 0)
			{
				uint64_t	blocked = strtoull(line + 7, NULL, 16);

				threads++;
				assert_true((blocked >> (SIGURG - 1)) & 1);
				assert_true((blocked >> (SIGTERM - 1)) & 1);
				assert_true((blocked >> (SIGUSR1 - 1)) & 1);
			}
		fclose(status);
	}
	closedir(list);
	assert_true(threads >= 2);
	print_message("%u threads besides the driver's, two transports\n", threads);
}

/* ---- strangers: a raw gRPC client that says what it likes ---- */

typedef struct Stranger
{
	grpc_completion_queue *cq;
	grpc_channel *channel;
	grpc_call  *call;
	grpc_metadata_array initial;
	grpc_metadata_array trailing;
	grpc_status_code status;
	grpc_slice	details;
	char		text[512];
	bool		came[4];		/* completions, by tag */
} Stranger;

static void stranger_wait(Stranger *s, intptr_t tag)
{
	while (!s->came[tag])
	{
		grpc_event	e = grpc_completion_queue_next(s->cq, gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(PATIENCE_MS, GPR_TIMESPAN)),
												   NULL);

		assert_int_equal(e.type, GRPC_OP_COMPLETE);
		s->came[(intptr_t) e.tag] = true;
	}
}

static void stranger_call(Stranger *s, unsigned to, const char *hello)
{
	grpc_channel_credentials *creds = grpc_insecure_credentials_create();
	grpc_metadata md = {.key = grpc_slice_from_static_string("nodedb-hello"), .value = grpc_slice_from_copied_string(hello)};
	grpc_op		ops[2];

	memset(s, 0, sizeof *s);
	s->cq = grpc_completion_queue_create_for_next(NULL);
	s->channel = grpc_channel_create(nodes[to].address, creds, NULL);
	s->call = grpc_channel_create_call(s->channel, NULL, GRPC_PROPAGATE_DEFAULTS, s->cq,
									   grpc_slice_from_static_string("/nodedb.Transport/Stream"), NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	grpc_metadata_array_init(&s->initial);
	grpc_metadata_array_init(&s->trailing);
	s->details = grpc_empty_slice();
	memset(ops, 0, sizeof ops);
	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[0].data.send_initial_metadata.count = hello[0] != '\0';
	ops[0].data.send_initial_metadata.metadata = &md;
	ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
	ops[1].data.recv_initial_metadata.recv_initial_metadata = &s->initial;
	assert_int_equal(grpc_call_start_batch(s->call, ops, 2, (void *) 1, NULL), GRPC_CALL_OK);
	memset(ops, 0, sizeof ops);
	ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	ops[0].data.recv_status_on_client.trailing_metadata = &s->trailing;
	ops[0].data.recv_status_on_client.status = &s->status;
	ops[0].data.recv_status_on_client.status_details = &s->details;
	assert_int_equal(grpc_call_start_batch(s->call, ops, 1, (void *) 2, NULL), GRPC_CALL_OK);
	stranger_wait(s, 1);
	grpc_slice_unref(md.value);
	grpc_channel_credentials_release(creds);
}

static void stranger_send(Stranger *s, const void *data, size_t len)
{
	grpc_slice	slice = grpc_slice_from_copied_buffer(data, len);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_op		op;

	memset(&op, 0, sizeof op);
	op.op = GRPC_OP_SEND_MESSAGE;
	op.data.send_message.send_message = buffer;
	assert_int_equal(grpc_call_start_batch(s->call, &op, 1, (void *) 3, NULL), GRPC_CALL_OK);
	stranger_wait(s, 3);
	grpc_byte_buffer_destroy(buffer);
	grpc_slice_unref(slice);
}

/* Wait until the other side ends the call (or end it ourselves), and clean up. */
static void stranger_end(Stranger *s, bool cancel)
{
	if (cancel)
		grpc_call_cancel(s->call, NULL);
	stranger_wait(s, 2);
	snprintf(s->text, sizeof s->text, "%.*s", (int) GRPC_SLICE_LENGTH(s->details), (const char *) GRPC_SLICE_START_PTR(s->details));
	grpc_slice_unref(s->details);
	grpc_metadata_array_destroy(&s->initial);
	grpc_metadata_array_destroy(&s->trailing);
	grpc_call_unref(s->call);
	grpc_channel_destroy(s->channel);
	grpc_completion_queue_shutdown(s->cq);
	while (grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type != GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(s->cq);
}

static void test_greetings_refused(void **state)
{
	static const struct
	{
		const char *hello;
		const char *why;
	}			cases[] = {
		{"", "missing or malformed"},
		{"hello", "missing or malformed"},
		{"1 1234abcd5678ef00 1 1 1 1 lx", "missing or malformed"},
		{"1 1234abcd5678ef00 1 1 1 1 ", "missing or malformed"},
		{"1 1234abcd5678ef00 1 99999999999999999999 1 1 l", "missing or malformed"},
		{"1 1234abcd5678ef0011 1 1 1 1 l", "missing or malformed"},
		{"2 1234abcd5678ef00 1 1 1 1 l", "missing or malformed"},
		{"1 1234abcd5678ef01 1 1 1 1 l", "another cluster"},
		{"1 0000000000000000 1 1 1 1 l", "another cluster"},
		{"1 1234abcd5678ef00 1 1 2 9 l", "no common wire version"},
		{"1 1234abcd5678ef00 1 1 1 1 b", "byte orders"},
		{"1 1234abcd5678ef00 2 1 1 1 l", "so is this node"},
		{"1 1234abcd5678ef00 0 1 1 1 l", "without an id"},
		{"1 1234abcd5678ef00 7 1 1 1 l", "not known as a member"},
		{"1 1234abcd5678ef00 3 1 1 1 l", "has the lower id"},
	};

	(void) state;
	start_node(1);
	knows(1, 0);
	knows(1, 2);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		Stranger	s;

		nodes[1].refusal[0] = '\0';
		stranger_call(&s, 1, cases[i].hello);
		stranger_end(&s, false);
		if (s.status != GRPC_STATUS_FAILED_PRECONDITION || strstr(s.text, cases[i].why) == NULL)
			fail_msg("hello \"%s\": status %d, \"%s\"", cases[i].hello, s.status, s.text);
		if (i == 0 || strcmp(cases[i].why, cases[i - 1].why) != 0 || strstr(cases[i].why, "another") != NULL)
			WAIT_FOR(strstr(nodes[1].refusal, cases[i].why) != NULL && strstr(nodes[1].refusal, "127.0.0.1") != NULL);
	}
	assert_int_equal(nodes[1].ups, 0);
	/* Seven malformed greetings from one address, one line. */
	assert_int_equal(nodes[1].refusals, 1 + 8);
}

static void test_wrong_cluster(void **state)
{
	(void) state;
	nodes[0].config.cluster_id++;
	start_node(0);
	start_node(1);
	knows(0, 1);
	knows(1, 0);
	WAIT_FOR(nodes[0].refusals == 1 && nodes[1].refusals == 1);
	assert_non_null(strstr(nodes[0].refusal, "another cluster"));
	assert_non_null(strstr(nodes[1].refusal, "another cluster"));
	assert_int_equal(nodes[0].ups + nodes[1].ups, 0);
}

static void test_unknown_until_set(void **state)
{
	(void) state;
	start_node(0);
	start_node(1);
	knows(0, 1);
	WAIT_FOR(nodes[0].refusals == 1 && nodes[1].refusals == 1);
	assert_non_null(strstr(nodes[0].refusal, "not known as a member"));
	knows(1, 0);
	WAIT_FOR(is_connected(0, 1) && is_connected(1, 0));
}

/* Somebody else lives at the peer's address. */
static void test_wrong_node_answers(void **state)
{
	(void) state;
	start_node(0);
	start_node(2);
	knows(2, 0);
	assert_int_equal(nodes[0].t->ops->set_peer(nodes[0].t, 2, nodes[2].address), ND_OK);
	WAIT_FOR(nodes[0].refusals == 1);
	assert_non_null(strstr(nodes[0].refusal, "node 3 answers where node 2 was expected"));
	assert_int_equal(nodes[0].ups, 0);
	assert_int_equal(nodes[2].ups, 0);
}

static void test_lower_incarnation(void **state)
{
	(void) state;
	for (unsigned dead = 0; dead < 2; dead++)
	{
		unsigned	alive = 1 - dead;

		nodes[dead].config.incarnation = 5;
		start_pair();
		stop_node(dead);
		WAIT_FOR(nodes[alive].downs == 1);
		nodes[dead].config.incarnation = 4;
		start_node(dead);
		knows(dead, alive);
		WAIT_FOR(nodes[alive].refusals == 1);
		assert_non_null(strstr(nodes[alive].refusal, "is this a copy of the data directory?"));
		assert_int_equal(nodes[alive].ups, 1);
		/* The right one comes back. */
		stop_node(dead);
		nodes[dead].config.incarnation = 5;
		start_node(dead);
		knows(dead, alive);
		WAIT_FOR(is_connected(alive, dead) && is_connected(dead, alive));
		stop_node(0);
		stop_node(1);
		reset_nodes();
	}
}

/* A second stream of the same node takes over; then the first one, of an older incarnation, stays outside. */
static void test_newer_stream_replaces(void **state)
{
	Stranger	s;

	(void) state;
	start_pair();
	stranger_call(&s, 1, "1 1234abcd5678ef00 1 2 1 1 l");
	assert_int_equal(s.initial.count > 0, 1);
	/* Not before the newcomer has said that it accepts us. */
	assert_int_equal(nodes[1].downs, 0);
	assert_true(is_connected(1, 0));
	stranger_send(&s, "\x05\0\0\0hello", 9);
	WAIT_FOR(nodes[1].ups == 2 && nodes[1].downs == 1 && nodes[1].frames == 1);
	assert_int_equal(nodes[1].incarnation, 2);
	WAIT_FOR(nodes[0].downs == 1 && nodes[0].refusals == 1);
	assert_non_null(strstr(nodes[0].refusal, "older incarnation"));
	stranger_end(&s, true);
	WAIT_FOR(nodes[1].downs == 2);
}

static void test_malformed_messages(void **state)
{
	static const struct
	{
		const char *data;
		size_t		len;
	}			cases[] = {
		{"\x05\0\0\0hell", 8},			/* too short */
		{"\x05\0\0", 3},				/* not even a length */
		{"\x01\0\0\0a\xff\xff\xff\xff", 9},	/* the second frame is enormous */
	};

	(void) state;
	start_node(1);
	knows(1, 0);
	for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
	{
		Stranger	s;

		stranger_call(&s, 1, "1 1234abcd5678ef00 1 1 1 1 l");
		stranger_send(&s, cases[i].data, cases[i].len);
		stranger_end(&s, false);
		WAIT_FOR(nodes[1].ups == i + 1 && nodes[1].downs == i + 1);
	}
	assert_int_equal(nodes[1].frames, 0);
	start_node(0);
	knows(0, 1);
	WAIT_FOR(is_connected(0, 1) && is_connected(1, 0));
}

/* ---- garbage on the port ---- */

static int raw_connect(unsigned to)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(ports[to])};
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *) &sin, sizeof sin), 0);
	return fd;
}

static void raw_send(int fd, const void *data, size_t len)
{
	/* The other side may close at the first byte: whatever became of it is fine. */
	if (send(fd, data, len, MSG_NOSIGNAL) < 0)
		return;
}

static void test_garbage(void **state)
{
	static const char http1[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	int			fds[60];
	uint64_t	seed = 88172645463325252u;
	uint64_t	sent = 0;

	(void) state;
	start_pair();
	for (unsigned i = 0; i < 60; i++)
	{
		uint8_t		noise[1000];

		for (unsigned j = 0; j < sizeof noise; j++)
		{
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			noise[j] = (uint8_t) seed;
		}
		fds[i] = raw_connect(i % 2);
		switch (i / 2 % 5)
		{
			case 0:
				raw_send(fds[i], noise, sizeof noise);
				break;
			case 1:
				raw_send(fds[i], http1, sizeof http1 - 1);
				break;
			case 2:				/* half-open: never says a word */
				break;
			case 3:				/* half a preface */
				raw_send(fds[i], preface, 10);
				break;
			case 4:				/* a preface, and noise for frames */
				raw_send(fds[i], preface, sizeof preface - 1);
				raw_send(fds[i], noise, sizeof noise);
				break;
		}
		for (unsigned j = 0; j < 20; j++)
			assert_int_equal(send_number(0, 1, sent++, 100), ND_OK);
		if (i % 3 == 0)
			close(fds[i]);
	}
	WAIT_FOR(nodes[1].frames == sent);
	assert_int_equal(nodes[1].out_of_order, 0);
	assert_int_equal(nodes[0].downs + nodes[1].downs, 0);
	assert_int_equal(nodes[0].ups + nodes[1].ups, 2);
	/* Destroy with the half-open ones still there. */
	stop_node(0);
	stop_node(1);
	for (unsigned i = 0; i < 60; i++)
		if (i % 3 != 0)
			close(fds[i]);
}

/* ---- requests ---- */

static NdStatus ask(unsigned from, unsigned to, const char *text, uint32_t timeout_ms)
{
	return nodes[from].t->ops->request(nodes[from].t, nodes[to].address, 77, (const uint8_t *) text, strlen(text), timeout_ms);
}

static void test_request(void **state)
{
	uint8_t    *large = calloc(1, (1u << 20) + 1);

	(void) state;
	/* Who asks is no member, listens nowhere and knows no cluster. */
	nodes[0].config.self = 0;
	nodes[0].config.cluster_id = 0;
	nodes[0].config.listen = NULL;
	start_node(0);
	start_node(1);
	assert_int_equal(nodes[0].t->ops->set_peer(nodes[0].t, 2, nodes[1].address), ND_INVALID);
	assert_int_equal(ask(0, 1, "may I join?", PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[1].requests == 1);
	assert_int_equal(nodes[1].request_len, 11);
	assert_int_equal(nodes[0].answers, 0);
	assert_int_equal(nodes[1].t->ops->answer(nodes[1].t, nodes[1].request_id + 1, large, 3), ND_NOTFOUND);
	assert_int_equal(nodes[1].t->ops->answer(nodes[1].t, nodes[1].request_id, (const uint8_t *) "yes", 3), ND_OK);
	assert_int_equal(nodes[1].t->ops->answer(nodes[1].t, nodes[1].request_id, (const uint8_t *) "yes", 3), ND_NOTFOUND);
	WAIT_FOR(nodes[0].answers == 1);
	assert_true(nodes[0].answer_ok);
	assert_string_equal(nodes[0].answer, "yes");

	/* The largest, one more, and an empty one. */
	nodes[1].echo = true;
	assert_int_equal(nodes[0].t->ops->request(nodes[0].t, nodes[1].address, 1, large, (1u << 20) + 1, PATIENCE_MS), ND_TOOBIG);
	assert_int_equal(nodes[0].t->ops->request(nodes[0].t, nodes[1].address, 1, large, 1u << 20, PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[0].answers == 2);
	assert_true(nodes[0].answer_ok);
	assert_int_equal(nodes[1].request_len, 1u << 20);
	assert_int_equal(ask(0, 1, "", PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[0].answers == 3);
	assert_true(nodes[0].answer_ok);
	free(large);
}

static void test_request_bounds(void **state)
{
	(void) state;
	start_node(0);
	start_node(1);
	nodes[1].echo = true;
	/* No more than 64 at a time; all are answered. */
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(ask(0, 1, "x", PATIENCE_MS), ND_OK);
	assert_int_equal(ask(0, 1, "x", PATIENCE_MS), ND_BUSY);
	WAIT_FOR(nodes[0].answers == 64);
	assert_true(nodes[0].answer_ok);
	assert_int_equal(ask(0, 1, "x", 0), ND_INVALID);
}

static void test_request_fails(void **state)
{
	(void) state;
	start_node(0);
	/* Nobody there. */
	assert_int_equal(ask(0, 1, "hello?", PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[0].answers == 1);
	assert_false(nodes[0].answer_ok);

	/* Somebody there who does not answer in time; answering later is harmless, and then it is no open request any more. */
	start_node(1);
	assert_int_equal(ask(0, 1, "hello?", 300), ND_OK);
	WAIT_FOR(nodes[0].answers == 2 && nodes[1].requests == 1);
	assert_false(nodes[0].answer_ok);
	for (int64_t deadline = now_ms() + PATIENCE_MS;;)
	{
		NdStatus	status = nodes[1].t->ops->answer(nodes[1].t, nodes[1].request_id, (const uint8_t *) "late", 4);

		if (status == ND_NOTFOUND)
			break;
		assert_int_equal(status, ND_OK);
		assert_true(now_ms() < deadline);
	}
	/* Another cluster. */
	nodes[2].config.cluster_id++;
	start_node(2);
	assert_int_equal(ask(2, 1, "hello?", PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[2].answers == 1);
	assert_false(nodes[2].answer_ok);
	WAIT_FOR(nodes[1].refusals == 1 && nodes[2].refusals == 1);
	assert_non_null(strstr(nodes[2].refusal, "another cluster"));
	assert_int_equal(nodes[1].requests, 1);

	/* Both ends go down in the middle of one. */
	assert_int_equal(ask(0, 1, "hello?", PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[1].requests == 2);
	stop_node(1);
	WAIT_FOR(nodes[0].answers == 3);
	assert_false(nodes[0].answer_ok);
	start_node(1);
	assert_int_equal(ask(0, 1, "hello?", PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[1].requests == 3);
	stop_node(0);
}

/* ---- TLS ---- */

static char tls_dir[] = "/tmp/nodedb-tls-XXXXXX";

static void make_certificate(const char *name, const char *ca, const char *cn)
{
	char		command[1024];

	snprintf(command, sizeof command,
			 "cd %s && openssl req -newkey rsa:2048 -nodes -keyout %s.key -out %s.csr -subj /CN=%s 2>/dev/null && "
			 "openssl x509 -req -in %s.csr -CA %s.crt -CAkey %s.key -CAcreateserial -days 30 -out %s.crt 2>/dev/null",
			 tls_dir, name, name, cn, name, ca, ca, name);
	assert_int_equal(system(command), 0);
}

static void make_ca(const char *name)
{
	char		command[512];

	snprintf(command, sizeof command,
			 "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout %s.key -out %s.crt -subj /CN=%s 2>/dev/null", tls_dir, name,
			 name, name);
	assert_int_equal(system(command), 0);
}

static int tls_group_setup(void **state)
{
	(void) state;
	if (mkdtemp(tls_dir) == NULL)
		return -1;
	make_ca("ca");
	make_ca("otherca");
	make_certificate("good", "ca", "nodedb");
	make_certificate("mailserver", "ca", "mailserver");
	make_certificate("foreign", "otherca", "nodedb");
	return 0;
}

static int tls_group_teardown(void **state)
{
	char		command[128];

	(void) state;
	snprintf(command, sizeof command, "rm -rf %s", tls_dir);
	return system(command);
}

static void use_certificate(unsigned i, const char *name, const char *ca)
{
	static char paths[NODES_MAX][3][128];

	snprintf(paths[i][0], sizeof paths[i][0], "%s/%s.crt", tls_dir, name);
	snprintf(paths[i][1], sizeof paths[i][1], "%s/%s.key", tls_dir, name);
	snprintf(paths[i][2], sizeof paths[i][2], "%s/%s.crt", tls_dir, ca);
	nodes[i].config.tls_cert_file = paths[i][0];
	nodes[i].config.tls_key_file = paths[i][1];
	nodes[i].config.tls_ca_file = paths[i][2];
}

static void test_tls(void **state)
{
	(void) state;
	use_certificate(0, "good", "ca");
	use_certificate(1, "good", "ca");
	start_pair();
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(send_number(0, 1, i, 1000), ND_OK);
	WAIT_FOR(nodes[1].frames == 1000);
	assert_int_equal(nodes[1].out_of_order, 0);
	nodes[1].echo = true;
	assert_int_equal(ask(0, 1, "hello", PATIENCE_MS), ND_OK);
	WAIT_FOR(nodes[0].answers == 1 && nodes[0].answer_ok);
}

/*
 * Node 1 is well. Who has no certificate of its CA with the right name gets no stream and no answer, whether it calls (node 1's id is higher
 * than 1 and lower than 3) or is called. The request shows the end of an attempt: it fails, where a stream would be tried for ever.
 */
static void tls_outsider(const char *certificate, const char *ca)
{
	reset_nodes();
	use_certificate(1, "good", "ca");
	start_node(1);
	for (unsigned i = 0; i < 3; i += 2)
	{
		if (certificate != NULL)
			use_certificate(i, certificate, ca);
		start_node(i);
		knows(i, 1);
		knows(1, i);
		assert_int_equal(ask(i, 1, "hello", PATIENCE_MS), ND_OK);
		WAIT_FOR(nodes[i].answers == 1);
		assert_false(nodes[i].answer_ok);
		assert_int_equal(ask(1, i, "hello", PATIENCE_MS), ND_OK);
		WAIT_FOR(nodes[1].answers == 1);
		assert_false(nodes[1].answer_ok);
		nodes[1].answers = 0;
		assert_int_equal(nodes[i].requests, 0);
	}
	assert_int_equal(nodes[1].requests, 0);
	assert_int_equal(nodes[0].ups + nodes[1].ups + nodes[2].ups, 0);
	for (unsigned i = 0; i < 3; i++)
		stop_node(i);
}

static void test_tls_outsiders(void **state)
{
	(void) state;
	tls_outsider(NULL, NULL);
	tls_outsider("foreign", "otherca");
	tls_outsider("foreign", "ca");
	tls_outsider("mailserver", "ca");
}

static void test_tls_files(void **state)
{
	TransportCallbacks callbacks = {.ctx = &nodes[0]};
	char		error[256] = "";
	Transport  *t;

	(void) state;
	use_certificate(0, "good", "ca");
	nodes[0].config.tls_key_file = NULL;
	assert_int_equal(transport_grpc_create(&nodes[0].config, &callbacks, &t, error, sizeof error), ND_INVALID);
	assert_non_null(strstr(error, "all three files"));
	use_certificate(0, "nosuch", "ca");
	assert_int_equal(transport_grpc_create(&nodes[0].config, &callbacks, &t, error, sizeof error), ND_INVALID);
	assert_non_null(strstr(error, "nosuch.crt\": No such file"));
	nodes[0].config.tls_cert_file = "/proc/self/status";
	assert_int_equal(transport_grpc_create(&nodes[0].config, &callbacks, &t, error, sizeof error), ND_INVALID);
	assert_non_null(strstr(error, "is not a PEM file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_frames_in_order),
		TEST(test_large_and_too_large),
		TEST(test_busy),
		TEST(test_round_trips),
		TEST(test_throughput),
		TEST(test_not_connected),
		TEST(test_restart),
		TEST(test_three_nodes_and_removal),
		TEST(test_destroy_busy),
		TEST(test_moved),
		TEST(test_port_in_use),
		TEST(test_signals_blocked),
		TEST(test_greetings_refused),
		TEST(test_wrong_cluster),
		TEST(test_unknown_until_set),
		TEST(test_wrong_node_answers),
		TEST(test_lower_incarnation),
		TEST(test_newer_stream_replaces),
		TEST(test_malformed_messages),
		TEST(test_garbage),
		TEST(test_request),
		TEST(test_request_bounds),
		TEST(test_request_fails),
		TEST(test_tls),
		TEST(test_tls_outsiders),
		TEST(test_tls_files),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, tls_group_setup, tls_group_teardown);
}
