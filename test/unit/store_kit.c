/*
 * store_kit.c: see store_kit.h.
 */
#include "store_kit.h"

#include <stdlib.h>

void kit_init(Kit *k)
{
	memset(k, 0, sizeof(*k));
	k->m = memvfs_create();
	k->config = (StoreConfig) {.dir = KIT_DIR, .cluster_id = 77, .node = 3, .segment_bytes = KIT_SEGMENT, .cache_bytes = 4096,
		.record_bytes_max = 8192};
}

void kit_free(Kit *k)
{
	store_close(k->s);
	memvfs_destroy(k->m);
}

NdStatus kit_open(Kit *k)
{
	store_close(k->s);
	k->s = NULL;
	return store_open(memvfs_vfs(k->m), &k->config, &k->s, k->error, sizeof(k->error));
}

void kit_must_open(Kit *k)
{
	NdStatus	st = kit_open(k);

	if (st != ND_OK)
		fail_msg("store_open: %s: %s", nd_status_text(st), k->error);
}

void kit_crash(Kit *k, uint64_t seed)
{
	store_close(k->s);
	k->s = NULL;
	memvfs_crash(k->m, seed);
}

uint64_t kit_flush(Kit *k)
{
	uint64_t	seq;
	uint64_t	durable;

	assert_int_equal(store_flush_start(k->s, &seq), ND_OK);
	memvfs_complete(k->m);
	assert_int_equal(store_flush_poll(k->s, &durable), ND_OK);
	assert_true(durable >= seq);
	return durable;
}

void kit_configuration(RaftConfiguration *c, uint64_t index, uint32_t n)
{
	memset(c, 0, sizeof(*c));
	c->index = index;
	c->n = n;
	for (uint32_t i = 0; i < n; i++)
	{
		c->members[i].node = i + 1;
		c->members[i].role = RAFT_VOTER;
	}
}

void kit_group(Kit *k, NdGroupId group)
{
	RaftConfiguration c;

	kit_configuration(&c, 0, 3);
	assert_int_equal(store_create_group(k->s, group, &c), ND_OK);
}

NdBlob *kit_payload(NdGroupId group, uint64_t index, uint64_t term, uint32_t len)
{
	NdBlob	   *b = nd_blob_new(NULL, len);
	NdRandom	r;

	assert_non_null(b);
	nd_random_seed(&r, (uint64_t) group << 48 ^ index << 16 ^ term);
	for (uint32_t i = 0; i < len; i++)
		b->data[i] = (uint8_t) nd_random_next(&r);
	return b;
}

NdStatus kit_append(Kit *k, NdGroupId group, uint64_t index, uint64_t term, uint32_t n, uint32_t len)
{
	RaftEntry	entries[64];
	NdStatus	st;

	assert_true(n <= 64);
	for (uint32_t i = 0; i < n; i++)
		entries[i] = (RaftEntry) {.index = index + i, .term = term, .kind = RAFT_ENTRY_DATA,
			.payload = kit_payload(group, index + i, term, len)};
	st = store_append(k->s, group, entries, n);
	for (uint32_t i = 0; i < n; i++)
		nd_blob_unref(entries[i].payload);
	return st;
}

void kit_must_append(Kit *k, NdGroupId group, uint64_t index, uint64_t term, uint32_t n, uint32_t len)
{
	assert_int_equal(kit_append(k, group, index, term, n, len), ND_OK);
}

static void check_payload(NdGroupId group, uint64_t index, uint64_t term, const uint8_t *data, uint32_t len)
{
	NdBlob	   *want = kit_payload(group, index, term, len);

	if (len > 0)
		assert_memory_equal(data, want->data, len);
	nd_blob_unref(want);
}

void kit_check_entry(Kit *k, NdGroupId group, uint64_t index, uint64_t term, bool durable)
{
	StorePosition at;
	RaftEntry	e;
	uint32_t	n;

	assert_int_equal(store_entries(k->s, group, index, index + 1, 0, &e, 1, &n), ND_OK);
	assert_int_equal(n, 1);
	assert_int_equal(e.index, index);
	assert_int_equal(e.term, term);
	assert_int_equal(store_term(k->s, group, index), term);
	if (e.kind == RAFT_ENTRY_DATA && e.payload != NULL)
		check_payload(group, index, term, e.payload->data, e.payload->len);
	assert_int_equal(store_position(k->s, group, index, &at), ND_OK);
	if (durable)
	{
		NdBuf		buf;

		nd_buf_init(&buf);
		assert_int_equal(store_read_position(memvfs_vfs(k->m), KIT_DIR, at, group, index, term, &buf), ND_OK);
		assert_int_equal(buf.len, e.payload ? e.payload->len : 0);
		if (buf.len > 0)
			assert_memory_equal(buf.data, e.payload->data, buf.len);
		nd_buf_free(&buf);
	}
	nd_blob_unref(e.payload);
}

void kit_path(uint64_t segment, char out[64])
{
	snprintf(out, 64, KIT_DIR "/%016llx.seg", (unsigned long long) segment);
}
