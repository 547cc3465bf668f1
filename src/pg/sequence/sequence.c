/*
 * sequence.c: puts the pieces of sequence/ in place, and takes the applier's word for rows of nodedb.sequences that other nodes have changed.
 *
 * Invariant: a lease is dropped while the applier holds the changed row's lock: whoever asks for the next one waits for that row's new version.
 */
#include "sequence_internal.h"

#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Columns of nodedb.sequences. */
enum
{
	COLUMN_SCHEMA = 1,
	COLUMN_NAME,
	COLUMN_LAST_VALUE,
	COLUMN_IS_CALLED,
	COLUMN_GENERATION
};

void
sequence_row_applied(Relation rel, TupleTableSlot *slot)
{
	Oid			namespace;
	Oid			sequence;
	bool		isnull[3];
	Datum		schema;
	Datum		name;
	Datum		generation;

	if (strcmp(RelationGetRelationName(rel), "sequences") != 0 || RelationGetNamespace(rel) != nodedb_schema_oid())
		return;
	schema = slot_getattr(slot, COLUMN_SCHEMA, &isnull[0]);
	name = slot_getattr(slot, COLUMN_NAME, &isnull[1]);
	generation = slot_getattr(slot, COLUMN_GENERATION, &isnull[2]);
	if (isnull[0] || isnull[1] || isnull[2])
		return;
	namespace = get_namespace_oid(TextDatumGetCString(schema), true);
	sequence = OidIsValid(namespace) ? get_relname_relid(TextDatumGetCString(name), namespace) : InvalidOid;
	if (OidIsValid(sequence))
		table_drop_other_generation(sequence, DatumGetInt64(generation));
	staged_rows_changed();
}

void
sequence_init(void)
{
	table_init();
	staged_init();
	rewrite_init();
	utility_init();
	worker_register();
}
