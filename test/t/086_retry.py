#!/usr/bin/env python3
"""Single statements that lose a conflict are run again by the server: every way of sending one, what is refused and why, exact sums under load, and that
even a large statement on hot rows gets through."""
import random
import threading

from harness import *
from scenario import *

setup(nodes=3, conf=["nodedb.schema_wait = 0", "nodedb.retry_budget = 0", "nodedb.commit_timeout = 60000", "max_connections = 200"])
LEVELS = ("read committed", "repeatable read", "serializable")


@test
def tables(c):
	make(c,
		 "CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE, n int NOT NULL DEFAULT 0)",
		 "CREATE TABLE part (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY HASH (id)",
		 "CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
		 "CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
		 "CREATE TABLE child (id int PRIMARY KEY, item int NOT NULL REFERENCES item ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED)",
		 "CREATE TABLE logged (id serial PRIMARY KEY, item int, n int)",
		 "CREATE FUNCTION log_item() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO logged (item, n) VALUES (NEW.id, NEW.n); RETURN NEW; END'",
		 "CREATE TABLE noisy (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)",
		 "CREATE TRIGGER log AFTER UPDATE ON noisy FOR EACH ROW EXECUTE FUNCTION log_item()",
		 "CREATE FUNCTION bump(i int) RETURNS int LANGUAGE sql AS 'UPDATE item SET n = n + 1 WHERE id = i RETURNING n'",
		 "CREATE FUNCTION locks(i int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock(i); RETURN 1; END'",
		 "CREATE FUNCTION copies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN COPY (SELECT 1) TO '/dev/null'; RETURN NEW; END $$",
		 "CREATE TABLE copying (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)",
		 "CREATE TRIGGER copy BEFORE UPDATE ON copying FOR EACH ROW EXECUTE FUNCTION copies()",
		 "CREATE PROCEDURE bump_all() LANGUAGE sql AS 'UPDATE item SET n = n + 1'",
		 "CREATE SEQUENCE counted",
		 "CREATE TABLE later (id int PRIMARY KEY, place int, n int NOT NULL DEFAULT 0, UNIQUE (place) DEFERRABLE INITIALLY DEFERRED)",
		 "CREATE EXTENSION moddatetime",
		 "CREATE TABLE by_c (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, changed timestamptz)",
		 "CREATE TABLE by_own (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)",
		 "CREATE TRIGGER changed BEFORE UPDATE ON by_c FOR EACH ROW EXECUTE FUNCTION moddatetime(changed)",
		 "CREATE TRIGGER same BEFORE UPDATE ON by_own FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()")
	c.execute(1, "INSERT INTO item SELECT g, 'c' || g, 0 FROM generate_series(1, 200) g; INSERT INTO part SELECT g FROM generate_series(1, 50) g;"
				 "INSERT INTO noisy SELECT g, 0 FROM generate_series(1, 50) g; INSERT INTO copying SELECT g, 0 FROM generate_series(1, 50) g;"
				 "INSERT INTO child SELECT g, g FROM generate_series(100, 120) g")
	c.execute(1, "INSERT INTO later SELECT g, g FROM generate_series(1, 20) g; INSERT INTO by_c VALUES (30, 0); INSERT INTO by_own VALUES (30, 0)")
	c.wait_caught_up()


def retried(c, node=1):
	return metric(c, node, "nodedb_statements_retried_total"), metric(c, node, "nodedb_statement_retries_total")


def lose(c, session, start, others):
	"""The session starts something on node 1; each time that it is about to propose node 2 comes first with the next of `others`. Its outcome."""
	session.outcome = None
	session.thread = threading.Thread(target=run, args=(session, start), daemon=True)
	session.thread.start()
	for other in others:
		stopped(c, 1, "before-propose", session.pid)
		c.execute(2, other)
		release(c, 1, "before-propose")
	poll("the end of its attempts", lambda: not session.busy() or (release(c, 1, "before-propose"), False)[1], SECONDS)
	return session.end()


def run(session, start):
	try:
		session.rows = start(session.connection)
		session.outcome = "ok"
	except Error as error:
		session.outcome, session.error = error.sqlstate, error


def settings(level="read committed", *more):
	return ("SET nodedb.stop_at = 'before-propose'", "SET default_transaction_isolation = '%s'" % level) + more


def simple(sql):
	return lambda connection: connection.execute(sql)


# what is run, what comes first (so that it must run again), a query, and what it gives when both have happened, the other one first
PATHS = (
	("simple", simple("UPDATE item SET n = n + 1 WHERE id = 1"), "UPDATE item SET n = 10 WHERE id = 1", "SELECT n FROM item WHERE id = 1", "11"),
	("extended", lambda s: s.execute("UPDATE item SET n = n + $1::int WHERE id = $2", 1, 2), "UPDATE item SET n = 10 WHERE id = 2", "SELECT n FROM item WHERE id = 2", "11"),
	("prepared", lambda s: (s.prepare("p", "UPDATE item SET n = n + $1 WHERE id = $2"), s.send_prepared("p", 1, 3), s.result())[2],
	 "UPDATE item SET n = 10 WHERE id = 3", "SELECT n FROM item WHERE id = 3", "11"),
	("generic plan", lambda s: (s.execute("SET plan_cache_mode = force_generic_plan"), s.prepare("p", "UPDATE item SET n = n + $1 WHERE id = $2"),
								s.send_prepared("p", 1, 4), s.result())[3], "UPDATE item SET n = 10 WHERE id = 4", "SELECT n FROM item WHERE id = 4", "11"),
	("returning", lambda s: equal(s.execute("UPDATE item SET n = n + 1 WHERE id = 5 RETURNING n, repeat(code, 5000)"), [("11", "c5" * 5000)]),
	 "UPDATE item SET n = 10 WHERE id = 5", "SELECT n FROM item WHERE id = 5", "11"),
	("returning, extended", lambda s: equal(s.execute("UPDATE item SET n = n + 1 WHERE id = $1 RETURNING *", 6), [("6", "c6", "11")]),
	 "UPDATE item SET n = 10 WHERE id = 6", "SELECT n FROM item WHERE id = 6", "11"),
	("with", lambda s: equal(s.value("WITH x AS (UPDATE item SET n = n + 1 WHERE id = 7 RETURNING n) SELECT n * 2 FROM x"), "22"),
	 "UPDATE item SET n = 10 WHERE id = 7", "SELECT n FROM item WHERE id = 7", "11"),
	("on conflict", simple("INSERT INTO item VALUES (301, 'k301', 1) ON CONFLICT (id) DO UPDATE SET n = item.n + 1"), "INSERT INTO item VALUES (301, 'o', 10)",
	 "SELECT n FROM item WHERE id = 301", "11"),
	("merge", simple("MERGE INTO item i USING (VALUES (302)) v (id) ON i.id = v.id WHEN MATCHED THEN UPDATE SET n = n + 1 WHEN NOT MATCHED THEN INSERT VALUES (302, 'x', 1)"),
	 "INSERT INTO item VALUES (302, 'o2', 10)", "SELECT n FROM item WHERE id = 302", "11"),
	("delete", simple("DELETE FROM item WHERE id = 9 AND n = 0"), "UPDATE item SET n = 10 WHERE id = 9", "SELECT n FROM item WHERE id = 9", "10"),
	("insert select", simple("INSERT INTO item SELECT 303, 'i' || n, n FROM item WHERE id = 10 FOR UPDATE"), "UPDATE item SET n = 10 WHERE id = 10",
	 "SELECT n FROM item WHERE id = 303", "10"),
	("partitions", simple("UPDATE part SET id = id + 100, n = n + 1 WHERE id = 11"), "UPDATE part SET n = 10 WHERE id = 11", "SELECT n FROM part WHERE id = 111", "11"),
	("cascade", simple("DELETE FROM item WHERE id = 100"), "INSERT INTO child VALUES (400, 100)", "SELECT count(*) FROM child WHERE item = 100", "0"),
	("trigger", simple("UPDATE noisy SET n = n + 1 WHERE id = 12"), "UPDATE noisy SET n = 10 WHERE id = 12", "SELECT string_agg(n::text, ' ' ORDER BY n) FROM logged WHERE item = 12 AND n > 0", "10 11"),
	("trigger of PostgreSQL's own", simple("UPDATE by_own SET n = n + 1 WHERE id = 30"), "UPDATE by_own SET n = 10 WHERE id = 30", "SELECT n FROM by_own WHERE id = 30", "11"),
	("sequence", simple("UPDATE item SET n = n + 1 + 0 * nextval('counted') WHERE id = 13"), "UPDATE item SET n = 10 WHERE id = 13", "SELECT n FROM item WHERE id = 13", "11"),
)


def clean(c):
	c.execute(2, "DELETE FROM item WHERE id > 300; DELETE FROM part WHERE id > 50; INSERT INTO part VALUES (11) ON CONFLICT DO NOTHING; DELETE FROM logged;"
				 "INSERT INTO item SELECT g, 'c' || g, 0 FROM generate_series(1, 200) g ON CONFLICT DO NOTHING; UPDATE item SET n = 0 WHERE n <> 0; UPDATE noisy SET n = 0; UPDATE by_own SET n = 0;"
				 "UPDATE part SET n = 0; INSERT INTO child VALUES (100, 100) ON CONFLICT DO NOTHING")
	c.wait_caught_up()


@test
def every_way_to_send_it(c):
	wrong = []
	for level in LEVELS:
		clean(c)
		for name, start, other, look, wanted in PATHS:
			before = retried(c)
			with Session(c, 1, *settings(level)) as session:
				outcome = lose(c, session, start, [other])
				detail = str(getattr(session, "error", ""))
			got = (outcome, c.value(3, look), retried(c)[0] - before[0])
			if got != ("ok", wanted, 1):
				wrong.append("%s, %s: %r, wanted %r; %s" % (name, level, got, wanted, detail))
	equal(wrong, [])
	same_everywhere(c, "item", "child", "part", "noisy", "logged")


@test
def without_waiting_for_reads(c):
	"""nodedb.read_consistency = local: the next attempt waits for what won, though no read does."""
	for level in LEVELS:
		clean(c)
		with Session(c, 1, *settings(level, "SET nodedb.read_consistency = local")) as session:
			equal(lose(c, session, simple("UPDATE item SET n = n + 1 WHERE id = 20"), ["UPDATE item SET n = 10 WHERE id = 20"] * 2), "ok")
		equal(c.value(2, "SELECT n FROM item WHERE id = 20"), "11")


@test
def the_error_is_that_of_the_last_attempt(c):
	with Session(c, 1, *settings()) as session:
		equal(lose(c, session, simple("INSERT INTO item VALUES (501, 'twice')"), ["INSERT INTO item VALUES (502, 'twice')"]), "23505")
		equal(lose(c, session, simple("INSERT INTO child VALUES (501, 150)"), ["DELETE FROM item WHERE id = 150"]), "23503")


@test
def deferrable_unique(c):
	"""Each attempt commits, so each looks at what was deferred: one that passes only at its end, and one that comes to violate the constraint."""
	before = retried(c)
	with Session(c, 1, *settings()) as session:
		swap = "UPDATE later SET place = 3 - place, n = n + 1 WHERE id IN (1, 2)"
		equal(lose(c, session, simple(swap), ["UPDATE later SET n = 10 WHERE id = 1"]), "ok")
		equal(c.execute(3, "SELECT place, n FROM later WHERE id IN (1, 2) ORDER BY id"), [("2", "11"), ("1", "1")])
		equal(lose(c, session, simple("UPDATE later SET place = 40 WHERE id = 3"), ["UPDATE later SET place = 40 WHERE id = 4"]), "23505")
		equal(lose(c, session, simple("UPDATE later SET place = 41 WHERE id = 5"), ["UPDATE later SET place = 41 WHERE id = 6; UPDATE later SET place = 6 WHERE id = 6"]), "ok")
	equal(c.execute(3, "SELECT place FROM later WHERE id BETWEEN 3 AND 6 ORDER BY id"), [("3",), ("40",), ("41",), ("6",)])
	equal(retried(c)[0] - before[0], 2)
	same_everywhere(c, "later")


UPDATE = "UPDATE item SET n = n + 1 WHERE id = 30"
# what is refused, and what the hint says of it
REFUSED = (
	("block", lambda s: (s.execute("BEGIN"), s.execute(UPDATE), s.execute("COMMIT")), "alone in its transaction"),
	("several statements", simple("SELECT 1; " + UPDATE), "alone in its transaction"),
	("pipeline", lambda s: s.pipeline("SELECT n FROM item WHERE id = 31", UPDATE), "alone in its transaction"),
	("pipeline, first", lambda s: s.pipeline(UPDATE, "SELECT n FROM item WHERE id = 31"), "alone in its transaction"),
	("function", simple("SELECT bump(30)"), "alone in its transaction"),
	("DO", simple("DO $$ BEGIN UPDATE item SET n = n + 1 WHERE id = 30; END $$"), "alone in its transaction"),
	("CALL", simple("CALL bump_all()"), "alone in its transaction"),
	("EXECUTE", lambda s: (s.execute("PREPARE q AS " + UPDATE), s.execute("EXECUTE q")), "alone in its transaction"),
	("EXPLAIN ANALYZE", simple("EXPLAIN ANALYZE " + UPDATE), "alone in its transaction"),
	("off", lambda s: (s.execute("SET nodedb.statement_retries = 0"), s.execute(UPDATE)), "nodedb.statement_retries is 0"),
	("session lock", simple("UPDATE item SET n = n + 1 WHERE id = 30 AND pg_try_advisory_lock(1)"), "function pg_try_advisory_lock()"),
	("session lock in a function", simple("UPDATE item SET n = n + locks(2) WHERE id = 30"), "function pg_advisory_lock()"),
	("setval", simple("UPDATE item SET n = n + 0 * setval('counted', 1000) WHERE id = 30"), "function setval()"),
	("COPY in a trigger", simple("UPDATE copying SET n = n + 1 WHERE id = 30"), "COPY"),
	("trigger in C", simple("UPDATE by_c SET n = n + 1 WHERE id = 30"), "function moddatetime()"),
	("unknown effects", simple("UPDATE item SET n = n + 0 * length(pg_read_file('PG_VERSION', 0, 1)) + 0 * length(pg_switch_wal()::text) WHERE id = 30"), "function pg_"),
)


@test
def refused(c):
	wrong = []
	for name, start, wanted in REFUSED:
		clean(c)
		before = retried(c)
		with Session(c, 1, *settings()) as session:
			outcome = lose(c, session, start, ["UPDATE item SET n = 10 WHERE id = 30; UPDATE copying SET n = 10 WHERE id = 30; UPDATE by_c SET n = n + 10 WHERE id = 30"])
			hint = session.error.hint if outcome != "ok" else None
		if outcome != "40001" or wanted not in hint or not hint.startswith("Retry the transaction.") or retried(c) != before or c.value(2, "SELECT n FROM item WHERE id = 30") != "10":
			wrong.append("%s: %s, %s" % (name, outcome, hint))
	equal(wrong, [])


@test
def in_vain(c):
	clean(c)
	with Session(c, 1, *settings("read committed", "SET nodedb.statement_retries = 2", "SET nodedb.reserve_after = 0")) as session:
		equal(lose(c, session, simple("UPDATE item SET n = n + 1 WHERE id = 40"), ["UPDATE item SET n = n + 10 WHERE id = 40"] * 3), "40001")
		equal(session.error.hint, "Retry the transaction. The server did so 2 times (nodedb.statement_retries).")
		equal(session.error.table, "item")
	equal(c.value(2, "SELECT n FROM item WHERE id = 40"), "30")


@test
def waits_once_for_who_does_not_let_go(c):
	"""A transaction elsewhere keeps the table reserved: the statement stands in line for nodedb.commit_timeout, not once for each of its attempts."""
	with Session(c, 1) as one, Session(c, 2, "SET nodedb.commit_timeout = 5000", "SET nodedb.statement_retries = 100") as two:
		one.execute("BEGIN; ALTER TABLE item ADD COLUMN kept int")
		before = metric(c, 2, "nodedb_statement_retries_total")
		error = fails("40001", two.execute, "INSERT INTO item VALUES (977, 'c977')")
		equal("has waited for 5000 ms" in (error.hint or ""), True, "the hint is %s" % error.hint)
		equal(metric(c, 2, "nodedb_statement_retries_total") - before < 5, True, "it is tried a few times only")
		one.execute("ROLLBACK")
	poll("an insert", lambda: c.execute(2, "INSERT INTO item VALUES (977, 'c977')") is not None, SECONDS)
	clean(c)


@test
def cancelled_between_attempts(c):
	clean(c)
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose,before-retry'") as session:
		session.start("UPDATE item SET n = n + 1 WHERE id = 50")
		stopped(c, 1, "before-propose", session.pid)
		c.execute(2, "UPDATE item SET n = 10 WHERE id = 50")
		release(c, 1, "before-propose")
		stopped(c, 1, "before-retry", session.pid)
		session.connection.cancel()
		equal(session.end(), "57014")
		equal(session.value("SELECT n FROM item WHERE id = 50"), "10", "the session goes on")
		# statement_timeout is one for all attempts
		session.execute("SET statement_timeout = 7500")
		session.start("UPDATE item SET n = n + 1 WHERE id = 50")
		stopped(c, 1, "before-propose", session.pid)
		c.execute(2, "UPDATE item SET n = 20 WHERE id = 50")
		release(c, 1, "before-propose")
		equal(session.end(), "57014")
	equal(c.value(2, "SELECT n FROM item WHERE id = 50"), "20")


@test
def the_schema_changes_between_attempts(c):
	make(c, "CREATE TABLE shape (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)")
	c.execute(1, "INSERT INTO shape VALUES (1), (2), (3)")
	for number, (sql, change, wanted) in enumerate((
			("UPDATE shape SET n = n + 1 WHERE id = 1", "ALTER TABLE shape ADD COLUMN more int DEFAULT 5", "ok"),
			("UPDATE shape SET n = n + 1 WHERE id = 2 RETURNING *", "ALTER TABLE shape ADD COLUMN most int DEFAULT 6", "40001"),
			("UPDATE shape SET n = n + 1 WHERE id = 3", "ALTER TABLE shape RENAME COLUMN n TO m", "42703"))):
		with Session(c, 1, "SET nodedb.stop_at = 'before-propose,before-retry'") as session:
			session.start(sql)
			stopped(c, 1, "before-propose", session.pid)
			c.execute(2, "UPDATE shape SET n = 10 WHERE id = %d" % (number + 1))
			release(c, 1, "before-propose")
			stopped(c, 1, "before-retry", session.pid)
			c.execute(2, change)
			c.wait_caught_up()
			poll("the end", lambda: not session.busy() or (release(c, 1, "before-propose"), release(c, 1, "before-retry"), False)[2], SECONDS)
			equal(session.end(), wanted, sql)
	equal(c.execute(3, "SELECT m, more, most FROM shape ORDER BY id"), [("11", "5", "6"), ("10", "5", "6"), ("10", "5", "6")])


@test
def kicked_out_and_run_again(c):
	"""A statement that is half done when the applier needs its row: it holds 61 and waits for the lock 62 of another session."""
	for level in LEVELS:
		clean(c)
		before, kicked = retried(c), metric(c, 1, "nodedb_kicked_total")
		with c.connect(1) as holder, Session(c, 1, "SET default_transaction_isolation = '%s'" % level) as session:
			holder.execute("SELECT pg_advisory_lock(62)")
			session.start("UPDATE item SET n = n + 1 + 0 * length(pg_advisory_xact_lock(id)::text) WHERE id IN (61, 62)")
			poll("the statement waits", lambda: local(c, 1, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "1", SECONDS)
			c.execute(2, "UPDATE item SET n = 10 WHERE id IN (61, 62)")
			poll("it is kicked out", lambda: metric(c, 1, "nodedb_kicked_total") > kicked, SECONDS)
			holder.execute("SELECT pg_advisory_unlock(62)")
			equal(session.end(), "ok", level)
		equal(c.execute(3, "SELECT n FROM item WHERE id IN (61, 62)"), [("11",), ("11",)])
		equal(retried(c)[0] - before[0], 1)


@test
def a_budget_for_each_role(c):
	clean(c)
	for i in c:
		with c.connect(i) as connection:
			connection.execute("ALTER SYSTEM SET nodedb.retry_budget = 1")
			connection.execute("SELECT pg_reload_conf()")
		poll("the setting", lambda: local(c, i, "SHOW nodedb.retry_budget") == "1", SECONDS)
	try:
		# sixteen fail at once: more than a slow machine's seconds, of which each has one to give
		sessions = [Session(c, 1, *settings("read committed", "SET nodedb.reserve_after = 0")) for _ in range(16)]
		for key, session in enumerate(sessions, 61):
			session.start("UPDATE item SET n = n + 1 WHERE id = %d" % key)
		for session in sessions:
			stopped(c, 1, "before-propose", session.pid)
		c.execute(2, "UPDATE item SET n = n + 10 WHERE id BETWEEN 61 AND 76")
		poll("the end of all", lambda: not any(session.busy() for session in sessions) or (release(c, 1, "before-propose"), False)[1], SECONDS)
		equal({session.error.hint for session in sessions if session.end() == "40001"}, {"Retry the transaction. The role has used up its nodedb.retry_budget."})
		for session in sessions:
			session.connection.close()
	finally:
		for i in c:
			with c.connect(i) as connection:
				connection.execute("ALTER SYSTEM RESET nodedb.retry_budget")
				connection.execute("SELECT pg_reload_conf()")


@test
def the_circuit_breaker(c):
	"""More than a hundred statements fail again, all at once: when a hundred attempts of a second were in vain, the next ones are not made; then it is as before."""
	clean(c)
	many = range(51, 201)
	sessions = [c.connect(1) for _ in many]
	try:
		for session, key in zip(sessions, many):
			session.execute("SET nodedb.stop_at = 'before-propose'; SET nodedb.statement_retries = 100; SET nodedb.reserve_after = 0")
			session.send("UPDATE item SET n = n + 1 WHERE id = %d" % key)

		def all_stopped():
			return local(c, 1, "SELECT count(*) FROM nodedb.stop_events WHERE event = 'before-propose'") == str(len(many))
		while all(session.waiting() for session in sessions):		# two rounds, of which the second one counts; more on a machine that needs a second for one
			poll("all at their commit", lambda: all_stopped() or not all(session.waiting() for session in sessions), SECONDS, 0.01)
			c.execute(2, "UPDATE item SET n = n + 10 WHERE id BETWEEN %d AND %d" % (many[0], many[-1]))
			release(c, 1, "before-propose")
		hints = []
		for session in sessions:
			poll("the end of all", lambda: not session.waiting() or (release(c, 1, "before-propose"), False)[1], SECONDS, 0.01)
			try:
				session.result()
			except Error as error:
				hints.append(error.hint)
		equal(set(hints), {"Retry the transaction. Running statements again does not help at present, so the server does not."})
		with Session(c, 1, *settings()) as session:
			poll("it closes again", lambda: lose(c, session, simple("UPDATE item SET n = n + 1 WHERE id = 101"), ["UPDATE item SET n = n + 10 WHERE id = 101"]) == "ok", SECONDS)
	finally:
		for session in sessions:
			session.close()
		release(c, 1, "before-propose")


# ---- load ----

def writer(c, node, seed, rounds, errors, done, before):
	rng = random.Random(seed)
	try:
		with c.connect(node) as connection:
			for sql in before:
				connection.execute(sql)
			connection.prepare("up", "UPDATE item SET n = n + 1 WHERE id = $1")
			for k in range(rounds):
				row = rng.randint(81, 83)
				if k % 3 == 0:
					connection.execute("UPDATE item SET n = n + 1 WHERE id = %d" % row)
				elif k % 3 == 1:
					connection.execute("UPDATE item SET n = n + 1 WHERE id = $1 RETURNING n", row)
				else:
					connection.send_prepared("up", row)
					connection.result(SECONDS)
				done.append(row)
	except Exception as error:
		errors.append(error)


def load(c, rounds, *before):
	"""Three sessions on each node; (acknowledged, what the rows have, errors)."""
	clean(c)
	errors, done = [], []
	threads = [threading.Thread(target=writer, args=(c, node, node * 10 + k, rounds, errors, done, before), daemon=True) for node in c for k in range(3)]
	for thread in threads:
		thread.start()
	for thread in threads:
		thread.join(240)
	equal(any(thread.is_alive() for thread in threads), False, "nobody hangs")
	return len(done), int(c.value(2, "SELECT sum(n) FROM item WHERE id BETWEEN 81 AND 83")), errors


@test
def exact_under_load(c):
	before = sum(retried(c, i)[1] for i in c)
	acknowledged, found, errors = load(c, 60, "SET nodedb.statement_retries = 100")
	equal(errors, [])
	equal(acknowledged, 9 * 60)
	equal(found, acknowledged, "sum of what was acknowledged")
	again = sum(retried(c, i)[1] for i in c) - before
	equal(again > 20, True, "%d attempts after the first" % again)
	same_everywhere(c, "item")


@test
def the_load_conflicts(c):
	"""The same without retries fails, so the test above shows something."""
	acknowledged, found, errors = load(c, 60, "SET nodedb.statement_retries = 0")
	equal({error.sqlstate for error in errors}, {"40001"})
	equal(found, acknowledged)


# ---- liveness ----

def trickle(c, node, stop, errors, commits):
	rng = random.Random(node)
	try:
		with c.connect(node) as connection:
			connection.execute("SET nodedb.statement_retries = 100")
			while not stop.is_set():
				connection.execute("UPDATE item SET n = n + 1 WHERE id = $1", rng.randint(101, 120))
				commits.append(node)
	except Exception as error:
		errors.append(error)


def large_statement(c, *settings, beaten=False):
	"""Twenty hot rows, long enough for the writers of two other nodes to come first again and again; beaten: it is held up until they have. (outcome, attempts after the first)"""
	stop, errors, commits = threading.Event(), [], []
	threads = [threading.Thread(target=trickle, args=(c, node, stop, errors, commits), daemon=True) for node in (2, 3)]
	for thread in threads:
		thread.start()
	before = retried(c)
	try:
		with Session(c, 1, "SET nodedb.statement_retries = 8", *settings) as session:
			session.start("UPDATE item SET n = n + 1 + 0 * length(pg_sleep(0.03)::text) WHERE id BETWEEN 101 AND 120")
			while beaten and session.busy():
				poll("its next attempt, or its end", lambda: at_event(c, 1, "before-propose", session.pid) or not session.busy(), SECONDS, 0.02)
				n = len(commits)
				poll("another one to come first", lambda: len(commits) > n + 2 or errors, SECONDS, 0.01)		# of the two what was begun before may end behind
				release(c, 1, "before-propose")
			outcome = session.end()
	finally:
		stop.set()
		for thread in threads:
			thread.join(60)
	equal(errors, [], "the others")
	return outcome, retried(c)[1] - before[1]


@test
def starves_without_a_reservation(c):
	clean(c)
	equal(large_statement(c, "SET nodedb.reserve_after = 0", "SET nodedb.stop_at = 'before-propose'", beaten=True), ("40001", 8))


@test
def gets_through_with_one(c):
	clean(c)
	for _ in range(3):
		outcome, attempts = large_statement(c)
		equal(outcome, "ok")
		equal(attempts <= 4, True, "%d attempts after the first" % attempts)
	equal(metric(c, 1, "nodedb_retry_reservations_total") > 0, True)
	poll("no reservation is left", lambda: local(c, 1, "SELECT reservations FROM nodedb.groups WHERE group_id = 1") == "0", SECONDS)
	same_everywhere(c, "item")


main()
