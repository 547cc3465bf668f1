/*
 * nomem_kit.c: see nomem_kit.h.
 */
#include "nomem_kit.h"

#include <stdio.h>
#include <stdlib.h>

#define RUNS_MAX 1000000

static uint64_t number;
static uint64_t fail_from;
static uint64_t fail_count;
static bool failed;
static bool paused;
static long live;

static bool fails(void)
{
	if (paused)
		return false;
	number++;
	if (fail_from == 0 || number < fail_from || number - fail_from >= fail_count)
		return false;
	failed = true;
	return true;
}

static void *kit_alloc(void *ctx, size_t bytes)
{
	void	   *p = fails() ? NULL : malloc(bytes);

	(void) ctx;
	live += p != NULL;
	return p;
}

static void *kit_realloc(void *ctx, void *p, size_t bytes)
{
	void	   *grown = fails() ? NULL : realloc(p, bytes);

	(void) ctx;
	live += p == NULL && grown != NULL;
	return grown;
}

static void kit_free(void *ctx, void *p)
{
	(void) ctx;
	live -= p != NULL;
	free(p);
}

void nomem_install(void)
{
	static const NdAllocator allocator = {kit_alloc, kit_realloc, kit_free, NULL};

	nd_set_allocator(&allocator);
}

void nomem_fail(uint64_t from, uint64_t count)
{
	fail_from = from;
	fail_count = count;
	number = 0;
	failed = false;
}

bool nomem_failed(void)
{
	return failed;
}

void nomem_pause(bool pause)
{
	paused = pause;
}

long nomem_live(void)
{
	return live;
}

/* Not by cmocka's asserts: programs without cmocka link this file as well. */
static void wrong(const char *what, uint64_t n)
{
	fprintf(stderr, "with allocation %llu failing: %s\n", (unsigned long long) n, what);
	abort();
}

uint64_t nomem_each(void (*what) (void *arg), void *arg, uint64_t count)
{
	for (uint64_t n = 1; n < RUNS_MAX; n++)
	{
		long		before = live;
		bool		any;

		nomem_fail(n, count);
		what(arg);
		any = failed;
		nomem_fail(0, 0);
		if (live != before)
			wrong("memory was left behind", n);
		if (!any)
			return n - 1;
	}
	wrong("no end", RUNS_MAX);
	return 0;
}

uint64_t nomem_call(NdStatus (*call) (void *arg), void (*unchanged) (void *arg), void *arg)
{
	for (uint64_t n = 1; n < RUNS_MAX; n++)
	{
		NdStatus	status;
		bool		any;

		nomem_fail(n, 1);
		status = call(arg);
		any = failed;
		nomem_fail(0, 0);
		if (status == ND_OK)
			return n - 1;
		if (status != ND_NOMEM || !any)
			wrong(nd_status_text(status), n);
		if (unchanged != NULL)
			unchanged(arg);
	}
	wrong("no end", RUNS_MAX);
	return 0;
}
