import Glibc
import Storage
import Synchronization

/// What a file has to do with chains.
enum Kin: Sendable {
  /// No image.
  case stranger
  /// - Parameters:
  ///   - identifier: by which children know it.
  ///   - parent: what it records of its own parent; nil: it has none.
  case image(ImageFormat, identifier: GUID, parent: RecordedParent?)
  /// It may be an image, and cannot be read or understood. `format`: what its first or last bytes say.
  case doubtful(ImageError, format: ImageFormat?)
}

/// Looks at files by their contents, whatever they are called, and remembers what was seen of those that do not change.
///
/// A file that may be an image by its size and is none costs three small reads, once.
final class KinInspector: Sendable {
  /// Beyond so many files the knowledge is dropped.
  private static let limit = 50_000
  /// Two footers, a dynamic header and a sector of table: no VHD with a parent is smaller, and no VHDX.
  private static let smallestChild: Int64 = 2560

  private let known = Mutex<[FileIdentity: (stamp: FileStamp, kin: Kin)]>([:])

  func kin(of file: ListedFile, in directory: ImageDirectory) -> Kin {
    let identity = file.stamp.identity
    if let old = known.withLock({ $0[identity] }), old.stamp == file.stamp { return old.kin }
    let kin = KinInspector.look(at: file, in: directory)
    // What cannot be read now may be readable the next time.
    if case .doubtful = kin { return kin }
    known.withLock {
      if $0.count >= KinInspector.limit { $0.removeAll() }
      $0[identity] = (file.stamp, kin)
    }
    return kin
  }

  private static func look(at file: ListedFile, in directory: ImageDirectory) -> Kin {
    guard mayBeImage(file) else { return .stranger }
    let opened: HostFile
    let format: ImageFormat?
    do throws(ImageError) {
      opened = try directory.open(file)
      format = try signature(of: opened)
    } catch {
      // Gone meanwhile, or a link by now.
      if error.errno == .noSuchFileOrDirectory || error.errno == .tooManySymbolicLinkLevels {
        return .stranger
      }
      return .doubtful(error, format: nil)
    }
    guard let format else {
      guard hasNameOfAChild(file) else { return .stranger }
      return .doubtful(
        .damaged(
          opened.path, "has neither a VHDX's signature nor a VHD's footer; it is damaged, or no image"),
        format: nil)
    }
    do throws(ImageError) {
      let layer = try Layer(opened)
      if layer.isDifferencing, layer.recordedParent == nil {
        throw .damaged(opened.path, "does not say what its parent is")
      }
      return .image(layer.format, identifier: layer.identifierForChildren, parent: layer.recordedParent)
    } catch {
      return .doubtful(error, format: format)
    }
  }

  /// What the marks of the formats say (VHDX 2.2.1, VHD "Hard Disk Footer Format"); nil: none is there.
  private static func signature(of file: HostFile) throws(ImageError) -> ImageFormat? {
    let size = try file.size()
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 8, alignment: 8)
    defer { bytes.deallocate() }
    // A footer of 511 bytes is one of before Virtual PC 2004.
    for offset in [0, size - min(size, 512), size - min(size, 511)] {
      guard try file.readUpTo(bytes, at: offset) == 8 else { continue }
      let found = UnsafeRawBufferPointer(bytes)
      if offset == 0, found.elementsEqual("vhdxfile".utf8) { return .vhdx }
      if found.elementsEqual("conectix".utf8) { return .vhd }
    }
    return nil
  }

  /// By what a directory tells of it: its name is an image's, or its size one that an image can have. So of most files that
  /// are none nothing has to be read.
  private static func mayBeImage(_ file: ListedFile) -> Bool {
    let size = file.stamp.size
    return size >= smallestChild && (hasNameOfAChild(file) || size % 512 == 0 || size % 512 == 511)
  }

  /// A set file has no parent itself.
  private static func hasNameOfAChild(_ file: ListedFile) -> Bool {
    let name = String(decoding: file.name, as: UTF8.self)
    return ImageDirectory.isImageName(name) && !name.lowercased().hasSuffix(".vhds")
  }
}
