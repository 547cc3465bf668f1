/*
 * state.c: the lists of unfinished transactions, by position, by id, by decision, and the groups.
 *
 * Invariants:
 * 1. Sorted arrays: look-ups are binary, and no answer and no byte depends on where memory lies. Who comes is last by position and by decision; who goes is among
 *    the first; there are as many as the inbox lets in (inbox.h).
 * 2. A group's `unfinished` counts its parts in `txns`.
 */
#include "sequencer_int.h"

#include <string.h>

/* Enough for `want`. What an entry or a checkpoint can name is bounded by its length: memory ends long before 32 bits do. */
static uint32_t grown(uint32_t cap, uint32_t want)
{
	cap = cap > 0 ? cap : 16;
	while (cap < want)
		cap *= 2;
	return cap;
}

static NdStatus list_reserve(SeqTxn ***list, uint32_t cap)
{
	SeqTxn	  **more = nd_realloc(*list, cap * sizeof(SeqTxn *));

	if (more == NULL)
		return ND_NOMEM;
	*list = more;
	return ND_OK;
}

NdStatus sequencer__reserve(Sequencer *s, uint32_t more_txns, uint32_t more_groups)
{
	uint32_t	cap = grown(s->cap, s->n + more_txns);
	uint32_t	cap_groups = grown(s->cap_groups, s->n_groups + more_groups);

	if (cap > s->cap)
	{
		if (list_reserve(&s->txns, cap) != ND_OK || list_reserve(&s->by_id, cap) != ND_OK || list_reserve(&s->decided, cap) != ND_OK)
			return ND_NOMEM;
		s->cap = cap;
	}
	if (cap_groups > s->cap_groups)
	{
		SeqGroup   *groups = nd_realloc(s->groups, cap_groups * sizeof(SeqGroup));

		if (groups == NULL)
			return ND_NOMEM;
		s->groups = groups;
		s->cap_groups = cap_groups;
	}
	return ND_OK;
}

static uint32_t group_place(const Sequencer *s, NdGroupId group)
{
	uint32_t	low = 0;
	uint32_t	high = s->n_groups;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (s->groups[middle].group < group)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

SeqGroup *sequencer__group(const Sequencer *s, NdGroupId group)
{
	uint32_t	at = group_place(s, group);

	return at < s->n_groups && s->groups[at].group == group ? &s->groups[at] : NULL;
}

SeqGroup *sequencer__group_make(Sequencer *s, NdGroupId group)
{
	uint32_t	at = group_place(s, group);

	if (at < s->n_groups && s->groups[at].group == group)
		return &s->groups[at];
	memmove(&s->groups[at + 1], &s->groups[at], (s->n_groups - at) * sizeof(SeqGroup));
	s->n_groups++;
	s->groups[at] = (SeqGroup) {.group = group};
	return &s->groups[at];
}

/* How many of the list stand at or below it. */
static uint32_t up_to_position(const Sequencer *s, uint64_t position)
{
	uint32_t	low = 0;
	uint32_t	high = s->n;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (s->txns[middle]->position <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t up_to_decision(const Sequencer *s, uint64_t decision)
{
	uint32_t	low = 0;
	uint32_t	high = s->n_decided;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (s->decided[middle]->decision <= decision)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t id_place(const Sequencer *s, TxnId txn)
{
	uint32_t	low = 0;
	uint32_t	high = s->n;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (txnid_compare(s->by_id[middle]->txn, txn) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

SeqTxn *sequencer__at(const Sequencer *s, uint64_t position)
{
	uint32_t	n = up_to_position(s, position);

	return n > 0 && s->txns[n - 1]->position == position ? s->txns[n - 1] : NULL;
}

SeqTxn *sequencer__find(const Sequencer *s, TxnId txn)
{
	uint32_t	at = id_place(s, txn);

	return at < s->n && txnid_compare(s->by_id[at]->txn, txn) == 0 ? s->by_id[at] : NULL;
}

void sequencer__add(Sequencer *s, SeqTxn *t)
{
	uint32_t	at = id_place(s, t->txn);

	memmove(&s->by_id[at + 1], &s->by_id[at], (s->n - at) * sizeof(SeqTxn *));
	s->by_id[at] = t;
	s->txns[s->n++] = t;
	for (uint32_t i = 0; i < t->n_parts; i++)
		sequencer__group(s, t->parts[i].group)->unfinished++;
}

void sequencer__decided(Sequencer *s, SeqTxn *t)
{
	s->decided[s->n_decided++] = t;
}

static void take_out(SeqTxn **list, uint32_t *n, uint32_t at)
{
	(*n)--;
	memmove(&list[at], &list[at + 1], (*n - at) * sizeof(SeqTxn *));
}

void sequencer__remove(Sequencer *s, SeqTxn *t)
{
	uint32_t	n = s->n;

	take_out(s->by_id, &n, id_place(s, t->txn));
	take_out(s->txns, &s->n, up_to_position(s, t->position) - 1);
	take_out(s->decided, &s->n_decided, up_to_decision(s, t->decision) - 1);
	for (uint32_t i = 0; i < t->n_parts; i++)
		sequencer__group(s, t->parts[i].group)->unfinished--;
	nd_free(t);
}

/* ---- questions ---- */

const SeqTxn *sequencer_at(const Sequencer *s, uint64_t position)
{
	return sequencer__at(s, position);
}

const SeqTxn *sequencer_find(const Sequencer *s, TxnId txn)
{
	return sequencer__find(s, txn);
}

const SeqTxnPart *sequencer_part(const SeqTxn *t, NdGroupId group)
{
	for (uint32_t i = 0; i < t->n_parts; i++)
		if (t->parts[i].group == group)
			return &t->parts[i];
	return NULL;
}

const SeqTxn *sequencer_next(const Sequencer *s, NdGroupId group, uint64_t after)
{
	for (uint32_t i = up_to_position(s, after); i < s->n; i++)
		if (group == 0 || sequencer_part(s->txns[i], group) != NULL)
			return s->txns[i];
	return NULL;
}

const SeqTxn *sequencer_next_decided(const Sequencer *s, NdGroupId group, uint64_t after)
{
	for (uint32_t i = up_to_decision(s, after); i < s->n_decided; i++)
		if (group == 0 || sequencer_part(s->decided[i], group) != NULL)
			return s->decided[i];
	return NULL;
}

uint32_t sequencer_unfinished(const Sequencer *s)
{
	return s->n;
}

uint32_t sequencer_group_unfinished(const Sequencer *s, NdGroupId group)
{
	const SeqGroup *g = sequencer__group(s, group);

	return g != NULL ? g->unfinished : 0;
}

uint64_t sequencer_acked(const Sequencer *s, NdGroupId group)
{
	const SeqGroup *g = sequencer__group(s, group);

	return g != NULL ? g->acked : 0;
}

uint64_t sequencer_floor(const Sequencer *s)
{
	return s->n > 0 ? s->txns[0]->index : 0;
}

uint64_t sequencer_last_index(const Sequencer *s)
{
	return s->last_index;
}

uint64_t sequencer_epoch(const Sequencer *s)
{
	return s->epoch;
}

uint64_t sequencer_time(const Sequencer *s)
{
	return s->time;
}

uint64_t sequencer_position(const Sequencer *s)
{
	return s->position;
}

uint64_t sequencer_decision(const Sequencer *s)
{
	return s->decision;
}

uint64_t sequencer_checksum(const Sequencer *s)
{
	return s->history;
}
