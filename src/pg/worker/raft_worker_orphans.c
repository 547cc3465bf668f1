/*
 * raft_worker_orphans.c: ends what a transaction of this server has left in the log though it is over.
 *
 * A transaction ends its reservations and chunks with its TXN or a CANCEL. The CANCEL of one that failed can be lost: with a majority for longer than
 * its deadline, or because the raft worker had no room or memory for it. Then its tables would refuse every write of every node until this
 * server starts again. (What other nodes leave, and earlier lives of this one: src/node/orphan.c.)
 *
 * So whenever an entry is refused because of a reservation, the owner's node looks at it: an id of this life that no slot works on is cancelled.
 *
 * Invariant: a CANCEL is always safe. It is a tombstone: were the owner alive after all, its TXN would abort, and its client hear 40001.
 */
#include "raft_worker_orphans.h"

#include "raft_worker.h"

#define SUSPECTS 16
#define CANCEL_TICKS (3600 * 1000 / TICK_MS)

static struct
{
	NdGroupId	group;
	TxnId		owner;
}			suspects[SUSPECTS];
static uint32 n_suspects = 0;

static bool
is_over(TxnId owner)
{
	/* It owns by a MARKER, or may soon: nobody but the sequencer ends it. */
	if (node_sequencer(rw.node) != NULL && sequencer_find(node_sequencer(rw.node), owner) != NULL)
		return false;
	for (uint32 i = 0; i < nodedb_shared->n_slots; i++)
		if (nodedb_slots[i].counter == owner.counter)
			return false;
	return true;
}

void
orphans_suspect(NdGroupId group, TxnId owner)
{
	if (n_suspects == SUSPECTS || owner.node != rw.identity.node || owner.incarnation != rw.identity.incarnation || !is_over(owner))
		return;
	for (uint32 i = 0; i < n_suspects; i++)
		if (suspects[i].group == group && txnid_compare(suspects[i].owner, owner) == 0)
			return;
	suspects[n_suspects].group = group;
	suspects[n_suspects++].owner = owner;
}

void
orphans_work(void)
{
	while (n_suspects > 0 && rw.node != NULL)
	{
		NdGroupId	group = suspects[n_suspects - 1].group;
		TxnId		owner = suspects[n_suspects - 1].owner;
		NdBuf		header;
		NdBlob	   *blob = NULL;
		NdStatus	status = ND_NOMEM;

		nd_buf_init(&header);
		if (entry_encode_header(&header, ENTRY_CANCEL, 0, owner, nodedb_watermark(group), NULL, 0, NULL, 0) == ND_OK && !header.failed)
			blob = nd_blob_new(header.data, header.len);
		if (blob != NULL)
			status = node_propose(rw.node, group, blob, CANCEL_TICKS);
		nd_blob_unref(blob);
		nd_buf_free(&header);
		if (status == ND_NOMEM || status == ND_BUSY)
			return;				/* in a later round */
		n_suspects--;
	}
}
