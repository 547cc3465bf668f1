/*
 * test_certifier_order.c: the order in which a leader appends what came at the same time; and that fewer lose by it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "../../src/core/certifier/order.h"
#include "certifier_kit.h"

#define BATCH_MAX 300

typedef struct Batch
{
	NdBlob	   *blobs[BATCH_MAX];
	uint32_t	n;
	uint16_t	order[BATCH_MAX];
} Batch;

static void add(Batch *b, EntryKind kind, EntryKey *keys, uint32_t n_keys, EntryKey *reads, uint32_t n_reads)
{
	NdBuf		buf;
	TxnId		txn = {1, 1, b->n + 1};

	nd_buf_init(&buf);
	assert_int_equal(kind == ENTRY_TXN ? entry_encode_txn(&buf, 0, txn, 10, keys, n_keys, n_reads > 0 ? 10 : 0, reads, n_reads, NULL, 0) :
					 entry_encode_header(&buf, kind, 0, txn, 10, keys, n_keys, NULL, 0), ND_OK);
	b->blobs[b->n] = nd_blob_new(buf.data, (uint32_t) buf.len);
	assert_non_null(b->blobs[b->n++]);
	nd_buf_free(&buf);
}

/* A TXN that changes one row and has read another; 0: none. */
static void txn(Batch *b, uint64_t changes, uint64_t reads)
{
	EntryKey	key = {changes, KEY_ROW_NO_KEY_UPDATE};
	EntryKey	read = {reads, KEY_ROW_SHARE};

	add(b, ENTRY_TXN, &key, changes != 0, &read, reads != 0);
}

static void end(Batch *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		nd_blob_unref(b->blobs[i]);
	b->n = 0;
}

/* The order as text: "1 0 2". */
static void expect(Batch *b, bool changed, const char *wanted)
{
	char		text[4 * BATCH_MAX] = "";

	assert_int_equal(certifier_order(b->blobs, b->n, b->order), changed);
	for (uint32_t i = 0; i < b->n; i++)
		snprintf(text + strlen(text), 8, "%s%u", i > 0 ? " " : "", b->order[i]);
	assert_string_equal(text, wanted);
	end(b);
}

/* How many commit behind each other. */
static uint32_t commits(const Batch *b, bool ordered)
{
	Certifier  *c;
	uint32_t	n = 0;

	assert_int_equal(certifier_create((CertifierLimits) {1000, 1000}, &c), ND_OK);
	for (uint32_t i = 0; i < b->n; i++)
	{
		const NdBlob *blob = b->blobs[ordered ? b->order[i] : i];
		EntryHeader h;
		Verdict		v;

		assert_int_equal(entry_decode(blob->data, blob->len, &h), ND_OK);
		assert_int_equal(certifier_certify(c, 11 + i, &h, &v), ND_OK);
		n += v.kind == VERDICT_COMMIT;
	}
	certifier_destroy(c);
	return n;
}

static void readers_stand_before_writers(void **state)
{
	Batch		b = {0};

	(void) state;
	txn(&b, 7, 0);
	txn(&b, 8, 7);
	assert_int_equal(commits(&b, false), 1);
	assert_true(certifier_order(b.blobs, b.n, b.order));
	assert_int_equal(commits(&b, true), 2);
	expect(&b, true, "1 0");

	/* a chain, the wrong way round; and one that has nothing to do with it */
	txn(&b, 1, 0);
	txn(&b, 2, 1);
	txn(&b, 3, 2);
	txn(&b, 9, 0);
	assert_int_equal(commits(&b, false), 3);
	assert_true(certifier_order(b.blobs, b.n, b.order));
	assert_int_equal(commits(&b, true), 4);
	expect(&b, true, "2 1 0 3");

	/* who reads a row that many change still loses nothing before them */
	txn(&b, 1, 0);
	txn(&b, 5, 0);
	txn(&b, 6, 1);
	txn(&b, 7, 1);
	expect(&b, true, "1 2 3 0");
}

static void nothing_to_gain(void **state)
{
	Batch		b = {0};

	(void) state;
	expect(&b, false, "");
	txn(&b, 1, 0);
	txn(&b, 1, 0);				/* the same row: one of them loses, whatever the order */
	expect(&b, false, "0 1");
	txn(&b, 1, 1);				/* its own row is no conflict */
	txn(&b, 2, 3);
	expect(&b, false, "0 1");
	txn(&b, 1, 2);				/* in order already */
	txn(&b, 2, 0);
	expect(&b, false, "0 1");
	txn(&b, 1, 2);				/* a circle: the first stays the first */
	txn(&b, 2, 1);
	expect(&b, false, "0 1");
}

static void modes_that_do_not_conflict(void **state)
{
	Batch		b = {0};
	EntryKey	lock = {7, KEY_ROW_SHARE_KEY};
	EntryKey	read = {7, KEY_ROW_SHARE};
	EntryKey	other = {8, KEY_ROW_UPDATE};

	(void) state;
	add(&b, ENTRY_TXN, &lock, 1, NULL, 0);
	add(&b, ENTRY_TXN, &other, 1, &read, 1);
	expect(&b, false, "0 1");
}

static void others_stay_in_their_places(void **state)
{
	Batch		b = {0};
	EntryKey	key = {9, KEY_REL_EXCLUSIVE};

	(void) state;
	txn(&b, 7, 0);
	add(&b, ENTRY_RESERVE, &key, 1, NULL, 0);
	txn(&b, 8, 7);
	expect(&b, false, "0 1 2");
	txn(&b, 7, 0);
	txn(&b, 8, 7);
	add(&b, ENTRY_CANCEL, NULL, 0, NULL, 0);
	txn(&b, 7, 0);
	txn(&b, 8, 7);
	txn(&b, 8, 7);
	expect(&b, true, "1 0 2 4 5 3");
}

static void too_much_to_look_at(void **state)
{
	static EntryKey keys[5000];
	Batch		b = {0};

	(void) state;
	for (uint32_t i = 0; i < 5000; i++)
		keys[i] = (EntryKey) {100 + i, KEY_ROW_SHARE};
	txn(&b, 100, 0);
	add(&b, ENTRY_TXN, NULL, 0, keys, 1024);
	expect(&b, true, "1 0");
	txn(&b, 100, 0);
	add(&b, ENTRY_TXN, NULL, 0, keys, 1025);
	expect(&b, false, "0 1");
	txn(&b, 100, 0);
	add(&b, ENTRY_TXN, keys, 4096, NULL, 0);
	txn(&b, 1, 100);
	expect(&b, false, "0 1 2");
	for (uint32_t i = 0; i < 257; i++)
		txn(&b, 7 + i % 2, 7);
	assert_false(certifier_order(b.blobs, 257, b.order));
	assert_int_equal(b.order[256], 256);
	assert_true(certifier_order(b.blobs, 256, b.order));
	end(&b);
}

/* Random batches: always a permutation, and over many of them fewer lose. */
static void fewer_lose(void **state)
{
	NdRandom	random;
	uint32_t	as_they_came = 0;
	uint32_t	ordered = 0;

	(void) state;
	nd_random_seed(&random, 1);
	for (int round = 0; round < 500; round++)
	{
		Batch		b = {0};
		uint32_t	n = 2 + nd_random_below(&random, 12);
		bool		seen[BATCH_MAX] = {false};

		for (uint32_t i = 0; i < n; i++)
			txn(&b, 1 + nd_random_below(&random, 10), nd_random_below(&random, 10));
		(void) certifier_order(b.blobs, b.n, b.order);
		for (uint32_t i = 0; i < n; i++)
		{
			assert_true(b.order[i] < n && !seen[b.order[i]]);
			seen[b.order[i]] = true;
		}
		as_they_came += commits(&b, false);
		ordered += commits(&b, true);
		end(&b);
	}
	assert_true(ordered > as_they_came);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_stand_before_writers),
		cmocka_unit_test(nothing_to_gain),
		cmocka_unit_test(modes_that_do_not_conflict),
		cmocka_unit_test(others_stay_in_their_places),
		cmocka_unit_test(too_much_to_look_at),
		cmocka_unit_test(fewer_lose),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
