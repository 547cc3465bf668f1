/*
 * multiraft.c: when groups sleep. The argument is in multiraft.h.
 */
#include "multiraft.h"

bool multiraft_wake(MultiSleep *s)
{
	bool		slept = s->asleep;

	s->asleep = false;
	s->idle_ticks = 0;
	return slept;
}

/* Does everybody have everything? */
static bool complete(const RaftStatus *status)
{
	if (status->state != RAFT_LEADER || !status->term_committed ||
		status->commit != status->last_index || status->durable_index != status->last_index)
		return false;
	for (uint32_t i = 0; i < status->n_peers; i++)
		if (status->peers[i].match != status->last_index || status->peers[i].snapshotting)
			return false;
	return true;
}

/* `active` begins anew with each quorum check, so for a moment nobody is: such a tick does not count, nor does it start the count again. */
static bool all_active(const RaftStatus *status)
{
	for (uint32_t i = 0; i < status->n_peers; i++)
		if (!status->peers[i].active)
			return false;
	return true;
}

bool multiraft_leader_tick(MultiSleep *s, uint32_t after_ticks, const RaftStatus *status)
{
	if (!complete(status))
	{
		s->idle_ticks = 0;
		return false;
	}
	if (!all_active(status) || ++s->idle_ticks < after_ticks)
		return false;
	s->asleep = true;
	return true;
}

bool multiraft_follow(MultiSleep *s, const RaftStatus *status, NdNodeId from, uint64_t term, uint64_t commit)
{
	if (status->state != RAFT_FOLLOWER || status->leader != from || status->term != term ||
		status->commit != commit || status->last_index != commit || status->durable_index != commit)
		return false;
	s->asleep = true;
	return true;
}
