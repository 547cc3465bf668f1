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
		NodedbTicket ticket = nodedb_tickets[t % TICKETS];

		/* Passed meanwhile: its place may hold another one, and the watermark, which is read later, covers it. */
		pg_read_barrier();
		if (pg_atomic_read_u64(&nodedb_shared->turn) > t)
			continue;
		if (ticket.group < n)
			indexes[ticket.group] = Max(indexes[ticket.group], ticket.index);
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
	for (NdGroupId g = 1; g < n; g++)
		appendStringInfo(&text, "%s%u:" UINT64_FORMAT, g > 1 ? "," : "", g, Max(Max(indexes[g], nodedb_watermark(g)), read_token[g]));
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
	n = read_groups();
	indexes = palloc0(sizeof(uint64) * Max(n, 1));
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
