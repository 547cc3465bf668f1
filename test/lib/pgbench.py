"""pgbench: PostgreSQL's own load generator as an independent witness of what the server acknowledged.

How the account of acknowledgements works (test/demo/tpcb.sql): the script counts its tries in :n and writes node/client/n into its row
of history. pgbench logs one line per transaction that it finished, with the number of retries; a retry runs the script from its first
line again. So the last try of a client's k-th line is number sum(1 + retries) over its first k lines, and every other number of that
client up to there is of a try that the server refused: it must not be in the table.
"""
import glob
import os
import re
import signal
import subprocess

import cluster

TPCB = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "demo", "tpcb.sql")
TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history")
SUMS = """SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
	(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)"""


def initialize(c, scale, node=1):
	"""pgbench's own tables, made by pgbench through one node, on every node when this returns."""
	cluster.run(os.path.join(cluster.BIN, "pgbench"), "-i", "-q", "-s", str(scale), c.dsn(node))
	c.wait_caught_up()


def check(c, loads):
	"""Broken promises after loads have ended, on every running node; empty when all is well. Waits until the nodes are caught up."""
	broken = []
	c.wait_caught_up()
	for table in TABLES:
		digests = {i: c.digest(i, table) for i in c.running()}
		if len(set(digests.values())) != 1:
			broken.append("table %s differs: %r" % (table, digests))
	for i in c.running():
		sums = c.execute(i, SUMS)[0]
		if len(set(sums)) != 1:
			broken.append("node %d: sums of accounts, branches, tellers, history differ: %r" % (i, sums))
	names = [name.strip() for name, in c.execute(c.running()[0], "SELECT filler FROM pgbench_history")]
	return broken + account(loads, names)


class Load:
	"""One running pgbench against one node. Log lines are read when it has ended."""

	def __init__(self, dsn, clients, seconds, directory, node, scale, *options):
		self.node = node
		self.prefix = os.path.join(directory, "pgbench%d" % node)
		for old in glob.glob(self.prefix + ".*"):
			os.unlink(old)
		self.output = open(self.prefix + ".out", "w+")
		self.process = subprocess.Popen(
			[os.path.join(cluster.BIN, "pgbench"), "-n", "-c", str(clients), "-T", str(seconds), "-l", "--log-prefix", self.prefix + ".log",
			 "--max-tries=100", "-D", "n=0", "-D", "node=%d" % node, "-D", "scale=%d" % scale, "-f", TPCB] + list(options) + [dsn],
			stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output)

	def end(self):
		"""As if its seconds were over: pgbench's own timer. It has a log since before it set that."""
		cluster.poll("the log of pgbench", lambda: glob.glob(self.prefix + ".log*") or self.process.poll() is not None)
		self.process.send_signal(signal.SIGALRM)
		return self

	def wait(self):
		self.process.wait()
		self.output.seek(0)
		self.text = self.output.read()
		self.output.close()
		self.acknowledged = {}			# name of the transaction -> time of its acknowledgement, seconds since 1970
		self.last_try = {}				# client -> number of its last try that was logged
		self.failed = self.retries = 0
		for path in glob.glob(self.prefix + ".log*"):
			with open(path) as log:
				for line in log:
					field = line.split()
					if len(field) < 7:
						continue		# cut short by the end of pgbench
					client, retries = field[0], int(field[6])
					self.last_try[client] = self.last_try.get(client, 0) + 1 + retries
					self.retries += retries
					if field[2].isdigit():
						self.acknowledged["%d/%s/%d" % (self.node, client, self.last_try[client])] = int(field[4]) + int(field[5]) / 1e6
					else:
						self.failed += 1
		self.aborted_clients = len(re.findall(r"client \d+ (?:script \d+ )?aborted", self.text))
		return self


def gap(times, begin, end):
	"""The longest time within [begin, end] without any acknowledgement: (seconds, when it began)."""
	inside = sorted(t for t in times if begin <= t <= end)
	points = [begin] + inside + [end]
	return max((after - before, before) for before, after in zip(points, points[1:]))


def account(loads, names):
	"""Compare what the clients were told with the rows that are there; returns a list of broken promises, empty when all is well."""
	broken = []
	there = {}
	for name in names:
		there[name] = there.get(name, 0) + 1
	for name, times in there.items():
		if times > 1:
			broken.append("transaction %s is there %d times" % (name, times))
	for load in loads:
		lost = [name for name in load.acknowledged if name not in there]
		if lost:
			broken.append("node %d: %d acknowledged transactions are lost, such as %s" % (load.node, len(lost), lost[0]))
	by_node = {load.node: load for load in loads}
	open_ones = {}
	for name in there:
		node, client, number = name.split("/")
		load = by_node[int(node)]
		if name in load.acknowledged:
			continue
		if int(number) <= load.last_try.get(client, 0):
			broken.append("transaction %s was refused, but is there" % name)
		else:
			open_ones.setdefault((node, client), []).append(name)
	for (node, client), several in open_ones.items():
		if len(several) > 1:
			broken.append("client %s of node %s has %d transactions without an answer, which cannot be" % (client, node, len(several)))
	return broken
