"""operations: what a transaction of the workload may do: each function gives SQL commands for one random choice.

Values come from small ranges, so that sessions meet in the same rows and values all the time.
"""

KEYS = 60


def quote(text):
	return "'%s'" % str(text).replace("'", "''")


def or_null(rng, text):
	return "NULL" if rng.random() < 0.15 else text


def word(rng, most=12):
	return "".join(rng.choice("abcdeäöß E'\\\"") for _ in range(rng.randint(0, most)))


VALUES = {
	"num": lambda rng: rng.choice(["%d.%0*d" % (rng.randint(-99, 99), rng.randint(1, 6), rng.randint(0, 9)), "'NaN'", "'Infinity'", "1e%d" % rng.randint(-20, 20)]),
	"num2": lambda rng: "%d.%03d" % (rng.randint(-5, 5), rng.randint(0, 3)),
	"f": lambda rng: rng.choice(["'-0'", "'NaN'", repr(rng.random()), "1e-300"]),
	"t": lambda rng: quote(word(rng)),
	"tc": lambda rng: quote(word(rng)),
	"ci": lambda rng: quote("Ci %s%d" % (rng.choice("aAbB"), rng.randint(0, 40))),
	"u": lambda rng: quote("%032x" % rng.getrandbits(128)),
	"j": lambda rng: quote('{"k": [%d, null, "x%d"], "z": {"%d": 1.50}}' % (rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 9))),
	"ia": lambda rng: "ARRAY[%s]::int[]" % ", ".join(or_null(rng, str(rng.randint(0, 9))) for _ in range(rng.randint(0, 4))),
	"ta": lambda rng: "ARRAY[%s]::text[]" % ", ".join(quote(word(rng)) for _ in range(rng.randint(0, 3))),
	"r": lambda rng: quote("[%d,%d)" % (rng.randint(0, 9), rng.randint(9, 19))),
	"tr": lambda rng: rng.choice(["'empty'", "'[2020-01-01 00:00+02,)'", "'(,2021-06-01 12:00:00.123456-05]'"]),
	"m": lambda rng: quote(rng.choice(["sad", "ok", "happy"])),
	"ms": lambda rng: rng.choice(["'{}'", "'{sad,NULL,happy}'", "'{ok}'"]),
	"p": lambda rng: str(rng.randint(1, 4)),
	"pr": lambda rng: "ROW(%d, %s)::pair" % (rng.randint(0, 9), or_null(rng, quote(word(rng)))),
	"by": lambda rng: "decode('%s', 'hex')" % ("%016x" % rng.getrandbits(64)),
	"ts": lambda rng: quote("2024-%02d-%02d %02d:00:00.%06d+%02d" % (rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 999999), rng.randint(0, 12))),
	"d": lambda rng: rng.choice(["'infinity'", "'0044-03-15 BC'", "'2024-02-29'"]),
	"iv": lambda rng: quote("%d months %d days %d.5 s" % (rng.randint(-9, 9), rng.randint(-40, 40), rng.randint(0, 99))),
	"ip": lambda rng: quote(rng.choice(["10.0.0.1/8", "::1", "fe80::%x/64" % rng.randint(0, 99)])),
	"bt": lambda rng: "B'%s'" % format(rng.randint(0, 255), "08b"),
	"b": lambda rng: rng.choice(["true", "false"]),
	"big": lambda rng: "repeat(%s, %d)" % (quote("%x" % rng.getrandbits(64)), rng.randint(100, 1500)),
	"big2": lambda rng: "decode(repeat('%016x', %d), 'hex')" % (rng.getrandbits(64), rng.randint(1, 1200)),
}


def types_insert(rng, key):
	columns = rng.sample(sorted(VALUES), rng.randint(5, len(VALUES)))
	return "INSERT INTO types (id, %s) VALUES (%d, %s)" % (", ".join(columns), key, ", ".join(or_null(rng, VALUES[column](rng)) for column in columns))


def types(rng):
	key = rng.randint(1, KEYS)
	columns = rng.sample(sorted(VALUES), rng.randint(1, 4))
	changes = ", ".join("%s = %s" % (column, or_null(rng, VALUES[column](rng))) for column in columns)
	return rng.choice([
		lambda: [types_insert(rng, key)],
		lambda: [types_insert(rng, key) + " ON CONFLICT DO NOTHING"],
		lambda: [types_insert(rng, key) + " ON CONFLICT (id) DO UPDATE SET %s" % changes],
		lambda: ["UPDATE types SET %s WHERE id = %d" % (changes, key)],
		lambda: ["UPDATE types SET b = NOT b WHERE id BETWEEN %d AND %d" % (key, key + 3)],
		lambda: ["UPDATE types SET id = %d WHERE id = %d" % (rng.randint(1, KEYS), key)],
		lambda: ["DELETE FROM types WHERE id = %d" % key],
		lambda: ["MERGE INTO types t USING (SELECT %d AS id, %s::text AS t) s ON t.id = s.id WHEN MATCHED AND t.b THEN DELETE"
				 " WHEN MATCHED THEN UPDATE SET t = s.t, b = true WHEN NOT MATCHED THEN INSERT (id, t) VALUES (s.id, s.t)" % (key, quote(word(rng)))],
		lambda: ["SELECT * FROM types WHERE id = %d FOR %s%s" % (key, rng.choice(["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"]), rng.choice(["", " SKIP LOCKED", " NOWAIT"])),
				 "UPDATE types SET %s WHERE id = %d" % (changes, key)],
	])()


def transfer(rng):
	a, b = rng.sample(range(1, 41), 2)
	amount = "%d.%02d" % (rng.randint(0, 9), rng.randint(0, 99))
	lock = ["SELECT balance FROM account WHERE id IN (%d, %d) ORDER BY id FOR UPDATE" % (a, b)] if rng.random() < 0.3 else []
	return lock + ["UPDATE account SET balance = balance - %s WHERE id = %d" % (amount, a), "UPDATE account SET balance = balance + %s WHERE id = %d" % (amount, b)]


def parents(rng):
	a, b = rng.randint(0, 9), rng.randint(0, 6)
	code = quote("code %d" % rng.randint(1, 70))
	return [rng.choice([
		"INSERT INTO parent VALUES (%d, %d, %s)" % (a, b, code),
		"INSERT INTO parent VALUES (%d, %d, %s) ON CONFLICT (a, b) DO UPDATE SET n = parent.n + 1" % (a, b, code),
		"UPDATE parent SET n = n + 1 WHERE a = %d" % a,
		"UPDATE parent SET b = %d WHERE a = %d AND b = %d" % (rng.randint(0, 6), a, b),
		"UPDATE parent SET code = %s WHERE a = %d AND b = %d" % (code, a, b),
		"DELETE FROM parent WHERE a = %d AND b = %d" % (a, b)])]


def children(rng):
	a, b, base = rng.randint(0, 9), rng.randint(0, 6), rng.randint(1, 12)
	code = quote("code %d" % rng.randint(1, 70))
	return [rng.choice([
		"INSERT INTO child (a, b, code, base) VALUES (%d, %d, %s, %d)" % (a, b, or_null(rng, code), base),
		"INSERT INTO child (a, b) SELECT a, b FROM parent WHERE a = %d" % a,
		"INSERT INTO child (code) VALUES (%s)" % code,
		"UPDATE child SET a = %d, b = %d WHERE id = (SELECT max(id) FROM child)" % (a, b),
		"UPDATE child SET base = %d WHERE a = %d" % (base, a),
		"DELETE FROM child WHERE a = %d AND b = %d" % (a, b),
		"DELETE FROM child WHERE id IN (SELECT id FROM child ORDER BY id LIMIT 5)"])]


def bases(rng):
	base = rng.randint(2, 16)
	return [rng.choice([
		"INSERT INTO base VALUES (%d) ON CONFLICT DO NOTHING" % base,
		"DELETE FROM base WHERE id = %d" % base,
		"INSERT INTO strict (base, later) VALUES (%d, %s)" % (base, or_null(rng, str(rng.randint(2, 16)))),
		"DELETE FROM strict WHERE base = %d" % base])]


def trees(rng):
	node = rng.randint(2, 40)
	return [rng.choice([
		"INSERT INTO tree VALUES (%d, %d)" % (node, rng.randint(1, 40)),
		"UPDATE tree SET up = %d WHERE id = %d" % (rng.randint(1, 40), node),
		"DELETE FROM tree WHERE id = %d" % node])]


def places(rng):
	a, b = rng.sample(range(1, 31), 2)
	return [rng.choice([
		"UPDATE place p SET pos = q.pos FROM place q WHERE (p.id, q.id) IN ((%d, %d), (%d, %d))" % (a, b, b, a),
		"UPDATE place SET pos = pos + 1 WHERE id >= %d" % rng.randint(26, 30),
		"UPDATE place SET pos = %d WHERE id = %d" % (rng.randint(1, 40), a)])]


def bookings(rng):
	key, begin = rng.randint(1, 40), rng.randint(0, 60)
	during = quote("[%d,%d)" % (begin, begin + rng.randint(1, 6)))
	return [rng.choice([
		"INSERT INTO booking VALUES (%d, %d, %s)" % (key, rng.randint(1, 3), during),
		"UPDATE booking SET during = %s WHERE id = %d" % (during, key),
		"UPDATE booking SET room = %d WHERE id = %d" % (rng.randint(1, 3), key),
		"DELETE FROM booking WHERE id = %d" % key])]


def parts(rng):
	key = rng.randint(1, 99)
	return [rng.choice([
		"INSERT INTO part VALUES (%d, %d, %s)" % (key, rng.randint(1, 4), quote(word(rng))),
		"UPDATE part SET region = %d WHERE id = %d" % (rng.randint(1, 4), key),
		"UPDATE part SET id = %d WHERE id = %d" % (rng.randint(1, 99), key),
		"UPDATE part SET v = v || '.' WHERE id BETWEEN %d AND %d" % (key, key + 3),
		"DELETE FROM part WHERE id = %d" % key])]


def keyless(rng):
	a = rng.randint(1, 8)
	rows = "".join("%d\\t%s\\t%s\\n" % (rng.randint(1, 8), rng.choice(["1.0", "1.00", "2", "\\\\N"]), rng.choice("xyz")) for _ in range(rng.randint(1, 5)))
	return [rng.choice([
		"INSERT INTO keyless VALUES (%d, %s, %s)" % (a, rng.choice(["1.0", "1.00", "NULL"]), quote(rng.choice("xyz"))),
		"COPY keyless FROM PROGRAM 'printf ''%s'''" % rows.replace("\\\\N", "\\\\N"),
		"UPDATE keyless SET t = %s WHERE a = %d" % (quote(rng.choice("xyz")), a),
		"DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE a = %d)" % a,
		"DELETE FROM keyless WHERE a = %d" % a,
		"INSERT INTO full_identity VALUES (%d, %s)" % (a, quote(rng.choice("xyz"))),
		"UPDATE full_identity SET a = a + 1 WHERE t = %s AND a < 9" % quote(rng.choice("xyz")),
		"DELETE FROM full_identity WHERE a = %d" % a])]


def secured(rng):
	key = rng.randint(1, 30)
	return ["SET LOCAL ROLE %s" % rng.choice(["workload_one", "workload_two"]), rng.choice([
		"INSERT INTO secured (id, v) VALUES (%d, 1) ON CONFLICT DO NOTHING" % key,
		"UPDATE secured SET v = v + 1 WHERE id BETWEEN %d AND %d" % (key, key + 5),
		"DELETE FROM secured WHERE id = %d" % key]), "RESET ROLE"]


def reads(rng):
	return [rng.choice([
		"SELECT count(*), sum(balance) FROM account",
		"SELECT m, count(*) FROM types GROUP BY m",
		"DECLARE c CURSOR FOR SELECT * FROM child; FETCH 3 FROM c; CLOSE c",
		"SELECT * FROM parent p LEFT JOIN child c USING (a, b) WHERE p.a = %d" % rng.randint(0, 9)])]


OPERATIONS = (types, types, types, transfer, parents, children, children, bases, trees, places, bookings, parts, keyless, secured, reads)


# where there are several data groups: tables over shards, by this column; tables and partitions that are in one group
DISTRIBUTED = (("account", "id"), ("keyless", "a"), ("secured", "id"))
PLACED = ("audit", "base", "parent", "child", "strict", "tree", "place", "booking", "types", "part_1", "part_2a", "part_2b", "part_rest", "full_identity", "change")


def ddl(rng, groups):
	n = rng.randint(1, 4)
	if groups > 1 and rng.random() < 0.15:
		return "SELECT nodedb.place_table('%s', %d)" % (rng.choice(PLACED), rng.randint(1, groups))
	return rng.choice([
		"ALTER TABLE types ADD COLUMN IF NOT EXISTS extra%d int DEFAULT %d" % (n, n),
		"ALTER TABLE types DROP COLUMN IF EXISTS extra%d" % n,
		"CREATE INDEX IF NOT EXISTS extra_index%d ON types (%s)" % (n, rng.choice(["p", "lower(tc)", "tr", "b, id"])),
		"DROP INDEX IF EXISTS extra_index%d" % n,
		"CREATE TABLE IF NOT EXISTS extra_table%d (id int PRIMARY KEY, account int REFERENCES account)" % n,
		"DROP TABLE IF EXISTS extra_table%d" % n,
		"TRUNCATE keyless",
		"ALTER TABLE booking DROP CONSTRAINT IF EXISTS few%d, ADD CONSTRAINT few%d CHECK (room < %d) NOT VALID" % (n, n, 90 + n),
		"ALTER TABLE child ALTER note SET DEFAULT 'default %d '" % n,
		"CREATE OR REPLACE VIEW extra_view AS SELECT id, %d AS n FROM types" % n,
		"COMMENT ON TABLE part IS 'changed %d'" % n])
