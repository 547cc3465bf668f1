/*
 * grpc_internal.h: what the files of the gRPC transport share. Nobody else includes it.
 *
 * Two threads matter. The driver calls the functions of transport.h and runs callbacks in poll(). The network thread (grpc_thread.c) alone
 * calls gRPC for channels, calls and the server. gRPC's own threads run none of this code but the log function.
 *
 *   driver -> network thread   commands (lock-free queue) and frames (Peer.out), announced by a doorbell: a batch without operations
 *                              on a call that goes nowhere, which makes the completion queue return
 *   network thread -> driver   events (lock-free queue), announced by an eventfd
 *
 * Invariants:
 * 1. Every field below says who writes it; what both write is atomic or under Peer.lock. No lock is held across a call of gRPC.
 * 2. A wake-up is never lost: a consumer takes back the signal first and the list after, a producer adds to the list first and signals after.
 * 3. Signals are blocked in the network thread and around every call from the driver that may start a thread of gRPC: PostgreSQL's latches
 *    come by signals, and a signal that lands on a foreign thread is a lost wake-up.
 * 4. Both queues are bounded: Peer.out by send_queue_bytes_max, Peer.in_bytes by receive_queue_bytes_max plus one message, requests by
 *    REQUESTS_MAX, log lines by LOG_LINES_MAX.
 * 5. An event that must come (peer_down, the answer to a request) has its memory before the thing begins.
 */
#ifndef ND_GRPC_INTERNAL_H
#define ND_GRPC_INTERNAL_H

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <stdatomic.h>

#include "transport.h"

#define ADDRESS_BYTES_MAX 256		/* host:port with the terminating zero */
#define TEXT_BYTES_MAX 320			/* one line for people, with the terminating zero */
#define FRAME_HEADER_BYTES 4		/* length of the frame, little-endian, before each frame of a message */
#define BATCH_BYTES_MAX (256u << 10)	/* frames are put together up to this; a larger frame is a message of its own */
#define MESSAGE_BYTES_MAX (TRANSPORT_FRAME_BYTES_MAX + FRAME_HEADER_BYTES)
#define REQUEST_BYTES_MAX (1u << 20)	/* a request, and an answer */
#define REQUESTS_MAX 64				/* open at a time, each way */
#define REQUEST_AGE_MAX_MS 60000	/* an unanswered request of somebody else is dropped then */
#define HANDSHAKE_MS 5000			/* an accepted stream that is not up by then is closed */
#define REDIAL_MIN_MS 50
#define REDIAL_CONNECT_MS 500		/* least time for one attempt to connect */
#define REDIAL_MAX_MS 1000
#define REFUSAL_QUIET_MS 10000		/* one line per address and reason in this time */
#define REFUSALS_KEPT 64
#define LOG_LINES_MAX 256			/* lines of gRPC's own log waiting for poll() */
#define DRAIN_DEFAULT_MS 100		/* destroy: time for queued frames to arrive */
#define STOP_MS 2000				/* destroy: after this the threads are left behind */

typedef struct Net Net;
typedef struct Peer Peer;
typedef struct Stream Stream;

/* ---- queues (grpc_queue.c) ---- */

typedef enum ItemKind
{
	/* events */
	EVENT_MESSAGE,				/* data: frames, each behind its length; checked */
	EVENT_UP,					/* id: incarnation */
	EVENT_DOWN,
	EVENT_REFUSED,				/* data: address, zero, text, zero */
	EVENT_LOG,					/* id: level; ok: said by gRPC, counted; data: text, zero */
	EVENT_REQUEST,				/* id: ours; data */
	EVENT_REQUEST_GONE,			/* id: ours; who asked does not wait any more */
	EVENT_ANSWER,				/* id: the driver's; ok; data */
	/* commands */
	COMMAND_SET_PEER,			/* data: address, zero */
	COMMAND_REMOVE_PEER,
	COMMAND_REQUEST,			/* id: the driver's; timeout_ms; data: address, zero, request */
	COMMAND_ANSWER,				/* id: ours; data */
	COMMAND_STOP
} ItemKind;

typedef struct Item
{
	struct Item *next;
	ItemKind	kind;
	bool		ok;
	uint32_t	timeout_ms;
	uint64_t	id;
	Peer	   *peer;
	struct Item *reserve;		/* COMMAND_REQUEST: the EVENT_ANSWER that says it failed */
	size_t		len;
	uint8_t		data[];
} Item;

typedef struct ItemQueue
{
	_Atomic(Item *) head;		/* newest first */
	int			wake_fd;		/* eventfd, or -1 */
} ItemQueue;

Item	   *transport__item_new(ItemKind kind, size_t len);	/* data not set; NULL: no memory; freed by nd_free() */
bool		transport__queue_init(ItemQueue *q);			/* false: no eventfd (errno) */
void		transport__queue_push(ItemQueue *q, Item *item);	/* any thread */
Item	   *transport__queue_take(ItemQueue *q);			/* all, oldest first; one thread only */
void		transport__queue_close(ItemQueue *q);			/* frees what is left */

/* ---- handshake (grpc_handshake.c) ---- */

typedef struct Hello
{
	uint64_t	cluster_id;		/* 0: not known yet, in requests only */
	NdNodeId	node;
	uint32_t	incarnation;
	uint32_t	wire_min;
	uint32_t	wire_max;
	bool		little_endian;
} Hello;

void		transport__hello_own(const Net *net, Hello *hello);
grpc_metadata transport__hello_metadata(const Hello *hello);	/* the caller unrefs .value */
bool		transport__hello_read(const grpc_metadata_array *metadata, Hello *hello);	/* false: missing or malformed */
/* Is this hello one to talk with? On false `why` says what does not fit. A request may come from a node that is no member. */
bool		transport__hello_fits(const Hello *ours, const Hello *theirs, bool request, char *why, size_t why_len);

/* ---- credentials (grpc_tls.c) ---- */

bool		transport__credentials(const TransportConfig *config, grpc_channel_credentials **channel, grpc_server_credentials **server,
								   char *error, size_t error_len);
/* Does the certificate of the other side bear the name that all nodes bear? Always true without TLS. */
bool		transport__certificate_fits(const Net *net, grpc_call *call);
extern const char transport__tls_name[];

/* ---- what the completion queue hands back ---- */

typedef enum TagKind
{
	TAG_BELL,
	TAG_SERVER_DOWN,
	TAG_ACCEPT_STREAM,
	TAG_ACCEPT_REQUEST,
	TAG_REFUSED,				/* Refusal */
	TAG_STREAM_OPEN,			/* Stream, all of these */
	TAG_STREAM_READ,
	TAG_STREAM_SENT,
	TAG_STREAM_END,
	TAG_STREAM_FINISHED,
	TAG_ASKED_DONE,				/* AskedRequest */
	TAG_SERVED_CLOSED,			/* ServedRequest */
	TAG_SERVED_SENT
} TagKind;

typedef struct Tag
{
	TagKind		kind;
	void	   *object;
} Tag;

/* ---- peers and streams (grpc_stream.c) ---- */

typedef struct OutFrame
{
	struct OutFrame *next;
	size_t		len;			/* of data: header and frame */
	uint8_t		data[];
} OutFrame;

struct Peer
{
	NdNodeId	id;				/* fixed */

	/* driver only */
	Peer	   *next;
	bool		member;			/* set_peer() without remove_peer() */
	bool		up_told;		/* between peer_up and peer_down */

	/* both */
	atomic_uint_least64_t in_bytes;	/* given to the driver and not yet polled */
	pthread_mutex_t lock;
	bool		open;			/* lock: a stream is up, frames are taken */
	bool		draining;		/* lock: the network thread will look at `out` again by itself */
	OutFrame   *out_first;		/* lock */
	OutFrame  **out_last;		/* lock */
	uint64_t	out_bytes;		/* lock: queued, and given to gRPC but not gone yet */

	/* network thread only */
	Peer	   *net_next;
	bool		known;			/* in net->peers */
	bool		wanted;
	char		address[ADDRESS_BYTES_MAX];
	grpc_channel *channel;		/* the lower id dials; NULL on the other side */
	Stream	   *active;			/* UP */
	Stream	   *opening;		/* OPENING */
	uint32_t	incarnation_seen;	/* highest of a finished handshake, for the life of this process */
	int64_t		redial_at;
	uint32_t	redial_ms;
};

/*
 * OPENING  dialled: hello sent, theirs awaited.  accepted: their hello was good, ours sent; their first message says that ours was good.
 *          -> UP (the handshake is complete both ways), CLOSED
 * UP       frames flow. -> CLOSED
 * CLOSED   forgotten by its peer, cancelled; waits for its last completion, then freed.
 * Only the network thread moves them.
 */
typedef enum StreamState
{
	STREAM_OPENING,
	STREAM_UP,
	STREAM_CLOSED
} StreamState;

struct Stream						/* network thread only */
{
	Stream	   *next;			/* net->streams */
	Stream	  **link;
	Peer	   *peer;
	StreamState state;
	bool		dialled;
	bool		paused;			/* not read until the driver has caught up */
	bool		sending;
	bool		finishing;		/* said that nothing more comes */
	bool		greet;			/* dialled: the first message is due, even without a frame */
	unsigned	ops;			/* batches with gRPC */
	uint32_t	incarnation;
	int64_t		deadline;		/* accepted and OPENING */
	size_t		sending_bytes;
	Item	   *up;				/* reserved events */
	Item	   *down;
	grpc_call  *call;
	grpc_byte_buffer *in;
	grpc_metadata_array initial;
	grpc_metadata_array trailing;
	grpc_status_code status;
	grpc_slice	details;
	int			cancelled;
	Tag			tag_open;
	Tag			tag_read;
	Tag			tag_sent;
	Tag			tag_end;
	Tag			tag_finished;
};

void		transport__stream_accept_next(Net *net);
void		transport__stream_accepted(Net *net, bool ok);
void		transport__stream_event(Net *net, Stream *s, TagKind kind, bool ok);
void		transport__stream_timers(Net *net, int64_t now, int64_t *next);
void		transport__peer_set(Net *net, Peer *peer, const char *address);
void		transport__peer_remove(Net *net, Peer *peer);
void		transport__peers_look(Net *net);		/* the doorbell rang: send, and go on reading */
bool		transport__streams_finished(Net *net);
void		transport__streams_cancel(Net *net);

/* ---- requests (grpc_request.c) ---- */

typedef struct AskedRequest			/* by us; network thread only */
{
	struct AskedRequest *next;
	struct AskedRequest **link;
	uint64_t	id;
	Item	   *failed;			/* reserved answer */
	grpc_channel *channel;
	grpc_call  *call;
	grpc_byte_buffer *in;
	grpc_metadata_array initial;
	grpc_metadata_array trailing;
	grpc_status_code status;
	grpc_slice	details;
	Tag			tag;
	char		address[ADDRESS_BYTES_MAX];
} AskedRequest;

typedef struct ServedRequest			/* of somebody else; network thread only */
{
	uint64_t	id;				/* 0: free */
	bool		closed;
	bool		answered;
	unsigned	ops;
	int64_t		deadline;
	Item	   *gone;			/* reserved event */
	grpc_call  *call;
	int			cancelled;
	Tag			tag_closed;
	Tag			tag_sent;
} ServedRequest;

void		transport__request_accept_next(Net *net);
void		transport__request_accepted(Net *net, bool ok);
void		transport__request_ask(Net *net, Item *command);
void		transport__request_asked_done(Net *net, AskedRequest *r);
void		transport__request_answer(Net *net, const Item *command);
void		transport__request_served_event(Net *net, ServedRequest *r, TagKind kind);
void		transport__request_timers(Net *net, int64_t now, int64_t *next);
void		transport__requests_cancel(Net *net);

/* ---- the network thread and what it needs (grpc_thread.c) ---- */

/* What a call asks for that has just come in: filled in by gRPC. */
typedef struct Accept
{
	grpc_call  *call;
	gpr_timespec deadline;
	grpc_metadata_array metadata;
	grpc_byte_buffer *payload;
	bool		armed;
	Tag			tag;
} Accept;

typedef struct Refusal
{
	grpc_call  *call;
	int			cancelled;
	Tag			tag;
} Refusal;

typedef struct RecentRefusal
{
	uint64_t	hash;			/* of address and text; 0: free */
	int64_t		at;
} RecentRefusal;

struct Net
{
	Transport	base;

	/* fixed after create */
	TransportCallbacks callbacks;	/* driver only */
	uint64_t	cluster_id;
	NdNodeId	self;
	uint32_t	incarnation;
	uint64_t	send_queue_bytes_max;
	uint64_t	receive_queue_bytes_max;
	uint32_t	keepalive_ms;
	uint32_t	drain_ms;
	bool		tls;
	grpc_channel_credentials *channel_credentials;
	grpc_server_credentials *server_credentials;
	grpc_completion_queue *cq;
	grpc_server *server;		/* NULL: does not listen */
	void	   *stream_method;
	void	   *request_method;
	pthread_t	thread;

	/* between the threads */
	ItemQueue	events;
	ItemQueue	commands;
	atomic_bool bell_pending;
	atomic_int	log_lines;		/* of gRPC in `events` */
	grpc_channel *bell_channel;	/* goes nowhere */
	grpc_call  *bell_call;
	Tag			bell_tag;

	/* driver only */
	Peer	   *driver_peers;
	uint64_t	served_open[REQUESTS_MAX];	/* ids the driver may answer; 0: free */
	unsigned	asked_count;
	Item	   *stop;			/* reserved command: destroy cannot fail */

	/* network thread only */
	Peer	   *peers;
	Stream	   *streams;
	AskedRequest *asked;
	ServedRequest served[REQUESTS_MAX];
	uint64_t	last_served;
	unsigned	refusals_open;
	Accept		accept_stream;
	Accept		accept_request;
	RecentRefusal refusals[REFUSALS_KEPT];
	bool		stopping;
	bool		cancelled;
	bool		server_down;
	bool		cq_down;
	int64_t		stop_at;
	Tag			server_down_tag;
};

extern const char transport__stream_method[];
extern const char transport__request_method[];

void	   *transport__thread_main(void *net);
int64_t		transport__now_ms(void);
void		transport__ring(Net *net);			/* driver: there are commands or frames */
void		transport__log(Net *net, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Report a refusal to the driver, unless the same was reported shortly before. */
void		transport__refused(Net *net, const char *address, const char *text);
/* Has nothing been said about this in the last REFUSAL_QUIET_MS? Remembers that now something is. */
bool		transport__worth_saying(Net *net, const char *address, const char *text);
/* End an incoming call with a status and a sentence for the other side; takes the call. */
void		transport__refuse_call(Net *net, grpc_call *call, grpc_status_code code, const char *text);
/* Where a call comes from, without the port (a new one with every attempt). */
void		transport__call_address(grpc_call *call, char *out, size_t out_len);
/* Bytes of the other side made fit for our log. */
void		transport__printable(grpc_slice from, char *out, size_t out_len);
#define TRANSPORT_ARGS_MAX 24
grpc_arg	transport__integer_arg(const char *name, int value);
size_t		transport__common_args(const Net *net, grpc_arg *args);	/* of both ends of a connection; how many */
grpc_channel *transport__channel_new(Net *net, const char *address);
/* gRPC's log is one per process: it goes to the transport created last. NULL: to nobody, if it was this one. */
void		transport__log_attach(Net *net);
void		transport__log_detach(Net *net);

#endif
