/*
 * replay.c: settings of the processes that replay entries, and how they read one (replay.h).
 */
#include "replay.h"

#include "../tableam/apply.h"

#include "miscadmin.h"
#include "utils/guc.h"

static char log_dir[MAXPGPATH];
static StoreReader reader = {.dir = log_dir};	/* process life */

static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"session_replication_role", "replica"},
		{"synchronous_commit", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"search_path", "pg_catalog"},
		{"row_security", "off"},
		{"check_function_bodies", "off"},
		{"DateStyle", "ISO"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "3"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

void
replay_init(void)
{
	pin_settings();
	apply_active = true;
	if (nodedb_directory[0] != '\0')
		strlcpy(log_dir, nodedb_directory, sizeof(log_dir));
	else
		snprintf(log_dir, sizeof(log_dir), "%s/nodedb", DataDir);
	if (vfs_posix_create(&reader.vfs) != ND_OK)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

int
replay_sqlstate(NdStatus status)
{
	if (status == ND_DAMAGED || status == ND_INVALID || status == ND_VERSION || status == ND_COMPACTED)
		return ERRCODE_DATA_CORRUPTED;
	return status == ND_NOMEM ? ERRCODE_OUT_OF_MEMORY : ERRCODE_IO_ERROR;
}

void
replay_read(StorePosition at, NdGroupId group, uint64 index, uint64 term, NdBuf *payload, EntryHeader *header)
{
	NdStatus	status;

	nd_buf_init(payload);
	status = store_reader_read(&reader, at, group, index, term, payload);
	if (status == ND_OK)
		status = entry_decode(payload->data, payload->len, header);
	if (status != ND_OK)
	{
		nd_buf_free(payload);
		ereport(ERROR,
				(errcode(replay_sqlstate(status)),
				 errmsg("could not read entry " UINT64_FORMAT " of group %u from the log: %s", index, group, nd_status_text(status))));
	}
}
