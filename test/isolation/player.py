"""player: plays the permutations of a spec on a cluster and says what came of each step.

What makes the output the same in every run:
1. A step begins when the one before it has ended, or waits for another session of its node (PostgreSQL says so).
2. After each step that ended, all nodes catch up with what is committed, those apart that are held. So a session that stands in the way of another node's
   change has been told to give way before the next step begins, and its next answer says so.
3. Output has no entry numbers (they stand in the detail of an error), times or ports.

After each permutation all nodes must hold the same rows; if they do not, the output says so.
"""
import re
import select
import time

from cluster import poll
from pq import Error
import scenario

SECONDS = 60			# within which a step ends or waits for another one
HELD_AT = "apply-read"


class Player:
	def __init__(self, cluster, spec):
		self.cluster, self.spec = cluster, spec
		self.monitor = {i: cluster.connect(i) for i in cluster}
		for monitor in self.monitor.values():
			monitor.execute("SET nodedb.read_consistency = local")
		self.connections = {}
		self.out = []

	def play(self):
		"""The whole output."""
		try:
			for permutation in self.spec.permutations:
				self._permutation(permutation)
		finally:
			for connection in list(self.connections.values()) + list(self.monitor.values()):
				connection.close()
		return "\n".join(self.out).rstrip("\n") + "\n"

	def _say(self, text=""):
		self.out.append(text)

	# ---- one permutation ----

	def _permutation(self, items):
		self._say("starting permutation: %s" % " ".join(map(str, items)))
		self.waiting = []				# items whose steps have not ended
		self.held, self.done = set(), set()
		for sql in self.spec.setups:
			self.cluster.execute(1, sql)
		self._catch_up()
		for session in self.spec.sessions:
			self._connect(session)
		for item in items:
			if item.name == "hold":
				self._hold(item.node)
			elif item.name == "release":
				self._release(item.node)
				self._catch_up()
				self._end_what_ends()
			else:
				self._step(item)
		for node in list(self.held):
			self._release(node)
			self._catch_up()
		self._end_what_ends()
		for item in self.waiting:
			self._say("step %s: <never completed>" % item.name)
			session = self._session(item)
			self.connections.pop(session.name).close()
			self.monitor[session.node].execute("SELECT pg_terminate_backend($1, 10000)", self.pids[session.name])
		for session in self.spec.sessions:
			self._leave(session)
		self._catch_up()
		self._compare()
		for sql in self.spec.teardowns:
			self.cluster.execute(1, sql)
		self._catch_up()
		self._say()

	def _connect(self, session):
		if session.name not in self.connections:
			self.connections[session.name] = self.cluster.connect(session.node)
		if session.setup:
			try:
				self.connections[session.name].execute(session.setup)
			except Error as error:
				self._say("setup of %s: %s" % (session.name, _short(error)))
		self.pids = {name: connection.pid for name, connection in self.connections.items()}

	def _leave(self, session):
		connection = self.connections.get(session.name)
		try:
			if connection and connection.in_transaction:
				connection.execute("ROLLBACK")
			if connection and session.teardown:
				connection.execute(session.teardown)
		except Error:
			self.connections.pop(session.name).close()

	def _session(self, item):
		return self.spec.steps[item.name][0]

	def _connection(self, item):
		return self.connections[self._session(item).name]

	def _step(self, item):
		session, sql = self.spec.steps[item.name]
		busy = [other for other in self.waiting if self._session(other) is session]
		if busy:						# as isolationtester: the session's step before this one has to end first
			self._end(busy[0])
		connection = self._connection(item)
		connection.notices.clear()
		connection.send(sql)
		told = "step %s: %s" % (item.name, sql)
		if item.at_once or self._must_wait(item) or self._waits(item):
			self._say(told + " <waiting ...>")
			self.waiting.append(item)
		else:
			self._say(told)
			self._result(item)
		self.done.add(item.name)
		self._catch_up()
		self._end_what_ends()

	def _must_wait(self, item):
		"""Does a step that it ends after still have to end, or to begin?"""
		return any(name not in self.done or any(other.name == name for other in self.waiting) for name in item.after)

	def _waits(self, item):
		"""Wait until the step ends (False) or waits for another session (True)."""
		session, connection = self._session(item), self._connection(item)
		pids = "{%s}" % ",".join(str(self.pids[s.name]) for s in self.spec.sessions if s.node == session.node and s is not session)
		deadline = time.monotonic() + SECONDS
		while connection.waiting():
			if self.monitor[session.node].value("SELECT pg_isolation_test_session_is_blocked($1, $2::int[])", connection.pid, pids) == "t":
				return True
			if time.monotonic() > deadline:
				self._say("step %s: neither ends nor waits for a session" % item.name)
				return True
			select.select([connection], [], [], 0.005)
		return False

	def _end(self, item):
		self.waiting.remove(item)
		self._say("step %s: <... completed>" % item.name)
		self._result(item)

	def _end_what_ends(self):
		"""Say what has ended since; that may let others end in turn."""
		again = True
		while again:
			again = False
			for item in list(self.waiting):
				if self._session(item).node in self.held or self._must_wait(item) or self._waits(item):
					continue
				self._end(item)
				self._catch_up()
				again = True

	def _result(self, item):
		connection = self._connection(item)
		try:
			rows, failure = connection.result(SECONDS), None
		except TimeoutError:
			connection.cancel()
			rows, failure = [], "no answer"
		except Error as error:
			rows, failure = [], _short(error)
		for notice in connection.notices:
			self._say(notice.rstrip().splitlines()[0])
		if failure:
			self._say(failure)
		elif connection.columns:
			self._table(connection.columns, rows)

	def _table(self, columns, rows):
		cells = [["" if value is None else value for value in row] for row in [columns] + rows]
		width = [max(len(row[n]) for row in cells) for n in range(len(columns))]
		lines = ["|".join(cell.ljust(width[n]) for n, cell in enumerate(row)).rstrip() for row in cells]
		self._say(lines[0])
		self._say("+".join("-" * w for w in width))
		for line in lines[1:] + ["(%d row%s)" % (len(rows), "" if len(rows) == 1 else "s"), ""]:
			self._say(line)

	# ---- the nodes ----

	def _hold(self, node):
		scenario.stop_applier(self.cluster, node, HELD_AT)
		self.held.add(node)

	def _release(self, node):
		scenario.stop_applier(self.cluster, node, "")
		self.held.discard(node)
		goal = self._goal()
		poll("node %d at entry %d" % (node, goal), lambda: scenario.release(self.cluster, node, HELD_AT) < 0 or self._applied(node) >= goal, SECONDS, 0.01)

	def _applied(self, node):
		return int(self.monitor[node].value("SELECT nodedb.applied_index(1)"))

	def _goal(self):
		return max(self._applied(i) for i in self.cluster if i not in self.held)

	def _catch_up(self):
		goal = self._goal()
		for i in self.cluster:
			if i not in self.held:
				poll("node %d at entry %d" % (i, goal), lambda: self._applied(i) >= goal, SECONDS, 0.002)

	def _compare(self):
		tables = self.monitor[1].execute("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relam = (SELECT oid FROM pg_am WHERE amname = 'nodedb') ORDER BY 1")
		for table, in tables:
			digests = {i: self.cluster.digest(i, table) for i in self.cluster}
			if len(set(digests.values())) != 1:
				self._say("NODES DIFFER in table %s: %r" % (table, digests))


def _short(error):
	"""The error's first line with its SQLSTATE. By whom a transaction learns that it lost is a matter of milliseconds, so the words stop before that."""
	message = re.sub(r"(could not serialize access).*", r"\1", str(error).splitlines()[0])
	return message if message.endswith("(%s)" % error.sqlstate) else "%s (%s)" % (message, error.sqlstate)
