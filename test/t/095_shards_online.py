#!/usr/bin/env python3
"""A table is spread over shards, spread anew and gathered while all nodes write to it: each node prepares the rows beside its writers, only the exchange of files takes the table. Contents
are compared between nodes and with a model; nodes, builders and sessions that end in the middle leave nothing."""
import itertools
import random
import threading

from harness import *
from scenario import *

ROWS = 300000

setup(nodes=3, conf=["nodedb.shard_online_size = 0", "nodedb.commit_timeout = 20000", "nodedb.statement_retries = 0", "autovacuum_naptime = 1"], init_options="data_groups => 3")


def builds(c, i=1):
	with c.connect(i, consistency="local") as connection:
		return connection.execute("SELECT node_id, state, rows_copied, passes FROM nodedb.shard_builds ORDER BY node_id")


def nothing_is_left(c):
	poll("no rows are left", lambda: builds(c) == [], SECONDS)
	for i in c.running():
		poll("no builder is left on node %d" % i, lambda: local(c, i, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'nodedb shard builder'") == "0", SECONDS)
		poll("no table is left on node %d" % i, lambda: local(c, i, "SELECT count(*) FROM pg_class WHERE starts_with(relname, 'shard_build_')") == "0", SECONDS)


def lost_files(c, i):
	"""Files with something in them that belong to no relation of the database."""
	return int(local(c, i, "SELECT count(*) FROM (SELECT f, 'base/' || d.oid || '/' || f AS path FROM pg_database d, pg_ls_dir('base/' || d.oid) f"
						   " WHERE datname = current_database() AND f ~ '^[0-9]+$') x WHERE (pg_stat_file(path)).size > 0"
						   " AND NOT EXISTS (SELECT FROM pg_class WHERE pg_relation_filenode(oid) = f::oid)"))


def ways(c, i, table):
	"""How often node i has exchanged files, and how often copied rows under the lock, for this table: its log says so."""
	log = c.log(i)
	return log.count('table "%s" has taken the files that were prepared' % table), log.count('table "%s" has been copied under its lock' % table)


@test
def smoke(c):
	make(c, "CREATE TABLE t (id int PRIMARY KEY, gone int, a int, b text)", "INSERT INTO t SELECT g, g, g, repeat(md5(g::text), CASE WHEN g % 100 = 0 THEN 300 ELSE 1 END) FROM generate_series(1, 20000) g",
		 "ALTER TABLE t DROP COLUMN gone, ADD COLUMN late int DEFAULT 5", "CREATE INDEX t_a ON t (a)", "CREATE UNIQUE INDEX t_u ON t (a, id) WHERE a > 5", "CREATE INDEX t_e ON t (lower(b))")
	rows = c.digest(1, "t")
	for n_ways, command in enumerate(("create_distributed_table('t', 'id', 4)", "change_shard_count('t', 3)", "undistribute_table('t')"), 1):
		c.execute(2, "SELECT nodedb." + command)
		c.wait_caught_up()
		for i in c:
			equal(c.digest(i, "t"), rows, command)
		nothing_is_left(c)
		same_schema(c)
		poll("autovacuum knows of the rows", lambda: int(local(c, 2, "SELECT sum(n_live_tup) FROM pg_stat_user_tables WHERE relname LIKE CASE WHEN %d < 3 THEN 't\\__' ELSE 't' END"
															   % n_ways)) > 15000, SECONDS)
		for i in c:
			equal(ways(c, i, "t"), (n_ways, 0), command)
			with c.connect(i) as connection:
				connection.execute("SET enable_seqscan = off")
				for n in (1, 100, 20000):
					equal(connection.value("SELECT count(*) FROM t WHERE a = %d AND id = a AND late = 5 AND length(b) > 10" % n), "1")
					equal(connection.value("SELECT id FROM t WHERE lower(b) = (SELECT lower(b) FROM t WHERE id = %d)" % n), str(n))
		c.execute(1, "UPDATE t SET b = b || 'x' WHERE id % 50 = 0")
		c.execute(3, "INSERT INTO t SELECT max(id) + 1, 1, 'new' FROM t")
		c.wait_caught_up()
		rows = c.digest(1, "t")


# ---- writers on all nodes ----

class Writer(threading.Thread):
	"""Keeps a model of the rows that it owns: what a commit was acknowledged for is there, what failed is not."""

	def __init__(self, c, node, number):
		super().__init__(daemon=True)
		self.c, self.node, self.number = c, node, number
		self.random = random.Random(number)
		self.rows = {}			# id: (value, number of children)
		self.next = 10000000 * (number + 1)
		self.commits = self.lost = 0
		self.ended = threading.Event()
		self.odd = None

	def run(self):
		try:
			with self.c.connect(self.node) as connection:
				while not self.ended.is_set():
					self.step(connection)
		except Exception as error:		# shown by the test
			self.odd = error

	def new_id(self):
		self.next += 1
		return self.next

	def step(self, connection):
		rows, what = dict(self.rows), self.random.randrange(8)
		mine = self.random.choice(list(rows)) if rows else None
		commands = []

		def insert(id):
			size = 3000 if self.random.randrange(10) == 0 else 1
			rows[id] = ("v%d" % self.random.randrange(1000), 0)
			commands.append("INSERT INTO main (id, n, p, writer, v, big) VALUES (%d, %d, %d, %d, '%s', (SELECT string_agg(md5(g::text), '') FROM generate_series(1, %d) g))"
							% (id, id, self.random.randrange(1, 100), self.number, rows[id][0], size // 30 + 1))
		if mine is None or what < 3:
			insert(self.new_id())
			insert(self.new_id())
		elif what == 3:
			id = self.new_id()		# moves between shards, and the children with it
			commands.append("UPDATE main SET id = %d, n = %d WHERE id = %d" % (id, id, mine))
			rows[id] = rows.pop(mine)
		elif what == 4:
			commands.append("DELETE FROM main WHERE id = %d" % mine)
			del rows[mine]
		elif what == 5:
			value = "u%d" % self.random.randrange(1000)
			commands += ["SELECT * FROM main WHERE id = %d FOR UPDATE" % mine, "SAVEPOINT a", "UPDATE main SET v = 'never' WHERE id = %d" % mine, "ROLLBACK TO a",
						 "UPDATE main SET v = '%s' WHERE id = %d" % (value, mine), "SAVEPOINT b", "DELETE FROM main WHERE id = %d" % mine, "ROLLBACK TO b"]
			rows[mine] = (value, rows[mine][1])
		elif what == 6:
			commands.append("INSERT INTO child (main, what) VALUES (%d, 'c')" % mine)
			rows[mine] = (rows[mine][0], rows[mine][1] + 1)
		else:
			commands += ["UPDATE main SET v = v WHERE id = %d" % mine, "UPDATE main SET n = -id WHERE id = %d" % mine, "UPDATE main SET n = id WHERE id = %d" % mine]
		try:
			connection.execute("BEGIN; " + "; ".join(commands) + "; COMMIT")
			self.rows = rows
			self.commits += 1
		except Error as error:
			connection.execute("ROLLBACK")
			if error.sqlstate != "40001":
				raise
			self.lost += 1

	def check(self, c):
		for i in c:
			with c.connect(i) as connection:
				got = {int(id): (v, int(n)) for id, v, n in connection.execute(
					"SELECT id, v, (SELECT count(*) FROM child WHERE main = id) FROM main WHERE writer = $1", self.number)}
				if got != self.rows:
					raise AssertionError("node %d, writer %d: %r" % (i, self.number, [(id, got.get(id), self.rows.get(id)) for id in set(got) | set(self.rows)
																					  if got.get(id) != self.rows.get(id)][:5]))


numbers = itertools.count(1)


class Writers:
	def __init__(self, c):
		self.c = c
		self.all = [Writer(c, i, next(numbers)) for i in c for n in range(2)]

	def __enter__(self):
		for writer in self.all:
			writer.start()
		self.progress(5)
		return self

	def commits(self):
		odd = [writer.odd for writer in self.all if writer.odd]
		if odd:
			raise odd[0]
		return [writer.commits for writer in self.all]

	def progress(self, n):
		"""Each of them commits so many more."""
		before = self.commits()
		poll("commits of all writers", lambda: all(now >= then + n for now, then in zip(self.commits(), before)), SECONDS * 2)

	def __exit__(self, *_):
		for writer in self.all:
			writer.ended.set()
		for writer in self.all:
			writer.join(SECONDS)

	def check(self):
		self.commits()
		same_everywhere(self.c, "main", "child", "parent")
		for writer in self.all:
			writer.check(self.c)


@test
def big_tables_are_made(c):
	make(c, "CREATE TABLE parent (k int PRIMARY KEY)", "INSERT INTO parent SELECT generate_series(0, 100)",
		 "CREATE TABLE main (id bigint PRIMARY KEY, gone text, n bigint, p int REFERENCES parent, writer int, v text, big text, UNIQUE (n, id))", "ALTER TABLE main DROP COLUMN gone",
		 "CREATE INDEX main_writer ON main (writer)", "CREATE INDEX main_v ON main (lower(v)) WHERE n > 0", "CREATE TABLE child (main bigint REFERENCES main ON UPDATE CASCADE ON DELETE CASCADE, what text)",
		 "CREATE INDEX ON child (main)")
	c.execute(1, "INSERT INTO main (id, n, p, writer, v, big) SELECT g, g, g % 100, 0, 'v' || g % 1000, CASE WHEN g % 1000 = 0 THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100) i) END"
			  " FROM generate_series(1, {}) g".format(ROWS))
	c.execute(2, "INSERT INTO child SELECT g, 'old' FROM generate_series(1, {}, 100) g".format(ROWS))
	same_everywhere(c, "main", "child")


COMMANDS = ("create_distributed_table('main', 'id', 4)", "change_shard_count('main', 3)", "undistribute_table('main')")


@test
def all_nodes_write_meanwhile(c):
	"""Commits of all of them fall between the beginning and the end of the copy, nobody hears anything but 40001, and all rows are where they belong."""
	for n, command in enumerate(COMMANDS, 1):
		with Writers(c) as writers, Session(c, n % 3 + 1) as session:
			stop_applier(c, 2, "shards-copied")
			try:
				session.start("SELECT nodedb." + command)
				stopped(c, 2, "shards-copied")
				writers.progress(10)
			finally:
				stop_applier(c, 2, "")
			release(c, 2, "shards-copied")
			equal(session.end(SECONDS * 4), "ok", command)
			writers.progress(5)
		writers.check()
		nothing_is_left(c)
		for i in c:
			equal(ways(c, i, "main"), (n, 0), "%s on node %d" % (command, i))
		same_schema(c)
		for i in c:
			with c.connect(i) as connection:
				by_index = "SET enable_seqscan = off; SET enable_bitmapscan = off"
				connection.execute(by_index)
				one = connection.execute("SELECT count(*), sum(id) FROM main WHERE writer >= 0")
				connection.execute("RESET enable_seqscan; SET enable_indexscan = off; SET enable_indexonlyscan = off")
				equal(connection.execute("SELECT count(*), sum(id) FROM main WHERE writer >= 0"), one)
				fails("23505", connection.execute, "INSERT INTO main (id, n) VALUES (1, 1)")
				fails("23503", connection.execute, "INSERT INTO child VALUES (-1)")
				fails("23503", connection.execute, "INSERT INTO main (id, p) VALUES (-1, 1000)")


@test
def what_is_open_during_the_copy(c):
	"""Transactions that have changed pages before the copy begins, and end behind it, without touching the pages again: committed, rolled back, in part."""
	make(c, "CREATE TABLE slow (id int PRIMARY KEY, v text)", "INSERT INTO slow SELECT g, 'v' FROM generate_series(1, 30000) g")
	for n, command in enumerate(("create_distributed_table('slow', 'id', 4)", "change_shard_count('slow', 2)", "undistribute_table('slow')"), 1):
		with c.connect(1) as one, c.connect(1) as undone, c.connect(3) as three, Session(c, 2, "SET nodedb.stop_at = 'shards-ready'") as session:
			one.execute("BEGIN; UPDATE slow SET v = 'one' WHERE id % 1000 = {0}; DELETE FROM slow WHERE id % 1000 = {0} + 10; SAVEPOINT a; DELETE FROM slow WHERE id % 1000 = {0} + 20;"
						" ROLLBACK TO a; SAVEPOINT b; INSERT INTO slow SELECT g * 10 + {0}, 'new' FROM generate_series(10000, 10100) g; RELEASE b;"
						" SELECT * FROM slow WHERE id % 1000 = {0} + 30 FOR UPDATE".format(n))
			undone.execute("BEGIN; UPDATE slow SET v = 'undone', id = id + 500000 WHERE id % 1000 = {0} + 40; DELETE FROM slow WHERE id % 1000 = {0} + 50;"
						   " INSERT INTO slow SELECT g * 10 + {0}, 'undone' FROM generate_series(20000, 20100) g".format(n))
			three.execute("BEGIN; SELECT * FROM slow WHERE id % 1000 = {0} + 60 FOR SHARE; UPDATE slow SET v = 'three' WHERE id % 1000 = {0} + 70".format(n))
			session.start("SELECT nodedb." + command)
			stopped(c, 2, "shards-ready", session.pid)
			one.execute("COMMIT")
			undone.execute("ROLLBACK")
			three.execute("COMMIT")
			c.wait_caught_up()
			rows = c.digest(1, "slow")
			release(c, 2, "shards-ready")
			equal(session.end(), "ok")
		c.wait_caught_up()
		for i in c:
			equal(c.digest(i, "slow"), rows, "%s on node %d" % (command, i))
			equal(ways(c, i, "slow"), (n, 0), "%s on node %d" % (command, i))
		nothing_is_left(c)


# ---- what ends in the middle ----

def in_the_middle(c, node, sql, stops, settings=()):
	"""A session of this node, whose command stands where the builders of these nodes have copied the rows."""
	for i in stops:
		stop_applier(c, i, "shards-copied")
	session = Session(c, node, *settings)
	session.start(sql)
	for i in stops:
		stopped(c, i, "shards-copied")
	return session


def go_on(c, stops):
	for i in stops:
		stop_applier(c, i, "")
		release(c, i, "shards-copied")


@test
def cancelled_one_leaves_nothing(c):
	rows = c.digest(1, "main")
	session = in_the_middle(c, 1, "SELECT nodedb.create_distributed_table('main', 'id', 4)", (1, 2))
	c.execute(1, "SELECT pg_cancel_backend($1)", session.pid)
	equal(session.end(), "57014")
	for i in (1, 2):
		stop_applier(c, i, "")
	nothing_is_left(c)
	equal([c.value(i, "SELECT relkind FROM pg_class WHERE oid = 'main'::regclass") for i in c], ["r"] * 3)
	session = in_the_middle(c, 1, "SELECT nodedb.create_distributed_table('main', 'id', 4)", (2,))
	c.execute(1, "SELECT pg_terminate_backend($1)", session.pid)
	session.end()
	stop_applier(c, 2, "")
	nothing_is_left(c)
	equal(c.digest(2, "main"), rows)


@test
def builder_that_is_ended_begins_anew(c):
	before = [ways(c, i, "main") for i in c]
	with in_the_middle(c, 1, "SELECT nodedb.create_distributed_table('main', 'id', 4)", (1, 2)) as session:
		for i in (1, 2):
			stop_applier(c, i, "")
			local(c, i, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'nodedb shard builder'")
		equal(session.end(SECONDS * 2), "ok")
	c.wait_caught_up()
	equal([ways(c, i, "main") for i in c], [(a + 1, b) for a, b in before])
	nothing_is_left(c)
	same_everywhere(c, "main", *["main_%d" % i for i in range(4)])
	c.execute(3, "SELECT nodedb.undistribute_table('main')")
	same_everywhere(c, "main", "child")


@test
def node_that_dies_copies_when_it_is_back(c):
	before = ways(c, 3, "main")
	with in_the_middle(c, 1, "SELECT nodedb.create_distributed_table('main', 'id', 4)", (3,)) as session:
		c.kill(3)
		equal(session.end(SECONDS * 2), "ok")
	c.execute(2, "UPDATE main SET v = 'while 3 was away' WHERE id % 5000 = 0")
	c.start(3)
	c.wait_ready()
	stop_applier(c, 3, "")
	same_everywhere(c, "main", *["main_%d" % i for i in range(4)])
	equal(ways(c, 3, "main"), (before[0], before[1] + 1))
	nothing_is_left(c)
	poll("the files of the copy are gone", lambda: lost_files(c, 3) == 0, SECONDS)
	same_schema(c)


@test
def node_that_applies_nothing_is_not_waited_for(c):
	"""Quarantined, and connected: the session is warned of it, and it follows when it is mended."""
	make(c, "CREATE TABLE damaged (id int PRIMARY KEY)", "CREATE TABLE goes (id int PRIMARY KEY)", "INSERT INTO goes SELECT generate_series(1, 1000)")
	rename = "SET allow_system_table_mods = on; UPDATE pg_class SET relname = '%s' WHERE relname = '%s'"
	c.execute(3, rename % ("mislaid", "damaged"))
	c.execute(1, "INSERT INTO damaged VALUES (1)")
	poll("quarantine of node 3", lambda: metric(c, 3, "nodedb_member_state") == 3, SECONDS)
	with c.connect(1) as connection:
		connection.execute("SET nodedb.commit_timeout = 8000")
		connection.execute("SELECT nodedb.create_distributed_table('goes', 'id', 3)")
		equal(["node3" in notice for notice in connection.notices if notice.startswith("WARNING")], [True], str(connection.notices))
	c.execute(3, rename % ("damaged", "mislaid"))
	c.restart(3)
	c.wait_ready()
	same_everywhere(c, "goes", "goes_0", "goes_1", "goes_2")
	equal([ways(c, i, "goes") for i in (1, 2)], [(1, 0)] * 2)
	equal(sum(ways(c, 3, "goes")), 1)		# of a small table its builder may be as fast as its applier
	nothing_is_left(c)


@test
def session_whose_server_dies_leaves_nothing(c):
	"""Also when its builder has committed what it was about to take."""
	for event in ("shards-ready", "shards-taken"):
		with Session(c, 1, "SET nodedb.stop_at = '%s'" % event) as session:
			session.start("SELECT nodedb.change_shard_count('main', 2)")
			stopped(c, 1, event, session.pid)
			if event == "shards-taken":
				equal(local(c, 1, "SELECT count(*) FROM pg_class WHERE starts_with(relname, 'shard_build_') AND relkind = 'r'"), "2")
			c.kill(1)
			session.end()
		c.start(1)
		c.wait_ready()
		nothing_is_left(c)
		equal(c.value(1, "SELECT count(*) FROM nodedb.shards WHERE table_name = 'main'::regclass"), "4")
		same_everywhere(c, "main", *["main_%d" % i for i in range(4)])


@test
def switch_that_fails_leaves_nothing(c):
	"""The session is cancelled when its builder has committed: the prepared tables are dropped, and the next one goes through."""
	with Session(c, 1, "SET nodedb.stop_at = 'shards-taken'") as session:
		session.start("SELECT nodedb.change_shard_count('main', 2)")
		stopped(c, 1, "shards-taken", session.pid)
		c.execute(1, "SELECT pg_cancel_backend($1)", session.pid)
		equal(session.end(), "57014")
	nothing_is_left(c)
	c.execute(1, "SELECT nodedb.change_shard_count('main', 2)")
	same_everywhere(c, "main", "main_0", "main_1")
	c.execute(1, "SELECT nodedb.undistribute_table('main')")
	same_everywhere(c, "main", "child")


@test
def schema_change_in_the_middle(c):
	"""It has its way, whichever node it comes from; what was prepared begins anew, or the rows are copied under the lock. An index that is made in between is built at the switch."""
	rows = c.digest(1, "main")[0]
	with Session(c, 1, "SET nodedb.stop_at = 'shards-ready'") as session:
		session.start("SELECT nodedb.create_distributed_table('main', 'id', 4)")
		stopped(c, 1, "shards-ready", session.pid)
		c.execute(1, "ALTER TABLE main ADD COLUMN later int DEFAULT 7")
		release(c, 1, "shards-ready")
		equal(session.end(SECONDS * 2), "ok")
	equal(c.value(2, "SELECT DISTINCT later FROM main"), "7")
	same_everywhere(c, "main", "main_0")
	with Session(c, 1, "SET nodedb.stop_at = 'shards-ready'") as session:
		session.start("SELECT nodedb.undistribute_table('main')")
		stopped(c, 1, "shards-ready", session.pid)
		c.execute(3, "ALTER TABLE main DROP COLUMN later")
		release(c, 1, "shards-ready")
		equal(session.end(SECONDS * 2), "ok")
	nothing_is_left(c)
	same_schema(c)
	before = ways(c, 3, "main")
	for command in ("create_distributed_table('main', 'id', 4)", "undistribute_table('main')"):
		with Session(c, 1, "SET nodedb.stop_at = 'shards-ready'") as session:
			session.start("SELECT nodedb." + command)
			stopped(c, 1, "shards-ready", session.pid)
			c.execute(2, "CREATE INDEX main_p ON main (p)")
			release(c, 1, "shards-ready")
			equal(session.end(SECONDS * 2), "ok")
		c.wait_caught_up()
		for i in c:
			with c.connect(i) as connection:
				rows_by_scan = connection.execute("SELECT count(*), sum(id) FROM main WHERE p + 0 = 7")
				connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
				equal(connection.execute("SELECT count(*), sum(id) FROM main WHERE p = 7"), rows_by_scan, "node %d" % i)
		same_schema(c)
		c.execute(3, "DROP INDEX main_p")
	equal(ways(c, 3, "main"), (before[0] + 2, before[1]))
	same_everywhere(c, "main", "child")
	equal(c.digest(2, "main")[0], rows)
	make(c, "CREATE TABLE vanishes (id int PRIMARY KEY)")
	with Session(c, 1, "SET nodedb.stop_at = 'shards-ready'") as session:
		session.start("SELECT nodedb.create_distributed_table('vanishes', 'id', 2)")
		stopped(c, 1, "shards-ready", session.pid)
		c.execute(3, "DROP TABLE vanishes")
		release(c, 1, "shards-ready")
		equal(session.end(), "42P01")
	nothing_is_left(c)


@test
def who_waits_for_the_table_gets_it(c):
	"""The builder gives way to LOCK TABLE, and to VACUUM FULL, which has no record in the log, and begins anew."""
	make(c, "CREATE TABLE wanted (id int PRIMARY KEY)", "INSERT INTO wanted SELECT generate_series(1, 1000)")
	with Session(c, 1, "SET nodedb.stop_at = 'shards-ready'") as session:
		session.start("SELECT nodedb.create_distributed_table('wanted', 'id', 2)")
		stopped(c, 1, "shards-ready", session.pid)
		c.execute(2, "VACUUM FULL wanted")
		c.execute(3, "BEGIN; LOCK TABLE wanted; COMMIT")
		poll("node 2 is ready again", lambda: [row[1] for row in builds(c)] == ["ready"] * 3, SECONDS)
		release(c, 1, "shards-ready")
		equal(session.end(), "ok")
	same_everywhere(c, "wanted", "wanted_0", "wanted_1")
	equal([sum(ways(c, i, "wanted")) for i in c], [1] * 3)
	nothing_is_left(c)


@test
def node_that_cannot_is_named(c):
	"""Here: there is no room for the map. Nothing has changed anywhere."""
	c.execute(3, "ALTER SYSTEM SET temp_file_limit = '1MB'")
	c.execute(3, "SELECT pg_reload_conf()")
	try:
		error = fails("55000", c.execute, 1, "SELECT nodedb.create_distributed_table('main', 'id', 4)")
		equal("node3" in error.detail and "temp_file_limit" in error.detail, True, str(error))
	finally:
		c.execute(3, "ALTER SYSTEM RESET temp_file_limit")
		c.execute(3, "SELECT pg_reload_conf()")
	nothing_is_left(c)
	equal([c.value(i, "SELECT relkind FROM pg_class WHERE oid = 'main'::regclass") for i in c], ["r"] * 3)


@test
def where_the_rows_are_copied_under_the_lock(c):
	"""In a transaction block, above READ COMMITTED, and small tables; sessions that want it at once stand in line."""
	make(c, "CREATE TABLE few (id int PRIMARY KEY)", "INSERT INTO few SELECT generate_series(1, 1000)")
	with c.connect(1) as one:
		one.execute("BEGIN; SELECT nodedb.create_distributed_table('few', 'id', 2); COMMIT")
		one.execute("SET default_transaction_isolation = 'repeatable read'; SELECT nodedb.change_shard_count('few', 3)")
		one.execute("RESET default_transaction_isolation; SET nodedb.shard_online_size = '1MB'; SELECT nodedb.undistribute_table('few')")
	c.wait_caught_up()
	for i in c:
		equal(ways(c, i, "few"), (0, 3), "node %d" % i)
	make(c, "CREATE TABLE line_1 (id int PRIMARY KEY)", "CREATE TABLE line_2 (id int PRIMARY KEY)", "CREATE TABLE line_3 (id int PRIMARY KEY)")
	sessions = [Session(c, n % 2 + 1).start("SELECT nodedb.create_distributed_table('line_%d', 'id', 2)" % n) for n in (1, 2, 3)]
	equal([session.end(SECONDS * 2) for session in sessions], ["ok"] * 3)
	c.wait_caught_up()
	for i in c:
		equal([ways(c, i, "line_%d" % n) for n in (1, 2, 3)], [(1, 0)] * 3, "node %d" % i)
	nothing_is_left(c)
	same_schema(c)


main()
