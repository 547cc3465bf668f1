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
 * 1. One base per transaction, sampled after all locks are held and after any ticket that was granted but is not published yet (DESIGN.md, 2).
 * 2. A granted ticket is either committed here or handed over, exactly once: handing over is a compare-and-swap of the ticket's owner.
 * 3. The ledger row stands in the same local transaction as the changes.
 * 4. A commit that carries a ticket never waits for a standby, and not for its WAL either, unless it also wrote local tables.
 */
#include "commit.h"

#include "../shmem.h"
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

#define CHUNK_BYTES (1024 * 1024)
#define COUNTER_RANDOM_BITS 24

/* The one commit of this backend that may be under way. Static: the ABORT callback must find it whatever was freed. */
static struct
{
	uint64		counter;		/* of the transaction id; 0 = none given yet */
	uint64		id_base;		/* applied here when the id was given: whatever becomes of it stands above */
	uint64		request;		/* newest request number */
	bool		outcome_open;	/* a TXN request was submitted and has no definite answer yet */
	bool		granted;
	uint64		ticket;
	bool		in_log;			/* a RESERVE or CHUNK of this id may be in the log: something of it stays there until a TXN or CANCEL */
	uint16		reserves;		/* RESERVE entries proposed, for their sequence number */
	uint64		first_base;		/* base of the first entry of this id: a CANCEL that proves something must not have a later one */
	bool		local_write;
	bool		schema_change;
	uint64		index;			/* granted: of the entry */
	bool		cancel_held;
	bool		sync_saved;
	int			sync_commit;	/* value of synchronous_commit to restore */
	ErrorContextCallback context;
	bool		context_pushed;
} tx;

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

static TxnId
my_txn_id(void)
{
	if (tx.counter == 0)
	{
		uint64		base = nodedb_watermark(1);

		tx.counter = new_counter();
		tx.id_base = base;
		nodedb_my_slot()->counter = tx.counter;
	}
	return (TxnId) {.node = nodedb_shared->self, .incarnation = nodedb_shared->incarnation, .counter = tx.counter};
}

char *
commit_transaction_id(void)
{
	TxnId		id = my_txn_id();

	return psprintf("%u.%u." UINT64_FORMAT "." UINT64_FORMAT, id.node, id.incarnation, id.counter, tx.id_base);
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

static void
check_nd(NdBuf *buf)
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
	if (kind == ENTRY_TXN)
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

/* Wait for the raft worker's answer to the newest request. */
static SlotState
await_answer(void)
{
	NodedbSlot *slot = nodedb_my_slot();

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
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
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
static uint64
sample_base(NdGroupId group)
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
session_reserve(EntryKey *keys, uint32 n)
{
	NdGroupId	group = 1;
	NdBuf		header;
	TxnId		id = my_txn_id();
	uint64		base = sample_base(group);
	uint64		index;

	if (!tx.in_log)
		tx.first_base = base;
	nd_buf_init(&header);
	if (entry_encode_header(&header, ENTRY_RESERVE, ++tx.reserves, id, base, keys, n, NULL, 0) != ND_OK)
		header.failed = true;
	check_nd(&header);
	tx.in_log = true;			/* from the submission on */
	submit(ENTRY_RESERVE, group, &header, 0, 0);
	nd_buf_free(&header);
	if (!await_side_request(group))
		return false;
	index = nodedb_my_slot()->index;
	wait_watermark(group, index, nodedb_commit_timeout);
	STOP_EVENT("reserved");
	return true;
}

/*
 * Put a CANCEL of this id into the log: it frees reservations and chunks, and no later TXN of the id can commit. Nobody waits for it. Right also while
 * the outcome is open: the first of TXN and CANCEL in the log wins.
 */
static void
give_up_id(void)
{
	NodedbSlot *slot = nodedb_my_slot();
	NdBuf		header;
	uint32		head;
	int			tries = 0;

	nd_buf_init(&header);
	if (entry_encode_header(&header, ENTRY_CANCEL, 0, my_txn_id(), tx.first_base, NULL, 0, NULL, 0) != ND_OK || header.failed ||
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
		slot->group = 1;
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

/* ---- the outcome of another transaction ---- */

bool
commit_ask_outcome(TxnId id, uint64 base, Verdict *verdict)
{
	NdGroupId	group = 1;
	NodedbSlot *slot = nodedb_my_slot();
	NdBuf		header;

	nd_buf_init(&header);
	/* Two sessions that ask for one id have two requests; 0 and the driver's own number are taken. */
	if (entry_encode_header(&header, ENTRY_CANCEL, (uint16) (1 + (slot - nodedb_slots) % (NODE_CANCEL_FLAGS - 1)), id, base, NULL, 0, NULL, 0) != ND_OK)
		header.failed = true;
	check_nd(&header);
	submit(ENTRY_CANCEL, group, &header, 0, 0);
	nd_buf_free(&header);
	if (await_answer() == SLOT_FAILED)
		return false;
	*verdict = slot->verdict;
	return true;
}

/* ---- pre-commit ---- */

/*
 * Send all but the last piece of a large body as CHUNK entries; their indexes in a palloc'd array. Of a body that other nodes replay ahead of the TXN (worker/bulk.c) send
 * all, and give them the time for it: behind the TXN everybody's commits would wait.
 */
static uint64 *
send_chunks(NdGroupId group, uint64 body_len, uint32 *n, uint64 *sent)
{
	uint32		cap = body_len / CHUNK_BYTES + 1;
	uint64	   *indexes = palloc(cap * sizeof(uint64));
	TxnId		id = my_txn_id();
	uint64		base = sample_base(group);
	bool		ahead = body_len > (uint64) BULK_PIECES_MIN * CHUNK_BYTES;

	if (!tx.in_log)
		tx.first_base = base;
	*n = 0;
	*sent = 0;
	while (body_len - *sent > (ahead ? 0 : CHUNK_BYTES))
	{
		uint64		piece = Min(CHUNK_BYTES, body_len - *sent);
		NdBuf		header;

		nd_buf_init(&header);
		if (entry_encode_header(&header, ENTRY_CHUNK, (uint16) (*n & 0xffff), id, base, NULL, 0, NULL, 0) != ND_OK)
			header.failed = true;
		check_nd(&header);
		tx.in_log = true;
		submit(ENTRY_CHUNK, group, &header, *sent, piece);
		nd_buf_free(&header);
		(void) await_side_request(group);
		indexes[(*n)++] = nodedb_my_slot()->index;
		*sent += piece;
	}
	if (ahead && nodedb_bulk_wait > 0)
		wait_prepared(group, indexes[*n - 1], nodedb_bulk_wait);
	return indexes;
}

void
commit_pre_commit(void)
{
	NdGroupId	group = 1;
	NodedbSlot *slot;
	NdBuf		header;
	EntryKey   *keys;
	uint32		n_keys;
	EntryKey   *reads;
	uint32		n_reads;
	uint64		read_base = 0;
	uint64	   *chunks;
	uint32		n_chunks;
	uint64		sent;
	uint64		body_len;
	SlotState	state;
	MemoryContext old;

	if (!writeset_has_ops())
		return;
	/* A replica that has stopped must not propose what it computed from a state that may be damaged. */
	check_applying();
	session_check_doomed();
	/* What PostgreSQL would check after this callback and could still fail is checked before anything is proposed. */
	PreCommit_CheckForSerializationFailure();

	slot = nodedb_my_slot();
	old = MemoryContextSwitchTo(TopTransactionContext);
	body_len = writeset_body_len();
	keys = writeset_keys(&n_keys);
	reads = readset_keys(&n_reads);
	if (n_reads > 0 && !read_serial_base(group, &read_base))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot commit changes of a SERIALIZABLE transaction that read distributed tables under an imported snapshot"),
				 errhint("Use REPEATABLE READ with SET TRANSACTION SNAPSHOT, or READ ONLY.")));
	chunks = send_chunks(group, body_len, &n_chunks, &sent);

	session_enter_commit();
	nd_buf_init(&header);
	if (entry_encode_txn(&header, 0, my_txn_id(), sample_base(group), keys, n_keys, read_base, reads, n_reads, chunks, n_chunks) != ND_OK)
		header.failed = true;
	check_nd(&header);
	STOP_EVENT("before-propose");
	submit(ENTRY_TXN, group, &header, sent, body_len - sent);
	nd_buf_free(&header);
	STOP_EVENT("proposed");
	state = await_answer();

	if (state != SLOT_GRANTED)
	{
		if (state == SLOT_FAILED && slot->outcome_unknown)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_STATEMENT_COMPLETION_UNKNOWN),
					 errmsg("could not learn within %d ms whether the transaction was committed", nodedb_commit_timeout),
					 errdetail("The transaction was proposed, but the majority that has to agree was lost."),
					 hint_outcome()));
		/* A definite answer: errors keep their own code from here. */
		tx.outcome_open = false;
		pop_outcome_context();
		if (state == SLOT_REFUSED)
			tx.in_log = false;	/* a verdict ends whatever the id had there; one that was never sent does not */
		if (state == SLOT_FAILED)
			raise_failed(slot->failure);
		conflict_raise_refused(&slot->verdict, group);
	}

	tx.granted = true;
	tx.ticket = slot->ticket;
	tx.index = slot->index;
	tx.schema_change = writeset_has_utility();
	STOP_EVENT("granted");
	/* The entry is committed: a cancel would only move the work to the applier. Termination is still possible. */
	HOLD_CANCEL_INTERRUPTS();
	tx.cancel_held = true;
	ledger_insert(group, slot->index);
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
		if (tx.schema_change && nodedb_schema_wait > 0 && !wait_shown(1, tx.index, nodedb_schema_wait))
			ereport(NOTICE,
					(errmsg("the schema change is committed, but not all nodes show it yet"),
					 errdetail("They apply it as soon as they can. See nodedb.nodes."),
					 errhint("nodedb.schema_wait says how long to wait for them.")));
	}
	else if (tx.in_log)
		give_up_id();
	end_of_transaction();
}

/* PREPARE TRANSACTION of a transaction that used no distributed table, but may have reserved something. */
void
commit_prepared(void)
{
	if (tx.in_log)
		give_up_id();
	end_of_transaction();
}

void
commit_aborted(void)
{
	if (tx.outcome_open)
	{
		NodedbSlot *slot = nodedb_my_slot();
		uint64		word = pg_atomic_read_u64(&slot->word);

		while (slot_state(word) == SLOT_SUBMITTED || slot_state(word) == SLOT_TAKEN)
			if (pg_atomic_compare_exchange_u64(&slot->word, &word, slot_word(tx.request, SLOT_ABANDONED)))
				break;
		if (slot_state(word) == SLOT_GRANTED)
		{
			uint64		ticket = slot->ticket;
			uint32		local = TICKET_LOCAL;

			pg_atomic_compare_exchange_u32(&nodedb_tickets[ticket % TICKETS].owner, &local, TICKET_APPLIER);
			pg_atomic_fetch_add_u64(&nodedb_shared->handed_over, 1);
			nodedb_wake(&nodedb_shared->applier_latch);
			/* Else the guard would take the next transaction here for one that is about to commit. */
			pg_atomic_write_u64(&slot->word, slot_word(tx.request, SLOT_IDLE));
			tx.in_log = false;
		}
	}
	else if (tx.request != 0)
	{
		/* A side request (CHUNK, RESERVE) may be under way: nobody wants its answer. */
		NodedbSlot *slot = nodedb_my_slot();
		uint64		word = pg_atomic_read_u64(&slot->word);

		while (slot_state(word) == SLOT_SUBMITTED || slot_state(word) == SLOT_TAKEN)
			if (pg_atomic_compare_exchange_u64(&slot->word, &word, slot_word(tx.request, SLOT_ABANDONED)))
				break;
	}
	if (tx.in_log)
		give_up_id();
	end_of_transaction();
}
