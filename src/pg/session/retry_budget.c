/*
 * retry_budget.c: how much retrying is good. Retries are work that clients did not ask for: a role that causes too many of them, or a time in which they do
 * not help, gets its errors at once.
 *
 *   budget           per role and node, nodedb.retry_budget a second: a bucket of tokens, as many as a second fills
 *   circuit breaker  per node: of the attempts of a second nearly all failed again: none for a second
 *
 * Touched only by statements that failed, so a spinlock around everything costs nobody anything.
 *
 * Invariants:
 * 1. Roles share a bucket when their oids collide: the budget is then smaller, never larger.
 * 2. Every attempt that was taken has one outcome.
 */
#include "retry.h"

#include "storage/spin.h"

#define BUCKETS 256
#define WINDOW_US 1000000
#define BREAKER_OPEN_US 1000000
#define BREAKER_MIN 100			/* attempts in a window: fewer say nothing */
#define BREAKER_PERCENT 95		/* failed again */

struct RetryLimits
{
	slock_t		lock;			/* everything below */
	struct
	{
		double		tokens;
		TimestampTz filled;
	}			buckets[BUCKETS];
	TimestampTz window;			/* its beginning */
	uint32		tried;
	uint32		failed;
	TimestampTz open_until;
};

static RetryLimits *limits = NULL;

Size
retry_limits_size(void)
{
	return MAXALIGN(sizeof(RetryLimits));
}

void
retry_limits_init(void *at, bool found)
{
	limits = at;
	if (found)
		return;
	memset(limits, 0, sizeof(*limits));
	SpinLockInit(&limits->lock);
}

static bool
take_token(Oid role, TimestampTz now)
{
	int			i = role % BUCKETS;
	double		most = nodedb_retry_budget;

	if (nodedb_retry_budget == 0)
		return true;
	if (limits->buckets[i].filled == 0)
		limits->buckets[i].tokens = most;
	else if (now > limits->buckets[i].filled)
		limits->buckets[i].tokens = Min(most, limits->buckets[i].tokens + most * (now - limits->buckets[i].filled) / USECS_PER_SEC);
	limits->buckets[i].filled = now;
	if (limits->buckets[i].tokens < 1)
		return false;
	limits->buckets[i].tokens -= 1;
	return true;
}

const char *
retry_limits_take(Oid role, TimestampTz now)
{
	bool		open;
	bool		taken = false;

	SpinLockAcquire(&limits->lock);
	open = now < limits->open_until;
	if (!open)
		taken = take_token(role, now);
	SpinLockRelease(&limits->lock);
	if (open)
		return "Running statements again does not help at present, so the server does not.";
	return taken ? NULL : "The role has used up its nodedb.retry_budget.";
}

void
retry_limits_outcome(bool committed, TimestampTz now)
{
	SpinLockAcquire(&limits->lock);
	if (now - limits->window > WINDOW_US || now < limits->window)
	{
		limits->window = now;
		limits->tried = 0;
		limits->failed = 0;
	}
	limits->tried++;
	limits->failed += !committed;
	if (limits->tried >= BREAKER_MIN && limits->failed * 100 > limits->tried * BREAKER_PERCENT)
		limits->open_until = now + BREAKER_OPEN_US;
	SpinLockRelease(&limits->lock);
}
