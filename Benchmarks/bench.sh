#!/bin/bash
# bench.sh [OPTIONS]: vhdfs beside other servers of disks, in one run, on one directory.
#
#   --rounds N      rounds of which the median counts (5)
#   --seconds N     of each measurement (2)
#   --size MIB      of the allocated disk (1024)
#   --fresh GIB     size of the fresh dynamic disks (64)
#   --directory D   where images and mount points are made (TMPDIR or /tmp); removed at the end. In /dev/shm the host's
#                   write-back does not count
#   --only WORDS    of: disk fresh chain many huge tracking changes tracked-huge merge compact (all)
#   --pin           the clients on one processor, the servers on another
#   --quick         one round of one second
#
# The rivals: a bare C pass-through server on the same libfuse over a raw file (the most that can be had),
# qemu-storage-daemon's FUSE export and vhdimount, each over its own copy of one VHDX. Rounds alternate between them,
# and each begins with another one, because which processor wakes whom makes figures bimodal. All I/O is direct.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
vhdfs=${VHDFS_PROGRAM:-$here/../.build/release/vhdfs}
rounds=5 seconds=2 size=1024 fresh=64 base=${TMPDIR:-/tmp} parts="disk fresh chain many huge tracking changes tracked-huge merge compact" pin=
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2; shift ;;
    --seconds) seconds=$2; shift ;;
    --size) size=$2; shift ;;
    --fresh) fresh=$2; shift ;;
    --directory) base=$2; shift ;;
    --only) parts=$2; shift ;;
    --pin) pin=1 ;;
    --quick) rounds=1 seconds=1 size=256 ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d'; exit 64 ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] && [ -w /dev/fuse ] || { echo "bench.sh: needs root and /dev/fuse" >&2; exit 1; }
[ -x "$vhdfs" ] || { echo "bench.sh: $vhdfs is missing; make build" >&2; exit 1; }

work=$(mktemp -d "$base/vhdfs-bench.XXXXXX")
extra= # another directory of this run
pids=()
mounts=()
client= server=
if [ -n "$pin" ]; then client="taskset -c 0" server="taskset -c 1"; fi

# Ends what this run started, and nothing else.
stop_all() {
  local mount pid
  for mount in "${mounts[@]}"; do
    if mountpoint -q "$mount" 2>/dev/null; then umount "$mount" 2>/dev/null || umount -l "$mount" 2>/dev/null || true; fi
  done
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  mounts=() pids=()
}
trap 'stop_all; rm -rf --one-file-system "$work" ${extra:+"$extra"}' EXIT
trap 'exit 130' INT TERM

cc -O2 -o "$work/passthrough" "$here/passthrough.c" $(pkg-config --cflags --libs fuse3)

now() { date +%s%N; }

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local end=$(($(date +%s) + $1))
  shift
  until "$@" 2>/dev/null; do
    [ "$(date +%s)" -lt "$end" ] || { echo "bench.sh: not ready: $*" >&2; return 1; }
    sleep 0.05
  done
}

# start NAME IMAGE: serves the image; the file to use is in $disk_NAME afterwards, empty where NAME cannot serve it.
start() {
  local name=$1 image=$2 point="$work/mount-$1"
  mkdir -p "$point"
  case $name in
    c)
      $server "$work/passthrough" "$image" "$point" &
      pids+=($!) mounts+=("$point")
      disk_c=$point/disk
      ;;
    qemu)
      # The export takes the place of a file.
      : >"$point/disk"
      $server qemu-storage-daemon --blockdev "driver=file,node-name=file,filename=$image" \
        --blockdev driver=vhdx,node-name=disk,file=file \
        --export "type=fuse,id=export,node-name=disk,mountpoint=$point/disk,writable=on" &
      pids+=($!) mounts+=("$point/disk")
      disk_qemu=$point/disk
      wait_for 10 mountpoint -q "$point/disk"
      ;;
    vhdimount)
      $server vhdimount "$image" "$point" >/dev/null 2>&1 || { disk_vhdimount= ; return 0; }
      mounts+=("$point")
      disk_vhdimount=$(ls -d "$point"/vhdi* | sort -V | tail -n 1)
      ;;
    vhdfs)
      $server "$vhdfs" mount -f "$image" "$point" 2>/dev/null &
      pids+=($!) mounts+=("$point")
      disk_vhdfs=$point/$(basename "$image")/disk
      ;;
  esac
  local variable=disk_$name
  wait_for 10 test -s "${!variable}"
}

# measure FILE WORKLOAD: prints a number: MiB/s for the sequential ones, operations a second for the others.
measure() {
  local file=$1 workload=$2 words field
  case $workload in
    read-1M) words="--rw=read --bs=1M --ioengine=libaio --iodepth=4" field=7 ;;
    write-1M) words="--rw=write --bs=1M --ioengine=libaio --iodepth=4" field=48 ;;
    randread-1) words="--rw=randread --bs=4k --ioengine=psync" field=8 ;;
    randread-16) words="--rw=randread --bs=4k --ioengine=libaio --iodepth=16" field=8 ;;
    randwrite-1) words="--rw=randwrite --bs=4k --ioengine=psync" field=49 ;;
    randwrite-16 | fresh) words="--rw=randwrite --bs=4k --ioengine=libaio --iodepth=16" field=49 ;;
    fsync) words="--rw=randwrite --bs=4k --ioengine=psync --fsync=1" field=49 ;;
  esac
  # What the last rival left to be written is not this one's to wait for.
  sync -f "$work"
  # shellcheck disable=SC2086
  $client fio --name=bench --filename="$file" $words --direct=1 --size=100% --time_based --runtime="$seconds" \
    --allow_file_create=0 --fallocate=none --randrepeat=0 --norandommap --minimal --output="$work/fio" \
    >/dev/null 2>"$work/fio.errors" || { head -n 3 "$work/fio.errors" >&2; return 1; }
  awk -F';' -v field="$field" '{ print (field == 7 || field == 48) ? $field / 1024 : $field }' "$work/fio"
}

median() { sort -g | awk '{ v[NR] = $1 } END { if (NR) print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# rotate N WORDS...: the words, the Nth first.
rotate() {
  local n=$1
  shift
  n=$((n % $#))
  echo "${@:n+1}" "${@:1:n}"
}

# result TITLE UNIT WORKLOAD: a line of the table, from the files of figures.
result() {
  local title=$1 unit=$2 workload=$3 name value
  declare -A medians
  for name in c qemu vhdimount vhdfs; do
    medians[$name]=
    if [ -e "$work/figures-$workload-$name" ]; then medians[$name]=$(median <"$work/figures-$workload-$name"); fi
  done
  awk -v title="$title" -v unit="$unit" -v c="${medians[c]}" -v q="${medians[qemu]}" -v m="${medians[vhdimount]}" \
    -v v="${medians[vhdfs]}" '
    function figure(x) { return x == "" ? "-" : sprintf("%.0f", x) }
    function ratio(x) { return x == "" || x == 0 || v == "" ? "-" : sprintf("%.2f", v / x) }
    BEGIN {
      printf "%-34s %-6s %10s %10s %10s %10s %8s %8s %10s\n",
        title, unit, figure(v), figure(c), figure(q), figure(m), ratio(c), ratio(q), ratio(m)
    }'
}

heading() {
  printf '\n%s\n' "$1"
  printf '%-34s %-6s %10s %10s %10s %10s %8s %8s %10s\n' "" "" vhdfs "bare C" QEMU vhdimount "of C" "of QEMU" "of vhdimount"
}

reads="read-1M randread-1 randread-16"
writes="write-1M randwrite-1 randwrite-16 fsync"

declare -A titles=(
  [read-1M]="1 MiB sequential read" [write-1M]="1 MiB sequential write"
  [randread-1]="4 KiB random read, depth 1" [randread-16]="4 KiB random read, depth 16"
  [randwrite-1]="4 KiB random write, depth 1" [randwrite-16]="4 KiB random write, depth 16"
  [fsync]="4 KiB random write + fsync" [fresh]="4 KiB random write, depth 16"
)

# compare PREFIX NAMES...: all workloads on the servers that run, in rounds.
compare() {
  local prefix=$1 round workload name variable
  shift
  for round in $(seq "$rounds"); do
    for workload in $reads $writes; do
      for name in $(rotate "$round" "$@"); do
        variable=disk_$name
        [ -n "${!variable}" ] || continue
        # vhdimount only reads.
        if [ "$name" = vhdimount ] && [[ " $writes " == *" $workload "* ]]; then continue; fi
        measure "${!variable}" "$workload" >>"$work/figures-$prefix$workload-$name" || {
          # A rival that cannot read its image drops out; anything else is a failure of the run.
          [ "$name" = vhdimount ] || return 1
          echo "vhdimount cannot read this image (above); it is left out" >&2
          disk_vhdimount=
        }
      done
    done
  done
  for workload in $reads $writes; do
    case $workload in
      *-1M) result "${titles[$workload]}" MiB/s "$prefix$workload" ;;
      *) result "${titles[$workload]}" 1/s "$prefix$workload" ;;
    esac
  done
}

# An allocated dynamic VHDX, and the same bytes as a raw file, in the page cache.
make_disk() {
  [ -e "$work/disk.raw" ] && return
  head -c "${size}M" /dev/urandom >"$work/disk.raw"
  qemu-img convert -f raw -O vhdx -o block_size=2M "$work/disk.raw" "$work/disk.vhdx"
}

bench_disk() {
  make_disk
  local name
  for name in qemu vhdimount vhdfs; do cp "$work/disk.vhdx" "$work/$name.vhdx"; done
  start c "$work/disk.raw"
  start qemu "$work/qemu.vhdx"
  start vhdimount "$work/vhdimount.vhdx"
  start vhdfs "$work/vhdfs.vhdx"
  heading "An allocated dynamic VHDX of $size MiB"
  compare "" c qemu vhdimount vhdfs
  stop_all
  rm -f "$work/qemu.vhdx" "$work/vhdimount.vhdx" "$work/vhdfs.vhdx"
}

bench_fresh() {
  local round name
  heading "A fresh dynamic VHDX of $fresh GiB (bare C: a sparse file)"
  qemu-img create -q -f vhdx "$work/fresh-template.vhdx" "${fresh}G"
  for round in $(seq "$rounds"); do
    for name in $(rotate "$round" c qemu vhdfs); do
      if [ "$name" = c ]; then
        truncate -s "${fresh}G" "$work/fresh-c"
      else
        cp --sparse=always "$work/fresh-template.vhdx" "$work/fresh-$name"
      fi
      start "$name" "$work/fresh-$name"
      local variable=disk_$name
      measure "${!variable}" fresh >>"$work/figures-fresh-$name"
      stop_all
      rm -f "$work/fresh-$name"
    done
  done
  result "${titles[fresh]}" 1/s fresh
}

bench_chain() {
  make_disk
  local index parent=$work/chain/0.vhdx
  mkdir -p "$work/chain"
  cp "$work/disk.vhdx" "$parent"
  for index in 1 2 3 4 5 6 7; do
    "$vhdfs" create --parent "$parent" "$work/chain/$index.vhdx" >/dev/null
    parent=$work/chain/$index.vhdx
    start vhdfs "$parent"
    # Each child holds some scattered pieces of its own.
    fio --name=fill --filename="$disk_vhdfs" --rw=randwrite --bs=64k --size=100% --io_size=$((size / 32))M --direct=1 \
      --ioengine=libaio --iodepth=4 --randseed="$index" --allow_file_create=0 --fallocate=none --minimal \
      --output="$work/fio" >/dev/null
    stop_all
  done
  # A reader without locks must not read what another server writes.
  cp -r --sparse=always "$work/chain" "$work/chain-read"
  start c "$work/disk.raw"
  start vhdimount "$work/chain-read/7.vhdx"
  start vhdfs "$parent"
  heading "The leaf of a chain of 8 files (bare C: one raw file)"
  compare chain- c vhdimount vhdfs
  stop_all
  rm -rf "$work/chain" "$work/chain-read"
}

# milliseconds FROM TO
milliseconds() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.0f", (to - from) / 1e6 }'; }

bench_many() {
  local index started ready all
  mkdir -p "$work/many" "$work/mount-many"
  for index in $(seq 200); do "$vhdfs" create --size 10G "$work/many/disk$index.vhdx" >/dev/null; done
  mounts+=("$work/mount-many")
  started=$(now)
  "$vhdfs" mount "$work/many" "$work/mount-many"
  [ "$(ls "$work/mount-many" | wc -l)" = 200 ]
  ready=$(now)
  cat "$work/mount-many"/*/control/info | grep -c '^state offline' >"$work/count"
  all=$(now)
  "$vhdfs" unmount "$work/mount-many"
  mounts=()
  printf '\nA directory of 200 images: listed %s ms after the mount was asked for (mark: 3000); all %s described %s ms later\n' \
    "$(milliseconds "$started" "$ready")" "$(cat "$work/count")" "$(milliseconds "$ready" "$all")"
  rm -rf "$work/many"
}

bench_huge() {
  local image=$work/huge.vhdx point=$work/mount-huge started opened read memory
  "$vhdfs" create --size 64T --block-size 1M "$image" >/dev/null
  mkdir -p "$point"
  "$vhdfs" mount -f "$image" "$point" 2>/dev/null &
  pids+=($!) mounts+=("$point")
  local process=$!
  wait_for 10 mountpoint -q "$point"
  started=$(now)
  exec 9<"$point/huge.vhdx/disk"
  opened=$(now)
  dd bs=4096 count=1 skip=$((32 << 28)) status=none <&9 >/dev/null
  read=$(now)
  exec 9<&-
  # Reads far from each other: the table is paged, not loaded.
  fio --name=huge --filename="$point/huge.vhdx/disk" --rw=randread --bs=4k --size=100% --direct=1 --ioengine=psync \
    --time_based --runtime=1 --norandommap --random_generator=tausworthe64 --allow_file_create=0 --minimal \
    --output="$work/fio" >/dev/null
  memory=$(awk '/^VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$process/status")
  printf '\nA dynamic VHDX of 64 TiB with blocks of 1 MiB: open in %s ms (mark: 100), first read after %s ms more; %s MiB of memory after random reads (mark: 64)\n' \
    "$(milliseconds "$started" "$opened")" "$(milliseconds "$opened" "$read")" "$memory"
  stop_all
}

. "$here/tracking.sh"
. "$here/merge.sh"
. "$here/compact.sh"

echo "$("$vhdfs" --version), $(uname -sr), $(nproc) processors, libfuse $(pkg-config --modversion fuse3)," \
  "$(qemu-storage-daemon --version | head -n 1); $rounds rounds of $seconds s, medians; $(stat -f -c %T "$work")"
for part in $parts; do "bench_${part//-/_}"; done
