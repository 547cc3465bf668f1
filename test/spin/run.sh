#!/bin/bash
# run.sh: verify the model of the hand-over exhaustively, and show that each planted bug of it is found. Ends with `N passed, M failed`.
#
#   run.sh [--bugs]     --bugs: only the planted bugs
set -u
cd "$(dirname "$0")/../.."
command -v spin >/dev/null || test/deps spin || exit 2
BUILD=build/spin
MODEL=$PWD/test/spin/handover.pml
# what is finished, and the size of each
SIZES=("-DNB=1 -DF=0" "-DNB=1 -DF=1" "-DNB=1 -DF=1 -DWANTS=3" "-DNB=1 -DF=1 -DCRASH" "-DNB=2 -DF=1 -DWANTS=6 -DIN_ORDER")
# the size in which each planted bug shows
BUGS=(
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
)
passed=0
failed=0

# verify NAME LIMIT OPTIONS...: prints "states errors"
verify() {
	local dir=$BUILD/$1 limit=$2
	shift 2
	mkdir -p "$dir"
	(cd "$dir" && spin "$@" -a "$MODEL" >spin.log 2>&1 && gcc -O2 -DVECTORSZ=1024 -DNOFAIR -DSAFETY -DCOLLAPSE -DMEMLIM=8000 -o pan pan.c &&
		timeout "$limit" ./pan -m200000 -w24 -E >pan.log 2>&1
		awk '/errors:/ { e = $NF } /states, stored/ { s = $1 } END { print s + 0, e == "" ? "?" : e }' pan.log)
}

if [ "${1:-}" != --bugs ]; then
	for size in "${SIZES[@]}"; do
		read -r states errors <<< "$(verify "size" 900 $size)"
		if [ "$errors" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
		echo "$size: $states states, $errors errors"
	done
fi
for line in "${BUGS[@]}"; do
	read -r bug size <<< "$line"
	read -r states errors <<< "$(verify "$bug" 300 -D$bug $size)"
	if [ "$errors" = 1 ]; then
		passed=$((passed + 1))
		echo "$bug ($size): found after $states states: $(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$BUILD/$bug/pan.log")"
	else
		failed=$((failed + 1))
		echo "$bug ($size): NOT FOUND ($states states, $errors)"
	fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
