/*
 * multiraft.h: many groups between the same nodes must cost next to nothing: idle groups sleep.
 *
 * What it owns: when a group may fall asleep and what wakes it. A sleeping group gets no ticks: it neither sends heartbeats nor runs an
 * election timer. Instead the nodes' own keepalives (one per pair of nodes, whatever the number of groups) show that a leader's node lives.
 * Heartbeats of groups that are awake travel together: the driver sends one frame per peer and round (wire.h).
 *
 * Invariants:
 * 1. Safety never depends on ticks, so a group that sleeps by mistake is late, never wrong.
 * 2. A leader sleeps only when every member that is connected has matched its whole log, all of it committed and durable, and has been heard of lately; so
 *    a lagging member keeps the group awake. One that is not connected does not: when it comes, the group wakes.
 * 3. A follower sleeps only at its leader's word, in its leader's term, with the same committed log.
 * 4. Every event but a tick wakes: a message, a proposal, a read, a peer that comes, goes or falls silent.
 */
#ifndef ND_MULTIRAFT_H
#define ND_MULTIRAFT_H

#include "../raft/raft.h"

typedef struct MultiSleep
{
	bool		asleep;
	uint32_t	idle_ticks;		/* since the last event that was no heartbeat */
} MultiSleep;

/* Something happened. Returns true when the group was asleep. */
bool		multiraft_wake(MultiSleep *s);
/* One tick of a group that is awake; status names the peers that are connected. after_ticks > 0. Returns true when the leader falls asleep now: tell the members. */
bool		multiraft_leader_tick(MultiSleep *s, uint32_t after_ticks, const RaftStatus *status);
/* The leader's word. Returns true when the group sleeps now; false: it stays awake, and its election timer will tell the leader. */
bool		multiraft_follow(MultiSleep *s, const RaftStatus *status, NdNodeId from, uint64_t term, uint64_t commit);

#endif
