/*
 * ddl.h: replicated utility commands.
 */
#ifndef NODEDB_DDL_H
#define NODEDB_DDL_H

#include "../nodedb.h"

/* Run the command of an 'X' record on a replica, inside the applier's transaction, no snapshot pushed. ereports on failure. */
extern void ddl_apply(const char *data, Size len);
/* _PG_init: the utility hook. */
extern void ddl_init(void);

/* Tell the other nodes which extensions are installed on this one; inside a transaction. A chore of the lease worker. */
extern void ddl_publish_extensions(void);

#endif
