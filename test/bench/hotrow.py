#!/usr/bin/env python3
"""One hot row, written from three nodes at once by more and more clients. `make bench-hot` runs it.

Each transaction reads a counter, computes, and writes it back, in two ways:
    client    BEGIN, SELECT, UPDATE, COMMIT from the client, which runs it again itself after 40001 (pgbench --max-tries)
    submit    SELECT nodedb.submit('step'), a function with the same two statements: the server runs it again
Reported: committed transactions a second, and as a ratio to the same way with the fewest clients; the longest latency that pgbench saw.
What counts is the shape: a system that collapses under contention falls as clients are added.
"""
import argparse
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import cluster  # noqa: E402

SCRIPTS = {
	"client": "BEGIN;\nSELECT n FROM hot WHERE id = 1 FOR UPDATE \\gset\nUPDATE hot SET n = :n + 1 WHERE id = 1;\nCOMMIT;\n",
	"submit": "SELECT nodedb.submit('step');\n",
}


def measure(c, path, clients, seconds):
	"""(committed, failed for good, longest latency in ms) of all nodes together."""
	shares = [clients // 3 + (i < clients % 3) for i in range(3)]
	log = os.path.join(c.dir, "hot")
	running = [subprocess.Popen([os.path.join(cluster.BIN, "pgbench"), "-n", "-c", str(share), "-T", str(seconds), "--max-tries=1000", "-l",
								 "--log-prefix=%s%d" % (log, node), "-f", path, c.dsn(node)],
								stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
			   for node, share in zip(c, shares) if share > 0]
	done = failed = 0
	for process in running:
		text = process.communicate()[0]
		if process.returncode not in (0, 2):
			raise RuntimeError(text)
		done += int(re.search(r"transactions actually processed: (\d+)", text).group(1))
		failed += int(re.search(r"number of failed transactions: (\d+)", text).group(1))
	longest = 0
	for name in os.listdir(c.dir):
		if name.startswith("hot") and name != "hot.sql":
			with open(os.path.join(c.dir, name)) as lines:
				longest = max([longest] + [int(line.split()[2]) for line in lines if line.split()[2].isdigit()])
			os.unlink(os.path.join(c.dir, name))
	return done, failed, longest / 1000


def main():
	parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
	parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
	parser.add_argument("--clients", type=int, nargs="+", default=[1, 3, 6, 12, 24, 48, 64], help="of all nodes together")
	parser.add_argument("--output", default="build/hotrow.txt")
	options = parser.parse_args()

	lines = ["| clients on three nodes | client: committed/s | failed | longest | submit: committed/s | failed | longest |", "|---|---|---|---|---|---|---|"]
	first = {}
	with cluster.Cluster(nodes=3, conf=["nodedb.retry_budget = 0", "max_connections = 100"]) as c:
		c.execute(1, "CREATE TABLE hot (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 20)")
		c.execute(1, "CREATE FUNCTION step() RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE v bigint; BEGIN SELECT n INTO v FROM hot WHERE id = 1 FOR UPDATE;"
					 " UPDATE hot SET n = v + 1 WHERE id = 1; RETURN v + 1; END $$")
		c.execute(1, "INSERT INTO hot VALUES (1, 0)")
		c.wait_caught_up()
		path = os.path.join(c.dir, "hot.sql")
		expected = 0
		for clients in options.clients:
			cells = []
			for name, text in SCRIPTS.items():
				with open(path, "w") as out:
					out.write(text)
				os.chmod(path, 0o644)
				done, failed, longest = measure(c, path, clients, options.seconds)
				expected += done
				first.setdefault(name, done)
				cells.append("%.0f (%.2f) | %d | %.0f ms" % (done / options.seconds, done / first[name], failed, longest))
			lines.append("| %d | %s |" % (clients, " | ".join(cells)))
			print(lines[-1], flush=True)
		c.wait_caught_up()
		for node in c:
			if int(c.value(node, "SELECT n FROM hot WHERE id = 1")) != expected:
				raise RuntimeError("node %d does not have the sum of what was committed" % node)
	os.makedirs(os.path.dirname(options.output) or ".", exist_ok=True)
	with open(options.output, "w") as out:
		out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
	main()
