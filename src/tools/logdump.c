/*
 * logdump.c: nodedb_logdump reads the replicated log of a node, running or not, and changes nothing.
 *
 * Exit status: 0 all could be read, 1 something is damaged, 2 nothing could be read or the arguments are wrong.
 *
 * Invariants:
 * 1. Damage is told with file and offset, once, and what can be read behind it is shown.
 * 2. Memory does not grow with the log: only the pieces of the one transaction that was asked for are kept.
 */
#include "../store/store_walk.h"
#include "logdump.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_META 0			/* node/node.h: ND_GROUP_META */

static const char usage[] =
"nodedb_logdump reads the replicated log of a nodedb node and changes nothing.\n"
"\n"
"Usage: nodedb_logdump [OPTION]... DIRECTORY\n"
"\n"
"DIRECTORY is nodedb.directory of a node (by default \"nodedb\" in its data directory), or a copy of it. The node may be running.\n"
"Without options it verifies every checksum and shows a summary.\n"
"\n"
"  -e, --entries        one line per entry\n"
"  -r, --rows           with the rows and commands of each transaction (-e is implied)\n"
"  -k, --keys           with the certification keys (-e is implied)\n"
"  -a, --all            also records that are no entries: hard states, marks, checkpoints\n"
"  -g, --group=N        only this group\n"
"  -i, --index=A[-B]    only these entries\n"
"  -t, --transaction=NODE.INCARNATION.COUNTER\n"
"                       only this transaction, with keys and rows, chunks put together\n"
"  -s, --segments       one line per segment\n"
"  -h, --help           this text\n"
"\n"
"Exit status: 0 all could be read, 1 something is damaged, 2 nothing could be read or the arguments are wrong.\n";

static struct
{
	bool		entries;
	bool		rows;
	bool		keys;
	bool		all;
	bool		segments;
	bool		has_group;
	NdGroupId	group;
	uint64_t	first;
	uint64_t	last;
	bool		has_txn;
	TxnId		txn;
} want = {.last = UINT64_MAX};

/* ---- what was seen of each group ---- */

typedef struct Group
{
	NdGroupId	id;
	uint64_t	entries;
	uint64_t	last_index;
	uint64_t	last_term;
	uint64_t	first_kept;
	uint64_t	checkpoint;
	RaftHardState hard;
	uint32_t	n_members;
} Group;

static Group *groups;
static uint32_t n_groups;

static Group *group_of(NdGroupId id)
{
	Group	   *grown;

	for (uint32_t i = 0; i < n_groups; i++)
		if (groups[i].id == id)
			return &groups[i];
	grown = realloc(groups, (n_groups + 1) * sizeof(*groups));
	if (grown == NULL)
		exit(2);
	groups = grown;
	memset(&groups[n_groups], 0, sizeof(*groups));
	groups[n_groups].id = id;
	return &groups[n_groups++];
}

static const char *record_name(StoreRecordKind kind)
{
	switch (kind)
	{
		case STORE_ENTRY:
			return "entry";
		case STORE_HARD:
			return "hard state";
		case STORE_PREFIX:
			return "prefix cut";
		case STORE_GROUP:
			return "new group";
		case STORE_SUFFIX:
			return "suffix cut";
		case STORE_CHECKPOINT:
			return "checkpoint";
		case STORE_RESET:
			return "reset";
		case STORE_CONFIGURATION:
			return "configuration";
		case STORE_OPEN:
			return "opened";
		case STORE_STATE:
			return "state of the group";
	}
	return "of a kind that this version does not know";
}

/* ---- configurations ---- */

static void print_configuration(const uint8_t *data, size_t len)
{
	static RaftConfiguration c;

	if (raft_configuration_decode(data, len, &c) != ND_OK)
	{
		printf(" (unreadable)");
		return;
	}
	printf(c.joint ? " joint:" : ":");
	for (uint32_t i = 0; i < c.n; i++)
		printf(" %u %s%s", c.members[i].node,
			   c.members[i].role == RAFT_VOTER ? "voter" : c.members[i].role == RAFT_LEARNER ? "learner" : "leaving",
			   c.members[i].in_old ? " (voter before)" : "");
}

/* ---- entries ---- */

static const char *const entry_names[] = {"?", "TXN", "CHUNK", "RESERVE", "CANCEL"};

/* Chunks of the transaction that was asked for. */
static struct
{
	NdBuf		bytes;
	uint64_t   *index;
	size_t	   *end;
	uint32_t	n;
} pieces;

static void keep_piece(uint64_t index, const EntryHeader *h)
{
	uint64_t   *grown_index = realloc(pieces.index, (pieces.n + 1) * sizeof(*grown_index));
	size_t	   *grown_end = realloc(pieces.end, (pieces.n + 1) * sizeof(*grown_end));

	if (grown_index == NULL || grown_end == NULL)
		exit(2);
	pieces.index = grown_index;
	pieces.end = grown_end;
	nd_buf_bytes(&pieces.bytes, h->body, h->body_len);
	if (pieces.bytes.failed)
		exit(2);
	pieces.index[pieces.n] = index;
	pieces.end[pieces.n++] = pieces.bytes.len;
}

static void print_rows(const EntryHeader *h)
{
	uint64_t   *chunks;
	NdBuf		body;

	if (h->n_chunks == 0)
	{
		logdump_body(h->body, h->body_len);
		return;
	}
	if (!want.has_txn)
	{
		printf("    (in %u chunks: --transaction=%u.%u.%llu puts them together)\n", h->n_chunks, h->txn.node, h->txn.incarnation,
			   (unsigned long long) h->txn.counter);
		return;
	}
	chunks = malloc(h->n_chunks * sizeof(*chunks));
	if (chunks == NULL)
		exit(2);
	entry_chunks(h, chunks);
	nd_buf_init(&body);
	for (uint32_t i = 0; i < h->n_chunks; i++)
	{
		uint32_t	p = 0;

		while (p < pieces.n && pieces.index[p] != chunks[i])
			p++;
		if (p == pieces.n)
		{
			printf("    (chunk %llu is not in what could be read)\n", (unsigned long long) chunks[i]);
			free(chunks);
			nd_buf_free(&body);
			return;
		}
		nd_buf_bytes(&body, pieces.bytes.data + (p > 0 ? pieces.end[p - 1] : 0), pieces.end[p] - (p > 0 ? pieces.end[p - 1] : 0));
	}
	nd_buf_bytes(&body, h->body, h->body_len);
	if (body.failed)
		exit(2);
	logdump_body(body.data, body.len);
	nd_buf_free(&body);
	free(chunks);
}

static void print_keys(const EntryHeader *h)
{
	for (uint32_t i = 0; i < h->n_keys; i++)
	{
		EntryKey	k = entry_key(h, i);

		printf("    key %016llx mode %u\n", (unsigned long long) k.hash, k.mode);
	}
	for (uint32_t i = 0; i < h->n_reads; i++)
	{
		EntryKey	k = entry_read(h, i);

		printf("    read %016llx mode %u since %llu\n", (unsigned long long) k.hash, k.mode, (unsigned long long) h->read_base);
	}
}

static void print_entry(const StoreWalkItem *item)
{
	const StoreRecord *r = &item->record;
	EntryHeader h;
	NdStatus	status;

	if (want.has_txn && (r->aux != RAFT_ENTRY_DATA || entry_decode(item->payload, r->payload_len, &h) != ND_OK || txnid_compare(h.txn, want.txn) != 0))
		return;
	printf("%016llx %10llu  group %u index %llu term %llu ", (unsigned long long) item->segment, (unsigned long long) item->offset, r->group,
		   (unsigned long long) r->index, (unsigned long long) r->term);
	if (r->aux == RAFT_ENTRY_NOOP)
	{
		printf("no-op\n");
		return;
	}
	if (r->aux == RAFT_ENTRY_CONFIG)
	{
		printf("configuration");
		print_configuration(item->payload, r->payload_len);
		printf("\n");
		return;
	}
	if (r->group == GROUP_META)
	{
		printf("metadata, %u bytes\n", r->payload_len);
		return;
	}
	status = entry_decode(item->payload, r->payload_len, &h);
	if (status != ND_OK)
	{
		printf("%u bytes that cannot be read: %s\n", r->payload_len, nd_status_text(status));
		return;
	}
	printf("%s %u.%u.%llu base %llu, %u keys, %zu bytes", entry_names[h.kind], h.txn.node, h.txn.incarnation, (unsigned long long) h.txn.counter,
		   (unsigned long long) h.base, h.n_keys, h.body_len);
	if (h.n_chunks > 0)
		printf(" and %u chunks", h.n_chunks);
	printf("\n");
	if (want.keys)
		print_keys(&h);
	if (h.kind == ENTRY_CHUNK && want.has_txn)
		keep_piece(r->index, &h);
	if (h.kind == ENTRY_TXN && want.rows)
		print_rows(&h);
}

static void see_record(const StoreWalkItem *item)
{
	const StoreRecord *r = &item->record;
	NdReader	reader;
	Group	   *g;

	if (r->kind == STORE_OPEN)
		return;
	g = group_of(r->group);
	nd_reader_init(&reader, item->payload, r->payload_len);
	switch (r->kind)
	{
		case STORE_ENTRY:
			g->entries++;
			g->last_index = r->index;
			g->last_term = r->term;
			break;
		case STORE_HARD:
			g->hard = (RaftHardState) {.term = r->term, .commit = r->index, .vote = nd_read_u32(&reader)};
			break;
		case STORE_PREFIX:
			g->first_kept = r->index;
			break;
		case STORE_CHECKPOINT:
			g->checkpoint = r->index;
			break;
		case STORE_RESET:
			g->first_kept = r->index + 1;
			break;
		default:
			break;
	}
	if (want.has_group && r->group != want.group)
		return;
	if (r->kind == STORE_ENTRY)
	{
		if (want.entries && r->index >= want.first && r->index <= want.last)
			print_entry(item);
	}
	else if (want.all)
		printf("%016llx %10llu  group %u %s index %llu term %llu, %u bytes\n", (unsigned long long) item->segment,
			   (unsigned long long) item->offset, r->group, record_name(r->kind), (unsigned long long) r->index, (unsigned long long) r->term,
			   r->payload_len);
}

/* ---- the walk ---- */

static int dump(Vfs *vfs, const char *dir)
{
	StoreWalk  *w;
	StoreWalkItem item;
	NdStatus	status = store_walk_open(vfs, dir, 0, UINT64_MAX, &w);
	uint64_t	segments = 0;
	uint64_t	records = 0;
	uint64_t	flushes = 0;
	uint64_t	damages = 0;

	if (status != ND_OK)
	{
		fprintf(stderr, "nodedb_logdump: %s: %s\n", dir, status == ND_NOTFOUND ? "no such directory, or no segment (*.seg) in it" : nd_status_text(status));
		return 2;
	}
	while ((status = store_walk_next(w, &item)) == ND_OK && item.kind != STORE_WALK_END)
		switch (item.kind)
		{
			case STORE_WALK_SEGMENT:
				segments++;
				if (want.segments)
					printf("%016llx.seg node %u cluster %016llx, %llu bytes, format %u\n", (unsigned long long) item.segment, item.header.node,
						   (unsigned long long) item.header.cluster_id, (unsigned long long) item.bytes, item.header.format);
				break;
			case STORE_WALK_BATCH:
				flushes += item.batch.part == 0;
				break;
			case STORE_WALK_RECORD:
				records++;
				see_record(&item);
				break;
			case STORE_WALK_DAMAGE:
				damages++;
				printf("DAMAGE %s/%016llx.seg at offset %llu: %s\n", dir, (unsigned long long) item.segment, (unsigned long long) item.offset, item.text);
				break;
			default:
				printf("%016llx.seg at offset %llu: %s\n", (unsigned long long) item.segment, (unsigned long long) item.offset, item.text);
				break;
		}
	store_walk_close(w);
	if (status != ND_OK)
	{
		fprintf(stderr, "nodedb_logdump: %s: %s\n", dir, nd_status_text(status));
		return 2;
	}
	if (!want.has_txn)
		for (uint32_t i = 0; i < n_groups; i++)
			printf("group %u: %llu entries read, the last one %llu of term %llu; begins at %llu, certifier checkpoint at %llu, hard state: term %llu, vote %u, commit %llu\n",
				   groups[i].id, (unsigned long long) groups[i].entries, (unsigned long long) groups[i].last_index,
				   (unsigned long long) groups[i].last_term, (unsigned long long) (groups[i].first_kept > 0 ? groups[i].first_kept : 1),
				   (unsigned long long) groups[i].checkpoint, (unsigned long long) groups[i].hard.term, groups[i].hard.vote,
				   (unsigned long long) groups[i].hard.commit);
	if (!want.has_txn)
		printf("%llu segments, %llu flushes, %llu records, ", (unsigned long long) segments, (unsigned long long) flushes, (unsigned long long) records);
	if (damages > 0)
		printf("%llu places are damaged\n", (unsigned long long) damages);
	else if (!want.has_txn)
		printf("all checksums are good\n");
	return damages > 0 ? 1 : 0;
}

/* ---- arguments ---- */

static void wrong(const char *what)
{
	fprintf(stderr, "nodedb_logdump: %s\nTry \"nodedb_logdump --help\".\n", what);
	exit(2);
}

static uint64_t number(const char **text)
{
	char	   *end;
	uint64_t	n = strtoull(*text, &end, 10);

	if (end == *text)
		wrong("a number is missing");
	*text = end;
	return n;
}

static void take_option(int option, const char *value)
{
	switch (option)
	{
		case 'e':
			want.entries = true;
			break;
		case 'r':
			want.entries = want.rows = true;
			break;
		case 'k':
			want.entries = want.keys = true;
			break;
		case 'a':
			want.all = true;
			break;
		case 's':
			want.segments = true;
			break;
		case 'g':
			want.has_group = true;
			want.group = (NdGroupId) number(&value);
			break;
		case 'i':
			want.entries = true;
			want.first = want.last = number(&value);
			if (*value == '-')
			{
				value++;
				want.last = number(&value);
			}
			break;
		case 't':
			want.has_txn = want.entries = want.rows = want.keys = true;
			want.txn.node = (NdNodeId) number(&value);
			if (*value++ != '.')
				wrong("a transaction is NODE.INCARNATION.COUNTER");
			want.txn.incarnation = (uint32_t) number(&value);
			if (*value++ != '.')
				wrong("a transaction is NODE.INCARNATION.COUNTER");
			want.txn.counter = number(&value);
			if (*value == '.')		/* as nodedb.transaction_id() gives it, with a base behind */
			{
				value++;
				(void) number(&value);
			}
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			wrong("unknown option");
	}
	if (value != NULL && *value != '\0')
		wrong("there is something behind the number");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"entries", no_argument, NULL, 'e'}, {"rows", no_argument, NULL, 'r'}, {"keys", no_argument, NULL, 'k'},
		{"all", no_argument, NULL, 'a'}, {"group", required_argument, NULL, 'g'}, {"index", required_argument, NULL, 'i'},
		{"transaction", required_argument, NULL, 't'}, {"segments", no_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0},
	};
	Vfs		   *vfs;
	int			option;
	int			status;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "erkag:i:t:sh", options, NULL)) != -1)
		take_option(option, optarg);
	if (optind != argc - 1)
		wrong("name one directory");
	nd_buf_init(&pieces.bytes);
	if (vfs_posix_create(&vfs) != ND_OK)
		wrong("out of memory");
	status = dump(vfs, argv[optind]);
	vfs_posix_destroy(vfs);
	return status;
}
