Schedules take snapshots of their machines, and keep as many as they say. [faults]

$ xe vm-install template="Other install media" new-name-label=kept
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call pool.get_all
["<pool>"]
$ call pool.get_default_SR "<pool>"
"<sr>"
$ call VDI.create {"name_label": "kept disk", "name_description": "", "SR": "<sr>", "virtual_size": 1048576, "type": "user", "sharable": false, "read_only": false, "other_config": {}}
"<vdi>"
$ call VBD.create {"VM": "<vm-ref>", "VDI": "<vdi>", "userdevice": "0", "bootable": true, "mode": "RW", "type": "Disk", "unpluggable": true, "empty": false, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
"<vbd>"
$ call VMSS.create {"name_label": "often", "name_description": "", "enabled": true, "type": "snapshot", "retained_snapshots": 2, "frequency": "hourly", "schedule": {"min": "30"}}
"<vmss>"
$ call VM.set_snapshot_schedule "<vm-ref>", "OpaqueRef:00000000-0000-0000-0000-000000000001"
! HANDLE_INVALID ["VMSS", "OpaqueRef:00000000-0000-0000-0000-000000000001"]
$ call VM.set_snapshot_schedule "<vm-ref>", "<vmss>"
""

# A snapshot now, and two more: the oldest of its own goes with its disk, a user's own stays.
$ call VM.snapshot "<vm-ref>", "mine"
"<mine>"
$ call VMSS.snapshot_now "<vmss>"
"VM:kept UUID:<vm> Snapshot:<first>\n"
$ call VM.get_by_uuid "<first>"
"<first-ref>"
$ call VM.get_is_vmss_snapshot "<first-ref>"
true
$ call VMSS.snapshot_now "<vmss>"
"VM:kept ..."
$ call VM.get_snapshots "<vm-ref>" | #
3
$ call VMSS.snapshot_now "<vmss>"
"VM:kept ..."
$ call VM.get_snapshots "<vm-ref>" | #
3
$ call VM.get_is_a_snapshot "<first-ref>"
! HANDLE_INVALID ["VM", "<first-ref>"]
$ call VM.get_is_vmss_snapshot "<mine>"
false
$ call VDI.get_snapshots "<vdi>" | #
3
$ call VMSS.get_last_run_time "<vmss>"
"<never>"

# When its time has come it runs by itself; its messages say so.
$ sh echo 3600 > <dir>/state/clock
$ until call VMSS.get_last_run_time "<vmss>"
"<!never>"
$ call message.get_all_records_where "field \"name\" = \"VMSS_SNAPSHOT_SUCCEEDED\"" | #
4
$ call VM.get_snapshots "<vm-ref>" | #
3

# What fails is told, with the machine and the error.
$ call VM.add_to_blocked_operations "<vm-ref>", "snapshot", "not today"
""
$ call VMSS.snapshot_now "<vmss>"
"VM:kept UUID:<vm> Error:['OPERATION_BLOCKED',...],\n"
$ call message.get_all_records_where "field \"name\" = \"VMSS_SNAPSHOT_FAILED\"" | #
1
$ call VM.remove_from_blocked_operations "<vm-ref>", "snapshot"
""

# One that is not enabled runs only when told.
$ call VMSS.set_enabled "<vmss>", false
""
$ call VMSS.get_last_run_time "<vmss>"
"<before>"
$ sh echo 7200 > <dir>/state/clock
$ call VMSS.snapshot_now "<vmss>"
"VM:kept ..."
$ call VMSS.get_last_run_time "<vmss>"
"<before>"

# A time that passed while no daemon was there is told.
$ call VMSS.set_enabled "<vmss>", true
""
$ sh echo 360000 > <dir>/state/clock
$ restart
$ until call message.get_all_records_where "field \"name\" = \"VMSS_SNAPSHOT_MISSED_EVENT\"" | #
1

# Checkpoints keep the memory.
$ xe vm-start uuid=<vm>
$ until xe vm-param-get uuid=<vm> param-name=other param-key=feature-suspend
1
$ call VMSS.set_type "<vmss>", "checkpoint"
""
$ call VMSS.set_retained_snapshots "<vmss>", 1
""
$ call VMSS.snapshot_now "<vmss>"
"VM:kept UUID:<vm> Snapshot:<checkpoint>\n"
$ xe snapshot-param-get uuid=<checkpoint> param-name=power-state
suspended
$ call VM.get_snapshots "<vm-ref>" | #
2
$ call VMSS.destroy "<vmss>"
! VMSS_HAS_VM []
$ call VM.set_snapshot_schedule "<vm-ref>", "OpaqueRef:NULL"
""
$ call VMSS.destroy "<vmss>"
""
