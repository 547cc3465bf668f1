/*
 * placement.c: which data group's log the changes of a table go through; placement.h says how that is written down.
 */
#include "placement.h"

#include "shmem.h"

#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "commands/seclabel.h"

#define PREFIX "group "

uint32
placement_groups(void)
{
	uint32		n = nodedb_shared == NULL ? 0 : pg_atomic_read_u32(&nodedb_shared->n_groups);

	if (n == 0)
		return 0;
	/* A transaction over several groups needs one. */
	if (pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_RUNNING && !nodedb_shared->has_sequencer)
		return 1;
	return n - 1;				/* without group 0 */
}

NdGroupId
placement_of_label(const char *label)
{
	unsigned long group;
	char	   *end;

	if (label == NULL || strncmp(label, PREFIX, strlen(PREFIX)) != 0 || label[strlen(PREFIX)] < '1' || label[strlen(PREFIX)] > '9')
		return 0;
	group = strtoul(label + strlen(PREFIX), &end, 10);
	return *end != '\0' || group >= ND_GROUP_SEQUENCER ? 0 : (NdGroupId) group;
}

char *
placement_label(NdGroupId group)
{
	return psprintf(PREFIX "%u", group);
}

uint64
placement_key(void)
{
	static const char name[] = "nodedb: data groups of tables";

	return nd_checksum(name, sizeof(name) - 1, 0);
}

NdGroupId
placement_group(Oid relid)
{
	ObjectAddress object;
	char	   *label;
	NdGroupId	group;

	if (placement_groups() == 1)
		return PLACEMENT_DEFAULT;	/* no label can name another */
	ObjectAddressSet(object, RelationRelationId, relid);
	label = GetSecurityLabel(&object, PLACEMENT_PROVIDER);
	if (label == NULL)
		return PLACEMENT_DEFAULT;
	group = placement_of_label(label);
	pfree(label);
	return group == 0 ? PLACEMENT_DEFAULT : group;
}
