/*
 * record.c: the bytes of an 'X' record: a command with all that its meaning depends on, or the names that came out of it.
 *
 *   u8 format  u8 kind
 *   COMMAND: string role, string session_role, u64 transaction timestamp, u64 statement timestamp (as in PostgreSQL), varint n, n times { setting, value }, string text
 *   NAMES, EMPTIED, UNIQUE, NAMED:   varint n, n times { schema, name }
 * Strings are varint length + bytes.
 *
 * Invariants:
 * 1. What changes the meaning of a command's text stands in the record. What is a matter of the node (tablespaces, memory, planner) does not.
 * 2. A kind that older versions do not know has a higher format: they wait for their update.
 * 3. Bytes that do not parse are damage, never an assertion.
 */
#include "ddl_internal.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "tableam/writeset.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define FORMAT 1
#define FORMAT_2 2				/* EMPTIED, UNIQUE */
#define FORMAT_3 3				/* the newest: NAMED */
#define PAIRS_MAX 100000

/* Settings that a command's meaning depends on. Those of extensions are left out where the extension is not loaded. */
static const char *const settings[] = {
	"search_path", "default_table_access_method", "default_toast_compression", "TimeZone", "timezone_abbreviations", "DateStyle", "IntervalStyle",
	"standard_conforming_strings", "backslash_quote", "xmloption", "xmlbinary", "extra_float_digits", "bytea_output", "array_nulls",
	"transform_null_equals", "lc_monetary", "lc_numeric", "lc_time", "default_text_search_config", "plpgsql.variable_conflict",
};

static void
put_string(NdBuf *buf, const char *s)
{
	nd_buf_varint(buf, strlen(s));
	nd_buf_bytes(buf, s, strlen(s));
}

static const char *
role_name(Oid role)
{
	return role == BOOTSTRAP_SUPERUSERID ? "" : GetUserNameFromId(role, false);
}

static void
append(NdBuf *buf)
{
	Size		len = buf->len;
	char	   *copy;

	if (buf->failed)
	{
		nd_buf_free(buf);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	copy = MemoryContextAllocExtended(CurrentMemoryContext, len, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (copy != NULL)
		memcpy(copy, buf->data, len);
	nd_buf_free(buf);
	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	writeset_utility(copy, len);
	pfree(copy);
}

void
ddl_record_command(const char *text)
{
	const char *role = role_name(GetUserId());
	const char *session_role = role_name(GetSessionUserId());
	const char *values[lengthof(settings)];
	int			n = 0;
	NdBuf		buf;

	/* nothing below raises before the buffer is freed */
	for (int i = 0; i < lengthof(settings); i++)
	{
		const char *value = GetConfigOption(settings[i], true, false);

		values[i] = value ? pstrdup(value) : NULL;
		n += value != NULL;
	}
	nd_buf_init(&buf);
	nd_buf_u8(&buf, FORMAT);
	nd_buf_u8(&buf, DDL_RECORD_COMMAND);
	put_string(&buf, role);
	put_string(&buf, session_role);
	nd_buf_u64(&buf, (uint64) GetCurrentTransactionStartTimestamp());
	nd_buf_u64(&buf, (uint64) GetCurrentStatementStartTimestamp());
	nd_buf_varint(&buf, n);
	for (int i = 0; i < lengthof(settings); i++)
		if (values[i] != NULL)
		{
			put_string(&buf, settings[i]);
			put_string(&buf, values[i]);
		}
	put_string(&buf, text);
	append(&buf);
}

void
ddl_record_names(DdlRecordKind kind, List *schemas, List *names)
{
	ListCell   *schema;
	ListCell   *name;
	NdBuf		buf;

	nd_buf_init(&buf);
	nd_buf_u8(&buf, kind == DDL_RECORD_NAMES ? FORMAT : kind == DDL_RECORD_NAMED ? FORMAT_3 : FORMAT_2);
	nd_buf_u8(&buf, kind);
	nd_buf_varint(&buf, list_length(names));
	forboth(schema, schemas, name, names)
	{
		put_string(&buf, lfirst(schema));
		put_string(&buf, lfirst(name));
	}
	append(&buf);
}

static char *
read_string(NdReader *r)
{
	uint64		len = nd_read_varint(r);
	const uint8 *bytes = len <= nd_reader_left(r) ? nd_read_bytes(r, len) : NULL;

	if (bytes == NULL)
		r->failed = true;
	return bytes == NULL ? pstrdup("") : pnstrdup((const char *) bytes, len);
}

static void pg_attribute_noreturn()
malformed(void)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("replicated command is malformed")));
}

void
ddl_record_decode(const char *data, Size len, DdlRecord *out)
{
	NdReader	r;
	uint64		n;
	uint8		format;

	memset(out, 0, sizeof(*out));
	nd_reader_init(&r, data, len);
	format = nd_read_u8(&r);
	if (!r.failed && format > FORMAT_3)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("replicated command comes from a newer version of nodedb"),
				 errhint("Update nodedb on this node.")));
	out->kind = nd_read_u8(&r);
	if (format < FORMAT || out->kind < DDL_RECORD_COMMAND || out->kind > DDL_RECORD_NAMED)
		malformed();
	if (out->kind == DDL_RECORD_COMMAND)
	{
		out->role = read_string(&r);
		out->session_role = read_string(&r);
		out->xact_time = (TimestampTz) nd_read_u64(&r);
		out->statement_time = (TimestampTz) nd_read_u64(&r);
	}
	n = nd_read_varint(&r);
	if (r.failed || n > PAIRS_MAX)
		malformed();
	out->n_pairs = (int) n;
	out->keys = palloc0(Max(n, 1) * sizeof(char *));
	out->values = palloc0(Max(n, 1) * sizeof(char *));
	for (int i = 0; i < out->n_pairs; i++)
	{
		out->keys[i] = read_string(&r);
		out->values[i] = read_string(&r);
	}
	if (out->kind == DDL_RECORD_COMMAND)
		out->text = read_string(&r);
	if (r.failed || nd_reader_left(&r) != 0)
		malformed();
}
