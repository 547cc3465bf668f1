#!/usr/bin/env python3
"""Lists appended to and read over eight data groups from three nodes, while nodes are killed and paused: what clients saw is a serializable history."""
import os
import random
import sys

from harness import *

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../history"))
import append  # noqa: E402
import cycles  # noqa: E402
from cycles import SERIALIZABLE, SNAPSHOT, FAILED, UNKNOWN, Transaction, check  # noqa: E402
from faults import Faults  # noqa: E402

GROUPS = 8
SEED = int(os.environ.get("HISTORY_SEED", random.randrange(1 << 30)))
setup(nodes=3, init_options="data_groups => %d" % GROUPS)


def a(key, number):
	return ("append", key, number)


def r(key, *numbers):
	return ("read", key, list(numbers))


def history(*transactions):
	"""Each: operations, and perhaps attributes of the Transaction."""
	return [Transaction("T%d" % (n + 1), operations=[o for o in t if isinstance(o, tuple)], **{k: v for o in t if isinstance(o, dict) for k, v in o.items()})
			for n, t in enumerate(transactions)]


# What cannot happen, planted: (what has to be told, history, last state)
PLANTED = [
	("order", history([a(1, 1)], [a(1, 2)], [r(1, 2)]), {1: [1, 2]}),
	("order", history([a(1, 1)]), {1: [1, 1]}),
	("order", history([a(1, 1)]), {1: [1, 9]}),
	("lost", history([a(1, 1)], [a(1, 2)]), {1: [2]}),
	("lost", history([a(1, 1), a(2, 2), {"outcome": UNKNOWN}]), {1: [1]}),
	("aborted", history([a(1, 1), {"outcome": FAILED}]), {1: [1]}),
	("aborted", history([a(1, 1), {"outcome": FAILED}], [r(1, 1)]), {}),
	("intermediate", history([a(1, 1), a(1, 2)], [r(1, 1)]), {1: [1, 2]}),
	("internal", history([a(1, 1), r(1)]), {1: [1]}),
	("internal", history([a(1, 1)], [r(1), r(1, 1)]), {1: [1]}),
	("stale", history([a(1, 1), {"began": 0, "ended": 1}], [r(1), {"began": 2, "ended": 3}]), {1: [1]}),
	("fractured", history([a(1, 1), a(2, 2)], [r(1, 1), r(2)]), {1: [1], 2: [2]}),
	("fractured", history([a(1, 1), a(2, 2)], [a(1, 3)], [r(1, 1, 3), r(2)]), {1: [1, 3], 2: [2]}),
	("flow", history([a(1, 1), a(2, 4)], [a(1, 2), a(2, 3)]), {1: [1, 2], 2: [3, 4]}),
	("flow", history([a(1, 1), r(2, 2)], [a(2, 2), r(1, 1)]), {1: [1], 2: [2]}),
	# write skew; a lost update; a ring of three
	("cycle", history([r(1), a(2, 2)], [r(2), a(1, 1)]), {1: [1], 2: [2]}),
	("cycle", history([r(1), a(1, 1)], [r(1), a(1, 2)]), {1: [1, 2]}),
	("cycle", history([r(1), a(2, 2)], [r(2), a(3, 3)], [r(3), a(1, 1)]), {1: [1], 2: [2], 3: [3]}),
	# a reader that sees the second of two updates, of which the second had seen the first, and not the first
	("cycle", history([a(1, 1)], [r(1, 1), a(2, 2)], [r(2, 2), r(1)]), {1: [1], 2: [2]}),
	# a long fork
	("cycle", history([a(1, 1)], [a(2, 2)], [r(1, 1), r(2), {"node": 1}], [r(2, 2), r(1), {"node": 2}]), {1: [1], 2: [2]}),
]
ALLOWED = history([a(1, 1)], [r(1, 1), a(2, 2)], [r(2, 2), r(1, 1)], [a(1, 3), r(1, 1, 3), {"outcome": UNKNOWN}], [a(1, 4), {"outcome": FAILED}], [r(2)], [r(3)])


@test
def planted_anomalies_are_told(c):
	for what, transactions, final in PLANTED:
		told = check(transactions, final)
		equal([line for line in told if line.startswith(what + ":")] != [], True, "%s in %r, ending as %r: told %r" % (what, transactions, final, told))
		if what == "cycle":
			equal(check(transactions, final, SNAPSHOT), [])
	equal(check(ALLOWED, {1: [1, 3], 2: [2]}), [])


@test
def large_histories_are_judged(c):
	"""A serial history of many transactions is right; one read moved to a moment before makes it wrong."""
	chance = random.Random(SEED)
	state, transactions, numbers = {}, [], 0
	for n in range(1000):
		t = Transaction("T%d" % n, chance.randrange(3))
		for key in chance.sample(range(40), 3):
			numbers += 1
			if chance.random() < 0.5:
				t.operations.append(r(key, *state.get(key, [])))
			else:
				state.setdefault(key, []).append(numbers)
				t.operations.append(a(key, numbers))
		transactions.append(t)
	equal(check(transactions, state), [])
	victim = chance.choice([t for t in transactions if t.appends() and any(len(v) > 5 for _, v in t.reads())])
	at = next(i for i, o in enumerate(victim.operations) if o[0] == "read" and len(o[2]) > 5)
	victim.operations[at] = r(victim.operations[at][1], *victim.operations[at][2][:-4])
	equal({line.split(":")[0] for line in check(transactions, state)} & {"cycle", "fractured"} != set(), True, repr(victim))


@test
def tables_are_made(c):
	append.make(c, GROUPS)


@test
def write_skew_over_two_groups_is_told_of_weaker_levels(c):
	"""The same two transactions, interleaved by hand: at REPEATABLE READ both commit, and the checker calls it no serializable history; at SERIALIZABLE one fails."""
	for n, (level, both) in enumerate(((SNAPSHOT, True), (SERIALIZABLE, False))):
		x, y = 100000 + 2 * n, 100001 + 2 * n
		ts = [Transaction("A", 1), Transaction("B", 2)]
		sessions = [c.connect(1), c.connect(2)]
		for t, s, mine, other in zip(ts, sessions, (x, y), (y, x)):
			s.execute("BEGIN ISOLATION LEVEL " + level)
			t.operations.append(("read", other, append.read(s, GROUPS, other)))
			append.append(s, GROUPS, mine, mine)
			t.operations.append(("append", mine, mine))
		for t, s in zip(ts, sessions):
			try:
				s.execute("COMMIT")
			except Error as error:
				equal(error.sqlstate, "40001")
				t.outcome = FAILED
			s.close()
		equal([t.outcome for t in ts].count("ok"), 2 if both else 1, level)
		final = {key: numbers for key, numbers in append.Lists(c, GROUPS, 0).final(1).items() if key in (x, y)}
		told = check(ts, final)
		equal([line.split(":")[0] for line in told], ["cycle"] if both else [], level)
	c.execute(1, "DELETE FROM list")


def run(c, seconds, level, seed):
	lists = append.Lists(c, GROUPS, seed, level)
	faults = Faults(c, seed).start()
	try:
		lists.run(seconds)
	finally:
		faults.stop()
	c.wait_caught_up()
	print(lists.summary() + "; " + ", ".join("%d %s" % ([f[0] for f in faults.done].count(k), k) for k in faults.kinds), flush=True)
	for i in c:
		equal(lists.final(i), lists.final(1), "the lists on node %d" % i)
	broken = lists.check(1)
	equal(broken[:10], [], "%d wrong" % len(broken))
	equal(lists.committed() > 2 * seconds, True, "enough of them committed")
	c.execute(1, "DELETE FROM list")


@test
def serializable_under_faults(c):
	print("HISTORY_SEED=%d" % SEED, flush=True)
	run(c, 20, SERIALIZABLE, SEED)


@test
def repeatable_read_under_faults(c):
	run(c, 10, SNAPSHOT, SEED + 1)


main()
