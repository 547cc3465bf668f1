/*
 * start.c: who is let in while this server has not caught up since its start.
 *
 * Names are looked up before a statement could wait for a read index. So a node that comes back would say of a table that was made meanwhile, and
 * acknowledged, that it does not exist. Like a server in crash recovery it refuses instead: a client with several hosts goes on to the next.
 *
 * Invariants:
 * 1. No session whose read_consistency is strong or fenced at its connection begins before everything up to a read index asked for after the start is shown here.
 * 2. Nobody waits longer than nodedb.commit_timeout, majority or not. 57P03 tells how far this node is.
 * 3. "local" and "session" promise nothing about others' changes and are let in at once: as startup options, or by the configuration file. What
 *    ALTER ROLE or ALTER DATABASE say is not known yet, for a refusal after the authentication would no longer send libpq to its next host.
 * 4. A node that takes no part (no cluster, FAILED, QUARANTINED) lets everybody in, who then learn why it refuses their statements.
 */
#include "session.h"

#include "../shmem.h"
#include "wait.h"

/* Kerberos' headers are not wanted for this; Port has a pointer in their place, so that its layout is the same. */
#undef ENABLE_GSS
#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define POLL_MS 10

static ClientAuthentication_hook_type prev_client_authentication = NULL;

/* ---- what the client asks for ---- */

/* The value of nodedb.read_consistency, if this is it. */
static void
look_at(char *name, char *value, char **level)
{
	if (name != NULL && value != NULL && pg_strcasecmp(name, "nodedb.read_consistency") == 0)
		*level = value;
}

/* "-c name=value", "-cname=value", "--name=value", as PostgresMain reads them */
static void
look_at_options(const char *options, char **level)
{
	char	   *copy = pstrdup(options);
	char	  **words = palloc(sizeof(char *) * (strlen(options) / 2 + 2));
	int			n = 0;

	pg_split_opts(words, &n, copy);
	for (int i = 0; i < n; i++)
	{
		char	   *assignment;
		char	   *name;
		char	   *value;

		if (strcmp(words[i], "-c") == 0 && i + 1 < n)
			assignment = words[++i];
		else if (strncmp(words[i], "-c", 2) == 0 || strncmp(words[i], "--", 2) == 0)
			assignment = words[i] + 2;
		else
			continue;
		ParseLongOption(assignment, &name, &value);
		look_at(name, value, level);
	}
}

static bool
wants_strong(Port *port)
{
	char	   *level = NULL;

	if (port->cmdline_options != NULL)
		look_at_options(port->cmdline_options, &level);
	/* Names and values in turn; they come behind the command line there, too. */
	for (int i = 0; i + 1 < list_length(port->guc_options); i += 2)
		look_at(list_nth(port->guc_options, i), list_nth(port->guc_options, i + 1), &level);
	if (level == NULL)
		return nodedb_read_consistency >= READ_STRONG;
	return pg_strcasecmp(level, "strong") == 0 || pg_strcasecmp(level, "fenced") == 0;
}

/* ---- waiting ---- */

static bool
starting(void)
{
	MemberState state = (MemberState) pg_atomic_read_u32(&nodedb_shared->member_state);

	return (state == MEMBER_STARTING || state == MEMBER_RUNNING) && !pg_atomic_read_u32(&nodedb_shared->caught_up);
}

/* How far this node is, as a sentence. */
static char *
progress(void)
{
	uint32		n = pg_atomic_read_u32(&nodedb_shared->n_groups);
	char	   *text = NULL;

	if (pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_STARTING)
	{
		LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
		text = psprintf("It is %s.", nodedb_shared->state_text[0] ? nodedb_shared->state_text : "waiting for its raft worker");
		LWLockRelease(nodedb_shared->status_lock);
		return text;
	}
	for (NdGroupId g = 0; g < n; g++)
	{
		uint64		applied = nodedb_watermark(g);
		uint64		wanted;

		SpinLockAcquire(&nodedb_shared->read_lock);
		wanted = nodedb_groups[g].start_index;
		SpinLockRelease(&nodedb_shared->read_lock);
		if (applied < wanted)
			return psprintf("Group %u is applied up to entry " UINT64_FORMAT ", entry " UINT64_FORMAT " is wanted.", g, applied, wanted);
	}
	return "No majority of the cluster's nodes has answered.";
}

static void
await_start(void)
{
	/* Not as long as PostgreSQL itself waits for a client's authentication: its message would not say why. */
	int			timeout_ms = Min(nodedb_commit_timeout, AuthenticationTimeout * 500);
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);

	ConditionVariablePrepareToSleep(&nodedb_shared->applied_cv);
	while (starting())
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0)
		{
			ConditionVariableCancelSleep();
			ereport(FATAL,
					(errcode(ERRCODE_CANNOT_CONNECT_NOW),
					 errmsg("this node is starting and has not caught up with the cluster"),
					 errdetail("%s", progress()),
					 errhint("Wait, use another node, or connect with the option -c nodedb.read_consistency=local to see an older state.")));
		}
		(void) ConditionVariableTimedSleep(&nodedb_shared->applied_cv, Min(left, POLL_MS), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	/* What the last of these commits changed in the catalogues is told to us by now. */
	wait_watermark(1, 0, 0);
}

static void
client_authentication(Port *port, int status)
{
	if (prev_client_authentication)
		prev_client_authentication(port, status);
	if (status == STATUS_OK && nodedb_shared != NULL && starting() &&
		strcmp(port->database_name, nodedb_database) == 0 && wants_strong(port))
		await_start();
}

void
start_init(void)
{
	prev_client_authentication = ClientAuthentication_hook;
	ClientAuthentication_hook = client_authentication;
}
