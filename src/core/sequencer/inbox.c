/*
 * inbox.c: the leader's queue of requests. The contract stands in inbox.h.
 *
 * A ring of blobs in the order in which they came; ids and roles are found by walking over it only where the number of requests is small, else by two
 * sorted arrays.
 */
#include "inbox.h"

#include "../base/mutant.h"

#include <string.h>

typedef struct Waiting
{
	NdBlob	   *request;
	TxnId		txn;
	uint64_t	role;
} Waiting;

typedef struct Role
{
	uint64_t	role;
	uint32_t	n;
} Role;

struct SeqInbox
{
	SeqLimits	limits;
	Waiting    *queue;			/* ring */
	uint32_t	cap;			/* power of two, or 0 */
	uint32_t	first;			/* number of the oldest; the place is number & (cap - 1) */
	uint32_t	n;
	uint64_t	bytes;
	TxnId	   *ids;			/* of the queue, ascending */
	Role	   *roles;			/* of the queue, ascending */
	uint32_t	n_roles;
	uint32_t	packed;			/* requests in the epoch that was packed last */
	uint64_t	packed_epoch;
	uint64_t	last_epoch;		/* proposed in this term; 0: none */
	uint64_t	last_time;
};

NdStatus seq_inbox_create(const SeqLimits *limits, SeqInbox **out)
{
	if (limits->requests_max == 0 || limits->epoch_requests_max == 0 || limits->epoch_requests_max > SEQ_EPOCH_REQUESTS_MAX || limits->epochs_max == 0)
		return ND_INVALID;
	*out = nd_zalloc(sizeof(SeqInbox));
	if (*out == NULL)
		return ND_NOMEM;
	(*out)->limits = *limits;
	return ND_OK;
}

static Waiting *waiting(const SeqInbox *in, uint32_t i)
{
	return &in->queue[(in->first + i) & (in->cap - 1)];
}

void seq_inbox_reset(SeqInbox *in)
{
	for (uint32_t i = 0; i < in->n; i++)
		nd_blob_unref(waiting(in, i)->request);
	in->first = in->n = in->n_roles = in->packed = 0;
	in->bytes = in->last_epoch = in->last_time = 0;
}

void seq_inbox_destroy(SeqInbox *in)
{
	if (in == NULL)
		return;
	seq_inbox_reset(in);
	nd_free(in->queue);
	nd_free(in->ids);
	nd_free(in->roles);
	nd_free(in);
}

static uint32_t id_place(const SeqInbox *in, TxnId txn)
{
	uint32_t	low = 0;
	uint32_t	high = in->n;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (txnid_compare(in->ids[middle], txn) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t role_place(const SeqInbox *in, uint64_t role)
{
	uint32_t	low = 0;
	uint32_t	high = in->n_roles;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (in->roles[middle].role < role)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t role_requests(const SeqInbox *in, uint64_t role)
{
	uint32_t	at = role_place(in, role);

	return at < in->n_roles && in->roles[at].role == role ? in->roles[at].n : 0;
}

static bool reserve(SeqInbox *in)
{
	uint32_t	cap = in->cap > 0 ? 2 * in->cap : 64;
	Waiting    *queue;
	TxnId	   *ids;
	Role	   *roles;

	if (in->n < in->cap)
		return true;
	ids = nd_realloc(in->ids, cap * sizeof(TxnId));
	if (ids == NULL)
		return false;
	in->ids = ids;
	roles = nd_realloc(in->roles, cap * sizeof(Role));
	if (roles == NULL)
		return false;
	in->roles = roles;
	queue = nd_alloc(cap * sizeof(Waiting));
	if (queue == NULL)
		return false;
	for (uint32_t i = 0; i < in->n; i++)
		queue[i] = *waiting(in, i);
	nd_free(in->queue);
	in->queue = queue;
	in->first = 0;
	in->cap = cap;
	return true;
}

static SeqRefusal judge(const SeqInbox *in, const Sequencer *s, const SeqEntry *e, uint32_t bytes, NdGroupId last_group)
{
	const SeqLimits *l = &in->limits;
	SeqWalk		walk = {0};
	SeqPart		part;

	if (bytes > l->request_bytes_max)
		return SEQ_REFUSED_BYTES;
	if (e->n > l->groups_max)
		return SEQ_REFUSED_GROUPS;
	while (seq_part(e, &walk, &part))
		if (part.group > last_group)
			return SEQ_REFUSED_GROUP;
	if (in->n >= l->requests_max || in->bytes + bytes > l->bytes_max)
		return SEQ_REFUSED_FULL;
	if (role_requests(in, e->role) >= l->role_requests_max)
		return SEQ_REFUSED_ROLE;
	walk = (SeqWalk) {0};
	while (seq_part(e, &walk, &part))
		if (sequencer_group_unfinished(s, part.group) >= l->group_unfinished_max)
			return SEQ_REFUSED_BEHIND;
	return SEQ_TAKEN;
}

SeqRefusal seq_inbox_offer(SeqInbox *in, const Sequencer *s, NdBlob *request, NdGroupId last_group)
{
	SeqEntry	e;
	SeqRefusal	refusal;
	uint32_t	at;

	if (seq_decode(request->data, request->len, &e) != ND_OK || e.kind != SEQ_REQUEST)
		return SEQ_REFUSED_MALFORMED;
	at = id_place(in, e.txn);
	if ((at < in->n && txnid_compare(in->ids[at], e.txn) == 0) || sequencer_find(s, e.txn) != NULL)
		return SEQ_TAKEN;
	refusal = judge(in, s, &e, request->len, last_group);
	if (refusal != SEQ_TAKEN)
		return refusal;
	if (!reserve(in))
		return SEQ_REFUSED_NOMEM;
	memmove(&in->ids[at + 1], &in->ids[at], (in->n - at) * sizeof(TxnId));
	in->ids[at] = e.txn;
	at = role_place(in, e.role);
	if (at == in->n_roles || in->roles[at].role != e.role)
	{
		memmove(&in->roles[at + 1], &in->roles[at], (in->n_roles - at) * sizeof(Role));
		in->roles[at] = (Role) {.role = e.role};
		in->n_roles++;
	}
	in->roles[at].n++;
	*waiting(in, in->n) = (Waiting) {nd_blob_ref(request), e.txn, e.role};
	in->n++;
	in->bytes += request->len;
	return SEQ_TAKEN;
}

NdStatus seq_inbox_close(SeqInbox *in, const Sequencer *s, uint64_t time, NdBuf *out)
{
	const SeqLimits *l = &in->limits;
	const NdBlob **requests;
	uint64_t	applied = sequencer_epoch(s);
	uint64_t	last = in->last_epoch > applied ? in->last_epoch : applied;
	uint64_t	bytes = 0;
	NdStatus	status;

	if (in->n == 0 || last - applied >= l->epochs_max)
		return ND_NOTFOUND;
	requests = nd_alloc((in->n < l->epoch_requests_max ? in->n : l->epoch_requests_max) * sizeof(*requests));
	if (requests == NULL)
		return ND_NOMEM;
	in->packed = 0;
	while (in->packed < in->n && in->packed < l->epoch_requests_max)
	{
		const NdBlob *request = waiting(in, in->packed)->request;

		bytes += request->len;
		if (in->packed > 0 && bytes > l->epoch_bytes_max)
			break;
		requests[in->packed++] = request;
	}
	if (time < sequencer_time(s) && !MUTANT(SEQ_TIME_BACK))
		time = sequencer_time(s);
	if (time < in->last_time)
		time = in->last_time;
	status = seq_encode_epoch(out, last + 1, time, requests, in->packed);
	nd_free(requests);
	in->packed_epoch = last + 1;
	in->last_time = time;
	return status;
}

void seq_inbox_proposed(SeqInbox *in)
{
	for (uint32_t i = 0; i < in->packed; i++)
	{
		Waiting    *w = waiting(in, 0);
		uint32_t	at = id_place(in, w->txn);

		in->n--;
		in->first++;
		in->bytes -= w->request->len;
		memmove(&in->ids[at], &in->ids[at + 1], (in->n - at) * sizeof(TxnId));
		at = role_place(in, w->role);
		if (--in->roles[at].n == 0)
			memmove(&in->roles[at], &in->roles[at + 1], (--in->n_roles - at) * sizeof(Role));
		nd_blob_unref(w->request);
	}
	in->last_epoch = in->packed_epoch;
	in->packed = 0;
}

uint32_t seq_inbox_requests(const SeqInbox *in)
{
	return in->n;
}

uint64_t seq_inbox_bytes(const SeqInbox *in)
{
	return in->bytes;
}

const char *seq_refusal_text(SeqRefusal refusal)
{
	switch (refusal)
	{
		case SEQ_TAKEN:
			return "taken";
		case SEQ_REFUSED_MALFORMED:
			return "malformed request";
		case SEQ_REFUSED_GROUP:
			return "no such group";
		case SEQ_REFUSED_GROUPS:
			return "the transaction touches too many groups";
		case SEQ_REFUSED_BYTES:
			return "the transaction is too large";
		case SEQ_REFUSED_FULL:
			return "too many transactions wait for the sequencer";
		case SEQ_REFUSED_ROLE:
			return "too many transactions of this role wait for the sequencer";
		case SEQ_REFUSED_BEHIND:
			return "too many transactions of a group are not finished";
		case SEQ_REFUSED_NOMEM:
			return "out of memory";
	}
	return "unknown";
}
