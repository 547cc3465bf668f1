/*
 * apply_read.c: reads the text of a value without asking any domain.
 *
 * A domain's constraints were checked at the origin, and may have been changed since (NOT VALID lets values stay that do not fit): a replica that
 * checked again would refuse what is committed (failure scenario D9). A column's own domain is easy, its base type's input function is called. But
 * those of arrays, composites and ranges call the input function of the domain inside; so values of types that have one inside are taken apart
 * here. Whatever has no domain inside goes to its own input function.
 *
 * Invariants:
 * 1. Reads what the output functions write (array_out, record_out, range_out, multirange_out), and no more of what the input functions accept.
 * 2. The datum is the same as the origin's: it names the domain where the origin's does.
 * 3. No type modifier is applied: the value has been through it.
 */
#include "apply_internal.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/multirangetypes.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

typedef Datum (*ReadFunction) (ValueReader *reader, char *text);

struct ValueReader
{
	ReadFunction read;
	Oid			type;			/* no domain */
	FmgrInfo	input;			/* of the type; of arrays: array_in, with its state filled in */
	Oid			io_param;
	TypeCacheEntry *cached;		/* ranges, multiranges */
	TupleDesc	desc;			/* composites */
	ValueReader **inner;		/* one, or per column */
	MemoryContext cx;
};

static void pg_attribute_noreturn() malformed(const ValueReader *reader)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("replicated value of type %s is malformed", format_type_be(reader->type))));
}

static bool holds_domain(Oid typid)
{
	Oid			element;

	switch (get_typtype(typid))
	{
		case TYPTYPE_DOMAIN:
			return true;
		case TYPTYPE_COMPOSITE:
			{
				TupleDesc	desc = lookup_rowtype_tupdesc(typid, -1);
				bool		holds = false;

				for (int i = 0; i < desc->natts && !holds; i++)
					if (!TupleDescAttr(desc, i)->attisdropped)
						holds = holds_domain(TupleDescAttr(desc, i)->atttypid);
				ReleaseTupleDesc(desc);
				return holds;
			}
		case TYPTYPE_RANGE:
			return holds_domain(get_range_subtype(typid));
		case TYPTYPE_MULTIRANGE:
			return holds_domain(get_multirange_range(typid));
		default:
			element = get_element_type(typid);
			return OidIsValid(element) && holds_domain(element);
	}
}

/* ---- by the type's own input function ---- */

static Datum read_plain(ValueReader *reader, char *text)
{
	return InputFunctionCall(&reader->input, text, reader->io_param, -1);
}

/* ---- arrays: array_in, whose state says how elements are read ---- */

/* In the place of the element type's input function. */
static Datum element_input(PG_FUNCTION_ARGS)
{
	return value_read(fcinfo->flinfo->fn_extra, PG_GETARG_CSTRING(0));
}

static void init_array(ValueReader *reader, Oid element)
{
	ArrayMetaState *state = MemoryContextAllocZero(reader->cx, sizeof(ArrayMetaState));
	Oid			unused;

	fmgr_info_cxt(F_ARRAY_IN, &reader->input, reader->cx);
	reader->io_param = element;
	reader->inner = MemoryContextAlloc(reader->cx, sizeof(ValueReader *));
	reader->inner[0] = value_reader(element, reader->cx);
	get_type_io_data(element, IOFunc_input, &state->typlen, &state->typbyval, &state->typalign, &state->typdelim, &state->typioparam, &unused);
	state->element_type = element;
	state->proc.fn_addr = element_input;
	state->proc.fn_nargs = 3;
	state->proc.fn_strict = true;
	state->proc.fn_mcxt = reader->cx;
	state->proc.fn_extra = reader->inner[0];
	reader->input.fn_extra = state;
}

/* ---- parts of a text ---- */

/* The text up to a character of `ends` outside of quotes, unquoted; NULL when there is nothing at all. *at then stands on that character. */
static char *read_part(const ValueReader *reader, const char **at, const char *ends)
{
	StringInfoData part;
	const char *start = *at;
	bool		quoted = false;

	initStringInfo(&part);
	for (;; (*at)++)
	{
		char		c = **at;

		if (c == '\0')
			malformed(reader);
		if (!quoted && strchr(ends, c) != NULL)
			break;
		if (c == '"' && !(quoted && (*at)[1] == '"'))
		{
			quoted = !quoted;
			continue;
		}
		if ((c == '"' || c == '\\') && *++(*at) == '\0')
			malformed(reader);
		appendStringInfoChar(&part, **at);
	}
	return *at == start ? NULL : part.data;
}

/* ---- composites ---- */

static Datum read_record(ValueReader *reader, char *text)
{
	TupleDesc	desc = reader->desc;
	Datum	   *values = palloc0(Max(desc->natts, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(desc->natts, 1) * sizeof(bool));
	const char *at = text;
	bool		first = true;

	if (*at++ != '(')
		malformed(reader);
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *part;

		nulls[i] = true;
		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		if (!first && *at++ != ',')
			malformed(reader);
		first = false;
		part = read_part(reader, &at, ",)");
		if (part != NULL)
		{
			values[i] = value_read(reader->inner[i], part);
			nulls[i] = false;
		}
	}
	if (at[0] != ')' || at[1] != '\0')
		malformed(reader);
	return heap_copy_tuple_as_datum(heap_form_tuple(desc, values, nulls), desc);
}

static void init_record(ValueReader *reader)
{
	MemoryContext old = MemoryContextSwitchTo(reader->cx);

	reader->desc = lookup_rowtype_tupdesc_copy(reader->type, -1);
	reader->inner = palloc0(Max(reader->desc->natts, 1) * sizeof(ValueReader *));
	for (int i = 0; i < reader->desc->natts; i++)
		if (!TupleDescAttr(reader->desc, i)->attisdropped)
			reader->inner[i] = value_reader(TupleDescAttr(reader->desc, i)->atttypid, reader->cx);
	MemoryContextSwitchTo(old);
}

/* ---- ranges ---- */

static RangeBound read_bound(ValueReader *subtype, char *part, bool inclusive, bool lower)
{
	RangeBound	bound = {.infinite = part == NULL, .inclusive = part != NULL && inclusive, .lower = lower};

	if (part != NULL)
		bound.val = value_read(subtype, part);
	return bound;
}

/* One range at *at, which then stands behind it. Not through the canonical function: the stored range is canonical. */
static RangeType *read_one_range(ValueReader *reader, TypeCacheEntry *cached, const char **at)
{
	RangeBound	lower;
	RangeBound	upper;
	char		open = **at;
	char	   *low;
	char	   *high;

	if (open != '[' && open != '(')
		malformed(reader);
	(*at)++;
	low = read_part(reader, at, ",");
	(*at)++;
	high = read_part(reader, at, ")]");
	lower = read_bound(reader->inner[0], low, open == '[', true);
	upper = read_bound(reader->inner[0], high, *(*at)++ == ']', false);
	return range_serialize(cached, &lower, &upper, false);
}

static Datum read_range(ValueReader *reader, char *text)
{
	const char *at = text;
	RangeType  *range;

	if (strcmp(text, "empty") == 0)
		return RangeTypePGetDatum(make_empty_range(reader->cached));
	range = read_one_range(reader, reader->cached, &at);
	if (*at != '\0')
		malformed(reader);
	return RangeTypePGetDatum(range);
}

static Datum read_multirange(ValueReader *reader, char *text)
{
	const char *at = text;
	int			cap = 8;
	int			n = 0;
	RangeType **ranges = palloc(cap * sizeof(RangeType *));

	if (*at++ != '{')
		malformed(reader);
	while (*at != '}')
	{
		if (n > 0 && *at++ != ',')
			malformed(reader);
		if (n == cap)
			ranges = repalloc(ranges, (cap *= 2) * sizeof(RangeType *));
		ranges[n++] = read_one_range(reader, reader->cached->rngtype, &at);
	}
	if (at[1] != '\0')
		malformed(reader);
	return MultirangeTypePGetDatum(make_multirange(reader->type, reader->cached->rngtype, n, ranges));
}

static void init_range(ValueReader *reader, Oid range, int flags)
{
	reader->cached = lookup_type_cache(reader->type, flags);
	reader->inner = MemoryContextAlloc(reader->cx, sizeof(ValueReader *));
	reader->inner[0] = value_reader(get_range_subtype(range), reader->cx);
}

/* ---- all ---- */

ValueReader *value_reader(Oid typid, MemoryContext cx)
{
	ValueReader *reader = MemoryContextAllocZero(cx, sizeof(ValueReader));
	Oid			function;

	reader->type = getBaseType(typid);
	reader->cx = cx;
	if (!holds_domain(reader->type))
	{
		reader->read = read_plain;
		getTypeInputInfo(reader->type, &function, &reader->io_param);
		fmgr_info_cxt(function, &reader->input, cx);
		return reader;
	}
	switch (get_typtype(reader->type))
	{
		case TYPTYPE_COMPOSITE:
			reader->read = read_record;
			init_record(reader);
			break;
		case TYPTYPE_RANGE:
			reader->read = read_range;
			init_range(reader, reader->type, TYPECACHE_RANGE_INFO);
			break;
		case TYPTYPE_MULTIRANGE:
			reader->read = read_multirange;
			init_range(reader, get_multirange_range(reader->type), TYPECACHE_MULTIRANGE_INFO);
			break;
		default:
			reader->read = read_plain;
			init_array(reader, get_element_type(reader->type));
	}
	return reader;
}

Datum value_read(ValueReader *reader, char *text)
{
	check_stack_depth();
	return reader->read(reader, text);
}
