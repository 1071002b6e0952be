Asynchronous calls are tasks: with a result, an error, and an end.

$ call VM.get_by_name_label "Other install media"
["<template>"]

# A task that succeeds has its result as XML-RPC text.
$ call Async.VM.clone "<template>", "by a task"
"<task>"
$ until call task.get_status "<task>"
"success"
$ call task.get_record "<task>" | error_info,name_label,progress
{"error_info": [], "name_label": "Async.VM.clone", "progress": 1.0}
$ call task.get_result "<task>"
"<value>OpaqueRef:<clone></value>"
$ call VM.get_name_label "OpaqueRef:<clone>"
"by a task"
$ call task.destroy "<task>"
""
$ call task.get_status "<task>"
! HANDLE_INVALID ["task", "<task>"]

# A task that fails carries the error.
$ call Async.VM.start "OpaqueRef:<clone>", false, false
"<failing>"
$ until call task.get_status "<failing>"
"failure"
$ call task.get_error_info "<failing>"
["VM_IS_TEMPLATE", "OpaqueRef:<clone>", "start"]
$ call task.destroy "<failing>"
""

# A client's own task has the progress and the end the client gives it.
$ call task.create "an upload", "by a client"
"<own>"
$ call task.get_record "<own>" | name_description,name_label,status
{"name_description": "by a client", "name_label": "an upload", "status": "pending"}
$ call task.set_progress "<own>", 0.5
""
$ call task.get_progress "<own>"
0.5
$ call task.set_status "<own>", "success"
""
$ call task.get_status "<own>"
"success"
$ call task.destroy "<own>"
""

# An operation under way is cancelled where it may be.
$ call VM.set_is_a_template "OpaqueRef:<clone>", false
""
$ sim delay=build ms=20000
$ call Async.VM.start "OpaqueRef:<clone>", false, false
"<slow>"
$ until call VM.get_current_operations "OpaqueRef:<clone>" | #
1
$ call task.cancel "<slow>"
""
$ until call task.get_status "<slow>"
"cancelled"
$ call VM.get_record "OpaqueRef:<clone>" | current_operations,power_state
{"current_operations": {}, "power_state": "Halted"}
$ sim delay=build ms=0
$ call task.destroy "<slow>"
""
$ call VM.destroy "OpaqueRef:<clone>"
""

# Only what is asynchronous can be asked for as such.
$ call Async.VM.get_record "<template>"
! ...
