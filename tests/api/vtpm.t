A virtual TPM belongs to one halted machine and goes with it; what it keeps is told to nobody but the host.

$ xe vm-install template="Other install media" new-name-label=sealed
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call VTPM.create "<vm-ref>", false
"<vtpm>"
$ call VTPM.create "<vm-ref>", false
! VTPM_MAX_AMOUNT_REACHED ["1"]
$ call VTPM.get_record "<vtpm>" | VM,is_unique,persistence_backend
{"VM": "<vm-ref>", "is_unique": false, "persistence_backend": "xapi"}
$ call VM.get_VTPMs "<vm-ref>"
["<vtpm>"]

# Its contents are base64, and for nobody below root.
$ call VTPM.get_contents "<vtpm>"
""
$ call VTPM.set_contents "<vtpm>", "c2VjcmV0"
""
$ call VTPM.set_contents "<vtpm>", "secret!"
! INVALID_VALUE ["contents", "not base64"]
$ call VTPM.get_contents "<vtpm>"
"c2VjcmV0"
$ call subject.create {"subject_identifier": "alice", "other_config": {}}
"<alice>"
$ call@alice VTPM.get_contents "<vtpm>"
! RBAC_PERMISSION_DENIED [...]
$ call subject.destroy "<alice>"
""

# A machine that runs keeps it.
$ xe vm-start uuid=<vm>
$ call VTPM.destroy "<vtpm>"
! VM_BAD_POWER_STATE ["<vm-ref>", "halted", "running"]
$ xe vm-shutdown uuid=<vm> force=true

# A clone has one of its own.
$ call VM.clone "<vm-ref>", "sealed clone"
"<clone>"
$ call VM.get_VTPMs "<clone>"
["<other>"]
$ call VTPM.get_contents "<other>"
"c2VjcmV0"
$ call VM.destroy "<clone>"
""

# It can be taken away.
$ call VTPM.destroy "<vtpm>"
""
$ call VTPM.get_uuid "<vtpm>"
! HANDLE_INVALID ["VTPM", "<vtpm>"]
$ call VTPM.create "<vm-ref>", true
"<second>"
$ call VTPM.set_contents "<second>", "c2VjcmV0"
""

# One that must exist only once is copied empty, but kept by a snapshot.
$ call VM.clone "<vm-ref>", "sealed clone"
"<once>"
$ call VM.get_VTPMs "<once>"
["<empty>"]
$ call VTPM.get_contents "<empty>"
""
$ call VM.destroy "<once>"
""
$ call VM.snapshot "<vm-ref>", "sealed snapshot"
"<snapshot>"
$ call VM.get_VTPMs "<snapshot>"
["<kept>"]
$ call VTPM.get_contents "<kept>"
"c2VjcmV0"
$ call VM.destroy "<snapshot>"
""
$ xe vm-uninstall uuid=<vm> force=true
...
$ call VTPM.get_uuid "<second>"
! HANDLE_INVALID ["VTPM", "<second>"]
