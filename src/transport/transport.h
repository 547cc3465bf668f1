/*
 * transport.h: bytes between nodes. One ordered, unreliable stream per pair of nodes carries frames (core/wire encodes them);
 * a frame may be lost when a stream breaks, never torn, doubled or reordered inside one stream's life. Raft above tolerates all of it anyway.
 *
 * grpc.c is the real one (the only gRPC, with threads of its own that touch nothing but queues); loopback.c connects nodes in one process
 * for tests. All functions here are called from one thread, the driver's; callbacks run inside transport_poll() on that thread.
 *
 * Handshake, both directions, before the first frame: cluster id, node id, incarnation, wire version range, endianness.
 * A peer of another cluster, an unexpected id, an incarnation lower than one seen, no common version: refused, `refused` is told why.
 */
#ifndef ND_TRANSPORT_H
#define ND_TRANSPORT_H

#include "../core/base/base.h"

#define WIRE_VERSION_MIN 1
#define WIRE_VERSION_MAX 1
#define TRANSPORT_FRAME_BYTES_MAX (16u << 20)	/* larger frames: ND_TOOBIG at send */

typedef struct TransportCallbacks
{
	void		(*frame)(void *ctx, NdNodeId from, const uint8_t *data, size_t len);
	void		(*peer_up)(void *ctx, NdNodeId peer, uint32_t incarnation);
	void		(*peer_down)(void *ctx, NdNodeId peer);
	/* A connection was refused (by us or by the peer); text is one line for the log, without secrets. */
	void		(*refused)(void *ctx, const char *peer_address, const char *text);
	/* A join request from a node that is no member yet. Answer with transport_answer(request_id, ...), once, now or later. */
	void		(*request)(void *ctx, uint64_t request_id, const uint8_t *data, size_t len);
	/* The answer to transport_request(); len 0 and ok = false when the peer could not be reached or the time ran out. */
	void		(*answer)(void *ctx, uint64_t request_id, bool ok, const uint8_t *data, size_t len);
	void		(*log)(void *ctx, int level, const char *text);	/* 0 debug, 1 log, 2 warning */
	void	   *ctx;
} TransportCallbacks;

typedef struct TransportConfig
{
	uint64_t	cluster_id;
	NdNodeId	self;			/* 0: not a member yet; only transport_request() works */
	uint32_t	incarnation;
	const char *listen;			/* host:port to bind; NULL: do not listen */
	const char *tls_cert_file;	/* PEM; all three or none. With them both sides must present a certificate of this CA. */
	const char *tls_key_file;
	const char *tls_ca_file;
	uint64_t	send_queue_bytes_max;	/* per peer; above it send says ND_BUSY */
	uint64_t	receive_queue_bytes_max;	/* not yet polled; above it the stream is not read */
	uint32_t	keepalive_ms;
	uint32_t	drain_ms;		/* destroy: how long frames that were taken may need to arrive; 0: 100 */
} TransportConfig;

typedef struct Transport Transport;
typedef struct TransportOps
{
	NdStatus	(*set_peer)(Transport *t, NdNodeId peer, const char *address);	/* add or change; connects by itself, for ever */
	NdStatus	(*remove_peer)(Transport *t, NdNodeId peer);
	NdStatus	(*send)(Transport *t, NdNodeId peer, const uint8_t *data, size_t len);	/* copies; ND_BUSY, ND_NOTFOUND (not connected), ND_TOOBIG */
	bool		(*connected)(Transport *t, NdNodeId peer);
	/* One-shot request to an address (join, before membership). Answer through callbacks.answer within timeout_ms. */
	NdStatus	(*request)(Transport *t, const char *address, uint64_t request_id, const uint8_t *data, size_t len, uint32_t timeout_ms);
	NdStatus	(*answer)(Transport *t, uint64_t request_id, const uint8_t *data, size_t len);
	int			(*fd)(Transport *t);		/* readable when poll has work; -1: none (loopback) */
	void		(*poll)(Transport *t);		/* run callbacks for all that has come */
	void		(*destroy)(Transport *t);	/* orderly: frames that were taken arrive at peers that read, within drain_ms and some 50 ms */
} TransportOps;

struct Transport
{
	const TransportOps *ops;
};

/* error gets a sentence for people (address in use, unreadable certificate ...). */
NdStatus	transport_grpc_create(const TransportConfig *config, const TransportCallbacks *callbacks, Transport **out, char *error, size_t error_len);

#endif
