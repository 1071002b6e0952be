#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# run.sh -- installs xen-api, as package-lock.json names it, into a temporary folder and runs follow.mjs there.
# Address and password as in follow.mjs.  NODE_DIR, where given, is the folder to install into, and is kept: a second
# run installs nothing.  Exit status 77 where there is no npm or the packages cannot be had.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "ok - # SKIP npm is not installed"
    exit 77
fi
if [ -n "${NODE_DIR:-}" ]; then
    work=$NODE_DIR
    mkdir -p "$work"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
if ! cmp -s "$here/package-lock.json" "$work/installed-lock.json"; then
    cp "$here/package.json" "$here/package-lock.json" "$work"
    (cd "$work" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2) || {
        echo "ok - # SKIP xen-api cannot be installed"
        exit 77
    }
    cp "$here/package-lock.json" "$work/installed-lock.json"
fi
cp "$here/follow.mjs" "$work"
node "$work/follow.mjs"
