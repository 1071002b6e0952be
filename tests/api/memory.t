Machines whose memory can change share a host's memory: who comes squeezes others, who goes gives back. [fresh]

$ xe vm-install template="Other install media" new-name-label=a
<a>
$ xe vm-install template="Other install media" new-name-label=b
<b>
$ xe vm-install template="Other install media" new-name-label=c
<c>
$ xe vm-memory-limits-set uuid=<a> static-min=1GiB dynamic-min=10GiB dynamic-max=60GiB static-max=60GiB
$ xe vm-memory-limits-set uuid=<b> static-min=1GiB dynamic-min=20GiB dynamic-max=20GiB static-max=20GiB
$ xe vm-memory-limits-set uuid=<c> static-min=1GiB dynamic-min=20GiB dynamic-max=60GiB static-max=60GiB
$ call VM.get_by_uuid "<a>"
"<a-ref>"
$ call VM.get_by_uuid "<b>"
"<b-ref>"
$ call VM.get_by_uuid "<c>"
"<c-ref>"

# Alone it has all of its range.
$ xe vm-start uuid=<a>
$ until xe vm-param-get uuid=<a> param-name=other param-key=feature-balloon
1
$ call VM.get_memory_target "<a-ref>"
"64424509440"

# The next one squeezes it.
$ xe vm-start uuid=<b>
$ call VM.get_memory_target "<b-ref>"
"21474836480"
$ call VM.get_memory_target "<a-ref>"
"<squeezed>"
$ until xe vm-param-get uuid=<a> param-name=memory-actual
<squeezed>

# With a third that can change as well all have the same part of their ranges.
$ until xe vm-param-get uuid=<b> param-name=other param-key=feature-balloon
1
$ xe vm-start uuid=<c>
$ call VM.get_memory_target "<c-ref>"
"<third>"
$ call VM.get_memory_target "<a-ref>"
"<less>"
$ until xe vm-param-get uuid=<a> param-name=memory-actual
<less>

# What cannot be is refused, and changes nothing.
$ xe vm-install template="Other install media" new-name-label=d
<d>
$ xe vm-memory-limits-set uuid=<d> static-min=1GiB dynamic-min=30GiB dynamic-max=30GiB static-max=30GiB
$ xe vm-start uuid=<d>
! ...
! needed: ...
! available: ...
$ call VM.get_memory_target "<a-ref>"
"<less>"

# Who leaves gives back.
$ xe vm-shutdown uuid=<b> force=true
$ until call VM.get_memory_target "<a-ref>"
"<!less>"
$ xe vm-shutdown uuid=<c> force=true
$ until call VM.get_memory_target "<a-ref>"
"64424509440"
$ until xe vm-param-get uuid=<a> param-name=memory-actual
64424509440

# A guest that gives nothing back is found out and no longer counted on.
$ call host.get_all
["<host-ref>"]
$ call VM.get_cooperative "<a-ref>"
true
$ sim uncooperative=<a>
$ call VM.start "<b-ref>", false, false
! HOST_NOT_ENOUGH_FREE_MEMORY [...]
$ call VM.get_cooperative "<a-ref>"
false
$ call host.get_uncooperative_resident_VMs "<host-ref>"
["<a-ref>"]
$ call host.get_uncooperative_domains "<host-ref>"
["<a>"]
$ call VM.get_memory_target "<a-ref>"
"64424509440"
$ xe vm-param-get uuid=<b> param-name=power-state
halted

# When it gives back after all it is counted on again.
$ sim cooperative=<a>
$ until call VM.get_cooperative "<a-ref>"
true
$ call VM.start "<b-ref>", false, false
""
$ xe vm-param-get uuid=<b> param-name=power-state
running

# A suspended machine finds its memory again, although others have grown meanwhile.
$ until xe vm-param-get uuid=<b> param-name=other param-key=feature-suspend
1
$ xe vm-suspend uuid=<b>
$ until call VM.get_memory_target "<a-ref>"
"64424509440"
$ xe vm-resume uuid=<b>
$ xe vm-param-get uuid=<b> param-name=power-state
running

# The daemon's death changes nothing of it.
$ call VM.get_memory_target "<a-ref>"
"<before>"
$ kill
$ call VM.get_memory_target "<a-ref>"
"<before>"
$ xe vm-shutdown uuid=<b> force=true
$ until call VM.get_memory_target "<a-ref>"
"64424509440"
$ xe vm-shutdown uuid=<a> force=true
