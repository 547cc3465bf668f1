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

struct NdChecksum
{
	void	   *memory;			/* of the state, which wants an alignment of its own */
	XXH3_state_t *state;
};

NdChecksum *nd_checksum_new(void)
{
	NdChecksum *c = nd_alloc(sizeof(*c));
	uint8_t    *memory = nd_zalloc(sizeof(XXH3_state_t) + 63);

	if (c == NULL || memory == NULL)
	{
		nd_free(c);
		nd_free(memory);
		return NULL;
	}
	c->memory = memory;
	c->state = (XXH3_state_t *) (memory + (64 - (uintptr_t) memory % 64) % 64);
	return c;
}

void nd_checksum_free(NdChecksum *c)
{
	if (c == NULL)
		return;
	nd_free(c->memory);
	nd_free(c);
}

void nd_checksum_begin(NdChecksum *c, uint64_t seed)
{
	XXH3_64bits_reset_withSeed(c->state, seed);
}

void nd_checksum_add(NdChecksum *c, const void *data, size_t len)
{
	XXH3_64bits_update(c->state, data, len);
}

uint64_t nd_checksum_end(const NdChecksum *c)
{
	return XXH3_64bits_digest(c->state);
}
