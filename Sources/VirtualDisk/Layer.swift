import ChangeTracking
import Storage
import VHD
import VHDX

/// One file of a chain. An enumeration of concrete types, so that no call goes through an existential.
enum Layer: Sendable {
  case vhdx(VHDXImage)
  case vhd(VHDImage)
  /// A raw disk as the root of a XenServer chain; read only.
  case raw(HostFile, size: UInt64)

  /// Opens what the contents say the file is. `tablePages`: a limit for what is kept of its tables; nil: the format's.
  init(_ file: HostFile, tablePages: Int? = nil) throws(ImageError) {
    let signature = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
    defer { signature.deallocate() }
    let count = try file.readUpTo(signature, at: 0)
    if count == 8, UnsafeRawBufferPointer(signature).elementsEqual("vhdxfile".utf8) {
      if let tablePages {
        self = .vhdx(try VHDXImage(file, tablePages: tablePages))
      } else {
        self = .vhdx(try VHDXImage(file))
      }
    } else if let tablePages {
      self = .vhd(try VHDImage(file, tablePages: tablePages))
    } else {
      self = .vhd(try VHDImage(file))
    }
  }

  var file: HostFile {
    switch self {
    case .vhdx(let image): image.file
    case .vhd(let image): image.file
    case .raw(let file, _): file
    }
  }

  var virtualSize: UInt64 {
    switch self {
    case .vhdx(let image): image.virtualSize
    case .vhd(let image): image.virtualSize
    case .raw(_, let size): size
    }
  }

  var isDifferencing: Bool {
    switch self {
    case .vhdx(let image): image.isDifferencing
    case .vhd(let image): image.isDifferencing
    case .raw: false
    }
  }

  var logicalSectorSize: UInt32 {
    if case .vhdx(let image) = self { image.logicalSectorSize } else { 512 }
  }

  var physicalSectorSize: UInt32 {
    if case .vhdx(let image) = self { image.physicalSectorSize } else { 512 }
  }

  func locate(_ offset: UInt64, limit: UInt64, mayWait: Bool) throws(ImageError) -> Run {
    switch self {
    case .vhdx(let image): try image.locate(offset, limit: limit, mayWait: mayWait)
    case .vhd(let image): try image.locate(offset, limit: limit, mayWait: mayWait)
    case .raw(_, let size): Run(.data, length: min(limit, size - offset), fileOffset: offset)
    }
  }

  func readLogged(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(ImageError) {
    guard case .vhdx(let image) = self else { return try file.read(into: buffer, at: offset) }
    try image.readLogged(into: buffer, at: offset)
  }
}

/// A file of a chain that may be written: the leaf.
extension Layer {
  var isWriting: Bool {
    switch self {
    case .vhdx(let image): image.isWriting
    case .vhd(let image): image.isWriting
    case .raw: false
    }
  }

  var isInSession: Bool {
    switch self {
    case .vhdx(let image): image.isInSession
    case .vhd(let image): image.isInSession
    case .raw: false
    }
  }

  /// The ids that are renewed whenever the file is written; nil where the format has none.
  var writeIdentity: ImageState.WriteIdentity? {
    guard case .vhdx(let image) = self else { return nil }
    let ids = image.writeGUIDs
    return ImageState.WriteIdentity(fileWriteGUID: ids.file, dataWriteGUID: ids.data)
  }

  /// Whether the file, read anew, has the ids that are known of it here.
  var hasItsIdentity: Bool {
    guard case .vhdx(let image) = self else { return true }
    guard let now = try? VHDXImage(image.file).writeGUIDs else { return false }
    return now == image.writeGUIDs
  }

  /// - Parameter identity: what the file's ids become, if it has some and a session begins.
  func beginWriting(_ identity: ImageState.WriteIdentity) throws(ImageError) {
    switch self {
    case .vhdx(let image):
      try image.beginWriting(fileWriteGUID: identity.fileWriteGUID, dataWriteGUID: identity.dataWriteGUID)
    case .vhd(let image): try image.beginWriting()
    case .raw: throw readOnly
    }
  }

  func prepareWrite(
    at offset: UInt64, limit: UInt64, mayAllocate: Bool, mayWait: Bool
  ) throws(ImageError) -> WriteRun {
    switch self {
    case .vhdx(let image):
      try image.prepareWrite(at: offset, limit: limit, mayAllocate: mayAllocate, mayWait: mayWait)
    case .vhd(let image):
      try image.prepareWrite(at: offset, limit: limit, mayAllocate: mayAllocate, mayWait: mayWait)
    case .raw: throw readOnly
    }
  }

  func completeWrite(_ run: WriteRun) throws(ImageError) {
    switch self {
    case .vhdx(let image): try image.completeWrite(run)
    case .vhd(let image): try image.completeWrite(run)
    case .raw: throw readOnly
    }
  }

  func zero(at offset: UInt64, limit: UInt64) throws(ImageError) -> WriteRun {
    switch self {
    case .vhdx(let image): try image.zero(at: offset, limit: limit)
    case .vhd(let image): try image.zero(at: offset, limit: limit)
    case .raw: throw readOnly
    }
  }

  var hasUncommittedChanges: Bool {
    switch self {
    case .vhdx(let image): image.hasUncommittedChanges
    case .vhd(let image): image.hasUncommittedChanges
    case .raw: false
    }
  }

  var wantsCommit: Bool {
    switch self {
    case .vhdx(let image): image.wantsCommit
    case .vhd(let image): image.wantsCommit
    case .raw: false
    }
  }

  func commit() throws(ImageError) {
    switch self {
    case .vhdx(let image): try image.commit()
    case .vhd(let image): try image.commit()
    case .raw: break
    }
  }

  func finishWriting() throws(ImageError) {
    switch self {
    case .vhdx(let image): try image.finishWriting()
    case .vhd(let image): try image.finishWriting()
    case .raw: break
    }
  }

  /// Returns when every operation that had entered `gate` has left it.
  func drain() {
    switch self {
    case .vhdx(let image): image.drain()
    case .vhd(let image): image.drain()
    case .raw: break
    }
  }

  /// Counts the operations on the leaf.
  var gate: OperationGate? {
    switch self {
    case .vhdx(let image): image.gate
    case .vhd(let image): image.gate
    case .raw: nil
    }
  }

  private var readOnly: ImageError {
    ImageError(
      .invalidState, errno: .readOnlyFileSystem, "\(escaped(file.path)): a raw parent is never written")
  }
}
