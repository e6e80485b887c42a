/// Where the clusters of an attribute lie: mapping pairs, decoded (NTFS on-disk layout, non-resident attributes).
///
/// Invariants: runs follow each other without gaps from virtual cluster 0 on; a stored run lies inside the volume; their
/// lengths' sum does not overflow.
struct NTFSRunList: Sendable, Equatable {
  struct Run: Sendable, Equatable {
    /// The first cluster of the attribute, and of the volume; the latter is nil in a hole.
    var virtual: UInt64
    var start: UInt64?
    var count: UInt64
  }

  /// More are not kept: the bitmap of a large volume has tens.
  static let mostRuns = 65536

  private(set) var runs: [Run] = []
  var clusterCount: UInt64 { runs.last.map { $0.virtual + $0.count } ?? 0 }
  var hasHoles: Bool { runs.contains { $0.start == nil } }

  /// Adds the runs of one extent, which begins where the list ends. Each pair: a byte with the lengths of two numbers, the
  /// number of clusters, and the signed distance from the run before (none: a hole).
  mutating func append(_ pairs: ArraySlice<UInt8>, volumeClusters: UInt64) throws(SurveyStop) {
    var rest = pairs
    var last: Int64 = 0
    while let header = rest.popFirst(), header != 0 {
      let (lengthBytes, offsetBytes) = (Int(header & 15), Int(header >> 4))
      guard (1...8).contains(lengthBytes), offsetBytes <= 8, rest.count >= lengthBytes + offsetBytes else {
        throw .damaged("a run list makes no sense")
      }
      let count = NTFSRunList.signed(rest.prefix(lengthBytes))
      rest = rest.dropFirst(lengthBytes)
      guard count > 0, UInt64(count) <= volumeClusters, runs.count < NTFSRunList.mostRuns else {
        throw .damaged("a run list makes no sense, or is too long")
      }
      var start: UInt64?
      if offsetBytes > 0 {
        let (place, overflow) = last.addingReportingOverflow(NTFSRunList.signed(rest.prefix(offsetBytes)))
        rest = rest.dropFirst(offsetBytes)
        guard !overflow, place >= 0, UInt64(place) <= volumeClusters - UInt64(count) else {
          throw .damaged("a run lies outside the volume")
        }
        last = place
        start = UInt64(place)
      }
      let (_, overflow) = clusterCount.addingReportingOverflow(UInt64(count))
      guard !overflow else { throw .damaged("a run list is too long") }
      runs.append(Run(virtual: clusterCount, start: start, count: UInt64(count)))
    }
  }

  /// Little-endian, of 1 to 8 bytes.
  private static func signed(_ bytes: ArraySlice<UInt8>) -> Int64 {
    var value: Int64 = (bytes.last ?? 0) >= 0x80 ? -1 : 0
    for byte in bytes.reversed() { value = value << 8 | Int64(byte) }
    return value
  }

  /// Bytes of the attribute; a hole reads as zeros.
  func bytes(
    at offset: UInt64, count: Int, clusterSize: UInt64, _ volume: VolumeReader,
    _ what: @autoclosure () -> String
  ) throws(SurveyStop) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count)
    while result.count < count {
      let place = offset + UInt64(result.count)
      guard let run = run(at: place / clusterSize) else { throw .damaged("\(what()) ends too early") }
      let within = place - run.virtual * clusterSize
      let length = Int(min(UInt64(count - result.count), run.count * clusterSize - within))
      if let start = run.start {
        result += try volume.bytes(at: start * clusterSize + within, count: length, what())
      } else {
        result += repeatElement(0, count: length)
      }
    }
    return result
  }

  private func run(at cluster: UInt64) -> Run? {
    var (low, high) = (0, runs.count)
    while low < high {
      let middle = (low + high) / 2
      if runs[middle].virtual + runs[middle].count > cluster { high = middle } else { low = middle + 1 }
    }
    return low < runs.count ? runs[low] : nil
  }
}
