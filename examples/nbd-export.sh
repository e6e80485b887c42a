#!/bin/bash
# nbd-export.sh [--writable] DISK SOCKET: serves a disk that vhdfs shows over NBD, on a socket of this machine.
#
# DISK is the raw file in a mount, as /mnt/images/win11.vhdx/disk, or one of its partitions. Clients are told which
# ranges are holes (base:allocation), so that they copy only what is there:
#
#   nbd-export.sh /mnt/images/win11.vhdx/disk /run/win11.sock &
#   nbdinfo --map nbd+unix:///?socket=/run/win11.sock
#   nbdcopy nbd+unix:///?socket=/run/win11.sock copy.raw
#   qemu-img convert -O qcow2 nbd+unix:///?socket=/run/win11.sock copy.qcow2
#
# With --writable clients may write, flush, trim and zero; all of it goes through the mount, and is tracked there.
# Serves until it is interrupted or terminated, then takes the socket away.
set -euo pipefail

readonly=--readonly
if [ "${1:-}" = --writable ]; then readonly='' && shift; fi
[ $# -eq 2 ] || { sed -n '2s/^# *//p' "$0" >&2; exit 64; }
disk=$(realpath "$1") socket=$(realpath -m "$2")
[ -f "$disk" ] || { echo "nbd-export: there is no disk at $disk" >&2; exit 1; }
[ ! -e "$socket" ] || { echo "nbd-export: $socket exists" >&2; exit 1; }

nbdkit --foreground $readonly --unix "$socket" file "$disk" &
server=$!
# nbdkit ends when its last client has gone, and leaves the socket to us.
trap 'kill $server 2>/dev/null' INT TERM
trap 'rm -f "$socket"' EXIT
while kill -0 $server 2>/dev/null; do wait $server || status=$?; done
exit "${status:-0}"
