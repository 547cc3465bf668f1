/*
 * writeset_value.c: the form in which a column's value travels, and comparisons of stored bytes.
 *
 * Two forms: the datum's own bytes, for built-in types whose bytes mean the same on every node of one major version, and the text of the output
 * function for all others. Byte order and libraries are compared when nodes shake hands.
 *
 * Invariants:
 * 1. No oid of this node leaves it: enums, composites, reg* and everything above the pinned oids travel as text.
 * 2. A raw value is complete: neither compressed nor out of line.
 * 3. Text does not depend on the settings of the session, or is made and read under pinned ones: rows without a key are found by it.
 */
#include "writeset_internal.h"

#include "access/detoast.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"
#include "utils/xml.h"

/* A value of this length in the row itself is worth a comparison with the old one before it travels. */
#define BIG_VALUE_BYTES 128

static bool is_oid_alias(Oid typid)
{
	switch (typid)
	{
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGCOLLATIONOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case ACLITEMOID:
			return true;
		default:
			return false;
	}
}

bool value_holds_oids(Oid typid)
{
	Oid			base = getBaseType(typid);
	Oid			element;

	if (is_oid_alias(base))
		return true;
	switch (get_typtype(base))
	{
		case TYPTYPE_ENUM:
			return true;
		case TYPTYPE_COMPOSITE:
			{
				TupleDesc	desc = lookup_rowtype_tupdesc(base, -1);
				bool		holds = false;

				for (int i = 0; i < desc->natts && !holds; i++)
					if (!TupleDescAttr(desc, i)->attisdropped)
						holds = value_holds_oids(TupleDescAttr(desc, i)->atttypid);
				ReleaseTupleDesc(desc);
				return holds;
			}
		case TYPTYPE_RANGE:
			return value_holds_oids(get_range_subtype(base));
		case TYPTYPE_MULTIRANGE:
			return value_holds_oids(get_multirange_range(base));
		default:
			element = get_element_type(base);
			return OidIsValid(element) && value_holds_oids(element);
	}
}

static TextSettings settings_of(Oid typid)
{
	Oid			base = getBaseType(typid);
	Oid			element;

	switch (get_typtype(base))
	{
		case TYPTYPE_ENUM:
			return TEXT_PLAIN;
		case TYPTYPE_COMPOSITE:
			return TEXT_ALL;
		case TYPTYPE_RANGE:
			return settings_of(get_range_subtype(base));
		case TYPTYPE_MULTIRANGE:
			return settings_of(get_multirange_range(base));
		default:
			element = get_element_type(base);
			if (OidIsValid(element))
				return Max(settings_of(element), TEXT_STYLES);	/* whether NULL is one */
			return is_oid_alias(base) || base == CASHOID || base == TIMESTAMPTZOID ? TEXT_ALL : TEXT_STYLES;
	}
}

void value_type_init(ValueType *type, Oid typid, MemoryContext cx)
{
	char		typtype;

	memset(type, 0, sizeof(*type));
	type->base = getBaseType(typid);
	get_typlenbyval(type->base, &type->len, &type->byval);
	typtype = get_typtype(type->base);
	if (type->base < FirstUnpinnedObjectId && (typtype == TYPTYPE_BASE || typtype == TYPTYPE_RANGE || typtype == TYPTYPE_MULTIRANGE) &&
		type->len != -2 && get_element_type(type->base) != RECORDOID && !value_holds_oids(type->base))
		type->form = VALUE_RAW;
	else
	{
		Oid			function;
		bool		is_varlena;

		type->form = VALUE_TEXT;
		type->settings = settings_of(type->base);
		getTypeOutputInfo(type->base, &function, &is_varlena);
		fmgr_info_cxt(function, &type->output, cx);
	}
}

void value_view(ValueType *type, Datum value, char *scratch, const char **data, Size *len)
{
	if (type->form == VALUE_TEXT)
	{
		*data = OutputFunctionCall(&type->output, value);
		*len = strlen(*data);
	}
	else if (type->byval)
	{
		store_att_byval(scratch, value, type->len);
		*data = scratch;
		*len = type->len;
	}
	else if (type->len > 0)
	{
		*data = DatumGetPointer(value);
		*len = type->len;
	}
	else
	{
		struct varlena *flat = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));

		*data = VARDATA_ANY(flat);
		*len = VARSIZE_ANY_EXHDR(flat);
	}
}

static bool same_toast(const char *a, const char *b)
{
	return VARATT_IS_EXTERNAL_ONDISK(a) && VARATT_IS_EXTERNAL_ONDISK(b) && memcmp(a, b, VARSIZE_EXTERNAL(a)) == 0;
}

bool value_same_image(Form_pg_attribute att, Datum a, Datum b)
{
	const char *pa,
			   *pb;

	if (att->attbyval || att->attlen != -1)
		return datumIsEqual(a, b, att->attbyval, att->attlen);
	pa = DatumGetPointer(a);
	pb = DatumGetPointer(b);
	/* Stored in different ways, they may still be equal; the caller then looks closer. Headers of 1 and 4 bytes are one way here. */
	if (VARATT_IS_EXTERNAL(pa) || VARATT_IS_EXTERNAL(pb))
		return same_toast(pa, pb);
	if (VARATT_IS_COMPRESSED(pa) != VARATT_IS_COMPRESSED(pb))
		return false;
	return VARSIZE_ANY_EXHDR(pa) == VARSIZE_ANY_EXHDR(pb) && memcmp(VARDATA_ANY(pa), VARDATA_ANY(pb), VARSIZE_ANY_EXHDR(pa)) == 0;
}

/* Out of line (the same TOAST pointer), or long or compressed in the row: what is short travels at less cost than the comparison. */
bool value_big_unchanged(Form_pg_attribute att, Datum old_value, Datum new_value)
{
	const char *value = DatumGetPointer(new_value);

	if (att->attlen != -1)
		return false;
	if (!VARATT_IS_EXTERNAL(value) && !VARATT_IS_COMPRESSED(value) && VARSIZE_ANY(value) < BIG_VALUE_BYTES)
		return false;
	return value_same_image(att, old_value, new_value);
}

static void pin(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

int value_settings_begin(TextSettings settings)
{
	int			level;
	bool		styles_fit = DateStyle == USE_ISO_DATES && IntervalStyle == INTSTYLE_POSTGRES && extra_float_digits >= 1 &&
		bytea_output == BYTEA_OUTPUT_HEX && xmloption == XMLOPTION_CONTENT && Array_nulls;

	if (settings == TEXT_PLAIN || (settings == TEXT_STYLES && styles_fit))
		return 0;
	level = NewGUCNestLevel();
	if (!styles_fit)
	{
		pin("datestyle", "ISO");
		pin("intervalstyle", "postgres");
		pin("extra_float_digits", "3");
		pin("bytea_output", "hex");
		pin("xmloption", "content");
		pin("array_nulls", "on");
	}
	if (settings == TEXT_ALL)
	{
		pin("search_path", "pg_catalog");
		pin("lc_monetary", "C");
		pin("timezone", "UTC");
	}
	return level;
}

void value_settings_end(int level)
{
	if (level > 0)
		AtEOXact_GUC(true, level);
}
