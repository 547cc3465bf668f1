#!/usr/bin/env python3
"""SERIALIZABLE over all nodes: who decided by something that another node changed meanwhile does not commit, however he read it; who did not, does.

Every case is run at REPEATABLE READ as well, where the same transaction commits: so it is the reads that are judged.
"""
import random
import re
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


# ---- by values of indexes that are not unique ----

PLANS = {"Bitmap Heap Scan": ("enable_seqscan", "enable_indexscan", "enable_indexonlyscan"), "Index Only Scan": ("enable_seqscan", "enable_bitmapscan"),
		 "Index Scan": ("enable_seqscan", "enable_bitmapscan", "enable_indexonlyscan")}

# what is read by an index, what another node then changes of it, and what it changes beside it
BY_VALUE = (
	("SELECT sum(n) FROM sale WHERE customer = 7", "INSERT INTO sale (id, customer) VALUES (1001, 7)", "INSERT INTO sale (id, customer) VALUES (1002, 8)"),
	("SELECT sum(n) FROM sale WHERE customer = 7", "UPDATE sale SET customer = 7 WHERE id = 8", "UPDATE sale SET customer = 9 WHERE id = 8"),
	("SELECT sum(n) FROM sale WHERE customer = 7", "UPDATE sale SET customer = 8 WHERE id = 7", "UPDATE sale SET n = 1 WHERE id = 8"),
	("SELECT sum(n) FROM sale WHERE customer = 7", "DELETE FROM sale WHERE id = 7", "DELETE FROM sale WHERE id = 8"),
	("SELECT sum(n) FROM sale WHERE customer = 7", "UPDATE sale SET n = 1 WHERE id = 7", "UPDATE sale SET n = 1 WHERE customer = 9"),
	("SELECT sum(n) FROM sale WHERE customer = 7::bigint", "INSERT INTO sale (id, customer) VALUES (1001, 7)", "INSERT INTO sale (id, customer) VALUES (1002, 8)"),
	("SELECT id FROM sale WHERE customer = 7 AND n > 0", "UPDATE sale SET n = 1 WHERE id = 7", "UPDATE sale SET n = 1 WHERE id = 8"),
	("SELECT sum(n) FROM sale WHERE customer = 999", "INSERT INTO sale (id, customer) VALUES (1001, 999)", "INSERT INTO sale (id, customer) VALUES (1002, 998)"),
	("SELECT sum(n) FROM sale WHERE customer IN (7, 999, NULL)", "INSERT INTO sale (id, customer) VALUES (1001, 999)", "INSERT INTO sale (id, customer) VALUES (1002, 998)"),
	("SELECT sum(n) FROM sale WHERE customer IS NULL", "INSERT INTO sale (id) VALUES (1001)", "INSERT INTO sale (id, customer) VALUES (1002, 0)"),
	("SELECT count(*) FROM sale WHERE customer = 7", "UPDATE sale SET customer = 8 WHERE id = 7", "UPDATE sale SET customer = 9 WHERE id = 8"),
	("SELECT sum(id) FROM sale WHERE shop = 999", "INSERT INTO sale (id, shop, at) VALUES (1001, 999, 1)", "INSERT INTO sale (id, shop, at) VALUES (1002, 998, 1)"),
	("SELECT sum(n) FROM sale WHERE region = 'r7'", "INSERT INTO sale (id, region) VALUES (1001, 'r7')", "INSERT INTO sale (id, region) VALUES (1002, 'r8')"),
	("SELECT sum(n) FROM sale WHERE region IN ('r7', 'r999')", "INSERT INTO sale (id, region) VALUES (1001, 'r999')", "INSERT INTO sale (id, region) VALUES (1002, 'r8')"),
	("SELECT sum(id) FROM sale WHERE shop = 7 AND at > 50", "UPDATE sale SET at = 60 WHERE id = 7", "UPDATE sale SET at = 60 WHERE id = 8"),
	("SELECT sum(id) FROM sale WHERE shop = 7 AND at = 60", "UPDATE sale SET at = 60 WHERE id = 7", "UPDATE sale SET at = 61 WHERE id = 7"),
	("SELECT sum(id) FROM sale WHERE shop IN (7, 8) AND at IN (60, 61)", "UPDATE sale SET at = 61 WHERE id = 8", "UPDATE sale SET at = 61 WHERE id = 9"),
	("SELECT n FROM sale WHERE shop = 7 AND at = 7", "UPDATE sale SET n = 1 WHERE id = 7", "UPDATE sale SET n = 1 WHERE id = 8"),
	("SELECT id FROM sale WHERE amount = 7 AND n > 100", "UPDATE sale SET n = 101 WHERE id = 7", "UPDATE sale SET n = 101 WHERE id = 8"),
	("SELECT sum(n) FROM sale WHERE price = 7", "INSERT INTO sale (id, price) VALUES (1001, 7.00)", "INSERT INTO sale (id, price) VALUES (1002, 7.01)"),
	("SELECT price FROM sale WHERE price = 7", "UPDATE sale SET price = 7.0 WHERE id = 7", "UPDATE sale SET price = 8.0 WHERE id = 8"),
	("SELECT sum(n) FROM sale WHERE weight = 0", "INSERT INTO sale (id, weight) VALUES (1001, '-0')", "INSERT INTO sale (id, weight) VALUES (1002, 1)"),
	("SELECT sum(n) FROM sale WHERE note = 'ABC'", "INSERT INTO sale (id, note) VALUES (1001, 'abc')", "INSERT INTO sale (id, note) VALUES (1002, 'abd')"),
	("SELECT count(*) FROM line WHERE sale = 7", "INSERT INTO line VALUES (7, 3)", "INSERT INTO line VALUES (8, 3)"),
	("SELECT sum(n) FROM line WHERE sale = 7", "UPDATE line SET n = n + 1 WHERE sale = 7 AND line = 2", "UPDATE line SET n = n + 1 WHERE sale = 8"),
	("SELECT sum(n) FROM line WHERE sale = 7 AND line IN (1, 3)", "INSERT INTO line VALUES (7, 3)", "INSERT INTO line VALUES (8, 3)"),
	("SELECT sum(n) FROM loose WHERE v = 3", "INSERT INTO loose VALUES (3, 1)", "INSERT INTO loose VALUES (4, 1)"),
	("SELECT sum(n) FROM loose WHERE v = 3", "UPDATE loose SET n = n + 1 WHERE v = 3", "DELETE FROM loose WHERE v = 4"),
	("SELECT sum(s.n) FROM (VALUES (7), (999)) v (x) JOIN sale s ON s.customer = v.x", "INSERT INTO sale (id, customer) VALUES (1001, 999)",
	 "INSERT INTO sale (id, customer) VALUES (1002, 998)"),
	("SELECT exact FROM fine WHERE exact = 1", "UPDATE fine SET exact = 1.0 WHERE exact = 1", "INSERT INTO fine VALUES (2)"),
)


@test
def tables_with_other_indexes(c):
	make(c, "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
		 "CREATE TABLE sale (id bigint PRIMARY KEY, customer int, region text, shop int, at int, amount int, price numeric, weight float8, note text COLLATE caseless, n int NOT NULL DEFAULT 0)",
		 "CREATE INDEX sale_customer ON sale (customer)", "CREATE INDEX sale_region ON sale USING hash (region)", "CREATE INDEX sale_shop ON sale (shop, at) INCLUDE (n, id)",
		 "CREATE INDEX sale_amount ON sale (amount) WHERE n > 100", "CREATE INDEX sale_price ON sale (price)", "CREATE INDEX sale_weight ON sale (weight)", "CREATE INDEX sale_note ON sale (note)",
		 "CREATE TABLE line (sale int, line int, n int NOT NULL DEFAULT 0, PRIMARY KEY (sale, line))",
		 "CREATE TABLE loose (v int, n int)", "CREATE INDEX loose_v ON loose (v)", "CREATE TABLE fine (exact numeric UNIQUE)",
		 "CREATE TABLE two (id int PRIMARY KEY, a int NOT NULL, b int NOT NULL, n int NOT NULL DEFAULT 0)", "CREATE INDEX two_a ON two (a)", "CREATE INDEX two_b ON two (b)")
	c.execute(1, "INSERT INTO two SELECT g, g % 40, g / 40 % 40 FROM generate_series(1, 20000) g;"
				 "INSERT INTO sale SELECT g, g, 'r' || g, g, g, g, g, g, 'n' || g FROM generate_series(10, 200) g;"
				 "INSERT INTO line SELECT g, l FROM generate_series(10, 200) g, generate_series(1, 2) l; INSERT INTO loose SELECT g, 0 FROM generate_series(10, 200) g")
	fill(c)
	for i in c:
		c.execute(i, "VACUUM ANALYZE")


def fill(c, only=None):
	"""The few rows that are changed, as they were."""
	for table, column, values in (("sale", "id", "g, g, 'r' || g, g, g, g, g, g, 'n' || g"), ("line", "sale", "g, generate_series(1, 2)"), ("loose", "v", "g, 0")):
		if only is None or table in only:
			c.execute(2, "BEGIN; DELETE FROM %s WHERE %s < 10 OR %s > 200; INSERT INTO %s SELECT %s FROM generate_series(1, 9) g; COMMIT" % (table, column, column, table, values))
	if only is None or "fine" in only:
		c.execute(2, "DELETE FROM fine; INSERT INTO fine VALUES (1)")
	c.wait_caught_up()


def plan(c, read, settings):
	with c.connect(1) as connection:
		for setting in settings:
			connection.execute(setting)
		return str(connection.execute("EXPLAIN " + read))


@test
def values_of_other_indexes(c):
	"""By each kind of scan: a change of what was looked for conflicts, a phantom too, a change beside it does not."""
	wrong, seen = [], {}
	for name, off in PLANS.items():
		settings = ["SET %s = off" % setting for setting in off]
		for read, change, beside in BY_VALUE:
			table = re.search("FROM (\\w+) WHERE|JOIN (\\w+)", read)
			table = table[1] or table[2]
			if name not in plan(c, read, settings) or (name == "Index Scan" and seen.get(read, 0) == 2):
				continue
			seen[read] = seen.get(read, 0) + 1
			fill(c, (table,))
			for other, wanted in ((beside, "ok"), (change, "40001")):
				if name == "Index Only Scan":
					c.execute(1, "VACUUM " + table)
				got = run_changed(c, "SERIALIZABLE", read, other, settings)
				if got != wanted:
					wrong.append("%s: %s; then %s: %s, wanted %s" % (name, read, other, got, wanted))
	equal([read for read, _, _ in BY_VALUE if read not in seen], [], "by no index")
	equal(wrong, [])


@test
def several_bitmaps(c):
	settings = ["SET %s = off" % setting for setting in PLANS["Bitmap Heap Scan"]]
	both, either = "SELECT sum(n) FROM two WHERE a = 7 AND b = 8", "SELECT sum(n) FROM two WHERE a = 7 OR b = 8"
	equal("BitmapAnd" in plan(c, both, settings), True)
	equal("BitmapOr" in plan(c, either, settings), True)
	a, b = (c.value(1, "SELECT min(id) FROM two WHERE " + where) for where in ("a = 7 AND b <> 8 AND b <> 9", "b = 8 AND a <> 7 AND a <> 9"))
	for read, change, wanted in ((both, "UPDATE two SET b = 8 WHERE id = " + a, "40001"), (both, "UPDATE two SET a = 7 WHERE id = " + b, "40001"), (both, "INSERT INTO two VALUES (30000, 9, 9)", "ok"),
								 (either, "UPDATE two SET n = 1 WHERE id = " + b, "40001"), (either, "INSERT INTO two VALUES (30001, 7, 9)", "40001"),
								 (either, "INSERT INTO two VALUES (30002, 9, 8)", "40001"), (either, "INSERT INTO two VALUES (30003, 9, 9)", "ok")):
		equal(run_changed(c, "SERIALIZABLE", read, change, settings), wanted, "%s; then %s" % (read, change))


def skewed(c, level, first, second):
	"""Two sessions on two nodes look, then both change, then both commit: their outcomes."""
	outcomes = []
	with c.connect(1) as one, c.connect(2) as two:
		for connection, (look, change) in ((one, first), (two, second)):
			connection.execute("SET enable_seqscan = off")
			connection.execute(BEGIN + level)
			connection.execute(look)
			connection.execute(change)
		for connection in (one, two):
			try:
				connection.execute("COMMIT")
				outcomes.append("ok")
			except Error as error:
				outcomes.append(error.sqlstate)
	return outcomes


@test
def write_skew_over_a_value(c):
	def booked(customer, id):
		return "SELECT count(*) FROM sale WHERE customer = %d" % customer, "INSERT INTO sale (id, customer) VALUES (%d, %d)" % (id, customer)
	fill(c)
	equal(skewed(c, "SERIALIZABLE", booked(500, 2001), booked(500, 2002)), ["ok", "40001"], "both looked, both booked")
	equal(skewed(c, "SERIALIZABLE", booked(501, 2003), booked(502, 2004)), ["ok", "ok"], "other customers")
	equal(skewed(c, "REPEATABLE READ", booked(503, 2005), booked(503, 2006)), ["ok", "ok"])
	equal(skewed(c, "SERIALIZABLE", ("SELECT 1", booked(504, 2007)[1]), ("SELECT 1", booked(504, 2008)[1])), ["ok", "ok"], "writers of one value do not exclude each other")
	equal(skewed(c, "READ COMMITTED", ("SELECT 1", "UPDATE sale SET customer = 505 WHERE id = 5"), ("SELECT 1", "UPDATE sale SET customer = 505 WHERE id = 6")), ["ok", "ok"])


@test
def many_values_become_all_of_the_table(c):
	fill(c)
	with c.connect(1) as writer:
		writer.execute("SET nodedb.bulk_keys = 1000")
		writer.execute("BEGIN; INSERT INTO sale SELECT g, g FROM generate_series(3001, 3900) g")
		c.execute(2, "INSERT INTO sale (id, customer) VALUES (4001, 4001)")
		writer.execute("COMMIT")		# rows have not become the table: nobody but readers by values lost anything
	index = ["SET %s = off" % setting for setting in PLANS["Index Scan"]]
	change = "SET nodedb.bulk_keys = 1000; INSERT INTO sale (id, customer) SELECT g, g FROM generate_series(%d, %d) g"
	equal(run_changed(c, "SERIALIZABLE", "SELECT sum(n) FROM sale WHERE customer = 7", change % (5001, 5003), index), "ok")
	equal(run_changed(c, "SERIALIZABLE", "SELECT sum(n) FROM sale WHERE customer = 7", change % (6001, 6900), index), "40001")
	equal(run_changed(c, "SERIALIZABLE", "SELECT sum(n) FROM loose WHERE v = 7", "SET nodedb.bulk_keys = 1000; INSERT INTO loose SELECT 8, g FROM generate_series(1, 1500) g", index), "40001")
	equal(run_changed(c, "SERIALIZABLE", "SELECT sum(n) FROM loose WHERE v = 7",
					  "SET nodedb.bulk_keys = 1000; BEGIN; SAVEPOINT a; INSERT INTO loose SELECT 8, g FROM generate_series(1, 1500) g; ROLLBACK TO a; INSERT INTO loose VALUES (8, 8); COMMIT", index), "ok")
	# values that a reader looks for: too many of them in one call, then altogether
	equal(run_changed(c, "SERIALIZABLE", "SELECT sum(n) FROM loose WHERE v = ANY (ARRAY(SELECT generate_series(1, 900)))", "INSERT INTO loose VALUES (950, 8)", index), "ok")
	equal(run_changed(c, "SERIALIZABLE", "SELECT sum(n) FROM loose WHERE v = ANY (ARRAY(SELECT generate_series(1, 1001)))", "INSERT INTO loose VALUES (1950, 8)", index), "40001")
	equal(run_changed(c, "SERIALIZABLE", "DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM n FROM loose WHERE v = i + 10000; END LOOP; END $$", "INSERT INTO loose VALUES (1951, 8)",
					  index + ["SET nodedb.bulk_keys = 1000"]), "40001")


@test
def only_named_indexes(c):
	"""Those that all nodes have by the log: not one of this node alone, and one that is made anew stays what it is."""
	index = ["SET %s = off" % setting for setting in PLANS["Index Scan"]]
	make(c, "CREATE TABLE own (id int PRIMARY KEY, v int, w int, x int)", "CREATE INDEX own_v ON own (v)")
	c.execute(1, "INSERT INTO own SELECT g, g, g, g FROM generate_series(1, 200) g")
	by_v, by_w, by_x = ("SELECT sum(id) FROM own WHERE %s = 7" % column for column in "vwx")
	ids = iter(range(1000, 2000))

	def outcomes(read, node=1):
		"""A change of what was read, and one beside it."""
		c.wait_caught_up()
		return [run_changed(c, "SERIALIZABLE", read, "INSERT INTO own VALUES (%d, %d, %d, %d)" % (next(ids), v, v, v), index) for v in (7, 8)]

	equal(outcomes(by_v), ["40001", "ok"])
	with c.connect(1) as alone:
		alone.execute("SET nodedb.replicate_ddl = off")
		alone.execute("CREATE INDEX own_w ON own (w)")
		fails("0A000", alone.execute, "DROP INDEX own_v")
		equal("own_w" in plan(c, by_w, index), True)
		equal(outcomes(by_w), ["40001", "40001"], "no other node has it")
		alone.execute("REINDEX INDEX CONCURRENTLY own_w")
		equal(outcomes(by_w), ["40001", "40001"], "no other node has it")
		alone.execute("DROP INDEX own_w")
	for node in (1, 2):
		c.execute(node, "REINDEX INDEX CONCURRENTLY own_v")
		equal(outcomes(by_v), ["40001", "ok"], "made anew on node %d" % node)
	c.execute(3, "CREATE INDEX CONCURRENTLY own_x ON own (x)")
	equal(outcomes(by_x), ["40001", "ok"], "built concurrently")
	c.execute(3, "ALTER INDEX own_x RENAME TO own_y; ALTER TABLE own RENAME TO owned")
	c.wait_caught_up()
	c.execute(3, "ALTER TABLE owned RENAME TO own")
	equal(outcomes(by_x), ["40001", "ok"], "renamed")
	for node in c:		# as an older version has left it
		c.execute(node, "DELETE FROM pg_depend WHERE objid = 'own_v'::regclass AND refclassid = 'pg_am'::regclass")
	equal(outcomes(by_v), ["40001", "40001"], "of an older version")
	c.execute(2, "CREATE INDEX IF NOT EXISTS own_v ON own (v)")
	equal(outcomes(by_v), ["40001", "40001"], "it was there")
	c.execute(2, "DROP INDEX own_v; CREATE INDEX own_v ON own (v)")
	equal(outcomes(by_v), ["40001", "ok"], "made by the log")


@test
def index_made_behind_the_snapshot(c):
	make(c, "CREATE TABLE late (id int PRIMARY KEY, v int)")
	c.execute(1, "INSERT INTO late SELECT g, g FROM generate_series(1, 200) g")
	with c.connect(1) as reader:
		reader.execute("SET enable_seqscan = off")
		reader.execute(BEGIN + "SERIALIZABLE")
		reader.execute("SELECT 1 FROM item WHERE id = 1")
		c.execute(2, "INSERT INTO late VALUES (301, 7)")
		c.execute(2, "CREATE INDEX late_v ON late (v)")
		c.wait_caught_up()
		equal("late_v" in str(reader.execute("EXPLAIN SELECT count(*) FROM late WHERE v = 7")), True)
		equal(reader.value("SELECT count(*) FROM late WHERE v = 7"), "1")
		reader.execute("INSERT INTO out (what) VALUES ('late')")
		fails("40001", reader.execute, "COMMIT")


@test
def the_error_names_the_index(c):
	fill(c)
	with c.connect(1) as reader:
		reader.execute("SET enable_seqscan = off")
		reader.execute(BEGIN + "SERIALIZABLE")
		reader.execute("SELECT sum(n) FROM sale WHERE customer = 7")
		c.execute(2, "INSERT INTO sale (id, customer) VALUES (1001, 7)")
		reader.execute("INSERT INTO sale (id, customer) VALUES (1002, 7)")
		try:
			reader.execute("COMMIT")
			raise AssertionError("committed")
		except Error as error:
			equal('changed a value of index "sale_customer" of table "sale", which this SERIALIZABLE transaction had read.' in str(error.detail), True, error.detail)


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
				if error.sqlstate == "40003" and c.value(node, "SELECT nodedb.transaction_status($1)", error.hint.split("'")[1]) == "committed":
					with lock:
						history.append((seen, a))
				if error.sqlstate not in ("40001", "40003", "57P03"):
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
		thread.join(600)
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
	poll("a cycle at REPEATABLE READ", lambda: run_history(c, "REPEATABLE READ", 60), 600)


main()
