/*
 * test_base.c: the codec gives fixed bytes and never reads past its end; allocation failures stay failures; the generator and the
 * checksum give the same numbers on every machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/base/base.h"
#include "nomem_kit.h"

static void writer_golden(void **state)
{
	static const uint8_t want[] = {
		0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08,
		0x00, 0x7f, 0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a', 'b'
	};
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	nd_buf_u8(&buf, 0x01);
	nd_buf_u16(&buf, 0x0203);
	nd_buf_u32(&buf, 0x04050607);
	nd_buf_u64(&buf, UINT64_C(0x08090a0b0c0d0e0f));
	nd_buf_varint(&buf, 0);
	nd_buf_varint(&buf, 127);
	nd_buf_varint(&buf, 128);
	nd_buf_varint(&buf, UINT64_MAX);
	nd_buf_bytes(&buf, "ab", 2);
	nd_buf_bytes(&buf, NULL, 0);
	assert_false(buf.failed);
	assert_int_equal(buf.len, sizeof(want));
	assert_memory_equal(buf.data, want, sizeof(want));
	nd_buf_reset(&buf);
	assert_int_equal(buf.len, 0);
	nd_buf_free(&buf);
}

static void reader_round_trip(void **state)
{
	NdBuf		buf;
	NdReader	r;

	(void) state;
	nd_buf_init(&buf);
	nd_buf_u8(&buf, 0xfe);
	nd_buf_u16(&buf, 0xfedc);
	nd_buf_u32(&buf, 0xfedcba98);
	nd_buf_u64(&buf, UINT64_C(0xfedcba9876543210));
	for (int i = 0; i < 64; i++)
	{
		nd_buf_varint(&buf, UINT64_C(1) << i);
		nd_buf_varint(&buf, (UINT64_C(1) << i) - 1);
	}
	nd_reader_init(&r, buf.data, buf.len);
	assert_int_equal(nd_read_u8(&r), 0xfe);
	assert_int_equal(nd_read_u16(&r), 0xfedc);
	assert_int_equal(nd_read_u32(&r), 0xfedcba98);
	assert_true(nd_read_u64(&r) == UINT64_C(0xfedcba9876543210));
	for (int i = 0; i < 64; i++)
	{
		assert_true(nd_read_varint(&r) == UINT64_C(1) << i);
		assert_true(nd_read_varint(&r) == (UINT64_C(1) << i) - 1);
	}
	assert_false(r.failed);
	assert_int_equal(nd_reader_left(&r), 0);
	nd_buf_free(&buf);
}

static void reader_fails_and_stays_failed(void **state)
{
	const uint8_t bytes[] = {1, 2, 3};
	NdReader	r;

	(void) state;
	nd_reader_init(&r, bytes, sizeof(bytes));
	assert_int_equal(nd_read_u32(&r), 0);
	assert_true(r.failed);
	assert_int_equal(nd_reader_left(&r), 0);
	assert_int_equal(nd_read_u8(&r), 0);
	assert_null(nd_read_bytes(&r, 0));
	assert_true(r.failed);

	nd_reader_init(&r, bytes, sizeof(bytes));
	assert_null(nd_read_bytes(&r, SIZE_MAX));
	assert_true(r.failed);

	nd_reader_init(&r, NULL, 0);
	assert_int_equal(nd_reader_left(&r), 0);
	assert_non_null(nd_read_bytes(&r, 0));
	assert_false(r.failed);
	nd_reader_init(&r, NULL, 5);
	assert_true(r.failed);
}

static void bad_varint(const void *bytes, size_t len)
{
	NdReader	r;

	nd_reader_init(&r, bytes, len);
	assert_true(nd_read_varint(&r) == 0);
	assert_true(r.failed);
}

static void varint_malformed(void **state)
{
	(void) state;
	bad_varint("", 0);
	bad_varint("\x80", 1);
	bad_varint("\x80\x00", 2);		/* overlong zero */
	bad_varint("\xff\x80\x00", 3);	/* overlong */
	bad_varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);	/* 65 bits */
	bad_varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11);
}

static void allocation_fails(void **state)
{
	NdBuf		buf;
	uint8_t    *old;

	(void) state;
	nd_buf_init(&buf);
	nomem_fail(1, NOMEM_ALL);
	assert_null(nd_alloc(1));
	assert_null(nd_zalloc(1));
	assert_null(nd_realloc(NULL, 1));
	assert_null(nd_blob_new("x", 1));
	nd_buf_u64(&buf, 1);
	assert_true(buf.failed);
	nomem_fail(0, 0);
	nd_buf_u64(&buf, 1);
	assert_true(buf.failed);		/* sticky although memory is back */
	assert_int_equal(buf.len, 0);
	nd_buf_reset(&buf);
	nd_buf_u64(&buf, 1);
	assert_false(buf.failed);

	old = buf.data;
	nd_buf_bytes(&buf, NULL, SIZE_MAX - 4);	/* would overflow: refused before it is touched */
	assert_true(buf.failed);
	assert_ptr_equal(buf.data, old);
	assert_int_equal(buf.len, 8);
	nd_buf_free(&buf);
	nd_buf_free(&buf);
}

static void allocation_of_nothing(void **state)
{
	void	   *p = nd_alloc(0);

	(void) state;
	assert_non_null(p);
	p = nd_realloc(p, 0);
	assert_non_null(p);
	nd_free(p);
	nd_free(NULL);
}

static void blob_counts(void **state)
{
	NdBlob	   *blob = nd_blob_new("hello", 5);
	NdBlob	   *empty = nd_blob_new(NULL, 0);

	(void) state;
	assert_int_equal(blob->len, 5);
	assert_memory_equal(blob->data, "hello", 5);
	assert_ptr_equal(nd_blob_ref(blob), blob);
	nd_blob_unref(blob);
	assert_int_equal(blob->refs, 1);
	nd_blob_unref(blob);
	nd_blob_unref(empty);
	assert_null(nd_blob_ref(NULL));
	nd_blob_unref(NULL);
}

/* The numbers are those of the authors' C code for a state filled by splitmix64 from seed 0. */
static void random_golden(void **state)
{
	static const uint64_t want[] = {
		UINT64_C(0x99ec5f36cb75f2b4), UINT64_C(0xbf6e1f784956452a), UINT64_C(0x1a5f849d4933e6e0), UINT64_C(0x6aa594f1262d2d2c)
	};
	NdRandom	r;
	uint64_t	seen = 0;

	(void) state;
	nd_random_seed(&r, 0);
	for (int i = 0; i < 4; i++)
		assert_true(nd_random_next(&r) == want[i]);
	for (int i = 0; i < 1000; i++)
	{
		uint64_t	v = nd_random_below(&r, 7);

		assert_true(v < 7);
		seen |= UINT64_C(1) << v;
	}
	assert_true(seen == 0x7f);
	assert_true(nd_random_below(&r, 1) == 0);
	assert_true(nd_random_below(&r, UINT64_MAX) < UINT64_MAX);
}

static void checksum_golden(void **state)
{
	(void) state;
	assert_true(nd_checksum("", 0, 0) == UINT64_C(0x2d06800538d394c2));
	assert_true(nd_checksum("abc", 3, 0) != nd_checksum("abc", 3, 1));
	assert_true(nd_checksum("abc", 3, 0) != nd_checksum("abd", 3, 0));
}

static NdStatus new_checksum(void *arg)
{
	NdChecksum **c = arg;

	*c = nd_checksum_new();
	return *c != NULL ? ND_OK : ND_NOMEM;
}

static void checksum_without_memory(void **state)
{
	NdChecksum *c;
	long		before = nomem_live();

	(void) state;
	assert_int_equal(nomem_call(new_checksum, NULL, &c), 2);
	nd_checksum_begin(c, 1);
	nd_checksum_add(c, "a", 1);
	nd_checksum_add(c, "bc", 2);
	assert_int_equal(nd_checksum_end(c), nd_checksum("abc", 3, 1));
	nd_checksum_free(c);
	assert_int_equal(nomem_live(), before);
}

static void every_status_has_text(void **state)
{
	(void) state;
	for (int s = ND_OK; s <= ND_WRONG_CLUSTER; s++)
		assert_string_not_equal(nd_status_text((NdStatus) s), "unknown status");
	assert_string_equal(nd_status_text((NdStatus) 999), "unknown status");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writer_golden),
		cmocka_unit_test(reader_round_trip),
		cmocka_unit_test(reader_fails_and_stays_failed),
		cmocka_unit_test(varint_malformed),
		cmocka_unit_test(allocation_fails),
		cmocka_unit_test(allocation_of_nothing),
		cmocka_unit_test(blob_counts),
		cmocka_unit_test(random_golden),
		cmocka_unit_test(checksum_golden),
		cmocka_unit_test(checksum_without_memory),
		cmocka_unit_test(every_status_has_text),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
