/*
 * trace.c: transcripts of the Raft core: scripted commands with the output that they must give.
 *
 *     trace FILE...             compare; a difference is shown, exit 1
 *     trace --rewrite FILE...   write what is given now (read the difference before you commit it)
 *
 * A file holds comments (#), commands (> ...) and behind each command its output. One file is one test. Commands:
 *
 *     cluster N [election=10 heartbeat=1 append_bytes=1024 inflight=8 inflight_bytes=4096 frugal=0 seed=1]
 *                                                     nodes 1..N, voters of each other; prefer=I: node I has priority 9
 *     start I | crash I | campaign I | stand I        stand: as after a transfer when it knows a leader
 *     tick I N | run N                                run: ticks of all nodes, the network running
 *     pump | deliver A B | drop A B | double A B | reverse       0 is any node for drop
 *     cut A B | isolate I | heal
 *     wanted I PEER | tell I                          raft_commit_wanted(), raft_tell_commit()
 *     propose I TEXT [COUNT] | config I 1v 2v 3l | transfer I TO | read I CONTEXT | unreachable I PEER
 *     autoflush I on|off | flush I | persisted I INDEX TERM
 *     probe I FROM TERM PREV PREV_TERM COMMIT         an APPEND without entries, made by hand
 *     compact I FIRST | snapshot I                    snapshot: what I announced is delivered and installed
 *     sent I PEER INDEX                               raft_snapshot_sent(); 0: it failed
 *     install I none|coming|closed INDEX TERM         raft_set_install()
 *     status | log I | members I | net
 *     quiet on|off                                    events are not shown
 */
#include "../unit/raft_harness.h"

#include <ctype.h>
#include <inttypes.h>

#include "../../src/core/base/mutant.h"

static FILE *out;
static bool quiet;
static Harness *h;

static const char *const type_names[] = {"?", "PREVOTE", "PREVOTE_REPLY", "VOTE", "VOTE_REPLY", "APPEND", "APPEND_REPLY", "HEARTBEAT",
	"HEARTBEAT_REPLY", "SNAPSHOT", "SNAPSHOT_REPLY", "TIMEOUT_NOW", "READ_INDEX", "READ_INDEX_REPLY"};
static const char *const state_names[] = {"follower", "pre-candidate", "candidate", "leader"};
static const char *const kind_names[] = {"noop", "data", "config"};

static void show_message(const RaftMessage *m)
{
	fprintf(out, "%u->%u %s term %" PRIu64, m->from, m->to, type_names[m->type], m->term);
	switch (m->type)
	{
		case RAFT_MSG_PREVOTE:
		case RAFT_MSG_VOTE:
			fprintf(out, " last %" PRIu64 "/%" PRIu64 "%s", m->index, m->log_term, m->context != 0 ? " transfer" : "");
			break;
		case RAFT_MSG_APPEND:
			fprintf(out, " prev %" PRIu64 "/%" PRIu64 " commit %" PRIu64, m->index, m->log_term, m->commit);
			for (uint32_t i = 0; i < m->n_entries && i < 4; i++)
				fprintf(out, " %" PRIu64 "/%" PRIu64, m->entries[i].index, m->entries[i].term);
			if (m->n_entries > 4)
				fprintf(out, " and %u more", m->n_entries - 4);
			break;
		case RAFT_MSG_APPEND_REPLY:
			if (!m->reject)
				fprintf(out, " index %" PRIu64, m->index);
			else
				fprintf(out, " rejected %" PRIu64 " hint %" PRIu64 "/%" PRIu64, m->index, m->hint_index, m->hint_term);
			break;
		case RAFT_MSG_HEARTBEAT:
			fprintf(out, " commit %" PRIu64 " round %" PRIu64, m->commit, m->context);
			break;
		case RAFT_MSG_HEARTBEAT_REPLY:
			fprintf(out, " round %" PRIu64, m->context);
			break;
		case RAFT_MSG_SNAPSHOT:
			fprintf(out, " last %" PRIu64 "/%" PRIu64, m->index, m->log_term);
			break;
		case RAFT_MSG_SNAPSHOT_REPLY:
			fprintf(out, " index %" PRIu64, m->index);
			break;
		case RAFT_MSG_READ_INDEX:
			fprintf(out, " context %" PRIu64, m->context);
			break;
		case RAFT_MSG_READ_INDEX_REPLY:
			fprintf(out, " context %" PRIu64 " index %" PRIu64, m->context, m->commit);
			break;
		default:
			break;
	}
	if (m->reject && m->type != RAFT_MSG_APPEND_REPLY)
		fprintf(out, " refused");
	fprintf(out, "\n");
}

static uint64_t shown_commit[H_NODES];

static void show_update(NdNodeId id, const RaftUpdate *u)
{
	RaftStatus	s;

	raft_status(h->nodes[id].raft, &s);
	if (!u->state_changed && u->truncate_from == 0 && u->n_entries == 0 && !u->hard_changed && u->commit == shown_commit[id] && u->n_reads == 0)
		return;
	fprintf(out, "%u:", id);
	if (u->state_changed)
		fprintf(out, " %s of term %" PRIu64 " leader %u", state_names[s.state], s.term, s.leader);
	if (u->truncate_from != 0)
		fprintf(out, " truncate %" PRIu64, u->truncate_from);
	if (u->n_entries > 0)
		fprintf(out, " store %" PRIu64 "..%" PRIu64, u->entries[0].index, u->entries[u->n_entries - 1].index);
	if (u->hard_changed)
		fprintf(out, " hard %" PRIu64 "/%u/%" PRIu64, u->hard.term, u->hard.vote, u->hard.commit);
	if (u->commit != shown_commit[id])
		fprintf(out, " commit %" PRIu64, u->commit);
	for (uint32_t i = 0; i < u->n_reads; i++)
		if (u->reads[i].lost)
			fprintf(out, " read %" PRIu64 " lost", u->reads[i].context);
		else
			fprintf(out, " read %" PRIu64 " at %" PRIu64, u->reads[i].context, u->reads[i].index);
	fprintf(out, "\n");
	shown_commit[id] = u->commit;
}

static void on_event(void *ctx, const char *what, NdNodeId node, const RaftMessage *m, const RaftUpdate *u)
{
	(void) ctx;
	(void) what;
	if (quiet)
		return;
	if (m != NULL)
		show_message(m);
	else
		show_update(node, u);
}

static void show_status(void)
{
	for (NdNodeId id = 1; id < H_NODES; id++)
	{
		RaftStatus	s;

		if (h->nodes[id].raft == NULL)
		{
			if (h->nodes[id].lives > 0)
				fprintf(out, "%u down\n", id);
			continue;
		}
		raft_status(h->nodes[id].raft, &s);
		fprintf(out, "%u %s term %" PRIu64 " leader %u last %" PRIu64 " durable %" PRIu64 " commit %" PRIu64, id, state_names[s.state], s.term,
				s.leader, s.last_index, s.durable_index, s.commit);
		for (uint32_t i = 0; i < s.n_peers; i++)
			fprintf(out, " (%u match %" PRIu64 " next %" PRIu64 "%s)", s.peers[i].node, s.peers[i].match, s.peers[i].next,
					s.peers[i].snapshotting ? " snapshot" : "");
		fprintf(out, "\n");
	}
}

static void show_log(NdNodeId id)
{
	for (uint64_t i = h->nodes[id].first; i <= h->nodes[id].last; i++)
	{
		const RaftEntry *e = &h->nodes[id].log[i];
		bool		data = e->kind == RAFT_ENTRY_DATA && e->payload != NULL;

		fprintf(out, "%" PRIu64 "/%" PRIu64 " %s%s%.*s\n", e->index, e->term, kind_names[e->kind], data ? " " : "",
				data ? (int) e->payload->len : 0, data ? (const char *) e->payload->data : "");
	}
}

static void show_members(NdNodeId id)
{
	const RaftConfiguration *c = raft_configuration(h->nodes[id].raft);

	fprintf(out, "index %" PRIu64 ":", c->index);
	for (uint32_t i = 0; i < c->n; i++)
		fprintf(out, " %u%c%s", c->members[i].node, "lv-"[c->members[i].role], c->members[i].in_old ? "/v" : c->joint ? "/-" : "");
	fprintf(out, "\n");
}

static void new_cluster(uint32_t n, char *options)
{
	h_init(h);
	memset(shown_commit, 0, sizeof(shown_commit));
	for (char *o = strtok(options, " "); o != NULL; o = strtok(NULL, " "))
	{
		char	   *value = strchr(o, '=');
		uint32_t	v = value == NULL ? 0 : (uint32_t) atoi(value + 1);

		if (strncmp(o, "election=", 9) == 0)
			h->config.election_ticks = v;
		else if (strncmp(o, "heartbeat=", 10) == 0)
			h->config.heartbeat_ticks = v;
		else if (strncmp(o, "append_bytes=", 13) == 0)
			h->config.append_bytes_max = v;
		else if (strncmp(o, "inflight=", 9) == 0)
			h->config.inflight_max = v;
		else if (strncmp(o, "inflight_bytes=", 15) == 0)
			h->config.inflight_bytes_max = v;
		else if (strncmp(o, "frugal=", 7) == 0)
			h->config.frugal = v != 0;
		else if (strncmp(o, "prefer=", 7) == 0 && v > 0 && v < H_NODES)
			h->nodes[v].priority = 9;
		else if (strncmp(o, "seed=", 5) == 0)
			h->config.seed = v;
		else
			fprintf(out, "unknown option %s\n", o);
	}
	h->trace = on_event;
	h_cluster(h, n);
}

static NdStatus propose_members(NdNodeId id, char *members)
{
	RaftConfiguration *c = h_alloc(sizeof(RaftConfiguration));
	uint64_t	index;
	NdStatus	status;

	for (char *m = strtok(members, " "); m != NULL; m = strtok(NULL, " "))
		h_member(c, (NdNodeId) atoi(m), m[strlen(m) - 1] == 'v' ? RAFT_VOTER : RAFT_LEARNER);
	status = raft_propose_configuration(h->nodes[id].raft, c, &index);
	free(c);
	return status;
}

static void said(NdStatus status)
{
	if (status != ND_OK)
		fprintf(out, "%s\n", nd_status_text(status));
}

static void probe_by_hand(NdNodeId to, const char *rest)
{
	RaftMessage m = {.type = RAFT_MSG_APPEND,.group = h->config.group,.to = to};

	if (sscanf(rest, "%u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &m.from, &m.term, &m.index, &m.log_term, &m.commit) == 5)
		h_step(h, &m);
}

static NdStatus set_install(NdNodeId id, const char *rest)
{
	char		what[8] = "";
	uint64_t	index = 0;
	uint64_t	term = 0;

	if (sscanf(rest, "%7s %" SCNu64 " %" SCNu64, what, &index, &term) < 1)
		return ND_INVALID;
	return raft_set_install(h->nodes[id].raft, what[1] == 'l' ? RAFT_INSTALL_CLOSED : what[0] == 'c' ? RAFT_INSTALL_COMING : RAFT_INSTALL_NONE, index, term);
}

static bool is_up(NdNodeId id)
{
	return id > 0 && id < H_NODES && h->nodes[id].raft != NULL;
}

static void double_messages(NdNodeId from, NdNodeId to)
{
	uint32_t	n = h->n_net;

	for (uint32_t k = 0; k < n; k++)
		if (h->net[k].from == from && h->net[k].to == to)
		{
			RaftMessage m = h->net[k];

			h_post(h, &m);
		}
}

static void reverse_messages(void)
{
	for (uint32_t k = 0; k < h->n_net / 2; k++)
	{
		RaftMessage m = h->net[k];

		h->net[k] = h->net[h->n_net - 1 - k];
		h->net[h->n_net - 1 - k] = m;
	}
}

static bool command(const char *name, NdNodeId a, char *rest)
{
	uint32_t	b = (uint32_t) atoi(rest);
	char	   *second = strchr(rest, ' ');
#define IS(text) (strcmp(name, text) == 0)

	if (IS("cluster"))
		new_cluster(a, rest);
	else if (IS("run"))
		h_run(h, a);
	else if (IS("pump"))
		h_pump(h);
	else if (IS("deliver"))
		h_deliver(h, a, b);
	else if (IS("drop"))
		h_drop(h, a, b);
	else if (IS("double"))
		double_messages(a, b);
	else if (IS("reverse"))
		reverse_messages();
	else if (IS("cut"))
		h_cut(h, a, b, true);
	else if (IS("isolate"))
		h_isolate(h, a, true);
	else if (IS("heal"))
		memset(h->cut, 0, sizeof(h->cut));
	else if (IS("quiet"))
		quiet = strcmp(rest, "on") == 0;
	else if (IS("status"))
		show_status();
	else if (IS("net"))
		for (uint32_t k = 0; k < h->n_net; k++)
			show_message(&h->net[k]);
	else if (IS("start") && a > 0 && a < H_NODES && h->nodes[a].raft == NULL)
		said(h_start(h, a));
	else if (!is_up(a))
		return false;
	else if (IS("crash"))
		h_crash(h, a);
	else if (IS("campaign"))
		said(raft_campaign(h->nodes[a].raft));
	else if (IS("stand"))
		h_stand(h, a);
	else if (IS("tick"))
		h_tick(h, a, b == 0 ? 1 : b);
	else if (IS("propose"))
	{
		uint32_t	count = second == NULL ? 1 : (uint32_t) atoi(second);

		if (second != NULL)
			*second = '\0';
		for (uint32_t i = 0; i < count; i++)
			said(h_propose(h, a, rest));
	}
	else if (IS("config"))
		said(propose_members(a, rest));
	else if (IS("transfer"))
		said(raft_transfer(h->nodes[a].raft, b));
	else if (IS("read"))
		said(raft_read_index(h->nodes[a].raft, b));
	else if (IS("wanted"))
		raft_commit_wanted(h->nodes[a].raft, b);
	else if (IS("tell"))
		raft_tell_commit(h->nodes[a].raft);
	else if (IS("unreachable"))
		said(raft_peer_unreachable(h->nodes[a].raft, b));
	else if (IS("autoflush"))
		h->nodes[a].autoflush = strcmp(rest, "on") == 0;
	else if (IS("flush"))
		h_flush_one(h, a);
	else if (IS("persisted"))
		said(raft_persisted(h->nodes[a].raft, b, second == NULL ? 0 : (uint64_t) atoi(second)));
	else if (IS("probe"))
		probe_by_hand(a, rest);
	else if (IS("compact"))
		h_compact(h, a, b);
	else if (IS("snapshot"))
		fprintf(out, "%s\n", h_snapshot(h, a) ? "installed" : "not wanted");
	else if (IS("sent"))
		said(raft_snapshot_sent(h->nodes[a].raft, b, second == NULL ? 0 : (uint64_t) atoi(second)));
	else if (IS("install"))
		said(set_install(a, rest));
	else if (IS("log"))
		show_log(a);
	else if (IS("members"))
		show_members(a);
	else
		return false;
	if (!IS("deliver") && !IS("drop") && !IS("net"))
		h_settle(h);
	return true;
}

static void execute(const char *line)
{
	char		name[32];
	char		rest[256] = "";
	unsigned	a = 0;

	if (sscanf(line, "%31s %u %255[^\n]", name, &a, rest) < 2)
		sscanf(line, "%31s %255[^\n]", name, rest);
	if (!command(name, a, rest))
		fprintf(out, "cannot do this: %s\n", line);
	if (h->error[0] != '\0')
		fprintf(out, "BROKEN %s\n", h->error);
	h->error[0] = '\0';
}

/* Run the script in `text`; the transcript that it gives now. */
static char *transcript(const char *text)
{
	char	   *result = NULL;
	size_t		len = 0;

	out = open_memstream(&result, &len);
	if (out == NULL)
		exit(2);
	h = h_alloc(sizeof(Harness));
	quiet = false;
	while (*text != '\0')
	{
		size_t		n = strcspn(text, "\n");
		char	   *line = strndup(text, n);

		if (line == NULL)
			exit(2);
		if (n == 0 || line[0] == '#')
			fprintf(out, "%s\n", line);
		else if (line[0] == '>')
		{
			fprintf(out, "%s\n", line);
			execute(line + 1 + strspn(line + 1, " "));
		}
		free(line);
		text += n + (text[n] == '\n');
	}
	h_free(h);
	free(h);
	fclose(out);
	return result;
}

static char *read_whole(const char *path)
{
	char	   *text = NULL;
	size_t		len = 0;
	FILE	   *f = fopen(path, "r");

	if (f == NULL)
		return NULL;
	if (getdelim(&text, &len, '\0', f) < 0)
	{
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

static void show_difference(const char *path, const char *want, const char *have)
{
	int			line = 1;

	while (*want != '\0' && strcspn(want, "\n") == strcspn(have, "\n") && strncmp(want, have, strcspn(want, "\n")) == 0)
	{
		want += strcspn(want, "\n") + (want[strcspn(want, "\n")] != '\0');
		have += strcspn(have, "\n") + (have[strcspn(have, "\n")] != '\0');
		line++;
	}
	printf("%s:%d: expected\n", path, line);
	for (int i = 0; i < 5 && *want != '\0'; i++, want += strcspn(want, "\n") + (want[strcspn(want, "\n")] != '\0'))
		printf("-  %.*s\n", (int) strcspn(want, "\n"), want);
	for (int i = 0; i < 5 && *have != '\0'; i++, have += strcspn(have, "\n") + (have[strcspn(have, "\n")] != '\0'))
		printf("+  %.*s\n", (int) strcspn(have, "\n"), have);
}

int main(int argc, char **argv)
{
	bool		rewrite = false;
	int			passed = 0;
	int			failed = 0;

	for (int i = 1; i < argc; i++)
	{
		char	   *want;
		char	   *have;

		if (strcmp(argv[i], "--rewrite") == 0)
		{
			rewrite = true;
			continue;
		}
		if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc)
		{
			nd_mutant = nd_mutant_by_name(argv[++i]);
			continue;
		}
		want = read_whole(argv[i]);
		if (want == NULL)
		{
			printf("%s: cannot be read\n", argv[i]);
			failed++;
			continue;
		}
		have = transcript(want);
		if (rewrite)
		{
			FILE	   *f = fopen(argv[i], "w");

			if (f == NULL || fputs(have, f) < 0 || fclose(f) != 0)
				return 2;
		}
		if (!rewrite && strcmp(want, have) != 0)
		{
			show_difference(argv[i], want, have);
			failed++;
		}
		else
			passed++;
		free(want);
		free(have);
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0 ? 1 : 0;
}
