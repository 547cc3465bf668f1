#!/usr/bin/env python3
"""How often a statement loses a conflict, against how hot the rows are and how many nodes write. `make bench-contention` runs it.

A table of 1000 rows; pgbench on one, two and three nodes at once, four clients each, sends single UPDATEs of one row, then of five rows. Rows are drawn
by Zipf's law with exponent 0 (all alike) to 1.2 (the first row gets a fifth of all). Three ways:
    off        nodedb.statement_retries = 0
    retry      5 retries, no reservations
    reserve    5 retries, reservations after 2 failures: the defaults
Reported: statements that their clients saw fail, in percent, and how often the server ran a statement again, per 100 statements. The figures are rates: they
depend on how long a commit takes compared with the clients' pace, so on the machine, but much less than a throughput does.

Then what the possibility to run a statement again costs one that meets no conflict: processor time of the backend, on a node alone.
"""
import argparse
import os
import re
import statistics
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
	"""
	A line of pgbench that draws a row. random_zipfian() begins at exponent 1.001; below, the distribution function of x^-s from 1 to ROWS + 1 is inverted.
	int() rounds.
	"""
	if exponent == 0:
		return "\\set %s random(1, %d)" % (name, ROWS)
	if exponent < 1:
		return "\\set %s least(%d, int(pow(1 + random(0, 999999) / 1000000.0 * %.6f, %.6f) - 0.499))" % (
			name, ROWS, (ROWS + 1) ** (1 - exponent) - 1, 1 / (1 - exponent))
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


# ---- what it costs a statement that meets no conflict ----

COST_ROWS, COST_STATEMENTS = 10000, 6000


def reaped(pid):
	"""Processor time in microseconds, user and system, of the server's backends that have ended."""
	with open("/proc/%d/stat" % pid) as file:
		fields = file.read().rsplit(")", 1)[1].split()
	return (int(fields[13]) + int(fields[14])) * 1000000 / os.sysconf("SC_CLK_TCK")


def cost(c, rounds):
	"""Lines: processor time of the backend per statement, without and with retries, in turns on a node alone."""
	c.execute(1, "CREATE TABLE cold (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50)")
	c.execute(1, "INSERT INTO cold SELECT g, 0 FROM generate_series(1, %d) g" % COST_ROWS)
	path, server = os.path.join(c.dir, "cost.sql"), c.servers[1].pid()
	for mode in ("prepared", "simple"):
		for returning in ("", " RETURNING n"):
			with open(path, "w") as out:
				out.write("\\set id random(1, %d)\nUPDATE cold SET n = n + 1 WHERE id = :id%s;\n" % (COST_ROWS, returning))
			os.chmod(path, 0o644)
			taken = {0: [], 5: []}
			for turn in range(rounds):
				for retries in (0, 5) if turn % 2 == 0 else (5, 0):
					before = reaped(server)
					subprocess.run([os.path.join(cluster.BIN, "pgbench"), "-n", "-M", mode, "-c", "1", "-t", str(COST_STATEMENTS), "-f", path, c.dsn(1)], check=True,
								   env=dict(os.environ, PGOPTIONS="-c nodedb.statement_retries=%d -c nodedb.read_consistency=local" % retries), stdout=subprocess.DEVNULL,
								   stderr=subprocess.DEVNULL)
					cluster.poll("the backend's end", lambda: reaped(server) > before, 10, 0.01)
					taken[retries].append((reaped(server) - before) / COST_STATEMENTS)
			off, on = statistics.median(taken[0]), statistics.median(taken[5])
			yield "UPDATE%s, %s: %.1f us without retries, %.1f us with: ratio %.3f" % (returning, mode, off, on, on / off)


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
	parser.add_argument("--clients", type=int, default=4, help="per node")
	parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
	parser.add_argument("--exponents", type=float, nargs="+", default=EXPONENTS)
	parser.add_argument("--rounds", type=int, default=7, help="of the cost of a statement without conflict; 0: not measured")
	parser.add_argument("--output", default="build/contention.txt")
	options = parser.parse_args()

	lines = ["| rows per statement | nodes | exponent | off: failed | retry: failed (again) | reserve: failed (again) |", "|---|---|---|---|---|---|"]
	with cluster.Cluster(nodes=3, conf=["nodedb.retry_budget = 0"]) as c:
		c.execute(1, "CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 20)")
		c.execute(1, "INSERT INTO hot SELECT g, 0 FROM generate_series(1, %d) g" % ROWS)
		c.wait_caught_up()
		path = os.path.join(c.dir, "contention.sql")
		for rows in (1, 5):
			for nodes in options.nodes:
				for exponent in options.exponents:
					script(path, rows, exponent)
					cells = []
					for name, retries, reserve_after in WAYS:
						all_of_them, failed, again = measure(c, path, nodes, retries, reserve_after, options.seconds, options.clients)
						cells.append("%.2f %%" % (100 * failed / all_of_them) + (" (%.1f)" % (100 * again / all_of_them) if retries else ""))
					lines.append("| %d | %d | %g | %s |" % (rows, nodes, exponent, " | ".join(cells)))
					print(lines[-1], flush=True)
	lines.append("")
	with cluster.Cluster(nodes=1) as c:
		for line in cost(c, options.rounds) if options.rounds else ():
			lines.append(line)
			print(line, flush=True)
	os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
	with open(options.output, "w") as out:
		out.write("\n".join(lines) + "\n")
	print("\n" + "\n".join(lines))


if __name__ == "__main__":
	main()
