import Testing

/// A kind of image that `vhdfs create` makes.
public struct ImageKind: Sendable, CustomTestStringConvertible {
  public enum Kind: String, Sendable { case fixed, dynamic, differencing }
  public var format: String
  public var kind: Kind
  /// As the command line takes it, or nil where the kind has none.
  public var blockSize: String?
  public var sectorSize = 512

  public init(format: String, kind: Kind, blockSize: String? = nil, sectorSize: Int = 512) {
    self.format = format
    self.kind = kind
    self.blockSize = blockSize
    self.sectorSize = sectorSize
  }

  public var testDescription: String {
    "\(format) \(kind)\(blockSize.map { " block \($0)" } ?? "")\(sectorSize == 512 ? "" : " sector \(sectorSize)")"
  }

  public var isChild: Bool { kind == .differencing }
  public var isVHDX: Bool { format == "vhdx" }
  /// Whether QEMU 7.2 can read it: it knows no parents and no 4096-byte sectors.
  public var isKnownToQEMU: Bool { !isChild && sectorSize == 512 }
  public var qemuFormat: String { isVHDX ? "vhdx" : "vpc" }

  /// Options for `vhdfs create`; a child gets its size from its parent.
  public func options(size: String, parent: String? = nil) -> [String] {
    var words = ["--type", kind.rawValue]
    if let parent { words += ["--parent", parent] } else { words += ["--size", size] }
    if let blockSize { words += ["--block-size", blockSize] }
    if sectorSize != 512 && parent == nil { words += ["--sector-size", String(sectorSize)] }
    return words
  }

  /// Every format, type, block size and sector size that is written.
  public static let all: [ImageKind] = {
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
  public static let typical: [ImageKind] = [
    ImageKind(format: "vhdx", kind: .dynamic, blockSize: "2M"),
    ImageKind(format: "vhdx", kind: .differencing, blockSize: "2M"),
    ImageKind(format: "vhdx", kind: .fixed),
    ImageKind(format: "vhd", kind: .dynamic, blockSize: "2M"),
    ImageKind(format: "vhd", kind: .differencing, blockSize: "2M"),
    ImageKind(format: "vhd", kind: .fixed),
  ]

  /// The two that are used most.
  public static let main: [ImageKind] = Array(typical.prefix(2))
}
