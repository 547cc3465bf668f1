-- The tables that the workload writes to: every kind of column and constraint that travels between nodes.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);

-- one row per transaction, in the same transaction
CREATE TABLE audit (txn text PRIMARY KEY);

-- the sum never changes
CREATE TABLE account (id int PRIMARY KEY, balance numeric(12, 2) NOT NULL);
INSERT INTO account SELECT g, 100 FROM generate_series(1, 40) g;

-- foreign keys of every action
CREATE TABLE base (id int PRIMARY KEY);
CREATE TABLE parent (a int, b int, code text UNIQUE, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b));
CREATE TABLE child (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int, code text REFERENCES parent (code) ON DELETE SET NULL ON UPDATE CASCADE,
	base int DEFAULT 1 REFERENCES base ON DELETE SET DEFAULT, note text, FOREIGN KEY (a, b) REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE INDEX ON child (a, b);
CREATE TABLE strict (id serial PRIMARY KEY, base int NOT NULL REFERENCES base ON DELETE RESTRICT, later int REFERENCES base DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO base SELECT generate_series(1, 12);
INSERT INTO parent SELECT g % 10, g / 10, 'code ' || g FROM generate_series(1, 60) g;
INSERT INTO tree VALUES (1, NULL);

-- a deferrable unique value, an exclusion constraint
CREATE TABLE place (id int PRIMARY KEY, pos int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO place SELECT g, g FROM generate_series(1, 30) g;
CREATE TABLE booking (id int PRIMARY KEY, room int NOT NULL, during int4range NOT NULL, EXCLUDE USING gist (room WITH =, during WITH &&));

-- types
CREATE TABLE types (id int PRIMARY KEY, num numeric, num2 numeric(12, 3) CHECK (num2 < 1000000), f float8, t text, tc text COLLATE "C", ci citext, u uuid, j jsonb,
	ia int[], ta text[], r int4range, tr tstzrange, m mood, ms mood[], p positive, pr pair, by bytea, ts timestamptz, d date, iv interval, ip inet, bt bit(8), b boolean,
	big text, big2 bytea, gen bigint GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE types ALTER big SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX types_lower ON types (lower(t)) WHERE id % 3 = 0;
CREATE UNIQUE INDEX types_distinct ON types (num2, p) NULLS NOT DISTINCT WHERE id % 5 = 0;
CREATE UNIQUE INDEX types_ci ON types (ci);
CREATE INDEX types_mood ON types (m, ts) INCLUDE (d);
CREATE INDEX types_gin ON types USING gin (j);
CREATE INDEX types_gist ON types USING gist (r);
CREATE INDEX types_hash ON types USING hash (u);
CREATE INDEX types_brin ON types USING brin (ts);

-- rows that move between partitions; no key at all; triggers; row security
CREATE TABLE part (id int, region int, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE part_2a PARTITION OF part_2 FOR VALUES FROM (MINVALUE) TO (50);
CREATE TABLE part_2b PARTITION OF part_2 FOR VALUES FROM (50) TO (MAXVALUE);
CREATE TABLE part_rest PARTITION OF part DEFAULT;
CREATE TABLE keyless (a int, b numeric, t text);
CREATE TABLE full_identity (a int, t text);
ALTER TABLE full_identity REPLICA IDENTITY FULL;
CREATE TABLE change (id bigserial PRIMARY KEY, op text NOT NULL);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO change (op) VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER noted AFTER INSERT OR DELETE ON parent FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, '') || TG_OP || ' '; RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE INSERT OR UPDATE ON child FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE ROLE workload_one;
CREATE ROLE workload_two;
CREATE TABLE secured (id int PRIMARY KEY, owner name NOT NULL DEFAULT current_user, v int);
GRANT ALL ON secured TO workload_one, workload_two;
GRANT INSERT ON audit TO workload_one, workload_two;
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secured USING (owner = current_user);
