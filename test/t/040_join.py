#!/usr/bin/env python3
"""A cluster grows while it works: a node that joins gets all the data and a vote; one that was away catches up."""
from harness import *

setup(nodes=1)


@test
def one_node_alone_commits(c):
	c.execute(1, "CREATE TABLE grown (id int PRIMARY KEY, note text)")
	c.execute(1, "INSERT INTO grown SELECT g, 'alone' FROM generate_series(1, 1000) g")
	equal(c.value(1, "SELECT count(*) FROM grown"), "1000")


@test
def second_and_third_node_join(c):
	for expected in (2, 3):
		equal(c.add(), expected)
		equal(c.value(expected, "SELECT count(*) FROM grown"), "1000")
	same_everywhere(c, "grown")


@test
def joining_again_under_the_same_name_elsewhere_is_refused(c):
	seed = c.servers[1]
	with c.connect(2) as two:
		try:
			two.execute("SELECT nodedb.join_cluster($1, $2, name => 'node3')", "%s:%d" % (seed.host, seed.listen), c.token)
		except Error:
			return
	raise AssertionError("a member could join a second time under another's name")


@test
def wrong_token_is_refused(c):
	seed = c.servers[1]
	with c.connect(2) as two:
		try:
			two.execute("SELECT nodedb.join_cluster($1, $2, name => 'stranger')", "%s:%d" % (seed.host, seed.listen), "0" * len(c.token))
		except Error:
			return
	raise AssertionError("a wrong token was accepted")


@test
def fourth_node_joins_while_another_is_down_and_both_catch_up(c):
	c.kill(2)
	for i in (1, 3):
		c.execute(i, "INSERT INTO grown SELECT g, 'without 2' FROM generate_series($1::int, $1::int + 99) g", 1000 * (i + 1))
	equal(c.add(), 4)
	c.execute(4, "INSERT INTO grown VALUES (9000, 'from 4')")
	c.start(2)
	c.wait_ready()
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM grown"), "1201", "node %d" % i)
	same_everywhere(c, "grown")


@test
def four_nodes_survive_the_death_of_one(c):
	c.kill(4)
	c.execute(1, "INSERT INTO grown VALUES (9001, 'three left')")
	same_everywhere(c, "grown")


main()
