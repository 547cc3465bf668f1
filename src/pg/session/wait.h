/*
 * wait.h: waiting for the turnstile and for watermarks, in any backend. Sleeps on a condition variable; interrupts are served.
 */
#ifndef NODEDB_WAIT_H
#define NODEDB_WAIT_H

#include "../shmem.h"

/* Until ticket `ticket` has passed the turnstile. */
extern void wait_turn_passed(uint64 ticket);
/* Until the effects of entry `index` are visible; ereports after timeout_ms, or when the node stops applying. */
extern void wait_watermark(NdGroupId group, uint64 index, int timeout_ms);

/*
 * Until all connected nodes show entry `index` too, at most timeout_ms. Raises no error: it is called when the transaction is committed, before its locks
 * are released. False: not all of them do yet.
 */
extern bool wait_shown(NdGroupId group, uint64 index, int timeout_ms);

/*
 * Until all connected nodes have replayed what they replay ahead of the chunks up to index; no longer than timeout_ms after the last of them made headway. Interrupts
 * are served: nothing is proposed yet.
 */
extern void wait_prepared(NdGroupId group, uint64 index, int timeout_ms);

/* ereports when this node has stopped applying: whoever waits for it would wait for ever. */
extern void check_applying(void);

#endif
