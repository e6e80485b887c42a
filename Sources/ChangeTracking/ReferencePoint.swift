import Storage

/// A named moment from which changes can be asked for.
///
///     0 name length 1 │ 1 name 64 │ 65 id length 1 │ 66 id 64 │ 136 created 8 │ 144 disk size 8
///   152 first interval 4 │ 156 blocks 4
public struct ReferencePoint: Sendable, Equatable {
  public var name: String
  /// Its RCT id, which names it for ever.
  public var id: String
  /// Nanoseconds since 1970.
  public var created: Int64
  /// The disk's size at that time, bytes.
  public var diskSize: UInt64
  /// Changes since the point are in this interval and later ones.
  var firstInterval: UInt32
  /// How many places of the disk have a block between this point and the next, so that a lost one is noticed.
  var blocks: UInt32 = 0

  init(name: String, id: String, created: Int64, diskSize: UInt64, firstInterval: UInt32) {
    self.name = name
    self.id = id
    self.created = created
    self.diskSize = diskSize
    self.firstInterval = firstInterval
  }

  /// A new id: nobody can guess it, and none is given out twice.
  static func newID() -> String { "vhdfs:\(GUID.random())" }

  /// Whether a name can be a point's: 1 to 64 of `[A-Za-z0-9._-]`, and neither `.`, `..` nor `parent`.
  public static func isName(_ name: String) -> Bool {
    let isAllowed: (UInt8) -> Bool = { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
      case UInt8(ascii: "0")...UInt8(ascii: "9"): true
      case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
      default: false
      }
    }
    return (1...64).contains(name.utf8.count) && name.utf8.allSatisfy(isAllowed)
      && ![".", "..", "parent"].contains(name)
  }

  /// Whether a file's word can be an id: 1 to 64 of `[A-Za-z0-9:-]`.
  private static func isID(_ id: String) -> Bool {
    (1...64).contains(id.utf8.count)
      && id.allSatisfy { $0 == ":" || $0 == "-" || $0.isASCII && ($0.isLetter || $0.isNumber) }
  }

  /// Nil when it is no record.
  init?(_ bytes: UnsafeRawBufferPointer) {
    let nameLength = Int(bytes[0])
    let idLength = Int(bytes[65])
    guard nameLength <= 64, idLength <= 64 else { return nil }
    name = String(decoding: bytes[1..<(1 + nameLength)], as: UTF8.self)
    id = String(decoding: bytes[66..<(66 + idLength)], as: UTF8.self)
    created = bytes.littleEndian(at: 136)
    diskSize = bytes.littleEndian(at: 144)
    firstInterval = bytes.littleEndian(at: 152)
    blocks = bytes.littleEndian(at: 156)
    guard ReferencePoint.isName(name), ReferencePoint.isID(id) else { return nil }
  }

  func encode(into bytes: UnsafeMutableRawBufferPointer) {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes[0] = UInt8(name.utf8.count)
    for (index, byte) in name.utf8.enumerated() { bytes[1 + index] = byte }
    bytes[65] = UInt8(id.utf8.count)
    for (index, byte) in id.utf8.enumerated() { bytes[66 + index] = byte }
    bytes.storeLittleEndian(created, at: 136)
    bytes.storeLittleEndian(diskSize, at: 144)
    bytes.storeLittleEndian(firstInterval, at: 152)
    bytes.storeLittleEndian(blocks, at: 156)
  }
}
