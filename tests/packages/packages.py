#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""packages.py [--short | --rpm] -- the Debian packages, as packaging/build-packages makes them: built, looked at, and lived with in a small Debian.

Two versions are built that differ in nothing but the changelog's version.  The Debian has what apt says they depend on, and none of
them; life.py installs, upgrades, removes and purges them within it, under its systemd.  --short leaves out what begins with the second
version, --rpm builds the RPMs as well.  XAPID_KEEP=1 keeps the folder with the guest's console.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TESTS, d) for d in ("lib", "durability/powercut", "systemd")]
import guest  # noqa: E402
import image  # noqa: E402
import units  # noqa: E402
from daemon import TOP  # noqa: E402
from report import Report, fatal  # noqa: E402

OUTPUT = os.path.join(TOP, "build-packages-check")
NAMES = {"libxapi-dev", "libxapi1", "xapi-witness", "xapid", "xapid-doc", "xe"}
NEXT = "+next"
INSIDE = ("packages/life.py", "systemd/inside.py", "systemd/fds.py", "systemd/transfer.py", "lib/report.py", "lib/daemon.py", "lib/lab.py")
UNIT = units.TEST_UNIT.replace("inside.py", "life.py")
units.TIMEOUT = 1500  # of the guest: scripts of packages are slow without KVM


def run(*words, **how):
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **how)


def field(path, name):
    return run("dpkg-deb", "-f", path, name).stdout.strip()


def build(report, *words):
    """True if build-packages goes well; what it says otherwise is said."""
    begin = time.monotonic()
    done = run(os.path.join(TOP, "packaging/build-packages"), "--output", OUTPUT, *words,
               env={**os.environ, "DEB_BUILD_OPTIONS": "noautodbgsym"})
    how = " ".join(["packaging/build-packages", *words])
    return report.check(done.returncode == 0, f"{how} goes well ({time.monotonic() - begin:.0f} s)", *done.stdout.splitlines()[-30:])


def by_name(folder):
    """{package: path}"""
    return {field(p, "Package"): p for p in sorted(glob.glob(os.path.join(folder, "*.deb")))}


# ---- looked at ----

def depends(path):
    """The names it cannot do without."""
    text = ", ".join(field(path, f) for f in ("Pre-Depends", "Depends"))
    return {re.split(r"[ (:]", d.strip())[0] for d in text.split(",") if d.strip()}


def look(report, debs):
    report.check(set(debs) == NAMES, "there are the six packages", sorted(debs))
    said = run("lintian", "--show-overrides", *glob.glob(os.path.join(OUTPUT, "*.changes"))).stdout.splitlines()
    # The overridden one also shows that lintian has looked.
    report.check(any(line.startswith("O: xapid: maintainer-script-calls-systemctl") for line in said), "lintian looks at them", *said)
    report.check_none([line for line in said if line.startswith(("E:", "W:"))], "and finds no fault")
    report.check_none([line for line in said if line.startswith(("O:", "M:")) and "-calls-systemctl" not in line], "nothing else is overridden")
    report.check_none(sorted(depends(debs["xe"]) & {"xapid", "libraft0", "qemu-utils"}), "xe drags nothing of a host in")
    raft = re.search(r"libraft\w* \(>= ([^)]*)\)", field(debs["xapid"], "Depends"))
    good = raft and run("dpkg", "--compare-versions", raft[1], "ge", "0.22.1~").returncode == 0
    report.check(good, "xapid asks for a libraft that loses nothing", field(debs["xapid"], "Depends"))
    for name in ("xapid", "xapi-witness"):
        report.check("libraft0 (<< 0.22.1~)" in field(debs[name], "Breaks"), f"{name} does not bear an older one beside it")


def man_pages(report, tree):
    """Each program has one, and man has nothing to say about it."""
    pages = sorted(glob.glob(os.path.join(tree, "usr/share/man/man*/*")))
    faults = []
    for page in pages:
        said = subprocess.run(["man", "--warnings", "--local-file", page], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, env={**os.environ, "MANWIDTH": "80"})
        if said.returncode or said.stderr or not said.stdout:
            faults.append(f"{os.path.basename(page)}: {said.stderr[:300]}")
    report.check_none(faults, f"man takes all of {len(pages)} pages without a warning")
    programs = [p for d in ("usr/bin", "usr/sbin") for p in glob.glob(os.path.join(tree, d, "*"))]
    named = {os.path.basename(p).split(".")[0] for p in pages}
    report.check_none(sorted({os.path.basename(p) for p in programs} - named), f"all of {len(programs)} programs have one")


def development(report, tree, folder):
    """A program outside of this tree is built against what libxapi-dev installs, and runs with what libxapi1 does."""
    architecture = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").stdout.strip()
    libraries = os.path.join(tree, "usr/lib", architecture)
    env = {**os.environ, "PKG_CONFIG_SYSROOT_DIR": tree, "PKG_CONFIG_LIBDIR": os.path.join(libraries, "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "libxapi", env=env).stdout.split()
    for name in ("list-vms", "tour"):
        program = os.path.join(folder, name)
        source = os.path.join(tree, "usr/share/doc/libxapi-dev/examples", name + ".c")
        done = run("cc", "-o", program, source, *flags, f"-Wl,-rpath-link,{libraries}")
        report.check(done.returncode == 0, f"the example {name}.c is built with pkg-config libxapi", done.stdout)
        used = run(program, env={**os.environ, "LD_LIBRARY_PATH": libraries})
        report.check("usage" in used.stdout, "and runs", used.stdout)
    linked = run("objdump", "-T", os.path.join(libraries, "libxapi.so.1")).stdout
    own = {line.split()[-1] for line in linked.splitlines() if " g " in line and "LIBXAPI_1" in line} - {"LIBXAPI_1"}
    foreign = [s for s in own if not re.match(r"(api|arena|enum|error|ref|uuid|xapi)_", s)]
    report.check(own and not foreign, f"the library shows what its headers declare ({len(own)} names)", foreign[:20])


# ---- lived with ----

def needed(debs):
    """What a Debian without them must have for 'dpkg -i' to take them; libraft0 comes with them, as apt's pin would bring it."""
    out = set().union(*(depends(p) for p in debs.values())) - NAMES
    return sorted(n for n in out if not n.startswith(("libraft", "libxapi1-abi"))) + ["systemd", "python3", "procps", "iproute2", "liblz4-1"]


def raft_package(folder):
    """The library, from where this machine's apt has it, into 'folder'."""
    done = run("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "libraft0", cwd=folder)
    found = glob.glob(os.path.join(folder, "libraft*.deb"))
    if done.returncode or not found:
        fatal(f"libraft0 can be downloaded: {done.stdout[-500:]}")
    return found[0]


def live(report, folder, old, new):
    def install(tree):
        for name, debs in (("old", old), ("new", new)):
            shutil.copytree(debs, os.path.join(tree, "packages", name))
        os.makedirs(os.path.join(tree, "test"))
        for path in INSIDE:
            shutil.copy(os.path.join(TESTS, path), os.path.join(tree, "test"))
        units.write(os.path.join(tree, "etc/systemd/system/guest-test.service"), UNIT)
        wants = os.path.join(tree, "etc/systemd/system/multi-user.target.wants")
        os.makedirs(wants)
        os.symlink("/etc/systemd/system/guest-test.service", os.path.join(wants, "guest-test.service"))
    begin = time.monotonic()
    disk = image.image("packages-guest", needed(by_name(old)), with_libraries=False)
    report.note(f"the image: {time.monotonic() - begin:.0f} s")
    begin = time.monotonic()
    machine = units.Machine(folder, disk, units.make_initramfs(folder, install))
    try:
        ended = machine.follow(report)
    finally:
        machine.close()
    report.check(ended, f"the guest comes to the end of its test ({time.monotonic() - begin:.0f} s)")


def unpack(debs, folder):
    for path in debs.values():
        subprocess.run(["dpkg-deb", "-x", path, folder], check=True)
    return folder


def all_of_it(report, folder):
    old, new = os.path.join(folder, "old"), os.path.join(folder, "new")
    if not build(report):
        return
    debs = by_name(OUTPUT)
    look(report, debs)
    for path in debs.values():
        os.makedirs(old, exist_ok=True)
        shutil.copy(path, old)
    tree = unpack(debs, os.path.join(folder, "tree"))
    man_pages(report, tree)
    development(report, tree, folder)
    if "--short" in sys.argv[1:]:
        return
    if not build(report, "--version", field(debs["xapid"], "Version") + NEXT):
        return
    os.makedirs(new)
    for path in by_name(OUTPUT).values():
        shutil.copy(path, new)
    raft = raft_package(folder)
    shutil.copy(raft, old)
    live(report, folder, old, new)


def rpms(report):
    if not build(report, "--rpm"):
        return
    found = [os.path.basename(p) for p in glob.glob(os.path.join(OUTPUT, "*.rpm")) if "-debug" not in p]
    report.check(len(found) == 6, "there are six RPMs", found)
    files = {f for p in glob.glob(os.path.join(OUTPUT, "*.rpm")) for f in run("rpm", "-qlp", p).stdout.split()}
    wanted = ["/usr/sbin/xapid", "/usr/bin/xe", "/usr/sbin/xapi-witness", "/usr/lib/systemd/system/xapid.service", "/etc/pam.d/xapid"]
    report.check_none([f for f in wanted if f not in files], "they have what they should")


def main():
    report = Report()
    folder = tempfile.mkdtemp(prefix="xp-")
    try:
        all_of_it(report, folder)
        if "--rpm" in sys.argv[1:]:
            rpms(report)
    except guest.Missing as e:
        print(f"ok - # SKIP packages: {e}", flush=True)
        sys.exit(77)
    finally:
        if os.environ.get("XAPID_KEEP"):
            print(f"#   kept: {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
