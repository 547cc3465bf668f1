/*
 * count_kit.c: an allocator that counts bytes (count_kit.h). Each block has its size in front.
 */
#include <stdlib.h>

#include "count_kit.h"
#include "../../src/core/base/base.h"

#define FRONT 16					/* keeps malloc's alignment */

static size_t allocated;

static void *count_alloc(void *ctx, size_t size)
{
	size_t	   *p = malloc(size + FRONT);

	(void) ctx;
	if (p == NULL)
		return NULL;
	*p = size;
	allocated += size;
	return (char *) p + FRONT;
}

static void count_free(void *ctx, void *p)
{
	size_t	   *front = (size_t *) ((char *) p - FRONT);

	(void) ctx;
	allocated -= *front;
	free(front);
}

static void *count_realloc(void *ctx, void *p, size_t size)
{
	size_t		before = *(size_t *) ((char *) p - FRONT);
	size_t	   *grown = realloc((char *) p - FRONT, size + FRONT);

	(void) ctx;
	if (grown == NULL)
		return NULL;
	*grown = size;
	allocated += size - before;
	return (char *) grown + FRONT;
}

void count_install(void)
{
	static const NdAllocator counting = {count_alloc, count_realloc, count_free, NULL};

	nd_set_allocator(&counting);
}

size_t count_bytes(void)
{
	return allocated;
}
