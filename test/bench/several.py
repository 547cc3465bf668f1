#!/usr/bin/env python3
"""Transactions over several data groups, beside those of one and beside two-phase commit, in one run. `make bench-several` runs it.

    one        two rows of one table: one data group
    several    one row each in two of eight tables, each in a data group of its own: through the sequencer
    2pc        one row each in two plain servers: PREPARE TRANSACTION on both at once, COMMIT PREPARED on both at once. Nothing is replicated there.
    2pc-sync   the same over two servers that each wait for one of two standbys (quorum-synchronous streaming replication): what is committed is on two disks, as with nodedb
Three nodes with eight data groups; clients on all nodes. Then pgbench -N, the work of `make bench`, on this cluster and on one with a single data group: what groups that are not
used cost. Every transaction runs on the disk as it is and, for all servers alike, as if each fsync took longer (slowdisk.c). In turns; medians over the rounds.
"""
import argparse
import os
import re
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import run  # noqa: E402
from run import cluster  # noqa: E402

GROUPS = 8
ROWS = 100000
PREPARED = "max_prepared_transactions = 100"


def fill(execute, tables):
	for number in range(1, tables + 1):
		execute("CREATE TABLE t%d (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50)" % number)
		execute("INSERT INTO t%d SELECT i, 0 FROM generate_series(1, %d) i" % (number, ROWS))


def prepared(server):
	"""One that can prepare transactions, with the table."""
	server.configure(PREPARED)
	server.stop()
	server.start()
	with run.pq.Connection(server.dsn("postgres")) as connection:
		fill(connection.execute, 1)


def build(directory):
	path = os.path.join(directory, "several_load")
	include = cluster.run("pg_config", "--includedir").strip()
	cluster.run("gcc", "-O2", "-I", include, "-o", path, os.path.join(os.path.dirname(os.path.realpath(__file__)), "several_load.c"), "-lpq", "-lpthread")
	return path


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
	parser.add_argument("--rounds", type=int, default=3)
	parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
	parser.add_argument("--fsync", type=int, nargs="+", default=[0, 4000], help="microseconds added to each fsync")
	parser.add_argument("--output", default="build/several.txt")
	options = parser.parse_args()

	directory = tempfile.mkdtemp(prefix="nodedb-bench-")
	os.chmod(directory, 0o755)
	systems = []
	try:
		load = build(directory)
		disk = run.Disk(directory)
		plain = run.Plain(directory)
		systems.append(plain)
		plain.add()
		for server in plain.servers:
			prepared(server)
		replicated = []
		for name in ("first", "second"):
			os.makedirs(os.path.join(directory, name))
			replicated.append(run.Sync(os.path.join(directory, name), PREPARED))
			systems.append(replicated[-1])
			prepared(replicated[-1].primary)
		single = run.Nodedb.__new__(run.Nodedb)
		single.cluster = cluster.Cluster(3, os.path.join(directory, "single"))
		eight = run.Nodedb.__new__(run.Nodedb)
		eight.cluster = cluster.Cluster(3, os.path.join(directory, "eight"), init_options="data_groups => %d" % GROUPS)
		for system in (single, eight):
			systems.append(system)
			system.cluster.up()
			run.pgbench(system.cluster.dsn(1), "-i", "-q", "-s", "10")
		fill(lambda text: eight.cluster.execute(1, text), GROUPS)
		for number in range(1, GROUPS + 1):
			eight.cluster.execute(1, "SELECT nodedb.place_table('t%d', %d)" % (number, number))
		systems[-1].settle()

		modes = {"one": [eight.cluster.dsn(i) for i in eight.cluster], "2pc": [s.dsn("postgres") for s in plain.servers], "2pc-sync": [s.primary.dsn("postgres") for s in replicated]}
		modes["several"] = modes["one"]
		os.environ["TABLES"] = str(GROUPS)
		seen = {}
		for round_number in range(options.rounds):
			for extra_us in options.fsync:
				for clients in options.clients:
					for mode, dsns in modes.items():
						disk.add(0)
						for system in systems:
							system.settle()
						disk.add(extra_us)
						out = cluster.run(load, mode.removesuffix("-sync"), str(clients), str(options.seconds), str(ROWS), *dsns).split()
						seen.setdefault((extra_us, clients), {}).setdefault(mode, []).append([int(word) for word in out[-5:]])
						print("round %d  +%d us, %d clients, %-8s %s committed, %s again, median %s us, 99 %% below %s us" %
							  (round_number + 1, extra_us, clients, mode, out[-5], out[-4], out[-2], out[-1]), flush=True)
			disk.add(0)
			for name, system in (("1 group", single), ("8 groups", eight)):
				system.settle()
				out = run.pgbench(system.cluster.dsn(system.cluster.leader()), "-n", "-T", str(options.seconds), "--max-tries=100", *run.MANY)
				tps = float(re.search(r"^tps = ([0-9.]+)", out, re.M).group(1))
				seen.setdefault("pgbench -N, 16 clients", {}).setdefault(name, []).append([tps])
				print("round %d  pgbench -N, %-9s %8.0f tps" % (round_number + 1, name, tps), flush=True)
		lines = ["| fsync, clients | 2pc: committed/s, median latency | 2pc-sync: of 2pc, latency | several: of 2pc, latency | several: of 2pc-sync | one: of 2pc, latency | several of one |",
				 "|---|---|---|---|---|---|---|"]
		for work, by_mode in seen.items():
			middle = {mode: [statistics.median(column) for column in zip(*samples)] for mode, samples in by_mode.items()}
			if isinstance(work, str):
				lines.append("%s: with 8 groups %.2f of that with 1" % (work, middle["8 groups"][0] / middle["1 group"][0]))
				continue
			base = middle["2pc"]
			lines.append("| +%d us, %d | %.0f, %.1f ms | %.2f, %.1f ms | %.2f, %.1f ms | %.2f | %.2f, %.1f ms | %.2f |" % (
				work[0], work[1], base[0] / options.seconds, base[3] / 1000, middle["2pc-sync"][0] / base[0], middle["2pc-sync"][3] / 1000,
				middle["several"][0] / base[0], middle["several"][3] / 1000, middle["several"][0] / middle["2pc-sync"][0],
				middle["one"][0] / base[0], middle["one"][3] / 1000, middle["several"][0] / middle["one"][0]))
		print("\n".join(lines))
		os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
		with open(options.output, "w") as out:
			out.write("\n".join(lines) + "\n")
	finally:
		for system in systems:
			system.down()
		cluster.shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
	main()
