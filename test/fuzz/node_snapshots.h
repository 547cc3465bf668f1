/*
 * node_snapshots.h: fuzz_node's host of snapshots, and what peers send of them. The content of a group's tables as of an entry is a function of its index.
 *
 * What holds: read() and close() only of what is open; write() in order, within what begin() began; install() only of what was begun and is above what the
 * tables hold. What a peer sends may be any content: the driver does not know it.
 */
#ifndef FUZZ_NODE_SNAPSHOTS_H
#define FUZZ_NODE_SNAPSHOTS_H

#include "../../src/core/certifier/certifier.h"

#include "fuzz.h"

#define CONTENT_BYTES 150
#define OPENED_MAX 64

typedef struct SnapshotHost
{
	uint64_t   *applied;		/* by group: what the tables hold, and */
	uint64_t   *delivered;		/* what was delivered since; 0: anything may come next */
	bool		busy;
	uint32_t	opened;
	/* by group: what comes in */
	bool		begun[4];
	uint64_t	index[4];
	uint64_t	written[4];
	/* what this node offered last, for the peers' answers */
	WireSnapshotOffer sent;
	/* what a peer offered last */
	WireSnapshotOffer offered;
	uint64_t	offset;			/* of its next chunk */
} SnapshotHost;

static uint8_t content(uint64_t index, uint64_t offset)
{
	return (uint8_t) (index * 31 + offset);
}

static NdStatus host_open(void *ctx, NdGroupId group, uint64_t at_least, uint64_t *handle, uint64_t *index)
{
	SnapshotHost *h = ctx;

	if (h->busy || h->applied[group] < at_least || h->opened == OPENED_MAX)
		return ND_BUSY;
	h->opened++;
	*handle = *index = h->applied[group];
	return ND_OK;
}

static NdStatus host_read(void *ctx, uint64_t handle, uint64_t offset, uint8_t *out, uint32_t cap, uint32_t *len, bool *last)
{
	SnapshotHost *h = ctx;

	MUST(h->opened > 0);
	if (h->busy)
		return ND_BUSY;
	if (offset > CONTENT_BYTES)
		return ND_INVALID;		/* a peer says that it has more than there is */
	*len = CONTENT_BYTES - offset < cap ? (uint32_t) (CONTENT_BYTES - offset) : cap;
	*last = offset + *len == CONTENT_BYTES;
	for (uint32_t i = 0; i < *len; i++)
		out[i] = content(handle, offset + i);
	return ND_OK;
}

static void host_close(void *ctx, uint64_t handle)
{
	SnapshotHost *h = ctx;

	(void) handle;
	MUST(h->opened-- > 0);
}

static NdStatus host_begin(void *ctx, NdGroupId group, uint64_t index)
{
	SnapshotHost *h = ctx;

	MUST(group > 0 && index > h->applied[group]);
	if (h->busy)
		return ND_BUSY;
	h->begun[group] = true;
	h->index[group] = index;
	h->written[group] = 0;
	return ND_OK;
}

static NdStatus host_write(void *ctx, NdGroupId group, uint64_t offset, const uint8_t *data, size_t len)
{
	SnapshotHost *h = ctx;

	MUST(h->begun[group] && offset == h->written[group] && data != NULL && len > 0);
	if (h->busy)
		return ND_BUSY;
	h->written[group] += len;
	return ND_OK;
}

static NdStatus host_install(void *ctx, NdGroupId group)
{
	SnapshotHost *h = ctx;

	MUST(h->begun[group]);
	if (h->busy)
		return ND_BUSY;
	if (h->written[group] != CONTENT_BYTES)
		return ND_DAMAGED;
	h->begun[group] = false;
	MUST(h->index[group] > h->applied[group]);
	h->applied[group] = h->index[group];
	h->delivered[group] = 0;
	return ND_OK;
}

static void host_abort(void *ctx, NdGroupId group)
{
	SnapshotHost *h = ctx;

	MUST(h->begun[group]);
	h->begun[group] = false;
}

static NodeSnapshots snapshot_host(SnapshotHost *h)
{
	return (NodeSnapshots) {host_open, host_read, host_close, host_begin, host_write, host_install, host_abort, h};
}

/* ---- what a peer sends: the checkpoint of a certifier that has seen nothing, then content ---- */

static uint64_t stream(uint64_t applied, uint8_t *out)
{
	Certifier  *c;
	NdBuf		buf;
	uint64_t	len;

	nd_buf_init(&buf);
	MUST(certifier_create((CertifierLimits) {20, 20}, &c) == ND_OK);
	MUST(certifier_save(c, &buf) == ND_OK);
	certifier_destroy(c);
	memcpy(out, buf.data, buf.len);
	len = buf.len;
	nd_buf_free(&buf);
	for (uint32_t i = 0; i < CONTENT_BYTES; i++)
		out[len + i] = content(applied, i);
	return len;
}

static void put_chunk(SnapshotHost *h, NdBuf *frame, uint64_t offset, uint32_t len, bool damaged)
{
	uint8_t		bytes[512];
	uint64_t	end = stream(h->offered.applied, bytes) + CONTENT_BYTES;
	WireSnapshotChunk c = {.group = h->offered.group, .id = h->offered.id, .offset = offset, .data = bytes + (offset < end ? offset : end)};

	c.len = offset >= end ? 0 : end - offset < len ? (uint32_t) (end - offset) : len;
	c.last = offset + c.len >= end;
	c.checksum = wire_snapshot_checksum(&c) ^ damaged;
	wire_put_snapshot_chunk(frame, &c);
}

#endif
