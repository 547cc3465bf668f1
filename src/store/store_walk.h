/*
 * store_walk.h: read a directory of segments as it stands, record by record, changing nothing: for the offline reader and the scrub.
 *
 * Unlike recovery it needs no whole log: it says what is damaged, and goes on behind it. On the directory of a running node it sees what was there
 * when it passed: the newest segment may end anywhere, and segments may vanish.
 */
#ifndef ND_STORE_WALK_H
#define ND_STORE_WALK_H

#include "store_format.h"

typedef struct StoreWalk StoreWalk;

typedef enum StoreWalkKind
{
	STORE_WALK_SEGMENT,			/* begins: header */
	STORE_WALK_BATCH,			/* begins: batch; its checksum is good */
	STORE_WALK_RECORD,			/* record, payload */
	STORE_WALK_DAMAGE,			/* text says what, at segment and offset */
	STORE_WALK_TAIL,			/* no damage: what a crash or a writer under way left of the last flush */
	STORE_WALK_END
} StoreWalkKind;

typedef struct StoreWalkItem
{
	StoreWalkKind kind;
	uint64_t	segment;		/* file number */
	uint64_t	offset;			/* in it */
	uint64_t	bytes;			/* SEGMENT: of the file; BATCH: with header and padding; RECORD: with header and padding */
	StoreSegmentHeader header;	/* SEGMENT */
	StoreBatchHeader batch;		/* BATCH */
	StoreRecord record;			/* RECORD */
	const uint8_t *payload;		/* RECORD: until the next call */
	char		text[200];		/* DAMAGE, TAIL */
} StoreWalkItem;

/* Segments numbered from `first` to `last` (0, UINT64_MAX: all). ND_NOTFOUND (no directory, or no segment), ND_NOMEM, ND_IO. */
NdStatus	store_walk_open(Vfs *vfs, const char *dir, uint64_t first, uint64_t last, StoreWalk **out);
/* ND_OK: *item; its kind is STORE_WALK_END when all was seen. ND_IO: the disk refuses; ND_NOMEM: call again. */
NdStatus	store_walk_next(StoreWalk *w, StoreWalkItem *item);
void		store_walk_close(StoreWalk *w);

#endif
