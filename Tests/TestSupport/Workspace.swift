/// A directory of images and a mount point, for one test.
public final class Workspace {
  public let root: TemporaryDirectory
  public let images: String
  public let mountPoint: String

  public init() throws {
    root = try TemporaryDirectory()
    images = try root.directory("images")
    mountPoint = try root.directory("mount")
  }

  /// The path of an image.
  public func image(_ name: String) -> String { "\(images)/\(name)" }

  /// Makes an image with `vhdfs create`.
  public func create(_ name: String, _ options: String...) throws { try Vhdfs.create(image(name), options) }

  /// Mounts the directory of images.
  public func mount(_ options: String...) throws -> VhdfsMount {
    try VhdfsMount([images], at: mountPoint, options, keeping: self)
  }
}

extension Workspace {
  /// Makes an image of a kind, for a child its parent too; returns the image's name.
  public func make(_ kind: ImageKind, size: String, name: String = "image") throws -> String {
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
