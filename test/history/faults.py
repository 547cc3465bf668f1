"""faults: what befalls a cluster while clients work: nodes killed, paused, groups whose leader changes. A seed fixes what, not when it meets whom."""
import random
import threading
import time

import pq


class Faults:
	"""A thread of its own between start() and stop(); behind stop() every node runs and all are connected. One node at a time is away, so that a majority is left."""

	def __init__(self, cluster, seed, kinds=("kill", "pause", "transfer", "terminate"), gap=(0.3, 1.5)):
		self.cluster, self.random, self.kinds, self.gap = cluster, random.Random(seed), kinds, gap
		self.done, self.broken = [], []
		self.over = threading.Event()

	def start(self):
		self.thread = threading.Thread(target=self._run, daemon=True)
		self.thread.start()
		return self

	def stop(self):
		self.over.set()
		self.thread.join()
		for i in self.cluster:
			self.cluster.resume(i)
			if i not in self.cluster.running():
				self.cluster.start(i)
		self.cluster.wait_ready()
		if self.broken:
			raise AssertionError("a fault could not be made: %s" % self.broken)

	def _run(self):
		try:
			while not self.over.wait(self.random.uniform(*self.gap)):
				kind = self.random.choice(self.kinds)
				node = self.random.choice(sorted(self.cluster))
				getattr(self, "_" + kind)(node)
				self.done.append((kind, node))
		except Exception as error:					# told by stop(): a thread's own end nobody sees
			self.broken.append(repr(error))

	def _kill(self, i):
		self.cluster.kill(i)
		self.over.wait(self.random.uniform(0, 1))
		self.cluster.start(i)

	def _pause(self, i):
		self.cluster.pause(i)
		self.over.wait(self.random.uniform(0.2, 2.5))
		self.cluster.resume(i)

	def _transfer(self, i):
		"""Of a group, the sequencer's (-1) among them, to this node. It may be refused: who leads can change at any time."""
		try:
			with self._connect(i) as connection:
				groups = connection.execute("SELECT g.group_id, n.name FROM nodedb.groups g JOIN nodedb.nodes n ON n.node_id = g.leader WHERE g.group_id <> 0")
				to = connection.value("SELECT node_id FROM nodedb.nodes WHERE is_self")
			for group, leader in self.random.sample(groups, min(3, len(groups))):
				with self._connect(int(leader[len("node"):])) as connection:
					connection.execute("SELECT nodedb.transfer_leadership($1, $2)", group, to)
		except pq.Error:
			pass

	def _terminate(self, i):
		"""End a client's session, in whatever it is."""
		try:
			with self._connect(i) as connection:
				connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
								   " ORDER BY state = 'active' DESC, pid LIMIT 1 OFFSET $1", self.random.randrange(3))
		except pq.Error:
			pass

	def _connect(self, i):
		return self.cluster.connect(i, consistency="local")


def run_clients(clients, seconds, enough=lambda: True):
	"""Each is called again and again, in a thread of its own, until the time is over and it was enough, for some minutes at the most; what one raises ends all and is raised here."""
	end = time.monotonic() + seconds
	raised = []

	def loop(client):
		try:
			while (time.monotonic() < end or (not enough() and time.monotonic() < end + 240)) and not raised:
				client()
		except Exception as error:
			raised.append(error)
	threads = [threading.Thread(target=loop, args=(client,), daemon=True) for client in clients]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()
	if raised:
		raise raised[0]


# What a COMMIT may answer that leaves the outcome open; every other error of it, and every error before it, means that nothing was done.
OPEN = ("40003", "08006", "57P01", "57P02", "57P05", "XX000")


class Client:
	"""A session of one node that comes back after whatever happened to it."""

	def __init__(self, cluster, node, *settings):
		self.cluster, self.node, self.settings = cluster, node, settings
		self.connection = None
		self.heard = {}								# SQLSTATE: how often

	def transaction(self, work, begin="BEGIN"):
		"""work(connection) between BEGIN and COMMIT: "ok", "failed" (surely without effect) or "unknown"."""
		committing = False
		try:
			if self.connection is None:
				self.connection = self.cluster.connect(self.node)
				for setting in self.settings:
					self.connection.execute(setting)
			self.connection.execute(begin)
			work(self.connection)
			committing = True
			self.connection.execute("COMMIT")
			outcome = "ok"
		except pq.Error as error:
			self.heard[error.sqlstate] = self.heard.get(error.sqlstate, 0) + 1
			outcome = "unknown" if committing and error.sqlstate in OPEN else "failed"
			self._recover(error.sqlstate)
		return outcome

	def _recover(self, sqlstate):
		try:
			if self.connection and sqlstate[:2] not in ("08", "57"):
				self.connection.execute("ROLLBACK")
				return
		except pq.Error:
			pass
		self.close()
		time.sleep(0.05)							# the node may be down: do not spin

	def close(self):
		if self.connection:
			self.connection.close()
			self.connection = None
