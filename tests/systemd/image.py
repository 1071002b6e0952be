# SPDX-License-Identifier: LGPL-2.1-or-later
"""image.py -- a small Debian with systemd, as a disk image, made by mmdebstrap from the sources this machine's apt uses.

It is kept in the build directory and made anew where the list of packages or of what is copied into it changes.  The libraries that
xapid needs, and qemu-img and qemu-nbd with theirs, are this machine's: what was built here was built against them.
"""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

import guest  # tests/durability/powercut
from daemon import BUILD, PASSWORDS, program

PACKAGES = ("systemd", "python3")
PROGRAMS = ("qemu-img", "qemu-nbd")  # of this machine
MASKED = ("getty.target", "systemd-logind.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
          "systemd-pstore.service", "e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer",
          "systemd-binfmt.service", "systemd-journal-catalog-update.service", "ldconfig.service")
SIZE = "2G"  # sparse
VERSION = "2"  # raised where this file makes another image from the same lists
TIMEOUT = 600


def _release():
    with open("/etc/os-release") as f:
        name = re.search(r"^VERSION_CODENAME=(\S+)", f.read(), re.M)
    if not name:
        raise guest.Missing("this system is no Debian release")
    return name[1]


def _sources(release):
    """apt's files that name this release; not those of other packages' vendors."""
    out = []
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list") + glob.glob("/etc/apt/sources.list.d/*.sources"))]:
        if os.path.isfile(path):
            with open(path) as f:
                if re.search(rf"(^|\s){release}(-security|-updates)?(\s|$)", f.read()):
                    out.append(path)
    if not out:
        raise guest.Missing(f"apt has no source for {release}")
    return out


def _copied():
    """{path in the guest: file of this machine}"""
    programs = [shutil.which(p) or p for p in PROGRAMS]
    built = [program(p) for p in ("xapid", "xapid-sim", "xapid-pam", "xapid-passwd", "xe")]
    libraries = set().union(*(guest.libraries(p) for p in [*programs, *built]))
    return {p: os.path.realpath(p) for p in [*programs, *libraries] if not os.path.abspath(p).startswith(BUILD + os.sep)}


def _key(release, packages, copied):
    facts = [VERSION, release, SIZE, *packages, *MASKED, PASSWORDS["root"]]
    for path, source in sorted(copied.items()):
        st = os.stat(source)
        facts += [path, str(st.st_size), str(st.st_mtime_ns)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _apt_options():
    """How this machine's apt reaches its mirrors."""
    text = subprocess.run(["apt-config", "dump", "--format", "%f \"%v\";%n", "Acquire"], capture_output=True, text=True, check=True).stdout
    return [s for s in text.splitlines() if re.match(r"Acquire::(Check-|http|https|AllowInsecure)", s)]


def _bootstrap(root, release, packages):
    options = [*_apt_options(), 'APT::Install-Recommends "false";']
    command = ["mmdebstrap", "--quiet", "--variant=essential", "--mode=root", "--format=directory", *(f"--aptopt={o}" for o in options),
               "--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "locale", "doc", "info")),
               "--include=" + ",".join(packages), release, root, *_sources(release)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    if done.returncode:
        raise RuntimeError("mmdebstrap: " + "\n".join(done.stdout.splitlines()[-15:]))


def _configure(root, copied):
    for path, source in copied.items():
        if not os.path.lexists(root + path):  # its own libc stays
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            shutil.copy(source, root + path)
    for unit in MASKED:
        link = os.path.join(root, "etc/systemd/system", unit)
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink("/dev/null", link)
    texts = {"etc/machine-id": "0123456789abcdef0123456789abcdef\n",  # not a first boot
             "etc/hostname": "guest\n", "etc/hosts": "127.0.0.1 localhost guest\n::1 localhost\n", "etc/fstab": ""}
    for path, text in texts.items():
        with open(os.path.join(root, path), "w") as f:
            f.write(text)
    hashed = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=PASSWORDS["root"], capture_output=True, text=True, check=True).stdout.strip()
    replace_line(os.path.join(root, "etc/passwd"), "root:", "root:x:0:0:root:/root:/bin/sh")
    replace_line(os.path.join(root, "etc/shadow"), "root:", f"root:{hashed}:20000:0:99999:7:::")


def replace_line(path, begin, line):
    with open(path) as f:
        lines = [s for s in f.read().splitlines() if not s.startswith(begin)]
    with open(path, "w") as f:
        f.write("\n".join([line, *lines]) + "\n")


def image(name="systemd-guest", packages=PACKAGES, with_libraries=True):
    """Its path.  Whoever comes while another makes it waits.  'with_libraries': of this machine, for what is installed from a build;
    packages bring what they need."""
    for tool in ("mmdebstrap", "mke2fs", "apt-config"):
        if not shutil.which(tool):
            raise guest.Missing(f"{tool} (packaging/install-deps)")
    if os.geteuid():
        raise guest.Missing("root's rights, to make a Debian root")
    release, copied = _release(), _copied() if with_libraries else {}
    folder = os.path.join(BUILD, name)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"root-{_key(release, packages, copied)}.ext4")
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            for old in glob.glob(os.path.join(folder, "root-*")):
                os.unlink(old)
            _make(path, release, packages, copied)
    return path


def _make(path, release, packages, copied):
    with tempfile.TemporaryDirectory(prefix="xs-") as folder:
        root = os.path.join(folder, "root")
        _bootstrap(root, release, packages)
        _configure(root, copied)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root, path + ".new", SIZE], check=True)
        os.rename(path + ".new", path)
