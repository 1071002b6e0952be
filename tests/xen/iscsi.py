# SPDX-License-Identifier: LGPL-2.1-or-later
"""iscsi.py -- a guest whose disk is on a LUN of an iSCSI target: the kernel's own target, which asks for a password, and open-iscsi.

Both are in dom0, so the target cannot be silent by itself here; that it is not there can be tried.
"""

import re

from host import Guest
from life import IMAGE, nothing_left
from lvm import KERNEL, active, disks, fails, nothing_active, runs

ADDRESS, PORT = "127.0.0.1", 3260
IQN, INITIATOR = "iqn.2003-01.org.example:lab", "iqn.1993-08.org.debian:01:lab"
FILE, SIZE = "/srv/iscsi.img", 1024  # MiB
USER, PASSWORD = "lab", "lab-secret-12"
TREE = "/sys/kernel/config/target"
GROUP = f"{TREE}/iscsi/{IQN}/tpgt_1"
SESSIONS = "ls /sys/class/iscsi_session 2>/dev/null"
RECORDS = "find /etc/iscsi -path '*iqn*' 2>/dev/null"


class Target:
    """A file of dom0's as LUN 0, for anybody who knows the password."""

    def __init__(self, host):
        self.host = host
        self.close()
        host.dom0(f"""set -e
            modprobe -a sd_mod target_core_mod target_core_file iscsi_target_mod iscsi_tcp dm-mod
            mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
            truncate -s {SIZE}M {FILE}
            mkdir -p {TREE}/core/fileio_0/lab
            echo fd_dev_name={FILE},fd_dev_size={SIZE << 20} > {TREE}/core/fileio_0/lab/control
            echo 1 > {TREE}/core/fileio_0/lab/enable
            echo lab-serial > {TREE}/core/fileio_0/lab/wwn/vpd_unit_serial
            mkdir -p {GROUP}/lun/lun_0 {GROUP}/np/{ADDRESS}:{PORT}
            ln -s {TREE}/core/fileio_0/lab {GROUP}/lun/lun_0/lab
            for a in generate_node_acls=1 cache_dynamic_acls=1 demo_mode_write_protect=0 authentication=1; do
                echo "${{a#*=}}" > {GROUP}/attrib/"${{a%=*}}"
            done
            printf %s {USER} > {GROUP}/auth/userid
            printf %s {PASSWORD} > {GROUP}/auth/password
            echo InitiatorName={INITIATOR} > /etc/iscsi/initiatorname.iscsi
            pgrep iscsid > /dev/null || iscsid""")
        self.open(True)

    def open(self, is_open):
        self.host.dom0(f"echo {int(is_open)} > {GROUP}/enable")

    def close(self):
        self.host.dom0(f"""[ ! -e {GROUP} ] || {{
            echo 0 > {GROUP}/enable; rm -f {GROUP}/lun/lun_0/lab
            rmdir {GROUP}/lun/lun_0 {GROUP}/np/* {GROUP} {TREE}/iscsi/{IQN} {TREE}/core/fileio_0/lab
        }} 2>/dev/null; rm -f {FILE}""", check=False)


def words(**settings):
    return [f"device-config:{k}={v}" for k, v in settings.items()]


def found(host, report):
    """The three steps; returns the settings that the last one takes."""
    h = host.ask("host-list", "--minimal")
    login = words(target=ADDRESS, chapuser=USER, chappassword=PASSWORD)

    def probe(*more):
        result = host.xe("sr-probe", "type=lvmoiscsi", f"host-uuid={h}", *more)
        return result.stdout + result.stderr
    said = probe(*login)
    report.check("SR_BACKEND_FAILURE_96" in said and f"<TargetIQN>{IQN}</TargetIQN>" in said, "a probe finds the target's name", said)
    refused = probe(*words(target=ADDRESS, targetIQN=IQN, chapuser=USER, chappassword="not-this-one-x"))
    report.check("SR_BACKEND_FAILURE_68" in refused, "a wrong password is refused, and the error says so", refused)
    said = probe(*login, *words(targetIQN=IQN))
    lun = re.search(r"<LUNid>0</LUNid><size>(\d+)</size><SCSIid>([^<]+)</SCSIid>", said)
    report.check("SR_BACKEND_FAILURE_107" in said and lun and int(lun[1]) == SIZE << 20 and "LIO-ORG" in said and "lab-serial" in said,
                 "the next one finds its LUN", said)
    if not lun:
        raise RuntimeError("the LUN is not found")
    where = [*login, *words(targetIQN=IQN, SCSIid=lun[2])]
    said = probe(*where)
    report.check("<SRlist></SRlist>" in said, "and the last one that nothing is on it", said)
    left = host.dom0(f"{SESSIONS}; {RECORDS}; ls -A /run/sr-mount 2>/dev/null", check=False)
    report.check_none(left.split(), "of all that no session is left, no record and no mark")
    return where


def is_away(host, report, target, sr):
    pbd = host.ask("pbd-list", f"sr-uuid={sr}", "--minimal")
    was = disks(host, sr)
    host.ask("pbd-unplug", f"uuid={pbd}")
    left = host.dom0(f"{SESSIONS}; {RECORDS}; ls -A /run/sr-mount", check=False)
    report.check(not left.split() and not active(host), "unplugged it is logged out of, and leaves nothing on its host", left)
    target.open(False)
    fails(report, host, ("pbd-plug", f"uuid={pbd}"), "SR_BACKEND_FAILURE_(68|141)", "a target that is away is named", ADDRESS)
    target.open(True)
    host.ask("pbd-plug", f"uuid={pbd}")
    host.ask("sr-scan", f"uuid={sr}")
    report.check(disks(host, sr) == was, "once it is back the repository has the disks it had", was, disks(host, sr))


def iscsi(host, report):
    target = Target(host)
    try:
        before = host.world()
        where = found(host, report)
        sr = host.ask("sr-create", "type=lvmoiscsi", "content-type=user", "name-label=san", *where)
        report.check("session" in host.dom0(SESSIONS), "a repository is made on the LUN, and its host is logged in")
        g = Guest(host, "iscsi", "pvh", "root=/dev/xvda guest.load=64").add_disk(IMAGE, sr)
        runs(host, report, g)
        g.do("shutdown")
        nothing_active(host, report, "without guests no volume is active")
        is_away(host, report, target, sr)
        g.remove()
        host.ask("pbd-unplug", f"uuid={host.ask('pbd-list', f'sr-uuid={sr}', '--minimal')}")
        host.ask("sr-destroy", f"uuid={sr}")
        left = host.dom0(f"{SESSIONS}; {RECORDS}; ls -A /run/sr-mount; vgs --noheadings; pgrep -a xapid-storage", check=False)
        report.check_none(left.split(), "a destroyed repository leaves nothing")
        nothing_left(host, report, before, "of a guest on iSCSI nothing is left over in dom0", ignore=KERNEL)
    finally:
        target.close()
