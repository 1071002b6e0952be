#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""rotate.py HOST... -- a client that has several addresses of a pool, and takes the next one where one does not answer within a second.

It writes with one session and listens with another, over XenAPI.py as it is; it knows nothing of who the coordinator is.  Says "ready"; at
the end of its input it says as JSON when (monotonic clock) each write was answered, when each was heard of, and what went wrong meanwhile.
"""

import http.client
import json
import socket
import sys
import threading
import time
import xmlrpc.client

from tour import PASSWORD, TEMPLATE, USER, context

WITHIN = 1.0
LISTEN = 0.5


def xenapi_module():
    """None where it is not installed."""
    sys.path.append("/usr/share/fence")
    try:
        import XenAPI
        return XenAPI
    except ImportError:
        return None


class Client:
    def __init__(self, module, hosts, at, said):
        self.module, self.hosts, self.at, self.said = module, hosts, at, said
        self.session = None

    def __call__(self, method, *params):
        """Until it is answered; a call whose answer was lost is made again."""
        while True:
            try:
                if not self.session:
                    session = self.module.Session(f"https://{self.hosts[self.at]}/")
                    session.login_with_password(USER, PASSWORD, "2.23", "rotate.py")
                    self.session = session
                return self.session.xenapi_request(method, params)
            except self.module.Failure as e:
                self.failed(str(e.details))
            except (OSError, http.client.HTTPException, xmlrpc.client.Error) as e:
                self.failed(type(e).__name__)

    def failed(self, why):
        self.said.append((time.monotonic(), self.hosts[self.at], why))
        self.session = None
        self.at = (self.at + 1) % len(self.hosts)


def write(client, vm, ended, answered):
    n = 0
    while not ended.is_set():
        n += 1
        client("VM.set_name_description", vm, str(n))
        answered.append((n, time.monotonic()))
        time.sleep(0.01)


def listen(client, vm, ended, heard):
    token = ""
    while not ended.is_set():
        got = client("event.from", [f"VM/{vm}"], token, LISTEN)
        token = got["token"]
        for event in got["events"]:
            text = event["snapshot"]["name_description"]
            if text.isdigit():
                heard.append((int(text), time.monotonic()))


def main():
    import ssl

    module = xenapi_module()
    if not module:
        print("ok - # SKIP XenAPI.py is not installed", flush=True)
        sys.exit(77)
    ssl._create_default_https_context = context
    socket.setdefaulttimeout(WITHIN)
    hosts, said, answered, heard, ended = sys.argv[1:], [], [], [], threading.Event()
    writer, listener = Client(module, hosts, 0, said), Client(module, hosts, 0, said)
    vm = writer("VM.clone", writer("VM.get_by_name_label", TEMPLATE)[0], "rotated")
    threads = [threading.Thread(target=write, args=(writer, vm, ended, answered)),
               threading.Thread(target=listen, args=(listener, vm, ended, heard))]
    for t in threads:
        t.start()
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()
    for t in threads:
        t.join()
    writer("VM.destroy", vm)
    print(json.dumps({"answered": answered, "heard": heard, "said": said}), flush=True)


if __name__ == "__main__":
    main()
