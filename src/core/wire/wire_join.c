/*
 * wire_join.c: join requests and answers. Texts are cut off nowhere: what does not fit is malformed.
 */
#include <string.h>

#include "wire_internal.h"

/* A zero-terminated copy; false when it does not fit. */
static bool copy_text(char *out, size_t cap, const char *text)
{
	size_t		len = strlen(text);

	if (len >= cap)
		return false;
	memcpy(out, text, len + 1);
	return true;
}

NdStatus wire_encode_join_request(const WireJoinRequest *r, NdBuf *out)
{
	Nodedb__JoinRequest m = NODEDB__JOIN_REQUEST__INIT;

	m.token = (char *) r->token;
	m.name = (char *) r->name;
	m.address = (char *) r->address;
	m.host_id = r->host_id;
	m.format_min = r->format_min;
	m.format_max = r->format_max;
	wire__pack(out, &m.base);
	return out->failed ? ND_NOMEM : ND_OK;
}

NdStatus wire_decode_join_request(const uint8_t *data, size_t len, WireJoinRequest *out)
{
	WireMemory	memory;
	Nodedb__JoinRequest *m;
	NdStatus	status = ND_OK;

	wire__memory_init(&memory);
	m = nodedb__join_request__unpack(&memory.base, len, data);
	if (m == NULL)
		return memory.failed ? ND_NOMEM : ND_INVALID;
	memset(out, 0, sizeof(*out));
	out->host_id = m->host_id;
	out->format_min = m->format_min;
	out->format_max = m->format_max;
	if (!copy_text(out->token, sizeof(out->token), m->token) ||
		!copy_text(out->name, sizeof(out->name), m->name) ||
		!copy_text(out->address, sizeof(out->address), m->address) ||
		out->name[0] == '\0' || out->address[0] == '\0')
		status = ND_INVALID;
	nodedb__join_request__free_unpacked(m, &memory.base);
	return status;
}

NdStatus wire_encode_join_answer(const WireJoinAnswer *a, NdBuf *out)
{
	Nodedb__JoinAnswer m = NODEDB__JOIN_ANSWER__INIT;
	Nodedb__Member members[RAFT_MEMBERS_MAX];
	Nodedb__Member *pointers[RAFT_MEMBERS_MAX];

	if (a->n_members > RAFT_MEMBERS_MAX)
		return ND_INVALID;
	m.kind = a->kind;
	m.text = (char *) a->text;
	m.leader_address = (char *) a->leader_address;
	m.cluster_id = a->cluster_id;
	m.node = a->node;
	m.n_data_groups = a->n_data_groups;
	m.certifier_keys_max = a->certifier_keys_max;
	m.certifier_ids_max = a->certifier_ids_max;
	m.has_sequencer = a->has_sequencer;
	for (uint32_t i = 0; i < a->n_members; i++)
	{
		nodedb__member__init(&members[i]);
		members[i].node = a->members[i].node;
		members[i].role = a->members[i].role;
		members[i].name = (char *) a->members[i].name;
		members[i].address = (char *) a->members[i].address;
		members[i].host_id = a->members[i].host_id;
		members[i].leaving = a->members[i].leaving;
		pointers[i] = &members[i];
	}
	m.n_members = a->n_members;
	m.members = pointers;
	wire__pack(out, &m.base);
	return out->failed ? ND_NOMEM : ND_OK;
}

static bool take_member(const Nodedb__Member *m, WireMember *out)
{
	out->node = m->node;
	out->role = (RaftRole) m->role;
	out->host_id = m->host_id;
	out->leaving = m->leaving;
	return m->node > 0 && m->role <= RAFT_VOTER &&
		copy_text(out->name, sizeof(out->name), m->name) &&
		copy_text(out->address, sizeof(out->address), m->address);
}

NdStatus wire_decode_join_answer(const uint8_t *data, size_t len, WireJoinAnswer *out)
{
	WireMemory	memory;
	Nodedb__JoinAnswer *m;
	NdStatus	status = ND_OK;

	wire__memory_init(&memory);
	m = nodedb__join_answer__unpack(&memory.base, len, data);
	if (m == NULL)
		return memory.failed ? ND_NOMEM : ND_INVALID;
	memset(out, 0, sizeof(*out));
	out->cluster_id = m->cluster_id;
	out->node = m->node;
	out->n_data_groups = m->n_data_groups;
	out->certifier_keys_max = m->certifier_keys_max;
	out->certifier_ids_max = m->certifier_ids_max;
	out->has_sequencer = m->has_sequencer;
	out->kind = (WireJoinKind) m->kind;
	if (m->kind > WIRE_JOIN_LATER || m->n_members > RAFT_MEMBERS_MAX ||
		!copy_text(out->text, sizeof(out->text), m->text) ||
		!copy_text(out->leader_address, sizeof(out->leader_address), m->leader_address))
		status = ND_INVALID;
	for (size_t i = 0; status == ND_OK && i < m->n_members; i++)
	{
		if (!take_member(m->members[i], &out->members[i]))
			status = ND_INVALID;
		out->n_members++;
	}
	nodedb__join_answer__free_unpacked(m, &memory.base);
	return status;
}
