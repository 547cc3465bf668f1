/*
 * fuzz.h: what the fuzz targets share. Each is one LLVMFuzzerTestOneInput(): libFuzzer calls it (`make fuzz`), or replay.c does for each file
 * of the corpus (`make test`).
 */
#ifndef ND_FUZZ_H
#define ND_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that holds for every input; the fuzzer keeps the input that breaks it. */
#define MUST(what) \
	do \
	{ \
		if (!(what)) \
		{ \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
			abort(); \
		} \
	} while (0)

#define MUST_EQUAL(a, a_len, b, b_len) \
	MUST((a_len) == (b_len) && ((a_len) == 0 || memcmp(a, b, a_len) == 0))

#endif
