-- nodedb 0.1: what the extension creates, in schema nodedb.

\echo Use "CREATE EXTENSION nodedb" to load this file. \quit

CREATE FUNCTION tableam_handler(internal) RETURNS table_am_handler
	AS 'MODULE_PATHNAME', 'nodedb_tableam_handler' LANGUAGE C STRICT;

CREATE ACCESS METHOD nodedb TYPE TABLE HANDLER tableam_handler;
COMMENT ON ACCESS METHOD nodedb IS 'heap tables whose changes go through the replicated log';

-- Which log entries' effects this node's tables hold; one row per commit, pruned by the applier. Never change it by hand.
CREATE TABLE ledger (group_id int NOT NULL, index bigint NOT NULL) USING heap;
COMMENT ON TABLE ledger IS 'log entries whose effects are in this node''s tables (local, internal)';
REVOKE ALL ON ledger FROM PUBLIC;

-- ---- cluster ----

CREATE FUNCTION init_cluster(name text DEFAULT NULL, data_groups int DEFAULT 1, default_table_access_method boolean DEFAULT true) RETURNS text
	AS 'MODULE_PATHNAME', 'nodedb_init_cluster' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION init_cluster(text, int, boolean) IS
	'Found a cluster with this server as its first node. Returns the token that other nodes join with: keep it secret. '
	'name: of this node (default: cluster_name, else the listen address); data_groups: number of Raft groups that hold data; '
	'default_table_access_method: make nodedb the default of this database, so that a plain CREATE TABLE is replicated.';

CREATE FUNCTION join_cluster(seed text, token text, name text DEFAULT NULL, default_table_access_method boolean DEFAULT true) RETURNS int
	AS 'MODULE_PATHNAME', 'nodedb_join_cluster' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION join_cluster(text, text, text, boolean) IS
	'Join the cluster that the node at seed (host:port of its node port) belongs to. Returns this node''s id, when it takes part as a voter.';

CREATE FUNCTION remove_node(node_id int) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_remove_node' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION remove_node(int) IS 'Remove a node from every group. Its id is never used again. Call it on the leader of group 0.';

CREATE FUNCTION transfer_leadership(group_id int, node_id int) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_transfer_leadership' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION transfer_leadership(int, int) IS 'Hand the leadership of a group to another voter, and wait until it leads. Call it on the group''s leader.';

CREATE FUNCTION add_data_groups(n int) RETURNS int
	AS 'MODULE_PATHNAME', 'nodedb_add_data_groups' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION add_data_groups(int) IS
	'Add n data groups to the running cluster; returns how many there are then. On any node; not undone by a rollback. Tables stay where they are: place_table() and '
	'change_shard_count() use the new groups.';

REVOKE ALL ON FUNCTION init_cluster(text, int, boolean), join_cluster(text, text, text, boolean), remove_node(int), transfer_leadership(int, int), add_data_groups(int) FROM PUBLIC;

-- ---- what is going on ----

CREATE FUNCTION status() RETURNS text
	AS 'MODULE_PATHNAME', 'nodedb_status' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION status() IS 'The state of this node and its cluster in a few lines, and what to do if something is wrong.';

CREATE FUNCTION show_nodes(OUT node_id int, OUT name text, OUT address text, OUT role text, OUT is_self boolean, OUT connected boolean) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'nodedb_show_nodes' LANGUAGE C VOLATILE;
CREATE VIEW nodes AS SELECT * FROM show_nodes() ORDER BY node_id;
COMMENT ON VIEW nodes IS 'the members of the cluster as this node knows them';

CREATE FUNCTION show_groups(OUT group_id int, OUT leader int, OUT term bigint, OUT role text, OUT first_index bigint, OUT last_index bigint, OUT commit_index bigint,
							OUT applied_index bigint, OUT durable_index bigint, OUT lag bigint, OUT keys bigint, OUT reservations bigint, OUT certifier_checksum text, OUT state text,
							OUT kind text, OUT replicas int[]) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'nodedb_show_groups' LANGUAGE C VOLATILE;
CREATE VIEW groups AS SELECT * FROM show_groups() ORDER BY group_id < 0, group_id;
COMMENT ON VIEW groups IS 'the Raft groups of this node: lag is committed entries not applied here yet; leader is null when none is known. kind: metadata (group 0), data, or sequencer '
	'(group -1), which orders the transactions over several data groups; replicas: the nodes that have one, or are getting it';

CREATE FUNCTION show_metrics(OUT name text, OUT value bigint, OUT help text) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'nodedb_show_metrics' LANGUAGE C VOLATILE;
CREATE VIEW metrics AS SELECT * FROM show_metrics();
COMMENT ON VIEW metrics IS 'counters of this node since its start, for monitoring';

CREATE FUNCTION applied_index(group_id int) RETURNS bigint
	AS 'MODULE_PATHNAME', 'nodedb_applied_index' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION applied_index(int) IS 'The watermark: every entry of the group up to this index is visible on this node.';

CREATE FUNCTION wait_applied(group_id int, index bigint, timeout_ms int DEFAULT 30000) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_wait_applied' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION wait_applied(int, bigint, int) IS 'Wait until this node has applied the group up to an index; an error after timeout_ms milliseconds.';

GRANT USAGE ON SCHEMA nodedb TO PUBLIC;
CREATE FUNCTION show_reservations(OUT group_id int, OUT node_id int, OUT state text, OUT asked_at bigint, OUT owned_since bigint, OUT entries bigint, OUT keys bigint,
								  OUT relations text[], OUT schema_change boolean, OUT pid int) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'nodedb_show_reservations' LANGUAGE C VOLATILE;
CREATE VIEW reservations AS SELECT * FROM show_reservations() ORDER BY group_id, owned_since IS NULL, asked_at;
COMMENT ON VIEW reservations IS 'transactions that own keys of a data group until they end, and those that wait for such keys, first come, first served: state is owns, waits, or '
	'prepared (part of a transaction over several groups); asked_at and owned_since are entries of the group, entries is how many came since; relations are those among the '
	'keys, rows are not named; pid is the session, if it is one of this server';

GRANT SELECT ON nodes, groups, metrics, reservations TO PUBLIC;

-- ---- where tables live ----

CREATE FUNCTION place_table(relation regclass, group_id int) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_place_table' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION place_table(regclass, int) IS
	'Let the changes of a distributed table, or of all partitions of one, go through the log of this data group. A schema change, for its owner; no rows move.';

CREATE FUNCTION table_group(relation regclass) RETURNS int
	AS 'MODULE_PATHNAME', 'nodedb_table_group' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION table_group(regclass) IS 'The data group whose log the changes of a table go through; null when the table is not distributed.';

CREATE FUNCTION create_distributed_table(relation regclass, column_name name, shards int DEFAULT NULL, colocate_with regclass DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_create_distributed_table' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION create_distributed_table(regclass, name, int, regclass) IS
	'Spread the rows of a table over shards, partitions by the hash of a column, and these over the data groups, as those of colocate_with are if it is given. '
	'A schema change, for the table''s owner; the table stays what it is for everything that refers to it.';

CREATE FUNCTION undistribute_table(relation regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_undistribute_table' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION undistribute_table(regclass) IS 'Gather the shards of a table in one table again.';

CREATE FUNCTION change_shard_count(relation regclass, shards int) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_change_shard_count' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION change_shard_count(regclass, int) IS 'Spread the rows of a distributed table over another number of shards, and these over all data groups.';

-- What these issue, and what travels: one group for each shard; nulls: one table again.
CREATE PROCEDURE shard_table(name text, column_name name, groups int[])
	AS 'MODULE_PATHNAME', 'nodedb_shard_table' LANGUAGE C;
COMMENT ON PROCEDURE shard_table(text, name, int[]) IS 'see create_distributed_table (internal)';

CREATE VIEW shards AS
	SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass AS table_name, substring(pg_get_expr(c.relpartbound, c.oid) FROM 'remainder ([0-9]+)')::int AS shard,
		   c.oid::regclass AS shard_name, table_group(c.oid) AS group_id, g.leader, greatest(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
	FROM pg_class c JOIN pg_am a ON a.oid = c.relam AND a.amname = 'nodedb' LEFT JOIN groups g ON g.group_id = table_group(c.oid)
	WHERE c.relkind = 'r' AND c.relnamespace <> 'nodedb'::regnamespace ORDER BY 1, 2, 3;
COMMENT ON VIEW shards IS
	'where tables live: each distributed table, or each of its shards, with its data group, that group''s leader, and rows (an estimate of this node''s) and bytes on this node; '
	'shard is null for what is no partition by hash';
GRANT SELECT ON shards TO PUBLIC;

-- ---- reads ----

CREATE FUNCTION session_token() RETURNS text
	AS 'MODULE_PATHNAME', 'nodedb_session_token' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION session_token() IS
	'What this session has seen and written, for another session, on any node: there, use_session_token() makes its reads see at least that. '
	'Ask for it after the commit that it should cover.';

CREATE FUNCTION use_session_token(token text) RETURNS void
	AS 'MODULE_PATHNAME', 'nodedb_use_session_token' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION use_session_token(text) IS
	'From the next statement on, reads of this session with nodedb.read_consistency = session see at least what the token stands for.';

-- ---- outcomes ----

CREATE FUNCTION transaction_id() RETURNS text
	AS 'MODULE_PATHNAME', 'nodedb_transaction_id' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION transaction_id() IS 'Id of this transaction in the whole cluster, for transaction_status(). Keep it to yourself: who knows it can end the transaction.';

CREATE FUNCTION transaction_status(id text) RETURNS text
	AS 'MODULE_PATHNAME', 'nodedb_transaction_status' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION transaction_status(text) IS
	'What became of a transaction, on any node: ''committed''; ''aborted'', now and for ever; ''in progress'' (it runs on this node); or null: too long ago. '
	'Asked on another node, it ends a transaction that is not committed yet. One that changed nothing distributed has no outcome but ''aborted''.';

-- Keys of committed transactions (nodedb.idempotency_key), by the role that logged in. Removed after nodedb.idempotency_keep.
CREATE TABLE idempotency_keys (role text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, transaction_id text NOT NULL, began_at timestamptz NOT NULL,
							   PRIMARY KEY (role, key)) USING nodedb;
CREATE INDEX ON idempotency_keys (began_at);
COMMENT ON TABLE idempotency_keys IS 'transactions that were committed with an idempotency key (internal)';
REVOKE ALL ON idempotency_keys FROM PUBLIC;

-- ---- calls that the server runs again ----

CREATE FUNCTION submit(function text, VARIADIC args "any") RETURNS jsonb
	AS 'MODULE_PATHNAME', 'nodedb_submit' LANGUAGE C VOLATILE PARALLEL UNSAFE;
CREATE FUNCTION submit(function text) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'nodedb_submit' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION submit(text, "any") IS
	'Call a function in a transaction of its own, and again, up to five times, when it loses a conflict; from nodedb.reserve_after failures on with its rows '
	'reserved. Returns what it returns. SELECT nodedb.submit(...) must be alone in its transaction.';

-- ---- for developers and tests ----

CREATE FUNCTION show_stop_events(OUT pid int, OUT event text) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'nodedb_show_stop_events' LANGUAGE C VOLATILE;
CREATE VIEW stop_events AS SELECT * FROM show_stop_events() ORDER BY pid;
COMMENT ON VIEW stop_events IS 'processes of this node that wait at an event of nodedb.stop_at (for developers and tests)';

CREATE FUNCTION continue_from(event text) RETURNS int
	AS 'MODULE_PATHNAME', 'nodedb_continue_from' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION continue_from(text) IS 'Let the processes that wait at this event go on; returns how many there were (for developers and tests).';
REVOKE ALL ON FUNCTION show_stop_events(), continue_from(text) FROM PUBLIC;

-- ---- extensions ----

-- What each node could create, told by the node itself: CREATE EXTENSION asks it before anything happens.
CREATE TABLE available_extensions (node_id int NOT NULL, name text COLLATE "C" NOT NULL, version text COLLATE "C" NOT NULL, is_default boolean NOT NULL,
								   PRIMARY KEY (node_id, name, version)) USING nodedb;
COMMENT ON TABLE available_extensions IS 'extensions that are installed on the nodes, kept by each node for itself (internal)';
REVOKE ALL ON available_extensions FROM PUBLIC;
GRANT SELECT ON available_extensions TO PUBLIC;

-- ---- CREATE INDEX CONCURRENTLY ----

-- One row a node and index that is being built; pg_stat_progress_create_index on that node says how far it is.
CREATE TABLE index_builds (schema text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, node_id int NOT NULL, table_name text COLLATE "C" NOT NULL, command text NOT NULL,
						   search_path text NOT NULL, session text NOT NULL, state text NOT NULL, message text, PRIMARY KEY (schema, name, node_id)) USING nodedb;
COMMENT ON TABLE index_builds IS 'indexes that are being built by CREATE INDEX CONCURRENTLY: waiting, building, valid, failed or unwanted on each node; changed by nodedb alone';
REVOKE ALL ON index_builds FROM PUBLIC;
GRANT SELECT ON index_builds TO PUBLIC;

-- ---- tables that are being distributed over shards, beside their writers ----

-- One row a node; rows_copied and passes as of a second ago at most.
CREATE TABLE shard_builds (node_id int PRIMARY KEY, schema text COLLATE "C" NOT NULL, table_name text COLLATE "C" NOT NULL, column_name text COLLATE "C", shards int NOT NULL,
						   session text COLLATE "C" NOT NULL, state text COLLATE "C" NOT NULL, rows_copied bigint, rows_estimated bigint, passes int, message text) USING nodedb;
COMMENT ON TABLE shard_builds IS 'the table that is being distributed over shards, or gathered again (column_name is null), and how far each node is with preparing it: waiting, copying, '
	'indexing, following (its writers), ready or failed; changed by nodedb alone';
REVOKE ALL ON shard_builds FROM PUBLIC;
GRANT SELECT ON shard_builds TO PUBLIC;

-- ---- sequences ----

-- Where each replicated sequence stands, for the whole cluster: nothing at or before last_value is free any more (is_called), or last_value is the next
-- one. Made at a sequence's first use. Changed by nextval(), setval() and RESTART; never by hand.
CREATE TABLE sequences (schema text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, last_value bigint NOT NULL, is_called boolean NOT NULL,
						generation bigint NOT NULL, PRIMARY KEY (schema, name)) USING nodedb;
COMMENT ON TABLE sequences IS 'where each replicated sequence stands: the last value that was leased to any node (internal)';
REVOKE ALL ON sequences FROM PUBLIC;
GRANT SELECT ON sequences TO PUBLIC;

-- What nextval(), currval(), lastval() and setval() are turned into in every query of the replicated database.
CREATE FUNCTION nextval(sequence regclass) RETURNS bigint
	AS 'MODULE_PATHNAME', 'nodedb_nextval' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION nextval(regclass) IS 'next value of a sequence, unique in the cluster; nextval() calls it by itself';
CREATE FUNCTION currval(sequence regclass) RETURNS bigint
	AS 'MODULE_PATHNAME', 'nodedb_currval' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION currval(regclass) IS 'the value that nextval() returned last for this sequence in this session; currval() calls it by itself';
CREATE FUNCTION lastval() RETURNS bigint
	AS 'MODULE_PATHNAME', 'nodedb_lastval' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION lastval() IS 'the value that nextval() returned last in this session; lastval() calls it by itself';
CREATE FUNCTION setval(sequence regclass, value bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'nodedb_setval' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION setval(regclass, bigint) IS 'set a sequence, on every node; setval() calls it by itself';
CREATE FUNCTION setval(sequence regclass, value bigint, is_called boolean) RETURNS bigint
	AS 'MODULE_PATHNAME', 'nodedb_setval_called' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION setval(regclass, bigint, boolean) IS 'set a sequence and whether that value is used already, on every node; setval() calls it by itself';
