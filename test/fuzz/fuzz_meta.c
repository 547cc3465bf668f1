/*
 * fuzz_meta.c: any bytes as what group 0 keeps: a configuration, a member's context, the meta record, a wish for more data groups. They come from the leader's log or the own disk.
 * A configuration that is accepted encodes to the same bytes, the others to bytes that mean the same.
 */
#include "../../src/core/wire/wire.h"

#include "fuzz.h"

static void configuration(const uint8_t *data, size_t size)
{
	static RaftConfiguration c;
	static RaftConfiguration target;
	NdBuf		buf;

	if (raft_configuration_decode(data, size, &c) != ND_OK)
		return;
	nd_buf_init(&buf);
	MUST(raft_configuration_encode(&c, &buf) == ND_OK);
	MUST_EQUAL(buf.data, buf.len, data, size);
	for (uint32_t i = 0; i < c.n; i++)
		MUST(raft_configuration_find(&c, c.members[i].node) == &c.members[i]);
	/* what a joint one becomes is a configuration as well */
	raft_configuration_target(&c, &target);
	nd_buf_reset(&buf);
	MUST(raft_configuration_encode(&target, &buf) == ND_OK);
	MUST(raft_configuration_decode(buf.data, buf.len, &c) == ND_OK && !c.joint);
	nd_buf_free(&buf);
}

static void member(const uint8_t *data, size_t size)
{
	static RaftMember raft[2];
	static WireMember m[2];

	if (size > RAFT_CONTEXT_MAX)
		return;
	memset(raft, 0, sizeof(raft));
	raft[0].node = 7;
	raft[0].role = RAFT_VOTER;
	raft[0].context_len = (uint8_t) size;
	memcpy(raft[0].context, data, size);
	if (wire_member_from_raft(&raft[0], &m[0]) != ND_OK)
		return;
	MUST(wire_member_to_raft(&m[0], &raft[1]) == ND_OK);
	MUST(wire_member_from_raft(&raft[1], &m[1]) == ND_OK);
	MUST(strcmp(m[0].name, m[1].name) == 0 && strcmp(m[0].address, m[1].address) == 0);
	MUST(m[0].node == m[1].node && m[0].role == m[1].role && m[0].host_id == m[1].host_id && m[0].leaving == m[1].leaving);
}

static void meta(const uint8_t *data, size_t size)
{
	WireMeta	m[2];
	NdBuf		buf;

	if (wire_decode_meta(data, size, &m[0]) != ND_OK)
		return;
	nd_buf_init(&buf);
	MUST(wire_encode_meta(&m[0], &buf) == ND_OK);
	MUST(wire_decode_meta(buf.data, buf.len, &m[1]) == ND_OK);
	MUST(m[0].highest_node == m[1].highest_node && m[0].n_data_groups == m[1].n_data_groups && m[0].has_token == m[1].has_token);
	MUST(m[0].certifier_keys_max == m[1].certifier_keys_max && m[0].certifier_ids_max == m[1].certifier_ids_max);
	MUST(wire_token_equal(m[0].token_hash, m[1].token_hash) && m[0].replication_factor == m[1].replication_factor);
	nd_buf_free(&buf);
}

static void growth(const uint8_t *data, size_t size)
{
	uint32_t	n;
	NdBuf		buf;

	if (wire_decode_growth(data, size, &n) != ND_OK)
		return;
	nd_buf_init(&buf);
	MUST(wire_encode_growth(n, &buf) == ND_OK);
	MUST_EQUAL(buf.data, buf.len, data, size);
	nd_buf_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	configuration(data, size);
	member(data, size);
	meta(data, size);
	growth(data, size);
	return 0;
}
