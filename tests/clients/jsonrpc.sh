# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh disable=SC2034 # variables are for the scripts that source this
# jsonrpc.sh -- what the shell clients share: JSON-RPC with curl, read with python3.  To be sourced.
#
# Address and password: XAPID_HOST (127.0.0.1), XAPID_PORT (443), XAPID_USER (root), XAPID_PASSWORD.

: "${XAPID_HOST:=127.0.0.1}" "${XAPID_PORT:=443}" "${XAPID_USER:=root}" "${XAPID_PASSWORD:=}"
template='Other install media'
url="https://$XAPID_HOST:$XAPID_PORT/jsonrpc"
version=2.0 # of JSON-RPC, as 'rpc' speaks it

ok() {
    printf 'ok - %s\n' "$1"
}

die() {
    printf 'not ok - %s\n' "$1"
    shift
    for line; do
        printf '#   %s\n' "$line"
    done
    exit 1
}

# expect TEXT WANTED SEEN
expect() {
    [ "$2" = "$3" ] || die "$1" "wanted: $2" "seen: $3"
    ok "$1"
}

# A word as a JSON string.
quote() {
    python3 -c 'import json, sys; print(json.dumps(sys.argv[1]), end="")' "$1"
}

# post BODY: the answer's body
post() {
    curl --silent --show-error --insecure --max-time 300 \
        -H 'Content-Type: application/json' --data-binary @- "$url" <<POST_BODY
$1
POST_BODY
}

# http_status BODY
http_status() {
    curl --silent --insecure --max-time 60 -o /dev/null -w '%{http_code}' \
        -H 'Content-Type: application/json' --data-binary "$1" "$url"
}

# request METHOD PARAMS ID: the body of a request in the current version
request() {
    if [ "$version" = 2.0 ]; then
        printf '{"jsonrpc":"2.0","method":"%s","params":%s,"id":%s}' "$1" "$2" "$3"
    else
        printf '{"method":"%s","params":%s,"id":%s}' "$1" "$2" "$3"
    fi
}

# get EXPRESSION [WORD...]: prints what a Python expression makes of the JSON 'a' read from standard input and the
# words 'w'
get() {
    python3 -c '
import json, sys
a, w = json.load(sys.stdin), sys.argv[2:]
v = eval(sys.argv[1])
print(v if isinstance(v, str) else json.dumps(v))' "$@"
}

# rpc METHOD PARAMS: the result; strings without quotes.  Ends the script on an error.
rpc() {
    rpc_answer=$(post "$(request "$1" "$2" 1)") || die "$1: no answer"
    if ! printf '%s' "$rpc_answer" | get 'a["result"]' 2>/dev/null ||
        [ "$(printf '%s' "$rpc_answer" | get 'a.get("error") is None')" != true ]; then
        die "$1" "$rpc_answer" >&2
    fi
}

# error METHOD PARAMS: the error as [code, params...]
error() {
    post "$(request "$1" "$2" 1)" |
        get '[a["error"]["message"]] + a["error"]["data"] if isinstance(a["error"], dict) else a["error"]'
}

# call METHOD [PARAM...]: rpc with the session before the parameters, which are JSON
call() {
    call_method=$1
    shift
    call_params=$(quote "$session")
    for call_param; do
        call_params="$call_params,$call_param"
    done
    rpc "$call_method" "[$call_params]"
}

# login ORIGINATOR: sets 'session'
login() {
    session=$(rpc session.login_with_password \
        "[$(quote "$XAPID_USER"),$(quote "$XAPID_PASSWORD"),\"2.23\",$(quote "$1")]") || exit 1
}

# make_vm NAME: sets 'vm', a provisioned clone of the template
make_vm() {
    make_vm_from=$(call VM.get_by_name_label "$(quote "$template")" | get 'a[0]') || die "no template '$template'"
    vm=$(call VM.clone "$(quote "$make_vm_from")" "$(quote "$1")") || exit 1
    call VM.provision "$(quote "$vm")" >/dev/null || exit 1
}

# power_state TEXT WANTED
power_state() {
    expect "$1" "$2" "$(call VM.get_power_state "$(quote "$vm")")"
}

# destroy VM: with its disks
destroy() {
    destroy_disks=
    for vbd in $(call VM.get_VBDs "$(quote "$1")" | get '" ".join(a)'); do
        [ "$(call VBD.get_type "$(quote "$vbd")")" = Disk ] || continue
        destroy_disks="$destroy_disks $(call VBD.get_VDI "$(quote "$vbd")")"
    done
    call VM.destroy "$(quote "$1")" >/dev/null || exit 1
    for vdi in $destroy_disks; do
        call VDI.destroy "$(quote "$vdi")" >/dev/null || exit 1
    done
}
