/*
 * test_certifier_queue.c: RESERVEs that wait (src/core/certifier/queue.c), each rule with the smallest history that shows it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "certifier_kit.h"
#include "nomem_kit.h"

/* node, counter; incarnation 1 */
#define ID(node, counter) ((TxnId) {(node), 1, (counter)})
#define UP KEY_ROW_UPDATE

static Certifier *create(void)
{
	Certifier  *c;

	assert_int_equal(certifier_create((CertifierLimits) {1000, 1000}, &c), ND_OK);
	return c;
}

static Verdict give(Certifier *c, uint64_t index, KitEntry e)
{
	Verdict		v;

	assert_int_equal(kit_certify(c, index, &e, &v), ND_OK);
	return v;
}

static KitEntry keys(TxnId id, uint64_t index, uint64_t a, uint64_t b)
{
	KitEntry	e = {.kind = ENTRY_RESERVE, .flags = 1, .txn = id, .base = index - 1, .keys = {{a, UP}, {b, UP}}, .n_keys = b != 0 ? 2 : a != 0, .waits = true};

	return e;
}

static VerdictKind reserve(Certifier *c, uint64_t index, TxnId id, uint64_t a, uint64_t b)
{
	return give(c, index, keys(id, index, a, b)).kind;
}

static VerdictKind txn(Certifier *c, uint64_t index, TxnId id, uint64_t key)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_TXN, .txn = id, .base = index - 1, .keys = {{key, UP}}, .n_keys = 1}).kind;
}

static VerdictKind cancel(Certifier *c, uint64_t index, TxnId id)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_CANCEL, .txn = id, .base = index - 1}).kind;
}

/* Whose turn came behind the last entry: the counters of at most two. */
static bool granted(const Certifier *c, uint64_t first, uint64_t second)
{
	const TxnId *ids;
	uint32_t	n = certifier_granted(c, &ids);

	return n == (uint32_t) (first != 0) + (second != 0) && (first == 0 || ids[0].counter == first) && (second == 0 || ids[1].counter == second);
}

static uint64_t waiting(const Certifier *c)
{
	CertifierStatus status;

	certifier_status(c, &status);
	return status.waiting;
}

static void first_come_first_served(void **state)
{
	Certifier  *c = create();
	Verdict		v;

	(void) state;
	assert_int_equal(reserve(c, 1, ID(1, 1), 5, 0), VERDICT_COMMIT);
	v = give(c, 2, keys(ID(2, 2), 2, 5, 0));
	assert_int_equal(v.kind, VERDICT_QUEUED);
	assert_true(v.key == 5 && v.by_index == 1 && txnid_compare(v.by_txn, ID(1, 1)) == 0);
	assert_int_equal(reserve(c, 3, ID(3, 3), 5, 0), VERDICT_QUEUED);
	assert_int_equal(waiting(c), 2);
	assert_true(granted(c, 0, 0));
	/* the owner's outcome, whatever it is, passes the keys on */
	assert_int_equal(txn(c, 4, ID(1, 1), 5), VERDICT_COMMIT);
	assert_true(granted(c, 2, 0));
	/* the one behind is told once, and only when its turn has come */
	assert_int_equal(txn(c, 5, ID(4, 4), 5), VERDICT_ABORT_RESERVED);
	assert_true(granted(c, 0, 0));
	assert_int_equal(txn(c, 6, ID(2, 2), 5), VERDICT_COMMIT);
	assert_true(granted(c, 3, 0));
	assert_int_equal(cancel(c, 7, ID(3, 3)), VERDICT_NONE);
	assert_true(granted(c, 0, 0));
	assert_int_equal(txn(c, 8, ID(4, 5), 5), VERDICT_COMMIT);
	certifier_destroy(c);
}

/* All keys at once: a waiter owns nothing, and the first in the line is not passed by one that wants one of its keys. */
static void no_overtaking(void **state)
{
	Certifier  *c = create();

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	reserve(c, 2, ID(1, 2), 6, 0);
	assert_int_equal(reserve(c, 3, ID(2, 3), 5, 6), VERDICT_QUEUED);
	assert_int_equal(reserve(c, 4, ID(3, 4), 6, 7), VERDICT_QUEUED);
	/* 7 is free, and wanted by one who waits */
	assert_int_equal(reserve(c, 5, ID(3, 5), 7, 0), VERDICT_QUEUED);
	/* nobody wants 8 */
	assert_int_equal(reserve(c, 6, ID(3, 6), 8, 0), VERDICT_COMMIT);
	cancel(c, 7, ID(1, 2));
	assert_true(granted(c, 0, 0));
	cancel(c, 8, ID(1, 1));
	assert_true(granted(c, 3, 0));
	cancel(c, 9, ID(2, 3));
	assert_true(granted(c, 4, 0));
	cancel(c, 10, ID(3, 4));
	assert_true(granted(c, 5, 0));
	certifier_destroy(c);
}

/* One entry may free several. */
static void several_turns_at_once(void **state)
{
	Certifier  *c = create();

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 6);
	reserve(c, 2, ID(2, 2), 6, 0);
	reserve(c, 3, ID(3, 3), 5, 0);
	reserve(c, 4, ID(3, 4), 5, 0);
	txn(c, 5, ID(1, 1), 9);
	assert_true(granted(c, 2, 3));
	assert_int_equal(waiting(c), 1);
	certifier_destroy(c);
}

/* To a transaction a waiter is nothing, to a part of one over several groups it is as good as an owner. */
static void who_is_judged_by_waiters(void **state)
{
	Certifier  *c = create();
	KitEntry	marker = {.kind = ENTRY_MARKER, .txn = ID(3, 9), .base = 3, .keys = {{6, UP}}, .n_keys = 1, .position = 1};

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	reserve(c, 2, ID(2, 2), 5, 6);
	assert_int_equal(txn(c, 3, ID(3, 3), 6), VERDICT_COMMIT);
	assert_int_equal(txn(c, 4, ID(3, 4), 5), VERDICT_ABORT_RESERVED);
	marker.base = 4;
	assert_int_equal(give(c, 5, marker).kind, VERDICT_ABORT_RESERVED);
	/* reads of a part are owned, too */
	marker = (KitEntry) {.kind = ENTRY_MARKER, .txn = ID(3, 10), .base = 5, .read_base = 5, .reads = {{6, UP}}, .n_reads = 1, .position = 2, .previous = 1};
	assert_int_equal(give(c, 6, marker).kind, VERDICT_ABORT_RESERVED);
	txn(c, 7, ID(1, 1), 5);
	assert_true(granted(c, 2, 0));
	certifier_destroy(c);
}

/* A waiter waits for an open marker as for any owner; a marker's own id may own before. */
static void behind_a_marker(void **state)
{
	Certifier  *c = create();
	KitEntry	marker = {.kind = ENTRY_MARKER, .txn = ID(3, 9), .base = 0, .keys = {{6, UP}}, .n_keys = 1, .position = 1};

	(void) state;
	reserve(c, 1, ID(3, 9), 5, 0);
	assert_int_equal(reserve(c, 2, ID(2, 2), 5, 6), VERDICT_QUEUED);
	/* its place is before the waiter's */
	assert_int_equal(give(c, 3, marker).kind, VERDICT_PREPARED);
	cancel(c, 4, ID(3, 9));
	assert_true(granted(c, 0, 0));
	give(c, 5, (KitEntry) {.kind = ENTRY_OUTCOME, .flags = 1, .txn = ID(3, 9), .position = 1, .decision = 1});
	assert_true(granted(c, 2, 0));
	certifier_destroy(c);
}

/* An owner that asks for more does not wait; it passes those who came after it, else each would wait for the other. */
static void owner_asks_for_more(void **state)
{
	Certifier  *c = create();
	KitEntry	more;

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	reserve(c, 2, ID(2, 2), 9, 0);
	assert_int_equal(reserve(c, 3, ID(2, 3), 5, 6), VERDICT_QUEUED);
	more = keys(ID(1, 1), 4, 6, 0);
	more.flags = 2;
	assert_int_equal(give(c, 4, more).kind, VERDICT_COMMIT);
	/* what others own is refused, at once */
	more = keys(ID(1, 1), 5, 9, 0);
	more.flags = 3;
	assert_int_equal(give(c, 5, more).kind, VERDICT_ABORT_RESERVED);
	/* an owner that came after the waiter stands back */
	assert_int_equal(reserve(c, 6, ID(3, 4), 8, 0), VERDICT_COMMIT);
	more = keys(ID(3, 4), 7, 6, 0);
	more.flags = 2;
	assert_int_equal(give(c, 7, more).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(waiting(c), 1);
	/* the waiter waits for the keys that came later, too, and for the id once */
	cancel(c, 8, ID(1, 1));
	assert_true(granted(c, 3, 0));
	certifier_destroy(c);
}

/* The waiter waits for an id that it did not wait for when it came. */
static void passed_by_an_earlier_owner(void **state)
{
	Certifier  *c = create();
	KitEntry	more;

	(void) state;
	reserve(c, 1, ID(1, 1), 4, 0);
	reserve(c, 2, ID(1, 2), 5, 0);
	reserve(c, 3, ID(2, 3), 5, 6);
	more = keys(ID(1, 1), 4, 6, 0);
	more.flags = 2;
	assert_int_equal(give(c, 4, more).kind, VERDICT_COMMIT);
	cancel(c, 5, ID(1, 2));
	assert_true(granted(c, 0, 0));
	cancel(c, 6, ID(1, 1));
	assert_true(granted(c, 3, 0));
	certifier_destroy(c);
}

/* A later RESERVE begins anew, at the end; without keys it only leaves. */
static void asks_again(void **state)
{
	Certifier  *c = create();
	KitEntry	again;

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	reserve(c, 2, ID(2, 2), 5, 0);
	reserve(c, 3, ID(3, 3), 5, 0);
	/* a copy changes nothing */
	assert_int_equal(reserve(c, 4, ID(2, 2), 5, 0), VERDICT_DUPLICATE);
	again = keys(ID(2, 2), 5, 5, 0);
	again.flags = 2;
	assert_int_equal(give(c, 5, again).kind, VERDICT_QUEUED);
	assert_int_equal(waiting(c), 2);
	txn(c, 6, ID(1, 1), 5);
	assert_true(granted(c, 3, 0));
	again = keys(ID(2, 2), 7, 0, 0);
	again.flags = 3;
	assert_int_equal(give(c, 7, again).kind, VERDICT_COMMIT);
	assert_int_equal(waiting(c), 0);
	txn(c, 8, ID(3, 3), 5);
	assert_true(granted(c, 0, 0));
	certifier_destroy(c);
}

/* What older versions wrote has no body: it is refused, by owners and by waiters. */
static void without_a_body_it_never_waits(void **state)
{
	Certifier  *c = create();
	KitEntry	old = keys(ID(3, 3), 3, 5, 0);

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	reserve(c, 2, ID(2, 2), 5, 6);
	old.waits = false;
	assert_int_equal(give(c, 3, old).kind, VERDICT_ABORT_RESERVED);
	old = keys(ID(3, 4), 4, 6, 0);
	old.waits = false;
	assert_int_equal(give(c, 4, old).kind, VERDICT_ABORT_RESERVED);
	certifier_destroy(c);
}

static void waiting_ends(void **state)
{
	Certifier  *c = create();

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	reserve(c, 2, ID(2, 2), 5, 0);
	reserve(c, 3, ID(2, 3), 5, 0);
	reserve(c, 4, ID(3, 4), 5, 0);
	reserve(c, 5, ID(3, 5), 5, 0);
	/* by a CANCEL, which is a proof as well; by the id's own TXN, whatever its verdict */
	assert_int_equal(cancel(c, 6, ID(3, 4)), VERDICT_NONE);
	assert_int_equal(txn(c, 7, ID(3, 5), 5), VERDICT_ABORT_RESERVED);
	assert_int_equal(waiting(c), 2);
	/* by a new life of its node, which frees what others wait for as well */
	cancel(c, 8, (TxnId) {2, 2, 99});
	assert_int_equal(waiting(c), 0);
	reserve(c, 9, ID(3, 6), 5, 0);
	cancel(c, 10, (TxnId) {1, 2, 99});
	assert_true(granted(c, 6, 0));
	assert_int_equal(reserve(c, 11, ID(2, 7), 5, 0), VERDICT_ABORT_FENCED);
	certifier_destroy(c);
}

/* The entry that fences may itself change what it freed: the one whose turn comes owns from behind it on. */
static void turn_comes_behind_the_entry(void **state)
{
	Certifier  *c = create();
	KitEntry	e;

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	reserve(c, 2, ID(2, 2), 5, 0);
	assert_int_equal(txn(c, 3, (TxnId) {1, 2, 1}, 5), VERDICT_COMMIT);
	assert_true(granted(c, 2, 0));
	/* and its own RESERVE stands behind those who wait */
	reserve(c, 4, (TxnId) {1, 2, 3}, 5, 0);
	e = keys((TxnId) {2, 2, 4}, 5, 5, 0);
	assert_int_equal(give(c, 5, e).kind, VERDICT_QUEUED);
	assert_true(granted(c, 3, 0));
	assert_int_equal(waiting(c), 1);
	certifier_destroy(c);
}

/* Counted in entries from the one behind which it owns; the id itself loses nothing but the protection. */
static void ends_by_age(void **state)
{
	Certifier  *c = create();
	KitEntry	e = keys(ID(1, 1), 1, 5, 0);

	(void) state;
	e.age = 10;
	assert_int_equal(give(c, 1, e).kind, VERDICT_COMMIT);
	e = keys(ID(2, 2), 2, 5, 0);
	e.age = 4;
	assert_int_equal(give(c, 2, e).kind, VERDICT_QUEUED);
	reserve(c, 3, ID(3, 3), 5, 0);
	txn(c, 10, ID(4, 4), 9);
	assert_true(granted(c, 0, 0));
	txn(c, 11, ID(4, 5), 9);
	assert_true(granted(c, 2, 0));
	/* the age of one that waited begins when it owns; not every index has an entry */
	txn(c, 14, ID(4, 6), 9);
	assert_true(granted(c, 0, 0));
	txn(c, 16, ID(4, 7), 9);
	assert_true(granted(c, 3, 0));
	/* judged as if it had never reserved: refused while another owns, free to commit when nobody does */
	assert_int_equal(txn(c, 17, ID(2, 2), 5), VERDICT_ABORT_RESERVED);
	cancel(c, 18, ID(3, 3));
	assert_int_equal(txn(c, 19, ID(1, 1), 5), VERDICT_COMMIT);
	certifier_destroy(c);
}

/* What was asked for without an age is owned for ever, and everything else of that id with it. */
static void age_of_what_is_added(void **state)
{
	Certifier  *c = create();
	KitEntry	e = keys(ID(1, 1), 1, 5, 0);

	(void) state;
	e.age = 3;
	give(c, 1, e);
	e = keys(ID(1, 1), 2, 6, 0);
	e.flags = 2;
	e.age = 5;
	give(c, 2, e);
	e = keys(ID(2, 2), 3, 7, 0);
	e.age = 2;
	give(c, 3, e);
	e = keys(ID(2, 2), 4, 8, 0);
	e.flags = 2;
	give(c, 4, e);
	assert_int_equal(txn(c, 6, ID(3, 1), 5), VERDICT_ABORT_RESERVED);
	txn(c, 7, ID(3, 2), 9);
	assert_int_equal(txn(c, 8, ID(3, 3), 5), VERDICT_COMMIT);
	assert_int_equal(txn(c, 90, ID(3, 4), 7), VERDICT_ABORT_RESERVED);
	certifier_destroy(c);
}

static void line_is_bounded(void **state)
{
	Certifier  *c = create();

	(void) state;
	reserve(c, 1, ID(1, 1), 5, 0);
	for (uint64_t i = 2; i < 2 + 1024; i++)
		assert_int_equal(reserve(c, i, ID(2, i), 5, 0), VERDICT_QUEUED);
	assert_int_equal(reserve(c, 2000, ID(2, 2000), 5, 0), VERDICT_ABORT_RESERVED);
	cancel(c, 2001, ID(1, 1));
	assert_true(granted(c, 2, 0));
	assert_int_equal(reserve(c, 2002, ID(2, 2002), 5, 0), VERDICT_QUEUED);
	certifier_destroy(c);
}

static void reservations_are_shown(void **state)
{
	Certifier  *c = create();
	CertifierReservation r;
	CertifierOwner owners[4];

	(void) state;
	reserve(c, 1, ID(2, 1), 5, 0);
	reserve(c, 2, ID(1, 2), 5, 6);
	assert_true(certifier_reservation(c, 0, &r));
	assert_true(r.txn.counter == 1 && r.index == 1 && r.since == 1 && r.n_keys == 1 && r.keys[0].hash == 5 && !r.marker);
	assert_true(certifier_reservation(c, 1, &r));
	assert_true(r.txn.counter == 2 && r.index == 2 && r.since == 0 && r.n_keys == 2);
	assert_false(certifier_reservation(c, 2, &r));
	/* who waits holds up others, too: it ends as owners do when its node is gone */
	assert_int_equal(certifier_owners(c, 0, owners, 4), 2);
	assert_true(owners[1].txn.counter == 2 && owners[1].index == 2);
	txn(c, 3, ID(2, 1), 5);
	assert_true(certifier_reservation(c, 0, &r));
	assert_true(r.txn.counter == 2 && r.index == 2 && r.since == 3);
	certifier_destroy(c);
}

/* ---- checkpoints ---- */

static void seal(NdBuf *buf)
{
	uint64_t	sum = nd_checksum(buf->data, buf->len - 8, 0);

	for (int i = 0; i < 8; i++)
		buf->data[buf->len - 8 + (size_t) i] = (uint8_t) (sum >> (8 * i));
}

/* Who waits and for how long it may own is in the checkpoint; why it waits follows. */
static void line_survives_a_checkpoint(void **state)
{
	Certifier  *c = create();
	Certifier  *restored;
	NdBuf		buf;
	KitEntry	e = keys(ID(1, 1), 1, 5, 0);

	(void) state;
	e.age = 8;
	give(c, 1, e);
	e = keys(ID(2, 2), 2, 5, 6);
	e.age = 3;
	give(c, 2, e);
	reserve(c, 3, ID(3, 3), 6, 0);
	reserve(c, 4, ID(3, 4), 6, 0);
	nd_buf_init(&buf);
	assert_int_equal(certifier_save(c, &buf), ND_OK);
	assert_int_equal(certifier_restore(buf.data, buf.len, &restored), ND_OK);
	certifier_destroy(c);
	nd_buf_free(&buf);
	assert_true(granted(restored, 0, 0));
	txn(restored, 9, ID(4, 1), 9);
	assert_true(granted(restored, 2, 0));
	txn(restored, 12, ID(4, 2), 9);
	assert_true(granted(restored, 3, 0));
	assert_int_equal(waiting(restored), 1);
	certifier_destroy(restored);
}

/* Lines that nothing makes: nobody to wait for, no keys, keys or places that do not ascend, an id twice or that owns, a life that is over, an age of a marker's size. */
static void odd_lines_are_refused(void **state)
{
#define WAITER(counter, step, age, n_keys) 3, 0, 0, 0, 1, 0, 0, 0, counter, 0, 0, 0, 0, 0, 0, 0, step, age, n_keys
#define KEY(hash) hash, 0, 0, 0, 0, 0, 0, 0, KEY_ROW_UPDATE
	static const uint8_t good[] = {2, WAITER(2, 2, 7, 1), KEY(5), WAITER(3, 1, 0, 2), KEY(4), KEY(5)};
	static const uint8_t behind[] = {2, WAITER(2, 2, 7, 2), KEY(5), KEY(6), WAITER(3, 1, 0, 1), KEY(6)};
	static const uint8_t for_nobody[] = {1, WAITER(2, 2, 7, 1), KEY(6)};
	static const uint8_t without_keys[] = {1, WAITER(2, 2, 7, 0)};
	static const uint8_t falling_keys[] = {1, WAITER(2, 2, 7, 2), KEY(5), KEY(4)};
	static const uint8_t same_key[] = {1, WAITER(2, 2, 7, 2), KEY(5), KEY(5)};
	static const uint8_t same_place[] = {2, WAITER(2, 2, 7, 1), KEY(5), WAITER(3, 0, 0, 1), KEY(5)};
	static const uint8_t ahead[] = {1, WAITER(2, 5, 7, 1), KEY(5)};
	static const uint8_t twice[] = {2, WAITER(2, 2, 7, 1), KEY(5), WAITER(2, 1, 0, 1), KEY(5)};
	static const uint8_t owner[] = {1, WAITER(1, 2, 7, 1), KEY(5)};
	static const uint8_t old_life[] = {1, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, KEY(5)};
	const struct
	{
		const uint8_t *bytes;
		size_t		len;
		NdStatus	status;
	}			cases[] = {
#define CASE(name, status) {name, sizeof(name), status}
		CASE(good, ND_OK), CASE(behind, ND_OK), CASE(for_nobody, ND_DAMAGED), CASE(without_keys, ND_DAMAGED), CASE(falling_keys, ND_DAMAGED),
		CASE(same_key, ND_DAMAGED), CASE(same_place, ND_DAMAGED), CASE(ahead, ND_DAMAGED), CASE(twice, ND_DAMAGED), CASE(owner, ND_DAMAGED),
		CASE(old_life, ND_DAMAGED)};
	Certifier  *c = create();
	Certifier  *restored;
	NdBuf		buf;

	(void) state;
	reserve(c, 1, ID(3, 1), 5, 0);
	txn(c, 4, ID(3, 9), 99);
	nd_buf_init(&buf);
	assert_int_equal(certifier_save(c, &buf), ND_OK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		NdBuf		with;
		NdBuf		again;

		nd_buf_init(&with);
		nd_buf_init(&again);
		nd_buf_bytes(&with, buf.data, buf.len - 8 - 1);
		nd_buf_bytes(&with, cases[i].bytes, cases[i].len);
		nd_buf_u64(&with, 0);
		seal(&with);
		assert_int_equal(certifier_restore(with.data, with.len, &restored), cases[i].status);
		if (cases[i].status == ND_OK)
		{
			assert_int_equal(certifier_save(restored, &again), ND_OK);
			assert_int_equal(again.len, with.len);
			assert_memory_equal(again.data, with.data, with.len);
			certifier_destroy(restored);
		}
		nd_buf_free(&with);
		nd_buf_free(&again);
	}
	nd_buf_free(&buf);
	certifier_destroy(c);
	assert_int_equal(nomem_live(), 0);
}

/* What a version without a queue wrote: its owners own for ever, nobody waits. */
static void checkpoint_of_an_older_version(void **state)
{
	static const uint8_t old[] = {
		'N', 'D', 'C', 'T', 3, 0,
		16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0,			/* limits */
		9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,				/* last index, last commit */
		0, 0, 0, 0, 0, 0, 0, 0,										/* window start */
		1, 2, 3, 4, 5, 6, 7, 8,										/* history */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,				/* position, decision */
		1, 3, 0, 0, 0, 1, 0, 0, 0,									/* nodes */
		1, 4, ENTRY_RESERVE, VERDICT_COMMIT, 1, 0,					/* entries */
		3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, KEY(5),	/* owners */
		0, 0,														/* open chunks, open markers */
		0, 0, 0, 0, 0, 0, 0, 0
	};
	Certifier  *c;
	CertifierReservation r;
	NdBuf		buf;

	(void) state;
	nd_buf_init(&buf);
	nd_buf_bytes(&buf, old, sizeof(old));
	seal(&buf);
	assert_int_equal(certifier_restore(buf.data, buf.len, &c), ND_OK);
	assert_true(certifier_checksum(c) == UINT64_C(0x0807060504030201));
	assert_true(certifier_reservation(c, 0, &r) && r.index == 4 && r.since == 4 && r.n_keys == 1);
	assert_int_equal(reserve(c, 10, ID(2, 2), 5, 0), VERDICT_QUEUED);
	txn(c, 100000, ID(4, 1), 9);
	assert_true(granted(c, 0, 0));
	txn(c, 100001, ID(3, 1), 5);
	assert_true(granted(c, 2, 0));
	certifier_destroy(c);
	/* the same with one byte more behind it */
	nd_buf_reset(&buf);
	nd_buf_bytes(&buf, old, sizeof(old));
	nd_buf_u8(&buf, 0);
	seal(&buf);
	assert_int_equal(certifier_restore(buf.data, buf.len, &c), ND_DAMAGED);
	nd_buf_free(&buf);
}

/* The body of a RESERVE: an age that cannot be is no age, and no leave to wait. */
static void odd_bodies(void **state)
{
	static const struct
	{
		const char *bytes;
		size_t		len;
		bool		waits;
		uint64_t	age;
	}			cases[] = {{"", 0, false, 0}, {"\0", 1, true, 0}, {"\x07", 1, true, 7}, {"\x07xyz", 4, true, 7}, {"\x87", 1, false, 0},
		{"\x80\x80\x80\x80\x80\x20", 6, true, ENTRY_AGE_MAX}, {"\x81\x80\x80\x80\x80\x20", 6, false, 0}};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EntryHeader h = {.kind = ENTRY_RESERVE, .body = (const uint8_t *) cases[i].bytes, .body_len = cases[i].len};
		uint64_t	age = 99;

		assert_int_equal(entry_reserve_waits(&h, &age), cases[i].waits);
		assert_int_equal(age, cases[i].age);
		h.kind = ENTRY_TXN;
		assert_false(entry_reserve_waits(&h, &age));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_come_first_served),
		cmocka_unit_test(no_overtaking),
		cmocka_unit_test(several_turns_at_once),
		cmocka_unit_test(who_is_judged_by_waiters),
		cmocka_unit_test(behind_a_marker),
		cmocka_unit_test(owner_asks_for_more),
		cmocka_unit_test(passed_by_an_earlier_owner),
		cmocka_unit_test(asks_again),
		cmocka_unit_test(without_a_body_it_never_waits),
		cmocka_unit_test(waiting_ends),
		cmocka_unit_test(turn_comes_behind_the_entry),
		cmocka_unit_test(ends_by_age),
		cmocka_unit_test(age_of_what_is_added),
		cmocka_unit_test(line_is_bounded),
		cmocka_unit_test(reservations_are_shown),
		cmocka_unit_test(line_survives_a_checkpoint),
		cmocka_unit_test(odd_lines_are_refused),
		cmocka_unit_test(checkpoint_of_an_older_version),
		cmocka_unit_test(odd_bodies),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
