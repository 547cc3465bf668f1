/*
 * nomem_kit.h: an allocator whose n-th allocation fails, for all tests of what happens without memory.
 *
 * Allocations are numbered from 1, from the last nomem_fail() on. memvfs takes its memory elsewhere, so disks of tests never fail by this.
 */
#ifndef ND_NOMEM_KIT_H
#define ND_NOMEM_KIT_H

#include "../../src/core/base/base.h"

#define NOMEM_ALL UINT64_MAX

/* At the start of a program, before anything is allocated. */
void		nomem_install(void);
/* The allocations number from, from + 1, ... fail, `count` of them (NOMEM_ALL: all). from 0: none fails. Numbers begin anew. */
void		nomem_fail(uint64_t from, uint64_t count);
/* Has one failed since? */
bool		nomem_failed(void);
/* Meanwhile allocations are neither counted nor do they fail: for what a test does on its own. */
void		nomem_pause(bool pause);
long		nomem_live(void);		/* blocks that were not freed yet */

/*
 * Runs `what` again and again: in run n the n-th allocation fails and the count - 1 behind it, until a run needs no more than n - 1. Each run frees
 * what it has allocated (else the test fails). Returns the number of runs in which something failed.
 */
uint64_t	nomem_each(void (*what) (void *arg), void *arg, uint64_t count);

/*
 * The same for one call: status = call(arg) with the n-th allocation failing must be ND_NOMEM, and unchanged(arg), if not NULL, is asked after each; until
 * it is ND_OK. Returns the number of failures.
 */
uint64_t	nomem_call(NdStatus (*call) (void *arg), void (*unchanged) (void *arg), void *arg);

#endif
