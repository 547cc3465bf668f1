/*
 * info.c: what the catalogs say of a sequence, looked up once per session and again when it changes.
 *
 * Owns a hash by oid in CacheMemoryContext; entries are never freed, for they hold what currval() answers.
 *
 * Invariants:
 * 1. `mine` is true whenever this transaction may hold the lock of the sequence's row in nodedb.sequences: every command that changes that row also
 *    changes pg_class, pg_sequence or, for a renamed schema, pg_namespace. A session whose own lock is in the way must not wait for the worker.
 * 2. An invalidation marks, and never moves, an entry.
 */
#include "sequence_internal.h"

#include "../shmem.h"
#include "ddl/ddl_internal.h"
#include "session/session.h"
#include "tableam/apply.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_sequence.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

static HTAB *infos = NULL;
static bool any_mine = false;

static void
forget_where(Oid relid, bool only_mine)
{
	HASH_SEQ_STATUS scan;
	SequenceInfo *info;

	if (infos == NULL)
		return;
	hash_seq_init(&scan, infos);
	while ((info = hash_seq_search(&scan)) != NULL)
		if ((!OidIsValid(relid) || info->oid == relid || info->owner_table == relid) && (!only_mine || info->mine))
			info->valid = false;
}

static void
forget_relation(Datum arg, Oid relid)
{
	forget_where(relid, false);
}

static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_where(InvalidOid, false);
}

void
info_end_of_transaction(void)
{
	if (any_mine)
		forget_where(InvalidOid, true);
	any_mine = false;
}

void
info_forget_drawn(void)
{
	HASH_SEQ_STATUS scan;
	SequenceInfo *info;

	if (infos == NULL)
		return;
	hash_seq_init(&scan, infos);
	while ((info = hash_seq_search(&scan)) != NULL)
		info->drawn = false;
}

static bool
is_mine(HeapTuple tuple)
{
	return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));
}

/* false: it is gone, or no sequence. */
static bool
look_up(SequenceInfo *info)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(info->oid));
	Form_pg_class class;
	Form_pg_sequence form;
	Oid			namespace;
	int32		column;
	bool		is_sequence;

	if (!HeapTupleIsValid(tuple))
		return false;
	class = (Form_pg_class) GETSTRUCT(tuple);
	is_sequence = class->relkind == RELKIND_SEQUENCE;
	info->mine = is_mine(tuple);
	info->replicated = class->relpersistence == RELPERSISTENCE_PERMANENT;
	strlcpy(info->name, NameStr(class->relname), NAMEDATALEN);
	namespace = class->relnamespace;
	ReleaseSysCache(tuple);
	if (!is_sequence)
		return false;

	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(info->oid));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_sequence) GETSTRUCT(tuple);
	info->mine |= is_mine(tuple);
	info->start = form->seqstart;
	info->increment = form->seqincrement;
	info->min = form->seqmin;
	info->max = form->seqmax;
	info->cycle = form->seqcycle;
	ReleaseSysCache(tuple);

	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(namespace));
	if (!HeapTupleIsValid(tuple))
		return false;
	info->mine |= is_mine(tuple);
	strlcpy(info->schema, NameStr(((Form_pg_namespace) GETSTRUCT(tuple))->nspname), NAMEDATALEN);
	ReleaseSysCache(tuple);

	if (!sequenceIsOwned(info->oid, DEPENDENCY_AUTO, &info->owner_table, &column) &&
		!sequenceIsOwned(info->oid, DEPENDENCY_INTERNAL, &info->owner_table, &column))
		info->owner_table = InvalidOid;
	if (info->replicated)
		info->replicated = ddl_relation_scope(info->oid) == DDL_CLUSTER;
	any_mine |= info->mine;
	return true;
}

SequenceInfo *
info_get(Oid sequence)
{
	SequenceInfo *info;
	bool		found;

	if (infos == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(SequenceInfo), .hcxt = CacheMemoryContext};

		infos = hash_create("nodedb sequences", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(SEQRELID, forget_all, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
	}
	info = hash_search(infos, &sequence, HASH_ENTER, &found);
	if (!found)
	{
		info->valid = false;
		info->drawn = false;
		info->last = 0;
		info->owner_table = InvalidOid;
		info->mine = false;
	}
	if (info->valid)
		return info;
	/* The look-ups read catalogs and may process the very invalidation that they answer: look again until none came. */
	do
	{
		info->valid = true;
		if (!look_up(info))
		{
			info->valid = false;
			return NULL;
		}
	} while (!info->valid);
	return info;
}

bool
sequences_active(void)
{
	return nodedb_shared != NULL && !apply_active && pg_atomic_read_u32(&nodedb_shared->member_state) != MEMBER_NONE &&
		session_in_replicated_database();
}
