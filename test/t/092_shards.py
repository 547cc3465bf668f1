#!/usr/bin/env python3
"""Where tables live: data groups of tables and partitions, on every node alike; tables that become shards, and are tables again; who may do that; dumps."""
import re
import subprocess
import threading

from harness import *
from scenario import *

from cluster import BIN

setup(nodes=3, conf=["nodedb.commit_timeout = 10000"], init_options="data_groups => 3")


def groups(c, *tables):
	"""The groups of these tables, the same on all nodes."""
	c.wait_caught_up()
	seen = {i: [c.value(i, "SELECT nodedb.table_group($1::regclass)", table) for table in tables] for i in c.running()}
	if len(set(map(str, seen.values()))) != 1:
		raise AssertionError("groups differ: %r" % seen)
	return seen[1]


@test
def a_table_is_placed_on_all_nodes(c):
	make(c, "CREATE TABLE here (id int PRIMARY KEY, v text)", "CREATE TABLE stays (id int)", "CREATE SCHEMA \"odd one\"", "CREATE TABLE \"odd one\".\"Tab'le\" (id int)")
	equal(groups(c, "here", "stays"), ["1", "1"])
	c.execute(2, "SELECT nodedb.place_table('here', 3)")
	c.execute(3, """SELECT nodedb.place_table('"odd one"."Tab''le"', 2)""")
	equal(groups(c, "here", "stays", "\"odd one\".\"Tab'le\""), ["3", "1", "2"])
	with c.connect(1) as one:
		one.execute("INSERT INTO here VALUES (1, 'one')")
		one.execute("BEGIN; SELECT nodedb.place_table('here', 2)")
		one.execute("INSERT INTO here VALUES (2, 'two')")
		one.execute("COMMIT")
		one.execute("BEGIN; SELECT nodedb.place_table('here', 1); ROLLBACK")
	equal(groups(c, "here"), ["2"])
	c.execute(3, "ALTER TABLE here RENAME TO there")
	equal(groups(c, "there"), ["2"])
	c.execute(1, "SECURITY LABEL ON TABLE there IS NULL")
	equal(groups(c, "there"), ["1"])
	c.execute(2, "SECURITY LABEL FOR nodedb ON TABLE there IS 'group 3'")
	equal(groups(c, "there"), ["3"])
	same_schema(c)
	same_everywhere(c, "there")
	c.execute(1, "DROP TABLE there")
	same_schema(c)


@test
def partitions_have_groups_of_their_own(c):
	make(c, "CREATE TABLE ranges (k int, v text) PARTITION BY RANGE (k)", "CREATE TABLE low PARTITION OF ranges FOR VALUES FROM (0) TO (10)",
		 "CREATE TABLE high PARTITION OF ranges FOR VALUES FROM (10) TO (20) PARTITION BY LIST (v)", "CREATE TABLE high_x PARTITION OF high DEFAULT")
	c.execute(2, "SELECT nodedb.place_table('ranges', 2)")
	equal(groups(c, "low", "high_x"), ["2", "2"])
	c.execute(3, "SELECT nodedb.place_table('low', 3)")
	equal(groups(c, "low", "high_x"), ["3", "2"])
	equal(groups(c, "ranges"), [None])
	same_schema(c)


@test
def new_tables_get_a_group(c):
	with c.connect(2) as two:
		two.execute("SET nodedb.default_data_group = 2")
		two.execute("CREATE TABLE second (id int PRIMARY KEY); CREATE TABLE filled AS SELECT g AS id FROM generate_series(1, 10) g; SELECT * INTO filled_too FROM filled;"
					" CREATE TABLE local_one (id int) USING heap; CREATE TABLE IF NOT EXISTS second (id int); CREATE TABLE rest (id int) PARTITION BY LIST (id);"
					" CREATE TABLE rest_1 PARTITION OF rest DEFAULT; DROP TABLE local_one")
		two.execute("SET nodedb.default_data_group = 0")
		for n in range(12):
			two.execute("CREATE TABLE spread_%d (id int)" % n)
		two.execute("SET nodedb.default_data_group = 4")
		fails("42704", two.execute, "CREATE TABLE fourth (id int)")
	equal(groups(c, "second", "filled", "filled_too", "rest_1"), ["2"] * 4)
	equal(sorted(set(groups(c, *["spread_%d" % n for n in range(12)]))), ["1", "2", "3"])
	same_everywhere(c, "second", "filled", "filled_too")
	same_schema(c)


@test
def who_may_place_what(c):
	make(c, "CREATE ROLE keeper", "CREATE ROLE other", "CREATE TABLE kept (id int)", "ALTER TABLE kept OWNER TO keeper", "CREATE VIEW seen AS SELECT * FROM kept",
		 "CREATE TABLE plain (id int) USING heap", "GRANT ALL ON kept TO other")
	fails("42704", c.execute, 1, "SELECT nodedb.place_table('kept', 4)")
	fails("22023", c.execute, 1, "SELECT nodedb.place_table('kept', 0)")
	fails("42809", c.execute, 1, "SELECT nodedb.place_table('plain', 2)")
	fails("42809", c.execute, 1, "SELECT nodedb.place_table('seen', 2)")
	fails("42809", c.execute, 1, "SECURITY LABEL ON TABLE plain IS 'group 2'")
	fails("42809", c.execute, 1, "SECURITY LABEL ON VIEW seen IS 'group 2'")
	fails("42809", c.execute, 1, "SECURITY LABEL ON COLUMN kept.id IS 'group 2'")
	fails("42P01", c.execute, 1, "SECURITY LABEL ON TABLE nowhere IS 'group 2'")
	fails("22023", c.execute, 1, "SECURITY LABEL ON TABLE kept IS 'local'")
	fails("22023", c.execute, 1, "SECURITY LABEL ON TABLE kept IS 'group x'")
	fails("0A000", c.execute, 1, "SELECT nodedb.place_table('nodedb.sequences', 2)")
	with c.connect(2) as two:
		two.execute("SET ROLE other")
		fails("42501", two.execute, "SELECT nodedb.place_table('kept', 2)")
		two.execute("SET ROLE keeper")
		two.execute("SELECT nodedb.place_table('kept', 2)")
		two.execute("RESET ROLE; SET nodedb.replicate_ddl = off")
		fails("0A000", two.execute, "SELECT nodedb.place_table('kept', 3)")
		two.execute("SET nodedb.replicate_ddl = on; SET default_transaction_read_only = on")
		fails("25006", two.execute, "SELECT nodedb.place_table('kept', 3)")
	equal(groups(c, "kept"), ["2"])
	c.execute(1, "DROP TABLE plain")
	same_schema(c)


@test
def who_uses_the_table_is_waited_for(c):
	"""A transaction that has read or changed a table ends before its group changes: on its own node it is waited for, elsewhere it gives way."""
	make(c, "CREATE TABLE used (id int PRIMARY KEY)", "INSERT INTO used SELECT generate_series(1, 3)")
	with Session(c, 1) as reader, Session(c, 1) as mover, Session(c, 2) as elsewhere:
		reader.execute("BEGIN; SELECT * FROM used")
		mover.start("SELECT nodedb.place_table('used', 2)")
		poll("the schema change waits for the reader", lambda: c.value(1, "SELECT count(*) FROM pg_locks WHERE pid = %d AND NOT granted" % mover.pid) != "0")
		reader.execute("COMMIT")
		equal(mover.end(), "ok")
		elsewhere.execute("BEGIN; SELECT * FROM used; INSERT INTO used VALUES (10)")
		equal(mover.start("SELECT nodedb.place_table('used', 3)").end(), "ok")
		fails("40001", elsewhere.execute, "COMMIT")
	equal(groups(c, "used"), ["3"])
	same_everywhere(c, "used")


@test
def a_schema_change_reserves_in_each_group(c):
	"""While one is open, who writes to its table elsewhere loses, in whatever group the table lives; it never does itself."""
	for group in (1, 2, 3):
		make(c, "CREATE TABLE reserved (id int PRIMARY KEY)", "CREATE VIEW through AS SELECT * FROM reserved", "SELECT nodedb.place_table('reserved', %d)" % group)
		for target, command in (("reserved", "ALTER TABLE reserved ADD COLUMN n%d int" % group), ("through", "ALTER VIEW through ALTER COLUMN id SET DEFAULT 5")):
			with c.connect(1) as one, c.connect(2) as two:
				two.execute("SET nodedb.statement_retries = 0")
				one.execute("BEGIN; " + command)
				fails("40001", two.execute, "INSERT INTO %s VALUES (%d)" % (target, 10 + group))
				one.execute("COMMIT")
				two.execute("INSERT INTO %s VALUES (%d)" % (target, 10 * group + (target == "through")))
		same_everywhere(c, "reserved")
		c.execute(3, "DROP TABLE reserved CASCADE")


@test
def a_dump_has_the_places(c):
	make(c, "CREATE TABLE dumped (id int PRIMARY KEY)", "SELECT nodedb.place_table('dumped', 3)")
	text = subprocess.run([BIN + "/pg_dump", "-t", "dumped", c.dsn(2)], check=True, stdout=subprocess.PIPE, text=True).stdout
	c.execute(1, "DROP TABLE dumped")
	subprocess.run([BIN + "/psql", "-q", "-v", "ON_ERROR_STOP=1", c.dsn(3)], check=True, input=text, stdout=subprocess.DEVNULL, text=True)
	equal(groups(c, "dumped"), ["3"])


# Everything that PostgreSQL's catalogs say about the tables of a schema, but for numbers of objects and files.
CATALOGS = (
	"SELECT c.oid::regclass, relkind, relam, relpersistence, reloptions, relhasindex, relisshared, relhasrules, relhastriggers, relhassubclass, relrowsecurity, relforcerowsecurity,"
	" relispopulated, relreplident, relispartition, relchecks, relnatts, pg_get_expr(relpartbound, c.oid), relacl, relowner, relfilenode = 0, reltoastrelid = 0, reltablespace,"
	" relfrozenxid = 0, relminmxid = 0, pg_get_partkeydef(c.oid) FROM pg_class c WHERE relnamespace = $1::regnamespace",
	"SELECT a.attrelid::regclass, attname, atttypid::regtype, attstattarget, attlen, attnum, atttypmod, attnotnull, atthasdef, attidentity, attgenerated, attisdropped,"
	" attislocal, attinhcount, attcollation, attstorage, attcompression FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid"
	" WHERE relnamespace = $1::regnamespace AND attnum > 0",
	"SELECT indexrelid::regclass, indisunique, indisprimary, indisexclusion, indimmediate, indisclustered, indisvalid, indcheckxmin, indisready, indislive, indisreplident,"
	" pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = $1::regnamespace",
	"SELECT k.conrelid::regclass, k.conname, k.contype, k.condeferrable, k.condeferred, k.convalidated, k.conindid::regclass, p.conname, p.conrelid::regclass, k.confrelid::regclass,"
	" k.conislocal, k.coninhcount, k.connoinherit, pg_get_constraintdef(k.oid) FROM pg_constraint k LEFT JOIN pg_constraint p ON p.oid = k.conparentid"
	" WHERE k.connamespace = $1::regnamespace",
	"SELECT t.tgrelid::regclass, CASE WHEN t.tgisinternal THEN '' ELSE t.tgname END, p.tgrelid::regclass, t.tgfoid::regproc, t.tgtype, t.tgenabled, t.tgisinternal, t.tgconstrrelid::regclass,"
	" t.tgconstrindid::regclass, k.conname, k.conrelid::regclass, k.confrelid::regclass, t.tgdeferrable FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
	" LEFT JOIN pg_trigger p ON p.oid = t.tgparentid LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint WHERE c.relnamespace = $1::regnamespace",
	"SELECT inhrelid::regclass, inhparent::regclass, inhseqno, inhdetachpending FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE relnamespace = $1::regnamespace",
	"SELECT pg_describe_object(classid, objid, objsubid), pg_describe_object(refclassid, refobjid, refobjsubid), deptype FROM pg_depend"
	" WHERE classid <> 'pg_type'::regclass AND (pg_identify_object(classid, objid, 0)).schema IS NOT DISTINCT FROM $1"
	" OR classid IN ('pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_rewrite'::regclass) AND pg_describe_object(classid, objid, objsubid) LIKE '%' || $1 || '.%'",
)


def catalogs(c, i, schema):
	"""As sets of texts; constraint triggers of PostgreSQL's own have a number in their name."""
	with c.connect(i) as connection:
		connection.execute("SET search_path = ''")
		return [sorted(re.sub(r'(RI_ConstraintTrigger_[ac]_|pg_toast_)\d+', r'\1N', "|".join("" if x is None else x for x in row)).replace(schema + ".", "S.").replace("schema " + schema, "schema S")
					   for row in connection.execute(query, schema)) for query in CATALOGS]


def same_catalogs(one, other):
	for a, b in zip(one, other):
		if a != b:
			raise AssertionError("catalogs differ:\n%s\n--\n%s" % ("\n".join(x for x in a if x not in b), "\n".join(x for x in b if x not in a)))


# Two tables, and all that can hang on them; the second, when it is partitioned from the beginning, with `by` and partitions.
def everything(c, schema, by="", parts=0):
	for role in ("keeper", "other"):
		if c.value(1, "SELECT count(*) FROM pg_roles WHERE rolname = $1", role) == "0":
			c.execute(1, "CREATE ROLE " + role)
	make(c, *[command.replace("@", schema).replace("#", by) for command in (
		"CREATE SCHEMA @", "GRANT ALL ON SCHEMA @ TO keeper, other", "CREATE TABLE @.parent (k int PRIMARY KEY, v text)", "CREATE FUNCTION @.note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
		"CREATE TABLE @.main (id bigserial, n int GENERATED BY DEFAULT AS IDENTITY, gone text, p int CONSTRAINT to_parent REFERENCES @.parent ON DELETE SET NULL DEFERRABLE,"
		" t text COLLATE \"C\" DEFAULT 'x' CHECK (t <> ''), g int GENERATED ALWAYS AS (length(t)) STORED, up bigint, big text, PRIMARY KEY (id), UNIQUE (n, id) INCLUDE (t),"
		" FOREIGN KEY (up) REFERENCES @.main) #",
		"ALTER TABLE @.main DROP COLUMN gone", "CREATE INDEX lower_t ON @.main (lower(t), id) WHERE n > 0", "CREATE INDEX hash_t ON @.main USING hash (t)",
		"CREATE UNIQUE INDEX by_identity ON @.main (id DESC)", "ALTER TABLE @.main REPLICA IDENTITY USING INDEX by_identity",
		"CREATE TABLE @.child (id bigint REFERENCES @.main ON DELETE CASCADE ON UPDATE CASCADE, what text)",
		"CREATE VIEW @.seen AS SELECT id, t FROM @.main", "CREATE RULE quiet AS ON DELETE TO @.main WHERE old.id < 0 DO INSTEAD NOTHING",
		"CREATE TRIGGER each AFTER INSERT OR UPDATE ON @.main FOR EACH ROW EXECUTE FUNCTION @.note()",
		"CREATE TRIGGER before BEFORE UPDATE OF t ON @.main FOR EACH ROW WHEN (new.t > '') EXECUTE FUNCTION @.note()",
		"CREATE TRIGGER once AFTER DELETE ON @.main REFERENCING OLD TABLE AS old EXECUTE FUNCTION @.note()",
		"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON @.main DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION @.note()",
		"ALTER TABLE @.main DISABLE TRIGGER before, ENABLE ALWAYS TRIGGER each, ALTER COLUMN t SET STATISTICS 77, ALTER COLUMN big SET STORAGE EXTERNAL",
		"CREATE STATISTICS @.both ON n, p FROM @.main", "ALTER TABLE @.main ENABLE ROW LEVEL SECURITY",
		"CREATE POLICY mine ON @.main USING (t <> 'secret')", "GRANT SELECT ON @.main TO keeper", "GRANT UPDATE (t) ON @.main TO other", "ALTER TABLE @.main OWNER TO keeper",
		"COMMENT ON TABLE @.main IS 'the main table'", "COMMENT ON COLUMN @.main.t IS 'text'", "COMMENT ON CONSTRAINT main_pkey ON @.main IS 'key'")
		+ tuple("CREATE TABLE @.main_%d PARTITION OF @.main FOR VALUES WITH (MODULUS %d, REMAINDER %d) USING nodedb WITH (fillfactor = '70', toast.autovacuum_enabled = 'false')"
				% (i, parts, i) for i in range(parts))
		+ tuple("ALTER TABLE @.main_%d OWNER TO keeper" % i for i in range(parts)) + ("ALTER TABLE @.main ALTER COLUMN t SET STATISTICS 77",)
		+ (("ALTER TABLE @.main SET (fillfactor = 70, toast.autovacuum_enabled = false)",) if parts == 0 else ())])


def fill(c, schema):
	for command in ("INSERT INTO {0}.parent SELECT g, 'p' || g FROM generate_series(1, 20) g",
					"INSERT INTO {0}.main (p, t, big) SELECT g % 20 + 1, 't' || g, repeat(md5(g::text), CASE WHEN g % 10 = 0 THEN 300 ELSE 1 END) FROM generate_series(1, 200) g",
					"UPDATE {0}.main SET up = id / 2 + 1", "ALTER TABLE {0}.main ADD COLUMN added int DEFAULT 42", "INSERT INTO {0}.child SELECT id, 'c' || id FROM {0}.main WHERE id % 3 = 0"):
		c.execute(2, command.format(schema))


# From which size on the rows are copied before the table is locked.
BESIDE_WRITERS, UNDER_LOCK = "0", "1GB"


def run(c, i, size, sql):
	with c.connect(i) as connection:
		connection.execute("SET nodedb.shard_online_size = '%s'" % size)
		connection.execute(sql)


@test
def a_table_becomes_what_native_partitions_are(c):
	"""Everything in the catalogs is as if the table had been partitioned from the beginning; and as it was before, when it is one table again."""
	everything(c, "native", "PARTITION BY HASH (id)", 4)
	for shard, index in c.execute(1, "SELECT i.indrelid::regclass, relname FROM pg_inherits JOIN pg_index i ON indexrelid = inhrelid JOIN pg_class x ON x.oid = inhrelid"
								  " WHERE inhparent = 'native.by_identity'::regclass"):
		make(c, "ALTER TABLE %s REPLICA IDENTITY USING INDEX %s" % (shard, index))		# PostgreSQL does not hand it down
	everything(c, "turned")
	fill(c, "native")
	fill(c, "turned")
	c.wait_caught_up()
	before = {i: catalogs(c, i, "turned") for i in c}
	rows = [c.digest(1, "turned." + t) for t in ("main", "child")]
	run(c, 1, UNDER_LOCK, "SELECT nodedb.create_distributed_table('turned.main', 'id', 4)")
	c.wait_caught_up()
	for i in c:
		same_catalogs(catalogs(c, i, "turned"), catalogs(c, i, "native"))
	run(c, 1, UNDER_LOCK, "SELECT nodedb.undistribute_table('turned.main')")
	c.wait_caught_up()
	for i in c:
		same_catalogs(catalogs(c, i, "turned"), before[i])
	run(c, 1, BESIDE_WRITERS, "SELECT nodedb.create_distributed_table('turned.main', 'id', 4)")
	c.wait_caught_up()
	for i in c:
		same_catalogs(catalogs(c, i, "turned"), catalogs(c, i, "native"))
		equal([c.digest(i, "turned." + t) for t in ("main", "child")], rows)
		for shard in range(4):
			equal(c.digest(i, "turned.main_%d" % shard)[0], c.digest(i, "native.main_%d" % shard)[0], "rows of shard %d" % shard)
	for sql in ("UPDATE {0}.main SET t = t || 'y', id = id + 1000 WHERE id % 7 = 0 AND id > 102", "DELETE FROM {0}.main WHERE id % 11 = 0 AND id > 102", "DELETE FROM {0}.parent WHERE k = 3",
				"INSERT INTO {0}.seen VALUES (5000, 'seen')"):
		for schema in ("native", "turned"):
			c.execute(3, sql.format(schema))
	for schema in ("native", "turned"):
		fails("23503", c.execute, 2, "INSERT INTO %s.child VALUES (99999)" % schema)
		fails("23503", c.execute, 2, "INSERT INTO %s.main (p) VALUES (99)" % schema)
		fails("23505", c.execute, 2, "INSERT INTO %s.main (id) VALUES (1)" % schema)
		fails("23514", c.execute, 2, "INSERT INTO %s.main (t) VALUES ('')" % schema)
	equal([c.digest(1, "turned." + t) for t in ("main", "child", "parent")], [c.digest(1, "native." + t) for t in ("main", "child", "parent")])
	same_everywhere(c, "turned.main", "turned.child", "native.main", *["turned.main_%d" % i for i in range(4)])
	run(c, 3, UNDER_LOCK, "SELECT nodedb.change_shard_count('turned.main', 7)")
	run(c, 2, BESIDE_WRITERS, "SELECT nodedb.change_shard_count('turned.main', 4)")
	c.wait_caught_up()
	for i in c:
		same_catalogs(catalogs(c, i, "turned"), catalogs(c, i, "native"))
	rows = c.digest(1, "turned.main")
	run(c, 2, BESIDE_WRITERS, "SELECT nodedb.undistribute_table('turned.main')")
	c.wait_caught_up()
	for i in c:
		same_catalogs(catalogs(c, i, "turned"), before[i])
		equal(c.digest(i, "turned.main"), rows)
	fails("23503", c.execute, 2, "INSERT INTO turned.child VALUES (99999)")
	fails("23505", c.execute, 1, "INSERT INTO turned.main (id) VALUES (1)")
	same_everywhere(c, "turned.main", "turned.child")
	same_schema(c)


@test
def statements_find_their_shards(c):
	"""Pruning, ON CONFLICT, COPY, rows that move between shards, joins of colocated tables, foreign keys with the column."""
	make(c, "CREATE TABLE account (tenant text, id int, balance int, PRIMARY KEY (tenant, id))", "CREATE TABLE entry (tenant text, account int, n int, amount int,"
		 " PRIMARY KEY (tenant, account, n), FOREIGN KEY (tenant, account) REFERENCES account ON DELETE CASCADE)",
		 "INSERT INTO account SELECT 't' || g % 30, g, 100 FROM generate_series(1, 300) g", "INSERT INTO entry SELECT tenant, id, 1, 10 FROM account",
		 "SELECT nodedb.create_distributed_table('account', 'tenant', 6)", "SELECT nodedb.create_distributed_table('entry', 'tenant', colocate_with => 'account')")
	equal(c.execute(2, "SELECT a.shard, a.group_id, e.group_id FROM nodedb.shards a JOIN nodedb.shards e USING (shard) WHERE a.table_name = 'account'::regclass"
					" AND e.table_name = 'entry'::regclass ORDER BY 1"), [(str(i), str(i % 3 + 1), str(i % 3 + 1)) for i in range(6)])
	for i in c:
		plan = "\n".join(row[0] for row in c.execute(i, "EXPLAIN (COSTS OFF) SELECT * FROM account WHERE tenant = 't7' AND id = 7"))
		equal((plan.count(" on account_"), "Append" in plan), (1, False), plan)
		with c.connect(i) as one:
			one.execute("SET enable_partitionwise_join = on; SET enable_nestloop = off; SET enable_mergejoin = off")
			plan = "\n".join(row[0] for row in one.execute("EXPLAIN (COSTS OFF) SELECT * FROM account JOIN entry USING (tenant)"))
			equal(plan.count("Hash Join"), 6, plan)
	c.execute(3, "INSERT INTO account VALUES ('t1', 1, 5), ('t2', 2, 5), ('new', 1, 5) ON CONFLICT (tenant, id) DO UPDATE SET balance = account.balance + excluded.balance")
	equal(c.value(1, "SELECT string_agg(balance::text, ' ' ORDER BY tenant) FROM account WHERE (tenant, id) IN (('t1', 1), ('t2', 2), ('new', 1))"), "5 105 105")
	subprocess.run([BIN + "/psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", "\\copy account from stdin", c.dsn(2)], check=True, text=True,
				   input="".join("copied%d\t%d\t1\n" % (n, n) for n in range(100)))
	equal(c.value(3, "SELECT count(DISTINCT tableoid) FROM account WHERE tenant LIKE 'copied%'"), "6")
	c.execute(2, "UPDATE account SET tenant = 'moved' || id WHERE tenant LIKE 'copied%'")
	equal(c.value(1, "SELECT count(*) || ' ' || count(DISTINCT tableoid) FROM account WHERE tenant LIKE 'moved%'"), "100 6")
	fails("23503", c.execute, 1, "INSERT INTO entry VALUES ('t1', 2, 1, 1)")
	fails("23503", c.execute, 1, "UPDATE account SET tenant = 'gone' WHERE tenant = 't5'")
	c.execute(1, "DELETE FROM account WHERE tenant = 't5'")
	equal(c.value(3, "SELECT count(*) FROM entry WHERE tenant = 't5'"), "0")
	c.execute(2, "TRUNCATE entry")
	same_everywhere(c, "account", "entry", *["account_%d" % i for i in range(6)])
	same_schema(c)


@test
def what_partitions_cannot_keep_is_refused(c):
	make(c, "CREATE TYPE mood AS ENUM ('good', 'bad')", "CREATE TABLE no (id int PRIMARY KEY, n int UNIQUE, m mood, j json, g int GENERATED ALWAYS AS (id * 2) STORED, p point)",
		 "INSERT INTO no SELECT g, g FROM generate_series(1, 100) g", "CREATE TABLE free (id int, m mood, j json, g int GENERATED ALWAYS AS (id * 2) STORED, a mood[])",
		 "CREATE TABLE mother (id int)", "CREATE TABLE daughter () INHERITS (mother)", "CREATE TABLE ranged (id int) PARTITION BY RANGE (id)",
		 "CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (10)", "CREATE TABLE taken (id int)", "CREATE TABLE taken_1 (id int)",
		 "CREATE TABLE excl (id int, r int4range, EXCLUDE USING gist (r WITH &&))", "CREATE TABLE inherits (id int CHECK (id > 0) NO INHERIT)",
		 "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", "CREATE TABLE trans (id int)",
		 "CREATE TRIGGER t AFTER INSERT ON trans REFERENCING NEW TABLE AS new FOR EACH ROW EXECUTE FUNCTION nothing()",
		 "CREATE TABLE unchecked (id int, f int)", "ALTER TABLE unchecked ADD FOREIGN KEY (f) REFERENCES no (id) NOT VALID", "CREATE TABLE other_type (id text)",
		 "CREATE TABLE four (id int)", "SELECT nodedb.create_distributed_table('four', 'id', 4)", "CREATE VIEW on_four AS SELECT * FROM four_1")
	before = dump(c, 1)

	def refused(sqlstate, arguments, what=None):
		error = fails(sqlstate, c.execute, 2, "SELECT nodedb.create_distributed_table(%s)" % arguments)
		if what and what not in str(error):
			raise AssertionError("%r says not %r" % (str(error), what))

	refused("0A000", "'no', 'id'", "no_n_key")
	refused("0A000", "'no', 'n'", "no_pkey")
	refused("0A000", "'free', 'm'", "differs from node to node")
	refused("0A000", "'free', 'a'", "differs from node to node")
	refused("0A000", "'free', 'j'", "has no hash")
	refused("0A000", "'free', 'g'", "generated")
	refused("42703", "'free', 'nothere'")
	refused("42703", "'free', 'ctid'")
	refused("0A000", "'mother', 'id'")
	refused("0A000", "'daughter', 'id'")
	refused("42809", "'ranged', 'id'")
	refused("0A000", "'ranged_1', 'id'")
	refused("42P07", "'taken', 'id', 2", "taken_1")
	refused("0A000", "'excl', 'id'")
	refused("0A000", "'inherits', 'id'")
	refused("0A000", "'trans', 'id'")
	refused("0A000", "'unchecked', 'id'")
	refused("0A000", "'nodedb.sequences', 'name'")
	refused("22023", "'free', 'id', 0")
	refused("22023", "'free', 'id', 100000")
	refused("22023", "'free', 'id', 5, 'four'")
	refused("42804", "'other_type', 'id', colocate_with => 'four'")
	refused("42809", "'free', 'id', colocate_with => 'ranged'")
	refused("42809", "'four', 'id'")
	refused("42809", "'on_four', 'id'")
	refused("22004", "'free', NULL")
	fails("42704", c.execute, 1, "CALL nodedb.shard_table('free', 'id', '{1,7}')")
	fails("22023", c.execute, 1, "CALL nodedb.shard_table('free', 'id', '{}')")
	fails("0A000", c.execute, 1, "CALL nodedb.shard_table('fr' || 'ee', 'id', '{1}')")
	fails("42P01", c.execute, 1, "CALL nodedb.shard_table('nowhere', 'id', '{1}')")
	fails("42809", c.execute, 1, "SELECT nodedb.undistribute_table('free')")
	fails("42809", c.execute, 1, "SELECT nodedb.change_shard_count('ranged', 2)")
	fails("2BP01", c.execute, 1, "SELECT nodedb.undistribute_table('four')")		# the view
	fails("42704", c.execute, 1, "SELECT nodedb.place_table('four', 5)")
	fails("0A000", c.execute, 3, "CREATE TABLE by_mood (m mood) PARTITION BY HASH (m)")
	with c.connect(3) as three:
		three.execute("SET ROLE pg_monitor")
		fails("42501", three.execute, "SELECT nodedb.create_distributed_table('free', 'id')")
		fails("42501", three.execute, "CALL nodedb.shard_table('free', 'id', '{1}')")
		fails("42501", three.execute, "SELECT nodedb.undistribute_table('four')")
		three.execute("RESET ROLE; SET nodedb.replicate_ddl = off")
		fails("0A000", three.execute, "SELECT nodedb.create_distributed_table('free', 'id')")
	equal(dump(c, 1), before)
	same_schema(c)
	same_everywhere(c, "no", "four")


@test
def in_transactions(c):
	make(c, "CREATE TABLE within (id int PRIMARY KEY, v text)", "INSERT INTO within SELECT g, 'v' || g FROM generate_series(1, 100) g")
	before = dump(c, 1)
	rows = c.digest(1, "within")
	with c.connect(2) as two:
		two.execute("BEGIN; SELECT nodedb.create_distributed_table('within', 'id', 3); INSERT INTO within VALUES (0, 'x'); ROLLBACK")
		equal((dump(c, 2), c.digest(2, "within")), (before, rows))
		two.execute("BEGIN; INSERT INTO within VALUES (101, 'before'); UPDATE within SET v = 'changed' WHERE id = 5; DELETE FROM within WHERE id = 6; SAVEPOINT s;"
					" SELECT nodedb.create_distributed_table('within', 'id', 3); INSERT INTO within VALUES (102, 'undone'); ROLLBACK TO s;"
					" ALTER TABLE within ADD COLUMN n int DEFAULT 1; SELECT nodedb.create_distributed_table('within', 'id', 5); INSERT INTO within VALUES (103, 'after', 2);"
					" ALTER TABLE within ADD CHECK (n > 0); COMMIT")
	equal(c.value(3, "SELECT count(*) || ' ' || sum(n) || ' ' || count(DISTINCT tableoid) FROM within"), "101 102 5")
	same_everywhere(c, "within", *["within_%d" % i for i in range(5)])
	with c.connect(1) as one:
		fails("55006", one.execute, "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM within LOOP PERFORM nodedb.undistribute_table('within'); END LOOP; END $$")
		one.execute("CREATE FUNCTION spread() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM nodedb.change_shard_count('within', 2); END $$; SELECT spread()")
	same_everywhere(c, "within", "within_0", "within_1")
	same_schema(c)


@test
def writers_and_absent_nodes(c):
	"""Rows that others commit meanwhile are in the shards; a node that was away does it when it is back."""
	make(c, "CREATE TABLE busy (id int PRIMARY KEY, node int)")
	acknowledged = {}

	def write(i):
		acknowledged[i] = 0
		with c.connect(i) as connection:
			for n in range(2000):
				try:
					connection.execute("INSERT INTO busy VALUES (%d, %d)" % (i * 100000 + n, i))
					acknowledged[i] += 1
				except Error as error:
					if error.sqlstate != "40001":
						raise
				if stop.is_set():
					return

	for step in range(3):
		stop = threading.Event()
		threads = [threading.Thread(target=write, args=(i,)) for i in (1, 2)]
		c.execute(1, "TRUNCATE busy")
		for thread in threads:
			thread.start()
		poll("rows", lambda: int(c.value(3, "SELECT count(*) FROM busy")) > 20)
		c.execute(3, ("SELECT nodedb.create_distributed_table('busy', 'id', 4)", "SELECT nodedb.change_shard_count('busy', 6)", "SELECT nodedb.undistribute_table('busy')")[step])
		seen = int(c.value(3, "SELECT count(*) FROM busy"))
		poll("more rows", lambda: int(c.value(3, "SELECT count(*) FROM busy")) > seen + 20)
		stop.set()
		for thread in threads:
			thread.join()
		for i in (1, 2):
			equal(c.value(3, "SELECT count(*) FROM busy WHERE node = %d" % i), str(acknowledged[i]))
		same_everywhere(c, "busy")
	c.kill(3)
	c.execute(1, "SELECT nodedb.create_distributed_table('busy', 'id', 4)")
	c.execute(2, "INSERT INTO busy SELECT g, 0 FROM generate_series(1, 100) g")
	c.start(3)
	same_everywhere(c, "busy", *["busy_%d" % i for i in range(4)])
	same_schema(c)


@test
def a_dump_has_the_shards(c):
	"""Restored into another cluster the table is distributed as it was."""
	make(c, "CREATE SCHEMA sales", "CREATE TABLE sales.big (id bigserial PRIMARY KEY, v text)", "CREATE TABLE sales.small (id bigint REFERENCES sales.big, n int)",
		 "INSERT INTO sales.big (v) SELECT 'v' || g FROM generate_series(1, 500) g", "INSERT INTO sales.small SELECT id, 1 FROM sales.big WHERE id % 2 = 0",
		 "SELECT nodedb.create_distributed_table('sales.big', 'id', 6)", "SELECT nodedb.create_distributed_table('sales.small', 'id', colocate_with => 'sales.big')")
	text = subprocess.run([BIN + "/pg_dump", "-n", "sales", c.dsn(2)], check=True, stdout=subprocess.PIPE, text=True).stdout
	shards = "SELECT table_name, shard, shard_name, group_id FROM nodedb.shards WHERE table_name::text LIKE 'sales.%' ORDER BY 1, 2"
	with Cluster(nodes=1, init_options="data_groups => 3") as other:
		subprocess.run([BIN + "/psql", "-q", "-v", "ON_ERROR_STOP=1", other.dsn(1)], check=True, input=text, stdout=subprocess.DEVNULL, text=True)
		equal(other.execute(1, shards), c.execute(1, shards))
		for table in ("sales.big", "sales.small", "sales.big_3"):
			equal(other.digest(1, table), c.digest(1, table))
		other.execute(1, "SELECT nodedb.change_shard_count('sales.big', 2)")
		equal(other.digest(1, "sales.big"), c.digest(1, "sales.big"))


@test
def what_was_spread_survives_a_crash(c):
	"""Also with wal_level = minimal, where PostgreSQL writes no WAL for files that the transaction has made."""
	with Cluster(nodes=1, conf=["wal_level = minimal", "max_wal_senders = 0"], init_options="data_groups => 2") as one:
		one.execute(1, "CREATE TABLE crashed (id int PRIMARY KEY, gone int, v text)")
		one.execute(1, "INSERT INTO crashed SELECT g, g, repeat(md5(g::text), CASE WHEN g % 100 = 0 THEN 300 ELSE 1 END) FROM generate_series(1, 2000) g")
		one.execute(1, "ALTER TABLE crashed DROP COLUMN gone, ADD COLUMN late int DEFAULT 5")
		rows = one.digest(1, "crashed")
		for size, command in ((size, command) for size in (BESIDE_WRITERS, UNDER_LOCK) for command in (
				"create_distributed_table('crashed', 'id', 4)", "change_shard_count('crashed', 3)", "undistribute_table('crashed')")):
			one.execute(1, "CHECKPOINT")
			run(one, 1, size, "SELECT nodedb." + command)
			one.kill(1)
			one.start(1)
			one.wait_caught_up()
			equal(one.digest(1, "crashed"), rows, command)
			equal(one.value(1, "SELECT late FROM crashed WHERE id = 77"), "5")
			one.execute(1, "UPDATE crashed SET v = v WHERE id % 10 = 0")
			rows = one.digest(1, "crashed")


main()
