import Storage
import VHD

@testable import VHDX
@testable import VirtualDisk

/// Images to begin with, made by the code under test; files of others are added where there are any.
package enum SeedImages {
  /// The parent of every child that is fuzzed: a fixed disk with a pattern in its first 64 KiB.
  static let parent: SparseImage = made { file throws(ImageError) in
    try VHDImage.create(file, VHDCreation(kind: .fixed(reserve: false), virtualSize: 3 << 20))
    try file.write((0..<65536).map { UInt8(truncatingIfNeeded: $0 / 300 + 1) }, at: 0)
  }

  package static let own: [SparseImage] = vhd + vhdx + [cutWithLongTable]

  private static var vhd: [SparseImage] {
    let parent = VHDParent(uniqueID: .zero, timeStamp: 7, relativePath: "./p.vhd", absolutePath: "/d/p.vhd")
    let kinds: [VHDCreation.Kind] = [.fixed(reserve: false), .dynamic, .differencing(parent: parent)]
    return kinds.flatMap { kind in
      [3 << 20, 12 << 20].flatMap { size in
        images { file throws(ImageError) in
          try VHDImage.create(file, VHDCreation(kind: kind, virtualSize: size, blockSize: 512 << 10))
        }
      }
    }
  }

  private static var vhdx: [SparseImage] {
    let parent = VHDX.ParentLocator(
      linkage: .zero, relativePath: ".\\p.vhdx", absoluteWin32Path: "C:\\p.vhdx")
    let kinds: [VHDXCreation.Kind] = [
      .fixed(reserve: false), .dynamic, .differencing(parent: parent, inherited: []),
    ]
    return kinds.flatMap { kind in
      [UInt32(512), 4096].flatMap { sector in
        images { file throws(ImageError) in
          try VHDXImage.create(
            file,
            VHDXCreation(kind: kind, virtualSize: 6 << 20, blockSize: 1 << 20, logicalSectorSize: sector))
        }
      }
    }
  }

  /// A disk of so many blocks that its table is looked through in the background only, in a file that was cut: blocks 5
  /// and 6 lie behind its end, where the first new block will go.
  private static var cutWithLongTable: SparseImage {
    var image = made { file throws(ImageError) in
      try VHDXImage.create(file, VHDXCreation(kind: .dynamic, virtualSize: 1 << 40, blockSize: 1 << 20))
    }
    let table = image.regionPlace(SparseImage.blockTableID) ?? 0
    let place = image.size
    image.size = place + (1 << 20) + 700
    for (block, offset) in [(5, place + (1 << 20)), (6, place + (2 << 20)), (3, place)] as [(UInt64, UInt64)]
    {
      image.putLittleEndian(BlockTableEntry(.fullyPresent, offset: offset).rawValue, at: table + block * 8)
    }
    image.put([UInt8](repeating: 9, count: 600), at: place + 100)
    image.operations = [
      Operation(.read, length: 4095, place: 5 << 13),
      Operation(.write, seed: 7, length: 8191, place: 9 << 13),
      Operation(.write, seed: 5, length: 100, place: 6 << 13), Operation(.read, length: 511, place: 5 << 13),
      Operation(.flush, seed: 1), Operation(.write, seed: 9, length: 500, place: 10 << 13),
    ]
    return image
  }

  /// An image as it is made, after some writing, and as a crash leaves it: with a log to be replayed, or a tail of room.
  private static func images(_ create: (HostFile) throws(ImageError) -> Void) -> [SparseImage] {
    var empty = made(create)
    var closed = made { file throws(ImageError) in
      try create(file)
      try write(file)?.finishWriting()
    }
    var crashed = made { file throws(ImageError) in
      try create(file)
      _ = try write(file)
    }
    empty.operations = [
      Operation(.write, seed: 3, length: 4095), Operation(.flush),
      Operation(.write, seed: 5, length: 2000, place: 2 | 1 << 2),
      Operation(.zero, length: 8191), Operation(.reopen), Operation(.write, seed: 9, place: 1),
    ]
    closed.operations = [
      Operation(.zeroBlocks, length: 65535, place: 2),
      Operation(.write, seed: 4, length: 600, place: 3 | 900 << 2),
      Operation(.finish), Operation(.writeZeros, length: 9000), Operation(.read, length: 9000),
    ]
    crashed.operations = [Operation(.write, seed: 6, length: 512, place: 4), Operation(.flush)]
    return [empty, closed, crashed]
  }

  /// Writes here and there and commits, without a clean close.
  private static func write(_ file: HostFile) throws(ImageError) -> VirtualDisk? {
    let disk = try VirtualDisk(files: [file])
    for offset: UInt64 in [0, 4096 * 100, 1 << 20, disk.size - 512] {
      let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: offset >> 12 + 1), count: 512)
      let result: Result<Bool, ImageError> = bytes.withUnsafeBytes { buffer in
        Result { () throws(ImageError) in try disk.write(buffer, at: offset, mayWait: true) }
      }
      _ = try result.get()
      try disk.flush()
    }
    try disk.zero(at: 0, length: 1 << 20)
    try disk.flush()
    return disk
  }

  private static func made(_ body: (HostFile) throws(ImageError) -> Void) -> SparseImage {
    let double = FuzzFile(SparseImage())
    _ = answer { () throws(ImageError) in try body(HostFile(path: "seed", double: double)) }
    return double.contents
  }

  // MARK: - Files of others

  /// What matters of an image file: its beginning and its end, its tables, and a little of its data.
  package static func read(_ file: HostFile) throws(ImageError) -> SparseImage {
    var image = SparseImage()
    image.size = try file.size()
    try take(0..<(64 << 10), of: file, into: &image, pages: 16)
    try take((max(image.size, 8192) - 8192)..<image.size, of: file, into: &image, pages: 3)
    if image.isVHDX {
      try take((64 << 10)..<(1 << 20), of: file, into: &image, pages: 64)
      if let log = image.logPlace, log.count <= 64 << 20 { try take(log, of: file, into: &image, pages: 24) }
      for id in [SparseImage.metadataID, SparseImage.blockTableID] {
        guard let place = image.regionPlace(id) else { continue }
        try take(place..<(place + (128 << 10)), of: file, into: &image, pages: 8)
      }
    } else {
      if let header = image.dynamicHeaderPlace {
        try take(header..<(header + 1024), of: file, into: &image, pages: 1)
        for index in 0..<UInt64(8) {
          let place: UInt64 = image.bigEndian(at: header + 576 + index * 24 + 16)
          if place > 0, place < 1 << 40 { try take(place..<(place + 1024), of: file, into: &image, pages: 1) }
        }
      }
      if let table = image.vhdTablePlace {
        try take(table..<(table + 65536), of: file, into: &image, pages: 16)
      }
    }
    image.operations = [
      Operation(.write, seed: 3, length: 4095, place: 2), Operation(.reopen), Operation(.zero),
    ]
    return image
  }

  private static func take(
    _ range: Range<UInt64>, of file: HostFile, into image: inout SparseImage, pages: Int
  ) throws(ImageError) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: SparseImage.pageSize, alignment: 4096)
    defer { buffer.deallocate() }
    var place = range.lowerBound / UInt64(SparseImage.pageSize) * UInt64(SparseImage.pageSize)
    var left = pages
    while place < range.upperBound, left > 0, let data = file.nextData(from: place, end: range.upperBound) {
      place = data / UInt64(SparseImage.pageSize) * UInt64(SparseImage.pageSize)
      let count = try file.readUpTo(buffer, at: place)
      let part = UnsafeRawBufferPointer(rebasing: buffer[..<count])
      if !part.isAllZero {
        image.put(part, at: place)
        left -= 1
      }
      place += UInt64(SparseImage.pageSize)
    }
  }
}

extension SparseImage {
  /// The block table of a VHD takes long to be looked through, and teaches nothing that a short one does not.
  fileprivate var hasLongTable: Bool {
    dynamicHeaderPlace.map { bigEndian(UInt32.self, at: $0 + 28) > 1 << 14 } ?? false
  }
}

extension FuzzTarget {
  /// The inputs that `images` and the target's own seeds make.
  package func inputs(from images: [SparseImage]) -> [[UInt8]] {
    switch form {
    // Files that are no images.
    case .file([.tracking]), .file([.space]): return seeds()
    case .text: return seeds()
    case .disk: return seeds()
    case .locator:
      return images.compactMap { image in
        guard let region = image.regionPlace(SparseImage.metadataID) else { return nil }
        for index in 0..<UInt64(8) {
          let entry = region + 32 + index * 32
          guard image.bytes(at: entry, count: 16) == Array(bytesOf: DiskParameters.Item.parentLocator.bytes)
          else { continue }
          let (offset, length): (UInt32, UInt32) = (
            image.littleEndian(at: entry + 16), image.littleEndian(at: entry + 20)
          )
          return image.bytes(at: region + UInt64(offset), count: Int(min(length, 4096)))
        }
        return nil
      }
    case .file(let parts):
      let isOfVHD = parts.contains(.vhdFooter) || parts.contains(.vhdHeader)
      let isOfVHDX =
        parts.contains(.vhdxHeaders) || parts.contains(.vhdxRegions) || parts.contains(.vhdxMetadata)
      return images.filter { $0.isVHDX ? isOfVHDX : isOfVHD && !$0.hasLongTable }.map { $0.encoded() }.filter
      { $0.count <= maximumLength }
    }
  }
}
