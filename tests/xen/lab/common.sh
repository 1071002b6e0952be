# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# common.sh -- what the lab's scripts share: where things lie, how to reach a host.  Sourced, not run.
#
# XAPID_LAB names the work directory (build/xen-lab): images, kernels, keys, and a folder for each host.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${XAPID_LAB:-$here/../../../build/xen-lab}
work=$(mkdir -p "$work" && cd "$work" && pwd)
base=$work/base
hosts=$work/hosts
xen_version=4.17

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# The network of this work directory's hosts, short enough to begin a network interface's name.
network=xl$(printf '%s' "$work" | sha256sum | cut -c1-6)

ssh_options=(
    -i "$base/ssh_key" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null
    -o LogLevel=ERROR -o ConnectTimeout=60 -o ServerAliveInterval=10 -o ServerAliveCountMax=12
)

# host_runs DIR: whether the host's QEMU, and not another process of the same number, runs.
host_runs() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) || return 1
    { tr '\0' '\n' < "/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF "unix:$1/qmp,server=on,wait=off"
}

# use_host NAME: sets dir, and adds to ssh_options what reaches the host.
use_host() {
    dir=$hosts/$1
    [ -e "$dir/ssh-port" ] || die "there is no host $1 in $work"
    ssh_options+=(-o ControlPath="$dir/ssh" -o Port="$(cat "$dir/ssh-port")")
}

# connect_host: one connection serves all commands, as setting one up takes an emulated processor a second.  Made when
# there is none, with several attempts: nothing has been asked for yet.  False where dom0 does not answer.
connect_host() {
    local attempt
    (
        flock 7
        for attempt in 1 2 3 4 5; do
            ssh "${ssh_options[@]}" -O check root@127.0.0.1 && exit 0
            ssh "${ssh_options[@]}" -o ControlPersist=yes -M -N -f root@127.0.0.1 7>&- && exit 0
            sleep 1
        done
        exit 1
    ) 7> "$dir/ssh.lock" < /dev/null > "$dir/ssh.log" 2>&1
}

# free_port FROM: the first port of the loopback from there on that nobody listens on.
free_port() {
    local port=$1
    while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    echo "$port"
}

# make_initramfs OUT KERNEL-VERSION MODULE-ROOT INIT MODULE...
# An uncompressed archive of busybox, the modules with what they depend on, in load order in /modules.order, and INIT as
# /init.  Uncompressed, as an emulated processor takes longer to unpack it than to read it.
make_initramfs() {
    local out=$1 kernel=$2 root=$3 init=$4 module
    local tree=$tmp/initramfs
    shift 4
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,dev,proc,sys,mnt,run,tmp,modules}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    for module in "$@"; do
        modprobe -d "$root" -S "$kernel" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
    done | awk '!seen[$0]++' | while read -r file; do
        cp "$file" "$tree/modules/"
        basename "$file"
    done > "$tree/modules.order"
    install -m 755 "$init" "$tree/init"
    (cd "$tree" && find . -print0 | cpio --quiet --null -o -H newc -R 0:0) > "$out.new"
    mv "$out.new" "$out"
}
