import Storage

/// A child's dynamic header on its way to another place of the file, with the data of its parent locators.
struct HeaderDraft {
  struct Locator {
    var platform: ParentLocator.Platform
    var data: [UInt8]

    /// Bytes that it takes in the file: whole sectors, which share no sector with anything else.
    var roomLength: UInt64 { max(1, UInt64(data.count)).roundedUp(to: BlockLayout.sector) }
  }

  /// Where a locator's data go, and how much room is kept for them there: whole sectors.
  typealias Place = FileExtent

  /// The 1024 bytes of the header that it is made from; what nobody here understands stays as it is.
  private var template: [UInt8]
  let locators: [Locator]

  /// The header of a child that gets another parent. Locators of other systems lead to the old one, and go.
  init(_ header: [UInt8], naming parent: VHDParent) {
    template = header
    locators = [
      Locator(platform: .w2ku, data: parent.absolutePathData),
      Locator(platform: .w2ru, data: parent.relativePathData),
    ]
    template.withUnsafeMutableBytes { bytes in
      bytes.store(parent.uniqueID, at: DynamicHeader.parentIDField)
      bytes.storeBigEndian(parent.timeStamp, at: DynamicHeader.parentTimeField)
      let name = Array(parent.recordedName.utf16.prefix(DynamicHeader.nameLength - 1))
      for index in 0..<DynamicHeader.nameLength {
        bytes.storeBigEndian(
          index < name.count ? name[index] : 0, at: DynamicHeader.nameField + 2 * index)
      }
    }
  }

  /// The same header for another place. Nil where a locator is none that was written here.
  init?(moving header: [UInt8], _ file: HostFile) throws(ImageError) {
    template = header
    let size = try file.size()
    var locators: [Locator] = []
    for locator in HeaderDraft.locators(of: header) where locator.platform != .none {
      let length = UInt64(locator.dataLength)
      guard length <= ParentReference.longestPath, locator.dataOffset <= size,
        length <= size - locator.dataOffset
      else { return nil }
      let buffer = ByteBuffer(count: Int(length))
      try file.read(into: buffer.bytes, at: locator.dataOffset)
      locators.append(Locator(platform: locator.platform, data: Array(buffer.readable)))
    }
    self.locators = locators
  }

  /// The locators that a header has, whole or not: all eight lie in its second sector.
  static func locators(of header: [UInt8]) -> [ParentLocator] {
    header.withUnsafeBytes { bytes in
      (0..<DynamicHeader.locatorCount).map {
        ParentLocator(bytes, at: DynamicHeader.locatorField + $0 * ParentLocator.length)
      }
    }
  }

  /// The header's bytes, with its locators' data at `places`.
  func bytes(_ places: [Place]) -> [UInt8] {
    var result = template
    result.withUnsafeMutableBytes { bytes in
      for index in 0..<(DynamicHeader.locatorCount * ParentLocator.length) {
        bytes[DynamicHeader.locatorField + index] = 0
      }
      for (index, locator) in locators.enumerated() {
        // In bytes, as Windows counts.
        ParentLocator(
          platform: locator.platform,
          dataSpace: UInt32(clamping: places[index].end - places[index].offset),
          dataLength: UInt32(locator.data.count), dataOffset: places[index].offset
        ).encode(into: bytes, at: DynamicHeader.locatorField + index * ParentLocator.length)
      }
      Checksum.store(in: bytes, field: DynamicHeader.checksumField)
    }
    return result
  }

  /// A locator's data, filled up to whole sectors.
  func data(of locator: Locator) -> [UInt8] {
    locator.data + [UInt8](repeating: 0, count: Int(locator.roomLength) - locator.data.count)
  }
}
