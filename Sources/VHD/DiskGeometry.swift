/// Cylinders, heads and sectors per track (footer, "Disk Geometry"; algorithm: appendix "CHS Calculation").
public struct DiskGeometry: Hashable, Sendable {
  public var cylinders: UInt16
  public var heads: UInt8
  public var sectorsPerTrack: UInt8

  public init(cylinders: UInt16, heads: UInt8, sectorsPerTrack: UInt8) {
    self.cylinders = cylinders
    self.heads = heads
    self.sectorsPerTrack = sectorsPerTrack
  }

  /// The largest that can be expressed: about 127.5 GiB. Writers use it for every larger disk, and some for
  /// all.
  public static let maximum = DiskGeometry(cylinders: 65535, heads: 16, sectorsPerTrack: 255)

  /// The geometry that the format's algorithm gives a disk of `size` bytes. It may cover less than the disk.
  public init(size: UInt64) {
    let sectors = min(size / 512, DiskGeometry.maximum.sectors)
    var perTrack: UInt64
    var heads: UInt64
    var tracks: UInt64
    if sectors >= 65535 * 16 * 63 {
      (perTrack, heads) = (255, 16)
      tracks = sectors / perTrack
    } else {
      perTrack = 17
      tracks = sectors / perTrack
      heads = max(4, (tracks + 1023) / 1024)
      if tracks >= heads * 1024 || heads > 16 {
        (perTrack, heads) = (31, 16)
        tracks = sectors / perTrack
      }
      if tracks >= heads * 1024 {
        (perTrack, heads) = (63, 16)
        tracks = sectors / perTrack
      }
    }
    cylinders = UInt16(tracks / heads)
    self.heads = UInt8(heads)
    sectorsPerTrack = UInt8(perTrack)
  }

  var sectors: UInt64 { UInt64(cylinders) * UInt64(heads) * UInt64(sectorsPerTrack) }
  /// Bytes that the geometry covers.
  public var size: UInt64 { sectors * 512 }
}
