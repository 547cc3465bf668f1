/*
 * sim.h: one simulated cluster: what world, network, hosts, clients, faults and checkers share.
 *
 * Invariants:
 * 1. Everything that happens comes out of the event queue, ordered by (virtual time, sequence number), and every choice out of one seed:
 *    the same seed gives the same trace, byte for byte (sim --twice checks it).
 * 2. The simulator owns time, network, disks and tables; node, raft, certifier and store are the production code.
 * 3. A checker never changes what happens: it draws no random number from the world's generators.
 * 4. The first failed check ends the run; sim_fail() says which.
 *
 * Includes node, store, transport, core and memvfs.h; nothing includes it but test/sim.
 */
#ifndef ND_SIM_H
#define ND_SIM_H

#include "../../src/node/node.h"
#include "memvfs.h"

#define SIM_NODES_MAX 20		/* ids ever given in one run; ids are 1..SIM_NODES_MAX - 1 */
#define SIM_GROUPS_MAX 65		/* metadata group, data groups, the sequencer group */
#define SIM_KEYS 24				/* rows of the toy table of a group */
#define SIM_CLIENTS_MAX 12
#define SIM_PAIRS_MAX 6			/* rows written by one transaction, chunks included */
#define SIM_READS_MAX 2			/* rows read by one transaction and not written, in a group */
#define SIM_PARTS_MAX 3			/* groups of one transaction */

#define SIM_MS 1000ull			/* virtual time is in microseconds */
#define SIM_S 1000000ull

typedef struct Sim Sim;
typedef struct Host Host;

/* ---- events ---- */

typedef enum SimEventKind
{
	EV_TICK,					/* node */
	EV_WORK,					/* node */
	EV_DISK,					/* node: the running flush ends */
	EV_FRAME,					/* node = to, a = from, b = session, data */
	EV_PEER_UP,					/* node, a = peer, b = session */
	EV_PEER_DOWN,				/* node, a = peer, b = session */
	EV_LINK,					/* a, b: try to connect */
	EV_APPLY,					/* node: the applier takes a few entries */
	EV_APPLIED_DURABLE,			/* node: the local log is flushed */
	EV_CLIENT,					/* a = client, b = operation: one for an earlier operation is dropped */
	EV_START,					/* node: power on */
	EV_CRASH,					/* node: in the middle of a snapshot */
	EV_FAULT,
	EV_MEMBERSHIP,
	EV_UNBLOCK,					/* a = from, b = to */
	EV_SPACE,					/* a = node: its full disk has space again */
	EV_PHASE,
	EV_KINDS
} SimEventKind;

typedef struct SimEvent
{
	uint64_t	time;
	uint64_t	seq;
	SimEventKind kind;
	NdNodeId	node;			/* 0: the world */
	uint64_t	life;			/* of the node: an event for an earlier life is dropped */
	uint64_t	a;
	uint64_t	b;
	uint8_t    *data;
	uint32_t	len;
} SimEvent;

/* ---- what a seed chooses for a whole run ---- */

typedef struct SimOptions
{
	uint32_t	nodes;			/* at the beginning */
	uint32_t	data_groups;	/* in the end, at most */
	uint32_t	founded_groups;	/* of them: the others may be added */
	uint32_t	clients;
	uint64_t	chaos_us;		/* length of the time with faults */
	bool		faults_from_start;
	/* network: per mille of frames */
	uint32_t	loss;
	uint32_t	duplicate;
	uint32_t	reorder;
	uint32_t	spike;			/* delayed by up to spike_us */
	uint64_t	spike_us;
	uint64_t	latency_us;		/* mean */
	uint64_t	queue_bytes;
	/* disk */
	uint64_t	flush_us;		/* mean */
	uint32_t	flush_spike;	/* per mille of flushes take up to 600 ms */
	uint32_t	flush_stall;	/* ... up to 6 s */
	/* nemesis: mean microseconds between faults of a kind; 0 = never */
	uint64_t	crash_every;
	uint64_t	partition_every;
	uint64_t	pause_every;
	uint64_t	break_every;
	uint64_t	fsync_error_every;
	uint64_t	membership_every;
	uint64_t	transfer_every;
	uint64_t	all_crash_every;
	uint64_t	late_every;		/* an old proposal arrives again */
	uint64_t	rot_every;		/* bytes that were durable are not what they were any more (disks.c) */
	uint64_t	full_every;
	uint64_t	read_error_every;
	uint64_t	grow_every;		/* data groups are added */
	uint64_t	clock_every;	/* a host's clock stands still, then jumps */
	bool		drift;			/* clocks run up to a fifth too slow or too fast, each host's own */
	bool		churn;			/* several members come and go at once, and the network breaks just then */
	/* tables */
	uint32_t	busy;			/* per mille of deliveries refused at random */
	uint32_t	apply_queue;	/* entries; full means ND_BUSY */
	uint64_t	apply_us;		/* mean pause between two batches of the applier */
	uint64_t	durable_us;		/* mean pause between two flushes of the local log */
	bool		truncate;		/* the log is cut; without snapshots nobody may join later */
	uint64_t	keep_bytes;
	bool		snapshots;		/* the hosts have them: the log is cut above slow members too */
	uint32_t	snapshot_pad;	/* bytes of ballast in a content */
	uint32_t	snapshot_busy;	/* per mille of the driver's calls */
	uint32_t	snapshot_fails;	/* likewise: refused for good */
	uint32_t	snapshot_crash;	/* per mille of beginnings and installations: the host crashes soon */
	uint64_t	snapshot_us;	/* mean time of an installation */
	/* clients */
	uint64_t	think_us;
	uint32_t	hot_keys;		/* rows in use: few = many conflicts */
	uint32_t	pad_bytes;		/* up to this many bytes of ballast in a body */
	uint32_t	reserve;		/* per mille of transactions that reserve first */
	uint32_t	chunks;			/* per mille of transactions in pieces */
	uint32_t	linger;			/* per mille of transactions that take up to linger_us between reading and proposing */
	uint64_t	linger_us;
	uint32_t	serializable;	/* per mille of transactions whose reads are certified, too */
	uint32_t	forget;			/* per mille of proposals that the client gives up */
	bool		sequencer;		/* the cluster has a sequencer group */
	uint32_t	several;		/* per mille of transactions that touch several groups */
	/* driver */
	NodeConfig	node;
	StoreConfig store;
} SimOptions;

/* ---- the oracle's log: what was first delivered anywhere ---- */

typedef struct SimPair
{
	uint32_t	key;
	uint64_t	was;			/* what the transaction read */
	uint64_t	is;				/* what it wrote */
} SimPair;

/* What a serializable transaction read in one group and did not write. */
typedef struct SimReads
{
	uint64_t	base;			/* when */
	uint32_t	n;
	SimPair		rows[SIM_READS_MAX];	/* `is` means nothing */
} SimReads;

typedef struct LedgerEntry
{
	uint64_t	term;
	uint64_t	seen_term;		/* of the node that delivered it first: it was committed in this term or before */
	RaftEntryKind kind;
	uint64_t	hash;			/* of the payload */
	bool		has_header;
	EntryKind	entry_kind;
	TxnId		txn;
	uint64_t	base;
	Verdict		verdict;
	uint32_t	n_keys;
	EntryKey   *keys;
	uint32_t	n_read_keys;
	EntryKey	read_keys[SIM_READS_MAX];
	SimReads	reads;
	bool		waits;			/* RESERVE: it may wait */
	uint64_t	age;
	uint32_t	n_chunks;
	uint64_t   *chunks;
	uint32_t	n_pairs;		/* of this entry's own body */
	SimPair		pairs[SIM_PAIRS_MAX];
	uint64_t	checksum;		/* of the certifier behind this entry; 0 = not looked at */
	bool		acked;
	uint64_t	position;		/* this and the rest: MARKER and OUTCOME */
	uint64_t	previous;
	uint64_t	decision;
	uint32_t	n_groups;
	NdGroupId	groups[SIM_PARTS_MAX];
} LedgerEntry;

/* A position of the sequencer: one transaction over several groups, as the groups' logs show it. */
typedef struct Order
{
	bool		used;
	TxnId		txn;
	uint32_t	n_groups;
	NdGroupId	groups[SIM_PARTS_MAX];
	uint64_t	markers[SIM_PARTS_MAX];		/* index of the one that counted, by place in groups; 0: not seen yet */
	uint64_t	outcomes[SIM_PARTS_MAX];
	bool		refused;		/* a group voted no */
	uint64_t	decision;		/* 0: no outcome seen yet */
	bool		commit;
} Order;

/* Of one RESERVE or MARKER. */
typedef struct Reservation
{
	TxnId		txn;
	uint64_t	index;
	uint64_t	ends;			/* by age, behind this entry; 0: not */
	bool		marker;			/* an open one: its outcome alone ends it */
} Reservation;

typedef struct Leadership
{
	uint64_t	term;
	NdNodeId	node;
} Leadership;

typedef struct Ledger
{
	LedgerEntry *entries;		/* entries[i] stands for index i + 1 */
	uint64_t	n;
	uint32_t	cap;
	uint64_t	table[SIM_KEYS];	/* the oracle's own table */
	Reservation *reservations;
	uint32_t	n_reservations;
	uint32_t	cap_reservations;
	Reservation *waiting;		/* in log order */
	uint32_t	n_waiting;
	uint32_t	cap_waiting;
	Reservation *turns;			/* of those that waited: behind entry `index`; all that ever came */
	uint32_t	n_turns;
	uint32_t	cap_turns;
	uint64_t	read_floor;		/* highest index that somebody was told about: every later read must see it */
	RaftConfiguration configuration;	/* newest one delivered anywhere */
	RaftConfiguration *configurations;	/* all of them, in log order */
	uint32_t	n_configurations;
	uint32_t	cap_configurations;
	uint32_t	fence[SIM_NODES_MAX];	/* highest incarnation seen, by node */
	uint64_t	position;		/* of the last marker that counted; in the sequencer's log: of the last epoch its number */
	uint64_t	decision;		/* of the last outcome that counted; in the sequencer's log: the last epoch's time */
	uint64_t	commits;
	uint64_t	aborts;
	Leadership *leaders;		/* in the order of discovery */
	uint32_t	n_leaders;
	uint32_t	cap_leaders;
} Ledger;


/* What is known of one proposal. */
typedef struct TxnRecord
{
	bool		used;
	NdGroupId	group;
	TxnId		txn;
	EntryKind	kind;
	uint16_t	flags;
	bool		not_sent;		/* the driver swore that it has no effect */
	uint64_t	commit_index;	/* TXN only: where it got VERDICT_COMMIT */
	uint64_t	seen_index;		/* where it was first delivered */
	bool		told_abort;		/* its client was told so: over several groups, or before the log came to it */
} TxnRecord;

/* ---- hosts ---- */

typedef struct HostGroup
{
	uint64_t	delivered;		/* this life; 0 = nothing yet */
	uint64_t	applied_at_start;
	uint64_t	applied;		/* the watermark */
	uint64_t	table[SIM_KEYS];
	uint64_t	durable;		/* what a crash keeps at least */
	uint64_t	durable_table[SIM_KEYS];
	/* of the last look at Raft, in this life */
	uint64_t	term;
	uint64_t	commit;
	uint64_t	leader_term;	/* of the last term that it led */
	uint64_t	last;
	uint64_t	last_term;
	uint64_t	durable_log;
	uint64_t	configuration;	/* index of the one that it appended last as leader */
	uint32_t	audits_due;		/* its log was cut and grew anew: what it calls durable is looked up */
	/* of all lives: the newest vote that left this host */
	uint64_t	vote_term;
	NdNodeId	vote;
} HostGroup;

/* What the applier does in one step: one entry, or the outcomes of a transaction in all groups that have not applied theirs. */
typedef struct TicketPart
{
	NdGroupId	group;
	uint64_t	index;
} TicketPart;

typedef struct Ticket
{
	uint32_t	n;
	TicketPart	parts[SIM_PARTS_MAX];
	TxnId		txn;			/* of an outcome that commits */
	uint64_t	position;		/* likewise; else 0 */
	bool		local;
} Ticket;

typedef enum InjuryKind
{
	INJURY_FLIP,				/* one bit, in a batch or a segment's header */
	INJURY_LOST,				/* a write that was acknowledged never reached the disk */
	INJURY_MISDIRECTED,			/* a write of another place stands here */
	INJURY_UNREADABLE,
	INJURY_KINDS
} InjuryKind;

/* Something durable was changed behind the store's back. */
typedef struct Injury
{
	InjuryKind	kind;
	uint64_t	segment;
	uint64_t	offset;			/* of the batch; 0: the segment's header */
	uint64_t	inode;
	uint64_t	life;			/* of the host: the rounds below count in it */
	uint64_t	rounds;			/* of the scrub when it happened */
	uint64_t	damages;		/* that it had found by then */
} Injury;

#define SIM_INJURIES_MAX 3

#define SIM_SNAPSHOTS_MAX 8		/* open at one host */

/* Content of a group's tables, opened to be sent, or on its way in. */
typedef struct HostSnapshot
{
	bool		used;
	NdGroupId	group;
	uint64_t	index;
	NdBuf		bytes;
	uint64_t	ready_at;		/* it is being installed until then; 0: not yet */
} HostSnapshot;

typedef struct SimTransport
{
	Transport	base;
	Host	   *host;
	bool		known[SIM_NODES_MAX];
} SimTransport;

struct Host
{
	Sim		   *sim;
	NdNodeId	id;
	bool		exists;			/* the id is in use or was */
	bool		up;
	bool		dead;			/* disk lost for good */
	bool		leaving;		/* asked to leave the cluster */
	bool		founder;
	bool		disk_armed;		/* an fsync error waits for its flush ... */
	uint64_t	sync_fails_at;	/* ... of this number */
	uint32_t	flushes_since_failure;
	bool		read_armed;		/* some reads will fail */
	bool		full;			/* the disk has little space or none */
	uint32_t	n_injuries;		/* > 0: the disk may have to be given up */
	Injury		injuries[SIM_INJURIES_MAX];
	bool		unusable;		/* the server found out: give the disk up at the end of this event */
	uint64_t	tick_us;		/* of this life: its clock's speed */
	uint64_t	clock_stands_until;
	uint32_t	ticks_missed;
	uint32_t	incarnation;
	uint64_t	life;
	uint64_t	paused_until;
	char		dir[32];
	MemVfs	   *disk;
	Store	   *store;
	Node	   *node;
	SimTransport transport;
	bool		work_scheduled;
	uint64_t	linger_end;		/* until then a flush waits; 0: none does */
	bool		disk_scheduled;
	bool		apply_scheduled;
	uint64_t	ticks;			/* in this life */
	uint64_t	told[SIM_NODES_MAX];	/* session that the node believes to be up, by peer; 0 = none */
	uint64_t	counter;		/* transaction ids of this life */
	HostGroup	groups[SIM_GROUPS_MAX];
	Ticket	   *tickets;		/* all since the last flush of the local log: [0, applied_tickets) applied, the rest queued */
	uint32_t	n_tickets;
	uint32_t	applied_tickets;
	bool		torn;			/* a snapshot of one group is installed that shows transactions whose other parts are not durable here yet */
	uint32_t	cap_tickets;
	HostSnapshot out[SIM_SNAPSHOTS_MAX];
	HostSnapshot in[SIM_GROUPS_MAX];
	uint64_t	refused_index[SIM_GROUPS_MAX];	/* the entry offered when we said ND_BUSY; 0 = none */
	uint32_t	idle_rounds;	/* rounds of work in a row that asked for more at the same time */
};

/* ---- clients ---- */

typedef enum ClientState
{
	CLIENT_IDLE,
	CLIENT_LINGERING,			/* has read, proposes later */
	CLIENT_RESERVING,
	CLIENT_QUEUED,				/* waits for its turn, which the driver tells; the proposal is answered */
	CLIENT_TURN,				/* ... and then for the watermark */
	CLIENT_CHUNKING,
	CLIENT_COMMITTING,
	CLIENT_MUST_CANCEL,			/* no proposal under way */
	CLIENT_CANCELLING,
	CLIENT_READING,				/* waits for the read index */
	CLIENT_WAITING				/* ... and then for the watermark */
} ClientState;

/* What a transaction over several groups does in one of them. */
typedef struct ClientPart
{
	NdGroupId	group;
	uint64_t	base;
	uint32_t	n_pairs;
	SimPair		pairs[2];
	SimReads	reads;
	uint64_t	chunk;			/* has the first pair; 0: none */
} ClientPart;

typedef struct Client
{
	ClientState state;
	NdNodeId	node;
	uint64_t	life;
	NdGroupId	group;
	TxnId		txn;
	uint64_t	base;
	uint16_t	flags;
	bool		outstanding;	/* an answer is owed by the driver */
	uint64_t	answer_by_tick;	/* of the host's clock */
	uint64_t	op;				/* a timer of an earlier operation is stale */
	uint32_t	n_pairs;
	SimPair		pairs[SIM_PAIRS_MAX];
	SimReads	reads;
	uint32_t	n_extra;		/* keys locked beside the written ones */
	EntryKey	extra[3];
	uint32_t	cancels;		/* attempts */
	uint32_t	reserves;		/* likewise */
	uint32_t	chunks_left;
	uint32_t	n_chunks;
	uint64_t	chunks[2];
	uint32_t	n_parts;		/* of a transaction over several groups; its group is the sequencer's place */
	ClientPart	parts[SIM_PARTS_MAX];
	bool		give_up;		/* cancel instead of commit */
	bool		forget;			/* go away before the answer */
	bool		reserved;
	bool		more;			/* its next RESERVE asks for the last of `extra` */
	bool		probe;
	uint64_t	token;
	uint64_t	floor;			/* of the read */
	uint64_t	read_index;		/* of the read; CLIENT_QUEUED: where it waits; CLIENT_TURN: behind which its turn came */
} Client;

/* ---- network ---- */

typedef struct Link
{
	bool		connected;
	uint64_t	session;
	uint64_t	last[2];		/* time of the last frame to arrive, by direction */
	uint64_t	queued[2];		/* bytes under way */
	bool		attempt_scheduled;
} Link;

/* ---- the world ---- */

typedef enum SimPhase
{
	PHASE_FOUND,				/* until every first member is a voter */
	PHASE_CHAOS,
	PHASE_HEAL,
	PHASE_DONE
} SimPhase;

typedef struct TraceRecord
{
	uint64_t	time;
	uint64_t	event;
	uint16_t	op;
	uint32_t	node;
	uint64_t	v[5];
} TraceRecord;

#define SIM_TRACE_KEEP 200
#define SIM_LATE_KEEP 64

/* A forwarded proposal that once left a node. */
typedef struct LateProposal
{
	NdNodeId	from;
	uint64_t	life;
	NdGroupId	group;
	NdBlob	   *entry;
} LateProposal;

struct Sim
{
	uint64_t	seed;
	bool		print;			/* trace every event */
	SimOptions	o;
	NdRandom	rng;			/* the world */
	NdRandom	net_rng;
	NdRandom	client_rng;
	NdRandom	fault_rng;
	uint64_t	now;
	uint64_t	seq;
	uint64_t	event;			/* events done */
	SimEvent   *heap;
	uint32_t	n_heap;
	uint32_t	cap_heap;
	SimPhase	phase;
	bool		founded;		/* the first members are voters of every group */
	uint64_t	phase_end;
	uint64_t	operations;		/* begun by clients: past a limit they slow down, so that a fast cluster is no long run */
	uint64_t	value;			/* the last value that a client wrote: each is new */
	Host		hosts[SIM_NODES_MAX];	/* by id; [0] unused */
	NdNodeId	next_id;
	Link		links[SIM_NODES_MAX][SIM_NODES_MAX];	/* [lower][higher] */
	bool		blocked[SIM_NODES_MAX][SIM_NODES_MAX];	/* [from][to] */
	Client		clients[SIM_CLIENTS_MAX];
	uint64_t	next_token;
	Ledger		ledgers[SIM_GROUPS_MAX];
	LateProposal late[SIM_LATE_KEEP];	/* ring */
	uint64_t	n_late;
	Order	   *orders;			/* by position */
	uint32_t	n_orders;
	uint32_t	cap_orders;
	uint64_t   *decided;		/* positions, by decision */
	uint32_t	cap_decided;
	uint64_t	several;		/* committed in all their groups */
	TxnRecord  *txns;
	uint32_t	n_txns;
	uint32_t	cap_txns;
	TraceRecord trace[SIM_TRACE_KEEP];
	uint64_t	n_trace;
	uint64_t	trace_hash;
	bool		failed;
	char		checker[48];
	char		message[512];
	NdRandom	check_rng;		/* samples of the expensive checks: never the world's */
	uint32_t	probed[SIM_GROUPS_MAX];		/* heal phase: bit per node whose probe committed */
	uint64_t	deliveries;
	uint64_t	crashes;
	uint64_t	reads;
	uint64_t	audits;
	uint64_t	injuries;
	uint64_t	found;			/* of them, by whomever */
	uint64_t	full;			/* times that a disk was full */
	uint64_t	installs;
	uint32_t	wanted_groups;	/* data groups: as the operator said last */
	uint32_t	reached_groups;	/* made by any host */
};

/* ---- world.c ---- */
typedef enum TraceOp
{
	T_TICK, T_WORK, T_SEND, T_DROP, T_FRAME, T_PEER_UP, T_PEER_DOWN, T_DISK, T_DELIVER, T_REFUSE, T_APPLY, T_DURABLE, T_START, T_CRASH,
	T_PAUSE, T_BLOCK, T_UNBLOCK, T_BREAK, T_FSYNC_ERROR, T_PROPOSE, T_PROPOSE_FAILED, T_FORGET, T_READ, T_READ_DONE, T_ACK, T_ADD, T_REMOVE,
	T_TRANSFER, T_LATE, T_LEADER, T_NODE_FAILED, T_PHASE, T_LOG, T_AUDIT, T_INJURY, T_GIVE_UP, T_FULL, T_SPACE, T_CLOCK, T_SNAPSHOT_OPEN,
	T_SNAPSHOT_BEGIN, T_SNAPSHOT_INSTALL, T_SNAPSHOT_ABORT, T_GROW
} TraceOp;

/* What all runs of this process met. */
typedef struct SimTotals
{
	uint64_t	deliveries;
	uint64_t	elections;
	uint64_t	crashes;
	uint64_t	injuries;
	uint64_t	found;
	uint64_t	full;
	uint64_t	joint;
	uint64_t	installs;
	uint64_t	several;
	uint64_t	grown;			/* groups that were added */
} SimTotals;

extern SimTotals sim_totals;

/* One whole run; false when a check failed (reported on stdout). *trace_hash identifies the run. */
bool		sim_run(uint64_t seed, bool print, uint64_t *trace_hash, char *checker, size_t checker_len);
void		sim_trace(Sim *s, TraceOp op, NdNodeId node, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e);
void		sim_fail(Sim *s, const char *checker, const char *format,...) __attribute__((format(printf, 3, 4)));
void		sim_post(Sim *s, uint64_t delay_us, SimEventKind kind, NdNodeId node, uint64_t a, uint64_t b);
void		sim_post_data(Sim *s, uint64_t at, SimEventKind kind, NdNodeId node, uint64_t a, uint64_t b, const void *data, uint32_t len);
uint64_t	sim_spread(NdRandom *r, uint64_t mean);		/* 1 .. 2 * mean */
bool		sim_chance(NdRandom *r, uint32_t per_mille);
void	   *sim_grow(void *array, uint32_t *cap, uint32_t need, size_t element_bytes);

/*
 * The simulator knows groups by their place: the metadata group, the data groups, the sequencer group. What comes from the driver and goes to it, or to a store, has an id.
 */
static inline uint32_t sim_places(const Sim *s)
{
	return s->o.data_groups + 1 + s->o.sequencer;
}

static inline uint32_t sim_place(const Sim *s, NdGroupId id)
{
	return id == ND_GROUP_SEQUENCER ? s->o.data_groups + 1 : id;	/* out of range when there is none */
}

static inline NdGroupId sim_id(const Sim *s, uint32_t place)
{
	return place > s->o.data_groups ? ND_GROUP_SEQUENCER : place;
}

/* Has any host made it? */
static inline bool sim_made(const Sim *s, uint32_t place)
{
	return place > s->o.data_groups || place <= s->reached_groups;
}

static inline bool sim_sequencer(const Sim *s, uint32_t place)
{
	return place > s->o.data_groups;
}

/* ---- options.c ---- */
void		options_choose(SimOptions *o, uint64_t seed);

/* ---- net.c ---- */
void		net_init_transport(Host *h);
void		net_host_started(Host *h);
void		net_host_stopped(Host *h, bool silent);
void		net_break(Sim *s, NdNodeId a, NdNodeId b);
void		net_try(Sim *s, NdNodeId a, NdNodeId b);
void		net_heal(Sim *s);
bool		net_take_frame(Sim *s, const SimEvent *e);	/* is its stream still alive? */
bool		net_inject(Sim *s, NdNodeId from, NdNodeId to, const uint8_t *data, size_t len);	/* a frame of unknown origin; false: no stream */
bool		net_session(Sim *s, NdNodeId a, NdNodeId b, uint64_t session);	/* is it the one that is up now? */

/* ---- host.c ---- */
bool		host_found(Sim *s);		/* first node and its joiners */
NdNodeId	host_new(Sim *s);		/* a blank host, not started; 0: no more ids */
void		host_start(Host *h);
void		host_crash(Host *h, bool silent);
void		host_lose(Host *h);		/* its disk is gone: never comes back */
void		host_event(Host *h, const SimEvent *e);
void		host_kick(Host *h);		/* work soon */
uint64_t	host_watermark(const Host *h, NdGroupId group);
const Raft *host_raft(const Host *h, uint32_t place);	/* NULL: not made there yet */
bool		host_leads(const Host *h, uint32_t place);
NodeGroupStatus host_status(const Host *h, uint32_t place);

void		host_replace_table(Host *h, NdGroupId group, uint64_t index, const uint64_t *table);	/* now and durably: a snapshot's */

/* ---- snapshots.c ---- */
void		snapshots_init(Host *h, NodeSnapshots *out);
void		snapshots_lose(Host *h);	/* the host stops */

/* ---- clients.c ---- */
void		clients_init(Sim *s);
void		client_event(Sim *s, uint32_t i, uint64_t op);
void		clients_node_gone(Sim *s, NdNodeId node);
void		clients_delivered(Host *h, const NodeDelivery *d);		/* handed over, local */
void		clients_applied(Host *h, NdGroupId group, uint64_t index, bool local);
void		clients_committed(Host *h, const Ticket *t);	/* the applier has passed a transaction of several groups of this host */
void		clients_granted(Host *h, NdGroupId group, uint64_t index, TxnId txn);
void		clients_failed(Host *h, NdGroupId group, TxnId txn, EntryKind kind, NodeOutcome outcome, NdStatus reason);
void		clients_read_done(Host *h, NdGroupId group, uint64_t token, NdStatus status, uint64_t index);
bool		clients_settled(const Sim *s, char *why, size_t why_len);
void		clients_heal(Sim *s);		/* from now on only one client works: it probes every node and group once */
NdBlob	   *clients_encode(EntryKind kind, uint16_t flags, TxnId txn, uint64_t base, EntryKey *keys, uint32_t n_keys,
						   const uint64_t *chunks, uint32_t n_chunks, const SimPair *pairs, uint32_t n_pairs, NdGroupId group, const SimReads *reads, uint32_t pad);
bool		clients_decode_body(const uint8_t *body, size_t len, SimPair *pairs, uint32_t *n_pairs, SimReads *reads);
uint64_t	clients_key_hash(NdGroupId group, uint32_t key);

/* ---- faults.c ---- */
void		faults_init(Sim *s);
bool		faults_unseen(Sim *s, const LateProposal *late);
bool		faults_grown(const Sim *s);	/* the data groups that were asked for are there, if they can be */
bool		faults_stable(const Sim *s);	/* every group has the members of group 0, all voters, none is joining or leaving */
void		fault_event(Sim *s, uint64_t which);
void		membership_event(Sim *s);

void		faults_configuration(Sim *s, Host *leader, NdGroupId group);	/* a leader has appended one that changes voters */

/* ---- disks.c ---- */
bool		disks_injure(Host *h);	/* false: nothing there to injure */
void		disks_read_error(Host *h);
void		disks_fill(Host *h);
void		disks_free(Host *h);
void		disks_heal(Sim *s);
/* The store cannot be opened or written, or a record cannot be read. True: the disk explains it, and the operator does what must be done. */
bool		disks_explain(Host *h, NdStatus status);
void		disks_opened(Host *h);	/* the store was recovered: nothing was overlooked */
void		disks_look(Host *h);	/* after every event of a host that is up */

/* ---- checks.c ---- */
void		check_delivery(Host *h, const NodeDelivery *d);		/* a delivery that was taken */
void		check_host(Host *h);		/* after every event of a host */
void		check_started(Host *h);		/* the store was recovered, the node not created yet */
void		check_acked(Host *h, NdGroupId group, uint64_t index);	/* a client was told COMMIT */
void		check_turn(Host *h, NdGroupId group, TxnId txn, uint64_t after, bool said);	/* of a reservation that waited: the driver tells so, or has not yet */
bool		check_turn_over(const Sim *s, NdGroupId group, TxnId txn);
void		check_snapshot(Host *h, NdGroupId group, uint64_t index, const uint64_t *table);	/* content of a snapshot that is installed */
void		check_logs(Sim *s);			/* pairwise log matching */
void		check_sent(Host *h, NdNodeId to, const uint8_t *data, size_t len);	/* a frame that leaves */
bool		check_converged(Sim *s, char *why, size_t why_len);
bool		check_whole(const Host *h);	/* of no transaction over several groups a part alone is durable in the tables */
void		check_parts(Host *h, const Ticket *t);	/* its other parts are there, too */
TxnRecord  *check_txn(Sim *s, NdGroupId group, TxnId txn, EntryKind kind, uint16_t flags, bool create);

#endif
