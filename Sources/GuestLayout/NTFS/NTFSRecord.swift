/// One record of the file table, found whole: FILE, with its attributes.
struct NTFSRecord {
  let number: UInt64
  let sequence: UInt16
  /// Zero, or the number of the record that this one extends.
  let base: UInt64
  private(set) var attributes: [NTFSAttribute] = []

  /// `bytes` as stored.
  init(_ bytes: [UInt8], number: UInt64) throws(SurveyStop) {
    var bytes = bytes
    guard NTFSFixups.apply(to: &bytes, mark: "FILE") else {
      throw .damaged("record \(number) of the file table is torn")
    }
    guard bytes.little(UInt16.self, at: 0x16) & 1 == 1 else {
      throw .damaged("record \(number) is not in use")
    }
    self.number = number
    sequence = bytes.little(at: 0x10)
    base = bytes.little(UInt64.self, at: 0x20) & 0xFFFF_FFFF_FFFF
    let end = Int(bytes.little(UInt32.self, at: 0x18))
    guard end <= bytes.count else { throw .damaged("record \(number) is longer than a record") }
    var place = Int(bytes.little(UInt16.self, at: 0x14))
    guard place >= 0x2A, place % 8 == 0 else { throw .damaged("record \(number) has no attributes") }
    while true {
      guard place + 4 <= end else { throw .damaged("the attributes of record \(number) have no end") }
      if bytes.little(UInt32.self, at: place) == ~0 { return }
      guard place + 16 <= end else { throw .damaged("the attributes of record \(number) have no end") }
      let length = bytes.little(UInt32.self, at: place + 4)
      guard length >= 24, length % 8 == 0, length <= end - place else {
        throw .damaged("an attribute of record \(number) is longer than the record")
      }
      attributes.append(try NTFSAttribute(Array(bytes[place..<(place + Int(length))]), record: number))
      place += Int(length)
    }
  }

  /// Those of a type and a name (in ASCII; empty for the unnamed).
  func all(_ type: NTFSAttribute.Kind, _ name: String = "") -> [NTFSAttribute] {
    attributes.filter { $0.type == type.rawValue && $0.isNamed(name) }
  }
}

/// One attribute of a record; its numbers lie inside its bytes.
struct NTFSAttribute {
  enum Kind: UInt32 {
    case attributeList = 0x20
    case volumeInformation = 0x70
    case data = 0x80
    case indexRoot = 0x90
    case indexAllocation = 0xA0
    case bitmap = 0xB0
  }

  let type: UInt32
  let bytes: [UInt8]
  private let name: [UInt16]
  let flags: UInt16
  let isResident: Bool

  fileprivate init(_ bytes: [UInt8], record: UInt64) throws(SurveyStop) {
    self.bytes = bytes
    type = bytes.little(at: 0)
    isResident = bytes[8] == 0
    flags = bytes.little(at: 0x0C)
    let nameOffset = Int(bytes.little(UInt16.self, at: 0x0A))
    let nameLength = Int(bytes[9])
    let isInside = nameLength == 0 || nameOffset + nameLength * 2 <= bytes.count
    guard bytes[8] <= 1, isInside, isResident || bytes.count >= 0x40 else {
      throw .damaged("an attribute of record \(record) makes no sense")
    }
    name = (0..<nameLength).map { bytes.little(UInt16.self, at: nameOffset + $0 * 2) }
    if isResident {
      let length = bytes.little(UInt32.self, at: 0x10)
      guard Int(bytes.little(UInt16.self, at: 0x14)) + Int(length) <= bytes.count else {
        throw .damaged("the value of an attribute of record \(record) leaves it")
      }
    } else {
      guard (0x40...bytes.count).contains(Int(bytes.little(UInt16.self, at: 0x20))) else {
        throw .damaged("the run list of an attribute of record \(record) leaves it")
      }
    }
  }

  func isNamed(_ wanted: String) -> Bool { name.elementsEqual(wanted.utf16) }

  /// Compressed, encrypted, or sparse.
  var isPlain: Bool { flags & 0xC0FF == 0 }

  // Resident.
  var value: ArraySlice<UInt8> {
    let start = Int(bytes.little(UInt16.self, at: 0x14))
    return bytes[start..<(start + Int(bytes.little(UInt32.self, at: 0x10)))]
  }

  // Not resident.
  var lowestCluster: UInt64 { bytes.little(at: 0x10) }
  var highestCluster: UInt64 { bytes.little(at: 0x18) }
  /// Bytes; told by the first extent only.
  var dataSize: UInt64 { bytes.little(at: 0x30) }
  /// Bytes; what lies behind reads as zeros.
  var initializedSize: UInt64 { bytes.little(at: 0x38) }
  var mappingPairs: ArraySlice<UInt8> { bytes[Int(bytes.little(UInt16.self, at: 0x20))...] }
}
