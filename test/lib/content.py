"""content: all that a node holds, to compare nodes: rows of all distributed tables, and the catalogue of what is replicated.

What one node made for itself is left out: tables of other access methods, what is marked local, and kinds that never travel.
Options of columns that the server keeps for itself (pg_attver, a WAL position) are left out too.
Nodes are compared at the same applied index, so nothing may write meanwhile.
"""
import pq

_LOCAL = "SELECT objoid FROM pg_seclabel WHERE provider = 'nodedb' AND objsubid = 0"
_OURS = "(SELECT oid FROM pg_am WHERE amname = 'nodedb')"
# relations that are replicated
_RELATIONS = """
SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'nodedb') AND n.nspname !~ '^pg_(toast|temp)' AND relpersistence = 'p' AND relkind <> 'f'
AND (relkind <> 'r' OR relam = %s) AND c.oid NOT IN (%s)
AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_class o ON o.oid = d.refobjid WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
	AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
	AND (o.relpersistence <> 'p' OR o.oid IN (%s) OR (o.relkind = 'r' AND o.relam <> %s)))
AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class o ON o.oid = i.indrelid WHERE i.indexrelid = c.oid
	AND (o.relpersistence <> 'p' OR o.oid IN (%s) OR (o.relkind = 'r' AND o.relam <> %s)))
""" % (_OURS, _LOCAL, _LOCAL, _OURS, _LOCAL, _OURS)
_CATALOGUE = """
WITH rel AS MATERIALIZED (%s), local AS MATERIALIZED (%s)
SELECT 'relation', oid::regclass::text, concat_ws(' ', relkind, relowner::regrole, relreplident, relrowsecurity, relforcerowsecurity, relispartition,
	reloptions, CASE WHEN relkind IN ('r', 'm') THEN (SELECT amname FROM pg_am a WHERE a.oid = relam) END, relacl, pg_get_expr(relpartbound, oid),
	CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) END, CASE WHEN reloftype <> 0 THEN reloftype::regtype END, obj_description(oid, 'pg_class')) FROM rel
UNION ALL SELECT 'column', a.attrelid::regclass || '.' || attname, concat_ws(' ', attnum, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
	CASE WHEN attcollation <> 0 THEN attcollation::regcollation END, attstorage, attcompression, attstattarget, attislocal, attinhcount, attacl,
	(SELECT array_agg(o) FROM unnest(attoptions) o WHERE o !~ '^pg_'), pg_get_expr(adbin, adrelid), attmissingval, col_description(attrelid, attnum))
	FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
	WHERE attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'index', indexrelid::regclass::text, concat_ws(' ', pg_get_indexdef(indexrelid), indisunique, indisprimary, indisexclusion, indimmediate,
	indisclustered, indisvalid, indisreplident, indnullsnotdistinct) FROM rel JOIN pg_index i ON i.indexrelid = rel.oid
UNION ALL SELECT 'constraint', concat_ws(' ', CASE WHEN conrelid <> 0 THEN conrelid::regclass END, CASE WHEN contypid <> 0 THEN contypid::regtype END, conname),
	concat_ws(' ', pg_get_constraintdef(c.oid), convalidated, conislocal, coninhcount, connoinherit) FROM pg_constraint c
	WHERE conrelid IN (SELECT oid FROM rel) OR (contypid <> 0 AND contypid NOT IN (SELECT * FROM local) AND connamespace <> 'information_schema'::regnamespace)
UNION ALL SELECT 'trigger', tgrelid::regclass || ' ' || tgname, concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled) FROM rel JOIN pg_trigger t ON tgrelid = rel.oid
	WHERE NOT tgisinternal
UNION ALL SELECT 'foreign key trigger', tgrelid::regclass::text, concat_ws(' ', tgfoid::regproc, tgenabled, count(*)) FROM rel JOIN pg_trigger t ON tgrelid = rel.oid
	WHERE tgisinternal GROUP BY tgrelid, tgfoid, tgenabled
UNION ALL SELECT 'rule', ev_class::regclass || ' ' || rulename, concat_ws(' ', pg_get_ruledef(r.oid), ev_enabled) FROM rel JOIN pg_rewrite r ON ev_class = rel.oid
UNION ALL SELECT 'policy', polrelid::regclass || ' ' || polname, concat_ws(' ', polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid),
	pg_get_expr(polwithcheck, polrelid)) FROM rel JOIN pg_policy p ON polrelid = rel.oid
UNION ALL SELECT 'inherits', inhrelid::regclass || ' ' || inhparent::regclass, inhseqno::text FROM rel JOIN pg_inherits i ON inhrelid = rel.oid
UNION ALL SELECT 'statistics', s.stxnamespace::regnamespace || '.' || s.stxname, pg_get_statisticsobjdef(s.oid) FROM rel JOIN pg_statistic_ext s ON stxrelid = rel.oid
UNION ALL SELECT 'sequence', seqrelid::regclass::text, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)
	FROM rel JOIN pg_sequence s ON seqrelid = rel.oid
UNION ALL SELECT 'type', format_type(t.oid, NULL), concat_ws(' ', typtype, typcategory, typowner::regrole, typnotnull, typdefault, typacl,
	CASE WHEN typbasetype <> 0 THEN format_type(typbasetype, typtypmod) END, typcollation::regcollation, typlen, typalign, typstorage,
	(SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
	(SELECT concat_ws(' ', rngsubtype::regtype, rngmultitypid::regtype, rngcollation::regcollation) FROM pg_range WHERE rngtypid = t.oid))
	FROM pg_type t WHERE t.oid >= 16384 AND t.oid NOT IN (SELECT * FROM local) AND (typrelid = 0 OR typrelid IN (SELECT oid FROM rel))
	AND (typelem = 0 OR EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.oid NOT IN (SELECT * FROM local) AND (e.typrelid = 0 OR e.typrelid IN (SELECT oid FROM rel))))
UNION ALL SELECT 'function', p.oid::regprocedure::text, concat_ws(' ', proowner::regrole, proacl, prokind, md5(CASE WHEN prokind = 'a' THEN
	(SELECT concat_ws(' ', aggkind, aggtransfn, aggfinalfn, aggcombinefn, agginitval, aggtranstype::regtype) FROM pg_aggregate WHERE aggfnoid = p.oid)
	ELSE pg_get_functiondef(p.oid) END)) FROM pg_proc p JOIN pg_language l ON l.oid = prolang
	WHERE p.oid >= 16384 AND pronamespace <> 'nodedb'::regnamespace AND p.oid NOT IN (SELECT * FROM local)
UNION ALL SELECT 'operator', o.oid::regoperator::text, concat_ws(' ', oprcode, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin, oprcanmerge, oprcanhash)
	FROM pg_operator o WHERE o.oid >= 16384 AND o.oid NOT IN (SELECT * FROM local)
UNION ALL SELECT (pg_identify_object(classid, objid, 0)).type, (pg_identify_object(classid, objid, 0)).identity, '' FROM (
	SELECT 'pg_namespace'::regclass AS classid, oid AS objid FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
	UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
	UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily UNION ALL SELECT 'pg_amop'::regclass, oid FROM pg_amop
	UNION ALL SELECT 'pg_amproc'::regclass, oid FROM pg_amproc UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
	UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
	UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
	UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
	UNION ALL SELECT 'pg_default_acl'::regclass, oid FROM pg_default_acl) o WHERE objid >= 16384 AND objid NOT IN (SELECT * FROM local)
UNION ALL SELECT 'schema privileges', nspname, concat_ws(' ', nspowner::regrole, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
	AND oid NOT IN (SELECT * FROM local)
UNION ALL SELECT 'role', rolname, concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolconnlimit, rolpassword,
	rolvaliduntil, rolbypassrls) FROM pg_authid
UNION ALL SELECT 'member', roleid::regrole || ' ' || member::regrole, concat_ws(' ', grantor::regrole, admin_option) FROM pg_auth_members
""" % (_RELATIONS, _LOCAL)


def _connect(c, i):
	connection = c.connect(i)
	connection.execute("SET nodedb.read_consistency = local; SET search_path = ''; SET enable_indexscan = off; SET enable_bitmapscan = off;"
					   " SET enable_indexonlyscan = off; SET extra_float_digits = 3; SET row_security = off")
	return connection


def catalogue(c, i):
	"""{(kind, name): definition} of all that is replicated; what several objects share a name by has its definitions in order."""
	found = {}
	with _connect(c, i) as connection:
		for kind, name, definition in connection.execute(_CATALOGUE):
			found.setdefault((kind, name), []).append(definition)
	return {key: sorted(map(str, value)) for key, value in found.items()}


def tables(c, i):
	"""{table: (rows, digest)} of all distributed tables."""
	found = {}
	with _connect(c, i) as connection:
		for table, in connection.execute("SELECT c.oid::regclass FROM pg_class c WHERE (relkind = 'r' AND relam = %s OR relkind = 'm' AND relispopulated AND oid NOT IN (%s)) AND relpersistence = 'p'" % (_OURS, _LOCAL)):
			try:
				found[table] = connection.execute(
					"SELECT count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint), 0) FROM ONLY %s t" % table)[0]
			except pq.Error as error:
				found[table] = "%s" % error		# a function in its rows' types fails: alike everywhere
	return found


def differences(first, other):
	"""Words on what the one has and the other has not, or has otherwise."""
	return ["%s: %s | %s" % (key, first.get(key, "missing"), other.get(key, "missing")) for key in sorted(set(first) | set(other), key=str)
			if first.get(key) != other.get(key)]


def same_everywhere(c, shown=40):
	"""All running nodes hold the same."""
	c.wait_caught_up()
	nodes = c.running()
	for what in (catalogue, tables):
		held = {i: what(c, i) for i in nodes}
		for i in nodes[1:]:
			found = differences(held[nodes[0]], held[i])
			if found:
				raise AssertionError("%s of nodes %d and %d: %d differences\n%s" % (what.__name__, nodes[0], i, len(found), "\n".join(found[:shown])))
