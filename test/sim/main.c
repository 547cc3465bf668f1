/*
 * main.c: the command line of the simulator.
 *
 *   sim --seed N [--trace]       one run
 *   sim --seeds A..B             many; the first is run twice, and both must leave the same trace
 *   sim --seconds S              from seed 1 (or --from N) on, for about S seconds of processor time
 *   sim --twice ...              every run twice
 *   sim --mutant NAME ...        with a planted bug (a build with -DND_MUTANTS); stops at the first failure
 *   sim --list-mutants
 *
 * The last line is "N passed, M failed"; exit 1 when M > 0. Processor time only decides when to stop, never what a run does.
 */
#include "sim.h"
#ifdef ND_MUTANTS
#include "../../src/core/base/mutant.h"
#endif

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAILURES_SHOWN 5

static int usage(void)
{
	fprintf(stderr, "usage: sim --seed N [--trace] | --seeds A..B | --seconds S [--from N]  [--twice] [--mutant NAME] | --list-mutants\n");
	return 2;
}

static uint64_t number(const char *text, char **end)
{
	return strtoull(text, end, 10);
}

#ifdef ND_MUTANTS
static bool choose_mutant(const char *name)
{
	nd_mutant = nd_mutant_by_name(name);
	if (nd_mutant == MUTANT_NONE)
		fprintf(stderr, "sim: no mutant \"%s\"\n", name);
	return nd_mutant != MUTANT_NONE;
}

static int list_mutants(void)
{
	for (int i = 1; i < MUTANT_COUNT; i++)
		printf("%s\n", nd_mutant_name(i));
	return 0;
}
#else
static bool choose_mutant(const char *name)
{
	fprintf(stderr, "sim: \"%s\" needs a build with -DND_MUTANTS\n", name);
	return false;
}

static int list_mutants(void)
{
	return choose_mutant("--list-mutants") ? 0 : 2;
}
#endif

int main(int argc, char **argv)
{
	uint64_t	from = 1;
	uint64_t	to = UINT64_MAX;
	uint64_t	seconds = 0;
	bool		print = false;
	bool		twice = false;
	bool		mutated = false;
	bool		chosen = false;
	uint64_t	passed = 0;
	uint64_t	failed = 0;

	/* Disks come and go by the megabyte: giving their pages back to the kernel each time costs more than all the rest. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++)
	{
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		char	   *end;

		if (strcmp(argv[i], "--trace") == 0)
			print = true;
		else if (strcmp(argv[i], "--twice") == 0)
			twice = true;
		else if (strcmp(argv[i], "--list-mutants") == 0)
			return list_mutants();
		else if (value == NULL)
			return usage();
		else if (strcmp(argv[i], "--seed") == 0)
		{
			from = to = number(value, &end);
			chosen = true;
			i++;
		}
		else if (strcmp(argv[i], "--seeds") == 0)
		{
			from = number(value, &end);
			if (strncmp(end, "..", 2) != 0)
				return usage();
			to = number(end + 2, &end);
			chosen = true;
			i++;
		}
		else if (strcmp(argv[i], "--from") == 0)
		{
			from = number(value, &end);
			i++;
		}
		else if (strcmp(argv[i], "--seconds") == 0)
		{
			seconds = number(value, &end);
			chosen = true;
			i++;
		}
		else if (strcmp(argv[i], "--mutant") == 0)
		{
			if (!choose_mutant(value))
				return 2;
			mutated = true;
			i++;
		}
		else
			return usage();
	}
	if (!chosen || from > to)
		return usage();

	for (uint64_t seed = from; seed <= to; seed++)
	{
		uint64_t	hash;
		uint64_t	hash_again;
		char		checker[48];
		bool		good;

		if (seconds && clock() / CLOCKS_PER_SEC >= (clock_t) seconds)
			break;
		good = sim_run(seed, print, &hash, checker, sizeof checker);
		if (good && (twice || (seed == from && from != to)))
		{
			good = sim_run(seed, false, &hash_again, checker, sizeof checker);
			if (good && hash != hash_again)
			{
				printf("FAILED seed %" PRIu64 ": determinism: two runs left different traces\n", seed);
				snprintf(checker, sizeof checker, "determinism");
				good = false;
			}
		}
		if (good)
			passed++;
		else
		{
			failed++;
			if (mutated)
			{
				printf("caught by %s after %" PRIu64 " seeds\n", checker, seed - from + 1);
				break;
			}
			if (failed >= FAILURES_SHOWN)
				break;
		}
	}
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
	return failed ? 1 : 0;
}
