/*
 * search.c: depth first through all states; each is entered once (seen.c).
 *
 * A frame of the stack holds a world, the events that are possible there, and the one that is under way.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Frame
{
	XWorld	   *world;			/* as far as its bag goes */
	uint32_t	cap_bag;
	XEvent	   *events;
	uint32_t	cap_events;
	uint32_t	n_events;
	uint32_t	next;
} Frame;

static Frame *frames;
static uint32_t cap_frames;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
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

static size_t world_bytes(const XWorld *w)
{
	return offsetof(XWorld, bag) + w->n_bag * sizeof(w->bag[0]);
}

static void push(uint32_t depth, const XWorld *w, uint64_t seed, NdRandom *random)
{
	static XEvent events[X_WORLD_EVENTS];
	Frame	   *f;

	if (depth >= cap_frames)
	{
		uint32_t	grown = cap_frames * 2 + 64;

		frames = x_need(realloc(frames, grown * sizeof(Frame)));
		memset(frames + cap_frames, 0, (grown - cap_frames) * sizeof(Frame));
		cap_frames = grown;
	}
	f = &frames[depth];
	if (f->world == NULL || f->cap_bag < w->n_bag)
	{
		free(f->world);
		f->cap_bag = w->n_bag + 16;
		f->world = x_need(malloc(offsetof(XWorld, bag) + f->cap_bag * sizeof(w->bag[0])));
	}
	memcpy(f->world, w, world_bytes(w));
	f->n_events = x_enabled(w, events);
	if (f->cap_events < f->n_events || f->events == NULL)
	{
		f->cap_events = f->n_events + 16;
		f->events = x_need(realloc(f->events, f->cap_events * sizeof(XEvent)));
	}
	memcpy(f->events, events, f->n_events * sizeof(XEvent));
	if (seed != 0)
		shuffle(f->events, f->n_events, random);
	f->next = 0;
}

static void keep_path(XResult *out, uint32_t depth)
{
	out->broken = x_broken;
	out->path_len = depth + 1;
	out->path = x_need(malloc((depth + 1) * sizeof(XEvent)));
	for (uint32_t i = 0; i <= depth; i++)
		out->path[i] = frames[i].events[frames[i].next - 1];
}

void x_search(uint64_t seed, double seconds_max, size_t bytes_max, XResult *out)
{
	double		began = now();
	uint32_t	depth = 0;
	NdRandom	random;
	static XWorld w;
	static XDigest digest;

	memset(out, 0, sizeof(*out));
	nd_random_seed(&random, seed);
	x_forget();
	x_local_forget();
	x_message_forget();
	x_name_nodes();
	x_start(&w);
	x_digest(&w, &digest);
	x_enter(&digest);
	out->states = 1;
	push(0, &w, seed, &random);
	out->complete = true;
	for (;;)
	{
		Frame	   *f = &frames[depth];
		const XEvent *e;

		if (f->next == f->n_events)
		{
			if (depth-- == 0)
				break;
			continue;
		}
		e = &f->events[f->next++];
		out->transitions++;
		if (x_idle(f->world, e))
			continue;
		memcpy(&w, f->world, world_bytes(f->world));
		x_apply(&w, e);
		if (x_broken != NULL)
		{
			keep_path(out, depth);
			out->complete = false;
			break;
		}
		if (x_out_of_bound(&w))
			continue;
		x_digest(&w, &digest);
		if (!x_enter(&digest))
			continue;
		out->states++;
		if ((out->states & 1023) == 0 && (now() - began > seconds_max || x_seen_bytes() + x_local_bytes() + x_message_bytes() > bytes_max))
		{
			out->complete = false;
			break;
		}
		push(++depth, &w, seed, &random);
		if (depth > out->depth)
			out->depth = depth;
	}
	out->keys = x_seen_keys();
	out->locals = x_locals();
	out->seconds = now() - began;
}
