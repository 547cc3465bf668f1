/*
 * init.c: the entry point of the preloaded library: settings, shared memory, hooks, the raft worker's registration.
 *
 * Invariant: nothing here, and nothing this library links, starts a thread or loads gRPC: backends fork from a process that has neither.
 */
#include "nodedb.h"

#include "ddl/ddl.h"
#include "sequence/sequence.h"
#include "session/session.h"
#include "shmem.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nodedb must be loaded at server start"),
				 errhint("Add nodedb to shared_preload_libraries and restart the server.")));

	nodedb_guc_init();
	nodedb_shmem_init();
	session_init();
	start_init();
	sequence_init();
	ddl_init();

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_name, "nodedb raft worker", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "nodedb raft worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, "nodedb_worker", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "nodedb_raft_worker_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
