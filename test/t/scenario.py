"""scenario: what the tests of named interleavings share beside the harness: tables, sessions in threads, stop events."""
import os
import re
import signal
import subprocess
import threading

from harness import Error, equal, poll
from cluster import BIN

SECONDS = 120			# within which another session's commit must pass, whatever was done to a first one


def make(c, *commands):
	"""Run schema commands once, and wait until every node has them."""
	for command in commands:
		c.execute(1, command)
	c.wait_caught_up()


def dump(c, i):
	"""The schema of a node and its roles, as pg_dump writes them."""
	command = [BIN + "/pg_dump", "--schema-only", c.dsn(i)]
	roles = [BIN + "/pg_dumpall", "--roles-only", "-d", c.dsn(i)]
	text = "".join(subprocess.run(x, check=True, stdout=subprocess.PIPE, text=True).stdout for x in (command, roles))
	return "\n".join(line for line in text.splitlines() if not re.match(r"\\(un)?restrict ", line))	# a random word against injection


def same_schema(c):
	c.wait_caught_up()
	dumps = {i: dump(c, i) for i in c.running()}
	first = min(dumps)
	for i in dumps:
		if dumps[i] != dumps[first]:
			a, b = dumps[first].splitlines(), dumps[i].splitlines()
			raise AssertionError("schemas of nodes %d and %d differ: %r, %r" % (first, i, [x for x in a if x not in b][:5],
																			[x for x in b if x not in a][:5]))


class Session:
	"""A connection whose commands run one at a time in a thread of their own: start() returns at once, end() gives what came of it."""

	def __init__(self, c, node, *settings):
		self.cluster, self.node = c, node
		self.connection = c.connect(node)
		self.pid = self.connection.pid
		for setting in settings:
			self.connection.execute(setting)
		self.thread = None

	def __enter__(self):
		return self

	def __exit__(self, *_):
		if self.thread and self.thread.is_alive():
			self.thread.join(1)
			if self.thread.is_alive():		# the test failed: do not let the session stand in the next one's way
				try:
					os.kill(self.pid, signal.SIGTERM)
				except ProcessLookupError:
					pass
				self.thread.join(SECONDS)
		self.connection.close()

	def execute(self, sql, *params):
		return self.connection.execute(sql, *params)

	def value(self, sql, *params):
		return self.connection.value(sql, *params)

	def start(self, sql):
		self.outcome = None
		self.thread = threading.Thread(target=self._run, args=(sql,), daemon=True)
		self.thread.start()
		return self

	def _run(self, sql):
		try:
			self.rows = self.connection.execute(sql)
			self.outcome = "ok"
		except Error as error:
			self.outcome = error.sqlstate
			self.error = error

	def end(self, seconds=SECONDS):
		"""'ok' or the SQLSTATE of what was started."""
		self.thread.join(seconds)
		if self.thread.is_alive():
			raise AssertionError("session %d of node %d has got no answer within %g s" % (self.pid, self.node, seconds))
		return self.outcome

	def busy(self):
		return self.thread.is_alive()


def at_event(c, node, event, pid=None):
	"""The processes (or this one) that stand at the event."""
	with c.connect(node, consistency="local") as connection:
		pids = [int(row[0]) for row in connection.execute("SELECT pid FROM nodedb.stop_events WHERE event = $1", event)]
	return [i for i in pids if pid in (None, i)]


def stopped(c, node, event, pid=None):
	"""Wait until a process (this one) stands at the event; its pid."""
	return poll("a process of node %d at event %s" % (node, event), lambda: at_event(c, node, event, pid), SECONDS, 0.02)[0]


def release(c, node, event):
	with c.connect(node, consistency="local") as connection:
		return int(connection.value("SELECT nodedb.continue_from($1)", event))


def stop_applier(c, node, events):
	"""Let the node's applier stop at these events, or whatever else has no session; '' ends that for batches to come."""
	with c.connect(node) as connection:
		connection.execute("ALTER SYSTEM SET nodedb.stop_at = '%s'" % events if events else "ALTER SYSTEM RESET nodedb.stop_at")
		connection.execute("SELECT pg_reload_conf()")
		# The applier reads its configuration when the latch wakes it: what a new session sees, it was told as well.
		poll("the setting on node %d" % node, lambda: c.value(node, "SHOW nodedb.stop_at") == events, SECONDS)


def metric(c, node, name):
	with c.connect(node, consistency="local") as connection:
		return int(connection.value("SELECT value FROM nodedb.metrics WHERE name = $1", name))


def local(c, node, sql, *params):
	"""A value as this node's tables hold it, without waiting for anybody."""
	with c.connect(node, consistency="local") as connection:
		return connection.value(sql, *params)


def goes_on(c, table, *nodes):
	"""Each of the nodes commits a row of its own, and all of them see it."""
	for i in nodes:
		key = int(poll("a read on node %d" % i,
					   lambda: c.value(i, "SELECT coalesce(max(id), 1000000) + 1 FROM %s WHERE id > 1000000" % table), SECONDS))
		poll("a commit on node %d" % i,
			 lambda: c.execute(i, "INSERT INTO %s (id) VALUES ($1) ON CONFLICT DO NOTHING" % table, key) or True, SECONDS)
		for j in nodes:
			poll("row %d on node %d" % (key, j), lambda: c.value(j, "SELECT count(*) FROM %s WHERE id = $1" % table, key) == "1", SECONDS)


def effect(c, table, key, told, nodes=None):
	"""
	Compare what a client was told with what all nodes hold: "ok" means there, 40003 and a lost connection either, any other error not.
	Returns whether the row is there.
	"""
	c.wait_caught_up()
	seen = {i: c.value(i, "SELECT count(*) FROM %s WHERE id = $1" % table, key) for i in nodes or c.running()}
	equal(len(set(seen.values())), 1, "all nodes agree on row %s, whose client heard %s: %r" % (key, told, seen))
	there = set(seen.values()) == {"1"}
	if told == "ok":
		equal(there, True, "acknowledged row %s is there" % key)
	elif told not in ("40003", "08006", "57P02"):
		equal(there, False, "row %s, whose client heard %s, is there" % (key, told))
	return there
