/*
 * node_kit.h: a few nodes in one process for the tests of the driver: real core, store and certifier; loopback transport, memory disks, ticks by hand.
 * Allocations may fail (nomem_kit.h): what starts a node tries again.
 */
#ifndef ND_NODE_KIT_H
#define ND_NODE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../src/core/base/mutant.h"
#include "../../src/node/node.h"
#include "../../src/transport/loopback.h"
#include "../sim/memvfs.h"

#define KIT_NODES 8
#define KIT_SEEN 4096
#define KIT_ELECTION 10

typedef struct KitSeen
{
	NdGroupId	group;
	uint64_t	index;
	uint64_t	term;
	RaftEntryKind kind;
	bool		replayed;
	bool		has_header;
	bool		local;
	TxnId		txn;
	EntryKind	entry_kind;
	VerdictKind verdict;
	uint32_t	n_parts;
	NodePart	parts[4];
} KitSeen;

typedef struct KitNode
{
	struct Kit *kit;
	NdNodeId	id;
	uint32_t	incarnation;
	MemVfs	   *disk;			/* survives a stop */
	Store	   *store;
	Node	   *node;			/* NULL: down */
	Transport  *transport;
	uint64_t	applied[8];		/* per group: given to node_create() */
	bool		busy;			/* deliver() says ND_BUSY */
	NdGroupId	busy_group;		/* ... for this group; 0: for none */
	bool		busy_meta;		/* ... for group 0 */
	uint32_t	room;			/* > 0: deliver() takes so many more, and is busy then */
	bool		stopped;		/* as by SIGSTOP: no ticks, nothing read, nothing done; connections stay */
	KitSeen    *seen;			/* of this life */
	uint32_t	n_seen;
	/* the last answers */
	uint32_t	failures;
	NodeOutcome outcome;
	NdStatus	reason;
	TxnId		failed_txn;
	uint32_t	turns;			/* of reservations that waited */
	TxnId		turn_txn;
	uint64_t	turn_index;
	uint32_t	reads;
	NdStatus	read_status;
	uint64_t	read_index;
	uint64_t	read_token;
	char		alarm[256];
} KitNode;

typedef struct Kit
{
	LoopbackHub *hub;
	NodeConfig	config;			/* for the next kit_start() */
	uint32_t	n_groups;		/* data groups */
	const NodeSnapshots *snapshots;	/* for the next kit_start(); ctx becomes the KitNode. NULL: the host has none */
	bool		(*filter)(struct Kit *k, KitNode *to, NdNodeId from, const uint8_t *data, size_t len);	/* false: the frame is lost. NULL: all pass */
	KitNode		nodes[KIT_NODES + 1];	/* by id, from 1 */
} Kit;

extern uint64_t kit_segment_bytes;	/* of the next kit_open(); 1 MB */

Kit		   *kit_new(uint32_t n_data_groups);
void		kit_free(Kit *k);
/* n voters from the start, all running. */
Kit		   *kit_cluster(uint32_t n_nodes, uint32_t n_data_groups);
Kit		   *kit_sequencer_cluster(uint32_t n_nodes, uint32_t n_data_groups, const SeqLimits *limits);	/* with a sequencer group; limits NULL: the usual ones */
NodeMember	kit_member(NdNodeId id);
void		kit_open(Kit *k, NdNodeId id);		/* disk and store only */
void		kit_start(Kit *k, NdNodeId id);		/* opens when needed; a higher incarnation each time */
void		kit_stop(Kit *k, NdNodeId id, bool crash);

void		kit_settle(Kit *k);					/* until all frames are read and nothing is left to do */
void		kit_tick(Kit *k, uint32_t ticks);	/* each followed by kit_settle() */
/* Ticks until all nodes that run agree on a leader that runs; 0 when that does not come. */
NdNodeId	kit_leader(Kit *k, NdGroupId group);

NdBlob	   *kit_entry(TxnId txn, uint64_t base, uint64_t key);	/* a TXN that changes one key */
NdStatus	kit_propose(Kit *k, NdNodeId at, NdGroupId group, uint64_t counter, uint64_t base, uint64_t key, uint32_t deadline);
/* How often the TXN (of node `origin`, its present incarnation) was delivered at `at` with this verdict; 0 as verdict: any. */
uint32_t	kit_count(Kit *k, NdNodeId at, NdNodeId origin, uint64_t counter, VerdictKind verdict);
/* A transaction of groups a and b from node `at`, changing `key` in both. */
NdStatus	kit_propose_several(Kit *k, NdNodeId at, uint64_t counter, uint64_t base, uint64_t key, uint32_t deadline, NdGroupId a, NdGroupId b);
/* How often an OUTCOME of it with this verdict was delivered at node `at`, not replayed; *parts: of all of those. */
uint32_t	kit_outcomes(Kit *k, NdNodeId at, NdNodeId origin, uint64_t counter, VerdictKind verdict, uint32_t *parts);
NodeGroupStatus *kit_status(Kit *k, NdNodeId at, NdGroupId group);	/* valid until the next call */
RaftRole	kit_role(Kit *k, NdNodeId at, NdGroupId group, NdNodeId of);	/* -1 as role: not a member */
/* All nodes that run delivered the same (index, term, verdict) per group, in order; fails the test otherwise. */
void		kit_assert_same(Kit *k);

#endif
