/*
 * reservations.c: nodedb.reservations: who owns keys, and who waits for them, in the groups of this node (src/core/certifier/queue.c).
 *
 * What it shows is a copy that the raft worker publishes with its other figures. The certifier knows keys by their hashes; those of relations are found again among the
 * names of today's relations, those of rows are not. A transaction's number is not told: who knows it can end it (session/outcome.c).
 */
#include "../nodedb.h"

#include "../ddl/ddl_internal.h"
#include "../shmem.h"
#include "../tableam/writeset.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(nodedb_show_reservations);

typedef struct Named
{
	uint64		hash;
	char	   *name;
} Named;

static int
compare_named(const void *a, const void *b)
{
	uint64		x = ((const Named *) a)->hash;
	uint64		y = ((const Named *) b)->hash;

	return x < y ? -1 : x > y;
}

/* Relations by the hashes of their names. */
static Named *
name_relations(uint32 *n)
{
	Relation	rel = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	uint32		cap = 256;
	Named	   *named = palloc(cap * sizeof(Named));

	*n = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		char	   *schema = form->relkind == RELKIND_INDEX || form->relkind == RELKIND_TOASTVALUE || form->relpersistence == RELPERSISTENCE_TEMP ||
			form->relnamespace == PG_CATALOG_NAMESPACE ? NULL : get_namespace_name(form->relnamespace);

		if (schema == NULL)
			continue;
		if (*n == cap)
			named = repalloc(named, (cap *= 2) * sizeof(Named));
		named[*n].hash = writeset_relation_hash(schema, NameStr(form->relname));
		named[(*n)++].name = quote_qualified_identifier(schema, NameStr(form->relname));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(named, *n, sizeof(Named), compare_named);
	return named;
}

static Datum
relation_names(const NodedbReservation *r, const Named *named, uint32 n_named, bool *schema_change)
{
	Datum		names[SHOWN_RELATIONS];
	int			n = 0;

	for (uint32 i = 0; i < r->n_relations; i++)
	{
		Named		wanted = {.hash = r->relations[i]};
		const Named *found = bsearch(&wanted, named, n_named, sizeof(Named), compare_named);

		*schema_change |= wanted.hash == ddl_global_key();
		if (found != NULL)
			names[n++] = CStringGetTextDatum(found->name);
	}
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The backend of this server that works on the transaction; 0: none does, or it is another node's. */
static int
pid_of(const NodedbReservation *r)
{
	if (r->txn.node != nodedb_shared->self || r->txn.incarnation != nodedb_shared->incarnation)
		return 0;
	for (uint32 i = 0; i < nodedb_shared->n_slots; i++)
		if (nodedb_slots[i].counter == r->txn.counter)
			return nodedb_slots[i].pid;
	return 0;
}

Datum
nodedb_show_reservations(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NodedbReservation *shown = palloc(sizeof(NodedbReservation) * SHOWN_RESERVATIONS);
	Named	   *named;
	uint32		n_named;
	uint32		n;

	if (nodedb_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nodedb must be loaded at server start"),
				 errhint("Add nodedb to shared_preload_libraries and restart the server.")));
	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
	n = nodedb_shared->n_reservations;
	memcpy(shown, nodedb_shared->reservations, sizeof(NodedbReservation) * n);
	LWLockRelease(nodedb_shared->status_lock);
	if (n == 0)
		return (Datum) 0;
	named = name_relations(&n_named);
	for (uint32 i = 0; i < n; i++)
	{
		const NodedbReservation *r = &shown[i];
		Datum		values[10];
		bool		nulls[10] = {false};
		bool		schema_change = false;
		int			pid = pid_of(r);
		uint64		from = r->since != 0 ? r->since : r->index;

		values[0] = Int32GetDatum((int32) r->group);
		values[1] = Int32GetDatum((int32) r->txn.node);
		values[2] = CStringGetTextDatum(r->since == 0 ? "waits" : r->marker ? "prepared" : "owns");
		values[3] = Int64GetDatum((int64) r->index);
		values[4] = Int64GetDatum((int64) r->since);
		nulls[4] = r->since == 0;
		values[5] = Int64GetDatum(r->last > from ? (int64) (r->last - from) : 0);
		values[6] = Int64GetDatum((int64) r->n_keys);
		values[7] = relation_names(r, named, n_named, &schema_change);
		values[8] = BoolGetDatum(schema_change);
		values[9] = Int32GetDatum(pid);
		nulls[9] = pid == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
