/*
 * explore.h: every reachable interleaving of a small cluster of the Raft core, up to a bound.
 *
 * A world is everything there is: the cores of all nodes, their disks, the network, what was committed so far, and what is left of the bound. It lies in
 * one block of memory at a fixed address, the memory that the cores allocate included, so that a copy of the block is a copy of the world.
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
#define X_BAG 64				/* messages under way */
#define X_WRITES 6				/* of one node, not durable yet */
#define X_AFTER 4				/* messages that wait for one write */
#define X_READS 8
#define X_TERMS 12
#define X_TARGETS 4
#define X_HEAP (96 * 1024)
#define X_UNITS 256				/* of 64 bytes: the largest block */

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

typedef struct XNode
{
	Raft	   *raft;			/* never NULL: a node that is down is one to which nothing happens */
	uint8_t		last;
	XEntry		log[X_LOG];		/* as handed over; [index] */
	uint8_t		disk_last;
	XEntry		disk[X_LOG];	/* what survives a crash */
	uint8_t		hard_term;
	uint8_t		hard_vote;
	uint8_t		hard_commit;
	uint8_t		commit;			/* as the core told */
	RaftConfiguration config;	/* in effect when the event began; equal to the core's between events, so not part of a state */
	uint8_t		n_writes;
	XWrite		writes[X_WRITES];
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
	uint8_t		ticks;			/* ticks of leaders: heartbeats, check-quorum */
	uint8_t		crashes;
	uint8_t		doubles;		/* messages delivered twice */
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

typedef struct XWorld
{
	XNode		nodes[X_NODES + 1];
	uint16_t	n_bag;
	XMessage	bag[X_BAG];		/* ascending */

	/* what is left of the bound */
	uint8_t		campaigns;
	uint8_t		entries;
	uint8_t		ticks;
	uint8_t		crashes;
	uint8_t		doubles;
	uint8_t		changes;
	uint8_t		transfers;
	uint8_t		reads;

	/* what was seen, for the invariants */
	uint8_t		leader_of[X_TERMS];
	uint8_t		n_committed;
	XEntry		committed[X_LOG];
	uint8_t		committed_in[X_LOG];	/* the term of the leader that counted it */
	uint8_t		read_needs[X_READS];	/* [context]: what was committed when the read began */

	/* memory of the cores */
	uint32_t	heap_used;		/* no block lies behind it */
	uint16_t	heap_free[X_UNITS];	/* by size in units of 64 bytes: the first free block, in units, + 1 */
	_Alignas(64) uint8_t heap[X_HEAP];
} XWorld;

typedef enum XKind
{
	X_DELIVER,					/* the message; it is gone then */
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
	uint8_t		arg;			/* DELIVER, DOUBLE, DELIVER_LATE: place in the bag */
	XMessage	message;		/* the same: filled by x_apply() */
} XEvent;

#define X_EVENTS 256

extern XWorld x_world;
extern XBound x_bound;
extern const char *x_broken;	/* the invariant that does not hold, or NULL */

/* world.c */
void		x_start(void);
uint32_t	x_enabled(XEvent *events);
void		x_apply(XEvent *e);
bool		x_locate(XEvent *e);	/* for replays: find the event's message in the bag; false: this event is not possible now */
bool		x_out_of_bound(void);	/* the last event went beyond the bound: its world does not count */
size_t		x_world_bytes(void);	/* how much of x_world is in use, from its beginning */
void		x_restored(void);	/* x_world was overwritten by a copy */

/* payload.c */
uint8_t		x_byte(uint64_t v);
uint8_t		x_payload(RaftEntryKind kind, const NdBlob *b);	/* the number of these bytes; 0 = empty */
NdBlob	   *x_payload_blob(uint8_t payload);
void		x_payload_renew(void);
void		x_pack_message(const RaftMessage *m, XMessage *out);
void		x_unpack_message(const XMessage *m, RaftMessage *out, RaftEntry *entries);

/* heap.c */
extern const NdAllocator x_allocator;

/* check.c */
void		x_fail(const char *what);
void		x_check_node(NdNodeId id);
void		x_check_logs(void);
void		x_check_sent(const XMessage *m);
void		x_check_commit(NdNodeId id, uint64_t commit);
void		x_check_reads(const RaftReadState *reads, uint32_t n);

/* digest.c */
uint64_t	x_digest(void);

/* search.c */
typedef struct XResult
{
	uint64_t	states;
	uint64_t	transitions;
	uint32_t	depth;
	double		seconds;
	bool		complete;
	const char *broken;
	uint32_t	path_len;
	XEvent	   *path;
} XResult;

void		x_search(uint64_t seed, double seconds_max, size_t table_bytes, XResult *out);

/* bounds.c */
typedef struct XBoundText
{
	bool		quick;			/* a part of `make test` */
	const char *text;
} XBoundText;

extern const XBoundText x_bounds[];	/* the last one has no text */
bool		x_parse_bound(const char *text, XBound *b);

/* script.c */
void		x_show_path(XEvent *path, uint32_t n);	/* from the start */
uint32_t	x_shorten(XEvent *path, uint32_t n, const char **broken);	/* leave out what is not needed to break something */

#endif
