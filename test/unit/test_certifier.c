/*
 * test_certifier.c: each rule of the certifier, one test each, with the smallest history that shows it.
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

#define SMALL ((CertifierLimits) {16, 16})
#define LARGE ((CertifierLimits) {1000, 1000})

/* node, counter; incarnation 1 */
#define ID(node, counter) ((TxnId) {(node), 1, (counter)})

static Certifier *create(CertifierLimits limits)
{
	Certifier  *c;

	assert_int_equal(certifier_create(limits, &c), ND_OK);
	return c;
}

static Verdict give(Certifier *c, uint64_t index, KitEntry e)
{
	Verdict		v;

	assert_int_equal(kit_certify(c, index, &e, &v), ND_OK);
	return v;
}

static Verdict txn(Certifier *c, uint64_t index, TxnId id, uint64_t base, uint64_t hash, uint8_t mode)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_TXN, .txn = id, .base = base, .keys = {{hash, mode}}, .n_keys = 1});
}

static Verdict reserve(Certifier *c, uint64_t index, TxnId id, uint16_t number, uint64_t base, uint64_t hash, uint8_t mode)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_RESERVE, .flags = number, .txn = id, .base = base, .keys = {{hash, mode}}, .n_keys = 1});
}

static Verdict cancel(Certifier *c, uint64_t index, TxnId id, uint64_t base)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_CANCEL, .txn = id, .base = base});
}

static Verdict chunk(Certifier *c, uint64_t index, TxnId id, uint64_t base)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_CHUNK, .txn = id, .base = base});
}

static KitEntry part(TxnId id, uint64_t base, uint64_t hash)
{
	return (KitEntry) {.kind = ENTRY_MARKER, .txn = id, .base = base, .keys = {{hash, KEY_ROW_UPDATE}}, .n_keys = 1};
}

static Verdict marker(Certifier *c, uint64_t index, uint64_t position, uint64_t previous, KitEntry e)
{
	e.position = position;
	e.previous = previous;
	return give(c, index, e);
}

static Verdict outcome(Certifier *c, uint64_t index, TxnId id, uint64_t position, uint64_t decision, uint64_t previous, bool commit)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_OUTCOME, .flags = commit, .txn = id, .position = position, .decision = decision, .previous = previous});
}

/* Entries without keys, of node 9, that push `n` ids through the window. */
static uint64_t push(Certifier *c, uint64_t index, int n)
{
	for (int i = 0; i < n; i++, index++)
		assert_int_equal(give(c, index, (KitEntry) {.kind = ENTRY_TXN, .txn = ID(9, index), .base = index - 1}).kind, VERDICT_COMMIT);
	return index;
}

static void first_committer_wins(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;

	(void) state;
	assert_int_equal(txn(c, 5, ID(1, 1), 4, 77, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	v = txn(c, 6, ID(2, 1), 4, 77, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.key, 77);
	assert_int_equal(v.by_index, 5);
	assert_int_equal(txnid_compare(v.by_txn, ID(1, 1)), 0);
	/* the aborted one changed nothing: a base of 5 has seen all */
	assert_int_equal(txn(c, 7, ID(3, 1), 5, 77, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 8, ID(3, 2), 4, 78, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_last_index(c), 8);
	certifier_destroy(c);
}

static void all_mode_pairs(void **state)
{
	static const uint8_t modes[] = {0, 1, 2, 3, 17, 18, 19, 20, 21, 22, 23, 24};

	(void) state;
	for (size_t a = 0; a < sizeof(modes); a++)
		for (size_t b = 0; b < sizeof(modes); b++)
		{
			Certifier  *c = create(LARGE);
			bool		conflict = key_modes_conflict(modes[a], modes[b]) && modes[a] != KEY_REL_ACCESS_SHARE;
			Verdict		v;

			assert_int_equal(txn(c, 1, ID(1, 1), 0, 5, modes[a]).kind, VERDICT_COMMIT);
			v = txn(c, 2, ID(2, 1), 0, 5, modes[b]);
			assert_int_equal(v.kind, conflict ? VERDICT_ABORT_CONFLICT : VERDICT_COMMIT);
			certifier_destroy(c);
		}
}

static Verdict reader(Certifier *c, uint64_t index, TxnId id, uint64_t base, uint64_t read_base, uint64_t hash, uint8_t mode)
{
	return give(c, index, (KitEntry) {.kind = ENTRY_TXN, .txn = id, .base = base, .read_base = read_base, .reads = {{hash, mode}}, .n_reads = 1});
}

/* SERIALIZABLE: judged from the snapshot on, recorded for nobody, and reservations of others mean nothing to it. */
static void reads_are_judged_from_the_snapshot_on(void **state)
{
	Certifier  *c = create(SMALL);
	Verdict		v;

	(void) state;
	txn(c, 1, ID(1, 1), 0, 5, KEY_ROW_NO_KEY_UPDATE);
	v = reader(c, 2, ID(2, 1), 1, 0, 5, KEY_ROW_SHARE);
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.by_index, 1);
	assert_int_equal(reader(c, 3, ID(2, 2), 1, 1, 5, KEY_ROW_SHARE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 4, ID(1, 2), 1, 5, KEY_ROW_NO_KEY_UPDATE).kind, VERDICT_COMMIT);

	assert_int_equal(reserve(c, 5, ID(1, 3), 1, 4, 6, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(reader(c, 6, ID(2, 3), 5, 5, 6, KEY_ROW_SHARE).kind, VERDICT_COMMIT);

	/* the whole table, and a row that was not there */
	txn(c, 7, ID(1, 4), 6, 77, KEY_REL_ROW_EXCLUSIVE);
	assert_int_equal(reader(c, 8, ID(2, 4), 7, 6, 77, KEY_REL_SHARE).kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(reader(c, 9, ID(2, 5), 7, 6, 77, KEY_REL_ROW_SHARE).kind, VERDICT_COMMIT);
	assert_int_equal(reader(c, 10, ID(2, 6), 7, 7, 77, KEY_REL_SHARE).kind, VERDICT_COMMIT);

	/* a snapshot older than the window */
	push(c, 11, 40);
	assert_true(certifier_window_start(c) > 10);
	assert_int_equal(reader(c, 60, ID(2, 7), 50, 10, 99, KEY_ROW_SHARE).kind, VERDICT_ABORT_OLD);
	certifier_destroy(c);
}

/* Known before its entry comes: what was changed since its base says so, no reservation does, and nothing that comes later takes it back. */
static void who_is_lost(void **state)
{
	Certifier  *c = create(SMALL);
	KitEntry	row = {.txn = ID(2, 1), .base = 4, .keys = {{77, KEY_ROW_UPDATE}}, .n_keys = 1};
	KitEntry	seen = {.txn = ID(2, 2), .base = 5, .keys = {{77, KEY_ROW_UPDATE}}, .n_keys = 1, .read_base = 5, .reads = {{77, KEY_ROW_SHARE}}, .n_reads = 1};
	KitEntry	read = {.txn = ID(2, 3), .base = 5, .keys = {{99, KEY_ROW_UPDATE}}, .n_keys = 1, .read_base = 4, .reads = {{77, KEY_ROW_SHARE}}, .n_reads = 1};
	KitEntry	wants = {.txn = ID(2, 4), .base = 5, .keys = {{78, KEY_ROW_UPDATE}}, .n_keys = 1};
	Verdict		v;

	(void) state;
	assert_false(kit_is_lost(c, &row, &v));
	assert_int_equal(txn(c, 5, ID(1, 1), 4, 77, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_true(kit_is_lost(c, &row, &v));
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.key, 77);
	assert_int_equal(v.by_index, 5);
	assert_int_equal(txnid_compare(v.by_txn, ID(1, 1)), 0);
	assert_true(kit_is_lost(c, &read, &v));
	assert_false(kit_is_lost(c, &seen, &v));
	assert_int_equal(reserve(c, 6, ID(1, 2), 1, 5, 78, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_false(kit_is_lost(c, &wants, &v));

	/* whoever has a verdict has that one */
	row.kind = ENTRY_TXN;
	assert_int_equal(give(c, 7, row).kind, VERDICT_ABORT_CONFLICT);
	assert_false(kit_is_lost(c, &row, &v));
	/* below the window nobody knows */
	push(c, 8, 40);
	assert_false(kit_is_lost(c, &read, &v));
	certifier_destroy(c);
}

/* The highest of several conflicting indexes is named, and the first key in order. */
static void conflict_is_named(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;

	(void) state;
	txn(c, 1, ID(1, 1), 0, 5, KEY_ROW_SHARE);
	txn(c, 2, ID(1, 2), 0, 5, KEY_ROW_SHARE_KEY);
	txn(c, 3, ID(1, 3), 0, 9, KEY_ROW_UPDATE);
	v = give(c, 4, (KitEntry) {.kind = ENTRY_TXN, .txn = ID(2, 1), .keys = {{9, KEY_ROW_UPDATE}, {5, KEY_ROW_UPDATE}}, .n_keys = 2});
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.key, 5);
	assert_int_equal(v.by_index, 2);
	assert_int_equal(txnid_compare(v.by_txn, ID(1, 2)), 0);
	certifier_destroy(c);
}

static void duplicate_has_no_effect(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;
	uint64_t	index;
	VerdictKind kind;

	(void) state;
	txn(c, 1, ID(1, 1), 0, 5, KEY_ROW_UPDATE);
	v = txn(c, 3, ID(1, 1), 0, 5, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_DUPLICATE);
	assert_int_equal(v.by_index, 1);
	assert_int_equal(v.first, VERDICT_COMMIT);
	/* not recorded at 3 */
	assert_int_equal(txn(c, 4, ID(1, 2), 1, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 5, ID(2, 7), 0, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	/* an aborted id cannot commit later, though nothing conflicts any more */
	v = txn(c, 6, ID(2, 7), 5, 5, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_DUPLICATE);
	assert_int_equal(v.first, VERDICT_ABORT_CONFLICT);
	assert_true(certifier_lookup(c, ID(2, 7), &index, &kind));
	assert_int_equal(index, 5);
	assert_int_equal(kind, VERDICT_ABORT_CONFLICT);
	assert_false(certifier_lookup(c, ID(2, 8), &index, &kind));
	certifier_destroy(c);
}

/* Every index above the base must still be in the window: base == start is the oldest that can be judged. */
static void window_by_ids(void **state)
{
	Certifier  *c = create(SMALL);
	Verdict		v;
	uint64_t	index;
	VerdictKind kind;

	(void) state;
	txn(c, 10, ID(1, 1), 0, 5, KEY_ROW_UPDATE);
	txn(c, 11, ID(1, 2), 0, 6, KEY_ROW_UPDATE);
	assert_int_equal(push(c, 12, 14), 26);
	assert_int_equal(certifier_window_start(c), 0);
	push(c, 26, 1);
	assert_int_equal(certifier_window_start(c), 10);
	assert_false(certifier_lookup(c, ID(1, 1), &index, &kind));
	assert_true(certifier_lookup(c, ID(1, 2), &index, &kind));
	/* the late copy of the evicted id */
	v = txn(c, 27, ID(1, 1), 9, 5, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_ABORT_OLD);
	assert_int_equal(v.by_index, 10);
	/* which must not be remembered as an abort: it committed */
	assert_false(certifier_lookup(c, ID(1, 1), &index, &kind));
	v = txn(c, 28, ID(2, 1), 10, 6, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.by_index, 11);
	assert_int_equal(certifier_window_start(c), 11);
	assert_int_equal(txn(c, 29, ID(2, 2), 11, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

static KitEntry many_keys(TxnId id, uint64_t base, uint64_t first, uint32_t n)
{
	KitEntry	e = {.kind = ENTRY_TXN, .txn = id, .base = base, .n_keys = n};

	for (uint32_t i = 0; i < n; i++)
		e.keys[i] = (EntryKey) {first + i, KEY_ROW_UPDATE};
	return e;
}

static void window_by_keys(void **state)
{
	Certifier  *c = create(SMALL);
	CertifierStatus status;

	(void) state;
	assert_int_equal(give(c, 1, many_keys(ID(1, 1), 0, 100, 8)).kind, VERDICT_COMMIT);
	assert_int_equal(give(c, 2, many_keys(ID(1, 2), 1, 100, 8)).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_window_start(c), 0);
	assert_int_equal(give(c, 3, many_keys(ID(1, 3), 2, 200, 1)).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_window_start(c), 1);
	certifier_status(c, &status);
	assert_int_equal(status.keys, 9);
	assert_int_equal(status.ids, 2);
	/* entry 1 is gone, but the same keys' records of entry 2 are not */
	assert_int_equal(txn(c, 4, ID(2, 1), 1, 107, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	certifier_destroy(c);
}

static void entry_larger_than_the_window_stays(void **state)
{
	Certifier  *c = create(SMALL);

	(void) state;
	txn(c, 1, ID(1, 1), 0, 1, KEY_ROW_UPDATE);
	assert_int_equal(give(c, 2, many_keys(ID(1, 2), 1, 100, 40)).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_window_start(c), 1);
	assert_int_equal(txn(c, 3, ID(2, 1), 1, 139, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	/* the next one drives it out, aborted as it was */
	assert_int_equal(certifier_window_start(c), 2);
	assert_int_equal(txn(c, 4, ID(2, 2), 1, 500, KEY_ROW_UPDATE).kind, VERDICT_ABORT_OLD);
	assert_int_equal(txn(c, 5, ID(2, 3), 2, 139, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

static void base_not_below_the_entry(void **state)
{
	Certifier  *c = create(LARGE);

	(void) state;
	assert_int_equal(txn(c, 5, ID(1, 1), 5, 1, KEY_ROW_UPDATE).kind, VERDICT_ABORT_OLD);
	assert_int_equal(txn(c, 6, ID(1, 1), 4, 1, KEY_ROW_UPDATE).kind, VERDICT_DUPLICATE);
	certifier_destroy(c);
}

static void fence(void **state)
{
	Certifier  *c = create(LARGE);
	TxnId		old = {1, 1, 1};
	TxnId		new = {1, 2, 1};

	(void) state;
	assert_int_equal(reserve(c, 1, old, 1, 0, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(chunk(c, 2, old, 1).kind, VERDICT_NONE);
	assert_int_equal(certifier_open_chunk_floor(c), 2);
	assert_true(certifier_chunks_open(c, old));
	assert_false(certifier_chunks_open(c, new));
	assert_int_equal(txn(c, 3, ID(2, 1), 0, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_RESERVED);
	/* the fencing entry itself is not blocked by what it frees */
	assert_int_equal(txn(c, 4, new, 0, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_open_chunk_floor(c), 0);
	assert_false(certifier_chunks_open(c, old));
	assert_int_equal(txn(c, 5, ID(2, 2), 4, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 6, old, 5, 99, KEY_ROW_UPDATE).kind, VERDICT_ABORT_FENCED);
	assert_int_equal(chunk(c, 7, old, 5).kind, VERDICT_ABORT_FENCED);
	assert_int_equal(certifier_open_chunk_floor(c), 0);
	assert_int_equal(reserve(c, 8, (TxnId) {1, 1, 2}, 1, 5, 99, KEY_ROW_UPDATE).kind, VERDICT_ABORT_FENCED);
	assert_int_equal(txn(c, 9, ID(2, 3), 5, 99, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	/* other nodes have incarnations of their own */
	assert_int_equal(txn(c, 10, ID(3, 1), 9, 99, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

/* Its owner does nothing before it is applied: what was changed since its base is no conflict. What the owner's TXN does is judged by its own base. */
static void reservation_is_not_judged_by_changes(void **state)
{
	Certifier  *c = create(LARGE);

	(void) state;
	assert_int_equal(txn(c, 5, ID(2, 1), 4, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(reserve(c, 6, ID(1, 1), 1, 4, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 7, ID(1, 1), 4, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	certifier_destroy(c);
}

static void reservation_blocks_others_whatever_their_base(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;

	(void) state;
	assert_int_equal(reserve(c, 1, ID(1, 1), 1, 0, 5, KEY_ROW_SHARE).kind, VERDICT_COMMIT);
	v = txn(c, 2, ID(2, 1), 1, 5, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(v.key, 5);
	assert_int_equal(v.by_index, 1);
	assert_int_equal(txnid_compare(v.by_txn, ID(1, 1)), 0);
	assert_int_equal(reserve(c, 3, ID(2, 2), 1, 2, 5, KEY_ROW_NO_KEY_UPDATE).kind, VERDICT_ABORT_RESERVED);
	/* modes that do not conflict pass, and share */
	assert_int_equal(txn(c, 4, ID(2, 3), 3, 5, KEY_ROW_SHARE).kind, VERDICT_COMMIT);
	assert_int_equal(reserve(c, 5, ID(3, 1), 1, 4, 5, KEY_ROW_SHARE).kind, VERDICT_COMMIT);
	/* the owner adds a key; the other owner of the first one blocks it now */
	assert_int_equal(reserve(c, 6, ID(1, 1), 2, 5, 6, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(reserve(c, 7, ID(1, 1), 3, 6, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(txn(c, 8, ID(4, 1), 7, 6, KEY_ROW_SHARE_KEY).kind, VERDICT_ABORT_RESERVED);
	/* its TXN ends it, and its keys are changes from there on, not from the reservation on */
	assert_int_equal(txn(c, 9, ID(1, 1), 6, 6, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 10, ID(4, 2), 8, 6, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(txn(c, 11, ID(4, 3), 9, 6, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

static void reservation_ends_with_an_aborted_txn(void **state)
{
	Certifier  *c = create(LARGE);
	CertifierStatus status;

	(void) state;
	txn(c, 1, ID(2, 1), 0, 9, KEY_ROW_UPDATE);
	reserve(c, 2, ID(1, 1), 1, 0, 5, KEY_ROW_UPDATE);
	certifier_status(c, &status);
	assert_int_equal(status.reservations, 1);
	assert_int_equal(txn(c, 3, ID(1, 1), 0, 9, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	certifier_status(c, &status);
	assert_int_equal(status.reservations, 0);
	assert_int_equal(txn(c, 4, ID(3, 1), 0, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	/* a late copy must not own keys that nobody would free */
	assert_int_equal(reserve(c, 5, ID(1, 1), 1, 4, 5, KEY_ROW_UPDATE).kind, VERDICT_DUPLICATE);
	assert_int_equal(reserve(c, 6, ID(1, 1), 2, 4, 5, KEY_ROW_UPDATE).kind, VERDICT_DUPLICATE);
	assert_int_equal(txn(c, 7, ID(3, 2), 4, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

/* A reservation that failed stays failed: its copy must not succeed when nobody waits for it any more. */
static void reserve_copies(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;
	uint64_t	index;
	VerdictKind kind;

	(void) state;
	reserve(c, 1, ID(1, 1), 1, 0, 5, KEY_ROW_UPDATE);
	v = reserve(c, 2, ID(1, 1), 1, 0, 5, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_DUPLICATE);
	assert_int_equal(v.by_index, 1);
	assert_int_equal(v.first, VERDICT_COMMIT);
	assert_int_equal(reserve(c, 3, ID(2, 1), 7, 2, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_RESERVED);
	assert_false(certifier_lookup(c, ID(2, 1), &index, &kind));
	cancel(c, 4, ID(1, 1), 3);
	v = reserve(c, 5, ID(2, 1), 7, 2, 5, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_DUPLICATE);
	assert_int_equal(v.first, VERDICT_ABORT_RESERVED);
	assert_int_equal(reserve(c, 6, ID(2, 1), 8, 2, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(reserve(c, 7, ID(1, 1), 2, 6, 50, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CANCELLED);
	certifier_destroy(c);
}

static void reservation_survives_the_window(void **state)
{
	Certifier  *c = create(SMALL);
	uint64_t	next;

	(void) state;
	reserve(c, 1, ID(1, 1), 1, 0, 5, KEY_ROW_UPDATE);
	next = push(c, 2, 40);
	assert_int_equal(txn(c, next, ID(2, 1), next - 1, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(reserve(c, next + 1, ID(1, 1), 1, 0, 6, KEY_ROW_UPDATE).kind, VERDICT_ABORT_OLD);
	assert_int_equal(txn(c, next + 2, ID(1, 1), next, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

static void cancel_is_a_tombstone(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;
	uint64_t	index;
	VerdictKind kind;

	(void) state;
	reserve(c, 1, ID(1, 1), 1, 0, 5, KEY_ROW_UPDATE);
	v = cancel(c, 2, ID(1, 1), 0);
	assert_int_equal(v.kind, VERDICT_NONE);
	assert_int_equal(v.first, VERDICT_NONE);
	assert_int_equal(txn(c, 3, ID(2, 1), 2, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	for (uint64_t i = 4; i < 6; i++)
	{
		v = txn(c, i, ID(1, 1), 3, 5, KEY_ROW_UPDATE);
		assert_int_equal(v.kind, VERDICT_ABORT_CANCELLED);
		assert_int_equal(v.by_index, 2);
	}
	assert_true(certifier_lookup(c, ID(1, 1), &index, &kind));
	assert_int_equal(index, 2);
	assert_int_equal(kind, VERDICT_ABORT_CANCELLED);
	/* too late: the verdict stands, and is told */
	v = cancel(c, 6, ID(2, 1), 0);
	assert_int_equal(v.kind, VERDICT_NONE);
	assert_int_equal(v.by_index, 3);
	assert_int_equal(v.first, VERDICT_COMMIT);
	assert_int_equal(txn(c, 7, ID(3, 1), 2, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	certifier_destroy(c);
}

/* "Never committed" is claimed only when a verdict could not have been forgotten. */
static void cancel_proves_only_what_the_window_holds(void **state)
{
	Certifier  *c = create(SMALL);
	uint64_t	next;
	uint64_t	index;
	VerdictKind kind;
	Verdict		v;

	(void) state;
	assert_int_equal(txn(c, 1, ID(1, 1), 0, 5, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	next = push(c, 2, 40);
	v = cancel(c, next++, ID(1, 1), 0);
	assert_int_equal(v.kind, VERDICT_ABORT_OLD);
	assert_false(certifier_lookup(c, ID(1, 1), &index, &kind));
	assert_int_equal(cancel(c, next++, ID(1, 1), 0).kind, VERDICT_ABORT_OLD);
	assert_int_equal(txn(c, next, ID(1, 1), next - 1, 5, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CANCELLED);
	next++;
	assert_int_equal(cancel(c, next, ID(1, 2), next - 5).kind, VERDICT_NONE);
	assert_true(certifier_lookup(c, ID(1, 2), &index, &kind));
	/* of a process that is gone: still an answer */
	next++;
	give(c, next, (KitEntry) {.kind = ENTRY_TXN, .txn = {1, 2, 1}, .base = next - 1});
	next++;
	assert_int_equal(cancel(c, next, ID(1, 3), next - 5).kind, VERDICT_NONE);
	assert_true(certifier_lookup(c, ID(1, 3), &index, &kind));
	certifier_destroy(c);
}

static KitEntry chunked(TxnId id, uint64_t base, uint64_t chunk_index)
{
	return (KitEntry) {.kind = ENTRY_TXN, .txn = id, .base = base, .chunks = {chunk_index}, .n_chunks = 1};
}

static void open_chunks(void **state)
{
	Certifier  *c = create(SMALL);

	(void) state;
	assert_int_equal(certifier_open_chunk_floor(c), 0);
	chunk(c, 3, ID(1, 1), 2);
	chunk(c, 4, ID(2, 1), 2);
	chunk(c, 5, ID(1, 1), 2);
	chunk(c, 6, ID(3, 1), 2);
	assert_int_equal(certifier_open_chunk_floor(c), 3);
	assert_int_equal(give(c, 7, chunked(ID(1, 1), 2, 5)).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_open_chunk_floor(c), 4);
	/* a late copy opens nothing: neither while its id is known nor after */
	chunk(c, 8, ID(1, 1), 2);
	cancel(c, 9, ID(2, 1), 2);
	assert_int_equal(certifier_open_chunk_floor(c), 6);
	/* it outlives the window */
	push(c, 10, 40);
	assert_int_equal(certifier_open_chunk_floor(c), 6);
	chunk(c, 50, ID(1, 1), 2);
	assert_int_equal(give(c, 51, chunked(ID(3, 1), 49, 6)).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_open_chunk_floor(c), 0);
	certifier_destroy(c);
}

static void chunk_that_is_not_kept(void **state)
{
	Certifier  *c = create(LARGE);

	(void) state;
	chunk(c, 3, ID(1, 1), 2);
	assert_int_equal(give(c, 4, chunked(ID(1, 1), 2, 2)).kind, VERDICT_ABORT_OLD);
	assert_int_equal(give(c, 5, chunked(ID(1, 2), 2, 3)).kind, VERDICT_ABORT_OLD);
	chunk(c, 6, ID(1, 3), 2);
	assert_int_equal(give(c, 7, chunked(ID(1, 3), 2, 7)).kind, VERDICT_ABORT_OLD);
	certifier_destroy(c);
}

static void out_of_contract(void **state)
{
	Certifier  *c;
	Verdict		v;
	KitEntry	e = {.kind = ENTRY_TXN, .txn = ID(1, 1)};
	EntryHeader h = {.kind = (EntryKind) 7, .txn = {1, 1, 1}};

	(void) state;
	assert_int_equal(certifier_create((CertifierLimits) {15, 16}, &c), ND_INVALID);
	assert_int_equal(certifier_create((CertifierLimits) {16, 15}, &c), ND_INVALID);
	c = create(SMALL);
	assert_int_equal(kit_certify(c, 5, &e, &v), ND_OK);
	assert_int_equal(kit_certify(c, 5, &e, &v), ND_INVALID);
	assert_int_equal(kit_certify(c, UINT64_MAX, &e, &v), ND_INVALID);
	assert_int_equal(certifier_certify(c, 6, &h, &v), ND_INVALID);
	h.kind = ENTRY_TXN;
	h.n_keys = 1;
	h.keys = (const uint8_t *) "12345678\x20";
	assert_int_equal(certifier_certify(c, 6, &h, &v), ND_INVALID);
	h.txn.counter = 2;
	assert_false(certifier_is_lost(c, &h, &v));
	assert_int_equal(certifier_last_index(c), 5);
	certifier_destroy(c);
	certifier_destroy(NULL);
}

/* A state with some of everything. */
static Certifier *rich_state(void)
{
	Certifier  *c = create(SMALL);

	give(c, 1, many_keys(ID(1, 1), 0, 100, 5));
	push(c, 2, 14);
	txn(c, 20, ID(3, 1), 19, 100, KEY_ROW_SHARE);
	chunk(c, 21, ID(4, 1), 20);
	reserve(c, 22, ID(1, 2), 3, 21, 7, KEY_REL_EXCLUSIVE);
	reserve(c, 23, ID(1, 2), 4, 21, 8, KEY_ROW_UPDATE);
	cancel(c, 24, ID(5, 1), 20);
	cancel(c, 25, ID(5, 2), 0);
	/* open markers: one with a chunk of a life that is over, one without keys */
	chunk(c, 26, ID(6, 1), 25);
	marker(c, 27, 5, 0, part(ID(6, 1), 25, 50));
	marker(c, 29, 9, 5, (KitEntry) {.kind = ENTRY_MARKER, .txn = ID(7, 1), .base = 25});
	cancel(c, 30, (TxnId) {6, 2, 1}, 29);
	/* one that owns for some entries, one that waits */
	give(c, 31, (KitEntry) {.kind = ENTRY_RESERVE, .flags = 1, .txn = ID(2, 1), .base = 30, .keys = {{60, KEY_ROW_UPDATE}}, .n_keys = 1, .waits = true, .age = 300});
	give(c, 32, (KitEntry) {.kind = ENTRY_RESERVE, .flags = 1, .txn = ID(8, 2), .base = 30, .keys = {{50, KEY_ROW_UPDATE}, {60, KEY_ROW_UPDATE}}, .n_keys = 2, .waits = true});
	return c;
}

static void checkpoint_round_trip(void **state)
{
	Certifier  *c = rich_state();
	Certifier  *restored;
	NdBuf		a;
	NdBuf		b;

	(void) state;
	nd_buf_init(&a);
	nd_buf_init(&b);
	nd_buf_u8(&a, 0xee);		/* appended to what is there */
	assert_int_equal(certifier_save(c, &a), ND_OK);
	assert_int_equal(certifier_restore(a.data + 1, a.len - 1, &restored), ND_OK);
	assert_int_equal(certifier_save(restored, &b), ND_OK);
	assert_int_equal(a.len - 1, b.len);
	assert_memory_equal(a.data + 1, b.data, b.len);
	assert_true(certifier_checksum(c) == certifier_checksum(restored));
	assert_int_equal(txn(restored, 33, ID(8, 1), 29, 8, KEY_ROW_SHARE_KEY).kind, VERDICT_ABORT_RESERVED);
	assert_true(certifier_checksum(c) != certifier_checksum(restored));
	txn(c, 33, ID(8, 1), 29, 8, KEY_ROW_SHARE_KEY);
	assert_true(certifier_checksum(c) == certifier_checksum(restored));
	nd_buf_free(&a);
	nd_buf_free(&b);
	certifier_destroy(c);
	certifier_destroy(restored);
}

/* A CANCEL of a newer life ends what its node's older lives own, and is itself never fenced. */
static void cancel_fences(void **state)
{
	Certifier  *c = create(LARGE);

	(void) state;
	reserve(c, 1, ID(1, 1), 1, 0, 5, KEY_REL_ACCESS_EXCLUSIVE);
	chunk(c, 2, ID(1, 2), 1);
	assert_int_equal(txn(c, 3, ID(2, 1), 2, 5, KEY_REL_ROW_EXCLUSIVE).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(cancel(c, 4, (TxnId) {1, 2, 7}, 3).kind, VERDICT_NONE);
	assert_int_equal(certifier_open_chunk_floor(c), 0);
	assert_int_equal(txn(c, 5, ID(2, 2), 4, 5, KEY_REL_ROW_EXCLUSIVE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 6, ID(1, 1), 5, 9, KEY_ROW_UPDATE).kind, VERDICT_ABORT_FENCED);
	certifier_destroy(c);
}

static void owners_in_log_order(void **state)
{
	Certifier  *c = create(LARGE);
	CertifierOwner o[8];

	(void) state;
	assert_int_equal(certifier_owners(c, 0, o, 8), 0);
	reserve(c, 3, ID(4, 1), 1, 2, 1, KEY_REL_ACCESS_EXCLUSIVE);
	chunk(c, 4, ID(3, 1), 3);
	reserve(c, 5, ID(1, 1), 1, 4, 2, KEY_REL_ACCESS_EXCLUSIVE);
	reserve(c, 6, ID(4, 1), 2, 5, 3, KEY_REL_ACCESS_EXCLUSIVE);	/* more keys of the first */
	chunk(c, 7, ID(1, 1), 6);
	assert_int_equal(certifier_owners(c, 0, o, 8), 4);
	assert_true(o[0].index == 3 && o[1].index == 4 && o[2].index == 5 && o[3].index == 7);
	assert_true(o[0].txn.node == 4 && o[1].txn.node == 3 && o[2].txn.node == 1 && o[3].txn.node == 1);
	assert_int_equal(certifier_owners(c, 0, o, 2), 2);
	assert_true(o[0].index == 3 && o[1].index == 4);
	assert_int_equal(certifier_owners(c, 4, o, 2), 2);
	assert_true(o[0].index == 5 && o[1].index == 7);
	assert_int_equal(certifier_owners(c, 7, o, 2), 0);
	cancel(c, 8, ID(1, 1), 7);
	assert_int_equal(certifier_owners(c, 0, o, 8), 2);
	certifier_destroy(c);
}

/* What has an effect on tables: a committed TXN only. It is known also when the window has forgotten it. */
static void last_commit(void **state)
{
	Certifier  *c = create(SMALL);
	Certifier  *restored;
	NdBuf		buf;

	(void) state;
	assert_int_equal(certifier_last_commit(c), 0);
	cancel(c, 1, ID(1, 1), 0);
	assert_int_equal(certifier_last_commit(c), 0);
	txn(c, 3, ID(1, 2), 1, 5, KEY_ROW_UPDATE);
	assert_int_equal(certifier_last_commit(c), 3);
	txn(c, 4, ID(1, 3), 1, 5, KEY_ROW_UPDATE);	/* conflict */
	txn(c, 5, ID(1, 2), 1, 5, KEY_ROW_UPDATE);	/* copy */
	reserve(c, 6, ID(1, 4), 1, 3, 6, KEY_REL_ACCESS_EXCLUSIVE);
	chunk(c, 7, ID(2, 1), 3);
	assert_int_equal(certifier_last_commit(c), 3);
	for (uint64_t i = 10; i < 40; i++)
		cancel(c, i, ID(3, i), i - 1);
	assert_true(certifier_window_start(c) > 3);
	nd_buf_init(&buf);
	assert_int_equal(certifier_save(c, &buf), ND_OK);
	assert_int_equal(certifier_restore(buf.data, buf.len, &restored), ND_OK);
	assert_int_equal(certifier_last_commit(restored), 3);
	txn(restored, 40, ID(1, 5), 39, 5, KEY_ROW_UPDATE);
	assert_int_equal(certifier_last_commit(restored), 40);
	nd_buf_free(&buf);
	certifier_destroy(restored);
	certifier_destroy(c);
}

/* The format is a promise to older checkpoints: change the bytes, change the version. */
static void checkpoint_golden(void **state)
{
	static const uint8_t want[] = {
		'N', 'D', 'C', 'T', 4, 0,
		16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0,			/* limits */
		2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,				/* last index, last commit */
		0, 0, 0, 0, 0, 0, 0, 0,										/* window start */
	};
	static const uint8_t want_after_history[] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,				/* position, decision */
		1, 3, 0, 0, 0, 1, 0, 0, 0,									/* nodes */
		1, 1, ENTRY_TXN, VERDICT_COMMIT, 0, 0,						/* entries */
		3, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0,
		1, 5, 0, 0, 0, 0, 0, 0, 0, KEY_ROW_UPDATE,
		0,															/* owners */
		1, 3, 0, 0, 0, 1, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 2,		/* open chunks */
		0,															/* open markers */
		0															/* waiting */
	};
	Certifier  *c = create(SMALL);
	NdBuf		buf;

	(void) state;
	txn(c, 1, ID(3, 9), 0, 5, KEY_ROW_UPDATE);
	chunk(c, 2, ID(3, 10), 1);
	nd_buf_init(&buf);
	assert_int_equal(certifier_save(c, &buf), ND_OK);
	assert_int_equal(buf.len, sizeof(want) + 8 + sizeof(want_after_history) + 8);
	assert_memory_equal(buf.data, want, sizeof(want));
	assert_memory_equal(buf.data + sizeof(want) + 8, want_after_history, sizeof(want_after_history));
	nd_buf_free(&buf);
	certifier_destroy(c);
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
	Certifier  *c = rich_state();
	Certifier  *restored;
	NdBuf		buf;
	NdBuf		again;
	int			accepted = 0;

	(void) state;
	nd_buf_init(&buf);
	nd_buf_init(&again);
	assert_int_equal(certifier_save(c, &buf), ND_OK);
	for (size_t len = 0; len < buf.len; len++)
	{
		uint8_t    *copy = malloc(len + (len == 0));

		memcpy(copy, buf.data, len);
		assert_int_equal(certifier_restore(copy, len, &restored), ND_DAMAGED);
		free(copy);
	}
	for (size_t at = 0; at < buf.len; at++)
		for (int bit = 0; bit < 8; bit++)
		{
			NdStatus	status;

			buf.data[at] ^= (uint8_t) (1 << bit);
			assert_int_equal(certifier_restore(buf.data, buf.len, &restored), ND_DAMAGED);
			seal(&buf);
			status = certifier_restore(buf.data, buf.len, &restored);
			if (status == ND_OK)
			{
				accepted++;
				nd_buf_reset(&again);
				assert_int_equal(certifier_save(restored, &again), ND_OK);
				assert_int_equal(again.len, buf.len);
				assert_memory_equal(again.data, buf.data, buf.len);
				certifier_destroy(restored);
			}
			else
				assert_int_equal(status, at == 4 || at == 5 ? ND_VERSION : ND_DAMAGED);
			buf.data[at] ^= (uint8_t) (1 << bit);
			seal(&buf);
		}
	assert_true(accepted > 100);
	nd_buf_free(&buf);
	nd_buf_free(&again);
	certifier_destroy(c);
}

/* Owners that nothing makes: one of no key, two that do not ascend. */
static void checkpoint_with_odd_owners(void **state)
{
#define OWNER(counter, n_keys) 3, 0, 0, 0, 1, 0, 0, 0, counter, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, n_keys
#define KEY(hash) hash, 0, 0, 0, 0, 0, 0, 0, KEY_ROW_UPDATE
	static const uint8_t good[] = {2, OWNER(8, 1), KEY(4), OWNER(9, 1), KEY(5)};
	static const uint8_t empty[] = {1, OWNER(9, 0)};
	static const uint8_t falling[] = {2, OWNER(9, 1), KEY(4), OWNER(8, 1), KEY(5)};
	static const uint8_t twice[] = {2, OWNER(9, 1), KEY(4), OWNER(9, 1), KEY(5)};
	const struct
	{
		const uint8_t *bytes;
		size_t		len;
		NdStatus	status;
	}			cases[] = {{good, sizeof(good), ND_OK}, {empty, sizeof(empty), ND_DAMAGED}, {falling, sizeof(falling), ND_DAMAGED},
	{twice, sizeof(twice), ND_DAMAGED}};
	Certifier  *c = create(SMALL);
	Certifier  *restored;
	NdBuf		buf;
	size_t		owners_at;

	(void) state;
	chunk(c, 1, ID(3, 1), 0);
	nd_buf_init(&buf);
	assert_int_equal(certifier_save(c, &buf), ND_OK);
	owners_at = buf.len - 8 - 1 - 1 - 18 - 1;	/* before the checksum, the counts of those who wait and of markers, the open chunk, the count of owners */
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		NdBuf		with;

		nd_buf_init(&with);
		nd_buf_bytes(&with, buf.data, owners_at);
		nd_buf_bytes(&with, cases[i].bytes, cases[i].len);
		nd_buf_bytes(&with, buf.data + owners_at + 1, buf.len - owners_at - 1);
		seal(&with);
		assert_int_equal(certifier_restore(with.data, with.len, &restored), cases[i].status);
		if (cases[i].status == ND_OK)
			certifier_destroy(restored);
		nd_buf_free(&with);
	}
	nd_buf_free(&buf);
	certifier_destroy(c);
}

/* The table of reserved keys grows with keys in it. */
static void reserved_keys_survive_growth(void **state)
{
	Certifier  *c = create(SMALL);

	(void) state;
	for (uint64_t i = 1; i <= 4; i++)
	{
		KitEntry	e = many_keys(ID(1, i), i - 1, 1000 * i, 40);

		e.kind = ENTRY_RESERVE;
		e.flags = 1;
		assert_int_equal(give(c, i, e).kind, VERDICT_COMMIT);
	}
	for (uint64_t i = 1; i <= 4; i++)
	{
		Verdict		v = give(c, 10 + i, many_keys(ID(2, i), 9 + i, 1000 * i, 1));

		assert_int_equal(v.kind, VERDICT_ABORT_RESERVED);
		assert_int_equal(txnid_compare(v.by_txn, ID(1, i)), 0);
	}
	certifier_destroy(c);
}

typedef struct Restoring
{
	NdBuf		buf;
	Certifier  *c;
} Restoring;

static NdStatus restore(void *arg)
{
	Restoring  *r = arg;

	return certifier_restore(r->buf.data, r->buf.len, &r->c);
}

/* Every allocation of every RESERVE fails once: nothing has changed then, and it is judged as ever. A third of them wait. */
static void owners_without_memory(void **state)
{
	Certifier  *c = create(LARGE);
	uint32_t	failures = 0;

	(void) state;
	for (uint64_t i = 1; i <= 200; i++)
	{
		bool		waits = i % 3 == 0;
		KitEntry	e = {.kind = ENTRY_RESERVE, .flags = 1, .txn = ID(1, i), .base = i - 1, .keys = {{waits ? 1 : i, KEY_ROW_UPDATE}, {1000 + i, KEY_ROW_UPDATE}},
			.n_keys = waits ? 2 : 1, .waits = true};
		uint64_t	before = certifier_checksum(c);
		CertifierStatus s;
		NdStatus	status;
		Verdict		v;

		for (uint64_t n = 1;; n++)
		{
			nomem_fail(n, 1);
			status = kit_certify(c, i, &e, &v);
			nomem_fail(0, 0);
			if (status == ND_OK)
				break;
			failures++;
			assert_int_equal(status, ND_NOMEM);
			assert_int_equal(certifier_checksum(c), before);
			certifier_status(c, &s);
			assert_int_equal(s.reservations + s.waiting, i - 1);
		}
		assert_int_equal(v.kind, waits ? VERDICT_QUEUED : VERDICT_COMMIT);
	}
	assert_true(failures > 200);
	certifier_destroy(c);
	assert_int_equal(nomem_live(), 0);
}

static void checkpoint_without_memory(void **state)
{
	Certifier  *c = rich_state();
	Restoring	r;

	(void) state;
	nd_buf_init(&r.buf);
	nomem_fail(1, NOMEM_ALL);
	assert_int_equal(certifier_save(c, &r.buf), ND_NOMEM);
	assert_int_equal(certifier_create(SMALL, &r.c), ND_NOMEM);
	nomem_fail(0, 0);
	nd_buf_reset(&r.buf);
	assert_int_equal(certifier_save(c, &r.buf), ND_OK);
	assert_true(nomem_call(restore, NULL, &r) > 8);
	certifier_destroy(r.c);
	certifier_destroy(c);
	nd_buf_free(&r.buf);
	assert_int_equal(nomem_live(), 0);
}

/* ---- transactions over several groups ---- */

/* Scenario D1: what stands between marker and outcome does not depend on the outcome. */
static void marker_reserves_until_the_outcome(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;

	(void) state;
	assert_int_equal(marker(c, 1, 3, 0, part(ID(1, 1), 0, 7)).kind, VERDICT_PREPARED);
	assert_int_equal(certifier_position(c), 3);
	assert_true(certifier_is_open(c, 3));
	assert_int_equal(certifier_open_chunk_floor(c), 1);
	assert_int_equal(certifier_last_commit(c), 0);
	v = txn(c, 2, ID(2, 1), 1, 7, KEY_ROW_UPDATE);	/* whatever its base */
	assert_int_equal(v.kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(v.by_index, 1);
	assert_int_equal(txn(c, 3, ID(2, 2), 2, 8, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);	/* others go on */
	v = outcome(c, 4, ID(1, 1), 3, 9, 0, true);
	assert_int_equal(v.kind, VERDICT_COMMIT);
	assert_int_equal(v.by_index, 1);
	assert_int_equal(certifier_decision(c), 9);
	assert_false(certifier_is_open(c, 3));
	assert_int_equal(certifier_open_chunk_floor(c), 0);
	assert_int_equal(certifier_last_commit(c), 4);
	/* it took effect at the outcome: a base of 3 has not seen it */
	v = txn(c, 5, ID(2, 3), 3, 7, KEY_ROW_UPDATE);
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.by_index, 4);
	assert_int_equal(txn(c, 6, ID(2, 4), 4, 7, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	/* an abort changes nothing */
	assert_int_equal(marker(c, 7, 4, 3, part(ID(1, 2), 6, 7)).kind, VERDICT_PREPARED);
	v = outcome(c, 8, ID(1, 2), 4, 10, 9, false);
	assert_int_equal(v.kind, VERDICT_ABORT_ELSEWHERE);
	assert_int_equal(v.by_index, 7);
	assert_int_equal(txn(c, 9, ID(2, 5), 6, 7, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

static void markers_and_outcomes_count_once_and_in_order(void **state)
{
	Certifier  *c = create(LARGE);

	(void) state;
	assert_int_equal(marker(c, 1, 3, 2, part(ID(1, 1), 0, 7)).kind, VERDICT_REPEATED);	/* 2 is missing */
	assert_int_equal(marker(c, 2, 2, 0, part(ID(1, 2), 0, 8)).kind, VERDICT_PREPARED);
	assert_int_equal(marker(c, 3, 2, 0, part(ID(1, 2), 0, 8)).kind, VERDICT_REPEATED);	/* again */
	assert_int_equal(marker(c, 4, 3, 2, part(ID(1, 1), 0, 7)).kind, VERDICT_PREPARED);
	assert_int_equal(outcome(c, 5, ID(1, 2), 2, 6, 5, true).kind, VERDICT_REPEATED);	/* 5 is missing */
	assert_int_equal(outcome(c, 6, ID(1, 1), 3, 5, 0, true).kind, VERDICT_COMMIT);
	assert_int_equal(outcome(c, 7, ID(1, 1), 3, 5, 0, true).kind, VERDICT_REPEATED);
	assert_int_equal(outcome(c, 8, ID(1, 9), 9, 6, 5, false).kind, VERDICT_REPEATED);	/* before its marker */
	assert_int_equal(outcome(c, 9, ID(1, 9), 2, 6, 5, true).kind, VERDICT_REPEATED);	/* another id's */
	assert_int_equal(outcome(c, 10, ID(1, 2), 2, 6, 5, true).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

static void a_no_is_final(void **state)
{
	Certifier  *c = create(LARGE);
	Verdict		v;
	uint64_t	index;
	VerdictKind kind;

	(void) state;
	txn(c, 1, ID(2, 1), 0, 7, KEY_ROW_UPDATE);
	v = marker(c, 2, 1, 0, part(ID(1, 1), 0, 7));
	assert_int_equal(v.kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(v.by_index, 1);
	assert_int_equal(certifier_position(c), 1);
	assert_false(certifier_is_open(c, 1));
	assert_true(certifier_lookup(c, ID(1, 1), &index, &kind));
	assert_int_equal(kind, VERDICT_ABORT_CONFLICT);
	v = outcome(c, 3, ID(1, 1), 1, 1, 0, true);		/* cannot be: it has no marker that is open */
	assert_int_equal(v.kind, VERDICT_REPEATED);
	v = outcome(c, 4, ID(1, 1), 1, 1, 0, false);
	assert_int_equal(v.kind, VERDICT_ABORT_ELSEWHERE);
	assert_int_equal(v.by_index, 0);
	/* a late copy in a new position aborts, after an abort and after a commit */
	v = marker(c, 5, 2, 1, part(ID(1, 1), 4, 7));
	assert_int_equal(v.kind, VERDICT_DUPLICATE);
	assert_int_equal(v.first, VERDICT_ABORT_CONFLICT);
	outcome(c, 6, ID(1, 1), 2, 2, 1, false);
	assert_int_equal(marker(c, 7, 3, 2, part(ID(1, 2), 6, 9)).kind, VERDICT_PREPARED);
	outcome(c, 8, ID(1, 2), 3, 3, 2, true);
	v = marker(c, 9, 4, 3, part(ID(1, 2), 8, 9));
	assert_int_equal(v.kind, VERDICT_DUPLICATE);
	assert_int_equal(v.first, VERDICT_COMMIT);
	outcome(c, 10, ID(1, 2), 4, 4, 3, false);
	assert_true(certifier_lookup(c, ID(1, 2), &index, &kind));
	assert_int_equal(kind, VERDICT_COMMIT);
	assert_int_equal(index, 8);
	certifier_destroy(c);
}

/* Neither the owner, nor whoever gives it up for lost, nor its next life ends what other groups may commit. */
static void only_the_outcome_ends_a_marker(void **state)
{
	Certifier  *c = create(LARGE);
	CertifierOwner owners[4];
	KitEntry	p = part(ID(1, 1), 2, 7);
	Verdict		v;

	(void) state;
	assert_int_equal(reserve(c, 1, ID(1, 1), 1, 0, 6, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	chunk(c, 2, ID(1, 1), 1);
	p.chunks[0] = 2;
	p.n_chunks = 1;
	assert_int_equal(marker(c, 3, 1, 0, p).kind, VERDICT_PREPARED);
	assert_int_equal(certifier_open_chunk_floor(c), 2);
	assert_int_equal(certifier_owners(c, 0, owners, 4), 0);
	v = cancel(c, 4, ID(1, 1), 0);
	assert_int_equal(v.kind, VERDICT_NONE);
	assert_int_equal(v.first, VERDICT_PREPARED);
	assert_int_equal(v.by_index, 3);
	v = give(c, 5, (KitEntry) {.kind = ENTRY_TXN, .txn = ID(1, 1), .base = 4, .keys = {{7, KEY_ROW_UPDATE}}, .n_keys = 1});
	assert_int_equal(v.kind, VERDICT_DUPLICATE);
	assert_int_equal(v.first, VERDICT_PREPARED);
	assert_int_equal(reserve(c, 6, ID(1, 1), 2, 4, 9, KEY_ROW_UPDATE).kind, VERDICT_DUPLICATE);
	chunk(c, 7, ID(1, 1), 6);
	/* a new life of node 1, whose own entry meets it as any other */
	v = give(c, 8, (KitEntry) {.kind = ENTRY_TXN, .txn = {1, 2, 1}, .base = 7, .keys = {{7, KEY_ROW_UPDATE}}, .n_keys = 1});
	assert_int_equal(v.kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(txn(c, 9, ID(2, 1), 8, 6, KEY_ROW_UPDATE).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(certifier_open_chunk_floor(c), 2);
	assert_int_equal(outcome(c, 10, ID(1, 1), 1, 1, 0, true).kind, VERDICT_COMMIT);
	assert_int_equal(certifier_open_chunk_floor(c), 0);
	assert_int_equal(txn(c, 11, ID(2, 2), 10, 6, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	/* before its marker they do end it */
	v = marker(c, 12, 2, 1, part((TxnId) {1, 1, 9}, 11, 5));
	assert_int_equal(v.kind, VERDICT_ABORT_FENCED);
	cancel(c, 13, ID(2, 7), 11);
	assert_int_equal(marker(c, 14, 3, 2, part(ID(2, 7), 11, 5)).kind, VERDICT_ABORT_CANCELLED);
	certifier_destroy(c);
}

/* A part takes its place at its outcome: until then nobody may change what it read, and nobody who may come before it did. */
static void reads_of_a_part_are_reserved(void **state)
{
	Certifier  *c = create(LARGE);
	KitEntry	p = part(ID(1, 1), 1, 7);

	(void) state;
	p.reads[0] = (EntryKey) {8, KEY_ROW_SHARE};
	p.n_reads = 1;
	p.read_base = 1;
	assert_int_equal(txn(c, 1, ID(2, 1), 0, 8, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	assert_int_equal(marker(c, 2, 1, 0, p).kind, VERDICT_PREPARED);
	assert_int_equal(txn(c, 3, ID(2, 2), 2, 8, KEY_ROW_UPDATE).kind, VERDICT_ABORT_RESERVED);
	/* readers do not exclude each other; what another part may change, this one cannot have read */
	p.txn = ID(1, 2);
	p.keys[0].hash = 9;
	assert_int_equal(marker(c, 4, 2, 1, p).kind, VERDICT_PREPARED);
	p.txn = ID(1, 3);
	p.keys[0].hash = 10;
	p.reads[0].hash = 9;
	assert_int_equal(marker(c, 5, 3, 2, p).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(outcome(c, 6, ID(1, 1), 1, 1, 0, true).kind, VERDICT_COMMIT);
	assert_int_equal(outcome(c, 7, ID(1, 2), 2, 2, 1, true).kind, VERDICT_COMMIT);
	/* what was only read is not changed */
	assert_int_equal(txn(c, 8, ID(2, 3), 2, 8, KEY_ROW_UPDATE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

/* A value that rows come and go with: whoever changes rows of it, and whoever looks for them, exclude each other and nobody else, as parts too. */
static void values_part_readers_from_writers(void **state)
{
	Certifier  *c = create(LARGE);
	KitEntry	p = {.kind = ENTRY_MARKER, .txn = ID(1, 9), .base = 3, .read_base = 3, .reads = {{50, KEY_REL_SHARE}}, .n_reads = 1};

	(void) state;
	assert_int_equal(txn(c, 1, ID(1, 1), 0, 50, KEY_REL_ROW_EXCLUSIVE).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 2, ID(2, 1), 0, 50, KEY_REL_ROW_EXCLUSIVE).kind, VERDICT_COMMIT);
	assert_int_equal(reader(c, 3, ID(3, 1), 2, 1, 50, KEY_REL_SHARE).kind, VERDICT_ABORT_CONFLICT);
	assert_int_equal(marker(c, 4, 1, 0, p).kind, VERDICT_PREPARED);
	p.txn = ID(2, 9);
	assert_int_equal(marker(c, 5, 2, 1, p).kind, VERDICT_PREPARED);
	assert_int_equal(txn(c, 6, ID(3, 2), 5, 50, KEY_REL_ROW_EXCLUSIVE).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(outcome(c, 7, ID(1, 9), 1, 1, 0, true).kind, VERDICT_COMMIT);
	assert_int_equal(outcome(c, 8, ID(2, 9), 2, 2, 1, true).kind, VERDICT_COMMIT);
	assert_int_equal(txn(c, 9, ID(3, 3), 8, 50, KEY_REL_ROW_EXCLUSIVE).kind, VERDICT_COMMIT);
	certifier_destroy(c);
}

static void markers_survive_window_and_checkpoint(void **state)
{
	Certifier  *c = create(SMALL);
	Certifier  *restored;
	CertifierStatus status;
	KitEntry	empty = {.kind = ENTRY_MARKER, .txn = ID(1, 2), .base = 0};
	NdBuf		buf;
	uint64_t	next;

	(void) state;
	assert_int_equal(marker(c, 1, 5, 0, part(ID(1, 1), 0, 7)).kind, VERDICT_PREPARED);
	assert_int_equal(marker(c, 2, 6, 5, empty).kind, VERDICT_PREPARED);
	next = push(c, 3, 60);
	assert_true(certifier_window_start(c) > 2);
	nd_buf_init(&buf);
	assert_int_equal(certifier_save(c, &buf), ND_OK);
	assert_int_equal(certifier_restore(buf.data, buf.len, &restored), ND_OK);
	certifier_destroy(c);
	nd_buf_free(&buf);
	certifier_status(restored, &status);
	assert_int_equal(status.markers, 2);
	assert_int_equal(certifier_position(restored), 6);
	assert_true(certifier_is_open(restored, 5) && certifier_is_open(restored, 6));
	assert_int_equal(txn(restored, next, ID(2, 1), next - 1, 7, KEY_ROW_UPDATE).kind, VERDICT_ABORT_RESERVED);
	assert_int_equal(outcome(restored, next + 1, ID(1, 2), 6, 1, 0, true).kind, VERDICT_COMMIT);
	assert_int_equal(outcome(restored, next + 2, ID(1, 1), 5, 2, 1, true).kind, VERDICT_COMMIT);
	assert_int_equal(txn(restored, next + 3, ID(2, 2), next, 7, KEY_ROW_UPDATE).kind, VERDICT_ABORT_CONFLICT);
	certifier_destroy(restored);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_committer_wins),
		cmocka_unit_test(reserved_keys_survive_growth),
		cmocka_unit_test(all_mode_pairs),
		cmocka_unit_test(reads_are_judged_from_the_snapshot_on),
		cmocka_unit_test(who_is_lost),
		cmocka_unit_test(conflict_is_named),
		cmocka_unit_test(duplicate_has_no_effect),
		cmocka_unit_test(window_by_ids),
		cmocka_unit_test(window_by_keys),
		cmocka_unit_test(entry_larger_than_the_window_stays),
		cmocka_unit_test(base_not_below_the_entry),
		cmocka_unit_test(fence),
		cmocka_unit_test(reservation_blocks_others_whatever_their_base),
		cmocka_unit_test(reservation_ends_with_an_aborted_txn),
		cmocka_unit_test(reservation_is_not_judged_by_changes),
		cmocka_unit_test(reserve_copies),
		cmocka_unit_test(reservation_survives_the_window),
		cmocka_unit_test(cancel_is_a_tombstone),
		cmocka_unit_test(cancel_proves_only_what_the_window_holds),
		cmocka_unit_test(open_chunks),
		cmocka_unit_test(chunk_that_is_not_kept),
		cmocka_unit_test(out_of_contract),
		cmocka_unit_test(checkpoint_round_trip),
		cmocka_unit_test(cancel_fences),
		cmocka_unit_test(owners_in_log_order),
		cmocka_unit_test(last_commit),
		cmocka_unit_test(marker_reserves_until_the_outcome),
		cmocka_unit_test(markers_and_outcomes_count_once_and_in_order),
		cmocka_unit_test(a_no_is_final),
		cmocka_unit_test(only_the_outcome_ends_a_marker),
		cmocka_unit_test(reads_of_a_part_are_reserved),
		cmocka_unit_test(values_part_readers_from_writers),
		cmocka_unit_test(markers_survive_window_and_checkpoint),
		cmocka_unit_test(checkpoint_golden),
		cmocka_unit_test(checkpoint_damaged),
		cmocka_unit_test(checkpoint_with_odd_owners),
		cmocka_unit_test(owners_without_memory),
		cmocka_unit_test(checkpoint_without_memory),
	};

	nomem_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
