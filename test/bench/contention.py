#!/usr/bin/env python3
"""How often a statement loses a conflict, against how hot the rows are and how many nodes write. `make bench-contention` runs it.

A table of 1000 rows; pgbench on one, two and three nodes at once, four clients each, sends single UPDATEs of one row, then of five rows. Rows are drawn
by Zipf's law with exponent 0 (all alike) to 1.2 (the first row gets a fifth of all). Three ways:
    off        nodedb.statement_retries = 0
    retry      5 retries, no reservations
    reserve    5 retries, reservations after 2 failures: the defaults
Reported: statements that their clients saw fail, in percent, and how often the server ran a statement again, per 100 statements. The figures are rates: they
depend on how long a commit takes compared with the clients' pace, so on the machine, but much less than a throughput does.
"""
import argparse
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import cluster  # noqa: E402

ROWS = 1000
EXPONENTS = (0, 0.6, 0.9, 1.2)
WAYS = (("off", 0, 0), ("retry", 5, 0), ("reserve", 5, 2))
AGAIN = "SELECT value FROM nodedb.metrics WHERE name = 'nodedb_statement_retries_total'"


def draw(name, exponent):
	"""A line of pgbench that draws a row. random_zipfian() begins at exponent 1.001; below, the distribution function of x^-s is inverted."""
	if exponent == 0:
		return "\\set %s random(1, %d)" % (name, ROWS)
	if exponent < 1:
		return "\\set %s least(%d, 1 + int(%d * pow(random(0, 999999) / 1000000.0, %.6f)))" % (name, ROWS, ROWS, 1 / (1 - exponent))
	return "\\set %s random_zipfian(1, %d, %g)" % (name, ROWS, exponent)


def script(path, rows, exponent):
	names = ["id%d" % i for i in range(rows)]
	with open(path, "w") as out:
		out.write("\n".join(draw(name, exponent) for name in names))
		out.write("\nUPDATE hot SET n = n + 1 WHERE id IN (%s);\n" % ", ".join(":" + name for name in names))
	os.chmod(path, 0o644)


def measure(c, path, nodes, retries, reserve_after, seconds, clients):
	"""(statements, failed, run again) of all nodes together."""
	before = sum(int(c.value(i, AGAIN)) for i in c)
	options = "-c nodedb.statement_retries=%d -c nodedb.reserve_after=%d" % (retries, reserve_after)
	running = [subprocess.Popen([os.path.join(cluster.BIN, "pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds), "-f", path, c.dsn(i)],
								env=dict(os.environ, PGOPTIONS=options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for i in list(c)[:nodes]]
	done = failed = 0
	for process in running:
		text = process.communicate()[0]
		if process.returncode != 0:
			raise RuntimeError(text)
		done += int(re.search(r"transactions actually processed: (\d+)", text).group(1))
		failed += int(re.search(r"number of failed transactions: (\d+)", text).group(1))
	return done + failed, failed, sum(int(c.value(i, AGAIN)) for i in c) - before


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
	parser.add_argument("--clients", type=int, default=4, help="per node")
	parser.add_argument("--output", default="build/contention.txt")
	options = parser.parse_args()

	lines = ["| rows per statement | nodes | exponent | off: failed | retry: failed (again) | reserve: failed (again) |", "|---|---|---|---|---|---|"]
	with cluster.Cluster(nodes=3, conf=["nodedb.retry_budget = 0"]) as c:
		c.execute(1, "CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 20)")
		c.execute(1, "INSERT INTO hot SELECT g, 0 FROM generate_series(1, %d) g" % ROWS)
		c.wait_caught_up()
		path = os.path.join(c.dir, "contention.sql")
		for rows in (1, 5):
			for nodes in (1, 2, 3):
				for exponent in EXPONENTS:
					script(path, rows, exponent)
					cells = []
					for name, retries, reserve_after in WAYS:
						all_of_them, failed, again = measure(c, path, nodes, retries, reserve_after, options.seconds, options.clients)
						cells.append("%.2f %%" % (100 * failed / all_of_them) + (" (%.1f)" % (100 * again / all_of_them) if retries else ""))
					lines.append("| %d | %d | %g | %s |" % (rows, nodes, exponent, " | ".join(cells)))
					print(lines[-1], flush=True)
	os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
	with open(options.output, "w") as out:
		out.write("\n".join(lines) + "\n")
	print("\n" + "\n".join(lines))


if __name__ == "__main__":
	main()
