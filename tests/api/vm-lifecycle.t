A machine from a template starts, pauses, suspends, resumes, reboots and shuts down.

$ xe vm-install template="Other install media" new-name-label=web
<vm>
$ xe vm-param-get uuid=<vm> param-name=power-state
halted
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"

# A halted VM starts; a running one does not.
$ xe vm-start uuid=<vm>
$ xe vm-param-get uuid=<vm> param-name=power-state
running
$ xe vm-start uuid=<vm>
! The VM is not in a power state in which this operation can be done.
! vm: <vm> (web)
! expected: halted
! actual: running

# A running VM has a domain, a host and metrics, and says what can be done with it.
$ call VM.get_record "<vm-ref>" | domid,power_state
{"domid": "<domid>", "power_state": "Running"}
$ call VM.get_resident_on "<vm-ref>"
"<host>"
$ call host.get_resident_VMs "<host>"
[..."<vm-ref>"...]
$ call VM.get_allowed_operations "<vm-ref>"
[...]
$ xe vm-param-get uuid=<vm> param-name=start-time
<start>

# The guest's agent reports after a moment.
$ until call VM.get_guest_metrics "<vm-ref>"
"OpaqueRef:<metrics>"
$ until xe vm-param-get uuid=<vm> param-name=os-version param-key=distro
<distro>

# A paused VM goes on where it was.
$ xe vm-pause uuid=<vm>
$ xe vm-list uuid=<vm> params=power-state
power-state ( RO)    : paused
$ xe vm-shutdown uuid=<vm>
! The VM is not in a power state in which this operation can be done.
! vm: <vm> (web)
! expected: running
! actual: paused
$ xe vm-unpause uuid=<vm>
$ xe vm-param-get uuid=<vm> param-name=power-state
running

# A suspended VM keeps its memory in a disk, which goes when it is resumed.
$ xe vm-suspend uuid=<vm>
$ call VM.get_record "<vm-ref>" | domid,power_state,resident_on
{"domid": "-1", "power_state": "Suspended", "resident_on": "OpaqueRef:NULL"}
$ call VM.get_suspend_VDI "<vm-ref>"
"<suspend-vdi>"
$ call VDI.get_type "<suspend-vdi>"
"suspend"
$ xe vm-start uuid=<vm>
! The VM is not in a power state in which this operation can be done.
! vm: <vm> (web)
! expected: halted
! actual: suspended
$ xe vm-resume uuid=<vm>
$ xe vm-param-get uuid=<vm> param-name=power-state
running
$ call VDI.get_type "<suspend-vdi>"
! HANDLE_INVALID ["VDI", "<suspend-vdi>"]

# A reboot makes another domain; so does a reset.
$ xe vm-reboot uuid=<vm>
$ xe vm-param-get uuid=<vm> param-name=power-state
running
$ xe vm-reboot uuid=<vm> force=true
$ xe vm-param-get uuid=<vm> param-name=power-state
running

# A guest that shuts itself down is halted; one that reboots itself runs on.
$ sim poweroff=<vm>
$ until xe vm-param-get uuid=<vm> param-name=power-state
halted
$ call VM.get_record "<vm-ref>" | domid,resident_on
{"domid": "-1", "resident_on": "OpaqueRef:NULL"}
$ xe vm-start uuid=<vm>
$ call VM.get_domid "<vm-ref>"
"<second-domid>"
$ sim reboot=<vm>
$ until call VM.get_record "<vm-ref>" | domid,power_state
{"domid": "<!second-domid>", "power_state": "Running"}

# A shutdown asks the guest, a forced one does not.
$ xe vm-shutdown uuid=<vm>
$ xe vm-param-get uuid=<vm> param-name=power-state
halted
$ xe vm-start uuid=<vm>
$ xe vm-shutdown uuid=<vm> force=true
$ xe vm-param-get uuid=<vm> param-name=power-state
halted

# A VM can be left paused once it is built.
$ xe vm-start uuid=<vm> paused=true
$ xe vm-param-get uuid=<vm> param-name=power-state
paused
$ xe vm-destroy uuid=<vm>
! The VM is not in a power state in which this operation can be done.
! vm: <vm> (web)
! expected: halted, suspended
! actual: paused
$ xe vm-shutdown uuid=<vm> force=true

# A destroyed VM is gone.
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
$ call VM.get_power_state "<vm-ref>"
! HANDLE_INVALID ["VM", "<vm-ref>"]
$ xe vm-list uuid=<vm>
