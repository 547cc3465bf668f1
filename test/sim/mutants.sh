#!/bin/bash
# mutants.sh: the mutation gate: each planted bug (src/core/base/mutant.h) must be caught by a checker of the simulator, or by a named test.
#
#   mutants.sh [quick] [--seeds A..B] [--write] [NAME...]
#
# quick     only the mutants of QUICK, which fall within a few seeds; what `make test` runs
# --write   put the table into test/sim/README.md, between its two marks; without names or quick only
#
# As many at a time as there are cores. A crash or a run without end counts as caught: the bug was seen. Mutants that the simulator cannot meet, or too
# seldom, are ELSEWHERE: NAME=program [arguments] below build/mut/test, which must fail with the bug and pass without.
# Last line: "N passed, M failed"; exit 1 when a mutant survives.
set -u
cd "$(dirname "$0")/../.."
SIM=${SIM:-build/mut/sim}
TESTS=build/mut/test
SEEDS=${SEEDS:-1..600}
SECONDS_EACH=${SECONDS_EACH:-240}
QUICK="NODE_SEND_BEFORE_FLUSH NODE_SKIP_REPLAYED_VERDICT NODE_NEW_ID NODE_LOSE_BUSY NODE_READ_WITHOUT_ROUND RAFT_ACK_UNMATCHED RAFT_ACK_BEFORE_DURABLE RAFT_COUNT_OLD_TERMS RAFT_NO_NOOP RAFT_VOTE_BEFORE_DURABLE RAFT_VOTE_OLD_LOG RAFT_EARLY_CONFIG RAFT_TWO_CONFIGS RAFT_JOINT_LEFT_EARLY RAFT_READ_WITHOUT_ROUND CERTIFIER_BASE_OFF_BY_ONE CERTIFIER_RESERVATION_IGNORED CERTIFIER_DUPLICATE_MISSED CERTIFIER_READS_IGNORED CERTIFIER_QUEUE_HOLDS_OWNER NODE_PARTS_ALONE SEQ_COMMIT_EARLY STORE_DROP_HARD_STATE STORE_RETRY_SYNC"
declare -A ELSEWHERE=(
	[NODE_SNAPSHOT_LOG_FIRST]="unit/test_node_snapshot"
	[NODE_SNAPSHOT_CHECKSUM]="unit/test_node_snapshot"
	[NODE_SNAPSHOT_OFFSET]="unit/test_node_snapshot"
	[NODE_SNAPSHOT_ROWS_BEHIND]="unit/test_node_snapshot"
	[NODE_SNAPSHOT_OLD_MEMBERS]="unit/test_node_snapshot"
	[NODE_SNAPSHOT_LOG_CUT]="unit/test_node_snapshot"
	[NODE_SNAPSHOT_DELIVERS]="unit/test_node_snapshot"
	[NODE_TRUNCATE_CHUNKS]="unit/test_node_snapshot"
	[NODE_FLUSH_EACH]="unit/test_node_groups"
	[NODE_REMOVE_UNHEARD]="unit/test_node_member"
	[NODE_REUSE_ID]="unit/test_node_member"
	[NODE_PARTS_UNMADE]="unit/test_node_grow"
	[NODE_VOTE_ONCE]="unit/test_node_several"
	[NODE_SAY_FLOOD]="unit/test_node_several"
	[NODE_SILENT_FOREVER]="unit/test_node_several"
	[RAFT_COMMIT_UNMATCHED]="unit/test_raft_traps"
	[RAFT_STALE_PERSISTED]="unit/test_raft_traps"
	[RAFT_READ_TRUST_ASKER]="trace/trace test/trace/frugal_reads_five.txt"
	[RAFT_READ_ANY_ANSWER]="trace/trace test/trace/read_former_life.txt"
	[RAFT_NO_PRIORITY]="trace/trace test/trace/priority.txt"
	[RAFT_CAMPAIGN_INSTALLING]="unit/test_node_snapshot"
	[RAFT_CAMPAIGN_UNDURABLE]="trace/trace test/trace/campaign_undurable.txt"
	[RAFT_TRANSFER_SECOND_VOTE]="unit/test_raft"
	[RAFT_PREVOTE_DISTURBS]="unit/test_raft"
	[RAFT_NO_CHECK_QUORUM]="unit/test_raft"
	[RAFT_OLD_TERM_REPLY]="trace/trace test/trace/old_term_reply.txt"
	[RAFT_SNAPSHOT_KEEPS_CONFIG]="unit/test_node_snapshot"
	[CERTIFIER_FENCE_IGNORED]="unit/test_certifier"
	[CERTIFIER_OLD_BASE]="unit/test_certifier"
	[CERTIFIER_READ_OLD]="unit/test_certifier"
	[CERTIFIER_LOST_TO_RESERVED]="unit/test_certifier"
	[CERTIFIER_ORDER_WRITERS_FIRST]="unit/test_certifier_order"
	[CERTIFIER_ORDER_MOVES_OTHERS]="unit/test_certifier_order"
	[CERTIFIER_MARKER_GAP]="unit/test_seq_world"
	[CERTIFIER_OUTCOME_ANY_ORDER]="unit/test_seq_world"
	[CERTIFIER_QUEUE_GAIN_UNSEEN]="unit/test_certifier_queue"
	[SEQ_ANY_EPOCH]="unit/test_seq_world"
	[SEQ_TIME_BACK]="unit/test_seq_world"
	[STORE_FORGET_SUFFIX]="unit/test_store"
	[STORE_STALE_RECORDS]="unit/test_store_faults"
	[STORE_FREE_EARLY]="unit/test_store_random"
	[STORE_SUCCESSOR_UNDURABLE]="unit/test_store_random"
	[STORE_NO_SETTLE]="unit/test_store_faults"
	[STORE_ANY_NODE]="unit/test_store_faults"
	[STORE_SCRUB_STOPS]="unit/test_store_scrub"
	[STORE_SCRUB_SHRUGS]="unit/test_store_scrub"
)

# ---- one mutant: called by this script itself ----

if [ "${1:-}" = --one ]; then
	name=$2
	if [ -n "${ELSEWHERE[$name]:-}" ]; then
		read -r -a command <<< "$TESTS/${ELSEWHERE[$name]}"
		if ! timeout "$SECONDS_EACH" "${command[@]}" > /dev/null 2>&1; then
			echo "$name | - | fails without the bug: ${ELSEWHERE[$name]}"
		elif MUTANT=$name timeout "$SECONDS_EACH" "${command[@]}" > /dev/null 2>&1; then
			echo "$name | - | **survives** ${ELSEWHERE[$name]}"
		else
			echo "$name | test | ${ELSEWHERE[$name]##*/}"
		fi
		exit
	fi
	output=$(timeout "$SECONDS_EACH" "$SIM" --mutant "$name" --seeds "$SEEDS" 2>&1)
	code=$?
	caught=$(printf '%s\n' "$output" | sed -n 's/^caught by \(.*\) after \([0-9]*\) seeds$/\2 | \1/p')
	if [ -n "$caught" ]; then
		echo "$name | $caught"
	elif [ $code -gt 1 ] && [ $code -ne 124 ]; then
		echo "$name | ? | crash"
	else
		echo "$name | - | **survives** seeds $SEEDS"
	fi
	exit
fi

# ---- all ----

write=
names=
while [ $# -gt 0 ]; do
	case $1 in
		quick | --quick) names="$QUICK" ;;
		--seeds) SEEDS=$2; shift ;;
		--write) write=1 ;;
		*) names="$names $1" ;;
	esac
	shift
done
export SEEDS SECONDS_EACH SIM
all=$($SIM --list-mutants) || exit 2
names=${names:-$all}
table=$(mktemp)
trap 'rm -f "$table"' EXIT
printf '%s\n' $names | xargs -P "$(nproc)" -n 1 test/sim/mutants.sh --one | tee "$table"

if [ -n "$write" ]; then
	ordered=$(for name in $all; do grep "^$name |" "$table"; done)
	awk -v table="$ordered" '
		/<!-- mutants end -->/ { skip = 0 }
		!skip { print }
		/<!-- mutants begin -->/ {
			skip = 1
			print "| mutant | seeds to catch | checker or test |"
			print "|---|---|---|"
			n = split(table, lines, "\n")
			for (i = 1; i <= n; i++)
				print "| " lines[i] " |"
		}' test/sim/README.md > test/sim/README.md.new && mv test/sim/README.md.new test/sim/README.md
fi
expected=$(printf '%s\n' $names | wc -l)
failed=$((expected - $(grep -vc -e '| - |' "$table")))
echo "$((expected - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
