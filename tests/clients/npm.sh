#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# npm.sh SOURCE TARGET -- installs what SOURCE/package-lock.json names into the folder TARGET, which keeps it: a second
# run installs nothing.  Exit status 77 where there is no npm or the packages cannot be had.
set -eu

source=$1 target=$2
if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "ok - # SKIP npm is not installed"
    exit 77
fi
mkdir -p "$target"
if ! cmp -s "$source/package-lock.json" "$target/installed-lock.json"; then
    cp "$source/package.json" "$source/package-lock.json" "$target"
    (cd "$target" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2) || {
        echo "ok - # SKIP the packages of $(basename "$source") cannot be installed"
        exit 77
    }
    cp "$source/package-lock.json" "$target/installed-lock.json"
fi
