#!/usr/bin/env python3
"""Reservations that wait: schema changes of several nodes stand in one line, first come, first served; nodedb.reservations shows it; who waits leaves by
lock_timeout, by nodedb.commit_timeout, by a cancel, with its backend and with its node, and those behind go on."""
from harness import *
from scenario import *

setup(nodes=3, conf=["nodedb.schema_wait = 0", "nodedb.commit_timeout = 60000"])


def line(c, node):
	"""What the node shows: (node, state) of those who own and wait, in their order."""
	with c.connect(node, consistency="local") as connection:
		return [(int(row[0]), row[1]) for row in connection.execute("SELECT node_id, state FROM nodedb.reservations WHERE group_id = 1 AND schema_change")]


def stands(c, wanted):
	for node in c.running():
		poll("the line on node %d to be %r" % (node, wanted), lambda: line(c, node) == wanted, SECONDS)


def after(s, what="ok"):
	poll("the end of the session's command", lambda: not s.busy(), SECONDS)
	s.end()
	equal(s.outcome, what, str(getattr(s, "error", "")))


@test
def first_come_first_served(c):
	make(c, "CREATE TABLE t (id int PRIMARY KEY, a int)", "CREATE TABLE log (id bigserial PRIMARY KEY, who text)")
	with Session(c, 1) as one, Session(c, 2) as two, Session(c, 3) as three, Session(c, 1) as four:
		one.execute("BEGIN; ALTER TABLE t ADD COLUMN b int")
		stands(c, [(1, "owns")])
		two.start("CREATE TABLE two AS SELECT 2 AS n")
		stands(c, [(1, "owns"), (2, "waits")])
		three.start("CREATE TABLE three AS SELECT count(*) AS before FROM pg_class WHERE relname = 'two'")
		stands(c, [(1, "owns"), (2, "waits"), (3, "waits")])
		one.execute("COMMIT")
		after(two)
		after(three)
		four.execute("CREATE TABLE four (a int)")
		stands(c, [])
	same_everywhere(c, "two", "three")
	equal(c.value(1, "SELECT before FROM three"), "1")


@test
def is_shown(c):
	make(c, "CREATE ROLE onlooker")
	with Session(c, 1) as one, Session(c, 2) as two:
		one.execute("BEGIN; ALTER TABLE t ADD COLUMN c int")
		two.start("ALTER TABLE t ADD COLUMN d int")
		stands(c, [(1, "owns"), (2, "waits")])
		with c.connect(2, consistency="local") as connection:
			connection.execute("SET ROLE onlooker")
			rows = connection.execute("SELECT state, owned_since IS NULL, asked_at > 0, keys, relations::text, pid FROM nodedb.reservations")
		equal(len(rows), 2)
		equal(tuple(rows[0])[:5], ("owns", "f", "t", "2", "{public.t}"))
		equal(rows[0][5], None)
		equal(tuple(rows[1])[:5], ("waits", "t", "t", "2", "{public.t}"))
		equal(int(rows[1][5]), two.pid)
		one.execute("ROLLBACK")
		after(two)
	stands(c, [])
	equal(c.value(3, "SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname IN ('c', 'd')"), "1")


@test
def who_waits_may_leave(c):
	"""Those behind do not wait for whoever left."""
	for way in ("lock_timeout", "commit_timeout", "cancel", "terminate"):
		with Session(c, 1) as one, Session(c, 2) as two, Session(c, 3) as three:
			one.execute("BEGIN; ALTER TABLE t ADD COLUMN x_%s int" % way)
			if way == "lock_timeout":
				two.execute("SET lock_timeout = '15s'")
			if way == "commit_timeout":
				two.execute("SET nodedb.commit_timeout = '15s'")
			two.start("CREATE TABLE never (a int)")
			stands(c, [(1, "owns"), (2, "waits")])
			three.start("CREATE TABLE behind_%s (a int)" % way)
			if way in ("cancel", "terminate"):
				stands(c, [(1, "owns"), (2, "waits"), (3, "waits")])
				c.execute(2, "SELECT pg_%s_backend(%d)" % (way, two.pid))
			poll("it to leave", lambda: not two.busy(), SECONDS)
			if way != "terminate":
				after(two, {"lock_timeout": "55P03", "commit_timeout": "40001", "cancel": "57014"}[way])
			stands(c, [(1, "owns"), (3, "waits")])
			one.execute("ROLLBACK")
			after(three)
			stands(c, [])
	equal(c.value(1, "SELECT count(*) FROM pg_class WHERE relname = 'never'"), "0")


@test
def a_node_that_waits_is_gone(c):
	with Session(c, 1) as one, Session(c, 3) as three:
		two = Session(c, 2)
		one.execute("BEGIN; ALTER TABLE t ADD COLUMN y int")
		two.start("CREATE TABLE never (a int)")
		stands(c, [(1, "owns"), (2, "waits")])
		three.start("CREATE TABLE behind_a_node (a int)")
		stands(c, [(1, "owns"), (2, "waits"), (3, "waits")])
		c.kill(2)
		c.start(2)
		# its next life ends what the last one left
		stands(c, [(1, "owns"), (3, "waits")])
		one.execute("COMMIT")
		after(three)
	stands(c, [])
	equal(c.value(2, "SELECT count(*) FROM pg_class WHERE relname = 'never'"), "0")


main()
