#!/usr/bin/env python3
"""nodedb.submit(): a function that the server runs until it is committed: what it returns, when it is refused, that it is run again, and that nothing of a
failed attempt stays."""
import threading

from harness import *
from scenario import *

setup(nodes=3, conf=["nodedb.schema_wait = 0", "nodedb.retry_budget = 0", "nodedb.statement_retries = 0", "nodedb.commit_timeout = 60000"])
ALONE = "25001"


@test
def functions(c):
	make(c,
		 "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)",
		 "CREATE TABLE moved (id serial PRIMARY KEY, source int, target int, amount bigint)",
		 """CREATE FUNCTION transfer(source int, target int, amount bigint) RETURNS bigint LANGUAGE plpgsql AS $$
			DECLARE left_over bigint;
			BEGIN
				SELECT balance INTO left_over FROM account WHERE id = source;
				left_over := left_over - amount;
				IF left_over < 0 THEN RAISE EXCEPTION 'not enough' USING ERRCODE = 'P0042'; END IF;
				UPDATE account SET balance = left_over WHERE id = source;
				UPDATE account SET balance = balance + amount WHERE id = target;
				INSERT INTO moved (source, target, amount) VALUES ($1, $2, $3);
				RETURN left_over;
			END $$""",
		 "CREATE FUNCTION nothing() RETURNS void LANGUAGE plpgsql AS 'BEGIN UPDATE account SET balance = balance + 1 WHERE id = 1; END'",
		 "CREATE FUNCTION pair(a int DEFAULT 1, b text DEFAULT 'x', OUT x int, OUT y text) LANGUAGE sql AS 'SELECT a, b'",
		 "CREATE FUNCTION same(a int) RETURNS text LANGUAGE sql AS $$SELECT 'int ' || a$$",
		 "CREATE FUNCTION same(a text) RETURNS text LANGUAGE sql AS $$SELECT 'text ' || a$$",
		 "CREATE FUNCTION many() RETURNS SETOF int LANGUAGE sql AS 'SELECT 1 UNION ALL SELECT 2'",
		 "CREATE FUNCTION nested() RETURNS jsonb LANGUAGE sql AS $$SELECT nodedb.submit('nothing')$$",
		 "CREATE FUNCTION locks() RETURNS int LANGUAGE plpgsql AS 'BEGIN UPDATE account SET balance = balance + 1 WHERE id = 1; PERFORM pg_advisory_lock(1); RETURN 1; END'",
		 "CREATE SCHEMA \"My App\"", "CREATE FUNCTION \"My App\".\"Add\"(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2'",
		 "CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1'", "REVOKE ALL ON FUNCTION secret() FROM PUBLIC",
		 "CREATE PROCEDURE proc() LANGUAGE sql AS 'SELECT 1'", "CREATE ROLE clerk")
	c.execute(1, "INSERT INTO account SELECT g, 1000 FROM generate_series(1, 20) g")
	c.wait_caught_up()


@test
def results(c):
	for node in c:
		for sql, wanted in (("SELECT nodedb.submit('pair')", '{"x": 1, "y": "x"}'), ("SELECT nodedb.submit('pair', 5, 'z')", '{"x": 5, "y": "z"}'),
							("SELECT nodedb.submit('pair', NULL)", '{"x": null, "y": "x"}'), ("SELECT nodedb.submit('nothing')", None),
							("SELECT nodedb.submit('same', 7)", '"int 7"'), ("SELECT nodedb.submit('same', '7')", '"text 7"'),
							("SELECT nodedb.submit('same', VARIADIC ARRAY[8])", '"int 8"'),
							("SELECT nodedb.submit('\"My App\".\"Add\"', 1, 2)", "3"), ("SELECT nodedb.submit('public.same', '''; DROP TABLE account; --')", '"text \'; DROP TABLE account; --"')):
			equal(c.value(node, sql), wanted, sql)
		equal(c.value(node, "SELECT nodedb.submit('transfer', $1::int, $2::int, $3::bigint)", node + 1, node + 11, 10), "990")
	c.wait_caught_up()
	for node in c:
		equal(c.value(node, "SELECT sum(balance) FROM account"), "20003")
		equal(c.value(node, "SELECT count(*) FROM moved"), "3")


@test
def refusals(c):
	"""What could not be run again is refused before it has done anything."""
	before = c.value(1, "SELECT balance FROM account WHERE id = 1")
	with c.connect(1) as connection:
		for sql in ("BEGIN; SELECT nodedb.submit('nothing')", "SELECT 1; SELECT nodedb.submit('nothing')", "SELECT nodedb.submit('nothing'); SELECT 1",
					"SELECT nodedb.submit('nested')", "SELECT nodedb.submit('nothing') FROM generate_series(1, 2)", "SELECT nodedb.submit('nothing')::text",
					"SELECT nodedb.submit('nothing'), 1", "EXPLAIN ANALYZE SELECT nodedb.submit('nothing')", "DO $$BEGIN PERFORM nodedb.submit('nothing'); END$$",
					"BEGIN; DECLARE x CURSOR FOR SELECT nodedb.submit('nothing'); FETCH x", "CREATE TEMP TABLE t AS SELECT nodedb.submit('nothing')",
					"COPY (SELECT nodedb.submit('nothing')) TO '/dev/null'", "INSERT INTO moved (amount) VALUES ((nodedb.submit('nothing') IS NULL)::int)"):
			error = fails(ALONE, connection.execute, sql)
			equal("alone in its transaction" in str(error), True, str(error))
			connection.execute("ROLLBACK")
		for code, sql in (("0A000", "SELECT nodedb.submit('many')"), ("42809", "SELECT nodedb.submit('proc')"), ("42883", "SELECT nodedb.submit('absent', 1)"),
						  ("42602", "SELECT nodedb.submit('')"), ("22004", "SELECT nodedb.submit(NULL)"), ("P0042", "SELECT nodedb.submit('transfer', 1, 2, 100000000)")):
			fails(code, connection.execute, sql)
		connection.execute("SET ROLE clerk")
		fails("42501", connection.execute, "SELECT nodedb.submit('secret')")
	equal(c.value(1, "SELECT balance FROM account WHERE id = 1"), before)


def run(session, sql, *args):
	try:
		session.connection.value(sql, *args)
		session.outcome = "ok"
	except Error as error:
		session.outcome, session.error = error.sqlstate, error


def lose(c, session, others, sql, *args):
	"""The call runs on node 1; each time that it is about to propose, node 2 comes first with the next of `others`."""
	session.outcome = None
	session.thread = threading.Thread(target=run, args=(session, sql) + args, daemon=True)
	session.thread.start()
	for other in others:
		stopped(c, 1, "before-propose", session.pid)
		c.execute(2, other)
		release(c, 1, "before-propose")
	poll("the end of its attempts", lambda: not session.busy() or (release(c, 1, "before-propose"), False)[1], SECONDS)
	return session.end()


@test
def runs_again(c):
	"""The function computes from what it has read: a second attempt must read again, in every isolation level and protocol. Nothing of the first one stays."""
	for n, level in enumerate(("read committed", "repeatable read", "serializable")):
		for args in ((), (5, 6, 100)):
			c.execute(1, "UPDATE account SET balance = 1000 WHERE id IN (5, 6)")
			moved = int(c.value(1, "SELECT count(*) FROM moved"))
			before = metric(c, 1, "nodedb_statement_retries_total")
			with Session(c, 1, "SET nodedb.stop_at = 'before-propose'", "SET default_transaction_isolation = '%s'" % level) as session:
				sql = "SELECT nodedb.submit('transfer', $1::int, $2::int, $3::bigint)" if args else "SELECT nodedb.submit('transfer', 5, 6, 100)"
				equal(lose(c, session, ["UPDATE account SET balance = 500 WHERE id = 5", "UPDATE account SET balance = 300 WHERE id = 5"], sql, *args), "ok", level + (": %s" % session.error if session.outcome != "ok" else ""))
				equal(metric(c, 1, "nodedb_statement_retries_total"), before + 2)
			c.wait_caught_up()
			for node in c:
				equal(c.value(node, "SELECT string_agg(balance::text, ' ' ORDER BY id) FROM account WHERE id IN (5, 6)"), "200 1100", level)
				equal(int(c.value(node, "SELECT count(*) FROM moved")), moved + 1)


@test
def tells_why_not(c):
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose'") as session:
		equal(lose(c, session, ["UPDATE account SET balance = 1 WHERE id = 1"], "SELECT nodedb.submit('locks')"), "40001")
		equal("pg_advisory_lock" in str(session.error), True, str(session.error))
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose'", "SET nodedb.reserve_after = 0") as session:
		equal(lose(c, session, ["UPDATE account SET balance = %d WHERE id = 1" % n for n in range(6)], "SELECT nodedb.submit('nothing')"), "40001")
		equal("did so 5 times" in str(session.error), True, str(session.error))


@test
def reserves(c):
	"""From the second failure on its rows are reserved: whoever comes first then is told to wait for its end."""
	c.execute(1, "UPDATE account SET balance = 1000 WHERE id = 7")
	before = metric(c, 1, "nodedb_retry_reservations_total")
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose'") as session:
		equal(lose(c, session, ["UPDATE account SET balance = balance + 1 WHERE id = 7"] * 2, "SELECT nodedb.submit('transfer', 7, 8, 1)"), "ok")
	equal(metric(c, 1, "nodedb_retry_reservations_total") > before, True)
	equal(c.value(2, "SELECT balance FROM account WHERE id = 7"), "1001")


@test
def one_hot_row(c):
	"""From all nodes at once, nobody retries: every call is committed once, and nothing is lost."""
	c.execute(1, "UPDATE account SET balance = 0 WHERE id IN (1, 2)")
	calls, threads, broken = 20, [], []

	def work(node):
		with c.connect(node) as connection:
			for _ in range(calls):
				try:
					connection.execute("SELECT nodedb.submit('nothing')")
				except Error as error:
					broken.append(str(error))
	for node in list(c) * 4:
		threads.append(threading.Thread(target=work, args=(node,)))
		threads[-1].start()
	for thread in threads:
		thread.join()
	equal(broken, [])
	c.wait_caught_up()
	for node in c:
		equal(c.value(node, "SELECT balance FROM account WHERE id = 1"), str(12 * calls))
	same_everywhere(c, "account")
	same_everywhere(c, "moved")


main()
