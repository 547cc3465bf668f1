/*
 * placement.h: which data group's log the changes of a table go through.
 *
 * Every group is on every node, so no rows move with a table's group: only the log changes that its changes are in. A table says its group by a security label of
 * provider "nodedb", 'group 3': it vanishes with the table, dumps have it, and it is equal on all nodes, for only a replicated schema change sets it
 * (ddl/place.c). No label: group 1.
 *
 * A cluster may get more groups while it runs. Whoever sees a table in one knows that there is one: the schema change that placed it has a part there, and is applied where the
 * group is made (node/grow.c).
 *
 * Invariant: a table's group changes at one place of the order of commits, under ACCESS EXCLUSIVE on every node: no transaction has changes of it in two groups' logs.
 */
#ifndef NODEDB_PLACEMENT_H
#define NODEDB_PLACEMENT_H

#include "nodedb.h"

#define PLACEMENT_PROVIDER "nodedb"
#define PLACEMENT_DEFAULT 1

/* The group of a table with rows. A relation without any of its own (a view, a partitioned table) and nodedb's own tables: PLACEMENT_DEFAULT. Looks into the catalog. */
extern NdGroupId placement_group(Oid relid);
/* How many data groups tables can live in: 1 to this number. 0: not known yet. A cluster that was founded without a sequencer group uses the first one alone. */
extern uint32 placement_groups(void);
/* The group that such a label names; 0: it is none. */
extern NdGroupId placement_of_label(const char *label);
extern char *placement_label(NdGroupId group);
/*
 * A relation key that is no relation's: schema changes that place tables have it as ACCESS EXCLUSIVE, and LOCK TABLE, which must be heard of in all groups, as ACCESS SHARE. So
 * LOCK TABLE loses to a placement that its origin had not applied, for that may have been the first in a group which it did not know. It never makes one lose.
 */
extern uint64 placement_key(void);

#endif
