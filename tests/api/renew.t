A machine's device model is started again under it, and a driver domain says what it offers.

$ xe vm-install template="Other install media" new-name-label=renewed
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call VM.restart_device_models "<vm-ref>"
! VM_BAD_POWER_STATE ["<vm-ref>", "running", "halted"]
$ xe vm-start uuid=<vm>
$ call VM.get_domid "<vm-ref>"
"<before>"
$ until call VM.restart_device_models "<vm-ref>"
""
$ call VM.get_record "<vm-ref>" | current_operations,power_state
{"current_operations": {}, "power_state": "Running"}
$ call VM.get_domid "<vm-ref>"
"<!after>"
$ xe vm-restart-device-models uuid=<vm>

# A machine that is no driver domain offers nothing; one that is, what its agent says.
$ call VM.query_services "<vm-ref>"
! NOT_SYSTEM_DOMAIN ["<vm-ref>"]
$ xe vm-param-set uuid=<vm> other-config:is_system_domain=true
$ xe vm-query-services uuid=<vm>
$ xe vm-shutdown uuid=<vm> force=true
$ xe vm-destroy uuid=<vm>
