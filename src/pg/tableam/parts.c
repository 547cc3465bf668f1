/*
 * parts.c: keys and body of the running transaction, by data group. The contract and the argument stand in parts.h.
 *
 * The body is captured as one and routed here, in one pass at pre-commit, and only when there are several groups: a transaction of one group pays nothing, and
 * savepoints have one body to cut.
 */
#include "parts.h"

#include "placement.h"
#include "shmem.h"
#include "readset.h"
#include "writeset_internal.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#define ROUTE_BYTES (64 * 1024)	/* of the body at once; more for a longer record */

uint32 parts_groups(void)
{
	return nodedb_shared != NULL && nodedb_shared->has_sequencer ? Max(placement_groups(), 1) : 1;
}

/* ---- keys ---- */

typedef struct Groups
{
	uint32		n;				/* of the cluster */
	int32	   *part;			/* by group: number of its part; -1: none */
	bool		all;			/* each of them has a part */
} Groups;

static void put(TxnPart *part, EntryKey *keys, uint32 *n, uint64 hash, uint8 mode)
{
	if (keys != NULL)
		keys[*n] = (EntryKey) {.hash = hash, .mode = mode};
	(*n)++;
}

/* Into its parts; while their arrays are NULL it is only counted. */
static void place_key(const Groups *g, TxnPart *parts, uint32 n_parts, const WriteKey *key)
{
	bool		utility = writeset_has_utility();
	int32		own = key->group == 0 || key->group > g->n ? -1 : g->part[key->group];

	if (key->row || key->value)
	{
		put(&parts[own], parts[own].keys, &parts[own].n_keys, key->hash, key->mode);
		return;
	}
	for (uint32 i = 0; i < n_parts; i++)
	{
		uint8		mode = key->mode;

		if ((int32) i != own && !utility)
		{
			if (key->everywhere)
				mode = KEY_REL_ACCESS_EXCLUSIVE;
			else if (own >= 0 || i > 0)
				continue;
			else
				mode = KEY_REL_ACCESS_SHARE;
		}
		put(&parts[i], parts[i].keys, &parts[i].n_keys, key->hash, mode);
	}
}

static void place(const Groups *g, TxnPart *parts, uint32 n_parts, const EntryKey *reads, const NdGroupId *read_groups, uint32 n_reads)
{
	uint32		n;
	const WriteKey *taken = writeset_taken(&n);

	for (uint32 i = 0; i < n_parts; i++)
		parts[i].n_keys = parts[i].n_reads = 0;
	for (uint32 i = 0; i < n; i++)
		if (writeset_key_counts(&taken[i]))
			place_key(g, parts, n_parts, &taken[i]);
	for (uint32 i = 0; i < n_reads; i++)
	{
		TxnPart    *part = &parts[g->part[read_groups[i]]];

		put(part, part->reads, &part->n_reads, reads[i].hash, reads[i].mode);
	}
}

static void touch(Groups *g, NdGroupId group)
{
	if (group > g->n)
		elog(ERROR, "nodedb: data group %u does not exist", group);
	g->part[group] = 0;
}

/* Which groups get a part? */
static void find_groups(Groups *g, const NdGroupId *read_groups, uint32 n_reads)
{
	uint32		n;
	const WriteKey *taken = writeset_taken(&n);
	int64		n_relations;
	const NdGroupId *relations = writeset_relation_groups(&n_relations);

	g->all = writeset_has_utility();
	for (uint32 i = 0; i < n; i++)
	{
		g->all |= taken[i].everywhere;
		if (taken[i].group != 0 && (taken[i].row || taken[i].mode > KEY_REL_ROW_EXCLUSIVE))
			touch(g, taken[i].group);
	}
	for (int64 i = 0; i < n_relations; i++)
		touch(g, relations[i]);
	for (uint32 i = 0; i < n_reads; i++)
		touch(g, read_groups[i]);
}

static EntryKey *key_array(uint32 n)
{
	return MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(EntryKey));
}

static TxnPart *one_part(EntryKey *reads, uint32 n_reads)
{
	TxnPart    *part = palloc0(sizeof(TxnPart));
	uint32		n;
	const WriteKey *taken = writeset_taken(&n);

	*part = (TxnPart) {.group = PLACEMENT_DEFAULT, .keys = key_array(n), .reads = reads, .n_reads = n_reads};
	for (uint32 i = 0; i < n; i++)
		if (writeset_key_counts(&taken[i]))
			part->keys[part->n_keys++] = (EntryKey) {.hash = taken[i].hash, .mode = taken[i].mode};
	return part;
}

TxnPart *parts_make(uint32 *n_parts)
{
	Groups		g = {.n = parts_groups()};
	uint32		n_reads;
	NdGroupId  *read_groups;
	EntryKey   *reads = readset_keys(&n_reads, &read_groups);
	TxnPart    *parts;
	uint32		n = 0;

	*n_parts = 1;
	if (g.n == 1)
		return one_part(reads, n_reads);
	g.part = palloc((g.n + 1) * sizeof(int32));
	memset(g.part, -1, (g.n + 1) * sizeof(int32));
	find_groups(&g, read_groups, n_reads);
	parts = palloc0(g.n * sizeof(TxnPart));
	for (NdGroupId group = 1; group <= g.n; group++)
		if (g.all || g.part[group] >= 0)
		{
			parts[n].group = group;
			g.part[group] = n++;
		}
	if (n == 0)
	{
		parts[n].group = PLACEMENT_DEFAULT;
		g.part[PLACEMENT_DEFAULT] = n++;
	}
	place(&g, parts, n, reads, read_groups, n_reads);
	for (uint32 i = 0; i < n; i++)
	{
		parts[i].keys = key_array(parts[i].n_keys);
		parts[i].reads = key_array(parts[i].n_reads);
	}
	place(&g, parts, n, reads, read_groups, n_reads);
	*n_parts = n;
	return parts;
}

/* ---- body ---- */

typedef struct Route
{
	PartSink	sink;
	void	   *ctx;
	uint32	   *part_of;		/* by group */
	const NdGroupId *groups;	/* by number in the body */
	int64		n_relations;
	int64	   *numbers;		/* by number in the body: the number in its part */
	int64	   *next_number;	/* of each part */
	StringInfoData path;		/* the last 'P', whole */
	uint64		paths;
	uint64	   *path_sent;		/* of each part: which one it has */
} Route;

static void send_record(Route *r, uint32 part, char op, const uint8 *number, Size number_len, const char *rest, Size rest_len)
{
	char		head[sizeof(uint32) + 1 + 10];
	uint32		len = 1 + number_len + rest_len;

	for (int i = 0; i < 4; i++)
		head[i] = (char) (len >> (8 * i));
	head[4] = op;
	if (number_len > 0)
		memcpy(head + 5, number, number_len);
	r->sink(r->ctx, part, head, 5 + number_len);
	r->sink(r->ctx, part, rest, rest_len);
}

static void route_record(Route *r, const char *data, Size len)
{
	char		op = data[0];
	NdReader	reader;
	uint64		number;
	uint32		part;
	uint8		renumbered[10];
	Size		n = 0;

	nd_reader_init(&reader, data + 1, len - 1);
	if (op == 'P')
	{
		resetStringInfo(&r->path);
		appendBinaryStringInfo(&r->path, data + 1, len - 1);
		r->paths++;
		return;
	}
	number = nd_read_varint(&reader);
	if (reader.failed || number >= r->n_relations)
		elog(ERROR, "nodedb: a record of the write set names table " UINT64_FORMAT ", which is not announced", number);
	part = r->part_of[r->groups[number]];
	if (op == 'R')
		r->numbers[number] = r->next_number[part]++;
	else if (r->path_sent[part] != r->paths)
	{
		send_record(r, part, 'P', NULL, 0, r->path.data, r->path.len);
		r->path_sent[part] = r->paths;
	}
	for (number = r->numbers[number]; number >= 0x80; number >>= 7)
		renumbered[n++] = (uint8) number | 0x80;
	renumbered[n++] = (uint8) number;
	send_record(r, part, op, renumbered, n, (const char *) reader.p, nd_reader_left(&reader));
}

static void route_whole(PartSink sink, void *ctx)
{
	uint64		body = writeset_body_len();
	char	   *piece = palloc(ROUTE_BYTES);

	for (uint64 at = 0; at < body; at += ROUTE_BYTES)
	{
		Size		len = Min(ROUTE_BYTES, body - at);

		writeset_read(at, piece, len);
		sink(ctx, 0, piece, len);
	}
	pfree(piece);
}

static void route_records(Route *r)
{
	uint64		body = writeset_body_len();
	uint64		at = 0;			/* in the body, of what is not read yet */
	StringInfoData buf;			/* cursor: what is routed */

	initStringInfo(&buf);
	enlargeStringInfo(&buf, ROUTE_BYTES);
	while (at < body || buf.cursor < buf.len)
	{
		Size		have = buf.len - buf.cursor;
		uint32		len = 0;
		Size		want = sizeof(uint32);

		if (have >= sizeof(uint32))
		{
			NdReader	reader;

			nd_reader_init(&reader, buf.data + buf.cursor, have);
			len = nd_read_u32(&reader);
			want += len;
		}
		if (have < want)
		{
			Size		more = Min(Max(want - have, ROUTE_BYTES), body - at);

			CHECK_FOR_INTERRUPTS();
			memmove(buf.data, buf.data + buf.cursor, have);
			buf.len = have;
			buf.cursor = 0;
			enlargeStringInfo(&buf, more);
			writeset_read(at, buf.data + have, more);
			buf.len += more;
			at += more;
			if (buf.len < want)
				elog(ERROR, "nodedb: the write set ends within a record");
			continue;
		}
		route_record(r, buf.data + buf.cursor + sizeof(uint32), len);
		buf.cursor += want;
	}
	pfree(buf.data);
}

void parts_route(const TxnPart *parts, uint32 n, PartSink sink, void *ctx)
{
	Route		r = {.sink = sink, .ctx = ctx};

	if (writeset_has_utility())
	{
		route_whole(sink, ctx);
		return;
	}
	r.groups = writeset_relation_groups(&r.n_relations);
	r.part_of = palloc0((parts[n - 1].group + 1) * sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
		r.part_of[parts[i].group] = i;
	r.numbers = MemoryContextAllocHuge(CurrentMemoryContext, Max(r.n_relations, 1) * sizeof(int64));
	r.next_number = palloc0(n * sizeof(int64));
	r.path_sent = palloc0(n * sizeof(uint64));
	initStringInfo(&r.path);
	route_records(&r);
}
