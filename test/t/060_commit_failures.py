#!/usr/bin/env python3
"""Whatever hits a session while it commits, at whatever moment: the others go on, and what its client is told is true on every node.

Moments are the named events of src/pg/stop_event.h.
"""
import os
import signal
import subprocess

from harness import *
from scenario import *
import cluster

EVENTS = ("before-propose", "proposed", "granted", "before-turn", "in-turn", "before-advance")
# What a client hears of a cancel, or of the end of its session, at each event. A cancel behind the grant would only make work for the applier.
CANCEL = dict(zip(EVENTS, ("57014", "40003", "40003", "ok", "ok", "ok")))
TERMINATE = dict(zip(EVENTS, ("57P01", "40003", "40003", "40003", "40003", "ok")))
# The entry is in the log for good: it takes effect, whatever becomes of its session.
CERTAIN = EVENTS[2:]

LOG_MB = 96
setup(nodes=3, conf=["nodedb.directory = '{dir}/replicated'", "nodedb.segment_size = 4", "nodedb.log_keep = 16", "nodedb.commit_timeout = 5000"])

_key = [0]


def new_key():
	_key[0] += 1
	return _key[0]


def insert_stopped(session, event, key, by="INSERT INTO fail (id) VALUES (%d)"):
	session.execute("SET nodedb.stop_at = '%s'" % event)
	session.start(by % key)
	stopped(session.cluster, session.node, event, session.pid)


def judged(c, session, event, key, wanted):
	"""The session's end is the wanted one, all nodes agree with it, and everybody goes on."""
	told = session.end()
	equal(told, wanted, "answer after %s" % event)
	goes_on(c, "fail", *c)
	there = effect(c, "fail", key, told)
	if event in CERTAIN:
		equal(there, True, "row %d, in the log when its session was hit at %s" % (key, event))
	if told == "40003":
		equal(bool(session.error.hint), True, "40003 comes with a hint")
	same_everywhere(c, "fail")


def each_event(c, hit, wanted):
	for event in EVENTS:
		# the leader and a follower: with and without a forwarded proposal
		for node in (c.leader(), next(i for i in c if i != c.leader())):
			key = new_key()
			with Session(c, node) as session:
				insert_stopped(session, event, key)
				hit(session, event)
				if wanted[event] == "ok":
					release(c, node, event)
				judged(c, session, event, key, wanted[event])


@test
def table_is_made(c):
	make(c, "CREATE TABLE fail (id bigint PRIMARY KEY, note text)")


@test
def cancel_at_every_moment(c):
	each_event(c, lambda session, event: session.connection.cancel(), CANCEL)


@test
def termination_at_every_moment(c):
	each_event(c, lambda session, event: local(c, session.node, "SELECT pg_terminate_backend($1)", session.pid), TERMINATE)


def timed_out(c, event, by, wanted, timeout):
	"""False: it was not seen at the event, for its time was over before it got there, or before anybody looked; or just before COMMIT, which then hears of it."""
	key = new_key()
	with Session(c, 2, "SET nodedb.stop_at = '%s'" % event, "SET statement_timeout = %d" % timeout) as session:
		session.start(by % key)
		seen = poll("at %s, or at its end" % event, lambda: at_event(c, 2, event, session.pid) or (not session.busy() and "ended"), SECONDS, 0.02) != "ended"
		if seen and wanted == "ok":
			release(c, 2, event)
		if not seen or (wanted == "ok" and session.end() in ("57014", "40003")):
			effect(c, "fail", key, session.end())
			return False
		judged(c, session, event, key, wanted)
	return True


@test
def statement_timeout_at_every_moment(c):
	"""PostgreSQL ends the statement's timer before COMMIT; it runs on in a procedure that commits."""
	for event in EVENTS:
		for by in ("INSERT INTO fail (id) VALUES (%d)", "DO $$ BEGIN INSERT INTO fail (id) VALUES (%d); COMMIT; END $$"):
			wanted = CANCEL[event] if by.startswith("DO") else "ok"
			# on a slow machine: once more, with more time
			if not any(timed_out(c, event, by, wanted, timeout) for timeout in (300, 1500, 7500)):
				raise AssertionError("never seen at %s" % event)


@test
def backend_is_killed_at_every_moment(c):
	"""SIGKILL of one backend makes PostgreSQL restart the whole server; its log and its ledger bring everything back."""
	for n, event in enumerate(EVENTS):
		node, key = n % 3 + 1, new_key()
		others = [i for i in c if i != node]
		with Session(c, node) as session:
			insert_stopped(session, event, key)
			os.kill(session.pid, signal.SIGKILL)
			equal(session.end() in ("08006", "57P02"), True, "its client hears of the loss (%s)" % session.outcome)
			goes_on(c, "fail", *others)
			poll("node %d after its restart" % node, lambda: local(c, node, "SELECT 1"), SECONDS)
			c.wait_ready()
			there = effect(c, "fail", key, session.outcome)
			if event in CERTAIN:
				equal(there, True, "row %d, in the log when its backend was killed at %s" % (key, event))
			goes_on(c, "fail", *c)
			same_everywhere(c, "fail")


@test
def applier_is_killed_or_ended_at_every_moment(c):
	for event in ("apply-read", "apply-commit"):
		for number in (signal.SIGTERM, signal.SIGKILL):
			key = new_key()
			stop_applier(c, 3, event)
			c.execute(1, "INSERT INTO fail (id) VALUES ($1)", key)
			pid = stopped(c, 3, event)
			stop_applier(c, 3, "")
			os.kill(pid, number)
			goes_on(c, "fail", 1, 2)
			poll("node 3 applies again", lambda: local(c, 3, "SELECT count(*) FROM fail WHERE id = $1", key) == "1", SECONDS)
			c.wait_ready()
			goes_on(c, "fail", *c)
			same_everywhere(c, "fail")


@test
def raft_worker_or_guard_is_killed_or_ended(c):
	"""Whoever ends one of the node's workers, and however: the node is back by itself, and nothing is lost."""
	for worker in ("raft worker", "guard"):
		for number in (signal.SIGTERM, signal.SIGKILL):
			node, key = c.leader(), new_key()
			with Session(c, node) as session:
				insert_stopped(session, "proposed", key)
				pid = poll("the %s of node %d" % (worker, node),
						   lambda: [pid for pid in c.servers[node].processes() if "nodedb " + worker in command_line(pid)], SECONDS)[0]
				os.kill(pid, number)
				poll("the end of the %s" % worker, lambda: not os.path.exists("/proc/%d" % pid), SECONDS, 0.01)
				poll("node %d" % node, lambda: local(c, node, "SELECT 1"), SECONDS)
				release(c, node, "proposed")
				told = session.end()
			goes_on(c, "fail", *c)
			c.wait_ready()
			effect(c, "fail", key, told)
			same_everywhere(c, "fail")


def command_line(pid):
	try:
		with open("/proc/%d/cmdline" % pid) as file:
			return file.read()
	except OSError:
		return ""


@test
def large_transaction_is_handed_over(c):
	"""Its body is in the log in several pieces before it is proposed: given up they are freed; certified the applier finds them, at the origin too."""
	rows = "INSERT INTO large SELECT %d + g, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 3000) WHERE g > 0) FROM generate_series(1, 40) g"
	make(c, "CREATE TABLE large (id int PRIMARY KEY, v text)")
	for n, event in enumerate(("before-propose", "proposed", "before-turn")):
		leader = c.leader()
		for node in (leader, next(i for i in c if i != leader)):
			first = (2 * n + (node == leader)) * 1000
			with Session(c, node) as session:
				insert_stopped(session, event, first, rows)
				local(c, node, "SELECT pg_terminate_backend($1)", session.pid)
				equal(session.end(), TERMINATE[event])
			goes_on(c, "fail", *c)
			same_everywhere(c, "large")
			there = c.value(1, "SELECT count(*) FROM large WHERE id BETWEEN $1 AND $1 + 40", first)
			equal(there in (("0",) if event == "before-propose" else ("40",) if event == "before-turn" else ("0", "40")), True,
				  "%s of 40 rows after %s" % (there, event))
	c.kill(2)
	c.start(2)
	c.wait_ready()
	same_everywhere(c, "large", "fail")


@test
def leader_freezes_at_every_moment(c):
	"""The whole leader stops while it, or another node, commits: the majority goes on, and the truth is told in the end."""
	for event in ("before-propose", "proposed", "granted"):
		frozen = c.leader()
		others = [i for i in c if i != frozen]
		with Session(c, frozen) as here, Session(c, others[0]) as there:
			keys = new_key(), new_key()
			insert_stopped(here, event, keys[0])
			insert_stopped(there, event, keys[1])
			c.pause(frozen)
			try:
				release(c, others[0], event)
				equal(there.end() in ("ok", "40003", "57P03"), True, "answer on another node (%s)" % there.outcome)
				goes_on(c, "fail", *others)
			finally:
				c.resume(frozen)
			release(c, frozen, event)
			here.end()
			c.wait_ready()
			for session, key in ((here, keys[0]), (there, keys[1])):
				equal(session.outcome in ("ok", "40003", "40001", "57P03"), True, "answer %s" % session.outcome)
				effect(c, "fail", key, session.outcome)
			goes_on(c, "fail", *c)
			same_everywhere(c, "fail")


# ---- a full disk ----

def add_with_small_disk(c):
	"""A fourth node whose log lies on a small file system of its own: (node, directory); None when mounting is not allowed."""
	made = []
	initdb = cluster.Server.initdb

	def initdb_and_mount(server, conf):
		initdb(server, conf)
		directory = os.path.join(server.dir, "replicated")
		os.makedirs(directory)
		owner = os.stat(server.data)
		done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,uid=%d,gid=%d,mode=700" % (LOG_MB, owner.st_uid, owner.st_gid),
							   "nodedb-test", directory], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
		if done.returncode == 0:
			made.append(directory)
		else:
			print("skipped: mounting a small file system is not allowed here: %s" % done.stdout.strip())

	probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "nodedb-test", "/mnt"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	if os.geteuid() != 0 or probe.returncode != 0:
		print("skipped: mounting a small file system is not allowed here: %s" % (probe.stdout.strip() or "not root"))
		return None, None
	cluster.Server.initdb = initdb_and_mount
	try:
		return c.add(), made[0]
	except BaseException:
		for directory in made:
			subprocess.run(["umount", "-l", directory])
		raise
	finally:
		cluster.Server.initdb = initdb


def fill(path):
	with open(path, "wb", buffering=0) as file:
		try:
			while file.write(b"x" * 65536):
				pass
		except OSError:
			pass


def resize(directory, megabytes):
	subprocess.run(["mount", "-o", "remount,size=%dm" % megabytes, directory], check=True)


@test
def log_disk_is_full(c):
	"""First on a follower, then on the leader: no wrong answer, the others go on, and with space everything heals by itself."""
	node, directory = add_with_small_disk(c)
	if node is None:
		return
	others = [i for i in c if i != node]
	try:
		for leads in (False, True):
			if leads:
				c.lead(1, node)
			filler = os.path.join(directory, "filler")
			fill(filler)
			told = {}
			keys = []
			# what is prepared of the log takes some more
			for _ in range(40):
				key = new_key()
				keys.append(key)
				with Session(c, node, "SET nodedb.commit_timeout = 2000") as session:
					told[key] = session.start("INSERT INTO fail SELECT %d, string_agg(md5(random()::text), '') FROM generate_series(1, 20000)" % key).end()
				if told[key] != "ok":
					break
			equal(told[keys[-1]] in ("53100", "40003", "57P03"), True, "answer with a full disk: %r" % told)
			goes_on(c, "fail", *others)
			os.unlink(filler)
			resize(directory, 4 * LOG_MB)
			c.wait_ready()
			goes_on(c, "fail", *c)
			for key in keys:
				effect(c, "fail", key, told[key])
			same_everywhere(c, "fail")
	finally:
		c.kill(node)
		subprocess.run(["umount", "-l", directory])


main()
