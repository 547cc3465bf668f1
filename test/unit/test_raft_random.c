/*
 * test_raft_random.c: seeded random histories of the Raft core (raft_events.h); at the end everything heals and must agree again.
 *
 * Built with -DND_MUTANTS it also runs by hand: test_raft_random MUTANT [seeds].
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft_events.h"
#include "../../src/core/base/mutant.h"

#define SEEDS 1000
#define EVENTS 2500

static bool run(uint64_t seed, char *error, size_t error_len, uint64_t *committed)
{
	Run		   *r = h_alloc(sizeof(Run));
	bool		ok;

	nd_random_seed(&r->random, seed);
	r_init(r, seed);
	for (int i = 0; i < EVENTS && r->h.error[0] == '\0'; i++)
		r_event(r);
	if (r->h.error[0] == '\0')
		r_heal(r);
	*committed += r->h.max_commit;
	ok = r->h.error[0] == '\0';
	snprintf(error, error_len, "%s", r->h.error);
	h_free(&r->h);
	free(r);
	return ok;
}

static void test_random_histories(void **state)
{
	uint64_t	committed = 0;

	(void) state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
	{
		char		error[256];

		if (!run(seed, error, sizeof(error), &committed))
			fail_msg("seed %u: %s", (unsigned) seed, error);
	}
	assert_true(committed > SEEDS * 10);	/* the histories are not idle */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_histories),
	};

	if (argc > 1)
	{
		uint64_t	committed = 0;
		uint64_t	seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000;
		char		error[256] = "";
		uint64_t	seed = 1;

		nd_mutant = nd_mutant_by_name(argv[1]);
		while (seed <= seeds && run(seed, error, sizeof(error), &committed))
			seed++;
		printf("%s: %s after %u seeds, %u committed %s\n", argv[1], seed <= seeds ? "caught" : "not caught", (unsigned) seed, (unsigned) committed, error);
		return seed <= seeds ? 0 : 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
