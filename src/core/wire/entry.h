/*
 * entry.h: the payload of a data group's DATA entries: what every replica must understand alike.
 *
 *   u8 format (1, with reads 2, MARKER and OUTCOME 3)  u8 kind  u16 flags
 *   u32 node  u32 incarnation  u64 counter          transaction id
 *   u64 base                                        index of this group that was applied at the origin at pre-commit
 *   varint n_keys, then n_keys times { u64 hash, u8 mode }   ascending by (hash, mode), no repeats
 *   only in format 2: u64 read base, varint n_reads > 0, then n_reads times { u64 hash, u8 mode }   likewise
 *   varint n_chunks, then n_chunks times varint index (ascending, as differences)
 *   rest: body, opaque here (src/pg/tableam/writeset.h)
 *
 * Kinds:
 *   TXN      certify; on commit apply the chunks' bodies, in order, then this body.
 *   CHUNK    a piece of a large transaction's body; no verdict, applied only through its TXN. The counter is the TXN's.
 *            base: what was applied when the chunk was built (not 0: an old base marks a late copy, for which the log is not kept).
 *   RESERVE  keys owned by the transaction id until its TXN, its CANCEL or its incarnation's fence; refused while others own one of them, or, when it has a body, in a queue till then.
 *            body: none, or varint age: when it owns the keys, it does for so many entries at most; 0: for any number. Without one (as older versions write) it never waits.
 *            What was changed since its base is no conflict, for its owner does nothing before it is applied.
 *            flags: its number within the transaction; every new attempt takes a higher one, for a lower or equal one is a late copy. A later one ends the waiting of
 *            an earlier one; without keys it does nothing else.
 *   CANCEL   gives up: frees the reservation, and is a tombstone: a later TXN of this id aborts.
 *            base: something that was applied before the id's TXN was proposed, for instance the TXN's base.
 *
 *   MARKER   the part of a transaction over several groups that belongs to this one, placed by the group's leader at the sequencer's word (src/core/sequencer).
 *            Certified like a TXN: then its keys and reads are owned until the OUTCOME. Everything but the fields below is the part's.
 *   OUTCOME  of a MARKER: flags 1 commit, 0 abort. On commit the part takes effect here.
 * Both are format 3: u64 position and u64 previous behind the base, varint n_groups, then so many times varint group (ascending, as differences, none is 0);
 *   a MARKER goes on with its keys, then read base, n_reads (0 too) and reads, chunks, body; an OUTCOME with u64 decision, and ends there, its base is 0.
 *   position: the transaction's place in the sequencer's order. previous: of a MARKER, the position before it in this group; of an OUTCOME, the decision before it in
 *   this group. 0: none. decision: the outcome's place in the order in which outcomes were decided.
 *
 * Reads (a TXN of isolation level SERIALIZABLE): keys of what it read, judged against changes above the read base, which is the group's index that its
 * snapshot surely showed (not above base). They exclude nobody else: what is changed behind the entry came after it.
 */
#ifndef ND_ENTRY_H
#define ND_ENTRY_H

#include "../base/base.h"

#define ENTRY_FORMAT 3			/* newest; entries without what it brought are still written as 1 or 2 */
#define ENTRY_GROUPS_MAX 256	/* of one transaction */
#define ENTRY_KEY_BYTES 9		/* u64 hash, u8 mode */
#define ENTRY_AGE_MAX (UINT64_C(1) << 40)

typedef enum EntryKind
{
	ENTRY_TXN = 1,
	ENTRY_CHUNK = 2,
	ENTRY_RESERVE = 3,
	ENTRY_CANCEL = 4,
	ENTRY_MARKER = 5,
	ENTRY_OUTCOME = 6
} EntryKind;

/*
 * Key modes. Row modes conflict by PostgreSQL's row lock table, relation modes by its lock mode table (numbers are lock.h's LOCKMODE + 16). A value of an index that is not
 * unique is like a relation of the rows that have it: ROW EXCLUSIVE for who changes one of them, SHARE for who looked for them.
 */
typedef enum KeyMode
{
	KEY_ROW_SHARE_KEY = 0,		/* FOR KEY SHARE */
	KEY_ROW_SHARE = 1,			/* FOR SHARE */
	KEY_ROW_NO_KEY_UPDATE = 2,
	KEY_ROW_UPDATE = 3,			/* also: a value of a unique index appears or vanishes */
	KEY_REL_ACCESS_SHARE = 17,
	KEY_REL_ROW_SHARE = 18,
	KEY_REL_ROW_EXCLUSIVE = 19,
	KEY_REL_SHARE_UPDATE_EXCLUSIVE = 20,
	KEY_REL_SHARE = 21,
	KEY_REL_SHARE_ROW_EXCLUSIVE = 22,
	KEY_REL_EXCLUSIVE = 23,
	KEY_REL_ACCESS_EXCLUSIVE = 24
} KeyMode;

typedef struct EntryKey
{
	uint64_t	hash;
	uint8_t		mode;			/* KeyMode */
} EntryKey;

typedef struct TxnId
{
	NdNodeId	node;
	uint32_t	incarnation;	/* grows with every start of the node */
	uint64_t	counter;		/* from 1, per incarnation */
} TxnId;

typedef struct EntryHeader
{
	EntryKind	kind;
	uint16_t	flags;
	TxnId		txn;
	uint64_t	base;
	uint32_t	n_keys;
	const uint8_t *keys;		/* encoded, 9 bytes each: entry_key() */
	uint64_t	read_base;		/* 0 without reads */
	uint32_t	n_reads;
	const uint8_t *reads;		/* encoded likewise: entry_read() */
	uint32_t	n_chunks;
	const uint8_t *chunks;		/* encoded: entry_chunks() */
	const uint8_t *body;
	size_t		body_len;
	uint64_t	position;		/* this and the rest: MARKER and OUTCOME, else 0 */
	uint64_t	previous;
	uint64_t	decision;
	uint32_t	n_groups;
	const uint8_t *groups;		/* encoded: entry_groups() */
} EntryHeader;

/* Write a header; the caller appends the body behind it. keys are sorted and made unique in place. ND_NOMEM. */
NdStatus	entry_encode_header(NdBuf *out, EntryKind kind, uint16_t flags, TxnId txn, uint64_t base,
								EntryKey *keys, uint32_t n_keys, const uint64_t *chunks, uint32_t n_chunks);
/* The same for a TXN with reads; none when n_reads is 0. ND_INVALID also for a read base above base. */
NdStatus	entry_encode_txn(NdBuf *out, uint16_t flags, TxnId txn, uint64_t base, EntryKey *keys, uint32_t n_keys,
							 uint64_t read_base, EntryKey *reads, uint32_t n_reads, const uint64_t *chunks, uint32_t n_chunks);
/*
 * A MARKER of a part, which is a decoded TXN: its keys, reads, chunks and body go along. groups ascend. ND_INVALID: no TXN, or position, previous or groups
 * cannot be.
 */
NdStatus	entry_encode_marker(NdBuf *out, const EntryHeader *part, uint64_t position, uint64_t previous, const NdGroupId *groups, uint32_t n_groups);
NdStatus	entry_encode_outcome(NdBuf *out, TxnId txn, bool commit, uint64_t position, uint64_t decision, uint64_t previous,
								 const NdGroupId *groups, uint32_t n_groups);
/* Kind, flags, id and base alone, without a look at what follows: however many keys there are. ND_INVALID, ND_VERSION. */
NdStatus	entry_peek(const void *data, size_t len, EntryHeader *out);
/* Of a valid entry: is it a TXN with reads? */
bool		entry_has_reads(const void *data, size_t len);
/* Fully validates keys and chunks. ND_INVALID, ND_VERSION (newer format). Points into data. */
NdStatus	entry_decode(const void *data, size_t len, EntryHeader *out);
EntryKey	entry_key(const EntryHeader *h, uint32_t i);
EntryKey	entry_read(const EntryHeader *h, uint32_t i);
void		entry_chunks(const EntryHeader *h, uint64_t *out);	/* n_chunks indexes */
void		entry_groups(const EntryHeader *h, NdGroupId *out);	/* n_groups ids */
/* May the RESERVE wait? Then also its age, at most ENTRY_AGE_MAX. */
bool		entry_reserve_waits(const EntryHeader *h, uint64_t *age);
bool		key_modes_conflict(uint8_t a, uint8_t b);	/* false between a row and a relation mode */
int			txnid_compare(TxnId a, TxnId b);

#endif
