import Storage

/// The VHDX format, version 1 ([MS-VHDX]).
///
///     0        64K      128K     192K       256K       320K       1M
///     | "vhdxfile" | header 1 | header 2 | regions 1 | regions 2 | reserved |
///     then, each at a multiple of 1 MiB, in any order:
///     | log | metadata region | block table (BAT) | sector bitmap blocks, payload blocks … |
///
/// Everything is little-endian. All structures but the two headers change through the log only.
enum VHDXFormat {
  static let mebibyte: UInt64 = 1 << 20
  /// Log sectors, data descriptors and our cache of tables all count in these (2.3.1).
  static let pageSize = 4096
  /// The header section: file type identifier, headers, region tables (2.1).
  static let headerSectionSize: UInt64 = 1 << 20
  static let headerOffsets: [UInt64] = [64 << 10, 128 << 10]
  static let regionTableOffsets: [UInt64] = [192 << 10, 256 << 10]
  static let regionTableSize = 64 << 10
  /// 2.6.2.2: at most 64 TiB.
  static let maximumVirtualSize: UInt64 = 64 << 40
  /// 2.6.2.1: 1 MiB to 256 MiB, a power of two.
  static let blockSizes: ClosedRange<UInt64> = (1 << 20)...(256 << 20)
  /// Ours: a log that says to be longer than this is refused; the format sets no bound.
  static let maximumLogLength: UInt64 = 256 << 20
  /// Ours: a log that has more changes than this to be replayed is refused.
  static let maximumLogDescriptors = 1_000_000
  /// Ours: no structure or block may be said to lie beyond this place in the file.
  static let maximumFileOffset: UInt64 = 1 << 62
  /// Ours: longer files, sparse ones that is, are not written, because a bit for each of their MiB is kept.
  static let largestWrittenFile: UInt64 = 256 << 40

  enum Signature {
    static let file: UInt64 = 0x656C_6966_7864_6876  // "vhdxfile"
    static let header: UInt32 = 0x6461_6568  // "head"
    static let regionTable: UInt32 = 0x6967_6572  // "regi"
    static let metadataTable: UInt64 = 0x6174_6164_6174_656D  // "metadata"
    static let logEntry: UInt32 = 0x6567_6F6C  // "loge"
    static let zeroDescriptor: UInt32 = 0x6F72_657A  // "zero"
    static let dataDescriptor: UInt32 = 0x6373_6564  // "desc"
    static let dataSector: UInt32 = 0x6174_6164  // "data"
  }
}
