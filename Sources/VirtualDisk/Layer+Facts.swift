import Storage
import VHD
import VHDX

extension Layer {
  /// What the open file says of itself now. Waits.
  func facts() throws(ImageError) -> ImageFacts {
    let status = try file.status()
    switch self {
    case .vhdx(let image):
      let locator = image.parentLocator
      return ImageFacts(
        format: .vhdx, type: image.isDifferencing ? .differencing : image.isFixed ? .fixed : .dynamic,
        virtualSize: image.virtualSize, hostStatus: status, blockSize: image.blockSize,
        logicalSectorSize: image.logicalSectorSize, physicalSectorSize: image.physicalSectorSize,
        virtualDiskID: image.virtualDiskID, dataWriteGUID: image.dataWriteGUID,
        parentIdentifier: locator?.linkage, recordedParentPaths: recordedParent?.allPaths ?? [],
        creator: image.creator, logIsDirty: image.logIsDirty, isAligned4K: true)
    case .vhd(let image):
      let type: ImageType =
        switch image.diskType {
        case .differencing: .differencing
        case .dynamic: .dynamic
        default: .fixed
        }
      return ImageFacts(
        format: .vhd, type: type, virtualSize: image.virtualSize, hostStatus: status,
        blockSize: image.header.map { UInt64($0.blockSize) }, logicalSectorSize: 512, physicalSectorSize: 512,
        virtualDiskID: image.footer.uniqueID, parentIdentifier: image.parent?.parentUniqueID,
        recordedParentPaths: recordedParent?.allPaths ?? [], creator: "\(image.footer.creatorApplication)",
        isInSavedState: image.footer.isInSavedState,
        isAligned4K: image.header.map { $0.tableOffset % 4096 == 0 } ?? true)
    case .raw(_, let size):
      return ImageFacts(
        format: .vhd, type: .fixed, virtualSize: size, hostStatus: status, blockSize: nil,
        logicalSectorSize: 512,
        physicalSectorSize: 512, virtualDiskID: .zero, creator: "raw", isAligned4K: true)
    }
  }

  /// Things that are doubtful but do not keep the file from being used, as sentences.
  var warnings: [String] {
    if case .vhd(let image) = self { image.warnings } else { [] }
  }

  /// What a differencing file records of its parent; nil for others.
  var recordedParent: RecordedParent? {
    switch self {
    case .vhdx(let image):
      image.parentLocator.map {
        RecordedParent(
          format: .vhdx, identifiers: [$0.linkage] + ($0.linkage2.map { [$0] } ?? []),
          relativePaths: $0.relativePath.map { [$0] } ?? [],
          otherPaths: [$0.volumePath, $0.absoluteWin32Path].compactMap { $0 }, timeStamp: nil,
          mergeMark: MergeMark($0), mergeIDs: MergeIDs.of($0))
      }
    case .vhd(let image):
      image.parent.map {
        RecordedParent(
          format: .vhd, identifiers: [$0.parentUniqueID], relativePaths: $0.relativePaths,
          otherPaths: $0.otherPaths,
          timeStamp: $0.parentTimeStamp == 0 ? nil : $0.parentTimeStamp)
      }
    case .raw: nil
    }
  }

  /// By which identity children know this file.
  var identifierForChildren: GUID {
    switch self {
    case .vhdx(let image): image.dataWriteGUID
    case .vhd(let image): image.footer.uniqueID
    case .raw: .zero
    }
  }

  var format: ImageFormat {
    if case .vhdx = self { .vhdx } else { .vhd }
  }
}

/// What a differencing file records of its parent.
struct RecordedParent: Sendable {
  var format: ImageFormat
  /// Any of these is right.
  var identifiers: [GUID]
  /// Relative to the child's directory, as recorded.
  var relativePaths: [String]
  /// Paths of another machine: only their last component says anything here.
  var otherPaths: [String]
  /// VHD: the parent's modification time, seconds since 2000; nil when none is recorded.
  var timeStamp: UInt32?
  /// VHDX: which image was merged past the child, if one was.
  var mergeMark: MergeMark?
  /// VHDX: the merges of which the child holds the content.
  var mergeIDs: Set<GUID> = []

  var allPaths: [String] { relativePaths + otherPaths }
  /// XenServer's way to say that the parent is a raw disk.
  var isRaw: Bool { format == .vhd && identifiers == [.zero] }
}
