Who may do what: roles of subjects.

$ call role.get_by_name_label "read-only"
["<read-only>"]
$ call role.get_by_name_label "vm-operator"
["<operator>"]
$ call role.get_by_name_label "pool-admin"
["<admin>"]

# A user without a subject is let in nowhere.
$ xe@carol vm-list
! The user is known, but has not been granted access to this pool.
! username: carol
! msg: ...

# A subject with the role read-only reads and does nothing else.
$ call subject.create {"subject_identifier": "alice", "other_config": {}}
"<alice>"
$ call subject.add_to_roles "<alice>", "<read-only>"
""
$ call subject.remove_from_roles "<alice>", "<admin>"
""
$ call VM.get_by_name_label "Other install media"
["<template>"]
$ call@alice VM.get_name_label "<template>"
"Other install media"
$ call@alice VM.clone "<template>", "never"
! RBAC_PERMISSION_DENIED ["vm.clone", ...]
$ call@alice VM.set_name_label "<template>", "never"
! RBAC_PERMISSION_DENIED ["vm.set_name_label", ...]

# A VM's operator starts and stops, and does not make.
$ call subject.create {"subject_identifier": "bob", "other_config": {}}
"<bob>"
$ call subject.add_to_roles "<bob>", "<operator>"
""
$ call subject.remove_from_roles "<bob>", "<admin>"
""
$ xe vm-install template="Other install media" new-name-label=operated
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call@bob VM.start "<vm-ref>", false, false
""
$ call@bob VM.hard_shutdown "<vm-ref>"
""
$ call@bob VM.destroy "<vm-ref>"
! RBAC_PERMISSION_DENIED ["vm.destroy", ...]

# Some keys of a map have rights of their own.
$ call@bob VM.add_to_other_config "<vm-ref>", "folder", "/tests"
""
$ call@bob VM.add_to_other_config "<vm-ref>", "anything", "else"
! RBAC_PERMISSION_DENIED ["vm.add_to_other_config", ...]
$ xe vm-destroy uuid=<vm>

# Sessions of a subject end with it.
$ call subject.destroy "<alice>"
""
$ call@alice VM.get_name_label "<template>"
! SESSION_INVALID [...]
$ call subject.destroy "<bob>"
""
