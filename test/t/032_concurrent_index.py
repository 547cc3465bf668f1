#!/usr/bin/env python3
"""CREATE INDEX CONCURRENTLY on distributed tables: every node builds beside its writers, and the log makes it a part of the schema."""
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
	fails("0A000", c.execute, 1, "CREATE UNIQUE INDEX CONCURRENTLY ON t (b)")
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
def node_that_joins_later_has_it(c):
	i = c.add()
	c.wait_caught_up()
	for name in ("t_by_1", "t_while", "t_killed"):
		equal(is_valid(c, i, name), True, name)


main()
