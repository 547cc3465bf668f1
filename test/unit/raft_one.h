/*
 * raft_one.h: one Raft group, made anew for each test of a program: `h`. A test whose harness has an error at its end fails.
 */
#ifndef RAFT_ONE_H
#define RAFT_ONE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft_harness.h"

static Harness *h;

static int setup(void **state)
{
	(void) state;
	h = h_alloc(sizeof(Harness));
	h_init(h);
	return 0;
}

static int teardown(void **state)
{
	int			wrong = h->error[0] != '\0';

	(void) state;
	if (wrong)
		print_error("%s\n", h->error);
	h_free(h);
	free(h);
	return wrong;
}

static RaftStatus status_of(NdNodeId id)
{
	RaftStatus	s;

	raft_status(h->nodes[id].raft, &s);
	return s;
}

static void lead(NdNodeId id)
{
	h_stand(h, id);
	h_pump(h);
	assert_string_equal(h->error, "");
	assert_int_equal(status_of(id).state, RAFT_LEADER);
}

#endif
