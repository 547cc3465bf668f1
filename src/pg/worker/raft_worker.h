/*
 * raft_worker.h: what the files of the raft worker share. All of it runs in the raft worker's process, on its main thread.
 */
#ifndef NODEDB_RAFT_WORKER_H
#define NODEDB_RAFT_WORKER_H

#include "../shmem.h"

#include "postmaster/bgworker.h"

#define TICK_MS 20
#define COMMIT_LAG_MS 2			/* how long a follower that waits for nothing may not know of a commit when no other message goes there */
#define LINGER_MS 1				/* how long a flush waits for entries that are expected (node_set_linger()) */
#define LINGER_FROM_US 800		/* ... on a disk that is not faster than this */
/* Some 60 MB of memory per group and 10 MB per checkpoint: transactions may lag by 100,000 others before they abort for that. */
#define CERTIFIER_KEYS_MAX 500000
#define CERTIFIER_IDS_MAX 250000
#define CHECKPOINT_EVERY 100000
/* Long enough for a node to be started again; until then nobody else can have what its schema changes reserved. */
#define ORPHAN_MS 10000

typedef struct RaftWorker
{
	Vfs		   *vfs;
	Store	   *store;
	Node	   *node;			/* NULL until this server is a member */
	Transport  *transport;
	uint32		transport_number;	/* counts transports: a new one may have an old one's address */
	StoreIdentity identity;
	CertifierLimits limits;
	char		dir[MAXPGPATH];
	bool		ring_full;		/* a delivery waits for room */
	uint64	   *shown_asked;	/* per group: NodedbGroup.shown_wanted that was asked for */
	uint64	   *prepared_asked;	/* likewise */
	bool		changed;		/* the status in shared memory is stale */
	bool		alarmed;		/* the store failed, and that was said */
	bool		unborn;			/* the identity file says so (raft_worker_command.c); the groups may not be durable yet */
} RaftWorker;

extern RaftWorker rw;

/* raft_worker.c */
extern void raft_worker_start_node(const WireMember *seeds, uint32 n_seeds);	/* identity is in rw; ereports */
/* False: there is no room for one more worker. */
extern bool raft_worker_start_helper(const char *name, const char *function, bool connects, int number, BackgroundWorkerHandle **handle);
extern void raft_worker_log(void *ctx, int level, const char *text);
extern Transport *raft_worker_connect(NdNodeId self, uint64 cluster_id, uint32 incarnation, const char *listen);
extern void raft_worker_disconnect(void);	/* NULL is fine */

/* Metadata and data groups: ids below it; 0: no node. */
extern uint32 raft_worker_groups(void);
extern void raft_worker_count_groups(void);	/* for everybody to see */

/* raft_worker_requests.c: backends' requests and their answers, tickets, reads, look-ups */
extern void requests_init(void);
extern void requests_take(void);
extern void requests_judge(void);	/* who has lost a conflict already hears so, where the guard asks for it */
extern void requests_reads(void);
extern void requests_catch_up(void);	/* until NodedbShared.caught_up: ask for a read index of our own, and look whether it is shown */
extern void requests_finds(void);
extern void requests_tick(void);
extern NdStatus requests_deliver(void *ctx, const NodeDelivery *d);
extern void requests_granted(void *ctx, NdGroupId group, uint64_t index, TxnId txn);
extern void requests_failed(void *ctx, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason);
extern void requests_read_done(void *ctx, NdGroupId group, uint64_t token, NdStatus status, uint64_t index);

/* raft_worker_command.c: founding, joining, membership */
extern void command_run(void);	/* look at the command in shared memory and move it on */
extern void command_request(void *ctx, uint64_t request_id, const uint8_t *data, size_t len);
extern void command_answer(void *ctx, uint64_t request_id, bool ok, const uint8_t *data, size_t len);
extern void command_tick(void);
extern void command_peer_refused(const char *address, const char *text);
extern void command_founded(void);	/* the groups are durable */
extern void command_refuse(const char *why);	/* whatever was asked for: this worker cannot start */
extern NdStatus command_unlink_identity(void);

/* raft_worker_status.c */
extern void status_publish(void);
extern void status_state(MemberState state, const char *fmt,...) pg_attribute_printf(2, 3);

#endif
