/*
 * guc.c: every setting of nodedb, with its unit, its range and when to change it.
 *
 * Invariant: a setting that sizes shared memory or that the raft worker reads once is PGC_POSTMASTER; nothing here changes what replicas decide.
 */
#include "nodedb.h"

#include "stop_event.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

char	   *nodedb_listen = NULL;
char	   *nodedb_database = NULL;
char	   *nodedb_directory = NULL;
char	   *nodedb_tls_cert_file = NULL;
char	   *nodedb_tls_key_file = NULL;
char	   *nodedb_tls_ca_file = NULL;
int			nodedb_commit_timeout = 10000;
int			nodedb_schema_wait = 2000;
int			nodedb_read_consistency = READ_STRONG;
int			nodedb_election_timeout = 600;
int			nodedb_segment_size = 64;
int			nodedb_log_keep = 65536;
int			nodedb_log_cache = 64;
int			nodedb_scrub_rate = 4096;
int			nodedb_writeset_memory = 16384;
int			nodedb_max_transaction_size = 4096;
int			nodedb_statement_retries = 5;
int			nodedb_reserve_after = 2;
int			nodedb_retry_budget = 1000;
int			nodedb_bulk_keys = 100000;
int			nodedb_max_groups = 64;
int			nodedb_bulk_appliers = 4;
int			nodedb_bulk_wait = 5000;
int			nodedb_apply_batch = 64;
bool		nodedb_replicate_ddl = true;
int			nodedb_default_data_group = 1;
int			nodedb_shard_online_size = 8192;
int			nodedb_sequence_block = 100;
int			nodedb_max_leased_sequences = 1000;
char	   *nodedb_idempotency_key = NULL;
int			nodedb_idempotency_keep = 1440;

/* An index entry must hold it, beside a role's name. */
#define IDEMPOTENCY_KEY_BYTES 1000

static bool
check_idempotency_key(char **value, void **extra, GucSource source)
{
	if (strlen(*value) <= IDEMPOTENCY_KEY_BYTES)
		return true;
	GUC_check_errdetail("An idempotency key has at most %d bytes.", IDEMPOTENCY_KEY_BYTES);
	return false;
}

static const struct config_enum_entry read_consistency_options[] = {
	{"local", READ_LOCAL, false},
	{"session", READ_SESSION, false},
	{"strong", READ_STRONG, false},
	{"fenced", READ_FENCED, false},
	{NULL, 0, false}
};

void
nodedb_guc_init(void)
{
	DefineCustomStringVariable("nodedb.listen",
							   "Address of the node port, host:port, that the other nodes connect to.",
							   "It is the address that the other nodes are told. Choose one that they can reach.",
							   &nodedb_listen, "127.0.0.1:6543", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("nodedb.database",
							   "The database that is replicated.",
							   "One database per cluster, with the same name on every node.",
							   &nodedb_database, "nodedb", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("nodedb.directory",
							   "Directory of the replicated log; empty means \"nodedb\" below the data directory.",
							   "Change it to put the log on a disk of its own.",
							   &nodedb_directory, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("nodedb.tls_cert_file", "This node's certificate (PEM) for the node port.",
							   "With certificate, key and CA set on every node, nodes accept only peers with a certificate of that CA.",
							   &nodedb_tls_cert_file, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("nodedb.tls_key_file", "This node's private key (PEM) for the node port.", NULL,
							   &nodedb_tls_key_file, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("nodedb.tls_ca_file", "The certificate authority (PEM) that signs the nodes' certificates.", NULL,
							   &nodedb_tls_ca_file, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.commit_timeout",
							"How long a commit or a strong read waits for a majority of nodes, and a statement for what others have reserved.",
							"Raise it to ride out longer elections or partitions, lower it to hear of a lost majority sooner.",
							&nodedb_commit_timeout, 10000, 100, 3600000, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.schema_wait",
							"How long the commit of a schema change waits until all connected nodes show it.",
							"Raise it when nodes are slow and clients use new objects on other nodes at once, set 0 for scripts with many small schema changes.",
							&nodedb_schema_wait, 2000, 0, 600000, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomEnumVariable("nodedb.read_consistency",
							 "What a read of distributed tables is guaranteed to see.",
							 "strong: everything acknowledged anywhere before the read began. fenced: that, and transactions of several data groups in one order on all nodes. session: everything this session has seen or written. "
							 "local: a consistent but possibly older state, without waiting.",
							 &nodedb_read_consistency, READ_STRONG, read_consistency_options, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.election_timeout",
							"Time without word from a group's leader after which the others elect a new one (chosen between once and twice this).",
							"Raise it where nodes or networks stall for longer than this, lower it for faster fail-over. The same on every node.",
							&nodedb_election_timeout, 600, 100, 60000, PGC_POSTMASTER, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.segment_size", "Size of one file of the replicated log.",
							"Larger files mean fewer of them; a file is reused when nothing in it is needed.",
							&nodedb_segment_size, 64, 1, 1024, PGC_POSTMASTER, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.log_keep", "How much applied log to keep for nodes that come back or join.",
							"Raise it when nodes stay away for long under load. Log that a member still needs is kept whatever this says.",
							&nodedb_log_keep, 65536, 16, 1024 * 1024 * 1024, PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.log_cache", "Memory for recent log entries, so that other nodes are served without reading files.",
							"Raise it when followers often lag by more than this.",
							&nodedb_log_cache, 64, 1, 65536, PGC_POSTMASTER, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.scrub_rate", "How much of the replicated log is read again per second to find damage on its disk; 0 turns it off.",
							"Lower it where the disk is busy, raise it where the log is so large that a round takes too long (nodedb_scrub_rounds_total in "
							"nodedb.metrics). A node whose log is damaged stops; the others go on.",
							&nodedb_scrub_rate, 4096, 0, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.writeset_memory", "Memory of a session for the changes of its transaction before they go to a temporary file.",
							"Raise it for large loads on servers with much memory.",
							&nodedb_writeset_memory, 16384, 64, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.max_transaction_size", "Largest amount of changes of one transaction; more is refused before commit.",
							"Lower it to protect the log and the other nodes from bulk loads, raise it for bulk loads.",
							&nodedb_max_transaction_size, 4096, 1, 1024 * 1024, PGC_USERSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.statement_retries", "How often the server runs a single statement again that lost a conflict (40001); 0 turns it off.",
							"Only statements that are alone in their transaction and call nothing with effects that a rollback leaves. Set 0 where the client retries by itself.",
							&nodedb_statement_retries, 5, 0, 100, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.reserve_after", "After how many lost conflicts a statement reserves what it changes before it runs again; 0 turns it off.",
							"Lower it where hot rows make statements fail often, raise it where others of the same rows shall not be held up.",
							&nodedb_reserve_after, 2, 0, 100, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.retry_budget", "How many statements per second the server runs again for one role on this node; 0: any number.",
							"Lower it to protect a busy cluster from clients that fight for the same rows.",
							&nodedb_retry_budget, 1000, 0, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.bulk_keys", "Number of certification keys of one transaction above which whole tables are certified instead of rows.",
							"Lower it to save memory, raise it so that larger transactions do not conflict with other writers of the same table.",
							&nodedb_bulk_keys, 100000, 100, 10000000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.bulk_appliers", "How many large transactions of other nodes this node replays at a time ahead of their turn; 0: none.",
							"Each takes a background worker (max_worker_processes) once it is needed. Raise it where several bulk loads run at once: a large "
							"transaction that finds none free holds all commits on this node up while it is applied.",
							&nodedb_bulk_appliers, 4, 0, BULK_APPLIERS_MAX, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.bulk_wait", "How long the commit of a large transaction waits for a node that makes no headway in replaying it; 0: not at all.",
							"It goes on waiting for nodes that do. Lower it when large transactions shall commit sooner, though others then wait while they are applied.",
							&nodedb_bulk_wait, 5000, 0, 3600000, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.max_groups", "Most Raft groups on this node, the metadata group included.",
							"Sizes shared memory; raise it before adding more data groups.",
							&nodedb_max_groups, 64, 2, 4096, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.apply_batch", "Most entries of other nodes that are applied in one local transaction.",
							"Higher means less work per entry while catching up, lower means shorter local row locks.",
							&nodedb_apply_batch, 64, 1, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("nodedb.replicate_ddl", "Run utility commands (CREATE, ALTER, DROP, GRANT ...) on every node.",
							 "Turn it off in a session for a deliberate exception: an object of this node only, an extension made on every node by hand.",
							 &nodedb_replicate_ddl, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.default_data_group", "The data group of tables that CREATE TABLE makes; 0: any, by the hash of the table's name.",
							"Set 0 to spread many tables over the groups; nodedb.place_table() moves one, nodedb.create_distributed_table() spreads the rows of a large one.",
							&nodedb_default_data_group, 1, 0, 4095, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.shard_online_size", "From which size on a table is distributed over shards beside its writers: each node copies the rows before the schema change.",
							"A smaller one is copied while it is locked, which is over sooner. Lower it where even a short lock matters.",
							&nodedb_shard_online_size, 8192, 0, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	stop_event_guc_init();
	DefineCustomIntVariable("nodedb.sequence_block", "How many values of a sequence a node leases at first.",
							"A sequence that uses them up within a second gets twice as many the next time. What a node has leased and not used is lost "
							"when it restarts. Raise it for steadier bulk loads, lower it for smaller gaps.",
							&nodedb_sequence_block, 100, 1, 1000000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("nodedb.max_leased_sequences", "For how many sequences a node keeps leased values.",
							"Sizes shared memory. The values of the sequence that was leased longest ago are given up for a new one.",
							&nodedb_max_leased_sequences, 1000, 16, 1000000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("nodedb.idempotency_key",
							   "Names what this transaction does, so that it is done only once; empty for none.",
							   "Set it with SET LOCAL, to the same value in every attempt, when a client may have to repeat a transaction whose outcome it did not "
							   "learn: once one attempt is committed, the others fail with SQLSTATE ND001 and change nothing.",
							   &nodedb_idempotency_key, "", PGC_USERSET, GUC_NOT_IN_SAMPLE, check_idempotency_key, NULL, NULL);
	DefineCustomIntVariable("nodedb.idempotency_keep", "How long the idempotency keys of committed transactions are remembered.",
							"Raise it when clients repeat a transaction after a longer time, lower it when there are so many keys that their table grows too large. The "
							"leader of the data group decides.",
							&nodedb_idempotency_keep, 1440, 1, 5256000, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
	MarkGUCPrefixReserved("nodedb");
}
