/*
 * raft_worker_status.c: copies what the views show into shared memory.
 */
#include "raft_worker.h"

#include "../placement.h"

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

static void
publish_reservations(void)
{
	NodedbShared *s = nodedb_shared;

	s->n_reservations = 0;
	for (NdGroupId g = 1; g < raft_worker_groups(); g++)
	{
		CertifierReservation r;

		for (uint64 i = 0; s->n_reservations < SHOWN_RESERVATIONS && node_reservation(rw.node, g, i, &r); i++)
		{
			NodedbReservation *to = &s->reservations[s->n_reservations++];

			*to = (NodedbReservation) {.group = g, .txn = r.txn, .index = r.index, .since = r.since, .last = nodedb_watermark(g), .marker = r.marker, .n_keys = r.n_keys};
			for (uint64 k = 0; k < r.n_keys && to->n_relations < SHOWN_RELATIONS; k++)
				if (r.keys[k].mode >= KEY_REL_ACCESS_SHARE)
					to->relations[to->n_relations++] = r.keys[k].hash;
		}
	}
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
		s->member_shown[i] = node_shown_by(rw.node, PLACEMENT_DEFAULT, members[i].node);
	}
	for (uint32 i = 0; i < node_group_count(rw.node); i++)
	{
		NodeGroupStatus gs;

		if (node_group_status(rw.node, i, &gs) != ND_OK)
			continue;
		if (gs.group == ND_GROUP_SEQUENCER)
			s->sequencer = gs;
		else
			nodedb_groups[gs.group].status = gs;
	}
	publish_reservations();
	LWLockRelease(s->status_lock);
	raft_worker_count_groups();
	if (node_sequencer(rw.node) != NULL)
	{
		pg_atomic_write_u64(&s->sequencer_ordered, sequencer_position(node_sequencer(rw.node)));
		pg_atomic_write_u64(&s->sequencer_decided, sequencer_decision(node_sequencer(rw.node)));
		pg_atomic_write_u64(&s->sequencer_unfinished, sequencer_unfinished(node_sequencer(rw.node)));
	}
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
