#!/usr/bin/env python3
"""TPC-B on all nodes while one node after the other is killed and comes back: nothing acknowledged is lost, nothing refused appears."""
from harness import *
import pgbench

SCALE = 1
setup(nodes=3)


def commits(c, i):
	return int(c.value(i, "SELECT count(*) FROM pgbench_history"))


def run(c, disturb):
	"""Load on every node; disturb() meanwhile, and commits seen on all nodes behind it; then every promise is checked. Clients of a disturbed node may be thrown out, no others."""
	c.execute(1, "DELETE FROM pgbench_history; UPDATE pgbench_accounts SET abalance = 0 WHERE abalance <> 0;"
				 " UPDATE pgbench_branches SET bbalance = 0; UPDATE pgbench_tellers SET tbalance = 0")
	loads = [pgbench.Load(c.dsn(i), 2, 600, c.dir, i, SCALE) for i in c]
	try:
		harmed = disturb()
		for i in c:
			goes_on(c, i, 100)
	finally:
		for load in [load.end() for load in loads]:
			load.wait()
	for load in loads:
		if load.node not in harmed and (load.aborted_clients or load.process.returncode):
			raise AssertionError("clients of node %d were thrown out:\n%s" % (load.node, load.text))
	c.wait_ready()
	broken = pgbench.check(c, loads)
	if broken:
		raise AssertionError("%d broken promises, such as\n%s" % (len(broken), "\n".join(broken[:10])))


def goes_on(c, i, n=0):
	before = poll("a read on node %d" % i, lambda: (commits(c, i),), 120)[0]
	poll("further commits, seen on node %d" % i, lambda: commits(c, i) > before + n, 120)


@test
def tables_are_made(c):
	pgbench.initialize(c, SCALE)
	same_everywhere(c, *pgbench.TABLES)
	equal(c.value(2, "SELECT count(*) FROM pgbench_accounts"), "100000")


@test
def undisturbed(c):
	run(c, lambda: [])


@test
def leader_is_killed(c):
	def disturb():
		victim = c.leader()
		goes_on(c, victim)
		c.kill(victim)
		goes_on(c, c.running()[0])
		c.start(victim)
		return [victim]
	run(c, disturb)


@test
def each_node_is_killed_in_turn(c):
	for victim in c:
		def disturb():
			goes_on(c, victim)
			c.kill(victim)
			goes_on(c, c.running()[0])
			c.start(victim)
			return [victim]
		run(c, disturb)


@test
def leader_is_stopped_in_order(c):
	def disturb():
		victim = c.leader()
		goes_on(c, victim)
		c.stop(victim)
		goes_on(c, c.running()[0])
		c.start(victim)
		return [victim]
	run(c, disturb)


@test
def leader_is_frozen_and_thaws(c):
	def disturb():
		victim = c.leader()
		goes_on(c, victim)
		c.pause(victim)
		try:
			goes_on(c, next(i for i in c if i != victim))
		finally:
			c.resume(victim)
		return [victim]
	run(c, disturb)


main()
