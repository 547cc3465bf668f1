#!/usr/bin/env python3
"""nodedb beside what its users have now, on this machine, in one run. `make bench` runs it; BENCH_ARGS="--seconds 20 --rounds 5" and so on.

Three systems stand at the same time, one works at a time, in turns (A B C A B C), so that a slow minute of the machine meets all:
    plain     one server, heap tables, nothing replicated: the upper bound
    sync      streaming replication: primary and two standbys, synchronous_standby_names = 'ANY 1 (...)', synchronous_commit = on
    nodedb    three nodes; the load is on the leader of the data group, then ("nodedb-f") on a follower,
              then ("nodedb-l") on the leader again, with nodedb.read_consistency = local: what strong reads cost
Work: pgbench -N (updates without the hot rows) with 1 and with 16 clients, and -S (reads) with 16. Writes run on the disk as it is and once more
as if each fsync took one and four milliseconds longer, for all servers alike (slowdisk.c): a commit waits for one fsync here and for two in a row with streaming
replication, which shows on disks that are slower than this machine's may be, as those of virtual machines are. Medians over the rounds, and their ratio to plain. Everything shares the machine's processors and its one disk: ratios count, absolute figures do not.
"""
import argparse
import os
import re
import statistics
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import pq  # noqa: E402

ONE = ["-N", "-c", "1"]
MANY = ["-N", "-c", "16", "-j", "2"]
# name, microseconds added to an fsync, what pgbench does
WORK = (("-N, 1 client", 0, ONE), ("-N, 16 clients", 0, MANY), ("-S, 16 clients", 0, ["-S", "-c", "16", "-j", "2"]),
		("-N, 1, +1 ms", 1000, ONE), ("-N, 1, +4 ms", 4000, ONE), ("-N, 16, +4 ms", 4000, MANY))
STANDBY_CONF = """
primary_conninfo = 'host=127.0.0.1 port={primary} user=postgres application_name=standby{number}'
"""


def pgbench(dsn, *options):
	return cluster.run(os.path.join(cluster.BIN, "pgbench"), *options, dsn)


class Plain:
	name = "plain"

	def __init__(self, directory):
		self.dir = os.path.join(directory, self.name)
		os.makedirs(self.dir)
		self.servers = []
		self.primary = self.add()

	def add(self):
		server = cluster.Server(self.dir, len(self.servers) + 1, "127.0.0.1", *cluster.free_ports(2))
		self.servers.append(server)
		server.initdb(cluster.CONF)
		server.start()
		return server

	def dsns(self):
		return {self.name: self.primary.dsn("postgres")}

	def settle(self):
		with pq.Connection(self.primary.dsn("postgres")) as connection:
			connection.execute("CHECKPOINT")

	def down(self):
		for server in self.servers:
			server.kill()


class Sync(Plain):
	name = "sync"

	def __init__(self, directory, conf=""):
		"""conf: for primary and standbys; the primary's takes effect when it is started again."""
		super().__init__(directory)
		self.conf = conf
		for number in (1, 2):
			self.add_standby(number)
		self.primary.configure("synchronous_standby_names = 'ANY 1 (standby1, standby2)'\nsynchronous_commit = on\n")
		with pq.Connection(self.primary.dsn("postgres")) as connection:
			connection.execute("SELECT pg_reload_conf()")
			cluster.poll("two standbys", lambda: connection.value("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'") == "2")

	def add_standby(self, number):
		server = cluster.Server(self.dir, len(self.servers) + 1, "127.0.0.1", *cluster.free_ports(2))
		self.servers.append(server)
		os.makedirs(server.dir)
		if os.geteuid() == 0:
			cluster.shutil.chown(server.dir, "postgres", "postgres")
		cluster.run(os.path.join(cluster.BIN, "pg_basebackup"), "-D", server.data, "-d", self.primary.dsn("postgres"), "-c", "fast",
					cwd="/", **cluster.as_postgres())
		server.configure(cluster.CONF + STANDBY_CONF.format(primary=self.primary.port, number=number) + self.conf)
		open(os.path.join(server.data, "standby.signal"), "w").close()
		server.start()


class Nodedb:
	name = "nodedb"

	def __init__(self, directory):
		self.cluster = cluster.Cluster(3, os.path.join(directory, self.name))
		self.cluster.up()

	def dsns(self):
		leader = self.cluster.leader()
		follower = next(i for i in self.cluster if i != leader)
		local = self.cluster.dsn(leader) + " options='-c nodedb.read_consistency=local'"
		return {"nodedb": self.cluster.dsn(leader), "nodedb-f": self.cluster.dsn(follower), "nodedb-l": local}

	def settle(self):
		self.cluster.wait_caught_up()
		for i in self.cluster:
			self.cluster.execute(i, "CHECKPOINT")

	def down(self):
		self.cluster.down()


class Disk:
	"""The disk under all servers, as slow as wanted (slowdisk.c)."""

	def __init__(self, directory):
		self.path = os.path.join(directory, "fsync_us")
		library = os.path.join(directory, "slowdisk.so")
		cluster.run("gcc", "-O2", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, os.path.join(os.path.dirname(os.path.realpath(__file__)), "slowdisk.c"), "-ldl")
		self.add(0)
		os.environ["NODEDB_SLOWDISK"] = self.path
		os.environ["LD_PRELOAD"] = library

	def add(self, microseconds):
		# in place: the servers have it mapped
		with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as file:
			file.write(struct.pack("=I", microseconds))

	def fsync_us(self):
		"""What an fsync costs here: the median of some."""
		path = os.path.join(os.path.dirname(self.path), "probe")
		taken = []
		with open(path, "wb") as file:
			for _ in range(200):
				file.write(b"x" * 512)
				file.flush()
				began = time.monotonic()
				os.fdatasync(file.fileno())
				taken.append(time.monotonic() - began)
		os.unlink(path)
		return statistics.median(taken) * 1e6


def table(results, names):
	lines = ["%-18s" % "tps (ratio)" + "".join("%20s" % name for name in names)]
	for work in results:
		base = statistics.median(results[work]["plain"])
		cells = []
		for name in names:
			median = statistics.median(results[work][name])
			cells.append("%20s" % ("%.0f (%.2f)" % (median, median / base)))
		lines.append("%-18s" % work + "".join(cells))
	return "\n".join(lines)


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
	parser.add_argument("--rounds", type=int, default=3)
	parser.add_argument("--scale", type=int, default=10)
	parser.add_argument("--only", default="", metavar="TEXT", help="measurements whose name holds this")
	parser.add_argument("--output", default="build/bench.txt")
	options = parser.parse_args()

	directory = tempfile.mkdtemp(prefix="nodedb-bench-")
	os.chmod(directory, 0o755)
	systems = []
	disk = Disk(directory)
	try:
		for kind in (Plain, Sync, Nodedb):
			systems.append(kind(directory))
			pgbench(next(iter(systems[-1].dsns().values())), "-i", "-q", "-s", str(options.scale))
			print("%s is ready" % systems[-1].name, flush=True)
		results = {work[0]: {} for work in WORK if options.only in work[0]}
		for round_number in range(options.rounds):
			for work, extra_us, arguments in (w for w in WORK if w[0] in results):
				for system in systems:
					for name, dsn in system.dsns().items():
						disk.add(0)
						system.settle()
						disk.add(extra_us)
						out = pgbench(dsn, "-n", "-T", str(options.seconds), "--max-tries=100", *arguments)
						tps = float(re.search(r"^tps = ([0-9.]+)", out, re.M).group(1))
						results[work].setdefault(name, []).append(tps)
						print("round %d  %-16s %-9s %8.0f tps" % (round_number + 1, work, name, tps), flush=True)
		text = table(results, list(next(iter(results.values()))))
		print("\nmedians of %d rounds of %d s, scale %d, %d processors, an fsync takes %.0f us (+n ms: as much more)\n%s" %
			  (options.rounds, options.seconds, options.scale, os.cpu_count(), disk.fsync_us(), text))
		os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
		with open(options.output, "w") as out:
			out.write(text + "\n")
	finally:
		for system in systems:
			system.down()
		cluster.shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
	main()
