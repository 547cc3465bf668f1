/*
 * main.c: the command line of the simulator.
 *
 *   sim --seed N [--trace]       one run
 *   sim --seeds A..B             many; the first is run twice, and both must leave the same trace
 *   sim --seconds S              from seed 1 (or --from N) on, for about S seconds
 *   sim --jobs J ...             in J processes, seeds dealt in turn; all stop at the first failure
 *   sim --twice ...              every run twice
 *   sim --mutant NAME ...        with a planted bug (a build with -DND_MUTANTS); stops at the first failure
 *   sim --list-mutants
 *
 * The last lines are what the runs met, how to repeat what failed, and "N passed, M failed"; exit 1 when M > 0. Time only decides when to stop, never what a
 * run does.
 */
#include "sim.h"
#ifdef ND_MUTANTS
#include "../../src/core/base/mutant.h"
#endif

#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_SHOWN 5
#define JOBS_MAX 256

typedef struct Plan
{
	uint64_t	from;
	uint64_t	to;
	uint64_t	step;
	uint64_t	seconds;		/* 0: until `to` */
	bool		print;
	bool		twice;
	bool		mutated;
	bool		once;			/* stop at the first failure */
} Plan;

typedef struct Outcome
{
	uint64_t	passed;
	uint64_t	failed;
	uint64_t	failed_seed;	/* the first one */
	SimTotals	totals;
} Outcome;

static int usage(void)
{
	fprintf(stderr, "usage: sim --seed N [--trace] | --seeds A..B | --seconds S [--from N]  [--jobs J] [--twice] [--mutant NAME] | --list-mutants\n");
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

static void run(const Plan *p, Outcome *out)
{
	struct timespec begin;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (uint64_t seed = p->from; seed <= p->to; seed += p->step)
	{
		uint64_t	hash;
		uint64_t	hash_again;
		char		checker[48];
		bool		good;

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (p->seconds && (uint64_t) (now.tv_sec - begin.tv_sec) >= p->seconds)
			break;
		good = sim_run(seed, p->print, &hash, checker, sizeof checker);
		if (good && (p->twice || (seed == p->from && p->from != p->to)))
		{
			good = sim_run(seed, false, &hash_again, checker, sizeof checker);
			if (good && hash != hash_again)
			{
				printf("FAILED seed %" PRIu64 ": determinism: two runs left different traces\n", seed);
				snprintf(checker, sizeof checker, "determinism");
				good = false;
			}
		}
		out->totals = sim_totals;
		if (good)
			out->passed++;
		else
		{
			if (out->failed++ == 0)
				out->failed_seed = seed;
			if (p->mutated)
				printf("caught by %s after %" PRIu64 " seeds\n", checker, seed - p->from + 1);
			if (p->mutated || p->once || out->failed >= FAILURES_SHOWN)
				break;
		}
	}
}

static void add(Outcome *sum, const Outcome *o)
{
	sum->passed += o->passed;
	sum->failed += o->failed;
	if (o->failed && (sum->failed_seed == 0 || o->failed_seed < sum->failed_seed))
		sum->failed_seed = o->failed_seed;
	for (size_t i = 0; i < sizeof(SimTotals) / sizeof(uint64_t); i++)
		((uint64_t *) &sum->totals)[i] += ((const uint64_t *) &o->totals)[i];
}

static void show(FILE *f)
{
	char		text[4096];
	size_t		n;

	rewind(f);
	while ((n = fread(text, 1, sizeof text, f)) > 0)
		fwrite(text, 1, n, stdout);
}

/* Each in a process of its own, which writes into a file of its own: only those of who failed are shown. */
static void run_jobs(const Plan *p, uint32_t jobs, Outcome *sum)
{
	Outcome    *outcomes = mmap(NULL, jobs * sizeof *outcomes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FILE	   *texts[JOBS_MAX];
	pid_t		children[JOBS_MAX];
	uint32_t	left = jobs;

	if (outcomes == MAP_FAILED)
		exit(2);
	for (uint32_t i = 0; i < jobs; i++)
	{
		Plan		mine = *p;

		mine.from += i;
		mine.step = jobs;
		mine.once = true;
		texts[i] = tmpfile();
		if (texts[i] == NULL || (children[i] = fork()) < 0)
			exit(2);
		if (children[i] == 0)
		{
			dup2(fileno(texts[i]), STDOUT_FILENO);
			run(&mine, &outcomes[i]);
			fflush(stdout);
			_exit(outcomes[i].failed > 0);
		}
	}
	for (; left > 0; left--)
	{
		int			status;
		pid_t		done = wait(&status);
		bool		bad = !WIFEXITED(status) || WEXITSTATUS(status) != 0;

		for (uint32_t i = 0; i < jobs; i++)
		{
			if (children[i] == done)
			{
				children[i] = 0;
				if (WIFSIGNALED(status) && WTERMSIG(status) != SIGTERM)
				{
					printf("a process ended by signal %d; its seed was %" PRIu64 "\n", WTERMSIG(status),
						   p->from + i + jobs * (outcomes[i].passed + outcomes[i].failed));
					outcomes[i].failed_seed = p->from + i + jobs * outcomes[i].passed;
					outcomes[i].failed++;
				}
				if (outcomes[i].failed)
					show(texts[i]);
			}
			else if (bad && children[i] > 0)
				kill(children[i], SIGTERM);
		}
	}
	for (uint32_t i = 0; i < jobs; i++)
	{
		add(sum, &outcomes[i]);
		fclose(texts[i]);
	}
	munmap(outcomes, jobs * sizeof *outcomes);
}

int main(int argc, char **argv)
{
	Plan		plan = {.from = 1, .to = UINT64_MAX / 2, .step = 1};
	uint32_t	jobs = 1;
	bool		chosen = false;
	Outcome		sum = {0};

	/* Disks come and go by the megabyte: giving their pages back to the kernel each time costs more than all the rest. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++)
	{
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		char	   *end;

		if (strcmp(argv[i], "--trace") == 0)
			plan.print = true;
		else if (strcmp(argv[i], "--twice") == 0)
			plan.twice = true;
		else if (strcmp(argv[i], "--list-mutants") == 0)
			return list_mutants();
		else if (value == NULL)
			return usage();
		else if (strcmp(argv[i], "--seed") == 0)
		{
			plan.from = plan.to = number(value, &end);
			chosen = true;
			i++;
		}
		else if (strcmp(argv[i], "--seeds") == 0)
		{
			plan.from = number(value, &end);
			if (strncmp(end, "..", 2) != 0)
				return usage();
			plan.to = number(end + 2, &end);
			chosen = true;
			i++;
		}
		else if (strcmp(argv[i], "--from") == 0)
		{
			plan.from = number(value, &end);
			i++;
		}
		else if (strcmp(argv[i], "--jobs") == 0)
		{
			jobs = (uint32_t) number(value, &end);
			i++;
		}
		else if (strcmp(argv[i], "--seconds") == 0)
		{
			plan.seconds = number(value, &end);
			chosen = true;
			i++;
		}
		else if (strcmp(argv[i], "--mutant") == 0)
		{
			if (!choose_mutant(value))
				return 2;
			plan.mutated = true;
			i++;
		}
		else
			return usage();
	}
	if (!chosen || plan.from > plan.to || jobs == 0 || jobs > JOBS_MAX)
		return usage();
	if (jobs > plan.to - plan.from + 1)
		jobs = (uint32_t) (plan.to - plan.from + 1);
	if (jobs == 1)
		run(&plan, &sum);
	else
		run_jobs(&plan, jobs, &sum);
	if (sum.failed && !plan.mutated)
		printf("again, with its trace: make sim SEED=%" PRIu64 "\n", sum.failed_seed);
	if (plan.from != plan.to && !plan.mutated)
		printf("from seed %" PRIu64 ": %" PRIu64 " deliveries, %" PRIu64 " elections, %" PRIu64 " crashes, %" PRIu64 " injuries of disks, %" PRIu64
			   " of them found, %" PRIu64 " full disks, %" PRIu64 " joint configurations, %" PRIu64 " snapshots installed, %" PRIu64 " commits over several groups, %" PRIu64 " groups added\n", plan.from, sum.totals.deliveries, sum.totals.elections,
			   sum.totals.crashes, sum.totals.injuries, sum.totals.found, sum.totals.full, sum.totals.joint, sum.totals.installs, sum.totals.several, sum.totals.grown);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sum.passed, sum.failed);
	return sum.failed ? 1 : 0;
}
