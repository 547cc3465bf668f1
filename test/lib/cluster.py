"""cluster: a nodedb cluster on this machine, for tests, the demo and trying things out.

What it owns: one directory with a data directory, a socket and a log per node, and cluster.json, which says what was made;
with netns also the network namespaces and the bridge that it made.

Invariants:
1. It touches only processes that it finds through its own data directories, and only files below its own directory.
2. Called by root it runs the servers as user postgres, for PostgreSQL refuses to run as root.
3. Nothing is left behind by down().
4. Nodes are counted from 1. Their ports lie below the range of outgoing connections, so that a stopped node finds its port free again.
"""
import glob
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pq

BIN = os.environ.get("NODEDB_PG_BIN", "/usr/lib/postgresql/15/bin")
DEFAULT_DIR = os.environ.get("NODEDB_DIR", "/tmp/nodedb-demo")
DATABASE = "nodedb"
USER = "postgres"
READY_SECONDS = 90

CONF = """
listen_addresses = '{host}'
port = {port}
unix_socket_directories = '{dir}'
max_connections = 100
max_worker_processes = 24
shared_buffers = 128MB
max_wal_size = 1GB
log_line_prefix = '%m [%p] %b '
"""
NODEDB_CONF = """
shared_preload_libraries = 'nodedb'
nodedb.listen = '{host}:{listen}'
nodedb.database = '{database}'
"""

def poll(what, condition, seconds=READY_SECONDS, interval=0.1):
	"""Wait until condition() is true and return what it gave; an Error of the server counts as "not yet", but not one in the SQL."""
	deadline = time.monotonic() + seconds
	last = None
	while True:
		try:
			last = condition()
			if last:
				return last
		except pq.Error as error:
			if error.sqlstate.startswith("42"):
				raise
			last = error
		if time.monotonic() > deadline:
			raise TimeoutError("%s: not within %g s (last seen: %s)" % (what, seconds, last))
		time.sleep(interval)


def free_ports(count):
	"""Ports that nobody listens on, all bound at once to be sure that they differ. NODEDB_PORTS=low-high: of these, so that two programs side by side do not take
	the port of a server of the other that is down for a moment."""
	low, high = os.environ.get("NODEDB_PORTS", "20000-32000").split("-")
	held = []
	try:
		while len(held) < count:
			probe = socket.socket()
			try:
				probe.bind(("127.0.0.1", random.randint(int(low), int(high))))
				held.append(probe)
			except OSError:
				probe.close()
		return [s.getsockname()[1] for s in held]
	finally:
		for s in held:
			s.close()


def as_postgres():
	"""Arguments of subprocess that run a command as user postgres when we are root."""
	if os.geteuid() != 0:
		return {}
	user = pwd.getpwnam("postgres")
	return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [],
			"env": dict(os.environ, HOME=user.pw_dir, USER="postgres", LOGNAME="postgres")}


def run(*command, **options):
	"""Run a command to its end; its output is shown only when it fails."""
	done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
	if done.returncode != 0:
		raise RuntimeError("%s failed (%d):\n%s" % (" ".join(command), done.returncode, done.stdout))
	return done.stdout


class Network:
	"""A bridge, and a namespace per node that hangs on it. Node 1 of the cluster is 10.213.x.1, the machine itself .254."""

	def __init__(self, tag):
		self.tag = tag								# 0..255, in every name that we make
		self.bridge = "ndbr%d" % tag

	def address(self, i):
		return "10.213.%d.%d" % (self.tag, i)

	def namespace(self, i):
		return "nodedb%d-%d" % (self.tag, i)

	def link(self, i):
		return "nd%dv%d" % (self.tag, i)

	@classmethod
	def make(cls):
		taken = subprocess.run(["ip", "-o", "link"], stdout=subprocess.PIPE, text=True).stdout
		network = cls(next(tag for tag in range(os.getpid() % 200, 256) if "ndbr%d:" % tag not in taken))
		run("ip", "link", "add", network.bridge, "type", "bridge")
		run("ip", "addr", "add", network.address(254) + "/24", "dev", network.bridge)
		run("ip", "link", "set", network.bridge, "up")
		return network

	def add(self, i):
		ns, link, inside = self.namespace(i), self.link(i), self.link(i) + "i"
		run("ip", "netns", "add", ns)
		run("ip", "link", "add", link, "type", "veth", "peer", "name", inside)
		run("ip", "link", "set", inside, "netns", ns)
		run("ip", "link", "set", link, "master", self.bridge, "up")
		run("ip", "-n", ns, "addr", "add", self.address(i) + "/24", "dev", inside)
		run("ip", "-n", ns, "link", "set", inside, "up")
		run("ip", "-n", ns, "link", "set", "lo", "up")

	def isolate(self, i):
		"""Packets of the node vanish without a word, as when a switch fails: the link itself stays up."""
		run("ip", "link", "set", self.link(i), "nomaster")

	def heal(self, i):
		run("ip", "link", "set", self.link(i), "master", self.bridge)

	def remove(self, nodes):
		for i in nodes:
			subprocess.run(["ip", "netns", "del", self.namespace(i)], stderr=subprocess.DEVNULL)
			subprocess.run(["ip", "link", "del", self.link(i)], stderr=subprocess.DEVNULL)
		subprocess.run(["ip", "link", "del", self.bridge], stderr=subprocess.DEVNULL)


class Server:
	"""One PostgreSQL server: its files and its processes."""

	def __init__(self, directory, number, host, port, listen, namespace=None, database=DATABASE):
		self.dir = os.path.join(directory, "node%d" % number)
		self.database = database					# the replicated one
		self.number, self.host, self.port, self.listen, self.namespace = number, host, port, listen, namespace
		self.data = os.path.join(self.dir, "data")
		self.log = os.path.join(self.dir, "log")

	def initdb(self, conf):
		os.makedirs(self.dir)
		if os.geteuid() == 0:
			shutil.chown(self.dir, "postgres", "postgres")
		run(os.path.join(BIN, "initdb"), "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
			cwd="/", **as_postgres())
		self.configure(conf)

	def configure(self, conf):
		"""Append to postgresql.conf."""
		with open(os.path.join(self.data, "postgresql.conf"), "a") as out:
			out.write(conf.format(host=self.host, port=self.port, listen=self.listen, dir=self.dir, database=self.database) + "\n")

	def allow(self, network):
		"""Let a network in without a password."""
		with open(os.path.join(self.data, "pg_hba.conf"), "a") as out:
			out.write("host all all %s trust\nhost replication all %s trust\n" % (network, network))

	def start(self):
		self._drop_stale_lock()
		command = [os.path.join(BIN, "postgres"), "-D", self.data]
		options = as_postgres()
		if self.namespace:
			# only root may enter a namespace: change user behind it
			command = ["ip", "netns", "exec", self.namespace] + (["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] if options else []) + command
			options = {}
		before = os.path.getsize(self.log) if os.path.exists(self.log) else 0
		with open(self.log, "ab") as log:
			self.process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
											**options)
		poll("start of node %d" % self.number, lambda: self._is_up(before), 60, 0.05)

	def _is_up(self, before):
		if self.process.poll() is not None:
			with open(self.log, errors="replace") as log:
				log.seek(before)
				raise RuntimeError("node %d did not start:\n%s" % (self.number, log.read()[-4000:]))
		pq.Connection(self.dsn("postgres"), 2).close()
		return True

	def _drop_stale_lock(self):
		# A killed postmaster whose parent is gone may stay a zombie where process 1 is slow to reap; PostgreSQL takes that for alive.
		for path in (os.path.join(self.data, "postmaster.pid"), os.path.join(self.dir, ".s.PGSQL.%d.lock" % self.port)):
			pid = first_number(path)
			if pid and not alive(pid):
				os.unlink(path)

	def pid(self):
		return first_number(os.path.join(self.data, "postmaster.pid"))

	def processes(self):
		"""The postmaster and its children; empty when it does not run."""
		pid = self.pid()
		if not pid or not alive(pid) or not self._is_ours(pid):
			return []
		return [pid] + [child for child in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent(child) == pid]

	def _is_ours(self, pid):
		try:
			return os.path.realpath("/proc/%d/cwd" % pid) == os.path.realpath(self.data)
		except OSError:
			return False

	def running(self):
		return bool(self.processes())

	def stop(self, mode="fast"):
		if self.running():
			run(os.path.join(BIN, "pg_ctl"), "-D", self.data, "-m", mode, "-t", "60", "-w", "stop", cwd="/", **as_postgres())
		self._reap()

	def signal(self, number):
		for pid in self.processes():
			try:
				os.kill(pid, number)
			except ProcessLookupError:
				pass

	def kill(self):
		"""SIGKILL of the whole server, as near to "at once" as signals go: the postmaster is stopped first, so that it reacts to nothing."""
		for pid in self.processes()[:1]:		# from then on it forks nobody whom the list below would not have
			try:
				os.kill(pid, signal.SIGSTOP)
			except ProcessLookupError:
				pass
			poll("stop of node %d's postmaster" % self.number, lambda: state("/proc/%d" % pid) in "TtZX", 30, 0.001)
		processes = self.processes()
		for number in (signal.SIGSTOP, signal.SIGKILL):
			for pid in processes:
				try:
					os.kill(pid, number)
				except ProcessLookupError:
					pass
		poll("death of node %d" % self.number, lambda: not any(map(alive, processes)), 30, 0.01)
		self._reap()

	def _reap(self):
		process = getattr(self, "process", None)
		if process:
			process.wait(60)

	def dsn(self, database=None):
		# with namespaces the socket, for it is reached whatever the network does
		host = self.dir if self.namespace else "127.0.0.1"
		return "host=%s port=%d dbname=%s user=%s" % (host, self.port, database or self.database, USER)


def first_number(path):
	"""The number in the first line of a file; None without file or number."""
	try:
		with open(path) as file:
			return int(file.readline())
	except (OSError, ValueError):
		return None


def parent(pid):
	try:
		with open("/proc/%d/stat" % pid) as file:
			return int(file.read().rsplit(")", 1)[1].split()[1])
	except OSError:
		return None


def state(path):
	"""The letter of a process or thread; X when it is gone."""
	try:
		with open(path + "/stat") as file:
			return file.read().rsplit(")", 1)[1].split()[0]
	except OSError:
		return "X"


def alive(pid):
	"""Has it a thread that lives? The first one may be a zombie while another one is in fsync: memory, files and ports are held until that returns."""
	return any(state(path) not in "ZX" for path in glob.glob("/proc/%d/task/*" % pid))


class Cluster:
	"""
	nodes: how many; port: the first of the clients' ports (free ones are taken without); conf: lines of postgresql.conf for every node;
	database: the name of the replicated one; init_options: of init_cluster(), by default those in NODEDB_INIT_OPTIONS ("data_groups => 3" runs a test over groups).
	Lines of NODEDB_CONF, separated by semicolons, come behind conf ("nodedb.default_data_group = 0" spreads the test's tables over them)
	"""

	def __init__(self, nodes=3, directory=None, port=None, conf=(), netns=False, init_options=os.environ.get("NODEDB_INIT_OPTIONS", ""), database=DATABASE):
		self.dir = os.path.abspath(directory or tempfile.mkdtemp(prefix="nodedb-"))
		if os.path.exists(os.path.join(self.dir, "cluster.json")):
			raise RuntimeError("there is a cluster in %s already: end it first" % self.dir)
		os.makedirs(self.dir, exist_ok=True)
		os.chmod(self.dir, 0o755)
		self.port, self.conf, self.init_options, self.database = port, list(conf) + os.environ.get("NODEDB_CONF", "").split(";"), init_options, database
		self.count, self.token, self.servers = nodes, None, {}
		self.network = None
		if netns:
			if os.geteuid() != 0:
				raise RuntimeError("network namespaces need root")
			self.network = Network.make()

	@classmethod
	def load(cls, directory):
		"""The cluster that `up` of another process made in that directory."""
		self = cls.__new__(cls)
		self.dir = os.path.abspath(directory)
		try:
			with open(os.path.join(self.dir, "cluster.json")) as file:
				state = json.load(file)
		except OSError:
			raise RuntimeError("there is no cluster in %s" % self.dir) from None
		self.port, self.conf, self.token, self.init_options = state["port"], state["conf"], state["token"], state["init_options"]
		self.database = state["database"]
		self.network = Network(state["network"]) if state["network"] is not None else None
		self.servers = {node[0]: Server(self.dir, *node, database=self.database) for node in state["nodes"]}
		self.count = len(self.servers)
		return self

	def _save(self):
		nodes = [[s.number, s.host, s.port, s.listen, s.namespace] for s in self.servers.values()]
		with open(os.path.join(self.dir, "cluster.json"), "w") as out:
			json.dump({"port": self.port, "conf": self.conf, "token": self.token, "init_options": self.init_options, "nodes": nodes,
					   "database": self.database,
					   "network": self.network.tag if self.network else None}, out)

	def __enter__(self):
		return self.up()

	def __exit__(self, *_):
		self.down()

	def __iter__(self):
		return iter(sorted(self.servers))

	# ---- making and ending ----

	def up(self):
		try:
			for _ in range(self.count):
				self.new_server()
			self.token = self.value(1, "SELECT nodedb.init_cluster(name => 'node1'%s)"
									% (", " + self.init_options if self.init_options else ""))
			self._save()
			for i in range(2, self.count + 1):
				self.join(i)
			return self.wait_ready()
		except BaseException:
			self.stop_all()
			raise

	def new_server(self):
		"""One more server with the extension, not joined yet; its number."""
		i = max(self.servers, default=0) + 1
		if self.network:
			self.network.add(i)
			host, port, listen, namespace = self.network.address(i), 5432, 7000, self.network.namespace(i)
		elif self.port:
			host, port, listen, namespace = "127.0.0.1", self.port + i - 1, self.port + 100 + i - 1, None
		else:
			host, namespace = "127.0.0.1", None
			port, listen = free_ports(2)
		server = self.servers[i] = Server(self.dir, i, host, port, listen, namespace, self.database)
		self._save()
		server.initdb(CONF + NODEDB_CONF + "\n".join(self.conf))
		if self.network:
			server.allow(self.network.address(0) + "/24")
		server.start()
		with pq.Connection(server.dsn("postgres")) as connection:
			connection.execute("CREATE DATABASE %s" % self.database)
		with self.connect(i) as connection:
			connection.execute("CREATE EXTENSION nodedb")
		return i

	def join(self, i, token=None, name=None):
		"""Join through the first running node; other words than the right ones are for tests of what is refused."""
		seed = self.servers[min(n for n in self if n != i and self.servers[n].running())]
		self.execute(i, "SELECT nodedb.join_cluster($1, $2, name => $3)", "%s:%d" % (seed.host, seed.listen), token or self.token,
					 name or "node%d" % i)

	def add(self):
		"""One more node, joined; its number."""
		i = self.new_server()
		self.join(i)
		self.wait_ready()
		return i

	def down(self):
		"""End everything and remove the directory."""
		for server in self.servers.values():
			server.signal(signal.SIGCONT)
			server.kill()
		if self.network:
			self.network.remove(self.servers)
		shutil.rmtree(self.dir, ignore_errors=True)

	def stop_all(self):
		"""End the processes and the network, but keep files and logs to look at."""
		for server in self.servers.values():
			server.signal(signal.SIGCONT)
			server.kill()
		if self.network:
			self.network.remove(self.servers)
			self.network = None
			self._save()

	# ---- one node ----

	def dsn(self, i):
		return self.servers[i].dsn()

	def connect(self, i, timeout=10, consistency=None):
		"""consistency: nodedb.read_consistency as a startup option; with "local" a node that has not caught up since its start lets us in, too."""
		return pq.Connection(self.dsn(i) + (" options='-c nodedb.read_consistency=%s'" % consistency if consistency else ""), timeout)

	def execute(self, i, sql, *params):
		with self.connect(i) as connection:
			return connection.execute(sql, *params)

	def value(self, i, sql, *params):
		rows = self.execute(i, sql, *params)
		return rows[0][0] if rows else None

	def kill(self, i):
		self.servers[i].kill()

	def stop(self, i, mode="fast"):
		self.servers[i].stop(mode)

	def start(self, i):
		self.servers[i].start()

	def restart(self, i):
		self.stop(i)
		self.start(i)

	def pause(self, i):
		self.servers[i].signal(signal.SIGSTOP)

	def resume(self, i):
		self.servers[i].signal(signal.SIGCONT)

	def isolate(self, i):
		self._need_network().isolate(i)

	def heal(self):
		for i in self:
			self._need_network().heal(i)

	def _need_network(self):
		if not self.network:
			raise RuntimeError("this cluster was made without network namespaces (--netns)")
		return self.network

	def log(self, i):
		with open(self.servers[i].log, errors="replace") as file:
			return file.read()

	# ---- the whole ----

	def running(self):
		return [i for i in self if self.servers[i].running()]

	def wait_ready(self, seconds=READY_SECONDS):
		"""Until every running node sees all running nodes as connected voters and a leader in every group, and lets everybody in."""
		nodes = self.running()
		for i in nodes:
			poll("node %d ready" % i, lambda: self._sees_all(i, nodes), seconds)
			poll("node %d to let clients in" % i, lambda: self.value(i, "SELECT 1"), seconds)
		return self

	def _sees_all(self, i, nodes):
		with self.connect(i, consistency="local") as connection:
			voters = {name for name, role, is_self, connected in
					  connection.execute("SELECT name, role, is_self, connected FROM nodedb.nodes")
					  if role == "voter" and (is_self == "t" or connected == "t")}
			groups = connection.execute("SELECT group_id, leader FROM nodedb.groups")
			return {"node%d" % n for n in nodes} <= voters and len(groups) > 1 and all(leader not in (None, "0") for _, leader in groups)

	def leader(self, group=1, of=None):
		"""Number of the node that leads the group, as node `of` (the first that runs) sees it, once it knows of one."""
		of = of or self.running()[0]
		name = poll("a leader of group %d on node %d" % (group, of), lambda: self.value(
			of, "SELECT n.name FROM nodedb.groups g JOIN nodedb.nodes n ON n.node_id = g.leader WHERE g.group_id = %d" % group))
		return int(name[len("node"):])

	def lead(self, group, node):
		"""Let this node lead the group, as its first running node sees it."""
		def done():
			leader = self.leader(group)
			if leader != node:
				self.execute(leader, "SELECT nodedb.transfer_leadership($1, (SELECT node_id FROM nodedb.nodes WHERE name = $2))", group, "node%d" % node)
			return self.leader(group) == node
		poll("node %d leads group %d" % (node, group), done, READY_SECONDS)

	def groups(self, i):
		return [int(group) for group, in self.execute(i, "SELECT group_id FROM nodedb.groups WHERE group_id > 0 ORDER BY 1")]

	def wait_caught_up(self, seconds=READY_SECONDS):
		"""
		Until every running node applied what any of them has applied by now; {group: index}.
		Only when nothing writes meanwhile the nodes stand at the same index behind it.
		"""
		nodes = self.running()
		groups = poll("the groups of node %d" % nodes[0], lambda: self.groups(nodes[0]), seconds)

		def applied(i):
			rows = self.execute(i, "SELECT g, nodedb.applied_index(g) FROM unnest('{%s}'::int[]) g" % ",".join(map(str, groups)))
			return {int(group): int(index) for group, index in rows}
		seen = [poll("node %d to be ready" % i, lambda: applied(i), seconds) for i in nodes]
		goal = {group: max(indexes[group] for indexes in seen) for group in groups}
		for i in nodes:
			poll("node %d at %r" % (i, goal), lambda: all(index >= goal[group] for group, index in applied(i).items()), seconds)
		return goal

	def digest(self, i, table):
		"""(rows, digest) of a table as this node holds it: equal contents give equal digests, in whatever order the rows lie."""
		with self.connect(i, consistency="local") as connection:
			return connection.execute(
				"SELECT count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint), 0) FROM %s t" % table)[0]

	def status(self):
		for i in self:
			server = self.servers[i]
			print("node%d  %s  dsn: %s  node port: %d" % (i, "runs" if server.running() else "down", server.dsn(), server.listen))
		for i in self.running()[:1]:
			try:
				print(self.value(i, "SELECT nodedb.status()"))
			except pq.Error as error:
				print(error)
