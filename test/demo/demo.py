#!/usr/bin/env python3
"""The demonstration: three nodes, pgbench on all of them, the leader's server killed, nothing lost. `make demo` runs it.

`demo.py run` makes the cluster in $NODEDB_DIR (default /tmp/nodedb-demo) and leaves it running to play with; `demo.py stop` ends it.
Exits with 0 only when every check held.
"""
import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import cluster  # noqa: E402
import pgbench  # noqa: E402

_began = time.monotonic()


def say(text):
	print("%6.1f s  %s" % (time.monotonic() - _began, text), flush=True)


class Checks:
	def __init__(self):
		self.failed = 0

	def add(self, ok, text):
		self.failed += not ok
		print("          %s %s" % ("ok    " if ok else "FAILED", text), flush=True)


def sleep_until(moment):
	time.sleep(max(0, moment - time.time()))


def fail_over(c, options, checks):
	"""Load on every node, SIGKILL of the leader, its return; returns the finished loads."""
	began = time.time()
	loads = [pgbench.Load(c.dsn(i), options.clients, options.seconds, c.dir, i, options.scale) for i in c]
	say("pgbench runs on all nodes at once: TPC-B, %d clients each, for %d s" % (options.clients, options.seconds))

	sleep_until(began + options.seconds / 3)
	victim = c.leader()
	killed = time.time()
	c.kill(victim)
	say("node %d, the leader, killed: SIGKILL of its whole server" % victim)

	sleep_until(began + options.seconds * 2 / 3)
	returned = time.time()
	c.start(victim)
	say("node %d started again, while the others work" % victim)
	c.wait_ready()
	say("node %d is a connected voter again" % victim)
	for load in loads:
		load.wait()
	c.wait_caught_up()
	say("all nodes stand at the same index")

	survivors = [load for load in loads if load.node != victim]
	print()
	for load in loads:
		rate = len(load.acknowledged) / (options.seconds if load.node != victim else killed - began)
		print("          node %d: %6d acknowledged (%.0f/s), %d retries after conflicts, %d given up%s" % (
			load.node, len(load.acknowledged), rate, load.retries, load.failed,
			", clients lost with their server: %d" % load.aborted_clients if load.aborted_clients else ""))
	times = [t for load in survivors for t in load.acknowledged.values()]
	pause, _ = pgbench.gap(times, killed - 0.5, returned)
	usual, _ = pgbench.gap(times, began + 1, killed - 0.5)
	print("          longest time without any commit on the survivors: %.2f s around the kill (%.2f s before it)" % (pause, usual))
	after = sum(1 for t in times if killed + pause < t < returned)
	checks.add(after > 0, "the survivors went on: %d commits between the kill and the return" % after)
	for load in survivors:
		checks.add(load.aborted_clients == 0 and load.process.returncode == 0, "no client of node %d was thrown out" % load.node)
		if load.aborted_clients or load.process.returncode:
			print(load.text)
	return loads


def compare(c, loads, checks):
	for table in pgbench.TABLES:
		digests = {i: c.digest(i, table) for i in c}
		same = len(set(digests.values())) == 1
		checks.add(same, "%-17s equal on all nodes: %s rows, digest %s" % ((table,) + digests[1]) if same else
				   "%s differs: %r" % (table, digests))
	for i in c:
		sums = c.execute(i, pgbench.SUMS)[0]
		checks.add(len(set(sums)) == 1, "node %d: accounts, branches, tellers and history all sum up to %s" % (i, sums[0]) if len(set(sums)) == 1
				   else "node %d: sums differ: %s" % (i, ", ".join(map(str, sums))))
	names = [name.strip() for name, in c.execute(1, "SELECT filler FROM pgbench_history")]
	broken = pgbench.account(loads, names)
	acknowledged = sum(len(load.acknowledged) for load in loads)
	checks.add(not broken, "each of the %d acknowledged transactions is there exactly once, no refused one is" % acknowledged)
	for line in broken[:20]:
		print("                 " + line)


def run(options):
	if os.path.exists(os.path.join(cluster.DEFAULT_DIR, "cluster.json")):
		cluster.Cluster.load(cluster.DEFAULT_DIR).down()
	checks = Checks()
	c = cluster.Cluster(options.nodes, cluster.DEFAULT_DIR)
	c.up()
	say("a cluster of %d nodes in %s" % (options.nodes, c.dir))
	pgbench.initialize(c, options.scale)
	say("pgbench -i -s %d through node 1, on all nodes" % options.scale)
	loads = fail_over(c, options, checks)
	compare(c, loads, checks)
	print()
	if checks.failed:
		print("%d checks FAILED; logs: %s/node*/log" % (checks.failed, c.dir))
	else:
		print("Everything held. The cluster goes on running; try")
		for i in c:
			print("    psql '%s'" % c.dsn(i))
		print("and end it by: make demo-stop")
	return 1 if checks.failed else 0


def stop(_):
	if os.path.exists(os.path.join(cluster.DEFAULT_DIR, "cluster.json")):
		cluster.Cluster.load(cluster.DEFAULT_DIR).down()
		print("the demo's cluster is gone")
	else:
		print("there is no demo cluster in %s" % cluster.DEFAULT_DIR)
	return 0


def main():
	parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
	parser.add_argument("command", choices=("run", "stop"))
	parser.add_argument("--nodes", type=int, default=3)
	parser.add_argument("--scale", type=int, default=10)
	parser.add_argument("--clients", type=int, default=4, help="per node")
	parser.add_argument("--seconds", type=int, default=30)
	options = parser.parse_args()
	try:
		return (run if options.command == "run" else stop)(options)
	except (RuntimeError, TimeoutError, cluster.pq.Error) as error:
		print("demo: %s" % error, file=sys.stderr)
		return 1


if __name__ == "__main__":
	sys.exit(main())
