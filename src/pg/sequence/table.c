/*
 * table.c: the leases of this node, in shared memory, and the questions that sessions have for the lease worker.
 *
 * Owns the shared hash "nodedb leases", keyed by database and oid, at most nodedb.max_leased_sequences entries. The least recently leased one gives way
 * to a new one: its values are lost, never given to anybody.
 *
 * Who writes what: draws hold `lock` shared and the entry's spinlock; everything else holds `lock` exclusively.
 *
 * Asking: `asked` and `answered` count questions of an entry. A session that finds both equal asks (asked + 1); others wait for the same
 * answer. A lease that is published answers, whoever took it; else the worker does. An entry with an open question is never evicted.
 *
 * Invariants:
 * 1. Every value of a lease was taken from the cluster by a committed transaction before it came here (row.c): whatever is lost here
 *    stays a hole.
 * 2. A lease is published and dropped under the lock of the sequence's row in nodedb.sequences, so it never outlives a later
 *    setval() that this node has applied.
 */
#include "sequence_internal.h"

#include "../shmem.h"

#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/hsearch.h"
#include "utils/wait_event.h"

#define GRACE_MS 5000			/* beyond nodedb.commit_timeout, after which the worker answers by itself */
#define BLOCK_GROWTH 1000
#define BLOCK_MAX 1000000000
#define FAST_MS 1000
#define MESSAGE_BYTES 256

typedef struct EntryId
{
	Oid			database;
	Oid			sequence;
} EntryId;

typedef struct Entry
{
	EntryId		id;
	slock_t		lock;			/* lease, for draws */
	Lease		lease;
	uint64		block;			/* size of the newest lease */
	TimestampTz leased_at;
	uint64		clock;			/* when it was last leased or asked for, for eviction */

	uint64		asked;
	uint64		answered;
	AskKind		kind;
	int64		value;
	bool		called;
	TimestampTz asked_at;
	int			sqlstate;		/* of the newest answer; 0 = done */
	char		message[MESSAGE_BYTES];
	char		hint[MESSAGE_BYTES];
} Entry;

typedef struct Shared
{
	LWLock	   *lock;
	uint64		clock;
	bool		rows_changed;
	Latch	   *worker_latch;
	ConditionVariable answered_cv;
} Shared;

static Shared *shared = NULL;
static HTAB *entries = NULL;
static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

static void
shmem_request(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(add_size(MAXALIGN(sizeof(Shared)), hash_estimate_size(nodedb_max_leased_sequences, sizeof(Entry))));
	RequestNamedLWLockTranche("nodedb leases", 1);
}

static void
shmem_startup(void)
{
	HASHCTL		ctl = {.keysize = sizeof(EntryId), .entrysize = sizeof(Entry)};
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("nodedb leases of sequences", sizeof(Shared), &found);
	entries = ShmemInitHash("nodedb leases", nodedb_max_leased_sequences, nodedb_max_leased_sequences, &ctl, HASH_ELEM | HASH_BLOBS);
	if (!found)
	{
		memset(shared, 0, sizeof(Shared));
		shared->lock = &GetNamedLWLockTranche("nodedb leases")[0].lock;
		ConditionVariableInit(&shared->answered_cv);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
table_init(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

static Entry *
find(Oid sequence)
{
	EntryId		id = {MyDatabaseId, sequence};

	return hash_search(entries, &id, HASH_FIND, NULL);
}

/* Make room for one entry; lock held. */
static bool
evict(void)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;
	Entry	   *oldest = NULL;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->asked == entry->answered && (oldest == NULL || entry->clock < oldest->clock))
			oldest = entry;
	if (oldest == NULL)
		return false;
	hash_search(entries, &oldest->id, HASH_REMOVE, NULL);
	return true;
}

/* Find or make; NULL when there is no room. Exclusive lock held. */
static Entry *
enter(Oid sequence)
{
	EntryId		id = {MyDatabaseId, sequence};
	Entry	   *entry = find(sequence);
	bool		found;

	if (entry == NULL)
	{
		if (hash_get_num_entries(entries) >= nodedb_max_leased_sequences && !evict())
			return NULL;
		entry = hash_search(entries, &id, HASH_ENTER_NULL, &found);
		if (entry == NULL)
			return NULL;
		memset((char *) entry + sizeof(EntryId), 0, sizeof(Entry) - sizeof(EntryId));
		SpinLockInit(&entry->lock);
	}
	entry->clock = ++shared->clock;
	return entry;
}

static void
wake_worker(void)
{
	if (shared->worker_latch != NULL)
		SetLatch(shared->worker_latch);
}

/* ---- drawing ---- */

bool
table_draw(Oid sequence, int64 *value)
{
	Entry	   *entry;
	bool		drawn = false;

	LWLockAcquire(shared->lock, LW_SHARED);
	entry = find(sequence);
	if (entry != NULL)
	{
		SpinLockAcquire(&entry->lock);
		if (entry->lease.left > 0)
		{
			*value = entry->lease.next;
			/* behind the last value there may be no other number */
			if (--entry->lease.left > 0)
				entry->lease.next += entry->lease.increment;
			drawn = true;
		}
		SpinLockRelease(&entry->lock);
	}
	LWLockRelease(shared->lock);
	return drawn;
}

/* ---- changes ---- */

/* Does the new lease begin where the old one ends? Then both are there. */
static bool
continues(const Lease *old, const Lease *new)
{
	return old->left > 0 && old->generation == new->generation && old->increment == new->increment &&
		old->next + (int128) old->left * old->increment == new->next;
}

void
table_publish(Oid sequence, const Lease *lease)
{
	Entry	   *entry;
	bool		awaited = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = enter(sequence);
	if (entry != NULL)
	{
		if (continues(&entry->lease, lease))
			entry->lease.left += lease->left;
		else
			entry->lease = *lease;
		entry->block = lease->left;
		entry->leased_at = GetCurrentTimestamp();
		awaited = entry->asked != entry->answered && entry->kind == ASK_LEASE;
		if (awaited)
		{
			entry->answered = entry->asked;
			entry->sqlstate = 0;
		}
	}
	LWLockRelease(shared->lock);
	if (awaited)
		ConditionVariableBroadcast(&shared->answered_cv);
}

void
table_drop(Oid sequence)
{
	Entry	   *entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = find(sequence);
	if (entry != NULL)
		entry->lease.left = 0;
	LWLockRelease(shared->lock);
}

void
table_drop_other_generation(Oid sequence, int64 generation)
{
	Entry	   *entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = find(sequence);
	if (entry != NULL && entry->lease.generation != generation)
		entry->lease.left = 0;
	LWLockRelease(shared->lock);
}

void
sequence_wake_worker(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	wake_worker();
	LWLockRelease(shared->lock);
}

void
table_rows_changed(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->rows_changed = true;
	wake_worker();
	LWLockRelease(shared->lock);
}

/* ---- asking ---- */

/*
 * Pose the question, or join one that is open; the number of the answer to wait for, 0 when there is no need.
 * *posed: it is ours. *alike: its answer, and its error, concern us.
 */
static uint64
pose(Oid sequence, AskKind kind, int64 value, bool called, bool *posed, bool *alike)
{
	Entry	   *entry;
	uint64		number;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = enter(sequence);
	if (entry == NULL)
	{
		LWLockRelease(shared->lock);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many sequences wait for values"),
				 errhint("Raise nodedb.max_leased_sequences.")));
	}
	*posed = entry->asked == entry->answered;
	if (*posed && kind == ASK_LEASE && entry->lease.left > 0)
	{
		number = 0;				/* somebody was faster */
	}
	else
	{
		if (*posed)
		{
			entry->asked++;
			entry->kind = kind;
			entry->value = value;
			entry->called = called;
			entry->asked_at = GetCurrentTimestamp();
			wake_worker();
		}
		number = entry->asked;
		*alike = *posed || (kind == ASK_LEASE && entry->kind == ASK_LEASE);
	}
	LWLockRelease(shared->lock);
	return number;
}

/* Is it answered? Then raise its error when it concerns us. */
static bool
is_answered(Oid sequence, uint64 number, bool alike)
{
	Entry	   *entry;
	bool		answered;
	int			sqlstate = 0;
	char		message[MESSAGE_BYTES];
	char		hint[MESSAGE_BYTES];

	LWLockAcquire(shared->lock, LW_SHARED);
	entry = find(sequence);
	answered = entry == NULL || entry->answered >= number;
	if (alike && entry != NULL && entry->answered == number && entry->sqlstate != 0)
	{
		sqlstate = entry->sqlstate;
		strlcpy(message, entry->message, sizeof(message));
		strlcpy(hint, entry->hint, sizeof(hint));
	}
	LWLockRelease(shared->lock);
	if (sqlstate != 0)
	{
		ConditionVariableCancelSleep();
		ereport(ERROR, (errcode(sqlstate), errmsg_internal("%s", message), hint[0] != '\0' ? errhint("%s", hint) : 0));
	}
	return answered;
}

void
table_ask(Oid sequence, AskKind kind, int64 value, bool called)
{
	bool		posed;
	bool		alike;

	do
	{
		TimestampTz began = GetCurrentTimestamp();
		uint64		number = pose(sequence, kind, value, called, &posed, &alike);

		if (number == 0)
			return;
		ConditionVariablePrepareToSleep(&shared->answered_cv);
		while (!is_answered(sequence, number, alike))
		{
			(void) ConditionVariableTimedSleep(&shared->answered_cv, 1000, PG_WAIT_EXTENSION);
			if (TimestampDifferenceExceeds(began, GetCurrentTimestamp(), nodedb_commit_timeout + GRACE_MS))
			{
				ConditionVariableCancelSleep();
				ereport(ERROR,
						(errcode(ERRCODE_CANNOT_CONNECT_NOW),
						 errmsg("no values of the sequence could be leased within %d ms", nodedb_commit_timeout + GRACE_MS),
						 errhint("Is nodedb's lease worker running? See the server's log and nodedb.status().")));
			}
		}
		ConditionVariableCancelSleep();
	} while (kind == ASK_SET && !posed);
}

/* ---- worker ---- */

static void
detach_worker(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->worker_latch = NULL;
	LWLockRelease(shared->lock);
}

void
table_attach_worker(void)
{
	before_shmem_exit(detach_worker, (Datum) 0);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->worker_latch = MyLatch;
	shared->rows_changed = true;
	LWLockRelease(shared->lock);
}

/* A sequence that has used up its lease within a second gets twice as much, one that did not, half. */
static uint64
next_block(const Entry *entry)
{
	uint64		base = nodedb_sequence_block;
	uint64		most = Min(base * BLOCK_GROWTH, BLOCK_MAX);

	if (entry->block == 0)
		return base;
	if (!TimestampDifferenceExceeds(entry->leased_at, GetCurrentTimestamp(), FAST_MS))
		return Max(base, Min(most, entry->block * 2));
	return Max(base, Min(most, entry->block / 2));
}

int
table_asks(Ask *asks, int max)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;
	int			n = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->asked == entry->answered || entry->id.database != MyDatabaseId)
			continue;
		asks[n++] = (Ask)
		{
			.sequence = entry->id.sequence, .number = entry->asked, .kind = entry->kind, .value = entry->value, .called = entry->called,
			.block = next_block(entry), .asked_at = entry->asked_at
		};
		if (n == max)
		{
			hash_seq_term(&scan);
			break;
		}
	}
	LWLockRelease(shared->lock);
	return n;
}

void
table_answer(Oid sequence, uint64 number, int sqlstate, const char *message, const char *hint)
{
	Entry	   *entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	entry = find(sequence);
	if (entry != NULL && entry->asked == number)
	{
		entry->sqlstate = sqlstate;
		strlcpy(entry->message, message ? message : "", MESSAGE_BYTES);
		strlcpy(entry->hint, hint ? hint : "", MESSAGE_BYTES);
		entry->answered = number;
	}
	LWLockRelease(shared->lock);
	ConditionVariableBroadcast(&shared->answered_cv);
}

bool
table_take_rows_changed(void)
{
	bool		changed;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	changed = shared->rows_changed;
	shared->rows_changed = false;
	LWLockRelease(shared->lock);
	return changed;
}
