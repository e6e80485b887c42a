import Storage
import TestSupport

@testable import GuestLayout

/// A disk in a file, and what the survey says of it.
struct SurveyedDisk {
  let path: String
  let survey: SpaceSurvey
  /// All that the cursor answers, in order.
  let free: [Range<UInt64>]

  init(_ path: String, sectorSize: UInt32 = 512) throws {
    self.path = path
    let file = try OpenFile(path)
    let read: DiskReader = { (offset, count) throws(ImageError) in
      do { return try file.read(at: offset, count: count) } catch {
        throw ImageError(.failed, "the test's file cannot be read: \(error)")
      }
    }
    survey = try SpaceSurvey.read(diskSize: file.size, sectorSize: sectorSize, read: read)
    var cursor = FreeRangeCursor(survey, read: read)
    var free: [Range<UInt64>] = []
    while let range = try cursor.next(from: free.last?.upperBound ?? 0) {
      // Ascending and merged.
      if let last = free.last, range.lowerBound <= last.upperBound {
        throw TestFailure("\(range) follows \(last)")
      }
      free.append(range)
    }
    guard free.reduce(0, { $0 + UInt64($1.count) }) == survey.freeBytes else {
      throw TestFailure("\(survey.freeBytes) bytes are said to be free, and others are: \(free)")
    }
    self.free = free
  }

  /// The only volume.
  var volume: GuestVolume {
    get throws {
      guard survey.volumes.count == 1 else { throw TestFailure("\(survey.volumes.count) volumes") }
      return survey.volumes[0]
    }
  }

  /// Writes bytes over all that is free; of long ranges only over both ends and the middle.
  func overwriteFree() throws {
    let file = try OpenFile(path, 2)
    let piece: UInt64 = 256 << 10
    for range in free {
      var places = [range]
      if range.count > 8 << 20 {
        let middle = (range.lowerBound + range.upperBound) / 2
        places = [
          range.lowerBound..<range.lowerBound + piece, middle..<middle + piece,
          range.upperBound - piece..<range.upperBound,
        ]
      }
      for place in places {
        try file.write(pattern(seed: place.lowerBound | 1, count: place.count), at: place.lowerBound)
      }
    }
  }
}

extension FreeSpace {
  var obstacle: SpaceObstacle? {
    if case .unknown(let obstacle) = self { obstacle } else { nil }
  }
}

/// A new sparse file.
func newDisk(_ directory: TemporaryDirectory, size: String, name: String = "disk") throws -> String {
  let path = directory.file(name)
  try runChecked(["truncate", "-s", size, path])
  return path
}

/// A disk with a table that sfdisk makes of `script`, and file systems made in files of their own put in its places.
func partitionedDisk(
  _ script: String, size: String, _ volumes: [(start: UInt64, size: UInt64, make: [String])]
) throws -> (TemporaryDirectory, String) {
  let directory = try TemporaryDirectory()
  let path = try newDisk(directory, size: size)
  try runChecked(["sfdisk", "-q", "--no-reread", "--no-tell-kernel", path], input: Array(script.utf8))
  for (start, size, make) in volumes {
    let volume = try newDisk(directory, size: String(size), name: "volume")
    try runChecked(make + [volume])
    try runChecked(
      [
        "dd", "if=\(volume)", "of=\(path)", "bs=1M", "seek=\(start >> 20)", "conv=notrunc,sparse",
        "status=none",
      ])
    try runChecked(["rm", volume])
  }
  return (directory, path)
}

/// An entry of an MBR, in sectors.
struct MasterBootRecordEntry {
  var type: UInt8
  var first: UInt32
  var count: UInt32

  var bytes: [UInt8] {
    [0, 0, 0, 0, type, 0, 0, 0]
      + [first, count].flatMap { number in
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
      }
  }
}
