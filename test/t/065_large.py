#!/usr/bin/env python3
"""Large transactions: other nodes replay them ahead of their turn (src/pg/worker/bulk.c), so nobody waits; and whatever happens to that, all nodes hold the same.

Rows are of about 1 kB, so 12,000 of them are 12 pieces in the log.
"""
import os
import signal
import threading

from harness import *
from scenario import *
import cluster

ROWS = 12000
MB = 12
INSERT = "INSERT INTO large SELECT g, -g, repeat(md5(g::text), 30) FROM generate_series(%%d, %%d + %d) g" % (ROWS - 1)
UPDATE = "UPDATE large SET n = n + 1, pad = pad || 'x' WHERE id <= %d" % ROWS
# A statement that is told of a conflict is not run again, and the origin waits for the others as long as it takes.
SETTINGS = ("SET nodedb.statement_retries = 0", "SET nodedb.bulk_wait = '10min'")

setup(nodes=3, conf=["shared_buffers = 16MB", "nodedb.log_cache = 4", "nodedb.commit_timeout = 30000"])

_next = [1]


def new_rows(c):
	"""First id of rows that no test has used; what earlier ones left goes, so that tables are compared quickly."""
	c.execute(1, "DELETE FROM large WHERE id > %d" % ROWS)
	_next[0] += ROWS
	return _next[0]


def count(c, node, first):
	"""Of the rows of one insertion, as the node's tables show them now."""
	return int(local(c, node, "SELECT count(*) FROM large WHERE id BETWEEN %d AND %d" % (first, first + ROWS - 1)))


def applied(c, node):
	return metric(c, node, "nodedb_bulk_applied_total")


def given_up(c, node):
	return metric(c, node, "nodedb_bulk_given_up_total")


def replayed(c, node):
	"""What the node's status says of a large transaction."""
	lines = [line for line in local(c, node, "SELECT nodedb.status()").splitlines() if line.startswith("large transaction of node")]
	return lines[0].split(": ")[1] if lines else None


def idle(c, *nodes):
	for i in nodes or c:
		poll("the bulk appliers of node %d to be free" % i, lambda: replayed(c, i) is None, SECONDS)


def prepared(c, session, sql, event="before-propose", nodes=(2, 3)):
	"""A session of node 1 is about to propose; the other nodes have replayed all of it."""
	session.execute("SET nodedb.stop_at = '%s'" % event)
	session.start(sql)
	stopped(c, session.node, event, session.pid)
	for i in nodes:
		equal(replayed(c, i), "%d of %d MB that have come are replayed" % (MB, MB), "status of node %d" % i)


def judged(c, *tables):
	idle(c)
	goes_on(c, "small", *c)
	same_everywhere(c, "large", *tables)


@test
def tables_are_made(c):
	make(c, "CREATE TABLE large (id int PRIMARY KEY, n int UNIQUE DEFERRABLE, pad text)", "CREATE TABLE small (id bigint PRIMARY KEY, n int)")
	c.execute(1, INSERT % (1, 1))
	judged(c)


@test
def others_commit_while_it_is_replayed(c):
	"""Node 2 has not begun to replay it, and node 3 has: everybody's commits pass, and are seen everywhere."""
	first = new_rows(c)
	before = {i: applied(c, i) for i in (2, 3)}
	stop_applier(c, 2, "bulk-read")
	with Session(c, 1, *SETTINGS) as session:
		session.start(INSERT % (first, first))
		stopped(c, 2, "bulk-read")
		poll("node 3 to have replayed it", lambda: replayed(c, 3) == "%d of %d MB that have come are replayed" % (MB, MB), SECONDS)
		goes_on(c, "small", *c)
		for i in c:
			c.execute(i, "INSERT INTO large (id) VALUES (%d)" % (9000000 + i))
			equal([c.value(j, "SELECT count(*) FROM large WHERE id = %d" % (9000000 + i)) for j in c], ["1"] * 3)
			equal(count(c, i, first), 0, "rows that node %d shows" % i)
		equal(session.busy(), True, "the origin waits for node 2")
		stop_applier(c, 2, "")
		release(c, 2, "bulk-read")
		equal(session.end(), "ok")
	judged(c)
	for i in (2, 3):
		equal(applied(c, i), before[i] + 1, "large transactions that node %d replayed ahead" % i)
		equal(count(c, i, first), ROWS)


@test
def rolled_back_where_it_was_replayed(c):
	"""Cancelled by its client when all nodes have replayed it; then the same rows once more."""
	first = new_rows(c)
	before = {i: (applied(c, i), given_up(c, i)) for i in (2, 3)}
	with Session(c, 1, *SETTINGS) as session:
		prepared(c, session, INSERT % (first, first))
		session.connection.cancel()
		equal(session.end(), "57014")
	judged(c)
	for i in (2, 3):
		equal((applied(c, i), given_up(c, i)), (before[i][0], before[i][1] + 1), "counters of node %d" % i)
		equal(count(c, i, first), 0)
	with Session(c, 1, *SETTINGS) as session:
		equal(session.start(INSERT % (first, first)).end(), "ok")
	judged(c)
	for i in (2, 3):
		equal(applied(c, i), before[i][0] + 1)


@test
def gives_way_to_an_earlier_entry(c):
	"""
	Node 3 has replayed it and holds its rows, node 2 has not. A change of one row commits on node 2: node 3 must show it before the large transaction is
	heard of again, which loses.
	"""
	before = given_up(c, 3)
	stop_applier(c, 2, "bulk-read")
	with Session(c, 1, *SETTINGS) as session:
		session.execute("SET nodedb.bulk_wait = 0")
		session.execute("SET nodedb.stop_at = 'before-propose'")
		session.start(UPDATE)
		stopped(c, 1, "before-propose", session.pid)
		poll("node 3 to have replayed it", lambda: replayed(c, 3) == "%d of %d MB that have come are replayed" % (MB, MB), SECONDS)
		c.execute(2, "UPDATE large SET pad = 'won' WHERE id = 77")
		poll("the change on node 3", lambda: local(c, 3, "SELECT pad FROM large WHERE id = 77") == "won", SECONDS)
		equal(given_up(c, 3), before + 1, "large transactions that node 3 gave up")
		equal(session.busy(), True)
		release(c, 1, "before-propose")
		equal(session.end(), "40001")
	stop_applier(c, 2, "")
	release(c, 2, "bulk-read")
	judged(c)
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM large WHERE id <= %d AND pad LIKE '%%x'" % ROWS), "0")


@test
def begins_when_what_the_origin_had_seen_is_there(c):
	"""Node 2 has not applied an earlier change of one of the rows: nothing is replayed ahead of that."""
	before = applied(c, 2), given_up(c, 2)
	stop_applier(c, 2, "apply-read")
	with Session(c, 1, *SETTINGS) as session:
		c.execute(1, "UPDATE large SET pad = 'seen' WHERE id = 88")
		stopped(c, 2, "apply-read")
		session.start(UPDATE)
		poll("node 3 to have replayed it", lambda: replayed(c, 3) == "%d of %d MB that have come are replayed" % (MB, MB), SECONDS)
		poll("all of it to come to node 2", lambda: replayed(c, 2) == "0 of %d MB that have come are replayed" % MB, SECONDS)
		goes_on(c, "small", 1, 3)
		equal(replayed(c, 2), "0 of %d MB that have come are replayed" % MB)
		equal(session.busy(), True)
		stop_applier(c, 2, "")
		release(c, 2, "apply-read")
		equal(session.end(), "ok")
	judged(c)
	equal((applied(c, 2), given_up(c, 2)), (before[0] + 1, before[1]), "counters of node 2")
	equal(c.value(2, "SELECT pad FROM large WHERE id = 88"), "seenx")


@test
def waits_for_a_local_session_until_its_turn(c):
	"""A session of node 2 holds one of the rows: before the turn nothing tells it to give way, at the turn the guard does, and nothing is replayed twice."""
	before = applied(c, 2), given_up(c, 2)
	with Session(c, 1, *SETTINGS) as session, Session(c, 2) as holder:
		holder.execute("BEGIN")
		holder.execute("UPDATE large SET pad = 'lost' WHERE id = 6000")
		session.execute("SET nodedb.bulk_wait = 200")
		session.execute("SET nodedb.stop_at = 'before-propose'")
		session.start(UPDATE)
		stopped(c, 1, "before-propose", session.pid)
		equal(replayed(c, 2) is None, False, "node 2 is still at it")
		equal(holder.value("SELECT pad FROM large WHERE id = 6000"), "lost")
		release(c, 1, "before-propose")
		equal(session.end(), "ok")
		idle(c, 2)
		equal(fails("40001", holder.execute, "SELECT 1").sqlstate, "40001")
	judged(c)
	equal((applied(c, 2), given_up(c, 2)), (before[0] + 1, before[1]), "counters of node 2")


@test
def bulk_applier_is_hit_at_every_moment(c):
	"""Cancelled, ended, or killed with the whole server, before it begins, when it is through, and at its turn: the applier replays what is left."""
	for event in ("bulk-read", "bulk-waits", "bulk-commit"):
		for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
			first = new_rows(c)
			stop_applier(c, 3, event)
			with Session(c, 1, *SETTINGS) as session:
				session.start(INSERT % (first, first))
				pid = stopped(c, 3, event)
				if event == "bulk-commit":
					goes_on(c, "small", 1, 2)	# at its turn node 3 lags behind, the others go on
				stop_applier(c, 3, "")
				os.kill(pid, number)
				if event == "bulk-waits" and number == signal.SIGINT:
					poll("node 3 to have given it up", lambda: replayed(c, 3) is None, SECONDS)
				equal(session.end(), "ok")
			if number == signal.SIGKILL:
				poll("node 3 after its restart", lambda: local(c, 3, "SELECT 1"), SECONDS)
				c.wait_ready()
			judged(c)
			equal(count(c, 3, first), ROWS, "rows after signal %d at %s" % (number, event))


@test
def applier_ends_while_it_waits_for_the_bulk_applier(c):
	for number in (signal.SIGTERM, signal.SIGKILL):
		first = new_rows(c)
		stop_applier(c, 3, "bulk-commit")
		with Session(c, 1, *SETTINGS) as session:
			session.start(INSERT % (first, first))
			stopped(c, 3, "bulk-commit")
			equal(session.end(), "ok")
		with c.connect(3) as connection:
			connection.execute("SET nodedb.read_consistency = local")
			pid = int(connection.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'nodedb applier'"))
		stop_applier(c, 3, "")
		os.kill(pid, number)
		if number == signal.SIGTERM:
			poll("another applier", lambda: local(c, 3, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'nodedb applier'") not in (None, str(pid)), SECONDS)
			release(c, 3, "bulk-commit")
		else:
			poll("node 3 after its restart", lambda: local(c, 3, "SELECT 1"), SECONDS)
			c.wait_ready()
		judged(c)
		equal(count(c, 3, first), ROWS)


@test
def node_is_killed_when_it_has_replayed_it(c):
	first = new_rows(c)
	with Session(c, 1, *SETTINGS) as session:
		prepared(c, session, INSERT % (first, first))
		c.kill(3)
		release(c, 1, "before-propose")
		equal(session.end(), "ok")
	goes_on(c, "small", 1, 2)
	c.start(3)
	c.wait_ready()
	judged(c)
	equal(count(c, 3, first), ROWS)


@test
def origin_is_killed_when_others_have_replayed_it(c):
	"""Nobody proposes the rest: the others end it by themselves (src/node/orphan.c), and roll back."""
	first = new_rows(c)
	with Session(c, 1, *SETTINGS) as session:
		prepared(c, session, INSERT % (first, first))
		c.kill(1)
		session.end()
	goes_on(c, "small", 2, 3)
	idle(c, 2, 3)
	c.start(1)
	c.wait_ready()
	judged(c)
	equal([count(c, i, first) for i in c], [0, 0, 0])


@test
def several_at_once(c):
	"""More than there are bulk appliers, from different nodes, and two that conflict."""
	firsts = [new_rows(c) for _ in range(4)]
	with Session(c, 1, *SETTINGS) as a, Session(c, 1, *SETTINGS) as b, Session(c, 2, *SETTINGS) as d, Session(c, 3, *SETTINGS) as e:
		for session, first in zip((a, b, d, e), firsts):
			session.start(INSERT % (first, first))
		for session in (a, b, d, e):
			equal(session.end(120), "ok")
	judged(c)
	equal([count(c, 3, first) for first in firsts], [ROWS] * 4)
	with Session(c, 1, *SETTINGS) as one, Session(c, 2, *SETTINGS) as two:
		for session in (one, two):
			session.execute("SET nodedb.bulk_wait = 1000")	# each may wait for the other's rows
			session.start(UPDATE)
		told = {one.end(120), two.end(120)}
		equal(told <= {"ok", "40001", "40003"} and "ok" in told, True, "answers %s" % told)
	judged(c)


@test
def what_is_not_replayed_ahead(c):
	"""With a schema change among it: it waits for its turn, and is there."""
	before = applied(c, 2), given_up(c, 2)
	c.execute(1, "BEGIN; CREATE TABLE made (id int PRIMARY KEY, n int, pad text); INSERT INTO made SELECT g, -g, repeat(md5(g::text), 30)"
			  " FROM generate_series(1, %d) g; COMMIT" % ROWS)
	judged(c, "made")
	equal((applied(c, 2), given_up(c, 2)), (before[0], before[1] + 1), "counters of node 2")
	equal(c.value(3, "SELECT count(*) FROM made"), str(ROWS))


@test
def keys_references_and_deletions(c):
	"""Rows without a key, row locks of a foreign key, deletions, large values that do not change; an idempotency key that a second session uses meanwhile."""
	make(c, "CREATE TABLE keyless (a int, pad text)", "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES large)")
	with Session(c, 1, *SETTINGS) as session:
		for sql in ("INSERT INTO keyless SELECT g / 2, repeat(md5((g / 2)::text), 30) FROM generate_series(1, %d) g" % ROWS,
					"INSERT INTO child SELECT g, g FROM generate_series(1, %d) g" % ROWS,
					"WITH gone AS (DELETE FROM keyless WHERE a < 200) UPDATE large SET n = n - 1, pad = pad || 'y' WHERE id <= %d" % ROWS):
			equal(session.start(sql).end(), "ok")
	judged(c, "keyless", "child")
	first = new_rows(c)
	with Session(c, 1, *SETTINGS, "SET nodedb.idempotency_key = 'once'") as session, Session(c, 2, "SET nodedb.idempotency_key = 'once'") as again:
		prepared(c, session, INSERT % (first, first))
		again.start("INSERT INTO small VALUES (-1)")
		release(c, 1, "before-propose")
		equal((session.end(), again.end()), ("ok", "ND001"))
	judged(c, "child")


# ---- memory ----

class Peaks(threading.Thread):
	"""The most private memory of any process of the cluster, in MB."""

	def __init__(self, c):
		super().__init__(daemon=True)
		self.cluster, self.ending, self.most = c, False, 0

	def __enter__(self):
		self.start()
		return self

	def __exit__(self, *_):
		self.ending = True
		self.join()

	def run(self):
		while not self.ending:
			for i in self.cluster:
				for pid in self.cluster.servers[i].processes():
					try:
						with open("/proc/%d/status" % pid) as file:
							self.most = max([self.most] + [int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon:")])
					except OSError:
						pass


@test
def memory_does_not_grow_with_the_transaction(c):
	make(c, "CREATE TABLE bounded (id int PRIMARY KEY, pad text)")
	peaks = []
	for rows in (60000, 600000):
		with Peaks(c) as most, Session(c, 1, *SETTINGS, "SET nodedb.writeset_memory = '2MB'") as session:
			equal(session.start("INSERT INTO bounded SELECT %d + g, repeat('x', 150) FROM generate_series(1, %d) g" % (rows, rows)).end(200), "ok")
			c.wait_caught_up()
		peaks.append(most.most)
	judged(c, "bounded")
	# ten times as much, 100 MB more in the log
	equal(peaks[1] < peaks[0] + 40, True, "peaks of %d and %d MB" % tuple(peaks))


main()
