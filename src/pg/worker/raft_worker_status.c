/*
 * raft_worker_status.c: copies what the views show into shared memory.
 */
#include "raft_worker.h"

void
status_state(MemberState state, const char *fmt,...)
{
	va_list		args;

	LWLockAcquire(nodedb_shared->status_lock, LW_EXCLUSIVE);
	va_start(args, fmt);
	vsnprintf(nodedb_shared->state_text, sizeof(nodedb_shared->state_text), fmt, args);
	va_end(args);
	LWLockRelease(nodedb_shared->status_lock);
	pg_atomic_write_u32(&nodedb_shared->member_state, state);
	ConditionVariableBroadcast(&nodedb_shared->applied_cv);
}

void
status_publish(void)
{
	NodedbShared *s = nodedb_shared;
	NodeMember	members[RAFT_MEMBERS_MAX];
	uint32		n;
	NdStatus	failure;
	StoreStatus log;

	if (rw.node == NULL)
		return;
	n = node_members(rw.node, members, RAFT_MEMBERS_MAX);
	LWLockAcquire(s->status_lock, LW_EXCLUSIVE);
	s->n_members = Min(n, RAFT_MEMBERS_MAX);
	for (uint32 i = 0; i < s->n_members; i++)
	{
		s->members[i] = members[i];
		s->member_connected[i] = members[i].node == s->self ||
			(rw.transport != NULL && rw.transport->ops->connected(rw.transport, members[i].node));
	}
	for (uint32 i = 0; i < node_group_count(rw.node) && i < s->max_groups; i++)
	{
		NodeGroupStatus gs;

		if (node_group_status(rw.node, i, &gs) == ND_OK && gs.group < s->max_groups)
			nodedb_groups[gs.group].status = gs;
	}
	LWLockRelease(s->status_lock);
	pg_atomic_write_u32(&s->n_groups, Min(node_group_count(rw.node), s->max_groups));
	store_status(rw.store, &log);
	pg_atomic_write_u64(&s->scrub_rounds, log.scrub_rounds);
	pg_atomic_write_u64(&s->scrub_bytes, log.scrub_bytes);
	pg_atomic_write_u64(&s->log_damages, log.damages);
	rw.changed = false;

	if (node_failed(rw.node, &failure) && !rw.alarmed)
	{
		const char *what = failure == ND_DAMAGED && log.damage != NULL ? log.damage : nd_status_text(failure);

		rw.alarmed = true;
		status_state(MEMBER_FAILED, "the replicated log failed: %s", what);
		ereport(LOG,
				(errmsg("nodedb: the replicated log failed: %s; this node takes no part any more", what),
				 failure == ND_DAMAGED ?
				 errhint("Remove this node with nodedb.remove_node() on another one, mend its disk, and join as a new node from a new data directory. "
						 "The other nodes go on without it.") :
				 errhint("Mend the disk and restart the server. The other nodes go on without it.")));
	}
}
