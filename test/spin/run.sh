#!/bin/bash
# run.sh: verify the models exhaustively, and show that each planted bug of them is found. Ends with `N passed, M failed`.
#
#   run.sh [--bugs] [handover|sequencer]     --bugs: only the planted bugs; a name: only this model
set -u
cd "$(dirname "$0")/../.."
command -v spin >/dev/null || test/deps spin || exit 2
BUILD=build/spin
# what is finished, and the size of each
handover_sizes=("-DNB=1 -DF=0" "-DNB=1 -DF=1" "-DNB=1 -DF=1 -DWANTS=3" "-DNB=1 -DF=1 -DCRASH" "-DNB=2 -DF=1 -DWANTS=6 -DIN_ORDER"
	"-DNB=1 -DF=0 -DNR=2 -DRING=2" "-DNB=1 -DF=0 -DNG=2" "-DNB=1 -DF=1 -DNG=2 -DWANTS=0 -DIN_ORDER"
	"-DNB=1 -DF=0 -DBULK -DWANTS=3" "-DNB=1 -DF=1 -DBULK -DWANTS=2 -DIN_ORDER" "-DNB=1 -DF=0 -DNR=2 -DBULK -DWANTS=6 -DIN_ORDER" "-DNB=1 -DF=0 -DBULK -DNG=2 -DWANTS=2 -DIN_ORDER")
sequencer_sizes=("-DF=0" "-DF=1 -DNOS -DATONCE" "-DF=2 -DONE" "-DF=3 -DONE -DNOS" "-DF=0 -DNOS -DK10=1" "-DNG=3 -DF=0 -DNOS -DATONCE" "-DNG=3 -DF=1 -DNOS -DONE"
	"-DF=1 -DCANCEL -DK10=1 -DONE" "-DF=1 -DLATE" "-DF=1 -DDEAD -DNOS -DATONCE")
# the size in which each planted bug shows
handover_bugs=(
	"BUG_ANSWER_OVERWRITES -DNB=1 -DNT=2 -DF=2 -DWANTS=0"
	"BUG_NO_HANDOVER -DNB=1 -DF=1 -DWANTS=0"
	"BUG_HANDOVER_NO_WAKE -DNB=1 -DF=1 -DWANTS=0"
	"BUG_ABANDONED_KEEPS_TICKET -DNB=1 -DF=1 -DWANTS=0"
	"BUG_NO_WAKE -DNB=1 -DF=0 -DWANTS=0"
	"BUG_NO_YIELD -DNB=1 -DF=1 -DWANTS=0"
	"BUG_WATERMARK_EARLY -DNB=1 -DF=1 -DWANTS=0"
	"BUG_LATE_OWNER -DNB=1 -DF=1 -DWANTS=0"
	"BUG_WAKE_FIRST_OWNER -DNB=1 -DF=1 -DWANTS=0"
	"BUG_NO_GUARD -DNB=1 -DF=0 -DWANTS=3"
	"BUG_ORPHAN_WAITS -DNB=2 -DF=1 -DWANTS=6 -DIN_ORDER"
	"BUG_BASE_EARLY -DNB=1 -DF=0 -DWANTS=3"
	"BUG_ADVANCE_UNLOCKED -DNB=1 -DF=0 -DNG=2"
	"BUG_BULK_UNTOLD -DNB=1 -DF=0 -DBULK -DWANTS=3"
	"BUG_BULK_NO_WAKE -DNB=1 -DF=1 -DBULK -DWANTS=2 -DIN_ORDER"
	"BUG_BULK_IMPATIENT -DNB=1 -DF=0 -DBULK -DWANTS=0"
	"BUG_BULK_UNGUARDED -DNB=1 -DF=0 -DBULK -DWANTS=3"
)
sequencer_bugs=(
	"BUG_KNOWN_OUTCOME -DF=0"
	"BUG_NO_RESERVE -DF=0 -DONE"
	"BUG_MARKER_TWICE -DF=1 -DNOS"
	"BUG_MARKER_GAP -DF=1 -DNOS"
	"BUG_OUTCOME_UNORDERED -DF=0 -DNOS -DK10=1 -DK11=1"
	"BUG_OUTCOME_TWICE -DF=1 -DNOS"
	"BUG_LATE_COPY -DF=1 -DLATE"
	"BUG_CANCEL_FREES -DF=0 -DCANCEL -DONE"
	"BUG_APPLY_ALONE -DF=0 -DNOS"
	"BUG_CHECKPOINT_FORGETS -DF=1 -DNOS"
	"BUG_LEADER_SKIPS -DF=1 -DNOS"
	"BUG_COMMIT_EARLY -DF=0"
	"BUG_FORGET_EARLY -DF=1 -DNOS"
	"BUG_REQUEST_TWICE -DF=1 -DNOS"
	"BUG_REQUEST_LOST -DF=1 -DNOS"
	"BUG_EPOCH_STALE -DF=1 -DNOS"
	"BUG_ABORT_LATE -DF=1 -DNOS"
	"BUG_VOTE_ONCE -DF=1 -DNOS"
	"BUG_VOTE_BEFORE_MARKER -DF=0 -DONE"
)
bugs_only=
models="handover sequencer"
for argument; do
	if [ "$argument" = --bugs ]; then bugs_only=1; else models=$argument; fi
done
passed=0
failed=0

# verify MODEL NAME LIMIT OPTIONS...: prints "states errors"
verify() {
	local model=$PWD/test/spin/$1.pml dir=$BUILD/$1/$2 limit=$3
	shift 3
	mkdir -p "$dir"
	(cd "$dir" && spin "$@" -a "$model" >spin.log 2>&1 && gcc -w -O2 -DVECTORSZ=1024 -DNOFAIR -DSAFETY -DCOLLAPSE -DMEMLIM=8000 -o pan pan.c &&
		timeout "$limit" ./pan -m200000 -w24 -E >pan.log 2>&1
		awk '/errors:/ { e = $NF } /states, stored/ { s = $1 } END { print s + 0, e == "" ? "?" : e }' pan.log)
}

for model in $models; do
	declare -n sizes=${model}_sizes bugs=${model}_bugs
	[ -n "$bugs_only" ] || for size in "${sizes[@]}"; do
		read -r states errors <<< "$(verify $model size 900 $size)"
		if [ "$errors" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
		echo "$model $size: $states states, $errors errors"
	done
	for line in "${bugs[@]}"; do
		read -r bug size <<< "$line"
		read -r states errors <<< "$(verify $model "$bug" 300 -D$bug $size)"
		if [ "$errors" = 1 ]; then
			passed=$((passed + 1))
			echo "$model $bug ($size): found after $states states: $(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$BUILD/$model/$bug/pan.log")"
		else
			failed=$((failed + 1))
			echo "$model $bug ($size): NOT FOUND ($states states, $errors)"
		fi
	done
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
