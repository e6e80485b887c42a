#!/bin/bash
# demo.sh [PROGRAM]: the main job on a real chain, step by step.
#
# A base disk gets a partition and ext4, a child of it gets more files; then other programs look at what is in the
# image files. All of it happens in a directory of its own and is taken away at the end, also after a failure.
set -euo pipefail

vhdfs=$(realpath "${1:-$(dirname "$0")/../.build/release/vhdfs}")
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "demo: loop devices and mounts need root" >&2; exit 1; }
  exec sudo "$0" "$vhdfs"
fi
export PATH="$PATH:/usr/sbin:/sbin"

work=$(mktemp -d "${TMPDIR:-/tmp}/vhdfs-demo.XXXXXX")
images=$work/images # the image files
mounted=$work/mnt   # where vhdfs shows them
files=$work/files   # where the file system inside is mounted
mkdir "$images" "$mounted" "$files"
loop=

# Only what this script has made: each is looked up by the directory of its own.
clean_up() {
  status=$?
  set +e
  trap '' INT TERM
  mountpoint -q "$files" && umount "$files"
  [ -n "$loop" ] && losetup -d "$loop"
  mountpoint -q "$mounted" && { "$vhdfs" unmount "$mounted" || umount -l "$mounted"; }
  rm -rf --one-file-system "$work"
  if [ $status -eq 0 ]; then say "Done, and all of it taken away again."; else
    printf '\nThe demo failed (status %d).\n' "$status" >&2
  fi
  exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# Shows a command as it would be typed, with short paths, and what it prints.
run() {
  local typed="$*"
  typed=${typed//$vhdfs/vhdfs}
  printf '  $ %s\n' "${typed//$work\//}"
  "$@" 2>&1 | sed "s|$work/||g; s/^/    /"
}
fail() { echo "demo: $*" >&2; exit 1; }

attach() {
  run losetup --find --direct-io=on "$@"
  loop=$(losetup --associated "${!#}" --output NAME --noheadings | head -n 1)
  [ -n "$loop" ] || fail "no loop device was attached"
}

detach() {
  run losetup --detach "$loop"
  loop=
}

# Attaches the disk of an image and sets $partition to the device of its first partition.
attach_disk() {
  attach --partscan "$mounted/$1/disk"
  partition=${loop}p1
  for _ in $(seq 20); do
    [ -b "$partition" ] && return
    [ -e "/sys/class/block/${partition##*/}" ] && [ ! -d /run/udev ] && break
    sleep 0.1
  done
  local number="/sys/class/block/${partition##*/}/dev"
  if [ -e "$number" ]; then
    # The kernel found the partition, but nobody here makes nodes in /dev.
    partition=$work/${partition##*/}
    [ -b "$partition" ] || mknod "$partition" b $(tr ':' ' ' <"$number")
  else
    echo "    (this kernel reads no partition tables; the mount does: partitions/1)"
    detach
    attach "$mounted/$1/partitions/1"
    partition=$loop
  fi
}

say "1. A base disk: a dynamic VHDX of 1 GiB"
run "$vhdfs" create --size 1G "$images/base.vhdx"
run "$vhdfs" info "$images/base.vhdx"

say "2. Mount the directory: each image shows its disk as a raw file"
run "$vhdfs" mount "$images" "$mounted"
run ls -l "$mounted/base.vhdx"

say "3. A partition table and ext4 on the raw disk, by the usual programs"
run sfdisk --quiet "$mounted/base.vhdx/disk" < <(printf 'label: gpt\nstart=1MiB, type=linux\n')
attach_disk base.vhdx
run mkfs.ext4 -q -L demo "$partition"
run mount "$partition" "$files"
run cp -r /usr/share/common-licenses "$files/licenses"
run df -h --output=size,used,target "$files"
run umount "$files"
detach
run ls "$mounted/base.vhdx/partitions"

say "4. Unmount, which waits until all is written; QEMU checks the file"
run "$vhdfs" unmount "$mounted"
run qemu-img check "$images/base.vhdx"
before=$(sha256sum <"$images/base.vhdx")

say "5. A child of it: differencing, so the base stays as it is"
run "$vhdfs" create --parent "$images/base.vhdx" "$images/child.vhdx"
run "$vhdfs" info --chain "$images/child.vhdx"
run "$vhdfs" mount "$images" "$mounted"
run cat "$mounted/base.vhdx/control/info"

say "6. Change files in the child"
attach_disk child.vhdx
run mount "$partition" "$files"
run rm "$files/licenses/BSD"
run dd if=/dev/urandom of="$files/random" bs=1M count=20 conv=fsync status=none
(cd "$files" && find . -type f -exec sha256sum {} + | sort -k 2) >"$work/sums"
run umount "$files"
detach
run "$vhdfs" unmount "$mounted"
run "$vhdfs" map "$images/child.vhdx" | head -n 12 || true

say "7. The base has not changed by a byte, and is still clean for QEMU"
[ "$(sha256sum <"$images/base.vhdx")" = "$before" ] || fail "the base has changed"
run qemu-img check "$images/base.vhdx"
echo "    SHA-256 as before: ${before%% *}"

say "8. 7-Zip reads the chain too: the same disk, and the same files on it"
echo '  $ 7z e -tvhdx -so images/child.vhdx > child.raw'
7z e -tvhdx -so "$images/child.vhdx" 2>/dev/null >"$work/child.raw" || fail "7-Zip does not read the chain"
run "$vhdfs" mount --read-only "$images/child.vhdx" "$mounted"
run cmp "$mounted/child.vhdx/disk" "$work/child.raw"
run "$vhdfs" unmount "$mounted"
attach --read-only --offset 1MiB "$work/child.raw"
run fsck.ext4 -fn "$loop"
run mount -o ro,noload "$loop" "$files"
(cd "$files" && run sha256sum --check --quiet "$work/sums")
echo "    $(wc -l <"$work/sums") files as they were written"
run umount "$files"
detach
