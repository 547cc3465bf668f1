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

/*
 * Which connected nodes stand still: quarantined, or stuck with an entry. Whoever waits, for as long as it takes, for what other nodes do asks each time that it looks: a node
 * that is connected, has something to apply in the default data group and has shown nothing new for timeout_ms is not worth waiting for. Zero at the beginning.
 */
typedef struct WaitHeadway
{
	uint64		goal;			/* all that do not stand still have been asked for it, and not told of it yet */
	uint32		told;			/* so many of those that stand still has the client been told of */
	uint32		n;
	struct
	{
		NdNodeId	node;
		uint64		shown;
		TimestampTz since;		/* when it told of something new, or was asked for more */
		bool		still;
		char		name[ND_NAME_MAX];
	}			members[RAFT_MEMBERS_MAX];
} WaitHeadway;

extern void wait_headway(WaitHeadway *w, int timeout_ms);
/* Their ids, an int[] for queries. */
extern Datum wait_headway_still(const WaitHeadway *w);
/* Warns the client of them, once, and says what they will do later. */
extern void wait_headway_warn(WaitHeadway *w, const char *later);

/* ereports when this node has stopped applying: whoever waits for it would wait for ever. */
extern void check_applying(void);

#endif
