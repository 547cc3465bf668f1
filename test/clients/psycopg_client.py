#!/usr/bin/python3
"""psycopg 3, asking for outcomes by transaction id, and psycopg2, with idempotency keys. Last line: the number of units that were acknowledged."""
import datetime
import decimal
import io
import random
import uuid

import psycopg
import psycopg.types.json
import psycopg2
import psycopg2.extras

import client


def connect():
	return psycopg.connect(dbname="nodedb", user="postgres", connect_timeout=10, **client.hosts())


def connect_old():
	return psycopg2.connect(dbname="nodedb", user="postgres", connect_timeout=10, **client.hosts())


def again(work):
	"""work(connection) on any node until it passes."""
	def attempt():
		with connect() as connection:
			return work(connection)
	return client.again(attempt, lambda error: error.sqlstate, psycopg.Error)


def committed(transaction):
	"""What became of a transaction whose answer was lost: asked on any node until it is final."""
	status = "in progress"
	while status == "in progress":
		status = again(lambda connection: connection.execute("SELECT nodedb.transaction_status(%s)", (transaction,)).fetchone()[0])
	if status is None:
		raise AssertionError("the outcome of %s was forgotten" % transaction)
	return status == "committed"


def unit(number):
	"""One unit of work; not harmless to repeat."""
	def attempt():
		transaction = None
		try:
			with connect() as connection, connection.transaction():
				transaction = connection.execute("SELECT nodedb.transaction_id()").fetchone()[0]
				connection.execute("INSERT INTO client_psycopg_done VALUES (%s)", (number,), prepare=True)
				connection.execute("UPDATE client_psycopg_sum SET n = n + 1 WHERE k = %s", (number % 5,), prepare=True)
		except psycopg.Error as error:
			if transaction is None or not client.outcome_open(error.sqlstate) or not committed(transaction):
				raise
	client.again(attempt, lambda error: error.sqlstate, psycopg.Error)


def unit_old(number):
	"""The same with psycopg2, named by an idempotency key."""
	def attempt():
		connection = connect_old()
		try:
			with connection, connection.cursor() as cursor:
				cursor.execute("SET LOCAL nodedb.idempotency_key = %s", ("psycopg2 %d" % number,))
				cursor.execute("INSERT INTO client_psycopg_done VALUES (%s)", (number,))
				cursor.execute("UPDATE client_psycopg_sum SET n = n + 1 WHERE k = %s", (number % 5,))
		except psycopg2.Error as error:
			if error.pgcode != "ND001":
				raise
		finally:
			connection.close()
	client.again(attempt, lambda error: error.pgcode, psycopg2.Error)


# ---- what drivers do besides; each of these is harmless to repeat ----

def copies(connection):
	with connection.transaction(), connection.cursor() as cursor:
		cursor.execute("DELETE FROM client_psycopg_copied")
		with cursor.copy("COPY client_psycopg_copied FROM STDIN") as copy:
			for key in range(500):
				copy.write_row((key, "copied"))
		cursor.executemany("INSERT INTO client_psycopg_copied VALUES (%s, %s)", [(key, "many") for key in range(500, 600)])
		with cursor.copy("COPY (SELECT id FROM client_psycopg_copied) TO STDOUT") as copy:
			assert len(b"".join(copy).split()) == 600


def pipeline(connection):
	with connection.pipeline(), connection.transaction():
		for key in range(20):
			connection.execute("INSERT INTO client_psycopg_copied VALUES (%s, 'piped') ON CONFLICT (id) DO UPDATE SET what = 'piped'", (key,))
		found = connection.execute("SELECT count(*) FROM client_psycopg_copied WHERE what = 'piped'")
	assert found.fetchone()[0] == 20


def savepoints(connection):
	with connection.transaction():
		connection.execute("INSERT INTO client_psycopg_copied VALUES (-1, 'outer') ON CONFLICT DO NOTHING")
		try:
			with connection.transaction():
				connection.execute("INSERT INTO client_psycopg_copied VALUES (-1, 'inner')")
			raise AssertionError("a duplicate passed")
		except psycopg.errors.UniqueViolation:
			pass
		connection.execute("DELETE FROM client_psycopg_copied WHERE id = -1")


def cursor(connection):
	with connection.transaction(), connection.cursor("c") as named:
		named.itersize = 7
		named.execute("SELECT id FROM client_psycopg_copied ORDER BY id")
		ids = [row[0] for row in named]
		assert ids == sorted(set(ids)) and len(ids) == 600


TYPES = {"a": "bool", "b": "bigint", "c": "numeric", "d": "timestamptz", "e": "uuid", "f": "bytea", "g": "jsonb", "h": "int[]", "i": "double precision", "j": "date"}
VALUES = [True, -2 ** 62, decimal.Decimal("1e-30"), datetime.datetime(2024, 2, 29, 23, 59, 59, 999999, datetime.timezone.utc), uuid.UUID(int=7), b"\0\xff",
		  {"x": [1, None, "ä"]}, [1, None, 3], 0.1, datetime.date(1, 1, 1)]


def types(connection):
	"""In text and binary, back as they went, from a prepared statement on another connection."""
	given = [psycopg.types.json.Jsonb(value) if isinstance(value, dict) else value for value in VALUES]
	with connection.transaction():
		connection.execute("DELETE FROM client_psycopg_types")
		for _ in range(2):
			connection.execute("INSERT INTO client_psycopg_types VALUES (%s)" % ",".join(["%s"] * len(given)), given, prepare=True)
	for binary in (False, True):
		with connect() as other:
			rows = other.execute("SELECT * FROM client_psycopg_types", prepare=True, binary=binary).fetchall()
			assert rows == [tuple(VALUES)] * 2, rows


def notifications(connection):
	"""LISTEN and NOTIFY are of one node: within it they are PostgreSQL's own."""
	heard = []
	connection.autocommit = True
	connection.add_notify_handler(lambda notice: heard.append(notice.payload))
	connection.execute("LISTEN client")
	connection.execute("SELECT pg_notify('client', 'hello')")
	connection.execute("SELECT 1")
	assert heard == ["hello"], heard


def old_bulk(_):
	connection = connect_old()
	try:
		with connection, connection.cursor() as cursor:
			cursor.execute("DELETE FROM client_psycopg_old")
			psycopg2.extras.execute_values(cursor, "INSERT INTO client_psycopg_old VALUES %s", [(key, "values") for key in range(15)])
			cursor.copy_expert("COPY client_psycopg_old FROM STDIN", io.StringIO("".join("%d\told\n" % key for key in range(15, 30))))
			psycopg2.extras.execute_batch(cursor, "UPDATE client_psycopg_old SET what = %s WHERE id = %s", [("batch", key) for key in range(30)])
	finally:
		connection.close()


def main():
	again(lambda connection: connection.execute("""
		CREATE TABLE IF NOT EXISTS client_psycopg_copied (id int PRIMARY KEY, what text);
		CREATE TABLE IF NOT EXISTS client_psycopg_old (id int PRIMARY KEY, what text);
		CREATE TABLE IF NOT EXISTS client_psycopg_types (%s)""" % ", ".join("%s %s" % column for column in TYPES.items())))
	again(copies)
	for number in client.units():
		random.choice((unit, unit_old))(number)
		if number % 10 == 9:
			if number % 20 == 9:
				client.again(lambda: old_bulk(None), lambda error: error.pgcode, psycopg2.Error)
			again((copies, pipeline, savepoints, cursor, types, notifications)[number // 10 % 6])
	print(number + 1)


main()
