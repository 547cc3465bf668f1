-- The tables of the test, made in both databases. The replica burns some oids first: what names types or tables by oid would mix them up.
SET default_table_access_method = nodedb;
CREATE EXTENSION citext;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (n numeric, m mood);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE span AS RANGE (SUBTYPE = float8);

CREATE TABLE plain (id int PRIMARY KEY, a int, b text);
CREATE TABLE types (
	id bigint PRIMARY KEY, i2 smallint, i4 int, i8 bigint, f4 float4, f8 float8, n numeric, b bool, c "char", nm name, t text, vc varchar(20),
	bp char(8), by bytea, d date, ti time, tz timetz, ts timestamp, tstz timestamptz, iv interval, u uuid, js json, jb jsonb, x xml, ip inet,
	mac macaddr, bits bit(5), vb bit varying, pt point, bx box, mny money, ia int[], ta text[], na numeric[][], r int4range, mr int4multirange,
	tv tsvector, tq tsquery, e mood, ea mood[], co pair, coa pair[], dom positive, ci citext, rc regclass, rca regtype[], sp span, o oid,
	dropped int, last text);
ALTER TABLE types DROP COLUMN dropped;
ALTER TABLE types ADD COLUMN added int DEFAULT 42;
CREATE DOMAIN few AS int[] CHECK (cardinality(VALUE) < 100);
CREATE DOMAIN word AS varchar(20) CHECK (VALUE <> 'never');
CREATE DOMAIN place AS box;
CREATE DOMAIN class AS regclass;
CREATE DOMAIN price AS money;
CREATE TYPE nest AS (p positive, gone int, w word, ps positive[], f few[], n numeric);
CREATE DOMAIN nested AS nest CHECK ((VALUE).n IS NULL OR (VALUE).n < 100);
CREATE TYPE deep AS (n nested, ns nested[], "odd name" text);
CREATE TYPE pspan AS RANGE (SUBTYPE = positive);
CREATE TYPE wspan AS RANGE (SUBTYPE = word, COLLATION = "C", MULTIRANGE_TYPE_NAME = wmultirange);
CREATE TYPE mspan AS RANGE (SUBTYPE = money);
CREATE DOMAIN spans AS wspan;
CREATE TABLE domains (
	id int PRIMARY KEY, a int, da positive[], fa few[], wa word[], pa place[], ne nest, dne nested, de deep, dea deep[], ps pspan, psa pspan[], ws wspan,
	wm wmultirange, sp spans[], ms mspan);
CREATE TABLE domtext (id int PRIMARY KEY, cl class[], pr price[]);
ALTER TYPE nest DROP ATTRIBUTE gone;
CREATE TYPE styled AS (ts timestamptz, b bytea, iv interval, f float8, m money);
CREATE DOMAIN moment AS timestamptz;
CREATE DOMAIN doc AS xml;
CREATE TABLE stylednokey (a int, s styled, ms moment[], ds doc[], e mood[]);
CREATE TABLE domkey (id positive[] PRIMARY KEY, a int);
CREATE TABLE domnokey (a int, n nest, w wspan);
CREATE TABLE gen (id int PRIMARY KEY, a int, doubled int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE big (id int PRIMARY KEY, small int, doc text, doc2 text);
ALTER TABLE big ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE nokey (a int, b numeric, c json, d text);
CREATE TABLE fullident (id int PRIMARY KEY, a int);
ALTER TABLE fullident REPLICA IDENTITY FULL;
CREATE TABLE byident (id int PRIMARY KEY, code text NOT NULL, a int);
CREATE UNIQUE INDEX byident_code ON byident (code);
ALTER TABLE byident REPLICA IDENTITY USING INDEX byident_code;
CREATE TABLE uniq (
	id int PRIMARY KEY, n numeric UNIQUE, ci citext UNIQUE, nn int, p text, active bool, e mood, x int4range, def int,
	UNIQUE NULLS NOT DISTINCT (nn), UNIQUE (def) DEFERRABLE INITIALLY DEFERRED);
CREATE UNIQUE INDEX uniq_lower ON uniq (lower(p));
CREATE UNIQUE INDEX uniq_active ON uniq (e) WHERE active;
CREATE TABLE excl (id int PRIMARY KEY, x int4range, EXCLUDE USING gist (x WITH &&));
CREATE TABLE defer (
	id int PRIMARY KEY, v int UNIQUE DEFERRABLE, w text, x int4range,
	EXCLUDE USING btree (lower(w) WITH =) WHERE (id > 0) DEFERRABLE INITIALLY DEFERRED, EXCLUDE USING gist (x WITH &&) DEFERRABLE);
CREATE TABLE deferkey (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, a int);
CREATE TABLE unhashable (id money PRIMARY KEY, a int);
CREATE TABLE numkey (id numeric PRIMARY KEY, a int);
CREATE TABLE cikey (id citext PRIMARY KEY, a int);
CREATE TABLE enumkey (id mood PRIMARY KEY, a int);
CREATE TABLE compkey (id pair PRIMARY KEY, a int);
CREATE TABLE multi (a int, b text, c date, v int, PRIMARY KEY (c, a, b));
CREATE TABLE longkey (id text PRIMARY KEY, a int);
CREATE TABLE parent (id int PRIMARY KEY, a int);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE part (id int, k int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (1000);
CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (1000) TO (2000);
CREATE SCHEMA "odd.schema";
CREATE TABLE "odd.schema"."odd ""table" ("the id" int PRIMARY KEY, "select" text);
CREATE TABLE trig (id int PRIMARY KEY, a int CHECK (a < 100));
CREATE TABLE trig_log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
CREATE FUNCTION log_trig() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO trig_log (what) VALUES (TG_OP || ' ' || coalesce(NEW.id, OLD.id)); RETURN NULL; END $$;
CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON trig FOR EACH ROW EXECUTE FUNCTION log_trig();
ALTER TABLE trig ENABLE ALWAYS TRIGGER t;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TABLE local (id int PRIMARY KEY) USING heap;
