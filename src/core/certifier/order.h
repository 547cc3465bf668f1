/*
 * order.h: in which order a leader appends entries that it proposes at once (Lu et al., Aria, VLDB 2020, section 5.2: "reordering").
 *
 * Nobody has been told anything of them, and none has seen another's effect, so any order is as good as the one in which they came: it is the log that makes it
 * the order. A TXN with reads is refused when an entry before it changed what it read, the one that changed it is not refused for that. So who reads stands before
 * who writes it, as far as there is such an order. Two that want the same key in modes that conflict lose one of them in every order: nothing to gain.
 *
 * Pure; what follows is judged by the log as it stands, on every replica: no replica needs to know how the leader chose.
 */
#ifndef ND_ORDER_H
#define ND_ORDER_H

#include "../base/base.h"

#define ORDER_ENTRIES_MAX 256

/*
 * entries  valid encoded entries (wire/entry.h), n of them, at most ORDER_ENTRIES_MAX
 * order    out: which one comes i-th, a permutation of 0 .. n-1
 *
 * Only neighbouring TXNs change places: a CHUNK, RESERVE or CANCEL stays where it is, and what is before it stays before it. False: nothing to gain, or too much to
 * look at; order is as they came.
 */
bool		certifier_order(NdBlob *const *entries, uint32_t n, uint16_t *order);

#endif
