/*
 * staged.c: leases taken by a transaction that takes effect as a whole: they reach the table of leases when it commits.
 *
 * The lease worker's transactions end with this. A session that has made, altered, restarted or moved a sequence in its transaction holds the lock
 * of its row, so it leases for itself, in this very transaction, and draws from what stands here: nobody else can see that sequence, or its
 * new position, yet.
 *
 * Invariants:
 * 1. Published in the COMMIT callback before the one of session.c: the row's lock is still held and the turnstile has not moved, so no later change
 *    of the row can have been applied here, and none can be overtaken.
 * 2. A subtransaction that rolls back takes what it staged with it: what it drew was used only inside of it.
 */
#include "sequence_internal.h"

#include "utils/memutils.h"

typedef struct Staged
{
	struct Staged *outer;
	Oid			sequence;
	int			level;
	Lease		lease;
} Staged;

static Staged *newest = NULL;	/* TopTransactionContext */
static bool rows_changed = false;	/* rows of nodedb.sequences, by the applier */

Lease *
staged_lease(Oid sequence)
{
	for (Staged *s = newest; s != NULL; s = s->outer)
		if (s->sequence == sequence)
			return &s->lease;
	return NULL;
}

void
staged_add(Oid sequence, const Lease *lease)
{
	Staged	   *s = MemoryContextAllocZero(TopTransactionContext, sizeof(Staged));

	s->sequence = sequence;
	s->level = GetCurrentTransactionNestLevel();
	if (lease != NULL)
		s->lease = *lease;
	s->outer = newest;
	newest = s;
}

static void
publish(void)
{
	for (Staged *s = newest; s != NULL; s = s->outer)
	{
		bool		shadowed = false;

		for (Staged *t = newest; t != s && !shadowed; t = t->outer)
			shadowed = t->sequence == s->sequence;
		if (shadowed)
			continue;
		if (s->lease.left > 0)
			table_publish(s->sequence, &s->lease);
		else
			table_drop(s->sequence);
	}
	/* Visible from now on. Told any earlier, the worker might look before it is. */
	if (newest != NULL || rows_changed)
		table_rows_changed();
}

void
staged_rows_changed(void)
{
	rows_changed = true;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		publish();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		newest = NULL;
		rows_changed = false;
		info_end_of_transaction();
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (newest != NULL && newest->level >= level)
			newest = newest->outer;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (Staged *s = newest; s != NULL && s->level >= level; s = s->outer)
			s->level = level - 1;
}

void
staged_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
