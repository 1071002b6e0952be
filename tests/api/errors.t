Errors: what is wrong is said, with its parameters in order.

$ call VM.get_by_name_label "Other install media"
["<template>"]

# Objects that do not exist.
$ call VM.get_record "OpaqueRef:00000000-0000-4000-8000-00000000dead"
! HANDLE_INVALID ["VM", "OpaqueRef:00000000-0000-4000-8000-00000000dead"]
$ call VM.get_by_uuid "00000000-0000-4000-8000-00000000dead"
! UUID_INVALID ["VM", "00000000-0000-4000-8000-00000000dead"]
$ call VM.get_record "OpaqueRef:NULL"
! HANDLE_INVALID ["VM", "OpaqueRef:NULL"]
$ xe vm-start uuid=00000000-0000-4000-8000-00000000dead
! ...

# Messages that do not exist, and too few parameters.
$ call VM.levitate "<template>"
! MESSAGE_METHOD_UNKNOWN ["VM.levitate"]
$ call VM.start "<template>"
! MESSAGE_PARAMETER_COUNT_MISMATCH ["VM.start", "3", "1"]

# A template is not started; a default template is not destroyed.
$ call VM.start "<template>", false, false
! VM_IS_TEMPLATE ["<template>", "start"]
$ call VM.destroy "<template>"
! ...

# A key is added once.
$ call VM.clone "<template>", "errors"
"<vm>"
$ call VM.add_to_other_config "<vm>", "k", "v"
""
$ call VM.add_to_other_config "<vm>", "k", "w"
! MAP_DUPLICATE_KEY ["VM", "other_config", "<vm>", "k"]

# What was blocked says why.
$ call VM.set_is_a_template "<vm>", false
""
$ call VM.add_to_blocked_operations "<vm>", "start", "under repair"
""
$ call VM.start "<vm>", false, false
! OPERATION_BLOCKED ["<vm>", "under repair"]
$ call VM.remove_from_blocked_operations "<vm>", "start"
""

# A failure of the hypervisor becomes the error, and leaves nothing behind.
$ sim fail=build text="no free memory on the moon"
$ call VM.start "<vm>", false, false
! INTERNAL_ERROR ["...no free memory on the moon..."]
$ call VM.get_record "<vm>" | current_operations,domid,power_state,resident_on
{"current_operations": {}, "domid": "-1", "power_state": "Halted", "resident_on": "OpaqueRef:NULL"}

# Values that are none.
$ call VM.set_actions_after_crash "<vm>", "explode"
! INVALID_VALUE [...]
$ call VM.set_memory_limits "<vm>", 100, 50, 20, 10
! MEMORY_CONSTRAINT_VIOLATION [...]
$ call VM.get_all_records_where "field \"nonsense\"=\"1\""
! ...
$ call VM.get_all_records_where "field \"name__label\"=\"errors\"" | #
1
$ call VM.destroy "<vm>"
""

# xe's own mistakes.
$ xe vm-destroy
! Required parameter not found: uuid
! For usage run: 'xe help'
$ xe no-such-command
! Unknown command: no-such-command
! For usage run: 'xe help'
$ xe vm-list nonsense=1
! Error: Unknown field 'nonsense'

# A session that is not known may be good elsewhere: the client hears of it, the log does not.
$ sh curl -s --unix-socket xapi -d '{"jsonrpc":"2.0","method":"VM.start","params":["OpaqueRef:5e551040-0000-4000-8000-000000000001","<template>",false,false],"id":1}' http://localhost/jsonrpc
{"jsonrpc":"2.0","error":{"code":1,"message":"SESSION_INVALID","data":["OpaqueRef:5e551040-0000-4000-8000-000000000001"]},"id":1}
$ sh grep -c 'VM.start by nobody: SESSION_INVALID$' log; grep -c 5e551040 log state/audit.log
1
log:0
state/audit.log:0
