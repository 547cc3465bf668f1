#!/usr/bin/env python3
"""Large transactions: other nodes replay them ahead of their turn (src/pg/worker/bulk.c), so nobody waits; and whatever happens to that, all nodes hold the same."""
import os
import re
import signal
import threading

from large import *
import cluster

setup(nodes=3, conf=["shared_buffers = 16MB", "nodedb.log_cache = 4", "nodedb.bulk_appliers = 2", "nodedb.commit_timeout = 30000"])


@test
def tables_are_made(c):
	make(c, "CREATE TABLE large (id int PRIMARY KEY, n int UNIQUE DEFERRABLE, pad text)", "CREATE TABLE small (id bigint PRIMARY KEY, n int)")
	c.execute(1, INSERT % (1, 1))
	judged(c)


for one in (others_commit_while_it_is_replayed, rolled_back_where_it_was_replayed, gives_way_to_an_earlier_entry, begins_when_what_the_origin_had_seen_is_there,
			waits_for_a_local_session_until_its_turn, node_is_killed_when_it_has_replayed_it, ledger_stands_with_its_rows, origin_is_killed_when_others_have_replayed_it):
	test(one)


@test
def bulk_applier_is_hit_at_every_moment(c):
	"""Before it begins, when it is through, and at its turn."""
	for event in ("bulk-read", "bulk-waits", "bulk-commit"):
		hit(c, event, signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@test
def applier_ends_while_it_waits_for_the_bulk_applier(c):
	for number in (signal.SIGTERM, signal.SIGKILL):
		first = new_rows(c)
		stop_applier(c, 3, "bulk-commit")
		with Session(c, 1, *SETTINGS) as session:
			session.start(INSERT % (first, first))
			stopped(c, 3, "bulk-commit")
			equal(session.end(), "ok")
		with c.connect(3) as connection:
			connection.execute("SET nodedb.read_consistency = local")
			pid = int(connection.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'nodedb applier'"))
		stop_applier(c, 3, "")
		os.kill(pid, number)
		if number == signal.SIGTERM:
			poll("another applier", lambda: local(c, 3, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'nodedb applier'") not in (None, str(pid)), SECONDS)
			release(c, 3, "bulk-commit")
		else:
			poll("node 3 after its restart", lambda: local(c, 3, "SELECT 1"), SECONDS)
			c.wait_ready()
		judged(c)
		equal(count(c, 3, first), ROWS)


@test
def several_at_once(c):
	"""More than there are bulk appliers, from different nodes, and two that conflict."""
	firsts = [new_rows(c) for _ in range(4)]
	with Session(c, 1, *SETTINGS) as a, Session(c, 1, *SETTINGS) as b, Session(c, 2, *SETTINGS) as d, Session(c, 3, *SETTINGS) as e:
		for session, first in zip((a, b, d, e), firsts):
			session.start(INSERT % (first, first))
		for session in (a, b, d, e):
			equal(session.end(120), "ok")
	judged(c)
	equal([count(c, 3, first) for first in firsts], [ROWS] * 4)
	with Session(c, 1, *SETTINGS) as one, Session(c, 2, *SETTINGS) as two:
		for session in (one, two):
			session.execute("SET nodedb.bulk_wait = 1000")	# each may wait for the other's rows
			session.start(UPDATE)
		told = {one.end(120), two.end(120)}
		equal(told <= {"ok", "40001", "40003"} and "ok" in told, True, "answers %s" % told)
	judged(c)


@test
def with_schema_changes(c):
	"""Replayed ahead, whatever the change: nobody waits, nobody sees it before; then it is there, or nowhere."""
	make(c, "CREATE TABLE changing (id int PRIMARY KEY, pad text)", "INSERT INTO changing SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, %d) g" % ROWS,
		 "CREATE MATERIALIZED VIEW counted AS SELECT id, pad FROM changing WHERE id < 5")
	for table, change in (("made", "CREATE TABLE made (id int PRIMARY KEY, n serial, pad text); INSERT INTO made SELECT g, -g, repeat(md5(g::text), 30) FROM generate_series(1, %d) g;"
						   "CREATE INDEX ON made (n); CREATE VIEW made_view AS SELECT count(*) FROM made" % ROWS),
						  ("changing", "ALTER TABLE changing ADD COLUMN n int; UPDATE changing SET n = id, pad = pad || 'z'; ALTER TABLE changing ALTER n SET NOT NULL, ADD UNIQUE (n)"),
						  ("changing", "ALTER TABLE changing ADD COLUMN r float8 DEFAULT random()"),
						  ("changing", "TRUNCATE changing; INSERT INTO changing SELECT g, repeat('new', 400), g, 0 FROM generate_series(1, %d) g; DROP TABLE made CASCADE" % ROWS),
						  ("counted", "DROP MATERIALIZED VIEW counted; CREATE MATERIALIZED VIEW counted AS SELECT id, pad FROM changing")):
		for end in ("ROLLBACK", "COMMIT") if change.startswith(("CREATE TABLE", "TRUNCATE")) else ("COMMIT",):
			before = [(applied(c, i), given_up(c, i)) for i in (2, 3)]
			dumps = [dump(c, i) for i in (2, 3)]
			with Session(c, 1, *SETTINGS) as session:
				session.execute("SET nodedb.stop_at = 'before-propose'")
				session.start("BEGIN; %s; COMMIT" % change)
				stopped(c, 1, "before-propose", session.pid)
				goes_on(c, "small", *c)
				for i in (2, 3):
					equal(replayed(c, i) is not None and len(set(re.findall(r"\d+", replayed(c, i)))), 1, "node %d has replayed all that has come: %s" % (i, replayed(c, i)))
				equal([local(c, i, "SELECT count(*) FROM pg_class WHERE relname IN ('made', 'made_view')") for i in (2, 3)], [str(2 * dumps[0].count("CREATE VIEW public.made_view"))] * 2)
				if end == "ROLLBACK":
					session.connection.cancel()
				else:
					release(c, 1, "before-propose")
				equal(session.end(), "ok" if end == "COMMIT" else "57014")
			idle(c)
			goes_on(c, "small", *c)
			same_schema(c)
			if end == "ROLLBACK":
				equal([dump(c, i) for i in (2, 3)], dumps)
			equal([(applied(c, i), given_up(c, i)) for i in (2, 3)], [(a + (end == "COMMIT"), g + (end == "ROLLBACK")) for a, g in before], "%s %s" % (change, end))
			if end == "COMMIT" or table != "made":
				same_everywhere(c, "large", table)


@test
def schema_change_waits_for_a_reader_until_its_turn(c):
	"""A session of node 2 reads the table and stays: the bulk applier waits for it, at its turn the reader has its grace period, and goes."""
	before = applied(c, 2)
	with Session(c, 2) as reader, Session(c, 1, "SET nodedb.bulk_wait = 1000") as session:
		reader.execute("BEGIN; SELECT count(*) FROM changing")
		equal(session.start("BEGIN; ALTER TABLE changing ADD COLUMN late int; UPDATE changing SET late = id, pad = pad || 'late'; COMMIT").end(60), "ok")
		fails("40001", reader.execute, "SELECT count(*) FROM changing")
	judged(c, "changing")
	equal(applied(c, 2), before + 1, "replayed ahead, and at its turn by the bulk applier")


@test
def lone_select_lets_go_of_a_schema_change(c):
	"""It waits for the transaction with a lock on the table; the bulk applier, late, comes to the schema change at its turn. The SELECT is planned again, and answers."""
	stop_applier(c, 2, "bulk-read")
	with Session(c, 2) as reader, Session(c, 1, "SET nodedb.bulk_wait = 500") as session:
		session.start("BEGIN; UPDATE changing SET late = late + 1, pad = pad || '.'; ALTER TABLE changing ADD COLUMN later int DEFAULT 7; COMMIT")
		stopped(c, 2, "bulk-read")
		poll("node 3 to have committed it", lambda: local(c, 3, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'changing'::regclass AND attname = 'later'") == "1", SECONDS)
		reader.start("SELECT * FROM changing WHERE id = 1")
		poll("the reader to wait", lambda: local(c, 2, "SELECT count(*) FROM pg_locks WHERE pid = %d AND relation = 'changing'::regclass" % reader.pid) == "1", SECONDS)
		stop_applier(c, 2, "")
		release(c, 2, "bulk-read")
		equal(reader.end(), "ok", str(getattr(reader, "error", "")))
		equal(reader.rows[0][-1], "7")
		equal(session.end(60), "ok")
	judged(c, "changing")


@test
def keys_references_and_deletions(c):
	"""Rows without a key, row locks of a foreign key, deletions, large values that do not change; an idempotency key that a second session uses meanwhile."""
	make(c, "CREATE TABLE keyless (a int, pad text)", "CREATE TABLE child (id int PRIMARY KEY, parent int UNIQUE REFERENCES large)")
	with Session(c, 1, *SETTINGS) as session:
		for sql in ("INSERT INTO keyless SELECT g / 2, repeat(md5((g / 2)::text), 30) FROM generate_series(1, %d) g" % ROWS,
					"INSERT INTO child SELECT g, g FROM generate_series(1, %d) g" % ROWS,
					"WITH gone AS (DELETE FROM keyless WHERE a < 200) UPDATE large SET n = n - 1, pad = pad || 'y' WHERE id <= %d" % ROWS):
			equal(session.start(sql).end(), "ok")
	judged(c, "keyless", "child")
	first = new_rows(c)
	with Session(c, 1, *SETTINGS, "SET nodedb.idempotency_key = 'once'") as session, Session(c, 2, "SET nodedb.idempotency_key = 'once'") as again:
		prepared(c, session, INSERT % (first, first))
		again.start("INSERT INTO small VALUES (-1)")
		release(c, 1, "before-propose")
		equal((session.end(), again.end()), ("ok", "ND001"))
	judged(c, "child")


# ---- memory ----

class Peaks(threading.Thread):
	"""The most private memory of any process of the cluster, in MB."""

	def __init__(self, c):
		super().__init__(daemon=True)
		self.cluster, self.ending, self.most = c, False, 0

	def __enter__(self):
		self.start()
		return self

	def __exit__(self, *_):
		self.ending = True
		self.join()

	def run(self):
		while not self.ending:
			for i in self.cluster:
				for pid in self.cluster.servers[i].processes():
					try:
						with open("/proc/%d/status" % pid) as file:
							self.most = max([self.most] + [int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon:")])
					except OSError:
						pass


@test
def memory_does_not_grow_with_the_transaction(c):
	make(c, "CREATE TABLE bounded (id int PRIMARY KEY, pad text)")
	peaks = []
	for rows in (60000, 600000):
		with Peaks(c) as most, Session(c, 1, *SETTINGS, "SET nodedb.writeset_memory = '2MB'") as session:
			equal(session.start("INSERT INTO bounded SELECT %d + g, repeat('x', 150) FROM generate_series(1, %d) g" % (rows, rows)).end(200), "ok")
			c.wait_caught_up()
		peaks.append(most.most)
	judged(c, "bounded")
	# ten times as much, 100 MB more in the log
	equal(peaks[1] < peaks[0] + 40, True, "peaks of %d and %d MB" % tuple(peaks))


main()
