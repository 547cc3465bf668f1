/*
 * test_seq_state.c: each rule of the sequencer's state, of its leader's inbox and of a participant's duties, one test each, with the smallest log that shows it;
 * checkpoints: golden bytes, damage, no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "nomem_kit.h"
#include "seq_kit.h"

#define ID(counter) ((TxnId) {1, 1, (counter)})

static Sequencer *create(void)
{
	Sequencer  *s;

	assert_int_equal(sequencer_create(&s), ND_OK);
	return s;
}

/* An epoch of one request of groups 1 and 2. */
static void order(Sequencer *s, uint64_t index, uint64_t epoch, TxnId id)
{
	NdBlob	   *request = kit_pair(id, 0);

	assert_int_equal(kit_apply_epoch(s, index, epoch, epoch * 10, &request, 1), ND_OK);
	nd_blob_unref(request);
}

static void positions_and_previous_ones(void **state)
{
	Sequencer  *s = create();
	NdBlob	   *requests[3] = {
		kit_pair(ID(1), 0),
		kit_request(ID(2), 0, (KitPart[]) {{2, 0, 1, 0}, {3, 0, 1, 0}}, 2),
		kit_pair(ID(3), 0)
	};
	const SeqTxn *t;

	(void) state;
	assert_int_equal(kit_apply_epoch(s, 5, 1, 100, requests, 3), ND_OK);
	assert_int_equal(sequencer_epoch(s), 1);
	assert_int_equal(sequencer_time(s), 100);
	assert_int_equal(sequencer_position(s), 3);
	assert_int_equal(sequencer_unfinished(s), 3);
	assert_int_equal(sequencer_group_unfinished(s, 2), 3);
	assert_int_equal(sequencer_group_unfinished(s, 3), 1);
	assert_int_equal(sequencer_group_unfinished(s, 4), 0);
	assert_int_equal(sequencer_floor(s), 5);
	t = sequencer_find(s, ID(3));
	assert_int_equal(t->position, 3);
	assert_int_equal(t->index, 5);
	assert_int_equal(t->number, 2);
	assert_int_equal(sequencer_part(t, 1)->previous, 1);
	assert_int_equal(sequencer_part(t, 2)->previous, 2);
	assert_null(sequencer_part(t, 3));
	assert_null(sequencer_find(s, ID(4)));
	assert_null(sequencer_at(s, 4));
	assert_ptr_equal(sequencer_at(s, 3), t);
	assert_ptr_equal(sequencer_next(s, 1, 1), t);
	assert_int_equal(sequencer_next(s, 0, 1)->position, 2);
	assert_null(sequencer_next(s, 3, 2));
	for (int i = 0; i < 3; i++)
		nd_blob_unref(requests[i]);
	sequencer_destroy(s);
}

static void old_epochs_and_copies_order_nothing(void **state)
{
	Sequencer  *s = create();
	NdBlob	   *twice[2] = {kit_pair(ID(2), 0), kit_pair(ID(2), 0)};

	(void) state;
	order(s, 1, 1, ID(1));
	order(s, 2, 1, ID(9));		/* the same number again */
	order(s, 3, 3, ID(9));		/* one left out */
	assert_int_equal(sequencer_epoch(s), 1);
	assert_null(sequencer_find(s, ID(9)));
	order(s, 4, 2, ID(1));		/* ordered already */
	assert_int_equal(sequencer_epoch(s), 2);
	assert_int_equal(sequencer_position(s), 1);
	/* its time is below the last one's */
	assert_int_equal(kit_apply_epoch(s, 5, 3, 19, twice, 2), ND_OK);
	assert_int_equal(sequencer_epoch(s), 2);
	assert_int_equal(kit_apply_epoch(s, 6, 3, 20, twice, 2), ND_OK);
	assert_int_equal(sequencer_position(s), 2);
	assert_int_equal(sequencer_last_index(s), 6);
	assert_int_equal(sequencer_apply(s, 6, twice[0]->data, twice[0]->len), ND_INVALID);	/* index not above */
	assert_int_equal(sequencer_apply(s, 7, twice[0]->data, twice[0]->len), ND_INVALID);	/* a request is no entry */
	assert_int_equal(sequencer_apply(s, 7, "\1\4", 2), ND_INVALID);
	assert_int_equal(sequencer_apply(s, 7, "\2\4", 2), ND_VERSION);
	assert_int_equal(sequencer_last_index(s), 6);
	nd_blob_unref(twice[0]);
	nd_blob_unref(twice[1]);
	sequencer_destroy(s);
}

static void decisions(void **state)
{
	Sequencer  *s = create();

	(void) state;
	for (uint64_t i = 1; i <= 4; i++)
		order(s, i, i, ID(i));
	kit_apply_vote(s, 10, 1, 2, true);
	assert_int_equal(sequencer_at(s, 2)->decided, SEQ_OPEN);
	kit_apply_vote(s, 11, 1, 2, false);		/* the first one counts */
	kit_apply_vote(s, 12, 3, 2, false);		/* has no part in it */
	kit_apply_vote(s, 13, 1, 77, false);	/* no such position */
	assert_int_equal(sequencer_at(s, 2)->decided, SEQ_OPEN);
	kit_apply_vote(s, 14, 2, 2, true);
	assert_int_equal(sequencer_at(s, 2)->decided, SEQ_COMMIT);
	assert_int_equal(sequencer_at(s, 2)->decision, 1);
	kit_apply_vote(s, 15, 2, 1, false);		/* a no decides at once */
	assert_int_equal(sequencer_at(s, 1)->decided, SEQ_ABORT_VOTE);
	assert_int_equal(sequencer_at(s, 1)->by, 2);
	kit_apply_vote(s, 16, 1, 1, true);
	kit_apply_abort(s, 17, 2);				/* too late */
	assert_int_equal(sequencer_at(s, 2)->decided, SEQ_COMMIT);
	kit_apply_vote(s, 18, 1, 3, true);
	kit_apply_abort(s, 19, 3);
	kit_apply_vote(s, 20, 2, 3, true);		/* too late */
	kit_apply_abort(s, 21, 99);
	assert_int_equal(sequencer_at(s, 3)->decided, SEQ_ABORT_SILENT);
	assert_int_equal(sequencer_decision(s), 3);
	/* in the order in which they fell, each knows the one before in its groups */
	assert_int_equal(sequencer_next_decided(s, 1, 0)->position, 2);
	assert_int_equal(sequencer_next_decided(s, 0, 1)->position, 1);
	assert_int_equal(sequencer_next_decided(s, 2, 2)->position, 3);
	assert_null(sequencer_next_decided(s, 2, 3));
	assert_null(sequencer_next_decided(s, 3, 0));
	assert_int_equal(sequencer_part(sequencer_at(s, 2), 1)->previous_decision, 0);
	assert_int_equal(sequencer_part(sequencer_at(s, 3), 1)->previous_decision, 2);
	sequencer_destroy(s);
}

static void forgotten_when_all_have_the_outcome(void **state)
{
	Sequencer  *s = create();

	(void) state;
	order(s, 1, 1, ID(1));
	order(s, 2, 2, ID(2));
	kit_apply_vote(s, 3, 1, 2, false);
	kit_apply_vote(s, 4, 1, 1, false);		/* decisions: 2 then 1 */
	kit_apply_ack(s, 5, 3, 1);				/* a group that nobody named */
	kit_apply_ack(s, 6, 1, 3);				/* nothing that was decided */
	assert_int_equal(sequencer_acked(s, 1), 0);
	kit_apply_ack(s, 7, 1, 2);
	assert_int_equal(sequencer_acked(s, 1), 2);
	assert_int_equal(sequencer_acked(s, 9), 0);
	assert_int_equal(sequencer_unfinished(s), 2);
	kit_apply_ack(s, 8, 2, 1);
	assert_int_equal(sequencer_unfinished(s), 1);
	assert_null(sequencer_find(s, ID(2)));
	assert_int_equal(sequencer_floor(s), 1);
	kit_apply_ack(s, 9, 2, 1);				/* again */
	kit_apply_ack(s, 10, 2, 2);
	assert_int_equal(sequencer_unfinished(s), 0);
	assert_int_equal(sequencer_floor(s), 0);
	kit_apply_vote(s, 11, 2, 1, true);		/* of one that is forgotten */
	/* a late copy gets a position of its own: the groups' certifiers know the id */
	order(s, 12, 3, ID(1));
	assert_int_equal(sequencer_at(s, 3)->txn.counter, 1);
	assert_int_equal(sequencer_part(sequencer_at(s, 3), 1)->previous, 2);
	sequencer_destroy(s);
}

/* Something of everything. */
static Sequencer *rich_state(void)
{
	Sequencer  *s = create();

	for (uint64_t i = 1; i <= 5; i++)
		order(s, i, i, ID(i));
	kit_apply_vote(s, 10, 1, 4, false);
	kit_apply_vote(s, 11, 1, 1, true);
	kit_apply_vote(s, 12, 2, 1, true);
	kit_apply_vote(s, 13, 2, 3, true);
	kit_apply_abort(s, 14, 5);
	kit_apply_ack(s, 15, 1, 2);
	return s;
}

static void checkpoint_round_trip(void **state)
{
	Sequencer  *s = rich_state();
	Sequencer  *again;
	NdBuf		a;
	NdBuf		b;

	(void) state;
	nd_buf_init(&a);
	nd_buf_init(&b);
	assert_int_equal(sequencer_save(s, &a), ND_OK);
	assert_int_equal(sequencer_restore(a.data, a.len, &again), ND_OK);
	for (int side = 0; side < 2; side++)
	{
		Sequencer  *x = side == 0 ? s : again;

		kit_apply_ack(x, 20, 2, 3);
		kit_apply_vote(x, 21, 1, 3, true);
		order(x, 22, 6, ID(6));
	}
	assert_true(sequencer_checksum(s) == sequencer_checksum(again));
	nd_buf_reset(&a);
	assert_int_equal(sequencer_save(s, &a), ND_OK);
	assert_int_equal(sequencer_save(again, &b), ND_OK);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	nd_buf_free(&a);
	nd_buf_free(&b);
	sequencer_destroy(s);
	sequencer_destroy(again);
	sequencer_destroy(NULL);
}

/* The format is a promise to older checkpoints: change the bytes, change the version. */
static void checkpoint_golden(void **state)
{
	static const uint8_t want[] = {
		'N', 'D', 'S', 'Q', 1, 0,
		2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0,	/* last index, epoch, time */
		1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0		/* position, decision */
	};
	static const uint8_t want_after_history[] = {
		2,
		1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1,
		1, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,	/* position, id */
		1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,	/* epoch, index, number */
		1, 0, 0, 0, 0, 0, 0, 0, SEQ_ABORT_VOTE, 2, 0, 0, 0,
		2,
		1, 0, 0, 0, SEQ_VOTE_NONE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		2, 0, 0, 0, SEQ_VOTE_NO, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
	};
	Sequencer  *s = create();
	NdBuf		buf;

	(void) state;
	order(s, 1, 1, ID(7));
	kit_apply_vote(s, 2, 2, 1, false);
	nd_buf_init(&buf);
	assert_int_equal(sequencer_save(s, &buf), ND_OK);
	assert_int_equal(buf.len, sizeof(want) + 8 + sizeof(want_after_history) + 8);
	assert_memory_equal(buf.data, want, sizeof(want));
	assert_memory_equal(buf.data + sizeof(want) + 8, want_after_history, sizeof(want_after_history));
	nd_buf_free(&buf);
	sequencer_destroy(s);
}

static void seal(NdBuf *buf)
{
	uint64_t	sum = nd_checksum(buf->data, buf->len - 8, 0);

	for (int i = 0; i < 8; i++)
		buf->data[buf->len - 8 + (size_t) i] = (uint8_t) (sum >> (8 * i));
}

/* Any changed byte is seen by the checksum; with the checksum made good again, what is accepted is still a state of its own. */
static void checkpoint_damaged(void **state)
{
	Sequencer  *s = rich_state();
	Sequencer  *restored;
	NdBuf		buf;
	NdBuf		again;
	int			accepted = 0;

	(void) state;
	nd_buf_init(&buf);
	nd_buf_init(&again);
	assert_int_equal(sequencer_save(s, &buf), ND_OK);
	for (size_t len = 0; len < buf.len; len++)
	{
		NdBuf		cut;

		nd_buf_init(&cut);
		nd_buf_bytes(&cut, buf.data, len);
		assert_int_equal(sequencer_restore(cut.data, cut.len, &restored), ND_DAMAGED);
		nd_buf_u64(&cut, 0);
		seal(&cut);
		if (len < buf.len - 8)
			assert_int_equal(sequencer_restore(cut.data, cut.len, &restored), ND_DAMAGED);
		nd_buf_free(&cut);
	}
	for (size_t at = 0; at < buf.len; at++)
		for (int bit = 0; bit < 8; bit++)
		{
			NdStatus	status;

			buf.data[at] ^= (uint8_t) (1 << bit);
			assert_int_equal(sequencer_restore(buf.data, buf.len, &restored), ND_DAMAGED);
			seal(&buf);
			status = sequencer_restore(buf.data, buf.len, &restored);
			if (status == ND_OK)
			{
				accepted++;
				nd_buf_reset(&again);
				assert_int_equal(sequencer_save(restored, &again), ND_OK);
				assert_int_equal(again.len, buf.len);
				assert_memory_equal(again.data, buf.data, buf.len);
				sequencer_destroy(restored);
			}
			else
				assert_int_equal(status, at == 4 || at == 5 ? ND_VERSION : ND_DAMAGED);
			buf.data[at] ^= (uint8_t) (1 << bit);
			seal(&buf);
		}
	assert_true(accepted > 100);
	nd_buf_free(&buf);
	nd_buf_free(&again);
	sequencer_destroy(s);
}

static void bytes_of(const Sequencer *s, NdBuf *out)
{
	nomem_fail(0, 0);
	nd_buf_reset(out);
	assert_int_equal(sequencer_save(s, out), ND_OK);
}

static void without_memory(void **state)
{
	Sequencer  *s;
	Sequencer  *restored;
	NdBlob	   *requests[20];
	NdBlob	   *epoch;
	NdBuf		before;
	NdBuf		after;
	NdStatus	status;
	int			failures = 0;

	(void) state;
	nd_buf_init(&before);
	nd_buf_init(&after);
	nomem_fail(1, NOMEM_ALL);
	assert_int_equal(sequencer_create(&s), ND_NOMEM);
	nomem_fail(0, 0);
	s = rich_state();
	for (int i = 0; i < 20; i++)
		requests[i] = kit_request(ID(100 + (uint64_t) i), 0, (KitPart[]) {{1, 0, 1, 0}, {10 + (NdGroupId) i, 0, 1, 0}}, 2);
	epoch = kit_epoch(6, 100, requests, 20);
	bytes_of(s, &before);
	for (uint64_t n = 1;; n++)
	{
		nomem_fail(n, 1);
		status = sequencer_apply(s, 30, epoch->data, epoch->len);
		if (status == ND_OK)
			break;
		assert_int_equal(status, ND_NOMEM);
		failures++;
		bytes_of(s, &after);
		assert_int_equal(after.len, before.len);
		assert_memory_equal(after.data, before.data, before.len);
	}
	assert_true(failures > 20);
	bytes_of(s, &before);
	nomem_fail(1, NOMEM_ALL);
	nd_buf_free(&after);
	assert_int_equal(sequencer_save(s, &after), ND_NOMEM);
	failures = 0;
	for (uint64_t n = 1;; n++)
	{
		nomem_fail(n, 1);
		status = sequencer_restore(before.data, before.len, &restored);
		if (status == ND_OK)
			break;
		assert_int_equal(status, ND_NOMEM);
		failures++;
	}
	nomem_fail(0, 0);
	assert_true(failures > 20);
	sequencer_destroy(restored);
	for (int i = 0; i < 20; i++)
		nd_blob_unref(requests[i]);
	nd_blob_unref(epoch);
	nd_buf_free(&before);
	nd_buf_free(&after);
	sequencer_destroy(s);
	assert_int_equal(nomem_live(), 0);
}

/* ---- the inbox ---- */

static const SeqLimits small = {.requests_max = 4, .bytes_max = 1000, .role_requests_max = 2, .request_bytes_max = 300, .groups_max = 3,
	.group_unfinished_max = 2, .epoch_requests_max = 2, .epoch_bytes_max = 250, .epochs_max = 1};

static SeqInbox *inbox(const SeqLimits *limits)
{
	SeqInbox   *in;

	assert_int_equal(seq_inbox_create(limits, &in), ND_OK);
	return in;
}

static SeqRefusal offer(SeqInbox *in, const Sequencer *s, NdBlob *request)
{
	SeqRefusal	refusal = seq_inbox_offer(in, s, request, 5);

	nd_blob_unref(request);
	return refusal;
}

static NdBlob *of_groups(uint64_t counter, uint32_t n)
{
	KitPart		parts[KIT_PARTS_MAX];

	for (uint32_t i = 0; i < n; i++)
		parts[i] = (KitPart) {i + 1, 0, 0, 0};
	return kit_request(ID(counter), 0, parts, n);
}

static void inbox_bounds(void **state)
{
	Sequencer  *s = create();
	SeqLimits	limits = small;
	SeqInbox   *in = inbox(&limits);
	SeqInbox   *none;

	(void) state;
	assert_int_equal(offer(in, s, nd_blob_new("garbage", 7)), SEQ_REFUSED_MALFORMED);
	assert_int_equal(offer(in, s, of_groups(1, 4)), SEQ_REFUSED_GROUPS);
	assert_int_equal(offer(in, s, kit_request(ID(1), 0, (KitPart[]) {{1, 0, 0, 0}, {6, 0, 0, 0}}, 2)), SEQ_REFUSED_GROUP);
	assert_int_equal(offer(in, s, kit_request(ID(1), 0, (KitPart[]) {{1, 0, 1, 2}, {2, 0, 1, 2}, {3, 0, 1, 2}}, 3)), SEQ_TAKEN);
	assert_int_equal(offer(in, s, kit_pair(ID(1), 0)), SEQ_TAKEN);	/* the same again */
	assert_int_equal(seq_inbox_requests(in), 1);
	assert_true(seq_inbox_bytes(in) > 150);
	assert_int_equal(offer(in, s, kit_pair(ID(2), 0)), SEQ_TAKEN);
	assert_int_equal(offer(in, s, kit_pair(ID(3), 0)), SEQ_REFUSED_ROLE);
	assert_int_equal(offer(in, s, kit_pair(ID(3), 7)), SEQ_TAKEN);
	assert_int_equal(offer(in, s, kit_pair(ID(4), 5)), SEQ_TAKEN);
	assert_int_equal(offer(in, s, kit_pair(ID(5), 6)), SEQ_REFUSED_FULL);
	seq_inbox_reset(in);
	assert_int_equal(seq_inbox_requests(in), 0);
	assert_int_equal(seq_inbox_bytes(in), 0);
	assert_int_equal(offer(in, s, kit_pair(ID(5), 0)), SEQ_TAKEN);
	seq_inbox_destroy(in);

	limits.request_bytes_max = 100;
	limits.bytes_max = 150;
	in = inbox(&limits);
	assert_int_equal(offer(in, s, kit_request(ID(1), 0, (KitPart[]) {{1, 0, 1, 2}, {2, 0, 1, 2}}, 2)), SEQ_REFUSED_BYTES);
	assert_int_equal(offer(in, s, of_groups(1, 2)), SEQ_TAKEN);
	assert_int_equal(offer(in, s, of_groups(2, 2)), SEQ_REFUSED_FULL);
	seq_inbox_reset(in);

	/* a group that does not finish collects no more; ordered already is fine */
	order(s, 1, 1, ID(11));
	order(s, 2, 2, ID(12));
	assert_int_equal(offer(in, s, of_groups(1, 2)), SEQ_REFUSED_BEHIND);
	assert_int_equal(offer(in, s, of_groups(11, 2)), SEQ_TAKEN);
	assert_int_equal(seq_inbox_requests(in), 0);
	for (int r = SEQ_TAKEN; r <= SEQ_REFUSED_NOMEM + 1; r++)
		assert_true(strlen(seq_refusal_text((SeqRefusal) r)) > 3);
	seq_inbox_destroy(in);
	seq_inbox_destroy(NULL);
	limits.epochs_max = 0;
	assert_int_equal(seq_inbox_create(&limits, &none), ND_INVALID);
	sequencer_destroy(s);
}

/* Close; returns how many requests are in the epoch, and applies it when index > 0. */
static uint32_t close_epoch(SeqInbox *in, Sequencer *s, uint64_t time, uint64_t index, uint64_t *epoch, uint64_t *epoch_time)
{
	NdBuf		buf;
	SeqEntry	e = {0};

	nd_buf_init(&buf);
	if (seq_inbox_close(in, s, time, &buf) == ND_OK)
	{
		assert_int_equal(seq_decode(buf.data, buf.len, &e), ND_OK);
		*epoch = e.epoch;
		*epoch_time = e.time;
		seq_inbox_proposed(in);
		if (index > 0)
			assert_int_equal(sequencer_apply(s, index, buf.data, buf.len), ND_OK);
	}
	nd_buf_free(&buf);
	return e.n;
}

static void epochs_are_adaptive(void **state)
{
	Sequencer  *s = create();
	SeqLimits	limits = small;
	SeqInbox   *in;
	uint64_t	epoch;
	uint64_t	time;
	NdBuf		buf;

	(void) state;
	limits.requests_max = limits.role_requests_max = limits.group_unfinished_max = 100;
	limits.bytes_max = 100000;
	in = inbox(&limits);
	nd_buf_init(&buf);
	assert_int_equal(seq_inbox_close(in, s, 5, &buf), ND_NOTFOUND);
	assert_int_equal(offer(in, s, of_groups(1, 2)), SEQ_TAKEN);
	/* packed and not proposed: packed again */
	assert_int_equal(seq_inbox_close(in, s, 5, &buf), ND_OK);
	nd_buf_reset(&buf);
	/* idle: at once, alone */
	assert_int_equal(close_epoch(in, s, 7, 0, &epoch, &time), 1);
	assert_int_equal(epoch, 1);
	assert_int_equal(time, 7);
	/* one is under way: they gather, and go together, as many as fit */
	for (uint64_t i = 2; i <= 6; i++)
		assert_int_equal(offer(in, s, of_groups(i, 2)), SEQ_TAKEN);
	assert_int_equal(seq_inbox_close(in, s, 9, &buf), ND_NOTFOUND);
	order(s, 1, 1, ID(1));
	assert_int_equal(close_epoch(in, s, 3, 2, &epoch, &time), 2);
	assert_int_equal(epoch, 2);
	assert_int_equal(time, 10);		/* not below the last one's */
	assert_int_equal(close_epoch(in, s, 11, 3, &epoch, &time), 2);
	assert_int_equal(sequencer_at(s, 2)->txn.counter, 2);
	assert_int_equal(sequencer_at(s, 5)->txn.counter, 5);
	/* one that is larger than an epoch may be goes alone */
	seq_inbox_reset(in);
	limits.epoch_bytes_max = 10;
	seq_inbox_destroy(in);
	in = inbox(&limits);
	assert_int_equal(offer(in, s, of_groups(7, 2)), SEQ_TAKEN);
	assert_int_equal(offer(in, s, of_groups(8, 2)), SEQ_TAKEN);
	assert_int_equal(close_epoch(in, s, 12, 4, &epoch, &time), 1);
	assert_int_equal(epoch, 4);
	assert_int_equal(seq_inbox_requests(in), 1);
	nd_buf_free(&buf);
	seq_inbox_destroy(in);
	sequencer_destroy(s);
}

static void inbox_without_memory(void **state)
{
	Sequencer  *s = create();
	SeqInbox   *in;
	NdBuf		buf;
	int			failures = 0;

	(void) state;
	nomem_fail(1, NOMEM_ALL);
	assert_int_equal(seq_inbox_create(&SEQ_LIMITS_DEFAULT, &in), ND_NOMEM);
	nomem_fail(0, 0);
	in = inbox(&SEQ_LIMITS_DEFAULT);
	for (uint64_t i = 1; i <= 70; i++)
	{
		NdBlob	   *request = of_groups(i, 2);
		SeqRefusal	refusal = SEQ_REFUSED_NOMEM;

		for (uint64_t n = 1; refusal == SEQ_REFUSED_NOMEM; n++)
		{
			nomem_fail(n, 1);
			refusal = seq_inbox_offer(in, s, request, 5);
			nomem_fail(0, 0);
			failures += refusal == SEQ_REFUSED_NOMEM;
		}
		assert_int_equal(refusal, SEQ_TAKEN);
		nd_blob_unref(request);
	}
	assert_int_equal(failures, 6);		/* three arrays, made and grown once */
	nd_buf_init(&buf);
	nomem_fail(1, NOMEM_ALL);
	assert_int_equal(seq_inbox_close(in, s, 1, &buf), ND_NOMEM);
	nomem_fail(2, NOMEM_ALL);
	assert_int_equal(seq_inbox_close(in, s, 1, &buf), ND_NOMEM);
	nomem_fail(0, 0);
	nd_buf_free(&buf);
	assert_int_equal(seq_inbox_close(in, s, 1, &buf), ND_OK);
	nd_buf_free(&buf);
	seq_inbox_destroy(in);
	sequencer_destroy(s);
	assert_int_equal(nomem_live(), 0);
}

/* ---- the participant ---- */

/* Certify what is in buf, and empty it. */
static VerdictKind certify(Certifier *c, uint64_t index, NdBuf *buf)
{
	EntryHeader h;
	Verdict		v;

	assert_int_equal(entry_decode(buf->data, buf->len, &h), ND_OK);
	assert_int_equal(certifier_certify(c, index, &h, &v), ND_OK);
	nd_buf_reset(buf);
	return v.kind;
}

static void duties(void **state)
{
	Sequencer  *s = create();
	NdBlob	   *requests[2] = {kit_pair(ID(1), 0), kit_pair(ID(2), 0)};
	NdBlob	   *epoch = kit_epoch(1, 1, requests, 2);
	Certifier  *c;
	SeqParticipant p;
	SeqEntry	e;
	SeqEntry	request;
	SeqDuty		d;
	NdBuf		buf;
	uint64_t	up_to;

	(void) state;
	nd_buf_init(&buf);
	assert_int_equal(certifier_create((CertifierLimits) {100, 100}, &c), ND_OK);
	seq_participant_lead(&p, 2, c);
	assert_int_equal(seq_participant_next(&p, s, c).kind, SEQ_DUTY_NONE);
	assert_int_equal(seq_participant_votes(&p, s, c, &buf, &up_to), ND_NOTFOUND);
	assert_int_equal(sequencer_apply(s, 1, epoch->data, epoch->len), ND_OK);
	assert_int_equal(seq_decode(epoch->data, epoch->len, &e), ND_OK);
	assert_false(seq_request_at(&e, 2, &request));

	/* markers, in order; named again until done */
	d = seq_participant_next(&p, s, c);
	assert_int_equal(seq_participant_next(&p, s, c).txn->position, 1);
	assert_int_equal(d.kind, SEQ_DUTY_MARKER);
	assert_int_equal(d.previous, 0);
	assert_true(seq_request_at(&e, d.txn->number, &request));
	assert_int_equal(seq_participant_marker(&d, 3, &request, &buf), ND_INVALID);
	assert_int_equal(seq_participant_marker(&d, 2, &request, &buf), ND_OK);
	seq_participant_done(&p, &d);
	assert_int_equal(certify(c, 1, &buf), VERDICT_PREPARED);
	d = seq_participant_next(&p, s, c);
	assert_int_equal(d.txn->position, 2);
	assert_int_equal(d.previous, 1);
	assert_true(seq_request_at(&e, d.txn->number, &request));
	assert_int_equal(seq_participant_marker(&d, 2, &request, &buf), ND_OK);
	seq_participant_done(&p, &d);
	/* it changes the same key: the first wins */
	assert_int_equal(certify(c, 2, &buf), VERDICT_ABORT_RESERVED);

	/* both votes, once; and again when they may be lost */
	d = seq_participant_next(&p, s, c);
	assert_int_equal(d.kind, SEQ_DUTY_VOTES);
	assert_int_equal(seq_participant_votes(&p, s, c, &buf, &up_to), ND_OK);
	assert_int_equal(up_to, 2);
	seq_participant_voted(&p, up_to);
	seq_participant_done(&p, &d);
	assert_int_equal(seq_participant_next(&p, s, c).kind, SEQ_DUTY_NONE);
	assert_false(seq_participant_again(&p, s, c));
	assert_int_equal(seq_participant_next(&p, s, c).kind, SEQ_DUTY_VOTES);
	seq_participant_voted(&p, up_to);
	assert_true(seq_participant_again(&p, s, c));		/* nothing of it shows */
	assert_int_equal(seq_participant_next(&p, s, c).kind, SEQ_DUTY_VOTES);
	assert_int_equal(sequencer_apply(s, 2, buf.data, buf.len), ND_OK);
	assert_false(seq_participant_again(&p, s, c));		/* something does */
	nd_buf_reset(&buf);
	assert_int_equal(sequencer_at(s, 1)->parts[1].vote, SEQ_VOTE_YES);
	assert_int_equal(sequencer_at(s, 2)->decided, SEQ_ABORT_VOTE);

	/* outcomes in decided order: 2, then 1 */
	kit_apply_vote(s, 3, 1, 1, true);
	d = seq_participant_next(&p, s, c);
	assert_int_equal(d.kind, SEQ_DUTY_OUTCOME);
	assert_int_equal(d.txn->position, 2);
	assert_int_equal(seq_participant_outcome(&d, &buf), ND_OK);
	seq_participant_done(&p, &d);
	assert_int_equal(certify(c, 3, &buf), VERDICT_ABORT_ELSEWHERE);
	d = seq_participant_next(&p, s, c);
	assert_int_equal(d.txn->position, 1);
	assert_int_equal(d.previous, 1);
	assert_int_equal(seq_participant_outcome(&d, &buf), ND_OK);
	seq_participant_done(&p, &d);
	/* proposed, not certified here: only the first is acknowledged */
	d = seq_participant_next(&p, s, c);
	assert_int_equal(d.kind, SEQ_DUTY_ACK);
	assert_int_equal(d.decision, 1);
	seq_participant_done(&p, &d);
	assert_int_equal(certify(c, 4, &buf), VERDICT_COMMIT);
	assert_int_equal(seq_participant_next(&p, s, c).decision, 2);

	/* a new leader whose replica lags waits when what it lacks is forgotten already */
	kit_apply_ack(s, 5, 1, 2);
	kit_apply_ack(s, 6, 2, 2);
	assert_int_equal(sequencer_unfinished(s), 0);
	order(s, 7, 2, ID(3));
	certifier_destroy(c);
	assert_int_equal(certifier_create((CertifierLimits) {100, 100}, &c), ND_OK);
	seq_participant_lead(&p, 2, c);
	assert_int_equal(seq_participant_next(&p, s, c).kind, SEQ_DUTY_NONE);
	certifier_destroy(c);
	nd_blob_unref(requests[0]);
	nd_blob_unref(requests[1]);
	nd_blob_unref(epoch);
	nd_buf_free(&buf);
	sequencer_destroy(s);
}

/* An outcome waits for its marker, however early the decision falls. */
static void outcome_behind_its_marker(void **state)
{
	Sequencer  *s = create();
	Certifier  *c;
	SeqParticipant p;
	SeqDuty		d;

	(void) state;
	assert_int_equal(certifier_create((CertifierLimits) {100, 100}, &c), ND_OK);
	order(s, 1, 1, ID(1));
	kit_apply_abort(s, 2, 1);
	seq_participant_lead(&p, 1, c);
	d = seq_participant_next(&p, s, c);
	assert_int_equal(d.kind, SEQ_DUTY_MARKER);
	seq_participant_done(&p, &d);
	assert_int_equal(seq_participant_next(&p, s, c).kind, SEQ_DUTY_NONE);
	certifier_destroy(c);
	sequencer_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(positions_and_previous_ones),
		cmocka_unit_test(old_epochs_and_copies_order_nothing),
		cmocka_unit_test(decisions),
		cmocka_unit_test(forgotten_when_all_have_the_outcome),
		cmocka_unit_test(checkpoint_round_trip),
		cmocka_unit_test(checkpoint_golden),
		cmocka_unit_test(checkpoint_damaged),
		cmocka_unit_test(without_memory),
		cmocka_unit_test(inbox_bounds),
		cmocka_unit_test(epochs_are_adaptive),
		cmocka_unit_test(inbox_without_memory),
		cmocka_unit_test(duties),
		cmocka_unit_test(outcome_behind_its_marker),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
