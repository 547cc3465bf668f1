/*
 * certifier_kit.c: see certifier_kit.h.
 */
#include "certifier_kit.h"

#include <stdlib.h>

static long left = -1;
static long live;

static bool refused(void)
{
	if (left < 0)
		return false;
	if (left == 0)
		return true;
	left--;
	return false;
}

static void *kit_alloc(void *ctx, size_t bytes)
{
	void	   *p = refused() ? NULL : malloc(bytes);

	(void) ctx;
	live += p != NULL;
	return p;
}

static void *kit_realloc(void *ctx, void *p, size_t bytes)
{
	(void) ctx;
	return refused() ? NULL : realloc(p, bytes);
}

static void kit_free(void *ctx, void *p)
{
	(void) ctx;
	live--;
	free(p);
}

void kit_install_allocator(void)
{
	static const NdAllocator allocator = {kit_alloc, kit_realloc, kit_free, NULL};

	nd_set_allocator(&allocator);
}

void kit_fail_after(long n)
{
	left = n;
}

long kit_live_blocks(void)
{
	return live;
}

NdStatus kit_certify(Certifier *c, uint64_t index, KitEntry *e, Verdict *v)
{
	long		left_then = left;
	NdBuf		buf;
	EntryHeader h;
	NdStatus	status;

	left = -1;
	nd_buf_init(&buf);
	if (e->kind == ENTRY_TXN)
		status = entry_encode_txn(&buf, e->flags, e->txn, e->base, e->keys, e->n_keys, e->read_base, e->reads, e->n_reads, e->chunks, e->n_chunks);
	else
		status = entry_encode_header(&buf, e->kind, e->flags, e->txn, e->base, e->keys, e->n_keys, e->chunks, e->n_chunks);
	if (status == ND_OK)
		status = entry_decode(buf.data, buf.len, &h);
	if (status == ND_OK)
	{
		left = left_then;
		status = certifier_certify(c, index, &h, v);
		left_then = left;
	}
	left = -1;
	nd_buf_free(&buf);
	left = left_then;
	return status;
}
