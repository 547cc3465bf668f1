/*
 * amtest.c: the access method without cluster: a module for one scratch server that keeps what transactions would have put into the log.
 *
 * It links the sources of src/pg/tableam and stands in for the session: at pre-commit the body goes to the end of the file amtest.log, from where
 * amtest_replay() applies it in another database. Bodies are handed over in pieces of changing length.
 */
#include "nodedb.h"

#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "ddl/ddl.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "sequence/sequence.h"
#include "session/session.h"
#include "shmem.h"
#include "storage/fd.h"
#include "tableam/apply.h"
#include "tableam/parts.h"
#include "tableam/writeset.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(amtest_keys);
PG_FUNCTION_INFO_V1(amtest_body_len);
PG_FUNCTION_INFO_V1(amtest_replay);
PG_FUNCTION_INFO_V1(amtest_apply);
PG_FUNCTION_INFO_V1(amtest_utility);
PG_FUNCTION_INFO_V1(amtest_lock);

void		_PG_init(void);

NodedbShared *nodedb_shared = NULL;	/* no cluster: one group */
int			nodedb_writeset_memory = 16384;
int			nodedb_max_transaction_size = 4096;
int			nodedb_bulk_keys = 100000;
List	   *ddl_rewriting = NIL;
static char *log_path = NULL;
static int	before_write_calls = 0;

/* ---- what the other modules do in the real library ---- */

void nodedb_show_applying(const char *schema, const char *table)
{
}

void session_before_write(Relation rel)
{
	before_write_calls++;
}

void sequence_row_applied(Relation rel, TupleTableSlot *slot)
{
}

void ddl_build_row_applied(Relation rel)
{
}

void ddl_rewrite_check(Oid relid)
{
}

bool ddl_index_is_named(Oid index)
{
	return false;
}

void ddl_apply(const char *data, Size len)
{
	if (ActiveSnapshotSet())
		elog(ERROR, "a snapshot is pushed while a utility command runs");
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute(pnstrdup(data, len), false, 0) < 0)
		elog(ERROR, "utility command failed");
	SPI_finish();
	PopActiveSnapshot();
}

/* ---- the log ---- */

static void append_body(void)
{
	uint64		len = writeset_body_len();
	FILE	   *file = AllocateFile(log_path, "ab");
	char		piece[7777];

	if (file == NULL)
		elog(ERROR, "could not open \"%s\": %m", log_path);
	fwrite(&len, sizeof(len), 1, file);
	for (uint64 at = 0; at < len; at += sizeof(piece))
	{
		Size		n = Min(sizeof(piece), len - at);

		writeset_read(at, piece, n);
		fwrite(piece, n, 1, file);
	}
	FreeFile(file);
}

static void transaction_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && writeset_has_ops() && log_path != NULL && log_path[0] != '\0')
	{
		if (before_write_calls == 0)
			elog(ERROR, "rows were captured without asking the session");
		append_body();
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
	{
		writeset_reset();
		before_write_calls = 0;
	}
}

static void subtransaction_event(SubXactEvent event, SubTransactionId self, SubTransactionId parent, void *arg)
{
	writeset_subxact(event);
}

typedef struct Source
{
	FILE	   *file;			/* or */
	const char *bytes;
	uint64		left;
	unsigned	calls;
} Source;

static bool fetch(void *ctx, StringInfo buf)
{
	Source	   *source = ctx;
	Size		piece = 1 + (source->calls++ * 7919) % 50000;
	Size		n = Min(source->left, piece);

	if (n == 0)
		return false;
	enlargeStringInfo(buf, n);
	if (source->file == NULL)
	{
		appendBinaryStringInfo(buf, source->bytes, n);
		source->bytes += n;
	}
	else
	{
		if (fread(buf->data + buf->len, n, 1, source->file) != 1)
			elog(ERROR, "the log is cut short");
		buf->len += n;
	}
	source->left -= n;
	return true;
}

static uint64 apply_one(Source *source)
{
	ApplyBody  *body = apply_begin();

	apply_feed(body, fetch, source);
	return apply_end(body);
}

/* amtest_replay(path, from): apply all bodies from this offset on; returns the offset behind. */
Datum amtest_replay(PG_FUNCTION_ARGS)
{
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	FILE	   *file = AllocateFile(path, "rb");
	uint64		len;
	int64		end;

	if (file == NULL)
		PG_RETURN_INT64(0);
	fseeko(file, PG_GETARG_INT64(1), SEEK_SET);
	PopActiveSnapshot();		/* as in the applier: none is pushed */
	while (fread(&len, sizeof(len), 1, file) == 1)
	{
		Source		source = {.file = file, .left = len};

		(void) apply_one(&source);
		if (ActiveSnapshotSet())
			elog(ERROR, "apply left a snapshot behind");
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	end = ftello(file);
	FreeFile(file);
	PG_RETURN_INT64(end);
}

/* amtest_apply(bytes): apply one body given as it is. */
Datum amtest_apply(PG_FUNCTION_ARGS)
{
	bytea	   *body = PG_GETARG_BYTEA_PP(0);
	Source		source = {.bytes = VARDATA_ANY(body), .left = VARSIZE_ANY_EXHDR(body)};

	PG_RETURN_INT64(apply_one(&source));
}

/* ---- what the transaction holds ---- */

static int compare_keys(const void *a, const void *b)
{
	const EntryKey *x = a;
	const EntryKey *y = b;

	return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : x->mode - y->mode;
}

/* Keys as 'hash/mode', ascending, without repeats. */
Datum amtest_keys(PG_FUNCTION_ARGS)
{
	uint32		n_parts;
	TxnPart    *part = parts_make(&n_parts);	/* there is one */
	EntryKey   *keys = part->keys;
	uint32		n = part->n_keys;
	Datum	   *texts = palloc(Max(n, 1) * sizeof(Datum));
	int			count = 0;

	qsort(keys, n, sizeof(EntryKey), compare_keys);
	for (uint32 i = 0; i < n; i++)
		if (i == 0 || compare_keys(&keys[i - 1], &keys[i]) != 0)
			texts[count++] = CStringGetTextDatum(psprintf("%016llx/%d", (unsigned long long) keys[i].hash, keys[i].mode));
	PG_RETURN_ARRAYTYPE_P(construct_array(texts, count, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum amtest_body_len(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(writeset_body_len());
}

/* amtest_utility(sql): run it here and put it into the body. */
Datum amtest_utility(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));

	session_before_write(NULL);
	SPI_connect();
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "utility command failed");
	SPI_finish();
	writeset_utility(sql, strlen(sql));
	PG_RETURN_VOID();
}

Datum amtest_lock(PG_FUNCTION_ARGS)
{
	writeset_relation_lock(PG_GETARG_OID(0), PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

void _PG_init(void)
{
	DefineCustomStringVariable("amtest.log", "File that bodies are appended to.", NULL, &log_path, "", PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("amtest.writeset_memory", "kB before a body spills.", NULL, &nodedb_writeset_memory, 16384, 1, 1000000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("amtest.max_transaction_size", "MB of a body.", NULL, &nodedb_max_transaction_size, 4096, 1, 100000,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("amtest.bulk_keys", "Keys before escalation.", NULL, &nodedb_bulk_keys, 100000, 1, 100000000, PGC_USERSET, 0,
							NULL, NULL, NULL);
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}
