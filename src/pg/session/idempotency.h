/*
 * idempotency.h: nodedb.idempotency_key: of all attempts at one piece of work, one is committed (DESIGN.md, section 5, rule 7).
 */
#ifndef NODEDB_IDEMPOTENCY_H
#define NODEDB_IDEMPOTENCY_H

#include "postgres.h"

/* Before each change of a distributed table: claim the key for this transaction, once. ereports ND001 when another one is committed with it. */
extern void idempotency_claim(void);
/* A subtransaction was rolled back: what it had claimed is not. */
extern void idempotency_forget(void);
/*
 * Remove some keys that are older than nodedb.idempotency_keep, in a transaction; true: all that there were. For a background worker, on the node
 * that leads the data group.
 */
extern bool idempotency_prune(void);

#endif
