/*
 * loopback.h: transports of several nodes in one process and one thread, for tests of what stands above transport.h.
 *
 * Deterministic: nothing runs but in a caller's call; what was sent arrives in the receiver's next poll(), in order. There is no clock, so
 * transport_request() has no time limit here: it fails at once when nobody listens at the address, and when the asked node goes away.
 */
#ifndef ND_LOOPBACK_H
#define ND_LOOPBACK_H

#include "transport.h"

typedef struct LoopbackHub LoopbackHub;

LoopbackHub *loopback_hub_create(void);		/* NULL: no memory */
void		loopback_hub_destroy(LoopbackHub *hub);	/* after all its transports were destroyed */

/*
 * A transport at this hub. Used of the configuration: cluster_id, self, incarnation, listen (the name transport_request() finds it by; copied),
 * send_queue_bytes_max (bytes not yet polled by one receiver; 0: no bound).
 * Two transports are connected when each has the other as a peer, the handshake's rules hold and nothing is cut. ND_OK or ND_NOMEM.
 */
NdStatus	loopback_create(LoopbackHub *hub, const TransportConfig *config, const TransportCallbacks *callbacks, Transport **out);

/* Cut the connection of two nodes, or mend it. Frames not yet polled are lost, as with a broken stream. ND_OK or ND_NOMEM. */
NdStatus	loopback_cut(LoopbackHub *hub, NdNodeId a, NdNodeId b, bool cut);

#endif
