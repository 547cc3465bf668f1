/*
 * sequencer_int.h: the state. Private to this folder.
 *
 *   state.c        who is where in the three lists of transactions, and what is remembered of groups
 *   sequencer.c    what an entry does: memory first, then changes that cannot fail
 *   checkpoint.c   bytes of it
 */
#ifndef ND_SEQUENCER_INT_H
#define ND_SEQUENCER_INT_H

#include "sequencer.h"

typedef struct SeqGroup
{
	NdGroupId	group;
	uint64_t	position;		/* last one given to a transaction with a part here; 0: none */
	uint64_t	decision;		/* last one that fell of such a transaction; 0: none */
	uint64_t	acked;			/* not above decision */
	uint32_t	unfinished;		/* transactions with a part here that are not forgotten */
} SeqGroup;

struct Sequencer
{
	uint64_t	last_index;
	uint64_t	epoch;
	uint64_t	time;
	uint64_t	position;
	uint64_t	decision;
	uint64_t	history;		/* chained checksum */
	SeqTxn	  **txns;			/* ascending by position; the owner */
	SeqTxn	  **by_id;			/* the same, ascending by id */
	SeqTxn	  **decided;		/* those that are decided, ascending by decision */
	uint32_t	n;				/* of txns and by_id */
	uint32_t	n_decided;
	uint32_t	cap;			/* of all three */
	SeqGroup   *groups;			/* ascending; a group stays once it was named */
	uint32_t	n_groups;
	uint32_t	cap_groups;
};

/* ---- state.c ---- */

/* Room for more transactions in all lists, and for more groups. ND_NOMEM: nothing changed that can be seen. */
NdStatus	sequencer__reserve(Sequencer *s, uint32_t more_txns, uint32_t more_groups);
SeqGroup   *sequencer__group(const Sequencer *s, NdGroupId group);	/* NULL: never named */
SeqGroup   *sequencer__group_make(Sequencer *s, NdGroupId group);	/* reserved before */
SeqTxn	   *sequencer__at(const Sequencer *s, uint64_t position);
SeqTxn	   *sequencer__find(const Sequencer *s, TxnId txn);
/* Takes it over: position above all others, id not here. Reserved before. */
void		sequencer__add(Sequencer *s, SeqTxn *t);
void		sequencer__decided(Sequencer *s, SeqTxn *t);	/* its decision is above all others */
void		sequencer__remove(Sequencer *s, SeqTxn *t);

#endif
