#!/usr/bin/env python3
"""Kill after kill under load: acknowledged is there exactly once, refused is not there, all nodes are equal after each recovery; the pauses are shown.

NODEDB_LONG=1 (make test-long): twenty kills in a row, and 100,000 transactions while a node is away.
"""
import os
import signal
import statistics
import time

from harness import *
from scenario import *
import pgbench

LONG = os.environ.get("NODEDB_LONG", "0") not in ("", "0")
KILLS = 20 if LONG else 6
AWAY = 100000 if LONG else 5000
ROUND_SECONDS = 600			# at the most: settle() ends it
setup(nodes=3)


def forget(c):
	c.execute(1, "DELETE FROM pgbench_history; UPDATE pgbench_accounts SET abalance = 0 WHERE abalance <> 0;"
				 " UPDATE pgbench_branches SET bbalance = 0; UPDATE pgbench_tellers SET tbalance = 0")
	c.wait_caught_up()


def commits(c, i):
	return int(local(c, i, "SELECT count(*) FROM pgbench_history"))


def load(c, nodes, seconds=ROUND_SECONDS):
	loads = [pgbench.Load(c.dsn(i), 2, seconds, c.dir, i, 1) for i in nodes]
	for i in nodes:
		poll("first commits, seen on node %d" % i, lambda: commits(c, i) > 20, SECONDS, 0.02)
	return loads


def settle(c, loads, harmed):
	"""Everything that was promised to clients is checked, on every node."""
	for one in [one.end() for one in loads]:
		one.wait()
	c.wait_ready()
	for one in loads:
		if one.node not in harmed and (one.aborted_clients or one.process.returncode):
			raise AssertionError("clients of node %d were thrown out:\n%s" % (one.node, one.text))
	equal(pgbench.check(c, loads), [])


@test
def tables_are_made(c):
	pgbench.initialize(c, 1)
	same_everywhere(c, *pgbench.TABLES)


@test
def kills_in_a_row(c):
	"""Leader and followers by turns, while all nodes are under load; the survivors' longest pause between two acknowledgements is shown."""
	pauses = {True: [], False: []}
	for n in range(KILLS):
		victim = c.leader() if n % 2 == 0 else [i for i in c if i != c.leader()][n // 2 % 2]
		leads = victim == c.leader()
		loads = load(c, list(c))
		killed = time.time()
		c.kill(victim)
		survivor = [i for i in c if i != victim][0]
		before = commits(c, survivor)
		poll("commits without node %d" % victim, lambda: commits(c, survivor) > before + 20, SECONDS)
		c.start(victim)
		known = commits(c, survivor)
		poll("node %d to catch up under load" % victim, lambda: int(c.value(victim, "SELECT count(*) FROM pgbench_history")) > known + 20, SECONDS)
		settle(c, loads, [victim])
		times = [t for one in loads if one.node != victim for t in one.acknowledged.values()]
		pauses[leads].append(pgbench.gap(times, killed - 0.2, max(times))[0])
		forget(c)
	for leads, title in ((True, "leader"), (False, "follower")):
		if pauses[leads]:
			print("pause of the survivors after the death of a %s, %d kills: median %.0f ms, longest %.0f ms"
				  % (title, len(pauses[leads]), 1000 * statistics.median(pauses[leads]), 1000 * max(pauses[leads])))


@test
def all_are_killed_at_once_under_load(c):
	for _ in range(2 if LONG else 1):
		loads = load(c, list(c))
		for i in c:
			c.pause(i)					# so that none sees another's end
		for i in c:
			c.kill(i)
		for i in c:
			c.start(i)
		settle(c, loads, list(c))
		forget(c)


@test
def node_that_was_away_catches_up(c):
	"""A node misses many transactions and gets them all, while the others go on committing."""
	make(c, "CREATE TABLE away (id bigint PRIMARY KEY, note text)")
	for n_stop, stop in enumerate((c.kill, c.stop)):
		away = next(i for i in c if i != c.leader())
		others = [i for i in c if i != away]
		stop(away)
		each = AWAY // 8
		base = n_stop * AWAY
		sessions = [Session(c, others[n % 2]) for n in range(8)]
		for n, session in enumerate(sessions):
			session.start("DO $$ BEGIN FOR i IN 1..%d LOOP INSERT INTO away VALUES (%d + i, 'x'); COMMIT; END LOOP; END $$" % (each, base + n * each))
		equal([session.end(600) for session in sessions], ["ok"] * 8)
		for session in sessions:
			session.connection.close()
		began = time.monotonic()
		c.start(away)
		goes_on(c, "away", *others)
		c.wait_ready()
		c.wait_caught_up(600)
		print("caught up with %d transactions in %.1f s" % (8 * each, time.monotonic() - began))
		equal(int(c.value(away, "SELECT count(*) FROM away WHERE id BETWEEN $1 AND $2", base + 1, base + 8 * each)), 8 * each)
		same_everywhere(c, "away")
		if LONG:
			checksums = poll("certifier checksums at the same entry",
							 lambda: len({local(c, i, "SELECT certifier_checksum FROM nodedb.groups WHERE group_id = 1") for i in c}) == 1, SECONDS)
			equal(checksums, True)


@test
def one_applier_after_a_backend_crashed(c):
	"""PostgreSQL restarts after the crash of a backend: with one applier, for two would apply entries twice. Without a key nothing else would notice."""
	make(c, "CREATE TABLE keyless (v int)")
	there, here = 1, 2
	os.kill(Session(c, here).pid, signal.SIGKILL)
	c.wait_ready()
	poll("an applier", lambda: local(c, here, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'nodedb applier'") == "1", SECONDS)
	c.execute(there, "DO $$ BEGIN FOR v IN 1..2000 LOOP INSERT INTO keyless VALUES (v); COMMIT; END LOOP; END $$")
	same_everywhere(c, "keyless")
	equal(local(c, here, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'nodedb applier'"), "1")


main()
