/*
 * ddl_internal.h: what the files of ddl/ share: one command on its way from the hook to the log, and back on a replica.
 */
#ifndef NODEDB_DDL_INTERNAL_H
#define NODEDB_DDL_INTERNAL_H

#include "nodedb.h"

#include "catalog/objectaddress.h"
#include "core/wire/entry.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/pg_list.h"
#include "storage/lock.h"
#include "tcop/utility.h"

/* Whom a command, or an object, concerns. */
typedef enum DdlScope
{
	DDL_PASS = 0,				/* no schema change, or nothing there to change */
	DDL_NODE,					/* this node alone */
	DDL_CLUSTER					/* every node: the command travels */
} DdlScope;

typedef struct DdlCommand
{
	Node	   *stmt;
	const char *source;			/* query string that holds it */
	bool		fresh;			/* the catalogs are as new as the reservation */

	/* classify.c */
	DdlScope	scope;
	bool		retry_fresh;	/* the answer may be due to catalogs that lag behind: reserve, then ask again */
	List	   *relations;		/* oids of replicated relations that it locks: reserved before it runs */
	bool		found_node;
	bool		found_cluster;
	char	   *text;			/* what travels instead of the command's own text; NULL = its own */

	Oid			adopted;		/* named.c: an index that was there */

	/* touched.c, while it runs */
	List	   *created;		/* ObjectAddress * */

	/* rewrite.c */
	List	   *rewritten;		/* oids of tables whose rows travel behind the command */
	List	   *own_defaults;	/* OwnDefault * */
} DdlCommand;

/* Where an entry of the global key stands: one schema change at a time, cluster-wide. */
#define DDL_GLOBAL_KEY_MODE KEY_REL_EXCLUSIVE
extern uint64 ddl_global_key(void);

/* ---- scope.c: whom an object concerns ---- */
extern DdlScope ddl_relation_scope(Oid relid);
extern DdlScope ddl_object_scope(const ObjectAddress *object);
/* The table that an object is a part of (an index, a trigger, a constraint ...); a table is its own; InvalidOid when it stands alone. */
extern Oid	ddl_owning_table(const ObjectAddress *object);
/* Mark objects that this node made for itself. */
extern void ddl_mark_local(const ObjectAddress *object);
extern void ddl_scope_init(void);

/* ---- queue.c: before a reservation ---- */
/* Wait for this node's earlier writers of these tables, and for its other schema changes; until the transaction's end those wait for us. */
extern void ddl_queue(DdlCommand *c, List *relids);
/* Until sessions of this node that hold a lock on it that this mode conflicts with have ended their transactions; nothing is locked. */
extern void ddl_wait_for_holders(Oid relid, LOCKMODE mode);
/*
 * False: the user has no right to any of its tables, so that it will be refused, and nobody has to wait or lose for it before. One right to one of them is
 * enough: rights to a parent hold for its partitions.
 */
extern bool ddl_may_reserve(DdlCommand *c);
/* The mode in which it reserves its tables, and in which they stand in its entry: not weaker than any lock that it takes on them. */
extern LOCKMODE ddl_lock_mode(Node *stmt);

/* ---- hook.c ---- */
/* A schema change of our own, one statement, in the transaction at hand, through the log. */
extern void ddl_run(const char *text);

/* ---- place.c: data groups of tables ---- */
/* Is it a label that gives a table its group? */
extern bool ddl_is_placement(SecLabelStmt *stmt);
/* Does this command give a table its group, or a new one? At the origin. */
extern bool ddl_places(Node *stmt);
/* Before it runs, at the origin and on replicas. */
extern void ddl_placement_lock(SecLabelStmt *stmt);
/* After CREATE TABLE, at the origin: new tables get their group, if it is not the first, by a record of its own. */
extern void ddl_placement_of_new(DdlCommand *c);
/* May this label (NULL: none) be set? ereports if not. Of objects that are no distributed tables only those of placement are looked at. */
extern void ddl_placement_check(const ObjectAddress *object, const char *label);

/* ---- shards.c: CALL nodedb.shard_table() ---- */
extern bool ddl_is_sharding(CallStmt *stmt);
/* Oids of the tables that it locks; NIL: it is not here (yet). */
extern List *ddl_sharding_tables(CallStmt *stmt);
extern void ddl_shards_init(void);
/* Another schema change of these tables is about to run here: the builder of one of them begins anew behind it. */
extern void ddl_shards_give_way(List *relids);

/* ---- classify.c: whom a command concerns, and what it locks ---- */
extern void ddl_classify(DdlCommand *c);
/* Would CREATE TABLE of this name with this access method (NULL: the default) make a replicated table? */
extern DdlScope ddl_create_scope(RangeVar *rel, const char *access_method);

/* ---- extension.c: CREATE and ALTER EXTENSION ---- */
extern const char *ddl_extension_name(Node *stmt);
/* What travels: the version that this node takes, said by name; NULL: the command's own text. */
extern char *ddl_extension_text(Node *stmt);
/* Is it, and what it requires, installed on every node? ereports, naming the node that lacks it. */
extern void ddl_extension_check(Node *stmt);
extern bool ddl_is_extension(Node *stmt);

/* ---- concurrent.c: CREATE INDEX CONCURRENTLY ---- */
extern bool ddl_is_concurrent_build(Node *stmt);	/* of a distributed table */
/* Returns in a transaction of its own; text lives in the portal's context. */
extern void ddl_build_concurrently(IndexStmt *stmt, char *text, bool toplevel);
/* On a replica, before CREATE INDEX IF NOT EXISTS: an index of that name that this node's builder is not done with goes. */
extern void ddl_drop_unfinished(IndexStmt *stmt);
extern void ddl_concurrent_init(void);

/* ---- unique.c: the index that CREATE UNIQUE INDEX CONCURRENTLY has built becomes unique ---- */
/* 23505 when two live rows have one value. */
extern void ddl_unique_look(Oid index);
/* Whose CREATE UNIQUE INDEX IF NOT EXISTS the session is about to run. */
typedef struct DdlBecomingUnique
{
	Oid			index;			/* InvalidOid: none */
	const char *definition;		/* that the command's text was made of */
} DdlBecomingUnique;

extern DdlBecomingUnique ddl_becoming_unique;
/* For that one, with the table reserved, before the command's record: looks, records, marks. */
extern void ddl_unique_begin(void);
/* The same on every node, and for every search path. */
extern char *ddl_index_definition(Oid index);
struct DdlRecord;
extern void ddl_unique_apply(const struct DdlRecord *r);

/* ---- named.c: indexes whose values all writers name ---- */
/* The index that the nodes have built, whose CREATE INDEX IF NOT EXISTS the session is about to run; InvalidOid: none. */
extern Oid	ddl_adopting;
/* After it ran, at the origin: those that the command made, or adopted. */
extern void ddl_name_values(DdlCommand *c);
extern void ddl_named_apply(const struct DdlRecord *r);

/* ---- refuse.c: what is not replicated, or must not be done by one node ---- */
extern void ddl_refuse_alter_table(DdlCommand *c, AlterTableStmt *stmt, Oid relid);
/* replicate_ddl is off: what one node alone must not do to distributed tables. */
extern void ddl_refuse_alone(DdlCommand *c);
extern void ddl_refuse_mixed(const char *what) pg_attribute_noreturn();

/* ---- rewrite.c: ALTER TABLE whose values differ from node to node ---- */
/* Just before it runs, with everything reserved: finds the tables whose rows must travel (c->rewritten); refuses what needs an object of this node. */
extern void ddl_rewrite_look(DdlCommand *c);
/* For a command with c->rewritten, whose statement is the caller's own copy: before its record is written, and after it ran. */
extern void ddl_rewrite_begin(DdlCommand *c);
extern void ddl_rewrite_finish(DdlCommand *c);
/* All rows of a relation that is empty on replicas at this place of the body. */
extern void ddl_ship_rows(Oid relid);
/* Does a value of that type have to pass a check that could say something else elsewhere? */
extern bool ddl_type_differs(Oid type);
/* On a replica: the record before the command. */
extern void ddl_rewrite_empty(const struct DdlRecord *r);
/* New files for the table and its indexes: no trigger, no look at foreign keys. */
extern void ddl_empty_table(Oid relid);

/* ---- trust.c: on a replica, what the origin has checked is not checked again ---- */
typedef struct DdlTrust
{
	Oid			relid;			/* whose constraints these are: a table, or */
	Oid			domain;
	List	   *names;			/* char *: valid behind the statement */
} DdlTrust;

/* Takes the looks at rows out of the statement; is something left to run? */
extern bool ddl_trust_begin(Node *stmt, DdlTrust *t);
extern void ddl_trust_finish(const DdlTrust *t);

/* ---- matview.c: rows of materialized views travel ---- */
extern void ddl_matview_rows(DdlCommand *c);
/* On a replica, before and behind the command; true: rows follow, so call the second. */
extern bool ddl_matview_begin(Node *stmt);
extern void ddl_matview_finish(Node *stmt);

/* ---- touched.c: what a running command touches ---- */
extern void ddl_touched_init(void);
extern DdlCommand *ddl_touched_begin(DdlCommand *c);	/* returns the outer one, for ddl_touched_end() */
extern void ddl_touched_end(DdlCommand *outer);
extern bool ddl_is_running(void);	/* a replicated command runs, at its origin */
/* After it ran: keys of new names, refusal of what depends on local objects, the record of generated names, labels. */
extern void ddl_touched_finish(DdlCommand *c);

/* ---- record.c: the bytes of an 'X' record ---- */
typedef enum DdlRecordKind
{
	DDL_RECORD_COMMAND = 1,
	DDL_RECORD_NAMES = 2,		/* relations that the command before made: they must have come out alike */
	DDL_RECORD_EMPTIED = 3,		/* tables that the next command finds empty: their rows follow */
	DDL_RECORD_UNIQUE = 4,		/* the index that the next command makes is unique from here on, where it is there: its name, its table's, its definition */
	DDL_RECORD_NAMED = 5		/* from here on all writers name the values of these indexes: for each its name, and { "", its definition } */
} DdlRecordKind;

typedef struct DdlRecord
{
	DdlRecordKind kind;
	char	   *role;			/* "": the superuser that initdb made, whatever its name */
	char	   *session_role;
	TimestampTz xact_time;
	TimestampTz statement_time;
	int			n_pairs;		/* COMMAND: settings and values; else schemas and names */
	char	  **keys;
	char	  **values;
	char	   *text;
} DdlRecord;

/* The command as it stands here and now: role, settings, time. */
extern void ddl_record_command(const char *text);
extern void ddl_record_names(DdlRecordKind kind, List *schemas, List *names);
extern void ddl_record_decode(const char *data, Size len, DdlRecord *out);

/* ---- text.c: the text that travels ---- */
extern char *ddl_source_text(PlannedStmt *pstmt, const char *source);
/* CREATE TABLE with the columns that this CREATE TABLE AS will have: its rows travel as rows. */
extern char *ddl_ctas_text(CreateTableAsStmt *stmt);
/* Replace a clear password by its hash, in the statement and in the text: one secret on every node, none in the log. */
extern char *ddl_hash_password(Node *stmt, char *text);

#endif
