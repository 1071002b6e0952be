Chains of images become shorter once snapshots are gone; nothing of the disk changes.

$ xe sr-list type=ext --minimal
<sr>
$ xe vdi-create sr-uuid=<sr> name-label=chained virtual-size=4MiB
<vdi>
$ sh qemu-io -c "write -P 1 0 65536" $(find <dir>/state/ -name <vdi>.qcow2) | grep -c ^wrote
1
$ xe vdi-snapshot uuid=<vdi>
<first>
$ sh qemu-io -c "write -P 2 65536 65536" $(find <dir>/state/ -name <vdi>.qcow2) | grep -c ^wrote
1
$ xe vdi-snapshot uuid=<vdi>
<second>
$ sh qemu-io -c "write -P 3 131072 65536" $(find <dir>/state/ -name <vdi>.qcow2) | grep -c ^wrote
1
$ sh find <dir>/state/ -name "*.qcow2" | wc -l
5

# Not where it was switched off.
$ xe sr-param-set uuid=<sr> other-config:coalesce=false
$ xe vdi-destroy uuid=<first>
$ xe vdi-destroy uuid=<second>
$ xe sr-scan uuid=<sr>
$ sh find <dir>/state/ -name "*.qcow2" | wc -l
3

# With a limit it takes long enough to be seen, and to be cancelled.
$ xe sr-param-set uuid=<sr> other-config:coalesce-kbps=1
$ xe sr-param-set uuid=<sr> other-config:coalesce=true
$ xe sr-scan uuid=<sr>
$ until xe task-list name-label="Garbage Collection" status=pending params=name-label
name-label ( RO)    : Garbage Collection
$ xe task-list name-label="Garbage Collection" status=pending --minimal
<task>
$ xe vdi-snapshot uuid=<vdi>
<third>
$ xe vdi-destroy uuid=<third>
$ xe task-cancel uuid=<task>
$ until xe task-param-get uuid=<task> param-name=status
cancelled

# Without one it is done soon.
$ xe sr-param-remove uuid=<sr> param-name=other-config param-key=coalesce-kbps
$ xe sr-scan uuid=<sr>
$ until sh find <dir>/state/ -name "*.qcow2" | wc -l
1
$ until xe vdi-list sr-uuid=<sr> managed=false --minimal
$ sh qemu-io -c "read -P 1 0 65536" -c "read -P 2 65536 65536" -c "read -P 3 131072 65536" $(find <dir>/state/ -name <vdi>.qcow2) | grep -c ^read
3
$ xe vdi-param-get uuid=<vdi> param-name=name-label
chained
$ xe vdi-param-get uuid=<vdi> param-name=sm-config
image-format: qcow2
$ xe vdi-destroy uuid=<vdi>
