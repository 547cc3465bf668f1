// pgjdbc with all nodes in one URL, asking for outcomes by transaction id. Last line: the number of units that were acknowledged.
import java.io.File;
import java.io.StringReader;
import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.Random;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class JdbcClient {
	interface Work<T> { T run(Connection connection) throws Exception; }

	static final String URL = System.getenv("JDBC_URL");
	static final File STOP = new File(System.getenv("STOP"));
	static final Random random = new Random();

	/** A lost connection, or an answer that never came: the outcome is not known. */
	static boolean open(String state) {
		return state == null || state.equals("40003") || state.equals("57P01") || state.equals("57P02") || state.startsWith("08");
	}

	static boolean passes(String state) {
		return open(state) || state.equals("40001") || state.equals("40P01") || state.equals("57P03");
	}

	/** The work in one transaction on whatever node, until it is committed; it has to be harmless to repeat. */
	static <T> T again(Work<T> work) throws Exception {
		SQLException last = null;
		for (int attempt = 0; attempt < 300; attempt++) {
			try (Connection c = DriverManager.getConnection(URL, "postgres", "")) {
				c.setAutoCommit(false);
				T result = work.run(c);
				if (!c.getAutoCommit())
					c.commit();
				return result;
			} catch (SQLException error) {
				if (!passes(error.getSQLState()))
					throw error;
				last = error;
				Thread.sleep(random.nextInt(Math.min(500, 10 * (attempt + 1))));
			}
		}
		throw last;
	}

	static boolean committed(String id) throws Exception {
		String status;
		do
			status = again(c -> {
				try (PreparedStatement s = c.prepareStatement("SELECT nodedb.transaction_status(?)")) {
					s.setString(1, id);
					ResultSet r = s.executeQuery();
					r.next();
					return r.getString(1);
				}
			});
		while (status != null && status.equals("in progress"));
		if (status == null)
			throw new IllegalStateException("the outcome of " + id + " was forgotten");
		return status.equals("committed");
	}

	/** Not harmless to repeat: an open outcome is asked for. */
	static void unit(int number) throws Exception {
		String[] id = new String[1];
		for (int attempt = 0; ; attempt++) {
			id[0] = null;
			try (Connection c = DriverManager.getConnection(URL, "postgres", "")) {
				c.setAutoCommit(false);
				try (Statement s = c.createStatement()) {
					ResultSet r = s.executeQuery("SELECT nodedb.transaction_id()");
					r.next();
					id[0] = r.getString(1);
				}
				update(c, "INSERT INTO client_jdbc_done VALUES (?)", number);
				update(c, "UPDATE client_jdbc_sum SET n = n + 1 WHERE k = ?", number % 5);
				c.commit();
				return;
			} catch (SQLException error) {
				String state = error.getSQLState();
				if (attempt == 300 || !passes(state))
					throw error;
				if (id[0] != null && open(state) && committed(id[0]))
					return;
				Thread.sleep(random.nextInt(Math.min(500, 10 * (attempt + 1))));
			}
		}
	}

	static void update(Connection c, String sql, int parameter) throws SQLException {
		try (PreparedStatement s = c.prepareStatement(sql)) {
			s.setInt(1, parameter);
			s.executeUpdate();
		}
	}

	static Void batch(Connection c) throws SQLException {
		update(c, "DELETE FROM client_jdbc_rows WHERE id >= ?", 0);
		try (PreparedStatement s = c.prepareStatement("INSERT INTO client_jdbc_rows (id, price) VALUES (?, ?)")) {
			for (int i = 0; i < 200; i++) {
				s.setInt(1, i);
				s.setBigDecimal(2, new BigDecimal("1.50"));
				s.addBatch();
			}
			int[] counts = s.executeBatch();
			wanted(counts.length == 200, "counts of the batch");
		}
		return null;
	}

	static Void copy(Connection c) throws Exception {
		update(c, "DELETE FROM client_jdbc_rows WHERE id >= ?", 1000);
		String rows = "1000\t1.0\n1001\t2\n1002\t\\N\n";
		wanted(c.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY client_jdbc_rows (id, price) FROM STDIN", new StringReader(rows)) == 3, "rows copied");
		return null;
	}

	static Void cursor(Connection c) throws SQLException {
		try (Statement s = c.createStatement()) {
			s.setFetchSize(9);
			ResultSet r = s.executeQuery("SELECT id FROM client_jdbc_rows ORDER BY id");
			for (int before = Integer.MIN_VALUE; r.next(); before = r.getInt(1))
				wanted(r.getInt(1) > before, "order");
		}
		return null;
	}

	static Void savepoints(Connection c) throws SQLException {
		c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
		update(c, "DELETE FROM client_jdbc_rows WHERE id = ?", -1);
		update(c, "INSERT INTO client_jdbc_rows (id) VALUES (?)", -1);
		Savepoint savepoint = c.setSavepoint();
		try {
			update(c, "INSERT INTO client_jdbc_rows (id) VALUES (?)", -1);
			throw new IllegalStateException("a duplicate passed");
		} catch (SQLException error) {
			if (!"23505".equals(error.getSQLState()))
				throw error;
		}
		c.rollback(savepoint);
		return null;
	}

	static Void types(Connection c) throws SQLException {
		UUID uuid = new UUID(1, 2);
		OffsetDateTime time = OffsetDateTime.parse("2024-02-29T23:59:59.999999Z");
		byte[] bytes = {0, -1};
		update(c, "DELETE FROM client_jdbc_types WHERE b >= ?", 0);
		try (PreparedStatement s = c.prepareStatement("INSERT INTO client_jdbc_types VALUES (?, ?, ?, ?, ?, ?, ?)")) {
			for (int i = 0; i < 6; i++) {				// past prepareThreshold: from text to binary
				s.setBoolean(1, true);
				s.setLong(2, i);
				s.setBigDecimal(3, new BigDecimal("1E-30"));
				s.setObject(4, time);
				s.setObject(5, uuid);
				s.setBytes(6, bytes);
				s.setArray(7, c.createArrayOf("int", new Integer[] {1, null, 3}));
				s.executeUpdate();
			}
		}
		try (PreparedStatement s = c.prepareStatement("SELECT * FROM client_jdbc_types WHERE b = ?")) {
			for (long i = 0; i < 6; i++) {
				s.setLong(1, i);
				ResultSet r = s.executeQuery();
				wanted(r.next() && r.getBoolean(1) && r.getBigDecimal(3).compareTo(new BigDecimal("1E-30")) == 0 && r.getObject(4, OffsetDateTime.class).isEqual(time) &&
					r.getObject(5).equals(uuid) && Arrays.equals(r.getBytes(6), bytes) && Arrays.equals((Integer[]) r.getArray(7).getArray(), new Integer[] {1, null, 3}), "types");
			}
		}
		return null;
	}

	/** LISTEN and NOTIFY are of one node. */
	static Void notifications(Connection c) throws SQLException {
		c.setAutoCommit(true);
		try (Statement s = c.createStatement()) {
			s.execute("LISTEN client");
			s.execute("NOTIFY client, 'hello'");
		}
		PGNotification[] heard = c.unwrap(PGConnection.class).getNotifications(10000);
		wanted(heard != null && heard.length > 0 && heard[0].getParameter().equals("hello"), "hello");
		return null;
	}

	static void wanted(boolean condition, String what) {
		if (!condition)
			throw new IllegalStateException("wanted: " + what);
	}

	public static void main(String[] arguments) throws Exception {
		again(c -> {
			try (Statement s = c.createStatement()) {
				s.execute("CREATE TABLE IF NOT EXISTS client_jdbc_rows (id int PRIMARY KEY, price numeric)");
				s.execute("CREATE TABLE IF NOT EXISTS client_jdbc_types (a bool, b bigint PRIMARY KEY, c numeric, d timestamptz, e uuid, f bytea, g int[])");
			}
			return null;
		});
		int number = 0;
		for (; !STOP.exists(); number++) {
			unit(number);
			if (number % 10 == 9)
				switch (number / 10 % 6) {
					case 0: again(JdbcClient::batch); break;
					case 1: again(JdbcClient::copy); break;
					case 2: again(JdbcClient::cursor); break;
					case 3: again(JdbcClient::savepoints); break;
					case 4: again(JdbcClient::types); break;
					default: again(JdbcClient::notifications);
				}
		}
		System.out.println(number);
	}
}
