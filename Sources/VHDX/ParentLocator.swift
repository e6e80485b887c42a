import Storage

/// Who the parent is, and where it was (2.6.2.6).
public struct ParentLocator: Sendable, Equatable {
  /// B04AEFB7-D19E-4A81-B789-25B8E9445913, the only locator type there is.
  static let vhdxType = GUID(bytes: [
    0xB7, 0xEF, 0x4A, 0xB0, 0x9E, 0xD1, 0x81, 0x4A, 0xB7, 0x89, 0x25, 0xB8, 0xE9, 0x44, 0x59, 0x13,
  ])
  private static let knownKeys = [
    "parent_linkage", "parent_linkage2", "relative_path", "volume_path", "absolute_win32_path",
  ]
  /// Ours; the format allows 65,535.
  static let maximumPairs = 256

  /// The parent's DataWriteGuid (`parent_linkage`).
  public var linkage: GUID
  /// A second one that is right as well, while a merge into the parent is under way (`parent_linkage2`).
  public var linkage2: GUID?
  /// Relative to the child's directory, with backslashes (`relative_path`).
  public var relativePath: String?
  /// `\\?\Volume{…}\…` (`volume_path`).
  public var volumePath: String?
  /// `\\?\d:\…` or `\\?\server\share\…` (`absolute_win32_path`).
  public var absoluteWin32Path: String?
  /// Other keys, of whatever program.
  public var otherValues: [String: String] = [:]

  public init(
    linkage: GUID, linkage2: GUID? = nil, relativePath: String? = nil, volumePath: String? = nil,
    absoluteWin32Path: String? = nil
  ) {
    self.linkage = linkage
    self.linkage2 = linkage2
    self.relativePath = relativePath
    self.volumePath = volumePath
    self.absoluteWin32Path = absoluteWin32Path
  }

  /// An absolute path of this host in the only form that `absoluteWin32Path` knows. The drive is made up, and whoever
  /// resolves the path tries the relative one first; but some readers (libvhdi) take the parent's name from here and nowhere
  /// else.
  public static func windowsPath(ofHostPath path: String) -> String {
    "\\\\?\\C:" + path.map { $0 == "/" ? "\\" : String($0) }.joined()
  }

  /// Decodes the item; `at` is for messages.
  init(_ data: [UInt8], file: String, at place: UInt64) throws(ImageError) {
    let pairs = try ParentLocator.pairs(data, file: file, at: place)
    func guid(_ key: String) throws(ImageError) -> GUID? {
      guard let text = pairs[key] else { return nil }
      guard let guid = GUID(text) else {
        throw .damaged(file, at: place, "the parent locator's \(key) is no GUID: \"\(escaped(text))\"")
      }
      return guid
    }
    guard let linkage = try guid("parent_linkage") else {
      throw .damaged(file, at: place, "the parent locator has no parent_linkage")
    }
    self.linkage = linkage
    linkage2 = try guid("parent_linkage2")
    relativePath = pairs["relative_path"]
    volumePath = pairs["volume_path"]
    absoluteWin32Path = pairs["absolute_win32_path"]
    otherValues = pairs.filter { !ParentLocator.knownKeys.contains($0.key) }
    guard relativePath != nil || volumePath != nil || absoluteWin32Path != nil else {
      throw .damaged(file, at: place, "the parent locator has no path")
    }
  }

  private static func pairs(
    _ data: [UInt8], file: String, at place: UInt64
  ) throws(ImageError) -> [String: String] {
    guard data.count >= 20 else {
      throw .damaged(file, at: place, "the parent locator has \(data.count) bytes; its header alone needs 20")
    }
    let (type, count) = data.withUnsafeBytes { (GUID($0, at: 0), Int($0.littleEndian(UInt16.self, at: 18))) }
    guard type == vhdxType else {
      throw ImageError(.notSupported, "\(escaped(file)): the parent locator is of the unknown type \(type)")
    }
    guard count <= maximumPairs, 20 + count * 12 <= data.count else {
      throw .damaged(file, at: place, "the parent locator claims \(count) pairs, which do not fit")
    }
    var pairs: [String: String] = [:]
    for index in 0..<count {
      let at = 20 + index * 12
      let (keyOffset, valueOffset, keyLength, valueLength) = data.withUnsafeBytes {
        (
          Int($0.littleEndian(UInt32.self, at: at)), Int($0.littleEndian(UInt32.self, at: at + 4)),
          Int($0.littleEndian(UInt16.self, at: at + 8)), Int($0.littleEndian(UInt16.self, at: at + 10))
        )
      }
      guard let key = text(data, keyOffset, keyLength), let value = text(data, valueOffset, valueLength)
      else {
        throw .damaged(
          file, at: place, "pair \(index) of the parent locator is outside it or no proper UTF-16")
      }
      // Two values for one key: which one another program would take cannot be known.
      guard pairs.updateValue(value, forKey: key) == nil else {
        throw .damaged(file, at: place, "the parent locator has the key \"\(escaped(key))\" twice")
      }
    }
    return pairs
  }

  /// UTF-16LE at a place in the item; nil when outside, of odd length, or with unpaired surrogates.
  private static func text(_ data: [UInt8], _ offset: Int, _ length: Int) -> String? {
    guard offset > 0, length % 2 == 0, offset <= data.count, length <= data.count - offset else { return nil }
    let units = data.withUnsafeBytes { bytes in
      (0..<(length / 2)).map { bytes.littleEndian(UInt16.self, at: offset + $0 * 2) }
    }
    return String(validating: units, as: UTF16.self)
  }

  /// The item's bytes, which `init` can read. `file` is for messages.
  ///
  /// Errors: `.notSupported` for more, or longer, keys and values than a locator may have.
  func encode(file: String) throws(ImageError) -> [UInt8] {
    var pairs: [(String, String)] = [("parent_linkage", "{\(linkage)}")]
    if let linkage2 { pairs.append(("parent_linkage2", "{\(linkage2)}")) }
    if let relativePath { pairs.append(("relative_path", relativePath)) }
    if let volumePath { pairs.append(("volume_path", volumePath)) }
    if let absoluteWin32Path { pairs.append(("absolute_win32_path", absoluteWin32Path)) }
    pairs += otherValues.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    let lengths = pairs.flatMap { [$0.0.utf16.count * 2, $0.1.utf16.count * 2] }
    guard pairs.count <= ParentLocator.maximumPairs, lengths.allSatisfy({ $0 <= Int(UInt16.max) }),
      20 + pairs.count * 12 + lengths.reduce(0, +) <= Int(MetadataTable.maximumItemLength)
    else {
      throw ImageError(
        .notSupported,
        "\(escaped(file)): its parent locator would have \(pairs.count) keys with \(lengths.reduce(0, +)) bytes of text, and "
          + "has no room for them: \(ParentLocator.maximumPairs) keys and 1 MiB are the most; convert it to a new image"
      )
    }
    var bytes = [UInt8](repeating: 0, count: 20 + pairs.count * 12)
    bytes.withUnsafeMutableBytes {
      $0.store(ParentLocator.vhdxType, at: 0)
      $0.storeLittleEndian(UInt16(pairs.count), at: 18)
    }
    func append(_ text: String) -> (offset: UInt32, length: UInt16) {
      let offset = bytes.count
      for unit in text.utf16 { bytes += [UInt8(truncatingIfNeeded: unit), UInt8(unit >> 8)] }
      return (UInt32(offset), UInt16(bytes.count - offset))
    }
    for (index, pair) in pairs.enumerated() {
      let key = append(pair.0)
      let value = append(pair.1)
      bytes.withUnsafeMutableBytes {
        let at = 20 + index * 12
        $0.storeLittleEndian(key.offset, at: at)
        $0.storeLittleEndian(value.offset, at: at + 4)
        $0.storeLittleEndian(key.length, at: at + 8)
        $0.storeLittleEndian(value.length, at: at + 10)
      }
    }
    return bytes
  }
}
