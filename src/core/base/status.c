/*
 * status.c: status codes as text, for logs. User-facing messages and SQLSTATEs are made in src/pg/errors.c alone.
 */
#include "base.h"

const char *nd_status_text(NdStatus status)
{
	switch (status)
	{
		case ND_OK:
			return "ok";
		case ND_NOMEM:
			return "out of memory";
		case ND_BUSY:
			return "queue full";
		case ND_FULL:
			return "no space left on disk";
		case ND_IO:
			return "write or sync failed";
		case ND_DAMAGED:
			return "data damaged";
		case ND_INVALID:
			return "invalid input";
		case ND_NOTFOUND:
			return "not found";
		case ND_TOOBIG:
			return "too large";
		case ND_NOTLEADER:
			return "not the leader";
		case ND_NOLEADER:
			return "no leader known";
		case ND_NOQUORUM:
			return "not confirmed by a majority";
		case ND_COMPACTED:
			return "entry already truncated";
		case ND_FROZEN:
			return "group frozen by a broken invariant";
		case ND_VERSION:
			return "unknown newer version";
		case ND_WRONG_CLUSTER:
			return "wrong cluster or node identity";
	}
	return "unknown status";
}
