"""spec: reads the language of PostgreSQL's isolationtester, with a node for each session.

	setup { SQL }                                  any number, run on node 1 before each permutation; teardown { SQL } likewise after it
	session NAME on NODE                           then its own setup, steps and teardown
	step NAME { SQL }
	permutation STEP ...                           STEP(*): do not wait for its end; STEP(OTHER): it ends after OTHER
	                                               hold(NODE), release(NODE): its applier stops before what others commit next, and goes on

Differences: `on NODE`, hold and release are ours; braces nest; permutations must be named; a blocker with a count ("STEP(OTHER notices 1)") is not known.
"""
import re

_TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<block>\{)|(?P<quoted>"[^"]*")|(?P<word>[A-Za-z_][A-Za-z_0-9]*)|(?P<number>[0-9]+)|(?P<sign>[(),*])""")


class SpecError(Exception):
	pass


class Session:
	def __init__(self, name, node):
		self.name, self.node = name, node
		self.setup = self.teardown = None
		self.steps = {}


class Item:
	"""One place of a permutation: a step, or hold or release of a node."""

	def __init__(self, name):
		self.name = name
		self.at_once = False			# (*)
		self.after = []					# steps whose end comes first
		self.node = None				# of hold and release

	def __str__(self):
		marks = ["*"] * self.at_once + self.after + ([str(self.node)] if self.node else [])
		return self.name + ("(%s)" % ", ".join(marks) if marks else "")


class Spec:
	def __init__(self, text):
		self.setups, self.teardowns, self.sessions, self.permutations = [], [], [], []
		self.steps = {}					# name -> (session, SQL)
		self._tokens = list(_tokens(text))
		while self._tokens:
			self._clause()
		for permutation in self.permutations:
			for item in permutation:
				for name in item.after + ([item.name] if item.node is None else []):
					if name not in self.steps:
						raise SpecError("no step %s" % name)

	def _next(self, kind, value=None):
		if not self._tokens or self._tokens[0][0] != kind or (value is not None and self._tokens[0][1] != value):
			raise SpecError("%s expected, got %r" % (value or kind, self._tokens[:1]))
		return self._tokens.pop(0)[1]

	def _is(self, kind, value=None):
		return bool(self._tokens) and self._tokens[0][0] == kind and value in (None, self._tokens[0][1])

	def _clause(self):
		word = self._next("word")
		if word == "setup":
			self.setups.append(self._next("block"))
		elif word == "teardown":
			self.teardowns.append(self._next("block"))
		elif word == "session":
			self._session()
		elif word == "permutation":
			items = []
			while self._is("word") and self._tokens[0][1] not in ("permutation", "session", "setup", "teardown"):
				items.append(self._item())
			self.permutations.append(items)
		else:
			raise SpecError("what is %s?" % word)

	def _session(self):
		name = self._next("word")
		self._next("word", "on")
		session = Session(name, int(self._next("number")))
		if self._is("word", "setup"):
			self._next("word")
			session.setup = self._next("block")
		while self._is("word", "step"):
			self._next("word")
			step, sql = self._next("word"), self._next("block")
			if step in self.steps:
				raise SpecError("step %s stands there twice" % step)
			session.steps[step] = sql
			self.steps[step] = (session, sql)
		if self._is("word", "teardown"):
			self._next("word")
			session.teardown = self._next("block")
		self.sessions.append(session)

	def _item(self):
		item = Item(self._next("word"))
		if self._is("sign", "("):
			self._next("sign")
			while not self._is("sign", ")"):
				if self._is("number"):
					item.node = int(self._next("number"))
				elif self._is("sign", "*"):
					self._next("sign")
					item.at_once = True
				else:
					item.after.append(self._next("word"))
				if not self._is("sign", ")"):
					self._next("sign", ",")
			self._next("sign", ")")
		if (item.node is not None) != (item.name in ("hold", "release")):
			raise SpecError("hold and release take a node, steps do not: %s" % item)
		return item


def _tokens(text):
	at = 0
	while at < len(text):
		found = _TOKEN.match(text, at)
		if not found:
			raise SpecError("cannot read on from: %s" % text[at:at + 40])
		at = found.end()
		if found.lastgroup == "block":
			depth, begin = 1, at
			while depth:
				if at >= len(text):
					raise SpecError("a block has no end: %s" % text[begin:begin + 40])
				depth += {"{": 1, "}": -1}.get(text[at], 0)
				at += 1
			yield "block", text[begin:at - 1].strip()
		elif found.lastgroup == "quoted":
			yield "word", found.group()[1:-1]
		elif found.lastgroup:
			yield found.lastgroup, found.group()
