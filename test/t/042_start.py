#!/usr/bin/env python3
"""A node that was down lets clients in when it has caught up with what was acknowledged meanwhile, schema changes above all; never for ever, with a majority
or without; and who wants no more than an older state is let in at once.
"""
import threading

from harness import *
from scenario import *
import pq

BACK = 3				# the node that is killed and comes back
setup(nodes=3, conf=["nodedb.commit_timeout = 2000"])


def patiently(c, command):
	"""On node 1: who leads may have been killed just now."""
	c.execute(1, "SET nodedb.commit_timeout = '60s'; " + command)


def behind(c, *commands):
	"""Kill the node, run schema commands elsewhere, start it with an applier that stops before its first batch."""
	local(c, BACK, "ALTER SYSTEM SET nodedb.stop_at = 'apply-read'")
	c.kill(BACK)
	for command in commands:
		patiently(c, command)
	c.start(BACK)
	stopped(c, BACK, "apply-read")


def let_go(c):
	with c.connect(BACK, consistency="local") as connection:
		connection.execute("ALTER SYSTEM RESET nodedb.stop_at")
		connection.execute("SELECT pg_reload_conf()")
	release(c, BACK, "apply-read")


def authenticating(c):
	"""Is a client of the node between its authentication and its first command?"""
	for pid in c.servers[BACK].processes():
		try:
			with open("/proc/%d/cmdline" % pid) as file:
				if "authentication" in file.read():
					return True
		except OSError:
			pass
	return False


@test
def a_client_waits_until_the_node_knows_the_schema(c):
	local(c, BACK, "ALTER SYSTEM SET nodedb.commit_timeout = '60s'")		# from its next start: the client is still at the door when the applier is let go
	behind(c, "CREATE TABLE made (id int PRIMARY KEY)", "INSERT INTO made VALUES (1)")
	seen = []

	def client():
		try:
			with c.connect(BACK, 60) as connection:
				seen.append(connection.value("SELECT count(*) FROM made"))
		except Error as error:
			seen.append(error.sqlstate)
	thread = threading.Thread(target=client)
	thread.start()
	poll("the client at the door", lambda: seen or authenticating(c), SECONDS, 0.01)
	equal(local(c, BACK, "SELECT to_regclass('made')"), None, "a local session is let in, and sees the older state")
	let_go(c)
	thread.join(SECONDS)
	local(c, BACK, "ALTER SYSTEM RESET nodedb.commit_timeout")
	equal(seen, ["1"])


@test
def it_is_refused_in_time_and_goes_on_to_the_next_host(c):
	behind(c, "CREATE TABLE late (id int PRIMARY KEY)")
	error = fails("08006", c.connect, BACK)
	equal("this node is starting and has not caught up with the cluster" in str(error), True, str(error))
	equal("is applied up to entry" in str(error) and "read_consistency=local" in str(error), True, str(error))
	equal("has not caught up" in local(c, BACK, "SELECT nodedb.status()"), True, "status() says so")
	for options in ("-cnodedb.read_consistency=local", "--nodedb.read-consistency=Local", "-c work_mem=1MB -c nodedb.read_consistency=session"):
		with pq.Connection("%s options='%s'" % (c.dsn(BACK), options)) as connection:
			equal(connection.value("SELECT to_regclass('late')"), None, options)
	fails("08006", c.connect, BACK, 10, "strong")
	with pq.Connection(c.servers[BACK].dsn("postgres")) as connection:
		equal(connection.value("SELECT 1"), "1", "another database")
	ports = "%d,%d" % (c.servers[BACK].port, c.servers[1].port)
	with pq.Connection("host=127.0.0.1,127.0.0.1 port=%s dbname=nodedb user=postgres" % ports) as connection:
		equal(connection.value("SHOW port"), str(c.servers[1].port))
		equal(connection.value("SELECT count(*) FROM late"), "0")
	let_go(c)
	poll("the node lets clients in", lambda: c.value(BACK, "SELECT count(*) FROM late") == "0", SECONDS)
	equal("has not caught up" in c.value(BACK, "SELECT nodedb.status()"), False)


@test
def without_a_majority_only_local_sessions_are_let_in(c):
	patiently(c, "CREATE TABLE kept (id int PRIMARY KEY)")
	patiently(c, "INSERT INTO kept VALUES (1)")
	c.wait_caught_up()
	c.execute(BACK, "CHECKPOINT")		# commits do not wait for WAL: what is not flushed is replayed from the log, for which there is no majority
	for i in c:
		c.kill(i)
	c.start(BACK)
	poll("its log to be read", lambda: metric(c, BACK, "nodedb_member_state") == 2, SECONDS)
	error = fails("08006", c.connect, BACK)
	equal("No majority" in str(error), True, str(error))
	equal(local(c, BACK, "SELECT count(*) FROM kept"), "1")
	equal("NO MAJORITY" in local(c, BACK, "SELECT nodedb.status()"), True)
	for i in (1, 2):
		c.start(i)
	for i in c:
		poll("node %d lets clients in" % i, lambda: c.value(i, "SELECT count(*) FROM kept") == "1", SECONDS)


main()
