/*
 * circle.c: transactions that wait for each other's reservations in a circle over several groups.
 *
 * In one group nobody does (core/certifier/queue.c). Nor does who asks for reservations in ascending order of groups: along the chain of those that wait for each other the group
 * where one waits never falls, for who owns something there waits in a higher one, and within a group each waits for an earlier place. But a schema change whose second command
 * comes to a table of a lower group than its first asks there with something that others wait for in its hand.
 *
 * So its own node looks, when it asks and as long as it waits, and ends the other one: a schema change has done more by then, and never loses; the other is a statement
 * that has not begun, and is run again.
 *
 * Invariants:
 * 1. Only for an id that owns something in a higher group than it asks in: every circle has one, and if somebody looks for each there is no other.
 * 2. What is seen is as of what is delivered here of each group. A circle stays till somebody ends, so it is seen when all of it is delivered. One that is seen and is none, as a
 *    part of it is over already elsewhere, costs a transaction that had to wait an attempt.
 * 3. The end is a CANCEL in each group where the other owns or waits for something, based on its place there: safe whatever is true (orphan.c). Not only where it waits: before its backend
 *    has given up the rest, and asked for it once more, the schema change asks, and must find it free; it may be one that stands in no line, and would be refused again and again.
 */
#include "node_internal.h"

/* All ids that own or wait for something here fit in. */
typedef struct Chain
{
	TxnId	   *ids;
	uint32_t	n;
} Chain;

static bool add(Chain *chain, TxnId txn)
{
	for (uint32_t i = 0; i < chain->n; i++)
		if (txnid_compare(chain->ids[i], txn) == 0)
			return false;
	chain->ids[chain->n++] = txn;
	return true;
}

/* Where the id owns (waits = false) or waits: its place there. */
static bool find(const Node *n, NdGroupId group, TxnId txn, bool waits, CertifierReservation *out)
{
	for (uint64_t i = 0; node_reservation(n, group, i, out); i++)
		if (txnid_compare(out->txn, txn) == 0 && (out->since == 0) == waits)
			return true;
	return false;
}

/* Whom it waits for in this group with those keys. */
static void add_blockers(const NodeGroup *g, const CertifierReservation *ask, Chain *chain)
{
	CertifierReservation r;

	for (uint64_t i = 0; certifier_reservation(g->certifier, i, &r); i++)
		if (txnid_compare(r.txn, ask->txn) != 0 && certifier_waits_for(g->certifier, ask->index, ask->keys, ask->n_keys, r.txn))
			(void) add(chain, r.txn);
}

static bool reaches(const Node *n, TxnId from, TxnId to, Chain *chain)
{
	CertifierReservation r;

	chain->n = 0;
	(void) add(chain, from);
	for (uint32_t at = 0; at < chain->n; at++)
	{
		if (txnid_compare(chain->ids[at], to) == 0)
			return true;
		for (uint32_t i = 0; i < n->n_groups; i++)
			if (find(n, n->groups[i]->id, chain->ids[at], true, &r))
				add_blockers(n->groups[i], &r, chain);
	}
	return false;
}

static bool owns_above(const Node *n, NdGroupId group, TxnId txn)
{
	CertifierReservation r;

	for (uint32_t i = 0; i < n->n_groups; i++)
		if (n->groups[i]->id > group && find(n, n->groups[i]->id, txn, false, &r))
			return true;
	return false;
}

static void end(Node *n, TxnId txn, TxnId for_txn)
{
	CertifierReservation r;

	for (uint32_t i = 0; i < n->n_groups; i++)
		if ((find(n, n->groups[i]->id, txn, true, &r) || find(n, n->groups[i]->id, txn, false, &r)) &&
			node__propose_cancel(n->groups[i], txn, r.index, 4 * n->config.election_ticks) == ND_OK)
			node__log(n, 1, "group %u: transaction %u.%u.%llu is cancelled: it waits for %u.%u.%llu, and that one for it", n->groups[i]->id, txn.node,
					  txn.incarnation, (unsigned long long) txn.counter, for_txn.node, for_txn.incarnation, (unsigned long long) for_txn.counter);
}

static uint64_t count(const Node *n)
{
	CertifierStatus status;
	uint64_t	sum = 0;

	for (uint32_t i = 0; i < n->n_groups; i++)
		if (n->groups[i]->certifier != NULL)
		{
			certifier_status(n->groups[i]->certifier, &status);
			sum += status.reservations + status.waiting;
		}
	return sum;
}

static void end_blockers(Node *n, const NodeGroup *g, const CertifierReservation *ask, Chain *blockers, Chain *chain)
{
	add_blockers(g, ask, blockers);
	for (uint32_t i = 0; i < blockers->n; i++)
		if (reaches(n, blockers->ids[i], ask->txn, chain))
			end(n, blockers->ids[i], ask->txn);
}

void node_end_circle(Node *n, NdGroupId group, TxnId txn, const EntryHeader *wants)
{
	const NodeGroup *g = node__group(n, group);
	CertifierReservation ask;
	CertifierReservation own;
	uint64_t	n_ids;
	EntryKey   *keys = NULL;
	Chain		blockers = {NULL, 0};
	Chain		chain = {NULL, 0};

	if (g == NULL || g->certifier == NULL || !owns_above(n, group, txn))
		return;
	if (wants == NULL)
	{
		if (!find(n, group, txn, true, &ask))
			return;
	}
	else
	{
		keys = nd_alloc((wants->n_keys + 1) * sizeof(EntryKey));
		for (uint32_t i = 0; keys != NULL && i < wants->n_keys; i++)
			keys[i] = entry_key(wants, i);
		ask = (CertifierReservation) {.txn = txn, .index = UINT64_MAX, .keys = keys, .n_keys = keys != NULL ? wants->n_keys : 0};
		if (find(n, group, txn, false, &own))
			ask.index = own.index;
	}
	n_ids = count(n);
	blockers.ids = nd_alloc((n_ids + 1) * sizeof(TxnId));
	chain.ids = nd_alloc((n_ids + 1) * sizeof(TxnId));
	/* without memory: the next time */
	if (blockers.ids != NULL && chain.ids != NULL)
		end_blockers(n, g, &ask, &blockers, &chain);
	nd_free(blockers.ids);
	nd_free(chain.ids);
	nd_free(keys);
}
