import ArgumentParser
import Glibc
import ImageManagement
import Storage
import SystemPackage
import VirtualDisk

struct CreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Makes a new image.",
    discussion: """
      The format is told by the ending of the name (.vhd and .avhd, .vhdx and .avhdx) unless --format is given. \
      With --parent the new image is differencing: it shows what the parent shows until it is written, and the \
      parent must not be changed from then on. An existing file is never replaced.

      EXAMPLES
        vhdfs create --size 40G disk.vhdx
        vhdfs create --size 10G --type fixed --azure disk.vhd
        vhdfs create --parent base.vhdx child.vhdx
      """)

  @Argument(help: ArgumentHelp("The file to make.", valueName: "image"), completion: .file())
  var image: String

  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "Size of the disk in bytes, or with K, M, G or T: 40G. A child has its parent's unless told.",
      valueName: "size"))
  var size: ByteCount?

  @Option(help: "fixed, dynamic or differencing. (default: dynamic; differencing with --parent)")
  var type: ImageType?

  @Option(help: "vhd or vhdx.")
  var format: CreatedFormat?

  @Option(
    name: [.short, .long], help: ArgumentHelp("The parent of a differencing image.", valueName: "image"),
    completion: .file())
  var parent: String?

  @Option(
    help: ArgumentHelp(
      "A directory where the parent's own parents may be found, besides its own. May be given again.",
      valueName: "dir"),
    completion: .directory)
  var parents: [String] = []

  @Option(
    help: ArgumentHelp(
      "Size of a block. VHDX: 1M to 256M, usually 32M, for children 2M. VHD: 512K or 2M, usually 2M.",
      valueName: "size"))
  var blockSize: ByteCount?

  @Option(
    help: ArgumentHelp("Logical sector size, VHDX only: 512 or 4096. (default: 512)", valueName: "bytes"))
  var sectorSize: UInt32?

  @Option(
    help: ArgumentHelp("Physical sector size, VHDX only: 512 or 4096. (default: 4096)", valueName: "bytes"))
  var physicalSectorSize: UInt32?

  @Flag(help: "Set the room of a fixed image aside on the host at once.")
  var reserve = false

  @Flag(help: "Fixed VHD: make the size a multiple of 1 MiB, as Azure wants it.")
  var azure = false

  @Flag(help: "Print what was made, as JSON.")
  var json = false

  func validate() throws {
    if parent == nil, size == nil { throw ValidationError("--size is needed, or --parent.") }
    if parent == nil, type == .differencing { throw ValidationError("--type differencing needs --parent.") }
    if parent != nil, let type, type != .differencing {
      throw ValidationError("--parent goes with --type differencing only.")
    }
    if format == nil, formatByName == nil {
      throw ValidationError("--format is needed: the name ends in neither .vhd, .avhd, .vhdx nor .avhdx.")
    }
  }

  func run() throws {
    let format: ImageFormat = (format ?? formatByName) == .vhd ? .vhd : .vhdx
    var creation = DiskCreation(
      path: image, format: format, type: type ?? (parent == nil ? .dynamic : .differencing))
    creation.virtualSize = size?.bytes
    creation.blockSize = blockSize?.bytes
    creation.logicalSectorSize = sectorSize
    creation.physicalSectorSize = physicalSectorSize
    creation.parent = parent
    creation.parentDirectories = parents
    creation.reservesRoom = reserve
    creation.isForAzure = azure
    try creation.run()
    tellOfParentElsewhere()
    if json {
      let directories = parents + [parentDirectory].compactMap(\.self)
      let library = try DiskLibrary(sources: [image], parentDirectories: directories, isReadOnly: true)
      let entry = try library.entry(named: library.onlyName())
      try StandardOutput.write(InfoReport(entry).bytes(as: .json))
    }
  }

  /// A child is mounted with its parent only where that may be looked for.
  private func tellOfParentElsewhere() {
    guard let place = parentDirectory, let here = resolved(image),
      place != FilePath(here).removingLastComponent().string
    else { return }
    complain(
      "note: the parent is in another directory; name it when you use the child: --parents \(escaped(place))")
  }

  /// Where the parent lies, links to it followed.
  private var parentDirectory: String? {
    parent.flatMap(resolved).map { FilePath($0).removingLastComponent().string }
  }

  private func resolved(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private var formatByName: CreatedFormat? {
    switch FilePath(image).extension?.lowercased() {
    case "vhd", "avhd": .vhd
    case "vhdx", "avhdx": .vhdx
    default: nil
    }
  }
}

/// The formats in which images can be made.
enum CreatedFormat: String, CaseIterable, ExpressibleByArgument {
  case vhd, vhdx
}

extension ImageType: ExpressibleByArgument {
  public init?(argument: String) { self.init(rawValue: argument) }
  public static var allValueStrings: [String] { ["fixed", "dynamic", "differencing"] }
}
