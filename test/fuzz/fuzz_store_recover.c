/*
 * fuzz_store_recover.c: whatever stands in the segment files, store_open() ends with a status, and what it accepts can be used. A walk comes to
 * an end, and store_read_position() reads the entries that the walk saw, and nothing else at their places.
 *
 * Input: segment files one after the other: u8 number, u16 length in units of 64 bytes, bytes. Checksums would stop every input at the
 * door, so they are made right first. Numbers from 128 on (less 128): the bytes are a recipe instead, batches { u8 part and last flag, u8 flush,
 * u8 records }, each record { u8 kind, u8 group, u8 index, u8 term, u8 aux, u8 length, payload }, from which a well-formed file is made.
 */
#include "../../src/store/store_walk.h"
#include "../sim/memvfs.h"

#include "fuzz.h"

#define DIR "log"
#define FILE_BYTES_MAX (64 * 1024)

static void mend(uint8_t *bytes, size_t len, uint64_t number)
{
	StoreSegmentHeader h = {.format = STORE_FORMAT, .node = 1, .cluster_id = 1, .number = number};
	size_t		offset = STORE_SEGMENT_HEADER;

	if (len < STORE_SEGMENT_HEADER)
		return;
	store__segment_header_encode(&h, bytes);
	while (offset + STORE_BATCH_HEADER <= len)
	{
		StoreBatchHeader b;
		uint64_t	body;

		/* part, flags, flush number and length come from the input, at the places where they are read */
		b.part = bytes[offset + 4];
		b.flags = bytes[offset + 6] & 1;
		b.flush_seq = bytes[offset + 16];
		body = bytes[offset + 24] | (uint64_t) bytes[offset + 25] << 8;
		if (body == 0 || body > len - offset - STORE_BATCH_HEADER)
			return;
		b.body_len = body;
		b.body_checksum = nd_checksum(bytes + offset + STORE_BATCH_HEADER, body, b.flush_seq);
		store__batch_header_encode(&b, number, offset, bytes + offset);
		offset = store__round_up(offset + STORE_BATCH_HEADER + body, STORE_SECTOR);
	}
}

/* Returns the length of the file. */
static size_t cook(uint8_t *file, uint64_t number, const uint8_t *recipe, size_t len)
{
	StoreSegmentHeader h = {.format = STORE_FORMAT, .node = 1, .cluster_id = 1, .number = number};
	size_t		offset = STORE_SEGMENT_HEADER;
	NdReader	r;

	nd_reader_init(&r, recipe, len);
	store__segment_header_encode(&h, file);
	while (nd_reader_left(&r) >= 3)
	{
		uint8_t		part = nd_read_u8(&r);
		StoreBatchHeader b = {.part = part & 0x7f, .flags = part >> 7, .flush_seq = nd_read_u8(&r)};
		uint8_t		records = nd_read_u8(&r) % 16;
		size_t		at = offset + STORE_BATCH_HEADER;

		for (uint8_t i = 0; i < records && nd_reader_left(&r) >= 6; i++)
		{
			StoreRecord record = {.kind = nd_read_u8(&r) % 12, .group = nd_read_u8(&r) % 4, .index = nd_read_u8(&r), .term = nd_read_u8(&r),
				.aux = nd_read_u8(&r) % 4};
			size_t		want = nd_read_u8(&r);
			const uint8_t *payload;

			record.payload_len = (uint32_t) (want < nd_reader_left(&r) ? want : nd_reader_left(&r));
			payload = nd_read_bytes(&r, record.payload_len);
			if (at + store__record_bytes(record.payload_len) + STORE_SECTOR > FILE_BYTES_MAX)
				return offset;
			store__record_encode(&record, payload, number, at, file + at);
			at += store__record_bytes(record.payload_len);
		}
		b.body_len = at - offset - STORE_BATCH_HEADER;
		b.body_checksum = nd_checksum(file + offset + STORE_BATCH_HEADER, b.body_len, b.flush_seq);
		if (at + 2 * STORE_SECTOR > FILE_BYTES_MAX)
			return offset;
		store__batch_header_encode(&b, number, offset, file + offset);
		offset = store__round_up(at, STORE_SECTOR);
	}
	return offset < 16384 ? 16384 : offset;
}

static void use(Store *s)
{
	static RaftRestore r;
	NdGroupId	groups[16];
	uint32_t	n = store_groups(s, groups, 16);
	NdBuf		buf;

	nd_buf_init(&buf);
	for (uint32_t k = 0; k < n && k < 16; k++)
	{
		RaftEntry	e[4];
		RaftHardState hard = {.term = 1};
		uint64_t	index;
		uint64_t	seq;
		uint32_t	got = 0;

		if (store_restore(s, groups[k], &r) == ND_OK &&
			store_entries(s, groups[k], r.first_index, r.last_index + 1, 1000, e, 4, &got) == ND_OK)
			for (uint32_t i = 0; i < got; i++)
				nd_blob_unref(e[i].payload);
		store_read_checkpoint(s, groups[k], &index, &buf);
		store_hard_state(s, groups[k], &hard);
		store_truncate_prefix(s, groups[k], store_last_index(s, groups[k]) + 1);
		store_truncate_suffix(s, groups[k], store_first_index(s, groups[k]));
		if (store_flush_start(s, &seq) == ND_OK)
			store_flush_poll(s, &seq);
	}
	nd_buf_free(&buf);
}

static void look_at_entry(MemVfs *m, const StoreWalkItem *item)
{
	const StoreRecord *r = &item->record;
	StorePosition at = {item->segment, item->offset, STORE_RECORD_HEADER + r->payload_len};
	NdBuf		payload;

	nd_buf_init(&payload);
	if (r->kind == STORE_ENTRY)
	{
		MUST(store_read_position(memvfs_vfs(m), DIR, at, r->group, r->index, r->term, &payload) == ND_OK);
		MUST_EQUAL(payload.data, payload.len, item->payload, r->payload_len);
	}
	MUST(store_read_position(memvfs_vfs(m), DIR, at, r->group, r->index + 1, r->term, &payload) != ND_OK);
	at.offset += 8;
	MUST(store_read_position(memvfs_vfs(m), DIR, at, r->group, r->index, r->term, &payload) != ND_OK);
	nd_buf_free(&payload);
}

static void walk(MemVfs *m)
{
	static StoreWalkItem item;
	StoreWalk  *w;

	if (store_walk_open(memvfs_vfs(m), DIR, 0, UINT64_MAX, &w) != ND_OK)
		return;
	for (uint32_t steps = 0;; steps++)
	{
		MUST(steps < 100000);
		MUST(store_walk_next(w, &item) == ND_OK);
		if (item.kind == STORE_WALK_END)
			break;
		if (item.kind == STORE_WALK_RECORD)
			look_at_entry(m, &item);
	}
	store_walk_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	StoreConfig config = {.dir = DIR, .cluster_id = 1, .node = 1, .segment_bytes = 16384, .cache_bytes = 1000, .record_bytes_max = 4096};
	MemVfs	   *m = memvfs_create();
	char		error[400];
	Store	   *s;

	while (size >= 3)
	{
		uint64_t	number = data[0];
		size_t		len = (size_t) (data[1] | data[2] << 8) * 64;
		size_t		have = len < size - 3 ? len : size - 3;
		uint8_t    *bytes;
		char		path[64];

		if (len > FILE_BYTES_MAX)
			len = FILE_BYTES_MAX;
		if (have > len)
			have = len;
		bytes = calloc(1, FILE_BYTES_MAX);
		if (number >= 128)
		{
			number -= 128;
			len = cook(bytes, number, data + 3, have);
		}
		else
		{
			memcpy(bytes, data + 3, have);
			mend(bytes, len, number);
		}
		snprintf(path, sizeof(path), DIR "/%016llx.seg", (unsigned long long) number);
		memvfs_put(m, path, bytes, len);
		free(bytes);
		data += 3 + have;
		size -= 3 + have;
	}
	walk(m);
	for (int again = 0; again < 2; again++)
		if (store_open(memvfs_vfs(m), &config, &s, error, sizeof(error)) == ND_OK)
		{
			use(s);
			store_close(s);
			memvfs_crash(m, size);
			walk(m);
		}
	memvfs_destroy(m);
	return 0;
}
