A daemon that ends, and one that is killed, is as it was when it comes back; running machines notice nothing.

$ xe vm-install template="Other install media" new-name-label=stays
<vm>
$ call VM.get_by_uuid "<vm>"
"<ref>"
$ xe vm-start uuid=<vm>
$ call VM.get_domid "<ref>"
"<domid>"
$ xe vm-param-set uuid=<vm> name-description="written before the end"

# An orderly end.
$ restart
$ call VM.get_record "<ref>" | domid,name_description,power_state
{"domid": "<domid>", "name_description": "written before the end", "power_state": "Running"}

# kill -9.
$ xe vm-param-set uuid=<vm> name-description="written before the kill"
$ kill
$ call VM.get_record "<ref>" | domid,name_description,power_state
{"domid": "<domid>", "name_description": "written before the kill", "power_state": "Running"}
$ xe vm-shutdown uuid=<vm>
$ xe vm-param-get uuid=<vm> param-name=power-state
halted

# A guest that ends while no daemon runs is found halted.
$ xe vm-start uuid=<vm>
$ sim poweroff=<vm>
$ kill
$ until xe vm-param-get uuid=<vm> param-name=power-state
halted
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
