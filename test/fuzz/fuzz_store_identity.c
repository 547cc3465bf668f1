/*
 * fuzz_store_identity.c: any bytes as the identity file. The first byte says whether its checksum is made good. What is accepted is written again
 * and read as the same.
 */
#include "../../src/store/store.h"
#include "../sim/memvfs.h"

#include "fuzz.h"

#define IDENTITY_BYTES 64
#define IDENTITY_MAGIC UINT64_C(0x31746e6449626445)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MemVfs	   *m = memvfs_create();
	Vfs		   *vfs = memvfs_vfs(m);
	StoreIdentity id;
	StoreIdentity again;
	uint64_t	inode;
	uint8_t		bytes[IDENTITY_BYTES];

	if (size > 0 && data[0] % 2 == 1 && size - 1 >= sizeof(bytes))
	{
		NdBuf		sum;

		memcpy(bytes, data + 1, sizeof(bytes));
		nd_buf_init(&sum);
		nd_buf_u64(&sum, nd_checksum(bytes, sizeof(bytes) - 8, IDENTITY_MAGIC));
		memcpy(bytes + sizeof(bytes) - 8, sum.data, 8);
		nd_buf_free(&sum);
		memvfs_put(m, "log/identity", bytes, sizeof(bytes));
	}
	else if (size > 0)
		memvfs_put(m, "log/identity", data + 1, size - 1);
	if (store_identity_read(vfs, "log", &id, &inode) == ND_OK)
	{
		MUST(store_identity_write(vfs, "log", &id) == ND_OK);
		MUST(store_identity_read(vfs, "log", &again, &inode) == ND_OK);
		MUST(id.cluster_id == again.cluster_id && id.node == again.node && id.incarnation == again.incarnation && id.host_id == again.host_id);
		MUST(again.inode == inode);
	}
	memvfs_destroy(m);
	return 0;
}
