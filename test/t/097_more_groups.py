#!/usr/bin/env python3
"""Data groups are added to a running cluster: from any node, under load, with nodes killed meanwhile, one that joins, one that has no room; what uses them then."""
import os
import threading

from harness import *
from scenario import *

setup(nodes=3, conf=["nodedb.commit_timeout = 10000", "nodedb.max_groups = 24"], init_options="data_groups => 2")


def data_groups(c, i):
	return int(local(c, i, "SELECT count(*) FROM nodedb.groups WHERE group_id BETWEEN 1 AND 10000"))


def all_have(c, n):
	for i in c.running():
		poll("%d data groups on node %d" % (n, i), lambda: data_groups(c, i) == n, SECONDS)


def add(c, node, n):
	"""The new number; on every node that runs."""
	before = data_groups(c, node)
	after = int(c.value(node, "SELECT nodedb.add_data_groups(%d)" % n))
	equal(after, before + n)
	all_have(c, after)
	return after


def add_one(c, node):
	"""One more, asked for again while it is refused; the new number. An answer that leaves open whether it was added (40003) may have added one as well."""
	first, unknown = data_groups(c, node), []

	def once():
		try:
			return int(c.value(node, "SET nodedb.commit_timeout = 5000; SELECT nodedb.add_data_groups(1)"))
		except Error as error:
			if error.sqlstate == "40003":
				unknown.append(error)
			raise

	after = poll("one is added", once, 3 * SECONDS)
	if not first < after <= first + 1 + len(unknown):
		raise AssertionError("%d data groups after %d, and %d answers that left it open" % (after, first, len(unknown)))
	return after


def refused(c, sqlstate, node, call, detail, hint):
	before = {i: data_groups(c, i) for i in c.running()}
	error = fails(sqlstate, c.execute, node, "SET nodedb.commit_timeout = 8000; SELECT nodedb.add_data_groups(%s)" % call)
	for said, wanted in ((error.detail, detail), (error.hint, hint)):
		if wanted not in (said or ""):
			raise AssertionError("%r does not say %r" % (said, wanted))
	equal({i: data_groups(c, i) for i in c.running()}, before)


@test
def refusals_change_nothing(c):
	make(c, "CREATE ROLE nobody_special")
	refused(c, "22023", 1, "0", "never taken away", "nodedb.groups")
	refused(c, "22023", 2, "-3", "never taken away", "nodedb.groups")
	refused(c, "53400", 3, "1000", "There are 2", "fewer")
	refused(c, "53400", 1, "22", "room for 23", "nodedb.max_groups to 25")
	fails("42501", c.execute, 1, "SET ROLE nobody_special; SELECT nodedb.add_data_groups(1)")
	equal(c.value(1, "SELECT nodedb.add_data_groups(NULL)"), None)
	# one node has less room than the others
	c.servers[3].configure("nodedb.max_groups = 4")
	c.restart(3)
	c.wait_ready()
	poll("node 3 has said so", lambda: fails(("53400", "55000", "57P03", "40001", "40003"), c.execute, 1, "SET nodedb.commit_timeout = 1000; SELECT nodedb.add_data_groups(3)").sqlstate == "53400", SECONDS)
	for i in c:
		refused(c, "53400", i, "3", "Node 3 has room for 3", "nodedb.max_groups to 6")
	# one is away, and this node does not know what room it has
	c.stop(3)
	c.restart(1)
	poll("node 1 to be ready", lambda: c.value(1, "SELECT 1") == "1", SECONDS)
	refused(c, "55000", 1, "1", "Node 3 has not said", "remove_node(3)")
	c.servers[3].configure("nodedb.max_groups = 24")
	c.start(3)
	c.wait_ready()
	# no majority
	c.stop(2)
	c.stop(3)
	with c.connect(1, consistency="local") as one:
		one.execute("SET nodedb.commit_timeout = 1000")
		fails("57P03", one.execute, "SELECT nodedb.add_data_groups(1)")
	c.start(2)
	c.start(3)
	c.wait_ready()
	all_have(c, 2)


@test
def from_any_node(c):
	make(c, "CREATE TABLE old (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)", "SELECT nodedb.place_table('old', 2)")
	with Session(c, 1) as before:
		before.execute("SELECT * FROM old")
		for node in c:
			n = add(c, node, 1)
			table = "in_%d" % n
			make(c, "CREATE TABLE %s (id int PRIMARY KEY, n int REFERENCES old)" % table)
			c.execute(1 + node % 3, "SELECT nodedb.place_table('%s', %d)" % (table, n))
			for i in c:
				with c.connect(i) as one:
					one.execute("BEGIN; INSERT INTO old VALUES (%d); INSERT INTO %s VALUES (%d, %d); COMMIT" % (100 * n + i, table, i, 100 * n + i))
			# a session from before: reads, reads at one place of the order, writes
			equal(before.value("SELECT count(*) FROM %s" % table), "3")
			before.execute("SET nodedb.read_consistency = fenced")
			equal(before.value("SELECT count(*) FROM %s JOIN old ON old.id = %s.n" % (table, table)), "3")
			before.execute("RESET nodedb.read_consistency")
			before.execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM old; INSERT INTO %s VALUES (10); COMMIT" % table)
			c.wait_caught_up()
			same_everywhere(c, "old", table)
	same_schema(c)
	# an id from before asks the groups that were there then, and those that came
	with c.connect(2) as two:
		two.execute("BEGIN; UPDATE old SET n = 1 WHERE id = 301")
		tid = two.value("SELECT nodedb.transaction_id()")
		two.execute("COMMIT")
		token = two.value("SELECT nodedb.session_token()")
	add(c, 1, 1)
	equal(c.value(3, "SELECT nodedb.transaction_status($1)", tid), "committed")
	c.execute(3, "SELECT nodedb.use_session_token($1)", token)


@test
def two_at_once(c):
	first = data_groups(c, 1)
	with Session(c, 1) as one, Session(c, 2) as two, Session(c, 3) as three:
		sessions = (one, two, three)
		for s in sessions:
			s.start("SELECT nodedb.add_data_groups(1)")
		equal([s.end() for s in sessions], ["ok"] * 3)
		equal(sorted(int(s.rows[0][0]) for s in sessions), [first + 1, first + 2, first + 3])
	all_have(c, first + 3)


@test
def schema_changes_wait_their_turn(c):
	first = data_groups(c, 1)
	with Session(c, 2) as other, Session(c, 1) as asks:
		other.execute("BEGIN; ALTER TABLE old ADD COLUMN x int")
		asks.start("SELECT nodedb.add_data_groups(1)")
		poll("it waits for the schema change", lambda: local(c, 1, "SELECT count(*) FROM nodedb.reservations WHERE state = 'waits'") == "1", SECONDS)
		equal(data_groups(c, 1), first)
		other.execute("COMMIT")
		equal(asks.end(), "ok")
	all_have(c, first + 1)
	same_schema(c)


@test
def an_id_that_was_told_stays_in_its_groups(c):
	"""Whoever asks what became of it has its answer from all groups that there were."""
	make(c, "CREATE TABLE later (id int PRIMARY KEY)")
	with Session(c, 1) as told, Session(c, 1) as silent:
		told.execute("BEGIN; UPDATE old SET n = n WHERE id = 301")
		silent.execute("BEGIN; UPDATE old SET n = n WHERE id = 302")
		tid = told.value("SELECT nodedb.transaction_id()")
		n = add(c, 2, 1)
		make(c, "SELECT nodedb.place_table('later', %d)" % n)
		told.execute("INSERT INTO later VALUES (1)")
		silent.execute("INSERT INTO later VALUES (2)")
		equal(told.start("COMMIT").end(), "40001")
		equal(silent.start("COMMIT").end(), "ok")
		equal(c.value(3, "SELECT nodedb.transaction_status($1)", tid), "aborted")
	same_everywhere(c, "later", "old")


@test
def lock_table_loses_to_a_first_table_it_has_not_seen(c):
	"""Its node does not know the new group, so its keys are not there: who uses both tables there would not hear of the lock."""
	make(c, "CREATE TABLE locked (id int PRIMARY KEY)")
	n = add(c, 1, 1)
	with Session(c, 3, "SET nodedb.read_consistency = local") as late:
		late.execute("SELECT * FROM locked")
		stop_applier(c, 3, "apply-read")
		try:
			c.execute(1, "SET nodedb.schema_wait = 0; SET nodedb.default_data_group = %d; CREATE TABLE first (id int PRIMARY KEY)" % n)
			stopped(c, 3, "apply-read")
			late.execute("BEGIN; LOCK TABLE locked IN SHARE MODE; INSERT INTO locked VALUES (1)")
			equal(late.start("COMMIT").end(), "40001")
		finally:
			stop_applier(c, 3, "")
			release(c, 3, "apply-read")
	c.wait_caught_up()
	with c.connect(3) as three:
		three.execute("BEGIN; LOCK TABLE locked IN SHARE MODE; INSERT INTO locked VALUES (1); COMMIT")
	same_everywhere(c, "locked")


class Load:
	"""Transfers over the tables of several groups; the sum stays."""

	def __init__(self, c, node, tables):
		self.c, self.node, self.tables, self.done, self.errors, self.stop = c, node, tables, 0, set(), False
		self.thread = threading.Thread(target=self._run, daemon=True)
		self.thread.start()

	def _run(self):
		k = self.node
		while not self.stop:
			try:
				with self.c.connect(self.node) as connection:
					while not self.stop:
						k += 1
						a, b = self.tables[k % len(self.tables)], self.tables[(k // 3 + 1) % len(self.tables)]
						try:
							connection.execute("BEGIN; UPDATE %s SET n = n - 1 WHERE id = %d; UPDATE %s SET n = n + 1 WHERE id = %d; COMMIT" % (a, k % 5, b, k % 7))
							self.done += 1
						except Error as error:
							self.errors.add(error.sqlstate)
							connection.execute("ROLLBACK")
			except Error as error:
				self.errors.add(error.sqlstate)

	def end(self):
		self.stop = True
		self.thread.join(SECONDS)
		if self.thread.is_alive():
			raise AssertionError("the load on node %d does not end" % self.node)
		bad = self.errors - {"40001", "40003", "57P03", "53400", "08006", None}
		if bad:
			raise AssertionError("the load met %r" % bad)


def total(c, i, tables):
	with c.connect(i) as connection:
		connection.execute("SET nodedb.read_consistency = fenced")
		return connection.value("SELECT " + " + ".join("(SELECT sum(n) FROM %s)" % t for t in tables))


@test
def under_load_with_a_node_killed(c):
	tables = ["money_1", "money_2"]
	make(c, *["CREATE TABLE %s (id int PRIMARY KEY, n bigint NOT NULL)" % t for t in tables], "SELECT nodedb.place_table('money_2', 2)",
		 *["INSERT INTO %s SELECT g, 0 FROM generate_series(0, 6) g" % t for t in tables])
	loads = [Load(c, 1, tables), Load(c, 2, tables)]
	first = data_groups(c, 1)
	with Session(c, 1) as asks:
		poll("the load runs", lambda: all(load.done > 20 for load in loads), SECONDS)
		asks.start("SELECT nodedb.add_data_groups(2)")
		c.kill(3)
		equal(asks.end(), "ok")
	all_have(c, first + 2)
	make(c, *["CREATE TABLE money_%d (id int PRIMARY KEY, n bigint NOT NULL)" % g for g in (first + 1, first + 2)],
		 *["SELECT nodedb.place_table('money_%d', %d)" % (g, g) for g in (first + 1, first + 2)],
		 *["INSERT INTO money_%d SELECT g, 0 FROM generate_series(0, 6) g" % g for g in (first + 1, first + 2)])
	tables += ["money_%d" % g for g in (first + 1, first + 2)]
	more = [Load(c, 1, tables), Load(c, 2, tables)]
	poll("the new groups work", lambda: all(load.done > 20 for load in more), SECONDS)
	c.start(3)
	c.wait_ready()
	more.append(Load(c, 3, tables))
	poll("on the node that was away, too", lambda: more[-1].done > 20, SECONDS)
	for i in c:
		equal(total(c, i, tables), "0", "node %d" % i)
	for load in loads + more:
		load.end()
	all_have(c, first + 2)
	c.wait_ready()
	same_everywhere(c, *tables)
	for i in c:
		equal(total(c, i, tables), "0", "node %d" % i)


@test
def the_leader_of_group_0_dies(c):
	first = data_groups(c, 1)
	leader = poll("a leader of group 0", lambda: c.leader(0), SECONDS)
	asker = 1 + leader % 3
	with Session(c, asker) as asks:
		asks.start("SELECT nodedb.add_data_groups(1)")
		c.kill(leader)
		outcome = asks.end()
	if outcome not in ("ok", "40003", "57P03", "40001", "55000"):
		raise AssertionError("add_data_groups() says %s" % outcome)
	c.start(leader)
	c.wait_ready()
	if outcome == "ok":
		equal(int(asks.rows[0][0]), first + 1)
	if outcome in ("57P03", "40001", "55000"):
		all_have(c, first)
	poll("one number", lambda: len({data_groups(c, i) for i in c}) == 1, SECONDS)
	n = data_groups(c, 1)
	if n not in (first, first + 1):
		raise AssertionError("%d data groups after %d" % (n, first))
	goes_on(c, "old", 1, 2, 3)


@test
def tables_use_them(c):
	"""Nothing moves by itself; change_shard_count(), create_distributed_table() and nodedb.default_data_group = 0 use what there is."""
	def groups_of(table):
		return sorted(int(g) for g, in c.execute(2, "SELECT DISTINCT group_id FROM nodedb.shards WHERE table_name = '%s'::regclass" % table))

	n = data_groups(c, 1)
	make(c, "CREATE TABLE spread (id int PRIMARY KEY, v text)", "INSERT INTO spread SELECT g, 'x' FROM generate_series(1, 500) g",
		 "SELECT nodedb.create_distributed_table('spread', 'id', %d)" % n)
	equal(groups_of("spread"), list(range(1, n + 1)))
	n = add(c, 3, 2)
	equal(groups_of("spread"), list(range(1, n - 1)))
	make(c, "SELECT nodedb.change_shard_count('spread', %d)" % (2 * n))
	equal(groups_of("spread"), list(range(1, n + 1)))
	make(c, "CREATE TABLE spread_too (id int PRIMARY KEY)", "SELECT nodedb.create_distributed_table('spread_too', 'id')")
	equal(groups_of("spread_too"), list(range(1, n + 1)))
	for i in c:
		c.execute(i, "UPDATE spread SET v = v || '%d'" % i)
	same_schema(c)
	same_everywhere(c, "spread")


@test
def while_a_node_joins(c):
	number = c.count + 1
	c.new_server()
	joiner = threading.Thread(target=c.join, args=(number,), daemon=True)
	joiner.start()
	n = add_one(c, 1)
	joiner.join(3 * SECONDS)
	equal(joiner.is_alive(), False, "joining")
	c.wait_ready()
	all_have(c, n)
	make(c, "CREATE TABLE joined (id int PRIMARY KEY)", "SELECT nodedb.place_table('joined', %d)" % n)
	goes_on(c, "joined", 1, 2, 3, number)
	same_everywhere(c, "joined", "spread", "old")
	# and it leaves while some are added
	node_id = c.value(1, "SELECT node_id FROM nodedb.nodes WHERE name = 'node%d'" % number)
	poll("its removal", lambda: c.execute(c.leader(0), "SELECT nodedb.remove_node(%s)" % node_id) is not None, SECONDS)
	n = add_one(c, 1)
	poll("node %d has gone" % number, lambda: c.value(1, "SELECT count(*) FROM nodedb.nodes") == "3", SECONDS)
	c.stop(number)
	for i in (1, 2, 3):
		poll("%d data groups on node %d" % (n, i), lambda: data_groups(c, i) == n, SECONDS)
	make(c, "SELECT nodedb.place_table('joined', %d)" % n)
	goes_on(c, "joined", 1, 2, 3)


main()
