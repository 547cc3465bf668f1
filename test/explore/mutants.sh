#!/bin/bash
# mutants.sh: planted bugs of the Raft core (src/core/base/mutant.h) that the exploration must find.
#
#   mutants.sh [--quick] [--write] [NAME...]
#
# Each is given the bound in which it shows; --quick: those that fall within a second. --write puts the table into README.md, between its two marks.
# Last line: "N passed, M failed"; exit 1 when one survives.
set -u
cd "$(dirname "$0")/../.."
EXPLORE=${EXPLORE:-build/exp/explore}
CASES="
RAFT_ACK_BEFORE_DURABLE vote quick
RAFT_NO_NOOP vote quick
RAFT_COUNT_OWN_UNDURABLE vote quick
RAFT_COUNT_LEARNERS learner quick
RAFT_VOTE_TWICE prevote quick
RAFT_VOTE_BEFORE_DURABLE vote quick
RAFT_VOTE_OLD_LOG vote_crash quick
RAFT_OWN_VOTE_UNDURABLE lone quick
RAFT_NO_LOG_MATCHING terms4
RAFT_EARLY_CONFIG joint quick
RAFT_TWO_CONFIGS changes2 quick
RAFT_JOINT_LEFT_EARLY joint2 quick
RAFT_JOINT_ONE_MAJORITY swap quick
RAFT_NO_JOINT swap_crash quick
RAFT_STALE_PERSISTED vote_crash quick
RAFT_READ_BEFORE_COMMIT reads
"
quick=
write=
names=
while [ $# -gt 0 ]; do
	case $1 in
		quick | --quick) quick=1 ;;
		--write) write=1 ;;
		*) names="$names $1" ;;
	esac
	shift
done

table=$(mktemp)
trap 'rm -f "$table"' EXIT
passed=0
failed=0
while read -r name bound speed; do
	[ -n "$name" ] || continue
	[ -z "$quick" ] || [ "$speed" = quick ] || continue
	[ -z "$names" ] || [[ " $names " == *" $name "* ]] || continue
	caught=
	for seed in 1 2 3; do
		caught=$("$EXPLORE" --mutant "$name" --seed $seed --seconds 60 "$bound" | sed -n 's/^caught by //p')
		[ -z "$caught" ] || break
	done
	if [ -n "$caught" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		caught="$bound | - | - | **survives**"
	fi
	echo "$name | $caught" | tee -a "$table"
done <<< "$CASES"

if [ -n "$write" ]; then
	awk -v table="$table" '
		/<!-- mutants end -->/ { skip = 0 }
		!skip { print }
		/<!-- mutants begin -->/ {
			skip = 1
			print "| mutant | bound | states until then | events, shortened | what broke |"
			print "|---|---|---|---|---|"
			while ((getline line < table) > 0)
				print "| " line " |"
		}' test/explore/README.md > test/explore/README.md.new && mv test/explore/README.md.new test/explore/README.md
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
