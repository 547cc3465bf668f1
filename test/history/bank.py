"""bank: money moves between accounts in all data groups; nobody ever sees a wrong total, and what was acknowledged is there.

Schema: `account`, partitioned, a leaf per data group; `transfer`, what was moved, likewise by the source's account, so that a transfer is in two groups or three.
"""
import random
import threading

from faults import Client, run_clients

ACCOUNTS = 40
FIRST = 1000


def make(c, groups):
	c.execute(1, "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL) PARTITION BY LIST (id)")
	c.execute(1, "CREATE TABLE transfer (id bigint, source int NOT NULL, target int NOT NULL, amount bigint NOT NULL, PRIMARY KEY (id, source)) PARTITION BY LIST (source)")
	for g in range(1, groups + 1):
		values = ", ".join(str(i) for i in range(1, ACCOUNTS + 1) if i % groups + 1 == g)
		for table in ("account", "transfer"):
			c.execute(1, "CREATE TABLE %s_%d PARTITION OF %s FOR VALUES IN (%s)" % (table, g, table, values))
	for g in range(1, groups + 1):
		c.execute(1, "SELECT nodedb.place_table('account_%d', %d)" % (g, g))
		# in another group than the account: three groups in many a transfer
		c.execute(1, "SELECT nodedb.place_table('transfer_%d', %d)" % (g, g % groups + 1))
	c.execute(1, "INSERT INTO account SELECT i, %d FROM generate_series(1, %d) i" % (FIRST, ACCOUNTS))
	c.wait_caught_up()


class Bank:
	def __init__(self, cluster, seed, movers=2, readers=1):
		self.cluster, self.random = cluster, random.Random(seed)
		self.lock = threading.Lock()
		self.told = {}								# id of a transfer: (outcome, source, target, amount)
		self.reads = 0
		self.wrong = []
		self.clients = []
		for i in cluster:
			self.clients += [self._mover(i) for _ in range(movers)]
			self.clients += [self._reader(i, level) for level in ("strong", "local")[:readers + 1]]

	def _client(self, node, *settings):
		return Client(self.cluster, node, "SET nodedb.commit_timeout = 5000", *settings)

	def _mover(self, node):
		client = self._client(node)
		chance = random.Random(self.random.random())

		def move():
			source, target = chance.sample(range(1, ACCOUNTS + 1), 2)
			amount = chance.randint(1, 5)
			with self.lock:
				number = len(self.told) + 1
				self.told[number] = ("unknown", source, target, amount)

			def work(connection):
				# in this order, so that two transfers of one node never wait for each other
				for account in sorted((source, target)):
					connection.execute("UPDATE account SET balance = balance + $2 WHERE id = $1", account, amount if account == target else -amount)
				connection.execute("INSERT INTO transfer VALUES ($1, $2, $3, $4)", number, source, target, amount)
			self.told[number] = (client.transaction(work), source, target, amount)
		return move

	def _reader(self, node, level):
		client = self._client(node, "SET nodedb.read_consistency = %s" % level)

		def read():
			seen = []
			client.transaction(lambda connection: seen.append(connection.execute(
				"SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM account)")[0]))
			for total, accounts in seen:
				self.reads += 1
				if (int(total), int(accounts)) != (ACCOUNTS * FIRST, ACCOUNTS):
					self.wrong.append("node %d, %s read: %s in %s accounts" % (node, level, total, accounts))
		return read

	def run(self, seconds):
		run_clients(self.clients, seconds, lambda: self.reads > 20 and sum(told[0] == "ok" for told in list(self.told.values())) > 20)

	def check(self, i):
		"""What is wrong in node i's tables, when nothing moves any more, as lines of text."""
		wrong = list(self.wrong)
		with self.cluster.connect(i, consistency="local") as connection:
			there = {int(row[0]): tuple(map(int, row[1:])) for row in connection.execute("SELECT id, source, target, amount FROM transfer")}
			balances = {int(a): int(b) for a, b in connection.execute("SELECT id, balance FROM account")}
		for number, (outcome, *moved) in self.told.items():
			if outcome == "ok" and number not in there:
				wrong.append("transfer %d was acknowledged and is lost" % number)
			if outcome == "failed" and number in there:
				wrong.append("transfer %d failed and is there" % number)
			if number in there and there[number] != tuple(moved):
				wrong.append("transfer %d is %s, not %s" % (number, there[number], moved))
		expected = dict.fromkeys(range(1, ACCOUNTS + 1), FIRST)
		for source, target, amount in there.values():
			expected[source] -= amount
			expected[target] += amount
		wrong += ["account %d has %s, its transfers make %d" % (a, balances.get(a), b) for a, b in expected.items() if balances.get(a) != b]
		return ["node %d: %s" % (i, line) for line in wrong]

	def summary(self):
		outcomes = [told[0] for told in self.told.values()]
		return "%d reads; transfers: %s" % (self.reads, ", ".join("%d %s" % (outcomes.count(o), o) for o in ("ok", "failed", "unknown")))
