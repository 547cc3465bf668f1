#!/usr/bin/env python3
"""
Bad input never loses or corrupts data: garbage on the node port, peers that do not belong, copied, swapped, newer, damaged and lost files, what is too
large, wrong commands. Each gets an error that says what to do; the others commit during and after, and all end with equal data.
"""
import contextlib
import ctypes
import glob
import hashlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading

from harness import *
from scenario import *
import cluster

setup(nodes=3, conf=["nodedb.segment_size = 1", "nodedb.log_keep = 16"])

_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
_xxhash.XXH3_64bits_withSeed.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64
# store_identity.c and store_format.c: where the format and the checksum stand, and the checksum's seed
IDENTITY = (8, 56, 0x31746e6449626445)
SEGMENT = (8, 504, 0x9e3779b97f4a7c15)


class Load:
	"""Sessions that commit rows of their own on some nodes until the end; not one may fail."""

	def __init__(self, c, *nodes):
		self.cluster, self.ended, self.errors, self.counts = c, threading.Event(), [], {node: 0 for node in nodes}
		self.threads = [threading.Thread(target=self._run, args=(node,), daemon=True) for node in nodes]

	def __enter__(self):
		for thread in self.threads:
			thread.start()
		return self

	def _run(self, node):
		try:
			with self.cluster.connect(node) as connection:
				while not self.ended.is_set():
					connection.execute("INSERT INTO load (node, note) VALUES ($1, 'load')", node)
					self.counts[node] += 1
		except Exception as error:
			self.errors.append("node %d: %s" % (node, error))

	def more(self):
		"""Every node commits again from now on."""
		before = dict(self.counts)
		poll("commits on all of %s" % sorted(before), lambda: self.errors or all(self.counts[n] > before[n] + 1 for n in before))
		equal(self.errors, [], "errors of the load")

	def __exit__(self, kind, *_):
		try:
			if not kind:
				self.more()
		finally:
			self.ended.set()
			for thread in self.threads:
				thread.join(SECONDS)
		if not kind:
			equal(self.errors, [], "errors of the load")


def others(c, node):
	return [i for i in c if i != node]


def healthy(c):
	"""All nodes work together and hold the same."""
	c.wait_ready()
	goes_on(c, "bad", *c)
	same_everywhere(c, "bad", "load")


def status(c, node):
	return local(c, node, "SELECT nodedb.status()")


def says(text, *words):
	for word in words:
		if word.lower() not in text.lower():
			raise AssertionError("no %r in: %s" % (word, text[-3000:]))


def logs(c, node, *words, after=0):
	"""Wait until a line of the node's log, written after that many characters, has all these words."""
	def look():
		return [line for line in c.log(node)[after:].splitlines() if all(word.lower() in line.lower() for word in words)]
	return poll("a line with %s in the log of node %d" % (words, node), look, SECONDS)[0]


def fails_to_start(c, node, *words):
	"""Start it: status() and the log say these words, and it changes nothing and takes no writes."""
	before = len(c.log(node))
	c.start(node)
	poll("node %d says that it has failed" % node, lambda: "FAILED" in status(c, node), SECONDS)
	says(status(c, node), "Hint", *words)
	says(c.log(node)[before:], "HINT:", *words)
	fails("55000", c.execute, node, "INSERT INTO bad VALUES (-1, 'must not be')")
	fails(("55000", "57P03"), c.value, node, "SELECT count(*) FROM bad")
	fails("55000", c.execute, node, "SELECT nodedb.init_cluster(name => 'again')")


def directory(c, node):
	return os.path.join(c.servers[node].data, "nodedb")


def contents(path):
	return {name: hashlib.sha256(read(os.path.join(path, name))).hexdigest() for name in sorted(os.listdir(path))}


def read(path):
	with open(path, "rb") as file:
		return file.read()


def overwrite(path, at, what):
	with open(path, "r+b") as file:
		file.seek(at)
		file.write(what)


def newer_format(path, where):
	"""Make the file one of a later format, its checksum right; returns the bytes that it had."""
	at, checksum_at, seed = where
	old = read(path)[:checksum_at + 8]
	new = bytearray(old)
	new[at:at + 4] = (int.from_bytes(old[at:at + 4], "little") + 1).to_bytes(4, "little")
	checksum = _xxhash.XXH3_64bits_withSeed(bytes(old[:checksum_at]), checksum_at, seed)
	equal(checksum.to_bytes(8, "little"), old[checksum_at:], "the checksum is where this test thinks")
	new[checksum_at:] = _xxhash.XXH3_64bits_withSeed(bytes(new[:checksum_at]), checksum_at, seed).to_bytes(8, "little")
	overwrite(path, 0, bytes(new))
	return old


def fill_log(c, rows=30):
	for _ in range(rows):
		c.execute(1, "INSERT INTO load (node, note) SELECT 0, string_agg(md5(random()::text), '') FROM generate_series(1, 3000)")


@contextlib.contextmanager
def another(nodes, **options):
	"""Another cluster; with 0 nodes, one server with the extension that belongs to none yet."""
	made = Cluster(nodes=nodes, **options)
	try:
		if nodes:
			made.up()
		else:
			made.new_server()
		yield made
	except BaseException:
		for i in made:
			print("---- log of node %d of the other cluster, its end ----\n%s" % (i, "\n".join(made.log(i).splitlines()[-40:])))
		raise
	finally:
		made.down()


@test
def tables_are_made(c):
	make(c, "CREATE TABLE bad (id bigint PRIMARY KEY, note text)", "CREATE TABLE load (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), node int, note text)")
	healthy(c)


# ---- the node port ----

def frame(kind, flags, stream, payload):
	return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def header(name, value):
	return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call(method, *headers):
	"""A well-formed call of a method by somebody who does not greet as a node does."""
	return (HTTP2 + frame(4, 0, 0, b"") +
			frame(1, 5, 1, b"\x83\x86" + header(b":path", method) + header(b":authority", b"x") + header(b"content-type", b"application/grpc") +
				  header(b"te", b"trailers") + b"".join(header(*h) for h in headers)))


HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def knock(server, what):
	"""Send bytes to the node port and read what comes until it hangs up or is silent."""
	with socket.create_connection((server.host, server.listen), 5) as s:
		s.settimeout(0.2)
		try:
			s.sendall(what)
			while s.recv(65536):
				pass
		except OSError:
			pass


def named(c, i, after, what, *words):
	"""Call until the log names us: a slow node may look when we have hung up already."""
	def look():
		knock(c.servers[i], what)
		return any(all(word in line.lower() for word in words) for line in c.log(i)[after:].splitlines())
	poll("a line with %s in the log of node %d" % (words, i), look, SECONDS)


@test
def garbage_on_the_node_port(c):
	dice = random.Random(80)
	before = {i: len(c.log(i)) for i in c}
	junk = [b"", b"\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500), dice.randbytes(1 << 20),
			HTTP2 + dice.randbytes(5000), HTTP2 + b"\xff\xff\xff\x00\x00\xff\xff\xff\xff" + dice.randbytes(1000),
			HTTP2 + b"\0\0\0\4\0\0\0\0\0" * 2000, b"\0" * 100000, b"\0\0\0\x08\x04\xd2\x16\x2f", b"nodedb-hello: 1 0 1 1 1 1 l\r\n\r\n"]
	with Load(c, *c) as load:
		idle = [socket.create_connection((server.host, server.listen), 5) for server in c.servers.values() for _ in range(40)]
		for server in c.servers.values():
			for what in junk + [dice.randbytes(dice.randrange(1, 3000)) for _ in range(20)]:
				knock(server, what)
			# what is no HTTP/2 at all gRPC hangs up on without a word; who gets as far as calling us is named in the log
			knock(server, call(b"/nodedb.Transport/Stream"))
			knock(server, call(b"/nodedb.Transport/Request", (b"nodedb-hello", b"1 zz 1 1 1 1 l")))
			knock(server, call(b"/nodedb.Transport/Request", (b"nodedb-hello", b"1 0000000000000001 9 1 1 1 l")))
			knock(server, call(b"/nodedb.Transport/Stream", (b"nodedb-hello", b"1 0000000000000001 2 1 1 1 l")))
			knock(server, call(b"/somewhere/else"))
		load.more()
		for s in idle:
			s.close()
	for i in c:
		equal("lost the connection" in c.log(i)[before[i]:], False, "node %d lost a peer" % i)
		named(c, i, before[i], call(b"/nodedb.Transport/Stream"), "refused", "greeting is missing or malformed")
		named(c, i, before[i], call(b"/nodedb.Transport/Request", (b"nodedb-hello", b"1 0000000000000001 9 1 1 1 l")), "refused", "another cluster")
	healthy(c)


class Forward(threading.Thread):
	"""Whoever connects here reaches another port."""

	def __init__(self, port, to):
		super().__init__(daemon=True)
		self.to, self.open = to, []
		self.listener = socket.create_server(("127.0.0.1", port))
		self.start()

	def run(self):
		while True:
			try:
				here = self.listener.accept()[0]
				there = socket.create_connection(("127.0.0.1", self.to))
			except OSError:
				return
			self.open += [here, there]
			for a, b in ((here, there), (there, here)):
				threading.Thread(target=self._copy, args=(a, b), daemon=True).start()

	@staticmethod
	def _copy(a, b):
		try:
			while True:
				data = a.recv(65536)
				if not data:
					break
				b.sendall(data)
			b.shutdown(socket.SHUT_WR)
		except OSError:
			pass

	def close(self):
		self.listener.shutdown(socket.SHUT_RDWR)
		for s in [self.listener] + self.open:
			s.close()


@test
def node_of_another_cluster_points_at_this_one(c):
	with another(2) as stranger, another(0) as spare:
		stranger.execute(1, "CREATE TABLE elsewhere (id int PRIMARY KEY)")
		stranger.stop(2)
		before = len(c.log(1))
		with Load(c, *c) as load:
			forward = Forward(stranger.servers[2].listen, c.servers[1].listen)
			logs(c, 1, "refused", "another cluster", after=before)
			logs(stranger, 1, "refused", "another cluster")
			load.more()
			forward.close()
		# with the right token of the wrong cluster
		error = fails("28000", spare.execute, 1, "SELECT nodedb.join_cluster('127.0.0.1:%d', '%s')" % (c.servers[1].listen, stranger.token))
		says(str(error), "another cluster")
		equal(stranger.token.split(".")[2] in spare.log(1) + c.log(1), False, "the token's secret stands in a log")
		stranger.start(2)
		stranger.wait_ready()
		stranger.execute(1, "INSERT INTO elsewhere VALUES (1)")
	equal(c.value(1, "SELECT count(*) FROM nodedb.nodes"), "3")
	healthy(c)


# ---- commands ----

@test
def join_that_must_not_be(c):
	seed, (prefix, ident, secret) = "127.0.0.1:%d" % c.servers[1].listen, c.token.split(".")
	wrong = secret[::-1] if secret[::-1] != secret else "0" * len(secret)
	with another(0) as spare:
		def join(token, name="spare", at=seed, **_):
			spare.execute(1, "SELECT nodedb.join_cluster('%s', '%s', name => '%s')" % (at, token, name))

		with Load(c, *c):
			says(str(fails("28000", join, ".".join((prefix, ident, wrong)))), "token")
			fails("22023", join, "nonsense")
			fails("22001", join, c.token + "0" * 300)
			says(str(fails("28000", join, c.token, "node2")), "name")
			fails("22023", join, c.token, "")
			fails("22001", join, c.token, "x" * 300)
			# a second session while one waits for a cluster that is not there; the first is cancelled, what it began ends by itself
			with spare.connect(1) as first:
				first.send("SELECT nodedb.join_cluster('127.0.0.1:1', '%s')" % c.token)
				poll("the first waits", lambda: local(spare, 1, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1", first.pid) == "Extension", SECONDS)
				fails("55006", join, c.token, "spare", "127.0.0.1:1")
				first.cancel()
				fails("57014", first.result)
			poll("what the cancelled session began has ended", lambda: unblocked(join, c.token), 60)
			with spare.connect(1) as ended:
				ended.send("SELECT nodedb.join_cluster('127.0.0.1:1', '%s')" % c.token)
				poll("it waits", lambda: local(spare, 1, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1", ended.pid) == "Extension", SECONDS)
				local(spare, 1, "SELECT pg_terminate_backend($1)", ended.pid)
				fails(("57P01", "08006"), ended.result)
			says(spare.log(1), "terminating connection")
			says(status(spare, 1), "not in a cluster")
		text = spare.log(1) + "".join(c.log(i) for i in c)
		equal(secret in text or wrong in text, False, "a token's secret stands in a log")
	equal(c.value(1, "SELECT count(*) FROM nodedb.nodes"), "3")
	healthy(c)


def unblocked(join, token):
	try:
		join(token, "")
	except Error as error:
		return error.sqlstate != "55006"


@test
def commands_that_must_not_be(c):
	for i in (1, 3):
		says(str(fails("22023", c.execute, i, "SELECT nodedb.init_cluster(name => 'node1')")), "already is node")
		says(str(fails("22023", c.execute, i, "SELECT nodedb.join_cluster('127.0.0.1:%d', '%s')" % (c.servers[2].listen, c.token))), "already is node")
	equal(c.token.split(".")[2] in "".join(c.log(i) for i in c), False, "the token's secret stands in a log")
	fails(("42704", "57P03"), c.execute, 1, "SELECT nodedb.remove_node(99)")
	fails(("42704", "57P03"), c.execute, 1, "SELECT nodedb.remove_node(-1)")
	fails(("42704", "22023", "57P03"), c.execute, 1, "SELECT nodedb.transfer_leadership(1, 99)")
	fails("42704", c.execute, 1, "SELECT nodedb.transfer_leadership(77, 1)")
	# of a node that is away: the group stays where it is, and whoever asked hears so
	leader = c.leader()
	away = next(i for i in c.running() if i != leader)
	c.pause(away)
	try:
		with c.connect(leader) as session:
			session.execute("SET nodedb.commit_timeout = 2000")
			says(str(fails("55000", session.execute, "SELECT nodedb.transfer_leadership(1, node_id) FROM nodedb.nodes WHERE name = $1", "node%d" % away)), "did not take over")
	finally:
		c.resume(away)
	c.execute(1, "CREATE ROLE nobody_special")
	for call in ("init_cluster()", "join_cluster('x:1', 'y')", "remove_node(3)", "transfer_leadership(1, 2)", "add_data_groups(1)", "continue_from('x')", "show_stop_events()"):
		fails("42501", c.execute, 1, "SET ROLE nobody_special; SELECT nodedb." + call)
	fails("42501", c.execute, 1, "SET ROLE nobody_special; SELECT * FROM nodedb.ledger")
	c.execute(1, "DROP ROLE nobody_special")
	with cluster.pq.Connection(c.servers[1].dsn("postgres")) as connection:
		connection.execute("CREATE EXTENSION nodedb")
		error = fails("55000", connection.execute, "SELECT nodedb.init_cluster(name => 'elsewhere')")
		says(error.hint, "nodedb.database")
		fails("55000", connection.execute, "CREATE TABLE wrong_place (id int PRIMARY KEY) USING nodedb; INSERT INTO wrong_place VALUES (1)")
		connection.execute("DROP EXTENSION nodedb CASCADE")
	healthy(c)


# ---- files ----

@test
def copied_data_directory(c):
	node = 3
	c.stop(node)
	original = c.servers[node]
	place = os.path.join(c.dir, "copy")
	port, listen = cluster.free_ports(2)
	copy = cluster.Server(place, node, "127.0.0.1", port, listen)
	os.makedirs(place)
	shutil.chown(place, *[os.stat(original.data).st_uid] * 2)
	subprocess.run(["cp", "-a", original.dir, place], check=True)
	copy.configure(cluster.CONF + cluster.NODEDB_CONF)
	before = contents(os.path.join(copy.data, "nodedb"))
	twin = Cluster.__new__(Cluster)
	twin.servers = {node: copy}
	with Load(c, 1, 2) as load:
		try:
			fails_to_start(twin, node, "copy of node 3", "remove_node", "join")
			load.more()
			c.start(node)
			c.wait_ready()
			says(status(twin, node), "FAILED", "copy of node 3")
			twin.stop(node)
			equal(contents(os.path.join(copy.data, "nodedb")), before, "files of the copy")
		finally:
			copy.kill()
			shutil.rmtree(place)
	healthy(c)


@test
def log_directory_of_another_node(c):
	conf = os.path.join(c.servers[3].data, "postgresql.conf")
	text = read(conf)
	c.stop(3)
	c.stop(2)
	before = contents(directory(c, 2))
	c.servers[3].configure("nodedb.directory = '%s'" % directory(c, 2))
	fails_to_start(c, 3, "another PostgreSQL server", "nodedb.directory")
	c.stop(3)
	equal(contents(directory(c, 2)), before, "files of node 2")
	overwrite_all(conf, text)
	c.start(2)
	c.wait_ready()
	with Load(c, 1, 2) as load:
		c.start(3)
		c.wait_ready()
		load.more()
	healthy(c)


def overwrite_all(path, text):
	with open(path, "wb") as file:
		file.write(text)


def refused_until_restored(c, node, damage, *words):
	"""Damage a stopped node's files: it refuses, changes nothing more, and works again when the bytes are restored. damage() returns (path, bytes)."""
	c.stop(node)
	before = contents(directory(c, node))
	with Load(c, *others(c, node)) as load:
		path, old = damage()
		try:
			after = contents(directory(c, node))
			equal(before != after, True, "damage was done")
			fails_to_start(c, node, *words)
			load.more()
			c.stop(node)
			equal(contents(directory(c, node)), after, "files of the node that refused")
		finally:
			c.stop(node)
			overwrite(path, 0, old)
		equal(contents(directory(c, node)), before, "restored files")
		c.start(node)
		c.wait_ready()
		load.more()
	healthy(c)


@test
def identity_of_a_newer_format(c):
	path = os.path.join(directory(c, 2), "identity")
	refused_until_restored(c, 2, lambda: (path, newer_format(path, IDENTITY)), "identity", "newer version of nodedb")


@test
def damaged_identity(c):
	path = os.path.join(directory(c, 2), "identity")

	def damage():
		old = read(path)
		overwrite(path, 20, bytes([old[20] ^ 1]))
		return path, old
	refused_until_restored(c, 2, damage, "identity", "remove_node")


def segments(c, node):
	"""Files that have been written to, in order; the last one is the current one."""
	return [path for path in sorted(glob.glob(os.path.join(directory(c, node), "*.seg"))) if read(path)[512:516] == b"Btch"]


@test
def segment_of_a_newer_format(c):
	fill_log(c)
	path = segments(c, 3)[1]
	refused_until_restored(c, 3, lambda: (path, newer_format(path, SEGMENT)), os.path.basename(path), "format 2", "newer version of nodedb")


def logdump(*arguments):
	done = subprocess.run([os.path.join(cluster.BIN, "nodedb_logdump"), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
	return done.returncode, done.stdout


@test
def logdump_shows_and_verifies(c):
	"""On a running node's log, and on a damaged copy of it; it changes nothing."""
	c.execute(1, "INSERT INTO bad VALUES (-77, 'logdump shows this')")
	c.wait_caught_up()
	status, text = logdump("--rows", directory(c, 2))
	equal(status, 0, text[-500:])
	says(text, "INSERT public.bad", "'logdump shows this'", "all checksums are good")
	line = next(line for line in text.splitlines()[:text[:text.index("'logdump shows this'")].count("\n")][::-1] if " TXN " in line)
	status, text = logdump("--transaction=" + line.split(" TXN ")[1].split()[0], directory(c, 3))
	equal(status, 0, text)
	says(text, "key ", "'logdump shows this'")
	with tempfile.TemporaryDirectory(prefix="nodedb-logdump-") as where:
		for path in segments(c, 2):
			shutil.copy(path, where)
		first = sorted(os.listdir(where))[0]
		overwrite(os.path.join(where, first), 512 + 10, b"xxxx")
		before = contents(where)
		status, text = logdump("-e", where)
		equal(status, 1)
		says(text, "DAMAGE", first, "at offset 512", "1 places are damaged", "TXN")
		equal(contents(where), before)
		equal(logdump(where + "/none")[0], 2)
	for arguments in ((), ("--what",), ("-i", "x", directory(c, 2)), ("-t", "1.2", directory(c, 2))):
		equal(logdump(*arguments)[0], 2, "arguments %s" % (arguments,))
	c.execute(1, "DELETE FROM bad WHERE id = -77")		# others count the rows below 0


@test
def bit_flip_in_a_segment(c):
	path = segments(c, 2)[-2]

	def damage():
		old = read(path)
		at = 512 + 48 + int.from_bytes(old[512 + 24:512 + 32], "little") // 2
		overwrite(path, at, bytes([old[at] ^ 16]))
		return path, old
	refused_until_restored(c, 2, damage, os.path.basename(path), "offset", "remove_node")


def without(c, node, paths, test):
	"""Run the test while these files of the stopped node are elsewhere."""
	aside = os.path.join(c.servers[node].dir, "aside")
	c.stop(node)
	os.mkdir(aside)
	try:
		for path in paths:
			os.rename(path, os.path.join(aside, os.path.basename(path)))
		with Load(c, *others(c, node)) as load:
			test()
			load.more()
	finally:
		c.stop(node)
		for path in paths:
			if os.path.isdir(path):
				shutil.rmtree(path)
			os.rename(os.path.join(aside, os.path.basename(path)), path)
		os.rmdir(aside)
	c.start(node)
	healthy(c)


@test
def lost_segment(c):
	without(c, 2, segments(c, 2)[-2:-1], lambda: fails_to_start(c, 2, "segment file is lost", "remove_node"))


@test
def lost_log(c):
	"""All segments are gone, the identity is there: a node without memory must not vote."""
	def gone():
		equal(list(contents(directory(c, 3))), ["identity"])
		fails_to_start(c, 3, "log of node 3", "gone", "remove_node")
	without(c, 3, glob.glob(os.path.join(directory(c, 3), "*.seg")), gone)


@test
def lost_log_and_identity(c):
	"""The whole directory is gone: neither founding nor joining may take up the old tables, nor the old node id with an empty log."""
	def gone():
		seed = "127.0.0.1:%d" % c.servers[1].listen
		c.start(3)
		poll("node 3 knows of no cluster", lambda: "not in a cluster" in status(c, 3), SECONDS)
		fails("55000", c.execute, 3, "INSERT INTO bad VALUES (-1, 'must not be')")
		for sql in ("SELECT nodedb.init_cluster(name => 'node3')", "SELECT nodedb.join_cluster('%s', '%s', name => 'node3')" % (seed, c.token)):
			error = fails("55000", c.execute, 3, sql)
			says(error.hint, "new, empty database")
		with cluster.pq.Connection(c.servers[3].dsn("postgres")) as connection:
			connection.execute("ALTER DATABASE %s RENAME TO aside" % cluster.DATABASE)
			connection.execute("CREATE DATABASE %s" % cluster.DATABASE)
			c.execute(3, "CREATE EXTENSION nodedb")
			try:
				error = fails("28000", c.execute, 3, "SELECT nodedb.join_cluster('%s', '%s', name => 'node3')" % (seed, c.token))
				says(str(error), "remove")
			finally:
				connection.execute("DROP DATABASE %s WITH (FORCE)" % cluster.DATABASE)
				connection.execute("ALTER DATABASE aside RENAME TO %s" % cluster.DATABASE)
	without(c, 3, [directory(c, 3)], gone)


# ---- settings ----

@test
def node_port_in_use(c):
	c.stop(2)
	with Load(c, 1, 3):
		with socket.create_server(("127.0.0.1", c.servers[2].listen)):
			fails_to_start(c, 2, "node port", "in use", "nodedb.listen")
			c.restart(2)
			poll("node 2 says so again", lambda: "in use" in status(c, 2), SECONDS)
		c.restart(2)
		c.wait_ready()
	healthy(c)


@test
def fewer_groups_than_the_log_has(c):
	with another(1, init_options="data_groups => 3") as spare:
		spare.execute(1, "CREATE TABLE t (id int PRIMARY KEY)")
		spare.stop(1)
		spare.servers[1].configure("nodedb.max_groups = 3")
		spare.start(1)
		poll("it says so", lambda: "nodedb.max_groups" in status(spare, 1), SECONDS)
		spare.stop(1)
		spare.servers[1].configure("nodedb.max_groups = 4")
		spare.start(1)
		spare.wait_ready()
		spare.execute(1, "INSERT INTO t VALUES (1)")


@test
def synchronous_standby_that_does_not_exist(c):
	for i in c:
		c.execute(i, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
		c.execute(i, "SELECT pg_reload_conf()")
		poll("the setting on node %d" % i, lambda: c.value(i, "SHOW synchronous_standby_names") == "nobody", SECONDS)
	try:
		with Load(c, *c):
			goes_on(c, "bad", *c)
			with Session(c, 2) as session:
				equal(session.start("CREATE TABLE with_standby (id int PRIMARY KEY); INSERT INTO with_standby VALUES (1); DROP TABLE with_standby").end(), "ok")
	finally:
		for i in c:
			with Session(c, i, "SET synchronous_commit = local") as session:
				session.execute("ALTER SYSTEM RESET synchronous_standby_names")
				session.execute("SELECT pg_reload_conf()")
	healthy(c)


# ---- size ----

def last_index(c):
	return c.value(c.leader(), "SELECT last_index FROM nodedb.groups WHERE group_id = 1")


@test
def transaction_above_the_limit(c):
	def refused():
		"""False when something came into the log: of a new leader, of the nodes' own chores. What the refused ones leave there comes every time."""
		c.wait_caught_up()
		before = last_index(c)
		for node in c:
			with c.connect(node) as connection:
				connection.execute("SET nodedb.max_transaction_size = 1")
				for sql in ("INSERT INTO bad SELECT -2, string_agg(md5(random()::text), '') FROM generate_series(1, 40000)",
							"INSERT INTO bad SELECT -g, repeat(md5(random()::text), 30) FROM generate_series(10, 1500) g"):
					error = fails("54000", connection.execute, sql)
					says(error.hint, "nodedb.max_transaction_size")
					connection.execute("BEGIN")
					fails("54000", connection.execute, sql)
					fails("25P02", connection.execute, "INSERT INTO bad VALUES (-3)")
					connection.execute("COMMIT")
		return last_index(c) == before
	poll("no entry in the log", refused, SECONDS)
	equal(c.value(1, "SELECT count(*) FROM bad WHERE id < 0"), "0")
	healthy(c)


@test
def value_of_40_megabytes(c):
	with Load(c, *others(c, 2)):
		c.execute(2, "INSERT INTO bad SELECT -40, string_agg(md5(random()::text), '') FROM generate_series(1, 1310720)")
		equal(c.value(3, "SELECT length(note) FROM bad WHERE id = -40"), str(40 << 20))
		c.execute(3, "UPDATE bad SET note = note || 'x' WHERE id = -40")
	same_everywhere(c, "bad")
	c.execute(1, "DELETE FROM bad WHERE id = -40")
	healthy(c)


@test
def more_keys_than_bulk_keys(c):
	make(c, "CREATE TABLE bulk (id int PRIMARY KEY, a int UNIQUE)")
	c.execute(3, "INSERT INTO bulk SELECT g, -g FROM generate_series(1, 110000) g")
	same_everywhere(c, "bulk")
	# two such at once, on different nodes: one after the other, or one of them fails; the rows tell which
	with Session(c, 1, "SET nodedb.bulk_keys = 100") as one, Session(c, 2, "SET nodedb.bulk_keys = 100") as two:
		one.start("UPDATE bulk SET a = a - 200000 WHERE id <= 1000")
		two.start("UPDATE bulk SET a = a - 400000 WHERE id BETWEEN 501 AND 1500")
		told = one.end(), two.end()
		equal(set(told) <= {"ok", "40001"} and "ok" in told, True, "answers %s" % (told,))
	c.wait_caught_up()
	for i in c:
		equal(c.value(i, "SELECT count(*) FROM bulk WHERE id <= 500 AND a < -200000"), "500" if told[0] == "ok" else "0")
		equal(c.value(i, "SELECT count(*) FROM bulk WHERE id > 1000 AND a < -400000"), "500" if told[1] == "ok" else "0")
	same_everywhere(c, "bulk")
	healthy(c)


# ---- certificates ----

def openssl(where, *arguments):
	subprocess.run(("openssl",) + arguments, cwd=where, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def authority(where, name):
	openssl(where, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", name + ".key",
			"-out", name + ".crt", "-subj", "/CN=" + name)


def certificate(where, ca, name, subject):
	openssl(where, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj",
			"/CN=" + subject)
	openssl(where, "x509", "-req", "-in", name + ".csr", "-CA", ca + ".crt", "-CAkey", ca + ".key", "-CAcreateserial", "-days", "2", "-out", name + ".crt")


def tls(where, ca, name):
	return "\n".join("nodedb.tls_%s_file = '%s'" % (what, os.path.join(where, file))
					 for what, file in (("ca", ca + ".crt"), ("cert", name + ".crt"), ("key", name + ".key")))


@test
def certificates(c):
	where = tempfile.mkdtemp(prefix="nodedb-tls-")
	try:
		authority(where, "ours")
		authority(where, "theirs")
		certificate(where, "ours", "node", "nodedb")
		certificate(where, "ours", "misnamed", "something-else")
		certificate(where, "theirs", "foreign", "nodedb")
		os.chmod(where, 0o755)
		for name in os.listdir(where):
			os.chmod(os.path.join(where, name), 0o644)
		with another(3, conf=[tls(where, "ours", "node")]) as secure:
			make(secure, "CREATE TABLE bad (id bigint PRIMARY KEY, note text)", "CREATE TABLE load (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), node int, note text)")
			healthy(secure)
			conf = {i: read(os.path.join(secure.servers[i].data, "postgresql.conf")) for i in secure}
			nothing = "\n".join("nodedb.tls_%s_file = ''" % what for what in ("ca", "cert", "key"))
			# node 1 calls the others, node 3 is called by them
			for node, settings in ((1, nothing), (3, nothing), (1, tls(where, "theirs", "foreign")), (3, tls(where, "theirs", "foreign")),
								   (1, tls(where, "ours", "misnamed"))):
				rest = others(secure, node)
				secure.stop(node)
				secure.servers[node].configure(settings)
				with Load(secure, *rest) as load:
					before = {i: len(secure.log(i)) for i in secure}
					secure.start(node)
					poll("a node complains", lambda: [line for i in secure for line in secure.log(i)[before[i]:].splitlines()
													  if any(word in line for word in ("refused", "handshake", "Handshake", "SSL", "certificate"))], SECONDS)
					load.more()
					for i in rest:
						equal(local(secure, i, "SELECT connected FROM nodedb.nodes WHERE name = 'node%d'" % node), "f")
					with secure.connect(node, consistency="local") as alone:
						fails(("57P03", "40003"), alone.execute, "SET nodedb.commit_timeout = 1000; INSERT INTO bad VALUES (-1)")
					secure.stop(node)
					overwrite_all(os.path.join(secure.servers[node].data, "postgresql.conf"), conf[node])
					secure.start(node)
					secure.wait_ready()
				equal(secure.value(node, "SELECT count(*) FROM bad WHERE id = -1"), "0")
				healthy(secure)
			# settings that cannot be used
			secure.stop(2)
			secure.servers[2].configure("nodedb.tls_key_file = ''")
			fails_to_start(secure, 2, "TLS needs all three files", "nodedb.tls_")
			secure.stop(2)
			overwrite_all(os.path.join(secure.servers[2].data, "postgresql.conf"), conf[2])
			secure.start(2)
			healthy(secure)
	finally:
		shutil.rmtree(where)


main()
