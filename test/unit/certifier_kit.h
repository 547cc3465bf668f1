/*
 * certifier_kit.h: what the certifier's test programs share: entries by value, and an allocator that fails when told.
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
} KitEntry;

/* Encode, decode, certify. Sorts the entry's keys. Encoding memory does not come from nd_alloc()'s countdown. */
NdStatus	kit_certify(Certifier *c, uint64_t index, KitEntry *e, Verdict *v);

/* From now on every allocation is counted; the one after `n` more fails, and all that follow. -1: none fails. */
void		kit_fail_after(long n);
/* Install at the start of a program, before anything is allocated. */
void		kit_install_allocator(void);
long		kit_live_blocks(void);

#endif
