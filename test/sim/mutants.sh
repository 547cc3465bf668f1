#!/bin/bash
# mutants.sh: the mutation gate: each planted bug (src/core/base/mutant.h) must be caught by a checker of the simulator.
#
#   mutants.sh [quick] [--seeds A..B] [--write] [NAME...]
#
# quick     only the mutants of QUICK, which fall within a few seeds; what `make test` runs
# --write   put the table into test/sim/README.md, between its two marks
#
# A crash or a run without end counts as caught: the bug was seen. Last line: "N passed, M failed"; exit 1 when a mutant survives.
# Mutants named in BEYOND cannot be reached through the driver and this simulator's faults; test/sim/README.md says why. One that is caught all
# the same counts as caught.
set -u
cd "$(dirname "$0")/../.."
SIM=${SIM:-build/mut/sim}
SEEDS=1..600
QUICK="NODE_SEND_BEFORE_FLUSH NODE_SKIP_REPLAYED_VERDICT NODE_NEW_ID NODE_LOSE_BUSY NODE_READ_WITHOUT_ROUND RAFT_ACK_UNMATCHED RAFT_ACK_BEFORE_DURABLE RAFT_COUNT_OLD_TERMS RAFT_NO_NOOP RAFT_VOTE_TWICE RAFT_VOTE_BEFORE_DURABLE RAFT_VOTE_OLD_LOG RAFT_EARLY_CONFIG RAFT_TWO_CONFIGS RAFT_READ_WITHOUT_ROUND CERTIFIER_BASE_OFF_BY_ONE CERTIFIER_RESERVATION_IGNORED CERTIFIER_DUPLICATE_MISSED STORE_DROP_HARD_STATE STORE_RETRY_SYNC"
BEYOND="RAFT_NO_JOINT RAFT_JOINT_ONE_MAJORITY RAFT_COMMIT_UNMATCHED RAFT_STALE_PERSISTED STORE_CUT_DAMAGE STORE_FORGET_SUFFIX"
SECONDS_EACH=120
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
[ -n "$names" ] || names=$($SIM --list-mutants) || exit 2

table=$(mktemp)
trap 'rm -f "$table"' EXIT
passed=0
failed=0
beyond=0
for name in $names; do
	seeds=$SEEDS
	[[ " $BEYOND " == *" $name "* ]] && seeds=1..100
	output=$(timeout "$SECONDS_EACH" "$SIM" --mutant "$name" --seeds "$seeds" 2>&1)
	code=$?
	caught=$(printf '%s\n' "$output" | sed -n 's/^caught by \(.*\) after \([0-9]*\) seeds$/\2 | \1/p')
	if [ -n "$caught" ]; then
		:
	elif [ $code -eq 124 ]; then
		caught="? | no end within $SECONDS_EACH s"
	elif [ $code -gt 1 ]; then
		caught="? | crash"
	fi
	if [ -n "$caught" ]; then
		passed=$((passed + 1))
	elif [[ " $BEYOND " == *" $name "* ]]; then
		beyond=$((beyond + 1))
		caught="- | beyond the simulator, see below"
	else
		failed=$((failed + 1))
		caught="- | **survives** seeds $SEEDS"
	fi
	echo "$name | $caught" | tee -a "$table"
done

if [ -n "$write" ]; then
	awk -v table="$table" '
		/<!-- mutants end -->/ { skip = 0 }
		!skip { print }
		/<!-- mutants begin -->/ {
			skip = 1
			print "| mutant | seeds to catch | checker |"
			print "|---|---|---|"
			while ((getline line < table) > 0)
				print "| " line " |"
		}' test/sim/README.md > test/sim/README.md.new && mv test/sim/README.md.new test/sim/README.md
fi
[ $beyond -eq 0 ] || echo "$beyond beyond the simulator"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
