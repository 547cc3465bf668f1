#!/usr/bin/env python3
"""What a PostgreSQL user takes for granted, on tables that all nodes share: one test for each thing that no other file is about."""
import os
import re
import subprocess

from harness import *
from scenario import *
from cluster import BIN

HERE = os.path.dirname(os.path.realpath(__file__))

setup(nodes=3)


def seen(c, sql):
	"""The answer, which must be the same on every node."""
	c.wait_caught_up()
	answers = [c.value(i, sql) for i in c]
	equal(len(set(answers)), 1, "answers of the nodes to %s: %r" % (sql, answers))
	return answers[0]


@test
def queries_that_write_in_ctes(c):
	make(c, "CREATE TABLE cte (id int PRIMARY KEY, n int)", "CREATE TABLE cte_log (id int, what text)")
	c.execute(1, "WITH new AS (INSERT INTO cte SELECT g, g FROM generate_series(1, 10) g RETURNING id) INSERT INTO cte_log SELECT id, 'new' FROM new")
	equal(c.value(2, "WITH gone AS (DELETE FROM cte WHERE id > 7 RETURNING id), more AS (UPDATE cte SET n = n + 1 WHERE id < 3 RETURNING n),"
					 " log AS (INSERT INTO cte_log SELECT id, 'gone' FROM gone) SELECT (SELECT count(*) FROM gone) || ' ' || (SELECT sum(n) FROM more)"), "3 5")
	equal(seen(c, "SELECT (SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM cte) || ' ' || (SELECT count(*) FROM cte_log WHERE what = 'gone')"),
		  "1:2 2:3 3:3 4:4 5:5 6:6 7:7 3")
	same_everywhere(c, "cte", "cte_log")


@test
def procedures_that_commit(c):
	make(c, "CREATE TABLE steps (id int PRIMARY KEY)",
		 "CREATE PROCEDURE walk(n int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP INSERT INTO steps VALUES (i); IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF; END LOOP; END $$")
	c.execute(3, "CALL walk(10)")
	equal(seen(c, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM steps"), "1 2 4 5 7 8 10")


@test
def cursor_with_hold_outlives_its_transaction(c):
	make(c, "CREATE TABLE held (id int PRIMARY KEY)", "INSERT INTO held SELECT generate_series(1, 20)")
	with c.connect(1) as one:
		one.execute("BEGIN; INSERT INTO held VALUES (21); DECLARE h CURSOR WITH HOLD FOR SELECT id FROM held ORDER BY id; FETCH 5 FROM h; COMMIT")
		c.execute(2, "DELETE FROM held WHERE id > 5")
		c.wait_caught_up()
		equal([row[0] for row in one.execute("FETCH ALL FROM h")], [str(i) for i in range(6, 22)])
		equal(one.value("SELECT count(*) FROM held"), "5")
		one.execute("CLOSE h")


@test
def prepared_transactions_are_refused_with_a_hint(c):
	make(c, "CREATE TABLE prepared (id int PRIMARY KEY)")
	with c.connect(2) as two:
		two.execute("BEGIN; INSERT INTO prepared VALUES (1)")
		equal(bool(fails("0A000", two.execute, "PREPARE TRANSACTION 'x'").hint), True, "hint")
		equal(two.value("SELECT count(*) FROM prepared"), "0", "it was rolled back")
		equal(two.value("SELECT count(*) FROM pg_prepared_xacts"), "0")
	c.execute(1, "INSERT INTO prepared VALUES (1)")
	same_everywhere(c, "prepared")


@test
def row_level_security_holds_on_every_node(c):
	make(c, "CREATE ROLE tenant_a", "CREATE ROLE tenant_b", "CREATE TABLE tenants (id int PRIMARY KEY, who name DEFAULT current_user)", "GRANT ALL ON tenants TO tenant_a, tenant_b",
		 "ALTER TABLE tenants ENABLE ROW LEVEL SECURITY", "CREATE POLICY own ON tenants USING (who = current_user)")
	for i, who in ((1, "tenant_a"), (2, "tenant_b"), (3, "tenant_a")):
		c.execute(i, "SET ROLE %s; INSERT INTO tenants VALUES (%d)" % (who, i))
	c.wait_caught_up()
	for i in c:
		with c.connect(i) as connection:
			connection.execute("SET ROLE tenant_a")
			equal(connection.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM tenants"), "1 3", "node %d" % i)
			fails("42501", connection.execute, "INSERT INTO tenants VALUES (9, 'tenant_b')")
			equal(connection.value("WITH x AS (UPDATE tenants SET id = id + 10 WHERE id = 2 RETURNING 1) SELECT count(*) FROM x"), "0")
	same_everywhere(c, "tenants")


@test
def temporary_and_unlogged_tables_are_the_nodes_own(c):
	make(c, "CREATE TABLE shared (id int PRIMARY KEY, t text)")
	with c.connect(1) as one:
		one.execute("CREATE TEMP TABLE mine (id int, t text); CREATE UNLOGGED TABLE fast (id int); INSERT INTO mine VALUES (1, 'a'); INSERT INTO fast VALUES (1)")
		one.execute("BEGIN; INSERT INTO shared SELECT * FROM mine; UPDATE mine SET t = 'b'; INSERT INTO fast SELECT id FROM shared; COMMIT")
		equal(one.value("SELECT (SELECT t FROM mine) || (SELECT count(*) FROM fast)"), "b2")
		c.wait_caught_up()
		for i in (2, 3):
			equal(c.value(i, "SELECT coalesce(to_regclass('fast')::text, '') || coalesce(to_regclass('mine')::text, '')"), "", "node %d" % i)
	same_everywhere(c, "shared")
	c.execute(1, "DROP TABLE fast")


@test
def sequences_go_with_their_owner(c):
	make(c, "CREATE TABLE owner (id int)", "CREATE SEQUENCE owned OWNED BY owner.id", "CREATE SEQUENCE free", "ALTER SEQUENCE free OWNED BY owner.id", "ALTER SEQUENCE free OWNED BY NONE")
	c.execute(2, "DROP TABLE owner")
	equal(seen(c, "SELECT coalesce(to_regclass('owned')::text, 'gone') || ' ' || coalesce(to_regclass('free')::text, 'gone')"), "gone free")


@test
def rows_without_a_key_and_large_values(c):
	"""Twins are told apart by number, and a value that lies outside of its row is found when the row is changed elsewhere."""
	make(c, "CREATE TABLE nokey (n int, big text)", "INSERT INTO nokey SELECT 1, (SELECT string_agg(md5(x::text), '') FROM generate_series(1, 3000) x) FROM generate_series(1, 3)")
	for i in c:
		c.execute(i, "UPDATE nokey SET n = n + %d WHERE ctid = (SELECT min(ctid) FROM nokey WHERE n = 1)" % (10 * i))
	equal(seen(c, "SELECT string_agg(n::text, ' ' ORDER BY n) || ' ' || count(DISTINCT big) || ' ' || sum(length(big)) FROM nokey"), "11 21 31 1 288000")
	c.execute(2, "DELETE FROM nokey WHERE n > 11")
	equal(seen(c, "SELECT count(*) FROM nokey"), "1")
	same_everywhere(c, "nokey")


@test
def rows_move_between_partitions(c):
	make(c, "CREATE TABLE region (id int, r text, n int, PRIMARY KEY (id, r)) PARTITION BY LIST (r)", "CREATE TABLE region_a PARTITION OF region FOR VALUES IN ('a')",
		 "CREATE TABLE region_b PARTITION OF region FOR VALUES IN ('b')", "INSERT INTO region SELECT g, 'a', 0 FROM generate_series(1, 6) g")
	c.execute(2, "UPDATE region SET r = 'b', n = 1 WHERE id % 2 = 0")
	equal(c.value(3, "WITH x AS (UPDATE region SET r = 'b' WHERE id = 3 RETURNING tableoid::regclass) SELECT * FROM x"), "region_b")
	equal(seen(c, "SELECT string_agg(tableoid::regclass || ':' || id || ':' || n, ' ' ORDER BY id) FROM region"),
		  "region_a:1:0 region_b:2:1 region_b:3:0 region_b:4:1 region_a:5:0 region_b:6:1")
	fails("23514", c.execute, 1, "UPDATE region SET r = 'c' WHERE id = 1")
	same_everywhere(c, "region", "region_a", "region_b")


@test
def advisory_locks_are_of_one_node(c):
	"""As the README says."""
	with c.connect(1) as one, c.connect(2) as two:
		equal(one.value("SELECT pg_try_advisory_lock(7)"), "t")
		equal(c.value(1, "SELECT pg_try_advisory_lock(7)"), "f")
		equal(two.value("SELECT pg_try_advisory_lock(7)"), "t")


@test
def notifications_are_of_one_node(c):
	"""As the README says: sessions of the same node hear of it, when the transaction is committed; who loses a conflict has notified nobody."""
	make(c, "CREATE TABLE told (id int PRIMARY KEY, n int)", "INSERT INTO told VALUES (1, 0)")
	with c.connect(1) as here, c.connect(1) as sender, c.connect(2) as there:
		for listener in (here, there):
			listener.execute("LISTEN news")
		sender.execute("BEGIN; UPDATE told SET n = 1; NOTIFY news, 'lost'")
		c.execute(3, "UPDATE told SET n = 3")
		fails("40001", sender.execute, "COMMIT")
		sender.execute("ROLLBACK" if sender.in_transaction else "SELECT 1")
		sender.execute("BEGIN; UPDATE told SET n = 2; NOTIFY news, 'won'; COMMIT")
		c.wait_caught_up()
		for listener in (here, there):
			listener.execute("SELECT 1")
		equal([payload for _, payload in here.notifications()], ["won"])
		equal(there.notifications(), [])


@test
def triggers_of_every_mode_fire_once_at_the_origin(c):
	"""What the origin's triggers do travels as rows. So an applier fires none, whatever its mode says: REPLICA fires where a session sets session_replication_role, ALWAYS in every session."""
	make(c, "CREATE TABLE watched (id int PRIMARY KEY)", "CREATE TABLE fired (id int, name text)",
		 "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (NEW.id, TG_NAME); RETURN NULL; END $$",
		 *["CREATE TRIGGER %s AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION fire()" % name for name in ("on_origin", "on_replica", "on_always", "on_never")],
		 "ALTER TABLE watched ENABLE REPLICA TRIGGER on_replica, ENABLE ALWAYS TRIGGER on_always, DISABLE TRIGGER on_never")
	for i in c:
		c.execute(i, "INSERT INTO watched VALUES (%d)" % i)
		c.execute(i, "SET session_replication_role = replica; INSERT INTO watched VALUES (%d)" % (10 + i))
	equal(seen(c, "SELECT string_agg(id || ' ' || names, ', ' ORDER BY id) FROM (SELECT id, string_agg(name, '+' ORDER BY name) AS names FROM fired GROUP BY id) x"),
		  ", ".join(["%d on_always+on_origin" % i for i in c] + ["%d on_always+on_replica" % (10 + i) for i in c]))
	same_everywhere(c, "watched", "fired")


@test
def functions_in_indexes_run_as_the_owner(c):
	"""The owner of a table writes them; appliers, and who refreshes his views, are superusers. Here the function fails for those."""
	make(c, "CREATE ROLE mallory", "CREATE SCHEMA den AUTHORIZATION mallory")
	with c.connect(1) as one:
		one.execute("SET ROLE mallory; SET search_path = den")
		for sql in ("CREATE FUNCTION who(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN"
					" RAISE EXCEPTION 'run by a superuser'; END IF; RETURN $1; END $$",
					"CREATE TABLE trap (id int PRIMARY KEY, n int, later int, UNIQUE (later) DEFERRABLE)", "CREATE UNIQUE INDEX ON trap (who(n)) WHERE who(id) > 0", "CREATE INDEX ON trap (who(id + n))",
					"CREATE MATERIALIZED VIEW trap_view AS SELECT id, n FROM trap", "CREATE UNIQUE INDEX ON trap_view (id)", "CREATE INDEX ON trap_view (n) WHERE who(1) > 0",
					"INSERT INTO trap SELECT g, g, g FROM generate_series(1, 100) g", "UPDATE trap SET n = n + 1000, later = later + 1", "DELETE FROM trap WHERE id = 7",
					"ALTER TABLE trap ADD COLUMN r float8 DEFAULT random()"):
			one.execute(sql)
	c.wait_caught_up()
	c.execute(2, "REFRESH MATERIALIZED VIEW den.trap_view")
	c.execute(1, "SET ROLE mallory; UPDATE den.trap SET n = n + 5000")
	c.execute(3, "REFRESH MATERIALIZED VIEW CONCURRENTLY den.trap_view")
	same_everywhere(c, "den.trap")
	for i in c:
		equal(c.value(i, "SET ROLE mallory; SELECT count(*) || ' ' || sum(n) FROM den.trap_view"), c.value(1, "SELECT count(*) || ' ' || sum(n) FROM den.trap"), "node %d" % i)


@test
def read_only_transactions(c):
	make(c, "CREATE TABLE ro (id int PRIMARY KEY)")
	for i, begin in ((1, "BEGIN; SET TRANSACTION READ ONLY"), (2, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"), (3, "BEGIN")):
		with c.connect(i) as connection:
			if i == 3:
				connection.execute("SET default_transaction_read_only = on")
			connection.execute(begin)
			equal(connection.value("SELECT count(*) FROM ro"), "0")
			fails("25006", connection.execute, "INSERT INTO ro VALUES (1)")
			connection.execute("ROLLBACK")
	same_everywhere(c, "ro")


@test
def copy_both_ways(c):
	"""In both formats, with what text must escape, from one node to another."""
	make(c, "CREATE TABLE copied (id int PRIMARY KEY, t text, b bytea, n numeric, a text[])")
	c.execute(1, r"""INSERT INTO copied SELECT g, CASE WHEN g % 7 > 0 THEN E'a\tb\\\\c\n' || g || 'ä"' END, decode(md5(g::text), 'hex'), g / 3.0, ARRAY['x,y', NULL, '{' || g] FROM generate_series(1, 500) g""")
	for i, how in ((2, ""), (3, "(FORMAT csv, HEADER)"), (2, "(FORMAT binary)")):
		out = "%s/copied.out" % c.servers[1].dir
		c.wait_caught_up()
		c.execute(i, "COPY (SELECT * FROM copied ORDER BY id) TO '%s' %s" % (out, how))
		c.execute(1, "CREATE TABLE again (LIKE copied INCLUDING ALL)")
		c.wait_caught_up()
		c.execute(5 - i, "COPY again FROM '%s' %s" % (out, how))
		equal(seen(c, "SELECT count(*) FROM copied FULL JOIN again USING (id) WHERE copied IS DISTINCT FROM again"), "0", how)
		same_everywhere(c, "again")
		c.execute(2, "DROP TABLE again")


@test
def a_dump_is_restored_through_another_node(c):
	"""All that pg_dump writes of the schema of test/workload, with its rows: dumped at one node, restored through another one, dumped everywhere."""
	with open(os.path.join(HERE, "../workload/schema.sql")) as file:
		schema = file.read()
	c.execute(1, "CREATE EXTENSION btree_gist; CREATE EXTENSION citext; CREATE SCHEMA app")
	c.execute(1, "SET search_path = app, public; %s" % schema)
	c.execute(3, "SET search_path = app, public; INSERT INTO types (id, num, t, ci, ia, r, m, p, pr, by, big) SELECT g, g / 7.0, E'a\\t' || g, 'Ci' || g, ARRAY[g, NULL], int4range(g, g + 5),"
				 " 'happy', g, ROW(g, 'x')::pair, '\\x00ff', repeat('big', 2000) FROM generate_series(1, 50) g; INSERT INTO child (a, b, code) SELECT a, b, code FROM parent;"
				 " INSERT INTO part SELECT g, g % 4, 'v' FROM generate_series(1, 99) g; UPDATE part SET region = 2 WHERE id < 20; DELETE FROM parent WHERE a = 3")

	def dump(i):
		text = subprocess.run([BIN + "/pg_dump", "--schema=app", c.dsn(i)], check=True, stdout=subprocess.PIPE, text=True).stdout
		# the random word against injection; values of sequences are those of a node's lease
		return text, sorted(line for line in text.splitlines() if not re.match(r"\\(un)?restrict |SELECT pg_catalog.setval", line))
	c.wait_caught_up()
	text, before = dump(2)
	equal(len(before) > 400, True, "the dump holds much")
	c.execute(1, "DROP SCHEMA app CASCADE")
	restored = subprocess.run([BIN + "/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", c.dsn(3)], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	equal(restored.returncode, 0, restored.stdout[-1000:])
	c.wait_caught_up()
	for i in c:
		_, after = dump(i)
		equal([line for line in after if line not in before] + [line for line in before if line not in after], [], "node %d" % i)
	c.execute(2, "INSERT INTO app.child (a, b) VALUES (1, 1)")
	same_everywhere(c, "app.types", "app.child", "app.part")

@test
def autovacuum_hears_of_replicated_rows(c):
	make(c, "CREATE TABLE counted (id int PRIMARY KEY, pad text)")
	c.execute(1, "INSERT INTO counted SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g")	# a bulk applier's
	c.execute(2, "UPDATE counted SET pad = 'y' WHERE id <= 10; DELETE FROM counted WHERE id > 4990")
	for i in c:
		poll("statistics of node %d" % i, lambda: local(c, i, "SELECT (n_tup_ins, n_tup_upd, n_tup_del) FROM pg_stat_user_tables WHERE relname = 'counted'") == "(5000,10,10)", SECONDS)



main()
