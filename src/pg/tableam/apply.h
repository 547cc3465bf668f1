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
extern bool apply_ahead;		/* before its turn, by a bulk applier: rows of nodedb's own tables are refused, and schema changes where there are several data groups */

extern bool apply_alone;		/* the applier: this is the only ticket of the transaction, and it is its turn */

/* For what must not be begun again once it has gone far: raises an error; the applier begins again, with apply_alone. */
extern void apply_ask_alone(void) pg_attribute_noreturn();
extern bool apply_can_ask_alone;	/* the applier, not a bulk applier */
extern bool apply_asked_alone;	/* the applier puts it back */

/*
 * Replay a body, in the caller's memory context and transaction: begin, then feed it with what fetch gives until that says false, as often as there is more, then end. What is fed is
 * replayed but for a record that is not whole yet, and rows that wait to be inserted together. All three ereport on any failure: the caller aborts its transaction, which ends the
 * body too, and decides between retry and quarantine. apply_end() returns rows.
 */
typedef struct ApplyBody ApplyBody;
extern ApplyBody *apply_begin(void);
extern void apply_feed(ApplyBody *body, ApplyFetch fetch, void *ctx);
extern uint64 apply_end(ApplyBody *body);

#endif
