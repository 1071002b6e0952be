A host's own files go out as an archive, and come back. [fresh]

$ call host.get_all
["<host>"]

# Without the program there is no backup, and the answer says so.
$ sh curl -sk -u root:a-root-password -w '%{http_code}\n' -o answer 'https://127.0.0.1:<port>/host_backup'; ls answer
500
answer
$ xe host-backup file-name=<dir>/nothing
...
! ...xapid-host-backup...

# What the host's program writes is what the client gets, and what comes back reaches the other program, whole.
$ sh mkdir -p state/system/usr/sbin && head -c 3000000 /dev/urandom >archive && printf '%s\n' '#!/bin/sh' 'cat '$PWD'/archive; [ ! -f '$PWD'/backup.fails ]' >state/system/usr/sbin/xapid-host-backup && printf '%s\n' '#!/bin/sh' '[ ! -f '$PWD'/restore.fails ] || { echo "no room" >&2; exit 1; }' 'cp "$1" '$PWD'/restored' >state/system/usr/sbin/xapid-host-restore && chmod +x state/system/usr/sbin/*
$ xe host-backup file-name=<dir>/got
$ sh cmp archive got
$ xe host-restore file-name=<dir>/got
$ sh cmp archive restored; ls state | grep -c restore
0

# A failure is told, and leaves nothing.
$ sh touch restore.fails
$ xe host-restore file-name=<dir>/got
...
! ...no room...
$ sh touch backup.fails
$ xe host-backup file-name=<dir>/got-2
...
! ...
$ sh ls state | grep -c restore
0
$ sh curl -sk -u root:a-root-password -w '%{http_code}\n' -o /dev/null -T got 'https://127.0.0.1:<port>/host_restore?ref=OpaqueRef:NULL'
404

# The programs that come with xapid: what is put back is what there was.
$ sh mkdir -p from/etc/deep from/root from/srv to/etc && echo one >from/etc/deep/file && echo two >from/root/.profile && echo no >from/srv/data && ln -s deep/file from/etc/link && chmod 600 from/etc/deep/file && <top>/packaging/xapid-host-backup from >whole.tgz && echo old >to/etc/link && <top>/packaging/xapid-host-restore whole.tgz to && (cd to && find . -not -type d | sort) && cat to/etc/link && stat -c %a to/etc/deep/file
./etc/deep/file
./etc/link
./root/.profile
./var/lib/xapid-host-backup/packages
one
600
$ sh head -c 100 whole.tgz >part.tgz; <top>/packaging/xapid-host-restore part.tgz to
...
! this is no archive, or not all of one
