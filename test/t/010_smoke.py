#!/usr/bin/env python3
"""Three nodes do what the first page of the README promises: any node writes and reads, conflicts are told, a dead node harms nobody."""
from harness import *

setup(nodes=3, conf=["nodedb.schema_wait = 60000"])


@test
def table_is_created_everywhere(c):
	c.execute(1, "CREATE TABLE smoke (id int PRIMARY KEY, node int NOT NULL, note text)")
	for i in c:
		equal(c.value(i, "SELECT a.amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = 'smoke'::regclass"), "nodedb")


@test
def every_node_writes_and_every_node_reads(c):
	for i in c:
		c.execute(i, "INSERT INTO smoke VALUES ($1, $2, 'from ' || $3)", i, i, i)
		for j in c:
			equal(c.value(j, "SELECT node FROM smoke WHERE id = $1", i), str(i), "row of node %d on node %d" % (i, j))


@test
def update_and_delete_reach_all(c):
	c.execute(2, "INSERT INTO smoke SELECT g, 0, 'x' FROM generate_series(100, 199) g")
	c.execute(3, "UPDATE smoke SET note = repeat('long', 5000) WHERE id = 150")
	c.execute(1, "DELETE FROM smoke WHERE id BETWEEN 160 AND 199")
	for i in c:
		equal(c.execute(i, "SELECT count(*), max(length(note)) FROM smoke WHERE id >= 100"), [("60", "20000")], "node %d" % i)
	same_everywhere(c, "smoke")


@test
def own_writes_are_seen_before_commit_by_nobody_else(c):
	with c.connect(1) as one:
		one.execute("BEGIN; INSERT INTO smoke VALUES (300, 1, 'open')")
		equal(one.value("SELECT count(*) FROM smoke WHERE id = 300"), "1")
		for i in c:
			equal(c.value(i, "SELECT count(*) FROM smoke WHERE id = 300"), "0")
		one.execute("ROLLBACK")
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM smoke WHERE id = 300"), "0")


@test
def savepoint_that_was_rolled_back_leaves_nothing(c):
	with c.connect(2) as two:
		two.execute("BEGIN; INSERT INTO smoke VALUES (400, 2, 'kept'); SAVEPOINT s; INSERT INTO smoke VALUES (401, 2, 'gone');"
					" ROLLBACK TO s; INSERT INTO smoke VALUES (402, 2, 'kept'); COMMIT")
	for i in c:
		equal(c.execute(i, "SELECT id FROM smoke WHERE id BETWEEN 400 AND 499 ORDER BY id"), [("400",), ("402",)])


@test
def second_of_two_conflicting_updates_fails(c):
	c.execute(1, "INSERT INTO smoke VALUES (500, 0, 'base')")
	with c.connect(1) as one, c.connect(2) as two:
		two.value("SELECT node FROM smoke WHERE id = 500")
		one.execute("BEGIN; UPDATE smoke SET node = 1 WHERE id = 500")
		two.execute("BEGIN; UPDATE smoke SET node = 2 WHERE id = 500")
		one.execute("COMMIT")
		fails("40001", lambda: two.execute("COMMIT"))
	for i in c:
		equal(c.value(i, "SELECT node FROM smoke WHERE id = 500"), "1", "node %d" % i)


@test
def same_key_inserted_on_two_nodes_enters_once(c):
	with c.connect(1) as one, c.connect(3) as three:
		one.execute("BEGIN; INSERT INTO smoke VALUES (600, 1, 'one')")
		three.execute("BEGIN; INSERT INTO smoke VALUES (600, 3, 'three')")
		three.execute("COMMIT")
		fails(("40001", "23505"), lambda: one.execute("COMMIT"))
	for i in c:
		equal(c.execute(i, "SELECT node FROM smoke WHERE id = 600"), [("3",)])


@test
def cluster_goes_on_without_its_leader_and_the_node_comes_back(c):
	dead = c.leader()
	alive = [i for i in c if i != dead]
	c.kill(dead)
	for n, i in enumerate(alive):
		poll("a commit on node %d" % i,
			 lambda: c.execute(i, "INSERT INTO smoke VALUES ($1, $2, 'after') ON CONFLICT DO NOTHING", 700 + n, i) or True, 30)
		for j in alive:
			equal(c.value(j, "SELECT node FROM smoke WHERE id = $1", 700 + n), str(i))
	c.start(dead)
	c.wait_ready()
	equal(c.value(dead, "SELECT count(*) FROM smoke WHERE id IN (700, 701)"), "2")
	same_everywhere(c, "smoke")


@test
def all_nodes_killed_at_once_lose_nothing(c):
	before = c.execute(1, "SELECT count(*), sum(id) FROM smoke")
	for i in c:
		c.kill(i)
	for i in c:
		c.start(i)
	c.wait_ready()
	for i in c:
		equal(c.execute(i, "SELECT count(*), sum(id) FROM smoke"), before, "node %d" % i)
	same_everywhere(c, "smoke")


main()
