/*
 * node_internal.h: the state of the driver and the functions that its files share. Nobody else includes it.
 *
 * Who writes what:
 *   node.c         life, groups, questions, the loop
 *   persist.c      RaftUpdate -> store, flushes, what waits for them
 *   outbox.c       peers, frames, what the transport is told
 *   receive.c      frames from peers
 *   deliver.c      committed entries -> certifier -> deliver(); checkpoints, checksums
 *   propose.c      pending proposals, local and forwarded
 *   read.c         read rounds
 *   tick.c         time: elections, early campaigns, sleep, gossip
 *   member.c       the goal (group 0's configuration) and the steps of every group towards it
 *   join.c         tokens, ids, join requests
 *   shown.c        how far are all nodes: is an entry visible, are large transactions prepared?
 *   orphan.c       what nodes that are gone have left behind in the certifiers
 *   circle.c       reservations in several groups that wait for each other
 *   truncate.c     how far the log may be cut
 *   several.c      transactions over several groups: the sequencer's service, the duties of groups
 *   scrub.c        the log is read again, at a pace
 *   ship.c         snapshots to members whose entries were cut
 *   install.c      a snapshot that comes in
 *   balance.c      which node should lead a group
 *   grow.c         data groups that are added
 *   space.c        full disks, disks that lag
 */
#ifndef ND_NODE_INTERNAL_H
#define ND_NODE_INTERNAL_H

#include "../core/base/mutant.h"
#include "../core/multiraft/multiraft.h"
#include "../core/sequencer/participant.h"
#include "node.h"

#define NODE_FRAME_BYTES (1u << 20)		/* a frame leaves when it is about so large; one item may be larger */
#define NODE_PENDING_MAX 65536			/* local proposals under way */
#define NODE_PENDING_BYTES_MAX (256u << 20)
#define NODE_CANCELS_MAX (2 * NODE_PENDING_MAX)	/* what a CANCEL ends costs others more than its place here */
#define NODE_FORWARDED_MAX 8192			/* proposals of other nodes that wait for the next round */
#define NODE_FORWARDED_BYTES_MAX (64u << 20)
#define NODE_BATCH_MAX 256				/* proposals in one raft_propose() */
#define NODE_BATCH_BYTES (1u << 20)
#define NODE_READ_ROUNDS 4				/* read rounds of one group under way */
#define NODE_READS_MAX 65536			/* local reads that wait, over all groups */
#define NODE_WAITING_BYTES_MAX (1u << 20)	/* of messages to one peer that wait for one flush */
#define NODE_ENTRY_OVERHEAD 64			/* what an entry takes in the log beside its payload, at most */
#define NODE_UNDURABLE_BYTES_MAX (128u << 20)
#define NODE_DELIVER_MAX 256			/* entries of one group in one round: groups take turns */
#define NODE_PENDING_BUCKETS 4096
#define NODE_SUMS 8						/* own checksums remembered to compare with peers' */
#define NODE_SHIPMENTS_MAX 2			/* snapshots that are sent at the same time; more wait */
#define NODE_SNAPSHOT_CHUNK (256u << 10)
#define NODE_SNAPSHOT_WINDOW (2u << 20)
#define NODE_CAUGHT_UP 64				/* a learner so close to the leader's end is promoted */

typedef struct NodeGroup NodeGroup;

/* ---- peers ---- */

/*
 * Bytes for a peer pass through up to three buffers: `gather` and `flight` hold what depends on a flush (invariant 1 of node.h), `out` may leave.
 */
typedef struct NodePeer
{
	NdNodeId	node;
	char		address[ND_ADDRESS_MAX];
	bool		wanted;			/* in a configuration or a seed */
	bool		told;			/* the transport knows it */
	bool		up;
	bool		no_space;		/* it said that its disk is full */
	uint32_t	groups_max;		/* it said that it has room for so many data groups; 0: it has not */
	uint64_t	up_tick;
	uint64_t	down_tick;		/* when the connection was lost, or nothing was known of one yet */
	uint64_t	drop_tick;		/* not wanted any more: forgotten then, so that the news of its removal can still reach it */
	uint64_t	heard_tick;		/* last frame */
	uint64_t	sent_tick;
	NdBuf		out;
	NdBuf		gather;			/* depends on what is stored but not handed to a flush */
	NdBuf		flight;			/* depends on the flush under way */
} NodePeer;

/* ---- proposals ---- */

typedef enum PendingState
{
	PENDING_QUEUED,				/* -> OWN or SENT when a leader is known */
	PENDING_OWN,				/* in this leader's log. -> QUEUED when the term or the leader changes */
	PENDING_SENT,				/* forwarded. -> QUEUED by a refusal, a change of leader, or silence */
	PENDING_ORDERED				/* a request that has its position: waits for its outcome */
} PendingState;

typedef struct Pending
{
	struct Pending *hash_next;
	struct Pending *next;		/* in its list */
	struct Pending *prev;
	NodeGroup  *group;
	TxnId		txn;
	EntryKind	kind;
	uint16_t	flags;
	NdBlob	   *entry;
	PendingState state;
	bool		internal;		/* the driver's own: nobody is told how it ends */
	bool		ever_sent;		/* once true, nobody can say that it has no effect */
	uint64_t	request;		/* of the last forwarding */
	uint64_t	deadline_tick;	/* UINT64_MAX: none */
	uint64_t	retry_tick;		/* QUEUED: not before; SENT: when silence means lost */
} Pending;

typedef struct PendingList
{
	Pending    *first;
	Pending    *last;
} PendingList;

typedef struct Forwarded
{
	NdNodeId	from;
	uint64_t	request;
	NdBlob	   *entry;
} Forwarded;

/* ---- reads ---- */

typedef struct ReadWait
{
	struct ReadWait *next;
	uint64_t	token;
	uint64_t	deadline_tick;
} ReadWait;

typedef struct ReadRound
{
	uint64_t	context;		/* 0: free */
	uint64_t	lost_tick;		/* no answer until then: asked again */
	ReadWait   *waits;
} ReadRound;

/* ---- groups ---- */

typedef struct NodeSum
{
	uint64_t	index;
	uint64_t	sum;
} NodeSum;

typedef struct GroupPeer
{
	NdNodeId	node;
	uint64_t	stored;			/* WireGossip */
	uint64_t	shown;
	uint64_t	prepared;
	NodeSum		sum;
} GroupPeer;

/* ---- snapshots ---- */

/* One to a peer, from the leader. In the core the peer waits (SNAPSHOT) until raft_snapshot_sent(). */
typedef enum ShipState
{
	SHIP_WAITING,				/* for its turn, memory, the checkpoint. -> OPENING */
	SHIP_OPENING,				/* for the host; log and checkpoint are held from here on. -> SENDING */
	SHIP_SENDING,				/* -> DONE by INSTALLED, FAILED by a refusal, an error, silence */
	SHIP_DONE,					/* the core is to be told. -> BEHIND */
	SHIP_BEHIND,				/* the log is held until the peer has what is behind the snapshot. -> gone */
	SHIP_FAILED					/* the core is told after a pause. -> gone */
} ShipState;

typedef struct Shipment
{
	struct Shipment *next;
	NdNodeId	to;
	ShipState	state;
	bool		opened;
	bool		accepted;		/* the peer answered the offer: chunks may go */
	bool		offer_due;
	uint64_t	handle;			/* of the host */
	WireSnapshotOffer offer;
	RaftConfiguration configuration;	/* offer.configuration */
	NdBuf		checkpoint;
	uint64_t	at_least;		/* the lowest index that the host may open at */
	uint64_t	sent;			/* offsets in the stream */
	uint64_t	acked;
	bool		ended;			/* what ends at sent is the last */
	uint64_t	heard_tick;		/* last acknowledgement */
	uint64_t	asked_tick;		/* last offer */
	uint64_t	until_tick;		/* FAILED */
	uint64_t	target;			/* BEHIND: until the peer has this entry */
} Shipment;

typedef enum ArrivalState
{
	ARRIVAL_RECEIVING,			/* -> CLOSED when all is with the host and the log is closed; gone when it is not needed any more */
	ARRIVAL_CLOSED				/* content, then log; no delivery, no truncation. -> gone when both are durable */
} ArrivalState;

typedef struct Arrival
{
	NdNodeId	from;
	ArrivalState state;
	WireSnapshotOffer offer;
	RaftConfiguration configuration;
	bool		begun;			/* by the host */
	bool		content_wanted;	/* false: the tables hold more already (a crash between the two halves of an earlier one) */
	bool		content_in;		/* durable in the tables */
	bool		log_given;		/* store_reset_group() was called: no event reaches the core until it is durable */
	bool		log_in;			/* durable */
	NdBuf		checkpoint;
	Certifier  *certifier;		/* from it, or */
	Sequencer  *sequencer;
	NdBuf		inbox;			/* content that the host has not taken yet; ends at `received` */
	uint64_t	received;		/* offset in the stream */
	bool		ended;
	uint64_t	asked_offset;	/* AGAIN was sent for it; UINT64_MAX: none */
	uint64_t	told;			/* offset of the last acknowledgement */
	uint64_t	told_tick;
} Arrival;

/* What becomes durable with a flush. */
typedef struct FlushMark
{
	uint64_t	index;			/* newest entry; 0: none */
	uint64_t	term;
	uint64_t	hard_seq;		/* 0: none */
	uint64_t	checkpoint;		/* 0: none */
	uint64_t	epochs;			/* of the sequencer's checkpoint: NodeGroup.epochs */
	bool		reset;			/* the log was replaced by a snapshot's */
} FlushMark;

/* Chunks that the tables may still need: of TXNs up to `until`, none below `floor`. */
typedef struct ChunkNeed
{
	uint64_t	floor;			/* 0: none */
	uint64_t	until;
} ChunkNeed;

struct NodeGroup
{
	Node	   *node;
	NdGroupId	id;
	Raft	   *raft;
	const char *stopped;		/* why it stopped for good; NULL while well. `raft` is left alone from then on */
	char		text[200];		/* storage of stopped and alarm */
	const char *alarm;
	bool		diverged;
	MultiSleep	sleep;
	bool		active;			/* in Node.active */

	/* update */
	bool		dirty;			/* the core had an event since its last update */
	bool		taken;			/* `update` waits for the store (no space, no memory): no event reaches the core meanwhile */
	int			stage;			/* of persisting it */
	bool		told_stall;
	RaftUpdate	update;
	RaftHardState hard;			/* as stored */
	FlushMark	gather;
	FlushMark	flight;
	FlushMark	owed;			/* durable, not told to the core yet */

	/* as of the last update */
	uint64_t	commit;
	uint64_t	durable;		/* last durable entry that is still in the log */
	uint64_t	term;
	NdNodeId	leader;
	bool		leads;

	/* several groups */
	SeqParticipant participant;	/* of the term below, while this node leads the group */
	uint64_t	participant_term;
	uint64_t	ack_tick;		/* when its acknowledgement goes alone; 0: none is due */
	uint64_t	said_tick;		/* votes and acknowledgements that are not seen are said again behind so many ticks; to this leader */
	uint64_t	said_wait;
	NdNodeId	said_to;
	uint64_t	said_term;

	/* delivery */
	Certifier  *certifier;		/* NULL in group 0 and in the sequencer group */
	uint64_t	delivered;
	uint64_t	applied_start;
	bool		held;			/* entry delivered + 1 was judged, deliver() said ND_BUSY */
	Verdict		held_verdict;
	bool		held_judged;	/* the certifier has been given this entry: whose turn came behind it is to be told */
	StorePosition held_position;
	uint64_t	held_decision;	/* ... and it is an OUTCOME that commits, with other parts here; else 0 */
	bool		held_owed;		/* ... and it is the answer to a proposal of ours, which is out of the table already */
	TxnId		held_txn;
	EntryKind	held_kind;
	uint64_t	stuck_tick;		/* no memory or a busy store: not before this tick */

	/* checkpoints, truncation */
	uint64_t	applied_durable;
	uint64_t	keep_bytes;
	uint64_t	candidate_index;	/* saved, not stored before the tables are durably there; 0: none */
	uint64_t	candidate_epochs;
	NdBuf		candidate;
	uint64_t	checkpoint;		/* stored and durable */
	uint64_t	epochs;			/* the sequencer's: the oldest EPOCH that its durable checkpoint needs; 0: none */
	ChunkNeed	chunks_old;
	ChunkNeed	chunks_new;
	uint64_t	cut;			/* first entry that would be kept by keep_bytes */
	uint64_t	kept_bytes;		/* records cut..delivered, from `counted` on */
	uint64_t	counted;		/* behind a snapshot's checkpoint: what comes below it is never delivered, so never counted */
	NodeSum		sums[NODE_SUMS];	/* ring */
	uint32_t	n_sums;			/* ever */
	bool		gossip_due;
	uint32_t	n_peers;
	uint32_t	cap_peers;
	GroupPeer  *peers;
	uint64_t	shown;			/* here */
	uint64_t	shown_wanted;	/* somebody waits until we show this entry; 0: nobody */
	uint64_t	prepared;		/* here */
	uint64_t	prepared_wanted;	/* somebody waits until we are prepared up to here; 0: nobody */

	/* clients */
	PendingList queued;
	PendingList under_way;
	Forwarded  *forwarded;
	uint32_t	n_forwarded;
	uint32_t	cap_forwarded;
	uint32_t	n_reads;
	ReadWait   *reads;			/* in no round yet; newest first: order does not matter */
	ReadRound	rounds[NODE_READ_ROUNDS];

	/* elections */
	uint64_t	campaign_tick;	/* the leader's node is gone: campaign then; 0: no */
	NdNodeId	campaign_against;
	uint32_t	campaigns_left;
	bool		told_snapshot;

	/* snapshots */
	Shipment   *shipments;
	Arrival    *arrival;
	NdNodeId	arrived_from;	/* the last one that was installed: its sender may ask again */
	uint64_t	arrived_id;
};

/* linger.c: the transaction over several groups whose part was stored last. */
typedef struct Linger
{
	bool		may;			/* as the host said */
	uint8_t		kind;			/* of its entries */
	uint64_t	number;			/* its position */
	uint32_t	wanted;			/* entries of this kind; 0: the flush for which they were wanted is under way */
	uint32_t	seen;
} Linger;

struct Node
{
	NodeConfig	config;
	Store	   *store;
	Transport  *transport;
	NodeCallbacks callbacks;
	bool		has_snapshots;
	NodeSnapshots snapshots;
	uint64_t	next_shipment;
	NdRandom	random;
	uint64_t	tick;
	uint64_t	turn;			/* rounds of the loop: who goes first alternates */
	NdStatus	failed;			/* ND_OK while well */
	bool		changed;		/* tell callbacks.changed at the end of the round */

	uint32_t	n_groups;
	NodeGroup **groups;			/* ascending by id; added to (grow.c), never taken from */
	/* Those that ticks and rounds look at: all but the ones that sleep and wait for nothing. Work costs nothing for the others. */
	uint32_t	n_active;
	NodeGroup **active;			/* n_groups places */
	NdGroupId	served_last;	/* of those that had something to deliver */
	uint32_t	balanced;		/* place in groups of the last one whose leadership was moved */
	uint32_t	n_peers;
	NodePeer   *peers;			/* RAFT_MEMBERS_MAX * 2 places */

	bool		flushing;
	uint64_t	flush_seq;
	Linger		linger;
	bool		no_space;		/* as peers were told last */
	uint64_t	promised;		/* bytes of entries let in since the last round, which the store does not have yet */
	uint64_t	scrub_credit;	/* thousandths of bytes that the scrub may read */
	uint64_t	damages;		/* of the store, told so far */

	Pending   **pending;		/* hash table */
	Pending   **by_request;		/* newest forwarding per slot: answers find theirs */
	uint32_t	n_pending;
	uint64_t	pending_bytes;
	uint64_t	next_request;
	uint64_t	next_read;
	uint32_t	n_reads;
	uint32_t	n_forwarded;
	uint64_t	forwarded_bytes;

	/* the sequencer group; NULL: there is none */
	NodeGroup  *sequencer_group;
	Sequencer  *sequencer;
	SeqInbox   *inbox;
	uint64_t	leads_term;		/* term in which this node leads it and has applied its no-op; 0: it does not lead */
	uint64_t	time_base;		/* its clock: the time of the last epoch then, and ticks since */
	uint64_t	time_tick;
	uint64_t	silent_position;	/* what was open at the last look and still is: its groups had their time */
	uint64_t	silent_tick;
	uint64_t	silent_said;	/* abort entries up to this position stand in the log of this term */

	/* group 0, committed */
	RaftConfiguration goal;
	NdNodeId	highest_seen;	/* highest id in any goal so far: what a stale goal does not know is not removed by it */
	bool		has_meta;
	WireMeta	meta;
	bool		want_token;
	uint8_t		token_hash[WIRE_TOKEN_HASH_BYTES];
	uint64_t	meta_proposed;	/* index of our proposal under way; 0: none */
	uint64_t	meta_term;
	RaftConfiguration hint;		/* a newer committed configuration that a peer told of: only whose connections to expect */
	bool		members_due;
	NodeMember *seeds;
	uint32_t	n_seeds;

	RaftStatus	scratch_status;
	RaftConfiguration scratch_configuration;
};

/* node.c */
NodeGroup  *node__group(const Node *n, NdGroupId id);
/* A group that the store has, from what the store has of it; in no list yet. On an error nothing is left. */
NdStatus	node__start_group(Node *n, NdGroupId id, uint64_t applied, NodeGroup **out, char *error, size_t error_len);
bool		node__ready(const NodeGroup *g);	/* may the core have an event now? */
void		node__event(NodeGroup *g, NdStatus status);	/* after every event: dirty, active, frozen */
void		node__activate(NodeGroup *g);	/* something is to be done */
void		node__wake(NodeGroup *g);	/* and it does not sleep any more */
void		node__log(Node *n, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
void		node__stop_group(NodeGroup *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void		node__alarm(NodeGroup *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
void		node__fail(Node *n, NdStatus status, const char *what);

/* persist.c */
bool		node__gather(NodeGroup *g);
bool		node__flush_poll(Node *n);
bool		node__flush_start(Node *n);
void		node__release_clean(Node *n);

/* outbox.c */
NodePeer   *node__peer(const Node *n, NdNodeId node);
bool		node__connected(const Node *n, NdNodeId node);
/* To one peer, with the next frame. Unknown peers: dropped. */
void		node__put_item(Node *n, NdNodeId to, void (*put) (NdBuf *buf, const void *item), const void *item);
void		node__put_raft(Node *n, const RaftMessage *m, bool after);
void		node__send_all(Node *n);
void		node__release_peers(Node *n, bool gather);
void		node__turn_peers(Node *n);
void		node__refresh_peers(Node *n);
void		node__sweep_peers(Node *n);
void		node__free_peers(Node *n);
void		node__broadcast(Node *n, void (*put) (NdBuf *buf, const void *item), const void *item);
/* Adapters of wire_put_*() for node__put_item() and node__broadcast(). */
void		node__item_proposal(NdBuf *buf, const void *item);
void		node__item_answer(NdBuf *buf, const void *item);
void		node__item_gossip(NdBuf *buf, const void *item);
void		node__item_sleep(NdBuf *buf, const void *item);
void		node__item_members(NdBuf *buf, const void *item);
void		node__item_snapshot_offer(NdBuf *buf, const void *item);
void		node__item_snapshot_chunk(NdBuf *buf, const void *item);
void		node__item_snapshot_ack(NdBuf *buf, const void *item);

/* deliver.c */
bool		node__deliver(NodeGroup *g);
NdStatus	node__restore_state(NodeGroup *g, char *error, size_t error_len);
void		node__tell_owners(NodeGroup *g);
void		node__store_checkpoint(NodeGroup *g);
void		node__take_gossip(NodeGroup *g, NdNodeId from, const WireGossip *gossip);
void		node__put_gossip(NodeGroup *g);
void		node__put_question(NodeGroup *g, uint64_t shown_wanted, uint64_t prepared_wanted);	/* gossip that asks; 0: not for that */
void		node__take_shown(NodeGroup *g, GroupPeer *p, const WireGossip *gossip);

/* propose.c */
NdStatus	node__propose_cancel(NodeGroup *g, TxnId txn, uint64_t base, uint32_t deadline_ticks);
bool		node__propose_round(NodeGroup *g);
void		node__requeue(NodeGroup *g);
void		node__take_proposal(NodeGroup *g, NdNodeId from, const WireProposal *p);
void		node__take_answer(NodeGroup *g, NdNodeId from, const WireAnswer *a);
bool		node__answered(NodeGroup *g, const EntryHeader *h);	/* true: a client waited for it */
void		node__proposal_ticks(NodeGroup *g);
void		node__fail_proposals(NodeGroup *g, NdStatus reason);
void		node__fail_sent(NodeGroup *g, NdStatus reason);	/* only those that may be in the log */
void		node__free_proposals(NodeGroup *g);

/* read.c */
bool		node__read_round(NodeGroup *g);
ReadWait   *node__read_answer(NodeGroup *g, const RaftReadState *r);
void		node__read_finish(NodeGroup *g, ReadWait *waits, NdStatus status, uint64_t index);
void		node__read_ticks(NodeGroup *g);
void		node__fail_reads(NodeGroup *g, NdStatus reason);

/* tick.c */
void		node__plan_campaign(NodeGroup *g, NdNodeId gone);

/* member.c */
void		node__take_goal(Node *n, const RaftEntry *e);
void		node__reconcile(NodeGroup *g);
bool		node__members_settled(const NodeGroup *g);	/* no step is left: then its leader may sleep */

/* balance.c */
uint32_t	node__rank(const NodeGroup *g, NdNodeId gone);	/* how many of the voters that are connected should lead rather than this node; `gone` aside */
void		node__balance(Node *n);

/* space.c */
bool		node__room(Node *n, uint64_t bytes);	/* may entries of so many payload bytes come in? True: they are counted */
void		node__space_ticks(Node *n);
NdNodeId	node__heir(NodeGroup *g);	/* who should lead when this node cannot; 0: nobody is better */

/* join.c */
NdStatus	node__take_meta(Node *n, const RaftEntry *e);
void		node__reconcile_meta(Node *n);
bool		node__meta_settled(const Node *n);	/* at the leader: it knows the newest record, and none is under way */
NdStatus	node__propose_meta(Node *n, const WireMeta *m);
CertifierLimits node__certifier_limits(Node *n);	/* of groups that begin */

/* grow.c */
NdStatus	node__make_groups(Node *n, uint64_t index);	/* those of the meta record, which stands at index, that are missing here. ND_NOMEM: try again */
void		node__take_growth(Node *n, const WireProposal *p);
uint32_t	node__data_groups(const Node *n);	/* here */

/* orphan.c */
NdStatus	node__announce(NodeGroup *g);
void		node__cancel_orphans(NodeGroup *g);

/* several.c */
NdStatus	node__several_create(Node *n);
void		node__several_destroy(Node *n);
NdStatus	node__sequencer_restore(NodeGroup *g, const void *data, size_t len);	/* from a checkpoint; NULL: there is none yet */
NdStatus	node__sequencer_apply(NodeGroup *g, const RaftEntry *e);
uint64_t	node__sequencer_floor(const NodeGroup *g);	/* as sequencer_floor(), of the state now; 0 for other groups */
void		node__sequencer_installed(NodeGroup *g, Sequencer *s);	/* the state of a snapshot: takes it over */
bool		node__several_round(Node *n);
void		node__several_ticks(Node *n);
bool		node__several_busy(const NodeGroup *g);	/* something of it is not finished: it must not sleep */
/* At the leader. *not_ready: its own no-op is not applied yet. */
SeqRefusal	node__sequencer_offer(NodeGroup *g, NdBlob *request, bool *not_ready);
/* May the OUTCOME that g holds be delivered? Then all its parts here, g's too, in `parts`. false: *status is ND_BUSY, another group is not there yet; or worse. */
bool		node__parts_ready(NodeGroup *g, const EntryHeader *h, NodePart *parts, uint32_t *n_parts, NdStatus *status);

/* propose.c: requests of this node. An epoch was applied; an outcome was delivered; a snapshot of g was installed, and the outcome may be among what was skipped */
void		node__ordered(NodeGroup *g);
void		node__outcome(Node *n, TxnId txn);
void		node__fail_skipped(NodeGroup *g, NdStatus reason);

/* scrub.c */
void		node__scrub(Node *n);
bool		node__log_lost(Node *n, NdStatus status);	/* does it say that the log cannot be read? Then the node has failed */

/* truncate.c */
void		node__truncate(NodeGroup *g);
void		node__need_chunks(NodeGroup *g, uint64_t index, const EntryHeader *h);	/* the TXN at index was certified */
void		node__need_log(NodeGroup *g, uint64_t index, uint64_t floor);	/* until the tables durably hold index, from floor on */
GroupPeer  *node__group_peer(NodeGroup *g, NdNodeId node, bool create);
uint64_t	node__chunk_floor(NodeGroup *g);	/* the lowest chunk that tables may still need; 0: none */

/* ship.c */
void		node__ship_wanted(NodeGroup *g, NdNodeId peer);	/* the core announced a snapshot */
bool		node__ships(const NodeGroup *g);	/* are there snapshots of this group? */
bool		node__ship(NodeGroup *g);
void		node__ship_ticks(NodeGroup *g);
void		node__ship_peer_up(NodeGroup *g, NdNodeId peer);
uint64_t	node__ship_floor(const NodeGroup *g);	/* the log is held from behind this entry on; UINT64_MAX: nothing holds it */
void		node__take_snapshot_ack(NodeGroup *g, NdNodeId from, const WireSnapshotAck *a);
void		node__free_shipments(NodeGroup *g);

/* install.c */
bool		node__installing(const NodeGroup *g);	/* the log is closed, or being replaced */
bool		node__resetting(const NodeGroup *g);	/* the store has the new log, the core the old one */
bool		node__install(NodeGroup *g);
void		node__install_ticks(NodeGroup *g);
void		node__install_log_durable(NodeGroup *g);
void		node__take_snapshot_offer(NodeGroup *g, NdNodeId from, const WireSnapshotOffer *o);
void		node__take_snapshot_chunk(NodeGroup *g, NdNodeId from, const WireSnapshotChunk *c);
void		node__free_arrival(NodeGroup *g);

/* linger.c */
void		node__expect(NodeGroup *g, const RaftEntry *e);	/* it was stored */
void		node__expect_flushed(Node *n);

#endif
