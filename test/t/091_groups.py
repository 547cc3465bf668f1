#!/usr/bin/env python3
"""Transactions over tables of several data groups: every kind of statement, conflicts in each group, SERIALIZABLE, foreign keys, large ones, schema changes, outcomes.

Tables a and b live in group 2, c in group 3, d in group 4, plain in group 1.
"""
import os
import signal
import threading

from harness import *
from scenario import *

GROUPS = 4
setup(nodes=3, init_options="data_groups => %d" % GROUPS, conf=["nodedb.commit_timeout = 5000"])

PLACES = {"a": 2, "b": 2, "c": 3, "d": 4}


def indexes(c, node):
	"""How far each group has come on the node that does the work, and in which term."""
	rows = c.execute(node, "SELECT group_id, nodedb.applied_index(group_id), term FROM nodedb.groups WHERE kind = 'data'")
	return {int(g): (int(index), term) for g, index, term in rows}


def entries(before, after):
	"""How many each group has got; not counted: that with which a new leader begins."""
	return {g: after[g][0] - before[g][0] - (after[g][1] != before[g][1]) for g in after}


def touched(before, after):
	return sorted(g for g, n in entries(before, after).items() if n > 0)


def everywhere(c, *tables):
	same_everywhere(c, *(tables or PLACES))


def most_led(c):
	"""How many of all groups the node leads that leads most."""
	return int(c.value(1, "SELECT max(n) FROM (SELECT count(*) n FROM nodedb.groups GROUP BY leader) x"))


@test
def tables_are_made(c):
	# a leader that changes writes an entry: later tests count entries
	poll("leaders to be spread", lambda: most_led(c) <= (GROUPS + 2) / 3 + 1, SECONDS)
	poll("all nodes have told of their extensions", lambda: c.value(1, "SELECT count(DISTINCT node_id) FROM nodedb.available_extensions") == "3", SECONDS)
	make(c, *["CREATE TABLE %s (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, v text, u int UNIQUE)" % t for t in ("a", "b", "c", "d", "plain")])
	make(c, *["SELECT nodedb.place_table('%s', %d)" % (t, g) for t, g in PLACES.items()])
	make(c, "CREATE TABLE keyless (v int, t text)", "SELECT nodedb.place_table('keyless', 4)")


@test
def one_group_goes_to_its_log_alone(c):
	before = indexes(c, 2)
	c.execute(2, "INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
	c.execute(2, "UPDATE a SET n = (SELECT count(*) FROM d) WHERE id = 1")
	after = indexes(c, 2)
	equal(touched(before, after), [2])
	equal(entries(before, after)[2], 2)
	everywhere(c)


@test
def several_groups_commit_as_one(c):
	before = indexes(c, 1)
	with c.connect(1) as one:
		one.execute("BEGIN; INSERT INTO a VALUES (2, 2); INSERT INTO c VALUES (2, 2); INSERT INTO keyless VALUES (1, 'one'), (2, 'two'); COMMIT")
	equal(touched(before, indexes(c, 1)), [2, 3, 4])
	for i in c:
		equal(c.value(i, "SELECT a.n + c.n + (SELECT sum(v) FROM keyless) FROM a, c WHERE a.id = 2 AND c.id = 2"), "7", "node %d" % i)
	everywhere(c, *PLACES, "keyless")


# ---- what is a part, and what is not ----

def run(c, node, *statements):
	"""'ok' or the SQLSTATE of a transaction."""
	with c.connect(node) as connection:
		try:
			connection.execute("BEGIN")
			for sql in statements:
				connection.execute(sql)
			connection.execute("COMMIT")
			return "ok"
		except Error as error:
			return error.sqlstate


@test
def parts_are_what_is_left(c):
	"""Groups of a transaction: where it changed, locked rows, or locked a table by hand; not where it was rolled back, only read, or found nothing."""
	c.execute(1, "INSERT INTO a VALUES (10, 0, 'x', 10), (11, 0, 'x', 11); INSERT INTO c VALUES (10, 0, 'x', 10); INSERT INTO d VALUES (10, 0, 'x', 10)")
	wrong = []
	for groups, statements in (
			([2], ["INSERT INTO a VALUES (20)", "SAVEPOINT s", "INSERT INTO c VALUES (20)", "ROLLBACK TO s"]),
			([3], ["SAVEPOINT s", "INSERT INTO a VALUES (21)", "SAVEPOINT t", "INSERT INTO d VALUES (21)", "RELEASE t", "ROLLBACK TO s", "INSERT INTO c VALUES (21)"]),
			([2, 3], ["INSERT INTO a VALUES (22)", "SAVEPOINT s", "INSERT INTO c VALUES (22)", "RELEASE s"]),
			([2], ["SELECT * FROM c, d", "UPDATE a SET n = n + (SELECT max(n) FROM d) WHERE id = 10"]),
			([2, 3], ["SELECT * FROM c WHERE id = 10 FOR UPDATE", "UPDATE a SET n = 2 WHERE id = 10"]),
			([2, 4], ["SELECT * FROM d WHERE id = 10 FOR KEY SHARE", "UPDATE a SET n = 2 WHERE id = 10"]),
			([2], ["UPDATE c SET n = 7 WHERE id = 99", "DELETE FROM d WHERE id = 99", "UPDATE a SET n = 3 WHERE id = 10"]),
			([1, 2, 3, 4], ["LOCK TABLE c IN SHARE MODE", "UPDATE a SET n = 4 WHERE id = 10"]),
			([2], ["LOCK TABLE c IN ROW EXCLUSIVE MODE", "UPDATE a SET n = 5 WHERE id = 10"]),
			([], ["SELECT * FROM a WHERE id = 10 FOR UPDATE", "SELECT * FROM c WHERE id = 10 FOR UPDATE", "LOCK TABLE d"]),
			([1, 2, 3, 4], ["CREATE TABLE made (id int)", "INSERT INTO made VALUES (1)"]),
			([1, 3], ["INSERT INTO plain VALUES (30)", "INSERT INTO c VALUES (30)"])):
		before = indexes(c, 1)
		got = run(c, 1, *statements)
		seen = touched(before, indexes(c, 1))
		if got != "ok" or seen != groups:
			wrong.append((statements, got, seen))
	equal(wrong, [])
	everywhere(c, *PLACES, "plain", "made")


@test
def partitions_are_touched_one_by_one(c):
	"""Whatever a plan locks: only the partitions whose rows it changes count."""
	make(c, "CREATE TABLE many (id int, n int, PRIMARY KEY (id)) PARTITION BY LIST (id)",
		 *["CREATE TABLE many_%d PARTITION OF many FOR VALUES IN (%d)" % (g, g) for g in (1, 2, 3, 4)],
		 *["SELECT nodedb.place_table('many_%d', %d)" % (g, g) for g in (2, 3, 4)],
		 "CREATE VIEW seen AS SELECT * FROM many")
	before = indexes(c, 1)
	c.execute(1, "INSERT INTO many SELECT g, 0 FROM generate_series(1, 4) g")
	equal(touched(before, indexes(c, 1)), [1, 2, 3, 4])
	with c.connect(2) as two:
		two.execute("SET plan_cache_mode = force_generic_plan")
		two.execute("PREPARE change (int) AS UPDATE many SET n = n + 1 WHERE id = $1")
		two.execute("PREPARE through (int) AS UPDATE seen SET n = n + 1 WHERE id = $1")
		two.execute("PREPARE gone (int) AS DELETE FROM many WHERE id = $1")
		two.execute("PREPARE again (int) AS INSERT INTO many VALUES ($1, 0)")
		for g in (1, 2, 3, 4):
			for what in ("change", "through", "gone", "again"):
				before = indexes(c, 2)
				two.execute("EXECUTE %s (%d)" % (what, g))
				equal(touched(before, indexes(c, 2)), [g], what)
	everywhere(c, "many")


# ---- statements ----

@test
def statements_over_groups(c):
	make(c, "CREATE TABLE log_c (id serial PRIMARY KEY, what text)", "SELECT nodedb.place_table('log_c', 3)",
		 "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log_c (what) VALUES (tg_op || ' ' || coalesce(new.id, old.id)); RETURN NULL; END $$",
		 "CREATE TABLE traced (id int PRIMARY KEY, v text)", "SELECT nodedb.place_table('traced', 2)",
		 "CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON traced FOR EACH ROW EXECUTE FUNCTION note()",
		 "CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..3 LOOP INSERT INTO a VALUES (100 + i); INSERT INTO c VALUES (100 + i); COMMIT; END LOOP; END $$",
		 "CREATE FUNCTION in_both(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO a VALUES (i); INSERT INTO d VALUES (i); RETURN i; END $$")
	statements = (
		"INSERT INTO a SELECT g, g, repeat('x', g) FROM generate_series(110, 140) g",
		"INSERT INTO c SELECT * FROM a WHERE id BETWEEN 110 AND 140",
		"WITH moved AS (DELETE FROM a WHERE id BETWEEN 110 AND 115 RETURNING *) INSERT INTO d SELECT * FROM moved",
		"WITH x AS (UPDATE a SET n = n + 1 WHERE id BETWEEN 120 AND 125 RETURNING id, n), y AS (UPDATE c SET n = x.n FROM x WHERE c.id = x.id RETURNING c.id)"
		" INSERT INTO d SELECT id + 1000 FROM y",
		"WITH x AS (INSERT INTO c SELECT 200, 1, 'new' RETURNING id) INSERT INTO a SELECT id, 5 FROM x ON CONFLICT (id) DO UPDATE SET n = 9",
		"WITH x AS (INSERT INTO c SELECT 120, 1, 'new' ON CONFLICT (id) DO UPDATE SET v = 'again' RETURNING id) INSERT INTO a SELECT id FROM x ON CONFLICT DO NOTHING",
		"MERGE INTO d USING c ON d.id = c.id WHEN MATCHED THEN UPDATE SET v = c.v WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.n)",
		"INSERT INTO traced VALUES (1, 'x'), (2, 'y')",
		"UPDATE traced SET v = v || '!'",
		"DELETE FROM traced WHERE id = 2",
		"CALL steps()",
		"SELECT in_both(150)",
		"DO $$ BEGIN PERFORM in_both(151); UPDATE c SET v = 'done' WHERE id = 101; END $$",
		"WITH x AS (DELETE FROM keyless RETURNING *) INSERT INTO log_c (what) SELECT t FROM x",
		"BEGIN; UPDATE a SET id = id + 5000 WHERE id = 101; UPDATE c SET u = id WHERE id < 130; DELETE FROM d WHERE id % 3 = 0; COMMIT",
		"BEGIN; INSERT INTO a VALUES (160); DELETE FROM a WHERE id = 160; INSERT INTO c VALUES (160, 1, repeat('long', 100000)); UPDATE c SET n = 2 WHERE id = 160; COMMIT")
	for number, statement in enumerate(statements):
		node = 1 + number % 3
		with c.connect(node) as connection:
			connection.execute(statement)
	everywhere(c, *PLACES, "keyless", "traced", "log_c")
	equal(c.value(1, "SELECT count(*) FROM log_c"), "7")
	equal(c.value(3, "SELECT length(v) || ' ' || n FROM c WHERE id = 160"), "400000 2")
	with c.connect(2) as two:
		two.execute("BEGIN; DECLARE k CURSOR WITH HOLD FOR SELECT a.id FROM a JOIN c USING (id) WHERE a.id = 120; UPDATE a SET n = 50 WHERE id = 120; UPDATE c SET n = 50 WHERE id = 120; COMMIT")
		equal(two.execute("FETCH ALL FROM k"), [("120",)])
	everywhere(c)


@test
def copy_and_paths(c):
	"""COPY in a block; an index whose expression calls a function found by the search path only."""
	make(c, "CREATE SCHEMA hidden", "CREATE FUNCTION hidden.inner_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'",
		 "CREATE FUNCTION outer_one(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN inner_one(i); END'")
	with c.connect(1) as one:
		one.execute("SET search_path = public, hidden")
		for g, table in ((2, "path_2"), (3, "path_3")):
			one.execute("CREATE TABLE %s (id int PRIMARY KEY)" % table)
			one.execute("SELECT nodedb.place_table('%s', %d)" % (table, g))
			one.execute("CREATE UNIQUE INDEX ON %s (outer_one(id))" % table)
		one.execute("BEGIN; INSERT INTO path_2 VALUES (1); INSERT INTO a VALUES (170); INSERT INTO path_3 VALUES (1); SET LOCAL search_path = hidden, public;"
					"INSERT INTO path_3 VALUES (2); INSERT INTO path_2 VALUES (2); UPDATE path_2 SET id = 3 WHERE id = 1; COMMIT")
	everywhere(c, "path_2", "path_3", "a")


# ---- conflicts ----

MULTI = ("UPDATE a SET n = n + 1 WHERE id = 1000", "UPDATE c SET n = n + 1 WHERE id = 1000")


@test
def conflicts_in_each_group(c):
	"""A transaction over groups 2 and 3 against another of the same row: the one that comes later hears what it lost, whatever group that is in."""
	c.execute(1, "INSERT INTO a VALUES (1000, 0, 'x', 1000), (1001, 0, 'x', 1001); INSERT INTO c VALUES (1000, 0, 'x', 1000), (1001, 0, 'x', 1001); INSERT INTO d VALUES (1000)")
	wrong = []
	for others, table in ((["UPDATE a SET n = 7 WHERE id = 1000"], "a"), (["UPDATE c SET n = 7 WHERE id = 1000"], "c"),
						  (["UPDATE c SET n = 7 WHERE id = 1000", "UPDATE d SET n = 7 WHERE id = 1000"], "c"),
						  (["UPDATE a SET n = 7 WHERE id = 1000", "UPDATE d SET n = 7 WHERE id = 1000"], "a"),
						  (["DELETE FROM a WHERE id = 1000", "INSERT INTO a VALUES (1000, 0, 'x', 1000)"], "a"),
						  (["UPDATE a SET n = 7 WHERE id = 1001", "UPDATE c SET n = 7 WHERE id = 1001"], None)):
		for node, other in ((1, 2), (2, 3), (3, 1)):
			with Session(c, node, "SET nodedb.stop_at = 'before-propose'") as one:
				one.execute("BEGIN")
				for sql in MULTI:
					one.execute(sql)
				one.start("COMMIT")
				stopped(c, node, "before-propose", one.pid)
				got = [run(c, other, *others)]
				release(c, node, "before-propose")
				got += [one.end(), getattr(one.error, "table", "") if one.outcome != "ok" else None]
			if got != (["ok", "40001", table] if table else ["ok", "ok", None]):
				wrong.append((node, others, got))
	equal(wrong, [])
	everywhere(c)


@test
def a_single_one_loses_to_several(c):
	"""The other way round: a transaction of one group, and one of a unique value."""
	wrong = []
	for node, other in ((1, 2), (2, 1)):
		for sql in ("UPDATE a SET n = 8 WHERE id = 1000", "UPDATE c SET n = 8 WHERE id = 1000"):
			with Session(c, node, "SET nodedb.statement_retries = 0", "SET nodedb.stop_at = 'before-propose'") as one:
				one.start(sql)
				stopped(c, node, "before-propose", one.pid)
				got = [run(c, other, *MULTI)]
				release(c, node, "before-propose")
				got.append(one.end())
			if got != ["ok", "40001"]:
				wrong.append((node, sql, got))
		with Session(c, node, "SET nodedb.stop_at = 'before-propose'") as one:
			one.execute("BEGIN; UPDATE c SET n = 1 WHERE id = 1001; INSERT INTO a VALUES (%d, 0, '', %d)" % (1010 + node, 2000 + node))
			one.start("COMMIT")
			stopped(c, node, "before-propose", one.pid)
			got = [run(c, other, "INSERT INTO a VALUES (%d, 0, '', %d)" % (1020 + node, 2000 + node), "INSERT INTO d VALUES (%d)" % (1020 + node))]
			release(c, node, "before-propose")
			got += [one.end(), one.error.constraint]
		if got != ["ok", "40001", "a_u_key"]:
			wrong.append((node, "unique", got))
	equal(wrong, [])
	everywhere(c)


# ---- SERIALIZABLE ----

@test
def write_skew_over_two_groups(c):
	"""Each reads what the other changes, in the other group: both cannot be right. One by one they can."""
	c.execute(1, "INSERT INTO a VALUES (3000); INSERT INTO c VALUES (3000)")
	reads = (("SELECT sum(n) FROM c", "SELECT sum(n) FROM a"), ("SELECT n FROM c WHERE id = 3000", "SELECT n FROM a WHERE id = 3000"))
	for read_c, read_a in reads:
		for level, wanted in (("REPEATABLE READ", ["ok", "ok"]), ("SERIALIZABLE", ["40001", "ok"])):
			with Session(c, 1) as one, Session(c, 2) as two:
				one.execute("BEGIN ISOLATION LEVEL " + level)
				two.execute("BEGIN ISOLATION LEVEL " + level)
				one.execute(read_c)
				two.execute(read_a)
				one.execute("UPDATE a SET n = n + 1 WHERE id = 3000")
				two.execute("UPDATE c SET n = n + 1 WHERE id = 3000")
				got = [two.start("COMMIT").end(), one.start("COMMIT").end()]
			equal(sorted(got), wanted, "%s, %s" % (read_c, level))
			if "40001" in got:
				equal(got, ["ok", "40001"])
	everywhere(c)


@test
def what_was_read_elsewhere_is_certified(c):
	"""A part that is reads alone: changed meanwhile, by one that changed only that."""
	for read, change, level, wanted in (
			("SELECT n FROM d WHERE id = 1000", "UPDATE d SET n = n + 1 WHERE id = 1000", "SERIALIZABLE", "40001"),
			("SELECT n FROM d WHERE id = 1000", "UPDATE d SET n = n + 1 WHERE id = 1000", "REPEATABLE READ", "ok"),
			("SELECT n FROM d WHERE id = 3333", "INSERT INTO d VALUES (3333)", "SERIALIZABLE", "40001"),
			("SELECT count(*) FROM d", "UPDATE d SET n = n + 1 WHERE id = 1000", "SERIALIZABLE", "40001"),
			("SELECT n FROM d WHERE id = 1000", "UPDATE d SET n = n + 1 WHERE id = 150", "SERIALIZABLE", "ok"),
			("SELECT count(*) FROM d", "UPDATE c SET n = n + 1 WHERE id = 1000", "SERIALIZABLE", "ok")):
		with Session(c, 3) as three:
			three.execute("BEGIN ISOLATION LEVEL " + level)
			three.execute(read)
			three.execute("UPDATE a SET n = n + 1 WHERE id = 1001")
			c.execute(1, change)
			equal(three.start("COMMIT").end(), wanted, "%s, %s, %s" % (read, change, level))
	everywhere(c)


# ---- foreign keys ----

@test
def foreign_keys_over_groups(c):
	make(c, "CREATE TABLE parent (id int PRIMARY KEY, v text)", "SELECT nodedb.place_table('parent', 2)",
		 "CREATE TABLE child (id int PRIMARY KEY, p int NOT NULL REFERENCES parent)", "SELECT nodedb.place_table('child', 3)",
		 "CREATE TABLE follower (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE)", "SELECT nodedb.place_table('follower', 4)",
		 "CREATE TABLE later (id int PRIMARY KEY, p int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)", "SELECT nodedb.place_table('later', 4)")
	before = indexes(c, 1)
	c.execute(1, "INSERT INTO parent SELECT g FROM generate_series(1, 40) g")
	equal(touched(before, indexes(c, 1)), [2])
	before = indexes(c, 2)
	c.execute(2, "INSERT INTO child VALUES (1, 1)")
	equal(touched(before, indexes(c, 2)), [2, 3])
	fails("23503", c.execute, 2, "INSERT INTO child VALUES (2, 99)")
	fails("23503", c.execute, 3, "DELETE FROM parent WHERE id = 1")
	c.execute(3, "INSERT INTO follower VALUES (2, 2), (3, 3)")
	c.execute(1, "DELETE FROM parent WHERE id = 2")
	c.execute(2, "UPDATE parent SET id = 103 WHERE id = 3")
	equal(c.execute(3, "SELECT id, p FROM follower"), [("3", "103")])
	with c.connect(1) as one:
		one.execute("BEGIN; INSERT INTO later VALUES (1, 200); INSERT INTO parent VALUES (200); COMMIT")
		one.execute("BEGIN; INSERT INTO later VALUES (2, 201)")
		fails("23503", one.execute, "COMMIT")
	everywhere(c, "parent", "child", "follower", "later")


@test
def no_orphans_under_races(c):
	"""Parents are deleted on one node while children of them come on another, at once and with deferred checks."""
	outcomes = []

	def race(node, statements):
		with c.connect(node) as connection:
			connection.execute("SET nodedb.statement_retries = 0")
			for sql in statements:
				try:
					connection.execute(sql)
					outcomes.append("ok")
				except Error as error:
					outcomes.append(error.sqlstate)

	ids = list(range(4, 41))
	threads = [threading.Thread(target=race, args=work) for work in (
		(1, ["DELETE FROM parent WHERE id = %d" % i for i in ids]),
		(2, ["INSERT INTO child VALUES (%d, %d)" % (1000 + i, i) for i in ids]),
		(3, ["INSERT INTO later VALUES (%d, %d)" % (2000 + i, i) for i in ids]))]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	equal(set(outcomes) - {"ok", "40001", "23503", "40003", "57P03"}, set())
	c.wait_caught_up()
	for i in c:
		for table in ("child", "later", "follower"):
			equal(c.value(i, "SELECT count(*) FROM %s x LEFT JOIN parent p ON p.id = x.p WHERE p.id IS NULL AND x.p IS NOT NULL" % table), "0", "orphans in %s" % table)
	everywhere(c, "parent", "child", "later")


# ---- large ones ----

@test
def large_ones(c):
	"""Bodies that go ahead as chunks, spilled ones, more keys than a request holds, and tables without keys."""
	for number, (setting, rows, width) in enumerate((("nodedb.bulk_keys = 100000", 300, 10000), ("nodedb.writeset_memory = 64", 5000, 1000),
													 ("nodedb.bulk_keys = 1000", 3000, 10), ("nodedb.bulk_keys = 1000000", 60000, 1))):
		first = 100000 + number * 1000000
		with c.connect(1 + number % 3, timeout=60) as connection:
			connection.execute("SET %s" % setting)
			connection.execute("BEGIN")
			for table in ("a", "c"):
				connection.execute("INSERT INTO %s SELECT %d + g, g, repeat(md5(g::text), %d), 10000 + g FROM generate_series(1, %d) g" % (table, first, max(width // 32, 1), rows))
			connection.execute("INSERT INTO keyless SELECT g, 'keyless' FROM generate_series(1, 10) g")
			connection.execute("COMMIT")
		c.wait_caught_up()
		for i in c:
			equal(c.value(i, "SELECT count(*) FROM a JOIN c USING (id, v, n) WHERE id > %d" % first), str(rows), setting)
		c.execute(2, "WITH x AS (DELETE FROM a WHERE id > 100000) DELETE FROM c WHERE id > 100000")
	everywhere(c, "a", "c", "keyless")


@test
def a_large_one_that_fails_leaves_nothing(c):
	with c.connect(1, timeout=60) as one:
		one.execute("BEGIN; INSERT INTO a SELECT 5000000 + g, g, repeat('x', 1000) FROM generate_series(1, 5000) g; INSERT INTO c VALUES (5000000)")
		c.execute(2, "INSERT INTO c VALUES (5000000)")
		fails("40001", one.execute, "COMMIT")
	for g in (2, 3):
		poll("nothing waits in group %d" % g, lambda: c.value(1, "SELECT sum(reservations) FROM nodedb.groups") == "0", SECONDS)
	everywhere(c, "a", "c")


# ---- outcomes ----

def status(c, node, id):
	return c.value(node, "SELECT nodedb.transaction_status($1)", id)


PAY = "WITH x AS (UPDATE a SET n = n - 1 WHERE id = 4000 RETURNING 1) UPDATE c SET n = n + 1 FROM x WHERE c.id = 4000"


def paid(c, node=1):
	"""What was moved from a to c, the same in both."""
	out, came = c.execute(node, "SELECT -a.n, c.n FROM a, c WHERE a.id = 4000 AND c.id = 4000")[0]
	equal(out, came, "both halves on node %d" % node)
	return int(came)


@test
def outcomes_over_groups(c):
	c.execute(1, "INSERT INTO a VALUES (4000), (4001); INSERT INTO c VALUES (4000), (4001)")
	wrong = []
	for work in ((PAY,), ("UPDATE c SET n = 1 WHERE id = 4001",), ("UPDATE a SET n = 1 WHERE id = 4001", "INSERT INTO plain VALUES (%d)"),
				 ("CREATE TABLE outcome_%d (id int)", "INSERT INTO d VALUES (%d)")):
		for node in c:
			for end, wanted in (("COMMIT", "committed"), ("ROLLBACK", "aborted")):
				with c.connect(node) as connection:
					connection.execute("BEGIN")
					id = connection.value("SELECT nodedb.transaction_id()")
					for sql in work:
						connection.execute(sql % (4010 + node) if "%d" in sql else sql)
					equal(status(c, node, id), "in progress")
					connection.execute(end)
				told = [status(c, i, id) for i in c]
				if told != [wanted] * 3:
					wrong.append((work, node, end, told))
				if end == "COMMIT":
					run(c, node, *["DROP TABLE outcome_%d" % (4010 + node) if "CREATE" in sql else "DELETE FROM %s WHERE id = %d" % (sql.split()[2], 4010 + node)
								   for sql in work if "%d" in sql])
	equal(wrong, [])
	equal(len(id.split(".")), 3 + GROUPS)
	fails("22023", status, c, 1, id + ".1")
	everywhere(c, *PLACES, "plain")


@test
def asking_elsewhere_ends_it(c):
	"""Nothing of it is in any log yet: the answer "aborted" makes it so, whatever groups it has."""
	with c.connect(1) as one:
		one.execute("BEGIN")
		id = one.value("SELECT nodedb.transaction_id()")
		one.execute(PAY)
		before = paid(c)
		equal(status(c, 2, id), "aborted")
		fails("40001", one.execute, "COMMIT")
		equal(status(c, 3, id), "aborted")
	equal(paid(c), before)


@test
def lost_answers_are_found_out(c):
	for event, wanted in (("before-propose", ["aborted"]), ("proposed", ["aborted", "committed"]), ("granted", ["committed"]), ("before-turn", ["committed"])):
		for node in c:
			before = paid(c)
			with Session(c, node, "SET nodedb.stop_at = '%s'" % event) as session:
				session.execute("BEGIN")
				id = session.value("SELECT nodedb.transaction_id()")
				session.execute(PAY)
				session.start("COMMIT")
				stopped(c, node, event, session.pid)
				c.execute(node, "SET nodedb.read_consistency = local; SELECT pg_terminate_backend(%d)" % session.pid)
				release(c, node, event)
				told = session.end()
				equal(told in ("08006", "57P01" if event == "before-propose" else "40003"), True, told)
			answers = {poll("an answer from node %d" % i, lambda: status(c, i, id), SECONDS) for i in c if i != node}
			equal(len(answers) == 1 and answers <= set(wanted), True, "%s after %s" % (answers, event))
			c.wait_caught_up()
			for i in c:
				equal(paid(c, i), before + (answers == {"committed"}))
	everywhere(c, "a", "c")


@test
def outcomes_outlive_the_node(c):
	"""A node dies with a transaction proposed, or certified and not yet applied."""
	for event, node in (("proposed", 1), ("granted", 2)):
		before = paid(c, 3)
		session = Session(c, node, "SET nodedb.stop_at = '%s'" % event)
		session.execute("BEGIN")
		id = session.value("SELECT nodedb.transaction_id()")
		session.execute(PAY)
		session.start("COMMIT")
		stopped(c, node, event, session.pid)
		c.kill(node)
		session.end()
		told = {poll("an answer of node %d" % i, lambda: ask(c, i, id), SECONDS) for i in c.running()}
		equal(told <= {"committed", "aborted"} and len(told), 1, told)
		for i in c.running():
			equal(paid(c, i), before + (told == {"committed"}))
		c.start(node)
		c.wait_ready()
		equal(status(c, node, id), told.pop())
		everywhere(c, "a", "c")


def ask(c, node, id):
	try:
		return status(c, node, id)
	except Error as error:
		if error.sqlstate != "57P03":
			raise


@test
def keys_of_idempotency(c):
	"""The key lives in group 1, what it is for in 2 and 3."""
	before = paid(c)
	for node in (1, 2, 3):
		with c.connect(node) as connection:
			connection.execute("BEGIN; SET LOCAL nodedb.idempotency_key = 'once'")
			if node == 1:
				connection.execute(PAY)
				connection.execute("COMMIT")
			else:
				fails("ND001", connection.execute, PAY)
	equal(paid(c), before + 1)


# ---- run again by the server, reservations in several groups ----

@test
def a_statement_is_run_again(c):
	before = paid(c)
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose'") as one:
		one.start(PAY)
		stopped(c, 1, "before-propose", one.pid)
		equal(run(c, 2, "UPDATE c SET v = 'other' WHERE id = 4000"), "ok")
		for attempt in range(2):
			release(c, 1, "before-propose")
			if attempt == 0:
				stopped(c, 1, "before-propose", one.pid)
		equal(one.end(), "ok")
	equal(paid(c), before + 1)


@test
def reservations_in_several_groups(c):
	"""After its first failure the statement owns its rows in groups 2 and 3 before it runs: who wants one of them loses, and nothing stays behind."""
	before = paid(c)
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose'", "SET nodedb.reserve_after = 1") as one:
		one.start(PAY)
		stopped(c, 1, "before-propose", one.pid)
		equal(run(c, 2, "UPDATE a SET v = 'other' WHERE id = 4000"), "ok")
		release(c, 1, "before-propose")
		stopped(c, 1, "before-propose", one.pid)
		for table in ("a", "c"):
			equal(run(c, 3, "UPDATE %s SET v = 'third' WHERE id = 4000" % table), "40001")
		release(c, 1, "before-propose")
		equal(one.end(), "ok")
	equal(paid(c), before + 1)
	poll("no reservation is left", lambda: c.value(1, "SELECT sum(reservations) FROM nodedb.groups WHERE kind = 'data'") == "0", SECONDS)
	equal(run(c, 2, "UPDATE a SET v = 'x' WHERE id = 4000", "UPDATE c SET v = 'x' WHERE id = 4000"), "ok")


def waits(c, group):
	with c.connect(1, consistency="local") as connection:
		return connection.value("SELECT count(*) FROM nodedb.reservations WHERE state = 'waits' AND group_id = $1", group) == "1"


@test
def a_schema_change_does_not_wait_in_a_circle(c):
	"""It owns c and asks for a table of a lower group, which a statement owns that waits for c: the statement gives way, and runs again behind it. In group 1, where the schema
	change owns something already and is refused rather than queued, likewise."""
	patient = "SET nodedb.commit_timeout = '90s'"
	for table in ("a", "c", "plain"):
		c.execute(1, "INSERT INTO %s VALUES (4000) ON CONFLICT DO NOTHING" % table)
	for table in ("a", "plain"):
		with Session(c, 1, patient) as change, Session(c, 2, patient) as statement:
			change.execute("BEGIN; ALTER TABLE c ADD COLUMN of_%s int" % table)
			statement.start("WITH x AS (UPDATE %s SET n = n + 1 WHERE id = 4000 RETURNING 1) UPDATE c SET n = n - 1 FROM x WHERE c.id = 4000" % table)
			poll("the statement to wait for c", lambda: waits(c, 3), SECONDS)
			change.start("ALTER TABLE %s ADD COLUMN of_c int" % table)
			equal(change.end(), "ok", str(getattr(change, "error", "")))
			change.execute("COMMIT")
			equal(statement.end(), "ok", str(getattr(statement, "error", "")))
	c.execute(1, "UPDATE plain SET n = n - 1 WHERE id = 4000; UPDATE a SET n = n - 1 WHERE id = 4000; UPDATE c SET n = n + 2 WHERE id = 4000")
	everywhere(c, *PLACES, "plain")


@test
def submit_from_all_nodes(c):
	make(c, "CREATE FUNCTION move(k int) RETURNS int LANGUAGE plpgsql AS $$ DECLARE left_over int; BEGIN"
			" UPDATE a SET n = n - k WHERE id = 4000 RETURNING n INTO left_over; UPDATE c SET n = n + k WHERE id = 4000; RETURN left_over; END $$")
	before = paid(c)
	errors = []

	def work(node):
		with c.connect(node) as connection:
			for _ in range(15):
				while True:
					try:
						connection.execute("SELECT nodedb.submit('move', 1)")
						break
					except Error as error:
						errors.append(error.sqlstate)
						if error.sqlstate != "40001":
							return
	threads = [threading.Thread(target=work, args=(i,)) for i in c for _ in range(2)]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	equal(set(errors) - {"40001"}, set())
	c.wait_caught_up()
	for i in c:
		equal(paid(c, i), before + 90)


# ---- tokens, schema changes ----

@test
def tokens_cover_all_groups(c):
	with c.connect(1) as one, c.connect(2) as two:
		two.execute("SET nodedb.read_consistency = session")
		for k in range(20):
			one.execute(PAY)
			two.execute("SELECT nodedb.use_session_token($1)", one.value("SELECT nodedb.session_token()"))
			seen = two.execute("SELECT -a.n, c.n FROM a, c WHERE a.id = 4000 AND c.id = 4000")
			equal(seen, [(str(paid(c)),) * 2])


@test
def schema_changes_with_rows(c):
	for node in c:
		equal(run(c, node, "CREATE TABLE mixed_%d (id int PRIMARY KEY, a int REFERENCES a)" % node, "SELECT nodedb.place_table('mixed_%d', 4)" % node,
				  "INSERT INTO a VALUES (%d)" % (4100 + node), "INSERT INTO mixed_%d SELECT 1, id FROM a WHERE id = %d" % (node, 4100 + node),
				  "ALTER TABLE c ADD COLUMN x%d int DEFAULT 7" % node, "INSERT INTO c (id, x%d) VALUES (%d, %d)" % (node, 4100 + node, node)), "ok")
		equal(run(c, node, "ALTER TABLE a RENAME TO was_a", "INSERT INTO was_a VALUES (%d)" % (4200 + node), "ALTER TABLE was_a RENAME TO a",
				  "INSERT INTO a VALUES (%d)" % (4300 + node), "UPDATE c SET v = 'renamed' WHERE id = 1000"), "ok")
	same_schema(c)
	everywhere(c, *PLACES, "mixed_1", "mixed_2", "mixed_3")


@test
def a_schema_change_ends_what_began_before_it(c):
	"""Whatever group the other transaction is in, and also when it only read the table that changes."""
	wrong = []
	for change, statements, wanted in (
			("ALTER TABLE c ADD COLUMN y1 int", ["INSERT INTO c VALUES (4400)"], "40001"),
			("ALTER TABLE c ADD COLUMN y2 int", ["SELECT * FROM c WHERE id = 1000", "INSERT INTO d VALUES (4401)"], "40001"),
			("ALTER TABLE c ADD COLUMN y3 int", ["INSERT INTO a VALUES (4402)", "INSERT INTO c VALUES (4402)"], "40001"),
			("ALTER TABLE c ADD COLUMN y4 int", ["INSERT INTO a VALUES (4403)", "INSERT INTO d VALUES (4403)"], "ok")):
		with Session(c, 1, "SET nodedb.stop_at = 'before-propose'") as one:
			one.execute("BEGIN")
			for sql in statements:
				one.execute(sql)
			one.start("COMMIT")
			stopped(c, 1, "before-propose", one.pid)
			c.execute(2, "SET nodedb.schema_wait = 0; " + change)
			release(c, 1, "before-propose")
			if one.end() != wanted:
				wrong.append((change, statements, one.outcome))
	equal(wrong, [])
	same_schema(c)
	everywhere(c)


main()
