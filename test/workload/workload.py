"""workload: random transactions of several sessions on every node, from one seed, with kills in between.

What it owns: the sessions' threads and the account of what each client was told.
The seed says what each session tries and which node is killed when; how they interleave, the machine does.

In seeds with several data groups the tables are spread over them, some as shards, and the session that changes the schema moves them about: nearly every transaction is one over
several groups.

Every transaction writes its name into audit. Told 'ok': it must be there; 'refused' (any definite error): it must not; 'open' (40003, connection lost at COMMIT): either.
"""
import os
import random
import threading
import time
import traceback

import checks
import operations
from cluster import poll
from pq import Error

HERE = os.path.dirname(os.path.realpath(__file__))
SESSIONS = 3					# of each node
SEVERAL = 4						# data groups, in every second seed
EXTENSIONS = ("btree_gist", "citext", "amcheck")
LEVELS = ("READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
# 22: e.g. division; 23: constraints; 40: conflicts; 42: a schema change came first; 55P03: NOWAIT; 57: shutdown, no majority yet; 08: connection
EXPECTED = ("22", "23", "40", "42703", "42P01", "42704", "55P03", "57P", "08006")
GONE = ("08006", "57P01", "57P02", "57P03")
OPEN = ("40003", "08006", "57P01", "57P02")


def groups_of(seed):
	"""How many data groups the cluster shall have."""
	return SEVERAL if seed % 2 else 1


class Unexpected(Exception):
	pass


class Session:
	def __init__(self, workload, node, number):
		self.workload, self.node = workload, node
		self.name = "%d/%d" % (node, number)
		self.rng = random.Random("%d/%s" % (workload.seed, self.name))
		self.connection, self.count = None, 0
		self.told, self.codes = {}, {}
		self.failure = None
		self.thread = threading.Thread(target=self._run, daemon=True)

	def _run(self):
		try:
			while not self.workload.stop.is_set():
				if self.connection is None and not self._connect():
					self.workload.stop.wait(0.1)
					continue
				self._transaction()
		except Exception:
			self.failure = "session %s: %s" % (self.name, traceback.format_exc())
			self.workload.stop.set()
		if self.connection:
			self.connection.close()

	def _connect(self):
		try:
			self.connection = self.workload.cluster.connect(self.node, 5)
			return True
		except Error:
			return False

	def _note(self, error):
		self.codes[error.sqlstate] = self.codes.get(error.sqlstate, 0) + 1
		if not error.sqlstate.startswith(EXPECTED):
			raise Unexpected("%s" % error) from error

	def _transaction(self):
		"""One transaction, from BEGIN to its account."""
		rng = self.rng
		self.count += 1
		txn = "%s/%d" % (self.name, self.count)
		committing = False
		try:
			self.connection.execute("BEGIN ISOLATION LEVEL %s" % rng.choice(LEVELS))
			self.connection.execute("INSERT INTO audit VALUES ('%s')" % txn)
			for _ in range(rng.randint(1, 5)):
				self._operation(rng.choice(self.workload.operations)(rng))
			if rng.random() < 0.05:
				self.connection.execute("ROLLBACK")
				self.told[txn] = "refused"
				return
			committing = True
			self.connection.execute("COMMIT")
			self.told[txn] = "ok"
		except Error as error:
			self.told[txn] = "open" if committing and error.sqlstate in OPEN else "refused"
			self._note(error)
			self._clean(error)

	def _operation(self, commands):
		"""Now and then behind a savepoint: rolled back when it fails, or for no reason."""
		if self.rng.random() < 0.6:
			for sql in commands:
				self.last = sql
				self.connection.execute(sql)
			return
		self.connection.execute("SAVEPOINT s")
		try:
			for sql in commands:
				self.last = sql
				self.connection.execute(sql)
			self.connection.execute("ROLLBACK TO s" if self.rng.random() < 0.3 else "RELEASE s")
		except Error as error:
			self._note(error)
			if error.sqlstate in GONE or error.sqlstate.startswith("40"):
				raise
			self.connection.execute("ROLLBACK TO s")

	def _clean(self, error):
		try:
			if error.sqlstate in GONE:
				raise error
			if self.connection.in_transaction:
				self.connection.execute("ROLLBACK")
		except Error:
			self.connection.close()
			self.connection = None


class Changer(Session):
	"""A session that changes the schema, a command at a time, on a node of its choice."""

	def _transaction(self):
		try:
			self.connection.execute(operations.ddl(self.rng, self.workload.groups))
		except Error as error:
			self._note(error)
			self._clean(error)
		if self.connection and self.rng.random() < 0.2:
			self.connection.close()
			self.connection = None
			self.node = self.rng.choice(list(self.workload.cluster))
		self.workload.stop.wait(self.rng.random())


class Workload:
	def __init__(self, cluster, seed, ddl=True, kinds=None):
		self.cluster, self.seed, self.groups = cluster, seed, 1
		self.operations = [operation for operation in operations.OPERATIONS if not kinds or operation.__name__ in kinds]
		self.stop = threading.Event()
		self.sessions = [Session(self, node, number) for node in cluster for number in range(SESSIONS)]
		if ddl:
			self.sessions.append(Changer(self, 1, 99))

	def make_schema(self):
		for i in self.cluster:
			self.cluster.execute(i, "SET nodedb.replicate_ddl = off; %s" % "; ".join("CREATE EXTENSION %s" % name for name in EXTENSIONS))
		with open(os.path.join(HERE, "schema.sql")) as file:
			self.cluster.execute(1, file.read())
		self.groups = int(self.cluster.value(1, "SELECT count(*) FROM nodedb.groups WHERE kind = 'data'"))
		if self.groups > 1:
			self._spread()
		self.cluster.wait_caught_up()

	def _spread(self):
		"""Each table into a group by chance, and what can be into shards over all of them."""
		rng = random.Random("%d/groups" % self.seed)
		for table, column in operations.DISTRIBUTED:
			self.cluster.execute(1, "SELECT nodedb.create_distributed_table('%s', '%s', %d)" % (table, column, 2 * self.groups))
		for table in operations.PLACED:
			self.cluster.execute(1, "SELECT nodedb.place_table('%s', %d)" % (table, rng.randint(1, self.groups)))

	def run(self, seconds, kills=True):
		"""What is broken behind it; empty when all is well."""
		rng = random.Random("%d/kills" % self.seed)
		deadline = time.monotonic() + seconds
		for session in self.sessions:
			session.thread.start()
		try:
			while not self.stop.wait(max(0, min(deadline - time.monotonic(), 2 + 4 * rng.random()))) and time.monotonic() < deadline:
				if kills:
					self._kill(rng.choice(list(self.cluster)))
			poll("enough of them committed", lambda: self.stop.is_set() or self.committed() > 50, 240)
		finally:
			self.stop.set()
			for session in self.sessions:
				session.thread.join(60)
		broken = [session.failure for session in self.sessions if session.failure]
		broken += ["session %s hangs in: %s" % (session.name, getattr(session, "last", "?")) for session in self.sessions if session.thread.is_alive()]
		if broken:
			return broken
		for i in self.cluster:
			if i not in self.cluster.running():
				self.cluster.start(i)
		self.cluster.wait_ready()
		return checks.check(self.cluster, self.told())

	def told(self):
		return {txn: outcome for session in self.sessions for txn, outcome in list(session.told.items())}

	def committed(self):
		return sum(outcome == "ok" for outcome in self.told().values())

	def _kill(self, victim):
		"""Kill a node, wait until the others have committed something, start it again."""
		self.cluster.kill(victim)
		before = self.committed()
		poll("further commits without node %d" % victim, lambda: self.stop.is_set() or self.committed() > before + 10, 60)
		self.cluster.start(victim)
		self.cluster.wait_ready()

	def summary(self):
		codes = {}
		for session in self.sessions:
			for code, n in session.codes.items():
				codes[code] = codes.get(code, 0) + n
		outcomes = list(self.told().values())
		return "%d transactions: %s; errors %s" % (len(outcomes), ", ".join("%d %s" % (outcomes.count(o), o) for o in ("ok", "refused", "open")),
												   " ".join("%s:%d" % item for item in sorted(codes.items())))
