#!/usr/bin/env python3
"""What is acknowledged on one node is seen by every kind of strong read on another, however far that node's applier lags; never by accident:
the same read with consistency "local" sees the older state. Reads that need no majority do not wait for one. The tables are in several data groups: a read
waits for those that it reads from, and no more; a fenced one sees all of them at one place of their common order.
"""
import contextlib
import os
import signal
import threading

from harness import *

GROUPS = 4
setup(nodes=3, init_options="data_groups => %d" % GROUPS)

WRITER, READER = 1, 2
_counter = [0]


def prepare(c, sql):
	"""Make an object, and wait until the reader's node has it."""
	c.execute(WRITER, sql)
	c.wait_caught_up()


@contextlib.contextmanager
def lagging(c, node=READER):
	"""Nothing of other nodes is applied there meanwhile; yields what ends that early."""
	pid = int(c.value(node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'nodedb applier'"))
	resume = lambda: os.kill(pid, signal.SIGCONT)
	os.kill(pid, signal.SIGSTOP)
	try:
		yield resume
	finally:
		resume()


def sleeps(c, node, session):
	"""The session waits inside nodedb, not for a lock."""
	poll("a session that waits", lambda: c.value(node, "SELECT 1 FROM pg_stat_activity WHERE pid = %d AND state = 'active' AND "
												 "wait_event_type = 'Extension'" % session.pid), 60)
	if not session.waiting():
		raise AssertionError("the session has answered")


def write(c):
	"""A new value of row 1, acknowledged by the writer's node."""
	_counter[0] += 1
	value = "v%d" % _counter[0]
	c.execute(WRITER, "UPDATE r SET v = $1 WHERE id = 1", value)
	return value


SELECT = "SELECT v FROM r WHERE id = 1"
SETTING = "SELECT current_setting('reads.v')"
RR = "BEGIN ISOLATION LEVEL REPEATABLE READ"


def out(c):
	return os.path.join(c.servers[READER].dir, "copied")


# name: (statements before, the statement that must wait, statements after; the last one's value counts), parameters or a file for COPY
PATHS = {
	"simple": ([], SELECT, []),
	"extended": ([], "SELECT v FROM r WHERE id = $1", [], 1),
	"prepared": (["PREPARE p AS " + SELECT], "EXECUTE p", []),
	"prepared_rr": (["PREPARE p AS " + SELECT, RR], "EXECUTE p", []),
	"block": (["BEGIN", "SELECT 1"], SELECT, []),
	"savepoint": (["BEGIN", "SAVEPOINT s"], SELECT, []),
	"many_in_one_message": ([], "SELECT 1; SELECT 2; " + SELECT, []),
	"with": ([], "WITH w AS MATERIALIZED (%s) SELECT v FROM w" % SELECT, []),
	"view": ([], "SELECT v FROM r_view WHERE id = 1", []),
	"partitioned": ([], "SELECT v FROM r_parts WHERE id = 1", []),
	"two_groups": ([], "SELECT r.v FROM parent RIGHT JOIN r USING (id) WHERE r.id = 1", []),
	"function_of_another_group": ([], "SELECT read_both() FROM generate_series(1, 1) LEFT JOIN parent ON true LIMIT 1", []),
	"block_of_another_group": (["BEGIN", "SELECT count(*) FROM parent"], SELECT, []),
	"message_of_another_group": ([], "SELECT count(*) FROM parent; " + SELECT, []),
	"cursor": (["BEGIN"], "DECLARE c CURSOR FOR " + SELECT, ["FETCH c"]),
	"cursor_rr": ([RR], "DECLARE c CURSOR FOR " + SELECT, ["FETCH c"]),
	"cursor_in_sql_function": (["BEGIN"], "SELECT read_declares()", ["FETCH c"]),
	"cursor_with_hold": ([], "DECLARE c CURSOR WITH HOLD FOR " + SELECT, ["FETCH c"]),
	"create_table_as": ([], "CREATE TEMP TABLE copied AS " + SELECT, ["SELECT v FROM copied"]),
	"create_table_as_rr": ([RR], "CREATE TEMP TABLE copied AS " + SELECT, ["SELECT v FROM copied"]),
	"explain_analyze": ([], "EXPLAIN (ANALYZE) CREATE TEMP TABLE copied AS " + SELECT, ["SELECT v FROM copied"]),
	"do": ([], "DO $$ BEGIN PERFORM set_config('reads.v', (%s), false); END $$" % SELECT, [SETTING]),
	"do_rr": ([RR], "DO $$ BEGIN PERFORM set_config('reads.v', (%s), false); END $$" % SELECT, [SETTING]),
	"call": ([], "CALL read_procedure()", [SETTING]),
	"volatile_function": ([], "SELECT read_volatile()", []),
	"stable_function": ([], "SELECT read_stable()", []),
	"stable_function_extended": ([], "SELECT read_stable() || $1", [], ""),
	"sql_function": ([], "SELECT read_sql()", []),
	"volatile_function_rr": ([RR], "SELECT read_volatile()", []),
	"stable_function_rr": ([RR], "SELECT read_stable()", []),
	"function_in_block_rr": ([RR, "SELECT 1"], "SELECT read_stable()", []),
	"builtin_reader": ([], "SELECT substring(query_to_xml('%s', false, true, '')::text from '<v>(.*)</v>')" % SELECT, []),
	"repeatable_read": ([RR], SELECT, []),
	"repeatable_read_later": ([RR, "SELECT 1", "SELECT version()"], SELECT, []),
	"repeatable_read_by_default": (["SET default_transaction_isolation = 'repeatable read'"], SELECT, []),
	"repeatable_read_set": (["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"], SELECT, []),
	"repeatable_read_extended": ([RR], "SELECT v FROM r WHERE id = $1", [], 1),
	"for_update": ([], SELECT + " FOR UPDATE", []),
	"update_returning": ([], "UPDATE r SET n = n + 1 WHERE id = 1 RETURNING v", []),
	"insert_select": ([], "INSERT INTO loc %s RETURNING v" % SELECT, []),
	"trigger": ([], "INSERT INTO loc_triggered VALUES (1) RETURNING v", []),
	"copy_table": ([], "COPY r TO '{out}'", [None]),
	"copy_query": ([], "COPY (SELECT * FROM r) TO '{out}'", [None]),
	"copy_table_rr": ([RR], "COPY r TO '{out}'", [None]),
	"copy_table_in_block": (["BEGIN", "SELECT 1"], "COPY r TO '{out}'", [None]),
}

def read(c, session, path, before_result):
	before, sql, after, *params = PATHS[path]
	for statement in before:
		session.execute(statement)
	session.send(sql.format(out=out(c)) if "{out}" in sql else sql, *params)
	before_result()
	rows = session.result()
	for statement in after:
		if statement is None:
			with open(out(c)) as file:
				rows = [(line.rstrip("\n").split("\t")[1],) for line in file if line.startswith("1\t")]
		else:
			rows = session.execute(statement)
	return rows[0][0]


@test
def objects_are_made(c):
	for sql in (
		"CREATE TABLE r (id int PRIMARY KEY, v text, n int DEFAULT 0)",
		"INSERT INTO r VALUES (1, 'v0')",
		"CREATE TABLE r_parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
		"CREATE TABLE r_part PARTITION OF r_parts FOR VALUES FROM (0) TO (10)",
		"INSERT INTO r_parts VALUES (1, 'v0')",
		"CREATE VIEW r_view AS SELECT * FROM r",
		"CREATE FUNCTION read_volatile() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN (%s); END $$" % SELECT,
		"CREATE FUNCTION read_stable() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (%s); END $$" % SELECT,
		"CREATE FUNCTION read_sql() RETURNS text LANGUAGE sql STABLE AS $$ %s $$" % SELECT,
		"CREATE FUNCTION read_declares() RETURNS void LANGUAGE sql AS $$ DECLARE c CURSOR FOR %s $$" % SELECT,
		"CREATE FUNCTION read_nothing() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN 1; END $$",
		"CREATE PROCEDURE read_procedure() LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('reads.v', (%s), false); END $$" % SELECT,
		"CREATE FUNCTION read_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := (%s); RETURN NEW; END $$" % SELECT,
		"CREATE TABLE parent (id int PRIMARY KEY)",
		"CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
		"SELECT nodedb.place_table('r', 2)",
		"SELECT nodedb.place_table('r_part', 3)",
		"SELECT nodedb.place_table('child', 4)",
		"CREATE FUNCTION read_both() RETURNS text LANGUAGE sql STABLE AS $$ SELECT v FROM r WHERE id = 1 $$",
	):
		prepare(c, sql)
	for sql in (						# heap tables are of one node
		"CREATE TABLE loc (v text) USING heap",
		"CREATE TABLE loc_triggered (id int, v text) USING heap",
		"CREATE TRIGGER t BEFORE INSERT ON loc_triggered FOR EACH ROW EXECUTE FUNCTION read_trigger()",
	):
		c.execute(READER, sql)


@test
def no_strong_read_is_stale(c):
	no_read_is_stale(c, "strong")


@test
def no_fenced_read_is_stale(c):
	no_read_is_stale(c, "fenced")


def no_read_is_stale(c, level):
	stale, missed = [], []
	for path in PATHS:
		with lagging(c) as resume:
			old = c.execute(READER, "SET nodedb.read_consistency = local; " + SELECT)[0][0]
			new = write(c)
			c.execute(WRITER, "UPDATE r_parts SET v = $1 WHERE id = 1", new)
			with c.connect(READER) as session:
				session.execute("SET nodedb.read_consistency = local")
				if path not in ("for_update", "update_returning"):		# these would wait for nothing, and conflict
					if read(c, session, path, lambda: None) != old:
						missed.append(path)
			with c.connect(READER) as session:
				session.execute("SET nodedb.read_consistency = %s" % level)
				def check():
					sleeps(c, READER, session)
					resume()
				try:
					seen = read(c, session, path, check)
				except (Error, TimeoutError) as error:
					seen = str(error)
				if seen != new:
					stale.append((path, seen, new))
		c.wait_caught_up()
	equal(stale, [], "strong reads that were stale or failed")
	equal(missed, [], "local reads that were not older: this test shows nothing for them")


@test
def foreign_key_sees_a_parent_of_another_node(c):
	with lagging(c) as resume, c.connect(READER) as session:
		c.execute(WRITER, "INSERT INTO parent VALUES (1)")
		session.send("INSERT INTO child VALUES (1, 1)")
		sleeps(c, READER, session)
		resume()
		session.result()
	same_everywhere(c, "child")


@test
def update_finds_a_row_of_another_node(c):
	with lagging(c) as resume, c.connect(READER) as session:
		c.execute(WRITER, "INSERT INTO r VALUES (2, 'new')")
		session.send("UPDATE r SET v = 'found' WHERE id = 2 RETURNING id")
		sleeps(c, READER, session)
		resume()
		equal(session.result(), [("2",)])
	same_everywhere(c, "r")


@test
def repeatable_read_stays_where_it_began(c):
	with c.connect(READER) as session:
		session.execute(RR)
		first = session.value(SELECT)
		write(c)
		c.wait_caught_up()
		equal(session.value(SELECT), first)
		session.execute("SET LOCAL nodedb.read_consistency = local")
		equal(session.value(SELECT), first)
		session.execute("SET LOCAL nodedb.read_consistency = strong")
		equal(session.value(SELECT), first)
		session.execute("COMMIT")
		new = session.value(SELECT)
		if new == first:
			raise AssertionError("the next transaction sees nothing new")


@test
def level_raised_in_repeatable_read_does_not_move_the_snapshot(c):
	with c.connect(READER) as session:
		session.execute("SET nodedb.read_consistency = local")
		session.execute(RR)
		first = session.value(SELECT)
		write(c)
		c.wait_caught_up()
		session.execute("SET nodedb.read_consistency = strong")
		equal(session.value(SELECT), first)


@test
def what_reads_nothing_distributed_does_not_wait(c):
	with lagging(c), c.connect(READER) as session:
		write(c)
		for sql in ("SELECT 1", "SELECT count(*) FROM pg_class", "SELECT * FROM loc", "INSERT INTO loc VALUES ('x')", "SELECT nodedb.status()",
					"SELECT * FROM nodedb.groups", "DO $$ BEGIN PERFORM 1; END $$", "EXPLAIN SELECT * FROM r", "SELECT version(), read_nothing()"):
			session.execute(sql)
		# Its commit stands behind what the applier does not apply, but the statement itself reads nothing.
		session.execute("BEGIN")
		session.execute("INSERT INTO r_parts VALUES (2, 'x') RETURNING id")
		session.execute("ROLLBACK")


@test
def session_token_carries_what_was_written(c):
	with lagging(c) as resume, c.connect(WRITER) as writer, c.connect(READER) as session:
		session.execute("SET nodedb.read_consistency = session")
		old = session.value(SELECT)
		_counter[0] += 1
		new = "v%d" % _counter[0]
		writer.execute("UPDATE r SET v = $1 WHERE id = 1", new)
		token = writer.value("SELECT nodedb.session_token()")
		equal(session.value(SELECT), old, "without the token")
		session.execute("SELECT nodedb.use_session_token($1)", token)
		session.send(SELECT)
		sleeps(c, READER, session)
		resume()
		equal(session.result(), [(new,)])
		equal(session.value(SELECT), new)


@test
def a_statement_waits_for_its_groups_only(c):
	"""In the log of r's group stands what is not applied here; in those of parent and child nothing."""
	with lagging(c), c.connect(READER) as session:
		write(c)
		session.execute("SELECT * FROM parent")
		session.execute("SELECT * FROM child JOIN parent ON parent.id = child.parent")
		session.execute("BEGIN")
		session.execute("UPDATE child SET parent = parent")
		session.execute("DELETE FROM child WHERE id = 77")
		session.execute("ROLLBACK")
		session.execute("SET statement_timeout = 300")
		fails("57014", session.execute, "SELECT * FROM parent, r")
		fails("57014", session.execute, RR + "; SELECT * FROM parent")


@test
def bad_session_tokens_are_refused(c):
	with c.connect(READER) as session:
		token = session.value("SELECT nodedb.session_token()")
		cluster = token.split("/")[0]
		for bad in ("", "x", "/", cluster, cluster + "/1", cluster + "/1:", cluster + "/1:x", cluster + "/0:5", cluster + "/99:5", cluster + "/1:5;",
					cluster + "/1:99999999999999999999999", "-1/1:5", "1/1:5", cluster + "/1:5,,", " " + token):
			fails("22023", session.execute, "SELECT nodedb.use_session_token($1)", bad)
		session.execute("SELECT nodedb.use_session_token($1)", token)


@test
def waiting_reader_lets_the_applier_pass(c):
	"""TRUNCATE stands in the log before what the reader waits for: applier and reader must not wait for each other."""
	for before, sql in (([], "SELECT count(*) FROM r_parts"), (["BEGIN", "SELECT count(*) FROM r_parts"], "SELECT count(*) FROM r_parts")):
		with c.connect(READER) as session:
			for statement in before:
				session.execute(statement)
			with lagging(c) as resume:
				c.execute(WRITER, "TRUNCATE r_parts")
				session.send(sql)
				sleeps(c, READER, session)
				resume()
				try:
					equal(session.result(), [("0",)])
				except Error as error:
					equal(error.sqlstate, "40001")
					equal(bool(before), True, "a lone SELECT is not to be retried by its client: %s" % error)
		equal(c.value(READER, sql), "0")
		c.execute(WRITER, "INSERT INTO r_parts VALUES (1, 'again')")
	same_everywhere(c, "r_parts")


@test
def waiting_reader_sees_the_new_schema(c):
	for sql, params, wanted in (("SELECT * FROM r WHERE id = 1", (), "columns"), ("SELECT * FROM r WHERE id = $1", (1,), "40001"),
								("SELECT id FROM r WHERE id = $1", (1,), "id")):
		column = "c%d" % len(c.execute(READER, "SELECT * FROM r LIMIT 1")[0])
		with lagging(c) as resume, c.connect(READER) as session:
			c.execute(WRITER, "ALTER TABLE r ADD COLUMN %s int DEFAULT 7" % column)
			session.send(sql, *params)
			sleeps(c, READER, session)
			resume()
			if wanted == "40001":
				fails("40001", session.result)
			elif wanted == "columns":
				equal(session.result()[0][-1], "7")
			else:
				equal(session.result(), [("1",)])
			equal(session.value("SELECT %s FROM r WHERE id = 1" % column), "7")


PAIR = "SELECT x.n, y.n FROM fence_x x, fence_y y WHERE x.id = 1 AND y.id = 1"


def pairs(c, level, done):
	"""What readers on all nodes see of two rows of different groups, each changed by a client of its own on another node, until done(pairs)."""
	stop = threading.Event()
	failures, seen = [], set()
	lock = threading.Lock()

	def loop(node, work):
		try:
			with c.connect(node) as session:
				while not stop.is_set():
					work(session)
		except Exception as error:
			failures.append(error)
			stop.set()

	def read(session):
		rows = session.execute(PAIR)
		with lock:
			seen.add(tuple(int(x) for x in rows[0]))
			if done(seen):
				stop.set()

	def reader(session):
		session.execute("SET nodedb.read_consistency = %s" % level)
		while not stop.is_set():
			read(session)

	threads = [threading.Thread(target=loop, args=(node, lambda s, t=table: s.execute("UPDATE %s SET n = n + 1 WHERE id = 1" % t)), daemon=True)
			   for node, table in ((1, "fence_x"), (2, "fence_y"))]
	threads += [threading.Thread(target=loop, args=(node, reader), daemon=True) for node in c for _ in range(2)]
	for thread in threads:
		thread.start()
	ended = stop.wait(300)
	stop.set()
	for thread in threads:
		thread.join(120)
	if failures:
		raise failures[0]
	equal(ended, True, "%d pairs seen with %s" % (len(seen), level))
	return seen


def fork(seen):
	"""Two pairs of which neither is before the other: no order of the changes explains both."""
	highest = (-1, -1)
	for pair in sorted(seen):
		if pair[1] < highest[1]:
			return highest, pair
		highest = max(highest, pair, key=lambda p: p[1])
	return None


@test
def fenced_reads_see_one_order(c):
	prepare(c, "CREATE TABLE fence_x (id int PRIMARY KEY, n int)")
	prepare(c, "CREATE TABLE fence_y (id int PRIMARY KEY, n int)")
	prepare(c, "SELECT nodedb.place_table('fence_x', 2)")
	prepare(c, "SELECT nodedb.place_table('fence_y', 3)")
	for table in ("fence_x", "fence_y"):
		c.execute(1, "INSERT INTO %s VALUES (1, 0)" % table)
	for node, group in ((1, 2), (2, 3)):
		c.lead(group, node)
	c.wait_caught_up()
	# Were there no such thing as a fork on this machine, the other half would show nothing.
	pairs(c, "local", fork)
	equal(fork(pairs(c, "fenced", lambda seen: len(seen) >= 400)), None, "pairs without an order")
	same_everywhere(c, "fence_x", "fence_y")


@test
def serializable_reads_of_several_groups_are_judged(c):
	def begun(mode):
		session = c.connect(READER)
		session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE" + mode)
		session.execute("SELECT n FROM fence_x WHERE id = 1")
		session.execute("SELECT n FROM fence_y WHERE id = 1")
		c.execute(WRITER, "UPDATE fence_x SET n = n + 1 WHERE id = 1")
		return session
	with begun("") as session:
		fails("40001", session.execute, "COMMIT")
	with begun(" READ ONLY") as session:
		session.execute("COMMIT")
	with c.connect(READER) as session:			# of one group: its place is in that group's order
		session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
		session.execute("SELECT n FROM fence_x WHERE id = 1")
		c.execute(WRITER, "UPDATE fence_x SET n = n + 1 WHERE id = 1")
		session.execute("COMMIT")
	with c.connect(READER) as session:			# nothing of it was changed
		session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
		session.execute("SELECT n FROM fence_x WHERE id = 1")
		session.execute("SELECT n FROM fence_y WHERE id = 1")
		session.execute("COMMIT")
	same_everywhere(c, "fence_x", "fence_y")


@test
def without_majority_only_strong_reads_fail(c):
	others = [i for i in c if i != READER]
	with c.connect(READER) as session:
		session.execute("SET nodedb.commit_timeout = 1000")
		for i in others:
			c.pause(i)
		try:
			error = fails("57P03", session.execute, SELECT)
			equal("read_consistency" in (error.hint or ""), True, "the hint names the setting")
			fails("57P03", session.execute, "COPY r TO '%s'" % out(c))
			session.execute("SELECT 1")
			session.execute("SELECT count(*) FROM pg_class")
			session.execute("SELECT nodedb.status()")
			session.execute("SET nodedb.read_consistency = session")
			session.execute(SELECT)
			session.execute("SET nodedb.read_consistency = local")
			session.execute(SELECT)
			session.execute("SET nodedb.read_consistency = strong")
			session.send(SELECT)
		finally:
			for i in others:
				c.resume(i)
		try:
			session.result()
		except Error as late:
			equal(late.sqlstate, "57P03")
		poll("a strong read once the others are back", lambda: session.execute(SELECT))


main()
