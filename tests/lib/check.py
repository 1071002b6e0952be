#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check [--SUITE]... [--quick | --long] [--minutes N] [--seed S]: builds xapid and runs its tests.

{suites}
  --quick       unit, golden, format and api: a few minutes
  --long        the long forms of durability, transfer, storage, pool, packages, fuzz and bench: hours
  --minutes N   how long each campaign of --pool lasts; --seed S: which one

Without a suite: all of them, packages only with --long.  Each suite says how long it took; the last line counts the tests.
What a test printed is in build/check/.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGS = os.path.join(TOP, "build", "check")
JOBS = max(1, os.cpu_count() or 1)
SKIPPED = 77
OK = re.compile(r"^ok\b(?!.*# SKIP)")
NOT_OK = re.compile(r"^not ok\b(?!.*# SKIP)")
SKIP = re.compile(r"^(not )?ok\b.*# SKIP")
SANITIZER = re.compile("ERROR: |runtime error: |WARNING: ThreadSanitizer")
BUILDS = {
    "build": [],
    "build-asan": ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1"],
    "build-tsan": ["-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1"],
    "build-fuzz": ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1", "-Dwerror=false",
                   "-Dc_args=-fsanitize=fuzzer-no-link -fno-sanitize=function"],
}
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": f"halt_on_error=0:second_deadlock_stack=1:suppressions={TOP}/tests/unit/log/tsan.supp",
    "LSAN_OPTIONS": "print_suppressions=0",
}


class Job:
    """A program to run and to count."""

    def __init__(self, name, command, minutes=10, env=None, whole=False):
        self.name, self.command, self.minutes, self.env = name, command, minutes, env or {}
        self.whole = whole  # counts as one test by its exit status


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.lock = threading.Lock()

    def add(self, passed, failed, skipped):
        with self.lock:
            self.passed += passed
            self.failed += failed
            self.skipped += skipped


totals = Counts()
running = {}
values = {}  # of --minutes and --seed


def say(text):
    print(text, flush=True)


# ---- building ----

def build(name, targets=()):
    """True if it is built; the targets, or all."""
    path = os.path.join(TOP, name)
    env = dict(os.environ)
    if name == "build-fuzz":
        env["CC"] = "clang"
    # Of one that is there: files may have come, and the tests' libraries.
    how = ["--reconfigure"] if os.path.exists(os.path.join(path, "build.ninja")) else BUILDS[name]
    begin = time.monotonic()
    for c in (["meson", "setup", *how, path, TOP], ["ninja", "-C", path, *targets]):
        done = subprocess.run(c, cwd=TOP, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            say("\n".join(done.stdout.splitlines()[-40:]))
            say(f"not ok - {name} is built")
            totals.add(0, 1, 0)
            return False
    say(f"  {name} is built ({minutes(begin)})")
    return True


def ninja_targets(path):
    done = subprocess.run(["ninja", "-C", path, "-t", "targets", "all"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [os.path.basename(line.split(":")[0]) for line in done.stdout.splitlines()]


def minutes(begin):
    return f"{(time.monotonic() - begin) / 60:.1f} min"


# ---- running ----

def find_strays(directory, leader):
    """[(pid, command line)] of what a test has left: its session's processes, and those that name its temporary directory."""
    strays = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
            session = os.getsid(int(pid))
        except (OSError, ProcessLookupError):
            continue
        if words and int(pid) != os.getpid() and (session == leader or directory in words):
            strays.append((int(pid), words))
    return strays


def end_strays(directory, leader):
    """Ends what a test has left.  What is about to end, as a sanitizer's helper is when its program has gone, gets the time for it."""
    end = time.monotonic() + 5
    while (strays := find_strays(directory, leader)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid, _ in strays:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return [words for _, words in strays]


def run(suite, job):
    """Runs one; returns its lines for the screen."""
    temporary = tempfile.mkdtemp(prefix="xc-")
    log_path = os.path.join(LOGS, f"{suite}-{job.name}.log".replace("/", "-"))
    env = {**os.environ, **SANITIZERS, **job.env, "TMPDIR": temporary, "CMOCKA_MESSAGE_OUTPUT": "TAP", "LC_ALL": "C.UTF-8"}
    with open(log_path, "w") as log:
        process = subprocess.Popen(job.command, cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        running[process.pid] = process
        try:
            status = process.wait(job.minutes * 60)
        except subprocess.TimeoutExpired:
            status = f"no end after {job.minutes} min"
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        running.pop(process.pid, None)
    strays = end_strays(temporary, process.pid)
    shutil.rmtree(temporary, ignore_errors=True)
    return judge(job, status, strays, log_path)


def judge(job, status, strays, log_path):
    with open(log_path, errors="replace") as f:
        lines = f.read().splitlines()
    passed = sum(1 for s in lines if OK.match(s))
    failed = sum(1 for s in lines if NOT_OK.match(s))
    skipped = sum(1 for s in lines if SKIP.match(s))
    show = []
    if job.whole:
        passed, failed = (1, 0) if status == 0 else (0, 1)
    elif status == SKIPPED:
        skipped = max(skipped, 1)
    elif status != 0 and not failed:
        failed = 1
        show = [f"not ok - {job.name} ends well", f"#   exit status {status}"] + [f"#   {s}" for s in reason(lines, 15)]
    elif status == 0 and not passed and not failed and not skipped:
        failed = 1
        show = [f"not ok - {job.name} runs any test"]
    if strays:
        failed += 1
        show += [f"not ok - {job.name} leaves nothing running"] + [f"#   {s[:200]}" for s in strays[:5]]
    totals.add(passed, failed, skipped)
    if failed:
        show = failures(lines) + show + [f"#   all of it: {os.path.relpath(log_path, TOP)}"]
    elif skipped:
        show = [f"  skipped: {s}" for s in lines if SKIP.match(s)] + show
    if job.whole and status != 0:
        show = [f"not ok - {job.name}"] + [f"#   {s}" for s in reason(lines)]
    return show


def reason(lines, at_most=20):
    """A sanitizer says first what is wrong and then much more; others say it last."""
    first = next((i for i, line in enumerate(lines) if SANITIZER.search(line)), None)
    return lines[-at_most:] if first is None else lines[first:first + 60]


def failures(lines, at_most=12):
    """The failed tests' lines with what is said about them, before (cmocka) or after (ours)."""
    out, found = [], 0
    for i, line in enumerate(lines):
        if not NOT_OK.match(line):
            continue
        found += 1
        if found > at_most:
            continue
        out.append(line)
        for more in lines[i + 1:i + 9]:
            if not more.startswith("#") and "ERROR" not in more:
                break
            out.append(more if more.startswith("#") else f"#   {more}")
    if found > at_most:
        out.append(f"#   ... and {found - at_most} more")
    return out


def run_all(suite, jobs, parallel):
    say(f"{suite}:")
    begin, before = time.monotonic(), (totals.passed, totals.failed)
    with ThreadPoolExecutor(parallel) as pool:
        for lines in pool.map(lambda job: run(suite, job), jobs):
            for line in lines:
                say(line)
    say(f"  {suite}: {totals.passed - before[0]} passed, {totals.failed - before[1]} failed ({minutes(begin)})")


# ---- suites ----

def unit_jobs(build_name, filter_out=()):
    out = []
    for name in sorted(n for n in ninja_targets(os.path.join(TOP, build_name)) if n.startswith("unit-")):
        path = os.path.join(TOP, build_name, "tests", name)
        if os.access(path, os.X_OK) and os.path.isfile(path) and name not in filter_out:
            out.append(Job(name, [path], 10, {"XAPID_SIM": find(build_name, "xapid-sim")}))
    return out


def find(build_name, name):
    """The path of a program in a build."""
    for folder, folders, names in os.walk(os.path.join(TOP, build_name)):
        folders[:] = [f for f in folders if not f.endswith(".p")]
        if name in names:
            return os.path.join(folder, name)
    return ""


def python(name, script, *args, build_name="build", limit=10, env=None):
    return Job(name, [sys.executable, os.path.join(TOP, "tests", script), *args], limit,
               {"XAPID_BUILD": os.path.join(TOP, build_name), **(env or {})})


def api(build_name, limit=10, env=None, name=""):
    return python(f"api-{build_name}{name}", "api/run.py", build_name=build_name, limit=limit, env=env)


def api_halves(build_name, limit):
    """Under a sanitizer the transcripts take as long as all the rest together."""
    files = sorted(os.path.join(TOP, "tests/api", n) for n in os.listdir(os.path.join(TOP, "tests/api")) if n.endswith(".t"))
    return [python(f"api-{build_name}-{part}", "api/run.py", *files[start::2], build_name=build_name, limit=limit)
            for start, part in enumerate(("even", "odd"))]


def suite_format(_long):
    run_all("format", [Job("clang-format", ["sh", "-c", 'git ls-files -co --exclude-standard "*.c" "*.h" | xargs clang-format --dry-run -Werror'], whole=True)], 1)


def suite_unit(_long):
    if build("build"):
        run_all("unit", unit_jobs("build"), JOBS)


def suite_golden(_long):
    if build("build"):
        run_all("golden", [python(n, f"golden/{n}.py") for n in ("compiler", "schema", "steps", "includes", "form", "commands", "coverage")], JOBS)


def suite_api(_long):
    if build("build"):
        # The same through the thin protocol, for commands of every kind.
        thin = {"XAPID_XE": os.path.join(TOP, "tests/clients/thin_xe.py")}
        some = [os.path.join(TOP, "tests/api", n + ".t") for n in ("errors", "lists", "roles", "tasks", "vdi", "vm-lifecycle")]
        run_all("api", [api("build"), python("api-stats", "api/stats.py"), python("api-cli", "api/cli.py"),
                        python("api-generated", "api/generated.py"), python("api-thin", "api/run.py", *some, env=thin)], JOBS)


def suite_asan(_long):
    if build("build-asan"):
        run_all("asan", api_halves("build-asan", 15) + unit_jobs("build-asan"), JOBS)


# Programs with one thread, that take minutes under ThreadSanitizer and cannot show it anything.
ONE_THREAD = ("unit-db-image", "unit-db-apply", "unit-db-tree", "unit-log-batch")


def suite_tsan(_long):
    if build("build-tsan"):
        run_all("tsan", api_halves("build-tsan", 15) + unit_jobs("build-tsan", ONE_THREAD), JOBS)


def suite_chaos(long):
    if build("build"):
        program = {"XAPID_PROGRAM": find("build", "xapid-chaos")}
        seeds = range(1, 11 if long else 2)
        run_all("chaos", [api("build", 20, {**program, "XAPID_CHAOS_SEED": str(s)}, f"-{s}") for s in seeds] +
                [python("kill9-chaos", "durability/kill9.py", "3", limit=15, env=program)], JOBS)


def suite_durability(long):
    if build("build"):
        run_all("durability", [
            python("kill9", "durability/kill9.py", "200" if long else "15", limit=120 if long else 15),
            python("full-disk", "durability/full_disk.py", limit=10),
            python("fifty", "durability/fifty.py", limit=10),
            python("powercut", "durability/powercut/powercut.py", "20" if long else "3", limit=120 if long else 20)], 1)


def suite_faults(_long):
    if build("build"):
        run_all("faults", [python("steps", "faults/steps.py", limit=30)], 1)


def suite_transfer(long):
    if build("build"):
        run_all("transfer", [python("transfer", "transfer/transfer.py", limit=10), python("images", "transfer/images.py", limit=8),
                             python("foreign", "transfer/foreign.py", limit=8),
                             python("sparse", "transfer/sparse.py", *(["--long"] if long else []), limit=20 if long else 5),
                             python("network-disks", "transfer/network_disks.py", limit=5), python("ending", "transfer/ending.py", limit=5)], 1)


def storage_jobs():
    """Drivers that work in a folder, each alone, and one of each sort behind each filter."""
    drivers = ["file", "ext", "file-apart", "iso", *[f"{d}+{f}" for d in ("file", "iso") for f in ("slow", "failing", "lost", "lying")], "file-apart+lost"]
    return [Job(f"conformance-{d}", [find("build", "storage-conformance"), d]) for d in drivers]


def tree_jobs(long):
    seed, trees = values.get("seed", "1"), find("build", "storage-trees")
    n = ("10000", "10000") if long else ("500", "150")
    return [Job("trees", [trees, "--operations", n[0], "--seed", seed], 240 if long else 8),
            Job("trees-killed", [trees, "--operations", n[1], "--seed", seed, "--kill"], 240 if long else 8)]


def error_jobs(long):
    """file and ext run the same functions, as file-apart and nfs do, so one of the two is enough but for the long form; of the second sort some
    stories are, for their storage process does what the first does in the daemon."""
    program = find("build", "storage-errors")
    if long:
        return [Job(f"errors-{d}", [program, d, "--all"], 120) for d in ("file", "ext", "iso", "nfs", "file-apart")]
    apart = [Job(f"errors-nfs-{s.replace(' ', '-')}", [program, "nfs", s], 10) for s in ("sr create", "sr attach", "sr scan", "sr destroy", "create", "export", "import")]
    return [Job("errors-file", [program, "file"], 20), Job("errors-iso", [program, "iso"], 5), *apart]


def suite_storage(long):
    if build("build"):
        run_all("storage", error_jobs(long) + tree_jobs(long) + storage_jobs() + [python("found", "storage/found.py", limit=5),
                                                                                python("lost", "storage/lost.py", limit=8)], JOBS)


def suite_network(long):
    if build("build"):
        tool = find("build", "network-tool")
        seeds, rounds = (range(1, 21), "2000") if long else (range(1, 4), "300")
        run_all("network", [python("cases", "network/cases.py"), *[Job(f"random-{s}", [tool, "random", str(s), rounds], 60) for s in seeds],
                            python("linux", "network/linux.py"), python("host-of-xapid", "network/host_of_xapid.py"),
                            python("many-vifs", "network/many_vifs.py", *([] if long else ["--short"])),
                            python("ovs", "network/ovs.py", *([] if long else ["--short"])), python("ovs-of-xapid", "network/ovs_of_xapid.py")], JOBS)
        show_notes("network-linux.log")


def suite_pool(long):
    if not build("build"):
        return
    length = values.get("minutes", "10" if long else "0.9")
    limit = 6 + 2 * float(length)
    rounds = "50" if long else "5"

    def campaign(name, *words):
        return python(name, "pool/campaign.py", "--minutes", length, *words, limit=limit)

    seed = ["--seed", values["seed"]] if "seed" in values else []
    broken = ("early", "deaf", "forgets") if long else ("deaf", "early")
    deaths = ["--rounds", "200"] if long else []
    # What is timed runs by itself; the others wait most of the time.
    run_all("pool", [campaign("3-hosts", "--hosts", "3", *seed), campaign("5-hosts", "--hosts", "5", *seed),
                     python("failover", "pool/failover.py", "--rounds", rounds, limit=60 if long else 8),
                     python("vms", "pool/vms.py", "--hosts", "3", "--minutes", length if long else "0.4", *seed, limit=limit + 6),
                     *([python("vms-5-hosts", "pool/vms.py", "--hosts", "5", "--minutes", length, *seed, limit=limit + 6)] if long else []),
                     python("ha", "pool/ha.py", *deaths, *seed, limit=180 if long else 8),
                     *([python("ha-5", "pool/ha.py", "--hosts", "5", "--rounds", "40", *seed, limit=60)] if long else []),
                     *([python("scale", "pool/scale.py", limit=20), python("scale-64", "pool/scale.py", "--instances", limit=30)] if long else [])], 1)
    run_all("pool", [python("join", "pool/join.py", limit=10),
                     python("kills", "pool/kills.py", *([] if long else ["--seconds", "45"]), *seed, limit=60 if long else 10),
                     python("kills-two", "pool/kills_two.py", *([] if long else ["--seconds", "10"]), *seed, limit=30 if long else 10),
                     python("versions", "pool/versions.py", limit=8), python("certificates", "pool/certificates.py", limit=8),
                     python("migrate", "pool/migrate.py", *(["--steps"] if long else []), *seed, limit=20 if long else 8),
                     python("migrate-disks", "pool/migrate_disks.py", *(["--steps"] if long else []), *seed, limit=40 if long else 8),
                     python("checker", "pool/selftest.py"),
                     python("roaming", "pool/roaming.py"),
                     python("forward", "pool/forward.py"),
                     python("shared", "pool/shared.py", limit=8),
                     python("storage-motion", "pool/storage_motion.py", *(["--steps"] if long else []), *seed, limit=20 if long else 8),
                     python("witness", "pool/witness.py", *(["--long"] if long else []), limit=8),
                     python("placement", "pool/placement.py"),
                     *[python(f"broken-{b}", "pool/campaign.py", "--minutes", "0.3", "--broken", b, *seed, limit=6) for b in broken],
                     python("vms-unfenced", "pool/vms.py", "--unfenced", *seed, limit=8),
                     *([python("vms-midway", "pool/vms.py", "--midway", limit=12)] if long else []),
                     *([python("ha-unfenced", "pool/ha.py", "--unfenced", *seed, limit=8)] if long else [])], JOBS)
    for name in ("3-hosts", "5-hosts", "failover", "vms", *(["vms-5-hosts"] if long else [])):
        show_notes(f"pool-{name}.log")


def show_notes(log):
    """What a program said besides its tests: seeds and figures."""
    with open(os.path.join(LOGS, log), errors="replace") as f:
        lines = [s.rstrip() for s in f if s.startswith(("# seed", "#   kill", "#   cut", "#   hand", "#   64", "#   6 ", "# 500")) or "times the" in s]
    say("\n".join("  " + s.lstrip("# ") for s in lines))


def suite_systemd(_long):
    if build("build"):
        run_all("systemd", [python("units", "systemd/units.py", limit=20), python("descriptors", "systemd/descriptors.py")], JOBS)


def suite_packages(long):
    run_all("packages", [python("packages", "packages/packages.py", *(["--rpm"] if long else []), limit=60 if long else 45)], 1)


def suite_clients(_long):
    if build("build"):
        run_all("clients", [python("clients", "lib/clients.py", limit=15), python("any-member", "clients/pool.py", limit=10)], 1)


def suite_fuzz(long):
    if not build("build-fuzz", ["fuzz-targets"]):
        return
    seconds = 3600 if long else 8
    jobs = []
    for name in sorted(n for n in ninja_targets(os.path.join(TOP, "build-fuzz")) if n.startswith("fuzz-") and n != "fuzz-targets"):
        corpus = os.path.join(TOP, "tests/fuzz/corpus", name[5:])
        grown = os.path.join(TOP, "build-fuzz/corpus", name[5:])
        os.makedirs(grown, exist_ok=True)
        seeds = [corpus] if os.path.isdir(corpus) else []
        jobs.append(Job(name, [os.path.join(TOP, "build-fuzz/tests/fuzz", name), f"-max_total_time={seconds}", "-timeout=10",
                               "-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={LOGS}/{name}-", grown, *seeds],
                        seconds / 60 + 3, whole=True))
    run_all("fuzz", jobs, JOBS)


def suite_bench(long):
    if build("build"):
        run_all("bench", [python("bench", "bench/bench.py", *([] if long else ["--short"]), limit=60 if long else 15),
                          python("disks", "bench/disks.py", *([] if long else ["--short"]), limit=20 if long else 5),
                          python("many", "bench/many.py", *(["--long"] if long else []), limit=20 if long else 5),
                          *([python("throughput", "pool/throughput.py", "10", limit=10)] if long else [])], 1)
        with open(os.path.join(LOGS, "bench-bench.log"), errors="replace") as f:
            say("\n".join("  " + s.rstrip() for s in f if not s.startswith(("ok", "not ok", "#"))))
        show_notes("bench-disks.log")
        if long:
            show_notes("bench-throughput.log")


def suite_demo(_long):
    run_all("demo", [Job("demo", ["sh", "tests/demo.sh"], 20)], 1)


def suite_xen(long):
    tools = subprocess.run(["packaging/install-deps", "xen"], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if tools.returncode:
        say(tools.stdout[-2000:])
        say("not ok - the lab's tools are installed")
        totals.add(0, 1, 0)
        return
    if build("build") and not find("build", "xapid-executor"):  # configured before Xen's libraries were installed
        subprocess.run(["meson", "setup", "--reconfigure", os.path.join(TOP, "build"), TOP], stdout=subprocess.DEVNULL, check=False)
    if build("build"):
        run_all("xen", [python("xen", "xen/xen.py", *(["--long"] if long else []), limit=120 if long else 40)] +
                ([python("transcripts", "xen/transcripts.py", limit=60)] if long else []), 1)


SUITES = [
    ("format", suite_format, "the sources are formatted as .clang-format says"),
    ("golden", suite_golden, "the schema compiler, the schema, who includes whom, docs/coverage.md"),
    ("unit", suite_unit, "unit tests"),
    ("api", suite_api, "transcripts of calls and commands against a daemon"),
    ("transfer", suite_transfer, "machines and disks exported and imported, whole, broken and hostile"),
    ("demo", suite_demo, "./demo: started twice, used, stopped"),
    ("asan", suite_asan, "unit and api under AddressSanitizer and UndefinedBehaviorSanitizer"),
    ("tsan", suite_tsan, "unit and api under ThreadSanitizer"),
    ("chaos", suite_chaos, "api on a log that delays, refuses and leaves in doubt"),
    ("faults", suite_faults, "each step of each operation fails, and kills the daemon"),
    ("durability", suite_durability, "kill -9 under load, a full disk, 50 running VMs, power cuts"),
    ("storage", suite_storage, "storage drivers against what sr.h promises, chains against a model"),
    ("network", suite_network, "a host's network: what is planned, and what it does to a real kernel in namespaces"),
    ("pool", suite_pool, "several daemons under random faults: histories judged, failover measured"),
    ("systemd", suite_systemd, "the installed units in a small Debian; what the programs have that the daemon starts"),
    ("packages", suite_packages, "the Debian packages: built and looked at; --long: installed, upgraded under running machines, removed, purged"),
    ("clients", suite_clients, "other people's clients"),
    ("fuzz", suite_fuzz, "what reads from outside, with any bytes"),
    ("bench", suite_bench, "figures, each beside a yardstick"),
    ("xen", suite_xen, "a real Xen, emulated: guests, kills, failures, a boot storm, a reboot of dom0"),
]
QUICK = ("format", "golden", "unit", "api")
ON_REQUEST = ("packages",)  # a whole build of its own


def take_values(words):
    """The words without the options that have a number, which go into 'values'."""
    out = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word in ("--minutes", "--seed") and words and re.fullmatch(r"\d+(\.\d+)?", words[0]):
            values[word[2:]] = words.pop(0)
        else:
            out.append(word)
    return out


def main():
    words = take_values(sys.argv[1:])
    chosen = [w[2:] for w in words]
    names = [name for name, _, _ in SUITES]
    if "help" in chosen or any(w[2:] not in [*names, "quick", "long"] or not w.startswith("--") for w in words):
        say(__doc__.format(suites="\n".join(f"  --{n:<11} {text}" for n, _, text in SUITES)))
        sys.exit(0 if "help" in chosen else 2)
    everything = [n for n in names if "long" in chosen or n not in ON_REQUEST]
    wanted = [n for n in names if n in chosen] or (QUICK if "quick" in chosen else everything)
    os.makedirs(os.path.dirname(LOGS), exist_ok=True)
    alone = open(LOGS + ".lock", "w")  # held to the end
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("check: another ./check runs in this directory")
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS, exist_ok=True)
    begin = time.monotonic()
    for name, suite, _ in SUITES:
        if name in wanted:
            suite("long" in chosen)
    say(f"took {minutes(begin)}" + (f"; {totals.skipped} skipped" if totals.skipped else ""))
    say(f"{totals.passed} passed, {totals.failed} failed")
    sys.exit(1 if totals.failed else 0)


def interrupted(signum, _frame):
    for process in list(running.values()):
        process.terminate()
    sys.exit(128 + signum)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    main()
