/*
 * explore.h: every reachable interleaving of a small cluster of the Raft core, up to a bound.
 *
 * A world is a state of each node, the messages under way, what was committed so far, and what is left of the bound. An event happens at one node: what it
 * makes of the node, and what the node sends, depends on nothing but the node's state. So it is worked out once, by the real core (node.c), and
 * looked up wherever the same node meets the same event again, whatever the others are by then (local.c).
 *
 * Numbers are small by the bound, so most of them are bytes; x_byte() ends the program where one would not fit.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdio.h>

#include "../../src/core/raft/raft_internal.h"

#define X_GROUP 1
#define X_NODES 4				/* ids 1..4 */
#define X_LOG 16				/* entries 1..15 */
#define X_APPEND 10				/* entries of one message or write */
#define X_BAG 512				/* messages under way */
#define X_WRITES 6				/* of one node, not durable yet */
#define X_AFTER 4				/* messages that wait for one write */
#define X_READS 8
#define X_TERMS 12
#define X_TARGETS 4
#define X_ANY 127
#define X_EVENTS 64				/* of one node */
#define X_WORLD_EVENTS (3 * X_BAG + X_NODES * X_EVENTS)
#define X_SENT 64				/* messages of one event */
#define X_SHOWN 32
#define X_HEAP (32 * 1024)
#define X_UNITS 128				/* of 64 bytes: the largest block */

typedef struct XEntry
{
	uint8_t		term;
	uint8_t		kind;
	uint8_t		payload;		/* x_payload() */
} XEntry;

/* A RaftMessage. Bytes beyond n_entries are zero: equal messages are equal bytes. */
typedef struct XMessage
{
	uint8_t		to;
	uint8_t		from;
	uint8_t		type;
	uint8_t		term;
	uint8_t		index;
	uint8_t		log_term;
	uint8_t		commit;
	uint8_t		hint_index;
	uint8_t		hint_term;
	uint8_t		context;
	uint8_t		reject;
	uint8_t		n_entries;
	XEntry		entries[X_APPEND];
} XMessage;

typedef struct XWrite
{
	uint8_t		truncate_from;
	uint8_t		n_entries;
	uint8_t		first;			/* index of entries[0] */
	uint8_t		hard_changed;
	uint8_t		term;
	uint8_t		vote;
	uint8_t		commit;
	uint8_t		n_after;
	uint16_t	hard_seq;
	XEntry		entries[X_APPEND];
	XMessage	after[X_AFTER];
} XWrite;

typedef struct XConfig
{
	uint8_t		index;
	uint8_t		joint;
	uint8_t		n;
	struct
	{
		uint8_t		node;
		uint8_t		role;
		uint8_t		in_old;
	}			members[X_NODES];
} XConfig;

/* One node with the memory of its core. There is one of them, at a fixed address: a copy of it up to heap_used is a copy of the node. */
typedef struct XNode
{
	Raft	   *raft;			/* never NULL: a node that is down is one to which nothing happens */
	uint8_t		id;
	uint8_t		last;
	XEntry		log[X_LOG];		/* as handed over; [index] */
	uint8_t		disk_last;
	XEntry		disk[X_LOG];	/* what survives a crash */
	uint8_t		hard_term;
	uint8_t		hard_vote;
	uint8_t		hard_commit;
	uint8_t		commit;			/* as the core told */
	uint8_t		n_writes;
	XWrite		writes[X_WRITES];
	uint32_t	heap_used;		/* no block lies behind it */
	uint16_t	heap_free[X_UNITS];	/* by size in units of 64 bytes: the first free block, in units, + 1 */
	_Alignas(64) uint8_t heap[X_HEAP];
} XNode;

/* The bound. Counts are of the whole run. */
typedef struct XBound
{
	char		name[32];
	uint8_t		nodes;
	uint8_t		voters;			/* bit i: node i votes at the start */
	uint8_t		learners;
	uint8_t		terms;			/* no term above it */
	uint8_t		campaigns;		/* election timeouts that lead to a pre-vote */
	uint8_t		entries;		/* proposals */
	uint8_t		log;			/* no log longer than this; 0: as long as it gets */
	uint8_t		ticks;			/* ticks of leaders: heartbeats, check-quorum */
	uint8_t		crashes;
	uint8_t		doubles;		/* messages delivered twice; X_ANY: every one as often as you like, so none leaves the network */
	uint8_t		changes;		/* of the configuration */
	uint8_t		transfers;
	uint8_t		reads;
	uint8_t		n_targets;
	uint8_t		targets[X_TARGETS];	/* voters that a change may ask for */
	uint8_t		target_learners[X_TARGETS];
	uint8_t		append_bytes;	/* RaftConfig.append_bytes_max; a proposal has one byte */
	uint8_t		inflight;
	bool		frugal;
	bool		votes_only;		/* every pre-vote is granted at once: more than can happen, in fewer states */
	bool		slow_disk;		/* a write becomes durable at any later moment, not at once */
	bool		lazy;			/* an update is taken at any later moment */
} XBound;

/* What can happen to a node. */
typedef enum XKind
{
	X_DELIVER,					/* the message; it is gone then, but for doubles=any */
	X_DOUBLE,					/* the message; it stays */
	X_DELIVER_LATE,				/* a candidate's message, to a follower that has not heard its leader for the shortest election timeout */
	X_FLUSH,					/* the node's oldest write becomes durable */
	X_FLUSH_ALL,				/* all of its writes, told as one */
	X_UPDATE,					/* lazy: the node's update is taken */
	X_EXPIRE,					/* the node's election timeout passes */
	X_TICK,						/* of a leader */
	X_PROPOSE,
	X_CHANGE,					/* to targets[arg] */
	X_TRANSFER,					/* to arg */
	X_READ,
	X_CRASH						/* and restart; arg: records of the oldest write that survive */
} XKind;

typedef struct XEvent
{
	uint8_t		kind;
	uint8_t		node;
	uint32_t	arg;			/* DELIVER, DOUBLE, DELIVER_LATE: number of the message; PROPOSE, READ: which one */
} XEvent;

/* What an event shows that the node alone cannot judge. */
typedef struct XShown
{
	enum
	{
		X_LEADS,				/* in `term` */
		X_COMMITS,				/* (first - 1, index], in `term` */
		X_READS_AT				/* read `first` is answered with `index` */
	}			what;
	uint8_t		term;
	uint8_t		first;
	uint8_t		index;
	uint8_t		disk_last;		/* of the node, then */
	XConfig		config;			/* in effect, then */
} XShown;

/* What an event at a node in one state makes of it: worked out once. */
typedef struct XEffect
{
	uint32_t	next;			/* the node's state then */
	bool		used;			/* it was one of those that the bound counts: a refused proposal is none */
	const char *broken;			/* what the node alone shows */
	uint8_t		n_sent;
	uint8_t		n_shown;
	uint32_t   *sent;			/* numbers of messages */
	XShown	   *shown;
} XEffect;

/* A state of one node, and what others must know of it. Two that differ in nothing that matters (digest.c) are one. */
typedef struct XLocal
{
	uint64_t	hash[2];
	uint64_t	(*named)[2];	/* [order of names]: the same in other names; of interchangeable nodes only */
	uint8_t		id;
	uint8_t		state;
	uint8_t		term;
	uint8_t		hard_term;
	bool		hears;			/* a leader */
	uint8_t		leader;
	uint8_t		commit;
	uint8_t		matched;		/* follower */
	uint8_t		match[X_NODES + 1];	/* leader: of a peer */
	uint8_t		ballot[X_NODES + 1];	/* candidate: of a peer */
	uint8_t		last;
	uint8_t		disk_last;
	uint16_t	n_events;
	XEntry		log[X_LOG];
	XEntry		disk[X_LOG];
	XConfig		config;
	XEvent	   *events;			/* that may happen here, but for messages, if the bound has all of them left */
	uint8_t    *copy;			/* of x_node */
	uint32_t	bytes;
} XLocal;

/* What is left of the bound and does not number anything. */
typedef struct XLeft
{
	uint8_t		campaigns;
	uint8_t		ticks;
	uint8_t		crashes;
	uint8_t		doubles;
	uint8_t		changes;
	uint8_t		transfers;
	uint8_t		none[2];
} XLeft;

/* Everything there is. */
typedef struct XWorld
{
	uint32_t	local[X_NODES + 1];
	XLeft		left;
	uint8_t		entries;		/* left of the bound; what was proposed before has the numbers before */
	uint8_t		reads;

	/* what was seen, for the invariants */
	uint8_t		leader_of[X_TERMS];
	uint8_t		n_committed;
	XEntry		committed[X_LOG];
	uint8_t		committed_in[X_LOG];	/* the term of the leader that counted it */
	uint8_t		read_needs[X_READS];	/* [context]: what was committed when the read began */

	uint32_t	n_bag;
	uint32_t	bag[X_BAG];		/* messages under way: numbers, ascending */
} XWorld;

extern XNode x_node;
extern XBound x_bound;
extern const char *x_broken;	/* the invariant that does not hold, or NULL */

/* node.c */
void		x_node_start(NdNodeId id);	/* x_node is that node, new */
void		x_node_apply(const XEvent *e, XEffect *out);	/* all of out but next */
uint32_t	x_node_events(XEvent *events);	/* at most X_EVENTS */

/* local.c */
const XLocal *x_local(uint32_t number);
uint32_t	x_local_here(void);		/* the number of the state of x_node */
void		x_local_restore(uint32_t number);	/* into x_node */
const XEffect *x_effect(uint32_t number, const XEvent *e);
uint32_t	x_locals(void);
size_t		x_local_bytes(void);
void		x_local_forget(void);

/* message.c */
uint32_t	x_message_number(const XMessage *m);
const XMessage *x_message(uint32_t number);
uint32_t	x_message_named(uint32_t number, uint32_t order);	/* in other names */
size_t		x_message_bytes(void);
void		x_message_forget(void);

/* world.c */
void		x_start(XWorld *w);
uint32_t	x_enabled(const XWorld *w, XEvent *events);
bool		x_possible(const XWorld *w, const XEvent *e);
bool		x_idle(const XWorld *w, const XEvent *e);	/* it leads to a state that can do no more than this one */
void		x_apply(XWorld *w, const XEvent *e);
bool		x_out_of_bound(const XWorld *w);	/* the last event went beyond the bound: its world does not count */

/* payload.c */
uint8_t		x_byte(uint64_t v);
uint8_t		x_payload(RaftEntryKind kind, const NdBlob *b);	/* the number of these bytes; 0 = empty */
NdBlob	   *x_payload_blob(uint8_t payload);
void		x_payload_renew(void);
void		x_pack_message(const RaftMessage *m, XMessage *out);
void		x_unpack_message(const XMessage *m, RaftMessage *out, RaftEntry *entries);

/* heap.c */
extern const NdAllocator x_allocator;
void	   *x_need(void *p);			/* of the search itself, outside the node: p, or the end of the program when there is no memory */

/* check.c */
void		x_fail(const char *what);
void		x_check_node(XEffect *out);	/* x_node: what it shows alone; that it leads */
void		x_check_sent(const XMessage *m);
void		x_check_commit(XEffect *out, uint64_t commit);
void		x_check_reads(XEffect *out, const RaftReadState *reads, uint32_t n);
void		x_pack_configuration(const RaftConfiguration *c, XConfig *out);
void		x_judge(XWorld *w, NdNodeId id, const XLocal *before, const XEffect *f);	/* the event is over */

/* digest.c */
typedef struct XDigest
{
	uint64_t	key[2];
	XLeft		left;
	uint32_t	n;
	uint32_t	messages[X_BAG];	/* numbers, ascending */
} XDigest;

#define X_ORDERS 24

extern uint32_t x_orders;		/* of names that are tried; [0] is the one in use */
extern uint8_t x_order[X_ORDERS][X_NODES + 1];
void		x_name_nodes(void);		/* the bound is known: fills them */
void		x_digest_node(uint32_t order, uint64_t hash[2]);	/* of x_node */
void		x_digest(const XWorld *w, XDigest *d);

/* seen.c */
bool		x_enter(const XDigest *d);	/* false: a state that was entered can do all that this one can */
size_t		x_seen_bytes(void);
uint64_t	x_seen_keys(void);
void		x_forget(void);

/* search.c */
typedef struct XResult
{
	uint64_t	states;
	uint64_t	keys;			/* of different keys (seen.c) */
	uint32_t	locals;			/* states of single nodes */
	uint64_t	transitions;
	uint32_t	depth;
	double		seconds;
	bool		complete;
	const char *broken;
	uint32_t	path_len;
	XEvent	   *path;
} XResult;

void		x_search(uint64_t seed, double seconds_max, size_t bytes_max, XResult *out);

/* bounds.c */
typedef struct XBoundText
{
	bool		quick;			/* a part of `make test` */
	const char *text;
} XBoundText;

extern const XBoundText x_bounds[];	/* the last one has no text */
bool		x_parse_bound(const char *text, XBound *b);

/* script.c */
void		x_show_path(const XEvent *path, uint32_t n);	/* from the start */
uint32_t	x_shorten(XEvent *path, uint32_t n, const char **broken);	/* leave out what is not needed to break something */

#endif
