/*
 * shmem.h: shared memory between backends, raft worker, appliers and guard. Who may write which field stands beside it.
 *
 * Three structures:
 *  - a slot per backend: its transaction's state, the request that the raft worker takes, the answer that it gives;
 *  - the ring of tickets: the one commit order of this node. Ticket t is in ring[t % TICKETS]. Tickets pass the turnstile `turn` in order. A ticket has a part
 *    per data group that its transaction changed or read in; parts have a ring of their own;
 *  - per group: the watermark and what the views show.
 *
 * States of a slot (word = request number << 8 | state; every change is one compare-and-swap, so each has exactly one winner):
 *   IDLE      -> SUBMITTED   backend, with a new request number
 *   SUBMITTED -> TAKEN       raft worker: it has copied the request
 *   SUBMITTED, TAKEN -> ABANDONED   backend (error, cancel, termination): whatever comes of the entry belongs to the applier
 *   TAKEN     -> GRANTED | REFUSED | FAILED   raft worker, with the answer written before
 *   GRANTED   -> IDLE        backend: committed, or handed its ticket over
 *   others    -> IDLE        backend
 *
 * Ownership of a ticket (TicketOwner, compare-and-swap): LOCAL -> APPLIER by the backend that aborts; never back. Whoever owns ring[turn] commits it
 * and advances the turnstile: the COMMIT callback (after the commit is visible, before locks are released), or the applier likewise. Of an applier's
 * ticket that a bulk applier works on, the bulk applier does, when the applier has given it the turn (worker/bulk.h).
 *
 * Lost wake-ups cannot happen: the raft worker publishes tickets_end and then sets the owner's latch; whoever advances stores turn and then reads
 * tickets_end and sets the next owner's latch. Either of the two sees the other's store (full barriers between).
 *
 * Watermark of group g: every entry at or below it has its effects visible here. A finished ticket moves those of its parts' groups to its parts' indexes; entries without
 * effect (no-op, configuration, MARKER, abort ...) move it at once when no ticket of the group is open, else when the group's last open ticket finishes (follow_index).
 * It never promises too much, for a ticket advances when its effects are visible. Watermarks and turnstile move together, under watermark_lock: who takes it never sees
 * one moved and the other not, nor a transaction over several groups in one watermark and not in the next.
 *
 * The turnstile moves last: until then the ring's places of the ticket and its parts are not handed out again.
 *
 * Lock order: command_lock -> status_lock; kick_lock -> applying_lock; other spinlocks are leaves.
 */
#ifndef NODEDB_SHMEM_H
#define NODEDB_SHMEM_H

#include "nodedb.h"

#include "core/certifier/certifier.h"
#include "node/node.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"

#define TICKETS 8192			/* power of two */
#define PARTS (2 * TICKETS)		/* power of two */
#define SLOT_INLINE_BYTES 8192	/* larger requests travel in a dynamic shared memory segment */
#define REQUEST_BYTES_MAX (7 << 20)	/* of a transaction over several groups, as one entry (WIRE_ENTRY_BYTES_MAX); what is longer goes ahead as CHUNKs */

typedef enum SlotState
{
	SLOT_IDLE = 0,
	SLOT_SUBMITTED,
	SLOT_TAKEN,
	SLOT_ABANDONED,
	SLOT_GRANTED,				/* TXN, MARKER: commit, in the order of `ticket`; CHUNK, RESERVE, CANCEL: in the log and through the certifier */
	SLOT_REFUSED,				/* `verdict` says why, and `verdict_group` where */
	SLOT_FAILED					/* no verdict: `failure`, `outcome_unknown` */
} SlotState;

typedef struct NodedbSlot
{
	pg_atomic_uint64 word;		/* see above */
	pg_atomic_uint32 queued;	/* 1 while linked in the request list: the request's bytes belong to the raft worker */
	uint32		next_queued;	/* slot number + 1 */

	/* written by the backend: fixed while its process lives */
	int			pid;
	int			pgprocno;

	/* written by the backend, before SUBMITTED */
	NdGroupId	group;
	EntryKind	kind;			/* MARKER: `group` is ND_GROUP_SEQUENCER, the bytes are an encoded REQUEST (seq_entry.h) of this transaction id */
	uint64		counter;		/* of the transaction id; 0 when that transaction is over */
	int			timeout_ms;
	uint32		len;
	dsm_handle	segment;		/* DSM_HANDLE_INVALID: the bytes are in `bytes` */

	/* written by the raft worker, before the state that shows them */
	uint64		index;
	uint64		term;
	uint64		ticket;
	Verdict		verdict;
	NdGroupId	verdict_group;	/* whose log gave the verdict; ABORT_ELSEWHERE: the group that did not vote, or whose reason is not known here; 0: not even which */
	NdStatus	failure;
	bool		outcome_unknown;
	bool		lost_early;		/* refused before its entry came into the log: it may still come, without effect, and ends nothing before */
	pg_atomic_uint64 queued_request;	/* this RESERVE is in the log and waits for its turn: the answer comes with it */

	/* kick-out: written by the guard, under `kick_lock`, together with a check of lxid */
	slock_t		kick_lock;
	LocalTransactionId lxid;	/* backend, under kick_lock: transaction that touched a distributed table; 0 = none */
	bool		committing;		/* backend, under kick_lock: its TXN is about to be proposed, or is: it can only be demoted, no longer doomed */
	LocalTransactionId doomed_lxid;	/* guard: this transaction has to die with 40001 */
	uint64		demoted_request;	/* guard: this request's backend gives up with 40003 */
	uint64		judge_request;	/* guard: the applier waits for this request's transaction: can it be told already that it has lost? */
	long		judge_after;	/* guard: milliseconds since kicked_at, when it asks next */
	int			kicked_pid;		/* guard: what kicked_at and kicks are about */
	LocalTransactionId kicked_lxid;
	bool		kicked_committing;
	TimestampTz	kicked_at;		/* guard */
	int			kicks;			/* guard */
	bool		told;			/* guard: it was signalled */
	char		kicked_schema[NAMEDATALEN];	/* guard, with doomed_lxid: the table that the applier was changing; empty: not known */
	char		kicked_table[NAMEDATALEN];

	char		bytes[SLOT_INLINE_BYTES];
} NodedbSlot;

typedef enum TicketOwner
{
	TICKET_LOCAL = 1,
	TICKET_APPLIER = 2
} TicketOwner;

/* What a ticket brings in one group. Raft worker. */
typedef struct NodedbPart
{
	NdGroupId	group;
	uint64		index;			/* where it takes effect: of the TXN or the OUTCOME */
	uint64		entry;			/* what has its body, and names its chunks: the same TXN, or the MARKER */
	uint64		term;			/* of that entry, as the next */
	StorePosition position;
} NodedbPart;

typedef struct NodedbTicket
{
	pg_atomic_uint32 owner;		/* TicketOwner */
	uint32		slot;			/* LOCAL: slot number */
	uint32		n_parts;		/* 1 or more, in ascending order of groups: ticket_part() */
	uint64		first_part;		/* part p is in nodedb_parts[p % PARTS] */
	uint32		bulk;			/* number + 1 of the bulk applier that works on it (worker/bulk.h); 0: none. Raft worker; the applier takes it away */
} NodedbTicket;

typedef struct NodedbBulk NodedbBulk;

typedef struct NodedbGroup
{
	pg_atomic_uint64 watermark;
	pg_atomic_uint64 shown_wanted;	/* backends: a schema change at this entry waits until all nodes show it */
	pg_atomic_uint64 shown_by_all;	/* raft worker: all connected nodes but this one show entries up to here */
	pg_atomic_uint64 prepared_wanted;	/* backends: a large transaction waits until its pieces up to here are replayed on all nodes */
	pg_atomic_uint64 prepared_by_all;	/* raft worker: all connected nodes but this one have replayed up to here what they replay ahead */
	pg_atomic_uint64 durable;	/* guard: effects up to here survive a crash of this server */
	uint64		last_ticket;	/* raft worker, under watermark_lock, as the next; 0 = none yet */
	uint64		follow_index;	/* watermark after last_ticket */
	uint64		read_wanted;	/* backends, under read_lock: number of the newest read request that asks for this group */
	uint64		read_index;		/* raft worker, under read_lock */
	uint64		start_index;	/* raft worker, under read_lock: what a read round behind this server's start gave; 0 = none yet */
	NodeGroupStatus status;		/* raft worker, under status_lock */
} NodedbGroup;

#define SHOWN_RESERVATIONS 256
#define SHOWN_RELATIONS 8

/* Who owns keys or waits for them, for nodedb.reservations. */
typedef struct NodedbReservation
{
	NdGroupId	group;
	TxnId		txn;
	uint64		index;			/* of its RESERVE or MARKER */
	uint64		since;			/* it owns from behind this entry on; 0: it waits */
	uint64		last;			/* the newest entry when this was written */
	bool		marker;
	uint64		n_keys;
	uint32		n_relations;
	uint64		relations[SHOWN_RELATIONS];	/* hashes of the first few relations among the keys */
} NodedbReservation;

typedef enum MemberState
{
	MEMBER_NONE = 0,			/* no cluster yet: init_cluster() or join_cluster() */
	MEMBER_STARTING,			/* waiting for the ledger and recovery */
	MEMBER_RUNNING,
	MEMBER_QUARANTINED,			/* an entry could not be applied: nothing is applied any more */
	MEMBER_FAILED				/* the log failed: restart the server after mending */
} MemberState;

typedef enum CommandKind
{
	COMMAND_NONE = 0,
	COMMAND_INIT,
	COMMAND_JOIN,
	COMMAND_REMOVE,
	COMMAND_TRANSFER,
	COMMAND_GROW
} CommandKind;

typedef struct NodedbCommand
{
	CommandKind kind;			/* backend that holds command_lock; raft worker sets NONE when done */
	int			pid;
	int			pgprocno;
	uint32		data_groups;	/* INIT, GROW: how many there shall be */
	int			timeout_ms;		/* GROW */
	NdGroupId	group;
	NdNodeId	node;
	char		name[ND_NAME_MAX];
	char		address[ND_ADDRESS_MAX];	/* seed for JOIN */
	char		token[256];
	/* answer */
	pg_atomic_uint32 done;
	NdStatus	status;
	int			sqlerrcode;		/* 0: that of the status */
	char		text[512];		/* what went wrong, or the result (the token of INIT) */
	char		detail[256];	/* may be empty, like the next */
	char		hint[256];		/* what to do about it */
} NodedbCommand;

typedef struct NodedbShared
{
	/* fixed after init */
	uint32		n_slots;
	uint32		max_groups;

	/* raft worker */
	pg_atomic_uint32 member_state;	/* MemberState; guard and applier may set QUARANTINED */
	char		state_text[512];	/* under status_lock: why */
	NdNodeId	self;
	uint32		incarnation;
	uint64		cluster_id;
	pg_atomic_uint64 next_counter;	/* any backend */
	pg_atomic_uint32 n_groups;	/* metadata and data groups: ids below it. The sequencer group is none of them. It grows (node_add_groups()), before any entry of a new group is delivered */
	int			raft_pid;
	bool		raft_started;	/* tickets have been handed out since shared memory was made: their issuer must not be another process */
	Latch	   *raft_latch;		/* set once per worker start */
	int			applier_pgprocno;	/* applier; -1 = none */
	int			applier_pid;	/* 0 = none; claimed under read_lock: there is never more than one */
	int			guard_pid;		/* likewise */
	Latch	   *applier_latch;
	Latch	   *guard_latch;
	pg_atomic_uint32 guard_asleep;	/* guard: it looks only when the applier wakes it */
	bool		ledger_ready;	/* applier: watermarks are loaded from the ledger */

	pg_atomic_uint32 queue_head;	/* slot number + 1 of the newest request; 0 = empty */

	/* turnstile */
	slock_t		watermark_lock; /* moves of `turn` and of all watermarks; last_ticket and follow_index of the groups */
	pg_atomic_uint64 turn;		/* the ticket that may commit next; from 1 */
	pg_atomic_uint64 tickets_end;	/* raft worker: first ticket not handed out */
	pg_atomic_uint64 applier_ticket;	/* applier: first ticket that it is working on, 0 = none */
	pg_atomic_uint64 applier_committing;	/* applier, bulk applier with the turn: first ticket of the batch whose commit has begun and not ended: it may be visible before the
										 * turnstile moves, and the turnstile moves before its invalidations are sent; 0 = none */
	slock_t		applying_lock;	/* the next two */
	char		applying_schema[NAMEDATALEN];	/* applier: table that it is changing, so that who is in its way can be told; empty: none */
	char		applying_table[NAMEDATALEN];
	ConditionVariable applied_cv;	/* the watermark of some group moved */

	/* strong reads */
	slock_t		read_lock;
	uint64		read_requested;	/* backends: number of the newest request */
	uint64		read_started;	/* raft worker */
	uint64		read_done;		/* raft worker: requests up to here are answered: read_index of each group that they asked for */
	uint64		read_failed;	/* raft worker: requests up to here that were not answered have failed */
	ConditionVariable read_cv;
	pg_atomic_uint32 caught_up;	/* raft worker: since its start this server has shown every group's start_index (session/start.c) */

	/* applier asks the raft worker where an entry stands */
	pg_atomic_uint32 find_state;	/* 0 idle, 1 asked, 2 answered */
	NdGroupId	find_group;
	uint64		find_index;
	uint64		find_term;
	StorePosition find_position;
	NdStatus	find_status;

	/* counters for the views; atomic */
	pg_atomic_uint32 builds_changed;	/* ddl/concurrent.c: rows of nodedb.index_builds have changed */
	pg_atomic_uint64 commits_local;
	pg_atomic_uint64 commits_applied;
	pg_atomic_uint64 aborts_conflict;
	pg_atomic_uint64 retries;	/* attempts after the first */
	pg_atomic_uint64 retried;	/* statements that committed after some */
	pg_atomic_uint64 retry_reservations;
	pg_atomic_uint64 handed_over;
	pg_atomic_uint64 kicked;
	pg_atomic_uint64 demoted;
	pg_atomic_uint64 lost_early;
	pg_atomic_uint32 judge;		/* guard: the raft worker looks for judge_requests */
	pg_atomic_uint64 apply_retries;
	pg_atomic_uint64 bulk_applied;
	pg_atomic_uint64 bulk_given_up;
	pg_atomic_uint64 scrub_rounds;	/* raft worker, these three */
	pg_atomic_uint64 scrub_bytes;
	pg_atomic_uint64 log_damages;
	pg_atomic_uint64 sequencer_ordered; /* raft worker, these three: as of what this node has of the sequencer's log */
	pg_atomic_uint64 sequencer_decided;
	pg_atomic_uint64 sequencer_unfinished;

	bool		has_sequencer;	/* fixed before MEMBER_RUNNING is shown */
	NodeGroupStatus sequencer;	/* under status_lock, as the next */
	uint32		n_reservations;	/* raft worker, under status_lock: the first of each group, owners before those who wait */
	NodedbReservation reservations[SHOWN_RESERVATIONS];
	uint32		n_members;
	NodeMember	members[RAFT_MEMBERS_MAX];
	bool		member_connected[RAFT_MEMBERS_MAX];
	uint64		member_shown[RAFT_MEMBERS_MAX];	/* what it has told of the default data group, when it was asked (wait_headway()) */
	NodedbCommand command;

	LWLock	   *command_lock;
	LWLock	   *status_lock;
} NodedbShared;

extern NodedbShared *nodedb_shared;
extern NodedbSlot *nodedb_slots;
extern NodedbTicket *nodedb_tickets;
extern NodedbPart *nodedb_parts;
extern NodedbGroup *nodedb_groups;
extern NodedbBulk *nodedb_bulks;	/* nodedb_bulk_appliers of them */

extern void nodedb_shmem_init(void);		/* _PG_init */

/* This backend's slot, claimed at first use; never NULL once shared memory is there. */
extern NodedbSlot *nodedb_my_slot(void);

/*
 * A worker that there may be only once takes its role; false: another process has it. Two appliers would both commit the ticket at the turnstile.
 */
extern bool worker_claim(int *pid);
extern void worker_leave(int *pid);

extern uint64 nodedb_watermark(NdGroupId group);
/* The same, never between the moves of the turnstile and of the watermarks. */
extern uint64 nodedb_watermark_exact(NdGroupId group);
/* Raft worker: an entry without effect here. */
extern void nodedb_entry_passed(NdGroupId group, uint64 index);
/* The owner of ring[turn] is done with n consecutive tickets from `first` on. */
extern void nodedb_advance(uint64 first, uint32 n);

/* Workers clear their latch when they leave: look once. */
static inline void
nodedb_wake(Latch **at)
{
	Latch	   *latch = *(Latch *volatile *) at;

	if (latch != NULL)
		SetLatch(latch);
}

/* Of a ticket that is open, and as long as it is: i below n_parts. */
static inline const NodedbPart *
ticket_part(const NodedbTicket *t, uint32 i)
{
	return &nodedb_parts[(t->first_part + i) % PARTS];
}

static inline SlotState
slot_state(uint64 word)
{
	return (SlotState) (word & 0xff);
}

static inline uint64
slot_word(uint64 request, SlotState state)
{
	return request << 8 | state;
}

#endif
