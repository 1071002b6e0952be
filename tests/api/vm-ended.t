What happens to a machine whose guest ends by itself.

$ xe vm-install template="Other install media" new-name-label=ending
<vm>
$ call VM.get_by_uuid "<vm>"
"<ref>"

# A soft reboot does what its setting says.
$ call VM.set_actions_after_softreboot "<ref>", "destroy"
""
$ xe vm-start uuid=<vm>
$ sim soft-reboot=<vm>
$ until xe vm-param-get uuid=<vm> param-name=power-state
halted
$ call VM.set_actions_after_softreboot "<ref>", "preserve"
""
$ xe vm-start uuid=<vm>
$ sim soft-reboot=<vm>
$ until xe vm-param-get uuid=<vm> param-name=power-state
paused
$ xe vm-shutdown uuid=<vm> force=true
$ call VM.set_actions_after_softreboot "<ref>", "soft_reboot"
""
$ xe vm-start uuid=<vm>
$ call VM.get_domid "<ref>"
"<domid>"
$ sim soft-reboot=<vm>
$ until call VM.get_record "<ref>" | domid,power_state
{"domid": "<!domid>", "power_state": "Running"}

# A crash with a core dump leaves one, and the machine halted.
$ call VM.set_actions_after_crash "<ref>", "coredump_and_destroy"
""
$ sim crash=<vm>
$ until xe vm-param-get uuid=<vm> param-name=power-state
halted
$ sh ls <dir>/state/dumps | cut -c1-36
<vm>

# One that crashes so soon after its start is not started again, but dumped.
$ call VM.set_actions_after_crash "<ref>", "coredump_and_restart"
""
$ xe vm-start uuid=<vm>
$ sim crash=<vm>
$ until xe vm-param-get uuid=<vm> param-name=power-state
halted
$ sh ls <dir>/state/dumps | wc -l
2
$ sh rm -r <dir>/state/dumps
$ call VM.set_actions_after_crash "<ref>", "preserve"
""
$ xe vm-start uuid=<vm>
$ sim crash=<vm>
$ until xe vm-param-get uuid=<vm> param-name=power-state
paused
$ sh ls <dir>/state
...
$ xe vm-uninstall uuid=<vm> force=true
...
