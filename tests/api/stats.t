Data sources of a host, a VM and a repository are listed, asked, recorded and forgotten.

$ xe vm-install template="Other install media" new-name-label=measured
<vm>
$ xe vm-data-source-list uuid=<vm>
$ xe vm-data-source-query uuid=<vm> data-source=memory
! The VM is not in a power state in which this operation can be done.
! vm: <vm> (measured)
! expected: running
! actual: halted
$ xe vm-start uuid=<vm>
$ xe vm-data-source-query uuid=<vm> data-source=memory
268435456.000000
$ xe vm-param-get uuid=<vm> param-name=memory-target
268435456
$ xe vm-data-source-query uuid=<vm> data-source=no_such_thing
! The value given for this field is not one it can take.
! field: data_source
! value: no_such_thing

# What was forgotten is not recorded until somebody wants it.
$ xe vm-data-source-forget uuid=<vm> data-source=memory_target
$ xe vm-data-source-record uuid=<vm> data-source=memory_target
$ xe vm-data-source-record uuid=<vm> data-source=no_such_thing
! The value given for this field is not one it can take.
! field: data_source
! value: no_such_thing
$ xe host-data-source-record data-source=running_vcpus
$ xe host-data-source-query data-source=running_vcpus
1.000000
$ xe host-data-source-forget data-source=running_vcpus
$ until xe sr-data-source-query name-label="Local storage" data-source=size
<vdi-size>
$ xe sr-data-source-list name-label="Local storage"
...
name_label          : physical_utilisation
    name_description: Space taken in the storage repository
             enabled: true
            standard: true
                 min: 0.000
                 max: inf
               units: B
...
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
