#!/usr/bin/env python3
"""A short run of test/workload: random transactions over a rich schema on all nodes, a node killed now and then, everything checked from scratch."""
import os
import random
import sys

from harness import *

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../workload"))
import checks  # noqa: E402
from workload import Workload, groups_of  # noqa: E402

SEED = int(os.environ.get("WORKLOAD_SEED", random.randrange(1 << 30)))
setup(nodes=3, init_options="data_groups => %d" % groups_of(SEED))
_workloads = []


@test
def random_transactions_and_kills(c):
	print("WORKLOAD_SEED=%d" % SEED, flush=True)
	workload = Workload(c, SEED)
	_workloads.append(workload)
	workload.make_schema()
	broken = workload.run(25)
	print(workload.summary(), flush=True)
	equal(broken, [])
	equal(workload.committed() > 50, True, "enough of them committed")


@test
def the_checks_can_fail(c):
	"""Each kind of damage, made on one node alone behind the cluster's back, is told."""
	told = _workloads[0].told()
	name = next(txn for txn, outcome in told.items() if outcome == "ok")
	with c.connect(2) as connection:
		connection.execute("SET nodedb.read_consistency = local")
		equal(checks.on_node(connection), [])
		# constraints that are declared, but not enforced while this was written
		c.execute(1, "ALTER TABLE child DISABLE TRIGGER ALL; INSERT INTO child (a, b) VALUES (77, 77); ALTER TABLE child ENABLE TRIGGER ALL;"
					 "ALTER TABLE parent DISABLE TRIGGER ALL; INSERT INTO parent VALUES (78, 78); ALTER TABLE parent ENABLE TRIGGER ALL;"
					 "UPDATE account SET balance = balance + 1 WHERE id = 1")
		c.wait_caught_up()
		found = " ".join(checks.on_node(connection))
		for what in ("foreign key child_a_b_fkey", "changes of parent", "sum of account"):
			equal(what in found, True, found)
	broken = checks.check(c, dict(told, **{name: "refused", "nobody": "ok"}))
	equal(any("refused transactions are there" in line for line in broken) and any("acknowledged transactions are lost" in line for line in broken), True, str(broken))


main()
