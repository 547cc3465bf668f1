/*
 * read_token.c: session tokens: what a session has seen and written, as text that another session, on another node, can ask to see.
 *
 * A token is the cluster's id and an index per data group: `7f3a.../1:4711,2:15`. It is an upper bound, so that it may be taken at any time
 * outside of the transaction whose writes it should cover.
 */
#include "read_internal.h"

#include "../shmem.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(nodedb_session_token);
PG_FUNCTION_INFO_V1(nodedb_use_session_token);

/*
 * A commit is visible a moment before the watermark moves, so a snapshot may show entries of tickets that are at the turnstile now. They are
 * certified: naming them too makes others wait a little longer at most.
 */
static void
add_open_tickets(uint64 *indexes, uint32 n)
{
	uint64		turn = pg_atomic_read_u64(&nodedb_shared->turn);
	uint64		end = pg_atomic_read_u64(&nodedb_shared->tickets_end);

	pg_read_barrier();
	for (uint64 t = turn; t < end; t++)
	{
		NodedbTicket *ticket = &nodedb_tickets[t % TICKETS];
		uint32		n_parts = ticket->n_parts;

		for (uint32 i = 0; i < n_parts; i++)
		{
			NodedbPart	part = *ticket_part(ticket, i);

			/* Passed meanwhile: its places may hold another one, and the watermarks, which are read later, cover it. */
			pg_read_barrier();
			if (pg_atomic_read_u64(&nodedb_shared->turn) > t)
				break;
			if (part.group < n)
				indexes[part.group] = Max(indexes[part.group], part.index);
		}
	}
}

/* session_token() returns text: what this session may have seen and written up to now. */
Datum
nodedb_session_token(PG_FUNCTION_ARGS)
{
	StringInfoData text;
	uint64	   *indexes;
	uint32		n;

	session_check_node();
	read_prepare();
	n = read_groups();
	indexes = palloc0(sizeof(uint64) * Max(n, 1));
	add_open_tickets(indexes, n);
	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT "/", nodedb_shared->cluster_id);
	/* Of groups that this node has not heard of yet, what a token said. */
	for (NdGroupId g = 1; g < nodedb_shared->max_groups; g++)
		if (g < n || read_token[g] > 0)
			appendStringInfo(&text, "%s%u:" UINT64_FORMAT, g > 1 ? "," : "", g, g < n ? Max(Max(indexes[g], nodedb_watermark(g)), read_token[g]) : read_token[g]);
	PG_RETURN_TEXT_P(cstring_to_text(text.data));
}

static void
raise_malformed(const char *token)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid session token: \"%s\"", token),
			 errhint("Use what nodedb.session_token() returned.")));
}

static uint64
number(const char **at, char end, const char *token)
{
	char	   *stop;
	uint64		value;

	if (**at < '0' || **at > '9')
		raise_malformed(token);
	errno = 0;
	value = strtou64(*at, &stop, 10);
	if (errno != 0 || (*stop != end && !(end == ',' && *stop == '\0')))
		raise_malformed(token);
	*at = *stop == '\0' ? stop : stop + 1;
	return value;
}

/* use_session_token(text): from the next statement on, reads with consistency "session" see at least what the token stands for. */
Datum
nodedb_use_session_token(PG_FUNCTION_ARGS)
{
	const char *token = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *at = token;
	uint64	   *indexes;
	uint32		n;

	session_check_node();
	read_prepare();
	n = nodedb_shared->max_groups;	/* it may name groups that this node will hear of */
	indexes = palloc0(sizeof(uint64) * n);
	if (number(&at, '/', token) != nodedb_shared->cluster_id)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the session token is of another cluster")));
	while (*at != '\0')
	{
		uint64		group = number(&at, ':', token);
		uint64		index = number(&at, ',', token);

		if (group < 1 || group >= n)
			raise_malformed(token);
		indexes[group] = index;
	}
	for (NdGroupId g = 1; g < n; g++)
		read_token[g] = Max(read_token[g], indexes[g]);
	PG_RETURN_VOID();
}
