"""checks: what must hold behind any workload, looked at from scratch on every node."""
import subprocess

import cluster

TABLES = """SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
	AND relam = (SELECT oid FROM pg_am WHERE amname = 'nodedb') ORDER BY 1"""
FOREIGN_KEYS = """SELECT conname, conrelid::regclass::text, confrelid::regclass::text,
		(SELECT string_agg(format('c.%I = p.%I', a.attname, f.attname), ' AND ') FROM unnest(conkey, confkey) AS k (c, p)
			JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = c JOIN pg_attribute f ON f.attrelid = confrelid AND f.attnum = p),
		(SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ') FROM unnest(conkey) AS k (c) JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = c)
	FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"""
UNIQUES = """SELECT indexrelid::regclass::text, indrelid::regclass::text,
		(SELECT string_agg('(' || pg_get_indexdef(indexrelid, k, true) || ')', ', ') FROM generate_series(1, indnkeyatts) k),
		(SELECT string_agg('(' || pg_get_indexdef(indexrelid, k, true) || ') IS NOT NULL', ' AND ') FROM generate_series(1, indnkeyatts) k),
		coalesce(pg_get_expr(indpred, indrelid), 'true'), indnullsnotdistinct
	FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE indisunique AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"""
CHECKS = """SELECT conname, conrelid::regclass::text, pg_get_expr(conbin, conrelid) FROM pg_constraint c JOIN pg_class r ON r.oid = conrelid
	WHERE contype = 'c' AND r.relkind = 'r' AND convalidated"""
INDEXES = """SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_class t ON t.oid = indrelid
	WHERE c.relam = 403 AND c.relkind = 'i' AND t.relnamespace = 'public'::regnamespace AND t.relpersistence = 'p' AND indisvalid"""
# what the schema alone does not say
RULES = (
	("the sum of account", "SELECT count(*) FROM (SELECT sum(balance) AS s FROM account) x WHERE s <> 4000"),
	("overlaps in booking", "SELECT count(*) FROM booking a JOIN booking b ON a.id < b.id AND a.room = b.room AND a.during && b.during"),
	("generated columns", "SELECT count(*) FROM types WHERE gen IS DISTINCT FROM id * 2"),
	("domains", "SELECT count(*) FROM types WHERE p <= 0"),
	("partitions", "SELECT count(*) FROM part WHERE tableoid::regclass::text IS DISTINCT FROM CASE region WHEN 1 THEN 'part_1'"
				   " WHEN 2 THEN CASE WHEN id < 50 THEN 'part_2a' ELSE 'part_2b' END ELSE 'part_rest' END"),
	("changes of parent", "SELECT count(*) FROM (SELECT (SELECT count(*) FROM parent) - sum(CASE op WHEN 'INSERT' THEN 1 ELSE -1 END) AS d FROM change) x WHERE d <> 60"),
)


def dump(server):
	"""The schema as pg_dump writes it, without the lines that differ from run to run."""
	done = subprocess.run([cluster.BIN + "/pg_dump", "-s", server.dsn()], stdout=subprocess.PIPE, text=True, check=True)
	return [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


def on_node(connection):
	"""Broken constraints of one node."""
	broken = []

	def none(what, sql):
		found = connection.value(sql)
		if found != "0":
			broken.append("%s: %s rows (%s)" % (what, found, sql))
	for name, child, parent, equal, present in connection.execute(FOREIGN_KEYS):
		none("foreign key %s" % name, "SELECT count(*) FROM %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)" % (child, present, parent, equal))
	for name, table, keys, present, predicate, nulls in connection.execute(UNIQUES):
		none("unique index %s" % name, "SELECT count(*) FROM (SELECT FROM %s WHERE (%s) AND %s GROUP BY %s HAVING count(*) > 1) x"
			 % (table, predicate, "true" if nulls == "t" else present, keys))
	for name, table, expression in connection.execute(CHECKS):
		none("check %s" % name, "SELECT count(*) FROM %s WHERE NOT (%s)" % (table, expression))
	for what, sql in RULES:
		none(what, sql)
	for index, in connection.execute(INDEXES):
		try:
			connection.execute("SELECT bt_index_parent_check($1::regclass, true, true)", index)
		except Exception as error:
			broken.append("index %s: %s" % (index, error))
	return broken


def check(c, told):
	"""All that is broken; told: transaction -> 'ok', 'refused' or 'open'. Nothing may write any more."""
	broken = []
	c.wait_caught_up()
	nodes = c.running()
	tables = [table for table, in c.execute(nodes[0], TABLES)]
	for table in tables:
		digests = {i: c.digest(i, table) for i in nodes}
		if len(set(digests.values())) != 1:
			broken.append("table %s differs: %r" % (table, digests))
	dumps = {i: dump(c.servers[i]) for i in nodes}
	for i in nodes[1:]:
		if dumps[i] != dumps[nodes[0]]:
			here, there = (set(dumps[n]) for n in (nodes[0], i))
			broken.append("schemas of nodes %d and %d differ: %r" % (nodes[0], i, sorted(here ^ there)[:10]))
	for i in nodes:
		with c.connect(i) as connection:
			connection.execute("SET nodedb.read_consistency = local")
			broken += ["node %d: %s" % (i, what) for what in on_node(connection)]
			there = {txn for txn, in connection.execute("SELECT txn FROM audit")}
		lost = [txn for txn, outcome in told.items() if outcome == "ok" and txn not in there]
		undead = [txn for txn, outcome in told.items() if outcome == "refused" and txn in there]
		unheard = [txn for txn in there if txn not in told]
		for what, which in (("acknowledged transactions are lost", lost), ("refused transactions are there", undead), ("transactions are there that nobody began", unheard)):
			if which:
				broken.append("node %d: %d %s, such as %s" % (i, len(which), what, which[0]))
	return broken
