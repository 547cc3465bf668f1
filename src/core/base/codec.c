/*
 * codec.c: the growing writer and the bounded reader; little-endian whatever the machine.
 *
 * Invariants:
 * 1. Writer: after a failed allocation `failed` stays set until nd_buf_reset() or nd_buf_free() and no byte is added, so a caller
 *    checks once, at the end.
 * 2. Reader: after a failure it stands at its end, so nothing is read any more and every loop over it ends.
 * 3. A varint has one encoding per value: overlong forms are refused, else equal values could have unequal bytes.
 */
#include "base.h"

#include <string.h>

#define VARINT_BYTES_MAX 10

void nd_buf_init(NdBuf *buf)
{
	buf->data = NULL;
	buf->len = 0;
	buf->cap = 0;
	buf->failed = false;
}

void nd_buf_free(NdBuf *buf)
{
	nd_free(buf->data);
	nd_buf_init(buf);
}

void nd_buf_reset(NdBuf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

static bool buf_reserve(NdBuf *buf, size_t more)
{
	size_t		cap = buf->cap > 0 ? buf->cap : 64;
	uint8_t    *data;

	if (buf->failed)
		return false;
	if (more <= buf->cap - buf->len)
		return true;
	if (more > SIZE_MAX / 2 - buf->len)
	{
		buf->failed = true;
		return false;
	}
	while (cap < buf->len + more)
		cap *= 2;
	data = nd_realloc(buf->data, cap);
	if (data == NULL)
	{
		buf->failed = true;
		return false;
	}
	buf->data = data;
	buf->cap = cap;
	return true;
}

void nd_buf_bytes(NdBuf *buf, const void *data, size_t len)
{
	if (len == 0 || !buf_reserve(buf, len))
		return;
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
}

static void buf_le(NdBuf *buf, uint64_t v, size_t n)
{
	if (!buf_reserve(buf, n))
		return;
	for (size_t i = 0; i < n; i++)
		buf->data[buf->len + i] = (uint8_t) (v >> (8 * i));
	buf->len += n;
}

void nd_buf_u8(NdBuf *buf, uint8_t v)
{
	buf_le(buf, v, 1);
}

void nd_buf_u16(NdBuf *buf, uint16_t v)
{
	buf_le(buf, v, 2);
}

void nd_buf_u32(NdBuf *buf, uint32_t v)
{
	buf_le(buf, v, 4);
}

void nd_buf_u64(NdBuf *buf, uint64_t v)
{
	buf_le(buf, v, 8);
}

void nd_buf_varint(NdBuf *buf, uint64_t v)
{
	uint8_t		bytes[VARINT_BYTES_MAX];
	size_t		n = 0;

	while (v >= 0x80)
	{
		bytes[n++] = (uint8_t) (v | 0x80);
		v >>= 7;
	}
	bytes[n++] = (uint8_t) v;
	nd_buf_bytes(buf, bytes, n);
}

void nd_reader_init(NdReader *r, const void *data, size_t len)
{
	static const uint8_t nothing[1];

	/* pointer arithmetic on NULL is undefined: an empty input may come as NULL */
	r->p = data != NULL ? data : nothing;
	r->end = r->p + (data != NULL ? len : 0);
	r->failed = data == NULL && len > 0;
}

size_t nd_reader_left(const NdReader *r)
{
	return (size_t) (r->end - r->p);
}

const uint8_t *nd_read_bytes(NdReader *r, size_t len)
{
	const uint8_t *p = r->p;

	if (r->failed || len > nd_reader_left(r))
	{
		r->failed = true;
		r->p = r->end;
		return NULL;
	}
	r->p += len;
	return p;
}

static uint64_t read_le(NdReader *r, size_t n)
{
	const uint8_t *p = nd_read_bytes(r, n);
	uint64_t	v = 0;

	if (p != NULL)
		for (size_t i = 0; i < n; i++)
			v |= (uint64_t) p[i] << (8 * i);
	return v;
}

uint8_t nd_read_u8(NdReader *r)
{
	return (uint8_t) read_le(r, 1);
}

uint16_t nd_read_u16(NdReader *r)
{
	return (uint16_t) read_le(r, 2);
}

uint32_t nd_read_u32(NdReader *r)
{
	return (uint32_t) read_le(r, 4);
}

uint64_t nd_read_u64(NdReader *r)
{
	return read_le(r, 8);
}

uint64_t nd_read_varint(NdReader *r)
{
	uint64_t	v = 0;

	for (int i = 0; i < VARINT_BYTES_MAX; i++)
	{
		const uint8_t *p = nd_read_bytes(r, 1);

		if (p == NULL)
			return 0;
		/* the tenth byte holds the 64th bit only; a last byte of zero is an overlong form */
		if ((i == VARINT_BYTES_MAX - 1 && *p > 1) || (i > 0 && *p == 0))
			break;
		v |= (uint64_t) (*p & 0x7f) << (7 * i);
		if ((*p & 0x80) == 0)
			return v;
	}
	r->failed = true;
	r->p = r->end;
	return 0;
}

/* ---- sealed bytes ---- */

#define SEAL_HEADER_BYTES 6
#define SEAL_CHECKSUM_BYTES 8

size_t nd_seal_begin(NdBuf *buf, uint32_t magic, uint16_t version)
{
	size_t		start = buf->len;

	nd_buf_u32(buf, magic);
	nd_buf_u16(buf, version);
	return start;
}

void nd_seal_end(NdBuf *buf, size_t start)
{
	if (!buf->failed)
		nd_buf_u64(buf, nd_checksum(buf->data + start, buf->len - start, 0));
}

NdStatus nd_seal_open(NdReader *r, const void *data, size_t len, uint32_t magic, uint16_t version)
{
	NdReader	tail;

	if (len < SEAL_HEADER_BYTES + SEAL_CHECKSUM_BYTES)
		return ND_DAMAGED;
	len -= SEAL_CHECKSUM_BYTES;
	nd_reader_init(&tail, (const uint8_t *) data + len, SEAL_CHECKSUM_BYTES);
	if (nd_read_u64(&tail) != nd_checksum(data, len, 0))
		return ND_DAMAGED;
	nd_reader_init(r, data, len);
	if (nd_read_u32(r) != magic)
		return ND_DAMAGED;
	/* behind the checksum, which is at the end in every version: damage must not pass for a newer version */
	return nd_read_u16(r) == version ? ND_OK : ND_VERSION;
}
