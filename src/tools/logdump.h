/*
 * logdump.h: what the files of nodedb_logdump share.
 */
#ifndef ND_LOGDUMP_H
#define ND_LOGDUMP_H

#include "../core/wire/entry.h"

/*
 * Print the body of a TXN (the bytes of its chunks, in order, and its own): src/pg/tableam/writeset.h has the format. Stops with a line that says so
 * where the bytes make no sense.
 */
void		logdump_body(const uint8_t *data, size_t len);

#endif
