#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# fence.sh -- Debian's fence agent (package fence-agents, its own XML-RPC client) switches a machine of a running xapid
# off and on.  Address and password as in jsonrpc.sh.  XAPID_FENCE_URL overrides the address the agent uses.
# Prints "ok - ..." and stops at the first failure; 77 where the agent is not installed.
set -eu

. "$(dirname "$0")/jsonrpc.sh"

agent=$(PATH=$PATH:/usr/sbin command -v fence_xenapi) || {
    echo "ok - # SKIP fence_xenapi is not installed"
    exit 77
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The agent verifies certificates: it is told to trust the one the server shows.
openssl s_client -connect "$XAPID_HOST:$XAPID_PORT" -showcerts </dev/null 2>/dev/null |
    sed -n '/-BEGIN CERTIFICATE-/,/-END CERTIFICATE-/p' >"$work/server.pem"
[ -s "$work/server.pem" ] || die "the server shows its certificate"

# fence ACTION [OPTION...]: the agent's exit status in 'status', what it prints in 'output'
fence() {
    fence_action=$1
    shift
    status=0
    output=$(SSL_CERT_FILE=$work/server.pem "$agent" -s "${XAPID_FENCE_URL:-https://$XAPID_HOST:$XAPID_PORT}" \
        -l "$XAPID_USER" -p "$XAPID_PASSWORD" --power-timeout=60 -o "$fence_action" "$@" 2>&1) || status=$?
}

# fence_expect TEXT STATUS WORDS
fence_expect() {
    [ "$status" = "$2" ] || die "$1" "exit status $status, wanted $2" "$output"
    case $output in
    *"$3"*) ok "$1" ;;
    *) die "$1" "wanted: $3" "seen: $output" ;;
    esac
}

login fence.sh
name="fence-$$-$(date +%s)"
make_vm "$name"
uuid=$(call VM.get_uuid "$(quote "$vm")")

fence list
fence_expect "list names the machine" 0 "$uuid,$name"
fence status -n "$name"
fence_expect "status of a halted machine is off" 2 "Status: OFF"
fence on -n "$name"
fence_expect "on starts it" 0 "Success: Powered ON"
power_state "and it runs" Running
fence status -n "$name"
fence_expect "status is on" 0 "Status: ON"
fence on -n "$name"
fence_expect "on again changes nothing" 0 "Success: Already ON"
fence reboot -n "$name"
fence_expect "reboot takes it off and on" 0 "Success: Rebooted"
power_state "and it runs again" Running
fence off -n "$name"
fence_expect "off takes it down" 0 "Success: Powered OFF"
power_state "and it is halted" Halted
fence off -n "$name"
fence_expect "off again changes nothing" 0 "Success: Already OFF"
fence status -n "no-such-machine-$$"
case $status in
0 | 2) die "a machine that does not exist has no status" "$status" "$output" ;;
*) ok "a machine that does not exist has no status" ;;
esac
destroy "$vm"
call session.logout >/dev/null
ok "all is cleared away"
