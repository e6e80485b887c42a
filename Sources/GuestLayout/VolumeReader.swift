import Storage

/// The bytes of a disk from an offset, as many as asked for. It may wait; its errors pass through to the caller.
public typealias DiskReader = (_ offset: UInt64, _ count: Int) throws(ImageError) -> [UInt8]

/// Why a survey of one volume ends: the disk could not be read, which ends all, or the volume has to count as used.
enum SurveyStop: Error {
  case unreadable(ImageError)
  case obstacle(SpaceObstacle)

  static func damaged(_ what: String) -> SurveyStop { .obstacle(.damaged(what)) }
  static func dirty(_ what: String) -> SurveyStop { .obstacle(.dirty(what)) }
  static func unsupported(_ what: String) -> SurveyStop { .obstacle(.unsupported(what)) }
}

/// Reads a volume of a disk, and nothing outside it.
struct VolumeReader {
  /// No single read is longer, whatever the disk says.
  static let longestRead = 1 << 20

  /// Bytes from the start of the disk.
  let range: Range<UInt64>
  let read: DiskReader

  /// Bytes.
  var length: UInt64 { range.upperBound - range.lowerBound }

  /// `count` bytes at `offset`, from the volume's start. What leaves the volume is a lie of the structure named by `what`.
  func bytes(at offset: UInt64, count: Int, _ what: @autoclosure () -> String) throws(SurveyStop) -> [UInt8] {
    guard count >= 0, count <= VolumeReader.longestRead, offset <= length, UInt64(count) <= length - offset
    else {
      throw .damaged("\(what()) lies outside the volume")
    }
    let bytes: [UInt8]
    do throws(ImageError) {
      bytes = try read(range.lowerBound + offset, count)
    } catch {
      throw .unreadable(error)
    }
    guard bytes.count == count else { throw .damaged("\(what()) could not be read as a whole") }
    return bytes
  }

  /// The same volume, with every place that is read written down.
  func recorded(in places: ReadPlaces) -> VolumeReader {
    let (start, read) = (range.lowerBound, read)
    return VolumeReader(range: range) { (offset, count) throws(ImageError) in
      places.add(offset - start..<offset - start + UInt64(count))
      return try read(offset, count)
    }
  }

  /// As much of it as there is.
  func firstBytes(at offset: UInt64, count: Int) throws(ImageError) -> [UInt8] {
    guard offset < length else { return [] }
    return try read(range.lowerBound + offset, Int(min(UInt64(count), length - offset)))
  }
}

/// Where a volume was read, in bytes from its start.
final class ReadPlaces {
  private(set) var ranges: [Range<UInt64>] = []

  func add(_ range: Range<UInt64>) {
    // Structures are often read piece by piece.
    if let last = ranges.last, last.upperBound == range.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
    } else if !range.isEmpty {
      ranges.append(range)
    }
  }
}

/// Little-endian and big-endian numbers in an array. The caller knows that they are inside.
extension [UInt8] {
  func little<T: FixedWidthInteger>(_ type: T.Type = T.self, at offset: Int) -> T {
    withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: T.self)) }
  }

  func big<T: FixedWidthInteger>(_ type: T.Type = T.self, at offset: Int) -> T {
    withUnsafeBytes { T(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: T.self)) }
  }
}
