#!/usr/bin/env python3
"""What large transactions do to everybody else. `make bench-large` runs it.

Node 1 inserts rows in one transaction, updates all of them in another, and loads as many by COPY. Meanwhile one client per node changes a row of another table, again and
again, with a short rest between. Reported for each transaction: how long it took, the longest pause between two commits of the client on each node, and the
most private memory (RssAnon, sampled) that each kind of process had.

Others on demand (--only): 1mb, 2mb, 4mb, 7mb, 9mb: an INSERT whose body is so long; ctas, alter: rows in one transaction with a schema change (CREATE TABLE AS; ADD COLUMN and an
UPDATE of all of a table that 'insert' has filled); three: as many INSERTs of a third of the rows each at once, on one node.
"""
import argparse
import os
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import pq  # noqa: E402

REST = 0.005		# seconds of the small clients between two commits
SAMPLE = 0.1		# seconds between two looks at memory


class Writer(threading.Thread):
	"""A client that commits one small change after another; gaps: (when it ended, seconds since the commit before)."""

	def __init__(self, c, node):
		super().__init__(daemon=True)
		self.connection, self.node = c.connect(node), node
		self.gaps, self.ending, self.errors = [], False, 0

	def run(self):
		last = time.monotonic()
		while not self.ending:
			try:
				self.connection.execute("UPDATE small SET n = n + 1 WHERE id = %d" % self.node)
			except pq.Error:		# e.g. the node does not catch up in time: no commit, so the pause goes on
				self.errors += 1
				continue
			now = time.monotonic()
			self.gaps.append((now, now - last))
			last = now
			time.sleep(REST)

	def longest(self, since):
		return max((gap for when, gap in self.gaps if when >= since), default=0)


def kind(pid):
	"""Kind of a server's process by its title."""
	with open("/proc/%d/cmdline" % pid) as file:
		title = file.read().replace("\0", " ").strip()
	if title.startswith("postgres: nodedb "):
		return title[len("postgres: "):].split(" for")[0].rstrip(" 0123456789")
	return title[len("postgres: "):].split()[0] if title.startswith("postgres: ") else "postmaster"


class Memory(threading.Thread):
	"""Peaks of private memory in MB, per node and kind of process."""

	def __init__(self, c):
		super().__init__(daemon=True)
		self.cluster, self.peaks, self.ending = c, {}, False

	def run(self):
		while not self.ending:
			for i in self.cluster:
				for pid in self.cluster.servers[i].processes():
					try:
						name = kind(pid)
						with open("/proc/%d/status" % pid) as file:
							kb = next((int(line.split()[1]) for line in file if line.startswith("RssAnon:")), 0)
					except OSError:
						continue
					self.peaks[i, name] = max(self.peaks.get((i, name), 0), kb / 1024)
			time.sleep(SAMPLE)


def copy(c, rows):
	"""COPY from a program's output, as a client would send it."""
	generate = ["psql", "-qAtX", c.dsn(1), "-c", "COPY (SELECT 100000000 + g, 0, repeat('x', 60) FROM generate_series(1, %d) g) TO STDOUT" % rows]
	source = subprocess.Popen(generate, stdout=subprocess.PIPE)
	subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", c.dsn(1), "-c", "COPY big FROM STDIN"], stdin=source.stdout, check=True)
	source.wait()


ROW_BYTES = 75		# of a body


def medium(c, mb):
	c.execute(1, "INSERT INTO big SELECT %d + g, 0, repeat('x', 60) FROM generate_series(1, %d) g" % (200000000 + mb * 1000000, (mb << 20) // ROW_BYTES))


def three(c, rows):
	threads = [threading.Thread(target=c.execute, args=(1, "INSERT INTO big%d SELECT g, 0, repeat('x', 60) FROM generate_series(1, %d) g" % (n, rows // 3))) for n in range(3)]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join()


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--rows", type=int, default=1000000)
	parser.add_argument("--only", default="insert update copy", help="some of: insert update copy 1mb 2mb 4mb 7mb 9mb ctas alter three")
	parser.add_argument("--conf", action="append", default=[], help="a line of postgresql.conf")
	options = parser.parse_args()

	with cluster.Cluster(nodes=3, conf=["max_wal_size = 8GB"] + options.conf) as c:
		c.execute(1, "CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL, pad text)")
		for n in range(3):
			c.execute(1, "CREATE TABLE big%d (id int PRIMARY KEY, n int NOT NULL, pad text)" % n)
		c.execute(1, "CREATE TABLE small (id int PRIMARY KEY, n bigint NOT NULL)")
		c.execute(1, "INSERT INTO small SELECT g, 0 FROM generate_series(1, 3) g")
		c.wait_caught_up()
		writers = [Writer(c, i) for i in c]
		for writer in writers:
			writer.start()
		time.sleep(2)
		print("without: longest pauses %s" % " ".join("%.2f" % writer.longest(0) for writer in writers), flush=True)
		work = {"insert": lambda: c.execute(1, "INSERT INTO big SELECT g, 0, repeat('x', 60) FROM generate_series(1, %d) g" % options.rows),
				"update": lambda: c.execute(1, "UPDATE big SET n = n + 1"),
				"copy": lambda: copy(c, options.rows),
				"ctas": lambda: c.execute(1, "CREATE TABLE made AS SELECT g AS id, 0 AS n, repeat('x', 60) AS pad FROM generate_series(1, %d) g" % options.rows),
				"alter": lambda: c.execute(1, "BEGIN; ALTER TABLE big ADD COLUMN m int; UPDATE big SET m = n; COMMIT"),
				"three": lambda: three(c, options.rows)}
		for mb in (1, 2, 4, 7, 9):
			work["%dmb" % mb] = lambda mb=mb: medium(c, mb)
		pq.ANSWER_SECONDS = 3600
		for name in options.only.split():
			memory = Memory(c)
			memory.start()
			began = time.monotonic()
			work[name]()
			took = time.monotonic() - began
			c.wait_caught_up(600)
			time.sleep(1)
			applied = time.monotonic() - began - 1
			memory.ending = True
			memory.join()
			print("%s of %d rows: %.1f s, everywhere after %.1f s; longest pauses on nodes 1 to 3: %s s" % (
				name, options.rows, took, applied, " ".join("%.2f" % writer.longest(began) for writer in writers)), flush=True)
			for what in sorted({what for _, what in memory.peaks}):
				peaks = [memory.peaks.get((i, what), 0) for i in c]
				if max(peaks) > 8:
					print("    %-24s %s MB" % (what, " ".join("%6.0f" % peak for peak in peaks)), flush=True)
		for writer in writers:
			writer.ending = True
			writer.join()
		print("errors of the small clients: %s" % " ".join(str(writer.errors) for writer in writers))
		print("digests equal: %s" % (len({c.digest(i, "big") for i in c}) == 1))


if __name__ == "__main__":
	main()
