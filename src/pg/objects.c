/*
 * objects.c: which tables are distributed, and the oids of the extension's own objects.
 *
 * Owns two cached oids. They are asked for on every statement, so a look-up by name each time would cost more than the rest of the capture.
 *
 * Invariants:
 * 1. A cached oid is forgotten when any row of its catalogue changes: CREATE and DROP EXTENSION in this or another session are seen.
 * 2. "There is none" is cached as well: sessions of databases without the extension pay the look-up once.
 */
#include "nodedb.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

typedef struct CachedOid
{
	Oid			oid;
	bool		known;
} CachedOid;

static CachedOid access_method;
static CachedOid schema;
static bool callbacks_registered = false;

static void forget(Datum arg, int cacheid, uint32 hashvalue)
{
	((CachedOid *) DatumGetPointer(arg))->known = false;
}

static void register_callbacks(void)
{
	if (callbacks_registered)
		return;
	CacheRegisterSyscacheCallback(AMOID, forget, PointerGetDatum(&access_method));
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget, PointerGetDatum(&schema));
	callbacks_registered = true;
}

Oid nodedb_am_oid(void)
{
	if (!access_method.known)
	{
		Oid			oid;

		register_callbacks();
		oid = get_table_am_oid("nodedb", true);
		access_method.oid = oid;
		access_method.known = true;
	}
	return access_method.oid;
}

Oid nodedb_schema_oid(void)
{
	if (!schema.known)
	{
		Oid			oid;

		register_callbacks();
		oid = get_namespace_oid("nodedb", false);
		schema.oid = oid;
		schema.known = true;
	}
	return schema.oid;
}

/* A materialized view is refreshed by each node for itself; only ordinary permanent tables are replicated row by row. */
static bool form_is_distributed(Form_pg_class form)
{
	return form->relkind == RELKIND_RELATION && form->relpersistence == RELPERSISTENCE_PERMANENT && OidIsValid(form->relam) &&
		form->relam == nodedb_am_oid();
}

bool nodedb_is_distributed(Relation rel)
{
	return form_is_distributed(rel->rd_rel);
}

bool nodedb_pg_class(Oid relid, FormData_pg_class *form)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		return false;
	memcpy(form, GETSTRUCT(tuple), CLASS_TUPLE_SIZE);
	ReleaseSysCache(tuple);
	return true;
}

bool nodedb_relid_is_distributed(Oid relid)
{
	FormData_pg_class form;

	return nodedb_pg_class(relid, &form) && form_is_distributed(&form);
}
