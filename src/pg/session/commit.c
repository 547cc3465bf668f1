/*
 * commit.c: a transaction's way through the log: propose at pre-commit, await the verdict, commit in turn, hand over when that fails.
 *
 * Where an error may come from, and what it means:
 *   before the TXN request is submitted         nothing is in the log that could take effect: the error keeps its own code
 *   from the submission to the COMMIT callback  the entry may be committed: every error leaves as 40003 (an error context callback sets the
 *                                               code), and the ABORT callback gives the entry, or its ticket, to the applier
 *   verdict "abort", or "surely not sent"       a definite answer: 40001, or the reason
 *
 * Invariants:
 * 1. One base per transaction and group, sampled after all locks are held and after any ticket that was granted but is not published yet (DESIGN.md, 2).
 * 2. A granted ticket is either committed here or handed over, exactly once: handing over is a compare-and-swap of the ticket's owner.
 * 3. The ledger row stands in the same local transaction as the changes.
 * 4. A commit that carries a ticket never waits for a standby, and not for its WAL either, unless it also wrote local tables.
 */
#include "commit_internal.h"

#include "../stop_event.h"
#include "../worker/bulk.h"
#include "../worker/ledger.h"
#include "conflict.h"
#include "read.h"
#include "wait.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "storage/dsm.h"
#include "storage/predicate.h"
#include "storage/proc.h"
#include "../tableam/readset.h"
#include "../tableam/writeset.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define COUNTER_RANDOM_BITS 24

/* The one commit of this backend that may be under way. Static: the ABORT callback must find it whatever was freed. */
static struct
{
	uint64		counter;		/* of the transaction id; 0 = none given yet */
	uint64		request;		/* newest request number */
	bool		fence;			/* the newest request is a fence's */
	bool		outcome_open;	/* a TXN or MARKER request was submitted and has no definite answer yet */
	bool		granted;
	uint64		ticket;
	uint32		in_logs;		/* groups with in_log */
	uint32		told_groups;	/* data groups that the id names which was told; 0: none was */
	uint16		reserves;		/* RESERVE entries proposed, for their sequence number */
	bool		local_write;
	bool		schema_change;
	uint64		index;			/* granted schema change: of the entry in group 1 */
	bool		cancel_held;
	bool		sync_saved;
	int			sync_commit;	/* value of synchronous_commit to restore */
	ErrorContextCallback context;
	bool		context_pushed;
} tx;

/* What the id has in one group. Of all data groups by number, in TopMemoryContext: the ABORT callback must find it. */
typedef struct InGroup
{
	bool		in_log;			/* a RESERVE or CHUNK of this id may be in the log: something of it stays there until a TXN, an OUTCOME or a CANCEL */
	uint64		id_base;		/* applied here when the id was given: whatever becomes of it stands above */
	uint64		first_base;		/* base of the first entry of this id: a CANCEL that proves something must not have a later one */
} InGroup;

static InGroup *in_group = NULL;

static dsm_segment *request_segment = NULL; /* of this transaction's large requests */

bool
commit_granted(void)
{
	return tx.granted;
}

bool
commit_outcome_open(void)
{
	return tx.outcome_open;
}

void
session_note_local_write(void)
{
	tx.local_write = true;
}

/* ---- the transaction id ---- */

/*
 * The low bits are random, so that nobody ends another's transaction by guessing its id (outcome.c). With 40 bits left, an incarnation lasts for a million
 * transactions a second for twelve days.
 */
static uint64
new_counter(void)
{
	uint64		counter = pg_atomic_fetch_add_u64(&nodedb_shared->next_counter, 1) << COUNTER_RANDOM_BITS;
	uint32		bits;

	if (!pg_strong_random(&bits, sizeof(bits)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random transaction id")));
	return counter | (bits & ((1 << COUNTER_RANDOM_BITS) - 1));
}

TxnId
commit_txn_id(void)
{
	if (tx.counter == 0)
	{
		if (in_group == NULL)
			in_group = MemoryContextAllocZero(TopMemoryContext, nodedb_shared->max_groups * sizeof(InGroup));
		for (NdGroupId g = 1; g < pg_atomic_read_u32(&nodedb_shared->n_groups); g++)
			in_group[g].id_base = nodedb_watermark(g);
		tx.counter = new_counter();
		nodedb_my_slot()->counter = tx.counter;
	}
	return (TxnId) {.node = nodedb_shared->self, .incarnation = nodedb_shared->incarnation, .counter = tx.counter};
}

char *
commit_transaction_id(void)
{
	TxnId		id = commit_txn_id();
	StringInfoData text;

	tx.told_groups = parts_groups();
	initStringInfo(&text);
	appendStringInfo(&text, "%u.%u." UINT64_FORMAT, id.node, id.incarnation, id.counter);
	for (NdGroupId g = 1; g <= tx.told_groups; g++)
		appendStringInfo(&text, "." UINT64_FORMAT, in_group[g].id_base);
	return text.data;
}

/* ---- what the id leaves in the groups' logs ---- */

/* Before the submission of a CHUNK or RESERVE. */
static void
enter_log(NdGroupId group, uint64 base)
{
	if (in_group[group].in_log)
		return;
	in_group[group].in_log = true;
	in_group[group].first_base = base;
	tx.in_logs++;
}

static void
leave_log(NdGroupId group)
{
	tx.in_logs -= in_group[group].in_log;
	in_group[group].in_log = false;
}

/* ---- 40003 for whatever goes wrong while the outcome is open ---- */

static int
hint_outcome(void)
{
	return errhint("The transaction may have been committed: SELECT nodedb.transaction_status('%s') tells. Ask before you run it again.",
				   commit_transaction_id());
}

static void
outcome_context(void *arg)
{
	if (!tx.outcome_open || geterrcode() == ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN)
		return;
	errcode(ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN);
	hint_outcome();
}

static void
push_outcome_context(void)
{
	tx.context.callback = outcome_context;
	tx.context.arg = NULL;
	tx.context.previous = error_context_stack;
	error_context_stack = &tx.context;
	tx.context_pushed = true;
}

static void
pop_outcome_context(void)
{
	if (tx.context_pushed)
	{
		/* After an error the stack was unwound already; after a commit it is ours to pop. */
		if (error_context_stack == &tx.context)
			error_context_stack = tx.context.previous;
		tx.context_pushed = false;
	}
}

/* ---- requests ---- */

void
commit_check(NdBuf *buf)
{
	if (buf->failed)
	{
		nd_buf_free(buf);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
}

/* Wait until the raft worker no longer reads the request buffer: an abandoned predecessor may still be queued. */
static void
wait_buffer_free(NodedbSlot *slot)
{
	while (pg_atomic_read_u32(&slot->queued) != 0)
	{
		nodedb_wake(&nodedb_shared->raft_latch);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Header and a piece of the body, from header into the slot or a segment; then SUBMITTED and linked. */
static void
submit(EntryKind kind, NdGroupId group, NdBuf *header, uint64 body_offset, uint64 body_len)
{
	NodedbSlot *slot = nodedb_my_slot();
	Size		len = header->len + body_len;
	char	   *to;
	uint32		head;

	if (nodedb_shared->raft_latch == NULL)
		ereport(ERROR, (errcode(ERRCODE_CANNOT_CONNECT_NOW), errmsg("nodedb's raft worker is not running")));
	wait_buffer_free(slot);
	if (len <= SLOT_INLINE_BYTES)
	{
		to = slot->bytes;
		slot->segment = DSM_HANDLE_INVALID;
	}
	else
	{
		if (request_segment != NULL && dsm_segment_map_length(request_segment) < len)
		{
			dsm_detach(request_segment);
			request_segment = NULL;
		}
		if (request_segment == NULL)
			request_segment = dsm_create(Max(len, CHUNK_BYTES + 4096), 0);
		to = dsm_segment_address(request_segment);
		slot->segment = dsm_segment_handle(request_segment);
	}
	memcpy(to, header->data, header->len);
	if (body_len > 0)
		writeset_read(body_offset, to + header->len, body_len);

	slot->group = group;
	slot->kind = kind;
	slot->timeout_ms = nodedb_commit_timeout;
	slot->len = len;
	tx.request = (pg_atomic_read_u64(&slot->word) >> 8) + 1;
	if ((kind == ENTRY_TXN || kind == ENTRY_MARKER) && !tx.fence)
	{
		tx.outcome_open = true;
		push_outcome_context();
	}
	pg_write_barrier();
	pg_atomic_write_u64(&slot->word, slot_word(tx.request, SLOT_SUBMITTED));
	pg_atomic_write_u32(&slot->queued, 1);
	head = pg_atomic_read_u32(&nodedb_shared->queue_head);
	do
		slot->next_queued = head;
	while (!pg_atomic_compare_exchange_u32(&nodedb_shared->queue_head, &head, (uint32) (slot - nodedb_slots) + 1));
	/* Whoever finds the list empty wakes the worker; the others know that it has been woken and has not taken the list yet. */
	if (head == 0)
		nodedb_wake(&nodedb_shared->raft_latch);
}

/*
 * A RESERVE in the queue: how long may it wait? Waiting for others ends by lock_timeout, as that for a lock does, and by nodedb.commit_timeout; true then. What is not in the log
 * yet is the raft worker's to end.
 */
static bool
queue_timed_out(NodedbSlot *slot, TimestampTz began)
{
	TimestampTz now;

	if (pg_atomic_read_u64(&slot->queued_request) != tx.request)
		return false;
	session_check_doomed();
	now = GetCurrentTimestamp();
	if (LockTimeout > 0 && TimestampDifferenceExceeds(began, now, LockTimeout))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("canceling statement due to lock timeout"),
				 errdetail("It waited for a reservation of other transactions; see nodedb.reservations.")));
	return TimestampDifferenceExceeds(began, now, nodedb_commit_timeout);
}

/* Wait for the raft worker's answer to the newest request. SLOT_TAKEN: it waits in the queue of reservations, for too long. */
static SlotState
await_answer(void)
{
	NodedbSlot *slot = nodedb_my_slot();
	TimestampTz began = slot->kind == ENTRY_RESERVE ? GetCurrentTimestamp() : 0;
	long		pause_ms = 1000;

	if (began != 0)
		pause_ms = Min(Min(pause_ms, nodedb_commit_timeout), LockTimeout > 0 ? LockTimeout : pause_ms);
	for (;;)
	{
		SlotState	state = slot_state(pg_atomic_read_u64(&slot->word));

		if (state == SLOT_GRANTED || state == SLOT_REFUSED || state == SLOT_FAILED)
		{
			pg_read_barrier();
			return state;
		}
		if (slot->demoted_request == tx.request)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN),
					 errmsg("transaction gave way to replicated changes while waiting for its verdict"),
					 hint_outcome()));
		check_applying();
		CHECK_FOR_INTERRUPTS();
		if (began != 0 && queue_timed_out(slot, began))
			return SLOT_TAKEN;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

static void
raise_failed(NdStatus reason)
{
	if (reason == ND_TOOBIG)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("transaction is too large for the replicated log"),
				 errhint("Split it into smaller transactions.")));
	if (reason == ND_FULL)
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("could not write to the replicated log: no space left on device"),
				 errhint("Free space below the directory of the log (nodedb.directory). The transaction had no effect.")));
	ereport(ERROR,
			(errcode(nodedb_sqlstate(reason)),
			 errmsg("could not reach a majority of the cluster's nodes within %d ms", nodedb_commit_timeout),
			 errdetail("The transaction had no effect (%s).", nd_status_text(reason)),
			 errhint("See nodedb.nodes and nodedb.groups. The node recovers by itself when a majority is back; "
					 "nodedb.commit_timeout says how long to wait.")));
}

/* Answer of a request that is no TXN: true when it is in the log with verdict "commit". */
static bool
await_side_request(NdGroupId group)
{
	NodedbSlot *slot = nodedb_my_slot();
	SlotState	state = await_answer();

	if (state == SLOT_FAILED)
		raise_failed(slot->failure);
	return state == SLOT_GRANTED;
}

/* ---- base ---- */

/*
 * Sample the base. A row lock may have been got from a transaction that is committed in PostgreSQL's eyes but has not advanced the turnstile yet:
 * its entry must be covered, else this transaction would abort for a change that it saw. Such a ticket is at the turnstile's head right now; it
 * passes in microseconds, unless its commit waits for WAL.
 */
uint64
commit_base(NdGroupId group)
{
	uint64		turn = pg_atomic_read_u64(&nodedb_shared->turn);

	if (turn < pg_atomic_read_u64(&nodedb_shared->tickets_end))
	{
		NodedbTicket *t = &nodedb_tickets[turn % TICKETS];

		if (pg_atomic_read_u32(&t->owner) == TICKET_LOCAL || pg_atomic_read_u64(&nodedb_shared->applier_committing) == turn)
			wait_turn_passed(turn);
	}
	return nodedb_watermark_exact(group);
}

/* ---- reservation ---- */

bool
session_reserve(NdGroupId group, EntryKey *keys, uint32 n, uint64 age)
{
	NdBuf		header;
	TxnId		id = commit_txn_id();
	uint64		base = commit_base(group);
	uint64		index;

	nd_buf_init(&header);
	if (entry_encode_header(&header, ENTRY_RESERVE, ++tx.reserves, id, base, keys, n, NULL, 0) != ND_OK)
		header.failed = true;
	nd_buf_varint(&header, age);
	commit_check(&header);
	enter_log(group, base);
	submit(ENTRY_RESERVE, group, &header, 0, 0);
	nd_buf_free(&header);
	/* One that leaves the queue unserved is ended by its transaction's next entry: TXN, or CANCEL. Should its turn come before, no harm. */
	if (!await_side_request(group))
	{
		if (nodedb_my_slot()->verdict.kind == VERDICT_ABORT_CANCELLED && slot_state(pg_atomic_read_u64(&nodedb_my_slot()->word)) == SLOT_REFUSED)
			conflict_raise_refused(&nodedb_my_slot()->verdict, group);
		return false;
	}
	index = nodedb_my_slot()->index;
	wait_watermark(group, index, nodedb_commit_timeout);
	STOP_EVENT("reserved");
	return true;
}

bool
session_reserve_waited(void)
{
	return pg_atomic_read_u64(&nodedb_my_slot()->queued_request) == tx.request;
}

/* Nobody waits for it, and nothing raises an error. */
static void
propose_cancel(NdGroupId group)
{
	NodedbSlot *slot = nodedb_my_slot();
	NdBuf		header;
	uint32		head;
	int			tries = 0;

	nd_buf_init(&header);
	if (entry_encode_header(&header, ENTRY_CANCEL, 0, commit_txn_id(), in_group[group].first_base, NULL, 0, NULL, 0) != ND_OK || header.failed ||
		nodedb_shared->raft_latch == NULL)
	{
		nd_buf_free(&header);
		return;
	}
	while (pg_atomic_read_u32(&slot->queued) != 0 && tries++ < 1000)
	{
		nodedb_wake(&nodedb_shared->raft_latch);
		pg_usleep(1000);		/* in an abort callback: no latch, no interrupts */
	}
	if (pg_atomic_read_u32(&slot->queued) == 0)
	{
		memcpy(slot->bytes, header.data, header.len);
		slot->segment = DSM_HANDLE_INVALID;
		slot->group = group;
		slot->kind = ENTRY_CANCEL;
		slot->timeout_ms = 60000;
		slot->len = header.len;
		tx.request = (pg_atomic_read_u64(&slot->word) >> 8) + 1;
		pg_write_barrier();
		pg_atomic_write_u64(&slot->word, slot_word(tx.request, SLOT_ABANDONED));
		pg_atomic_write_u32(&slot->queued, 1);
		head = pg_atomic_read_u32(&nodedb_shared->queue_head);
		do
			slot->next_queued = head;
		while (!pg_atomic_compare_exchange_u32(&nodedb_shared->queue_head, &head, (uint32) (slot - nodedb_slots) + 1));
		nodedb_wake(&nodedb_shared->raft_latch);
	}
	nd_buf_free(&header);
}

/*
 * Put a CANCEL of this id into the logs that have something of it: it frees reservations and chunks, and no later TXN or MARKER of the id can commit there. Right
 * also while the outcome is open: the first of them in the log wins.
 */
static void
give_up_id(void)
{
	for (NdGroupId g = 1; tx.in_logs > 0 && g < nodedb_shared->max_groups; g++)
		if (in_group[g].in_log)
		{
			propose_cancel(g);
			leave_log(g);
		}
}

/*
 * Nobody here waits for the newest request any more: what comes of it, a ticket above all, is the applier's.
 */
static void
abandon(void)
{
	NodedbSlot *slot = nodedb_my_slot();
	uint64		word = pg_atomic_read_u64(&slot->word);

	while (slot_state(word) == SLOT_SUBMITTED || slot_state(word) == SLOT_TAKEN)
		if (pg_atomic_compare_exchange_u64(&slot->word, &word, slot_word(tx.request, SLOT_ABANDONED)))
			break;
	/* CHUNK, RESERVE and CANCEL are granted without a ticket. */
	if (slot_state(word) == SLOT_GRANTED && (slot->kind == ENTRY_TXN || slot->kind == ENTRY_MARKER))
	{
		uint64		ticket = slot->ticket;
		uint32		local = TICKET_LOCAL;

		pg_atomic_compare_exchange_u32(&nodedb_tickets[ticket % TICKETS].owner, &local, TICKET_APPLIER);
		pg_atomic_fetch_add_u64(&nodedb_shared->handed_over, !tx.fence);
		nodedb_wake(&nodedb_shared->applier_latch);
		/* Else the guard would take the next transaction here for one that is about to commit. */
		pg_atomic_write_u64(&slot->word, slot_word(tx.request, SLOT_IDLE));
	}
}

/* ---- the outcome of another transaction ---- */

bool
commit_ask_outcome(TxnId id, NdGroupId group, uint64 base, Verdict *verdict)
{
	NodedbSlot *slot = nodedb_my_slot();
	NdBuf		header;

	nd_buf_init(&header);
	/* Two sessions that ask for one id have two requests; 0 and the driver's own number are taken. */
	if (entry_encode_header(&header, ENTRY_CANCEL, (uint16) (1 + (slot - nodedb_slots) % (NODE_CANCEL_FLAGS - 1)), id, base, NULL, 0, NULL, 0) != ND_OK)
		header.failed = true;
	commit_check(&header);
	submit(ENTRY_CANCEL, group, &header, 0, 0);
	nd_buf_free(&header);
	if (await_answer() == SLOT_FAILED)
		return false;
	*verdict = slot->verdict;
	return true;
}

/*
 * The sequencer did not take the request, but a copy of it may be under way (node_propose_several()): a CANCEL of the id in one of its groups decides. True: it came
 * first, so the transaction has no effect.
 */
static bool
settle(NdGroupId group)
{
	uint64		base = in_group[group].in_log ? in_group[group].first_base : in_group[group].id_base;
	Verdict		verdict;

	return commit_ask_outcome(commit_txn_id(), group, base, &verdict) && verdict.kind == VERDICT_NONE && verdict.by_index == 0;
}

static void
raise_no_room(NdStatus reason)
{
	if (reason == ND_TOOBIG)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("transaction over several data groups is too large for the sequencer"),
				 errhint("Split it into smaller transactions.")));
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("the sequencer has no room for another transaction over several data groups"),
			 errdetail("Too many are under way, of this role or with a part in the same group. The transaction had no effect."),
			 errhint("Try again in a moment. If it stays, a data group may be without a majority: see nodedb.groups.")));
}

/* ---- fences ---- */

void
commit_fence_propose(void)
{
	NdBuf		request;

	nd_buf_init(&request);
	commit_several_fence((TxnId) {.node = nodedb_shared->self, .incarnation = nodedb_shared->incarnation, .counter = new_counter()}, &request);
	tx.fence = true;
	submit(ENTRY_MARKER, ND_GROUP_SEQUENCER, &request, 0, 0);
	nd_buf_free(&request);
}

FenceState
commit_fence_state(void)
{
	NodedbSlot *slot = nodedb_my_slot();
	SlotState	state = slot_state(pg_atomic_read_u64(&slot->word));

	pg_read_barrier();
	if (state == SLOT_REFUSED || state == SLOT_FAILED)
		tx.fence = false;
	if (state == SLOT_FAILED && (slot->failure == ND_BUSY || slot->failure == ND_TOOBIG))
		raise_no_room(slot->failure);
	if (state == SLOT_FAILED)
		raise_failed(slot->failure);
	if (state == SLOT_REFUSED)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_CONNECT_NOW),
				 errmsg("could not read at one place of the order of all data groups"),
				 slot->verdict.kind == VERDICT_ABORT_ELSEWHERE ? errdetail("Data group %u did not agree in time.", slot->verdict_group)
				 : errdetail("This node is too far behind in data group %u.", slot->verdict_group),
				 errhint("Try again, or see nodedb.groups. With nodedb.read_consistency = strong a read needs no place in that order.")));
	if (state == SLOT_GRANTED && pg_atomic_read_u64(&nodedb_shared->turn) == slot->ticket)
		return FENCE_TURN;
	return slot->demoted_request == tx.request ? FENCE_DEMOTED : FENCE_OPEN;
}

bool
commit_fence_leave(void)
{
	if (!tx.fence)
		return false;
	abandon();
	tx.fence = false;
	return true;
}

/* ---- pre-commit ---- */

uint64
commit_chunk(NdGroupId group, uint32 number, uint64 base, const char *head, Size head_len, uint64 offset, Size len)
{
	NdBuf		buf;

	nd_buf_init(&buf);
	if (entry_encode_header(&buf, ENTRY_CHUNK, (uint16) (number & 0xffff), commit_txn_id(), base, NULL, 0, NULL, 0) != ND_OK)
		buf.failed = true;
	nd_buf_bytes(&buf, head, head_len);
	commit_check(&buf);
	enter_log(group, base);
	submit(ENTRY_CHUNK, group, &buf, offset, len);
	nd_buf_free(&buf);
	(void) await_side_request(group);
	return nodedb_my_slot()->index;
}

/*
 * Send all but the last piece of a large body as CHUNK entries; their indexes in a palloc'd array. Of a body that other nodes replay ahead of the TXN (worker/bulk.c) send
 * all, and give them the time for it: behind the TXN everybody's commits would wait.
 */
static uint64 *
send_chunks(NdGroupId group, uint64 body_len, uint32 *n, uint64 *sent)
{
	uint32		cap = body_len / CHUNK_BYTES + 1;
	uint64	   *indexes = palloc(cap * sizeof(uint64));
	uint64		base = commit_base(group);
	bool		ahead = body_len > (uint64) BULK_PIECES_MIN * CHUNK_BYTES;

	*n = 0;
	*sent = 0;
	while (body_len - *sent > (ahead ? 0 : CHUNK_BYTES))
	{
		uint64		piece = Min(CHUNK_BYTES, body_len - *sent);

		indexes[*n] = commit_chunk(group, *n, base, NULL, 0, *sent, piece);
		(*n)++;
		*sent += piece;
	}
	if (ahead && nodedb_bulk_wait > 0)
		wait_prepared(group, indexes[*n - 1], nodedb_bulk_wait);
	return indexes;
}

uint64
commit_read_base(NdGroupId group)
{
	uint64		base;

	if (!read_serial_base(group, &base))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot commit changes of a SERIALIZABLE transaction that read distributed tables under an imported snapshot"),
				 errhint("Use REPEATABLE READ with SET TRANSACTION SNAPSHOT, or READ ONLY.")));
	return base;
}

SlotState
commit_submit(EntryKind kind, NdGroupId group, NdBuf *header, uint64 offset, Size len)
{
	STOP_EVENT("before-propose");
	submit(kind, group, header, offset, len);
	nd_buf_free(header);
	STOP_EVENT("proposed");
	return await_answer();
}

static SlotState
propose_one(const TxnPart *part)
{
	uint64		body_len = writeset_body_len();
	uint64		read_base = part->n_reads > 0 ? commit_read_base(part->group) : 0;
	uint32		n_chunks;
	uint64		sent;
	uint64	   *chunks = send_chunks(part->group, body_len, &n_chunks, &sent);
	NdBuf		header;

	session_enter_commit();
	nd_buf_init(&header);
	if (entry_encode_txn(&header, 0, commit_txn_id(), commit_base(part->group), part->keys, part->n_keys, read_base, part->reads, part->n_reads,
						 chunks, n_chunks) != ND_OK)
		header.failed = true;
	commit_check(&header);
	return commit_submit(ENTRY_TXN, part->group, &header, sent, body_len - sent);
}

static void
raise_unknown(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN),
			 errmsg("could not learn within %d ms whether the transaction was committed", nodedb_commit_timeout),
			 errdetail("The transaction was proposed, but the majority that has to agree was lost."),
			 hint_outcome()));
}

/* The answer was not that the transaction is committed. */
static void
raise_refused(SlotState state, const TxnPart *parts, uint32 n)
{
	NodedbSlot *slot = nodedb_my_slot();
	NdStatus	reason = slot->failure;
	bool		no_room = n > 1 && (reason == ND_BUSY || reason == ND_TOOBIG);

	if (state == SLOT_FAILED && slot->outcome_unknown && !(no_room && settle(parts[0].group)))
		raise_unknown();
	/* A definite answer: errors keep their own code from here. */
	tx.outcome_open = false;
	pop_outcome_context();
	for (uint32 i = 0; state == SLOT_REFUSED && !slot->lost_early && i < n; i++)
		leave_log(parts[i].group);	/* a verdict in the log ends whatever the id had there; one that was never sent does not */
	if (state == SLOT_REFUSED)
		conflict_raise_refused(&slot->verdict, n > 1 ? slot->verdict_group : parts[0].group);
	if (no_room)
		raise_no_room(reason);
	raise_failed(reason);
}

/* Reads of one group stand in its order, whatever else happens. */
static bool
reads_from_several(const TxnPart *parts, uint32 n)
{
	uint32		groups = 0;

	for (uint32 i = 0; i < n; i++)
		groups += parts[i].n_reads > 0;
	return groups > 1;
}

void
commit_pre_commit(void)
{
	NodedbSlot *slot;
	TxnPart    *parts;
	uint32		n;
	SlotState	state;
	MemoryContext old;

	if (!writeset_has_ops() && !read_needs_certifying())
		return;
	/* A replica that has stopped must not propose what it computed from a state that may be damaged. */
	check_applying();
	session_check_doomed();
	/* What PostgreSQL would check after this callback and could still fail is checked before anything is proposed. */
	PreCommit_CheckForSerializationFailure();

	slot = nodedb_my_slot();
	old = MemoryContextSwitchTo(TopTransactionContext);
	parts = parts_make(&n);
	if (!writeset_has_ops() && !reads_from_several(parts, n))
		return;
	/* Somebody may have been told "aborted" for tombstones in all groups that there were. */
	if (tx.told_groups > 0 && parts[n - 1].group > tx.told_groups)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access: data groups were added after the transaction's id was told"),
				 errdetail("The id names %u of them, and the transaction has a part in data group %u.", tx.told_groups, parts[n - 1].group),
				 errhint("Retry the transaction.")));
	state = n == 1 ? propose_one(&parts[0]) : commit_several(&parts, &n);
	if (state != SLOT_GRANTED)
		raise_refused(state, parts, n);

	tx.granted = true;
	tx.ticket = slot->ticket;
	tx.schema_change = writeset_has_utility();
	STOP_EVENT("granted");
	/* The entry is committed: a cancel would only move the work to the applier. Termination is still possible. */
	HOLD_CANCEL_INTERRUPTS();
	tx.cancel_held = true;
	for (uint32 i = 0; i < n; i++)
		leave_log(parts[i].group);
	if (n == 1)
	{
		ledger_insert(parts[0].group, slot->index);
		tx.index = slot->index;
	}
	else
	{
		ledger_insert_tickets(tx.ticket, 1);
		tx.index = ticket_part(&nodedb_tickets[tx.ticket % TICKETS], 0)->index;
	}
	tx.sync_commit = synchronous_commit;
	tx.sync_saved = true;
	synchronous_commit = tx.local_write ? SYNCHRONOUS_COMMIT_LOCAL_FLUSH : SYNCHRONOUS_COMMIT_OFF;

	STOP_EVENT("before-turn");
	while (pg_atomic_read_u64(&nodedb_shared->turn) != tx.ticket)
	{
		if (slot->demoted_request == tx.request)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN),
					 errmsg("transaction gave way to replicated changes before its turn"),
					 errdetail("It is certified and will be applied by the applier."),
					 hint_outcome()));
		check_applying();
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	STOP_EVENT("in-turn");
	MemoryContextSwitchTo(old);
}

/* ---- end ---- */

static void
end_of_transaction(void)
{
	if (tx.sync_saved)
		synchronous_commit = tx.sync_commit;
	pop_outcome_context();
	if (request_segment != NULL)
	{
		/* At abort the resource owner detaches it; at commit it does too, with a warning that this avoids. */
		dsm_detach(request_segment);
		request_segment = NULL;
	}
	if (tx.counter != 0)
		nodedb_my_slot()->counter = 0;	/* nobody works on this id any more (raft_worker_orphans.c) */
	memset(&tx, 0, sizeof(tx));
}

void
commit_done(void)
{
	if (tx.granted)
	{
		NodedbSlot *slot = nodedb_my_slot();

		STOP_EVENT("before-advance");
		tx.outcome_open = false;
		pg_atomic_fetch_add_u64(&nodedb_shared->commits_local, 1);
		nodedb_advance(tx.ticket, 1);
		pg_atomic_write_u64(&slot->word, slot_word(tx.request, SLOT_IDLE));
		if (tx.cancel_held)
		{
			RESUME_CANCEL_INTERRUPTS();
			QueryCancelPending = false; /* it was for this transaction, which is committed */
		}
		/* Group 1's part shows when all others do: nodes apply them in one local transaction. */
		if (tx.schema_change && nodedb_schema_wait > 0 && !wait_shown(1, tx.index, nodedb_schema_wait))
			ereport(NOTICE,
					(errmsg("the schema change is committed, but not all nodes show it yet"),
					 errdetail("They apply it as soon as they can. See nodedb.nodes."),
					 errhint("nodedb.schema_wait says how long to wait for them.")));
	}
	give_up_id();
	end_of_transaction();
}

/* PREPARE TRANSACTION of a transaction that used no distributed table, but may have reserved something. */
void
commit_prepared(void)
{
	give_up_id();
	end_of_transaction();
}

void
commit_aborted(void)
{
	if (tx.request != 0)
		abandon();
	give_up_id();
	end_of_transaction();
}
