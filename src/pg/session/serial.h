/*
 * serial.h: SERIALIZABLE over all nodes: what the executor reads is noted, to be certified with the transaction.
 */
#ifndef NODEDB_SERIAL_H
#define NODEDB_SERIAL_H

#include "session.h"
#include "executor/execdesc.h"

/* After standard_ExecutorStart, in the replicated database: see to it that what this query reads is noted. */
extern void serial_executor_started(QueryDesc *query, int eflags);
/* End of a transaction or subtransaction. */
extern void serial_forget(void);

#endif
