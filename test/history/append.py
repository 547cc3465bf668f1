"""append: clients append to lists and read them, over all data groups; what they saw is a history for cycles.py.

Schema: `list`, partitioned by slot, a leaf per data group. Keys are numbered through; key k is in slot k % groups + 1.
"""
import random
import threading
import time

from cycles import OK, SERIALIZABLE, Transaction, check
from faults import Client, run_clients

KEYS_AT_ONCE = 12
KEY_APPENDS = 25			# then another key takes its place: lists stay short


def make(c, groups):
	c.execute(1, "CREATE TABLE list (slot int, key int, numbers int[] NOT NULL, PRIMARY KEY (slot, key)) PARTITION BY LIST (slot)")
	for g in range(1, groups + 1):
		c.execute(1, "CREATE TABLE list_%d PARTITION OF list FOR VALUES IN (%d)" % (g, g))
	for g in range(1, groups + 1):
		c.execute(1, "SELECT nodedb.place_table('list_%d', %d)" % (g, g))
	c.wait_caught_up()


def append(connection, groups, key, number):
	connection.execute("INSERT INTO list VALUES ($1, $2, ARRAY[$3::int]) ON CONFLICT (slot, key) DO UPDATE SET numbers = list.numbers || EXCLUDED.numbers",
					   key % groups + 1, key, number)


def read(connection, groups, key):
	found = connection.value("SELECT numbers FROM list WHERE slot = $1 AND key = $2", key % groups + 1, key)
	return [int(v) for v in found.strip("{}").split(",")] if found else []


class Lists:
	def __init__(self, cluster, groups, seed, level=SERIALIZABLE, clients=2):
		self.cluster, self.groups, self.level = cluster, groups, level
		self.lock = threading.Lock()
		self.transactions = []
		self.keys, self.appended, self.next_key, self.next_number = list(range(KEYS_AT_ONCE)), {}, KEYS_AT_ONCE, 0
		chance = random.Random(seed)
		self.clients = [self._client(i, random.Random(chance.random())) for i in cluster for _ in range(clients)]

	def _plan(self, chance):
		"""What a transaction will do. A quarter only reads."""
		with self.lock:
			keys = chance.sample(self.keys, chance.randint(1, 4))
			plan = []
			only_reads = chance.random() < 0.25
			for n, key in enumerate(keys):
				if only_reads or n > 0 and chance.random() < 0.5:
					plan.append(("read", key, None))
					continue
				self.next_number += 1
				plan += [("read", key, None)] * (chance.random() < 0.3) + [("append", key, self.next_number)]
				self.appended[key] = self.appended.get(key, 0) + 1
				if self.appended[key] == KEY_APPENDS:
					self.keys[self.keys.index(key)] = self.next_key
					self.next_key += 1
			chance.shuffle(plan)
			return plan

	def _client(self, node, chance):
		client = Client(self.cluster, node, "SET nodedb.commit_timeout = 5000")

		def transaction():
			plan = self._plan(chance)
			t = Transaction("", node)
			with self.lock:
				self.transactions.append(t)
				t.name = "T%d" % len(self.transactions)

			def work(connection):
				for kind, key, number in plan:
					if kind == "read":
						t.operations.append(("read", key, read(connection, self.groups, key)))
					else:
						t.operations.append(("append", key, number))
						append(connection, self.groups, key, number)
			t.began = time.monotonic()
			# one that says that it only reads takes another way than one that happens to
			read_only = all(kind == "read" for kind, _, _ in plan) and chance.random() < 0.5
			t.outcome = client.transaction(work, "BEGIN ISOLATION LEVEL %s%s" % (self.level, " READ ONLY" if read_only else ""))
			t.ended = time.monotonic()
		return transaction

	def run(self, seconds):
		run_clients(self.clients, seconds, lambda: self.committed() > 2 * seconds)

	def final(self, node):
		with self.cluster.connect(node) as connection:
			return {int(key): [int(v) for v in numbers.strip("{}").split(",")] for key, numbers in connection.execute("SELECT key, numbers FROM list")}

	def check(self, node):
		return check(self.transactions, self.final(node), self.level)

	def committed(self):
		return sum(t.outcome == OK for t in self.transactions)

	def summary(self):
		ok = [t for t in self.transactions if t.outcome == OK]
		return "%d transactions: %d ok, %d of them updates, %d over several groups; %d unknown" % (
			len(self.transactions), len(ok), sum(bool(t.appends()) for t in ok),
			sum(len({key % self.groups for _, key, _ in t.operations}) > 1 for t in ok), sum(t.outcome == "unknown" for t in self.transactions))
