Templates: what is supplied, made, made into machines.

$ call VM.get_by_name_label "Other install media"
["<template>"]
$ call VM.get_record "<template>" | is_a_template,is_default_template,power_state
{"is_a_template": true, "is_default_template": true, "power_state": "Halted"}

# A clone of a template is a template until it is provisioned.
$ call VM.clone "<template>", "mine"
"<mine>"
$ call VM.get_record "<mine>" | is_a_template,is_default_template
{"is_a_template": true, "is_default_template": false}
$ call VM.provision "<mine>"
""
$ call VM.get_is_a_template "<mine>"
false

# Disks described in a template are made by provisioning.
$ xe sr-list type=ext --minimal
<sr>
$ call VM.clone "<template>", "with a disk"
"<disky>"
$ call VM.add_to_other_config "<disky>", "disks", "<provision><disk device='0' size='16777216' sr='<sr>' bootable='true' type='system'/></provision>"
""
$ call VM.provision "<disky>"
""
$ call VM.get_VBDs "<disky>"
["<vbd>"]
$ call VBD.get_VDI "<vbd>"
"<vdi>"
$ call VDI.get_record "<vdi>" | type,virtual_size
{"type": "system", "virtual_size": "16777216"}
$ call VM.start "<disky>", false, false
""
$ call VM.hard_shutdown "<disky>"
""

# A VM becomes a template, and what is made of it has its disk.
$ call VM.set_is_a_template "<disky>", true
""
$ call VM.get_record "<disky>" | is_a_template
true
$ call VM.start "<disky>", false, false
! VM_IS_TEMPLATE ["<disky>", "start"]
$ call VM.clone "<disky>", "of mine"
"<copy>"
$ call VM.provision "<copy>"
""
$ call VM.get_VBDs "<copy>" | #
1
$ xe vm-uninstall name-label="of mine" force=true
The following items are about to be destroyed
...
All objects destroyed
$ call VM.destroy "<disky>"
""
$ call VDI.destroy "<vdi>"
""
$ call VM.destroy "<mine>"
""
