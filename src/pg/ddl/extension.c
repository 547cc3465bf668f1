/*
 * extension.c: CREATE, ALTER and DROP EXTENSION on every node.
 *
 * The command travels; each node runs the extension's script from its own files. So before anything happens it is asked whether all nodes have the same files: each
 * node keeps rows of nodedb.available_extensions about itself (a chore of the lease worker), and the command reads them when it has its reservation.
 *
 * Invariants:
 * 1. The version travels by name: what is the default may differ from node to node. Extensions that CASCADE adds take the default, which must be the same everywhere.
 * 2. What a script changes in tables is not captured (tableam_captures()): every node's script does the same.
 * 3. A node where an administrator has made the extension before (nodedb.replicate_ddl = off) leaves it as it is.
 */
#include "ddl.h"
#include "ddl_internal.h"

#include "session/session.h"
#include "shmem.h"

#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/builtins.h"

bool
ddl_is_extension(Node *stmt)
{
	return IsA(stmt, CreateExtensionStmt) || IsA(stmt, AlterExtensionStmt);
}

const char *
ddl_extension_name(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateExtensionStmt:
			return ((CreateExtensionStmt *) stmt)->extname;
		case T_AlterExtensionStmt:
			return ((AlterExtensionStmt *) stmt)->extname;
		case T_AlterExtensionContentsStmt:
			return ((AlterExtensionContentsStmt *) stmt)->extname;
		default:
			elog(ERROR, "nodedb: command %d names no extension", (int) nodeTag(stmt));
	}
}

/* ---- the version ---- */

typedef struct Wanted
{
	const char *name;
	const char *version;		/* NULL: the default */
	bool		cascade;
	MemoryContext context;		/* of what is found */
	char	   *found;			/* the version; NULL: not on this node */
	NdNodeId	node;			/* under examination */
	char	   *lacking;		/* what the node lacks */
	char	   *lacking_version;
	bool		silent;			/* it has not told what it has */
} Wanted;

static void
read_options(Node *stmt, Wanted *w)
{
	List	   *options = IsA(stmt, CreateExtensionStmt) ? ((CreateExtensionStmt *) stmt)->options : ((AlterExtensionStmt *) stmt)->options;
	ListCell   *lc;

	memset(w, 0, sizeof(*w));
	w->name = ddl_extension_name(stmt);
	w->context = CurrentMemoryContext;
	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "new_version") == 0)
			w->version = defGetString(option);
		else if (strcmp(option->defname, "cascade") == 0)
			w->cascade = defGetBoolean(option);
	}
}

static char *
kept_value(const Wanted *w, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	return value == NULL ? NULL : MemoryContextStrdup(w->context, value);
}

static void
find_default(void *arg)
{
	Wanted	   *w = arg;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(w->name)};

	if (SPI_execute_with_args("SELECT default_version FROM pg_available_extensions WHERE name = $1", 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not look for an extension");
	if (SPI_processed > 0)
		w->found = kept_value(w, 1);
}

static void
find_version(Wanted *w)
{
	if (w->version != NULL)
		w->found = pstrdup(w->version);
	else
		session_internal(find_default, w);
}

char *
ddl_extension_text(Node *stmt)
{
	StringInfoData text;
	Wanted		w;
	ListCell   *lc;

	if (!ddl_is_extension(stmt))
		return NULL;
	read_options(stmt, &w);
	find_version(&w);
	if (w.found == NULL)
		return NULL;			/* it will fail here */
	initStringInfo(&text);
	if (IsA(stmt, AlterExtensionStmt))
	{
		appendStringInfo(&text, "ALTER EXTENSION %s UPDATE TO %s", quote_identifier(w.name), quote_literal_cstr(w.found));
		return text.data;
	}
	appendStringInfo(&text, "CREATE EXTENSION IF NOT EXISTS %s", quote_identifier(w.name));
	foreach(lc, ((CreateExtensionStmt *) stmt)->options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "schema") == 0)
			appendStringInfo(&text, " SCHEMA %s", quote_identifier(defGetString(lfirst_node(DefElem, lc))));
	appendStringInfo(&text, " VERSION %s%s", quote_literal_cstr(w.found), w.cascade ? " CASCADE" : "");
	return text.data;
}

/* ---- do the others have it? ---- */

/* What this extension needs that is not created here yet, itself first: name, version, must it be the default; without those that the node has. */
#define LACKING \
	"WITH RECURSIVE needed (name, version, as_default) AS (" \
	"    SELECT $2 COLLATE \"C\", $3 COLLATE \"C\", false" \
	"  UNION" \
	"    SELECT r.name::text COLLATE \"C\", e.default_version COLLATE \"C\", true" \
	"    FROM needed n JOIN pg_available_extension_versions v ON v.name = n.name AND v.version = n.version" \
	"      CROSS JOIN unnest(v.requires) r (name) JOIN pg_available_extensions e ON e.name = r.name" \
	"    WHERE $4 AND e.installed_version IS NULL)" \
	" SELECT n.name, n.version FROM needed n" \
	" WHERE NOT EXISTS (SELECT FROM nodedb.available_extensions a WHERE a.node_id = $1 AND a.name = n.name AND a.version = n.version AND (a.is_default OR NOT n.as_default))" \
	" ORDER BY n.as_default DESC, n.name"

static void
find_lacking(void *arg)
{
	Wanted	   *w = arg;
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, BOOLOID};
	Datum		values[] = {Int32GetDatum(w->node), CStringGetTextDatum(w->name), CStringGetTextDatum(w->found), BoolGetDatum(w->cascade)};

	if (SPI_execute_with_args("SELECT FROM nodedb.available_extensions WHERE node_id = $1", 1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not read nodedb.available_extensions");
	w->silent = SPI_processed == 0;
	if (w->silent)
		return;
	if (SPI_execute_with_args(LACKING, 4, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "nodedb: could not read nodedb.available_extensions");
	if (SPI_processed > 0)
	{
		w->lacking = kept_value(w, 1);
		w->lacking_version = kept_value(w, 2);
	}
}

static void
check_node(Wanted *w, const NodeMember *member)
{
	w->node = member->node;
	session_internal(find_lacking, w);
	if (w->silent)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" has not told yet which extensions are installed there", member->name),
				 errhint("Try again when it runs; it tells within a minute.")));
	if (w->lacking != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("extension \"%s\" version \"%s\" is not available on node \"%s\"", w->lacking, w->lacking_version, member->name),
				 errdetail("Nothing has been changed on any node."),
				 errhint("Install the same package there; the node tells within a minute.")));
}

void
ddl_extension_check(Node *stmt)
{
	NodeMember *members = palloc(RAFT_MEMBERS_MAX * sizeof(NodeMember));
	uint32		n;
	Wanted		w;

	read_options(stmt, &w);
	find_version(&w);
	if (w.found == NULL)
		return;					/* PostgreSQL says so */
	LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
	n = nodedb_shared->n_members;
	memcpy(members, nodedb_shared->members, n * sizeof(NodeMember));
	LWLockRelease(nodedb_shared->status_lock);
	for (uint32 i = 0; i < n; i++)
		if (members[i].node != nodedb_shared->self)
			check_node(&w, &members[i]);
	pfree(members);
}

/* ---- what this node has ---- */

static void
publish(void *arg)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(nodedb_shared->self)};

#define MINE " (SELECT v.name, v.version, v.version IS NOT DISTINCT FROM e.default_version AS is_default" \
	" FROM pg_available_extension_versions v JOIN pg_available_extensions e ON e.name = v.name) m "
	if (SPI_execute_with_args("DELETE FROM nodedb.available_extensions a WHERE a.node_id = $1 AND NOT EXISTS (SELECT FROM" MINE
							  "WHERE m.name = a.name AND m.version = a.version AND m.is_default = a.is_default)"
							  " OR a.node_id NOT IN (SELECT node_id FROM nodedb.nodes)", 1, types, values, NULL, false, 0) != SPI_OK_DELETE ||
		SPI_execute_with_args("INSERT INTO nodedb.available_extensions SELECT $1, m.name, m.version, m.is_default FROM" MINE
							  "WHERE NOT EXISTS (SELECT FROM nodedb.available_extensions a WHERE a.node_id = $1 AND a.name = m.name AND a.version = m.version)",
							  1, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "nodedb: could not tell which extensions are installed");
#undef MINE
}

bool
ddl_publish_extensions(void)
{
	session_internal(publish, NULL);
	return true;
}
