/*
 * mutant.c: which planted bug is alive, and their names. See mutant.h.
 */
#include "mutant.h"

#include <stddef.h>
#include <string.h>

int			nd_mutant = MUTANT_NONE;

static const struct
{
	const char *name;
	const char *rule;
}			mutants[MUTANT_COUNT] = {
	{"NONE", "none"},
#define ND_MUTANT_ROW(name, rule) {#name, rule},
	ND_MUTANT_LIST(ND_MUTANT_ROW)
#undef ND_MUTANT_ROW
};

const char *nd_mutant_name(int mutant)
{
	return mutant >= 0 && mutant < MUTANT_COUNT ? mutants[mutant].name : NULL;
}

const char *nd_mutant_rule(int mutant)
{
	return mutant >= 0 && mutant < MUTANT_COUNT ? mutants[mutant].rule : NULL;
}

int nd_mutant_by_name(const char *name)
{
	for (int i = 1; i < MUTANT_COUNT; i++)
		if (strcmp(mutants[i].name, name) == 0)
			return i;
	return MUTANT_NONE;
}
