/*
 * checkpoint.c: a sequencer's state as bytes, and back.
 *
 *   u32 magic  u16 version
 *   u64 last_index  u64 epoch  u64 time  u64 position  u64 decision  u64 history
 *   varint n, groups:  u32 group  u64 position  u64 decision  u64 acked            ascending by group
 *   varint n, transactions, ascending by position:
 *     varint position (difference)  id  u64 epoch  u64 index  varint number
 *     u64 decision  u8 decided  u32 by
 *     varint n, parts: u32 group  u8 vote  u64 previous  u64 previous decision     ascending by group
 *   u64 checksum of all before
 *
 * Invariants: those of the certifier's checkpoint.c: equal logs give equal bytes; restore() takes nothing on trust, and what it accepts save() writes back byte by
 * byte; its memory is bounded by the length of its input.
 */
#include "sequencer_int.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC UINT32_C(0x5153444e)	/* "NDSQ" */
#define VERSION 1
#define GROUP_BYTES 28
#define TXN_BYTES (1 + 16 + 16 + 1 + 13 + 1)
#define PART_BYTES 21
#define NUMBER_MAX (UINT64_MAX / 2)	/* of what is counted: so that it can be counted on */

NdStatus sequencer_save(const Sequencer *s, NdBuf *out)
{
	size_t		start = nd_seal_begin(out, MAGIC, VERSION);
	uint64_t	previous = 0;

	nd_buf_u64(out, s->last_index);
	nd_buf_u64(out, s->epoch);
	nd_buf_u64(out, s->time);
	nd_buf_u64(out, s->position);
	nd_buf_u64(out, s->decision);
	nd_buf_u64(out, s->history);
	nd_buf_varint(out, s->n_groups);
	for (uint32_t i = 0; i < s->n_groups; i++)
	{
		nd_buf_u32(out, s->groups[i].group);
		nd_buf_u64(out, s->groups[i].position);
		nd_buf_u64(out, s->groups[i].decision);
		nd_buf_u64(out, s->groups[i].acked);
	}
	nd_buf_varint(out, s->n);
	for (uint32_t i = 0; i < s->n; i++)
	{
		const SeqTxn *t = s->txns[i];

		nd_buf_varint(out, t->position - previous);
		previous = t->position;
		nd_buf_u32(out, t->txn.node);
		nd_buf_u32(out, t->txn.incarnation);
		nd_buf_u64(out, t->txn.counter);
		nd_buf_u64(out, t->epoch);
		nd_buf_u64(out, t->index);
		nd_buf_varint(out, t->number);
		nd_buf_u64(out, t->decision);
		nd_buf_u8(out, (uint8_t) t->decided);
		nd_buf_u32(out, t->by);
		nd_buf_varint(out, t->n_parts);
		for (uint32_t p = 0; p < t->n_parts; p++)
		{
			nd_buf_u32(out, t->parts[p].group);
			nd_buf_u8(out, t->parts[p].vote);
			nd_buf_u64(out, t->parts[p].previous);
			nd_buf_u64(out, t->parts[p].previous_decision);
		}
	}
	nd_seal_end(out, start);
	return out->failed ? ND_NOMEM : ND_OK;
}

/* A count of things that take at least bytes_each; false: more than the input can hold. */
static bool read_count(NdReader *r, size_t bytes_each, uint32_t *n)
{
	uint64_t	count = nd_read_varint(r);

	*n = (uint32_t) count;
	return !r->failed && count < UINT32_MAX / 8 && count <= nd_reader_left(r) / bytes_each;
}

static NdStatus read_groups(NdReader *r, Sequencer *s)
{
	uint32_t	n;
	NdGroupId	before = 0;

	if (!read_count(r, GROUP_BYTES, &n))
		return ND_DAMAGED;
	if (sequencer__reserve(s, 0, n) != ND_OK)
		return ND_NOMEM;
	for (uint32_t i = 0; i < n; i++)
	{
		SeqGroup	g = {.group = nd_read_u32(r)};

		g.position = nd_read_u64(r);
		g.decision = nd_read_u64(r);
		g.acked = nd_read_u64(r);
		if (g.group <= before || g.position == 0 || g.position > s->position || g.decision > s->decision || g.acked > g.decision)
			return ND_DAMAGED;
		before = g.group;
		*sequencer__group_make(s, g.group) = g;
	}
	return ND_OK;
}

/* Its votes, and what was decided, fit each other, and it waits for something. */
static bool txn_valid(const Sequencer *s, const SeqTxn *t)
{
	const SeqTxnPart *by = sequencer_part(t, t->by);
	uint32_t	yes = 0;
	uint32_t	no = 0;
	uint32_t	waits = 0;

	for (uint32_t i = 0; i < t->n_parts; i++)
	{
		const SeqTxnPart *part = &t->parts[i];
		const SeqGroup *g = sequencer__group(s, part->group);

		if (g == NULL || part->vote > SEQ_VOTE_NO || (i > 0 && part->group <= t->parts[i - 1].group) || part->previous >= t->position ||
			t->position > g->position || t->decision > g->decision || (t->decision == 0 ? part->previous_decision != 0 : part->previous_decision >= t->decision))
			return false;
		yes += part->vote == SEQ_VOTE_YES;
		no += part->vote == SEQ_VOTE_NO;
		waits += t->decision == 0 || g->acked < t->decision;
	}
	if (waits == 0 || (t->decided == SEQ_OPEN) != (t->decision == 0) || (t->decided != SEQ_ABORT_VOTE && (no > 0 || t->by != 0)))
		return false;
	if (t->decided == SEQ_ABORT_VOTE)
		return no == 1 && by != NULL && by->vote == SEQ_VOTE_NO;
	return (yes == t->n_parts) == (t->decided == SEQ_COMMIT);
}

static NdStatus read_txn(NdReader *r, Sequencer *s)
{
	const SeqTxn *before = s->n > 0 ? s->txns[s->n - 1] : NULL;
	SeqTxn		head = {.position = before != NULL ? before->position : 0};
	uint64_t	step = nd_read_varint(r);
	uint64_t	number;
	uint8_t		decided;
	uint32_t	n_parts;
	SeqTxn	   *t;

	if (step == 0 || step > s->position - head.position)
		return ND_DAMAGED;
	head.position += step;
	head.txn.node = nd_read_u32(r);
	head.txn.incarnation = nd_read_u32(r);
	head.txn.counter = nd_read_u64(r);
	head.epoch = nd_read_u64(r);
	head.index = nd_read_u64(r);
	number = nd_read_varint(r);
	head.decision = nd_read_u64(r);
	decided = nd_read_u8(r);
	head.by = nd_read_u32(r);
	if (!read_count(r, PART_BYTES, &n_parts) || n_parts < 2 || n_parts > ENTRY_GROUPS_MAX || number >= SEQ_EPOCH_REQUESTS_MAX || decided > SEQ_ABORT_SILENT ||
		head.txn.node == 0 || head.txn.counter == 0 || head.epoch == 0 || head.epoch > s->epoch || head.index == 0 || head.index > s->last_index ||
		head.decision > s->decision || sequencer__find(s, head.txn) != NULL)
		return ND_DAMAGED;
	/* the order of the log: by epoch and index alike, and within one by number */
	if (before != NULL && (head.epoch == before->epoch ? head.index != before->index || number <= before->number :
						   head.epoch < before->epoch || head.index <= before->index))
		return ND_DAMAGED;
	t = nd_zalloc(sizeof(SeqTxn) + n_parts * sizeof(SeqTxnPart));
	if (t == NULL)
		return ND_NOMEM;
	*t = head;
	t->number = (uint32_t) number;
	t->decided = (SeqDecision) decided;
	for (; t->n_parts < n_parts; t->n_parts++)
	{
		SeqTxnPart *part = &t->parts[t->n_parts];

		part->group = nd_read_u32(r);
		part->vote = nd_read_u8(r);
		part->previous = nd_read_u64(r);
		part->previous_decision = nd_read_u64(r);
	}
	if (!txn_valid(s, t))
	{
		nd_free(t);
		return ND_DAMAGED;
	}
	sequencer__add(s, t);
	return ND_OK;
}

static int by_decision(const void *a, const void *b)
{
	const SeqTxn *x = *(SeqTxn *const *) a;
	const SeqTxn *y = *(SeqTxn *const *) b;

	return x->decision < y->decision ? -1 : x->decision > y->decision;
}

static NdStatus read_txns(NdReader *r, Sequencer *s)
{
	uint32_t	n;
	NdStatus	status = ND_OK;

	if (!read_count(r, TXN_BYTES, &n))
		return ND_DAMAGED;
	if (sequencer__reserve(s, n, 0) != ND_OK)
		return ND_NOMEM;
	for (uint32_t i = 0; i < n && status == ND_OK; i++)
		status = read_txn(r, s);
	if (status != ND_OK)
		return status;
	for (uint32_t i = 0; i < s->n; i++)
		if (s->txns[i]->decision > 0)
			sequencer__decided(s, s->txns[i]);
	if (s->n_decided > 0)
		qsort(s->decided, s->n_decided, sizeof(SeqTxn *), by_decision);
	for (uint32_t i = 1; i < s->n_decided; i++)
		if (s->decided[i]->decision == s->decided[i - 1]->decision)
			return ND_DAMAGED;
	return ND_OK;
}

static NdStatus read_state(NdReader *r, Sequencer *s)
{
	NdStatus	status;

	s->last_index = nd_read_u64(r);
	s->epoch = nd_read_u64(r);
	s->time = nd_read_u64(r);
	s->position = nd_read_u64(r);
	s->decision = nd_read_u64(r);
	s->history = nd_read_u64(r);
	if (r->failed || s->decision > s->position || s->position > NUMBER_MAX || s->epoch > NUMBER_MAX || s->last_index > NUMBER_MAX)
		return ND_DAMAGED;
	status = read_groups(r, s);
	if (status == ND_OK)
		status = read_txns(r, s);
	if (status == ND_OK && (r->failed || nd_reader_left(r) != 0))
		status = ND_DAMAGED;
	return status;
}

NdStatus sequencer_restore(const void *data, size_t len, Sequencer **out)
{
	NdReader	r;
	Sequencer  *s;
	NdStatus	status;

	status = nd_seal_open(&r, data, len, MAGIC, VERSION);
	if (status != ND_OK)
		return status;
	status = sequencer_create(&s);
	if (status != ND_OK)
		return status;
	status = read_state(&r, s);
	if (status != ND_OK)
	{
		sequencer_destroy(s);
		return status;
	}
	*out = s;
	return ND_OK;
}
