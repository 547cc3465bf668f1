/*
 * fuzz_raft.c: the input chooses what befalls a small cluster of Raft groups (test/unit/raft_events.h). Two kinds of runs, by the first byte:
 *
 * Honest: messages are lost, doubled, late, but as they were sent. Every invariant of the harness holds after every event, nothing freezes, and
 * when all is mended the cluster agrees and takes a proposal.
 *
 * Lying: now and then a message is delivered with one field changed, as no correct peer would send it. Raft does not defend the cluster against
 * that: committed entries may differ, and a group may freeze. But each core stays consistent in itself or freezes with a reason, and touches no
 * memory that is not its own.
 */
#include "../unit/raft_events.h"

#include "fuzz.h"

#define EVENTS_MAX 3000

static uint64_t odd_number(NdReader *c, uint64_t was)
{
	uint8_t		how = nd_read_u8(c);

	switch (how % 8)
	{
		case 0:
			return 0;
		case 1:
			return UINT64_MAX - how / 8;
		case 2:
			return nd_read_u64(c);
		case 3:
			return was + how;
		default:
			return was + how / 8 % 7 - 3;
	}
}

/* One field changed; the frame's decoder would let it pass (wire.h): entries stay consecutive. */
static void change_field(NdReader *c, RaftMessage *m)
{
	uint64_t   *numbers[] = {&m->term, &m->index, &m->log_term, &m->commit, &m->hint_index, &m->hint_term, &m->context};
	uint32_t	field = nd_read_u8(c) % 14;

	if (field < 7)
		*numbers[field] = odd_number(c, *numbers[field]);
	else if (field == 7)
		m->from = 1 + nd_read_u8(c) % (H_NODES - 1);
	else if (field == 8)
		m->reject = !m->reject;
	else if (field == 9 && m->n_entries > 0)
		m->n_entries = nd_read_u8(c) % m->n_entries;
	else if (field == 10 && m->n_entries > 0)
	{
		RaftEntry  *e = &m->entries[nd_read_u8(c) % m->n_entries];

		e->term = odd_number(c, e->term);
	}
	else if (field == 11 && m->n_entries > 0)
		m->entries[nd_read_u8(c) % m->n_entries].kind = nd_read_u8(c) % 3;
	else if (field == 12)
		m->type = RAFT_MSG_PREVOTE + nd_read_u8(c) % RAFT_MSG_READ_INDEX_REPLY;
	else
		m->to = 1 + nd_read_u8(c) % (H_NODES - 1);
	for (uint32_t i = 0; i < m->n_entries; i++)
		m->entries[i].index = m->index + 1 + i;
	if (m->type != RAFT_MSG_APPEND || m->index > UINT64_MAX - m->n_entries)
		m->n_entries = 0;
}

static void lie(Run *r)
{
	Harness    *h = &r->h;
	RaftMessage m;

	if (h->n_net == 0)
		return;
	m = h_copy_message(&h->net[below(r, h->n_net)]);
	change_field(r->choices, &m);
	if (nd_read_u8(r->choices) % 4 == 0)
		change_field(r->choices, &m);
	h_step(h, &m);
}

/* What liars can do to a cluster. A frozen group is down until the input starts it again. */
static void forgive(Run *r)
{
	static const char *const cluster[] = {"two leaders in one term", "a leader without an entry that was committed before",
		"different entries committed at one index", "committed without a majority of disks",
		"a read index below what was committed when it was asked"};
	Harness    *h = &r->h;
	bool		forgiven = h->error[0] == '\0';

	for (size_t i = 0; i < sizeof(cluster) / sizeof(cluster[0]); i++)
		forgiven = forgiven || strstr(h->error, cluster[i]) != NULL;
	for (NdNodeId id = 1; id < H_NODES; id++)
		if (h->nodes[id].raft != NULL && raft_frozen_reason(h->nodes[id].raft) != NULL)
		{
			forgiven = forgiven || strstr(h->error, raft_frozen_reason(h->nodes[id].raft)) != NULL;
			h_crash(h, id);
		}
	if (forgiven)
		h->error[0] = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Run		   *r = h_alloc(sizeof(Run));
	NdReader	choices;
	bool		lying;

	nd_reader_init(&choices, data, size);
	r->choices = &choices;
	lying = nd_read_u8(&choices) % 2 == 1;
	r_init(r, nd_read_u8(&choices));
	r->h.config.frugal = below(r, 2);
	for (int i = 0; i < EVENTS_MAX && !choices.failed && r->h.error[0] == '\0'; i++)
	{
		if (lying && below(r, 4) == 0)
			lie(r);
		else
			r_event(r);
		if (lying)
			forgive(r);
	}
	if (!lying && r->h.error[0] == '\0')
		r_heal(r);
	if (r->h.error[0] != '\0')
		fprintf(stderr, "%s\n", r->h.error);
	MUST(r->h.error[0] == '\0');
	h_free(&r->h);
	free(r);
	return 0;
}
