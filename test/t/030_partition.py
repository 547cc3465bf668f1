#!/usr/bin/env python3
"""A node that the network cut off neither commits nor answers strong reads from the past; it heals by itself when the network does.

Needs root: each node lives in a network namespace of its own.
"""
import os

from harness import *

setup(nodes=3, netns=True, conf=["nodedb.commit_timeout = 5000"])


def majority_of(c, cut):
	return [i for i in c if i != cut]


def value_when_possible(c, i, sql, *params):
	return poll("an answer of node %d" % i, lambda: [c.value(i, sql, *params)], 120)[0]


def cut_off(c, victim, key):
	"""Isolate the node, write on both sides, heal; the minority's row must be there or not as its client was told."""
	others = majority_of(c, victim)
	c.execute(victim, "INSERT INTO cut VALUES ($1, 'before')", key)
	with c.connect(victim) as minority, c.connect(victim) as reader:
		c.isolate(victim)
		try:
			poll("a commit of the majority", lambda: c.execute(others[0], "UPDATE cut SET note = 'majority' WHERE id = $1", key) or True, 30)
			equal(value_when_possible(c, others[1], "SELECT note FROM cut WHERE id = $1", key), "majority")

			told = None
			try:
				minority.send("INSERT INTO cut VALUES (%d, 'minority')" % (key + 1))
				minority.result(30)
				raise AssertionError("a node without majority committed")
			except Error as error:
				told = error.sqlstate

			reader.send("SELECT note FROM cut WHERE id = %d" % key)
			try:
				equal(reader.result(3), [("majority",)], "strong read on the isolated node")
			except (Error, TimeoutError):
				pass
		finally:
			c.heal()
	c.wait_ready()
	for i in c:
		equal(value_when_possible(c, i, "SELECT note FROM cut WHERE id = $1", key), "majority", "node %d" % i)
	seen = {value_when_possible(c, i, "SELECT count(*) FROM cut WHERE id = $1", key + 1) for i in c}
	equal(len(seen), 1, "all nodes agree on the minority's row")
	if told != "40003":
		equal(seen, {"0"}, "its client heard %s: no effect" % told)
	same_everywhere(c, "cut")


@test
def table_is_made(c):
	c.execute(1, "CREATE TABLE cut (id int PRIMARY KEY, note text)")


@test
def leader_is_cut_off(c):
	cut_off(c, c.leader(), 10)


@test
def follower_is_cut_off(c):
	cut_off(c, next(i for i in c if i != c.leader()), 20)


@test
def all_are_cut_off_from_each_other(c):
	for i in c:
		c.isolate(i)
	with c.connect(1) as one:
		fails(("40003", "57014", "08006", "53300", "40001", "57P03", "25006", "55000", "53400"), one.execute, "INSERT INTO cut VALUES (30, 'nobody')")
	c.heal()
	c.wait_ready()
	value_when_possible(c, 2, "INSERT INTO cut VALUES (31, 'again') ON CONFLICT DO NOTHING RETURNING id")
	same_everywhere(c, "cut")


if os.geteuid() == 0:
	main()
else:
	print("not root: network namespaces cannot be made")
	print("0 passed, 0 failed")
