/*
 * bench_certifier.c: entries per second that one certifier judges, decoding included, as every replica does for every entry.
 *
 * Entries are encoded beforehand: TXN entries with random row keys out of a given number of rows, bases a given number of entries back.
 * Prints one line per shape: keys per entry, rows, how far back the base lies; entries per second, the share that aborts.
 */
#include "core/certifier/certifier.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ENTRIES 200000
#define KEYS_MAX 64

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void need(NdStatus status)
{
	if (status != ND_OK)
	{
		fprintf(stderr, "bench_certifier: %s\n", nd_status_text(status));
		exit(1);
	}
}

/* All entries behind one another in *out; offsets[i] is where entry i begins, offsets[ENTRIES] the end. */
static void encode_all(NdBuf *out, size_t *offsets, uint32_t n_keys, uint64_t rows, uint64_t lag)
{
	NdRandom	random;
	EntryKey	keys[KEYS_MAX];

	nd_random_seed(&random, 1);
	for (uint64_t i = 0; i < ENTRIES; i++)
	{
		TxnId		txn = {.node = 1 + (uint32_t) (i % 3), .incarnation = 1, .counter = 1 + i};
		uint64_t	index = 1 + i;

		for (uint32_t k = 0; k < n_keys; k++)
			keys[k] = (EntryKey) {.hash = nd_random_below(&random, rows) * UINT64_C(0x9E3779B97F4A7C15), .mode = KEY_ROW_UPDATE};
		offsets[i] = out->len;
		need(entry_encode_header(out, ENTRY_TXN, 0, txn, index > lag ? index - lag : 0, keys, n_keys, NULL, 0));
	}
	offsets[ENTRIES] = out->len;
}

static void measure(uint32_t n_keys, uint64_t rows, uint64_t lag)
{
	static size_t offsets[ENTRIES + 1];
	NdBuf		buf = {0};
	Certifier  *certifier;
	uint64_t	aborted = 0;
	double		began, took;

	encode_all(&buf, offsets, n_keys, rows, lag);
	need(certifier_create((CertifierLimits) {.keys_max = 1000000, .ids_max = 100000}, &certifier));
	began = seconds_now();
	for (uint64_t i = 0; i < ENTRIES; i++)
	{
		EntryHeader header;
		Verdict		verdict;

		need(entry_decode(buf.data + offsets[i], offsets[i + 1] - offsets[i], &header));
		need(certifier_certify(certifier, 1 + i, &header, &verdict));
		aborted += verdict.kind != VERDICT_COMMIT;
	}
	took = seconds_now() - began;
	printf("certifier: %2u keys, %8llu rows, base %4llu back: %9.0f entries/s, %5.1f %% abort\n", n_keys, (unsigned long long) rows,
		   (unsigned long long) lag, ENTRIES / took, 100.0 * (double) aborted / ENTRIES);
	certifier_destroy(certifier);
	nd_buf_free(&buf);
}

int main(void)
{
	measure(1, 1000000, 10);
	measure(4, 1000000, 10);
	measure(4, 1000000, 1000);
	measure(4, 100, 10);
	measure(64, 10000000, 100);
	return 0;
}
