/*
 * alloc.c: the one way to memory for core, store, transport and node.
 *
 * Owns: the process-wide allocator table.
 *
 * Invariants:
 * 1. Everything goes through this table, so that a test can make any single allocation fail.
 * 2. The table changes only while nothing is allocated: a block is freed by the allocator that gave it.
 * 3. A size of zero still gives a block: NULL means "out of memory" and nothing else.
 */
#include "base.h"

#include <stdlib.h>
#include <string.h>

static void *malloc_alloc(void *ctx, size_t bytes)
{
	(void) ctx;
	return malloc(bytes);
}

static void *malloc_realloc(void *ctx, void *p, size_t bytes)
{
	(void) ctx;
	return realloc(p, bytes);
}

static void malloc_free(void *ctx, void *p)
{
	(void) ctx;
	free(p);
}

static const NdAllocator malloc_allocator = {malloc_alloc, malloc_realloc, malloc_free, NULL};
static NdAllocator current = {malloc_alloc, malloc_realloc, malloc_free, NULL};

void nd_set_allocator(const NdAllocator *allocator)
{
	current = allocator != NULL ? *allocator : malloc_allocator;
}

void *nd_alloc(size_t bytes)
{
	return current.alloc(current.ctx, bytes > 0 ? bytes : 1);
}

void *nd_zalloc(size_t bytes)
{
	void	   *p = nd_alloc(bytes);

	if (p != NULL)
		memset(p, 0, bytes);
	return p;
}

void *nd_realloc(void *p, size_t bytes)
{
	if (p == NULL)
		return nd_alloc(bytes);
	return current.realloc(current.ctx, p, bytes > 0 ? bytes : 1);
}

void nd_free(void *p)
{
	if (p != NULL)
		current.free(current.ctx, p);
}
