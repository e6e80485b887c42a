/// The value of an attribute, wherever its parts are recorded: resident, in one run list, or in the run lists of several
/// records.
struct NTFSStream: Sendable {
  enum Place: Sendable {
    case resident([UInt8])
    case runs(NTFSRunList)
  }

  let place: Place
  /// Bytes.
  let size: UInt64
  /// Bytes; what lies behind reads as zeros.
  let initializedSize: UInt64
  /// Neither compressed, encrypted nor sparse.
  let isPlain: Bool

  /// The clusters that hold it; none where it is resident.
  var runs: [NTFSRunList.Run] {
    if case .runs(let list) = place { list.runs } else { [] }
  }

  /// Bytes inside `size`; of a plain stream.
  func bytes(
    at offset: UInt64, count: Int, clusterSize: UInt64, _ volume: VolumeReader,
    _ what: @autoclosure () -> String
  ) throws(SurveyStop) -> [UInt8] {
    guard isPlain, UInt64(count) <= size, offset <= size - UInt64(count) else {
      throw .damaged("\(what()) ends too early")
    }
    switch place {
    case .resident(let bytes): return Array(bytes[Int(offset)..<(Int(offset) + count)])
    case .runs(let runs):
      var result = try runs.bytes(at: offset, count: count, clusterSize: clusterSize, volume, what())
      let stored = initializedSize > offset ? initializedSize - offset : 0
      if stored < UInt64(count) {
        result.replaceSubrange(Int(stored)..., with: repeatElement(0, count: count - Int(stored)))
      }
      return result
    }
  }
}
