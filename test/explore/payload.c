/*
 * payload.c: between the core's messages and entries and their small form in the world.
 *
 * The bytes of every payload are numbered; the blobs handed to the cores are made once and stay, outside of the world. Their counts of references are
 * worth nothing, for worlds are forgotten with their references: they are set anew often enough to stay far from zero.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

#define REFS (1u << 30)
#define PAYLOADS 255

static NdBlob *payloads[PAYLOADS + 1];
static uint32_t n_payloads;

uint8_t x_byte(uint64_t v)
{
	if (v > UINT8_MAX)
	{
		fprintf(stderr, "a number outgrew its byte: the bound is too large\n");
		exit(2);
	}
	return (uint8_t) v;
}

uint8_t x_payload(RaftEntryKind kind, const NdBlob *b)
{
	uint32_t	len = b == NULL ? 0 : b->len;

	if (kind == RAFT_ENTRY_NOOP || len == 0)
		return 0;
	for (uint32_t i = 1; i <= n_payloads; i++)
		if (payloads[i]->len == len && memcmp(payloads[i]->data, b->data, len) == 0)
			return (uint8_t) i;
	if (n_payloads == PAYLOADS || (payloads[n_payloads + 1] = malloc(sizeof(NdBlob) + len)) == NULL)
	{
		fprintf(stderr, "too many payloads: the bound is too large\n");
		exit(2);
	}
	n_payloads++;
	*payloads[n_payloads] = (NdBlob) {.refs = REFS, .len = len};
	memcpy(payloads[n_payloads]->data, b->data, len);
	return (uint8_t) n_payloads;
}

NdBlob *x_payload_blob(uint8_t payload)
{
	if (payload == 0)
		return NULL;
	payloads[payload]->refs = REFS;
	return payloads[payload];
}

void x_payload_renew(void)
{
	for (uint32_t i = 1; i <= n_payloads; i++)
		payloads[i]->refs = REFS;
}

void x_pack_message(const RaftMessage *m, XMessage *out)
{
	memset(out, 0, sizeof(*out));
	out->to = x_byte(m->to);
	out->from = x_byte(m->from);
	out->type = x_byte(m->type);
	out->term = x_byte(m->term);
	out->index = x_byte(m->index);
	out->log_term = x_byte(m->log_term);
	out->commit = x_byte(m->commit);
	out->hint_index = x_byte(m->hint_index);
	out->hint_term = x_byte(m->hint_term);
	out->context = x_byte(m->context);
	out->reject = m->reject;
	if (m->n_entries > X_APPEND)
	{
		fprintf(stderr, "X_APPEND is too small\n");
		exit(2);
	}
	out->n_entries = (uint8_t) m->n_entries;
	for (uint32_t i = 0; i < m->n_entries; i++)
		out->entries[i] = (XEntry) {x_byte(m->entries[i].term), m->entries[i].kind, x_payload(m->entries[i].kind, m->entries[i].payload)};
}

void x_unpack_message(const XMessage *m, RaftMessage *out, RaftEntry *entries)
{
	memset(out, 0, sizeof(*out));
	out->type = m->type;
	out->group = X_GROUP;
	out->from = m->from;
	out->to = m->to;
	out->term = m->term;
	out->index = m->index;
	out->log_term = m->log_term;
	out->commit = m->commit;
	out->hint_index = m->hint_index;
	out->hint_term = m->hint_term;
	out->context = m->context;
	out->reject = m->reject;
	out->n_entries = m->n_entries;
	out->entries = entries;
	for (uint32_t i = 0; i < m->n_entries; i++)
		entries[i] = (RaftEntry) {m->index + 1 + i, m->entries[i].term, m->entries[i].kind, x_payload_blob(m->entries[i].payload)};
}
