The database is dumped, and restored as it was. [fresh]

$ call VM.get_by_name_label "Other install media"
["<template>"]
$ call VM.clone "<template>", "kept  with \"blanks\" & > < 100%.\n"
"<vm>"
$ call VM.set_other_config "<vm>", {"a'b": "c\\d", "folder": "/x/y"}
""
$ call VM.provision "<vm>"
""
$ call VM.start "<vm>", false, false
""
$ call secret.create {"value": "hush", "other_config": {}}
"<secret>"
$ call event.from ["vm"], "", 1.0 | token
"<token>"

# It is XML with a table for each class.
$ xe pool-dump-database file-name=<dir>/dump
$ sh grep -o 'pair key="schema[^/]*' dump
pair key="schema_major_vsn" value="5"
pair key="schema_minor_vsn" value="909"
$ sh grep -c . dump
2
$ sh grep -o '<table name="session">' dump
$ sh head -c 1000 dump >half; sed 's/<table name="VM">/<table name="VM"><row ref="OpaqueRef:NULL"\/>/' dump >bad; sed 's/schema_major_vsn" value="5"/schema_major_vsn" value="6"/' dump >later; echo '<!DOCTYPE x [<!ENTITY e "e">]><database/>' >entity; sed 's/<table name="pool">.*<table name="pool_patch">/<table name="pool_patch">/' dump >stranger

# What cannot be restored is refused before anything is changed.
$ xe pool-restore-database file-name=<dir>/half dry-run=true
! The server failed in an unexpected way, probably through a bug. Its logs hold the details.
! message: the dump cannot be restored: it is not well-formed XML, or not whole
$ xe pool-restore-database file-name=<dir>/bad dry-run=true
! The server failed in an unexpected way, probably through a bug. Its logs hold the details.
! message: the dump cannot be restored: a row of VM has no reference
$ xe pool-restore-database file-name=<dir>/later dry-run=true
! The backup was made by a software version that cannot be restored on this one.
$ xe pool-restore-database file-name=<dir>/entity dry-run=true
! The server failed in an unexpected way, probably through a bug. Its logs hold the details.
! message: the dump cannot be restored: it has a definition of a document type
$ xe pool-restore-database file-name=<dir>/stranger dry-run=true
! The operation cannot be done in the present state; the reason says why.
! reason: The dump is of another pool, or another host was its coordinator.
$ xe pool-restore-database file-name=<dir>/dump
! Error: This operation will restore the database backup to this host, making it the master. All slave hosts are assumed dead and they will be forgotten. This operation must be forced (use --force).
$ xe pool-restore-database file-name=<dir>/dump dry-run=true
Dry-run backup restore successful
$ sh ls -d state/db*
state/db

# What was changed since is taken back; what was there is as it was, and machines go on.
$ call VM.clone "<template>", "made later"
"<later>"
$ call VM.set_name_description "<vm>", "changed"
""
$ xe pool-restore-database file-name=<dir>/dump --force
Host will reboot with restored database in 30.000 seconds...
$ until call VM.get_name_description "<vm>"
"Template for an operating system that has none of its own: nothing is assumed of it, and the machine starts without a disk."
$ call VM.get_name_label "<vm>"
"kept  with \"blanks\" & > < 100%.\n"
$ call VM.get_other_config "<vm>" | folder
"/x/y"
$ call VM.get_power_state "<vm>"
"Running"
$ call VM.get_name_label "<later>"
! HANDLE_INVALID ["VM", "<later>"]
$ call secret.get_value "<secret>"
"hush"
$ call event.from ["vm"], "<token>", 1.0
! EVENTS_LOST []
$ sh ls -d state/db*
state/db
state/db.before-restore

# It goes on from there, also after a crash.
$ call VM.set_name_description "<vm>", "afterwards"
""
$ kill
$ call VM.get_name_description "<vm>"
"afterwards"
$ call VM.hard_shutdown "<vm>"
""
$ xe pool-dump-database file-name=<dir>/again
