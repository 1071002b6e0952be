#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# run.sh [FILE.mjs...] -- installs xen-api, as package-lock.json names it, into a temporary folder and runs follow.mjs,
# or what is named, there.  Address and password as in follow.mjs.  NODE_DIR, where given, is a folder to install
# below, and is kept.  Exit status 77 as npm.sh's.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${NODE_DIR:-}" ]; then
    work=$NODE_DIR/npm-xen-api
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
sh "$here/../npm.sh" "$here" "$work"
cp "$here"/*.mjs "$work"
for file in "${@:-follow.mjs}"; do
    node "$work/$file"
done
