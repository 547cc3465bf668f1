/*
 * test_seq_world.c: the sequencer's core on three nodes, without Raft: its state, its leader's inbox, the duties of the groups' leaders and their certifiers, under
 * leader changes between any two steps, lost, late and doubled messages, markers that come again, abort entries at any time, late copies of requests, nodes that
 * restart from a checkpoint or take another node's, fences and cancels. The Spin model (test/spin/sequencer.pml) with the real code and many transactions.
 *
 * Shown for each seed: equal verdicts and votes on all replicas; a transaction commits in all its groups or in none, at most once; at its outcome every key that it
 * read or changed is as it read it, on every node, and commits stand in one order in all groups: one serial order; no node waits for ever at the heads of its streams;
 * every request has an outcome; epochs and their time ascend; at the end nothing is reserved, open or remembered.
 *
 * A log is agreed when an entry stands in it; only epochs have a tail that a new leader may cut. A failure prints its seed. Arguments: none, or a first seed and a
 * count. Built with -DND_MUTANTS, it also shows that each planted bug of the sequencer is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/core/base/mutant.h"
#include "seq_kit.h"

#define NODES 3
#define GROUPS 3
#define KEYS 16					/* of each group, from 1 */
#define TXNS 24
#define LOG_MAX 4000
#define TAIL_MAX 4
#define MESSAGES_MAX 64
#define STEPS 900

static uint64_t first_seed = 1;
static uint64_t n_seeds = 300;
static uint64_t n_commits;		/* of all seeds: what the runs met */
static uint64_t n_aborts;

typedef struct Log
{
	NdBlob	   *entries[LOG_MAX + 1];	/* from 1 */
	uint64_t	n;
} Log;

typedef struct Replica
{
	Certifier  *c;
	uint64_t	certified;
	uint64_t	applied;
	uint64_t	version[KEYS + 1];	/* what its tables show: the entry that changed the key last */
	NdBuf		checkpoint;
	uint64_t	checkpoint_at;
} Replica;

typedef struct Txn
{
	TxnId		id;
	NdNodeId	origin;
	NdBlob	   *request;
	KitPart		parts[GROUPS];
	uint32_t	n_parts;
	uint64_t	version[GROUPS];	/* of each part's key, as it read it */
	uint64_t	read_version[GROUPS];
	bool		refused;
	bool		ordered;		/* its node has seen its position */
	int			commits[GROUPS + 1];	/* by group */
	int			aborts[GROUPS + 1];
} Txn;

typedef struct Fact				/* of one entry of a group, by whoever certified it first */
{
	bool		known;
	Verdict		verdict;
	EntryHeader header;
	int			txn;			/* of an OUTCOME that counts; -1 */
	uint64_t	version;		/* of a single TXN: what it read */
	uint64_t	key;
} Fact;

typedef struct World
{
	NdRandom	r;
	const char *wrong;
	Log			log;			/* the sequencer's */
	NdBlob	   *tail[TAIL_MAX];
	int			n_tail;
	Sequencer  *seq[NODES];
	NdBuf		seq_checkpoint[NODES];
	uint64_t	seq_checkpoint_at[NODES];
	int			seq_lead;
	bool		seq_ready;		/* its no-op is applied */
	SeqInbox   *inbox;
	uint64_t	clock[NODES];
	uint64_t	epoch;			/* as the whole log has it */
	uint64_t	time;
	Sequencer  *judge;			/* a replica that is never behind */
	Log			groups[GROUPS + 1];
	Fact		facts[GROUPS + 1][LOG_MAX + 1];
	int			lead[GROUPS + 1];
	SeqParticipant part[GROUPS + 1];
	Replica		replicas[NODES][GROUPS + 1];
	NdBlob	   *messages[MESSAGES_MAX];	/* votes and acknowledgements under way to the sequencer's leader */
	int			n_messages;
	Txn			txns[TXNS];
	int			n_txns;
	uint64_t	counter;
	uint32_t	incarnation[NODES + 1];
	bool		healed;
} World;

static uint64_t below(World *w, uint64_t n)
{
	return nd_random_below(&w->r, n);
}

static void wrong(World *w, const char *what)
{
	if (w->wrong == NULL)
		w->wrong = what;
}

static void append(World *w, Log *log, NdBlob *entry)
{
	if (log->n == LOG_MAX)
	{
		wrong(w, "livelock: a log is too long");
		nd_blob_unref(entry);
		return;
	}
	log->entries[++log->n] = entry;
}

static NdBlob *take_buf(NdBuf *buf)
{
	NdBlob	   *blob = nd_blob_new(buf->data, (uint32_t) buf->len);

	nd_buf_free(buf);
	return blob;
}

/* ---- the sequencer ---- */

static void one_position_each(World *w)
{
	for (const SeqTxn *t = sequencer_next(w->judge, 0, 0); t != NULL; t = sequencer_next(w->judge, 0, t->position))
		for (const SeqTxn *u = sequencer_next(w->judge, 0, t->position); u != NULL; u = sequencer_next(w->judge, 0, u->position))
			if (txnid_compare(t->txn, u->txn) == 0)
				wrong(w, "a request has two positions");
}

static void seq_append(World *w, NdBlob *entry)
{
	uint64_t	before = sequencer_epoch(w->judge);
	uint64_t	time = sequencer_time(w->judge);

	append(w, &w->log, entry);
	if (w->wrong != NULL)
		return;
	if (sequencer_apply(w->judge, w->log.n, entry->data, entry->len) != ND_OK)
		wrong(w, "an entry of the sequencer is malformed");
	if (sequencer_epoch(w->judge) != before && sequencer_epoch(w->judge) != before + 1)
		wrong(w, "an epoch number went back, or was left out");
	if (sequencer_epoch(w->judge) != before)
		one_position_each(w);
	if (sequencer_time(w->judge) < time)
		wrong(w, "the time of an epoch went back");
}

static void seq_apply(World *w, int node)
{
	uint64_t	next = sequencer_last_index(w->seq[node]) + 1;

	if (next > w->log.n)
		return;
	if (sequencer_apply(w->seq[node], next, w->log.entries[next]->data, w->log.entries[next]->len) != ND_OK)
		wrong(w, "a replica cannot apply an entry");
	if (node == w->seq_lead && next == w->log.n && w->n_tail == 0)
		w->seq_ready = true;
	if (next == w->log.n && sequencer_checksum(w->seq[node]) != sequencer_checksum(w->judge))
		wrong(w, "two replicas of the sequencer differ");
}

static void seq_lead_change(World *w)
{
	int			keep = w->n_tail > 0 ? (int) below(w, (uint64_t) w->n_tail + 1) : 0;

	while (w->n_tail > keep)
		nd_blob_unref(w->tail[--w->n_tail]);
	w->seq_lead = (int) below(w, NODES);
	w->seq_ready = sequencer_last_index(w->seq[w->seq_lead]) == w->log.n && w->n_tail == 0;
	/* a planted bug for the state's own check: a leader that does not wait */
	w->seq_ready |= MUTANT(SEQ_ANY_EPOCH);
	seq_inbox_reset(w->inbox);
	/* its clock is its own */
}

static void seq_commit(World *w)
{
	if (w->n_tail == 0)
		return;
	seq_append(w, w->tail[0]);
	memmove(&w->tail[0], &w->tail[1], (size_t) --w->n_tail * sizeof(w->tail[0]));
}

static void seq_close(World *w)
{
	NdBuf		buf;

	if (!w->seq_ready || w->n_tail == TAIL_MAX)
		return;
	nd_buf_init(&buf);
	if (seq_inbox_close(w->inbox, w->seq[w->seq_lead], w->clock[w->seq_lead], &buf) != ND_OK)
	{
		nd_buf_free(&buf);
		return;
	}
	/* not proposed after all: it is packed again */
	if (below(w, 8) == 0 && !w->healed)
	{
		nd_buf_free(&buf);
		return;
	}
	seq_inbox_proposed(w->inbox);
	w->tail[w->n_tail++] = take_buf(&buf);
}

static void offer(World *w, Txn *t)
{
	SeqRefusal	refusal = seq_inbox_offer(w->inbox, w->seq[w->seq_lead], t->request, GROUPS);

	if (refusal != SEQ_TAKEN && refusal != SEQ_REFUSED_FULL && refusal != SEQ_REFUSED_ROLE && refusal != SEQ_REFUSED_BEHIND)
		wrong(w, "a request is refused without a reason");
}

static void abort_entry(World *w)
{
	const SeqTxn *t = sequencer_next(w->seq[w->seq_lead], 0, below(w, sequencer_position(w->judge) + 1));
	NdBuf		buf;

	if (t == NULL || (t->decided != SEQ_OPEN && !MUTANT(SEQ_ABORT_LATE)))
		return;
	nd_buf_init(&buf);
	if (seq_encode_abort(&buf, t->position) == ND_OK)
		seq_append(w, take_buf(&buf));
}

/* ---- groups ---- */

static void group_lead_change(World *w, NdGroupId g)
{
	w->lead[g] = (int) below(w, NODES);
	seq_participant_lead(&w->part[g], g, w->replicas[w->lead[g]][g].c);
}

static void send_message(World *w, NdBuf *buf)
{
	NdBlob	   *blob = take_buf(buf);

	if (w->n_messages == MESSAGES_MAX || (!w->healed && below(w, 6) == 0))
	{
		nd_blob_unref(blob);
		return;
	}
	w->messages[w->n_messages++] = blob;
	if (!w->healed && below(w, 6) == 0 && w->n_messages < MESSAGES_MAX)
		w->messages[w->n_messages++] = nd_blob_ref(blob);
}

static void message_arrives(World *w)
{
	uint64_t	at;

	if (w->n_messages == 0)
		return;
	at = below(w, (uint64_t) w->n_messages);
	seq_append(w, w->messages[at]);
	w->messages[at] = w->messages[--w->n_messages];
}

static bool marker_of(World *w, NdGroupId g, const SeqDuty *duty, NdBuf *out)
{
	SeqEntry	epoch;
	SeqEntry	request;
	const NdBlob *entry = w->log.entries[duty->txn->index];

	return seq_decode(entry->data, entry->len, &epoch) == ND_OK && seq_request_at(&epoch, duty->txn->number, &request) &&
		seq_participant_marker(duty, g, &request, out) == ND_OK;
}

static void duty(World *w, NdGroupId g)
{
	int			node = w->lead[g];
	const Certifier *c = w->replicas[node][g].c;
	const Sequencer *s = w->seq[node];
	SeqParticipant *p = &w->part[g];
	SeqDuty		d = seq_participant_next(p, s, c);
	NdBuf		buf;
	uint64_t	up_to;
	bool		ok = true;

	nd_buf_init(&buf);
	switch (d.kind)
	{
		case SEQ_DUTY_NONE:
			return;
		case SEQ_DUTY_MARKER:
			ok = marker_of(w, g, &d, &buf);
			append(w, &w->groups[g], take_buf(&buf));
			break;
		case SEQ_DUTY_OUTCOME:
			ok = seq_participant_outcome(&d, &buf) == ND_OK;
			append(w, &w->groups[g], take_buf(&buf));
			break;
		case SEQ_DUTY_VOTES:
			ok = seq_participant_votes(p, s, c, &buf, &up_to) == ND_OK;
			send_message(w, &buf);
			seq_participant_voted(p, up_to);
			break;
		case SEQ_DUTY_ACK:
			ok = seq_encode_ack(&buf, g, d.decision) == ND_OK;
			send_message(w, &buf);
			break;
	}
	if (!ok)
		wrong(w, "a duty cannot be done");
	seq_participant_done(p, &d);
}

static Txn *txn_of(World *w, TxnId id)
{
	for (int i = 0; i < w->n_txns; i++)
		if (txnid_compare(w->txns[i].id, id) == 0)
			return &w->txns[i];
	return NULL;
}

static bool same_verdict(const Verdict *a, const Verdict *b)
{
	return a->kind == b->kind && a->key == b->key && a->by_index == b->by_index && txnid_compare(a->by_txn, b->by_txn) == 0 && a->first == b->first;
}

/* The first replica that certifies an entry states the fact; the others must find the same. */
static void certify(World *w, int node, NdGroupId g)
{
	Replica    *r = &w->replicas[node][g];
	uint64_t	index = r->certified + 1;
	Fact	   *f = &w->facts[g][index];
	EntryHeader h;
	Verdict		v;

	if (index > w->groups[g].n || w->wrong != NULL)
		return;
	if (entry_decode(w->groups[g].entries[index]->data, w->groups[g].entries[index]->len, &h) != ND_OK || certifier_certify(r->c, index, &h, &v) != ND_OK)
	{
		wrong(w, "an entry of a group is malformed");
		return;
	}
	r->certified = index;
	if (f->known)
	{
		if (!same_verdict(&f->verdict, &v))
			wrong(w, "two replicas of a group have different verdicts");
		return;
	}
	f->known = true;
	f->verdict = v;
	f->header = h;
	f->txn = -1;
	if (h.kind == ENTRY_OUTCOME && v.kind != VERDICT_REPEATED)
	{
		Txn		   *t = txn_of(w, h.txn);
		bool		marked = false;

		for (uint64_t i = 1; i < index; i++)
			marked |= w->facts[g][i].header.kind == ENTRY_MARKER && w->facts[g][i].header.position == h.position &&
				w->facts[g][i].verdict.kind != VERDICT_REPEATED;
		if (!marked)
			wrong(w, "a marker was left out");
		f->txn = (int) (t - w->txns);
		if (v.kind == VERDICT_COMMIT)
			t->commits[g]++;
		else
			t->aborts[g]++;
	}
}

static KitPart *part_of(Txn *t, NdGroupId g)
{
	for (uint32_t i = 0; i < t->n_parts; i++)
		if (t->parts[i].group == g)
			return &t->parts[i];
	return NULL;
}

/* A part's outcome is next in its group here, or behind already (another node's tables came with it). */
static bool at_head(World *w, int node, const Fact *f, uint64_t decision, NdGroupId g)
{
	Replica    *r = &w->replicas[node][g];

	(void) f;
	for (uint64_t i = 1; i <= r->certified; i++)
	{
		const Fact *other = &w->facts[g][i];

		if (other->known && other->txn >= 0 && other->header.decision == decision)
			return i <= r->applied + 1;
	}
	return false;
}

static void apply_part(World *w, int node, NdGroupId g, Txn *t)
{
	Replica    *r = &w->replicas[node][g];
	const Fact *f = &w->facts[g][r->applied + 1];
	KitPart    *part = part_of(t, g);
	uint32_t	i = (uint32_t) (part - t->parts);

	/* its part is not next: it is behind already */
	if (r->applied + 1 > r->certified || f->txn < 0 || &w->txns[f->txn] != t || f->verdict.kind != VERDICT_COMMIT)
		return;
	r->applied++;
	if (part->read != 0 && r->version[part->read] != t->read_version[i])
		wrong(w, "not serializable: what a transaction read was changed before its outcome");
	if (part->key != 0)
	{
		if (r->version[part->key] != t->version[i])
			wrong(w, "lost update");
		r->version[part->key] = r->applied;
	}
}

static bool apply_one(World *w, int node, NdGroupId g)
{
	Replica    *r = &w->replicas[node][g];
	const Fact *f = &w->facts[g][r->applied + 1];
	Txn		   *t;

	if (r->applied >= r->certified)
		return false;
	if (f->verdict.kind != VERDICT_COMMIT || (f->header.kind != ENTRY_TXN && f->header.kind != ENTRY_OUTCOME))
	{
		r->applied++;
		return true;
	}
	if (f->header.kind == ENTRY_TXN)
	{
		r->applied++;
		if (f->key != 0 && r->version[f->key] != f->version)
			wrong(w, "lost update by an entry of one group");
		r->version[f->key] = r->applied;
		return true;
	}
	t = &w->txns[f->txn];
	for (uint32_t i = 0; i < t->n_parts; i++)
		if (!at_head(w, node, f, f->header.decision, t->parts[i].group))
			return false;
	for (uint32_t i = 0; i < t->n_parts; i++)
		apply_part(w, node, t->parts[i].group, t);
	return true;
}

static bool apply_all(World *w, int node)
{
	bool		any = false;

	for (NdGroupId g = 1; g <= GROUPS && w->wrong == NULL; g++)
		any |= apply_one(w, node, g);
	return any;
}

/* ---- clients ---- */

static void run_txn(World *w)
{
	Txn		   *t = &w->txns[w->n_txns];
	int			node = (int) below(w, NODES);

	if (w->n_txns == TXNS)
		return;
	w->n_txns++;
	*t = (Txn) {.origin = (NdNodeId) node + 1};
	t->id = (TxnId) {(NdNodeId) node + 1, w->incarnation[node], ++w->counter};
	for (NdGroupId g = 1; g <= GROUPS; g++)
		if (g <= 2 ? true : below(w, 2) == 0)
		{
			Replica    *r = &w->replicas[node][g];
			KitPart    *part = &t->parts[t->n_parts];

			*part = (KitPart) {.group = g, .base = r->applied, .key = below(w, 6) == 0 ? 0 : 1 + below(w, KEYS), .read = below(w, 2) == 0 ? 0 : 1 + below(w, KEYS)};
			if (part->read == part->key)
				part->read = 0;
			t->version[t->n_parts] = r->version[part->key];
			t->read_version[t->n_parts++] = r->version[part->read];
		}
	t->request = kit_request(t->id, below(w, 3), t->parts, t->n_parts);
}

/* Asks until its node has seen its position: from then on its outcome comes. */
static void ask(World *w)
{
	Txn		   *t = &w->txns[below(w, TXNS)];

	if (t >= &w->txns[w->n_txns])
		return;
	if (sequencer_find(w->seq[t->origin - 1], t->id) != NULL || t->commits[1] + t->aborts[1] > 0)
		t->ordered = true;
	/* a late copy, at any time */
	if (!t->ordered || (below(w, 10) == 0 && !w->healed))
		offer(w, t);
}

static void single(World *w)
{
	NdGroupId	g = (NdGroupId) (1 + below(w, GROUPS));
	int			node = (int) below(w, NODES);
	Replica    *r = &w->replicas[node][g];
	uint64_t	roll = below(w, 40);
	EntryKey	key = {1 + below(w, KEYS), KEY_ROW_UPDATE};
	TxnId		id = {(NdNodeId) node + 1, w->incarnation[node], ++w->counter};
	NdBuf		buf;
	NdStatus	status;

	nd_buf_init(&buf);
	if (roll == 0 && w->n_txns > 0)
	{
		/* whoever gives a transaction up for lost, whatever became of it */
		Txn		   *t = &w->txns[below(w, (uint64_t) w->n_txns)];

		status = entry_encode_header(&buf, ENTRY_CANCEL, 0, t->id, 0, NULL, 0, NULL, 0);
	}
	else if (roll == 1)
	{
		/* a new life of the node begins: its first entry fences the old one in this group */
		id.incarnation = ++w->incarnation[node];
		status = entry_encode_header(&buf, ENTRY_CANCEL, 0, id, r->applied, NULL, 0, NULL, 0);
	}
	else
	{
		status = entry_encode_header(&buf, ENTRY_TXN, 0, id, r->applied, &key, 1, NULL, 0);
		w->facts[g][w->groups[g].n + 1].key = key.hash;
		w->facts[g][w->groups[g].n + 1].version = r->version[key.hash];
	}
	if (status != ND_OK)
		wrong(w, "encode");
	append(w, &w->groups[g], take_buf(&buf));
}

/* ---- faults ---- */

static void stray_copy(World *w, Log *log)
{
	uint64_t	at = log->n > 0 ? 1 + below(w, log->n) : 0;
	EntryHeader h;

	if (at > 0 && entry_decode(log->entries[at]->data, log->entries[at]->len, &h) == ND_OK && h.kind >= ENTRY_MARKER)
		append(w, log, nd_blob_ref(log->entries[at]));
}

/* A marker or an outcome of the group comes again, or before its time. */
static void stray(World *w, NdGroupId g)
{
	Log		   *log = &w->groups[g];
	uint64_t	back = below(w, 4);
	const SeqTxn *t = sequencer_next(w->judge, g, sequencer_position(w->judge) > back ? sequencer_position(w->judge) - back - 1 : 0);
	const SeqTxn *d = sequencer_next_decided(w->judge, g, sequencer_decision(w->judge) > back ? sequencer_decision(w->judge) - back - 1 : 0);
	SeqDuty		marker = {.kind = SEQ_DUTY_MARKER, .txn = t, .previous = t != NULL ? sequencer_part(t, g)->previous : 0};
	SeqDuty		outcome = {.kind = SEQ_DUTY_OUTCOME, .txn = d, .previous = d != NULL ? sequencer_part(d, g)->previous_decision : 0};
	NdBuf		buf;

	nd_buf_init(&buf);
	if (t != NULL && below(w, 3) == 0 && marker_of(w, g, &marker, &buf))
		append(w, log, take_buf(&buf));
	else if (d != NULL && below(w, 2) == 0 && seq_participant_outcome(&outcome, &buf) == ND_OK)
		append(w, log, take_buf(&buf));
	else
		stray_copy(w, log);
}

static void checkpoint(World *w, int node)
{
	NdGroupId	g = (NdGroupId) below(w, GROUPS + 1);
	Replica    *r = &w->replicas[node][g];

	if (g == 0)
	{
		nd_buf_reset(&w->seq_checkpoint[node]);
		w->seq_checkpoint_at[node] = sequencer_last_index(w->seq[node]);
		if (sequencer_save(w->seq[node], &w->seq_checkpoint[node]) != ND_OK)
			wrong(w, "save");
		return;
	}
	nd_buf_reset(&r->checkpoint);
	r->checkpoint_at = r->certified;
	if (certifier_save(r->c, &r->checkpoint) != ND_OK)
		wrong(w, "save");
}

/* A replica begins anew from a checkpoint: its own, or another node's with the tables that belong to it. */
static void restore(World *w, int node, NdGroupId g, int from)
{
	Replica    *r = &w->replicas[node][g];
	Replica    *source = &w->replicas[from][g];
	Certifier  *c;

	if (source->checkpoint_at == 0 || (from != node && source->applied < r->applied))
		return;
	if (certifier_restore(source->checkpoint.data, source->checkpoint.len, &c) != ND_OK)
	{
		wrong(w, "restore");
		return;
	}
	certifier_destroy(r->c);
	r->c = c;
	r->certified = source->checkpoint_at;
	if (from != node)
	{
		r->applied = source->applied;
		memcpy(r->version, source->version, sizeof(r->version));
	}
	/* entries up to what the tables hold are certified, not applied */
	while (r->certified < r->applied && w->wrong == NULL)
		certify(w, node, g);
	if (w->lead[g] == node)
		group_lead_change(w, g);
}

static void restart(World *w, int node)
{
	Sequencer  *s;

	for (NdGroupId g = 1; g <= GROUPS; g++)
		restore(w, node, g, node);
	if (w->seq_checkpoint_at[node] > 0)
	{
		if (sequencer_restore(w->seq_checkpoint[node].data, w->seq_checkpoint[node].len, &s) != ND_OK)
		{
			wrong(w, "restore of the sequencer");
			return;
		}
		sequencer_destroy(w->seq[node]);
		w->seq[node] = s;
	}
	if (w->seq_lead == node)
		seq_lead_change(w);
}

static void fault(World *w)
{
	int			node = (int) below(w, NODES);
	NdGroupId	g = (NdGroupId) (1 + below(w, GROUPS));

	switch (below(w, 9))
	{
		case 8:
		case 0:
			seq_lead_change(w);
			break;
		case 1:
		case 2:
			group_lead_change(w, g);
			break;
		case 3:
			stray(w, g);
			break;
		case 4:
			if (below(w, 3) == 0)
				abort_entry(w);
			break;
		case 5:
			restart(w, node);
			break;
		case 6:
			restore(w, node, g, (int) below(w, NODES));
			break;
		case 7:
			w->clock[node] = below(w, 3) == 0 ? 0 : w->clock[node] + below(w, 50);
			break;
	}
}

static void step(World *w)
{
	int			node = (int) below(w, NODES);
	NdGroupId	g = (NdGroupId) (1 + below(w, GROUPS));

	w->clock[node]++;
	switch (below(w, 12))
	{
		case 0:
			run_txn(w);
			break;
		case 1:
			ask(w);
			break;
		case 2:
			seq_close(w);
			break;
		case 3:
			seq_commit(w);
			break;
		case 4:
			seq_apply(w, node);
			break;
		case 5:
		case 6:
			duty(w, g);
			break;
		case 7:
			message_arrives(w);
			break;
		case 8:
			certify(w, node, g);
			break;
		case 9:
			apply_all(w, node);
			break;
		case 10:
			if (below(w, 4) == 0)
				checkpoint(w, node);
			else if (below(w, 4) == 0)
				single(w);
			break;
		case 11:
			if (below(w, 3) == 0)
				fault(w);
			break;
	}
}

/* ---- the end ---- */

static bool settled(World *w)
{
	for (int node = 0; node < NODES; node++)
	{
		if (sequencer_unfinished(w->seq[node]) > 0 || sequencer_last_index(w->seq[node]) != w->log.n)
			return false;
		for (NdGroupId g = 1; g <= GROUPS; g++)
			if (w->replicas[node][g].applied != w->groups[g].n)
				return false;
	}
	for (int i = 0; i < w->n_txns; i++)
		if (!w->txns[i].ordered)
			return false;
	return true;
}

/* No more faults: everything must come to its end. */
static void heal(World *w)
{
	w->healed = true;
	for (int round = 0; round < 400 && w->wrong == NULL && !settled(w); round++)
	{
		for (int i = 0; i < TXNS; i++)
			ask(w);
		seq_close(w);
		while (w->n_tail > 0)
			seq_commit(w);
		for (NdGroupId g = 1; g <= GROUPS; g++)
		{
			if (round % 20 == 19)
				(void) seq_participant_again(&w->part[g], w->seq[w->lead[g]], w->replicas[w->lead[g]][g].c);
			for (int i = 0; i < 8; i++)
				duty(w, g);
		}
		while (w->n_messages > 0 && w->wrong == NULL)
			message_arrives(w);
		for (int node = 0; node < NODES; node++)
		{
			for (int i = 0; i < 40; i++)
				seq_apply(w, node);
			for (NdGroupId g = 1; g <= GROUPS; g++)
				for (int i = 0; i < 40; i++)
					certify(w, node, g);
			while (w->wrong == NULL && apply_all(w, node))
				;
		}
		/* a leader without new entries to apply has its own no-op */
		w->seq_ready |= sequencer_last_index(w->seq[w->seq_lead]) == w->log.n && w->n_tail == 0;
	}
	if (w->wrong == NULL && !settled(w))
		wrong(w, "liveness: something has no end");
}

static void check_txn(World *w, const Txn *t)
{
	int			commits = t->commits[t->parts[0].group];

	n_commits += commits > 0;
	n_aborts += commits == 0;
	for (uint32_t i = 0; i < t->n_parts; i++)
	{
		NdGroupId	g = t->parts[i].group;

		if (t->commits[g] != commits)
			wrong(w, "all or nothing: committed in one group and not in another");
		if (t->commits[g] > 1)
			wrong(w, "a transaction committed twice");
		if (t->commits[g] + t->aborts[g] == 0)
			wrong(w, "a request without an outcome");
	}
}

static void check_end(World *w)
{
	uint64_t	decision;

	for (int i = 0; i < w->n_txns && w->wrong == NULL; i++)
		check_txn(w, &w->txns[i]);
	for (NdGroupId g = 1; g <= GROUPS && w->wrong == NULL; g++)
	{
		decision = 0;
		for (uint64_t i = 1; i <= w->groups[g].n; i++)
		{
			const Fact *f = &w->facts[g][i];

			if (f->txn < 0)
				continue;
			if (f->header.decision <= decision)
				wrong(w, "outcomes of a group are not in the order of decisions");
			decision = f->header.decision;
		}
		for (int node = 0; node < NODES; node++)
		{
			CertifierStatus status;

			certifier_status(w->replicas[node][g].c, &status);
			if (status.markers != 0 || status.reservations != 0 || certifier_open_chunk_floor(w->replicas[node][g].c) != 0)
				wrong(w, "something is reserved for ever");
			if (certifier_checksum(w->replicas[node][g].c) != certifier_checksum(w->replicas[0][g].c))
				wrong(w, "two replicas of a group differ");
			if (memcmp(w->replicas[node][g].version, w->replicas[0][g].version, sizeof(w->replicas[0][g].version)) != 0)
				wrong(w, "the tables of two nodes differ");
		}
	}
}

static void create(World *w, uint64_t seed)
{
	SeqLimits	limits = SEQ_LIMITS_DEFAULT;
	bool		ok;

	nd_random_seed(&w->r, seed);
	limits.requests_max = (uint32_t) (3 + below(w, 20));
	limits.role_requests_max = (uint32_t) (1 + below(w, 10));
	limits.epoch_requests_max = (uint32_t) (1 + below(w, 5));
	limits.epochs_max = (uint32_t) (1 + below(w, 2));
	limits.group_unfinished_max = (uint32_t) (2 + below(w, 20));
	ok = seq_inbox_create(&limits, &w->inbox) == ND_OK && sequencer_create(&w->judge) == ND_OK;
	w->seq_ready = true;
	for (int node = 0; node < NODES; node++)
	{
		ok &= sequencer_create(&w->seq[node]) == ND_OK;
		w->incarnation[node] = 1;
		for (NdGroupId g = 1; g <= GROUPS; g++)
			ok &= certifier_create((CertifierLimits) {400, 400}, &w->replicas[node][g].c) == ND_OK;
	}
	for (NdGroupId g = 1; g <= GROUPS; g++)
	{
		for (uint64_t i = 0; i <= LOG_MAX; i++)
			w->facts[g][i].txn = -1;
		seq_participant_lead(&w->part[g], g, w->replicas[0][g].c);
	}
	if (!ok)
		wrong(w, "create");
}

static void free_log(Log *log)
{
	for (uint64_t i = 1; i <= log->n; i++)
		nd_blob_unref(log->entries[i]);
}

static void destroy(World *w)
{
	free_log(&w->log);
	for (NdGroupId g = 1; g <= GROUPS; g++)
		free_log(&w->groups[g]);
	while (w->n_tail > 0)
		nd_blob_unref(w->tail[--w->n_tail]);
	while (w->n_messages > 0)
		nd_blob_unref(w->messages[--w->n_messages]);
	for (int i = 0; i < w->n_txns; i++)
		nd_blob_unref(w->txns[i].request);
	for (int node = 0; node < NODES; node++)
	{
		sequencer_destroy(w->seq[node]);
		nd_buf_free(&w->seq_checkpoint[node]);
		for (NdGroupId g = 1; g <= GROUPS; g++)
		{
			certifier_destroy(w->replicas[node][g].c);
			nd_buf_free(&w->replicas[node][g].checkpoint);
		}
	}
	sequencer_destroy(w->judge);
	seq_inbox_destroy(w->inbox);
	free(w);
}

/* What went wrong; NULL: nothing. */
static const char *run(uint64_t seed)
{
	World	   *w = calloc(1, sizeof(World));
	const char *result;

	create(w, seed);
	for (int i = 0; i < STEPS && w->wrong == NULL; i++)
		step(w);
	if (w->wrong == NULL)
		heal(w);
	if (w->wrong == NULL)
		check_end(w);
	result = w->wrong;
	destroy(w);
	return result;
}

static void all_or_nothing_in_one_order(void **state)
{
	(void) state;
	for (uint64_t seed = first_seed; seed < first_seed + n_seeds; seed++)
	{
		const char *what = run(seed);

		if (what != NULL)
			fail_msg("seed %llu: %s", (unsigned long long) seed, what);
	}
	print_message("%llu transactions committed, %llu aborted\n", (unsigned long long) n_commits, (unsigned long long) n_aborts);
	assert_true(n_commits > n_seeds && n_aborts > n_seeds);
}

#ifdef ND_MUTANTS
static void planted_bugs_are_seen(void **state)
{
	int			tried = 0;
	int			missed = 0;

	(void) state;
	for (int mutant = 1; mutant < MUTANT_COUNT; mutant++)
	{
		const char *name = nd_mutant_name(mutant);
		const char *what = NULL;
		uint64_t	seed = first_seed;

		/* nobody waits for keys here, and there is no driver */
		if (strncmp(name, "NODE_", 5) == 0 || strstr(name, "QUEUE") != NULL ||
			(strncmp(name, "SEQ_", 4) != 0 && strstr(name, "MARKER") == NULL && strstr(name, "OUTCOME") == NULL))
			continue;
		tried++;
		nd_mutant = mutant;
		while (seed < first_seed + n_seeds && (what = run(seed)) == NULL)
			seed++;
		nd_mutant = MUTANT_NONE;
		missed += what == NULL;
		print_message("%s: seed %llu: %s\n", name, (unsigned long long) seed, what != NULL ? what : "NOT SEEN");
	}
	assert_true(tried > 0);
	assert_int_equal(missed, 0);
}
#endif

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_or_nothing_in_one_order),
#ifdef ND_MUTANTS
		cmocka_unit_test(planted_bugs_are_seen),
#endif
	};

	if (argc > 1)
		first_seed = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		n_seeds = strtoull(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
