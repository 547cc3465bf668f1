/*
 * checksum.c: XXH3, 64 bits. Inlined from the library's header: a bad checksum is the difference between damage and a torn tail, so
 * it must not depend on which shared library happens to be loaded.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base.h"

uint64_t nd_checksum(const void *data, size_t len, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len, seed);
}
