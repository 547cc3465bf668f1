/*
 * local.c: the states of single nodes by numbers, and what events make of them.
 *
 * Both are kept for the whole search: there are far fewer states of a node than of the world, so the core works out each step once.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t) 1 << 20)

typedef struct Memo
{
	uint64_t	what;			/* state, kind, arg */
	XEffect    *effect;			/* NULL: free */
} Memo;

static struct
{
	XLocal	  **locals;			/* [number] */
	uint32_t	n;
	uint32_t	cap;
	uint32_t   *slots;			/* number + 1; 0: free */
	uint32_t	mask;
	Memo	   *memos;
	uint64_t	memo_mask;
	uint64_t	n_memos;
	uint8_t   **chunks;
	uint32_t	n_chunks;
	size_t		chunk_left;
	size_t		bytes;
}			known;

static void *keep(const void *what, size_t bytes)
{
	size_t		room = (bytes + 15) & ~(size_t) 15;
	uint8_t    *p;

	if (bytes == 0)
		return NULL;
	if (known.chunk_left < room)
	{
		known.chunks = x_need(realloc(known.chunks, (known.n_chunks + 1) * sizeof(*known.chunks)));
		known.chunks[known.n_chunks++] = x_need(malloc(CHUNK));
		known.chunk_left = CHUNK;
		known.bytes += CHUNK;
	}
	p = known.chunks[known.n_chunks - 1] + CHUNK - known.chunk_left;
	known.chunk_left -= room;
	memcpy(p, what, bytes);
	return p;
}

/* ---- states ---- */

static size_t here_bytes(void)
{
	return offsetof(XNode, heap) + x_node.heap_used;
}

static uint32_t *local_slot(const uint64_t hash[2])
{
	uint32_t	at = (uint32_t) hash[0] & known.mask;

	for (; known.slots[at] != 0; at = (at + 1) & known.mask)
	{
		const XLocal *l = known.locals[known.slots[at] - 1];

		if (l->hash[0] == hash[0] && l->hash[1] == hash[1])
			break;
	}
	return &known.slots[at];
}

static void grow_locals(void)
{
	known.cap = known.cap > 0 ? known.cap * 2 : 1024;
	known.locals = x_need(realloc(known.locals, known.cap * sizeof(*known.locals)));
	free(known.slots);
	known.slots = x_need(calloc(known.cap * 2, sizeof(uint32_t)));
	known.mask = known.cap * 2 - 1;
	for (uint32_t i = 0; i < known.n; i++)
		*local_slot(known.locals[i]->hash) = i + 1;
}

static XLocal *make_local(const uint64_t hash[2])
{
	const Raft *r = x_node.raft;
	XEvent		events[X_EVENTS];
	uint64_t	named[X_ORDERS][2];
	XLocal		l = {.hash = {hash[0], hash[1]},.id = x_node.id,.state = (uint8_t) r->state,.term = x_byte(r->term),.hard_term = x_node.hard_term,
	.last = x_node.last,.disk_last = x_node.disk_last,.hears = r->state == RAFT_FOLLOWER && raft__hears_leader(r)};

	l.leader = x_byte(r->leader);
	l.commit = x_byte(r->commit);
	l.matched = x_byte(r->matched);
	for (uint32_t i = 0; i < r->n_peers; i++)
	{
		l.match[r->peers[i].node] = r->state == RAFT_LEADER ? x_byte(r->peers[i].match) : 0;
		l.ballot[r->peers[i].node] = (uint8_t) r->peers[i].ballot;
	}
	memcpy(l.log, x_node.log, sizeof(l.log));
	memcpy(l.disk, x_node.disk, sizeof(l.disk));
	x_pack_configuration(r->config, &l.config);
	l.n_events = (uint16_t) x_node_events(events);
	l.events = keep(events, l.n_events * sizeof(XEvent));
	l.bytes = (uint32_t) here_bytes();
	l.copy = keep(&x_node, l.bytes);
	for (uint32_t k = 0; k < x_orders; k++)
		x_digest_node(k, named[k]);
	l.named = keep(named, x_orders * sizeof(named[0]));
	return keep(&l, sizeof(l));
}

const XLocal *x_local(uint32_t number)
{
	return known.locals[number];
}

uint32_t x_local_here(void)
{
	uint64_t	hash[2];
	uint32_t   *slot;

	x_digest_node(0, hash);
	if (known.n * 2 >= known.mask)
		grow_locals();
	slot = local_slot(hash);
	if (*slot == 0)
	{
		known.locals[known.n] = make_local(hash);
		*slot = ++known.n;
	}
	return *slot - 1;
}

void x_local_restore(uint32_t number)
{
	memcpy(&x_node, known.locals[number]->copy, known.locals[number]->bytes);
}

/* ---- events ---- */

static Memo *memo_slot(uint64_t what)
{
	uint64_t	at = (what * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & known.memo_mask;

	while (known.memos[at].effect != NULL && known.memos[at].what != what)
		at = (at + 1) & known.memo_mask;
	return &known.memos[at];
}

static void grow_memos(void)
{
	Memo	   *old = known.memos;
	uint64_t	n = old != NULL ? known.memo_mask + 1 : 0;

	known.memo_mask = (n > 0 ? n * 2 : 4096) - 1;
	known.memos = x_need(calloc(known.memo_mask + 1, sizeof(Memo)));
	known.bytes += (known.memo_mask + 1 - n) * sizeof(Memo);
	for (uint64_t i = 0; i < n; i++)
		if (old[i].effect != NULL)
			*memo_slot(old[i].what) = old[i];
	free(old);
}

const XEffect *x_effect(uint32_t number, const XEvent *e)
{
	uint64_t	what = (uint64_t) number << 32 | (uint64_t) (e->kind == X_DOUBLE ? X_DELIVER : e->kind) << 24 | e->arg;
	Memo	   *memo;
	XEffect		f;

	if (known.memos == NULL || known.n_memos * 2 >= known.memo_mask)
		grow_memos();
	memo = memo_slot(what);
	if (memo->effect != NULL)
		return memo->effect;
	if (e->arg >> 24 != 0)
	{
		fprintf(stderr, "too many messages: the bound is too large\n");
		exit(2);
	}
	x_local_restore(number);
	x_node_apply(e, &f);
	f.next = f.broken == NULL ? x_local_here() : number;
	f.sent = keep(f.sent, f.n_sent * sizeof(f.sent[0]));
	f.shown = keep(f.shown, f.n_shown * sizeof(f.shown[0]));
	memo->what = what;
	memo->effect = keep(&f, sizeof(f));
	known.n_memos++;
	return memo->effect;
}

uint32_t x_locals(void)
{
	return known.n;
}

size_t x_local_bytes(void)
{
	return known.bytes + known.cap * (sizeof(*known.locals) + 2 * sizeof(uint32_t));
}

void x_local_forget(void)
{
	for (uint32_t i = 0; i < known.n_chunks; i++)
		free(known.chunks[i]);
	free(known.chunks);
	free(known.locals);
	free(known.slots);
	free(known.memos);
	memset(&known, 0, sizeof(known));
}
