A host alone cannot have high availability: nobody is left to start its machines.

$ xe pool-ha-enable
! The pool has too few hosts for high availability to be enabled; add more hosts.
$ xe pool-ha-disable
! High availability is off in the pool, and this needs it on.
$ xe host-emergency-ha-disable --force
! High availability is off in the pool, and this needs it on.
$ xe pool-ha-prevent-restarts-for seconds=10
! High availability is off in the pool, and this needs it on.
$ xe pool-ha-compute-max-host-failures-to-tolerate
0

# Protection can be wished for beforehand.
$ xe template-list name-label="Other install media" --minimal
<template>
$ xe vm-clone uuid=<template> new-name-label=shop
<shop>
$ xe template-param-set uuid=<shop> is-a-template=false
$ xe vm-param-set uuid=<shop> ha-restart-priority=restart
$ xe vm-param-set uuid=<shop> ha-restart-priority=always
! The value given for this field is not one it can take.
! field: ha_restart_priority
! value: always
$ xe vm-start uuid=<shop>
$ xe vm-param-get uuid=<shop> param-name=ha-always-run
true
$ xe pool-ha-compute-hypothetical-max-host-failures-to-tolerate vm-uuid=<shop> restart-priority=restart
0
$ xe pool-ha-compute-hypothetical-max-host-failures-to-tolerate vm-uuid=<shop> restart-priority=always
! The value given for this field is not one it can take.
! field: ha_restart_priority
! value: always

# Its host lost, there would be no place for it.
$ xe host-list --minimal
<host>
$ xe pool-ha-compute-vm-failover-plan host-uuids=<host>
VM                                             : Destination Host or Error
    <shop> (shop): NO_HOSTS_AVAILABLE
