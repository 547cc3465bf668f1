/*
 * store_kit.h: what the store's tests share: a store on a memory disk, short ways to write and flush, checks of what is stored.
 */
#ifndef ND_STORE_KIT_H
#define ND_STORE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/store/store.h"
#include "../sim/memvfs.h"

#define KIT_DIR "log"
#define KIT_SEGMENT (16 * 1024)
#define KIT_SECTOR 512

typedef struct Kit
{
	MemVfs	   *m;
	Store	   *s;
	StoreConfig config;
	char		error[400];
} Kit;

void		kit_init(Kit *k);
void		kit_free(Kit *k);
NdStatus	kit_open(Kit *k);				/* closes an open one first */
void		kit_must_open(Kit *k);
void		kit_crash(Kit *k, uint64_t seed);	/* close, crash */
uint64_t	kit_flush(Kit *k);				/* start and finish; returns the durable number */

void		kit_configuration(RaftConfiguration *c, uint64_t index, uint32_t n);	/* nodes 1..n are voters */
void		kit_group(Kit *k, NdGroupId group);	/* with three voters */
/* The payload of an entry is a function of (group, index, term, len), so that a reader can check it without a model. */
NdBlob	   *kit_payload(NdGroupId group, uint64_t index, uint64_t term, uint32_t len);
NdStatus	kit_append(Kit *k, NdGroupId group, uint64_t index, uint64_t term, uint32_t n, uint32_t len);
void		kit_must_append(Kit *k, NdGroupId group, uint64_t index, uint64_t term, uint32_t n, uint32_t len);
/* Entry `index` is there, of this term, with its payload; by store_entries() and by store_read_position() when durable. */
void		kit_check_entry(Kit *k, NdGroupId group, uint64_t index, uint64_t term, bool durable);
void		kit_path(uint64_t segment, char out[64]);

#endif
