/*
 * store.c: the store's life: open, close, what recovery found, status.
 *
 * Owns struct Store. See store.h for the contract, store_internal.h for who does what, store_format.h for the bytes and the recovery argument.
 */
#include "store_internal.h"

#include <stdio.h>
#include <string.h>

#define SEGMENT_BYTES_MIN (16 * 1024)	/* tests use small ones; servers 1 MB and up */
#define SEGMENT_BYTES_MAX (UINT64_C(1) << 30)
#define RECORD_BYTES_MAX (UINT32_C(1) << 30)

NdStatus store_open(Vfs *vfs, const StoreConfig *config, Store **out, char *error, size_t error_len)
{
	Store	   *s;
	NdStatus	st;

	*out = NULL;
	if (error_len > 0)
		error[0] = 0;
	if (strlen(config->dir) + 40 > STORE_PATH_MAX || config->segment_bytes < SEGMENT_BYTES_MIN || config->segment_bytes > SEGMENT_BYTES_MAX ||
		config->record_bytes_max > RECORD_BYTES_MAX)
	{
		snprintf(error, error_len, "the log's directory name is too long, or segment or record size is out of range");
		return ND_INVALID;
	}
	s = nd_zalloc(sizeof(Store));
	if (s == NULL)
	{
		snprintf(error, error_len, "out of memory");
		return ND_NOMEM;
	}
	s->vfs = vfs;
	memcpy(s->dir, config->dir, strlen(config->dir) + 1);
	s->cluster_id = config->cluster_id;
	s->node = config->node;
	s->segment_bytes = store__round_up(config->segment_bytes, STORE_SECTOR);
	s->cache_limit = config->cache_bytes;
	s->record_bytes_max = config->record_bytes_max;
	s->gather_seq = 1;
	nd_buf_init(&s->scratch);
	st = vfs->ops->mkdir(vfs, s->dir);
	if (st != ND_OK)
		snprintf(error, error_len, "could not create directory %s: %s", s->dir, nd_status_text(st));
	else
		st = store__recover(s, error, error_len);
	if (st == ND_OK)
	{
		st = store__begin(s);
		if (st == ND_OK)
		{
			store__segment_maintain(s);
			st = s->failed;
		}
		if (st != ND_OK)
			snprintf(error, error_len, "could not begin to write in %s: %s", s->dir, nd_status_text(st));
	}
	if (st != ND_OK)
	{
		store_close(s);
		return st;
	}
	*out = s;
	return ND_OK;
}

static void parts_free(StoreParts *parts)
{
	for (uint32_t k = 0; k < parts->cap; k++)
		nd_free(parts->v[k].data);
	nd_free(parts->v);
}

void store_close(Store *s)
{
	if (s == NULL)
		return;
	if (s->in_flight)
		s->vfs->ops->drain(s->vfs);
	/* counts of segments are of no use any more, but groups still refer to them: groups go first */
	for (uint32_t k = 0; k < s->n_groups; k++)
		store__group_free(s, s->groups[k]);
	nd_free(s->groups);
	store__segments_free(s);
	parts_free(&s->gathering);
	parts_free(&s->flying);
	nd_free(s->writes);
	store__scrub_free(s);
	nd_buf_free(&s->scratch);
	nd_free(s);
}

uint32_t store_groups(const Store *s, NdGroupId *out, uint32_t cap)
{
	for (uint32_t k = 0; k < s->n_groups && k < cap; k++)
		out[k] = s->groups[k]->id;
	return s->n_groups;
}

static NdStatus configuration_at(const StoreGroup *g, uint32_t k, RaftConfiguration *out)
{
	const StoreConfigurationAt *at = &g->configurations[k];
	NdStatus	st = raft_configuration_decode(at->encoded->data, at->encoded->len, out);

	out->index = at->index;
	return st == ND_INVALID ? ND_DAMAGED : st;
}

NdStatus store_restore(Store *s, NdGroupId group, RaftRestore *out)
{
	const StoreGroup *g = store__group_find(s, group);
	uint32_t	newest;
	uint32_t	committed;
	NdStatus	st;

	if (s->failed != ND_OK)
		return s->failed;
	if (g == NULL)
		return ND_NOTFOUND;
	memset(out, 0, sizeof(*out));
	out->hard = g->hard;
	out->first_index = g->first_index;
	out->prev_term = g->prev_term;
	out->last_index = g->last_index;
	out->runs = g->runs;
	out->n_runs = g->n_runs;
	newest = committed = g->n_configurations - 1;
	/* only entries that are still there can be uncommitted: what is below first_index was committed */
	if (newest > 0 && g->configurations[newest].index >= g->first_index && g->configurations[newest].index > g->hard.commit)
		committed--;
	st = configuration_at(g, newest, &out->configuration);
	return st == ND_OK ? configuration_at(g, committed, &out->configuration_committed) : st;
}

NdStatus store_configuration(const Store *s, NdGroupId group, uint64_t index, RaftConfiguration *out)
{
	const StoreGroup *g = store__group_find(s, group);
	uint32_t	k;

	if (g == NULL || index + 1 < g->first_index || index > g->last_index)
		return ND_NOTFOUND;
	for (k = g->n_configurations; k > 0 && g->configurations[k - 1].index > index; k--)
		;
	return k > 0 ? configuration_at(g, k - 1, out) : ND_NOTFOUND;
}

void store_status(const Store *s, StoreStatus *out)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t k = 0; k < s->n_segments; k++)
	{
		out->bytes_files += s->segments[k]->bytes;
		if (s->segments[k]->live > 0)
			out->bytes_live += s->segments[k]->bytes;
	}
	out->segments = s->n_segments;
	out->flushes = s->flushes;
	out->cache_bytes = s->cached_bytes;
	out->index_bytes = s->index_bytes;
	out->failed = s->failed != ND_OK;
	out->disk_full = s->disk_full;
	out->scrub_segment = s->scrub.segment;
	out->scrub_offset = s->scrub.offset;
	out->scrub_bytes = s->scrub.bytes;
	out->scrub_rounds = s->scrub.rounds;
	out->damages = s->damages;
	out->damage = s->damages > 0 ? s->damage : NULL;
}
