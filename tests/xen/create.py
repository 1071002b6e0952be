# SPDX-License-Identifier: LGPL-2.1-or-later
"""create.py -- how long VM.start takes until the guest runs, beside "xl create" of the same guest: kernel, ramdisk, memory,
command line, and a disk on a block device that a server of its own shows, as xapid's data path does it.  The two take turns;
all of it in dom0, each as one command, so that both pay for the start of a process."""

import re
import statistics

from host import Guest, KERNEL_WORDS
from life import IMAGE

PAIRS, MEMORY = 7, 128
MORE = 0.5  # seconds that VM.start may take longer than xl: it also makes the disk ready, and records what it does
TURNS = r"""set -e
now() { date +%s.%N; }
lap() { awk "BEGIN { print \"$1\", $(now) - $2 }"; }
xe() { command xe -u root -pw a-root-password "$@"; }
xe vm-shutdown uuid=$VM force=true 2>/dev/null || :
cat >/root/create.cfg <<END
name="create-xl"
type="pv"
kernel="/boot/guest/vmlinux"
ramdisk="/boot/guest/guest.cpio"
extra="$WORDS"
memory=$MEMORY
disk=["phy:/dev/nbd31,xvda,w"]
END
cp "$DISK" /root/create.qcow2
for turn in $(seq $PAIRS); do
    begin=$(now); xe vm-start uuid=$VM; lap xapid $begin
    xe vm-shutdown uuid=$VM force=true
    begin=$(now)
    qemu-storage-daemon --daemonize --pidfile /run/create.pid --blockdev driver=file,node-name=f,filename=/root/create.qcow2,cache.direct=on \
        --blockdev driver=qcow2,node-name=i,file=f --nbd-server addr.type=unix,addr.path=/run/create.nbd \
        --export id=disk,type=nbd,node-name=i,name=disk,writable=on
    nbd-client -unix /run/create.nbd /dev/nbd31 -N disk -b 512 >/dev/null 2>&1
    lap disk $begin
    begin=$(now); xl create -q /root/create.cfg; lap xl $begin
    xl destroy create-xl
    nbd-client -d /dev/nbd31 >/dev/null 2>&1
    kill $(cat /run/create.pid)
done
rm -f /root/create.qcow2 /root/create.cfg /run/create.*
"""


def create(host, report):
    g = Guest(host, "create", "pv", memory=MEMORY).add_disk(IMAGE)
    path = host.dom0(f"find /var/lib/xapid -path '*{g.vdi}*' -type f -size +64k").split()[0]
    said = host.dom0(f"VM={g.vm}; DISK={path}; PAIRS={PAIRS}; MEMORY={MEMORY}; WORDS='{KERNEL_WORDS} root=/dev/xvda'\n{TURNS}", timeout=600)
    took = {what: [float(s) for s in re.findall(rf"^{what} (\S+)", said, re.M)] for what in ("xapid", "xl", "disk")}
    middle = {what: statistics.median(all_) for what, all_ in took.items()}
    for what, text in (("xapid", "VM.start"), ("xl", "xl create"), ("disk", "a disk's server, which xl needs before")):
        report.note(f"{text}: median {middle[what]:.2f} s of {' '.join(f'{t:.2f}' for t in took[what])}")
    report.check(len(took["xapid"]) == PAIRS and middle["xapid"] <= middle["xl"] + MORE,
                 f"VM.start takes at most {MORE} s longer than xl create", middle, said[-500:])
    g.remove()
