/*
 * entry.c: bytes of a data group's entries, and which key modes conflict. The layout stands in entry.h.
 *
 * Invariants:
 * 1. A header has one encoding: keys ascend by (hash, mode), chunk indexes ascend, varints are minimal. So equal write sets are equal
 *    bytes, and whatever entry_decode() accepts, entry_encode_header() would write again.
 * 2. entry_decode() checks everything that the accessors rely on: they cannot fail.
 * 3. Rejecting is safe: every replica rejects the same bytes alike, since nothing but the bytes decides.
 */
#include "entry.h"

#include <stdlib.h>

#define ENTRY_FORMAT_PLAIN 1
#define ENTRY_FORMAT_READS 2
#define ENTRY_FORMAT_SEVERAL 3

_Static_assert(ENTRY_FORMAT == ENTRY_FORMAT_SEVERAL, "the newest one");
_Static_assert(KEY_REL_ACCESS_EXCLUSIVE == 16 + 8, "relation modes are lock.h's LOCKMODE + 16");

static bool key_mode_valid(uint8_t mode)
{
	return mode <= KEY_ROW_UPDATE || (mode >= KEY_REL_ACCESS_SHARE && mode <= KEY_REL_ACCESS_EXCLUSIVE);
}

static int key_compare(const EntryKey *a, const EntryKey *b)
{
	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return (int) a->mode - (int) b->mode;
}

static int key_compare_qsort(const void *a, const void *b)
{
	return key_compare(a, b);
}

/* Sort, make unique in place. false: an unknown mode. */
static bool keys_settle(EntryKey *keys, uint32_t *n)
{
	uint32_t	unique = 0;

	if (*n > 0)
		qsort(keys, *n, sizeof(EntryKey), key_compare_qsort);
	for (uint32_t i = 0; i < *n; i++)
	{
		if (!key_mode_valid(keys[i].mode))
			return false;
		if (unique == 0 || key_compare(&keys[unique - 1], &keys[i]) != 0)
			keys[unique++] = keys[i];
	}
	*n = unique;
	return true;
}

static void put_keys(NdBuf *out, const EntryKey *keys, uint32_t n)
{
	nd_buf_varint(out, n);
	for (uint32_t i = 0; i < n; i++)
	{
		nd_buf_u64(out, keys[i].hash);
		nd_buf_u8(out, keys[i].mode);
	}
}

static void put_head(NdBuf *out, uint8_t format, EntryKind kind, uint16_t flags, TxnId txn, uint64_t base)
{
	nd_buf_u8(out, format);
	nd_buf_u8(out, (uint8_t) kind);
	nd_buf_u16(out, flags);
	nd_buf_u32(out, txn.node);
	nd_buf_u32(out, txn.incarnation);
	nd_buf_u64(out, txn.counter);
	nd_buf_u64(out, base);
}

static NdStatus encode(NdBuf *out, EntryKind kind, uint16_t flags, TxnId txn, uint64_t base, EntryKey *keys, uint32_t n_keys,
					   uint64_t read_base, EntryKey *reads, uint32_t n_reads, const uint64_t *chunks, uint32_t n_chunks)
{
	uint64_t	previous = 0;

	if (!keys_settle(keys, &n_keys) || !keys_settle(reads, &n_reads) || (n_reads > 0 && read_base > base))
		return ND_INVALID;
	put_head(out, n_reads > 0 ? ENTRY_FORMAT_READS : ENTRY_FORMAT_PLAIN, kind, flags, txn, base);
	put_keys(out, keys, n_keys);
	if (n_reads > 0)
	{
		nd_buf_u64(out, read_base);
		put_keys(out, reads, n_reads);
	}
	nd_buf_varint(out, n_chunks);
	for (uint32_t i = 0; i < n_chunks; i++)
	{
		/* index 0 is no entry, so the first difference is at least 1 like all others */
		if (chunks[i] <= previous)
			return ND_INVALID;
		nd_buf_varint(out, chunks[i] - previous);
		previous = chunks[i];
	}
	return out->failed ? ND_NOMEM : ND_OK;
}

NdStatus entry_encode_header(NdBuf *out, EntryKind kind, uint16_t flags, TxnId txn, uint64_t base,
							 EntryKey *keys, uint32_t n_keys, const uint64_t *chunks, uint32_t n_chunks)
{
	return encode(out, kind, flags, txn, base, keys, n_keys, 0, NULL, 0, chunks, n_chunks);
}

NdStatus entry_encode_txn(NdBuf *out, uint16_t flags, TxnId txn, uint64_t base, EntryKey *keys, uint32_t n_keys,
						  uint64_t read_base, EntryKey *reads, uint32_t n_reads, const uint64_t *chunks, uint32_t n_chunks)
{
	return encode(out, ENTRY_TXN, flags, txn, base, keys, n_keys, read_base, reads, n_reads, chunks, n_chunks);
}

static NdStatus put_place(NdBuf *out, uint64_t position, uint64_t previous, const NdGroupId *groups, uint32_t n_groups)
{
	NdGroupId	before = 0;

	if (position == 0 || n_groups == 0 || n_groups > ENTRY_GROUPS_MAX)
		return ND_INVALID;
	nd_buf_u64(out, position);
	nd_buf_u64(out, previous);
	nd_buf_varint(out, n_groups);
	for (uint32_t i = 0; i < n_groups; i++)
	{
		if (groups[i] <= before)
			return ND_INVALID;
		nd_buf_varint(out, groups[i] - before);
		before = groups[i];
	}
	return ND_OK;
}

NdStatus entry_encode_marker(NdBuf *out, const EntryHeader *part, uint64_t position, uint64_t previous, const NdGroupId *groups, uint32_t n_groups)
{
	NdStatus	status;

	if (part->kind != ENTRY_TXN || previous >= position)
		return ND_INVALID;
	put_head(out, ENTRY_FORMAT_SEVERAL, ENTRY_MARKER, part->flags, part->txn, part->base);
	status = put_place(out, position, previous, groups, n_groups);
	if (status != ND_OK)
		return status;
	nd_buf_varint(out, part->n_keys);
	nd_buf_bytes(out, part->keys, (size_t) part->n_keys * ENTRY_KEY_BYTES);
	nd_buf_u64(out, part->read_base);
	nd_buf_varint(out, part->n_reads);
	nd_buf_bytes(out, part->reads, (size_t) part->n_reads * ENTRY_KEY_BYTES);
	nd_buf_varint(out, part->n_chunks);
	nd_buf_bytes(out, part->chunks, (size_t) (part->body - part->chunks));
	nd_buf_bytes(out, part->body, part->body_len);
	return out->failed ? ND_NOMEM : ND_OK;
}

NdStatus entry_encode_outcome(NdBuf *out, TxnId txn, bool commit, uint64_t position, uint64_t decision, uint64_t previous,
							  const NdGroupId *groups, uint32_t n_groups)
{
	NdStatus	status;

	if (previous >= decision)
		return ND_INVALID;
	put_head(out, ENTRY_FORMAT_SEVERAL, ENTRY_OUTCOME, commit, txn, 0);
	status = put_place(out, position, previous, groups, n_groups);
	if (status != ND_OK)
		return status;
	nd_buf_u64(out, decision);
	return out->failed ? ND_NOMEM : ND_OK;
}

static EntryKey key_at(const uint8_t *keys, uint32_t i)
{
	NdReader	r;
	EntryKey	key;

	nd_reader_init(&r, keys + (size_t) i * ENTRY_KEY_BYTES, ENTRY_KEY_BYTES);
	key.hash = nd_read_u64(&r);
	key.mode = nd_read_u8(&r);
	return key;
}

static bool take_keys(NdReader *r, uint32_t *n, const uint8_t **keys)
{
	uint64_t	count = nd_read_varint(r);

	if (r->failed || count > UINT32_MAX || count > nd_reader_left(r) / ENTRY_KEY_BYTES)
		return false;
	*n = (uint32_t) count;
	*keys = nd_read_bytes(r, count * ENTRY_KEY_BYTES);
	for (uint32_t i = 0; i < *n; i++)
	{
		EntryKey	key = key_at(*keys, i);
		EntryKey	before = key_at(*keys, i > 0 ? i - 1 : 0);

		if (!key_mode_valid(key.mode) || (i > 0 && key_compare(&before, &key) >= 0))
			return false;
	}
	return true;
}

/* What stands before the keys. */
static NdStatus take_head(NdReader *r, uint8_t *format, EntryHeader *out)
{
	uint8_t		kind;

	*format = nd_read_u8(r);
	if (r->failed || *format == 0)
		return ND_INVALID;
	if (*format > ENTRY_FORMAT)
		return ND_VERSION;
	kind = nd_read_u8(r);
	out->flags = nd_read_u16(r);
	out->txn.node = nd_read_u32(r);
	out->txn.incarnation = nd_read_u32(r);
	out->txn.counter = nd_read_u64(r);
	out->base = nd_read_u64(r);
	if (r->failed || kind < ENTRY_TXN || kind > ENTRY_OUTCOME ||
		(kind >= ENTRY_MARKER) != (*format == ENTRY_FORMAT_SEVERAL) || out->txn.node == 0 || out->txn.counter == 0)
		return ND_INVALID;
	out->kind = (EntryKind) kind;
	return ND_OK;
}

NdStatus entry_peek(const void *data, size_t len, EntryHeader *out)
{
	NdReader	r;
	uint8_t		format;

	nd_reader_init(&r, data, len);
	return take_head(&r, &format, out);
}

bool entry_has_reads(const void *data, size_t len)
{
	return len > 0 && *(const uint8_t *) data == ENTRY_FORMAT_READS;
}

/* What stands behind the base in a MARKER and an OUTCOME. */
static bool take_place(NdReader *r, EntryHeader *out)
{
	uint64_t	group = 0;
	uint64_t	n;

	out->position = nd_read_u64(r);
	out->previous = nd_read_u64(r);
	n = nd_read_varint(r);
	if (r->failed || out->position == 0 || n == 0 || n > ENTRY_GROUPS_MAX)
		return false;
	out->n_groups = (uint32_t) n;
	out->groups = r->p;
	for (uint32_t i = 0; i < out->n_groups; i++)
	{
		uint64_t	step = nd_read_varint(r);

		if (r->failed || step == 0 || step > UINT32_MAX - group)
			return false;
		group += step;
	}
	if (out->kind == ENTRY_MARKER)
		return out->previous < out->position;
	out->decision = nd_read_u64(r);
	return !r->failed && out->previous < out->decision && out->flags <= 1 && out->base == 0 && nd_reader_left(r) == 0;
}

NdStatus entry_decode(const void *data, size_t len, EntryHeader *out)
{
	NdReader	r;
	uint8_t		format;
	NdStatus	status;
	uint64_t	n;
	uint64_t	index = 0;

	nd_reader_init(&r, data, len);
	status = take_head(&r, &format, out);
	if (status != ND_OK)
		return status;
	out->n_keys = 0;
	out->read_base = 0;
	out->n_reads = 0;
	out->reads = NULL;
	out->n_chunks = 0;
	out->position = out->previous = out->decision = 0;
	out->n_groups = 0;
	if (format == ENTRY_FORMAT_SEVERAL && !take_place(&r, out))
		return ND_INVALID;
	if (out->kind == ENTRY_OUTCOME)
	{
		out->keys = out->chunks = out->body = r.p;
		out->body_len = 0;
		return ND_OK;
	}
	if (!take_keys(&r, &out->n_keys, &out->keys))
		return ND_INVALID;
	if (format >= ENTRY_FORMAT_READS)
	{
		out->read_base = nd_read_u64(&r);
		if (!take_keys(&r, &out->n_reads, &out->reads) || out->read_base > out->base)
			return ND_INVALID;
		/* one encoding: without reads there is no format 2, and no read base */
		if (format == ENTRY_FORMAT_READS ? out->n_reads == 0 || out->kind != ENTRY_TXN : out->n_reads == 0 && out->read_base != 0)
			return ND_INVALID;
	}

	n = nd_read_varint(&r);
	if (r.failed || n > UINT32_MAX || n > nd_reader_left(&r))
		return ND_INVALID;
	out->n_chunks = (uint32_t) n;
	out->chunks = r.p;
	for (uint32_t i = 0; i < out->n_chunks; i++)
	{
		uint64_t	step = nd_read_varint(&r);

		if (r.failed || step == 0 || step > UINT64_MAX - index)
			return ND_INVALID;
		index += step;
	}
	out->body = r.p;
	out->body_len = nd_reader_left(&r);
	return ND_OK;
}

EntryKey entry_key(const EntryHeader *h, uint32_t i)
{
	return key_at(h->keys, i);
}

EntryKey entry_read(const EntryHeader *h, uint32_t i)
{
	return key_at(h->reads, i);
}

void entry_chunks(const EntryHeader *h, uint64_t *out)
{
	NdReader	r;
	uint64_t	index = 0;

	nd_reader_init(&r, h->chunks, (size_t) (h->body - h->chunks));
	for (uint32_t i = 0; i < h->n_chunks; i++)
	{
		index += nd_read_varint(&r);
		out[i] = index;
	}
}

void entry_groups(const EntryHeader *h, NdGroupId *out)
{
	NdReader	r;
	NdGroupId	group = 0;

	nd_reader_init(&r, h->groups, (size_t) (h->keys - h->groups));
	for (uint32_t i = 0; i < h->n_groups; i++)
	{
		group += (NdGroupId) nd_read_varint(&r);
		out[i] = group;
	}
}

bool entry_reserve_waits(const EntryHeader *h, uint64_t *age)
{
	NdReader	r;

	*age = 0;
	if (h->kind != ENTRY_RESERVE || h->body_len == 0)
		return false;
	nd_reader_init(&r, h->body, h->body_len);
	*age = nd_read_varint(&r);
	if (!r.failed && *age <= ENTRY_AGE_MAX)
		return true;
	*age = 0;
	return false;
}

/*
 * The two tables of PostgreSQL: "Conflicting Row-Level Locks" and "Conflicting Lock Modes" of its manual, section 13.3. Every lock that
 * can block an applier is a certification conflict and the other way round (DESIGN.md, section 2), so these must be the same tables.
 */
bool key_modes_conflict(uint8_t a, uint8_t b)
{
#define M(mode) (1u << ((mode) & 15))
	static const uint16_t row[4] = {
		[KEY_ROW_SHARE_KEY] = M(KEY_ROW_UPDATE),
		[KEY_ROW_SHARE] = M(KEY_ROW_NO_KEY_UPDATE) | M(KEY_ROW_UPDATE),
		[KEY_ROW_NO_KEY_UPDATE] = M(KEY_ROW_SHARE) | M(KEY_ROW_NO_KEY_UPDATE) | M(KEY_ROW_UPDATE),
		[KEY_ROW_UPDATE] = M(KEY_ROW_SHARE_KEY) | M(KEY_ROW_SHARE) | M(KEY_ROW_NO_KEY_UPDATE) | M(KEY_ROW_UPDATE)
	};
#define AS M(KEY_REL_ACCESS_SHARE)
#define RS M(KEY_REL_ROW_SHARE)
#define RX M(KEY_REL_ROW_EXCLUSIVE)
#define SUX M(KEY_REL_SHARE_UPDATE_EXCLUSIVE)
#define S M(KEY_REL_SHARE)
#define SRX M(KEY_REL_SHARE_ROW_EXCLUSIVE)
#define X M(KEY_REL_EXCLUSIVE)
#define AX M(KEY_REL_ACCESS_EXCLUSIVE)
	static const uint16_t relation[9] = {
		[KEY_REL_ACCESS_SHARE - 16] = AX,
		[KEY_REL_ROW_SHARE - 16] = X | AX,
		[KEY_REL_ROW_EXCLUSIVE - 16] = S | SRX | X | AX,
		[KEY_REL_SHARE_UPDATE_EXCLUSIVE - 16] = SUX | S | SRX | X | AX,
		[KEY_REL_SHARE - 16] = RX | SUX | SRX | X | AX,
		[KEY_REL_SHARE_ROW_EXCLUSIVE - 16] = RX | SUX | S | SRX | X | AX,
		[KEY_REL_EXCLUSIVE - 16] = RS | RX | SUX | S | SRX | X | AX,
		[KEY_REL_ACCESS_EXCLUSIVE - 16] = AS | RS | RX | SUX | S | SRX | X | AX
	};
#undef AS
#undef RS
#undef RX
#undef SUX
#undef S
#undef SRX
#undef X
#undef AX

	if (!key_mode_valid(a) || !key_mode_valid(b) || (a < 16) != (b < 16))
		return false;
	return ((a < 16 ? row[a] : relation[a - 16]) & M(b)) != 0;
#undef M
}

int txnid_compare(TxnId a, TxnId b)
{
	if (a.node != b.node)
		return a.node < b.node ? -1 : 1;
	if (a.incarnation != b.incarnation)
		return a.incarnation < b.incarnation ? -1 : 1;
	if (a.counter != b.counter)
		return a.counter < b.counter ? -1 : 1;
	return 0;
}
