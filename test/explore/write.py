#!/usr/bin/env python3
"""write.py: what explore says of bounds (standard input) goes into the table of README.md; rows of other bounds stay. It passes through what it reads.

    build/exp/explore --seconds 600 every | test/explore/write.py
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
README = os.path.join(HERE, "README.md")
BEGIN, END = "<!-- bounds begin -->\n", "<!-- bounds end -->\n"
LINE = re.compile(r"(\w+) +(\d+) states of \d+ keys, (\d+) of nodes, +(\d+) transitions +depth +(\d+) +(\d+) s +(.*)")

with open(README, encoding="utf-8") as file:
	text = file.read()
before, rest = text.split(BEGIN)
old, after = rest.split(END)
rows = {row.split("|")[1].strip(" `"): row for row in old.splitlines()[2:]}
listed = subprocess.run([os.path.join(HERE, "../../build/exp/explore"), "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
names = [line.split()[0] for line in listed.splitlines()]
for line in sys.stdin:
	print(line, end="", flush=True)
	found = LINE.match(line)
	if found and found.group(7) != "BROKEN":
		name, states, nodes, transitions, depth, seconds, how = found.groups()
		rows[name] = f"| `{name}` | {int(states):,} | {int(nodes):,} | {int(transitions):,} | {depth} | {seconds} | {how} |"
with open(README, "w", encoding="utf-8") as file:
	file.write(before + BEGIN + "| bound | states | of nodes | transitions | depth | seconds | |\n| --- | --- | --- | --- | --- | --- | --- |\n"
			   + "".join(rows[name] + "\n" for name in names if name in rows) + END + after)
