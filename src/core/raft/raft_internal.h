/*
 * raft_internal.h: the state of one group and the functions that the files of this module share. Nobody else includes it.
 *
 * Who writes what:
 *   raft.c            life, ticks, the gate through which every event passes
 *   raft_log.c        RaftMemLog: terms of all entries, payloads of those not handed over yet, what is durable
 *   configuration.c   the configuration in effect, the one to roll back to, the peers that follow from them
 *   election.c        term, vote, state, leader; pre-vote, votes, leader transfer
 *   append.c          a follower's side: APPEND, HEARTBEAT, SNAPSHOT
 *   membership.c      a leader: changes of the configuration
 *   replication.c     a leader's side: progress of the peers, APPENDs, commit by counting, proposals
 *   readindex.c       rounds and reads
 *   update.c          queues of messages, RaftUpdate, storage completions
 *   status.c          questions, raft_check()
 */
#ifndef ND_RAFT_INTERNAL_H
#define ND_RAFT_INTERNAL_H

#include "raft.h"
#include "../base/mutant.h"

#define RAFT_APPEND_ENTRIES_MAX 1024	/* entries of one APPEND, whatever their bytes */
#define RAFT_READS_MAX 65536	/* reads that wait at one replica */
#define RAFT_FENCES 8			/* more than these share one: what they prove is known later */
#define RAFT_HELD_MAX 256		/* messages that wait for a hard state on its way to the disk */
#define RAFT_NUMBER_MAX (UINT64_MAX >> 2)	/* terms and indexes from outside above it are malformed */

/*
 * How a leader sees a peer's log.
 *   PROBE      match unknown: one APPEND per heartbeat. -> REPLICATE by an acknowledgement, SNAPSHOT when its entries are gone
 *   REPLICATE  pipelined, next is optimistic. -> PROBE by a rejection or a lost connection
 *   SNAPSHOT   the driver sends a snapshot; no APPENDs, heartbeats go on. -> PROBE when the driver says that it ended, whichever way; REPLICATE when the
 *              peer acknowledges enough, or says itself that it has installed one
 */
typedef enum RaftPeerState
{
	PEER_PROBE,
	PEER_REPLICATE,
	PEER_SNAPSHOT
} RaftPeerState;

typedef enum RaftBallot
{
	BALLOT_NONE,
	BALLOT_GRANTED,
	BALLOT_REFUSED
} RaftBallot;

typedef struct RaftInflight
{
	uint64_t	last;			/* index of the last entry */
	uint64_t	bytes;
} RaftInflight;

typedef struct RaftPeer
{
	NdNodeId	node;
	bool		voter;			/* of the configuration, or of one of the two of a joint one */
	bool		in_new;			/* ... of the incoming, or only one */
	bool		in_old;			/* ... of the outgoing one */
	RaftBallot	ballot;			/* (pre-)candidate: its answer */
	/* the rest: leader only */
	RaftPeerState state;
	uint64_t	match;			/* acknowledged in this term: durable there */
	uint64_t	next;			/* next entry to send; > match */
	uint64_t	told_commit;	/* the commit that our last APPEND lets it take */
	uint64_t	wanted_commit;	/* frugal: it waits for the commit of this entry */
	uint64_t	acked_round;	/* newest heartbeat round that it answered */
	bool		in_round;		/* scratch: chosen for a round */
	bool		active;			/* heard since the last quorum check */
	bool		paused;			/* PROBE: one is under way, wait for an answer or a heartbeat's */
	RaftInflight probe;			/* PROBE: what went with the last one */
	bool		check;			/* REPLICATE: send an empty APPEND behind what was sent, to find losses */
	RaftInflight *inflight;		/* ring, grows up to config.inflight_max */
	uint32_t	inflight_cap;
	uint32_t	inflight_first;
	uint32_t	inflight_n;
	uint64_t	inflight_bytes;
} RaftPeer;

typedef struct RaftMemLog
{
	uint64_t	first;			/* first entry kept */
	uint64_t	prev_term;		/* of entry first - 1 */
	uint64_t	last;			/* first - 1 when empty */
	RaftTermRun *runs;			/* cover first..last */
	uint32_t	n_runs;
	uint32_t	cap_runs;
	RaftEntry  *pending;		/* the newest n_pending entries: not handed over yet */
	uint32_t	n_pending;
	uint32_t	cap_pending;
	uint64_t	truncate_from;	/* handed-over entries from here on were cut and the driver does not know yet; 0 = none */
	uint64_t	durable;		/* first - 1 <= durable <= last - n_pending: this prefix survives a crash */
} RaftMemLog;

typedef struct RaftQueue
{
	RaftMessage *messages;
	uint32_t	n;
	uint32_t	cap;
} RaftQueue;

typedef struct RaftRead
{
	uint64_t	context;
	NdNodeId	from;			/* who asked; self = local */
	uint64_t	round;			/* leader: the round that must be confirmed; 0 = none began yet */
	uint64_t	index;			/* leader: the commit when the round began */
	uint32_t	age_ticks;		/* follower: since it was forwarded */
} RaftRead;

typedef struct RaftBatch
{
	uint64_t	last;			/* index of the last entry of one proposal */
	uint64_t	bytes;
} RaftBatch;

typedef struct RaftFence
{
	uint64_t	seq;			/* when this hard state is durable ... */
	uint64_t	last;			/* ... so are the entries up to here */
} RaftFence;

struct Raft
{
	RaftConfig	cfg;
	RaftLog		reader;
	NdRandom	random;
	const char *frozen;			/* NULL, or why this group stopped for good */
	bool		taken;			/* between raft_take_update() and raft_update_done() */

	RaftMemLog	log;
	uint64_t	commit;

	/* configurations: at most the newest one is uncommitted, so one step back is always enough */
	RaftConfiguration *config;	/* both, and peers, have room for cap_members only: raft_configuration_copy() */
	RaftConfiguration *config_prev;
	RaftPeer   *peers;			/* members of config but self, ascending */
	uint32_t	cap_members;
	uint32_t	n_peers;
	uint32_t	n_voters;		/* self included */
	bool		self_voter;		/* as RaftPeer.voter, in_new, in_old */
	bool		self_new;
	bool		self_old;

	/* elections */
	uint64_t	term;
	NdNodeId	vote;
	RaftState	state;
	NdNodeId	leader;
	bool		leader_lost;	/* follower: the connection to it broke, and nothing came since */
	RaftBallot	self_ballot;	/* candidate: granted once durable */
	uint32_t	election_elapsed;	/* ticks: follower since it heard the leader, leader since the last quorum check */
	uint32_t	election_timeout;	/* ticks, randomized */

	/* follower: both of the current term */
	uint64_t	matched;		/* our log is the leader's up to here */
	uint64_t	acked;			/* what we told the leader */
	RaftInstall install;		/* a snapshot comes in */

	/* leader */
	uint64_t	term_start;		/* index of the no-op: an entry of this term is committed when commit reaches it */
	uint32_t	heartbeat_elapsed;
	bool		heartbeat_wanted;
	bool		tell_commit;	/* frugal: tell all peers with the next update */
	bool		send_wanted;	/* look at the peers when the next update is taken */
	bool		send_retry;		/* memory or the log's reader said "later": look again at the next tick */
	NdNodeId	transferee;		/* 0 = no transfer */
	uint32_t	transfer_elapsed;
	RaftBatch  *batches;		/* proposals of this term not committed yet */
	uint32_t	n_batches;
	uint32_t	cap_batches;
	uint64_t	uncommitted_bytes;

	/* reads */
	RaftRead   *reads;
	uint32_t	n_reads;
	uint32_t	cap_reads;
	RaftReadState *answers;		/* cap_answers >= n_answers + local reads: an answer never needs memory */
	uint32_t	n_answers;
	uint32_t	cap_answers;
	uint64_t	round;			/* heartbeat rounds begun in this process; never reset, so contexts are unique */
	uint64_t	confirmed_round;

	/* hard state: what the driver has been given */
	uint64_t	emitted_term;
	NdNodeId	emitted_vote;
	uint64_t	emitted_commit;
	uint64_t	hard_seq;		/* last one given */
	uint64_t	hard_dep_seq;	/* last one that changed term or vote */
	uint64_t	hard_durable_seq;

	/*
	 * ABA: after handed-over entries were cut, a completion may speak of an entry that has come back at the same index and term.
	 * So until a hard state given together with the cut is durable, completions of entries say nothing. Meanwhile every update with
	 * entries carries a hard state, stored behind them: when that one is durable, so are they.
	 */
	bool		fence_wanted;	/* cut since the last update */
	uint64_t	fence_seq;		/* completions wait for this hard state; 0 = none */
	RaftFence	fences[RAFT_FENCES];	/* ascending by seq */
	uint32_t	n_fences;

	/* messages */
	RaftQueue	out;			/* may leave at once */
	RaftQueue	after;			/* depend on the hard state of the next update */
	RaftQueue	held;			/* depend on a hard state that was given but is not durable yet */
	uint64_t	snapshot_needed_index;
	NdNodeId	snapshot_peer;

	/* what the last update told */
	RaftState	told_state;
	uint64_t	told_term;
	NdNodeId	told_leader;
	uint64_t	told_config;
	uint64_t	told_commit;
};

/* raft.c */
void		raft__freeze(Raft *r, const char *reason);
/* Grow an array to at least `want` elements; false: no memory, nothing changed. */
bool		raft__reserve(void **array, uint32_t *cap, uint64_t want, size_t size);

/* raft_log.c */
bool		raft__log_restore(RaftMemLog *l, const RaftRestore *restore, NdStatus *status);
void		raft__log_free(RaftMemLog *l);
uint64_t	raft__term(const RaftMemLog *l, uint64_t index);	/* 0 unknown */
uint64_t	raft__handed(const RaftMemLog *l);	/* last index that the driver was given */
uint64_t	raft__find_by_term(const RaftMemLog *l, uint64_t index, uint64_t term);
bool		raft__log_reserve(RaftMemLog *l, uint32_t n_entries, uint32_t n_runs);
void		raft__log_append(RaftMemLog *l, uint64_t term, RaftEntryKind kind, NdBlob *payload);	/* reserved before */
bool		raft__log_truncate(RaftMemLog *l, uint64_t from);	/* true: handed-over entries were cut */
void		raft__log_compact(RaftMemLog *l, uint64_t first);
void		raft__log_reset(RaftMemLog *l, uint64_t index, uint64_t term);
void		raft__log_taken(RaftMemLog *l);

/* configuration.c */
bool		raft__members_reserve(Raft *r, uint32_t n);	/* for a configuration of n members; may move peers. false: no memory, nothing changed */
/* The rest cannot fail, once reserved. */
void		raft__set_configuration(Raft *r, const RaftConfiguration *c);	/* newest; the one before is kept */
void		raft__install_configuration(Raft *r, const RaftConfiguration *c, const RaftConfiguration *before);
void		raft__roll_back_configuration(Raft *r, uint64_t truncated_from);
bool		raft__configuration_valid(const RaftConfiguration *c);
RaftPeer   *raft__peer(Raft *r, NdNodeId node);
void		raft__commit_wanted(Raft *r, RaftPeer *p, uint64_t index);
/* The largest value that a quorum of voters has reached: own, and each peer's by get(). */
uint64_t	raft__quorum_value(const Raft *r, uint64_t own, uint64_t (*get) (const RaftPeer *p));

/* election.c */
void		raft__reset_timeout(Raft *r);
void		raft__become_follower(Raft *r, uint64_t term, NdNodeId leader);
bool		raft__may_campaign(const Raft *r);
void		raft__campaign(Raft *r, bool transfer);	/* pre-vote; transfer: at once */
void		raft__own_vote_durable(Raft *r);
bool		raft__hears_leader(const Raft *r);
void		raft__handle_prevote(Raft *r, const RaftMessage *m);
void		raft__handle_vote(Raft *r, const RaftMessage *m);
void		raft__handle_vote_reply(Raft *r, const RaftMessage *m);
void		raft__handle_timeout_now(Raft *r, const RaftMessage *m);
void		raft__check_quorum(Raft *r);

/* append.c */
NdStatus	raft__handle_append(Raft *r, const RaftMessage *m);
void		raft__handle_heartbeat(Raft *r, const RaftMessage *m);
void		raft__handle_snapshot(Raft *r, const RaftMessage *m);
void		raft__refuse_old_leader(Raft *r, const RaftMessage *m);
void		raft__acknowledge(Raft *r, bool always);

/* membership.c */
void		raft__leave_joint(Raft *r);		/* if it is joint and time: also at ticks */
void		raft__configuration_committed(Raft *r);	/* the leader's commit moved: what follows from a configuration that is committed now */

/* replication.c */
bool		raft__become_leader(Raft *r);	/* false: no memory, nothing changed */
void		raft__peer_start(Raft *r, RaftPeer *p);
void		raft__peer_clear(RaftPeer *p);
void		raft__replicate(Raft *r);
void		raft__advance_commit(Raft *r, uint64_t commit);
void		raft__count(Raft *r);
void		raft__clear_batches(Raft *r);
void		raft__handle_append_reply(Raft *r, RaftPeer *p, const RaftMessage *m);
void		raft__handle_heartbeat_reply(Raft *r, RaftPeer *p, const RaftMessage *m);
void		raft__handle_snapshot_reply(Raft *r, RaftPeer *p, const RaftMessage *m);

/* readindex.c */
bool		raft__round_due(const Raft *r);
void		raft__begin_round(Raft *r);
void		raft__confirm_reads(Raft *r);
void		raft__lose_reads(Raft *r);
void		raft__age_reads(Raft *r);
void		raft__age_rounds(Raft *r);
void		raft__handle_read_index(Raft *r, const RaftMessage *m);
void		raft__handle_read_index_reply(Raft *r, const RaftMessage *m);

/* storage.c */
void		raft__fence(Raft *r, uint64_t truncated_from);	/* handed-over entries from here on were cut */
void		raft__fence_given(Raft *r);		/* the hard state r->hard_seq is being given, with all entries up to the last */
void		raft__fence_durable(Raft *r);	/* r->hard_durable_seq moved */

/* update.c */
RaftMessage raft__message(const Raft *r, RaftMessageType type, NdNodeId to);
bool		raft__send(Raft *r, RaftMessage *m);	/* takes the contents over; false: no memory, dropped */
bool		raft__send_dependent(Raft *r, RaftMessage *m);	/* leaves once term and vote are durable */
void		raft__drop_dependent(Raft *r);
bool		raft__hard_pending(const Raft *r);
void		raft__queue_free(RaftQueue *q);

static inline uint64_t raft__min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t raft__max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
