/*
 * scrub.c: the log is read again at a steady pace, to find damage while the other nodes have what is lost here; what is done about damage.
 *
 * The pace is bytes per second, saved up over ticks until a step is worth its calls. While the disk is busy nothing is saved up beyond a second:
 * the scrub gives way, and does not catch up.
 */
#include "node_internal.h"

/* Everything of this node stands on one log: a replica whose log is damaged must not serve, vote or acknowledge (DESIGN.md, section 7). */
bool node__log_lost(Node *n, NdStatus status)
{
	StoreStatus s;

	if (status != ND_DAMAGED && status != ND_IO)
		return false;
	store_status(n->store, &s);
	node__fail(n, status, s.damage != NULL ? s.damage : "the log cannot be read");
	return true;
}

/* Damage where nothing live stands: the node goes on, somebody should look at the disk. */
static void tell(Node *n)
{
	StoreStatus s;

	store_status(n->store, &s);
	if (s.damages > n->damages)
		node__log(n, 2, "the log is damaged where nothing needed stands: %s", s.damage);
	n->damages = s.damages;
}

void node__scrub(Node *n)
{
	uint64_t	rate = n->config.scrub_bytes_per_s;
	uint64_t	step = rate / 4 < STORE_SCRUB_STEP ? rate / 4 + 1 : STORE_SCRUB_STEP;
	NdStatus	status = ND_OK;

	if (rate == 0)
		return;
	n->scrub_credit += rate * n->config.tick_ms;
	if (n->scrub_credit > rate * 1000)
		n->scrub_credit = rate * 1000;
	while (status == ND_OK && n->scrub_credit >= step * 1000)
	{
		status = store_scrub(n->store, step);
		if (status == ND_OK)
			n->scrub_credit -= step * 1000;
	}
	if (!node__log_lost(n, status))
		tell(n);
}

void node_set_scrub_rate(Node *n, uint64_t bytes_per_s)
{
	n->config.scrub_bytes_per_s = bytes_per_s;
}
