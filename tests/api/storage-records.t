Records of disks and repositories that are written as they are given, and messages nobody answers any more.

# SR.make is SR.create with another answer.
$ xe host-list --minimal
<host>
$ call host.get_by_uuid "<host>"
"<host-ref>"
$ sh mkdir <dir>/made
$ call SR.make "<host-ref>", {"location": "<dir>/made"}, "0", "made", "", "file", "user", {}
"<sr>"
$ call SR.get_by_uuid "<sr>"
"<sr-ref>"
$ xe sr-list uuid=<sr> params=name-label,type
name-label ( RW)    : made
          type ( RO): file

# The sum of a disk is that of what is on it.
$ xe vdi-create sr-uuid=<sr> name-label=zeroes virtual-size=1MiB
<vdi>
$ call VDI.get_by_uuid "<vdi>"
"<vdi-ref>"
$ call VDI.checksum "<vdi-ref>"
"b6d81b360a5672d80c27430f39153e2c"
$ sh head -c 1048576 /dev/zero | md5sum
b6d81b360a5672d80c27430f39153e2c  -
$ call VDI.force_unlock "<vdi-ref>"
! MESSAGE_DEPRECATED []
$ call VDI.generate_config "<host-ref>", "<vdi-ref>"
! SR_OPERATION_NOT_SUPPORTED ["<sr-ref>"]
$ call LVHD.enable_thin_provisioning "<host-ref>", "<sr-ref>", 0, 0
! SR_OPERATION_NOT_SUPPORTED ["<sr-ref>"]

# Rows of a host that joins, or of a storage driver, are taken as they are; twice they are refused.
$ call VDI.pool_introduce "", "given", "", "<sr-ref>", "user", false, false, {}, "given.qcow2", {}, {}, true, "4096"
"<given>"
$ call VDI.get_record "<given>" | location,managed,name_label,virtual_size
{"location": "given.qcow2", "managed": true, "name_label": "given", "virtual_size": "4096"}
$ call VDI.pool_introduce "", "again", "", "<sr-ref>", "user", false, false, {}, "given.qcow2"
! LOCATION_NOT_UNIQUE ["<sr-ref>", "given.qcow2"]
$ call VDI.db_introduce "no uuid", "again", "", "<sr-ref>", "user", false, false, {}, "other.qcow2"
! UUID_INVALID ["VDI", "no uuid"]
$ call VDI.db_introduce "<vdi>", "again", "", "<sr-ref>", "user", false, false, {}, "other.qcow2"
! DB_UNIQUENESS_CONSTRAINT_VIOLATION ["VDI", "uuid", "<vdi>"]
$ call VDI.db_forget "<given>"
""
$ call VDI.get_record "<given>"
! HANDLE_INVALID ["VDI", "<given>"]
$ call network.pool_introduce "theirs", "", 0, {}, "xenbr7", true, []
"<network>"
$ call network.get_record "<network>" | MTU,bridge,managed
{"MTU": "1500", "bridge": "xenbr7", "managed": true}
$ call network.destroy "<network>"
""
$ xe vdi-destroy uuid=<vdi>
$ xe sr-list uuid=<sr> params=PBDs --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
$ xe sr-destroy uuid=<sr>
