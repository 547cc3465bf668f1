/*
 * internal.c: queries of nodedb itself on its own tables, inside of a user's transaction.
 *
 * Invariants:
 * 1. They run as the superuser that initdb made, under search_path pg_catalog: nothing that the user made is called with those rights.
 * 2. They read what this node has applied, without waiting, and do not settle the snapshot of the transaction around them: what they decide by is
 *    certified, or this transaction's own.
 * 3. After an error the (sub)transaction's abort puts role and settings back.
 */
#include "session.h"

#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"

static void
set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
session_internal_begin(SessionInternal *caller)
{
	GetUserIdAndSecContext(&caller->role, &caller->security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, caller->security | SECURITY_LOCAL_USERID_CHANGE);
	caller->guc_level = NewGUCNestLevel();
	set("search_path", "pg_catalog");
	set("row_security", "off");
	set("nodedb.read_consistency", "local");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "nodedb: SPI_connect failed");
}

void
session_internal_end(const SessionInternal *caller)
{
	SPI_finish();
	AtEOXact_GUC(true, caller->guc_level);
	SetUserIdAndSecContext(caller->role, caller->security);
}

void
session_internal(void (*run) (void *arg), void *arg)
{
	SessionInternal caller;

	session_internal_begin(&caller);
	run(arg);
	session_internal_end(&caller);
}
