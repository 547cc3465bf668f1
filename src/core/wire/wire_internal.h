/*
 * wire_internal.h: what the files of the wire module share: protobuf-c's memory comes from nd_alloc(), its output goes to an NdBuf.
 */
#ifndef ND_WIRE_INTERNAL_H
#define ND_WIRE_INTERNAL_H

#include <protobuf-c/protobuf-c.h>

#include "nodedb.pb-c.h"
#include "wire.h"

/* nd_alloc() for protobuf-c, which does not tell bad bytes from no memory by itself. */
typedef struct WireMemory
{
	ProtobufCAllocator base;
	bool		failed;
} WireMemory;

void		wire__memory_init(WireMemory *m);

void		wire__pack(NdBuf *out, const ProtobufCMessage *m);

/* wire_frame.c: ND_OK, ND_INVALID, ND_VERSION */
NdStatus	wire__check_configuration(const ProtobufCBinaryData *bytes);

/* wire_snapshot.c, for wire_decode() */
NdStatus	wire__check_snapshots(const Nodedb__Frame *f);
NdStatus	wire__hand_snapshots(const Nodedb__Frame *f, const WireSink *sink);

#endif
