"""What 065_large.py and 066_large_groups.py share: large transactions that other nodes replay ahead of their turn, into a table `large` whose rows live in one data group or in several.

Rows are of about 1 kB, so 12,000 of them are 12 pieces in the log, with the shards of 066 as well.
"""
import os
import signal

from harness import *
from scenario import *

ROWS = 12000
MB = 12
INSERT = "INSERT INTO large SELECT g, -g, repeat(md5(g::text), 30) FROM generate_series(%%d, %%d + %d) g" % (ROWS - 1)
UPDATE = "UPDATE large SET n = n + 1, pad = pad || 'x' WHERE id <= %d" % ROWS
# A statement that is told of a conflict is not run again, and the origin waits for the others as long as it takes.
SETTINGS = ("SET nodedb.statement_retries = 0", "SET nodedb.bulk_wait = '10min'")

_next = [1]


def new_rows(c):
	"""First id of rows that no test has used; what earlier ones left goes, so that tables are compared quickly."""
	c.execute(1, "DELETE FROM large WHERE id > %d" % ROWS)
	_next[0] += ROWS
	return _next[0]


def count(c, node, first):
	"""Of the rows of one insertion, as the node's tables show them now."""
	return int(local(c, node, "SELECT count(*) FROM large WHERE id BETWEEN %d AND %d" % (first, first + ROWS - 1)))


def applied(c, node):
	return metric(c, node, "nodedb_bulk_applied_total")


def given_up(c, node):
	return metric(c, node, "nodedb_bulk_given_up_total")


def replayed(c, node):
	"""What the node's status says of a large transaction."""
	lines = [line for line in local(c, node, "SELECT nodedb.status()").splitlines() if line.startswith("large transaction of node")]
	return lines[0].split(": ")[1] if lines else None


def all_of_it():
	return "%d of %d MB that have come are replayed" % (MB, MB)


def idle(c, *nodes):
	for i in nodes or c:
		poll("the bulk appliers of node %d to be free" % i, lambda: replayed(c, i) is None, SECONDS)


def prepared(c, session, sql, event="before-propose", nodes=(2, 3)):
	"""A session of node 1 is about to propose; the other nodes have replayed all of it."""
	session.execute("SET nodedb.stop_at = '%s'" % event)
	session.start(sql)
	stopped(c, session.node, event, session.pid)
	for i in nodes:
		equal(replayed(c, i), all_of_it(), "status of node %d" % i)


def judged(c, *tables):
	idle(c)
	goes_on(c, "small", *c)
	same_everywhere(c, "large", *tables)


def others_commit_while_it_is_replayed(c):
	"""Node 2 has not begun to replay it, and node 3 has: everybody's commits pass, and are seen everywhere."""
	first = new_rows(c)
	before = {i: applied(c, i) for i in (2, 3)}
	stop_applier(c, 2, "bulk-read")
	with Session(c, 1, *SETTINGS) as session:
		session.start(INSERT % (first, first))
		stopped(c, 2, "bulk-read")
		poll("node 3 to have replayed it", lambda: replayed(c, 3) == all_of_it(), SECONDS)
		goes_on(c, "small", *c)
		for i in c:
			c.execute(i, "INSERT INTO large (id) VALUES (%d)" % (9000000 + i))
			equal([c.value(j, "SELECT count(*) FROM large WHERE id = %d" % (9000000 + i)) for j in c], ["1"] * 3)
			equal(count(c, i, first), 0, "rows that node %d shows" % i)
		equal(session.busy(), True, "the origin waits for node 2")
		stop_applier(c, 2, "")
		release(c, 2, "bulk-read")
		equal(session.end(), "ok")
	judged(c)
	for i in (2, 3):
		equal(applied(c, i), before[i] + 1, "large transactions that node %d replayed ahead" % i)
		equal(count(c, i, first), ROWS)


def rolled_back_where_it_was_replayed(c):
	"""Cancelled by its client when all nodes have replayed it; then the same rows once more."""
	first = new_rows(c)
	before = {i: (applied(c, i), given_up(c, i)) for i in (2, 3)}
	with Session(c, 1, *SETTINGS) as session:
		prepared(c, session, INSERT % (first, first))
		session.connection.cancel()
		equal(session.end(), "57014")
	judged(c)
	for i in (2, 3):
		equal((applied(c, i), given_up(c, i)), (before[i][0], before[i][1] + 1), "counters of node %d" % i)
		equal(count(c, i, first), 0)
	with Session(c, 1, *SETTINGS) as session:
		equal(session.start(INSERT % (first, first)).end(), "ok")
	judged(c)
	for i in (2, 3):
		equal(applied(c, i), before[i][0] + 1)


def gives_way_to_an_earlier_entry(c):
	"""
	Node 3 has replayed it and holds its rows, node 2 has not. A change of one row commits on node 2: node 3 must show it before the large transaction is
	heard of again, which loses.
	"""
	before = given_up(c, 3)
	stop_applier(c, 2, "bulk-read")
	with Session(c, 1, *SETTINGS) as session:
		session.execute("SET nodedb.bulk_wait = 0")
		session.execute("SET nodedb.stop_at = 'before-propose'")
		session.start(UPDATE)
		stopped(c, 1, "before-propose", session.pid)
		poll("node 3 to have replayed it", lambda: replayed(c, 3) == all_of_it(), SECONDS)
		c.execute(2, "UPDATE large SET pad = 'won' WHERE id = 77")
		poll("the change on node 3", lambda: local(c, 3, "SELECT pad FROM large WHERE id = 77") == "won", SECONDS)
		poll("node 3 to have given it up", lambda: given_up(c, 3) > before, SECONDS)		# it says so behind its rollback
		equal(given_up(c, 3), before + 1, "large transactions that node 3 gave up")
		equal(session.busy(), True)
		release(c, 1, "before-propose")
		equal(session.end(), "40001")
	stop_applier(c, 2, "")
	release(c, 2, "bulk-read")
	judged(c)
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM large WHERE id <= %d AND pad LIKE '%%x'" % ROWS), "0")


def begins_when_what_the_origin_had_seen_is_there(c):
	"""Node 2 has not applied an earlier change of one of the rows: nothing is replayed ahead of that."""
	before = applied(c, 2), given_up(c, 2)
	stop_applier(c, 2, "apply-read")
	with Session(c, 1, *SETTINGS) as session:
		c.execute(1, "UPDATE large SET pad = 'seen' WHERE id = 88")
		stopped(c, 2, "apply-read")
		session.start(UPDATE)
		poll("node 3 to have replayed it", lambda: replayed(c, 3) == all_of_it(), SECONDS)
		poll("all of it to come to node 2", lambda: replayed(c, 2) == "0 of %d MB that have come are replayed" % MB, SECONDS)
		goes_on(c, "small", 1, 3)
		equal(replayed(c, 2), "0 of %d MB that have come are replayed" % MB)
		equal(session.busy(), True)
		stop_applier(c, 2, "")
		release(c, 2, "apply-read")
		equal(session.end(), "ok")
	judged(c)
	equal((applied(c, 2), given_up(c, 2)), (before[0] + 1, before[1]), "counters of node 2")
	equal(c.value(2, "SELECT pad FROM large WHERE id = 88"), "seenx")


def waits_for_a_local_session_until_its_turn(c):
	"""A session of node 2 holds one of the rows: before the turn nothing tells it to give way, at the turn the guard does, and nothing is replayed twice."""
	before = applied(c, 2), given_up(c, 2)
	with Session(c, 1, *SETTINGS) as session, Session(c, 2) as holder:
		holder.execute("BEGIN")
		holder.execute("UPDATE large SET pad = 'lost' WHERE id = 6000")
		session.execute("SET nodedb.bulk_wait = 200")
		session.execute("SET nodedb.stop_at = 'before-propose'")
		session.start(UPDATE)
		stopped(c, 1, "before-propose", session.pid)
		equal(replayed(c, 2) is None, False, "node 2 is still at it")
		equal(holder.value("SELECT pad FROM large WHERE id = 6000"), "lost")
		release(c, 1, "before-propose")
		equal(session.end(), "ok")
		idle(c, 2)
		equal(fails("40001", holder.execute, "SELECT 1").sqlstate, "40001")
	judged(c)
	equal((applied(c, 2), given_up(c, 2)), (before[0] + 1, before[1]), "counters of node 2")


def hit(c, event, *signals):
	"""The bulk applier is cancelled, ended, or killed with the whole server: the applier replays what is left."""
	for number in signals:
		first = new_rows(c)
		stop_applier(c, 3, event)
		with Session(c, 1, *SETTINGS) as session:
			session.start(INSERT % (first, first))
			pid = stopped(c, 3, event)
			if event == "bulk-commit":
				goes_on(c, "small", 1, 2)	# at its turn node 3 lags behind, the others go on
			stop_applier(c, 3, "")
			os.kill(pid, number)
			if event == "bulk-waits" and number == signal.SIGINT:
				poll("node 3 to have given it up", lambda: replayed(c, 3) is None, SECONDS)
			equal(session.end(), "ok")
		if number == signal.SIGKILL:
			poll("node 3 after its restart", lambda: local(c, 3, "SELECT 1"), SECONDS)
			c.wait_ready()
		judged(c)
		equal(count(c, 3, first), ROWS, "rows after signal %d at %s" % (number, event))


def node_is_killed_when_it_has_replayed_it(c):
	first = new_rows(c)
	with Session(c, 1, *SETTINGS) as session:
		prepared(c, session, INSERT % (first, first))
		c.kill(3)
		release(c, 1, "before-propose")
		equal(session.end(), "ok")
	goes_on(c, "small", 1, 2)
	c.start(3)
	c.wait_ready()
	judged(c)
	equal(count(c, 3, first), ROWS)


def ledger_stands_with_its_rows(c, groups=1):
	"""A node that is killed behind it, with all of it on disk, must not replay it again."""
	first = new_rows(c)
	before = {i: applied(c, i) for i in (2, 3)}
	with Session(c, 1, *SETTINGS) as session:
		session.execute(INSERT % (first, first))
	for i in (2, 3):
		poll("node %d to have it" % i, lambda: applied(c, i) == before[i] + 1, SECONDS)
		equal(local(c, i, "SELECT count(*) FROM nodedb.ledger WHERE xmin = (SELECT xmin FROM large WHERE id = $1)", first), str(groups), "ledger rows of node %d" % i)
	c.execute(3, "CHECKPOINT")
	c.kill(3)
	c.start(3)
	c.wait_ready()
	judged(c)
	equal(count(c, 3, first), ROWS)


def origin_is_killed_when_others_have_replayed_it(c):
	"""Nobody proposes the rest: the others end it by themselves (src/node/orphan.c), and roll back."""
	first = new_rows(c)
	with Session(c, 1, *SETTINGS) as session:
		prepared(c, session, INSERT % (first, first))
		c.kill(1)
		session.end()
	goes_on(c, "small", 2, 3)
	idle(c, 2, 3)
	c.start(1)
	c.wait_ready()
	judged(c)
	equal([count(c, i, first) for i in c], [0, 0, 0])
