/*
 * fuzz_certifier.c: a list of entries through a certifier, and through a second one that is saved and restored wherever the input says so: both
 * give the same verdicts, answer the same questions, and have the same bytes at the end. Whoever waits for keys is told once, or ends.
 *
 * Input: u8 keys_max, u8 ids_max (both above 16), then steps: u8 what; 0: restore; else an entry made of small numbers, so that every rule meets every other one.
 */
#include "../../src/core/certifier/certifier.h"

#include "fuzz.h"

#define KEYS_MAX 8
#define GAP_EVERY 7				/* the log's own entries leave gaps */

static const uint8_t modes[] = {KEY_ROW_SHARE_KEY, KEY_ROW_SHARE, KEY_ROW_NO_KEY_UPDATE, KEY_ROW_UPDATE, KEY_REL_ACCESS_SHARE, KEY_REL_ROW_SHARE,
	KEY_REL_ROW_EXCLUSIVE, KEY_REL_SHARE_UPDATE_EXCLUSIVE, KEY_REL_SHARE, KEY_REL_SHARE_ROW_EXCLUSIVE, KEY_REL_EXCLUSIVE, KEY_REL_ACCESS_EXCLUSIVE};

static uint32_t make_keys(NdReader *r, EntryKey *keys)
{
	uint32_t	n = nd_read_u8(r) % (KEYS_MAX + 1);

	for (uint32_t i = 0; i < n; i++)
	{
		keys[i].hash = nd_read_u8(r) % 32;
		keys[i].mode = modes[nd_read_u8(r) % sizeof(modes)];
	}
	return n;
}

/*
 * A MARKER or an OUTCOME, mostly the next one: of the position and the decision behind the last ones. The parts of one transaction in other groups do not matter here.
 */
static bool make_several(NdReader *r, const Certifier *c, bool marker, TxnId txn, uint64_t base, uint8_t numbers, NdBuf *out)
{
	static const NdGroupId groups[] = {1, 2};
	EntryKey	keys[KEYS_MAX];
	EntryKey	reads[KEYS_MAX];
	uint64_t	position = certifier_position(c);
	uint64_t	decision = certifier_decision(c);
	uint64_t	off = numbers % 16 == 15;	/* one is missing */
	EntryHeader part;
	NdBuf		bytes;
	NdStatus	status;
	uint32_t	n_keys;
	uint32_t	n_reads;

	if (!marker)
		return entry_encode_outcome(out, txn, numbers & 1, position > numbers / 32u ? position - numbers / 32u : 1, decision + 1 + off, decision + off, groups, 2) == ND_OK;
	n_keys = make_keys(r, keys);
	n_reads = make_keys(r, reads);
	nd_buf_init(&bytes);
	status = r->failed ? ND_INVALID : entry_encode_txn(&bytes, 0, txn, base, keys, n_keys, base, reads, n_reads, NULL, 0);
	if (status == ND_OK)
		status = entry_decode(bytes.data, bytes.len, &part);
	if (status == ND_OK)
		status = entry_encode_marker(out, &part, position + 1 + off, position + off, groups, 2);
	nd_buf_free(&bytes);
	return status == ND_OK;
}

/* False: the input is at its end. A TXN may name a chunk that is none, and a base at or above the entry: both have an answer. */
static bool make_entry(NdReader *r, const Certifier *c, uint64_t index, uint8_t what, NdBuf *out)
{
	static const EntryKind kinds[] = {ENTRY_TXN, ENTRY_TXN, ENTRY_TXN, ENTRY_RESERVE, ENTRY_CHUNK, ENTRY_CANCEL};
	EntryKind	kind = kinds[what % 6];
	uint8_t		who = nd_read_u8(r);
	uint8_t		numbers = nd_read_u8(r);
	TxnId		txn = {1 + who % 3, 1 + who / 3 % 3, 1 + numbers % 8};
	uint64_t	age = nd_read_u8(r);
	uint64_t	base = age < index ? index - age : index + age;
	EntryKey	keys[KEYS_MAX];
	EntryKey	reads[KEYS_MAX];
	uint32_t	n_keys = what >= 192 ? 0 : make_keys(r, keys);
	uint64_t	chunk = index > 2 ? index - 1 - numbers % 2 : 0;
	uint32_t	n_chunks = kind == ENTRY_TXN && numbers >= 128 && chunk > 0;

	nd_buf_reset(out);
	if (what >= 192)
		return make_several(r, c, what < 224, txn, base, numbers, out);
	if (what % 6 == 0)
	{
		uint32_t	n_reads = make_keys(r, reads);
		uint64_t	read_base = base - nd_read_u8(r) % (base + 1);

		return !r->failed && entry_encode_txn(out, 0, txn, base, keys, n_keys, read_base, reads, n_reads, &chunk, n_chunks) == ND_OK;
	}
	if (r->failed || entry_encode_header(out, kind, kind == ENTRY_RESERVE ? numbers / 8 : 0, txn, base, keys, n_keys, &chunk, n_chunks) != ND_OK)
		return false;
	if (kind == ENTRY_RESERVE && age % 4 != 0)
		nd_buf_varint(out, what / 6 % 4 * 5);
	return true;
}

/* Nobody owns what conflicts with another owner's keys, or with those of somebody before it in the line. */
static void line_is_kept(const Certifier *c)
{
	CertifierReservation a;
	CertifierReservation b;
	uint64_t	place = 0;

	for (uint64_t i = 0; certifier_reservation(c, i, &a); i++)
	{
		bool		blocked = a.since != 0;

		for (uint64_t j = 0; j < i && certifier_reservation(c, j, &b); j++)
			for (uint64_t k = 0; k < a.n_keys * b.n_keys; k++)
			{
				EntryKey	x = a.keys[k % a.n_keys];
				EntryKey	y = b.keys[k / a.n_keys];

				if (x.hash != y.hash || !key_modes_conflict(x.mode, y.mode))
					continue;
				MUST(a.since == 0);
				MUST(b.index < a.index);
				blocked = true;
			}
		MUST(blocked);
		MUST(a.since != 0 || a.index > place);
		place = a.since != 0 ? 0 : a.index;
	}
}

static void same(const Certifier *a, const Certifier *b, TxnId txn)
{
	CertifierOwner owners[2][4];
	uint64_t	index[2] = {0, 0};
	VerdictKind kind[2] = {0, 0};
	const TxnId *granted[2];
	bool		found = certifier_lookup(a, txn, &index[0], &kind[0]);
	uint32_t	n = certifier_owners(a, 0, owners[0], 4);

	MUST(found == certifier_lookup(b, txn, &index[1], &kind[1]) && index[0] == index[1] && kind[0] == kind[1]);
	MUST(n == certifier_owners(b, 0, owners[1], 4));
	for (uint32_t i = 0; i < n && i < 4; i++)
		MUST(txnid_compare(owners[0][i].txn, owners[1][i].txn) == 0 && owners[0][i].index == owners[1][i].index);
	n = certifier_granted(a, &granted[0]);
	MUST(n == certifier_granted(b, &granted[1]));
	for (uint32_t i = 0; i < n; i++)
		MUST(txnid_compare(granted[0][i], granted[1][i]) == 0);
	line_is_kept(a);
	line_is_kept(b);
	MUST(certifier_checksum(a) == certifier_checksum(b));
	MUST(certifier_window_start(a) == certifier_window_start(b));
	MUST(certifier_open_chunk_floor(a) == certifier_open_chunk_floor(b));
	MUST(certifier_position(a) == certifier_position(b) && certifier_decision(a) == certifier_decision(b));
	MUST(certifier_is_open(a, certifier_position(a)) == certifier_is_open(b, certifier_position(a)));
	MUST(certifier_last_index(a) == certifier_last_index(b));
	MUST(certifier_last_commit(a) == certifier_last_commit(b));
}

static Certifier *restored(Certifier *c, NdBuf *bytes)
{
	Certifier  *again;

	nd_buf_reset(bytes);
	MUST(certifier_save(c, bytes) == ND_OK);
	MUST(certifier_restore(bytes->data, bytes->len, &again) == ND_OK);
	certifier_destroy(c);
	return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NdReader	r;
	NdBuf		entry;
	NdBuf		a_bytes;
	NdBuf		b_bytes;
	CertifierLimits limits;
	Certifier  *a;
	Certifier  *b;
	uint64_t	index = 1;

	nd_reader_init(&r, data, size);
	limits.keys_max = 16 + nd_read_u8(&r);
	limits.ids_max = 16 + nd_read_u8(&r) % 64;
	MUST(certifier_create(limits, &a) == ND_OK && certifier_create(limits, &b) == ND_OK);
	nd_buf_init(&entry);
	nd_buf_init(&a_bytes);
	nd_buf_init(&b_bytes);
	for (uint8_t what = nd_read_u8(&r); !r.failed; what = nd_read_u8(&r))
	{
		EntryHeader h;
		Verdict		v[2];

		if (what == 0)
		{
			b = restored(b, &b_bytes);
			continue;
		}
		if (!make_entry(&r, a, index, what, &entry))
			continue;
		MUST(entry_decode(entry.data, entry.len, &h) == ND_OK);
		memset(v, 0, sizeof(v));
		MUST(certifier_certify(a, index, &h, &v[0]) == ND_OK && certifier_certify(b, index, &h, &v[1]) == ND_OK);
		MUST(v[0].kind == v[1].kind && v[0].key == v[1].key && v[0].by_index == v[1].by_index && v[0].first == v[1].first);
		MUST(txnid_compare(v[0].by_txn, v[1].by_txn) == 0);
		MUST((v[0].kind != VERDICT_COMMIT && v[0].kind != VERDICT_PREPARED) || h.base < index);
		same(a, b, h.txn);
		index += 1 + (index % GAP_EVERY == 0);
	}
	MUST(certifier_save(a, &a_bytes) == ND_OK);
	nd_buf_reset(&b_bytes);
	MUST(certifier_save(b, &b_bytes) == ND_OK);
	MUST_EQUAL(a_bytes.data, a_bytes.len, b_bytes.data, b_bytes.len);
	certifier_destroy(a);
	certifier_destroy(b);
	nd_buf_free(&entry);
	nd_buf_free(&a_bytes);
	nd_buf_free(&b_bytes);
	return 0;
}
