/*
 * ddl.h: replicated utility commands.
 */
#ifndef NODEDB_DDL_H
#define NODEDB_DDL_H

#include "../nodedb.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

/* Run the command of an 'X' record on a replica, inside the applier's transaction, no snapshot pushed. ereports on failure. */
extern void ddl_apply(const char *data, Size len);
/* _PG_init: the utility hook. */
extern void ddl_init(void);

/* Tables whose rows travel when the running command ends (rewrite.c); whoever changes a row of one meanwhile asks ddl_rewrite_check(), which refuses it. */
extern List *ddl_rewriting;
extern void ddl_rewrite_check(Oid relid);

/* Do all writers of its table name the values of this index that they change (named.c)? */
extern bool ddl_index_is_named(Oid index);

/* The applier changed a row of this table: of nodedb.index_builds or nodedb.shard_builds, a builder is started after the commit. Cheap for other tables. */
extern void ddl_build_row_applied(Relation rel);
/* Keep the schema changes of the whole cluster away until this transaction ends; those before are applied here. As for a schema change, with its errors. */
extern void ddl_reserve_schema(void);

/* For the lease worker: have the rows changed since the last call? Start this node's builder, in a transaction; false: look again soon. */
extern bool ddl_builds_changed(void);
extern bool ddl_start_builder(void);
/* The same for nodedb.shard_builds (shards_wait.c). */
extern bool ddl_mind_shards(void);
/* Tell the other nodes which extensions are installed on this one; inside a transaction. A chore of the lease worker. */
extern bool ddl_publish_extensions(void);	/* true: done */

#endif
