/*
 * store_identity.c: <dir>/identity: who this node is, and the inode of the file itself, by which a copied directory is recognised
 * (DESIGN.md, section 5, rule 11).
 *
 * 64 bytes, little-endian: magic 8, format 4, node 4, cluster 8, incarnation 4, zero 4, host 8, inode 8, zero 8, checksum 8.
 * Replaced as a whole: new file, fsync, rename, fsync of the directory. The inode is known before the rename and survives it.
 */
#include "store_internal.h"

#include <stdio.h>
#include <string.h>

#define IDENTITY_MAGIC UINT64_C(0x31746e6449626445)
#define IDENTITY_FORMAT 1
#define IDENTITY_BYTES 64

static void put(uint8_t *at, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (uint8_t) (v >> (8 * i));
}

NdStatus store_identity_read(Vfs *vfs, const char *dir, StoreIdentity *out, uint64_t *inode_now)
{
	char		path[STORE_PATH_MAX];
	uint8_t		bytes[IDENTITY_BYTES];
	NdReader	r;
	VfsFile    *f;
	size_t		got;
	uint32_t	format;
	NdStatus	st;

	if (snprintf(path, sizeof(path), "%s/identity", dir) >= (int) sizeof(path))
		return ND_INVALID;
	st = vfs->ops->open(vfs, path, false, &f);
	if (st != ND_OK)
		return st;
	*inode_now = vfs->ops->inode(vfs, f);
	st = vfs->ops->read(vfs, f, 0, bytes, sizeof(bytes), &got);
	vfs->ops->close(vfs, f);
	if (st != ND_OK)
		return st;
	nd_reader_init(&r, bytes + IDENTITY_BYTES - 8, 8);
	if (got < sizeof(bytes) || nd_read_u64(&r) != nd_checksum(bytes, IDENTITY_BYTES - 8, IDENTITY_MAGIC))
		return ND_DAMAGED;
	nd_reader_init(&r, bytes, sizeof(bytes));
	if (nd_read_u64(&r) != IDENTITY_MAGIC)
		return ND_DAMAGED;
	format = nd_read_u32(&r);
	if (format != IDENTITY_FORMAT)
		return format > IDENTITY_FORMAT ? ND_VERSION : ND_DAMAGED;
	out->node = nd_read_u32(&r);
	out->cluster_id = nd_read_u64(&r);
	out->incarnation = nd_read_u32(&r);
	nd_read_u32(&r);
	out->host_id = nd_read_u64(&r);
	out->inode = nd_read_u64(&r);
	return ND_OK;
}

NdStatus store_identity_write(Vfs *vfs, const char *dir, const StoreIdentity *id)
{
	char		path[STORE_PATH_MAX];
	char		tmp[STORE_PATH_MAX + 8];
	uint8_t		bytes[IDENTITY_BYTES] = {0};
	VfsFile    *f;
	NdStatus	st;

	if (snprintf(path, sizeof(path), "%s/identity", dir) >= (int) sizeof(path))
		return ND_INVALID;
	snprintf(tmp, sizeof(tmp), "%s.tmp", path);
	st = vfs->ops->mkdir(vfs, dir);
	/* a left-over of a crash keeps its inode; a new file must not inherit anything */
	if (st == ND_OK)
	{
		st = vfs->ops->unlink(vfs, tmp);
		st = st == ND_NOTFOUND ? ND_OK : st;
	}
	if (st == ND_OK)
		st = vfs->ops->open(vfs, tmp, true, &f);
	if (st != ND_OK)
		return st;
	put(bytes, IDENTITY_MAGIC, 8);
	put(bytes + 8, IDENTITY_FORMAT, 4);
	put(bytes + 12, id->node, 4);
	put(bytes + 16, id->cluster_id, 8);
	put(bytes + 24, id->incarnation, 4);
	put(bytes + 32, id->host_id, 8);
	put(bytes + 40, vfs->ops->inode(vfs, f), 8);
	put(bytes + 56, nd_checksum(bytes, IDENTITY_BYTES - 8, IDENTITY_MAGIC), 8);
	st = vfs->ops->write(vfs, f, 0, bytes, sizeof(bytes));
	if (st == ND_OK)
		st = vfs->ops->sync(vfs, f);
	vfs->ops->close(vfs, f);
	if (st == ND_OK)
		st = vfs->ops->rename(vfs, tmp, path);
	if (st == ND_OK)
		st = vfs->ops->sync_dir(vfs, dir);
	return st;
}
