/*
 * seq_entry.h: the payload of the sequencer group's DATA entries, and of the requests that come to its leader (src/core/sequencer).
 *
 *   u8 format (1)  u8 kind, then
 *   REQUEST  u32 node  u32 incarnation  u64 counter   transaction id
 *            u64 role                                 whose share of the inbox it takes; opaque
 *            varint n_parts (2 or more), then n_parts times { varint group (ascending, as differences, none is 0), varint len, part }
 *            A part is an encoded TXN of that group (entry.h), with the same id, its chunks already in that group's log.
 *            Not an entry by itself: forwarded to the leader, and packed into an EPOCH.
 *   EPOCH    u64 epoch  u64 time  varint n (1 to SEQ_EPOCH_REQUESTS_MAX), then n times { varint len, an encoded REQUEST }, in the order in which they take their positions
 *   VOTES    u32 group  varint n (1 or more), then n times { varint position (ascending, as differences), u8 yes }
 *   ABORT    u64 position                             of a transaction whose groups do not all vote in time
 *   ACK      u32 group  u64 decision                  every outcome entry of the group up to this decision is committed there
 *
 * Invariants: as entry.c's. Every kind has one encoding; a decoder checks everything that the accessors rely on, parts included.
 */
#ifndef ND_SEQ_ENTRY_H
#define ND_SEQ_ENTRY_H

#include "entry.h"

#define SEQ_ENTRY_FORMAT 1
#define SEQ_EPOCH_REQUESTS_MAX 4096

typedef enum SeqEntryKind
{
	SEQ_REQUEST = 1,
	SEQ_EPOCH = 2,
	SEQ_VOTES = 3,
	SEQ_ABORT = 4,
	SEQ_ACK = 5
} SeqEntryKind;

typedef struct SeqEntry
{
	SeqEntryKind kind;
	TxnId		txn;			/* REQUEST */
	uint64_t	role;			/* REQUEST */
	uint64_t	epoch;			/* EPOCH */
	uint64_t	time;			/* EPOCH */
	uint64_t	position;		/* ABORT */
	NdGroupId	group;			/* VOTES, ACK */
	uint64_t	decision;		/* ACK */
	uint32_t	n;				/* parts, requests, votes */
	const uint8_t *items;		/* encoded: seq_item(), seq_part(), seq_vote() */
	const uint8_t *end;
} SeqEntry;

/* One part of a REQUEST. */
typedef struct SeqPart
{
	NdGroupId	group;
	const uint8_t *entry;
	uint32_t	len;
} SeqPart;

typedef struct SeqVote
{
	uint64_t	position;
	bool		yes;
} SeqVote;

/* Walks over the items of an entry, from a SeqWalk of zeroes. false: there are no more. */
typedef struct SeqWalk
{
	const uint8_t *at;			/* NULL: at the beginning */
	uint32_t	done;
	uint64_t	previous;
} SeqWalk;

/* All: ND_NOMEM; ND_INVALID: what the decoder would refuse. */
NdStatus	seq_encode_request(NdBuf *out, TxnId txn, uint64_t role, const SeqPart *parts, uint32_t n);
NdStatus	seq_encode_epoch(NdBuf *out, uint64_t epoch, uint64_t time, const NdBlob *const *requests, uint32_t n);
NdStatus	seq_encode_votes(NdBuf *out, NdGroupId group, const SeqVote *votes, uint32_t n);
NdStatus	seq_encode_abort(NdBuf *out, uint64_t position);
NdStatus	seq_encode_ack(NdBuf *out, NdGroupId group, uint64_t decision);
/* ND_INVALID, ND_VERSION (newer format). Points into data. */
NdStatus	seq_decode(const void *data, size_t len, SeqEntry *out);
bool		seq_part(const SeqEntry *request, SeqWalk *walk, SeqPart *out);
/* The next request of an EPOCH; *at: its first byte, *len: of all. */
bool		seq_request(const SeqEntry *epoch, SeqWalk *walk, SeqEntry *out, const uint8_t **at, uint32_t *len);
/* Request `number` of an EPOCH, from 0. false: it has fewer. */
bool		seq_request_at(const SeqEntry *epoch, uint32_t number, SeqEntry *out);
bool		seq_vote(const SeqEntry *votes, SeqWalk *walk, SeqVote *out);

#endif
