/*
 * draw.c: nextval(), currval(), lastval() and setval() of replicated sequences; of all others PostgreSQL's own are called.
 *
 * Rights, errors and what currval() and lastval() remember are PostgreSQL's; only where the value comes from differs: from what this transaction has
 * leased for itself, else from the node's lease, else from a new lease that the worker gets.
 *
 * Invariant: no local sequence is touched here, so its WAL decides nothing: after a crash the leases are gone, and the next value comes from a
 * new one, whose predecessor was in the log before its first value was used (failure scenario D7).
 */
#include "sequence_internal.h"

#include "../shmem.h"

#include "commands/sequence.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(nodedb_nextval);
PG_FUNCTION_INFO_V1(nodedb_currval);
PG_FUNCTION_INFO_V1(nodedb_lastval);
PG_FUNCTION_INFO_V1(nodedb_setval);
PG_FUNCTION_INFO_V1(nodedb_setval_called);

static Oid	last_drawn = InvalidOid;	/* by the last nextval() of this session; InvalidOid: PostgreSQL knows */

void
draw_forget_last(void)
{
	last_drawn = InvalidOid;
}

/* Facts of a sequence whose values are the cluster's, here and now; NULL: it is PostgreSQL's affair. */
static SequenceInfo *
replicated(Oid sequence)
{
	SequenceInfo *info = sequences_active() ? info_get(sequence) : NULL;

	return info != NULL && info->replicated ? info : NULL;
}

static void
check_right(const SequenceInfo *info, AclMode any_of)
{
	if (pg_class_aclcheck(info->oid, GetUserId(), any_of) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for sequence %s", info->name)));
}

static void
check_writable(const char *what)
{
	MemberState state = (MemberState) pg_atomic_read_u32(&nodedb_shared->member_state);

	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
	if (state == MEMBER_STARTING)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_CONNECT_NOW),
				 errmsg("this node is starting: its replicated log is not ready yet"),
				 errhint("Try again in a moment.")));
	if (state != MEMBER_RUNNING)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this node has stopped applying the replicated log"),
				 errhint("See nodedb.status(); use another node meanwhile.")));
}

static bool
draw_own(Oid sequence, int64 *value)
{
	Lease	   *lease = staged_lease(sequence);

	if (lease == NULL || lease->left == 0)
		return false;
	*value = lease->next;
	if (--lease->left > 0)
		lease->next += lease->increment;
	return true;
}

static int64
draw(Oid sequence)
{
	uint64		block = nodedb_sequence_block;

	for (;;)
	{
		SequenceInfo *info = info_get(sequence);
		int64		value;

		if (info == NULL)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("sequence with OID %u does not exist", sequence)));
		if (info->mine)
		{
			Lease		lease;

			if (draw_own(sequence, &value))
				return value;
			row_lease(info, block, &lease);
			block = Min(block * 2, PG_INT32_MAX);
		}
		else if (table_draw(sequence, &value))
			return value;
		else
			table_ask(sequence, ASK_LEASE, 0, false);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * A change of the sequence by an open transaction of this node is waited for, as PostgreSQL does. The lock is not kept: a change by another node must not
 * have to kick out everybody who has drawn a value.
 */
static void
wait_for_change(Oid sequence)
{
	LockRelationOid(sequence, RowExclusiveLock);
	UnlockRelationOid(sequence, RowExclusiveLock);
}

Datum
nodedb_nextval(PG_FUNCTION_ARGS)
{
	Oid			sequence = PG_GETARG_OID(0);
	bool		identity = rewrite_is_identity(fcinfo->flinfo->fn_expr);
	SequenceInfo *info = replicated(sequence);

	if (info == NULL)
	{
		int64		value = nextval_internal(sequence, !identity);

		last_drawn = InvalidOid;
		PG_RETURN_INT64(value);
	}
	if (!identity)
		check_right(info, ACL_USAGE | ACL_UPDATE);
	check_writable("nextval()");
	wait_for_change(sequence);
	info->last = draw(sequence);
	info->drawn = true;
	last_drawn = sequence;
	PG_RETURN_INT64(info->last);
}

Datum
nodedb_currval(PG_FUNCTION_ARGS)
{
	SequenceInfo *info = replicated(PG_GETARG_OID(0));

	if (info == NULL || !info->drawn)
		PG_RETURN_DATUM(DirectFunctionCall1(currval_oid, PG_GETARG_DATUM(0)));
	check_right(info, ACL_SELECT | ACL_USAGE);
	PG_RETURN_INT64(info->last);
}

Datum
nodedb_lastval(PG_FUNCTION_ARGS)
{
	SequenceInfo *info = OidIsValid(last_drawn) ? info_get(last_drawn) : NULL;

	if (!OidIsValid(last_drawn))
		PG_RETURN_DATUM(DirectFunctionCall1(lastval, (Datum) 0));
	if (info == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("lastval is not yet defined in this session")));
	check_right(info, ACL_SELECT | ACL_USAGE);
	PG_RETURN_INT64(info->last);
}

static Datum
set_value(Oid sequence, int64 value, bool called)
{
	SequenceInfo *info = replicated(sequence);

	if (info == NULL)
		return DirectFunctionCall3(setval3_oid, ObjectIdGetDatum(sequence), Int64GetDatum(value), BoolGetDatum(called));
	check_right(info, ACL_UPDATE);
	check_writable("setval()");
	if (value < info->min || value > info->max)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("setval: value %lld is out of bounds for sequence \"%s\" (%lld..%lld)", (long long) value, info->name,
						(long long) info->min, (long long) info->max)));
	if (info->mine)
		row_place(info, value, called);
	else
		table_ask(sequence, ASK_SET, value, called);
	if (called)
	{
		info->last = value;
		info->drawn = true;
	}
	PG_RETURN_INT64(value);
}

Datum
nodedb_setval(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(set_value(PG_GETARG_OID(0), PG_GETARG_INT64(1), true));
}

Datum
nodedb_setval_called(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(set_value(PG_GETARG_OID(0), PG_GETARG_INT64(1), PG_GETARG_BOOL(2)));
}
