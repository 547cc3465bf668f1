/*
 * text.c: the text of a command as it travels: its own part of the query string, or one that means the same without this session.
 *
 * Invariants:
 * 1. The text parses to exactly one statement of the same kind.
 * 2. A CREATE TABLE AS never travels as a query: it may read parameters, prepared statements, temporary and local tables. Its shape travels, and its rows.
 * 3. No clear password travels.
 */
#include "ddl_internal.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "commands/defrem.h"
#include "commands/prepare.h"
#include "commands/tablecmds.h"
#include "commands/user.h"
#include "common/keywords.h"
#include "lib/stringinfo.h"
#include "libpq/crypt.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/scanner.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

char *
ddl_source_text(PlannedStmt *pstmt, const char *source)
{
	int			from = Max(pstmt->stmt_location, 0);
	char	   *text = pstmt->stmt_len > 0 ? pnstrdup(source + from, pstmt->stmt_len) : pstrdup(source + from);
	List	   *parsed = pg_parse_query(text);

	/* Another module may run statements that stand in no text, or in one that holds more. */
	if (list_length(parsed) != 1 || nodeTag(linitial_node(RawStmt, parsed)->stmt) != nodeTag(pstmt->utilityStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replicate this command: its text is not known"),
				 errhint("Run it as a statement of its own.")));
	return text;
}

/* ---- CREATE TABLE AS ---- */

static void
append_column(StringInfo out, const char *name, Oid type, int32 typmod, Oid collation)
{
	appendStringInfo(out, "%s%s %s", out->data[out->len - 1] == '(' ? "" : ", ", quote_identifier(name),
					 format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
	if (OidIsValid(collation) && collation != get_typcollation(type))
		appendStringInfo(out, " COLLATE %s", generate_collation_name(collation));
}

/* The name that the next column gets: the command's own list comes first. */
static const char *
next_name(ListCell **given, List *names, const char *otherwise)
{
	const char *name = otherwise;

	if (*given != NULL)
	{
		name = strVal(lfirst(*given));
		*given = lnext(names, *given);
	}
	return name;
}

static void
append_columns(StringInfo out, CreateTableAsStmt *stmt)
{
	Query	   *query = castNode(Query, stmt->query);
	List	   *names = stmt->into->colNames;
	ListCell   *given = list_head(names);
	ListCell   *lc;

	if (query->commandType == CMD_UTILITY)
	{
		ExecuteStmt *execute = castNode(ExecuteStmt, query->utilityStmt);
		TupleDesc	desc = FetchPreparedStatementResultDesc(FetchPreparedStatement(execute->name, true));

		for (int i = 0; desc != NULL && i < desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);

			append_column(out, next_name(&given, names, NameStr(att->attname)), att->atttypid, att->atttypmod, att->attcollation);
		}
		return;
	}
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) tle->expr;

		if (!tle->resjunk)
			append_column(out, next_name(&given, names, tle->resname), exprType(expr), exprTypmod(expr), exprCollation(expr));
	}
}

char *
ddl_ctas_text(CreateTableAsStmt *stmt)
{
	IntoClause *into = stmt->into;
	StringInfoData out;
	ListCell   *lc;

	initStringInfo(&out);
	appendStringInfo(&out, "CREATE TABLE %s (",
					 quote_qualified_identifier(get_namespace_name(RangeVarGetCreationNamespace(into->rel)), into->rel->relname));
	append_columns(&out, stmt);
	appendStringInfoString(&out, ") USING nodedb");
	foreach(lc, into->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		appendStringInfo(&out, "%s%s%s%s", lc == list_head(into->options) ? " WITH (" : ", ",
						 option->defnamespace ? quote_identifier(option->defnamespace) : "", option->defnamespace ? "." : "",
						 quote_identifier(option->defname));
		if (option->arg != NULL)
			appendStringInfo(&out, " = %s", quote_literal_cstr(defGetString(option)));
	}
	if (into->options != NIL)
		appendStringInfoChar(&out, ')');
	return out.data;
}

/* ---- passwords ---- */

/* Tokens of the core scanner that parser/scanner.h promises to keep. */
#define TOKEN_SCONST 261
#define TOKEN_USCONST 262

/* Put `hash` in the place of the first string literal behind `from`. */
static char *
replace_literal(const char *text, int from, const char *hash)
{
	core_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(text, &extra, &ScanKeywords, ScanKeywordTokens);
	int			literal = -1;
	int			end = strlen(text);
	core_YYSTYPE value;
	YYLTYPE		at;
	StringInfoData out;
	int			token;

	while ((token = core_yylex(&value, &at, scanner)) != 0)
	{
		if (literal < 0)
		{
			if (at > from && (token == TOKEN_SCONST || token == TOKEN_USCONST))
				literal = at;
		}
		else if (pg_strncasecmp(text + at, "uescape", 7) == 0)
			(void) core_yylex(&value, &at, scanner);	/* U&'...' UESCAPE 'x' is one literal */
		else
		{
			end = at;
			break;
		}
	}
	scanner_finish(scanner);
	if (literal < 0)
		elog(ERROR, "nodedb: password not found in the text of the command");
	initStringInfo(&out);
	appendBinaryStringInfo(&out, text, literal);
	appendStringInfo(&out, "%s %s", quote_literal_cstr(hash), text + end);
	return out.data;
}

char *
ddl_hash_password(Node *stmt, char *text)
{
	List	   *options = IsA(stmt, CreateRoleStmt) ? ((CreateRoleStmt *) stmt)->options : ((AlterRoleStmt *) stmt)->options;
	const char *role = IsA(stmt, CreateRoleStmt) ? ((CreateRoleStmt *) stmt)->role : get_rolespec_name(((AlterRoleStmt *) stmt)->role);
	List	   *parsed = pg_parse_query(text);
	Node	   *own = linitial_node(RawStmt, parsed)->stmt;	/* its positions are those of `text` */
	List	   *own_options = IsA(own, CreateRoleStmt) ? ((CreateRoleStmt *) own)->options : ((AlterRoleStmt *) own)->options;
	ListCell   *lc;
	ListCell   *own_lc;

	forboth(lc, options, own_lc, own_options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);
		const char *password;
		const char *hash;

		if (strcmp(option->defname, "password") != 0 || option->arg == NULL)
			continue;
		password = strVal(option->arg);
		if (password[0] == '\0' || get_password_type(password) != PASSWORD_TYPE_PLAINTEXT)
			return text;
		if (check_password_hook)
			(*check_password_hook) (role, password, PASSWORD_TYPE_PLAINTEXT, (Datum) 0, true);
		hash = encrypt_password(Password_encryption, role, password);
		option->arg = (Node *) makeString(pstrdup(hash));
		return replace_literal(text, lfirst_node(DefElem, own_lc)->location, hash);
	}
	return text;
}
