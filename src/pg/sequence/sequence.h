/*
 * sequence.h: sequences of the cluster: nextval() never gives one value twice, whatever the node, whatever crashes.
 */
#ifndef NODEDB_SEQUENCE_H
#define NODEDB_SEQUENCE_H

#include "../nodedb.h"
#include "executor/tuptable.h"
#include "nodes/nodes.h"
#include "utils/rel.h"

/*
 * _PG_init: shared memory, hooks, the lease worker. After session_init(), whose COMMIT callback must run after ours (leases are published before the
 * turnstile moves), and before ddl_init(), whose utility hook must be outside ours (it reserves and records first).
 */
extern void sequence_init(void);

/*
 * The applier inserted or changed this row of `rel`: when it is a row of nodedb.sequences that was set anew, this node's share of the sequence is
 * dropped. Cheap for other tables. Call it after the row is changed, in the transaction that changed it.
 */
extern void sequence_row_applied(Relation rel, TupleTableSlot *slot);
/*
 * For rewrites of tables (ddl/rewrite.c), whose expressions no planner sees. Calls in an expression that is not analyzed yet become ours, in place; true:
 * there were some.
 */
extern bool sequence_raw_calls(Node *expr);
/* Would this expression, as it is, draw from PostgreSQL's own sequence where the cluster's is meant? */
extern bool sequence_draws_locally(Node *expr);
/* This transaction made the sequence, and PostgreSQL drew from it without us: the cluster's goes on from there. */
extern void sequence_was_used_alone(Oid sequence);
/* The lease worker has something to do. */
extern void sequence_wake_worker(void);

#endif
