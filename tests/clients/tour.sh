#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tour.sh -- what a JSON-RPC client meets: curl against a running xapid, in both versions of the protocol.
# Address and password as in jsonrpc.sh.  Prints "ok - ..." and stops at the first failure.
set -eu

. "$(dirname "$0")/jsonrpc.sh"

# What each version's envelope looks like.
envelopes() {
    answer=$(post "$(request session.login_with_password \
        "[$(quote "$XAPID_USER"),$(quote "$XAPID_PASSWORD"),\"2.23\",\"tour.sh\"]" '"text id"')")
    session=$(printf '%s' "$answer" | get 'a["result"]')
    if [ "$version" = 2.0 ]; then
        expect "2.0: an answer says its version and has no error" '["id", "jsonrpc", "result"]' \
            "$(printf '%s' "$answer" | get 'sorted(a)')"
    else
        expect "1.0: an answer has all three members" '["error", "id", "result"]' \
            "$(printf '%s' "$answer" | get 'sorted(a)')"
        expect "1.0: without an error it is null" null "$(printf '%s' "$answer" | get 'a["error"]')"
    fi
    expect "$version: an id that is a string comes back" "text id" "$(printf '%s' "$answer" | get 'a["id"]')"
    answer=$(post "$(request pool.get_all "[$(quote "$session")]" 12345678901)")
    expect "$version: an id that is a number too" 12345678901 "$(printf '%s' "$answer" | get 'a["id"]')"
    answer=$(post "$(request VM.get_record "[$(quote "$session"),\"OpaqueRef:00000000-0000-4000-8000-00000000dead\"]" 3)")
    if [ "$version" = 2.0 ]; then
        expect "2.0: an error is code 1, its name and its parameters" \
            '{"code": 1, "message": "HANDLE_INVALID", "data": ["VM", "OpaqueRef:00000000-0000-4000-8000-00000000dead"]}' \
            "$(printf '%s' "$answer" | get '{k: a["error"][k] for k in ("code", "message", "data")}')"
        expect "2.0: and there is no result" false "$(printf '%s' "$answer" | get '"result" in a')"
    else
        expect "1.0: an error is an array" \
            '["HANDLE_INVALID", "VM", "OpaqueRef:00000000-0000-4000-8000-00000000dead"]' \
            "$(printf '%s' "$answer" | get 'a["error"]')"
        expect "1.0: and the result is null" null "$(printf '%s' "$answer" | get 'a["result"]')"
    fi
    expect "$version: a request without an id is HTTP 500" 500 \
        "$(http_status "$(request pool.get_all "[$(quote "$session")]" null)")"
    expect "$version: an unknown message" '["MESSAGE_METHOD_UNKNOWN", "VM.levitate"]' \
        "$(error VM.levitate "[$(quote "$session")]")"
    expect "$version: too few parameters" '["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "0"]' \
        "$(error VM.start "[$(quote "$session")]")"
}

values() {
    host=$(call host.get_all | get 'a[0]')
    time=$(call host.get_servertime "$(quote "$host")")
    printf '%s' "$time" | grep -Eqx '[0-9]{8}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z' || die "$version: a date is text" "$time"
    ok "$version: a date is text like 20260101T00:00:00Z"
    answer=$(post "$(request VM.get_record "[$(quote "$session"),$(quote "$vm")]" 1)")
    expect "$version: an int is a number" true \
        "$(printf '%s' "$answer" | get 'type(a["result"]["memory_static_max"]) is int')"
    expect "$version: a boolean is one" true "$(printf '%s' "$answer" | get 'a["result"]["is_a_template"] is False')"
    expect "$version: an enum is its name" Halted "$(printf '%s' "$answer" | get 'a["result"]["power_state"]')"
    answer=$(post "$(request VM.set_name_description "[$(quote "$session"),$(quote "$vm"),\"\\u00e4 \\ud83d\\udc27\"]" 1)")
    expect "$version: nothing is an empty string" '' "$(printf '%s' "$answer" | get 'a["result"]')"
    expect "$version: escaped characters are understood" true \
        "$(call VM.get_name_description "$(quote "$vm")" | python3 -c \
            'import sys; print("true" if sys.stdin.buffer.read().decode().strip() == "\u00e4 \U0001f427" else "false")')"
    task=$(call Async.VM.clone "$(quote "$vm")" '"a clone"')
    token=
    while :; do
        answer=$(call event.from "[$(quote "task/$task")]" "$(quote "$token")" 10)
        status=$(printf '%s' "$answer" | get '([e["snapshot"]["status"] for e in a["events"]] or ["pending"])[-1]')
        [ "$status" = pending ] || break
        token=$(printf '%s' "$answer" | get 'a["token"]')
    done
    expect "$version: a task ends in success" success "$status"
    result=$(call task.get_result "$(quote "$task")")
    case $result in
    "<value>OpaqueRef:"*"</value>") ok "$version: its result is XML-RPC text here as well" ;;
    *) die "$version: its result is XML-RPC text here as well" "$result" ;;
    esac
    copy=${result#<value>}
    call VM.destroy "$(quote "${copy%</value>}")" >/dev/null
    call task.destroy "$(quote "$task")" >/dev/null
    answer=$(call event.from '["pool"]' '""' 5)
    expect "$version: valid_ref_counts are numbers" 1 "$(printf '%s' "$answer" | get 'a["valid_ref_counts"]["pool"]')"
}

# The pool's default storage, or the first that can hold disks.
find_sr() {
    default=$(call pool.get_default_SR "$(quote "$(call pool.get_all | get 'a[0]')")")
    sr=$(call SR.get_all_records |
        get 'w[0] if w[0] in a else [r for r in a if a[r]["type"] not in ("iso", "udev")][0]' "$default")
}

life() {
    vdi=$(call VDI.create "{\"name_label\":\"tour.sh's disk\",\"name_description\":\"\",\"SR\":$(quote "$sr"),
        \"virtual_size\":67108864,\"type\":\"user\",\"sharable\":false,\"read_only\":false,\"other_config\":{}}")
    device=$(call VM.get_allowed_VBD_devices "$(quote "$vm")" | get 'a[0]')
    call VBD.create "{\"VM\":$(quote "$vm"),\"VDI\":$(quote "$vdi"),\"userdevice\":$(quote "$device"),
        \"bootable\":true,\"mode\":\"RW\",\"type\":\"Disk\",\"empty\":false,\"other_config\":{},
        \"qos_algorithm_type\":\"\",\"qos_algorithm_params\":{}}" >/dev/null
    ok "$version: a machine from '$template' gets a disk"
    call VM.start "$(quote "$vm")" false false >/dev/null
    power_state "$version: it starts" Running
    expect "$version: it is listed" true "$(call VM.get_all_records_where '"field \"power_state\"=\"Running\""' |
        get 'w[0] in a' "$vm")"
    snapshot=$(call VM.snapshot "$(quote "$vm")" '"a snapshot"' '[]')
    expect "$version: a snapshot is taken of it" "$vm" "$(call VM.get_snapshot_of "$(quote "$snapshot")")"
    call VM.suspend "$(quote "$vm")" >/dev/null
    power_state "$version: it is suspended" Suspended
    call VM.resume "$(quote "$vm")" false false >/dev/null
    power_state "$version: it is resumed" Running
    call VM.clean_shutdown "$(quote "$vm")" >/dev/null
    power_state "$version: it shuts down by itself" Halted
    call VM.revert "$(quote "$snapshot")" >/dev/null
    power_state "$version: it is reverted" Halted
    copy=$(call VM.clone "$(quote "$vm")" '"a clone"')
    ok "$version: it is cloned"
    destroy "$copy"
    destroy "$snapshot"
    destroy "$vm"
    expect "$version: it is destroyed" "[\"HANDLE_INVALID\", \"VM\", \"$vm\"]" \
        "$(error VM.get_record "[$(quote "$session"),$(quote "$vm")]")"
}

type=$(curl --silent --insecure --max-time 60 -o /dev/null -w '%{content_type}' \
    --data-binary '{"method":"pool.get_all","params":["none"],"id":1}' "$url") || die "the server answers at $url"
expect "answers are application/json and nothing more" application/json "$type"
expect "what is no JSON is HTTP 500" 500 "$(http_status 'this is no JSON')"
expect "a batch is HTTP 500" 500 "$(http_status '[]')"
for version in 1.0 2.0; do
    envelopes
    make_vm "tour.sh $version $$"
    find_sr
    values
    life
    call session.logout >/dev/null
    ok "$version: logged out"
done
