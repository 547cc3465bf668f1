/*
 * message.c: messages by numbers, given when first seen, and what each is in other names of the nodes.
 */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

static struct
{
	XMessage   *messages;		/* [number] */
	uint32_t   *named;			/* [number * x_orders + order]: number + 1; 0: not looked at yet */
	uint32_t	n;
	uint32_t	cap;
	uint32_t   *slots;			/* number + 1; 0: free */
	uint32_t	mask;
}			known;

static uint32_t *message_slot(const XMessage *m)
{
	uint32_t	at = (uint32_t) nd_checksum(m, sizeof(*m), 0) & known.mask;

	while (known.slots[at] != 0 && memcmp(&known.messages[known.slots[at] - 1], m, sizeof(*m)) != 0)
		at = (at + 1) & known.mask;
	return &known.slots[at];
}

uint32_t x_message_number(const XMessage *m)
{
	uint32_t   *slot;

	if (known.n * 2 >= known.mask)
	{
		known.cap = known.cap > 0 ? known.cap * 2 : 1024;
		known.messages = x_need(realloc(known.messages, known.cap * sizeof(XMessage)));
		known.named = x_need(realloc(known.named, (size_t) known.cap * x_orders * sizeof(uint32_t)));
		memset(known.named + (size_t) known.n * x_orders, 0, (size_t) (known.cap - known.n) * x_orders * sizeof(uint32_t));
		free(known.slots);
		known.slots = x_need(calloc(known.cap * 2, sizeof(uint32_t)));
		known.mask = known.cap * 2 - 1;
		for (uint32_t i = 0; i < known.n; i++)
			*message_slot(&known.messages[i]) = i + 1;
	}
	slot = message_slot(m);
	if (*slot == 0)
	{
		known.messages[known.n] = *m;
		*slot = ++known.n;
	}
	return *slot - 1;
}

const XMessage *x_message(uint32_t number)
{
	return &known.messages[number];
}

uint32_t x_message_named(uint32_t number, uint32_t order)
{
	uint32_t	at = number * x_orders + order;
	XMessage	m;

	if (order == 0)
		return number;
	if (known.named[at] == 0)
	{
		m = known.messages[number];
		m.to = x_order[order][m.to];
		m.from = x_order[order][m.from];
		number = x_message_number(&m);	/* may move known.named */
		known.named[at] = number + 1;
	}
	return known.named[at] - 1;
}

size_t x_message_bytes(void)
{
	return known.cap * (sizeof(XMessage) + (2 + x_orders) * sizeof(uint32_t));
}

void x_message_forget(void)
{
	free(known.messages);
	free(known.named);
	free(known.slots);
	memset(&known, 0, sizeof(known));
}
