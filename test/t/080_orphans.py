#!/usr/bin/env python3
"""A node dies inside a schema change: what it had reserved is given back, whether the node comes back or not."""
from harness import *
from scenario import make

setup(conf=["nodedb.commit_timeout = 4000"])

SECONDS = 40			# to be missed for 10 s, to elect a leader, on a slow machine


def reserve_and_die(c, table):
	"""Node 3 is killed in a transaction that has reserved the table; nobody but it could end that."""
	connection = c.connect(3)
	connection.execute("BEGIN")
	connection.execute("ALTER TABLE %s ADD COLUMN never int" % table)
	fails("40001", c.execute, 1, "INSERT INTO %s (id) VALUES (1)" % table)
	c.kill(3)


def writable(c, table, key):
	def write():
		try:
			c.execute(1, "INSERT INTO %s (id) VALUES ($1) ON CONFLICT DO NOTHING" % table, key)
			return True
		except Error as error:
			if error.sqlstate not in ("40001", "40003", "57P03"):
				raise
			return False
	poll("a write to %s on node 1" % table, write, SECONDS)


@test
def dead_node_loses_its_reservations(c):
	make(c, "CREATE TABLE orphan_dead (id int PRIMARY KEY)")
	reserve_and_die(c, "orphan_dead")
	writable(c, "orphan_dead", 1)
	c.execute(1, "ALTER TABLE orphan_dead ADD COLUMN b int")
	c.start(3)
	c.wait_ready()
	c.execute(3, "INSERT INTO orphan_dead (id, b) VALUES (2, 2)")
	same_everywhere(c, "orphan_dead")


@test
def node_that_is_back_has_no_reservations(c):
	"""Nobody writes through the node: that it started is enough."""
	make(c, "CREATE TABLE orphan_back (id int PRIMARY KEY)")
	reserve_and_die(c, "orphan_back")
	c.start(3)
	writable(c, "orphan_back", 1)
	c.execute(1, "ALTER TABLE orphan_back ADD COLUMN b int")
	c.execute(2, "INSERT INTO orphan_back (id, b) VALUES (2, 2)")
	same_everywhere(c, "orphan_back")


@test
def all_nodes_are_back(c):
	"""The reservation is one of a life that no node has seen the end of."""
	make(c, "CREATE TABLE orphan_all (id int PRIMARY KEY)")
	connection = c.connect(3)
	connection.execute("BEGIN")
	connection.execute("ALTER TABLE orphan_all ADD COLUMN never int")
	for i in (1, 2, 3):
		c.kill(i)
	for i in (1, 2, 3):
		c.start(i)
	c.wait_ready()
	writable(c, "orphan_all", 1)
	same_everywhere(c, "orphan_all")


main()
