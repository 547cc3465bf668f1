/*
 * snapshots.c: the host's side of snapshots: contents that are opened, read, staged and installed.
 *
 * A content is the index, the rows and some ballast. Staged bytes are lost by a crash; install() is one step that no crash undoes (host_replace_table()), after
 * as many refusals as the seed likes. What is installed must be what all entries up to the index left (check_snapshot()).
 */
#include "sim.h"

#include <inttypes.h>
#include <string.h>

#define NO_HANDLE UINT64_MAX

/* ND_OK, or what a call says now and then: it will be made again, or this snapshot ends. */
static NdStatus mood(Sim *s)
{
	if (s->phase >= PHASE_HEAL)
		return ND_OK;
	if (sim_chance(&s->rng, s->o.snapshot_busy))
		return ND_BUSY;
	return s->phase == PHASE_CHAOS && sim_chance(&s->rng, s->o.snapshot_fails) ? ND_FULL : ND_OK;
}

/* The host may crash now, or soon, where it hurts. */
static void maybe_crash(Host *h)
{
	if (h->sim->phase < PHASE_HEAL && sim_chance(&h->sim->fault_rng, h->sim->o.snapshot_crash))
		sim_post(h->sim, sim_spread(&h->sim->fault_rng, h->sim->o.snapshot_us), EV_CRASH, h->id, 0, 0);
}

static void drop(HostSnapshot *p)
{
	nd_buf_free(&p->bytes);
	nd_buf_init(&p->bytes);
	p->used = false;
}

static uint8_t ballast(uint64_t index, uint64_t i)
{
	return (uint8_t) (index * 31 + i * 7);
}

static void encode(const Host *h, HostSnapshot *p)
{
	nd_buf_u64(&p->bytes, p->index);
	for (uint32_t i = 0; i < SIM_KEYS; i++)
		nd_buf_u64(&p->bytes, h->groups[p->group].table[i]);
	for (uint32_t i = 0; i < h->sim->o.snapshot_pad; i++)
		nd_buf_u8(&p->bytes, ballast(p->index, i));
}

static bool decode(const Host *h, const HostSnapshot *p, uint64_t *table)
{
	NdReader	r;
	bool		good;

	nd_reader_init(&r, p->bytes.data, p->bytes.len);
	good = nd_read_u64(&r) == p->index;
	for (uint32_t i = 0; i < SIM_KEYS; i++)
		table[i] = nd_read_u64(&r);
	for (uint32_t i = 0; i < h->sim->o.snapshot_pad; i++)
		good = good && nd_read_u8(&r) == ballast(p->index, i);
	return good && !r.failed && nd_reader_left(&r) == 0;
}

/* ---- sender ---- */

static NdStatus on_open(void *ctx, NdGroupId group, uint64_t at_least, uint64_t *handle, uint64_t *index)
{
	Host	   *h = ctx;
	NdStatus	status = mood(h->sim);
	HostSnapshot *p = NULL;

	*handle = NO_HANDLE;
	if (status != ND_OK)
		return status;
	for (uint32_t i = 0; i < SIM_SNAPSHOTS_MAX && p == NULL; i++)
		if (!h->out[i].used)
		{
			p = &h->out[i];
			*handle = i;
		}
	if (p == NULL)
	{
		sim_fail(h->sim, "snapshot", "node %u has more than %u snapshots open", h->id, SIM_SNAPSHOTS_MAX);
		return ND_BUSY;
	}
	p->used = true;
	p->group = group;
	p->index = *index = h->groups[group].applied;
	if (*index < at_least)
		sim_fail(h->sim, "snapshot", "node %u group %u: rows as of %" PRIu64 " are asked for, the tables are at %" PRIu64, h->id, group, at_least, *index);
	encode(h, p);
	sim_trace(h->sim, T_SNAPSHOT_OPEN, h->id, group, *index, at_least, 0, 0);
	return ND_OK;
}

static NdStatus on_read(void *ctx, uint64_t handle, uint64_t offset, uint8_t *out, uint32_t cap, uint32_t *len, bool *last)
{
	Host	   *h = ctx;
	NdStatus	status = mood(h->sim);
	HostSnapshot *p = handle < SIM_SNAPSHOTS_MAX ? &h->out[handle] : NULL;

	if (status != ND_OK)
		return status;
	if (p == NULL || !p->used || offset > p->bytes.len)
	{
		sim_fail(h->sim, "snapshot", "node %u reads snapshot %" PRIu64 " at %" PRIu64, h->id, handle, offset);
		return ND_INVALID;
	}
	*len = p->bytes.len - offset < cap ? (uint32_t) (p->bytes.len - offset) : cap;
	*last = offset + *len == p->bytes.len;
	memcpy(out, p->bytes.data + offset, *len);
	return ND_OK;
}

static void on_close(void *ctx, uint64_t handle)
{
	Host	   *h = ctx;

	if (handle >= SIM_SNAPSHOTS_MAX || !h->out[handle].used)
		sim_fail(h->sim, "snapshot", "node %u closes snapshot %" PRIu64 ", which is not open", h->id, handle);
	else
		drop(&h->out[handle]);
}

/* ---- receiver ---- */

static NdStatus on_begin(void *ctx, NdGroupId group, uint64_t index)
{
	Host	   *h = ctx;
	NdStatus	status = mood(h->sim);

	if (status != ND_OK)
		return status;
	drop(&h->in[group]);
	h->in[group] = (HostSnapshot) {.used = true, .group = group, .index = index};
	nd_buf_init(&h->in[group].bytes);
	sim_trace(h->sim, T_SNAPSHOT_BEGIN, h->id, group, index, 0, 0, 0);
	maybe_crash(h);
	return ND_OK;
}

static NdStatus on_write(void *ctx, NdGroupId group, uint64_t offset, const uint8_t *data, size_t len)
{
	Host	   *h = ctx;
	HostSnapshot *p = &h->in[group];
	NdStatus	status = mood(h->sim);

	if (status != ND_OK)
		return status;
	if (!p->used || offset != p->bytes.len)
		sim_fail(h->sim, "snapshot", "node %u group %u: bytes at %" PRIu64 " are written behind %zu", h->id, group, offset, p->bytes.len);
	nd_buf_bytes(&p->bytes, data, len);
	return ND_OK;
}

static NdStatus on_install(void *ctx, NdGroupId group)
{
	Host	   *h = ctx;
	HostSnapshot *p = &h->in[group];
	NdStatus	status = mood(h->sim);
	uint64_t	index = p->index;
	uint64_t	table[SIM_KEYS];

	if (p->ready_at == 0)
	{
		p->ready_at = h->sim->now + (h->sim->phase < PHASE_HEAL ? sim_spread(&h->sim->rng, h->sim->o.snapshot_us) : 0);
		maybe_crash(h);
	}
	if (status != ND_OK || h->sim->now < p->ready_at)
		return status != ND_OK ? status : ND_BUSY;
	if (!p->used || !decode(h, p, table))
	{
		sim_fail(h->sim, "snapshot", "node %u group %u: what is installed was never sent", h->id, group);
		return ND_DAMAGED;
	}
	check_snapshot(h, group, index, table);
	if (h->sim->failed)
		return ND_BUSY;
	drop(p);
	sim_trace(h->sim, T_SNAPSHOT_INSTALL, h->id, group, index, 0, 0, 0);
	h->sim->installs++;
	host_replace_table(h, group, index, table);
	return ND_OK;
}

static void on_abort(void *ctx, NdGroupId group)
{
	Host	   *h = ctx;

	sim_trace(h->sim, T_SNAPSHOT_ABORT, h->id, group, h->in[group].index, 0, 0, 0);
	if (!h->in[group].used)
		sim_fail(h->sim, "snapshot", "node %u group %u: a snapshot is aborted that was not begun", h->id, group);
	drop(&h->in[group]);
}

/* ---- life ---- */

void snapshots_init(Host *h, NodeSnapshots *out)
{
	*out = (NodeSnapshots) {on_open, on_read, on_close, on_begin, on_write, on_install, on_abort, h};
	for (uint32_t i = 0; i < SIM_SNAPSHOTS_MAX; i++)
		nd_buf_init(&h->out[i].bytes);
	for (uint32_t i = 0; i < SIM_GROUPS_MAX; i++)
		nd_buf_init(&h->in[i].bytes);
}

void snapshots_lose(Host *h)
{
	for (uint32_t i = 0; i < SIM_SNAPSHOTS_MAX; i++)
		drop(&h->out[i]);
	for (uint32_t i = 0; i < SIM_GROUPS_MAX; i++)
		drop(&h->in[i]);
}
