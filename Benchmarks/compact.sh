# compact.sh: what moving blocks costs; a part of bench.sh, whose functions it uses.

# A dynamic VHDX of which the front half of the blocks was given up: the rear half moves into its place. Beside it dd, which
# copies as many bytes from one file of the same file system to another, and flushes. Both from the page cache, in turn.
bench_compact() {
  local image=$work/compact.vhdx template=$work/compact-template.vhdx copy=$work/compact-copy round name started ended moved
  "$vhdfs" create --size "$((2 * size))M" --block-size 2M "$template" >/dev/null
  serve compact "$template"
  dd if=/dev/urandom of="$served/disk" bs=1M count="$((2 * size))" conv=notrunc,fsync status=none
  fallocate --punch-hole --offset 0 --length "$((size << 20))" "$served/disk"
  stop_all
  wait_for 20 "$vhdfs" compact --mode pretrimmed --dry-run "$template"
  for round in $(seq "$rounds"); do
    for name in $(rotate "$round" vhdfs dd); do
      # The copy is on the medium, and in the page cache.
      cp --sparse=always "$template" "$image"
      sync "$image"
      cat "$image" >/dev/null
      if [ "$name" = vhdfs ]; then
        started=$(now)
        moved=$("$vhdfs" compact --mode pretrimmed "$image" | awk '$1 == "bytes_moved" { print $2 }')
        ended=$(now)
      else
        started=$(now)
        dd if="$image" of="$copy" bs=1M skip="$((size / 8))" count="$size" conv=fsync status=none
        ended=$(now)
        moved=$(stat -c %s "$copy")
      fi
      awk -v bytes="$moved" -v from="$started" -v to="$ended" 'BEGIN { print bytes / 1048576 / ((to - from) / 1e9) }' \
        >>"$work/figures-compact-$name"
      rm -f "$image" "$copy"
    done
  done
  awk -v size="$size" -v vhdfs="$(median <"$work/figures-compact-vhdfs")" -v dd="$(median <"$work/figures-compact-dd")" \
    'BEGIN { printf "\nCompaction: %d MiB of blocks moved at %.0f MiB/s; dd copies as much, flushed, at %.0f MiB/s: %.2f (mark: 0.8)\n",
      size, vhdfs, dd, vhdfs / dd }'
  rm -f "$template"
}
