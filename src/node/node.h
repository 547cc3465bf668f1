/*
 * node.h: the driver of one node: step, persist, then send, then hand on; for all groups. No PostgreSQL here: the raft worker and the
 * simulator run this same code.
 *
 * What it owns: the Raft groups, their certifiers, the table of pending local proposals and reads. It borrows store and transport.
 *
 * One round of node_work(): gather updates of all groups -> store (append, hard states) -> send what may leave now -> start one flush
 * -> when a flush has finished: release what depended on it, raft_persisted() -> deliver newly committed entries that are locally durable.
 *
 * Invariants:
 * 1. A message that depends on hard state or entries leaves only after the flush that covers them.
 * 2. An entry is delivered at most once per process life, in index order per group, at min(committed, locally durable); deliver() may say ND_BUSY:
 *    then it is offered again later, and nothing behind it is delivered in that group. Raft and votes never wait for delivery.
 * 3. After a restart delivery starts behind the certifier's checkpoint; `index <= applied` entries are certified but marked replayed. So it does when a
 *    snapshot was installed: the entries that its checkpoint covers are never delivered here.
 * 4. A proposal is answered exactly once: delivered (by its entry), or failed before it was ever sent anywhere, or unknown at its deadline, or when a snapshot
 *    replaced the log that may hold it.
 *    While it waits it is proposed again under the same id after a leader change; the certifier makes copies harmless.
 * 5. A failed store stops every group of the node (node_failed()): a failed write, and damage in what is needed, found by a read or the scrub.
 */
#ifndef ND_NODE_H
#define ND_NODE_H

#include "../core/certifier/certifier.h"
#include "../core/raft/raft.h"
#include "../core/sequencer/inbox.h"
#include "../core/wire/wire.h"
#include "../store/store.h"
#include "../transport/transport.h"

typedef struct Node Node;

#define ND_GROUP_META 0
#define ND_GROUP_SEQUENCER UINT32_MAX	/* the order of transactions over several groups; a cluster may have none */
/* What the metadata group's configuration keeps of a member (RaftMember.context): id, role there, name, address, host id, leaving (wire.h). */
typedef WireMember NodeMember;

/* A part of a transaction over several groups that is applied here: an OUTCOME and its MARKER, which has the part. */
typedef struct NodePart
{
	NdGroupId	group;
	uint64_t	index;			/* of the OUTCOME: the part takes effect there */
	uint64_t	marker;
	uint64_t	term;			/* of the MARKER, as the next */
	StorePosition position;
} NodePart;

typedef struct NodeDelivery
{
	NdGroupId	group;
	uint64_t	index;
	uint64_t	term;
	RaftEntryKind kind;
	bool		replayed;		/* index is at or below what the tables held at node_create(), or by a snapshot: certified again, not to be applied */
	bool		has_header;		/* DATA of a data group */
	EntryHeader header;			/* points into the payload: valid during the call */
	Verdict		verdict;
	StorePosition position;
	bool		local;			/* header.txn is of this node and this incarnation, and not replayed */
	/*
	 * An OUTCOME that commits and is not replayed: all parts that this node has replicas of and has not applied, to be applied in one local transaction. One
	 * call for all of them, of the group that came last to its OUTCOME; the other groups' streams stood still meanwhile, and go on behind theirs.
	 */
	const NodePart *parts;
	uint32_t	n_parts;
} NodeDelivery;

typedef enum NodeOutcome
{
	NODE_NOT_SENT,				/* failed, surely without effect */
	NODE_UNKNOWN				/* may or may not commit later */
} NodeOutcome;

/*
 * What the host does for snapshots (src/node/README.md; the sequencer group's need no host): the content of its tables of one data group, as bytes that only hosts understand. Every call may say
 * ND_BUSY or ND_NOMEM: it is made again later, with the same arguments. Anything else but ND_OK ends this snapshot, and another one is tried after a while.
 * node_destroy() calls none of them. All from the node's thread.
 */
typedef struct NodeSnapshots
{
	/* Sender. Open the content as of an entry: *index >= at_least, a prefix of what was delivered. */
	NdStatus	(*open)(void *ctx, NdGroupId group, uint64_t at_least, uint64_t *handle, uint64_t *index);
	/* Bytes from offset on: *len <= cap of them; *last: the content ends behind them. An offset may come again, down to 0. Always the same bytes. */
	NdStatus	(*read)(void *ctx, uint64_t handle, uint64_t offset, uint8_t *out, uint32_t cap, uint32_t *len, bool *last);
	void		(*close)(void *ctx, uint64_t handle);
	/* Receiver, one per group at a time. What an earlier begin() left is void, also one of an earlier life. */
	NdStatus	(*begin)(void *ctx, NdGroupId group, uint64_t index);
	NdStatus	(*write)(void *ctx, NdGroupId group, uint64_t offset, const uint8_t *data, size_t len);	/* consecutive offsets */
	/*
	 * All is written: make it the content of the tables, at once and for good. ND_OK: durable, and applied() of a later life says index. A crash before leaves the
	 * tables as they were. What was delivered of this group and is not applied yet is below index, and void. Nothing of the group is delivered until the
	 * node has the log and the certifier that belong to it; then delivery goes on with entries at or below index as replayed. Such entries may also be
	 * skipped without a call, when the tables hold the rows already.
	 */
	NdStatus	(*install)(void *ctx, NdGroupId group);
	void		(*abort)(void *ctx, NdGroupId group);
	void	   *ctx;
} NodeSnapshots;

typedef struct NodeCallbacks
{
	/* A committed entry, in order. ND_OK or ND_BUSY (no room: offered again in a later round). */
	NdStatus	(*deliver)(void *ctx, const NodeDelivery *d);
	/*
	 * A RESERVE of this node and this life that was delivered with VERDICT_QUEUED owns its keys from behind `index` on. Behind the deliver() of that entry, replayed or not; after
	 * a snapshot, of all that own something by then: ids may come that the host does not wait for. May be NULL.
	 */
	void		(*granted)(void *ctx, NdGroupId group, uint64_t index, TxnId txn);
	/* A pending proposal ended without its entry being delivered. reason: ND_NOLEADER, ND_NOQUORUM, ND_TOOBIG, ND_BUSY, ND_FULL ... */
	void		(*proposal_failed)(void *ctx, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason);
	/* Answer of node_read(): status ND_OK with the read index, else ND_NOLEADER at the deadline. */
	void		(*read_done)(void *ctx, NdGroupId group, uint64_t token, NdStatus status, uint64_t index);
	void		(*changed)(void *ctx);		/* roles, terms, membership: refresh status */
	void		(*log)(void *ctx, int level, const char *text);	/* 0 debug, 1 log, 2 warning, 3 alarm */
	void	   *ctx;
	const NodeSnapshots *snapshots;	/* copied; NULL: none, and then the log is never cut above what every member has stored */
} NodeCallbacks;

typedef struct NodeConfig
{
	NdNodeId	self;
	uint32_t	incarnation;
	uint64_t	cluster_id;
	uint32_t	tick_ms;
	uint32_t	election_ticks;
	uint32_t	heartbeat_ticks;
	uint32_t	append_bytes_max;
	uint32_t	inflight_max;
	uint64_t	inflight_bytes_max;
	uint64_t	uncommitted_bytes_max;
	CertifierLimits certifier;	/* for new groups */
	uint64_t	checkpoint_every;	/* entries between certifier checkpoints and checksum comparisons; the same on all nodes; 0: 4096 */
	uint32_t	entry_bytes_max;	/* larger proposals: ND_TOOBIG; not above StoreConfig.record_bytes_max; 0: WIRE_ENTRY_BYTES_MAX, which is also the most */
	uint64_t	undurable_bytes_max;	/* in the store's buffers while the disk lags: above it no entries come in; 0: 128 MB */
	uint32_t	sleep_after_ticks;	/* an idle group sleeps after so long (core/multiraft); 0: never */
	bool		fixed_leaders;	/* leadership stays where it is: no balance between nodes (balance.c) */
	uint32_t	orphan_ticks;	/* a member out of reach for so long loses what its transactions reserved and their chunks; 0: never (orphan.c) */
	uint64_t	scrub_bytes_per_s;	/* how fast the log is read again to find damage (store.h, store_scrub()); 0: never */
	uint32_t	snapshot_chunk_bytes;	/* of a snapshot in one frame; 0: 256 kB, at most WIRE_SNAPSHOT_CHUNK_MAX */
	uint32_t	snapshot_window_bytes;	/* of a snapshot under way to one peer; 0: 2 MB */
	uint32_t	vote_ticks;		/* the sequencer's leader aborts what a group has not voted on for so long, or up to twice as long; 0: 20 election timeouts */
	SeqLimits	sequencer;		/* of its inbox; zero: SEQ_LIMITS_DEFAULT */
	uint32_t	groups_max;		/* data groups that the host has room for, should some be added (grow.c); 0: ENTRY_GROUPS_MAX */
	uint64_t	seed;
} NodeConfig;

/* The driver's own CANCEL entries carry these flags, whatever their id: local clients use others. */
#define NODE_CANCEL_FLAGS 0xffff

/* applied(ctx, group): highest index whose effects this node's tables hold; that of the last commit is enough. Asked once per group at create, the sequencer's aside.
 * NULL: 0 everywhere. What it means for the group stands in NodeGroupStatus.applied_start. */
NdStatus	node_create(const NodeConfig *config, Store *store, const NodeCallbacks *callbacks,
						uint64_t (*applied)(void *ctx, NdGroupId group), Node **out, char *error, size_t error_len);
void		node_destroy(Node *n);
/* The transport must be given before the first work; frames go in through node_frame(). */
void		node_set_transport(Node *n, Transport *t);

/*
 * May a flush wait for entries that are sure to come soon, the other parts of a transaction over several groups? Said before each node_work(); at first it may not. It pays where a flush
 * takes long. node_lingers(): one waits now. Then say no, and call node_work(), about a millisecond later.
 */
void		node_set_linger(Node *n, bool may);
bool		node_lingers(const Node *n);

/* ---- founding and membership ---- */
/* Both bootstraps only buffer: the groups are durable with the node's first flush, before anything that depends on them. A crash earlier leaves
 * a store without groups: call again. */
/* First node of a new cluster: metadata group and data groups 1..n_data_groups with this node as the only voter. Store must be empty. */
NdStatus	node_bootstrap(Store *store, const NodeMember *self, uint32_t n_data_groups);
/* A joining node: empty groups (no members), waiting to be told by the leader. */
NdStatus	node_bootstrap_joining(Store *store, uint32_t n_data_groups);
/* Behind one of the two: the sequencer group as well. self: NULL on a node that joins. */
NdStatus	node_bootstrap_sequencer(Store *store, const NodeMember *self);
/* At the leader of the metadata group: add a member to every group as learner, promoted to voter when caught up. Progress by itself, across
 * leader changes (the metadata configuration is the goal, every group's leader moves its group towards it). ND_NOTLEADER, ND_BUSY, ND_INVALID (id, name or address in
 * use by another, or an id that is not above every id ever given: ids ascend and are never reused). ND_OK again for the same member. */
NdStatus	node_add_member(Node *n, const NodeMember *m);
/* Marks the member as leaving in group 0; it goes from the data groups first, from group 0 last. ND_OK again while it leaves; ND_INVALID: the last voter. */
NdStatus	node_remove_member(Node *n, NdNodeId node);
NdStatus	node_transfer(Node *n, NdGroupId group, NdNodeId to);
/*
 * More data groups, on all nodes. From any node: call it again with the same growth, a tick later or so, until it says something else than ND_BUSY. Progress by itself once it is sent.
 *
 * ND_OK: this node has so many and knows a leader of each. ND_BUSY: on its way; or `node` has not said how much room it has, or nobody leads. Nothing has changed: ND_TOOBIG, `node` has
 * room for `room` only; ND_INVALID, more than ENTRY_GROUPS_MAX; ND_NOTFOUND, this cluster has no sequencer. Whoever stops calling while `sent` is false is sure that nothing
 * comes of it.
 */
typedef struct NodeGrowth
{
	uint32_t	n_data_groups;	/* the new number of them */
	bool		sent;			/* out: it may happen whatever is said here */
	NdNodeId	node;			/* out: ND_TOOBIG, or ND_BUSY: who has no room; 0: nobody */
	uint32_t	room;			/* out: of that node; 0: it has not said, or its version cannot add groups */
	uint64_t	again_tick;		/* the driver's; 0 at first */
} NodeGrowth;
NdStatus	node_add_groups(Node *n, NodeGrowth *growth);
/* The committed members (group 0's configuration); returns how many there are. */
uint32_t	node_members(const Node *n, NodeMember *out, uint32_t cap);
/* A joining node knows nobody: the member list of the join answer, so that it accepts their streams until group 0's configuration reaches it. */
NdStatus	node_set_seed_peers(Node *n, const NodeMember *members, uint32_t n_members);
/* The secret that join requests must carry; only its hash enters group 0's log. At the leader of group 0. ND_OK: it is in force;
 * ND_BUSY: on its way, call again; ND_NOTLEADER. */
NdStatus	node_set_token(Node *n, const void *secret, size_t len);
/* Judge a join request (wire.h, WireJoinRequest). ND_OK: `answer` holds the encoded WireJoinAnswer to send; ND_BUSY: not decided yet or no memory,
 * call again with the same bytes after the next tick. Idempotent: a node that asks again gets the same id. */
NdStatus	node_handle_join(Node *n, const uint8_t *request, size_t len, NdBuf *answer);

/* ---- events ---- */
/*
 * Commits are told to followers with the next message, at once only to those that wait for one. node_commit_untold(): somebody could be told more;
 * node_tell_commit() does it. Call it some milliseconds later: how far a replica may lag that nobody waits for. Ticks do it as well.
 */
bool		node_commit_untold(const Node *n);
void		node_tell_commit(Node *n);
/*
 * Is an entry visible on all nodes? node_ask_shown() asks the members to tell when their tables show the entry at index; node_shown_by_all() is the highest
 * one that all connected voters but this one have told of (UINT64_MAX: none is connected). node_shown(): this node's tables show everything up
 * to index; true while somebody waits for more: then call it again soon.
 */
void		node_ask_shown(Node *n, NdGroupId group, uint64_t index);
uint64_t	node_shown_by_all(const Node *n, NdGroupId group);
/* What that one member has told. */
uint64_t	node_shown_by(const Node *n, NdGroupId group, NdNodeId member);
bool		node_shown(Node *n, NdGroupId group, uint64_t index);
/*
 * The same for large transactions whose chunks are replayed ahead of their TXN: node_ask_prepared() asks the members to tell how far they are until they are at the
 * chunk at index; node_prepared_by_all() is the least that the connected voters but this one have told of. node_prepared(): of the chunks below `until`
 * this node has replayed all that it ever replays ahead; UINT64_MAX: of all that were delivered.
 */
void		node_ask_prepared(Node *n, NdGroupId group, uint64_t index);
uint64_t	node_prepared_by_all(const Node *n, NdGroupId group);
void		node_prepared(Node *n, NdGroupId group, uint64_t until);
void		node_tick(Node *n);			/* every tick_ms */
void		node_frame(Node *n, NdNodeId from, const uint8_t *data, size_t len);
void		node_peer_up(Node *n, NdNodeId peer, uint32_t incarnation);
void		node_peer_down(Node *n, NdNodeId peer);	/* if it led a group here, that group campaigns early (staggered by priority and seed) */
/* Do what can be done now; call after any event and when the vfs or deliver() has room again. Returns true when more work is ready. */
bool		node_work(Node *n);

/* ---- local clients ---- */
/*
 * Propose an encoded entry (entry.h) to a data group. Answered by deliver() or proposal_failed(). ND_NOMEM, ND_BUSY, ND_TOOBIG: not accepted; a CANCEL
 * finds room when others do not. deadline: in ticks from now; NODE_NO_DEADLINE: proposed again until it is delivered or the node fails.
 */
#define NODE_NO_DEADLINE UINT32_MAX
NdStatus	node_propose(Node *n, NdGroupId group, NdBlob *entry, uint32_t deadline_ticks);
/*
 * Propose a transaction over several groups: an encoded REQUEST (seq_entry.h). It is answered by the first OUTCOME of its id that is delivered as local: a commit comes once
 * with all parts, an abort once per group. Or by proposal_failed() of ND_GROUP_SEQUENCER and ENTRY_MARKER, as for node_propose(); a sequencer without room, or for which it
 * is too big, refuses it at once (ND_BUSY, ND_TOOBIG; NODE_UNKNOWN from another node, for a copy may be under way: a CANCEL of the id in one of its groups settles it). Once it
 * has its position an outcome comes, at the latest by an ABORT entry against a group that does not vote, and as soon as the groups have leaders; the deadline goes on: an
 * outcome may be delivered after it. ND_NOTFOUND: this cluster has no sequencer.
 */
NdStatus	node_propose_several(Node *n, NdBlob *request, uint32_t deadline_ticks);
/*
 * Will the proposal that waits for its answer, a TXN or (of ND_GROUP_SEQUENCER) a MARKER, abort wherever it comes, for what this node's certifiers know? *verdict: why; *by: the group whose
 * log says so (certifier_is_lost()).
 */
bool		node_is_lost(Node *n, NdGroupId group, TxnId txn, EntryKind kind, Verdict *verdict, NdGroupId *by);
/* The backend gave up waiting; no more callbacks for it, no more re-proposals. */
void		node_forget(Node *n, NdGroupId group, TxnId txn, EntryKind kind);
NdStatus	node_read(Node *n, NdGroupId group, uint64_t token, uint32_t deadline_ticks);
/* Tables hold everything up to index, durably: the log may be truncated below min(this, checkpoint, open chunks, slowest member) minus keep_bytes. With
 * NodeSnapshots the slowest member does not count: it gets a snapshot. Of the sequencer's log as much is kept as was said last of any group. */
void		node_applied_durable(Node *n, NdGroupId group, uint64_t index, uint64_t keep_bytes);

/* Where a live entry stands and its term, e.g. a chunk that a TXN names. ND_NOTFOUND, ND_COMPACTED. */
NdStatus	node_entry_position(const Node *n, NdGroupId group, uint64_t index, StorePosition *position, uint64_t *term);
/* Are chunks of this transaction kept for a TXN that is not delivered yet? Inside deliver(): as it is behind the entry that is being delivered. */
bool		node_chunks_open(const Node *n, NdGroupId group, TxnId txn);

/* ---- questions ---- */
typedef struct NodeGroupStatus
{
	NdGroupId	group;
	RaftStatus	raft;
	uint64_t	delivered;		/* last index handed to deliver() */
	uint64_t	certifier_checksum;	/* at checksum_index, the last multiple of checkpoint_every (node_certifier_checksum() is of now) */
	uint64_t	checksum_index;
	CertifierStatus certifier;
	const char *frozen;			/* NULL when well */
	const char *alarm;			/* NULL when well: the group works, but somebody must look */
	bool		asleep;
	uint64_t	applied_durable;	/* as told by node_applied_durable() */
	uint32_t	snapshots_out;	/* under way to others */
	bool		snapshot_in;	/* one comes in */
	uint32_t	n_replicas;		/* members of its configuration, voters and learners */
	NdNodeId	replicas[RAFT_MEMBERS_MAX];
	uint64_t	applied_start;	/* as told to node_create(); or the checkpoint, when nothing between changes tables. What is below is not delivered to be applied */
} NodeGroupStatus;
uint32_t	node_group_count(const Node *n);
uint32_t	node_data_groups(const Node *n);
uint32_t	node_active_groups(const Node *n);	/* those that ticks and rounds look at: the others sleep, and cost nothing */
NdStatus	node_group_status(const Node *n, uint32_t i, NodeGroupStatus *out);
bool		node_failed(const Node *n, NdStatus *status);
void		node_set_scrub_rate(Node *n, uint64_t bytes_per_s);	/* NodeConfig.scrub_bytes_per_s, from now on */
uint64_t	node_certifier_checksum(const Node *n, NdGroupId group);
/* certifier_reservation() of a data group, as of what is delivered. */
bool		node_reservation(const Node *n, NdGroupId group, uint64_t i, CertifierReservation *out);
/*
 * A transaction of this node asks, or is about to ask, for the keys of a RESERVE in a group (`wants`; NULL: those for which it stands in the group's line), though it may own something in a higher
 * one. Who waits for it, and for whom it would wait, is cancelled (circle.c). Not inside deliver(); call it again as long as it waits.
 */
void		node_end_circle(Node *n, NdGroupId group, TxnId txn, const EntryHeader *wants);
/* The sequencer's state as of what is delivered here, to look at. NULL: this cluster has none. */
const Sequencer *node_sequencer(const Node *n);
/* For tests and the simulator: the core of a group, to look at (raft_check(), raft_configuration()), never to change. NULL: no such group. */
const Raft *node_raft(const Node *n, NdGroupId group);

#endif
