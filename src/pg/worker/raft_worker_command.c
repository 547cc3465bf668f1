/*
 * raft_worker_command.c: founding a cluster, joining one, answering those who join, membership changes, more data groups: commands that a backend leaves in shared memory.
 *
 * Founding and joining write, in this order: an identity file that says incarnation 0, the log with its groups, and when these are durable the identity
 * file again, with incarnation 1. A crash before the groups are durable leaves incarnation 0 and no groups, which the next start removes; from incarnation
 * 1 on a log without groups is a lost one, and the node must not come back with an empty memory. Joining again with the same name and address gives the
 * same node id (wire.h), so a crash at any point is mended by calling again.
 */
#include "raft_worker.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define TOKEN_PREFIX "ndb1"
#define JOIN_TRIES_MS 30000

typedef struct Visitor
{
	uint64		request_id;		/* 0 = free */
	uint8	   *data;
	size_t		len;
} Visitor;

#define VISITORS 16

static Visitor visitors[VISITORS];

/* The command under way. */
static struct
{
	bool		active;
	bool		asked;			/* JOIN: a request is under way */
	uint64		request_id;
	int			wait_ticks;		/* JOIN: before asking again */
	int			ticks_left;
	char		address[ND_ADDRESS_MAX];
	uint64		cluster_id;
	char		secret[64];
	bool		accepted;
	bool		refused;		/* join.text says why */
	WireJoinAnswer join;
	NodeGrowth	growth;			/* GROW */
	char		detail[256];	/* of the answer to come */
} cmd;

static void
answer(NdStatus status, int sqlerrcode, const char *hint, const char *fmt,...) pg_attribute_printf(4, 5);

/* The command is over. sqlerrcode 0: that of the status. */
static void
answer(NdStatus status, int sqlerrcode, const char *hint, const char *fmt,...)
{
	NodedbCommand *c = &nodedb_shared->command;
	va_list		args;

	c->status = status;
	c->sqlerrcode = sqlerrcode;
	strlcpy(c->detail, cmd.detail, sizeof(c->detail));
	cmd.detail[0] = '\0';
	strlcpy(c->hint, hint ? hint : "", sizeof(c->hint));
	va_start(args, fmt);
	vsnprintf(c->text, sizeof(c->text), fmt, args);
	va_end(args);
	explicit_bzero(cmd.secret, sizeof(cmd.secret));
	explicit_bzero(c->token, sizeof(c->token));
	cmd.active = false;
	c->kind = COMMAND_NONE;
	pg_write_barrier();
	pg_atomic_write_u32(&c->done, 1);
	SetLatch(&ProcGlobal->allProcs[c->pgprocno].procLatch);
}

#define finish(status, ...) answer((status), 0, NULL, __VA_ARGS__)

NdStatus
command_unlink_identity(void)
{
	char		path[MAXPGPATH + 16];

	snprintf(path, sizeof(path), "%s/identity", rw.dir);
	return rw.vfs->ops->unlink(rw.vfs, path);
}

/* Called until it has written. An entry that was delivered is durable, and so is everything before it. */
void
command_founded(void)
{
	NodeGroupStatus status;

	if (node_group_status(rw.node, 0, &status) != ND_OK || status.delivered == 0)
		return;
	rw.unborn = store_identity_write(rw.vfs, rw.dir, &rw.identity) != ND_OK;
}

static void
open_new_store(void)
{
	StoreConfig config;
	char		error[1024] = "";
	StoreIdentity unborn = rw.identity;
	NdStatus	status;

	unborn.incarnation = 0;
	rw.unborn = true;
	status = store_identity_write(rw.vfs, rw.dir, &unborn);
	if (status == ND_OK)
	{
		memset(&config, 0, sizeof(config));
		config.dir = rw.dir;
		config.cluster_id = rw.identity.cluster_id;
		config.node = rw.identity.node;
		config.segment_bytes = (uint64) nodedb_segment_size << 20;
		config.cache_bytes = (uint64) nodedb_log_cache << 20;
		config.record_bytes_max = 12 << 20;
		status = store_open(rw.vfs, &config, &rw.store, error, sizeof(error));
	}
	if (status == ND_OK && store_groups(rw.store, NULL, 0) > 0)
	{
		store_close(rw.store);
		rw.store = NULL;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the log directory \"%s\" already holds a log", rw.dir),
				 errhint("Remove it if it is left over from another cluster.")));
	}
	if (status != ND_OK)
		ereport(ERROR,
				(errcode(nodedb_sqlstate(status)),
				 errmsg("could not create the replicated log: %s", error[0] ? error : nd_status_text(status)),
				 errhint("The log's directory is \"%s\" (nodedb.directory): it must be empty or new, and writable.", rw.dir)));
}

static void
set_self(WireMember *m, const char *name, NdNodeId node)
{
	memset(m, 0, sizeof(*m));
	m->node = node;
	m->role = RAFT_VOTER;
	strlcpy(m->name, name, sizeof(m->name));
	strlcpy(m->address, nodedb_listen, sizeof(m->address));
	m->host_id = GetSystemIdentifier();
}

/* ---- founding ---- */

static void
random_hex(char *out, int bytes)
{
	uint8		raw[32];

	if (!pg_strong_random(raw, bytes))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random bytes")));
	for (int i = 0; i < bytes; i++)
		sprintf(out + 2 * i, "%02x", raw[i]);
	explicit_bzero(raw, sizeof(raw));
}

static void
run_init(NodedbCommand *c)
{
	NdStatus	status;

	if (!cmd.active)
	{
		WireMember	self;

		if (rw.node != NULL)
		{
			finish(ND_INVALID, "this server already is node %u of a cluster", nodedb_shared->self);
			return;
		}
		memset(&cmd, 0, sizeof(cmd));
		cmd.active = true;
		if (!pg_strong_random(&cmd.cluster_id, sizeof(cmd.cluster_id)))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random bytes")));
		random_hex(cmd.secret, 16);
		rw.transport = raft_worker_connect(1, cmd.cluster_id, 1, nodedb_listen);
		memset(&rw.identity, 0, sizeof(rw.identity));
		rw.identity.cluster_id = cmd.cluster_id;
		rw.identity.node = 1;
		rw.identity.incarnation = 1;
		rw.identity.host_id = GetSystemIdentifier();
		open_new_store();
		set_self(&self, c->name, 1);
		status = node_bootstrap(rw.store, &self, c->data_groups);
		/* With one data group as well: it costs nothing while it sleeps, and groups can be added later. */
		if (status == ND_OK)
			status = node_bootstrap_sequencer(rw.store, &self);
		if (status != ND_OK)
			ereport(ERROR, (errcode(nodedb_sqlstate(status)), errmsg("could not found the cluster: %s", nd_status_text(status))));
		raft_worker_start_node(NULL, 0);
	}
	/* The token's hash goes through the log of the metadata group: wait until it is in force. */
	status = node_set_token(rw.node, cmd.secret, strlen(cmd.secret));
	if (status == ND_OK)
		finish(ND_OK, TOKEN_PREFIX ".%016llx.%s", (unsigned long long) cmd.cluster_id, cmd.secret);
	else if (status != ND_BUSY && status != ND_NOTLEADER && status != ND_NOLEADER)
		finish(status, "could not store the join token: %s", nd_status_text(status));
}

/* ---- joining ---- */

static bool
parse_token(const char *token)
{
	unsigned long long id;
	char		secret[64];

	if (sscanf(token, TOKEN_PREFIX ".%16llx.%63[0-9a-f]", &id, secret) != 2)
		return false;
	cmd.cluster_id = id;
	strlcpy(cmd.secret, secret, sizeof(cmd.secret));
	explicit_bzero(secret, sizeof(secret));
	return true;
}

static void
ask_to_join(NodedbCommand *c)
{
	WireJoinRequest request;
	NdBuf		bytes;

	memset(&request, 0, sizeof(request));
	strlcpy(request.token, cmd.secret, sizeof(request.token));
	strlcpy(request.name, c->name, sizeof(request.name));
	strlcpy(request.address, nodedb_listen, sizeof(request.address));
	request.host_id = GetSystemIdentifier();
	request.format_min = ENTRY_FORMAT;
	request.format_max = ENTRY_FORMAT;
	nd_buf_init(&bytes);
	if (wire_encode_join_request(&request, &bytes) == ND_OK && !bytes.failed &&
		rw.transport->ops->request(rw.transport, cmd.address, ++cmd.request_id, bytes.data, bytes.len, 5000) == ND_OK)
		cmd.asked = true;
	nd_buf_free(&bytes);
	explicit_bzero(&request, sizeof(request));
}

static void
become_member(void)
{
	NdStatus	status;

	if (cmd.join.n_data_groups >= nodedb_shared->max_groups)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the cluster has %u groups, but nodedb.max_groups is %u", cmd.join.n_data_groups + 1, nodedb_shared->max_groups),
				 errhint("Raise nodedb.max_groups, restart the server and join again.")));
	raft_worker_disconnect();
	rw.transport = raft_worker_connect(cmd.join.node, cmd.cluster_id, 1, nodedb_listen);
	memset(&rw.identity, 0, sizeof(rw.identity));
	rw.identity.cluster_id = cmd.cluster_id;
	rw.identity.node = cmd.join.node;
	rw.identity.incarnation = 1;
	rw.identity.host_id = GetSystemIdentifier();
	rw.limits.keys_max = cmd.join.certifier_keys_max;
	rw.limits.ids_max = cmd.join.certifier_ids_max;
	open_new_store();
	status = node_bootstrap_joining(rw.store, cmd.join.n_data_groups);
	if (status == ND_OK && cmd.join.has_sequencer)
		status = node_bootstrap_sequencer(rw.store, NULL);
	if (status != ND_OK)
		ereport(ERROR, (errcode(nodedb_sqlstate(status)), errmsg("could not join the cluster: %s", nd_status_text(status))));
	raft_worker_start_node(cmd.join.members, cmd.join.n_members);
}

static void
run_join(NodedbCommand *c)
{
	if (!cmd.active)
	{
		if (rw.node != NULL)
		{
			finish(ND_INVALID, "this server already is node %u of a cluster", nodedb_shared->self);
			return;
		}
		memset(&cmd, 0, sizeof(cmd));
		if (!parse_token(c->token))
		{
			finish(ND_INVALID, "this is no join token; nodedb.init_cluster() returned it");
			return;
		}
		cmd.active = true;
		cmd.ticks_left = JOIN_TRIES_MS / TICK_MS;
		strlcpy(cmd.address, c->address, sizeof(cmd.address));
		/* A node port that cannot be had is found out before the cluster knows this node. */
		rw.transport = raft_worker_connect(0, cmd.cluster_id, 0, nodedb_listen);
		raft_worker_disconnect();
		rw.transport = raft_worker_connect(0, cmd.cluster_id, 0, NULL);
	}
	if (!cmd.accepted && c->pid == 0)
	{
		raft_worker_disconnect();
		finish(ND_INVALID, "cancelled");
		return;
	}
	if (cmd.refused)
	{
		raft_worker_disconnect();
		finish(ND_WRONG_CLUSTER, "the node at \"%s\" refused: %s", cmd.address, cmd.join.text);
		return;
	}
	if (cmd.accepted)
	{
		cmd.accepted = false;
		become_member();
		finish(ND_OK, "%u", nodedb_shared->self);
		return;
	}
	if (!cmd.asked && cmd.wait_ticks <= 0)
		ask_to_join(c);
	if (cmd.ticks_left <= 0)
	{
		raft_worker_disconnect();
		answer(ND_NOLEADER, 0, "Check that it is the address of the node port (nodedb.listen) of a running node whose cluster has a majority, and that the "
			   "nodedb.tls_... settings fit. This server's log says more.",
			   "could not get an answer from a cluster at \"%s\" within %d s", cmd.address, JOIN_TRIES_MS / 1000);
	}
}

/* Between nodes that do not fit together by their versions, clusters or certificates: it will not be otherwise the next time. */
void
command_peer_refused(const char *address, const char *text)
{
	if (!cmd.active || !cmd.asked || strcmp(address, cmd.address) != 0)
		return;
	cmd.refused = true;
	strlcpy(cmd.join.text, text, sizeof(cmd.join.text));
}

void
command_answer(void *ctx, uint64_t request_id, bool ok, const uint8_t *data, size_t len)
{
	if (!cmd.active || !cmd.asked || request_id != cmd.request_id)
		return;
	cmd.asked = false;
	cmd.wait_ticks = 200 / TICK_MS;
	if (!ok || wire_decode_join_answer(data, len, &cmd.join) != ND_OK)
	{
		/* The node asked may be down, or the leader that it named: begin again with the seed. */
		strlcpy(cmd.address, nodedb_shared->command.address, sizeof(cmd.address));
		return;
	}
	switch (cmd.join.kind)
	{
		case WIRE_JOIN_ACCEPTED:
			cmd.accepted = true;
			break;
		case WIRE_JOIN_REFUSED:
			cmd.refused = true;
			break;
		case WIRE_JOIN_ELSEWHERE:
			if (cmd.join.leader_address[0] != '\0')
			{
				strlcpy(cmd.address, cmd.join.leader_address, sizeof(cmd.address));
				cmd.wait_ticks = 0;
			}
			break;
		case WIRE_JOIN_LATER:
			break;
	}
}

/* ---- answering those who join ---- */

static bool
answer_visitor(uint64 request_id, const uint8 *data, size_t len)
{
	NdBuf		answer;
	NdStatus	status;

	nd_buf_init(&answer);
	status = node_handle_join(rw.node, data, len, &answer);
	if (status == ND_OK && !answer.failed)
		(void) rw.transport->ops->answer(rw.transport, request_id, answer.data, answer.len);
	else if (status != ND_BUSY)
		(void) rw.transport->ops->answer(rw.transport, request_id, NULL, 0);
	nd_buf_free(&answer);
	return status != ND_BUSY;
}

void
command_request(void *ctx, uint64_t request_id, const uint8_t *data, size_t len)
{
	if (rw.node == NULL)
	{
		(void) rw.transport->ops->answer(rw.transport, request_id, NULL, 0);
		return;
	}
	if (answer_visitor(request_id, data, len))
		return;
	for (int i = 0; i < VISITORS; i++)
		if (visitors[i].request_id == 0)
		{
			visitors[i].data = nd_alloc(len);
			if (visitors[i].data == NULL)
				break;
			memcpy(visitors[i].data, data, len);
			visitors[i].len = len;
			visitors[i].request_id = request_id;
			return;
		}
	(void) rw.transport->ops->answer(rw.transport, request_id, NULL, 0);	/* too many at once: they ask again */
}

void
command_tick(void)
{
	cmd.wait_ticks--;
	cmd.ticks_left--;
	if (rw.node == NULL || rw.transport == NULL)
		return;
	for (int i = 0; i < VISITORS; i++)
		if (visitors[i].request_id != 0 && answer_visitor(visitors[i].request_id, visitors[i].data, visitors[i].len))
		{
			nd_free(visitors[i].data);
			visitors[i].request_id = 0;
		}
}

/* ---- membership and leadership ---- */

static void
run_member_command(NodedbCommand *c)
{
	NdStatus	status;

	if (rw.node == NULL)
	{
		finish(ND_INVALID, "this server is not a node of a cluster");
		return;
	}
	status = c->kind == COMMAND_REMOVE ? node_remove_member(rw.node, c->node) : node_transfer(rw.node, c->group, c->node);
	if (status == ND_OK)
		finish(ND_OK, "done");
	else if (status == ND_NOTLEADER || status == ND_NOLEADER)
		finish(status, "this node does not lead group %d; call the function on its leader (see nodedb.groups)",
			   c->kind == COMMAND_REMOVE ? ND_GROUP_META : (int) c->group);
	else
		finish(status, "refused: %s", nd_status_text(status));
}

/* ---- more data groups ---- */

static void
refuse_growth(NdStatus status)
{
	const NodeGrowth *g = &cmd.growth;

	switch (status)
	{
		case ND_TOOBIG:
			snprintf(cmd.detail, sizeof(cmd.detail), "Node %u has room for %u of them.", g->node, g->room);
			answer(status, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
				   psprintf("Set nodedb.max_groups to %u or more on every node, restart the servers one after another, and try again.", g->n_data_groups + 1),
				   "there is no room for %u data groups", g->n_data_groups);
			break;
		default:
			finish(status, "could not add data groups: %s", nd_status_text(status));
			break;
	}
}

static void
growth_timed_out(const NodedbCommand *c)
{
	const NodeGrowth *g = &cmd.growth;

	if (g->sent)
	{
		snprintf(cmd.detail, sizeof(cmd.detail), "There shall be %u of them. The request was sent, and may still be carried out.", g->n_data_groups);
		answer(ND_NOLEADER, ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN, "See nodedb.groups before you try again.",
			   "could not confirm within %d ms that the data groups are added", c->timeout_ms);
	}
	else if (g->node != 0)
	{
		snprintf(cmd.detail, sizeof(cmd.detail), "Node %u has not said how many it has room for: it is away, or runs a version that cannot add any. Nothing was changed.", g->node);
		answer(ND_NOLEADER, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, psprintf("Start node %u, or remove it with nodedb.remove_node(%u), and try again.", g->node, g->node),
			   "data groups can be added when all nodes have room for them");
	}
	else
	{
		strlcpy(cmd.detail, "No majority of the cluster's nodes has answered. Nothing was changed.", sizeof(cmd.detail));
		answer(ND_NOLEADER, 0, "Try again when the cluster has a majority: see nodedb.nodes.", "could not add data groups within %d ms", c->timeout_ms);
	}
}

/* The caller has the schema changes of the cluster for itself, and with them all other such calls; a command whose caller has gone ends by itself. */
static void
run_grow(NodedbCommand *c)
{
	NdStatus	status;

	if (!cmd.active)
	{
		if (rw.node == NULL)
		{
			finish(ND_INVALID, "this server is not a node of a cluster");
			return;
		}
		memset(&cmd, 0, sizeof(cmd));
		cmd.active = true;
		cmd.ticks_left = c->timeout_ms / TICK_MS;
		cmd.growth.n_data_groups = c->data_groups;
	}
	status = node_add_groups(rw.node, &cmd.growth);
	if (status == ND_OK || (cmd.ticks_left <= 0 && node_data_groups(rw.node) >= c->data_groups))
	{
		raft_worker_count_groups();
		finish(ND_OK, "done");
	}
	else if (status != ND_BUSY)
		refuse_growth(status);
	else if (cmd.ticks_left <= 0)
		growth_timed_out(c);
}

void
command_run(void)
{
	NodedbCommand *c = &nodedb_shared->command;

	if (c->kind == COMMAND_NONE)
		return;
	pg_read_barrier();
	PG_TRY();
	{
		switch (c->kind)
		{
			case COMMAND_INIT:
				run_init(c);
				break;
			case COMMAND_JOIN:
				run_join(c);
				break;
			case COMMAND_REMOVE:
			case COMMAND_TRANSFER:
				run_member_command(c);
				break;
			case COMMAND_GROW:
				run_grow(c);
				break;
			case COMMAND_NONE:
				break;
		}
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		/* Before the node runs nothing depends on this worker: tell the caller, and take back what was begun. */
		if (rw.node != NULL)
			PG_RE_THROW();
		MemoryContextSwitchTo(TopMemoryContext);
		edata = CopyErrorData();
		FlushErrorState();
		raft_worker_disconnect();
		if (rw.store)
			store_close(rw.store);
		rw.store = NULL;
		rw.unborn = false;
		(void) command_unlink_identity();
		status_state(MEMBER_NONE, "not in a cluster");
		elog(LOG, "nodedb: %s", edata->message);
		answer(ND_INVALID, edata->sqlerrcode, edata->hint, "%s", edata->message);
		FreeErrorData(edata);
	}
	PG_END_TRY();
}

void
command_refuse(const char *why)
{
	if (nodedb_shared->command.kind != COMMAND_NONE)
		answer(ND_INVALID, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "See nodedb.status(); restart the server when the cause is mended.",
			   "this node could not start: %s", why);
}
