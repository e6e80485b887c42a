import Storage

/// What a differencing image records of its parent: its identity, and where it was.
public struct ParentReference: Hashable, Sendable {
  /// Must equal the parent's `Footer.uniqueID`, byte for byte. Zero: the parent is a raw file (XenServer
  /// only).
  public let parentUniqueID: GUID
  /// The parent's time stamp when the child was made, seconds since 2000; 0 where the writer did not say.
  public let parentTimeStamp: UInt32
  /// Paths relative to the child's directory, as recorded, separators included; the best first.
  public let relativePaths: [String]
  /// Absolute paths and bare names, as recorded: only their last component means anything on this host.
  public let otherPaths: [String]

  /// No path that any system takes is longer.
  static let longestPath: UInt64 = 65536

  /// Reads the locators of `header`, whose file ends at `fileSize`.
  init(_ header: DynamicHeader, file: HostFile, fileSize: UInt64) throws(ImageError) {
    var relative: [String] = []
    var absolute: [String] = []
    var urls: [String] = []
    for (index, locator) in header.locators.enumerated() where locator.platform.isKnown {
      let length = UInt64(locator.dataLength)
      guard locator.dataOffset <= fileSize, length <= fileSize - locator.dataOffset else {
        throw .damaged(
          file.path, at: locator.dataOffset,
          "parent locator \(index) lies beyond the end of the file; the file was cut or is damaged, copy "
            + "it again"
        )
      }
      guard length <= ParentReference.longestPath else {
        throw .damaged(
          file.path, at: locator.dataOffset,
          "parent locator \(index) is \(length) bytes long, more than any path; the file is damaged")
      }
      let buffer = ByteBuffer(count: Int(length))
      try file.read(into: buffer.bytes, at: locator.dataOffset)
      switch locator.platform {
      case .w2ru: relative.append(ParentReference.utf16(buffer.readable))
      case .w2ku: absolute.append(ParentReference.utf16(buffer.readable))
      default: urls.append(String(decoding: buffer.readable.prefix { $0 != 0 }, as: UTF8.self))
      }
    }
    for url in urls { ParentReference.sort(url: url, relative: &relative, absolute: &absolute) }
    absolute.append(header.parentName)
    parentUniqueID = header.parentUniqueID
    parentTimeStamp = header.parentTimeStamp
    relativePaths = relative.filter { !$0.isEmpty }
    otherPaths = absolute.filter { !$0.isEmpty }
  }

  /// XenServer writes `file://./name` for a relative path; other file URLs are absolute, and no other
  /// scheme counts.
  static func sort(url: String, relative: inout [String], absolute: inout [String]) {
    let scheme = "file://"
    guard url.hasPrefix(scheme) else { return }
    let path = String(url.dropFirst(scheme.count))
    let isRelative = path.hasPrefix("./") || path.hasPrefix("../")
    // Mac OS writes %20 for a blank, XenServer writes the path as it is: which one it was is not recorded.
    var candidates = [path]
    if let decoded = percentDecoded(path), decoded != path { candidates.append(decoded) }
    if isRelative { relative += candidates } else { absolute += candidates }
  }

  private static func utf16(_ bytes: UnsafeRawBufferPointer) -> String {
    let units = (0..<(bytes.count / 2)).map { bytes.littleEndian(UInt16.self, at: 2 * $0) }
    return String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
  }

  private static func percentDecoded(_ text: String) -> String? {
    guard text.utf8.contains(0x25) else { return nil }
    var bytes: [UInt8] = []
    var rest = Substring(text).utf8
    while let byte = rest.popFirst() {
      guard byte == 0x25 else {
        bytes.append(byte)
        continue
      }
      guard let value = UInt8(Substring(rest.prefix(2)), radix: 16), rest.count >= 2, value != 0 else {
        return nil
      }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
