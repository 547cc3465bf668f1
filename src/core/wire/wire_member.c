/*
 * wire_member.c: what group 0 keeps about the cluster: a member's context in its configuration, and the meta record among its entries.
 *
 * Context of a member (at most RAFT_CONTEXT_MAX bytes; the sizes in wire.h keep it below):
 *   u8 format (1)  u8 flags (1 = leaving)  u64 host id  u8 name length, name  u8 address length, address
 * Meta record:
 *   u8 format (1, with a replication factor 2)  u8 type (1)  u32 highest node id  u32 data groups  u64 certifier keys_max  u64 ids_max  u8 has token  32 bytes token hash
 *   only in format 2: u32 replication factor
 * A wish for more data groups, which is sent to the leader of group 0 and stands in no log:
 *   u8 format (1)  u8 type (2)  u32 data groups
 */
#include <string.h>

#include "wire.h"

#define CONTEXT_FORMAT 1
#define CONTEXT_LEAVING 1
#define META_FORMAT 2			/* newest; a record without what it brought is still written as 1 */
#define META_TYPE 1
#define GROWTH_FORMAT 1
#define GROWTH_TYPE 2

_Static_assert(2 + 8 + 1 + (ND_NAME_MAX - 1) + 1 + (ND_ADDRESS_MAX - 1) <= RAFT_CONTEXT_MAX, "a member's context must fit");

/* Length of a text in a field of cap bytes; cap when it is not terminated. */
static size_t text_len(const char *text, size_t cap)
{
	const char *end = memchr(text, '\0', cap);

	return end == NULL ? cap : (size_t) (end - text);
}

NdStatus wire_member_to_raft(const WireMember *m, RaftMember *out)
{
	size_t		name_len = text_len(m->name, ND_NAME_MAX);
	size_t		address_len = text_len(m->address, ND_ADDRESS_MAX);
	uint8_t    *p = out->context;

	if (m->node == 0 || name_len == ND_NAME_MAX || address_len == ND_ADDRESS_MAX)
		return ND_INVALID;
	memset(out, 0, sizeof(*out));
	out->node = m->node;
	out->role = m->role;
	*p++ = CONTEXT_FORMAT;
	*p++ = m->leaving ? CONTEXT_LEAVING : 0;
	for (int i = 0; i < 8; i++)
		*p++ = (uint8_t) (m->host_id >> (8 * i));
	*p++ = (uint8_t) name_len;
	memcpy(p, m->name, name_len);
	p += name_len;
	*p++ = (uint8_t) address_len;
	memcpy(p, m->address, address_len);
	p += address_len;
	out->context_len = (uint8_t) (p - out->context);
	return ND_OK;
}

static bool read_text(NdReader *r, char *out, size_t cap)
{
	size_t		len = nd_read_u8(r);
	const uint8_t *p = len < cap ? nd_read_bytes(r, len) : NULL;

	if (p == NULL || r->failed)
		return false;
	memcpy(out, p, len);
	out[len] = '\0';
	return true;
}

NdStatus wire_member_from_raft(const RaftMember *m, WireMember *out)
{
	NdReader	r;
	uint8_t		format;

	memset(out, 0, sizeof(*out));
	nd_reader_init(&r, m->context, m->context_len);
	format = nd_read_u8(&r);
	if (!r.failed && format > CONTEXT_FORMAT)
		return ND_VERSION;
	out->node = m->node;
	out->role = m->role;
	out->leaving = (nd_read_u8(&r) & CONTEXT_LEAVING) != 0;
	out->host_id = nd_read_u64(&r);
	if (!read_text(&r, out->name, sizeof(out->name)) || !read_text(&r, out->address, sizeof(out->address)))
		return ND_INVALID;
	return r.failed || format != CONTEXT_FORMAT || nd_reader_left(&r) > 0 ? ND_INVALID : ND_OK;
}

NdStatus wire_encode_meta(const WireMeta *m, NdBuf *out)
{
	nd_buf_u8(out, m->replication_factor > 0 ? META_FORMAT : 1);
	nd_buf_u8(out, META_TYPE);
	nd_buf_u32(out, m->highest_node);
	nd_buf_u32(out, m->n_data_groups);
	nd_buf_u64(out, m->certifier_keys_max);
	nd_buf_u64(out, m->certifier_ids_max);
	nd_buf_u8(out, m->has_token);
	nd_buf_bytes(out, m->token_hash, sizeof(m->token_hash));
	if (m->replication_factor > 0)
		nd_buf_u32(out, m->replication_factor);
	return out->failed ? ND_NOMEM : ND_OK;
}

NdStatus wire_decode_meta(const uint8_t *data, size_t len, WireMeta *out)
{
	NdReader	r;
	uint8_t		format;
	uint8_t		type;
	const uint8_t *hash;

	memset(out, 0, sizeof(*out));
	nd_reader_init(&r, data, len);
	format = nd_read_u8(&r);
	type = nd_read_u8(&r);
	if (!r.failed && (format > META_FORMAT || type > META_TYPE))
		return ND_VERSION;
	out->highest_node = nd_read_u32(&r);
	out->n_data_groups = nd_read_u32(&r);
	out->certifier_keys_max = nd_read_u64(&r);
	out->certifier_ids_max = nd_read_u64(&r);
	out->has_token = nd_read_u8(&r) != 0;
	hash = nd_read_bytes(&r, sizeof(out->token_hash));
	if (format == META_FORMAT)
		out->replication_factor = nd_read_u32(&r);
	if (r.failed || format < 1 || (format == META_FORMAT && out->replication_factor == 0) || type != META_TYPE || nd_reader_left(&r) > 0)
		return ND_INVALID;
	memcpy(out->token_hash, hash, sizeof(out->token_hash));
	return ND_OK;
}

NdStatus wire_encode_growth(uint32_t n_data_groups, NdBuf *out)
{
	nd_buf_u8(out, GROWTH_FORMAT);
	nd_buf_u8(out, GROWTH_TYPE);
	nd_buf_u32(out, n_data_groups);
	return out->failed ? ND_NOMEM : ND_OK;
}

NdStatus wire_decode_growth(const uint8_t *data, size_t len, uint32_t *n_data_groups)
{
	NdReader	r;
	uint8_t		format;
	uint8_t		type;

	nd_reader_init(&r, data, len);
	format = nd_read_u8(&r);
	type = nd_read_u8(&r);
	if (!r.failed && (format > GROWTH_FORMAT || type > GROWTH_TYPE))
		return ND_VERSION;
	*n_data_groups = nd_read_u32(&r);
	return r.failed || format != GROWTH_FORMAT || type != GROWTH_TYPE || nd_reader_left(&r) > 0 ? ND_INVALID : ND_OK;
}
