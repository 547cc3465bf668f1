-- pgbench's TPC-B, with the name of the transaction in its row of history: node, client, number within the client.
-- pgbench's own log tells which of these the server acknowledged.
\set n :n + 1
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime, filler)
	VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP, :node || '/' || :client_id || '/' || :n);
END;
