/*
 * raft_worker.c: the background worker that runs the node: its life and its loop.
 *
 * It owns the log store, the transport and the node driver; it has no database connection and takes no PostgreSQL lock but the two of shmem.h.
 * Everything it learns it tells through shared memory. Threads: the transport's and the log's, which touch nothing of PostgreSQL.
 *
 * Life: no identity file -> wait for init_cluster() or join_cluster(); identity file -> check it, take a higher incarnation, open the log, start
 * applier and guard, wait until the applier has read the ledger, run.
 *
 * An error that reaches the main function is treated like a server crash (exit code 2): tickets in shared memory would have no issuer, so
 * PostgreSQL reinitialises everything, and the log is replayed (DESIGN.md, rules that were only missing, 14).
 */
#include "raft_worker.h"
#include "raft_worker_bulk.h"

#include <time.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void nodedb_raft_worker_main(Datum arg);

RaftWorker	rw;

void
raft_worker_log(void *ctx, int level, const char *text)
{
	elog(level >= 2 ? WARNING : level == 1 ? LOG : DEBUG1, "nodedb: %s", text);
}

static uint64
monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- callbacks of transport and node ---- */

static void
on_frame(void *ctx, NdNodeId from, const uint8_t *data, size_t len)
{
	if (rw.node)
		node_frame(rw.node, from, data, len);
}

static void
on_peer_up(void *ctx, NdNodeId peer, uint32_t incarnation)
{
	elog(LOG, "nodedb: connected to node %u (incarnation %u)", peer, incarnation);
	rw.changed = true;
	if (rw.node)
		node_peer_up(rw.node, peer, incarnation);
}

static void
on_peer_down(void *ctx, NdNodeId peer)
{
	elog(LOG, "nodedb: lost the connection to node %u", peer);
	rw.changed = true;
	if (rw.node)
		node_peer_down(rw.node, peer);
}

static void
on_refused(void *ctx, const char *peer_address, const char *text)
{
	elog(WARNING, "nodedb: connection with %s refused: %s", peer_address, text);
	command_peer_refused(peer_address, text);
}

static void
on_changed(void *ctx)
{
	rw.changed = true;
}

static uint64_t
applied(void *ctx, NdGroupId group)
{
	return group < nodedb_shared->max_groups ? nodedb_watermark(group) : 0;
}

static const char *
none_if_empty(const char *s)
{
	return s != NULL && s[0] != '\0' ? s : NULL;
}

Transport *
raft_worker_connect(NdNodeId self, uint64 cluster_id, uint32 incarnation, const char *listen)
{
	TransportConfig config;
	TransportCallbacks callbacks;
	Transport  *t = NULL;
	char		error[256] = "";
	NdStatus	status;

	memset(&config, 0, sizeof(config));
	config.cluster_id = cluster_id;
	config.self = self;
	config.incarnation = incarnation;
	config.listen = listen;
	config.tls_cert_file = none_if_empty(nodedb_tls_cert_file);
	config.tls_key_file = none_if_empty(nodedb_tls_key_file);
	config.tls_ca_file = none_if_empty(nodedb_tls_ca_file);
	config.send_queue_bytes_max = 64 << 20;
	config.receive_queue_bytes_max = 64 << 20;
	config.keepalive_ms = 1000;
	memset(&callbacks, 0, sizeof(callbacks));
	callbacks.frame = on_frame;
	callbacks.peer_up = on_peer_up;
	callbacks.peer_down = on_peer_down;
	callbacks.refused = on_refused;
	callbacks.request = command_request;
	callbacks.answer = command_answer;
	callbacks.log = raft_worker_log;
	status = transport_grpc_create(&config, &callbacks, &t, error, sizeof(error));
	if (status != ND_OK)
		ereport(ERROR,
				(errcode(nodedb_sqlstate(status)),
				 errmsg("could not open the node port: %s", error[0] ? error : nd_status_text(status)),
				 errhint("See nodedb.listen and the nodedb.tls_... settings.")));
	rw.transport_number++;
	return t;
}

void
raft_worker_disconnect(void)
{
	if (rw.transport)
		rw.transport->ops->destroy(rw.transport);
	rw.transport = NULL;
	rw.transport_number++;
}

uint32
raft_worker_groups(void)
{
	return rw.node == NULL ? 0 : node_data_groups(rw.node) + 1;
}

void
raft_worker_count_groups(void)
{
	pg_atomic_write_u32(&nodedb_shared->n_groups, raft_worker_groups());
}

/* ---- start ---- */

/* The same before the node runs. */
static uint32
groups_in_store(void)
{
	uint32		n = store_groups(rw.store, NULL, 0);
	NdGroupId  *ids = palloc(sizeof(NdGroupId) * (n + 1));

	store_groups(rw.store, ids, n);
	n -= n > 0 && ids[n - 1] == ND_GROUP_SEQUENCER;
	pfree(ids);
	return n;
}

static BackgroundWorkerHandle *applier_handle = NULL;
static BackgroundWorkerHandle *guard_handle = NULL;

bool
raft_worker_start_helper(const char *name, const char *function, bool connects, int number, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;
	MemoryContext old;
	bool		registered;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | (connects ? BGWORKER_BACKEND_DATABASE_CONNECTION : 0);
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	/* Not PostgreSQL but mind_helpers() starts it again: after a crash of a backend PostgreSQL would, and then our successor a second one. */
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	snprintf(worker.bgw_name, BGW_MAXLEN, "nodedb %s", name);
	snprintf(worker.bgw_type, BGW_MAXLEN, "nodedb %s", name);
	strlcpy(worker.bgw_library_name, "nodedb", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
	worker.bgw_main_arg = Int32GetDatum(number);
	old = MemoryContextSwitchTo(TopMemoryContext);	/* the handle: process life */
	registered = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(old);
	return registered;
}

static void
start_needed(const char *name, const char *function, bool connects, BackgroundWorkerHandle **handle)
{
	if (!raft_worker_start_helper(name, function, connects, 0, handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start nodedb's %s", name),
				 errhint("Raise max_worker_processes by 4.")));
}

/* Applier and guard run as long as the node does: start those that do not. */
static void
mind_helpers(void)
{
	pid_t		pid;

	if (applier_handle == NULL || GetBackgroundWorkerPid(applier_handle, &pid) == BGWH_STOPPED)
		start_needed("applier", "nodedb_applier_main", true, &applier_handle);
	if (guard_handle == NULL || GetBackgroundWorkerPid(guard_handle, &pid) == BGWH_STOPPED)
		start_needed("guard", "nodedb_guard_main", false, &guard_handle);
}

static void
wait_for_ledger(void)
{
	while (!nodedb_shared->ledger_ready)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		mind_helpers();			/* e.g. the database does not exist yet */
		if (ShutdownRequestPending)
			proc_exit(1);
	}
}

void
raft_worker_start_node(const WireMember *seeds, uint32 n_seeds)
{
	NodeConfig	config;
	NodeCallbacks callbacks;
	char		error[256] = "";
	NdStatus	status;

	if (groups_in_store() > nodedb_shared->max_groups)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("the log holds %u groups, but nodedb.max_groups is %u", groups_in_store(), nodedb_shared->max_groups),
				 errhint("Raise nodedb.max_groups and restart the server.")));
	status_state(MEMBER_STARTING, "reading the ledger");
	nodedb_shared->self = rw.identity.node;
	nodedb_shared->incarnation = rw.identity.incarnation;
	nodedb_shared->cluster_id = rw.identity.cluster_id;
	nodedb_shared->raft_started = true;
	mind_helpers();
	wait_for_ledger();

	status_state(MEMBER_STARTING, "opening the log");
	memset(&config, 0, sizeof(config));
	config.self = rw.identity.node;
	config.incarnation = rw.identity.incarnation;
	config.cluster_id = rw.identity.cluster_id;
	config.tick_ms = TICK_MS;
	config.election_ticks = Max(5, nodedb_election_timeout / TICK_MS);
	config.heartbeat_ticks = Max(1, config.election_ticks / 8);
	config.append_bytes_max = 1 << 20;
	config.inflight_max = 256;
	config.inflight_bytes_max = 16 << 20;
	config.uncommitted_bytes_max = 64 << 20;
	config.certifier = rw.limits;
	config.checkpoint_every = CHECKPOINT_EVERY;
	config.sleep_after_ticks = 2 * config.election_ticks;
	config.orphan_ticks = ORPHAN_MS / TICK_MS;
	config.scrub_bytes_per_s = (uint64) nodedb_scrub_rate << 10;
	config.sequencer = SEQ_LIMITS_DEFAULT;
	config.sequencer.groups_max = ENTRY_GROUPS_MAX; /* a schema change is a transaction over all groups */
	config.sequencer.request_bytes_max = REQUEST_BYTES_MAX;
	config.groups_max = Min(nodedb_shared->max_groups - 1, ENTRY_GROUPS_MAX);
	config.seed = rw.identity.host_id ^ rw.identity.incarnation;
	memset(&callbacks, 0, sizeof(callbacks));
	callbacks.deliver = requests_deliver;
	callbacks.granted = requests_granted;
	callbacks.proposal_failed = requests_failed;
	callbacks.read_done = requests_read_done;
	callbacks.changed = on_changed;
	callbacks.log = raft_worker_log;
	status = node_create(&config, rw.store, &callbacks, applied, &rw.node, error, sizeof(error));
	if (status != ND_OK)
		ereport(ERROR, (errcode(nodedb_sqlstate(status)), errmsg("could not start the node: %s", error[0] ? error : nd_status_text(status))));
	/* The ledger ends with the last transaction. What the checkpoint holds behind it changed no table, and is not delivered again. */
	for (uint32 i = 1; i < raft_worker_groups(); i++)
	{
		NodeGroupStatus gs;

		if (node_group_status(rw.node, i, &gs) == ND_OK)
			nodedb_entry_passed(gs.group, gs.applied_start);
	}
	if (n_seeds > 0)
		(void) node_set_seed_peers(rw.node, seeds, n_seeds);
	node_set_transport(rw.node, rw.transport);
	raft_worker_count_groups();
	nodedb_shared->has_sequencer = node_sequencer(rw.node) != NULL;
	status_state(MEMBER_RUNNING, "running");
	status_publish();
	elog(LOG, "nodedb: node %u of cluster %016llx started, incarnation %u", rw.identity.node,
		 (unsigned long long) rw.identity.cluster_id, rw.identity.incarnation);
}

/* What to do about files that cannot be used as they are. */
static const char *
repair_hint(NdStatus status)
{
	switch (status)
	{
		case ND_VERSION:
			return "A newer version of nodedb wrote this. Nothing was changed: install that version again.";
		case ND_WRONG_CLUSTER:
			return "Nothing was changed. Each server needs a log directory of its own (nodedb.directory).";
		case ND_DAMAGED:
			return "Nothing was changed, and the other nodes go on. Restore the file if you can; otherwise remove this node with nodedb.remove_node() "
				"on another one, and join as a new node from a new data directory.";
		case ND_FULL:
			return "Free space on the log's disk and restart the server. The other nodes go on.";
		default:
			return "The other nodes go on without this one. If the log cannot be mended, remove this node with nodedb.remove_node() on another one, and "
				"join as a new node from a new data directory.";
	}
}

/*
 * This server was a member when it stopped: prove that it still is the same one, and start. Nothing is written before the log has proved to be whole,
 * and nothing else is begun before the node port is open: until then this server can refuse to take part without harm.
 */
static void
resume_member(uint64 inode)
{
	StoreConfig config;
	char		error[1024] = "";
	NdStatus	status;

	if (rw.identity.host_id != GetSystemIdentifier())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the log in \"%s\" belongs to another PostgreSQL server", rw.dir),
				 errhint("Each server needs a log directory of its own (nodedb.directory).")));
	if (rw.identity.inode != 0 && inode != 0 && rw.identity.inode != inode)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this data directory is a copy of node %u's", rw.identity.node),
				 errdetail("The identity file in \"%s\" is not the one that was written there.", rw.dir),
				 errhint("A copy must not take part as its own twin. If the original is there, use that, and do not start this copy. "
						 "If it is gone for good, remove node %u with nodedb.remove_node() on another node, and join as a new node from a new data directory.",
						 rw.identity.node)));
	memset(&config, 0, sizeof(config));
	config.dir = rw.dir;
	config.cluster_id = rw.identity.cluster_id;
	config.node = rw.identity.node;
	config.segment_bytes = (uint64) nodedb_segment_size << 20;
	config.cache_bytes = (uint64) nodedb_log_cache << 20;
	config.record_bytes_max = 12 << 20;
	status = store_open(rw.vfs, &config, &rw.store, error, sizeof(error));
	if (status != ND_OK)
		ereport(ERROR,
				(errcode(nodedb_sqlstate(status)),
				 errmsg("could not open the replicated log: %s", error[0] ? error : nd_status_text(status)),
				 errhint("%s", repair_hint(status))));
	if (store_groups(rw.store, NULL, 0) == 0)
	{
		store_close(rw.store);
		rw.store = NULL;
		/* What a member has acknowledged must not be forgotten: it would vote for nodes that lack it. */
		if (rw.identity.incarnation > 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the replicated log of node %u in \"%s\" is gone", rw.identity.node, rw.dir),
					 errhint("%s", repair_hint(ND_DAMAGED))));
		/* Founding or joining was cut off before the groups were durable: nothing was promised to anybody. */
		(void) command_unlink_identity();
		status_state(MEMBER_NONE, "not in a cluster");
		return;
	}
	/* 1 was this node's first life, even if it ended before the identity file said so. */
	rw.identity.incarnation = Max(rw.identity.incarnation, 1) + 1;
	status = store_identity_write(rw.vfs, rw.dir, &rw.identity);
	if (status != ND_OK)
		ereport(ERROR,
				(errcode(nodedb_sqlstate(status)),
				 errmsg("could not write the identity of this node in \"%s\": %s", rw.dir, nd_status_text(status)),
				 errhint("%s", repair_hint(status))));
	rw.transport = raft_worker_connect(rw.identity.node, rw.identity.cluster_id, rw.identity.incarnation, nodedb_listen);
	raft_worker_start_node(NULL, 0);
}

/* This worker cannot run: say why until the server is restarted, and refuse what backends ask for. */
static void
wait_as_failed(const char *message, const char *hint)
{
	if (pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_QUARANTINED)
		status_state(MEMBER_FAILED, "%s%s%s", message, hint ? ". Hint: " : "", hint ? hint : "");
	raft_worker_disconnect();
	while (!ShutdownRequestPending)
	{
		command_refuse(message);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static void
at_exit(int code, Datum arg)
{
	nodedb_shared->raft_latch = NULL;
	nodedb_shared->raft_pid = 0;
	raft_worker_disconnect();
}

/* ---- loop ---- */

static WaitEventSet *
wait_set(void)
{
	/* Process life. */
	WaitEventSet *set = CreateWaitEventSet(TopMemoryContext, 4);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, vfs_posix_fd(rw.vfs), NULL, NULL);
	if (rw.transport)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, rw.transport->ops->fd(rw.transport), NULL, NULL);
	return set;
}

/* Large transactions that wait until all nodes have replayed their pieces, here and elsewhere. */
static void
follow_prepared(NdGroupId g)
{
	NodedbGroup *group = &nodedb_groups[g];
	uint64		wanted = pg_atomic_read_u64(&group->prepared_wanted);
	uint64		all;

	node_prepared(rw.node, g, bulk_prepared(g));
	if (wanted == 0)
		return;
	if (wanted != rw.prepared_asked[g])
	{
		rw.prepared_asked[g] = wanted;
		node_ask_prepared(rw.node, g, wanted);
	}
	all = node_prepared_by_all(rw.node, g);
	if (all == pg_atomic_read_u64(&group->prepared_by_all))
		return;
	pg_atomic_write_u64(&group->prepared_by_all, all);
	ConditionVariableBroadcast(&nodedb_shared->applied_cv);
}

/* Schema changes that wait until all nodes show them, here and elsewhere. True: look again in a moment. */
static bool
follow_shown(void)
{
	bool		awaited = false;

	for (NdGroupId g = 1; g < raft_worker_groups(); g++)
	{
		NodedbGroup *group = &nodedb_groups[g];
		uint64		wanted = pg_atomic_read_u64(&group->shown_wanted);
		uint64		all;

		awaited |= node_shown(rw.node, g, nodedb_watermark(g));
		follow_prepared(g);
		if (wanted == 0)
			continue;
		if (wanted != rw.shown_asked[g])
		{
			rw.shown_asked[g] = wanted;
			node_ask_shown(rw.node, g, wanted);
		}
		all = node_shown_by_all(rw.node, g);
		if (all == pg_atomic_read_u64(&group->shown_by_all))
			continue;
		pg_atomic_write_u64(&group->shown_by_all, all);
		ConditionVariableBroadcast(&nodedb_shared->applied_cv);
	}
	return awaited;
}

static void
loop(void)
{
	WaitEventSet *set = wait_set();
	uint32		set_transport = rw.transport_number;
	uint64		next_tick = monotonic_ms() + TICK_MS;
	uint64		next_status = 0;
	uint64		next_durable = 0;
	uint64		tell_commit = 0;
	uint64		linger_end = 0;
	bool		awaited = false;
	MemoryContext message_context = AllocSetContextCreate(TopMemoryContext, "nodedb raft worker", ALLOCSET_DEFAULT_SIZES);

	MemoryContextSwitchTo(message_context);
	while (!ShutdownRequestPending)
	{
		WaitEvent	events[4];
		uint64		now = monotonic_ms();
		long		timeout = next_tick > now ? (long) (next_tick - now) : 0;

		if (rw.ring_full)
			timeout = Min(timeout, 1);
		if (awaited)
			timeout = Min(timeout, 1);
		if (tell_commit != 0)
			timeout = Min(timeout, tell_commit > now ? (long) (tell_commit - now) : 0);
		if (linger_end != 0)
			timeout = Min(timeout, linger_end > now ? (long) (linger_end - now) : 0);
		if (set_transport != rw.transport_number)
		{
			FreeWaitEventSet(set);
			set = wait_set();
			set_transport = rw.transport_number;
		}
		(void) WaitEventSetWait(set, timeout, events, lengthof(events), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(message_context);

		if (rw.transport)
			rw.transport->ops->poll(rw.transport);
		requests_take();
		requests_judge();
		requests_catch_up();
		requests_reads();
		requests_finds();
		now = monotonic_ms();
		if (now >= next_tick)
		{
			/* After a stall the missed ticks are not made up for: peers' words that came meanwhile stand in the queue just polled. */
			next_tick = now + TICK_MS;
			if (rw.node)
			{
				node_tick(rw.node);
				requests_tick();
			}
			command_tick();
		}
		command_run();
		if (rw.node == NULL)
			continue;
		rw.ring_full = false;
		if (tell_commit != 0 && now >= tell_commit)
			node_tell_commit(rw.node);
		node_set_linger(rw.node, vfs_posix_job_us(rw.vfs) >= LINGER_FROM_US && (linger_end == 0 || now < linger_end));
		awaited = follow_shown();
		for (int i = 0; i < 16 && node_work(rw.node); i++)
			;
		if (!node_lingers(rw.node))
			linger_end = 0;
		else if (linger_end == 0)
			linger_end = now + LINGER_MS;
		if (!node_commit_untold(rw.node))
			tell_commit = 0;
		else if (tell_commit == 0 || now >= tell_commit)
			tell_commit = now + COMMIT_LAG_MS;
		if (now >= next_durable)
		{
			next_durable = now + 1000;
			node_set_scrub_rate(rw.node, (uint64) nodedb_scrub_rate << 10);
			mind_helpers();
			bulk_mind();
			for (NdGroupId g = 1; g < raft_worker_groups(); g++)
				node_applied_durable(rw.node, g, pg_atomic_read_u64(&nodedb_groups[g].durable), (uint64) nodedb_log_keep << 20);
		}
		if (rw.changed || now >= next_status)
		{
			next_status = now + 200;
			status_publish();
			if (rw.unborn)
				command_founded();
		}
	}
}

void
nodedb_raft_worker_main(Datum arg)
{
	uint64		inode = 0;
	NdStatus	status;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	/* A successor of one that gave out tickets: let PostgreSQL begin anew, with fresh shared memory. */
	if (nodedb_shared->raft_started)
		proc_exit(2);
	memset(&rw, 0, sizeof(rw));
	rw.limits.keys_max = CERTIFIER_KEYS_MAX;
	rw.limits.ids_max = CERTIFIER_IDS_MAX;
	/* Process life. */
	rw.shown_asked = MemoryContextAllocZero(TopMemoryContext, sizeof(uint64) * nodedb_shared->max_groups);
	rw.prepared_asked = MemoryContextAllocZero(TopMemoryContext, sizeof(uint64) * nodedb_shared->max_groups);
	nodedb_shared->raft_pid = MyProcPid;
	nodedb_shared->raft_latch = MyLatch;
	before_shmem_exit(at_exit, (Datum) 0);

	PG_TRY();
	{
		requests_init();
		if (nodedb_directory[0] != '\0')
			strlcpy(rw.dir, nodedb_directory, sizeof(rw.dir));
		else
			snprintf(rw.dir, sizeof(rw.dir), "%s/nodedb", DataDir);
		status = vfs_posix_create(&rw.vfs);
		if (status == ND_OK)
			status = rw.vfs->ops->mkdir(rw.vfs, rw.dir);
		if (status == ND_OK)
		{
			status = store_identity_read(rw.vfs, rw.dir, &rw.identity, &inode);
			if (status == ND_OK)
				resume_member(inode);
			else if (status == ND_NOTFOUND)
				status = ND_OK;
		}
		if (status != ND_OK)
			ereport(ERROR,
					(errcode(nodedb_sqlstate(status)),
					 errmsg("could not read the identity of this node in \"%s\": %s", rw.dir, nd_status_text(status)),
					 errhint("%s", repair_hint(status))));
		loop();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(TopMemoryContext);
		edata = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		if (rw.node == NULL)
		{
			/* Never started: nothing depends on this worker. A restart of the server tries again. */
			wait_as_failed(edata->message, edata->hint);
			proc_exit(0);
		}
		proc_exit(2);
	}
	PG_END_TRY();
	/* Not 0, which would mean "never again": if only this process was told to end, its successor has to come. */
	proc_exit(1);
}
