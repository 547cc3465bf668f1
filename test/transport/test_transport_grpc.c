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
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
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
			.send_queue_bytes_max = 8u << 20, .receive_queue_bytes_max = 8u << 20, .keepalive_ms = 1000};
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_frames_in_order, setup, teardown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
