/*
 * internal.c: queries of nodedb itself on its own tables, inside of a user's transaction.
 *
 * Invariants:
 * 1. They run as the owner of the extension's tables, under search_path pg_catalog: nothing that the user made is called with the owner's rights.
 * 2. They read what this node has applied, without waiting, and do not settle the snapshot of the transaction around them.
 */
#include "session.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/syscache.h"

static Oid
extension_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(nodedb_schema_oid()));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", nodedb_schema_oid());
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
session_internal(void (*run) (void *arg), void *arg)
{
	int			consistency = nodedb_read_consistency;
	int			level = NewGUCNestLevel();
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	nodedb_read_consistency = READ_LOCAL;
	SetUserIdAndSecContext(extension_owner(), context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "nodedb: SPI_connect failed");
		run(arg);
		SPI_finish();
	}
	PG_FINALLY();
	{
		nodedb_read_consistency = consistency;
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);	/* after an error the (sub)transaction's abort does it */
}
