/*
 * checks.c: the checkers: what must hold whatever happens.
 *
 * The first delivery of an entry anywhere makes it a fact of the ledger; every other node must deliver the same (state-machine safety).
 * Verdicts are judged once, against the ledger alone, by rules written down anew here: never with the certifier's own code.
 *
 * Invariants of this file: it changes nothing outside the ledger, the records and HostGroup's memory of the last look, and samples with
 * check_rng only. Raft: thesis figure 3.2 lists the properties; which function checks which is said there.
 */
#include "sim.h"

#include "../../src/core/wire/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_ACKS 80			/* one acknowledgement of so many is looked up on the disks */
#define AUDIT_DELIVERIES 300
#define AUDIT_VOTES 4
#define AUDIT_APPENDS 300
#define AUDITS_AFTER_CUT 4
#define LOG_WINDOW 256			/* entries of two logs compared at a time */

static bool one_in(Sim *s, uint64_t n)
{
	return nd_random_below(&s->check_rng, n) == 0;
}

/* ---- records of proposals ---- */

static uint64_t txn_hash(NdGroupId group, TxnId txn, EntryKind kind, uint16_t flags)
{
	uint64_t	parts[5] = {group, txn.node, txn.incarnation, txn.counter, (uint64_t) kind << 16 | flags};

	return nd_checksum(parts, sizeof parts, 0);
}

TxnRecord *check_txn(Sim *s, NdGroupId group, TxnId txn, EntryKind kind, uint16_t flags, bool create)
{
	uint32_t	i;

	if (2 * (s->n_txns + 1) > s->cap_txns)
	{
		TxnRecord  *old = s->txns;
		uint32_t	old_cap = s->cap_txns;

		s->txns = NULL;
		s->cap_txns = 0;
		s->txns = sim_grow(NULL, &s->cap_txns, old_cap ? 2 * old_cap : 1024, sizeof *s->txns);
		for (uint32_t o = 0; o < old_cap; o++)
			if (old[o].used)
			{
				for (i = txn_hash(old[o].group, old[o].txn, old[o].kind, old[o].flags) & (s->cap_txns - 1); s->txns[i].used; i = (i + 1) & (s->cap_txns - 1))
					;
				s->txns[i] = old[o];
			}
		free(old);
	}
	for (i = txn_hash(group, txn, kind, flags) & (s->cap_txns - 1); s->txns[i].used; i = (i + 1) & (s->cap_txns - 1))
	{
		TxnRecord  *t = &s->txns[i];

		if (t->group == group && t->kind == kind && t->flags == flags && txnid_compare(t->txn, txn) == 0)
			return t;
	}
	if (!create)
		return NULL;
	s->n_txns++;
	s->txns[i] = (TxnRecord) {.used = true, .group = group, .txn = txn, .kind = kind, .flags = flags};
	return &s->txns[i];
}

/* ---- disks: what would survive a power loss now ---- */

static bool platter_open(Host *h, MemVfs **disk, Store **store)
{
	StoreConfig config = h->sim->o.store;
	char		error[256] = "";
	NdStatus	status;

	*disk = memvfs_clone_durable(h->disk);
	*store = NULL;
	if (*disk == NULL)
		return false;
	config.dir = h->dir;
	config.node = h->id;
	status = store_open(memvfs_vfs(*disk), &config, store, error, sizeof error);
	if (status != ND_OK)
	{
		sim_fail(h->sim, "recovery", "node %u: what is durable cannot be opened: %s: %s", h->id, nd_status_text(status), error);
		memvfs_destroy(*disk);
		return false;
	}
	h->sim->audits++;
	return true;
}

static void platter_close(MemVfs *disk, Store *store)
{
	store_close(store);
	memvfs_destroy(disk);
}

static bool holds(Store *store, NdGroupId group, uint64_t index, uint64_t term)
{
	RaftRestore r;

	if (store_restore(store, group, &r) != ND_OK)
		return false;
	return index < r.first_index || (index <= r.last_index && store_term(store, group, index) == term);
}

static bool on_platter(Host *h, NdGroupId group, uint64_t index, uint64_t term)
{
	MemVfs	   *disk;
	Store	   *store;
	bool		found;

	if (h->n_injuries > 0)
		return true;			/* what it holds is not what it thinks: a lost disk, of which a minority is allowed */
	if (!platter_open(h, &disk, &store))
		return false;
	found = holds(store, sim_id(h->sim, group), index, term);
	platter_close(disk, store);
	return found;
}

static bool majority_of(const RaftConfiguration *c, bool old, const bool *has, uint32_t *n, uint32_t *voters)
{
	*n = *voters = 0;
	for (uint32_t i = 0; i < c->n; i++)
		if (old ? c->members[i].in_old : c->members[i].role == RAFT_VOTER)
		{
			++*voters;
			*n += has[c->members[i].node];
		}
	return 2 * *n > *voters;
}

/* n of voters: of the majority that is missing, if one is. */
static bool majority(const RaftConfiguration *c, const bool *has, uint32_t *n, uint32_t *voters)
{
	return majority_of(c, false, has, n, voters) && (!c->joint || majority_of(c, true, has, n, voters));
}

/*
 * Durable before acknowledged: a majority of the disks holds the entry. Of which configuration? The one in effect when it was committed:
 * the newest not above it, or a later one that was appended meanwhile, delivered by now or only in a log.
 */
static void audit_ack(Host *h, NdGroupId group, uint64_t index)
{
	Sim		   *s = h->sim;
	Ledger	   *l = &s->ledgers[group];
	bool		has[SIM_NODES_MAX] = {false};
	uint32_t	n = 0;
	uint32_t	voters = 0;
	bool		good = false;

	for (NdNodeId id = 1; id < s->next_id; id++)
		has[id] = on_platter(&s->hosts[id], group, index, l->entries[index - 1].term);
	for (uint32_t i = l->n_configurations; i-- > 0 && !good;)
	{
		good = majority(&l->configurations[i], has, &n, &voters);
		if (l->configurations[i].index <= index)
			break;
	}
	for (NdNodeId id = 1; id < s->next_id && !good; id++)
	{
		const Raft *r = s->hosts[id].up ? host_raft(&s->hosts[id], group) : NULL;
		const RaftConfiguration *c = r != NULL ? raft_configuration(r) : NULL;

		good = c != NULL && c->index > index && majority(c, has, &n, &voters);
	}
	sim_trace(s, T_AUDIT, h->id, group, index, n, voters, 0);
	if (!good)
		sim_fail(s, "durable before acknowledged", "group %u entry %" PRIu64 " is acknowledged by node %u and durable on %u of %u voters", group, index, h->id, n, voters);
}

void check_acked(Host *h, NdGroupId group, uint64_t index)
{
	Sim		   *s = h->sim;
	Ledger	   *l = &s->ledgers[group];

	l->entries[index - 1].acked = true;
	if (l->read_floor < index)
		l->read_floor = index;
	if (one_in(s, AUDIT_ACKS))
		audit_ack(h, group, index);
}

/* ---- the oracle's certifier ---- */

static bool lists_conflict(const EntryKey *a, uint32_t n_a, const EntryKey *b, uint32_t n_b, uint64_t *key)
{
	for (uint32_t i = 0; i < n_a; i++)
		for (uint32_t j = 0; j < n_b; j++)
			if (a[i].hash == b[j].hash && key_modes_conflict(a[i].mode, b[j].mode))
			{
				*key = a[i].hash;
				return true;
			}
	return false;
}

static bool key_conflict(const LedgerEntry *a, const LedgerEntry *b, uint64_t *key)
{
	return lists_conflict(a->keys, a->n_keys, b->keys, b->n_keys, key);
}

/* Does a want what b owns, or waits for? A part owns what it read, too. */
static bool owner_conflict(const LedgerEntry *a, const LedgerEntry *b, uint64_t *key)
{
	uint32_t	a_reads = a->entry_kind == ENTRY_MARKER ? a->n_read_keys : 0;
	uint32_t	b_reads = b->entry_kind == ENTRY_MARKER ? b->n_read_keys : 0;

	return key_conflict(a, b, key) || lists_conflict(a->read_keys, a_reads, b->keys, b->n_keys, key) ||
		lists_conflict(a->keys, a->n_keys, b->read_keys, b_reads, key) || lists_conflict(a->read_keys, a_reads, b->read_keys, b_reads, key);
}

/* What took effect at an entry: the TXN itself, or the MARKER of an OUTCOME. NULL: nothing did. */
static const LedgerEntry *effect(const Ledger *l, uint64_t index)
{
	const LedgerEntry *e = &l->entries[index - 1];

	if (!e->has_header || e->verdict.kind != VERDICT_COMMIT)
		return NULL;
	return e->entry_kind == ENTRY_TXN ? e : e->entry_kind == ENTRY_OUTCOME ? &l->entries[e->verdict.by_index - 1] : NULL;
}

/* A driver cancels what nodes that are gone have left, and announces its own new life: no client proposed that. */
static bool drivers_cancel(EntryKind kind, uint16_t flags)
{
	return kind == ENTRY_CANCEL && flags == NODE_CANCEL_FLAGS;
}

static void not_cancelled(Sim *s, NdGroupId group, uint64_t index, const TxnRecord *t)
{
	if (t != NULL && t->seen_index)
		sim_fail(s, "cancelled", "group %u entry %" PRIu64 " commits, but was cancelled at %" PRIu64, group, index, t->seen_index);
}

/* Nobody changed between base and index what e relied on. */
static void judge_changes(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e)
{
	Ledger	   *l = &s->ledgers[group];
	uint64_t	key;

	for (uint64_t i = e->base + 1; i < index; i++)
	{
		const LedgerEntry *by = effect(l, i);

		if (by != NULL && key_conflict(e, by, &key))
			sim_fail(s, "serializability", "group %u entry %" PRIu64 " with base %" PRIu64 " commits, but entry %" PRIu64 " changed key %016" PRIx64,
					 group, index, e->base, i, key);
	}
	for (uint64_t i = e->reads.base + 1; e->n_read_keys > 0 && i < index; i++)
	{
		const LedgerEntry *by = effect(l, i);

		if (by != NULL && lists_conflict(e->read_keys, e->n_read_keys, by->keys, by->n_keys, &key))
			sim_fail(s, "serializability", "group %u entry %" PRIu64 " read as of %" PRIu64 " and commits, but entry %" PRIu64 " changed key %016" PRIx64,
					 group, index, e->reads.base, i, key);
	}
}

/* Serializable: nobody changed between base and position what the transaction relied on, and nobody else owns it. */
static void judge_commit(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e)
{
	Ledger	   *l = &s->ledgers[group];
	uint64_t	key;
	TxnRecord  *t;

	/* A reservation's owner has not done anything yet. */
	if (e->entry_kind != ENTRY_RESERVE)
		judge_changes(s, group, index, e);
	for (uint32_t i = 0; i < l->n_reservations; i++)
		if (txnid_compare(l->reservations[i].txn, e->txn) != 0 && owner_conflict(e, &l->entries[l->reservations[i].index - 1], &key))
			sim_fail(s, "reservation", "group %u entry %" PRIu64 " commits, but key %016" PRIx64 " is reserved by entry %" PRIu64,
					 group, index, key, l->reservations[i].index);
	if (e->txn.node < SIM_NODES_MAX && e->txn.incarnation < l->fence[e->txn.node])
		sim_fail(s, "fence", "group %u entry %" PRIu64 " of node %u, incarnation %u, commits behind incarnation %u",
				 group, index, e->txn.node, e->txn.incarnation, l->fence[e->txn.node]);
	not_cancelled(s, group, index, check_txn(s, group, e->txn, ENTRY_CANCEL, NODE_CANCEL_FLAGS, false));
	for (uint16_t attempt = 0; (t = check_txn(s, group, e->txn, ENTRY_CANCEL, attempt, false)) != NULL; attempt++)
		not_cancelled(s, group, index, t);
}

static void judge_conflict(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e)
{
	Ledger	   *l = &s->ledgers[group];
	uint64_t	by = e->verdict.by_index;
	const LedgerEntry *winner = by > 0 && by < index ? effect(l, by) : NULL;
	uint64_t	key;
	bool		real = false;

	for (uint32_t i = 0; winner != NULL && by > e->base && i < e->n_keys; i++)
		real = real || (e->keys[i].hash == e->verdict.key && lists_conflict(&e->keys[i], 1, winner->keys, winner->n_keys, &key));
	for (uint32_t i = 0; winner != NULL && by > e->reads.base && i < e->n_read_keys; i++)
		real = real || (e->read_keys[i].hash == e->verdict.key && lists_conflict(&e->read_keys[i], 1, winner->keys, winner->n_keys, &key));
	if (!real)
		sim_fail(s, "false conflict", "group %u entry %" PRIu64 " with base %" PRIu64 " aborts for key %016" PRIx64 " of entry %" PRIu64 ", which is no conflict",
				 group, index, e->base, e->verdict.key, by);
}

static void end_reservations(Ledger *l, const LedgerEntry *e)
{
	for (uint32_t i = l->n_reservations; i-- > 0;)
	{
		TxnId		owner = l->reservations[i].txn;
		bool		over = e->txn.node == owner.node && e->txn.incarnation > owner.incarnation;

		over = over || (txnid_compare(owner, e->txn) == 0 && (e->entry_kind == ENTRY_TXN || e->entry_kind == ENTRY_CANCEL));
		if (l->reservations[i].marker)
			over = e->entry_kind == ENTRY_OUTCOME && txnid_compare(owner, e->txn) == 0;
		if (over)
			l->reservations[i] = l->reservations[--l->n_reservations];
	}
	for (uint32_t i = l->n_waiting; i-- > 0;)
	{
		TxnId		waiter = l->waiting[i].txn;
		bool		over = e->txn.node == waiter.node && e->txn.incarnation > waiter.incarnation;

		over = over || (txnid_compare(waiter, e->txn) == 0 && (e->entry_kind == ENTRY_TXN || e->entry_kind == ENTRY_CANCEL ||
															   (e->entry_kind == ENTRY_RESERVE && e->verdict.kind <= VERDICT_ABORT_RESERVED) || e->verdict.kind == VERDICT_QUEUED));
		if (over)
			memmove(&l->waiting[i], &l->waiting[i + 1], (--l->n_waiting - i) * sizeof *l->waiting);
	}
}

/* ---- the queue of reservations, by what stands in the log alone ---- */

/* The first RESERVE of what this id owns; UINT64_MAX: nothing. */
static uint64_t place_of(const Ledger *l, TxnId txn)
{
	uint64_t	place = UINT64_MAX;

	for (uint32_t i = 0; i < l->n_reservations; i++)
		if (txnid_compare(l->reservations[i].txn, txn) == 0 && l->reservations[i].index < place)
			place = l->reservations[i].index;
	return place;
}

/* The RESERVE, owned or waited for, that this one has to wait for; 0: none. */
static uint64_t waits_behind(const Ledger *l, const LedgerEntry *e, uint64_t before)
{
	uint64_t	key;

	for (uint32_t i = 0; i < l->n_reservations; i++)
		if (txnid_compare(l->reservations[i].txn, e->txn) != 0 && owner_conflict(e, &l->entries[l->reservations[i].index - 1], &key))
			return l->reservations[i].index;
	for (uint32_t i = 0; i < l->n_waiting && l->waiting[i].index < before; i++)
		if (txnid_compare(l->waiting[i].txn, e->txn) != 0 && owner_conflict(e, &l->entries[l->waiting[i].index - 1], &key))
			return l->waiting[i].index;
	return 0;
}

static void reserve(Ledger *l, Reservation r)
{
	l->reservations = sim_grow(l->reservations, &l->cap_reservations, l->n_reservations + 1, sizeof *l->reservations);
	l->reservations[l->n_reservations++] = r;
}

static void own(Ledger *l, const LedgerEntry *e, uint64_t index, uint64_t since)
{
	uint64_t	ends = e->age > 0 ? since + e->age : 0;

	for (uint32_t i = 0; i < l->n_reservations; i++)
		if (txnid_compare(l->reservations[i].txn, e->txn) == 0 && l->reservations[i].ends == 0)
			ends = 0;
	reserve(l, (Reservation) {e->txn, index, ends, false});
	for (uint32_t i = 0; i < l->n_reservations; i++)
		if (txnid_compare(l->reservations[i].txn, e->txn) == 0)
			l->reservations[i].ends = ends;
}

static void judge_reserve(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e)
{
	Ledger	   *l = &s->ledgers[group];
	uint64_t	place = place_of(l, e->txn);
	uint64_t	behind = waits_behind(l, e, place);

	if (e->verdict.kind == VERDICT_COMMIT && behind != 0)
		sim_fail(s, "queue", "group %u entry %" PRIu64 " owns what entry %" PRIu64 " owns or waits for", group, index, behind);
	if ((e->verdict.kind == VERDICT_QUEUED || e->verdict.kind == VERDICT_ABORT_RESERVED) && behind == 0)
		sim_fail(s, "queue", "group %u entry %" PRIu64 " waits or is refused, but nothing stands in its way", group, index);
	if (e->verdict.kind == VERDICT_QUEUED && (!e->waits || place != UINT64_MAX))
		sim_fail(s, "queue", "group %u entry %" PRIu64 " waits, which it did not ask for", group, index);
	if (e->verdict.kind == VERDICT_ABORT_RESERVED && e->waits && place == UINT64_MAX)
		sim_fail(s, "queue", "group %u entry %" PRIu64 " is refused, but could have waited", group, index);
	if (e->verdict.kind == VERDICT_QUEUED)
	{
		l->waiting = sim_grow(l->waiting, &l->cap_waiting, l->n_waiting + 1, sizeof *l->waiting);
		l->waiting[l->n_waiting++] = (Reservation) {.txn = e->txn, .index = index};
	}
}

/* Behind an entry: what is too old ends, and whoever waits for nobody any more owns. */
static void turns(Ledger *l, uint64_t index)
{
	for (uint32_t i = l->n_reservations; i-- > 0;)
		if (l->reservations[i].ends != 0 && l->reservations[i].ends <= index)
			l->reservations[i] = l->reservations[--l->n_reservations];
	for (uint32_t i = 0; i < l->n_waiting;)
	{
		uint64_t	reserve = l->waiting[i].index;
		const LedgerEntry *e = &l->entries[reserve - 1];

		if (waits_behind(l, e, reserve) != 0)
		{
			i++;
			continue;
		}
		memmove(&l->waiting[i], &l->waiting[i + 1], (--l->n_waiting - i) * sizeof *l->waiting);
		own(l, e, reserve, index);
		l->turns = sim_grow(l->turns, &l->cap_turns, l->n_turns + 1, sizeof *l->turns);
		l->turns[l->n_turns++] = (Reservation) {.txn = e->txn, .index = index};
	}
}

/* It neither owns nor waits any more: its turn came and ended by age. */
bool check_turn_over(const Sim *s, NdGroupId group, TxnId txn)
{
	const Ledger *l = &s->ledgers[group];

	for (uint32_t i = 0; i < l->n_waiting; i++)
		if (txnid_compare(l->waiting[i].txn, txn) == 0)
			return false;
	return place_of(l, txn) == UINT64_MAX;
}

/* The driver says that it is the turn of an id of its own, or has not said it yet of the one that waits since entry `after`. */
void check_turn(Host *h, NdGroupId group, TxnId txn, uint64_t after, bool said)
{
	const Ledger *l = &h->sim->ledgers[group];

	for (uint32_t i = 0; i < l->n_turns; i++)
		if (txnid_compare(l->turns[i].txn, txn) == 0 && l->turns[i].index > after)
		{
			/* A snapshot's rows are in before its certifier is, by which the driver tells; and it does not know of turns that came and ended before it. */
			if (!said && h->up && host_watermark(h, group) >= l->turns[i].index && host_status(h, group).delivered >= l->turns[i].index &&
				!(h->sim->o.snapshots && check_turn_over(h->sim, group, txn)))
				sim_fail(h->sim, "queue", "node %u group %u: proposal %" PRIu64 " was not told that its turn came behind entry %" PRIu64,
						 h->id, group, txn.counter, l->turns[i].index);
			return;
		}
	/* after a snapshot it tells of all that own something */
	if (said && (txn.node != h->id || place_of(l, txn) == UINT64_MAX) && !h->sim->o.snapshots)
		sim_fail(h->sim, "queue", "node %u group %u: it is told to be the turn of proposal %" PRIu64 " of node %u, and is not", h->id, group, txn.counter, txn.node);
}

static void oracle_apply(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e)
{
	Ledger	   *l = &s->ledgers[group];

	for (uint32_t i = 0; i < e->reads.n; i++)
		if (l->table[e->reads.rows[i].key] != e->reads.rows[i].was)
			sim_fail(s, "stale read", "group %u entry %" PRIu64 " commits, but has read %" PRIu64 " in key %u, which holds %" PRIu64 " by now",
					 group, index, e->reads.rows[i].was, e->reads.rows[i].key, l->table[e->reads.rows[i].key]);
	for (uint32_t i = 0; i <= e->n_chunks; i++)
	{
		const LedgerEntry *part = i < e->n_chunks ? &l->entries[e->chunks[i] - 1] : e;

		for (uint32_t j = 0; j < part->n_pairs; j++)
		{
			const SimPair *p = &part->pairs[j];

			if (l->table[p->key] != p->was)
				sim_fail(s, "lost update", "group %u entry %" PRIu64 " read %" PRIu64 " in key %u, which holds %" PRIu64 " by now",
						 group, index, p->was, p->key, l->table[p->key]);
			l->table[p->key] = p->is;
		}
	}
}

/* ---- transactions over several groups ---- */

static int place_in(const NdGroupId *groups, uint32_t n, NdGroupId group)
{
	for (uint32_t i = 0; i < n; i++)
		if (groups[i] == group)
			return (int) i;
	return -1;
}

/* The position that the entry names: one transaction, one set of groups, wherever it is named. */
static Order *order_of(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e)
{
	Order	   *o;

	if (e->position == 0 || e->position > UINT32_MAX / 8 || e->n_groups < 2 || place_in(e->groups, e->n_groups, group) < 0)
	{
		sim_fail(s, "validity", "group %u entry %" PRIu64 ": position %" PRIu64 ", %u groups", group, index, e->position, e->n_groups);
		return NULL;
	}
	s->orders = sim_grow(s->orders, &s->cap_orders, (uint32_t) e->position + 1, sizeof *s->orders);
	if (s->n_orders <= e->position)
		s->n_orders = (uint32_t) e->position + 1;
	o = &s->orders[e->position];
	if (!o->used)
	{
		o->used = true;
		o->txn = e->txn;
		o->n_groups = e->n_groups;
		memcpy(o->groups, e->groups, sizeof o->groups);
	}
	if (txnid_compare(o->txn, e->txn) != 0 || o->n_groups != e->n_groups || memcmp(o->groups, e->groups, sizeof o->groups) != 0)
	{
		sim_fail(s, "one order", "group %u entry %" PRIu64 ": position %" PRIu64 " is of another transaction elsewhere", group, index, e->position);
		return NULL;
	}
	return o;
}

/* A group votes by a marker: in the order of positions, each once. */
static void judge_marker(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e)
{
	Ledger	   *l = &s->ledgers[group];
	TxnRecord  *request = check_txn(s, s->o.data_groups + 1, e->txn, ENTRY_MARKER, 0, false);
	TxnRecord  *part = check_txn(s, group, e->txn, ENTRY_MARKER, 0, false);
	VerdictKind v = e->verdict.kind;
	Order	   *o = order_of(s, group, index, e);
	bool		next = e->previous == l->position && e->position > l->position;

	if (o == NULL)
		return;
	if (request == NULL || part == NULL)
	{
		sim_fail(s, "validity", "group %u entry %" PRIu64 " was requested by nobody", group, index);
		return;
	}
	if (request->not_sent)
		sim_fail(s, "not sent", "group %u entry %" PRIu64 ": request %" PRIu64 " of node %u was surely not sent", group, index, e->txn.counter, e->txn.node);
	request->seen_index = 1;
	if ((v == VERDICT_REPEATED) == next)
		sim_fail(s, "order of markers", "group %u entry %" PRIu64 ": position %" PRIu64 " behind %" PRIu64 " gets verdict %d behind position %" PRIu64,
				 group, index, e->position, e->previous, v, l->position);
	if (v == VERDICT_REPEATED)
		return;
	l->position = e->position;
	o->markers[place_in(o->groups, o->n_groups, group)] = index;
	if (part->seen_index && (v == VERDICT_PREPARED || v == VERDICT_ABORT_CONFLICT || v == VERDICT_ABORT_RESERVED))
		sim_fail(s, "duplicate", "group %u entry %" PRIu64 " is the copy of entry %" PRIu64 " and gets verdict %d of its own", group, index, part->seen_index, v);
	if (part->seen_index == 0)
		part->seen_index = index;
	end_reservations(l, &(LedgerEntry) {.txn = e->txn, .entry_kind = ENTRY_CHUNK});
	if (v == VERDICT_PREPARED)
	{
		judge_commit(s, group, index, e);
		if (waits_behind(l, e, UINT64_MAX) != 0)
			sim_fail(s, "queue", "group %u entry %" PRIu64 " votes yes, but entry %" PRIu64 " waits for what it wants", group, index, waits_behind(l, e, UINT64_MAX));
		reserve(l, (Reservation) {.txn = e->txn, .index = index, .marker = true});
	}
	else
	{
		o->refused = true;
		if (o->commit)
			sim_fail(s, "all or nothing", "group %u votes no at entry %" PRIu64 ", but position %" PRIu64 " commits elsewhere", group, index, e->position);
	}
	if (v == VERDICT_ABORT_CONFLICT)
		judge_conflict(s, group, index, e);
	if (e->txn.node < SIM_NODES_MAX && e->txn.incarnation > l->fence[e->txn.node])
		l->fence[e->txn.node] = e->txn.incarnation;
}

/* One decision, one transaction, one outcome, in all groups; and in each in the order of decisions: so the groups' orders fit one serial order. */
static void judge_outcome(Sim *s, NdGroupId group, uint64_t index, const LedgerEntry *e, uint16_t flags)
{
	Ledger	   *l = &s->ledgers[group];
	TxnRecord  *request = check_txn(s, s->o.data_groups + 1, e->txn, ENTRY_MARKER, 0, false);
	Order	   *o = order_of(s, group, index, e);
	bool		next = e->previous == l->decision && e->decision > l->decision;
	bool		commit = e->verdict.kind == VERDICT_COMMIT;
	const LedgerEntry *marker;
	int			at;

	if (o == NULL || request == NULL)
	{
		sim_fail(s, "validity", "group %u entry %" PRIu64 " is the outcome of nothing", group, index);
		return;
	}
	if ((e->verdict.kind == VERDICT_REPEATED) == next)
		sim_fail(s, "order of outcomes", "group %u entry %" PRIu64 ": decision %" PRIu64 " behind %" PRIu64 " gets verdict %d behind decision %" PRIu64,
				 group, index, e->decision, e->previous, e->verdict.kind, l->decision);
	s->decided = sim_grow(s->decided, &s->cap_decided, (uint32_t) e->decision + 1, sizeof *s->decided);
	if ((s->decided[e->decision] != 0 && s->decided[e->decision] != e->position) || (o->decision != 0 && (o->decision != e->decision || o->commit != (flags != 0))))
		sim_fail(s, "all or nothing", "group %u entry %" PRIu64 ": decision %" PRIu64 " of position %" PRIu64 " is %s, elsewhere it is %" PRIu64 ": %s", group, index,
				 e->decision, e->position, flags ? "commit" : "abort", o->decision, o->commit ? "commit" : "abort");
	s->decided[e->decision] = e->position;
	o->decision = e->decision;
	o->commit = flags != 0;
	if (o->commit && o->refused)
		sim_fail(s, "all or nothing", "group %u entry %" PRIu64 ": position %" PRIu64 " commits, but a group voted no", group, index, e->position);
	if (e->verdict.kind == VERDICT_REPEATED)
		return;
	l->decision = e->decision;
	at = place_in(o->groups, o->n_groups, group);
	o->outcomes[at] = index;
	end_reservations(l, e);
	if (commit != (flags != 0) || (commit && (e->verdict.by_index == 0 || e->verdict.by_index != o->markers[at])))
	{
		sim_fail(s, "all or nothing", "group %u entry %" PRIu64 ": verdict %d by %" PRIu64 " of an outcome of position %" PRIu64, group, index,
				 e->verdict.kind, e->verdict.by_index, e->position);
		return;
	}
	if (!commit)
	{
		l->aborts++;
		return;
	}
	if (request->told_abort || (request->commit_index && request->commit_index != e->decision))
		sim_fail(s, request->told_abort ? "answer" : "applied twice", "group %u entry %" PRIu64 ": request %" PRIu64 " of node %u commits, its client was told that it aborts, or it did elsewhere",
				 group, index, e->txn.counter, e->txn.node);
	request->commit_index = e->decision;
	marker = &l->entries[e->verdict.by_index - 1];
	judge_changes(s, group, index, marker);
	l->commits++;
	oracle_apply(s, group, index, marker);
	s->several += o->outcomes[0] && o->outcomes[1] && (o->n_groups < 3 || o->outcomes[2]);
}

/* What the sequencer's leaders wrote: epochs without a gap, and time does not go back. */
static void judge_sequencer(Sim *s, uint64_t index, const RaftEntry *raw)
{
	Ledger	   *l = &s->ledgers[s->o.data_groups + 1];
	SeqEntry	e;

	if (raw->kind != RAFT_ENTRY_DATA || raw->payload == NULL)
		return;
	if (seq_decode(raw->payload->data, raw->payload->len, &e) != ND_OK)
	{
		sim_fail(s, "validity", "entry %" PRIu64 " of the sequencer is malformed", index);
		return;
	}
	if (e.kind != SEQ_EPOCH)
		return;
	if (e.epoch != l->position + 1 || e.time < l->decision)
		sim_fail(s, "epochs", "entry %" PRIu64 " of the sequencer is epoch %" PRIu64 " at %" PRIu64 ", behind epoch %" PRIu64 " at %" PRIu64,
				 index, e.epoch, e.time, l->position, l->decision);
	l->position = e.epoch;
	l->decision = e.time;
}

/* How many of its parts the tables show. */
static uint32_t parts_shown(const Host *h, const Order *o, bool durable)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < o->n_groups; i++)
	{
		const HostGroup *hg = &h->groups[o->groups[i]];

		n += o->outcomes[i] > 0 && o->outcomes[i] <= (durable ? hg->durable : hg->applied);
	}
	return n;
}

bool check_whole(const Host *h)
{
	for (uint32_t i = 0; i < h->sim->n_orders; i++)
	{
		const Order *o = &h->sim->orders[i];
		uint32_t	n = o->used && o->commit ? parts_shown(h, o, true) : 0;

		if (n > 0 && n < o->n_groups)
		{
			/* A snapshot is of one group, and durable at once: until the others have caught up with it the tables are not to be read. */
			if (!h->torn)
				sim_fail(h->sim, "all or nothing", "node %u: a crash keeps %u of %u parts of position %u", h->id, n, o->n_groups, i);
			return false;
		}
	}
	return true;
}

void check_parts(Host *h, const Ticket *t)
{
	const Order *o = &h->sim->orders[t->position];
	uint32_t	n = parts_shown(h, o, false);

	if (n < o->n_groups)
		sim_fail(h->sim, "all or nothing", "node %u shows %u of %u parts of position %" PRIu64, h->id, n, o->n_groups, t->position);
}

/* ---- verdicts ---- */

/* A verdict becomes a fact. */
static void judge(Sim *s, NdGroupId group, uint64_t index, LedgerEntry *e, uint16_t flags)
{
	Ledger	   *l = &s->ledgers[group];
	TxnRecord  *t;
	bool		commit = e->verdict.kind == VERDICT_COMMIT;

	if (e->entry_kind == ENTRY_MARKER || e->entry_kind == ENTRY_OUTCOME)
	{
		if (e->entry_kind == ENTRY_MARKER)
			judge_marker(s, group, index, e);
		else
			judge_outcome(s, group, index, e, flags);
		turns(l, index);
		return;
	}
	t = check_txn(s, group, e->txn, e->entry_kind, flags, drivers_cancel(e->entry_kind, flags));
	if (t == NULL)
	{
		sim_fail(s, "validity", "group %u entry %" PRIu64 " was proposed by nobody", group, index);
		return;
	}
	if (t->not_sent)
		sim_fail(s, "not sent", "group %u entry %" PRIu64 ": proposal %" PRIu64 " of node %u was surely not sent", group, index, e->txn.counter, e->txn.node);
	if (t->seen_index && e->entry_kind != ENTRY_CHUNK && e->entry_kind != ENTRY_CANCEL &&
		(commit || e->verdict.kind == VERDICT_QUEUED || e->verdict.kind == VERDICT_ABORT_CONFLICT || e->verdict.kind == VERDICT_ABORT_RESERVED))
		sim_fail(s, "duplicate", "group %u entry %" PRIu64 " is the copy of entry %" PRIu64 " and gets verdict %d of its own", group, index, t->seen_index, e->verdict.kind);
	if (t->seen_index == 0)
		t->seen_index = index;
	if (e->base >= index)
		sim_fail(s, "validity", "group %u entry %" PRIu64 " has base %" PRIu64, group, index, e->base);

	/* The fence falls with the entry itself, whatever its verdict: what it frees is free for it already. */
	end_reservations(l, &(LedgerEntry) {.txn = e->txn, .entry_kind = ENTRY_CHUNK});
	if (commit)
		judge_commit(s, group, index, e);
	if (e->verdict.kind == VERDICT_ABORT_CONFLICT)
		judge_conflict(s, group, index, e);
	end_reservations(l, e);
	if (e->entry_kind == ENTRY_RESERVE)
		judge_reserve(s, group, index, e);
	if (commit && e->entry_kind == ENTRY_TXN)
	{
		if (t->commit_index)
			sim_fail(s, "applied twice", "group %u: proposal %" PRIu64 " of node %u commits at %" PRIu64 " and at %" PRIu64,
					 group, e->txn.counter, e->txn.node, t->commit_index, index);
		if (t->told_abort)
			sim_fail(s, "answer", "group %u entry %" PRIu64 ": proposal %" PRIu64 " of node %u commits, its client was told that it has lost", group, index, e->txn.counter, e->txn.node);
		t->commit_index = index;
		l->commits++;
		oracle_apply(s, group, index, e);
	}
	else if (commit && e->n_keys > 0)
		own(l, e, index, index);
	else
		l->aborts += e->entry_kind == ENTRY_TXN;
	if (e->txn.node < SIM_NODES_MAX && e->txn.incarnation > l->fence[e->txn.node])
		l->fence[e->txn.node] = e->txn.incarnation;
	turns(l, index);
}

/* ---- deliveries ---- */

static void ledger_add(Host *h, const NodeDelivery *d, const RaftEntry *raw, uint64_t hash)
{
	Sim		   *s = h->sim;
	Ledger	   *l = &s->ledgers[d->group];
	LedgerEntry *e;
	uint32_t	cap;
	RaftStatus	raft;

	raft_status(host_raft(h, d->group), &raft);
	l->entries = sim_grow(l->entries, &l->cap, (uint32_t) l->n + 1, sizeof *l->entries);
	e = &l->entries[l->n++];
	*e = (LedgerEntry) {.term = d->term, .seen_term = raft.term, .kind = d->kind, .hash = hash, .has_header = d->has_header};
	if (d->kind == RAFT_ENTRY_CONFIG)
	{
		RaftConfiguration c;

		if (raw->payload == NULL || raft_configuration_decode(raw->payload->data, raw->payload->len, &c) != ND_OK)
			sim_fail(s, "validity", "group %u entry %" PRIu64 ": malformed configuration", d->group, d->index);
		else
		{
			c.index = d->index;
			l->configuration = c;
			l->configurations = sim_grow(l->configurations, &l->cap_configurations, l->n_configurations + 1, sizeof *l->configurations);
			l->configurations[l->n_configurations++] = c;
		}
	}
	if (sim_sequencer(s, d->group))
		judge_sequencer(s, d->index, raw);
	if (!d->has_header)
		return;
	e->entry_kind = d->header.kind;
	e->position = d->header.position;
	e->previous = d->header.previous;
	e->decision = d->header.decision;
	if (d->header.n_groups > SIM_PARTS_MAX)
	{
		sim_fail(s, "validity", "group %u entry %" PRIu64 ": %u groups", d->group, d->index, d->header.n_groups);
		return;
	}
	e->n_groups = d->header.n_groups;
	entry_groups(&d->header, e->groups);
	e->txn = d->header.txn;
	e->base = d->header.base;
	e->verdict = d->verdict;
	e->n_keys = d->header.n_keys;
	cap = 0;
	e->keys = sim_grow(NULL, &cap, e->n_keys + 1, sizeof *e->keys);
	for (uint32_t i = 0; i < e->n_keys; i++)
		e->keys[i] = entry_key(&d->header, i);
	if (d->header.n_reads > SIM_READS_MAX)
	{
		sim_fail(s, "validity", "group %u entry %" PRIu64 ": %u reads", d->group, d->index, d->header.n_reads);
		return;
	}
	e->n_read_keys = d->header.n_reads;
	e->reads.base = d->header.read_base;
	for (uint32_t i = 0; i < e->n_read_keys; i++)
		e->read_keys[i] = entry_read(&d->header, i);
	e->waits = entry_reserve_waits(&d->header, &e->age);
	e->n_chunks = d->header.n_chunks;
	cap = 0;
	e->chunks = sim_grow(NULL, &cap, e->n_chunks + 1, sizeof *e->chunks);
	entry_chunks(&d->header, e->chunks);
	if (!drivers_cancel(d->header.kind, d->header.flags) && d->header.kind != ENTRY_OUTCOME && d->header.kind != ENTRY_RESERVE &&
		 !clients_decode_body(d->header.body, d->header.body_len, e->pairs, &e->n_pairs, &e->reads))
		sim_fail(s, "validity", "group %u entry %" PRIu64 ": not the bytes of a client", d->group, d->index);
	judge(s, d->group, d->index, e, d->header.flags);
}

static bool verdicts_equal(const Verdict *a, const Verdict *b)
{
	return a->kind == b->kind && a->key == b->key && a->by_index == b->by_index && txnid_compare(a->by_txn, b->by_txn) == 0 && a->first == b->first;
}

static void ledger_compare(Host *h, const NodeDelivery *d, uint64_t hash)
{
	LedgerEntry *e = &h->sim->ledgers[d->group].entries[d->index - 1];

	if (e->term != d->term || e->kind != d->kind || e->hash != hash)
		sim_fail(h->sim, "state machine safety", "node %u group %u entry %" PRIu64 ": term %" PRIu64 " hash %016" PRIx64 ", elsewhere term %" PRIu64 " hash %016" PRIx64,
				 h->id, d->group, d->index, d->term, hash, e->term, e->hash);
	else if (e->has_header != d->has_header || (d->has_header && !verdicts_equal(&e->verdict, &d->verdict)))
		sim_fail(h->sim, "equal verdicts", "node %u group %u entry %" PRIu64 ": verdict %d by %" PRIu64 ", elsewhere %d by %" PRIu64,
				 h->id, d->group, d->index, d->verdict.kind, d->verdict.by_index, e->verdict.kind, e->verdict.by_index);
}

static void check_order(Host *h, const NodeDelivery *d)
{
	const Sim  *s = h->sim;
	HostGroup  *hg = &h->groups[d->group];

	/* Its state is in no table: the stream begins behind its checkpoint, and goes on behind that of a snapshot. */
	if (sim_sequencer(s, d->group))
	{
		uint64_t	checkpoint = host_status(h, d->group).applied_start;

		if (d->index != (hg->delivered > checkpoint ? hg->delivered : checkpoint) + 1 || d->replayed || d->has_header || d->local)
			sim_fail(h->sim, "delivery order", "node %u delivers %" PRIu64 " of the sequencer's log after %" PRIu64 " (checkpoint: %" PRIu64 ")",
					 h->id, d->index, hg->delivered, checkpoint);
		return;
	}
	/* A snapshot whose rows the tables hold already skips entries that would only come as replayed. */
	if (hg->delivered == 0 ? d->index > hg->applied_at_start + 1 :
		d->index != hg->delivered + 1 && !(s->o.snapshots && d->index > hg->delivered && d->index <= hg->applied_at_start + 1))
		sim_fail(h->sim, "delivery order", "node %u group %u delivers %" PRIu64 " after %" PRIu64 " (applied at start: %" PRIu64 ")",
				 h->id, d->group, d->index, hg->delivered, hg->applied_at_start);
	if (d->replayed != (d->index <= hg->applied_at_start))
		sim_fail(h->sim, "delivery order", "node %u group %u entry %" PRIu64 ": replayed %d, applied at start %" PRIu64,
				 h->id, d->group, d->index, d->replayed, hg->applied_at_start);
	if (d->has_header != (d->kind == RAFT_ENTRY_DATA && d->group != ND_GROUP_META))
		sim_fail(h->sim, "delivery", "node %u group %u entry %" PRIu64 " of kind %d: has_header %d", h->id, d->group, d->index, d->kind, d->has_header);
	if (d->local != (!d->replayed && d->has_header && d->header.txn.node == h->id && d->header.txn.incarnation == h->incarnation))
		sim_fail(h->sim, "delivery", "node %u group %u entry %" PRIu64 ": local %d", h->id, d->group, d->index, d->local);
}

/* The position handed to the applier leads to the same bytes, read as another process would. */
static void check_position(Host *h, const NodeDelivery *d, const RaftEntry *raw)
{
	NdBuf		buf;
	NdStatus	status;
	uint32_t	len = raw->payload ? raw->payload->len : 0;

	nd_buf_init(&buf);
	status = store_read_position(memvfs_vfs(h->disk), h->dir, d->position, sim_id(h->sim, d->group), d->index, d->term, &buf);
	if (status != ND_OK || buf.len != len || (len && memcmp(buf.data, raw->payload->data, len) != 0))
		sim_fail(h->sim, "position", "node %u group %u entry %" PRIu64 " cannot be read at its position: %s, %zu of %u bytes",
				 h->id, d->group, d->index, nd_status_text(status), buf.len, len);
	nd_buf_free(&buf);
}

static uint64_t state_checksum(const Host *h, NdGroupId group)
{
	return sim_sequencer(h->sim, group) ? sequencer_checksum(node_sequencer(h->node)) : node_certifier_checksum(h->node, group);
}

void check_delivery(Host *h, const NodeDelivery *d)
{
	Sim		   *s = h->sim;
	Ledger	   *l = &s->ledgers[d->group];
	RaftStatus	raft;
	RaftEntry	raw;
	uint32_t	n = 0;
	uint64_t	hash;
	NdStatus	status;

	s->deliveries++;
	check_order(h, d);
	raft_status(host_raft(h, d->group), &raft);
	if (d->index > raft.commit)
		sim_fail(s, "delivered too early", "node %u group %u delivers %" PRIu64 ", committed %" PRIu64, h->id, d->group, d->index, raft.commit);
	memvfs_look(h->disk, true);
	status = store_entries(h->store, sim_id(s, d->group), d->index, d->index + 1, UINT32_MAX, &raw, 1, &n);
	memvfs_look(h->disk, false);
	if (status != ND_OK || n != 1 || raw.term != d->term || raw.kind != d->kind)
	{
		sim_fail(s, "delivery", "node %u group %u entry %" PRIu64 " is not in its log: %s", h->id, d->group, d->index, nd_status_text(status));
		return;
	}
	hash = raw.payload ? nd_checksum(raw.payload->data, raw.payload->len, 0) : 0;
	memvfs_look(h->disk, true);
	if (one_in(s, 16) && h->n_injuries == 0)
		check_position(h, d, &raw);
	memvfs_look(h->disk, false);
	if (!s->failed && d->index == l->n + 1)
		ledger_add(h, d, &raw, hash);
	else if (!s->failed)
		ledger_compare(h, d, hash);
	nd_blob_unref(raw.payload);
	if (!s->failed && d->group != ND_GROUP_META && d->index % 8 == 0)
	{
		uint64_t	checksum = state_checksum(h, d->group);
		LedgerEntry *e = &l->entries[d->index - 1];

		if (e->checksum == 0)
			e->checksum = checksum;
		else if (e->checksum != checksum)
			sim_fail(s, "equal certifiers", "node %u group %u: another certifier state behind entry %" PRIu64, h->id, d->group, d->index);
	}
	if (!s->failed && one_in(s, AUDIT_DELIVERIES) && !on_platter(h, d->group, d->index, d->term))
		sim_fail(s, "delivered too early", "node %u group %u delivers %" PRIu64 ", which its own disk could lose", h->id, d->group, d->index);
}

/* The rows of a snapshot are those that all entries up to its index left, and they are newer than what they replace. */
void check_snapshot(Host *h, NdGroupId group, uint64_t index, const uint64_t *table)
{
	Sim		   *s = h->sim;
	Ledger	   *l = &s->ledgers[group];
	uint64_t	expected[SIM_KEYS] = {0};

	if (index <= h->groups[group].applied || index > l->n)
	{
		sim_fail(s, "snapshot", "node %u group %u: a snapshot as of entry %" PRIu64 " of %" PRIu64 " replaces tables at %" PRIu64,
				 h->id, group, index, l->n, h->groups[group].applied);
		return;
	}
	for (uint64_t i = 1; i <= index; i++)
	{
		const LedgerEntry *e = effect(l, i);

		for (uint32_t c = 0; e != NULL && c <= e->n_chunks; c++)
		{
			const LedgerEntry *part = c < e->n_chunks ? &l->entries[e->chunks[c] - 1] : e;

			for (uint32_t j = 0; j < part->n_pairs; j++)
				expected[part->pairs[j].key] = part->pairs[j].is;
		}
	}
	if (memcmp(expected, table, sizeof expected) != 0)
		sim_fail(s, "snapshot", "node %u group %u: the rows of a snapshot are not those of entry %" PRIu64, h->id, group, index);
}

/* ---- Raft's own properties ---- */

/* Election safety, and leader completeness: a new leader holds every entry that was ever delivered. */
static void check_new_leader(Host *h, NdGroupId group, const Raft *r, const RaftStatus *raft)
{
	Sim		   *s = h->sim;
	Ledger	   *l = &s->ledgers[group];

	sim_trace(s, T_LEADER, h->id, group, raft->term, raft->last_index, raft->commit, 0);
	for (uint32_t i = 0; i < l->n_leaders; i++)
		if (l->leaders[i].term == raft->term)
		{
			sim_fail(s, "election safety", "group %u: nodes %u and %u both lead in term %" PRIu64, group, l->leaders[i].node, h->id, raft->term);
			return;
		}
	l->leaders = sim_grow(l->leaders, &l->cap_leaders, l->n_leaders + 1, sizeof *l->leaders);
	l->leaders[l->n_leaders++] = (Leadership) {raft->term, h->id};
	for (uint64_t i = l->n; i > 0 && i + LOG_WINDOW > l->n; i--)
	{
		/* Committed in a later term than this one (whatever its own term) is no entry that this leader must have: a late vote elects late. */
		if (l->entries[i - 1].seen_term > raft->term || (i < raft->first_index && i <= raft->last_index))
			continue;
		if (i > raft->last_index || raft_term_of(r, i) != l->entries[i - 1].term)
		{
			sim_fail(s, "leader completeness", "group %u: node %u leads in term %" PRIu64 " without the committed entry %" PRIu64 " of term %" PRIu64,
					 group, h->id, raft->term, i, l->entries[i - 1].term);
			return;
		}
	}
}

/*
 * A flush may finish for entries that were replaced while it ran: (index, term), never index alone, says what is durable. Looked up on the
 * platter for a while after each cut of a suffix.
 */
static void check_durable(Host *h, NdGroupId group, const Raft *r, const RaftStatus *raft)
{
	HostGroup  *hg = &h->groups[group];
	uint64_t	term;

	if (hg->last >= raft->first_index && (hg->last > raft->last_index || raft_term_of(r, hg->last) != hg->last_term))
		hg->audits_due = AUDITS_AFTER_CUT;
	hg->last = raft->last_index;
	hg->last_term = raft_term_of(r, raft->last_index);
	if (raft->durable_index == hg->durable_log)
		return;
	hg->durable_log = raft->durable_index;
	term = raft_term_of(r, raft->durable_index);
	if (hg->audits_due == 0 || raft->durable_index < raft->first_index)
		return;
	hg->audits_due--;
	if (!on_platter(h, group, raft->durable_index, term))
		sim_fail(h->sim, "durable", "node %u group %u calls entry %" PRIu64 " of term %" PRIu64 " durable, and its disk does not have it",
				 h->id, group, raft->durable_index, term);
}

/* A group that is added begins with the same members on all nodes, or with none. */
static void check_first_members(Host *h, NdGroupId group, const Raft *r)
{
	Sim		   *s = h->sim;
	Ledger	   *l = &s->ledgers[group];
	const RaftConfiguration *c = raft_configuration(r);
	bool		same;

	if (!sim_sequencer(s, group) && group > s->reached_groups)
		s->reached_groups = group;
	if (c->index > 0 || c->n == 0 || group <= s->o.founded_groups || sim_sequencer(s, group))
		return;
	if (l->n_configurations == 0)
	{
		l->configurations = sim_grow(l->configurations, &l->cap_configurations, 1, sizeof *l->configurations);
		l->configurations[l->n_configurations++] = l->configuration = *c;
	}
	same = l->configurations[0].n == c->n;
	for (uint32_t i = 0; same && i < c->n; i++)
		same = l->configurations[0].members[i].node == c->members[i].node && l->configurations[0].members[i].role == c->members[i].role;
	if (!same)
		sim_fail(s, "first members", "group %u begins with %u members on node %u, elsewhere with %u, or others", group, c->n, h->id, l->configurations[0].n);
}

static void check_group(Host *h, NdGroupId group)
{
	Sim		   *s = h->sim;
	HostGroup  *hg = &h->groups[group];
	const Raft *r = host_raft(h, group);
	const char *reason;
	RaftStatus	raft;

	if (r == NULL)
	{
		/* It comes with a record of group 0, after a crash too; but what the tables have of it was in the log. */
		if (sim_sequencer(s, group) || group <= s->o.founded_groups || hg->applied > 0)
			sim_fail(s, "groups", "node %u has no group %u", h->id, group);
		return;
	}
	check_first_members(h, group, r);
	if ((reason = raft_frozen_reason(r)) != NULL)
		sim_fail(s, "frozen", "node %u group %u: %s", h->id, group, reason);
	else if ((reason = raft_check(r)) != NULL)
		sim_fail(s, "raft_check", "node %u group %u: %s", h->id, group, reason);
	else if ((reason = host_status(h, group).frozen) != NULL)
		sim_fail(s, "stopped", "node %u group %u: %s", h->id, group, reason);
	raft_status(r, &raft);
	if (raft.term < hg->term || raft.commit < hg->commit)
		sim_fail(s, "monotone", "node %u group %u: term %" PRIu64 " after %" PRIu64 ", commit %" PRIu64 " after %" PRIu64,
				 h->id, group, raft.term, hg->term, raft.commit, hg->commit);
	/* Figure 8 of the thesis: a leader moves its commit only to entries of its own term. */
	if (raft.state == RAFT_LEADER && hg->leader_term == raft.term && raft.commit > hg->commit && raft_term_of(r, raft.commit) != raft.term)
		sim_fail(s, "old terms", "node %u group %u leads in term %" PRIu64 " and commits entry %" PRIu64 " of term %" PRIu64,
				 h->id, group, raft.term, raft.commit, raft_term_of(r, raft.commit));
	hg->term = raft.term;
	hg->commit = raft.commit;
	check_durable(h, group, r, &raft);
	if (raft.state == RAFT_LEADER && raft.term != hg->leader_term)
	{
		hg->leader_term = raft.term;
		check_new_leader(h, group, r, &raft);
	}
}

void check_host(Host *h)
{
	for (uint32_t g = 0; g < sim_places(h->sim) && !h->sim->failed; g++)
		check_group(h, g);
}

/* What a node promised in a vote survives every crash. */
void check_started(Host *h)
{
	for (uint32_t g = 0; g < sim_places(h->sim); g++)
	{
		HostGroup  *hg = &h->groups[g];
		RaftRestore r;

		if (hg->vote_term == 0)
			continue;
		if (store_restore(h->store, sim_id(h->sim, g), &r) != ND_OK)
			sim_fail(h->sim, "hard state", "node %u group %u: nothing was recovered, but it voted in term %" PRIu64, h->id, g, hg->vote_term);
		else if (r.hard.term < hg->vote_term || (r.hard.term == hg->vote_term && r.hard.vote != hg->vote))
			sim_fail(h->sim, "hard state", "node %u group %u: recovered term %" PRIu64 " vote %u, but it voted for %u in term %" PRIu64,
					 h->id, g, r.hard.term, r.hard.vote, hg->vote, hg->vote_term);
	}
}

/* ---- messages that leave ---- */

typedef struct Sent
{
	Host	   *h;
	NdNodeId	to;
} Sent;

static void check_vote(Host *h, NdGroupId group, uint64_t term, NdNodeId candidate)
{
	Sim		   *s = h->sim;
	HostGroup  *hg = &h->groups[group];
	MemVfs	   *disk;
	Store	   *store;
	RaftRestore r;

	if (term == hg->vote_term && candidate != hg->vote)
		sim_fail(s, "one vote", "node %u group %u votes for %u and for %u in term %" PRIu64, h->id, group, hg->vote, candidate, term);
	if (term <= hg->vote_term)
		return;
	hg->vote_term = term;
	hg->vote = candidate;
	if (!one_in(s, AUDIT_VOTES) || h->n_injuries > 0 || !platter_open(h, &disk, &store))
		return;
	if (store_restore(store, sim_id(s, group), &r) != ND_OK || r.hard.term < term || (r.hard.term == term && r.hard.vote != candidate))
		sim_fail(s, "vote before durable", "node %u group %u votes for %u in term %" PRIu64 ", and its disk does not know", h->id, group, candidate, term);
	platter_close(disk, store);
}

/* An acknowledged entry is on the platter: with this term, if the store still has it at all. */
static void check_append_reply(Host *h, const RaftMessage *m)
{
	Sim		   *s = h->sim;
	uint64_t	term;

	if (m->index == 0 || !one_in(s, AUDIT_APPENDS))
		return;
	term = store_term(h->store, m->group, m->index);
	if (term && !on_platter(h, sim_place(s, m->group), m->index, term))
		sim_fail(s, "acknowledged before durable", "node %u group %u acknowledges entry %" PRIu64 " of term %" PRIu64 ", and its disk does not have it",
				 h->id, m->group, m->index, term);
}

/* One message to one peer is bounded: a single entry may be larger, several may not. */
static void check_append(Host *h, const RaftMessage *m)
{
	uint64_t	bytes = 0;

	for (uint32_t i = 0; i < m->n_entries; i++)
		bytes += m->entries[i].payload ? m->entries[i].payload->len : 0;
	if (m->n_entries > 1 && bytes > h->sim->o.node.append_bytes_max)
		sim_fail(h->sim, "boundedness", "node %u group %u sends %u entries of %" PRIu64 " bytes in one message", h->id, m->group, m->n_entries, bytes);
}

static void sent_raft(void *ctx, const RaftMessage *m)
{
	Sent	   *sent = ctx;

	if (sim_place(sent->h->sim, m->group) >= sim_places(sent->h->sim))
		sim_fail(sent->h->sim, "groups", "node %u sends a message of group %u", sent->h->id, m->group);
	else if (m->type == RAFT_MSG_APPEND)
		check_append(sent->h, m);
	else if (m->type == RAFT_MSG_VOTE)
		check_vote(sent->h, sim_place(sent->h->sim, m->group), m->term, sent->h->id);
	else if (m->type == RAFT_MSG_VOTE_REPLY && !m->reject)
		check_vote(sent->h, sim_place(sent->h->sim, m->group), m->term, sent->to);
	else if (m->type == RAFT_MSG_APPEND_REPLY && !m->reject)
		check_append_reply(sent->h, m);
}

/* Kept: faults.c lets some of them arrive once more, much later. */
static void sent_proposal(void *ctx, const WireProposal *p)
{
	Sent	   *sent = ctx;
	Sim		   *s = sent->h->sim;
	LateProposal *late = &s->late[s->n_late++ % SIM_LATE_KEEP];

	/* The rare ones stay: sent in an earlier life and never delivered. */
	for (int i = 0; i < SIM_LATE_KEEP / 2 && late->entry && late->life != s->hosts[late->from].life && faults_unseen(s, late); i++)
		late = &s->late[s->n_late++ % SIM_LATE_KEEP];

	nd_blob_unref(late->entry);
	*late = (LateProposal) {sent->h->id, sent->h->life, p->group, nd_blob_new(p->entry, (uint32_t) p->len)};
}

static void sent_answer(void *ctx, const WireAnswer *a)
{
	(void) ctx, (void) a;
}

static void sent_gossip(void *ctx, const WireGossip *g)
{
	(void) ctx, (void) g;
}

static void sent_sleep(void *ctx, const WireSleep *w)
{
	(void) ctx, (void) w;
}

void check_sent(Host *h, NdNodeId to, const uint8_t *data, size_t len)
{
	Sent		sent = {h, to};
	WireSink	sink = {sent_raft, sent_proposal, sent_answer, sent_gossip, sent_sleep, &sent, NULL, NULL, NULL, NULL};

	if (wire_decode(data, len, h->id, to, &sink) != ND_OK)
		sim_fail(h->sim, "wire", "node %u sends a frame of %zu bytes to node %u that cannot be decoded", h->id, len, to);
}

/* ---- over nodes ---- */

/* Log matching: where two logs agree on a term, they agree on everything before. */
static void match_logs(Host *a, Host *b, NdGroupId group)
{
	RaftStatus	ra;
	RaftStatus	rb;
	uint64_t	lo;
	uint64_t	hi;
	bool		met = false;

	raft_status(host_raft(a, group), &ra);
	raft_status(host_raft(b, group), &rb);
	lo = ra.first_index > rb.first_index ? ra.first_index : rb.first_index;
	hi = ra.last_index < rb.last_index ? ra.last_index : rb.last_index;
	if (hi > LOG_WINDOW && lo < hi - LOG_WINDOW)
		lo = hi - LOG_WINDOW;
	for (uint64_t i = hi; i >= lo && i > 0; i--)
	{
		bool		equal = raft_term_of(host_raft(a, group), i) == raft_term_of(host_raft(b, group), i);

		if (met && !equal)
		{
			sim_fail(a->sim, "log matching", "group %u: nodes %u and %u agree behind entry %" PRIu64 " but not there", group, a->id, b->id, i);
			return;
		}
		met = met || equal;
	}
}

void check_logs(Sim *s)
{
	NdGroupId	group = (NdGroupId) nd_random_below(&s->check_rng, sim_places(s));

	for (NdNodeId a = 1; a < s->next_id; a++)
		for (NdNodeId b = a + 1; b < s->next_id; b++)
			if (s->hosts[a].up && s->hosts[b].up && host_raft(&s->hosts[a], group) != NULL && host_raft(&s->hosts[b], group) != NULL)
				match_logs(&s->hosts[a], &s->hosts[b], group);
}

static bool host_converged(Sim *s, NdNodeId id, NdGroupId group, uint64_t last, uint64_t *checksum, char *why, size_t why_len)
{
	Host	   *h = &s->hosts[id];
	RaftStatus	raft;
	uint64_t	delivered;
	uint64_t	applied;

	if (!h->up)
	{
		snprintf(why, why_len, "node %u is down", id);
		return false;
	}
	if (host_raft(h, group) == NULL)
	{
		snprintf(why, why_len, "node %u has %u data groups of %u", id, node_data_groups(h->node), s->reached_groups);
		return false;
	}
	raft_status(host_raft(h, group), &raft);
	delivered = sim_sequencer(s, group) ? host_status(h, group).delivered : h->groups[group].delivered;
	applied = sim_sequencer(s, group) ? delivered : h->groups[group].applied;
	if (raft.last_index != last || raft.commit != last || applied != last || delivered != last)
	{
		snprintf(why, why_len, "node %u group %u: last %" PRIu64 ", committed %" PRIu64 ", delivered %" PRIu64 ", applied %" PRIu64 "; the leader's last is %" PRIu64,
				 id, group, raft.last_index, raft.commit, delivered, applied, last);
		return false;
	}
	if (sim_sequencer(s, group) && sequencer_unfinished(node_sequencer(h->node)) > 0)
	{
		snprintf(why, why_len, "node %u: %u transactions over several groups are not finished", id, sequencer_unfinished(node_sequencer(h->node)));
		return false;
	}
	if (memcmp(h->groups[group].table, s->ledgers[group].table, sizeof h->groups[group].table) != 0)
		sim_fail(s, "equal tables", "node %u group %u: another table at entry %" PRIu64, id, group, last);
	if (group == ND_GROUP_META)
		return true;
	if (*checksum == 0)
		*checksum = state_checksum(h, group);
	else if (state_checksum(h, group) != *checksum)
		sim_fail(s, "equal certifiers", "node %u group %u: another certifier state at entry %" PRIu64, id, group, last);
	return true;
}

/* A leader of the newest term that any node knows: an older one may not have heard yet that it leads no more. */
static Host *leader_of(Sim *s, NdGroupId group)
{
	Host	   *leader = NULL;
	uint64_t	newest = 0;

	for (NdNodeId id = 1; id < s->next_id; id++)
	{
		Host	   *h = &s->hosts[id];
		RaftStatus	raft;

		if (!h->up || host_raft(h, group) == NULL)
			continue;
		raft_status(host_raft(h, group), &raft);
		if (raft.term > newest)
			leader = NULL;
		if (raft.term >= newest && raft_is_leader(host_raft(h, group)))
			leader = h;
		newest = raft.term > newest ? raft.term : newest;
	}
	return leader;
}

/* No acknowledged transaction is lost: all are in the ledger, and every node stands at its end. */
bool check_converged(Sim *s, char *why, size_t why_len)
{
	const RaftConfiguration *members = &s->ledgers[0].configuration;

	if (!clients_settled(s, why, why_len))
		return false;
	if (!faults_stable(s))
	{
		snprintf(why, why_len, "a membership change is under way");
		return false;
	}
	if (!faults_grown(s))
	{
		snprintf(why, why_len, "there are %u data groups, and %u are asked for", s->reached_groups, s->wanted_groups);
		return false;
	}
	for (uint32_t g = 0; g < sim_places(s); g++)
	{
		Host	   *leader = leader_of(s, g);
		RaftStatus	raft;
		uint64_t	checksum = 0;	/* of the first node that stands at the end */

		if (!sim_made(s, g))
			continue;
		if (leader == NULL)
		{
			snprintf(why, why_len, "group %u has no leader", g);
			return false;
		}
		raft_status(host_raft(leader, g), &raft);
		if (s->ledgers[g].n > raft.last_index)
			sim_fail(s, "lost", "group %u: entry %" PRIu64 " was delivered, the leader's last is %" PRIu64, g, s->ledgers[g].n, raft.last_index);
		for (uint32_t i = 0; i < members->n; i++)
			if (!s->hosts[members->members[i].node].dead && !host_converged(s, members->members[i].node, g, raft.last_index, &checksum, why, why_len))
				return false;
	}
	/* All logs are at their ends: what was decided is in all groups. */
	for (uint32_t i = 0; i < s->n_orders; i++)
		for (uint32_t g = 0; s->orders[i].used && g < s->orders[i].n_groups; g++)
			if (s->orders[i].markers[g] == 0 || s->orders[i].outcomes[g] == 0)
				sim_fail(s, "all or nothing", "position %u has no marker or no outcome in group %u", i, s->orders[i].groups[g]);
	return true;
}
