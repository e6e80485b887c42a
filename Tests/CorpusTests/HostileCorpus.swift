import TestSupport

/// What is known of the hostile images.
enum HostileCorpus {
  /// Two parents that images of the corpus name are not in it. They are made here: without them their children would be
  /// refused for a missing file, and never for what is wrong with them.
  static func directory() throws -> String { try prepared.get() }

  private static let prepared: Result<String, any Error> = Result {
    let root = try Corpus.unpacked() + "/hostile"
    // Children of this parent remember 9e11fe2b-7852-52b2-b7eb-3874047b4a38.
    let parent = "\(root)/hp_parent.vhdx"
    try runChecked(["cp", "\(root)/h_hdr1_crc.vhdx", parent])
    let file = try OpenFile(parent, 2)
    for offset in [0x10000, 0x20000] as [UInt64] {
      var header = try file.read(at: offset, count: 4096)
      header.replaceSubrange(
        32..<48,
        with: [
          0x2B, 0xFE, 0x11, 0x9E, 0x52, 0x78, 0xB2, 0x52, 0xB7, 0xEB, 0x38, 0x74, 0x04, 0x7B, 0x4A, 0x38,
        ])
      header[8] = offset == 0x10000 ? 1 : 2
      header.replaceSubrange(4..<8, with: [0, 0, 0, 0])
      let sum = crc32c(header)
      header.replaceSubrange(4..<8, with: (0..<4).map { UInt8(truncatingIfNeeded: sum >> (8 * UInt32($0))) })
      try file.write(header, at: offset)
    }
    // Another VHD than the one that the child remembers.
    try runChecked(["cp", "\(root)/hp_parent.vhd", "\(root)/hvp_parent.vhd"])
    // The undamaged VHD: block 1 is not allocated.
    try runChecked(["cp", "\(root)/hv_bat_tail.vhd", "\(root)/hv_good.vhd"])
    try OpenFile("\(root)/hv_good.vhd", 2).write([255, 255, 255, 255], at: 0x604)
    return root
  }

  static func path(of image: CorpusImage) throws -> String {
    try directory() + image.path.dropFirst("hostile".count)
  }

  static func path(named name: String) throws -> String { try "\(directory())/\(name)" }

  /// SHA-256 of what the VHDX images held before they were damaged.
  static let goodVHDX = "8b66cfb677414b49ba8de2f596a3717939d489e721cba5067622c3ac116a6ce4"

  struct Damage {
    /// Bytes of the disk whose reads must fail.
    var range: Range<UInt64>
    /// The table holds noise: nothing is known of what may be read.
    var isEverywhere = false
    /// Bytes that read as zero.
    var zeros: Range<UInt64> = 0..<0
    /// An image that reads as the damaged one would elsewhere.
    var good = "h_hdr1_crc.vhdx"
  }

  private static let block: UInt64 = 2 << 20

  static let damage: [String: Damage] = [
    "h_bat_eof.vhdx": Damage(range: block..<2 * block),
    // A file that was cut is read as far as it goes: the block's first half is there.
    "h_bat_straddle.vhdx": Damage(range: block + block / 2..<2 * block),
    "h_bat_state5.vhdx": Damage(range: block..<2 * block),
    "h_bat_state7.vhdx": Damage(range: 0..<block),
    "h_bat_rand.vhdx": Damage(range: 0..<0, isEverywhere: true),
    "h_diff_bm_state.vhdx": Damage(range: 0..<block, good: "hp_parent.vhdx"),
    // The log makes block 2 one that is not there.
    "h_log_batreplay.vhdx": Damage(range: block..<2 * block, zeros: 2 * block..<3 * block),
    "hv_bat_tail.vhd": Damage(range: block..<2 * block, good: "hv_good.vhd"),
    // It overlaps block 2, whose bytes cannot be trusted either.
    "hv_bat_straddle.vhd": Damage(range: block..<3 * block, good: "hv_good.vhd"),
  ]

  enum Choice {
    case refused
    /// Opens, and every byte can be read; the disk's size and, where it matters, SHA-256.
    case reads(UInt64, String?)
    /// Opens; reads of these 2 MiB blocks fail.
    case failsIn(Set<UInt64>)
  }

  private static let size: UInt64 = 8 << 20

  /// What the VHD images held before they were damaged (qemu-img says so too).
  private static let goodVHD = "d92cce3ba77f27a86e14e6c095d460f00f27d07f20e60283afcc0057483c8de6"

  static let choices: [String: Choice] = [
    // Which of two headers counts cannot be told when both are good, equally new and different.
    "h_hdr_eqseq.vhdx": .refused,
    // A log of no length cannot hold what the header says that it holds.
    "h_loglen_0.vhdx": .refused,
    "h_ps_2147483648.vhdx": .refused,
    // Two blocks in one place read as the file says, both; that nobody writes them is another test's matter.
    "h_bat_dup.vhdx": .reads(size, nil),
    "h_bat_half.vhdx": .reads(size, nil),
    // A block that lies on the file's own tables is damage of that block alone.
    "h_bat_log.vhdx": .failsIn([1]),
    "h_bat_meta.vhdx": .failsIn([1]),
    // Reserved bits may mean something to a newer program.
    "h_bat_resv.vhdx": .failsIn([0]),
    // The deepest chain that we open has 256 files; this one has 81.
    "d079.vhdx": .reads(size, nil),
    // Two values of one key: a parent must not be a matter of luck.
    "h_ploc_dupkey.vhdx": .refused,
    // Children may have been resized: zeros beyond the parent's end, and no more of it than the child has.
    "h_diff_bigger.vhdx": .reads(16 << 20, nil),
    "h_diff_smaller.vhdx": .reads(4 << 20, nil),
    // A log never changes itself.
    "h_log_target_self.vhdx": .refused,
    // The greatest number is a number.
    "h_log_maxseq.vhdx": .reads(size, nil),
    "h_log_full.vhdx": .reads(size, goodVHDX),
    // The footer at the end counts where both are good.
    "hv_copies_differ.vhd": .reads(size, goodVHD),
    "hv_size_0.vhd": .refused,
    "hv_size_odd.vhd": .refused,
    "hv_ver.vhd": .refused,
    // A block on the file's own structures is damage of that block, and of the block that it reaches into.
    "hv_bat_0.vhd": .failsIn([0, 1]),
    "hv_bat_hdr.vhd": .failsIn([0, 1]),
    "hv_bat_bat.vhd": .failsIn([0, 1]),
    "hv_bat_dup.vhd": .failsIn([0, 1]),
    // A file that was cut is read as far as it was written: the rest held zeros.
    "hv_trunc_block.vhd": .reads(size, nil),
    "hv_fixed_0.vhd": .refused,
    "hv_fixed_odd.vhd": .refused,
  ]
}
