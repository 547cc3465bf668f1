/*
 * fuzz_join.c: any bytes as a join request and as the answer to one: they come from nodes that are not members. What is accepted encodes to bytes
 * that decode to the same.
 */
#include "../../src/core/wire/wire.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static WireJoinRequest request[2];
	static WireJoinAnswer answer[2];
	uint8_t		hash[WIRE_TOKEN_HASH_BYTES];
	NdBuf		buf;

	nd_buf_init(&buf);
	if (wire_decode_join_request(data, size, &request[0]) == ND_OK)
	{
		MUST(wire_encode_join_request(&request[0], &buf) == ND_OK);
		MUST(wire_decode_join_request(buf.data, buf.len, &request[1]) == ND_OK);
		/* behind the end of a text stand zeros: they were cleared */
		MUST(memcmp(&request[0], &request[1], sizeof(request[0])) == 0);
		wire_token_hash(request[0].token, strlen(request[0].token), hash);
		MUST(wire_token_equal(hash, hash));
	}
	nd_buf_reset(&buf);
	if (wire_decode_join_answer(data, size, &answer[0]) == ND_OK)
	{
		MUST(answer[0].n_members <= RAFT_MEMBERS_MAX);
		MUST(wire_encode_join_answer(&answer[0], &buf) == ND_OK);
		MUST(wire_decode_join_answer(buf.data, buf.len, &answer[1]) == ND_OK);
		MUST(memcmp(&answer[0], &answer[1], sizeof(answer[0])) == 0);
	}
	nd_buf_free(&buf);
	return 0;
}
