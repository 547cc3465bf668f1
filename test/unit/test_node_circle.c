/*
 * test_node_circle.c: reservations in several groups whose owners wait for each other (src/node/circle.c): who gives way, who does not.
 *
 * A is the schema change, of node 1; S, T are statements of nodes 2 and 3 that reserve in ascending order of groups.
 */
#include "node_kit.h"
#include "nomem_kit.h"

#define A 1, 100
#define S 2, 200
#define T 3, 300

/* Ask in a group for a key; it waits if it must. `number` grows with each ask of an id. */
static void reserve(Kit *k, NdNodeId id, uint64_t counter, NdGroupId group, uint16_t number, uint64_t hash)
{
	EntryKey	keys[1] = {{hash, KEY_REL_ACCESS_EXCLUSIVE}};
	TxnId		txn = {id, k->nodes[id].incarnation, counter};
	NdBuf		buf;
	NdBlob	   *blob;

	nd_buf_init(&buf);
	assert_int_equal(entry_encode_header(&buf, ENTRY_RESERVE, number, txn, kit_status(k, id, group)->delivered, keys, 1, NULL, 0), ND_OK);
	nd_buf_varint(&buf, 0);
	blob = nd_blob_new(buf.data, (uint32_t) buf.len);
	nd_buf_free(&buf);
	assert_int_equal(node_propose(k->nodes[id].node, group, blob, 100), ND_OK);
	nd_blob_unref(blob);
	kit_settle(k);
	kit_tick(k, 3);
}

static uint64_t failing;		/* the allocation of the next look that fails; 0: none */

/* A looks, before it asks for this key (0: where it waits). */
static void look(Kit *k, NdGroupId group, uint64_t hash)
{
	EntryKey	keys[1] = {{hash, KEY_REL_ACCESS_EXCLUSIVE}};
	TxnId		txn = {1, k->nodes[1].incarnation, 100};
	EntryHeader header;
	NdBuf		buf;

	nd_buf_init(&buf);
	assert_int_equal(entry_encode_header(&buf, ENTRY_RESERVE, 9, txn, 0, keys, 1, NULL, 0), ND_OK);
	nd_buf_varint(&buf, 0);
	assert_int_equal(entry_decode(buf.data, buf.len, &header), ND_OK);
	nomem_fail(failing, 1);
	node_end_circle(k->nodes[1].node, group, txn, hash != 0 ? &header : NULL);
	assert_int_equal(nomem_failed(), failing != 0);
	nomem_fail(0, 1);
	nd_buf_free(&buf);
	kit_settle(k);
	kit_tick(k, 3);
}

static uint64_t waiting(Kit *k, NdGroupId group)
{
	return kit_status(k, 1, group)->certifier.waiting;
}

/* CANCELs of the id that came to node 1: one for each group that it is in. */
static uint32_t cancelled(Kit *k, NdNodeId id, uint64_t counter)
{
	const KitNode *n = &k->nodes[1];
	uint32_t	count = 0;

	for (uint32_t i = 0; i < n->n_seen; i++)
		count += n->seen[i].has_header && n->seen[i].entry_kind == ENTRY_CANCEL && n->seen[i].txn.node == id && n->seen[i].txn.counter == counter;
	return count;
}

static Kit *cluster(void)
{
	Kit		   *k = kit_cluster(3, 4);

	for (NdGroupId g = 0; g <= 4; g++)
		assert_int_not_equal(kit_leader(k, g), 0);
	return k;
}

/* It is there when A asks. */
static void test_seen_before_it_asks(void **state)
{
	Kit		   *k = cluster();

	(void) state;
	reserve(k, A, 3, 1, 33);
	reserve(k, S, 2, 1, 22);
	reserve(k, S, 3, 2, 33);
	assert_int_equal(waiting(k, 3), 1);
	/* nobody who waits for A stands in the way of this key */
	look(k, 2, 23);
	assert_int_equal(cancelled(k, S), 0);
	look(k, 2, 22);
	assert_int_equal(cancelled(k, S), 2);
	assert_int_equal(waiting(k, 3), 0);
	/* and what A asks for is free: behind the CANCEL in one log */
	reserve(k, A, 2, 2, 22);
	assert_int_equal(waiting(k, 2), 0);
	kit_free(k);
}

/* S closes it while A waits. */
static void test_closed_by_the_other(void **state)
{
	Kit		   *k = cluster();

	(void) state;
	reserve(k, A, 3, 1, 33);
	reserve(k, S, 2, 1, 22);
	look(k, 2, 22);
	reserve(k, A, 2, 2, 22);
	look(k, 2, 0);
	assert_int_equal(cancelled(k, S), 0);
	reserve(k, S, 3, 2, 33);
	assert_int_equal(waiting(k, 2) + waiting(k, 3), 2);
	look(k, 2, 0);
	assert_int_equal(cancelled(k, S), 2);
	assert_int_equal(cancelled(k, A), 0);
	assert_int_equal(waiting(k, 2), 0);
	assert_int_equal(waiting(k, 3), 0);
	kit_free(k);
}

/* Where A owns something it does not stand in the line: it is refused, and asks again. */
static void test_refused_where_it_owns(void **state)
{
	Kit		   *k = cluster();

	(void) state;
	reserve(k, A, 1, 1, 10);
	reserve(k, A, 3, 2, 33);
	reserve(k, S, 1, 1, 11);
	reserve(k, S, 3, 2, 33);
	look(k, 1, 11);
	assert_int_equal(cancelled(k, S), 2);
	/* an owner passes those in the line who came after it: they are not waited for */
	reserve(k, T, 1, 1, 10);
	reserve(k, T, 3, 2, 34);
	look(k, 1, 10);
	assert_int_equal(cancelled(k, T), 0);
	kit_free(k);
}

/* Over a third one, which is not touched; and over places in a line. */
static void test_longer_ones(void **state)
{
	Kit		   *k = cluster();

	(void) state;
	reserve(k, A, 4, 1, 44);
	reserve(k, S, 2, 1, 22);
	reserve(k, T, 3, 1, 33);
	reserve(k, S, 3, 2, 33);
	reserve(k, T, 4, 2, 44);
	look(k, 2, 22);
	assert_int_equal(cancelled(k, S), 2);
	assert_int_equal(cancelled(k, T), 0);
	kit_free(k);
	/* S waits for A only as it stands in line behind T */
	k = cluster();
	reserve(k, A, 4, 1, 44);
	reserve(k, S, 2, 1, 22);
	reserve(k, T, 4, 1, 44);
	reserve(k, S, 4, 2, 44);
	look(k, 2, 22);
	assert_int_equal(cancelled(k, S), 2);
	kit_free(k);
}

static void test_no_circle(void **state)
{
	Kit		   *k = cluster();

	(void) state;
	/* S waits for T alone, T for nobody */
	reserve(k, A, 4, 1, 44);
	reserve(k, T, 3, 1, 33);
	reserve(k, S, 2, 1, 22);
	reserve(k, S, 3, 2, 33);
	look(k, 2, 22);
	/* A asks above all that it owns */
	reserve(k, T, 4, 2, 44);
	look(k, 4, 33);
	/* a group that is not there, a line that it does not stand in */
	look(k, 9, 22);
	look(k, 3, 0);
	assert_int_equal(cancelled(k, S) + cancelled(k, T), 0);
	kit_free(k);
}

/* Without memory nothing happens, and the next look does it. */
static void test_without_memory(void **state)
{
	Kit		   *k = cluster();

	(void) state;
	reserve(k, A, 3, 1, 33);
	reserve(k, S, 2, 1, 22);
	reserve(k, S, 3, 2, 33);
	for (failing = 1; failing <= 3; failing++)
	{
		look(k, 2, 22);
		assert_int_equal(cancelled(k, S), 0);
	}
	failing = 0;
	look(k, 2, 22);
	assert_int_equal(cancelled(k, S), 2);
	kit_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seen_before_it_asks),
		cmocka_unit_test(test_closed_by_the_other),
		cmocka_unit_test(test_refused_where_it_owns),
		cmocka_unit_test(test_longer_ones),
		cmocka_unit_test(test_no_circle),
		cmocka_unit_test(test_without_memory),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
