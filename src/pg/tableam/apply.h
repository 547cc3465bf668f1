/*
 * apply.h: replay of an entry's body on a replica (or on the origin, when the backend is gone).
 *
 * Tuples and index entries are put in directly: no triggers, no CHECK or domain re-evaluation, generated columns from the wire, settings pinned
 * by the caller. Runs inside the caller's transaction with no snapshot pushed; takes RowExclusive locks. A row that cannot be found is damage.
 */
#ifndef NODEDB_APPLY_H
#define NODEDB_APPLY_H

#include "../nodedb.h"
#include "lib/stringinfo.h"

/* Append the next piece of the body to buf; false at the end. Pieces cut records anywhere. */
typedef bool (*ApplyFetch) (void *ctx, StringInfo buf);

extern bool apply_active;		/* this process replays: the access method captures nothing */
extern bool apply_ahead;		/* before its turn, by a bulk applier: schema changes and rows of nodedb's own tables are refused */

/* Replay one body. ereports on any failure: the caller aborts its transaction and decides between retry and quarantine. Returns rows. */
extern uint64 apply_body(ApplyFetch fetch, void *ctx);

#endif
