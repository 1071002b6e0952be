#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# demo.sh -- ./demo as a newcomer uses it: run twice, asked, stopped; and what it says when something is wrong.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/xdemo-XXXXXX")
export XAPID_DEMO_DIR="$work/demo" XAPID_DEMO_PORT=0 XAPID_DEMO_PASSWORD="a demo's \"password\""
stop_all() {
    for d in demo other; do XAPID_DEMO_DIR="$work/$d" ./demo stop >/dev/null 2>&1 || :; done
    rm -rf "$work"
}
trap stop_all EXIT
trap "exit 1" TERM INT HUP

ok() { echo "ok - $1"; }
bad() {
    echo "not ok - $1"
    sed 's/^/#   /' "$work/out" | tail -n 25
    exit 1
}

./demo >"$work/out" 2>&1 || bad "the demo runs"
ok "the demo runs"
grep -q 'power-state.*: running' "$work/out" || bad "it shows a machine that runs"
ok "it shows a machine that runs"
grep -q '^\$ xe snapshot-revert' "$work/out" || bad "it shows the commands it runs"
ok "it shows the commands it runs"
tail -n 8 "$work/out" | grep -q 'https://127.0.0.1:' || bad "it closes with how to reach it"
ok "it closes with how to reach it"
./demo status >"$work/out" 2>&1 || bad "it says that it runs"
grep -q '^xapid runs' "$work/out" || bad "it says that it runs"
ok "it says that it runs"
command=$(sed -n 's/^  xe  *//p' "$work/out")
sh -c "$command" >"$work/out2" 2>&1 || bad "the xe command it names works"
ok "the xe command it names works"
./demo >"$work/out" 2>&1 || bad "it runs a second time"
grep -q 'runs already' "$work/out" || bad "the second run takes the daemon of the first"
ok "it runs a second time, with the same daemon"
./demo stop >"$work/out" 2>&1 || bad "it stops"
[ "$(grep -c 'has ended' "$work/out")" = 2 ] || bad "it stops the daemon and the simulator"
ok "it stops the daemon and the simulator"
./demo status >"$work/out" 2>&1 && bad "it says that nothing runs"
ok "it says that nothing runs"
./demo stop >"$work/out" 2>&1 || bad "stopping twice is no error"
ok "stopping twice is no error"
./demo >"$work/out" 2>&1 || bad "it starts again with the state of before"
ok "it starts again with the state of before"
port=$(sed -n 's|.*https://127.0.0.1:\([0-9]*\)/.*|\1|p' "$work/out" | tail -n 1)
if XAPID_DEMO_DIR="$work/other" XAPID_DEMO_PORT="$port" ./demo >"$work/out2" 2>&1; then
    XAPID_DEMO_DIR="$work/other" ./demo stop >/dev/null 2>&1
    bad "a port that is taken is an error"
fi
mv "$work/out2" "$work/out"
tail -n 3 "$work/out" | grep -q "did not start" || bad "a port that is taken is an error that says so"
ok "a port that is taken is an error that says so"
XAPID_DEMO_DIR="$work/other" ./demo stop >/dev/null 2>&1
./demo stop >"$work/out" 2>&1
ok "all is cleared away"
