/*
 * several_load.c: the clients of several.py: short transactions of two changes, each client its own thread and connections.
 *
 *   several_load MODE CLIENTS SECONDS ROWS CONNINFO...
 *   one        both rows in table t1: one data group
 *   several    one row each in two tables of t1..tN (N by the environment's TABLES): two data groups
 *   2pc        one row each in t1 of two servers (two CONNINFOs), by PREPARE TRANSACTION on both, then COMMIT PREPARED on both, each pair at once
 * Prints: committed, run again (40001), failed, median latency in microseconds, 99th percentile.
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES_MAX 200000			/* of a client */

typedef struct Client
{
	pthread_t	thread;
	int			number;
	PGconn	   *conn[2];
	uint64_t	random;
	long		committed;
	long		again;
	long		failed;
	uint32_t   *taken;
	long		n_taken;
} Client;

static const char *mode;
static int	rows;
static int	tables = 1;
static atomic_bool over;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static uint32_t pick(Client *c, uint32_t below)
{
	c->random = c->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t) (c->random >> 33) % below;
}

/* The state of what is left of the connection's answer: NULL is success, else an SQLSTATE. */
static const char *finish(PGconn *conn, char *state)
{
	PGresult   *r;
	bool		bad = false;

	while ((r = PQgetResult(conn)) != NULL)
	{
		ExecStatusType status = PQresultStatus(r);

		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && !bad)
		{
			const char *code = PQresultErrorField(r, PG_DIAG_SQLSTATE);

			bad = true;
			snprintf(state, 6, "%s", code ? code : "08006");
			if (strcmp(state, "40001") != 0)
				fprintf(stderr, "%s", PQresultErrorMessage(r));
		}
		PQclear(r);
	}
	return bad ? state : NULL;
}

static const char *run(PGconn *conn, const char *text, char *state)
{
	if (!PQsendQuery(conn, text))
		return "08006";
	return finish(conn, state);
}

/* The same text to both servers, at once. */
static const char *run_both(Client *c, const char *text, char *state)
{
	char		other[6];
	const char *first;
	const char *second;

	if (!PQsendQuery(c->conn[0], text) || !PQsendQuery(c->conn[1], text))
		return "08006";
	first = finish(c->conn[0], state);
	second = finish(c->conn[1], other);
	if (first == NULL && second != NULL)
		first = strcpy(state, other);
	return first;
}

static const char *transaction(Client *c, char *state)
{
	char		text[200];
	const char *bad;
	int			first = 1;
	int			second = 1;

	if (strcmp(mode, "several") == 0)
	{
		first = 1 + (int) pick(c, (uint32_t) tables);
		second = 1 + (first + (int) pick(c, (uint32_t) tables - 1)) % tables;
	}
	snprintf(text, sizeof(text), "BEGIN; UPDATE t%d SET n = n + 1 WHERE id = %u", first, 1 + pick(c, (uint32_t) rows));
	if ((bad = run(c->conn[0], text, state)) != NULL)
		return bad;
	if (strcmp(mode, "2pc") != 0)
	{
		snprintf(text, sizeof(text), "UPDATE t%d SET n = n - 1 WHERE id = %u", second, 1 + pick(c, (uint32_t) rows));
		if ((bad = run(c->conn[0], text, state)) != NULL)
			return bad;
		return run(c->conn[0], "COMMIT", state);
	}
	snprintf(text, sizeof(text), "BEGIN; UPDATE t1 SET n = n - 1 WHERE id = %u", 1 + pick(c, (uint32_t) rows));
	if ((bad = run(c->conn[1], text, state)) != NULL)
		return bad;
	snprintf(text, sizeof(text), "PREPARE TRANSACTION 'c%d'", c->number);
	if ((bad = run_both(c, text, state)) != NULL)
		return bad;
	snprintf(text, sizeof(text), "COMMIT PREPARED 'c%d'", c->number);
	return run_both(c, text, state);
}

static void *client(void *arg)
{
	Client	   *c = arg;
	char		state[6];

	while (!over)
	{
		uint64_t	began = now_us();
		const char *bad;

		while ((bad = transaction(c, state)) != NULL && strncmp(bad, "40", 2) == 0 && !over)
		{
			c->again++;
			for (int i = 0; i < 2 && c->conn[i] != NULL; i++)
				(void) run(c->conn[i], "ROLLBACK", state);
		}
		if (bad != NULL)
		{
			if (over)
				break;
			c->failed++;
			break;
		}
		c->committed++;
		if (c->n_taken < SAMPLES_MAX)
			c->taken[c->n_taken++] = (uint32_t) (now_us() - began);
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	uint32_t	x = *(const uint32_t *) a;
	uint32_t	y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	int			n;
	int			per_client = 1;
	Client	   *clients;
	long		sum[4] = {0, 0, 0, 0};
	uint32_t   *all;
	struct timespec seconds = {0, 0};

	if (argc < 6)
		return fprintf(stderr, "several_load MODE CLIENTS SECONDS ROWS CONNINFO...\n"), 2;
	mode = argv[1];
	n = atoi(argv[2]);
	seconds.tv_sec = atoi(argv[3]);
	rows = atoi(argv[4]);
	if (getenv("TABLES") != NULL)
		tables = atoi(getenv("TABLES"));
	if (strcmp(mode, "2pc") == 0)
		per_client = 2;
	if (n < 1 || rows < 1 || argc < 5 + per_client || (strcmp(mode, "several") == 0 && tables < 2))
		return fprintf(stderr, "several_load: bad arguments\n"), 2;
	clients = calloc((size_t) n, sizeof(Client));
	for (int i = 0; i < n; i++)
	{
		Client	   *c = &clients[i];

		c->number = i;
		c->random = (uint64_t) i * 7919 + 12345;
		c->taken = malloc(SAMPLES_MAX * sizeof(uint32_t));
		for (int k = 0; k < per_client; k++)
		{
			/* several nodes and one connection a client: the clients are dealt out */
			const char *where = per_client == 2 ? argv[5 + k] : argv[5 + i % (argc - 5)];

			c->conn[k] = PQconnectdb(where);
			if (PQstatus(c->conn[k]) != CONNECTION_OK)
				return fprintf(stderr, "%s", PQerrorMessage(c->conn[k])), 1;
		}
	}
	for (int i = 0; i < n; i++)
		pthread_create(&clients[i].thread, NULL, client, &clients[i]);
	nanosleep(&seconds, NULL);
	over = true;
	for (int i = 0; i < n; i++)
	{
		pthread_join(clients[i].thread, NULL);
		sum[0] += clients[i].committed;
		sum[1] += clients[i].again;
		sum[2] += clients[i].failed;
		sum[3] += clients[i].n_taken;
	}
	all = malloc((size_t) (sum[3] + 1) * sizeof(uint32_t));
	sum[3] = 0;
	for (int i = 0; i < n; i++)
	{
		memcpy(all + sum[3], clients[i].taken, (size_t) clients[i].n_taken * sizeof(uint32_t));
		sum[3] += clients[i].n_taken;
		for (int k = 0; k < per_client; k++)
			PQfinish(clients[i].conn[k]);
	}
	qsort(all, (size_t) sum[3], sizeof(uint32_t), by_value);
	printf("%ld %ld %ld %u %u\n", sum[0], sum[1], sum[2], sum[3] ? all[sum[3] / 2] : 0, sum[3] ? all[sum[3] * 99 / 100] : 0);
	return sum[2] > 0;
}
