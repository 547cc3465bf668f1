#!/usr/bin/env python3
"""Eight data groups and a sequencer on three nodes: transactions over several groups are seen whole or not at all, on every node, whatever ends between two steps.

`spread` has a leaf in each group: one INSERT into it is a transaction over all of them.
"""
import os
import signal

from harness import *
from scenario import *

GROUPS = 8
ALL = list(range(1, GROUPS + 1))
EVENTS = ("before-propose", "proposed", "granted", "before-turn", "in-turn", "before-advance")
CERTAIN = EVENTS[2:]			# the outcome is "commit" in the logs: it takes effect, whatever becomes of its session
setup(nodes=3, init_options="data_groups => %d" % GROUPS, conf=["nodedb.commit_timeout = 8000"])

_key = [0]


def new_key():
	_key[0] += 1
	return _key[0]


def insert(key, groups=ALL):
	return "INSERT INTO spread SELECT %d, g FROM unnest(ARRAY%r) g" % (key, list(groups))


def rows(c, node, key):
	return int(local(c, node, "SELECT count(*) FROM spread WHERE id = $1", key))


def whole(c, key, told, n=GROUPS):
	"""All nodes agree: all of its rows are there, or none, as its client was told. Returns whether."""
	c.wait_caught_up()
	seen = {i: rows(c, i, key) for i in c.running()}
	equal(set(seen.values()) in ({0}, {n}), True, "key %d, whose client heard %s, has on each node: %r" % (key, told, seen))
	there = set(seen.values()) == {n}
	if told == "ok":
		equal(there, True, "acknowledged key %d is there" % key)
	elif told not in ("40003", "08006", "57P02", "57P01"):
		equal(there, False, "key %d, whose client heard %s, is there" % (key, told))
	return there


def others_go_on(c, *nodes):
	"""Each of the nodes commits over all groups."""
	for i in nodes:
		key = new_key()
		poll("a commit over all groups on node %d" % i, lambda: c.execute(i, insert(key) + " ON CONFLICT DO NOTHING") or True, SECONDS)
		poll("key %d on all" % key, lambda: {rows(c, j, key) for j in nodes} == {GROUPS}, SECONDS)


def insert_stopped(session, event, key):
	session.execute("SET nodedb.stop_at = '%s'" % event)
	session.start(insert(key))
	stopped(session.cluster, session.node, event, session.pid)


@test
def every_node_shows_all_groups_and_the_sequencer(c):
	for i in c:
		shown = c.execute(i, "SELECT group_id, kind FROM nodedb.groups")
		equal(shown, [("0", "metadata")] + [(str(g), "data") for g in ALL] + [("-1", "sequencer")], "groups of node %d" % i)
		equal(c.execute(i, "SELECT DISTINCT replicas FROM nodedb.groups"), [("{1,2,3}",)])
		status = c.value(i, "SELECT nodedb.status()")
		equal([line.split(":")[0] for line in status.splitlines() if "group" in line],
			  ["group 0 (metadata)"] + ["group %d" % g for g in ALL] + ["sequencer group (-1)"], "status of node %d" % i)
		equal(c.value(i, "SELECT value FROM nodedb.metrics WHERE name = 'nodedb_sequencer_unfinished'"), "0")
	equal(c.groups(1), ALL)


@test
def the_sequencer_is_led_where_it_is_told(c):
	for i in c:
		c.lead(-1, i)


@test
def a_transaction_over_all_groups(c):
	make(c, "CREATE TABLE spread (id bigint, g int, PRIMARY KEY (id, g)) PARTITION BY LIST (g)",
		 *["CREATE TABLE spread_%d PARTITION OF spread FOR VALUES IN (%d)" % (g, g) for g in ALL])
	make(c, *["SELECT nodedb.place_table('spread_%d', %d)" % (g, g) for g in ALL])
	for i in c:
		key = new_key()
		before = metric(c, i, "nodedb_sequencer_decided")
		c.execute(i, insert(key))
		for j in c:
			equal(c.value(j, "SELECT count(*) FROM spread WHERE id = $1", key), str(GROUPS), "a strong read on node %d" % j)
		poll("it is counted", lambda: metric(c, i, "nodedb_sequencer_decided") > before, SECONDS)
		poll("all groups have its outcome", lambda: metric(c, i, "nodedb_sequencer_unfinished") == 0, SECONDS)
	same_everywhere(c, "spread")


@test
def seen_at_once(c):
	"""Where it is about to be committed nothing of it is there, then all."""
	key = new_key()
	stop_applier(c, 3, "apply-commit")
	c.execute(1, insert(key))
	stopped(c, 3, "apply-commit")
	equal((rows(c, 1, key), rows(c, 3, key)), (GROUPS, 0))
	with c.connect(3, consistency="local") as connection:
		token = c.value(1, "SELECT nodedb.session_token()")
		connection.execute("SELECT nodedb.use_session_token($1)", token)
		stop_applier(c, 3, "")
		release(c, 3, "apply-commit")
		connection.execute("SET nodedb.read_consistency = session")
		equal(connection.value("SELECT count(*) FROM spread WHERE id = $1", key), str(GROUPS), "read by the token")
	with Session(c, 2) as session:
		key = new_key()
		insert_stopped(session, "in-turn", key)
		equal({rows(c, 2, key)}, {0})
		release(c, 2, "in-turn")
		equal(session.end(), "ok")
	whole(c, key, "ok")


@test
def refused_by_one_group(c):
	"""The row that was met is named, though it is in another group than most of the transaction; nothing of it is left in any."""
	for n, g in enumerate((1, 5, 8)):
		key = new_key()
		c.execute(1, insert(key, [g]))
		c.wait_caught_up()
		winner, loser = 1 + n % 3, 1 + (n + 1) % 3
		with Session(c, loser, "SET nodedb.statement_retries = 0") as session:
			session.execute("BEGIN")
			session.execute("DELETE FROM spread WHERE id = %d" % key)
			session.execute(insert(key + 1000000, [h for h in ALL if h != g]))
			session.execute("SET nodedb.stop_at = 'before-propose'")
			session.start("COMMIT")
			stopped(c, loser, "before-propose", session.pid)
			stop_applier(c, loser, "apply-read")		# else it would make the loser give way before it asks
			c.execute(winner, "DELETE FROM spread WHERE id = $1", key)
			stopped(c, loser, "apply-read")
			release(c, loser, "before-propose")
			equal(session.end(), "40001")
			equal("spread_%d" % g in (session.error.detail or ""), True, "detail: %s" % session.error.detail)
			stop_applier(c, loser, "")
			release(c, loser, "apply-read")
		whole(c, key + 1000000, "40001", GROUPS - 1)
		others_go_on(c, *c)


def each_event(c, hit, ok):
	"""hit(session, event) at every event, on the leader of group 1 and elsewhere. ok: those after which the client hears that it is committed."""
	for n, event in enumerate(EVENTS):
		node, key = n % 3 + 1, new_key()
		with Session(c, node) as session:
			insert_stopped(session, event, key)
			hit(session, event)
			if event in ok:
				release(c, node, event)
			told = session.end()
			equal(told == "ok", event in ok, "answer after %s: %s" % (event, told))
			others_go_on(c, *c)
			equal(whole(c, key, told) or event not in CERTAIN, True, "key %d, committed when its session was hit at %s" % (key, event))


@test
def cancel_at_every_moment(c):
	each_event(c, lambda session, event: session.connection.cancel(), EVENTS[3:])


@test
def termination_at_every_moment(c):
	each_event(c, lambda session, event: local(c, session.node, "SELECT pg_terminate_backend($1)", session.pid), EVENTS[5:])


@test
def backend_is_killed_at_every_moment(c):
	for n, event in enumerate(EVENTS):
		node, key = n % 3 + 1, new_key()
		with Session(c, node) as session:
			insert_stopped(session, event, key)
			os.kill(session.pid, signal.SIGKILL)
			equal(session.end() in ("08006", "57P02"), True, "its client hears of the loss (%s)" % session.outcome)
			others_go_on(c, *[i for i in c if i != node])
			poll("node %d after its restart" % node, lambda: local(c, node, "SELECT 1"), SECONDS)
			c.wait_ready()
			equal(whole(c, key, session.outcome) or event not in CERTAIN, True, "key %d, committed when its backend was killed at %s" % (key, event))
	others_go_on(c, *c)
	same_everywhere(c, "spread")


@test
def applier_is_killed_or_ended_at_every_moment(c):
	for event in ("apply-read", "apply-commit"):
		for number in (signal.SIGTERM, signal.SIGKILL):
			key = new_key()
			stop_applier(c, 3, event)
			c.execute(1, insert(key))
			pid = stopped(c, 3, event)
			equal(rows(c, 3, key), 0)
			stop_applier(c, 3, "")
			os.kill(pid, number)
			poll("node 3 applies again", lambda: rows(c, 3, key) == GROUPS, SECONDS)
			c.wait_ready()
	others_go_on(c, *c)
	same_everywhere(c, "spread")


@test
def leaders_are_killed_between_steps(c):
	"""The sequencer's leader, and that of a data group, while transactions of all nodes are somewhere between request and outcome."""
	for victim, groups in ((1, [-1]), (2, [2, 3]), (3, [-1] + ALL)):
		for group in groups:
			c.lead(group, victim)
		keys = {}
		for i in c:
			for _ in range(3):
				key = new_key()
				keys[key] = Session(c, i).start("BEGIN; %s; COMMIT" % insert(key))
		c.kill(victim)
		told = {key: session.end(60) for key, session in keys.items()}
		equal([t for key, t in told.items() if keys[key].node != victim and t not in ("ok", "40003", "57P03")], [], "what survivors were told")
		others_go_on(c, *c.running())
		c.start(victim)
		c.wait_ready()
		for key, session in keys.items():
			session.connection.close()
			whole(c, key, told[key])
	same_everywhere(c, "spread")


@test
def all_are_killed_with_open_markers(c):
	"""A group's leader is frozen: its part is missing, the others' MARKERs are open. All nodes are killed then; after the restart it is decided, one way."""
	for frozen in (2, 3):
		rest = [i for i in c if i != frozen]
		c.lead(4, frozen)
		for group in [-1] + [g for g in ALL if g != 4]:
			c.lead(group, rest[0])
		key = new_key()
		session = Session(c, rest[0])
		c.pause(frozen)
		session.start(insert(key))
		poll("it is ordered", lambda: metric(c, rest[0], "nodedb_sequencer_unfinished") > 0 or not session.busy(), SECONDS, 0.01)
		for i in rest:
			c.pause(i)
		for i in c:
			c.kill(i)
		told = session.end()
		session.connection.close()
		for i in c:
			c.start(i)
		c.wait_ready()
		others_go_on(c, *c)
		poll("nothing is left open", lambda: {metric(c, i, "nodedb_sequencer_unfinished") for i in c} == {0}, SECONDS)
		whole(c, key, told)
	same_everywhere(c, "spread")


@test
def replayed_after_a_crash(c):
	"""A server that crashes loses the newest of its commits: of each transaction all parts or none, and what was lost comes back."""
	for _ in range(2):
		first = _key[0] + 1
		with c.connect(1) as one, c.connect(2) as two:
			for n in range(20):
				(one, two)[n % 2].execute(insert(new_key(), ALL if n % 3 else [1, 2 + n % 7]))
		for i in c:
			c.kill(i)
		for i in c:
			c.start(i)
		c.wait_ready()
		c.wait_caught_up()
		for key in range(first, _key[0] + 1):
			whole(c, key, "ok", GROUPS if (key - first) % 3 else 2)
	same_everywhere(c, "spread")


@test
def large_ones(c):
	make(c, "CREATE TABLE big (g int, v text) PARTITION BY LIST (g)", *["CREATE TABLE big_%d PARTITION OF big FOR VALUES IN (%d)" % (g, g) for g in (1, 2, 3)])
	make(c, *["SELECT nodedb.place_table('big_%d', %d)" % (g, g) for g in (2, 3)])
	c.execute(2, "INSERT INTO big SELECT g % 3 + 1, (SELECT string_agg(md5((g + n)::text), '') FROM generate_series(1, 3000) n) FROM generate_series(1, 400) g")
	same_everywhere(c, "big")
	equal(c.value(3, "SELECT count(*) FROM big"), "400")
	others_go_on(c, *c)


@test
def a_node_that_joins_has_them_too(c):
	i = c.add()
	shown = c.execute(i, "SELECT group_id, kind, leader IS NOT NULL FROM nodedb.groups")
	equal([row[:2] for row in shown], [("0", "metadata")] + [(str(g), "data") for g in ALL] + [("-1", "sequencer")])
	equal({row[2] for row in shown}, {"t"})
	same_everywhere(c, "spread", "big")
	key = new_key()
	c.execute(i, insert(key))
	whole(c, key, "ok")
	c.restart(i)
	c.wait_ready()
	equal(c.value(i, "SELECT count(*) FROM nodedb.groups"), str(GROUPS + 2))
	whole(c, key, "ok")


@test
def a_cluster_of_one_group_has_a_sequencer(c):
	with Cluster(nodes=2) as other:
		for i in other:
			equal(other.execute(i, "SELECT group_id, kind FROM nodedb.groups"), [("0", "metadata"), ("1", "data"), ("-1", "sequencer")])


main()
