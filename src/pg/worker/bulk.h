/*
 * bulk.h: what raft worker, applier and bulk appliers share about large transactions of other nodes (bulk.c has the whole argument).
 *
 * A large transaction's body is in the log as CHUNKs, its pieces, before its TXN is proposed; the pieces of one over several groups in several logs, before its REQUEST
 * is. A bulk applier replays them in a local transaction of its own as they come, so that at the transaction's turn little is left to do.
 *
 * States of a bulk applier (every change that two could make is a compare-and-swap):
 *   FREE    -> OPEN      raft worker: the transaction has PIECES_MIN pieces
 *   OPEN    -> TURN      applier: the transaction is certified, its ticket stands at the turnstile
 *   OPEN    -> DROPPED   raft worker: the transaction will not commit (verdict, CANCEL, fence), or cannot be replayed ahead after all
 *   OPEN, TURN -> FAILED bulk applier: it has rolled back by itself; the raft worker for one whose process is gone
 *   TURN    -> FREE      bulk applier: committed
 *   DROPPED -> FREE      bulk applier: rolled back
 *   FAILED  -> FREE      applier at the ticket, which it then replays itself; raft worker when there is no ticket to come
 */
#ifndef NODEDB_BULK_H
#define NODEDB_BULK_H

#include "../shmem.h"

#define BULK_PIECES_MIN 2		/* less is replayed in its turn: what everybody waits for then (test/bench/README.md) is about as long as a commit with its wait would take */
#define BULK_PIECES_MAX 4096	/* more as well, from then on */

typedef enum BulkState
{
	BULK_FREE = 0,
	BULK_OPEN,
	BULK_TURN,
	BULK_DROPPED,
	BULK_FAILED
} BulkState;

typedef struct BulkPiece
{
	NdGroupId	group;
	uint64		base;			/* of all pieces of this group */
	uint64		index;
	uint64		term;
	StorePosition position;
} BulkPiece;

struct NodedbBulk
{
	pg_atomic_uint32 state;		/* BulkState */

	/* raft worker, before OPEN */
	TxnId		txn;

	/* raft worker: pieces of each group in the order of its log; below n_pieces are written before it moves, and then stay */
	pg_atomic_uint32 n_pieces;
	BulkPiece	pieces[BULK_PIECES_MAX];

	/* applier, before TURN */
	uint64		ticket;

	/* bulk applier */
	pg_atomic_uint32 n_done;	/* pieces replayed */
	int			pid;			/* 0: none */
	Latch	   *latch;
};

extern Size bulk_shmem_size(void);
extern void bulk_shmem_init(void *at, bool found);

/* Applier: this ticket, which names b, stands at the turnstile. Nothing happens when b has given up. */
extern void bulk_give_turn(NodedbBulk *b, uint64 ticket);

#endif
