# tracking.sh: what change tracking costs; a part of bench.sh, whose functions it uses.

# serve NAME IMAGE [OPTION...]: mounts with vhdfs; the directory of the image is $served afterwards, the process $server_pid.
serve() {
  local name=$1 image=$2 point=$work/mount-$1
  shift 2
  mkdir -p "$point"
  $server "$vhdfs" mount -f "$@" "$image" "$point" 2>/dev/null &
  server_pid=$!
  pids+=($server_pid) mounts+=("$point")
  served=$point/$(basename "$image")
  wait_for 10 test -s "$served/disk"
}

memory_peak() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }

# Hundredths of a second that a process has used of the processors.
processor_time() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# Tracking is switched on and off on one image: two files would differ by how the page cache holds them, which weighs
# more than what is measured. After each switch the disk is written once from front to end, so that every region is
# marked and every bit set: from there on it is steady.
bench_tracking() {
  local round workload state used rate
  make_disk
  serve tracking "$work/disk.vhdx"
  for round in $(seq "$rounds"); do
    for state in $(rotate "$round" off on); do
      echo $state >"$served/control/tracking"
      dd if="$work/disk.raw" of="$served/disk" bs=1M conv=notrunc,fsync status=none
      for workload in randwrite-16 write-1M; do
        used=$(processor_time $server_pid)
        rate=$(measure "$served/disk" $workload)
        echo "$rate" >>"$work/figures-tracking-$workload-$state"
        # Microseconds of the server for each write: a machine that is busy otherwise disturbs these less.
        awk -v used=$(($(processor_time $server_pid) - used)) -v writes="$rate" -v seconds="$seconds" \
          'BEGIN { print used * 1e4 / (writes * seconds) }' >>"$work/figures-cost-$workload-$state"
      done
    done
  done
  printf '\nTracking on and off, one disk of %s MiB\n' "$size"
  for workload in randwrite-16 write-1M; do
    awk -v title="${titles[$workload]}" -v on="$(median <"$work/figures-tracking-$workload-on")" \
      -v off="$(median <"$work/figures-tracking-$workload-off")" \
      -v cost_on="$(median <"$work/figures-cost-$workload-on")" \
      -v cost_off="$(median <"$work/figures-cost-$workload-off")" \
      'BEGIN { printf "%-34s on %8.0f  off %8.0f  %-6s on/off %.2f (mark: 0.95); server %.1f and %.1f us a write\n",
        title, on, off, title ~ /sequential/ ? "MiB/s" : "1/s", on / off, cost_on, cost_off }'
  done
  stop_all
  rm -f "$work/disk.vhdx" "$work/disk.raw"
}

# bench_changes: a million changed ranges, one in each MiB of 1 TiB, told by the control file and by the command; against
# a program that prints the same ranges from memory.
bench_changes() {
  local image=$work/many-ranges.vhdx round started ended id before lines
  # A file of a million pieces keeps a host's journal busy for minutes; it is no part of what is measured.
  if [ "$(df --output=avail -B1G /dev/shm 2>/dev/null | tail -n 1)" -ge 8 ]; then
    image=$(mktemp -d /dev/shm/vhdfs-bench.XXXXXX)/many-ranges.vhdx
    extra=${image%/*}
  fi
  "$vhdfs" create --type fixed --size 1T "$image" >/dev/null
  serve changes "$image" --track
  dd if=/dev/urandom of="$served/disk" bs=4k count=1 conv=notrunc status=none
  mkdir "$served/points/start"
  id=$(cat "$served/points/start/id")
  # Fixed: a write allocates no block; the host's file stays sparse.
  fio --name=ranges --filename="$served/disk" --rw=write:1020k --bs=4k --size=1T --io_size=4G --direct=1 \
    --ioengine=libaio --iodepth=32 --allow_file_create=0 --fallocate=none --minimal --output="$work/fio" >/dev/null
  sync -f "$work"
  cat "$served/control/changes?limit=$id" >"$work/answer"
  tail -n 1 "$work/answer" | grep -qx '# processed 1099511627776'
  grep -v '^#' "$work/answer" >"$work/ranges"
  lines=$(wc -l <"$work/ranges")
  cc -O2 -o "$work/print-ranges" "$here/print-ranges.c"
  "$work/print-ranges" "$work/ranges" 2>/dev/null | cmp - "$work/ranges"
  stop_all
  serve changes "$image" -r
  cat "$served/control/info" >/dev/null
  before=$(memory_peak $server_pid)
  for round in $(seq "$rounds"); do
    "$work/print-ranges" "$work/ranges" 2>>"$work/figures-changes-memory" | cat >/dev/null
    started=$(now)
    cat "$served/control/changes?limit=$id" | cat >/dev/null
    ended=$(now)
    milliseconds "$started" "$ended" >>"$work/figures-changes-control" && echo >>"$work/figures-changes-control"
  done
  local grown=$(($(memory_peak $server_pid) - before))
  stop_all
  for round in $(seq "$rounds"); do
    started=$(now)
    "$vhdfs" changes --limit "$id" "$image" | cat >/dev/null
    ended=$(now)
    milliseconds "$started" "$ended" >>"$work/figures-changes-command" && echo >>"$work/figures-changes-command"
  done
  printf '\n%s changed ranges on a disk of 1 TiB\n' "$lines"
  local name memory
  memory=$(median <"$work/figures-changes-memory")
  for name in control command; do
    awk -v name="$name" -v figure="$(median <"$work/figures-changes-$name")" -v memory="$memory" \
      'BEGIN { printf "%-34s %6.0f ms, %.2f of printing them from memory, %.0f ms (mark: 1.5)\n",
        name == "control" ? "control/changes" : "vhdfs changes", figure, figure / memory, memory }'
  done
  printf 'The server grew by %s KiB while it told them (mark: 8192)\n' "$grown"
  rm -f "$image" "$image.tracking"
}

# A disk of 64 TiB with few changes, far from each other.
bench_tracked_huge() {
  local image=$work/tracked-huge.vhdx index state
  declare -A memory
  for state in off on; do
    "$vhdfs" create --size 64T "$image" >/dev/null
    if [ $state = on ]; then serve huge-$state "$image" --track; else serve huge-$state "$image"; fi
    for index in $(seq 0 63); do
      dd if=/dev/urandom of="$served/disk" bs=4096 count=1 seek=$(((index << 28) + index)) conv=notrunc status=none
      if [ $state = on ] && [ $((index % 16)) = 0 ]; then mkdir "$served/points/point-$index"; fi
    done
    if [ $state = on ]; then cat "$served/control/changes?limit=point-0" >"$work/answer"; fi
    memory[$state]=$(memory_peak $server_pid)
    stop_all
    rm -f "$image" "$image.tracking"
  done
  printf '\nA dynamic VHDX of 64 TiB, 64 writes over all of it: %s KiB of memory with tracking, %s without; %s KiB more (mark: 16384)\n' \
    "${memory[on]}" "${memory[off]}" "$((memory[on] - memory[off]))"
}
