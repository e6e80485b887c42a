import Storage

/// One page of a bitmap: a header that says whose it is, and bits.
///
///     0 signature 4 │ 4 checksum 4 │ 8 history 8 │ 16 interval 4 │ 20 index 4 │ 24 – 8 │ 32 bits
///
/// Block `index` of an interval holds the bits of the 4 KiB units from `index * bitsPerBlock` on; from
/// `firstCoarseIndex` on the bits of regions, likewise.
struct BitmapBlock: ~Copyable {
  let bytes: UnsafeMutableRawBufferPointer

  init() {
    bytes = .allocate(byteCount: TrackingFormat.pageSize, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { bytes.deallocate() }

  static func seal(
    _ page: UnsafeMutableRawBufferPointer, history: GUID, interval: UInt32, index: UInt32
  ) {
    page.storeLittleEndian(TrackingFormat.blockSignature, at: 0)
    page.storeBytes(of: history.bytes.lowHalf, toByteOffset: 8, as: SIMD8<UInt8>.self)
    page.storeLittleEndian(interval, at: 16)
    page.storeLittleEndian(index, at: 20)
    page.storeLittleEndian(Checksum.of(UnsafeRawBufferPointer(page), zeroingFieldAt: 4), at: 4)
  }

  /// Whether the page is that block, as it was written.
  static func isWhole(
    _ page: UnsafeRawBufferPointer, history: GUID, interval: UInt32, index: UInt32
  ) -> Bool {
    page.littleEndian(UInt32.self, at: 0) == TrackingFormat.blockSignature
      && page.loadUnaligned(fromByteOffset: 8, as: SIMD8<UInt8>.self) == history.bytes.lowHalf
      && page.littleEndian(UInt32.self, at: 16) == interval && page.littleEndian(UInt32.self, at: 20) == index
      && page.littleEndian(UInt32.self, at: 4) == Checksum.of(page, zeroingFieldAt: 4)
  }

  /// Sets bits of a page; true when one of them was not set before.
  static func set(_ page: UnsafeMutableRawBufferPointer, _ range: Range<UInt64>) -> Bool {
    let words = (page.baseAddress! + TrackingFormat.blockHeaderSize).assumingMemoryBound(to: UInt64.self)
    var isNew = false
    var bit = range.lowerBound
    while bit < range.upperBound {
      let within = bit % 64
      let count = min(64 - within, range.upperBound - bit)
      let mask = (count == 64 ? ~0 : (UInt64(1) << count) - 1) << within
      let word = UInt64(littleEndian: words[Int(bit / 64)])
      if word & mask != mask {
        words[Int(bit / 64)] = (word | mask).littleEndian
        isNew = true
      }
      bit += count
    }
    return isNew
  }

  /// The first bit at or after `bit` that is `value`, or the number of bits.
  static func next(_ page: UnsafeRawBufferPointer, from bit: UInt64, value: Bool) -> UInt64 {
    let words = (page.baseAddress! + TrackingFormat.blockHeaderSize).assumingMemoryBound(to: UInt64.self)
    var bit = bit
    while bit < TrackingFormat.bitsPerBlock {
      var word = UInt64(littleEndian: words[Int(bit / 64)])
      if !value { word = ~word }
      word &= ~0 << (bit % 64)
      if word != 0 { return bit / 64 * 64 + UInt64(word.trailingZeroBitCount) }
      bit = (bit / 64 + 1) * 64
    }
    return TrackingFormat.bitsPerBlock
  }

  /// Adds the bits of another page.
  static func formUnion(_ page: UnsafeMutableRawBufferPointer, _ other: UnsafeRawBufferPointer) {
    let start = TrackingFormat.blockHeaderSize
    let target = (page.baseAddress! + start).assumingMemoryBound(to: UInt64.self)
    let source = (other.baseAddress! + start).assumingMemoryBound(to: UInt64.self)
    for index in 0..<((TrackingFormat.pageSize - start) / 8) { target[index] |= source[index] }
  }
}
