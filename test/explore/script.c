/*
 * script.c: a path that breaks something, made short, as a script that a person can read.
 */
#include "explore.h"

#include <string.h>

static const char *const type_names[] = {"?", "PREVOTE", "PREVOTE_REPLY", "VOTE", "VOTE_REPLY", "APPEND", "APPEND_REPLY", "HEARTBEAT",
	"HEARTBEAT_REPLY", "SNAPSHOT", "SNAPSHOT_REPLY", "TIMEOUT_NOW", "READ_INDEX", "READ_INDEX_REPLY"};
static const char *const state_names[] = {"follower", "pre-candidate", "candidate", "leader"};
static const char *const kind_names[] = {"noop", "data", "config"};

static void show_message(const XMessage *m)
{
	printf("%u->%u %s term %u", m->from, m->to, type_names[m->type], m->term);
	switch (m->type)
	{
		case RAFT_MSG_PREVOTE:
		case RAFT_MSG_VOTE:
			printf(" last %u/%u%s", m->index, m->log_term, m->context != 0 ? " transfer" : "");
			break;
		case RAFT_MSG_APPEND:
			printf(" prev %u/%u commit %u", m->index, m->log_term, m->commit);
			for (uint32_t i = 0; i < m->n_entries; i++)
				printf(" %u/%u %s", m->index + 1 + i, m->entries[i].term, kind_names[m->entries[i].kind]);
			break;
		case RAFT_MSG_APPEND_REPLY:
			printf(m->reject ? " rejected %u hint %u/%u" : " index %u", m->index, m->hint_index, m->hint_term);
			break;
		case RAFT_MSG_HEARTBEAT:
			printf(" commit %u round %u", m->commit, m->context);
			break;
		case RAFT_MSG_HEARTBEAT_REPLY:
			printf(" round %u", m->context);
			break;
		case RAFT_MSG_READ_INDEX:
			printf(" context %u", m->context);
			break;
		case RAFT_MSG_READ_INDEX_REPLY:
			printf(" context %u index %u", m->context, m->commit);
			break;
		default:
			break;
	}
	printf("%s\n", m->reject && m->type != RAFT_MSG_APPEND_REPLY ? " refused" : "");
}

static void show_event(const XEvent *e)
{
	switch ((XKind) e->kind)
	{
		case X_DELIVER:
			printf("deliver ");
			show_message(x_message(e->arg));
			break;
		case X_DOUBLE:
			printf("deliver, and again later ");
			show_message(x_message(e->arg));
			break;
		case X_DELIVER_LATE:
			printf("%u has not heard its leader for long, deliver ", e->node);
			show_message(x_message(e->arg));
			break;
		case X_FLUSH:
			printf("flush %u\n", e->node);
			break;
		case X_FLUSH_ALL:
			printf("flush %u, all at once\n", e->node);
			break;
		case X_UPDATE:
			printf("update %u\n", e->node);
			break;
		case X_EXPIRE:
			printf("election timeout of %u\n", e->node);
			break;
		case X_TICK:
			printf("tick %u\n", e->node);
			break;
		case X_PROPOSE:
			printf("propose %u\n", e->node);
			break;
		case X_CHANGE:
			printf("change the configuration at %u to voters", e->node);
			for (uint32_t id = 1; id <= x_bound.nodes; id++)
				if (x_bound.targets[e->arg] >> id & 1)
					printf(" %u", id);
			printf("\n");
			break;
		case X_TRANSFER:
			printf("transfer %u to %u\n", e->node, e->arg);
			break;
		case X_READ:
			printf("read at %u\n", e->node);
			break;
		case X_CRASH:
			printf("crash and restart %u", e->node);
			if (e->arg > 0)
				printf(", of its oldest write %u entries are on the disk", e->arg - 1);
			printf("\n");
			break;
	}
}

static void show_node(NdNodeId id, uint32_t number)
{
	const XNode *node = &x_node;
	const Raft *r = node->raft;

	x_local_restore(number);
	printf("      %u %s of term %u, voted for %u, leader %u, commit %u, log", id, state_names[r->state], (unsigned) r->term, r->vote, r->leader,
		   (unsigned) r->commit);
	for (uint32_t i = 1; i <= node->last; i++)
		printf(" %u/%u%s", i, node->log[i].term, i == r->log.durable ? "|" : "");
	printf(", disk %u/%u, log to %u\n", node->hard_term, node->hard_vote, node->disk_last);
}

void x_show_path(const XEvent *path, uint32_t n)
{
	static XWorld w;

	x_start(&w);
	for (uint32_t i = 0; i < n && x_broken == NULL; i++)
	{
		if (!x_possible(&w, &path[i]))
		{
			printf("this event is not possible here: ");
			show_event(&path[i]);
			return;
		}
		x_apply(&w, &path[i]);
		printf("%3u %s", i + 1, path[i].kind <= X_DELIVER_LATE ? "" : "> ");
		show_event(&path[i]);
		show_node(path[i].node, w.local[path[i].node]);
	}
	printf("BROKEN %s\n", x_broken != NULL ? x_broken : "nothing");
}

/* Replay what is possible of the path without the events from..to-1. Returns how many events were needed to break something, 0: nothing broke. */
static uint32_t replay_without(const XEvent *path, uint32_t n, uint32_t from, uint32_t to, XEvent *out)
{
	static XWorld w;
	uint32_t	done = 0;

	x_start(&w);
	for (uint32_t i = 0; i < n; i++)
	{
		if ((i >= from && i < to) || !x_possible(&w, &path[i]))
			continue;
		x_apply(&w, &path[i]);
		out[done++] = path[i];
		if (x_broken != NULL)
			return done;
		if (x_out_of_bound(&w))
			return 0;
	}
	return 0;
}

uint32_t x_shorten(XEvent *path, uint32_t n, const char **broken)
{
	static XEvent out[4096];

	if (n > 4096)
		return n;
	for (uint32_t size = n / 2; size > 0; size = size > 1 ? (size + 1) / 2 : 0)
		for (uint32_t from = 0; from < n;)
		{
			uint32_t	shorter = replay_without(path, n, from, from + size, out);

			if (shorter > 0 && shorter < n)
			{
				memcpy(path, out, shorter * sizeof(XEvent));
				n = shorter;
				*broken = x_broken;
			}
			else
				from += size;
		}
	return n;
}
