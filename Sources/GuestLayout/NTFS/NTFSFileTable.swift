/// The file table ($MFT) of an NTFS volume: reads records, and finds the streams that they describe.
struct NTFSFileTable {
  let boot: NTFSBootSector
  let volume: VolumeReader
  /// Where the table itself lies, as far as is known: while it is being found, only its beginning.
  private(set) var runs = NTFSRunList()
  /// Bytes of the table.
  private(set) var size: UInt64 = 0

  /// Windows makes no longer list of attributes.
  private static let longestList: UInt64 = 256 << 10

  init(_ boot: NTFSBootSector, _ volume: VolumeReader) throws(SurveyStop) {
    self.boot = boot
    self.volume = volume
    let bytes = try volume.bytes(
      at: boot.fileTable * boot.clusterSize, count: boot.recordSize, "the first record of the file table")
    let first = try NTFSRecord(bytes, number: 0)
    guard let data = first.all(.data).first, !data.isResident, data.lowestCluster == 0, data.isPlain else {
      throw .damaged("the file table has no run list")
    }
    try runs.append(data.mappingPairs, volumeClusters: boot.clusterCount)
    guard runs.runs.first?.start == boot.fileTable, !runs.hasHoles else {
      throw .damaged("the file table does not begin where the boot sector says")
    }
    size = min(data.dataSize, data.initializedSize)
    // A table in many pieces: the other records that say where they are lie in the pieces known so far.
    let extents = try extents(of: .data, "", in: first)
    for extent in extents.dropFirst() { try append(extent.resolve(self)) }
    // Divided, not multiplied: runs that overlap each other may add up to anything.
    let clusters = size / boot.clusterSize + (size % boot.clusterSize == 0 ? 0 : 1)
    guard clusters <= runs.clusterCount else {
      throw .damaged("the file table's run list is too short")
    }
  }

  private mutating func append(_ attribute: NTFSAttribute) throws(SurveyStop) {
    guard attribute.lowestCluster == runs.clusterCount else {
      throw .damaged("the file table's run list has a gap")
    }
    try runs.append(attribute.mappingPairs, volumeClusters: boot.clusterCount)
    guard !runs.hasHoles else { throw .damaged("the file table has holes") }
  }

  func record(_ number: UInt64) throws(SurveyStop) -> NTFSRecord {
    let recordSize = UInt64(boot.recordSize)
    guard number < size / recordSize else { throw .damaged("record \(number) lies outside the file table") }
    let bytes = try runs.bytes(
      at: number * recordSize, count: boot.recordSize, clusterSize: boot.clusterSize, volume,
      "record \(number) of the file table")
    return try NTFSRecord(bytes, number: number)
  }

  /// The stream of a type and name; nil where there is none.
  func stream(
    _ type: NTFSAttribute.Kind, _ name: String = "", of record: NTFSRecord
  ) throws(SurveyStop) -> NTFSStream? {
    let extents = try extents(of: type, name, in: record)
    guard let first = try extents.first?.resolve(self) else { return nil }
    if first.isResident {
      guard extents.count == 1 else { throw .damaged("record \(record.number) has a stream in two forms") }
      let value = Array(first.value)
      return NTFSStream(
        place: .resident(value), size: UInt64(value.count), initializedSize: UInt64(value.count),
        isPlain: first.isPlain)
    }
    var runs = NTFSRunList()
    for extent in extents {
      let attribute = try extent.resolve(self)
      guard !attribute.isResident, attribute.lowestCluster == runs.clusterCount else {
        throw .damaged("a run list of record \(record.number) has a gap")
      }
      try runs.append(attribute.mappingPairs, volumeClusters: boot.clusterCount)
    }
    return NTFSStream(
      place: .runs(runs), size: first.dataSize, initializedSize: first.initializedSize, isPlain: first.isPlain
    )
  }
}

// MARK: - Attribute lists

extension NTFSFileTable {
  /// A part of a stream: in hand, or in a record that is still to be read.
  enum Extent {
    case here(NTFSAttribute)
    case elsewhere(reference: UInt64, type: NTFSAttribute.Kind, name: String, lowest: UInt64, base: UInt64)

    func resolve(_ table: NTFSFileTable) throws(SurveyStop) -> NTFSAttribute {
      switch self {
      case .here(let attribute): return attribute
      case .elsewhere(let reference, let type, let name, let lowest, let base):
        let record = try table.record(reference & 0xFFFF_FFFF_FFFF)
        guard record.sequence == UInt16(reference >> 48), record.number == base || record.base == base,
          let found = record.all(type, name).first(where: {
            $0.isResident ? lowest == 0 : $0.lowestCluster == lowest
          })
        else { throw .damaged("the attribute list of record \(base) names what is not there") }
        return found
      }
    }
  }

  /// The parts of a stream in ascending order.
  private func extents(
    of type: NTFSAttribute.Kind, _ name: String, in record: NTFSRecord
  ) throws(SurveyStop) -> [Extent] {
    guard record.base == 0 || record.number == 0 else {
      throw .damaged("record \(record.number) extends another")
    }
    guard let list = record.all(.attributeList).first else {
      let own = record.all(type, name)
      guard own.count <= 1 else { throw .damaged("record \(record.number) has two streams of one name") }
      return own.map { .here($0) }
    }
    var extents: [(lowest: UInt64, extent: Extent)] = []
    let bytes = try bytes(ofList: list)
    var place = 0
    while bytes.count - place >= 0x1A {
      let length = Int(bytes.little(UInt16.self, at: place + 4))
      let (nameLength, nameOffset) = (Int(bytes[place + 6]), Int(bytes[place + 7]))
      guard length >= 0x1A, length <= bytes.count - place, nameOffset + nameLength * 2 <= length else {
        throw .damaged("the attribute list of record \(record.number) makes no sense")
      }
      let units = (0..<nameLength).map { bytes.little(UInt16.self, at: place + nameOffset + $0 * 2) }
      if bytes.little(UInt32.self, at: place) == type.rawValue, units.elementsEqual(name.utf16) {
        let lowest = bytes.little(UInt64.self, at: place + 8)
        let reference = bytes.little(UInt64.self, at: place + 0x10)
        extents.append(
          (
            lowest,
            .elsewhere(reference: reference, type: type, name: name, lowest: lowest, base: record.number)
          ))
      }
      place += length
    }
    return extents.sorted { $0.lowest < $1.lowest }.map(\.extent)
  }

  private func bytes(ofList list: NTFSAttribute) throws(SurveyStop) -> [UInt8] {
    if list.isResident { return Array(list.value) }
    guard list.dataSize <= NTFSFileTable.longestList, list.isPlain, list.initializedSize >= list.dataSize
    else {
      throw .damaged("an attribute list is too long")
    }
    var runs = NTFSRunList()
    try runs.append(list.mappingPairs, volumeClusters: boot.clusterCount)
    return try runs.bytes(
      at: 0, count: Int(list.dataSize), clusterSize: boot.clusterSize, volume, "an attribute list")
  }
}
