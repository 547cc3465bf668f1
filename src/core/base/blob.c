/*
 * blob.c: immutable bytes shared by reference inside one thread.
 *
 * Invariants:
 * 1. The count is not atomic: a blob never crosses threads.
 * 2. Bytes are written only by the creator, before the second reference.
 */
#include "base.h"

#include <string.h>

NdBlob *nd_blob_new(const void *data, uint32_t len)
{
	NdBlob	   *blob = nd_alloc(sizeof(NdBlob) + (size_t) len);

	if (blob == NULL)
		return NULL;
	blob->refs = 1;
	blob->len = len;
	if (data != NULL && len > 0)
		memcpy(blob->data, data, len);
	return blob;
}

NdBlob *nd_blob_ref(NdBlob *blob)
{
	if (blob != NULL)
		blob->refs++;
	return blob;
}

void nd_blob_unref(NdBlob *blob)
{
	if (blob != NULL && --blob->refs == 0)
		nd_free(blob);
}
