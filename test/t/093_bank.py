#!/usr/bin/env python3
"""Money moves between accounts in eight data groups from three nodes, while nodes are killed and paused: every read of the total, strong or local, on every node, is right."""
import os
import random
import sys

from harness import *

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../history"))
import bank  # noqa: E402
from faults import Faults  # noqa: E402

GROUPS = 8
SEED = int(os.environ.get("HISTORY_SEED", random.randrange(1 << 30)))
setup(nodes=3, init_options="data_groups => %d" % GROUPS)
_banks = []


@test
def tables_are_made(c):
	bank.make(c, GROUPS)
	for table in ("account", "transfer"):
		placed = c.execute(1, "SELECT nodedb.table_group(inhrelid::regclass) FROM pg_inherits WHERE inhparent = '%s'::regclass ORDER BY 1" % table)
		equal([int(g) for g, in placed], list(range(1, GROUPS + 1)), "the groups of " + table)


@test
def the_total_never_differs(c):
	print("HISTORY_SEED=%d" % SEED, flush=True)
	one = bank.Bank(c, SEED)
	_banks.append(one)
	faults = Faults(c, SEED).start()
	try:
		one.run(25)
	finally:
		faults.stop()
	c.wait_caught_up()
	print(one.summary() + "; " + ", ".join("%d %s" % ([f[0] for f in faults.done].count(k), k) for k in faults.kinds), flush=True)
	for i in c:
		equal(one.check(i)[:10], [])
	same_everywhere(c, "account", "transfer")
	equal(one.reads > 20, True, "enough reads")
	equal(sum(told[0] == "ok" for told in one.told.values()) > 20, True, "enough transfers")


@test
def the_checks_can_fail(c):
	"""Money that vanishes in one group, a transfer that is gone, and one that is there though its client heard that it failed, are told."""
	one = _banks[0]
	equal(one.check(2), [])
	number = next(n for n, told in one.told.items() if told[0] == "ok")
	other = next(n for n, told in one.told.items() if told[0] == "ok" and n != number)
	c.execute(1, "UPDATE account SET balance = balance - 1 WHERE id = 7; DELETE FROM transfer WHERE id = %d" % number)
	one.told[other] = ("failed",) + one.told[other][1:]
	reader = one._reader(2, "strong")
	reader()
	found = " ".join(one.check(2))
	for what in ("node 2, strong read", "transfer %d was acknowledged and is lost" % number, "transfer %d failed and is there" % other, "account 7 has"):
		equal(what in found, True, found)


main()
