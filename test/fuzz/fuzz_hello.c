/*
 * fuzz_hello.c: any bytes as the text by which a peer says who it is, before anything else is known of it. What is accepted is said again in a
 * text that means the same, and is judged alike by both sides.
 */
#include "../../src/transport/grpc_internal.h"

#include "fuzz.h"

static bool read_hello(grpc_slice value, Hello *hello)
{
	grpc_metadata md = {.key = grpc_slice_from_static_string("nodedb-hello"), .value = value};
	grpc_metadata_array array = {1, 1, &md};

	return transport__hello_read(&array, hello);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Hello		ours = {.cluster_id = 1, .node = 1, .incarnation = 1, .wire_min = 1, .wire_max = 1, .little_endian = true};
	Hello		theirs;
	Hello		again;
	char		why[200];

	if (read_hello(grpc_slice_from_static_buffer(data, size), &theirs))
	{
		grpc_metadata md = transport__hello_metadata(&theirs);

		MUST(read_hello(md.value, &again));
		grpc_slice_unref(md.value);
		MUST(theirs.cluster_id == again.cluster_id && theirs.node == again.node && theirs.incarnation == again.incarnation);
		MUST(theirs.wire_min == again.wire_min && theirs.wire_max == again.wire_max && theirs.little_endian == again.little_endian);
		for (int request = 0; request < 2; request++)
			MUST(transport__hello_fits(&ours, &theirs, request, why, sizeof(why)) == transport__hello_fits(&theirs, &ours, request, why, sizeof(why)));
	}
	return 0;
}
