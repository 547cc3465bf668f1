/*
 * submit.h: nodedb.submit(): a call of a function that the server runs again until it is committed.
 */
#ifndef NODEDB_SUBMIT_H
#define NODEDB_SUBMIT_H

#include "postgres.h"

#include "nodes/plannodes.h"

#define SUBMIT_RETRIES 5		/* at least, whatever nodedb.statement_retries says */

/* Is this SELECT nodedb.submit(...), and nothing else? */
extern bool submit_is(const PlannedStmt *plan);
/* Whether the next call of submit() is the one that retry.c runs, which may go ahead. */
extern void submit_expect(bool expected);
/* 25001: it is not alone in its transaction. */
extern void submit_refuse(void) pg_attribute_noreturn();

#endif
