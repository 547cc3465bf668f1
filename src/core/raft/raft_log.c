/*
 * raft_log.c: what the core remembers of the log: the term of every entry, the payloads not handed over yet, what is durable.
 *
 * It owns RaftMemLog. Invariants:
 * 1. runs cover first..last without gaps, ascending in index and term: the term of any entry needs no I/O.
 * 2. pending are the newest entries; those before it are the driver's, to be read through RaftLog.entries.
 * 3. durable never reaches a pending entry and falls when entries are cut: what was durable under another leader is not an entry of this log.
 * 4. Nothing here fails after raft__log_reserve().
 */
#include "raft_internal.h"

#include <string.h>

/* Drop what runs tell of entries below first. */
static void clip_runs(RaftMemLog *l)
{
	uint32_t	drop = 0;

	while (drop < l->n_runs && (drop + 1 < l->n_runs ? l->runs[drop + 1].first_index <= l->first : l->last < l->first))
		drop++;
	if (drop > 0)
	{
		memmove(l->runs, l->runs + drop, (l->n_runs - drop) * sizeof(RaftTermRun));
		l->n_runs -= drop;
	}
	if (l->n_runs > 0 && l->runs[0].first_index < l->first)
		l->runs[0].first_index = l->first;
}

bool raft__log_restore(RaftMemLog *l, const RaftRestore *restore, NdStatus *status)
{
	uint64_t	term = restore->prev_term;

	*status = ND_INVALID;
	if (restore->first_index == 0 || restore->last_index + 1 < restore->first_index ||
		restore->last_index > RAFT_NUMBER_MAX || (restore->first_index == 1 && restore->prev_term != 0))
		return false;
	if (restore->last_index >= restore->first_index &&
		(restore->n_runs == 0 || restore->runs[0].first_index > restore->first_index))
		return false;
	for (uint32_t i = 0; i < restore->n_runs; i++)
	{
		const RaftTermRun *run = &restore->runs[i];

		if (run->term == 0 || run->term > RAFT_NUMBER_MAX || run->term < term ||
			(i > 0 && (run->first_index <= run[-1].first_index || run->term == term)) ||
			(run->first_index > restore->last_index && restore->last_index >= restore->first_index))
			return false;
		term = run->term;
	}
	*status = ND_NOMEM;
	if (!raft__reserve((void **) &l->runs, &l->cap_runs, (uint64_t) restore->n_runs + 1, sizeof(RaftTermRun)))
		return false;
	if (restore->n_runs > 0)
		memcpy(l->runs, restore->runs, restore->n_runs * sizeof(RaftTermRun));
	l->n_runs = restore->n_runs;
	l->first = restore->first_index;
	l->prev_term = restore->prev_term;
	l->last = restore->last_index;
	l->durable = l->last;
	if (l->last < l->first)
		l->n_runs = 0;
	clip_runs(l);
	*status = ND_OK;
	return true;
}

void raft__log_free(RaftMemLog *l)
{
	for (uint32_t i = 0; i < l->n_pending; i++)
		nd_blob_unref(l->pending[i].payload);
	nd_free(l->pending);
	nd_free(l->runs);
}

uint64_t raft__term(const RaftMemLog *l, uint64_t index)
{
	uint32_t	lo = 0;
	uint32_t	hi = l->n_runs;

	if (index + 1 == l->first)
		return l->prev_term;
	if (index < l->first || index > l->last)
		return 0;
	while (hi - lo > 1)
	{
		uint32_t	mid = lo + (hi - lo) / 2;

		if (l->runs[mid].first_index <= index)
			lo = mid;
		else
			hi = mid;
	}
	return l->runs[lo].term;
}

uint64_t raft__handed(const RaftMemLog *l)
{
	return l->last - l->n_pending;
}

/*
 * The largest index <= `index` whose entry's term is <= `term`: where two logs may meet (thesis, 3.5: whole terms are skipped,
 * so that finding the meeting point takes a message per term and not per entry). 0 when it lies before what is kept.
 */
uint64_t raft__find_by_term(const RaftMemLog *l, uint64_t index, uint64_t term)
{
	index = raft__min(index, l->last);
	for (uint32_t i = l->n_runs; i > 0 && index >= l->first; i--)
	{
		const RaftTermRun *run = &l->runs[i - 1];

		if (run->first_index > index)
			continue;
		if (run->term <= term)
			return index;
		index = run->first_index - 1;
	}
	return index + 1 == l->first && l->prev_term <= term ? index : 0;
}

bool raft__log_reserve(RaftMemLog *l, uint32_t n_entries, uint32_t n_runs)
{
	return raft__reserve((void **) &l->pending, &l->cap_pending, (uint64_t) l->n_pending + n_entries, sizeof(RaftEntry)) &&
		raft__reserve((void **) &l->runs, &l->cap_runs, (uint64_t) l->n_runs + n_runs, sizeof(RaftTermRun));
}

void raft__log_append(RaftMemLog *l, uint64_t term, RaftEntryKind kind, NdBlob *payload)
{
	uint64_t	index = ++l->last;

	if (l->n_runs == 0 || l->runs[l->n_runs - 1].term != term)
		l->runs[l->n_runs++] = (RaftTermRun) {index, term};
	l->pending[l->n_pending++] = (RaftEntry) {index, term, kind, nd_blob_ref(payload)};
}

bool raft__log_truncate(RaftMemLog *l, uint64_t from)
{
	uint64_t	handed = raft__handed(l);

	while (l->n_pending > 0 && l->last >= from)
	{
		nd_blob_unref(l->pending[--l->n_pending].payload);
		l->last--;
	}
	while (l->n_runs > 0 && l->runs[l->n_runs - 1].first_index >= from)
		l->n_runs--;
	if (from > handed)
		return false;
	l->last = from - 1;
	l->durable = raft__min(l->durable, l->last);
	if (l->truncate_from == 0 || l->truncate_from > from)
		l->truncate_from = from;
	return true;
}

void raft__log_compact(RaftMemLog *l, uint64_t first)
{
	l->prev_term = raft__term(l, first - 1);
	l->first = first;
	clip_runs(l);
}

void raft__log_reset(RaftMemLog *l, uint64_t index, uint64_t term)
{
	while (l->n_pending > 0)
		nd_blob_unref(l->pending[--l->n_pending].payload);
	l->n_runs = 0;
	l->first = index + 1;
	l->prev_term = term;
	l->last = index;
	l->durable = index;
	l->truncate_from = 0;
}

void raft__log_taken(RaftMemLog *l)
{
	while (l->n_pending > 0)
		nd_blob_unref(l->pending[--l->n_pending].payload);
	l->truncate_from = 0;
}
