/*
 * commit_several.c: what is different for a transaction over several data groups: its body is routed to parts, large ones go ahead into their groups' logs, and
 * one REQUEST with all parts goes to the sequencer (core/sequencer).
 *
 * The base is a vector: each part has its group's, sampled like that of one group, after all locks are held. They may be of different moments: a lock's key stands in its
 * own group's part, and is judged by that base alone.
 *
 * Invariants:
 * 1. A REQUEST stays below what the sequencer takes: bodies above REQUEST_BODIES_MAX go ahead as chunks, keys above REQUEST_KEYS_MAX become those of tables. Of a large transaction all
 *    goes ahead, and the other nodes get time to replay it (worker/bulk.c).
 * 2. Memory is bounded by a chunk per group, whatever the body's size.
 */
#include "commit_internal.h"

#include "core/wire/seq_entry.h"
#include "../tableam/readset.h"
#include "../tableam/writeset.h"
#include "../worker/bulk.h"
#include "wait.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define REQUEST_BODIES_MAX (1 << 20)
#define REQUEST_KEYS_MAX (5 << 20)	/* a schema change of 2000 tables in a cluster of 256 data groups */

StaticAssertDecl(REQUEST_BODIES_MAX + REQUEST_KEYS_MAX + ENTRY_GROUPS_MAX * 256 <= REQUEST_BYTES_MAX, "what a request may have fits into it");
StaticAssertDecl(REQUEST_BYTES_MAX + 4096 <= WIRE_ENTRY_BYTES_MAX, "a request alone in its epoch is an entry");

/* A part's body on its way. */
typedef struct Outgoing
{
	NdGroupId	group;
	uint64		base;			/* of its chunks */
	StringInfoData body;		/* what is not in the log yet */
	uint64	   *chunks;			/* indexes */
	uint32		n_chunks;
	uint32		cap_chunks;
} Outgoing;

static void
send_chunk(Outgoing *out)
{
	if (out->n_chunks == 0)
		out->base = commit_base(out->group);
	if (out->n_chunks == out->cap_chunks)
	{
		out->cap_chunks = Max(16, out->cap_chunks * 2);
		out->chunks = out->chunks == NULL ? palloc(out->cap_chunks * sizeof(uint64)) : repalloc(out->chunks, out->cap_chunks * sizeof(uint64));
	}
	out->chunks[out->n_chunks] = commit_chunk(out->group, out->n_chunks, out->base, out->body.data, out->body.len, 0, 0);
	out->n_chunks++;
	resetStringInfo(&out->body);
}

static void
take_body(void *ctx, uint32 part, const char *data, Size len)
{
	Outgoing   *out = &((Outgoing *) ctx)[part];

	while (len > 0)
	{
		Size		piece = Min(len, (Size) CHUNK_BYTES - out->body.len);

		appendBinaryStringInfo(&out->body, data, piece);
		data += piece;
		len -= piece;
		if (out->body.len == CHUNK_BYTES)
			send_chunk(out);
	}
}

static Outgoing *
send_bodies(const TxnPart *parts, uint32 n)
{
	Outgoing   *out = palloc0(n * sizeof(Outgoing));
	uint64		left = 0;
	bool		ahead = writeset_body_len() > (uint64) BULK_PIECES_MIN * CHUNK_BYTES;

	for (uint32 i = 0; i < n; i++)
	{
		out[i].group = parts[i].group;
		initStringInfo(&out[i].body);
	}
	parts_route(parts, n, take_body, out);
	for (uint32 i = 0; i < n; i++)
		left += out[i].body.len;
	for (uint32 i = 0; i < n && (ahead || left > REQUEST_BODIES_MAX); i++)
		if (out[i].body.len > 0)
			send_chunk(&out[i]);
	for (uint32 i = 0; i < n && ahead && nodedb_bulk_wait > 0; i++)
		if (out[i].n_chunks > 0)
			wait_prepared(out[i].group, out[i].chunks[out[i].n_chunks - 1], nodedb_bulk_wait);
	return out;
}

static void
raise_too_large(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("transaction over several data groups is too large"),
			 errdetail("%s", detail),
			 errhint("Split it into smaller transactions.")));
}

static uint64
key_bytes(const TxnPart *parts, uint32 n)
{
	uint64		keys = 0;

	for (uint32 i = 0; i < n; i++)
		keys += (uint64) parts[i].n_keys + parts[i].n_reads;
	return keys * ENTRY_KEY_BYTES;
}

static void
check_parts(TxnPart **parts, uint32 *n)
{
	if (*n > ENTRY_GROUPS_MAX)
		raise_too_large(psprintf("It has parts in %u data groups; the limit is %u.", *n, ENTRY_GROUPS_MAX));
	if (key_bytes(*parts, *n) > REQUEST_KEYS_MAX)
	{
		writeset_escalate();
		readset_escalate();
		*parts = parts_make(n);
	}
	if (key_bytes(*parts, *n) > REQUEST_KEYS_MAX)
		raise_too_large("It locks too many tables.");
}

/* Whose share of the sequencer's inbox it takes: the same number on every node. */
static uint64
my_role(void)
{
	const char *name = GetUserNameFromId(GetSessionUserId(), true);

	return name == NULL ? 0 : nd_checksum(name, strlen(name), 0);
}

static void
encode_request(const TxnPart *parts, const Outgoing *out, uint32 n, NdBuf *request)
{
	SeqPart    *encoded = palloc(n * sizeof(SeqPart));
	NdBuf	   *entries = palloc(n * sizeof(NdBuf));

	for (uint32 i = 0; i < n; i++)
	{
		const TxnPart *part = &parts[i];
		NdBuf	   *entry = &entries[i];

		nd_buf_init(entry);
		if (entry_encode_txn(entry, 0, commit_txn_id(), commit_base(part->group), part->keys, part->n_keys,
							 part->n_reads > 0 ? commit_read_base(part->group) : 0, part->reads, part->n_reads, out[i].chunks, out[i].n_chunks) != ND_OK)
			entry->failed = true;
		nd_buf_bytes(entry, out[i].body.data, out[i].body.len);
		encoded[i] = (SeqPart) {.group = part->group, .entry = entry->data, .len = (uint32) entry->len};
		request->failed |= entry->failed;
	}
	if (!request->failed && seq_encode_request(request, commit_txn_id(), my_role(), encoded, n) != ND_OK)
		request->failed = true;
	for (uint32 i = 0; i < n; i++)
		nd_buf_free(&entries[i]);
	commit_check(request);
}

void
commit_several_fence(TxnId id, NdBuf *request)
{
	uint32		n = parts_groups();
	SeqPart    *encoded = palloc(n * sizeof(SeqPart));
	NdBuf	   *entries = palloc(n * sizeof(NdBuf));

	for (uint32 i = 0; i < n; i++)
	{
		nd_buf_init(&entries[i]);
		if (entry_encode_txn(&entries[i], 0, id, nodedb_watermark(i + 1), NULL, 0, 0, NULL, 0, NULL, 0) != ND_OK)
			entries[i].failed = true;
		encoded[i] = (SeqPart) {.group = i + 1, .entry = entries[i].data, .len = (uint32) entries[i].len};
		request->failed |= entries[i].failed;
	}
	if (!request->failed && seq_encode_request(request, id, my_role(), encoded, n) != ND_OK)
		request->failed = true;
	for (uint32 i = 0; i < n; i++)
		nd_buf_free(&entries[i]);
	commit_check(request);
}

SlotState
commit_several(TxnPart **parts, uint32 *n)
{
	Outgoing   *out;
	NdBuf		request;

	check_parts(parts, n);
	for (uint32 i = 0; i < *n; i++)
		if ((*parts)[i].n_reads > 0)
			(void) commit_read_base((*parts)[i].group);
	out = send_bodies(*parts, *n);
	session_enter_commit();
	nd_buf_init(&request);
	encode_request(*parts, out, *n, &request);
	return commit_submit(ENTRY_MARKER, ND_GROUP_SEQUENCER, &request, 0, 0);
}
