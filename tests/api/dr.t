Disaster recovery: another site's repositories are attached, machines come back from there, the rest goes again. [--storage-wait=5]

$ sh <top>/tests/lib/fake-nfs <dir>/exports <dir>/state/system
$ sh mkdir -p <dir>/exports/vm <dir>/exports/iso/linux
$ xe sr-create name-label=site type=nfs shared=true content-type=user device-config:server=nas device-config:serverpath=/vm
<sr>
$ xe sr-create name-label=other type=nfs shared=true content-type=user device-config:server=nas device-config:serverpath=/vm
<other>
$ xe vm-install template="Other install media" new-name-label="a machine"
<vm>
$ xe vm-disk-add uuid=<vm> disk-size=16MiB device=0 sr-uuid=<sr>
$ xe sr-enable-database-replication uuid=<sr>
$ xe vdi-list sr-uuid=<sr> type=Metadata --minimal
<copy>

# The site is lost: neither its machine nor its repositories are known any more.
$ call VDI.get_by_uuid "<copy>"
"<copy-ref>"
$ call VDI.set_metadata_of_pool "<copy-ref>", "OpaqueRef:NULL"
""
$ xe vm-destroy uuid=<vm>
$ xe pbd-list sr-uuid=<sr> --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
$ xe sr-forget uuid=<sr>
$ xe pbd-list sr-uuid=<other> --minimal
<pbd-other>
$ xe pbd-unplug uuid=<pbd-other>
$ xe sr-forget uuid=<other>

# A driver that cannot look, and a server that is not told, are errors; nothing is left of the attempt.
$ xe drtask-create type=ext
! ...
...
$ xe drtask-create type=nfs
! ...
...
$ call DR_task.get_all
[]

# Only what is asked for is attached; what is found and not known is.
$ xe drtask-create type=nfs device-config:server=nas device-config:serverpath=/vm sr-whitelist=<sr>
<task>
$ xe drtask-list uuid=<task> params=introduced-SRs
introduced-SRs ( RO)    : <sr>
$ xe sr-list uuid=<other>
$ xe sr-list uuid=<sr> params=type,shared,introduced-by
type ( RO)             : nfs
           shared ( RW): true
    introduced-by ( RO): <task>
$ xe pbd-list sr-uuid=<sr> params=currently-attached
currently-attached ( RO)    : true
$ xe drtask-create type=nfs device-config:server=nas device-config:serverpath=/vm
<second>
$ xe drtask-list uuid=<second> params=introduced-SRs
introduced-SRs ( RO)    : <other>
$ xe vdi-list sr-uuid=<sr> type=Metadata --minimal
<copy>
$ xe vm-recover uuid=<vm> database:vdi-uuid=<copy>
$ xe vm-list uuid=<vm> params=name-label
name-label ( RW)    : a machine

# At the end the repository of a machine that was recovered stays, the other one goes.
$ xe drtask-destroy uuid=<task>
$ xe sr-list uuid=<sr> params=introduced-by
introduced-by ( RO)    : <not in database>
$ xe vm-disk-list uuid=<vm> vdi-params=sr-uuid --minimal
...
$ xe drtask-destroy uuid=<second>
$ xe sr-list uuid=<other>
$ xe pbd-list sr-uuid=<other>
$ sh ls <dir>/exports/vm/<other>/.xapid-sr
...
$ xe drtask-list
