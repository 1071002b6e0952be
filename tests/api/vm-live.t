What a running machine can be told: keys, buttons, scheduling, memory for page tables, xenstore keys, and its agent.

$ xe vm-install template="Other install media" new-name-label=told
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ xe vm-param-set uuid=<vm> VCPUs-params:weight=300
$ xe vm-param-set uuid=<vm> xenstore-data:vm-data/colour=red

# A machine that is halted can be told nothing.
$ call VM.send_sysrq "<vm-ref>", "h"
! VM_BAD_POWER_STATE ["<vm-ref>", "running", "halted"]
$ call VM.s3_suspend "<vm-ref>"
! VM_BAD_POWER_STATE ["<vm-ref>", "running", "halted"]
$ xe vm-start uuid=<vm>

# Its keys and buttons.
$ until xe vm-param-get uuid=<vm> param-name=os-version param-key=distro
debian
$ call VM.send_sysrq "<vm-ref>", "h"
""
$ call VM.send_sysrq "<vm-ref>", "hh"
! INVALID_VALUE ["key", "hh"]
$ call VM.send_trigger "<vm-ref>", "nmi"
""
$ call VM.send_trigger "<vm-ref>", "hammer"
! INVALID_VALUE ["trigger", "hammer"]
$ sim inspect=<vm>
...

# Sleep and wake.
$ call VM.s3_suspend "<vm-ref>"
""
$ sim inspect=<vm>
sysrq=h
trigger=sleep
asleep=yes
cooperative=yes
weight=300
cap=
mask=
shadow=0
memory=268435456
target=268435456
$ call VM.s3_resume "<vm-ref>"
""
$ sim inspect=<vm>
sysrq=h
trigger=s3resume
asleep=no
cooperative=yes
weight=300
cap=
mask=
shadow=0
memory=268435456
target=268435456

# Scheduling is set at the start, and live.
$ call VM.add_to_VCPUs_params_live "<vm-ref>", "cap", "50"
""
$ call VM.add_to_VCPUs_params_live "<vm-ref>", "mask", "0,1,3"
""
$ call VM.add_to_VCPUs_params_live "<vm-ref>", "weight", "0"
! INVALID_VALUE ["weight", "0"]
$ call VM.add_to_VCPUs_params_live "<vm-ref>", "mask", "0,,1"
! INVALID_VALUE ["mask", "0,,1"]
$ call VM.add_to_VCPUs_params_live "<vm-ref>", "colour", "red"
! INVALID_VALUE ["key", "colour"]
$ call VM.get_VCPUs_params "<vm-ref>"
{"cap": "50", "mask": "0,1,3", "weight": "300"}
$ sim inspect=<vm>
sysrq=h
trigger=s3resume
asleep=no
cooperative=yes
weight=300
cap=50
mask=0,1,3
shadow=0
memory=268435456
target=268435456

# Memory for page tables.
$ call VM.get_memory_overhead "<vm-ref>"
"<overhead>"
$ call VM.set_shadow_multiplier_live "<vm-ref>", 0.5
! VALUE_NOT_SUPPORTED ["HVM_shadow_multiplier", "0.5", "It cannot be below 1."]
$ call VM.set_shadow_multiplier_live "<vm-ref>", 2.0
""
$ call VM.get_HVM_shadow_multiplier "<vm-ref>"
2.0
$ call VM.get_memory_overhead "<vm-ref>"
"<!overhead>"
$ call VM.set_shadow_multiplier_live "<vm-ref>", 1000000.0
! HOST_NOT_ENOUGH_FREE_MEMORY ["3145721708544", ...]

# What the guest reads in xenstore changes with the record.
$ sim show=<vm> key=vm-data/colour
data=red
$ xe vm-param-set uuid=<vm> xenstore-data:vm-data/colour=blue
$ sim show=<vm> key=vm-data/colour
data=blue
$ xe vm-param-set uuid=<vm> xenstore-data:other=blue
$ xe vm-param-remove uuid=<vm> param-name=xenstore-data param-key=vm-data/colour
$ sim show=<vm> key=vm-data/colour

# Its agent.
$ call VM.call_plugin "<vm-ref>", "nonsense", "x", {}
! XENAPI_MISSING_PLUGIN ["nonsense"]
$ call VM.call_plugin "<vm-ref>", "guest-agent-operation", "x", {}
! XENAPI_PLUGIN_FAILURE ["failed", "there is no function 'x'", "there is no function 'x'"]
$ call VM.call_plugin "<vm-ref>", "guest-agent-operation", "request-rdp-on", {}
! VM_LACKS_FEATURE ["<vm-ref>"]
$ sim guest-key=<vm> key=control/feature-ts2 value=1
$ until call VM.get_guest_metrics "<vm-ref>"
"<gm>"
$ until xe vm-param-get uuid=<vm> param-name=other param-key=feature-ts2
1
$ call VM.call_plugin "<vm-ref>", "guest-agent-operation", "request-rdp-on", {}
""
$ sim show=<vm> key=control/ts
data=1
$ call VM.call_plugin "<vm-ref>", "guest-agent-operation", "run-script", {"username": "u", "password": "p", "script": "echo"}
! XENAPI_PLUGIN_FAILURE ["failed", "the pool's other_config does not have allow_guest_agent_run_script=true", "the pool's other_config does not have allow_guest_agent_run_script=true"]
$ call pool.get_all
["<pool>"]
$ call pool.add_to_other_config "<pool>", "allow_guest_agent_run_script", "true"
""
$ call VM.call_plugin "<vm-ref>", "guest-agent-operation", "run-script", {"username": "u", "password": "p"}
! XENAPI_PLUGIN_FAILURE ["failed", "the argument script is missing", "the argument script is missing"]
$ call VM.call_plugin "<vm-ref>", "guest-agent-operation", "run-script", {"username": "u", "password": "p", "script": "echo"}
! VM_LACKS_FEATURE ["<vm-ref>"]
$ sim guest-key=<vm> key=control/feature-xs-batcmd value=1
$ until xe vm-param-get uuid=<vm> param-name=other param-key=feature-xs-batcmd
1
$ call VM.call_plugin "<vm-ref>", "guest-agent-operation", "run-script", {"username": "u", "password": "p", "script": "echo"}
"{\"rc\":\"0\",\"stdout\":\"echo\",\"stderr\":\"\"}"
$ sim show=<vm> key=control/batcmd/password
$ call pool.remove_from_other_config "<pool>", "allow_guest_agent_run_script"
""
$ call VM.call_host_plugin "<vm-ref>", "nonsense", "x", {}
! XENAPI_MISSING_PLUGIN ["nonsense"]

# The daemon's end does not wait for a script.
$ sim uncooperative=<vm>
$ call pool.add_to_other_config "<pool>", "allow_guest_agent_run_script", "true"
""
$ call Async.VM.call_plugin "<vm-ref>", "guest-agent-operation", "run-script", {"username": "u", "password": "p", "script": "sleep 999"}
"<script>"
$ until sim show=<vm> key=control/batcmd/state
data=READY
$ restart
$ call task.get_status "<script>"
"failure"
$ sim show=<vm> key=control/batcmd/password
$ call pool.remove_from_other_config "<pool>", "allow_guest_agent_run_script"
""
$ sim cooperative=<vm>

# A guest that says why it cannot be suspended is not, whatever drivers it has.
$ sim guest-key=<vm> key=data/cant_suspend_reason value=busy
$ until xe vm-param-get uuid=<vm> param-name=other param-key=data-cant-suspend-reason
busy
$ call VM.suspend "<vm-ref>"
! VM_NON_SUSPENDABLE ["<vm-ref>", "busy"]
$ call VM.checkpoint "<vm-ref>", "kept"
! VM_NON_SUSPENDABLE ["<vm-ref>", "busy"]

# A key that ends the guest ends the machine.
$ call VM.send_sysrq "<vm-ref>", "o"
""
$ until xe vm-param-get uuid=<vm> param-name=power-state
halted

# Another disk with the same image of its memory can take the image's place; no other disk can.
$ xe vm-start uuid=<vm>
$ until xe vm-param-get uuid=<vm> param-name=other param-key=feature-suspend
1
$ xe vm-suspend uuid=<vm>
$ call VM.get_suspend_VDI "<vm-ref>"
"<image>"
$ call VDI.get_SR "<image>"
"<sr>"
$ call VDI.copy "<image>", "<sr>"
"<copy>"
$ call VDI.create {"name_label": "other", "name_description": "", "SR": "<sr>", "virtual_size": 1048576, "type": "user", "sharable": false, "read_only": false, "other_config": {}}
"<other>"
$ call VM.set_suspend_VDI "<vm-ref>", "<other>"
! SUSPEND_VDI_REPLACEMENT_IS_NOT_IDENTICAL ["<image>", ..., "<other>", ...]
$ call VM.set_suspend_VDI "<vm-ref>", "<copy>"
""
$ call VM.get_suspend_VDI "<vm-ref>"
"<copy>"
$ call VDI.destroy "<image>"
""
$ xe vm-resume uuid=<vm>
$ xe vm-shutdown uuid=<vm> force=true
$ call VM.set_suspend_VDI "<vm-ref>", "<other>"
! VM_BAD_POWER_STATE ["<vm-ref>", "suspended", "halted"]
$ call VDI.destroy "<other>"
""

# What a recovery needs is said for a session of this pool.
$ call VM.assert_can_be_recovered "<vm-ref>", "OpaqueRef:NULL"
! SESSION_INVALID ["OpaqueRef:NULL"]
$ call VM.retrieve_wlb_recommendations "<vm-ref>"
! WLB_NOT_INITIALIZED []

# A paravirtual machine has no buttons.
$ xe vm-param-set uuid=<vm> domain-type=pv
$ xe vm-start uuid=<vm>
$ call VM.s3_suspend "<vm-ref>"
! VM_HVM_REQUIRED ["<vm-ref>"]
$ call VM.send_trigger "<vm-ref>", "power"
! VM_HVM_REQUIRED ["<vm-ref>"]
$ call VM.send_trigger "<vm-ref>", "nmi"
""
$ xe vm-shutdown uuid=<vm> force=true

$ xe vm-uninstall uuid=<vm> force=true
...
