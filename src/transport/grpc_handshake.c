/*
 * grpc_handshake.c: who is at the other end: one metadata entry in each direction, before the first frame.
 *
 * Owns: the entry's text form, "1 <cluster, 16 hex digits> <node> <incarnation> <wire min> <wire max> <l|b>". The first number is the
 * version of the form itself.
 *
 * Invariants:
 * 1. What comes from outside is read strictly and bounded; anything else is "malformed", never half understood.
 * 2. Both sides judge with the same function, each for itself: a side never relies on having been judged.
 */
#include "grpc_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HELLO_KEY "nodedb-hello"

void transport__hello_own(const Net *net, Hello *hello)
{
	hello->cluster_id = net->cluster_id;
	hello->node = net->self;
	hello->incarnation = net->incarnation;
	hello->wire_min = WIRE_VERSION_MIN;
	hello->wire_max = WIRE_VERSION_MAX;
	hello->little_endian = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
}

grpc_metadata transport__hello_metadata(const Hello *hello)
{
	grpc_metadata md;
	char		text[96];

	snprintf(text, sizeof text, "1 %016" PRIx64 " %u %u %u %u %c", hello->cluster_id, hello->node, hello->incarnation, hello->wire_min,
			 hello->wire_max, hello->little_endian ? 'l' : 'b');
	memset(&md, 0, sizeof md);
	md.key = grpc_slice_from_static_string(HELLO_KEY);
	md.value = grpc_slice_from_copied_string(text);
	return md;
}

/* One unsigned number in this base, at most `max`, and the space behind it. */
static bool read_number(NdReader *r, unsigned base, uint64_t max, uint64_t *out)
{
	uint64_t	value = 0;
	unsigned	digits = 0;

	for (;;)
	{
		uint8_t		c = nd_read_u8(r);
		unsigned	digit;

		if (r->failed)
			return false;
		if (c == ' ')
			break;
		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if (c >= 'a' && c <= 'f')
			digit = c - 'a' + 10u;
		else
			return false;
		if (digit >= base || value > (max - digit) / base)
			return false;
		value = value * base + digit;
		digits++;
	}
	*out = value;
	return digits > 0;
}

bool transport__hello_read(const grpc_metadata_array *metadata, Hello *hello)
{
	for (size_t i = 0; i < metadata->count; i++)
	{
		const grpc_slice *value = &metadata->metadata[i].value;
		NdReader	r;
		uint64_t	form,
					cluster,
					node,
					incarnation,
					wire_min,
					wire_max;
		uint8_t		order;

		if (grpc_slice_str_cmp(metadata->metadata[i].key, HELLO_KEY) != 0)
			continue;
		nd_reader_init(&r, GRPC_SLICE_START_PTR(*value), GRPC_SLICE_LENGTH(*value));
		if (!read_number(&r, 10, UINT32_MAX, &form) || form != 1 || !read_number(&r, 16, UINT64_MAX, &cluster) ||
			!read_number(&r, 10, UINT32_MAX, &node) || !read_number(&r, 10, UINT32_MAX, &incarnation) ||
			!read_number(&r, 10, UINT32_MAX, &wire_min) || !read_number(&r, 10, UINT32_MAX, &wire_max))
			return false;
		order = nd_read_u8(&r);
		if (r.failed || nd_reader_left(&r) != 0 || (order != 'l' && order != 'b'))
			return false;
		hello->cluster_id = cluster;
		hello->node = (NdNodeId) node;
		hello->incarnation = (uint32_t) incarnation;
		hello->wire_min = (uint32_t) wire_min;
		hello->wire_max = (uint32_t) wire_max;
		hello->little_endian = order == 'l';
		return true;
	}
	return false;
}

bool transport__hello_fits(const Hello *ours, const Hello *theirs, bool request, char *why, size_t why_len)
{
	/* Keys are hashed and entries written in the machine's order in places: a cluster has one byte order. */
	if (ours->little_endian != theirs->little_endian)
		snprintf(why, why_len, "the byte orders of the two machines differ");
	else if (theirs->wire_max < ours->wire_min || theirs->wire_min > ours->wire_max)
		snprintf(why, why_len, "no common wire version: %u to %u there, %u to %u here", theirs->wire_min, theirs->wire_max, ours->wire_min,
				 ours->wire_max);
	else if (theirs->cluster_id != ours->cluster_id && !(request && (theirs->cluster_id == 0 || ours->cluster_id == 0)))
		snprintf(why, why_len, "another cluster: id %016" PRIx64 " there, %016" PRIx64 " here", theirs->cluster_id, ours->cluster_id);
	else if (!request && (theirs->node == 0 || ours->node == 0))
		snprintf(why, why_len, "a node without an id can only ask to join");
	else if (!request && theirs->node == ours->node)
		snprintf(why, why_len, "it says it is node %u, and so is this node; is one of them a copy of the data directory?", ours->node);
	else
		return true;
	return false;
}
