import Storage
import TestSupport
import VHD
import VHDX
import VirtualDisk

/// The files of a chain in memory: a leaf that is going to be written, and its parents.
package struct CrashChain {
  package let leaf: RecordedFile
  /// The leaf, with other things done in the middle of its operations.
  let interleaved: InterleavedFile
  /// The disk that the leaf's parent shows.
  package let parents: VirtualDisk?
  package let isVHD: Bool
  /// The file of the leaf's parent, as it was when the chain was made.
  package private(set) var leafParent: RecordedFile?

  /// Makes an empty chain; parents have data here and there.
  package init(_ kind: ChainKind, size: Int) throws {
    var parents: VirtualDisk?
    var file = try CrashChain.file(kind, size: size, parent: nil)
    for level in 0..<kind.parentCount {
      let disk = try VirtualDisk(leaf: HostFile(path: "parent\(level)", double: file), over: parents)
      let block = CrashHistory.blockSize(kind)
      var places = [4096 * (1 + level), block - 8192, 2 * block + 4096 * level]
      if size > 1 << 30 { places.append(126 << 24) }
      for (number, place) in places.enumerated() {
        let bytes = pattern(seed: UInt64(77 + level * 10 + number), count: 24 * 1024)
        try disk.write(bytes, at: place)
      }
      try disk.finishWriting()
      leafParent = file
      parents = try VirtualDisk(
        leaf: HostFile(path: "parent\(level)", double: file, isWritable: false), over: parents)
      file = try CrashChain.file(kind, size: size, parent: file)
    }
    leaf = file
    interleaved = InterleavedFile(file)
    self.parents = parents
    isVHD = kind.isVHD
  }

  /// The other chain with this leaf.
  package init(leaf: SparseBytes, _ other: CrashChain) {
    self.leaf = RecordedFile(leaf)
    interleaved = InterleavedFile(self.leaf)
    parents = other.parents
    isVHD = other.isVHD
  }

  package func open(writable: Bool = true) throws(ImageError) -> VirtualDisk {
    try VirtualDisk(leaf: HostFile(path: "leaf", double: interleaved, isWritable: writable), over: parents)
  }

  package static func file(_ kind: ChainKind, size: Int, parent: RecordedFile?) throws -> RecordedFile {
    let double = RecordedFile()
    try create(kind, size: size, parent: parent, in: double)
    return double
  }

  /// Makes an image of the kind in `double`.
  package static func create(
    _ kind: ChainKind, size: Int, parent: RecordedFile?, in double: RecordedFile
  ) throws {
    let file = HostFile(path: "new", double: double)
    let above = parent.map { HostFile(path: "parent", double: $0, isWritable: false) }
    if kind.isVHD {
      let parent = try above.map {
        VHDParent(
          uniqueID: try VHDImage($0).footer.uniqueID, timeStamp: 0, relativePath: ".\\parent.vhd",
          absolutePath: "C:\\parent.vhd")
      }
      try VHDImage.create(
        file,
        VHDCreation(
          kind: kind.isFixed ? .fixed(reserve: false) : parent.map { .differencing(parent: $0) } ?? .dynamic,
          virtualSize: UInt64(size), blockSize: 512 << 10))
    } else {
      let parent = try above.map {
        VHDX.ParentLocator(linkage: try VHDXImage($0).dataWriteGUID, relativePath: ".\\parent.vhdx")
      }
      try VHDXImage.create(
        file,
        VHDXCreation(
          kind: kind.isFixed
            ? .fixed(reserve: false) : parent.map { .differencing(parent: $0, inherited: []) } ?? .dynamic,
          virtualSize: UInt64(size), blockSize: 1 << 20, logicalSectorSize: kind == .child4KVHDX ? 4096 : 512,
          physicalSectorSize: 4096))
    }
  }
}

extension VirtualDisk {
  /// Writes an array; waits.
  func write(_ bytes: [UInt8], at offset: Int) throws {
    let result: Result<Bool, ImageError> = bytes.withUnsafeBytes { buffer in
      Result { () throws(ImageError) in try write(buffer, at: UInt64(offset), mayWait: true) }
    }
    _ = try result.get()
  }
}

extension SparseBytes {
  /// Puts bytes over what is there, without a record.
  mutating func put(_ bytes: [UInt8], at offset: UInt64) {
    bytes.withUnsafeBytes { write($0, at: offset) }
  }

  func bytes(at offset: UInt64, count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      filled = read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
    }
  }
}

extension CrashStart {
  /// Turns a file that was closed into the one that a history begins with.
  func prepare(_ file: SparseBytes, _ kind: ChainKind) -> SparseBytes {
    var file = file
    let end = file.size
    switch self {
    case .asClosed: break
    case .firstRegionTableDamaged: file.put([0xBA, 0xD0], at: 192 << 10 + 20)
    case .secondRegionTableDamaged: file.put([0xBA, 0xD0], at: 256 << 10 + 20)
    case .footerLost: file.put([UInt8](repeating: 0, count: 512), at: end - 512)
    case .copyBroken: file.put([UInt8](repeating: 0, count: 200), at: 0)
    case .footerShort: file.resize(to: end - 1)
    case .garbageBehind:
      let garbage = pattern(seed: 99, count: 3 << 20)
      if kind.isVHD {
        let footer = file.bytes(at: end - 512, count: 512)
        file.put(garbage, at: end - 512)
        file.put(footer, at: end - 512 + 3 << 20)
      } else {
        file.put(garbage, at: end)
      }
    case .softAnchor:
      // The block table lies at 3 MiB; FULLY_PRESENT (6) becomes UNMAPPED (3).
      let entry = file.bytes(at: 3 << 20, count: 1)
      file.put([entry[0] & ~7 | 3], at: 3 << 20)
    case .garbageBits:
      // 4096 blocks' entries of 8 bytes, then that of their bitmap block, in which each block has 256 bytes.
      let table = file.bytes(at: 3 << 20, count: 4097 * 8)
      let bitmap = (5..<8).reduce(UInt64(0)) { $0 | UInt64(table[4096 * 8 + $1]) << (8 * UInt64($1)) }
      let low =
        UInt64(table[4096 * 8 + 2] & 0xF0) << 16 | UInt64(table[4096 * 8 + 3]) << 24
        | UInt64(table[4096 * 8 + 4]) << 32
      let ones = [UInt8](repeating: 0xFF, count: 256)
      for block in 0..<4096 where table[block * 8] & 7 == 0 {
        file.put(ones, at: (bitmap | low) + UInt64(block) * 256)
      }
    }
    return file
  }
}
