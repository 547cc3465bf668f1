/*
 * stop_event.c: waiting at named events, and the SQL functions that show and release who waits (stop_event.h).
 *
 * Owns the array of waiting processes in shared memory, all of it under one spinlock.
 *
 * Invariants:
 * 1. A waiting process serves interrupts wherever its code may; it takes itself off the array first, since an interrupt need not come back.
 * 2. A release that came before is never lost by that.
 * 3. A place whose process is gone is free.
 */
#include "stop_event.h"

#include "nodedb.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#define PLACES 160

typedef struct StopPlace
{
	int			pid;			/* 0 = free */
	bool		released;
	char		name[NAMEDATALEN];
} StopPlace;

typedef struct StopShared
{
	slock_t		lock;
	StopPlace	places[PLACES];
} StopShared;

char	   *nodedb_stop_at = NULL;
static StopShared *shared = NULL;

PG_FUNCTION_INFO_V1(nodedb_show_stop_events);
PG_FUNCTION_INFO_V1(nodedb_continue_from);

Size
stop_event_shmem_size(void)
{
	return MAXALIGN(sizeof(StopShared));
}

void
stop_event_shmem_init(void *at, bool found)
{
	shared = at;
	if (!found)
	{
		memset(shared, 0, sizeof(StopShared));
		SpinLockInit(&shared->lock);
	}
}

void
stop_event_guc_init(void)
{
	DefineCustomStringVariable("nodedb.stop_at", "For developers and tests: events at which this process waits, separated by commas.",
							   "See nodedb.stop_events and nodedb.continue_from(). A node with a stopped process does not commit: never set it in production.",
							   &nodedb_stop_at, "", PGC_SUSET, GUC_NOT_IN_SAMPLE | GUC_LIST_INPUT | GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

/* No parsing that allocates or raises: this may run where neither is allowed. */
static bool
listed(const char *name)
{
	size_t		len = strlen(name);

	for (const char *p = nodedb_stop_at; (p = strstr(p, name)) != NULL; p += len)
	{
		bool		begins = p == nodedb_stop_at || p[-1] == ',' || p[-1] == ' ';

		if (begins && (p[len] == '\0' || p[len] == ',' || p[len] == ' '))
			return true;
	}
	return false;
}

static StopPlace *
enter(const char *name)
{
	StopPlace  *place = NULL;
	int			gone[PLACES];

	/* Whose process is gone is found before the lock is taken: that look takes another one. */
	for (int i = 0; i < PLACES; i++)
	{
		int			pid = ((volatile StopPlace *) &shared->places[i])->pid;

		gone[i] = pid != 0 && BackendPidGetProc(pid) == NULL ? pid : 0;
	}
	SpinLockAcquire(&shared->lock);
	for (int i = 0; i < PLACES && place == NULL; i++)
	{
		StopPlace  *p = &shared->places[i];

		if (p->pid == 0 || p->pid == gone[i])
			place = p;
	}
	if (place != NULL)
	{
		place->pid = MyProcPid;
		place->released = false;
		strlcpy(place->name, name, sizeof(place->name));
	}
	SpinLockRelease(&shared->lock);
	return place;
}

/* Returns whether it was released meanwhile. */
static bool
leave(StopPlace *place)
{
	bool		released;

	SpinLockAcquire(&shared->lock);
	released = place->released;
	place->pid = 0;
	SpinLockRelease(&shared->lock);
	return released;
}

static bool
is_released(StopPlace *place)
{
	bool		released;

	SpinLockAcquire(&shared->lock);
	released = place->released;
	SpinLockRelease(&shared->lock);
	return released;
}

void
stop_event_wait(const char *name)
{
	StopPlace  *place;

	if (shared == NULL || !listed(name) || (place = enter(name)) == NULL)
		return;
	while (!is_released(place))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (InterruptPending && InterruptHoldoffCount == 0 && CritSectionCount == 0)
		{
			if (leave(place))
				return;
			CHECK_FOR_INTERRUPTS();
			if ((place = enter(name)) == NULL)
				return;
		}
	}
	(void) leave(place);
	/* What set the latch meanwhile may be what the code behind the event waits for. */
	SetLatch(MyLatch);
}

Datum
nodedb_show_stop_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	StopPlace	places[PLACES];

	InitMaterializedSRF(fcinfo, 0);
	if (shared == NULL)
		return (Datum) 0;
	SpinLockAcquire(&shared->lock);
	memcpy(places, shared->places, sizeof(places));
	SpinLockRelease(&shared->lock);
	for (int i = 0; i < PLACES; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, false};

		if (places[i].pid == 0 || BackendPidGetProc(places[i].pid) == NULL)
			continue;
		values[0] = Int32GetDatum(places[i].pid);
		values[1] = CStringGetTextDatum(places[i].name);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
nodedb_continue_from(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			pids[PLACES];
	int			n = 0;

	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("must be superuser to continue stopped processes")));
	if (shared == NULL)
		PG_RETURN_INT32(0);
	SpinLockAcquire(&shared->lock);
	for (int i = 0; i < PLACES; i++)
	{
		StopPlace  *p = &shared->places[i];

		if (p->pid == 0 || p->released || strcmp(p->name, name) != 0)
			continue;
		p->released = true;
		pids[n++] = p->pid;
	}
	SpinLockRelease(&shared->lock);
	for (int i = 0; i < n; i++)
	{
		PGPROC	   *proc = BackendPidGetProc(pids[i]);

		if (proc != NULL)
			SetLatch(&proc->procLatch);
	}
	PG_RETURN_INT32(n);
}
