/*
 * count_kit.h: an allocator that counts bytes, for what memory things need; malloc's own overhead is not in it.
 */
#ifndef ND_COUNT_KIT_H
#define ND_COUNT_KIT_H

#include <stddef.h>

/* When nothing is allocated that will be freed behind it. */
void		count_install(void);
/* Allocated now. */
size_t		count_bytes(void);

#endif
