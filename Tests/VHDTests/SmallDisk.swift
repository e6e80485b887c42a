import Storage
import TestSupport
import VHD

/// A chain as simple as can be: what the room above makes of images, without locks and caches.
final class SmallDisk {
  /// Leaf first.
  let images: [VHDImage]
  /// What lies below the last image, if that has a parent that is a raw file.
  let raw: HostFile?
  var size: UInt64 { images[0].virtualSize }
  /// Whether table pages are asked for without waiting first.
  var asksWithoutWaiting = true

  init(_ images: [VHDImage], raw: HostFile? = nil) {
    self.images = images
    self.raw = raw
  }

  enum Place {
    case zero
    case file(HostFile, UInt64)
  }

  func locate(_ offset: UInt64, limit: UInt64) throws -> (place: Place, length: UInt64) {
    var length = min(limit, size - offset)
    for image in images {
      var run = Run(.unknown, length: 1)
      if asksWithoutWaiting { run = try image.locate(offset, limit: length, mayWait: false) }
      if run.kind == .unknown { run = try image.locate(offset, limit: length, mayWait: true) }
      precondition(run.length >= 1 && run.length <= length)
      length = run.length
      switch run.kind {
      case .data: return (.file(image.file, run.fileOffset), length)
      case .zero: return (.zero, length)
      case .parent: continue
      case .logged, .unknown: preconditionFailure("a waiting look at a VHD knows")
      }
    }
    if let raw { return (.file(raw, offset), length) }
    return (.zero, length)
  }

  func read(_ offset: UInt64, _ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let (place, length) = try locate(offset + UInt64(done), limit: UInt64(count - done))
      if case .file(let file, let fileOffset) = place {
        try bytes.withUnsafeMutableBytes {
          try file.read(
            into: UnsafeMutableRawBufferPointer(rebasing: $0[done..<done + Int(length)]), at: fileOffset)
        }
      }
      done += Int(length)
    }
    return bytes
  }

  /// Writes as the contract demands: what a child's sector keeps of its parent is filled up first.
  func write(_ bytes: [UInt8], at offset: UInt64) throws {
    let image = images[0]
    var (bytes, offset) = (bytes, offset)
    if image.isDifferencing {
      let head = Int(offset % 512)
      if head > 0 { bytes = try read(offset - UInt64(head), head) + bytes }
      offset -= UInt64(head)
      let tail = (512 - bytes.count % 512) % 512
      if tail > 0 { bytes += try read(offset + UInt64(bytes.count), tail) }
    }
    var done = 0
    while done < bytes.count {
      let entered = image.gate.enter()
      defer { image.gate.leave(entered) }
      let (position, rest) = (offset + UInt64(done), UInt64(bytes.count - done))
      var run = WriteRun(.unknown, length: 1, diskOffset: position)
      if asksWithoutWaiting {
        run = try image.prepareWrite(at: position, limit: rest, mayAllocate: false, mayWait: false)
      }
      if run.kind == .unknown {
        run = try image.prepareWrite(at: position, limit: rest, mayAllocate: false, mayWait: true)
      }
      if run.kind == .unknown {
        // Somebody finished writing: it begins anew.
        try image.beginWriting()
        continue
      }
      let slice = bytes[done..<done + Int(run.length)]
      if run.kind == .unallocated {
        if try isAllZero(slice) && readsZeroBelow(position, run.length) {
          done += Int(run.length)
          continue
        }
        run = try image.prepareWrite(at: position, limit: run.length, mayAllocate: true, mayWait: true)
        if run.kind == .unknown { continue }
      }
      let count = Int(run.length)
      try bytes.withUnsafeBytes {
        try image.file.write(UnsafeRawBufferPointer(rebasing: $0[done..<done + count]), at: run.fileOffset)
      }
      if run.kind == .tracked { try image.completeWrite(run) }
      done += count
    }
  }

  /// Zeros over nothing need no room; but over a parent's data they do.
  private func readsZeroBelow(_ offset: UInt64, _ length: UInt64) throws -> Bool {
    guard images[0].isDifferencing else { return true }
    return try SmallDisk(Array(images.dropFirst()), raw: raw).read(offset, Int(length)).withUnsafeBytes(
      \.isAllZero)
  }

  func zero(_ offset: UInt64, _ length: UInt64) throws {
    var done: UInt64 = 0
    while done < length {
      let run = try images[0].zero(at: offset + done, limit: length - done)
      if run.kind == .unknown {
        try images[0].beginWriting()
        continue
      }
      if run.kind == .unallocated {
        try write([UInt8](repeating: 0, count: Int(run.length)), at: offset + done)
      }
      done += run.length
    }
  }

  /// The sum over all chunks that are not zero: visits only what is data.
  func sparseSum() throws -> String {
    let digest = try SparseDigest()
    let chunk = UInt64(SparseDigest.chunk)
    var offset: UInt64 = 0
    while offset < size {
      let (place, length) = try locate(offset, limit: size - offset)
      guard case .file = place else {
        offset += length
        continue
      }
      let index = offset / chunk
      let bytes = try read(index * chunk, Int(min(chunk, size - index * chunk)))
      try bytes.withUnsafeBytes { try digest.add($0, at: index) }
      offset = (index + 1) * chunk
    }
    return try digest.finish(size: size)
  }

  func sha256() throws -> String {
    let digest = try Digest()
    var offset: UInt64 = 0
    while offset < size {
      let count = Int(min(1 << 20, size - offset))
      try digest.add(try read(offset, count))
      offset += UInt64(count)
    }
    return try digest.finish()
  }
}
