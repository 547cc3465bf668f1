/*
 * logdump_body.c: rows and commands of one transaction as text.
 *
 * Without a catalogue there are no column names or types: columns are numbered, values that travelled as text are shown as text, others as text
 * when all bytes are printable and as hexadecimal digits otherwise.
 *
 * Invariant: bytes from a file are never trusted: every length is checked by the reader, and numbers of relations against what was announced.
 */
#include "logdump.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_SHOWN 60			/* bytes of one value */

typedef struct Name
{
	char		text[300];
} Name;

static Name *names;
static uint32_t n_names;

/* Bytes of the longest beginning that is printable UTF-8 without half characters. */
static uint64_t printable(const uint8_t *data, uint64_t len)
{
	uint64_t	at = 0;

	while (at < len)
	{
		uint8_t		c = data[at];
		uint64_t	n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;

		if (n == 0 || n > len - at || c < 0x20 || c == 0x7f)
			break;
		for (uint64_t i = 1; i < n; i++)
			if ((data[at + i] & 0xc0) != 0x80)
				return at;
		at += n;
	}
	return at;
}

static void print_bytes(const uint8_t *data, uint64_t len)
{
	uint64_t	shown = len < VALUE_SHOWN ? len : VALUE_SHOWN;
	uint64_t	text = printable(data, shown);

	/* The last character shown may be cut in two. */
	if (text == shown || (shown < len && text + 3 >= shown))
		shown = text;
	if (text == shown)
		printf("'%.*s'", (int) shown, (const char *) data);
	else
	{
		printf("\\x");
		for (uint64_t i = 0; i < shown; i++)
			printf("%02x", data[i]);
	}
	if (shown < len)
		printf("... (%llu bytes)", (unsigned long long) len);
}

static void print_tuple(NdReader *r)
{
	uint64_t	n = nd_read_varint(r);

	for (uint64_t i = 0; i < n && !r->failed; i++)
	{
		uint8_t		form = nd_read_u8(r);

		printf("%s%llu=", i > 0 ? " " : "", (unsigned long long) i + 1);
		if (form == 0)
			printf("null");
		else if (form == 1)
			printf("(unchanged)");
		else if (form == 2 || form == 3)
		{
			uint64_t	len = nd_read_varint(r);
			const uint8_t *data = len <= nd_reader_left(r) ? nd_read_bytes(r, (size_t) len) : NULL;

			if (data == NULL)
			{
				r->failed = true;
				return;
			}
			print_bytes(data, len);
		}
		else
			r->failed = true;
	}
}

static bool read_text(NdReader *r, char *out, size_t out_len)
{
	uint64_t	len = nd_read_varint(r);
	const uint8_t *data = len <= nd_reader_left(r) ? nd_read_bytes(r, (size_t) len) : NULL;

	if (data == NULL)
	{
		r->failed = true;
		return false;
	}
	snprintf(out, out_len, "%.*s", (int) (len < out_len ? len : out_len - 1), (const char *) data);
	return true;
}

static void print_relation(NdReader *r)
{
	uint64_t	number = nd_read_varint(r);
	char		schema[128];
	char		name[128];
	Name	   *grown;

	if (number != n_names || !read_text(r, schema, sizeof(schema)) || !read_text(r, name, sizeof(name)))
	{
		r->failed = true;
		return;
	}
	(void) nd_read_varint(r);
	grown = realloc(names, (n_names + 1) * sizeof(*names));
	if (grown == NULL)
		exit(2);
	names = grown;
	snprintf(names[n_names++].text, sizeof(names->text), "%s.%s", schema, name);
}

static bool print_table(NdReader *r, const char *what)
{
	uint64_t	number = nd_read_varint(r);

	if (r->failed || number >= n_names)
	{
		r->failed = true;
		return false;
	}
	printf("    %s %s: ", what, names[number].text);
	return true;
}

static void print_change(NdReader *r, uint8_t op)
{
	uint8_t		old;

	if (!print_table(r, op == 'I' ? "INSERT" : op == 'U' ? "UPDATE" : "DELETE"))
		return;
	if (op != 'I')
	{
		old = nd_read_u8(r);
		if (old == 1 || old == 2)
		{
			printf(old == 1 ? "key (" : "row (");
			print_tuple(r);
			printf(") ");
		}
		else if (old != 0 || op == 'D')
			r->failed = true;
	}
	if (op != 'D' && !r->failed)
		print_tuple(r);
	printf("\n");
}

static void print_lock(NdReader *r)
{
	static const char *const modes[] = {"KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"};
	uint8_t		mode;
	uint8_t		old;

	if (!print_table(r, "LOCK"))
		return;
	mode = nd_read_u8(r);
	old = nd_read_u8(r);
	if (mode > 3 || (old != 1 && old != 2))
	{
		r->failed = true;
		return;
	}
	printf("FOR %s %s (", modes[mode], old == 1 ? "key" : "row");
	print_tuple(r);
	printf(")\n");
}

static void print_table_lock(NdReader *r)
{
	if (print_table(r, "LOCK TABLE"))
		printf("mode %u\n", nd_read_u8(r));
}

static void print_utility(NdReader *r)
{
	char		text[2000];
	char		role[128];
	char		session_role[128];
	uint64_t	n;
	uint8_t		kind;

	(void) nd_read_u8(r);
	kind = nd_read_u8(r);
	if (kind != 1)
	{
		printf(kind == 3 ? "    tables that the next command finds empty: their rows follow\n" :
			   kind == 4 ? "    the index of the next command becomes unique\n" : "    names of what the command made\n");
		nd_read_bytes(r, nd_reader_left(r));
		return;
	}
	read_text(r, role, sizeof(role));
	read_text(r, session_role, sizeof(session_role));
	(void) nd_read_u64(r);
	(void) nd_read_u64(r);
	n = nd_read_varint(r);
	for (uint64_t i = 0; i < 2 * n && !r->failed; i++)
		read_text(r, text, sizeof(text));
	if (read_text(r, text, sizeof(text)))
		printf("    COMMAND as %s: %s\n", role[0] != '\0' ? role : "superuser", text);
}

static void print_path(NdReader *r)
{
	char		text[2000];

	if (read_text(r, text, sizeof(text)))
		printf("    SEARCH PATH %s\n", text);
}

void logdump_body(const uint8_t *data, size_t len)
{
	NdReader	all;

	n_names = 0;
	nd_reader_init(&all, data, len);
	while (nd_reader_left(&all) > 0)
	{
		uint32_t	n = nd_read_u32(&all);
		const uint8_t *record = n <= nd_reader_left(&all) ? nd_read_bytes(&all, n) : NULL;
		NdReader	r;
		uint8_t		op;

		if (record == NULL)
		{
			printf("    (the body ends within a record)\n");
			return;
		}
		nd_reader_init(&r, record, n);
		op = nd_read_u8(&r);
		if (op == 'R')
			print_relation(&r);
		else if (op == 'I' || op == 'U' || op == 'D')
			print_change(&r, op);
		else if (op == 'P')
			print_path(&r);
		else if (op == 'L')
			print_lock(&r);
		else if (op == 'T')
			print_table_lock(&r);
		else if (op == 'X')
			print_utility(&r);
		else
			r.failed = true;
		if (r.failed || nd_reader_left(&r) > 0)
		{
			printf("\n    (a record of this version cannot be read: '%c', %u bytes)\n", isprint(op) ? op : '?', n);
			return;
		}
	}
}
