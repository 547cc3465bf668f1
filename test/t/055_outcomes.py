#!/usr/bin/env python3
"""A client that lost its answer: transaction_status() tells what became of the transaction, and an idempotency key lets it be repeated without harm."""
import os
import signal

from harness import *
from scenario import *

setup(nodes=3)

_key = [0]


def new_key():
	_key[0] += 1
	return "key %d" % _key[0]


def status(c, node, id):
	return c.value(node, "SELECT nodedb.transaction_status($1)", id)


def attempt(c, node, key, work, *before):
	"""'ok' or the SQLSTATE of one attempt at a piece of work."""
	with c.connect(node) as connection:
		try:
			for sql in before:
				connection.execute(sql)
			connection.execute("BEGIN")
			connection.execute("SET LOCAL nodedb.idempotency_key = '%s'" % key)
			connection.execute(work)
			connection.execute("COMMIT")
			return "ok"
		except Error as error:
			connection.execute("ROLLBACK")
			return error.sqlstate


def amount(c, node=1):
	return int(c.value(node, "SELECT n FROM account WHERE id = 1"))


PAY = "UPDATE account SET n = n + 1 WHERE id = 1"


@test
def table_is_made(c):
	make(c, "CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL)", "CREATE TABLE other (id serial PRIMARY KEY, v int UNIQUE)")
	c.execute(1, "INSERT INTO account VALUES (1, 0)")


# ---- transaction_status ----

@test
def committed_is_told_on_every_node(c):
	with c.connect(2) as connection:
		connection.execute("BEGIN")
		id = connection.value("SELECT nodedb.transaction_id()")
		equal(connection.value("SELECT nodedb.transaction_id()"), id)
		connection.execute(PAY)
		connection.execute("COMMIT")
	for i in c:
		equal(status(c, i, id), "committed")
		equal(status(c, i, id), "committed", "asked again")


@test
def aborted_is_told_on_every_node(c):
	with c.connect(2) as connection:
		connection.execute("BEGIN")
		id = connection.value("SELECT nodedb.transaction_id()")
		connection.execute(PAY)
		connection.execute("ROLLBACK")
	for i in c:
		equal(status(c, i, id), "aborted")


@test
def conflicting_one_is_aborted(c):
	with c.connect(1) as one, c.connect(2) as two:
		for connection in (one, two):
			connection.execute("BEGIN")
			connection.execute(PAY)
		id = two.value("SELECT nodedb.transaction_id()")
		one.execute("COMMIT")
		fails("40001", two.execute, "COMMIT")
	for i in c:
		equal(status(c, i, id), "aborted")


@test
def running_one_is_left_alone_on_its_node(c):
	before = amount(c)
	with c.connect(2) as connection:
		connection.execute("BEGIN")
		connection.execute(PAY)
		id = connection.value("SELECT nodedb.transaction_id()")
		equal(status(c, 2, id), "in progress")
		equal(connection.value("SELECT nodedb.transaction_status($1)", id), "in progress")
		connection.execute("COMMIT")
	equal(status(c, 3, id), "committed")
	equal(amount(c), before + 1)


@test
def answer_of_another_node_is_final(c):
	"""'aborted' is a proof: the transaction, which is about to be proposed, cannot commit any more."""
	before = amount(c)
	with Session(c, 2, "SET nodedb.stop_at = 'before-propose'") as session:
		session.execute("BEGIN")
		id = session.value("SELECT nodedb.transaction_id()")
		session.execute(PAY)
		session.start("COMMIT")
		stopped(c, 2, "before-propose", session.pid)
		equal(status(c, 3, id), "aborted")
		release(c, 2, "before-propose")
		equal(session.end(), "40001")
	for i in c:
		equal(status(c, i, id), "aborted")
		equal(amount(c, i), before)


@test
def lost_answer_is_found_out(c):
	"""The hint of 40003 names the id, and what it tells is what is there: at every moment between the proposal and the commit."""
	for event, wanted in (("proposed", None), ("granted", "committed"), ("before-turn", "committed")):
		for node in (c.leader(), next(i for i in c if i != c.leader())):
			before = amount(c)
			with Session(c, node, "SET nodedb.stop_at = '%s'" % event) as session:
				session.start(PAY)
				stopped(c, node, event, session.pid)
				c.execute(node, "SET nodedb.read_consistency = local; SELECT pg_terminate_backend(%d)" % session.pid)
				release(c, node, event)
				told = session.end()
				if told == "08006":
					continue		# the connection broke before the error came through
				equal(told, "40003")
				id = session.error.hint.split("'")[1]
			# it is told before it has rolled back, and until then its own node says "in progress"
			poll("the end of its process", lambda: local(c, node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", session.pid) == "0", SECONDS)
			told = {status(c, i, id) for i in c}
			equal(len(told), 1)
			equal(told <= {wanted or "committed", "committed" if wanted else "aborted"}, True, "%s after %s" % (told, event))
			equal(amount(c), before + (told == {"committed"}))


@test
def outcome_outlives_the_node(c):
	victim = next(i for i in c if i != c.leader())
	with c.connect(victim) as connection:
		connection.execute("BEGIN")
		id = connection.value("SELECT nodedb.transaction_id()")
		connection.execute(PAY)
		connection.execute("COMMIT")
	lost = c.connect(victim)
	lost.execute("BEGIN")
	never = lost.value("SELECT nodedb.transaction_id()")
	lost.execute(PAY)
	c.kill(victim)
	for i in c.running():
		equal(status(c, i, id), "committed")
		equal(status(c, i, never), "aborted")
	c.start(victim)
	c.wait_ready()
	equal(status(c, victim, id), "committed")
	equal(status(c, victim, never), "aborted")


@test
def malformed_ids_are_refused(c):
	for id in ("", "x", "1.2.3", "1.2.3.4.5", "0.1.2.3", "1.1.0.0", "1.1.1.", "-1.1.1.1", "1.1.99999999999999999999.1", "4294967296.1.1.1"):
		fails("22023", status, c, 1, id)
	equal(c.value(1, "SELECT nodedb.transaction_status(NULL)"), None)


@test
def without_a_majority_nothing_is_decided(c):
	with c.connect(1) as connection:
		id = connection.value("SELECT nodedb.transaction_id()")
	with c.connect(3) as connection:
		connection.execute("SET nodedb.commit_timeout = 500")
		for i in (1, 2):
			c.pause(i)
		try:
			fails("57P03", connection.execute, "SELECT nodedb.transaction_status('%s')" % id)
		finally:
			for i in (1, 2):
				c.resume(i)
	equal(poll("an answer", lambda: status(c, 3, id), SECONDS), "aborted")


# ---- idempotency keys ----

@test
def repeated_transaction_changes_nothing(c):
	for first in c:
		key, before = new_key(), amount(c)
		equal(attempt(c, first, key, PAY), "ok")
		for i in c:
			equal(attempt(c, i, key, PAY), "ND001", "node %d" % i)
			equal(attempt(c, i, key, "INSERT INTO other (v) VALUES (%d)" % _key[0]), "ND001")
		equal(amount(c), before + 1)
		equal(attempt(c, 2, new_key(), PAY), "ok", "another key")
		with c.connect(1) as connection:
			connection.execute("BEGIN")
			connection.execute("SET LOCAL nodedb.idempotency_key = '%s'" % key)
			error = fails("ND001", connection.execute, PAY)
			equal(status(c, 1, error.detail.split()[3].rstrip(",")), "committed", error.detail)


@test
def failed_attempt_claims_nothing(c):
	key, before = new_key(), amount(c)
	equal(attempt(c, 1, key, PAY + "; SELECT 1 / 0"), "22012")
	with c.connect(1) as connection:
		connection.execute("BEGIN; SET LOCAL nodedb.idempotency_key = '%s'" % key)
		connection.execute(PAY)
		connection.execute("ROLLBACK")
	equal(attempt(c, 2, key, PAY), "ok")
	equal(attempt(c, 3, key, PAY), "ND001")
	equal(amount(c), before + 1)


@test
def concurrent_attempts_make_one(c):
	key, before = new_key(), amount(c)
	with Session(c, 1) as one, Session(c, 1) as same, Session(c, 2) as other:
		for session in (one, same, other):
			session.execute("BEGIN; SET LOCAL nodedb.idempotency_key = '%s'" % key)
		one.execute("INSERT INTO other (v) VALUES (-1)")
		other.execute("INSERT INTO other (v) VALUES (-2)")
		same.start("INSERT INTO other (v) VALUES (-3)")
		one.execute("COMMIT")
		equal(same.end(), "ND001")
		same.execute("ROLLBACK")
		equal(other.start("COMMIT").end(), "40001")
	equal(attempt(c, 2, key, "INSERT INTO other (v) VALUES (-2)"), "ND001")
	equal(c.execute(3, "SELECT v FROM other WHERE v < 0"), c.execute(3, "VALUES (-1)"))
	equal(amount(c), before)


@test
def claim_survives_a_savepoint(c):
	for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
		key, before = new_key(), amount(c)
		with c.connect(1) as connection:
			connection.execute("BEGIN ISOLATION LEVEL " + level)
			connection.execute("SET LOCAL nodedb.idempotency_key = '%s'" % key)
			connection.execute("SAVEPOINT s; " + PAY + "; ROLLBACK TO s")
			connection.execute(PAY)
			connection.execute("SAVEPOINT t; " + PAY + "; ROLLBACK TO t; " + PAY)
			connection.execute("COMMIT")
		equal(attempt(c, 2, key, PAY), "ND001")
		equal(amount(c), before + 2)


@test
def every_kind_of_change_claims(c):
	make(c, "CREATE ROLE clerk", "GRANT ALL ON account, other TO clerk", "GRANT USAGE ON SEQUENCE other_id_seq TO clerk")
	for work in ("COPY other (v) FROM PROGRAM 'echo 1000'", "DELETE FROM other WHERE v = 1000", "CREATE TABLE made_once (id int)", "TRUNCATE other", "SET ROLE clerk; " + PAY,
				 "DO $$ BEGIN UPDATE account SET n = n; END $$", "WITH x AS (UPDATE account SET n = n RETURNING n) SELECT * FROM x", "PREPARE p AS " + PAY + "; EXECUTE p"):
		key = new_key()
		equal(attempt(c, 1, key, work), "ok", work)
		equal(attempt(c, 2, key, work), "ND001", work)
	equal(attempt(c, 1, "x" * 1001, PAY), "22023")
	key = new_key()
	equal(attempt(c, 1, key, "SELECT n FROM account"), "ok", "a transaction that changes nothing claims nothing")
	equal(attempt(c, 1, key, PAY), "ok")


@test
def keys_are_of_their_role(c):
	key = new_key()
	equal(attempt(c, 1, key, PAY), "ok")
	equal(attempt(c, 1, key, PAY, "SET SESSION AUTHORIZATION clerk"), "ok")
	equal(attempt(c, 2, key, PAY, "SET SESSION AUTHORIZATION clerk"), "ND001")
	fails("42501", c.execute, 1, "SET SESSION AUTHORIZATION clerk; SELECT * FROM nodedb.idempotency_keys")


@test
def client_that_lost_its_node_repeats_on_another(c):
	"""Whatever had become of the first attempt, in the end it is there once."""
	for event in ("before-propose", "proposed", "granted", "before-turn", "in-turn", "before-advance"):
		key, before = new_key(), amount(c)
		victim = next(i for i in c if i != c.leader())
		session = Session(c, victim, "SET nodedb.stop_at = '%s'" % event)
		session.execute("BEGIN; SET LOCAL nodedb.idempotency_key = '%s'; %s" % (key, PAY))
		session.start("COMMIT")
		stopped(c, victim, event, session.pid)
		c.kill(victim)
		other = c.running()[0]
		poll("an attempt after %s" % event, lambda: attempt(c, other, key, PAY) in ("ok", "ND001"), SECONDS)
		equal(amount(c, other), before + 1, "after %s" % event)
		c.start(victim)
		c.wait_ready()
		equal(attempt(c, victim, key, PAY), "ND001")
		equal(amount(c, victim), before + 1)


@test
def old_keys_are_removed(c):
	# the leader of group 1 removes them: it must stay so meanwhile
	poll("leaders to be spread", lambda: c.value(1, "SELECT max(n) FROM (SELECT count(*) AS n FROM nodedb.groups GROUP BY leader) g") in ("1", "2"), SECONDS)
	c.execute(1, "INSERT INTO nodedb.idempotency_keys SELECT 'postgres', 'old ' || g, '1.1.1.1', now() - interval '2 days' FROM generate_series(1, 2500) g")
	key = new_key()
	equal(attempt(c, 1, key, PAY), "ok")
	c.execute(c.leader(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'nodedb leases'")		# the next one begins with it
	poll("old keys are gone", lambda: c.value(2, "SELECT count(*) FROM nodedb.idempotency_keys WHERE key LIKE 'old %'") == "0", SECONDS)
	equal(attempt(c, 3, key, PAY), "ND001")
	same_everywhere(c, "account", "other", "nodedb.idempotency_keys")


main()
