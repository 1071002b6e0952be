#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""console.py [PICTURE.png] -- noVNC in Chromium shows a simulated machine's screen, from xapid's own web root.

What is judged is what somebody would see: the pixels of the page.  What they type and where they point has to come
to the machine.  PICTURE.png is written with what the page showed.
"""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "lib"), os.path.join(HERE, "..")]
from browser import Browser, is_there  # noqa: E402
from daemon import PASSWORDS, Daemon, until  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402

# What the simulator draws (xapid/hypervisor/server/picture.h, sim/console.c).
BAND, GROUND, INK, CURSOR = 0x2f6690, 0x16324f, 0xf4f4f4, 0xffb703
BARS = (0xffffff, 0xffff00, 0x00ffff, 0x00ff00, 0xff00ff, 0xff0000, 0x0000ff, 0x000000)
TITLE = (0, 0, 640, 56)
TYPED = (96, 236, 520, 16)
NAME = "web console"

report = Report()


def web_root(directory):
    """noVNC and the page, as a web interface is installed; None where it cannot be had."""
    root = os.path.join(directory, "www")
    modules = os.path.join(os.environ.get("NODE_DIR", directory), "novnc")
    if subprocess.run(["sh", os.path.join(HERE, "..", "npm.sh"), HERE, modules]).returncode:
        return None
    os.mkdir(root)
    shutil.copy(os.path.join(HERE, "page.html"), root)
    shutil.copytree(os.path.join(modules, "node_modules", "@novnc", "novnc"), os.path.join(root, "novnc"))
    return root


def seen(browser, condition):
    """The screen, once it is as wished; else as it is in the end."""
    last = [None]

    def looks_right():
        last[0] = browser.screenshot()
        return condition(last[0])

    until(looks_right, 60)
    return last[0]


def bars_of(picture):
    return tuple(picture.at(40 + 80 * i, 424) for i in range(8))


def sim_screen(daemon, uuid):
    return dict(line.split("=", 1) for line in daemon.sim(screen=uuid).splitlines())


def show(browser, uuid, how="query"):
    """Opens the console; True once the page says that it is connected."""
    browser.run("window.said.length = 0")
    browser.run(f"show('root', {PASSWORDS['root']!r}, '{uuid}', '{how}')")
    said = until(lambda: [s for s in browser.run("said") if s in ("connect", "cut", "disconnect")], 60)
    return said == ["connect"]


def shows_the_screen(browser, path):
    picture = seen(browser, lambda p: bars_of(p) == BARS)
    report.check(bars_of(picture) == BARS, "every colour of the bars is what the machine drew", *map(hex, bars_of(picture)))
    report.check((picture.at(639, 0), picture.at(639, 479)) == (BAND, GROUND), "and so is what is around them")
    report.check(picture.count(INK, TITLE) > 300, "the machine's name is to be seen")
    report.check(f"name {NAME}" in browser.run("said"), "the window is called as the machine is", browser.run("said"))
    if path:
        browser.screenshot(path)


def takes_keys(daemon, browser, uuid):
    before = browser.screenshot().count(INK, TYPED)
    browser.type("hello xapid 1")
    typed = until(lambda: sim_screen(daemon, uuid)["typed"] == "hello xapid 1", 60)
    report.check(typed, "what is typed in the page comes to the machine", sim_screen(daemon, uuid))
    picture = seen(browser, lambda p: p.count(INK, TYPED) > before + 100)
    report.check(picture.count(INK, TYPED) > before + 100, "and is to be seen", before, picture.count(INK, TYPED))
    browser.key("Backspace", "Backspace")
    report.check(until(lambda: sim_screen(daemon, uuid)["typed"] == "hello xapid ", 60), "keys that are no letters too", sim_screen(daemon, uuid))
    browser.key("Enter", "Enter", "\r")
    report.check(until(lambda: sim_screen(daemon, uuid)["typed"] == "", 60), "and Return", sim_screen(daemon, uuid))
    keys = int(sim_screen(daemon, uuid)["keys"])
    browser.run("sendCtrlAltDel()")
    report.check(until(lambda: int(sim_screen(daemon, uuid)["keys"]) == keys + 3, 60), "Ctrl-Alt-Del is three keys", sim_screen(daemon, uuid))


def takes_the_pointer(daemon, browser, uuid):
    browser.mouse("Moved", 300, 350)
    browser.mouse("Pressed", 300, 350, button="left", buttons=1, clickCount=1)
    there = {"x": "300", "y": "350", "buttons": "1"}
    report.check(until(lambda: there.items() <= sim_screen(daemon, uuid).items(), 60), "the pointer and its button come to the machine",
                 sim_screen(daemon, uuid))
    browser.mouse("Released", 300, 350, button="left", clickCount=1)
    report.check(until(lambda: sim_screen(daemon, uuid)["buttons"] == "0", 60), "and that it was let go")
    picture = seen(browser, lambda p: p.at(300, 350) == CURSOR)
    report.check(picture.at(300, 350) == CURSOR, "where it points is to be seen", hex(picture.at(300, 350)))


def is_photographed(browser, uuid):
    """/vncsnapshot, as a page that lists machines shows them.  JPEG is not exact."""
    picture = browser.run(f"picture('{uuid}', {[[40 + 80 * i, 424] for i in range(8)] + [[639, 0], [639, 479]]})")
    report.check(isinstance(picture, dict) and (picture["type"], picture["size"]) == ("image/jpeg", [640, 480]),
                 "a picture of the screen is a JPEG of its size", picture)
    wrong = [f"{seen} for {colour:06x}" for seen, colour in zip(picture["pixels"], (*BARS, BAND, GROUND))
             if any(abs(s - c) > 12 for s, c in zip(seen, colour.to_bytes(3, "big")))]
    report.check_none(wrong, "with the colours that the machine drew")


def has_ended(browser):
    return until(lambda: [s for s in browser.run("said") if s in ("cut", "disconnect")], 60)


def test(daemon, path):
    c = daemon.client()
    vm = lab.vm(c, NAME)
    lab.enough_memory(c, vm)
    c("VM.start", vm, False, False)
    uuid = c("VM.get_uuid", vm)
    with Browser() as browser:
        browser.open(f"https://127.0.0.1:{daemon.tls_port}/page.html")
        until(lambda: browser.run("typeof show") == "function", 60)
        if not report.check(show(browser, uuid), "noVNC connects", browser.run("said")):
            return
        shows_the_screen(browser, path)
        takes_keys(daemon, browser, uuid)
        takes_the_pointer(daemon, browser, uuid)
        is_photographed(browser, uuid)
        browser.run("leave()")
        report.check(has_ended(browser) == ["disconnect"], "it leaves in good order", browser.run("said"))
        report.check(show(browser, uuid, "cookie"), "the session may be in a cookie", browser.run("said"))
        report.check(bars_of(seen(browser, lambda p: bars_of(p) == BARS)) == BARS, "and the screen is there again")
        c("VM.hard_reboot", vm)
        report.check(has_ended(browser), "a reboot ends the connection", browser.run("said"))
        report.check(not show(browser, uuid, "nowhere"), "without a session nothing is shown", browser.run("said"))
        report.check(show(browser, uuid), "with one the new machine is", browser.run("said"))
        c("VM.hard_shutdown", vm)
        report.check(has_ended(browser) == ["disconnect"], "a machine that goes off closes its console in good order", browser.run("said"))
        report.check(browser.run(f"picture('{uuid}', [])") == 503, "and has no picture any more")
    lab.destroy_vm(c, vm)


def main():
    if not is_there():
        print("ok - # SKIP chromium-headless-shell is not installed")
        sys.exit(77)
    daemon = Daemon(start=False)
    with daemon:
        root = web_root(daemon.dir)
        if not root:
            sys.exit(77)
        daemon.args += ["--web-root", root]
        daemon.start()
        test(daemon, sys.argv[1] if len(sys.argv) > 1 else None)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
