# merge.sh: what merging costs; a part of bench.sh, whose functions it uses.

# A child of a dynamic VHDX whose every block it holds, merged into its parent, which has room for half of them. Beside it dd,
# which copies as many bytes from one file of the same file system to another, and flushes. Both from the page cache, in
# turn.
bench_merge() {
  local folder=$work/merge parent=$work/merge/parent.vhdx child=$work/merge/child.vhdx copy=$work/merge-copy
  local round name started ended merged
  mkdir -p "$folder"
  "$vhdfs" create --size "${size}M" --block-size 2M "$parent" >/dev/null
  serve merge-parent "$parent"
  dd if=/dev/urandom of="$served/disk" bs=1M count="$((size / 2))" conv=notrunc,fsync status=none
  stop_all
  wait_for 20 "$vhdfs" create --parent "$parent" "$child" >/dev/null
  serve merge-child "$child"
  dd if=/dev/urandom of="$served/disk" bs=1M count="$size" conv=notrunc,fsync status=none
  stop_all
  wait_for 20 "$vhdfs" merge --dry-run "$child" >/dev/null
  cp --sparse=always "$parent" "$work/merge-parent.template"
  cp --sparse=always "$child" "$work/merge-child.template"
  for round in $(seq "$rounds"); do
    for name in $(rotate "$round" vhdfs dd); do
      # The copies are on the medium, and in the page cache.
      cp --sparse=always "$work/merge-parent.template" "$parent"
      cp --sparse=always "$work/merge-child.template" "$child"
      sync "$parent" "$child"
      cat "$parent" "$child" >/dev/null
      if [ "$name" = vhdfs ]; then
        started=$(now)
        merged=$("$vhdfs" merge "$child" | awk '$1 == "bytes_copied" { print $2 }')
        ended=$(now)
      else
        started=$(now)
        dd if="$child" of="$copy" bs=1M count="$size" conv=fsync status=none
        ended=$(now)
        merged=$(stat -c %s "$copy")
      fi
      awk -v bytes="$merged" -v from="$started" -v to="$ended" 'BEGIN { print bytes / 1048576 / ((to - from) / 1e9) }' \
        >>"$work/figures-merge-$name"
      rm -f "$copy"
    done
  done
  awk -v size="$size" -v vhdfs="$(median <"$work/figures-merge-vhdfs")" -v dd="$(median <"$work/figures-merge-dd")" \
    'BEGIN { printf "\nMerge: %d MiB of a child copied at %.0f MiB/s; dd copies as much, flushed, at %.0f MiB/s: %.2f (mark: 0.8)\n",
      size, vhdfs, dd, vhdfs / dd }'
  rm -rf "$folder" "$work/merge-parent.template" "$work/merge-child.template"
}
