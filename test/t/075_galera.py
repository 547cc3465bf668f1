#!/usr/bin/env python3
"""The four failures that clusters which certify write sets are known for, by their names, each as a race of all nodes: what must not be found behind it. (Single interleavings of the first
three are in test/isolation: unique, fk-delete, fk-actions.)"""
import random
import threading

from harness import *
from scenario import *

setup(nodes=3)

RETRY = ("40001", "40P01", "40003", "57P03")


class Race:
	"""Sessions of all nodes run what `work` gives until each has tried often enough; only errors that are allowed come up."""

	def __init__(self, c, work, times, allowed=()):
		self.cluster, self.work, self.times, self.allowed = c, work, times, RETRY + tuple(allowed)
		self.committed, self.unexpected = 0, []
		threads = [threading.Thread(target=self._run, args=(i, n), daemon=True) for i in c for n in range(2)]
		for thread in threads:
			thread.start()
		for thread in threads:
			thread.join(180)
		equal([thread.name for thread in threads if thread.is_alive()], [], "sessions that hang")
		equal(self.unexpected[:3], [])
		equal(self.committed > 0, True, "something committed")

	def _run(self, node, number):
		rng = random.Random("%d/%d" % (node, number))
		with self.cluster.connect(node) as connection:
			for _ in range(self.times):
				try:
					connection.execute("BEGIN")
					for sql in self.work(rng):
						connection.execute(sql)
					connection.execute("COMMIT")
					self.committed += 1
				except Error as error:
					if error.sqlstate not in self.allowed:
						self.unexpected.append(str(error))
						return
					if connection.in_transaction:
						connection.execute("ROLLBACK")


def none(c, sql):
	"""No row, on any node, whatever its indexes say."""
	c.wait_caught_up()
	for i in c:
		with c.connect(i) as connection:
			connection.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off")
			equal(connection.execute(sql)[:5], [], "node %d: %s" % (i, sql))


@test
def a_unique_value_moved_between_rows_by_two_writers(c):
	"""The value leaves one row and comes to another within a transaction; each writer sees it free."""
	make(c, "CREATE TABLE holder (id int PRIMARY KEY, v int UNIQUE, n int NOT NULL DEFAULT 0)", "INSERT INTO holder SELECT g, CASE WHEN g <= 4 THEN g END FROM generate_series(1, 12) g")

	def move(rng):
		v, to = rng.randint(1, 4), rng.randint(1, 12)
		return ["UPDATE holder SET v = NULL, n = n + 1 WHERE v = %d" % v, "UPDATE holder SET v = %d, n = n + 1 WHERE id = %d AND v IS NULL" % (v, to),
				"INSERT INTO holder (id, v) SELECT 1000 + %d, %d WHERE NOT EXISTS (SELECT FROM holder WHERE v = %d) ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v" % (v, v, v)]
	Race(c, move, 40, allowed=("23505",))
	none(c, "SELECT v, count(*) FROM holder WHERE v IS NOT NULL GROUP BY v HAVING count(*) > 1")
	for i in c:
		equal(c.value(i, "SELECT count(v) FROM holder"), "4", "no value is lost; node %d" % i)
	same_everywhere(c, "holder")


@test
def a_parent_missing_from_the_keys(c):
	"""A child changes nothing of its parent, yet the parent may not go: by primary key, by another unique key, by several columns, from within the table itself."""
	make(c, "CREATE TABLE mother (id int PRIMARY KEY, code text UNIQUE, a int NOT NULL, b int NOT NULL, UNIQUE (a, b))",
		 "CREATE TABLE by_id (id serial PRIMARY KEY, mother int NOT NULL REFERENCES mother)", "CREATE TABLE by_code (id serial PRIMARY KEY, code text NOT NULL REFERENCES mother (code))",
		 "CREATE TABLE by_two (id serial PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES mother (a, b))", "CREATE TABLE self (id int PRIMARY KEY, up int REFERENCES self)")

	def work(rng):
		k = rng.randint(1, 5)
		return rng.choice([
			["INSERT INTO mother VALUES (%d, 'c%d', %d, %d) ON CONFLICT DO NOTHING" % (k, k, k, k)],
			["DELETE FROM mother WHERE id = %d" % k], ["UPDATE mother SET id = %d WHERE id = %d" % (rng.randint(1, 5), k)], ["UPDATE mother SET code = 'd' || code WHERE id = %d" % k],
			["UPDATE mother SET b = b + 1 WHERE id = %d" % k],
			["INSERT INTO by_id (mother) VALUES (%d)" % k], ["INSERT INTO by_code (code) VALUES ('c%d')" % k], ["INSERT INTO by_two (a, b) VALUES (%d, %d)" % (k, k)],
			["UPDATE by_id SET mother = %d" % k], ["DELETE FROM by_id WHERE mother = %d" % k, "DELETE FROM by_code WHERE code = 'c%d'" % k, "DELETE FROM by_two WHERE a = %d" % k],
			["INSERT INTO self VALUES (%d, %d)" % (k, rng.randint(1, 5))], ["INSERT INTO self VALUES (%d) ON CONFLICT DO NOTHING" % k], ["DELETE FROM self WHERE id = %d" % k]])
	Race(c, work, 60, allowed=("23503", "23505"))
	none(c, "SELECT * FROM by_id c WHERE NOT EXISTS (SELECT FROM mother m WHERE m.id = c.mother)")
	none(c, "SELECT * FROM by_code c WHERE NOT EXISTS (SELECT FROM mother m WHERE m.code = c.code)")
	none(c, "SELECT * FROM by_two c WHERE NOT EXISTS (SELECT FROM mother m WHERE (m.a, m.b) = (c.a, c.b))")
	none(c, "SELECT * FROM self c WHERE up IS NOT NULL AND NOT EXISTS (SELECT FROM self m WHERE m.id = c.up)")
	same_everywhere(c, "mother", "by_id", "by_code", "by_two", "self")


@test
def cascades_in_two_places_at_once(c):
	"""Two cascades that come to the same rows from two parents, and children that come while a cascade runs."""
	make(c, "CREATE TABLE x (id int PRIMARY KEY)", "CREATE TABLE y (id int PRIMARY KEY)",
		 "CREATE TABLE xy (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x int REFERENCES x ON DELETE CASCADE ON UPDATE CASCADE, y int REFERENCES y ON DELETE SET NULL ON UPDATE CASCADE)",
		 "CREATE TABLE deep (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, xy int REFERENCES xy ON DELETE CASCADE)")

	def work(rng):
		k = rng.randint(1, 5)
		return rng.choice([
			["INSERT INTO x VALUES (%d) ON CONFLICT DO NOTHING" % k, "INSERT INTO y VALUES (%d) ON CONFLICT DO NOTHING" % k],
			["INSERT INTO xy (x, y) VALUES (%d, %d)" % (k, rng.randint(1, 5)), "INSERT INTO deep (xy) SELECT max(id) FROM xy"], ["INSERT INTO deep (xy) SELECT id FROM xy WHERE x = %d" % k],
			["DELETE FROM x WHERE id = %d" % k], ["DELETE FROM y WHERE id = %d" % k], ["UPDATE x SET id = %d WHERE id = %d" % (rng.randint(1, 5), k)],
			["UPDATE y SET id = %d WHERE id = %d" % (rng.randint(1, 5), k)]])
	Race(c, work, 60, allowed=("23503", "23505"))
	none(c, "SELECT * FROM xy WHERE x IS NOT NULL AND NOT EXISTS (SELECT FROM x p WHERE p.id = xy.x)")
	none(c, "SELECT * FROM xy WHERE y IS NOT NULL AND NOT EXISTS (SELECT FROM y p WHERE p.id = xy.y)")
	none(c, "SELECT * FROM deep WHERE xy IS NOT NULL AND NOT EXISTS (SELECT FROM xy p WHERE p.id = deep.xy)")
	same_everywhere(c, "x", "y", "xy", "deep")


@test
def duplicate_generated_ids_after_membership_changes(c):
	"""A node comes, another one goes, a third is killed; what is drawn before, between and behind is never the same. (050_sequences does so under load.)"""
	make(c, "CREATE TABLE drawn (s serial, g bigint GENERATED ALWAYS AS IDENTITY, u uuid DEFAULT gen_random_uuid())")

	def draw():
		for i in c:
			c.execute(i, "INSERT INTO drawn SELECT FROM generate_series(1, 250)")
	draw()
	new = c.add()
	draw()
	gone = 2
	node_id = c.value(3, "SELECT node_id FROM nodedb.nodes WHERE name = $1", "node%d" % gone)
	poll("the removal of node %d" % gone, lambda: c.execute(c.leader(0, 3), "SELECT nodedb.remove_node(%s)" % node_id) is not None, 60)
	c.stop(gone)
	del c.servers[gone]
	draw()
	c.kill(3)
	c.start(3)
	c.wait_ready()
	draw()
	other = c.add()
	draw()
	equal(sorted(c), sorted([1, 3, new, other]))
	for column in ("s", "g", "u"):
		none(c, "SELECT %s FROM drawn GROUP BY 1 HAVING count(*) > 1" % column)
	same_everywhere(c, "drawn")


main()
