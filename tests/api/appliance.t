An appliance starts its machines in their order and shuts them down the other way round.

$ xe appliance-create name-label=shop
<appliance>
$ xe vm-install template="Other install media" new-name-label=database
<db>
$ xe vm-install template="Other install media" new-name-label=web
<web>
$ xe vm-install template="Other install media" new-name-label=proxy
<proxy>
$ call VM.get_by_uuid "<db>"
"<db-ref>"
$ call VM.get_by_uuid "<web>"
"<web-ref>"
$ call VM.get_by_uuid "<proxy>"
"<proxy-ref>"
$ call VM_appliance.get_by_uuid "<appliance>"
"<ref>"
$ xe vm-param-set uuid=<db> appliance=<appliance> order=1 start-delay=1
$ xe vm-param-set uuid=<web> appliance=<appliance> order=2
$ xe vm-param-set uuid=<proxy> appliance=<appliance> order=3
$ xe appliance-param-get uuid=<appliance> param-name=allowed-operations
start

# All are started, and none twice.
$ xe appliance-start uuid=<appliance>
$ xe vm-list appliance=<appliance> power-state=running params=name-label --minimal
...database...
$ xe appliance-param-get uuid=<appliance> param-name=allowed-operations
clean_shutdown; hard_shutdown; shutdown
$ call VM.get_domid "<db-ref>"
"<first>"
$ xe appliance-start uuid=<appliance>
$ call VM.get_domid "<db-ref>"
"<first>"

# They are shut down, what is shut down already stays so, and a machine that runs through it is not touched.
$ until xe vm-param-get uuid=<proxy> param-name=other param-key=feature-shutdown
1
$ until xe vm-param-get uuid=<db> param-name=other param-key=feature-shutdown
1
$ until xe vm-param-get uuid=<web> param-name=other param-key=feature-shutdown
1
$ xe vm-shutdown uuid=<proxy> force=true
$ xe appliance-shutdown uuid=<appliance>
$ xe vm-list appliance=<appliance> power-state=halted params=name-label --minimal
...database...

# A machine that cannot be started does not keep the others back; it is named.
$ call VM.add_to_blocked_operations "<web-ref>", "start", "not today"
""
$ call VM_appliance.start "<ref>", true
! OPERATION_PARTIALLY_FAILED ["start", "<web-ref>"]
$ call VM.get_power_state "<proxy-ref>"
"Paused"
$ call VM.get_power_state "<web-ref>"
"Halted"
$ call VM_appliance.clean_shutdown "<ref>"
! OPERATION_PARTIALLY_FAILED ["clean_shutdown", ...]
$ call VM_appliance.shutdown "<ref>"
""
$ call VM.get_power_state "<proxy-ref>"
"Halted"
$ call VM.remove_from_blocked_operations "<web-ref>", "start"
""

# A cancelled start ends between its machines, and what has started stays.
$ xe vm-param-set uuid=<db> start-delay=600
$ call Async.VM_appliance.start "<ref>", false
"<task>"
$ until call VM.get_power_state "<db-ref>"
"Running"
$ xe appliance-param-get uuid=<appliance> param-name=allowed-operations
$ call task.cancel "<task>"
""
$ until call task.get_status "<task>"
"cancelled"
$ until xe appliance-param-get uuid=<appliance> param-name=current-operations
$ call VM.get_power_state "<web-ref>"
"Halted"
$ call VM_appliance.hard_shutdown "<ref>"
""

# A daemon that dies in the middle goes on when it is back.
$ xe vm-param-set uuid=<db> start-delay=3
$ call Async.VM_appliance.start "<ref>", false
"<second>"
$ until call VM.get_power_state "<db-ref>"
"Running"
$ kill
$ until call VM.get_power_state "<proxy-ref>"
"Running"
$ until xe appliance-param-get uuid=<appliance> param-name=current-operations
$ call VM.get_power_state "<web-ref>"
"Running"
$ call VM_appliance.hard_shutdown "<ref>"
""

# What a recovery would need.
$ call VM_appliance.assert_can_be_recovered "<ref>", "OpaqueRef:NULL"
! SESSION_INVALID ["OpaqueRef:NULL"]
$ call VM_appliance.get_SRs_required_for_recovery "<ref>", "OpaqueRef:NULL"
! SESSION_INVALID ["OpaqueRef:NULL"]

# Machines that start with the host do not start with the daemon.
$ call pool.get_all
["<pool>"]
$ call pool.add_to_other_config "<pool>", "auto_poweron", "true"
""
$ xe vm-param-set uuid=<web> other-config:auto_poweron=true
$ restart
$ call VM.get_power_state "<web-ref>"
"Halted"
$ sh rm <dir>/state/autostarted
$ restart
$ until call VM.get_power_state "<web-ref>"
"Running"
$ call VM.get_power_state "<db-ref>"
"Halted"
$ call pool.remove_from_other_config "<pool>", "auto_poweron"
""
$ xe vm-uninstall uuid=<web> force=true
...
$ xe vm-uninstall uuid=<db> force=true
...
$ xe vm-uninstall uuid=<proxy> force=true
...
$ xe appliance-destroy uuid=<appliance>
