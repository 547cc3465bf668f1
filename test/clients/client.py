"""client: what the Python clients share: the nodes, and what a client does on the errors that the README lists."""
import json
import os
import random
import time

NODES = json.loads(os.environ["NODES"])
STOP = os.environ["STOP"]					# a file: when it is there, that is enough
OPEN = ("40003", "57P01", "57P02")			# and a lost connection: the outcome is not known
AGAIN = ("40001", "40P01", "57P03")			# surely without effect


def units():
	"""Numbers of the pieces of work that are to be done exactly once."""
	number = 0
	while not os.path.exists(STOP):
		yield number
		number += 1


def hosts():
	"""All nodes in a random order, as libpq takes several hosts: it goes on to the next when one is down or starting."""
	order = random.sample(NODES, len(NODES))
	return {"host": ",".join(node["host"] for node in order), "port": ",".join(str(node["port"]) for node in order)}


def again(work, code_of, errors, tries=300):
	"""
	work() until it passes; what it gave. It has to be harmless to repeat.

	code_of(error): its SQLSTATE, None for a lost connection
	"""
	for attempt in range(tries):
		try:
			return work()
		except errors as error:
			code = code_of(error)
			if code is not None and code not in AGAIN and code not in OPEN and not code.startswith("08"):
				raise
			last = error
			time.sleep(min(0.5, 0.01 * (attempt + 1)) * random.random())
	raise last


def outcome_open(code):
	return code is None or code in OPEN or code.startswith("08")
