/*
 * search.c: depth first through all states; each is entered once, known by its hash.
 *
 * A frame of the stack holds a copy of its world, the events that are possible there, and the one that is under way. The table holds 64 bits for a state:
 * of N states, two share a hash with probability N^2 / 2^65 (a hundred million: one in 3700), and then one would be left out.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Frame
{
	uint8_t    *world;
	size_t		bytes;
	size_t		cap;
	XEvent	   *events;
	uint32_t	n_events;
	uint32_t	next;
} Frame;

static struct
{
	uint64_t   *slots;
	uint64_t	mask;
	uint64_t	used;
}			seen;

static Frame *frames;
static uint32_t cap_frames;

static void *need(void *p)
{
	if (p == NULL)
	{
		fprintf(stderr, "no memory\n");
		exit(2);
	}
	return p;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* True: it is new. */
static bool enter(uint64_t hash)
{
	uint64_t	at;

	hash += hash == 0;
	for (at = hash & seen.mask; seen.slots[at] != 0; at = (at + 1) & seen.mask)
		if (seen.slots[at] == hash)
			return false;
	seen.slots[at] = hash;
	seen.used++;
	return true;
}

/* In another order with every seed: a search that is not complete looks elsewhere first. */
static void shuffle(XEvent *events, uint32_t n, NdRandom *random)
{
	for (uint32_t i = n; i > 1; i--)
	{
		uint32_t	k = (uint32_t) nd_random_below(random, i);
		XEvent		e = events[i - 1];

		events[i - 1] = events[k];
		events[k] = e;
	}
}

static void push(uint32_t depth, uint64_t seed, NdRandom *random)
{
	XEvent		events[X_EVENTS];
	Frame	   *f;

	if (depth >= cap_frames)
	{
		uint32_t	grown = cap_frames * 2 + 64;

		frames = need(realloc(frames, grown * sizeof(Frame)));
		memset(frames + cap_frames, 0, (grown - cap_frames) * sizeof(Frame));
		cap_frames = grown;
	}
	f = &frames[depth];
	f->bytes = x_world_bytes();
	if (f->cap < f->bytes)
	{
		free(f->world);
		f->world = need(malloc(f->bytes));
		f->cap = f->bytes;
	}
	memcpy(f->world, &x_world, f->bytes);
	f->n_events = x_enabled(events);
	f->events = need(realloc(f->events, (f->n_events + 1) * sizeof(XEvent)));
	if (f->n_events > 0)
		memcpy(f->events, events, f->n_events * sizeof(XEvent));
	if (seed != 0)
		shuffle(f->events, f->n_events, random);
	f->next = 0;
}

static void keep_path(XResult *out, uint32_t depth)
{
	out->broken = x_broken;
	out->path_len = depth + 1;
	out->path = need(malloc((depth + 1) * sizeof(XEvent)));
	for (uint32_t i = 0; i <= depth; i++)
		out->path[i] = frames[i].events[frames[i].next - 1];
}

void x_search(uint64_t seed, double seconds_max, size_t table_bytes, XResult *out)
{
	double		began = now();
	uint32_t	depth = 0;
	NdRandom	random;
	bool		dirty = false;	/* x_world is not the world of frames[depth] */

	memset(out, 0, sizeof(*out));
	nd_random_seed(&random, seed);
	if (seen.slots == NULL)
	{
		seen.mask = 1;
		while (seen.mask * 2 * sizeof(uint64_t) <= table_bytes)
			seen.mask *= 2;
		seen.slots = need(calloc(seen.mask--, sizeof(uint64_t)));
	}
	else
		memset(seen.slots, 0, (seen.mask + 1) * sizeof(uint64_t));
	seen.used = 0;
	x_start();
	enter(x_digest());
	push(0, seed, &random);
	out->complete = true;
	for (;;)
	{
		Frame	   *f = &frames[depth];

		if (f->next == f->n_events)
		{
			if (depth-- == 0)
				break;
			dirty = true;
			continue;
		}
		if (dirty)
		{
			memcpy(&x_world, f->world, f->bytes);
			x_restored();
		}
		dirty = true;
		out->transitions++;
		x_apply(&f->events[f->next++]);
		if (x_broken != NULL)
		{
			keep_path(out, depth);
			out->complete = false;
			break;
		}
		if (x_out_of_bound() || !enter(x_digest()))
			continue;
		if (seen.used > seen.mask / 8 * 7 || ((seen.used & 1023) == 0 && now() - began > seconds_max))
		{
			out->complete = false;
			break;
		}
		push(++depth, seed, &random);
		dirty = false;
		if (depth > out->depth)
			out->depth = depth;
	}
	out->states = seen.used;
	out->seconds = now() - began;
}
