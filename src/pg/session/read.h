/*
 * read.h: read consistency: what a statement waits for before its snapshot counts (DESIGN.md, section 10; strong reads by ReadIndex).
 */
#ifndef NODEDB_READ_H
#define NODEDB_READ_H

#include "session.h"
#include "executor/execdesc.h"

/* _PG_init, before session.c installs its own ExecutorStart hook: what a plan's functions read shows only after standard_ExecutorStart. */
extern void read_init(void);
/* Before standard_ExecutorStart of a statement in the replicated database: wait as nodedb.read_consistency says and renew the snapshot. */
extern void read_before_executor(QueryDesc *query);
/* After a commit: sample the watermarks, so that a later read at or below them needs no new snapshot. */
extern void read_end_of_transaction(void);
/* Wait until this node has the data groups that were there at the call: read_groups() counts them. 57P03 without a majority, whatever nodedb.read_consistency says. */
extern void read_know_groups(void);
/* SERIALIZABLE: an index of the group's log that this transaction's snapshot surely shows. False: unknown, the snapshot was imported. */
extern bool read_serial_base(NdGroupId group, uint64 *index);
/* Must the reads of this transaction be certified though it changes nothing, if they are of several data groups? SERIALIZABLE, and its snapshot is not fenced. */
extern bool read_needs_certifying(void);

#endif
