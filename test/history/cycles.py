"""cycles: is this history of list-append transactions one that the isolation level allows?

A history is what clients saw: transactions that append numbers to lists, each number once, and read lists. A list that was read tells whole in which order its key was written,
so what depends on what needs no guess (the idea is that of Adya's generalized isolation definitions, and of checkers like Elle; the code is our own).

What is looked for:
  lost         an append that was acknowledged is not in the last state
  aborted      something of a transaction that surely failed was read (G1a)
  intermediate a state in the middle of another transaction was read (G1b)
  internal     a transaction does not see its own appends, or a list changed under a snapshot that does not move
  order        two reads of one key that are not prefix of each other; a number twice; a number that nobody wrote
  stale        a read misses what was acknowledged before its transaction began (strong reads only)
  fractured    a read shows one part of a transaction and not the other
  flow         a cycle of "overwrote" and "read from" (G0, G1c)
  cycle        any cycle, with "was overwritten after it read" too: not serializable (G2)

Cycles are looked for at SERIALIZABLE only. Below it readers of different nodes may see unrelated commits of different data groups in different orders (a long fork), and an effect
before its cause that was in another group; but no part of a transaction without the other.
"""

STARTS = 20					# from so many transactions a shortest cycle is looked for
OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
SERIALIZABLE, SNAPSHOT = "serializable", "repeatable read"


class Transaction:
	"""operations: ("append", key, number) or ("read", key, [numbers]), in order. began, ended: one clock for all; ended is when the client had its answer."""

	def __init__(self, name, node=0, began=0.0, ended=0.0, outcome=OK, operations=()):
		self.name, self.node, self.began, self.ended, self.outcome = name, node, began, ended, outcome
		self.operations = list(operations)

	def appends(self, key=None):
		return [(k, v) for kind, k, v in self.operations if kind == "append" and key in (None, k)]

	def reads(self):
		return [(k, v) for kind, k, v in self.operations if kind == "read"]

	def __repr__(self):
		return "%s (node %s, %s: %s)" % (self.name, self.node, self.outcome, "; ".join("%s %s %s" % o for o in self.operations))


class History:
	"""final: {key: [numbers]}, read when nobody wrote any more."""

	def __init__(self, transactions, final):
		self.final = final
		self.writer = {}						# (key, number): transaction
		for t in transactions:
			for item in t.appends():
				self.writer[item] = t
		# unknown: it counts as committed when anything of it is there
		self.committed = [t for t in transactions if t.outcome == OK or
						  t.outcome == UNKNOWN and any(v in final.get(k, ()) for k, v in t.appends())]
		self.transactions = transactions
		self.place = {key: {v: i for i, v in enumerate(numbers)} for key, numbers in final.items()}


def check(transactions, final, level=SERIALIZABLE, strong=True):
	"""Everything that is wrong, as lines of text."""
	h = History(transactions, final)
	for look in (_orders, _lost, _aborted):
		wrong = look(h)
		if wrong:
			return wrong						# what comes behind would mean nothing
	wrong = _intermediate(h) + _internal(h) + _fractured(h)
	if strong:
		wrong += _stale(h)
	return wrong + _cycles(h, level)


# ---- one transaction, one key ----

def _orders(h):
	wrong = []
	for key, numbers in h.final.items():
		if len(set(numbers)) != len(numbers):
			wrong.append("order: key %s holds a number twice: %s" % (key, numbers))
		wrong += ["order: nobody appended %s to key %s" % (v, key) for v in numbers if (key, v) not in h.writer]
	for t in h.transactions:
		for key, numbers in t.reads():
			own = {v for _, v in t.appends(key)}
			seen = [v for v in numbers if v not in own] if t not in h.committed else numbers
			if seen != h.final.get(key, [])[:len(seen)] and not any(h.writer.get((key, v), t).outcome == FAILED for v in seen if v not in own):
				wrong.append("order: %s read %s of key %s, which ends as %s" % (t, numbers, key, h.final.get(key, [])))
	return wrong


def _lost(h):
	return ["lost: %s, which was acknowledged, is not in key %s: %s" % (v, k, t)
			for t in h.transactions if t.outcome == OK for k, v in t.appends() if v not in h.place.get(k, {})] + \
		["lost: key %s has not all of a transaction: %s" % (k, t)
		 for t in h.committed if t.outcome == UNKNOWN for k, v in t.appends() if v not in h.place.get(k, {})]


def _aborted(h):
	final = ["aborted: key %s holds %s of a transaction that failed: %s" % (k, v, h.writer[k, v])
			 for k, numbers in h.final.items() for v in numbers if h.writer[k, v].outcome == FAILED]
	return final + ["aborted: %s read %s of key %s, of a transaction that failed: %s" % (t, v, k, h.writer[k, v])
					for t in h.transactions for k, numbers in t.reads() for v in numbers
					if (k, v) in h.writer and h.writer[k, v] is not t and h.writer[k, v].outcome == FAILED]


def _intermediate(h):
	wrong = []
	for t in h.transactions:
		for k, numbers in t.reads():
			other = h.writer.get((k, numbers[-1])) if numbers else None
			if other not in (None, t) and other.appends(k)[-1][1] != numbers[-1]:
				wrong.append("intermediate: %s read key %s in the middle of %s" % (t, k, other))
	return wrong


def _internal(h):
	wrong = []
	for t in h.transactions:
		expected = {}							# key: (what others wrote, our own), once it was read
		own = {}
		for kind, k, v in t.operations:
			if kind == "append":
				own.setdefault(k, []).append(v)
				continue
			mine = own.get(k, [])
			if v[len(v) - len(mine):] != mine or k in expected and v[:len(v) - len(mine)] != expected[k]:
				wrong.append("internal: key %s in %s" % (k, t))
			expected[k] = v[:len(v) - len(mine)]
	return wrong


def _stale(h):
	acknowledged = {}
	for t in h.committed:
		if t.outcome == OK:
			for k, v in t.appends():
				acknowledged.setdefault(k, []).append((t.ended, v))
	wrong = []
	for t in h.transactions:
		for k, numbers in t.reads():
			seen = set(numbers)
			wrong += ["stale: %s has not %s of key %s, acknowledged %.3f s before it began" % (t, v, k, t.began - ended)
					  for ended, v in acknowledged.get(k, ()) if ended < t.began and v not in seen]
	return wrong


# ---- between transactions ----

def _seen(h, t):
	"""{key: how many numbers of others it read}"""
	own = {(k, v) for k, v in t.appends()}
	return {k: sum((k, v) not in own for v in numbers) for k, numbers in t.reads()}


def _fractured(h):
	"""It saw one append of a transaction, and of another key, which it read as well, a state before that transaction's."""
	wrong = []
	# {key: [(number, its transaction, that one's other appends)]}, of those that wrote several keys
	several = {k: [(v, h.writer[k, v], [(l, w) for l, w in h.writer[k, v].appends() if l != k]) for v in numbers] for k, numbers in h.final.items()}
	for t in h.transactions:
		seen = _seen(h, t)
		if len(seen) < 2:
			continue
		for k, n in seen.items():
			for v, other, elsewhere in several.get(k, [])[:n]:
				if other is t or not elsewhere:
					continue
				wrong += ["fractured: %s shows %s of key %s and not %s of key %s, of one transaction: %s" % (t, v, k, w, l, other)
						  for l, w in elsewhere if l in seen and w in h.place.get(l, {}) and h.place[l][w] >= seen[l]]
	return wrong


def _edges(h, nodes, with_reads):
	"""{transaction: {transaction: why}}: the second has to come behind the first."""
	edges = {t: {} for t in nodes}

	def edge(a, b, why):
		if a is not b and a in edges and b in edges:
			edges[a].setdefault(b, why)
	for k, numbers in h.final.items():
		for v, w in zip(numbers, numbers[1:]):
			edge(h.writer[k, v], h.writer[k, w], "key %s: %s behind %s" % (k, w, v))
	for t in nodes:
		for k, n in _seen(h, t).items():
			numbers = h.final.get(k, [])
			if n > 0:
				edge(h.writer[k, numbers[n - 1]], t, "key %s: %s was read" % (k, numbers[n - 1]))
			if with_reads and n < len(numbers):
				edge(t, h.writer[k, numbers[n]], "key %s: %s was not read" % (k, numbers[n]))
	return edges


def _cycles(h, level):
	wrong = _acyclic(_edges(h, h.committed, False), "flow")
	return wrong + (_acyclic(_edges(h, h.committed, True), "cycle") if level == SERIALIZABLE else [])


def _acyclic(edges, what):
	return ["%s: %s" % (what, _shortest(edges, component)) for component in _components(edges)]


def _components(edges):
	"""Strongly connected components of more than one transaction (Tarjan's algorithm, without recursion)."""
	number, low, stack, on_stack, found = {}, {}, [], set(), []
	for root in edges:
		if root in number:
			continue
		work = [(root, iter(edges[root]))]
		number[root] = low[root] = len(number)
		stack.append(root)
		on_stack.add(root)
		while work:
			t, rest = work[-1]
			for u in rest:
				if u not in number:
					number[u] = low[u] = len(number)
					stack.append(u)
					on_stack.add(u)
					work.append((u, iter(edges[u])))
					break
				if u in on_stack:
					low[t] = min(low[t], number[u])
			else:
				work.pop()
				if work:
					low[work[-1][0]] = min(low[work[-1][0]], low[t])
				if low[t] == number[t]:
					component = set()
					while t not in component:
						component.add(stack.pop())
					on_stack -= component
					if len(component) > 1:
						found.append(component)
	return found


def _shortest(edges, component):
	"""A short cycle in it, as text."""
	best = None
	for start in sorted(component, key=lambda t: t.began)[:STARTS]:
		before, queue = {start: None}, [start]
		for t in queue:
			if start in edges[t]:
				path = [t]
				while before[path[-1]] is not None:
					path.append(before[path[-1]])
				path = path[::-1]
				if best is None or len(path) < len(best):
					best = path
				break
			for u in edges[t]:
				if u in component and u not in before:
					before[u] = t
					queue.append(u)
		if best and len(best) == 2:
			break
	return " -> ".join("%s [%s]" % (t, edges[t][u]) for t, u in zip(best, best[1:] + best[:1]))
