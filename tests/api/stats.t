Data sources of a host, a VM and a repository are listed, asked, recorded and forgotten.

$ xe vm-install template="Other install media" new-name-label=measured
<vm>
$ xe vm-data-source-list uuid=<vm>
$ xe vm-data-source-query uuid=<vm> data-source=memory
! You attempted an operation on a VM that was not in an appropriate power state at the time; for example, you attempted to start a VM that was already running.  The parameters returned are the VM's handle, and the expected and actual VM state at the time of the call.
! vm: <vm> (measured)
! expected: running
! actual: halted
$ xe vm-start uuid=<vm>
$ xe vm-data-source-query uuid=<vm> data-source=memory
268435456.000
$ xe vm-param-get uuid=<vm> param-name=memory-target
268435456
$ xe vm-data-source-query uuid=<vm> data-source=no_such_thing

# What was forgotten is not recorded until somebody wants it.
$ xe vm-data-source-forget uuid=<vm> data-source=memory_target
$ xe vm-data-source-record uuid=<vm> data-source=memory_target
$ xe vm-data-source-record uuid=<vm> data-source=no_such_thing
$ xe host-data-source-record data-source=running_vcpus
$ xe host-data-source-query data-source=running_vcpus
$ xe host-data-source-forget data-source=running_vcpus
$ xe sr-data-source-list name-label="ISO library"
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
