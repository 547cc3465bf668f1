/*
 * bounds.c: the bounds, as text: a name and what differs from three voters of each other with fast disks, whose pre-votes are granted at once.
 *
 *     terms campaigns entries ticks crashes doubles changes transfers reads     how many there may be; doubles=any, campaigns=any
 *     log=3                           no log gets longer
 *     nodes=3 voters=123 learners=    digits of nodes        to=12/3    a change may ask for voters 1 and 2 and learner 3; several times
 *     prevotes slow_disk lazy frugal                          =1: see XBound
 *     append_bytes=64 inflight=2                              as in RaftConfig
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

const XBoundText x_bounds[] = {
	{true, "prevote terms=1 campaigns=2 prevotes=1 slow_disk=1"},
	{true, "vote terms=2 campaigns=2 slow_disk=1"},
	{true, "joint voters=12 to=13 changes=1 terms=2 campaigns=2"},
	{true, "lone nodes=1 voters=1 terms=3 campaigns=3 entries=1 crashes=1 slow_disk=1"},
	{true, "learner voters=12 learners=3 terms=1 campaigns=1 entries=1"},
	{true, "swap voters=12 to=3 changes=1 terms=2 campaigns=2"},
	{true, "swap_crash voters=12 to=3 changes=1 terms=2 campaigns=2 crashes=1 slow_disk=1"},
	{true, "changes2 to=12 to=13 changes=2 terms=1 campaigns=1"},
	{false, "vote_crash terms=2 campaigns=2 slow_disk=1 crashes=1"},
	{false, "terms3 terms=3 campaigns=3 doubles=any"},
	{false, "log terms=2 campaigns=2 entries=1 doubles=any"},
	{false, "log3 terms=3 campaigns=3 entries=3 crashes=1 doubles=1"},
	{false, "log_slow terms=3 campaigns=3 entries=2 crashes=1 slow_disk=1"},
	{false, "figure8 terms=4 campaigns=4 append_bytes=0"},
	{false, "terms4 terms=4 campaigns=4 entries=1 append_bytes=0"},
	{true, "remove to=12 changes=1 terms=2 campaigns=2 doubles=any"},
	{false, "add voters=12 to=123 changes=1 terms=3 campaigns=3 doubles=any"},
	{false, "joint2 voters=12 to=13 changes=1 terms=2 campaigns=2 entries=1"},
	{false, "joint3 voters=12 to=13 changes=1 terms=3 campaigns=3 log=4 doubles=any"},
	{false, "changes3 to=12 to=13 changes=2 terms=2 campaigns=2 doubles=any"},
	{false, "learner2 voters=12 learners=3 terms=2 campaigns=2 entries=1"},
	{false, "stale_read terms=2 campaigns=2 reads=1"},
	{false, "reads terms=2 campaigns=2 reads=1 ticks=1"},
	{false, "reads_frugal terms=2 campaigns=2 reads=1 ticks=1 frugal=1"},
	{false, "transfer terms=2 campaigns=1 transfers=1 entries=1 doubles=any"},
	{false, "three_one terms=3 campaigns=3 entries=1 crashes=1 to=12 changes=1 log=3 doubles=any"},
	{false, "three terms=3 campaigns=3 entries=3 crashes=1 to=12 changes=1 log=3 doubles=any"},
	{false, "all terms=3 campaigns=4 prevotes=1 slow_disk=1 entries=3 ticks=1 crashes=1 doubles=1 to=12 to=3 changes=1"},
	{false, NULL}
};

static uint8_t mask(const char *digits)
{
	uint8_t		m = 0;

	for (; *digits >= '1' && *digits <= '0' + X_NODES; digits++)
		m |= (uint8_t) (1 << (*digits - '0'));
	return m;
}

static bool set(XBound *b, const char *key, const char *value)
{
	const struct
	{
		const char *key;
		uint8_t    *field;
	}			numbers[] = {{"nodes", &b->nodes}, {"terms", &b->terms}, {"campaigns", &b->campaigns}, {"entries", &b->entries}, {"log", &b->log}, {"ticks", &b->ticks},
	{"crashes", &b->crashes}, {"doubles", &b->doubles}, {"changes", &b->changes}, {"transfers", &b->transfers}, {"reads", &b->reads},
	{"append_bytes", &b->append_bytes}, {"inflight", &b->inflight}};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strcmp(key, numbers[i].key) == 0)
		{
			*numbers[i].field = strcmp(value, "any") == 0 ? X_ANY : (uint8_t) atoi(value);
			return true;
		}
	if (strcmp(key, "voters") == 0)
		b->voters = mask(value);
	else if (strcmp(key, "learners") == 0)
		b->learners = mask(value);
	else if (strcmp(key, "to") == 0 && b->n_targets < X_TARGETS)
	{
		const char *learners = strchr(value, '/');

		b->targets[b->n_targets] = mask(value);
		b->target_learners[b->n_targets++] = learners != NULL ? mask(learners + 1) : 0;
	}
	else if (strcmp(key, "prevotes") == 0)
		b->votes_only = value[0] == '0';
	else if (strcmp(key, "slow_disk") == 0)
		b->slow_disk = value[0] != '0';
	else if (strcmp(key, "lazy") == 0)
		b->lazy = value[0] != '0';
	else if (strcmp(key, "frugal") == 0)
		b->frugal = value[0] != '0';
	else
		return false;
	return true;
}

bool x_parse_bound(const char *text, XBound *b)
{
	char		copy[512];
	char	   *word;

	snprintf(copy, sizeof(copy), "%s", text);
	memset(b, 0, sizeof(*b));
	b->nodes = 3;
	b->voters = mask("123");
	b->append_bytes = 64;
	b->inflight = 2;
	b->votes_only = true;
	word = strtok(copy, " ");
	snprintf(b->name, sizeof(b->name), "%s", word != NULL ? word : "");
	while ((word = strtok(NULL, " ")) != NULL)
	{
		char	   *value = strchr(word, '=');

		if (value != NULL)
			*value++ = '\0';
		if (value == NULL || !set(b, word, value))
		{
			fprintf(stderr, "what is %s?\n", word);
			return false;
		}
	}
	return b->terms > 0 && b->terms < X_TERMS && b->reads < X_READS && b->nodes > 0 && b->nodes <= X_NODES && b->inflight > 0;
}
