/*
 * main.c: explore: run bounds, each to its end or until its time is over.
 *
 *     explore [--seconds N] [--memory MB] [--seed N] [--mutant NAME] [BOUND...]
 *
 * BOUND is a name in bounds.c, or a bound as it is written there ("mine terms=2 campaigns=3"); `quick` those of `make test`, which is what runs
 * without any; `every` all. --list shows them. A bound that was finished says "complete". With a mutant the first bound that breaks ends the run.
 * Ends with `N passed, M failed`.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

static double seconds = 600;
static size_t memory = 256;
static uint64_t seed;
static bool mutant;
static int	passed;
static int	failed;

static void run(const char *text)
{
	XResult		res;

	if (mutant && failed > 0)
		return;
	if (!x_parse_bound(text, &x_bound))
		exit(2);
	x_search(seed, seconds, memory << 20, &res);
	printf("%-14s %10llu states of %llu keys, %u of nodes, %11llu transitions  depth %3u %6.0f s  %s\n", x_bound.name, (unsigned long long) res.states, (unsigned long long) res.keys, res.locals,
		   (unsigned long long) res.transitions, res.depth, res.seconds,
		   res.broken != NULL ? "BROKEN" : res.complete ? "complete" : "not complete");
	if (res.broken == NULL)
		passed++;
	else
	{
		failed++;
		printf("%s, after %u events; shortened:\n", res.broken, res.path_len);
		res.path_len = x_shorten(res.path, res.path_len, &res.broken);
		x_show_path(res.path, res.path_len);
		printf("caught by %s | %llu | %u | %s\n", x_bound.name, (unsigned long long) res.states, res.path_len, res.broken);
		free(res.path);
	}
	fflush(stdout);
}

static void run_named(const char *name)
{
	bool		found = strchr(name, '=') != NULL;

	if (found)
		run(name);
	for (const XBoundText *b = x_bounds; b->text != NULL && strchr(name, '=') == NULL; b++)
		if (strcmp(name, "every") == 0 || (strcmp(name, "quick") == 0 && b->quick) ||
			(strncmp(name, b->text, strlen(name)) == 0 && b->text[strlen(name)] == ' '))
		{
			found = true;
			run(b->text);
		}
	if (!found)
	{
		fprintf(stderr, "no such bound: %s\n", name);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--list") == 0)
		{
			for (const XBoundText *b = x_bounds; b->text != NULL; b++)
				printf("%s%s\n", b->text, b->quick ? "  (quick)" : "");
			return 0;
		}
		else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
			seconds = atof(argv[++i]);
		else if (i + 1 < argc && strcmp(argv[i], "--memory") == 0)
			memory = (size_t) atoi(argv[++i]);
		else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
			seed = (uint64_t) atoll(argv[++i]);
		else if (i + 1 < argc && strcmp(argv[i], "--mutant") == 0)
		{
			mutant = true;
			nd_mutant = nd_mutant_by_name(argv[++i]);
			if (nd_mutant == MUTANT_NONE)
			{
				fprintf(stderr, "no such mutant: %s\n", argv[i]);
				return 2;
			}
		}
		else if (argv[i][0] == '-')
		{
			fprintf(stderr, "what is %s?\n", argv[i]);
			return 2;
		}
		else
			run_named(argv[i]);
	}
	if (passed + failed == 0)
		run_named("quick");
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
