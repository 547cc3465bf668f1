#!/usr/bin/env python3
"""CREATE INDEX CONCURRENTLY on distributed tables: every node builds beside its writers, and the log makes it a part of the schema. Unique ones: duplicates
before, meanwhile and at the end, from any node, and what is left when a node dies at each step."""
import os
import signal
import threading

from harness import *
from scenario import *

setup(nodes=3)


def is_valid(c, i, name):
	return local(c, i, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name) == "t"


def valid_everywhere(c, name):
	c.wait_caught_up()
	for i in c.running():
		equal(is_valid(c, i, name), True, "index %s on node %d" % (name, i))
	poll("no rows are left", lambda: c.value(1, "SELECT count(*) FROM nodedb.index_builds") == "0", SECONDS)


def nowhere(c, name):
	poll("no rows are left", lambda: c.value(1, "SELECT count(*) FROM nodedb.index_builds") == "0", SECONDS)
	c.wait_caught_up()
	for i in c.running():
		equal(local(c, i, "SELECT to_regclass($1)", name), None, "index %s on node %d" % (name, i))


def used(c, name, sql):
	for i in c:
		with c.connect(i) as connection:
			connection.execute("SET enable_seqscan = off")
			equal(name in str(connection.execute("EXPLAIN " + sql)), True, "node %d uses %s" % (i, name))


@test
def table_is_made(c):
	make(c, "CREATE TABLE t (id int PRIMARY KEY, a int, b text)")
	c.execute(1, "INSERT INTO t SELECT g, g % 100, 'b' || g FROM generate_series(1, 20000) g")
	c.wait_caught_up()


@test
def built_on_every_node(c):
	for n, i in enumerate(c):
		name = "t_by_%d" % i
		c.execute(i, "CREATE INDEX CONCURRENTLY %s ON t (a, (lower(b))) WHERE a > %d" % (name, n))
		valid_everywhere(c, name)
	with c.connect(2) as two:
		two.execute("CREATE INDEX CONCURRENTLY ON t (b)")
		equal(two.notices, [])
	valid_everywhere(c, "t_b_idx")
	used(c, "t_b_idx", "SELECT * FROM t WHERE b = 'b77'")
	c.execute(3, "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_b_idx ON t (b)")
	fails("42P07", c.execute, 1, "CREATE INDEX CONCURRENTLY t_b_idx ON t (b)")


@test
def dropped_on_every_node(c):
	c.execute(3, "DROP INDEX CONCURRENTLY t_b_idx")
	nowhere(c, "t_b_idx")
	fails("25001", c.execute, 1, "BEGIN; DROP INDEX CONCURRENTLY t_by_1")


@test
def writers_go_on(c):
	"""Not one of them fails, on any node, while indexes are built and dropped."""
	ended, errors, counts = threading.Event(), [], [0]

	def write(i):
		n = 0
		with c.connect(i) as connection:
			while not ended.is_set():
				try:
					connection.execute("UPDATE t SET a = a + 1 WHERE id = $1", i * 100 + n % 50)
					connection.execute("INSERT INTO t VALUES ($1, 1, 'new')", 1000000 * i + n)
					counts[0] += 1
					n += 1
				except Error as error:
					errors.append(error)
					return
	c.execute(1, "CREATE TABLE unrelated (id int PRIMARY KEY)")
	threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in c]
	for thread in threads:
		thread.start()
	poll("writers", lambda: counts[0] > 20, SECONDS)
	# only the last step, through the log, takes the table for a moment: writers of other nodes may meet it (40001)
	c.execute(1, "CREATE INDEX CONCURRENTLY t_while ON t (b, a)")
	before = counts[0]
	alive = [thread for thread in threads if thread.is_alive()]
	equal(all(error.sqlstate == "40001" for error in errors), True, str(errors))
	if alive:
		poll("more writes", lambda: counts[0] > before or not any(thread.is_alive() for thread in threads), SECONDS)
	ended.set()
	for thread in threads:
		thread.join(SECONDS)
	valid_everywhere(c, "t_while")
	same_everywhere(c, "t")
	for i in c:
		with c.connect(i) as connection:
			connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
			by_index = connection.value("SELECT count(*) FROM t WHERE b = 'new'")
			connection.execute("SET enable_seqscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off")
			equal(connection.value("SELECT count(*) FROM t WHERE b = 'new'"), by_index, "node %d" % i)


@test
def what_cannot_be_is_refused(c):
	fails("0A000", c.execute, 1, "CREATE UNIQUE INDEX CONCURRENTLY ON t USING hash (b)")
	fails("25001", c.execute, 1, "BEGIN; CREATE INDEX CONCURRENTLY ON t (b)")
	fails("25001", c.execute, 1, "DO $$ BEGIN EXECUTE 'CREATE INDEX CONCURRENTLY ON t (b)'; END $$")
	make(c, "CREATE ROLE stranger")
	with c.connect(1) as connection:
		connection.execute("SET ROLE stranger")
		fails("42501", connection.execute, "CREATE INDEX CONCURRENTLY ON t (b)")
	equal(c.value(1, "SELECT count(*) FROM nodedb.index_builds"), "0")


@test
def failure_on_one_node_is_named_and_undone(c):
	"""An index of that name is there already on node 3, on another table."""
	c.execute(3, "SET nodedb.replicate_ddl = off; CREATE TABLE mine (a int) USING heap; CREATE INDEX t_taken ON mine (a)")
	error = fails("55000", c.execute, 1, "CREATE INDEX CONCURRENTLY t_taken ON t (b)")
	equal("node3" in error.detail, True, str(error))
	poll("no rows are left", lambda: c.value(1, "SELECT count(*) FROM nodedb.index_builds") == "0", SECONDS)
	for i in (1, 2):
		equal(local(c, i, "SELECT to_regclass('t_taken')"), None, "node %d" % i)
	equal(local(c, 3, "SELECT indrelid::regclass FROM pg_index WHERE indexrelid = 't_taken'::regclass"), "mine")
	c.execute(3, "SET nodedb.replicate_ddl = off; DROP TABLE mine")
	c.execute(1, "CREATE INDEX CONCURRENTLY t_taken ON t (b)")
	valid_everywhere(c, "t_taken")


def waiting_for(c, reader_node, run):
	"""An open snapshot of a reader keeps the builder of that node from its end; run() meanwhile."""
	with c.connect(reader_node) as reader:
		reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL nodedb.read_consistency = local")
		reader.execute("SELECT count(*) FROM t")
		run()
		reader.execute("COMMIT")


def builds(c, i, name):
	poll("node %d builds" % i, lambda: local(c, i, "SELECT count(*) FROM pg_stat_progress_create_index WHERE index_relid = to_regclass($1)", name) == "1", SECONDS)


@test
def cancelled_one_leaves_nothing(c):
	session = Session(c, 1)
	def run():
		session.start("CREATE INDEX CONCURRENTLY t_cancelled ON t (a)")
		builds(c, 2, "t_cancelled")
		c.execute(1, "SELECT pg_cancel_backend($1)", session.pid)
		equal(session.end(), "57014")
		equal(session.value("SELECT 1"), "1")
	waiting_for(c, 2, run)
	nowhere(c, "t_cancelled")


@test
def session_that_dies_leaves_nothing(c):
	session = Session(c, 1)
	def run():
		session.start("CREATE INDEX CONCURRENTLY t_dead ON t (a)")
		builds(c, 2, "t_dead")
		c.execute(1, "SELECT pg_terminate_backend($1)", session.pid)
		session.end()
	waiting_for(c, 2, run)
	nowhere(c, "t_dead")


@test
def server_that_dies_goes_on_building(c):
	"""A node whose server is killed is waited for no longer; it makes the index when it comes back."""
	session = Session(c, 1)
	victim = next(i for i in (2, 3))
	def run():
		session.start("CREATE INDEX CONCURRENTLY t_killed ON t (a)")
		builds(c, victim, "t_killed")
	try:
		waiting_for(c, victim, lambda: (run(), c.kill(victim)))
	except Error:
		pass					# the reader went with its server
	equal(session.end(), "ok")
	c.start(victim)
	c.wait_ready()
	valid_everywhere(c, "t_killed")


@test
def schema_change_in_the_middle(c):
	"""The table is dropped while its index is built: the drop has its way, the index's session hears of it."""
	make(c, "CREATE TABLE short (id int PRIMARY KEY, a int)")
	session = Session(c, 1)
	def run():
		session.start("CREATE INDEX CONCURRENTLY short_a ON short (a)")
		builds(c, 2, "short_a")
		c.execute(3, "DROP TABLE short")
	waiting_for(c, 2, run)
	equal(session.end() in ("55000", "42P01"), True, session.outcome)
	nowhere(c, "short_a")
	for i in c:
		c.execute(i, "INSERT INTO unrelated VALUES ($1)", i)
	same_everywhere(c, "unrelated")


@test
def node_that_applies_nothing_is_not_waited_for(c):
	"""Quarantined, and connected: the session is warned of it, and it makes the index when it is mended."""
	make(c, "CREATE TABLE damaged (id int PRIMARY KEY)")
	rename = "SET allow_system_table_mods = on; UPDATE pg_class SET relname = '%s' WHERE relname = '%s'"
	c.execute(3, rename % ("mislaid", "damaged"))
	c.execute(1, "INSERT INTO damaged VALUES (1)")
	poll("quarantine of node 3", lambda: metric(c, 3, "nodedb_member_state") == 3, SECONDS)
	equal(c.value(1, "SELECT connected FROM nodedb.nodes WHERE name = 'node3'"), "t")
	for name, unique in (("t_without_3", ""), ("t_unique_without_3", "UNIQUE")):
		with c.connect(1) as connection:
			connection.execute("SET nodedb.commit_timeout = 8000")
			connection.execute("CREATE %s INDEX CONCURRENTLY %s ON t (b, id)" % (unique, name))
			equal(["node3" in notice for notice in connection.notices if notice.startswith("WARNING")], [True], str(connection.notices))
		for i in (1, 2):
			equal(is_valid(c, i, name), True, "node %d" % i)
	c.execute(3, rename % ("damaged", "mislaid"))
	c.restart(3)
	c.wait_ready()
	valid_everywhere(c, "t_without_3")
	unique_everywhere(c, "t_unique_without_3", "t", "b, id")


# ---- unique ones ----

def unique_everywhere(c, name, table, columns, nodes=None):
	"""It is valid and unique on every node, no two rows have one value there, and each node refuses one that is there already."""
	valid_everywhere(c, name)
	for i in nodes or c.running():
		equal(local(c, i, "SELECT indisunique FROM pg_index WHERE indexrelid = to_regclass($1)", name), "t", "node %d" % i)
		with c.connect(i) as connection:
			connection.execute("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off")
			equal(connection.value("SELECT count(*) FROM (SELECT FROM %s GROUP BY %s HAVING count(*) > 1) x" % (table, columns)), "0", "node %d" % i)
	same_everywhere(c, table)


def built(c, sql, node=1):
	"""A session that stands where every node has built the index, and it is no part of the schema yet."""
	session = Session(c, node, "SET nodedb.stop_at = 'index-built'")
	session.start(sql)
	stopped(c, node, "index-built", session.pid)
	return session


def in_last_step(c, sql, event, built=lambda: None):
	"""A session of node 1 that stands at this event of the last step; built(): before that step begins."""
	session = Session(c, 1, "SET nodedb.stop_at = 'index-built, %s'" % event)
	session.start(sql)
	met = None
	while met != "index-built":
		met = poll("a stop", lambda: local(c, 1, "SELECT event FROM nodedb.stop_events WHERE pid = $1", session.pid), SECONDS)
		if met == "index-built":
			built()
		release(c, 1, met)
	stopped(c, 1, event, session.pid)
	return session


@test
def unique_one_of_every_shape(c):
	make(c, "CREATE TABLE u (id int PRIMARY KEY, a int, b text, n numeric)")
	c.execute(1, "INSERT INTO u SELECT g, g, 'b' || g, g FROM generate_series(1, 3000) g")
	c.execute(2, "UPDATE u SET b = b WHERE id % 3 = 0")				# old versions are no duplicates
	c.execute(3, "INSERT INTO u VALUES (9001, NULL, 'x1', NULL), (9002, NULL, 'x2', NULL)")
	for n, (name, what) in enumerate((("u_a", "(a)"), ("u_ab", "(b, a) INCLUDE (n)"), ("u_lower", "(lower(b), (id % 2))"), ("u_part", "(n DESC) WHERE a > 7"))):
		i = n % 3 + 1
		c.execute(i, "CREATE UNIQUE INDEX CONCURRENTLY %s ON u %s" % (name, what))
		unique_everywhere(c, name, "u", "id")
	error = fails("23505", c.execute, 1, "CREATE UNIQUE INDEX CONCURRENTLY u_null ON u (n) NULLS NOT DISTINCT")
	equal(error.detail, "Key (n)=(null) is duplicated.")
	nowhere(c, "u_null")
	c.execute(2, "DELETE FROM u WHERE id = 9002")
	c.execute(3, "CREATE UNIQUE INDEX CONCURRENTLY u_null ON u (n) NULLS NOT DISTINCT")
	for i in c:
		for values in ("(10000, 5, 'new', 0.5)", "(10000, 7000, 'B77', 0.5)", "(10000, 7000, 'new', 77.00)", "(10000, 7000, 'new', NULL)"):
			fails("23505", c.execute, i, "INSERT INTO u VALUES " + values if "B77" not in values else "INSERT INTO u VALUES (10001, 7000, 'B77', 0.5)")
		c.execute(i, "INSERT INTO u VALUES ($1, NULL, 'seen', $2) ON CONFLICT (n) DO NOTHING", 20000 + i, i)
	same_schema(c)
	c.execute(2, "ALTER TABLE u ADD CONSTRAINT a_once UNIQUE USING INDEX u_a")
	same_schema(c)
	fails("23505", c.execute, 3, "INSERT INTO u VALUES (10001, 5, 'new', 0.5)")
	c.execute(1, "DROP INDEX CONCURRENTLY u_null")
	same_schema(c)


@test
def duplicates_in_the_data(c):
	make(c, "CREATE TABLE dup (id int PRIMARY KEY, a int)", "INSERT INTO dup SELECT g, g FROM generate_series(1, 100) g", "INSERT INTO dup VALUES (0, 50)")
	for i in c:
		error = fails("23505", c.execute, i, "CREATE UNIQUE INDEX CONCURRENTLY dup_a ON dup (a)")	# and the name is free again
		equal(error.detail, "Key (a)=(50) is duplicated.")
	nowhere(c, "dup_a")
	same_schema(c)
	c.execute(2, "DELETE FROM dup WHERE id = 0")
	c.execute(3, "CREATE UNIQUE INDEX CONCURRENTLY dup_a ON dup (a)")
	unique_everywhere(c, "dup_a", "dup", "a")


@test
def duplicates_while_it_is_built(c):
	"""From two nodes, when every node has the index: both rows are taken, for nothing is unique yet, and the command fails."""
	make(c, "CREATE TABLE dupb (id int PRIMARY KEY, a int)", "INSERT INTO dupb SELECT g, g FROM generate_series(1, 100) g")
	with built(c, "CREATE UNIQUE INDEX CONCURRENTLY dupb_a ON dupb (a)") as session:
		c.execute(3, "UPDATE dupb SET id = id + 2000")		# two entries of the index for each value, one of a dead row
		release(c, 1, "index-built")
		equal(session.end(), "ok")
	unique_everywhere(c, "dupb_a", "dupb", "a")
	c.execute(2, "DROP INDEX dupb_a")
	with built(c, "CREATE UNIQUE INDEX CONCURRENTLY dupb_a ON dupb (a)") as session:
		c.execute(2, "INSERT INTO dupb VALUES (1001, 1000)")
		c.execute(3, "INSERT INTO dupb VALUES (1002, 1000)")
		c.wait_caught_up()
		release(c, 1, "index-built")
		equal(session.end(), "23505")
	nowhere(c, "dupb_a")
	same_everywhere(c, "dupb")
	equal(c.value(2, "SELECT count(*) FROM dupb WHERE a = 1000"), "2")


@test
def duplicates_after_it_was_looked_at(c):
	"""The early look has passed; what comes before the reservation is seen by the second, what is open then loses."""
	make(c, "CREATE TABLE dupr (id int PRIMARY KEY, a int)", "INSERT INTO dupr SELECT g, g FROM generate_series(1, 100) g")
	with Session(c, 1, "SET nodedb.stop_at = 'index-looked'") as session:
		session.start("CREATE UNIQUE INDEX CONCURRENTLY dupr_a ON dupr (a)")
		stopped(c, 1, "index-looked", session.pid)
		c.execute(2, "INSERT INTO dupr VALUES (1001, 1000)")
		c.execute(3, "INSERT INTO dupr VALUES (1002, 1000)")
		release(c, 1, "index-looked")
		equal(session.end(), "23505")
	nowhere(c, "dupr_a")
	c.execute(2, "DELETE FROM dupr WHERE id = 1002")
	with c.connect(2) as two, c.connect(3) as three:
		# a builder would wait for them
		def write():
			two.execute("BEGIN; INSERT INTO dupr VALUES (2001, 2000)")
			three.execute("BEGIN; INSERT INTO dupr VALUES (2002, 2000)")
		with in_last_step(c, "CREATE UNIQUE INDEX CONCURRENTLY dupr_a ON dupr (a)", "before-propose", write) as session:
			fails("40001", two.execute, "COMMIT")
			fails("40001", c.execute, 2, "SET nodedb.statement_retries = 0; INSERT INTO dupr VALUES (2003, 2000)")
			fails("40001", c.execute, 3, "SET nodedb.statement_retries = 0; INSERT INTO dupr VALUES (2004, 1000)")
			release(c, 1, "before-propose")
			equal(session.end(), "ok")
		fails("40001", three.execute, "COMMIT")
	unique_everywhere(c, "dupr_a", "dupr", "a")
	for i in c:
		fails("23505", c.execute, i, "INSERT INTO dupr VALUES (2005, 1000)")


@test
def enforced_between_nodes_afterwards(c):
	with c.connect(2) as two, c.connect(3) as three:
		two.execute("BEGIN; INSERT INTO dupr VALUES (3001, 3000)")
		three.execute("BEGIN; INSERT INTO dupr VALUES (3002, 3000)")
		two.execute("COMMIT")
		fails(("40001", "23505"), three.execute, "COMMIT")
	unique_everywhere(c, "dupr_a", "dupr", "a")


@test
def writers_of_duplicates_on_every_node(c):
	"""Values from a small range, from all nodes, while the index is made again and again: it comes to be only where there is no duplicate, and then none ever comes."""
	make(c, "CREATE TABLE race (id bigserial PRIMARY KEY, a int)")
	ended, odd = threading.Event(), []

	def write(i):
		n = 0
		with c.connect(i) as connection:
			while not ended.is_set():
				n += 1
				try:
					connection.execute("INSERT INTO race (a) VALUES ($1)", (n * 7 + i * 3) % 40)
					connection.execute("DELETE FROM race WHERE a = $1", (n * 11 + i) % 40)
				except Error as error:
					if error.sqlstate not in ("40001", "23505"):
						odd.append(error)
						return
	threads = [threading.Thread(target=write, args=(i,), daemon=True) for i in c]
	for thread in threads:
		thread.start()
	outcomes = []
	try:
		for n in range(12):
			try:
				c.execute(n % 3 + 1, "CREATE UNIQUE INDEX CONCURRENTLY race_a ON race (a)")
				outcomes.append("ok")
				unique_now = [c.value(i, "SELECT count(*) FROM (SELECT FROM race GROUP BY a HAVING count(*) > 1) x") for i in c]
				equal(unique_now, ["0"] * 3)
				c.execute(n % 3 + 1, "DROP INDEX race_a")
			except Error as error:
				if error.sqlstate not in ("23505", "40001"):
					raise
				outcomes.append(error.sqlstate)
				poll("no rows are left", lambda: c.value(1, "SELECT count(*) FROM nodedb.index_builds") == "0", SECONDS)
			if n % 3 == 2:
				poll("the duplicates to be gone", lambda: c.execute(1, "DELETE FROM race") or True, SECONDS)
	finally:
		ended.set()
		for thread in threads:
			thread.join(SECONDS)
	equal(odd, [])
	poll("no rows are left", lambda: c.value(1, "SELECT count(*) FROM nodedb.index_builds") == "0", SECONDS)
	c.execute(2, "DELETE FROM race WHERE id NOT IN (SELECT min(id) FROM race GROUP BY a)")
	c.execute(3, "CREATE UNIQUE INDEX CONCURRENTLY race_a ON race (a)")
	unique_everywhere(c, "race_a", "race", "a")


@test
def origin_dies_before_it_is_in_the_log(c):
	make(c, "CREATE TABLE dies (id int PRIMARY KEY, a int)", "INSERT INTO dies SELECT g, g FROM generate_series(1, 100) g")
	for event in ("index-built", "index-looked", "reserved"):
		with Session(c, 1, "SET nodedb.stop_at = '%s'" % event) as session:
			session.start("CREATE UNIQUE INDEX CONCURRENTLY dies_a ON dies (a)")
			stopped(c, 1, event, session.pid)
			c.kill(1)
			poll("a row on node 2", lambda: c.execute(2, "INSERT INTO dies SELECT max(id) + 1, 5 FROM dies") or True, SECONDS)
			session.end()
		c.start(1)
		c.wait_ready()
		nowhere(c, "dies_a")
		c.execute(3, "DELETE FROM dies WHERE id > 100")
	same_schema(c)
	same_everywhere(c, "dies")


@test
def origin_dies_when_it_is_in_the_log(c):
	"""It finds its own entry in the log, as the others do."""
	for n, event in enumerate(("granted", "in-turn", "before-advance")):
		with in_last_step(c, "CREATE UNIQUE INDEX CONCURRENTLY dies_%d ON dies ((a + %d))" % (n, n), event) as session:
			c.kill(1)
			session.end()
		poll("a value is refused", lambda: fails(("23505", "40001", "40003", "57P03"), c.execute, 2, "INSERT INTO dies VALUES (200, 5)").sqlstate == "23505", SECONDS)
		c.start(1)
		c.wait_ready()
		unique_everywhere(c, "dies_%d" % n, "dies", "a")
		fails("23505", c.execute, 1, "INSERT INTO dies VALUES (200, 5)")


@test
def a_node_is_away(c):
	"""It makes the index at that place of the log, behind rows that came before it and in front of those that came after."""
	make(c, "CREATE TABLE away (id int PRIMARY KEY, a int)", "INSERT INTO away SELECT g, g FROM generate_series(1, 1000) g")
	c.kill(3)
	with built(c, "CREATE UNIQUE INDEX CONCURRENTLY away_a ON away (a)") as session:
		c.execute(2, "INSERT INTO away VALUES (2000, 5)")
		c.execute(2, "DELETE FROM away WHERE id = 5")
		release(c, 1, "index-built")
		equal(session.end(), "ok")
	c.execute(2, "INSERT INTO away VALUES (5, 2000)")
	c.start(3)
	c.wait_ready()
	unique_everywhere(c, "away_a", "away", "a")
	fails("23505", c.execute, 3, "INSERT INTO away VALUES (5000, 5)")


@test
def another_index_of_that_name_is_not_marked(c):
	"""On node 3 somebody has put another one in its place meanwhile: it is made anew there. And IF NOT EXISTS by itself makes nothing unique."""
	with built(c, "CREATE UNIQUE INDEX CONCURRENTLY away_b ON away ((a + 1))") as session:
		c.execute(3, "SET nodedb.replicate_ddl = off; DROP INDEX away_b; CREATE INDEX away_b ON away ((a %% 2))".replace("%%", "%"))
		release(c, 1, "index-built")
		equal(session.end(), "ok")
	unique_everywhere(c, "away_b", "away", "a")
	same_schema(c)
	c.execute(1, "CREATE INDEX away_c ON away ((id / 100))")
	c.execute(1, "CREATE UNIQUE INDEX IF NOT EXISTS away_c ON away ((id / 100))")
	same_schema(c)
	for i in c:
		equal(local(c, i, "SELECT indisunique FROM pg_index WHERE indexrelid = 'away_c'::regclass"), "f", "node %d" % i)


@test
def node_that_joins_later_has_it(c):
	i = c.add()
	c.wait_caught_up()
	for name in ("t_by_1", "t_while", "t_killed", "dup_a", "away_a"):
		equal(is_valid(c, i, name), True, name)
	unique_everywhere(c, "dup_a", "dup", "a")
	same_schema(c)


main()
