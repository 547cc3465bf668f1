/*
 * bench_certifier.c: keys certified per second on one core with a full window of a million keys: entries of 1, 4 and 16 keys that seldom
 * conflict, then hot rows. Entries are encoded before the clock starts. Also what a checkpoint of that window costs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../src/core/certifier/certifier.h"

#define WINDOW_KEYS 1000000
#define WINDOW_IDS 1000000
#define KEYS 2000000			/* per run, after the window is full */
#define BASE_LAG 64				/* entries between base and index */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void check(NdStatus status)
{
	if (status == ND_OK)
		return;
	fprintf(stderr, "%s\n", nd_status_text(status));
	exit(1);
}

static void run(uint32_t keys_per_entry, uint64_t n_hashes)
{
	uint64_t	n_fill = WINDOW_KEYS / keys_per_entry;
	uint64_t	n = n_fill + KEYS / keys_per_entry;
	size_t	   *ends = malloc(n * sizeof(size_t));
	EntryKey	keys[16];
	CertifierStatus status;
	Certifier  *c;
	NdRandom	r;
	NdBuf		entries;
	NdBuf		checkpoint;
	uint64_t	committed = 0;
	double		start = 0;
	double		took;

	nd_random_seed(&r, 1);
	nd_buf_init(&entries);
	nd_buf_init(&checkpoint);
	check(certifier_create((CertifierLimits) {WINDOW_KEYS, WINDOW_IDS}, &c));
	for (uint64_t i = 0; i < n; i++)
	{
		TxnId		txn = {1 + (uint32_t) (i % 3), 1, i + 1};

		for (uint32_t k = 0; k < keys_per_entry; k++)
		{
			uint64_t	row = nd_random_below(&r, n_hashes);

			keys[k] = (EntryKey) {nd_checksum(&row, sizeof(row), 0), KEY_ROW_UPDATE};
		}
		check(entry_encode_header(&entries, ENTRY_TXN, 0, txn, i > BASE_LAG ? i - BASE_LAG : 0, keys, keys_per_entry, NULL, 0));
		ends[i] = entries.len;
	}
	for (uint64_t i = 0; i < n; i++)
	{
		size_t		from = i > 0 ? ends[i - 1] : 0;
		EntryHeader h;
		Verdict		v;

		if (i == n_fill)
			start = seconds();
		check(entry_decode(entries.data + from, ends[i] - from, &h));
		check(certifier_certify(c, i + 1, &h, &v));
		committed += i >= n_fill && v.kind == VERDICT_COMMIT;
	}
	took = seconds() - start;
	certifier_status(c, &status);
	start = seconds();
	check(certifier_save(c, &checkpoint));
	printf("%2u keys per entry, %9llu rows: %.2f million keys/s, %.2f million entries/s, %2.0f %% committed, %.0f MB; checkpoint %.1f MB in %.0f ms",
		   keys_per_entry, (unsigned long long) n_hashes, (double) (n - n_fill) * keys_per_entry / took / 1e6,
		   (double) (n - n_fill) / took / 1e6, 100.0 * (double) committed / (double) (n - n_fill), (double) status.bytes / 1e6,
		   (double) checkpoint.len / 1e6, (seconds() - start) * 1e3);
	certifier_destroy(c);
	start = seconds();
	check(certifier_restore(checkpoint.data, checkpoint.len, &c));
	printf(", restored in %.0f ms\n", (seconds() - start) * 1e3);
	certifier_destroy(c);
	nd_buf_free(&entries);
	nd_buf_free(&checkpoint);
	free(ends);
}

int main(void)
{
	run(1, 10000000);
	run(4, 10000000);
	run(16, 10000000);
	run(4, 1000);
	return 0;
}
