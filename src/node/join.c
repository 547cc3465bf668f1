/*
 * join.c: who may come in and under which id: the meta record of group 0 (token hash, highest id ever, number of data groups, limits of the
 * certifiers), and join requests.
 *
 * Invariants:
 * 1. The meta record is written by a leader only when it has delivered everything committed: it changes what it knows, never what it has missed.
 * 2. A join is accepted when the configuration with the new member is committed, not before: an id that was told to somebody stays his.
 * 3. The same name, address and host id get the same id, however often they ask, until that node has acknowledged anything: one that asks then has
 *    lost its log, and what it once promised must not be answered for by an empty one. It is removed, and joins as a new node.
 */
#include <stdio.h>
#include <string.h>

#include "node_internal.h"

NdStatus node__take_meta(Node *n, const RaftEntry *e)
{
	WireMeta	meta;
	NdStatus	status = e->payload == NULL ? ND_INVALID : wire_decode_meta(e->payload->data, e->payload->len, &meta);

	/* The cluster goes by what it says: to go on by an older record, or to write one above it, would undo that. */
	if (status == ND_VERSION)
		return status;
	if (status != ND_OK)
	{
		node__log(n, 2, "the entry at %llu of group 0 cannot be read: %s", (unsigned long long) e->index, nd_status_text(status));
		return ND_OK;
	}
	if (meta.replication_factor != n->meta.replication_factor)
		node__alarm(n->groups[0], "the cluster keeps %u replicas of each data group, but this version places one on every node", meta.replication_factor);
	n->meta = meta;
	n->has_meta = true;
	n->changed = true;
	return node__make_groups(n, e->index);
}

/* The limits in the log of group 0, delivered or not: they are the same in all its records. */
static bool limits_in_log(Node *n, CertifierLimits *out)
{
	bool		found = false;

	for (uint64_t i = store_first_index(n->store, ND_GROUP_META); !found && i <= store_last_index(n->store, ND_GROUP_META); i++)
	{
		RaftEntry	e;
		uint32_t	got = 0;
		WireMeta	meta;

		if (store_entries(n->store, ND_GROUP_META, i, i + 1, UINT32_MAX, &e, 1, &got) != ND_OK || got == 0)
			return false;
		found = e.kind == RAFT_ENTRY_DATA && e.payload != NULL && wire_decode_meta(e.payload->data, e.payload->len, &meta) == ND_OK;
		if (found)
			*out = (CertifierLimits) {.keys_max = meta.certifier_keys_max, .ids_max = meta.certifier_ids_max};
		nd_blob_unref(e.payload);
	}
	return found;
}

CertifierLimits node__certifier_limits(Node *n)
{
	CertifierLimits limits = n->config.certifier;

	if (n->has_meta)
		limits = (CertifierLimits) {.keys_max = n->meta.certifier_keys_max, .ids_max = n->meta.certifier_ids_max};
	else
		(void) limits_in_log(n, &limits);
	return limits;
}

static WireMeta wanted_meta(const Node *n)
{
	WireMeta	m = n->meta;

	if (!n->has_meta)
	{
		m.n_data_groups = node__data_groups(n);
		m.certifier_keys_max = n->config.certifier.keys_max;
		m.certifier_ids_max = n->config.certifier.ids_max;
	}
	if (n->highest_seen > m.highest_node)
		m.highest_node = n->highest_seen;
	if (n->want_token)
	{
		m.has_token = true;
		memcpy(m.token_hash, n->token_hash, sizeof(m.token_hash));
	}
	return m;
}

bool node__meta_settled(const Node *n)
{
	NodeGroup  *g = n->groups[0];

	raft_status(g->raft, &g->node->scratch_status);
	return node__ready(g) && g->leads && n->scratch_status.term_committed && g->delivered >= g->commit &&
		!(n->meta_proposed > g->delivered && n->meta_term == g->term);
}

NdStatus node__propose_meta(Node *n, const WireMeta *m)
{
	NodeGroup  *g = n->groups[0];
	NdStatus	status;
	NdBuf		buf;
	NdBlob	   *blob = NULL;

	nd_buf_init(&buf);
	status = wire_encode_meta(m, &buf);
	if (status == ND_OK && (blob = nd_blob_new(buf.data, (uint32_t) buf.len)) == NULL)
		status = ND_NOMEM;
	nd_buf_free(&buf);
	if (status != ND_OK)
		return status;
	status = raft_propose(g->raft, &blob, 1, &n->meta_proposed, &n->meta_term);
	if (status != ND_OK)
		n->meta_proposed = 0;
	node__wake(g);
	node__event(g, status);
	nd_blob_unref(blob);
	return status;
}

void node__reconcile_meta(Node *n)
{
	WireMeta	m = wanted_meta(n);

	if (!node__meta_settled(n))
		return;
	if (n->has_meta && m.highest_node == n->meta.highest_node && m.has_token == n->meta.has_token &&
		wire_token_equal(m.token_hash, n->meta.token_hash))
		return;
	(void) node__propose_meta(n, &m);
}

NdStatus node_set_token(Node *n, const void *secret, size_t len)
{
	if (n->failed != ND_OK)
		return n->failed;
	if (n->groups[0]->stopped != NULL)
		return ND_FROZEN;
	if (!raft_is_leader(n->groups[0]->raft))
		return ND_NOTLEADER;
	wire_token_hash(secret, len, n->token_hash);
	if (n->has_meta && n->meta.has_token && wire_token_equal(n->meta.token_hash, n->token_hash))
	{
		n->want_token = false;
		return ND_OK;
	}
	n->want_token = true;
	node__wake(n->groups[0]);
	return ND_BUSY;
}

/* ---- join requests ---- */

static void refuse(WireJoinAnswer *a, const char *text)
{
	a->kind = WIRE_JOIN_REFUSED;
	snprintf(a->text, sizeof(a->text), "%s", text);
}

static void elsewhere(const Node *n, WireJoinAnswer *a)
{
	const RaftMember *m = raft_configuration_find(&n->goal, n->groups[0]->leader);
	WireMember	w;

	a->kind = WIRE_JOIN_ELSEWHERE;
	if (m != NULL && wire_member_from_raft(m, &w) == ND_OK)
		memcpy(a->leader_address, w.address, sizeof(a->leader_address));
	snprintf(a->text, sizeof(a->text), "this node does not lead the metadata group");
}

static void accept(const Node *n, NdNodeId id, WireJoinAnswer *a)
{
	a->kind = WIRE_JOIN_ACCEPTED;
	a->cluster_id = n->config.cluster_id;
	a->node = id;
	a->n_data_groups = n->meta.n_data_groups;
	a->certifier_keys_max = n->meta.certifier_keys_max;
	a->certifier_ids_max = n->meta.certifier_ids_max;
	a->has_sequencer = n->sequencer_group != NULL;
	for (uint32_t i = 0; i < n->goal.n; i++)
		if (wire_member_from_raft(&n->goal.members[i], &a->members[a->n_members]) == ND_OK)
			a->n_members++;
}

/* Has this member a vote anywhere, or has it acknowledged entries of group 0 to us? scratch_status: group 0's. */
static bool has_begun(const Node *n, NdNodeId id)
{
	for (uint32_t i = 0; i < n->n_groups; i++)
	{
		const RaftMember *m = raft_configuration_find(raft_configuration(n->groups[i]->raft), id);

		if (m != NULL && m->role == RAFT_VOTER)
			return true;
	}
	for (uint32_t i = 0; i < n->scratch_status.n_peers; i++)
		if (n->scratch_status.peers[i].node == id && n->scratch_status.peers[i].match > 0)
			return true;
	return false;
}

/* ND_OK: judged; ND_NOTFOUND: nobody like him is known, he may be added. */
static NdStatus compare_members(const Node *n, const WireJoinRequest *r, WireJoinAnswer *a)
{
	WireMember	w;

	for (uint32_t i = 0; i < n->goal.n; i++)
	{
		bool		name;
		bool		address;
		bool		host;

		if (wire_member_from_raft(&n->goal.members[i], &w) != ND_OK)
			continue;
		name = strcmp(w.name, r->name) == 0;
		address = strcmp(w.address, r->address) == 0;
		host = w.host_id == r->host_id;
		if (!name && !address && !(host && r->host_id != 0))
			continue;
		if (name && address && host && !w.leaving && !has_begun(n, w.node))
			accept(n, w.node, a);
		else if (name && address && host && !w.leaving)
		{
			a->kind = WIRE_JOIN_REFUSED;
			snprintf(a->text, sizeof(a->text), "this server is node %u of the cluster already, and has lost its log; remove it with nodedb.remove_node(%u), then join "
					 "again", w.node, w.node);
		}
		else if (w.leaving)
			refuse(a, "a node of this name, address or system identifier is being removed; join when it is gone");
		else if (name)
			refuse(a, "another node has this name");
		else if (address)
			refuse(a, "another node has this address");
		else
			refuse(a, "another node has this system identifier; a copied data directory cannot join");
		return ND_OK;
	}
	return ND_NOTFOUND;
}

/* ND_OK: `a` is the answer; ND_BUSY: not decided. */
static NdStatus judge(Node *n, const WireJoinRequest *r, WireJoinAnswer *a)
{
	NodeGroup  *g = n->groups[0];
	uint8_t		hash[WIRE_TOKEN_HASH_BYTES];
	NodeMember	m = {.role = RAFT_LEARNER, .host_id = r->host_id};
	NdStatus	status;

	if (!node__ready(g) || !g->leads)
	{
		if (g->leader == 0 || g->leader == n->config.self)
			return ND_BUSY;
		elsewhere(n, a);
		return ND_OK;
	}
	raft_status(g->raft, &n->scratch_status);
	if (!n->scratch_status.term_committed || g->delivered < g->commit || !n->has_meta)
		return ND_BUSY;
	wire_token_hash(r->token, strlen(r->token), hash);
	if (!n->meta.has_token || !wire_token_equal(hash, n->meta.token_hash))
	{
		refuse(a, "the join token is wrong");
		return ND_OK;
	}
	if (r->format_min > ENTRY_FORMAT || r->format_max < ENTRY_FORMAT)
	{
		refuse(a, "this cluster's data format cannot be read by the joining node's version");
		return ND_OK;
	}
	status = compare_members(n, r, a);
	if (status == ND_OK)
		return ND_OK;
	m.node = (n->meta.highest_node > n->highest_seen ? n->meta.highest_node : n->highest_seen) + 1;
	memcpy(m.name, r->name, sizeof(m.name));
	memcpy(m.address, r->address, sizeof(m.address));
	status = node_add_member(n, &m);
	if (status == ND_TOOBIG)
	{
		refuse(a, "the cluster has as many nodes as it can have");
		return ND_OK;
	}
	/* Proposed, or somebody else's change is under way (then the newest configuration may hold this very id: also later). */
	return ND_BUSY;
}

NdStatus node_handle_join(Node *n, const uint8_t *request, size_t len, NdBuf *answer)
{
	WireJoinRequest r;
	WireJoinAnswer *a;
	NdStatus	status;

	if (n->failed != ND_OK)
		return n->failed;
	a = nd_zalloc(sizeof(*a));
	if (a == NULL)
		return ND_BUSY;
	status = wire_decode_join_request(request, len, &r);
	if (status == ND_OK)
		status = judge(n, &r, a);
	else if (status == ND_INVALID)
	{
		refuse(a, "the request is malformed");
		status = ND_OK;
	}
	if (status == ND_OK)
		status = wire_encode_join_answer(a, answer);
	nd_free(a);
	if (status == ND_NOMEM)
	{
		nd_buf_free(answer);
		nd_buf_init(answer);
		status = ND_BUSY;
	}
	return status;
}
