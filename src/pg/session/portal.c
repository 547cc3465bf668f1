/*
 * portal.c: the portal that runs a client's message; see portal.h.
 */
#include "portal.h"

#include "nodes/plannodes.h"
#include "tcop/tcopprot.h"

/* Of libpq/libpq.h, which wants headers of GSSAPI that need not be installed. */
extern bool pq_buffer_has_data(void);
extern int	pq_peekbyte(void);
extern void pq_startmsgread(void);
extern void pq_endmsgread(void);

bool
portal_is_last(Portal portal)
{
	bool		sync;

	if (!portal->visible)
		return true;
	if (!pq_buffer_has_data())
		return false;
	pq_startmsgread();
	sync = pq_peekbyte() == 'S';
	pq_endmsgread();
	return sync;
}

PlannedStmt *
portal_plan_again(const char *text, ParamListInfo params, QueryEnvironment *environment)
{
	List	   *raw = pg_parse_query(text);
	int			n = params != NULL ? params->numParams : 0;
	Oid		   *types = palloc(sizeof(Oid) * Max(n, 1));
	List	   *plans = NIL;

	for (int i = 0; i < n; i++)
		types[i] = params->params[i].ptype;
	if (list_length(raw) == 1)
		plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(linitial_node(RawStmt, raw), text, types, n, environment),
								text, CURSOR_OPT_PARALLEL_OK, params);
	if (list_length(plans) != 1 || linitial_node(PlannedStmt, plans)->utilityStmt != NULL)
		return NULL;
	return linitial_node(PlannedStmt, plans);
}
