/*
 * conflict.h: the errors of a transaction that lost against another one (40001), in words that name what it lost.
 */
#ifndef NODEDB_CONFLICT_H
#define NODEDB_CONFLICT_H

#include "session.h"

#include "../shmem.h"

/*
 * The log refused this transaction's entry. Says which row, unique value or table of it was the reason, as far as the user may know: a row's key like
 * PostgreSQL's own errors (BuildIndexValueDescription()), the table's name with the right to select from it. Inside the transaction, before anything of
 * it is undone.
 */
extern void conflict_raise_refused(const Verdict *verdict, NdGroupId group) pg_attribute_noreturn();

/* The entry that won against the session's last refused one, and its group; then none (0). */
extern uint64 conflict_take_index(NdGroupId *group);
/* Was the last conflict lost against a reservation? Then others stand in line. */
extern bool conflict_was_reserved(void);

/* The guard has ended this transaction. */
extern void conflict_raise_kicked(void) pg_attribute_noreturn();
/* The same, as another shape of an error that is already there. Looks nothing up. */
extern void conflict_turn_into_kicked(ErrorData *edata);

#endif
