/*
 * shards_files.c: the list of files that this node's builder has made, on disk, for the case that the server dies: PostgreSQL would keep the files of a transaction that was open then, and
 * nobody knows them, here a whole copy of a table.
 *
 * The list is there as long as the builder's transaction is open: it is removed when the commit is durable, behind the rollback, and when the process ends by itself, just before PostgreSQL rolls
 * back. So a list that is found was left by a crash, and the files with it. Until they are removed their numbers are not given to others, for PostgreSQL never chooses that of a file that
 * is there; so a file of the list that no row of pg_class names belongs to nobody.
 *
 * A file is listed when it is made: a crash in between leaves an empty one, or one index. That the list reaches the disk is waited for once for the tables and once for the indexes.
 */
#include "shards.h"
#include "shards_online.h"

#include "access/relation.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/smgr.h"
#include "utils/rel.h"
#include "utils/relfilenodemap.h"

#include <unistd.h>

#define LIST "nodedb.shard_files"	/* in the data directory, which is every process's working directory */

static void
list_one(FILE *list, Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	RelFileNode node = rel->rd_node;

	relation_close(rel, NoLock);
	if (fprintf(list, "%u %u %u\n", node.spcNode, node.dbNode, node.relNode) < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", LIST)));
}

/* Of a table: its TOAST table's, too. */
static void
list_relation(FILE *list, Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	Oid			toast = rel->rd_rel->reltoastrelid;
	ListCell   *lc;

	relation_close(rel, NoLock);
	list_one(list, relid);
	if (!OidIsValid(toast))
		return;
	list_one(list, toast);
	foreach(lc, ddl_shards_indexes(toast))
		list_one(list, lfirst_oid(lc));
}

void
ddl_shards_files_add(const List *relids)
{
	FILE	   *list = AllocateFile(LIST, "a");
	ListCell   *lc;

	if (list == NULL)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", LIST)));
	foreach(lc, relids)
		list_relation(list, lfirst_oid(lc));
	if (fflush(list) != 0 || pg_fsync(fileno(list)) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", LIST)));
	FreeFile(list);
}

void
ddl_shards_files_forget(void)
{
	(void) unlink(LIST);
}

bool
ddl_shards_files_left(void)
{
	return access(LIST, F_OK) == 0;
}

int
ddl_shards_files_drop(void)
{
	FILE	   *list = AllocateFile(LIST, "r");
	RelFileNode node;
	int			dropped = 0;

	if (list == NULL)
		return 0;
	while (fscanf(list, "%u %u %u", &node.spcNode, &node.dbNode, &node.relNode) == 3)
	{
		SMgrRelation file = smgropen(node, InvalidBackendId);
		Oid			tablespace = node.spcNode == MyDatabaseTableSpace ? InvalidOid : node.spcNode;

		if (smgrexists(file, MAIN_FORKNUM) && !OidIsValid(RelidByRelfilenode(tablespace, node.relNode)))
		{
			smgrdounlinkall(&file, 1, false);
			dropped++;
		}
		smgrclose(file);
	}
	FreeFile(list);
	ddl_shards_files_forget();
	return dropped;
}
