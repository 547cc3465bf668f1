/*
 * matview.c: materialized views hold the same rows on every node: the origin runs the query, and what came out travels.
 *
 * A replica that ran the query would get other rows by random(), by LIMIT or DISTINCT ON without a full order, by sums of floats in another order, or
 * an error where the origin had none. So CREATE and REFRESH are WITH NO DATA there, and the rows follow as insertions, in the same transaction.
 *
 * Rows take no keys: that of the view, ACCESS EXCLUSIVE, stands for them.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/matview.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Where the command says whether it is to have rows; NULL: it is about no materialized view. */
static bool *
no_data(Node *stmt)
{
	if (IsA(stmt, RefreshMatViewStmt))
		return &((RefreshMatViewStmt *) stmt)->skipData;
	if (IsA(stmt, CreateTableAsStmt) && ((CreateTableAsStmt *) stmt)->objtype == OBJECT_MATVIEW)
		return &((CreateTableAsStmt *) stmt)->into->skipData;
	return NULL;
}

/* ---- at the origin, behind the command ---- */

void
ddl_matview_rows(DdlCommand *c)
{
	bool	   *skipped = no_data(c->stmt);
	ListCell   *lc;

	if (skipped == NULL || *skipped)
		return;
	if (IsA(c->stmt, RefreshMatViewStmt))
		ddl_ship_rows(RangeVarGetRelid(((RefreshMatViewStmt *) c->stmt)->relation, NoLock, false));
	foreach(lc, c->created)
	{
		ObjectAddress *object = lfirst(lc);

		if (IsA(c->stmt, CreateTableAsStmt) && object->classId == RelationRelationId && object->objectSubId == 0 &&
			get_rel_relkind(object->objectId) == RELKIND_MATVIEW)
			ddl_ship_rows(object->objectId);
	}
}

/* ---- on a replica ---- */

bool
ddl_matview_begin(Node *stmt)
{
	bool	   *skipped = no_data(stmt);

	if (skipped == NULL || *skipped)
		return false;
	*skipped = true;
	return true;
}

void
ddl_matview_finish(Node *stmt)
{
	RangeVar   *name = IsA(stmt, RefreshMatViewStmt) ? ((RefreshMatViewStmt *) stmt)->relation : castNode(CreateTableAsStmt, stmt)->into->rel;
	Relation	rel = table_openrv(name, AccessExclusiveLock);

	SetMatViewPopulatedState(rel, true);
	table_close(rel, NoLock);
}
