import Storage
import VHD
import VHDX

/// Opens a chain, file by file, and checks that each parent is the one that the child means.
///
/// Limits: `maximumDepth` files. Every loop ends: a file that was met before is a cycle.
struct ChainBuilder {
  /// As many as openvmm allows; each open file takes a descriptor and some memory.
  static let maximumDepth = 256

  let search: ParentSearch
  /// Opens a file as a parent, or gives the one that is open already.
  let openParent: (ImageReference) throws(ImageError) -> SharedImage
  let warn: @Sendable (String) -> Void

  /// Adds the parents of `leaf`. On an error `found` still holds what could be opened, leaf first.
  func build(_ leaf: SharedImage, found: inout [SharedImage]) throws(ImageError) {
    found = [leaf]
    while let child = found.last, let recorded = child.layer.recordedParent {
      guard found.count < ChainBuilder.maximumDepth else {
        throw ImageError(
          .notSupported,
          "\(escaped(child.reference.path)): the chain is longer than \(ChainBuilder.maximumDepth) files")
      }
      found.append(try parent(of: child, recorded, chain: found))
    }
  }

  private func parent(
    of child: SharedImage, _ recorded: RecordedParent, chain: [SharedImage]
  ) throws(ImageError) -> SharedImage {
    var refused: [ImageError] = []
    for candidate in search.candidates(recorded, child: child.reference) {
      guard let stamp = candidate.stamp else { continue }
      if let again = chain.firstIndex(where: { $0.file.identity == stamp.identity }) {
        refused.append(
          ImageError(
            .chainHasCycle,
            "\(escaped(child.reference.path)): its parent \(escaped(candidate.path)) is in the chain already, "
              + "\(chain.count - 1 - again) files before; re-link one of them"))
        continue
      }
      do throws(ImageError) {
        let image = try openParent(candidate)
        try check(image, isParentOf: child, recorded)
        return image
      } catch {
        refused.append(error)
      }
    }
    let expected = recorded.identifiers.map(\.description).joined(separator: " or ")
    let tried = recorded.allPaths.map { "\"\(escaped($0))\"" }.joined(separator: ", ")
    if let first = refused.first {
      throw ImageError(
        first.returnValue, errno: first.errno,
        "\(escaped(child.reference.path)): its parent (\(tried)) with the identity \(expected) cannot be used",
        cause: first)
    }
    throw ImageError(
      .fileNotFound,
      "\(escaped(child.reference.path)): its parent \(tried) with the identity \(expected) was not found in "
        + "\(escaped(child.reference.directory.path)) or the directories given with --parents")
  }

  /// Identity, format and sector size.
  private func check(
    _ parent: SharedImage, isParentOf child: SharedImage, _ recorded: RecordedParent
  ) throws(ImageError) {
    let path = escaped(parent.reference.path)
    if recorded.isRaw, case .raw = parent.layer {
      guard parent.layer.virtualSize == child.layer.virtualSize else {
        throw ImageError(
          .invalidState,
          "\(path): is a raw file of \(parent.layer.virtualSize) bytes; the child's disk has \(child.layer.virtualSize)"
        )
      }
      return
    }
    guard parent.layer.format == recorded.format else {
      throw ImageError(
        .invalidState,
        "\(path): is a \(parent.layer.format.rawValue) file; the parent must be \(recorded.format.rawValue)")
    }
    let identifier = parent.layer.identifierForChildren
    guard recorded.identifiers.contains(identifier) else {
      let expected = recorded.identifiers.map(\.description).joined(separator: " or ")
      throw ImageError(
        .invalidState,
        "\(path): has the identity \(identifier), but \(escaped(child.reference.path)) expects \(expected); it was changed "
          + "since the child was made, or is another disk")
    }
    guard parent.layer.logicalSectorSize == child.layer.logicalSectorSize else {
      throw ImageError(
        .invalidState,
        "\(path): has sectors of \(parent.layer.logicalSectorSize) bytes, its child of \(child.layer.logicalSectorSize)"
      )
    }
    if let recordedTime = recorded.timeStamp, let modified = try? parent.file.status().modified {
      // VHD counts seconds from 2000-01-01 UTC. Copying a file changes its time, so this is no reason to refuse.
      let time = modified / 1_000_000_000 - 946_684_800
      if time != Int64(recordedTime) {
        warn(
          "\(path): was modified at another time than \(escaped(child.reference.path)) recorded (\(time) instead of "
            + "\(recordedTime) seconds since 2000); if it was written since, the child shows wrong data")
      }
    }
  }
}
