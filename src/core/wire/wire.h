/*
 * wire.h: what nodes say to each other: frames, join requests and answers, members' contexts, the metadata group's record.
 *
 * A frame is one protobuf message (nodedb.proto). Protobuf merges concatenated messages, so a frame is built by appending: every
 * wire_put_*() adds one item to a buffer, and the bytes of two frames in a row are one frame. That is also how frames are split by size.
 *
 * Invariants:
 * 1. A decoder trusts no length, count or enum from outside. A frame is checked as a whole before its first item is handed out.
 * 2. The sender is who the transport says: no item carries `from`.
 * 3. Numbers on the wire are fixed (golden bytes in test/unit/test_wire.c); a new field gets a new number, an old one is never reused.
 */
#ifndef ND_WIRE_H
#define ND_WIRE_H

#include "../raft/raft.h"

#define ND_ADDRESS_MAX 160		/* bytes of "host:port" with the terminating zero */
#define ND_NAME_MAX 64
#define WIRE_ENTRY_BYTES_MAX (8u << 20)	/* one entry with all that is around it stays well below TRANSPORT_FRAME_BYTES_MAX */
#define WIRE_TOKEN_HASH_BYTES 32

typedef struct WireMember
{
	NdNodeId	node;
	RaftRole	role;
	char		name[ND_NAME_MAX];
	char		address[ND_ADDRESS_MAX];
	uint64_t	host_id;		/* PostgreSQL's system identifier; 0: not known */
	bool		leaving;		/* to be removed from every group, from group 0 last */
} WireMember;

/* ---- items of a frame ---- */

typedef struct WireProposal
{
	NdGroupId	group;
	uint64_t	request;		/* chosen by the sender, echoed in the answer */
	const uint8_t *entry;
	size_t		len;
} WireProposal;

typedef enum WireAnswerKind
{
	WIRE_ACCEPTED = 0,			/* in the leader's log at (index, term): not committed yet */
	WIRE_NOT_LEADER = 1,		/* `leader` may know better */
	WIRE_BUSY = 2,
	WIRE_REFUSED = 3			/* malformed or too big: never again */
} WireAnswerKind;

typedef struct WireAnswer
{
	NdGroupId	group;
	uint64_t	request;
	WireAnswerKind kind;
	NdNodeId	leader;
	uint64_t	index;
	uint64_t	term;
} WireAnswer;

typedef struct WireGossip
{
	NdGroupId	group;
	uint64_t	stored;			/* min(commit, durable): the sender never asks for entries at or below it again */
	uint64_t	applied;		/* durably in its tables */
	uint64_t	checksum_index;	/* 0: none yet */
	uint64_t	checksum;		/* of its certifier when everything up to checksum_index was judged */
	uint64_t	shown;			/* visible in its tables */
	uint64_t	shown_wanted;	/* not 0: tell when yours show this entry */
	bool		no_space;		/* the sender's disk is full: it should not lead */
	uint64_t	prepared;		/* of the chunks up to here it has replayed all that it replays ahead of their TXN */
	uint64_t	prepared_wanted;	/* not 0: tell how far you are with that, until you are here */
	uint32_t	groups_max;		/* of group 0: the sender has room for so many data groups, and makes those that the meta record says; 0: it does not say */
} WireGossip;

typedef struct WireSleep
{
	NdGroupId	group;
	uint64_t	term;
	uint64_t	commit;			/* = last index: the leader has nothing more to say */
} WireSleep;

/* Group 0's committed configuration as of its index; only tells the receiver whose connections to expect. */
typedef struct WireMembers
{
	uint64_t	index;
	const RaftConfiguration *configuration;
} WireMembers;

/*
 * Snapshots (src/node/README.md). A stream of bytes: first the certifier's checkpoint, checkpoint_bytes of them, then what the sender's host gives.
 * index <= checkpoint <= applied: the log begins behind `index`, which is also below every chunk that a TXN behind `applied` may name.
 */
#define WIRE_SNAPSHOT_CHUNK_MAX (1u << 20)	/* bytes of data */
#define WIRE_CHECKPOINT_BYTES_MAX (1u << 30)

typedef struct WireSnapshotOffer
{
	NdGroupId	group;
	uint64_t	id;				/* chosen by the sender, never again */
	uint64_t	index;
	uint64_t	term;			/* of the entry at index */
	uint64_t	checkpoint;
	uint64_t	applied;
	uint64_t	checkpoint_bytes;
	const RaftConfiguration *configuration;	/* as of index, with its own index */
} WireSnapshotOffer;

typedef struct WireSnapshotChunk
{
	NdGroupId	group;
	uint64_t	id;
	uint64_t	offset;			/* in the stream */
	const uint8_t *data;
	size_t		len;			/* 0 only when it is the last */
	bool		last;
	uint64_t	checksum;		/* wire_snapshot_checksum(); for the receiver to compare */
} WireSnapshotChunk;

typedef enum WireSnapshotAckKind
{
	WIRE_SNAPSHOT_NEXT = 0,		/* everything below offset is with the host */
	WIRE_SNAPSHOT_AGAIN = 1,	/* go on from offset: what you sent behind it was lost, or never came */
	WIRE_SNAPSHOT_INSTALLED = 2,	/* done, or not needed: the log has the entry at index */
	WIRE_SNAPSHOT_REFUSED = 3
} WireSnapshotAckKind;

typedef struct WireSnapshotAck
{
	NdGroupId	group;
	uint64_t	id;
	WireSnapshotAckKind kind;
	uint64_t	offset;
} WireSnapshotAck;

/* Of the data and where it belongs. */
uint64_t	wire_snapshot_checksum(const WireSnapshotChunk *c);

/* Each appends; when memory runs out buf->failed is set. Heartbeats and their replies travel in a short form, many groups in one frame. */
void		wire_put_raft(NdBuf *buf, const RaftMessage *m);
void		wire_put_proposal(NdBuf *buf, const WireProposal *p);
void		wire_put_answer(NdBuf *buf, const WireAnswer *a);
void		wire_put_gossip(NdBuf *buf, const WireGossip *g);
void		wire_put_sleep(NdBuf *buf, const WireSleep *s);
void		wire_put_members(NdBuf *buf, const WireMembers *m);
void		wire_put_snapshot_offer(NdBuf *buf, const WireSnapshotOffer *o);
void		wire_put_snapshot_chunk(NdBuf *buf, const WireSnapshotChunk *c);
void		wire_put_snapshot_ack(NdBuf *buf, const WireSnapshotAck *a);

typedef struct WireSink
{
	void		(*raft)(void *ctx, const RaftMessage *m);	/* payloads are referenced by whoever keeps them */
	void		(*proposal)(void *ctx, const WireProposal *p);	/* bytes valid during the call */
	void		(*answer)(void *ctx, const WireAnswer *a);
	void		(*gossip)(void *ctx, const WireGossip *g);
	void		(*sleep)(void *ctx, const WireSleep *s);
	void	   *ctx;
	void		(*members)(void *ctx, const WireMembers *m);	/* NULL: not wanted; as the following */
	void		(*snapshot_offer)(void *ctx, const WireSnapshotOffer *o);
	void		(*snapshot_chunk)(void *ctx, const WireSnapshotChunk *c);	/* bytes valid during the call */
	void		(*snapshot_ack)(void *ctx, const WireSnapshotAck *a);
} WireSink;

/* ND_INVALID, ND_VERSION (a configuration of a newer version): nothing was handed out. ND_NOMEM: perhaps a part, as if the rest were lost. */
NdStatus	wire_decode(const uint8_t *data, size_t len, NdNodeId from, NdNodeId to, const WireSink *sink);

/* ---- joining ---- */

typedef struct WireJoinRequest
{
	char		token[256];		/* the secret, zero-terminated */
	char		name[ND_NAME_MAX];
	char		address[ND_ADDRESS_MAX];
	uint64_t	host_id;
	uint32_t	format_min;		/* entry formats that the node can read */
	uint32_t	format_max;
} WireJoinRequest;

typedef enum WireJoinKind
{
	WIRE_JOIN_ACCEPTED = 0,
	WIRE_JOIN_REFUSED = 1,		/* text says why; asking again does not help */
	WIRE_JOIN_ELSEWHERE = 2,	/* ask at leader_address; empty: no leader now, ask again */
	WIRE_JOIN_LATER = 3			/* in progress: ask again */
} WireJoinKind;

typedef struct WireJoinAnswer
{
	WireJoinKind kind;
	char		text[256];		/* one sentence for people */
	char		leader_address[ND_ADDRESS_MAX];
	uint64_t	cluster_id;
	NdNodeId	node;			/* the id given to the asker */
	uint32_t	n_data_groups;
	uint64_t	certifier_keys_max;	/* NodeConfig.certifier for the first start: a group's limits are the same on all its replicas */
	uint64_t	certifier_ids_max;
	bool		has_sequencer;	/* the cluster has a sequencer group; those that were founded before there was one have none */
	uint32_t	n_members;
	WireMember	members[RAFT_MEMBERS_MAX];
} WireJoinAnswer;

NdStatus	wire_encode_join_request(const WireJoinRequest *r, NdBuf *out);
NdStatus	wire_decode_join_request(const uint8_t *data, size_t len, WireJoinRequest *out);
NdStatus	wire_encode_join_answer(const WireJoinAnswer *a, NdBuf *out);
NdStatus	wire_decode_join_answer(const uint8_t *data, size_t len, WireJoinAnswer *out);

/* ---- what group 0 keeps ---- */

/* A member's name and so on, as RaftMember.context. ND_INVALID: does not fit, or malformed; ND_VERSION. */
NdStatus	wire_member_to_raft(const WireMember *m, RaftMember *out);
NdStatus	wire_member_from_raft(const RaftMember *m, WireMember *out);

/* The only kind of DATA entry in group 0: the newest one counts. */
typedef struct WireMeta
{
	NdNodeId	highest_node;	/* no id up to this one is given out again */
	uint32_t	n_data_groups;
	uint64_t	certifier_keys_max;
	uint64_t	certifier_ids_max;
	bool		has_token;
	uint8_t		token_hash[WIRE_TOKEN_HASH_BYTES];
	uint32_t	replication_factor;	/* replicas of each data group; 0: one on every node, which is all that this version does */
} WireMeta;

NdStatus	wire_encode_meta(const WireMeta *m, NdBuf *out);
NdStatus	wire_decode_meta(const uint8_t *data, size_t len, WireMeta *out);	/* ND_INVALID, ND_VERSION */

/* To the leader of group 0, as a proposal there, never an entry: let there be so many data groups. */
NdStatus	wire_encode_growth(uint32_t n_data_groups, NdBuf *out);
NdStatus	wire_decode_growth(const uint8_t *data, size_t len, uint32_t *n_data_groups);	/* ND_INVALID, ND_VERSION */

/* SHA-256 of the token (FIPS 180-4): the log must not hold what lets a reader of it join. */
void		wire_token_hash(const void *secret, size_t len, uint8_t out[WIRE_TOKEN_HASH_BYTES]);
bool		wire_token_equal(const uint8_t a[WIRE_TOKEN_HASH_BYTES], const uint8_t b[WIRE_TOKEN_HASH_BYTES]);	/* in constant time */

#endif
