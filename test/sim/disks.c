/*
 * disks.c: what goes wrong with disks beside crashes and failed syncs: bytes that change at rest, writes that were lost or went astray, reads that fail, no
 * space; what the operator does about it; and the checks that damage is seen.
 *
 * An injury changes a batch that is durable, in the cache and on the platter. A lost or misdirected write is that, too: seen from the moment when the
 * page cache has forgotten what was written. Excluded is the newest durable flush: if the server dies before the next one, no store can tell it from
 * a torn one (src/store/README.md); while the server lives its scrub can (test/unit/test_store_scrub.c).
 *
 * Invariants:
 * 1. Injured disks count as lost ones: together they are a minority of the voters (faults.c).
 * 2. A store with an injury in a file that is still there does not open, unless what was lost is not needed. A running node with one stops when it meets it, at
 *    the latest when its scrub has gone round; it may go on when nothing needed is lost, and says so.
 * 3. A server that stopped for damage never starts again from that disk.
 */
#include "sim.h"

#include "../../src/store/store_walk.h"

#include <inttypes.h>
#include <stdio.h>

#define BATCHES_MAX 4096

static uint64_t below(Sim *s, uint64_t n)
{
	return nd_random_below(&s->fault_rng, n);
}

static void path_of(const Host *h, uint64_t segment, char out[64])
{
	snprintf(out, 64, "%s/%016" PRIx64 ".seg", h->dir, segment);
}

/* ---- injuries ---- */

typedef struct Batch
{
	uint64_t	segment;
	uint64_t	offset;
	uint64_t	bytes;			/* header and body */
	uint64_t	flush;
} Batch;

/* All batches but those of the two newest flushes: one of them may be under way, the other the newest durable one. */
static uint32_t batches_of(Host *h, Batch *out)
{
	StoreWalk  *w;
	StoreWalkItem item = {0};
	uint64_t	newest = 0;
	uint32_t	n = 0;
	uint32_t	kept = 0;

	if (store_walk_open(memvfs_vfs(h->disk), h->dir, 0, UINT64_MAX, &w) != ND_OK)
		return 0;
	while (n < BATCHES_MAX && store_walk_next(w, &item) == ND_OK && item.kind != STORE_WALK_END)
		if (item.kind == STORE_WALK_BATCH)
		{
			out[n++] = (Batch) {item.segment, item.offset, STORE_BATCH_HEADER + item.batch.body_len, item.batch.flush_seq};
			newest = item.batch.flush_seq > newest ? item.batch.flush_seq : newest;
		}
	store_walk_close(w);
	for (uint32_t i = 0; i < n && n < BATCHES_MAX; i++)
		if (out[i].flush + 2 <= newest)
			out[kept++] = out[i];
	return kept;
}

static void put(Host *h, const char *path, uint64_t offset, uint8_t byte)
{
	uint64_t	len;
	const uint8_t *old = memvfs_bytes(h->disk, path, &len);

	if (offset < len && old[offset] != byte)
		memvfs_flip(h->disk, path, offset, old[offset] ^ byte);
}

static void overwrite(Host *h, const Batch *b, const Batch *with)
{
	char		path[64];
	char		from[64];
	uint64_t	n = with == NULL || with->bytes > b->bytes ? b->bytes : with->bytes;

	path_of(h, b->segment, path);
	if (with != NULL)
		path_of(h, with->segment, from);
	for (uint64_t i = 0; i < n; i++)
	{
		uint64_t	len = 0;
		const uint8_t *source = with != NULL ? memvfs_bytes(h->disk, from, &len) : NULL;

		put(h, path, b->offset + i, source != NULL && with->offset + i < len ? source[with->offset + i] : 0);
	}
}

bool disks_injure(Host *h)
{
	static Batch batches[BATCHES_MAX];
	Sim		   *s = h->sim;
	uint32_t	n = h->n_injuries < SIM_INJURIES_MAX ? batches_of(h, batches) : 0;
	Injury	   *injury = &h->injuries[h->n_injuries];
	StoreStatus status = {0};
	Batch	   *b;
	Batch	   *other;
	char		path[64];

	if (n == 0)
		return false;
	b = &batches[below(s, n)];
	other = &batches[below(s, n)];
	*injury = (Injury) {.kind = (InjuryKind) below(s, INJURY_KINDS), .segment = b->segment, .offset = b->offset, .life = h->life};
	path_of(h, b->segment, path);
	injury->inode = memvfs_inode(h->disk, path);
	if (h->up)
		store_status(h->store, &status);
	injury->rounds = status.scrub_rounds;
	injury->damages = status.damages;
	if (injury->kind == INJURY_MISDIRECTED && other == b)
		injury->kind = INJURY_LOST;
	if (injury->kind == INJURY_FLIP)
	{
		if (below(s, 16) == 0)
			injury->offset = 0;
		memvfs_flip(h->disk, path, injury->offset + below(s, injury->offset ? b->bytes : 40), (uint8_t) (1u << below(s, 8)));
	}
	else if (injury->kind == INJURY_UNREADABLE)
		memvfs_unreadable(h->disk, path, b->offset + below(s, b->bytes), 1);
	else
		overwrite(h, b, injury->kind == INJURY_MISDIRECTED ? other : NULL);
	h->n_injuries++;
	s->injuries++;
	sim_trace(s, T_INJURY, h->id, injury->kind, injury->segment, injury->offset, n, 0);
	return true;
}

static bool exists(Host *h, uint64_t segment)
{
	char		path[64];

	path_of(h, segment, path);
	return memvfs_inode(h->disk, path) != 0;
}

/* What was injured in files that are gone for good concerns nobody any more. */
static void forget_gone(Host *h)
{
	for (uint32_t i = h->n_injuries; i-- > 0;)
	{
		char		path[64];

		path_of(h, h->injuries[i].segment, path);
		if (!memvfs_gone(h->disk, path))
			continue;
		memvfs_mend(h->disk, h->injuries[i].inode);
		h->injuries[i] = h->injuries[--h->n_injuries];
	}
}

void disks_opened(Host *h)
{
	memvfs_fail(h->disk, MEMVFS_READ, 0, 0, ND_OK);
	h->read_armed = false;
	forget_gone(h);
	for (uint32_t i = 0; i < h->n_injuries; i++)
	{
		Injury	   *injury = &h->injuries[i];

		/* Behind the last segment of an unbroken row its small state is repeated: then only live entries count, and recovery counts those. */
		if (exists(h, injury->segment) && exists(h, injury->segment + 1))
			sim_fail(h->sim, "damage unseen", "node %u opens its store over damage (kind %d) in segment %" PRIu64 " at %" PRIu64, h->id, injury->kind,
					 injury->segment, injury->offset);
		injury->life = h->life;
		injury->rounds = injury->damages = 0;
	}
}

void disks_look(Host *h)
{
	StoreStatus status;

	if (h->n_injuries == 0)
		return;
	forget_gone(h);
	store_status(h->store, &status);
	for (uint32_t i = 0; i < h->n_injuries; i++)
		if (h->injuries[i].life == h->life && exists(h, h->injuries[i].segment) && status.scrub_rounds >= h->injuries[i].rounds + 2 && status.damages == h->injuries[i].damages)
			sim_fail(h->sim, "scrub", "node %u has scrubbed its log twice since segment %" PRIu64 " was damaged (kind %d) at %" PRIu64 ", and found nothing",
					 h->id, h->injuries[i].segment, h->injuries[i].kind, h->injuries[i].offset);
}

/* ---- reads, space ---- */

void disks_read_error(Host *h)
{
	if (h->read_armed)
		return;
	h->read_armed = true;
	memvfs_fail(h->disk, MEMVFS_READ, (uint32_t) below(h->sim, 40), 1 + (uint32_t) below(h->sim, 3), ND_IO);
	sim_trace(h->sim, T_FSYNC_ERROR, h->id, 1, 0, 0, 0, 0);
}

/* Nothing more fits, or a segment or two. */
void disks_fill(Host *h)
{
	Sim		   *s = h->sim;

	if (h->full)
		return;
	h->full = true;
	s->full++;
	memvfs_set_space(h->disk, memvfs_used(h->disk) + 1 + below(s, 3) * s->o.store.segment_bytes);
	sim_trace(s, T_FULL, h->id, 0, 0, 0, 0, 0);
	sim_post(s, sim_spread(&s->fault_rng, below(s, 3) ? 300 * SIM_MS : 2 * SIM_S), EV_SPACE, 0, h->id, 0);
}

void disks_free(Host *h)
{
	h->full = false;
	memvfs_set_space(h->disk, 0);
	sim_trace(h->sim, T_SPACE, h->id, 0, 0, 0, 0, 0);
	if (h->up)
		host_kick(h);
}

void disks_heal(Sim *s)
{
	for (NdNodeId id = 1; id < s->next_id; id++)
	{
		memvfs_fail(s->hosts[id].disk, MEMVFS_READ, 0, 0, ND_OK);
		memvfs_set_space(s->hosts[id].disk, 0);
		s->hosts[id].full = false;
	}
}

/* ---- the operator ---- */

bool disks_explain(Host *h, NdStatus status)
{
	Sim		   *s = h->sim;

	if (h->n_injuries > 0 && (status == ND_DAMAGED || status == ND_IO))
	{
		s->found++;
		h->unusable = true;
		sim_trace(s, T_GIVE_UP, h->id, status, 0, 0, 0, 0);
		return true;
	}
	return (h->full && status == ND_FULL) || (h->read_armed && status == ND_IO);
}
