/*
 * read_snapshot.c: exchanging a snapshot that was taken before the wait for one taken after it.
 *
 * PostgreSQL takes the snapshot before any hook can wait, in every path of its protocol. So the snapshot is exchanged afterwards, in the one
 * moment at which that is harmless: between CreateQueryDesc() and standard_ExecutorStart(), when nothing has been read under it.
 *
 * Invariants:
 * 1. The active snapshot's place on the stack, its level and its reference counts are afterwards as the callers expect to find them.
 * 2. SERIALIZABLE: PostgreSQL's SSI forgets the old snapshot with all that was noted for it.
 * 3. A snapshot that somebody else may have read under is left alone; the caller turns that into an error.
 */
#include "read_internal.h"

#include "access/transam.h"
#include "access/xact.h"
#include "storage/predicate.h"
#include "tcop/pquery.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

bool
read_can_renew_statement(QueryDesc *query, Portal utility, uint32 harmless)
{
	Snapshot	s = query->snapshot;
	uint32		ours;

	if (!ActiveSnapshotSet() || GetActiveSnapshot() != s || query->crosscheck_snapshot != InvalidSnapshot)
		return false;
	/* EXECUTE shares it with the hold snapshot of the portal around it; any other reference is an outer query's (a STABLE function). */
	ours = (utility != NULL && utility->holdSnapshot == s ? 2 : 1) + harmless;
	return s->regd_count == ours;
}

void
read_renew_statement(QueryDesc *query)
{
	Snapshot	s = query->snapshot;
	Portal		p = ActivePortal;
	bool		of_portal = p != NULL && p->portalSnapshot == s && s->active_count == 1;

	UnregisterSnapshot(s);
	PopActiveSnapshot();
	if (of_portal)
	{
		PushActiveSnapshotWithLevel(GetTransactionSnapshot(), p->createLevel);
		p->portalSnapshot = GetActiveSnapshot();
	}
	else
		PushActiveSnapshot(GetTransactionSnapshot());
	query->snapshot = RegisterSnapshot(GetActiveSnapshot());
}

void
read_renew_portal(Portal portal)
{
	if (portal == NULL || portal->portalSnapshot == NULL || !ActiveSnapshotSet() || portal->portalSnapshot != GetActiveSnapshot())
		return;
	PopActiveSnapshot();
	portal->portalSnapshot = NULL;
	EnsurePortalSnapshotExists();
}

/*
 * The transaction's snapshot is registered by snapmgr.c itself; whoever else holds one besides this query and the active portal may have read
 * under it. So everything of ours is taken down, and only when nothing else is left the snapshot is forgotten; then all is put back.
 */
bool
read_renew_transaction(QueryDesc *query)
{
	Portal		p = ActivePortal;
	bool		had_portal = false;
	bool		had_hold = false;
	bool		alone;

	/* What a SERIALIZABLE transaction wrote is tied to the snapshot that PostgreSQL's SSI keeps for it. */
	if (IsInParallelMode() || (IsolationIsSerializable() && TransactionIdIsValid(GetTopTransactionIdIfAny())))
		return false;
	if (query != NULL)
	{
		if (!ActiveSnapshotSet() || GetActiveSnapshot() != query->snapshot || query->crosscheck_snapshot != InvalidSnapshot ||
			query->snapshot->regd_count != 1)
			return false;
		UnregisterSnapshot(query->snapshot);
		PopActiveSnapshot();
	}
	if (p != NULL && p->portalSnapshot != NULL && ActiveSnapshotSet() && GetActiveSnapshot() == p->portalSnapshot)
	{
		PopActiveSnapshot();
		p->portalSnapshot = NULL;
		had_portal = true;
	}
	if (p != NULL && p->holdSnapshot != NULL && p->resowner != NULL)
	{
		UnregisterSnapshotFromOwner(p->holdSnapshot, p->resowner);
		p->holdSnapshot = NULL;
		had_hold = true;
	}
	InvalidateCatalogSnapshot();
	alone = !ActiveSnapshotSet() && ThereAreNoPriorRegisteredSnapshots();
	if (alone)
	{
		if (IsolationIsSerializable())
			ReleasePredicateLocks(false, false);
		AtEOXact_Snapshot(false, true);
	}

	if (had_hold)
		p->holdSnapshot = RegisterSnapshotOnOwner(GetTransactionSnapshot(), p->resowner);
	if (had_portal)
	{
		PushActiveSnapshotWithLevel(GetTransactionSnapshot(), p->createLevel);
		p->portalSnapshot = GetActiveSnapshot();
	}
	if (query != NULL)
	{
		PushCopiedSnapshot(GetTransactionSnapshot());
		UpdateActiveSnapshotCommandId();
		query->snapshot = RegisterSnapshot(GetActiveSnapshot());
	}
	return alone;
}
