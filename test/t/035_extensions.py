#!/usr/bin/env python3
"""CREATE EXTENSION and its like on one node take effect on all; a node that lacks the files is named before anything happens."""
import glob
import os
import re
import subprocess

from harness import *
from scenario import *
import cluster as cluster_module

setup(nodes=3, conf=["nodedb.schema_wait = 60000"])

SHARE = subprocess.run([cluster_module.BIN + "/pg_config", "--sharedir"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip() + "/extension/"
OWN = "nodedb_test_own"			# an extension of this test's, whose script makes a table with rows


def extensions(c, i):
	return c.execute(i, "SELECT extname, extversion, extnamespace::regnamespace, obj_description(oid, 'pg_extension') FROM pg_extension ORDER BY 1")


def same_extensions(c):
	c.wait_caught_up()
	seen = {i: extensions(c, i) for i in c}
	for i in c:
		equal(seen[i], seen[1], "extensions of node %d" % i)
	dumps = {}
	for i in c:
		text = subprocess.run([cluster_module.BIN + "/pg_dump", "--schema-only", c.dsn(i)], check=True, stdout=subprocess.PIPE, text=True).stdout
		dumps[i] = re.sub(r"(?m)^\\(un)?restrict .*$", "", text)		# a random word against injection
		equal(dumps[i], dumps[1], "schema of node %d" % i)


def told(c, name):
	poll("all nodes have told of %s" % name, lambda: c.value(1, "SELECT count(*) FROM nodedb.available_extensions WHERE name = $1 AND is_default", name) == "3", 90)


def tell_again(c):
	"""The lease workers tell at their start."""
	for i in c:
		c.execute(i, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'nodedb leases'")


@test
def nodes_tell_what_they_have(c):
	told(c, "citext")
	equal(c.value(2, "SELECT count(DISTINCT node_id) FROM nodedb.available_extensions"), "3")
	equal(c.execute(2, "SELECT name, version, is_default FROM nodedb.available_extensions WHERE node_id = 1 ORDER BY 1, 2"),
		  c.execute(2, "SELECT name, version, is_default FROM nodedb.available_extensions WHERE node_id = 3 ORDER BY 1, 2"))


@test
def create_is_for_all(c):
	c.execute(1, "CREATE EXTENSION citext")
	c.execute(2, "CREATE TABLE person (mail citext PRIMARY KEY, n int DEFAULT 0)")
	c.execute(3, "INSERT INTO person VALUES ('Somebody@Example.org')")
	fails("23505", c.execute, 1, "INSERT INTO person VALUES ('somebody@example.ORG')")
	c.execute(2, "UPDATE person SET n = 1 WHERE mail = 'SOMEBODY@example.org'")
	same_everywhere(c, "person")
	same_extensions(c)


@test
def equal_values_conflict_over_nodes(c):
	with c.connect(1) as one, c.connect(2) as two:
		for connection, mail in ((one, "Other@example.org"), (two, "other@EXAMPLE.org")):
			connection.execute("BEGIN")
			connection.execute("INSERT INTO person VALUES ($1)", mail)
		one.execute("COMMIT")
		fails("40001", two.execute, "COMMIT")


@test
def version_schema_and_cascade_travel(c):
	c.execute(2, "CREATE SCHEMA ext; CREATE EXTENSION hstore WITH SCHEMA ext VERSION '1.4'")
	c.execute(3, "CREATE EXTENSION earthdistance CASCADE")
	same_extensions(c)
	equal(c.value(1, "SELECT extversion || ' ' || extnamespace::regnamespace FROM pg_extension WHERE extname = 'hstore'"), "1.4 ext")
	equal(c.value(1, "SELECT count(*) FROM pg_extension WHERE extname IN ('cube', 'earthdistance')"), "2")
	c.execute(1, "CREATE TABLE bag (id int PRIMARY KEY, h ext.hstore); INSERT INTO bag VALUES (1, 'a=>1')")
	c.execute(1, "ALTER EXTENSION hstore UPDATE TO '1.6'")
	same_extensions(c)
	c.execute(2, "ALTER EXTENSION hstore UPDATE; COMMENT ON EXTENSION hstore IS 'bags'; CREATE SCHEMA ext2; ALTER EXTENSION hstore SET SCHEMA ext2")
	same_extensions(c)
	c.execute(3, "INSERT INTO bag VALUES (2, 'b=>2')")
	same_everywhere(c, "bag")


@test
def in_a_transaction_with_all_or_nothing(c):
	with c.connect(2) as connection:
		connection.execute("BEGIN; CREATE EXTENSION ltree; CREATE TABLE tree (path ltree PRIMARY KEY); INSERT INTO tree VALUES ('a.b'); ROLLBACK")
		same_extensions(c)
		equal(c.value(1, "SELECT count(*) FROM pg_extension WHERE extname = 'ltree'"), "0")
		connection.execute("BEGIN; CREATE EXTENSION ltree; CREATE TABLE tree (path ltree PRIMARY KEY); INSERT INTO tree VALUES ('a.b'); COMMIT")
	same_extensions(c)
	same_everywhere(c, "tree")


@test
def node_that_lacks_it_is_named(c):
	last = None
	with c.connect(1) as connection:
		for lacking, command in (("pg_trgm", "CREATE EXTENSION pg_trgm"), ("seg", "CREATE EXTENSION seg VERSION '1.4'"), ("hstore", "ALTER EXTENSION hstore UPDATE")):
			connection.execute("BEGIN")
			connection.execute("DELETE FROM nodedb.available_extensions WHERE node_id = 3 AND name = $1", lacking)
			error = fails("58P01", connection.execute, command)
			equal("node3" in str(error) and lacking in str(error), True, str(error))
			connection.execute("ROLLBACK")
		# one that CASCADE would add: its default version must be the same
		connection.execute("BEGIN; DROP EXTENSION cube CASCADE; UPDATE nodedb.available_extensions SET is_default = false WHERE node_id = 2 AND name = 'cube'")
		error = fails("58P01", connection.execute, "CREATE EXTENSION earthdistance CASCADE")
		equal("node2" in str(error) and '"cube"' in str(error), True, str(error))
		connection.execute("ROLLBACK")
		connection.execute("BEGIN; DELETE FROM nodedb.available_extensions WHERE node_id = 2")
		fails("55000", connection.execute, "CREATE EXTENSION pg_trgm")
		connection.execute("ROLLBACK")
	fails(("58P01", "0A000"), c.execute, 1, "CREATE EXTENSION no_such_extension")
	same_extensions(c)


@test
def made_by_hand_before_is_left_alone(c):
	c.execute(3, "SET nodedb.replicate_ddl = off; CREATE EXTENSION pg_trgm")
	c.execute(1, "CREATE EXTENSION pg_trgm")
	same_extensions(c)


@test
def table_of_an_extension_is_replicated(c):
	"""Its first rows are the script's, on every node; later ones come through the log."""
	try:
		with open(SHARE + OWN + ".control", "w") as file:
			file.write("default_version = '2'\nrelocatable = true\n")
		with open(SHARE + OWN + "--1.sql", "w") as file:
			file.write("CREATE TABLE own_conf (k text PRIMARY KEY, v int); INSERT INTO own_conf VALUES ('one', 1), ('two', 2);"
					   "CREATE FUNCTION own_sum() RETURNS bigint LANGUAGE sql AS 'SELECT sum(v) FROM own_conf';")
		with open(SHARE + OWN + "--1--2.sql", "w") as file:
			file.write("UPDATE own_conf SET v = v * 10; ALTER TABLE own_conf ADD COLUMN note text DEFAULT 'new';")
		tell_again(c)
		told(c, OWN)
		c.execute(2, "CREATE EXTENSION %s VERSION '1'" % OWN)
		same_extensions(c)
		same_everywhere(c, "own_conf")
		equal(c.value(3, "SELECT own_sum()"), "3")
		c.execute(3, "INSERT INTO own_conf VALUES ('three', 3)")
		c.execute(1, "ALTER EXTENSION %s UPDATE" % OWN)
		same_extensions(c)
		same_everywhere(c, "own_conf")
		equal(c.value(2, "SELECT own_sum() || note FROM own_conf LIMIT 1"), "60new")
		c.execute(2, "DROP EXTENSION %s" % OWN)
		same_extensions(c)
		equal(c.value(1, "SELECT to_regclass('own_conf')"), None)
	finally:
		for path in glob.glob(SHARE + OWN + "*"):
			os.unlink(path)


@test
def drop_is_for_all(c):
	fails("2BP01", c.execute, 1, "DROP EXTENSION citext")
	c.execute(1, "DROP EXTENSION citext CASCADE; DROP EXTENSION IF EXISTS no_such_extension")
	c.execute(2, "DROP EXTENSION earthdistance, cube, pg_trgm")
	same_extensions(c)
	equal(c.value(3, "SELECT count(*) FROM information_schema.columns WHERE table_name = 'person'"), "1")
	c.execute(3, "DROP TABLE person")
	same_extensions(c)


@test
def change_elsewhere_conflicts_with_drop(c):
	with c.connect(2) as connection:
		connection.execute("BEGIN; INSERT INTO bag VALUES (3, 'c=>3')")
		c.execute(1, "DROP EXTENSION hstore CASCADE")
		fails("40001", connection.execute, "COMMIT")
	same_extensions(c)
	same_everywhere(c, "bag")


main()
