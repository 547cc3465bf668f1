/*
 * mutant.h: planted bugs, to show that the tests would see real ones.
 *
 * Without -DND_MUTANTS every MUTANT(NAME) is the constant false and costs nothing. With it, the bug named by nd_mutant is alive:
 *
 *     if (index > matched && !MUTANT(RAFT_ACK_UNMATCHED))
 *         ...
 *
 * Each line of ND_MUTANT_LIST names one mutant and the rule that it breaks. A module's mutants begin with its name.
 * The simulator's gate (test/sim/mutants.sh) runs each of them until a checker turns red.
 */
#ifndef ND_MUTANT_H
#define ND_MUTANT_H

#define ND_MUTANT_LIST(X) \
	X(NODE_SEND_BEFORE_FLUSH, "votes and acknowledgements leave before the flush that they depend on") \
	X(NODE_DELIVER_UNDURABLE, "committed entries are delivered before they are durable here") \
	X(NODE_SKIP_REPLAYED_VERDICT, "entries that the tables already hold are not certified again after a restart") \
	X(NODE_NEW_ID, "a proposal is proposed again under another transaction id") \
	X(NODE_LOSE_BUSY, "an entry that deliver() had no room for is not offered again") \
	X(NODE_READ_WITHOUT_ROUND, "a node answers reads with its own commit index") \
	X(NODE_SNAPSHOT_LOG_FIRST, "the log is replaced by a snapshot's before its content is durable in the tables") \
	X(NODE_SNAPSHOT_CHECKSUM, "a snapshot's chunk is taken whatever its checksum says") \
	X(NODE_SNAPSHOT_OFFSET, "a snapshot's chunk is taken whatever its offset") \
	X(NODE_SNAPSHOT_ROWS_BEHIND, "a snapshot's certifier checkpoint is above its rows") \
	X(NODE_SNAPSHOT_OLD_MEMBERS, "the configuration before a snapshot stays in effect behind it") \
	X(NODE_SNAPSHOT_LOG_CUT, "the log is cut behind a snapshot that is under way") \
	X(NODE_SNAPSHOT_DELIVERS, "entries are delivered while a snapshot's content is being installed") \
	X(NODE_CHECKPOINT_ABOVE_TABLES, "a certifier checkpoint is stored before the tables durably hold what it covers") \
	X(NODE_ANSWER_TWICE, "a proposal that was certified still waits for its deadline") \
	X(NODE_TRUNCATE_NEEDED, "the log is cut above what the tables durably hold and the checkpoint covers") \
	X(NODE_TRUNCATE_CHUNKS, "the log is cut above chunks that a transaction still names") \
	X(NODE_FLUSH_EACH, "every group's writes are flushed by themselves") \
	X(NODE_RELEASE_GATHER, "a flush that ends releases what the next one will cover") \
	X(NODE_LATE_NOT_SENT, "a proposal that left this node is called not sent at its deadline") \
	X(NODE_REMOVE_UNHEARD, "a voter is removed though those that stay are no majority without it") \
	X(NODE_REUSE_ID, "a node id is given twice") \
	X(NODE_LEAVE_META_FIRST, "a member leaves group 0 while data groups still count it") \
	X(NODE_PARTS_ALONE, "a part of a transaction over several groups is delivered without the others") \
	X(NODE_PARTS_UNMADE, "a part in a data group that is not made here yet is taken for one that this node has not got") \
	X(NODE_GROW_ALONE, "a group that is added begins on each node with that node as the only voter") \
	X(NODE_MARKER_CUT, "the log is cut above the marker of an outcome that the tables do not durably hold") \
	X(NODE_EPOCH_CUT, "the sequencer's log is cut above an epoch whose transactions are not finished") \
	X(NODE_VOTE_ONCE, "a vote that is lost is not said again") \
	X(NODE_SAY_FLOOD, "votes and acknowledgements that do not show are said again at one pace, however slow the sequencer's log is") \
	X(NODE_SILENT_FOREVER, "a group that does not vote is waited for") \
	X(RAFT_ACK_UNMATCHED, "a follower acknowledges what it stores, matched with this leader or not") \
	X(RAFT_ACK_BEFORE_DURABLE, "a follower acknowledges entries that are not durable yet") \
	X(RAFT_COUNT_OLD_TERMS, "a leader commits entries of old terms by counting") \
	X(RAFT_NO_NOOP, "a new leader appends no entry of its own term") \
	X(RAFT_COUNT_OWN_UNDURABLE, "a leader counts its own disk before its own flush") \
	X(RAFT_COUNT_LEARNERS, "a leader counts learners for a quorum") \
	X(RAFT_VOTE_TWICE, "a voter votes for two candidates of one term") \
	X(RAFT_VOTE_BEFORE_DURABLE, "messages leave before the term and vote that they depend on are durable") \
	X(RAFT_VOTE_OLD_LOG, "a voter votes for a candidate whose log is behind its own") \
	X(RAFT_OWN_VOTE_UNDURABLE, "a candidate counts its own vote before it is durable") \
	X(RAFT_NO_LOG_MATCHING, "a follower appends without comparing the term of the entry before") \
	X(RAFT_COMMIT_UNMATCHED, "a follower takes the leader's commit beyond what it matched") \
	X(RAFT_EARLY_CONFIG, "a leader changes the configuration before it has committed in its own term") \
	X(RAFT_TWO_CONFIGS, "a leader changes the configuration while another change is uncommitted") \
	X(RAFT_NO_JOINT, "several voters come and go in one step") \
	X(RAFT_JOINT_ONE_MAJORITY, "a joint configuration decides by the incoming majority alone") \
	X(RAFT_JOINT_LEFT_EARLY, "a joint configuration is left before it is committed") \
	X(RAFT_CONFIG_NOT_ROLLED_BACK, "a truncated configuration stays in effect") \
	X(RAFT_STALE_PERSISTED, "a storage completion counts for another entry at the same index") \
	X(RAFT_READ_WITHOUT_ROUND, "a leader answers reads without asking a quorum") \
	X(RAFT_READ_BEFORE_COMMIT, "a leader answers reads before it has committed in its own term") \
	X(RAFT_READ_OLD_ROUND, "a leader answers reads by a round that began before the request") \
	X(RAFT_READ_TRUST_ASKER, "a leader answers a follower's read at once though the two are no quorum") \
	X(RAFT_READ_ANY_ANSWER, "a follower takes whatever answer comes for the oldest of its reads") \
	X(RAFT_NO_PRIORITY, "a replica of high priority waits as long for its election as any other") \
	X(RAFT_CAMPAIGN_INSTALLING, "a replica stands for election while a snapshot comes in") \
	X(RAFT_CAMPAIGN_UNDURABLE, "a candidate names entries that are not durable on its disk") \
	X(RAFT_TRANSFER_SECOND_VOTE, "a voter votes a second time in a term for the target of a transfer") \
	X(RAFT_PREVOTE_DISTURBS, "a replica that hears its leader says yes to a pre-vote") \
	X(RAFT_NO_CHECK_QUORUM, "a leader that no quorum hears goes on leading") \
	X(RAFT_OLD_TERM_REPLY, "an acknowledgement of an older term counts in this one") \
	X(RAFT_SNAPSHOT_KEEPS_CONFIG, "a snapshot leaves the configuration as it was") \
	X(RAFT_INFLIGHT_UNBOUNDED, "a leader sends on whatever is in flight") \
	X(RAFT_APPEND_UNBOUNDED, "one APPEND carries everything that a peer lacks") \
	X(RAFT_UNCOMMITTED_UNBOUNDED, "a leader takes proposals however much is uncommitted") \
	X(NODE_GRANT_UNTOLD, "nobody is told that its turn in the queue of reservations has come") \
	X(CERTIFIER_BASE_OFF_BY_ONE, "a change at base + 1 is taken for seen") \
	X(CERTIFIER_KEY_SHARE_MISSED, "FOR KEY SHARE and an update of the key do not conflict") \
	X(CERTIFIER_RESERVATION_IGNORED, "keys reserved by another id do not abort") \
	X(CERTIFIER_READS_IGNORED, "what a serializable transaction read is not judged") \
	X(CERTIFIER_READ_BASE, "reads are judged from the base on, not from the snapshot on") \
	X(CERTIFIER_READ_OLD, "a read base below the window is judged") \
	X(CERTIFIER_ORDER_WRITERS_FIRST, "a leader appends those first whose changes most of the others have read") \
	X(CERTIFIER_ORDER_MOVES_OTHERS, "a leader moves transactions past a RESERVE or CANCEL") \
	X(CERTIFIER_LOST_TO_RESERVED, "who wants what others have reserved is told that it is lost") \
	X(CERTIFIER_LOST_READ_BASE, "who read what was changed before its snapshot is told that it is lost") \
	X(CERTIFIER_EVICT_NEWER, "evicting an entry takes newer records of its keys along") \
	X(CERTIFIER_OLD_BASE, "a base just below the window is judged") \
	X(CERTIFIER_DUPLICATE_MISSED, "a second copy of a transaction gets a verdict of its own") \
	X(CERTIFIER_FENCE_IGNORED, "an entry of a process that is gone is judged as if it lived") \
	X(CERTIFIER_TOMBSTONE_IGNORED, "a transaction commits after its cancel") \
	X(CERTIFIER_SAVE_FORGETS, "a checkpoint leaves reservations out") \
	X(CERTIFIER_MARKER_TWICE, "a marker that comes again counts again") \
	X(CERTIFIER_MARKER_GAP, "a marker counts though one before it is missing") \
	X(CERTIFIER_MARKER_NOT_RESERVED, "what an open marker owns does not abort others") \
	X(CERTIFIER_MARKER_READS, "what a part read is free between its marker and its outcome") \
	X(CERTIFIER_OUTCOME_ANY_ORDER, "an outcome counts though one that was decided before it is missing") \
	X(CERTIFIER_FENCE_FREES_MARKER, "a fence frees what an open marker owns") \
	X(CERTIFIER_CANCEL_FREES_MARKER, "a cancel frees what an open marker owns, and its id is a tombstone") \
	X(CERTIFIER_SAVE_NO_MARKERS, "a checkpoint leaves open markers out") \
	X(CERTIFIER_SAVE_NO_QUEUE, "a checkpoint leaves out who waits for keys") \
	X(CERTIFIER_QUEUE_OVERTAKES, "who comes later gets keys that somebody waits for") \
	X(CERTIFIER_QUEUE_EARLY, "who waits for keys gets them while others own them") \
	X(CERTIFIER_QUEUE_LOST, "a fence leaves those of earlier lives in the line") \
	X(CERTIFIER_QUEUE_MARKER_PASSES, "a marker gets keys that somebody waits for") \
	X(CERTIFIER_QUEUE_HOLDS_OWNER, "an owner that asks for more is held up by those who came after it") \
	X(CERTIFIER_QUEUE_GAIN_UNSEEN, "who waits does not wait for what an earlier owner got meanwhile") \
	X(CERTIFIER_QUEUE_STAYS, "who asks again keeps its old place in the line, too") \
	X(CERTIFIER_AGE_OF_RESERVE, "the age of a reservation that had to wait counts from its RESERVE") \
	X(CERTIFIER_AGE_IGNORED, "a reservation does not end by its age") \
	X(SEQ_ANY_EPOCH, "an epoch that was made of an old state counts") \
	X(SEQ_TIME_BACK, "a new leader's epoch has an earlier time than the last one") \
	X(SEQ_REQUEST_TWICE, "a copy of a request gets a position of its own") \
	X(SEQ_COMMIT_EARLY, "the first yes decides") \
	X(SEQ_ABORT_LATE, "an abort entry undoes what was decided") \
	X(SEQ_FORGET_EARLY, "a transaction is forgotten when one of its groups has its outcome") \
	X(SEQ_VOTE_EARLY, "a group votes yes before its marker is certified") \
	X(SEQ_OUTCOME_UNORDERED, "outcomes are appended though one decided before is missing") \
	X(STORE_CUT_DAMAGE, "recovery cuts at a bad checksum, whatever stands behind it") \
	X(STORE_ACK_BEFORE_SYNC, "a flush is called durable before its fdatasync has finished") \
	X(STORE_FORGET_SUFFIX, "a truncated suffix comes back at recovery") \
	X(STORE_DROP_HARD_STATE, "hard states are not written anew at the beginning of a segment") \
	X(STORE_STALE_RECORDS, "old bytes of a recycled segment are taken for new ones") \
	X(STORE_RETRY_SYNC, "a failed fsync is tried again") \
	X(STORE_RECYCLE_LIVE, "a segment goes though live entries stand in it") \
	X(STORE_FREE_EARLY, "a segment goes before the record that freed it is durable") \
	X(STORE_SUCCESSOR_UNDURABLE, "a segment goes before its successor's small state is durable") \
	X(STORE_NAME_FIRST, "a segment file gets its name before its header is durable") \
	X(STORE_STATE_NOT_REWRITTEN, "a segment begins without the small state of the groups") \
	X(STORE_NO_BEGIN, "a start does not end the log behind the torn flush") \
	X(STORE_BODY_UNCHECKED, "recovery takes a batch whose body never reached the disk") \
	X(STORE_NO_SETTLE, "recovery does not make durable what it could only read") \
	X(STORE_ANY_NODE, "files of another node or cluster are taken for one's own") \
	X(STORE_READ_UNVERIFIED, "a record is served without a look at its checksum") \
	X(STORE_SCRUB_NO_SUM, "the scrub looks at headers only") \
	X(STORE_SCRUB_STOPS, "the scrub takes what it cannot read for the end of a segment") \
	X(STORE_SCRUB_SHRUGS, "the scrub tells of damage where live entries stand, and goes on")

enum
{
	MUTANT_NONE = 0,
#define ND_MUTANT_ENUM(name, rule) MUTANT_##name,
	ND_MUTANT_LIST(ND_MUTANT_ENUM)
#undef ND_MUTANT_ENUM
	MUTANT_COUNT
};

#ifdef ND_MUTANTS
#define MUTANT(name) (nd_mutant == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

extern int	nd_mutant;		/* the one that is alive; MUTANT_NONE at start */

const char *nd_mutant_name(int mutant);		/* NULL out of range */
const char *nd_mutant_rule(int mutant);		/* NULL out of range */
int			nd_mutant_by_name(const char *name);	/* MUTANT_NONE when there is none */

#endif
