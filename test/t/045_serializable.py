#!/usr/bin/env python3
"""SERIALIZABLE over all nodes: who decided by something that another node changed meanwhile does not commit, however he read it; who did not, does.

Every case is run at REPEATABLE READ as well, where the same transaction commits: so it is the reads that are judged.
"""
import random
import threading

from harness import *
from scenario import *

setup(nodes=3)

BEGIN = "BEGIN ISOLATION LEVEL "


@test
def tables_are_made(c):
	make(c, "CREATE TABLE item (id bigint PRIMARY KEY, code text NOT NULL UNIQUE, kind int NOT NULL, n int NOT NULL DEFAULT 0, note text)",
		 "CREATE INDEX ON item (kind)",
		 "CREATE UNIQUE INDEX ON item ((lower(note))) WHERE kind > 100",
		 "CREATE TABLE keyless (v int, n int)",
		 "CREATE TABLE pair (a int, b int, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b))",
		 "CREATE TABLE part (id int, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
		 "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100)",
		 "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200)",
		 "CREATE TABLE child (id int PRIMARY KEY, item bigint NOT NULL REFERENCES item ON DELETE CASCADE)",
		 "CREATE TABLE out (id serial PRIMARY KEY, what text)",
		 "CREATE FUNCTION count_kind(k int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM item WHERE kind = k'",
		 "CREATE FUNCTION n_of(i bigint) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT n FROM item WHERE id = i); END'")
	c.execute(1, "INSERT INTO item SELECT g, 'c' || g, g % 10, 0, CASE WHEN g = 50 THEN NULL ELSE 'N' || g END FROM generate_series(1, 200) g;"
				 "UPDATE item SET kind = 101 WHERE id = 77;"
				 "INSERT INTO keyless SELECT g, 0 FROM generate_series(1, 5) g; INSERT INTO pair SELECT g, g FROM generate_series(1, 5) g;"
				 "INSERT INTO part SELECT g, 0 FROM generate_series(0, 199) g")
	c.wait_caught_up()


def reset(c):
	c.execute(2, "DELETE FROM pair WHERE a <> b; DELETE FROM item WHERE id > 200; UPDATE item SET n = 0 WHERE n <> 0; UPDATE item SET kind = id % 10 WHERE id NOT IN (77) AND kind <> id % 10;"
				 "INSERT INTO item SELECT g, 'c' || g, g % 10, 0, 'N' || g FROM generate_series(1, 200) g ON CONFLICT DO NOTHING")
	c.wait_caught_up()


# what is read, and what another node then changes so that the read would give something else
CHANGED = (
	("SELECT sum(n) FROM item", "UPDATE item SET n = 1 WHERE id = 3"),
	("SELECT count(*) FROM item WHERE kind = 4", "INSERT INTO item VALUES (201, 'x', 4)"),
	("SELECT count(*) FROM item WHERE id BETWEEN 190 AND 300", "INSERT INTO item VALUES (202, 'y', 4)"),
	("SELECT count(*) FROM item WHERE id > 150", "DELETE FROM item WHERE id = 199"),
	("SELECT n FROM item WHERE id = 5", "UPDATE item SET n = 1 WHERE id = 5"),
	("SELECT n FROM item WHERE id = 5::smallint", "UPDATE item SET n = 1 WHERE id = 5"),
	("SELECT n FROM item WHERE id = 6", "DELETE FROM item WHERE id = 6"),
	("SELECT n FROM item WHERE id = 203", "INSERT INTO item VALUES (203, 'z', 4)"),
	("SELECT n FROM item WHERE code = 'c7'", "UPDATE item SET n = 1 WHERE id = 7"),
	("SELECT count(*) FROM item WHERE code = 'c8' AND n > 0", "UPDATE item SET n = 1 WHERE id = 8"),
	("SELECT n FROM item WHERE code = 'new'", "INSERT INTO item VALUES (204, 'new', 4)"),
	("SELECT n FROM item WHERE lower(note) = 'n77' AND kind > 100", "UPDATE item SET n = 1 WHERE id = 77"),
	("SELECT count(*) FROM item WHERE code IN ('c9', 'c10')", "DELETE FROM item WHERE id = 9"),
	("SELECT min(id) FROM item", "DELETE FROM item WHERE id = 1"),
	("SELECT count_kind(2)", "UPDATE item SET kind = 3 WHERE id = 12"),
	("SELECT n_of(13)", "UPDATE item SET n = 1 WHERE id = 13"),
	("SELECT count(*) FROM pair p JOIN item i ON i.id = p.a WHERE i.n > 0", "UPDATE item SET n = 1 WHERE id = 4"),
	("SELECT n FROM pair WHERE a = 2 AND b = 2", "UPDATE pair SET n = n + 1 WHERE a = 2"),
	("SELECT n FROM pair WHERE a = 2 AND b = 3", "INSERT INTO pair VALUES (2, 3)"),
	("SELECT sum(n) FROM keyless WHERE v = 1", "UPDATE keyless SET n = n + 1 WHERE v = 1"),
	("SELECT sum(n) FROM part WHERE id = 150", "UPDATE part SET n = n + 1 WHERE id = 150"),
	("SELECT count(*) FROM part WHERE n > 0", "UPDATE part SET n = n + 1 WHERE id = 7"),
	("SELECT EXISTS (SELECT FROM item WHERE id = 205)", "INSERT INTO item VALUES (205, 'zz', 4)"),
	("WITH x AS MATERIALIZED (SELECT n FROM item WHERE id = 14) SELECT * FROM x", "UPDATE item SET n = 1 WHERE id = 14"),
	("SELECT CASE WHEN (SELECT n FROM item WHERE id = 15) = 0 THEN 1 END", "UPDATE item SET n = 1 WHERE id = 15"),
	("INSERT INTO item VALUES (16, 'c16', 1) ON CONFLICT DO NOTHING", "DELETE FROM item WHERE id = 16"),
	("SELECT n FROM item WHERE ctid = (SELECT ctid FROM item WHERE id = 17)", "UPDATE item SET n = 1 WHERE id = 17"),
	("SELECT count(*) FROM item TABLESAMPLE SYSTEM (100)", "DELETE FROM item WHERE id = 18"),
	("DO $$ BEGIN PERFORM n FROM item WHERE id = 19; END $$", "UPDATE item SET n = 1 WHERE id = 19"),
	("DECLARE x CURSOR FOR SELECT n FROM item WHERE id = 20; FETCH x", "UPDATE item SET n = 1 WHERE id = 20"),
	("COPY (SELECT n FROM item WHERE id = 21) TO '/dev/null'", "UPDATE item SET n = 1 WHERE id = 21"),
	("COPY item TO '/dev/null'", "UPDATE item SET n = 1 WHERE id = 22"),
	("SAVEPOINT s; SELECT n FROM item WHERE id = 23; ROLLBACK TO s", "UPDATE item SET n = 1 WHERE id = 23"),
	("SELECT 1 FROM item x WHERE id = 206 FOR KEY SHARE OF x", "INSERT INTO item VALUES (206, 'zzz', 4)"),
	("SELECT 1 FROM item x WHERE n = 0 AND id = 24 FOR KEY SHARE OF x", "UPDATE item SET n = 1 WHERE id = 24"),
	("SELECT n FROM item WHERE id = 25", "TRUNCATE item CASCADE"),
)


def run_changed(c, level, read, change, settings=()):
	"""The reader's outcome: it reads on node 1, node 2 changes and commits, the reader writes something else and commits."""
	with c.connect(1) as reader:
		for setting in settings:
			reader.execute(setting)
		reader.execute(BEGIN + level)
		reader.execute(read)
		c.execute(2, change)
		try:
			reader.execute("INSERT INTO out (what) VALUES ('decided')")
			reader.execute("COMMIT")
			return "ok"
		except Error as error:
			return error.sqlstate


@test
def what_was_read_is_certified(c):
	wrong = []
	for read, change in CHANGED:
		for level, wanted in (("SERIALIZABLE", "40001"), ("REPEATABLE READ", "40001" if "TRUNCATE" in change else "ok")):
			reset(c)
			got = run_changed(c, level, read, change)
			if got != wanted:
				wrong.append("%s: %s; then %s: %s, wanted %s" % (level, read, change, got, wanted))
	equal(wrong, [])


@test
def whatever_the_plan(c):
	wrong = []
	scans = {"seq": ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"), "bitmap": ("enable_indexscan", "enable_indexonlyscan", "enable_seqscan"),
			 "index": ("enable_seqscan", "enable_bitmapscan", "enable_indexonlyscan"), "index only": ("enable_seqscan", "enable_bitmapscan", "enable_indexscan")}
	c.execute(1, "VACUUM item")
	for name, off in scans.items():
		settings = ["SET %s = off" % setting for setting in off]
		for read, change in (("SELECT id FROM item WHERE id = 31", "DELETE FROM item WHERE id = 31"), ("SELECT code FROM item WHERE code = 'c32'", "DELETE FROM item WHERE id = 32"),
							 ("SELECT code FROM item WHERE code = 'none'", "INSERT INTO item VALUES (231, 'none', 1)"), ("SELECT n FROM item WHERE code = 'c33'", "UPDATE item SET n = 1 WHERE id = 33")):
			reset(c)
			got = run_changed(c, "SERIALIZABLE", read, change, settings)
			if got != "40001":
				wrong.append("%s: %s: %s" % (name, read, got))
	reset(c)
	parallel = ("SET parallel_setup_cost = 0", "SET parallel_tuple_cost = 0", "SET min_parallel_table_scan_size = 0", "SET max_parallel_workers_per_gather = 2")
	with c.connect(1) as connection:
		for setting in parallel:
			connection.execute(setting)
		plan = str(connection.execute("EXPLAIN SELECT sum(n) FROM item"))
		equal("Gather" in plan, True, plan)
	equal(run_changed(c, "SERIALIZABLE", "SELECT sum(n) FROM item", "UPDATE item SET n = 1 WHERE id = 34", parallel), "40001")
	equal(wrong, [])


# what is read and written, and what another node changes meanwhile: they have nothing to do with each other
UNRELATED = (
	("SELECT n FROM item WHERE id = 5; UPDATE item SET n = 2 WHERE id = 5", "UPDATE item SET n = 1 WHERE id = 6"),
	("SELECT n FROM item WHERE code = 'c5'", "UPDATE item SET n = 1 WHERE code = 'c6'"),
	("SELECT n FROM item WHERE id = 300", "INSERT INTO item VALUES (301, 'q', 1)"),
	("UPDATE item SET code = 'd7' WHERE id = 7; UPDATE item SET code = 'c7' WHERE id = 7", "UPDATE item SET n = 1 WHERE id = 8"),
	("INSERT INTO child VALUES (1, 9); DELETE FROM child", "UPDATE item SET n = 1 WHERE id = 9"),
	("INSERT INTO item VALUES (302, 'r', 1) ON CONFLICT DO NOTHING", "INSERT INTO item VALUES (303, 's', 1)"),
	("INSERT INTO item VALUES (10, 'c10', 1) ON CONFLICT (id) DO UPDATE SET n = 2", "UPDATE item SET n = 1 WHERE id = 11"),
	("SELECT p.n FROM (VALUES (1), (2)) v (x) JOIN pair p ON p.a = v.x AND p.b = v.x", "UPDATE pair SET n = n + 1 WHERE a = 3"),
	("SELECT n_of(12)", "UPDATE item SET n = 1 WHERE id = 13"),
	("DELETE FROM item WHERE id = 14", "UPDATE item SET n = 1 WHERE id = 15"),
	("SELECT count(*) FROM keyless", "UPDATE item SET n = 1 WHERE id = 15"),
	("SELECT n FROM part WHERE id = 5", "UPDATE part SET n = n + 1 WHERE id = 150"),
)


@test
def unrelated_transactions_commit(c):
	wrong = []
	for read, change in UNRELATED:
		reset(c)
		got = run_changed(c, "SERIALIZABLE", read, change, ["SET enable_seqscan = off", "SET enable_bitmapscan = off"])
		if got != "ok":
			wrong.append("%s; then %s: %s" % (read, change, got))
	equal(wrong, [])


@test
def foreign_key_check_of_a_tiny_table(c):
	"""The check's plan is a sequential scan there; the parent's other columns may change all the same, but not vanish."""
	make(c, "CREATE TABLE tiny (id int PRIMARY KEY, n int)", "CREATE TABLE of_tiny (id int PRIMARY KEY, tiny int REFERENCES tiny)")
	c.execute(1, "INSERT INTO tiny VALUES (1, 0), (2, 0)")
	c.execute(1, "ANALYZE tiny")
	equal(run_changed(c, "SERIALIZABLE", "INSERT INTO of_tiny VALUES (1, 1)", "UPDATE tiny SET n = n + 1"), "ok")
	equal(run_changed(c, "SERIALIZABLE", "INSERT INTO of_tiny VALUES (2, 2)", "DELETE FROM tiny WHERE id = 2"), "40001")


@test
def too_many_rows_become_the_table(c):
	few = ["SET nodedb.bulk_keys = 1000", "SET enable_seqscan = off", "SET enable_bitmapscan = off"]
	make(c, "CREATE TABLE big (id int PRIMARY KEY, n int)")
	c.execute(1, "INSERT INTO big SELECT g, 0 FROM generate_series(1, 3000) g")
	read = "DO $$ BEGIN FOR i IN 1..%d LOOP PERFORM n FROM big WHERE id = i; END LOOP; END $$"
	equal(run_changed(c, "SERIALIZABLE", read % 100, "UPDATE big SET n = 1 WHERE id = 3000", few), "ok")
	equal(run_changed(c, "SERIALIZABLE", read % 2000, "UPDATE big SET n = 1 WHERE id = 3000", few), "40001")
	# and the other way round: a bulk change names no rows
	with c.connect(1) as reader:
		reader.execute(BEGIN + "SERIALIZABLE")
		reader.execute("SELECT n FROM big WHERE id = 5")
		with c.connect(2) as writer:
			writer.execute("SET nodedb.bulk_keys = 1000")
			writer.execute("UPDATE big SET n = 2")
		reader.execute("INSERT INTO out (what) VALUES ('bulk')")
		fails("40001", reader.execute, "COMMIT")


@test
def read_only_transactions_never_fail(c):
	for level in ("SERIALIZABLE", "SERIALIZABLE READ ONLY", "SERIALIZABLE READ ONLY DEFERRABLE"):
		reset(c)
		with c.connect(3) as reader:
			reader.execute(BEGIN + level)
			first = reader.value("SELECT sum(n) FROM item")
			c.execute(1, "UPDATE item SET n = n + 1 WHERE id = 40")
			equal(reader.value("SELECT sum(n) FROM item"), first)
			reader.execute("COMMIT")


@test
def default_level_and_single_statements(c):
	reset(c)
	with c.connect(2) as connection:
		connection.execute("SET default_transaction_isolation = serializable")
		c.execute(1, "UPDATE item SET n = 7 WHERE id = 41")
		equal(connection.value("SELECT n FROM item WHERE id = 41"), "7", "a strong read")
		connection.execute("UPDATE item SET n = n + 1 WHERE id = 41")
		equal(connection.value("SELECT n FROM item WHERE id = 41"), "8")
		connection.execute("CREATE TABLE made_serializable (id int PRIMARY KEY); INSERT INTO made_serializable VALUES (1)")
		connection.execute("SET nodedb.read_consistency = local")
		c.execute(1, "UPDATE item SET n = 9 WHERE id = 41")
		c.wait_caught_up()
		connection.execute("UPDATE item SET n = n + 1 WHERE id = 41")
	equal(c.value(3, "SELECT n FROM item WHERE id = 41"), "10")


@test
def imported_snapshot_may_read_but_not_decide(c):
	with c.connect(1) as one, c.connect(1) as two:
		one.execute(BEGIN + "SERIALIZABLE")
		one.execute("SELECT n FROM item WHERE id = 1")
		name = one.value("SELECT pg_export_snapshot()")
		two.execute(BEGIN + "SERIALIZABLE")
		two.execute("SET TRANSACTION SNAPSHOT '%s'" % name)
		two.execute("SELECT n FROM item WHERE id = 1")
		two.execute("INSERT INTO out (what) VALUES ('imported')")
		fails("0A000", two.execute, "COMMIT")


# ---- histories ----

def worker(c, node, level, seed, rows, rounds, history, lock):
	"""Transactions that read two rows and write one. A version is written once, so who read what tells the order."""
	rng = random.Random(seed)
	with c.connect(node) as connection:
		for _ in range(rounds):
			a, b = rng.sample(range(rows), 2)
			try:
				connection.execute(BEGIN + level)
				seen = {i: int(connection.value("SELECT version FROM graph WHERE id = $1", i)) for i in (a, b)}
				connection.execute("UPDATE graph SET version = version + 1 WHERE id = $1", a)
				connection.execute("COMMIT")
				with lock:
					history.append((seen, a))
			except Error as error:
				if error.sqlstate != "40001":
					raise
				connection.execute("ROLLBACK")


def cycle(history):
	"""Is there a cycle of dependencies? Edges: writer of v -> reader of v -> writer of v + 1."""
	writer = {(row, seen[row] + 1): n for n, (seen, row) in enumerate(history)}
	equal(len(writer), len(history), "each version was written once")
	after = {n: set() for n in range(len(history))}
	for n, (seen, row) in enumerate(history):
		for i, version in seen.items():
			if (i, version) in writer:
				after[writer[(i, version)]].add(n)
			if (i, version + 1) in writer and writer[(i, version + 1)] != n:
				after[n].add(writer[(i, version + 1)])
	before = {n: 0 for n in after}
	for targets in after.values():
		for n in targets:
			before[n] += 1
	ready = [n for n in after if before[n] == 0]
	done = 0
	while ready:
		done += 1
		for n in after[ready.pop()]:
			before[n] -= 1
			if before[n] == 0:
				ready.append(n)
	return done < len(history)


def run_history(c, level, rounds, rows=6):
	c.execute(1, "DELETE FROM graph; INSERT INTO graph SELECT g, 0 FROM generate_series(0, %d) g" % (rows - 1))
	c.wait_caught_up()
	history, lock, errors = [], threading.Lock(), []

	def guarded(*arguments):
		try:
			worker(*arguments)
		except Exception as error:
			errors.append(error)
	threads = [threading.Thread(target=guarded, args=(c, node, level, node * 10 + k, rows, rounds, history, lock), daemon=True) for node in c for k in range(2)]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join(120)
	equal(errors, [])
	equal(any(thread.is_alive() for thread in threads), False)
	equal(len(history) > 20, True, "%d transactions committed" % len(history))
	equal(int(c.value(2, "SELECT sum(version) FROM graph")), len(history), "no update is lost")
	return cycle(history)


@test
def random_history_is_serializable(c):
	make(c, "CREATE TABLE graph (id int PRIMARY KEY, version int NOT NULL)")
	equal(run_history(c, "SERIALIZABLE", 120), False, "a cycle at SERIALIZABLE")


@test
def the_checker_sees_write_skew(c):
	"""At REPEATABLE READ the same load makes cycles: the checker can turn red."""
	poll("a cycle at REPEATABLE READ", lambda: run_history(c, "REPEATABLE READ", 60), 120)


main()
