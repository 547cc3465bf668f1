"""harness: the frame of the cluster tests.

Each test is a function marked with @test; main() runs them in the order in which they stand, or those named on the command line, and
ends with `N passed, M failed`. A test fails by raising. All tests of one file share the cluster that the file made; a test that breaks a
node starts it again.

	from harness import *
	setup(nodes=3, conf=["nodedb.commit_timeout = 5000"])

	@test
	def insert_is_seen_everywhere(c):
		...
	main()

No sleeps and no timed assertions: poll(), or a session that waits.
"""
import os
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from cluster import Cluster, poll  # noqa: E402
from pq import Error  # noqa: E402

__all__ = ["Cluster", "Error", "poll", "test", "setup", "main", "equal", "fails", "same_everywhere"]

_tests = []
_options = {}


def setup(**options):
	"""Arguments of Cluster, for the cluster that the tests of this file share."""
	_options.update(options)


def test(function):
	_tests.append(function)
	return function


def equal(got, wanted, what=""):
	if got != wanted:
		raise AssertionError("%sgot %r, wanted %r" % (what + ": " if what else "", got, wanted))


def fails(sqlstate, call, *arguments):
	"""The call must raise this SQLSTATE (or one of several); the error is returned."""
	wanted = (sqlstate,) if isinstance(sqlstate, str) else sqlstate
	try:
		call(*arguments)
	except Error as error:
		if error.sqlstate not in wanted:
			raise AssertionError("wanted SQLSTATE %s, got: %s" % (" or ".join(wanted), error)) from error
		return error
	raise AssertionError("no error, wanted SQLSTATE %s" % " or ".join(wanted))


def same_everywhere(c, *tables):
	"""All running nodes hold the same rows in these tables, once they are caught up; nothing may write meanwhile."""
	c.wait_caught_up()
	for table in tables:
		seen = {i: c.digest(i, table) for i in c.running()}
		if len(set(seen.values())) != 1:
			raise AssertionError("table %s differs: %r" % (table, seen))


def main():
	chosen = [t for t in _tests if t.__name__ in sys.argv[1:]] if len(sys.argv) > 1 else _tests
	passed = 0
	signal.signal(signal.SIGTERM, _terminated)
	cluster = None
	try:
		cluster = Cluster(**_options)
		cluster.up()
		for function in chosen:
			passed += _run(function, cluster)
	except (Exception, KeyboardInterrupt):
		traceback.print_exc(file=sys.stdout)
	finally:
		if cluster:
			if passed < len(chosen):
				_show_logs(cluster)
			cluster.down()
		print("%d passed, %d failed" % (passed, len(chosen) - passed), flush=True)
	sys.exit(0 if passed == len(chosen) else 1)


def _terminated(*_):
	raise KeyboardInterrupt("terminated")


def _run(function, cluster):
	began = time.monotonic()
	try:
		for i in cluster:
			if i not in cluster.running():
				cluster.start(i)
		function(cluster)
		print("ok %s (%.1f s)" % (function.__name__, time.monotonic() - began), flush=True)
		return True
	except Exception:
		print("not ok %s (%.1f s)" % (function.__name__, time.monotonic() - began))
		traceback.print_exc(file=sys.stdout)
		sys.stdout.flush()
		return False


def _show_logs(cluster):
	for i in cluster or ():
		try:
			print("---- log of node %d, its end ----\n%s" % (i, "\n".join(cluster.log(i).splitlines()[-60:])))
		except OSError:
			pass
