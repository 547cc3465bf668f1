"""pq: PostgreSQL's own client library through ctypes, as much of it as the tests need.

What it owns: one PGconn per Connection. Results are lists of tuples of str (NULL is None).
Invariants:
1. An error of the server is raised as Error with its SQLSTATE; one of the connection as Error with sqlstate "08006".
2. A call that waits releases Python's global lock, so that sessions in threads run side by side, and lets signals through.
3. Nothing waits for ever: connecting and waiting have deadlines.
"""
import ctypes
import select
import time

_lib = ctypes.CDLL("libpq.so.5")


def _declare(name, result, *arguments):
	function = getattr(_lib, name)
	function.restype = result
	function.argtypes = arguments
	return function


_P, _S, _I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_connectdb = _declare("PQconnectdb", _P, _S)
_finish = _declare("PQfinish", None, _P)
_conn_status = _declare("PQstatus", _I, _P)
_conn_error = _declare("PQerrorMessage", _S, _P)
_transaction_status = _declare("PQtransactionStatus", _I, _P)
_backend_pid = _declare("PQbackendPID", _I, _P)
_socket = _declare("PQsocket", _I, _P)
_send_query = _declare("PQsendQuery", _I, _P, _S)
_send_params = _declare("PQsendQueryParams", _I, _P, _S, _I, _P, ctypes.POINTER(_S), _P, _P, _I)
_send_prepare = _declare("PQsendPrepare", _I, _P, _S, _S, _I, _P)
_send_prepared = _declare("PQsendQueryPrepared", _I, _P, _S, _I, ctypes.POINTER(_S), _P, _P, _I)
_enter_pipeline = _declare("PQenterPipelineMode", _I, _P)
_exit_pipeline = _declare("PQexitPipelineMode", _I, _P)
_pipeline_sync = _declare("PQpipelineSync", _I, _P)
_consume = _declare("PQconsumeInput", _I, _P)
_is_busy = _declare("PQisBusy", _I, _P)
_get_result = _declare("PQgetResult", _P, _P)
_result_status = _declare("PQresultStatus", _I, _P)
_result_error = _declare("PQresultErrorMessage", _S, _P)
_result_field = _declare("PQresultErrorField", _S, _P, _I)
_tuples = _declare("PQntuples", _I, _P)
_fields = _declare("PQnfields", _I, _P)
_name = _declare("PQfname", _S, _P, _I)
_value = _declare("PQgetvalue", _S, _P, _I, _I)
_is_null = _declare("PQgetisnull", _I, _P, _I, _I)
_command = _declare("PQcmdTuples", _S, _P)
_clear = _declare("PQclear", None, _P)
_get_cancel = _declare("PQgetCancel", _P, _P)
_cancel = _declare("PQcancel", _I, _P, _S, _I)
_free_cancel = _declare("PQfreeCancel", None, _P)
class _Notify(ctypes.Structure):
	_fields_ = [("channel", _S), ("pid", _I), ("payload", _S), ("next", _P)]


_notifies = _declare("PQnotifies", ctypes.POINTER(_Notify), _P)
_freemem = _declare("PQfreemem", None, _P)
_Notice = ctypes.CFUNCTYPE(None, _P, _S)
_set_notice = _declare("PQsetNoticeProcessor", _P, _P, _Notice, _P)

_EMPTY, _COMMAND_OK, _TUPLES_OK, _PIPELINE_SYNC, _PIPELINE_ABORTED = 0, 1, 2, 10, 11
ANSWER_SECONDS = 900			# of execute(): longer than anything that ends at all
_FIELD_SQLSTATE, _FIELD_DETAIL, _FIELD_HINT, _FIELD_SCHEMA, _FIELD_TABLE, _FIELD_CONSTRAINT = (ord(letter) for letter in "CDHstn")


class Error(Exception):
	def __init__(self, message, sqlstate, detail=None, hint=None, schema=None, table=None, constraint=None):
		super().__init__("%s (%s)" % (message.strip(), sqlstate))
		self.sqlstate = sqlstate
		self.detail = detail
		self.hint = hint
		self.schema, self.table, self.constraint = schema, table, constraint


def _text(value):
	return None if value is None else value.decode("utf-8", "replace")


class Connection:
	"""One session. Not to be used by two threads at the same time, cancel() apart."""

	def __init__(self, dsn, timeout=10):
		self.notices = []
		self._conn = _connectdb(("%s connect_timeout=%d" % (dsn, timeout)).encode())
		self._notice = _Notice(lambda _, text: self.notices.append(_text(text)))
		_set_notice(self._conn, self._notice, None)
		if _conn_status(self._conn) != 0:
			message = _text(_conn_error(self._conn))
			self.close()
			raise Error(message, "08006")
		self.pid = _backend_pid(self._conn)

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.close()

	def close(self):
		if self._conn:
			_finish(self._conn)
			self._conn = None

	@property
	def in_transaction(self):
		return _transaction_status(self._conn) in (2, 3)

	def execute(self, sql, *params):
		"""Run it and return its rows. Without parameters `sql` may hold several statements: rows are the last one's."""
		self.send(sql, *params)
		return self.result(ANSWER_SECONDS)

	def value(self, sql, *params):
		"""The first column of the first row; None when there is none."""
		rows = self.execute(sql, *params)
		return rows[0][0] if rows else None

	def send(self, sql, *params):
		"""Start a statement; result() waits for it."""
		if params:
			values = (_S * len(params))(*[None if p is None else str(p).encode() for p in params])
			sent = _send_params(self._conn, sql.encode(), len(params), None, values, None, None, 0)
		else:
			sent = _send_query(self._conn, sql.encode())
		if not sent:
			raise Error(_text(_conn_error(self._conn)), "08006")

	def notifications(self):
		"""(channel, payload) of what came by LISTEN with the answers so far."""
		found = []
		while True:
			notify = _notifies(self._conn)
			if not notify:
				return found
			found.append((_text(notify.contents.channel), _text(notify.contents.payload)))
			_freemem(ctypes.cast(notify, _P))

	def prepare(self, name, sql):
		if not _send_prepare(self._conn, name.encode(), sql.encode(), 0, None):
			raise Error(_text(_conn_error(self._conn)), "08006")
		self.result()

	def send_prepared(self, name, *params):
		values = (_S * len(params))(*[None if p is None else str(p).encode() for p in params])
		if not _send_prepared(self._conn, name.encode(), len(params), values, None, None, 0):
			raise Error(_text(_conn_error(self._conn)), "08006")

	def pipeline(self, *statements):
		"""Send these (a string, or one and its parameters) in one pipeline with one Sync behind it; raises the first error, when all is over."""
		_enter_pipeline(self._conn)
		for statement in statements:
			sql, *params = (statement,) if isinstance(statement, str) else statement
			values = (_S * len(params))(*[str(p).encode() for p in params])
			if not _send_params(self._conn, sql.encode(), len(params), None, values, None, None, 0):
				raise Error(_text(_conn_error(self._conn)), "08006")
		_pipeline_sync(self._conn)
		failure, ends = None, 0
		deadline = time.monotonic() + ANSWER_SECONDS
		while ends <= len(statements):		# each statement ends with none, and so does nothing behind the Sync's own result
			while self.waiting():
				if not select.select([_socket(self._conn)], [], [], max(deadline - time.monotonic(), 0))[0]:
					raise TimeoutError("no answer in a pipeline")
			result = _get_result(self._conn)
			if not result:
				ends += 1
				continue
			status = _result_status(result)
			if status == _PIPELINE_SYNC:
				_clear(result)
				break
			if status == _PIPELINE_ABORTED:
				_clear(result)
				continue
			try:
				self._take(result)
			except Error as error:
				failure = failure or error
		_exit_pipeline(self._conn)
		if failure:
			raise failure

	def fileno(self):
		"""The socket, for select."""
		return _socket(self._conn)

	def waiting(self):
		"""Is the statement that was sent still running?"""
		if not _consume(self._conn):
			return False
		return bool(_is_busy(self._conn))

	def result(self, timeout=120):
		"""Rows of the statement that was sent; TimeoutError when it takes longer than `timeout` seconds."""
		deadline = time.monotonic() + timeout
		while self.waiting():
			left = deadline - time.monotonic()
			if left <= 0 or not select.select([_socket(self._conn)], [], [], left)[0]:
				raise TimeoutError("no answer within %g s" % timeout)
		rows, failure = [], None
		result = _get_result(self._conn)
		while result:
			try:
				rows = self._take(result)
			except Error as error:
				failure = failure or error
			if _conn_status(self._conn) != 0:
				break
			result = _get_result(self._conn)
		if failure:
			raise failure
		return rows

	def cancel(self):
		"""Ask the server to cancel what runs; may be called from another thread."""
		handle = _get_cancel(self._conn)
		buffer = ctypes.create_string_buffer(256)
		_cancel(handle, buffer, 256)
		_free_cancel(handle)

	def _take(self, result):
		if not result:
			raise Error(_text(_conn_error(self._conn)) or "no result", "08006")
		try:
			status = _result_status(result)
			if status not in (_EMPTY, _COMMAND_OK, _TUPLES_OK):
				raise Error(_text(_result_error(result)), _text(_result_field(result, _FIELD_SQLSTATE)) or "08006",
							*[_text(_result_field(result, field)) for field in (_FIELD_DETAIL, _FIELD_HINT, _FIELD_SCHEMA, _FIELD_TABLE, _FIELD_CONSTRAINT)])
			self.affected = int(_command(result) or b"0")
			self.columns = [_text(_name(result, column)) for column in range(_fields(result))]
			return [tuple(None if _is_null(result, row, column) else _text(_value(result, row, column))
						  for column in range(_fields(result)))
					for row in range(_tuples(result))]
		finally:
			_clear(result)
