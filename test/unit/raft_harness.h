/*
 * raft_harness.h: a few Raft groups with a network and disks in memory, moved by hand. For unit tests and transcripts.
 *
 * A disk keeps writes in order; each becomes durable when flushed (at once with autoflush). A crash drops what was not flushed.
 * Messages wait in one queue per cluster, in order of sending, until delivered, dropped or cut off.
 * After every event raft_check() of the node is looked at, and so are: one leader per term, a leader has all that was committed before,
 * equal committed entries everywhere, and with Harness.majority set: what is taken as committed is on that many disks.
 * What goes wrong first stands in Harness.error.
 */
#ifndef RAFT_HARNESS_H
#define RAFT_HARNESS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/raft/raft.h"

#define H_NODES 8				/* ids 1..7 */
#define H_LOG 2048
#define H_TERMS 256

typedef struct HWrite
{
	uint64_t	truncate_from;
	RaftEntry  *entries;
	uint32_t	n;
	bool		hard_changed;
	RaftHardState hard;
	uint64_t	hard_seq;
	RaftMessage *after;
	uint32_t	n_after;
} HWrite;

typedef struct HNode
{
	Raft	   *raft;			/* NULL: down */
	RaftConfiguration bootstrap;
	uint64_t	first;			/* first entry kept */
	uint64_t	prev_term;
	RaftEntry	log[H_LOG];		/* as handed over; [index] */
	uint64_t	last;
	RaftEntry	disk[H_LOG];	/* what survives a crash */
	uint64_t	disk_last;
	RaftHardState hard;			/* durable */
	HWrite	   *writes;
	uint32_t	n_writes;
	bool		autoflush;
	uint64_t	commit;
	uint64_t	lives;
	uint32_t	priority;		/* for the next h_start() */
	bool		snapshot_needed[H_NODES];	/* by peer */
	RaftReadState reads[64];
	uint32_t	n_reads;
} HNode;

typedef struct Harness
{
	RaftConfig	config;
	HNode		nodes[H_NODES];
	RaftMessage *net;
	uint32_t	n_net;
	uint32_t	cap_net;
	bool		cut[H_NODES][H_NODES];
	NdNodeId	leader_of[H_TERMS];
	struct
	{
		uint64_t	term;
		uint64_t	checksum;
	}			committed[H_LOG];
	uint64_t	max_commit;
	uint32_t	majority;		/* disks that must hold a committed entry; 0 = not looked at */
	uint32_t	largest_append;	/* entries */
	bool		hard_last;		/* of one flush, the hard state is reported behind the entries */
	char		error[256];
	void		(*trace) (void *ctx, const char *what, NdNodeId node, const RaftMessage *m, const RaftUpdate *u);
	void	   *trace_ctx;
} Harness;

#define H_UNUSED __attribute__((unused)) static

H_UNUSED void h_fail(Harness *h, NdNodeId node, const char *what)
{
	if (h->error[0] == '\0')
		snprintf(h->error, sizeof(h->error), "node %u: %s", node, what);
}

/* The harness's own memory never fails: only the core is under test. */
H_UNUSED void *h_alloc(size_t n)
{
	void	   *p = calloc(1, n + 1);

	if (p == NULL)
		exit(2);
	return p;
}

H_UNUSED NdBlob *h_blob(const NdBlob *b)
{
	NdBlob	   *copy;

	if (b == NULL)
		return NULL;
	copy = h_alloc(sizeof(NdBlob) + b->len);
	copy->refs = 1u << 30;		/* never reaches zero in the core: freed by h_blob_free() */
	copy->len = b->len;
	memcpy(copy->data, b->data, b->len);
	return copy;
}

H_UNUSED RaftEntry *h_entries(const RaftEntry *e, uint32_t n)
{
	RaftEntry  *copy = h_alloc(n * sizeof(RaftEntry));

	for (uint32_t i = 0; i < n; i++)
	{
		copy[i] = e[i];
		copy[i].payload = h_blob(e[i].payload);
	}
	return copy;
}

/*
 * Blobs of the harness live until the end of the process' test: the core may hold references to them at any time.
 * They are chained here and freed by h_free().
 */
typedef struct HKeep
{
	struct HKeep *next;
	void	   *p;
} HKeep;
H_UNUSED HKeep *h_kept;

H_UNUSED void h_keep(void *p)
{
	HKeep	   *k;

	if (p == NULL)
		return;
	k = h_alloc(sizeof(HKeep));
	k->p = p;
	k->next = h_kept;
	h_kept = k;
}

H_UNUSED void h_keep_entries(RaftEntry *e, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		h_keep(e[i].payload);
}

H_UNUSED RaftMessage h_copy_message(const RaftMessage *m)
{
	RaftMessage c = *m;

	c.entries = NULL;
	if (m->n_entries > 0)
	{
		c.entries = h_entries(m->entries, m->n_entries);
		h_keep_entries(c.entries, c.n_entries);
		h_keep(c.entries);
	}
	return c;
}

H_UNUSED void h_post(Harness *h, const RaftMessage *m)
{
	if (h->n_net == h->cap_net)
	{
		h->cap_net = h->cap_net * 2 + 64;
		h->net = realloc(h->net, h->cap_net * sizeof(RaftMessage));
		if (h->net == NULL)
			exit(2);
	}
	if (m->n_entries > h->largest_append)
		h->largest_append = m->n_entries;
	h->net[h->n_net++] = h_copy_message(m);
}

H_UNUSED NdStatus h_read_status;	/* what the log's reader says instead of reading */

H_UNUSED NdStatus h_read(void *ctx, uint64_t lo, uint64_t hi, uint64_t bytes_max, RaftEntry *out, uint32_t cap, uint32_t *n)
{
	HNode	   *node = ctx;
	uint64_t	bytes = 0;

	*n = 0;
	if (h_read_status != ND_OK)
		return h_read_status;
	if (lo < node->first)
		return ND_COMPACTED;
	for (uint64_t i = lo; i < hi && *n < cap && i <= node->last; i++)
	{
		uint32_t	len = node->log[i].payload == NULL ? 0 : node->log[i].payload->len;

		if (*n > 0 && bytes + len > bytes_max)
			break;
		bytes += len;
		out[*n] = node->log[i];
		nd_blob_ref(out[*n].payload);
		(*n)++;
	}
	return ND_OK;
}

H_UNUSED void h_check(Harness *h, NdNodeId id)
{
	HNode	   *node = &h->nodes[id];
	RaftStatus	s;
	const char *wrong;

	if (node->raft == NULL)
		return;
	wrong = raft_check(node->raft);
	if (wrong != NULL)
	{
		h_fail(h, id, wrong);
		return;
	}
	raft_status(node->raft, &s);
	if (s.state == RAFT_LEADER && s.term < H_TERMS)
	{
		if (h->leader_of[s.term] != 0 && h->leader_of[s.term] != id)
			h_fail(h, id, "two leaders in one term");
		for (uint64_t i = s.first_index; h->leader_of[s.term] == 0 && i <= h->max_commit; i++)
			if (h->committed[i].term != 0 && raft_term_of(node->raft, i) != h->committed[i].term)
				h_fail(h, id, "a leader without an entry that was committed before");
		h->leader_of[s.term] = id;
	}
}

H_UNUSED uint64_t h_sum(const RaftEntry *e)
{
	return nd_checksum(e->payload == NULL ? "" : (const char *) e->payload->data, e->payload == NULL ? 0 : e->payload->len, e->kind);
}

H_UNUSED uint32_t h_disks_with(const Harness *h, uint64_t index, uint64_t term)
{
	uint32_t	n = 0;

	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		const HNode *node = &h->nodes[id];

		n += index < node->first || (index <= node->disk_last && node->disk[index].term == term);
	}
	return n;
}

/* State machine safety: what one node takes as committed at an index, all do. */
H_UNUSED void h_committed(Harness *h, NdNodeId id, uint64_t commit)
{
	HNode	   *node = &h->nodes[id];

	for (uint64_t i = node->commit + 1; i <= commit && i <= node->last; i++)
	{
		if (i >= node->first)
		{
			if (h->committed[i].term != 0 &&
				(h->committed[i].term != node->log[i].term || h->committed[i].checksum != h_sum(&node->log[i])))
				h_fail(h, id, "different entries committed at one index");
			if (h->committed[i].term == 0 && h_disks_with(h, i, node->log[i].term) < h->majority)
				h_fail(h, id, "committed without a majority of disks");
			h->committed[i].term = node->log[i].term;
			h->committed[i].checksum = h_sum(&node->log[i]);
		}
		node->commit = i;
	}
	if (commit > h->max_commit)
		h->max_commit = commit;
}

/* The oldest write becomes durable. */
H_UNUSED void h_flush_one(Harness *h, NdNodeId id)
{
	HNode	   *node = &h->nodes[id];
	HWrite		w;

	if (node->n_writes == 0)
		return;
	w = node->writes[0];
	memmove(node->writes, node->writes + 1, --node->n_writes * sizeof(HWrite));
	if (w.truncate_from != 0)
		node->disk_last = w.truncate_from - 1;
	for (uint32_t i = 0; i < w.n; i++)
	{
		node->disk[w.entries[i].index] = w.entries[i];
		node->disk_last = w.entries[i].index;
	}
	if (w.hard_changed)
		node->hard = w.hard;
	for (uint32_t i = 0; i < w.n_after; i++)
		h_post(h, &w.after[i]);
	if (node->raft != NULL)
	{
		if (w.hard_changed && !h->hard_last)
			raft_hard_persisted(node->raft, w.hard_seq);
		h_check(h, id);
		if (w.n > 0)
			raft_persisted(node->raft, w.entries[w.n - 1].index, w.entries[w.n - 1].term);
		h_check(h, id);
		if (w.hard_changed && h->hard_last)
			raft_hard_persisted(node->raft, w.hard_seq);
		h_check(h, id);
	}
	free(w.after);
	free(w.entries);
}

/* Take one update of a node and do what a driver does. */
H_UNUSED bool h_update(Harness *h, NdNodeId id)
{
	HNode	   *node = &h->nodes[id];
	RaftUpdate	u;
	HWrite		w;

	if (node->raft == NULL || !raft_has_update(node->raft))
		return false;
	if (raft_take_update(node->raft, &u) != ND_OK)
	{
		h_check(h, id);
		return false;
	}
	if (h->trace != NULL)
		h->trace(h->trace_ctx, "update", id, NULL, &u);
	memset(&w, 0, sizeof(w));
	w.truncate_from = u.truncate_from;
	if (u.truncate_from != 0)
		node->last = u.truncate_from - 1;
	w.n = u.n_entries;
	w.entries = h_entries(u.entries, u.n_entries);
	h_keep_entries(w.entries, w.n);
	for (uint32_t i = 0; i < w.n; i++)
	{
		if (w.entries[i].index != node->last + 1 || w.entries[i].index >= H_LOG)
			h_fail(h, id, "entries to store do not follow on the last one");
		else
		{
			node->log[w.entries[i].index] = w.entries[i];
			node->last = w.entries[i].index;
		}
	}
	w.hard_changed = u.hard_changed;
	w.hard = u.hard;
	w.hard_seq = u.hard_seq;
	for (uint32_t i = 0; i < u.n_messages; i++)
		h_post(h, &u.messages[i]);
	w.n_after = u.n_messages_after;
	w.after = h_alloc(w.n_after * sizeof(RaftMessage));
	for (uint32_t i = 0; i < w.n_after; i++)
		w.after[i] = h_copy_message(&u.messages_after[i]);
	for (uint32_t i = 0; i < u.n_reads && node->n_reads < 64; i++)
		node->reads[node->n_reads++] = u.reads[i];
	if (u.snapshot_needed_index != 0)
		node->snapshot_needed[u.snapshot_peer] = true;
	h_committed(h, id, u.commit);
	raft_update_done(node->raft);
	h_check(h, id);
	if (w.truncate_from == 0 && w.n == 0 && !w.hard_changed && w.n_after == 0)
	{
		free(w.entries);
		free(w.after);
		return true;
	}
	node->writes = realloc(node->writes, (node->n_writes + 1) * sizeof(HWrite));
	if (node->writes == NULL)
		exit(2);
	node->writes[node->n_writes++] = w;
	return true;
}

H_UNUSED void h_step(Harness *h, const RaftMessage *m)
{
	HNode	   *node = &h->nodes[m->to];

	if (m->to >= H_NODES || node->raft == NULL || h->cut[m->from][m->to])
		return;
	if (h->trace != NULL)
		h->trace(h->trace_ctx, "deliver", m->to, m, NULL);
	raft_step(node->raft, m);
	h_check(h, m->to);
}

/* Take the k-th message out of the network. */
H_UNUSED RaftMessage h_take(Harness *h, uint32_t k)
{
	RaftMessage m = h->net[k];

	memmove(h->net + k, h->net + k + 1, (--h->n_net - k) * sizeof(RaftMessage));
	return m;
}

/* Updates of all nodes, and flushes where they are automatic, until nothing is left to do but deliver messages. */
H_UNUSED void h_settle(Harness *h)
{
	bool		again = true;

	for (int round = 0; again && round < 1000; round++)
	{
		again = false;
		for (NdNodeId id = 1; id < H_NODES; id++)
		{
			while (h->error[0] == '\0' && h_update(h, id))
				again = true;
			while (h->nodes[id].autoflush && h->nodes[id].n_writes > 0)
			{
				h_flush_one(h, id);
				again = true;
			}
		}
		if (h->error[0] != '\0')
			return;
	}
	if (again)
		h_fail(h, 0, "updates without end");
}

/* Until nothing moves any more. */
H_UNUSED void h_pump(Harness *h)
{
	h_settle(h);
	for (int i = 0; h->n_net > 0 && h->error[0] == '\0'; i++)
	{
		RaftMessage m = h_take(h, 0);

		h_step(h, &m);
		h_settle(h);
		if (i > 100000)
			h_fail(h, 0, "messages without end");
	}
}

H_UNUSED void h_tick(Harness *h, NdNodeId id, uint32_t n)
{
	for (uint32_t i = 0; i < n && h->nodes[id].raft != NULL; i++)
	{
		raft_tick(h->nodes[id].raft);
		h_check(h, id);
	}
}

/* Ticks of all nodes, with the network running. */
H_UNUSED void h_run(Harness *h, uint32_t ticks)
{
	for (uint32_t i = 0; i < ticks; i++)
	{
		for (NdNodeId id = 1; id < H_NODES; id++)
			h_tick(h, id, 1);
		h_pump(h);
	}
}

H_UNUSED void h_init(Harness *h)
{
	memset(h, 0, sizeof(*h));
	h->config = (RaftConfig) {.group = 7,.election_ticks = 10,.heartbeat_ticks = 1,.append_bytes_max = 1024,.inflight_max = 8,
	.inflight_bytes_max = 4096,.uncommitted_bytes_max = 65536,.seed = 1};
}

/* Start, or start again from what the disk holds. */
H_UNUSED NdStatus h_start(Harness *h, NdNodeId id)
{
	HNode	   *node = &h->nodes[id];
	RaftConfig	config = h->config;
	RaftRestore *restore = h_alloc(sizeof(RaftRestore));
	RaftTermRun runs[H_LOG / 4];
	RaftLog		log = {node, h_read};
	NdStatus	status;

	config.self = id;
	config.priority = node->priority;
	config.seed = h->config.seed * 1000 + id * 10 + node->lives++;
	restore->hard = node->hard;
	restore->first_index = node->first;
	restore->prev_term = node->prev_term;
	restore->last_index = node->disk_last;
	restore->configuration = node->bootstrap;
	restore->configuration_committed = node->bootstrap;
	node->last = node->disk_last;
	node->commit = node->first - 1;
	for (uint64_t i = node->first; i <= node->disk_last; i++)
	{
		node->log[i] = node->disk[i];
		if (restore->n_runs == 0 || runs[restore->n_runs - 1].term != node->disk[i].term)
			runs[restore->n_runs++] = (RaftTermRun) {i, node->disk[i].term};
		if (node->disk[i].kind == RAFT_ENTRY_CONFIG)
		{
			restore->configuration_committed = restore->configuration;
			raft_configuration_decode(node->disk[i].payload->data, node->disk[i].payload->len, &restore->configuration);
		}
	}
	restore->runs = runs;
	status = raft_create(&config, restore, &log, &node->raft);
	free(restore);
	h_check(h, id);
	return status;
}

H_UNUSED void h_crash(Harness *h, NdNodeId id)
{
	HNode	   *node = &h->nodes[id];

	raft_destroy(node->raft);
	node->raft = NULL;
	for (uint32_t i = 0; i < node->n_writes; i++)
	{
		free(node->writes[i].entries);
		free(node->writes[i].after);
	}
	node->n_writes = 0;
}

/* The driver truncates entries below first. */
H_UNUSED void h_compact(Harness *h, NdNodeId id, uint64_t first)
{
	HNode	   *node = &h->nodes[id];

	if (first <= node->first || first > node->disk_last + 1 || raft_compacted(node->raft, first) != ND_OK)
		return;
	for (uint64_t i = node->first; i < first; i++)
		if (node->disk[i].kind == RAFT_ENTRY_CONFIG)
			raft_configuration_decode(node->disk[i].payload->data, node->disk[i].payload->len, &node->bootstrap);
	node->prev_term = node->disk[first - 1].term;
	node->first = first;
	h_check(h, id);
}

/* A snapshot that `from` announced gets to its peer and is installed. False: it is not wanted there. */
H_UNUSED bool h_snapshot(Harness *h, NdNodeId from)
{
	HNode	   *source = &h->nodes[from];
	NdNodeId	to = 1;
	HNode	   *node;
	RaftConfiguration *c;
	RaftStatus	s;
	uint64_t	index;
	bool		ok = false;

	raft_status(source->raft, &s);
	index = s.commit < s.durable_index ? s.commit : s.durable_index;
	while (to < H_NODES - 1 && !source->snapshot_needed[to])
		to++;
	if (!source->snapshot_needed[to])
		return false;
	source->snapshot_needed[to] = false;
	node = &h->nodes[to];
	c = h_alloc(sizeof(RaftConfiguration));
	*c = source->bootstrap;
	for (uint64_t i = source->first; i <= index; i++)
		if (source->log[i].kind == RAFT_ENTRY_CONFIG)
			raft_configuration_decode(source->log[i].payload->data, source->log[i].payload->len, c);
	if (node->raft != NULL && !h->cut[from][to])
	{
		while (node->n_writes > 0)
			h_flush_one(h, to);
		while (h_update(h, to))
			while (node->n_writes > 0)
				h_flush_one(h, to);
		ok = raft_snapshot_installed(node->raft, index, raft_term_of(source->raft, index), c) == ND_OK;
	}
	if (ok)
	{
		node->first = index + 1;
		node->prev_term = raft_term_of(source->raft, index);
		node->last = node->disk_last = index;
		node->bootstrap = *c;
		node->commit = index;
	}
	free(c);
	h_check(h, to);
	raft_snapshot_sent(source->raft, to, ok ? index : 0);
	h_check(h, from);
	return ok;
}

H_UNUSED void h_member(RaftConfiguration *c, NdNodeId node, RaftRole role)
{
	uint32_t	at = c->n++;

	while (at > 0 && c->members[at - 1].node > node)
	{
		c->members[at] = c->members[at - 1];
		at--;
	}
	memset(&c->members[at], 0, sizeof(RaftMember));
	c->members[at].node = node;
	c->members[at].role = role;
}

/* Nodes 1..n start as voters of each other. */
H_UNUSED void h_cluster(Harness *h, uint32_t n)
{
	RaftConfiguration *c = h_alloc(sizeof(RaftConfiguration));

	for (NdNodeId id = 1; id <= n; id++)
		h_member(c, id, RAFT_VOTER);
	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		h->nodes[id].first = 1;
		h->nodes[id].autoflush = true;
		if (id <= n)
		{
			h->nodes[id].bootstrap = *c;
			h_start(h, id);
		}
	}
	free(c);
}

H_UNUSED void h_free(Harness *h)
{
	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		h_crash(h, id);
		free(h->nodes[id].writes);
	}
	free(h->net);
	while (h_kept != NULL)
	{
		HKeep	   *k = h_kept;

		h_kept = k->next;
		free(k->p);
		free(k);
	}
}

H_UNUSED NdStatus h_propose(Harness *h, NdNodeId id, const char *text)
{
	NdBlob	   *b = h_alloc(sizeof(NdBlob) + strlen(text));
	uint64_t	index;
	uint64_t	term;
	NdStatus	status;

	b->refs = 1u << 30;
	b->len = (uint32_t) strlen(text);
	memcpy(b->data, text, b->len);
	h_keep(b);
	status = raft_propose(h->nodes[id].raft, &b, 1, &index, &term);
	h_check(h, id);
	return status;
}

/* Deliver what waits from one node to another, answers to it excluded. */
H_UNUSED uint32_t h_deliver(Harness *h, NdNodeId from, NdNodeId to)
{
	uint32_t	n = h->n_net;
	uint32_t	done = 0;

	for (uint32_t k = 0, seen = 0; seen < n; seen++)
	{
		if (h->net[k].from == from && h->net[k].to == to)
		{
			RaftMessage m = h_take(h, k);

			h_step(h, &m);
			done++;
		}
		else
			k++;
	}
	h_settle(h);
	return done;
}

/* Lose what waits from one node to another; 0 is any. */
H_UNUSED uint32_t h_drop(Harness *h, NdNodeId from, NdNodeId to)
{
	uint32_t	lost = 0;

	for (uint32_t k = 0; k < h->n_net;)
		if ((from == 0 || h->net[k].from == from) && (to == 0 || h->net[k].to == to))
		{
			h_take(h, k);
			lost++;
		}
		else
			k++;
	return lost;
}

/* The newest waiting message of a kind from one node to another, or NULL. */
H_UNUSED const RaftMessage *h_find(const Harness *h, RaftMessageType type, NdNodeId from, NdNodeId to)
{
	for (uint32_t k = h->n_net; k > 0; k--)
		if (h->net[k - 1].type == type && h->net[k - 1].from == from && h->net[k - 1].to == to)
			return &h->net[k - 1];
	return NULL;
}

/* Make a node stand for election at once, whoever leads: as after a transfer when it knows a leader. */
H_UNUSED void h_stand(Harness *h, NdNodeId id)
{
	RaftStatus	s;

	raft_status(h->nodes[id].raft, &s);
	if (s.leader != 0 && s.leader != id)
	{
		RaftMessage m = {.type = RAFT_MSG_TIMEOUT_NOW,.group = h->config.group,.from = s.leader,.to = id,.term = s.term};

		raft_step(h->nodes[id].raft, &m);
	}
	else
		raft_campaign(h->nodes[id].raft);
	h_check(h, id);
	h_settle(h);
}

H_UNUSED NdNodeId h_leader(const Harness *h)
{
	NdNodeId	leader = 0;
	uint64_t	term = 0;

	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		RaftStatus	s;

		if (h->nodes[id].raft == NULL)
			continue;
		raft_status(h->nodes[id].raft, &s);
		if (s.state == RAFT_LEADER && s.term > term)
		{
			term = s.term;
			leader = id;
		}
	}
	return leader;
}

H_UNUSED void h_cut(Harness *h, NdNodeId a, NdNodeId b, bool cut)
{
	h->cut[a][b] = h->cut[b][a] = cut;
}

/* Cut a node off from all others, or let it back. */
H_UNUSED void h_isolate(Harness *h, NdNodeId id, bool cut)
{
	for (NdNodeId other = 1; other < H_NODES; other++)
		if (other != id)
			h_cut(h, id, other, cut);
}

#endif
