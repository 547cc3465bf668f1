/*
 * cluster.c: SQL functions that change the cluster. Each leaves a command for the raft worker in shared memory and waits for its answer.
 */
#include "../nodedb.h"

#include "../ddl/ddl.h"
#include "../placement.h"
#include "../session/read.h"
#include "../session/session.h"
#include "../shmem.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(nodedb_init_cluster);
PG_FUNCTION_INFO_V1(nodedb_join_cluster);
PG_FUNCTION_INFO_V1(nodedb_remove_node);
PG_FUNCTION_INFO_V1(nodedb_transfer_leadership);
PG_FUNCTION_INFO_V1(nodedb_add_data_groups);

static void
copy_text(char *to, Size size, text *from, const char *what)
{
	char	   *s = text_to_cstring(from);

	if (strlen(s) >= size)
		ereport(ERROR, (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("%s is longer than %d bytes", what, (int) size - 1)));
	strlcpy(to, s, size);
}

/* Begin a command: lock, clear. The caller fills it in and calls run_command(). */
static NodedbCommand *
begin_command(void)
{
	NodedbCommand *c;
	char	   *database = get_database_name(MyDatabaseId);

	if (nodedb_shared == NULL || nodedb_shared->raft_latch == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nodedb's raft worker is not running"),
				 errhint("Add nodedb to shared_preload_libraries, restart the server, and look into its log.")));
	if (database == NULL || strcmp(database, nodedb_database) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the replicated database is \"%s\"", nodedb_database),
				 errhint("Call the function there, or change nodedb.database and restart the server.")));
	if (!LWLockConditionalAcquire(nodedb_shared->command_lock, LW_EXCLUSIVE))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another session is changing the cluster from this node"),
				 errhint("Try again when it has finished.")));
	c = &nodedb_shared->command;
	if (c->kind != COMMAND_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("an earlier command, whose session is gone, is still under way"),
				 errhint("Try again in half a minute.")));
	pg_atomic_write_u32(&c->done, 0);
	c->pid = MyProcPid;
	c->pgprocno = MyProc->pgprocno;
	return c;
}

/*
 * Hand it over and wait. The lock is held meanwhile; LWLockAcquire holds off interrupts, so cancels are looked at by hand: the command itself goes
 * on, only nobody waits for it. A joining that nobody has answered yet ends.
 */
static char *
run_command(NodedbCommand *c, CommandKind kind)
{
	char	   *text;
	char	   *detail;
	char	   *hint;
	int			sqlerrcode;
	NdStatus	status;

	pg_write_barrier();
	c->kind = kind;
	SetLatch(nodedb_shared->raft_latch);
	while (pg_atomic_read_u32(&c->done) == 0)
	{
		if (QueryCancelPending || ProcDiePending)
		{
			c->pid = 0;
			LWLockRelease(nodedb_shared->command_lock);
			CHECK_FOR_INTERRUPTS();
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	pg_read_barrier();
	text = pstrdup(c->text);
	detail = pstrdup(c->detail);
	hint = pstrdup(c->hint);
	status = c->status;
	sqlerrcode = c->sqlerrcode != 0 ? c->sqlerrcode : nodedb_sqlstate(status);
	explicit_bzero(c->text, sizeof(c->text));
	LWLockRelease(nodedb_shared->command_lock);
	if (status != ND_OK)
		ereport(ERROR,
				(errcode(sqlerrcode),
				 errmsg("%s", text),
				 detail[0] != '\0' ? errdetail("%s", detail) : 0,
				 hint[0] != '\0' ? errhint("%s", hint) : 0));
	return text;
}

static void
fill_name(NodedbCommand *c, FunctionCallInfo fcinfo, int arg)
{
	if (!PG_ARGISNULL(arg))
		copy_text(c->name, sizeof(c->name), PG_GETARG_TEXT_PP(arg), "the node's name");
	else if (cluster_name != NULL && cluster_name[0] != '\0')
		strlcpy(c->name, cluster_name, sizeof(c->name));
	else
		strlcpy(c->name, nodedb_listen, sizeof(c->name));
	if (c->name[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the node's name is empty")));
}

static void
set_default_access_method(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "ALTER DATABASE %s SET default_table_access_method = nodedb", quote_identifier(nodedb_database));
	SPI_connect();
	if (SPI_execute(sql.data, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not set default_table_access_method");
	SPI_finish();
	/* This session, too. */
	(void) set_config_option("default_table_access_method", "nodedb", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
}

/*
 * A database is new to its cluster, or it holds rows that the cluster does not know, and a ledger that tells the applier to skip the first entries.
 */
static void
refuse_used_database(void)
{
	/* A member hears from the raft worker that it is one. */
	if (pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_NONE)
		return;
	SPI_connect();
	if (SPI_execute("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'nodedb' AND c.relkind IN ('r', 'm')"
					" AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') LIMIT 1",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for distributed tables");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database already holds the distributed table %s", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("A node begins with a new, empty database; one that joins gets all distributed tables from the cluster.")));
	if (SPI_execute("SELECT FROM nodedb.ledger LIMIT 1", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read nodedb.ledger");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database was a node's of a cluster before"),
				 errhint("Use a new, empty database.")));
	SPI_finish();
}

Datum
nodedb_init_cluster(PG_FUNCTION_ARGS)
{
	NodedbCommand *c;
	int			groups = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT32(1);
	char	   *token;

	refuse_used_database();
	if (groups < 1 || groups >= nodedb_shared->max_groups || groups > ENTRY_GROUPS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data_groups must be between 1 and %u", Min(nodedb_shared->max_groups - 1, ENTRY_GROUPS_MAX)),
				 errhint("nodedb.max_groups sets the upper limit, up to %d.", ENTRY_GROUPS_MAX)));
	c = begin_command();
	fill_name(c, fcinfo, 0);
	c->data_groups = groups;
	token = run_command(c, COMMAND_INIT);
	if (PG_ARGISNULL(2) || PG_GETARG_BOOL(2))
		set_default_access_method();
	PG_RETURN_TEXT_P(cstring_to_text(token));
}

static bool
is_voter(void)
{
	bool		voter = false;

	LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
	for (uint32 i = 0; i < nodedb_shared->n_members; i++)
		if (nodedb_shared->members[i].node == nodedb_shared->self && nodedb_shared->members[i].role == RAFT_VOTER)
			voter = true;
	LWLockRelease(nodedb_shared->status_lock);
	return voter;
}

Datum
nodedb_join_cluster(PG_FUNCTION_ARGS)
{
	NodedbCommand *c;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("seed and token must be given")));
	/* The statement holds the token. Should it fail or be ended, the server's log shows this instead. */
	if (debug_query_string != NULL)
		debug_query_string = "SELECT nodedb.join_cluster(...)";
	refuse_used_database();
	c = begin_command();
	fill_name(c, fcinfo, 2);
	copy_text(c->address, sizeof(c->address), PG_GETARG_TEXT_PP(0), "the seed address");
	copy_text(c->token, sizeof(c->token), PG_GETARG_TEXT_PP(1), "the token");
	(void) run_command(c, COMMAND_JOIN);
	if (PG_ARGISNULL(3) || PG_GETARG_BOOL(3))
		set_default_access_method();
	/* The cluster promotes the new node when it has caught up. A cancel here leaves a node that goes on by itself. */
	while (!is_voter())
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	PG_RETURN_INT32((int32) nodedb_shared->self);
}

Datum
nodedb_remove_node(PG_FUNCTION_ARGS)
{
	NodedbCommand *c = begin_command();

	c->node = (NdNodeId) PG_GETARG_INT32(0);
	(void) run_command(c, COMMAND_REMOVE);
	PG_RETURN_VOID();
}

/* Who leads the group, as far as this node knows; 0: nobody. */
static NdNodeId
leader_of(NdGroupId group)
{
	NdNodeId	leader;

	LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
	leader = (group == ND_GROUP_SEQUENCER ? &nodedb_shared->sequencer : &nodedb_groups[group].status)->raft.leader;
	LWLockRelease(nodedb_shared->status_lock);
	return leader;
}

/*
 * transfer_leadership(group_id int, node_id int): returns when this node hears that the other one leads the group. A leader that is not succeeded within an election timeout, because the other
 * node is away or slow, goes on leading (thesis, 3.10); it takes no entries meanwhile, so to try again is left to the caller: 55000.
 */
Datum
nodedb_transfer_leadership(PG_FUNCTION_ARGS)
{
	NodedbCommand *c = begin_command();
	NdGroupId	group = c->group = (NdGroupId) PG_GETARG_INT32(0);
	NdNodeId	to = c->node = (NdNodeId) PG_GETARG_INT32(1);
	NdNodeId	leader;
	TimestampTz asked;

	(void) run_command(c, COMMAND_TRANSFER);
	asked = GetCurrentTimestamp();
	do
	{
		leader = leader_of(group);
		if (leader == to)
			PG_RETURN_VOID();
		if (leader != 0 && TimestampDifferenceExceeds(asked, GetCurrentTimestamp(), 2 * nodedb_election_timeout))
			break;
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	} while (!TimestampDifferenceExceeds(asked, GetCurrentTimestamp(), nodedb_commit_timeout));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("node %u did not take over the leadership of group %d", to, (int) group),
			 leader == 0 ? errdetail("This node knows of no leader now.") : errdetail("Node %u leads the group.", leader),
			 errhint("A node that is away, slow or far behind cannot lead: see nodedb.nodes and nodedb.groups, and try again.")));
}

/*
 * add_data_groups(n int) returns int: more data groups, on all nodes; how many there are then. In line with the schema changes of the cluster: of two such calls the second one counts what
 * the first one has added, and no schema change is under way whose parts were counted before. The refusals that come later, by the raft worker, change nothing either.
 */
Datum
nodedb_add_data_groups(PG_FUNCTION_ARGS)
{
	int			n = PG_GETARG_INT32(0);
	NodedbCommand *c;
	uint32		have;

	session_check_node();
	if (n < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of data groups to add must be at least 1"),
				 errdetail("A data group is never taken away: its log is part of the tables' history."),
				 errhint("nodedb.groups shows those that there are.")));
	if (pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_RUNNING && !nodedb_shared->has_sequencer)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this cluster cannot have several data groups"),
				 errdetail("It was founded by a version without a sequencer group, which orders transactions over several data groups."),
				 errhint("Move the data to a new cluster.")));
	ddl_reserve_schema();
	/* What the call before this one has added, on whatever node, counts. */
	read_know_groups();
	have = placement_groups();
	if (n > ENTRY_GROUPS_MAX - (int) have)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("a cluster cannot have more than %d data groups", ENTRY_GROUPS_MAX),
				 errdetail("There are %u.", have),
				 errhint("Add fewer.")));
	c = begin_command();
	c->data_groups = have + n;
	c->timeout_ms = nodedb_commit_timeout;
	(void) run_command(c, COMMAND_GROW);
	PG_RETURN_INT32((int32) (have + n));
}
