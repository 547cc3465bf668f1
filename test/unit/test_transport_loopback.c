/*
 * test_transport_loopback.c: the transport that other tests stand on keeps the promises of transport.h: order, up and down in turns, frames
 * of a broken connection lost and never late, bounded queues, one answer per request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "../../src/transport/loopback.h"

/* What callbacks said, as a line of words. */
typedef struct Told
{
	char		text[512];
} Told;

static LoopbackHub *hub;
static Transport *t[4];
static Told told[4];

static void tell(void *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(void *ctx, const char *format, ...)
{
	Told	   *s = ctx;
	size_t		len = strlen(s->text);
	va_list		args;

	va_start(args, format);
	vsnprintf(s->text + len, sizeof s->text - len, format, args);
	va_end(args);
}

static void on_frame(void *ctx, NdNodeId from, const uint8_t *data, size_t len)
{
	tell(ctx, "frame(%u,%.*s) ", from, (int) len, (const char *) data);
}

static void on_up(void *ctx, NdNodeId peer, uint32_t incarnation)
{
	tell(ctx, "up(%u,%u) ", peer, incarnation);
}

static void on_down(void *ctx, NdNodeId peer)
{
	tell(ctx, "down(%u) ", peer);
}

static void on_refused(void *ctx, const char *address, const char *text)
{
	tell(ctx, "refused(%s,%.10s) ", address, text);
}

static void on_request(void *ctx, uint64_t id, const uint8_t *data, size_t len)
{
	tell(ctx, "request(%llu,%.*s) ", (unsigned long long) id, (int) len, (const char *) data);
}

static void on_answer(void *ctx, uint64_t id, bool ok, const uint8_t *data, size_t len)
{
	tell(ctx, "answer(%llu,%s,%.*s) ", (unsigned long long) id, ok ? "ok" : "failed", (int) len, (const char *) data);
}

static void start(NdNodeId id, uint32_t incarnation, uint64_t cluster)
{
	char		name[16];
	TransportConfig config = {.cluster_id = cluster, .self = id, .incarnation = incarnation, .listen = name, .send_queue_bytes_max = 10};
	TransportCallbacks callbacks = {on_frame, on_up, on_down, on_refused, on_request, on_answer, NULL, &told[id]};

	snprintf(name, sizeof name, "node%u", id);
	assert_int_equal(loopback_create(hub, &config, &callbacks, &t[id]), ND_OK);
}

static void stop(NdNodeId id)
{
	if (t[id] != NULL)
		t[id]->ops->destroy(t[id]);
	t[id] = NULL;
}

static void know(NdNodeId a, NdNodeId b)
{
	assert_int_equal(t[a]->ops->set_peer(t[a], b, "somewhere"), ND_OK);
}

static NdStatus say(NdNodeId from, NdNodeId to, const char *text)
{
	return t[from]->ops->send(t[from], to, (const uint8_t *) text, strlen(text));
}

/* Poll, and compare what was told since the last time. */
static void expect(NdNodeId id, const char *text)
{
	t[id]->ops->poll(t[id]);
	assert_string_equal(told[id].text, text);
	told[id].text[0] = '\0';
}

static int setup(void **state)
{
	(void) state;
	memset(t, 0, sizeof t);
	memset(told, 0, sizeof told);
	hub = loopback_hub_create();
	return hub == NULL;
}

static int teardown(void **state)
{
	(void) state;
	for (NdNodeId id = 1; id < 4; id++)
		stop(id);
	loopback_hub_destroy(hub);
	return 0;
}

static void pair(void)
{
	start(1, 1, 7);
	start(2, 1, 7);
	know(1, 2);
	know(2, 1);
	expect(1, "up(2,1) ");
	expect(2, "up(1,1) ");
}

static void test_frames(void **state)
{
	static const uint8_t large[TRANSPORT_FRAME_BYTES_MAX + 1];

	(void) state;
	start(1, 1, 7);
	start(2, 1, 7);
	know(1, 2);
	expect(1, "");				/* one-sided */
	know(2, 1);
	assert_int_equal(say(1, 2, "early"), ND_NOTFOUND);	/* connected, but not told yet */
	expect(1, "up(2,1) ");
	assert_true(t[1]->ops->connected(t[1], 2));
	assert_int_equal(say(1, 2, "a"), ND_OK);
	assert_int_equal(say(1, 2, "b"), ND_OK);
	expect(2, "up(1,1) frame(1,a) frame(1,b) ");
	expect(2, "");
	assert_int_equal(t[1]->ops->send(t[1], 2, large, sizeof large), ND_TOOBIG);
	assert_int_equal(t[1]->ops->fd(t[1]), -1);
	assert_int_equal(t[1]->ops->set_peer(t[1], 1, "self"), ND_INVALID);
}

static void test_busy(void **state)
{
	(void) state;
	pair();
	assert_int_equal(say(1, 2, "12345678"), ND_OK);
	assert_int_equal(say(1, 2, "123"), ND_BUSY);
	assert_int_equal(say(2, 1, "123"), ND_OK);
	expect(2, "frame(1,12345678) ");
	assert_int_equal(say(1, 2, "a frame above the bound"), ND_OK);	/* alone it passes */
	expect(2, "frame(1,a frame above the bound) ");
	expect(1, "frame(2,123) ");
}

static void test_cut(void **state)
{
	(void) state;
	pair();
	assert_int_equal(say(1, 2, "lost"), ND_OK);
	assert_int_equal(loopback_cut(hub, 2, 1, true), ND_OK);
	assert_int_equal(say(1, 2, "x"), ND_NOTFOUND);
	assert_int_equal(loopback_cut(hub, 1, 2, false), ND_OK);
	/* Between two polls it broke and came back: both are told, and the frame of the first connection is not delivered in the second. */
	t[1]->ops->poll(t[1]);
	assert_string_equal(told[1].text, "down(2) up(2,1) ");
	expect(2, "down(1) up(1,1) ");
	assert_int_equal(say(1, 2, "new"), ND_OK);
	expect(2, "frame(1,new) ");
}

static void test_removed(void **state)
{
	(void) state;
	pair();
	assert_int_equal(t[1]->ops->remove_peer(t[1], 2), ND_OK);
	assert_int_equal(t[1]->ops->remove_peer(t[1], 2), ND_NOTFOUND);
	expect(1, "down(2) ");
	expect(2, "down(1) ");
	know(1, 2);
	expect(2, "up(1,1) ");
	expect(1, "up(2,1) ");
}

static void test_restart_and_twin(void **state)
{
	(void) state;
	pair();
	stop(1);
	expect(2, "down(1) ");
	start(1, 2, 7);
	know(1, 2);
	expect(2, "up(1,2) ");
	expect(1, "up(2,1) ");
	stop(1);
	start(1, 1, 7);
	know(1, 2);
	expect(1, "refused(node 2,an older i) ");
	expect(2, "refused(node 1,an older i) down(1) ");
	assert_false(t[2]->ops->connected(t[2], 1));
	expect(2, "");
}

static void test_other_cluster(void **state)
{
	(void) state;
	start(1, 1, 7);
	start(2, 1, 8);
	know(1, 2);
	know(2, 1);
	expect(1, "refused(node 2,it belongs) ");
	expect(2, "refused(node 1,it belongs) ");
}

static void test_requests(void **state)
{
	(void) state;
	start(0, 0, 0);				/* not a member */
	start(1, 1, 7);
	assert_int_equal(t[0]->ops->set_peer(t[0], 1, "node1"), ND_INVALID);
	assert_int_equal(t[0]->ops->request(t[0], "node1", 50, (const uint8_t *) "join", 4, 1), ND_OK);
	assert_int_equal(t[0]->ops->request(t[0], "nowhere", 51, (const uint8_t *) "join", 4, 1), ND_OK);
	expect(1, "request(1,join) ");
	expect(0, "answer(51,failed,) ");
	assert_int_equal(t[1]->ops->answer(t[1], 9, (const uint8_t *) "no", 2), ND_NOTFOUND);
	assert_int_equal(t[1]->ops->answer(t[1], 1, (const uint8_t *) "yes", 3), ND_OK);
	assert_int_equal(t[1]->ops->answer(t[1], 1, (const uint8_t *) "yes", 3), ND_NOTFOUND);
	expect(0, "answer(50,ok,yes) ");
	/* The asked one goes away; then the one that asks. */
	assert_int_equal(t[0]->ops->request(t[0], "node1", 52, NULL, 0, 1), ND_OK);
	stop(1);
	expect(0, "answer(52,failed,) ");
	start(1, 1, 7);
	assert_int_equal(t[0]->ops->request(t[0], "node1", 53, NULL, 0, 1), ND_OK);
	stop(0);
	expect(1, "request(3,) ");
	assert_int_equal(t[1]->ops->answer(t[1], 3, NULL, 0), ND_NOTFOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_frames),
		TEST(test_busy),
		TEST(test_cut),
		TEST(test_removed),
		TEST(test_restart_and_twin),
		TEST(test_other_cluster),
		TEST(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
