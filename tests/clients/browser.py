# SPDX-License-Identifier: LGPL-2.1-or-later
"""browser.py -- Chromium without a window, driven over its DevTools protocol; and what it shows, as pixels.

The protocol runs over two pipes, a NUL after each message, so that nothing is needed but the browser.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import struct
import subprocess
import tempfile
import time
import zlib

PROGRAM = "chromium-headless-shell"
# Software all the way: no GPU, no sandbox (tests run as root), any certificate, and nothing fetched on its own.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors", "--hide-scrollbars",
           "--force-color-profile=srgb", "--force-device-scale-factor=1", "--disable-background-networking", "--no-first-run",
           "--remote-debugging-pipe"]
TIMEOUT = 120


def is_there():
    return shutil.which(PROGRAM) is not None


class Picture:
    """An image of 8 bits a channel, read from PNG."""

    def __init__(self, png):
        if png[:8] != b"\x89PNG\r\n\x1a\n":
            raise ValueError("not a PNG")
        at, packed = 8, b""
        while at < len(png):
            size, kind = struct.unpack(">I4s", png[at:at + 8])
            data = png[at + 8:at + 8 + size]
            if kind == b"IHDR":
                self.width, self.height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", data)
                if depth != 8 or colours not in (2, 6) or interlaced:
                    raise ValueError("a PNG of another kind")
                self.channels = 3 if colours == 2 else 4
            elif kind == b"IDAT":
                packed += data
            at += size + 12
        self.rows = self._unfilter(zlib.decompress(packed))

    def _unfilter(self, data):
        n, stride = self.channels, self.width * self.channels
        rows, above = [], bytes(stride)
        for y in range(self.height):
            start = y * (stride + 1)
            kind, row = data[start], bytearray(data[start + 1:start + 1 + stride])
            for i in range(stride if kind else 0):
                left = row[i - n] if i >= n else 0
                corner = above[i - n] if i >= n else 0
                row[i] = (row[i] + self._predicted(kind, left, above[i], corner)) & 255
            rows.append(bytes(row))
            above = row
        return rows

    @staticmethod
    def _predicted(kind, left, up, corner):
        if kind < 4:
            return (0, left, up, (left + up) // 2)[kind]
        guess = left + up - corner
        return min((left, up, corner), key=lambda v: abs(guess - v))

    def at(self, x, y):
        """0xrrggbb."""
        return int.from_bytes(self.rows[y][x * self.channels:x * self.channels + 3], "big")

    def count(self, colour, box):
        """How many pixels of the box (x, y, width, height) have that colour."""
        x0, y0, width, height = box
        return sum(self.at(x, y) == colour for y in range(y0, y0 + height) for x in range(x0, x0 + width))


class Browser:
    """One page of 640 x 480."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="browser-")
        self.log = os.path.join(self.profile, "log")
        self.serial, self.pending, self.page = 0, b"", None
        theirs_in, self.out = os.pipe()
        self.into, theirs_out = os.pipe()
        # Above the numbers the browser wants them to have.
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs_in, theirs_out)]

        def arrange():
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([PROGRAM, *OPTIONS, f"--user-data-dir={self.profile}/profile", "--window-size=640,480", "about:blank"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False, preexec_fn=arrange)
        for fd in (theirs_in, theirs_out, *ends):
            os.close(fd)

    def __enter__(self):
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.page = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.send("Page.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=640, height=480, deviceScaleFactor=1, mobile=False)
        return self

    def __exit__(self, *_):
        os.close(self.out)
        os.close(self.into)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _next(self, end):
        while b"\0" not in self.pending:
            if not select.select([self.into], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            more = os.read(self.into, 1 << 20)
            if not more:
                with open(self.log, errors="replace") as f:
                    raise RuntimeError("the browser has ended: " + f.read()[-2000:])
            self.pending += more
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def send(self, method, **params):
        """The result of a command; events that come meanwhile are thrown away."""
        self.serial += 1
        message = {"id": self.serial, "method": method, "params": params}
        if self.page:
            message["sessionId"] = self.page
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + TIMEOUT
        while True:
            answer = self._next(end)
            if answer.get("id") != self.serial:
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]

    def run(self, script):
        """The value of an expression in the page, awaited."""
        done = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['result'].get('description', done['exceptionDetails'])}")
        return done["result"].get("value")

    def open(self, url):
        if "errorText" in (answer := self.send("Page.navigate", url=url)):
            raise RuntimeError(f"{url}: {answer['errorText']}")

    def type(self, text):
        """Keys, one after the other, as somebody at the keyboard presses them."""
        for char in text:
            self.key(char, {" ": "Space"}.get(char, f"Key{char.upper()}" if char.isalpha() else f"Digit{char}"), char)

    def key(self, key, code, text=""):
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, text=text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def mouse(self, kind, x, y, **more):
        """kind: Moved, Pressed or Released."""
        self.send("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def screenshot(self, path=None):
        png = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path:
            with open(path, "wb") as f:
                f.write(png)
        return Picture(png)
