#!/usr/bin/env python3
"""A lost conflict, as its client hears of it: the error names the table, the key, the winner and its node, and tells nobody what he may not read."""
from harness import *
from scenario import *

# A schema change that waits for all nodes would wait for the session that stands before its proposal.
setup(nodes=3, conf=["nodedb.schema_wait = 0"])


@test
def tables(c):
	make(c,
		 "CREATE TABLE item (id int PRIMARY KEY, code text, n int NOT NULL DEFAULT 0)",
		 "CREATE UNIQUE INDEX item_code ON item (lower(code))",
		 "CREATE TABLE pair (a int, b text, n int, PRIMARY KEY (a, b))",
		 "CREATE TABLE keyless (n int)",
		 "CREATE TABLE \"Odd \"\"name\" (id int PRIMARY KEY, n int)",
		 "CREATE TABLE out (id serial PRIMARY KEY, what text)",
		 "CREATE ROLE blind", "GRANT UPDATE ON item, pair TO blind", "GRANT SELECT (id, n), UPDATE ON item TO blind", "GRANT INSERT ON item TO blind",
		 "CREATE TABLE secret (id int PRIMARY KEY, n int)", "ALTER TABLE secret ENABLE ROW LEVEL SECURITY", "CREATE POLICY all_rows ON secret USING (true)",
		 "GRANT SELECT, UPDATE ON secret TO blind")
	c.execute(1, "INSERT INTO item SELECT g, 'c' || g FROM generate_series(1, 100) g; INSERT INTO pair SELECT g, 'b' || g, 0 FROM generate_series(1, 20) g;"
				 "INSERT INTO keyless VALUES (1), (2); INSERT INTO secret VALUES (1, 0); INSERT INTO \"Odd \"\"name\" VALUES (1, 0)")
	c.wait_caught_up()


def refused(c, work, other):
	"""Node 1 works and is about to propose; node 2 comes first. The error of node 1's client."""
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose'") as loser:
		for sql in work:
			loser.execute(sql)
		loser.start("COMMIT")
		stopped(c, 1, "before-propose", loser.pid)
		c.execute(2, other)
		release(c, 1, "before-propose")
		equal(loser.end(), "40001")
		c.wait_caught_up()
		return loser.error


def says(error, what, schema="public", table=None, constraint=None, verb="changed or locked %s first."):
	end = ', from node "node2", ' + verb % what
	if not (error.detail or "").startswith("Entry ") or not error.detail.endswith(end):
		raise AssertionError("wanted a detail like %r, got %r" % (end, error.detail))
	equal((error.schema, error.table, error.constraint), (schema, table, constraint), "fields")
	equal(error.hint.startswith("Retry the transaction."), True, error.hint)


@test
def a_row(c):
	update = "UPDATE item SET n = n + 1 WHERE id = 5"
	says(refused(c, ["BEGIN", update], update), 'row (id)=(5) of table "item"', table="item")
	says(refused(c, ["BEGIN", "DELETE FROM pair WHERE a = 5"], "UPDATE pair SET n = 1 WHERE a = 5"), 'row (a, b)=(5, b5) of table "pair"', table="pair")
	says(refused(c, ["BEGIN", "UPDATE pair SET b = 'new' WHERE a = 6", "UPDATE pair SET n = 1 WHERE a = 6"], "UPDATE pair SET n = 1 WHERE a = 6"),
		 'row (a, b)=(6, b6) of table "pair"', table="pair")
	says(refused(c, ["BEGIN", "SELECT FROM pair WHERE a = 7 FOR UPDATE", "INSERT INTO out (what) VALUES ('x')"], "UPDATE pair SET n = 1 WHERE a = 7"),
		 'row (a, b)=(7, b7) of table "pair"', table="pair")
	says(refused(c, ["BEGIN", "UPDATE \"Odd \"\"name\" SET n = 1"], "UPDATE \"Odd \"\"name\" SET n = 2"),
		 'row (id)=(1) of table "Odd "name"', table='Odd "name')
	says(refused(c, ["BEGIN", "UPDATE keyless SET n = 3 WHERE n = 1"], "UPDATE keyless SET n = 4 WHERE n = 1"), 'a row of table "keyless"', table="keyless")


@test
def a_version_that_is_gone(c):
	"""The row came and changed its key within the transaction."""
	says(refused(c, ["BEGIN", "INSERT INTO item VALUES (201, 'first')", "UPDATE item SET id = 202 WHERE id = 201", "UPDATE item SET n = 1 WHERE id = 202",
					 "DELETE FROM item WHERE id = 202"], "INSERT INTO item VALUES (202, 'other')"), 'row (id)=(202) of table "item"', table="item")


@test
def a_unique_value(c):
	says(refused(c, ["BEGIN", "INSERT INTO item VALUES (301, 'New')"], "INSERT INTO item VALUES (302, 'NEW')"),
		 'value (lower(code))=(new) of unique index "item_code" of table "item"', table="item", constraint="item_code")
	says(refused(c, ["BEGIN", "UPDATE item SET code = 'moved' WHERE id = 20"], "INSERT INTO item VALUES (303, 'Moved')"),
		 'value (lower(code))=(moved) of unique index "item_code" of table "item"', table="item", constraint="item_code")


@test
def a_table(c):
	says(refused(c, ["BEGIN", "LOCK TABLE pair IN SHARE MODE", "INSERT INTO out (what) VALUES ('x')"], "UPDATE pair SET n = 2 WHERE a = 8"),
		 'table "pair"', table="pair")
	says(refused(c, ["BEGIN", "UPDATE pair SET n = 1 WHERE a = 9"], "TRUNCATE pair"), 'table "pair"', table="pair")
	c.execute(1, "INSERT INTO pair SELECT g, 'b' || g, 0 FROM generate_series(1, 20) g")


@test
def what_was_read(c):
	read = "changed %s, which this SERIALIZABLE transaction had read."
	begin, write = "BEGIN ISOLATION LEVEL SERIALIZABLE", "INSERT INTO out (what) VALUES ('x')"
	says(refused(c, [begin, "SET LOCAL enable_seqscan = off", "SET LOCAL enable_bitmapscan = off", "SELECT n FROM item WHERE id = 31", write],
				 "UPDATE item SET n = 1 WHERE id = 31"), 'row (id)=(31) of table "item"', table="item", verb=read)
	says(refused(c, [begin, "SELECT sum(n) FROM pair", write], "UPDATE pair SET n = 7 WHERE a = 10"), 'table "pair"', table="pair", verb=read)


@test
def only_what_the_user_may_read(c):
	as_blind = ["BEGIN", "SET LOCAL ROLE blind"]
	unknown = "the same row, unique value or table first, or changed what was read."
	says(refused(c, as_blind + ["UPDATE item SET n = 1 WHERE id = 41"], "UPDATE item SET n = 2 WHERE id = 41"), 'row (id)=(41) of table "item"', table="item")
	says(refused(c, as_blind + ["INSERT INTO item VALUES (401, 'Hidden')"], "INSERT INTO item VALUES (402, 'hidden')"),
		 'a value of unique index "item_code" of table "item"', table="item", constraint="item_code")
	says(refused(c, as_blind + ["UPDATE pair SET n = 1"], "UPDATE pair SET n = 2 WHERE a = 11"), unknown, schema=None, verb="changed or locked %s")
	says(refused(c, as_blind + ["UPDATE secret SET n = 1"], "UPDATE secret SET n = 2"), 'a row of table "secret"', table="secret")


@test
def a_reservation(c):
	"""A schema change of another node has the table, before its entry is there."""
	with Session(c, 2) as ddl, c.connect(1) as loser:
		ddl.execute("BEGIN; ALTER TABLE pair ADD COLUMN more int")
		loser.execute("BEGIN; UPDATE pair SET n = 1 WHERE a = 12")
		error = fails("40001", loser.execute, "COMMIT")
		equal(error.detail.endswith('from node "node2", has reserved table "pair" until its transaction ends.'), True, error.detail)
		equal((error.schema, error.table), ("public", "pair"))
		ddl.execute("ROLLBACK")


@test
def a_kick_out(c):
	"""The applier needs a row: whoever has it hears which table it was, running or idle."""
	for running in (True, False):
		key = 50 + running
		with c.connect(1) as victim:
			victim.execute("BEGIN; UPDATE item SET n = -1 WHERE id = %d" % key)
			if running:
				victim.send("SELECT pg_sleep(60)")
			c.execute(2, "INSERT INTO out (what) VALUES ('y'); UPDATE item SET n = 2 WHERE id = %d" % key)
			poll("the row", lambda: local(c, 1, "SELECT n FROM item WHERE id = $1", key) == "2", SECONDS)
			error = fails("40001", victim.result if running else lambda: victim.execute("COMMIT"))
			equal(error.detail, 'It changed table "item", where a lock of this transaction was in its way.')
			equal((error.schema, error.table), ("public", "item"))


main()
