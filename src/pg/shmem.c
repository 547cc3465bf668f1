/*
 * shmem.c: lays out and initialises the shared memory of shmem.h, and the few operations on it that more than one process performs.
 */
#include "shmem.h"

#include <unistd.h>

#include "ddl/shards_online.h"
#include "session/retry.h"
#include "stop_event.h"
#include "worker/bulk.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

NodedbShared *nodedb_shared = NULL;
NodedbSlot *nodedb_slots = NULL;
NodedbTicket *nodedb_tickets = NULL;
NodedbPart *nodedb_parts = NULL;
NodedbGroup *nodedb_groups = NULL;

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
static NodedbSlot *my_slot = NULL;

extern int	nodedb_max_groups;

static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(NodedbShared));

	size = add_size(size, mul_size(MaxBackends, MAXALIGN(sizeof(NodedbSlot))));
	size = add_size(size, mul_size(TICKETS, MAXALIGN(sizeof(NodedbTicket))));
	size = add_size(size, mul_size(PARTS, MAXALIGN(sizeof(NodedbPart))));
	size = add_size(size, mul_size(nodedb_max_groups, MAXALIGN(sizeof(NodedbGroup))));
	size = add_size(size, retry_limits_size());
	size = add_size(size, bulk_shmem_size());
	size = add_size(size, ddl_shards_shmem_size());
	size = add_size(size, stop_event_shmem_size());
	return size;
}

static void
shmem_request(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("nodedb", 2);
}

/*
 * What a member's backends see until its raft worker says more: they must not take the server for one without a cluster, and give out local
 * sequences' values or run schema changes for themselves.
 */
static MemberState
first_state(void)
{
	char		path[MAXPGPATH];

	if (nodedb_directory[0] != '\0')
		snprintf(path, sizeof(path), "%s/identity", nodedb_directory);
	else
		snprintf(path, sizeof(path), "%s/nodedb/identity", DataDir);
	return access(path, F_OK) == 0 ? MEMBER_STARTING : MEMBER_NONE;
}

static void
shmem_startup(void)
{
	bool		found;
	char	   *p;

	if (prev_shmem_startup)
		prev_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	p = ShmemInitStruct("nodedb", shared_size(), &found);
	nodedb_shared = (NodedbShared *) p;
	p += MAXALIGN(sizeof(NodedbShared));
	nodedb_slots = (NodedbSlot *) p;
	p += mul_size(MaxBackends, MAXALIGN(sizeof(NodedbSlot)));
	nodedb_tickets = (NodedbTicket *) p;
	p += mul_size(TICKETS, MAXALIGN(sizeof(NodedbTicket)));
	nodedb_parts = (NodedbPart *) p;
	p += mul_size(PARTS, MAXALIGN(sizeof(NodedbPart)));
	nodedb_groups = (NodedbGroup *) p;
	p += mul_size(nodedb_max_groups, MAXALIGN(sizeof(NodedbGroup)));

	if (!found)
	{
		NodedbShared *s = nodedb_shared;
		LWLockPadded *locks = GetNamedLWLockTranche("nodedb");

		memset(s, 0, shared_size());
		s->n_slots = MaxBackends;
		s->max_groups = nodedb_max_groups;
		s->applier_pgprocno = -1;
		s->command_lock = &locks[0].lock;
		s->status_lock = &locks[1].lock;
		pg_atomic_init_u32(&s->member_state, first_state());
		pg_atomic_init_u64(&s->next_counter, 1);
		pg_atomic_init_u32(&s->n_groups, 0);
		pg_atomic_init_u32(&s->caught_up, 0);
		pg_atomic_init_u32(&s->queue_head, 0);
		pg_atomic_init_u64(&s->turn, 1);
		pg_atomic_init_u64(&s->tickets_end, 1);
		pg_atomic_init_u64(&s->applier_ticket, 0);
		pg_atomic_init_u32(&s->guard_asleep, 0);
		pg_atomic_init_u64(&s->applier_committing, 0);
		pg_atomic_init_u32(&s->builds_changed, 0);
		pg_atomic_init_u32(&s->find_state, 0);
		pg_atomic_init_u64(&s->commits_local, 0);
		pg_atomic_init_u64(&s->commits_applied, 0);
		pg_atomic_init_u64(&s->aborts_conflict, 0);
		pg_atomic_init_u64(&s->retries, 0);
		pg_atomic_init_u64(&s->retried, 0);
		pg_atomic_init_u64(&s->retry_reservations, 0);
		pg_atomic_init_u64(&s->handed_over, 0);
		pg_atomic_init_u64(&s->kicked, 0);
		pg_atomic_init_u64(&s->demoted, 0);
		pg_atomic_init_u64(&s->lost_early, 0);
		pg_atomic_init_u32(&s->judge, 0);
		pg_atomic_init_u64(&s->apply_retries, 0);
		pg_atomic_init_u64(&s->bulk_applied, 0);
		pg_atomic_init_u64(&s->bulk_given_up, 0);
		pg_atomic_init_u64(&s->scrub_rounds, 0);
		pg_atomic_init_u64(&s->scrub_bytes, 0);
		pg_atomic_init_u64(&s->log_damages, 0);
		pg_atomic_init_u64(&s->sequencer_ordered, 0);
		pg_atomic_init_u64(&s->sequencer_decided, 0);
		pg_atomic_init_u64(&s->sequencer_unfinished, 0);
		pg_atomic_init_u32(&s->command.done, 0);
		SpinLockInit(&s->watermark_lock);
		SpinLockInit(&s->read_lock);
		SpinLockInit(&s->applying_lock);
		ConditionVariableInit(&s->applied_cv);
		ConditionVariableInit(&s->read_cv);
		for (uint32 i = 0; i < s->n_slots; i++)
		{
			pg_atomic_init_u64(&nodedb_slots[i].word, 0);
			pg_atomic_init_u32(&nodedb_slots[i].queued, 0);
			pg_atomic_init_u64(&nodedb_slots[i].queued_request, 0);
			SpinLockInit(&nodedb_slots[i].kick_lock);
		}
		for (uint32 i = 0; i < TICKETS; i++)
			pg_atomic_init_u32(&nodedb_tickets[i].owner, 0);
		for (uint32 i = 0; i < s->max_groups; i++)
		{
			pg_atomic_init_u64(&nodedb_groups[i].watermark, 0);
			pg_atomic_init_u64(&nodedb_groups[i].durable, 0);
			pg_atomic_init_u64(&nodedb_groups[i].shown_wanted, 0);
			pg_atomic_init_u64(&nodedb_groups[i].shown_by_all, 0);
			pg_atomic_init_u64(&nodedb_groups[i].prepared_wanted, 0);
			pg_atomic_init_u64(&nodedb_groups[i].prepared_by_all, 0);
		}
	}
	retry_limits_init(p, found);
	p += retry_limits_size();
	bulk_shmem_init(p, found);
	p += bulk_shmem_size();
	ddl_shards_shmem_init(p, found);
	p += ddl_shards_shmem_size();
	stop_event_shmem_init(p, found);
	LWLockRelease(AddinShmemInitLock);
	retry_init();				/* all libraries are loaded: outside of all their hooks */
}

void
nodedb_shmem_init(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

NodedbSlot *
nodedb_my_slot(void)
{
	if (my_slot == NULL)
	{
		NodedbSlot *slot;
		uint64		word;

		Assert(MyBackendId > 0 && MyBackendId <= MaxBackends);
		slot = &nodedb_slots[MyBackendId - 1];
		SpinLockAcquire(&slot->kick_lock);
		slot->pid = MyProcPid;
		slot->pgprocno = MyProc->pgprocno;
		slot->lxid = 0;
		slot->doomed_lxid = 0;
		slot->kicks = 0;
		SpinLockRelease(&slot->kick_lock);
		/* A predecessor may have died with a request under way: it is abandoned, its number is never used again. */
		word = pg_atomic_read_u64(&slot->word);
		pg_atomic_write_u64(&slot->word, slot_word((word >> 8) + 1, SLOT_IDLE));
		my_slot = slot;
	}
	return my_slot;
}

bool
worker_claim(int *pid)
{
	bool		free;

	SpinLockAcquire(&nodedb_shared->read_lock);
	free = *pid == 0;
	if (free)
		*pid = MyProcPid;
	SpinLockRelease(&nodedb_shared->read_lock);
	return free;
}

void
worker_leave(int *pid)
{
	SpinLockAcquire(&nodedb_shared->read_lock);
	if (*pid == MyProcPid)
		*pid = 0;
	SpinLockRelease(&nodedb_shared->read_lock);
}

uint64
nodedb_watermark(NdGroupId group)
{
	return pg_atomic_read_u64(&nodedb_groups[group].watermark);
}

uint64
nodedb_watermark_exact(NdGroupId group)
{
	uint64		index;

	SpinLockAcquire(&nodedb_shared->watermark_lock);
	index = nodedb_watermark(group);
	SpinLockRelease(&nodedb_shared->watermark_lock);
	return index;
}

static void
move_watermark(NodedbGroup *g, uint64 index)	/* under watermark_lock */
{
	if (index > pg_atomic_read_u64(&g->watermark))
		pg_atomic_write_u64(&g->watermark, index);
}

void
nodedb_entry_passed(NdGroupId group, uint64 index)
{
	NodedbGroup *g = &nodedb_groups[group];
	bool		moved = false;

	SpinLockAcquire(&nodedb_shared->watermark_lock);
	if (pg_atomic_read_u64(&nodedb_shared->turn) > g->last_ticket)
	{
		move_watermark(g, index);
		moved = true;
	}
	else
		g->follow_index = index;
	SpinLockRelease(&nodedb_shared->watermark_lock);
	if (moved)
		ConditionVariableBroadcast(&nodedb_shared->applied_cv);
}

/* Wake whoever may commit now. */
static void
wake_turn(uint64 turn)
{
	NodedbTicket *t;

	pg_memory_barrier();
	if (turn >= pg_atomic_read_u64(&nodedb_shared->tickets_end))
		return;
	t = &nodedb_tickets[turn % TICKETS];
	if (pg_atomic_read_u32(&t->owner) == TICKET_LOCAL)
	{
		int			procno = nodedb_slots[t->slot].pgprocno;

		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
	}
	else
		nodedb_wake(&nodedb_shared->applier_latch);
}

void
nodedb_advance(uint64 first, uint32 n)
{
	NodedbShared *s = nodedb_shared;

	Assert(pg_atomic_read_u64(&s->turn) == first);
	SpinLockAcquire(&s->watermark_lock);
	for (uint64 ticket = first; ticket < first + n; ticket++)
	{
		NodedbTicket *t = &nodedb_tickets[ticket % TICKETS];

		for (uint32 i = 0; i < t->n_parts; i++)
		{
			const NodedbPart *part = ticket_part(t, i);
			NodedbGroup *g = &nodedb_groups[part->group];

			move_watermark(g, part->index);
			if (g->last_ticket == ticket)
				move_watermark(g, g->follow_index);
		}
	}
	pg_atomic_write_u64(&s->turn, first + n);
	SpinLockRelease(&s->watermark_lock);
	wake_turn(first + n);
	ConditionVariableBroadcast(&s->applied_cv);
}

void
nodedb_show_applying(const char *schema, const char *table)
{
	if (nodedb_shared == NULL)
		return;
	SpinLockAcquire(&nodedb_shared->applying_lock);
	strlcpy(nodedb_shared->applying_schema, schema != NULL ? schema : "", NAMEDATALEN);
	strlcpy(nodedb_shared->applying_table, table != NULL ? table : "", NAMEDATALEN);
	SpinLockRelease(&nodedb_shared->applying_lock);
}
