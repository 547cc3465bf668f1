/*
 * errors.c: the one place where a status becomes an SQLSTATE.
 */
#include "nodedb.h"

int
nodedb_sqlstate(NdStatus status)
{
	switch (status)
	{
		case ND_OK:
			return ERRCODE_SUCCESSFUL_COMPLETION;
		case ND_NOMEM:
			return ERRCODE_OUT_OF_MEMORY;
		case ND_BUSY:
			return ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
		case ND_FULL:
			return ERRCODE_DISK_FULL;
		case ND_IO:
			return ERRCODE_IO_ERROR;
		case ND_DAMAGED:
			return ERRCODE_DATA_CORRUPTED;
		case ND_INVALID:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case ND_NOTFOUND:
			return ERRCODE_UNDEFINED_OBJECT;
		case ND_TOOBIG:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case ND_NOTLEADER:
		case ND_NOLEADER:
		case ND_NOQUORUM:
			return ERRCODE_CANNOT_CONNECT_NOW;
		case ND_COMPACTED:
			return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		case ND_FROZEN:
			return ERRCODE_INTERNAL_ERROR;
		case ND_VERSION:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case ND_WRONG_CLUSTER:
			return ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	}
	return ERRCODE_INTERNAL_ERROR;
}
