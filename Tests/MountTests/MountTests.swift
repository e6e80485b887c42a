import TestSupport
import Testing

/// The whole program through real mounts, one test after the other: they watch times and devices.
@Suite(.serialized, .requiresMount)
enum MountTests {}

/// A directory of images and a mount point, for one test.
final class Workspace {
  let root: TemporaryDirectory
  let images: String
  let mountPoint: String

  init() throws {
    root = try TemporaryDirectory()
    images = try root.directory("images")
    mountPoint = try root.directory("mount")
  }

  /// The path of an image.
  func image(_ name: String) -> String { "\(images)/\(name)" }

  /// Makes an image with `vhdfs create`.
  func create(_ name: String, _ options: String...) throws { try Vhdfs.create(image(name), options) }

  /// Mounts the directory of images.
  func mount(_ options: String...) throws -> VhdfsMount {
    try VhdfsMount([images], at: mountPoint, options, keeping: self)
  }
}

/// A kind of image that `vhdfs create` makes.
struct ImageKind: Sendable, CustomTestStringConvertible {
  enum Kind: String, Sendable { case fixed, dynamic, differencing }
  var format: String
  var kind: Kind
  /// As the command line takes it, or nil where the kind has none.
  var blockSize: String?
  var sectorSize = 512

  var testDescription: String {
    "\(format) \(kind)\(blockSize.map { " block \($0)" } ?? "")\(sectorSize == 512 ? "" : " sector \(sectorSize)")"
  }

  var isChild: Bool { kind == .differencing }
  var isVHDX: Bool { format == "vhdx" }
  /// Whether QEMU 7.2 can read it: it knows no parents and no 4096-byte sectors.
  var isKnownToQEMU: Bool { !isChild && sectorSize == 512 }
  var qemuFormat: String { isVHDX ? "vhdx" : "vpc" }

  /// Options for `vhdfs create`; a child gets its size from its parent.
  func options(size: String, parent: String? = nil) -> [String] {
    var words = ["--type", kind.rawValue]
    if let parent { words += ["--parent", parent] } else { words += ["--size", size] }
    if let blockSize { words += ["--block-size", blockSize] }
    if sectorSize != 512 && parent == nil { words += ["--sector-size", String(sectorSize)] }
    return words
  }

  /// Every format, type, block size and sector size that is written.
  static let all: [ImageKind] = {
    var kinds: [ImageKind] = []
    for sectorSize in [512, 4096] {
      for block in ["1M", "2M", "32M", "256M"] {
        for kind in [Kind.fixed, .dynamic, .differencing] {
          kinds.append(ImageKind(format: "vhdx", kind: kind, blockSize: block, sectorSize: sectorSize))
        }
      }
    }
    kinds.append(ImageKind(format: "vhd", kind: .fixed))
    for block in ["512K", "2M"] {
      kinds.append(ImageKind(format: "vhd", kind: .dynamic, blockSize: block))
      kinds.append(ImageKind(format: "vhd", kind: .differencing, blockSize: block))
    }
    return kinds
  }()

  /// One of each format and type, for tests that take longer.
  static let typical: [ImageKind] = [
    ImageKind(format: "vhdx", kind: .dynamic, blockSize: "2M"),
    ImageKind(format: "vhdx", kind: .differencing, blockSize: "2M"),
    ImageKind(format: "vhdx", kind: .fixed),
    ImageKind(format: "vhd", kind: .dynamic, blockSize: "2M"),
    ImageKind(format: "vhd", kind: .differencing, blockSize: "2M"),
    ImageKind(format: "vhd", kind: .fixed),
  ]

  /// The two that are used most.
  static let main: [ImageKind] = Array(typical.prefix(2))
}

extension Workspace {
  /// Makes an image of a kind, for a child its parent too; returns the image's name.
  func make(_ kind: ImageKind, size: String, name: String = "image") throws -> String {
    let file = "\(name).\(kind.format)"
    if kind.isChild {
      let parent = "\(name)-parent.\(kind.format)"
      var base = kind
      base.kind = .dynamic
      try Vhdfs.create(image(parent), base.options(size: size))
      try Vhdfs.create(image(file), kind.options(size: size, parent: image(parent)))
    } else {
      try Vhdfs.create(image(file), kind.options(size: size))
    }
    return file
  }
}
