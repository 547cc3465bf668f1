/*
 * certifier_kit.h: what the certifier's test programs share: entries by value.
 */
#ifndef CERTIFIER_KIT_H
#define CERTIFIER_KIT_H

#include "../../src/core/certifier/certifier.h"

#define KIT_KEYS_MAX 64
#define KIT_CHUNKS_MAX 4

typedef struct KitEntry
{
	EntryKind	kind;
	uint16_t	flags;
	TxnId		txn;
	uint64_t	base;
	EntryKey	keys[KIT_KEYS_MAX];
	uint32_t	n_keys;
	uint64_t	read_base;		/* TXN */
	EntryKey	reads[KIT_KEYS_MAX];
	uint32_t	n_reads;
	uint64_t	chunks[KIT_CHUNKS_MAX];
	uint32_t	n_chunks;
	uint64_t	position;		/* MARKER, OUTCOME (flags: commit); both of groups 1 and 2 */
	uint64_t	previous;
	uint64_t	decision;
	bool		waits;			/* RESERVE: it has a body */
	uint64_t	age;
} KitEntry;

/* Encode, decode, certify. Sorts the entry's keys. Only the certifier's own allocations are counted and fail (nomem_kit.h). */
NdStatus	kit_certify(Certifier *c, uint64_t index, KitEntry *e, Verdict *v);
/* certifier_is_lost() of a TXN or of what a MARKER would judge. Sorts the entry's keys. */
bool		kit_is_lost(const Certifier *c, KitEntry *e, Verdict *v);

#endif
