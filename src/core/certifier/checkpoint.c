/*
 * checkpoint.c: a certifier's state as bytes, and back.
 *
 *   u32 magic  u16 version
 *   u64 keys_max  u64 ids_max  u64 last_index  u64 last_commit  u64 window start  u64 history  u64 position  u64 decision
 *   varint n, nodes:        u32 node  u32 incarnation                          ascending
 *   varint n, entries:      varint index (difference)  u8 kind  u8 verdict  u16 number  id
 *                           varint n, keys: u64 hash  u8 mode                  in log order
 *   varint n, owners:       id  u8 open  varint index  varint since (difference)  varint age  varint n, keys
 *                                                                              ascending by id; up to version 3 without since and age
 *   varint n, open chunks:  id  varint first index (difference)                ascending by first index
 *   varint n, open markers: id  varint position (difference)  varint index (difference)  varint n, keys
 *                                                                              ascending by position; each has an owner that is open
 *   varint n, waiting:      id  varint index (difference)  varint age  varint n, keys
 *                                                                              in log order; not up to version 3
 *   u64 checksum of all before
 *
 *   id: u32 node  u32 incarnation  u64 counter
 *
 * Invariants:
 * 1. Written from what is in log order or sorted, never from a hash table: equal histories give equal bytes, on every machine.
 * 2. restore() takes nothing on trust, the checksum notwithstanding: whatever it accepts is a state that save() writes back byte by byte (in the newest version).
 * 3. Memory that restore() takes is bounded by the length of its input.
 */
#include "certifier_int.h"
#include "../base/mutant.h"

#define MAGIC UINT32_C(0x5443444e)	/* "NDCT" */
#define VERSION 4
#define VERSION_WITHOUT_QUEUE 3
#define ID_BYTES 16

static void put_id(NdBuf *out, TxnId txn)
{
	nd_buf_u32(out, txn.node);
	nd_buf_u32(out, txn.incarnation);
	nd_buf_u64(out, txn.counter);
}

static TxnId read_id(NdReader *r)
{
	TxnId		txn;

	txn.node = nd_read_u32(r);
	txn.incarnation = nd_read_u32(r);
	txn.counter = nd_read_u64(r);
	return txn;
}

static void put_key(NdBuf *out, EntryKey key)
{
	nd_buf_u64(out, key.hash);
	nd_buf_u8(out, key.mode);
}

/* false: no such mode, or no more bytes. */
static bool read_key(NdReader *r, EntryKey *key)
{
	key->hash = nd_read_u64(r);
	key->mode = nd_read_u8(r);
	/* every valid mode conflicts with the strongest of its kind */
	return !r->failed && (key_modes_conflict(key->mode, KEY_ROW_UPDATE) || key_modes_conflict(key->mode, KEY_REL_ACCESS_EXCLUSIVE));
}

/* A count of things that take at least bytes_each; false: more than the input can hold. */
static bool read_count(NdReader *r, size_t bytes_each, uint64_t *n)
{
	*n = nd_read_varint(r);
	return !r->failed && *n <= nd_reader_left(r) / bytes_each;
}

NdStatus certifier_save(const Certifier *c, NdBuf *out)
{
	const Window *w = &c->window;
	const Reservations *r = &c->reservations;
	size_t		start = nd_seal_begin(out, MAGIC, VERSION);
	uint64_t	key_number = w->keys_first;
	uint64_t	previous = w->start;
	uint64_t	n_markers = MUTANT(CERTIFIER_SAVE_FORGETS) || MUTANT(CERTIFIER_SAVE_NO_MARKERS) ? 0 : c->n_markers;
	uint64_t	position = 0;
	uint64_t	n_owners;

	nd_buf_u64(out, c->limits.keys_max);
	nd_buf_u64(out, c->limits.ids_max);
	nd_buf_u64(out, c->last_index);
	nd_buf_u64(out, c->last_commit);
	nd_buf_u64(out, w->start);
	nd_buf_u64(out, c->history);
	nd_buf_u64(out, c->position);
	nd_buf_u64(out, c->decision);

	nd_buf_varint(out, c->n_nodes);
	for (uint64_t i = 0; i < c->n_nodes; i++)
	{
		nd_buf_u32(out, c->nodes[i].node);
		nd_buf_u32(out, c->nodes[i].incarnation);
	}

	nd_buf_varint(out, w->next - w->first);
	for (uint64_t s = w->first; s < w->next; s++)
	{
		const WindowEntry *entry = &w->entries[s & (w->entries_cap - 1)];

		nd_buf_varint(out, entry->index - previous);
		previous = entry->index;
		nd_buf_u8(out, entry->kind);
		nd_buf_u8(out, entry->verdict);
		nd_buf_u16(out, entry->number);
		put_id(out, entry->txn);
		nd_buf_varint(out, entry->n_keys);
		for (uint32_t i = 0; i < entry->n_keys; i++, key_number++)
		{
			uint64_t	at = key_number & (w->keys_cap - 1);

			put_key(out, (EntryKey) {w->hashes[at], w->modes[at]});
		}
	}

	n_owners = MUTANT(CERTIFIER_SAVE_FORGETS) ? 0 : r->n_owners;
	for (uint64_t i = 0; i < r->n_owners && MUTANT(CERTIFIER_SAVE_NO_MARKERS); i++)
		n_owners -= r->owners[i].open;
	nd_buf_varint(out, n_owners);
	for (uint64_t i = 0; i < r->n_owners && !MUTANT(CERTIFIER_SAVE_FORGETS); i++)
	{
		const Owner *owner = &r->owners[i];

		if (owner->open && MUTANT(CERTIFIER_SAVE_NO_MARKERS))
			continue;
		put_id(out, owner->txn);
		nd_buf_u8(out, owner->open);
		nd_buf_varint(out, owner->index);
		nd_buf_varint(out, owner->since - owner->index);
		nd_buf_varint(out, owner->age);
		nd_buf_varint(out, owner->n_keys);
		for (uint64_t k = 0; k < owner->n_keys; k++)
			put_key(out, owner->keys[k]);
	}

	nd_buf_varint(out, c->n_chunks);
	previous = 0;
	for (uint64_t i = 0; i < c->n_chunks; i++)
	{
		put_id(out, c->chunks[i].txn);
		nd_buf_varint(out, c->chunks[i].first - previous);
		previous = c->chunks[i].first;
	}

	nd_buf_varint(out, n_markers);
	previous = 0;
	for (uint64_t i = 0; i < n_markers; i++)
	{
		const OpenMarker *m = &c->markers[i];

		put_id(out, m->txn);
		nd_buf_varint(out, m->position - position);
		nd_buf_varint(out, m->index - previous);
		position = m->position;
		previous = m->index;
		nd_buf_varint(out, m->n_keys);
		for (uint32_t k = 0; k < m->n_keys; k++)
			put_key(out, m->keys[k]);
	}

	previous = 0;
	nd_buf_varint(out, MUTANT(CERTIFIER_SAVE_NO_QUEUE) ? 0 : r->n_waiting);
	for (uint64_t i = 0; i < r->n_waiting && !MUTANT(CERTIFIER_SAVE_NO_QUEUE); i++)
	{
		const Waiter *waiter = &r->waiting[i];

		put_id(out, waiter->txn);
		nd_buf_varint(out, waiter->index - previous);
		previous = waiter->index;
		nd_buf_varint(out, waiter->age);
		nd_buf_varint(out, waiter->n_keys);
		for (uint32_t k = 0; k < waiter->n_keys; k++)
			put_key(out, waiter->keys[k]);
	}

	nd_seal_end(out, start);
	return out->failed ? ND_NOMEM : ND_OK;
}

static NdStatus read_nodes(NdReader *r, Certifier *c)
{
	uint64_t	n;

	if (!read_count(r, 8, &n))
		return ND_DAMAGED;
	for (uint64_t i = 0; i < n; i++)
	{
		NodeIncarnation node;

		node.node = nd_read_u32(r);
		node.incarnation = nd_read_u32(r);
		if (node.node == 0 || (i > 0 && node.node <= c->nodes[i - 1].node))
			return ND_DAMAGED;
		if (certifier__vector_reserve((void **) &c->nodes, &c->nodes_cap, c->n_nodes, sizeof(NodeIncarnation)) != ND_OK)
			return ND_NOMEM;
		c->nodes[c->n_nodes++] = node;
	}
	return ND_OK;
}

/* An id whose node has never spoken cannot be in the state; what ends by a fence is of the node's highest incarnation. */
static bool id_valid(const Certifier *c, TxnId txn, bool ends_by_fence)
{
	if (txn.node == 0 || txn.counter == 0)
		return false;
	for (uint64_t i = 0; i < c->n_nodes; i++)
		if (c->nodes[i].node == txn.node)
			return ends_by_fence ? txn.incarnation == c->nodes[i].incarnation : txn.incarnation <= c->nodes[i].incarnation;
	return false;
}

static bool entry_valid(const WindowEntry *e, uint64_t n_keys)
{
	if (e->kind != ENTRY_RESERVE && e->number != 0)
		return false;
	if (n_keys > 0 && !(e->kind == ENTRY_TXN && e->verdict == VERDICT_COMMIT))
		return false;
	if (e->kind == ENTRY_CANCEL)
		return e->verdict == VERDICT_ABORT_CANCELLED || e->verdict == VERDICT_NONE;
	if (e->kind == ENTRY_TXN && e->verdict == VERDICT_ABORT_ELSEWHERE)
		return true;
	if (e->kind == ENTRY_RESERVE && e->verdict == VERDICT_QUEUED)
		return true;
	return (e->kind == ENTRY_TXN || e->kind == ENTRY_RESERVE) && e->verdict >= VERDICT_COMMIT && e->verdict <= VERDICT_ABORT_FENCED;
}

static NdStatus read_window(NdReader *r, Certifier *c)
{
	Window	   *w = &c->window;
	uint64_t	index = w->start;
	uint64_t	n;

	if (!read_count(r, 1 + 4 + ID_BYTES + 1, &n))
		return ND_DAMAGED;
	for (uint64_t i = 0; i < n; i++)
	{
		WindowEntry entry = {0};
		uint64_t	step = nd_read_varint(r);
		uint64_t	n_keys;

		entry.kind = nd_read_u8(r);
		entry.verdict = nd_read_u8(r);
		entry.number = nd_read_u16(r);
		entry.txn = read_id(r);
		if (!read_count(r, ENTRY_KEY_BYTES, &n_keys) || n_keys > UINT32_MAX || step == 0 || step > c->last_index - index)
			return ND_DAMAGED;
		index += step;
		entry.index = index;
		if (!id_valid(c, entry.txn, false) || !entry_valid(&entry, n_keys))
			return ND_DAMAGED;
		if (certifier__window_reserve(w, n_keys) != ND_OK)
			return ND_NOMEM;
		certifier__window_push(w, &entry);
		for (uint64_t k = 0; k < n_keys; k++)
		{
			EntryKey	key;

			if (!read_key(r, &key) || key.mode == KEY_REL_ACCESS_SHARE)
				return ND_DAMAGED;
			certifier__window_push_key(w, key);
		}
	}
	/* what eviction would take away must not be there */
	certifier__window_evict(w, c->limits.keys_max, c->limits.ids_max);
	return w->first == 0 ? ND_OK : ND_DAMAGED;
}

static NdStatus read_owners(NdReader *r, Certifier *c, uint16_t version)
{
	Reservations *all = &c->reservations;
	uint64_t	n;

	if (!read_count(r, ID_BYTES + 3, &n))
		return ND_DAMAGED;
	for (uint64_t i = 0; i < n; i++)
	{
		TxnId		txn = read_id(r);
		uint8_t		open = nd_read_u8(r);
		uint64_t	index = nd_read_varint(r);
		uint64_t	later = version == VERSION_WITHOUT_QUEUE ? 0 : nd_read_varint(r);
		uint64_t	age = version == VERSION_WITHOUT_QUEUE ? 0 : nd_read_varint(r);
		uint64_t	n_keys;

		if (!read_count(r, ENTRY_KEY_BYTES, &n_keys) || open > 1 || (open && age != 0) || age > ENTRY_AGE_MAX || (n_keys == 0 && !open) || index == 0 || index > c->last_index ||
			later > c->last_index - index || (age != 0 && index + later + age <= c->last_index) || !id_valid(c, txn, !open))
			return ND_DAMAGED;
		if (i > 0 && txnid_compare(all->owners[i - 1].txn, txn) >= 0)
			return ND_DAMAGED;
		if (certifier__reservations_reserve(all, txn, n_keys) != ND_OK)
			return ND_NOMEM;
		for (uint64_t k = 0; k < n_keys; k++)
		{
			EntryKey	key;

			if (!read_key(r, &key) || certifier__reservations_conflict(all, key, txn) != NULL)
				return ND_DAMAGED;
			certifier__reservations_add(all, txn, index, key);
		}
		if (all->owners[i].n_keys != n_keys)
			return ND_DAMAGED;
		if (open)
			certifier__reservations_open(all, txn, index);
		certifier__reservations_age(all, txn, index + later, age);
	}
	return ND_OK;
}

static NdStatus read_chunks(NdReader *r, Certifier *c)
{
	uint64_t	first = 0;
	uint64_t	n;

	if (!read_count(r, ID_BYTES + 1, &n))
		return ND_DAMAGED;
	for (uint64_t i = 0; i < n; i++)
	{
		TxnId		txn = read_id(r);
		uint64_t	step = nd_read_varint(r);

		const Owner *owner = certifier__reservations_find(&c->reservations, txn);

		if (r->failed || step == 0 || step > c->last_index - first || !id_valid(c, txn, owner == NULL || !owner->open))
			return ND_DAMAGED;
		first += step;
		if (certifier__vector_reserve((void **) &c->chunks, &c->chunks_cap, c->n_chunks, sizeof(OpenChunks)) != ND_OK)
			return ND_NOMEM;
		c->chunks[c->n_chunks++] = (OpenChunks) {txn, first};
	}
	return ND_OK;
}

static NdStatus read_marker(NdReader *r, Certifier *c)
{
	const OpenMarker *before = c->n_markers > 0 ? &c->markers[c->n_markers - 1] : NULL;
	uint64_t	position = before != NULL ? before->position : 0;
	uint64_t	index = before != NULL ? before->index : 0;
	TxnId		txn = read_id(r);
	uint64_t	position_step = nd_read_varint(r);
	uint64_t	index_step = nd_read_varint(r);
	const Owner *owner = certifier__reservations_find(&c->reservations, txn);
	uint64_t	n_keys;
	OpenMarker *m;

	if (!read_count(r, ENTRY_KEY_BYTES, &n_keys) || n_keys >= UINT32_MAX || owner == NULL || !owner->open ||
		position_step == 0 || position_step > c->position - position || index_step == 0 || index_step > c->last_index - index ||
		owner->index > index + index_step)
		return ND_DAMAGED;
	for (uint64_t i = 0; i < c->n_markers; i++)
		if (txnid_compare(c->markers[i].txn, txn) == 0)
			return ND_DAMAGED;
	if (certifier__marker_reserve(c, (uint32_t) n_keys) != ND_OK)
		return ND_NOMEM;
	m = &c->markers[c->n_markers++];
	m->txn = txn;
	m->position = position + position_step;
	m->index = index + index_step;
	for (; m->n_keys < n_keys; m->n_keys++)
		if (!read_key(r, &m->keys[m->n_keys]) || m->keys[m->n_keys].mode == KEY_REL_ACCESS_SHARE)
			return ND_DAMAGED;
	return ND_OK;
}

/* As many as there are owners that are open. */
static NdStatus read_markers(NdReader *r, Certifier *c)
{
	uint64_t	n_open = 0;
	uint64_t	n;
	NdStatus	status = ND_OK;

	for (uint64_t i = 0; i < c->reservations.n_owners; i++)
		n_open += c->reservations.owners[i].open;
	if (!read_count(r, ID_BYTES + 3, &n) || n != n_open)
		return ND_DAMAGED;
	for (uint64_t i = 0; i < n && status == ND_OK; i++)
		status = read_marker(r, c);
	return status;
}

/* Why it waits is not written: it follows from the owners and those before it. Somebody who waits for nobody would have owned before. */
static NdStatus read_waiter(NdReader *r, Certifier *c)
{
	Reservations *all = &c->reservations;
	uint64_t	before = all->n_waiting > 0 ? all->waiting[all->n_waiting - 1].index : 0;
	TxnId		txn = read_id(r);
	uint64_t	step = nd_read_varint(r);
	uint64_t	age = nd_read_varint(r);
	uint64_t	n_keys;
	EntryKey   *keys;

	if (!read_count(r, ENTRY_KEY_BYTES, &n_keys) || n_keys == 0 || n_keys > CERTIFIER_WAITING_KEYS_MAX || !certifier__queue_has_room(all, (uint32_t) n_keys) ||
		step == 0 || step > c->last_index - before || age > ENTRY_AGE_MAX || !id_valid(c, txn, true) ||
		certifier__reservations_find(all, txn) != NULL || certifier__queue_find(all, txn) != NULL)
		return ND_DAMAGED;
	if (certifier__queue_reserve(all, (uint32_t) n_keys) != ND_OK)
		return ND_NOMEM;
	keys = all->next_keys;
	for (uint64_t k = 0; k < n_keys; k++)
		if (!read_key(r, &keys[k]) || (k > 0 && (keys[k].hash < keys[k - 1].hash || (keys[k].hash == keys[k - 1].hash && keys[k].mode <= keys[k - 1].mode))))
		{
			nd_free(keys);
			return ND_DAMAGED;
		}
	certifier__queue_push(all, txn, before + step, age, (uint32_t) n_keys);
	return all->waiting[all->n_waiting - 1].blockers > 0 ? ND_OK : ND_DAMAGED;
}

static NdStatus read_queue(NdReader *r, Certifier *c)
{
	uint64_t	n;
	NdStatus	status = ND_OK;

	if (!read_count(r, ID_BYTES + 3, &n))
		return ND_DAMAGED;
	for (uint64_t i = 0; i < n && status == ND_OK; i++)
		status = read_waiter(r, c);
	return status;
}

/* The window's newest committed TXN is the newest of all; a window without any says nothing but that it stands at or below the start. */
static bool last_commit_valid(const Certifier *c)
{
	const Window *w = &c->window;
	uint64_t	highest = 0;

	for (uint64_t s = w->first; s < w->next; s++)
	{
		const WindowEntry *entry = &w->entries[s & (w->entries_cap - 1)];

		if (entry->kind == ENTRY_TXN && entry->verdict == VERDICT_COMMIT)
			highest = entry->index;
	}
	return highest > 0 ? c->last_commit == highest : c->last_commit <= w->start;
}

static NdStatus read_state(NdReader *r, Certifier *c, uint16_t version)
{
	NdStatus	status;

	c->last_index = nd_read_u64(r);
	c->last_commit = nd_read_u64(r);
	c->window.start = nd_read_u64(r);
	c->history = nd_read_u64(r);
	c->position = nd_read_u64(r);
	c->decision = nd_read_u64(r);
	if (r->failed || c->last_index > CERTIFIER_INDEX_MAX || c->window.start > c->last_index)
		return ND_DAMAGED;
	status = read_nodes(r, c);
	if (status == ND_OK)
		status = read_window(r, c);
	if (status == ND_OK)
		status = read_owners(r, c, version);
	if (status == ND_OK)
		status = read_chunks(r, c);
	if (status == ND_OK)
		status = read_markers(r, c);
	if (status == ND_OK && version != VERSION_WITHOUT_QUEUE)
		status = read_queue(r, c);
	if (status == ND_OK && !last_commit_valid(c))
		status = ND_DAMAGED;
	if (status == ND_OK && (r->failed || nd_reader_left(r) != 0))
		status = ND_DAMAGED;
	return status;
}

NdStatus certifier_restore(const void *data, size_t len, Certifier **out)
{
	NdReader	r;
	CertifierLimits limits;
	Certifier  *c;
	NdStatus	status;
	uint16_t	version = VERSION;

	status = nd_seal_open(&r, data, len, MAGIC, version);
	if (status == ND_VERSION)
		status = nd_seal_open(&r, data, len, MAGIC, version = VERSION_WITHOUT_QUEUE);
	if (status != ND_OK)
		return status;
	limits.keys_max = nd_read_u64(&r);
	limits.ids_max = nd_read_u64(&r);
	if (r.failed)
		return ND_DAMAGED;
	status = certifier_create(limits, &c);
	if (status != ND_OK)
		return status == ND_INVALID ? ND_DAMAGED : status;
	status = read_state(&r, c, version);
	if (status != ND_OK)
	{
		certifier_destroy(c);
		return status;
	}
	*out = c;
	return ND_OK;
}
