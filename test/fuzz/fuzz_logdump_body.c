/*
 * fuzz_logdump_body.c: any bytes as the body of a transaction, as nodedb_logdump prints it.
 */
#include "../../src/tools/logdump.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *quiet;

	/* what is printed is of no interest here, and much */
	if (quiet == NULL)
	{
		quiet = freopen("/dev/null", "w", stdout);
		MUST(quiet != NULL);
	}
	logdump_body(data, size);
	return 0;
}
