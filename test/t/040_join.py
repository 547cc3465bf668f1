#!/usr/bin/env python3
"""A cluster grows while it works: a node that joins gets all the data and a vote; one that was away catches up."""
from harness import *

setup(nodes=1)


def refused(call, what):
	try:
		call()
	except Error:
		return
	raise AssertionError("%s was accepted" % what)


@test
def one_node_alone_commits(c):
	c.execute(1, "CREATE TABLE grown (id int PRIMARY KEY, note text)")
	c.execute(1, "INSERT INTO grown SELECT g, 'alone' FROM generate_series(1, 1000) g")
	equal(c.value(1, "SELECT count(*) FROM grown"), "1000")


@test
def what_has_no_right_to_join_is_refused(c):
	second = c.new_server()
	refused(lambda: c.join(second, token="0" * len(c.token)), "a wrong token")
	refused(lambda: c.join(second, name="node1"), "a name that another node has")
	equal(c.value(1, "SELECT count(*) FROM nodedb.nodes"), "1")


@test
def second_and_third_node_join(c):
	c.join(2)
	c.wait_ready()
	equal(c.add(), 3)
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM grown"), "1000", "node %d" % i)
	same_everywhere(c, "grown")


@test
def member_cannot_join_again(c):
	refused(lambda: c.join(3), "a second joining")


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
