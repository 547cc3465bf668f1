/*
 * mutant_env.c: linked into the unit tests and the transcripts of the flavour with planted bugs: MUTANT=NAME program runs them with that bug alive.
 */
#include "../../src/core/base/mutant.h"

#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void choose(void)
{
	const char *name = getenv("MUTANT");

	if (name == NULL)
		return;
	nd_mutant = nd_mutant_by_name(name);
	if (nd_mutant == MUTANT_NONE)
	{
		fprintf(stderr, "no mutant \"%s\"\n", name);
		exit(99);
	}
}
