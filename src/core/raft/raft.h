/*
 * raft.h: one Raft group, sans-I/O: step(event) -> update.
 *
 * Sources: Ongaro's thesis (chapters 3, 4, 6 and 9.6 are cited beside the code), etcd/raft's interface of steps and Ready.
 * The rules are those of DESIGN.md, section 6.
 *
 * Invariants (checked by raft_check(), which tests and the simulator call after every step):
 *  1. term never decreases; at most one vote per term; both are durable before a message that depends on them leaves.
 *  2. commit <= last index; commit never decreases; only entries of the current term are committed by counting.
 *  3. A follower acknowledges min(prev + n, durable) for entries matched against this term's leader, never "last stored".
 *  4. At most one uncommitted configuration entry; none is proposed before an entry of the own term is committed.
 *  5. A ReadIndex answer was confirmed by a quorum round that began after the request, on a leader with a commit in its term.
 * A violated invariant freezes the group (ND_FROZEN from every call, raft_frozen_reason()); the core never aborts the process.
 *
 * Ownership: entries handed in are referenced (nd_blob_ref); what RaftUpdate shows stays valid until raft_update_done().
 * Time comes as raft_tick(); randomness from RaftConfig.seed. Not thread-safe.
 */
#ifndef ND_RAFT_H
#define ND_RAFT_H

#include "../base/base.h"

typedef struct Raft Raft;

typedef enum RaftEntryKind
{
	RAFT_ENTRY_NOOP = 0,		/* empty; one at the start of every term */
	RAFT_ENTRY_DATA = 1,		/* opaque payload */
	RAFT_ENTRY_CONFIG = 2		/* payload is an encoded RaftConfiguration */
} RaftEntryKind;

typedef struct RaftEntry
{
	uint64_t	index;			/* from 1 */
	uint64_t	term;
	RaftEntryKind kind;
	NdBlob	   *payload;		/* NULL means empty */
} RaftEntry;

/* ---- configurations ---- */

typedef enum RaftRole
{
	RAFT_LEARNER = 0,
	RAFT_VOTER = 1,
	RAFT_LEAVING = 2			/* joint only: a voter of the outgoing configuration that is no member of the incoming one */
} RaftRole;

#ifndef RAFT_MEMBERS_MAX		/* test/explore copies states by the million, so it builds the core with fewer and without contexts */
#define RAFT_MEMBERS_MAX 63
#define RAFT_CONTEXT_MAX 255	/* bytes of a member's context */
#endif

typedef struct RaftMember
{
	NdNodeId	node;
	RaftRole	role;			/* in the incoming (or only) configuration */
	bool		in_old;			/* joint: voter of the outgoing configuration */
	uint8_t		context_len;	/* opaque to the core: the metadata group keeps name and address here */
	uint8_t		context[RAFT_CONTEXT_MAX];
} RaftMember;

typedef struct RaftConfiguration
{
	uint64_t	index;			/* of the entry that made it; 0 = bootstrap */
	bool		joint;			/* between two configurations: majorities of both decide (thesis, 4.3) */
	uint32_t	n;
	RaftMember	members[RAFT_MEMBERS_MAX];	/* ascending by node */
} RaftConfiguration;

NdStatus	raft_configuration_encode(const RaftConfiguration *c, NdBuf *out);
NdStatus	raft_configuration_decode(const uint8_t *data, size_t len, RaftConfiguration *out);	/* ND_INVALID, ND_VERSION */
/* What a configuration becomes when its joint phase is left: itself when it is not joint. out may be c. */
void		raft_configuration_target(const RaftConfiguration *c, RaftConfiguration *out);
const RaftMember *raft_configuration_find(const RaftConfiguration *c, NdNodeId node);
/* Of c only members[0..n - 1] are read: what raft_configuration() points to ends there, so it cannot be copied by assignment. */
void		raft_configuration_copy(RaftConfiguration *out, const RaftConfiguration *c);

/* ---- messages ---- */

typedef enum RaftMessageType
{
	RAFT_MSG_PREVOTE = 1,
	RAFT_MSG_PREVOTE_REPLY,
	RAFT_MSG_VOTE,
	RAFT_MSG_VOTE_REPLY,
	RAFT_MSG_APPEND,
	RAFT_MSG_APPEND_REPLY,
	RAFT_MSG_HEARTBEAT,			/* may be coalesced over groups by multiraft */
	RAFT_MSG_HEARTBEAT_REPLY,
	RAFT_MSG_SNAPSHOT,			/* only announces: the driver moves the data, and with it the configuration as of where the log will begin */
	RAFT_MSG_SNAPSHOT_REPLY,
	RAFT_MSG_TIMEOUT_NOW,		/* leader transfer: campaign at once */
	RAFT_MSG_READ_INDEX,		/* follower -> leader */
	RAFT_MSG_READ_INDEX_REPLY
} RaftMessageType;

typedef struct RaftMessage
{
	RaftMessageType type;
	NdGroupId	group;			/* filled by the core from RaftConfig.group */
	NdNodeId	from;
	NdNodeId	to;
	uint64_t	term;			/* sender's term (PREVOTE: the term it would campaign in) */
	uint64_t	index;			/* APPEND: prev index; VOTE: last index; replies: match / last; SNAPSHOT: its index */
	uint64_t	log_term;		/* term of `index` where that makes sense */
	uint64_t	commit;			/* APPEND, HEARTBEAT: leader's commit; READ_INDEX_REPLY: the read index */
	uint64_t	hint_index;		/* rejected APPEND: where to probe next (fast back-up) */
	uint64_t	hint_term;
	uint64_t	context;		/* HEARTBEAT(_REPLY): read round; READ_INDEX(_REPLY): request id; VOTE: 1 = transfer */
	bool		reject;
	uint32_t	n_entries;		/* APPEND */
	RaftEntry  *entries;
} RaftMessage;

/* ---- the log as the driver keeps it ---- */

/*
 * Reads of entries that the core has handed over in an update. They must be readable from the moment of raft_take_update(),
 * durable or not. lo..hi-1 are within (first, last]; at least one entry is returned even when it is above bytes_max.
 * The core owns the references it gets. ND_NOMEM and ND_BUSY make the core try later; anything else freezes the group.
 */
typedef struct RaftLog
{
	void	   *ctx;
	NdStatus	(*entries)(void *ctx, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t out_cap, uint32_t *n);
} RaftLog;

typedef struct RaftHardState
{
	uint64_t	term;
	NdNodeId	vote;			/* 0 = none in this term */
	uint64_t	commit;			/* a hint: may lag what is really committed */
} RaftHardState;

/* First index and term of a run of entries of one term, ascending: how the core knows every entry's term without I/O. */
typedef struct RaftTermRun
{
	uint64_t	first_index;
	uint64_t	term;
} RaftTermRun;

typedef struct RaftConfig
{
	NdGroupId	group;
	NdNodeId	self;
	uint32_t	election_ticks;		/* randomized to [n, 2n); also the check-quorum interval; >= 2 */
	uint32_t	heartbeat_ticks;	/* < election_ticks */
	uint32_t	append_bytes_max;	/* payload bytes of one APPEND, one entry at least; 1 MB is usual */
	uint32_t	inflight_max;		/* APPENDs in flight per peer */
	uint64_t	inflight_bytes_max;	/* payload bytes in flight per peer */
	uint64_t	uncommitted_bytes_max;	/* payload bytes not committed yet: above it raft_propose() says ND_BUSY */
	bool		frugal;			/* fewer messages: commits are told with the next message, at the next tick, or to who waits for one (raft_commit_wanted());
								 * a round for reads goes to just a quorum, to all at the next tick */
	uint32_t	priority;			/* 0 = ordinary; a higher one waits less for its election */
	uint64_t	seed;
} RaftConfig;

/* What recovery found; a new group has hard = {0}, first_index = 1, last_index = 0 and the bootstrap configuration. */
typedef struct RaftRestore
{
	RaftHardState hard;
	uint64_t	first_index;		/* index of the first entry kept; entry first_index - 1 is covered by a snapshot or truncation */
	uint64_t	prev_term;			/* term of first_index - 1; 0 when first_index is 1 */
	uint64_t	last_index;			/* = first_index - 1 when empty */
	const RaftTermRun *runs;
	uint32_t	n_runs;
	RaftConfiguration configuration;	/* newest configuration at or below last_index */
	RaftConfiguration configuration_committed;	/* the one before it, when the newest may be uncommitted; else the same */
} RaftRestore;

/* ---- life ---- */

/* ND_NOMEM, ND_INVALID (contradictory restore). log must outlive the group. */
NdStatus	raft_create(const RaftConfig *config, const RaftRestore *restore, const RaftLog *log, Raft **out);
void		raft_destroy(Raft *r);

/* ---- events ---- */

NdStatus	raft_tick(Raft *r);
/* A message from a peer. The core references the payloads that it keeps. Unknown senders, stale terms: ignored, ND_OK. */
NdStatus	raft_step(Raft *r, const RaftMessage *m);
/* Append n DATA payloads at the leader. ND_NOTLEADER, ND_BUSY (uncommitted bytes, transfer in progress), ND_NOMEM: nothing appended.
 * *first_index, *term tell where the first one stands. */
NdStatus	raft_propose(Raft *r, NdBlob *const *payloads, uint32_t n, uint64_t *first_index, uint64_t *term);
/* Propose the members that shall be; `next` is not joint. When more than one voter comes or goes, a joint configuration is made of the present one and
 * `next` first, and left by itself once it is committed (thesis, 4.3). ND_INVALID: no voter, or malformed; ND_BUSY while another change is
 * under way or no entry of this term is committed, ND_TOOBIG: both together have more than RAFT_MEMBERS_MAX members, ND_NOTLEADER.
 * *index is of the first entry. */
NdStatus	raft_propose_configuration(Raft *r, const RaftConfiguration *next, uint64_t *index);
/* Ask for a read index, on leader or follower; context is > 0 and unique over the life of this process, and beyond it when answers to a
 * former life may still arrive (then it holds the incarnation). The answer comes in RaftUpdate.reads.
 * ND_NOLEADER: nothing was started. A lost round has no answer: the caller asks again, with a new context. */
NdStatus	raft_read_index(Raft *r, uint64_t context);
/* Hand leadership to a voter; ND_NOTLEADER, ND_NOTFOUND. Given up after one election timeout. */
NdStatus	raft_transfer(Raft *r, NdNodeId to);
/* With frugal: the peer waits for the commit of what is in the log now. */
void		raft_commit_wanted(Raft *r, NdNodeId peer);
/* With frugal: is there a peer that has not been told all that it could be? Tell all: the time that they may lag is over. */
bool		raft_commit_untold(const Raft *r);
void		raft_tell_commit(Raft *r);
NdStatus	raft_campaign(Raft *r);		/* start a pre-vote now, e.g. the connection to the leader broke */
/* The transport lost a peer. When it is the leader, others are not refused votes on its behalf until it is heard again. */
NdStatus	raft_peer_unreachable(Raft *r, NdNodeId peer);
/*
 * The end of the snapshot that an update asked for: the peer has everything up to `index`, at least what was announced; 0: it failed. Either way the peer is
 * probed after its next answer to a heartbeat, so a failure is not tried again at once. No effect when the core waits for no snapshot any more.
 */
NdStatus	raft_snapshot_sent(Raft *r, NdNodeId peer, uint64_t index);

/*
 * Storage completions. (index, term): everything up to this entry of this term is durable; ignored if the log no longer has it (ABA).
 * In the order of the flushes. After a cut of entries that were handed over, raft_hard_persisted() alone counts until the hard state given
 * together with the cut is durable: the entries given before a durable hard state are durable as well.
 */
NdStatus	raft_persisted(Raft *r, uint64_t index, uint64_t term);
/* hard_seq: RaftUpdate.hard_seq of an update whose hard state is durable now (and so are all earlier ones). */
NdStatus	raft_hard_persisted(Raft *r, uint64_t hard_seq);
/* The driver truncated entries below first_index (all applied and durable). */
NdStatus	raft_compacted(Raft *r, uint64_t first_index);
/*
 * A snapshot behind (index, term) comes in. The replica lacks an entry that is committed, so it cannot win: until the end it does not campaign, it votes as
 * ever. CLOSED: nor does it take APPENDs: the driver is about to replace the log. The end: raft_snapshot_installed(), or RAFT_INSTALL_NONE.
 * ND_INVALID, nothing changed: as for raft_snapshot_installed(): it is not needed, or not any more. ND_FROZEN: it cannot be, by what this term's leader said.
 */
typedef enum RaftInstall
{
	RAFT_INSTALL_NONE,
	RAFT_INSTALL_COMING,
	RAFT_INSTALL_CLOSED
} RaftInstall;
NdStatus	raft_set_install(Raft *r, RaftInstall install, uint64_t index, uint64_t term);
/* Install: the driver has a snapshot durable; the log restarts behind (index, term). One event: no half state.
 * ND_INVALID, nothing changed: at a leader, at or below commit, or when the log has this very entry (what follows it may be acknowledged).
 * ND_NOMEM: nothing changed, again later. */
NdStatus	raft_snapshot_installed(Raft *r, uint64_t index, uint64_t term, const RaftConfiguration *c);

/* ---- update ---- */

typedef struct RaftReadState
{
	uint64_t	context;
	uint64_t	index;			/* reads that wait until this index is applied are linearizable */
	bool		lost;			/* no answer will come (leader lost): ask again */
} RaftReadState;

typedef struct RaftUpdate
{
	/* To store, in this order: truncate_from (0 = nothing) cuts the suffix from that index on, then append the entries, then the hard state. */
	uint64_t	truncate_from;
	const RaftEntry *entries;
	uint32_t	n_entries;
	bool		hard_changed;
	RaftHardState hard;
	uint64_t	hard_seq;		/* ascending */
	/* Messages that may leave at once (a leader's appends to followers) ... */
	RaftMessage *messages;
	uint32_t	n_messages;
	/* ... and those that leave once the above is durable (votes, acknowledgements). The core emits most acknowledgements after
	 * raft_persisted(); these are the ones that depend on the hard state of this very update. */
	RaftMessage *messages_after;
	uint32_t	n_messages_after;
	/* Committed so far; entries (previous commit, commit] may be handed on once also locally durable. */
	uint64_t	commit;
	const RaftReadState *reads;
	uint32_t	n_reads;
	bool		state_changed;	/* role, term, leader or configuration differ from the last update */
	uint64_t	snapshot_needed_index;	/* > 0: a SNAPSHOT message above announces; the driver must send the data to `snapshot_peer` */
	NdNodeId	snapshot_peer;
} RaftUpdate;

bool		raft_has_update(const Raft *r);
/* Take what has gathered. Valid until raft_update_done(), which must come before the next event. ND_FROZEN. */
NdStatus	raft_take_update(Raft *r, RaftUpdate *u);
void		raft_update_done(Raft *r);

/* ---- questions ---- */

typedef enum RaftState
{
	RAFT_FOLLOWER = 0,
	RAFT_PRECANDIDATE,
	RAFT_CANDIDATE,
	RAFT_LEADER
} RaftState;

typedef struct RaftPeerStatus
{
	NdNodeId	node;
	uint64_t	match;
	uint64_t	next;
	bool		active;			/* heard from within the last check-quorum interval */
	bool		snapshotting;
} RaftPeerStatus;

typedef struct RaftStatus
{
	RaftState	state;
	uint64_t	term;
	NdNodeId	vote;
	NdNodeId	leader;			/* 0 = unknown */
	uint64_t	first_index;
	uint64_t	last_index;
	uint64_t	durable_index;
	uint64_t	commit;
	uint64_t	uncommitted_bytes;
	bool		term_committed;	/* leader: an entry of the own term is committed */
	uint32_t	n_peers;		/* leader only */
	RaftPeerStatus peers[RAFT_MEMBERS_MAX];	/* n_peers of them */
} RaftStatus;

void		raft_status(const Raft *r, RaftStatus *out);
NdNodeId	raft_leader(const Raft *r);
bool		raft_is_leader(const Raft *r);
uint64_t	raft_term_of(const Raft *r, uint64_t index);	/* 0 when unknown */
const RaftConfiguration *raft_configuration(const Raft *r);	/* the newest, committed or not; ends behind members[n - 1] */
const char *raft_frozen_reason(const Raft *r);	/* NULL while all is well */
/* Check every invariant that can be seen from inside; NULL, or what is wrong. For tests and the simulator. */
const char *raft_check(const Raft *r);

#endif
