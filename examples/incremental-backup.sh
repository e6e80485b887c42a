#!/bin/bash
# incremental-backup.sh: backs up a disk that vhdfs shows: a full copy first, then only what changed.
#
#   incremental-backup.sh backup [--freeze MOUNTPOINT] [--freeze-limit SECONDS] [--hash-disk] [--reset] IMAGE BACKUP
#   incremental-backup.sh verify BACKUP
#   incremental-backup.sh restore BACKUP FILE [COPY]
#
# IMAGE is the image's directory in a mount, as /mnt/images/win11.vhdx. BACKUP is a directory; it is made by the first
# backup. restore writes the disk, as it was at the newest copy or at that of number COPY, to a new file.
#
#   --freeze MOUNTPOINT  where the file system on the disk is mounted: it is frozen while the copy is made
#   --freeze-limit S     thaw it after so many seconds, whatever happens (60); the copy is given up then
#   --hash-disk          note the hash of the whole disk too, which restore checks; reads all of the disk, frozen
#   --reset              where the record of changes does not count any more, begin a new one
#
# What a backup does, in this order:
#
#   1. Freeze.
#   2. Make a new reference point: from here on, changes belong to the next copy.
#   3. Ask what changed since the point of the copy before. No such copy, or the answer is refused: copy everything.
#   4. Copy those ranges; what reads as zero is noted, not copied.
#   5. Ask what changed since the new point: nothing may have, or the copy is a mixture of two moments.
#   6. Thaw.
#   7. Make the copy durable, and give it its name. From here on it counts.
#   8. Drop the point of the copy before.
#
# It may be killed between any two of them, or in the middle of one: a copy has its name only when it is whole, it holds
# the id of its own point, and the point that the next copy needs is dropped only after that copy has its name. What an
# interrupted run left behind is taken away by the next one. Whatever ends the script, the file system is thawed.
#
#   BACKUP/set                which set of copies this is: part of the names of its points
#   BACKUP/000001/info        KEY VALUE lines: kind, base, limit_id, point_id, virtual_size, created
#   BACKUP/000001/ranges      OFFSET LENGTH data|zero, ascending
#   BACKUP/000001/data        the bytes of the data ranges, one after the other
#   BACKUP/000001/SHA256SUMS
#
# Copies before a full one are not needed by those after it, and may be removed.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C # the messages of errors are compared
umask 077

fail() { echo "incremental-backup: $*" >&2; exit 1; }
warn() { echo "incremental-backup: $*" >&2; }

# Tells that a step is done. With BACKUP_STOP_AFTER=N the script kills itself after the Nth, for tests.
steps=0
step() {
  steps=$((steps + 1))
  echo "$steps. $*"
  [ "${BACKUP_STOP_AFTER:-}" != "$steps" ] || kill -KILL $$
}

# value KEY FILE: what a file of KEY VALUE lines says; nothing where it does not.
value() { awk -v key="$1" '$1 == key { print substr($0, length(key) + 2); exit }' "$2"; }

# The newest copy's number; nothing where there is none.
newest_copy() { find "$store" -maxdepth 1 -type d -name '[0-9][0-9][0-9][0-9][0-9][0-9]' -printf '%f\n' | sort | tail -n 1; }

# The file system is thawed by a process of its own, when descriptor 8 is closed: by us, or by our end, however it comes.
# It has the lock as well, so that the next run waits for it. Were it killed too, BACKUP/frozen tells the next run.
guard=
freeze() {
  [ "$(stat -c %d "$freeze")" != "$(stat -c %d "$store")" ] ||
    fail "$store lies on the file system that is to be frozen: nothing could be written there"
  realpath "$freeze" >"$store/frozen"
  exec 8> >(
    trap '' HUP INT TERM
    word=
    read -r -t "$freeze_limit" word || true
    [ "$word" = leave ] || fsfreeze --unfreeze "$freeze"
    rm "$store/frozen"
  )
  guard=$!
  fsfreeze --freeze "$freeze" || { echo leave >&8; fail "$freeze cannot be frozen"; }
}

thaw() {
  [ -n "$guard" ] || return 0
  exec 8>&-
  wait "$guard" || warn "$freeze was thawed before the end"
  guard=
}

# is_whole FILE SIZE: the last line of an answer says that it speaks of the whole disk. Without it, it was cut off.
is_whole() { [ "$(tail -n 1 "$1")" = "# processed $2" ]; }

# ask_for_changes ID SIZE FILE: writes what changed since a point into a file. Fails where that cannot be known, with
# the reason in $refusal. Whatever else goes wrong ends the run: a full copy would not be better.
ask_for_changes() {
  local id=$1 size=$2 file=$3 message
  if ! message=$(cat "$image/control/changes?limit=$id" 2>&1 >"$file"); then
    refusal=$(cat "$image/control/error")
    case $message in
      *": Operation not permitted") ;;   # EPERM: tracking is off
      *": No such device or address") ;; # ENXIO: no such point; somebody dropped it, or began a new record
      *": No such file or directory") ;; # ENOENT: the record of changes is gone
      *": Stale file handle") ;;         # ESTALE: another program wrote the image
      *": Bad message") ;;               # EBADMSG: the record is damaged
      *) fail "$message: $refusal" ;;
    esac
    return 1
  fi
  refusal="the answer was cut off"
  [[ $(head -n 1 "$file") == "# limit $id target - offset 0 length $size" ]] && is_whole "$file" "$size"
}

# plan CHANGES MAP: OFFSET LENGTH data|zero, for what changed. Ranges of data with little between them become one, which
# is quicker to copy, and as right: what lies between them is as it is on the disk.
plan() {
  awk -v map="$2" -v gap=65536 '
    function flush() { if (last != "") printf "%.0f %.0f %s\n", begin, end - begin, last }
    function put(from, to, kind) {
      if (kind == last && from - end <= (kind == "data" ? gap : 0)) { end = to; return }
      flush()
      begin = from; end = to; last = kind
    }
    /^#/ { next }
    {
      low = $1; high = $1 + $2
      while (low < high) {
        while (reached <= low) {
          if ((getline line <map) <= 0) exit failed = 1
          if (line ~ /^#/) continue
          split(line, field, " ")
          reached = field[1] + field[2]
          kind = field[3] == "data" ? "data" : "zero"
        }
        top = high < reached ? high : reached
        put(low, top, kind)
        low = top
      }
    }
    END { if (failed) exit 1; flush() }' "$1"
}

# The bytes of the data ranges of the copy that is being made.
read_ranges() {
  local offset length kind
  while read -r offset length kind; do
    [ "$kind" = data ] || continue
    dd if="$image/disk" iflag=skip_bytes,count_bytes,fullblock skip="$offset" count="$length" bs=1M status=none ||
      return
  done <"$new/ranges"
}

data_size() { awk '$3 == "data" { sum += $2 } END { printf "%.0f\n", sum }' "$1/ranges"; }

# ensure_tracking: sets $tracked where there is a record of changes, if need be after beginning one.
ensure_tracking() {
  local tracking=$image/control/tracking
  case $(value state "$tracking") in
    off) echo on >"$tracking" ;;
    refused)
      warn "$(value reason "$tracking")"
      if [ -n "$reset" ]; then echo reset >"$tracking"; else
        warn "a full copy is made, and the next one will be full too; --reset begins a new record"
      fi
      ;;
  esac
  tracked=
  [ "$(value state "$tracking")" != on ] || tracked=1
}

backup() {
  [ -f "$image/disk" ] || fail "$image is not an image's directory in a mount of vhdfs"
  mkdir -p "$store"
  exec 9>"$store/lock"
  flock --wait 60 9 || fail "another run uses $store"

  # What interrupted runs left: copies that were not whole, a frozen file system, points that belong to no copy.
  rm -rf "$store"/new.*
  if [ -e "$store/frozen" ]; then
    fsfreeze --unfreeze "$(<"$store/frozen")" 2>/dev/null || true
    rm -f "$store/frozen"
  fi
  if [ ! -s "$store/set" ]; then
    tr -d - </proc/sys/kernel/random/uuid >"$store/new.set"
    sync "$store/new.set"
    mv "$store/new.set" "$store/set"
    sync "$store"
  fi
  step "the room for copies is there"

  local prefix base base_id='' number point name
  prefix=backup-$(<"$store/set")
  base=$(newest_copy)
  [ -z "$base" ] || base_id=$(value point_id "$store/$base/info")
  ensure_tracking
  for name in "$image/points/$prefix".*; do
    [ ! -d "$name" ] || [ "$(<"$name/id")" = "$base_id" ] || rmdir "$name"
  done
  number=$(printf %06d $((10#${base:-0} + 1)))
  point=$image/points/$prefix.$number
  new=$(mktemp -d "$store/new.XXXXXX")
  step "there is nothing left of runs that were interrupted"

  # The disk stays open meanwhile, or each dd would open the image again.
  exec 7<"$image/disk"
  if [ -n "$freeze" ]; then
    freeze
    step "$freeze is frozen"
  fi

  local id='' size kind=increment
  if [ -n "$tracked" ]; then
    mkdir "$point"
    id=$(<"$point/id")
    size=$(value virtual_size "$point/info")
    step "the new point is made: $id"
  else
    size=$(value virtual_size "$image/control/info")
  fi

  # A full copy is one where all of the disk changed.
  refusal=
  if [ -z "$base_id" ] || [ -z "$tracked" ] || ! ask_for_changes "$base_id" "$size" "$new/changes"; then
    [ -z "$refusal" ] || warn "$refusal"
    kind=full base_id=''
    echo "0 $size" >"$new/changes"
  fi
  cat "$image/control/map" >"$new/map"
  is_whole "$new/map" "$size" || fail "the map of the disk was cut off"
  plan "$new/changes" "$new/map" >"$new/ranges"
  step "it is known what to copy"

  # The hash is that of the bytes as they were read.
  local sum
  sum=$(read_ranges 8>&- 9>&- | tee "$new/data" | sha256sum)
  [ "$(stat -c %s "$new/data")" = "$(data_size "$new")" ] || fail "the disk gave less than was asked for"
  {
    echo "kind $kind"
    [ $kind = full ] || printf 'base %s\nlimit_id %s\n' "$base" "$base_id"
    [ -z "$id" ] || echo "point_id $id"
    echo "virtual_size $size"
    echo "created $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    [ -z "$hash_disk" ] || echo "disk_sha256 $(sha256sum <"$image/disk" | cut -d ' ' -f 1)"
  } >"$new/info"
  step "the ranges are copied"

  if [ -n "$tracked" ]; then
    ask_for_changes "$id" "$size" "$new/changes" || fail "$refusal"
    ! grep -q '^[0-9]' "$new/changes" ||
      fail "the disk was written while it was copied, so the copy is none; freeze what is on it, or try again"
  else
    warn "without a record of changes it cannot be told whether the disk was written meanwhile"
  fi
  step "nothing was written meanwhile"
  thaw
  step "the disk may be written again"

  rm "$new/changes" "$new/map"
  # Blocks of zeros need no room.
  fallocate --dig-holes "$new/data"
  (
    cd "$new"
    echo "${sum%% *}  data"
    sha256sum ranges info
  ) >"$new/SHA256SUMS"
  sync "$new"/* "$new"
  step "the copy is durable"
  mv -T "$new" "$store/$number"
  sync "$store"
  step "copy $number has its name"

  for name in "$image/points/$prefix".*; do
    [ ! -d "$name" ] || [ "$(<"$name/id")" = "$id" ] || rmdir "$name"
  done
  step "the point of the copy before is dropped"
  echo "copy $number: $kind, $(data_size "$store/$number") bytes of data"
}

# check_copy NUMBER: its files are as they were written, and an increment fits the copy that it builds on.
check_copy() {
  local copy=$store/$1 base
  [ -d "$copy" ] || fail "$store has no copy $1"
  (cd "$copy" && sha256sum --check --strict --quiet SHA256SUMS >&2) || fail "$copy is damaged"
  [ "$(grep -c '  \(data\|ranges\|info\)$' "$copy/SHA256SUMS")" = 3 ] || fail "$copy/SHA256SUMS lacks a file"
  [ "$(stat -c %s "$copy/data")" = "$(data_size "$copy")" ] || fail "$copy/data is not as long as the ranges say"
  [ "$(value kind "$copy/info")" = increment ] || return 0
  base=$(value base "$copy/info")
  [ "$(value limit_id "$copy/info")" = "$(value point_id "$store/$base/info")" ] ||
    fail "copy $1 does not fit copy $base"
}

verify() {
  local number count=0
  for number in $(find "$store" -maxdepth 1 -name '[0-9][0-9][0-9][0-9][0-9][0-9]' -printf '%f\n' | sort); do
    check_copy "$number"
    count=$((count + 1))
  done
  echo "$count copies are whole"
}

# apply NUMBER FILE: writes what a copy holds into a file.
apply() {
  local copy=$store/$1 file=$2 offset length kind
  truncate -s "$(value virtual_size "$copy/info")" "$file"
  # dd goes on reading the data where the one before it ended.
  while read -r offset length kind <&3; do
    if [ "$kind" = data ]; then
      dd of="$file" oflag=seek_bytes conv=notrunc iflag=count_bytes,fullblock seek="$offset" count="$length" bs=1M status=none
    elif [ "$(value kind "$copy/info")" = increment ]; then
      fallocate --punch-hole --offset "$offset" --length "$length" "$file"
    fi
  done 3<"$copy/ranges" <"$copy/data"
}

restore() {
  local number chain='' expected
  [ ! -e "$target" ] || fail "$target exists; restore never replaces a file"
  number=${wanted:-$(newest_copy)}
  [ -n "$number" ] || fail "$store holds no copy"
  number=$(printf %06d "$((10#$number))")
  expected=$(value disk_sha256 "$store/$number/info")
  while :; do
    check_copy "$number"
    chain="$number $chain"
    [ "$(value kind "$store/$number/info")" = increment ] || break
    number=$(value base "$store/$number/info")
  done

  : >"$target.partial"
  for number in $chain; do apply "$number" "$target.partial"; done
  fallocate --dig-holes "$target.partial"
  [ -z "$expected" ] || [ "$(sha256sum <"$target.partial")" = "$expected  -" ] ||
    fail "$target.partial is not the disk that was backed up"
  sync "$target.partial"
  mv -n "$target.partial" "$target"
  sync "$(dirname "$target")"
  echo "$target: the disk at copy $number${expected:+, its hash as it was}"
}

usage() { sed -n '3,5s/^# *//p' "$0" >&2; exit 64; }

verb=${1:-}
[ $# -gt 0 ] && shift
freeze='' freeze_limit=60 hash_disk='' reset=''
while [[ ${1:-} == --* ]] && [ "$verb" = backup ]; do
  case $1 in
    --freeze) freeze=${2:?} && shift ;;
    --freeze-limit) freeze_limit=${2:?} && shift ;;
    --hash-disk) hash_disk=1 ;;
    --reset) reset=1 ;;
    *) usage ;;
  esac
  shift
done
# Nothing is left frozen by an error; death by a signal closes descriptor 8.
trap thaw EXIT
case $verb:$# in
  backup:2) image=$1 store=$2 && backup ;;
  verify:1) store=$1 && verify ;;
  restore:2 | restore:3) store=$1 target=$2 wanted=${3:-} && restore ;;
  *) usage ;;
esac
