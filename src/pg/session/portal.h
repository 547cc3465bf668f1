/*
 * portal.h: the portal that runs a client's message, for what runs its statement once more: is it alone in its transaction, and how its text is planned
 * again.
 */
#ifndef NODEDB_PORTAL_H
#define NODEDB_PORTAL_H

#include "postgres.h"

#include "executor/execdesc.h"
#include "utils/portal.h"

/*
 * Does nothing follow in this transaction? Extended protocol: Sync must be the next message, and have arrived. The simple protocol, whose portals are
 * hidden, makes a block of several statements.
 */
extern bool portal_is_last(Portal portal);
/* The plan of this query's text as things stand now; NULL when it is not one plannable statement (any more). In a transaction, with a snapshot. */
extern PlannedStmt *portal_plan_again(const char *text, ParamListInfo params, QueryEnvironment *environment);

#endif
