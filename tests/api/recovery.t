A pool's database is copied to a disk, and machines come back from there.

$ sh mkdir <dir>/site
$ xe sr-create type=file name-label=site device-config:location=<dir>/site
<sr>
$ xe vm-install template="Other install media" new-name-label="a machine"
<vm>
$ xe vm-disk-add uuid=<vm> disk-size=16MiB device=0 sr-uuid=<sr>
$ xe vm-disk-list uuid=<vm> vdi-params=uuid --minimal
...
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"

# What cannot keep a disk keeps no database.
$ xe sr-list type=iso --minimal
<iso>
$ xe sr-enable-database-replication uuid=<iso>
! ...
...
$ xe sr-enable-database-replication uuid=<sr>
$ xe vdi-list sr-uuid=<sr> type=Metadata params=name-label,metadata-latest
name-label ( RW)         : Metadata for DR
    metadata-latest ( RO): true
$ xe vdi-list sr-uuid=<sr> type=Metadata --minimal
<copy>
$ call VDI.get_by_uuid "<copy>"
"<copy-ref>"
$ xe pool-list --minimal
<pool>
$ call VDI.read_database_pool_uuid "<copy-ref>"
"<pool>"

# Asked for again it is written again, to the same disk.
$ xe sr-enable-database-replication uuid=<sr>
$ xe vdi-list sr-uuid=<sr> type=Metadata --minimal
<copy>

# The machine is lost; the copy, to which nothing is written any more, knows it.
$ call VDI.set_metadata_of_pool "<copy-ref>", "OpaqueRef:NULL"
""
$ xe vm-destroy uuid=<vm>
$ xe vm-list uuid=<vm>
$ xe vm-list uuid=<vm> database:vdi-uuid=<copy> params=name-label
name-label ( RW)    : a machine
$ xe vm-param-get uuid=<vm> param-name=power-state database:vdi-uuid=<copy>
halted
$ xe vm-list uuid=<vm> database:vdi-uuid=<sr>
! ...
...
$ xe vm-assert-can-be-recovered uuid=<vm> database:vdi-uuid=<copy>
$ xe vm-recover uuid=<vm> database:vdi-uuid=<copy>
$ xe vm-list uuid=<vm> params=name-label,power-state
name-label ( RW)     : a machine
    power-state ( RO): halted
$ xe vm-disk-list uuid=<vm> --minimal
...
$ call VM.get_by_uuid "<vm>"
"<recovered>"
$ call VM.get_version "<recovered>"
"1"
$ xe vm-start uuid=<vm>
$ xe vm-shutdown uuid=<vm> force=true

# What is there already is only replaced where that is asked for.
$ xe vm-recover uuid=<vm> database:vdi-uuid=<copy>
! ...
...
$ xe vm-recover uuid=<vm> database:vdi-uuid=<copy> force=true
$ xe vm-list uuid=<vm> params=name-label --minimal
a machine

# Machines of an appliance are recovered with it.
$ xe appliance-create name-label=both
<appliance>
$ xe vm-param-set uuid=<vm> appliance=<appliance>
$ xe sr-enable-database-replication uuid=<sr>
$ call VDI.set_metadata_of_pool "<copy-ref>", "OpaqueRef:NULL"
""
$ xe vm-param-set uuid=<vm> appliance=
$ xe appliance-destroy uuid=<appliance>
$ xe vm-destroy uuid=<vm>
$ xe vm-recover uuid=<vm> database:vdi-uuid=<copy>
! ...
...
$ xe appliance-assert-can-be-recovered uuid=<appliance> database:vdi-uuid=<copy>
$ xe appliance-recover uuid=<appliance> database:vdi-uuid=<copy>
$ xe appliance-list uuid=<appliance> params=name-label,VMs
name-label ( RW)    : both
           VMs (SRO): <vm>

# A session on the copy reads it, and nothing else.
$ call VDI.open_database "<copy-ref>"
"<session>"
$ call VDI.open_database "<vm-ref>"
! HANDLE_INVALID ["VDI", "<vm-ref>"]
$ call session.get_record "<session>" | is_local_superuser,rbac_permissions
...

# No replication, no copy.
$ xe sr-disable-database-replication uuid=<sr>
$ xe vdi-list sr-uuid=<sr> type=Metadata --minimal
$ xe appliance-destroy uuid=<appliance>
$ xe vm-uninstall uuid=<vm> force=true
...
$ xe pbd-list sr-uuid=<sr> --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
$ xe sr-destroy uuid=<sr>
