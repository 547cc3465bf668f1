#!/usr/bin/env python3
"""The failure scenarios of the design review, by name, on real clusters: each test arranges the interleaving that was feared.

D divergence, loss, double apply; H hangs; L liveness. D1, D2, D5 and H5 are about several groups or idempotency keys. D3 is shown in every detail by
test_certifier (checkpoint_round_trip, reservation_survives_the_window) and the simulator; D4 by test_node (test_proposed_twice_takes_effect_once) and
test_certifier (window_by_ids, fence); D11 and D12 by 030_ddl; D15 by test_store and the simulator.
"""
import os
import signal
import subprocess
import time

from harness import *
from scenario import *

NETNS = os.geteuid() == 0
# What a schema change waits for at its end would hide the moments looked for here, and so would a second attempt.
setup(nodes=3, netns=NETNS, init_options="data_groups => 2", conf=["nodedb.commit_timeout = 5000", "nodedb.schema_wait = 0", "nodedb.statement_retries = 0"])

_key = [0]


def new_key():
	_key[0] += 1
	return _key[0]


def row(c, node=1):
	"""A new row, on all nodes."""
	key = new_key()
	c.execute(node, "INSERT INTO scen (id, n) VALUES ($1, 0)", key)
	c.wait_caught_up()
	return key


def follower(c, *but):
	return next(i for i in c if i != c.leader() and i not in but)


def all_well(c):
	goes_on(c, "scen", *c)
	same_everywhere(c, "scen")
	for i in c:
		equal(metric(c, i, "nodedb_member_state"), 2, "node %d runs" % i)


def on_all_sessions(c, setting, value):
	"""A setting of every server; returns when new sessions have it."""
	for i in c:
		with c.connect(i) as connection:
			connection.execute("ALTER SYSTEM SET %s = '%s'" % (setting, value) if value is not None else "ALTER SYSTEM RESET %s" % setting)
			connection.execute("SELECT pg_reload_conf()")
		poll("%s on node %d" % (setting, i), lambda: local(c, i, "SHOW %s" % setting) == (value or ""), SECONDS)


@test
def tables_are_made(c):
	make(c, "CREATE TABLE scen (id bigint PRIMARY KEY, n int, note text)",
		 "CREATE TABLE keyless (x numeric, note text)")


# ---- divergence, loss, double apply ----

@test
def d3_restarted_node_reaches_the_same_verdicts(c):
	"""A node that certifies the log again, from its beginning, aborts and commits what the others did: same rows, same number of keys in the window."""
	keys = [row(c) for _ in range(3)]
	for n in range(12):
		with Session(c, n % 2 + 1) as one, Session(c, (n + 1) % 3 + 1) as two:
			one.execute("BEGIN; UPDATE scen SET n = n + 1 WHERE id = %d" % keys[n % 3])
			two.execute("SET nodedb.stop_at = 'before-propose'; SET nodedb.commit_timeout = 20000")
			two.start("UPDATE scen SET n = n + 100, note = '%d' WHERE id IN (%d, %d)" % (n, keys[n % 3], keys[(n + 1) % 3]))
			same_node = one.node == two.node
			if not same_node:
				stopped(c, two.node, "before-propose", two.pid)
			first = one.start("COMMIT").end()
			if same_node:
				stopped(c, two.node, "before-propose", two.pid)
			release(c, two.node, "before-propose")
			second = two.end()
			equal(first, "ok")
			equal(second in (("ok",) if same_node else ("40001", "40003")), True, "the later of two conflicting transactions hears %s" % second)
		if n in (4, 8):
			victim = 3 if n == 4 else c.leader()
			c.kill(victim)
			goes_on(c, "scen", *c.running())
			c.start(victim)
			c.wait_ready()
	all_well(c)
	poll("the same number of keys on all nodes", lambda: len({local(c, i, "SELECT keys FROM nodedb.groups WHERE group_id = 1") for i in c}) == 1, SECONDS)


@test
def d4_late_duplicate_has_no_effect(c):
	"""A proposal waits in the frozen leader's inbox, goes to the next leader as well, commits there; then the old leader thaws with the first copy."""
	for n in range(2):
		frozen = c.leader()
		node = follower(c)
		with Session(c, node, "SET nodedb.commit_timeout = 30000", "SET nodedb.stop_at = 'before-propose'") as session:
			session.start("INSERT INTO keyless VALUES (%d, 'd4')" % n)
			stopped(c, node, "before-propose", session.pid)
			c.pause(frozen)
			try:
				release(c, node, "before-propose")
				equal(session.end(), "ok")
			finally:
				c.resume(frozen)
		c.wait_ready()
		all_well(c)
		for i in c:
			equal(c.value(i, "SELECT count(*) FROM keyless WHERE note = 'd4' AND x = $1", n), "1", "node %d" % i)


@test
def d6_error_after_certification(c):
	"""What fails at commit behind the verdict (here: what becomes of temporary tables) cannot undo it: 40003, and the entry is applied, at its origin too."""
	for node in (c.leader(), follower(c)):
		key = new_key()
		before = metric(c, node, "nodedb_handed_over_total")
		with Session(c, node) as session:
			session.execute("BEGIN; CREATE TEMP TABLE parent (id int PRIMARY KEY) ON COMMIT DELETE ROWS;"
							" CREATE TEMP TABLE child (id int REFERENCES parent) ON COMMIT PRESERVE ROWS; INSERT INTO scen (id) VALUES (%d)" % key)
			error = fails("40003", session.execute, "COMMIT")
			equal("ON COMMIT" in str(error), True, "the error behind it is shown: %s" % error)
		equal(effect(c, "scen", key, "40003"), True, "the certified entry is applied")
		equal(metric(c, node, "nodedb_handed_over_total"), before + 1)
	all_well(c)


@test
def d7_sequence_gives_no_value_twice_after_a_crash(c):
	"""Values of acknowledged commits are never given again, on whatever node, though the crash loses PostgreSQL's own record of them."""
	make(c, "CREATE TABLE numbered (id bigserial PRIMARY KEY, node int)", "CREATE SEQUENCE plain")
	given = []

	def draw(nodes):
		for i in nodes:
			given.append(poll("an id on node %d" % i, lambda: c.value(i, "INSERT INTO numbered (node) VALUES ($1) RETURNING id", i), SECONDS))
			given.append("plain " + poll("a value on node %d" % i, lambda: c.value(i, "SELECT nextval('plain')"), SECONDS))
	for node in (c.leader(), follower(c)):
		with c.connect(node) as connection:
			for _ in range(50):
				given.append(connection.value("INSERT INTO numbered (node) VALUES ($1) RETURNING id", node))
				given.append("plain " + connection.value("SELECT nextval('plain')"))
		c.kill(node)
		draw(c.running())
		c.start(node)
		c.wait_ready()
		draw(c)
	equal(len(given), len(set(given)), "every value is given once")
	same_everywhere(c, "numbered")
	all_well(c)


@test
def d8_always_trigger_does_not_fire_on_the_applier(c):
	make(c, "CREATE TABLE audited (id int PRIMARY KEY, v text)", "CREATE TABLE audit (id int, v text, by text)",
		 """CREATE FUNCTION d8() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF TG_WHEN = 'BEFORE' THEN NEW.v := NEW.v || '+'; ELSE INSERT INTO public.audit VALUES (NEW.id, NEW.v, TG_NAME); END IF;
			RETURN NEW; END $$""",
		 "CREATE TRIGGER b BEFORE INSERT OR UPDATE ON audited FOR EACH ROW EXECUTE FUNCTION d8()",
		 "CREATE TRIGGER a AFTER INSERT OR UPDATE ON audited FOR EACH ROW EXECUTE FUNCTION d8()",
		 "ALTER TABLE audited ENABLE ALWAYS TRIGGER a, ENABLE ALWAYS TRIGGER b")
	for i in c:
		c.execute(i, "INSERT INTO audited VALUES ($1, 'x')", i)
		c.execute(i, "UPDATE audited SET v = v || 'y' WHERE id = $1", i)
	same_everywhere(c, "audited", "audit")
	for i in c:
		equal(c.execute(i, "SELECT count(*), count(DISTINCT (id, v)) FROM audit"), [("6", "6")], "node %d" % i)
		equal(c.execute(i, "SELECT DISTINCT v FROM audited"), [("x+y+",)], "node %d" % i)


@test
def d9_check_is_not_repeated_at_apply(c):
	make(c, "CREATE TABLE offer (id int PRIMARY KEY, until timestamptz CHECK (until > clock_timestamp()))")
	stop_applier(c, 3, "apply-read")
	c.execute(1, "INSERT INTO offer VALUES (1, clock_timestamp() + interval '1 s')")
	stopped(c, 3, "apply-read")
	stop_applier(c, 3, "")
	poll("the offer's end", lambda: local(c, 1, "SELECT until < clock_timestamp() FROM offer") == "t", SECONDS)
	release(c, 3, "apply-read")
	same_everywhere(c, "offer")
	equal(c.value(3, "SELECT count(*) FROM offer"), "1")
	all_well(c)


@test
def d10_equal_rows_without_a_key_are_told_apart(c):
	for n, text in enumerate(("1.0", "1.00", "1.000", "1.00")):
		c.execute(n % 3 + 1, "INSERT INTO keyless VALUES ($1::numeric, 'd10')", text)
	same_everywhere(c, "keyless")
	for node, text in ((2, "1.0"), (3, "1.00")):
		c.execute(node, "DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE note = 'd10' AND x::text = $1)", text)
		same_everywhere(c, "keyless")
	c.execute(1, "UPDATE keyless SET note = 'd10 changed' WHERE ctid = (SELECT min(ctid) FROM keyless WHERE note = 'd10' AND x::text = '1.00')")
	same_everywhere(c, "keyless")
	for i in c:
		equal(c.execute(i, "SELECT x::text, note FROM keyless WHERE note LIKE 'd10%' ORDER BY x::text, note"),
			  [("1.00", "d10 changed"), ("1.000", "d10")], "node %d" % i)
	# the same equal row deleted on two nodes at once: both rows go, or one of the two hears 40001
	c.execute(1, "INSERT INTO keyless VALUES (7, 'twin'), (7, 'twin')")
	c.wait_caught_up()
	with Session(c, 1) as one, Session(c, 2) as two:
		for session in (one, two):
			session.execute("BEGIN; DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE note = 'twin')")
		told = one.start("COMMIT").end(), two.start("COMMIT").end()
	left = 2 - told.count("ok")
	same_everywhere(c, "keyless")
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM keyless WHERE note = 'twin'"), str(left), "node %d, clients heard %r" % (i, told))


@test
def d9_domain_is_not_asked_again_however_deep(c):
	"""NOT VALID lets an array stay whose elements no longer fit: an update beside it reaches all nodes."""
	make(c, "CREATE DOMAIN d9_positive AS int", "CREATE TYPE d9_pair AS (p d9_positive, note text)",
		 "CREATE TABLE d9_deep (id int PRIMARY KEY, n int, ps d9_positive[], pair d9_pair)",
		 "INSERT INTO d9_deep VALUES (1, 0, '{-5,7}', '(-5,\"a, b\")')", "ALTER DOMAIN d9_positive ADD CHECK (VALUE > 0) NOT VALID")
	for i in c:
		c.execute(i, "UPDATE d9_deep SET n = n + 1")
	same_everywhere(c, "d9_deep")
	all_well(c)


@test
def deferrable_unique_value_is_held_like_any_other(c):
	"""Missing rule 1: nothing was in the way of an open transaction's value, the same value comes from elsewhere, and no deferred check is queued."""
	make(c, "CREATE TABLE defer_later (id int PRIMARY KEY, v int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
		 "CREATE TABLE defer_now (id int PRIMARY KEY, v int UNIQUE DEFERRABLE)")
	for table in ("defer_later", "defer_now"):
		with Session(c, 1) as one:
			one.execute("BEGIN; INSERT INTO %s VALUES (1, 7)" % table)
			c.execute(2, "INSERT INTO %s VALUES (2, 7), (3, 8)" % table)
			c.wait_caught_up()
			told = one.start("COMMIT").end()
			equal(told, "40001", "the later owner of the value, table %s" % table)
		c.execute(3, "UPDATE %s SET v = 15 - v" % table)
		same_everywhere(c, table)
		equal(c.execute(1, "SELECT id, v FROM %s ORDER BY id" % table), [("2", "8"), ("3", "7")])
	all_well(c)


@test
def d14_values_that_hold_oids_travel_by_name(c):
	for n, i in enumerate(c):
		with c.connect(i) as connection:			# objects of one node have other numbers than those of the next from here on
			for _ in range(7 * n):
				connection.execute("CREATE TEMP TABLE burnt (id int); DROP TABLE burnt")
	make(c, "CREATE SCHEMA d14", "CREATE TYPE d14.mood AS ENUM ('sad', 'ok', 'happy')", "CREATE TYPE d14.pair AS (a d14.mood, b regclass)",
		 "CREATE FUNCTION d14.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
		 """CREATE TABLE d14.t (id int PRIMARY KEY, r regclass, ty regtype, p regprocedure, ro regrole, ns regnamespace, m d14.mood, ms d14.mood[],
			pa d14.pair, pas d14.pair[])""",
		 "CREATE TABLE d14.u (m d14.mood, r regclass)")
	for i in c:
		c.execute(i, """INSERT INTO d14.t VALUES ($1, 'd14.t', 'd14.mood', 'd14.f(int)', 'postgres', 'd14', 'ok', '{sad,happy}', '(happy,d14.t)',
			array[row('sad', 'public.scen')::d14.pair])""", i)
		c.execute(i, "INSERT INTO d14.u VALUES ('happy', 'd14.t'), ('sad', 'd14.u')")
		c.execute(i, "UPDATE d14.u SET m = 'ok' WHERE r = 'd14.u'::regclass")
	same_everywhere(c, "d14.t", "d14.u")
	oids = {local(c, i, "SELECT 'd14.t'::regclass::oid") for i in c}
	equal(len(oids), 3, "the table has another number on each node")
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM d14.t WHERE r = 'd14.t'::regclass AND (pa).b = r AND (pas[1]).b = 'scen'::regclass AND m < 'happy'"), "3",
			  "node %d" % i)


# ---- hangs ----

@test
def h1_schema_change_against_a_certified_reader(c):
	"""A transaction read t, holds AccessShare on it, and commits into another table; an ALTER of t comes before it in the log."""
	make(c, "CREATE TABLE h1_t (id int PRIMARY KEY)", "CREATE TABLE h1_q (id int PRIMARY KEY)", "INSERT INTO h1_t VALUES (1), (2)")
	for n, (reader, changer) in enumerate(((1, 2), (2, 3), (3, 1))):
		with Session(c, reader, "SET nodedb.stop_at = 'before-propose'") as one, Session(c, changer) as two:
			one.start("INSERT INTO h1_q SELECT id + %d FROM h1_t" % (10 * n))
			stopped(c, reader, "before-propose", one.pid)
			equal(two.start("ALTER TABLE h1_t ADD COLUMN c%d int" % n).end(), "ok")
			release(c, reader, "before-propose")
			told = one.end()
			equal(told in ("40001", "40003"), True, "the reader behind the change hears %s" % told)
		all_well(c)
		same_everywhere(c, "h1_t", "h1_q")
		for i in c:
			equal(c.value(i, "SELECT count(*) FROM h1_q"), "0", "node %d" % i)


@test
def l2_reservation_does_not_outlive_its_transaction(c):
	"""A schema change reserves its tables for the whole cluster. Cancelled, killed with its server, or gone with its node: writes and schema changes go on."""
	make(c, "CREATE TABLE l2 (id bigint PRIMARY KEY)")
	for n, how in enumerate(("cancel", "terminate", "crash", "node")):
		node = follower(c) if n % 2 else c.leader()
		others = [i for i in c if i != node]
		with Session(c, node, "SET nodedb.stop_at = 'reserved'") as changer:
			changer.start("ALTER TABLE l2 ADD COLUMN c%d int" % n)
			stopped(c, node, "reserved", changer.pid)
			fails("40001", c.execute, others[0], "INSERT INTO l2 VALUES (%d)" % -n)
			if how == "cancel":
				changer.connection.cancel()
			elif how == "terminate":
				local(c, node, "SELECT pg_terminate_backend($1)", changer.pid)
			elif how == "crash":
				os.kill(changer.pid, signal.SIGKILL)
			else:
				c.kill(node)
			equal(changer.end() in ("57014", "57P01", "57P02", "08006"), True, "%s: %s" % (how, changer.outcome))
		if how == "crash":
			poll("node %d after its restart" % node, lambda: local(c, node, "SELECT 1"), SECONDS)
		goes_on(c, "l2", *others)
		equal(Session(c, others[1]).start("ALTER TABLE l2 ADD COLUMN d%d int" % n).end(), "ok")
		goes_on(c, "l2", *others)
		if how == "node":
			c.start(node)
		c.wait_ready()
		goes_on(c, "l2", *c)
		same_everywhere(c, "l2")
		for i in c:
			equal(c.value(i, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'l2'::regclass AND attname = 'c%d'" % n), "0", "node %d" % i)


@test
def l2_reservation_ends_though_its_cancel_was_lost(c):
	"""The raft worker hangs while a schema change fails, for longer than its session waits to hand in the CANCEL."""
	node = follower(c)
	with Session(c, node, "SET nodedb.stop_at = 'reserved'") as changer:
		changer.start("ALTER TABLE l2 ADD COLUMN lost int")
		stopped(c, node, "reserved", changer.pid)
		worker = worker_pid(c, node)
		os.kill(worker, signal.SIGSTOP)
		try:
			release(c, node, "reserved")
			poll("its commit", lambda: not at_event(c, node, "reserved", changer.pid) and local(c, node, "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Extension'", changer.pid), SECONDS)
			os.kill(changer.pid, signal.SIGTERM)
			equal(changer.end(), "40003")
		finally:
			os.kill(worker, signal.SIGCONT)
	c.wait_ready()
	goes_on(c, "l2", *[i for i in c if i != node])
	goes_on(c, "l2", *c)
	same_everywhere(c, "l2")


@test
def h2_lock_table_is_certified(c):
	for mode in ("EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"):
		key, other = row(c), new_key()
		with Session(c, 1, "SET nodedb.stop_at = 'before-propose'") as locker:
			locker.execute("BEGIN; LOCK TABLE scen IN %s MODE; INSERT INTO keyless VALUES (%d, 'h2')" % (mode, key))
			locker.start("COMMIT")
			stopped(c, 1, "before-propose", locker.pid)
			c.execute(2, "INSERT INTO scen (id) VALUES ($1)", other)
			release(c, 1, "before-propose")
			told = locker.end()
			equal(told in ("40001", "40003"), True, "%s behind a write hears %s" % (mode, told))
		all_well(c)
		equal(effect(c, "scen", other, "ok"), True)
		for i in c:
			equal(c.value(i, "SELECT count(*) FROM keyless WHERE note = 'h2' AND x = $1", key), "0", "node %d" % i)


@test
def h3_certified_transactions_that_block_each_other(c):
	"""PREPARE's parse analysis takes a lock that is no certification key. So a certified transaction can block an earlier one: it is demoted, not hung."""
	make(c, "CREATE TABLE h3 (id int PRIMARY KEY)", "INSERT INTO h3 VALUES (1)")
	key, demoted = new_key(), metric(c, 1, "nodedb_demoted_total")
	stop_applier(c, 1, "apply-read")
	with Session(c, 1, "SET nodedb.read_consistency = local") as session:
		session.execute("BEGIN; PREPARE h3_plan AS INSERT INTO h3 VALUES (2); INSERT INTO keyless VALUES (%d, 'h3')" % key)
		equal(Session(c, 2).start("TRUNCATE h3").end(), "ok")
		stopped(c, 1, "apply-read")
		stop_applier(c, 1, "")
		session.start("COMMIT")
		poll("its ticket", lambda: c.value(2, "SELECT count(*) FROM keyless WHERE note = 'h3' AND x = $1", key) == "1", SECONDS)
		release(c, 1, "apply-read")
		equal(session.end(), "40003")
	equal(metric(c, 1, "nodedb_demoted_total"), demoted + 1)
	equal("held a lock that is no certification key" in c.log(1), True)
	all_well(c)
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM h3"), "0", "node %d" % i)
		equal(c.value(i, "SELECT count(*) FROM keyless WHERE note = 'h3' AND x = $1", key), "1", "node %d" % i)


@test
def h3_waiter_ahead_of_the_applier(c):
	"""LOCK TABLE waits for a writer whose turn comes behind the applier's entry, and the applier waits behind LOCK TABLE: the one that waits has to go."""
	key, other = row(c), row(c)
	kicked = metric(c, 1, "nodedb_kicked_total")
	with Session(c, 1, "SET nodedb.stop_at = 'before-propose'", "SET nodedb.commit_timeout = 60000") as writer, Session(c, 1) as locker:
		writer.start("UPDATE scen SET n = 5 WHERE id = %d" % key)
		stopped(c, 1, "before-propose", writer.pid)
		locker.start("BEGIN; LOCK TABLE scen IN ACCESS EXCLUSIVE MODE")
		poll("LOCK TABLE waits", lambda: local(c, 1, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1", locker.pid) == "Lock", SECONDS)
		c.execute(2, "UPDATE scen SET n = 7 WHERE id = $1", other)
		poll("the applier waits", lambda: applier_waits(c, 1), SECONDS)
		release(c, 1, "before-propose")
		equal(locker.end(), "40001")
		equal(writer.end(), "ok")
	equal(metric(c, 1, "nodedb_kicked_total"), kicked + 1)
	all_well(c)
	for i in c:
		equal(c.value(i, "SELECT string_agg(n::text, ' ' ORDER BY id) FROM scen WHERE id IN ($1, $2)", key, other), "5 7", "node %d" % i)


@test
def h4_proposed_but_unresolved(c):
	"""The proposer loses its majority while it holds a row that a committed entry needs: no hang when the network heals, and the truth is told."""
	if not NETNS:
		print("skipped: network namespaces need root")
		return
	for timeout, wanted in ((60000, ("40001", "40003")), (1000, ("40001", "40003", "57P03"))):
		for node in (follower(c), c.leader()):
			key, others = row(c), [i for i in c if i != node]
			with Session(c, node) as cut:
				cut.execute("BEGIN; UPDATE scen SET n = 1 WHERE id = %d; SET LOCAL nodedb.commit_timeout = %d" % (key, timeout))
				c.isolate(node)
				try:
					cut.start("COMMIT")
					poll("the majority's commit", lambda: c.execute(others[0], "UPDATE scen SET n = 2 WHERE id = $1", key) or True, SECONDS)
					if timeout == 1000:
						cut.end()
				finally:
					c.heal()
				told = cut.end()
				equal(told in wanted, True, "the proposer without majority hears %s" % told)
			c.wait_ready()
			for i in c:
				equal(c.value(i, "SELECT n FROM scen WHERE id = $1", key), "2", "node %d" % i)
			all_well(c)


def without_majority(c, node, session, applied, wanted):
	"""The applier of this node waits behind the session, which commits without a majority; what it is told, and that the applier goes on before there is one."""
	others = [i for i in c if i != node]
	stop_applier(c, node, "")
	session.start("COMMIT")
	stopped(c, node, "before-propose", session.pid)
	for i in others:
		c.pause(i)
	try:
		release(c, node, "before-propose")
		poll("its proposal", lambda: not at_event(c, node, "before-propose", session.pid) and local(c, node, "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Extension'", session.pid), SECONDS)
		release(c, node, "apply-read")
		equal(session.end(), wanted)
		poll("the entry on node %d" % node, applied, SECONDS)
	finally:
		for i in others:
			c.resume(i)
	c.wait_ready()


UNRESOLVED = ("SET nodedb.read_consistency = local", "SET nodedb.commit_timeout = 60000", "SET nodedb.stop_at = 'before-propose'")


@test
def h4_unresolved_transaction_has_lost(c):
	"""A committed entry, not applied here yet, needs the row of a transaction that is proposed and has lost its majority: the conflict is decided, and told."""
	make(c, "CREATE TABLE h4 (id int PRIMARY KEY, n int)", "SELECT nodedb.place_table('h4', 2)", "INSERT INTO h4 VALUES (1, 0)")
	for several in (False, True):
		node = follower(c)
		other = next(i for i in c if i != node)
		key = row(c)
		demoted, lost = metric(c, node, "nodedb_demoted_total"), metric(c, node, "nodedb_lost_early_total")
		stop_applier(c, node, "apply-read")
		with Session(c, node, *UNRESOLVED) as session:
			c.execute(other, "UPDATE scen SET n = 2 WHERE id = $1", key)
			stopped(c, node, "apply-read")
			session.execute("BEGIN; UPDATE scen SET n = 1 WHERE id = %d%s" % (key, "; UPDATE h4 SET n = n + 1" if several else ""))
			without_majority(c, node, session, lambda: local(c, node, "SELECT n FROM scen WHERE id = $1", key) == "2", "40001")
		equal(metric(c, node, "nodedb_lost_early_total"), lost + 1)
		equal(metric(c, node, "nodedb_demoted_total"), demoted)
		all_well(c)
		for i in c:
			equal(c.value(i, "SELECT n FROM scen WHERE id = $1", key), "2", "node %d" % i)
			equal(c.value(i, "SELECT n FROM h4"), "0", "node %d" % i)


@test
def h4_unresolved_transaction_gives_way(c):
	"""As before, but what the entry needs is a lock that is no certification key: nobody knows whether the transaction commits, and it is demoted."""
	make(c, "CREATE TABLE h4_locked (id int PRIMARY KEY)", "INSERT INTO h4_locked VALUES (1)")
	node = follower(c)
	key, demoted = new_key(), metric(c, node, "nodedb_demoted_total")
	stop_applier(c, node, "apply-read")
	with Session(c, node, *UNRESOLVED) as session:
		session.execute("BEGIN; PREPARE h4_plan AS INSERT INTO h4_locked VALUES (2); INSERT INTO keyless VALUES (%d, 'h4')" % key)
		equal(Session(c, next(i for i in c if i != node)).start("TRUNCATE h4_locked").end(), "ok")
		stopped(c, node, "apply-read")
		without_majority(c, node, session, lambda: local(c, node, "SELECT count(*) FROM h4_locked") == "0", "40003")
	equal(metric(c, node, "nodedb_demoted_total"), demoted + 1)
	all_well(c)
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM h4_locked"), "0", "node %d" % i)


@test
def h6_victims_that_do_not_want_to_go(c):
	"""Who holds a row that a committed entry needs loses it, whatever it does: swallow the cancel, not read its answers, sit idle in a transaction."""
	swallow = """DO $$ BEGIN UPDATE scen SET n = -1 WHERE id = {0}; LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled OR OTHERS THEN NULL; END;
		END LOOP; END $$"""
	deaf = "BEGIN; UPDATE scen SET n = -1 WHERE id = {0}; SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"
	nested = "BEGIN; UPDATE scen SET n = -1 WHERE id = {0}; SAVEPOINT a; UPDATE scen SET n = -2 WHERE id = {0}"
	for name, sql in (("swallow", swallow), ("deaf", deaf), ("nested", nested)):
		key = row(c)
		kicked = metric(c, 1, "nodedb_kicked_total")
		with c.connect(1) as victim:
			victim.send(sql.format(key))
			if name == "nested":
				victim.result()
			poll("%s holds the row" % name, lambda: row_is_locked(c, 1, key), SECONDS)
			c.execute(2, "UPDATE scen SET n = 2 WHERE id = $1", key)
			poll("%s lost the row" % name, lambda: local(c, 1, "SELECT n FROM scen WHERE id = $1", key) == "2", SECONDS)
			equal(metric(c, 1, "nodedb_kicked_total") > kicked, True, "%s was kicked" % name)
			if name == "nested":
				fails("40001", victim.execute, "COMMIT")
				victim.execute("ROLLBACK")
				equal(victim.value("SELECT n FROM scen WHERE id = $1", key), "2", "the connection stays")
			else:
				fails(("40001", "57P01", "08006"), lambda: [victim.result(SECONDS)])
		all_well(c)


@test
def h6_frozen_victim_is_told_of(c):
	"""A process that reacts to nothing stops its own node, which says so; the others go on, and so does it when the process is gone."""
	key = row(c)
	with Session(c, 1) as victim:
		victim.execute("BEGIN; UPDATE scen SET n = -1 WHERE id = %d" % key)
		os.kill(victim.pid, signal.SIGSTOP)
		try:
			c.execute(2, "UPDATE scen SET n = 2 WHERE id = $1", key)
			goes_on(c, "scen", 2, 3)
			poll("the alarm", lambda: "process %d reacts to nothing" % victim.pid in c.log(1), SECONDS)
			goes_on(c, "scen", 2, 3)
		finally:
			os.kill(victim.pid, signal.SIGCONT)
	all_well(c)


@test
def h7_commits_wait_for_no_standby(c):
	on_all_sessions(c, "synchronous_standby_names", "nobody")
	try:
		for i in c:
			with Session(c, i, "SET synchronous_commit = remote_apply") as session:
				key = new_key()
				equal(session.start("INSERT INTO scen (id) VALUES (%d)" % key).end(), "ok")
				session.start("BEGIN; CREATE TEMP TABLE h7 (id int) ON COMMIT DROP; INSERT INTO h7 VALUES (1); INSERT INTO scen (id) VALUES (%d); COMMIT"
							  % new_key())
				equal(session.end(), "ok")
				effect(c, "scen", key, "ok")
		equal(Session(c, 2).start("CREATE TABLE h7_made (id int PRIMARY KEY)").end(), "ok")
		all_well(c)
	finally:
		on_all_sessions(c, "synchronous_standby_names", None)


# ---- liveness ----

@test
def l1_local_waiters_of_a_hot_row_do_not_conflict(c):
	"""Eight sessions of one node queue for one row: the base of each covers its predecessor, so none of them aborts."""
	rounds = 25
	for node in (c.leader(), follower(c)):
		key = row(c)
		sessions = [Session(c, node) for _ in range(8)]
		before = metric(c, node, "nodedb_conflicts_total")
		loop = "DO $$ BEGIN FOR i IN 1..%d LOOP UPDATE scen SET n = n + 1 WHERE id = %d; COMMIT; END LOOP; END $$" % (rounds, key)
		for session in sessions:
			session.start(loop)
		told = [session.end() for session in sessions]
		for session in sessions:
			session.connection.close()
		equal(told, ["ok"] * len(sessions))
		equal(metric(c, node, "nodedb_conflicts_total"), before)
		for i in c:
			equal(c.value(i, "SELECT n FROM scen WHERE id = $1", key), str(rounds * len(sessions)), "node %d" % i)
	all_well(c)


@test
def l1_change_that_is_seen_but_not_published_is_covered(c):
	"""A transaction that saw a predecessor's row before the predecessor moved the watermark waits for that, rather than conflict with it."""
	key = row(c)
	with Session(c, 2, "SET nodedb.stop_at = 'before-advance'") as one, Session(c, 2, "SET nodedb.read_consistency = local") as two:
		one.start("UPDATE scen SET n = n + 1 WHERE id = %d" % key)
		stopped(c, 2, "before-advance", one.pid)
		two.start("UPDATE scen SET n = n + 10 WHERE id = %d" % key)
		poll("the second waits", lambda: local(c, 2, "SELECT wait_event FROM pg_stat_activity WHERE pid = $1 AND query LIKE 'UPDATE%'", two.pid), SECONDS)
		release(c, 2, "before-advance")
		equal((one.end(), two.end()), ("ok", "ok"))
	for i in c:
		equal(c.value(i, "SELECT n FROM scen WHERE id = $1", key), "11", "node %d" % i)
	all_well(c)


@test
def l4_reader_has_time_to_end_before_a_schema_change(c):
	"""A long reader elsewhere makes a schema change wait there; it may end in peace; who stays is told 40001, and the change passes."""
	make(c, "CREATE TABLE l4 (id int PRIMARY KEY)", "INSERT INTO l4 SELECT generate_series(1, 100)")
	begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM l4"
	for n, stays in enumerate((False, True)):
		with Session(c, 2) as reader:
			reader.execute(begin)
			began = time.monotonic()
			c.execute(1, "ALTER TABLE l4 ADD COLUMN c%d int" % n)
			poll("the applier waits for the reader", lambda: applier_waits(c, 2), SECONDS, 0.01)
			if not stays:
				try:
					equal(reader.value("SELECT count(*) FROM l4"), "100", "the reader goes on")
					reader.execute("COMMIT")
				except Error as error:
					if error.sqlstate != "40001" or time.monotonic() - began < 2:		# its grace period (guard.c) is over on a machine that stalls for so long
						raise
			else:
				poll("the change on node 2", lambda: local(c, 2, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'l4'::regclass AND attname = 'c1'") == "1",
					 SECONDS)
				fails("40001", reader.execute, "SELECT count(*) FROM l4")
				reader.start("ROLLBACK").end()
		same_everywhere(c, "l4")
	all_well(c)


@test
def l6_full_disk_at_apply_is_tried_again(c):
	"""What one node lacks (here: space for the table) is no damage: it tries until there is space; the others do not wait."""
	directory = os.path.join(c.servers[3].dir, "small")
	probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "nodedb-test", "/mnt"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	if os.geteuid() != 0 or probe.returncode != 0:
		print("skipped: mounting a small file system is not allowed here: %s" % (probe.stdout.strip() or "not root"))
		return
	os.makedirs(directory)
	owner = os.stat(c.servers[3].data)
	# in the server's own view of the file systems, which a network namespace separates
	inside = ["nsenter", "-m", "-t", str(c.servers[3].pid())]
	subprocess.run(inside + ["mount", "-t", "tmpfs", "-o", "size=8m,uid=%d,gid=%d,mode=700" % (owner.st_uid, owner.st_gid), "nodedb-test", directory],
				   check=True)
	try:
		make(c, "CREATE TABLE l6 (id int PRIMARY KEY, v text)")
		c.execute(3, "CREATE TABLESPACE small LOCATION '%s'" % directory)
		c.execute(3, "ALTER TABLE l6 SET TABLESPACE small")
		before = metric(c, 3, "nodedb_apply_retries_total")
		c.execute(1, "INSERT INTO l6 SELECT g, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 30) WHERE g > 0)"
					 " FROM generate_series(1, 12000) g")
		poll("the applier of node 3 tries again", lambda: metric(c, 3, "nodedb_apply_retries_total") > before + 6, SECONDS)
		equal(metric(c, 3, "nodedb_member_state"), 2, "node 3 is not quarantined")
		goes_on(c, "scen", 1, 2)
		equal(local(c, 3, "SELECT count(*) FROM l6"), "0")
		subprocess.run(inside + ["mount", "-o", "remount,size=256m", directory], check=True)
		same_everywhere(c, "l6")
		equal(c.value(3, "SELECT count(*) FROM l6"), "12000")
		all_well(c)
		c.execute(3, "ALTER TABLE l6 SET TABLESPACE pg_default")
		c.execute(3, "DROP TABLESPACE small")
	finally:
		subprocess.run(inside + ["umount", "-l", directory])


@test
def l6_damage_stops_one_node_loudly(c):
	"""What cannot pass (here: the table is gone on one node) stops that node: nothing is skipped, the others go on, and mended it catches up."""
	make(c, "CREATE TABLE damaged (id int PRIMARY KEY)")
	rename = "SET allow_system_table_mods = on; UPDATE pg_class SET relname = '%s' WHERE relname = '%s'"
	c.execute(3, rename % ("mislaid", "damaged"))
	c.execute(1, "INSERT INTO damaged VALUES (1)")
	key = new_key()
	c.execute(2, "INSERT INTO scen (id) VALUES ($1)", key)
	poll("quarantine of node 3", lambda: metric(c, 3, "nodedb_member_state") == 3, SECONDS)
	equal("QUARANTINED" in local(c, 3, "SELECT nodedb.status()"), True, "status() says so")
	equal(local(c, 3, "SELECT count(*) FROM scen WHERE id = $1", key), "0", "nothing is applied behind the damage")
	with Session(c, 3) as session:
		equal(session.start("INSERT INTO scen (id) VALUES (%d)" % new_key()).end(), "55000")
	goes_on(c, "scen", 1, 2)
	c.execute(3, rename % ("damaged", "mislaid"))
	c.restart(3)
	c.wait_ready()
	same_everywhere(c, "damaged")
	equal(c.value(3, "SELECT count(*) FROM damaged"), "1")
	all_well(c)


# ---- no majority ----

@test
def without_a_majority_writes_fail_and_local_reads_go_on(c):
	key = row(c)
	last = c.leader()
	dead = [i for i in c if i != last]
	for i in dead:
		c.kill(i)
	with Session(c, last, "SET nodedb.commit_timeout = 1000") as session:
		told = {}
		for n in range(3):
			new = new_key()
			told[new] = session.start("INSERT INTO scen (id) VALUES (%d)" % new).end()
			equal(told[new] in ("57P03", "40003"), True, "a write without majority hears %s" % told[new])
			equal(bool(session.error.hint), True, "with a hint")
		# when the leader has noticed nothing is sent any more, so the answer is definite
		def definite():
			new = new_key()
			told[new] = session.start("INSERT INTO scen (id) VALUES (%d)" % new).end()
			equal(told[new] in ("57P03", "40003"), True, "a write without majority hears %s" % told[new])
			return told[new] == "57P03"
		poll("a definite answer", definite, SECONDS)
		equal(local(c, last, "SELECT count(*) FROM scen WHERE id = $1", key), "1", "a local read")
		equal(session.start("SELECT count(*) FROM scen").end() == "ok", False, "a strong read fails")
		equal("NO MAJORITY" in local(c, last, "SELECT nodedb.status()"), True, "status() says so")
	c.start(dead[0])
	goes_on(c, "scen", last, dead[0])
	c.start(dead[1])
	c.wait_ready()
	for new, answer in told.items():
		effect(c, "scen", new, answer)
	all_well(c)


# ---- looking into one node ----

def row_is_locked(c, node, key):
	with c.connect(node) as connection:
		connection.execute("SET nodedb.read_consistency = local; SET lock_timeout = 50")
		try:
			connection.execute("BEGIN; SELECT 1 FROM scen WHERE id = %d FOR UPDATE NOWAIT; ROLLBACK" % key)
			return False
		except Error as error:
			if error.sqlstate != "55P03":
				raise
			return True


def worker_pid(c, node):
	"""The raft worker has no database connection: it is found among the server's processes."""
	for pid in c.servers[node].processes():
		with open("/proc/%d/cmdline" % pid) as file:
			if "nodedb raft worker" in file.read():
				return pid
	raise AssertionError("node %d has no raft worker" % node)


def applier_waits(c, node):
	return local(c, node, """SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'nodedb applier' AND wait_event_type = 'Lock'""") == "1"


main()
