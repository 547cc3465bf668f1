/*
 * seq_entry.c: bytes of the sequencer's entries. The layout stands in seq_entry.h.
 */
#include "seq_entry.h"

static void put_head(NdBuf *out, SeqEntryKind kind)
{
	nd_buf_u8(out, SEQ_ENTRY_FORMAT);
	nd_buf_u8(out, (uint8_t) kind);
}

static NdStatus done(const NdBuf *out)
{
	return out->failed ? ND_NOMEM : ND_OK;
}

static bool part_valid(const SeqPart *part, TxnId txn)
{
	EntryHeader h;

	return entry_decode(part->entry, part->len, &h) == ND_OK && h.kind == ENTRY_TXN && txnid_compare(h.txn, txn) == 0;
}

NdStatus seq_encode_request(NdBuf *out, TxnId txn, uint64_t role, const SeqPart *parts, uint32_t n)
{
	NdGroupId	previous = 0;

	if (n < 2 || n > ENTRY_GROUPS_MAX)
		return ND_INVALID;
	put_head(out, SEQ_REQUEST);
	nd_buf_u32(out, txn.node);
	nd_buf_u32(out, txn.incarnation);
	nd_buf_u64(out, txn.counter);
	nd_buf_u64(out, role);
	nd_buf_varint(out, n);
	for (uint32_t i = 0; i < n; i++)
	{
		if (parts[i].group <= previous || !part_valid(&parts[i], txn))
			return ND_INVALID;
		nd_buf_varint(out, parts[i].group - previous);
		nd_buf_varint(out, parts[i].len);
		nd_buf_bytes(out, parts[i].entry, parts[i].len);
		previous = parts[i].group;
	}
	return done(out);
}

NdStatus seq_encode_epoch(NdBuf *out, uint64_t epoch, uint64_t time, const NdBlob *const *requests, uint32_t n)
{
	if (epoch == 0 || n == 0 || n > SEQ_EPOCH_REQUESTS_MAX)
		return ND_INVALID;
	put_head(out, SEQ_EPOCH);
	nd_buf_u64(out, epoch);
	nd_buf_u64(out, time);
	nd_buf_varint(out, n);
	for (uint32_t i = 0; i < n; i++)
	{
		nd_buf_varint(out, requests[i]->len);
		nd_buf_bytes(out, requests[i]->data, requests[i]->len);
	}
	return done(out);
}

NdStatus seq_encode_votes(NdBuf *out, NdGroupId group, const SeqVote *votes, uint32_t n)
{
	uint64_t	previous = 0;

	if (group == 0 || n == 0)
		return ND_INVALID;
	put_head(out, SEQ_VOTES);
	nd_buf_u32(out, group);
	nd_buf_varint(out, n);
	for (uint32_t i = 0; i < n; i++)
	{
		if (votes[i].position <= previous)
			return ND_INVALID;
		nd_buf_varint(out, votes[i].position - previous);
		nd_buf_u8(out, votes[i].yes);
		previous = votes[i].position;
	}
	return done(out);
}

NdStatus seq_encode_abort(NdBuf *out, uint64_t position)
{
	if (position == 0)
		return ND_INVALID;
	put_head(out, SEQ_ABORT);
	nd_buf_u64(out, position);
	return done(out);
}

NdStatus seq_encode_ack(NdBuf *out, NdGroupId group, uint64_t decision)
{
	if (group == 0 || decision == 0)
		return ND_INVALID;
	put_head(out, SEQ_ACK);
	nd_buf_u32(out, group);
	nd_buf_u64(out, decision);
	return done(out);
}

static void reader_at(const SeqEntry *e, const SeqWalk *walk, NdReader *r)
{
	const uint8_t *at = walk->at != NULL ? walk->at : e->items;

	nd_reader_init(r, at, (size_t) (e->end - at));
}

static void walked(SeqWalk *walk, const NdReader *r)
{
	walk->at = r->p;
	walk->done++;
}

/* The three readers of items check as they go: seq_decode() walks over all of them once, and then they cannot fail. */
static bool take_part(const SeqEntry *e, SeqWalk *walk, SeqPart *out)
{
	NdReader	r;
	uint64_t	step;
	uint64_t	len;

	reader_at(e, walk, &r);
	step = nd_read_varint(&r);
	len = nd_read_varint(&r);
	if (r.failed || step == 0 || step > UINT32_MAX - walk->previous || len > UINT32_MAX || len > nd_reader_left(&r))
		return false;
	walk->previous += step;
	out->group = (NdGroupId) walk->previous;
	out->len = (uint32_t) len;
	out->entry = nd_read_bytes(&r, len);
	walked(walk, &r);
	return true;
}

static bool take_request(const SeqEntry *e, SeqWalk *walk, const uint8_t **at, uint32_t *len)
{
	NdReader	r;
	uint64_t	n;

	reader_at(e, walk, &r);
	n = nd_read_varint(&r);
	if (r.failed || n > UINT32_MAX || n > nd_reader_left(&r))
		return false;
	*len = (uint32_t) n;
	*at = nd_read_bytes(&r, n);
	walked(walk, &r);
	return true;
}

static bool take_vote(const SeqEntry *e, SeqWalk *walk, SeqVote *out)
{
	NdReader	r;
	uint64_t	step;
	uint8_t		yes;

	reader_at(e, walk, &r);
	step = nd_read_varint(&r);
	yes = nd_read_u8(&r);
	if (r.failed || step == 0 || step > UINT64_MAX - walk->previous || yes > 1)
		return false;
	walk->previous += step;
	*out = (SeqVote) {walk->previous, yes != 0};
	walked(walk, &r);
	return true;
}

/* A REQUEST is no entry of the log, an EPOCH no request: each decoder of the other's kind refuses it. */
static bool take_items(SeqEntry *e)
{
	SeqWalk		walk = {0};
	const uint8_t *at;
	uint32_t	len;
	SeqEntry	request;
	SeqPart		part;
	SeqVote		vote;

	for (uint32_t i = 0; i < e->n; i++)
	{
		if (e->kind == SEQ_REQUEST && !(take_part(e, &walk, &part) && part_valid(&part, e->txn)))
			return false;
		if (e->kind == SEQ_EPOCH && !(take_request(e, &walk, &at, &len) && len > 1 && at[1] == SEQ_REQUEST && seq_decode(at, len, &request) == ND_OK))
			return false;
		if (e->kind == SEQ_VOTES && !take_vote(e, &walk, &vote))
			return false;
	}
	return (walk.at != NULL ? walk.at : e->items) == e->end;
}

NdStatus seq_decode(const void *data, size_t len, SeqEntry *out)
{
	NdReader	r;
	uint8_t		format;
	uint8_t		kind;
	uint64_t	n = 0;

	nd_reader_init(&r, data, len);
	format = nd_read_u8(&r);
	kind = nd_read_u8(&r);
	if (r.failed || format == 0)
		return ND_INVALID;
	if (format > SEQ_ENTRY_FORMAT)
		return ND_VERSION;
	*out = (SeqEntry) {.kind = (SeqEntryKind) kind};
	switch (kind)
	{
		case SEQ_REQUEST:
			out->txn.node = nd_read_u32(&r);
			out->txn.incarnation = nd_read_u32(&r);
			out->txn.counter = nd_read_u64(&r);
			out->role = nd_read_u64(&r);
			n = nd_read_varint(&r);
			if (n < 2 || n > ENTRY_GROUPS_MAX)
				return ND_INVALID;
			break;
		case SEQ_EPOCH:
			out->epoch = nd_read_u64(&r);
			out->time = nd_read_u64(&r);
			n = nd_read_varint(&r);
			if (out->epoch == 0 || n == 0 || n > SEQ_EPOCH_REQUESTS_MAX)
				return ND_INVALID;
			break;
		case SEQ_VOTES:
			out->group = nd_read_u32(&r);
			n = nd_read_varint(&r);
			if (out->group == 0 || n == 0)
				return ND_INVALID;
			break;
		case SEQ_ABORT:
			out->position = nd_read_u64(&r);
			if (out->position == 0)
				return ND_INVALID;
			break;
		case SEQ_ACK:
			out->group = nd_read_u32(&r);
			out->decision = nd_read_u64(&r);
			if (out->group == 0 || out->decision == 0)
				return ND_INVALID;
			break;
		default:
			return ND_INVALID;
	}
	/* every item takes two bytes or more */
	if (r.failed || n > nd_reader_left(&r) / 2)
		return ND_INVALID;
	out->n = (uint32_t) n;
	out->items = r.p;
	out->end = r.end;
	return take_items(out) ? ND_OK : ND_INVALID;
}

bool seq_part(const SeqEntry *request, SeqWalk *walk, SeqPart *out)
{
	return walk->done < request->n && take_part(request, walk, out);
}

bool seq_request(const SeqEntry *epoch, SeqWalk *walk, SeqEntry *out, const uint8_t **at, uint32_t *len)
{
	return walk->done < epoch->n && take_request(epoch, walk, at, len) && seq_decode(*at, *len, out) == ND_OK;
}

bool seq_request_at(const SeqEntry *epoch, uint32_t number, SeqEntry *out)
{
	SeqWalk		walk = {0};
	const uint8_t *at;
	uint32_t	len;

	while (walk.done < epoch->n && take_request(epoch, &walk, &at, &len))
		if (walk.done == number + 1)
			return seq_decode(at, len, out) == ND_OK;
	return false;
}

bool seq_vote(const SeqEntry *votes, SeqWalk *walk, SeqVote *out)
{
	return walk->done < votes->n && take_vote(votes, walk, out);
}
