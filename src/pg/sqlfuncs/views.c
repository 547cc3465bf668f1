/*
 * views.c: SQL functions that show the cluster: copies of what the raft worker publishes in shared memory.
 */
#include "../nodedb.h"

#include "../session/wait.h"
#include "../shmem.h"
#include "../worker/bulk.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(nodedb_status);
PG_FUNCTION_INFO_V1(nodedb_show_nodes);
PG_FUNCTION_INFO_V1(nodedb_show_groups);
PG_FUNCTION_INFO_V1(nodedb_show_metrics);
PG_FUNCTION_INFO_V1(nodedb_applied_index);
PG_FUNCTION_INFO_V1(nodedb_wait_applied);

static void
require_loaded(void)
{
	if (nodedb_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nodedb must be loaded at server start"),
				 errhint("Add nodedb to shared_preload_libraries and restart the server.")));
}

static const char *
member_state_text(MemberState state)
{
	switch (state)
	{
		case MEMBER_NONE:
			return "not in a cluster";
		case MEMBER_STARTING:
			return "starting";
		case MEMBER_RUNNING:
			return "running";
		case MEMBER_QUARANTINED:
			return "QUARANTINED";
		case MEMBER_FAILED:
			return "FAILED";
	}
	return "?";
}

static NdGroupId
check_group(int32 group)
{
	require_loaded();
	if (pg_atomic_read_u32(&nodedb_shared->member_state) == MEMBER_STARTING)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_CONNECT_NOW),
				 errmsg("this node is starting: its replicated log is not ready yet"),
				 errhint("Try again in a moment.")));
	if (group < 0 || group >= pg_atomic_read_u32(&nodedb_shared->n_groups))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no group %d on this node", group),
				 errhint("See nodedb.groups.")));
	return (NdGroupId) group;
}

static const char *
name_of(NdNodeId node)			/* under status_lock */
{
	for (uint32 i = 0; i < nodedb_shared->n_members; i++)
		if (nodedb_shared->members[i].node == node)
			return nodedb_shared->members[i].name;
	return "?";
}

static void
group_status(StringInfo out, const char *what, const NodeGroupStatus *gs, uint64 applied)	/* under status_lock */
{
	appendStringInfo(out, "\n%s: ", what);
	if (gs->raft.leader == 0)
		appendStringInfoString(out, "NO LEADER");
	else
		appendStringInfo(out, "leader %u \"%s\"", gs->raft.leader, name_of(gs->raft.leader));
	appendStringInfo(out, ", term " UINT64_FORMAT ", committed " UINT64_FORMAT ", applied here " UINT64_FORMAT, gs->raft.term, gs->raft.commit, applied);
	if (gs->raft.commit > applied)
		appendStringInfo(out, " (" UINT64_FORMAT " behind)", gs->raft.commit - applied);
	if (gs->frozen)
		appendStringInfoString(out, " - FROZEN: see the server log");
	if (gs->alarm)
		appendStringInfoString(out, " - ALARM: see the server log");
}

Datum
nodedb_status(PG_FUNCTION_ARGS)
{
	NodedbShared *s;
	StringInfoData out;
	MemberState state;
	uint32		connected = 0,
				voters = 0;

	require_loaded();
	s = nodedb_shared;
	initStringInfo(&out);
	state = (MemberState) pg_atomic_read_u32(&s->member_state);
	LWLockAcquire(s->status_lock, LW_SHARED);
	if (state == MEMBER_NONE)
		appendStringInfoString(&out, "not in a cluster: call nodedb.init_cluster() to found one, or nodedb.join_cluster() to join one");
	else if (s->self == 0)
		appendStringInfo(&out, "this server takes no part in its cluster: %s (%s)", member_state_text(state), s->state_text);
	else
	{
		for (uint32 i = 0; i < s->n_members; i++)
			if (s->members[i].role == RAFT_VOTER)
			{
				voters++;
				connected += s->member_connected[i];
			}
		appendStringInfo(&out, "node %u \"%s\" of cluster %016llx: %s", s->self, name_of(s->self), (unsigned long long) s->cluster_id, member_state_text(state));
		if (state != MEMBER_RUNNING)
			appendStringInfo(&out, " (%s)", s->state_text);
		else if (!pg_atomic_read_u32(&s->caught_up))
			appendStringInfoString(&out, " (has not caught up since its start: no new sessions but with nodedb.read_consistency = local or session)");
		appendStringInfo(&out, "\nnodes: %u of %u voters connected%s", connected, voters,
						 voters > 0 && connected <= voters / 2 ? " - NO MAJORITY: writes and strong reads fail until more nodes are back" : "");
		for (uint32 i = 0; i < s->n_members; i++)
			appendStringInfo(&out, "\n  %-3u %-20s %-24s %-8s %s", s->members[i].node, s->members[i].name, s->members[i].address,
							 s->members[i].role == RAFT_VOTER ? "voter" : "learner",
							 s->members[i].node == s->self ? "this node" : s->member_connected[i] ? "connected" : "NOT CONNECTED");
		for (uint32 g = 0; g < pg_atomic_read_u32(&s->n_groups); g++)
			group_status(&out, g == ND_GROUP_META ? "group 0 (metadata)" : psprintf("group %u", g), &nodedb_groups[g].status, nodedb_watermark(g));
		if (s->has_sequencer)
			group_status(&out, "sequencer group (-1)", &s->sequencer, s->sequencer.delivered);
		for (int i = 0; i < nodedb_bulk_appliers; i++)
		{
			NodedbBulk *b = &nodedb_bulks[i];
			BulkState	bulk = (BulkState) pg_atomic_read_u32(&b->state);

			if (bulk == BULK_OPEN || bulk == BULK_TURN)
				appendStringInfo(&out, "\nlarge transaction of node %u \"%s\": %u of %u MB that have come are replayed", b->txn.node, name_of(b->txn.node),
								 pg_atomic_read_u32(&b->n_done), pg_atomic_read_u32(&b->n_pieces));
		}
	}
	LWLockRelease(s->status_lock);
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}

Datum
nodedb_show_nodes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	uint32		n;
	NodeMember *members;
	bool	   *connected;

	require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	members = palloc(sizeof(NodeMember) * RAFT_MEMBERS_MAX);
	connected = palloc(sizeof(bool) * RAFT_MEMBERS_MAX);
	LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
	n = nodedb_shared->n_members;
	memcpy(members, nodedb_shared->members, sizeof(NodeMember) * n);
	memcpy(connected, nodedb_shared->member_connected, sizeof(bool) * n);
	LWLockRelease(nodedb_shared->status_lock);
	for (uint32 i = 0; i < n; i++)
	{
		Datum		values[6];
		bool		nulls[6] = {false};

		values[0] = Int32GetDatum((int32) members[i].node);
		values[1] = CStringGetTextDatum(members[i].name);
		values[2] = CStringGetTextDatum(members[i].address);
		values[3] = CStringGetTextDatum(members[i].leaving ? "leaving" : members[i].role == RAFT_VOTER ? "voter" : "learner");
		values[4] = BoolGetDatum(members[i].node == nodedb_shared->self);
		values[5] = BoolGetDatum(connected[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static const char *
role_text(RaftState state)
{
	switch (state)
	{
		case RAFT_FOLLOWER:
			return "follower";
		case RAFT_PRECANDIDATE:
			return "precandidate";
		case RAFT_CANDIDATE:
			return "candidate";
		case RAFT_LEADER:
			return "leader";
	}
	return "?";
}

static void
show_group(ReturnSetInfo *rsinfo, const char *kind, const NodeGroupStatus *gs, uint64 applied, uint64 durable)
{
	MemberState state = (MemberState) pg_atomic_read_u32(&nodedb_shared->member_state);
	Datum		values[16];
	bool		nulls[16] = {false};
	Datum		replicas[RAFT_MEMBERS_MAX];

	values[0] = Int32GetDatum((int32) gs->group);
	values[1] = Int32GetDatum((int32) gs->raft.leader);
	nulls[1] = gs->raft.leader == 0;
	values[2] = Int64GetDatum((int64) gs->raft.term);
	values[3] = CStringGetTextDatum(role_text(gs->raft.state));
	values[4] = Int64GetDatum((int64) gs->raft.first_index);
	values[5] = Int64GetDatum((int64) gs->raft.last_index);
	values[6] = Int64GetDatum((int64) gs->raft.commit);
	values[7] = Int64GetDatum((int64) applied);
	values[8] = Int64GetDatum((int64) durable);
	values[9] = Int64GetDatum(gs->raft.commit > applied ? (int64) (gs->raft.commit - applied) : 0);
	values[10] = Int64GetDatum((int64) gs->certifier.keys);
	values[11] = Int64GetDatum((int64) gs->certifier.reservations);
	values[12] = CStringGetTextDatum(psprintf("%016llx at %llu", (unsigned long long) gs->certifier_checksum, (unsigned long long) gs->checksum_index));
	values[13] = CStringGetTextDatum(gs->frozen ? "frozen" : gs->alarm ? "alarm" : state == MEMBER_RUNNING ? "ok" : member_state_text(state));
	values[14] = CStringGetTextDatum(kind);
	for (uint32 i = 0; i < gs->n_replicas; i++)
		replicas[i] = Int32GetDatum((int32) gs->replicas[i]);
	values[15] = PointerGetDatum(construct_array(replicas, gs->n_replicas, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
nodedb_show_groups(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NodeGroupStatus gs;

	require_loaded();
	InitMaterializedSRF(fcinfo, 0);
	for (uint32 g = 0; g < pg_atomic_read_u32(&nodedb_shared->n_groups); g++)
	{
		uint64		applied = nodedb_watermark(g);

		LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
		gs = nodedb_groups[g].status;
		LWLockRelease(nodedb_shared->status_lock);
		gs.group = g;
		show_group(rsinfo, g == ND_GROUP_META ? "metadata" : "data", &gs, applied, pg_atomic_read_u64(&nodedb_groups[g].durable));
	}
	if (!nodedb_shared->has_sequencer)
		return (Datum) 0;
	LWLockAcquire(nodedb_shared->status_lock, LW_SHARED);
	gs = nodedb_shared->sequencer;
	LWLockRelease(nodedb_shared->status_lock);
	/* It has no effect on tables: what is delivered is applied, and the log alone is durable. */
	show_group(rsinfo, "sequencer", &gs, gs.delivered, gs.delivered);
	return (Datum) 0;
}

Datum
nodedb_show_metrics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NodedbShared *s;

	require_loaded();
	s = nodedb_shared;
	InitMaterializedSRF(fcinfo, 0);
	{
		const struct
		{
			const char *name;
			uint64		value;
			const char *help;
		}			metrics[] = {
			{"nodedb_member_state", pg_atomic_read_u32(&s->member_state), "0 no cluster, 1 starting, 2 running, 3 quarantined, 4 failed"},
			{"nodedb_commits_local_total", pg_atomic_read_u64(&s->commits_local), "transactions of this node's clients that went through the log and committed"},
			{"nodedb_entries_applied_total", pg_atomic_read_u64(&s->commits_applied), "entries that the applier brought into local tables"},
			{"nodedb_conflicts_total", pg_atomic_read_u64(&s->aborts_conflict), "transactions of this node's clients that the log refused (40001)"},
			{"nodedb_statement_retries_total", pg_atomic_read_u64(&s->retries), "times that the server ran a statement of this node's clients again after a conflict"},
			{"nodedb_statements_retried_total", pg_atomic_read_u64(&s->retried), "statements that committed after that"},
			{"nodedb_retry_reservations_total", pg_atomic_read_u64(&s->retry_reservations), "reservations that such statements made"},
			{"nodedb_handed_over_total", pg_atomic_read_u64(&s->handed_over), "certified transactions whose backend failed and that the applier applied"},
			{"nodedb_kicked_total", pg_atomic_read_u64(&s->kicked), "local transactions told to give way to the applier (40001)"},
			{"nodedb_lost_early_total", pg_atomic_read_u64(&s->lost_early), "proposed local transactions that were told of a lost conflict before the log came to them (40001)"},
			{"nodedb_demoted_total", pg_atomic_read_u64(&s->demoted), "proposed local transactions that gave way to the applier (40003)"},
			{"nodedb_apply_retries_total", pg_atomic_read_u64(&s->apply_retries), "batches that the applier rolled back and tried again"},
			{"nodedb_bulk_applied_total", pg_atomic_read_u64(&s->bulk_applied), "large transactions of other nodes that were replayed ahead of their turn"},
			{"nodedb_bulk_given_up_total", pg_atomic_read_u64(&s->bulk_given_up), "large transactions that were begun ahead of their turn and did not commit, or gave way"},
			{"nodedb_scrub_rounds_total", pg_atomic_read_u64(&s->scrub_rounds), "times that the whole log was read again and verified"},
			{"nodedb_scrub_bytes_total", pg_atomic_read_u64(&s->scrub_bytes), "bytes of the log that were read again and verified"},
			{"nodedb_log_damages_total", pg_atomic_read_u64(&s->log_damages), "damaged places found in the log; the server log names file and offset"},
			{"nodedb_sequencer_ordered", pg_atomic_read_u64(&s->sequencer_ordered), "transactions over several groups that the cluster has ordered, as far as this node knows"},
			{"nodedb_sequencer_decided", pg_atomic_read_u64(&s->sequencer_decided), "transactions over several groups that the cluster has decided, as far as this node knows"},
			{"nodedb_sequencer_unfinished", pg_atomic_read_u64(&s->sequencer_unfinished), "transactions over several groups whose outcome is not in the logs of all their groups"},
			{"nodedb_tickets_open", pg_atomic_read_u64(&s->tickets_end) - pg_atomic_read_u64(&s->turn), "committed entries not yet applied here"},
		};

		for (int i = 0; i < lengthof(metrics); i++)
		{
			Datum		values[3];
			bool		nulls[3] = {false};

			values[0] = CStringGetTextDatum(metrics[i].name);
			values[1] = Int64GetDatum((int64) metrics[i].value);
			values[2] = CStringGetTextDatum(metrics[i].help);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

Datum
nodedb_applied_index(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) nodedb_watermark(check_group(PG_GETARG_INT32(0))));
}

Datum
nodedb_wait_applied(PG_FUNCTION_ARGS)
{
	wait_watermark(check_group(PG_GETARG_INT32(0)), (uint64) PG_GETARG_INT64(1), PG_GETARG_INT32(2));
	PG_RETURN_VOID();
}
